"""Latent activations of a family of SAEs, dense or sparse, behind the few operations that training needs.

With k of n latents on, three of the five matrix products of a training step touch k / n of their entries only. `Sparse` does
those three by `embedding_bag`, which reads just the rows that are on; `Dense` does the same by matrix products and is its
slow twin. Members of a family are the first axis everywhere: values (member, sample, latent), weights (member, latent, d).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class Acts(Protocol):
    """Latent activations a (member, sample, latent)."""

    def decode(self, weights: Tensor) -> Tensor:
        """a @ weights: (member, sample, d)."""
        ...

    def outer(self, other: Tensor) -> Tensor:
        """a^T @ other for other (member, sample, d): (member, latent, d)."""
        ...

    def inner(self, other: Tensor, weights: Tensor) -> Acts:
        """other @ weights^T, read only where a is held."""
        ...

    def apply(self, function: Callable[..., Tensor], *more: Acts) -> Acts:
        """`function` of the values held (flat or not), of these and of others with the same places."""
        ...

    def within(self, low: int, high: int) -> Acts:
        """Only latents low <= number < high, the others at 0."""
        ...

    def sums(self) -> Tensor:
        """Sum over samples: (member, latent)."""
        ...


@dataclass(frozen=True)
class Dense:
    """All activations, zeros too."""

    a: Tensor

    def decode(self, weights: Tensor) -> Tensor:
        return self.a @ weights

    def outer(self, other: Tensor) -> Tensor:
        return self.a.transpose(1, 2) @ other

    def inner(self, other: Tensor, weights: Tensor) -> Dense:
        return Dense(other @ weights.transpose(1, 2))

    def apply(self, function: Callable[..., Tensor], *more: Acts) -> Dense:
        return Dense(function(self.a, *(one.a for one in more)))  # type: ignore[attr-defined]

    def within(self, low: int, high: int) -> Dense:
        if (low, high) == (0, self.a.shape[-1]):
            return self
        kept = torch.zeros_like(self.a)
        kept[..., low:high] = self.a[..., low:high]
        return Dense(kept)

    def sums(self) -> Tensor:
        return self.a.sum(1)


@dataclass(frozen=True)
class Places:
    """Which entries of a (sample, latent) matrix are held, by rows and (made once, on first use) by columns."""

    latent: Tensor  # (held,) latent of every entry, row after row
    starts: Tensor  # (sample,) where each row begins
    sample: Tensor  # (held,) row of every entry
    order: Tensor  # (held,) the entries in order of their latents
    latent_starts: Tensor  # (n,) where each latent begins in that order

    @classmethod
    def of(cls, sample: Tensor, latent: Tensor, samples: int, n: int) -> Places:
        order = torch.argsort(latent, stable=True)
        return cls(
            latent, _starts(sample, samples), sample, order, _starts(latent, n)
        )  # fmt: skip


def _starts(numbers: Tensor, count: int) -> Tensor:
    sizes = torch.bincount(numbers, minlength=count)
    return torch.cumsum(sizes, 0) - sizes


@dataclass(frozen=True)
class Sparse:
    """The activations that are on, one list a member: `values[i]` at `places[i]`."""

    values: tuple[Tensor, ...]
    places: tuple[Places, ...]
    n: int

    def decode(self, weights: Tensor) -> Tensor:
        rows = [_bag(p.latent, weights[i], p.starts, v) for i, (v, p) in enumerate(zip(self.values, self.places, strict=True))]
        return torch.stack(rows)

    def outer(self, other: Tensor) -> Tensor:
        rows = [
            _bag(p.sample[p.order], other[i], p.latent_starts, v[p.order])
            for i, (v, p) in enumerate(zip(self.values, self.places, strict=True))
        ]
        return torch.stack(rows)

    def inner(self, other: Tensor, weights: Tensor) -> Sparse:
        found = []
        for i, (v, p) in enumerate(zip(self.values, self.places, strict=True)):
            with torch.enable_grad():  # the gradient of a weighted bag by its weights is just these products
                weight = torch.zeros_like(v).requires_grad_()
                (gradient,) = torch.autograd.grad(_bag(p.latent, weights[i].detach(), p.starts, weight), weight, other[i])
            found.append(gradient)
        return Sparse(tuple(found), self.places, self.n)

    def apply(self, function: Callable[..., Tensor], *more: Acts) -> Sparse:
        others = [one.values for one in more]  # type: ignore[attr-defined]
        return Sparse(tuple(function(*held) for held in zip(self.values, *others, strict=True)), self.places, self.n)

    def within(self, low: int, high: int) -> Sparse:
        if (low, high) == (0, self.n):
            return self
        held = zip(self.values, self.places, strict=True)
        return Sparse(tuple(v * ((p.latent >= low) & (p.latent < high)) for v, p in held), self.places, self.n)

    def sums(self) -> Tensor:
        held = zip(self.values, self.places, strict=True)
        return torch.stack([v.new_zeros(self.n).index_add_(0, p.latent, v) for v, p in held])

    def dense(self) -> Dense:
        """The slow twin."""
        samples = len(self.places[0].starts)
        out = self.values[0].new_zeros(len(self.values), samples, self.n)
        for i, (v, p) in enumerate(zip(self.values, self.places, strict=True)):
            out[i, p.sample, p.latent] = v
        return Dense(out)


def _bag(rows: Tensor, weights: Tensor, starts: Tensor, values: Tensor) -> Tensor:
    return F.embedding_bag(rows, weights, starts, mode="sum", per_sample_weights=values)


def pays(members: int, samples: int, n: int, on: float) -> bool:
    """Whether `Sparse` beats `Dense`: few enough on, and products large enough to be worth a sort."""
    return on * 16 <= n and samples * n >= 1 << 20 and members <= 8


def topk(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of every row of `values` (row, n) and their places, in no order.

    Exact, as torch.topk is: the k largest lie in the k groups of 16 with the largest maxima, so only those are searched.
    """
    rows, n = values.shape
    size = 16
    if n < 8 * size * max(1, k // 4) or n % size:
        found = values.topk(k, -1, sorted=False)
        return found.values, found.indices
    groups = values.view(rows, size, n // size)  # a group is a column: maxima over the middle axis are the fast ones
    best = groups.amax(1).topk(k, -1, sorted=False).indices
    inside = groups.gather(2, best[:, None].expand(-1, size, -1)).flatten(1)
    found = inside.topk(k, -1, sorted=False)
    return found.values, best.gather(1, found.indices % k) + found.indices // k * (n // size)


def topk_of_all(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest entries of `values` (sample, n) taken together, and their flat places, in no order.

    Exact: a bound from a sample of entries leaves a few more than `count` candidates; where the bound cut too deep, all are
    searched.
    """
    flat = values.flatten()
    candidates = None
    if len(flat) >= 1 << 18 and count * 16 <= len(flat):
        part = flat[:: max(1, len(flat) >> 16)]
        bound = part.topk(min(len(part), int(1.25 * count * len(part) / len(flat)) + 64)).values.amin()
        candidates = torch.nonzero(flat > bound).flatten()
        if len(candidates) < count:
            candidates = None
    if candidates is None:
        places = flat.topk(count, sorted=False).indices
    else:
        places = candidates[flat[candidates].topk(count, sorted=False).indices]
    return flat[places], places
