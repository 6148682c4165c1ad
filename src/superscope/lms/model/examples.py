"""Consumers of a scan that keep examples: the top documents, samples of every stratum, samples of firings, windows around
tokens.

Random samples are *bottom-k*: every token has one fixed pseudo-random number (a hash of its place and the seed), and what is
kept are the smallest. That makes a sample uniform, independent of batch size and order, and lets parts be united afterwards.
All units share the numbers, so units that fire on the same tokens keep the same ones, and few forward passes fetch all of
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from superscope.lms.model.consumers import N_BINS, Batch, Consumer, _thresholds


def token_hash(place: np.ndarray, seed: int) -> np.ndarray:
    """Uniform numbers in [0, 1), one per place (splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = place.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
        x = (x + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(1)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2**53


class _Kept:
    """For every cell the `k` entries with the smallest (key, tie, place). With `unique`, one entry per (cell, tie).

    Candidates wait in a list and are merged when many have come; what is kept does not depend on when.
    """

    def __init__(self, cells: int, k: int, unique: bool) -> None:
        self.k, self.unique = k, unique
        self.key = np.full((cells, k), np.inf)
        self.tie = np.full((cells, k), -1, dtype=np.int64)
        self.place = np.full((cells, k), -1, dtype=np.int64)
        self.value = np.full((cells, k), np.nan, dtype=np.float32)
        self._waiting: list[tuple[np.ndarray, ...]] = []
        self._count = 0
        self._room = int(np.clip(cells * k // 4, 1 << 12, 1 << 18))

    def offer(self, cell: np.ndarray, key: np.ndarray, tie: np.ndarray, place: np.ndarray, value: np.ndarray) -> bool:
        """Add candidates; True when they were merged, so that the worst kept keys may have changed."""
        self._waiting.append((cell.astype(np.int64), key, tie, place, value))
        self._count += len(cell)
        if self._count < self._room:
            return False
        self.merge()
        return True

    def merge(self) -> None:
        if not self._waiting:
            return
        new = [np.concatenate(column) for column in zip(*self._waiting, strict=True)]
        self._waiting, self._count = [], 0
        touched = np.unique(new[0])
        row, column = np.nonzero(self.place[touched] >= 0)
        old = touched[row]
        kept = (self.key[old, column], self.tie[old, column], self.place[old, column], self.value[old, column])
        cell = np.concatenate([new[0], old])
        key, tie, place, value = (np.concatenate([a, b]) for a, b in zip(new[1:], kept, strict=True))
        if self.unique:
            order = np.lexsort((place, key, tie, cell))
            first = np.ones(len(order), dtype=bool)
            first[1:] = (cell[order][1:] != cell[order][:-1]) | (tie[order][1:] != tie[order][:-1])
            order = order[first]
            order = order[np.lexsort((place[order], tie[order], key[order], cell[order]))]
        else:
            order = _by_hash(cell, key, place)
        cells = cell[order]
        start = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]]))
        rank = np.arange(len(cells)) - np.repeat(start, np.diff(np.append(start, len(cells))))
        order, cells, rank = order[rank < self.k], cells[rank < self.k], rank[rank < self.k]
        for array, source, empty in (
            (self.key, key, np.inf), (self.tie, tie, -1), (self.place, place, -1), (self.value, value, np.nan),
        ):  # fmt: skip
            array[touched] = empty
            array[cells, rank] = source[order]


def _by_hash(cell: np.ndarray, key: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The order of (cell, key, place) for keys in [0, 1): one sort of one integer, several times faster than a lexsort."""
    joint = (cell.astype(np.uint64) << np.uint64(40)) | (key * 2**40).astype(np.uint64)
    order = np.argsort(joint)
    if (joint[order][1:] == joint[order][:-1]).any():
        return np.lexsort((place, key, cell))
    return order


class _Keeper(Consumer):
    """A consumer whose state is a `_Kept`."""

    kept: _Kept | None = None

    def state_dict(self) -> dict[str, np.ndarray]:
        if self.kept is None:
            return {}
        self.kept.merge()
        full = np.flatnonzero(self.kept.place.ravel() >= 0)  # most cells of a Strata are empty
        arrays = {name: getattr(self.kept, name).ravel()[full] for name in ("key", "tie", "place", "value")}
        return {"full": full, "shape": np.array(self.kept.place.shape), **arrays}

    def load_state(self, state: Any) -> None:
        self.kept = None
        if "shape" in state:
            self.kept = self._make(int(state["shape"][0]))
            for name in ("key", "tie", "place", "value"):
                getattr(self.kept, name).reshape(-1)[state["full"]] = state[name]
            self._refresh()

    def _make(self, cells: int) -> _Kept:
        raise NotImplementedError

    def _refresh(self) -> None:
        """Called when the worst kept keys may have changed."""

    def _merged(self) -> _Kept:
        assert self.kept is not None, "no batch has been seen"
        self.kept.merge()
        return self.kept


@dataclass(frozen=True)
class Top:
    """(unit, k) arrays, largest first; where a unit has fewer documents, document and place are -1 and value NaN."""

    value: np.ndarray
    document: np.ndarray
    place: np.ndarray


class TopDocuments(_Keeper):
    """The `k` documents with the largest maximum of every unit, one entry per document at its first maximal token.

    Ties go to the lower document index, then to the lower place, so the order of the rows does not matter.
    document: (split token,) row of the documents table.
    """

    settings = ("k", "document")

    def __init__(self, document: np.ndarray, k: int = 20, of: str = "units") -> None:
        self.of = (of,)
        self.document = np.asarray(document)
        self.k = k

    def _make(self, cells: int) -> _Kept:
        return _Kept(cells, self.k, unique=True)

    def update(self, batch: Batch) -> None:
        values = batch.sets[self.of[0]]
        if self.kept is None:
            self.kept = self._make(values.shape[1])
        document = self.document[batch.place].astype(np.int64)
        cut = (document[1:] != document[:-1]) | (batch.place[1:] != batch.place[:-1] + 1)
        start = np.concatenate([[0], np.flatnonzero(cut) + 1])
        length = np.diff(np.append(start, len(values)))
        high = torch.stack([part.amax(0) for part in torch.split(values, length.tolist())]).numpy()
        worst, last = -self.kept.key[:, -1], self.kept.tie[:, -1]
        mine = document[start][:, None]
        hopeful = (high > worst) | ((high == worst) & (mine <= last)) | (last < 0)
        array = values.numpy()
        for segment in np.flatnonzero(hopeful.any(1)):
            unit = np.flatnonzero(hopeful[segment])
            at = start[segment] + array[start[segment] : start[segment] + length[segment], unit].argmax(0)
            value = high[segment, unit]
            self.kept.offer(
                unit, -value.astype(np.float64), np.full(len(unit), document[start[segment]]), batch.place[at], value
            )

    def result(self) -> Top:
        kept = self._merged()
        return Top(kept.value.copy(), kept.tie.copy(), kept.place.copy())


@dataclass(frozen=True)
class StrataSample:
    """Intervals of equal width over a unit's whole range, and tokens drawn from each.

    edges: (unit, interval + 1); place, value: (unit, interval, example), -1 and NaN where an interval has fewer.
    """

    edges: np.ndarray
    place: np.ndarray
    value: np.ndarray


class Strata(_Keeper):
    """A uniform sample of tokens from every stretch of the activation range, which need not be known beforehand.

    Keeps `k` tokens in each logarithmic bin (`bin_edges`) of each unit. `result` cuts the range that was seen into intervals
    and draws from each; up to `k` examples per interval are exactly uniform but where an edge cuts a bin.
    """

    settings = ("k", "seed", "intervals", "examples")

    def __init__(self, intervals: int = 11, examples: int = 3, k: int = 6, seed: int = 0, of: str = "units") -> None:
        if examples > k:
            raise ValueError(f"examples={examples} per interval need k={examples} tokens kept per bin; k={k}")
        self.of = (of,)
        self.intervals, self.examples, self.k, self.seed = intervals, examples, k, seed
        self.range: Any = None  # (2, unit) smallest and largest value
        self._worst = torch.empty(0)

    def _make(self, cells: int) -> _Kept:
        return _Kept(cells, self.k, unique=False)

    def _refresh(self) -> None:
        assert self.kept is not None
        # rounded up, so that no candidate is lost to float32
        self._worst = torch.from_numpy(np.minimum(self.kept.key[:, -1], 2.0).astype(np.float32) + np.float32(1e-7))

    def update(self, batch: Batch) -> None:
        bins = batch.bins(self.of[0])
        width = bins.shape[1]
        if self.kept is None:
            self.kept = self._make(width * N_BINS)
            self._refresh()
            self.range = np.array([[np.inf], [-np.inf]], dtype=np.float32).repeat(width, 1)
        values = batch.sets[self.of[0]]
        np.minimum(self.range[0], values.amin(0).numpy(), out=self.range[0])
        np.maximum(self.range[1], values.amax(0).numpy(), out=self.range[1])
        number = token_hash(batch.place, self.seed)
        cell = bins + torch.arange(width, dtype=torch.int32) * N_BINS
        hopeful = np.flatnonzero((self._worst[cell] >= torch.from_numpy(number.astype(np.float32))[:, None]).numpy())
        cells = cell.numpy().ravel()[hopeful]
        if len(hopeful) > cell.numel() // 64:  # early batches would else be kept nearly whole
            few = self._few(cells, number[hopeful // width])
            hopeful, cells = hopeful[few], cells[few]
        token, unit = np.divmod(hopeful, width)
        place = batch.place[token]
        if self.kept.offer(cells, number[token], place, place, values.numpy()[token, unit]):
            self._refresh()

    def state_dict(self) -> dict[str, np.ndarray]:
        state = super().state_dict()
        return {**state, "range": self.range} if state else {}

    def load_state(self, state: Any) -> None:
        super().load_state(state)
        self.range = np.array(state["range"]) if "range" in state else None

    def _few(self, cells: np.ndarray, number: np.ndarray) -> np.ndarray:
        """(candidate,) bool: a small part of many candidates that holds the `k` smallest numbers of every cell."""
        count = np.bincount(cells)
        limit = (self.k + 4 * self.k**0.5 + 4) / np.maximum(count, 1)  # so many of a cell's numbers are below it, give or take
        below = number <= limit[cells]
        enough = np.bincount(cells[below], minlength=len(count)) >= np.minimum(self.k, count)
        return np.asarray(below | ~enough[cells])

    def result(self) -> StrataSample:
        kept = self._merged()
        width = len(kept.key) // N_BINS
        key, place, value = (x.reshape(width, -1) for x in (kept.key, kept.place, kept.value))
        edges = np.linspace(self.range[0], self.range[1], self.intervals + 1, axis=1)
        out = StrataSample(
            edges,
            np.full((width, self.intervals, self.examples), -1, dtype=np.int64),
            np.full((width, self.intervals, self.examples), np.nan, dtype=np.float32),
        )
        for unit in range(width):
            have = np.flatnonzero(place[unit] >= 0)
            have = have[np.lexsort((place[unit, have], key[unit, have]))]
            interval = np.clip(np.searchsorted(edges[unit], value[unit, have], side="right") - 1, 0, self.intervals - 1)
            for k in range(self.intervals):
                chosen = have[interval == k][: self.examples]
                out.place[unit, k, : len(chosen)] = place[unit, chosen]
                out.value[unit, k, : len(chosen)] = value[unit, chosen]
        return out


class FiringSample(_Keeper):
    """A uniform sample of `k` of the tokens on which every unit is above its threshold: (unit, k) `Top` in random order
    (document -1)."""

    settings = ("threshold", "k", "seed")

    def __init__(self, threshold: float | np.ndarray, k: int = 400, seed: int = 0, of: str = "units") -> None:
        self.of = (of,)
        self.threshold, self.k, self.seed = _thresholds(threshold), k, seed

    def _make(self, cells: int) -> _Kept:
        return _Kept(cells, self.k, unique=False)

    def update(self, batch: Batch) -> None:
        values = batch.sets[self.of[0]]
        width = values.shape[1]
        if self.kept is None:
            self.kept = self._make(width)
        number = token_hash(batch.place, self.seed)
        worst = np.minimum(self.kept.key[:, -1], 2.0).astype(np.float32) + np.float32(1e-7)
        drawn = np.flatnonzero(number.astype(np.float32) <= worst.max())  # the others are too late for every unit
        some = values if len(drawn) == len(number) else values[torch.from_numpy(drawn)]
        hopeful = torch.from_numpy(number[drawn].astype(np.float32))[:, None] <= torch.from_numpy(worst)
        hopeful &= some > torch.from_numpy(self.threshold)
        token, unit = np.divmod(np.flatnonzero(hopeful.numpy()), width)
        token = drawn[token]
        place = batch.place[token]
        self.kept.offer(unit, number[token], place, place, values.numpy()[token, unit])

    def result(self) -> Top:
        kept = self._merged()
        return Top(kept.value.copy(), np.full(kept.place.shape, -1), kept.place.copy())


class Windows(Consumer):
    """Activations around chosen tokens. Counts tokens as they come, so the rows must be those the positions refer to, in order.

    unit, at: (window,) which unit, and the index of the middle token among all tokens of the scan (BOS left out); first, last:
    (window,) the range of such indices that belongs to the window. Result: (window, before + 1 + after) float32, NaN outside
    the range.
    """

    state = ("seen", "values")
    settings = ("unit", "at", "first", "last", "before", "after")

    def __init__(
        self, unit: np.ndarray, at: np.ndarray, first: np.ndarray, last: np.ndarray,
        before: int, after: int, of: str = "units",
    ) -> None:  # fmt: skip
        self.of = (of,)
        self.unit, self.at, self.first, self.last = unit, at, first, last
        self.before, self.after = before, after
        self.seen: Any = None
        self.values: Any = None

    def update(self, batch: Batch) -> None:
        array = batch.sets[self.of[0]].numpy()
        if self.seen is None:
            self.seen = np.int64(0)
            self.values = np.full((len(self.at), self.before + 1 + self.after), np.nan, dtype=np.float32)
        here = np.flatnonzero((self.last >= self.seen) & (self.first < self.seen + len(array)))
        index = self.at[here, None] + np.arange(-self.before, self.after + 1)
        low, high = np.maximum(self.first[here], self.seen), np.minimum(self.last[here], self.seen + len(array) - 1)
        row, column = np.nonzero((index >= low[:, None]) & (index <= high[:, None]))
        self.values[here[row], column] = array[index[row, column] - self.seen, self.unit[here[row]]]
        self.seen = self.seen + len(array)

    def result(self) -> np.ndarray:
        return np.asarray(self.values)
