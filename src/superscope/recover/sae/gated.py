"""Gated SAE (Rajamanoharan et al. 2024, arXiv 2404.16014): one path says which latents are on, another how much.

    gate = (x - b_dec) W_enc^T + b_gate,   a = [gate > 0] ReLU(exp(r_mag) (x - b_dec) W_enc^T + b_mag)
    L = ||x - y(a)||^2 + lambda sum ReLU(gate) + ||x - y_frozen(ReLU(gate))||^2

The penalty and the second error (through a frozen copy of the decoder) train the gate alone, so that magnitudes do not shrink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from superscope.recover.sae.acts import Acts, Dense
from superscope.recover.sae.architecture import Architecture, Forward, Memory, Params
from superscope.recover.sae.relu_l1 import L1, penalty


@dataclass(frozen=True, kw_only=True)
class Gated(L1):
    """l1: weight of the sum of gate activations. l0: latents wanted on per sample; 0 leaves the weight alone."""

    name: ClassVar[str] = "gated"
    summary: ClassVar[str] = "a gate for which latents are on, magnitudes of their own, no shrinkage"
    unit: ClassVar[bool] = True

    def start(self, d_in: int, d_out: int, center: Tensor, generator: torch.Generator) -> Params:
        p = Architecture.start(self, d_in, d_out, center, generator)
        zeros = torch.zeros(self.width, dtype=center.dtype)
        return p | {"b_mag": zeros.clone(), "r_mag": zeros.clone()}  # b_enc is the gate's bias

    def activate(self, family: Sequence[Architecture], p: Params, f: Forward, memory: Memory) -> Acts:
        raw = f.pre - p["b_enc"][:, None]
        f.extra["raw"] = raw
        f.extra["magnitude"] = (raw * p["r_mag"].exp()[:, None] + p["b_mag"][:, None]).relu()
        return Dense(f.extra["magnitude"] * (f.pre > 0))

    def sparsity(
        self, family: Sequence[Architecture], p: Params, f: Forward, d_acts: Acts, gradients: Params,
        losses: dict[str, Tensor], memory: Memory,
    ) -> Acts:  # fmt: skip
        weight = penalty(family, f, memory)
        losses["sparsity"] = weight[:, 0, 0] * f.pre.relu().sum((1, 2))
        f.extra["d_gate"] = (weight * (f.pre > 0)).to(f.pre.dtype)
        return d_acts

    def back(self, p: Params, f: Forward, d_acts: Acts, gradients: Params) -> Acts:
        assert isinstance(d_acts, Dense)
        scale = p["r_mag"].exp()[:, None]
        d_magnitude = d_acts.a * (f.pre > 0) * (f.extra["magnitude"] > 0)
        gradients["b_mag"] += d_magnitude.sum(1)
        gradients["r_mag"] += (d_magnitude * f.extra["raw"] * scale).sum(1)
        d_raw = d_magnitude * scale  # the gate's bias is no part of this path
        gradients["b_enc"] -= d_raw.sum(1)
        return Dense(d_raw)

    def auxiliary(
        self, family: Sequence[Architecture], p: Params, f: Forward, y: Tensor, gradients: Params,
        losses: dict[str, Tensor], memory: Memory,
    ) -> Acts | None:  # fmt: skip
        samples = y.shape[1]
        gate = f.pre.relu()
        error = gate @ p["W_dec"] + p["b_dec"][:, None] - y
        losses["auxiliary"] = (error**2).sum((1, 2)) / samples
        return Dense((2 / samples * error @ p["W_dec"].transpose(1, 2)) * (f.pre > 0) + f.extra["d_gate"])

    def inference(self, p: Params, memory: Memory) -> tuple[str, dict[str, Tensor], dict[str, int | bool]]:
        norms = p["W_dec"].norm(dim=1).clamp_min(1e-12)
        tensors = {
            "W_enc": p["W_enc"].T.contiguous(), "b_gate": p["b_enc"], "r_mag": p["r_mag"] + norms.log(),
            "b_mag": p["b_mag"] * norms, "W_dec": p["W_dec"] / norms[:, None], "b_dec": p["b_dec"],
        }  # fmt: skip
        return "gated", tensors, {}
