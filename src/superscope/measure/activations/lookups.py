"""What the neurons of a one-layer model read, rebuilt from lookup tables: the current token, its position, and what each head
fetches.

In one layer the stream that the MLP reads is a sum: E[t] + P[i] + sum over heads and earlier places of A(i, j) O[t_j, j] + b.
`Tables` holds the pieces as functions of one token or one place alone, from the weights: the first LayerNorm's output is
replaced by its main effects, n(t, i) = n[t] + n[i] - mean (exact but for the norm's scale of a token at a place). Values are
linear in it; a query and a key are, too, so the score of a pair is a sum of four tables: token with token, token with place,
place with token, place with place. No run of the model is used. `rebuild` then gives the stream by rungs, each with one thing
more: "token", "position", "uniform" (heads attend to all that came before alike), "mean query" (attention as of the mean token
at that place: what a head does whatever it is asked), "tables" (all four). The second LayerNorm is computed from the rebuilt
stream.

Fitting instead of weights: `by_token`, the mean of what the current token gave on other text, is the best that can be said from
the token alone. Nulls: `dealt` tables, whose heads fetch what some other token would have given; and untrained models, of
which tables give more, as they hardly attend: a good R^2 says that a neuron is simple, not that it does anything. Truth: a
stream made by a rung, with noise.

Misleads: the sum of main effects loses what a rare token's loudness does to the norm; and R^2 over text is mostly that of the
current token, so ask it of tokens matched in that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.corpus.splits import Rows
from superscope.lms.model.language_model import LanguageModel, rows_to_tensor
from superscope.lms.shelf import ModelError

TOKEN, POSITION, UNIFORM, BLIND, TABLES = RUNGS = ("token", "position", "uniform", "mean query", "tables")


@dataclass(frozen=True)
class Tables:
    """token (v, d), position (n_ctx, d) what they put in the stream; fetched (head, v, d) and from_place (head, n_ctx, d) what
    a head brings from a token and from a place, the latter about its mean; query, key (head, v, d_head) and query_at, key_at
    (head, n_ctx, d_head) what they ask and are asked by; common (v,) how often each token occurs."""

    token: Tensor
    position: Tensor
    fetched: Tensor
    from_place: Tensor
    query: Tensor
    key: Tensor
    query_at: Tensor
    key_at: Tensor
    common: Tensor

    def dealt(self, rng: np.random.Generator) -> Tables:
        """Heads bring from each token what they would bring from another one, dealt among all that occur."""
        some = np.flatnonzero(self.common.numpy() > 0)
        order = np.arange(len(self.common))
        order[some] = rng.permutation(some)
        return replace(self, fetched=self.fetched[:, torch.from_numpy(order)])


@torch.inference_mode()
def tables(model: LanguageModel, common: np.ndarray, sampled: int = 32) -> Tables:
    """common (vocabulary,): counts of tokens in text, for the means over tokens. sampled: places over which a token's mean is
    taken. ModelError for more than one layer, and for positions that are not in the stream."""
    w: Any = model.hooked
    if model.n_layers != 1 or w.cfg.positional_embedding_type != "standard" or w.cfg.normalization_type != "LN":
        raise ModelError(f"{model.name}: tables are made of one layer with a LayerNorm and positions in the stream")
    attn, norm = w.blocks[0].attn, w.blocks[0].ln1
    share = torch.from_numpy(np.asarray(common, dtype=np.float64) / max(np.sum(common), 1)).float()
    some = torch.linspace(1, model.n_ctx - 1, min(sampled, model.n_ctx - 1)).long()
    of_token = sum(norm(w.W_E + w.W_pos[i]) for i in some) / len(some)
    loud = torch.argsort(share, descending=True)[:256]
    weights = share[loud] / share[loud].sum()
    of_place = torch.stack([weights @ norm(w.W_E[loud] + at) for at in w.W_pos])
    of_place = of_place - of_place[some].mean(dim=0)
    scale = float(w.cfg.attn_scale)

    def project(inputs: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
        out = torch.einsum("nd,hdk->hnk", inputs, matrix)
        return out if bias is None else out + bias[:, None]

    def output(values: Tensor) -> Tensor:
        return torch.einsum("hnk,hkd->hnd", values, attn.W_O)

    return Tables(
        w.W_E.detach().clone(), w.W_pos.detach().clone(), output(project(of_token, attn.W_V, attn.b_V)),
        output(project(of_place, attn.W_V)), project(of_token, attn.W_Q, attn.b_Q) / scale,
        project(of_token, attn.W_K, attn.b_K), project(of_place, attn.W_Q) / scale, project(of_place, attn.W_K), share,
    )  # fmt: skip


@torch.inference_mode()
def attention(tables: Tables, tokens: Tensor, rung: str = TABLES) -> Tensor:
    """(row, head, query, key) how much each place is attended to, by the tables. tokens (row, position)."""
    n = tokens.shape[1]
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    if rung == UNIFORM:
        weights = mask / mask.sum(dim=1, keepdim=True)
        return weights.expand(len(tokens), len(tables.query), n, n)
    asked = tables.query[:, tokens].transpose(0, 1)  # (row, head, n, d_head)
    if rung == BLIND:
        asked = torch.einsum("v,hvk->hk", tables.common, tables.query)[None, :, None].expand_as(asked)
    asked = asked + tables.query_at[None, :, :n]
    keys = tables.key[:, tokens].transpose(0, 1) + tables.key_at[None, :, :n]
    return (asked @ keys.transpose(-1, -2)).masked_fill(~mask, -torch.inf).softmax(dim=-1)


@dataclass(frozen=True)
class Parts:
    """What is added up in the stream at n tokens: token, position (n, d), heads (head, n, d), bias (d,)."""

    token: Tensor
    position: Tensor
    heads: Tensor
    bias: Tensor

    def stream(self) -> Tensor:
        """(n, d)."""
        return self.token + self.position + self.heads.sum(dim=0) + self.bias

    def at(self, chosen: np.ndarray) -> Parts:
        """The tokens numbered in `chosen`."""
        rows = torch.from_numpy(np.asarray(chosen, dtype=np.int64))
        return Parts(self.token[rows], self.position[rows], self.heads[:, rows], self.bias)


@torch.inference_mode()
def rebuild(model: LanguageModel, tables: Tables, rows: Rows, rung: str = TABLES, batch_rows: int = 16) -> Parts:
    """The stream at every token of the rows but BOS, by the tables up to `rung`; what a rung lacks is at its mean over the
    rung's tokens."""
    if rung not in RUNGS:
        raise ValueError(f"rung {rung!r}: expected one of {', '.join(RUNGS)}")
    tokens = rows_to_tensor(rows.tokens)
    n, inner = tokens.shape[1], torch.from_numpy(rows.place >= 0)
    heads = []
    for start in range(0, len(tokens), batch_rows):
        some = tokens[start : start + batch_rows]
        weights = attention(tables, some, UNIFORM if rung in (TOKEN, POSITION) else rung)
        brought = tables.fetched[:, some].transpose(0, 1) + tables.from_place[None, :, :n]
        heads.append((weights @ brought).transpose(0, 1)[:, inner[start : start + batch_rows]])
    brought = torch.cat(heads, dim=1)
    position = tables.position[:n].expand(len(tokens), n, -1)[inner]
    if rung in (TOKEN, POSITION):
        brought = brought.mean(dim=1, keepdim=True).expand_as(brought)
    if rung == TOKEN:
        position = position.mean(dim=0, keepdim=True).expand_as(position)
    bias: Tensor = model.hooked.blocks[0].attn.b_O.detach()  # type: ignore[union-attr]
    return Parts(tables.token[tokens[inner]], position, brought, bias)


@torch.inference_mode()
def read(model: LanguageModel, rows: Rows, batch_rows: int = 16) -> Parts:
    """The true parts, of a run of the model. ModelError as `tables`."""
    w: Any = model.hooked
    if model.n_layers != 1:
        raise ModelError(f"{model.name} has {model.n_layers} layers: parts are those of one")
    tokens, inner = rows_to_tensor(rows.tokens), torch.from_numpy(rows.place >= 0)
    heads = []
    for start in range(0, len(tokens), batch_rows):
        got = model.activations(tokens[start : start + batch_rows], ["blocks.0.attn.hook_z"])["blocks.0.attn.hook_z"]
        heads.append(torch.einsum("nhk,hkd->hnd", got[inner[start : start + batch_rows]], w.blocks[0].attn.W_O))
    position = w.W_pos[: tokens.shape[1]].expand(len(tokens), tokens.shape[1], -1)[inner]
    return Parts(w.W_E[tokens[inner]].detach(), position.detach(), torch.cat(heads, dim=1), w.blocks[0].attn.b_O.detach())


@torch.inference_mode()
def heard(model: LanguageModel, stream: Tensor) -> Tensor:
    """(n, d) what the last layer's neurons hear of a stream (n, d): behind its LayerNorm."""
    block: Any = model.hooked.blocks[model.n_layers - 1]
    out: Tensor = block.ln2(stream[:, None])[:, 0]
    return out


@torch.inference_mode()
def pre(model: LanguageModel, stream: Tensor, neurons: np.ndarray | None = None) -> Tensor:
    """(n, neuron) what the last layer's neurons hold before the nonlinearity when they read this stream (n, d)."""
    block: Any = model.hooked.blocks[model.n_layers - 1]
    chosen = slice(None) if neurons is None else torch.from_numpy(np.asarray(neurons, dtype=np.int64))
    out: Tensor = heard(model, stream) @ block.mlp.W_in[:, chosen] + block.mlp.b_in[chosen]
    return out


def by_token(tokens: np.ndarray, values: np.ndarray, asked: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """(m, neuron) mean of values (n, neuron) at tokens (n,) that equal `asked` (m,); `otherwise` (m, neuron) for those never
    seen."""
    names, place, count = np.unique(tokens, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, place, values)
    where = np.clip(np.searchsorted(names, asked), 0, len(names) - 1)
    known = names[where] == asked
    return np.where(known[:, None], (sums / count[:, None])[where], otherwise)


def explained(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """(neuron,) R^2 of what is said of each neuron, both (n, neuron), about the truth's mean; below 0 for worse than that."""
    left = np.square(truth - said).sum(axis=0)
    return np.asarray(1 - left / np.maximum(np.square(truth - truth.mean(axis=0)).sum(axis=0), 1e-12))
