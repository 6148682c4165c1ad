"""4.13: targets, layers by hand and what read-outs see of them, and the contract on a small run."""

from __future__ import annotations

import numpy as np
import pytest

import superscope as ss
from superscope import studies
from superscope.studies import p4_13_many_hidden_features as study
from superscope.toys import hidden_features as toys
from superscope.toys.aligned import AlignedPairs

TINY = {"n": 4, "hidden": 6, "steps": 200, "features": 2, "level_steps": 200, "restarts": 2, "bits": 5, "neurons": 6,
        "sum_steps": 400, "seeds": 5}  # fmt: skip


def test_one_hot_codes():
    assert toys.one_hot(np.array([[0.0, 3.0]]))[0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]


def test_rank_two_coefficients_are_a_rank_two_form_off_the_diagonal():
    n, c = 7, toys.coefficients(7, 2, 0)
    u = np.random.default_rng([0, 2]).standard_normal((2, n))
    form = np.outer(u[0], u[0]) - np.outer(u[1], u[1])
    assert np.corrcoef(form[np.triu_indices(n, 1)], c)[0, 1] == pytest.approx(1)
    assert (toys.coefficients(7, 0, 0) ** 2).mean() == pytest.approx(1)


@pytest.mark.parametrize(("hidden", "left"), [(9, 0), (6, 3)])
def test_whole_neurons_have_the_yardsticks_loss(hidden, left):
    n, p = 4, 0.1
    rest, cost = toys.without_a_neuron(p)
    start = toys.stacked([toys.whole_neurons(n, hidden, rest, 0.0, 0)])
    sweep = ss.Sweep(AlignedPairs(n, hidden, "relu", target="max-all-pairs"), ss.SparseFeatures(n, p), seeds=1, init=start)
    assert float(sweep.train(ss.Recipe.fast(steps=0)).loss[0]) == pytest.approx(left * cost, rel=0.03, abs=1e-9)


def test_a_pair_without_a_neuron_by_brute_force():
    p, rng = 0.2, np.random.default_rng(0)
    x = rng.random((40_000, 2)) * (rng.random((40_000, 2)) < p)
    best = min(
        ((np.maximum(a * x.sum(1) + b, 0) - x.max(1)) ** 2).mean()
        for a in np.linspace(0.8, 1.1, 9) for b in np.linspace(-0.1, 0.05, 9)
    )  # fmt: skip
    assert best == pytest.approx(toys.without_a_neuron(p)[1], rel=0.1)


def test_fresh_read_outs_see_planted_ands_and_none_in_a_linear_layer():
    config = study.Config(bits=8, neurons=12)
    weight = np.random.default_rng(0).standard_normal((8, 12))
    layers = [toys.an_and_a_neuron(8, 12, 3), lambda x: x @ weight]
    found = study.inside(config, [1, 2], layers)
    assert found["ANDs per neuron"][0] >= 0.9
    assert found["ANDs per neuron"][1] == 0
    assert found["share"][0] > 0.3 > 0.05 > abs(found["share"][1])


def test_joined_networks_are_the_networks():
    rng = np.random.default_rng(0)
    nets = [
        {"W": rng.random((k, 1)), "b_hidden": rng.random(k), "W_out": rng.random((5, k)), "b_out": rng.random(5)}
        for k in (1, 3)
    ]
    both, x = toys.joined_levels(nets, 0.0, 0), np.array([2.0, 4.0])
    said = np.maximum(both["W"] @ x + both["b_hidden"], 0) @ both["W_out"].T + both["b_out"]
    for i, net in enumerate(nets):
        alone = np.maximum(net["W"][:, 0] * x[i] + net["b_hidden"], 0) @ net["W_out"].T + net["b_out"]
        assert said[5 * i : 5 * i + 5] == pytest.approx(alone, rel=1e-5)


def test_a_small_run(tmp_path):
    found = studies.get("4.13").run(out=tmp_path, quiet=True, **TINY)
    assert [c.id for c in found.claims] == ["maxima", "maxima-planted", "levels", "inside", "computed", "rank"]
    by_id = {c.id: c for c in found.claims}
    assert by_id["inside"].null.estimate.value == 0
    assert by_id["inside"].plant.estimate.value >= 0.5
    assert set(found.tables) == {"arms", "retractions"}


def test_an_untrained_sum_fails_the_gate(tmp_path):
    found = studies.get("4.13").run(out=tmp_path, quiet=True, **{**TINY, "sum_steps": 0})
    assert found.verdict == "gate failed"
