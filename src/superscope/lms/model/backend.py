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
from dataclasses import fields
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


def config_fields() -> set[str]:
    """Every field of HookedTransformerConfig."""
    return {field.name for field in fields(_lens().HookedTransformerConfig)}


# Models whose weights Nanda and Karpathy saved in another form, by what their config.json calls the architecture.
_OLD_FORMS = {"neel-solu-old": "convert_neel_solu_old_weights", "mingpt": "convert_mingpt_weights"}


def from_config(config: dict[str, Any], state: dict[str, Tensor]) -> HookedTransformer:
    """A HookedTransformer from its config's fields and a state dict.

    Raises ValueError for weights that are missing, left over, of another shape or no floating-point numbers, and for masks or
    tables in the state dict that are not those which the config makes: a sign that it does not say all.
    """
    lens = _lens()
    fixed = {"device": "cpu", "seed": None, "init_weights": False}
    model = lens.HookedTransformer(lens.HookedTransformerConfig.from_dict({**config, **fixed}), move_to_device=False)
    if form := _OLD_FORMS.get(str(config.get("original_architecture"))):
        from transformer_lens import loading_from_pretrained as loading

        state = getattr(loading, form)(state, model.cfg)
    wanted, tables = dict(model.named_parameters()), dict(model.named_buffers())
    problems = {
        "missing": wanted.keys() - state.keys(),
        "left over": state.keys() - wanted.keys() - tables.keys(),
        "of another shape": {n for n, p in wanted.items() if n in state and state[n].shape != p.shape},
        "not floating-point": {n for n in wanted if n in state and not state[n].is_floating_point()},
        "not what the config makes": {n for n in tables if n in state and not _same(state[n], tables[n])},
    }
    if any(problems.values()):
        said = "; ".join(f"{what}: {', '.join(sorted(names)[:5])}" for what, names in problems.items() if names)
        raise ValueError(f"the weights do not fit the config ({said})")
    model.load_state_dict({name: state[name].float() for name in wanted}, strict=False)  # the config makes the rest
    return _frozen(model)


def _same(theirs: Tensor, ours: Tensor) -> bool:
    """Equal where both have a value: a mask may be of another length, or empty until it is needed."""
    if theirs.ndim != ours.ndim:
        return False
    both = tuple(slice(min(a, b)) for a, b in zip(theirs.shape, ours.shape, strict=True))
    return torch.allclose(theirs[both].float(), ours[both].float(), atol=1e-4)


def published(name: str) -> HookedTransformer:
    """A model by its TransformerLens name, from the hub or its local cache, unprocessed."""
    _offline_unless_reachable()
    return _frozen(_lens().HookedTransformer.from_pretrained_no_processing(name, device="cpu", dtype=torch.float32))


def hugging_face(folder: Path, gguf: str | None = None) -> HookedTransformer:
    """A model saved by `transformers` in a local folder (or as a GGUF file in it): causal language models, and T5.

    T5 becomes a `HookedEncoderDecoder`; everything else a HookedTransformer. Raises ValueError when weights are missing or
    left over, and when the two do not give the same log-probabilities.
    """
    lens = _lens()
    from transformer_lens import loading_from_pretrained as loading
    from transformers import AutoConfig, AutoModelForCausalLM, T5ForConditionalGeneration

    if (folder / "adapter_config.json").exists():
        raise ValueError("it is an adapter: merge it into its model (merge_and_unload) and save that")
    options: dict[str, Any] = {
        "local_files_only": True, "trust_remote_code": False, **({"gguf_file": gguf} if gguf else {}),
    }  # fmt: skip
    t5 = AutoConfig.from_pretrained(folder, **options).model_type == "t5"
    kind: Any = T5ForConditionalGeneration if t5 else AutoModelForCausalLM
    model, report = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **options)
    model.eval()
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):  # transformers makes them up, or drops them
        if names := sorted(map(str, report.get(what, ()))):
            raise ValueError(f"its weights do not fit its config ({what.replace('_', ' ')}: {', '.join(names[:5])})")
    with tempfile.TemporaryDirectory(prefix="hf-") as plain:  # TransformerLens guesses the architecture from names in the path
        model.config.architectures = [type(model).__name__]
        # transformers 5 no longer writes two names that TransformerLens reads. T5 has relative positions and no longest input.
        if model.config.model_type == "gpt2":
            model.config.n_ctx = model.config.n_positions
        if t5:
            model.config.n_positions = 512
        model.config.save_pretrained(plain)
        config = loading.get_pretrained_model_config(plain, fold_ln=False, device="cpu")
        _rotary(config, model.config)
        state = loading.get_pretrained_state_dict(plain, config, model, dtype=torch.float32)
    _biases(state, model, config)
    config.tokenizer_name = None  # the folder's tokenizer.json is read by `model`
    if t5:
        config.attention_dir = "bidirectional"  # the decoder's cross-attention is refused otherwise
        hooked = lens.HookedEncoderDecoder(config, move_to_device=False)
    else:
        hooked = lens.HookedTransformer(config, move_to_device=False)
    hooked.load_state_dict(loading.fill_missing_keys(hooked, state), strict=False)
    _check_conversion(model, _frozen(hooked), t5)
    return hooked


def _rotary(config: Any, theirs: Any) -> None:
    """Width of the heads and scaling of rotary positions, which TransformerLens can compute but reads for named models only."""
    width = getattr(theirs, "head_dim", None)
    if width and width != config.d_head == config.rotary_dim:
        config.d_head = config.rotary_dim = width
        config.attn_scale = width**0.5
    rope = getattr(theirs, "rope_parameters", None) or {}
    if rope.get("rope_type") == "linear":
        config.rotary_scaling_factor = rope["factor"]
    elif rope.get("rope_type") == "llama3":
        config.use_NTK_by_parts_rope = True
        config.NTK_by_parts_factor = rope["factor"]
        config.NTK_by_parts_low_freq_factor = rope["low_freq_factor"]
        config.NTK_by_parts_high_freq_factor = rope["high_freq_factor"]
        config.NTK_original_ctx_len = rope["original_max_position_embeddings"]


def _biases(state: dict[str, Tensor], model: Any, config: Any) -> None:
    """Biases of the attention where the Llama family has them: TransformerLens sets them to zero."""
    for layer, block in enumerate(getattr(getattr(model, "model", None), "layers", ())):
        for name, there in (("b_Q", "q_proj"), ("b_K", "k_proj"), ("b_V", "v_proj"), ("b_O", "o_proj")):
            bias = getattr(getattr(block.self_attn, there, None), "bias", None)
            for place in (f"blocks.{layer}.attn.{name}", f"blocks.{layer}.attn._{name}"):
                if bias is not None and place in state:
                    state[place] = bias.detach().view(state[place].shape)


def _check_conversion(theirs: Any, ours: Any, t5: bool) -> None:
    """ValueError when the log-probabilities of some random tokens differ: TransformerLens reads some configs only in part.

    Rows are long enough to reach past a sliding window, where there is one within 2,000 tokens.
    """
    config = theirs.config
    longest = min(ours.cfg.n_ctx, getattr(config, "max_position_embeddings", None) or ours.cfg.n_ctx)
    window = getattr(config, "sliding_window", None) or getattr(config, "window_size", None) or 0
    length = min(longest, max(48, window + 16 if window < 2000 else 0))
    tokens = torch.randint(config.vocab_size, (2, length), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        if t5:
            start = torch.full((2, 1), config.decoder_start_token_id)
            output = torch.cat([start, tokens[:, :8]], dim=1)
            pair = theirs(input_ids=tokens, decoder_input_ids=output).logits, ours(tokens, output)
        else:
            pair = theirs(input_ids=tokens).logits, ours(tokens, return_type="logits")
        wanted, got = (logits.float()[..., : config.vocab_size].log_softmax(-1) for logits in pair)
        # Rounding grows with the size of the logits: GPT-2's are about -100 and agree to 3e-4.
        scale = max(1.0, float(pair[0].abs().max()) / 30)
        off = float((wanted - got).abs().max())
    if not off <= 1e-3 * scale:
        kind = f"{config.model_type} ({', '.join(config.architectures or [type(theirs).__name__])})"
        raise ValueError(
            f"converted to TransformerLens, this {kind} gives other log-probabilities than transformers, by {off:.2g} nats: "
            "its config asks for something that TransformerLens does not do"
        )


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
