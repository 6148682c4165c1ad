"""Which version of the code this is: the commit of the checkout that superscope runs from."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent


@cache
def commit() -> str:
    """Hex name of the commit, with "+" behind it when sources differ from it; "" where there is no checkout or no git."""
    if not (SOURCES.parents[1] / ".git").exists():  # installed into an environment that may lie in a checkout of its own
        return ""
    try:
        name = _git("rev-parse", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--", str(SOURCES)) else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    command = ["git", "-C", str(SOURCES), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
