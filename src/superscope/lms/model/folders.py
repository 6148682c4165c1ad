"""What others left in a model folder, read strictly: config, weights, tokenizer. What cannot be honoured is refused.

A folder is in HookedTransformer format (TransformerLens' own fields, or the ones of Nanda's toy models) or saved by
`transformers`; its weights are one file or numbered shards, its BOS is what its own files say.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from superscope.lms.corpus.tokenizer import Tokenizer, read_inner
from superscope.lms.model import backend
from superscope.lms.shelf import TOKENIZER, ModelError

# What a training leaves beside the weights.
_LEFTOVERS = ("optimizer", "scheduler", "scaler", "rng_state", "training_args")
# Tokens that usually open a row, most telling first; <pad> starts T5's decoder.
USUAL_BOS = ("<|BOS|>", "<|begin_of_text|>", "<bos>", "<s>", "<|endoftext|>", "<|im_start|>", "<pad>")
# Other names that Nanda's configs have for fields.
_ALIASES = {"normalization": "normalization_type", "architecture": "original_architecture"}
# Of the machine that saved it, or of a tokenizer that would be fetched from the hub: not of the model.
_ELSEWHERE = ("device", "n_devices", "dtype", "seed", "init_weights", "tokenizer_name", "n_params")
# What would change the computation and TransformerLens does not do, with the value at which it changes nothing.
_IMPOSSIBLE = {"load_in_4bit": False, "neuron_scale": 1, "neuron_temp": 1}


def lens_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json in HookedTransformer format as fields of HookedTransformerConfig: all of them.

    Raises ValueError for a field that is missing, contradicts another, is misspelt, or asks for what cannot be computed.
    """
    known = backend.config_fields()
    out: dict[str, Any] = {}

    def put(field: str, value: Any, name: str) -> None:
        if out.setdefault(field, value) != value:
            raise ValueError(f"config.json says {field} = {out[field]!r} and {name} = {config[name]!r}: leave one out")

    for name, value in config.items():
        field = _ALIASES.get(name, name)
        if name in _IMPOSSIBLE and value not in (None, _IMPOSSIBLE[name]):
            raise ValueError(f"config.json says {name} = {value!r}, which TransformerLens cannot compute")
        if name == "shortformer_pos":
            if value:
                put("positional_embedding_type", "shortformer", name)
        elif field in known:
            put(field, value, name)
        elif near := difflib.get_close_matches(name, known, n=1, cutoff=0.85):
            raise ValueError(f"config.json has the unknown field {name!r}; nearest is {near[0]!r}")
    if missing := {"n_layers", "d_model", "n_heads", "n_ctx", "d_vocab"} - set(out):
        raise ValueError(f"config.json lacks {', '.join(sorted(missing))}")
    for name in _ELSEWHERE:
        out.pop(name, None)
    out.setdefault("d_head", out["d_model"] // out["n_heads"])
    return out


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights in HookedTransformer format: safetensors before .pth, .pt and .bin; one, or all shards.

    Raises ModelError when there are none, several models' worth, too few shards, or only a pointer to them.
    """
    for suffix in ("safetensors", "pth", "pt", "bin"):
        files = sorted(path for path in folder.glob(f"*.{suffix}") if not path.stem.startswith(_LEFTOVERS))
        final = [path for path in files if "final" in path.stem]  # beside the checkpoints of a training
        shards = [match for path in files if (match := re.search(r"-(\d+)-of-(\d+)$", path.stem))]
        if len(final) == 1 and not shards:
            files = final
        if shards and len(shards) == len(files) and {int(one[1]) for one in shards} != set(range(1, int(shards[0][2]) + 1)):
            raise ModelError(f"{folder} holds {len(files)} of the {int(shards[0][2])} shards of its weights: fetch the others")
        if len(files) > 1 and len(shards) != len(files):
            names = ", ".join(path.name for path in files)
            raise ModelError(f"{folder} holds the weights of several models ({names}): leave the one that is meant")
        if files:
            check_files(folder, files)
            return files
    raise ModelError(f"{folder} holds no weights: neither .safetensors nor .pth, .pt or .bin")


def check_files(folder: Path, files: list[Path]) -> None:
    """ModelError when there are none, for a pointer instead of weights, and for safetensors that are cut short."""
    from safetensors import safe_open

    if not files:
        raise ModelError(f"{folder} holds no weights: neither .safetensors nor pytorch_model.bin")
    for path in files:
        with path.open("rb") as file:
            if file.read(40).startswith(b"version https://git-lfs"):
                raise ModelError(f"{path} is a git-lfs pointer, not weights: fetch them with git lfs pull")
        if path.suffix == ".safetensors":
            try:
                safe_open(path, framework="pt").__exit__(None, None, None)
            except Exception as error:  # safetensors raises its own kinds
                raise ModelError(f"{path} is damaged ({one_line(error)}): fetch it again") from None


def read_weights(files: list[Path]) -> dict[str, Tensor]:
    """The tensors of weight files; ModelError for a file that would have to run code to be read, or that holds more."""
    import safetensors.torch

    out: dict[str, Tensor] = {}
    for path in files:
        if path.suffix == ".safetensors":
            out |= safetensors.torch.load_file(path)
            continue
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # pickle, zip and torch errors alike
            raise ModelError(f"{path} cannot be read as plain weights ({one_line(error)})") from None
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ModelError(f"{path} holds more than named tensors: save only the model's state_dict()")
        out |= state
    return out


def read_tokenizer(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    """The folder's tokenizer.json, with the BOS that the folder's own files name; else the first usual one that it has."""
    path = folder / TOKENIZER
    if not path.is_file():
        raise ModelError(f"{folder} has no tokenizer.json: a model needs it beside its weights (save_pretrained of a fast one)")
    try:
        inner = read_inner(path)
    except ValueError as error:
        raise ModelError(str(error)) from None
    tried = []
    for place, stated in _stated_bos(folder, config, inner):
        found = inner.token_to_id(stated) if isinstance(stated, str) else stated
        if found is not None and inner.id_to_token(found) is not None:
            return Tokenizer(inner, found)
        tried.append(f"{stated!r} of {place}")
    for usual in USUAL_BOS:
        found = inner.token_to_id(usual)
        if found is not None:
            return Tokenizer(inner, found)
    raise ModelError(
        f"{path} has no token that opens every row: tried {', '.join([*tried, *USUAL_BOS])}; "
        "name it as bos_token in tokenizer_config.json"
    )


def _stated_bos(folder: Path, config: Mapping[str, Any], inner: Any) -> Iterator[tuple[str, str | int]]:
    """(file, token or id) of every place where the folder says how a row, or an encoder-decoder's output, opens."""
    if config.get("is_encoder_decoder") and isinstance(config.get("decoder_start_token_id"), int):
        yield "config.json", config["decoder_start_token_id"]
    for name, key in (
        ("tokenizer_config.json", "bos_token"),
        ("special_tokens_map.json", "bos_token"),
        ("config.json", "bos_token_id"),
        ("generation_config.json", "bos_token_id"),
    ):
        try:
            stated = json.loads((folder / name).read_bytes())[key]
        except (OSError, ValueError, KeyError, TypeError):  # absent, or says nothing
            continue
        stated = (
            stated.get("content") if isinstance(stated, dict) else stated[0] if isinstance(stated, list) and stated else stated
        )
        if isinstance(stated, str | int) and not isinstance(stated, bool) and (isinstance(stated, str) or stated >= 0):
            yield name, stated
    plain, opened = (inner.encode("a", add_special_tokens=special).ids for special in (False, True))
    if len(opened) > len(plain) and opened[0] != plain[0]:
        yield TOKENIZER, opened[0]


def one_line(error: BaseException) -> str:
    """The first words of an error from a library: its type when it says nothing."""
    text = " ".join(str(error).split())
    return f"{text[:220]}..." if len(text) > 220 else text or type(error).__name__
