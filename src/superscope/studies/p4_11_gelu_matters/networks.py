"""Small networks of 4.11 and what is done to them: activations replaced, noise on the hidden layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

FLAT = float(np.sqrt((7 - np.sqrt(33)) / 2))  # 0.792: GELU''''(z) = phi(z) (-z^4 + 7 z^2 - 4) vanishes at +-FLAT


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
    """Trained one-input networks of several seeds: w, b, out (seed, hidden), c (seed,), loss (seed,)."""

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


def noise_threshold(better: tuple[Nets, str], other: tuple[Nets, str], x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(seed,) relative noise at which the advantage of the first network is gone; infinite if noise hurts the second one more.

    Noise of standard deviation tau times its r.m.s. activation on each neuron adds tau^2 sum_k out_k^2 E h_k^2 to the error.
    """
    losses, slopes = [], []
    for nets, function in (better, other):
        losses.append(((nets.output(x, function) - truth) ** 2).mean(1))
        slopes.append((nets.out**2 * (nets.hidden(x, function) ** 2).mean(1)).sum(1))
    gain, price = losses[1] - losses[0], slopes[0] - slopes[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gain <= 0, 0.0, np.where(price > 0, np.sqrt(np.maximum(gain, 0) / np.maximum(price, 1e-300)), np.inf))


def inside(nets: Nets, x: np.ndarray) -> np.ndarray:
    """(seed,) share of pre-activations below 1 in size."""
    return (np.abs(x[:, None] * nets.w[:, None] + nets.b[:, None]) < 1).mean((1, 2))
