"""Networks of several ReLU layers, many at once by batched matrix products (vmap over modules is slower here)."""

from __future__ import annotations

import itertools

import numpy as np
import torch


def initial(seeds: list[int], restarts: int, sizes: tuple[int, ...]) -> list[torch.Tensor]:
    """[W1, b1, W2, b2, W3, b3], each (seed * restart, ...): He-normal weights, hidden biases 0.1; a generator per network."""
    rngs = [np.random.default_rng([s, r]) for s in seeds for r in range(restarts)]
    out = []
    for layer, (fan, width) in enumerate(itertools.pairwise(sizes)):
        weight = np.stack([rng.standard_normal((width, fan)) * np.sqrt(2 / fan) for rng in rngs])
        bias = np.full((len(rngs), 1, width), 0.1 if layer < len(sizes) - 2 else 0.0)
        out += [torch.tensor(a, dtype=torch.float32).requires_grad_() for a in (weight, bias)]
    return out


def forward(params: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """(net, P, outputs) of inputs x (P, n)."""
    h = x
    for layer in range(0, len(params), 2):
        h = h @ params[layer].transpose(1, 2) + params[layer + 1]
        h = torch.relu(h) if layer < len(params) - 2 else h
    return h
