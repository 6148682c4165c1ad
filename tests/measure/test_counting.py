"""Counting atoms: planted directions, a circle, a Cantor set."""

from __future__ import annotations

import numpy as np
import pytest

from superscope.measure.activations import counting

RESOLUTIONS = np.geomspace(0.2, 0.005, 7)


def planted(n: int, m: int, samples: int = 600) -> np.ndarray:
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((n, m))
    return (directions / np.linalg.norm(directions, axis=1, keepdims=True))[rng.integers(n, size=samples)]


def circle(samples: int = 1500) -> np.ndarray:
    angle = 2 * np.pi * np.random.default_rng(0).random(samples)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def test_planted_directions_are_counted_by_all_estimators():
    found = counting.dictionaries(planted(12, 5), 200)
    assert counting.shortest(found, RESOLUTIONS).tolist() == [12] * 7
    assert counting.elbow(found) == 12
    assert counting.effective(found) == pytest.approx(12, rel=0.05)
    assert counting.plateau(counting.shortest(found, RESOLUTIONS)) == 1


def test_circle_has_no_number():
    found = counting.dictionaries(circle(), 300)
    counts = counting.shortest(found, RESOLUTIONS)
    assert counting.plateau(counts) < 0.3
    assert counts[-1] > 10 * counts[0]
    slope, fit = counting.power_law(found, 4, 200)
    assert slope == pytest.approx(-2, abs=0.15)  # arcs of length 2 pi / K
    assert fit > 0.99
    assert counting.power_law(counting.dictionaries(planted(12, 5), 200), 4, 200)[1] < 0.9


def test_distortion_of_one_and_of_all_atoms():
    h = planted(4, 3, 50)
    found = counting.dictionaries(h, 50)
    assert found.distortion[0] == pytest.approx(((h - h.mean(0)) ** 2).sum(1).mean() / (h**2).sum(1).mean())
    assert found.distortion[3] == pytest.approx(0, abs=1e-12)
    assert found.entropy[0] == pytest.approx(0, abs=1e-9)
    assert found.entropy[-1] == pytest.approx(np.log2(50))
