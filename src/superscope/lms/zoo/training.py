"""Training small transformers: AdamW with cosine decay, bf16 autocast, torch.compile; survives kill -9 and gives the same
loss curve.

Everything random is keyed by (seed, step): which rows make up a batch, which of them are replaced by repeated strings. A
checkpoint is therefore the parameters, the optimiser's moments and the step, written atomically as safetensors.

Two-layer attention-only models form induction heads only with shortformer positions and a curriculum of repeated random strings
before any text: without it none form in tens of millions of tokens. See `Recipe.curriculum`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope import store
from superscope.lms.model.transformer import Shape, Transformer, initialise


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. `rows` x n_ctx tokens a step; `repeats` is the share of rows that are repeated random strings.

    curriculum: before any text, sequences of 64 that repeat a random string of period 8-32 over few token types; whenever
    the loss on the repeat falls under a quarter of ln(types), four times as many types, up to the whole vocabulary.
    """

    steps: int = 2500
    rows: int = 32
    lr: float = 3e-3
    warmup: int = 150
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    repeats: float = 0.0
    curriculum: bool = False
    seed: int = 0
    snapshots: tuple[int, ...] = ()
    init_seed: int | None = None  # the initial tensors' seed when it is not `seed` (same start, other batch order)

    def rate(self, step: int) -> float:
        """Learning rate at `step`: linear warm-up, cosine to a tenth."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


class Batches:
    """Rows of a token stream in a seeded order: BOS and `n_ctx` tokens; no row twice before all were used."""

    def __init__(self, tokens: np.ndarray, shape: Shape, recipe: Recipe, bos: int) -> None:
        self.tokens, self.shape, self.recipe, self.bos = tokens, shape, recipe, bos
        self.count = len(tokens) // shape.n_ctx
        if self.count < recipe.rows:
            raise ValueError(
                f"the corpus has {len(tokens)} tokens, fewer than one batch of {recipe.rows} rows of {shape.n_ctx}: add text"
            )
        self._epoch = (-1, np.empty(0, dtype=np.int64))

    def __call__(self, step: int) -> Tensor:
        """(rows, n_ctx + 1) int64."""
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
        return torch.from_numpy(out)

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
    device: str = "cpu",
    compile: bool = True,
    autocast: bool = True,
    every_seconds: float = 120.0,
    say: Callable[[str], None] = lambda text: None,
    stop_after: int | None = None,
) -> Transformer:
    """Train, or go on training, the model kept in `folder`; returns it when `recipe.steps` are done.

    A checkpoint is written every `every_seconds`; snapshots go to ``snapshots/<step>.safetensors``. `stop_after` ends early
    (as a kill would, but after a checkpoint), for tests. `data` names the text (a digest), so that a folder never goes on
    with another. Raises ValueError when the folder holds another model's training.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    identity = json.loads(json.dumps({"shape": asdict(shape), "recipe": asdict(recipe)} | ({"data": data} if data else {})))
    if (folder / "identity.json").exists() and store.read_json(folder / "identity.json") != identity:
        raise ValueError(f"{folder} holds the training of another model, recipe or corpus: choose another folder or remove it")
    store.atomic_write_json(folder / "identity.json", identity)
    model = Transformer(shape)
    initialise(model, recipe.seed if recipe.init_seed is None else recipe.init_seed)
    model.to(device)
    state = State(types=256 if recipe.curriculum else 0)
    optimiser = _optimiser(model, recipe, state)
    if (folder / "checkpoint.safetensors").exists():
        state = _restore(folder, model, recipe, device)
        optimiser = _optimiser(model, recipe, state)
        _restore_moments(folder, model, optimiser, device)
    batches = Batches(tokens, shape, recipe, bos)
    losses = _compiled(model, compile, say)
    kind = torch.bfloat16
    saved = began = time.monotonic()
    done = since = 0
    while state.types or state.step <= recipe.steps:
        if not state.types and state.step in recipe.snapshots:
            save_weights(model, folder / "snapshots" / f"{state.step:06d}.safetensors")
        if not state.types and state.step == recipe.steps:
            break
        lesson = state.types > 0
        with torch.autocast(device, kind, enabled=autocast):
            if lesson:
                rng = np.random.default_rng([recipe.seed, state.lesson, 9])
                pool = 1 + np.random.default_rng([recipe.seed, 8]).permutation(shape.d_vocab - 1)[: state.types]
                x, weight = repeated_strings(rng, 128, 64, pool, (8, 32))
                loss = losses(x.to(device), weight.to(device))
            else:
                for group in optimiser.param_groups:
                    group["lr"] = recipe.rate(state.step)
                loss = losses(batches(state.step).to(device))
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
        finished = not state.types and state.step == recipe.steps
        if now - saved > every_seconds or finished or done == stop_after:
            state.seconds += now - began
            left = (recipe.steps - state.step) * (now - began) / max(1, done - since)
            began, saved, since = now, now, done
            _checkpoint(folder, model, optimiser, state)
            say(f"step {state.step}/{recipe.steps}, loss {value:.3f}, about {left / 60:.0f} min left")
        if done == stop_after:
            break
    return model


def history(folder: Path | str) -> list[tuple[int, float]]:
    """(step, training loss) every ten steps of the training in `folder`."""
    return [(int(a), float(b)) for a, b in store.read_json(Path(folder) / "state.json")["losses"]]


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Parameters as fp16 safetensors, written atomically."""
    import safetensors.torch

    weights = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    store.atomic_write_bytes(path, safetensors.torch.save(weights))


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


def _checkpoint(folder: Path, model: Transformer, optimiser: torch.optim.AdamW, state: State) -> None:
    import safetensors.torch

    tensors = {f"model.{k}": v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    for number, parameter in _parameters(optimiser):
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{number}.{key}"] = value.detach().cpu().contiguous()
    document = json.dumps(asdict(state))
    data = safetensors.torch.save(tensors, metadata={"state": document})
    store.atomic_write_bytes(folder / "checkpoint.safetensors", data)  # the state travels inside: never torn from the weights
    store.atomic_write_text(folder / "state.json", document)


def _restore(folder: Path, model: Transformer, recipe: Recipe, device: str) -> State:
    from safetensors import safe_open

    path = folder / "checkpoint.safetensors"
    try:
        with safe_open(path, framework="pt", device=device) as file:
            state: dict[str, Any] = json.loads(file.metadata()["state"])
            model.load_state_dict({k[6:]: file.get_tensor(k) for k in file.keys() if k.startswith("model.")})  # noqa: SIM118 (it is no mapping)
    except Exception as error:  # safetensors raises its own kinds
        raise ValueError(f"{path} is damaged ({error}): remove it to train from the start") from None
    state["losses"] = [(int(a), float(b)) for a, b in state["losses"]]
    return State(**state)


def _restore_moments(folder: Path, model: Transformer, optimiser: torch.optim.AdamW, device: str) -> None:
    from safetensors import safe_open

    with safe_open(folder / "checkpoint.safetensors", framework="pt", device=device) as file:
        for number, parameter in _parameters(optimiser):
            prefix = f"optimiser.{number}."
            found = {k.removeprefix(prefix): file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118 (it is no mapping)
            if found:
                optimiser.state[parameter] = {k: v.cpu() if k == "step" else v for k, v in found.items()}
