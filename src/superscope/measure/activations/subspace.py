"""Linear subspaces of a residual stream: how large, how much of a matrix lies in them, how they overlap.

A basis is an orthonormal (k, d) array. The null of every share is exact: an isotropic vector has k / d of its energy in any
k-dimensional subspace.
"""

from __future__ import annotations

import numpy as np


def variances(rows: np.ndarray) -> np.ndarray:
    """(min(n, d),) variance along each principal component of `rows` (n, d), largest first, about the mean row."""
    centred = rows - rows.mean(axis=0)
    return np.linalg.svd(centred, compute_uv=False) ** 2


def components_for(rows: np.ndarray, share: float) -> int:
    """How many principal components hold `share` of the variance of `rows` (n, d)."""
    cumulative = np.cumsum(variances(rows))
    return int(np.searchsorted(cumulative / cumulative[-1], share - 1e-12) + 1)


def participation_ratio(rows: np.ndarray) -> float:
    """(sum v)^2 / sum v^2 of the principal variances: d for isotropic rows, 1 for a line."""
    v = variances(rows)
    return float(v.sum() ** 2 / (v**2).sum())


def principal_basis(rows: np.ndarray, k: int) -> np.ndarray:
    """(k, d) orthonormal: the first k principal directions of `rows` (n, d)."""
    if not 1 <= k <= min(rows.shape):
        raise ValueError(f"k={k}: expected 1 to {min(rows.shape)} components of rows of shape {rows.shape}")
    return np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:k]


def random_basis(k: int, d: int, seed: int) -> np.ndarray:
    """(k, d) orthonormal, uniformly distributed."""
    return np.linalg.qr(np.random.default_rng([seed, k, d]).normal(size=(d, k)))[0].T


def energy_share(vectors: np.ndarray, basis: np.ndarray, centre: bool = False) -> float:
    """Share of the squared norm (about the mean row if `centre`) of `vectors` (n, d) inside the subspace. Null: k / d."""
    if centre:
        vectors = vectors - vectors.mean(axis=0)
    return float(((vectors @ basis.T) ** 2).sum() / (vectors**2).sum())
