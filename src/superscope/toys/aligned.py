"""Two-layer toys whose decoder starts aligned with the encoder.

An output ReLU whose input is negative for both signs of its feature gets no gradient. With independent Xavier weights that
is so for about a quarter of all features at step 0, and where inputs are sparse nothing revives them. With W_out = |W|^T every
feature's own response is positive for either sign, so every output begins alive; a small scale and a warm-up keep the early
interference of all features with all others from switching outputs off (`Recipe.careful`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superscope.toys.targets import Target
from superscope.toys.two_layer import TwoLayer


@dataclass(frozen=True)
class Aligned(TwoLayer):
    """y = g(W_out f(W x + b_h) + b) for |x|, x^2 and other even functions; W_out starts as |W|^T."""

    tied: bool = False
    hidden_activation: str = "relu"
    target: str | Target = "abs"

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Initial parameters, float32: Xavier-normal W, W_out = |W|^T, biases as in TwoLayer."""
        out = super().initial(rng)
        if "W_out" in out:
            out["W_out"] = np.abs(out["W"]).T.copy()
        return out


def pairs_of(target: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Both inputs of every output of a pairwise target, (outputs,) each: all i < j, or (0, 1), (2, 3), ..."""
    first, second = np.triu_indices(n, 1) if target.endswith("-all-pairs") else (np.arange(0, n, 2), np.arange(1, n, 2))
    return first, second


@dataclass(frozen=True)
class AlignedPairs(TwoLayer):
    """y = g(W_out f(W x + b_h) + b) for non-negative inputs and pairwise targets; outputs start as the mean positive weight of
    their two inputs, so that each responds to both."""

    tied: bool = False
    hidden_activation: str = "relu"
    hidden_bias: bool = True
    target: str | Target = "max"

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Initial parameters, float32: Xavier-normal W, W_out from W, biases as in TwoLayer."""
        out = super().initial(rng)
        first, second = pairs_of(str(self.target), self.n_features)
        positive = np.maximum(out["W"], 0).T
        out["W_out"] = ((positive[first] + positive[second]) / 2).astype(np.float32)
        return out
