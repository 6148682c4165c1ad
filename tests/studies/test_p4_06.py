"""4.6: closed forms, the planted exact network, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import superscope as ss
from superscope import studies
from superscope.evidence.rule import Rule
from superscope.studies import p4_06_max_of_two as study
from superscope.studies.p4_06_max_of_two.plants import Allocated
from superscope.toys.aligned import AlignedPairs

TINY = {
    "n": 8, "n_all": 4, "hidden": (2, 4, 6), "hidden_all": (4, 6), "densities": (0.1, 0.03), "steps": 200, "restarts": 4,
    "seeds": 5,
}  # fmt: skip


def test_variance_of_the_maximum():
    x = ss.SparseFeatures(2, 0.3).draw(np.random.default_rng(0), 400_000).astype(float)
    assert study.variance(0.3) == pytest.approx(x.max(1).var(), rel=0.01)


def test_naive_counts():
    config, cost = study.Config(n=6, n_all=4), np.array([1.0, 0.1, 0.0])
    assert study.naive(config, "disjoint", 6, cost) == 0
    assert study.naive(config, "disjoint", 3, cost) == pytest.approx(0.3)
    assert study.naive(config, "disjoint", 2, cost) == pytest.approx(1.2)
    assert study.naive(config, "all", 3 + 6, cost) == 0
    assert study.naive(config, "all", 8, cost) == pytest.approx(0.1)
    assert study.naive(config, "all", 5, cost) == pytest.approx(0.5)
    assert study.naive(config, "all", 4, cost) == pytest.approx(0.6)


def test_two_neurons_are_exact():
    w = {"W": [[1.0, 0.0], [-1.0, 1.0]], "b_hidden": [0.0, 0.0], "W_out": [[1.0, 1.0]], "b_out": [0.0]}
    x = torch.rand(64, 2)
    y = AlignedPairs(2, 2).forward({k: torch.tensor(v) for k, v in w.items()}, x)
    assert torch.allclose(y[:, 0], x.max(1).values, atol=1e-6)


def test_outputs_start_alive():
    start = AlignedPairs(6, 8, target="max-all-pairs").initial(np.random.default_rng(0))
    assert start["W_out"].shape == (15, 8)
    assert (start["W_out"] >= 0).all()


def test_plants_pass_and_nulls_fail():
    """Started at the solution training stays exact; one neuron more beats the allocation, none more only meets it."""
    rule = {row.id: Rule.parse(row.rule) for row in study.EXPECTED}
    for target, n, hidden in (("max", 6, 6), ("max-all-pairs", 4, 9)):
        toy = Allocated(n, hidden, activation="identity", target=target)
        run = ss.Sweep(toy, ss.SparseFeatures(n, 0.5), seeds=2).train(ss.Recipe.careful(2500, lr=1e-2))
        assert (run.loss.values < 1e-6).all()
    config, p = study.Config(), 0.03
    one = 2 * p**2 / 2 / 6  # at most: what ReLU(x + y) costs, E min(x, y)^2 = 1/6 where both are on
    base = study.naive(config, "disjoint", 15, np.array([study.variance(p), one, 0.0]))
    for hidden, beats in ((16, True), (15, False)):
        toy = Allocated(config.n, hidden, activation="identity", noise=0.01)
        run = ss.Sweep(toy, ss.SparseFeatures(config.n, p), seeds=2).train(ss.Recipe.careful(0))
        assert all(rule["pays-identity-15"].holds(v) == beats for v in run.loss.values / base)


def test_error_of_planted_networks():
    """Whole neurons err where both inputs of a pair are on; where pairs have none, elsewhere."""
    config, rule = study.Config(), next(Rule.parse(row.rule) for row in study.EXPECTED if row.id == "both-on")
    for hidden, passes in ((15, True), (5, False)):
        over = {"n_hidden": [hidden], "density": [0.1]}
        sweep = ss.Sweep(Allocated(config.n, 1, noise=0.05), ss.SparseFeatures(config.n), over=over, seeds=2)
        split = study.both_on_share(config, sweep.train(ss.Recipe.careful(0)), hidden, 0)
        assert all(rule.holds(v) == passes for v in split[split.on == 2].share)


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.6").run(out=tmp_path, quiet=True, **TINY)
    assert found.gate.passed  # one pair, two neurons: exact
    by_id = {c.id: c for c in found.claims}
    assert by_id["exact-disjoint"].null.estimate.value == 0
    assert (
        by_id["pays-identity-5"].estimate.value > 0.95
    )  # half a neuron per pair, rank bound: two neurons cannot serve four pairs
