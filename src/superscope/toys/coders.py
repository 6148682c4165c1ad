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
    """Trained networks: encoder and decoder parameters as in `deep.initial`, open (net, 1, M) the mask, late (net, 1, 1)."""

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


def train(
    arms: list[Arm], bits: int, width: int, noise: float, seeds: list[int], steps: int, lr: float, restarts: int = 1
) -> Coders:
    """The best of `restarts` networks for every (arm, seed), arm-major, on cross-entropy summed over outputs; arms share draws
    and starts."""
    names, wide = seeds * len(arms), max(arm.m for arm in arms)
    encoder = initial(names, restarts, (bits, width, width, wide))
    decoder = initial(names, restarts, (wide + 1, width, width, bits))
    each = len(seeds) * restarts
    opened = torch.tensor([[float(i < arm.m) for i in range(wide)] for arm in arms for _ in range(each)])[:, None, :]
    late = torch.tensor([float(arm.late) for arm in arms for _ in range(each)])[:, None, None]
    nets = Coders(encoder, decoder, opened, late, noise)
    rng = np.random.default_rng([seeds[0], 5])
    every = patterns(bits + 1)
    x = torch.from_numpy(np.tile(every, (4, 1)))

    def losses(x: Tensor) -> Tensor:
        logits = nets.after(nets.join(nets.code(x[:, :-1], rng), x[:, -1]), 0)
        want = nets.target(x[:, :-1], x[:, -1])
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, want, reduction="none").sum(-1).mean(-1)

    descend([*encoder, *decoder], lambda step: losses(x), steps, lr)
    with torch.no_grad():
        reached = losses(torch.from_numpy(np.tile(every, (64, 1)))).reshape(len(names), restarts)
    best = reached.argmin(1) + restarts * torch.arange(len(names))
    encoder, decoder = ([one.detach()[best] for one in part] for part in (encoder, decoder))
    return Coders(encoder, decoder, opened[best], late[best], noise)


def by_hand(places: np.ndarray, noise: float) -> Coders:
    """Coders that store pattern k on a line at places[net, k] (net, 8) and give every bit XOR a late bit, by hand.

    Encoder: ReLU(corner . s - 2) is one for its own signs s only. Decoder: a steep step (two hinges) at every boundary between
    neighbours adds up to v = 2 bit - 1; then with l = 2 late - 1 the outputs are ReLU(v - l) + ReLU(l - v) - 1 = -l v.
    """
    bits = patterns(3)
    corner, jumps, last = 2 * bits - 1, [], []
    hinges = np.zeros((len(places), 15))
    for net, row in enumerate(places):
        order = np.argsort(row)
        middle = (row[order][1:] + row[order][:-1]) / 2
        hinges[net, :14] = [*(-100 * middle + 0.5), *(-100 * middle - 0.5)]
        jumps.append(np.diff(corner[order], axis=0).T)  # (bit, boundary)
        last.append(corner[order[0]])
    hinges[:, 14] = 1  # carries l + 1
    first = np.zeros((15, 2))
    first[:14, 0], first[14, 1] = 100, 1
    step, start = np.array(jumps), np.array(last)
    v = np.concatenate([step, -step, np.zeros((*step.shape[:2], 1))], axis=2)
    late = np.r_[np.zeros(14), 1.0]
    second, offset = np.concatenate([v - late, late - v], axis=1), np.concatenate([start + 1, -start - 1], axis=1)
    out = np.concatenate([np.eye(3), np.eye(3)], axis=1)

    def all_nets(*arrays: np.ndarray) -> list[Tensor]:
        return [torch.tensor(np.broadcast_to(a, (len(places), *a.shape[-2:])), dtype=torch.float32) for a in arrays]

    encoder = all_nets(corner, np.full((1, 8), -2.0), np.arctanh(places)[:, None, :], np.zeros((1, 1)))
    decoder = all_nets(first, hinges[:, None, :], second, offset[:, None, :], out, np.full((1, 3), -1.0))
    ones = torch.ones(len(places), 1, 1)
    return Coders(encoder, decoder, ones, ones, noise)


def all_orders(bits: int = 3) -> np.ndarray:
    """(orders,) rank AUC of the bit that is read worst, in either direction, for every order of the patterns on a line that
    does not end in the mirror image of another; for three bits 20,160, of which each stands for two."""
    truth, size = patterns(bits) > 0.5, 2**bits
    orders = np.array([p for p in itertools.permutations(range(size)) if p[0] < p[-1]])
    below = size // 2 * (size // 2 - 1) // 2
    place = np.stack([np.where(row, orders, 0).sum(1) for row in truth.T], axis=1)
    found = (place - below) / (size // 2) ** 2
    return np.maximum(found, 1 - found).min(1)
