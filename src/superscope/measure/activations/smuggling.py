"""Is something small in a layer made large by the LayerNorm behind it? (Elhage et al. 2022, SoLU, on hidden features.)

A SoLU layer favours few large activations. A feature spread over many neurons leaves small ones,
which the LayerNorm after the SoLU
scales up. That leaves a trace: where the LayerNorm amplifies most, the layer's effect is spread over many neurons.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr


def layernorm_scale(values: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """(token,) what a LayerNorm over the last axis of `values` (token, neuron) divides by; for layers that have none, "
    "a virtual one."""
    return np.sqrt(values.var(axis=-1) + eps)


def gain(scale: np.ndarray) -> np.ndarray:
    """(token,) how much more than the median token a token is amplified: median(scale) / scale.

    It is also the layer's effect over the effect with its scale clamped to the median.
    """
    return np.median(scale) / scale


def concentration(effects: np.ndarray, top: int = 5) -> np.ndarray:
    """(token,) share of sum |effect| that the `top` neurons with the largest have. effects: (token, neuron) signed."""
    size = np.abs(effects)
    largest = np.partition(size, size.shape[1] - top, axis=1)[:, -top:].sum(axis=1)
    return largest / np.maximum(size.sum(axis=1), 1e-30)


def smuggling_correlation(scale: np.ndarray, effects: np.ndarray, top: int = 5) -> float:
    """Spearman correlation over tokens of gain and concentration: negative when amplified tokens are the diffuse ones."""
    return float(spearmanr(gain(scale), concentration(effects, top)).statistic)


def planted_layer(tokens: int, neurons: int, smuggles: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations (token, neuron) and effects of a constructed layer: half the tokens carry a feature of one neuron at "
    "full size, half one that is smeared over a quarter of the neurons. With `smuggles` the smeared one is small, else both
    have the same LayerNorm scale.
    """
    rng = np.random.default_rng([seed, tokens, neurons])
    sparse = rng.random(tokens) < 0.5
    amount = rng.uniform(1, 2, tokens)
    values = 0.01 * amount[:, None] * rng.random((tokens, neurons))  # in proportion, or else size alone would concentrate
    values[sparse, 0] += amount[sparse]
    width = neurons // 4
    even = np.sqrt((1 - 1 / neurons) / (1 - width / neurons))  # what gives both the same LayerNorm scale
    size = (0.2 if smuggles else 1.0) * even / np.sqrt(width)
    values[np.ix_(~sparse, np.arange(1, 1 + width))] += size * amount[~sparse, None]
    return values, values / layernorm_scale(values)[:, None]
