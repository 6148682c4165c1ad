"""One unit of a sweep: a rectangular block of its grid, trained start to end. Pure: the same block gives the same arrays."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from superscope.errors import SettingError
from superscope.inputs.features import SparseFeatures
from superscope.sweep.engines import fused
from superscope.sweep.grid import SEED_BLOCK, Grid, Instance, parameter_shapes
from superscope.sweep.points import BLOCK_FLOATS, EVAL_SETS, evaluation_count, evaluation_points, stream
from superscope.sweep.recipe import Recipe
from superscope.toys import ModuleToy, TwoLayer, get_target

ENGINES = ("auto", "fused", "torch")
GPU_NETWORKS = 1 << 14  # in one unit
PIECES = 16  # units of a sweep on one machine, about
REGISTER = 16  # networks a unit has at least: a full register of the widest processors
UNSHARED_AT_ONCE = 16  # networks that hold their own points in memory at the same time
LIBRARIES = {"fused": 8 << 20, "torch": 96 << 20}  # what the matrix library takes for itself, on its first large product
Block = tuple[slice, ...]
Arrays = dict[str, np.ndarray]


def choose_engine(sweep: Grid, recipe: Recipe, engine: str, device: str) -> tuple[str, str]:
    """(engine, why) for a sweep; an engine asked for by name that cannot run is an error, never replaced silently."""
    if engine not in ENGINES:
        raise SettingError(f"engine={engine!r} is unknown: known are {', '.join(ENGINES)}")
    if isinstance(sweep.toy, ModuleToy):
        if engine == "fused":
            raise SettingError("engine='fused' trains the two-layer family only: use engine='torch' for a ModuleToy")
        return "torch", "modules run under torch.func.vmap"
    obstacle = ""
    if device != "cpu":
        obstacle = f"device={device!r}"
    elif not recipe.shared:
        obstacle = "every network has its own points (Recipe.shared=False)"
    elif recipe.optimizer != "adam" or recipe.l1:
        obstacle = "the kernel knows Adam without a penalty (Recipe.optimizer, Recipe.l1)"
    if engine == "torch" or (engine == "auto" and obstacle):
        return "torch", obstacle or "asked for"
    if engine == "fused" and obstacle:
        raise SettingError(f"engine='fused' cannot train this: {obstacle}; use engine='torch'")
    ready, why = fused.available()
    if engine == "fused":
        if not ready:
            raise fused.FusedUnavailableError(why)
        return "fused", "asked for"
    if not ready:
        return "torch", f"no native kernel: {why}"
    lanes = len(sweep.axes["seed"]) * sweep.restarts
    if not fused.worthwhile(sweep.toy, lanes):
        return "torch", "large networks, few seeds: matrix products win"
    return "fused", why


def blocks(sweep: Grid, recipe: Recipe, device: str = "cpu", pieces: int = PIECES) -> list[Block]:
    """The units of a sweep; a store keeps those it was made with, and how it is cut changes no bit of a result."""
    shape, size = sweep.shape, unit_shape(sweep, recipe, device, pieces)
    starts = [range(0, full, step) for full, step in zip(shape, size, strict=True)]
    return [
        tuple(slice(s, min(s + k, full)) for s, k, full in zip(corner, size, shape, strict=True))
        for corner in itertools.product(*starts)
    ]


def unit_shape(sweep: Grid, recipe: Recipe, device: str = "cpu", pieces: int = PIECES) -> list[int]:
    """How many labels of every axis a unit spans, when about `pieces` units are wanted.

    Axes are cut from the outside in. Seeds share their points, which are drawn once per unit: they are cut last, and only
    into pieces of at least 64 networks (16, one register, for a cluster). A GPU is busy with thousands of them at once: it
    gets as many as fit.
    """
    total = math.prod(sweep.shape)
    room = max(1, memory_budget() // bytes_per_instance(sweep, recipe))
    target = min(max(total // pieces, REGISTER), 1024, room)
    if device != "cpu":
        target = min(total, GPU_NETWORKS)
    size = list(sweep.shape)
    conditions = len(sweep.over or {})
    for axis in range(len(size)):
        enough = (
            target if axis < conditions or device != "cpu" else min(max(target, 64 if pieces == PIECES else REGISTER), room)
        )
        while math.prod(size) > enough and size[axis] > 1:
            size[axis] = -(-size[axis] // 2)
    return size


def memory_budget() -> int:
    """Bytes that the arrays of one unit may take: the same on every machine, unless its memory is scarce."""
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        available = 4 << 30
    return int(min(1 << 28, max(1 << 24, available // 4)))


def bytes_per_instance(sweep: Grid, recipe: Recipe) -> int:
    """Bytes that one more network in a unit costs at the peak: parameters, Adam moments, results and snapshots."""
    shapes = result_shapes(sweep, recipe.replace(history=()))
    parameters = sum(math.prod(shape) for shape in shapes.values())
    return 4 * parameters * (8 + len(recipe.history_steps())) + 65536


def estimate_bytes(sweep: Grid, recipe: Recipe, engine: str, workers: int, stored: bool) -> int:
    """Bytes that training adds to the process at its peak: every worker's unit, and the results of all where they stay in
    memory. From the spec alone: nothing is drawn, built or allocated.
    """
    results = 4 * sum(math.prod(shape) for shape in result_shapes(sweep, recipe).values())
    total, size = math.prod(sweep.shape), unit_shape(sweep, recipe)
    units = math.prod(-(-full // step) for full, step in zip(sweep.shape, size, strict=True))
    at_once = min(workers, units)
    held, passing = _unit_bytes(sweep, recipe, engine, math.prod(size))
    return at_once * held + passing + (0 if stored else total * results) + LIBRARIES[engine]


def _unit_bytes(sweep: Grid, recipe: Recipe, engine: str, networks: int) -> tuple[int, int]:
    """Bytes that a unit holds while it trains, and those that drawing its points takes in passing: NumPy draws in one
    thread at a time."""
    shapes = result_shapes(sweep, recipe)
    n = max([sweep.inputs.n, *(inputs.n for inputs in _inputs(sweep))])
    outputs = math.prod(shapes["loss_per_feature"])
    parameters = 4 * sum(math.prod(shape) for name, shape in shapes.items() if name in parameter_shapes(sweep.toy))
    snapshots = 4 * sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("history_"))
    group = networks if recipe.shared else min(networks, UNSHARED_AT_ONCE)  # trained together
    full = -(-group // fused.LANES) * fused.LANES
    moments = 5 * full * parameters  # the drawn parameters, then the trained ones with both moments, copied out once
    held = networks * 4 * sum(math.prod(shape) for shape in shapes.values()) + 2 * group * snapshots
    points = recipe.points_for(n)
    steps = min(max(1, min(64, BLOCK_FLOATS // (points * n))), max(1, recipe.steps))
    plan = 0 if recipe.sampling != "stratified" or sweep.inputs.groups else 8 * (n + 1) ** 2
    floats = steps * points * (1 if recipe.shared else group)
    density = float(np.mean([np.mean(inputs.densities) for inputs in _inputs(sweep)]))
    on = 30 * density * n + n + 16  # per point in passing: what is on, its place and value in double
    drawn = 4 * floats * (n + (outputs if outputs != n else 0))
    own = 0 if recipe.shared else 4 * floats * (n + outputs)
    masks = 0
    if isinstance(sweep.toy, TwoLayer) and (sweep.toy.dropout or "dropout" in (sweep.over or {})):
        masks = steps * points * sweep.toy.n_hidden * full * (4 if engine == "fused" else 10)
    hidden = sweep.toy.n_hidden if isinstance(sweep.toy, TwoLayer) else outputs
    chunk = 0 if engine == "fused" else 4 * points * (4 * outputs + 3 * hidden) * min(full, 64)
    count = evaluation_count(sweep.inputs)
    evaluation = 4 * count * (EVAL_SETS * n + 3 * outputs + 2 * hidden)
    training = drawn + own + masks + chunk + 24 * max(1, recipe.steps)
    passing = max(EVAL_SETS * count, floats) * on + plan
    return int(held + moments + evaluation + training + plan), int(passing)


def _inputs(sweep: Grid) -> list[SparseFeatures]:
    """The inputs along the axes that change them, one axis at a time."""
    axes = {name: len(sweep.axes[name]) for name in sweep.over or {} if name in sweep.input_fields | sweep.toy_fields}
    first = dict.fromkeys(axes, 0)
    return [sweep.at(first)[1], *(sweep.at(first | {name: i})[1] for name, count in axes.items() for i in range(count))]


@dataclass
class Progress:
    """What a running unit reports to: tick(networks x steps) may raise to stop the work."""

    tick: Callable[[int], None] = lambda amount: None


def train_unit(
    sweep: Grid, recipe: Recipe, block: Block, engine: str, device: str = "cpu", progress: Progress | None = None
) -> Arrays:
    """Train the networks of a block: arrays (block shape, parameter shape); smaller shapes are padded with NaN."""
    instances = sweep.instances(block)
    groups: dict[tuple[str, int], list[int]] = {}
    for position, instance in enumerate(instances):
        share = instance.seed // SEED_BLOCK if recipe.shared else 0
        key = (instance.condition.group_key, share)
        groups.setdefault(key, []).append(position)
    shape = tuple(s.stop - s.start for s in block)
    flat: Arrays = {
        name: np.full((len(instances), *tail), np.nan, np.float32) for name, tail in result_shapes(sweep, recipe).items()
    }
    for members in groups.values():
        at_once = len(members) if recipe.shared else UNSHARED_AT_ONCE
        for low in range(0, len(members), at_once):
            part = members[low : low + at_once]
            for name, value in train_group(
                [instances[i] for i in part], recipe, engine, device, progress or Progress()
            ).items():
                corner: tuple[Any, ...] = tuple(slice(0, k) for k in value.shape[1:])
                for row, i in enumerate(part):
                    flat[name][(i, *corner)] = value[row]
    return {name: value.reshape(*shape, *value.shape[1:]) for name, value in flat.items()}


def output_count(toy: TwoLayer | ModuleToy, n: int) -> int:
    if isinstance(toy, ModuleToy) and toy.loss:
        return 1
    return get_target(toy.target).outputs(n)


def result_shapes(sweep: Grid, recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """{array name: shape per network}, the largest over the grid."""
    out: dict[str, tuple[int, ...]] = {}

    def grow(name: str, shape: tuple[int, ...]) -> None:
        old = out.get(name, shape)
        if len(old) != len(shape):
            raise SettingError(
                f"parameter {name!r} has a different number of dimensions at different grid points: sweep them apart"
            )
        out[name] = tuple(max(a, b) for a, b in zip(old, shape, strict=True))

    snapshots = len(recipe.history_steps())
    names = [name for name in sweep.over or {} if name in sweep.toy_fields or name == "n"]  # the axes that may change shapes
    for position in itertools.product(*(range(len(sweep.axes[name])) for name in names)):
        toy, inputs = sweep.at(dict(zip(names, position, strict=True)))
        for name, shape in parameter_shapes(toy).items():
            grow(name, shape)
            if snapshots:
                grow(f"history_{name}", (snapshots, *shape))
        grow("loss_per_feature", (output_count(toy, inputs.n),))
    out["loss"] = out["loss_se"] = ()
    if snapshots:
        out["history_loss"] = (snapshots,)
    return out


def train_group(group: list[Instance], recipe: Recipe, engine: str, device: str, progress: Progress) -> Arrays:
    """Train instances that share toy, inputs (up to importance) and points."""
    toy, inputs = group[0].toy, group[0].inputs
    importance = np.stack([importance_per_output(i) for i in group])
    trainer = make_trainer(toy, group, importance, recipe, engine, device)
    x, weight = evaluation_points(inputs)
    compute = get_target(toy.target).compute
    snapshots: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    wanted = recipe.history_steps()

    def snapshot() -> None:
        per_output = trainer.loss_per_output(x[0], compute(x[0]), weight)
        snapshots.append(((per_output * importance).sum(-1), trainer.params))

    if wanted and wanted[0] == 0:
        snapshot()
    for points in stream(group, recipe):
        trainer.run(points)
        progress.tick(len(group) * points.steps)
        if points.start + points.steps in wanted:
            snapshot()
    per_set = np.stack([trainer.loss_per_output(xs, compute(xs), weight) for xs in x])  # (S, B, outputs)
    total = (per_set * importance).sum(-1)
    out: dict[str, Any] = {
        **trainer.params,
        "loss_per_feature": per_set.mean(0),
        "loss": total.mean(0),
        "loss_se": total.std(0, ddof=1) / np.sqrt(len(total)),
    }
    if snapshots:
        out["history_loss"] = np.stack([loss for loss, _ in snapshots], axis=1)
        for name in trainer.params:
            out[f"history_{name}"] = np.stack([params[name] for _, params in snapshots], axis=1)
    return out


def make_trainer(
    toy: TwoLayer | ModuleToy, group: list[Instance], importance: np.ndarray, recipe: Recipe, engine: str, device: str
) -> Any:
    if isinstance(toy, ModuleToy):
        from superscope.sweep.engines.module_engine import ModuleTrainer

        trainer = ModuleTrainer(toy, group, importance, recipe, device)
        if group[0].start:
            drawn = trainer.params
            rows = [started({name: value[k] for name, value in drawn.items()}, i) for k, i in enumerate(group)]
            trainer.load({name: np.stack([row[name] for row in rows]) for name in drawn})
        return trainer
    start = [started(toy.initial(i.generator(0, "init")), i) for i in group]
    params = {name: np.stack([p[name] for p in start]) for name in start[0]}
    if engine == "fused":
        return fused.FusedTrainer(toy, params, importance, recipe)
    from superscope.sweep.engines.captured import CapturedTrainer
    from superscope.sweep.engines.torch_engine import TorchTrainer

    kind = CapturedTrainer if device.startswith("cuda") else TorchTrainer
    return kind(toy, params, importance, recipe, [i.number for i in group], group[0].lanes, device)


def started(params: dict[str, np.ndarray], instance: Instance) -> dict[str, np.ndarray]:
    """Drawn parameters with those replaced that the sweep starts elsewhere (`Sweep.init`)."""
    for name, value in instance.start.items():
        if value.shape != params[name].shape:
            raise SettingError(f"init[{name!r}] has shape {value.shape} for one network, the toy's is {params[name].shape}")
    return params | {name: np.ascontiguousarray(value) for name, value in instance.start.items()}


def importance_per_output(instance: Instance) -> np.ndarray:
    """(outputs,) importances: one per feature where outputs are features, else a single number for all."""
    outputs = output_count(instance.toy, instance.inputs.n)
    given = instance.inputs.importance
    if np.ndim(given) == 0 or outputs == instance.inputs.n:
        return np.broadcast_to(np.asarray(given, dtype=np.float64), (outputs,))
    raise SettingError(f"importance has {instance.inputs.n} entries but the toy has {outputs} outputs: give a single number")
