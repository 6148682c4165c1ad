"""What all architectures of sparse autoencoders share: parameters of many members at once, the forward pass and its gradient.

A member is one SAE: x (sample, d_in) -> latents a (sample, n) -> y (sample, d_out), with

    pre = (x - b_dec) W_enc^T + b_enc,   a = activation(pre),   y = a W_dec + b_dec,   L = mean over samples of ||y - target||^2

(sum over dimensions). An architecture is an activation, what it adds to the loss, and what it holds true after every step. All
gradients are written by hand: members train side by side on one leading axis, as toys do, and a sparse code costs what is on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from superscope.errors import UserError
from superscope.recover.sae.acts import Acts, Dense

Freeze = Literal["nothing", "decoder", "soft decoder", "encoder"]
Params = dict[str, Tensor]

CONE = 0.8  # a soft-frozen decoder row keeps this cosine to where it started (Korznikov et al. 2026, arXiv 2602.14111)


@dataclass
class Memory:
    """What a family remembers between steps, besides parameters; first axis: member."""

    since: Tensor  # (member, n) samples since the latent was last on
    start: Tensor  # (member, n, d_out) the decoder it started with
    threshold: Tensor  # (member,) running mean of the least activation that was on (BatchTopK)
    gain: Tensor  # (member,) what a penalty is multiplied by, where it is steered to an L0
    progress: float = 0.0  # share of the training that is done


@dataclass
class Step:
    """Losses by name (member,), gradients like the parameters, and which latents were on (member, n)."""

    losses: dict[str, Tensor]
    gradients: Params
    on: Tensor
    l0: Tensor


@dataclass
class Forward:
    """One pass: the centred input, pre-activations, activations and whatever else an architecture needs going back."""

    x: Tensor
    pre: Tensor
    acts: Acts
    extra: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """width: number of latents n. freeze: what training leaves as it started, the controls of Korznikov et al. 2026.

    decoder: a random decoder, only the encoder learns; soft decoder: every row within cos .8 of its start; encoder: random
    encoder weights, only biases and decoder learn. dead_after: samples without firing after which a latent counts as dead.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    inside: ClassVar[bool] = True  # b_dec is taken off the input (an autoencoder; not a transcoder)
    unit: ClassVar[bool] = True  # decoder rows are kept at norm 1
    own: ClassVar[tuple[str, ...]] = ()  # settings in which members trained side by side may differ; read by `column`

    width: int
    freeze: Freeze = "nothing"
    dead_after: int = 200_000

    def check(self, d_in: int) -> None:
        """Raise UserError where this cannot be trained on inputs of `d_in` dimensions."""
        if self.width < 1:
            raise UserError(f"width {self.width}: an SAE needs at least one latent")
        if self.freeze not in ("nothing", "decoder", "soft decoder", "encoder"):
            raise UserError(f"freeze={self.freeze!r}: choose nothing, decoder, soft decoder or encoder")
        if self.dead_after < 1:
            raise UserError(f"dead_after {self.dead_after}: give a number of samples, at least 1")

    # ------------------------------------------------------------------------------------------------------- parameters

    def start(self, d_in: int, d_out: int, center: Tensor, generator: torch.Generator) -> Params:
        """One member's parameters: random unit decoder rows, the encoder its transpose, b_dec the mean of the data."""
        rows = torch.randn(self.width, d_out, generator=generator, dtype=center.dtype)
        rows /= rows.norm(dim=1, keepdim=True)
        if self.inside:
            encoder = rows.clone()
        else:
            encoder = torch.randn(self.width, d_in, generator=generator, dtype=center.dtype)
            encoder /= encoder.norm(dim=1, keepdim=True)
        zeros = torch.zeros(self.width, dtype=center.dtype)
        return {"W_enc": encoder, "b_enc": zeros, "W_dec": rows, "b_dec": center.clone()}

    # ------------------------------------------------------------------------------------------------------------- step

    def step(self, family: Sequence[Architecture], p: Params, x: Tensor, y: Tensor, memory: Memory) -> Step:
        """Loss and gradients of every member at x (member, sample, d_in), y (member, sample, d_out).

        family: the members' configurations, of this class and of one width; what differs between them is read by `column`.
        """
        samples = x.shape[1]
        f = self.forward(family, p, x, memory)
        gradients = {key: torch.zeros_like(value) for key, value in p.items()}
        losses: dict[str, Tensor] = {}
        d_acts = self.reconstruct(p, f, y, gradients, losses)
        d_acts = self.sparsity(family, p, f, d_acts, gradients, losses, memory)
        d_pre = self.back(p, f, d_acts, gradients)
        if extra := self.auxiliary(family, p, f, y, gradients, losses, memory):
            d_pre = extra if d_pre is None else d_pre.apply(torch.add, extra)
        self.through_encoder(p, f, d_pre, gradients)
        if "W_skip" in p:
            gradients["W_skip"] += f.extra["error"].transpose(1, 2) @ x
        losses["loss"] = torch.stack(list(losses.values())).sum(0)
        on = f.acts.apply(lambda a: (a > 0).to(a.dtype)).sums()
        self.frozen(gradients)
        return Step(losses, gradients, on > 0, on.sum(1) / samples)

    def forward(self, family: Sequence[Architecture], p: Params, x: Tensor, memory: Memory) -> Forward:
        """Pre-activations and activations."""
        centred = x - p["b_dec"][:, None] if self.inside else x
        pre = (centred @ p["W_enc"].transpose(1, 2)).add_(p["b_enc"][:, None])
        f = Forward(centred, pre, Dense(pre), {"input": x})
        f.acts = self.activate(family, p, f, memory)
        return f

    def activate(self, family: Sequence[Architecture], p: Params, f: Forward, memory: Memory) -> Acts:
        """Latent activations of the pre-activations."""
        raise NotImplementedError

    def blocks(self) -> list[tuple[int, int]]:
        """Nested prefixes that reconstruct on their own, as ranges of new latents; one for all but Matryoshka."""
        return [(0, self.width)]

    def weights(self) -> list[float]:
        """Weight of every prefix's squared error."""
        return [1.0]

    def reconstruct(self, p: Params, f: Forward, y: Tensor, gradients: Params, losses: dict[str, Tensor]) -> Acts:
        """Squared error of every nested prefix, added up; returns dL/da."""
        samples = y.shape[1]
        out = p["b_dec"][:, None] + (f.extra["input"] @ p["W_skip"].transpose(1, 2) if "W_skip" in p else 0.0)
        errors = []
        for low, high in self.blocks():
            out = out + f.acts.within(low, high).decode(p["W_dec"])
            errors.append(out - y)
        weighted = [weight * (e**2).sum((1, 2)) / samples for weight, e in zip(self.weights(), errors, strict=True)]
        losses["reconstruction"] = torch.stack(weighted).sum(0)
        f.extra["residual"] = -errors[-1]
        back = torch.zeros_like(errors[-1])
        total: Acts | None = None
        nested = list(zip(self.blocks(), self.weights(), errors, strict=True))
        for (low, high), weight, error in reversed(nested):
            back = back + 2 * weight / samples * error  # this prefix's latents are part of every larger one
            held = f.acts.within(low, high)
            gradients["W_dec"] += held.outer(back)
            part = f.acts.inner(back, p["W_dec"]).within(low, high)
            total = part if total is None else total.apply(torch.add, part)
        gradients["b_dec"] += back.sum(1)
        f.extra["error"] = back
        assert total is not None
        return total

    def sparsity(
        self,
        family: Sequence[Architecture],
        p: Params,
        f: Forward,
        d_acts: Acts,
        gradients: Params,
        losses: dict[str, Tensor],
        memory: Memory,
    ) -> Acts:
        """Adds a penalty and its gradients; returns dL/da."""
        return d_acts

    def back(self, p: Params, f: Forward, d_acts: Acts, gradients: Params) -> Acts:
        """dL/dpre through the activation: of a ReLU, where it is on."""
        return d_acts.apply(lambda d, a: d * (a > 0), f.acts)

    def auxiliary(
        self,
        family: Sequence[Architecture],
        p: Params,
        f: Forward,
        y: Tensor,
        gradients: Params,
        losses: dict[str, Tensor],
        memory: Memory,
    ) -> Acts | None:
        """A second loss on the pre-activations; returns what it adds to dL/dpre, or None. May add to the other gradients."""
        return None

    def through_encoder(self, p: Params, f: Forward, d_pre: Acts, gradients: Params) -> None:
        """From dL/dpre to the encoder and to the bias that is taken off the input."""
        gradients["W_enc"] += d_pre.outer(f.x)
        sums = d_pre.sums()
        gradients["b_enc"] += sums
        if self.inside:
            gradients["b_dec"] -= (sums[:, None] @ p["W_enc"])[:, 0]

    def frozen(self, gradients: Params) -> None:
        """Takes the gradients off what is frozen."""
        if self.freeze == "decoder":
            gradients["W_dec"].zero_()
        if self.freeze == "encoder":
            gradients["W_enc"].zero_()

    # ------------------------------------------------------------------------------------------- between steps and after

    def remember(self, family: Sequence[Architecture], step: Step, samples: int, memory: Memory) -> None:
        """Counts samples since each latent was on."""
        memory.since += samples
        memory.since[step.on] = 0

    def settle(self, p: Params, memory: Memory) -> None:
        """What must hold after a step: soft-frozen rows in their cone, decoder rows at norm 1 where that is the rule."""
        if self.freeze == "soft decoder":
            p["W_dec"].copy_(_into_cone(p["W_dec"], memory.start))
        if self.unit:
            p["W_dec"] /= p["W_dec"].norm(dim=2, keepdim=True).clamp_min(1e-12)

    def inference(self, p: Params, memory: Memory) -> tuple[str, dict[str, Tensor], dict[str, int | bool]]:
        """Kind, tensors and settings of one trained member (no member axis) as `SAE` takes them; decoder rows at norm 1."""
        norms = p["W_dec"].norm(dim=1).clamp_min(1e-12)
        tensors = {
            "W_enc": (p["W_enc"] * norms[:, None]).T.contiguous(),
            "b_enc": p["b_enc"] * norms,
            "W_dec": p["W_dec"] / norms[:, None],
            "b_dec": p["b_dec"],
        }
        return "standard", tensors, {}


def column(family: Sequence[Architecture], name: str, like: Tensor) -> Tensor:
    """The members' values of a field, (member, 1, 1)."""
    return torch.tensor([float(getattr(one, name)) for one in family], dtype=like.dtype)[:, None, None]


def _into_cone(rows: Tensor, start: Tensor) -> Tensor:
    """Rows whose cosine to their start is below CONE, turned back onto the cone; norms stay."""
    norms = rows.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    unit, axis = rows / norms, start / start.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    cos = (unit * axis).sum(-1, keepdim=True)
    across = unit - cos * axis
    across = across / across.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    turned = (CONE * axis + (1 - CONE**2) ** 0.5 * across) * norms
    return torch.where(cos < CONE, turned, rows)
