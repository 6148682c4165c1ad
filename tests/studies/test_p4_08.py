"""Problem 4.8: the test between the levels on planted networks, and the study end to end."""

from __future__ import annotations

import numpy as np
import pytest
from value_study import check_contract, check_gate_can_fail

from superscope import studies
from superscope.studies import p4_08_discrete_levels as study
from superscope.studies.value_laws import laws as value
from superscope.studies.value_laws import polygons as polygon

SMALL = {"polygon_sizes": (5, 12), "crowded": 12}


def test_contract(tmp_path):
    found = check_contract(studies.get("4.8"), tmp_path, **SMALL)
    assert set(found.tables["between_levels"].law) == set(study.POLYGON_LAWS)


def test_gate_can_fail(tmp_path):
    check_gate_can_fail(studies.get("4.8"), tmp_path, **SMALL)


def test_sizes_that_the_claims_need(tmp_path):
    with pytest.raises(ValueError, match="crowded=12"):
        studies.get("4.8").run(out=tmp_path, polygon_sizes=(3, 5))


def test_a_code_for_the_top_level_shows_between_the_levels():
    """A network that answers the top level alone is exact there, and loses more than a polygon between the levels."""
    n, law = 12, study.LAWS[study.THREE]
    top, angle = value.support(law)[1], 2 * np.pi * np.arange(12) / 12
    square = 1 / (1 - np.cos(angle[1]))
    W = np.sqrt(square) * np.stack([np.cos(angle), np.sin(angle)])[None]
    b = np.full((1, n), (1 - square) * top)
    weights = {(name, n): (W, b) for name in study.POLYGON_LAWS}
    made = polygon.Polygons({name: study.LAWS[name] for name in study.POLYGON_LAWS}, None, weights)
    assert polygon.one_active_loss(W, b, law) == pytest.approx([5 / 14], abs=1e-3)
    between = study.off_levels(made, study.Config(polygon_sizes=(n,)))
    assert study.ratios(between, study.THREE, n) == pytest.approx([1.36], abs=0.01)
