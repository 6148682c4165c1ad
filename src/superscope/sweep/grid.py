"""The grid of a sweep: a toy, its inputs, axes over fields of either, seeds and restarts, and the networks that follow."""

from __future__ import annotations

import difflib
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from superscope import fingerprint
from superscope.errors import SettingError, flag, whole
from superscope.inputs.features import SparseFeatures, describe
from superscope.store import digest
from superscope.sweep.recipe import Recipe
from superscope.toys import ModuleToy, Target, TwoLayer

FORMAT = 1  # raised whenever the meaning of a stored sweep changes
SEED_BLOCK = 256  # this many consecutive seeds share one stream of points under Recipe(shared=True)
RECIPE_AXES = tuple(item.name for item in fields(Recipe) if item.name != "history")  # snapshots would differ in number
RESERVED = ("seed", "restart", "hidden", "feature", "output", "step")


def generator(counter: int, *key: Any, lane: int = 0) -> np.random.Generator:
    """Counter-based random numbers: the stream depends on key, counter and lane alone, never on what ran before."""
    return np.random.Generator(np.random.Philox(key=_key_bits(key), counter=[0, 0, counter, lane]))


@functools.lru_cache(maxsize=4096)
def _key_bits(key: tuple[Any, ...]) -> int:
    return int(digest(list(key))[:32], 16)


@dataclass(frozen=True)
class Condition:
    """One grid point: a toy on its inputs."""

    toy: TwoLayer | ModuleToy
    inputs: SparseFeatures

    @functools.cached_property
    def data_key(self) -> str:
        """Names what the distribution of the points depends on: everything but importance, which only weighs the loss."""
        target = self.toy.target
        return digest([describe(replace(self.inputs, importance=1.0)), target.name if isinstance(target, Target) else target])

    @functools.cached_property
    def toy_key(self) -> str:
        return digest(describe_toy(self.toy))

    @functools.cached_property
    def group_key(self) -> str:
        """Names what networks must share to be trained together: the code of the toy's functions too, for two of them may
        have one name (lambdas do)."""
        return digest([self.toy_key, self.data_key, [fingerprint.of(function) for function in _functions(self.toy)]])

    @functools.cached_property
    def key(self) -> str:
        return digest([self.toy_key, describe(self.inputs)])


@dataclass(frozen=True)
class Instance:
    """One network of a sweep: what it is, and the random streams it uses."""

    number: int  # flat position in (axes..., seed, restart)
    condition: Condition
    seed: int
    restart: int
    paired: bool
    lanes: int  # networks at its grid point: seeds x restarts
    start: Mapping[str, np.ndarray] = field(default_factory=dict)  # parameters it starts from; the others are drawn

    @property
    def toy(self) -> TwoLayer | ModuleToy:
        return self.condition.toy

    @property
    def inputs(self) -> SparseFeatures:
        return self.condition.inputs

    def generator(self, counter: int, role: str) -> np.random.Generator:
        """The instance's own random numbers: the same at every grid point when the sweep is paired."""
        return generator(counter, role, self.seed, "" if self.paired else self.condition.key, lane=self.restart)


def describe_toy(toy: TwoLayer | ModuleToy) -> Any:
    """Plain description of a toy; functions appear by name."""
    if isinstance(toy, ModuleToy):
        loss = getattr(toy.loss, "__qualname__", None) if toy.loss else None
        target = toy.target.name if isinstance(toy.target, Target) else toy.target
        return {
            "type": "ModuleToy",
            "name": toy.name,
            "settings": describe_mapping(toy.settings),
            "target": target,
            "loss": loss,
        }
    name = toy.target.name if isinstance(toy.target, Target) else toy.target
    return describe(toy) | {"target": name}


def describe_mapping(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k: describe(v) if not callable(v) else getattr(v, "__qualname__", repr(v)) for k, v in sorted(settings.items())}


@dataclass(frozen=True, eq=False)
class Grid:
    """What a sweep trains (see `sweep.Sweep`).

    toy: TwoLayer (Bottleneck, AbsoluteValue, ...) or ModuleToy.
    inputs: SparseFeatures.
    over: {field of the toy or of the inputs: values}; one axis each, in this order.
    seeds: how many seeds, or the seed numbers themselves. Seeds are the unit of replication.
    restarts: extra initialisations per seed; all minima are kept, `run.best("restart")` picks.
    paired: seed s starts from the same weights at every grid point of the same shape, so that comparisons along an axis
        are paired by seed; False draws them independently.
    """

    toy: TwoLayer | ModuleToy
    inputs: SparseFeatures
    over: Mapping[str, Iterable[Any]] | None = None
    seeds: int | Iterable[int] = 1
    restarts: int = 1
    paired: bool = True
    init: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.toy, (TwoLayer, ModuleToy)):
            raise SettingError(f"toy={self.toy!r}: give a toy such as ss.Bottleneck(n_features=20, n_hidden=5)")
        if not isinstance(self.inputs, SparseFeatures):
            raise SettingError(f"inputs={self.inputs!r}: give inputs such as ss.SparseFeatures(n=20, density=0.01)")
        if not isinstance(self.over or {}, Mapping):
            raise SettingError(f"over={self.over!r}: give a mapping from fields to values, such as {{'density': [0.1, 0.01]}}")
        over = {name: _values(name, values) for name, values in (self.over or {}).items()}
        seeds = _seeds(self.seeds)
        object.__setattr__(self, "restarts", whole("restarts", self.restarts, 1, 10**6))
        object.__setattr__(self, "paired", flag("paired", self.paired))
        if not isinstance(self.init or {}, Mapping):
            raise SettingError(f"init={type(self.init).__name__}: give a mapping from parameters to values, such as {{'W': W}}")
        object.__setattr__(self, "over", over)
        object.__setattr__(self, "seeds", seeds)
        if self.init is not None:
            object.__setattr__(self, "init", {name: _start(name, value, self) for name, value in self.init.items()})
        known = self.toy_fields | self.input_fields | set(RECIPE_AXES)
        for name, values in over.items():
            if name not in known or name in RESERVED:
                near = difflib.get_close_matches(str(name), sorted(known), n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise SettingError(
                    f"sweep axis {name!r} is no field of the toy, of its inputs or of the recipe: {hint}known: "
                    f"{', '.join(sorted(known))}"
                )
            if not values:
                raise SettingError(f"sweep axis {name!r} has no values")
            if name in self.recipe_axes and len(set(map(repr, values))) < len(values):
                raise SettingError(f"sweep axis {name!r} names a value twice: {values}")
        for name in self.recipe_axes:
            for value in over[name]:
                Recipe().replace(**{name: value})  # raises what is wrong with it
        first = dict.fromkeys(over, 0)
        self.at(first)
        for (
            name,
            values,
        ) in over.items():  # every value is tried once, so that a bad one is named before training starts
            for i in range(len(values)):
                self.at(first | {name: i})

    @functools.cached_property
    def toy_fields(self) -> set[str]:
        if isinstance(self.toy, ModuleToy):
            return set(self.toy.settings) | {"target"}
        return {f.name for f in fields(self.toy)}

    @functools.cached_property
    def input_fields(self) -> set[str]:
        return {f.name for f in fields(self.inputs)}

    @functools.cached_property
    def recipe_axes(self) -> list[str]:
        """The axes that are fields of the recipe."""
        return [name for name in self.over or {} if name not in self.toy_fields | self.input_fields]

    def at(self, position: Mapping[str, int]) -> tuple[TwoLayer | ModuleToy, SparseFeatures]:
        """The toy and the inputs at a grid position {axis: index}; axes of the recipe change neither."""
        assert self.over is not None
        changes = {name: list(self.over[name])[i] for name, i in position.items()}
        changes = {k: tuple(v.tolist()) if isinstance(v, np.ndarray) and v.ndim else v for k, v in changes.items()}
        changes = {k: v.item() if isinstance(v, np.generic) else v for k, v in changes.items()}
        toy_fields, input_fields = self.toy_fields, self.input_fields
        for_toy = {k: v for k, v in changes.items() if k in toy_fields}
        for_inputs = {k: v for k, v in changes.items() if k in input_fields}
        if "n_features" in for_toy:
            for_inputs["n"] = for_toy["n_features"]
        if "n" in for_inputs and isinstance(self.toy, TwoLayer):
            for_toy["n_features"] = for_inputs["n"]
        toy, inputs = self.toy.replace(**for_toy), self.inputs.replace(**for_inputs)
        if isinstance(toy, TwoLayer) and toy.n_features != inputs.n:
            raise SettingError(f"the toy has n_features={toy.n_features} but the inputs have n={inputs.n}: they must be equal")
        return toy, inputs

    @functools.cached_property
    def axes(self) -> dict[str, list[Any]]:
        """Grid axes and their coordinates, seeds and (with more than one) restarts included."""
        out = {name: coordinate(values) for name, values in (self.over or {}).items()}
        out["seed"] = list(self.seeds)  # type: ignore[arg-type]
        if self.restarts > 1:
            out["restart"] = list(range(self.restarts))
        return out

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(v) for v in self.axes.values())

    def instances(self, block: tuple[slice, ...] | None = None) -> list[Instance]:
        """The networks of the sweep (or of a rectangular block of it), in the order of the grid."""
        names, seeds = list(self.over or {}), self.axes["seed"]
        ranges = [range(*s.indices(k)) for s, k in zip(block or (slice(None),) * len(self.shape), self.shape, strict=True)]
        out = []
        for position in itertools.product(*ranges[: len(names)]):
            condition = Condition(*self.at(dict(zip(names, position, strict=True))))
            for rest in itertools.product(*ranges[len(names) :]):
                number = int(np.ravel_multi_index((*position, *rest), self.shape))
                restart = rest[1] if len(rest) > 1 else 0
                where = (*position, *rest)
                start = {name: value[where].copy() for name, value in (self.init or {}).items()}
                out.append(Instance(number, condition, seeds[rest[0]], restart, self.paired, len(seeds) * self.restarts, start))
        return out

    def describe(self) -> dict[str, Any]:
        """JSON-able spec, stored with every run."""
        code = self._code()
        start = {name: digest(np.ascontiguousarray(value).tobytes().hex()) for name, value in (self.init or {}).items()}
        return (
            ({"code": code} if code else {})
            | ({"init": start} if start else {})
            | {
                "format": FORMAT,
                "toy": describe_toy(self.toy),
                "inputs": describe(self.inputs),
                "over": {name: [describe(v) for v in values] for name, values in (self.over or {}).items()},
                "seeds": list(self.seeds),  # type: ignore[arg-type]
                "restarts": self.restarts,
                "paired": self.paired,
            }
        )

    def _code(self) -> list[str]:
        """Digests of the user's functions in the sweep (modules, losses, targets, settings): their names alone would let an
        edited body pass for the old one."""
        found = [self.toy, self.inputs.values, *self.inputs.groups]
        found += [value for values in (self.over or {}).values() for value in values]
        return [fingerprint.of(function) for value in found for function in _functions(value)]

    def digest(self, recipe: Recipe | None = None) -> str:
        """Hex digest of the spec, the recipe and the code that trains: equal digests mean equal results on one engine."""
        return digest([self.describe(), describe(recipe or Recipe.fast()), fingerprint.library()])


def parameter_shapes(toy: TwoLayer | ModuleToy) -> dict[str, tuple[int, ...]]:
    """{parameter: shape} of one network."""
    if isinstance(toy, ModuleToy):
        return {name: tuple(p.shape) for name, p in toy.module(0).named_parameters()}
    return toy.shapes()


def _values(name: Any, values: Any) -> list[Any]:
    """The values of an axis as a list of plain Python values (arrays and tensors as their numbers)."""
    values = values.values if hasattr(values, "dims") else values
    if hasattr(values, "tolist") and np.ndim(values):
        return list(values.tolist())
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable) or hasattr(values, "tolist"):
        raise SettingError(f"sweep axis {name!r}: {values!r} is one value; give several, such as [{values!r}]")
    return [v.tolist() if hasattr(v, "tolist") else v for v in values]


def _seeds(given: Any) -> list[int]:
    """Seed numbers: so many from 0 on, or those that are named."""
    try:
        several = not isinstance(given, (str, bytes)) and np.ndim(given) == 1
        named = [whole("seed", s, 0) for s in given] if several else list(range(whole("seeds", given, 1, 10**6)))
    except (SettingError, TypeError, ValueError):
        named = []
    if not named or len(set(named)) < len(named):
        raise SettingError(f"seeds={given!r}: needs at least one seed, each a whole number >= 0 and named once")
    return named


def _start(name: str, value: Any, grid: Grid) -> np.ndarray:
    """(grid..., parameter...) starting values of one parameter, without copying what is the same for many networks.

    A DataArray is spread over the axes that it lacks; an array holds one network's parameter, or that of every network.
    """
    shapes = parameter_shapes(grid.toy)
    if name not in shapes:
        raise SettingError(f"init names {name!r}, but the toy's parameters are {', '.join(shapes)}")
    if hasattr(value, "dims"):
        own = [str(dim) for dim in value.dims if dim not in grid.axes]
        for axis, labels in grid.axes.items():
            if axis in value.dims and value.sizes[axis] != len(labels):
                raise SettingError(f"init[{name!r}] has {value.sizes[axis]} values along {axis!r}, the sweep has {len(labels)}")
        for axis in set(map(str, value.dims)) & set(value.coords) & set(grid.axes):
            if set(value[axis].values.tolist()) != set(grid.axes[axis]):
                raise SettingError(
                    f"init[{name!r}] has other values along {axis!r} than the sweep: {value[axis].values.tolist()}"
                )
            value = value.sel({axis: grid.axes[axis]})
        if set(own) == {"hidden", "feature"}:
            own = ["feature", "hidden"] if name == "W_out" else ["hidden", "feature"]
        here = [axis for axis in grid.axes if axis in value.dims]
        array = np.asarray(value.transpose(*here, *own).values, dtype=np.float32)
        shape = [len(labels) if axis in here else 1 for axis, labels in grid.axes.items()]
        array = array.reshape(*shape, *array.shape[len(here) :])
        tail = array.shape[len(shape) :]
    else:
        try:
            array = np.asarray(value.detach().cpu().float() if hasattr(value, "detach") else value, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise SettingError(f"init[{name!r}] is no array of numbers ({error})") from None
        rank = array.ndim - len(shapes[name])
        if array.shape[:rank] not in ((), grid.shape) or rank < 0:
            raise SettingError(
                f"init[{name!r}] has shape {array.shape}: give one network's parameter, {shapes[name]}, or that of the whole "
                f"grid, {(*grid.shape, *shapes[name])}"
            )
        tail = array.shape[rank:]
    if not np.isfinite(array).all():
        raise SettingError(f"init[{name!r}] holds values that are not finite")
    return np.broadcast_to(array, (*grid.shape, *tail))


def _functions(value: Any) -> list[Callable[..., Any]]:
    """The functions that a toy, or a value of an axis, is made of."""
    if isinstance(value, ModuleToy):
        parts = [value.build, value.loss, *_functions(value.target), *value.settings.values()]
        return [part for part in parts if callable(part)]
    if isinstance(value, TwoLayer):
        bundled = type(value).__module__.startswith("superscope.toys")  # their meaning changes with FORMAT alone
        return _functions(value.target) + ([] if bundled else [type(value)])
    if isinstance(value, Target):
        return [value.compute, value.outputs]
    if type(value).__module__.startswith("superscope.inputs"):
        return []
    if isinstance(value, (tuple, list)):
        return [part for item in value for part in _functions(item)]
    own = not isinstance(value, (str, int, float, complex, type(None), np.generic, np.ndarray))
    return [value] if callable(value) else [type(value)] if own else []


def coordinate(values: Iterable[Any]) -> list[Any]:
    """Labels of an axis: numbers and strings as they are, anything else by its description."""
    out: list[Any] = []
    for v in values:
        v = v.item() if isinstance(v, np.generic) else v
        simple = isinstance(v, (bool, int, float, str))
        out.append(v if simple else getattr(v, "name", None) or repr(v))
    kinds = {type(v) for v in out}
    if kinds <= {int, float} or len(kinds) == 1:
        labels = out
    else:
        labels = [str(v) for v in out]
    if any(len(str(v)) > 120 for v in labels) or len(set(map(str, labels))) < len(labels):
        return list(range(len(labels)))  # long vectors (one density per feature) are labelled by their position
    return labels
