"""Full-batch training of small classifiers, many seeds at once: the data are few enough for exact losses."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from superscope.toys.batched import descend


def _start(seeds: list[int], restarts: int, *shape: int) -> torch.Tensor:
    """(seed * restart, *shape) Gaussian weights of variance 1 / shape[0], every seed from its own generator."""
    rows = [np.random.default_rng([s, r]).standard_normal(shape) for s in seeds for r in range(restarts)]
    return torch.tensor(np.array(rows) / np.sqrt(shape[0]), dtype=torch.float32).requires_grad_()


def _descend(parameters: list[torch.Tensor], losses, steps: int, lr: float) -> torch.Tensor:
    """Adam with cosine decay on the sum of `losses()` (instances,); returns the last losses."""
    descend(parameters, lambda _: losses(), steps, lr, warmup=0)
    with torch.no_grad():
        return losses()


def train_bottleneck(n: int, m: int, loss: str, seeds: list[int], restarts: int, steps: int, decay: float) -> np.ndarray:
    """(seed, m, n) directions of a tied bottleneck of n classes, one on at a time, best of the restarts.

    loss "cross-entropy": logits W^T W x with x one-hot (without bias the value of x does not change the largest logit), plus
    decay ||W||^2, without which norms grow for ever. "squared error": ReLU(W^T W x + b) against x, values 1/16, ..., 15/16.
    """
    w = _start(seeds, restarts, m, n)
    b = torch.zeros(len(w), 1, n, requires_grad=True)
    values = (torch.arange(8) + 0.5) / 8

    def cross_entropy() -> torch.Tensor:
        logits = w.transpose(1, 2) @ w
        own = torch.diagonal(logits, dim1=1, dim2=2)
        return (torch.logsumexp(logits, -1) - own).mean(-1) + decay * (w**2).sum((1, 2))

    def squared_error() -> torch.Tensor:
        gram = w.transpose(1, 2) @ w
        errors = [((torch.relu(v * gram + b) - v * torch.eye(n)) ** 2).sum(-1).mean(-1) for v in values]
        return torch.stack(errors).mean(0)

    plain = loss == "cross-entropy"
    last = _descend([w] if plain else [w, b], cross_entropy if plain else squared_error, steps, 0.05)
    best = last.reshape(len(seeds), restarts).argmin(1)
    return w.detach().numpy().reshape(len(seeds), restarts, m, n)[np.arange(len(seeds)), best.numpy()].astype(float)


def train_sets(n: int, m: int, k: int, seeds: list[int], restarts: int, steps: int) -> np.ndarray:
    """(seed, n, m) output weights U of logits U V x, trained by binary cross-entropy to reproduce all sets of exactly k of n;
    best of the restarts."""
    sets = list(itertools.combinations(range(n), k))
    x = torch.zeros(len(sets), n)
    x[torch.arange(len(sets))[:, None], torch.tensor(sets)] = 1
    u, v = _start(seeds, restarts, n, m), _start(seeds, restarts, m, n)

    def losses() -> torch.Tensor:
        logits = x @ v.transpose(1, 2) @ u.transpose(1, 2)
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return each.sum(-1).mean(-1)

    best = _descend([u, v], losses, steps, 0.05).reshape(len(seeds), restarts).argmin(1)
    return u.detach().numpy().reshape(len(seeds), restarts, n, m)[np.arange(len(seeds)), best.numpy()].astype(float)
