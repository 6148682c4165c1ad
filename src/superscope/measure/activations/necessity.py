"""Necessity and sufficiency curves: how many units carry an effect?

Necessity at k: the fraction of the effect that is lost when the k first units of a ranking are replaced. Sufficiency at k: the
fraction that is there when only these k keep their values. With E the effect on (n, d) values and R what replaces them (zero,
the mean, or the values of other inputs, which is a patch):

    necessity(k) = (E(all) - E(all but the first k)) / (E(all) - E(none)),   sufficiency(k) = (E(first k) - E(none)) / the same.

k50 and k90 are the smallest k from which on the fraction stays within 50 % and 10 % of 1: a curve that overshoots, because
units that work for the effect come before units that work against it, has not arrived. Gini = 2 * area under the necessity
curve - 1: 0 for an effect that all units share alike, towards 1 for one that few carry. (Wang et al. 2022, arXiv 2211.00593,
for the two curves; Gurnee et al. 2023, arXiv 2305.01610, for the question.)

Nulls: a random order of the same units, and the same ranking in a random rotation of the values (`rotated`), which keeps what
the values hold and takes the privileged basis away (rotating before the nonlinearity would be another network). A rotation is
no maximum: an effect that all d units share alike has k90 = .9 d, and about .35 d in rotated axes, whose shares are unequal.

It misleads where units back each other up: necessity then comes late and sufficiency early, so show both; and where the
replacement is a value that never occurs (zero for units whose mean is far from it). A ranking gives an upper bound on k:
another one may need fewer. Behind a LayerNorm the attributions to all units add up to about zero: rank by mean difference, or
singly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from superscope.lms.model.language_model import LanguageModel, rows_to_tensor
from superscope.measure.activations.subspaces import random_basis

Effect = Callable[[np.ndarray], float]
"""Values (n, d) at the site -> the size of the effect, such as a logit difference."""
Score = Callable[[np.ndarray], np.ndarray]
"""Basis (d, d), one unit a column -> (d,) score of each unit; the largest comes first in the ranking."""


@dataclass(frozen=True)
class Curves:
    """k (m,) numbers of units, 0 and d among them; necessity and sufficiency (m,) at each; effect of everything and of nothing;
    k50 and k90 by necessity and (`enough`) by sufficiency."""

    k: np.ndarray
    necessity: np.ndarray
    sufficiency: np.ndarray
    everything: float
    nothing: float
    k50: float
    k90: float
    enough50: float
    enough90: float

    @property
    def gini(self) -> float:
        """How unequally the units carry the effect: 2 * area under the necessity curve - 1."""
        return float(2 * np.trapezoid(self.necessity, self.k / self.k[-1]) - 1)


def replacement(values: np.ndarray, kind: Literal["mean", "zero"]) -> np.ndarray:
    """(1, d) what an ablated unit holds: its mean over the values (n, d), or zero."""
    if kind not in ("mean", "zero"):
        raise ValueError(f"replacement {kind!r}: expected 'mean' or 'zero'; for a patch give the other values instead")
    return values.mean(axis=0, keepdims=True) if kind == "mean" else np.zeros((1, values.shape[1]))


def replaced(values: np.ndarray, kept: np.ndarray, other: np.ndarray, basis: np.ndarray | None = None) -> np.ndarray:
    """(n, d) the values with units outside `kept` (d,) bool as in `other`; units: columns of `basis`, or coordinates."""
    if basis is None:
        return np.where(kept, values, other)
    return other + ((values - other) @ basis[:, kept]) @ basis[:, kept].T


def curves(
    effect: Effect,
    values: np.ndarray,
    order: np.ndarray,
    other: np.ndarray | Literal["mean", "zero"] = "mean",
    basis: np.ndarray | None = None,
    points: int = 24,
) -> Curves:
    """Both curves along a ranking.

    values (n, d). order (d,): the units, first the one that goes first. other: "mean", "zero", or values (n, d) or (1, d) to
    patch in. basis (d, d) orthonormal: units are its columns. points: numbers of units on the curve, about evenly in log k; k50
    and k90 are then found exactly by bisection between two of them. Costs about 2 * points + 4 log2(d) calls of `effect`.
    """
    d = values.shape[1]
    order = np.asarray(order)
    if sorted(order.tolist()) != list(range(d)):
        raise ValueError(f"order has {len(order)} entries: expected each of the {d} units once")
    there = replacement(values, other) if isinstance(other, str) else other

    def kept(k: int, first: bool) -> np.ndarray:
        mask = np.full(d, not first)
        mask[order[:k]] = first
        return mask

    everything = effect(values)
    nothing = effect(replaced(values, np.zeros(d, dtype=bool), there, basis))
    size = everything - nothing
    if not np.isfinite(size) or size == 0:
        raise ValueError(f"replacing every unit changes the effect by {size:g}: there is nothing to lose")

    def need(k: int) -> float:
        return (everything - effect(replaced(values, kept(k, first=False), there, basis))) / size

    def give(k: int) -> float:
        return (effect(replaced(values, kept(k, first=True), there, basis)) - nothing) / size

    ks = np.unique(np.concatenate([[0], np.round(np.geomspace(1, d, points)), [d]]).astype(int))
    lost, there_is = (np.array([0.0, *(one(int(k)) for k in ks[1:-1]), 1.0]) for one in (need, give))
    found = [reach(one, ks, shown, level) for one, shown in ((need, lost), (give, there_is)) for level in (0.5, 0.9)]
    return Curves(ks, lost, there_is, everything, nothing, *found)


def reach(fraction: Callable[[int], float], k: np.ndarray, shown: np.ndarray, level: float) -> float:
    """The smallest number of units from which on `fraction` stays within 1 - `level` of 1: by the points `k`, `shown`, made
    exact by bisection between the last that is outside and the next (which assumes one crossing there)."""

    def near(value: float) -> bool:
        return abs(value - 1) <= 1 - level + 1e-9

    outside = [i for i, value in enumerate(shown) if not near(value)]  # 0 units are always outside
    low, high = int(k[outside[-1]]), int(k[outside[-1] + 1])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if near(fraction(middle)) else (middle, high)
    return float(high)


def ranked(score: Score, basis: np.ndarray) -> np.ndarray:
    """(d,) the units of a basis, the largest score first."""
    return np.argsort(-score(basis), kind="stable")


def mean_difference(values: np.ndarray, on: np.ndarray) -> Score:
    """Rank by |mean where `on` (n,) - mean elsewhere| of each unit, over its spread."""
    gap, spread = values[on].mean(axis=0) - values[~on].mean(axis=0), np.cov(values.T)
    return lambda basis: np.abs(gap @ basis) / np.sqrt(np.maximum(np.einsum("di,de,ei->i", basis, spread, basis), 1e-12))


def attribution(values: np.ndarray, other: np.ndarray, gradient: np.ndarray) -> Score:
    """Rank by what replacing a unit changes to first order, |sum over inputs of gradient * (value - other)|; (n, d) or (1, d).

    Attribution patching (Nanda 2023; Syed et al., arXiv 2310.10348). It misses what is saturated.
    """
    return lambda basis: np.abs(((gradient @ basis) * ((values - other) @ basis)).sum(axis=0))


def singly(effect: Effect, values: np.ndarray, other: np.ndarray) -> Score:
    """Rank by what replacing each unit alone changes: d calls of `effect`."""
    whole = effect(values)
    d = values.shape[1]
    return lambda basis: np.array([abs(whole - effect(replaced(values, np.arange(d) != i, other, basis))) for i in range(d)])


def random_orders(effect: Effect, values: np.ndarray, draws: int, seed: int, **options: Any) -> list[Curves]:
    """The null of a ranking: the same units in random order. options: those of `curves`."""
    rng = np.random.default_rng(seed)
    return [curves(effect, values, rng.permutation(values.shape[1]), **options) for _ in range(draws)]


def rotated(effect: Effect, values: np.ndarray, score: Score, draws: int, seed: int, **options: Any) -> list[Curves]:
    """The null of the basis: the same score ranks the axes of random rotations. options: those of `curves`, less the basis."""
    out = []
    for turn in range(draws):
        basis = random_basis(values.shape[1], values.shape[1], seed + turn).T
        out.append(curves(effect, values, ranked(score, basis), basis=basis, **options))
    return out


# ----------------------------------------------------------------------------------------------------- neurons of a model


@dataclass(frozen=True)
class Neurons:
    """The neurons of a layer as a site for `curves`: `values` (row x position, d_mlp) without BOS, `effect` of replaced ones.

    tokens: (row, position). measure: logits (row, position, vocabulary) -> the effect, differentiable for `gradient`. For a
    solu_ln model the neurons are those before its LayerNorm, which then acts on what was put there.
    """

    model: LanguageModel
    tokens: np.ndarray
    measure: Callable[[Tensor], Tensor]
    layer: int = 0

    @property
    def hook(self) -> str:
        return self.model.neuron_hook(self.layer)

    @property
    def values(self) -> np.ndarray:
        """(row x (position - 1), d_mlp)."""
        found = self.model.activations(rows_to_tensor(self.tokens), [self.hook])[self.hook][:, 1:]
        return found.reshape(-1, found.shape[-1]).numpy().astype(float)

    def _logits(self, values: Tensor) -> Tensor:
        def put(old: Tensor, hook: Any = None) -> Tensor:
            inside = values.to(old.dtype).reshape(len(old), old.shape[1] - 1, -1)
            return torch.cat([old[:, :1], inside], dim=1)

        out: Tensor = self.model.hooked.run_with_hooks(
            rows_to_tensor(self.tokens), return_type="logits", fwd_hooks=[(self.hook, put)]
        )
        return out

    def effect(self, values: np.ndarray) -> float:
        """The measure with `values` in place of the neurons' own."""
        with torch.no_grad():
            return float(self.measure(self._logits(torch.from_numpy(values))))

    def gradient(self, values: np.ndarray) -> np.ndarray:
        """Of the measure with respect to `values`, for `attribution`."""
        at = torch.from_numpy(values).requires_grad_()
        return torch.autograd.grad(self.measure(self._logits(at)), at)[0].numpy()
