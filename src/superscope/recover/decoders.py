"""Sparse non-negative decoders of a linear code h = W x with W known: what could be read, whatever a network does read.

W (m, n): column i is the direction of feature i. h (P, m): codes. Answers are (P, n). No decoder sees x.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import optimize


def ista(W: np.ndarray, h: np.ndarray, penalty: float = 1e-3, steps: int = 100, fast: bool = True) -> np.ndarray:
    """`steps` proximal gradient steps on 1/2 ||W x - h||^2 + penalty * sum x over x >= 0, from x = 0.

    One step is one ReLU layer with tied weights: ReLU(a W^T h - a penalty), a = 1 / ||W||_2^2. fast: Nesterov momentum (FISTA,
    Beck and Teboulle 2009). Converges to the minimum, which is the true x only if penalty is small and W allows it.
    """
    size = 1 / max(float(np.linalg.norm(W, 2)) ** 2, 1e-300)
    x = np.zeros((len(h), W.shape[1]))
    look, t = x, 1.0
    for _ in range(steps):
        new = np.maximum(look - size * ((look @ W.T - h) @ W + penalty), 0)
        ahead = (1 + math.sqrt(1 + 4 * t * t)) / 2
        look = new + ((t - 1) / ahead if fast else 0.0) * (new - x)
        x, t = new, ahead
    return x


def nnls(W: np.ndarray, h: np.ndarray, tie: float = 1e-6) -> np.ndarray:
    """Least squares over x >= 0; among equally good answers the one with the least sum (as tie -> 0).

    It minimises ||W x - h||^2 + tie (sum x)^2, an ordinary NNLS problem with one more row. Recovers every k-sparse x >= 0 from
    h = W x exactly when conv(0, columns of W) is outwardly k-neighbourly (Donoho and Tanner 2005), see
    `measure.neighbourliness`; it is not told how many features are on, and knows no upper bound on x.
    """
    rows = np.vstack([W, math.sqrt(tie) * np.ones(W.shape[1])])
    return np.array([optimize.nnls(rows, np.append(v, 0.0))[0] for v in np.asarray(h, dtype=float)])


def subset_search(W: np.ndarray, h: np.ndarray, k: int, high: float = 1.0) -> np.ndarray:
    """The best x with at most k features on, values in [0, high]: every set of k is tried, C(n, k) least-squares fits.

    Values are clipped after the fit and sets compared by their residual. Exact without noise: a code h = W x with
    x feasible is answered by x whenever no other set of k gives h, which holds for almost every W with m >= 2k rows.
    """
    best = np.full(len(h), np.inf)
    out = np.zeros((len(h), W.shape[1]))
    for members in itertools.combinations(range(W.shape[1]), k):
        part = W[:, members]
        values = np.clip(h @ np.linalg.pinv(part).T, 0, high)
        residual = ((h - values @ part.T) ** 2).sum(1)
        better = residual < best
        best[better] = residual[better]
        out[better] = 0
        out[np.ix_(better, members)] = values[better]
    return out
