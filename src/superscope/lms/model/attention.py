"""What attention patterns (batch, head, query, key) do: a number per head with a known null."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def repeated_tokens(vocabulary: int, period: int, rows: int, seed: int, bos: int = 0) -> Tensor:
    """(rows, 1 + 2 * period) int64: BOS, then a string of random tokens (never BOS) twice."""
    rng = np.random.default_rng([seed, period])
    string = rng.integers(0, vocabulary - 1, (rows, period))
    string = string + (string >= bos)
    out = np.concatenate([np.full((rows, 1), bos), string, string], axis=1)
    return torch.from_numpy(out.astype(np.int64))


def prefix_matching(pattern: Tensor, period: int) -> Tensor:
    """(head,) mean attention from the second copy's tokens to the token AFTER their first occurrence (Olsson et al. 2022).

    pattern: (batch, head, query, key) on `repeated_tokens`. 1 for a perfect induction head; about 1 / length for uniform
    attention.
    """
    queries = torch.arange(1 + period, pattern.shape[-2], device=pattern.device)
    return pattern[:, :, queries, queries - period + 1].float().mean(dim=(0, 2))


def previous_token(pattern: Tensor) -> Tensor:
    """(head,) mean attention to the token just before (from the third position on)."""
    queries = torch.arange(2, pattern.shape[-2], device=pattern.device)
    return pattern[:, :, queries, queries - 1].float().mean(dim=(0, 2))
