"""Problem 4.8: the ReLU output model when an active feature takes one of a few levels, such as 1, 2 or 3.

Idea. An output ReLU(W_i . h + b_i) is affine in the value v above its threshold. Two or more levels can only be answered
rightly along a line through the origin, exactly as a continuous value; a single level can be had with any threshold (4.7). So
{1, 2, 3} should behave like a continuous feature of the same range, U[1/3, 1], and levels that lie close together like one
level. But a discrete law has atoms, and theory knows a way to exploit them: answer the TOP level exactly, as a binary feature,
and give up the others. That costs 1 - v_top^2 / sum v^2 whatever n is (5/14 for {1, 2, 3}), and pays once polygons are
crowded. It shows when the network is tested on values between the levels, which it then answers by 0.

Set-up. (a) n = 3..8 and 12 features in m = 2 dimensions with at most one on: best of many restarts against the best k-gon, and
against values between the levels. (b) n features in m dimensions over density for {1}, {1, 1.1, 1.2}, {1, 2}, {1, 2, 3},
{1, ..., 8} and three uniform laws, all at one second moment. Seeds are paired across laws.

Criteria, fixed before any network was trained on a law of this page other than {1} and U[0, 1]. Taken over:
polygons within 2 % of theory up to n = 8; {1, 2, 3} behaves like U[1/3, 1], read as plateau occupancy within 0.05 and share of
represented features within 0.02; U[1/2, 1] represents more features than {1, 2, 3}, by more than 0.02. Ours: off the levels a
crowded network (n = 12) loses at least 1.2 times what the best polygon for a continuous value loses, between 1.10 (theory at n
= 5, where levels stay on a line) and 1.36 (the top-level code of least norm at n = 12). From the results of 4.7: kurtosis
E v^4 / (E v^2)^2 (Scherlis et al. 2022, arXiv 2210.01892) says at which densities laws represent equally many features, the
reverse of the order that was expected; the rival is E v^2 / (E v)^2. The density grid was refined and the gate
moved to the lowest density after the first runs (see 4.7).

Sources: Elhage et al. 2022 (TMS, arXiv 2209.10652); Chen et al. 2023 (arXiv 2310.06301) for 1-sparse losses.
Loss: sum over features, mean over samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

import superscope as ss
from superscope import plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms, retractions
from superscope.evidence.wording import answer, number, percent
from superscope.lab import Lab
from superscope.studies.value_laws import corners as corner
from superscope.studies.value_laws import figures as draw
from superscope.studies.value_laws import laws as value
from superscope.studies.value_laws import polygons as polygon
from superscope.studies.value_laws import shifts as shift

if TYPE_CHECKING:
    from superscope.inputs.features import ValueLaw

PROBLEM = "4.8"
TITLE = "Features with a few discrete levels"
QUESTION = (
    "If an active feature is 1, 2 or 3, is it treated like a binary or like a continuous one, and are the levels exploited?"
)
ASSUMPTIONS = [
    "Levels are equally likely; all features are independent, equally dense and equally important.",
    "'Treated like' means: the same occupancy of the 1/2 plateau within 0.05 and the same count of features within 2 % of all.",
    "A network exploits levels if it answers values between them much worse than a network for continuous values can.",
    "Laws are compared at equal density and equal second moment. Seeds share the stream of training points.",
]
DISANALOGIES = [
    "The output is one ReLU per feature, affine in the value: it cannot decode levels one by one, as a deeper read-out or a "
    "one-hot target per level could. That levels are not decoded here says little about networks that can.",
    "Squared error makes level 3 nine times as important as level 1. A task that asks which level it is would weigh them "
    "alike.",
    "Real 'discrete' features come with noise around every level; exploiting atoms needs values that repeat exactly.",
    "Polygons have at most one feature on; the wide networks have one per feature and density, without correlation.",
]

ONE, CLOSE, TWO, THREE, EIGHT = "{1}", "{1, 1.1, 1.2}", "{1, 2}", "{1, 2, 3}", "{1, …, 8}"
THIRD, HALF, UNIFORM = "U[1/3, 1]", "U[1/2, 1]", "U[0, 1]"
LAWS = {
    ONE: value.uniform_from(1),
    CLOSE: value.scaled(ss.Levels(1, 1.1, 1.2)),
    TWO: value.scaled(ss.Levels(1, 2)),
    THREE: value.scaled(ss.Levels(1, 2, 3)),
    EIGHT: value.scaled(ss.Levels(*range(1, 9))),
    HALF: value.uniform_from(1 / 2),
    THIRD: value.uniform_from(1 / 3),
    UNIFORM: value.uniform_from(0),
}
POLYGON_LAWS = (THREE, THIRD, TWO, EIGHT)
SHIFTED = (ONE, CLOSE, TWO)  # laws for which kurtosis and mean square ratio predict other shifts
SHEET_SIZES = (3, 4, 5, 6, 7, 8)  # the polygons that were asked for beforehand


@dataclass(frozen=True)
class Config(value.Sizes):
    """Sizes of the polygons and of the wide bottleneck."""

    room: int = 5  # features in two dimensions that are not crowded
    crowded: int = 12  # and a crowd


PRESETS = {
    "quick": Config(n_features=60, n_hidden=6, plateau_densities=12, rare=(0.001,), polygon_restarts=12,
                    polygon_sizes=(*SHEET_SIZES, 12)),
    "standard": Config(**{**value.SIZES["standard"], "n_features": 100, "n_hidden": 10, "other_size": (200, 20)}),
    "full": Config(**value.SIZES["full"]),
}  # fmt: skip


GATE = [
    *value.GATE,
    Check("crowded networks are within 2 % of the best loss known", "short", "<= 0.02", "levels 1, 2, 3, crowded", by="mean"),
]
RETRACTED = [
    ("exploited-when-crowded", "refuted", "at a network half as bad again as an explicit code: training, not the model"),
    ("kurtosis (ranks)", "supported", "E v²/(E v)² ranks the laws alike: now the sizes of the shifts, against both"),
]
EXPECTED = [
    Expect(
        "polygons", "With levels 1, 2, 3 trained networks reach the loss of the best polygon (up to 8 features)",
        "off", f"<= {polygon.TOLERANCE}", of=THREE, null="trained on U[1/3, 1], against the theory of {1, 2, 3}",
        plant="best polygon by hand", why="Null: thresholds for other values. Plant: the polygon of theory, turned, each "
        "weight off "
        "by 0.1 %.", note="Per seed: the largest relative distance over n from the best k-gon.",
    ),
    Expect(
        "exploited-when-crowded",
        "Twelve features in two dimensions: between levels 1, 2, 3 the best networks found lose 1.2 times what a polygon for "
        "continuous values loses",
        "ratio", ">= 1.2", of="levels 1, 2, 3, crowded", null="levels 1, …, 8, crowded", plant="code for the top level by hand",
        why="Null: too many levels for the top one to carry the loss. Plant: a code that answers the top level alone, turned, "
        "each weight off by 0.1 %.",
        note="The better of training from scratch and from the code for the top level: from scratch alone it stops at a loss "
        "half as high again, and was refuted for that.",
    ),
    Expect(
        "plateau-as-uniform", "The antipodal plateau D = 1/2 holds as many features with levels 1, 2, 3 as with U[1/3, 1]",
        "plateau", f"within [-{value.OCCUPANCY_MARGIN}, {value.OCCUPANCY_MARGIN}]",
        of=f"{THREE} - {THIRD}", null=f"{ONE} - {THIRD}",
        plant=f"{THIRD}, nudged - {THIRD}", power=(f"{THIRD}, a fifth turned - {THIRD}",),
        why="Null: a single level. Plant: the same networks, nudged.",
        note="Share of represented features, averaged over log density.",
    ),
    Expect(
        "count-as-uniform", "As many features are represented (norm > 1/2) with levels 1, 2, 3 as with U[1/3, 1]",
        "represented", f"within [-{value.COUNT_MARGIN}, {value.COUNT_MARGIN}]",
        of=f"{THREE} - {THIRD}", null=f"{ONE} - {THIRD}",
        plant=f"{THIRD}, nudged - {THIRD}", power=(f"{THIRD}, a fifth removed - {THIRD}",),
        why="Null: a single level. Plant: the same networks, nudged.", note="Share of all features, averaged over log density.",
    ),
    Expect(
        "fewer-than-half", f"More features are represented with U[1/2, 1] than with levels 1, 2, 3, by more than "
        f"{value.COUNT_MARGIN} "
        "of all", "represented", f"> {value.COUNT_MARGIN}", of=f"{HALF} - {THREE}",
        null=f"{THREE}, half of the seeds - {THREE}, other half", plant=f"{THIRD} - {THIRD}, a fifth removed",
        why="Null: the same law twice. Plant: a fifth of the features gone.",
        note="The order that the reference sheet expects; kurtosis predicts the reverse.",
    ),
    Expect(
        "close-levels", "Levels 1, 1.1, 1.2 leave as few features on the antipodal plateau as a single level does",
        "plateau", f"within [-{value.OCCUPANCY_MARGIN}, {value.OCCUPANCY_MARGIN}]",
        of=f"{CLOSE} - {ONE}", null=f"{THREE} - {ONE}",
        plant=f"{ONE}, nudged - {ONE}", why="Null: as many levels, further apart. Plant: the same networks, nudged.",
    ),
    *shift.expectations(),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Polygons on and off the levels, then the wide bottleneck over density."""
    if not {config.room, config.crowded} <= set(config.polygon_sizes):
        raise ValueError(f"polygon_sizes={config.polygon_sizes} must hold room={config.room} and crowded={config.crowded}")
    polygons = polygon.train({law: LAWS[law] for law in POLYGON_LAWS}, config, lab)
    between = off_levels(polygons, config)
    wide = value.wide(LAWS, config, lab)
    data = value.counts(wide, LAWS)
    second = shift.second_size({law: LAWS[law] for law in (*SHIFTED, UNIFORM)}, config, lab)
    shifts = shift.rows(config.main(data), second, LAWS, SHIFTED, lab)
    parts = [
        polygon_rows(polygons, between, config, lab),
        value.law_rows(wide, data, LAWS, config, lab, (THIRD, ONE)),
        shifts,
    ]
    table = arms(*parts)
    passed = gate([value.learned(data, config), table], GATE)
    mean = table.groupby("arm").represented.mean()
    return Findings(
        passed,
        judge(parts, EXPECTED, passed, about_room(between, config)),
        figures(polygons, between, data, config),
        {"arms": table, "polygons": polygons.table, "between_levels": between, "counts": draw.count_table(data),
         "levels": draw.level_table(data), "shifts": shift.predictions(LAWS, SHIFTED, shifts),
         "retractions": retractions(RETRACTED)},
        summary(polygons, between, config),
        in_short(mean),
    )  # fmt: skip


def in_short(mean: pd.Series) -> str:
    """The sentence the page opens with."""
    like = abs(mean[THREE] - mean[THIRD]) <= value.COUNT_MARGIN
    return answer(
        "Features with a few levels are packed {how} continuous ones of the same range: {levels} of all against {range}.",
        how="like" if like else "unlike",
        levels=percent(mean[THREE]),
        range=percent(mean[THIRD]),
    )


def about_room(between: pd.DataFrame, config: Config) -> dict[str, str]:
    """What the note of a claim adds from this run."""
    room, two = (float(ratios(between, law, n).mean()) for law, n in ((THREE, config.room), (TWO, config.crowded)))
    return {
        "exploited-when-crowded": f"With room, at n = {config.room}: {number(room)}. Levels 1, 2 at n = {config.crowded}: "
        f"{number(two)}."
    }


def hull(law: ValueLaw) -> ss.Uniform:
    """The continuous law between the lowest and the highest level."""
    return ss.Uniform(*value.support(law))


def off_levels(polygons: polygon.Polygons, config: Config) -> pd.DataFrame:
    """Networks trained on levels, tested on all values between: 1-sparse loss, and its ratio to that of the best polygon."""
    rows = []
    for law in POLYGON_LAWS:
        continuous = hull(LAWS[law])
        for n in config.polygon_sizes:
            best = polygon.best_polygon(n, continuous)
            losses = polygons.tested_on(law, continuous, n)
            rows += [
                {"law": law, "n": n, "seed": k, "loss": float(x), "ratio": float(x) / best if best > 1e-6 else np.nan}
                for k, x in enumerate(losses)
            ]
    return pd.DataFrame(rows)


def ratios(between: pd.DataFrame, law: str, n: int) -> np.ndarray:
    """(seed,) losses between the levels over the best possible."""
    return between[(between.law == law) & (between.n == n)].ratio.to_numpy()


def polygon_rows(polygons: polygon.Polygons, between: pd.DataFrame, config: Config, lab: Lab) -> pd.DataFrame:
    """Trained polygons against theory, and what networks lose between the levels; the same by hand."""
    seeds = lab.seeds(config.polygon_seeds)
    sheet = tuple(n for n in config.polygon_sizes if n in SHEET_SIZES)
    return arms(
        arm(THREE, seeds, off=polygons.off(THREE, sizes=sheet)),
        arm("trained on U[1/3, 1], against the theory of {1, 2, 3}", seeds, off=polygons.off(THIRD, THREE, sheet)),
        arm("best polygon by hand", seeds, off=polygon.by_hand(LAWS[THREE], sheet, seeds, lab)),
        arm("levels 1, 2, 3, crowded", seeds, **crowded(polygons, THREE, config, lab)),
        arm("levels 1, …, 8, crowded", seeds, **crowded(polygons, EIGHT, config, lab)),
        arm("code for the top level by hand", seeds, ratio=off_code(*top_code(THREE, config.crowded, seeds, lab), THREE)),
    )


def top_code(law: str, n: int, seeds: range, lab: Lab) -> tuple[np.ndarray, np.ndarray]:
    """W (seed, 2, n) and b (seed, n): a regular n-gon exact for the top level alone, each weight off by 0.1 %."""
    rng = lab.rng(f"code for the top level of {law}")
    top, angle = value.support(LAWS[law])[1], 2 * np.pi * np.arange(n) / n
    square = 1 / (1 - np.cos(angle[1]))
    W = np.sqrt(square) * np.stack([np.cos(angle), np.sin(angle)]) * (1 + 0.001 * rng.standard_normal((len(seeds), 2, n)))
    return W, np.full((len(seeds), n), (1 - square) * top)


def off_code(W: np.ndarray, b: np.ndarray, law: str) -> np.ndarray:
    """(seed,) loss on values between the levels of a law, over that of the best polygon for such values."""
    values = hull(LAWS[law])
    return np.asarray(polygon.one_active_loss(W, b, values)) / polygon.best_polygon(W.shape[-1], values)


def crowded(polygons: polygon.Polygons, law: str, config: Config, lab: Lab) -> dict[str, np.ndarray]:
    """The better, on its own law, of what training found from scratch and what it makes of the code for the top level.

    ratio: see `off_code`. short: how far the loss is above the best that theory knows. From scratch alone training stops half
    as high again as this code, and a claim about what networks do with levels would be one about failed training.
    """
    n, seeds = config.crowded, lab.seeds(config.polygon_seeds)
    start = top_code(law, n, seeds, lab)
    labels = {"seed": list(seeds)}
    init = {
        "W": xr.DataArray(start[0], labels, ("seed", "hidden", "feature")),
        "b_out": xr.DataArray(start[1], labels, ("seed", "feature")),
    }
    inputs = ss.SparseFeatures(
        n, density=(1 - polygon.HALF_EMPTY) / n, values=LAWS[law], groups=(ss.AntiCorrelated(tuple(range(n))),)
    )
    sweep = ss.Sweep(ss.Bottleneck(n, 2), inputs, seeds=seeds, init=init)
    recipe = ss.Recipe.fast(steps=config.polygon_steps, points=64, lr=0.003, beta2=0.99)
    run = lab.train(sweep, recipe, name=f"from-top-code-{len(law)}")
    found = [
        polygons.weights[law, n],
        (run.W.transpose("seed", "hidden", "feature").values, run.b_out.transpose("seed", "feature").values),
    ]
    losses = np.stack([np.asarray(polygon.one_active_loss(W, b, LAWS[law])) for W, b in found])
    best = losses.argmin(0)
    W, b = (np.stack([found[k][part][s] for s, k in enumerate(best)]) for part in (0, 1))
    by_code = np.asarray(polygon.one_active_loss(*start, LAWS[law])).min()
    known = min(polygon.best_polygon(n, LAWS[law]), float(by_code))
    return {"ratio": off_code(W, b, law), "short": losses.min(0) / known - 1}


def figures(polygons: polygon.Polygons, between: pd.DataFrame, data: xr.Dataset, config: Config) -> list[Figure]:
    main = config.main(data)
    size = f"n={config.n_features}, m={config.n_hidden}, {config.seeds} seeds"
    mean = between.groupby(["law", "n"]).ratio.mean()
    crowd = polygons.table[(polygons.table.law == THREE) & (polygons.table.n == config.crowded)]
    curves = between.dropna().groupby(["law", "n"]).ratio.agg(["mean", "min", "max"]).reset_index()
    return [
        Figure(
            "answers",
            corner.answers(polygons, (THREE, THIRD), (config.room, config.crowded)),
            "What every output answers when its feature alone is on, best network of each law; dots: levels 1, 2, 3. Between "
            f"the levels the networks trained on them lose {mean[THREE, config.room]:.2f} times (n = {config.room}) and "
            f"{mean[THREE, config.crowded]:.2f} times (n = {config.crowded}) what the best polygon for U[1/3, 1] loses.",
        ),
        Figure(
            "polygon-losses",
            corner.polygon_losses(polygons, POLYGON_LAWS),
            "Loss with one feature on, as a share of that of answering 0. Lines: best polygon in theory, which for discrete "
            f"laws levels off where only the top level is answered; symbols: {config.polygon_seeds} seeds, best restart each. "
            f"At n = {config.crowded}, levels 1, 2, 3: {crowd.theory.iloc[0]:.3f} in theory, {crowd.loss.mean():.3f} trained.",
        ),
        Figure(
            "between-levels",
            plots.lines_with_band(
                curves, "n", "mean", "law", "min", "max", log_y=True, x_title="features n in two dimensions",
                y_title="loss between levels / best polygon",
            ),
            "Networks tested on all values between their lowest and highest level, against the best polygon for such values. "
            "Bands: range over seeds. U[1/3, 1] was trained on what it is tested on.",
        ),
        Figure(
            "plateau",
            draw.plateau_curves(config.plateaus(data), [ONE, CLOSE, THREE, THIRD, UNIFORM]),
            f"Share of represented features on the antipodal plateau ({size}); bands: 95 % over seeds.",
        ),
        Figure(
            "shape",
            draw.against_shape(main, LAWS, "represented", "represented features, mean over log density"),
            f"What decides how many features are represented: the range of the values, or their kurtosis? ({size})",
        ),
        Figure(
            "kurtosis",
            draw.kurtosis_curves(data, {law: LAWS[law] for law in (ONE, TWO, THREE, EIGHT, THIRD, UNIFORM)}),
            f"Represented features over density, and over the kurtosis of the sparse feature ({size}).",
        ),
    ]  # fmt: skip


def summary(polygons: polygon.Polygons, between: pd.DataFrame, config: Config) -> str:
    """What is lost between the levels, and what the best code would reach."""
    mean = between.groupby(["law", "n"]).ratio.mean()
    crowd = polygons.table[(polygons.table.law == THREE) & (polygons.table.n == config.crowded)]
    most = mean[TWO].idxmax()
    return (
        f"Between the levels networks lose {mean[THREE, config.room]:.2f} times what the best polygon for continuous values "
        f"loses at n = {config.room} and {mean[THREE, config.crowded]:.2f} times at n = {config.crowded}, where "
        f"answering the top level alone would cost {crowd.theory.iloc[0]:.3f} and training reaches {crowd.loss.mean():.3f}. "
        f"Levels 1, 2 go furthest at n = {most}: {mean[TWO, most]:.2f} times."
    )
