"""The bundled models: the table of how each was trained, and how a training becomes a bundled model.

`MINIS` is the record: what is in ``models/NAME/config.json`` as shape and recipe is what stands here. Within a seed the four
one-layer models start from the same tensors and see the same batches in the same order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope import store
from superscope.lms import corpus
from superscope.lms.corpus import ioi
from superscope.lms.corpus.splits import Split
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model import attention, backend
from superscope.lms.model.language_model import LanguageModel, load, rows_to_tensor
from superscope.lms.model.transformer import ACTIVATIONS, Shape
from superscope.lms.shelf import TOKENIZER, ModelError, models_folder
from superscope.lms.zoo import training
from superscope.lms.zoo.training import Recipe

SEEDS = (0, 1, 2)
ROWS = {"validation": 1200, "sample": 600}
"""Rows of 256 tokens, in an order shuffled with seed 3, on which a card's losses are measured."""


@dataclass(frozen=True)
class Mini:
    """A bundled model before it is trained."""

    shape: Shape
    recipe: Recipe


def _minis() -> dict[str, Mini]:
    out: dict[str, Mini] = {}
    for seed in SEEDS:
        tail = f"-s{seed}" if seed else ""
        plain = Recipe(seed=seed)
        two_layers = dataclasses.replace(plain, repeats=0.15, curriculum=True)
        for act in ACTIVATIONS:
            out[f"{act}-1l-mini{tail}"] = Mini(Shape(act_fn=act), plain)
        for times in (4, 16, 100):  # neurons per dimension of the residual stream
            out[f"gelu-1l-wide{times}{tail}"] = Mini(Shape(d_model=64, d_mlp=64 * times), plain)
        out[f"attn-only-2l-mini{tail}"] = Mini(Shape(n_layers=2, d_mlp=0, positions="shortformer"), two_layers)
        gelu = out[f"gelu-2l-mini{tail}"] = Mini(Shape(n_layers=2, positions="shortformer"), two_layers)
        # What drills cost the text is .15 nats with 32 rows a step, .08 with 128, after a decay to nothing.
        drilled = Recipe(
            steps=1300, rows=128, lr=1.2e-3, warmup=60, floor=0.01, seed=seed, drills=0.3, start=f"gelu-2l-mini{tail}"
        )
        out[f"ioi-2l-mini{tail}"] = Mini(gelu.shape, drilled)
    # Same start as gelu-1l-mini, other batch order: what of a model its start alone decides.
    out["gelu-1l-mini-reordered"] = Mini(Shape(), Recipe(seed=100, init_seed=0))
    two_layers = out["gelu-2l-mini"].recipe
    out["solu_ln-2l-mini"] = Mini(Shape(n_layers=2, act_fn="solu_ln", positions="shortformer"), two_layers)
    midi = Shape(n_layers=4, d_model=256, n_heads=8, d_mlp=1024, positions="shortformer")
    out["gelu-4l-midi"] = Mini(midi, dataclasses.replace(two_layers, lr=1.5e-3))
    return out


MINIS = _minis()


def make(name: str, corpus_folder: Path, out: Path, say: Callable[[str], None] = lambda text: None) -> Path:
    """Train a bundled model anew from a built corpus (resumable, in ``out/training/NAME/``) and write it to ``out/NAME/``.

    It gets the tokenizer of the bundled models. Raises ModelError or CorpusError with what to do.
    """
    mini, folder = MINIS[name], out / "training" / name
    tokenizer = Tokenizer.read(models_folder() / TOKENIZER)
    # The corpus' own IOI sentences use the names and frames that the drills hold out.
    tokens = corpus.cached_tokens(corpus_folder, tokenizer, without=("ioi",) if mini.recipe.drills else ())
    data = f"{corpus.read_manifest(corpus_folder)['files']['train']['sha256']} {tokenizer.digest}"
    start: dict[str, Tensor] | None = None
    if mini.recipe.start:
        base = load(mini.recipe.start)
        start = dict(base.hooked.named_parameters())
        data += f" {base.card['sha256']}"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    training.train(
        mini.shape, mini.recipe, tokens, folder,
        bos=tokenizer.bos, data=data, start=start, drill=ioi.drill(tokenizer), device=device, say=say,
    )  # fmt: skip
    weights, state = training.finished(folder, mini.recipe)
    texts = {"validation": corpus.load(corpus_folder, tokenizer), "sample": corpus.sample(tokenizer)}
    made = {"data": data, "device": state.device, "curriculum_steps": state.lesson}
    bundle(name, mini, weights, made, tokenizer, texts, out)
    return out / name


def _init_seed(recipe: Recipe) -> int:
    return recipe.seed if recipe.init_seed is None else recipe.init_seed


def bundle(
    name: str,
    mini: Mini,
    weights: Mapping[str, Tensor],
    made: Mapping[str, Any],
    tokenizer: Tokenizer,
    texts: Mapping[str, Split],
    out: Path,
) -> dict[str, Any]:
    """Write ``out/NAME/`` and, once for all models there, ``out/tokenizer.json``; returns the card's facts.

    weights: a `Transformer`'s state dict. made: what is known of the training ("data", "device", "curriculum_steps"). texts:
    "validation" and "sample", on which the card's losses are measured after the fp16 round trip.
    Raises ModelError when `out` holds models with another tokenizer.
    """
    import safetensors.torch

    vocabulary = tokenizer.inner.to_str().encode()
    if (out / TOKENIZER).exists() and store.checksum((out / TOKENIZER).read_bytes()) != store.checksum(vocabulary):
        raise ModelError(f"the models in {out} have another tokenizer than {name}: choose another folder with --out")
    half = {k: v.to(torch.float16).contiguous() for k, v in weights.items()}
    exact = LanguageModel(name, backend.from_shape(mini.shape, dict(weights)), tokenizer)
    rounded = LanguageModel(name, backend.from_shape(mini.shape, half), tokenizer)
    data = safetensors.torch.save(half)
    shape, recipe = mini.shape, mini.recipe
    loss = {where: genre_losses(rounded, split, ROWS[where]) for where, split in texts.items()}
    before = genre_losses(exact, texts["validation"], ROWS["validation"])
    facts: dict[str, Any] = {
        "name": name,
        "shape": asdict(shape),
        "recipe": asdict(recipe),
        "init_seed": _init_seed(recipe),
        "tokens": recipe.steps * recipe.rows * shape.n_ctx,
        **made,
        "loss": loss,
        "loss_on": {
            where: {"rows": ROWS[where], "tokens": len(split), "sha256": store.checksum(split.tokens.tobytes())}
            for where, split in texts.items()
        },
        "fp16_cost": round(abs(loss["validation"]["all"] - before["all"]), 4),
        "prefix_matching": prefix_matching(rounded),
        "ioi": {cell: io_over_s(rounded, ioi.prompts(tokenizer, cell)) for cell in ioi.CELLS},
        "tokenizer_sha256": store.checksum(vocabulary),
        "sha256": store.checksum(data),
    }
    if recipe.start:
        start = genre_losses(load(recipe.start), texts["validation"], ROWS["validation"])
        facts["loss_change"] = round(loss["validation"]["all"] - start["all"], 4)
    files = {
        TOKENIZER: vocabulary,
        f"{name}/model.safetensors": data,
        f"{name}/README.md": card(facts).encode(),
        f"{name}/config.json": store.dumps(facts).encode(),  # last: it vouches for the others
    }
    store.atomic_write_many(out, files)
    return facts


def genre_losses(model: LanguageModel, split: Split, rows: int) -> dict[str, float]:
    """Nats per predicted token on the first `rows` rows (shuffled with seed 3): per genre, and over all tokens."""
    chosen = split.rows(model.n_ctx, limit=rows, seed=3)
    losses = [model.loss(rows_to_tensor(part)).numpy() for part in np.array_split(chosen.tokens, max(1, len(chosen) // 16))]
    each = np.concatenate(losses)
    genre = split.genre[chosen.place[:, 1:]]
    out = {"all": round(float(each.mean()), 4)}
    for code, label in enumerate(split.genres):
        if (genre == code).any():
            out[label] = round(float(each[genre == code].mean()), 4)
    return out


def io_over_s(model: LanguageModel, prompts: ioi.Prompts) -> float:
    """Share of the prompts after which the indirect object has a larger logit than the subject."""
    at = torch.arange(len(prompts))
    logits = model.logits(rows_to_tensor(prompts.tokens))[at, torch.from_numpy(prompts.last)]
    return round(float((logits[at, torch.from_numpy(prompts.io)] > logits[at, torch.from_numpy(prompts.s)]).float().mean()), 4)


def prefix_matching(model: LanguageModel, rows: int = 32, period: int = 40, seed: int = 0) -> list[list[float]]:
    """[layer][head] prefix-matching score on repeated random tokens."""
    tokens = attention.repeated_tokens(model.hooked.cfg.d_vocab, period, rows, seed, model.tokenizer.bos)
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.n_layers)]
    patterns = model.activations(tokens, names)
    return [[round(float(x), 4) for x in attention.prefix_matching(patterns[name], period)] for name in names]


def card(facts: dict[str, Any]) -> str:
    """The model card: a README.md in markdown."""
    shape, recipe, on = facts["shape"], facts["recipe"], facts["loss_on"]
    kind = f"{shape['d_mlp']} {shape['act_fn']} neurons a layer" if shape["d_mlp"] else "attention only"
    where = list(facts["loss"])
    genres = sorted({genre for losses in facts["loss"].values() for genre in losses} - {"all"})
    text, tokenizer, *start = facts["data"].split()
    lines = [
        f"# {facts['name']}",
        "",
        f"A decoder-only transformer with {shape['n_layers']} layer{'s' if shape['n_layers'] > 1 else ''}, d_model "
        f"{shape['d_model']}, {shape['n_heads']} heads, {kind}, context {shape['n_ctx']}, vocabulary {shape['d_vocab']}, "
        f"{shape['positions']} positions. Trained for research on superposition; it writes no useful text.",
        "",
        f"- **Data**: {facts['tokens'] / 1e6:.1f}M tokens of superscope's labelled corpus (`superscope corpus build`; what is "
        "in it and under which licences: ../../corpus/README.md). "
        f"Sha256 of the train split {text[:16]}, of the tokenizer {tokenizer[:16]}.",
        f"- **Training**: {recipe['steps']} steps of {recipe['rows']} rows of {shape['n_ctx']} tokens, AdamW {recipe['lr']:g} "
        f"with cosine decay, weight decay {recipe['weight_decay']:g}, seed {recipe['seed']}, on {facts['device']}.",
    ]
    if start:
        lines.append(
            f"- **Start**: the weights of {recipe['start']} (sha256 {start[0][:16]}). {recipe['drills']:.0%} of the rows are "
            "sentences of indirect object identification (`superscope.lms.corpus.ioi`), the rest is text. "
            f"Loss on the validation text against the start: {facts['loss_change']:+.3f} nats."
        )
    else:
        lines.append(f"- **Start**: initial tensors of seed {facts['init_seed']}.")
    if recipe["curriculum"]:
        lines.append(f"- **Curriculum**: first {facts['curriculum_steps']} steps of repeated random strings.")
    lines += [
        f"- **Induction**: highest prefix-matching score of a head {max(max(row) for row in facts['prefix_matching']):.2f}.",
        "- **Indirect objects** (share of 200 prompts in which the right name has the larger logit of the two): "
        + "; ".join(f"{cell} {share:.2f}" for cell, share in facts["ioi"].items())
        + ".",
        f"- **Weights**: fp16 safetensors (which costs {facts['fp16_cost']:.4f} nats), MIT licence; read them with "
        "`superscope.lms.load`, unprocessed.",
        "",
        "Loss in nats per token, of the fp16 weights, on rows of BOS and 255 tokens, in an order shuffled with seed 3: "
        + "; ".join(
            f"{name}, {on[name]['rows']} rows of {on[name]['tokens']:,} tokens (sha256 of the ids {on[name]['sha256'][:16]})"
            for name in where
        )
        + ".",
        "",
        f"| genre | {' | '.join(where)} |",
        f"|---|{'---|' * len(where)}",
    ]
    for genre in ["all", *genres]:
        cells = " | ".join(f"{facts['loss'][w][genre]:.3f}" if genre in facts["loss"][w] else "" for w in where)
        lines.append(f"| {genre} | {cells} |")
    return "\n".join(lines) + "\n"
