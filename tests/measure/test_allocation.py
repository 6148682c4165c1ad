"""Allocation of whole neurons: brute force, and the closed form for |x|."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from superscope import measure


def test_dynamic_programming_agrees_with_brute_force():
    rng = np.random.default_rng(0)
    cost = np.minimum.accumulate(rng.random((4, 4)), axis=1)
    for neurons in range(8):
        found = measure.best_allocation(cost, neurons)
        brute = min(
            sum(cost[t, k] for t, k in enumerate(ks)) for ks in itertools.product(range(4), repeat=4) if sum(ks) <= neurons
        )
        assert found.loss == pytest.approx(brute)
        assert found.neurons.sum() <= neurons
        assert cost[np.arange(4), np.minimum(found.neurons, 3)].sum() == pytest.approx(found.loss)


def test_not_convex():
    assert measure.best_allocation([[1.0, 1.0, 0.0], [1.0, 0.6, 0.6]], 2).neurons.tolist() == [2, 0]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="neurons=-1"):
        measure.best_allocation([[1.0, 0.0]], -1)
