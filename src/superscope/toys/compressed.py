"""Compressed computation: y = W_out ReLU(W_in x), trained to give ReLU of n features with m < n neurons.

Braun et al. 2025 (arXiv 2501.14926) put a residual stream of random directions around it: what is written along one direction
is read along others, so that the labels the neurons have to give are ReLU(x) + M x with M = W_E W_E^T - 1. They called what
the network gains over the naive solution compressed computation. Bhagat & Heimersheim 2026 (arXiv 2606.14673): the gain comes
from M. Without it there is none.

The naive solution gives every neuron one feature and leaves the others out. On clean labels it loses (1 - m / n) E ReLU(x_i)^2
a feature; with features uniform on [-1, 1] and on with chance p that is (1 - m / n) p / 6.
Gain: 1 - loss / (what the naive solution loses on CLEAN labels, same samples). 0 is naive, 1 is no error at all. It is strict:
the energy of M x counts against the network, which the naive solution is not charged for.
Loss: mean over features and samples of the squared error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from superscope.errors import SettingError
from superscope.toys.batched import descend

KINDS = ("clean", "mixed", "one-sided", "computable")


@dataclass(frozen=True)
class Task:
    """features n, neurons m, p: chance of a feature to be on, embedding: dimensions of the residual stream behind M."""

    features: int = 40
    neurons: int = 20
    p: float = 0.025
    embedding: int = 400

    def __post_init__(self) -> None:
        if not 1 <= self.neurons < self.features:
            raise SettingError(f"neurons={self.neurons} of {self.features} features: from 1 to one fewer than features")
        if not 0 < self.p <= 1:
            raise SettingError(f"p={self.p}: the chance of a feature to be on lies in (0, 1]")

    def draw(self, generator: torch.Generator, samples: int) -> torch.Tensor:
        """(samples, n): uniform on [-1, 1] where on; only samples in which something is on."""
        kept: list[torch.Tensor] = []
        while sum(map(len, kept)) < samples:
            on = torch.rand(2 * samples, self.features, generator=generator) < self.p
            x = (2 * torch.rand(2 * samples, self.features, generator=generator) - 1) * on
            kept.append(x[on.any(1)])
        return torch.cat(kept)[:samples]

    def mixing(self, seed: int) -> np.ndarray:
        """(n, n) W_E W_E^T - 1 of random unit directions: symmetric, 0 on the diagonal."""
        rows = np.random.default_rng([seed, 501]).standard_normal((self.features, self.embedding))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows @ rows.T - np.eye(self.features)

    def matrices(self, kind: str, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(A, M), both (n, n): labels are ReLU(A x) + M x.

        clean: A = 1, M = 0. mixed: M = scale * mixing. one-sided: the same numbers with the sign of one triangle flipped, so
        M is as large, entry by entry, and antisymmetric: no direction is mixed into itself. computable: a share `scale` of
        neighbours 2k and 2k + 1 have both ReLU(x_2k + x_2k+1), which a neuron gives exactly; M = 0. With n / 2 neurons the gain
        is then the share.
        """
        n = self.features
        if kind not in KINDS:
            raise SettingError(f"labels {kind!r}: known are {', '.join(KINDS)}")
        if kind == "computable":
            pairs = np.kron(np.eye((n + 1) // 2), np.ones((2, 2)))[:n, :n]
            shared = np.arange(n) // 2 < scale * (n // 2)
            return np.where(shared[:, None], pairs, np.eye(n)), np.zeros((n, n))
        mixing = scale * self.mixing(seed) if kind != "clean" else np.zeros((n, n))
        return np.eye(n), np.triu(mixing) - np.tril(mixing) if kind == "one-sided" else mixing


@dataclass(frozen=True)
class Nets:
    """W_in (net, m, n), W_out (net, n, m) and the labels' A, M (net, n, n)."""

    W_in: torch.Tensor
    W_out: torch.Tensor
    A: torch.Tensor
    M: torch.Tensor

    def output(self, x: torch.Tensor) -> torch.Tensor:
        """(net, samples, n) of x (samples, n)."""
        return torch.relu(x @ self.W_in.mT) @ self.W_out.mT

    def labels(self, x: torch.Tensor) -> torch.Tensor:
        """(net, samples, n)."""
        return torch.relu(x @ self.A.mT) + x @ self.M.mT


def started(task: Task, labels: Sequence[tuple[str, float]], seeds: Sequence[int], naive: bool = False) -> Nets:
    """One net per pair of `labels` (kind, scale) and `seeds`. naive: started at the naive solution, with noise of .01."""
    kept: tuple[list[torch.Tensor], ...] = ([], [], [], [])
    for (kind, scale), seed in zip(labels, seeds, strict=True):
        a, mix = task.matrices(kind, scale, seed)
        rng = np.random.default_rng([seed, 502])
        spread = 0.01 if naive else 1 / np.sqrt(task.features)
        first = spread * rng.standard_normal((task.neurons, task.features))
        second = spread * rng.standard_normal((task.features, task.neurons))
        if naive:
            first += np.eye(task.neurons, task.features)
            second += np.eye(task.features, task.neurons)
        for stack, one in zip(kept, (first, second, a, mix), strict=True):
            stack.append(torch.tensor(one, dtype=torch.float32))
    return Nets(*(torch.stack(stack) for stack in kept))


def train(task: Task, nets: Nets, steps: int, samples: int, lr: float, seed: int) -> Nets:
    """All nets on the same inputs, side by side."""
    moving = [nets.W_in.clone().requires_grad_(), nets.W_out.clone().requires_grad_()]
    held = Nets(moving[0], moving[1], nets.A, nets.M)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 503]).generate_state(1)[0]))

    def losses(step: int) -> torch.Tensor:
        x = task.draw(generator, samples)
        return (held.output(x) - held.labels(x)).square().mean((1, 2))

    descend(moving, losses, steps, lr)
    return Nets(moving[0].detach(), moving[1].detach(), nets.A, nets.M)


def naive_loss(task: Task, nets: Nets, x: torch.Tensor) -> torch.Tensor:
    """(net,) what exact answers for m of n outputs, and 0 for the others, lose without M; mean over which m."""
    return (1 - task.neurons / task.features) * torch.relu(x @ nets.A.mT).square().mean((1, 2))


def gain(task: Task, nets: Nets, seed: int, samples: int = 50_000, clean: bool = False) -> np.ndarray:
    """(net,) 1 - loss / naive loss without M, on samples of its own. clean: the loss is measured on labels without M, too."""
    x = task.draw(torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 504]).generate_state(1)[0])), samples)
    with torch.no_grad():
        lost = torch.zeros(len(nets.A))
        naive = torch.zeros(len(nets.A))
        for part in x.split(5000):
            wanted = torch.relu(part @ nets.A.mT) if clean else nets.labels(part)
            lost += (nets.output(part) - wanted).square().mean((1, 2)) * len(part)
            naive += naive_loss(task, nets, part) * len(part)
    return (1 - lost / naive).double().numpy()
