"""Networks of a few GELUs or ReLUs: what is left when the activation is replaced, and starts that are solutions.

GELU(z) + GELU(-z) = z erf(z / sqrt 2), close to sqrt(2 / pi) z^2 near 0. Starts have unequal weights, a decoder by
regression and 1 % noise on top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from superscope.toys.targets import get_target
from superscope.toys.two_layer import TwoLayer

FLAT = float(np.sqrt((7 - np.sqrt(33)) / 2))  # 0.792: GELU''''(z) = phi(z) (-z^4 + 7 z^2 - 4) vanishes at +-FLAT
NOISE = 0.01  # relative, of what training starts from
LOWEST = -0.7518  # GELU has its minimum there, and no linear part
SHARP = 20.0  # GELU(20 x) / 20 is close to a kink


def gelu(z: np.ndarray) -> np.ndarray:
    """z Phi(z)."""
    return z * (1 + erf(z / np.sqrt(2))) / 2


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": gelu,
    "relu": lambda z: np.maximum(z, 0),
    "Taylor polynomial": lambda z: z / 2 + z**2 / np.sqrt(2 * np.pi),
    "line": lambda z: z / 2,
}


@dataclass(frozen=True)
class Nets:
    """One-input networks of several seeds: w, b, out (seed, hidden), c (seed,), loss (seed,)."""

    w: np.ndarray
    b: np.ndarray
    out: np.ndarray
    c: np.ndarray
    loss: np.ndarray

    def hidden(self, x: np.ndarray, function: str) -> np.ndarray:
        """(seed, P, hidden) activations of inputs x (P,)."""
        return FUNCTIONS[function](x[:, None] * self.w[:, None] + self.b[:, None])

    def output(self, x: np.ndarray, function: str) -> np.ndarray:
        """(seed, P)."""
        return np.einsum("sph,sh->sp", self.hidden(x, function), self.out) + self.c[:, None]


def shifted_taylor(nets: Nets, x: np.ndarray) -> np.ndarray:
    """(seed, P) output when every GELU is replaced by its second-order expansion about its own bias.

    GELU'(z) = Phi(z) + z phi(z), GELU''(z) = phi(z) (2 - z^2).
    """
    b = nets.b[:, None]
    density, step = np.exp(-(b**2) / 2) / np.sqrt(2 * np.pi), x[:, None] * nets.w[:, None]
    slope = (1 + erf(b / np.sqrt(2))) / 2 + b * density
    h = gelu(b) + slope * step + density * (2 - b**2) * step**2 / 2
    return np.einsum("sph,sh->sp", h, nets.out) + nets.c[:, None]


def explained(nets: Nets, function: str, x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(seed,) R^2 of the truth (P,) with the activation replaced by `function`; negative if worse than the mean.

    function: one of FUNCTIONS, or "shifted Taylor".
    """
    if function == "shifted Taylor":
        return 1 - ((shifted_taylor(nets, x) - truth) ** 2).mean(1) / truth.var()
    return 1 - ((nets.output(x, function) - truth) ** 2).mean(1) / truth.var()


def inside(nets: Nets, x: np.ndarray) -> np.ndarray:
    """(seed,) share of pre-activations below 1 in size."""
    return (np.abs(x[:, None] * nets.w[:, None] + nets.b[:, None]) < 1).mean((1, 2))


@dataclass(frozen=True)
class Started(TwoLayer):
    """A network that starts at a solution.

    plan: "flat" (pairs w, -w of every direction at the flat point; two inputs: x + y and x - y, which multiply), "kink" (the
    same without bias, steep) or "minimum" (one GELU per feature at its minimum; further ones hear two features each).
    """

    plan: str = "flat"
    density: float = 1.0

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Initial parameters, float32: encoder by hand, decoder by regression, every number off by some percent."""
        w, b = self._encoder(rng)
        x = rng.uniform(-1, 1, (4000, self.n_features)) * (rng.random((4000, self.n_features)) < self.density)
        hidden = gelu(x @ w.T + b) if self.hidden_activation == "gelu" else np.maximum(x @ w.T + b, 0)
        design = np.column_stack([hidden, np.ones(len(x))])
        fit = np.linalg.lstsq(design, get_target(self.target).compute(x), rcond=None)[0]
        values = {"W": w, "b_hidden": b, "W_out": fit[:-1].T, "b_out": fit[-1]}
        return {
            name: (value * (1 + NOISE * rng.standard_normal(np.shape(value)))).astype(np.float32)
            for name, value in values.items()
        }

    def _encoder(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        n, h = self.n_features, self.n_hidden
        if self.plan == "minimum":
            w = np.zeros((h, n))
            w[np.arange(h), np.arange(h) % n] = rng.uniform(0.2, 0.4, h) * rng.choice([-1, 1], h)
            w[np.arange(n, h), (np.arange(n, h) + 1) % n] = rng.uniform(0.2, 0.4, max(h - n, 0))
            return w, np.full(h, LOWEST)
        direction = np.array([[1.0]]) if n == 1 else np.array([[1.0, 1.0], [1.0, -1.0]])
        w = np.repeat(direction, 2, axis=0) * np.resize([1, -1], h)[:, None]
        if self.plan == "kink":
            return w * (SHARP if self.hidden_activation == "gelu" else 1) * rng.uniform(0.9, 1.1, (h, 1)), np.zeros(h)
        return w * np.repeat(rng.uniform(0.3, 0.5, h // 2), 2)[:, None] / n, np.full(h, -FLAT)


def by_hand(seeds: range, centre: float, x: np.ndarray) -> Nets:
    """Pairs of GELUs for x^2 with biases near `centre` and unequal weights, the decoder by regression on inputs x (P,)."""
    rows = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 411])
        w = rng.uniform(0.15, 0.35, 2) * np.array([1, -1]) if centre == 0 else np.array([1, -1]) * rng.uniform(0.15, 0.3)
        b = centre + 0.02 * rng.standard_normal(2)
        design = np.column_stack([gelu(x[:, None] * w + b), np.ones(len(x))])
        fit = np.linalg.lstsq(design, x**2, rcond=None)[0]
        rows.append((w, b, fit[:2], fit[2], ((design @ fit - x**2) ** 2).mean()))
    return Nets(*(np.array(part) for part in zip(*rows, strict=True)))
