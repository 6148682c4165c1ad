"""The bundled models as files: which there are, what their cards say, their digests. Reads JSON only: listing is instant.

``models/NAME/`` holds config.json (shape, recipe, losses, sha256 of the weights and of the tokenizer), model.safetensors (fp16)
and README.md (the model card); ``models/tokenizer.json`` is the tokenizer of them all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from superscope import store
from superscope.errors import UserError

TOKENIZER = "tokenizer.json"


class ModelError(UserError):
    """A model that cannot be loaded, used or trained as asked, with what to do."""


def models_folder() -> Path:
    """Where the bundled models lie."""
    return store.shipped("models")


def bundled() -> list[str]:
    """Names of the bundled models."""
    return sorted(path.parent.name for path in models_folder().glob("*/config.json"))


def replicates(name: str) -> list[str]:
    """A bundled model and its twins of other seeds: "gelu-1l-mini", "gelu-1l-mini-s1", ...; a folder stands for itself."""
    names = bundled()
    base, _, seed = name.rpartition("-s")
    if name in names:
        base = base if seed.isdigit() else name
        return [one for one in names if one == base or (one.startswith(f"{base}-s") and one[len(base) + 2 :].isdigit())]
    if Path(name).expanduser().is_dir():
        return [name]
    raise ModelError(f"no bundled model {name!r}; there are {', '.join(names) or 'none'}")


def digest(name: str) -> str:
    """Digest of a model's files, by the name or folder that `load` takes; a published model's is its name."""
    folder = models_folder() / name if name in bundled() else Path(name).expanduser()
    if not folder.is_dir():
        return f"published {name}"
    kinds = (".json", ".safetensors", ".pth", ".pt", ".bin")
    files = [path for path in sorted(folder.iterdir()) if path.suffix in kinds and path.is_file()]
    return store.digest({path.name: store.checksum(path.read_bytes()) for path in [*files, *shared_tokenizer(folder)]})


def shared_tokenizer(folder: Path) -> list[Path]:
    """The tokenizer.json beside a model folder without one of its own; [] where there is none."""
    path = folder.parent / TOKENIZER
    return [path] if path.is_file() and not (folder / TOKENIZER).is_file() else []


def table() -> list[dict[str, Any]]:
    """One row per bundled model: what `superscope zoo` prints."""
    rows = []
    for name in bundled():
        folder = models_folder() / name
        facts = store.read_json(folder / "config.json")
        shape = facts["shape"]
        rows.append(
            {
                "name": name, "layers": shape["n_layers"], "d_model": shape["d_model"], "d_mlp": shape["d_mlp"],
                "activation": shape["act_fn"] if shape["d_mlp"] else "none", "seed": facts["recipe"]["seed"],
                "tokens": facts["tokens"], "loss": facts["loss"]["sample"]["all"],
                "induction": max(max(row) for row in facts["prefix_matching"]), "ioi": min(facts["ioi"].values()),
                "megabytes": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 1),
            }
        )  # fmt: skip
    return rows
