"""The figures show the numbers they were given."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from superscope import plots
from superscope.evidence import stats
from superscope.plots.curves import POLYTOPES, STRIP_DOTS


def claim(values, rule, control=(0.0, 0.1, 0.2, 0.1, 0.05, 0.0)):
    return stats.claim("c", "s", stats.estimate(values), rule, {"name": "n", "estimate": stats.estimate(control)})


def axis(figure):
    return figure.layout.xaxis


def test_claims_show_every_replicate_and_the_interval():
    made = claim([0.9, 1.0, 1.1, 1.05, 0.95, 1.2], ">= 0.5")
    figure = plots.claims_figure([made])
    dots, interval = figure.data[2:4]  # the null's lane is below
    assert tuple(dots.x) == made.estimate.replicates
    assert interval.x[0] - interval.error_x.arrayminus[0] == pytest.approx(made.estimate.low)
    assert interval.x[0] + interval.error_x.array[0] == pytest.approx(made.estimate.high)
    region = figure.layout.shapes[0]
    low, high = axis(figure).range
    assert (region.x0, region.x1) == (0.5, high)
    assert low < 0 < 1.2 < high


@pytest.mark.parametrize(("rule", "ends"), [("within [-0.1, 0.3]", (-0.1, 0.3)), ("excludes 0", (0, 0))])
def test_the_region_of_a_rule(rule, ends):
    region = plots.claims_figure([claim([1.0, 1.1, 0.9, 1.0, 1.0], rule)]).layout.shapes[0]
    assert (region.x0, region.x1) == ends


def test_each_claim_has_its_own_axis_and_logs_when_values_span_decades():
    wide = claim([1e-6, 2e-6, 1e-6, 1e-6, 3e-6], "<= 1e-4", control=(0.5, 0.4, 0.5, 0.6, 0.5))
    figure = plots.claims_figure([claim([1.0] * 6, "> 0.5"), wide])
    assert axis(figure).type == "linear"
    assert figure.layout.xaxis2.type == "log"
    assert figure.layout.xaxis2.range[0] < math.log10(1e-6)
    assert len(figure.data) == 8


def test_claims_survive_nan():
    figure = plots.claims_figure([claim([math.nan] * 6, ">= 0.5")])
    assert all(math.isfinite(end) for end in axis(figure).range)


def test_no_claims_no_crash():
    assert len(plots.claims_figure([]).data) == 0


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
