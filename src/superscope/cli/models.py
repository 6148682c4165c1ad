"""Commands about language models and their corpus: ``superscope zoo | corpus``."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from superscope.cli.options import Corpus, Zoo
from superscope.errors import UserError

# Key of `zoo.table` -> heading and format: narrow enough for 80 columns.
_COLUMNS = {
    "name": ("name", "{}"), "layers": ("layers", "{}"), "d_model": ("d", "{}"), "d_mlp": ("neurons", "{}"),
    "activation": ("act", "{}"), "seed": ("seed", "{}"), "tokens": ("tokens", "{:.1f}M"), "loss": ("loss", "{:.2f}"),
    "induction": ("induction", "{:.2f}"), "ioi": ("IOI", "{:.2f}"), "megabytes": ("MB", "{:.0f}"),
}  # fmt: skip


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)


def zoo(args: Zoo) -> int:
    """List the bundled models, or train one of them anew."""
    if args.train is not None:
        return _train(args)
    from superscope.lms import shelf

    rows = shelf.table()
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    table = Table(title="bundled language models", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for key, (title, _) in _COLUMNS.items():
        table.add_column(title, justify="left" if key in ("name", "activation") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(form.format(row[key] / 1e6 if key == "tokens" else row[key]) for key, (_, form) in _COLUMNS.items()))
    console = Console()
    console.width = max(console.width, 98)  # a name cut short cannot be typed
    console.print(table)
    console.print(
        "loss: nats per token on the shipped sample. induction: highest prefix matching of a head. IOI: share of indirect\n"
        "objects found, in the worst of four cells of frames and names.\n"
        "Also by name when the Hugging Face hub is reachable or was: gpt2, solu-1l..4l, gelu-1l..4l, attn-only-1l..4l,\n"
        "pythia-*; and any local folder saved by transformers or in HookedTransformer format: superscope.lms.load(folder)",
        highlight=False,
    )
    return 0


def _retrain(args: Zoo) -> int:
    """One MLP trained again, "retrained/BASE/ARM"."""
    from superscope.lms.reading.concept_inputs import concept_inputs
    from superscope.lms.zoo import retraining

    name = str(args.train).partition("/")[2]
    if name not in retraining.RETRAINED:
        raise UserError(f"no retrained model {name!r}; there are {', '.join(retraining.RETRAINED)}")
    if args.corpus is None:
        raise UserError("--train needs --corpus FOLDER; make one with: superscope corpus build --out FOLDER")
    out = args.out.expanduser() / retraining.FOLDER
    retraining.make(name, args.corpus.expanduser(), out, _say, concept_inputs)
    print(f"trained: superscope.lms.zoo.retraining.load({name!r}, pathlib.Path({str(out)!r}))")
    return 0


def _train(args: Zoo) -> int:
    import difflib

    from superscope.lms.zoo import minis, t5

    if str(args.train).startswith("retrained/"):
        return _retrain(args)
    wanted = str(args.train)
    family, _, name = wanted.rpartition("/")
    encoder_decoder = family == t5.FAMILY and name in t5.MINIS
    if wanted not in minis.MINIS and not encoder_decoder:
        names = [*minis.MINIS, *(f"{t5.FAMILY}/{one}" for one in t5.MINIS)]
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.0)
        raise UserError(f"no bundled model {wanted!r}; nearest is {near[0]!r} (all: {', '.join(names)})")
    if args.corpus is None:
        raise UserError("--train needs --corpus FOLDER; make one with: superscope corpus build --out FOLDER")
    if encoder_decoder:
        folder = t5.make(name, args.corpus.expanduser(), args.out.expanduser(), _say)
        print(f"trained: superscope.lms.model.t5.open_t5({str(folder)!r})")
        return 0
    folder = minis.make(wanted, args.corpus.expanduser(), args.out.expanduser(), _say)
    print(f"trained: superscope.lms.load({str(folder)!r})")
    return 0


def corpus(args: Corpus) -> int:
    """Build a corpus or show what is in one."""
    from superscope.lms import corpus as texts

    if args.action == "build":
        manifest: dict[str, Any] = texts.build(args.out, args.cache, args.source, _say, args.drills or None)
        for name, facts in manifest["files"].items():
            print(f"{name}: {facts['documents']} documents, {facts['bytes'] / 1e6:.1f} MB in {len(facts['genres'])} genres")
        missing = [row["name"] for row in manifest["sources"] if "missing" in row]
        if missing:
            print(f"missing sources: {', '.join(missing)}; genres that are absent: {manifest['absent genres'] or 'none'}")
    else:
        place = args.folder / "corpus.json" if args.folder else texts.sample_folder() / "sample.json"
        if args.folder is not None:
            texts.read_manifest(args.folder)
        print(place.read_text(), end="")
    return 0
