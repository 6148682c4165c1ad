"""What a page needs to run a small language model on the reader's own text: weights and tokenizer as one script.

`static/forward.js` computes; `obstacle` says, in words for the reader, why a model or an SAE cannot be run there.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from superscope.lms.model.language_model import LanguageModel
    from superscope.recover.sae.dictionary import SAE

MOST = 8_000_000  # weights: a page loads up to 21 MB (float16) or 43 MB (float32) of them

# What forward.js computes; any other value of these fields of a HookedTransformerConfig is another network.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "normalization_type": ("LN",), "positional_embedding_type": ("standard", "shortformer"), "attention_dir": ("causal",),
    "act_fn": ("gelu", "relu", "solu", "solu_ln"), "gated_mlp": (False,), "parallel_attn_mlp": (False,),
    "uses_rms_norm": (False,), "use_attn_scale": (True,), "scale_attn_by_inverse_layer_idx": (False,),
    "use_local_attn": (False,), "use_qk_norm": (False,), "use_normalization_before_and_after": (False,),
    "post_embedding_ln": (False,), "num_experts": (None,), "n_key_value_heads": (None,), "attn_scores_soft_cap": (-1.0,),
    "clip_qkv": (None,), "use_logn_attn": (False,), "use_attention_sinks": (False,),
}  # fmt: skip
_SITES = (
    "hook_resid_pre", "ln1.hook_normalized", "hook_attn_out", "hook_resid_mid", "ln2.hook_normalized", "mlp.hook_pre",
    "mlp.hook_mid", "mlp.hook_post", "hook_mlp_out", "hook_resid_post",
)  # fmt: skip
_BEFORE_WRITING = ("mlp.hook_pre", "mlp.hook_mid", "mlp.hook_post")  # reached without the layer's output weights


def obstacle(model: LanguageModel, hook: str) -> str:
    """Why `hook` of `model` cannot be computed in a page, as the end of a sentence; "" where it can."""
    if model.is_encoder_decoder or not model.d_mlp:
        return f"{model.name} is no decoder with an MLP"
    config = model.hooked.cfg
    for name, allowed in _PLAIN.items():
        if (value := getattr(config, name, allowed[0])) not in allowed:
            return f"{model.name} has {name} = {value}, which the page does not compute"
    if config.d_head * config.n_heads != config.d_model or abs(config.attn_scale - config.d_head**0.5) > 1e-6:
        return f"{model.name} has heads of another size than the page computes"
    site = re.fullmatch(r"blocks\.(\d+)\.(.+)", hook)
    if site is None or site[2] not in _SITES:
        return f"the page does not compute {hook}"
    if _plain_tokenizer(model) is None:
        return f"the page does not know the tokenizer of {model.name}"
    if (count := sum(value.size for value in _tensors(model, hook).values())) > MOST:
        return f"its {count / 1e6:.0f} million weights are too many for a page"
    return ""


def data(model: LanguageModel, hook: str, sae: SAE | None = None) -> dict[str, Any]:
    """What `Forward.Model` of forward.js is made of: the values at `hook`, or the latents of `sae` there.

    Weights that float16 holds exactly, as those of the bundled models, are written as float16.
    """
    config = model.hooked.cfg
    tensors = _tensors(model, hook)
    if sae is not None:
        tensors |= {f"sae.{name}": value.numpy() for name, value in sae.tensors.items() if name not in ("W_dec", "W_skip")}
        if sae.rescaled:
            tensors["sae.norm"] = sae.decoder.norm(dim=1).numpy()
    flat = np.concatenate([value.ravel() for value in tensors.values()]).astype("<f4")
    with np.errstate(over="ignore"):
        half = flat.astype("<f2")
    exact = bool((half.astype("<f4") == flat).all())
    return {
        "shape": {
            "d_model": config.d_model, "heads": config.n_heads, "n_ctx": config.n_ctx, "eps": config.eps,
            "act": config.act_fn, "layers": int(hook.split(".")[1]) + 1,
            "shortformer": config.positional_embedding_type == "shortformer",
        },
        "stop": hook,
        "sae": None if sae is None else {"kind": sae.kind, "k": sae.k, "centred": sae.centred, "rescaled": sae.rescaled},
        "tokenizer": _plain_tokenizer(model),
        "weights": {
            "float16": exact, "tensors": [[name, value.size] for name, value in tensors.items()],
            "data": base64.b64encode((half if exact else flat).tobytes()).decode(),
        },
    }  # fmt: skip


def _tensors(model: LanguageModel, hook: str) -> dict[str, np.ndarray]:
    """The parameters that the values at `hook` depend on."""
    layer, site = int(hook.split(".")[1]), hook.split(".", 2)[2]
    out = {}
    for name, value in model.hooked.named_parameters():
        block = re.match(r"blocks\.(\d+)\.", name)
        if name in ("embed.W_E", "pos_embed.W_pos"):
            out[name.split(".")[1]] = value.detach().numpy()
        elif block and int(block[1]) <= layer:
            if int(block[1]) == layer and site in _BEFORE_WRITING and name.endswith((".mlp.W_out", ".mlp.b_out")):
                continue
            out[name] = value.detach().numpy()
    return out


def _plain_tokenizer(model: LanguageModel) -> dict[str, Any] | None:
    """Vocabulary by id, merges as pairs of ids, special ids and BOS; None for a tokenizer of another recipe than ours."""
    from superscope.lms.corpus.tokenizer import PATTERN

    told = json.loads(model.tokenizer.inner.to_str())
    bpe = told["model"]
    words = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    if told["normalizer"] or told["pre_tokenizer"] != {"type": "Sequence", "pretokenizers": [words, letters]}:
        return None
    if bpe["type"] != "BPE" or any(value for name, value in bpe.items() if name not in ("type", "vocab", "merges")):
        return None
    if any(one["single_word"] or one["lstrip"] or one["rstrip"] for one in told["added_tokens"]):
        return None
    vocab, merges = bpe["vocab"], bpe["merges"]
    if sorted(vocab.values()) != list(range(len(vocab))):
        return None
    pairs = [one if isinstance(one, list) else one.split(" ") for one in merges]
    return {
        "vocabulary": sorted(vocab, key=vocab.__getitem__),
        "merges": [vocab[half] for pair in pairs for half in pair],
        "special": [one["id"] for one in told["added_tokens"]],
        "bos": model.tokenizer.bos,
    }
