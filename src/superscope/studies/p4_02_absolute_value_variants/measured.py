"""What problem 4.2 measures of an absolute value network: W (seed, m, n), W_out (seed, n, m), b_out (seed, n) or 0."""

from __future__ import annotations

import numpy as np

from superscope.measure.weights.motifs import HALVES, motifs, regrouped
from superscope.sweep.run import SweepRun

SHARED = 0.1  # of the neurons


def weights(run: SweepRun, p: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (seed, m, n), W_out (seed, n, m), b_out (seed, n) at a density."""
    at = run.sel(density=p)
    return at.W.values, at.W_out.values, at.b_out.values


def costs(n: int, importance: np.ndarray, p: float) -> np.ndarray:
    """(n, 3) loss of |x_i| when 0, 1 or 2 neurons serve it alone: its variance; the residual of the best line in ReLU(x); 0."""
    var, cov, var_h = p / 3 - p**2 / 4, p / 6 - p**2 / 8, p / 6 - p**2 / 16
    return importance[:, None] * np.array([var, var - cov**2 / var_h, 0.0]) * np.ones((n, 1))


def coexist(w: np.ndarray, out: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """(seed,) are there enough neurons of either kind?"""
    found = motifs(w, out, bias)
    return (found.mono >= SHARED * w.shape[-2]) & (found.poly >= SHARED * w.shape[-2])


def distributed(w: np.ndarray, out: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """(seed,) share of learned halves that are distributed."""
    halves = motifs(w, out, bias).halves
    return halves[..., HALVES.index("distributed")] / np.maximum(halves[..., 1:].sum(-1), 1)


def null_motifs(w: np.ndarray, out: np.ndarray, bias: np.ndarray | float, draws: int, seed: int) -> np.ndarray:
    """(draws, seed) counts of inhibited asymmetric superposition with the features of every neuron relabelled."""
    rng = np.random.default_rng(seed)
    return np.stack([motifs(*regrouped(w, out, rng), bias).inhibited for _ in range(draws)])


def sharing_of(w: np.ndarray) -> np.ndarray:
    """(seed,) how much partners (2i, 2i+1) share neurons compared with strangers, mean overlap minus mean overlap.

    w (seed, m, n). Overlap of two features: cosine of their encoder columns, signs ignored.
    """
    n = w.shape[-1]
    w = np.abs(w) / np.maximum(np.linalg.norm(w, axis=-2, keepdims=True), 1e-9)
    overlap = np.swapaxes(w, -1, -2) @ w
    partner = (np.arange(n)[:, None] ^ 1) == np.arange(n)
    return overlap[:, partner].mean(1) - overlap[:, ~partner & ~np.eye(n, dtype=bool)].mean(1)
