"""The rest of a model at ONE position a row, from a given block on, with everything before that position held still.

What comes after a position does not change what comes before it, so a change of the stream at the last position of a prompt
needs that position's run alone, against the stored keys and values of the others: `Tail` is tens of times cheaper than whole
prompts, and equal to them. It knows learned positions only; `Rerun` runs whole prompts, and does for any model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.model.language_model import LanguageModel, rows_to_tensor
from superscope.lms.shelf import ModelError


@dataclass(frozen=True)
class Tail:
    """From block `layer` to the logits, at position `last` (row,) of each row of `tokens` (row, position).

    values (row, d): the stream that enters block `layer` there. keys, values_of: per block (row, position, head, d_head).
    """

    model: LanguageModel
    layer: int
    last: Tensor
    values: Tensor
    keys: tuple[Tensor, ...]
    values_of: tuple[Tensor, ...]

    @classmethod
    def of(cls, model: LanguageModel, tokens: np.ndarray, last: np.ndarray, layer: int, batch: int = 128) -> Tail:
        """Read what the rows of `tokens` keep still. ModelError for positions that are not learned, and grouped heads."""
        cfg: Any = model.hooked.cfg
        if cfg.positional_embedding_type not in ("standard", "shortformer") or getattr(cfg, "parallel_attn_mlp", False):
            raise ModelError(f"{model.name} has {cfg.positional_embedding_type} positions: only learned ones are run on here")
        if not 0 <= layer < model.n_layers:
            raise ModelError(f"layer={layer}: {model.name} has blocks 0 to {model.n_layers - 1}")
        names = [f"blocks.{i}.attn.hook_{what}" for what in "kv" for i in range(layer, model.n_layers)]
        stream = f"blocks.{layer}.hook_resid_pre"
        parts = np.array_split(tokens, max(1, -(-len(tokens) // batch)))
        read = [model.activations(rows_to_tensor(part), [*names, stream]) for part in parts]
        joined = {name: torch.cat([one[name] for one in read]) for name in [*names, stream]}
        rows, at = torch.arange(len(tokens)), torch.as_tensor(last)
        half = len(names) // 2
        return cls(
            model, layer, at, joined[stream][rows, at].clone(),
            tuple(joined[name] for name in names[:half]), tuple(joined[name] for name in names[half:]),
        )  # fmt: skip

    def logits(self, values: Tensor, rows: Tensor, answers: Tensor, queries: Tensor | None = None) -> Tensor:
        """(P, K) logits of the token ids `answers` (K,) for prompts `rows` (P,) with the stream `values` (P, d).

        queries: (P, d) what the queries of the first block read instead, if anything else than what all others read.
        """
        w: Any = self.model.hooked
        stream = values
        for depth, (keys, kept) in enumerate(zip(self.keys, self.values_of, strict=True)):
            block = w.blocks[self.layer + depth]
            heard = stream if depth or queries is None else queries
            stream = stream + self._attended(block, stream, heard, keys[rows], kept[rows], self.last[rows])
            if self.model.d_mlp:
                stream = stream + block.mlp(block.ln2(stream[:, None]))[:, 0]
        normed = w.ln_final(stream[:, None])[:, 0]
        out: Tensor = normed @ w.W_U[:, answers] + w.b_U[answers]
        return out

    def _attended(self, block: Any, stream: Tensor, heard: Tensor, keys: Tensor, kept: Tensor, at: Tensor) -> Tensor:
        """(P, d) what a block's attention writes at the positions `at`."""
        z = mixed(self.model, block, stream, heard, keys, kept, at)
        return torch.einsum("phe,hed->pd", z, block.attn.W_O) + block.attn.b_O


def mixed(model: LanguageModel, block: Any, stream: Tensor, heard: Tensor, keys: Tensor, kept: Tensor, at: Tensor) -> Tensor:
    """(P, head, d_head) what the heads of a block mix at the positions `at` (P,), where the own key and value are those of
    `stream` (P, d), the query that of `heard` (P, d), and the keys and values of other positions are kept (P, position, head,
    d_head)."""
    w: Any = model.hooked
    attn = block.attn
    own, asking = block.ln1(stream[:, None])[:, 0], block.ln1(heard[:, None])[:, 0]
    # Positions that queries and keys read behind the LayerNorm (shortformer); others are in the stream already.
    where = w.W_pos[at] if w.cfg.positional_embedding_type == "shortformer" else 0.0
    query = torch.einsum("pd,hde->phe", asking + where, attn.W_Q) + attn.b_Q
    key = torch.einsum("pd,hde->phe", own + where, attn.W_K) + attn.b_K
    value = torch.einsum("pd,hde->phe", own, attn.W_V) + attn.b_V
    position = torch.arange(keys.shape[1])
    here = (position == at[:, None])[..., None, None]
    keys, kept = torch.where(here, key[:, None], keys), torch.where(here, value[:, None], kept)
    scores = torch.einsum("phe,pkhe->phk", query, keys) / attn.attn_scale
    weight = scores.masked_fill((position > at[:, None])[:, None], -torch.inf).softmax(-1)
    return torch.einsum("phk,pkhe->phe", weight, kept)


@dataclass(frozen=True)
class Rerun:
    """What `Tail` answers, by running whole prompts: slow, but for rotary positions, grouped heads and gated MLPs, too."""

    model: LanguageModel
    layer: int
    last: Tensor
    values: Tensor
    tokens: Tensor
    batch: int = 32

    @classmethod
    def of(cls, model: LanguageModel, tokens: np.ndarray, last: np.ndarray, layer: int, batch: int = 32) -> Rerun:
        """Read the stream that enters block `layer` at positions `last` of the rows of `tokens`."""
        at, whole, hook = torch.as_tensor(last), rows_to_tensor(tokens), f"blocks.{layer}.hook_resid_pre"
        read = [
            model.activations(whole[some], [hook])[hook][torch.arange(len(some)), at[some]]
            for some in torch.arange(len(tokens)).split(batch)
        ]
        return cls(model, layer, at, torch.cat(read).clone(), whole, batch)

    def logits(self, values: Tensor, rows: Tensor, answers: Tensor) -> Tensor:
        """(P, K) logits of the token ids `answers` (K,) for prompts `rows` (P,) with the stream `values` (P, d)."""
        hook = f"blocks.{self.layer}.hook_resid_pre"
        out = []
        for new, some in zip(values.split(self.batch), rows.split(self.batch), strict=True):
            places = torch.arange(len(some)), self.last[some]

            def put(old: Tensor, hook: Any = None, new: Tensor = new, places: tuple[Tensor, Tensor] = places) -> Tensor:
                changed = old.clone()
                changed[places] = new
                return changed

            said: Tensor = self.model.hooked.run_with_hooks(self.tokens[some], return_type="logits", fwd_hooks=[(hook, put)])
            out.append(said[places][:, answers])
        return torch.cat(out)


def tail(model: LanguageModel, tokens: np.ndarray, last: np.ndarray, layer: int) -> Tail | Rerun:
    """The cheap one where it knows the model."""
    try:
        return Tail.of(model, tokens, last, layer)
    except ModelError:
        return Rerun.of(model, tokens, last, layer)
