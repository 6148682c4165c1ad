"""4.12: planted geometries, dropped classes, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.studies import p4_12_cross_entropy as study

TINY = {"steps": 150, "restarts": 1, "labels": 5, "active": 1, "ranks": (2, 3, 4), "features": 6, "width": 2,
        "feature_steps": 50, "seeds": 5}  # fmt: skip


def polygon(n: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)])[None]


def test_planted_geometry():
    assert study.largest_cosine(polygon(7))[0] == pytest.approx(study.theory("polygon", 7))
    simplex = np.eye(4) - 1 / 4
    assert study.largest_cosine(simplex[None])[0] == pytest.approx(study.theory("simplex", 4))
    assert study.winners(polygon(7))[0] == 1
    dropped = polygon(7).copy()
    dropped[..., 2:] = 0
    assert study.winners(dropped)[0] < 0.5


def test_empty_inputs_have_no_label():
    y, x = torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.7, 0.0]])
    assert study.largest_is_the_label(y, x, x).tolist() == pytest.approx([0, np.log(3)])


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.12").run(out=tmp_path, quiet=True, **TINY)
    ids = [c.id for c in found.claims]
    assert ids[:3] == ["simplex", "orthoplex", "polygon"]
    assert len(found.figures) == 3
