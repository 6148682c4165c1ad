"""SAEs on disk in the format of SAELens 6: cfg.json and sae_weights.safetensors, readable by either library.

SAELens 6.54: `SAE.load_from_disk` reads what `save` writes; BatchTopK and Matryoshka are kept as jumprelu, transcoders as
jumprelu_skip_transcoder. `metadata.sae_lens_version` must be there and at least 6, or SAELens takes the file for an older
layout. What SAELens' own SAEs can hold and this cannot (whitening, layer-normed inputs, hook_z) is refused by name, never
ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from superscope import store
from superscope.errors import UserError
from superscope.recover.sae.dictionary import KINDS, SAE, scaled

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
VERSION = "6.54.12"  # of SAELens, whose layout this is
SCALER = "activation_scaler.json"


def save(sae: SAE, folder: Path | str, dtype: torch.dtype = torch.float32) -> Path:
    """Write `sae` to `folder`; returns it. dtype float16 halves the file; both libraries compute in float32.

    sha256 of the weights goes into the metadata and is checked when superscope reads them again.
    """
    import safetensors.torch

    folder = Path(folder)
    data = safetensors.torch.save({name: value.to(dtype).contiguous() for name, value in sae.tensors.items()})
    transcoder = sae.kind.endswith("transcoder")
    config: dict[str, Any] = {
        "architecture": sae.kind, "d_in": sae.d_in, "d_sae": sae.n, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": sae.centred and not transcoder, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {**sae.metadata, "sae_lens_version": VERSION, "sha256": store.checksum(data)},
    }  # fmt: skip
    if sae.kind == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": sae.rescaled}
    if transcoder:
        config["d_out"] = sae.d_out
    store.atomic_write_many(folder, {WEIGHTS: data, CONFIG: store.dumps(config).encode()})
    return folder


def read(folder: Path | str) -> SAE:
    """The SAE in `folder`; UserError, in one line, for what is none or is damaged."""
    import safetensors.torch

    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"no SAE folder {str(folder)!r}")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{str(folder)!r} is no SAE in SAELens 6 format: it has no {name}")
    try:
        config = store.read_json(folder / CONFIG)
        data = store.read_bytes(folder / WEIGHTS)
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except Exception as error:  # safetensors raises kinds of its own
        raise UserError(f"{str(folder)!r} cannot be read: {' '.join(str(error).split())}") from None
    _accept(config, folder)
    metadata = dict(config.get("metadata") or {})
    if "sha256" in metadata and metadata["sha256"] != store.checksum(data):
        raise UserError(f"{str(folder / WEIGHTS)!r} is damaged: its checksum is not the one in {CONFIG}")
    tensors = {name: value.float() for name, value in tensors.items()}
    sae = SAE(
        config["architecture"], tensors, k=config.get("k"), centred=bool(config.get("apply_b_dec_to_input", True)),
        rescaled=bool(config.get("rescale_acts_by_decoder_norm", False)), metadata=metadata,
    )  # fmt: skip
    for name, found in (("d_in", sae.d_in), ("d_sae", sae.n)):
        if config.get(name) != found:
            raise UserError(f"{str(folder / CONFIG)!r} says {name}={config.get(name)}, but the weights have {found}")
    return scaled(sae, _input_scale(config, folder))


def _accept(config: Any, folder: Path) -> None:
    """Refuses what this library would compute wrongly."""
    if not isinstance(config, dict) or "architecture" not in config:
        raise UserError(
            f"{str(folder / CONFIG)!r} names no architecture: no SAE in SAELens 6 format (older ones: open and save them there)"
        )
    metadata = config.get("metadata") or {}
    if not isinstance(metadata, dict) or not str(metadata.get("sae_lens_version", "")).split(".")[0].isdigit():
        raise UserError(
            f"{str(folder / CONFIG)!r} has no metadata.sae_lens_version: saved before SAELens 6; open and save it there"
        )
    if config["architecture"] not in KINDS:
        raise UserError(f"{str(folder)!r} is a {config['architecture']!r}: superscope reads {', '.join(KINDS)}")
    for key, allowed in (("normalize_activations", ("none", "expected_average_only_in")), ("reshape_activations", ("none",))):
        if (value := config.get(key, "none")) not in allowed:
            raise UserError(f"{str(folder)!r} has {key}={value!r}: superscope reads {' or '.join(allowed)}")


def _input_scale(config: dict[str, Any], folder: Path) -> float:
    """What inputs were multiplied by in training, where SAELens kept that beside the weights instead of in them."""
    if config.get("normalize_activations", "none") == "none":
        return 1.0
    path = folder / SCALER
    if not path.is_file():
        return 1.0  # folded into the weights when it was saved, as SAELens does
    value = json.loads(path.read_text()).get("scaling_factor")
    return 1.0 if value is None else float(value)
