"""JumpReLU (Rajamanoharan et al. 2024, arXiv 2407.14435): a = pre where pre exceeds a learned threshold, else 0.

The loss counts what is on: lambda d L0 / l0 for inputs of d dimensions (and variance d), lambda steered until l0 latents are
on. A step has no gradient, so the threshold learns from those within half a `bandwidth` of it, by a rectangle kernel (the
paper's pseudo-derivative, equations 11 and 12).
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
from superscope.recover.sae.relu_l1 import WARM_UP, steer

FLOOR = 1e-3  # no threshold starts below it


@dataclass(frozen=True, kw_only=True)
class JumpReLU(Architecture):
    """l0: latents wanted on per sample. penalty: lambda at the start, a share of the inputs' variance. bandwidth: of the
    kernel, in activation.
    """

    name: ClassVar[str] = "jumprelu"
    summary: ClassVar[str] = "a learned threshold for every latent, steered to an L0"
    own: ClassVar[tuple[str, ...]] = ("l0", "penalty", "bandwidth")

    l0: float = 32
    penalty: float = 0.06
    bandwidth: float = 0.3

    def check(self, d_in: int) -> None:
        super().check(d_in)
        if not 0 < self.l0 <= self.width:
            raise UserError(f"l0={self.l0:g} with {self.width} latents: between 1 and {self.width} latents can be on")
        for key in ("penalty", "bandwidth"):
            value = getattr(self, key)
            if not (value > 0 and math.isfinite(value)):
                raise UserError(f"{key}={value}: give a finite number above 0")

    def start(self, d_in: int, d_out: int, center: Tensor, generator: torch.Generator) -> Params:
        p = super().start(d_in, d_out, center, generator)
        return p | {"log_threshold": torch.zeros(self.width, dtype=center.dtype)}

    def activate(self, family: Sequence[Architecture], p: Params, f: Forward, memory: Memory) -> Acts:
        for i in torch.nonzero(memory.threshold < 0).flatten().tolist():  # the first batch: start with the wanted L0
            count = max(1, int(family[i].l0 * f.pre.shape[1]))  # type: ignore[attr-defined]
            least = f.pre[i].flatten().topk(count).values[-1]
            p["log_threshold"][i] = least.clamp_min(FLOOR).log()
            memory.threshold[i] = 0
        f.extra["threshold"] = p["log_threshold"].exp()[:, None]
        f.extra["on"] = (f.pre > f.extra["threshold"]).to(f.pre.dtype)
        near = (f.pre - f.extra["threshold"]).abs() < column(family, "bandwidth", f.pre) / 2
        f.extra["kernel"] = near.to(f.pre.dtype) / column(family, "bandwidth", f.pre)
        return Dense(f.pre * f.extra["on"])

    def sparsity(
        self, family: Sequence[Architecture], p: Params, f: Forward, d_acts: Acts, gradients: Params,
        losses: dict[str, Tensor], memory: Memory,
    ) -> Acts:  # fmt: skip
        samples = f.pre.shape[1]
        wanted = column(family, "l0", f.pre)[:, 0, 0]
        weight = p["W_dec"].shape[2] * column(family, "penalty", f.pre)[:, 0, 0] * memory.gain.to(f.pre)
        weight = weight * min(1.0, memory.progress / WARM_UP) / wanted / samples
        losses["sparsity"] = weight * f.extra["on"].sum((1, 2))
        threshold, kernel = f.extra["threshold"], f.extra["kernel"]
        assert isinstance(d_acts, Dense)
        by_threshold = -kernel * (threshold * d_acts.a + weight[:, None, None])
        gradients["log_threshold"] += by_threshold.sum(1) * threshold[:, 0]
        return d_acts

    def back(self, p: Params, f: Forward, d_acts: Acts, gradients: Params) -> Acts:
        return d_acts.apply(lambda d: d * f.extra["on"])

    def remember(self, family: Sequence[Architecture], step: Step, samples: int, memory: Memory) -> None:
        super().remember(family, step, samples, memory)
        steer(family, step, memory)

    def inference(self, p: Params, memory: Memory) -> tuple[str, dict[str, Tensor], dict[str, int | bool]]:
        _, tensors, _ = super().inference(p, memory)
        tensors["threshold"] = p["log_threshold"].exp() * p["W_dec"].norm(dim=1).clamp_min(1e-12)
        return "jumprelu", tensors, {}
