"""The forest plot of claims: each beside its null and its plant, on its own axis, over the region its rule asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from superscope import store
from superscope.plots.theme import ROLES, faded, line_label, template

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from superscope.evidence.stats import Claim

_ROW = 132  # pixels
_LOG_FROM = 1000.0  # the ratio of the largest to the smallest value from which a log axis is used


def claims_figure(claims: Sequence[Claim | dict[str, Any]]) -> go.Figure:
    """Estimate and interval of every claim, of its null and of its plant, every replicate as a dot, the rule's region shaded.

    `claims` are `Claim`s or rows of ``findings.json``. Units differ, so each claim has an axis of its own; it is
    logarithmic when its values are positive and span three decades.
    """
    from plotly.subplots import make_subplots

    rows = [claim if isinstance(claim, dict) else claim.to_dict() for claim in claims]
    figure = make_subplots(rows=max(len(rows), 1), cols=1, vertical_spacing=0.35 / max(len(rows), 1))
    for place, row in enumerate(rows, 1):
        span = _Span(row)
        lanes = _lanes(row)
        for level, (name, part) in enumerate(lanes):
            for trace in _traces(name, level, part):
                figure.add_trace(trace, row=place, col=1)
        _shade(figure, place, row["rule"], span)  # after the traces: Plotly draws no shapes on an empty subplot
        figure.update_xaxes(type=span.kind, range=span.axis_range, row=place, col=1)
        figure.update_yaxes(
            tickvals=list(range(len(lanes))), ticktext=[name for name, _ in lanes], range=[-0.6, len(lanes) - 0.4],
            showgrid=False, zeroline=False, fixedrange=True, row=place, col=1,
        )  # fmt: skip
    figure.update_layout(
        template=template(), showlegend=False, height=_ROW * max(len(rows), 1), margin={"t": 22, "b": 28, "l": 74}
    )
    return figure


def _lanes(row: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The arms of a claim from the bottom up."""
    plant = [("plant", row["plant"])] if row["plant"] else []
    return [*plant, ("null", row["null"]), ("measured", row)]


class _Span:
    """The x axis that shows everything of one claim."""

    def __init__(self, row: dict[str, Any]) -> None:
        rule = row["rule"]
        shown = [rule["lo"], rule["hi"], rule["excludes"]]
        for _, part in _lanes(row):
            shown += [part["estimate"]["value"], *part["interval"], *part["estimate"]["replicates"]]
        values = [value for value in map(store.number, shown) if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(values), max(values)
        self.kind = "log" if low > 0 and high / low > _LOG_FROM else "linear"
        if self.kind == "log":
            low, high = math.log10(low), math.log10(high)
        pad = 0.08 * (high - low) or 0.5 * abs(low) or 0.5
        self.axis_range = [low - pad, high + pad]
        self.edges = [10**edge if self.kind == "log" else edge for edge in self.axis_range]


def _shade(figure: go.Figure, place: int, rule: dict[str, Any], span: _Span) -> None:
    axes = {"row": place, "col": 1}
    excluded = store.number(rule["excludes"])
    if math.isfinite(excluded):
        figure.add_vline(x=excluded, line={"color": ROLES["rule"], "width": 2, "dash": "dot"}, **axes)
    else:
        low, high = (store.number(rule[end]) for end in ("lo", "hi"))
        region = {"x0": max(low, span.edges[0]), "x1": min(high, span.edges[1])}
        edge = {"color": ROLES["rule"], "width": 1}
        figure.add_vrect(**region, fillcolor=faded(ROLES["rule"], 0.16), line=edge, layer="below", **axes)
    corner = {"x": 1, "xref": "x domain", "xanchor": "right", "y": 1, "yref": "y domain", "yanchor": "bottom"}
    figure.add_annotation(line_label(f"rule: {rule['text']}", **corner), **axes)


def _traces(name: str, level: int, part: dict[str, Any]) -> list[dict[str, Any]]:
    """The replicates as dots, and the estimate with its interval on top."""
    colour = ROLES[{"measured": "treatment", "null": "control"}.get(name, name)]
    symbol = {"measured": "diamond", "null": "square-open", "plant": "triangle-up-open"}[name]
    estimate = part["estimate"]
    value = store.number(estimate["value"])
    low, high = map(store.number, part["interval"])
    dots = [store.number(item) for item in estimate["replicates"]]
    lanes = [level + 0.26 * (place % 5 - 2) / 2 for place in range(len(dots))]  # spread, so that equal values show
    faint = {"color": colour, "size": 5, "opacity": 0.35}
    hint = "%{x}<extra>replicate</extra>"
    cloud = {"type": "scatter", "x": dots, "y": lanes, "mode": "markers", "marker": faint, "hovertemplate": hint}
    bar = {"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low], "thickness": 2,
           "color": colour, "width": 6}  # fmt: skip
    interval = {"type": "scatter", "x": [value], "y": [level], "mode": "markers", "error_x": bar,
                "marker": {"color": colour, "size": 11, "symbol": symbol, "line": {"width": 2}},
                "hovertemplate": f"%{{x}} [{low:.4g}, {high:.4g}]<extra>{name}</extra>"}  # fmt: skip
    return [cloud, interval]
