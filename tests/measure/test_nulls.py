from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matrices import labelled, matrices, steady

from superscope import measure
from superscope.measure import nulls


def test_rotations_are_orthogonal_and_uniform():
    Q = nulls.haar_rotations(4, 4000)
    np.testing.assert_allclose(np.einsum("dij,dkj->dik", Q, Q), np.broadcast_to(np.eye(4), Q.shape), atol=1e-12)
    np.testing.assert_allclose(Q.mean(0), 0, atol=0.04)
    np.testing.assert_allclose((Q**4).mean(0), 3 / (4 * 6), atol=0.01)  # E u^4 = 3/(m(m+2)) on the sphere
    assert (np.linalg.det(Q) > 0).mean() == pytest.approx(0.5, abs=0.03)


@steady
@given(matrices(), st.integers(0, 1000))
def test_what_each_null_keeps(W, seed):
    np.testing.assert_allclose(nulls.rotate(W, seed).T @ nulls.rotate(W, seed), W.T @ W, atol=1e-9)
    np.testing.assert_allclose(measure.norms(nulls.random_directions(W, seed)), measure.norms(W), atol=1e-9)
    np.testing.assert_allclose(np.sort(nulls.shuffle_entries(W, seed), None), np.sort(W, None))
    np.testing.assert_allclose(np.sort(nulls.shuffle_within_features(W, seed), 0), np.sort(W, 0))


@pytest.mark.parametrize("name", nulls.NULLS)
def test_nulls_are_seeded_named_and_padded(name):
    stack = np.random.default_rng(0).normal(size=(2, 4, 6))
    stack[1, 2:] = np.nan
    W = labelled(stack, seed=[5, 6])
    make = nulls.NULLS[name]
    a, b = make(W, 0), make(W, 0)
    assert a.dims == W.dims
    assert np.array_equal(a, b, equal_nan=True)
    assert not np.array_equal(a, make(W, 1), equal_nan=True)
    assert np.array_equal(np.isnan(a), np.isnan(W))


def test_a_null_matrix_is_not_special():
    """One-sided p of matrices drawn from the null itself is uniform."""
    p = []
    for seed in range(60):
        W = nulls.random_directions(np.ones((3, 7)), seed)
        p.append(float(nulls.compare(measure.frame_potential, W, "directions", draws=39, seed=seed).high))
    assert np.mean(p) == pytest.approx(0.5, abs=0.12)
    assert min(p) >= 1 / 40


def test_compare():
    found = nulls.compare(measure.dimensionality, np.eye(3), "rotation", draws=10)
    assert found.value.shape == (3,)
    assert np.isnan(found.z).all()  # rotation changes nothing
    for call, message in [
        (lambda: nulls.compare(measure.norms, np.eye(2), "shuffle"), "'shuffle': expected one of"),
        (lambda: nulls.compare(measure.norms, np.eye(2), draws=1), "draws=1"),
        (lambda: nulls.haar_rotations(0, 1), "m=0"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
