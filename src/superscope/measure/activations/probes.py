"""Linear probes for Boolean features, judged on inputs they were not fitted on.

A probe can succeed because the layer computed a feature or because the feature was there for any linear reader to take: AND of
two bits is linearly separable in the bits themselves. Compare with an untrained layer and with a linear one, and with
`nonlinear_share`, which counts only what no linear function of the inputs supplies. Control tasks (`balanced_dichotomies`):
with K input patterns every balanced labelling of them is a task, and a probe that does as well on all of them has found
nothing about one (Hewitt and Liang, arXiv 1909.03368).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata


@dataclass(frozen=True)
class Probes:
    """Ridge probes of K features. f1 (K,) on held-out inputs at the threshold that was best on the fitted ones; direction
    (hidden, K); bias (K,)."""

    f1: np.ndarray
    direction: np.ndarray
    bias: np.ndarray


def _ridge(h: np.ndarray, t: np.ndarray, weight: np.ndarray, penalty: float) -> np.ndarray:
    """(hidden + 1, K) weighted ridge coefficients, the last row the bias."""
    design = np.column_stack([h, np.ones(len(h))]) * np.sqrt(weight)[:, None]
    scale = np.trace(design.T @ design) / design.shape[1]
    return np.linalg.solve(
        design.T @ design + penalty * scale * np.eye(design.shape[1]), design.T @ (t * np.sqrt(weight)[:, None])
    )


def _f1(scores: np.ndarray, truth: np.ndarray, weight: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """(K,) weighted F1 of scores (P, K) > threshold (K,) against truth (P, K)."""
    said = scores > threshold
    hit = (weight[:, None] * (said & truth)).sum(0)
    return 2 * hit / np.maximum((weight[:, None] * said).sum(0) + (weight[:, None] * truth).sum(0), 1e-12)


def linear_probes(
    h: np.ndarray, truth: np.ndarray, fit: np.ndarray, weight: np.ndarray | None = None, penalty: float = 1e-6
) -> Probes:
    """Probe hidden activations h (P, hidden) for K Boolean features, truth (P, K).

    fit: (P,) True for inputs that probes and thresholds may see; the others judge. weight (P,): probability of each input.
    """
    w = np.ones(len(h)) if weight is None else np.asarray(weight, dtype=float)
    found = _ridge(h[fit], truth[fit].astype(float), w[fit], penalty)
    scores = h @ found[:-1] + found[-1]
    tried = np.quantile(scores[fit], np.linspace(0.01, 0.99, 99), axis=0)  # (99, K)
    tried = np.concatenate([tried, np.linspace(scores.min(0), scores.max(0), 60)])
    quality = np.stack([_f1(scores[fit], truth[fit], w[fit], level) for level in tried])
    threshold = tried[quality.argmax(0), np.arange(truth.shape[1])]
    return Probes(_f1(scores[~fit], truth[~fit], w[~fit], threshold), found[:-1], found[-1])


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
