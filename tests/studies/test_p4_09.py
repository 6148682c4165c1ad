"""Problem 4.9: where a planted plateau melts, and the study end to end."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from value_study import check_contract, check_gate_can_fail

from superscope import studies
from superscope.studies import p4_09_offset_uniform as study

SMALL = {"polygon_sizes": (3, 6), "lows": (0.0, 0.5, 1.0)}


def test_contract(tmp_path):
    found = check_contract(studies.get("4.9"), tmp_path, **SMALL)
    assert set(found.tables["polygons"].law) == {"U[0, 1]", "U[0.5, 1]", "{1}"}


def test_gate_can_fail(tmp_path):
    check_gate_can_fail(studies.get("4.9"), tmp_path, **SMALL)


def test_lower_ends_that_the_claims_need(tmp_path):
    with pytest.raises(ValueError, match=r"0\.5 is not among them"):
        studies.get("4.9").run(out=tmp_path, lows=(0.0, 1.0))


def test_melting_point_of_planted_plateaus():
    config = study.Config(lows=(0.0, 0.5, 1.0))
    held = np.array([[0.4, 0.3, 0.1], [0.4, 0.2, 0.0], [0.4, 0.4, 0.3], [0.0, 0.0, 0.0]])  # (seed, law)
    coords = {"values": [study.named(low) for low in config.lows], "density": [0.1], "seed": list(range(4))}
    data = xr.Dataset({"plateau": xr.DataArray(held.T[:, None], dims=tuple(coords), coords=coords)})
    assert study.melting_point(data, config) == pytest.approx([0.75, 0.5, np.nan, np.nan], nan_ok=True)
    assert study.average(np.array([np.nan, np.nan])) == "none of those tried"
