"""4.16: inputs and marginals, planted decoders, the twin of the training loop, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superscope import studies
from superscope.measure import moment_curve
from superscope.recover import nnls
from superscope.studies import p4_16_simultaneous_interference as study

TINY = {"n": 7, "width": 8, "layers": 2, "steps": 20, "tied_steps": 100, "restarts": 2, "seeds": 5}


def test_every_pair_is_on_and_marginals_match():
    x = study.pairs_on(6, 10, 0)
    assert ((x > 0).sum(-1) == 2).all()
    assert ((x > 0).any(1).sum(0) == 5).all()
    rng = np.random.default_rng(0)
    on = study.TogetherOrNone(tuple(range(6))).draw(rng, np.zeros(6), 40_000)
    assert set(np.unique(on.sum(1))) == {0, 2}
    assert on.mean(0) == pytest.approx(np.full(6, 1 / 6), abs=0.01)


def test_explained_of_planted_decoders():
    x = study.pairs_on(9, 6, 1)
    W = moment_curve(9, 4)
    assert study.explained(nnls(W, x.reshape(-1, 9) @ W.T).reshape(x.shape), x) > 0.999
    assert study.explained(np.broadcast_to(x.mean((0, 1)), x.shape), x) == pytest.approx(0)
    assert study.explained(study.tied(np.eye(9), np.zeros(9), x), x) == pytest.approx(1)


def test_antipodal_pairs_cost_what_theory_says():
    x = study.pairs_on(2, 200_000, 2)  # two features in one dimension: E min(x, y)^2 = 1/6 on each output
    y = study.tied(np.array([[1.0, -1.0]]), np.zeros(2), x)
    assert ((y - x) ** 2).mean() == pytest.approx(1 / 6, abs=2e-3)


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.16").run(out=tmp_path, quiet=True, **TINY)
    assert [c.id for c in found.claims][:3] == ["mlp", "tied-breaks", "ceiling"]
    assert not found.gate.passed  # 20 steps teach nothing
    codes = found.tables["codes"].set_index("code")
    assert codes.NNLS["moment curve"] > 0.99
    assert codes.search.min() > 0.9


def test_plants_pass_and_nulls_fail_without_much_training(tmp_path: Path):
    """What is true by construction is measured as true, whatever the networks learned."""
    found = studies.get("4.16").run(out=tmp_path, quiet=True, **TINY)
    table = found.tables["arms"]

    def values(arm: str, column: str):
        return table[table.arm == arm][column].dropna()

    assert values("search with errors of 2 %", "below search").min() > -0.01
    assert values("tied ReLU", "below search").max() < -0.02
    assert values("noisy moment curve", "faces").min() > 0.9 > values("Gaussian", "faces").mean()
    assert values("learned, read by search", "R2").min() > 0.9
    assert (values("apart", "R2").to_numpy() - values("apart, two on", "R2").to_numpy()).min() > 0.1
