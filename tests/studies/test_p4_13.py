"""4.13: targets and coefficients, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superscope import studies
from superscope.studies import p4_13_many_hidden_features as study

TINY = {"n": 2, "hidden": (2, 4), "densities": (0.03,), "level_steps": 200, "restarts": 2, "bits": 6, "neurons": 8,
        "steps": 400, "seeds": 5}  # fmt: skip


def test_one_hot_codes():
    assert study.one_hot(np.array([[0.0, 3.0]]))[0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]


def test_rank_two_coefficients_are_a_rank_two_form_off_the_diagonal():
    n, c = 7, study.coefficients(7, 2, 0)
    rng = np.random.default_rng([0, 2])
    u = rng.standard_normal((2, n))
    form = np.outer(u[0], u[0]) - np.outer(u[1], u[1])
    assert np.corrcoef(form[np.triu_indices(n, 1)], c)[0, 1] == pytest.approx(1)
    assert (study.coefficients(7, 0, 0) ** 2).mean() == pytest.approx(1)


def test_probabilities_of_all_inputs():
    x, weight = study.every_input(study.Config(bits=5, density=0.3))
    assert weight.sum() == pytest.approx(1)
    assert (weight @ x) == pytest.approx(0.3)


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.13").run(out=tmp_path, quiet=True, **TINY)
    assert [c.id for c in found.claims] == ["levels", "probes", "computed", "causal", "rank"]
    table = found.tables["inside"].set_index("network")
    assert abs(table.nonlinear["linear network"]) < 0.05
