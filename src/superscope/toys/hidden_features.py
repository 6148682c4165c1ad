"""Toys with more features to compute than neurons: pairwise maxima, one-hot codes of levels, one weighted sum of ANDs; and
layers by hand in which they are computed with whole neurons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from superscope.toys.targets import Target
from superscope.toys.two_layer import TwoLayer

LEVELS = (1, 2, 3, 4, 5)

Params = dict[str, np.ndarray]
Layer = Callable[[np.ndarray], np.ndarray]


def one_hot(x: np.ndarray) -> np.ndarray:
    """x (..., n) with values 0..5 -> (..., 5n), five outputs per feature."""
    code = (x[..., None] == np.array(LEVELS, dtype=np.float32)).astype(np.float32)
    return code.reshape(*x.shape[:-1], -1)


CODES = Target("levels", one_hot, lambda n: len(LEVELS) * n)


@dataclass(frozen=True)
class LevelReader(TwoLayer):
    """h = ReLU(W x + b_h), y = ReLU(W_out h + b); every output starts with the positive weights of its own feature."""

    tied: bool = False
    hidden_activation: str = "relu"
    hidden_bias: bool = True
    target: str | Target = CODES

    def initial(self, rng: np.random.Generator) -> Params:
        """Initial parameters, float32: Xavier-normal W, W_out from W, biases as in TwoLayer."""
        out = super().initial(rng)
        out["W_out"] = np.repeat(0.3 * np.maximum(out["W"], 0).T, len(LEVELS), axis=0).astype(np.float32)
        return out


def noisy(params: Params, noise: float, seed: int) -> Params:
    """The parameters, every number off by a relative `noise`, float32."""
    rng = np.random.default_rng([seed, 13])
    return {k: (v * (1 + noise * rng.standard_normal(np.shape(v)))).astype(np.float32) for k, v in params.items()}


def stacked(nets: Sequence[Params]) -> Params:
    """One array (seed, ...) a parameter, as `Sweep(init=...)` takes it."""
    return {name: np.stack([net[name] for net in nets]) for name in nets[0]}


def whole_neurons(n: int, hidden: int, rest: Sequence[float], noise: float, seed: int) -> Params:
    """All pairwise maxima with whole neurons and an output ReLU: n - 1 pass the inputs but the last, each other one makes a
    pair exact by x + ReLU(y - x), those with the last input first; all other pairs get ReLU(a (x + y) + b), rest = (a, b).
    """
    first, second = np.triu_indices(n, 1)
    w, out, bias = np.zeros((hidden, n)), np.zeros((len(first), hidden)), np.zeros(len(first))
    w[np.arange(n - 1), np.arange(n - 1)] = 1
    order = np.argsort(second != n - 1, kind="stable")
    served, others = order[: hidden - n + 1], order[hidden - n + 1 :]
    for k, pair in enumerate(served, start=n - 1):
        w[k, [first[pair], second[pair]]] = -1, 1
        out[pair, [first[pair], k]] = 1
    for pair in others:
        out[pair, [first[pair], second[pair]]], bias[pair] = rest[0], rest[1]
    return noisy({"W": w, "b_hidden": np.zeros(hidden), "W_out": out, "b_out": bias}, noise, seed)


def without_a_neuron(p: float) -> tuple[list[float], float]:
    """(a, b) of the best ReLU(a (x + y) + b) for max(x, y), both uniform on [0, 1] when on (chance p each); and its loss."""
    grid = (np.arange(200) + 0.5) / 200
    total, top = grid[:, None] + grid, np.maximum(grid[:, None], grid)

    def loss(ab: np.ndarray) -> float:
        def off(s: np.ndarray, t: np.ndarray) -> float:
            return float(((np.maximum(ab[0] * s + ab[1], 0) - t) ** 2).mean())

        return (1 - p) ** 2 * max(ab[1], 0) ** 2 + 2 * p * (1 - p) * off(grid, grid) + p**2 * off(total, top)

    found = [minimize(loss, start, method="Nelder-Mead") for start in ((0.8, 0.0), (1.0, -0.03), (1.0, 0.02))]
    best = min(found, key=lambda one: one.fun)
    return [float(one) for one in best.x], float(best.fun)


def level_network(swept: Any, neurons: int) -> Params:
    """Of a sweep of one-feature networks over n_hidden, the one with so many neurons (padding cut off)."""
    here = {name: swept[name].sel(n_hidden=neurons).values for name in ("W", "b_hidden", "W_out", "b_out")}
    return {**here, "W": here["W"][:neurons], "b_hidden": here["b_hidden"][:neurons], "W_out": here["W_out"][:, :neurons]}


def joined_levels(alone: Sequence[Params], noise: float, seed: int) -> Params:
    """Networks of one feature each, of any widths, as one network of all features."""
    n, hidden = len(alone), sum(len(one["W"]) for one in alone)
    made = {"W": np.zeros((hidden, n)), "b_hidden": np.zeros(hidden),
            "W_out": np.zeros((len(LEVELS) * n, hidden)), "b_out": np.zeros(len(LEVELS) * n)}  # fmt: skip
    at = 0
    for i, one in enumerate(alone):
        neurons, outputs = slice(at, at + len(one["W"])), slice(len(LEVELS) * i, len(LEVELS) * (i + 1))
        made["W"][neurons, i], made["b_hidden"][neurons] = one["W"][:, 0], one["b_hidden"]
        made["W_out"][outputs, neurons], made["b_out"][outputs] = one["W_out"], one["b_out"]
        at = neurons.stop
    return noisy(made, noise, seed)


def coefficients(n: int, rank: int, seed: int) -> np.ndarray:
    """(pairs,) c_ij of unit mean square: independent Gaussians for rank 0, else sum_r u_ri u_rj with alternating signs."""
    rng = np.random.default_rng([seed, rank])
    first, second = np.triu_indices(n, 1)
    if rank == 0:
        c = rng.standard_normal(len(first))
    else:
        u = rng.standard_normal((rank, n))
        c = (-1.0) ** np.arange(rank) @ (u[:, first] * u[:, second])
    return c / np.sqrt((c**2).mean())


def all_ands(x: np.ndarray) -> np.ndarray:
    """x (..., n) bits -> (..., pairs)."""
    first, second = np.triu_indices(x.shape[-1], 1)
    return x[..., first] * x[..., second]


def hidden_layer(net: Any, kind: str) -> Layer:
    """The hidden layer ("relu" or "identity") of one trained network, parameters W and b_hidden, as a function of (P, n)."""
    w, b = net.W.values.astype(float), net.b_hidden.values.astype(float)
    return lambda x: x @ w.T + b if kind == "identity" else np.maximum(x @ w.T + b, 0)


def an_and_a_neuron(n: int, neurons: int, seed: int) -> Layer:
    """Bits (P, n) -> (P, neurons): ANDs of random pairs, one a neuron, of unequal size, mixed by a random rotation."""
    rng = np.random.default_rng([seed, 131])
    first, second = np.triu_indices(n, 1)
    pairs = rng.choice(len(first), neurons, replace=False)
    mix = np.linalg.qr(rng.standard_normal((neurons, neurons)))[0] * rng.uniform(0.3, 1.5, (neurons, 1))
    return lambda x: np.maximum(x[:, first[pairs]] + x[:, second[pairs]] - 1, 0) @ mix
