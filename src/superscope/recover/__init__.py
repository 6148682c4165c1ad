"""Taking features out of activations when the directions are known or suspected. This is the only list of public names."""

from __future__ import annotations

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
    "subset_search",
    "swap",
]
