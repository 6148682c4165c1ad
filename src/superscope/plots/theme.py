"""Colours and the Plotly template: readable on light and dark pages, and by colour-blind readers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Okabe & Ito 2008, "Color Universal Design", without black and yellow, which vanish on a dark or a light page.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
ROLES = {"treatment": "#0072B2", "control": "#D55E00", "plant": "#CC79A7", "theory": "#808080", "rule": "#009E73"}
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
CONTINUOUS = "Cividis"
GRID = "rgba(128,128,128,0.22)"
TEXT = "#777777"  # readable on white and on black; a page may set its own


@cache
def template() -> go.layout.Template:
    import plotly.graph_objects as go

    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": GRID, "ticks": "", "automargin": True,
            "exponentformat": "power",
            "title": {"standoff": 8}}  # fmt: skip
    return go.layout.Template(
        layout={
            "colorway": PALETTE,
            "font": {"family": "inherit", "size": 13, "color": TEXT},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 56, "r": 16, "t": 24, "b": 48},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
            "hoverlabel": {"font": {"family": "inherit"}, "namelength": 40},
        }
    )


def figure(**layout: Any) -> go.Figure:
    """An empty figure in the house style; `layout` as in `plotly.graph_objects.Layout`."""
    import plotly.graph_objects as go

    return go.Figure(layout={"template": template(), "height": 380, **layout})


def colour_of(name: str, place: int) -> str:
    """The colour of a role, or else the next colour of the palette."""
    return ROLES.get(name, PALETTE[place % len(PALETTE)])


def faded(colour: str, opacity: float) -> str:
    """``#RRGGBB`` as rgba."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def line_label(text: str, **place: Any) -> dict[str, Any]:
    """An annotation without an arrow, for naming a reference line."""
    return {"text": text, "showarrow": False, "font": {"size": 11}, **place}
