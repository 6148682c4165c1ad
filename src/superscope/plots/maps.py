"""Heat maps: phase diagrams and Gram matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from superscope.plots.theme import CONTINUOUS, DASHES, PALETTE, ROLES, figure

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go


def phase_diagram(
    z: np.ndarray,
    x: Sequence[float],
    y: Sequence[float],
    *,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    categories: Sequence[str] | None = None,
    x_title: str = "",
    y_title: str = "",
    z_title: str = "",
    log_x: bool = False,
    log_y: bool = False,
) -> go.Figure:
    """A heat map of z, shape (y, x), with theory `curves` on top (name -> x values, y values).

    With `categories`, z holds their indices and the colours are discrete; otherwise the scale is continuous.
    """
    import numpy as np

    made = figure(height=440)
    bar: dict[str, object] = {"title": {"text": z_title}, "thickness": 12, "outlinewidth": 0}
    where = "(%{x:.4g}, %{y:.4g})"
    look: dict[str, object] = {"colorscale": CONTINUOUS, "hovertemplate": where + ": %{z:.4g}<extra></extra>"}
    if categories is not None:
        count = len(categories)
        steps = [(edge / count, PALETTE[place % len(PALETTE)]) for place in range(count) for edge in (place, place + 1)]
        bar |= {"tickvals": list(range(count)), "ticktext": list(categories)}
        names = np.asarray(categories, dtype=object)[np.asarray(z, dtype=int)]
        look = {"colorscale": steps, "zmin": -0.5, "zmax": count - 0.5, "text": names,
                "hovertemplate": where + ": %{text}<extra></extra>"}  # fmt: skip
    made.add_heatmap(z=np.asarray(z), x=list(x), y=list(y), colorbar=bar, opacity=0.85 if categories else 1, **look)
    for place, (name, (curve_x, curve_y)) in enumerate((curves or {}).items()):
        at = {"x": list(curve_x), "y": list(curve_y), "mode": "lines", "legendgroup": name}
        made.add_scatter(**at, line={"color": "white", "width": 6}, showlegend=False, hoverinfo="skip")  # a halo
        made.add_scatter(**at, name=name, line={"color": ROLES["theory"], "width": 2.5, "dash": DASHES[place % 3]})
    made.update_xaxes(title_text=x_title, type="log" if log_x else "linear", showgrid=False, constrain="domain")
    made.update_yaxes(title_text=y_title, type="log" if log_y else "linear", showgrid=False)
    made.update_layout(showlegend=bool(curves))
    return made


def gram_heatmap(gram: np.ndarray, *, labels: Sequence[str] | None = None, bound: float | None = None) -> go.Figure:
    """W^T W (shape (feature, feature)): norms on the diagonal, interference off it, one colour per sign.

    `bound` fixes the colour range to [-bound, bound], for comparing several matrices.
    """
    import numpy as np

    gram = np.asarray(gram, dtype=float)
    names = list(labels) if labels is not None else [str(place) for place in range(len(gram))]
    limit = bound or float(np.nanmax(np.abs(gram))) or 1.0
    scale = [(0, "#D55E00"), (0.5, "rgba(128,128,128,0.06)"), (1, "#0072B2")]
    made = figure(height=420)
    made.add_heatmap(
        z=gram, x=names, y=names, zmin=-limit, zmax=limit, colorscale=scale,
        colorbar={"thickness": 12, "outlinewidth": 0}, hovertemplate="features %{y} and %{x}: %{z:.3f}<extra></extra>",
    )  # fmt: skip
    made.update_xaxes(title_text="feature", type="category", showgrid=False, constrain="domain")
    made.update_yaxes(title_text="feature", type="category", showgrid=False, autorange="reversed", scaleanchor="x")
    return made
