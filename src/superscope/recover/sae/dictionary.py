"""A sparse autoencoder as it is used: encode, decode, and nothing that training needed. Also the members that nobody
trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from superscope.errors import UserError

KINDS = ("standard", "topk", "jumprelu", "gated", "jumprelu_skip_transcoder")


@dataclass(frozen=True)
class SAE:
    """x (..., d_in) -> latents (..., n) -> y (..., d_out).

    kind: standard (ReLU), topk, jumprelu, gated, jumprelu_skip_transcoder, as SAELens 6 names them. tensors: W_enc (d_in, n),
    b_enc (n,), W_dec (n, d_out), b_dec (d_out,); jumprelu also threshold (n,); gated b_gate, b_mag, r_mag (n,) and no b_enc; a
    skip transcoder W_skip (d_out, d_in). k: latents on, of topk. centred: b_dec is taken off the input. rescaled: latents are
    chosen and given in units of their decoder row. metadata: where it was trained (model_name, hook_name, ...).
    """

    kind: str
    tensors: dict[str, Tensor]
    k: int | None = None
    centred: bool = True
    rescaled: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"an SAE of kind {self.kind!r}: superscope reads {', '.join(KINDS)}")
        d_in, n = _shape(self.tensors, "W_enc")
        d_out = _shape(self.tensors, "W_dec")[1]
        wanted: dict[str, tuple[int, ...]] = {"W_dec": (n, d_out), "b_dec": (d_out,)}
        names = ("b_gate", "b_mag", "r_mag") if self.kind == "gated" else ("b_enc",)
        wanted |= dict.fromkeys(names, (n,))
        if self.kind.startswith("jumprelu"):
            wanted["threshold"] = (n,)
        if self.kind.endswith("skip_transcoder"):
            wanted["W_skip"] = (d_out, d_in)
        for name, shape in wanted.items():
            if name not in self.tensors:
                raise UserError(
                    f"an SAE of kind {self.kind!r} needs {name}: the weights have {', '.join(sorted(self.tensors))}"
                )
            if tuple(self.tensors[name].shape) != shape:
                raise UserError(f"{name} has shape {tuple(self.tensors[name].shape)}: with {n} latents expected {shape}")
        for name, value in self.tensors.items():
            if not bool(torch.isfinite(value).all()):
                raise UserError(f"{name} holds values that are not finite: the weights are damaged")
        if self.kind == "topk" and not (self.k and 1 <= self.k <= n):
            raise UserError(f"k={self.k} with {n} latents: between 1 and {n} latents can be on")

    @property
    def d_in(self) -> int:
        return self.tensors["W_enc"].shape[0]

    @property
    def d_out(self) -> int:
        return self.tensors["W_dec"].shape[1]

    @property
    def n(self) -> int:
        """Number of latents."""
        return self.tensors["W_dec"].shape[0]

    @property
    def decoder(self) -> Tensor:
        """(latent, d_out)."""
        return self.tensors["W_dec"]

    @property
    def site(self) -> str:
        """The hook it reads."""
        return str(self.metadata.get("hook_name") or "")

    def encode(self, x: Tensor) -> Tensor:
        """Latent activations of x (..., d_in): (..., n), not below 0."""
        t = self.tensors
        if x.shape[-1] != self.d_in:
            raise UserError(f"the input has {x.shape[-1]} dimensions, this SAE reads {self.d_in}: is {self.site!r} the site?")
        x = x.to(t["W_enc"].dtype)
        raw = (x - t["b_dec"] if self.centred else x) @ t["W_enc"]
        if self.kind == "gated":
            return (raw + t["b_gate"] > 0) * (raw * t["r_mag"].exp() + t["b_mag"]).relu()
        pre = raw + t["b_enc"]
        if self.kind == "standard":
            return pre.relu()
        if self.kind == "topk":
            pre = pre * t["W_dec"].norm(dim=1) if self.rescaled else pre
            held = pre.topk(int(self.k or 0), -1, sorted=False)
            return torch.zeros_like(pre).scatter_(-1, held.indices, held.values.relu())
        return pre.relu() * (pre > t["threshold"])

    def decode(self, acts: Tensor) -> Tensor:
        """What latents (..., n) write: (..., d_out), without a transcoder's skip."""
        weights = self.tensors["W_dec"]
        if self.rescaled:
            weights = weights / weights.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return acts @ weights + self.tensors["b_dec"]

    def __call__(self, x: Tensor) -> Tensor:
        """The reconstruction of x (of a transcoder: its guess of the layer's output)."""
        out = self.decode(self.encode(x))
        return out + x.to(out.dtype) @ self.tensors["W_skip"].T if "W_skip" in self.tensors else out


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, int]:
    if name not in tensors or tensors[name].ndim != 2:
        raise UserError(f"the weights of an SAE need a matrix {name}: these have {', '.join(sorted(tensors)) or 'nothing'}")
    return int(tensors[name].shape[0]), int(tensors[name].shape[1])


def neurons(d: int) -> SAE:
    """The identity: every dimension of a site of non-negative activations is a latent (its negative part is lost)."""
    eye = torch.eye(d)
    return SAE("standard", {"W_enc": eye, "b_enc": torch.zeros(d), "W_dec": eye.clone(), "b_dec": torch.zeros(d)})


def random(d: int, width: int, k: int, center: Tensor, seed: int) -> SAE:
    """Random unit rows read by the k largest products: what a dictionary gets for nothing."""
    rows = torch.randn(width, d, generator=torch.Generator().manual_seed(seed))
    rows /= rows.norm(dim=1, keepdim=True)
    tensors = {"W_enc": rows.T.contiguous(), "b_enc": torch.zeros(width), "W_dec": rows, "b_dec": center.clone()}
    return SAE("topk", tensors, k=k)


def pca(x: Tensor, width: int | None = None) -> SAE:
    """Principal components of x (sample, d) about its mean, both signs of each, so that latents are not below 0.

    width: number of latents, at most 2 d (twice the components); all by default. The best linear reconstruction at its rank.
    """
    d = x.shape[1]
    width = 2 * d if width is None else width
    if not 2 <= width <= 2 * d or width % 2:
        raise UserError(f"pca width {width}: an even number between 2 and {2 * d} (two signs of each of {d} components)")
    mean = x.mean(0)
    _, _, rows = torch.linalg.svd(x - mean, full_matrices=False)
    if len(rows) < width // 2:
        raise UserError(f"pca of {len(x)} samples: {width // 2} components need at least as many")
    both = torch.cat([rows[: width // 2], -rows[: width // 2]])
    return SAE("standard", {"W_enc": both.T.contiguous(), "b_enc": torch.zeros(width), "W_dec": both, "b_dec": mean})


def scaled(sae: SAE, scale: float) -> SAE:
    """The SAE of inputs that were multiplied by `scale` before it was trained, made to read them as they are.

    Activations are in units of the raw input afterwards. Both sides of the site are taken to be scaled alike.
    """
    if not (scale > 0 and math.isfinite(scale)):
        raise UserError(f"scale {scale}: the inputs have no size, or none that is finite")
    t = dict(sae.tensors)
    for name in ("b_enc", "b_dec", "b_gate", "b_mag", "threshold"):
        if name in t:
            t[name] = t[name] / scale
    return SAE(sae.kind, t, sae.k, sae.centred, sae.rescaled, sae.metadata)
