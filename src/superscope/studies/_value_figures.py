"""Figures of problems 4.7, 4.8 and 4.9, from the tables of `_value_laws`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from superscope import plots, stats
from superscope.plots.theme import PALETTE, ROLES, SYMBOLS, faded, line_label
from superscope.studies import _value_laws as value

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    import xarray as xr

CIRCLE = np.linspace(0, 2 * np.pi, 120)


# --- the geometry of one active feature ---------------------------------------------------------------------------------


def corners(made: value.Polygons, pair: tuple[str, str], sizes: Sequence[int]) -> go.Figure:
    """What the hidden layer holds when one feature is on, under two laws side by side, with a slider over n.

    Per feature, in units of the largest value: the hidden vectors v W_i over the values of the law (a dot for a single value,
    a bar for an interval), and the cap {h : W_i . h + b_i > 0} in which output i answers. Exact storage needs every dot in its
    own cap and in no other; values down to 0 need the cap to reach down to the origin.
    """
    figure = _panels(2, list(pair), height=480, gap=0.04)
    steps = []
    total = 2 * sum(1 + 2 * n for n in sizes)
    start = 0
    for place, n in enumerate(sizes):
        pictures = {law: made.picture(law, n) for law in pair}
        # A law of one value has no longest optimum: vectors are cut at three times the norm of the other law's.
        reach = 1.35 * max(min(float(np.linalg.norm(W, axis=0).max()), 4.0) for W, _ in pictures.values())
        traces: list[tuple[int, dict[str, Any]]] = []
        for column, law in enumerate(pair, 1):
            W, b = pictures[law]
            traces += [(column, trace) for trace in _corner_traces(W, b, made.laws[law], reach)]
        for column, trace in traces:
            figure.add_trace({**trace, "visible": place == 0}, row=1, col=column)
        visible = [start <= number < start + len(traces) for number in range(total)]
        start += len(traces)
        layout = {f"{axis}axis{column}.range": [-reach, reach] for axis in "xy" for column in ("", "2")}
        layout |= {f"annotations[{k}].text": _corner_title(made, law, n) for k, law in enumerate(pair)}
        steps.append({"method": "update", "label": str(n), "args": [{"visible": visible}, layout]})
    figure.update_layout(steps[0]["args"][1], height=560, showlegend=False)
    figure.update_layout(sliders=[{
        "steps": steps, "currentvalue": {"prefix": "features n = ", "font": {"size": 13}}, "pad": {"t": 36},
        "bgcolor": "rgba(128,128,128,0.3)",
    }])  # fmt: skip
    for column, anchor in ((1, "x"), (2, "x2")):
        figure.update_xaxes(title_text="hidden 1", constrain="domain", row=1, col=column)
        figure.update_yaxes(title_text="hidden 2" if column == 1 else "", scaleanchor=anchor, row=1, col=column)
    return figure


def _corner_title(made: value.Polygons, law: str, n: int) -> str:
    rows = made.table[(made.table.law == law) & (made.table.n == n)]
    best = rows.loc[rows.loss.idxmin()]
    return f"values {law}: loss {best.loss:.3f}, mean norm {best['mean norm']:.2f}"


def _corner_traces(W: np.ndarray, b: np.ndarray, law, reach: float) -> list[dict[str, Any]]:
    """Unit circle, then per feature its cap and its hidden vectors."""
    low, high = value.support(law)
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
                       "line": {"color": colour, "width": 4}, "marker": {"color": colour, "size": [0 if low < high else 10, 10]},
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


# --- curves ---------------------------------------------------------------------------------------------------------------


def interval_rows(data: xr.Dataset, what: Mapping[str, str], laws: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds with its interval, per law and density. what: measure -> the name it is shown under."""
    import pandas as pd

    rows = []
    for law in laws:
        for name, shown in what.items():
            for p in data.density.values:
                e = stats.estimate(data[name].sel(values=law, density=p).values, n_boot=1000)
                rows.append({"law": law, "measure": shown, "density": float(p), "value": e.value, "low": e.low, "high": e.high})
    return pd.DataFrame(rows)


def plateau_curves(data: xr.Dataset, laws: Sequence[str], roles: Mapping[str, str] | None = None) -> go.Figure:
    """Share of represented features on the 1/2 plateau over density; grey: random directions, averaged over these laws."""
    import pandas as pd

    table = interval_rows(data, {"plateau": "measured"}, laws)
    chance = data["chance"].sel(values=list(laws)).mean(["values", "seed"])
    null = pd.DataFrame({"law": "random directions", "density": data.density.values, "value": chance.values})
    null["low"] = null["high"] = null["value"]
    return plots.lines_with_band(
        pd.concat([table, null]), "density", "value", "law", "low", "high", log_x=True, x_title="density p",
        y_title="share of features with |D − 1/2| < 0.02", roles={**(roles or {}), "random directions": "theory"},
    )  # fmt: skip


COUNTS = {
    "norm count": "‖W‖² (behind D*)", "capped": "norms capped at 1", "capacity": "capacity ΣD", "represented": "‖W_i‖ > 1/2",
    "recovered": "recovered when alone",
}  # fmt: skip


def count_curves(data: xr.Dataset, laws: Sequence[str]) -> go.Figure:
    """Five ways to count features over density, one panel per law."""
    made = []
    for law in laws:
        table = interval_rows(data, COUNTS, [law])
        made.append(plots.lines_with_band(table, "density", "value", "measure", "low", "high", log_x=True, x_title="density p",
                                          y_title="features"))  # fmt: skip
    return side_by_side(made, [f"values {law}" for law in laws], share_y=True)


def polygon_losses(made: value.Polygons, laws: Sequence[str]) -> go.Figure:
    """1-sparse loss over n: best k-gon in theory (lines) and every trained seed (symbols)."""
    figure = plots.figure(height=420)
    for place, law in enumerate(laws):
        rows, colour = made.table[made.table.law == law], PALETTE[place % 6]
        line = rows.groupby("n").theory.first()
        figure.add_scatter(x=line.index, y=line, mode="lines", name=law, legendgroup=law,
                           line={"color": colour, "width": 1.5}, hoverinfo="skip")  # fmt: skip
        figure.add_scatter(x=rows.n, y=rows.loss, mode="markers", name=f"{law}, trained", legendgroup=law, showlegend=False,
                           marker={"color": colour, "symbol": f"{SYMBOLS[place % 6]}-open", "size": 9},
                           hovertemplate="n = %{x}: %{y:.4f}<extra>" + law + "</extra>")  # fmt: skip
    figure.update_xaxes(title_text="features n in two dimensions")
    figure.update_yaxes(title_text="loss / loss of answering 0")
    return figure


def strips(run, data: xr.Dataset, laws: Sequence[str]) -> go.Figure:
    """Dimensionalities of all features of all seeds over density, one panel per law."""
    from superscope import measure

    D = measure.dimensionality(run.W.assign_coords(values=data["values"].values))
    made = [
        plots.dimensionality_strip(D.sel(values=law).transpose("density", ...).values, D.density.values, x_title="density p")
        for law in laws
    ]
    return side_by_side(made, [f"values {law}" for law in laws], share_y=True, height=440)


# --- layout ---------------------------------------------------------------------------------------------------------------


def _panels(count: int, titles: Sequence[str], height: int, gap: float = 0.08, share_y: bool = False) -> go.Figure:
    """`count` subplots in a row in the house style; titles are annotations 0 .. count-1."""
    from plotly.subplots import make_subplots

    figure = make_subplots(1, count, subplot_titles=list(titles), horizontal_spacing=gap, shared_yaxes=share_y)
    figure.update_layout(plots.figure(height=height).layout)
    figure.update_annotations(font_size=12)
    return figure


def side_by_side(figures: Sequence[go.Figure], titles: Sequence[str], share_y: bool = False, height: int = 420) -> go.Figure:
    """Figures of one kind as panels in a row; one legend, since traces of a kind share their legend group."""
    whole = _panels(len(figures), titles, height, share_y=share_y)
    for column, figure in enumerate(figures, 1):
        for trace in figure.data:
            whole.add_trace(trace, row=1, col=column)
            if column > 1:
                whole.data[-1].showlegend = False
        for shape in figure.layout.shapes:
            whole.add_hline(y=shape.y0, line=shape.line.to_plotly_json(), row=1, col=column)
        for note in figure.layout.annotations if column == len(figures) else ():
            whole.add_annotation(line_label(note.text, x=1.005, xref="paper", xanchor="left", y=note.y, yanchor=note.yanchor,
                                            yref="y" if share_y else f"y{column}"))  # fmt: skip
        x, y = figure.layout.xaxis, figure.layout.yaxis
        whole.update_xaxes(title_text=x.title.text, type=x.type, row=1, col=column)
        whole.update_yaxes(title_text=y.title.text if column == 1 else "", type=y.type, range=y.range, row=1, col=column)
    if any(figure.layout.showlegend is False for figure in figures):
        whole.update_layout(showlegend=False)
    whole.update_layout(legend={"y": 1.12}, margin={"t": 64, "r": 40})
    return whole


# --- tables ---------------------------------------------------------------------------------------------------------------


def count_table(data: xr.Dataset) -> pd.DataFrame:
    """Means over seeds of every number of `counts` but the levels, one row per law and density."""
    means = data.drop_vars("levels").drop_dims("level", errors="ignore").mean("seed").to_dataframe().reset_index()
    return means.rename(columns={"values": "law"})


def level_table(data: xr.Dataset) -> pd.DataFrame:
    """Share of represented features near the dimensionality of each polytope, means over seeds; a feature between two
    neighbouring levels (2/5 and 3/8) may count for both."""
    means = data["levels"].mean("seed").to_dataset("level").to_dataframe().reset_index()
    return means.rename(columns={"values": "law"})
