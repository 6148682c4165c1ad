"""The contract, asked of 4.7, 4.8 and 4.9 alike."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema

from superscope.evidence import findings

SCHEMA = json.loads(resources.files("superscope").joinpath("findings.schema.json").read_text())
TINY = {
    "n_features": 16, "n_hidden": 6, "plateau_densities": 3, "densities": 1, "rare": (0.003,), "seeds": 5, "steps": 300,
    "points": 64, "other_size": (12, 4), "other_seeds": 5, "polygon_seeds": 5, "polygon_restarts": 2, "polygon_steps": 200,
}  # fmt: skip


def check_contract(study, tmp_path, **overrides):
    """Run the study small; returns what it found."""
    found = study.run(out=tmp_path, **{**TINY, **overrides})
    folder = study.folder(study.configure("quick", **{**TINY, **overrides}), "quick", 0, tmp_path)
    jsonschema.validate(findings.read(folder), SCHEMA)
    assert found.gate.passed, found.gate.measured
    assert found.summary
    assert 3 <= len(found.figures) <= 6
    assert all(figure.caption and len(figure.figure.data) for figure in found.figures)
    assert all(claim.null.name and claim.verdict in findings.VERDICTS for claim in found.claims)
    loaded = findings.Findings.load(folder)  # recomputes every verdict
    assert [claim.to_dict() for claim in loaded.claims] == [claim.to_dict() for claim in found.claims]
    return found


def check_gate_can_fail(study, tmp_path, **overrides):
    """Networks that were not trained say nothing, and the page says so."""
    found = study.run(out=tmp_path, **{**TINY, "steps": 1, "polygon_steps": 1, "polygon_restarts": 1, **overrides})
    assert not found.gate.passed
    assert {claim.verdict for claim in found.claims} == {"gate failed"}
