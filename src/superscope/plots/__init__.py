"""Plotly figures from measured tables, in one style; nothing here computes science.

Colours have fixed roles (`ROLES`): what was done to the model, its control, theory, and the region of a rule.
"""

from __future__ import annotations

from superscope.plots.curves import dimensionality_strip, histogram_with_null, lines_with_band
from superscope.plots.geometry import feature_polygon
from superscope.plots.maps import gram_heatmap, phase_diagram
from superscope.plots.strip import claim_strip
from superscope.plots.theme import PALETTE, ROLES, figure

__all__ = [
    "PALETTE",
    "ROLES",
    "claim_strip",
    "dimensionality_strip",
    "feature_polygon",
    "figure",
    "gram_heatmap",
    "histogram_with_null",
    "lines_with_band",
    "phase_diagram",
]
