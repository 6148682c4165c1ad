"""Skip transcoder (Dunefsky et al. 2024, arXiv 2406.11944; the linear skip of Paulo et al. 2025, arXiv 2501.18823).

It learns a layer's output from its input: y = a W_dec + b_dec + x W_skip^T, the latents only what the linear map leaves over.
BatchTopK on a raw input; saved as a JumpReLU skip transcoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from superscope.recover.sae.architecture import Memory, Params
from superscope.recover.sae.batch_topk import BatchTopK


@dataclass(frozen=True, kw_only=True)
class SkipTranscoder(BatchTopK):
    """k: latents on per sample, on average over the batch."""

    name: ClassVar[str] = "skip-transcoder"
    summary: ClassVar[str] = "from a layer's input to its output, with a linear skip (BatchTopK)"
    inside: ClassVar[bool] = False

    def start(self, d_in: int, d_out: int, center: Tensor, generator: torch.Generator) -> Params:
        p = super().start(d_in, d_out, center, generator)
        return p | {"W_skip": torch.zeros(d_out, d_in, dtype=center.dtype)}

    def inference(self, p: Params, memory: Memory) -> tuple[str, dict[str, Tensor], dict[str, int | bool]]:
        _, tensors, settings = super().inference(p, memory)
        return "jumprelu_skip_transcoder", tensors | {"W_skip": p["W_skip"]}, settings
