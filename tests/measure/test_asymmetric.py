"""Asymmetric superposition: planted motifs are found among noise, agree with counting; relabelled neurons have none."""

import numpy as np
import pytest

from superscope.measure.weights import asymmetric


def noise(rng, m=300, n=20):
    return rng.normal(size=(m, n)), rng.normal(size=(n, m))


def slow(w1, w2, team=1):
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
                if reads[i, a] < 2 * reads[i, b] or w2[b, i] < w2[a, i]:
                    continue
                serve = min(reads[i, a] * w2[a, i], reads[i, b] * w2[b, i])
                off = sorted((max(-reads[k, a] * w2[b, k], 0) for k in range(m) if k != i), reverse=True)
                best[i, a, b] = serve * float(np.clip(sum(off[:team]) / (reads[i, a] * w2[b, i]), 0, 1))
    return best


@pytest.mark.parametrize("team", [1, 2])
def test_the_search_agrees_with_the_definition(team):
    w1, w2 = noise(np.random.default_rng(0), 12, 6)
    shares, expected = asymmetric.scaled(w1, w2), slow(w1, w2, team)
    hits = asymmetric.search(w1, shares, most=10_000, team=team)
    assert len(hits.score) == len(expected)
    for score, i, a, b in zip(hits.score, hits.neuron, hits.a, hits.b, strict=True):
        assert score == pytest.approx(expected[i, a, b])
    assert (np.diff(hits.score) <= 0).all()
    np.testing.assert_allclose(hits.score, hits.serve * hits.cancel)
    assert (hits.inhibitor != hits.neuron).all()
    assert (hits.serve <= asymmetric.attainable(w1, shares) + 1e-12).all()


def test_the_best_few_are_the_first_of_all():
    w1, w2 = noise(np.random.default_rng(1), 60, 12)
    shares = asymmetric.scaled(w1, w2)
    every, few = asymmetric.search(w1, shares, 10_000), asymmetric.search(w1, shares, 5)
    np.testing.assert_allclose(few.score, every.score[:5])
    assert len(few.score) == 5


def test_only_the_allowed_pairs_are_searched_and_inhibitors_may_be_given_other_writes():
    rng = np.random.default_rng(2)
    w1, w2 = noise(rng, 60, 12)
    shares, allowed = asymmetric.scaled(w1, w2), rng.random((12, 12)) < 0.3
    hits, every = asymmetric.search(w1, shares, 10_000, allowed=allowed), asymmetric.search(w1, shares, 10_000)
    assert 0 < len(hits.score) < len(every.score)
    assert allowed[hits.a, hits.b].all()
    silent = asymmetric.search(w1, shares, 10_000, answers=np.zeros_like(shares))
    assert len(silent.score) == len(every.score)
    assert not silent.score.any()


def test_two_equal_inhibitors_count_together():
    rng = np.random.default_rng(0)
    w1, w2 = np.abs(rng.normal(size=(30, 8))) * 0.05, np.abs(rng.normal(size=(8, 30))) * 0.05
    mixed1, mixed2, (i, _, b, j) = asymmetric.plant(w1, w2, 0.4, rng)
    k = next(k for k in range(30) if k not in (i, j))
    mixed2[b, j] /= 2
    mixed1[k], mixed2[:, k] = mixed1[j], mixed2[:, j]
    shares = asymmetric.scaled(mixed1, mixed2)
    one, two = (asymmetric.search(mixed1, shares, 1, team=team).cancel[0] for team in (1, 2))
    assert one == pytest.approx(0.35, abs=0.02)
    assert two == pytest.approx(0.7, abs=0.04)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_motif_is_the_best_and_is_above_relabelled_neurons(seed):
    rng = np.random.default_rng(seed)
    w1, w2 = noise(rng)
    mixed1, mixed2, (i, a, b, j) = asymmetric.plant(w1, w2, 0.15, rng)
    shares = asymmetric.scaled(mixed1, mixed2)
    hits = asymmetric.search(mixed1, shares)
    assert (hits.neuron[0], hits.a[0], hits.b[0]) == (i, a, b)
    assert hits.serve[0] == pytest.approx(0.15, abs=0.05)
    limit = asymmetric.limits(mixed1, shares, 10, rng).max()
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


def made(seed=0, tokens=3000, m=80, n=12, d=40):
    """A layer whose activations are linear in its features; it writes what it reads, in a random basis."""
    rng = np.random.default_rng(seed)
    on = (rng.random((tokens, n)) < 0.1).astype(np.float32)
    reads, basis = np.maximum(rng.normal(size=(m, n)), 0) * (rng.random((m, n)) < 0.3), rng.normal(size=(n, d)) / d**0.5
    values = on @ reads.T + rng.normal(0, 0.3, (tokens, m))
    out = reads @ basis + rng.normal(0, 0.1, (m, d))
    block = np.arange(tokens) // 50
    parts = [asymmetric.moments(on[some], values[some]) for some in np.array_split(np.arange(tokens), 4)]
    return asymmetric.Layer.of(on, block, sum(parts), out), reads, values


def test_a_layer_reads_what_a_regression_on_everything_says():
    layer, reads, values = made()
    design = np.column_stack([layer.on, np.ones(len(layer.on))])
    expected = np.linalg.lstsq(design, values, rcond=None)[0][:-1].T
    np.testing.assert_allclose(layer.reads, expected, atol=0.01)
    np.testing.assert_allclose(layer.reads, reads, atol=0.1)
    np.testing.assert_allclose(layer.noise, values.std(axis=0), rtol=1e-4)


def test_what_is_written_adds_up_to_the_layer():
    layer, _, _ = made()
    writes, shares = asymmetric.written(layer.reads, layer.W_out)
    whole, loud = (layer.reads * writes.T).sum(axis=0), np.linalg.norm(shares, axis=1)
    np.testing.assert_allclose(whole[loud > np.median(loud)], 1, atol=0.1)  # the ridge takes from what is faint
    assert (whole < 1.01).all()
    np.testing.assert_allclose(shares, layer.reads.T @ layer.W_out)


@pytest.mark.parametrize("team", [1, 2])
def test_a_motif_planted_into_activations_is_estimated_as_what_it_is(team):
    """Strengths are unequal and a fifth is missed, and still what it serves and what is taken off come out."""
    rng, serve, cancel = np.random.default_rng(1), [], []
    layer = made()[0]
    for _ in range(8):
        planted, (i, a, b) = layer.planted(0.2, rng, team=team)
        reads, writes, allowed = planted.weights()
        assert layer.weights()[2][a, b]
        only = np.zeros_like(allowed)
        only[a, b] = True
        hits = asymmetric.search(reads, writes, 100, allowed=only, team=2)
        own = hits.neuron == i
        assert own.sum() == 1
        serve.append(hits.serve[own][0])
        cancel.append(hits.cancel[own][0])
        changed = (planted.W_out != layer.W_out).any(axis=1)
        assert changed.sum() == 1 + team
    assert np.median(serve) == pytest.approx(0.2, abs=0.05)
    assert np.median(cancel) == pytest.approx(0.75, abs=0.15)


def test_features_that_the_layer_writes_alike_are_no_pair_but_those_of_a_motif_are():
    layer, _, _ = made(m=300)
    out, reads = layer.W_out.copy(), layer.reads.copy()
    reads[:, 1] = reads[:, 0] + np.random.default_rng(0).normal(0, 0.01, len(reads))
    alike = ~asymmetric.apart(reads, out)
    assert alike[0, 1]
    assert alike[1, 0]
    assert alike[2:, 0].sum() <= 2
    rng = np.random.default_rng(3)
    kept = []
    for _ in range(8):
        planted, (_, a, b) = layer.planted(0.3, rng, cancel=0.0)
        kept.append(asymmetric.apart(planted.reads, planted.W_out)[a, b])
    assert np.mean(kept) >= 0.75


def test_inhibitors_with_other_writes_lose_a_planted_motif():
    rng = np.random.default_rng(5)
    w1, w2 = np.abs(rng.normal(size=(30, 8))) * 0.05, np.abs(rng.normal(size=(8, 30))) * 0.05
    mixed1, mixed2, _ = asymmetric.plant(w1, w2, 0.4, rng)
    shares = asymmetric.scaled(mixed1, mixed2)
    best = asymmetric.search(mixed1, shares, 1).score[0]
    assert np.median(asymmetric.swapped(mixed1, shares, 20, rng)) < best / 4


def test_a_planted_neuron_without_an_inhibitor_scores_far_less():
    layer, rng, scores = made(m=300)[0], np.random.default_rng(2), {0.0: [], 0.7: []}
    for cancel, found in scores.items():
        for _ in range(8):
            planted, (i, a, b) = layer.planted(0.3, rng, cancel=cancel)
            reads, writes, _ = planted.weights()
            only = np.zeros((12, 12), dtype=bool)
            only[a, b] = True
            hits = asymmetric.search(reads, writes, 300, allowed=only, team=2)
            found.append(hits.score[hits.neuron == i].max(initial=0))
    assert np.median(scores[0.0]) < np.median(scores[0.7]) / 2
