"""Tensors and a JSON document in one safetensors file that is never torn and never half believed.

The sha256 over the document and every tensor travels in the file's own metadata, so no training ever goes on from damaged
state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superscope import store

if TYPE_CHECKING:
    from torch import Tensor


def write(path: Path, document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Replace `path` in one step."""
    import safetensors.torch

    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(document)
    data = safetensors.torch.save(held, metadata={"document": text, "sha256": digest(text, held)})
    store.atomic_write_bytes(path, data)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The document and the tensors of `path`; StoreError when it is not, to the bit, what was written."""
    import safetensors.torch

    data = store.read_bytes(path)
    try:
        length = int.from_bytes(data[:8], "little")
        kept = json.loads(data[8 : 8 + length])["__metadata__"]
        tensors = safetensors.torch.load(data)
        whole = digest(kept["document"], tensors) == kept["sha256"]
        document = json.loads(kept["document"])
    except Exception as error:  # a flipped bit can make any of them fail; safetensors raises its own kinds
        raise store.StoreError(f"{path} is damaged ({error})") from None
    if not whole:
        raise store.StoreError(f"{path} is damaged (its checksum does not match)")
    return document, tensors


def digest(document: str, tensors: Mapping[str, Tensor]) -> str:
    """sha256 over the document and the tensors by name, kind and shape."""
    seen = hashlib.sha256(document.encode())
    for name, value in sorted(tensors.items()):
        seen.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        seen.update(value.contiguous().numpy().tobytes())
    return seen.hexdigest()
