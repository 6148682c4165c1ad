"""4.3: the yardstick, the floors on a small run, and a gate that can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superscope import studies
from superscope.studies import p4_03_squaring as study

TINY = {
    "widths": (1, 2, 3, 4, 5, 6), "restarts": 12, "single_steps": 1500, "n": 4, "hidden": (2, 4), "densities": (1.0, 0.01),
    "steps": 300, "seeds": 5,
}  # fmt: skip


def test_allocation_spends_neurons_where_they_matter():
    cost = np.array([1.0, 0.6, 0.1, 0.09])
    found = study.naive(cost, np.array([1.0, 1.0, 0.01]), 4)
    assert found.neurons.tolist() == [2, 2, 0]
    assert found.loss == pytest.approx(0.21)


def test_small_run_meets_the_floor_without_bias(tmp_path: Path):
    found = studies.get("4.3").run(out=tmp_path, quiet=True, **TINY)
    by_id = {c.id: c for c in found.claims}
    assert by_id["stuck"].verdict == "supported"  # 1.4126e-3 at every width
    assert by_id["spline-floor"].verdict == "refuted"  # one neuron cannot
    assert by_id["stuck"].null.estimate.value > 0.5
    assert found.tables["floors"]["trained (best)"].iloc[1] == pytest.approx(1.097e-3, rel=0.05)


def test_gate_fails_when_nothing_is_learned(tmp_path: Path):
    found = studies.get("4.3").run(out=tmp_path, quiet=True, **{**TINY, "single_steps": 1, "steps": 1})
    assert {c.verdict for c in found.claims} == {"gate failed"}
