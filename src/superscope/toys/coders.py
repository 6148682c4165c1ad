"""Bits through a noisy bottleneck, many networks at once: bits -> MLP -> tanh(m) + noise -> (late bit) -> MLP -> outputs.

Networks are batched over (arm, seed). All have room for the widest bottleneck; a mask closes the coordinates an arm lacks.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from superscope.toys.batched import descend
from superscope.toys.deep import forward, initial


@dataclass(frozen=True)
class Arm:
    """m: dimensions of the bottleneck. late: is every output XORed with a bit that arrives behind it?"""

    m: int
    late: bool


@dataclass(frozen=True)
class Coders:
    """Trained networks: encoder and decoder parameters as in `_deep.initial`, open (net, 1, M) the mask, late (net, 1, 1)."""

    encoder: list[Tensor]
    decoder: list[Tensor]
    open: Tensor
    late: Tensor
    noise: float

    def code(self, bits: Tensor, rng: np.random.Generator) -> Tensor:
        """(net, P, M) noisy states for bits (P, B) or (net, P, B) in {0, 1}."""
        clean = torch.tanh(forward(self.encoder, 2 * bits - 1))
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        return (clean + self.noise * noise) * self.open

    def join(self, code: Tensor, late: Tensor) -> Tensor:
        """(net, P, M + 1) what the decoder reads, for late (P,) in {0, 1}."""
        return torch.cat([code, (2 * late[None, :, None] - 1) * self.late], dim=-1)

    def layers(self, joined: Tensor) -> list[Tensor]:
        """States of the decoder: its input, every hidden layer, the logits."""
        out = [joined]
        for layer in range(0, len(self.decoder), 2):
            out.append(self.after(out[-1], layer // 2, layer // 2 + 1))
        return out

    def after(self, state: Tensor, first: int, last: int | None = None) -> Tensor:
        """Run the decoder from state number `first` to state number `last` (default: the logits)."""
        count = len(self.decoder) // 2
        for layer in range(first, count if last is None else last):
            state = state @ self.decoder[2 * layer].transpose(1, 2) + self.decoder[2 * layer + 1]
            state = torch.relu(state) if layer < count - 1 else state
        return state

    def target(self, bits: Tensor, late: Tensor) -> Tensor:
        """(net, P, B): bits (P, B) or (net, P, B), XOR late (P,) in arms that have it."""
        return (bits - late[None, :, None] * self.late).abs()


def patterns(count: int) -> np.ndarray:
    """(2^count, count) all bit patterns."""
    return np.array(list(itertools.product((0, 1), repeat=count)), dtype=np.float32)


def train(arms: list[Arm], bits: int, width: int, noise: float, seeds: list[int], steps: int, lr: float) -> Coders:
    """One network for every (arm, seed), arm-major, on cross-entropy summed over outputs; arms share draws and starts."""
    names, wide = seeds * len(arms), max(arm.m for arm in arms)
    encoder, decoder = initial(names, 1, (bits, width, width, wide)), initial(names, 1, (wide + 1, width, width, bits))
    opened = torch.tensor([[float(i < arm.m) for i in range(wide)] for arm in arms for _ in seeds])[:, None, :]
    late = torch.tensor([float(arm.late) for arm in arms for _ in seeds])[:, None, None]
    nets = Coders(encoder, decoder, opened, late, noise)
    rng = np.random.default_rng([seeds[0], 5])
    every = patterns(bits + 1)
    x = torch.from_numpy(np.tile(every, (4, 1)))

    def losses(step: int) -> Tensor:
        logits = nets.after(nets.join(nets.code(x[:, :-1], rng), x[:, -1]), 0)
        want = nets.target(x[:, :-1], x[:, -1])
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, want, reduction="none").sum(-1).mean(-1)

    descend([*encoder, *decoder], losses, steps, lr)
    for one in (*encoder, *decoder):
        one.requires_grad_(False)
    return nets
