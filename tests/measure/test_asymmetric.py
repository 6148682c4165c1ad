"""Asymmetric superposition: planted motifs are found among noise, agree with counting; relabelled neurons have none."""

import numpy as np
import pytest

from superscope.measure.weights import asymmetric, motifs


def noise(rng, m=300, n=20):
    return rng.normal(size=(m, n)), rng.normal(size=(n, m))


def slow(w1, w2):
    """The definition, term by term."""
    m, n = w1.shape
    reads = np.maximum(w1, 0)
    best = {}
    total = [sum(max(reads[k, f] * w2[f, k], 0) for k in range(m)) for f in range(n)]
    w2 = w2 / np.maximum(np.array(total), 1e-12)[:, None]
    for i in range(m):
        for a in range(n):
            for b in range(n):
                if a == b or reads[i, b] <= 0 or w2[a, i] <= 0:
                    continue
                if reads[i, a] < 2 * reads[i, b] or w2[b, i] < 2 * w2[a, i]:
                    continue
                serve = min(reads[i, a] * w2[a, i], reads[i, b] * w2[b, i])
                off = max(-reads[k, a] * w2[b, k] for k in range(m) if k != i)
                best[i, a, b] = serve * float(np.clip(off / (reads[i, a] * w2[b, i]), 0, 1))
    return best


def test_the_search_agrees_with_the_definition():
    w1, w2 = noise(np.random.default_rng(0), 12, 6)
    hits, expected = asymmetric.search(w1, asymmetric.scaled(w1, w2), most=10_000), slow(w1, w2)
    assert len(hits.score) == len(expected)
    for score, i, a, b in zip(hits.score, hits.neuron, hits.a, hits.b, strict=True):
        assert score == pytest.approx(expected[i, a, b])
    assert (np.diff(hits.score) <= 0).all()
    np.testing.assert_allclose(hits.score, hits.serve * hits.cancel)
    assert (hits.inhibitor != hits.neuron).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_motif_is_the_best_and_is_above_relabelled_neurons(seed):
    rng = np.random.default_rng(seed)
    w1, w2 = noise(rng)
    mixed1, mixed2, (i, a, b, j) = asymmetric.plant(w1, w2, 0.15, rng)
    shares = asymmetric.scaled(mixed1, mixed2)
    hits = asymmetric.search(mixed1, shares)
    assert (hits.neuron[0], hits.a[0], hits.b[0]) == (i, a, b)
    assert hits.serve[0] == pytest.approx(0.15, abs=0.05)
    limit = max(asymmetric.search(*motifs.regrouped(mixed1, shares, rng)).score.max(initial=0) for _ in range(10))
    assert hits.score[0] > 1.25 * limit
    assert hits.inhibitor[0] == j or hits.cancel[0] >= 0.7


def test_without_the_inhibitor_there_is_no_motif():
    rng = np.random.default_rng(0)
    w1, w2 = np.abs(rng.normal(size=(30, 8))) * 0.05, np.abs(rng.normal(size=(8, 30))) * 0.05
    mixed1, mixed2, (_, _, b, j) = asymmetric.plant(w1, w2, 0.4, rng)
    assert asymmetric.search(mixed1, asymmetric.scaled(mixed1, mixed2)).score[0] > 0.2
    mixed2[b, j] = 0
    hits = asymmetric.search(mixed1, asymmetric.scaled(mixed1, mixed2))
    assert not len(hits.score) or hits.score[0] < 0.01


def test_how_loud_a_neuron_is_does_not_matter_to_what_it_serves():
    rng = np.random.default_rng(3)
    w1, w2 = noise(rng)
    first = asymmetric.search(w1, asymmetric.scaled(w1, w2))
    loud = rng.uniform(0.1, 10, (len(w1), 1))
    again = asymmetric.search(w1 * loud, asymmetric.scaled(w1 * loud, w2 / loud.T))
    known = {
        key: serve for *key, serve in zip(first.neuron, first.a, first.b, first.serve, strict=True) for key in [tuple(key)]
    }
    for i, a, b, serve in zip(again.neuron, again.a, again.b, again.serve, strict=True):
        if (i, a, b) in known:
            assert serve == pytest.approx(known[i, a, b])


def test_nothing_lopsided_is_no_hit_and_shapes_are_checked():
    flat = np.ones((4, 3))
    assert len(asymmetric.search(flat, flat.T).score) == 0
    with pytest.raises(ValueError, match="W_in has shape"):
        asymmetric.search(np.ones((4, 3)), np.ones((4, 3)))


def test_signed_features_are_two_halves():
    w1, w2 = np.array([[1.0, -2.0]]), np.array([[0.5], [0.25]])
    both, out = asymmetric.halves(w1, w2)
    np.testing.assert_allclose(both, [[1, -2, -1, 2]])
    np.testing.assert_allclose(out[:, 0], [0.5, 0.25, 0.5, 0.25])
