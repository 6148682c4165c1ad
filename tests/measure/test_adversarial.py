from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matrices import digons, matrices, steady, turned

from superscope.measure import analytic_direction, attack_increase, ideal, nulls, pgd_increase, vulnerability


def sample(n, density=0.3, count=100, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((count, n)) * (rng.random((count, n)) < density)


def test_direction_is_the_row_of_the_gram_matrix():
    W = np.array([[3.0, -4.0]])
    np.testing.assert_allclose(analytic_direction(W), [[0.6, -0.8], [-0.6, 0.8]])
    np.testing.assert_allclose(analytic_direction(np.eye(3)), np.eye(3))
    untied = np.array([[1.0], [2.0]])
    np.testing.assert_allclose(analytic_direction(W, untied), [[0.6, -0.8], [0.6, -0.8]])
    assert np.abs(analytic_direction(np.zeros((2, 2)))).max() == 0


def test_direction_is_optimal_for_an_open_output():
    """No direction of unit length raises output i's pre-activation more."""
    W = np.random.default_rng(0).normal(size=(3, 6))
    gram = W.T @ W
    best = np.einsum("ij,ij->i", gram, analytic_direction(W))
    random = np.random.default_rng(1).normal(size=(500, 6))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    assert (gram @ random.T <= best[:, None] + 1e-12).all()


def test_known_increase_without_superposition():
    """Orthonormal features: eps along feature i moves output i by eps, so the loss rises by exactly eps^2."""
    x = sample(3)
    eps = 0.1 * np.linalg.norm(x, axis=1).mean()
    np.testing.assert_allclose(attack_increase(np.eye(3), 0.0, x), eps**2)
    np.testing.assert_allclose(attack_increase(np.eye(3), 0.0, x, importance=[1, 2, 0]), eps**2 * np.array([1, 2, 0]))


def test_superposition_is_more_vulnerable():
    W = np.concatenate([ideal("pentagon")] * 1, axis=1)
    x = sample(5)
    dedicated = np.concatenate([np.eye(2), np.zeros((2, 3))], axis=1)
    assert vulnerability(W, 0.0, x) > 1.2 * vulnerability(dedicated, 0.0, x) > 0


@steady
@given(matrices(), st.integers(0, 1000))
def test_properties(W, seed):
    n = W.shape[1]
    x = sample(n, 0.6, 30, seed)
    increase = attack_increase(W, -0.05, x)
    np.testing.assert_allclose(attack_increase(turned(W, seed), -0.05, x), increase, atol=1e-9)
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_allclose(attack_increase(W[:, order], -0.05, x[:, order]), increase[order], atol=1e-9)
    assert vulnerability(W, -0.05, x) == pytest.approx(increase.max())
    np.testing.assert_allclose(attack_increase(W, -0.05, x, fraction=0.0), 0, atol=1e-12)


@pytest.mark.parametrize("W", [digons(2), ideal("pentagon"), np.random.default_rng(0).normal(size=(2, 5))])
def test_gradient_attack_is_at_least_the_analytic_one(W):
    x = sample(W.shape[1])
    analytic, gradient = vulnerability(W, -0.05, x), pgd_increase(W, -0.05, x)
    assert gradient >= analytic
    eps = 0.1 * np.linalg.norm(x, axis=1).mean()
    # No attack moves y by more than the largest singular value times eps: a ceiling on the loss increase.
    push = np.linalg.norm(W, 2) ** 2 * eps
    error = np.linalg.norm(x - np.maximum(x @ W.T @ W - 0.05, 0), axis=1)
    assert gradient <= (2 * error * push + push**2).mean() + 1e-9


def test_random_directions_are_a_null_for_vulnerability():
    x = sample(8)
    packed = nulls.compare(lambda M: vulnerability(M, 0.0, x), digons(4), "directions", draws=60)
    assert packed.value < packed.mean  # antipodal pairs are the packing that interferes least in pairs


def test_errors():
    with pytest.raises(ValueError, match=r"x has shape \(5,\)"):
        vulnerability(np.eye(2), 0.0, np.ones(5))
    with pytest.raises(ValueError, match=r"x has shape \(5, 3\): expected \(sample, feature\) = \(any, 2\)"):
        vulnerability(np.eye(2), 0.0, np.ones((5, 3)))
    with pytest.raises(ValueError, match="one model"):
        pgd_increase(np.ones((2, 2, 2)), 0.0, np.ones((5, 2)))
