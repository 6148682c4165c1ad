"""4.11: the identity behind it, planted networks, and the contract on a small run."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import superscope as ss
from superscope import studies
from superscope.evidence.rule import Rule
from superscope.measure import spline_floor
from superscope.studies import p4_11_gelu_matters as study
from superscope.studies.p4_11_gelu_matters import measured
from superscope.toys import gates, gelu_pairs

TINY = {"restarts": 3, "steps": 2000, "n": 4, "hidden": (4, 6), "many_steps": 200, "seeds": 5, "inputs": (8, 12), "layers": 5,
        "asked": 2, "widths": 4}  # fmt: skip
X = np.linspace(-1, 1, 2001)


def planted(eps: float) -> gelu_pairs.Nets:
    """x^2 from two GELUs at input scale eps: GELU(z) + GELU(-z) ~ sqrt(2 / pi) z^2."""
    z = np.array([[eps, -eps]])
    out = np.full((1, 2), np.sqrt(np.pi / 2) / eps**2)
    return gelu_pairs.Nets(z, np.zeros((1, 2)), out, np.zeros(1), np.zeros(1))


def test_error_vanishes_with_the_input_scale():
    errors = [((planted(e).output(X, "gelu")[0] - X**2) ** 2).mean() for e in (0.5, 0.3, 0.1)]
    assert errors[0] > 5 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-5 < spline_floor(5) < spline_floor(3)


def test_surgery_on_the_planted_network():
    nets = planted(0.1)
    kept = gelu_pairs.explained(nets, "Taylor polynomial", X, X**2)[0]
    assert kept == pytest.approx(1, abs=1e-9)  # the polynomial is the square
    assert gelu_pairs.explained(nets, "line", X, X**2)[0] < 0
    assert gelu_pairs.explained(nets, "relu", X, X**2)[0] < 0


def test_flat_point_is_a_zero_of_the_fourth_derivative_and_beats_the_origin():
    z, h = gelu_pairs.FLAT, 0.02
    stencil = np.array([1, -4, 6, -4, 1]) @ gelu_pairs.gelu(z + h * np.arange(-2, 3)) / h**4
    assert abs(stencil) < 1e-3
    errors = []
    for b in (0.0, -z):
        w = np.array([[0.5, -0.5]])
        design = np.column_stack([gelu_pairs.gelu(0.5 * X + b) + gelu_pairs.gelu(-0.5 * X + b), np.ones_like(X)])
        fit = np.linalg.lstsq(design, X**2, rcond=None)[0]
        nets = gelu_pairs.Nets(w, np.full((1, 2), b), np.full((1, 2), fit[0]), fit[1:], np.zeros(1))
        errors.append(((nets.output(X, "gelu")[0] - X**2) ** 2).mean())
        assert gelu_pairs.explained(nets, "shifted Taylor", X, X**2)[0] > 0.95
    assert errors[1] < errors[0] / 20


RULES = {row.id: Rule.parse(row.rule) for row in study.EXPECTED}


def test_the_best_spline_of_two_hinges_has_the_floor():
    side, step = np.array([1.0, -1.0]), 2 / 3
    c = np.full(1, (step / 2) ** 2 / 3)
    nets = gelu_pairs.Nets(side[None], np.full((1, 2), -step / 2), np.full((1, 2), 2 * step), c, c)
    assert ((nets.output(X, "relu") - X**2) ** 2).mean() == pytest.approx(spline_floor(3), rel=0.01)


def test_plants_by_hand_pass_and_nulls_fail():
    seeds = range(4)
    zero, flat = gelu_pairs.by_hand(seeds, 0.0, X), gelu_pairs.by_hand(seeds, -gelu_pairs.FLAT, X)

    def passing(row: str, values: np.ndarray) -> int:
        return sum(map(RULES[row].holds, values))

    assert passing("small", gelu_pairs.inside(zero, X)) == 4
    assert passing("taylor", gelu_pairs.explained(zero, "Taylor polynomial", X, X**2)) == 4
    assert passing("taylor", gelu_pairs.explained(zero, "line", X, X**2)) == 0
    assert passing("shifted", gelu_pairs.explained(flat, "shifted Taylor", X, X**2)) >= 3
    assert passing("not-relu", gelu_pairs.explained(flat, "relu", X, X**2)) == 4
    assert passing("not-relu", gelu_pairs.explained(flat, "shifted Taylor", X, X**2)) == 0


def test_trainings_started_at_a_solution_stay_there():
    def train(n: int, hidden: int, target: str, plan: str, density: float = 1.0, activation: str = "gelu") -> np.ndarray:
        toy = measured.toy(n, hidden, activation, target, plan)
        sweep = ss.Sweep(toy, ss.SparseFeatures(n, density, ss.SignedUniform()), seeds=2)
        return sweep.train(ss.Recipe.fast(steps=1000, lr=2e-2 if n < 3 else 1e-2, warmup=0.1)).loss.values

    assert all(map(RULES["square"].holds, train(1, 2, "square", "flat")))
    assert all(map(RULES["square"].holds, train(2, 4, "product", "flat")))
    assert (train(1, 2, "abs", "kink") > train(1, 2, "abs", "kink", activation="relu")).all()
    ratio = train(4, 6, "square", "minimum", 0.1) / train(4, 6, "square", "", 0.1, "relu")
    assert all(map(RULES["superposed"].holds, ratio))


def triples_over_pairs(kind: str) -> float:
    """R.m.s. coefficient of products of three bits over that of two, in random neurons."""
    rng = np.random.default_rng(0)
    w, b, f = rng.standard_normal((20_000, 3)), 0.5 * rng.standard_normal(20_000), gates.ACTIVATIONS[kind]
    corner = {s: f(b + w @ np.array(s)) for s in itertools.product((0, 1), repeat=3)}
    pair = corner[1, 1, 0] - corner[1, 0, 0] - corner[0, 1, 0] + corner[0, 0, 0]
    triple = sum((-1) ** (3 - sum(s)) * value for s, value in corner.items())
    return float(np.sqrt((triple**2).mean() / (pair**2).mean()))


def test_who_makes_triples():
    assert triples_over_pairs("z²") < 1e-9
    assert triples_over_pairs("GELU at scale 0.1") < 0.1
    assert triples_over_pairs("z² + z³/5") > 0.4
    assert triples_over_pairs("ReLU") > 0.6


def test_ands_of_random_layers_by_activation():
    """The planted truth (squares) and the null (a cube added) of "packs", on a few layers."""
    found = measured.and_layers(study.Config(inputs=(16,), asked=4, widths=6), [3, 4])
    mean = found.groupby("arm")["ANDs per neuron"].mean()
    assert RULES["packs"].holds(mean["z²"] / mean["ReLU"])
    assert not RULES["packs"].holds(mean["z² + z³/5"] / mean["ReLU"])


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.11").run(out=tmp_path, quiet=True, **TINY)
    by_id = {c.id: c for c in found.claims}
    assert by_id["square"].null.estimate.value >= 0.99 * spline_floor(3)  # a theorem
    assert by_id["square"].estimate.value < by_id["square"].null.estimate.value
