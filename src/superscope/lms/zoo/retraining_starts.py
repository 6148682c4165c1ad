"""What a retraining starts from: the one MLP of a trained model copied, split, or made anew (as wide, sparse, or of experts).

Clone k of neuron j of m is neuron k m + j. Copies divide W_out by their number (Net2WiderNet, Chen et al. 2015), so that the
function is kept; a partition gives every child some of its parent's input weights, no weight to two (Expand Neurons, Not
Parameters, arXiv 2510.04500), and an equal part of its bias, so that the children's pre-activations sum to the parent's; it
does not keep the function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the usual name)
from torch import Tensor, nn

Weights = dict[str, Tensor]
"""W_in (d, m), b_in (m,), W_out (m, d), b_out (d,); of experts also `router` (d, expert)."""
MATRICES = ("W_in", "W_out")


def copies(weights: Mapping[str, Tensor], r: int, sigma: float, generator: torch.Generator) -> Weights:
    """r clones of every neuron, W_out divided by r; Gaussian noise on W_in of `sigma` times the root mean square of the
    neuron's own input weights (its norm over the square root of d)."""
    w = weights["W_in"].repeat(1, r)
    noise = torch.randn(w.shape, generator=generator, dtype=w.dtype)
    w = w + sigma * noise * w.square().mean(dim=0).sqrt()
    return {"W_in": w, "b_in": weights["b_in"].repeat(r), "W_out": weights["W_out"].repeat(r, 1) / r,
            "b_out": weights["b_out"].clone()}  # fmt: skip


def partition(weights: Mapping[str, Tensor], child: Tensor) -> Weights:
    """Children with disjoint input weights. child: (d, m) which child gets each input weight, 0 to r - 1.

    W_out is copied undivided: the children's pre-activations sum to the parent's.
    """
    r = int(child.max()) + 1
    return {
        "W_in": torch.cat([weights["W_in"] * (child == k) for k in range(r)], dim=1),
        "b_in": weights["b_in"].repeat(r) / r,
        "W_out": weights["W_out"].repeat(r, 1),
        "b_out": weights["b_out"].clone(),
    }


def random_children(d: int, m: int, r: int, generator: torch.Generator) -> Tensor:
    """(d, m) which of r children gets each input weight of each of m neurons: at random, equally many each (within one)."""
    return torch.stack([torch.randperm(d, generator=generator) % r for _ in range(m)], dim=1)


def aligned_children(weights: Mapping[str, Tensor], means: np.ndarray, generator: torch.Generator) -> Tensor:
    """(d, m) which of two children gets each input weight: the one whose concept drives the neuron more through it.

    means: (m, 2, d) mean input of the MLP on each neuron's two concepts. The half of the coordinates on which
    w (mean of the first - mean of the second) is largest goes to the first child. A neuron without two concepts (nan) is
    split at random.
    """
    d, m = weights["W_in"].shape
    if means.shape != (m, 2, d):
        raise ValueError(f"the concepts' mean inputs have shape {means.shape}: expected (neuron, 2, d) = {(m, 2, d)}")
    out = random_children(d, m, 2, generator)
    gap = torch.from_numpy(means[:, 0] - means[:, 1]).T * weights["W_in"].double()
    for j in np.flatnonzero(np.isfinite(means).all(axis=(1, 2))):
        out[:, j] = 1
        out[torch.argsort(gap[:, j], descending=True, stable=True)[: d // 2], j] = 0
    return out


def anew(d: int, m: int, mean: Tensor, generator: torch.Generator, experts: int = 0) -> Weights:
    """A fresh MLP: W_in N(0, 1/d), which is also of use where it stays as it is; W_out N(0, .02^2 / 2); b_in 0.

    mean: (d,) the trained MLP's mean output, where b_out starts: what comes after has never seen a stream without it.
    """
    out = {
        "W_in": torch.randn(d, m, generator=generator) / math.sqrt(d),
        "b_in": torch.zeros(m),
        "W_out": torch.randn(m, d, generator=generator) * 0.02 / math.sqrt(2),
        "b_out": mean.clone(),
    }
    return out | {"router": torch.randn(d, experts, generator=generator) * 0.02} if experts else out


def largest(matrix: Tensor, share: float) -> Tensor:
    """A mask of the share of the entries (rounded up) with the largest magnitude."""
    held = torch.zeros(matrix.numel(), dtype=torch.bool)
    held[torch.topk(matrix.abs().flatten(), math.ceil(share * matrix.numel()), sorted=False).indices] = True
    return held.view(matrix.shape)


def gates(inputs: Tensor, router: Tensor, chosen: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of tokens (n, d): the experts chosen (n, chosen), their gates, which sum to 1, and all experts' shares (n, expert)."""
    shares = torch.softmax((inputs @ router).float(), dim=-1)
    top, which = torch.topk(shares, chosen, dim=-1)
    return which, top / top.sum(dim=-1, keepdim=True), shares


def gate_of_neurons(inputs: Tensor, router: Tensor, chosen: int, neurons: int) -> Tensor:
    """(..., neuron) what each neuron's activation is multiplied by: its expert's gate, 0 if that was not chosen."""
    which, weight, shares = gates(inputs.flatten(0, -2), router, chosen)
    each = torch.zeros_like(shares).scatter(1, which, weight)
    return each.repeat_interleave(neurons // router.shape[1], dim=1).view(*inputs.shape[:-1], neurons)


@dataclass(frozen=True)
class Constraint:
    """What training must keep. held: masks of W_in (partitions). kept: the share of each matrix that stays in the end
    (weight-sparse). frozen: names of tensors that do not train. chosen: experts a token."""

    held: Tensor | None = None
    kept: float = 1.0
    frozen: tuple[str, ...] = ()
    chosen: int = 0


class TrainedMLP(nn.Module):
    """The MLP under training: inputs (n, d) -> what it adds to the stream (n, d), and the experts' loss of balance."""

    W_in: nn.Parameter
    b_in: nn.Parameter
    W_out: nn.Parameter
    b_out: nn.Parameter
    router: nn.Parameter

    def __init__(self, weights: Mapping[str, Tensor], act_fn: str, constraint: Constraint) -> None:
        super().__init__()
        self.act: Any = {"gelu": F.gelu, "relu": F.relu}[act_fn]
        self.constraint = constraint
        for name, value in weights.items():
            self.register_parameter(name, nn.Parameter(value.clone(), requires_grad=name not in constraint.frozen))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.constraint.chosen:
            return self._experts(inputs)
        return F.linear(self.act(F.linear(inputs, self.W_in.T, self.b_in)), self.W_out.T, self.b_out), None

    def _experts(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Every expert sees only the tokens that chose it. Balance: experts x sum of (share of tokens x mean share), 1 if
        even (Fedus et al. 2022, Switch Transformers)."""
        count = self.router.shape[1]
        width = self.W_in.shape[1] // count
        which, weight, shares = gates(inputs, self.router, self.constraint.chosen)
        out = self.b_out.expand(len(inputs), -1)
        for e in range(count):
            token, place = torch.nonzero(which == e, as_tuple=True)
            own = slice(e * width, (e + 1) * width)
            post = self.act(F.linear(inputs[token], self.W_in[:, own].T, self.b_in[own]))
            out = out.index_add(0, token, F.linear(post, self.W_out[own].T).float() * weight[token, place][:, None])
        load = torch.bincount(which.flatten(), minlength=count) / which.numel()
        return out, count * (load * shares.mean(dim=0)).sum()

    @torch.no_grad()
    def project(self, done: float) -> None:
        """Put the weights back where the constraint wants them. done: share of the training that is behind.

        The kept share falls from 1 to its end geometrically over the first half; entries that were zeroed still get
        gradients, and may come back.
        """
        if self.constraint.held is not None:
            self.W_in.mul_(self.constraint.held)
        if self.constraint.kept < 1:
            share = self.constraint.kept ** min(1.0, 2 * done)
            for name in MATRICES:
                matrix = getattr(self, name)
                matrix *= largest(matrix, share)

    def weights(self) -> Weights:
        return {name: value.detach() for name, value in self.named_parameters()}
