"""Problem 4.9: the ReLU output model when active values are uniform on [1/2, 1], and on [a, 1] in general.

Idea. U[0, 1] and {1} are the ends of one family, U[a, 1]. The gap (0, a) holds no values, so an output may have a negative
bias that cuts off interference without cutting off values: b down to about -a ||W||^2. With one feature on at a time this
makes polygons cheaper continuously (hexagon: 0.145, 0.057 and 0 of the loss of answering 0 at a = 0, 1/2, 1), at growing
norms. With several on at a time, 4.7 found that the kurtosis of the sparse feature decides how many are represented, and
kurtosis FALLS with a: 1.8, 1.14 and 1 over p. So U[1/2, 1] should lie between its ends, but on which side of the middle, and
where do plateaus melt?

Set-up. (a) n = 3..8 features in m = 2 dimensions with at most one on, for every a. (b) n features in m dimensions over
density, for every a, at one second moment. Seeds are paired across a and are the unit of replication.

Criteria, fixed before any network was trained on a law of this page other than {1} and U[0, 1]. Taken over:
polygons within 2 % of theory; represented features ordered {1} > U[1/2, 1] > U[0, 1], read as by more than 0.02 of all. Ours:
occupancy of the 1/2 plateau falls with a (rank correlation at most -0.7), and at a = 1/2 it is closer to {1} than to U[0, 1],
since the hexagon has gone 60 % of the way by then; in the rare limit squared norms grow by at least 5 % from U[0, 1] to U[1/2,
1] (theory: pentagon 8.5 %, hexagon 13 %, heptagon 6.5 %) and more features are recovered. From the results of 4.7: equal
counts at equal kurtosis, within 0.05. After the first runs the gate was moved to the lowest density (see 4.7) and the density
grid was refined, since plateaus have sharp edges and move to lower densities as a grows.

Sources: Elhage et al. 2022 (TMS, arXiv 2209.10652); Chen et al. 2023 (arXiv 2310.06301) for 1-sparse losses; Scherlis et al.
2022 (arXiv 2210.01892) for kurtosis. Loss: sum over features, mean over samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from superscope import plots
from superscope.evidence.expect import Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms
from superscope.evidence.wording import answer, percent
from superscope.lab import Lab
from superscope.studies.value_laws import corners as corner
from superscope.studies.value_laws import figures as draw
from superscope.studies.value_laws import laws as value
from superscope.studies.value_laws import polygons as polygon
from superscope.studies.value_laws import shifts as shift

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import xarray as xr

PROBLEM = "4.9"
TITLE = "Features that are never small when on"
QUESTION = "If active values are uniform on [1/2, 1], so that on and off are well separated, how does the packing change?"
ASSUMPTIONS = [
    "Between U[0, 1] and {1} the lower end a is moved and the density is flat: one of many ways to separate on from off.",
    "All features are independent, equally dense and equally important, and all laws have the same second moment.",
    "A feature is on the plateau if its dimensionality is within 0.02 of 1/2 and its norm exceeds one half.",
    "Seeds share the stream of training points, so they replicate the initialisation and not the data.",
]
DISANALOGIES = [
    "The gap between off (exactly 0) and on (at least a) is perfectly clean. Noise on inactive features would close it.",
    "All features have the same a. A network with gaps of several widths may give the clean features the crowded places.",
    "The decoder is asked for the value. If only 'on or off' mattered, U[1/2, 1] could be thresholded at once, as binary.",
    "Small values are rare here by decree; in a trained network their frequency is itself learned and may respond to packing.",
]

UNIFORM, HALF, BINARY = "U[0, 1]", "U[0.5, 1]", "{1}"


@dataclass(frozen=True)
class Config(value.Sizes):
    """Sizes of the polygons and of the wide bottleneck, and the family of laws."""

    lows: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)  # lower ends a of U[a, 1]; 0, 0.5 and 1 are needed


PRESETS = {
    "quick": Config(n_features=60, n_hidden=6, plateau_densities=12, polygon_restarts=8),
    "standard": Config(**{**value.SIZES["standard"], "n_features": 100, "n_hidden": 10, "other_size": (200, 20)},
                       lows=(0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0)),
    "full": Config(**value.SIZES["full"], lows=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)),
}  # fmt: skip


def named(low: float) -> str:
    """How a law of the family is called."""
    return f"U[{low:g}, 1]" if low < 1 else BINARY


FALL, TO_BINARY = "fall to U[0.5, 1]", "fall to {1}"
EXPECTED = [
    Expect(
        "polygons", "With values in [1/2, 1] trained networks reach the loss of the best polygon",
        "off", f"<= {polygon.TOLERANCE}", of=HALF, null="trained on U[0, 1], against the theory of U[1/2, 1]",
        plant="best polygon by hand",
        why="Null: thresholds for values down to 0. Plant: the polygon of theory, turned, each weight off by 0.1 %.",
        note="Per seed: the largest relative distance over n from the best k-gon.",
    ),
    Expect(
        "plateau-falls", "The further the values are from 0, the fewer features sit on the antipodal plateau D = 1/2 (rank "
        "correlation "
        "with a)", "falls", "<= -0.7", of="all laws", null="a shuffled", plant="planted fall",
        why="Null: the same shares at the wrong a. Plant: a share that falls in a straight line, with the seeds' scatter.",
        note="Share of represented features, averaged over log density.",
    ),
    Expect(
        "past-the-middle", "At a = 1/2 the occupancy of the plateau has gone more than half of the way from U[0, 1] to {1}",
        "fall", "> 0.5", of=f"{FALL} / {TO_BINARY}", null=f"U[0, 1], half against half / {TO_BINARY}, half of the seeds",
        plant=f"three quarters of it / {TO_BINARY}", why="Null: the same law twice. Plant: three quarters of the way, off by "
        "a tenth.",
    ),
    Expect(
        "more-than-uniform", f"More features are represented (norm > 1/2) with U[1/2, 1] than with U[0, 1], by more than "
        f"{value.COUNT_MARGIN} "
        "of all", "represented", f"> {value.COUNT_MARGIN}", of=f"{HALF} - {UNIFORM}",
        null=f"{UNIFORM}, half of the seeds - {UNIFORM}, other half", plant=f"{UNIFORM} - {UNIFORM}, a fifth removed",
        why="Null: the same law twice. Plant: a fifth of the features gone.",
        note="The order that the reference sheet expects; kurtosis predicts the reverse.",
    ),
    Expect(
        "fewer-than-binary", f"More features are represented with {{1}} than with U[1/2, 1], by more than "
        f"{value.COUNT_MARGIN} of all",
        "represented", f"> {value.COUNT_MARGIN}", of=f"{BINARY} - {HALF}", null=f"{HALF}, half of the seeds - {HALF}, other "
        f"half",
        plant=f"{HALF} - {HALF}, a fifth removed", why="Null: the same law twice. Plant: a fifth of the features gone.",
        note="The order that the reference sheet expects; kurtosis predicts the reverse.",
    ),
    Expect(
        "kurtosis", "At equal kurtosis of the sparse feature U[1/2, 1] and U[0, 1] represent equally many (within "
        f"{value.KURTOSIS_MARGIN:.0%})", "mismatch", f"<= {value.KURTOSIS_MARGIN}",
        of="at equal kurtosis", null="at equal density", plant="ruled by kurtosis",
        why="Null: the same counts compared at equal density. Plant: counts that depend on kurtosis alone, with the seeds' "
        "scatter.",
        note="Mean distance of the counts over n. Prediction from the results of 4.7.",
    ),
    Expect(
        "norms-grow", "At the lowest density squared norms are at least 5 % larger with U[1/2, 1] than with U[0, 1]",
        "square norm when rare", ">= 1.05", of=f"{HALF} / {UNIFORM}",
        null=f"{UNIFORM}, half of the seeds / {UNIFORM}, other half", plant=f"{UNIFORM}, norms grown / {UNIFORM}",
        why="Null: the same law twice. Plant: weights a fifth larger.", note="Mean squared norm of the represented features.",
    ),
    Expect(
        "rare-regime", f"At the lowest density more features are recovered with U[1/2, 1] than with U[0, 1], by more than "
        f"{value.COUNT_MARGIN} of all", "recovered when rare", f"> {value.COUNT_MARGIN}", of=f"{HALF} - {UNIFORM}",
        null=f"{UNIFORM}, half of the seeds - {UNIFORM}, other half", plant=f"{HALF} - {HALF}, a fifth removed",
        why="Null: the same law twice. Plant: a fifth of the features gone.",
    ),
    *shift.expectations(),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Polygons and the wide bottleneck for every lower end."""
    missing = {0.0, 0.5, 1.0} - set(config.lows)
    if missing:
        raise ValueError(f"lows={config.lows}: the claims compare a = 0, 0.5 and 1, and {min(missing):g} is not among them")
    laws = {named(low): value.uniform_from(low) for low in sorted(config.lows)}
    polygons = polygon.train(laws, config, lab)
    wide = value.wide(laws, config, lab)
    data = value.counts(wide, laws)
    main = config.main(data)
    parts = [
        polygon_rows(polygons, config, lab),
        plateau_rows(main, config, lab),
        value.law_rows(wide, data, laws, config, lab, (UNIFORM, HALF)),
        value.kurtosis_rows(main, laws, HALF, UNIFORM, lab),
    ]
    table = arms(*parts)
    some = {law: laws[law] for law in (UNIFORM, HALF, BINARY)}
    shifts = shift.rows(main, shift.second_size(some, config, lab), laws, [HALF, BINARY], lab)
    parts.append(shifts)
    passed = gate(value.learned(data, config), value.GATE)
    melted = melting_point(main, config)
    mean = table.groupby("arm").fall.mean()
    return Findings(
        passed,
        judge(parts, EXPECTED, passed),
        figures(polygons, data, laws, melted, config),
        {"arms": table, "polygons": polygons.table, "counts": draw.count_table(data), "levels": draw.level_table(data),
         "shifts": shift.predictions(laws, [HALF, BINARY], shifts)},
        summary(data, melted),
        answer(
            "Values kept away from zero melt the antipodal plateau: at one half it has gone {way} of the way to on-or-off "
            "features.",
            way=percent(mean[FALL] / mean[TO_BINARY]),
        ) if mean[TO_BINARY] > 0 else "",
    )  # fmt: skip


def polygon_rows(polygons: polygon.Polygons, config: Config, lab: Lab) -> pd.DataFrame:
    """Trained polygons against theory, the laws exchanged, and polygons built by hand."""
    seeds, half = lab.seeds(config.polygon_seeds), value.uniform_from(0.5)
    return arms(
        arm(HALF, seeds, off=polygons.off(HALF)),
        arm("trained on U[0, 1], against the theory of U[1/2, 1]", seeds, off=polygons.off(UNIFORM, HALF)),
        arm("best polygon by hand", seeds, off=polygon.by_hand(half, config.polygon_sizes, seeds, lab)),
    )


def plateau_rows(main: xr.Dataset, config: Config, lab: Lab) -> pd.DataFrame:
    """How the antipodal plateau goes away between a = 0 and a = 1."""
    lows, rng, noise = sorted(config.lows), np.random.default_rng(lab.seed), lab.rng("planted fall")
    held = np.stack([value.per_seed(main, "plateau", named(low)) for low in lows], axis=1)  # (seed, law)
    falls, shuffled = (
        np.array([value.rank_correlation(order(lows), row) for row in held]) for order in (np.asarray, rng.permutation)
    )
    line = held.mean(0)[0] + (np.array(lows) - lows[0]) / (lows[-1] - lows[0]) * (held.mean(0)[-1] - held.mean(0)[0])
    planted = line + held.std(axis=0, ddof=1) * noise.standard_normal(held.shape)
    start, half, end = (value.per_seed(main, "plateau", law) for law in (UNIFORM, HALF, BINARY))
    seeds, middle = main.seed.values, len(start) // 2
    three_quarters = 0.75 * (start - end) * (1 + 0.1 * noise.standard_normal(len(start)))
    return arms(
        arm("all laws", seeds, falls=falls),
        arm("a shuffled", seeds, falls=shuffled),
        arm("planted fall", seeds, falls=[value.rank_correlation(lows, row) for row in planted]),
        arm(FALL, seeds, fall=start - half),
        arm(TO_BINARY, seeds, fall=start - end),
        arm("three quarters of it", seeds, fall=three_quarters),
        arm("U[0, 1], half against half", seeds[:middle], fall=start[:middle] - start[middle : 2 * middle]),
        arm(f"{TO_BINARY}, half of the seeds", seeds[:middle], fall=(start - end)[:middle]),
    )


def melting_point(main: xr.Dataset, config: Config) -> np.ndarray:
    """(seed,) the a at which the plateau first holds half of what it holds at a = 0, linear between the laws of the sweep."""
    lows = np.array(sorted(config.lows))
    held = np.stack([value.per_seed(main, "plateau", named(low)) for low in lows], axis=1)
    found = []
    for row in held:
        below = np.flatnonzero(row <= row[0] / 2)
        if row[0] <= 0 or not len(below):
            found.append(np.nan)
            continue
        k = int(below[0])
        found.append(float(np.interp(row[0] / 2, row[[k, k - 1]], lows[[k, k - 1]])))
    return np.array(found)


def figures(polygons: polygon.Polygons, data: xr.Dataset, laws: value.Laws, melted: np.ndarray, config: Config) -> list[Figure]:
    lows, main = sorted(config.lows), config.main(data)
    size = f"n={config.n_features}, m={config.n_hidden}, {config.seeds} seeds"
    few, many = (6 if 6 in config.polygon_sizes else min(config.polygon_sizes)), max(config.polygon_sizes)
    frames: list[corner.Frame] = [(f"{low:g}", ((named(low), few), (named(low), many))) for low in lows]
    held = config.plateaus(data)["plateau"].mean("seed").transpose("density", "values")
    by_name = [named(low) for low in lows]
    return [
        Figure(
            "corners",
            corner.corners(polygons, frames, "smallest value a = ", first=lows.index(0.5)),
            "The hidden layer with one feature on (units: largest value), as a grows. Bar: where a feature can be; tinted "
            "cap of the same colour: where its output answers; dotted: unit circle. A cap need not reach further in than the "
            "near end of its bar, and what it does not reach it does not catch.",
        ),
        Figure(
            "melting",
            draw.level_curves(main, dict(zip(by_name, lows, strict=True)), "smallest value a over largest"),
            "Shares of represented features near 1/2, 2/5 and 3/8, averaged over log density. The 1/2 plateau holds half of "
            f"what it holds at a = 0 when a = {average(melted)} (mean over seeds; {size}).",
        ),
        Figure(
            "plateau-map",
            plots.phase_diagram(held.values, lows, held.density.values, log_y=True, x_title="smallest value a",
                                y_title="density p", z_title="share at 1/2"),
            f"Where the antipodal plateau is, over density and a ({size}).",
        ),
        Figure(
            "polygon-losses",
            polygon_figure(polygons, lows),
            "Loss with one feature on, as a share of that of answering 0, over the smallest value a. Lines: best polygon in "
            f"theory; symbols: {config.polygon_seeds} seeds, best restart each.",
        ),
        Figure(
            "kurtosis",
            draw.kurtosis_curves(data, laws),
            f"Features with norm > 1/2, over density and over the kurtosis of the sparse feature ({size}).",
        ),
        Figure(
            "cost",
            draw.cost_curves(data, by_name, UNIFORM),
            "Loss of each law relative to U[0, 1] at the same density, both as shares of the loss of answering 0; bands: "
            "range over seeds. Below 1 the law is the cheaper one.",
        ),
    ]  # fmt: skip


def average(values: np.ndarray) -> str:
    """Mean of what is finite, in words."""
    return f"{np.nanmean(values):.2g}" if np.isfinite(values).any() else "none of those tried"


def polygon_figure(polygons: polygon.Polygons, lows: list[float]) -> go.Figure:
    """1-sparse loss over a, one line per n > 4 (below it is 0)."""
    table = polygons.table.assign(a=polygons.table.law.map({named(low): low for low in lows}))
    return corner.theory_and_seeds(table[table.n > 4], "a", "n", "smallest value a over largest", "n = ")


def summary(data: xr.Dataset, melted: np.ndarray) -> str:
    """Where the plateau has melted by half, and where the order of the laws turns."""
    return (
        f"The antipodal plateau is down to half of its size at a = {average(melted)}. The loss of U[1/2, 1] "
        f"falls below that of U[0, 1] at a density of {average(value.crossing(data, HALF, UNIFORM))}."
    )
