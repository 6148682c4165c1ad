"""Gated recurrent networks that keep one of eight regions and move it as told, many at once.

Bits -> MLP -> state; at every step h <- z h + (1 - z) n + noise with (z, n) from an MLP of (h, instruction); the bits are read
from the state by an MLP after every step.

An instruction swaps the regions in pairs. Bit flips are such swaps, and the only ones that treat every bit by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from superscope.toys.batched import descend
from superscope.toys.coders import patterns
from superscope.toys.deep import forward, initial

BITS = 3


@dataclass(frozen=True)
class Task:
    """m: dimensions of the state. flips: do instructions flip bits, or swap the regions in pairs drawn at random?
    taught: is the state taught to be a corner of a box: "bits", a coordinate a bit, "dealt", in an order in which one bit moves
    it in every direction, or "", not at all?"""

    m: int
    flips: bool = False
    taught: str = ""


@dataclass(frozen=True)
class Carriers:
    """Trained networks: parameters as in `deep.initial`, open (net, 1, M) the mask, moves (net, instruction, pattern)."""

    encoder: list[Tensor]
    cell: list[Tensor]
    decoder: list[Tensor]
    open: Tensor
    moves: Tensor
    noise: float

    def noisy(self, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """The state (net, P, M) with noise on the coordinates there are."""
        return (clean + self.noise * torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))) * self.open

    def start(self, kind: Tensor) -> Tensor:
        """(net, P, M) the clean state for patterns kind (P,)."""
        bits = torch.from_numpy(patterns(BITS))[kind]
        return torch.tanh(forward(self.encoder, (2 * bits - 1).expand(len(self.moves), -1, -1)))

    def step(self, h: Tensor, told: Tensor) -> Tensor:
        """(net, P, M) the clean state after the instructions told (P,)."""
        one = torch.nn.functional.one_hot(told, self.moves.shape[1]).float().expand(len(h), -1, -1)
        out = forward(self.cell, torch.cat([h, one], dim=-1))
        keep, new = torch.sigmoid(out[..., : h.shape[-1]]), torch.tanh(out[..., h.shape[-1] :])
        return keep * h + (1 - keep) * new

    def read(self, h: Tensor) -> Tensor:
        """(net, P, bits) logits."""
        return forward(self.decoder, h)

    def moved(self, kind: Tensor, told: Tensor) -> Tensor:
        """(net, P) patterns kind (net, P) after the instructions told (P,)."""
        return self.moves[torch.arange(len(self.moves))[:, None], told[None], kind]

    def run(self, kind: Tensor, told: Tensor, rng: np.random.Generator) -> tuple[list[Tensor], list[Tensor]]:
        """Noisy states and true patterns before the first and after every step; kind (P,), told (steps, P)."""
        state, true = [self.noisy(self.start(kind), rng)], [kind.expand(len(self.moves), -1)]
        for one in told:
            state.append(self.noisy(self.step(state[-1], one), rng))
            true.append(self.moved(true[-1], one))
        return state, true

    def rest(self, h: Tensor, told: Tensor) -> Tensor:
        """Logits after the instructions told (steps, P) from the state h, without further noise."""
        for one in told:
            h = self.step(h, one) * self.open
        return self.read(h)


def pairings(task: Task, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 2^bits): instructions that swap all patterns in pairs: `count` bit flips, or pairs drawn at random."""
    size = 2**BITS
    if task.flips:
        return np.array([np.arange(size) ^ (1 << bit) for bit in range(count)])
    out = np.empty((count, size), dtype=int)
    for row in out:
        pairs = rng.permutation(size).reshape(-1, 2)
        row[pairs[:, 0]], row[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    return out


def box(task: Task, rng: np.random.Generator) -> np.ndarray:
    """(patterns, 3): corners of a box with unequal edges, each off by a little, in the order that `task` teaches.

    "dealt": of 400 deals of the patterns to the corners, that in which flipping one bit moves the state in directions that
    cancel and are shared out best over the three dimensions.
    """
    sign = 2 * patterns(BITS) - 1
    corner = sign * rng.uniform(0.5, 0.8, 3) + 0.04 * rng.standard_normal(sign.shape)
    if task.taught != "dealt":
        return corner

    def one_way(deal: np.ndarray) -> float:
        """Of the bit for which it is lowest: how far flips agree, and how far they lie along one line."""
        scores = []
        for bit in range(BITS):
            on = np.flatnonzero(sign[:, bit] > 0)
            move = corner[deal[on]] - corner[deal[on ^ (4 >> bit)]]
            power = np.linalg.svd(move, compute_uv=False) ** 2
            scores.append(np.linalg.norm(move.mean(0)) + power[0] / power.sum())
        return min(scores)

    return corner[min((rng.permutation(len(sign)) for _ in range(400)), key=one_way)]


def train(tasks: list[Task], width: int, noise: float, seeds: list[int], steps: int, lr: float, length: int = 4) -> Carriers:
    """One network for every (task, seed), task-major, on the cross-entropy of the bits summed over outputs and averaged over
    `length` steps and the start. Tasks share draws and starts; a seed has the same pairs in every task that draws them."""
    names, wide, told = seeds * len(tasks), max(task.m for task in tasks), BITS
    sizes = ((BITS, width, wide), (wide + told, width, 2 * wide), (wide, width, BITS))
    encoder, cell, decoder = (initial(names, 1, size) for size in sizes)
    opened = torch.tensor([[float(i < task.m) for i in range(wide)] for task in tasks for _ in seeds])[:, None, :]
    moves = np.stack([pairings(task, told, np.random.default_rng([s, 17])) for task in tasks for s in seeds])
    nets = Carriers(encoder, cell, decoder, opened, torch.from_numpy(moves), noise)
    taught = torch.tensor([float(bool(task.taught)) for task in tasks for _ in seeds])[:, None, None]
    boxes = np.stack([box(task, np.random.default_rng([s, 18])) for task in tasks for s in seeds])
    corner = torch.tensor(np.pad(boxes, ((0, 0), (0, 0), (0, max(0, wide - 3))))[..., :wide], dtype=torch.float32)
    rng, truth = np.random.default_rng([seeds[0], 19]), torch.from_numpy(patterns(BITS))
    every = torch.arange(2**BITS).repeat(8)

    def losses(step: int) -> Tensor:
        orders = torch.from_numpy(rng.integers(0, told, (length, len(every))))
        state, true = nets.run(every, orders, rng)
        total = torch.zeros(len(names))
        for h, kind in zip(state, true, strict=True):
            said = torch.nn.functional.binary_cross_entropy_with_logits(nets.read(h), truth[kind], reduction="none")
            away = (h - torch.gather(corner, 1, kind[..., None].expand(-1, -1, wide))) ** 2
            total = total + said.sum(-1).mean(-1) + (20 * taught * away).sum(-1).mean(-1)
        return total / len(state)

    descend([*encoder, *cell, *decoder], losses, steps, lr)
    for one in (*encoder, *cell, *decoder):
        one.requires_grad_(False)
    return nets
