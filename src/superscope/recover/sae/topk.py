"""TopK (Gao et al. 2024, arXiv 2406.04093): the k largest pre-activations, then a ReLU; dead latents learn from the residual.

Decoder rows count at norm 1 and their norms scale the pre-activations instead, as in SAELens: a gain that trains faster than
the encoder alone. AuxK: the d_in / 2 largest pre-activations among latents that have not fired for `dead_after` samples
reconstruct what the others left over. Its weight falls with the number of dead latents, as in SAELens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from superscope.errors import UserError
from superscope.recover.sae.acts import Acts, Dense, Places, Sparse, pays, topk
from superscope.recover.sae.architecture import Architecture, Forward, Memory, Params, Step


@dataclass(frozen=True, kw_only=True)
class TopK(Architecture):
    """k: latents on per sample. aux: weight of the dead latents' loss, 0 for none."""

    name: ClassVar[str] = "topk"
    summary: ClassVar[str] = "the k largest pre-activations of every sample, dead latents revived by AuxK"
    unit: ClassVar[bool] = False
    own: ClassVar[tuple[str, ...]] = ("k",)

    k: float = 32
    aux: float = 1.0

    def check(self, d_in: int) -> None:
        super().check(d_in)
        if not 0 < self.k <= self.width:
            raise UserError(f"k={self.k:g} with {self.width} latents: between 1 and {self.width} latents can be on")
        if self.name == "topk" and self.k != int(self.k):
            raise UserError(f"k={self.k:g}: TopK turns on a whole number of latents a sample (BatchTopK takes {self.k:g})")
        if not (self.aux >= 0 and math.isfinite(self.aux)):
            raise UserError(f"aux={self.aux}: the weight is a finite number, not below 0")

    def step(self, family: Sequence[Architecture], p: Params, x: Tensor, y: Tensor, memory: Memory) -> Step:
        norms = p["W_dec"].norm(dim=2).clamp_min(1e-12)
        rows, gain = p["W_dec"] / norms[..., None], norms[..., None]
        step = super().step(family, p | {"W_enc": p["W_enc"] * gain, "b_enc": p["b_enc"] * norms, "W_dec": rows}, x, y, memory)
        g = step.gradients
        by_norm = (g["W_enc"] * p["W_enc"]).sum(2) + g["b_enc"] * p["b_enc"]
        across = (g["W_dec"] - (g["W_dec"] * rows).sum(2, keepdim=True) * rows) / gain
        g |= {"W_enc": g["W_enc"] * gain, "b_enc": g["b_enc"] * norms, "W_dec": across + by_norm[..., None] * rows}
        self.frozen(g)
        return step

    def activate(self, family: Sequence[Architecture], p: Params, f: Forward, memory: Memory) -> Acts:
        _, samples, n = f.pre.shape
        ks = [int(one.k) for one in family]  # type: ignore[attr-defined]
        if pays(len(ks), samples, n, max(ks)):
            values, places = [], []
            for pre, k in zip(f.pre, ks, strict=True):
                held, where = topk(pre, k)
                values.append(held.flatten().relu())
                rows = torch.arange(samples).repeat_interleave(k)
                places.append(Places.of(rows, where.flatten(), samples, n))
            return Sparse(tuple(values), tuple(places), n)
        kept = torch.zeros_like(f.pre)
        for out, pre, k in zip(kept, f.pre, ks, strict=True):
            held = pre.topk(k, -1, sorted=False)
            out.scatter_(-1, held.indices, held.values.relu())
        return Dense(kept)

    def auxiliary(
        self, family: Sequence[Architecture], p: Params, f: Forward, y: Tensor, gradients: Params,
        losses: dict[str, Tensor], memory: Memory,
    ) -> Acts | None:  # fmt: skip
        dead = memory.since >= self.dead_after
        losses["auxiliary"] = torch.zeros(len(f.pre), dtype=f.pre.dtype)
        if not self.aux or not bool(dead.any()):
            return None
        most = max(1, p["W_dec"].shape[2] // 2)
        samples = f.pre.shape[1]
        d_pre = torch.zeros_like(f.pre)
        for i in torch.nonzero(dead.any(1)).flatten().tolist():
            which = torch.nonzero(dead[i]).flatten()
            k, weight = min(most, len(which)), self.aux * min(1.0, len(which) / most)
            pre = f.pre[i][:, which]
            held = pre.topk(k, -1, sorted=False)
            a = torch.zeros_like(pre).scatter_(-1, held.indices, held.values.relu())
            error = a @ p["W_dec"][i, which] - f.extra["residual"][i]
            losses["auxiliary"][i] = weight * (error**2).sum() / samples
            back = 2 * weight / samples * error
            gradients["W_dec"][i, which] += a.T @ back
            d_pre[i][:, which] = (back @ p["W_dec"][i, which].T) * (a > 0)
        return _like(f.acts, d_pre, self, p, f, gradients)

    def inference(self, p: Params, memory: Memory) -> tuple[str, dict[str, Tensor], dict[str, int | bool]]:
        _, tensors, _ = super().inference(p, memory)
        return "topk", tensors, {"k": int(self.k)}


def _like(acts: Acts, d_pre: Tensor, one: Architecture, p: Params, f: Forward, gradients: Params) -> Acts | None:
    """What AuxK adds to dL/dpre: as dense as it is where activations are dense, else sent through the encoder here."""
    if isinstance(acts, Dense):
        return Dense(d_pre)
    one.through_encoder(p, f, Dense(d_pre), gradients)
    return None
