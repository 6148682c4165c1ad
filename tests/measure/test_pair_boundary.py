"""The exact boundary of two features in one dimension: against samples, against the ReLU's closed theory, and its ends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import erf

import superscope as ss
from superscope.measure import theory
from superscope.measure.weights.pair_boundary import gelu_pair, pair_boundary


def test_the_loss_of_the_optimum_is_what_samples_say_and_no_neighbour_is_better() -> None:
    p, r, s = 0.2, 0.3, 1.0
    loss, (w1, w2, b1, b2) = gelu_pair(p, r, s)
    x = ss.SparseFeatures(2, p).draw(np.random.default_rng(0), 100_000).astype(float)

    def sampled(w1: float, w2: float, b1: float, b2: float) -> float:
        z = (x @ [w1, w2])[:, None] * [w1, w2] + [b1, b2]
        y = z * (1 + erf(z / np.sqrt(2))) / 2
        return float(((x - y) ** 2 @ [1, r]).mean())

    assert sampled(w1, w2, b1, b2) == pytest.approx(loss, rel=0.02)
    rng = np.random.default_rng(1)
    for _ in range(5):
        step = 0.1 * rng.standard_normal(4)
        assert sampled(*(np.array([w1, w2, b1, b2]) + step)) > loss * 0.995


def test_a_sharp_gelu_has_the_optimum_of_the_relu() -> None:
    for p in (0.2, 0.5):
        assert gelu_pair(p, 0.3, 64.0)[0] == pytest.approx(theory.two_feature_optimum(p, 0.3).loss, rel=0.01)


def test_boundaries_of_relu_and_gelu() -> None:
    relu, gelu = pair_boundary(0.3), pair_boundary(0.3, 1.0, steps=5)
    assert relu == pytest.approx(0.3756, rel=0.003)
    assert gelu / relu == pytest.approx(0.659, abs=0.025)
    assert [theory.two_feature_optimum(f * relu, 0.3).phase for f in (0.99, 1.01)] == ["antipodal", "only first"]


def test_no_boundary_in_the_range_is_said() -> None:
    with pytest.raises(ValueError, match=r"no boundary between densities 0\.5 and 0\.6"):
        pair_boundary(0.3, low=0.5)
