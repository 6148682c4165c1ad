"""The figures show the numbers they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd

from superscope import plots
from superscope.plots.curves import POLYTOPES, STRIP_DOTS


def test_lines_by_role():
    table = pd.DataFrame({"x": [2, 1, 1, 2], "y": [4, 3, 1, 2], "arm": ["control", "control", "theory", "theory"]})
    figure = plots.lines_with_band(table, "x", "y", "arm")
    control, theory = figure.data
    assert (list(control.x), list(control.y)) == ([1, 2], [3, 4])
    assert control.line.color == plots.ROLES["control"]
    assert (theory.mode, theory.line.dash) == ("lines", "dash")


def test_bands_go_there_and_back():
    table = pd.DataFrame({"x": [1, 2], "y": [1, 2], "l": [0, 1], "h": [2, 3]})
    band = plots.lines_with_band(table, "x", "y", lo="l", hi="h").data[0]
    assert list(band.x) == [1, 2, 2, 1]
    assert list(band.y) == [2, 3, 1, 0]


def test_phase_diagram_categories():
    z = np.array([[0, 1], [2, 1]])
    figure = plots.phase_diagram(z, [1, 2], [1, 2], categories=["a", "b", "c"], curves={"theory": ([1, 2], [1, 2])})
    heat = figure.data[0]
    assert (heat.zmin, heat.zmax) == (-0.5, 2.5)
    assert heat.text.tolist() == [["a", "b"], ["c", "b"]]
    assert [trace.name for trace in figure.data[1:]] == [None, "theory"]


def test_polygon_slider_shows_one_frame_at_a_time():
    W = np.random.default_rng(0).normal(size=(3, 2, 5))
    figure = plots.feature_polygon(W, sweep=[1.0, 0.1, 0.01], sweep_name="density")
    assert [trace.visible for trace in figure.data[1:6]] == [True] * 5
    for step in figure.layout.sliders[0].steps:
        assert sum(step.args[0]["visible"]) == 6
        assert len(step.args[0]["visible"]) == len(figure.data)
    assert figure.data[1].x[1] == W[0, 0, 0]
    assert not plots.feature_polygon(W[0]).layout.sliders


def test_strip_is_sorted_thinned_and_lined():
    D = np.random.default_rng(0).uniform(size=(3, 40, 20))
    figure = plots.dimensionality_strip(D, [1, 0.1, 0.01])
    y = np.reshape(figure.data[0].y, (3, STRIP_DOTS))
    assert (np.diff(y, axis=1) >= 0).all()
    assert (y[:, 0] == D.reshape(3, -1).min(axis=1)).all()
    assert sorted(shape.y0 for shape in figure.layout.shapes) == sorted(level for level, _ in POLYTOPES.values())


def test_gram_is_symmetric_about_zero():
    heat = plots.gram_heatmap(np.array([[1.0, -2.0], [-2.0, 1.0]])).data[0]
    assert (heat.zmin, heat.zmax) == (-2, 2)


def test_histograms_share_their_bins_and_hold_the_maximum():
    figure = plots.histogram_with_null([0.0, 1.0, 2.0], [-1.0, 0.5], observed=1.5)
    null, measured = figure.data
    assert null.xbins == measured.xbins
    assert null.xbins.start == -1
    assert null.xbins.end > 2


def test_figures_are_transparent_and_inherit_the_page():
    layout = plots.figure().layout
    assert layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert layout.template.layout.font.family == "inherit"
    assert layout.height == 380
