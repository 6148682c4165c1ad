"""4.13: many more features to compute inside than there are neurons or outputs.

A. The post's first idea: all pairwise maxima of n inputs. max(x, y) = x + ReLU(y - x), so n(n - 1)/2 differences stand
between n inputs and the outputs, and there are fewer neurons. Yardstick: n - 1 neurons pass inputs, each further one makes a
pair exact, and all other pairs get the best ReLU(a (x + y) + b). Does training beat it, from random weights and from the
yardstick itself? Short runs hardly do (.93 to .99 of it after 5,000 steps of another schedule), long ones do (.3 after 13,000).
B. Its second idea: values 1..5, five outputs a feature, their one-hot code. Yardstick: whole neurons handed out by dynamic
programming over the best of many networks of one feature.
C. The title: one output, y = sum c_ij AND(x_i, x_j). Which ANDs exist in the hidden layer? Fresh read-outs, fitted on samples
of their own and judged on others (as in 4.5), and what they find in layers that do hold ANDs: one a neuron, mixed by a random
rotation. The rival account is a quadratic form, whose difficulty is the rank of c and not the number of ANDs.
Rules: 0.9 and 0.02 as before, 0.7 and 0.5 named after an exploration. Loss: sum over outputs, mean over samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms, retractions
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.measure.activations import ands, probes
from superscope.toys import Target
from superscope.toys import hidden_features as toys
from superscope.toys.aligned import AlignedPairs
from superscope.toys.hidden_features import LEVELS, Layer, LevelReader

PROBLEM = "4.13"
TITLE = "More hidden features than outputs"
QUESTION = "If a task needs far more intermediate features than there are neurons or outputs, are they computed inside?"
ASSUMPTIONS = [
    "Inputs are independent and unmixed, and rarely on.",
    "An AND is inside if a linear read-out errs by less than 1/4 on 95 % of the held-out samples of each row.",
    "The cost of a pair without a neuron is the best of all ReLU(a (x + y) + b); that of levels the best of many trainings.",
]
DISANALOGIES = [
    "A sum of ANDs is a quadratic form, which has cheap factored computations; others of many features may not.",
    "A task that reads each feature separately, as a later layer might, gives a reason to keep them apart.",
]
TIPS = ["Train long: the gain is of the order of p²", "Start at the yardstick before saying that training misses it"]

RANDOM, GIVEN, FLAT = "maxima from random weights", "maxima from whole neurons", "maxima without a non-linearity"
START, MORE = "whole neurons, untrained", "whole neurons, a dozen more"
CODES, NO_CODES, MORE_CODES = "levels", "levels, linear hidden layer", "levels, whole neurons, half as many more"
SUM, LINEAR, HELD, FRESH = "sum of ANDs", "sum of ANDs, linear network", "an AND a neuron, mixed", "sum of ANDs, untrained"
LOW, FULL, OTHER, WIDE = (
    "rank 2, few neurons",
    "full rank, few neurons",
    "full rank, other weights",
    "full rank, three times as many",
)
RETRACTED = [
    ("probes", "undecided (.92 a neuron)", "a linear network passes it with 64.8 of 66: AND is linearly separable in the bits"),
    ("rank", "refuted (R² .09 higher, not .1)", "full rank explains .9 already, so .1 is all there is: now what is left"),
    ("causal", "refuted (5 %)", "it passes none of 66 ANDs planted in 24 dimensions and 39 % of those with a neuron each"),
]


@dataclass(frozen=True)
class Config:
    """Sizes and lengths of the three parts."""

    n: int = 12  # A
    hidden: int = 48
    density: float = 0.03
    steps: int = 8000
    features: int = 10  # B: with two neurons each
    level_steps: int = 5000
    restarts: int = 64
    bits: int = 12  # C
    neurons: int = 24
    bit_density: float = 0.25
    sum_steps: int = 5000
    seeds: int = 10


PRESETS = {
    "quick": Config(),
    "standard": Config(steps=13_000, features=20, level_steps=20_000, restarts=256, sum_steps=40_000, seeds=16),
    "full": Config(n=16, hidden=80, steps=50_000, features=20, level_steps=50_000, restarts=512, sum_steps=100_000, seeds=40),
}

GATE = [
    Check(
        "Whole neurons have the loss of the yardstick, up to noise in their weights", "L / L_naive", "within [0.95, 1.2]", START
    ),
    Check("the sum of ANDs is computed: R² at least .9", "R²", ">= 0.9", SUM, by="mean"),
]
EXPECTED = [
    Expect(
        "maxima", "All pairwise maxima, trained from random weights: at most seven tenths of the yardstick's loss",
        "L / L_naive", "<= 0.7", of=RANDOM, null=FLAT, plant=MORE,
        why="Null: no non-linearity in the hidden layer. Plant: whole neurons, twelve more than the yardstick has, noisy.",
        constant="all seeds end at the one optimum of linear hidden layers",
    ),
    Expect(
        "maxima-planted", "Started at the yardstick, training ends at most at seven tenths of its loss",
        "L / L_naive", "<= 0.7", of=GIVEN, null=START, plant=MORE,
        why="Null: the start itself. Plant: whole neurons, twelve more than the yardstick has, noisy.",
    ),
    Expect(
        "levels", "One-hot codes of five levels with two neurons a feature: 10 % below the best allocation",
        "L / L_naive", "<= 0.9", of=CODES, null=NO_CODES, plant=MORE_CODES,
        why="Null: linear hidden layer. Plant: whole networks of one feature put together, half as many more neurons, noisy.",
    ),
    Expect(
        "inside", "Fresh read-outs find at least one AND for two neurons in a network that sums 66 ANDs",
        "ANDs per neuron", ">= 0.5", of=SUM, null=LINEAR, plant=HELD,
        why="Null: a linear network. Plant: as many neurons with an AND each, mixed by a rotation, unequal.",
        constant="no linear function of the bits computes an AND: a theorem",
    ),
    Expect(
        "computed", "Training brings ANDs in: their share beyond linear functions of the bits exceeds an untrained layer's",
        "share", "> 0.02", of=f"{SUM} - {FRESH}", null=f"{LINEAR} - {FRESH}", plant=f"{HELD} - {FRESH}",
        why="Mean over ANDs, held out. Null: a linear network. Plant: an AND a neuron, mixed by a rotation, unequal.",
    ),
    Expect(
        "rank", "Rank decides, not the number of ANDs: few neurons leave at most half as much of a sum of rank 2",
        "left", "<= 0.5", of=f"{LOW} / {FULL}", null=f"{OTHER} / {FULL}", plant=f"{WIDE} / {FULL}",
        why="Share of variance left; as many ANDs, as large. Null: full rank again. Plant: full rank, three times the neurons.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Maxima, levels, a sum of ANDs."""
    table = arms(maxima(config, lab), levels(config, lab), sums(config, lab))
    passed = gate(table, GATE)
    mean = table.groupby("arm").mean(numeric_only=True)
    return Findings(
        passed,
        judge(table, EXPECTED, passed),
        figures(table),
        {"arms": table, "retractions": retractions(RETRACTED)},
        answer=answer(
            "Pairwise maxima: {share} of the loss of whole neurons. In a sum of ANDs {ands} ANDs a neuron can be read.",
            share=mean.loc[RANDOM, "L / L_naive"],
            ands=mean.loc[SUM, "ANDs per neuron"],
        ),
    )


def maxima(config: Config, lab: Lab) -> pd.DataFrame:
    """A: losses over the yardstick's."""
    seeds, inputs = list(lab.seeds(config.seeds)), ss.SparseFeatures(config.n, config.density)
    answer_of_others, cost = toys.without_a_neuron(config.density)
    naive = (config.n * (config.n - 1) // 2 - (config.hidden - config.n + 1)) * cost

    def trained(name: str, hidden: int, steps: int, kind: str = "relu", **start: Any) -> pd.DataFrame:
        toy = AlignedPairs(config.n, hidden, "relu", kind, target="max-all-pairs")
        sweep = ss.Sweep(toy, inputs, seeds=seeds, **start)
        run = lab.train(sweep, ss.Recipe.careful(steps, lr=1e-2), name=name.replace(" ", "-"))
        return arm(name, seeds, **{"L / L_naive": run.loss.transpose("seed").values / naive})

    def whole(hidden: int) -> dict[str, np.ndarray]:
        return toys.stacked([toys.whole_neurons(config.n, hidden, answer_of_others, 0.01, s) for s in seeds])

    h, more = config.hidden, config.hidden + 12
    return arms(
        trained(RANDOM, h, config.steps),
        trained(GIVEN, h, config.steps, init=whole(h)),
        trained(FLAT, h, config.steps // 4, "identity"),
        trained(START, h, 0, init=whole(h)),
        trained(MORE, more, 0, init=whole(more)),
    )


def levels(config: Config, lab: Lab) -> pd.DataFrame:
    """B: losses over that of the best allocation of whole neurons."""
    seeds, n, p = list(lab.seeds(config.seeds)), config.features, config.density
    inputs, recipe = ss.SparseFeatures(1, p, ss.Levels(*LEVELS)), ss.Recipe.fast(steps=config.level_steps, lr=1e-2, warmup=0.2)
    sweep = ss.Sweep(LevelReader(1, 1), inputs, over={"n_hidden": list(LEVELS)}, seeds=seeds[:1], restarts=config.restarts)
    alone = lab.train(sweep, recipe, name="level").best("restart")
    nothing = p * (1 - p / len(LEVELS))  # five indicators answered by their means
    cost = np.array([nothing, *alone.loss.transpose("n_hidden", "seed").values[:, 0]])
    cost[cost < 1e-4 * nothing] = 0  # exact
    naive = measure.best_allocation(np.tile(cost, (n, 1)), 2 * n).loss

    def trained(name: str, hidden: int, steps: int, kind: str = "relu", **start: Any) -> pd.DataFrame:
        toy = LevelReader(n, hidden, hidden_activation=kind, init_scale=0.5)
        sweep = ss.Sweep(toy, inputs.replace(n=n), seeds=seeds, **start)
        run = lab.train(sweep, recipe.replace(steps=steps), name=f"levels-{hidden}-{kind}-{steps}")
        return arm(name, seeds, **{"L / L_naive": run.loss.transpose("seed").values / naive})

    handed = measure.best_allocation(np.tile(cost, (n, 1)), 5 * n // 2).neurons
    nets = [toys.level_network(alone.data.isel(seed=0), max(k, 1)) for k in handed]
    start = toys.stacked([toys.joined_levels(nets, 0.002, s) for s in seeds])
    return arms(
        trained(CODES, 2 * n, config.level_steps),
        trained(NO_CODES, 2 * n, config.level_steps // 2, "identity"),
        trained(MORE_CODES, sum(len(net["W"]) for net in nets), 0, init=start),
    )


def sums(config: Config, lab: Lab) -> pd.DataFrame:
    """C: what is inside networks that sum ANDs, and what rank does."""
    seeds = list(lab.seeds(config.seeds))

    def trained(rank: int, neurons: int, steps: int, kind: str = "relu", first: int = 0) -> tuple[list[Layer], np.ndarray]:
        c = toys.coefficients(config.bits, rank, lab.seed).astype(np.float32)
        target = Target(f"sum-{config.bits}-{rank}-{lab.seed}", lambda x: (toys.all_ands(x) @ c)[..., None], lambda _: 1)
        toy = ss.TwoLayer(config.bits, neurons, "identity", kind, tied=False, hidden_bias=True, target=target)
        inputs = ss.SparseFeatures(config.bits, config.bit_density, ss.Constant(1))
        sweep = ss.Sweep(toy, inputs, seeds=[s + first for s in seeds])
        recipe = ss.Recipe.fast(steps=steps, lr=1e-2, points=128)
        data = lab.train(sweep, recipe, name=f"sum-{rank}-{kind}-{neurons}-{steps}-{first}").data.transpose("seed", ...)
        variance = float((toys.all_ands(inputs.draw(np.random.default_rng(lab.seed), 20_000)) @ c).var())
        return [toys.hidden_layer(data.isel(seed=i), kind) for i in range(len(seeds))], 1 - data.loss.values / variance

    h, steps = config.neurons, config.sum_steps
    learned, flat, fresh = trained(0, h, steps), trained(0, h, steps // 2, "identity"), trained(0, h, 0)
    by_hand = [toys.an_and_a_neuron(config.bits, config.neurons, s) for s in seeds]
    few, plenty = config.bits // 2, 3 * config.bits // 2
    return arms(
        arm(SUM, seeds, **inside(config, seeds, learned[0]), **{"R²": learned[1]}),
        arm(LINEAR, seeds, **inside(config, seeds, flat[0])),
        arm(FRESH, seeds, **inside(config, seeds, fresh[0])),
        arm(HELD, seeds, **inside(config, seeds, by_hand)),
        *(
            arm(name, seeds, left=1 - trained(rank, neurons, steps, first=first)[1])
            for name, rank, neurons, first in ((LOW, 2, few, 0), (FULL, 0, few, 0), (OTHER, 0, few, 500), (WIDE, 0, plenty, 0))
        ),
    )


def inside(config: Config, seeds: list[int], layers: list[Layer]) -> dict[str, list[float]]:
    """ANDs that fresh read-outs find, per neuron; and the mean share of an AND beyond linear functions of the bits."""
    n, p = config.bits, config.bit_density
    found: dict[str, list[float]] = {"ANDs per neuron": [], "share": []}
    for seed, hidden in zip(seeds, layers, strict=True):
        rng = np.random.default_rng([seed, 132])
        found["ANDs per neuron"].append(ands.computed(hidden, n, p, rng) / config.neurons)
        x = (rng.random((6000, n)) < p).astype(float)
        shares = probes.nonlinear_share(hidden(x), x, toys.all_ands(x) > 0, np.arange(len(x)) < 3000)
        found["share"].append(float(shares.mean()))
    return found


def figures(table: pd.DataFrame) -> list[Figure]:
    """Losses over yardsticks; ANDs inside."""
    losses = plots.figure(height=420, yaxis_title="loss over the yardstick's")
    inner = plots.figure(height=420, yaxis_title="ANDs a neuron, by fresh read-outs")
    roles = {RANDOM: "treatment", GIVEN: "treatment", CODES: "treatment", SUM: "treatment", MORE: "plant", MORE_CODES: "plant",
             HELD: "plant"}  # fmt: skip
    for fig, column in ((losses, "L / L_naive"), (inner, "ANDs per neuron")):
        for name, rows in table.dropna(subset=[column]).groupby("arm", sort=False):
            colour = plots.ROLES[roles.get(str(name), "control")]
            fig.add_box(y=rows[column].tolist(), name=str(name), boxpoints="all", marker={"color": colour}, showlegend=False)
    losses.add_hline(y=1, line={"color": plots.ROLES["theory"], "dash": "dot"})
    return [
        Figure("losses", losses, "Each dot a seed; at 1 (dotted) is what whole neurons can do. Plants have more neurons."),
        Figure("inside", inner, "ANDs whose value can be read from the hidden layer on samples of all rows, per neuron."),
    ]
