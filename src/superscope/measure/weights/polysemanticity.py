"""How many features a neuron answers to. W1 (..., hidden, feature): W1[k, i] is the weight of feature i in neuron k."""

from __future__ import annotations

import numpy as np

from superscope.measure.weights._arrays import Directions, unwrap


def _neurons(w: Directions, result: np.ndarray) -> np.ndarray:
    return np.where(w.hidden, result, np.nan)


def features_per_neuron(W1, tau: float = 0.2, dead: float = 0.01):
    """Number of features with |W1_ki| > tau max_i |W1_ki|, for each neuron. (..., hidden, feature) -> (..., hidden).

    1 = monosemantic. A neuron whose largest weight is below `dead` times the largest of the whole matrix counts 0.
    Relative to the neuron's own largest weight, so it survives rescaling of neurons; weights are not responses: a
    feature that is always on with another, or hidden by the neuron's bias, is counted. Depends on tau: report two.
    Null: `nulls.compare(lambda W: features_per_neuron(W).mean(), W1, "entries")`.
    """
    if not 0 < tau < 1:
        raise ValueError(f"tau={tau}: expected a fraction of the largest weight, 0 < tau < 1")
    w = unwrap(W1)
    size = np.abs(w.values)
    top = size.max(-1, keepdims=True)
    alive = (top > 0) & (top >= dead * top.max(-2, keepdims=True))
    return w.wrap(_neurons(w, ((size > tau * top) & alive).sum(-1)), ("hidden",), "features_per_neuron")


def lecomte_count(W1, low: float = 0.8, high: float = 1.2):
    """Number of features with |W1_ki| in [low, high], for each neuron; polysemantic if >= 2. -> (..., hidden).

    Lecomte et al. 2023 (arXiv 2312.03096). Absolute scale: meaningful only where learned weights are near 1 (their
    tied, binary set-up) or after rescaling each row by its largest entry. Null: "entries".
    """
    w = unwrap(W1)
    size = np.abs(w.values)
    return w.wrap(_neurons(w, ((size >= low) & (size <= high)).sum(-1)), ("hidden",), "lecomte_count")


def max_over_sum(W1):
    """max_i |W1_ki| / sum_i |W1_ki| for each neuron, in [1/n, 1]; 1 = one feature only. -> (..., hidden).

    Needs no threshold, but many small weights drag it down as much as one large rival. Dead neurons give NaN.
    Null: "entries".
    """
    w = unwrap(W1)
    size = np.abs(w.values)
    total = size.sum(-1)
    result = np.where(total > 0, size.max(-1) / np.where(total > 0, total, 1), np.nan)
    return w.wrap(_neurons(w, result), ("hidden",), "max_over_sum")
