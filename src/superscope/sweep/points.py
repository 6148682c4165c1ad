"""Weighted points: the one abstraction that all engines train on and all losses are evaluated on.

A stream of points is a function of (what the inputs are, a key, the step). Steps are drawn in blocks of fixed size, each
from superscope.inputs.strata import StratifiedPlan
from its own counter, so that any part of a stream can be drawn again without the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from superscope.inputs.features import SparseFeatures, describe
from superscope.inputs.strata import StratifiedPlan
from superscope.store import digest
from superscope.sweep.grid import SEED_BLOCK, Instance, generator
from superscope.sweep.recipe import Recipe
from superscope.toys import TwoLayer, get_target

BLOCK_FLOATS = 1 << 21  # floats of x in one block of steps: 8 MB
EVAL_SETS = 8  # independent sets on which expected losses are computed


@dataclass(frozen=True)
class PointBlock:
    """Points of consecutive steps.

    x: (T, P, n) float32, or (T, B, P, n) when every instance has its own; target: the same with outputs last.
    weight: (P,) float32, sums to 1. keep: (T, B, P, m) bool dropout masks, True = kept, or None.
    """

    start: int
    x: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    keep: np.ndarray | None

    @property
    def steps(self) -> int:
        return len(self.x)

    def part(self, low: int, high: int) -> PointBlock:
        """Steps low..high-1, counted from the start of the block."""
        cut = slice(low, high)
        keep = None if self.keep is None else self.keep[cut]
        return PointBlock(self.start + low, self.x[cut], self.target[cut], self.weight, keep)


def sampler(inputs: SparseFeatures, recipe: Recipe) -> StratifiedPlan | None:
    """The stratified plan of a recipe, or None where it samples plainly."""
    return (
        StratifiedPlan(inputs, recipe.points_for(inputs.n)) if recipe.sampling == "stratified" and not inputs.groups else None
    )


def points_per_step(inputs: SparseFeatures, recipe: Recipe) -> int:
    plan = sampler(inputs, recipe)
    return plan.points if plan else recipe.points_for(inputs.n)


def stream(group: list[Instance], recipe: Recipe) -> Iterator[PointBlock]:
    """Blocks of points for a group of instances that share toy (up to importance) and inputs, cut at the history steps."""
    first = group[0]
    plan = sampler(first.inputs, recipe)
    count = points_per_step(first.inputs, recipe)
    weight = (plan.weight if plan else np.full(count, 1 / count)).astype(np.float32)
    compute = get_target(first.toy.target).compute
    data = first.condition.data_key
    per_block = max(1, min(64, BLOCK_FLOATS // (count * first.inputs.n)))
    cuts = recipe.history_steps()
    for number, start in enumerate(range(0, recipe.steps, per_block)):
        steps = min(per_block, recipe.steps - start)
        if recipe.shared:
            streams = [generator(number, "shared points", data, first.seed // SEED_BLOCK)]
        else:
            streams = [i.generator(number, "points") for i in group]
        # A whole block is always drawn, so that a longer recipe begins like a shorter one.
        xs = [draw(first.inputs, plan, rng, per_block, count, recipe.sampling)[:steps] for rng in streams]
        x = xs[0] if recipe.shared else np.stack(xs, axis=1)
        block = PointBlock(start, x, compute(x), weight, masks(group, number, per_block, count, steps))
        inner = [c - start for c in cuts if start < c < start + steps]
        for low, high in zip([0, *inner], [*inner, steps], strict=True):
            yield block.part(low, high)


def draw(
    inputs: SparseFeatures, plan: StratifiedPlan | None, rng: np.random.Generator, sets: int, count: int, sampling: str
) -> np.ndarray:
    """(sets, count, n) float32 points of `sets` steps."""
    if plan:
        return plan.draw(rng, sets)
    if sampling == "each":
        alone = np.sqrt(inputs.values.moment(2)) * np.eye(inputs.n, dtype=np.float32)
        return np.broadcast_to(alone.astype(np.float32), (sets, inputs.n, inputs.n))
    return inputs.draw(rng, sets * count).reshape(sets, count, inputs.n)


def masks(group: list[Instance], number: int, per_block: int, count: int, steps: int) -> np.ndarray | None:
    """(steps, B, P, m) bool keep masks, each instance from its own stream; None without dropout."""
    toy = group[0].toy
    if not isinstance(toy, TwoLayer) or toy.dropout == 0:
        return None
    drop = round(toy.dropout * 65536)
    shape = (per_block, count, toy.n_hidden)
    out = [i.generator(number, "dropout").integers(65536, size=shape, dtype=np.uint16)[:steps] >= drop for i in group]
    return np.stack(out, axis=1)


def evaluation_count(inputs: SparseFeatures) -> int:
    """Points of one evaluation set: few features are covered by few points."""
    return 8192 if inputs.groups else int(np.clip(1024 * inputs.n, 1024, 8192))


def evaluation_points(inputs: SparseFeatures) -> tuple[np.ndarray, np.ndarray]:
    """The fixed evaluation set of these inputs: x (S, P, n) float32 and weight (P,) float64.

    S independent randomised stratified sets: each estimates the expected loss without bias, their spread gives its standard
    error. All instances with the same inputs are compared on the same points.
    """
    count = evaluation_count(inputs)
    rng = generator(0, "evaluation", digest(describe(inputs.replace(importance=1.0))))
    if inputs.groups:
        x = inputs.draw(rng, EVAL_SETS * count).reshape(EVAL_SETS, count, inputs.n)
        return x, np.full(count, 1 / count)
    plan = StratifiedPlan(inputs, count)
    return plan.draw(rng, EVAL_SETS), plan.weight
