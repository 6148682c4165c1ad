"""Floors of hinge networks against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from superscope.measure import hinge_floor, shared_hinges, spline_floor
from superscope.measure.weights.hinges import FLOOR_NO_BIAS, FLOOR_TIED_KINK


def test_spline_floor_is_the_reference():
    assert [spline_floor(h + 1) for h in (1, 2, 3)] == pytest.approx([5.556e-3, 1.097e-3, 3.472e-4], rel=1e-3)
    assert spline_floor(1, 1.0) == pytest.approx(1 / 180)


def test_even_widths_reach_it_and_odd_ones_do_not():
    assert hinge_floor(2) == pytest.approx(spline_floor(3), rel=1e-3)
    assert hinge_floor(4) == pytest.approx(spline_floor(5), rel=5e-3)
    assert hinge_floor(1) > 5 * spline_floor(2)
    assert hinge_floor(3) > 1.5 * spline_floor(4)


def test_no_neuron_leaves_the_variance():
    p = 0.1
    assert hinge_floor(0, p) == pytest.approx(p / 5 - (p / 3) ** 2, rel=1e-3)


def test_floors_without_hidden_bias_by_brute_force():
    x = np.linspace(0, 1, 20_001)
    a, b = np.meshgrid(np.linspace(1.25, 1.33, 17), np.linspace(-0.41, -0.34, 15))
    loss = ((np.maximum(a[..., None] * x[::20] + b[..., None], 0) - x[::20] ** 2) ** 2).mean(-1)
    assert loss.min() == pytest.approx(FLOOR_TIED_KINK, rel=0.01)
    assert min(((s * x - x**2) ** 2).mean() for s in np.linspace(0.7, 0.8, 101)) == pytest.approx(FLOOR_NO_BIAS, rel=1e-3)


def test_shared_hinges_planted():
    w, b = np.array([[1.0, 2.0, 0.0], [1.0, 0.0, 0.0]]), np.array([-0.5, -3.0])
    out = np.array([[1.0, 1.0], [0.5, 1.0], [1.0, 1.0]])
    assert shared_hinges(w, b, out).tolist() == [[True, True, False], [False, False, False]]
