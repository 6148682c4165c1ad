"""Low-variance sampling of sparse features: strata of the number of active features.

When features are sparse almost every plain sample is empty or one-hot. Let K be the number of active features. Conditional
on K = 0 the sample is known; conditional on K = 1 each feature can be visited in turn; the rest is drawn from its exact
conditional law. Each stratum carries its exact probability as weight, so every expectation is estimated without bias.

K is Poisson-binomial. A subset with K = k is drawn by walking through the features: feature i is taken with probability
p_i P(k-1 of the features after i) / P(k of the features from i on), which is exact for any densities.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np

from superscope.errors import SettingError
from superscope.inputs.features import SparseFeatures

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
    """Samples with low <= K <= high: `count` points share the probability `mass`.

    each > 0 (then low == high): every subset of that size is visited `each` times; else subsets are drawn.
    """

    low: int
    high: int
    mass: float
    count: int
    each: int = 0


class StratifiedPlan:
    """The low-variance sampler: how many points of which stratum of the number of active features, with their exact weights.

    Draws any number of independent point sets. Groups are not stratified: with groups the plan draws plain samples and says so.

    points: about how many points a set has (strata that visit every subset round it).
    kind: "stratified", or "plain" when the inputs have groups (equal weights).
    weight: (P,) float64, sums to 1.
    """

    def __init__(self, inputs: SparseFeatures, points: int = 64):
        if points < 2:
            raise SettingError(f"points={points}: a point set needs at least 2 points")
        self.inputs = inputs
        self.strata: list[Stratum] = []
        if inputs.groups:
            self.kind, self.weight = "plain", np.full(points, 1 / points)
        else:
            self.kind = "stratified"
            self._table = _suffix_pmf(inputs.densities)
            self.strata = _allocate(self._table[0], points)
            self._visited = [s for s in self.strata if s.each]
            self._drawn = [s for s in self.strata if not s.each]
            self.strata = self._visited + self._drawn
            self.weight = np.concatenate([self._weights(s) for s in self.strata])
        self.points = len(self.weight)

    def _weights(self, s: Stratum) -> np.ndarray:
        if not s.each:
            return np.full(s.count, s.mass / s.count)
        p = self.inputs.densities
        on = np.zeros((s.count // s.each, len(p)), dtype=bool)
        np.put_along_axis(on, _subsets_of_size(len(p), s.low), True, axis=1)
        chance = np.where(on, p, 1 - p).prod(axis=1)
        return np.repeat(s.mass * chance / chance.sum() / s.each, s.each)

    def draw(self, rng: np.random.Generator, sets: int) -> np.ndarray:
        """(sets, P, n) float32 points; every set is an independent draw of the whole plan."""
        n = self.inputs.n
        if self.kind == "plain":
            return self.inputs.draw(rng, sets * self.points).reshape(sets, self.points, n)
        x = np.zeros((sets, self.points, n), dtype=np.float32)
        start = 0
        for s in self._visited:
            members = np.repeat(_subsets_of_size(n, s.low), s.each, axis=0)
            values = self._values(_lattice(rng, (sets, s.count // s.each), s.each, s.low))
            x[:, np.arange(start, start + s.count)[:, None], members] = values.reshape(sets, s.count, s.low)
            start += s.count
        if self._drawn:
            rest = x[:, start:]
            on = self._subsets(rng, np.concatenate([self._active_counts(rng, sets, s) for s in self._drawn], axis=1))
            rest[on] = self._values(rng.random(int(on.sum())))
        return x

    def _values(self, u: np.ndarray) -> np.ndarray:
        return self.inputs.values.quantile(u).astype(np.float32)

    def _active_counts(self, rng: np.random.Generator, sets: int, s: Stratum) -> np.ndarray:
        """(sets, count) numbers of active features, spread systematically over the stratum's conditional law."""
        if s.low == s.high:
            return np.full((sets, s.count), s.low)
        edges = np.cumsum(self._table[0, s.low : s.high + 1])
        u = (np.arange(s.count) + rng.random((sets, 1))) / s.count * edges[-1]
        return s.low + np.minimum(np.searchsorted(edges, u, side="right"), s.high - s.low)

    def _subsets(self, rng: np.random.Generator, left: np.ndarray) -> np.ndarray:
        """(..., n) bool: a random subset of the given size (...), from the law conditional on that size."""
        n, table, density = self.inputs.n, self._table, self.inputs.densities
        most = int(left.max())
        on = np.zeros((n, *left.shape), dtype=bool)
        for i in range(n):
            taken = np.zeros(most + 1, dtype=np.float32)
            whole = table[i, 1 : most + 1]
            taken[1:] = np.divide(density[i] * table[i + 1, :most], whole, out=np.zeros(most), where=whole > 0)
            on[i] = rng.random(left.shape, dtype=np.float32) < taken[left]
            left = left - on[i]
        return np.moveaxis(on, 0, -1)


@functools.cache
def _subsets_of_size(n: int, k: int) -> np.ndarray:
    """(C(n, k), k) all subsets."""
    return np.array(list(itertools.combinations(range(n), k)), dtype=np.int64).reshape(math.comb(n, k), k)


def _lattice(rng: np.random.Generator, batch: tuple[int, ...], count: int, dims: int) -> np.ndarray:
    """(*batch, count, dims) uniforms: evenly spread lattices, each with its own random shift, so each point is uniform.

    One dimension: equal slices. More: the Kronecker lattice of the generalised golden ratio, the root of x^(d+1) = x + 1.
    """
    if dims == 1:
        steps = (np.arange(count) / count)[:, None]
    else:
        root = 2.0
        for _ in range(60):
            root = (1 + root) ** (1 / (dims + 1))
        steps = np.arange(count)[:, None] * root ** -np.arange(1.0, dims + 1)
    return (rng.random((*batch, 1, dims)) + steps) % 1.0


def _allocate(pmf: np.ndarray, points: int) -> list[Stratum]:
    """Share the points over K: K = 0 needs one, the others get shares ~ sqrt(P(K)).

    Strata that can visit all their subsets do so; the others are pooled with their neighbours until they hold two points.
    """
    n = len(pmf) - 1
    pmf = np.where(pmf > NEGLIGIBLE, pmf, 0.0)
    pmf = pmf / pmf.sum()
    strata = [Stratum(0, 0, float(pmf[0]), 1, each=1)] if pmf[0] > 0 else []
    support = [k for k in range(1, n + 1) if pmf[k] > 0]
    if not support:
        return strata
    share = (points - len(strata)) * np.sqrt(pmf) / np.sqrt(pmf[support]).sum()
    drawn: list[list[int]] = []  # runs of neighbouring K, pooled
    for k in support:
        if share[k] >= math.comb(n, k) / 2:
            each = max(1, round(share[k] / math.comb(n, k)))
            strata.append(Stratum(k, k, float(pmf[k]), each * math.comb(n, k), each))
        elif drawn and drawn[-1][-1] == k - 1 and share[drawn[-1]].sum() < 2:
            drawn[-1].append(k)
        else:
            drawn.append([k])
    if len(drawn) > 1 and share[drawn[-1]].sum() < 2 and drawn[-2][-1] == drawn[-1][0] - 1:
        last = drawn.pop()
        drawn[-1] += last
    for run in drawn:
        strata.append(Stratum(run[0], run[-1], float(pmf[run].sum()), max(2, round(float(share[run].sum())))))
    return strata
