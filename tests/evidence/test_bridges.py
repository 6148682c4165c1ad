"""Bridges: every end is a study, every recorded end has its claim, and verdicts are computed from both."""

import pytest

from superscope import studies
from superscope.evidence import bridges


def claim(verdict: str, value: float = 1.0) -> dict:
    return {"verdict": verdict, "estimate": {"value": value}}


def crossing(toy, lm, **options) -> bridges.Crossing:
    return bridges.Crossing(bridges.Bridge(("tms", "a"), ("4.25", "b"), "predicts", "shows", "why", **options), toy, lm)


@pytest.mark.parametrize(
    ("toy", "lm", "expects", "verdict"),
    [
        ("supported", "supported", "same", "agree"), ("supported", "refuted", "same", "disagree"),
        ("refuted", "refuted", "same", "agree"), ("refuted", "supported", "same", "disagree"),
        ("supported", "refuted", "opposite", "agree"), ("refuted", "refuted", "opposite", "disagree"),
        ("undecided", "supported", "same", "not comparable"), ("supported", "gate failed", "same", "not comparable"),
    ],
)  # fmt: skip
def test_verdicts_follow_from_both_ends(toy, lm, expects, verdict):
    assert crossing(claim(toy), claim(lm), expects=expects).verdict == verdict


def test_estimates_may_be_compared_instead():
    assert crossing(claim("supported", 2.0), claim("refuted", 3.9), within=2.0).verdict == "agree"
    assert crossing(claim("supported", 2.0), claim("supported", 4.1), within=2.0).verdict == "disagree"
    assert crossing(claim("supported", 2.0), claim("supported", -2.0), within=2.0).verdict == "disagree"


def test_what_is_not_recorded_cannot_be_compared():
    one = crossing(claim("supported"), None)
    assert one.verdict == "not comparable"
    assert one.why_not == "4.25 has no recorded claim 'b'"
    assert crossing(claim("undecided"), claim("supported")).why_not == "tms is undecided"


def test_every_end_is_a_study_and_every_recorded_end_has_its_claim():
    known = studies.problems()
    found = bridges.crossings()
    assert len(found) >= 12
    for one in found:
        assert one.bridge.toy[0] in known
        assert one.bridge.lm[0] in known
        assert one.bridge.toy[0] != one.bridge.lm[0]
        assert one.toy is not None, one.why_not
        assert one.lm is not None, one.why_not
    assert len({(one.bridge.toy, one.bridge.lm) for one in found}) == len(found)


def test_numbers_are_those_of_the_findings():
    one = next(one for one in bridges.crossings() if one.bridge.lm == ("4.25", "antipodes-D"))
    assert one.lm["column"] == "opposite D"
    assert bridges.shown(one.lm)
    assert bridges.shown(None) == ""
