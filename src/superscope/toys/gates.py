"""Networks and yardsticks for Boolean gates of pairs of bits.

What a linear read-out of the inputs can do already, which decides what counts as computation:
- squared error: AND of two independent bits has variance p^2 (1 - p^2), of which a + b explains 2 p^3 (1 - p); and since
  outputs are linear in H hidden units, no network of any kind gets below the variance outside the best H + 1 directions;
- a threshold at 1/2: y = (a + b)/2 - 1/4 is right on every row of the truth table;
- error: that y is wrong by 1/4 on every row, and 1/4 is the smallest worst error of any linear function. So a gate counts as
  *computed* only if its error is below 1/4 (on 95 % of the samples of every row).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from superscope.toys import Target

QUARTER, MOST = 0.25, 0.95
FOLDS = 5  # one active set in five is held out


def fourth_power_floor() -> float:
    """Smallest mean over the three rows of |error|^4 for a linear function of a + b.

    Errors u, v, u on rows 00, 01, 11 alternate in sign and satisfy 2 u + 2 v = 1 (AND is not linear by exactly that much);
    minimising (2 u^4 + v^4) / 3 gives v = 2^(1/3) u.
    """
    u = 0.5 / (1 + 2 ** (1 / 3))
    return (2 * u**4 + (2 ** (1 / 3) * u) ** 4) / 3


def linear_floor(p: float) -> float:
    """Variance of AND that a linear function of its bits leaves: p^2 (1 - p^2) - 2 p^3 (1 - p)."""
    return p**2 * (1 - p**2) - 2 * p**3 * (1 - p)


def some_pairs(n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Both members of `count` of the pairs i < j, always the same ones, chosen at random."""
    first, second = np.triu_indices(n, 1)
    chosen = np.sort(np.random.default_rng(0).choice(len(first), count, replace=False))
    return first[chosen], second[chosen]


def some_ands(n: int, count: int) -> Target:
    """ANDs of `some_pairs` as a target."""
    first, second = some_pairs(n, count)
    return Target(f"and-{count}-pairs", lambda x: x[..., first] * x[..., second], lambda _: count)


class Layer(nn.Module):
    """y = W_out f(W_in x + b) + c (+ S x with skip), f a ReLU or the identity; linear output, since an output ReLU computes
    AND on its own. x (P, n) -> (P, outputs)."""

    def __init__(self, n: int, hidden: int, outputs: int, linear: bool = False, skip: bool = False) -> None:
        super().__init__()
        self.read, self.write = nn.Linear(n, hidden), nn.Linear(hidden, outputs)
        self.skip = nn.Linear(n, outputs, bias=False) if skip else None
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.read(x)
        y = self.write(h if self.linear else torch.relu(h))
        return y if self.skip is None else y + self.skip(x)


def evaluate(params: dict[str, np.ndarray], x: np.ndarray, linear: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(h, y) of stacked `Layer`s: params {name: (seed, ...)}, x (P, n) -> (seed, P, hidden), (seed, P, outputs)."""
    h = x @ np.swapaxes(params["read.weight"], -1, -2) + params["read.bias"][:, None]
    h = h if linear else np.maximum(h, 0)
    y = h @ np.swapaxes(params["write.weight"], -1, -2) + params["write.bias"][:, None]
    return h, y + x @ np.swapaxes(params["skip.weight"], -1, -2) if "skip.weight" in params else y


def held_out(x: np.ndarray) -> np.ndarray:
    """(...,) flags of inputs (..., n) whose active set is kept out of training: a hash of it is 0 modulo FOLDS.

    The empty set and single bits are never held out.
    """
    keys = (np.arange(x.shape[-1]) * 7 + 3) ** 2 % 101
    return (x @ keys % FOLDS == 0) & (x.sum(-1) >= 2)


def balanced_loss(n: int, count: int, p: float, power: int) -> Callable[..., torch.Tensor]:
    """Loss (y, t, x) -> (P,) of `some_ands`: sum over gates of |error|^power, the three rows 00, 01/10, 11 of every gate
    weighing alike; held-out sets weigh 0."""
    first, second = (torch.tensor(side) for side in some_pairs(n, count))
    weight = torch.tensor([1 / (1 - p) ** 2, 1 / (2 * p * (1 - p)), 1 / p**2]) / 3
    keys = torch.tensor((np.arange(n) * 7 + 3) ** 2 % 101, dtype=torch.float32)

    def loss(y: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        row = x[..., first] + x[..., second]
        rows = torch.where(row == 2, weight[2], torch.where(row == 1, weight[1], weight[0]))
        unseen = (torch.remainder(x @ keys, FOLDS) == 0) & (x.sum(-1) >= 2)
        return ((y - t).abs() ** power * rows).sum(-1) * (~unseen)

    loss.__qualname__ = f"row-balanced-{power}-p{p:g}"
    return loss


def by_row(y: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What gates do on each row of the truth table. y (seed, P, K) outputs, row (P, K) in {0, 1, 2} bits on.

    Returns (seed, 3, K) each: mean output, share of samples with error below 1/4, share on the right side of 1/2.
    """
    truth = row == 2
    error = np.abs(y - truth)
    side = (y > 0.5) == truth
    found = [
        np.stack([(values * (row == r)).sum(1) / np.maximum((row == r).sum(0), 1) for r in range(3)], axis=1)
        for values in (y, error < QUARTER, side)
    ]
    return found[0], found[1], found[2]


def computed(within: np.ndarray, share: float = MOST) -> np.ndarray:
    """(seed,) number of gates whose error is below 1/4 on at least `share` of the samples of every row."""
    return (within >= share).all(1).sum(-1)


def balanced_accuracy(side: np.ndarray, row: np.ndarray) -> np.ndarray:
    """(seed, K) mean of the true positive and the true negative rate at threshold 1/2; side (seed, 3, K), row (P, K)."""
    off = np.stack([(row == r).sum(0) for r in (0, 1)])  # (2, K) samples
    negative = (side[:, :2] * off).sum(1) / off.sum(0)
    return (side[:, 2] + negative) / 2


def row_samples(n: int, p: float, pair: tuple[int, int], count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x (3 count, n) with the bits of `pair` forced to 00, then 01 or 10, then 11, the others on with chance p; its rows."""
    x = (rng.random((3 * count, n)) < p).astype(float)
    first = rng.random(count) < 0.5
    x[:count, list(pair)] = 0
    x[count : 2 * count, pair[0]], x[count : 2 * count, pair[1]] = first, ~first
    x[2 * count :, list(pair)] = 1
    return x, np.repeat([0, 1, 2], count)


def random_layer_share(
    n: int, hidden: int, p: float, kind: str, gates: int, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """(share of sampled ANDs computed, mean share of samples within 1/4 by row (3,)) of a random layer and a fitted read-out.

    kind: "dense" (Gaussian weights, biases of half their size), "sparse" (each bit enters with chance 0.1, threshold 1: the
    construction of Vaintrob, Mendel and Hanni), "linear" (Gaussian, no ReLU). Read-outs are ridge fits, rows weighing alike.
    """
    if kind == "sparse":
        weight, bias = (rng.random((hidden, n)) < 0.1).astype(float), -np.ones(hidden)
    else:
        weight, bias = rng.standard_normal((hidden, n)), 0.5 * rng.standard_normal(hidden)

    def features(x: np.ndarray) -> np.ndarray:
        z = x @ weight.T + bias
        return np.column_stack([z if kind == "linear" else np.maximum(z, 0), np.ones(len(x))])

    within = []
    for _ in range(gates):
        first, second = rng.choice(n, 2, replace=False)
        x, row = row_samples(n, p, (first, second), hidden, rng)
        a = features(x)
        readout = np.linalg.solve(a.T @ a + 0.1 * np.eye(a.shape[1]), a.T @ (row == 2))
        x, row = row_samples(n, p, (first, second), 1000, rng)
        within.append((np.abs(features(x) @ readout - (row == 2)) < QUARTER).reshape(3, -1).mean(1))
    table = np.array(within)
    return float((table >= MOST).all(1).mean()), table.mean(0)
