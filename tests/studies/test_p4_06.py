"""4.6: closed forms, the planted exact network, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import superscope as ss
from superscope import studies
from superscope.studies import p4_06_max_of_two as study
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
    assert study.naive(config, "all", 4 + 6, cost) == 0
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


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.6").run(out=tmp_path, quiet=True, **TINY)
    assert found.gate.passed  # one pair, two neurons: exact
    by_id = {c.id: c for c in found.claims}
    assert by_id["exact-disjoint"].null.estimate.value == 0
    assert by_id["pays-identity-2"].estimate.value > 0.95  # rank bound: two neurons cannot serve four pairs
