"""One attention layer on skip trigrams A..B -> C with C = (A + B) mod q: a task in which only heads are scarce.

A sequence is a bag of fillers and a source A, and ends in a destination B, which also attends to itself; attention has no
positions. All outputs are shared: each belongs to q pairs (A, B), so neither what A says nor what B says alone, nor their sum,
gives the answer (a Latin square). Query-key and value-output maps are tables of full rank, so neither is a bottleneck.

What H heads can do without sharing: a head that attends to A or not, all or nothing, gives every source one output, hence q
pairs, a permutation; H heads do H q of the q^2 pairs. What they can do by sharing: attention is a number between 0 and 1, and
H numbers are a point in H dimensions; all q outputs of a source can be told apart if their points are in convex position, on
a circle for two heads (`circle_code`). For one head the biases can make up for it (a parabola), at a price in precision. This
is the softmax bottleneck (Yang et al. 2018) of rank H, with a bottleneck for every source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from superscope.toys.batched import descend

FILLERS, LENGTH = 8, 10


@dataclass(frozen=True)
class Bags:
    """Sequences: source, destination, output (net, P); fillers (net, P, FILLERS) how often each occurs; second (net, P) another
    source in the sequence, or -1.
    """

    source: Tensor
    destination: Tensor
    output: Tensor
    fillers: Tensor
    second: Tensor


def bags(
    source: np.ndarray, destination: np.ndarray, q: int, rng: np.random.Generator, second: np.ndarray | None = None
) -> Bags:
    """Sequences of the pairs given by source and destination (net, P), with random fillers in the other places."""
    other = np.full_like(source, -1) if second is None else second
    places = LENGTH - 2 - (other >= 0)
    drawn = rng.multinomial(places, np.full(FILLERS, 1 / FILLERS))
    return Bags(
        torch.from_numpy(source), torch.from_numpy(destination), torch.from_numpy((source + destination) % q),
        torch.from_numpy(drawn.astype(np.float32)), torch.from_numpy(other),
    )  # fmt: skip


@dataclass
class Heads:
    """Networks of H heads. scores (net, H, q, FILLERS + q + 1): what a destination gives each filler, each source, and
    itself; values (net, H, FILLERS + 2 q, q): what each filler, source and destination adds to the logits; bias (net, q);
    mask (net, 1, 1, 1) multiplies the scores: 0 makes attention uniform.
    """

    scores: Tensor
    values: Tensor
    bias: Tensor
    mask: Tensor

    @property
    def q(self) -> int:
        return self.bias.shape[1]

    @property
    def heads(self) -> int:
        return self.scores.shape[1]

    def only(self, rows: slice) -> Heads:
        """Some of the networks."""
        return Heads(*(one[rows].detach() for one in (self.scores, self.values, self.bias, self.mask)))

    def attention(self, x: Bags) -> tuple[Tensor, Tensor]:
        """Attention (net, P, H, FILLERS + 3) to all fillers of a kind, source, second source and itself; and the values
        (net, P, H, 3, q) of source, second source and destination."""
        net = torch.arange(len(self.bias))[:, None]
        table = self.scores.movedim(1, 2) * self.mask  # (net, B, H, token)
        row = table[net, x.destination]  # (net, P, H, token)

        def at(which: Tensor) -> Tensor:
            return row.gather(-1, (FILLERS + which)[..., None, None].expand(-1, -1, self.heads, 1))

        second = x.second.clamp(min=0)
        logits = torch.cat([row[..., :FILLERS], at(x.source), at(second), row[..., -1:]], dim=-1)
        one = torch.ones_like(x.source, dtype=torch.float32)
        count = torch.cat([x.fillers, torch.stack([one, (x.second >= 0).float(), one], dim=-1)], dim=-1)[:, :, None]
        weight = count * (logits - logits.detach().amax(-1, keepdim=True)).exp()
        says = self.values.movedim(1, 2)  # (net, token, H, q)
        tokens = torch.stack([says[net, FILLERS + x.source], says[net, FILLERS + second],
                              says[net, FILLERS + self.q + x.destination]], dim=3)  # fmt: skip
        return weight / weight.sum(-1, keepdim=True), tokens

    def parts(self, x: Bags, to_source: Tensor | None = None) -> Tensor:
        """(net, P, H, q) what every head adds to the logits; to_source (net, P, H) replaces its attention to the source, the
        rest sharing what is left in proportion."""
        weight, tokens = self.attention(x)
        if to_source is not None:
            rest = torch.ones(FILLERS + 3)
            rest[FILLERS] = 0
            others = weight * rest
            others = others / others.sum(-1, keepdim=True).clamp(min=1e-9) * (1 - to_source)[..., None]
            weight = others + to_source[..., None] * (1 - rest)
        from_fillers = torch.einsum("nphf,nhfq->nphq", weight[..., :FILLERS], self.values[:, :, :FILLERS])
        return from_fillers + (weight[..., FILLERS:, None] * tokens).sum(3)

    def logits(self, x: Bags) -> Tensor:
        """(net, P, q)."""
        return self.parts(x).sum(2) + self.bias[:, None]


def train(
    q: int,
    heads: int,
    seeds: list[int],
    steps: int,
    lr: float,
    points: int,
    uniform: bool = False,
    self_attention: bool = True,
    zipf: float = 0.0,
    sources: int = 1,
) -> Heads:
    """One network a seed, on cross-entropy at the last token.

    uniform: attention cannot depend on tokens. self_attention: may a destination attend to itself? zipf: destinations are
    drawn with probability rank^-zipf. sources: 2 puts a second source into half of the sequences, and either answer is then
    counted right (the target is half of each).
    """
    rngs = [np.random.default_rng([seed, 12]) for seed in seeds]
    tokens = FILLERS + q + 1

    def start(*shape: int, scale: float) -> Tensor:
        return torch.tensor(np.stack([r.standard_normal(shape) * scale for r in rngs]), dtype=torch.float32).requires_grad_()

    scores, values = start(heads, q, tokens, scale=1.0), start(heads, FILLERS + 2 * q, q, scale=0.3)
    bias = torch.zeros(len(seeds), q, requires_grad=True)
    model = Heads(scores, values, bias, torch.full((len(seeds), 1, 1, 1), 0.0 if uniform else 1.0))
    off = torch.zeros(tokens)
    if not self_attention:
        off[-1] = -30.0
    often = np.arange(1, q + 1) ** -zipf
    draws = [np.random.default_rng([seed, 13]) for seed in seeds]
    block, held = 25, {}

    def losses(step: int) -> Tensor:
        if step % block == 0:
            size = block * points
            source = np.stack([rng.integers(0, q, size) for rng in draws])
            destination = np.stack([rng.choice(q, size, p=often / often.sum()) for rng in draws])
            second = np.stack([np.where(rng.random(size) < 0.5 * (sources > 1), rng.integers(0, q, size), -1) for rng in draws])
            held["x"] = bags(source, destination, q, draws[0], second)
        part = slice(step % block * points, (step % block + 1) * points)
        x = Bags(*(getattr(held["x"], name)[:, part] for name in ("source", "destination", "output", "fillers", "second")))
        said = Heads(scores + off, values, bias, model.mask).logits(x).log_softmax(-1)
        right = said.gather(-1, x.output[..., None])[..., 0]
        other = said.gather(-1, ((x.second.clamp(min=0) + x.destination) % q)[..., None])[..., 0]
        return -torch.where(x.second >= 0, (right + other) / 2, right).mean(1)

    descend([scores, values, bias], losses, steps, lr)
    return Heads(scores.detach() + off, values.detach(), bias.detach(), model.mask)


def permutations(q: int, heads: int) -> Heads:
    """H q pairs by heads that share nothing: head h attends to the source, all or nothing, where B = h, and then says A + h."""
    scores, values = torch.zeros(1, heads, q, FILLERS + q + 1), torch.zeros(1, heads, FILLERS + 2 * q, q)
    for head in range(min(heads, q)):
        scores[0, head, head, FILLERS:-1] = 14.0
        scores[0, head, torch.arange(q) != head, -1] = 14.0  # else to itself, which says nothing
        for source in range(q):
            values[0, head, FILLERS + source, (source + head) % q] = 8.0
    return Heads(scores, values, torch.zeros(1, q), torch.ones(1, 1, 1, 1))


def circle_code(q: int, noise: float, seed: int, sharpness: float = 40.0) -> Heads:
    """All q^2 pairs by two heads that share everything: the attention of two heads to the source is a point on a circle, at
    the angle of its output; every source adds the same directions to the logits. noise: relative, on attention's odds and on
    values.
    """
    rng = np.random.default_rng([seed, q, 15])
    angle = 2 * np.pi * np.arange(q) / q
    point = np.stack([np.cos(angle), np.sin(angle)])  # (head, output)
    a, b = np.meshgrid(np.arange(q), np.arange(q), indexing="ij")
    wanted = 0.5 + 0.4 * point[:, (a + b) % q].transpose(0, 2, 1)  # (head, B, A)
    scores, values = np.full((1, 2, q, FILLERS + q + 1), -14.0), np.zeros((1, 2, FILLERS + 2 * q, q))
    scores[0, :, :, FILLERS:-1] = np.log(wanted / (1 - wanted)) + noise * rng.standard_normal(wanted.shape)
    scores[..., -1] = 0.0
    values[0, :, FILLERS : FILLERS + q] = sharpness * point[:, None] * (1 + noise * rng.standard_normal((2, q, q)))
    bias = -0.5 * sharpness * point.sum(0)[None]
    return Heads(*(torch.tensor(one, dtype=torch.float32) for one in (scores, values, bias, np.ones((1, 1, 1, 1)))))
