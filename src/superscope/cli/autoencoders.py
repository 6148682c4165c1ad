"""``superscope sae train | list | show``: sparse autoencoders from the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from superscope.cli.options import Sae
from superscope.errors import UserError

if TYPE_CHECKING:
    from superscope.lms.corpus.splits import Rows
    from superscope.lms.model.language_model import LanguageModel
    from superscope.recover.sae import SAE, Architecture
    from superscope.recover.sae.training import Source

Work = tuple["Source", str, dict[str, Any], Callable[["SAE"], dict[str, float]]]
"""What a training needs of its target: data, a name for the folder, what to write down, and how to try the result."""

SITES = {
    "resid-pre": "hook_resid_pre", "resid-mid": "hook_resid_mid", "resid-post": "hook_resid_post", "attn-out": "hook_attn_out",
    "mlp-out": "hook_mlp_out",
}  # fmt: skip
SETTINGS = {"l1": ("l0", "l1"), "gated": ("l0", "l1"), "jumprelu": ("l0",)}  # the others: k; the first one has a default
DEFAULT = 16.0  # latents on per token
TRIED_ON = 64  # rows of text that a trained SAE is tried on

_COLUMNS = {
    "name": ("name", "{}"), "architecture": ("architecture", "{}"), "latents": ("latents", "{}"), "site": ("site", "{}"),
    "l0": ("L0", "{:.1f}"), "explained": ("explained", "{:.2f}"), "ce_score": ("loss recovered", "{:.2f}"),
    "alive": ("alive", "{:.2f}"), "megabytes": ("MB", "{:.1f}"),
}  # fmt: skip


def sae(args: Sae) -> int:
    """Do what `args.action` says."""
    if args.action == "list":
        return _list(args)
    if args.action == "bench":
        return _bench(args)
    if len(args.target) != 1:
        raise UserError(
            "superscope sae train needs one model, such as: superscope sae train gelu-1l-mini"
            if args.action == "train"
            else "superscope sae show needs a bundled SAE or a folder; superscope sae list names the bundled ones"
        )
    return _train(args) if args.action == "train" else _show(args)


def _list(args: Sae) -> int:
    from superscope.recover.sae import shelf

    rows = shelf.table()
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    table = Table(title="bundled sparse autoencoders", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for key, (title, _) in _COLUMNS.items():
        table.add_column(title, justify="left" if key in ("name", "architecture", "site") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*("" if row[key] is None else form.format(row[key]) for key, (_, form) in _COLUMNS.items()))
    console = Console()
    console.width = max(console.width, 134)
    console.print(table)
    console.print(
        "explained: share of variance about the mean. loss recovered: against mean ablation, on text that was not trained on.\n"
        'Load one: superscope.recover.sae.load("gelu-1l-mini/mlp-out-topk"); any folder in SAELens 6 format is read too.',
        highlight=False,
    )
    return 0


def _bench(args: Sae) -> int:
    from superscope.recover.sae import leaderboard, load

    if not args.target:
        raise UserError("superscope sae bench needs at least one folder, such as saes-trained/my-sae")
    rows = list(leaderboard.rows({name: load(name) for name in args.target}, args.size, args.seed))
    rows.sort(key=lambda row: -row["f1"])
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    table = Table(title=f"known features: {args.size}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("name", no_wrap=True)
    for column in ("latents", *leaderboard.COLUMNS):
        table.add_column(column.replace("_", " "), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["name"], str(row["latents"]), *(f"{row[column]:.2f}" for column in leaderboard.COLUMNS))
    console = Console()
    console.width = max(console.width, 140)
    console.print(table)
    console.print(
        "f1: activations against the true ones, one latent a feature (Hungarian, over all features). mcc: directions, signed.\n"
        "adjusted: (score - that of chance) / (1 - that of chance). recovered 90: features with a latent of cosine above .9.",
        highlight=False,
    )
    return 0


def _show(args: Sae) -> int:
    from superscope.recover.sae import load

    one = load(args.target[0])
    facts: dict[str, Any] = {
        "kind": one.kind, "inputs": one.d_in, "latents": one.n, "outputs": one.d_out, "k": one.k,
        "decoder norms": [round(float(v), 4) for v in one.decoder.norm(dim=1).aminmax()], **one.metadata,
    }  # fmt: skip
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    for key, value in facts.items():
        if value is not None:
            print(f"{key.replace('_', ' '):24} {json.dumps(value) if isinstance(value, dict | list) else value}")
    return 0


def _train(args: Sae) -> int:
    import torch

    from superscope import lms, store
    from superscope.lms.corpus import CorpusError
    from superscope.lms.model.backend import BackendMissingError
    from superscope.recover import sae as saes

    config, recipe = _configuration(args), saes.Recipe(steps=args.steps, lr=args.lr)
    frozen = "" if args.freeze == "nothing" else f"-frozen-{args.freeze.replace(' ', '-')}"
    metadata: dict[str, Any] = {"steps": args.steps, "batch": args.batch, "lr": args.lr, "tokens": args.steps * args.batch}
    (target,) = args.target
    if args.name is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,200}", args.name):
        raise UserError(f"--name {args.name!r}: use letters, digits, '.', '_' and '-' (it becomes the name of a folder)")
    if target.startswith("world:"):
        stream, name, more, try_it = _on_world(args, target, config)
    else:
        try:
            stream, name, more, try_it = _on_model(args, target, config)
        except (lms.ModelError, CorpusError, BackendMissingError) as error:
            raise UserError(str(error)) from None
    metadata |= more
    folder = args.out.expanduser() / (args.name or f"{name}-{config.name}{frozen}")
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} steps"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[line]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=args.quiet) as bars:
        task = bars.add_task("training", total=args.steps, line="")

        def say(done: int, total: int, line: str) -> None:
            bars.update(task, completed=done, total=total, line=line)

        (trained,) = saes.train(
            stream, config, seeds=[args.seed], recipe=recipe, folder=folder / "training", progress=say, metadata=metadata
        )
    rounded = {key: round(value, 4) for key, value in try_it(trained.sae).items()}
    told = replace(trained.sae, metadata=trained.sae.metadata | rounded)
    saes.save(told, folder, torch.float16 if args.half else torch.float32)
    store.remove(folder / "training")
    if args.json:
        print(json.dumps({"folder": str(folder), **rounded}, indent=2))
        return 0
    print(
        f"{config.name}, {config.width} latents on {name}: "
        + ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in rounded.items())
    )
    print(f"in {folder}: superscope.recover.sae.load({str(folder)!r})")
    return 0


def _on_model(args: Sae, target: str, config: Architecture) -> Work:
    """Activations of a language model; tried in it, on documents that were not trained on."""
    from superscope import lms
    from superscope.recover.sae import Activations, panel

    model = lms.load(target)
    if args.control != "none":
        model = model.control(args.control, args.seed)
    config.check(model.d_model)
    source, written = _hooks(args, model, config)
    train_rows, test_rows = _text(args, model)
    stream = Activations(model, source, train_rows, target=written, batch=args.batch, seed=args.seed)
    control = "" if args.control == "none" else f"-{args.control}"
    about = {
        "model_name": target, "hook_name": source, "context_size": model.n_ctx, "prepend_bos": True, "control": args.control,
        "corpus": Path(args.corpus).name,
    } | ({"hook_name_out": written} if written else {})  # fmt: skip
    name = f"{Path(target).name}{control}-{args.site.replace('.', '-')}"
    return stream, name, about, lambda one: panel.examine(model, one, test_rows).row()


def _on_world(args: Sae, target: str, config: Architecture) -> Work:
    """Samples of a benchmark world; scored against its features."""
    from superscope.inputs import worlds
    from superscope.recover.sae import leaderboard

    size = target.removeprefix("world:")
    if size not in worlds.SIZES:
        raise UserError(f"no world {target!r}: choose {', '.join(f'world:{one}' for one in worlds.SIZES)}")
    if args.control != "none" or not config.inside:
        raise UserError(f"{target} has no {'control' if config.inside else 'output to transcode to'}: leave that option out")
    world = worlds.benchmark(size)
    config.check(world.directions.shape[1])

    def try_it(one: SAE) -> dict[str, float]:
        row = next(leaderboard.rows({"this": one}, size))
        return {column: float(row[column]) for column in leaderboard.COLUMNS}

    return leaderboard.source(world, args.batch, args.seed), target.replace(":", "-"), {"world": world.name}, try_it


def _configuration(args: Sae) -> Architecture:
    from superscope.recover.sae import ARCHITECTURES

    wanted = SETTINGS.get(args.architecture, ("k",))
    given = {key: getattr(args, key) for key in ("k", "l0", "l1") if getattr(args, key) is not None}
    if foreign := [key for key in given if key not in wanted]:
        raise UserError(
            f"--{foreign[0]} is no setting of {args.architecture}: its sparsity is set by --{' or --'.join(wanted)}"
        )
    return ARCHITECTURES[args.architecture](width=args.width, freeze=args.freeze, **(given or {wanted[0]: DEFAULT}))


def _hooks(args: Sae, model: LanguageModel, config: Architecture) -> tuple[str, str | None]:
    """The hook that is read, and for a transcoder the one it is to make."""
    if not 0 <= args.layer < model.n_layers:
        raise UserError(f"--layer {args.layer}: {model.name} has layers 0 to {model.n_layers - 1}")
    if not config.inside:
        return f"blocks.{args.layer}.ln2.hook_normalized", f"blocks.{args.layer}.hook_mlp_out"
    if args.site == "neurons":
        return model.neuron_hook(args.layer), None
    hook = f"blocks.{args.layer}.{SITES[args.site]}" if args.site in SITES else args.site
    if hook not in model.hooked.hook_dict:
        raise UserError(f"--site {args.site!r}: choose {', '.join([*SITES, 'neurons'])}, or a hook of {model.name}")
    return hook, None


def _text(args: Sae, model: LanguageModel) -> tuple[Rows, Rows]:
    """Rows to train on and rows to try it on, of different documents."""
    from superscope.lms import corpus

    if args.corpus == "sample":
        return corpus.halves(corpus.sample(model.tokenizer), model.n_ctx, args.seed, TRIED_ON)
    folder = Path(args.corpus).expanduser()
    if not folder.is_dir():
        raise UserError(f"no corpus folder {args.corpus!r}: give one made with superscope corpus build, or leave --corpus out")
    tokens = corpus.cached_tokens(folder, model.tokenizer, "train", ("ioi",))
    held_out = corpus.load(folder, model.tokenizer, "validation").rows(model.n_ctx, limit=TRIED_ON, seed=args.seed)
    return corpus.stream_rows(tokens, model.n_ctx, model.tokenizer.bos), held_out
