"""Pictures of the polygons of problems 4.7, 4.8 and 4.9."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from superscope import plots
from superscope.inputs.features import Levels, ValueLaw
from superscope.plots.theme import PALETTE, ROLES, SYMBOLS, faded
from superscope.studies.value_laws.figures import panels, side_by_side
from superscope.studies.value_laws.laws import support

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from superscope.studies.value_laws.polygons import Polygons

CIRCLE = np.linspace(0, 2 * np.pi, 120)

Frame = tuple[str, tuple[tuple[str, int], tuple[str, int]]]  # slider label, and what the two panels show: (law, n) each


def corners(made: Polygons, frames: Sequence[Frame], prefix: str, first: int = 0) -> go.Figure:
    """What the hidden layer holds when one feature is on: two networks side by side, and a slider over `frames`.

    Per feature, in units of the largest value: the hidden vectors v W_i over the values of the law (a dot for a single value,
    a bar for an interval), and the cap {h : W_i . h + b_i > 0} in which output i answers. Exact storage needs every dot in its
    own cap and in no other; values down to 0 need the cap to reach down to the origin.
    """
    figure = panels(2, [" ", " "], height=560, gap=0.04)
    drawn: list[tuple[int, dict[str, Any]]] = []
    spans, layouts = [], []
    for _, pair in frames:
        pictures = [made.picture(law, n) for law, n in pair]
        # Some optima for one value have no longest member: the axes are cut off at norm 4.
        reach = 1.35 * max(min(float(np.linalg.norm(W, axis=0).max()), 4.0) for W, _ in pictures)
        start = len(drawn)
        for column, ((law, _), (W, b)) in enumerate(zip(pair, pictures, strict=True), 1):
            drawn += [(column, trace) for trace in _corner_traces(W, b, made.laws[law], reach)]
        spans.append(range(start, len(drawn)))
        layout: dict[str, Any] = {f"{axis}axis{column}.range": [-reach, reach] for axis in "xy" for column in ("", "2")}
        layouts.append(layout | {f"annotations[{k}].text": _corner_title(made, *one) for k, one in enumerate(pair)})
    for place, (column, trace) in enumerate(drawn):
        figure.add_trace({**trace, "visible": place in spans[first]}, row=1, col=column)
    steps = [
        {"method": "update", "label": label, "args": [{"visible": [place in span for place in range(len(drawn))]}, layout]}
        for (label, _), span, layout in zip(frames, spans, layouts, strict=True)
    ]
    slider = {"steps": steps, "active": first, "currentvalue": {"prefix": prefix, "font": {"size": 13}}, "pad": {"t": 36},
              "bgcolor": "rgba(128,128,128,0.3)"}  # fmt: skip
    figure.update_layout(layouts[first], showlegend=False, sliders=[slider], margin={"t": 40})
    for column, anchor in ((1, "x"), (2, "x2")):
        figure.update_xaxes(title_text="hidden dimension 1", constrain="domain", row=1, col=column)
        title = "hidden dimension 2" if column == 1 else ""
        figure.update_yaxes(title_text=title, scaleanchor=anchor, row=1, col=column)
    return figure


def _corner_title(made: Polygons, law: str, n: int) -> str:
    rows = made.table[(made.table.law == law) & (made.table.n == n)]
    best = rows.loc[rows.loss.idxmin()]
    return f"{n} features, values {law}: loss {best.loss:.3f}, mean norm {best['mean norm']:.2f}"


def _corner_traces(W: np.ndarray, b: np.ndarray, law: ValueLaw, reach: float) -> list[dict[str, Any]]:
    """Unit circle, then per feature its cap and its hidden vectors."""
    low, high = support(law)
    dotted = {"color": ROLES["theory"], "width": 1, "dash": "dot"}
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "x": np.cos(CIRCLE), "y": np.sin(CIRCLE), "mode": "lines", "line": dotted, "hoverinfo": "skip"}
    ]
    for i in range(W.shape[1]):
        colour, norm = PALETTE[i % 6], float(np.linalg.norm(W[:, i]))
        cut = -float(b[i]) / high / max(norm, 1e-9)  # distance of the edge of the cap from the origin
        x, y = _cap(W[:, i] / max(norm, 1e-9), cut, reach) if norm > 0.1 else ([], [])
        traces.append({"type": "scatter", "x": x, "y": y, "mode": "lines", "fill": "toself", "fillcolor": faded(colour, 0.1),
                       "line": {"color": faded(colour, 0.6), "width": 1}, "hoverinfo": "skip"})  # fmt: skip
        ends = np.outer(W[:, i], (low / high, 1.0))
        traces.append({"type": "scatter", "x": ends[0], "y": ends[1], "mode": "lines+markers", "name": f"feature {i}",
                       "line": {"color": colour, "width": 4}, "marker": {"color": colour, "size": [10 * (low == high), 10]},
                       "hovertemplate": f"feature {i}: norm {norm:.2f}, bias {b[i] / high:.2f}<extra></extra>"})  # fmt: skip
    return traces


def _cap(unit: np.ndarray, cut: float, radius: float) -> tuple[list[float], list[float]]:
    """Outline of the part of a disc of `radius` beyond the line unit . h = cut."""
    if cut >= radius:
        return [], []
    half = np.arccos(np.clip(cut / radius, -1, 1))
    angle = np.arctan2(unit[1], unit[0]) + np.linspace(-half, half, 40)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return [*x.tolist(), float(x[0])], [*y.tolist(), float(y[0])]


def polygon_losses(made: Polygons, laws: Sequence[str]) -> go.Figure:
    """1-sparse loss over n: best k-gon in theory (lines) and every trained seed (symbols)."""
    chosen = made.table[made.table.law.isin(list(laws))]
    return theory_and_seeds(chosen, "n", "law", "features n in two dimensions")


def theory_and_seeds(table: pd.DataFrame, x: str, group: str, x_title: str, prefix: str = "") -> go.Figure:
    """Columns theory (a line) and loss (a symbol per row) over x, one colour per group."""
    figure = plots.figure(height=420)
    for place, (key, rows) in enumerate(table.groupby(group, sort=False)):
        name, colour = f"{prefix}{key}", PALETTE[place % 6]
        line = rows.groupby(x).theory.first()
        figure.add_scatter(x=line.index, y=line, mode="lines", name=name, legendgroup=name,
                           line={"color": colour, "width": 1.5}, hoverinfo="skip")  # fmt: skip
        figure.add_scatter(x=rows[x], y=rows.loss, mode="markers", legendgroup=name, showlegend=False,
                           marker={"color": colour, "symbol": f"{SYMBOLS[place % 6]}-open", "size": 9},
                           hovertemplate="%{x}: %{y:.4f}<extra>" + name + "</extra>")  # fmt: skip
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text="loss / loss of answering 0")
    return figure


def answers(made: Polygons, laws: Sequence[str], sizes: tuple[int, int]) -> go.Figure:
    """Output of every feature to being on alone with value v, best network of each law, in units of the largest value.

    Marks: the levels of a discrete law. Straight through the origin: v is read out as it is.
    """
    shown = []
    for n in sizes:
        panel = plots.figure()
        x = np.linspace(0, 1, 101)
        panel.add_scatter(x=x, y=x, mode="lines", name="right answer", legendgroup="right answer",
                          line={"color": ROLES["theory"], "dash": "dot", "width": 1.5})  # fmt: skip
        for place, law in enumerate(laws):
            W, b = made.picture(law, n)
            shape, colour = made.laws[law], PALETTE[place]
            top = support(shape)[1]
            at = np.array(shape.values if isinstance(shape, Levels) else ()) / top
            for i, gain in enumerate((W**2).sum(0)):
                same = {"name": law, "legendgroup": law, "showlegend": i == 0, "hoverinfo": "skip"}
                panel.add_scatter(x=x, y=np.maximum(gain * x + b[i] / top, 0), mode="lines", **same,
                                  line={"color": faded(colour, 0.6), "width": 1.5})  # fmt: skip
                if len(at):
                    panel.add_scatter(x=at, y=np.maximum(gain * at + b[i] / top, 0), mode="markers", legendgroup=law,
                                      showlegend=False, marker={"color": colour, "size": 9})  # fmt: skip
        panel.update_xaxes(title_text="value v / largest value")
        panel.update_yaxes(title_text="answer / largest value", range=[-0.05, 1.4])
        shown.append(panel)
    return side_by_side(shown, [f"{n} features in two dimensions" for n in sizes], share_y=True)
