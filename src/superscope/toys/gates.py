"""Layers for Boolean gates of pairs of bits: random ones of several activations, and trained ones with their yardstick.

What a linear read-out of the bits can do already decides what counts as computation: (a + b)/2 - 1/4 is right on every row of
AND at a threshold of 1/2, and wrong by 1/4 on every row; 1/4 is the smallest worst error of any linear function. So a gate
counts as *computed* only if its error is below 1/4, on 95 % of the samples of every row.

Trained layers are y = V ReLU(W x + b) + S x + c: linear functions of the bits are free, so the yardstick, one exact gate
ReLU(a + b - 1) a neuron and the best linear function for all other gates, is a member of the family (`planted`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import erf
from torch import Tensor

from superscope.toys.batched import descend

QUARTER, MOST = 0.25, 0.95
FOLDS = 5  # one active set in five is held out of training
BLOCK = 50  # steps whose points are drawn together

# The rows' errors of the best linear function under the fourth power, u, v, u, alternate in sign, 2 u + 2 v = 1 (AND is not
# linear by exactly that much), and minimising (2 u^4 + v^4) / 3 gives v = 2^(1/3) u.
U = 0.5 / (1 + 2 ** (1 / 3))
FOURTH_POWER_FLOOR = (2 * U**4 + (2 ** (1 / 3) * U) ** 4) / 3


def gelu(scale: float) -> Callable[[np.ndarray], np.ndarray]:
    """z -> GELU(scale z) / scale."""
    return lambda z: z * (1 + erf(scale * z / np.sqrt(2))) / 2


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ReLU": lambda z: np.maximum(z, 0),
    **{f"GELU at scale {scale:g}": gelu(scale) for scale in (2.0, 0.5, 0.1, 0.02)},
    "z²": np.square,
    "z² + z³/5": lambda z: z**2 + z**3 / 5,
    "linear": lambda z: z,
}


def random_layer(n: int, kinds: Iterable[str], seed: int, hidden: int) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Bits (P, n) -> {kind: (P, hidden)}: the same standard Gaussian weights, and biases of half their size, for all
    activations."""
    rng, names = np.random.default_rng([seed, 5]), list(kinds)
    weight, bias = rng.standard_normal((hidden, n)), 0.5 * rng.standard_normal(hidden)

    def features(x: np.ndarray) -> dict[str, np.ndarray]:
        z = x @ weight.T + bias
        return {name: ACTIVATIONS[name](z) for name in names}

    return features


# ------------------------------------------------------------------------------------------------------- trained layers


@dataclass(frozen=True)
class Task:
    """K of the pairs of n bits, each bit on with chance p; always the same pairs for the same sizes."""

    n: int
    count: int
    p: float

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        first, second = np.triu_indices(self.n, 1)
        chosen = np.sort(np.random.default_rng(0).choice(len(first), self.count, replace=False))
        return first[chosen], second[chosen]

    def rows(self, x: Tensor) -> Tensor:
        """(..., K) how many bits of each pair are on."""
        first, second = self.pairs
        return x[..., first] + x[..., second]

    def draw(self, rng: np.random.Generator, count: int, held_out: bool) -> Tensor:
        """(count, n) bits whose active sets are all held out of training, or all not: a hash of the set is 0 modulo FOLDS.
        The empty set and single bits are never held out."""
        keys = (np.arange(self.n) * 7 + 3) ** 2 % 101
        x = rng.random((count * (8 if held_out else 2), self.n)) < self.p
        unseen = (x @ keys % FOLDS == 0) & (x.sum(1) >= 2)
        return torch.tensor(x[unseen == held_out][:count], dtype=torch.float32)

    def yardstick(self, hidden: int) -> float:
        """Loss of one exact gate a neuron and the best linear function for all others."""
        return (self.count - hidden) * FOURTH_POWER_FLOOR


@dataclass
class Layers:
    """Networks: W (net, H, n), b (net, 1, H), V (net, K, H), S (net, K, n), c (net, 1, K); on (net, 1, 1): 0 takes the neurons
    away."""

    W: Tensor
    b: Tensor
    V: Tensor
    S: Tensor
    c: Tensor
    on: Tensor

    def output(self, x: Tensor) -> Tensor:
        """(net, P, K) for bits x (P, n)."""
        hidden = torch.relu(x @ self.W.transpose(1, 2) + self.b) * self.on
        return hidden @ self.V.transpose(1, 2) + x @ self.S.transpose(1, 2) + self.c


def started(task: Task, hidden: int, seeds: list[int], linear: bool = False) -> Layers:
    """Small random weights; linear: no neurons."""
    rngs = [np.random.default_rng([seed, 45]) for seed in seeds]

    def normal(*shape: int) -> Tensor:
        return torch.tensor(np.stack([r.standard_normal(shape) / np.sqrt(shape[-1]) for r in rngs]), dtype=torch.float32)

    k, n, nets = task.count, task.n, len(seeds)
    return Layers(normal(hidden, n), torch.zeros(nets, 1, hidden), 0.3 * normal(k, hidden), torch.zeros(nets, k, n),
                  torch.zeros(nets, 1, k), torch.full((nets, 1, 1), 0.0 if linear else 1.0))  # fmt: skip


def planted(task: Task, hidden: int, seeds: list[int], noise: float, gates: int | None = None) -> Layers:
    """The yardstick, with relative noise on all weights: one exact gate a neuron for the first `gates` pairs (default: as many
    as neurons), the best linear function for the others."""
    made = started(task, hidden, seeds)
    first, second = task.pairs
    exact = torch.arange(hidden if gates is None else gates)
    for one in (made.W, made.V, made.S):
        one.zero_()
    made.W[:, exact, first[exact]] = made.W[:, exact, second[exact]] = 1
    made.b[:, 0, exact], made.V[:, exact, exact] = -1, 1
    rest = torch.arange(len(exact), task.count)
    slope = 0.5  # 2 u + 2 v = 1 and errors u, -v, u: the line rises by u + v = 1/2 a bit
    made.S[:, rest, first[rest]] = made.S[:, rest, second[rest]] = slope
    made.c[:, 0, rest] = -U
    for number, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, 46])
        for one in (made.W, made.b, made.V, made.S):
            one[number] *= torch.tensor(1 + noise * rng.standard_normal(one.shape[1:]), dtype=torch.float32)
    return made


def losses_of(task: Task, nets: Layers, x: Tensor) -> Tensor:
    """(net,) sum over gates of |error|^4, their rows 00, 01 or 10, 11 weighing alike, mean over samples x (P, n)."""
    row = task.rows(x)
    p = task.p
    weight = torch.tensor([1 / (1 - p) ** 2, 1 / (2 * p * (1 - p)), 1 / p**2])[row.long()] / 3
    square = (nets.output(x) - (row == 2).float()).square()
    return (square.square() * weight).sum(-1).mean(-1)


def train(task: Task, start: Layers, steps: int, lr: float, points: int, seed: int) -> Layers:
    """Adam on fresh bits, shared by all networks."""
    W, b, V, S, c = (one.clone().requires_grad_() for one in (start.W, start.b, start.V, start.S, start.c))
    nets, rng, held = Layers(W, b, V, S, c, start.on), np.random.default_rng([seed, 47]), {}

    def losses(step: int) -> Tensor:
        if step % BLOCK == 0:
            held["x"] = task.draw(rng, BLOCK * points, held_out=False)
        return losses_of(task, nets, held["x"][step % BLOCK * points : (step % BLOCK + 1) * points])

    descend([W, b, V, S, c], losses, steps, lr)
    return Layers(W.detach(), b.detach(), V.detach(), S.detach(), c.detach(), start.on)


@torch.no_grad()
def examine(task: Task, nets: Layers, seed: int, samples: int = 30_000) -> dict[str, np.ndarray]:
    """On active sets held out of training: loss (net,), gates computed (net,), mean output of every row (net, 3)."""
    x = task.draw(np.random.default_rng([seed, 48]), samples, held_out=True)
    row, y = task.rows(x), nets.output(x)
    error = y - (row == 2).float()
    of_row = [(row == r).float() for r in range(3)]
    loss = torch.stack([((error**4) * one).sum(1) / one.sum(0) for one in of_row]).mean(0).sum(-1)
    within = torch.stack([((error.abs() < QUARTER) * one).sum(1) / one.sum(0) for one in of_row], dim=1)  # (net, 3, K)
    said = torch.stack([(y * one).sum(1) / one.sum(0) for one in of_row], dim=1)
    computed = (within >= MOST).all(1).sum(-1)
    return {"loss": loss.numpy(), "computed": computed.numpy(), "said": said.mean(-1).numpy()}
