"""The two-layer family: pre = W_in x + b_hidden, h = f(pre), y = g(W_out h + b_out).

With tied weights (W_out = W_in^T), identity f and ReLU g this is the ReLU output model of TMS (arXiv 2209.10652, section 2);
untied with ReLU f and g and target |x| it is their absolute value model (section 8).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from superscope.errors import SettingError, choice, flag, real, whole
from superscope.toys.targets import Target, get_target

if TYPE_CHECKING:
    import torch

ACTIVATIONS = ("identity", "relu", "gelu", "silu", "softplus", "tanh")


@dataclass(frozen=True)
class TwoLayer:
    """One network of the family. Every field can be an axis of a Sweep.

    n_features: number of input features n.
    n_hidden: width of the hidden layer m.
    activation: output activation g, one of ACTIVATIONS.
    hidden_activation: hidden activation f.
    sharpness: s in f_s(z) = f(s z) / s for every gelu, silu, softplus and tanh in the network. gelu, silu and softplus
        tend to relu as s grows; sharpness=inf *is* relu for them (tanh has no such limit and refuses it).
    tied: decoder is the transpose of the encoder.
    hidden_bias, output_bias: whether the layer has a bias.
    dropout: rate q of inverted dropout on h during training: kept entries are scaled by 1 / (1 - q).
    target: what y should be, a name in TARGETS or a Target.
    init_scale: multiplies the Xavier-normal initial weights, std sqrt(2 / (fan_in + fan_out)).
    init_hidden_bias: initial value of the hidden bias.
    """

    n_features: int
    n_hidden: int
    activation: str = "relu"
    hidden_activation: str = "identity"
    sharpness: float = 1.0
    tied: bool = True
    hidden_bias: bool = False
    output_bias: bool = True
    dropout: float = 0.0
    target: str | Target = "identity"
    init_scale: float = 1.0
    init_hidden_bias: float = 0.0

    def __post_init__(self) -> None:
        put = functools.partial(object.__setattr__, self)
        for name in ("n_features", "n_hidden"):
            put(name, whole(name, getattr(self, name), 1))
        for name in ("activation", "hidden_activation"):
            choice(name, getattr(self, name), ACTIVATIONS)
        for name in ("tied", "hidden_bias", "output_bias"):
            put(name, flag(name, getattr(self, name)))
        real("dropout", self.dropout, "the rate must lie in [0, 1)", 0, 1, "[)")
        real("sharpness", self.sharpness, "must be > 0 (inf turns gelu, silu and softplus into relu)", 0, np.inf, "(]")
        for name in ("init_scale", "init_hidden_bias"):
            real(name, getattr(self, name), "must be finite", -np.inf, np.inf, "()")
        get_target(self.target)
        if np.isinf(self.sharpness) and "tanh" in (self.activation, self.hidden_activation):
            raise SettingError("sharpness=inf has no meaning for tanh")
        if self.tied and self.n_outputs != self.n_features:
            raise SettingError(
                f"tied=True needs as many outputs as inputs, but target {get_target(self.target).name!r} makes "
                f"{self.n_outputs} outputs of {self.n_features} inputs: use tied=False"
            )

    @property
    def n_outputs(self) -> int:
        return get_target(self.target).outputs(self.n_features)

    @property
    def effective_activations(self) -> tuple[str, str]:
        """(hidden, output) with the limit sharpness=inf carried out."""
        if not np.isinf(self.sharpness):
            return self.hidden_activation, self.activation
        limit = {"gelu": "relu", "silu": "relu", "softplus": "relu"}
        return limit.get(self.hidden_activation, self.hidden_activation), limit.get(self.activation, self.activation)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameter names and shapes: W (hidden, feature), b_hidden, W_out (output, hidden), b_out."""
        out: dict[str, tuple[int, ...]] = {"W": (self.n_hidden, self.n_features)}
        if self.hidden_bias:
            out["b_hidden"] = (self.n_hidden,)
        if not self.tied:
            out["W_out"] = (self.n_outputs, self.n_hidden)
        if self.output_bias:
            out["b_out"] = (self.n_outputs,)
        return out

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Initial parameters, float32: Xavier-normal weights, zero output bias."""
        out: dict[str, np.ndarray] = {}
        for name, shape in self.shapes().items():
            if name.startswith("W"):
                std = self.init_scale * np.sqrt(2 / sum(shape))
                out[name] = (std * rng.standard_normal(shape)).astype(np.float32)
            else:
                out[name] = np.full(shape, self.init_hidden_bias if name == "b_hidden" else 0.0, dtype=np.float32)
        return out

    def hidden(self, params: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Hidden activations (..., P, m) of inputs (P, n) or (..., P, n); params may have leading instance dims."""
        pre = x @ params["W"].transpose(-1, -2)
        if self.hidden_bias:
            pre = pre + params["b_hidden"].unsqueeze(-2)
        return activate(self.effective_activations[0], pre, self.sharpness)

    def decode(self, params: Mapping[str, torch.Tensor], h: torch.Tensor) -> torch.Tensor:
        """Outputs (..., P, outputs) of hidden activations (..., P, m)."""
        z = h @ (params["W"] if self.tied else params["W_out"].transpose(-1, -2))
        if self.output_bias:
            z = z + params["b_out"].unsqueeze(-2)
        return activate(self.effective_activations[1], z, self.sharpness)

    def forward(self, params: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """y for inputs x (P, n) or (..., P, n), without dropout; the obvious definition the engines are tested against."""
        return self.decode(params, self.hidden(params, x))

    def replace(self, **changes: Any) -> TwoLayer:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Bottleneck(TwoLayer):
    """TMS ReLU output model x -> W x -> ReLU(W^T W x + b); activation="identity" gives the linear model."""


@dataclass(frozen=True)
class AbsoluteValue(TwoLayer):
    """TMS absolute value model |x| ~ ReLU(W_out ReLU(W x) + b): no hidden bias, as in the paper."""

    tied: bool = False
    hidden_activation: str = "relu"
    target: str | Target = "abs"


def activate(kind: str, z: torch.Tensor, sharpness: float = 1.0) -> torch.Tensor:
    """f_s(z) = f(s z) / s in torch; relu and identity do not depend on s."""
    import torch
    from torch.nn import functional

    if kind == "identity":
        return z
    if kind == "relu":
        return torch.relu(z)
    kinds: dict[str, Callable[..., torch.Tensor]] = {
        "gelu": functional.gelu,
        "silu": functional.silu,
        "softplus": functional.softplus,
        "tanh": torch.tanh,
    }
    return kinds[kind](z * sharpness) / sharpness
