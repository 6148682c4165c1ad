"""Commands for those who write studies: ``superscope seal | record``. They write to the checkout's ``results/``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from superscope import store, studies
from superscope.cli.options import Record, Seal
from superscope.cli.studies import study_of
from superscope.errors import UserError
from superscope.evidence import findings, records, replication
from superscope.evidence import seal as seals

PREFERRED = ("full", "standard", "quick")


def seal(args: Seal) -> int:
    """Write what a study expects into the ledger."""
    study = study_of(args.problem)
    if not study.expected:
        raise UserError(f"study {study.problem} keeps no rows (EXPECTED): there is nothing to seal")
    if not args.reason.strip():
        raise UserError("--reason is empty: say what is new or changed, and why")
    lines = seals.read()
    if not seals.unsealed(study.problem, study.expected, study.gate, lines):
        print(f"{study.problem}: its rows are those of its last sealed line; nothing to do")
        return 0
    before = next((line.rows for line in reversed(lines) if line.problem == study.problem and line.event == "sealed"), {})
    now = seals.rows(study.expected)
    if gone := {name: row for name, row in before.items() if name not in now}:
        seals.append(seals.Line(study.problem, "withdrawn", args.reason, rows=gone))
    seals.append(seals.Line(study.problem, "sealed", args.reason, study.seal, now, seals.checks(study.gate)))
    print(f"{study.problem}: {len(study.expected)} rows sealed as {study.seal[:12]}")
    return 0


def record(args: Record) -> int:
    """Copy the newest finished run of each problem (full before standard before quick) into the recorded results."""
    if not args.reason.strip():
        raise UserError("--reason is empty: say why these findings are recorded now")
    results = _results()
    missing = 0
    for number in [studies.find(name).number for name in args.problems] or studies.built():
        study = study_of(number)
        if study.expected and (why := seals.unsealed(number, study.expected, study.gate, seals.read())):
            raise UserError(why)
        folder = _to_record(number, study, args.runs)
        if folder is None:
            print(f"{number}: no finished run under {str(args.runs)!r} of a preset as it is, judged by the rows of today")
            missing += 1
            continue
        document = findings.read(folder)
        _copy(folder, results / number)
        run = {name: document[name] for name in ("preset", "seed", "checksum", "finished")}
        rows = seals.rows(study.expected) if study.expected else seals.rows_of_claims(document["claims"])
        line = seals.Line(number, "recorded", args.reason, document["seal"], rows, seals.checks(study.gate), run=run)
        seals.append(line)
        print(f"{number}: {document['verdict']} ({document['preset']}, seed {document['seed']})")
    return 1 if missing and args.problems else 0


def _to_record(number: str, study: Any, runs: Path) -> Path | None:
    """The newest run of the largest preset whose settings are the preset's own and whose rows are those of today."""
    fitting = []
    for folder in records.finished_runs(number, runs):
        document = findings.read(folder)
        if document["seal"] == study.seal and not document["overrides"]:
            fitting.append(folder)
    return next((f for preset in PREFERRED for f in fitting if f.name.startswith(f"{preset}-")), None)


def _copy(folder: Path, place: Path) -> None:
    """The findings alone, whole and checked, in the place of what was recorded before; the record of replication too."""
    found = findings.Findings.load(folder)
    repeated = replication.read(folder)
    shutil.rmtree(place, ignore_errors=True)
    found.save(place / folder.name)
    if repeated:
        replication.write(repeated, place.parent)


def _results() -> Path:
    folder = store.shipped("results")
    if not (folder.parent / "pyproject.toml").exists():
        raise UserError("results are recorded in a checkout of superscope, not in an installed one")
    return folder
