"""Problem 4.18: a network without a definite number of features.

Three ReLU output models (TMS, tied weights) are read by the same counting rules (`measure.counting`): the shortest two-part
description at a resolution, the elbow of the distortion curve, and exp(entropy) of the atoms (arXiv 2512.13568).
A. Control: 20 discrete features, one on at a time, in 8 dimensions. The count must be 20 whatever the resolution: the "bounce"
of the description length at the true number (Bricken et al., May 2023).
B. Ring (Olah & Batson, May 2023): detectors on a circle, x_phi = a cos((phi - theta) / l) for |phi - theta| <= l pi/2. A
circle in the plane cut into K arcs has distortion (2 pi / K)^2 / 12, and the shortest code then has K ~ 1 / resolution: no
number to find.
C. Self-similar tree: a leaf switches on all its ancestors, sizes s^level. Does the network follow the regress of ever smaller
features, or stop at a level?
The counts of B are about the data: through any map that does not lose the ring they grow without end, so they are also taken
through untrained weights and through a perfect polygon. What was learned is asked next.
Does the ring stay continuous? Narrow bumps break it up; whether that is the optimum or a failed search is decided by a warm
start from the continuous ring against the best of 50 random starts.

Thresholds from the reference sheet: 10 % of the true number, R^2 >= 0.99 over two decades of size, coefficient of
variation 5 %. Loss: sum over detectors, mean over the angle, amplitude uniform on [0, 1] (tree: 1), exact grids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from superscope import plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.evidence.stats import Claim
from superscope.lab import Lab
from superscope.measure.activations import counting
from superscope.toys.ring import (
    Points,
    bump,
    continuous,
    expected_loss,
    initial,
    linear_loss,
    polygon,
    ring_points,
    ring_start,
    shot_noise,
    train,
    tree_paths,
    unevenness,
)

PROBLEM = "4.18"
TITLE = "No definite number of features"
QUESTION = "Is there a network whose number of features has no answer: every estimate keeps growing with resolution?"
ASSUMPTIONS = [
    "Counting is vector quantisation: one feature (one angle, one leaf) at a time, read at full amplitude and without noise, "
    "so the discrete control is an easy case for it.",
    "The widths, the small initial weights, the tree's ratio and the margins were chosen after exploratory runs on other "
    "networks (16 seeds) that also showed the outcomes to expect: the ring continuous at l = 0.5 and broken up below l = 0.3, "
    "the warm start ahead at l = 0.15 and 0.2, the tree cut off at a level. Rules were fixed then, before any network of this "
    "study was trained.",
    "A first run of this study had 1200 steps and one start a seed for the rings; then the biases of the narrow rings were "
    "still moving, so training was lengthened and every seed keeps the better of two starts.",
    "With ordinary initial weights and a high learning rate many detectors die and every ring looks discrete, which is why "
    "weights start small.",
]
DISANALOGIES = [
    "That the ring's count grows with resolution is a statement about ring data read through any map that does not lose the "
    "ring, and not about what was learned: untrained weights and a perfect octagon of columns have no plateau and a straight "
    "distortion law too. Of the claims on the ring only those on continuity and on the search are about training.",
    "The ring has no number of features because the data have none; that a network keeps a continuum continuous is a weaker "
    "finding than a network that makes one out of discrete data.",
    "A circle is one feature of another kind: 'one two-dimensional feature' counts it without any trouble (Engels et al., "
    "arXiv 2405.14860). What has no answer is the number of directions.",
    "With 64 detectors the output is discrete after all; a reader who looks at weights finds 64 columns.",
    "In real models readers see noise. Resolution then has a floor and every count a ceiling, so growth without end is a "
    "statement about an idealisation.",
]
OFFSET = 400  # the exploration used seeds 0-15
RESOLUTIONS = np.geomspace(0.2, 0.002, 13)


@dataclass(frozen=True)
class Config:
    features: int = 20  # A
    dimensions: int = 8
    detectors: int = 64  # B, in the plane
    widths: tuple[float, ...] = (1.0, 0.5, 0.35, 0.25, 0.18)  # must hold 0.5
    depth: int = 6  # C
    ratio: float = 0.707
    tree_dimensions: tuple[int, int] = (2, 4)
    steps: int = 1200
    samples: int = 2000  # angles that are counted
    restarts: int = 2  # of the rings; with the seeds 50 random starts at every width
    ring_steps: int = 2500
    seeds: int = 25

    def __post_init__(self) -> None:
        if 0.5 not in self.widths:
            raise ValueError(f"widths={self.widths}: expected 0.5 among them, the width at which atoms are counted; add it")
        if self.seeds < 2:
            raise ValueError(f"seeds={self.seeds}: expected at least 2, since controls compare two halves of the seeds")


PRESETS = {
    "quick": Config(),
    "standard": Config(
        detectors=128, widths=(1.0, 0.5, 0.35, 0.3, 0.25, 0.2), depth=8, steps=4000, samples=3000, restarts=3, ring_steps=5000
    ),
    "full": Config(
        detectors=200, widths=(1.0, 0.7, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15), depth=10, steps=20_000,
        samples=4000, restarts=8, ring_steps=20_000, seeds=48
    ),
}  # fmt: skip


def count(codes: np.ndarray, largest: int) -> dict[str, np.ndarray]:
    """Every counter on codes (net, P, m): shortest (net, resolution); elbow, effective, slope, fit (net,);
    distortion (net, K)."""
    found = [counting.dictionaries(h, largest) for h in codes]
    law = np.array([counting.power_law(f, 4, 400) for f in found])
    return {
        "shortest": np.array([counting.shortest(f, RESOLUTIONS) for f in found]),
        "elbow": np.array([counting.elbow(f) for f in found]), "effective": np.array([counting.effective(f) for f in found]),
        "slope": law[:, 0], "fit": law[:, 1], "distortion": np.array([f.distortion for f in found]),
    }  # fmt: skip


def agreement(counts: dict[str, np.ndarray]) -> np.ndarray:
    """(net,) largest over smallest of the three counts, the description length at the middle resolution."""
    three = np.stack([counts["shortest"][:, len(RESOLUTIONS) // 2], counts["elbow"], counts["effective"]])
    return three.max(0) / three.min(0)


def run(config: Config, lab: Lab) -> Findings:
    """Train the three models and the warm starts, count, judge."""
    seeds = [lab.seed * 1000 + OFFSET + i for i in range(config.seeds)]
    n, narrow = config.detectors, config.widths[-2:]

    def fit(key: str, points: Points, start: tuple[np.ndarray, np.ndarray], steps: int) -> tuple[np.ndarray, np.ndarray]:
        w, b = lab.unit(key, lambda: train(points, start, steps, lab.seed))
        return np.array(w), np.array(b)

    def discrete_points(rng: np.random.Generator) -> np.ndarray:
        return np.tile(np.eye(config.features), (4, 1)) * rng.random((4 * config.features, 1))

    grid = 2 * np.pi * (np.arange(4 * n) + 0.5) / (4 * n)
    paths, one = tree_paths(config.depth, config.ratio), np.eye(config.features)
    discrete = fit("discrete", discrete_points, initial(seeds, config.dimensions, config.features), config.steps)
    trees = {
        m: fit(f"tree-{m}", lambda rng: paths, initial(seeds, m, paths.shape[1]), config.steps) for m in config.tree_dimensions
    }
    rings, ring_loss, warm, warm_loss = {}, {}, {}, {}
    for width in config.widths:
        points, patterns = ring_points(width, n), bump(grid, width, n)
        w, b = fit(f"ring-{width}", points, initial(seeds, 2, n, config.restarts), config.ring_steps)
        losses = expected_loss(w, b, patterns, True).reshape(config.seeds, -1)
        best = losses.argmin(1) + config.restarts * np.arange(config.seeds)
        rings[width], ring_loss[width] = w[best], losses.min(1)
        if width in narrow:
            w, b = fit(f"warm-{width}", points, ring_start(seeds, width, n), config.ring_steps)
            warm[width], warm_loss[width] = w, expected_loss(w, b, patterns, True)

    against = {
        "discrete": np.median(expected_loss(*discrete, one, True)) / linear_loss(one, config.dimensions, True),
        "ring": np.median(ring_loss[0.5]) / linear_loss(bump(grid, 0.5, n), 2, True),
        **{
            f"tree-{m}": np.median(expected_loss(*net, paths, False)) / linear_loss(paths, m, False) for m, net in trees.items()
        },
    }
    gate = Gate("Every model has a lower loss than the best affine network of its rank", max(against.values()) < 1,
                {f"loss over affine, {k}": float(v) for k, v in against.items()})  # fmt: skip

    rng = np.random.default_rng([lab.seed, 3])
    draws = rng.integers(config.features, size=config.samples // 2)
    theta = rng.uniform(0, 2 * np.pi, config.samples)
    counts = {
        "discrete": count(np.swapaxes(discrete[0], 1, 2)[:, draws], config.samples // 2),
        "ring": count(bump(theta, 0.5, n) @ np.swapaxes(rings[0.5], 1, 2), config.samples // 2),
        **{f"tree, m = {m}": count(paths @ np.swapaxes(w, 1, 2), len(paths)) for m, (w, _) in trees.items()},
    }
    seen = bump(theta, 0.5, n)
    bare = {
        "untrained weights": count(seen @ np.swapaxes(initial(seeds, 2, n)[0], 1, 2), config.samples // 2),
        "a perfect octagon": count(seen @ np.swapaxes(polygon(n, 8), 1, 2), config.samples // 2),
    }
    bar = shot_noise(n, lab.seed)
    shares = {width: continuous(w, bar) for width, w in rings.items()}
    best_start = {}
    for width, loss in warm_loss.items():
        kind = "itself continuous" if shares[width][ring_loss[width].argmin()] else "not continuous"
        rest = ring_loss[width][~shares[width]]
        ratio = f"against the best of these the ratio is {loss.mean() / rest.min():.4f}" if len(rest) else "so are all others"
        ended = f"{len(rest)} of {len(shares[width])} seeds end not continuous"
        best_start[width] = f"The best random start is {kind}; " + (f"{ended}, and {ratio}." if len(rest) else f"{ratio}.")
    claims = judge(config, counts, bare, shares, warm_loss, ring_loss, best_start, bar, gate.passed)

    rows = [
        {"width l": width, "start": kind, "median CV": np.median(unevenness(w)), "continuous": continuous(w, bar).mean(),
         "lowest loss": loss[width].min(), "median loss": np.median(loss[width]),
         "lowest over affine": loss[width].min() / linear_loss(bump(grid, width, n), 2, True)}
        for kind, nets, loss in (("random", rings, ring_loss), ("continuous ring", warm, warm_loss))
        for width, w in nets.items()
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    curve = pd.DataFrame(
        [
            {"model": name, "1 / resolution": 1 / r, "atoms": np.median(k), "low": k.min(), "high": k.max()}
            for name, c in counts.items() for r, k in zip(RESOLUTIONS, c["shortest"].T, strict=True)
        ]
    )  # fmt: skip
    ends = counts["ring"]["shortest"][:, [0, -1]].mean(0)
    deep = {m: np.median(counts[f"tree, m = {m}"]["shortest"][:, -1]) for m in config.tree_dimensions}
    tree_text = ", ".join(f"{v:g} atoms with m = {m}" for m, v in deep.items())
    warm_text = " ".join(
        f"At l = {k:g} {shares[k].mean():.0%} of random starts end continuous, and the warm ring has "
        f"{warm_loss[k].mean() / ring_loss[k].min():.3f} of the loss of the best random start. {best_start[k]}"
        for k in narrow
    )  # fmt: skip
    summary = (
        f"The discrete control counts {np.median(counts['discrete']['shortest']):g} atoms at every resolution. Ring data "
        f"read through the trained network need {ends[0]:.0f} at resolution {RESOLUTIONS[0]:g} and {ends[1]:.0f} at "
        f"{RESOLUTIONS[-1]:g}, a power of {np.mean(growth(counts['ring'])):.2f}: the data have no number, read through any "
        f"map that does not lose the ring ({', '.join(f'{k}: {np.mean(growth(c)):.2f}' for k, c in bare.items())}); this "
        f"says nothing of what was learned. The self-similar tree does not follow its regress: "
        f"{tree_text} at the finest resolution, of {len(paths)} leaves. {warm_text}"
    )
    return Findings(gate, claims, draw(config, counts, curve, rings, table), {"rings": table, "counts": curve}, summary)


def growth(counts: dict[str, np.ndarray]) -> np.ndarray:
    """(net,) power with which the count grows with 1 / resolution."""
    return np.polyfit(np.log(1 / RESOLUTIONS), np.log(counts["shortest"]).T, 1)[0]


def judge(config: Config, counts, bare, shares, warm, random, best_start, bar: float, passed: bool) -> list[Claim]:
    """All claims; counts[model] and bare[map without learning] as in `count`, shares[width] (seed,), losses warm[width] and
    random[width] (seed,), best_start[width] a sentence."""
    near = {k: (np.abs(c["shortest"] / config.features - 1) <= 0.1).all(1) for k, c in counts.items()}
    flat = {k: np.array([counting.plateau(row) for row in c["shortest"]]) for k, c in counts.items()}
    small, large = (np.log2(counts[f"tree, m = {m}"]["shortest"][:, -1]) for m in config.tree_dimensions)
    narrow, kept = config.widths[-1], f"tree, m = {config.tree_dimensions[1]}"
    half = config.seeds // 2
    known, starts = f"{config.features} discrete features", config.seeds * config.restarts

    def control(values: np.ndarray) -> stats.Arm:
        return stats.Arm(known, stats.estimate(values))

    def anyway(measure) -> str:
        found = "; ".join(f"{k}: {v.mean():.3g}" + (f" ({v.min():.3g} ... {v.max():.3g})" if len(v) > 1 else "")
                          for k, v in ((k, measure(c)) for k, c in bare.items()))  # fmt: skip
        return (
            "About ring data read through any map that does not lose the ring, not about what was learned. Without "
            f"learning: {found}. Stated as a finding about the network in earlier runs, before these were measured."
        )

    return [
        stats.claim(
            "count-found", "Where there is a number it is found: shortest description within 10 % of it at every resolution",
            stats.fraction(near["discrete"]), ">= 0.8", stats.Arm("ring", stats.fraction(near["ring"])), passed,
            note=f"{len(RESOLUTIONS)} resolutions, {RESOLUTIONS[0]:g} ... {RESOLUTIONS[-1]:g} of the root mean square.",
        ),
        stats.claim(
            "estimators-agree", "Description length, elbow and exp(entropy) agree on it within 10 % (largest over smallest)",
            stats.estimate(agreement(counts["discrete"])), "<= 1.1",
            stats.Arm("ring", stats.estimate(agreement(counts["ring"]))), passed,
        ),
        stats.claim(
            "ring-no-plateau", "Ring data through the network: no count holds (within 10 %) over more than a quarter of the "
            "resolutions", stats.estimate(flat["ring"]), "<= 0.25", control(flat["discrete"]), passed,
            note=anyway(lambda c: np.array([counting.plateau(row) for row in c["shortest"]])),
        ),
        stats.claim(
            "ring-grows", "Ring data through the network: the count grows as 1 / resolution (power)",
            stats.estimate(growth(counts["ring"])), "within [0.9, 1.1]", control(growth(counts["discrete"])), passed,
            note="One, because a circle has one dimension. Every resolution has a shortest description; it moves. "
            + anyway(growth),
        ),
        stats.claim(
            "ring-power-law", "Ring data through the network: log distortion is linear in log size over two decades, 4 to 400 "
            "atoms (R^2)", stats.estimate(counts["ring"]["fit"]), ">= 0.99", control(counts["discrete"]["fit"]), passed,
            note=f"Slope {counts['ring']['slope'].mean():.3f}; a circle: -2. " + anyway(lambda c: c["fit"]),
        ),
        stats.claim(
            "tree-no-plateau",
            f"Self-similar tree in {config.tree_dimensions[1]} dimensions: no count holds over more than a quarter",
            stats.estimate(flat[kept]), "<= 0.25", control(flat["discrete"]), passed,
            note="Exploration had shown a sharp cut-off, so this was expected to be refuted.",
        ),
        stats.claim(
            "tree-grows",
            f"The tree's count rises with the width: {config.tree_dimensions[1]} dimensions have at least twice the count of "
            f"{config.tree_dimensions[0]} (log2 of the ratio)",
            stats.estimate_difference(large, small, paired=True), ">= 1",
            stats.Arm("same dimensions, first half of the seeds against the second",
                          stats.estimate_difference(small[:half], small[half:], paired=False)),
            passed, note="At the finest resolution. Two widths only: no law of the width follows. The control was changed "
            "after runs in which it compared the same values in another order, whose mean difference is 0 by construction.",
        ),
        stats.claim(
            "ring-continuous", "At l = 0.5 the ring is continuous: |dW/dphi| varies < 5 % and columns bunch less than chance",
            stats.fraction(shares[0.5]), ">= 0.8", stats.Arm(f"l = {narrow:g}", stats.fraction(shares[narrow])), passed,
            note=f"Bunching: largest Fourier coefficient of the column angles below {bar:.2f}, the 99th percentile of the "
            "maximum for independent angles. The lower loss of each seed's restarts; a first run without restarts and with "
            "half the steps had 88 %, undecided.",
        ),
        *(
            stats.claim(
                f"failed-search-{width:g}",
                f"At l = {width:g} the ring trained from a continuous start has a lower loss than the "
                f"best of {starts} random starts: what these end in is a failed search (ratio)",
                stats.estimate(warm[width] / random[width].min(), unit="perturbations"), "< 1",
                stats.Arm("one half of the random starts over the best of the other half",
                              stats.estimate(random[width][:half] / random[width][half:].min())), passed,
                note=f"Replicates are perturbations of the continuous start. {best_start[width]} The control was changed after "
                "runs in which random starts were divided by their own minimum, which cannot be below 1."
                + ("" if width == narrow else " Added after the first run, in which the best random start won at this width."),
            )
            for width in warm
        ),
    ]  # fmt: skip


def draw(config: Config, counts, curve: pd.DataFrame, rings, table: pd.DataFrame) -> list[Figure]:
    """Counts by resolution, distortion by size, the rings, evenness by width."""
    sizes = np.unique(np.geomspace(1, config.samples // 2, 40).round().astype(int))
    distortion = pd.DataFrame(
        [
            {"model": name, "atoms": k, "distortion": max(np.median(c["distortion"][:, k - 1]), counting.EXACT)}
            for name, c in counts.items() for k in sizes if k <= c["distortion"].shape[1]
        ]
    )  # fmt: skip
    rows = np.linspace(0, config.detectors, 32, endpoint=False).astype(int)
    frames = np.stack([w[0][:, rows] / np.linalg.norm(w[0], axis=0).max() for w in rings.values()])
    return [
        Figure(
            "counts",
            plots.lines_with_band(curve, "1 / resolution", "atoms", "model", "low", "high", log_x=True, log_y=True,
                                  roles={"discrete": "control", "ring": "treatment"}),
            "Atoms of the shortest description by resolution, median and range over seeds: flat for discrete features, a "
            "straight line for the ring, a cut-off for the tree.",
        ),
        Figure(
            "distortion",
            plots.lines_with_band(
                distortion, "atoms", "distortion", "model", log_x=True, log_y=True,
                roles={"discrete": "control", "ring": "treatment"},
            ),
            "Distortion (share of the mean square) by the number of atoms; values below 1e-9 are drawn there.",
        ),
        Figure(
            "rings", plots.feature_polygon(frames, sweep=list(rings), sweep_name="l"),
            "Columns of the first seed's ring (32 of them): evenly on a circle for wide bumps, bunched for narrow "
            "ones.",
        ),
        Figure(
            "evenness",
            plots.lines_with_band(table, "width l", "median CV", "start", y_title="median CV of |dW/dphi|",
                                  roles={"random": "treatment"}),
            "Unevenness of the ring by the width of its bumps, from random starts and from the continuous ring.",
        ),
    ]  # fmt: skip
