"""How a sweep is trained: optimiser, schedule and sampling."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from superscope.errors import SettingError, choice, flag, real, whole

SCHEDULES = ("constant", "cosine", "linear")
SAMPLINGS = ("stratified", "plain", "each")
OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class Recipe:
    """Training recipe. `Recipe.fast()` is the default, `faithful()` is the usual notebook loop, `careful()` warms up.

    Every field but `history` can be an axis of a sweep: ``ss.Sweep(toy, inputs, over={"lr": [1e-3, 1e-2]})``.

    steps: steps of the optimiser.
    points: points per step (the batch size); None means 4 per feature, at least 64 and at most 512. The stratified sampler
        rounds it.
    lr, schedule, warmup: peak learning rate, its decay to 0 ("constant" does not decay), fraction of steps with linear warm-up.
    weight_decay: decoupled (AdamW), 0 unless asked for.
    optimizer: "adam", or "sgd": plain gradient descent, without momentum; beta1, beta2 and eps are then not used.
    l1: penalty l1 * sum_k |h_k| on the hidden activations, mean over points, added to what is trained on and not to the loss
        that is reported. The two-layer family only; any other toy brings its own loss.
    sampling: "stratified" (weighted strata of the number of active features), "plain", or "each": full batch, every step sees
        the n inputs in which one feature is on alone, at the root mean square of its values, whatever the density.
    shared: one stream of points serves all seeds and restarts of a grid point (in blocks of 256 seeds), so seeds differ in
        their initial weights only; False draws fresh points for every instance.
    history: steps at which weights and expected loss are kept, a count (log-spaced, step 0 and the last included) or steps.
    """

    steps: int = 2000
    points: int | None = None
    lr: float = 1.5e-2
    schedule: str = "cosine"
    warmup: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    optimizer: str = "adam"
    l1: float = 0.0
    sampling: str = "stratified"
    shared: bool = True
    history: int | tuple[int, ...] = ()

    def __post_init__(self) -> None:
        put = functools.partial(object.__setattr__, self)
        put("steps", whole("steps", self.steps, 0))
        if self.points is not None:
            put("points", whole("points", self.points, 2))
        put("lr", real("lr", self.lr, "the learning rate must be > 0 and finite", 0, np.inf, "()"))
        put("warmup", real("warmup", self.warmup, "a fraction of the steps in [0, 1)", 0, 1, "[)"))
        for name in ("beta1", "beta2"):
            put(name, real(name, getattr(self, name), "must lie in [0, 1)", 0, 1, "[)"))
        put("eps", real("eps", self.eps, "must be >= 0 and finite", 0, np.inf, "[)"))
        put("weight_decay", real("weight_decay", self.weight_decay, "must be >= 0 and finite", 0, np.inf, "[)"))
        put("l1", real("l1", self.l1, "the penalty must be >= 0 and finite", 0, np.inf, "[)"))
        choice("schedule", self.schedule, SCHEDULES)
        choice("sampling", self.sampling, SAMPLINGS)
        choice("optimizer", self.optimizer, OPTIMIZERS)
        put("shared", flag("shared", self.shared))
        if self.sampling == "each" and self.points is not None:
            raise SettingError(f"points={self.points!r}: sampling='each' has one point a feature; leave points out")
        put("history", self._history())

    def _history(self) -> int | tuple[int, ...]:
        """A count, or the steps as a tuple (from a list, range or array)."""
        given: Any = self.history
        if np.ndim(given) == 0 and not isinstance(given, (range, str)):
            return whole("history", given, 0)
        if isinstance(given, str) or np.ndim(given) != 1:
            raise SettingError(f"history={given!r}: give a count, or the steps at which to keep a snapshot")
        return tuple(whole("history step", step, 0) for step in (given.tolist() if hasattr(given, "tolist") else given))

    @classmethod
    def fast(cls, **changes: Any) -> Recipe:
        """Shared stratified points, Adam, cosine decay from 1.5e-2: for finding minima."""
        return cls(**changes)

    @classmethod
    def faithful(cls, **changes: Any) -> Recipe:
        """Fresh plain samples, batch 1024, constant 1e-3, 10k steps: for studying training itself."""
        plain = {"steps": 10_000, "points": 1024, "lr": 1e-3, "schedule": "constant", "sampling": "plain", "shared": False}
        return cls(**{**plain, **changes})

    @classmethod
    def careful(cls, steps: int, lr: float = 5e-3, **changes: Any) -> Recipe:
        """A long warm-up and a moderate learning rate: for toys whose outputs can be switched off early (`toys.aligned`)."""
        return cls(steps=steps, lr=lr, warmup=0.3, **changes)

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def points_for(self, n: int) -> int:
        """Points per step for n features."""
        if self.sampling == "each":
            return n
        return self.points if self.points is not None else int(np.clip(4 * n, 64, 512))

    def learning_rates(self) -> np.ndarray:
        """(steps,) float64 learning rate of every step."""
        t = np.arange(self.steps)
        warm = round(self.warmup * self.steps)
        done = np.clip((t - warm) / max(1, self.steps - warm), 0, 1)
        decay = {"constant": np.ones(self.steps), "cosine": (1 + np.cos(np.pi * done)) / 2, "linear": 1 - done}[self.schedule]
        return self.lr * decay * np.minimum(1.0, (t + 1) / max(1, warm))

    def step_schedule(self) -> np.ndarray:
        """(steps, 3) float32: lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t), lr * weight_decay; t counts from 1 (Kingma & Ba).
        For "sgd": lr, 1, lr * weight_decay."""
        lr, t = self.learning_rates(), np.arange(1, self.steps + 1)
        if self.optimizer == "sgd":
            return np.stack([lr, np.ones_like(lr), lr * self.weight_decay], axis=1).astype(np.float32)
        return np.stack([lr / (1 - self.beta1**t), 1 / np.sqrt(1 - self.beta2**t), lr * self.weight_decay], axis=1).astype(
            np.float32
        )

    def history_steps(self) -> tuple[int, ...]:
        """Steps after which a snapshot is kept, ascending; 0 is before training."""
        if isinstance(self.history, tuple):
            wanted = self.history
        else:
            grid = np.geomspace(1, self.steps + 1, max(self.history, 2)).round().astype(int) - 1
            wanted = tuple(grid.tolist()) if self.history else ()
        bad = [s for s in wanted if not 0 <= s <= self.steps]
        if bad:
            raise SettingError(f"history step {bad[0]} lies outside 0..{self.steps}")
        return tuple(sorted(set(wanted)))
