from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matrices import digons, matrices, steady, turned

from superscope import measure
from superscope.measure import ideal, nulls


def test_interference_of_planted_shapes():
    np.testing.assert_allclose(measure.interference_matrix(2 * digons(1)), [[0, -2], [-2, 0]])
    assert np.abs(measure.interference_matrix(np.eye(3))).max() == 0
    pentagon = turned(ideal("pentagon"))
    np.testing.assert_allclose(measure.superposition_of(pentagon), 2.5 - 1, atol=1e-9)  # n/m - 1 for a tight frame


@steady
@given(matrices(), st.integers(0, 1000), st.floats(0.1, 10))
def test_interference_properties(W, seed, scale):
    whole = measure.interference_matrix(W)
    np.testing.assert_allclose(measure.interference_matrix(turned(W, seed)), whole, atol=1e-9)
    np.testing.assert_allclose(measure.interference_matrix(scale * W), scale * whole, atol=1e-9)
    np.testing.assert_allclose(measure.superposition_of(W), (whole**2).sum(1), atol=1e-9)
    order = np.random.default_rng(seed).permutation(W.shape[1])
    np.testing.assert_allclose(measure.interference_matrix(W[:, order]), whole[np.ix_(order, order)], atol=1e-12)
    norm = measure.norms(W)
    D = np.divide(norm**2, norm**2 + measure.superposition_of(W), out=np.zeros_like(norm), where=norm > 0)
    np.testing.assert_allclose(measure.dimensionality(W), D, atol=1e-9)


@pytest.mark.parametrize("name", ["pentagon", "tetrahedron", "square antiprism", "octahedron", "cube", "simplex-6"])
def test_tight_frames_attain_the_frame_bound(name):
    directions = ideal(name)
    m, n = directions.shape
    assert measure.frame_potential(turned(directions)) == pytest.approx(measure.frame_potential_bound(n, m))


@pytest.mark.parametrize("name", ["triangle", "tetrahedron", "simplex-6", "digon"])
def test_equiangular_tight_frames_attain_welch(name):
    directions = ideal(name)
    m, n = directions.shape
    assert measure.coherence(3 * directions) == pytest.approx(measure.welch_bound(n, m))


def test_pentagon_misses_welch():
    """Five directions in the plane are more than m(m+1)/2 = 3: no equiangular frame exists."""
    assert measure.coherence(ideal("pentagon")) == pytest.approx(np.cos(np.pi / 5))
    assert measure.coherence(ideal("pentagon")) > measure.welch_bound(5, 2) + 0.1


@steady
@given(st.integers(1, 5), st.integers(2, 9), st.integers(0, 10**6))
def test_bounds_hold(m, n, seed):
    W = np.random.default_rng(seed).normal(size=(m, n))
    W /= np.linalg.norm(W, axis=0)
    assert measure.frame_potential(W) >= measure.frame_potential_bound(n, m) - 1e-9
    assert measure.coherence(W) >= measure.welch_bound(n, m) - 1e-9
    assert measure.coherence(turned(W, seed)) == pytest.approx(measure.coherence(W), abs=1e-9)


def test_random_directions_are_no_tight_frame():
    packed = nulls.compare(measure.frame_potential, ideal("square antiprism"), "directions", draws=99)
    assert packed.low == pytest.approx(1 / 100)
    assert packed.z < -1


def test_threshold_and_empty():
    W = np.concatenate([np.eye(2), [[0.1], [0.1]]], axis=1)
    assert measure.coherence(W) == 0
    assert measure.coherence(W, threshold=0.05) == pytest.approx(np.sqrt(0.5))
    assert np.isnan(measure.coherence(0.1 * np.eye(2)))
    assert measure.frame_potential(0.1 * np.eye(2)) == 0
    assert measure.welch_bound(2, 3) == 0


# --- loss by number of active features


def grid_pair(points=200):
    u = (np.arange(points) + 0.5) / points
    return np.stack(np.meshgrid(u, u, indexing="ij"), -1).reshape(-1, 2)


def test_antipodal_pair_errs_only_when_both_are_on():
    p = 0.3
    both = grid_pair()
    one = np.concatenate([both * [1, 0], both * [0, 1]])
    x = np.concatenate([np.zeros((1, 2)), one, both])
    weights = np.concatenate(
        [[(1 - p) ** 2], np.full(len(one), 2 * p * (1 - p) / len(one)), np.full(len(both), p * p / len(both))]
    )
    W = np.array([[1.0, -1.0]])
    found = measure.loss_by_active(x, np.maximum(x @ W.T @ W, 0), weights=weights)
    assert found.active.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.share, [(1 - p) ** 2, 2 * p * (1 - p), p * p])
    np.testing.assert_allclose(found.loss, [0, 0, 1 / 3], atol=1e-4)
    assert found.total == pytest.approx(float(measure.theory.pair_loss(p)), rel=1e-3)
    parts = found.parts()
    assert parts["simultaneous"] == pytest.approx(found.total)
    assert parts["alternating"] == parts["own"] == parts["none on"] == 0


def test_positive_interference_is_alternating():
    """Two features on one direction with the same sign: each answers for the other."""
    x = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = measure.loss_by_active(x, np.maximum(x @ np.ones((2, 2)), 0), importance=[1, 3])
    assert found.parts()["alternating"] == pytest.approx((3 + 1) / 2)
    assert found.parts()["simultaneous"] == 0


@steady
@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 10**6))
def test_parts_add_up_to_the_loss(n, samples, seed):
    rng = np.random.default_rng(seed)
    x = rng.random((samples, n)) * (rng.random((samples, n)) < 0.5)
    y = rng.normal(size=(3, samples, n))
    importance, weights = rng.random(n), rng.random(samples) + 0.01
    found = measure.loss_by_active(x, y, importance, weights)
    direct = ((importance * (x - y) ** 2).sum(-1) @ weights) / weights.sum()
    np.testing.assert_allclose(found.total, direct)
    np.testing.assert_allclose(sum(found.parts().values()), direct)
    assert found.share.sum() == pytest.approx(1)


def test_orthonormal_features_do_not_interfere():
    x = np.random.default_rng(0).random((50, 3)) * (np.random.default_rng(1).random((50, 3)) < 0.5)
    assert measure.loss_by_active(x, x).total == 0


def test_loss_by_active_errors():
    x = np.ones((4, 2))
    with pytest.raises(ValueError, match=r"x has shape \(4, 2\) and y_hat \(4, 3\)"):
        measure.loss_by_active(x, np.ones((4, 3)))
    with pytest.raises(ValueError, match="weights has shape"):
        measure.loss_by_active(x, x, weights=[1, 2])
    with pytest.raises(ValueError, match="target has shape"):
        measure.loss_by_active(x, x, target=np.ones((4, 3)))
