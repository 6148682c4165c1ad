"""The bundled SAEs: ``saes/MODEL/NAME/`` holds cfg.json and sae_weights.safetensors (float16) of SAELens' format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from superscope import opened, store
from superscope.errors import UserError
from superscope.recover.sae.dictionary import SAE
from superscope.recover.sae.format import CONFIG, read


def folder() -> Path:
    """Where the bundled SAEs lie."""
    return store.shipped("saes")


def bundled() -> list[str]:
    """Names of the bundled SAEs, "MODEL/NAME"."""
    return sorted(path.parent.relative_to(folder()).as_posix() for path in folder().glob(f"*/*/{CONFIG}"))


def load(name: Path | str) -> SAE:
    """A bundled SAE by name, or the one in a folder of SAELens 6 format; UserError, in one line, for anything else."""
    opened.note("sae", str(name), digest(str(name)))
    if str(name) in bundled():
        return read(folder() / str(name))
    if Path(name).expanduser().is_dir():
        return read(name)
    raise UserError(f"no bundled SAE and no folder {str(name)!r}; bundled: {', '.join(bundled()) or 'none'}")


def digest(name: str) -> str:
    """Digest of an SAE's files, by the name or folder that `load` takes; "" where there is none."""
    place = folder() / name if name in bundled() else Path(name).expanduser()
    if not place.is_dir():
        return ""
    return store.digest({path.name: store.checksum(path.read_bytes()) for path in sorted(place.iterdir()) if path.is_file()})


def table() -> list[dict[str, Any]]:
    """One row per bundled SAE: what `superscope sae list` prints."""
    rows = []
    for name in bundled():
        config = store.read_json(folder() / name / CONFIG)
        told = config["metadata"]
        files = (folder() / name).iterdir()
        rows.append(
            {
                "name": name,
                "architecture": told.get("training_architecture", config["architecture"]),
                "latents": config["d_sae"],
                "site": told.get("hook_name", ""),
                **{key: told.get(key) for key in ("l0", "explained", "ce_score", "alive", "tokens")},
                "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1),
            }
        )
    return rows
