"""Feature directions of models with two hidden dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from superscope.plots.theme import PALETTE, ROLES, figure

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go


def feature_polygon(
    W: np.ndarray,
    *,
    sweep: Sequence[object] = ("",),
    sweep_name: str = "",
    importance: Sequence[float] | None = None,
) -> go.Figure:
    """The features of a model with m = 2 as vectors in the plane, with a slider over a sweep axis.

    W: shape (sweep, 2, feature), or (2, feature) for a single picture; column i is the direction of feature i.
    `importance` (per feature) sets the opacity of the vectors.
    """
    import numpy as np

    frames = np.asarray(W, dtype=float)
    frames = frames[None] if frames.ndim == 2 else frames
    count = frames.shape[2]
    weight = np.ones(count) if importance is None else np.asarray(importance) / np.max(importance)
    reach = 1.1 * max(1.0, float(np.abs(frames).max()))
    made = figure(height=460, showlegend=False)
    turn = np.linspace(0, 2 * np.pi, 90)
    circle = {"color": ROLES["theory"], "width": 1, "dash": "dot"}
    made.add_scatter(x=np.cos(turn), y=np.sin(turn), mode="lines", line=circle, hoverinfo="skip")
    for place, frame in enumerate(frames):
        for feature in range(count):
            made.add_scatter(
                x=[0, frame[0, feature]], y=[0, frame[1, feature]], mode="lines+markers", visible=place == 0,
                line={"color": PALETTE[feature % 6], "width": 2}, marker={"size": [0, 9], "color": PALETTE[feature % 6]},
                opacity=float(0.35 + 0.65 * weight[feature]), name=f"feature {feature}",
            )  # fmt: skip
    if len(frames) > 1:
        made.update_layout(sliders=[_slider(list(sweep), sweep_name, count)], height=520)
    made.update_xaxes(range=[-reach, reach], title_text="hidden dimension 1", constrain="domain")
    made.update_yaxes(range=[-reach, reach], title_text="hidden dimension 2", scaleanchor="x")
    return made


def _slider(values: list[object], name: str, count: int) -> dict[str, object]:
    """One step per frame; the first trace, the unit circle, is always visible."""
    steps = []
    for place, value in enumerate(values):
        visible = [True] + [other == place for other in range(len(values)) for _ in range(count)]
        label = f"{value:.3g}" if isinstance(value, float) else str(value)
        steps.append({"method": "restyle", "args": [{"visible": visible}], "label": label})
    current = {"prefix": f"{name} ", "font": {"size": 13}}
    return {"steps": steps, "currentvalue": current, "pad": {"t": 48}, "bgcolor": "rgba(128,128,128,0.3)"}
