"""Problem 4.7: the ReLU output model when an active feature always has the value 1.

Idea. With one feature on at a time, output i of x -> W x -> ReLU(W^T W x + b) has to be v on its own input and 0 on the others.
If v takes one value only, n vectors on a circle do this exactly for ANY n: with b = 1 - ||W||^2 output i answers 1 at its own
corner, and 0 at the others once ||W||^2 >= 1 / (1 - cos 2 pi/n). Values spread over [0,1] have to stay on a line through the
origin, no bias can be paid, and five features in two dimensions already cost. So binary features should be packed more densely,
without the regular polytopes (the plateaus of TMS should melt), at norms above 1, where D* = m / ||W||^2 stops counting.

Set-up. (a) n = 3..8 features in m = 2 dimensions with at most one on: loss of the best of many restarts against theory.
(b) n features in m dimensions over density, value laws {1} and U[0,1] at one second moment (only the shape of a law matters),
and U[0,2] as placebo: the same shape on another scale. Seeds are paired across laws and are the unit of replication.

Criteria (reference sheet 4.7, fixed before any network was trained on {1}): polygons within 2 % of theory; where theory says 0,
within 2 % of the loss of answering 0, since a share of 0 allows nothing. Occupancy of the 1/2 plateau lower for {1}; "lower" is
read as by more than 0.05, so that a placebo can fail. The count claim reads "represented" as "recovered when alone", which no
norm can fool. D* misleads when it is off by more than 1.118 = sqrt((1/2)/(2/5)): then it is nearer to the wrong plateau.
Theory for n = 8 and U[0,1] is seven corners and one dropped feature (0.3436), 0.9 % below the octagon of the sheet.

Sources: Elhage et al. 2022 (TMS, arXiv 2209.10652); Chen et al. 2023 (arXiv 2310.06301) for 1-sparse losses.
Loss: sum over features, mean over samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import superscope as ss
from superscope import stats
from superscope.findings import Figure, Findings
from superscope.lab import Lab
from superscope.studies import _value_figures as draw
from superscope.studies import _value_laws as value

PROBLEM = "4.7"
TITLE = "Features that are exactly on or off"
QUESTION = (
    "If an active feature always has the value 1, are more features packed, and in other shapes, than with values in [0, 1]?"
)
ASSUMPTIONS = [
    "All features are independent, equally dense and equally important; only the value law differs.",
    "A feature counts as recovered if its answer to being on alone is right within 20 % (root mean square over its values).",
    "A feature is on the plateau if its dimensionality is within 0.02 of 1/2 and its norm exceeds one half.",
    "Seeds share the stream of training points, so they replicate the initialisation and not the data.",
]
DISANALOGIES = [
    "The task asks a binary feature for its exact value. A model that only needs to know whether it is on (a classifier, an "
    "attention score) has more freedom still, and its norms would not be pinned to the threshold.",
    "'On' is exactly 1 for every feature. Real features that look binary have noise around on and off, and the exact solutions "
    "found here have no slack for it: see 4.9 for how fast that costs.",
    "The bottleneck knows nothing downstream. Growing norms are free here; with LayerNorm or weight decay they are not.",
    "Polygons are studied with at most one feature on. With several on, thresholds that suit single features add up wrongly.",
]

BINARY, UNIFORM, PLACEBO = "{1}", "U[0, 1]", "U[0, 2]"
LAWS = {BINARY: value.uniform_from(1), UNIFORM: value.uniform_from(0), PLACEBO: ss.Uniform(0, 2)}


@dataclass(frozen=True)
class Config(value.Sizes):
    """Sizes of the polygons and of the wide bottleneck."""


PRESETS = {name: Config(**sizes) for name, sizes in value.SIZES.items()}


def run(config: Config, lab: Lab) -> Findings:
    """Polygons, then the wide bottleneck over density."""
    polygons = value.polygons({law: LAWS[law] for law in (BINARY, UNIFORM)}, config, lab)
    wide = value.wide(LAWS, config, lab)
    data = value.counts(wide, LAWS)
    linear = value.counts(
        value.wide({BINARY: LAWS[BINARY]}, config, lab, "identity", [config.sparse], "linear"), {BINARY: LAWS[BINARY]}
    )
    gate = value.learned(data, config)
    placebo = "U[0, 2] in place of {1}: the same shape, another scale"

    def against_uniform(what: str, sign: int, unit: float = 1.0) -> tuple[stats.Estimate, stats.Control]:
        """Paired difference of {1} from U[0,1], and the placebo's."""
        one, two = (value.gap(data, what, *((law, UNIFORM)[::sign]), unit) for law in (BINARY, PLACEBO))
        return one, stats.Control(placebo, two, "optimisation sees the scale, the loss does not")

    plateau, plateau_control = against_uniform("plateau", -1)
    found, found_control = against_uniform("recovered", 1, config.n_features)
    sizes = f"n = {min(config.polygon_sizes)} to {max(config.polygon_sizes)}"
    swapped = swapped_polygons(polygons, config)
    claims = [
        stats.claim(
            "polygons-binary",
            f"Any number of binary features ({sizes}) is stored without loss in two dimensions when one is on at a time",
            stats.estimate(polygons.off(BINARY)),
            f"<= {value.POLYGON_TOLERANCE}",
            stats.Control("networks trained on U[0, 1], against the theory of {1}", stats.estimate(polygons.off(UNIFORM, BINARY))),
            gate.passed,
            note="Per seed: the largest distance over n from the theoretical loss 0, as a share of the loss of answering 0.",
        ),
        stats.claim(
            "polygons-uniform",
            f"With values in [0, 1] the same networks reach the loss of the best polygon ({sizes})",
            stats.estimate(polygons.off(UNIFORM)),
            f"<= {value.POLYGON_TOLERANCE}",
            stats.Control("networks trained on {1}, tested on U[0, 1]", stats.estimate(swapped), "their thresholds cut off values"),
            gate.passed,
            note="Per seed: the largest relative distance over n from the best k-gon; calibrates the training of these polygons.",
        ),
        stats.claim(
            "plateau-melts",
            f"Fewer features sit on the antipodal plateau D = 1/2 with binary values, by more than {value.OCCUPANCY_MARGIN}",
            plateau,
            f"> {value.OCCUPANCY_MARGIN}",
            plateau_control,
            gate.passed,
            note="Share of represented features, U[0, 1] minus {1}, averaged over the logarithm of the density.",
        ),
        stats.claim(
            "norms-mislead",
            "D* = m/‖W‖² reports more binary features than there are, by enough to be nearer to the wrong plateau (factor 1.118)",
            stats.estimate(value.per_seed(data, "overcount", BINARY, sparsest=True)),
            ">= 1.118",
            stats.Control("linear model on {1}", stats.estimate(value.per_seed(linear, "overcount", BINARY)), "its norms are at most 1"),
            gate.passed,
            note="‖W‖² over the same sum with every norm capped at 1, at the lowest density. For U[0, 1]: "
            f"{stats.estimate(value.per_seed(data, 'overcount', UNIFORM, sparsest=True))}.",
        ),
        stats.claim(
            "more-features",
            f"More binary features are recovered, by more than {value.COUNT_MARGIN} of all features",
            found,
            f"> {value.COUNT_MARGIN}",
            found_control,
            gate.passed,
            note="Share of all n features, {1} minus U[0, 1], averaged over the logarithm of the density.",
        ),
    ]  # fmt: skip
    return Findings(
        gate,
        claims,
        figures(polygons, wide, data, config),
        {"polygons": polygons.table, "counts": draw.count_table(data), "levels": draw.level_table(data)},
        summary(polygons, data, claims, config),
    )


def swapped_polygons(polygons: value.Polygons, config: Config):
    """Per seed: networks trained on {1} and tested on U[0,1], largest deviation over n from the theory of U[0,1]."""
    uniform = LAWS[UNIFORM]
    losses = [polygons.tested_on(BINARY, uniform, n) for n in config.polygon_sizes]
    expected = [value.polygon_theory(n, uniform) for n in config.polygon_sizes]
    return max_over([value.deviation(one, two) for one, two in zip(losses, expected, strict=True)])


def max_over(rows):
    """Elementwise maximum of equally long rows."""
    return [max(column) for column in zip(*rows, strict=True)]


def figures(polygons: value.Polygons, wide: ss.SweepRun, data, config: Config) -> list[Figure]:
    n = max(config.polygon_sizes)
    worst = polygons.table[polygons.table.n == n].groupby("law").loss.mean()
    low = float(data.density.min())
    counts = data.sel(density=low).mean("seed")
    return [
        Figure(
            "corners",
            draw.corners(polygons, (BINARY, UNIFORM), config.polygon_sizes),
            "The hidden layer with one feature on (units: largest value). A dot or bar: where a feature can be; a tinted cap of the "
            "same colour: where its output answers; dotted: unit circle. A single value needs its dot in a cap of its own, and "
            f"corners can always be cut off: at n = {n} the loss is {worst[BINARY]:.3f} of the loss of answering 0. Values down to "
            f"0 need the whole bar in the cap, and caps that reach inwards catch neighbours: {worst[UNIFORM]:.3f}.",
        ),
        Figure(
            "polygon-losses",
            draw.polygon_losses(polygons, [BINARY, UNIFORM]),
            f"Loss with one feature on, as a share of the loss of answering 0. Lines: best polygon; symbols: {config.polygon_seeds} "
            "seeds, best restart each.",
        ),
        Figure(
            "dimensionality",
            draw.strips(wide, data, [BINARY, UNIFORM]),
            f"Dimensionality of every feature (n={config.n_features}, m={config.n_hidden}, {config.seeds} seeds). Level runs are "
            "plateaus.",
        ),
        Figure(
            "plateau",
            draw.plateau_curves(data, [BINARY, UNIFORM, PLACEBO], {BINARY: "treatment", UNIFORM: "control"}),
            "Share of represented features on the antipodal plateau; bands: 95 % over seeds. U[0, 2] is the placebo.",
        ),
        Figure(
            "counts",
            draw.count_curves(data, [BINARY, UNIFORM]),
            f"Five ways to count. At density {low:.3g}, {{1}}: ‖W‖² says {float(counts['norm count'].sel(values=BINARY)):.0f} of "
            f"{config.n_features} features, and {float(counts['recovered'].sel(values=BINARY)):.0f} are recovered; U[0, 1]: "
            f"{float(counts['norm count'].sel(values=UNIFORM)):.0f} and {float(counts['recovered'].sel(values=UNIFORM)):.0f}.",
        ),
    ]


def summary(polygons: value.Polygons, data, claims: list[stats.Claim], config: Config) -> str:
    n = max(config.polygon_sizes)
    loss = polygons.table[polygons.table.n == n].groupby("law").loss.mean()
    plateau, overcount, found = (claims[k].estimate.value for k in (2, 3, 4))
    return (
        f"{n} features in two dimensions cost {loss[BINARY]:.3f} of the loss of answering 0 when they are binary and "
        f"{loss[UNIFORM]:.3f} when uniform. In the wide bottleneck the antipodal plateau holds {plateau:+.2f} more of the uniform "
        f"features, {found:+.0%} of all features are recovered in addition when binary, and ‖W‖² overcounts binary features by a "
        f"factor {overcount:.2f} at the lowest density."
    )
