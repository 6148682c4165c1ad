"""Commands about studies: ``superscope problems | run | show | replicate``."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from superscope import catalogue, store, studies
from superscope.catalogue import Problem
from superscope.cli import terminal
from superscope.cli.options import Bridges, Problems, Replicate, Run, Show
from superscope.errors import UnknownProblemError, UserError
from superscope.evidence import bridges as loop
from superscope.evidence import findings, records, replication

_TAKE_A_VALUE = ("--preset", "--seed", "--executor", "--workers", "--out")


def problems(args: Problems) -> int:
    if args.markdown:
        print(markdown_table(), end="")
        return 0
    rows = [_problem_row(problem, args.out) for problem in studies.problems().values()]
    if args.json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
    elif args.csv:
        flat = [name for name in rows[0] if name not in ("tips", "prior")]
        writer = csv.DictWriter(sys.stdout, flat, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        terminal.print_problems(Console(), rows)
    return 0


def bridges(args: Bridges) -> int:
    found = loop.crossings(args.out)
    if args.json:
        rows = [
            {**dataclasses.asdict(one.bridge), "verdict": one.verdict, "why_not": one.why_not,
             "toy_estimate": loop.shown(one.toy), "lm_estimate": loop.shown(one.lm)}
            for one in found
        ]  # fmt: skip
        print(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        terminal.print_bridges(Console(), found)
    return 0


def markdown_table() -> str:
    """The problems as a Markdown table; status is what the recorded results say. The README shows exactly this."""
    lines = ["| | level | problem | status |", "|---|---|---|---|"]
    recorded = records.bundled_results()
    for problem in catalogue.problems().values():
        done = records.finished_runs(problem.number, recorded) if recorded else []
        status = "built" if problem.number in studies.built() else "not yet"
        if done:
            document = findings.read(done[0])
            status = f"{document['verdict']} ({document['preset']})"
        lines.append(f"| {problem.number} | {problem.rating} | {problem.title} | {status} |")
    return "\n".join(lines) + "\n"


def markdown_findings(numbers: Sequence[str] = ("sae-lms", "4.7", "4.36")) -> str:
    """The recorded answers of some studies as a Markdown list. The README shows exactly this."""
    lines = []
    for number in numbers:
        folder = records.most_telling(number, store.shipped("results"))
        if folder is not None:
            document = findings.read(folder)
            lines.append(f"- **{number}, {document['title'].lower()}** ({document['preset']}): {document['answer']}")
    return "\n".join(lines) + "\n"


def _problem_row(problem: Problem, out: Path) -> dict[str, Any]:
    try:
        folder = records.latest(problem.number, out)
        document = findings.read(folder) if folder else {}
    except store.StoreError:
        document = {"verdict": "damaged on disk, run it again"}
    return {
        **dataclasses.asdict(problem),
        "difficulty": problem.rating,
        "built": problem.number in studies.built(),
        "verdict": document.get("verdict", ""),
        "preset": document.get("preset", ""),
        "finished": document.get("finished", ""),
    }


# ------------------------------------------------------------------------------------------------------------------ run


def study_of(name: str) -> Any:
    """The study of a problem; UserError with its question where there is none yet."""
    problem = studies.find(name)
    if problem.number not in studies.built():
        raise UserError(
            f"{problem.number} ({problem.title}) is not built yet. Its question: {problem.question} "
            f"(built: {', '.join(studies.built()) or 'none yet'})"
        )
    return studies.get(problem.number)


def run_options(argv: Sequence[str]) -> tuple[type, str]:
    """`Run` with the fields of the named study's Config at the named preset's values, and the program name."""
    named = _named(argv)
    if named is None:
        return Run, "superscope run"
    if {"-h", "--help"} & set(argv):
        from superscope.cli import outline

        outline.without_libraries()
    study = study_of(named)
    preset = next((value for option, value in _pairs(argv) if option == "--preset"), "quick")
    default = study.presets.get(preset, study.presets["quick"])
    field = ("config", tyro.conf.OmitArgPrefixes[study.config_type], dataclasses.field(default=default))  # type: ignore[misc,name-defined]
    made = dataclasses.make_dataclass("Run", [field], bases=(Run,), namespace={"__doc__": Run.__doc__})
    return made, f"superscope run {study.problem}"


def _pairs(argv: Sequence[str]) -> list[tuple[str, str]]:
    """(option, value) of the options of `Run` that take one value."""
    out = []
    for place, word in enumerate(argv):
        option, equals, value = word.partition("=")
        if option in _TAKE_A_VALUE:
            out.append((option, value if equals else argv[place + 1] if place + 1 < len(argv) else ""))
    return out


def _named(argv: Sequence[str]) -> str | None:
    """The word that names a problem. Values of options are words too: what stands alone comes first, then what is known."""
    words: list[str] = []
    after_option: list[str] = []
    skip = False
    for place, word in enumerate(argv):
        if skip or word.startswith("-"):
            skip = not skip and word in _TAKE_A_VALUE
            continue
        before = argv[place - 1] if place else ""
        (after_option if before.startswith("-") and "=" not in before else words).append(word)
    known = [word for word in [*words, *after_option] if _is_problem(word)]
    return next(iter([*known, *words]), None)


def _is_problem(word: str) -> bool:
    try:
        studies.find(word)
    except UnknownProblemError:
        return False
    return True


def run(args: Any) -> int:
    """Run one study, or all."""
    if args.all and args.problem is not None:
        raise UserError(f"{args.problem!r} together with --all: name one problem, or give --all alone")
    if args.all:
        return _run_all(args)
    if args.problem is None:
        raise UserError("name a problem, such as 'superscope run 4.7', or give --all")
    study = study_of(args.problem)
    preset = study.presets[args.preset]
    chosen = {item.name: getattr(args.config, item.name) for item in dataclasses.fields(preset)}
    folder = _run_study(study, args, {name: value for name, value in chosen.items() if value != getattr(preset, name)})
    terminal.print_findings(Console(), findings.read(folder), folder)
    return 0


def _run_study(study: Any, args: Any, overrides: dict[str, Any], seed: int | None = None, out: Path | None = None) -> Path:
    quiet = args.quiet or not sys.stderr.isatty()
    number = args.seed if seed is None else seed
    found = study.run(
        args.preset, number, out or args.out, args.executor, workers=args.workers, quiet=quiet, fresh=args.fresh, **overrides
    )
    return found.folder


def _run_all(args: Run) -> int:
    console = Console()
    built = studies.built()
    failed = []
    for place, number in enumerate(built, 1):
        study = studies.get(number)
        folder = study.folder(study.configure(args.preset), args.preset, args.seed, args.out)
        state = "" if args.fresh else _stored_verdict(folder)
        if not state:
            try:
                state = findings.read(_run_study(study, args, {}))["verdict"]
            except Exception:  # one broken study must not stop the others; its traceback is for its author
                traceback.print_exc()
                failed.append(number)
                state = "failed with an error"
        else:
            state += " (done before)"
        console.print(f"[{place}/{len(built)}] {number}  {study.title}: {state}", markup=False, highlight=False)
    if failed:
        print(f"superscope: {len(failed)} of {len(built)} studies failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _stored_verdict(folder: Path) -> str:
    try:
        return findings.read(folder)["verdict"]
    except store.StoreError:  # not there, or damaged: run it
        return ""


# ------------------------------------------------------------------------------------------------------ show, replicate


def show(args: Show) -> int:
    """Print the last findings of a problem."""
    problem = studies.find(args.problem)
    folder = records.latest(problem.number, args.out, args.preset)
    if folder is None:
        number = study_of(problem.number).problem
        which, how = (f"{args.preset} findings", f" --preset {args.preset}") if args.preset else ("findings", "")
        raise UserError(f"no {which} of {number} under {str(args.out)!r} yet; run: superscope run {number}{how}")
    document = findings.read(folder)
    if args.json:
        print(store.dumps(document), end="")
    else:
        terminal.print_findings(Console(), document, folder, replication.read(folder, args.out))
    return 0


def replicate(args: Replicate) -> int:
    """Run studies on fresh seeds and say how often each verdict comes back."""
    if args.seeds < 1:
        raise UserError(f"--seeds {args.seeds}: at least one fresh seed is needed")
    console = Console()
    for number in [studies.find(name).number for name in args.problems] or studies.built():
        study = study_of(number)
        folder = records.latest(number, args.out, args.preset)
        if folder is None:
            folder = _run_study(study, args, {}, seed=0)
        record = findings.read(folder)
        if study.seal and record["seal"] != study.seal:
            console.print(
                f"{number}: what is recorded was judged by other rows; run: superscope run {number} --preset {args.preset}"
            )
            continue
        fresh = [seed for seed in range(1, args.seeds + 2) if seed != record["seed"]][: args.seeds]
        apart = args.out / "replicates"  # so that `show` goes on showing what was found first
        documents = [findings.read(_run_study(study, args, record["overrides"], seed, apart)) for seed in fresh]
        kept = replication.compare(record, documents)
        place = replication.write(kept, args.out)
        console.print(f"{number}  {study.title}: {replication.sentence(kept)} [{place}]", markup=False, highlight=False)
    return 0
