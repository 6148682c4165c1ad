"""Training small transformers: AdamW with cosine decay, bf16 autocast, torch.compile; survives kill -9 and gives the same
loss curve.

Everything random is keyed by (seed, step): which rows make up a batch, which are replaced by repeated strings or drills. A
checkpoint is therefore the parameters, the optimiser's moments and the step: one safetensors file, written atomically, that
carries the sha256 of all that is in it, so that a training never goes on from damaged state.

Two-layer attention-only models form induction heads only with shortformer positions and a curriculum of repeated random strings
before any text: without it none form in tens of millions of tokens. See `Recipe.curriculum`.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope import checkpoint, store
from superscope.lms.corpus.splits import CorpusError
from superscope.lms.model.transformer import Shape, Transformer, initialise
from superscope.lms.shelf import ModelError

Drill = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
"""(generator, length) -> (length,) token ids of generated text, and (length,) bool: is the token determined by those before?"""


CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. `rows` x n_ctx tokens a step.

    repeats: share of rows that are repeated random strings. drills: share of rows of generated text (`train` is given what
    generates it), in which the determined tokens alone count, together as much as a row of text. start: the bundled model
    whose weights the training starts from; None starts from initial tensors.
    curriculum: before any text, sequences of 64 that repeat a random string of period 8-32 over few token types; whenever
    the loss on the repeat falls under a quarter of ln(types), four times as many types, up to the whole vocabulary.
    """

    steps: int = 4000
    rows: int = 256
    lr: float = 3e-3
    warmup: int = 200
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    repeats: float = 0.0
    curriculum: bool = False
    seed: int = 0
    init_seed: int | None = None  # the initial tensors' seed when it is not `seed` (same start, other batch order)
    drills: float = 0.0
    start: str | None = None
    floor: float = 0.1  # share of the learning rate that is left in the end

    def rate(self, step: int) -> float:
        """Learning rate at `step`: linear warm-up, cosine to `floor`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (self.floor + (1 - self.floor) / 2 * (1 + math.cos(math.pi * done)))


class Batches:
    """Rows of a token stream in a seeded order: BOS and `n_ctx` tokens; no row twice before all were used."""

    def __init__(self, tokens: np.ndarray, shape: Shape, recipe: Recipe, bos: int, drill: Drill | None = None) -> None:
        self.tokens, self.shape, self.recipe, self.bos = tokens, shape, recipe, bos
        self.drill = drill
        if recipe.drills and drill is None:
            raise ValueError(f"the recipe has drills={recipe.drills:g}, but nothing that generates them was given")
        self.count = len(tokens) // shape.n_ctx
        if self.count < recipe.rows:
            raise CorpusError(
                f"the corpus has {len(tokens)} tokens, fewer than one batch of {recipe.rows} rows of {shape.n_ctx}: add text"
            )
        self._epoch = (-1, np.empty(0, dtype=np.int64))

    def __call__(self, step: int) -> tuple[Tensor, Tensor | None]:
        """(rows, n_ctx + 1) int64, and (rows, n_ctx) weights of their predictions where not all count the same."""
        recipe, n = self.recipe, self.shape.n_ctx
        out = np.full((recipe.rows, n + 1), self.bos, dtype=np.int64)
        for row in range(recipe.rows):
            start = self._row(step * recipe.rows + row) * n
            out[row, 1:] = self.tokens[start : start + n]
        if recipe.repeats:
            rng = np.random.default_rng([recipe.seed, step, 5])
            for k in np.flatnonzero(rng.random(recipe.rows) < recipe.repeats):
                period = int(rng.integers(8, 97))
                string = 1 + rng.integers(0, self.shape.d_vocab - 1, period)
                out[k, 1:] = np.resize(string, n)
        if not self.drill or not recipe.drills:
            return torch.from_numpy(out), None
        weight = np.ones((recipe.rows, n), dtype=np.float32)
        rng = np.random.default_rng([recipe.seed, step, 6])
        for k in np.flatnonzero(rng.random(recipe.rows) < recipe.drills):
            out[k, 1:], determined = self.drill(rng, n)
            weight[k] = determined * (n / max(1, determined.sum()))
        return torch.from_numpy(out), torch.from_numpy(weight)

    def _row(self, number: int) -> int:
        epoch, place = divmod(number, self.count)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, np.random.default_rng([self.recipe.seed, epoch]).permutation(self.count))
        return int(self._epoch[1][place])


def repeated_strings(
    rng: np.random.Generator, rows: int, length: int, types: np.ndarray, periods: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """(rows, length + 1) tokens that repeat a random string, and (rows, length) weights: 1 where the next token is
    determined.
    """
    period = rng.integers(periods[0], periods[1] + 1, rows)
    out = np.stack([np.resize(types[rng.integers(0, len(types), p)], length + 1) for p in period])
    weight = (np.arange(length)[None, :] >= period[:, None]).astype(np.float32)
    return torch.from_numpy(out.astype(np.int64)), torch.from_numpy(weight)


@dataclass
class State:
    """Where a training stands. `types` is the curriculum's number of token types (0: no curriculum, or it is over)."""

    step: int = 0
    types: int = 0
    lesson: int = 0  # steps of the curriculum so far
    seconds: float = 0.0
    device: str = ""  # where the last steps were made, and by which torch
    losses: list[tuple[int, float]] = field(default_factory=list)
    lessons: list[tuple[int, int, float]] = field(default_factory=list)


def train(
    shape: Shape,
    recipe: Recipe,
    tokens: np.ndarray,
    folder: Path | str,
    *,
    bos: int = 0,
    data: str = "",
    start: Mapping[str, Tensor] | None = None,
    drill: Drill | None = None,
    device: str = "cpu",
    compile: bool = True,
    autocast: bool | None = None,
    every_seconds: float = 120.0,
    say: Callable[[str], None] = lambda text: None,
    stop_after: int | None = None,
) -> Transformer:
    """Train, or go on training, the model kept in `folder`; returns it when `recipe.steps` are done.

    start: weights to start from instead of the initial tensors. drill: makes the rows of `recipe.drills`. data: names the
    text, start and drill (by digests), so that a folder never goes on with others. autocast: compute in bf16; None does so
    where the machine can (a CPU that only emulates it is twenty times slower). A checkpoint is written every `every_seconds`.
    `stop_after` ends early (as a kill would, but after a checkpoint), for tests.

    Raises ModelError when the folder holds another model's training or a damaged one, CorpusError for too little text.
    """
    folder = Path(folder)
    batches = Batches(tokens, shape, recipe, bos, drill)
    identity = json.loads(json.dumps({"shape": asdict(shape), "recipe": asdict(recipe), "data": data}))
    model = Transformer(shape)
    initialise(model, recipe.seed if recipe.init_seed is None else recipe.init_seed)
    if start is not None:
        model.load_state_dict(dict(start))
    state = State(types=256 if recipe.curriculum else 0)
    kept: dict[str, Tensor] = {}
    if (folder / CHECKPOINT).exists():
        found, state, kept = _read(folder)
        if found != identity:
            raise ModelError(
                f"{folder} holds the training of another model, recipe or corpus: choose another folder or remove it"
            )
        model.load_state_dict({name.removeprefix("model."): v for name, v in kept.items() if name.startswith("model.")})
    model.to(device)
    state.device = f"{torch.cuda.get_device_name() if device == 'cuda' else platform.machine()}, torch {torch.__version__}"
    optimiser = _optimiser(model, recipe, state)
    _restore_moments(kept, optimiser, device)
    losses = _compiled(model, compile, say)
    if autocast is None:
        autocast = device != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    saved = began = time.monotonic()
    done = since = 0
    x: Tensor
    weight: Tensor | None
    while state.types or state.step < recipe.steps:
        lesson = state.types > 0
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            if lesson:
                rng = np.random.default_rng([recipe.seed, state.lesson, 9])
                pool = 1 + np.random.default_rng([recipe.seed, 8]).permutation(shape.d_vocab - 1)[: state.types]
                x, weight = repeated_strings(rng, 128, 64, pool, (8, 32))
            else:
                for group in optimiser.param_groups:
                    group["lr"] = recipe.rate(state.step)
                x, weight = batches(state.step)
            loss = losses(x.to(device), *([] if weight is None else [weight.to(device)]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {state.step}: lower the learning rate ({recipe.lr:g})")
        if lesson:
            state.lesson += 1
            if state.lesson % 25 == 0:
                state.lessons.append((state.lesson, state.types, round(value, 4)))
                say(f"curriculum {state.lesson}: {state.types} types, loss {value:.3f}")
            if value < math.log(state.types) / 4:
                whole = state.types >= shape.d_vocab - 1
                state.types = 0 if whole else min(4 * state.types, shape.d_vocab - 1)
                if whole:  # text begins with a fresh optimiser
                    optimiser = _optimiser(model, recipe, state)
        else:
            state.step += 1
            if state.step % 10 == 0 or state.step == 1:
                state.losses.append((state.step, round(value, 5)))
        done += 1
        now = time.monotonic()
        over = not state.types and state.step == recipe.steps
        if now - saved > every_seconds or over or done == stop_after:
            state.seconds += now - began
            left = (recipe.steps - state.step) * (now - began) / max(1, done - since)
            began, saved, since = now, now, done
            _checkpoint(folder, identity, model, optimiser, state)
            say(f"step {state.step}/{recipe.steps}, loss {value:.3f}, about {left / 60:.0f} min left")
        if done == stop_after:
            break
    return model


def history(folder: Path | str) -> list[tuple[int, float]]:
    """(step, training loss) every ten steps of the training in `folder`."""
    return _read(Path(folder))[1].losses


def finished(folder: Path | str, recipe: Recipe) -> tuple[dict[str, Tensor], State]:
    """The weights that the training in `folder` ended with, and its state; ModelError when it is not done or is damaged."""
    _, state, kept = _read(Path(folder))
    if state.types or state.step != recipe.steps:
        raise ModelError(f"the training in {folder} is at step {state.step} of {recipe.steps}: finish it first")
    return {name.removeprefix("model."): v for name, v in kept.items() if name.startswith("model.")}, state


def _compiled(model: Transformer, wanted: bool, say: Callable[[str], None]) -> Callable[..., Tensor]:
    """`model.loss`, compiled where this machine can (it needs a C++ compiler); eager otherwise, and says so."""
    if not wanted:
        return model.loss
    fast = torch.compile(model.loss)
    eager = False

    def losses(*args: Tensor) -> Tensor:
        nonlocal eager
        if not eager:
            try:
                out: Tensor = fast(*args)
                return out
            except Exception as error:  # a missing compiler shows up as many kinds of error, at the first call
                say(f"torch.compile does not work here ({type(error).__name__}): training without it, about twice as slow")
                eager = True
        return model.loss(*args)

    return losses


def _optimiser(model: Transformer, recipe: Recipe, state: State) -> torch.optim.AdamW:
    """AdamW; matrices decay, biases and LayerNorm do not, and nothing decays during the curriculum."""
    matrices = [p for n, p in model.named_parameters() if p.ndim > 1 and ".b_" not in n]
    vectors = [p for n, p in model.named_parameters() if not (p.ndim > 1 and ".b_" not in n)]
    lesson = state.types > 0
    groups = [
        {"params": matrices, "weight_decay": 0.0 if lesson else recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.98) if lesson else recipe.betas, fused=True)


def _parameters(optimiser: torch.optim.Optimizer) -> Iterator[tuple[int, Tensor]]:
    yield from enumerate(p for group in optimiser.param_groups for p in group["params"])


def _checkpoint(folder: Path, identity: dict[str, Any], model: Transformer, optimiser: torch.optim.AdamW, state: State) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for number, parameter in _parameters(optimiser):
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{number}.{key}"] = value
    checkpoint.write(folder / CHECKPOINT, {"identity": identity, "state": asdict(state)}, tensors)


def _read(folder: Path) -> tuple[dict[str, Any], State, dict[str, Tensor]]:
    """Identity, state and tensors of a checkpoint; ModelError when it is not, to the bit, what was written."""
    try:
        document, tensors = checkpoint.read(folder / CHECKPOINT)
    except store.StoreError as error:
        raise ModelError(f"{error}: remove it to train from the start") from None
    state = State(**document["state"])
    state.losses = [(int(a), float(b)) for a, b in state.losses]
    return document["identity"], state, tensors


def _restore_moments(kept: Mapping[str, Tensor], optimiser: torch.optim.AdamW, device: str) -> None:
    for number, parameter in _parameters(optimiser):
        prefix = f"optimiser.{number}."
        found = {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}
        if found:
            optimiser.state[parameter] = {k: v if k == "step" else v.to(device) for k, v in found.items()}
