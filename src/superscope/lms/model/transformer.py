"""A lean decoder-only transformer for training; its parameters carry TransformerLens names and shapes.

Pre-LayerNorm, learned positions, separate unembedding (Elhage et al. 2021; the shapes of Nanda's toy models). Because the
names are those of `HookedTransformer`, exporting a trained model is handing over its state dict. This module has no hooks:
look at models through `superscope.lms.load`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 (the usual name)
from torch import Tensor, nn

Activation = Literal["gelu", "relu", "solu", "solu_ln"]
ACTIVATIONS: tuple[Activation, ...] = ("gelu", "relu", "solu", "solu_ln")
_EPS = 1e-5


@dataclass(frozen=True)
class Shape:
    """Shape of a transformer. d_mlp = 0 is attention-only.

    positions: "standard" adds W_pos to the residual stream; "shortformer" adds it to the inputs of queries and keys only.
    """

    n_layers: int = 1
    d_model: int = 128
    n_heads: int = 4
    d_mlp: int = 512
    n_ctx: int = 256
    d_vocab: int = 4096
    act_fn: Activation = "gelu"
    positions: Literal["standard", "shortformer"] = "standard"

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model={self.d_model} is not divisible by n_heads={self.n_heads}")
        if self.act_fn not in ACTIVATIONS:
            raise ValueError(f"act_fn={self.act_fn!r}: expected one of {', '.join(ACTIVATIONS)}")

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads


class LayerNorm(nn.Module):
    """LayerNorm with weight `w` and bias `b` over the last axis, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(width))
        self.b = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.w.shape, self.w, self.b, _EPS)


class Attention(nn.Module):
    """Causal multi-head attention; W_Q, W_K, W_V: (head, d_model, d_head), W_O: (head, d_head, d_model)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        h, d, k = shape.n_heads, shape.d_model, shape.d_head
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.empty(h, d, k)) for _ in range(3))
        self.W_O = nn.Parameter(torch.empty(h, k, d))
        self.b_Q, self.b_K, self.b_V = (nn.Parameter(torch.zeros(h, k)) for _ in range(3))
        self.b_O = nn.Parameter(torch.zeros(d))

    def forward(self, x: Tensor, where: Tensor | None) -> Tensor:
        """x: (batch, position, d_model); `where` is added to what queries and keys read (shortformer)."""
        batch, length, d = x.shape
        h, _, k = self.W_Q.shape

        def project(inputs: Tensor, weights: tuple[Tensor, ...], biases: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            flat = torch.cat([w.permute(0, 2, 1).reshape(h * k, d) for w in weights])
            out = F.linear(inputs, flat, torch.cat([b.reshape(-1) for b in biases]))
            return tuple(part.view(batch, length, h, k).transpose(1, 2) for part in out.split(h * k, dim=-1))

        if where is None:
            q, key, v = project(x, (self.W_Q, self.W_K, self.W_V), (self.b_Q, self.b_K, self.b_V))
        else:
            q, key = project(x + where, (self.W_Q, self.W_K), (self.b_Q, self.b_K))
            (v,) = project(x, (self.W_V,), (self.b_V,))
        z = F.scaled_dot_product_attention(q, key, v, is_causal=True)
        return F.linear(z.transpose(1, 2).reshape(batch, length, h * k), self.W_O.reshape(h * k, d).T, self.b_O)


class MLP(nn.Module):
    """W_in: (d_model, d_mlp), W_out: (d_mlp, d_model); solu_ln has a LayerNorm `ln` after the SoLU (Elhage et al. 2022,
    SoLU).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.act_fn = shape.act_fn
        self.W_in = nn.Parameter(torch.empty(shape.d_model, shape.d_mlp))
        self.b_in = nn.Parameter(torch.zeros(shape.d_mlp))
        self.W_out = nn.Parameter(torch.empty(shape.d_mlp, shape.d_model))
        self.b_out = nn.Parameter(torch.zeros(shape.d_model))
        self.ln = LayerNorm(shape.d_mlp) if shape.act_fn == "solu_ln" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        pre = F.linear(x, self.W_in.T, self.b_in)
        if self.act_fn == "gelu":
            post = F.gelu(pre)
        elif self.act_fn == "relu":
            post = F.relu(pre)
        else:
            wide = pre.float()
            post = wide * torch.softmax(wide, dim=-1)
        return F.linear(self.ln(post), self.W_out.T, self.b_out)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.ln1 = LayerNorm(shape.d_model)
        self.attn = Attention(shape)
        if shape.d_mlp:
            self.ln2 = LayerNorm(shape.d_model)
            self.mlp = MLP(shape)
        self.has_mlp = shape.d_mlp > 0

    def forward(self, x: Tensor, where: Tensor | None) -> Tensor:
        # TransformerLens adds shortformer positions after the LayerNorm.
        x = x + self.attn(self.ln1(x), where)
        return x + self.mlp(self.ln2(x)) if self.has_mlp else x


class _Weights(nn.Module):
    """A bag of named parameters: TransformerLens keeps W_E, W_pos and W_U in modules of their own."""

    W_E: nn.Parameter
    W_pos: nn.Parameter
    W_U: nn.Parameter
    b_U: nn.Parameter  # noqa: N815

    def __init__(self, **parameters: Tensor) -> None:
        super().__init__()
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value))


class Transformer(nn.Module):
    """tokens (batch, position) -> final residual stream; `loss` for training, `logits` for looking."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        d, vocab = shape.d_model, shape.d_vocab
        self.embed = _Weights(W_E=torch.empty(vocab, d))
        self.pos_embed = _Weights(W_pos=torch.empty(shape.n_ctx, d))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.ln_final = LayerNorm(d)
        self.unembed = _Weights(W_U=torch.empty(d, vocab), b_U=torch.zeros(vocab))

    def residual(self, tokens: Tensor) -> Tensor:
        """(batch, position, d_model) after the final LayerNorm."""
        where = self.pos_embed.W_pos[: tokens.shape[1]]
        # F.embedding and not indexing: its backward is deterministic and far faster on CPU.
        x = F.embedding(tokens, self.embed.W_E)
        shortformer = self.shape.positions == "shortformer"
        x = x if shortformer else x + where
        for block in self.blocks:
            x = block(x, where if shortformer else None)
        out: Tensor = self.ln_final(x)
        return out

    def logits(self, tokens: Tensor) -> Tensor:
        """(batch, position, vocabulary)."""
        return F.linear(self.residual(tokens), self.unembed.W_U.T, self.unembed.b_U)

    def loss(self, tokens: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean nats per predicted token of `tokens` (batch, position + 1); `weight` (batch, position) if some do not count."""
        logits = self.logits(tokens[:, :-1]).flatten(0, 1).float()
        if weight is None:
            return F.cross_entropy(logits, tokens[:, 1:].flatten())
        each = F.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="none")
        return (each * weight.flatten()).sum() / weight.sum()


def initialise(model: Transformer, seed: int) -> None:
    """GPT-2 style: matrices N(0, 0.02^2), output projections scaled by 1/sqrt(2 layers), embeddings 0.1 (as Nanda's toy
    models).

    Every tensor has a generator of its own, keyed by (seed, name): models that differ only in their activation get the SAME
    tensors.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 or ".b_" in name:
            continue  # biases stay 0 and LayerNorm weights 1
        key = int.from_bytes(name.encode(), "big") % (2**31 - 1)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + key)
        std = 0.1 if name == "embed.W_E" else 0.02
        if name.endswith(("W_O", "W_out")):
            std /= math.sqrt(2 * model.shape.n_layers)
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
