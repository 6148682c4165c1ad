"""Linear codes h = W x of features of which a few are on, read by ReLU networks; many at once, W learned along or fixed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from superscope.toys.batched import descend
from superscope.toys.deep import forward, initial


@dataclass(frozen=True)
class Readers:
    """Networks with their codes. W (net, m, n); params as in `toys.deep`: weights and biases, layer by layer; linear output."""

    W: Tensor
    params: list[Tensor]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(net, ..., n) answers to inputs x (..., n)."""
        flat = torch.tensor(x.reshape(-1, x.shape[-1]), dtype=torch.float32)
        with torch.no_grad():
            y = forward(self.params, flat @ self.W.transpose(1, 2))
        return y.numpy().reshape(len(self.W), *x.shape)


def all_sets_on(n: int, k: int, each: int, seed: int) -> np.ndarray:
    """(sets, each, n): every set of k features on `each` times, values uniform on [0, 1]."""
    members = np.array(list(itertools.combinations(range(n), k)))
    x = np.zeros((len(members), each, n))
    values = np.random.default_rng(seed).random((len(members), each, k))
    x[np.arange(len(members))[:, None, None], np.arange(each)[None, :, None], members[:, None, :]] = values
    return x


def random_sets_on(n: int, counts: Sequence[int], size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, n) float32: k features on, k drawn from `counts`, all sets alike, values uniform on [0, 1]."""
    k = rng.choice(np.asarray(counts), size)
    rank = rng.random((size, n)).argsort(axis=1).argsort(axis=1)
    return (rng.random((size, n)) * (rank < k[:, None])).astype(np.float32)


def train(
    start: np.ndarray, learned: int, widths: Sequence[int], seeds: Sequence[int], counts: Sequence[int], steps: int, lr: float,
    points: int,
) -> Readers:  # fmt: skip
    """Networks with hidden layers of `widths` that say x from h = W x, trained on inputs with k in `counts` features on.

    start (net, m, n): codes, of which the first `learned` are trained along. seeds (net,): of the networks' initial weights.
    Loss: squared error summed over outputs, mean over samples. Adam with cosine decay, `points` fresh inputs a step for all.
    """
    n, m = start.shape[2], start.shape[1]
    fixed = torch.tensor(start, dtype=torch.float32)
    free = fixed[:learned].clone().requires_grad_()
    params = initial(list(seeds), 1, (m, *widths, n))
    rng = np.random.default_rng([seeds[0], 3])

    def losses(step: int) -> Tensor:
        x = torch.from_numpy(random_sets_on(n, counts, points, rng))
        W = torch.cat([free, fixed[learned:]])
        return ((forward(params, x @ W.transpose(1, 2)) - x) ** 2).sum(-1).mean(-1)

    descend([*([free] if learned else []), *params], losses, steps, lr)
    return Readers(torch.cat([free, fixed[learned:]]).detach(), [p.detach() for p in params])
