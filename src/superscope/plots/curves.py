"""Curves, strips and histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from superscope.plots.theme import DASHES, ROLES, SYMBOLS, colour_of, faded, figure, line_label

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import plotly.graph_objects as go

# Feature dimensionalities of the polytopes of Elhage et al. 2022 (arXiv 2209.10652), and how to write them.
POLYTOPES = {
    "1": (1.0, "dedicated"),
    "3/4": (3 / 4, "tetrahedron"),
    "2/3": (2 / 3, "triangle"),
    "1/2": (1 / 2, "antipodal pair"),
    "2/5": (2 / 5, "pentagon"),
    "3/8": (3 / 8, "square antiprism"),
}

STRIP_DOTS = 300


def lines_with_band(
    table: pd.DataFrame,
    x: str,
    y: str,
    group: str | None = None,
    lo: str | None = None,
    hi: str | None = None,
    *,
    log_x: bool = False,
    log_y: bool = False,
    x_title: str = "",
    y_title: str = "",
    roles: Mapping[str, str] | None = None,
) -> go.Figure:
    """One line per value of `group` over `x`, with a band between the columns `lo` and `hi`.

    `roles` gives groups a role of `ROLES` ("treatment", "control", "theory"); theory is drawn as a thin line without
    markers. Groups differ by colour, dash and symbol.
    """
    made = figure()
    parts = [("", table)] if group is None else [(str(name), part) for name, part in table.groupby(group, sort=False)]
    for place, (name, part) in enumerate(parts):
        role = (roles or {}).get(name, name)
        colour = colour_of(role, place)
        part = part.sort_values(x)
        if lo is not None and hi is not None:
            outline = {"x": [*part[x], *part[x][::-1]], "y": [*part[hi], *part[lo][::-1]]}
            made.add_scatter(
                **outline, fill="toself", fillcolor=faded(colour, 0.18), line={"width": 0}, mode="lines",
                hoverinfo="skip", legendgroup=name, showlegend=False,
            )  # fmt: skip
        theory = role == "theory"
        made.add_scatter(
            x=part[x], y=part[y], name=name, legendgroup=name, mode="lines" if theory else "lines+markers",
            line={"color": colour, "dash": "dash" if theory else DASHES[place % 6], "width": 1.5 if theory else 2},
            marker={"symbol": SYMBOLS[place % 6], "size": 7}, showlegend=len(parts) > 1,
        )  # fmt: skip
    made.update_xaxes(title_text=x_title or x, type="log" if log_x else "linear")
    made.update_yaxes(title_text=y_title or y, type="log" if log_y else "linear")
    return made


def dimensionality_strip(
    dimensionality: np.ndarray, sweep: Sequence[float], *, x_title: str = "density", log_x: bool = True
) -> go.Figure:
    """Feature dimensionalities over a sweep axis, with the polytopes' values as reference lines.

    dimensionality: shape (sweep, ...); everything behind the first axis is one strip of dots, sorted, so that a value
    many features share is a level run. Features that are not represented (D = 0) are kept. A strip of more than 300
    features is shown by 300 of evenly spaced ranks.
    """
    import numpy as np

    values = np.sort(np.asarray(dimensionality, dtype=float).reshape(len(sweep), -1), axis=1)
    shown = np.linspace(0, values.shape[1] - 1, min(values.shape[1], STRIP_DOTS)).round().astype(int)
    values = values[:, shown]
    spread = np.linspace(-1, 1, len(shown)) if len(shown) > 1 else np.zeros(1)
    at = np.asarray(sweep, dtype=float)[:, None]
    gaps = np.abs(np.diff(np.log(at[:, 0]) if log_x else at[:, 0]))
    reach = 0.35 * (gaps.min() if len(gaps) else 1.0)
    x = at * np.exp(reach * spread) if log_x else at + reach * spread
    made = figure(height=440, showlegend=False, margin={"r": 40})
    made.add_scatter(
        x=x.ravel(), y=values.ravel(), mode="markers", hovertemplate="D = %{y:.3f}<extra></extra>",
        marker={"color": ROLES["treatment"], "size": 4, "opacity": 0.5},
    )  # fmt: skip
    for text, (level, name) in POLYTOPES.items():
        made.add_hline(y=level, line={"color": ROLES["theory"], "width": 1, "dash": "dot"})
        anchor = "top" if text == "3/8" else "bottom" if text == "2/5" else "middle"
        made.add_annotation(line_label(text, x=1.005, xref="paper", xanchor="left", y=level, yanchor=anchor, hovertext=name))
    made.update_xaxes(title_text=x_title, type="log" if log_x else "linear")
    made.update_yaxes(title_text="feature dimensionality D", range=[-0.05, 1.12])
    return made


def histogram_with_null(
    values: Sequence[float],
    null: Sequence[float],
    *,
    observed: float | None = None,
    x_title: str = "",
    names: tuple[str, str] = ("measured", "null"),
    bins: int = 40,
) -> go.Figure:
    """The distribution of a measurement over that of its null, as probabilities; `observed` marks one value."""
    made = figure(barmode="overlay")
    ends = [*values, *null]
    size = (max(ends) - min(ends) or 1.0) / bins
    edges = {"start": min(ends), "end": min(ends) + (bins + 1) * size, "size": size}  # the last bin holds the maximum
    for name, data, role in ((names[1], null, "control"), (names[0], values, "treatment")):
        made.add_histogram(
            x=list(data), name=name, xbins=edges, histnorm="probability",
            marker={"color": faded(ROLES[role], 0.5), "line": {"color": ROLES[role], "width": 1}},
        )  # fmt: skip
    if observed is not None:
        made.add_vline(x=observed, line={"color": ROLES["treatment"], "width": 2})
        made.add_annotation(line_label("observed", x=observed, y=1, yref="y domain", xanchor="left", xshift=4))
    made.update_xaxes(title_text=x_title)
    made.update_yaxes(title_text="share")
    return made
