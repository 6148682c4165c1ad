"""Rows of a table become claims: three arms, pairing, what is refused, gates, power."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from superscope.evidence.expect import Check, Expect, ExpectationError, gate, judge
from superscope.evidence.findings import Gate
from superscope.evidence.tables import NONE, arm, arms, mean_arm

PASSED = Gate("it exists", True, {})
RNG = np.random.default_rng(0)
SEEDS = range(12)


@pytest.fixture(autouse=True)
def draws(monkeypatch: pytest.MonkeyPatch):
    """The same draws in every test, whichever tests its worker ran before."""
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(0))


def noisy(centre: float, scale: float = 0.1) -> np.ndarray:
    return centre + scale * RNG.standard_normal(len(SEEDS))


def row(**changes) -> Expect:
    usual = {"of": "trained", "null": "shuffled", "plant": "planted", "why": "no structure left; planted by hand"}
    return Expect("c", "It is large", "size", **{"rule": ">= 1", **usual, **changes})


def table(trained=2.0, shuffled=0.0, planted=3.0) -> pd.DataFrame:
    values = {"trained": trained, "shuffled": shuffled, "planted": planted}
    return arms(*(arm(name, SEEDS, size=noisy(value)) for name, value in values.items()))


@pytest.mark.parametrize(
    ("values", "verdict", "reason"),
    [
        ({}, "supported", "the null does not"),
        ({"trained": 0.0}, "refuted", "fails"),
        ({"trained": 1.0}, "undecided", "crosses the edge"),
        ({"shuffled": 2.0}, "undecided", "the null passes"),
        ({"shuffled": 1.0}, "undecided", "the null does not clearly fail"),
        ({"planted": 0.0}, "undecided", "would not have seen it"),
        ({"trained": 0.0, "planted": 0.0}, "undecided", "would not have seen it"),  # a refutation needs a plant that passes
    ],
)
def test_verdicts_of_three_arms(values, verdict, reason):
    (claim,) = judge(table(**values), [row()], PASSED)
    assert claim.verdict == verdict
    assert reason in claim.reason


def test_an_arm_may_be_a_paired_difference_or_a_ratio():
    base = noisy(5.0, 2.0)  # seeds differ far more than arms do: only pairing shows it
    frame = arms(
        arm("solu", SEEDS, size=base + noisy(2.0)), arm("gelu", SEEDS, size=base), arm("other", SEEDS, size=base + noisy(0.0)),
        arm("planted", SEEDS, size=base + noisy(3.0)),
    )  # fmt: skip
    (claim,) = judge(frame, [row(of="solu - gelu", null="other - gelu", plant="planted - gelu")], PASSED)
    assert claim.verdict == "supported"
    assert claim.estimate.value == pytest.approx(2.0, abs=0.2)
    (ratio,) = judge(frame, [row(of="solu / gelu", null="other / gelu", plant="planted / gelu")], PASSED)
    solu = frame[frame.arm == "solu"]["size"].mean()
    assert ratio.estimate.value == pytest.approx(solu / base.mean())


def test_rows_are_paired_by_replicate_and_not_by_place():
    frame = arms(arm("a", [0, 1, 2, 3, 4], size=[1, 2, 3, 4, 5]), arm("b", [4, 3, 2, 1, 0], size=[4, 3, 2, 1, 0]))
    frame = arms(frame, arm("n", range(5), size=[0, 1, 2, 3, 4.5]), arm("p", range(5), size=[9, 8, 9, 8, 9]))
    (claim,) = judge(frame, [row(of="a - b", null="n - b", plant="p")], PASSED)
    assert claim.estimate.replicates == (1, 1, 1, 1, 1)


def test_shares_are_judged_as_shares():
    frame = arms(arm("trained", range(40), ok=np.ones(40)), arm("shuffled", range(40), ok=np.zeros(40)),
                 arm("planted", range(40), ok=np.ones(40)))  # fmt: skip
    expect = Expect("c", "s", "ok", ">= 0.9", "trained", "shuffled", "planted", "w", stat="share")
    (claim,) = judge(frame, [expect], PASSED)
    assert claim.estimate.method.startswith("Wilson")
    assert claim.verdict == "supported"  # none of forty is a finding, not a constant control


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"null": "trained"}, "its null is its own arm, 'trained'"),
        ({"plant": "trained"}, "its plant is its own arm"),
        ({"plant": "shuffled"}, "null and plant are the same arm"),
        ({"plant": ""}, "no_plant does not say why"),
        ({"why": ""}, "has no why"),
        ({"stat": "mode"}, "'mode' is none of"),
    ],
)
def test_rows_that_prove_nothing_are_refused(changes, said):
    with pytest.raises(ExpectationError, match=said):
        row(**changes)


@pytest.mark.parametrize(
    ("frame", "expect", "said"),
    [
        (table().rename(columns={"size": "girth"}), row(), "no table has the column 'size'; there are arm, seed, girth"),
        (table(), row(null="untrained"), "no row has the arm 'untrained'; there are 'trained', 'shuffled', 'planted'"),
        (table(), row(unit="models"), "no column 'model'"),
        (arms(table(), arm("trained", [3], size=[1.0])), row(), "twice for seed 3"),
        (arms(table(), arm("half", [0, 1], size=[1.0, 1.0])), row(of="trained - half"), "only one of the two arms has"),
        (table().drop(columns="arm"), row(), "needs a column 'arm'"),
    ],
)
def test_tables_that_do_not_fit_are_refused(frame, expect, said):
    with pytest.raises(ExpectationError, match=said):
        judge(frame, [expect], PASSED)


def test_a_sign_needs_more_replicates_than_a_size():
    def small(rule: str) -> Expect:
        return Expect("c", "s", "size", rule, "trained", "shuffled", "planted", "w")

    three = table()[lambda t: t.seed < 3]
    with pytest.raises(ExpectationError, match="'> 0' asks for 5 seeds or more, there are 3"):
        judge(three, [small("> 0")], PASSED)
    with pytest.raises(ExpectationError, match="excludes 0"):
        judge(three, [small("excludes 0")], PASSED)
    assert judge(three, [small("> 1")], PASSED)[0].verdict == "supported"


def test_a_null_that_cannot_vary_is_shown_and_supports_nothing_on_its_own():
    frame = table()
    frame.loc[frame.arm == "shuffled", "size"] = 0.5
    assert "constant null: shuffled is 0.5" in judge(frame, [row()], PASSED)[0].reason
    stated = row(constant="a theorem")
    assert judge(frame, [stated], PASSED)[0].verdict == "supported"
    (alone,) = judge(frame, [row(constant="a theorem", plant="", no_plant="nobody knows one")], PASSED)
    assert alone.verdict == "undecided"
    assert "supports nothing on its own" in alone.reason


def test_what_other_tables_measured_is_not_missing():
    frame = arms(arm("trained", range(20), girth=np.ones(20)))
    (claim,) = judge([frame, table()], [row()], PASSED)
    assert claim.estimate.n == len(SEEDS)


def test_a_measurement_that_is_no_number_leaves_it_undecided():
    frame = table()
    frame.loc[0, "size"] = np.nan
    assert judge(frame, [row()], PASSED)[0].verdict == "undecided"
    nothing = arms(table()[lambda t: t.arm != "trained"], mean_arm("trained", pd.DataFrame(columns=["seed", "x"]), size="x"))
    assert (nothing.seed == NONE).any()
    assert judge(nothing, [row()], PASSED)[0].verdict == "undecided"


def test_behind_a_failed_gate_nothing_is_judged():
    closed = Gate("it exists", False, {})
    assert {c.verdict for c in judge(table(), [row()], closed)} == {"gate failed"}
    assert judge(table()[lambda t: t.arm == "planted"], [row()], closed)[0].verdict == "gate failed"


def test_gates_can_fail_and_say_which_condition_did():
    checks = [
        Check("the model learns", "size", "> 1", "trained"),
        Check("the instrument sees a planted one", "size", "> 2", "planted"),
        Check("and no null", "size", "< 1", "shuffled", by="mean"),
    ]
    good = gate(table(), checks)
    assert good.passed
    assert good.measured["size of trained"] == pytest.approx(table()[lambda t: t.arm == "trained"]["size"].min(), abs=0.3)
    bad = gate(table(planted=0.0), checks)
    assert not bad.passed
    assert bad.failed == ["the instrument sees a planted one"]


def test_power_counts_how_often_a_planted_effect_would_have_been_found():
    frame = arms(table(trained=0.0, planted=0.0, shuffled=2.0), arm("planted effect of 0.5", SEEDS, size=noisy(0.5, 0.01)))
    frame.loc[frame.index[-1], "size"] = 0.0  # one is missed
    absent = Expect("c", "No effect", "size", "within [-0.3, 0.3]", "trained", "shuffled", "planted", "w",
                    power=("planted effect of 0.5",))  # fmt: skip
    (claim,) = judge(frame, [absent], PASSED)
    assert claim.verdict == "supported"
    assert str(claim.power[0]) == "planted effect of 0.5: found in 11 of 12"


def test_what_a_hostile_reader_tried():
    """Each of these once supported a claim that it should not."""
    few = arms(arm("a", [0, 1], size=[1.0, -1.0]), arm("b", [0, 1], size=[0.1, -0.09]), arm("n", [0, 1], size=[0.0, 0.1]),
               arm("p", [0, 1], size=[9.0, 9.5]))  # fmt: skip
    large = Expect("c", "s", "size", ">= 5", "a / b", "n", "p", "w")
    assert judge(few, [large], PASSED)[0].verdict == "undecided"  # the ratio of means is 0, whatever the ratios are
    three = table()[lambda t: t.seed < 3]
    for rule, of in (("excludes 1", "trained"), ("> 1", "trained / shuffled")):
        with pytest.raises(ExpectationError, match="asks for 5 seeds"):
            judge(three, [row(rule=rule, of=of)], PASSED)
    with pytest.raises(ExpectationError, match="joins more than two arms"):
        judge(table(), [row(of="trained - shuffled - planted")], PASSED)
    nameless = table()
    nameless.loc[0, "seed"] = np.nan
    with pytest.raises(ExpectationError, match="1 rows of arm 'trained' have no seed"):
        judge(nameless, [row()], PASSED)
    with pytest.raises(ExpectationError, match="has one replicate"):
        judge(arms(table()[lambda t: t.arm != "planted"], arm("planted", [0], size=[3.0])), [row()], PASSED)
    with pytest.raises(ExpectationError, match="at least one condition"):
        gate(table(), [])
    sides = judge(table(trained=-2.0), [row(rule="excludes 0")], PASSED)[0]
    assert "on the other side of 0 than the plant" in sides.reason
    nearly = table()
    nearly.loc[nearly.arm == "shuffled", "size"] = [0.1 + 0.2, 0.3] * 6
    assert "constant null" in judge(nearly, [row()], PASSED)[0].reason


def test_power_does_not_count_what_was_not_measured():
    frame = arms(table(0.0, 2.0, 0.0), arm("effect", SEEDS, size=[np.nan] * 11 + [0.0]))
    absent = Expect("c", "s", "size", "within [-0.3, 0.3]", "trained", "shuffled", "planted", "w", power=("effect",))
    assert judge(frame, [absent], PASSED)[0].power[0].found == 0
