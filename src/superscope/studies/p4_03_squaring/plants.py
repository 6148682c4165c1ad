"""Networks of 4.3 of which the claims are true by construction, with unequal neurons and noise."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from superscope.toys.aligned import Aligned

NOISE = 0.02  # relative, of every weight
GRID = np.linspace(-1, 1, 2001)


@dataclass(frozen=True)
class Started(Aligned):
    """A network for one feature that starts near what is claimed of it.

    plan: "hinges" (kinks where theory has them, facing outward), "spline" (all facing right, the first at -1, so that every
    piece slopes) or "absolute" (a |x| + b, for networks without hidden bias).
    """

    plan: str = "hinges"

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Initial parameters, float32: neurons of unequal gain, every number off by some percent."""
        side, kink = self._kinks()
        hidden = np.maximum(side * (GRID[:, None] - kink), 0)
        if self.plan == "absolute":
            slope, offset = _absolute(self.output_bias)
            out = np.full(self.n_hidden, slope) / np.maximum(np.where(side > 0, (side > 0).sum(), (side < 0).sum()), 1)
        else:
            fit = np.linalg.lstsq(np.column_stack([hidden, np.ones(len(GRID))]), GRID**2, rcond=None)[0]
            out, offset = fit[:-1], fit[-1]
        gain = rng.uniform(0.5, 2, self.n_hidden)
        kink = kink * (1 + NOISE * rng.standard_normal(self.n_hidden))
        values = {"W": (side * gain)[:, None], "b_hidden": -side * gain * kink, "W_out": (out / gain)[None], "b_out": [offset]}
        return {
            name: (np.asarray(values[name]) * (1 + NOISE * rng.standard_normal(shape))).astype(np.float32)
            for name, shape in self.shapes().items()
        }

    def _kinks(self) -> tuple[np.ndarray, np.ndarray]:
        """(H,) the side every neuron faces, and where it bends."""
        h = self.n_hidden
        if self.plan == "spline":
            return np.ones(h), -1 + 2 * np.arange(h) / h
        side = np.resize([1.0, -1.0], h)
        if self.plan == "absolute":
            return side, np.zeros(h)
        of_side = np.where(side > 0, (side > 0).sum(), (side < 0).sum())
        return side, side * (np.arange(h) // 2 + 0.5) / (of_side + 0.5)


def _absolute(bias: bool) -> tuple[float, float]:
    """(a, b) of the best ReLU(a |x| + b) for x^2 on [-1, 1]; b = 0 without output bias."""
    x = GRID[GRID >= 0]

    def fit(kink: float) -> tuple[float, float]:
        h = np.maximum(x - kink, 0)
        slope = (h @ x**2) / (h @ h)
        return slope, float(((slope * h - x**2) ** 2).mean())

    kink = minimize_scalar(lambda t: fit(t)[1], bounds=(0, 0.5), method="bounded").x if bias else 0.0
    return fit(kink)[0], -fit(kink)[0] * kink


@dataclass(frozen=True)
class Code(Aligned):
    """A layer that shares its neurons among sparse features by design: an encoder of low rank, its decoder by regression.

    m linear read-outs must give n sums of two codes each, one per sign. With V the encoder the codes are (|V| + V) / 2 and
    (|V| - V) / 2, and what is read from |V| is spoilt by V: the fewer dimensions V has, the less.
    """

    rank: int = 5
    density: float = 0.01
    samples: int = 20_000

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Initial parameters, float32, every weight off by some percent."""
        n, m = self.n_features, self.n_hidden
        w = spread(m, self.rank, rng) @ spread(n, self.rank, rng).T
        x = rng.uniform(-1, 1, (self.samples, n)) * (rng.random((self.samples, n)) < self.density)
        hidden = np.column_stack([np.maximum(x @ w.T, 0), np.ones(len(x))])
        fit = np.linalg.solve(hidden.T @ hidden + 1e-7 * len(x) * np.eye(m + 1), hidden.T @ x**2)
        w, out = (a * (1 + NOISE * rng.standard_normal(a.shape)) for a in (w, fit[:m].T))
        values = {"W": w, "b_hidden": np.zeros(m), "W_out": out, "b_out": fit[m]}
        return {name: value.astype(np.float32) for name, value in values.items()}


@dataclass(frozen=True)
class Monosemantic(Aligned):
    """Whole neurons handed out: `per` outward-facing hinges for each feature, where they are best at this density.

    Weights of unequal gain and a tenth of the usual noise: a start from which training could only improve by sharing.
    """

    per: int = 2
    density: float = 0.01

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Initial parameters, float32."""
        n, per = self.n_features, self.per
        kink, slope, offset = best_hinges(per, self.density)
        side = np.resize([1.0, -1.0], per)
        owner, place = np.repeat(np.arange(n), per), np.tile(np.arange(per), n)
        gain = rng.uniform(0.5, 2, n * per)
        w, out = np.zeros((n * per, n)), np.zeros((n, n * per))
        w[np.arange(n * per), owner] = side[place] * gain
        out[owner, np.arange(n * per)] = slope[place] / gain
        values = {"W": w, "b_hidden": -gain * kink[place], "W_out": out, "b_out": np.full(n, offset)}
        noise = 0.1 * NOISE
        return {name: (v * (1 + noise * rng.standard_normal(v.shape))).astype(np.float32) for name, v in values.items()}


@functools.cache
def best_hinges(per: int, density: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Kinks (per,) from 0 outward, slopes (per,) and offset of the best sum of hinges, sides in turn, for x^2 at a density."""
    points = np.append(GRID, 0.0)
    weight = np.sqrt(np.append(np.full(len(GRID), density / len(GRID)), 1 - density))
    side = np.resize([1.0, -1.0], per)

    def fit(free: np.ndarray) -> tuple[np.ndarray, float]:
        hidden = np.maximum(side * points[:, None] - np.abs(free), 0)
        design = np.column_stack([hidden, np.ones(len(points))])
        found = np.linalg.lstsq(design * weight[:, None], points**2 * weight, rcond=None)[0]
        return found, float((((design @ found - points**2) * weight) ** 2).sum())

    start = (np.arange(per) // 2 + 0.4) / (per / 2 + 0.5)
    best = minimize(lambda free: fit(free)[1] / density, start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-12})
    found = fit(best.x)[0]
    return np.abs(best.x), found[:-1], float(found[-1])


def spread(count: int, dims: int, rng: np.random.Generator, steps: int = 200) -> np.ndarray:
    """(count, dims) unit vectors pushed apart, signs ignored."""
    v = rng.standard_normal((count, dims))
    for _ in range(steps):
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        gram = v @ v.T - np.eye(count)
        v = v - 0.2 * gram**3 @ v
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def hinges(n: int, seeds: range, shared: float = 2 / 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (seed, n, n), b_hidden (seed, n), W_out (seed, n, n): a share of the neurons bends two or three features, the others
    one; slopes from hardly to all of a parabola's, noise on every entry."""
    rng = np.random.default_rng([seeds.start, 43])
    shape = (len(seeds), n, n)
    rank = rng.permuted(np.broadcast_to(np.arange(n), shape), axis=-1)
    count = np.where(np.arange(n) < round(shared * n), rng.integers(2, 4, shape[:2]), 1)
    heard = rank < count[..., None]
    w = heard * rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape)
    slope = heard * rng.uniform(0.2, 4, shape)
    out = np.swapaxes(np.divide(slope, np.abs(w), out=np.zeros(shape), where=heard), -1, -2)
    b = -rng.uniform(0.1, 0.45, shape[:2])
    noise = NOISE * rng.standard_normal((2, *shape))
    return w + noise[0], b, out + noise[1]
