"""Figures and tables of problems 4.7, 4.8 and 4.9 about the wide bottleneck, from the counts of `_value_laws`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from superscope import plots
from superscope.evidence import stats
from superscope.inputs.features import Levels
from superscope.plots.theme import PALETTE, SYMBOLS, line_label
from superscope.studies.value_laws import laws as value

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    import xarray as xr


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


def strips(run, data: xr.Dataset, laws: Sequence[str]) -> go.Figure:
    """Dimensionalities of all features of all seeds over density, one panel per law."""
    from superscope import measure

    D = measure.dimensionality(run.W.assign_coords(values=data["values"].values))
    made = [
        plots.dimensionality_strip(D.sel(values=law).transpose("density", ...).values, D.density.values, x_title="density p")
        for law in laws
    ]
    return side_by_side(made, [f"values {law}" for law in laws], share_y=True, height=440)


def kurtosis_curves(data: xr.Dataset, laws: value.Laws) -> go.Figure:
    """Represented features over density, and over the kurtosis of the sparse feature, where the laws should coincide."""
    table = interval_rows(data, {"represented": "represented"}, list(laws))
    table["kurtosis"] = [value.kurtosis(laws[law]) / p for law, p in zip(table.law, table.density, strict=True)]
    made = [
        plots.lines_with_band(
            table, x, "value", "law", "low", "high", log_x=True, x_title=title, y_title="represented features"
        )
        for x, title in (("density", "density p"), ("kurtosis", "kurtosis E x⁴ / (E x²)²"))
    ]
    return side_by_side(made, ["at equal density", "at equal kurtosis"], share_y=True)


def level_curves(data: xr.Dataset, positions: Mapping[str, float], x_title: str) -> go.Figure:
    """Shares of represented features near 1/2, 2/5 and 3/8, means over log density, for laws at given positions."""
    import pandas as pd

    rows = []
    for law, at in positions.items():
        for name, level in (("1/2", "digon"), ("2/5", "pentagon"), ("3/8", "square antiprism")):
            held = data["levels"].sel(level=level, values=law).transpose("seed", "density").values
            e = stats.estimate(value.log_mean(held, data.density.values), n_boot=1000)
            rows.append({"at": at, "level": f"D = {name}", "share": e.value, "low": e.low, "high": e.high})
    return plots.lines_with_band(
        pd.DataFrame(rows), "at", "share", "level", "low", "high", x_title=x_title, y_title="share of represented features"
    )


def cost_curves(data: xr.Dataset, laws: Sequence[str], reference: str) -> go.Figure:
    """Loss of every law over that of a reference law at the same density, both as shares of the loss of answering 0."""
    import pandas as pd

    parts = []
    for law in laws:
        ratio = data["loss"].sel(values=law) / data["loss"].sel(values=reference)
        low, mean, high = (getattr(ratio, what)("seed").values for what in ("min", "mean", "max"))
        parts.append(pd.DataFrame({"law": law, "density": data.density.values, "ratio": mean, "low": low, "high": high}))
    return plots.lines_with_band(
        pd.concat(parts), "density", "ratio", "law", "low", "high", log_x=True, x_title="density p",
        y_title=f"loss relative to {reference}",
    )  # fmt: skip


def against_shape(data: xr.Dataset, laws: value.Laws, what: str, title: str) -> go.Figure:
    """One number per law (mean over log density) against two summaries of its shape; discrete and continuous laws apart."""
    shapes = {
        "smallest over largest value": lambda law: value.support(law)[0] / value.support(law)[1],
        "kurtosis E v⁴ / (E v²)² of the values": value.kurtosis,
    }
    shown = []
    for name, shape in shapes.items():
        panel = plots.figure()
        for place, (kind, discrete) in enumerate((("levels", True), ("uniform", False))):
            chosen = [law for law, one in laws.items() if isinstance(one, Levels) == discrete]
            found = [stats.estimate(value.per_seed(data, what, law), n_boot=1000) for law in chosen]
            bar = {"type": "data", "symmetric": False, "array": [e.high - e.value for e in found],
                   "arrayminus": [e.value - e.low for e in found], "width": 4}  # fmt: skip
            panel.add_scatter(
                x=[shape(laws[law]) for law in chosen], y=[e.value for e in found], mode="markers+text", name=kind, error_y=bar,
                legendgroup=kind, text=chosen, textposition=f"middle {'right' if discrete else 'left'}", textfont={"size": 11},
                marker={"symbol": SYMBOLS[place], "color": PALETTE[place], "size": 10},
            )  # fmt: skip
        edges = [shape(law) for law in laws.values()]
        room = 0.25 * (max(edges) - min(edges))  # for the names
        panel.update_xaxes(title_text=name, range=[min(edges) - room, max(edges) + room])
        panel.update_yaxes(title_text=title)
        shown.append(panel)
    return side_by_side(shown, ["", ""], share_y=True)


# --- layout ---------------------------------------------------------------------------------------------------------------


def panels(count: int, titles: Sequence[str], height: int, gap: float = 0.08, share_y: bool = False) -> go.Figure:
    """`count` subplots in a row in the house style; titles are annotations 0 .. count-1."""
    from plotly.subplots import make_subplots

    figure = make_subplots(1, count, subplot_titles=list(titles), horizontal_spacing=gap, shared_yaxes=share_y)
    figure.update_layout(plots.figure(height=height).layout)
    figure.update_annotations(font_size=13)
    return figure


def side_by_side(figures: Sequence[go.Figure], titles: Sequence[str], share_y: bool = False, height: int = 420) -> go.Figure:
    """Figures of one kind as panels in a row; one legend, since traces of a kind share their legend group."""
    whole = panels(len(figures), titles, height, share_y=share_y)
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
        whole.update_xaxes(title_text=x.title.text, type=x.type, range=x.range, row=1, col=column)
        whole.update_yaxes(title_text=y.title.text if column == 1 else "", type=y.type, range=y.range, row=1, col=column)
    if any(figure.layout.showlegend is False for figure in figures):
        whole.update_layout(showlegend=False)
    whole.update_layout(legend={"y": 1.12}, margin={"t": 64, "r": 40})
    return whole


# --- tables ---------------------------------------------------------------------------------------------------------------


def count_table(data: xr.Dataset) -> pd.DataFrame:
    """Means over seeds of every number of `counts` but the levels, one row per law and density."""
    means = data.drop_dims("level").mean("seed").to_dataframe().reset_index()
    return means.rename(columns={"values": "law"})


def level_table(data: xr.Dataset) -> pd.DataFrame:
    """Share of represented features near the dimensionality of each polytope, means over seeds; a feature between two
    neighbouring levels (2/5 and 3/8) may count for both."""
    means = data["levels"].mean("seed").to_dataset("level").to_dataframe().reset_index()
    return means.rename(columns={"values": "law"})
