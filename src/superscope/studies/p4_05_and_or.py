"""4.5: AND and OR of pairs of bits, with fewer neurons than gates.

A gate is *computed* if its error is below 1/4 on 95 % of held-out samples of every row of its truth table: no linear function
does that, whereas one at a threshold of 1/2 gets all rows right. OR = a + b - AND, so it is the same question.

Random layers. Gaussian weights, two bits on on average, a fitted read-out per gate with 12 samples a weight. How many neurons
until ANDs are computed, and so how many ANDs a neuron? Vaintrob, Mendel and Hanni 2024 (arXiv 2408.05451): many, if bits are
rare. For squares in place of ReLUs a theory without free numbers says how many (`measure.activations.ands`).

Trained layers. Twice as many gates as neurons, the fourth power of the error, rows weighing alike, a free linear path.
Yardstick: an exact gate a neuron, the best linear function for the rest. Does training beat it, from random weights and from
the yardstick itself, on sets of bits that it never saw? And what happens to the exact gates? Newgas 2025 (2507.09816): trained
read-outs are spread over all neurons and inexact. Losses: sum over gates, mean over samples.
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
from superscope.measure.activations import ands
from superscope.toys import gates

PROBLEM = "4.5"
TITLE = "AND and OR of binary inputs"
QUESTION = (
    "How many ANDs of pairs of bits can a hidden layer compute per neuron, untrained and trained, and do neurons share them?"
)
ASSUMPTIONS = [
    "Bits are independent, each on with the same chance, and enter unmixed, one per coordinate.",
    "A gate is computed if its error is below 1/4 on 95 % of the samples of each row of its truth table; other bits are noise.",
    "The yardstick gives every neuron one exact gate and all other gates the best linear function of their bits for "
    "nothing, so beating it means sharing neurons, not using linear directions.",
]
DISANALOGIES = [
    "All pairs are asked for with equal weight; a model would compute the few conjunctions that matter.",
    "Two bits on out of dozens: with as dense inputs at every size the gain by size is smaller (the control of `grows`).",
    "Outputs are read linearly. A next layer with its own ReLUs would clean up and make more of the same hidden layer.",
]
TIPS = ["AND is linearly separable: ask for its value, not for a threshold", "At least 12 samples for each fitted weight"]

RELU, SQUARE, LINEAR = "random ReLU layer", "random squares", "random linear layer"
GROWTH, DENSE, SQUARES = "ReLU, inputs doubled", "ReLU, inputs doubled, as dense", "squares, inputs doubled"
TRAINED, GIVEN, FLAT = "trained from random weights", "trained from the yardstick", "trained without neurons"
SPARE, YARDSTICK, BLURRED = "three gates in four exact", "yardstick, untrained", "yardstick, half of it blurred"
RETRACTED = [
    ("mse-no-gain", "supported", "a theorem (Eckart and Young): outputs are linear in the neurons; it is a test now"),
    ("threshold-trap", "supported", "arithmetic: (a + b)/2 - 1/4 is right on every row; it is a test now"),
    ("or-identity", "supported", "arithmetic: OR = a + b - AND; it is a test now"),
    ("trained-count", "refuted (0 per neuron)", "1,200 steps were failed training; what became of exact gates says more"),
    ("fourth-power-pays", "refuted (1.73 of the yardstick)", "failed training: without a linear path and stopped early"),
    ("random-layer", "supported (2.0 ANDs a neuron)", "641 weights were fitted to 1,920 samples; 12 a weight give all gates"),
    ("dense-circuit", "refuted (.29 of the neurons)", "a Gaussian read-out has .36: the measure says nothing of circuits"),
]


@dataclass(frozen=True)
class Config:
    """Sizes of both parts."""

    n: int = 32  # inputs of random layers; half as many for the growth
    active: float = 2.0  # bits on, on average
    asked: int = 4  # pairs that a layer is asked for
    widths: int = 8  # how many widths
    sizes: tuple[int, ...] = ()  # further inputs of the curve
    trained_n: int = 24
    trained_gates: int = 96
    density: float = 0.1
    steps: int = 2500
    points: int = 192
    lr: float = 0.02  # halved where training starts at the yardstick
    noise: float = 0.05  # relative, of planted weights
    seeds: int = 10

    @property
    def task(self) -> gates.Task:
        return gates.Task(self.trained_n, self.trained_gates, self.density)

    @property
    def neurons(self) -> int:
        """Half as many as gates."""
        return self.trained_gates // 2


PRESETS = {
    "quick": Config(),
    "standard": Config(asked=8, widths=14, sizes=(12, 24, 48, 64), steps=10_000, points=256, seeds=16),
    "full": Config(n=64, asked=20, widths=20, sizes=(12, 24, 48, 96, 128), steps=40_000, points=512, seeds=32),
}

GATE = [
    Check("A planted yardstick has its loss, up to the noise in its weights", "L / L_naive", "within [0.95, 1.2]", YARDSTICK),
    Check("random squares hold what theory says, within a quarter", "over theory", "within [0.75, 1.25]", SQUARE, "mean"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "more-than-neurons", "A random ReLU layer holds at least one and a half ANDs a neuron",
        "ANDs per neuron", ">= 1.5", of=RELU, null=LINEAR, plant=SQUARE,
        why="Pairs over the neurons needed. Null: no non-linearity, never computes. Plant: squares, which theory predicts.",
        constant="no linear function of the bits computes an AND: a theorem",
        note="At 12 samples a weight, held out; unit of replication: random layers.",
    ),
    Expect(
        "grows", "Twice the inputs, as many on: at least one and a half times the ANDs a neuron",
        "growth", ">= 1.5", of=GROWTH, null=DENSE, plant=SQUARES,
        why="Null: twice the inputs at the same density, so twice as many on. Plant: squares; theory gives about 2.",
    ),
    Expect(
        "sharing-pays", "Trained from random weights the loss is at most nine tenths of the yardstick's",
        "L / L_naive", "<= 0.9", of=TRAINED, null=FLAT, plant=SPARE,
        why="Null: the linear path alone. Plant: neurons for three gates in four instead of two, 5 % noise.",
        constant="a convex problem: all seeds end at its one optimum",
        note="Fourth power of the error, on sets of bits never seen in training.",
    ),
    Expect(
        "leaves-the-yardstick", "Started at one exact gate a neuron, training ends at most at nine tenths of its loss",
        "L / L_naive", "<= 0.9", of=GIVEN, null=YARDSTICK, plant=SPARE,
        why="Null: the start itself. Plant: neurons for three gates in four instead of two, 5 % noise.",
    ),
    Expect(
        "spreads", "It gives up exactness for that: at most seven tenths as many gates are computed as there are neurons",
        "computed", "<= 0.7", of=GIVEN, null=YARDSTICK, plant=BLURRED,
        why="Gates with error below 1/4 over neurons. Null: the start. Plant: half of its read-outs off by half.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Random layers, growth, trained layers; judge."""
    seeds = list(lab.seeds(config.seeds))
    table, curve = random_layers(config, lab, seeds)
    trained = lab.unit("trained", lambda: trained_layers(config, seeds))
    learned = pd.DataFrame(trained["rows"])
    table = arms(table, learned.drop(columns=["00", "01 or 10", "11"]))
    passed = gate(table, GATE)
    mean = table.groupby("arm").mean(numeric_only=True)
    claims = judge(table, EXPECTED, passed)
    verdict = {claim.id: claim.verdict for claim in claims}
    return Findings(
        passed,
        claims,
        figures(curve, learned),
        {"arms": table, "curve": curve, "retractions": retractions(RETRACTED)},
        answer=answer(
            "Untrained, {count} ANDs a neuron; trained neurons {how}, at {loss} of the loss of a gate a neuron.",
            count=mean.loc[RELU, "ANDs per neuron"],
            how={"supported": "share gates", "refuted": "do not share"}.get(verdict["sharing-pays"], "may share"),
            loss=mean.loc[TRAINED, "L / L_naive"],
        ),
    )  # fmt: skip


def random_layers(config: Config, lab: Lab, seeds: list[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(arms, curve): ANDs per neuron of all layers, and how they grow from n/2 to n inputs."""
    kinds = {"ReLU": RELU, "z²": SQUARE, "linear": LINEAR}
    small = config.n // 2

    def held(n: int, active: float, which: list[str]) -> dict[str, list[float]]:
        return lab.unit(f"random-{n}-{active:g}", lambda: per_neuron(config, n, active, seeds, which))

    by_size = {n: held(n, config.active, list(kinds)) for n in sorted({small, config.n, *config.sizes})}
    here, before, dense = by_size[config.n], by_size[small], held(config.n, 2 * config.active, ["ReLU"])
    theory = {n: n * (n - 1) / 2 / ands.neurons_in_theory(n, config.active / n) for n in by_size}
    over = {SQUARE: np.array(here["z²"]) / theory[config.n]}
    rows = [
        *(arm(name, seeds, **{"ANDs per neuron": here[kind]}, **({"over theory": over[name]} if name in over else {}))
          for kind, name in kinds.items()),
        *(arm(name, seeds, growth=np.array(a) / np.array(before[kind])) for name, kind, a in (
            (GROWTH, "ReLU", here["ReLU"]), (DENSE, "ReLU", dense["ReLU"]), (SQUARES, "z²", here["z²"]))),
    ]  # fmt: skip
    curve = [
        {"inputs": n, "ANDs per neuron": np.mean(found[kind]), "low": min(found[kind]), "high": max(found[kind]), "layer": name}
        for n, found in by_size.items() for kind, name in kinds.items()
    ] + [
        {"inputs": n, "ANDs per neuron": value, "low": value, "high": value, "layer": name}
        for n in by_size for name, value in (("squares, in theory", theory[n]), ("one gate a neuron", 1.0))
    ]  # fmt: skip
    return arms(*rows), pd.DataFrame(curve)


def per_neuron(config: Config, n: int, active: float, seeds: list[int], kinds: list[str]) -> dict[str, list[float]]:
    """{kind: (seed,)} pairs over the neurons that random layers need."""
    found = [
        ands.per_neuron(
            partial(gates.random_layer, n, kinds, seed),
            n, active / n, config.asked, config.widths, (0.0,), np.random.default_rng([seed, n, 51]),
        ) for seed in seeds
    ]  # fmt: skip
    return {kind: [float(one[kind][0]) for one in found] for kind in found[0]}


def trained_layers(config: Config, seeds: list[int]) -> dict[str, list[dict]]:
    """One row per arm and seed: loss over the yardstick's, gates computed per neuron, mean outputs by row."""
    task, h = config.task, config.neurons

    def learn(start: gates.Layers, steps: int, slower: float = 1.0) -> gates.Layers:
        return gates.train(task, start, steps, config.lr / slower, config.points, seeds[0])

    yardstick = gates.planted(task, h, seeds, config.noise)
    blurred = gates.planted(task, h, seeds, config.noise)
    blurred.V[:, : h // 2] *= 0.5
    nets = {
        TRAINED: learn(gates.started(task, h, seeds), config.steps),
        GIVEN: learn(yardstick, config.steps, slower=2),
        FLAT: learn(gates.started(task, 1, seeds, linear=True), config.steps // 2),
        YARDSTICK: yardstick,
        BLURRED: blurred,
        SPARE: gates.planted(task, 3 * h // 2, seeds, config.noise),
    }
    rows = []
    for name, one in nets.items():
        found = gates.examine(task, one, seeds[0])
        for i, seed in enumerate(seeds):
            rows.append({
                "arm": name, "seed": seed, "L / L_naive": float(found["loss"][i] / task.yardstick(h)),
                "computed": float(found["computed"][i] / h),
                **dict(zip(("00", "01 or 10", "11"), found["said"][i].tolist(), strict=True)),
            })  # fmt: skip
    return {"rows": rows}


def figures(curve: pd.DataFrame, learned: pd.DataFrame) -> list[Figure]:
    """ANDs per neuron by size; loss and exactness of trained layers."""
    names = [TRAINED, GIVEN, YARDSTICK, SPARE, FLAT]
    roles = dict(zip(names, ("treatment", "treatment", "theory", "plant", "control"), strict=True))
    dots = plots.figure(height=440, xaxis_title="loss over the yardstick's", yaxis_title="gates computed a neuron")
    for name in names:
        rows = learned[learned.arm == name]
        dots.add_scatter(
            x=rows["L / L_naive"].tolist(), y=rows["computed"].tolist(), mode="markers", name=name,
            marker={"size": 9, "color": plots.ROLES[roles[name]], "symbol": "circle" if name != GIVEN else "diamond"},
        )  # fmt: skip
    shown = curve[curve.layer != LINEAR]
    return [
        Figure(
            "random-layers",
            plots.lines_with_band(
                shown,
                "inputs",
                "ANDs per neuron",
                "layer",
                "low",
                "high",
                x_title="inputs, two of them on",
                roles={"squares, in theory": "theory", "one gate a neuron": "control", RELU: "treatment"},
            ),
            "Pairs of inputs over the neurons that a random layer needs until their ANDs can be read from it: mean and range "
            "over layers. A linear layer is at 0.",
        ),
        Figure("trained", dots, "Each dot a network: training pays with exactness (downwards) for loss (to the left)."),
    ]
