"""Planted directions with amplitudes, several on at once and noise; a ring; a slow twin."""

from __future__ import annotations

import numpy as np
import pytest

from superscope.measure.activations import counting


def planted(n, m, density, seed, noise=0.0, count=2500):
    """Activations of n random directions of norms .5 to 1.5, U[0, 1] amplitudes, any number on at once."""
    rng = np.random.default_rng(seed)
    d = rng.standard_normal((n, m))
    d *= rng.uniform(0.5, 1.5, (n, 1)) / np.linalg.norm(d, axis=1, keepdims=True)
    s = (rng.random((20 * count, n)) < density) * rng.random((20 * count, n))
    s = s[(s > 0).any(1)][:count]
    h = s @ d
    return h + noise * np.linalg.norm(h, axis=1, keepdims=True) * rng.standard_normal(h.shape)


def circle(count, seed, noise=0.0):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, count)
    h = rng.random((count, 1)) * np.stack([np.cos(angle), np.sin(angle)], 1)
    return h + noise * rng.standard_normal(h.shape)


@pytest.mark.parametrize(("n", "m", "density"), [(6, 8, 0.1), (12, 8, 0.05), (20, 20, 0.05), (30, 20, 0.03)])
def test_planted_directions_are_counted_at_every_angle(n, m, density):
    """Amplitudes, unequal norms and two on at once: an earlier counter by vector quantisation said 36 to 500 for 20."""
    for seed in (0, 1):
        found = [counting.directions(planted(n, m, density, seed, 0.003), angle) for angle in counting.ANGLES]
        assert found == pytest.approx([n] * len(found), abs=0.1 * n), found


def test_a_ring_has_no_number():
    counts = np.array([[counting.directions(circle(2500, seed), angle) for angle in counting.ANGLES] for seed in (0, 1)])
    assert counting.growth(counts) == pytest.approx([1, 1], abs=0.15)
    assert counts[0, -1] > 3 * counts[0, 0]
    bare = np.array([counting.directions(planted(8, 8, 0.1, 0), angle) for angle in counting.ANGLES])
    assert abs(counting.growth(bare)) < 0.1


def test_where_it_misleads():
    rare = np.concatenate([np.repeat([[1.0, 0]], 200, 0), np.repeat([[0, 1.0]], 10, 0)])
    assert counting.directions(rare, 0.1) == 1
    assert counting.directions(rare, 0.1, share=0.02) == 2
    noise = [counting.directions(planted(8, 8, 0.1, 0, noise=0.2), angle) for angle in counting.ANGLES]
    assert max(noise) > 20  # noise wider than the angle


def test_against_a_slow_twin():
    h = planted(6, 4, 0.2, 3, 0.01, count=300)
    u = h / np.linalg.norm(h, axis=1, keepdims=True)
    for angle in (0.2, 0.1):
        left, sizes = list(range(len(u))), []
        while left:
            near = [sum(u[i] @ u[j] >= np.cos(angle) for j in left) for i in left]
            if sizes and max(near) < 0.2 * sizes[0]:
                break
            lead = left[int(np.argmax(near))]
            sizes.append(max(near))
            left = [j for j in left if u[lead] @ u[j] < np.cos(2 * angle)]
        assert counting.directions(h, angle) == pytest.approx(len(sizes), abs=1)


def test_growth_of_known_powers():
    angles = np.array(counting.ANGLES)
    assert counting.growth(np.stack([1 / angles, np.full(5, 7), angles**-0.5])) == pytest.approx([1, 0, 0.5])
