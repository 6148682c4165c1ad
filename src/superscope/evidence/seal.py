"""Was it fixed beforehand? Seals of what a study expects, and the ledger that remembers every version of it.

The ledger, ``results/ledger.jsonl``, lies beside the recorded findings and is only ever appended to. One line per change:

    {"when", "problem", "event", "seal", "reason", "rows": {id: row}, "gate": [check], "declared": {id: badge}, "run": {...}}

"began": what had been recorded before there was a ledger; `declared` holds what the pages said of changes. "sealed": rows and
gate were written down. "recorded": findings (`run`: their seed and checksum) were put among the results under that seal.
"withdrawn": the rows named were taken back, for the reason given. A badge is computed from the lines, never typed in.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from superscope import store
from superscope.evidence.rule import Rule

if TYPE_CHECKING:
    from superscope.evidence.expect import Check, Expect

LEDGER = "ledger.jsonl"
BEFOREHAND, ADDED, UNSEALED = "fixed beforehand", "added after results", "not sealed"
BY_ITS_ACCOUNT = "fixed beforehand, by the page's own account"  # recorded before there was a ledger
_SAYS_ONLY = ("id", "statement", "why", "note", "no_plant")  # fields of a row that decide nothing

Event = Literal["began", "sealed", "recorded", "withdrawn"]
Row = Mapping[str, Any]


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
    rows: dict[str, Row] = field(default_factory=dict)
    gate: list[Row] = field(default_factory=list)
    declared: dict[str, str] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
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
    row = asdict(line) | {"when": line.when or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    store.atomic_write_bytes(place, old + json.dumps(row, ensure_ascii=False, sort_keys=True).encode() + b"\n")


def rows(expected: Iterable[Expect]) -> dict[str, Row]:
    """What the ledger keeps of each row: every field that decides."""
    return {row.id: {name: value for name, value in asdict(row).items() if name not in _SAYS_ONLY} for row in expected}


def checks(gate: Iterable[Check]) -> list[Row]:
    """What the ledger keeps of a gate."""
    return [asdict(check) for check in gate]


def rows_of_claims(claims: Iterable[Mapping[str, Any]]) -> dict[str, Row]:
    """What the claims of a findings document show of their rows."""
    out: dict[str, Row] = {}
    for claim in claims:
        plant = claim["plant"]["name"] if claim["plant"] else ""
        named = {"column": claim["column"], "of": claim["of"], "null": claim["null"]["name"], "plant": plant}
        out[claim["id"]] = {"rule": claim["rule"]["text"], **named}
    return out


def badges(document: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, str]:
    """Claim id -> badge, for a findings document; the badge of its gate under "".

    "fixed beforehand", "added after results", "changed before it was recorded (...)", "changed after results (...)", or "not
    sealed" when its rows are in no sealed line. Only what the ledger held when these findings were made counts.
    """
    mine = [line for line in lines if line.problem == document["problem"]]
    if document["seal"]:
        own = [place for place, line in enumerate(mine) if line.seal == document["seal"]]
        mine = mine[: own[-1] + 1] if own else []
    else:
        mine = [line for line in mine if line.event == "began"]
    shown = rows_of_claims(document["claims"])
    gates = [("gate", {str(place): row for place, row in enumerate(line.gate)}, line.event) for line in mine if line.gate]
    gate = _history("gate", [(rows, event) for _, rows, event in gates]) if gates else UNSEALED
    return {"": gate} | {name: _badge(name, row, mine) for name, row in shown.items()}


def _badge(name: str, shown: Row, lines: Sequence[Line]) -> str:
    declared = next((line.declared[name] for line in lines if line.event == "began" and name in line.declared), "")
    versions: list[tuple[dict[str, Row], str]] = []
    results = False
    late = False
    for line in lines:
        if name in line.rows and line.event != "withdrawn":
            if not versions and line.event == "recorded":
                return UNSEALED  # its results are the first that was heard of it
            late = late or (not versions and results)
            versions.append(({name: line.rows[name]}, line.event))
        results = results or line.event in ("began", "recorded")
    if not versions or _changes(versions[-1][0][name], shown):
        return UNSEALED
    badge = ADDED if late else _history(name, versions)
    if badge == BEFOREHAND:
        return declared or (BY_ITS_ACCOUNT if versions[0][1] == "began" else BEFOREHAND)
    return f"{declared}; {badge}" if declared else badge


def _history(name: str, versions: Sequence[tuple[dict[str, Row], str]]) -> str:
    """What changed between versions, and whether results existed then."""
    said, results = [], False
    for (old, event), (new, _) in itertools.pairwise(versions):
        results = results or event in ("began", "recorded")
        changed = [f"{key} was {_shown(old[one].get(key))}" for one in old for key in _changes(old[one], new.get(one, {}))]
        if set(old) - set(new):
            changed.append("a condition was dropped")
        if changed:
            said.append(f"changed {'after results' if results else 'before it was recorded'} ({'; '.join(changed)})")
    return "; ".join(dict.fromkeys(said)) or BEFOREHAND


def _changes(old: Row, new: Row) -> list[str]:
    """Fields that decide and differ. What one of the two does not name (older records) is not compared, and a plant or a power
    line that was not there before only makes a claim harder."""
    out = []
    for key in old:
        before, after = old[key], new.get(key)
        if after is None or before == after or before in ("", [], ()) or key in ("statement", "constant"):
            continue
        if key == "rule" and Rule.parse(before).region == Rule.parse(after).region:
            continue
        out.append(key)
    return out


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def withdrawn(problem: str, lines: Sequence[Line]) -> list[tuple[str, str]]:
    """(id, reason) of the rows of a problem that were taken back."""
    return [
        (name, line.reason) for line in lines if line.problem == problem and line.event == "withdrawn" for name in line.rows
    ]


def unsealed(problem: str, expected: Sequence[Expect], gate: Sequence[Check], lines: Sequence[Line]) -> str:
    """Why a study's rows are not those of its last sealed line, or "" when they are."""
    mine = [line for line in lines if line.problem == problem and line.event == "sealed"]
    if not mine:
        return f"the ledger has no sealed line about {problem}: superscope seal {problem} --reason '...'"
    if mine[-1].seal != digest(expected, gate):
        return f"the rows of {problem} are not those of its last sealed line: superscope seal {problem} --reason 'what and why'"
    return ""
