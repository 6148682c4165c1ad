"""4.18: a network without a definite number of features: an infinite regress of smaller ones, fractional ones, or a continuum.

Four data sets, one model each (y = ReLU(W^T W x + b), TMS). Discrete: 20 features in 8 dimensions, amplitudes U[0, 1], any
number on at once. Power law: 128 features in 8 dimensions, density .3 / k: does a network keep ever more of them, by ever
smaller parts? Tree: a leaf with all its ancestors, sizes s^level: does it follow the regress? Ring (Olah & Batson, May 2023):
detectors x_phi = a cos((phi - theta) / l) within l pi / 2, in the plane: is the code continuous, or does the network make a
number?

Two readings. Fractional: of the columns of W longer than a tenth of the longest, the share shorter than nine tenths; 0 where a
feature is there or is not. (Of correlated features a linear network has them as well, hence the tree's null.) Count: directions
at a resolution (`measure.activations.counting`), from activations or from columns of W; its growth as a power of 1 / angle is 0
for a number and 1 for a ring. The counter must find the 20 features of a trained network and of planted unequal directions with
noise at every angle (a gate).

That activations on a ring have no number is a property of the data, not of what was learned (untrained weights are in the
table: they squeeze the ring unevenly); the claims on rings are about columns, which are learned.
Loss: sum over features, mean over samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from superscope import plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms, retractions
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.measure.activations import counting
from superscope.toys import ring

PROBLEM = "4.18"
TITLE = "No definite number of features"
QUESTION = "Is there a network whose number of features has no answer: every estimate keeps growing with resolution?"
ASSUMPTIONS = [
    "A feature is a direction, whatever its amplitude, and it is sometimes on alone.",
    "A column of a tenth of the longest is there in part: below that nothing is said.",
    "Rings start from small weights: from ordinary ones many detectors die, and every ring looks discrete.",
]
DISANALOGIES = [
    "A circle is one feature of another kind: 'one two-dimensional feature' counts it (Engels et al., arXiv 2405.14860). "
    "What has no answer is the number of directions.",
    "With finitely many detectors every count of columns ends at their number.",
    "Readers of real models see noise. Resolution then has a floor, and growth without end is an idealisation.",
]
TIPS = ["Ask of every count whether untrained weights give it, too"]

DISCRETE, POWER, TREE, WIDE, NARROW = "discrete", "power law", "tree", "wide ring", "narrow ring"
PLANTED, SCALED, CIRCLE, OCTAGON = "planted directions", "columns scaled by rank", "noisy circle", "noisy uneven octagon"
UNTRAINED, LINEAR = "wide ring, untrained weights", "tree, linear network"
RETRACTED = [
    ("count-found, estimators-agree", "supported", "the counter held for one feature at a time and fixed amplitudes only: with "
     "U[0, 1] it counts 36 to 500 for 20 features, and pairs as features of their own"),
    ("ring-no-plateau, ring-grows, ring-power-law", "supported", "constants of ring data through any map, untrained ones too"),
    ("tree-no-plateau, tree-grows", "refuted", "by the same counter"),
    ("failed-search", "undecided", "about the search for a ring; not what is asked here"),
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """The data, the networks, and how much training."""

    features: int = 20
    dimensions: int = 8
    density: float = 0.05  # of the discrete features
    many: int = 128  # features of the power law, density .3 / k
    depth: int = 6  # of the tree
    ratio: float = 0.707
    tree_dimensions: int = 4
    detectors: int = 64  # of the ring, in the plane
    widths: tuple[float, float] = (0.5, 0.18)  # of bumps, wide and narrow
    seeds: int = 10
    restarts: int = 2
    steps: int = 2000
    points: int = 96  # a step
    samples: int = 2000  # activations that are counted
    noise: float = 0.02  # of planted columns


PRESETS = {
    "quick": Config(),
    "standard": Config(detectors=128, seeds=20, restarts=3, steps=8000, points=192, samples=4000),
    "full": Config(many=512, depth=9, detectors=200, seeds=40, restarts=8, steps=30_000, points=256, samples=6000),
}

GATE = [
    Check("The counter finds the features of a trained network at every angle", "largest error", "<= 0.1", DISCRETE),
    Check("and planted ones of unequal length, in noise", "largest error", "<= 0.1", PLANTED),
    Check("and no number on a ring", "growth", ">= 0.8", CIRCLE),
]
EXPECTED = [
    Expect(
        "fractional", "Power-law data give fractional features: at least a fifth of the columns are of middling length",
        "fractional", ">= 0.2", of=POWER, null=DISCRETE, plant=SCALED,
        constant="all equally frequent features are there in full",
        why="Null: equally frequent features. Plant: the power law's columns scaled by rank to the power -1/2, with noise.",
    ),
    Expect(
        "regress", "A tree is followed into ever smaller parts: at least a fifth of the columns are of middling length",
        "fractional", ">= 0.2", of=TREE, null=LINEAR, plant=SCALED,
        why="Null: the best linear network of the same rank on the same tree, whose columns are projections. Plant: the power "
        "law's columns scaled by rank, with noise.",
    ),
    Expect(
        "continuum", "A ring of wide bumps has no number of columns: their count grows with resolution",
        "growth of columns", ">= 0.8", of=WIDE, null=OCTAGON, plant=CIRCLE,
        why="Null: as many columns at eight corners. Plant: columns evenly on a circle; both with noise.",
    ),
    Expect(
        "makes-a-number", "Narrow bumps, as continuous, get a number all the same: the count of columns hardly grows",
        "growth of columns", "<= 0.3", of=NARROW, null=CIRCLE, plant=OCTAGON,
        why="Null: columns evenly on a circle. Plant: as many columns at eight uneven corners; both with noise.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Train one network a seed on every kind of data, read, judge."""
    seeds = list(lab.seeds(config.seeds))
    table = lab.unit("networks", partial(measured, config, seeds))
    passed = gate(table, GATE)
    mean = table.groupby("arm").mean(numeric_only=True)
    claims = judge(table, EXPECTED, passed)
    verdict = {claim.id: claim.verdict for claim in claims}
    return Findings(
        passed,
        claims,
        figures(table),
        {"arms": table, "retractions": retractions(RETRACTED)},
        answer=answer(
            "A continuum {can}: a ring's columns multiply as resolution to the {wide}. Power-law data {do}: {part} of features "
            "are partial.",
            can={"supported": "can", "refuted": "does not"}.get(verdict["continuum"], "may"),
            do={"supported": "do", "refuted": "do not"}.get(verdict["fractional"], "may"),
            wide=mean.loc[WIDE, "growth of columns"],
            part=mean.loc[POWER, "fractional"],
        ),
    )


def measured(config: Config, seeds: list[int]) -> pd.DataFrame:
    """One row a network."""
    rare = np.minimum(0.3 / np.arange(1, config.many + 1), 1)
    data = {
        DISCRETE: (ring.sparse(np.full(config.features, config.density)), config.dimensions, config.features),
        POWER: (ring.sparse(rare), config.dimensions, config.many),
        TREE: (ring.tree(config.depth, config.ratio), config.tree_dimensions, 2 ** (config.depth + 1) - 2),
        WIDE: (ring.ring(config.widths[0], config.detectors), 2, config.detectors),
        NARROW: (ring.ring(config.widths[1], config.detectors), 2, config.detectors),
    }
    w = {
        name: ring.train(points, seeds, m, n, config.restarts if m == 2 else 1, config.steps, config.points, 0.01)
        for name, (points, m, n) in data.items()
    }
    rngs = [np.random.default_rng([seed, 181]) for seed in seeds]
    length = np.linalg.norm(w[POWER], axis=1, keepdims=True)
    rank = 1 + (-length).argsort(-1).argsort(-1)
    w[SCALED] = noisy(w[POWER] / np.maximum(length, 1e-9) * rank**-0.5, config, rngs)
    w[CIRCLE] = noisy(np.array([ring.polygon(config.detectors, config.detectors)] * len(seeds)), config, rngs)
    w[OCTAGON] = noisy(np.array([ring.polygon(config.detectors, 8, rng) for rng in rngs]), config, rngs, 2.5)
    inputs = [data[TREE][0](rng, config.samples) for rng in rngs]
    w[LINEAR] = np.array([np.linalg.svd(x, full_matrices=False)[2][: config.tree_dimensions] for x in inputs])
    w[UNTRAINED] = np.array([rng.standard_normal((2, config.detectors)) for rng in rngs])
    drawn = [rng.standard_normal((config.features, config.features)) for rng in rngs]
    unequal = np.array([rng.uniform(0.5, 1.5, config.features) for rng in rngs])
    w[PLANTED] = noisy(np.array([np.linalg.qr(one)[0] for one in drawn]) * unequal[:, None], config, rngs)
    rows = [arm(name, seeds, fractional=ring.fractional(w[name])) for name in (DISCRETE, POWER, TREE, LINEAR, SCALED)]
    for name in (WIDE, NARROW, CIRCLE, OCTAGON):
        rows.append(arm(name, seeds, **spread([one.T for one in w[name]], "columns")))  # columns, then activations
    for name, points in ((DISCRETE, data[DISCRETE][0]), (PLANTED, data[DISCRETE][0]), (WIDE, data[WIDE][0]),
                         (CIRCLE, data[WIDE][0]), (UNTRAINED, data[WIDE][0])):  # fmt: skip
        found = spread([activations(points, one, config, seed) for one, seed in zip(w[name], seeds, strict=True)], "")
        counts = np.array([found[f"at {angle:g}"] for angle in counting.ANGLES])
        wrong = {} if name in (WIDE, CIRCLE, UNTRAINED) else {"largest error": np.abs(counts / config.features - 1).max(0)}
        rows.append(arm(name, seeds, **found, **wrong))
    return arms(*rows)


def noisy(w: np.ndarray, config: Config, rngs: list[np.random.Generator], times: float = 1.0) -> np.ndarray:
    """W (net, m, n) with noise in proportion to each column, `times` the usual."""
    noise = np.array([rng.standard_normal(w.shape[1:]) for rng in rngs])
    return w + times * config.noise * np.linalg.norm(w, axis=1, keepdims=True) * noise


def activations(points: ring.Points, w: np.ndarray, config: Config, seed: int) -> np.ndarray:
    """(samples, m) of inputs in which something is on."""
    x = points(np.random.default_rng([seed, 182]), 2 * config.samples)
    return x[(x > 0).any(1)][: config.samples] @ w.T


def spread(codes: list[np.ndarray], what: str) -> dict[str, np.ndarray]:
    """Counts at every angle and their growth (net,), of codes (net)(samples, m)."""
    counts = np.array([[counting.directions(h, angle) for angle in counting.ANGLES] for h in codes])
    at = f"{what} at" if what else "at"
    return {
        f"growth of {what}" if what else "growth": counting.growth(counts),
        **{f"{at} {angle:g}": counts[:, i] for i, angle in enumerate(counting.ANGLES)},
    }


def figures(table: pd.DataFrame) -> list[Figure]:
    """Counts by resolution, of columns and of activations; how fractional networks are."""
    rows = []
    for what, names in (("columns at", (WIDE, NARROW, CIRCLE, OCTAGON)), ("at", (DISCRETE, PLANTED, WIDE, UNTRAINED))):
        for name in names:
            for angle in counting.ANGLES:
                value = table[table.arm == name][f"{what} {angle:g}"].dropna()
                said = f"{name}, columns" if what != "at" else f"{name}, activations"
                rows.append(
                    {"1 / angle": 1 / angle, "count": value.mean(), "of": said, "low": value.min(), "high": value.max()}
                )
    shares = plots.figure(height=380, yaxis_title="share of columns of middling length")
    for name in (DISCRETE, POWER, TREE, LINEAR, SCALED):
        shares.add_box(y=table[table.arm == name]["fractional"].dropna().tolist(), name=name, boxpoints="all", showlegend=False)
    counted = plots.lines_with_band(pd.DataFrame(rows), "1 / angle", "count", "of", "low", "high", log_x=True, log_y=True)
    return [
        Figure("counts", counted, "Directions by resolution, mean and range over seeds: flat where there is a number."),
        Figure("fractional", shares, "Features that are neither there nor gone, as a share of those that are there at all."),
    ]
