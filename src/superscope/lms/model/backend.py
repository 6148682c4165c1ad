"""The one module that knows TransformerLens: configs and state dicts in, `HookedTransformer` out.

TransformerLens 3.9 is pinned because 4.x removed HookedTransformer. Everything is loaded *unprocessed*: LayerNorm weights
are not folded and nothing is centred. Folding would change what SoLU models compute between `hook_mid` and `hook_post`
(`fold_ln` moves `mlp.ln.w` into W_out), and a measure of neurons must see the network that was trained.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from superscope.lms.model.transformer import Shape

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


def hugging_face(folder: Path, gguf: str | None = None) -> HookedTransformer:
    """A model saved by `transformers` in a local folder (or as a GGUF file in it): causal language models, and T5.

    T5 becomes a `HookedEncoderDecoder`; everything else a HookedTransformer.
    """
    lens = _lens()
    from transformer_lens import loading_from_pretrained as loading
    from transformers import AutoConfig, AutoModelForCausalLM, T5ForConditionalGeneration

    options: dict[str, Any] = {"local_files_only": True, **({"gguf_file": gguf} if gguf else {})}
    t5 = AutoConfig.from_pretrained(folder, **options).model_type == "t5"
    model = (T5ForConditionalGeneration if t5 else AutoModelForCausalLM).from_pretrained(folder, dtype=torch.float32, **options)
    with tempfile.TemporaryDirectory(prefix="hf-") as plain:  # TransformerLens guesses the architecture from names in the path
        model.config.architectures = [type(model).__name__]
        # transformers 5 no longer writes two names that TransformerLens reads. T5 has relative positions and no longest input.
        if model.config.model_type == "gpt2":
            model.config.n_ctx = model.config.n_positions
        if t5:
            model.config.n_positions = 512
        model.config.save_pretrained(plain)
        config = loading.get_pretrained_model_config(plain, fold_ln=False, device="cpu")
        state = loading.get_pretrained_state_dict(plain, config, model, dtype=torch.float32)
    config.tokenizer_name = None  # the folder's tokenizer.json is read by `model`
    if t5:
        config.attention_dir = "bidirectional"  # the decoder's cross-attention is refused otherwise
        hooked = lens.HookedEncoderDecoder(config, move_to_device=False)
    else:
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
