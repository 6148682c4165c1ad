"""Networks that answer c = f(a, b) for all pairs of 60 elements from a narrow code of a, read by an MLP; the code is free or
constrained to be a sum over two coordinates. Many are trained at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from superscope.toys.batched import descend


@dataclass
class Composers:
    """weights [E (net, atoms, m), R (net, B, width), L (net, m, width), O (net, width, C), biases]; atoms (net, A, atoms):
    the code of a is atoms @ E, so ones and zeros constrain it."""

    weights: list[Tensor]
    atoms: Tensor
    answers: Tensor  # (net, A, B)

    def __getitem__(self, which) -> Composers:
        return Composers([one[which] for one in self.weights], self.atoms[which], self.answers[which])

    @property
    def codes(self) -> Tensor:
        """(net, A, m)."""
        return self.atoms @ self.weights[0]

    def logits(self, a: Tensor, b: Tensor) -> Tensor:
        """(net, P, C) for pairs a, b (P,)."""
        _, right, left, out, hidden_bias, bias = self.weights
        said = torch.bmm(self.codes, left) + hidden_bias
        return torch.baddbmm(bias, torch.relu(said[:, a] + right[:, b]), out)

    def losses(self, a: Tensor, b: Tensor, decay: float) -> Tensor:
        """(net,) nats, mean over pairs, plus decay times the sum of squares of codes and weights."""
        logits, answer = self.logits(a, b), self.answers[:, a, b]
        wrong = logits.logsumexp(-1) - logits.gather(-1, answer[..., None])[..., 0]
        squares = sum((one**2).flatten(1).sum(1) for one in (self.codes, *self.weights[1:4]))
        return wrong.mean(1) + decay * squares

    def free(self) -> Composers:
        """The same networks with codes that may move as they like."""
        eye = torch.eye(self.atoms.shape[1]).expand(len(self.atoms), -1, -1)
        return Composers([self.codes.detach(), *self.weights[1:]], eye, self.answers)


def joined(parts: list[Composers]) -> Composers:
    """All networks of several batches of the same sizes; atoms are padded with zeros."""
    size = max(one.atoms.shape[2] for one in parts)
    atoms = [torch.nn.functional.pad(one.atoms, (0, size - one.atoms.shape[2])) for one in parts]
    table = [torch.nn.functional.pad(one.weights[0], (0, 0, 0, size - one.weights[0].shape[1])) for one in parts]
    rest = [torch.cat(w) for w in zip(*(one.weights[1:] for one in parts), strict=True)]
    return Composers([torch.cat(table), *rest], torch.cat(atoms), torch.cat([one.answers for one in parts]))


def fresh(seeds: list[int], answers: np.ndarray, m: int, width: int, atoms: np.ndarray | None = None) -> Composers:
    """One network a seed for answers (net, A, B); atoms (net, A, atoms), or none for a free code."""
    first, second = answers.shape[1:]
    classes = int(answers.max()) + 1
    atoms = np.broadcast_to(np.eye(first), (len(seeds), first, first)) if atoms is None else atoms
    rngs = [np.random.default_rng([seed, 19]) for seed in seeds]

    def start(scale: float, *shape: int) -> Tensor:
        return torch.tensor(np.array([r.standard_normal(shape) * scale for r in rngs]), dtype=torch.float32)

    weights = [
        start(0.5, atoms.shape[2], m), start(0.5, second, width), start(m**-0.5, m, width), start(width**-0.5, width, classes),
        torch.zeros(len(seeds), 1, width), torch.zeros(len(seeds), 1, classes),
    ]  # fmt: skip
    return Composers(weights, torch.tensor(np.array(atoms), dtype=torch.float32), torch.tensor(answers))


def train(start: Composers, steps: int, lr: float, decay: float, points: int, seed: int) -> Composers:
    """Adam; every step the same `points` pairs for all networks."""
    weights = [one.detach().clone().requires_grad_() for one in start.weights]
    net, rng = Composers(weights, start.atoms, start.answers), np.random.default_rng([seed, 20])
    _, first, second = start.answers.shape

    def losses(_: int) -> Tensor:
        a, b = np.divmod(rng.permutation(first * second)[:points], second)
        return net.losses(torch.tensor(a), torch.tensor(b), decay)

    descend(weights, losses, steps, lr)
    return Composers([one.detach() for one in weights], start.atoms, start.answers)


@torch.no_grad()
def judged(nets: Composers, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """(net,) loss and accuracy over all pairs."""
    _, first, second = nets.answers.shape
    a, b = (torch.tensor(one) for one in np.divmod(np.arange(first * second), second))
    loss, right = [], []
    for i in range(len(nets.answers)):
        one = nets[[i]]
        loss.append(float(one.losses(a, b, decay)[0]))
        right.append(float((one.logits(a, b).argmax(-1) == one.answers[:, a, b]).float().mean()))
    return np.array(loss), np.array(right)
