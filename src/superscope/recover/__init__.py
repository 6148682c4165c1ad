"""Taking features out of activations when the directions are known or suspected. This is the only list of public names."""

from __future__ import annotations

from .alignment_search import alignment_search
from .decoders import ista, nnls, subset_search
from .sensing import donoho_tanner, half_point, recovery

__all__ = ["alignment_search", "donoho_tanner", "half_point", "ista", "nnls", "recovery", "subset_search"]
