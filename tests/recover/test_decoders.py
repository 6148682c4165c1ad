"""Decoders: planted sparse codes are recovered, slow twins agree, and a code that cannot be told apart is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.linear_model import Lasso

from superscope.measure import moment_curve
from superscope.recover import ista, nnls, subset_search


def pairs(n: int, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.zeros((count, n))
    for row in x:
        row[rng.choice(n, 2, replace=False)] = rng.uniform(0.1, 1, 2)
    return x


def test_planted_pairs_on_the_moment_curve():
    W, x = moment_curve(14, 4), pairs(14, 60)
    assert np.abs(nnls(W, x @ W.T) - x).max() < 1e-3
    assert np.abs(subset_search(W, x @ W.T, 2) - x).max() < 1e-8


def test_null_antipodal_pairs_are_lost_to_every_decoder():
    W = np.repeat(np.eye(2), 2, axis=1) * [1, -1, 1, -1]
    x = np.array([[0.7, 0.5, 0, 0]])  # h = 0.2 e_1: no trace of the second
    for answer in (nnls(W, x @ W.T), subset_search(W, x @ W.T, 2), ista(W, x @ W.T)):
        assert np.abs(answer - x).max() > 0.3


def test_a_random_code_defeats_positivity_but_not_the_search():
    W, x = np.random.default_rng(3).standard_normal((4, 14)), pairs(14, 100)
    assert ((nnls(W, x @ W.T) - x) ** 2).sum() > 0.1 * (x**2).sum()
    assert np.abs(subset_search(W, x @ W.T, 2) - x).max() < 1e-6


def test_least_sum_agrees_with_a_linear_program():
    W, x = np.random.default_rng(4).standard_normal((4, 9)), pairs(9, 12)
    for h, mine in zip(x @ W.T, nnls(W, x @ W.T, tie=1e-10), strict=True):
        slow = linprog(np.ones(9), A_eq=W, b_eq=h, bounds=(0, None)).x
        assert mine.sum() == pytest.approx(slow.sum(), abs=1e-3)


@pytest.mark.parametrize("fast", [True, False])
def test_ista_agrees_with_lasso(fast: bool):
    W, x = np.random.default_rng(5).standard_normal((6, 10)), pairs(10, 4)
    h = x @ W.T
    mine = ista(W, h, penalty=0.06, steps=5000, fast=fast)
    for row, code in zip(mine, h, strict=True):  # sklearn divides the squared error by the number of rows
        slow = Lasso(alpha=0.01, positive=True, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(W, code).coef_
        assert np.abs(row - slow).max() < 1e-4


def test_one_step_is_one_relu_layer():
    W, x = np.random.default_rng(6).standard_normal((3, 5)), pairs(5, 4)
    size = 1 / np.linalg.norm(W, 2) ** 2
    assert np.allclose(ista(W, x @ W.T, 0.1, steps=1), np.maximum(size * (x @ W.T @ W) - size * 0.1, 0))
