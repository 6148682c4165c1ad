"""Was it fixed beforehand? Seals of what a study expects, and the ledger that remembers every version of it.

The ledger, ``results/ledger.jsonl``, lies beside the recorded findings and is only ever appended to. One line per change:

    {"when", "problem", "event", "seal", "reason", "rows": {id: {"rule", "column", "of", "null", "plant"}},
     "declared": {id: badge}}

event "sealed": the rows were written down, no number of this version existed. "recorded": results were recorded under it.
"withdrawn": rows given in `rows` were taken back, for the reason given. `declared` holds what was known when the ledger began.
A badge is computed from the lines and never typed into a study.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from superscope import store

if TYPE_CHECKING:
    from superscope.evidence.expect import Check, Expect

LEDGER = "ledger.jsonl"
BEFOREHAND, ADDED, UNSEALED = "fixed beforehand", "added after results", "not sealed"
_CORE = ("rule", "column", "of", "null", "plant")
_DECIDES = ("rule", "column", "of")  # a change of these after results is a change of the rule

Event = Literal["sealed", "recorded", "withdrawn"]


def digest(expected: Iterable[Expect], checks: Iterable[Check] = ()) -> str:
    """Hex digest of everything a study wrote down before its numbers: its rows and its gate."""
    return store.digest({"expected": [asdict(row) for row in expected], "gate": [asdict(check) for check in checks]})


@dataclass(frozen=True)
class Line:
    """One line of the ledger."""

    problem: str
    event: Event
    reason: str
    seal: str = ""
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)
    when: str = ""


def path(folder: Path | str | None = None) -> Path:
    """The ledger of a folder of results (default: that of the recorded ones)."""
    return Path(folder or store.shipped("results")) / LEDGER


def read(folder: Path | str | None = None) -> list[Line]:
    """All lines, oldest first; none where there is no ledger. A line that is no JSON or lacks a field is a StoreError."""
    place = path(folder)
    if not place.exists():
        return []
    lines = []
    for number, text in enumerate(store.read_bytes(place).decode().splitlines(), 1):
        try:
            lines.append(Line(**json.loads(text)))
        except (ValueError, TypeError) as error:
            raise store.StoreError(
                f"line {number} of {str(place)!r} is damaged ({error}); restore it from version control"
            ) from None
    return lines


def append(line: Line, folder: Path | str | None = None) -> None:
    """Add one line; what is there stays as it is, byte for byte."""
    if not line.reason.strip():
        raise ValueError(f"a line of the ledger about {line.problem} needs a reason")
    place = path(folder)
    old = store.read_bytes(place) if place.exists() else b""
    row = asdict(line) | {"when": line.when or datetime.now(UTC).strftime("%Y-%m-%d")}
    store.atomic_write_bytes(place, old + json.dumps(row, ensure_ascii=False, sort_keys=True).encode() + b"\n")


def rows(expected: Iterable[Expect]) -> dict[str, dict[str, str]]:
    """What the ledger keeps of each row."""
    return {row.id: {name: getattr(row, name) for name in _CORE} for row in expected}


def rows_of_claims(claims: Iterable[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """The same from the claims of a findings document."""
    out = {}
    for claim in claims:
        plant = claim["plant"]["name"] if claim["plant"] else ""
        named = {"column": claim["column"], "of": claim["of"], "null": claim["null"]["name"], "plant": plant}
        out[claim["id"]] = {"rule": claim["rule"]["text"], **named}
    return out


def badges(problem: str, claims: Sequence[dict[str, Any]], lines: Sequence[Line]) -> dict[str, str]:
    """Claim id -> "fixed beforehand", "added after results", "rule changed after results (was ...)" or "not sealed"."""
    mine = [line for line in lines if line.problem == problem]
    return {name: _badge(name, row, mine) for name, row in rows_of_claims(claims).items()}


def _badge(name: str, row: dict[str, str], lines: Sequence[Line]) -> str:
    declared = next((line.declared[name] for line in lines if name in line.declared), None)
    if declared is not None:
        return declared
    known, recorded = None, False  # the row as last written down, and whether results of it exist
    badge = UNSEALED
    any_results = False
    for line in lines:
        if name in line.rows and line.event != "withdrawn":
            here = line.rows[name]
            if known is None:
                badge = ADDED if any_results else BEFOREHAND
            elif recorded and _differ(known, here):
                badge = f"rule changed after results (was {_said(known)})"
            known, recorded = here, recorded or line.event == "recorded"
        any_results = any_results or line.event == "recorded"
    if known is not None and _differ(known, row):
        return f"rule changed after results (was {_said(known)})" if recorded else UNSEALED
    return badge


def _differ(old: dict[str, str], new: dict[str, str]) -> bool:
    """Do two versions decide differently? A field one of them does not name (older records) is not compared."""
    return any(old.get(key) and new.get(key) and old[key] != new[key] for key in _DECIDES)


def _said(row: dict[str, str]) -> str:
    return f"{row['column']} {row['rule']}".strip() if row.get("column") else row["rule"]


def unsealed(problem: str, expected: Sequence[Expect], checks: Sequence[Check], lines: Sequence[Line]) -> str:
    """Why a recorded study's rows are not those of its last ledger line, or "" when they are."""
    mine = [line for line in lines if line.problem == problem]
    if not mine:
        return f"the ledger has no line about {problem}: superscope seal {problem} --reason '...'"
    if mine[-1].seal != digest(expected, checks):
        return f"the rows of {problem} are not those of its last ledger line: superscope seal {problem} --reason 'what and why'"
    return ""
