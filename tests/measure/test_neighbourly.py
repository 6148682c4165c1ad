"""Faces: cyclic polytopes and antipodal pairs planted, a linear program as slow twin, Gaussian columns as null."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from superscope.measure import faces, moment_curve, neighbourliness


def slow_faces(W: np.ndarray, k: int) -> np.ndarray:
    """y with y.w = 1 on the k columns and less on all others, by linear programming."""
    m, n = W.shape
    out = []
    for inside in itertools.combinations(range(n), k):
        rest = [i for i in range(n) if i not in inside]
        found = linprog(
            np.r_[np.zeros(m), -1], A_ub=np.c_[W[:, rest].T, np.ones(len(rest))], b_ub=np.ones(len(rest)),
            A_eq=np.c_[W[:, inside].T, np.zeros(k)], b_eq=np.ones(k), bounds=[(None, None)] * m + [(None, 1)],
        )  # fmt: skip
        out.append(found.status == 0 and -found.fun > 1e-9)
    return np.array(out)


@pytest.mark.parametrize(("m", "n"), [(4, 9), (4, 30), (6, 11)])
def test_moment_curve_is_neighbourly(m: int, n: int):
    assert neighbourliness(moment_curve(n, m), m // 2) == 1


def test_antipodal_partners_are_no_face():
    W = np.concatenate([np.eye(4), -np.eye(4)], axis=1)
    found = dict(zip(itertools.combinations(range(8), 2), faces(W), strict=True))
    assert [pair for pair, there in found.items() if not there] == [(0, 4), (1, 5), (2, 6), (3, 7)]


@pytest.mark.parametrize("seed", range(4))
def test_hull_and_linear_program_agree_on_random_columns(seed: int):
    W = np.random.default_rng(seed).standard_normal((4, 11))
    assert (faces(W) == slow_faces(W, 2)).all()
    positive = np.abs(W)  # 0 is then a vertex of the hull
    assert (faces(positive) == slow_faces(positive, 2)).all()


def test_null_and_invariance():
    rng = np.random.default_rng(0)
    shares = [neighbourliness(rng.standard_normal((4, 16))) for _ in range(50)]
    assert 0.3 < np.mean(shares) < 0.7
    W = rng.standard_normal((4, 16))
    assert (faces(W) == faces(rng.standard_normal((4, 4)) @ W)).all()
    with pytest.raises(ValueError, match="needs 1 <= k <= m < n"):
        faces(np.eye(3))
