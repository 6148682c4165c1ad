"""Interference at a set of neurons that carries a feature: what a distractor makes them say, alone and with the feature there.

A `Cell` is the last layer at some tokens: what the carriers hold before and after the nonlinearity, and, in nats of a feature's
weighted logit (`carriers.telling`), what they and all other parts write. Of four cells (neither, feature, distractor, both)
`ledger` makes the differences: the signal (feature less neither), the alternating error (distractor less neither) and the
simultaneous error (both less feature). Its first two rows are what the carriers would write if they were linear, with slope 1
from where they are without either, and what the nonlinearity takes off; the others are the rest of the model. They add up.

"Both" hardly occurs in text, so it is made: `added` gives the tokens of one cell the mean difference that the distractor makes
to the stream, and everything behind is run. On tokens with neither that should do what the distractor itself does ("added as
real": 1).

Why (Elhage et al. 2022, toy models, on interference): a threshold removes an error that comes alone, as it is smaller than a
feature; but a feature that is on has used the threshold up, and the same error then goes through whole. Planted (`plant`):
carriers that read a real stream below a threshold or linearly, and others that take the error back. Misleads: the strongest
distractors are chosen among labelled concepts; what follows a distractor may rightly be what follows the feature: leave
those out; and the LayerNorm shrinks what is added, so that two at once come out smaller than their sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.model.language_model import LanguageModel
from superscope.measure.activations import lookups
from superscope.measure.activations.disambiguation import scale_of
from superscope.measure.activations.lookups import Parts

LINEAR, THRESHOLD, NEURONS, ATTENTION, DIRECT, NORM = ROWS = (
    "carriers, if linear", "their nonlinearity", "other neurons", "attention", "token and position", "LayerNorm",
)  # fmt: skip
SIGNAL, ALONE, TOGETHER = ("signal", "alternating", "simultaneous")


@dataclass(frozen=True)
class Readout:
    """What a weighted logit is read by: reads (d,) from the stream over the norm's scale; scale, one for all tokens; carriers
    (k,) the neurons asked about."""

    model: LanguageModel
    weights: np.ndarray
    reads: Tensor
    scale: float
    carriers: np.ndarray

    @property
    def up(self) -> np.ndarray:
        """(k,) nats that a carrier adds per unit of activation."""
        mlp: Any = self.model.hooked.blocks[self.model.n_layers - 1].mlp
        return np.asarray((mlp.W_out.detach()[torch.from_numpy(self.carriers)] @ self.reads / self.scale).numpy())


def readout(model: LanguageModel, weights: np.ndarray, carriers: np.ndarray, stream: Tensor) -> Readout:
    """stream (n, d): typical final streams, for the scale. weights (vocabulary,) of `carriers.telling`."""
    w: Any = model.hooked
    column = w.W_U.detach() @ torch.from_numpy(weights).float()
    if w.cfg.normalization_type in ("LN", "RMS"):
        column = column * w.ln_final.w.detach()
    column = column - column.mean() if str(w.cfg.normalization_type).startswith("LN") else column
    return Readout(model, weights, column, float(scale_of(model, stream).mean()), np.asarray(carriers))


@dataclass(frozen=True)
class Cell:
    """pre, post (n, k) of the carriers; rest: other part -> (n,) nats of the weighted logit; mass (n,) probability of the next
    tokens that tell the feature (NaN where nothing was run)."""

    pre: np.ndarray
    post: np.ndarray
    rest: dict[str, np.ndarray]
    mass: np.ndarray


@torch.inference_mode()
def cell(read: Readout, parts: Parts, change: Callable[[Tensor, Tensor], Tensor] | None = None) -> Cell:
    """change: what becomes of the neurons' activations (n, d_mlp), given (pre, post): an ablation."""
    w: Any = read.model.hooked
    block = w.blocks[read.model.n_layers - 1]
    stream = parts.stream()
    pre = lookups.pre(read.model, stream)
    post = block.mlp.act_fn(pre)
    post = post if change is None else change(pre, post)
    own = torch.from_numpy(read.carriers)
    others = torch.ones(post.shape[1], dtype=torch.bool)
    others[own] = False
    final = stream + post @ block.mlp.W_out + block.mlp.b_out
    logits = w.ln_final(final[:, None])[:, 0] @ w.W_U + w.b_U
    weights = torch.from_numpy(read.weights).float()
    rest = {
        NEURONS: post[:, others] @ (block.mlp.W_out[others] @ read.reads) / read.scale,
        ATTENTION: (parts.heads.sum(dim=0) + parts.bias) @ read.reads / read.scale,
        DIRECT: (parts.token + parts.position) @ read.reads / read.scale,
    }
    said = sum(rest.values()) + (post[:, own] @ block.mlp.W_out[own] + block.mlp.b_out) @ read.reads / read.scale
    rest[NORM] = logits @ weights - said
    mass = logits.softmax(dim=-1)[:, weights > 0].sum(dim=1)
    return Cell(pre[:, own].numpy(), post[:, own].numpy(), {k: v.numpy() for k, v in rest.items()}, mass.numpy())


def added(parts: Parts, distractor: Parts, neither: Parts) -> Parts:
    """The tokens of `parts` with the mean difference between two other cells added to each part of their stream."""
    return Parts(
        parts.token + (distractor.token.mean(dim=0) - neither.token.mean(dim=0)),
        parts.position + (distractor.position.mean(dim=0) - neither.position.mean(dim=0)),
        parts.heads + (distractor.heads.mean(dim=1) - neither.heads.mean(dim=1))[:, None], parts.bias,
    )  # fmt: skip


def between(low: Cell, high: Cell, up: np.ndarray) -> dict[str, float]:
    """Row of the ledger -> nats by which it raises the weighted logit from one cell to the other. `ROWS` add up to "total";
    "carriers" is the sum of the first two, "mass" the difference in probability of the tokens that tell the feature."""
    linear = float((high.pre.mean(axis=0) - low.pre.mean(axis=0)) @ up)
    own = float((high.post.mean(axis=0) - low.post.mean(axis=0)) @ up)
    rest = {name: float(high.rest[name].mean() - low.rest[name].mean()) for name in low.rest}
    out = {LINEAR: linear, THRESHOLD: own - linear, **rest}
    return {**out, "carriers": own, "total": sum(out.values()), "mass": float(high.mass.mean() - low.mass.mean())}


def ledger(cells: Sequence[Cell], up: np.ndarray) -> dict[str, dict[str, float]]:
    """Column (signal, alternating, simultaneous) -> row -> nats; cells: neither, feature, distractor, both; up (k,) of
    `Readout`."""
    neither, feature, distractor, both = cells
    pairs = {SIGNAL: (neither, feature), ALONE: (neither, distractor), TOGETHER: (feature, both)}
    return {column: between(low, high, up) for column, (low, high) in pairs.items()}


def summary(ledgers: Sequence[dict[str, dict[str, float]]]) -> dict[str, float]:
    """Over features, each in shares of what its carriers write for it: the alternating "error"; how much more of the feature
    than of the distractor passes the nonlinearity ("passes": 1 for linear carriers, 0 where the distractor is shut out);
    "answered", the share of the error that all other parts take back; "alone", the carriers' error over that with the feature
    on (1 for linear carriers); "changed", by how much both together change the detection, of the detection."""
    if not ledgers:
        return {}

    def mean(column: str, row: str, over: str) -> float:
        return float(np.mean([one[column][row] / one[SIGNAL][over] for one in ledgers]))

    alone, linear = mean(ALONE, "carriers", "carriers"), mean(ALONE, LINEAR, LINEAR)
    back = mean(ALONE, "total", "carriers") - alone
    changed = np.mean([abs(one[TOGETHER]["total"] / one[SIGNAL]["total"]) for one in ledgers])
    return {
        "error": alone, "passes": alone / linear, "answered": -back / alone,
        "alone": alone / mean(TOGETHER, "carriers", "carriers"), "changed": float(changed),
    }  # fmt: skip


def plant(
    cells: Sequence[Cell], heard: Sequence[Tensor], up: np.ndarray, threshold: float, answered: float, rng: np.random.Generator,
    strength: float = 0.6, noise: float = 0.3,
) -> list[Cell]:  # fmt: skip
    """Cells (neither, feature, distractor, both) of carriers, each writing the size of `up`, that read the feature at 4 and the
    distractor at `strength` of it from what the layer hears, heard (n, d) of each cell, times unequal gains, with noise, and
    are silent below `threshold` (GELU). They read along the least noise inside the first three cells. The rest of the model
    does not tell the cells apart, but for other neurons that take back `answered` of what linear carriers would say of the
    distractor, as unevenly."""
    middle = heard[0].mean(dim=0)
    steps = torch.stack([one.mean(dim=0) - middle for one in heard[1:3]], dim=1)  # (d, 2)
    inside = torch.cat([one - one.mean(dim=0) for one in heard[:3]])
    away = torch.linalg.solve(torch.cov(inside.T) + 1e-2 * inside.var() * torch.eye(len(middle)), steps)
    reads = away @ torch.linalg.solve(steps.T @ away, torch.tensor([1.0, strength]))
    gains = np.exp(0.3 * rng.standard_normal(len(up)))
    signal = 4 * float(gains @ np.abs(up))

    def made(real: Cell, at: Tensor, off: float) -> Cell:
        n = len(at)
        loud = 4 * gains * ((at - middle) @ reads).numpy()[:, None]
        pre = loud + noise * rng.standard_normal((n, len(up))) - threshold
        post = torch.nn.functional.gelu(torch.from_numpy(pre)).numpy()
        some = rng.integers(len(cells[0].mass), size=n)
        parts = {name: values[some].copy() for name, values in cells[0].rest.items()}
        parts[NEURONS] = parts[NEURONS] - answered * strength * off * signal * rng.uniform(0.6, 1.4, n)
        return Cell(pre, post, parts, np.full(n, np.nan))

    return [made(cell, at, off) for cell, at, off in zip(cells, heard, (0, 0, 1, 1), strict=True)]


def straightened(read: Readout, neither: Cell) -> Callable[[Tensor, Tensor], Tensor]:
    """A change for `cell`: the carriers without their nonlinearity, linear from their mean where there is neither."""
    own = torch.from_numpy(read.carriers)
    before, after = (torch.from_numpy(values.mean(axis=0)) for values in (neither.pre, neither.post))

    def change(pre: Tensor, post: Tensor) -> Tensor:
        post = post.clone()
        post[:, own] = after + pre[:, own] - before
        return post

    return change


def silenced(neurons: np.ndarray, means: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A change for `cell`: these neurons at their means (d_mlp,)."""
    some = torch.from_numpy(np.asarray(neurons, dtype=np.int64))

    def change(pre: Tensor, post: Tensor) -> Tensor:
        post = post.clone()
        post[:, some] = means[some]
        return post

    return change
