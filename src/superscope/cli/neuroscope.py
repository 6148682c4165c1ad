"""``superscope neuroscope MODEL``: what makes every neuron of a layer fire, as pages beside the atlas."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from superscope import store
from superscope.cli.options import Neuroscope
from superscope.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from superscope.lms.corpus.splits import Split
    from superscope.lms.corpus.tokenizer import Tokenizer
    from superscope.lms.model.activations import Units
    from superscope.lms.model.language_model import LanguageModel
    from superscope.lms.reading.neuroscope import Progress as Report
    from superscope.lms.reading.neuroscope import UnitReports
    from superscope.recover.sae.dictionary import SAE

PHASES = {"scan": "reading the corpus", "contexts": "fetching examples", "judge": "judging"}


def neuroscope(args: Neuroscope) -> int:
    """Examine, judge, write the pages, say where they are."""
    from superscope.lms import corpus
    from superscope.lms.model import backend
    from superscope.lms.model import language_model as model

    if args.rows is not None and args.rows < 1:
        raise UserError(f"--rows {args.rows}: give at least 1, or leave it out to read the whole corpus")
    _check_writable(args.out)
    _check_writable(args.runs)
    try:
        loaded = model.load(args.model)
        sae = _sae(args.sae, loaded) if args.sae is not None else None
        if sae is None:
            loaded.neuron_hook(args.layer)
        split = _read(args.corpus, loaded.tokenizer)
        return _examine(args, loaded, split, sae)
    except (model.ModelError, corpus.CorpusError, backend.BackendMissingError) as error:
        raise UserError(str(error)) from None


def _sae(name: str, loaded: LanguageModel) -> SAE:
    """The SAE, one of this model."""
    from superscope.recover.sae import load, panel

    sae = load(name)
    panel.splice(loaded, sae)  # an SAE of another model is found out here
    return sae


def _latents(sae: SAE, name: str, loaded: LanguageModel) -> tuple[Units, np.ndarray | None]:
    """The latents of an SAE as units, and what they write to the residual stream where they do."""
    from superscope.recover.sae import panel, shelf

    units = replace(panel.latents(sae), name=f"sae {Path(name).name} {shelf.digest(name)[:7]}")
    into_stream = sae.d_out == loaded.d_model and not panel.sites(sae)[1].endswith(("hook_normalized", "hook_z"))
    return units, sae.decoder.numpy() if into_stream else None


def _examine(args: Neuroscope, loaded: LanguageModel, split: Split, sae: SAE | None) -> int:
    from superscope import atlas
    from superscope.atlas import neuroscope as pages
    from superscope.lms.model import activations
    from superscope.lms.reading import metrics
    from superscope.lms.reading.similar import similar

    units = _latents(sae, args.sae or "", loaded) if sae is not None else None
    with _bars(quiet=args.quiet) as say:
        reports = _reports(args, loaded, split, say, units)
        judged = units[0] if units is not None else activations.neurons(loaded, args.layer)
        rows = min(args.rows or metrics.JUDGED_ROWS, metrics.JUDGED_ROWS)
        try:
            verdicts = metrics.verdicts(loaded, split, judged, rows, args.seed, lambda done, of: say("judge", done, of))
        except ValueError as error:
            verdicts = None
            print(f"not judged: {error}", file=sys.stderr)
    alike = similar(loaded, split, judged, len(reports), rows, args.seed)
    made = pages.write(reports, args.out, verdicts, similar=alike, model=loaded, sae=sae)
    site = atlas.build(args.out, args.runs)  # so that the index lists the new pages
    what = f"neurons of {loaded.name}, layer {args.layer}" if args.sae is None else f"latents of {args.sae} in {loaded.name}"
    print(f"{made.units} {what}, over {reports.n_tokens:,} tokens: {made.index}")
    print(f"listed in {site.index}")
    if args.open:
        webbrowser.open(made.index.resolve().as_uri())
    return 0


def _reports(
    args: Neuroscope, loaded: LanguageModel, split: Split, say: Report, units: tuple[Units, np.ndarray | None] | None
) -> UnitReports:
    """Stored reports of the same model, text and options when there are some, else a new examination, which may be resumed."""
    from superscope.lms.reading import neuroscope as scope
    from superscope.recover.sae import shelf

    options = {"layer": args.layer} if args.sae is None else {"sae": shelf.digest(args.sae)}
    key = scope.identity(loaded, split, **options, rows=args.rows, seed=args.seed)
    place = f"L{args.layer}" if args.sae is None else "sae"
    folder = args.runs / "neuroscope" / f"{loaded.name.replace(os.sep, '-')}-{place}-{key[:10]}"
    with contextlib.suppress(store.StoreError):  # none yet, or damaged: examine
        return scope.load(folder, split)
    title = "the shipped sample corpus" if args.corpus == "sample" else f"corpus {Path(args.corpus).name}"
    which, writes = units or (None, None)
    reports = scope.examine(
        loaded, split, args.layer, which, writes=writes, rows=args.rows, seed=args.seed, corpus=title, store=folder / "scan",
        progress=say,
    )  # fmt: skip
    reports.save(folder)
    store.remove(folder / "scan")
    return reports


def _read(name: str, tokenizer: Tokenizer) -> Split:
    """The shipped sample, the validation split of a built corpus, or a text file or folder of text read on the spot."""
    from superscope.lms import corpus

    if name == "sample":
        return corpus.sample(tokenizer)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"no corpus folder {name!r}: give a folder made with superscope corpus build, "
            "or leave --corpus out for the sample that is shipped"
        )
    return corpus.load(folder, tokenizer, "validation")


def _check_writable(folder: Path) -> None:
    """A folder that cannot be written is found out before the work, not after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write to {str(folder)!r} ({error.strerror}): choose another folder with --out or --runs"
        ) from None


@contextlib.contextmanager
def _bars(quiet: bool) -> Iterator[Report]:
    """One bar with an ETA per phase, on stderr."""
    columns = (
        TextColumn("{task.description:20}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        tasks = {}

        def say(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(PHASES.get(phase, phase), total=total)
            progress.update(tasks[phase], completed=done, total=total)

        yield say
