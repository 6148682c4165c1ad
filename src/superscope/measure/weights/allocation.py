"""What a layer could do without superposition: whole neurons handed to tasks, each neuron to one task.

Every claim of computation in superposition is a loss divided by this one, since a small loss alone shows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Allocation:
    """The best hand-out: total loss, and neurons per task (T,)."""

    loss: float
    neurons: np.ndarray


def best_allocation(cost: np.ndarray, neurons: int) -> Allocation:
    """min over k with sum_t k_t <= neurons of sum_t cost[t, k_t], by dynamic programming (cost need not be convex).

    cost: (T, K + 1) loss of task t when k = 0..K neurons serve it alone. A list of T rows of different lengths is padded
    with the last entry of each, as more neurons than needed do no harm.
    Assumes that neurons of different tasks do not touch. It misleads where something besides neurons can compute: an output
    ReLU with a bias, a skip connection; put what those give into cost[:, 0].
    """
    rows = [np.minimum.accumulate(np.asarray(row, dtype=float)) for row in cost]
    if neurons < 0 or not rows or any(row.ndim != 1 or len(row) == 0 for row in rows):
        raise ValueError(f"best_allocation: neurons={neurons}, {len(rows)} tasks: expected >= 0 neurons and non-empty rows")
    best = np.zeros(neurons + 1)
    picks = []
    for row in rows:
        options = np.full((min(len(row), neurons + 1), neurons + 1), np.inf)
        for k in range(len(options)):
            options[k, k:] = row[k] + best[: neurons + 1 - k]
        picks.append(options.argmin(0))
        best = options.min(0)
    left, counts = neurons, []
    for pick in reversed(picks):
        counts.append(int(pick[left]))
        left -= counts[-1]
    return Allocation(float(best[neurons]), np.array(counts[::-1]))
