"""4.10: what changes when the ReLUs of the toy models become GELUs? Is GELU just a smoother ReLU?

Idea. GELU_s(z) = GELU(s z) / s walks from GELU (s=1) to ReLU (s=inf) without changing the slope at large z, so "smoother" has a
dial. Three places are watched while it turns: the phase boundary of two features in one dimension (TMS, T3), the sticky
dimensionalities of many features (T5, T6), and the absolute value model (T13).

GELU differs from ReLU where interference lives: just below zero, where ReLU is silent and GELU reaches -0.170 at z = -0.752.
With tied weights the scale of z is fixed by the feature itself, so this cannot be rescaled
away. "Just smoother" is made a claim about structure: the named phases and plateaus of one activation are those of the other.

Prior observations: Lad & Kostolansky (MIT, 2023) and a survey of 26 activations (LessWrong, March 2025) both report slightly
less superposition with GELU than with ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import superscope as ss
from superscope import measure, plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.lab import Lab
from superscope.measure import theory
from superscope.studies.tms.bottleneck import LEVELS
from superscope.studies.tms.neurons import half_absolute_neurons
from superscope.sweep import SweepRun

PROBLEM = "4.10"
TITLE = "GELU in place of ReLU"
QUESTION = (
    "Does a toy model with GELUs behave like the ReLU one with rounded corners, or are there phases only one of them has?"
)
ASSUMPTIONS = [
    "Inputs lie in [0, 1]. GELU has a scale of its own (its dip is at -0.75), so a different input scale is a different s.",
    "The best of several restarts stands for the optimum of each activation.",
    "A plateau counts as present when its share of represented features beats both 5% and twice that of random directions.",
]
DISANALOGIES = [
    "In a transformer GELU sits on the hidden layer of an MLP, not on an output that must equal the feature.",
    "LayerNorm before the MLP sets the scale of pre-activations there; here the trained weights are free to choose it.",
    "SiLU, GEGLU and SwiGLU, used by most current models, are not in this homotopy.",
]


BOUNDARY_RANGE = (0.6, 0.1)  # densities between which the phase boundary is looked for


@dataclass(frozen=True)
class Config:
    """Sizes of the three experiments."""

    sharpness: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0, np.inf)  # s of GELU_s, from GELU to ReLU
    ratio: float = 0.3  # importance of the lesser of two features: ReLU drops it near density 0.34
    boundary_points: int = 32  # densities on which the phase boundary is located
    phase_cells: int = 12  # cells per side of the phase diagrams of GELU and ReLU
    n: int = 60  # features of the large model
    m: int = 8  # its hidden dimensions
    densities: int = 6  # its densities, from 0.5 to 0.05
    seeds: int = 16  # seeds of every experiment
    steps: int = 2000  # training steps


PRESETS = {
    "quick": Config(),
    "standard": Config(boundary_points=64, phase_cells=24, n=120, m=12, densities=10, seeds=32),
    "full": Config(boundary_points=128, phase_cells=48, n=400, m=30, densities=16, seeds=32, steps=10_000),
}


def boundary(run: SweepRun) -> np.ndarray:
    """(..., seed) density below which both features are kept, from networks of n=2, m=1 with an axis "density".

    Halfway, in the logarithm, between the densest density with an antipodal pair and the next denser one.
    """
    w = run.W.transpose(..., "density", "seed", "hidden", "feature").values[..., 0, :]
    pair = theory.two_feature_phase(w[..., 0], w[..., 1]) == theory.PHASES.index("antipodal")
    grid = np.log(run.density.values)
    order = np.argsort(-grid)
    pair, grid = pair[..., order, :], grid[order]
    middle = np.concatenate([[grid[0]], (grid[1:] + grid[:-1]) / 2])
    return np.where(pair.any(axis=-2), np.exp(middle[np.argmax(pair, axis=-2)]), np.exp(grid[-1]))


def phase_boundaries(config: Config, lab: Lab, seeds: range, steps: int) -> np.ndarray:
    """(sharpness, seed) boundary at the configured importance ratio, tied weights.

    Untied weights are left out: with ReLU their optimum is not attained (a vanishing encoder weight with a growing decoder
    weight), so an encoder cannot tell which features are kept.
    """
    over = {"sharpness": list(config.sharpness), "density": ss.logspace(*BOUNDARY_RANGE, config.boundary_points)}
    inputs = ss.SparseFeatures(2, importance=(1.0, config.ratio))
    sweep = ss.Sweep(ss.Bottleneck(2, 1, activation="gelu"), inputs, over=over, seeds=seeds, restarts=12)
    return boundary(lab.train(sweep, ss.Recipe.fast(steps=steps), name="boundary").best("restart"))


def plateaus(run: SweepRun, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Per sharpness, level and seed: share of represented features within 0.01 of a polytope's D, trained and random."""
    represented = measure.norms(run.W) > 0.5
    shares = []
    for w in (run.W, measure.nulls.random_directions(run.W, seed=seed)):
        d = measure.dimensionality(w).where(represented)
        near = [
            (np.abs(d - level) < 0.01).sum(("density", "feature")) / represented.sum(("density", "feature")) for level in LEVELS
        ]
        shares.append(np.stack([x.transpose("sharpness", "seed").values for x in near], axis=1))
    return shares[0], shares[1]


def phases_present(config: Config, lab: Lab, seeds: range, steps: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Phase diagrams of n=2, m=1 per activation: most frequent phase (density, importance), and (seed, phase) presence.

    A phase is present when it covers at least 2% of the cells.
    """
    grid, ratios = ss.logspace(1, 0.01, config.phase_cells), ss.logspace(0.1, 10, config.phase_cells)
    over = {"density": grid, "importance": [(1.0, float(r)) for r in ratios]}
    maps, present = {}, {}
    for name in ("gelu", "relu", "identity"):
        sweep = ss.Sweep(
            ss.Bottleneck(2, 1, activation=name), ss.SparseFeatures(2), over=over, seeds=seeds, restarts=8, paired=False
        )
        w = lab.train(sweep, ss.Recipe.fast(steps=steps), name=f"phases-{name}").best("restart").W
        w = w.transpose("density", "importance", "seed", "hidden", "feature").values[..., 0, :]
        found = theory.two_feature_phase(w[..., 0], w[..., 1])
        maps[name] = np.apply_along_axis(lambda v: np.bincount(v, minlength=4).argmax(), -1, found)
        present[name] = np.stack([(found == k).mean(axis=(0, 1)) >= 0.02 for k in range(4)], axis=1)
    return maps, present


def absolute_value(config: Config, lab: Lab, seeds: range) -> SweepRun:
    """|x| with two neurons per feature (n=3, m=6), hidden GELU_s and ReLU output."""
    toy = ss.AbsoluteValue(3, 6, hidden_activation="gelu")
    inputs = ss.SparseFeatures(3, density=0.1, values=ss.SignedUniform())
    sweep = ss.Sweep(toy, inputs, over={"sharpness": list(config.sharpness)}, seeds=seeds, restarts=16)
    return lab.train(sweep, ss.Recipe.fast(steps=2 * config.steps), name="absolute").best("restart")


def run(config: Config, lab: Lab) -> Findings:
    """Turn the dial from GELU to ReLU in all three toys."""
    seeds = range(lab.seed * 1000, lab.seed * 1000 + config.seeds)
    sharp = list(config.sharpness)
    gelu, relu = sharp.index(min(sharp)), sharp.index(max(sharp))
    recipe = ss.Recipe.fast(steps=config.steps)

    grid = ss.logspace(0.5, 0.05, config.densities)
    toy = ss.Bottleneck(config.n, config.m, activation="gelu")
    large = lab.train(
        ss.Sweep(toy, ss.SparseFeatures(config.n), over={"sharpness": sharp, "density": grid}, seeds=seeds),
        recipe,
        name="large",
    )
    plain = float(theory.monosemantic_loss(config.n, config.m, float(grid[-1])))
    kept = np.asarray(measure.features_represented(large.sel(density=float(grid[-1])).W))
    share = large.loss.sel(density=float(grid[-1]), method="nearest").values / plain
    gate = Gate(
        "With either activation more sparse features are represented than there are dimensions, and superposition pays: the "
        "loss is below the best loss without it",
        bool(kept.min() > config.m and share.max() < 1),
        {
            "fewest features represented": float(kept.min()),
            "dimensions": config.m,
            "largest loss / best loss without superposition": float(share.max()),
        },
    )

    edges = phase_boundaries(config, lab, seeds, config.steps)
    shift = edges[gelu] / edges[relu]
    step = (BOUNDARY_RANGE[0] / BOUNDARY_RANGE[1]) ** (1 / (config.boundary_points - 1)) - 1
    half = len(seeds) // 2
    same = edges[relu][:half] / edges[relu][half : 2 * half]
    star = (
        measure.dims_per_feature(large.W).sel(density=float(grid[-1]), method="nearest").transpose("sharpness", "seed").values
    )
    ranks = np.arange(len(sharp))
    rng = np.random.default_rng(lab.seed)
    order = np.array([abs(spearmanr(ranks, column).statistic) for column in star.T])
    shuffled = np.array([abs(spearmanr(rng.permutation(ranks), column).statistic) for column in star.T])

    near, random = plateaus(large, lab.seed)
    there = (near >= 0.05) & (near >= 2 * random)  # (sharpness, level, seed)
    maps, present = phases_present(config, lab, seeds, config.steps)
    between = (there[gelu] != there[relu]).sum(axis=0) + (present["gelu"] != present["relu"]).sum(axis=1)
    neighbour = np.roll(np.arange(len(seeds)), 1)
    noise = (there[relu] != there[relu][:, neighbour]).sum(axis=0) + (present["relu"] != present["relu"][neighbour]).sum(axis=1)
    missing = between - noise
    linear_missing = (present["identity"] != present["relu"]).sum(axis=1) - (present["relu"] != present["relu"][neighbour]).sum(
        axis=1
    )

    absolute = absolute_value(config, lab, seeds)
    losses = absolute.loss.transpose("sharpness", "seed").values
    linear = 0.1 * (1 / 3 - 0.1 / 4)  # per feature: |x| answered by its mean, density 0.1
    unlearned = (
        (absolute.loss_per_feature.transpose("sharpness", "seed", "feature").values > 0.5 * linear).sum(-1).astype(float)
    )
    halves = half_absolute_neurons(absolute.W.values, absolute.W_out.values).sum(-1)  # (sharpness, seed)
    passed = gate.passed
    claims = [
        stats.claim(
            "boundary-shift",
            "With tied weights GELU needs sparser features to keep both: its phase boundary lies at least 5% lower in density "
            f"(importance ratio {config.ratio:g})",
            stats.estimate(shift, stat="median"),
            "<= 0.95",
            stats.Arm("ReLU against ReLU with other seeds", stats.estimate(same, stat="median"), "no shift but seed noise"),
            passed,
            note="After review the median and the densest density with a pair replaced the mean and the sparsest density "
            f"without one: one failed cell had moved a seed. Ratio of boundary densities, GELU / ReLU. The grid "
            f"resolves {step:.1%}.",
        ),
        stats.claim(
            "monotone",
            "Dimensions per feature move monotonically from the GELU value to the ReLU value as s grows (|rank correlation|)",
            stats.estimate(order),
            ">= 0.9",
            stats.Arm("s in shuffled order", stats.estimate(shuffled)),
            passed,
            note=f"D* at density {grid[-1]:.3g}, n={config.n}, m={config.m}. Ranks weigh "
            f"the flat tail of large s like the move "
            "before it; the curve below shows both.",
        ),
        stats.claim(
            "just-smoother",
            "GELU is just smoother: no more named phases and polytope levels differ between GELU and ReLU than between "
            "two ReLU seeds, within half a one",
            stats.estimate(missing),
            "within [-0.5, 0.5]",
            stats.Arm("linear model against ReLU (phases)", stats.estimate(linear_missing), "it lacks the antipodal phase"),
            passed,
            note="Phases of n=2, m=1 and levels of the large model present for one "
            "activation only, minus the same count between "
            "neighbouring ReLU seeds. Subtraction and margin were introduced after review: two ReLU seeds alone differ in "
            f"{noise.mean():.2g}. Phases or levels without a name here would not be noticed.",
        ),
        stats.claim(
            "absolute-unlearned",
            "With a hidden GELU training leaves |x| unlearned for at least one of three features that a ReLU learns (median)",
            stats.estimate(unlearned[gelu], stat="median"),
            ">= 1",
            stats.Arm("hidden ReLU", stats.estimate(unlearned[relu], stat="median")),
            passed,
            note="Replaced after review a claim on the loss, whose bar of 1e-6 was trivial. A feature is "
            "unlearned when its loss exceeds half of that of the best "
            "linear answer; best of 16 restarts. This is "
            "about training: GELU(kx) + GELU(-kx) tends to k|x|, so weights exist that come as close as one likes.",
        ),
    ]
    frame = pd.DataFrame(
        [
            {"s": s if np.isfinite(s) else 64.0, "boundary density": np.median(e), "lo": e.min(), "hi": e.max()}
            for s, e in zip(sharp, edges, strict=True)
        ]
    )
    stars = measure.dims_per_feature(large.W).transpose("sharpness", "density", "seed").values
    curve = pd.DataFrame(
        [
            {"density": float(p), "D*": row.mean(), "lo": row.min(), "hi": row.max(), "activation": label(s)}
            for s, block in zip(sharp, stars, strict=True)
            for p, row in zip(grid, block, strict=True)
        ]
    )
    table = pd.DataFrame(
        {
            "s": [label(s) for s in sharp],
            "boundary density": np.median(edges, axis=1),
            "D* sparse": star.mean(1),
            "share at D=1/2": near[:, LEVELS.index(0.5)].mean(1),
            "median loss |x|": np.median(losses, axis=1),
            "unlearned features of 3": np.median(unlearned, axis=1),
            "half-absolute neurons of 6": halves.mean(1),
        }
    )
    cells = [list(ss.logspace(0.1, 10, config.phase_cells)), list(ss.logspace(1, 0.01, config.phase_cells))]
    figures = [
        Figure(
            "boundary",
            plots.lines_with_band(
                frame, "s", "boundary density", lo="lo", hi="hi", log_x=True,
                x_title="sharpness s (64 stands for ReLU)", y_title="boundary density",
            ),
            f"Density below which the lesser of two features (importance {config.ratio:g}) is kept in a shared dimension; "
            f"median and range over {len(seeds)} seeds.",
        ),
        *(
            Figure(
                f"phases-{name}",
                plots.phase_diagram(
                    maps[name], *cells, categories=list(theory.PHASES), log_x=True, log_y=True,
                    x_title="importance of feature 2 relative to feature 1", y_title="density p",
                ),
                f"Phases of two features in one dimension with {name.upper()} (most frequent over seeds, best of 8 restarts).",
            )
            for name in ("gelu", "relu")
        ),
        Figure(
            "dims-per-feature",
            plots.lines_with_band(
                curve, "density", "D*", "activation", lo="lo", hi="hi", log_x=True,
                x_title="density p", y_title="D* = m / ||W||²",
            ),
            f"Dimensions per feature, n={config.n}, m={config.m}, while GELU_s sharpens to ReLU.",
        ),
        *(
            Figure(
                f"dimensionality-{label(sharp[k]).lower()}",
                plots.dimensionality_strip(
                    measure.dimensionality(large.W).transpose("sharpness", "density", "seed", "feature").values[k], list(grid),
                    x_title="density p",
                ),
                f"Dimensionality of every feature with {label(sharp[k])}; lines mark perfect polytopes.",
            )
            for k in (gelu, relu)
        ),
    ]  # fmt: skip
    verdict = next(c.verdict for c in claims if c.id == "just-smoother")
    summary = (
        f"GELU's phase boundary sits at {np.median(shift):.3g} of ReLU's density. 'Just smoother' is {verdict}: "
        f"{between.mean():.2g} named phases or levels differ between the two, {noise.mean():.2g} between seeds of ReLU alone. "
        f"Dimensions per feature at density {grid[-1]:.2g}: {star[gelu].mean():.2g} (GELU), {star[relu].mean():.2g} (ReLU)."
    )
    return Findings(gate=gate, claims=claims, figures=figures, tables={"homotopy": table}, summary=summary)


def label(s: float) -> str:
    """Name of GELU_s in legends."""
    return "ReLU" if np.isinf(s) else "GELU" if s == 1 else f"GELU_{s:g}"
