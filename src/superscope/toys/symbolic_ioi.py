"""Indirect object identification without words: BOS A B S end -> the one of A and B that S is not.

The smallest task that needs the circuit of Wang et al. 2022: names are symbols, the sentence has one frame. One layer of two
heads solves it, two layers of one head each do, too (attention-only transformers, arXiv 2510.25013).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (the usual name)
from torch import Tensor

from superscope.lms.model.transformer import Shape, Transformer, initialise

LAST = 4  # position of the end, where the answer is given


@dataclass(frozen=True)
class Sentences:
    """tokens (sentence, 5) int64: BOS, both names, S, the end; io, s (sentence,): names, which are tokens 0 to names - 1."""

    tokens: Tensor
    io: Tensor
    s: Tensor


def sentences(count: int, names: int, generator: torch.Generator) -> Sentences:
    """Pairs and orders drawn evenly."""
    pair = torch.rand(count, names, generator=generator).argsort(1)[:, :2]
    which = torch.randint(0, 2, (count, 1), generator=generator)
    io, s = pair.gather(1, 1 - which), pair.gather(1, which)
    frame = torch.full((count, 1), names)
    return Sentences(torch.cat([frame, pair, s, frame + 1], dim=1), io[:, 0], s[:, 0])


def other_subject(of: Sentences) -> Tensor:
    """(sentence, 5) the same sentences with the other name as S: nothing else has moved."""
    tokens = of.tokens.clone()
    tokens[:, 3] = of.io
    return tokens


def train(n_layers: int, n_heads: int, seed: int, names: int = 16, d_model: int = 32, steps: int = 1200) -> Transformer:
    """An attention-only transformer trained on fresh sentences (Adam, one cycle to 5e-3, 128 sentences a step)."""
    model = Transformer(Shape(n_layers, d_model, n_heads, d_mlp=0, n_ctx=LAST + 1, d_vocab=names + 2))
    initialise(model, seed)
    with torch.no_grad():  # matrices of .1 instead of .02: at the scale of language models the plateau takes longer
        for name, weights in model.named_parameters():
            if ".attn.W_" in name:
                weights.mul_(5)
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, steps)
    for _ in range(steps):
        batch = sentences(128, names, draw)
        loss = F.cross_entropy(model.logits(batch.tokens)[:, LAST], batch.io)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return model


@torch.no_grad()
def accuracy(model: Transformer, of: Sentences) -> float:
    """Share of sentences whose most likely continuation is the indirect object."""
    return float((model.logits(of.tokens)[:, LAST].argmax(-1) == of.io).float().mean())
