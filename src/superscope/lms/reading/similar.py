"""Units that fire on the same tokens: the Pearson correlation of activations over a text.

Misleads where two units share little but what most units share (both off on spaces, say): read the correlation, not the rank.
"""

from __future__ import annotations

import numpy as np

from superscope.lms.corpus.splits import Split
from superscope.lms.model import activations
from superscope.lms.model.language_model import LanguageModel

COUNT = 8  # units named for a unit
_HELD = 1 << 26  # activations held at once: 256 MB
_BLOCK = 256


def similar(
    model: LanguageModel, split: Split, units: activations.Units, n_units: int, rows: int = 800, seed: int = 0
) -> list[list[tuple[int, float]]]:
    """Per unit the `COUNT` others that correlate most with it, over at most `rows` rows of `split`; see `most_correlated`.

    n_units: how many `units` are, by which rows are left out where all would not fit the memory.
    """
    length = min(model.n_ctx, 256)
    fit = max(8, _HELD // (n_units * length))
    values = activations.values(model, split.rows(length, min(rows, fit), seed), units)["units"].numpy()
    return most_correlated(values)


def most_correlated(values: np.ndarray, count: int = COUNT) -> list[list[tuple[int, float]]]:
    """Per column of (token, unit): (other column, correlation), highest first, ties by number; none for a constant."""
    values = values.astype(np.float32) - values.mean(axis=0, dtype=np.float64).astype(np.float32)
    norm = np.sqrt(np.einsum("tu,tu->u", values, values, dtype=np.float64))
    varies = norm > 1e-6 * max(float(norm.max(initial=0.0)), 1e-30)
    values /= np.where(varies, norm, 1).astype(np.float32)
    out: list[list[tuple[int, float]]] = []
    for start in range(0, values.shape[1], _BLOCK):
        part = values[:, start : start + _BLOCK].T @ values
        part[:, ~varies] = -np.inf
        here = np.arange(len(part))
        part[here, here + start] = -np.inf
        part[~varies[start : start + len(part)]] = -np.inf
        best = np.argsort(-part, axis=1, kind="stable")[:, :count]
        out += [[(int(k), float(row[k])) for k in order if np.isfinite(row[k])] for row, order in zip(part, best, strict=True)]
    return out
