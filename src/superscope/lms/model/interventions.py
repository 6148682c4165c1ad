"""Interventions on a running model, as TransformerLens hooks. Each says what it assumes and when it misleads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.model.language_model import LanguageModel, rows_to_tensor

Hook = tuple[str, Callable[..., Any]]


EVERYWHERE, AFTER_BOS, ONLY_BOS = slice(None), slice(1, None), slice(0, 1)


def project_out(name: str, basis: np.ndarray, mean: np.ndarray, where: slice = AFTER_BOS) -> Hook:
    """Replace what the values at hook `name` have inside the subspace by its mean over data (mean ablation).

    Positions `where` are changed: not that of BOS unless asked, because heads rest there and ablating it is another experiment.

    basis: (k, d) orthonormal; mean: (d,). Assumes that the mean is a typical value: where the subspace is bimodal, the mean
    is a value that never occurs, and the loss overstates what the subspace carries.
    """
    frame = torch.from_numpy(np.asarray(basis, dtype=np.float32))
    inside = torch.from_numpy(np.asarray(mean, dtype=np.float32)) @ frame.T

    def hook(value: Tensor, hook: Any = None) -> Tensor:
        value = value.clone()
        value[:, where] -= (value[:, where] @ frame.T - inside) @ frame
        return value

    return name, hook


def replace_with(name: str, value: Tensor, where: slice = EVERYWHERE) -> Hook:
    """Put `value` (broadcastable) in place of what is at hook `name`, at the positions `where`."""

    def hook(old: Tensor, hook: Any = None) -> Tensor:
        new = old.clone()
        new[:, where] = value
        return new

    return name, hook


def mean_loss(model: LanguageModel, tokens: np.ndarray, hooks: list[Hook] | None = None, batch: int = 16) -> np.ndarray:
    """(row,) mean nats per token of every row of `tokens` (row, position), with `hooks` in place."""
    parts = np.array_split(tokens, max(1, -(-len(tokens) // batch)))
    return np.concatenate([model.loss(rows_to_tensor(part), hooks or []).mean(dim=1).numpy() for part in parts])
