"""4.12: planted geometries, dropped classes, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.evidence.rule import Rule
from superscope.studies import p4_12_cross_entropy as study
from superscope.studies.p4_12_cross_entropy import plants

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
    assert study.cross_entropy(y, x, x).tolist() == pytest.approx([0, np.log(3)])
    assert study.brier_score(y, x, x).tolist() == pytest.approx([0, 4 / 9 + 2 / 9])
    assert study.squared_error(y, x, x).tolist() == pytest.approx([0, 1])


def test_accuracy_of_planted_heads():
    config = study.Config(features=5, width=5)
    assert study.accuracy(np.stack([np.eye(5), np.zeros((5, 5))]), np.zeros((2, 5)), config, 0) == pytest.approx(
        [1, 0.2], abs=0.03
    )


SEEDS, RULES = range(3), {row.id: Rule.parse(row.rule) for row in study.EXPECTED}


def off(w: np.ndarray, shape: str) -> np.ndarray:
    return np.abs(study.largest_cosine(w) - study.theory(shape, w.shape[2]))


@pytest.mark.parametrize(("shape", "n", "m"), [("simplex", 6, 5), ("polygon", 10, 2)])
def test_started_arrangements_pass_and_random_ones_fail(shape, n, m):
    start = plants.arrangement(shape, n, m, SEEDS)
    assert not any(map(RULES[shape].holds, off(start, shape)))  # noisy: it is training that puts them right
    trained = plants.train_from(start, 3000, 1e-4)
    assert all(map(RULES[shape].holds, off(trained, shape)))
    assert (study.winners(trained) == 1).all()
    assert study.spread(trained).max() < 0.1
    random = np.random.default_rng(0).standard_normal(start.shape)
    assert not any(map(RULES[shape].holds, off(random, shape)))
    assert study.spread(random).min() > 0.1


def test_the_orthoplex_of_eight_is_left_by_training():
    """The weight penalty: right angles are not the optimum while norms are finite, so the claim cannot be decided."""
    start = plants.arrangement("orthoplex", 8, 5, SEEDS)
    assert not any(map(RULES["orthoplex"].holds, off(plants.train_from(start, 600, 1e-4), "orthoplex")))


def test_planted_label_layers_and_crowds():
    projected, full = plants.label_layers(7, 2, SEEDS)
    share = study.producible(full, 2)
    assert share.min() > 0.99
    assert all(map(RULES["cliff"].holds, share - study.producible(projected, 2)))
    random = np.random.default_rng(0).standard_normal(full.shape)
    assert study.producible(random, 2).max() < 0.99
    none = np.zeros((len(SEEDS), 30))
    crowd, few = study.kept(plants.crowd(30, 3, SEEDS), none), study.kept(plants.few(30, 3, SEEDS), none)
    assert all(map(RULES["keeps-more"].holds, crowd - few))
    assert few.max() <= 12


def test_a_bias_that_drowns_a_feature_is_seen():
    w, b = np.eye(4)[None], np.array([[0.0, 0, 0, 3]])
    assert study.kept(w, 0 * b).tolist() == [4]
    assert study.kept(w, b).tolist() == [1]


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.12").run(out=tmp_path, quiet=True, **TINY)
    ids = [c.id for c in found.claims]
    assert ids[:3] == ["simplex", "orthoplex", "polygon"]
    assert ids[-3:] == ["keeps-more", "softmax-part", "not-more-accurate"]
    assert len(found.figures) == 3
