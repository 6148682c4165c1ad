"""How the loss falls with the width d of what features are squeezed into: by which law, from three widths.

Strong superposition (Liu et al. 2025, "Superposition yields robust neural scaling"): every feature is represented and the loss
is what their overlap costs, the squared cosine of random directions, which is 1/d. Weak superposition: the d most frequent
features have a dimension each and the rest are lost, so the loss is the frequency of the rest and falls as Zipf's law says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from superscope.measure.weights import crowding


def exponent(losses: Sequence[float]) -> float:
    """a of loss = c + k / d^a from the losses at three widths, each twice the one before; NaN where the loss does not fall.

    c, which no width removes, drops out of the differences. Misleads where training, not width, decides the loss.
    """
    if len(losses) != 3:
        raise ValueError(f"losses {losses!r}: expected those of three widths, each twice the one before")
    first, second = losses[0] - losses[1], losses[1] - losses[2]
    return float(np.log2(first / second)) if min(first, second) > 0 else float("nan")


def weak_losses(share: np.ndarray, widths: Sequence[int]) -> list[float]:
    """Frequency of all but the d most frequent features, of frequencies share (feature,)."""
    ranked = np.sort(share)[::-1]
    return [float(ranked[d:].sum()) for d in widths]


def strong_losses(share: np.ndarray, widths: Sequence[int], rng: np.random.Generator, noise: float = 0.0) -> list[float]:
    """Mean squared cosine of random directions in d dimensions over pairs of different features, drawn by frequency.

    share (feature,): frequencies. noise: share of each loss that is added at random.
    """
    out = []
    for d in widths:
        unit = crowding.unit_rows(rng.standard_normal((len(share), d)))
        gram = (unit * share[:, None]).T @ unit  # its square sums p p cos^2 over all pairs, each with itself, too
        out.append(float(((gram**2).sum() - (share**2).sum()) * (1 + noise * rng.standard_normal())))
    return out
