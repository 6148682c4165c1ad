"""``superscope sae train | list | show``: sparse autoencoders from the command line."""

from __future__ import annotations

import json
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
    from superscope.recover.sae import Architecture

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
    if args.target is None:
        raise UserError(
            "superscope sae train needs a model, such as: superscope sae train gelu-1l-mini"
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
    console.width = max(console.width, 118)
    console.print(table)
    console.print(
        "explained: share of variance about the mean. loss recovered: against mean ablation, on text that was not trained on.\n"
        'Load one: superscope.recover.sae.load("gelu-1l-mini/mlp-out-topk"); any folder in SAELens 6 format is read too.',
        highlight=False,
    )
    return 0


def _show(args: Sae) -> int:
    from superscope.recover.sae import load

    one = load(str(args.target))
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
    from superscope.recover.sae import panel

    try:
        model = lms.load(str(args.target))
        if args.control != "none":
            model = model.control(args.control, args.seed)
        config, recipe = _configuration(args), saes.Recipe(steps=args.steps, lr=args.lr)
        config.check(model.d_model)
        source, target = _hooks(args, model, config)
        train_rows, test_rows = _text(args, model)
        stream = saes.Activations(model, source, train_rows, target=target, batch=args.batch, seed=args.seed)
    except (lms.ModelError, CorpusError, BackendMissingError) as error:
        raise UserError(str(error)) from None
    control = "" if args.control == "none" else f"-{args.control}"
    frozen = "" if args.freeze == "nothing" else f"-frozen-{args.freeze.replace(' ', '-')}"
    name = args.name or f"{Path(str(args.target)).name}{control}-{args.site.replace('.', '-')}-{config.name}{frozen}"
    folder = args.out.expanduser() / name
    metadata = {
        "model_name": str(args.target), "hook_name": source, "hook_name_out": target, "context_size": model.n_ctx,
        "prepend_bos": True, "control": args.control, "corpus": Path(args.corpus).name, "tokens": args.steps * args.batch,
        "steps": args.steps, "batch": args.batch, "lr": args.lr,
    }  # fmt: skip
    metadata = {key: value for key, value in metadata.items() if value is not None}
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
    tried = panel.examine(model, trained.sae, test_rows).row()
    rounded = {key: round(value, 4) for key, value in tried.items()}
    told = saes.SAE(
        trained.sae.kind, trained.sae.tensors, trained.sae.k, trained.sae.centred, trained.sae.rescaled,
        trained.sae.metadata | rounded,
    )  # fmt: skip
    saes.save(told, folder, torch.float16 if args.half else torch.float32)
    store.remove(folder / "training")
    if args.json:
        print(json.dumps({"folder": str(folder), **rounded}, indent=2))
        return 0
    print(
        f"{config.name}, {config.width} latents at {source} of {model.name}: L0 {tried['l0']:.1f}, "
        f"explained {tried['explained']:.3f}, "
        f"loss recovered {tried['ce_score']:.3f} against mean and {tried['ce_score_zero']:.3f} against zero ablation, "
        f"alive {tried['alive']:.2f}"
    )
    print(f"in {folder}: superscope.recover.sae.load({str(folder)!r})")
    return 0


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
