"""Categories: companions agree with counting, planted clearance is seen, and random members have none."""

import numpy as np
import pytest

from superscope.measure.weights import categories


def text(rng, rows=400, length=60):
    """Tokens 0-3 are members, 4-9 stand beside them, 10-29 anywhere but there, the rest anywhere."""
    out = rng.integers(10, 60, (rows, length))
    for row in out:
        for place in range(5, length - 6, 30):
            row[place - 4 : place + 5] = rng.integers(30, 60, 9)
            row[place] = rng.integers(0, 4)
            row[place + 1 + rng.integers(0, 3)] = rng.integers(4, 10)
    return out


def test_companions_agree_with_the_text():
    rng = np.random.default_rng(0)
    tokens = text(rng)
    near, far = categories.companions(tokens, np.arange(4))
    assert set(near) == set(range(4, 10))
    assert len(far) == len(near)
    assert set(far) <= set(range(10, 30))
    none = categories.companions(rng.integers(0, 60, (400, 60)), np.arange(4))
    assert len(none[0]) == 0


def test_what_is_clear_is_seen_and_what_is_not_is_one():
    rng = np.random.default_rng(1)
    members, near, far = rng.normal(size=(7, 128)), rng.normal(size=(200, 128)), rng.normal(size=(200, 128))
    assert categories.clear(near, far, members) == pytest.approx(1, abs=0.1)
    assert categories.clear(categories.turned(near, members, 0.4, rng), far, members) == pytest.approx(0.36, abs=0.08)
    assert categories.clear(near + near @ np.linalg.pinv(members) @ members, far, members) > 2


def test_the_share_inside_is_a_projection():
    rng = np.random.default_rng(2)
    members = rng.normal(size=(5, 12))
    basis = categories.differences(members)
    assert basis.shape == (4, 12)
    np.testing.assert_allclose(basis @ basis.T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(categories.inside(members[:1] - members[1:2], basis), 1)
    slow = [sum((row @ one) ** 2 for one in basis) / (row @ row) for row in members]
    np.testing.assert_allclose(categories.inside(members, basis), slow)
