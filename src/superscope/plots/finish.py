"""Last touches to a stored figure before a page draws it: today's style, and no two series that look the same.

Figures are stored as Plotly JSON with the style of their day. The page brings the template (one for all its figures), so
a better style reaches old records too; numbers are never touched.
"""

from __future__ import annotations

import json
from typing import Any

from superscope.plots.theme import DASHES, PALETTE, SYMBOLS, template

Figure = dict[str, Any]
MORE_SYMBOLS = (*SYMBOLS, *(f"{symbol}-open" for symbol in SYMBOLS), "star", "hexagon", "pentagon", "triangle-down")
CARTESIAN = {"scatter", "bar", "box", "heatmap", "histogram", "violin", "contour"}  # what the small bundle draws


def finish(text: str) -> Figure:
    """The figure of stored Plotly JSON without its template and its fixed width, its series told apart."""
    stored = json.loads(text)
    figure: Figure = {"data": stored["data"], "layout": dict(stored["layout"])}
    figure["layout"].pop("template", None)
    figure["layout"].pop("width", None)
    _tell_apart(figure["data"])
    return figure


def template_json() -> str:
    """The template that pages give to every figure."""
    return json.dumps(template().to_plotly_json())


def height(figure: Figure) -> int:
    """Pixels that a page keeps free for a figure before it is drawn."""
    return int(figure["layout"].get("height") or 380)


def needs_all(figure: Figure) -> bool:
    """Has it a trace that only the complete bundle draws (three dimensions)?"""
    return any(trace.get("type", "scatter") not in CARTESIAN for trace in figure["data"])


def look(trace: dict[str, Any], place: int = 0) -> tuple[Any, ...] | None:
    """What a reader sees of a series: its panel, colour, dash (of lines) and symbol (of markers). None where colour is data.

    place: of the trace in its figure, which gives it its colour when it names none.
    """
    line, marker = trace.get("line") or {}, trace.get("marker") or {}
    mode = trace.get("mode", "lines")
    colour = (line.get("color") if "lines" in mode else None) or marker.get("color") or line.get("color")
    colour = PALETTE[place % len(PALETTE)] if colour is None else colour
    if not isinstance(colour, str) or not isinstance(marker.get("symbol", ""), str):
        return None
    dash = line.get("dash", "solid") if "lines" in mode else ""
    symbol = marker.get("symbol", "circle") if "markers" in mode else ""
    return trace.get("xaxis"), trace.get("yaxis"), colour, dash, symbol


def _tell_apart(traces: list[dict[str, Any]]) -> None:
    """Give named series that would look alike another dash and symbol, the same for one name in every panel."""
    taken: dict[tuple[Any, ...], str] = {}
    given: dict[tuple[str, str], tuple[str, str]] = {}
    for place, trace in enumerate(traces):
        name, seen = trace.get("name"), look(trace, place)
        if trace.get("type", "scatter") != "scatter" or not name or seen is None or trace.get("hoverinfo") == "skip":
            continue
        pair = given.get((name, seen[2]))
        if pair is None and taken.get(seen, name) == name:
            taken[seen] = name
            continue
        if pair is None:
            pair = next((pair for pair in _pairs(seen) if (*seen[:3], *pair) not in taken), (seen[3], seen[4]))
            given[name, seen[2]] = pair
        for part, key, value in (("line", "dash", pair[0]), ("marker", "symbol", pair[1])):
            if value:
                trace[part] = {**(trace.get(part) or {}), key: value}
        taken.setdefault((*seen[:3], *pair), name)


def _pairs(seen: tuple[Any, ...]) -> list[tuple[str, str]]:
    """Dashes and symbols to choose from, those that differ in both first; "" for what the series does not draw."""
    dashes = DASHES if seen[3] else ("",)
    symbols = MORE_SYMBOLS if seen[4] else ("",)
    both = list(zip(dashes, symbols, strict=False)) if seen[3] and seen[4] else []
    return [*both, *((dash, symbol) for symbol in symbols for dash in dashes)]
