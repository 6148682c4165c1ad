"""What problems 4.7, 4.8 and 4.9 share: value laws at one second moment, sweeps over density, and counts of features.

Only the shape of a value law matters: if x and b are multiplied by c, the loss of the ReLU output model is multiplied by c^2
and W stays. All laws are therefore scaled to E[v^2] = 1/3, that of U[0,1]; norms and biases are then on one scale, and the
optimiser has no favourites. Losses are printed as shares of the loss of a network that answers 0.

The margins below were fixed before any network was trained on another law than U[0,1], unless a study says otherwise; the
recipe of the wide networks was chosen on U[0,1] alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure
from superscope.evidence.expect import Check
from superscope.evidence.tables import arm, arms
from superscope.inputs.features import Levels, ValueLaw
from superscope.measure import theory

if TYPE_CHECKING:
    import xarray as xr

    from superscope.lab import Lab
    from superscope.sweep import SweepRun

SECOND_MOMENT = 1 / 3
PLATEAU = 0.5  # dimensionality of an antipodal pair
WIDTH = 0.02  # a feature is on a plateau if its dimensionality is this close (written down for 4.7)
OCCUPANCY_MARGIN = 0.05  # a difference in plateau occupancy counts beyond this, and is none within it
COUNT_MARGIN = 0.02  # the same for the share of features that are recovered
KURTOSIS_MARGIN = 0.05  # counts of two laws agree at equal kurtosis within this share of all features (see 4.7)
TOLERANCE = 0.2  # a feature is recovered if its answer to being on alone is right within 20 % (root mean square over values)
LEVELS = {name: float(level) for name, level in measure.ideal_levels().items()}

Laws = Mapping[str, ValueLaw]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the two experiments: polygons in two dimensions, and a wide bottleneck swept over density."""

    n_features: int = 80  # features of the wide bottleneck (TMS: 400, its notebook: 200)
    n_hidden: int = 8  # its hidden dimensions (30, 20)
    dense: float = 0.7  # the highest density
    knee: float = 0.08  # counts have edges above, and are smooth below
    sparse: float = 0.01  # the lowest density of those over which criteria average
    plateau_densities: int = 16  # densities from `dense` to `knee`; a plateau can be as narrow as a factor 1.35
    densities: int = 3  # further densities from there to `sparse`
    rare: tuple[float, ...] = (0.003, 0.001)  # lower ones, towards the limit in which one feature is on at a time
    seeds: int = 16  # seeds of every wide network
    steps: int = 1000  # training steps of the wide networks
    points: int = 128  # points per step of the wide networks
    polygon_sizes: tuple[int, ...] = (3, 4, 5, 6, 7, 8)  # features n of the polygons
    polygon_seeds: int = 8
    polygon_restarts: int = 24  # starts per seed and start scale, ten times as many above n=6 (see `_value_polygons`)
    polygon_steps: int = 2000
    other_size: tuple[int, int] = (160, 16)  # features and dimensions of wide networks of a second size
    other_seeds: int = 8

    @property
    def grid(self) -> np.ndarray:
        """Densities of the wide bottleneck, highest first."""
        upper = ss.logspace(self.dense, self.knee, self.plateau_densities)
        return np.array([*upper, *ss.logspace(self.knee, self.sparse, self.densities + 1)[1:], *self.rare])

    def main(self, data: xr.Dataset) -> xr.Dataset:
        """The part over which the criteria average: without the rare densities."""
        return data.sel(density=data.density[data.density > 0.999 * self.sparse])

    def plateaus(self, data: xr.Dataset) -> xr.Dataset:
        """The part where plateaus are."""
        return data.sel(density=data.density[data.density > 0.999 * self.knee])


SIZES: dict[str, dict[str, Any]] = {
    "quick": {},
    "standard": {
        "n_features": 200, "n_hidden": 20, "plateau_densities": 20, "densities": 5, "steps": 2000, "points": 192,
        "polygon_restarts": 32, "polygon_steps": 6000, "other_size": (60, 6), "other_seeds": 16,
        "polygon_sizes": (3, 4, 5, 6, 7, 8, 12),
    },
    "full": {
        "n_features": 400, "n_hidden": 30, "dense": 1.0, "plateau_densities": 30, "densities": 12, "steps": 10_000,
        "points": 512, "seeds": 32, "rare": (0.003, 0.001, 0.0003), "polygon_sizes": (3, 4, 5, 6, 7, 8, 12),
        "polygon_seeds": 32, "polygon_restarts": 128, "polygon_steps": 10_000, "other_size": (100, 10), "other_seeds": 32,
    },
}  # fmt: skip


# --- laws -----------------------------------------------------------------------------------------------------------


def scaled(law: ValueLaw, second_moment: float = SECOND_MOMENT) -> ValueLaw:
    """The law of c v with c > 0 such that E[(c v)^2] = second_moment."""
    c = float(np.sqrt(second_moment / law.moment(2)))
    if isinstance(law, Levels):
        return Levels(*(c * v for v in law.values))
    return type(law)(c * law.low, c * law.high)


def uniform_from(low: float) -> ValueLaw:
    """U[low, 1] at the common second moment; low = 1 is the binary law {1}."""
    return scaled(ss.Uniform(low, 1) if low < 1 else ss.Constant(1))


def support(law: ValueLaw) -> tuple[float, float]:
    """Smallest and largest value."""
    return (min(law.values), max(law.values)) if isinstance(law, Levels) else (law.low, law.high)


def quadrature(law: ValueLaw, panels: int = 32) -> theory.Law:
    """Nodes and weights of a law: its levels, or `panels` pieces of three Gauss points (losses have kinks)."""
    if isinstance(law, Levels):
        return theory.levels_law(*law.values)
    return theory.uniform_law(law.low, law.high, panels)


# --- the wide bottleneck ------------------------------------------------------------------------------------------------


def wide(laws: Laws, sizes: Sizes, lab: Lab, activation: str = "relu", densities=None, name: str = "wide") -> SweepRun:
    """n equally important features in m dimensions for every law, density and seed. Seeds start alike under every law."""
    toy = ss.Bottleneck(sizes.n_features, sizes.n_hidden, activation=activation)
    over = {"values": list(laws.values()), "density": sizes.grid if densities is None else list(densities)}
    sweep = ss.Sweep(toy, ss.SparseFeatures(sizes.n_features), over=over, seeds=lab.seeds(sizes.seeds))
    return lab.train(sweep, ss.Recipe.fast(steps=sizes.steps, points=sizes.points), name=name)


def recovered(W, b, law: ValueLaw, tolerance: float = TOLERANCE, activation: str = "relu"):
    """Which features are answered rightly when on alone: E (y_i - v)^2 <= tolerance^2 E v^2. (..., feature), bool.

    For {1} this is |y - v| <= tolerance v, `measure.features_recovered`. Sees no interference.
    """
    nodes = quadrature(law, 6)
    error = sum(q * (measure.responses(W, b, activation=activation, value=v) - v) ** 2
                for v, q in zip(nodes.values, nodes.weights, strict=True))  # fmt: skip
    return error <= tolerance**2 * nodes.mean_square()


def counts(run: Any, laws: Laws) -> xr.Dataset:
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
    }, attrs={"features": W.sizes["feature"]})  # fmt: skip


def log_mean(values, at) -> np.ndarray:
    """Mean of values (..., point) over the logarithm of positive positions `at` (point,), by the trapezoidal rule."""
    order = np.argsort(at)
    steps = np.diff(np.log(np.asarray(at)[order]))
    weight = np.r_[steps, 0] + np.r_[0, steps]
    return np.asarray(values)[..., order] @ (weight / weight.sum()) if len(steps) else np.asarray(values)[..., 0]


def per_seed(data: xr.Dataset, what: str, law: str, density: float | None = None) -> np.ndarray:
    """(seed,) values of one law, averaged over the logarithm of the density or at the nearest density."""
    part = data[what].sel(values=law)
    if density is not None:
        return part.sel(density=density, method="nearest").values
    return log_mean(part.transpose("seed", "density").values, data.density.values)


def altered(run: SweepRun, law: str, laws: Laws, lab: Lab) -> dict[str, xr.Dataset]:
    """Counts of one law's networks with something done to them, by name: the plants of claims that compare laws.

    "nudged": 0.5 % noise on every weight, as before by construction. "a fifth turned": a fifth of the features in random
    directions, off every plateau. "a fifth removed", "half removed": so many gone. "norms grown": weights a fifth larger.
    """
    rng, place = lab.rng(f"altered {law}"), list(laws).index(law)
    W = run.W.isel(values=[place]).load()
    shape = {dim: W.sizes[dim] for dim in W.dims}
    place_in_line = xr_like(rng.permutation(shape["feature"]) / shape["feature"], "feature", W)
    chosen = place_in_line < 0.2
    random = W.copy(data=rng.standard_normal(W.shape))
    random = random / measure.norms(random) * measure.norms(W)
    changed = {
        "nudged": W * (1 + 0.005 * rng.standard_normal(W.shape)),
        "a fifth turned": W.where(~chosen, random),
        "a fifth removed": W.where(~chosen, 0.0),
        "half removed": W.where(place_in_line >= 0.5, 0.0),
        "norms grown": 1.2 * W,
    }
    parts = {name: SimpleNamespace(W=w, b_out=run.b_out.isel(values=[place]), loss=run.loss.isel(values=[place]))
             for name, w in changed.items()}  # fmt: skip
    return {f"{law}, {name}": counts(part, {law: laws[law]}) for name, part in parts.items()}


def xr_like(values: np.ndarray, dim: str, like: Any) -> xr.DataArray:
    """A vector along one dimension of another array."""
    import xarray as xr

    return xr.DataArray(values, {dim: like[dim]} if dim in like.coords else None, (dim,))


def rows(name: str, data: xr.Dataset, law: str, sizes: Sizes) -> pd.DataFrame:
    """One row per seed: what the claims compare, averaged over log density, and at two densities. Counts as shares of all."""
    main, n, rarest = sizes.main(data), data.attrs["features"], float(data.density.min())
    values = {
        "plateau": per_seed(main, "plateau", law),
        "represented": per_seed(main, "represented", law) / n,
        "recovered": per_seed(main, "recovered", law) / n,
        "overcount": per_seed(data, "overcount", law, sizes.sparse),
        "recovered when rare": per_seed(data, "recovered", law, rarest) / n,
        "square norm when rare": per_seed(data, "square norm", law, rarest),
    }
    return arm(name, data.seed.values, **values)


def law_rows(run: SweepRun, data: xr.Dataset, laws: Laws, sizes: Sizes, lab: Lab, alter: tuple[str, ...]) -> pd.DataFrame:
    """Rows of every law, of both halves of its seeds, and of the altered networks of the laws named in `alter`."""
    out = []
    for law in laws:
        whole = rows(law, data, law, sizes)
        middle = len(whole) // 2
        first, second = whole.iloc[:middle], whole.iloc[middle : 2 * middle].assign(seed=whole.seed.iloc[:middle].to_numpy())
        out += [whole, first.assign(arm=f"{law}, half of the seeds"), second.assign(arm=f"{law}, other half")]
    for law in alter:
        out += [rows(name, changed, law, sizes) for name, changed in altered(run, law, laws, lab).items()]
    return arms(*out)


def kurtosis(law: ValueLaw) -> float:
    """E v^4 / E[v^2]^2 of a feature that is on; that of the sparse feature is this over p (Scherlis et al. 2022)."""
    return law.moment(4) / law.moment(2) ** 2


def count_mismatch(data: xr.Dataset, laws: Laws, one: str, other: str, matched: bool = True) -> np.ndarray:
    """(seed,) mean distance |represented(one) - represented(other)| over n, at equal kurtosis kurtosis(law) / p of the sparse
    feature (matched) or at equal density; mean over the logarithm.

    The other law is interpolated linearly in the logarithm; densities without a counterpart are left out.
    """
    at = {law: (kurtosis(laws[law]) if matched else 1.0) / data.density.values for law in (one, other)}
    number = {law: data["represented"].sel(values=law).transpose("seed", "density").values for law in (one, other)}
    order = np.argsort(at[other])
    inside = (at[one] >= at[other].min() * 0.999) & (at[one] <= at[other].max() * 1.001)
    partner = [np.interp(np.log(at[one][inside]), np.log(at[other][order]), row[order]) for row in number[other]]
    return log_mean(np.abs(number[one][:, inside] - np.stack(partner)) / data.attrs["features"], at[one][inside])


def rank_correlation(a, b) -> float:
    """Spearman's, NaN where one of the two is constant (and a claim on it undecided)."""
    from scipy.stats import rankdata

    x, y = (rank - rank.mean() for rank in (rankdata(a), rankdata(b)))
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else np.nan


def crossing(data: xr.Dataset, one: str, other: str) -> np.ndarray:
    """(seed,) the lowest density at which two laws lose equal shares, log-log interpolation; NaN where they never do."""
    ordered = data["loss"].sortby("density")
    x = np.log(ordered.density.values)
    share = {law: ordered.sel(values=law).transpose("seed", "density").values for law in (one, other)}
    ratio = np.log(share[one] / share[other])
    found = []
    for row in ratio:
        change = np.flatnonzero(np.sign(row[1:]) != np.sign(row[:-1]))
        k = change[0] if len(change) else 0
        found.append(np.exp(x[k] - row[k] * (x[k + 1] - x[k]) / (row[k + 1] - row[k])) if len(change) else np.nan)
    return np.array(found)


def kurtosis_rows(data: xr.Dataset, laws: Laws, one: str, other: str, lab: Lab) -> pd.DataFrame:
    """Distances of the counts of two laws at equal kurtosis, at equal density, and where kurtosis alone decides (with the
    scatter of seeds)."""
    seeds = data.seed.values
    curve = data["represented"].sel(values=other).mean("seed").values
    at = {law: np.log(kurtosis(laws[law]) / data.density.values) for law in (one, other)}
    order = np.argsort(at[other])
    ruled = data[["represented"]].sel(values=[one, other]).copy(deep=True)
    scatter = float(data["represented"].sel(values=other).std("seed", ddof=1).mean())
    rng = lab.rng("ruled by kurtosis")
    for law in (one, other):
        count = np.interp(at[law], at[other][order], curve[order])
        noise = xr_like(count, "density", data) + scatter * xr_like(rng.standard_normal(len(seeds)), "seed", data)
        ruled["represented"].loc[{"values": law}] = noise.transpose(*ruled["represented"].sel(values=law).dims)
    return arms(
        arm("at equal kurtosis", seeds, mismatch=count_mismatch(data, laws, one, other)),
        arm("at equal density", seeds, mismatch=count_mismatch(data, laws, one, other, False)),
        arm("ruled by kurtosis", seeds, mismatch=count_mismatch(ruled, laws, one, other)),
    )


GATE = [
    Check("At the lowest density networks of every law lose less than half of what answering 0 loses", "largest loss", "< 0.5",
          "lowest density"),
    Check("and represent more features than they have dimensions", "features beyond dimensions", "> 0", "lowest density"),
]  # fmt: skip


def learned(data: xr.Dataset, sizes: Sizes) -> pd.DataFrame:
    """The gate's row: at the lowest density every law is learned and in superposition, on average over seeds."""
    part = data.sel(density=float(data.density.min())).mean("seed")
    loss, number = float(part["loss"].max()), float(part["represented"].min())
    return arm("lowest density", [0], **{"largest loss": [loss], "features beyond dimensions": [number - sizes.n_hidden]})
