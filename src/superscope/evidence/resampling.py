"""Bootstrap intervals and permutation nulls on plain arrays. The public face of this module is `stats`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CHUNK = 1_000_000  # numbers gathered at a time


def quantile(level: float) -> float:
    """z such that a standard normal lies within +-z with probability `level`."""
    if not 0 < level < 1:
        raise ValueError(f"level={level}: expected a probability such as 0.95")
    return NormalDist().inv_cdf((1 + level) / 2)


def interval(samples, theta: Callable, level: float, n_boot: int, seed: int) -> tuple[float, float, str]:
    """(low, high, name) of the bootstrap interval of theta(*samples), resampling each group on its own.

    samples: arrays (n_g, ...); theta: arrays (batch, n_g, ...) -> (batch,). NaN ends where a resample has no value.
    """
    rng = np.random.default_rng(seed)
    z = quantile(level)
    value = float(theta(*[s[None] for s in samples])[0])
    boot = np.concatenate(
        [theta(*[s[i] for s, i in zip(samples, index, strict=True)]) for index in _resamples(samples, n_boot, rng)]
    )
    if not np.isfinite(boot).all():
        return np.nan, np.nan, "not finite in some resamples"
    tails, name = _tails(value, boot, samples, theta, z)
    low, high = np.quantile(boot, tails)
    return float(low), float(high), f"bootstrap {name} {100 * level:g}%"


def _resamples(samples, n_boot: int, rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
    """Index arrays (chunk, n_g) for each group, in chunks that keep memory small."""
    chunk = max(1, CHUNK // max(s.size for s in samples))
    for start in range(0, n_boot, chunk):
        size = min(chunk, n_boot - start)
        yield [rng.integers(0, len(s), (size, len(s))) for s in samples]


def _jackknife(samples, theta: Callable) -> Iterator[np.ndarray]:
    """theta without each replicate in turn, one array per group."""
    for g, sample in enumerate(samples):
        n, values = len(sample), []
        chunk = max(1, CHUNK // sample.size)
        for start in range(0, n, chunk):
            left_out = np.arange(start, min(start + chunk, n))
            batch = [np.broadcast_to(s, (len(left_out), *s.shape)) for s in samples]
            batch[g] = sample[np.arange(n - 1) + (np.arange(n - 1) >= left_out[:, None])]
            values.append(theta(*batch))
        yield np.concatenate(values)


def _tails(value: float, boot: np.ndarray, samples, theta: Callable, z: float) -> tuple[tuple[float, float], str]:
    """Quantile levels of the bootstrap distribution and their name: BCa (Efron 1987), percentile where undefined."""
    normal = NormalDist()
    percentile = (normal.cdf(-z), normal.cdf(z)), "percentile"
    tie = 1e-12 * max(abs(value), float(np.abs(boot).max()))
    below = float(((boot < value - tie).sum() + 0.5 * (np.abs(boot - value) <= tie).sum()) / len(boot))
    if np.ptp(boot) <= tie or not 0 < below < 1:
        return percentile
    cube = square = 0.0
    for jack in _jackknife(samples, theta):
        influence = (len(jack) - 1) * (jack.mean() - jack)
        cube += (influence**3).sum() / len(jack) ** 3
        square += (influence**2).sum() / len(jack) ** 2
    if not np.isfinite(square):
        return percentile
    acceleration = cube / (6 * square**1.5) if square > 0 else 0.0
    bias = normal.inv_cdf(below)
    tails = []
    for side in (-z, z):
        stretch = 1 - acceleration * (bias + side)
        if stretch <= 0:
            return percentile
        tails.append(normal.cdf(bias + (bias + side) / stretch))
    return (tails[0], tails[1]), "BCa"


# --- nulls ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NullTest:
    """A statistic, its p value (1 + hits) / (1 + draws), and the null distribution (draws,) to draw beside it."""

    value: float
    p: float
    null: np.ndarray


def permutation_test(
    a,
    b,
    paired: bool = False,
    stat: Callable[[np.ndarray], float] = np.mean,
    alternative: str = "two-sided",
    draws: int = 5000,
    seed: int = 0,
) -> NullTest:
    """Is stat(a) - stat(b) more than relabelling makes? a, b (n,), one number per replicate.

    Null: labels of the pooled values exchanged, or swapped within pairs if `paired`. Exchangeability is more than
    equal means: unequal spread alone can reject. alternative: "two-sided", "greater" (a above b) or "less".
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f"alternative {alternative!r}: expected 'two-sided', 'greater' or 'less'")
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.ndim != 1 or b.ndim != 1 or (paired and len(a) != len(b)) or not (a.size and b.size):
        raise ValueError(f"a has shape {a.shape} and b {b.shape}: expected (n,) and (k,), equal when paired")
    value = float(stat(a) - stat(b))
    if not np.isfinite(np.concatenate([a, b])).all():
        return NullTest(value, np.nan, np.full(draws, np.nan))
    rng = np.random.default_rng(seed)
    null = np.empty(draws)
    pooled = np.concatenate([a, b])
    for k in range(draws):
        if paired:
            swap = rng.random(len(a)) < 0.5
            null[k] = stat(np.where(swap, b, a)) - stat(np.where(swap, a, b))
        else:
            mixed = rng.permutation(pooled)
            null[k] = stat(mixed[: len(a)]) - stat(mixed[len(a) :])
    tie = 1e-12 * max(1e-300, float(np.abs(pooled).max()))  # a relabelling that gives the value back is a hit
    sides = {"greater": null >= value - tie, "less": null <= value + tie, "two-sided": abs(null) >= abs(value) - tie}
    return NullTest(value, float((1 + sides[alternative].sum()) / (1 + draws)), null)


@dataclass(frozen=True)
class Maximum:
    """A search over candidates. value (candidates,); p (candidates,) adjusted for the search; threshold: what the
    best candidate must exceed at the given level; best: index of the largest value; null (draws,): maxima."""

    value: np.ndarray
    p: np.ndarray
    threshold: float
    best: int
    null: np.ndarray


def max_statistic_null(value, null, draws: int = 1000, level: float = 0.95, seed: int = 0) -> Maximum:
    """Judge the best of many candidates by the best of many candidates under the null (Westfall & Young 1993).

    value (candidates,), larger = more striking. null: array (draws, candidates), or a function of a NumPy Generator
    that returns one null row (candidates,); rows must keep the dependence between candidates. p = (1 + number of null
    maxima >= value) / (1 + draws). Candidates should be on one scale (z scores), or the widest null rules the maximum.
    """
    value = np.asarray(value, dtype=float)
    if callable(null):
        rng = np.random.default_rng(seed)
        null = np.stack([np.asarray(null(rng), dtype=float) for _ in range(draws)])
    null = np.asarray(null, dtype=float)
    if value.ndim != 1 or not value.size or null.ndim != 2 or not len(null) or null.shape[1] != len(value):
        raise ValueError(f"value has shape {value.shape} and null {null.shape}: expected (candidates,) and (draws, same)")
    if not (np.isfinite(value).all() and np.isfinite(null).all()):
        raise ValueError("value or null has numbers that are not finite: drop those candidates first, and say so")
    top = null.max(1)
    p = (1 + (top[:, None] >= value).sum(0)) / (1 + len(top))
    return Maximum(value, p, float(np.quantile(top, level)), int(value.argmax()), top)
