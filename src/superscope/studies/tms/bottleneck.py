"""TMS reproduction, the bottleneck: who is represented (T1), small polygons (T2), sticky geometry at scale (T5, T6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure, plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure
from superscope.studies.part import Part
from superscope.sweep import SweepRun

if TYPE_CHECKING:
    from superscope.lab import Lab
    from superscope.studies.tms import Config

LEVELS = (1.0, 3 / 4, 2 / 3, 1 / 2, 2 / 5, 3 / 8)  # TMS: dedicated, tetrahedron, triangle, digon, pentagon, square antiprism


def densities(count: int, sparsest: float = 0.05) -> np.ndarray:
    """The densities of the original notebook: 20^-t for t in [0, 1] reaches 0.05."""
    return sparsest ** np.linspace(0, 1, count)


def who_is_represented(config: Config, lab: Lab, passed: bool) -> Part:
    """T1: n=20, m=5, importance 0.7^i. A linear model keeps the top m features orthonormal at every density (it is PCA);
    the ReLU model does so only when features are dense."""
    n, m = 20, 5
    inputs = ss.SparseFeatures(n, importance=tuple(0.7**i for i in range(n)))
    activations, grid = ["identity", "relu"], [1.0, 0.3, 0.1, 0.03, 0.01]
    over = {"activation": activations, "density": grid}
    run = lab.train(
        ss.Sweep(ss.Bottleneck(n, m), inputs, over=over, seeds=config.seed_range(lab)), config.recipe(3000), name="t1"
    )
    norms = (run.W**2).sum("hidden")
    top = np.arange(n) < m
    off = np.abs(norms - top).max("feature")  # distance of the squared norms from (1, .., 1, 0, .., 0)
    linear, relu = (off.sel(activation=a).max("density").values for a in ("identity", "relu"))
    dropped = run.b_out[..., m:].mean("feature") / inputs.values.moment(1) / run.density
    claims = [
        stats.claim(
            "T1-linear",
            "At every density the linear model gives the m most important features a unit direction each, and the rest none",
            stats.estimate(linear),
            "<= 0.1",
            stats.Arm("ReLU output model", stats.estimate(relu), "ReLU lets it represent more than m features"),
            passed,
            note="Largest deviation of any squared norm from 1 (kept) or 0 (dropped), over features and densities.",
        ),
        stats.claim(
            "T1-bias",
            "The linear model outputs the mean E[x] = p/2 of each feature that it drops",
            stats.estimate(dropped.sel(activation="identity").mean("density").values),
            "within [0.97, 1.03]",
            stats.Arm("ReLU output model", stats.estimate(dropped.sel(activation="relu").mean("density").values)),
            passed,
            note="Output bias of the dropped features divided by their mean value.",
        ),
    ]
    gram = run.best("seed").W.sel(activation="relu", density=[1.0, 0.1, 0.01])
    rows = [
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
    return Part(claims, pictures, {"t1_represented": pd.DataFrame(rows)})


def small_polygons(config: Config, lab: Lab) -> tuple[SweepRun, pd.DataFrame]:
    """T2: n=5, m=2, importance 0.9^i: trained best-of-4 per seed, and the share of each geometry."""
    inputs = ss.SparseFeatures(5, importance=tuple(0.9**i for i in range(5)))
    sweep = ss.Sweep(ss.Bottleneck(5, 2), inputs, over={"density": densities(10)}, seeds=config.seed_range(lab), restarts=4)
    run = lab.train(sweep, config.recipe(2000), name="t2").best("restart")
    rows = []
    for p in run.W.density.values:
        for s in run.W.seed.values:
            kinds = sorted(c.kind for c in measure.geometry(run.W.sel(density=p, seed=s).values))
            rows.append({"density": float(p), "seed": int(s), "geometry": " + ".join(kinds) or "none"})
    return run, pd.DataFrame(rows)


def polygons(run: SweepRun, table: pd.DataFrame, passed: bool, linear: np.ndarray) -> Part:
    """T2: two orthogonal features, then two antipodal pairs, then the pentagon. linear: the same flags for linear models."""
    sparse = table[table.density == table.density.min()]
    shares = table.groupby(["density", "geometry"]).size().div(table.seed.nunique()).rename("share").reset_index()
    claim = stats.claim(
        "T2-pentagon",
        "At density 0.05 five features in two dimensions form a pentagon in at least 90% of seeds",
        stats.fraction(sparse.geometry == "pentagon"),
        ">= 0.9",
        stats.Arm("linear model", stats.fraction(linear), "without a ReLU nothing is gained by superposition"),
        passed,
    )
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
    return Part([claim], figures, {"t2_shares": shares})


def at_scale(config: Config, lab: Lab, passed: bool) -> tuple[Part, SweepRun]:
    """T5, T6: many equally important features. D* = m / ||W||_F^2 sticks at 1 and 1/2, D_i at the values of polytopes."""
    n, m = config.large_n, config.large_m
    grid = densities(config.large_points)
    inputs = ss.SparseFeatures(n)
    sweep = ss.Sweep(ss.Bottleneck(n, m), inputs, over={"density": grid}, seeds=config.seed_range(lab, config.large_seeds))
    run = lab.train(sweep, config.recipe(config.large_steps), name="t5")
    d, norm = measure.dimensionality(run.W), measure.norms(run.W)
    null = measure.dimensionality(measure.nulls.random_directions(run.W, seed=lab.seed))
    represented = norm > 0.5

    def near(values, tolerance: float) -> np.ndarray:  # (seed,) share of represented features near a level
        close = (np.abs(values.values[..., None] - np.array(LEVELS)) < tolerance).any(-1)
        dims = [values.dims.index("density"), values.dims.index("feature")]
        return (close & represented.values).sum(axis=tuple(dims)) / represented.values.sum(axis=tuple(dims))

    star = measure.dims_per_feature(run.W)
    middle = {"density": (run.W.density > 0.2) & (run.W.density < 0.5)}

    def at_half(values):  # (seed,) share of represented features on the digon plateau, in the middle densities
        part = values.where(represented).sel(middle)
        return ((np.abs(part - 0.5) < 0.01).sum(("density", "feature")) / part.notnull().sum(("density", "feature"))).values

    claims = [
        stats.claim(
            "T6-levels",
            "Over the whole sweep at least 90% of represented features have a dimensionality within 0.01 of a polytope's",
            stats.estimate(near(d, 0.01)),
            ">= 0.9",
            stats.Arm("random directions of the same norms", stats.estimate(near(null, 0.01))),
            passed,
            note=f"Levels {', '.join(f'{x:.3g}' for x in LEVELS)}; n={n}, m={m}, densities {grid[0]:g} to {grid[-1]:.3g}.",
        ),
        stats.claim(
            "T5-digons",
            "Between densities 0.2 and 0.5 most represented features sit within 0.01 of D = 1/2: antipodal pairs",
            stats.estimate(at_half(d)),
            ">= 0.5",
            stats.Arm("random directions of the same norms", stats.estimate(at_half(null))),
            passed,
        ),
    ]
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
    return Part(claims, figures, {"t5_scale": table}), run
