"""Argmaxable label sets: the Fourier layer, a layer that cannot, and brute force."""

from __future__ import annotations

import itertools

import numpy as np

from superscope.measure.weights.argmaxable import argmaxable, fourier_layer


def test_fourier_layer_reaches_every_set_of_k_and_not_one_rank_less():
    for n, k in ((7, 1), (8, 2), (9, 3)):
        sets = list(itertools.combinations(range(n), k))
        assert argmaxable(fourier_layer(n, k), sets).all()
    assert not argmaxable(fourier_layer(8, 2)[:, :4], list(itertools.combinations(range(8), 2))).all()


def test_agrees_with_random_search():
    rng = np.random.default_rng(0)
    u = rng.standard_normal((5, 2))
    sets = list(itertools.combinations(range(5), 2))
    seen = {tuple(np.flatnonzero(row > 0)) for row in rng.standard_normal((20_000, 2)) @ u.T}
    assert argmaxable(u, sets).tolist() == [s in seen for s in sets]
