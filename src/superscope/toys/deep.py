"""Networks with two hidden ReLU layers, many trained at once by batched matrix products (vmap over modules is slower here)."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from superscope.inputs.features import SparseFeatures
from superscope.toys import Target
from superscope.toys.batched import descend

EVALUATION = 8192
BLOCK = 64  # steps whose points are drawn together
Parameters = dict[str, np.ndarray]


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


def train_deep(
    inputs: SparseFeatures,
    target: Target,
    widths: tuple[int, int],
    seeds: list[int],
    restarts: int,
    steps: int,
    lr: float = 2e-2,
) -> tuple[np.ndarray, list[Parameters]]:
    """(seed,) expected losses and parameters of the best of the restarts. Adam, cosine decay, 96 fresh points per step, shared.

    Loss: sum over outputs, mean over 8192 fixed samples. Parameters are named one/two/out.weight/bias.
    """
    params = initial(seeds, restarts, (inputs.n, *widths, target.outputs(inputs.n)))
    rng = np.random.default_rng([seeds[0], 7])
    fixed = inputs.draw(np.random.default_rng([seeds[0], 8]), EVALUATION)
    block: list[torch.Tensor] = []

    def loss_at(step: int) -> torch.Tensor:
        if step % BLOCK == 0:
            points = inputs.draw(rng, 96 * BLOCK).reshape(BLOCK, 96, -1)
            block[:] = torch.from_numpy(points), torch.from_numpy(target.compute(points))
        x, t = block
        return ((forward(params, x[step % BLOCK]) - t[step % BLOCK]) ** 2).sum(-1).mean(-1)

    descend(params, loss_at, steps, lr, warmup=0)
    with torch.no_grad():
        error = forward(params, torch.from_numpy(fixed)) - torch.from_numpy(target.compute(fixed))
    losses = (error.double() ** 2).sum(-1).mean(-1).reshape(len(seeds), restarts).numpy()
    best = losses.argmin(1) + restarts * np.arange(len(seeds))
    names = [f"{layer}.{kind}" for layer in ("one", "two", "out") for kind in ("weight", "bias")]
    arrays = [np.squeeze(p.detach().numpy()[best], axis=1) if p.shape[1] == 1 and i % 2 else p.detach().numpy()[best]
              for i, p in enumerate(params)]  # fmt: skip
    nets = [{name: a[s].astype(float) for name, a in zip(names, arrays, strict=True)} for s in range(len(seeds))]
    return losses.min(1), nets
