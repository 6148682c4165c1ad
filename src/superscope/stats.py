"""Claims whose verdicts are computed: an estimate with its interval, a rule fixed beforehand, and a control.

The unit of replication is what was drawn independently: seeds for claims about training, documents for claims about
data, never tokens. With fewer than 5 replicates nothing is bootstrapped: every replicate counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._estimates import EVERY, Estimate, estimate, estimate_difference, estimate_ratio, exact, fraction, plain
from ._resampling import Maximum, NullTest, max_statistic_null, permutation_test

__all__ = [
    "Claim", "Control", "Estimate", "Maximum", "NullTest", "Rule", "claim", "estimate", "estimate_difference",
    "estimate_ratio", "exact", "fraction", "max_statistic_null", "permutation_test",
]  # fmt: skip

GATE_FAILED = "gate failed"
VERDICTS = ("supported", "refuted", "undecided", GATE_FAILED)

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_FORMS = "'>= x', '> x', '<= x', '< x', 'within [a, b]', 'equals x +- y', 'excludes x'"


@dataclass(frozen=True)
class Rule:
    """A region that an estimate must lie in, written as text before the result is known. Make it with `Rule.parse`."""

    text: str
    lo: float = -math.inf
    hi: float = math.inf
    lo_open: bool = False
    hi_open: bool = False
    excludes: float | None = None

    @classmethod
    def parse(cls, text: str) -> Rule:
        """'>= x', '> x', '<= x', '< x', 'within [a, b]', 'equals x +- y' (= within [x-y, x+y]), 'excludes x'."""
        if not isinstance(text, str):
            raise TypeError(f"rule {text!r}: expected text, one of {_FORMS}")
        flat = " ".join(text.split())
        if found := re.fullmatch(rf"(>=|>|<=|<) ?{_NUMBER}", flat):
            sign, x = found[1], float(found[2])
            return cls(flat, lo=x, lo_open=sign == ">") if sign[0] == ">" else cls(flat, hi=x, hi_open=sign == "<")
        if found := re.fullmatch(rf"within ?\[ ?{_NUMBER} ?, ?{_NUMBER} ?\]", flat):
            lo, hi = float(found[1]), float(found[2])
        elif found := re.fullmatch(rf"equals {_NUMBER} ?(?:\+-|\+/-|±) ?{_NUMBER}", flat):
            lo, hi = float(found[1]) - float(found[2]), float(found[1]) + float(found[2])
        elif found := re.fullmatch(rf"excludes {_NUMBER}", flat):
            return cls(flat, excludes=float(found[1]))
        else:
            raise ValueError(f"rule {text!r} is not understood: expected one of {_FORMS}")
        if lo > hi:
            raise ValueError(f"rule {text!r} is an empty region: its lower end {lo:g} is above its upper end {hi:g}")
        return cls(flat, lo=lo, hi=hi)

    def holds(self, value: float) -> bool:
        """Is this one value in the region? NaN never is."""
        if math.isnan(value):
            return False
        if self.excludes is not None:
            return value != self.excludes
        return self._above(value) and self._below(value)

    def position(self, low: float, high: float) -> str:
        """Where the interval [low, high] lies: "inside" the region, "outside" it, or "across" (NaN: "across")."""
        if math.isnan(low) or math.isnan(high):
            return "across"
        if low > high:
            raise ValueError(f"interval [{low}, {high}] has its ends the wrong way round")
        if self.excludes is not None:
            return "across" if low <= self.excludes <= high else "inside"
        if self._above(low) and self._below(high):
            return "inside"
        return "across" if self._above(high) and self._below(low) else "outside"

    def _above(self, value: float) -> bool:
        return value > self.lo if self.lo_open else value >= self.lo

    def _below(self, value: float) -> bool:
        return value < self.hi if self.hi_open else value <= self.hi


@dataclass(frozen=True)
class Control:
    """The same measurement where the effect must be absent. It has to fail the rule, and `why` says what it removes."""

    name: str
    estimate: Estimate
    why: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.estimate, Estimate):
            raise TypeError(f"control {self.name!r}: its estimate is {type(self.estimate).__name__}, not an Estimate")

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "why": self.why, **_split(self.estimate)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Control:
        return cls(row["name"], _joined(row), row.get("why", ""))


@dataclass(frozen=True)
class Claim:
    """A statement, what was measured, the rule fixed beforehand, and the control. The verdict follows from them.

    verdict and reason are computed on construction. A verdict passed in (as when loading) must equal the computed one,
    else ValueError; "gate failed" may be passed, since it can only weaken a claim.
    """

    id: str
    statement: str
    estimate: Estimate
    rule: Rule
    control: Control
    verdict: str = ""
    reason: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for name, kind in (("estimate", Estimate), ("rule", Rule), ("control", Control)):
            if not isinstance(getattr(self, name), kind):
                given = getattr(self, name)
                raise TypeError(f"claim {self.id!r}: {name} is {given!r}, expected a {kind.__name__}")
        if Rule.parse(self.rule.text) != self.rule:
            raise ValueError(f"claim {self.id!r}: the rule's region is not that of its text {self.rule.text!r}")
        verdict, reason = _judge(self.estimate, self.rule, self.control)
        if self.verdict == GATE_FAILED:
            verdict, reason = GATE_FAILED, "the gate did not pass, so there is nothing to judge"
        elif self.verdict not in ("", verdict):
            raise ValueError(
                f"claim {self.id!r} says {self.verdict!r} but its numbers say {verdict!r} ({reason}): "
                "verdicts are computed, never typed in"
            )
        object.__setattr__(self, "verdict", verdict)
        object.__setattr__(self, "reason", reason)

    def to_dict(self) -> dict[str, Any]:
        """JSON types only, in the form of findings.json."""
        rule = {k: plain(v) for k, v in (("lo", self.rule.lo), ("hi", self.rule.hi))}
        return {
            "id": self.id, "statement": self.statement, **_split(self.estimate),
            "rule": {"text": self.rule.text, **rule, "excludes": self.rule.excludes},
            "control": self.control.to_dict(), "verdict": self.verdict, "reason": self.reason, "note": self.note,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Claim:
        """Inverse of `to_dict`; recomputes the verdict and raises ValueError if the stored one differs."""
        if row["verdict"] not in VERDICTS:
            raise ValueError(f"claim {row['id']!r} has verdict {row['verdict']!r}: expected one of {VERDICTS}")
        rule, control = Rule.parse(row["rule"]["text"]), Control.from_dict(row["control"])
        return cls(row["id"], row["statement"], _joined(row), rule, control, row["verdict"], note=row["note"])


def claim(
    id: str,
    statement: str,
    estimate: Estimate,
    rule: str,
    control: Control | Mapping[str, Any],
    gate_passed: bool = True,
    note: str = "",
) -> Claim:
    """Make a claim and compute its verdict. control: a Control, or a mapping with its fields name, estimate, why.

    Gate not passed -> "gate failed". Interval inside the rule's region and the control's wholly outside ->
    "supported"; inside but the control not wholly outside -> "undecided"; outside -> "refuted"; across -> "undecided".
    """
    if isinstance(control, Mapping):
        if set(control) - {"why"} != {"name", "estimate"}:
            raise TypeError(f"claim {id!r}: control has keys {sorted(control)}, expected name, estimate and maybe why")
        control = Control(**control)
    if not isinstance(control, Control):
        raise TypeError(
            f"claim {id!r}: control is {control!r}. Every claim needs a Control: the same measurement where the effect "
            "must be absent, such as an untrained model or shuffled weights"
        )
    return Claim(id, statement, estimate, Rule.parse(rule), control, "" if gate_passed else GATE_FAILED, note=note)


def _judge(estimate: Estimate, rule: Rule, control: Control) -> tuple[str, str]:
    """(verdict, reason) of a claim whose gate passed."""
    for who, one in (("the estimate", estimate), (f"the control ({control.name})", control.estimate)):
        if one.has_nan:
            few = "; too few replicates for an interval, and none has a value of its own" if one.method == EVERY else ""
            return "undecided", f"{who} is not a number: {one}{few}"
    if estimate.few and estimate.n == 1:
        return "undecided", f"{estimate}: one replicate decides nothing"
    position = estimate.against(rule)
    which = f"all {estimate.n} replicates" if estimate.few else "the interval"
    if position == "outside":
        return "refuted", f"{estimate}: {which} fail{'' if estimate.few else 's'} '{rule.text}'"
    if position == "across":
        which = f"the {estimate.n} replicates disagree about" if estimate.few else "the interval crosses the edge of"
        return "undecided", f"{estimate}: {which} '{rule.text}'"
    other = control.estimate.against(rule)
    if rule.excludes is not None:  # for these a control fails by containing x
        other = {"inside": "inside", "across": "outside"}[other]
    against = f"({control.name}: {control.estimate})"
    if other == "inside":
        return "undecided", f"the control passes the rule '{rule.text}' too {against}"
    if other == "across":
        return "undecided", f"the control does not clearly fail the rule '{rule.text}' {against}"
    return "supported", f"{estimate} satisfies '{rule.text}' and the control does not {against}"


def _split(estimate: Estimate) -> dict[str, Any]:
    """An estimate as findings.json has it: the interval beside the estimate."""
    row = estimate.to_dict()
    low, high = row.pop("low"), row.pop("high")
    return {"estimate": row, "interval": [low, high]}


def _joined(row: Mapping[str, Any]) -> Estimate:
    low, high = row["interval"]
    return Estimate.from_dict({**row["estimate"], "low": low, "high": high})
