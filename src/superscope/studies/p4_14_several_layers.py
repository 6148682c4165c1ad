"""4.14: can computation in superposition happen across several layers of ReLUs?

Target: y_i = max(0, x_i, x'_i) of pairs of signed inputs. Its kinks are three half-lines and one hidden layer makes kinks along
whole lines, so no width of one layer is exact (Mukherjee and Basu 2017; Hertrich et al. 2021): a theorem, and no claim. Two
layers are exact with three neurons a pair, ReLU(x - y), ReLU(y + 1) and ReLU(a + c - 1), or with two if layer two also reads
the inputs. (max(|x|, |y|) takes one layer.)

Layer one is made scarce: 6 pairs, 8 neurons in layer one (12 are needed), 12 in layer two. Not layer two: with fewer neurons
there than outputs, all outputs lie in a space of that dimension and the best hand-out is optimal by Eckart and Young.
The yardstick is a bound: a pair that has two neurons of layer one costs nothing, a pair that has one costs what is left when
only one projection of it is seen, whatever follows, and a pair without any costs its variance; no network without sharing can
be better. With a residual path (layers read the inputs and are read by the output) a pair takes one neuron a layer: 6 pairs,
3 and 6 neurons, and a pair without a first neuron costs what one ReLU and a linear path leave.

Asked of what training finds: is it below the yardstick, also when it starts at the hand-out? Is it below one layer of as many
neurons? Is the interference of one pair with others, by patching its inputs, smaller in the output than in the best linear
read-out of layer one? An exact network without sharing has none in either (a gate).
Loss: sum over outputs, mean over samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from superscope import measure, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms, retractions
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.toys import pair_maxima as toy

PROBLEM = "4.14"
TITLE = "Computation in superposition across layers"
QUESTION = (
    "Can features that need two ReLU layers be computed in superposition, and does the second layer clean up interference?"
)
ASSUMPTIONS = [
    "Inputs are uniform on [-1, 1] when on; the two of a pair are on together unless said otherwise: of two that are on one "
    "at a time, max(0, x, y) is ReLU(x + y), which takes one neuron.",
    "Pairs are rare (.03): in exploration at .2 no network was below the hand-out.",
    "No sharing means that a neuron of layer one reads the inputs of one pair.",
    "Interference is what patching one pair changes in the outputs of others, over what it changes in its own.",
]
DISANALOGIES = [
    "Every output needs the same two-step circuit; circuits of different depth would compete for neurons differently.",
    "That one layer cannot be exact matters only where losses are small: at the losses of shared neurons it may do as well.",
    "Error correction in the constructions (arXiv 2408.05451) is for Boolean features at widths of hundreds.",
]
TIPS = ["A layer narrower than the outputs decides alone: all outputs are in a space of its dimension"]

SHARED, APART, START, FLAT = "plain", "no sharing", "plain, from the hand-out", "one layer"
RESIDUAL, RESIDUAL_APART, ALONE, ALONE_APART = "residual", "residual, no sharing", "on their own", "on their own, no sharing"
SPARE, STRAIGHT, RING, SINGLE = "noisy, with neurons for all", "plain, layer two affine", "noisy ring code", "exact, no sharing"
TRAINED = {  # name: (parts it does without, without sharing, the two of a pair are on together)
    SHARED: ("V U T", False, True),
    APART: ("V U T", True, True),
    ALONE: ("V U T", False, False),
    ALONE_APART: ("V U T", True, False),
    FLAT: ("W2 T", False, True),
    RESIDUAL: ("", False, True),
    RESIDUAL_APART: ("", True, True),
}
RETRACTED = [
    ("beats-allocation", "refuted", "four neurons were taken for an exact pair; with three the yardstick was 0. With fewer "
     "neurons in layer two than outputs, as there, no network can beat it"),
    ("layer-1, layer-2", "refuted", "an exact network without sharing loses .47 and .13, so it fails both rules: the target "
     "was measured"),
    ("cleans-up", "supported", "energy on pairs that are off has a ratio of 7e-27 in an exact network, which has nothing to "
     "clean up"),
    ("flat-floor, deep-exact", "supported", "a theorem and its construction: tests now"),
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """The pairs, the neurons, and how much training."""

    pairs: int = 6
    widths: tuple[int, int] = (8, 12)
    residual: tuple[int, int] = (3, 6)  # widths with a residual path
    density: float = 0.03
    seeds: int = 10
    steps: int = 4000
    points: int = 96  # a step
    lr: float = 0.02
    noise: float = 0.003  # of built networks, which are wrong on silence too

    def __post_init__(self) -> None:
        if not self.pairs <= self.widths[0] < 2 * self.pairs or self.widths[1] < self.pairs:
            few = f"layer one must have {self.pairs} to {2 * self.pairs - 1} neurons (else nothing is scarce)"
            raise ValueError(f"widths={self.widths}: {few} and layer two at least one for each of {self.pairs} outputs")
        if not self.residual[0] < self.pairs == self.residual[1]:
            raise ValueError(f"residual={self.residual}: fewer than {self.pairs} neurons in layer one, that many in layer two")


PRESETS = {
    "quick": Config(),
    "standard": Config(seeds=20, steps=20_000, points=128, lr=0.01),
    "full": Config(seeds=40, steps=100_000, points=256, lr=0.01),
}

BELOW = "<= 0.8"
GATE = [
    Check("Without sharing training reaches no more than whole neurons could", "over the hand-out", ">= 0.99", APART),
    Check("shared layers interfere: a linear read-out of layer one has something to clean up", "after one", ">= 0.05", SHARED,
          by="mean"),
    Check("an exact network without sharing has no interference", "after two", "<= 1e-6", SINGLE),
    Check("nor has a linear read-out of its layer one", "after one", "<= 0.001", SINGLE),
]  # fmt: skip
EXPECTED = [
    Expect(
        "below-hand-out", "Two plain layers do more than whole neurons could: loss at most 0.8 of the best hand-out",
        "over the hand-out", BELOW, of=SHARED, null=APART, plant=SPARE,
        why="Null: trained the same, but each neuron is given to one pair. Plant: neurons for all pairs and noise.",
    ),
    Expect(
        "below-hand-out-residual", "So do two layers with a residual path",
        "over the hand-out", BELOW, of=RESIDUAL, null=RESIDUAL_APART, plant=SPARE,
        why="Null: trained the same, but each neuron is given to one pair. Plant: neurons for all pairs and noise.",
    ),
    Expect(
        "below-hand-out-alone", "So do two plain layers when the two of a pair are on independently",
        "over the hand-out", BELOW, of=ALONE, null=ALONE_APART, plant=SPARE,
        why="Null: trained the same, but each neuron is given to one pair. Plant: neurons for all pairs and noise.",
    ),
    Expect(
        "leaves-hand-out", "Training that starts at the hand-out leaves it: loss at most 0.8 of the best hand-out",
        "over the hand-out", BELOW, of=START, null=APART, plant=SPARE,
        why="Null: the starts themselves, which cannot share. Plant: neurons for all pairs and noise.",
    ),
    Expect(
        "below-one-layer", "Two layers have at most 0.8 of the loss of one layer with as many neurons",
        "over one layer", BELOW, of=SHARED, null=FLAT, plant=SPARE,
        why="Null: one layer against one layer of the other seeds. Plant: neurons for all pairs and noise.",
    ),
    Expect(
        "cleans-up", "The output has at most half of the interference of the best linear read-out of layer one",
        "after two / after one", "<= 0.5", of=SHARED, null=STRAIGHT, plant=RING,
        why="Null: the same networks, layer two's ReLUs replaced by their best affine fits. Plant: a code that shares "
        "layer one and has thresholds in layer two.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Train all variants at once, then plain networks from the hand-out; patch; judge."""
    table = lab.unit("networks", partial(measured, config, list(lab.seeds(config.seeds))))
    passed = gate(table, GATE)
    mean = table.groupby("arm").mean(numeric_only=True)
    claims = judge(table, EXPECTED, passed)
    verdict = {claim.id: claim.verdict for claim in claims}
    return Findings(
        passed,
        claims,
        figures(table),
        {"arms": table, "yardsticks": yardsticks(config), "retractions": retractions(RETRACTED)},
        answer=answer(
            "{how}: two layers that share neurons have {share} of the loss of the best hand-out, and {flat} times that of one "
            "layer with as many neurons.",
            how={"supported": "Yes", "refuted": "No"}.get(verdict["below-hand-out"], "Undecided"),
            share=mean.loc[SHARED, "over the hand-out"],
            flat=mean.loc[SHARED, "over one layer"],
        ),
    )


def hand_out(config: Config, together: bool, residual: bool = False) -> float:
    """Loss of the best hand-out of whole neurons of layer one, a bound (see above)."""
    if residual:
        return (config.pairs - config.residual[0]) * toy.one_hinge(config.density, together)
    cost = [toy.pair_variance(config.density, together), toy.one_projection(config.density, together), 0.0]
    return measure.best_allocation(np.tile(cost, (config.pairs, 1)), config.widths[0]).loss


def yardsticks(config: Config) -> pd.DataFrame:
    """The bounds, as a share of what nothing costs."""
    kinds = {SHARED: (True, False), ALONE: (False, False), RESIDUAL: (True, True)}
    nothing = {name: config.pairs * toy.pair_variance(config.density, kind[0]) for name, kind in kinds.items()}
    return pd.DataFrame([{"networks": name, "share": hand_out(config, *kind) / nothing[name]} for name, kind in kinds.items()])


def owners(config: Config, residual: bool) -> toy.Owners:
    """The pair of every neuron in the best hand-out; the spare neurons of layer two go to pairs with one in layer one."""
    k, (h1, h2) = config.pairs, config.widths
    gone = ([toy.NONE] * h1, [toy.NONE] * h2)
    if residual:
        one, two = config.residual
        return list(range(one)) + gone[0][one:], list(range(two)) + gone[1][two:]
    whole = h1 - k  # pairs with two neurons
    rest = [whole + i % (k - whole) for i in range(h2 - k)]
    return sorted([*range(k), *range(whole)]), sorted([*range(k), *rest])


def measured(config: Config, seeds: list[int]) -> pd.DataFrame:
    """One row a network: loss over both yardsticks, and interference where layers are shared."""
    nets, count = toy.random(seeds, config.pairs, config.widths), len(seeds)
    masks, kinds = [], []
    for without, apart, together in TRAINED.values():
        residual = without == ""
        mask = toy.allowed(config.pairs, config.widths, without, owners(config, residual) if apart else None)
        masks += [toy.only(mask, config.residual) if residual else mask] * count
        kinds += [together] * count
    recipe: dict[str, Any] = {
        "density": config.density,
        "steps": config.steps,
        "lr": config.lr,
        "points": config.points,
        "seed": seeds[0],
    }
    made = toy.train(toy.joined(*[nets] * len(TRAINED)), toy.joined(*masks), kinds, **recipe)
    by = {name: made[slice(i * count, (i + 1) * count)] for i, name in enumerate(TRAINED)}
    free = toy.joined(*[toy.allowed(config.pairs, config.widths)] * count)
    by[START] = toy.train(toy.noisy(by[APART], 0.01, seeds), free, [True] * count, **recipe)
    built = {
        SPARE: toy.noisy(toy.exact(config.pairs), config.noise, seeds),
        SINGLE: toy.joined(*[toy.exact(config.pairs)] * count),
        RING: toy.noisy(toy.ring_code(config.pairs), config.noise, seeds),
    }
    on = {**{name: kind for name, (_, _, kind) in TRAINED.items()}, START: True, SPARE: True}
    loss = {name: toy.loss({**by, **built}[name], [kind] * count, config.density, seeds[0]) for name, kind in on.items()}
    yard = {key: hand_out(config, *key) for key in ((True, False), (False, False), (True, True))}
    rows = []
    for name, kind in on.items():
        residual = name in (RESIDUAL, RESIDUAL_APART)
        over = {"over the hand-out": loss[name] / yard[kind, residual]}
        if name in (SHARED, SPARE, FLAT, START):
            others = loss[FLAT].sum() - (loss[FLAT] if name == FLAT else 0)
            over["over one layer"] = loss[name] / (others / (count - (name == FLAT)))
        rows.append(arm(name, seeds, loss=loss[name], **over))
    for name, some, straight in ((SHARED, by[SHARED], False), (STRAIGHT, by[SHARED], True), (RING, built[RING], False),
                                 (SINGLE, built[SINGLE], False)):  # fmt: skip
        one, two = toy.interference(some, config.density, seeds[0], straight).T
        ratio = {} if name == SINGLE else {"after two / after one": two / one}
        rows.append(arm(name, seeds, **{"after one": one, "after two": two}, **ratio))
    return arms(*rows)


def figures(table: pd.DataFrame) -> list[Figure]:
    """Losses over the hand-out of every network; interference after one and two layers."""
    losses = table.dropna(subset=["over the hand-out"])
    drawn = plots.figure(height=420, yaxis_title="loss over the best hand-out", yaxis_type="log")
    for name, rows in losses.groupby("arm", sort=False):
        drawn.add_box(y=rows["over the hand-out"].tolist(), name=str(name), boxpoints="all", showlegend=False)
    drawn.add_hline(y=1, line_dash="dot", line_color=plots.ROLES["theory"])
    axes = {"xaxis_title": "interference in a linear read-out of layer one", "yaxis_title": "in the output"}
    patched = plots.figure(height=420, **axes)
    for name in (SHARED, STRAIGHT, RING):
        rows = table[(table.arm == name) & table["after one"].notna()]
        patched.add_scatter(x=rows["after one"].tolist(), y=rows["after two"].tolist(), mode="markers", name=name)
    return [
        Figure("losses", drawn, "Loss of every network over what whole neurons could reach (dotted)."),
        Figure("interference", patched, "What patching one pair changes in the outputs of others, over its own."),
    ]
