"""Path patching: what a component tells ONE later component, everything between them held still.

After Wang et al. 2022 (IOI, arXiv 2211.00593) and Goldowsky-Dill et al. 2023: the sender's output is exchanged for its output
on other tokens, but only the receiver hears it. Its input is the clean stream plus what the exchange adds (the stream is a
sum, so nothing between needs to be run); from the receiver on the model runs as it does. `Paths.total` exchanges the sender
for everybody; where the model is linear, the total is the sum over all receivers (each head's values, each MLP, the logits).

Misleads: what several receivers do together is not the sum of what each does alone where they are not linear (compare with
`total`); an exchanged output may be one the receiver never meets (off distribution); and a LayerNorm rescales the rest of the
receiver's input, too, unless it is frozen (`freeze_norm`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from superscope.lms.model.interventions import Hook
from superscope.lms.model.language_model import LanguageModel
from superscope.lms.shelf import ModelError


@dataclass(frozen=True)
class Head:
    """An attention head. As a receiver: `reads` its "q", "k" or "v" input."""

    layer: int
    head: int
    reads: Literal["q", "k", "v"] = "v"


@dataclass(frozen=True)
class MLP:
    """An MLP, or some of its `neurons` (all when None)."""

    layer: int
    neurons: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Embedding:
    """What the tokens put into the stream (a sender)."""


@dataclass(frozen=True)
class Logits:
    """The final residual stream, read by the final LayerNorm and the unembedding (a receiver)."""


Sender = Head | MLP | Embedding
Receiver = Head | MLP | Logits


@dataclass(frozen=True)
class Paths:
    """Exchange what components write on `clean` tokens (row, position) for what they write on `corrupted` ones, path by path.

    corrupted: tokens of the same shape, or None for the sender's mean over rows and positions (mean ablation).
    freeze_norm: receivers divide by the LayerNorm scale of the clean run (paths are linear up to the receiver then).
    """

    model: LanguageModel
    clean: Tensor
    corrupted: Tensor | None = None
    freeze_norm: bool = False

    def __post_init__(self) -> None:
        cfg: Any = self.model.hooked.cfg
        if self.corrupted is not None and self.corrupted.shape != self.clean.shape:
            raise ModelError(
                f"clean {tuple(self.clean.shape)} and corrupted {tuple(self.corrupted.shape)} tokens do not pair up"
            )
        if self.model.is_encoder_decoder or getattr(cfg, "use_normalization_before_and_after", False):
            raise ModelError(f"{self.model.name} adds nothing to a stream that its components alone make up: no path patching")

    @cached_property
    def _values(self) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        names = ["hook_embed", "hook_pos_embed"]
        for layer in range(self.model.n_layers):
            names += [f"blocks.{layer}.{end}" for end in ("hook_resid_pre", "hook_resid_mid", "attn.hook_z", "mlp.hook_post")]
            names += [f"blocks.{layer}.{norm}.hook_scale" for norm in ("ln1", "ln2")]
        other = None if self.corrupted is None else self.model.activations(self.corrupted, _known(self.model, names))
        return self.model.activations(self.clean, _known(self.model, names)), other

    def change(self, senders: Sequence[Sender]) -> dict[Sender, Tensor]:
        """(row, position, d_model) of each sender: what the exchange adds to the stream."""
        clean, other = self._values
        out = {}
        for one in senders:
            before = _written(self.model, one, clean)
            out[one] = (before.mean(dim=(0, 1), keepdim=True) if other is None else _written(self.model, one, other)) - before
        return out

    def hooks(self, senders: Sequence[Sender] | Sender, receivers: Sequence[Receiver] | Receiver) -> list[Hook]:
        """TransformerLens hooks that let the receivers, and nobody else, hear the senders' exchange. For `model.loss`."""
        change = self.change(_many(senders))
        out = []
        for one in _many(receivers):
            heard = [delta for sender, delta in change.items() if _before(sender, one)]
            if not heard:
                raise ModelError(f"{one} reads nothing of {', '.join(map(str, change))}: a receiver comes after its senders")
            out += self._tell(one, sum(heard[1:], heard[0]))
        return out

    def patched(
        self, senders: Sequence[Sender] | Sender, receivers: Sequence[Receiver] | Receiver, names: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """With the paths exchanged: "logits" (row, position, vocabulary), and the values at the hooks `names`."""
        return self._run(self.hooks(senders, receivers), names)

    def total(self, senders: Sequence[Sender] | Sender, names: Sequence[str] = ()) -> dict[str, Tensor]:
        """The same with the senders exchanged for everybody."""
        hooks = []
        for one, delta in self.change(_many(senders)).items():
            hook = "hook_embed" if isinstance(one, Embedding) else f"blocks.{one.layer}.hook_{_kind(one)}_out"
            hooks.append((hook, _adding(delta)))
        return self._run(hooks, names)

    def receivers(self, sender: Sender) -> list[Receiver]:
        """Everything that can hear it: the queries, keys and values of later heads, later MLPs, the logits."""
        cfg = self.model.hooked.cfg
        every: list[Receiver] = []
        for layer in range(self.model.n_layers):
            every += [Head(layer, head, reads) for head in range(cfg.n_heads) for reads in ("q", "k", "v")]
            every += [MLP(layer)] if self.model.d_mlp else []
        return [one for one in [*every, Logits()] if _before(sender, one)]

    @torch.inference_mode()
    def _run(self, hooks: list[Hook], names: Sequence[str]) -> dict[str, Tensor]:
        self.model.check_tokens(self.clean)
        kept: dict[str, Tensor] = {}

        def keep(value: Tensor, hook: Any) -> None:
            kept[hook.name] = value.detach().clone()

        watched = [(name, keep) for name in names]
        kept["logits"] = self.model.hooked.run_with_hooks(self.clean, return_type="logits", fwd_hooks=[*hooks, *watched])
        return kept

    def _tell(self, receiver: Receiver, delta: Tensor) -> list[Hook]:
        w: Any = self.model.hooked
        if isinstance(receiver, Logits):
            return [(f"blocks.{self.model.n_layers - 1}.hook_resid_post", _adding(delta))]
        clean, block = self._values[0], w.blocks[receiver.layer]
        place = f"blocks.{receiver.layer}"
        if isinstance(receiver, Head):
            normed = self._normed(block.ln1, f"{place}.ln1.hook_scale", clean[f"{place}.hook_resid_pre"] + delta)
            if w.cfg.positional_embedding_type == "shortformer" and receiver.reads != "v":
                normed = normed + clean["hook_pos_embed"]
            attn, name = block.attn, receiver.reads.upper()
            new = normed @ getattr(attn, f"W_{name}")[receiver.head] + getattr(attn, f"b_{name}")[receiver.head]
            return [(f"{place}.attn.hook_{receiver.reads}", _putting(new[:, :, None], [receiver.head]))]
        stream = "hook_resid_pre" if w.cfg.parallel_attn_mlp else "hook_resid_mid"
        norm = block.ln1 if w.cfg.parallel_attn_mlp else block.ln2
        scale = f"{place}.{'ln1' if w.cfg.parallel_attn_mlp else 'ln2'}.hook_scale"
        normed = self._normed(norm, scale, clean[f"{place}.{stream}"] + delta)
        which = list(range(self.model.d_mlp)) if receiver.neurons is None else list(receiver.neurons)
        mlp = block.mlp
        gated = hasattr(mlp, "W_gate")
        pre = normed @ (mlp.W_gate if gated else mlp.W_in)[:, which] + (0 if gated else mlp.b_in[which])
        hooks = [(f"{place}.mlp.hook_pre", _putting(pre, which))]
        return [*hooks, (f"{place}.mlp.hook_pre_linear", _putting(normed @ mlp.W_in[:, which], which))] if gated else hooks

    @torch.inference_mode()
    def _normed(self, norm: Any, scale: str, stream: Tensor) -> Tensor:
        """The receiver's input behind its LayerNorm; the scale is that of the clean run where it is frozen."""
        clean = self._values[0]
        kind = self.model.hooked.cfg.normalization_type
        if not self.freeze_norm or kind is None:
            return norm(stream)
        centred = stream - stream.mean(dim=-1, keepdim=True) if kind.startswith("LN") else stream
        centred = centred / clean[scale]
        if kind in ("LN", "RMS"):
            centred = centred * norm.w
        return centred + norm.b if kind == "LN" else centred


def _many(one: Any) -> list[Any]:
    return list(one) if isinstance(one, list | tuple) else [one]


def _known(model: LanguageModel, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in model.hooked.hook_dict]


def _kind(component: Head | MLP) -> str:
    return "attn" if isinstance(component, Head) else "mlp"


def _before(sender: Sender, receiver: Receiver) -> bool:
    """Does the receiver read a stream that the sender has written to? (An MLP reads the heads of its own layer.)"""
    if isinstance(receiver, Logits) or isinstance(sender, Embedding):
        return True
    same = sender.layer == receiver.layer and isinstance(sender, Head) and isinstance(receiver, MLP)
    return sender.layer < receiver.layer or same


def _written(model: LanguageModel, sender: Sender, values: dict[str, Tensor]) -> Tensor:
    """(row, position, d_model) what a sender writes, without its layer's bias."""
    w: Any = model.hooked
    if isinstance(sender, Embedding):
        return values["hook_embed"]
    block = w.blocks[sender.layer]
    if isinstance(sender, Head):
        return values[f"blocks.{sender.layer}.attn.hook_z"][:, :, sender.head] @ block.attn.W_O[sender.head]
    post = values[f"blocks.{sender.layer}.mlp.hook_post"]
    which = slice(None) if sender.neurons is None else list(sender.neurons)
    return post[..., which] @ block.mlp.W_out[which]


def _adding(delta: Tensor) -> Callable[..., Tensor]:
    def hook(value: Tensor, hook: Any = None) -> Tensor:
        return value + delta

    return hook


def _putting(new: Tensor, which: list[int]) -> Callable[..., Tensor]:
    """Put `new` at the entries `which` of the axis behind (row, position)."""

    def hook(value: Tensor, hook: Any = None) -> Tensor:
        value = value.clone()
        value[:, :, which] = new
        return value

    return hook
