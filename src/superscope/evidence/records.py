"""Where findings lie: ``<out>/<problem>/<preset>-<digest>/``, the user's own and those that come with superscope."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from superscope import store

DEFAULT_OUT = Path("runs")
FINDINGS = "findings.json"


def run_folder(out: Path | str | None, problem: str, preset: str, config: Any, seed: int) -> Path:
    """``<out>/<problem>/<preset>-<digest of config and seed>``."""
    key = store.digest({"problem": problem, "config": config, "seed": seed})[:10]
    return Path(out or DEFAULT_OUT) / problem / f"{preset}-{key}"


def bundled_results() -> Path | None:
    """The recorded findings that come with superscope, if any do."""
    folder = store.shipped("results")
    return folder if folder.is_dir() else None


def finished_runs(problem: str, out: Path | str | None = None) -> list[Path]:
    """Folders of `problem` under `out` that hold findings, newest first (by the time they were finished)."""
    root = Path(out or DEFAULT_OUT) / problem
    folders = [path.parent for path in sorted(root.glob(f"*/{FINDINGS}"))]
    return sorted(folders, key=lambda folder: str(glance(folder).get("finished", "")), reverse=True)


def glance(folder: Path) -> dict[str, Any]:
    """The document of a finished run as it lies there, unchecked, for ordering runs; empty when it is damaged."""
    try:
        document = store.read_json(folder / FINDINGS)
    except store.StoreError:
        return {}
    return document if isinstance(document, dict) else {}


PRESETS = ("quick", "standard", "full")


def own_runs(problem: str, out: Path | str | None = None) -> list[Path]:
    """The user's own finished runs of `problem`, newest first."""
    return finished_runs(problem, Path(out or DEFAULT_OUT))


def most_telling(problem: str, out: Path | str | None = None) -> Path | None:
    """The finished run that speaks for `problem`: of the study as it is written (no field changed) before others, of the
    largest preset, the user's own before the bundled one, the newest. A quick look never hides a standard record.
    """

    def rank(folder: Path, own: bool) -> tuple[bool, int, bool, str]:
        document = glance(folder)
        preset = str(document.get("preset", ""))
        place = PRESETS.index(preset) if preset in PRESETS else -1
        return not document.get("overrides"), place, own, str(document.get("finished", ""))

    bundled = bundled_results()
    ranked = [(rank(folder, True), folder) for folder in own_runs(problem, out)]
    ranked += [(rank(folder, False), folder) for folder in (finished_runs(problem, bundled) if bundled else [])]
    return max(ranked)[1] if ranked else None


def latest(problem: str, out: Path | str | None = None, preset: str | None = None) -> Path | None:
    """The newest finished run of `problem`: the user's own when there is one, else the bundled one, else None."""
    for root in (Path(out or DEFAULT_OUT), bundled_results()):
        runs = finished_runs(problem, root) if root is not None else []
        runs = [folder for folder in runs if preset is None or folder.name.startswith(f"{preset}-")]
        if runs:
            return runs[0]
    return None
