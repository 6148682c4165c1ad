"""Rays: planted ones are found, arcs and Gaussian clouds give none, and the test keeps its level."""

from __future__ import annotations

import numpy as np
import pytest

from superscope.measure.activations.rays import rays, superposition_test


def planted(
    n: int, m: int, density: float, rng: np.random.Generator, values=None, count: int = 800
) -> tuple[np.ndarray, np.ndarray]:
    """(activations (count, m), directions (n, m)) of n sparse features in random directions, with a little noise."""
    w = rng.standard_normal((n, m))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    on = rng.random((5 * count, n)) < density
    x = (on * (rng.random(on.shape) if values is None else values))[on.any(1)][:count]
    return x @ w + 0.005 * rng.standard_normal((len(x), m)), w


@pytest.mark.parametrize("n", [3, 6, 15])
def test_planted_rays_are_counted_and_located(n):
    h, w = planted(n, 6, 0.05, np.random.default_rng(n))
    found = rays(h)
    assert len(found) == n
    assert (found.direction @ w.T).max(1).min() > 0.995
    assert found.effective == pytest.approx(n, rel=0.15)


def test_gaussian_clouds_and_arcs_have_no_rays():
    rng = np.random.default_rng(0)
    assert len(rays(rng.standard_normal((800, 6)))) == 0
    x = np.zeros((800, 6))
    x[:, :2] = rng.random((800, 2))  # two features always together: an arc, no ray
    assert len(rays(x @ rng.standard_normal((6, 6)))) == 0


@pytest.mark.parametrize(("h", "said"), [(np.zeros((0, 3)), r"shape \(0, 3\)"), (np.zeros((4, 3)), "nothing is on")])
def test_nothing_and_silence_are_errors_and_never_an_answer(h, said):
    with pytest.raises(ValueError, match=said):
        rays(h)


def test_the_test_keeps_its_level_without_superposition_and_sees_it():
    rng = np.random.default_rng(1)
    none = [superposition_test(planted(6, 6, p, rng)[0]).p for p in (0.05, 0.1, 0.2, 0.3) for _ in range(10)]
    packed = [superposition_test(planted(12, 6, 0.05, rng)[0]).p for _ in range(10)]
    assert np.mean(np.array(none) <= 0.05) <= 0.05
    assert np.mean(np.array(packed) <= 0.05) == 1


def test_binary_values_mislead_it_as_documented():
    rng = np.random.default_rng(2)
    assert superposition_test(planted(6, 6, 0.15, rng, values=1.0)[0]).p < 0.05
