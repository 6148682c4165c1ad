"""ReLU autoencoder with an L1 penalty, in the recipe of April 2024 (Anthropic, Circuits Updates): lambda sum_j a_j ||W_dec_j||.

Decoder norms are free: the penalty counts what a latent adds to the output, so that growing the decoder and shrinking the
activation gains nothing. Rows start at norm .1, and lambda grows from 0 over the first twentieth of the training.
It shrinks: the penalty pulls every activation below what reconstructs best (see `scores.shrinkage`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from superscope.errors import UserError
from superscope.recover.sae.acts import Acts, Dense
from superscope.recover.sae.architecture import Architecture, Forward, Memory, Params, column

WARM_UP = 0.05  # share of the training in which a penalty grows to its value
START_NORM = 0.1


@dataclass(frozen=True, kw_only=True)
class L1(Architecture):
    """l1: lambda, in units of squared error per unit of activation."""

    name: ClassVar[str] = "l1"
    summary: ClassVar[str] = "ReLU and an L1 penalty weighted by decoder norms (April 2024 recipe)"
    unit: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ("l1",)

    l1: float = 1e-2

    def check(self, d_in: int) -> None:
        super().check(d_in)
        if not (self.l1 >= 0 and math.isfinite(self.l1)):
            raise UserError(f"l1={self.l1}: the penalty is a finite number, not below 0")

    def start(self, d_in: int, d_out: int, center: Tensor, generator: torch.Generator) -> Params:
        p = super().start(d_in, d_out, center, generator)
        return p | {"W_dec": START_NORM * p["W_dec"], "W_enc": START_NORM * p["W_enc"]}

    def activate(self, family: Sequence[Architecture], p: Params, f: Forward, memory: Memory) -> Acts:
        return Dense(f.pre.relu())

    def sparsity(
        self, family: Sequence[Architecture], p: Params, f: Forward, d_acts: Acts, gradients: Params,
        losses: dict[str, Tensor], memory: Memory,
    ) -> Acts:  # fmt: skip
        weight = column(family, "l1", f.pre) * min(1.0, memory.progress / WARM_UP) / f.pre.shape[1]
        norms = p["W_dec"].norm(dim=2).clamp_min(1e-12)
        sums = f.acts.sums()
        losses["sparsity"] = weight[:, 0, 0] * (sums * norms).sum(1)
        gradients["W_dec"] += weight * (sums / norms)[..., None] * p["W_dec"]
        return d_acts.apply(lambda d: d + weight * norms[:, None])
