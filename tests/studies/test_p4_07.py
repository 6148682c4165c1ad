"""Problem 4.7: the study end to end on small networks."""

from __future__ import annotations

import numpy as np
import pytest
from value_study import check_contract, check_gate_can_fail

from superscope import studies
from superscope.studies import p4_07_binary_features as study

SMALL = {"polygon_sizes": (3, 5)}


def test_contract(tmp_path):
    found = check_contract(studies.get("4.7"), tmp_path, **SMALL)
    assert found.figures[0].name == "corners"
    by = {claim.id: claim for claim in found.claims}
    assert by["norms-mislead"].null.estimate.value == pytest.approx(1, abs=0.02)  # a linear model has norms up to 1
    assert by["kurtosis"].note.startswith("Added after")
    slider = found.figures[0].figure.layout.sliders[0]
    assert [step.label for step in slider.steps] == ["3", "5"]
    assert all(sum(step.args[0]["visible"]) == 2 * (1 + 2 * n) for step, n in zip(slider.steps, (3, 5), strict=True))


def test_gate_can_fail(tmp_path):
    check_gate_can_fail(studies.get("4.7"), tmp_path, **SMALL)


def test_laws_differ_in_shape_only_where_they_should():
    binary, uniform, placebo = (study.LAWS[name] for name in (study.BINARY, study.UNIFORM, study.PLACEBO))
    assert binary.moment(2) == pytest.approx(uniform.moment(2))
    assert placebo.moment(2) == pytest.approx(4 * uniform.moment(2))
    assert [law.moment(4) / law.moment(2) ** 2 for law in (binary, uniform, placebo)] == pytest.approx([1, 1.8, 1.8])


def test_presets_grow():
    sizes = [study.PRESETS[name] for name in ("quick", "standard", "full")]
    assert np.all(np.diff([config.n_features for config in sizes]) > 0)
    assert all(config.grid[0] == config.dense and config.grid[-1] == min(config.rare) for config in sizes)
    assert all(np.all(np.diff(config.grid) < 0) for config in sizes)
