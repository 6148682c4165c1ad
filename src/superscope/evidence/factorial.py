"""Two by two: interaction terms, and what an equivalence rule could have seen. The public face of this module is `stats`.

"No difference" is a claim with the rule "within [-m, m]": its 95 % interval must lie inside, which is the two one-sided tests
(TOST, Schuirmann 1987) at 2.5 % each. What that verdict does not say is whether the sample could have decided; `equivalence`
does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superscope.evidence.estimate import FEW, Estimate, Stat, estimate


def interaction(both, first, second, neither, stat: Stat = "mean", unit: str = "seeds") -> Estimate:
    """effect(A and B) - effect(A) - effect(B) + effect(neither), with its interval over replicates.

    Each (n,): the four cells of every replicate (document, seed, ...), in the same order; the term is made inside replicates
    and then averaged. Null: 0 for effects that add up on the scale that was measured. It misleads on a bounded or a
    logarithmic scale: effects that add up in logits interact in probabilities, and at a ceiling everything does.
    """
    cells = [np.asarray(cell, dtype=float) for cell in (both, first, second, neither)]
    if any(cell.ndim != 1 or cell.shape != cells[0].shape for cell in cells):
        raise ValueError(
            f"the four cells have shapes {[cell.shape for cell in cells]}: expected (n,), one number per replicate"
        )
    return estimate(cells[0] - cells[1] - cells[2] + cells[3], stat, unit=unit)


@dataclass(frozen=True)
class Equivalence:
    """What the rule "within [-margin, margin]" would say of samples like this one: share of them that it supports when there
    is no difference (`power`), that it supports when the difference is the margin (`wrong`, at most 2.5 % for a sound
    interval), and whose interval excludes 0 when the difference is the margin (`sees`)."""

    margin: float
    power: float
    wrong: float
    sees: float

    def __str__(self) -> str:
        return (
            f"margin {self.margin:g}: without a difference {100 * self.power:.0f} % of such samples find equivalence, and a "
            f"difference of the margin is seen in {100 * self.sees:.0f} %"
        )


def equivalence(values, margin: float, level: float = 0.95, draws: int = 4000, seed: int = 0) -> Equivalence:
    """The power of an equivalence rule, from replicates (n,) of the difference: their spread, not their mean, is used.

    Samples of n are drawn from the centred values, stretched by sqrt(n / (n - 1)), and shifted; each is judged as a claim
    would be: by its t interval, or below 5 replicates by every one of them. Misleads where the spread at hand is small by
    chance: with three replicates it is a guess.
    """
    from scipy.stats import t as student

    found = np.asarray(values, dtype=float)
    n = len(found) if found.ndim == 1 else 0
    if n < 2 or not np.isfinite(found).all():
        raise ValueError(f"equivalence(values of shape {found.shape}): expected at least two finite numbers")
    if not margin > 0:
        raise ValueError(f"equivalence(margin={margin!r}): expected how large a difference would matter, above 0")
    rng = np.random.default_rng(seed)
    spread = (found - found.mean()) * np.sqrt(n / (n - 1))
    drawn = spread[rng.integers(0, n, (draws, n))]

    def ends(shift: float) -> tuple[np.ndarray, np.ndarray]:
        moved = drawn + shift
        if n < FEW:
            return moved.min(axis=1), moved.max(axis=1)
        half = student.ppf((1 + level) / 2, n - 1) * moved.std(axis=1, ddof=1) / np.sqrt(n)
        return moved.mean(axis=1) - half, moved.mean(axis=1) + half

    def inside(shift: float) -> float:
        low, high = ends(shift)
        return float(((low >= -margin) & (high <= margin)).mean())

    return Equivalence(margin, inside(0.0), inside(margin), float((ends(margin)[0] > 0).mean()))
