"""4.18: planted rings and polygons, closed forms, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superscope import studies
from superscope.studies import p4_18_no_discrete_features as study
from superscope.toys import ring as _ring

TINY = {"features": 6, "dimensions": 3, "detectors": 24, "widths": (0.5, 0.25, 0.2), "depth": 3, "steps": 40, "samples": 300,
        "restarts": 2, "ring_steps": 40, "seeds": 5}  # fmt: skip


def test_planted_ring_is_continuous_and_polygon_is_not():
    bar = _ring.shot_noise(64, 0)
    assert 0.2 < bar < 0.5
    noise = 0.002 * np.random.default_rng(0).standard_normal((1, 2, 64))
    assert _ring.continuous(_ring.polygon(64, 64) + noise, bar).all()
    assert not _ring.continuous(_ring.polygon(64, 8), bar).any()
    assert _ring.peak(2 * np.pi * np.floor(np.arange(64) / 8)[None] / 8) == pytest.approx(1)
    scattered = np.random.default_rng(1).uniform(0, 2 * np.pi, (200, 64))
    assert (_ring.peak(scattered) > bar).mean() < 0.05


def test_circle_grows_with_resolution_and_points_do_not():
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 1000)
    circle = study.count(np.stack([np.cos(angle), np.sin(angle)], 1)[None], 700)
    assert study.growth(circle) == pytest.approx(1, abs=0.1)
    assert study.agreement(circle) > 2
    corner = study.count(np.random.default_rng(0).standard_normal((12, 5))[np.arange(600) % 12][None], 300)
    assert study.agreement(corner) < 1.05
    assert study.growth(corner) == pytest.approx(0, abs=0.05)


def test_loss_is_exact_over_amplitudes():
    x = _ring.bump(np.linspace(0, 6, 7), 0.5, 12)
    w, b = np.zeros((1, 2, 12)), np.zeros((1, 1, 12))
    assert _ring.expected_loss(w, b, x, True)[0] == pytest.approx((x**2).sum(-1).mean() / 3)
    kept = np.eye(4)[:, :2].T[None]  # two of four features kept: the others lose a^2, on average 1/3
    assert _ring.expected_loss(kept, np.zeros((1, 1, 4)), np.eye(4), True)[0] == pytest.approx(1 / 6)


def test_affine_floor_is_a_lower_bound_of_linear_maps():
    x = np.random.default_rng(0).random((500, 1)) * _ring.bump(np.linspace(0, 6.28, 500), 0.6, 10)
    centred = x - x.mean(0)
    left = np.linalg.svd(centred)[1][3:] ** 2
    assert _ring.linear_loss(x, 3, False) == pytest.approx(left.sum() / 500)


def test_tree_is_self_similar():
    paths = _ring.tree_paths(4, 0.5)
    assert paths.shape == (16, 30)
    assert (paths**2).sum(1) == pytest.approx(sum(0.25**k for k in range(4)))
    assert ((paths[0] > 0) & (paths[1] > 0)).sum() == 3  # siblings share all but the last level


def test_growth_of_ring_data_does_not_need_learning():
    theta = np.random.default_rng(0).uniform(0, 2 * np.pi, 1000)
    octagon = study.count(_ring.bump(theta, 0.5, 64) @ np.swapaxes(_ring.polygon(64, 8), 1, 2), 500)
    assert study.growth(octagon) == pytest.approx(1, abs=0.1)
    assert octagon["fit"][0] > 0.99


def test_bad_configurations_are_refused():
    with pytest.raises(ValueError, match=r"widths=\(1.0, 0.25\): expected 0.5"):
        study.Config(widths=(1.0, 0.25))
    with pytest.raises(ValueError, match="seeds=1: expected at least 2"):
        study.Config(seeds=1)


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.18").run(out=tmp_path, quiet=True, **TINY)
    claims = {c.id: c for c in found.claims}
    assert len(claims) == 10
    assert claims["failed-search-0.2"].null.estimate.n == 2  # half of the seeds
    assert all("untrained weights: " in claims[k].note for k in ("ring-no-plateau", "ring-grows", "ring-power-law"))
    assert np.isfinite([c.estimate.value for c in found.claims]).all()
    assert not found.gate.passed  # 40 steps teach nothing
