"""The TMS reproduction: its helpers on planted truth, the contract on a small run, and a gate that can fail."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from superscope import measure, studies
from superscope.measure import theory
from superscope.studies.tms import bottleneck, incidental, neurons, phases, structure

TINY = {
    "seeds": 8,
    "speed": 0.05,
    "phase_cells": 4,
    "large_n": 12,
    "large_m": 3,
    "large_points": 4,
    "large_seeds": 5,
    "dynamics_steps": 60,
    "snapshots": 6,
    "incidental_n": 8,
}


def test_contract_on_a_small_run(tmp_path: Path) -> None:
    found = studies.get("tms").run(out=tmp_path, quiet=True, **TINY)
    ids = {claim.id for claim in found.claims}
    assert {
        "T1-linear",
        "T2-pentagon",
        "T3-phases",
        "T4-boundary",
        "T5-digons",
        "T6-levels",
        "T8-correlated",
        "T10-jumps",
    } <= ids
    assert {"T11-rises", "T12-polysemantic", "T13-exact", "hidden-relu", "T17-count"} <= ids
    document = json.loads(next(tmp_path.glob("tms/*/findings.json")).read_text())
    schema = json.loads(resources.files("superscope").joinpath("findings.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert len(found.figures) >= 8


def test_gate_fails_when_nothing_is_learned(tmp_path: Path) -> None:
    found = studies.get("tms").run(out=tmp_path, quiet=True, **{**TINY, "speed": 1e-9})
    assert not found.gate.passed
    assert {claim.verdict for claim in found.claims} == {"gate failed"}


def test_structure_of_three_on_planted_weights() -> None:
    alone = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])  # features 1 and 2 share, the extra one has its own dimension
    shares = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    absent = np.array([[1.0, 0.0, 0.1], [0.0, 1.0, 0.1]])
    triangle = np.array([[1.0, -0.5, -0.5], [0.0, 0.87, -0.87]])
    assert phases.structure_of_three(np.stack([alone, shares, absent, triangle])).tolist() == [2, 1, 0, 3]


def test_interior_leaves_out_the_cells_at_a_boundary() -> None:
    phase = np.repeat([[0, 0, 0, 1, 1]], 3, axis=0)
    assert phases.interior(phase).tolist() == [[True, True, False, False, True]] * 3


def test_exact_phases_agree_with_theory_on_both_sides_of_equal_importance() -> None:
    class Lab:
        def progress(self, items, label):
            return items

        def unit(self, key, compute):
            return compute()

    ratios, grid = np.geomspace(0.1, 10, 5), np.array([0.05, 0.9])
    phase, loss, weights = phases.exact_phases(ratios, grid, Lab())
    for i, p in enumerate(grid):
        for j, r in enumerate(ratios):
            optimum = theory.two_feature_optimum(p, r)
            assert theory.PHASES[phase[i, j]] == optimum.phase
            assert loss[i, j] == pytest.approx(optimum.loss, rel=1e-4)
    assert (theory.two_feature_phase(weights[..., 0], weights[..., 1]) == phase).all()


def test_half_absolute_neurons_on_planted_weights() -> None:
    w_in = np.array([[2.0, 0.0], [-0.5, 0.0], [0.0, 1.0], [0.0, -1.0], [1.0, 1.0]])
    w_out = np.array([[0.5, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0, 1.0]])
    assert measure.half_absolute_neurons(w_in, w_out).tolist() == [True, True, True, True, False]
    noise = np.random.default_rng(0).normal(size=(20, 2, 6, 3))
    assert measure.half_absolute_neurons(noise[:, 0], np.swapaxes(noise[:, 1], -1, -2)).mean() < 0.05


def test_monosemantic_model_is_exact_on_what_it_keeps() -> None:
    w, b = structure.monosemantic(5, 2, density=1.0, mean=0.5)
    x = np.random.default_rng(0).random((100, 5))
    y = np.maximum(x @ w.T @ w + b, 0)
    np.testing.assert_allclose(y[:, :2], x[:, :2])
    assert (y[:, 2:] == 0.5).all()


def test_the_ideal_packing_reaches_the_levels_as_far_as_dimensions_do() -> None:
    """Few features: all on levels. More than m / (3/8) of them: the plant of T6 cannot pass, so no verdict can stand on it."""
    rng = np.random.default_rng(0)

    def near(count: int, m: int = 9) -> float:
        d = measure.dimensionality(bottleneck.polytopes(count, m, rng))
        return float((np.abs(d[:, None] - np.array(measure.TMS_LEVELS)) < 0.01).any(1).mean())

    assert near(9) == near(18) == near(24) == 1
    assert near(60) < 0.5


def test_planted_jumps_show_and_foreign_ones_do_not() -> None:
    rank = structure.rank_correlations(*structure.planted_jumps((16, 40), np.random.default_rng(0)))
    own, foreign = structure.own_excess(rank), structure.foreign_excess(rank)
    assert own.min() > 0
    assert abs(foreign.mean()) < 0.5 * own.mean()


def test_the_exact_network_computes_the_absolute_value() -> None:
    made = neurons.exact_network(range(3), np.random.default_rng(0))
    x = np.random.default_rng(1).uniform(-1, 1, (50, 3))
    for W, W_out in zip(made["W"], made["W_out"], strict=True):
        np.testing.assert_allclose(np.maximum(x @ W.T, 0) @ W_out.T, np.abs(x), atol=1e-12)


def test_collapse_counts_pairs_that_share_a_direction() -> None:
    rng = np.random.default_rng(0)
    assert (structure.collapsed(structure.staircases(50, rng)) == np.arange(3, -1, -1)[:, None]).all()
    wide = np.radians([0, 25, 90, 115, 200, 225])
    apart = np.stack([np.cos(wide), np.sin(wide)])
    assert structure.collapsed(apart) == 0
    dead = apart.copy()
    dead[:, :2] = np.array([[1.0, 0.01], [0, 0]])  # one of the two is hardly there
    assert structure.collapsed(dead) == 0


def test_exact_losses_agree_with_samples() -> None:
    import superscope as ss

    rng, grid = np.random.default_rng(0), np.array([0.3, 0.8])
    w, b = rng.normal(size=(2, 3, 2)), 0.1 * rng.normal(size=(2, 3, 2))
    for activation in ("relu", "identity"):
        exact = phases.exact_losses(w, b, grid, activation)
        for i, p in enumerate(grid):
            x = ss.SparseFeatures(2, float(p)).draw(np.random.default_rng(1), 200_000).astype(float)
            for j in range(3):
                y = x @ np.outer(w[i, j], w[i, j]) + b[i, j]
                y = np.maximum(y, 0) if activation == "relu" else y
                assert ((x - y) ** 2).sum(1).mean() == pytest.approx(exact[i, j], rel=0.02)


def test_near_levels_leaves_out_densities_without_room() -> None:
    import xarray as xr

    d = xr.DataArray(np.array([[[0.5] * 4 + [0.0] * 5], [[0.3] * 9]]), dims=("density", "seed", "feature"))
    represented = d > 0
    assert bottleneck.near_levels(d, represented, 3) == pytest.approx([1.0])  # 9 features have no room in 3 dimensions
    assert bottleneck.near_levels(d, represented, 4) == pytest.approx([4 / 13])


def test_polysemantic_neurons_have_a_second_weight() -> None:
    W = np.zeros((1, 4, 6))
    W[0, 0, 0] = W[0, 1, 1] = W[0, 2, 2] = 1.0
    W[0, 1, 3], W[0, 2, 4] = -0.4, 0.2
    W[0, 3, 5] = 0.01  # a dead neuron
    assert [neurons.polysemantic(W, tau)[0] for tau in (0.1, 0.3, 0.5)] == [2, 1, 0]


def test_planted_collisions_follow_the_theory_with_and_without_signs() -> None:
    rng, n, m = np.random.default_rng(0), 24, 48
    start = rng.standard_normal((60, m, n)) / np.sqrt(m)
    kept, driven, rich = incidental.planted(start, range(60), rng)
    assert kept.collisions.mean() == pytest.approx(2, abs=0.25)
    assert driven.collisions.mean() == pytest.approx(1, abs=0.25)
    assert rich.winners.mean() == pytest.approx(0.9, abs=0.05)


def test_collisions_and_winners_on_planted_weights() -> None:
    W = np.zeros((1, 5, 4))
    W[0, 0, 0], W[0, 0, 1], W[0, 0, 2], W[0, 3, 3] = 1, -0.9, 0.8, 0.4  # three on one neuron; the fourth has none
    assert incidental.shared(W)[0] == 3
    assert incidental.winners(W, W)[0] == 1
    assert incidental.winners(W, np.roll(W, 1, axis=1))[0] == 0


def test_the_penalty_leaves_every_feature_one_neuron_and_opposite_pairs() -> None:
    import superscope as ss
    from superscope.studies.tms.config import Config

    config = Config(incidental_n=12)
    sweep = ss.Sweep(ss.Bottleneck(12, 24, output_bias=False), ss.SparseFeatures(12, 1 / 12, values=ss.Constant(1)), seeds=6)
    W = sweep.train(incidental.recipe(config, 0.03)).W.transpose("seed", "hidden", "feature").values
    big = np.where(np.abs(W) > 0.5, np.sign(W), 0)
    assert (np.abs(big).sum(1) == 1).all()
    pairs = np.einsum("smi,smj->sij", big, big)[:, *np.triu_indices(12, 1)]
    assert (pairs <= 0).all()  # equal signs are driven out
