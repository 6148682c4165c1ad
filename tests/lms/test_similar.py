"""Similar units: equal to a slow twin, constants left out."""

from __future__ import annotations

import numpy as np
import pytest

from superscope.lms.reading import similar


@pytest.mark.parametrize("units", [1, 3, 300])
def test_equal_to_a_slow_twin(units):
    rng = np.random.default_rng(units)
    values = rng.standard_normal((500, units)) @ rng.standard_normal((units, units)) + 3
    if units > 1:
        values[:, 1] = 0.3
    found = similar.most_correlated(values, 5)
    for k in range(units):
        twin = []
        for other in range(units):
            if other != k and 1 not in (k, other):
                twin.append((other, np.corrcoef(values[:, k], values[:, other])[0, 1]))
        twin.sort(key=lambda pair: -pair[1])
        assert [other for other, _ in found[k]] == [other for other, _ in twin[:5]]
        np.testing.assert_allclose([r for _, r in found[k]], [r for _, r in twin[:5]], atol=1e-5)


def test_a_planted_pair_is_found():
    rng = np.random.default_rng(0)
    values = np.maximum(rng.standard_normal((2000, 40)) - 1.5, 0)
    values[:, 7] = 5 * values[:, 31] + 0.1 * values[:, 2]
    found = similar.most_correlated(values)
    assert found[7][0][0] == 31
    assert found[31][0][0] == 7
    assert found[31][0][1] > 0.95 > found[31][1][1]


def test_a_large_mean_hides_nothing():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((1000, 3)).astype(np.float32)
    values[:, 2] = values[:, 0]
    far = similar.most_correlated(values + np.float32(1000))
    assert far[0][0] == (2, pytest.approx(1, abs=1e-3))
