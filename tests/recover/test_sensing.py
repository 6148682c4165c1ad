"""Compressed sensing: known points of the Donoho-Tanner curve, recovery of easy and impossible codes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from superscope.recover import donoho_tanner, half_point, nnls, recovery


def test_known_points_of_the_curve():
    assert float(donoho_tanner(0.5)) == pytest.approx(0.558, abs=1e-3)
    assert float(donoho_tanner(0.5, signed=True)) == pytest.approx(0.385, abs=1e-3)
    grid = donoho_tanner(np.array([0.05, 0.2, 0.5, 0.9, 0.999]))
    assert (np.diff(grid) > 0).all()
    assert grid[-1] > 0.97
    with pytest.raises(ValueError, match="between 0 and 1"):
        donoho_tanner(1.0)


def test_nnls_agrees_with_the_linear_programme():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((8, 32))
    for _ in range(10):
        x = np.zeros(32)
        x[rng.choice(32, 2, replace=False)] = rng.random(2)
        answer = linprog(np.ones(32), A_eq=w, b_eq=w @ x, bounds=(0, None)).x
        assert np.allclose(nnls(w, (w @ x)[None])[0], answer, atol=0.01)


def test_recovery_of_easy_and_impossible_codes():
    rng = np.random.default_rng(0)
    assert recovery(np.eye(5), 5, rng) == 1
    assert recovery(np.array([[1.0, -1.0]]), 2, rng) == 0  # an antipodal pair: only the difference is there
    assert recovery(np.array([[1.0, -1.0]]), 1, rng) == 1
    with pytest.raises(ValueError, match="between 1 and 5"):
        recovery(np.eye(5), 6, rng)


def test_half_point_interpolates():
    k = np.array([1, 2, 3])
    assert half_point(k, np.array([1.0, 0.75, 0.25])) == pytest.approx(2.5)
    assert half_point(k, np.array([1.0, 1.0, 1.0])) == 3
    assert half_point(k, np.array([0.0, 0.0, 0.0])) == pytest.approx(0.5)
