"""The command line: ``superscope problems | run | show | atlas | zoo | corpus | neuroscope | doctor``.

``run`` adds the fields of the chosen study's Config to its own options.
A mistake of the user is one line on stderr that quotes the input and says what would have worked, and exit code 2.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import difflib
import io
import json
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import tyro
from rich.console import Console

from superscope import catalogue, store, studies
from superscope.cli import doctor, terminal
from superscope.cli import models as cli_models
from superscope.cli.options import Atlas, Corpus, Doctor, Neuroscope, Problems, Run, Show, Zoo
from superscope.errors import UserError
from superscope.evidence import findings, records

HELP = """\
superscope: open problems on superposition, one command each.

usage: superscope COMMAND [options]

commands:
  problems    the 45 problems and their last verdicts
  run         run a study:              superscope run 4.7
  show        the last findings:        superscope show 4.7
  atlas       the site of all findings: superscope atlas --open
  zoo         the bundled language models
  neuroscope  what makes each neuron fire: superscope neuroscope gelu-1l-mini
  corpus      build the labelled corpus: superscope corpus build
  doctor      what this machine can run, and what is missing

examples:
  superscope run 4.7                           seconds to a minute on two cores
  superscope run 4.7 --preset standard         minutes
  superscope run 4.7 --help                    every option of this study, with its default
  superscope run --all --preset quick          everything; skips what is done

Each command has its own --help.
"""


FLAVOUR = (tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point; always exits (0 done, 1 failed, 2 the user's mistake, 130 interrupted)."""
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
    except (UserError, studies.UnknownProblemError) as error:
        code = _complain(str(error), 2)
    except store.StoreError as error:
        code = _complain(str(error), 1)
    except KeyboardInterrupt:
        code = _complain("interrupted; finished units are kept, the same command goes on from there", 130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
        code = 0
    raise SystemExit(code)


def _complain(message: str, code: int) -> int:
    print(f"superscope: {message}", file=sys.stderr)
    return code


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.0)
        raise UserError(f"no command {name!r}; did you mean {near[0]!r}? (commands: {', '.join(COMMANDS)})")
    command, handler = COMMANDS[name]
    prog = f"superscope {name}"
    if command is Run:
        command, prog = _with_config(rest)
    return handler(_parse(command, rest, prog))


def _parse(command: type, argv: list[str], prog: str) -> Any:
    """`argv` as an instance of the dataclass `command`; tyro's boxed complaint becomes one line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(command, args=argv, prog=prog, config=FLAVOUR)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        lines = [line.strip(" │") for line in complaint.getvalue().splitlines()]
        lines = [line for line in lines if line and line[0] not in "─╭╰"]
        text = re.sub(r"\s*For full help ?text.*", "", " ".join(lines))
        text = text.replace(" Perhaps you meant:", "; perhaps you meant").replace(" Argument helptext:", "; expected")
        raise UserError(f"{text} (see {prog} --help)") from None


# ------------------------------------------------------------------------------------------------------------- problems


def _problems(args: Problems) -> int:
    if args.markdown:
        print(catalogue.markdown_table(), end="")
        return 0
    rows = [_problem_row(problem, args.out) for problem in catalogue.problems().values()]
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


def _problem_row(problem: catalogue.Problem, out: Path) -> dict[str, Any]:
    try:
        folder = records.latest(problem.number, out)
        document = findings.read(folder) if folder else {}
    except store.StoreError:
        document = {"verdict": "damaged on disk, run it again"}
    return {
        **dataclasses.asdict(problem),
        "difficulty": problem.rating,
        "built": problem.built,
        "verdict": document.get("verdict", ""),
        "preset": document.get("preset", ""),
        "finished": document.get("finished", ""),
    }


# ------------------------------------------------------------------------------------------------------------------ run


def _study(name: str) -> Any:
    problem = catalogue.get(name)
    if not problem.built:
        raise UserError(
            f"{problem.number} ({problem.title}) is not built yet. Its question: {problem.question} "
            f"(built: {', '.join(studies.built()) or 'none yet'})"
        )
    return studies.get(problem.number)


def _with_config(argv: list[str]) -> tuple[type, str]:
    """`Run` with the fields of the named study's Config at the named preset's values, and the program name."""
    named = {"--preset": "quick"}
    problem = None
    words = iter(argv)
    for word in words:
        option, _, value = word.partition("=")
        if option in ("--preset", "--seed", "--executor", "--workers", "--out"):
            named[option] = value or next(words, "")
        elif not word.startswith("-"):
            problem = problem or word
    if problem is None:
        return Run, "superscope run"
    study = _study(problem)
    default = study.presets.get(named["--preset"], study.presets["quick"])
    field = ("config", tyro.conf.OmitArgPrefixes[study.config_type], dataclasses.field(default=default))  # type: ignore[misc,name-defined]
    made = dataclasses.make_dataclass("Run", [field], bases=(Run,), namespace={"__doc__": Run.__doc__})
    return made, f"superscope run {study.problem}"


def _run(args: Any) -> int:
    if args.all and args.problem is not None:
        raise UserError(f"{args.problem!r} together with --all: name one problem, or give --all alone")
    if args.all:
        return _run_all(args)
    if args.problem is None:
        raise UserError("name a problem, such as 'superscope run 4.7', or give --all")
    study = _study(args.problem)
    preset = study.presets[args.preset]
    chosen = {item.name: getattr(args.config, item.name) for item in dataclasses.fields(preset)}
    overrides = {name: value for name, value in chosen.items() if value != getattr(preset, name)}
    folder = _run_study(study, args, overrides)
    terminal.print_findings(Console(), findings.read(folder), folder)
    return 0


def _run_study(study: Any, args: Run, overrides: dict[str, Any]) -> Path:
    folder = study.folder(study.configure(args.preset, **overrides), args.preset, args.seed, args.out)
    if args.fresh:
        store.remove(folder)
    quiet = args.quiet or not sys.stderr.isatty()
    study.run(args.preset, args.seed, args.out, args.executor, workers=args.workers, quiet=quiet, **overrides)
    return folder


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
        return _complain(f"{len(failed)} of {len(built)} studies failed: {', '.join(failed)}", 1)
    return 0


def _stored_verdict(folder: Path) -> str:
    try:
        return findings.read(folder)["verdict"]
    except store.StoreError:  # not there, or damaged: run it
        return ""


# -------------------------------------------------------------------------------------------------- show, atlas, doctor


def _show(args: Show) -> int:
    problem = catalogue.get(args.problem)
    folder = records.latest(problem.number, args.out, args.preset)
    if folder is None:
        study = _study(problem.number)
        raise UserError(f"no findings of {study.problem} under {str(args.out)!r} yet; run: superscope run {study.problem}")
    document = findings.read(folder)
    if args.json:
        print(store.dumps(document), end="")
    else:
        terminal.print_findings(Console(), document, folder)
    return 0


def _atlas(args: Atlas) -> int:
    from superscope import atlas

    site = atlas.build(args.out, args.runs)
    for warning in site.warnings:
        _complain(warning, 0)
    print(f"{site.pages} pages, {site.with_findings} with findings: {site.index}")
    if args.open:
        import webbrowser

        webbrowser.open(site.index.resolve().as_uri())
    return 0


def _neuroscope(args: Neuroscope) -> int:
    from superscope.cli import neuroscope as cli_neuroscope

    return cli_neuroscope.neuroscope(args)


def _doctor(args: Doctor) -> int:
    checks = doctor.examine(args.out)
    terminal.print_checks(Console(), checks)
    return 1 if any(check.state == "missing" for check in checks) else 0


COMMANDS: dict[str, tuple[type, Any]] = {
    "problems": (Problems, _problems),
    "run": (Run, _run),
    "show": (Show, _show),
    "atlas": (Atlas, _atlas),
    "zoo": (Zoo, cli_models.zoo),
    "corpus": (Corpus, cli_models.corpus),
    "neuroscope": (Neuroscope, _neuroscope),
    "doctor": (Doctor, _doctor),
}
