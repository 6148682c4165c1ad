"""Networks of 4.11 of which the claims are true by construction: unequal weights, decoders by regression, noise on top."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import superscope as ss
from superscope.studies.p4_11_gelu_matters.networks import FLAT, Nets, gelu
from superscope.toys import get_target

NOISE = 0.01  # relative, of what training starts from
LOWEST = -0.7518  # GELU has its minimum there, and no linear part
SHARP = 20.0  # GELU(20 x) / 20 is close to a kink


@dataclass(frozen=True)
class Started(ss.TwoLayer):
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
        w = rng.uniform(0.15, 0.35, 2) * np.array([1, -1]) if centre == 0 else np.array([1, -1]) * rng.uniform(0.2, 0.5)
        b = centre + 0.02 * rng.standard_normal(2)
        design = np.column_stack([gelu(x[:, None] * w + b), np.ones(len(x))])
        fit = np.linalg.lstsq(design, x**2, rcond=None)[0]
        rows.append((w, b, fit[:2], fit[2], ((design @ fit - x**2) ** 2).mean()))
    return Nets(*(np.array(part) for part in zip(*rows, strict=True)))
