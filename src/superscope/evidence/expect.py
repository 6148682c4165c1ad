"""What a study expects, written down before its numbers: rows that say which column of which arm must satisfy which rule.

A study's measuring function yields one row per arm and replicate. Null and plant are the SAME column of other arms, so the
three are measured by the same code. `judge` makes the claims, `gate` the gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from superscope.errors import UserError
from superscope.evidence import estimate as estimates
from superscope.evidence.claim import GATE_FAILED, Arm, Claim, Power
from superscope.evidence.estimate import FEW, Estimate
from superscope.evidence.findings import Gate
from superscope.evidence.rule import Rule
from superscope.evidence.tables import NONE

Stat = Literal["mean", "median", "share"]


class ExpectationError(UserError, ValueError):
    """An expectation that cannot be judged as it is written; the message says which row and why."""


@dataclass(frozen=True)
class Expect:
    """One row of `EXPECTED`.

    statement: what is claimed, readable on its own. column: of the table. rule: see `Rule.parse`.
    of: the measured arm, or two arms paired by replicate: "solu - gelu", "trained / untrained" (a ratio of means).
    null: the arm that must fail the rule. It destroys one thing and keeps the rest.
    plant: the arm that must pass it: the statement is true there by construction, and as hard to see as in the real case.
    why: what the null takes away, and what was planted. no_plant: why no plant can be made (the page shows it as weaker).
    constant: why a null that cannot vary may stand (it then supports nothing without a plant).
    stat: "mean", "median", or "share" of true flags. unit: of replication; the table's column is its singular.
    power: for a claim of absence, arms with a planted effect: how often would this measurement have found it?
    note: what a reader should know, such as where the rule comes from.
    """

    id: str
    statement: str
    column: str
    rule: str
    of: str
    null: str
    plant: str = ""
    why: str = ""
    no_plant: str = ""
    constant: str = ""
    stat: Stat = "mean"
    unit: str = "seeds"
    power: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        Rule.parse(self.rule)
        for name in ("id", "statement", "column", "of", "null", "why"):
            if not getattr(self, name):
                raise ExpectationError(f"expectation {self.id!r} has no {name}")
        for name in ("null", "plant"):
            if getattr(self, name) == self.of:
                raise ExpectationError(
                    f"expectation {self.id!r}: its {name} is its own arm, {self.of!r}; it would prove nothing"
                )
        if self.plant and self.plant == self.null:
            raise ExpectationError(f"expectation {self.id!r}: null and plant are the same arm, {self.null!r}")
        if not self.plant and not self.no_plant:
            raise ExpectationError(f"expectation {self.id!r} has no plant and no_plant does not say why none can be made")
        if self.stat not in ("mean", "median", "share"):
            raise ExpectationError(f"expectation {self.id!r}: stat {self.stat!r} is none of 'mean', 'median', 'share'")

    @property
    def replicates(self) -> int:
        """The fewest replicates that can decide it: a rule that asks for a sign alone needs an interval."""
        rule = Rule.parse(self.rule)
        equal = " / " in self.of and 1.0 in (rule.lo, rule.hi)  # a ratio against 1 is a sign, too
        return FEW if rule.only_a_sign or equal else 2


@dataclass(frozen=True)
class Check:
    """One condition of a study's gate: a column of an arm that must satisfy a rule, in every replicate or on average.

    A gate asks whether the phenomenon exists at all, and whether the instrument sees a planted one and no null.
    """

    statement: str
    column: str
    rule: str
    of: str
    by: Literal["every", "mean"] = "every"
    unit: str = "seeds"

    def __post_init__(self) -> None:
        Rule.parse(self.rule)
        if self.by not in ("every", "mean"):
            raise ExpectationError(f"check {self.statement!r}: by={self.by!r} is neither 'every' nor 'mean'")


def judge(
    table: pd.DataFrame | Sequence[pd.DataFrame], expected: Sequence[Expect], gate: Gate, notes: dict[str, str] | None = None
) -> list[Claim]:
    """The claims of `expected` from a table with the columns "arm", the replicate ("seed", "model", ...) and what was measured.

    Of several tables those that have a row's column are read. notes: by id, what the numbers of this run add to a row's note.
    Raises ExpectationError for a missing column or arm, unpaired replicates, or fewer replicates than a rule needs.
    """
    frames = _frames(table)
    if not gate.passed:
        return [_unjudged(frames, row, gate) for row in expected]
    return [
        _judged(_holding(frames, row.column, f"expectation {row.id!r}"), row, gate, (notes or {}).get(row.id, ""))
        for row in expected
    ]


def gate(table: pd.DataFrame | Sequence[pd.DataFrame], checks: Sequence[Check]) -> Gate:
    """The gate: passed when every check holds; `measured` has the worst replicate (or the mean) of each."""
    if not checks:
        raise ExpectationError("a gate needs at least one condition that can fail")
    frames, failed = _frames(table), []
    measured: dict[str, float] = {}
    seen: set[str] = set()
    for check in checks:
        rule, who = Rule.parse(check.rule), f"check {check.statement!r}"
        values = _arm(_holding(frames, check.column, who), check.of, check.column, check.unit, who).to_numpy(float)
        if check.by == "mean":
            values = np.array([values.mean()])
        measured[name_of(check) + (f" ({check.rule})" if name_of(check) in seen else "")] = _worst(values, rule)
        seen.add(name_of(check))
        if not all(rule.holds(value) for value in values):
            failed.append(check.statement)
    return Gate(gate_statement(checks), not failed, measured, failed)


def _worst(values: np.ndarray, rule: Rule) -> float:
    """The value nearest to breaking a one-sided rule; of a region, the one farthest from its middle."""
    if rule.hi == np.inf:
        return float(values.min())
    return float(values.max() if rule.lo == -np.inf else values[np.abs(values - (rule.lo + rule.hi) / 2).argmax()])


def name_of(check: Check) -> str:
    """What a check measures."""
    return f"{check.column} of {check.of}"


def gate_statement(checks: Sequence[Check]) -> str:
    """All conditions of a gate in one line."""
    return "; ".join(f"{check.statement} ({check.rule})" for check in checks)


def _unjudged(frames: Sequence[pd.DataFrame], row: Expect, gate: Gate) -> Claim:
    """A claim behind a failed gate, with whatever was measured: what is missing there is not the study's mistake."""
    try:
        return _judged(_holding(frames, row.column, row.id), row, gate, "")
    except ExpectationError:
        nothing = estimates.estimate([np.nan], unit=row.unit)
        null = Arm(row.null, nothing, row.why)
        plant = Arm(row.plant, nothing, row.why) if row.plant else None
        return Claim(
            row.id, row.statement, nothing, Rule.parse(row.rule), null, plant, row.no_plant,
            verdict=GATE_FAILED, note=row.note, column=row.column, of=row.of, strict=True,
        )  # fmt: skip


def _judged(table: pd.DataFrame, row: Expect, gate: Gate, note: str) -> Claim:
    found = _estimate(table, row, row.of)
    if row.plant and gate.passed and len(_values(table, row.plant, row)) < 2:
        raise ExpectationError(f"expectation {row.id!r}: its plant {row.plant!r} has one replicate; plant it anew for each")
    if found.n < row.replicates and gate.passed and not found.has_nan:
        raise ExpectationError(
            f"expectation {row.id!r}: '{row.rule}' asks for {row.replicates} {row.unit} or more, there are {found.n}: with "
            "so few a sign comes out by chance; give more, or ask for the size of an effect"
        )
    null = Arm(row.null, _estimate(table, row, row.null), row.why, row.constant)
    plant = Arm(row.plant, _estimate(table, row, row.plant), row.why) if row.plant else None
    power = []
    for arm in row.power:
        values = _values(table, arm, row).to_numpy(float)
        missed = sum(np.isnan(value) or Rule.parse(row.rule).holds(value) for value in values)
        power.append(Power(arm, len(values) - int(missed), len(values)))
    return Claim(
        row.id,
        row.statement,
        found,
        Rule.parse(row.rule),
        null,
        plant,
        row.no_plant,
        tuple(power),
        "" if gate.passed else GATE_FAILED,
        note=" ".join(part for part in (row.note, note) if part),
        column=row.column,
        of=row.of,
        strict=True,
    )


def _estimate(table: pd.DataFrame, row: Expect, arm: str) -> Estimate:
    """The estimate of one arm, or of two paired ones."""
    pair = None if (table.arm == arm).any() else _pair(arm)
    if pair is None:
        values = _values(table, arm, row).to_numpy(float)
        if row.stat == "share":
            return estimates.fraction(values, unit=row.unit)
        return estimates.estimate(values, row.stat, unit=row.unit)
    one, sign, other = pair
    a, b = (_values(table, name, row) for name in (one, other))
    if set(a.index) != set(b.index):
        odd = sorted(map(str, set(a.index) ^ set(b.index)))
        raise ExpectationError(
            f"expectation {row.id!r}: {arm!r} is paired by {row.unit}, but only one of the two arms has {', '.join(odd[:5])}"
        )
    stat = "median" if row.stat == "median" else "mean"
    pairing = estimates.estimate_difference if sign == "-" else estimates.estimate_ratio
    return pairing(a.to_numpy(float), b.loc[a.index].to_numpy(float), paired=True, stat=stat, unit=row.unit)


def _values(table: pd.DataFrame, arm: str, row: Expect) -> pd.Series:
    if (pair := _pair(arm)) and not (table.arm == arm).any():
        a, b = (_values(table, name, row) for name in (pair[0], pair[2]))
        return a - b.loc[a.index] if pair[1] == "-" else a / b.loc[a.index]
    return _arm(table, arm, row.column, row.unit, f"expectation {row.id!r}")


def _pair(arm: str) -> tuple[str, str, str] | None:
    """("a", "-", "b") of "a - b"; ExpectationError for more than two arms, which could be read in two ways."""
    if arm.count(" - ") + arm.count(" / ") > 1:
        raise ExpectationError(f"arm {arm!r} joins more than two arms: make the inner difference an arm of the table")
    for sign in ("-", "/"):
        one, found, other = arm.partition(f" {sign} ")
        if found:
            return one, sign, other
    return None


def _arm(table: pd.DataFrame, arm: str, column: str, unit: str, who: str) -> pd.Series:
    """Values of a column in an arm, by replicate. Rows that leave the column empty belong to other measurements."""
    rows = table[table.arm == arm]
    if rows.empty:
        raise ExpectationError(f"{who}: no row has the arm {arm!r}; there are {', '.join(map(repr, table.arm.unique()))}")
    key = unit.removesuffix("s")
    if key not in rows or rows[key].isna().all():
        raise ExpectationError(f"{who}: the replicates are {unit}, but arm {arm!r} has no column {key!r} that names them")
    rows = rows[[key, column]]
    if rows[key].isna().any():
        raise ExpectationError(f"{who}: {int(rows[key].isna().sum())} rows of arm {arm!r} have no {key}: name every replicate")
    measured = rows.dropna(subset=[column])
    if measured.empty and (rows[key] == NONE).any():
        return pd.Series([np.nan], index=[NONE])
    if measured.empty:
        raise ExpectationError(f"{who}: arm {arm!r} has no value of {column!r}")
    if measured[key].duplicated().any():
        twice = measured[key][measured[key].duplicated()].iloc[0]
        raise ExpectationError(f"{who}: arm {arm!r} has {column!r} twice for {key} {twice}; one row per arm and replicate")
    lost = [name for name in rows[key].unique() if name not in set(measured[key])]  # NaN everywhere: measured, and no number
    return pd.concat([measured.set_index(key)[column], pd.Series(np.nan, index=lost, dtype=float)]).astype(float)


def _frames(table: pd.DataFrame | Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    frames = [table] if isinstance(table, pd.DataFrame) else list(table)
    for frame in frames:
        if "arm" not in frame:
            raise ExpectationError(f"a table of measurements needs a column 'arm'; it has {', '.join(map(str, frame.columns))}")
    return frames


def _holding(frames: Sequence[pd.DataFrame], column: str, who: str) -> pd.DataFrame:
    """The tables that have a column, stacked: what others measured of the same arms is not missing here."""
    holding = [frame for frame in frames if column in frame]
    if not holding:
        known = dict.fromkeys(str(name) for frame in frames for name in frame.columns)
        raise ExpectationError(f"{who}: no table has the column {column!r}; there are {', '.join(known)}")
    return holding[0] if len(holding) == 1 else pd.concat(holding, ignore_index=True)
