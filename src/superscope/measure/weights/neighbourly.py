"""Which sets of features can be on together without ambiguity: faces of the polytope of feature directions."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial import ConvexHull


def faces(W: np.ndarray, k: int = 2) -> np.ndarray:
    """(C(n, k),) bool, in the order of itertools.combinations: are these k columns of W (m, n) a face of conv(0, W)?

    If they are, every x >= 0 on them is the one non-negative solution of W x = h with the least sum (Donoho and Tanner 2005,
    "Neighborliness of randomly projected simplices"), so positivity and the least sum tell these features from all others. Does
    not change when W is multiplied by an invertible matrix. Assumes general position: a face with more than m vertices is
    triangulated, which adds faces that are not there. Null: columns of a Gaussian matrix.
    """
    m, n = W.shape
    if not 1 <= k <= m < n:
        raise ValueError(f"faces of W {W.shape} with k={k}: needs 1 <= k <= m < n")
    hull = ConvexHull(np.vstack([np.asarray(W, dtype=float).T, np.zeros(m)]))
    there = {sub for simplex in hull.simplices for sub in itertools.combinations(sorted(map(int, simplex)), k)}
    return np.array([members in there for members in itertools.combinations(range(n), k)])


def neighbourliness(W: np.ndarray, k: int = 2) -> float:
    """Share of all sets of k columns that are faces: 1 if W is (outwardly) k-neighbourly."""
    return float(faces(W, k).mean())


def moment_curve(n: int, m: int) -> np.ndarray:
    """(m, n) points on the trigonometric moment curve, m even: (cos jt, sin jt), j = 1..m/2, at n equally spaced t.

    The vertices of a cyclic polytope (Gale 1963): m/2-neighbourly for every n, so m = 2k rows are enough for k features.
    """
    if m % 2 or m < 2:
        raise ValueError(f"moment_curve(n={n}, m={m}): m must be even and at least 2")
    t = 2 * np.pi * np.arange(n) / n
    return np.concatenate([[np.cos(j * t), np.sin(j * t)] for j in range(1, m // 2 + 1)])
