"""Commands for those who write studies: ``superscope seal | record``. They write to the checkout's ``results/``."""

from __future__ import annotations

import shutil
from pathlib import Path

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
    why = seals.unsealed(study.problem, study.expected, study.gate, seals.read())
    if not why:
        print(f"{study.problem}: its rows are those of its last ledger line; nothing to do")
        return 0
    seals.append(seals.Line(study.problem, "sealed", args.reason, study.seal, seals.rows(study.expected)))
    print(f"{study.problem}: {len(study.expected)} rows sealed as {study.seal[:12]}")
    return 0


def record(args: Record) -> int:
    """Copy the newest finished run of each problem (full before standard before quick) into the recorded results."""
    results = _results()
    wanted = [studies.find(name).number for name in args.problems] or studies.built()
    for number in wanted:
        done = records.finished_runs(number, args.runs)
        done = [folder for preset in PREFERRED for folder in done if folder.name.startswith(f"{preset}-")]
        if not done:
            print(f"{number}: no finished run under {str(args.runs)!r}")
            continue
        document = findings.read(done[0])
        study = study_of(number)
        if study.expected and document["seal"] != study.seal:
            raise UserError(f"the run of {number} in {done[0]} was judged by other rows than the study has now: run it again")
        if study.expected and (why := seals.unsealed(number, study.expected, study.gate, seals.read())):
            raise UserError(why)
        _copy(done[0], results / number)
        line = seals.Line(number, "recorded", args.reason, document["seal"], seals.rows_of_claims(document["claims"]))
        seals.append(line)
        print(f"{number}: {document['verdict']} ({document['preset']}, seed {document['seed']})")
    return 0


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
