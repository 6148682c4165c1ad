"""What a scan over a corpus adds up: moments, histograms, sums per label, co-activation, correlation.

Every consumer reads one or two *unit sets* batch by batch in bounded memory. Sums are float64; inside one batch float32
partial sums over at most 256 tokens are allowed. The same batches in the same order give the same bits, so a scan that was
interrupted and goes on ends where an uninterrupted one does. Consumers that keep examples are in `examples`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BLOCK = 256  # tokens added up in float32 before float64 takes over
_OCTAVES = 10  # magnitudes from 2**-10 to 2**10 are told apart; smaller is zero, larger goes to the last bin
_PER_OCTAVE = 8
_SIDE = 2 * _OCTAVES * _PER_OCTAVE
N_BINS = 2 * _SIDE + 1
"""Bins of `Histogram` and `Strata`: 160 per sign, eight per octave (6-13 % wide), and one for |x| < 2**-10."""


def bin_edges() -> np.ndarray:
    """(N_BINS + 1,) ascending edges of the bins, in units of activation. The outermost are where the last bins begin to
    overflow."""
    steps = np.arange(_SIDE + 1)
    magnitude = 2.0 ** (steps // _PER_OCTAVE - _OCTAVES) * (1 + steps % _PER_OCTAVE / _PER_OCTAVE)
    return np.concatenate([-magnitude[::-1], magnitude])


def bin_index(values: Tensor) -> Tensor:
    """int32 bin of every float32 value, read off its bits: the exponent and three bits of the mantissa are the logarithmic
    bin."""
    bits = values.contiguous().view(torch.int32)
    size = bits.bitwise_and(0x7FFFFFFF)
    size.bitwise_right_shift_(20).sub_((127 - _OCTAVES) * _PER_OCTAVE - 1).clamp_(0, _SIDE)
    return torch.where(bits < 0, -size, size).add_(_SIDE)


@dataclass
class Batch:
    """Tokens of one forward pass, BOS left out: `sets` name -> (token, unit) float32, `place` (token,) index into the split."""

    sets: Mapping[str, Tensor]
    place: np.ndarray
    _bins: dict[str, Tensor] = field(default_factory=dict)

    def bins(self, name: str) -> Tensor:
        """(token, unit) int32 `bin_index`, worked out once for all that ask."""
        if name not in self._bins:
            self._bins[name] = bin_index(self.sets[name])
        return self._bins[name]


class Consumer:
    """Something that reads batches: `update`, `result`, and its state as named arrays.

    `of` names the unit sets it reads. State lives in the attributes listed in `state`, which are None until the first batch.
    """

    of: tuple[str, ...]
    state: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def update(self, batch: Batch) -> None:
        raise NotImplementedError

    def result(self) -> Any:
        raise NotImplementedError

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything seen so far, as arrays that can be stored without pickle; empty before the first batch."""
        return {name: np.asarray(getattr(self, name)) for name in self.state if getattr(self, name) is not None}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Inverse of `state_dict`."""
        for name in self.state:
            setattr(self, name, np.array(state[name]) if name in state else None)

    def identity(self) -> str:
        """A digest of the settings: a stored state fits only a consumer with the same."""
        seen = hashlib.sha256(f"{type(self).__name__}{self.of}".encode())
        for name in self.settings:
            value = getattr(self, name)
            many = value if isinstance(value, list | tuple) else [value]
            for one in many:
                seen.update(one.tobytes() if isinstance(one, np.ndarray) else repr(one).encode())
        return seen.hexdigest()


def _sum(values: Tensor) -> np.ndarray:
    """(unit,) float64 sums over tokens, blocks of `_BLOCK` in float32."""
    whole = len(values) // _BLOCK * _BLOCK
    total = values[:whole].view(-1, _BLOCK, values.shape[1]).sum(1).double().sum(0)
    return (total + values[whole:].sum(0).double()).numpy()


def _thresholds(threshold: float | np.ndarray) -> np.ndarray:
    return np.atleast_1d(np.asarray(threshold, dtype=np.float32))


@dataclass(frozen=True)
class MomentsResult:
    """Per unit, shape (unit,): central moments over tokens. `kurtosis` is excess (0 for a Gaussian); NaN where the variance
    is 0.

    `density` is the share of tokens above the threshold.
    """

    n: int
    mean: np.ndarray
    variance: np.ndarray
    skew: np.ndarray
    kurtosis: np.ndarray
    density: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Moments(Consumer):
    """Mean, variance, skew, excess kurtosis, extremes and firing density (share of tokens above `threshold`, one or one per
    unit)."""

    state = ("n", "shift", "power", "above", "low", "high")
    settings = ("threshold",)

    def __init__(self, threshold: float | np.ndarray = 0.0, of: str = "units") -> None:
        self.of = (of,)
        self.threshold = _thresholds(threshold)
        self.n: Any = None
        self.shift: Any = None
        self.power: Any = None
        self.above: Any = None
        self.low: Any = None
        self.high: Any = None

    def update(self, batch: Batch) -> None:
        values = batch.sets[self.of[0]]
        if self.n is None:
            width = values.shape[1]
            # Powers are taken about the first batch's mean: raw fourth powers of a shifted variable cancel badly.
            self.n, self.shift = np.int64(0), values.mean(0).numpy()
            self.power, self.above = np.zeros((4, width)), np.zeros(width, dtype=np.int64)
            self.low, self.high = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
        off = values - torch.from_numpy(self.shift)
        product = torch.empty_like(off)
        self.power[0] += _sum(off)
        square = off * off
        self.power[1] += _sum(square)
        self.power[2] += _sum(torch.mul(square, off, out=product))
        self.power[3] += _sum(torch.mul(square, square, out=product))
        self.above += (values > torch.from_numpy(self.threshold)).sum(0).numpy()
        self.low = np.minimum(self.low, values.amin(0).numpy())
        self.high = np.maximum(self.high, values.amax(0).numpy())
        self.n += len(values)

    def result(self) -> MomentsResult:
        n = int(self.n)
        m1, m2, m3, m4 = self.power / n
        variance = np.maximum(m2 - m1**2, 0)
        third = m3 - 3 * m1 * m2 + 2 * m1**3
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        # a constant unit: what rounding leaves of its variance is no variance
        spread = np.where(self.high > self.low, variance, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            skew, kurtosis = third / spread**1.5, fourth / spread**2 - 3
        nothing = spread <= 0
        skew, kurtosis = np.where(nothing, np.nan, skew), np.where(nothing, np.nan, kurtosis)
        return MomentsResult(n, self.shift + m1, spread, skew, kurtosis, self.above / n, self.low, self.high)


class Histogram(Consumer):
    """(unit, N_BINS) int64 counts over the bins of `bin_edges`, the same for every unit and known beforehand."""

    state = ("counts",)

    def __init__(self, of: str = "units") -> None:
        self.of = (of,)
        self.counts: Any = None

    def update(self, batch: Batch) -> None:
        bins = batch.bins(self.of[0])
        width = bins.shape[1]
        if self.counts is None:
            self.counts = np.zeros((width, N_BINS), dtype=np.int64)
        cell = bins + torch.arange(width, dtype=torch.int32) * N_BINS
        self.counts += torch.bincount(cell.view(-1), minlength=width * N_BINS).view(width, N_BINS).numpy()

    def result(self) -> np.ndarray:
        return np.asarray(self.counts)


@dataclass(frozen=True)
class LabelCounts:
    """Sums per label of one kind. tokens: (label,); firing: (label, unit) tokens above the threshold; mass: (label, unit) sum
    of the positive parts of the activations."""

    names: list[str]
    tokens: np.ndarray
    firing: np.ndarray
    mass: np.ndarray

    def enrichment(self, fewest: int = 200) -> np.ndarray:
        """(label, unit) log2 of P(label | firing) / P(label), with half a count of the label's share added so that a label
        which never fires gets a finite value; NaN for labels with fewer than `fewest` tokens and for units that never
        fire."""
        share = self.tokens / max(int(self.tokens.sum()), 1)
        total = self.firing.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (self.firing + 0.5 * share[:, None]) / ((total + 0.5) * share[:, None])
            out = np.log2(ratio)
        out[self.tokens < fewest] = np.nan
        out[:, total == 0] = np.nan
        return out


class LabelSums(Consumer):
    """How often and how much every unit fires on every label: result is name -> `LabelCounts`.

    labels: name -> ((split token,) integer codes, names of the codes), as `split_labels` gives them.
    """

    state = ("tokens", "firing", "mass")
    settings = ("threshold", "names", "codes")

    def __init__(
        self, labels: Mapping[str, tuple[np.ndarray, list[str]]], threshold: float | np.ndarray = 0.0, of: str = "units"
    ) -> None:
        self.of = (of,)
        self.names = [(kind, tuple(names)) for kind, (_, names) in labels.items()]
        self.codes = [np.asarray(codes) for codes, _ in labels.values()]
        self.threshold = _thresholds(threshold)
        self.tokens: Any = None
        self.firing: Any = None
        self.mass: Any = None

    def update(self, batch: Batch) -> None:
        values = batch.sets[self.of[0]]
        rows = sum(len(names) for _, names in self.names)
        if self.tokens is None:
            self.tokens = np.zeros(rows)
            self.firing, self.mass = np.zeros((rows, values.shape[1])), np.zeros((rows, values.shape[1]))
        indicator = torch.zeros(rows, len(values))
        start, here = 0, torch.arange(len(values))
        for codes, (_, names) in zip(self.codes, self.names, strict=True):
            indicator[torch.from_numpy(codes[batch.place].astype(np.int64)) + start, here] = 1
            start += len(names)
        self.tokens += indicator.sum(1).double().numpy()
        self.firing += (indicator @ (values > torch.from_numpy(self.threshold)).float()).double().numpy()
        self.mass += (indicator @ values.clamp(min=0)).double().numpy()

    def result(self) -> dict[str, LabelCounts]:
        out, start = {}, 0
        for kind, names in self.names:
            part = slice(start, start + len(names))
            out[kind] = LabelCounts(list(names), self.tokens[part], self.firing[part], self.mass[part])
            start += len(names)
        return out


def split_labels(split: Any) -> dict[str, tuple[np.ndarray, list[str]]]:
    """Genre, segment type and character class of every token of a `Split`, for `LabelSums`."""
    from superscope.lms.corpus.generated import SEGMENTS
    from superscope.lms.corpus.tokenizer import CHAR_CLASSES

    return {
        "genre": (split.genre, list(split.genres)),
        "segment": (split.segment, list(SEGMENTS)),
        "char class": (split.char_class, list(CHAR_CLASSES)),
    }


class CoActivation(Consumer):
    """(unit, unit) int64: on how many tokens both fire; the diagonal is how often each does."""

    state = ("both",)
    settings = ("threshold",)

    def __init__(self, threshold: float | np.ndarray = 0.0, of: str = "units") -> None:
        self.of = (of,)
        self.threshold = _thresholds(threshold)
        self.both: Any = None

    def update(self, batch: Batch) -> None:
        fired = (batch.sets[self.of[0]] > torch.from_numpy(self.threshold)).float()
        both = (fired.T @ fired).numpy().astype(np.int64)  # exact: float32 holds integers to 2**24, a batch is far smaller
        self.both = both if self.both is None else self.both + both

    def result(self) -> np.ndarray:
        return np.asarray(self.both)


class Correlation(Consumer):
    """(unit of a, unit of b) Pearson correlation over tokens of two unit sets, of one model or of two, in float64.

    Sums are of deviations from the first batch's mean. NaN where a unit is constant. (Universal Neurons, arXiv 2401.12181.)
    """

    state = ("n", "shift_a", "shift_b", "sum_a", "sum_b", "square_a", "square_b", "cross")

    def __init__(self, a: str = "a", b: str = "b") -> None:
        self.of = (a, b)
        self.n: Any = None
        for name in self.state[1:]:
            setattr(self, name, None)

    def update(self, batch: Batch) -> None:
        a, b = (batch.sets[name].double().numpy() for name in self.of)
        if self.n is None:
            self.n, self.shift_a, self.shift_b = np.int64(0), a.mean(0), b.mean(0)
            self.sum_a = self.square_a = np.zeros(a.shape[1])
            self.sum_b = self.square_b = np.zeros(b.shape[1])
            self.cross = np.zeros((a.shape[1], b.shape[1]))
        a, b = a - self.shift_a, b - self.shift_b
        self.n += len(a)
        self.sum_a, self.sum_b = self.sum_a + a.sum(0), self.sum_b + b.sum(0)
        self.square_a, self.square_b = self.square_a + (a * a).sum(0), self.square_b + (b * b).sum(0)
        self.cross = self.cross + a.T @ b

    def result(self) -> np.ndarray:
        n = int(self.n)
        covariance = self.cross - np.outer(self.sum_a, self.sum_b) / n
        spread_a = self.square_a - self.sum_a**2 / n
        spread_b = self.square_b - self.sum_b**2 / n
        # what rounding leaves of a constant's variance is no variance
        spread_a[spread_a <= 1e-12 * np.maximum(self.square_a, n * self.shift_a**2)] = np.nan
        spread_b[spread_b <= 1e-12 * np.maximum(self.square_b, n * self.shift_b**2)] = np.nan
        return np.asarray(covariance / np.sqrt(np.outer(spread_a, spread_b)))
