"""4.10: the boundary finder on planted weights, the contract on a small run, and a gate that can fail."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
import xarray as xr

from superscope import studies
from superscope.studies import p4_10_gelu as study

TINY = {
    "sharpness": (1.0, np.inf),
    "boundary_points": 6,
    "phase_cells": 3,
    "n": 8,
    "m": 2,
    "densities": 3,
    "seeds": 6,
    "steps": 200,
}


@pytest.fixture(autouse=True)
def known_boundaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact boundaries take seconds and have tests of their own."""
    monkeypatch.setattr(study, "exact_boundaries", lambda config: [0.2477, 0.3756])


def test_boundary_on_planted_weights() -> None:
    density = np.geomspace(0.6, 0.1, 6)
    w = np.zeros((6, 2, 1, 2))
    w[:, :, 0, 0] = 1
    w[3:5, 0, 0, 1] = -1  # seed 0 keeps both features below the third density; one failed training must not matter
    w[:, 1, 0, 1] = -1  # seed 1 always
    dims = ("density", "seed", "hidden", "feature")
    run = SimpleNamespace(W=xr.DataArray(w, dims=dims, coords={"density": density}), density=xr.DataArray(density))
    found = study.boundary(run)
    assert found[0] == pytest.approx(np.sqrt(density[2] * density[3]))
    assert found[1] == pytest.approx(density[0])


def test_contract_on_a_small_run(tmp_path: Path) -> None:
    found = studies.get("4.10").run(out=tmp_path, quiet=True, **TINY)
    assert [c.id for c in found.claims] == [row.id for row in study.EXPECTED]
    document = json.loads(next(tmp_path.glob("4.10/*/findings.json")).read_text())
    jsonschema.validate(document, json.loads(resources.files("superscope").joinpath("findings.schema.json").read_text()))


def test_gate_fails_when_nothing_is_learned(tmp_path: Path) -> None:
    found = studies.get("4.10").run(out=tmp_path, quiet=True, **{**TINY, "steps": 1})
    assert not found.gate.passed
    assert {claim.verdict for claim in found.claims} == {"gate failed"}


def test_a_shifted_boundary_is_found_through_noise_and_failed_trainings() -> None:
    edges = np.array([0.34, 0.31, 0.4])
    config = study.Config(boundary_points=64)
    lab = SimpleNamespace(rng=lambda name: np.random.default_rng(0))
    assert study.boundary(study.shifted_pairs(edges, config, lab)) / edges == pytest.approx([0.8] * 3, abs=0.03)


def test_plants_are_seen_and_nulls_are_not(tmp_path: Path) -> None:
    """On the small run: a saturating curve, a feature cut out, and a phase taken away."""
    found = studies.get("4.10").run(out=tmp_path, quiet=True, **TINY)
    table = found.tables["arms"]

    def mean(arm: str, column: str) -> float:
        return float(table[table.arm == arm][column].mean())

    assert mean("planted saturating curve", "explained") > 0.9
    assert mean("exact pairs on the grid", "over exact") == pytest.approx(1, abs=0.2)  # a coarse grid
    assert mean("hidden ReLU, one feature removed", "unlearned") >= mean("hidden ReLU", "unlearned") + 0.5
    missing = [mean(arm, "missing") for arm in ("GELU without its antipodal phase", "GELU against ReLU")]
    assert missing[0] > missing[1]


def test_one_way_is_met_by_a_saturating_curve_and_by_no_hump() -> None:
    rng = np.random.default_rng(0)
    curve = np.array([1.0, 0.4, 0.2, 0.15, 0.15, 0.15])[:, None]
    noisy = curve + 0.02 * rng.standard_normal((6, 40))
    assert study.one_way(noisy, falls=True).min() > 0.95
    assert study.one_way(noisy, falls=False).max() < 0.1
    shuffled = np.array([rng.permutation(column) for column in noisy.T]).T
    assert study.one_way(shuffled, falls=True).mean() < 0.7
    hump = np.array([0.6, 0.2, 0.9, 0.3, 0.15, 0.15])[:, None]
    assert study.one_way(hump, falls=True)[0] < 0.9
    flat = np.full((6, 1), 0.3)
    assert np.isfinite(study.one_way(flat, falls=True)).all()


def test_exact_pairs_on_a_fine_grid_are_found_where_they_were_planted() -> None:
    config, rng = study.Config(boundary_points=128), np.random.default_rng(0)
    edges = np.array([0.2477, 0.3756, 0.3])
    assert study.boundary(study.pairs_below(edges, config, rng)) == pytest.approx(edges, rel=0.02)
