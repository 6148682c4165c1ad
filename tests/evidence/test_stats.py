"""Intervals on planted distributions, and verdicts as a table of cases."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superscope.evidence.stats import (
    Arm,
    Claim,
    Estimate,
    Rule,
    claim,
    estimate,
    estimate_difference,
    estimate_ratio,
    exact,
    fraction,
    max_statistic_null,
    permutation_test,
)

steady = settings(derandomize=True, deadline=None, max_examples=60)
finite = st.floats(-1e6, 1e6)


def between(low: float, high: float, n: int = 20) -> Estimate:
    return Estimate((low + high) / 2, low, high, n, "seeds", (low, high), "bootstrap BCa 95%")


def few(*replicates: float) -> Estimate:
    return estimate(replicates)


# --- rules


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">= 0.5", [0.5, 1, math.inf], [0.4999, -1]),
        ("> 0.5", [0.5001], [0.5, 0]),
        ("<= -1e-3", [-1e-3, -5], [0, -1e-4]),
        ("<2", [1.9], [2, 3]),
        ("within [-1, 2.5]", [-1, 0, 2.5], [-1.1, 2.6]),
        ("equals 0.571 +- 0.03", [0.541, 0.571, 0.6], [0.54, 0.602]),
        ("equals -1 ± .5", [-1.5, -0.5], [0]),
        ("excludes 0", [0.1, -3], [0]),
    ],
)
def test_rule_region(text, inside, outside):
    rule = Rule.parse(text)
    assert all(rule.holds(v) for v in inside)
    assert not any(rule.holds(v) for v in outside)
    assert not rule.holds(math.nan)


@pytest.mark.parametrize("text", ["", "0.5", "=> 1", "about 3", ">= x", "within [1]", "> 1 and < 2", "excludes", "≥ 1"])
def test_rule_rejects_other_text(text):
    with pytest.raises(ValueError, match="expected one of '>= x'") as caught:
        Rule.parse(text)
    assert repr(text) in str(caught.value)


def test_rule_rejects_empty_regions_and_non_text():
    with pytest.raises(ValueError, match="empty region"):
        Rule.parse("within [2, 1]")
    with pytest.raises(ValueError, match="empty region"):
        Rule.parse("equals 1 +- -2")
    with pytest.raises(TypeError, match="expected text"):
        Rule.parse(0.5)


@pytest.mark.parametrize(
    ("text", "low", "high", "position"),
    [
        (">= 0.5", 0.5, 0.6, "inside"), (">= 0.5", 0.4, 0.5, "across"), (">= 0.5", 0.1, 0.49, "outside"),
        ("> 0.5", 0.5, 0.6, "across"), ("> 0.5", 0.4, 0.5, "outside"),
        ("< 0.5", 0.1, 0.5, "across"), ("< 0.5", 0.5, 0.6, "outside"), ("<= 0.5", 0.5, 0.6, "across"),
        ("within [0, 1]", 0, 1, "inside"), ("within [0, 1]", -1, 2, "across"), ("within [0, 1]", 1.1, 2, "outside"),
        ("excludes 0", 0.1, 0.2, "inside"), ("excludes 0", -1, 1, "across"), ("excludes 0", 0, 1, "across"),
        (">= 0", math.nan, 1, "across"),
    ],
)  # fmt: skip
def test_rule_position(text, low, high, position):
    assert Rule.parse(text).position(low, high) == position


def test_rule_position_rejects_reversed_interval():
    with pytest.raises(ValueError, match="wrong way round"):
        Rule.parse("> 0").position(2, 1)


@steady
@given(low=finite, width=st.floats(0, 1e3), a=finite, b=finite)
def test_position_agrees_with_holds(low, width, a, b):
    rule = Rule.parse(f"within [{min(a, b)!r}, {max(a, b)!r}]")
    ends = [rule.holds(low), rule.holds(low + width)]
    assert (rule.position(low, low + width) == "inside") == all(ends)
    if any(ends):
        assert rule.position(low, low + width) != "outside"


# --- estimates


def coverage(draw, truth, make, sims=400, seed=1):
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(sims):
        found = make(draw(rng))
        hits += found.low <= truth <= found.high
    return hits / sims


@pytest.mark.parametrize(
    ("name", "draw", "truth", "stat"),
    [
        ("normal mean", lambda rng: rng.normal(3, 2, 40), 3, "mean"),
        ("exponential mean", lambda rng: rng.exponential(1, 60), 1, "mean"),
        ("normal median", lambda rng: rng.normal(3, 2, 40), 3, "median"),
    ],
)
def test_bootstrap_covers_planted_truth(name, draw, truth, stat):
    assert coverage(draw, truth, lambda v: estimate(v, stat, n_boot=600)) == pytest.approx(0.95, abs=0.03), name


def test_unpaired_difference_and_ratio_cover_planted_truth():
    def draw(rng):
        return rng.normal(5, 1, 30), rng.normal(4, 2, 40)

    difference = coverage(draw, 1, lambda ab: estimate_difference(*ab, paired=False, n_boot=500), sims=300)
    ratio = coverage(draw, 1.25, lambda ab: estimate_ratio(*ab, paired=False, n_boot=500), sims=300)
    assert difference == pytest.approx(0.95, abs=0.03)
    assert ratio == pytest.approx(0.95, abs=0.03)


def test_bca_agrees_with_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(0).exponential(1, 25)
    ours = estimate(values, n_boot=20000)
    theirs = bootstrap((values,), np.mean, n_resamples=20000, rng=np.random.default_rng(1)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.02)
    assert ours.method == "bootstrap BCa 95%"


def test_estimate_is_deterministic_and_seeded():
    values = np.random.default_rng(0).normal(size=30)
    assert estimate(values) == estimate(values)
    assert estimate(values, seed=1) != estimate(values)


def test_wider_level_gives_wider_interval():
    values = np.random.default_rng(0).normal(size=30)
    a, b = estimate(values, level=0.8), estimate(values, level=0.99)
    assert b.low < a.low < a.value < a.high < b.high
    assert a.method == "bootstrap BCa 80%"


def test_callable_statistic_over_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    rows = np.stack([x, x + rng.normal(size=60)], axis=1)
    found = estimate(rows, lambda r: np.corrcoef(r.T)[0, 1], n_boot=500)
    assert found.low < 1 / math.sqrt(2) < found.high
    assert found.replicates == ()  # the correlation of one point has no value
    assert estimate(x, np.mean, n_boot=500) == estimate(x, "mean", n_boot=500)


def test_few_replicates_are_not_bootstrapped():
    found = few(3, 1, 2)
    assert (found.value, found.low, found.high, found.n, found.method) == (2, 1, 3, 3, "every replicate")
    assert found.replicates == (3, 1, 2)
    assert estimate([1, 2, 3, 4, 5]).method.startswith("bootstrap")


def test_constant_replicates_fall_back_to_percentile():
    found = estimate([0.1] * 7)
    assert found.method == "bootstrap percentile 95%"
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_replicates_leave_no_interval(bad):
    for found in (estimate([1, 2, 3, 4, 5, bad]), estimate([1, bad])):
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_many_replicates_are_thinned_and_noted():
    found = estimate(np.arange(1000.0), n_boot=100)
    assert len(found.replicates) == 400
    assert (found.replicates[0], found.replicates[-1]) == (0, 999)
    assert found.method.endswith("400 quantiles of 1000 values kept")
    assert found.n == 1000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate([]), "at least one replicate"),
        (lambda: estimate(3.0), "at least one replicate"),
        (lambda: estimate(np.ones((6, 2))), r"shape \(6, 2\)"),
        (lambda: estimate([1, 2], "mode"), "'mode'"),
        (lambda: estimate([1, 2], level=95), "level=95"),
        (lambda: estimate([1, 2], unit="tokens"), "not tokens"),
        (lambda: estimate_difference([1, 2], [1, 2, 3], paired=True), "paired"),
        (lambda: fraction([0, 0.5]), "booleans"),
        (lambda: Estimate(1, 2, 0, 5, "seeds", (), "m"), "wrong way round"),
    ],
)
def test_errors_quote_the_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_paired_difference_is_tighter_than_unpaired():
    rng = np.random.default_rng(0)
    base = rng.normal(0, 5, 30)
    a, b = base + rng.normal(1, 0.1, 30), base
    paired, loose = estimate_difference(a, b, paired=True), estimate_difference(a, b, paired=False)
    assert paired.value == pytest.approx(loose.value)
    assert paired.high - paired.low < 0.1 * (loose.high - loose.low)
    assert paired.replicates == tuple(a - b)
    assert len(loose.replicates) == 400


def test_few_unpaired_differences_range_over_all_pairs():
    found = estimate_difference([5, 6], [1, 2, 3], paired=False)
    assert (found.low, found.high, found.n, found.method) == (2, 5, 2, "every replicate")


def test_ratio():
    rng = np.random.default_rng(0)
    b = rng.uniform(1, 2, 20)
    paired = estimate_ratio(3 * b, b, paired=True)
    assert (paired.value, paired.low, paired.high) == pytest.approx((3, 3, 3))
    assert paired.replicates == pytest.approx((3,) * 20)
    unsettled = estimate_ratio(b, rng.normal(0, 1, 20), paired=False)
    assert math.isnan(unsettled.low)
    assert math.isnan(estimate_ratio([1, 2, 3, 4, 5], [0, 0, 0, 0, 0], paired=True).value)


def test_fraction_is_wilson():
    from scipy.stats import binomtest

    flags = np.arange(20) < 17
    found = fraction(flags)
    theirs = binomtest(17, 20).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((0.85, theirs.low, theirs.high))
    assert fraction([True] * 10).high == 1
    assert fraction([True] * 10).low == pytest.approx(0.7225, abs=1e-3)
    assert fraction([False] * 10).low == 0
    assert fraction([True, False]).method == "every replicate"
    assert math.isnan(fraction([1, math.nan, 0, 1, 1, 1]).low)


def test_exact_is_a_point():
    found = exact(4 / 7)
    assert (found.low, found.high, found.method, found.few) == (4 / 7, 4 / 7, "exact", False)


@steady
@given(st.lists(finite, min_size=5, max_size=12), st.floats(0.1, 10), st.floats(-100, 100))
def test_interval_moves_with_the_data(values, scale, shift):
    values = np.array(values)
    a = estimate(values, n_boot=50)
    b = estimate(scale * values + shift, n_boot=50)
    if a.method == b.method:
        span = scale * np.abs(values).max() + abs(shift) + 1
        assert (b.low, b.high) == pytest.approx((scale * a.low + shift, scale * a.high + shift), abs=1e-6 * span)


# --- verdicts

FAILS, PASSES, UNCLEAR = between(0.1, 0.2), between(0.8, 0.9), between(0.4, 0.6)


@pytest.mark.parametrize(
    ("found", "rule", "control", "gate", "verdict", "reason"),
    [
        (PASSES, ">= 0.5", FAILS, True, "supported", "the null does not"),
        (PASSES, ">= 0.5", PASSES, True, "undecided", "passes the rule"),
        (PASSES, ">= 0.5", UNCLEAR, True, "undecided", "does not clearly fail"),
        (UNCLEAR, ">= 0.5", FAILS, True, "undecided", "crosses the edge"),
        (FAILS, ">= 0.5", FAILS, True, "refuted", "the interval fails"),
        (FAILS, ">= 0.5", PASSES, True, "refuted", "the interval fails"),
        (PASSES, ">= 0.5", FAILS, False, "gate failed", "gate"),
        (FAILS, ">= 0.5", FAILS, False, "gate failed", "gate"),
        (PASSES, "excludes 0", between(-0.1, 0.1), True, "supported", "the null does not"),
        (PASSES, "excludes 0", FAILS, True, "undecided", "passes the rule"),
        (between(-1, 1), "excludes 0", between(-0.1, 0.1), True, "undecided", "crosses the edge"),
        (between(-0.01, 0.01), "within [-0.05, 0.05]", PASSES, True, "supported", ""),
        (exact(0.5), "equals 0.5 +- 0.01", exact(0.7), True, "supported", "exact"),
        (exact(0.5), "> 0.5", exact(0.7), True, "refuted", ""),
        (few(0.8, 0.9), ">= 0.5", few(0.1, 0.2), True, "supported", ""),
        (few(0.8, 0.4), ">= 0.5", few(0.1, 0.2), True, "undecided", "2 replicates disagree"),
        (few(0.1, 0.2, 0.3), ">= 0.5", few(0.1), True, "refuted", "all 3 replicates fail"),
        (few(-3, 3), "within [-1, 1]", few(0.1), True, "refuted", "all 2 replicates fail"),
        (few(0.8, 0.9), ">= 0.5", few(0.1, 0.9), True, "undecided", "does not clearly fail"),
        (few(0.8, 0.9), ">= 0.5", few(0.6, 0.9), True, "undecided", "passes the rule"),
        (few(0.8, 0.9), "excludes 0", few(-0.1, 0.1), True, "supported", ""),
        (few(0.8, 0.9), "excludes 0", few(0.1, 0.2), True, "undecided", "passes the rule"),
        (few(0.8, -0.9), "excludes 0", few(-0.1, 0.1), True, "undecided", "disagree"),
        (estimate([1, 2, 3, 4, 5, math.nan]), ">= 0.5", FAILS, True, "undecided", "not a number"),
        (PASSES, ">= 0.5", estimate([0.1, math.nan]), True, "undecided", "the null"),
        (exact(math.nan), ">= 0.5", FAILS, True, "undecided", "not a number"),
        (estimate(np.ones((3, 2)), lambda r: math.nan if len(r) < 2 else 1.0), "> 0", FAILS, True, "undecided", "few"),
    ],
)  # fmt: skip
def test_verdict(found, rule, control, gate, verdict, reason):
    made = claim("c", "a statement", found, rule, Arm("untrained", control), gate_passed=gate)
    assert made.verdict == verdict
    assert reason in made.reason


def test_every_claim_needs_a_null():
    for nothing in (None, 0.3, FAILS):
        with pytest.raises(TypeError, match="Every claim needs an Arm"):
            claim("c", "s", PASSES, "> 0", nothing)
    with pytest.raises(TypeError):
        claim("c", "s", PASSES, "> 0")
    with pytest.raises(TypeError, match="name, estimate"):
        claim("c", "s", PASSES, "> 0", {"label": "untrained", "estimate": FAILS})
    with pytest.raises(TypeError, match="not an Estimate"):
        Arm("untrained", 0.1)
    made = claim("c", "s", PASSES, "> 0.5", {"name": "untrained", "estimate": FAILS, "why": "no training"})
    assert made.null == Arm("untrained", FAILS, "no training")


def test_no_verdict_can_be_typed_in():
    rule, control = Rule.parse(">= 0.5"), Arm("untrained", FAILS)
    for wrong in ("supported", "undecided", "excellent"):
        with pytest.raises(ValueError, match="computed, never typed in"):
            Claim("c", "s", FAILS, rule, control, verdict=wrong)
    assert Claim("c", "s", FAILS, rule, control).verdict == "refuted"
    assert Claim("c", "s", FAILS, rule, control, verdict="refuted", reason="because").reason != "because"
    with pytest.raises(ValueError, match="not that of its text"):
        Claim("c", "s", FAILS, Rule(">= 0.5", lo=0.0), control)
    with pytest.raises(TypeError, match="expected a Rule"):
        Claim("c", "s", FAILS, ">= 0.5", control)
    with pytest.raises(AttributeError):
        claim("c", "s", FAILS, ">= 0.5", control).verdict = "supported"


@steady
@given(st.tuples(finite, finite), st.tuples(finite, finite), finite, st.sampled_from([">=", ">", "<=", "<"]))
def test_supported_and_refuted_never_both_ways(found, control, edge, sign):
    """A claim and its mirror image are never both supported, and a supported one has a control that refutes it."""
    a, b = between(*sorted(found)), between(*sorted(control))
    mirror = {">=": "<", ">": "<=", "<=": ">", "<": ">="}[sign]
    made = claim("c", "s", a, f"{sign} {edge!r}", Arm("k", b))
    turned = claim("c", "s", a, f"{mirror} {edge!r}", Arm("k", b))
    assert {made.verdict, turned.verdict} != {"supported"}
    if made.verdict == "supported":
        assert turned.verdict == "refuted"
        assert claim("c", "s", b, f"{sign} {edge!r}", Arm("k", a)).verdict == "refuted"


# --- serialisation


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("found", [PASSES, FAILS, few(1, 2), exact(3.0), estimate([1, math.nan]), estimate([1, math.inf])])
def test_claim_survives_json(found, gate):
    made = claim("c", "s", found, "> 0.5", Arm("untrained", FAILS, "why"), gate_passed=gate, note="moved once")
    row = json.loads(json.dumps(made.to_dict(), allow_nan=False))
    back = Claim.from_dict(row)
    assert json.dumps(back.to_dict()) == json.dumps(made.to_dict())
    assert (back.verdict, back.note, back.null.why) == (made.verdict, "moved once", "why")
    assert set(row) >= {"id", "statement", "estimate", "interval", "rule", "null", "verdict"}


def test_loading_a_doctored_verdict_fails():
    row = claim("c", "s", FAILS, "> 0.5", Arm("untrained", FAILS)).to_dict()
    with pytest.raises(ValueError, match="computed, never typed in"):
        Claim.from_dict({**row, "verdict": "supported"})
    with pytest.raises(ValueError, match="expected one of"):
        Claim.from_dict({**row, "verdict": ""})
    assert Estimate.from_dict(FAILS.to_dict()) == FAILS


# --- nulls


def test_permutation_test_finds_a_shift_and_no_shift():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 20), rng.normal(0, 1, 20)
    assert permutation_test(a, b, draws=999).p < 0.01
    assert permutation_test(a, b, alternative="less", draws=999).p > 0.9
    assert permutation_test(a + b, b, paired=True, alternative="greater", draws=999).p < 0.01
    assert math.isnan(permutation_test([1, math.nan], [1, 2], draws=9).p)


def test_permutation_p_is_uniform_under_the_null():
    rng = np.random.default_rng(0)
    p = [permutation_test(rng.normal(size=8), rng.normal(size=8), draws=99, seed=k).p for k in range(200)]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.06)


def test_permutation_p_counts_itself():
    assert permutation_test([1, 1], [0, 0], alternative="greater", draws=99).p >= 1 / 100
    assert permutation_test([1, 1, 1], [1, 1, 1], draws=50).p == 1
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        permutation_test([1, 2], [1, 2, 3], paired=True)
    with pytest.raises(ValueError, match="alternative"):
        permutation_test([1, 2], [1, 2], alternative="bigger")


def test_maximum_statistic_pays_for_the_search():
    rng = np.random.default_rng(0)
    null = rng.normal(size=(999, 100))
    lucky = rng.normal(size=100)
    assert lucky.max() > 2  # one candidate looks significant on its own
    search = max_statistic_null(lucky, null)
    assert search.p[search.best] > 0.05
    planted = lucky.copy()
    planted[7] = 6
    found = max_statistic_null(planted, lambda r: r.normal(size=100), draws=500)
    assert (found.best, found.p[7]) == (7, 1 / 501)
    assert (np.delete(found.p, 7) > 0.05).all()
    assert found.threshold == pytest.approx(3.3, abs=0.3)
    with pytest.raises(ValueError, match="candidates"):
        max_statistic_null([1, 2], null)
    with pytest.raises(ValueError, match="not finite"):
        max_statistic_null([1, math.nan], null[:, :2])
