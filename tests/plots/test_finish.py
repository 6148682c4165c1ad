"""Stored figures get today's style; series that would look alike are told apart, and numbers stay."""

from __future__ import annotations

import json
import re

import plotly.graph_objects as go
import pytest

from superscope import plots
from superscope.plots.finish import finish, height, look, needs_all
from superscope.plots.schematic import MOST, WIDTH, Column, layers, transformer


def test_the_template_and_a_fixed_width_go_and_the_numbers_stay():
    figure = plots.figure(width=900, height=333)
    figure.add_scatter(x=[1, 2], y=[3, 4], name="a")
    made = finish(figure.to_json())
    assert set(made["layout"]) & {"template", "width"} == set()
    assert height(made) == 333
    assert (list(made["data"][0]["x"]), list(made["data"][0]["y"])) == ([1, 2], [3, 4])


def test_twins_get_other_looks_and_one_name_keeps_its_own_in_all_panels():
    figure = go.Figure()
    for panel in ("", "2"):
        for k in range(9):
            figure.add_scatter(x=[0, 1], y=[k, k], name=f"s{k}", mode="lines+markers", line={"color": "#0072B2"},
                               xaxis=f"x{panel}", yaxis=f"y{panel}")  # fmt: skip
    data = finish(figure.to_json())["data"]
    looks = [look(trace) for trace in data]
    assert len(set(looks)) == 18
    assert [one[2:] for one in looks[:9]] == [one[2:] for one in looks[9:]]


def test_series_beyond_the_palette_are_told_apart_without_a_colour_of_their_own():
    figure = go.Figure([go.Scatter(x=[0], y=[k], name=f"s{k}", mode="markers") for k in range(8)])
    data = finish(figure.to_json())["data"]
    assert len({look(trace, place) for place, trace in enumerate(data)}) == 8
    assert all("line" not in trace for trace in data)


def test_colours_that_are_data_are_left_alone():
    figure = go.Figure([go.Scatter(x=[0, 1], y=[0, 1], name=n, mode="markers", marker={"color": [1, 2]}) for n in "ab"])
    assert finish(figure.to_json())["data"] == json.loads(figure.to_json())["data"]


def test_three_dimensions_need_the_complete_bundle():
    assert needs_all(finish(go.Figure(go.Scatter3d(x=[1], y=[1], z=[1])).to_json()))
    assert not needs_all(finish(go.Figure(go.Heatmap(z=[[1]])).to_json()))


def test_a_drawing_has_a_dot_for_every_unit_up_to_a_point_and_says_how_many():
    small = layers([Column("features", 5), Column("dimensions", 2, hot=True), Column("outputs", 5)])
    assert small.count("<circle") == 12
    assert small.count("unit hot") == 2
    large = layers([Column("features", 400), Column("dimensions", 100), Column("<b>", None)])
    assert large.count("<circle") == MOST + round(MOST / 2) + 5
    assert ">400<" in large
    assert "<b>" not in large


def test_a_transformer_shows_where_the_study_looks():
    drawn = transformer(2, {"mlp 1", "stream 0"}, note="here")
    assert drawn.count("box hot") == 1
    assert drawn.count("stream hot") == 1
    assert drawn.count(">heads<") == drawn.count(">MLP<") == 2
    assert ">MLP<" not in transformer(2, set(), mlp=False)


@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_the_boxes_of_a_transformer_lie_within_it_and_hold_their_text(n_layers):
    text = transformer(n_layers, {"position", "embed"})
    boxes = [tuple(map(float, found)) for found in re.findall(r'<rect[^>]*? x="([-\d.]+)" y="[-\d.]+" width="([-\d.]+)"', text)]
    assert len(boxes) == 2 * n_layers + 3
    assert all(x >= 0 and x + width <= WIDTH for x, width in boxes)
    for name in ("embed", "unembed", "position"):
        x = float(re.search(rf'<text[^>]*? x="([-\d.]+)"[^>]*>{name}<', text)[1])
        assert any(left + 28 <= x <= left + width - 28 for left, width in boxes)
