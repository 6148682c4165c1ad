"""Motifs planted by hand, and the null."""

from __future__ import annotations

import numpy as np

from superscope.measure.weights.motifs import HALVES, motifs, regrouped, shuffled


def halves(found) -> dict[str, int]:
    return dict(zip(HALVES, found.halves.tolist(), strict=True))


def test_exact_solution_is_all_dedicated_pairs():
    w = np.concatenate([np.eye(3), -2 * np.eye(3)])
    out = np.concatenate([np.eye(3), 0.5 * np.eye(3)], axis=1)
    found = motifs(w, out)
    assert halves(found) == {"unlearned": 0, "dedicated": 6, "asymmetric": 0, "symmetric": 0, "distributed": 0}
    assert (found.pairs, found.half_absolute, found.mono, found.poly) == (3, 6, 6, 0)


def test_asymmetric_superposition_and_its_inhibitor():
    # TMS, section 8: one neuron hears 2a and -b/2 and writes a/2 and 2b; a second keeps a from switching b on.
    w, out = np.array([[2.0, -0.5]]), np.array([[0.5], [2.0]])
    alone = motifs(w, out)
    assert (alone.asymmetric, alone.inhibited) == (1, 0)
    calmed = motifs(np.array([[2.0, -0.5], [1.0, 0.0]]), np.array([[0.5, 0.0], [2.0, -4.0]]))
    assert (calmed.asymmetric, calmed.inhibited) == (1, 1)
    wrong_sign = motifs(np.array([[2.0, -0.5], [-1.0, 0.0]]), np.array([[0.5, 0.0], [2.0, -4.0]]))
    assert wrong_sign.inhibited == 0
    assert halves(alone)["asymmetric"] == 2


def test_distributed_half():
    found = motifs(np.array([[1.0, 0.0], [1.0, 0.3]]), np.array([[0.5, 0.5], [0.0, 0.0]]))
    assert halves(found) == {"unlearned": 3, "dedicated": 0, "asymmetric": 0, "symmetric": 0, "distributed": 1}


def test_rescaling_neurons_changes_nothing_but_permuting_entries_does():
    rng = np.random.default_rng(1)
    w = np.concatenate([np.eye(8), -np.eye(8)])
    out = np.abs(w).T
    scale = rng.uniform(0.1, 10, 16)
    assert motifs(w * scale[:, None], out / scale).pairs == 8
    fresh = motifs(*shuffled(w[None].repeat(50, 0), out[None].repeat(50, 0), rng))
    assert fresh.half_absolute.mean() < 4
    assert fresh.pairs.max() <= 2


def test_regrouping_keeps_the_products_of_every_neuron():
    rng = np.random.default_rng(2)
    w, out = rng.normal(size=(3, 6, 9)), rng.normal(size=(3, 9, 6))
    w1, w2 = regrouped(w, out, rng)
    before, after = w * np.swapaxes(out, -1, -2), w1 * np.swapaxes(w2, -1, -2)
    assert np.allclose(np.sort(before, -1), np.sort(after, -1))
    assert not np.allclose(before, after)
    alike = [np.allclose(before[0, 0][p], after[0, 0]) for p in [np.argsort(before[0, 0])]]
    assert not all(alike)
    motif = np.array([[2.0, -0.5, 0, 0, 0], [1.0, 0.0, 0, 0, 0]]), np.array([[0.5, 0.0], [2.0, -4.0], [0, 0], [0, 0], [0, 0]])
    many = [a[None].repeat(400, 0) for a in motif]
    assert motifs(*motif).inhibited == 1
    assert motifs(*regrouped(*many, rng)).inhibited.mean() < 0.5  # the pair of neurons must meet at both features
    assert (motifs(*regrouped(*many, rng)).asymmetric == 1).all()  # what one neuron does alone stays
