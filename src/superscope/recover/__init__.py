"""Taking features out: decoders of known directions, interchange, and sparse autoencoders (`recover.sae`, loaded on first use).

This is the only list of public names.
"""

from __future__ import annotations

import importlib
from typing import Any

from superscope.recover.decoders import ista, nnls, subset_search
from superscope.recover.interchange import learn_swap, right, swap
from superscope.recover.sensing import donoho_tanner, half_point, recovery

__all__ = [
    "donoho_tanner",
    "half_point",
    "ista",
    "learn_swap",
    "nnls",
    "recovery",
    "right",
    "sae",
    "subset_search",
    "swap",
]


def __getattr__(name: str) -> Any:
    if name == "sae":
        return importlib.import_module("superscope.recover.sae")
    raise AttributeError(f"module 'superscope.recover' has no attribute {name!r}")
