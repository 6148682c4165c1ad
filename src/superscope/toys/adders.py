"""Networks that add modulo p, and two numbers that tell how: by a circle for each summand ("clock") or by the sum of both
embeddings alone ("pizza"; Zhong et al. 2023, arXiv 2306.17844). Many are trained at once.

logits = ReLU(e_a W + e_b V + b) U with one embedding e for both summands. With W = V only e_a + e_b is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from superscope.toys.batched import descend


@dataclass
class Adders:
    """E (net, p, d), W and V (net, d, H), b (net, 1, H), U (net, H, p)."""

    E: Tensor
    W: Tensor
    V: Tensor
    b: Tensor
    U: Tensor

    def __getitem__(self, which) -> Adders:
        return Adders(*(one[which] for one in self.parts))

    @property
    def parts(self) -> tuple[Tensor, ...]:
        return self.E, self.W, self.V, self.b, self.U

    @property
    def p(self) -> int:
        return self.E.shape[1]

    def read(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits (net, P, p) of embeddings (net, P, d)."""
        return torch.bmm(torch.relu(torch.baddbmm(torch.baddbmm(self.b, first, self.W), second, self.V)), self.U)

    def tied(self) -> Adders:
        """One map for both summands, the mean of the two: what differs between them is taken out."""
        mean = (self.W + self.V) / 2
        return Adders(self.E, mean, mean, self.b, self.U)


def pairs(p: int) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and a + b mod p (p^2,)."""
    a, b = (torch.tensor(one) for one in np.divmod(np.arange(p * p), p))
    return a, b, (a + b) % p


def random(seeds: list[int], p: int, d: int, hidden: int) -> Adders:
    """A generator per network."""
    rngs = [np.random.default_rng([seed, p, 20]) for seed in seeds]

    def start(*shape: int) -> Tensor:
        drawn = np.array([r.standard_normal(shape) for r in rngs]) / np.sqrt(shape[-2] if shape[0] != p else d)
        return torch.tensor(drawn, dtype=torch.float32)

    return Adders(start(p, d), start(d, hidden), start(d, hidden), torch.zeros(len(seeds), 1, hidden), start(hidden, p))


def joined(*batches: Adders) -> Adders:
    """All networks of several batches."""
    return Adders(*(torch.cat(one) for one in zip(*(batch.parts for batch in batches), strict=True)))


def objective(net: Adders, decay: float) -> Tensor:
    """(net,) cross-entropy in nats, mean over all p^2 pairs, plus decay times the sum of squared weights."""
    a, b, answer = pairs(net.p)
    logits = net.read(net.E[:, a], net.E[:, b])
    right = logits.gather(-1, answer.expand(len(logits), -1)[..., None])[..., 0]
    squares = sum((one**2).flatten(1).sum(1) for one in (net.E, net.W, net.V, net.U))
    return (logits.logsumexp(-1) - right).mean(-1) + decay * squares


def train(start: Adders, tied: Tensor, steps: int, lr: float, decay: float) -> Adders:
    """Adam on all pairs. tied (net,): networks whose W and V stay one map."""
    weights = [one.detach().clone().requires_grad_() for one in start.parts]
    both = tied.float()[:, None, None]

    def net() -> Adders:
        embedding, one, other, *rest = weights
        mean = (one + other) / 2
        return Adders(embedding, one + both * (mean - one), other + both * (mean - other), *rest)

    descend(weights, lambda _: objective(net(), decay), steps, lr)
    return Adders(*(one.detach() for one in net().parts))


def split(net: Adders, share: float, seeds: list[int]) -> Adders:
    """Networks with noise, a share of a standard deviation, on the difference of both maps."""
    drawn = [np.random.default_rng([seed, 202]).standard_normal(net.W.shape[1:]) for seed in seeds]
    noise = share * net.W.std() * torch.tensor(np.array(drawn), dtype=torch.float32)
    return Adders(net.E, net.W + noise, net.V - noise, net.b, net.U)


@torch.no_grad()
def accuracy(net: Adders) -> np.ndarray:
    """(net,) share of the p^2 sums."""
    a, b, answer = pairs(net.p)
    return (net.read(net.E[:, a], net.E[:, b]).argmax(-1) == answer).float().mean(-1).numpy()


def gradient_symmetricity(net: Adders, outputs: int = 8, seed: int = 0) -> np.ndarray:
    """(net,) cosine of the gradients of a logit with respect to both embeddings, mean over pairs and `outputs` logits: 1 where
    only e_a + e_b matters. Zhong et al.: above .9 for pizzas, below .4 for clocks."""
    a, b, _ = pairs(net.p)
    first, second = net.E[:, a].clone().requires_grad_(), net.E[:, b].clone().requires_grad_()
    logits, found = net.read(first, second), []
    for c in np.random.default_rng(seed).choice(net.p, min(outputs, net.p), replace=False):
        one, other = torch.autograd.grad(logits[..., int(c)].sum(), [first, second], retain_graph=True)
        found.append(torch.cosine_similarity(one, other, dim=-1).mean(-1))
    return torch.stack(found).mean(0).detach().numpy()


@torch.no_grad()
def distance_irrelevance(net: Adders) -> np.ndarray:
    """(net,) spread of the right logit at a fixed difference b - a, mean over differences, over its spread over all pairs: near
    1 for clocks, near 0 where the difference decides how sure the network is (pizzas: |cos(w (a - b) / 2)|)."""
    a, b, answer = pairs(net.p)
    logits = net.read(net.E[:, a], net.E[:, b])
    right = logits.gather(-1, answer.expand(len(logits), -1)[..., None])[..., 0].reshape(-1, net.p, net.p)
    start = torch.arange(net.p)
    lines = torch.stack([right[:, start, (start + k) % net.p] for k in range(net.p)], 1)
    return (lines.std(2, correction=0).mean(1) / right.flatten(1).std(1, correction=0)).numpy()


@torch.no_grad()
def frequencies(net: Adders) -> np.ndarray:
    """(net, (p-1)/2) share of the variance of the embedding at every frequency of Z_p."""
    power = (torch.fft.fft(net.E, dim=1).abs()[:, 1 : (net.p + 1) // 2] ** 2).sum(2)
    return (power / power.sum(1, keepdim=True)).numpy()
