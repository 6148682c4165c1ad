"""Small T5s trained here: encoder and decoder, ReLU, RMS norm, relative positions, no biases, spans of text to fill in.

`MINIS` is the record of how each was trained; `make` trains one (resumable, survives kill -9, to the same weights) and writes
a Hugging Face folder that `superscope.lms.model.t5` and `transformers` read alike. Two families: `x4`, `x16`, `x64` have 4, 16
and 64 neurons per dimension of a stream of 32, as t5-large, t5-3b and t5-11b have of 1,024; `d8`, `d16` and `x4` have 4
neurons per dimension and streams of 8, 16 and 32 (two seeds). Within a seed all see the same rows in the same order.

Spans are corrupted as by Raffel et al. 2020 (arXiv 1910.10683, section 3.1.4): 15 % of the tokens in spans of 3 on average,
each replaced by one sentinel; the target is the sentinels with what they stand for, and one more sentinel that ends it.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope import checkpoint, store
from superscope.lms import corpus
from superscope.lms.corpus.splits import Split
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model.transformer import Shape
from superscope.lms.shelf import TOKENIZER, ModelError, models_folder
from superscope.lms.zoo.training import CHECKPOINT, Batches, Recipe

FAMILY = "t5"  # the folder of models/ they lie in
SEEDS = (0, 1, 2)
SENTINELS = 32
CORRUPTED, SPAN = 0.15, 3
ROWS = 2000  # rows of the shipped sample on which a card's loss is measured


@dataclass(frozen=True)
class T5Shape:
    """Sizes of a T5. d_vocab: without sentinels. n_ctx: tokens of a row before spans are taken out, BOS among them."""

    d_model: int = 32
    d_ff: int = 128
    n_layers: int = 2
    n_decoder_layers: int = 1
    n_heads: int = 4
    d_kv: int = 16
    d_vocab: int = 4096
    n_ctx: int = 128


@dataclass(frozen=True)
class MiniT5:
    """A T5 before it is trained."""

    shape: T5Shape
    recipe: Recipe


def _minis() -> dict[str, MiniT5]:
    out: dict[str, MiniT5] = {}
    for seed in SEEDS:
        tail = f"-s{seed}" if seed else ""
        recipe = Recipe(steps=850, rows=32, lr=1e-2, warmup=100, weight_decay=0.0, seed=seed)
        for times in (4, 16, 64):
            out[f"x{times}{tail}"] = MiniT5(T5Shape(d_ff=32 * times), recipe)
        for width in (8, 16) if seed < 2 else ():
            out[f"d{width}{tail}"] = MiniT5(T5Shape(d_model=width, d_ff=4 * width, d_kv=width // 2), recipe)
    return out


MINIS = _minis()


def hf_config(shape: T5Shape) -> dict[str, Any]:
    """config.json as `transformers` reads it; token 0 is BOS, padding and the decoder's first token."""
    return {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True,
        "d_model": shape.d_model, "d_ff": shape.d_ff, "d_kv": shape.d_kv, "num_heads": shape.n_heads,
        "num_layers": shape.n_layers, "num_decoder_layers": shape.n_decoder_layers,
        "vocab_size": shape.d_vocab + SENTINELS, "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "dropout_rate": 0.0, "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "relu", "tie_word_embeddings": True, "pad_token_id": 0, "bos_token_id": 0,
        "decoder_start_token_id": 0, "eos_token_id": None, "use_cache": False,
    }  # fmt: skip


def model(shape: T5Shape, seed: int) -> Any:
    """A T5ForConditionalGeneration with T5's own initial tensors, drawn from `seed`; the global generator is left alone."""
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.T5ForConditionalGeneration(transformers.T5Config(**hf_config(shape)))


# ------------------------------------------------------------------------------------------------------------ text


def corrupt(tokens: np.ndarray, d_vocab: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(row, n) tokens -> (row, m) with spans replaced by sentinels, and (row, k) targets; all rows of one length.

    Sentinel i is token d_vocab + SENTINELS - 1 - i, as T5's. Never takes the first token out.
    """
    rows, n = tokens.shape
    out = max(1, round(CORRUPTED * n))
    spans = max(1, round(out / SPAN))
    if spans >= SENTINELS or n - 1 - out < spans:
        raise ValueError(f"rows of {n} tokens need {spans} spans: there are {SENTINELS - 1} sentinels")
    inputs, targets = np.empty((rows, n - out + spans), np.int64), np.empty((rows, out + spans + 1), np.int64)
    last = d_vocab + SENTINELS - 1
    for row in range(rows):
        taken, kept = _parts(out, spans, rng), _parts(n - out, spans, rng)
        at, put, done = 0, 0, 0
        for i in range(spans):
            inputs[row, put : put + kept[i]] = tokens[row, at : at + kept[i]]
            put, at = put + kept[i], at + kept[i]
            inputs[row, put] = targets[row, done] = last - i
            targets[row, done + 1 : done + 1 + taken[i]] = tokens[row, at : at + taken[i]]
            put, done, at = put + 1, done + 1 + taken[i], at + taken[i]
        targets[row, done] = last - spans
    return inputs, targets


def _parts(total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """`total` in `parts` random positive whole numbers, every division equally likely."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


# -------------------------------------------------------------------------------------------------------- training


def train(
    shape: T5Shape, recipe: Recipe, tokens: np.ndarray, folder: Path, *, bos: int = 0, data: str = "",
    every_seconds: float = 30.0, say: Callable[[str], None] = lambda text: None, stop_after: int | None = None,
) -> Any:  # fmt: skip
    """Train, or go on training, the T5 kept in `folder`; the model when `recipe.steps` are done.

    Everything random is keyed by (seed, step), so a training that was killed ends with the same weights. `stop_after` ends
    early, after a checkpoint, for tests. ModelError when the folder holds another training; CorpusError for too little text.
    """
    identity = json.loads(json.dumps({"shape": asdict(shape), "recipe": asdict(recipe), "data": data}))
    batches = Batches(tokens, Shape(n_ctx=shape.n_ctx - 1, d_vocab=shape.d_vocab), recipe, bos)
    net = model(shape, recipe.seed)
    net.train()
    names, parameters = zip(*net.named_parameters(), strict=True)
    optimiser = torch.optim.AdamW(parameters, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)
    step, seconds, losses = 0, 0.0, []
    if (folder / CHECKPOINT).exists():
        state, kept = _read(folder)
        if state["identity"] != identity:
            raise ModelError(f"{folder} holds the training of another T5, recipe or corpus: choose another --out or remove it")
        step, seconds, losses = state["step"], state["seconds"], state["losses"]
        net.load_state_dict({name: kept[f"model.{name}"] for name in names}, strict=False)
        for name, parameter in zip(names, parameters, strict=True):
            prefix = f"optimiser.{name}."
            optimiser.state[parameter] = {k.removeprefix(prefix): v for k, v in kept.items() if k.startswith(prefix)}
    planned = 16 * sum(p.numel() for p in parameters) + 12 * recipe.rows * shape.n_ctx * shape.d_ff * shape.n_layers
    say(f"{sum(p.numel() for p in parameters):,} parameters, about {planned / 2**20:.0f} MB of tensors; checkpoint in {folder}")
    saved = began = time.monotonic()
    first = step
    while step < recipe.steps:
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        text, _ = batches(step)
        inputs, targets = corrupt(text.numpy(), shape.d_vocab, np.random.default_rng([recipe.seed, step, 11]))
        loss = net(input_ids=torch.from_numpy(inputs), labels=torch.from_numpy(targets)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {step}: lower the learning rate ({recipe.lr:g})")
        step += 1
        if step % 10 == 0 or step == 1:
            losses.append([step, round(value, 4)])
        now = time.monotonic()
        stop = step == recipe.steps or step - first == stop_after
        if now - saved > every_seconds or stop:
            seconds, saved = seconds + now - saved, now
            tensors = {f"model.{name}": p for name, p in zip(names, parameters, strict=True)}
            for name, parameter in zip(names, parameters, strict=True):
                tensors |= {f"optimiser.{name}.{key}": v for key, v in optimiser.state[parameter].items()}
            document = {"identity": identity, "step": step, "seconds": seconds, "losses": losses}
            checkpoint.write(folder / CHECKPOINT, document, tensors)
            left = (recipe.steps - step) * (now - began) / (step - first)
            say(f"step {step}/{recipe.steps}, loss {value:.3f}, about {left / 60:.1f} min left")
        if stop:
            break
    net.eval()
    return net


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        return checkpoint.read(folder / CHECKPOINT)
    except store.StoreError as error:
        raise ModelError(f"{error}: remove it to train from the start") from None


# -------------------------------------------------------------------------------------------------- what is bundled


def make(name: str, corpus_folder: Path, out: Path, say: Callable[[str], None] = lambda text: None) -> Path:
    """Train a mini T5 anew (resumable, in ``out/training/t5/NAME/``) and write it to ``out/t5/NAME/``; that folder."""
    mini = MINIS[name]
    tokenizer = Tokenizer.read(models_folder() / TOKENIZER)
    tokens = corpus.cached_tokens(corpus_folder, tokenizer, without=("ioi",))
    data = f"{corpus.read_manifest(corpus_folder)['files']['train']['sha256']} {tokenizer.digest}"
    net = train(mini.shape, mini.recipe, tokens, out / "training" / FAMILY / name, bos=tokenizer.bos, data=data, say=say)
    counts = np.bincount(np.asarray(tokens), minlength=mini.shape.d_vocab)
    bundle(name, mini, net, data, corpus.sample(tokenizer), counts, out)
    return out / FAMILY / name


def bundle(
    name: str, mini: MiniT5, net: Any, data: str, text: Split, counts: np.ndarray, out: Path, rows: int = ROWS
) -> dict[str, Any]:
    """Write ``out/t5/NAME/`` as `transformers` reads it, fp16; returns config.json.

    The card's loss is that of the fp16 weights on `text`; counts: (d_vocab,) how often each token is in the training text.
    """
    import safetensors.torch

    half = {key: value.detach().to(torch.float16).contiguous() for key, value in net.named_parameters()}
    weights = safetensors.torch.save(half, metadata={"format": "pt"})
    rounded = model(mini.shape, 0).eval()
    rounded.load_state_dict({key: value.float() for key, value in half.items()}, strict=False)
    found, before = (sample_loss(one, mini.shape, text, counts, rows) for one in (rounded, net))
    facts = {
        "name": name, "shape": asdict(mini.shape), "recipe": asdict(mini.recipe), "data": data, "loss": found,
        "tokens": mini.recipe.steps * mini.recipe.rows * mini.shape.n_ctx, "rows": rows,
        "fp16_cost": round(abs(found["text"] - before["text"]), 4),
        "device": f"{platform.machine()}, torch {torch.__version__}",
    }  # fmt: skip
    config = {**hf_config(mini.shape), "superscope": facts, "sha256": store.checksum(weights)}
    store.atomic_write_many(
        out,
        {
            f"{FAMILY}/{name}/model.safetensors": weights,
            f"{FAMILY}/{name}/README.md": card(config).encode(),
            f"{FAMILY}/{name}/config.json": store.dumps(config).encode(),  # last: it vouches for the others
        },
    )
    return config


@torch.inference_mode()
def sample_loss(net: Any, shape: T5Shape, text: Split, counts: np.ndarray, rows: int = ROWS) -> dict[str, float]:
    """Nats per token taken out of rows of a text, without sentinels.

    "text": the model's; "other text": when the encoder reads another row; "frequencies": of the training text's frequencies
    alone; "all": the model's, over all of the target.
    """
    chosen = text.rows(shape.n_ctx, limit=rows, seed=3).tokens
    inputs, targets = corrupt(chosen, shape.d_vocab, np.random.default_rng(3))

    def losses(read: np.ndarray) -> np.ndarray:
        each = []
        for part in np.array_split(np.arange(len(chosen)), max(1, len(chosen) // 64)):
            labels = torch.from_numpy(targets[part])
            logits = net(input_ids=torch.from_numpy(read[part]), labels=labels).logits
            each.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none"))
        return np.asarray(torch.cat(each).double())

    own, other, flat = losses(inputs), losses(np.roll(inputs, 1, axis=0)), targets.ravel()
    words = flat < shape.d_vocab
    frequencies = -np.log((counts + 1) / (counts + 1).sum())[flat[words]]
    means = {
        "text": own[words].mean(), "other text": other[words].mean(), "frequencies": frequencies.mean(), "all": own.mean()
    }  # fmt: skip
    return {key: round(float(value), 4) for key, value in means.items()}


def card(config: dict[str, Any]) -> str:
    """The model card: a README.md in markdown."""
    facts = config["superscope"]
    shape, recipe, loss = facts["shape"], facts["recipe"], facts["loss"]
    text, tokenizer = facts["data"].split()
    lines = [
        f"# {FAMILY}/{facts['name']}",
        "",
        f"A small T5 (encoder and decoder): d_model {shape['d_model']}, d_ff {shape['d_ff']} "
        f"({shape['d_ff'] // shape['d_model']} neurons per dimension), ReLU, {shape['n_layers']} encoder and "
        f"{shape['n_decoder_layers']} decoder layers, "
        f"{shape['n_heads']} heads, vocabulary {shape['d_vocab']} and {SENTINELS} sentinels, relative positions, no biases. "
        "Trained for research on superposition; it writes no useful text.",
        "",
        f"- **Data**: {facts['tokens'] / 1e6:.1f}M tokens of superscope's labelled corpus without its sentences of indirect "
        "object identification (`superscope corpus build`; what is in it and under which licences: ../../../corpus/README.md). "
        f"Sha256 of the train split {text[:16]}, of the tokenizer {tokenizer[:16]}.",
        f"- **Training**: {recipe['steps']} steps of {recipe['rows']} rows of {shape['n_ctx']} tokens, 15 % of them taken out "
        f"in spans of 3, AdamW {recipe['lr']:g} with cosine decay, no weight decay, seed {recipe['seed']}, on "
        f"{facts['device']}. `superscope zoo --train {FAMILY}/{facts['name']} --corpus FOLDER` makes it anew.",
        f"- **Loss**: {loss['text']:.3f} nats per token taken out of the shipped sample ({facts['rows']} rows), of the fp16 "
        f"weights (fp16 costs {facts['fp16_cost']:.4f}); {loss['other text']:.3f} when the encoder reads another row; "
        f"frequencies of the training text alone give {loss['frequencies']:.3f}.",
        f"- **Weights**: fp16 safetensors, sha256 {config['sha256'][:16]}, MIT licence; read them with `transformers` or with "
        "`superscope.lms.model.t5.open_t5`.",
    ]
    return "\n".join(lines) + "\n"
