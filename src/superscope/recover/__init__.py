"""Taking features out of activations when the directions are known or suspected. This is the only list of public names."""

from __future__ import annotations

from .decoders import ista, nnls, subset_search
from .sensing import donoho_tanner, half_point, recovery

__all__ = ["donoho_tanner", "half_point", "ista", "nnls", "recovery", "subset_search"]
