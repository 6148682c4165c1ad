"""Training a family of SAEs: many seeds, sparsities and widths at once, resumable to the bit.

    family = sae.train(stream, sae.TopK(width=2048), over={"k": [16, 32, 64]}, seeds=3, recipe=sae.Recipe(steps=5000))
    family[0].config, family[0].seed, family[0].sae

Members that differ in nothing but sparsity and seed share every matrix product. Inputs are scaled so that the mean squared
distance from their mean is their number of dimensions (about the mean, unlike Anthropic's recipe: a large mean would make the
same penalty weigh more); what comes out reads raw activations.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from superscope import checkpoint, store
from superscope.errors import UserError
from superscope.recover.sae.architecture import Architecture, Memory, Params
from superscope.recover.sae.dictionary import SAE, scaled

SMALL = 1 << 27  # multiplications in a forward pass below which one thread is faster than several
EARLY = 0.05  # share of the training after which a family without a single firing latent is given up


class Source(Protocol):
    """Where training data come from: a pure function of the step, so that a training can go on where it stopped."""

    @property
    def name(self) -> str:
        """What tells these data apart from others."""
        ...

    def __call__(self, step: int) -> Tensor | tuple[Tensor, Tensor]:
        """Inputs (sample, d_in), or (seed, sample, d_in) where every seed has data of its own; a pair for a transcoder."""
        ...


@dataclass(frozen=True)
class Recipe:
    """Adam. decay: share at the end in which the rate falls to 0. clip: gradient norm of one member, 0 for none."""

    steps: int = 4000
    lr: float = 1e-3
    warmup: int = 100
    decay: float = 0.2
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warmup < 0:
            raise UserError(f"steps={self.steps}, warmup={self.warmup}: at least 1 step and no negative warm-up")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise UserError(f"lr={self.lr}: the learning rate is a finite number above 0")
        if not (0 <= self.decay <= 1 and self.clip >= 0):
            raise UserError(f"decay={self.decay}, clip={self.clip}: decay lies between 0 and 1, clip is not negative")

    def rate(self, step: int) -> float:
        """Learning rate at `step`."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.lr * min(1.0, (step + 1) / max(1, self.warmup), left)


@dataclass(frozen=True)
class Trained:
    """One member when training is done. history: (step, {loss name: value, "l0": ..., "dead": share}) now and then."""

    config: Architecture
    seed: int
    sae: SAE
    history: list[tuple[int, dict[str, float]]] = field(repr=False)


Say = Callable[[int, int, str], None]


def train(
    source: Source,
    config: Architecture,
    *,
    over: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | Sequence[int] = 1,
    recipe: Recipe | None = None,
    start: Mapping[str, Tensor] | None = None,
    folder: Path | str | None = None,
    every_seconds: float = 60.0,
    progress: Say = lambda done, total, text: None,
    metadata: Mapping[str, Any] | None = None,
    stop_after: int | None = None,
) -> list[Trained]:
    """Train `config` for every value in `over` (fields of the configuration) and every seed, side by side.

    source: data by step. start: parameters (by the names of `Architecture.start`, in raw units of the input) to start all
    members from, such as the true dictionary. folder: where the state is kept every `every_seconds`; the same call goes on
    from it. progress: called with steps done, steps in all and a line of numbers. stop_after: end early after a checkpoint,
    as a kill would, for tests. The order is that of `over`, seeds last.

    Raises UserError for a configuration that does not fit the data, for data that are not finite, for a family whose latents
    are all dead early on, and for a folder that holds something else.
    """
    recipe = recipe or Recipe()
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise UserError("no seeds to train")
    configs = _grid(config, over or {})
    out: dict[tuple[int, int], Trained] = {}
    together: dict[str, list[int]] = {}
    for place, one in enumerate(configs):
        shared = {name: value for name, value in asdict(one).items() if name not in one.own}
        together.setdefault(f"width-{one.width}-{store.digest(shared)[:8]}", []).append(place)
    for turn, (key, places) in enumerate(together.items()):
        family = [(place, seed) for place in places for seed in numbers]
        inner = None if folder is None else Path(folder) / key

        def say(done: int, total: int, text: str, turn: int = turn) -> None:
            progress(turn * recipe.steps + done, len(together) * recipe.steps, text)

        trained = _train_family(
            source, [configs[place] for place, _ in family], [seed for _, seed in family], numbers, recipe, start, inner,
            every_seconds, say, dict(metadata or {}), stop_after,
        )  # fmt: skip
        out |= dict(zip(family, trained, strict=True))
    return [out[place, seed] for place in range(len(configs)) for seed in numbers]


def _grid(config: Architecture, over: Mapping[str, Sequence[Any]]) -> list[Architecture]:
    known = asdict(config)
    for name, values in over.items():
        if name not in known:
            raise UserError(f"{config.name} has no setting {name!r}: it has {', '.join(known)}")
        if not len(values):
            raise UserError(f"over {name!r}: no values")
    varied = [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]
    return [replace(config, **one) for one in varied]


class _Family:
    """Parameters, moments and memory of members that train together."""

    def __init__(
        self, configs: list[Architecture], seeds: list[int], batch: Tensor, target: Tensor, start: Params | None
    ) -> None:
        self.configs, self.seeds = configs, seeds
        for one in configs:
            one.check(batch.shape[-1])
        flat = batch.flatten(0, -2).double()
        size = float((flat - flat.mean(0)).square().sum(1).mean().sqrt())
        if not size > 0 or not math.isfinite(size):
            raise UserError("the first batch of inputs is one point or not finite: nothing to learn from; look at the site")
        self.scale = math.sqrt(batch.shape[-1]) / size
        center = (target.flatten(0, -2).mean(0) * self.scale).to(torch.float32)
        members = []
        for one, seed in zip(configs, seeds, strict=True):
            # A stream of its own: a dictionary drawn elsewhere from the same seed would be where this training starts.
            generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 0x5AE]).generate_state(1)[0]))
            p = one.start(batch.shape[-1], target.shape[-1], center, generator)
            for name, value in (start or {}).items():
                if name not in p or p[name].shape != value.shape:
                    raise UserError(
                        f"start {name!r} {tuple(value.shape)}: expected one of { {k: tuple(v.shape) for k, v in p.items()} }"
                    )
                p[name] = value.float() * (self.scale if name in ("b_enc", "b_dec", "b_mag") else 1.0)
            members.append(p)
        self.p: Params = {name: torch.stack([one[name] for one in members]) for name in members[0]}
        n = configs[0].width
        self.memory = Memory(
            since=torch.zeros(len(configs), n, dtype=torch.int64),
            start=self.p["W_dec"].clone(),
            threshold=torch.full((len(configs),), -1.0),
            gain=torch.ones(len(configs)),
        )
        moving = [
            value for name, value in self.p.items() if name != {"decoder": "W_dec", "encoder": "W_enc"}.get(configs[0].freeze)
        ]
        self.optimiser = torch.optim.Adam(moving, fused=True)
        self.step = 0
        self.seconds = 0.0
        self.history: list[list[Any]] = []

    def advance(self, x: Tensor, y: Tensor, recipe: Recipe) -> dict[str, Tensor]:
        """One step of Adam on every member."""
        one = self.configs[0]
        self.memory.progress = self.step / recipe.steps
        step = one.step(self.configs, self.p, x, y, self.memory)
        if one.unit and one.freeze != "decoder":  # along a row nothing can change: its norm is fixed
            rows = self.p["W_dec"]
            step.gradients["W_dec"] -= (step.gradients["W_dec"] * rows).sum(-1, keepdim=True) * rows
        if recipe.clip:
            norms = torch.stack([g.flatten(1).norm(dim=1) for g in step.gradients.values()]).norm(dim=0)
            share = (recipe.clip / norms.clamp_min(1e-12)).clamp_max(1.0)
            for g in step.gradients.values():
                g *= share.view(-1, *[1] * (g.ndim - 1))
        self.step += 1
        for name, value in self.p.items():
            value.grad = step.gradients[name]
        for group in self.optimiser.param_groups:
            group |= {"lr": recipe.rate(self.step - 1), "betas": recipe.betas}
        self.optimiser.step()
        one.settle(self.p, self.memory)
        one.remember(self.configs, step, x.shape[1], self.memory)
        return step.losses | {"l0": step.l0, "dead": (self.memory.since >= one.dead_after).float().mean(1)}

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint must hold."""
        held = {f"p.{k}": v for k, v in self.p.items()}
        for name, value in self.p.items():
            held |= {f"{key}.{name}": moment for key, moment in self.optimiser.state.get(value, {}).items()}
        return held | {name: getattr(self.memory, name) for name in ("since", "start", "threshold", "gain")}

    def restore(self, document: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        for name, value in tensors.items():
            kind, _, key = name.partition(".")
            if kind == "p":
                self.p[key].copy_(value)
            elif key:
                self.optimiser.state[self.p[key]][kind] = value
            else:
                setattr(self.memory, kind, value)
        self.step, self.seconds, self.history = document["step"], document["seconds"], document["history"]

    def finished(self, metadata: dict[str, Any]) -> list[Trained]:
        out = []
        for i, (config, seed) in enumerate(zip(self.configs, self.seeds, strict=True)):
            p = {name: value[i].clone() for name, value in self.p.items()}
            memory = Memory(self.memory.since[i], self.memory.start[i], self.memory.threshold[i], self.memory.gain[i])
            kind, tensors, settings = config.inference(p, memory)
            told = metadata | {"training_architecture": config.name, "training": asdict(config), "seed": seed}
            one = SAE(kind, tensors, centred=config.inside, metadata=told, **settings)  # type: ignore[arg-type]
            history = [(int(step), {name: values[i] for name, values in row.items()}) for step, row in self.history]
            out.append(Trained(config, seed, scaled(one, self.scale), history))
        return out


def _train_family(
    source: Source, configs: list[Architecture], seeds: list[int], numbers: list[int], recipe: Recipe,
    start: Mapping[str, Tensor] | None, folder: Path | None, every_seconds: float, say: Say, metadata: dict[str, Any],
    stop_after: int | None,
) -> list[Trained]:  # fmt: skip
    which = torch.tensor([numbers.index(seed) for seed in seeds])
    x, y = _pair(source, 0)
    family = _Family(configs, seeds, x, y, dict(start) if start is not None else None)
    identity = json.loads(json.dumps({
        "architecture": configs[0].name, "configs": [asdict(one) for one in configs], "seeds": seeds, "recipe": asdict(recipe),
        "source": source.name, "start": sorted(start or {}),
    }))  # fmt: skip
    path = None if folder is None else folder / "training.safetensors"
    if path is not None and path.exists():
        try:
            document, tensors = checkpoint.read(path)
        except store.StoreError as error:
            raise UserError(f"{error}: remove it to train from the start") from None
        if document["identity"] != identity:
            raise UserError(f"{folder} holds the training of other SAEs or of other data: choose another folder or remove it")
        family.restore(document, tensors)
    log_every = max(1, recipe.steps // 50)
    threads = torch.get_num_threads()
    if len(configs) * x.shape[-2] * x.shape[-1] * configs[0].width < SMALL:
        torch.set_num_threads(1)  # handing out work this small costs more than doing it
    try:
        _run(family, source, which, recipe, path, identity, every_seconds, log_every, say, stop_after)
    finally:
        torch.set_num_threads(threads)
    return family.finished(metadata)


def _run(
    family: _Family, source: Source, which: Tensor, recipe: Recipe, path: Path | None, identity: dict[str, Any],
    every_seconds: float, log_every: int, say: Say, stop_after: int | None,
) -> None:  # fmt: skip
    """Steps until the end, with a row of numbers and a checkpoint now and then."""
    began = saved = time.monotonic()
    done = 0
    while family.step < recipe.steps:
        x, y = _pair(source, family.step)
        inputs = _members(x, which) * family.scale
        numbers_now = family.advance(inputs, inputs if y is x else _members(y, which) * family.scale, recipe)
        done += 1
        last = family.step == recipe.steps
        if family.step % log_every == 0 or last:
            row = {name: [round(float(v), 6) for v in values] for name, values in numbers_now.items()}
            _check(family, row, recipe)
            family.history.append([family.step, row])
            say(
                family.step,
                recipe.steps,
                f"loss {_mean(row['loss']):.4g}, L0 {_mean(row['l0']):.3g}, dead {_mean(row['dead']):.0%}",
            )
        now = time.monotonic()
        if path is not None and (last or now - saved > every_seconds or done == stop_after):
            family.seconds += now - began
            began = saved = now
            document = {"identity": identity, "step": family.step, "seconds": family.seconds, "history": family.history}
            checkpoint.write(path, document, family.tensors())
        if done == stop_after:
            break


def _check(family: _Family, row: dict[str, list[float]], recipe: Recipe) -> None:
    """Ends a training that cannot come to anything, early and with what to change."""
    for config, seed, loss in zip(family.configs, family.seeds, row["loss"], strict=True):
        if not math.isfinite(loss):
            raise UserError(
                f"the loss of {config.name} (seed {seed}) is {loss} at step {family.step}: "
                f"lower the learning rate ({recipe.lr:g})"
            )
    for config, seed, l0 in zip(family.configs, family.seeds, row["l0"], strict=True):
        if l0 == 0 and family.step >= EARLY * recipe.steps:
            settings = {k: v for k, v in asdict(config).items() if k in ("l1", "l0", "k", "penalty")}
            raise UserError(
                f"no latent of {config.name} (seed {seed}) fires at step {family.step} of {recipe.steps}: all are dead. "
                f"Lower the penalty or the learning rate ({recipe.lr:g}); settings: {settings}"
            )


def _pair(source: Source, step: int) -> tuple[Tensor, Tensor]:
    value = source(step)
    x, y = value if isinstance(value, tuple) else (value, value)
    if not bool(torch.isfinite(x.sum())) and not bool(torch.isfinite(x).all()):
        raise UserError(f"the activations of step {step} hold values that are not finite: look at {source.name}")
    return x, y


def _members(x: Tensor, which: Tensor) -> Tensor:
    """(member, sample, d): the data of a member's seed, or the same for all."""
    return x[which] if x.ndim == 3 else x.expand(len(which), *x.shape)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
