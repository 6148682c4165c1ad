"""Low-variance sampling of sparse features: strata of the number of active features.

When features are sparse almost every plain sample is empty or one-hot. Let K be the number of active features. Conditional
on K = 0 the sample is known; conditional on K = 1 each feature can be visited in turn; the rest is drawn from its exact
conditional law. Each stratum carries its exact probability as weight, so every expectation is estimated without bias.

K is Poisson-binomial. A subset with K = k is drawn by walking through the features: feature i is taken with probability
p_i P(k-1 of the features after i) / P(k of the features from i on), which is exact for any densities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from superscope.features import SparseFeatures

NEGLIGIBLE = 1e-12  # strata rarer than this are dropped; their mass is spread over the others


def active_count_pmf(density: np.ndarray) -> np.ndarray:
    """(n + 1,) distribution of the number of active features for independent densities (n,)."""
    return _suffix_pmf(density)[0]


def _suffix_pmf(density: np.ndarray) -> np.ndarray:
    """(n + 1, n + 1): entry [i, k] = P(exactly k of the features i, i+1, ..., n-1 are on)."""
    n = len(density)
    table = np.zeros((n + 1, n + 1))
    table[n, 0] = 1.0
    for i in range(n - 1, -1, -1):
        table[i] = (1 - density[i]) * table[i + 1]
        table[i, 1:] += density[i] * table[i + 1, :-1]
    return table


@dataclass(frozen=True)
class Stratum:
    """Samples with low <= K <= high: `count` points share the probability `mass`."""

    low: int
    high: int
    mass: float
    count: int
    each: int = 0  # > 0: every feature is visited `each` times (K = 1 only)


class StratifiedPlan:
    """How many points of which stratum, with their weights; draws any number of independent point sets.

    points: about how many points a set has (K = 1 is rounded to whole visits of each feature).
    kind: "stratified", or "plain" when the inputs have groups (equal weights).
    weight: (P,) float64, sums to 1.
    """

    def __init__(self, inputs: SparseFeatures, points: int, power: float = 0.5):
        if points < 2:
            raise ValueError(f"points={points}: a point set needs at least 2 points")
        self.inputs = inputs
        self.strata: list[Stratum] = []
        if inputs.groups:
            self.kind, self.weight = "plain", np.full(points, 1 / points)
        else:
            self.kind = "stratified"
            self._table = _suffix_pmf(inputs.densities)
            self.strata = _allocate(self._table[0], points, power)
            self.weight = np.concatenate([self._weights(s) for s in self.strata])
        self.points = len(self.weight)

    def _weights(self, s: Stratum) -> np.ndarray:
        if not s.each:
            return np.full(s.count, s.mass / s.count)
        p = self.inputs.densities
        single = np.array([p[i] * np.prod(np.delete(1 - p, i)) for i in range(len(p))])
        single /= single.sum()
        return np.repeat(s.mass * single / s.each, s.each)

    def draw(self, rng: np.random.Generator, sets: int) -> np.ndarray:
        """(sets, P, n) float32 points; every set is an independent draw of the whole plan."""
        n = self.inputs.n
        if self.kind == "plain":
            return self.inputs.draw(rng, sets * self.points).reshape(sets, self.points, n)
        x = np.zeros((sets, self.points, n), dtype=np.float32)
        start = 0
        for s in self.strata:
            stop = start + s.count
            if s.each:
                # One draw of the value in each of `each` equal slices of its distribution.
                u = (np.arange(s.each) + rng.random((sets, n, s.each))) / s.each
                feature = np.repeat(np.arange(n), s.each)
                x[:, np.arange(start, stop), feature] = self._values(u).reshape(sets, s.count)
            elif s.high > 0:
                on = self._subsets(rng, sets, s)
                x[:, start:stop][on] = self._values(self._uniforms(rng, sets, s.count, on))
            start = stop
        return x

    def _values(self, u: np.ndarray) -> np.ndarray:
        return self.inputs.values.quantile(u).astype(np.float32)

    def _uniforms(self, rng: np.random.Generator, sets: int, count: int, on: np.ndarray) -> np.ndarray:
        """Value quantiles for the active entries: a randomly shifted Kronecker lattice in few dimensions, else independent."""
        n = self.inputs.n
        if n > 6:
            return rng.random(int(on.sum()))
        root = np.roots([1.0, *[0.0] * (n - 1), -1.0, -1.0])
        golden = float(root[np.abs(root.imag) < 1e-9].real.max())  # x^(n+1) = x + 1
        steps = np.arange(count)[:, None] * golden ** -np.arange(1, n + 1)
        return ((rng.random((sets, 1, n)) + steps) % 1.0)[on]

    def _subsets(self, rng: np.random.Generator, sets: int, s: Stratum) -> np.ndarray:
        """(sets, count, n) bool: active features, K spread systematically over the stratum's conditional law."""
        n, table = self.inputs.n, self._table
        if s.low == s.high:
            left = np.full((sets, s.count), s.low)
        else:
            edges = np.cumsum(table[0, s.low : s.high + 1])
            u = (np.arange(s.count) + rng.random((sets, 1))) / s.count * edges[-1]
            left = s.low + np.minimum(np.searchsorted(edges, u, side="right"), s.high - s.low)
        on = np.zeros((sets, s.count, n), dtype=bool)
        for i in range(n):
            whole = table[i, : s.high + 1]
            taken = np.zeros(s.high + 1)
            taken[1:] = np.divide(
                self.inputs.densities[i] * table[i + 1, : s.high], whole[1:], out=np.zeros(s.high), where=whole[1:] > 0
            )
            on[:, :, i] = rng.random((sets, s.count), dtype=np.float32) < taken[left]
            left = left - on[:, :, i]
        return on


def _allocate(pmf: np.ndarray, points: int, power: float) -> list[Stratum]:
    """Share the points over K: K = 0 needs one, the others get shares ~ P(K)^power, rare neighbours are pooled."""
    n = len(pmf) - 1
    pmf = np.where(pmf > NEGLIGIBLE, pmf, 0.0)
    pmf = pmf / pmf.sum()
    strata = [Stratum(0, 0, pmf[0], 1)] if pmf[0] > 0 else []
    support = [k for k in range(1, n + 1) if pmf[k] > 0]
    if not support:
        return strata
    score = np.zeros(n + 1)
    score[support] = pmf[support] ** power
    share = (points - len(strata)) * score / score.sum()
    runs: list[list[int]] = []
    room = 0.0
    for k in support:
        # K = 1 stays alone when it can visit every feature; other strata pool until they hold two points.
        if runs and (room < 2 and not (len(runs) == 1 and runs[0] == [1] and share[1] >= n / 2)):
            runs[-1].append(k)
            room += share[k]
        else:
            runs.append([k])
            room = share[k]
    if len(runs) > 1 and room < 2 and not (len(runs) == 2 and runs[0] == [1]):
        tail = runs.pop()
        runs[-1] += tail
    for run in runs:
        mass, count = float(pmf[run].sum()), max(2, round(float(share[run].sum())))
        if run == [1] and share[1] >= n / 2:
            each = max(1, round(share[1] / n))
            strata.append(Stratum(1, 1, mass, each * n, each))
        else:
            strata.append(Stratum(run[0], run[-1], mass, count))
    return strata
