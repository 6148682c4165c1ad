"""4.18: data with and without a number, columns that are there in part, and small runs."""

from __future__ import annotations

import numpy as np
import pytest

from superscope import studies
from superscope.measure.activations import counting
from superscope.toys import ring

TINY = {"features": 8, "dimensions": 5, "many": 16, "depth": 3, "tree_dimensions": 3, "detectors": 64, "seeds": 5, "steps": 600,
        "samples": 500, "restarts": 1}  # fmt: skip


def test_a_tree_is_self_similar():
    paths = ring.tree_paths(4, 0.5)
    assert paths.shape == (16, 30)
    assert (paths**2).sum(1) == pytest.approx(sum(0.25**k for k in range(4)))
    assert ((paths[0] > 0) & (paths[1] > 0)).sum() == 3  # siblings share all but the last level
    x = ring.tree(4, 0.5)(np.random.default_rng(0), 50)
    assert ((x > 0).sum(1) == 4).all()


def test_bumps_have_their_width():
    x = ring.bump(np.array([0.0]), 0.5, 64)[0]
    assert x[0] == 1
    assert (x > 1e-9).sum() == 15  # steps of pi / 32 to either side, fewer than 8
    drawn = ring.ring(0.5, 64)(np.random.default_rng(0), 96)
    assert drawn.max() <= 1
    assert (drawn.max(1) > 0).all()


def test_several_are_on_at_once():
    x = ring.sparse(np.full(20, 0.2))(np.random.default_rng(0), 4000)
    assert (x > 0).sum(1).mean() == pytest.approx(4, rel=0.05)
    assert ((x > 0).sum(1) == 2).mean() > 0.1


def test_columns_in_part():
    whole = np.array([[1, 0, 0.02, 1, 0], [0, 1, 0, 0, 0.01]])[None]
    assert ring.fractional(whole).tolist() == [0]
    part = np.array([[1, 0, 0.5, 1, 0], [0, 1, 0, 0, 0.3]])[None]
    assert ring.fractional(part).tolist() == [0.4]


@pytest.mark.parametrize("corners", [5, 8])
def test_planted_columns(corners):
    rng = np.random.default_rng(corners)
    for _ in range(3):
        columns = ring.polygon(64, corners, rng)
        assert [counting.directions(columns.T, angle) for angle in counting.ANGLES] == [corners] * 5
    circle = [counting.directions(ring.polygon(64, 64).T, angle) for angle in counting.ANGLES]
    assert counting.growth(np.array(circle)) > 0.8


def test_uneven_clusters_with_stragglers_still_have_a_number():
    """Clusters of 20, 12, 8, 4, and three columns on their own, which are too light to count."""
    rng = np.random.default_rng(1)
    sizes = [20, 12, 8, 4, 1, 1, 1]
    angle = np.repeat(np.linspace(0, 5.5, 7), sizes) + 0.005 * rng.standard_normal(sum(sizes))
    columns = rng.uniform(0.7, 1.3, (len(angle), 1)) * np.stack([np.cos(angle), np.sin(angle)], 1)
    assert [counting.directions(columns, a) for a in counting.ANGLES] == [4] * 5


def test_a_trained_network_beats_its_start_and_has_its_features():
    w = ring.train(ring.sparse(np.full(4, 0.1)), [0, 1], 4, 4, 1, 500, 64, 0.02)
    assert np.linalg.norm(w, axis=1) == pytest.approx(np.ones((2, 4)), abs=0.1)
    assert ring.fractional(w).tolist() == [0, 0]


def test_a_small_run(tmp_path):
    found = studies.get("4.18").run(out=tmp_path, quiet=True, **TINY)
    claims = {claim.id: claim for claim in found.claims}
    assert set(claims) == {"fractional", "regress", "continuum", "makes-a-number"}
    for name in ("continuum", "makes-a-number"):
        assert claims[name].plant.estimate.against(claims[name].rule) == "inside"
        assert claims[name].null.estimate.against(claims[name].rule) == "outside"
    assert claims["fractional"].plant.estimate.value > 0.5
    assert len(found.answer.split()) <= 30


def test_an_untrained_network_fails_the_gate(tmp_path):
    found = studies.get("4.18").run(out=tmp_path, quiet=True, **{**TINY, "dimensions": 2, "steps": 2})
    assert found.verdict == "gate failed"
