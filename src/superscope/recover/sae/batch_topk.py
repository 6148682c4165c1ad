"""BatchTopK (Bussmann et al. 2024, arXiv 2412.06410): the k * samples largest pre-activations of a batch together.

A sample may use more latents than another; k need not be whole. To encode one sample alone it becomes a JumpReLU whose
threshold is the running mean of the least activation that was on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from superscope.recover.sae.acts import Acts, Dense, Places, Sparse, pays, topk_of_all
from superscope.recover.sae.architecture import Architecture, Forward, Memory, Params
from superscope.recover.sae.topk import TopK

RATE = 0.03  # of the running mean of the threshold (.01 in SAELens, whose trainings are longer)


@dataclass(frozen=True, kw_only=True)
class BatchTopK(TopK):
    """k: latents on per sample, on average over the batch."""

    name: ClassVar[str] = "batch-topk"
    summary: ClassVar[str] = "the k largest pre-activations per sample, shared out over the batch"

    def activate(self, family: Sequence[Architecture], p: Params, f: Forward, memory: Memory) -> Acts:
        members, samples, n = f.pre.shape
        counts = [max(1, int(one.k * samples)) for one in family]  # type: ignore[attr-defined]
        sparse = pays(members, samples, n, max(counts) / samples)
        values, places = [], []
        kept = None if sparse else torch.zeros_like(f.pre)
        for i, (pre, count) in enumerate(zip(f.pre, counts, strict=True)):
            held, where = topk_of_all(pre.relu() if not sparse else pre, count)
            held = held.relu()
            if bool((held > 0).any()):
                least = held[held > 0].min()
                first = memory.threshold[i] < 0
                memory.threshold[i] = least if first else (1 - RATE) * memory.threshold[i] + RATE * least
            if kept is None:
                where, order = where.sort()  # row after row
                values.append(held[order])
                places.append(Places.of(where // n, where % n, samples, n))
            else:
                kept[i].view(-1)[where] = held
        return Sparse(tuple(values), tuple(places), n) if kept is None else Dense(kept)

    def inference(self, p: Params, memory: Memory) -> tuple[str, dict[str, Tensor], dict[str, int | bool]]:
        _, tensors, _ = Architecture.inference(self, p, memory)
        tensors["threshold"] = memory.threshold.clamp_min(0).expand(self.width).clone()
        return "jumprelu", tensors, {}
