"""4.45: planted onsets and transitions, the table of questions, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superscope import catalogue, studies
from superscope.studies import p4_45_open_questions as study
from superscope.studies.p4_45_open_questions import sensing as _open_sensing
from superscope.studies.p4_45_open_questions import solver as _open_solver

TINY = {"ratios": (0.3,), "sensing_features": 8, "shares": (0.25, 0.5), "active": (1, 2, 4), "inputs": 5,
        "test_densities": (0.05, 0.4), "samples": 200, "seeds": 5, "steps": 300}  # fmt: skip


def test_onset_is_where_half_of_the_surplus_is_packed():
    active, counts = np.array([1, 2, 4, 8]), np.array([20.0, 20.0, 10.0, 10.0])
    assert _open_sensing.onset(active, counts, m=10, n=20) == pytest.approx(3)
    assert np.isnan(_open_sensing.onset(active, np.full(4, 20.0), m=10, n=20))  # packed everywhere: not seen
    assert _open_sensing.onset(active, np.full(4, 10.0), m=10, n=20) < 1  # nowhere


def test_transition_is_above_the_densest_pair():
    grid = np.array([0.1, 0.11, 0.12])
    pair, single = (1.0, -1.0), (1.0, 0.0)
    w = np.array([[pair, pair], [pair, single], [single, single]])
    assert _open_solver.transitions(w, grid).tolist() == pytest.approx([0.115, 0.105])
    assert _open_solver.transitions(np.full((3, 1, 2), single), grid)[0] == pytest.approx(0.095)


def test_every_question_names_problems_that_exist():
    table = study.questions()
    assert len(table) == 14
    assert {p for row in table.problems for p in row.split(", ")} <= set(catalogue.problems())
    assert table.recorded.str.len().min() > 0


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.45").run(out=tmp_path, quiet=True, **TINY)
    assert [c.id for c in found.claims][:3] == ["closed-form", "shrinks-continuously", "exact-boundary"]
    assert len(found.figures) == 6
    assert "questions" in found.tables
