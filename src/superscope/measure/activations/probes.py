"""Linear probes for Boolean features, judged on inputs they were not fitted on.

A probe can succeed because the layer computed a feature or because the feature was there for any linear reader to take: AND of
two bits is linearly separable in the bits themselves. Compare with an untrained layer and with a linear one, and with
`nonlinear_share`, which counts only what no linear function of the inputs supplies. Control tasks (`balanced_dichotomies`):
with K input patterns every balanced labelling of them is a task, and a probe that does as well on all of them has found
nothing about one (Hewitt and Liang, arXiv 1909.03368).
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.stats import rankdata


def _ridge(h: np.ndarray, t: np.ndarray, weight: np.ndarray, penalty: float) -> np.ndarray:
    """(hidden + 1, K) weighted ridge coefficients, the last row the bias."""
    design = np.column_stack([h, np.ones(len(h))]) * np.sqrt(weight)[:, None]
    scale = np.trace(design.T @ design) / design.shape[1]
    return np.linalg.solve(
        design.T @ design + penalty * scale * np.eye(design.shape[1]), design.T @ (t * np.sqrt(weight)[:, None])
    )


def nonlinear_share(
    h: np.ndarray, x: np.ndarray, truth: np.ndarray, fit: np.ndarray, weight: np.ndarray | None = None, penalty: float = 1e-6
) -> np.ndarray:
    """(K,) share of each feature's variance *outside linear functions of x* that a read-out of (h, x) explains, held out.

    Features whose linear remainders are uncorrelated cannot have shares that add up to more than the number of neurons: h adds
    that many directions. So a mean-square probe cannot find more such features than neurons, in any network.
    """
    w = np.ones(len(h)) if weight is None else np.asarray(weight, dtype=float)
    t = truth.astype(float)
    errors = []
    for design in (x, np.column_stack([h, x])):
        found = _ridge(design[fit], t[fit], w[fit], penalty)
        errors.append((w[~fit, None] * (design[~fit] @ found[:-1] + found[-1] - t[~fit]) ** 2).sum(0))
    return 1 - errors[1] / np.maximum(errors[0], 1e-12)


def auc(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(K,) chance that a true row scores above a false one, ties counting half; scores, truth (P, K)."""
    rank = rankdata(scores, axis=0)
    yes = truth.sum(0)
    return ((rank * truth).sum(0) - yes * (yes + 1) / 2) / (yes * (len(truth) - yes))


def probe_auc(h: np.ndarray, truth: np.ndarray, fit: np.ndarray, penalty: float = 1e-6) -> np.ndarray:
    """(K,) held-out rank AUC of ridge probes of truth (P, K) in h (P, hidden), fitted where fit (P,) is True."""
    found = _ridge(h[fit], truth[fit].astype(float), np.ones(fit.sum()), penalty)
    return auc(h[~fit] @ found[:-1], truth[~fit])


def balanced_dichotomies(patterns: int) -> np.ndarray:
    """(tasks, patterns) every way to call half of the patterns true, up to negation; an even number of patterns."""
    rest = itertools.combinations(range(1, patterns), patterns // 2)
    return np.array([np.isin(np.arange(patterns), chosen) for chosen in rest])
