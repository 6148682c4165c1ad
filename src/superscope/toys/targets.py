"""What a toy is asked to compute: named functions of the input features."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from superscope.errors import SettingError


@dataclass(frozen=True)
class Target:
    """A function of the inputs.

    name: what appears in specs, stores and axes. Stores also keep a digest of the code, so an edited function is trained again.
    compute: x (..., n) float32 -> t (..., n_outputs) float32.
    outputs: n -> number of outputs.
    """

    name: str
    compute: Callable[[np.ndarray], np.ndarray]
    outputs: Callable[[int], int]

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and callable(self.compute) and callable(self.outputs)):
            raise SettingError(f"Target({self.name!r}, {self.compute!r}, {self.outputs!r}): needs a name and two functions")


def _pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = zip(*itertools.combinations(range(n), 2), strict=True)
    return np.array(first), np.array(second)


def _disjoint(fn: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: fn(x[..., 0::2], x[..., 1::2])


def _all_pairs(fn: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def compute(x: np.ndarray) -> np.ndarray:
        i, j = _pairs(x.shape[-1])
        return fn(x[..., i], x[..., j])

    return compute


def _half(n: int) -> int:
    if n % 2:
        raise SettingError(f"n_features={n}: disjoint pairs need an even number of features")
    return n // 2


def _choose_two(n: int) -> int:
    return n * (n - 1) // 2


_PAIRWISE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "and": np.minimum,
    "or": np.maximum,
    "max": np.maximum,
    "xor": lambda a, b: np.abs(a - b),
    "product": np.multiply,
}

TARGETS: dict[str, Target] = {
    "identity": Target("identity", lambda x: x, lambda n: n),
    "abs": Target("abs", np.abs, lambda n: n),
    "square": Target("square", np.square, lambda n: n),
    **{name: Target(name, _disjoint(fn), _half) for name, fn in _PAIRWISE.items()},
    **{f"{name}-all-pairs": Target(f"{name}-all-pairs", _all_pairs(fn), _choose_two) for name, fn in _PAIRWISE.items()},
}
"""Pairwise targets act on disjoint pairs (0,1), (2,3), ...; "-all-pairs" on every i < j. and/or/xor assume inputs 0 or 1."""


def get_target(target: str | Target) -> Target:
    """A target by name; unknown names are answered with the nearest one."""
    if isinstance(target, Target):
        return target
    if not isinstance(target, str) or target not in TARGETS:
        near = difflib.get_close_matches(str(target), TARGETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SettingError(f"target={target!r} is unknown: {hint}known are {', '.join(TARGETS)}, or pass a ss.Target(...)")
    return TARGETS[target]
