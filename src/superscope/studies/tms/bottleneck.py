"""TMS reproduction, the bottleneck: who is represented (T1), small polygons (T2), sticky geometry at scale (T5, T6)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

import superscope as ss
from superscope import measure, plots
from superscope.evidence.expect import Expect
from superscope.evidence.findings import Figure, Part
from superscope.evidence.tables import arm, arms
from superscope.lab import Lab
from superscope.measure.weights.geometry import is_one, noisy_polygons
from superscope.studies.tms.config import Config
from superscope.sweep import SweepRun

EXPECTED = [
    Expect(
        "T2-pentagon", "At density 0.05 five features in two dimensions form a pentagon in at least 90% of seeds",
        "pentagon", ">= 0.9", of="ReLU output model", null="linear model", plant="noisy pentagons", stat="share",
        why="Null: without a ReLU nothing is gained by superposition. Plant: unequal norms, every angle off by two degrees or "
        "so.",
    ),
    Expect(
        "T6-levels",
        "Where an ideal packing has room for all, 90% of represented features are within 0.01 of a polytope's D",
        "near", ">= 0.9", of="trained", null="random directions of the same norms", plant="ideal packing of as many",
        why="Null: norms kept, directions destroyed. Plant: as many features as were trained, on polytopes.",
        note="Levels " + ", ".join(f"{x:.3g}" for x in measure.TMS_LEVELS) + ". Room: at most m / (3/8) features represented, "
        "as dimensionalities add up to at most m. Over the whole sweep the rule was refuted by the grid: at most 53 of "
        "139 features could sit on a level.",
    ),
    Expect(
        "T5-digons", "Between densities 0.2 and 0.5 most represented features sit within 0.01 of D = 1/2: antipodal pairs",
        "half", ">= 0.5", of="trained", null="random directions of the same norms", plant="ideal packing of as many",
        why="Null: norms kept, directions destroyed. Plant: as many features as were trained, in noisy pairs where they fit.",
    ),
    Expect(
        "T1-linear",
        "At every density the linear model gives the m most important features a unit direction each, and the rest none",
        "deviation", "<= 0.1", of="linear model", null="ReLU output model", plant="PCA by hand",
        why="Null: a ReLU lets it represent more than m features. Plant: the known solution in a turned basis, with noise.",
        note="Largest deviation of any squared norm from 1 (kept) or 0 (dropped), over features and densities.",
    ),
    Expect(
        "T1-bias", "The linear model outputs the mean E[x] = p/2 of each feature that it drops",
        "bias", "within [0.97, 1.03]", of="linear model", null="ReLU output model", plant="PCA by hand",
        why="Null: the ReLU model drops fewer features and uses biases against interference. Plant: means with 1 % of noise.",
        note="Output bias of the dropped features divided by their mean value.",
    ),
]  # fmt: skip


def densities(count: int, sparsest: float = 0.05) -> np.ndarray:
    """The densities of the original notebook: 20^-t for t in [0, 1] reaches 0.05."""
    return sparsest ** np.linspace(0, 1, count)


def who_is_represented(config: Config, lab: Lab) -> Part:
    """T1: n=20, m=5, importance 0.7^i. A linear model keeps the top m features orthonormal at every density (it is PCA);
    the ReLU model does so only when features are dense."""
    n, m = 20, 5
    inputs = ss.SparseFeatures(n, importance=tuple(0.7**i for i in range(n)))
    activations, grid = ["identity", "relu"], [1.0, 0.3, 0.1, 0.03, 0.01]
    over = {"activation": activations, "density": grid}
    seeds = lab.seeds(config.seeds)
    run = lab.train(ss.Sweep(ss.Bottleneck(n, m), inputs, over=over, seeds=seeds), config.recipe(3000), name="t1")
    norms = (run.W**2).sum("hidden")
    top = np.arange(n) < m
    off = np.abs(norms - top).max("feature")  # distance of the squared norms from (1, .., 1, 0, .., 0)
    dropped = run.b_out[..., m:].mean("feature") / inputs.values.moment(1) / run.density
    rows = [
        arm(name, seeds, deviation=off.sel(activation=a).max("density"), bias=dropped.sel(activation=a).mean("density"))
        for name, a in (("linear model", "identity"), ("ReLU output model", "relu"))
    ]
    gram = run.best("seed").W.sel(activation="relu", density=[1.0, 0.1, 0.01])
    represented = [
        {"activation": a, "density": float(p), "represented": float(measure.features_represented(w).mean())}
        for a in activations
        for p, w in ((p, run.W.sel(activation=a, density=p)) for p in grid)
    ]
    pictures = [
        Figure(
            f"t1-gram-{float(w.density):g}",
            plots.gram_heatmap((w.values.T @ w.values), bound=1.2),
            f"W<sup>T</sup>W of the best ReLU model at density {float(w.density):g}, features in order of importance: "
            f"{int(measure.features_represented(w))} of {n} features are represented in {m} dimensions.",
        )
        for w in gram.transpose("density", ...)[[0, 2]]
    ]
    return Part([arms(*rows, pca_by_hand(n, m, seeds, lab))], pictures, {"t1_represented": pd.DataFrame(represented)})


def pca_by_hand(n: int, m: int, seeds: range, lab: Lab) -> pd.DataFrame:
    """The plant of T1: m unit directions in a turned basis and the mean as bias, with noise on both."""
    rng = lab.rng("pca")
    W = measure.nulls.haar_rotations(m, len(seeds), lab.seed) @ np.eye(m, n) + 0.01 * rng.standard_normal((len(seeds), m, n))
    deviation = np.abs((W**2).sum(1) - (np.arange(n) < m)).max(1)
    return arm("PCA by hand", seeds, deviation=deviation, bias=1 + 0.01 * rng.standard_normal((len(seeds), n - m)).mean(1))


def small_polygons(config: Config, lab: Lab) -> tuple[SweepRun, pd.DataFrame]:
    """T2: n=5, m=2, importance 0.9^i: trained best-of-4 per seed, and the share of each geometry."""
    inputs = ss.SparseFeatures(5, importance=tuple(0.9**i for i in range(5)))
    sweep = ss.Sweep(ss.Bottleneck(5, 2), inputs, over={"density": densities(10)}, seeds=lab.seeds(config.seeds), restarts=4)
    run = lab.train(sweep, config.recipe(2000), name="t2").best("restart")
    rows = []
    for p in run.W.density.values:
        for s in run.W.seed.values:
            kinds = sorted(c.kind for c in measure.geometry(run.W.sel(density=p, seed=s).values))
            rows.append({"density": float(p), "seed": int(s), "geometry": " + ".join(kinds) or "none"})
    return run, pd.DataFrame(rows)


def polygons(run: SweepRun, table: pd.DataFrame, config: Config, lab: Lab) -> Part:
    """T2: two orthogonal features, then two antipodal pairs, then the pentagon."""
    seeds = lab.seeds(config.seeds)
    sparse = table[table.density == table.density.min()]
    flat = ss.Sweep(ss.Bottleneck(5, 2, activation="identity"), ss.SparseFeatures(5, 0.05), seeds=seeds, restarts=4)
    linear = lab.train(flat, config.recipe(2000), name="t2-linear").best("restart")
    planted = noisy_polygons(5, len(seeds), lab.rng("pentagons"))
    rows = arms(
        arm("ReLU output model", seeds, pentagon=(sparse.geometry == "pentagon").to_numpy()),
        arm("linear model", seeds, pentagon=[is_one(w, "pentagon") for w in linear.W.values]),
        arm("noisy pentagons", seeds, pentagon=[is_one(w, "pentagon") for w in planted]),
    )
    shares = table.groupby(["density", "geometry"]).size().div(table.seed.nunique()).rename("share").reset_index()
    best = run.best("seed")
    figures = [
        Figure(
            "t2-polygons",
            plots.feature_polygon(best.W.values, sweep=[float(p) for p in best.W.density], sweep_name="density"),
            "The five feature directions of the best model (n=5, m=2, importance 0.9<sup>i</sup>) as features become sparser.",
        ),
        Figure(
            "t2-shares",
            plots.lines_with_band(
                shares, "density", "share", "geometry", log_x=True, x_title="density p", y_title="share of seeds"
            ),
            f"Which geometry the best of 4 restarts finds, over {table.seed.nunique()} seeds.",
        ),
    ]
    return Part([rows], figures, {"t2_shares": shares})


def at_scale(config: Config, lab: Lab) -> tuple[Part, SweepRun]:
    """T5, T6: many equally important features. D* = m / ||W||_F^2 sticks at 1 and 1/2, D_i at the values of polytopes."""
    n, m = config.large_n, config.large_m
    grid, seeds = densities(config.large_points), lab.seeds(config.large_seeds)
    sweep = ss.Sweep(ss.Bottleneck(n, m), ss.SparseFeatures(n), over={"density": grid}, seeds=seeds)
    run = lab.train(sweep, config.recipe(config.large_steps), name="t5")
    d, represented = measure.dimensionality(run.W), measure.norms(run.W) > 0.5
    random = measure.dimensionality(measure.nulls.random_directions(run.W, seed=lab.seed))
    ideal = ideal_packing(run.W, represented, lab.rng("packing"))
    packed, kept = measure.dimensionality(ideal), measure.norms(ideal) > 0.5
    rows = arms(
        arm("trained", seeds, near=near_levels(d, represented, m), half=at_half(d, represented)),
        arm(
            "random directions of the same norms",
            seeds,
            near=near_levels(random, represented, m),
            half=at_half(random, represented),
        ),
        arm("ideal packing of as many", seeds, near=near_levels(packed, kept, m), half=at_half(packed, kept)),
    )
    star = measure.dims_per_feature(run.W)
    table = pd.DataFrame(
        {
            "density": grid,
            "dims per feature": star.mean("seed").values,
            "represented": represented.sum("feature").mean("seed").values,
            "sum of dimensionality": d.sum("feature").mean("seed").values,
            "loss": run.loss.mean("seed").values,
        }
    )
    figures = [
        Figure(
            "t6-dimensionality",
            plots.dimensionality_strip(d.transpose("density", "seed", "feature").values, list(grid), x_title="density p"),
            f"Feature dimensionality of every feature (n={n}, m={m}, {run.loss.sizes['seed']} seeds). "
            "Horizontal lines: the values of perfect polytopes.",
        ),
        Figure(
            "t5-dims-per-feature",
            plots.lines_with_band(
                pd.DataFrame({"density": grid, "D*": star.mean("seed"), "lo": star.min("seed"), "hi": star.max("seed")}),
                "density", "D*", lo="lo", hi="hi", log_x=True, x_title="density p", y_title="D* = m / ||W||²",
            ),
            "Dimensions per feature, mean and range over seeds. It counts features only while their norms are near 1.",
        ),
    ]  # fmt: skip
    return Part([rows], figures, {"t5_scale": table}), run


def near_levels(d: xr.DataArray, represented: xr.DataArray, m: int, tolerance: float = 0.01) -> np.ndarray:
    """(seed,) share of represented features whose dimensionality is near that of a polytope, over the densities at which the
    lowest level has room for all: at most m / (3/8) represented."""
    room = represented.sum("feature") <= m / min(measure.TMS_LEVELS)
    close = xr.DataArray(np.abs(d - xr.DataArray(list(measure.TMS_LEVELS), dims="level")) < tolerance).any("level")
    near = (close & represented & room).sum(("density", "feature")) / (represented & room).sum(("density", "feature"))
    return np.asarray(near)


def at_half(d: xr.DataArray, represented: xr.DataArray, tolerance: float = 0.01) -> np.ndarray:
    """(seed,) share of represented features on the digon plateau, between densities 0.2 and 0.5."""
    part = d.where(represented).sel(density=(d.density > 0.2) & (d.density < 0.5))
    half = xr.DataArray(np.abs(part - 0.5) < tolerance)
    return np.asarray(half.sum(("density", "feature")) / part.notnull().sum(("density", "feature")))


def ideal_packing(W: xr.DataArray, represented: xr.DataArray, rng: np.random.Generator) -> xr.DataArray:
    """The plant of T5 and T6: as many features as each trained network represents, on polytopes as far as dimensions reach.

    Dedicated, then antipodal pairs, then square antiprisms (8 features in 3 dimensions, the lowest level, 3/8); what does not
    fit even so gets random directions. Norms .9 to 1.1 (equal within a polytope), noise of 1 % on every direction.
    """
    ordered = W.transpose("density", "seed", "hidden", "feature")
    counts = represented.transpose("density", "seed", "feature").sum("feature").values.astype(int)
    out = np.zeros(ordered.shape)
    for place in np.ndindex(counts.shape):
        columns = polytopes(int(counts[place]), ordered.sizes["hidden"], rng)
        out[place][:, : columns.shape[1]] = columns
    return ordered.copy(data=out).transpose(*W.dims)


def polytopes(count: int, m: int, rng: np.random.Generator) -> np.ndarray:
    """(m, count) directions of `ideal_packing`: the blocks that fit, in dimensions of their own."""
    antiprism = measure.ideal("square antiprism")
    blocks: list[np.ndarray] = []
    left, room = count, m
    while room and left:
        if left >= 8 and room >= 3 and left > 2 * room:
            block = antiprism
        elif left >= 2 and left > room:
            block = np.array([[1.0, -1.0]])
        else:
            block = np.array([[1.0]])
        blocks.append(block * rng.uniform(0.9, 1.1))
        left, room = left - block.shape[1], room - block.shape[0]
    W = np.zeros((m, count))
    row = column = 0
    for block in blocks:
        W[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    rest = rng.standard_normal((m, left))
    W[:, column:] = rest / np.maximum(np.linalg.norm(rest, axis=0), 1e-9)
    return W + 0.01 * rng.standard_normal(W.shape) / np.sqrt(m)
