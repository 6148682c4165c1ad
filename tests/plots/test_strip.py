"""The strip of a claim shows the numbers it was given, at the places they belong."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from superscope.evidence import stats
from superscope.plots.strip import DOTS, Axis, claim_strip

NAME = "{http://www.w3.org/2000/svg}"


def row(values, rule, control=(0.0, 0.1, 0.2, 0.1, 0.05, 0.0)):
    made = stats.claim("c", "s", stats.estimate(values), rule, {"name": "n", "estimate": stats.estimate(control)})
    return made.to_dict()


def parts(text, kind, where=""):
    root = ElementTree.fromstring(text)
    groups = [group for group in root.iter(f"{NAME}g") if where in ("", group.get("class"))] if where else [root]
    return [one for group in groups for one in group.iter() if (one.get("class") or "").split(" ")[0] == kind]


def percent(one, key):
    return float(one.get(key).removesuffix("%"))


@pytest.mark.parametrize("at", [1.0, 1000.0, 1e5])
def test_ticks_close_together_are_told_apart(at):
    values = [at + 0.001 * step for step in (1, 2, 3, 2, 1, 3)]
    texts = [text for _, text in Axis(row(values, f">= {at + 0.0025}", values)).ticks()]
    assert len(texts) >= 2
    assert len(set(texts)) == len(texts)


def test_every_replicate_the_interval_and_the_region():
    claim = row([0.9, 1.0, 1.1, 1.05, 0.95, 1.2], ">= 0.5")
    axis, text = Axis(claim), claim_strip(claim)
    dots = [percent(one, "cx") for one in parts(text, "dot", "measured")]
    assert dots == pytest.approx([axis.at(value) for value in sorted(claim["estimate"]["replicates"])], abs=0.006)
    line = parts(text, "span", "measured")[0]
    ends = [percent(line, key) for key in ("x1", "x2")]
    assert ends == pytest.approx([axis.at(end) for end in claim["interval"]], abs=0.006)
    (region,) = parts(text, "region")
    assert percent(region, "x") == pytest.approx(axis.at(0.5), abs=0.006)
    assert percent(region, "x") + percent(region, "width") == pytest.approx(100, abs=0.02)
    assert 0 < axis.at(0.0) < axis.at(1.2) < 100


def test_the_region_of_an_interval_and_of_an_excluded_value():
    claim = row([1.0, 1.1, 0.9, 1.0, 1.0], "within [-0.1, 0.3]")
    (region,) = parts(claim_strip(claim), "region")
    axis = Axis(claim)
    assert percent(region, "width") == pytest.approx(axis.at(0.3) - axis.at(-0.1), abs=0.02)
    claim = row([1.0, 1.1, 0.9, 1.0, 1.0], "excludes 0")
    text = claim_strip(claim)
    assert parts(text, "region") == []
    assert [percent(one, "x1") for one in parts(text, "edge")] == pytest.approx([Axis(claim).at(0)], abs=0.006)


def test_values_over_decades_have_a_log_axis_with_powers_of_ten():
    axis = Axis(row([1e-6, 2e-6, 1e-6, 1e-6, 3e-6], "<= 1e-4", control=(0.5, 0.4, 0.5, 0.6, 0.5)))
    assert axis.log
    assert axis.at(1e-4) == pytest.approx((axis.at(1e-5) + axis.at(1e-3)) / 2)
    assert all(re.fullmatch(r"1e-?\d+", text) for _, text in axis.ticks())
    assert not Axis(row([1.0] * 6, "> 0.5")).log


@pytest.mark.parametrize("values", [[0.0, 0.3, 0.7, 1.0, 0.5], [1e-7, 2e-7, 1.5e-7, 1e-7, 2e-7], [-4000.0, 9000, 1, 2, 3]])
def test_ticks_are_round_few_and_inside(values):
    axis = Axis(row(values, "> 0.0"))
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 6
    assert all(0 <= axis.at(value) <= 100 for value, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


def test_nan_has_no_place_and_breaks_nothing():
    text = claim_strip(row([math.nan] * 6, ">= 0.5"))
    assert "nan" not in re.sub(r"<title>.*?</title>|aria-label=\"[^\"]*\"", "", text).lower()
    assert parts(text, "dot", "measured") == []
    assert parts(text, "dot", "null")


def test_many_replicates_are_thinned_to_their_ranks():
    text = claim_strip(row([k / 1000 for k in range(1000)], ">= 0.5"))
    dots = [percent(one, "cx") for one in parts(text, "dot", "measured")]
    assert len(dots) == DOTS
    assert dots == sorted(dots)


def test_text_is_escaped():
    claim = {**row([1.0] * 6, "> 0.5"), "column": '"><script>alert(1)</script>'}
    assert "<script>" not in claim_strip(claim)
