"""Which label sets a low-rank sigmoid layer can produce at all: exact, by linear programming.

Source: Grivas et al., AAAI 2024 (arXiv 2310.10443): most label sets of a low-rank multi-label layer are unargmaxable; a
discrete Fourier layer of rank 2k + 1 makes every set of at most k labels argmaxable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import linprog


def argmaxable(U: np.ndarray, sets: Iterable[Sequence[int]]) -> np.ndarray:
    """(sets,) flags: is there an h with U_i . h > 0 exactly for the labels i of the set? U (n, m), no bias.

    Scale is free, so strict inequalities are asked for with margin 1. A bias is a column of U that h must give weight 1;
    with a free weight it is one more dimension, which is the case decided here. Null: random U of the same shape.
    """
    weights = np.asarray(U, dtype=float)
    weights = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)  # signs do not depend on norms
    n, m = weights.shape
    found = []
    for labels in sets:
        sign = -np.ones(n)
        sign[list(labels)] = 1
        answer = linprog(np.zeros(m), A_ub=-sign[:, None] * weights, b_ub=-np.ones(n), bounds=(None, None), method="highs")
        found.append(answer.status == 0)
    return np.array(found)


def fourier_layer(n: int, k: int) -> np.ndarray:
    """(n, 2k + 1) rows (1, cos t_i, sin t_i, ..., cos k t_i, sin k t_i) at n equally spaced angles t_i."""
    angle = 2 * np.pi * np.arange(n)[:, None] / n
    waves = [f(j * angle) for j in range(1, k + 1) for f in (np.cos, np.sin)]
    return np.hstack([np.ones((n, 1)), *waves])
