"""Claims whose verdicts are computed from three arms: what was measured, a null that must fail the rule, a plant that must
pass it.

The unit of replication is what was drawn independently: seeds for claims about training, documents for claims about
data, never tokens. With fewer than 5 replicates nothing is bootstrapped: every replicate counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from superscope.evidence.estimate import EVERY, EXACT, Estimate, plain
from superscope.evidence.rule import Rule

GATE_FAILED = "gate failed"
VERDICTS = ("supported", "refuted", "undecided", GATE_FAILED)


@dataclass(frozen=True)
class Arm:
    """The same measurement elsewhere: where the effect must be absent (a null) or is there by construction (a plant).

    why: what a null takes away and what it keeps; what a plant has. constant: why this arm may be the same in every
    replicate by construction (a null that cannot vary supports nothing on its own).
    """

    name: str
    estimate: Estimate
    why: str = ""
    constant: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.estimate, Estimate):
            raise TypeError(f"arm {self.name!r}: its estimate is {type(self.estimate).__name__}, not an Estimate")

    @property
    def cannot_vary(self) -> bool:
        """Is it one number, by construction or in fact? Shares of flags are exempt: none of forty is a finding."""
        estimate = self.estimate
        if estimate.method == EXACT or estimate.n == 1:
            return True
        if estimate.method.startswith("Wilson"):
            return False
        low, high = min(estimate.replicates, default=0.0), max(estimate.replicates, default=0.0)
        return high - low <= 1e-9 * max(abs(low), abs(high))

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "why": self.why, "constant": self.constant, **split(self.estimate)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Arm:
        return cls(row["name"], joined(row), row.get("why", ""), row.get("constant", ""))


@dataclass(frozen=True)
class Power:
    """For a claim of absence: the planted effect this measurement would have found, and how often it did."""

    effect: str
    found: int
    of: int

    def __str__(self) -> str:
        return f"{self.effect}: found in {self.found} of {self.of}"

    def to_dict(self) -> dict[str, Any]:
        return {"effect": self.effect, "found": self.found, "of": self.of}


@dataclass(frozen=True)
class Claim:
    """A statement, what was measured, the rule fixed beforehand, the null and the plant. The verdict follows from them.

    verdict and reason are computed on construction. A verdict passed in (as when loading) must equal the computed one,
    else ValueError; "gate failed" may be passed, since it can only weaken a claim.
    plant None: none could be made, and `no_plant` says why; the page shows such a claim as weaker.
    strict: judged by the contract of three arms, in which a null that cannot vary needs a reason and a plant beside it.
    """

    id: str
    statement: str
    estimate: Estimate
    rule: Rule
    null: Arm
    plant: Arm | None = None
    no_plant: str = ""
    power: tuple[Power, ...] = ()
    verdict: str = ""
    reason: str = ""
    note: str = ""
    column: str = ""
    of: str = ""
    strict: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("estimate", Estimate), ("rule", Rule), ("null", Arm)):
            if not isinstance(getattr(self, name), kind):
                given = getattr(self, name)
                raise TypeError(f"claim {self.id!r}: {name} is {given!r}, expected a {kind.__name__}")
        if Rule.parse(self.rule.text) != self.rule:
            raise ValueError(f"claim {self.id!r}: the rule's region is not that of its text {self.rule.text!r}")
        verdict, reason = self._judged()
        if self.verdict == GATE_FAILED:
            verdict, reason = GATE_FAILED, "the gate did not pass, so there is nothing to judge"
        elif self.verdict not in ("", verdict):
            raise ValueError(
                f"claim {self.id!r} says {self.verdict!r} but its numbers say {verdict!r} ({reason}): "
                "verdicts are computed, never typed in"
            )
        object.__setattr__(self, "verdict", verdict)
        object.__setattr__(self, "reason", reason)

    def _judged(self) -> tuple[str, str]:
        """(verdict, reason) of a claim whose gate passed."""
        rule, estimate = self.rule, self.estimate
        arms = [("the estimate", estimate), (f"the null ({self.null.name})", self.null.estimate)]
        if self.plant is not None:
            arms.append((f"the plant ({self.plant.name})", self.plant.estimate))
        for who, one in arms:
            if one.has_nan:
                few = "; too few replicates for an interval, and none has a value of its own" if one.method == EVERY else ""
                return "undecided", f"{who} is not a number: {one}{few}"
        if estimate.few and estimate.n == 1:
            return "undecided", f"{estimate}: one replicate decides nothing"
        position = estimate.against(rule)
        if position == "across":
            which = f"the {estimate.n} replicates disagree about" if estimate.few else "the interval crosses the edge of"
            return "undecided", f"{estimate}: {which} '{rule.text}'"
        if self.plant is not None and self.plant.estimate.against(rule) != "inside":
            return "undecided", (
                f"the instrument would not have seen it: the plant ({self.plant.name}: {self.plant.estimate}), in which the "
                f"statement is true by construction, does not pass '{rule.text}'"
            )
        if rule.excludes is not None and self.plant is not None and position == "inside":
            sides = [value > rule.excludes for value in (estimate.value, self.plant.estimate.value)]
            if sides[0] != sides[1]:
                return "undecided", f"{estimate}: on the other side of {rule.excludes:g} than the plant ({self.plant.estimate})"
        if position == "outside":
            which = f"all {estimate.n} replicates fail" if estimate.few else "the interval fails"
            return "refuted", f"{estimate}: {which} '{rule.text}'"
        return self._against_null()

    def _against_null(self) -> tuple[str, str]:
        """The verdict of an estimate inside the rule's region."""
        rule, null = self.rule, self.null
        other = null.estimate.against(rule)
        if rule.excludes is not None:  # for these a null fails by containing x
            other = {"inside": "inside", "across": "outside"}[other]
        against = f"({null.name}: {null.estimate})"
        if other == "inside":
            return "undecided", f"the null passes the rule '{rule.text}' too {against}"
        if other == "across":
            return "undecided", f"the null does not clearly fail the rule '{rule.text}' {against}"
        if self.strict and null.cannot_vary:
            if not null.constant:
                return "undecided", f"constant null: {null.name} is {null.estimate.value:.4g} in every replicate"
            if self.plant is None:
                return "undecided", f"a constant null supports nothing on its own, and there is no plant {against}"
        return "supported", f"{self.estimate} satisfies '{rule.text}' and the null does not {against}"

    def to_dict(self) -> dict[str, Any]:
        """JSON types only, in the form of findings.json."""
        rule = {k: plain(v) for k, v in (("lo", self.rule.lo), ("hi", self.rule.hi))}
        return {
            "id": self.id, "statement": self.statement, "column": self.column, "of": self.of, **split(self.estimate),
            "rule": {"text": self.rule.text, **rule, "excludes": self.rule.excludes},
            "null": self.null.to_dict(), "plant": self.plant.to_dict() if self.plant else None, "no_plant": self.no_plant,
            "power": [one.to_dict() for one in self.power],
            "strict": self.strict, "verdict": self.verdict, "reason": self.reason, "note": self.note,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Claim:
        """Inverse of `to_dict`; recomputes the verdict and raises ValueError if the stored one differs."""
        if row["verdict"] not in VERDICTS:
            raise ValueError(f"claim {row['id']!r} has verdict {row['verdict']!r}: expected one of {VERDICTS}")
        return cls(
            row["id"],
            row["statement"],
            joined(row),
            Rule.parse(row["rule"]["text"]),
            Arm.from_dict(row["null"]),
            Arm.from_dict(row["plant"]) if row["plant"] else None,
            row["no_plant"],
            tuple(Power(**one) for one in row["power"]),
            row["verdict"],
            note=row["note"],
            column=row["column"],
            of=row["of"],
            strict=row["strict"],
        )


def claim(
    id: str,
    statement: str,
    estimate: Estimate,
    rule: str,
    null: Arm | Mapping[str, Any],
    gate_passed: bool = True,
    note: str = "",
    plant: Arm | None = None,
    no_plant: str = "",
) -> Claim:
    """Make a claim that is no row of a table (cluster counts, maximum-statistic nulls); rows are judged by `expect.judge`.

    null: an Arm, or a mapping with its fields name, estimate, why. Gate not passed -> "gate failed". Interval inside the
    rule's region, the null's wholly outside and the plant's (where there is one) inside -> "supported"; a null that is not
    wholly outside or a plant that is not inside -> "undecided"; estimate outside -> "refuted"; across -> "undecided".
    """
    if isinstance(null, Mapping):
        if set(null) - {"why", "constant"} != {"name", "estimate"}:
            raise TypeError(f"claim {id!r}: the null has keys {sorted(null)}, expected name, estimate and maybe why")
        null = Arm(**null)
    if not isinstance(null, Arm):
        raise TypeError(
            f"claim {id!r}: the null is {null!r}. Every claim needs an Arm: the same measurement where the effect "
            "must be absent, such as an untrained model or shuffled weights"
        )
    verdict = "" if gate_passed else GATE_FAILED
    return Claim(id, statement, estimate, Rule.parse(rule), null, plant, no_plant, verdict=verdict, note=note)


def split(estimate: Estimate) -> dict[str, Any]:
    """An estimate as findings.json has it: the interval beside the estimate."""
    row = estimate.to_dict()
    low, high = row.pop("low"), row.pop("high")
    return {"estimate": row, "interval": [low, high]}


def joined(row: Mapping[str, Any]) -> Estimate:
    """Inverse of `split`."""
    low, high = row["interval"]
    return Estimate.from_dict({**row["estimate"], "low": low, "high": high})
