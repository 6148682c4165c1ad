"""4.11: the identity behind it, planted networks, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import superscope as ss
from superscope import studies
from superscope.evidence.rule import Rule
from superscope.measure import spline_floor
from superscope.studies import p4_11_gelu_matters as study
from superscope.studies.p4_11_gelu_matters import networks, plants

TINY = {"restarts": 3, "steps": 2000, "n": 4, "hidden": (4, 6), "many_steps": 200, "seeds": 5}
X = np.linspace(-1, 1, 2001)


def planted(eps: float) -> networks.Nets:
    """x^2 from two GELUs at input scale eps: GELU(z) + GELU(-z) ~ sqrt(2 / pi) z^2."""
    z = np.array([[eps, -eps]])
    out = np.full((1, 2), np.sqrt(np.pi / 2) / eps**2)
    return networks.Nets(z, np.zeros((1, 2)), out, np.zeros(1), np.zeros(1))


def test_error_vanishes_with_the_input_scale():
    errors = [((planted(e).output(X, "gelu")[0] - X**2) ** 2).mean() for e in (0.5, 0.3, 0.1)]
    assert errors[0] > 5 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-5 < spline_floor(5) < spline_floor(3)


def test_surgery_on_the_planted_network():
    nets = planted(0.1)
    kept = networks.explained(nets, "Taylor polynomial", X, X**2)[0]
    assert kept == pytest.approx(1, abs=1e-9)  # the polynomial is the square
    assert networks.explained(nets, "line", X, X**2)[0] < 0
    assert networks.explained(nets, "relu", X, X**2)[0] < 0


def test_flat_point_is_a_zero_of_the_fourth_derivative_and_beats_the_origin():
    z, h = networks.FLAT, 0.02
    stencil = np.array([1, -4, 6, -4, 1]) @ networks.gelu(z + h * np.arange(-2, 3)) / h**4
    assert abs(stencil) < 1e-3
    errors = []
    for b in (0.0, -z):
        w = np.array([[0.5, -0.5]])
        design = np.column_stack([networks.gelu(0.5 * X + b) + networks.gelu(-0.5 * X + b), np.ones_like(X)])
        fit = np.linalg.lstsq(design, X**2, rcond=None)[0]
        nets = networks.Nets(w, np.full((1, 2), b), np.full((1, 2), fit[0]), fit[1:], np.zeros(1))
        errors.append(((nets.output(X, "gelu")[0] - X**2) ** 2).mean())
        assert networks.explained(nets, "shifted Taylor", X, X**2)[0] > 0.95
    assert errors[1] < errors[0] / 20


def test_noise_threshold_by_simulation():
    nets, rng = planted(0.3), np.random.default_rng(0)
    flat = networks.Nets(
        np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), np.full(1, 1 / 3), np.zeros(1)
    )  # answers the mean
    tau = networks.noise_threshold((nets, "gelu"), (flat, "relu"), X, X**2)[0]
    h = np.repeat(nets.hidden(X, "gelu")[0], 50, axis=0)
    noisy = (h + tau * np.sqrt((h**2).mean(0)) * rng.standard_normal(h.shape)) @ nets.out[0]
    assert ((noisy - np.repeat(X, 50) ** 2) ** 2).mean() == pytest.approx(np.var(X**2), rel=0.03)


RULES = {row.id: Rule.parse(row.rule) for row in study.EXPECTED}


def best_spline(neurons: int) -> networks.Nets:
    """Four times the best H + 1 pieces for x^2, which H ReLUs reach if H is even."""
    side, step = np.resize([1.0, -1.0], neurons), 2 / (neurons + 1)
    kinks = step * (np.arange(neurons) // 2 + 0.5)
    c = np.full(1, (step / 2) ** 2 / 3)
    nets = networks.Nets(*(np.repeat(v, 4, 0) for v in (side[None], -kinks[None], np.full((1, neurons), 2 * step), c, c)))
    assert ((nets.output(X, "relu") - X**2) ** 2).mean(1) == pytest.approx(spline_floor(neurons + 1), rel=0.01)
    return nets


def test_plants_by_hand_pass_and_nulls_fail():
    seeds = range(4)
    zero, flat = plants.by_hand(seeds, 0.0, X), plants.by_hand(seeds, -networks.FLAT, X)

    def passing(row: str, values: np.ndarray) -> int:
        return sum(map(RULES[row].holds, values))

    assert passing("small", networks.inside(zero, X)) == 4
    assert passing("taylor", networks.explained(zero, "Taylor polynomial", X, X**2)) == 4
    assert passing("taylor", networks.explained(zero, "line", X, X**2)) == 0
    assert passing("shifted", networks.explained(flat, "shifted Taylor", X, X**2)) >= 3
    assert passing("not-relu", networks.explained(flat, "relu", X, X**2)) == 4
    assert passing("not-relu", networks.explained(flat, "shifted Taylor", X, X**2)) == 0
    two, four = best_spline(2), best_spline(4)
    assert passing("fragile", networks.noise_threshold((zero, "gelu"), (two, "relu"), X, X**2)) == 4
    assert passing("fragile", networks.noise_threshold((four, "relu"), (two, "relu"), X, X**2)) == 0


def test_trainings_started_at_a_solution_stay_there():
    def train(n: int, hidden: int, target: str, plan: str, density: float = 1.0, activation: str = "gelu") -> np.ndarray:
        toy = study.toy(n, hidden, activation, target, plan)
        sweep = ss.Sweep(toy, ss.SparseFeatures(n, density, ss.SignedUniform()), seeds=2)
        return sweep.train(ss.Recipe.fast(steps=1000, lr=2e-2 if n < 3 else 1e-2, warmup=0.1)).loss.values

    assert all(map(RULES["square"].holds, train(1, 2, "square", "flat")))
    assert all(map(RULES["square"].holds, train(2, 4, "product", "flat")))
    assert (train(1, 2, "abs", "kink") > train(1, 2, "abs", "kink", activation="relu")).all()
    ratio = train(4, 6, "square", "minimum", 0.1) / train(4, 6, "square", "", 0.1, "relu")
    assert all(map(RULES["superposed"].holds, ratio))


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.11").run(out=tmp_path, quiet=True, **TINY)
    by_id = {c.id: c for c in found.claims}
    assert by_id["square"].null.estimate.value >= 0.99 * spline_floor(3)  # a theorem
    assert by_id["square"].estimate.value < by_id["square"].null.estimate.value
