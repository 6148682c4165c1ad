"""One attention layer on skip trigrams: tasks, many networks at once, the naive count, and networks built by hand.

Tokens are one-hot, so nothing is in superposition before the heads. Attention has no positions: a sequence is a bag of seven
tokens and the destination, which also attends to itself. Output 0 is "none", for sequences without a trigram.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from superscope.toys.batched import descend

VOCABULARY, FILLERS, LENGTH = 48, 8, 8
SLOTS = 3  # the first places of a sequence: two sources and a foreign one; the other places hold fillers
FOREIGN = 0.3  # chance of a foreign source in training


@dataclass(frozen=True)
class Task:
    """T trigrams. source (T, 2), -1 for no second; destination, output (T,); foreign (T, F) sources that complete nothing,
    padded with -1; rival (T,) another trigram with the same destination, or -1."""

    family: str
    source: np.ndarray
    destination: np.ndarray
    output: np.ndarray
    foreign: np.ndarray
    rival: np.ndarray

    @property
    def count(self) -> int:
        return len(self.output)


def make_task(family: str, count: int, seed: int) -> Task:
    """`count` random trigrams. "copy": A..B -> A, 16 sources, 16 destinations. "incoherent": A..B -> C, 8 by 8, every
    output its own. "common": one A. "pair": A..A'..R -> C, 8 by 8 and one R. Tokens: fillers, sources, destinations."""
    rng = np.random.default_rng([seed, count, 11])
    rows, columns = {"copy": (16, 16), "incoherent": (8, 8), "common": (1, 31), "pair": (8, 8)}[family]
    if count > rows * columns:
        raise ValueError(f"{count} trigrams of family {family!r}: there are {rows * columns}")
    first, second = np.divmod(rng.permutation(rows * columns)[:count], columns)
    made = {(int(a), int(b)) for a, b in zip(first, second, strict=True)}
    pair = family == "pair"
    source = np.stack([FILLERS + first, FILLERS + rows + second if pair else np.full(count, -1)], axis=1)
    destination = np.full(count, VOCABULARY - 1) if pair else FILLERS + rows + second
    output = first + 1 if family == "copy" else np.arange(count) + 1
    foreign = []
    for a, b in zip(first, second, strict=True):
        free = [FILLERS + r for r in range(rows) if (r, b) not in made]
        if pair:
            free += [FILLERS + rows + c for c in range(columns) if (a, c) not in made]
        foreign.append(free)
    longest = max(1, *map(len, foreign))
    padded = np.array([row + [-1] * (longest - len(row)) for row in foreign])
    rival = np.full(count, -1)
    for t in range(count if not pair else 0):
        others = np.flatnonzero((second == second[t]) & (np.arange(count) != t))
        rival[t] = rng.choice(others) if len(others) else -1
    return Task(family, source, destination, output, padded, rival)


def sequences(task: Task, rng: np.random.Generator, t: np.ndarray, present: np.ndarray, extra: np.ndarray | None) -> np.ndarray:
    """(P, LENGTH) tokens ending in the destination of trigrams t (P,). present (P,): with its sources; otherwise without, or
    in half of the cases with one of two. extra (P,): a further token, -1 for none."""
    x = rng.integers(0, FILLERS, (len(t), LENGTH))
    keep = np.repeat(present[:, None], 2, axis=1)
    one = ~present & (task.source[t, 1] >= 0) & (rng.random(len(t)) < 0.5)
    keep[np.flatnonzero(one), rng.integers(0, 2, one.sum())] = True
    source = task.source[t]
    x[:, :2] = np.where(keep & (source >= 0), source, x[:, :2])
    if extra is not None:
        x[:, 2] = np.where(extra >= 0, extra, x[:, 2])
    x[:, -1] = task.destination[t]
    return x


def foreign(task: Task, rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """(P,) a random foreign source for each trigram, -1 where there is none."""
    number = (task.foreign[t] >= 0).sum(1)
    return task.foreign[t, (rng.random(len(t)) * np.maximum(number, 1)).astype(int)]


@dataclass
class Heads:
    """H heads of d dimensions, networks batched: query, key, value (net, V, H d), out (net, H, d, outputs), bias
    (net, 1, outputs), gain (net, 1, 1, 1) on the scores: 0 makes attention uniform."""

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    bias: Tensor
    gain: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.out.shape[1], self.out.shape[2]

    def only(self, rows: slice) -> Heads:
        """Some of the networks."""
        return Heads(*(one[rows].detach() for one in (self.query, self.key, self.value, self.out, self.bias, self.gain)))

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Attention (net, P, H, LENGTH) and mixed values (net, P, H, d) for tokens x (net, P, LENGTH)."""
        nets = len(x)
        heads, d = self.shape
        rows = x + VOCABULARY * torch.arange(nets)[:, None, None]

        def look(table: Tensor, where: Tensor) -> Tensor:
            found = torch.nn.functional.embedding(where, table.reshape(nets * VOCABULARY, -1))
            return found.reshape(*where.shape, -1, heads, d)

        query = look(self.query, rows[..., -1])[:, :, 0]  # (net, P, H, d)
        key, value = look(torch.cat([self.key, self.value], dim=-1), rows).unbind(3)  # (net, P, LENGTH, H, d)
        scores = (query[:, :, None] * key).sum(-1) * self.gain
        weight = (scores - scores.detach().amax(2, keepdim=True)).exp()  # torch.softmax is slow on so short an axis
        attention = weight / weight.sum(2, keepdim=True)
        return attention.transpose(2, 3), (attention[..., None] * value).sum(2)

    def logits(self, x: Tensor) -> Tensor:
        """(net, P, outputs)."""
        _, mixed = self.read(x)
        return mixed.flatten(2) @ self.out.flatten(1, 2) + self.bias

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Attention to oneself (net, P, H), and what every head adds to the logits (net, P, H, outputs)."""
        attention, mixed = self.read(x)
        return attention[..., -1], torch.einsum("nphd,nhdo->npho", mixed, self.out)


def train(
    tasks: list[Task], seeds: list[int], heads: int, d: int, uniform: list[bool], steps: int, lr: float, points: int
) -> Heads:
    """One network per task on cross-entropy: a random trigram, its sources present in half of the sequences."""
    rngs = [np.random.default_rng([s, 12]) for s in seeds]
    outputs, nets = 1 + max(int(task.output.max()) for task in tasks), len(tasks)

    def start(*shape: int, scale: float) -> Tensor:
        return torch.tensor(np.stack([r.standard_normal(shape) * scale for r in rngs]), dtype=torch.float32).requires_grad_()

    wide = heads * d
    model = Heads(
        start(VOCABULARY, wide, scale=d**-0.25), start(VOCABULARY, wide, scale=d**-0.25),
        start(VOCABULARY, wide, scale=0.5), start(heads, d, outputs, scale=d**-0.5),
        torch.zeros(nets, 1, outputs, requires_grad=True),
        torch.tensor([0.0 if flat else 1.0 for flat in uniform])[:, None, None, None],
    )  # fmt: skip
    draws = [np.random.default_rng([s, 13, i]) for i, s in enumerate(seeds)]
    block, held = 50, {}

    def losses(step: int) -> Tensor:
        if step % block == 0:
            made = [batch(task, rng, points * block) for task, rng in zip(tasks, draws, strict=True)]
            held["x"] = torch.from_numpy(np.stack([x for x, _ in made]).reshape(nets, block, points, LENGTH))
            held["y"] = torch.from_numpy(np.stack([y for _, y in made]).reshape(nets, block, points))
        logits = model.logits(held["x"][:, step % block])
        right = held["y"][:, step % block].flatten()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), right, reduction="none")
        return loss.reshape(nets, points).mean(1)

    descend([model.query, model.key, model.value, model.out, model.bias], losses, steps, lr)
    return model.only(slice(None))


def batch(task: Task, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Training sequences (count, LENGTH) and outputs (count,)."""
    t, present = rng.integers(0, task.count, count), rng.random(count) < 0.5
    extra = np.where(rng.random(count) < FOREIGN, foreign(task, rng, t), -1)
    return sequences(task, rng, t, present, extra), np.where(present, task.output[t], 0)


def naive_count(task: Task, heads: int, d: int | None) -> tuple[int, dict[int, int]]:
    """(trigrams, {output: head}) of the best monosemantic allocation, by integer programming.

    A slot, one rank of a head, serves the trigrams of one output: for "copy" all destinations of a source, else a single
    trigram.
    A head has d slots (None: any number) and gives a source no two outputs, save in "pair", where outputs add up by design.
    """
    outputs, size = np.unique(task.output, return_counts=True)
    owner = np.array([task.source[task.output == o][0, 0] for o in outputs])
    u = len(outputs)
    served = np.eye(u)
    rows: list[np.ndarray] = [np.tile(served, heads)]  # an output is served once
    limits: list[np.ndarray] = [np.ones(u)]
    rows.append(np.kron(np.eye(heads), np.ones(u)))
    limits.append(np.full(heads, float(u if d is None else d)))
    if task.family != "pair":
        same = np.array([owner == a for a in np.unique(owner)], dtype=float)
        rows.append(np.kron(np.eye(heads), same))
        limits.append(np.ones(heads * len(same)))
    gain = np.tile(size, heads)
    found = milp(-gain, integrality=np.ones(u * heads), bounds=Bounds(0, 1),
                 constraints=LinearConstraint(np.concatenate(rows), ub=np.concatenate(limits)))  # fmt: skip
    chosen = found.x.round().astype(int)
    where = {int(outputs[i % u]): int(i // u) for i in np.flatnonzero(chosen)}
    return int(gain @ chosen), where


def hand_built(task: Task, heads: int, d: int) -> Heads:
    """The naive allocation as a network: a rank-one query-key block and a rank-one value-output block for every served output.

    "pair": R attends to itself as much as to a source, so that two sources draw 2/3 of the attention and one alone 1/2; the
    bias of "none" lies between.
    """
    _, where = naive_count(task, heads, d)
    query, key, value = (torch.zeros(1, VOCABULARY, heads * d) for _ in range(3))
    out, bias = torch.zeros(1, heads, d, int(task.output.max()) + 1), torch.zeros(1, 1, int(task.output.max()) + 1)
    bias[..., 0] = 3.5 if task.family == "pair" else 1.0
    taken = [0] * heads
    for output, head in where.items():
        place = head * d + taken[head]
        for t in np.flatnonzero(task.output == output):
            query[0, task.destination[t], place] = 4.0
            for token in task.source[t][task.source[t] >= 0]:
                key[0, token, place] = value[0, token, place] = 4.0
        out[0, head, taken[head], output] = 1.5
        taken[head] += 1
    if task.family == "pair":
        for head, number in enumerate(taken):
            key[0, task.destination[0], head * d : head * d + number] = 4.0 / max(number, 1)
    return Heads(query, key, value, out, bias, torch.ones(1, 1, 1, 1))


def two_head_trick(task: Task, d: int) -> Heads:
    """For a common source (at most d trigrams): head 0 attends to itself and predicts as if the source were there, head 1
    attends to the source if it is there, else to itself, and takes the prediction back (Anthropic, July 2023)."""
    query, key, value = (torch.zeros(1, VOCABULARY, 2 * d) for _ in range(3))
    out, bias = torch.zeros(1, 2, d, int(task.output.max()) + 1), torch.zeros(1, 1, int(task.output.max()) + 1)
    bias[..., 0] = 1.0
    for t in range(task.count):
        b = task.destination[t]
        query[0, b, 0] = query[0, b, d] = key[0, b, 0] = key[0, b, d] = 4.0
        value[0, b, t], value[0, b, d + t] = 6.0, -6.0
        out[0, :, t, task.output[t]] = 1.0
    key[0, task.source[0, 0], d] = 8.0
    return Heads(query, key, value, out, bias, torch.ones(1, 1, 1, 1))
