"""ReLU autoencoder with an L1 penalty, in the recipe of April 2024 (Anthropic, Circuits Updates): lambda sum_j a_j ||W_dec_j||.

Decoder norms are free: the penalty counts what a latent adds to the output, so that growing the decoder and shrinking the
activation gains nothing. Rows start at norm .1, and lambda grows from 0 over the first twentieth of the training.
With `l0` the penalty is steered until that many latents are on, as SAELens' autotuner does.
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
from superscope.recover.sae.architecture import Architecture, Forward, Memory, Params, Step, column

WARM_UP = 0.05  # share of the training in which a penalty grows to its value
STEER = 0.02  # most that steering changes a penalty in one step, as a share


@dataclass(frozen=True, kw_only=True)
class L1(Architecture):
    """l1: lambda, in units of squared error per unit of activation. l0: latents wanted on per sample; 0 leaves lambda alone.

    norm: of decoder rows at the start; .1 is the recipe's, 1 learns faster in a short training.
    """

    name: ClassVar[str] = "l1"
    summary: ClassVar[str] = "ReLU and an L1 penalty weighted by decoder norms (April 2024 recipe)"
    unit: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ("l1", "l0")

    l1: float = 1.0
    l0: float = 0.0
    norm: float = 0.1

    def check(self, d_in: int) -> None:
        super().check(d_in)
        if not (self.l1 >= 0 and math.isfinite(self.l1)):
            raise UserError(f"l1={self.l1}: the penalty is a finite number, not below 0")
        if not 0 <= self.l0 <= self.width:
            raise UserError(
                f"l0={self.l0:g} with {self.width} latents: between 1 and {self.width} latents can be on, 0: not steered"
            )
        if not (self.norm > 0 and math.isfinite(self.norm)):
            raise UserError(f"norm={self.norm}: give a finite number above 0")

    def start(self, d_in: int, d_out: int, center: Tensor, generator: torch.Generator) -> Params:
        p = super().start(d_in, d_out, center, generator)
        return p | {"W_dec": self.norm * p["W_dec"], "W_enc": self.norm * p["W_enc"]}

    def activate(self, family: Sequence[Architecture], p: Params, f: Forward, memory: Memory) -> Acts:
        return Dense(f.pre.relu())

    def sparsity(
        self, family: Sequence[Architecture], p: Params, f: Forward, d_acts: Acts, gradients: Params,
        losses: dict[str, Tensor], memory: Memory,
    ) -> Acts:  # fmt: skip
        weight = penalty(family, f, memory)
        norms = p["W_dec"].norm(dim=2).clamp_min(1e-12)
        sums = f.acts.sums()
        losses["sparsity"] = weight[:, 0, 0] * (sums * norms).sum(1)
        gradients["W_dec"] += weight * (sums / norms)[..., None] * p["W_dec"]
        return d_acts.apply(lambda d: d + weight * norms[:, None])

    def remember(self, family: Sequence[Architecture], step: Step, samples: int, memory: Memory) -> None:
        super().remember(family, step, samples, memory)
        steer(family, step, memory)


def steer(family: Sequence[Architecture], step: Step, memory: Memory) -> None:
    """Raises or lowers the penalty of every member that wants an L0, by what the step was off, at most `STEER`."""
    wanted = column(family, "l0", memory.gain)[:, 0, 0]
    off = (step.l0.to(memory.gain) / wanted.clamp_min(1e-9) - 1).clamp(-1, 1)
    memory.gain *= torch.where(wanted > 0, (STEER * off).exp(), torch.ones_like(off))


def penalty(family: Sequence[Architecture], f: Forward, memory: Memory) -> Tensor:
    """(member, 1, 1) lambda over samples, as it stands now."""
    now = column(family, "l1", f.pre) * memory.gain.to(f.pre)[:, None, None]
    return now * min(1.0, memory.progress / WARM_UP) / f.pre.shape[1]
