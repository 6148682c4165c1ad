"""What problems 4.7, 4.8 and 4.9 share: value laws at one second moment, polygons, sweeps over density, counts of features.

Only the shape of a value law matters: if x and b are multiplied by c, the loss of the ReLU output model is multiplied by c^2
and W stays. All laws are therefore scaled to E[v^2] = 1/3, that of U[0,1]; norms and biases are then on one scale, and the
optimiser has no favourites. Losses are printed as shares of the loss of a network that answers 0.

The criteria below were fixed before any network was trained on another law than U[0,1]; the recipes were chosen on U[0,1] alone.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import superscope as ss
from superscope import measure, stats
from superscope.findings import Gate
from superscope.measure import theory

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from superscope.features import ValueLaw
    from superscope.lab import Lab
    from superscope.sweep import SweepRun

SECOND_MOMENT = 1 / 3
PLATEAU = 0.5  # dimensionality of an antipodal pair
WIDTH = 0.02  # a feature is on a plateau if its dimensionality is this close (reference sheet, 4.7)
OCCUPANCY_MARGIN = 0.05  # a difference in plateau occupancy counts beyond this, and is none within it
COUNT_MARGIN = 0.02  # the same for the share of features that are recovered
TOLERANCE = 0.2  # a feature is recovered if its answer to being on alone is right within 20 % (root mean square over values)
POLYGON_TOLERANCE = 0.02  # trained polygons against theory (reference sheet, 4.7)
HALF_EMPTY = 0.5  # share of empty inputs in the training of polygons
LEVELS = {name: float(level) for name, level in measure.ideal_levels().items()}

Laws = Mapping[str, "ValueLaw"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the two experiments: polygons in two dimensions, and a wide bottleneck swept over density."""

    n_features: int = 100  # features of the wide bottleneck (TMS: 400, its notebook: 200)
    n_hidden: int = 10  # its hidden dimensions (30, 20)
    densities: int = 8  # densities of the sweep, evenly spaced in the logarithm
    dense: float = 0.7  # the highest of them
    sparse: float = 0.01  # the lowest
    seeds: int = 16  # seeds of every wide network
    steps: int = 1000  # training steps of the wide networks
    points: int = 128  # points per step of the wide networks
    polygon_sizes: tuple[int, ...] = (3, 4, 5, 6, 7, 8)  # features n of the polygons
    polygon_seeds: int = 8
    polygon_restarts: int = 32  # starts per seed, six times as many above n=6 (see `polygons`)
    polygon_steps: int = 1500

    @property
    def grid(self) -> np.ndarray:
        return ss.logspace(self.dense, self.sparse, self.densities)

    def seed_range(self, lab: Lab, count: int) -> range:
        """Seed numbers, disjoint between runs with different --seed."""
        return range(lab.seed * 1000, lab.seed * 1000 + count)


SIZES = {
    "quick": {},
    "standard": {"n_features": 200, "n_hidden": 20, "densities": 12, "polygon_sizes": (3, 4, 5, 6, 7, 8, 12)},
    "full": {
        "n_features": 400, "n_hidden": 30, "densities": 20, "dense": 1.0, "steps": 10_000, "points": 512, "seeds": 32,
        "polygon_sizes": (3, 4, 5, 6, 7, 8, 10, 12), "polygon_seeds": 32, "polygon_restarts": 128, "polygon_steps": 5000,
    },
}  # fmt: skip


# --- laws -----------------------------------------------------------------------------------------------------------


def scaled(law: ValueLaw, second_moment: float = SECOND_MOMENT) -> ValueLaw:
    """The law of c v with c > 0 such that E[(c v)^2] = second_moment."""
    c = float(np.sqrt(second_moment / law.moment(2)))
    if isinstance(law, ss.Levels):
        return ss.Levels(*(c * v for v in law.values))
    return type(law)(c * law.low, c * law.high)


def uniform_from(low: float) -> ValueLaw:
    """U[low, 1] at the common second moment; low = 1 is the binary law {1}."""
    return scaled(ss.Uniform(low, 1) if low < 1 else ss.Constant(1))


def support(law: ValueLaw) -> tuple[float, float]:
    """Smallest and largest value."""
    return (min(law.values), max(law.values)) if isinstance(law, ss.Levels) else (law.low, law.high)


def spread(law: ValueLaw) -> float:
    """Coefficient of variation of the values, sd / mean: 0 for {1}, 0.577 for U[0,1]."""
    return float(np.sqrt(max(law.moment(2) / law.moment(1) ** 2 - 1, 0.0)))


def quadrature(law: ValueLaw, panels: int = 32) -> theory.Law:
    """Nodes and weights of a law: its levels, or `panels` pieces of three Gauss points (losses have kinks)."""
    if isinstance(law, ss.Levels):
        return theory.levels_law(*law.values)
    return theory.uniform_law(law.low, law.high, panels)


# --- polygons: n features in two dimensions, one on at a time -----------------------------------------------------------


@functools.cache
def _regular(k: int, law: ValueLaw) -> float:
    """1-sparse loss of the best regular k-gon, a share of E[v^2]; a cross is exact for every law."""
    nodes = quadrature(law)
    return theory.polygon_optimum(k, nodes).loss / nodes.mean_square() if k > 4 else 0.0


def polygon_theory(n: int, law: ValueLaw) -> float:
    """Least 1-sparse loss of a regular k-gon with the other n-k features answered by 0, over k; share of E[v^2].

    That is the n-gon itself up to n=7. At n=8 dropping one feature already pays (U[0,1]: 0.3436 instead of 0.3466). Chen et
    al. 2023 (arXiv 2310.06301) call these the critical losses. For discrete laws and n > 6 mixtures of shapes can be better.
    """
    return min(k / n * _regular(k, law) + 1 - k / n for k in range(min(n, 4), n + 1))


def deviation(loss, expected):
    """|loss - expected| as a share of `expected`; where theory says 0, as a share of the loss of answering 0, which is 1."""
    expected = np.asarray(expected, dtype=float)
    return np.abs(loss - expected) / np.where(expected > 1e-6, expected, 1.0)


@dataclass(frozen=True)
class Polygons:
    """Best restart per law, n and seed. table: one row each, with loss, theory and deviation (shares of the loss of
    answering 0) and the mean norm. weights[law, n]: W (seed, 2, n) and b (seed, n)."""

    laws: Laws
    table: pd.DataFrame
    weights: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]

    def off(self, law: str, against: str | None = None, sizes: tuple[int, ...] | None = None) -> np.ndarray:
        """Per seed, the largest deviation over n of the networks trained on `law` from the theory of `against`."""
        rows = self.table[(self.table.law == law) & self.table.n.isin(sizes or tuple(self.table.n.unique()))]
        expected = {n: polygon_theory(int(n), self.laws[against or law]) for n in rows.n.unique()}
        off = deviation(rows.loss, rows.n.map(expected))
        return off.groupby(rows.seed).max().to_numpy()

    def tested_on(self, law: str, values: ValueLaw, n: int) -> np.ndarray:
        """Per seed, the 1-sparse loss of the networks trained on `law` when the values follow another law (a share)."""
        W, b = self.weights[law, n]
        return np.asarray(one_active_loss(W, b, values))

    def picture(self, law: str, n: int) -> tuple[np.ndarray, np.ndarray]:
        """W (2, n) and b (n,) of the best seed."""
        W, b = self.weights[law, n]
        best = int(np.argmin(one_active_loss(W, b, self.laws[law])))
        return W[best], b[best]


def one_active_loss(W, b, law: ValueLaw):
    """1-sparse loss in the limit of density -> 0, exact, as a share of the loss of answering 0. W (..., 2, n), b (..., n).

    Almost all inputs are empty in that limit, so a positive bias would cost infinitely much: it is set to 0.
    """
    nodes = quadrature(law)
    return theory.one_sparse_loss(W, np.minimum(b, 0), nodes) / nodes.mean_square()


def polygons(laws: Laws, sizes: Sizes, lab: Lab) -> Polygons:
    """Train n features in two dimensions with at most one on, half of the inputs empty.

    Inputs with exactly one feature on would miss the limit of density -> 0: a network may then answer the mean of a feature it
    drops. The heptagon is the optimum for n=7 and has a small basin: on U[0,1] about 2 % of starts reach it, with initial
    weights three times Xavier's and a fast second moment in Adam (without these 0.3 %), hence more restarts above n=6.
    """
    import pandas as pd

    recipe = ss.Recipe.fast(steps=sizes.polygon_steps, points=64, lr=0.03, beta2=0.99)
    rows, weights = [], {}
    for n in sizes.polygon_sizes:
        group = ss.AntiCorrelated(tuple(range(n)))
        inputs = ss.SparseFeatures(n, density=(1 - HALF_EMPTY) / n, groups=(group,))
        seeds = sizes.seed_range(lab, sizes.polygon_seeds)
        restarts = sizes.polygon_restarts * (6 if n > 6 else 1)
        sweep = ss.Sweep(ss.Bottleneck(n, 2, init_scale=3.0), inputs, over={"values": list(laws.values())}, seeds=seeds,
                         restarts=restarts)  # fmt: skip
        run = lab.train(sweep, recipe, name=f"polygon-{n}")
        for place, (name, law) in enumerate(laws.items()):
            W = run.W.isel(values=place).transpose("seed", ..., "hidden", "feature").values.reshape(len(seeds), restarts, 2, n)
            b = run.b_out.isel(values=place).transpose("seed", ..., "feature").values.reshape(len(seeds), restarts, n)
            loss = np.asarray(one_active_loss(W, b, law))
            best = loss.argmin(1)
            own = np.arange(len(seeds))
            weights[name, n] = W[own, best], b[own, best]
            length = np.linalg.norm(W[own, best], axis=1).mean(-1)
            expected = polygon_theory(n, law)
            for s, seed in enumerate(seeds):
                rows.append({"law": name, "n": n, "seed": seed, "loss": float(loss[s, best[s]]), "theory": expected,
                             "deviation": float(deviation(loss[s, best[s]], expected)), "mean norm": float(length[s]),
                             "starts within 1%": float((deviation(loss[s], expected) < 0.01).mean())})  # fmt: skip
    return Polygons(laws, pd.DataFrame(rows), weights)


# --- the wide bottleneck ------------------------------------------------------------------------------------------------


def wide(laws: Laws, sizes: Sizes, lab: Lab, activation: str = "relu", densities=None, name: str = "wide") -> SweepRun:
    """n equally important features in m dimensions for every law, density and seed. Seeds start alike under every law."""
    toy = ss.Bottleneck(sizes.n_features, sizes.n_hidden, activation=activation)
    over = {"values": list(laws.values()), "density": sizes.grid if densities is None else list(densities)}
    sweep = ss.Sweep(toy, ss.SparseFeatures(sizes.n_features), over=over, seeds=sizes.seed_range(lab, sizes.seeds))
    return lab.train(sweep, ss.Recipe.fast(steps=sizes.steps, points=sizes.points), name=name)


def recovered(W, b, law: ValueLaw, tolerance: float = TOLERANCE, activation: str = "relu"):
    """Which features are answered rightly when on alone: E (y_i - v)^2 <= tolerance^2 E v^2. (..., feature), bool.

    For {1} this is |y - v| <= tolerance v, `measure.features_recovered`. Sees no interference.
    """
    nodes = quadrature(law, 16)
    error = sum(q * (measure.responses(W, b, activation=activation, value=v) - v) ** 2
                for v, q in zip(nodes.values, nodes.weights, strict=True))  # fmt: skip
    return error <= tolerance**2 * nodes.mean_square()


def counts(run: SweepRun, laws: Laws) -> xr.Dataset:
    """Ways to count features, and where their dimensionalities lie; dims (values, density, seed), values = names of laws.

    norm count: m / D* = ||W||_F^2. capped: sum_i min(||W_i||, 1)^2. capacity: sum_i D_i. represented: ||W_i|| > 1/2.
    recovered: see there. plateau: share of the represented features with |D - 1/2| < 0.02; chance: the same for random
    directions of the same norms. overcount: norm count / capped. square norm: mean ||W_i||^2 of represented features.
    loss: share of the loss of answering 0. levels: per polytope, share of represented features near its dimensionality.
    """
    import xarray as xr

    W = run.W.assign_coords(values=list(laws))
    D, there = measure.dimensionality(W), measure.represented(W)
    number = there.sum("feature")
    b = run.b_out.assign_coords(values=list(laws))

    def near(dimensionality, level):
        hit = (abs(dimensionality - level) < WIDTH) & there
        return hit.sum("feature") / number.where(number > 0, 1)

    hits = xr.concat([recovered(W.sel(values=v), b.sel(values=v), law).sum("feature") for v, law in laws.items()], "values")
    silent = xr.DataArray([law.moment(2) for law in laws.values()], dims="values", coords={"values": list(laws)})
    capped = measure.norm_capped_count(W)
    norm_count = W.sizes["hidden"] / measure.dims_per_feature(W)
    return xr.Dataset({
        "norm count": norm_count,
        "capped": capped,
        "capacity": D.sum("feature"),
        "represented": number,
        "recovered": hits.transpose(*number.dims),
        "overcount": norm_count / capped,
        "square norm": (measure.norms(W) ** 2).where(there).mean("feature"),
        "plateau": near(D, PLATEAU),
        "chance": near(measure.dimensionality(measure.nulls.random_directions(W)), PLATEAU),
        "levels": xr.concat([near(D, x) for x in LEVELS.values()], "level").assign_coords(level=list(LEVELS)),
        "loss": run.loss.assign_coords(values=list(laws)) / (silent * W.density * W.sizes["feature"]),
    })  # fmt: skip


def per_seed(data: xr.Dataset, what: str, law: str, sparsest: bool = False) -> np.ndarray:
    """(seed,) values of one law, averaged over the logarithm of the density or at the lowest density."""
    part = data[what].sel(values=law)
    part = part.isel(density=int(np.argmin(part.density.values))) if sparsest else part.mean("density")
    return part.transpose("seed").values


def gap(data: xr.Dataset, what: str, one: str, other: str, unit: float = 1.0, sparsest: bool = False) -> stats.Estimate:
    """Paired difference between two laws, one - other, in units of `unit`."""
    a, b = (per_seed(data, what, law, sparsest) / unit for law in (one, other))
    return stats.estimate_difference(a, b, paired=True)


def learned(data: xr.Dataset, sizes: Sizes) -> Gate:
    """Gate: at the lowest density every law is learned and in superposition. Untrained networks fail it."""
    lowest = data.isel(density=int(np.argmin(data.density.values))).mean("seed")
    loss, number = float(lowest["loss"].max()), float(lowest["represented"].min())
    return Gate(
        f"At density {float(lowest.density):.3g} networks of every law lose less than half of what answering 0 loses, "
        "and represent more features than they have dimensions",
        loss < 0.5 and number > sizes.n_hidden,
        {"largest loss / loss of answering 0": loss, "fewest features represented": number, "dimensions": float(sizes.n_hidden)},
    )  # fmt: skip
