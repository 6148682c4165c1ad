"""Attention heads: what their circuits do. OV and QK circuits are products of the weights (Elhage et al. 2021)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def copying_score(weights_ov: Tensor) -> float:
    """sum(eigenvalues) / sum(|eigenvalues|) of a square (token, token) or (d, d) circuit (Elhage et al. 2021).

    +1 when the circuit only copies, 0 +- a few hundredths for a random one, -1 when it only suppresses. Give it a low-rank
    factor's small product: the non-zero eigenvalues of A B are those of B A.
    """
    values = torch.linalg.eigvals(weights_ov.double())
    total = float(values.abs().sum())
    return float(values.real.sum()) / total if total else 0.0


def random_copying_scores(d_model: int, rank: int, draws: int, seed: int) -> np.ndarray:
    """(draws,) copying scores of random rank-`rank` circuits in `d_model` dimensions: the null of `copying_score`.

    For rank 32 in 128 dimensions the mean is 0.006 and the standard deviation 0.046.
    """
    rng = np.random.default_rng([seed, d_model, rank])
    pairs = rng.normal(size=(draws, 2, d_model, rank))
    return np.array([copying_score(torch.from_numpy(b.T @ a)) for a, b in pairs])


def identification_rank(codes: np.ndarray, readout: np.ndarray) -> np.ndarray:
    """(token,) how many other tokens a token's code speaks for more than for itself: 0 means identified (top-1).

    codes: (vocabulary, d_head) value vectors; readout: (d_head, vocabulary), the way from a value vector to logits. Ties
    count against the token, so that a code of zeros identifies nothing.
    """
    out = np.empty(len(codes), dtype=np.int64)
    for start in range(0, len(codes), 512):
        part = np.arange(start, min(start + 512, len(codes)))
        logits = codes[part] @ readout
        own = logits[np.arange(len(part)), part]
        out[start : start + 512] = (logits >= own[:, None]).sum(axis=1) - 1
    return out


def leading_directions(codes: np.ndarray, k: int) -> np.ndarray:
    """`codes` (vocabulary, d_head) with only their k largest singular directions kept (not centred: a code is used as it
    is).
    """
    _, _, vt = np.linalg.svd(codes, full_matrices=False)
    return (codes @ vt[:k].T) @ vt[:k]
