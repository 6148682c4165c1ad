"""The bundled models: which there are, how each was trained, and how a training becomes a bundled model.

``models/NAME/`` holds config.json (shape, recipe, seed, losses, sha256), model.safetensors (fp16), tokenizer.json and
README.md (the model card). Within a seed the four one-layer models start from the same tensors and see the same batches in
the same order.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from superscope import store
from superscope.lms import corpus
from superscope.lms.corpus.splits import Split
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model import attention, backend
from superscope.lms.model.language_model import LanguageModel, bundled, models_folder, rows_to_tensor
from superscope.lms.model.transformer import ACTIVATIONS, Shape
from superscope.lms.zoo import training
from superscope.lms.zoo.training import Recipe

SEEDS = (0, 1, 2)
_SNAPSHOTS = (0, 10, 30, 100, 200, 400, 800, 1200, 1800)


@dataclass(frozen=True)
class Mini:
    """A bundled model before it is trained."""

    shape: Shape
    recipe: Recipe


def _minis() -> dict[str, Mini]:
    out: dict[str, Mini] = {}
    for seed in SEEDS:
        tail = f"-s{seed}" if seed else ""
        for act in ACTIVATIONS:
            snapshots = _SNAPSHOTS if act == "gelu" and seed == 0 else ()
            out[f"{act}-1l-mini{tail}"] = Mini(Shape(act_fn=act), Recipe(seed=seed, snapshots=snapshots))
        recipe = Recipe(seed=seed, repeats=0.15, curriculum=True)
        out[f"attn-only-2l-mini{tail}"] = Mini(Shape(n_layers=2, d_mlp=0, positions="shortformer"), recipe)
    # Same start as gelu-1l-mini, other batch order: what of a model its start alone decides.
    out["gelu-1l-mini-reordered"] = Mini(Shape(), Recipe(seed=100, init_seed=0))
    for act in ("gelu", "solu_ln"):
        out[f"{act}-2l-mini"] = Mini(Shape(n_layers=2, act_fn=act), Recipe())
    return out


MINIS = _minis()


def train(name: str, corpus_folder: Path, folder: Path, say: Callable[[str], None] = lambda text: None) -> LanguageModel:
    """Train a bundled model anew from a built corpus (resumable), with the tokenizer the bundled models share."""
    mini = MINIS[name]
    tokenizer = Tokenizer.read(models_folder() / next(iter(bundled())) / "tokenizer.json")
    tokens = corpus.cached_tokens(corpus_folder, tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = corpus.read_manifest(corpus_folder)["files"]["train"]["sha256"]
    model = training.train(
        mini.shape, mini.recipe, tokens, folder, bos=tokenizer.bos, data=f"{data} {tokenizer.digest}", device=device, say=say
    )
    hooked = backend.from_shape(mini.shape, {k: v.cpu() for k, v in model.state_dict().items()})
    return LanguageModel(name, hooked, tokenizer, {"shape": asdict(mini.shape), "init_seed": _init_seed(mini.recipe)}, "folder")


def _init_seed(recipe: Recipe) -> int:
    return recipe.seed if recipe.init_seed is None else recipe.init_seed


def export(
    name: str, shape: Shape, recipe: Recipe, training_folder: Path, tokenizer: Tokenizer, texts: dict[str, Split], out: Path
) -> dict[str, Any]:
    """Write ``out/NAME/`` from a finished training; returns the card's facts.

    texts: split name -> tokens on which the losses of the card are measured (float32 and after the fp16 round trip).
    Raises ValueError when the training is not finished.
    """
    import safetensors.torch

    state = store.read_json(training_folder / "state.json")
    if state["step"] != recipe.steps:
        raise ValueError(f"the training in {training_folder} is at step {state['step']} of {recipe.steps}: finish it first")
    kept = safetensors.torch.load_file(training_folder / "checkpoint.safetensors")
    weights = {k.removeprefix("model."): v for k, v in kept.items() if k.startswith("model.")}
    half = {k: v.to(torch.float16).contiguous() for k, v in weights.items()}
    exact = LanguageModel(name, backend.from_shape(shape, weights), tokenizer)
    rounded = LanguageModel(name, backend.from_shape(shape, half), tokenizer)
    data = safetensors.torch.save(half)
    facts: dict[str, Any] = {
        "name": name,
        "shape": asdict(shape),
        "recipe": asdict(recipe),
        "init_seed": _init_seed(recipe),
        "tokens": recipe.steps * recipe.rows * shape.n_ctx,
        "curriculum_steps": state["lesson"],
        "loss": {where: genre_losses(rounded, split) for where, split in texts.items()},
        "loss_float32": {where: genre_losses(exact, split)["all"] for where, split in texts.items()},
        "prefix_matching": prefix_matching(rounded),
        "tokenizer_sha256": tokenizer.digest,
        "sha256": store.checksum(data),
    }
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "model.safetensors": data,
        "tokenizer.json": tokenizer.inner.to_str().encode(),
        "README.md": card(facts).encode(),
        "config.json": store.dumps(facts).encode(),  # last: it vouches for the weights
    }
    for step in recipe.snapshots:
        file = f"{step:06d}.safetensors"
        store.atomic_write_bytes(folder / "snapshots" / file, (training_folder / "snapshots" / file).read_bytes())
    store.atomic_write_many(folder, files)
    return facts


def genre_losses(model: LanguageModel, split: Split, rows: int = 600) -> dict[str, float]:
    """Nats per predicted token on the first `rows` rows (shuffled with seed 0): per genre, and over all tokens."""
    chosen = split.rows(model.n_ctx, limit=rows, seed=0)
    losses = [model.loss(rows_to_tensor(part)).numpy() for part in np.array_split(chosen.tokens, max(1, len(chosen) // 16))]
    each = np.concatenate(losses)
    genre = split.genre[chosen.place[:, 1:]]
    out = {"all": round(float(each.mean()), 4)}
    for code, label in enumerate(split.genres):
        if (genre == code).any():
            out[label] = round(float(each[genre == code].mean()), 4)
    return out


def prefix_matching(model: LanguageModel, rows: int = 32, period: int = 40, seed: int = 0) -> list[list[float]]:
    """[layer][head] prefix-matching score on repeated random tokens."""
    tokens = attention.repeated_tokens(model.hooked.cfg.d_vocab, period, rows, seed, model.tokenizer.bos)
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.n_layers)]
    patterns = model.activations(tokens, names)
    return [[round(float(x), 4) for x in attention.prefix_matching(patterns[name], period)] for name in names]


def card(facts: dict[str, Any]) -> str:
    """The model card: a README.md in markdown."""
    shape, recipe = facts["shape"], facts["recipe"]
    kind = f"{shape['d_mlp']} {shape['act_fn']} neurons a layer" if shape["d_mlp"] else "attention only"
    where = list(facts["loss"])
    genres = sorted({genre for losses in facts["loss"].values() for genre in losses} - {"all"})
    lines = [
        f"# {facts['name']}",
        "",
        f"A decoder-only transformer with {shape['n_layers']} layer{'s' if shape['n_layers'] > 1 else ''}, d_model "
        f"{shape['d_model']}, "
        f"{shape['n_heads']} heads, {kind}, context {shape['n_ctx']}, "
        f"vocabulary {shape['d_vocab']}, {shape['positions']} positions. "
        "Trained for research on superposition; it writes no useful text.",
        "",
        f"- **Data**: {facts['tokens'] / 1e6:.1f}M tokens of superscope's labelled corpus (`superscope corpus build`; "
        f"what it is made of "
        "and under which licences: ../../corpus/README.md).",
        f"- **Training**: {recipe['steps']} steps of {recipe['rows']} rows, AdamW {recipe['lr']:g} with cosine decay, "
        f"weight decay "
        f"{recipe['weight_decay']:g}, seed {recipe['seed']}, initial tensors of seed {facts['init_seed']}."
        + (
            f" First {facts['curriculum_steps']} steps of repeated random strings (curriculum)." if recipe["curriculum"] else ""
        ),
        f"- **Induction**: highest prefix-matching score of a head {max(max(row) for row in facts['prefix_matching']):.2f}.",
        "- **Weights**: fp16 safetensors, MIT licence; read them with `superscope.lms.load`, unprocessed.",
        "",
        f"Loss in nats per token ({', '.join(where)}):",
        "",
        f"| genre | {' | '.join(where)} |",
        f"|---|{'---|' * len(where)}",
    ]
    for genre in ["all", *genres]:
        cells = " | ".join(f"{facts['loss'][w][genre]:.3f}" if genre in facts["loss"][w] else "" for w in where)
        lines.append(f"| {genre} | {cells} |")
    return "\n".join(lines) + "\n"


def table() -> list[dict[str, Any]]:
    """One row per bundled model: what `superscope zoo` prints."""
    rows = []
    for name in bundled():
        facts = json.loads((models_folder() / name / "config.json").read_text())
        size = sum(path.stat().st_size for path in (models_folder() / name).rglob("*") if path.is_file())
        rows.append(
            {
                "name": name, "layers": facts["shape"]["n_layers"], "d_model": facts["shape"]["d_model"],
                "d_mlp": facts["shape"]["d_mlp"], "activation": facts["shape"]["act_fn"] if facts["shape"]["d_mlp"] else "none",
                "seed": facts["recipe"]["seed"], "tokens": facts["tokens"], "loss": facts["loss"]["sample"]["all"],
                "induction": max(max(row) for row in facts["prefix_matching"]),
                "snapshots": len(facts["recipe"]["snapshots"]), "megabytes": round(size / 1e6, 1),
            }
        )  # fmt: skip
    return rows
