"""What this machine can run, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from superscope import store, studies
from superscope.evidence import records

REQUIRED = (
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "xarray",
    "zarr",
    "pandas",
    "pyarrow",
    "plotly",
    "jinja2",
    "rich",
    "tyro",
)
OPTIONAL = {
    "ray": "sweeps on several machines, --executor ray (pip install ray)",
    "transformer-lens": "language models, studies 4.21 and on, zoo, neuroscope (pip install 'superscope[lm]')",
    "tokenizers": "language models (pip install 'superscope[lm]')",
}


@dataclass(frozen=True)
class Check:
    """One line of the report. Only a "missing" one keeps studies from running."""

    name: str
    state: Literal["ok", "optional", "missing"]
    detail: str


def examine(out: Path) -> list[Check]:
    """All checks; `out` is the folder where runs would be kept."""
    checks = [_python(), _machine(), _accelerator()]
    for package in REQUIRED:
        version = _version(package)
        checks.append(Check(package, "ok" if version else "missing", version or f"needed: pip install {package}"))
    for package, use in OPTIONAL.items():
        version = _version(package)
        checks.append(Check(package, "ok" if version else "optional", version or f"not here: {use}"))
    checks += [_fused(), _folder(out)]
    built = studies.built()
    checks.append(Check("studies", "ok" if built else "optional", f"{len(built)} of {len(studies.problems())} built"))
    models = len(list(store.shipped("models").glob("*/config.json")))
    checks.append(Check("bundled models", "ok" if models else "optional", f"{models} language models" if models else "none"))
    bundled = records.bundled_results()
    recorded = len(list(bundled.glob(f"*/*/{records.FINDINGS}"))) if bundled else 0
    detail = f"{recorded}, shown until you run your own" if recorded else "none came with this installation"
    checks.append(Check("recorded results", "ok" if recorded else "optional", detail))
    return checks


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _python() -> Check:
    fine = sys.version_info >= (3, 11)
    detail = platform.python_version() + ("" if fine else ", 3.11 is needed")
    return Check("Python", "ok" if fine else "missing", detail)


def _machine() -> Check:
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory"
    return Check("machine", "ok", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{memory}")


def _accelerator() -> Check:
    """What the driver says: torch itself takes seconds to import."""
    cards = [path.read_text().splitlines() for path in Path("/proc/driver/nvidia/gpus").glob("*/information")]
    names = [line.partition(":")[2].strip() for lines in cards for line in lines if line.startswith("Model")]
    if names:
        built = " (torch is a CPU build)" if _version("torch").endswith("+cpu") else ""
        return Check("accelerator", "ok", ", ".join(names) + built)
    return Check("accelerator", "optional", "none; every study runs on the CPU")


def _fused() -> Check:
    from superscope.sweep.engines import fused

    usable, detail = fused.available()
    return Check("fused engine", "ok" if usable else "optional", detail if usable else f"{detail}; torch is used instead")


def _folder(out: Path) -> Check:
    place = Path(out).resolve()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            free = shutil.disk_usage(place).free / 2**30
    except OSError as error:
        detail = f"cannot write to {str(out)!r} ({error.strerror}); choose another with --out"
        return Check("runs folder", "missing", detail)
    return Check("runs folder", "ok" if free > 1 else "optional", f"{str(out)!r} is writable, {free:.0f} GiB free")
