"""Direct logit attribution: what every component of a model adds to chosen logits, with the final LayerNorm frozen.

The residual stream is a sum, and with the LayerNorm's scale held at the value it had in this run, so is every logit (Elhage
et al. 2021): of the embedding, the positions, each head, each neuron or MLP, the biases, and the biases of the final LayerNorm
and the unembedding. The parts add up to the logit to rounding, and `attribute` refuses a model of which they do not.

Misleads: it shows what a component writes directly, not what others make of it; a component that only raises the scale gets
nothing although it lowers every logit; and one logit alone may rise for all tokens together: use `against`, a difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from superscope.lms.model.language_model import LanguageModel
from superscope.lms.shelf import ModelError

_ROUNDING = 1e-3  # of the largest logit: beyond it the model computes something that is not in the parts


@dataclass(frozen=True)
class Attribution:
    """labels: (component,) such as "embedding", "L0 head 3", "L1 MLP", "L1 neuron 17"; parts: (component, row, position,
    target) what each adds; logits: (row, position, target) what the model says. `parts.sum(0)` is `logits` to rounding."""

    labels: list[str]
    parts: Tensor
    logits: Tensor

    def part(self, label: str) -> Tensor:
        """(row, position, target) of one component."""
        if label not in self.labels:
            raise KeyError(f"no component {label!r}: there are {', '.join(self.labels[:6])}, ...")
        return self.parts[self.labels.index(label)]

    @property
    def residue(self) -> float:
        """The largest difference between a logit and the sum of its parts."""
        return float((self.parts.sum(dim=0) - self.logits).abs().max())


@torch.inference_mode()
def attribute(
    model: LanguageModel, tokens: Tensor, targets: Tensor, against: Tensor | None = None, neurons: bool = False
) -> Attribution:
    """Attribute the logits of `targets` at every position of `tokens` (row, position) to the model's components.

    targets: (row, position) or (row, position, target) token ids, whose logits are wanted at each position; against: ids of the
    same shape, or one that broadcasts, whose logits are taken off. neurons: a component per neuron in place of each MLP (the
    parts are then layers * d_mlp times as large as the targets: a few rows at a time).
    ModelError for models that are no pre-norm sum (post-norm, encoder-decoder, mixtures of experts, capped logits).
    """
    _check(model)
    w: Any = model.hooked
    targets = targets[..., None] if targets.ndim == 2 else targets
    names = {name for layer in range(model.n_layers) for name in _hooks(model, layer)}
    values = model.activations(tokens, [*names, "hook_embed", "hook_pos_embed", "ln_final.hook_scale"])
    logits = model.logits(tokens)
    chosen, direction, constant = logits.gather(-1, targets), w.W_U.T[targets], w.b_U[targets]
    if against is not None:
        against = (against[..., None] if against.ndim == 2 else against).expand_as(targets)
        chosen = chosen - logits.gather(-1, against)
        direction, constant = direction - w.W_U.T[against], constant - w.b_U[against]
    direction, shift = _through_final_norm(w, direction, values.get("ln_final.hook_scale"))
    labels, parts = [], []
    for label, part in _components(model, values, direction, neurons):
        labels.append(label)
        parts.append(part)
    total = torch.cat([*parts, shift[None], constant[None]])
    names_of_all = [name for label in labels for name in label]
    out = Attribution([*names_of_all, "final LayerNorm bias", "unembedding bias"], total, chosen)
    if out.residue > _ROUNDING * (1 + float(logits.abs().max())):
        raise ModelError(f"the parts of {model.name} miss its logits by {out.residue:.3g}: it adds something that is not known")
    return out


def _check(model: LanguageModel) -> None:
    cfg = model.hooked.cfg
    odd = {
        "an encoder-decoder": model.is_encoder_decoder,
        "a mixture of experts": bool(getattr(cfg, "num_experts", None)),
        "one that normalises what is added to the stream": bool(getattr(cfg, "use_normalization_before_and_after", False)),
        "one with capped logits": float(getattr(cfg, "output_logits_soft_cap", 0) or 0) > 0,
    }
    if found := [what for what, here in odd.items() if here]:
        raise ModelError(f"{model.name} is {' and '.join(found)}: its logits are no sum over components")


def _hooks(model: LanguageModel, layer: int) -> list[str]:
    block = f"blocks.{layer}"
    return [f"{block}.attn.hook_z", *([f"{block}.mlp.hook_post"] if model.d_mlp else [])]


def _through_final_norm(w: Any, direction: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """(row, position, target, d) what the stream is multiplied with, and (row, position, target) what the norm's bias adds."""
    kind = w.cfg.normalization_type
    shift = torch.zeros(direction.shape[:-1])
    if kind in ("LN", "RMS"):
        if kind == "LN":
            shift = direction @ w.ln_final.b
        direction = direction * w.ln_final.w
    if kind in ("LN", "LNPre"):
        direction = direction - direction.mean(dim=-1, keepdim=True)  # centring the stream is centring what reads it
    return (direction if scale is None else direction / scale[:, :, None]), shift


def _components(
    model: LanguageModel, values: dict[str, Tensor], direction: Tensor, neurons: bool
) -> Iterator[tuple[list[str], Tensor]]:
    """Labels (component,) and parts (component, row, position, target)."""
    w: Any = model.hooked

    def read(written: Tensor) -> Tensor:
        return torch.einsum("...d,...td->...t", written, direction)[None]

    yield ["embedding"], read(values["hook_embed"])
    if w.cfg.positional_embedding_type == "standard":  # shortformer and rotary positions are never in the stream
        yield ["positions"], read(values["hook_pos_embed"])
    for layer, block in enumerate(w.blocks):
        z, *post = (values[name] for name in _hooks(model, layer))
        output = block.attn.W_O
        yield (
            [f"L{layer} head {head}" for head in range(len(output))],
            torch.stack([read(z[:, :, head] @ output[head])[0] for head in range(len(output))]),
        )
        yield [f"L{layer} attention bias"], read(block.attn.b_O.expand(*z.shape[:2], -1))
        if post and neurons:
            gain = torch.einsum("...td,nd->n...t", direction, block.mlp.W_out)
            yield [f"L{layer} neuron {one}" for one in range(len(gain))], gain * post[0].movedim(-1, 0)[..., None]
        elif post:
            yield [f"L{layer} MLP"], read(post[0] @ block.mlp.W_out)
        if post:
            yield [f"L{layer} MLP bias"], read(block.mlp.b_out.expand(*z.shape[:2], -1))
