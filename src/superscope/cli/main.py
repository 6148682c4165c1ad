"""The command line: ``superscope problems | bridges | run | show | atlas | zoo | sae | corpus | neuroscope | doctor``.

``run`` adds the fields of the chosen study's Config to its own options.
A mistake of the user is one line on stderr that quotes the input and says what would have worked, and exit code 2.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import tyro
from rich.console import Console

import superscope
from superscope import store
from superscope.cli import authors as cli_authors
from superscope.cli import doctor, terminal
from superscope.cli import models as cli_models
from superscope.cli import studies as cli_studies
from superscope.cli.options import (
    Atlas,
    Bridges,
    Corpus,
    Doctor,
    Neuroscope,
    Problems,
    Record,
    Replicate,
    Run,
    Sae,
    Seal,
    Show,
    Zoo,
)
from superscope.errors import UserError, folder

HELP = """\
superscope: open problems on superposition, one command each.

usage: superscope COMMAND [options]

commands:
  problems    the 45 problems and their last verdicts
  run         run a study:              superscope run 4.7
  show        the last findings:        superscope show 4.7
  bridges     what toys predict beside what language models show
  replicate   do the verdicts hold on fresh seeds? superscope replicate 4.7 --seeds 5
  atlas       the site of all findings: superscope atlas --open
  zoo         the bundled language models
  sae         sparse autoencoders: superscope sae train gelu-1l-mini --site mlp-out
  neuroscope  what makes each neuron fire: superscope neuroscope gelu-1l-mini
  corpus      build the labelled corpus: superscope corpus build
  doctor      what this machine can run, and what is missing
  seal        for authors: write down what a study expects, before its numbers
  record      for authors: put finished runs among the recorded results

examples:
  superscope run 4.7                           seconds to a minute on two cores
  superscope run 4.7 --preset standard         minutes
  superscope run 4.7 --help                    every option of this study, with its default
  superscope run --all --preset quick          everything; skips what is done

Each command has its own --help; superscope --version says which one this is.
"""


FLAVOUR = (tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point; always exits (0 done, 1 failed, 2 the user's mistake, 130 interrupted)."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character shows "?" in its place
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
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
    if argv[0] in ("-V", "--version"):
        print(f"superscope {superscope.__version__}")
        return 0
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.0)
        raise UserError(f"no command {name!r}; did you mean {near[0]!r}? (commands: {', '.join(COMMANDS)})")
    for place, word in enumerate(rest):
        if not word or (word.startswith("--") and word.endswith("=")):
            before = rest[place - 1] if place and not word else word.rstrip("=")
            raise UserError(f"{before} is given '', which is empty (see superscope {name} --help)")
    command, handler = COMMANDS[name]
    prog = f"superscope {name}"
    if command is Run:
        command, prog = cli_studies.run_options(rest)
    return handler(_parse(command, rest, prog))


def _parse(command: type, argv: list[str], prog: str) -> Any:
    """`argv` as an instance of the dataclass `command`; tyro's boxed complaint becomes one line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return _at_home(tyro.cli(command, args=argv, prog=prog, config=FLAVOUR))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        lines = [line.strip(" │") for line in complaint.getvalue().splitlines()]
        lines = [line for line in lines if line and line[0] not in "─╭╰"]
        text = re.sub(r"\s*For full help ?text.*", "", " ".join(lines))
        text = re.sub(r"(Required options )?-{4,}", "", text).strip()
        text = text.replace(" Perhaps you meant:", "; perhaps you meant").replace(" Argument helptext:", "; expected")
        raise UserError(f"{text} (see {prog} --help)") from None


def _at_home(args: Any) -> Any:
    """`args` with "~" expanded in its folders, each of them checked: a file cannot be one."""
    for item in dataclasses.fields(args):
        value = getattr(args, item.name)
        if isinstance(value, Path):
            setattr(args, item.name, folder(f"--{item.name}", value))
    if getattr(args, "seed", 0) < 0:
        raise UserError(f"--seed {args.seed}: give a whole number from 0 on")
    return args


# ------------------------------------------------------------------------------------------------------------ commands


def _atlas(args: Atlas) -> int:
    from superscope import atlas
    from superscope.evidence import records

    if args.runs != records.DEFAULT_OUT and not args.runs.is_dir():
        raise UserError(f"--runs {str(args.runs)!r}: there is no such folder; leave --runs out for the recorded findings")
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


def _sae(args: Sae) -> int:
    from superscope.cli import autoencoders

    return autoencoders.sae(args)


def _doctor(args: Doctor) -> int:
    checks = doctor.examine(args.out)
    terminal.print_checks(Console(), checks)
    return 1 if any(check.state == "missing" for check in checks) else 0


COMMANDS: dict[str, tuple[type, Any]] = {
    "problems": (Problems, cli_studies.problems),
    "bridges": (Bridges, cli_studies.bridges),
    "run": (Run, cli_studies.run),
    "show": (Show, cli_studies.show),
    "replicate": (Replicate, cli_studies.replicate),
    "atlas": (Atlas, _atlas),
    "zoo": (Zoo, cli_models.zoo),
    "sae": (Sae, _sae),
    "corpus": (Corpus, cli_models.corpus),
    "neuroscope": (Neuroscope, _neuroscope),
    "doctor": (Doctor, _doctor),
    "seal": (Seal, cli_authors.seal),
    "record": (Record, cli_authors.record),
}
