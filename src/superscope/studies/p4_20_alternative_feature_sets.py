"""4.20: a task on which networks learn different sets of features.

A. Two bases. Data are sparse in one of two orthonormal bases, two features at a time in the first and three in the second,
so that no symmetry exchanges them; an autoencoder has atoms for one basis. The bases are drawn anew for every seed, and their
shares are set where dictionaries started at either have the same loss (from those alone). Of several random starts on the same
data, do the good ones (within 1 % of the best) choose differently, are both choices equally good, and does taking out an atom
hurt different inputs?
B. Clock and pizza (Zhong et al. 2023, arXiv 2306.17844): addition mod p by ReLU(e_a W + e_b V + b) U. From a random start both
summands keep maps of their own. Networks that were trained with W = V (pizzas: they see e_a + e_b alone) are let go, with noise
on the difference of both maps, and trained on: do they stay pizzas beside networks that never were? Told by gradient
symmetricity, distance irrelevance, and by taking out what differs between the two maps.

Frequencies of addition mod p are exchanged by an exact symmetry of the task and no claim here any more: that their losses are
equal is a theorem. Loss: A squared error summed over outputs plus the price of activity, mean over samples; B cross-entropy in
nats plus weight decay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch

from superscope import plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms, retractions
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.toys import adders
from superscope.toys import feature_sets as sets

PROBLEM = "4.20"
TITLE = "More than one right set of features"
QUESTION = "Is there a task on which equally good networks learn different sets of features from seed to seed?"
ASSUMPTIONS = [
    "A set of features is the atoms of the decoder in A, and in B how both summands are read.",
    "Starts differ in initial weights and in the points they see, which are drawn from the same sources.",
    "What is compared in A are good solutions, not all outcomes of training.",
]
DISANALOGIES = [
    "The share of the bases is tuned to a tie. How often near-ties occur in natural data is another question.",
    "With more room a dictionary holds both bases, and seeds agree: the choice is a product of scarcity.",
    "Pizzas are started from, not found: with maps of their own no random start ends as one. A sceptic calls clocks and "
    "pizzas the same circles seen from two sides (arXiv 2512.25060).",
]
TIPS = ["Ask what is different when a part is taken out; equal losses say nothing about that"]

BASES, TILTED, UNTRAINED, TRUE = "two bases", "two bases, one favoured", "untrained", "noisy bases"
UNEQUAL, STARTED = "the same, judged with one basis favoured", "started at the bases"
CLOCK, PIZZA, TIED = "random start", "from a sum", "one map, with noise"
SHORT, SHAKEN = "random start, half as long", "random start, shaken half-way"
RETRACTED = [
    ("mod-within, mod-between, mod-equal", "supported", "frequencies are exchanged by an exact symmetry of the task: theorems"),
    ("bases-equal", "supported", "one rotation exchanged the bases; now no symmetry does"),
    ("bases-barrier, mod-barrier", "supported", "26 of 28 ratios were set by the floor put under the smaller barrier"),
    ("bases-clusters, mod-clusters, one-frequency", "supported", "consequences of the same symmetry and of a plane's scarcity"),
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Both tasks, and how much training."""

    n: int = 16  # A: dimensions and atoms, a power of two
    active: tuple[int, int] = (2, 3)  # features at a time in either basis
    price: float = 0.4  # of activity
    tilt: float = 0.15  # of the share, where one basis is favoured
    starts: int = 8
    dictionary_steps: int = 1200
    p: int = 31  # B: odd
    d: int = 8
    hidden: int = 40
    decay: float = 3e-4
    steps: int = 800  # with one map, or with two from the start
    more: int = 500  # with two maps, for all
    noise: float = 0.2  # of a standard deviation, on the difference of both maps
    seeds: int = 10

    def __post_init__(self) -> None:
        if self.n < 4 or self.n & (self.n - 1):
            raise ValueError(f"n={self.n}: expected a power of two >= 4 (4, 8, 16, ...), for which there is a Hadamard basis")
        if self.active[0] == self.active[1]:
            raise ValueError(f"active={self.active}: expected two different numbers, or one rotation exchanges the bases")
        if self.p < 5 or not self.p % 2:
            raise ValueError(f"p={self.p}: expected an odd number of at least 5")


PRESETS = {
    "quick": Config(),
    "standard": Config(starts=8, dictionary_steps=4000, p=59, d=12, hidden=64, steps=3000, more=2000, seeds=20),
    "full": Config(n=32, active=(3, 5), starts=16, dictionary_steps=10_000, p=59, d=16, hidden=96, steps=10_000, more=5000,
                   seeds=40),
}  # fmt: skip

TIE = "within [0.98, 1.02]"
GATE = [
    Check("Dictionaries are as good as those started at a basis", "over started", "<= 1.05", BASES, by="mean"),
    Check("every random start adds", "accuracy", ">= 0.99", CLOCK),
    Check("and every network from a sum", "accuracy", ">= 0.99", PIZZA),
]
EXPECTED = [
    Expect(
        "pure", "Seeds learn one basis or the other, not some of each (difference of mean matched cosines)",
        "purity", ">= 0.5", of=BASES, null=UNTRAINED, plant=TRUE,
        why="Null: the starts of the same networks. Plant: the bases with 10 % noise.",
    ),
    Expect(
        "both", "Starts on the same data choose differently: at least .18 of pairs of good ones disagree",
        "disagree", ">= 0.18", of=BASES, null=TILTED, plant=STARTED,
        why="Null: the same training with one basis in more of the data. Plant: a network started at either basis.",
        constant="where one basis is favoured all starts may agree", note=".18 = 2 x .1 x .9: a tenth choose the other basis.",
    ),
    Expect(
        "tie", "Both choices are equally good: loss over that of a network started at the other basis",
        "over the other kind", TIE, of=BASES, null=UNEQUAL, plant=STARTED,
        why="Null: the same networks, data that favour one basis. Plant: networks started at the bases.",
    ),
    Expect(
        "atoms-matter", "Taking out an atom hurts its feature at least three times as much in the learned basis",
        "own share of damage", ">= 0.75", of=BASES, null=UNTRAINED, plant=TRUE,
        why="The atom nearest to a feature; rise of the loss where the feature is on minus where it is off. Null: the starts "
        "of the same networks. Plant: the bases with 10 % noise.",
    ),
    Expect(
        "stays-a-sum", "Networks from a sum keep both summands' gradients alike (gradient symmetricity)",
        "gradient symmetricity", ">= 0.8", of=PIZZA, null=CLOCK, plant=TIED,
        why="Null: networks of the same architecture from random starts. Plant: one map with half the noise.",
    ),
    Expect(
        "distance-matters", "and are surer of some differences of the summands than of others (distance irrelevance)",
        "distance irrelevance", "<= 0.7", of=PIZZA, null=CLOCK, plant=TIED,
        why="Null: networks of the same architecture from random starts. Plant: one map with half the noise.",
    ),
    Expect(
        "one-map-suffices", "and lose at most 0.02 of their sums when what differs between both maps is taken out",
        "lost by one map", "<= 0.02", of=PIZZA, null=CLOCK, plant=TIED,
        why="Null: networks of the same architecture from random starts. Plant: one map with half the noise.",
    ),
    Expect(
        "pizza-tie", "Networks from a sum are as good as those from random starts (losses, ratio)",
        "loss", TIE, of=f"{PIZZA} / {CLOCK}", null=f"{SHORT} / {CLOCK}", plant=f"{SHAKEN} / {CLOCK}",
        why="Null: random starts, half as long. Plant: the same networks with 2 % noise where the sums are let go.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Train both tasks, compare, judge."""
    seeds = list(lab.seeds(config.seeds))
    parts = (("bases", two_bases), ("sums", clocks_and_pizzas))
    table = arms(*(lab.unit(name, partial(measured, config, seeds)) for name, measured in parts))
    passed = gate(table, GATE)
    mean = table.groupby("arm").mean(numeric_only=True)
    return Findings(
        passed,
        judge(table, EXPECTED, passed),
        figures(table),
        {"arms": table, "retractions": retractions(RETRACTED)},
        answer=answer(
            "Of pairs of equally good dictionaries {share} have different features; pizzas beside clocks have {loss} times "
            "their loss.",
            share=mean.loc[BASES, "disagree"],
            loss=mean.loc[PIZZA, "loss"] / mean.loc[CLOCK, "loss"],
        ),
    )


def two_bases(config: Config, seeds: list[int]) -> pd.DataFrame:
    """A: one row a seed, that is two bases; of its good starts the first."""
    n, count, key = config.n, len(seeds), seeds[0]
    bases = np.array([sets.two_bases(n, seed) for seed in seeds])
    rngs = [np.random.default_rng([seed, 201]) for seed in seeds]
    noise = np.array([rng.standard_normal((2, n, n)) for rng in rngs]) / np.sqrt(n)
    fresh = np.array([rng.standard_normal((config.starts, n, n)) for rng in rngs]).reshape(-1, n, n)

    def train(start: np.ndarray, share: np.ndarray) -> tuple[sets.Net, np.ndarray]:
        """Networks, and (2, seed, start) their losses on data of either basis."""
        each = len(start) // count
        there, wide = np.repeat(bases, each, 0), np.repeat(share, each)
        nets = sets.train(sets.dictionaries(start), there, config.active, wide, config.price, config.dictionary_steps, key)
        return nets, sets.by_basis(nets, there, config.active, config.price, 2000, key).reshape(2, count, each)

    def total(loss: np.ndarray, share: np.ndarray) -> np.ndarray:
        return share[:, None] * loss[0] + (1 - share[:, None]) * loss[1]

    near = (bases + 0.1 * noise).reshape(-1, n, n)
    share = sets.tied_share(train(near, np.full(count, 0.5))[1].transpose(0, 2, 1))
    tilted = share + np.where(share < 0.5, config.tilt, -config.tilt)
    planted, planted_loss = train(near, share)
    side, each, rows = np.arange(count) % 2, np.arange(count), []
    made = {STARTED: (planted, planted_loss, share)}
    made |= {name: (*train(fresh, mix), mix) for name, mix in ((BASES, share), (TILTED, tilted))}
    for name, (nets, loss, mix) in made.items():
        value = total(loss, mix)
        good = value <= 1.01 * value.min(1, keepdims=True)
        kind = sets.likeness(nets, np.repeat(bases, value.shape[1], 0)).argmax(0).reshape(value.shape)
        pick = side if name == STARTED else good.argmax(1)
        some = {part: one[pick + value.shape[1] * each] for part, one in nets.items()}
        mine = kind[each, pick]

        def ratio(at: np.ndarray, loss=loss, mine=mine, pick=pick) -> np.ndarray:
            """Loss over the other kind's, for the first kind, its inverse for the second: a preference does not cancel."""
            found = total(loss, at)[each, pick] / total(planted_loss, at)[each, 1 - mine]
            return np.where(mine == 0, found, 1 / found)

        chosen = {"disagree": sets.disagreement(kind, good), "first basis": (mine == 0).astype(float)}
        read = sets.reading(some, bases, config.active, config.price, key)
        rows.append(arm(name, seeds, **read, **chosen, **{"over the other kind": ratio(mix)}))
        if name == BASES:
            rows[-1] = rows[-1].assign(**{"over started": value[each, pick] / total(planted_loss, share).min(1)})
            rows.append(arm(UNEQUAL, seeds, **{"over the other kind": ratio(tilted)}))
    for name, start in ((UNTRAINED, fresh[:: config.starts]), (TRUE, near.reshape(count, 2, n, n)[each, side])):
        rows.append(arm(name, seeds, **sets.reading(sets.dictionaries(start), bases, config.active, config.price, key)))
    return arms(*rows)


def clocks_and_pizzas(config: Config, seeds: list[int]) -> pd.DataFrame:
    """B: one row a network."""
    count, total = len(seeds), config.steps + config.more
    start = adders.random(seeds, config.p, config.d, config.hidden)
    first = adders.train(adders.joined(start, start), torch.arange(2 * count) >= count, config.steps, 0.02, config.decay)
    clocks, sums = first[slice(count)], first[slice(count, None)]
    both = adders.joined(clocks, adders.split(clocks, 0.02, seeds), adders.split(sums, config.noise, seeds))
    nets = adders.train(both, torch.zeros(3 * count), config.more, 0.01, config.decay)
    short = adders.train(start, torch.zeros(count), total // 2, 0.02, config.decay)
    by = {name: nets[slice(i * count, (i + 1) * count)] for i, name in enumerate((CLOCK, SHAKEN, PIZZA))}
    by |= {TIED: adders.split(sums, config.noise / 2, seeds), SHORT: short}
    rows = []
    for name, net in by.items():
        right = adders.accuracy(net)
        values = {
            "gradient symmetricity": adders.gradient_symmetricity(net),
            "distance irrelevance": adders.distance_irrelevance(net),
            "lost by one map": right - adders.accuracy(net.tied()), "accuracy": right,
            "loss": adders.objective(net, config.decay).detach().numpy(),
        }  # fmt: skip
        rows.append(arm(name, seeds, **values))
    return arms(*rows)


def figures(table: pd.DataFrame) -> list[Figure]:
    """What taking out atoms does, by basis learned; the two numbers that tell clocks from pizzas."""
    chosen = plots.figure(height=420, xaxis_title="purity", yaxis_title="share of damage in the own basis")
    for name in (BASES, UNTRAINED, TRUE):
        rows = table[table.arm == name]
        chosen.add_scatter(x=rows["purity"].tolist(), y=rows["own share of damage"].tolist(), mode="markers", name=name)
    told = plots.figure(height=420, xaxis_title="gradient symmetricity", yaxis_title="distance irrelevance")
    for name in (CLOCK, PIZZA, TIED):
        rows = table[table.arm == name]
        x, y = rows["gradient symmetricity"].tolist(), rows["distance irrelevance"].tolist()
        told.add_scatter(x=x, y=y, mode="markers", name=name)
    return [
        Figure("bases", chosen, "How far every dictionary has chosen, and how much more its own features need their atoms."),
        Figure("clock-pizza", told, "Clocks are at the upper left, pizzas at the lower right; every dot is a network."),
    ]
