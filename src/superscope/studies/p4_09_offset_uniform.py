"""Problem 4.9: the ReLU output model when active values are uniform on [1/2, 1], and on [a, 1] in general.

Idea. U[0, 1] and {1} are the ends of one family, U[a, 1]. The gap (0, a) holds no values, so an output may have a negative
bias that cuts off interference without cutting off values: b down to about -a ||W||^2. With one feature on at a time this
makes polygons cheaper continuously (hexagon: 0.145, 0.057 and 0 of the loss of answering 0 at a = 0, 1/2, 1), at growing
norms. With several on at a time, 4.7 found that the kurtosis of the sparse feature decides how many are represented, and
kurtosis FALLS with a: 1.8, 1.14 and 1 over p. So U[1/2, 1] should lie between its ends, but on which side of the middle, and
where do plateaus melt?

Set-up. (a) n = 3..8 features in m = 2 dimensions with at most one on, for every a. (b) n features in m dimensions over
density, for every a, at one second moment. Seeds are paired across a and are the unit of replication.

Criteria, fixed before any network was trained on a law of this page other than {1} and U[0, 1]. From the reference sheet:
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

from superscope import plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings
from superscope.lab import Lab
from superscope.studies.value_laws import corners as corner
from superscope.studies.value_laws import figures as draw
from superscope.studies.value_laws import laws as value
from superscope.studies.value_laws import polygons as polygon

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
    "standard": Config(**{**value.SIZES["standard"], "n_features": 100, "n_hidden": 10},
                       lows=(0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0)),
    "full": Config(**value.SIZES["full"], lows=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)),
}  # fmt: skip


def named(low: float) -> str:
    """How a law of the family is called."""
    return f"U[{low:g}, 1]" if low < 1 else BINARY


def run(config: Config, lab: Lab) -> Findings:
    """Polygons and the wide bottleneck for every lower end."""
    missing = {0.0, 0.5, 1.0} - set(config.lows)
    if missing:
        raise ValueError(f"lows={config.lows}: the claims compare a = 0, 0.5 and 1, and {min(missing):g} is not among them")
    laws = {named(low): value.uniform_from(low) for low in sorted(config.lows)}
    polygons = polygon.train(laws, config, lab)
    wide = value.wide(laws, config, lab)
    data = value.counts(wide, laws)
    gate = value.learned(data, config)
    melted = melting_point(config.main(data), config)
    claims = [
        about_polygons(polygons, config, gate.passed),
        *about_plateau(config.main(data), config, lab.seed, gate.passed),
        *about_counts(data, laws, config, gate.passed),
    ]
    tables = {"polygons": polygons.table, "counts": draw.count_table(data), "levels": draw.level_table(data)}
    shown = figures(polygons, data, laws, melted, config)
    return Findings(gate, claims, shown, tables, summary(data, claims, melted))


def about_polygons(polygons: polygon.Polygons, config: Config, passed: bool) -> stats.Claim:
    return stats.claim(
        "polygons",
        f"With values in [1/2, 1] trained networks reach the loss of the best polygon (n = {min(config.polygon_sizes)} to "
        f"{max(config.polygon_sizes)})",
        stats.estimate(polygons.off(HALF)),
        f"<= {polygon.TOLERANCE}",
        stats.Arm("trained on U[0, 1], against the theory of U[1/2, 1]", stats.estimate(polygons.off(UNIFORM, HALF))),
        passed,
        note="Per seed: the largest relative distance over n from the best k-gon.",
    )


def about_plateau(main: xr.Dataset, config: Config, seed: int, passed: bool) -> list[stats.Claim]:
    """How the antipodal plateau goes away between a = 0 and a = 1."""
    lows, rng = sorted(config.lows), np.random.default_rng(seed)
    held = np.stack([value.per_seed(main, "plateau", named(low)) for low in lows], axis=1)
    falls, shuffled = (
        np.array([value.rank_correlation(order(lows), row) for row in held]) for order in (np.asarray, rng.permutation)
    )
    start, half, end = (value.per_seed(main, "plateau", law) for law in (UNIFORM, HALF, BINARY))
    middle = len(start) // 2
    halves = stats.estimate_ratio(start[:middle] - start[middle : 2 * middle], (start - end)[:middle], paired=True)
    return [
        stats.claim(
            "plateau-falls",
            "The further the values are from 0, the fewer features sit on the antipodal plateau D = 1/2 (rank correlation "
            "with a)",
            stats.estimate(falls),
            "<= -0.7",
            stats.Arm("a shuffled", stats.estimate(shuffled)),
            passed,
            note="Share of represented features, averaged over log density.",
        ),
        stats.claim(
            "past-the-middle",
            "At a = 1/2 the occupancy of the plateau has gone more than half of the way from U[0, 1] to {1}",
            stats.estimate_ratio(start - half, start - end, paired=True),
            "> 0.5",
            stats.Arm("U[0, 1], half of the seeds against the other half", halves, "the same law twice"),
            passed,
        ),
    ]


def about_counts(data: xr.Dataset, laws: value.Laws, config: Config, passed: bool) -> list[stats.Claim]:
    """Represented features at equal density and at equal kurtosis; norms and recovered features in the rare limit."""
    main, rarest, n, margin = config.main(data), float(data.density.min()), config.n_features, value.COUNT_MARGIN
    squares = [value.per_seed(data, "square norm", law, rarest) for law in (HALF, UNIFORM)]
    middle = len(squares[1]) // 2
    return [
        stats.claim(
            "more-than-uniform",
            f"More features are represented (norm > 1/2) with U[1/2, 1] than with U[0, 1], by more than {margin} of all",
            value.gap(main, "represented", HALF, UNIFORM, n),
            f"> {margin}",
            value.halves(main, "represented", UNIFORM, n),
            passed,
            note="The order that the reference sheet expects; kurtosis predicts the reverse.",
        ),
        stats.claim(
            "fewer-than-binary",
            f"More features are represented with {{1}} than with U[1/2, 1], by more than {margin} of all",
            value.gap(main, "represented", BINARY, HALF, n),
            f"> {margin}",
            value.halves(main, "represented", HALF, n),
            passed,
            note="The order that the reference sheet expects; kurtosis predicts the reverse.",
        ),
        stats.claim(
            "kurtosis",
            "At equal kurtosis of the sparse feature U[1/2, 1] and U[0, 1] represent equally many (within "
            f"{value.KURTOSIS_MARGIN:.0%})",
            stats.estimate(value.count_mismatch(main, laws, HALF, UNIFORM)),
            f"<= {value.KURTOSIS_MARGIN}",
            stats.Arm("compared at equal density", stats.estimate(value.count_mismatch(main, laws, HALF, UNIFORM, False))),
            passed,
            note="Mean distance of the counts over n. Prediction from the results of 4.7.",
        ),
        stats.claim(
            "norms-grow",
            f"At density {rarest:.3g} squared norms are at least 5 % larger with U[1/2, 1] than with U[0, 1]",
            stats.estimate_ratio(squares[0], squares[1], paired=True),
            ">= 1.05",
            stats.Arm(
                "U[0, 1], half of the seeds against the other half",
                stats.estimate_ratio(squares[1][:middle], squares[1][middle:], paired=False),
                "the same law twice",
            ),
            passed,
            note="Mean squared norm of the represented features.",
        ),
        stats.claim(
            "rare-regime",
            f"At density {rarest:.3g} more features are recovered with U[1/2, 1] than with U[0, 1], by more than {margin} of "
            "all",
            value.gap(data, "recovered", HALF, UNIFORM, n, rarest),
            f"> {margin}",
            value.halves(data, "recovered", UNIFORM, n, rarest),
            passed,
            note=f"{{1}} minus U[1/2, 1]: {value.gap(data, 'recovered', BINARY, HALF, n, rarest)}.",
        ),
    ]


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


def summary(data: xr.Dataset, claims: list[stats.Claim], melted: np.ndarray) -> str:
    by = {claim.id: claim.estimate.value for claim in claims}
    flips = value.crossing(data, HALF, UNIFORM)
    return (
        f"At a = 1/2 the antipodal plateau has gone {by['past-the-middle']:.0%} of the way to the binary case, and it is down "
        f"to half of its size at a = {average(melted)}. At equal density U[1/2, 1] changes the share of represented features "
        f"by {by['more-than-uniform']:+.1%} against U[0, 1]; at equal kurtosis the counts differ by {by['kurtosis']:.1%}. The "
        f"loss of U[1/2, 1] falls below that of U[0, 1] at a density of {average(flips)}; at the lowest density squared norms "
        f"are {by['norms-grow']:.2f} times as large."
    )
