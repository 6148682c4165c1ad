"""Estimates and their intervals. The public face of this module is `stats`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from superscope.evidence.resampling import interval, quantile
from superscope.evidence.rule import Rule

FEW = 5  # below this many replicates an interval would be an extrapolation
KEPT = 400  # replicates kept for drawing
EXACT = "exact"
EVERY = "every replicate"


@dataclass(frozen=True)
class Estimate:
    """A number with its interval. n replicates of `unit`; `replicates` are kept for drawing (more than 400: 400
    quantiles, as `method` then says)."""

    value: float
    low: float
    high: float
    n: int
    unit: str
    replicates: tuple[float, ...]
    method: str

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "replicates", tuple(float(r) for r in self.replicates))
        object.__setattr__(self, "n", int(self.n))
        if self.low > self.high:
            raise ValueError(f"interval [{self.low}, {self.high}] has its ends the wrong way round")
        if self.n < 1:
            raise ValueError(f"n={self.n}: an estimate needs at least one replicate")
        if not self.unit or self.unit.startswith("token"):
            raise ValueError(f"unit {self.unit!r}: expected what was drawn independently, seeds or documents, not tokens")

    @property
    def few(self) -> bool:
        """Too few replicates for an interval: rules are then asked of each one."""
        return self.n < FEW and self.method != EXACT

    @property
    def has_nan(self) -> bool:
        return any(map(math.isnan, (self.value, self.low, self.high, *self.replicates)))

    def against(self, rule: Rule) -> str:
        """ "inside", "outside" or "across", by the interval, or with few replicates by each of them.

        For "excludes x" the range of the few replicates must exclude x: each of them differs from x almost surely.
        """
        if self.few and rule.excludes is None:
            held = [rule.holds(r) for r in self.replicates]
            if not held:
                return "across"
            if all(held) and not rule.holds(self.value):  # a ratio of means outside the range of its ratios
                return "across"
            return "inside" if all(held) else "across" if any(held) else "outside"
        return rule.position(self.low, self.high)

    def __str__(self) -> str:
        if self.method == EXACT:
            return f"{self.value:.4g} (exact)"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}], {self.n} {self.unit}"

    def to_dict(self) -> dict[str, Any]:
        """JSON types only: NaN is None, infinities are "Infinity" and "-Infinity"."""
        return {
            "value": plain(self.value), "low": plain(self.low), "high": plain(self.high), "n": self.n,
            "unit": self.unit, "method": self.method, "replicates": [plain(r) for r in self.replicates],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Estimate:
        value, low, high = (number(row[k]) for k in ("value", "low", "high"))
        replicates = tuple(number(r) for r in row["replicates"])
        return cls(value, low, high, row["n"], row["unit"], replicates, row["method"])


def plain(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


# --- estimates ------------------------------------------------------------------------------------------------------

Stat = str | Callable[[np.ndarray], float]


def estimate(
    values, stat: Stat = "mean", unit: str = "seeds", level: float = 0.95, n_boot: int = 4000, seed: int = 0
) -> Estimate:
    """Statistic of replicates with a BCa bootstrap interval (Efron 1987) over the FIRST axis of `values`.

    stat: "mean", "median", or a function of an array (n, ...) that returns one number and means the same for one
    replicate as for many. Falls back to the percentile interval where BCa is undefined. Fewer than 5 replicates: the
    range of the replicates. Non-finite values make the interval NaN, hence a claim undecided; drop nothing silently.
    Covers a little less than `level` for skewed data and fewer than about 20 replicates.
    """
    samples = [_replicates(values, stat, "values")]
    return _estimate(samples, _batched(stat), _alone(samples[0], stat), len(samples[0]), unit, level, n_boot, seed)


def estimate_difference(
    a, b, paired: bool, stat: Stat = "mean", unit: str = "seeds", level: float = 0.95, n_boot: int = 4000, seed: int = 0
) -> Estimate:
    """stat(a - b) over pairs if paired, else stat(a) - stat(b) with both groups resampled.

    Replicates: the paired differences, or all differences between the groups; n is that of the smaller group.
    """
    first, second = _two(a, b, paired)
    if paired:
        return estimate(first - second, stat, unit, level, n_boot, seed)
    of = _batched(stat)
    alone = (first[:, None] - second[None, :]).ravel()
    n = min(len(first), len(second))
    return _estimate([first, second], lambda x, y: of(x) - of(y), alone, n, unit, level, n_boot, seed)


def estimate_ratio(
    a, b, paired: bool, stat: Stat = "mean", unit: str = "seeds", level: float = 0.95, n_boot: int = 4000, seed: int = 0
) -> Estimate:
    """stat(a) / stat(b): a ratio of means, not a mean of ratios. Replicates: a_i / b_i, or all ratios if unpaired.

    If the denominator's sign is not settled (some resample of b has another sign) the ratio has no finite interval:
    it is NaN, and a claim on it undecided. Report the difference instead.
    """
    first, second = _two(a, b, paired)
    of = _batched(stat)

    def ratio(x, y):
        bottom = of(y)
        sign = np.sign(of(second[None])[0])
        safe = (np.sign(bottom) == sign) & (sign != 0)
        return np.where(safe, of(x) / np.where(safe, bottom, 1), np.nan)

    with np.errstate(divide="ignore", invalid="ignore"):
        if not paired:
            alone, n = (first[:, None] / second[None, :]).ravel(), min(len(first), len(second))
            return _estimate([first, second], ratio, alone, n, unit, level, n_boot, seed)
        pairs = np.stack([first, second], axis=1)
        return _estimate(
            [pairs], lambda xy: ratio(xy[:, :, 0], xy[:, :, 1]), first / second, len(pairs), unit, level, n_boot, seed
        )


def exact(value: float) -> Estimate:
    """A theorem, an enumeration or an exact integral: the interval is the point."""
    return Estimate(value, value, value, 1, EXACT, (value,), EXACT)


def fraction(flags, unit: str = "seeds", level: float = 0.95) -> Estimate:
    """Share of true flags with Wilson's score interval (1927), which unlike the bootstrap is honest at 0/n and n/n."""
    values = _replicates(flags, "mean", "flags")
    if not np.isin(values[~np.isnan(values)], (0.0, 1.0)).all():
        raise ValueError(f"flags {values[:5].tolist()}...: expected booleans or 0 and 1; for other numbers use estimate()")
    n, share = len(values), float(values.mean())
    if n < FEW or math.isnan(share):
        return _estimate([values], _batched("mean"), values, n, unit, level, 1, 0)
    z = quantile(level)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half
    kept, note = _thin(values)
    return Estimate(share, low, high, n, unit, kept, f"Wilson {100 * level:g}%{note}")


def _replicates(values, stat: Stat, name: str) -> np.ndarray:
    array = np.asarray(getattr(values, "values", values))
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"{name} has shape {array.shape}: expected at least one replicate along the first axis")
    if array.ndim > 1 and not callable(stat):
        raise ValueError(
            f"{name} has shape {array.shape}: {stat!r} needs one number per replicate. Reduce the other axes first, "
            "or pass a function of (n, ...) as stat"
        )
    return array.astype(float)


def _two(a, b, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    first, second = _replicates(a, "mean", "a"), _replicates(b, "mean", "b")
    if paired and len(first) != len(second):
        raise ValueError(f"a has {len(first)} replicates and b {len(second)}: paired ones must match; or paired=False")
    return first, second


def _batched(stat: Stat) -> Callable[[np.ndarray], np.ndarray]:
    """The statistic over axis 1 of (batch, n, ...)."""
    if callable(stat):
        return lambda batch: np.array([float(stat(sample)) for sample in batch])
    if stat not in ("mean", "median"):
        raise ValueError(f"stat {stat!r}: expected 'mean', 'median' or a function")
    reduce = np.mean if stat == "mean" else np.median
    return lambda batch: reduce(batch, axis=1)


def _alone(values: np.ndarray, stat: Stat) -> np.ndarray:
    """One number per replicate: itself, or the function of it alone; empty where that is not defined."""
    if not callable(stat):
        return values
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            alone = _batched(stat)(values[:, None])
        except Exception:  # a correlation of one point, say, may raise rather than return NaN
            return np.array([])
    return alone if np.isfinite(alone).all() or not np.isfinite(values).all() else np.array([])


def _thin(values: np.ndarray) -> tuple[tuple[float, ...], str]:
    if len(values) <= KEPT or np.isnan(values).any():
        return tuple(values.tolist()[:KEPT]), ""
    quantiles = np.quantile(values, np.linspace(0, 1, KEPT))
    return tuple(quantiles.tolist()), f", {KEPT} quantiles of {len(values)} values kept"


def _estimate(samples, theta, alone, n: int, unit: str, level: float, n_boot: int, seed: int) -> Estimate:
    """Interval of theta(*samples); samples are independent groups, theta works on batches (batch, n, ...) of each."""
    quantile(level)  # rejects a bad level even where no interval is made
    value = float(theta(*[s[None] for s in samples])[0])
    kept, note = _thin(alone)
    if not all(np.isfinite(s).all() for s in samples) or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan, n, unit, kept, "not finite")
    if n < FEW:
        shown = kept and np.isfinite(alone).all()
        return Estimate(value, min(kept) if shown else math.nan, max(kept) if shown else math.nan, n, unit, kept, EVERY)
    low, high, name = interval(samples, theta, level, n_boot, seed)
    return Estimate(value, low, high, n, unit, kept, f"{name}{note}")
