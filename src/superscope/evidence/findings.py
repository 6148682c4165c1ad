"""What a study found, and how it is kept: one ``findings.json`` plus its figures and tables.

``findings.json`` follows ``findings.schema.json``. Figures are Plotly JSON in ``figures/``, tables are parquet in
``tables/`` (short ones also inline), both pinned by their sha256, so a page can be redrawn without recomputation and a
damaged file is noticed.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superscope import store
from superscope.errors import UserError
from superscope.evidence import records, schema, wording

if TYPE_CHECKING:
    import pandas as pd

    from superscope.evidence.claim import Claim

SCHEMA_VERSION = 2
INLINE_ROWS = 200
VERDICTS = ("supported", "refuted", "undecided", "gate failed")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass
class Gate:
    """Does the phenomenon exist here at all? A failed gate is no negative result. failed: the conditions not met."""

    statement: str
    passed: bool
    measured: dict[str, float]
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.passed = bool(self.passed)


@dataclass
class Figure:
    """A Plotly figure with the sentence under it; `name` becomes its file name."""

    name: str
    figure: Any
    caption: str


@dataclass
class Part:
    """What one chapter of a large study measured: rows for `expect.judge`, figures, and tables for readers."""

    rows: list[pd.DataFrame] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


@dataclass
class Findings:
    """What a study returns. The fields after `answer` are filled in by `Study.run`."""

    gate: Gate
    claims: list[Claim]
    figures: list[Figure] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    summary: str = ""
    answer: str = ""  # the sentence a page opens with: see `wording.answer`

    problem: str = ""
    title: str = ""
    question: str = ""
    assumptions: list[str] = field(default_factory=list)
    disanalogies: list[str] = field(default_factory=list)
    preset: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)  # where config differs from the preset
    seed: int = 0
    seal: str = ""  # digest of what was expected: see `seal.digest`
    engine: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    resumed: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    finished: str = ""
    folder: Path | None = None  # where it was stored; not itself stored

    def __post_init__(self) -> None:
        for kind, names in (
            ("claim id", [claim.id for claim in self.claims]),
            ("figure name", [figure.name for figure in self.figures]),
            ("table name", list(self.tables)),
        ):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{kind} {twice[0]!r} is used twice")
            odd = [name for name in names if not _NAME.fullmatch(name)]
            if odd:
                raise ValueError(f"{kind} {odd[0]!r} must be letters, digits, '_', '-' or '.' (it becomes a file name)")
        if self.answer:
            wording.check_answer(self.answer)
        if self.gate.passed and not self.claims:
            raise ValueError("findings whose gate passed need at least one claim")
        loose = [claim.id for claim in self.claims if not self.gate.passed and claim.verdict != "gate failed"]
        if loose:
            raise ValueError(f"the gate failed, but claim {loose[0]!r} was not made with gate_passed=False")

    @property
    def verdict(self) -> str:
        """All claims in one line: "3 supported, 1 refuted"."""
        return total_verdict(self.gate.passed, [claim.verdict for claim in self.claims])

    def to_json(self) -> dict[str, Any]:
        """The document of ``findings.json`` (strict JSON types, sealed with its checksum)."""
        return self._files()[0]

    def save(self, folder: Path | str) -> Path:
        """Write findings, figures and tables under `folder`; all or nothing. Returns the path of ``findings.json``."""
        folder = Path(folder)
        document, files = self._files()
        store.atomic_write_many(folder, {**files, records.FINDINGS: store.dumps(document).encode()})
        for kind in ("figures", "tables"):  # what an earlier save left and this one no longer has
            for path in (folder / kind).glob("*"):
                if f"{kind}/{path.name}" not in files:
                    path.unlink()
        return folder / records.FINDINGS

    @classmethod
    def load(cls, folder: Path | str) -> Findings:
        """Read back what `save` wrote, every file checked against its checksum."""
        import pandas as pd
        import plotly.io

        from superscope.evidence.claim import Claim

        folder = Path(folder)
        document = read(folder)
        figures = [
            Figure(row["name"], plotly.io.from_json(figure_json(folder, row)), row["caption"]) for row in document["figures"]
        ]
        tables = {
            row["name"]: pd.read_parquet(io.BytesIO(store.read_inside(folder, row["file"], row["sha256"])))
            for row in document["tables"]
        }
        claims = [Claim.from_dict(row) for row in document["claims"]]
        gate = document["gate"]
        copied = [item.name for item in fields(cls) if item.name not in ("gate", "claims", "figures", "tables", "folder")]
        return cls(
            gate=Gate(
                gate["statement"], gate["passed"], {k: store.number(v) for k, v in gate["measured"].items()}, gate["failed"]
            ),
            claims=claims,
            figures=figures,
            tables=tables,
            folder=folder,
            **{name: document[name] for name in copied},
        )

    def _files(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        files: dict[str, bytes] = {}
        figures = []
        for item in self.figures:
            file = f"figures/{item.name}.json"
            files[file] = _figure_bytes(item)
            figures.append({"name": item.name, "file": file, "caption": item.caption, "sha256": store.checksum(files[file])})
        tables = []
        for name, frame in self.tables.items():
            file = f"tables/{name}.parquet"
            files[file], row = _table(frame)
            tables.append({"name": name, "file": file, "sha256": store.checksum(files[file]), **row})
        document = {
            "schema": SCHEMA_VERSION,
            "problem": self.problem,
            "title": self.title,
            "question": self.question,
            "verdict": self.verdict,
            "summary": self.summary,
            "answer": self.answer,
            "preset": self.preset,
            "config": self.config,
            "overrides": self.overrides,
            "seed": self.seed,
            "seal": self.seal,
            "gate": {
                "statement": self.gate.statement,
                "passed": self.gate.passed,
                "measured": self.gate.measured,
                "failed": self.gate.failed,
            },
            "claims": [claim.to_dict() for claim in self.claims],
            "figures": figures,
            "tables": tables,
            "assumptions": self.assumptions,
            "disanalogies": self.disanalogies,
            "engine": self.engine,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "resumed": self.resumed,
            "versions": self.versions,
            "finished": self.finished,
        }
        return store.seal(store.plain(document)), files


def read(folder: Path | str) -> dict[str, Any]:
    """The checked document of a finished run, without its figures and tables (cheap: for listings and pages).

    A checksum without a key proves that a file is whole, not that it is honest: the shape is checked against the schema, no
    name may lead out of the folder, and every verdict is computed again from the numbers beside it.
    """
    path = Path(folder) / records.FINDINGS
    document = store.read_sealed(path)
    try:
        if document.get("schema") == 1:
            document = _of_schema_1(document)
    except (KeyError, TypeError, AttributeError) as error:
        raise store.StoreError(f"{str(path)!r} is no findings of schema 1 ({error}); run the study again") from error
    if document.get("schema") != SCHEMA_VERSION:
        raise store.StoreError(
            f"{str(path)!r} has schema {document.get('schema')!r}, this superscope reads {SCHEMA_VERSION}; run the study again"
        )
    wrong = schema.fault(document) or _misnamed(document)
    if wrong:
        raise store.StoreError(f"{str(path)!r} is no findings: {wrong}; run the study again to replace it")
    try:
        return {**document, **_judged(document)}
    except (UserError, ValueError, TypeError) as error:
        raise store.StoreError(f"findings in {str(folder)!r} contradict themselves: {error}") from error


def _misnamed(document: dict[str, Any]) -> str:
    """What is wrong with the names of figures, tables and claims; "" when nothing is."""
    for kind, ending in (("figures", "json"), ("tables", "parquet")):
        for row in document[kind]:
            if row["file"] != f"{kind}/{row['name']}.{ending}":
                return f"the file of {kind[:-1]} {row['name']!r} is {row['file']!r}"
    for kind, names in (
        ("figure", [row["name"] for row in document["figures"]]),
        ("table", [row["name"] for row in document["tables"]]),
        ("claim", [row["id"] for row in document["claims"]]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            return f"{kind} {twice[0]!r} is there twice"
    return ""


def _judged(document: dict[str, Any]) -> dict[str, Any]:
    """Claims with the verdict and reason that their numbers have; ValueError where other verdicts are stored."""
    from superscope.evidence.claim import GATE_FAILED, Claim

    claims, passed = [], document["gate"]["passed"]
    for row in document["claims"]:
        made = Claim.from_dict(row)
        if (made.verdict == GATE_FAILED) == passed:
            raise ValueError(f"claim {made.id!r} says {made.verdict!r}, but the gate {'passed' if passed else 'failed'}")
        claims.append({**row, "verdict": made.verdict, "reason": made.reason})
    verdict = total_verdict(passed, [row["verdict"] for row in claims])
    if document["verdict"] != verdict:
        raise ValueError(f"the verdict {document['verdict']!r} is not that of the claims, {verdict!r}")
    return {"claims": claims}


def total_verdict(passed: bool, verdicts: list[str]) -> str:
    """All claims in one line: "3 supported, 1 refuted"."""
    if not passed:
        return "gate failed"
    counts = Counter(verdicts)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])


def _of_schema_1(document: dict[str, Any]) -> dict[str, Any]:
    """Findings recorded before claims had three arms, in today's form: a null, and no plant."""
    claims = []
    for old in document["claims"]:
        null = {"constant": "", **old["control"]}
        weaker: dict[str, Any] = {
            "plant": None,
            "no_plant": "recorded before plants were asked for",
            "power": [],
            "strict": False,
        }
        reason = old["reason"].replace("the control", "the null")
        claims.append(
            {k: v for k, v in old.items() if k != "control"}
            | {"column": "", "of": "", "null": null, "reason": reason, **weaker}
        )
    gate = {**document["gate"], "failed": []}
    return {**document, "schema": SCHEMA_VERSION, "claims": claims, "gate": gate, "answer": "", "seal": ""}


def figure_json(folder: Path | str, row: dict[str, Any]) -> str:
    """The Plotly JSON of one row of a document's `figures`."""
    data = store.read_inside(Path(folder), row["file"], row["sha256"])
    try:
        whole = isinstance(json.loads(data), dict)
    except ValueError:
        whole = False
    if not whole:
        raise store.StoreError(
            f"figure {row['name']!r} in {str(folder)!r} is no Plotly JSON; run the study again to replace it"
        )
    return data.decode()


def _figure_bytes(item: Figure) -> bytes:
    if not hasattr(item.figure, "to_json"):
        raise TypeError(f"figure {item.name!r} is a {type(item.figure).__name__}, not a Plotly figure")
    return item.figure.to_json().encode()


def _table(frame: pd.DataFrame) -> tuple[bytes, dict[str, Any]]:
    import pandas as pd

    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    frame = frame.rename(columns=str)
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    row: dict[str, Any] = {"n_rows": len(frame), "columns": list(frame.columns)}
    if len(frame) <= INLINE_ROWS:
        row["rows"] = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    return buffer.getvalue(), row
