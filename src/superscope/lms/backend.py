"""The one module that knows TransformerLens: configs and state dicts in, `HookedTransformer` out.

TransformerLens 3.9 is pinned because 4.x removed HookedTransformer. Everything is loaded *unprocessed*: LayerNorm weights
are not folded and nothing is centred. Folding would change what SoLU models compute between `hook_mid` and `hook_post`
(`fold_ln` moves `mlp.ln.w` into W_out), and a measure of neurons must see the network that was trained.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from superscope.lms.transformer import Shape

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer


class BackendMissingError(ImportError):
    """TransformerLens is not installed."""


def _lens() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import transformer_lens
    except ImportError:
        raise BackendMissingError("language models need TransformerLens: pip install 'superscope[lm]'") from None
    logging.getLogger().setLevel(logging.WARNING)  # it logs every processing step at INFO
    # 3.9 announces the removal of HookedTransformer at every model; the pin in pyproject.toml is the answer.
    warnings.filterwarnings("ignore", message=".*HookedTransformer is deprecated.*")
    return transformer_lens


def from_shape(shape: Shape, state: dict[str, Tensor]) -> HookedTransformer:
    """A trained `Transformer`'s parameters as a HookedTransformer in eval mode, float32."""
    config = {
        "n_layers": shape.n_layers, "d_model": shape.d_model, "d_head": shape.d_head, "n_heads": shape.n_heads,
        "d_mlp": shape.d_mlp or None, "n_ctx": shape.n_ctx, "d_vocab": shape.d_vocab, "attn_only": not shape.d_mlp,
        "act_fn": shape.act_fn if shape.d_mlp else None, "normalization_type": "LN",
        "positional_embedding_type": shape.positions,
    }  # fmt: skip
    return from_config(config, state)


def from_config(config: dict[str, Any], state: dict[str, Tensor]) -> HookedTransformer:
    """A HookedTransformer from its config's fields and a state dict; ValueError lists what does not fit."""
    lens = _lens()
    model = lens.HookedTransformer(
        lens.HookedTransformerConfig.from_dict({**config, "device": "cpu", "seed": None}), move_to_device=False
    )
    state = {name: tensor.float() for name, tensor in state.items()}
    wanted = {name for name, _ in model.named_parameters()}
    missing, wrong = wanted - set(state), {n for n, p in model.named_parameters() if n in state and state[n].shape != p.shape}
    if missing or wrong:
        raise ValueError(
            f"the weights do not fit the config: missing {sorted(missing)[:5]}, of another shape {sorted(wrong)[:5]}"
        )
    model.load_state_dict(state, strict=False)  # masks and rotary tables are buffers that the config makes
    return _frozen(model)


def published(name: str) -> HookedTransformer:
    """A model by its TransformerLens name, from the hub or its local cache, unprocessed."""
    _offline_unless_reachable()
    return _frozen(_lens().HookedTransformer.from_pretrained_no_processing(name, device="cpu", dtype=torch.float32))


def hugging_face(folder: Path) -> HookedTransformer:
    """A causal language model saved by `transformers` in a local folder."""
    lens = _lens()
    from transformer_lens import loading_from_pretrained as loading
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    config = loading.get_pretrained_model_config(str(folder), fold_ln=False, device="cpu")
    state = loading.get_pretrained_state_dict(str(folder), config, model, dtype=torch.float32)
    hooked = lens.HookedTransformer(config, move_to_device=False)
    hooked.load_state_dict(loading.fill_missing_keys(hooked, state), strict=False)
    return _frozen(hooked)


def _offline_unless_reachable() -> None:
    """Without the hub, go to the local cache at once instead of trying for half a minute."""
    import huggingface_hub.constants as hub

    if not hub.HF_HUB_OFFLINE:
        try:
            socket.create_connection(("huggingface.co", 443), timeout=3).close()
        except OSError:
            hub.HF_HUB_OFFLINE = True


def known_names() -> list[str]:
    """Every name and alias that `published` understands."""
    _lens()
    from transformer_lens import loading_from_pretrained as loading

    return [*loading.make_model_alias_map(), *loading.OFFICIAL_MODEL_NAMES]


def _frozen(model: HookedTransformer) -> HookedTransformer:
    model.eval()
    model.requires_grad_(False)
    return model
