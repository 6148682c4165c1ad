"""4.11: the identity behind it, planted networks, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superscope import studies
from superscope.measure import spline_floor
from superscope.studies import p4_11_gelu_matters as study

TINY = {"restarts": 3, "steps": 2000, "n": 4, "hidden": (4, 6), "many_steps": 200, "seeds": 5}
X = np.linspace(-1, 1, 2001)


def planted(eps: float) -> study.Nets:
    """x^2 from two GELUs at input scale eps: GELU(z) + GELU(-z) ~ sqrt(2 / pi) z^2."""
    z = np.array([[eps, -eps]])
    out = np.full((1, 2), np.sqrt(np.pi / 2) / eps**2)
    return study.Nets(z, np.zeros((1, 2)), out, np.zeros(1), np.zeros(1))


def test_error_vanishes_with_the_input_scale():
    errors = [((planted(e).output(X, "gelu")[0] - X**2) ** 2).mean() for e in (0.5, 0.3, 0.1)]
    assert errors[0] > 5 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-5 < spline_floor(5) < spline_floor(3)


def test_surgery_on_the_planted_network():
    nets = planted(0.1)
    kept = study.explained(nets, "Taylor polynomial", X, X**2)[0]
    assert kept == pytest.approx(1, abs=1e-9)  # the polynomial is the square
    assert study.explained(nets, "line", X, X**2)[0] < 0
    assert study.explained(nets, "relu", X, X**2)[0] < 0


def test_flat_point_is_a_zero_of_the_fourth_derivative_and_beats_the_origin():
    z, h = study.FLAT, 0.02
    stencil = np.array([1, -4, 6, -4, 1]) @ study.gelu(z + h * np.arange(-2, 3)) / h**4
    assert abs(stencil) < 1e-3
    errors = []
    for b in (0.0, -z):
        w = np.array([[0.5, -0.5]])
        design = np.column_stack([study.gelu(0.5 * X + b) + study.gelu(-0.5 * X + b), np.ones_like(X)])
        fit = np.linalg.lstsq(design, X**2, rcond=None)[0]
        nets = study.Nets(w, np.full((1, 2), b), np.full((1, 2), fit[0]), fit[1:], np.zeros(1))
        errors.append(((nets.output(X, "gelu")[0] - X**2) ** 2).mean())
        assert study.explained(nets, "shifted Taylor", X, X**2)[0] > 0.95
    assert errors[1] < errors[0] / 20


def test_noise_threshold_by_simulation():
    nets, rng = planted(0.3), np.random.default_rng(0)
    flat = study.Nets(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), np.full(1, 1 / 3), np.zeros(1))  # answers the mean
    tau = study.noise_threshold((nets, "gelu"), (flat, "relu"), X, X**2)[0]
    h = np.repeat(nets.hidden(X, "gelu")[0], 50, axis=0)
    noisy = (h + tau * np.sqrt((h**2).mean(0)) * rng.standard_normal(h.shape)) @ nets.out[0]
    assert ((noisy - np.repeat(X, 50) ** 2) ** 2).mean() == pytest.approx(np.var(X**2), rel=0.03)


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.11").run(out=tmp_path, quiet=True, **TINY)
    by_id = {c.id: c for c in found.claims}
    assert by_id["square"].null.estimate.value >= 0.99 * spline_floor(3)  # a theorem
    assert by_id["square"].estimate.value < by_id["square"].null.estimate.value
