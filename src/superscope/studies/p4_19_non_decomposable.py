"""4.19: a representation that does not decompose into independently understandable features.

Composition c = a b in A5, the smallest group that is simple and does not commute: 60 elements, a code of a in 6 dimensions,
read together with b by an MLP. No coordinate of a product in A5 can be computed from that coordinate of the factors (a simple
group has no homomorphic image; compare Birkhoff 1944). That is a theorem about independent computation. Is the representation
indivisible, too? The estimate is a gap: a code that must be a sum of 12 + 5 atoms (a subgroup A4 and a complement C5) is
trained, copies are released, all train on, and the loss is compared with that of the better free code: released, or free from a
random start. If additivity costs nothing there is nothing in the code that its two coordinates do not say.

Null: A4 x Z5, which does not commute either and is a direct product, by its two factors. Plant: the same group by a grid of its
elements drawn at random, so that a sum over 12 + 5 atoms says nothing useful. Second task: a lookup read by the same MLP,
c = pi_b(a) with random permutations; its null pi_b(row), sigma_b(column), its plant the null by a random grid.

Also: what free codes look like. Their energies in the irreducible representations of A5 (3, 3, 4, 5) against the same codes
turned at random in the space of functions on the group; plant: orbits of an icosahedron in noise. (The sheet's 90 % of energy
in representations of dimension two or more holds for any code of A5 and is no test.)
Loss: nats, mean over pairs, plus decay times the squares of codes and weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from superscope import plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms, retractions
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.toys import composers, groups

PROBLEM = "4.19"
TITLE = "A representation that does not decompose"
QUESTION = (
    "Can activations carry what a task needs without being made of features that can be understood one at a time, and can "
    "that be told from a code that merely looks complicated?"
)
ASSUMPTIONS = [
    "Decomposable means that a code which is a sum of a part for one coordinate and a part for another does as well.",
    "In A5 the coordinates are those of its factorisation into subgroups, as h k or as k h (even and odd seeds).",
    "A better code that training finds neither from the additive code nor from a random start is missed.",
]
DISANALOGIES = [
    "One feature per element is a decomposition of any finite task; it needs 60 atoms in place of 17 and explains nothing.",
    "An MLP reads any code that keeps elements apart, if it is wide enough: that a sum is good enough is a statement "
    "about this reader as much as about the group.",
    "A sum of three or more parts, or coordinates that no subgroup gives, would be decompositions, too; none is searched for.",
]
TIPS = ["Let go of the constraint and see whether the code moves: a gap in the loss is worth more than a look at the code"]

A5, PRODUCT, SCRAMBLED, FREE = "A5", "A4 x Z5", "A4 x Z5, random grid", "A5, random start"
LOOKUP, PARTS, MIXED = "lookup", "lookup by parts", "lookup by parts, random grid"
TURNED, ORBIT = "A5, random start, turned", "noisy icosahedron"
RETRACTED = [
    ("group-code, group-interchange", "supported", "S4 reads as a Klein coset and a place in it: a code constrained to be "
     "additive does as well, 4 of 4. What a free code looks like is not what the task needs"),
    ("lookup-interchange, lookup-joint", "supported", "follow nearly from a linear read-out, whose logits add; "
     "now an MLP reads"),
    ("not-commutativity", "supported", "the arm is the null now"),
    ("S4 as a consequence of Birkhoff's theorem", "assumed", "the theorem is about independent computation, not about codes"),
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """The network and how much training."""

    code: int = 6  # dimensions
    width: int = 48
    seconds: int = 16  # values of b in the lookups
    seeds: int = 10
    steps: int = 1200  # under the constraint
    released: int = 500  # more, with it and without
    points: int = 96  # pairs a step
    lr: float = 0.03
    decay: float = 5e-5
    noise: float = 0.4  # of the planted orbit, share of the energy


PRESETS = {
    "quick": Config(),
    "standard": Config(width=64, seeds=20, steps=5000, released=2500, points=256, lr=0.02),
    "full": Config(width=96, seeds=40, steps=20_000, released=10_000, points=512, lr=0.02),
}

GAP, MOVED, SHAPE = "constrained / free", "additive share", "concentration"
GATE = [
    Check("A5 is learned", "accuracy", ">= 0.9", A5, by="mean"),
    Check("so is the product", "accuracy", ">= 0.9", PRODUCT, by="mean"),
    Check("so is the lookup", "accuracy", ">= 0.9", LOOKUP, by="mean"),
]
EXPECTED = [
    Expect(
        "group-gap", "Composition in A5 needs a code that is no sum: the constraint costs at least a quarter of the free loss",
        GAP, ">= 1.25", of=A5, null=PRODUCT, plant=SCRAMBLED,
        why="Null: a product of the same order, by its factors. Plant: the same product by a random grid.",
        note="All train equally long. Median: a constrained training that failed is no finding about codes.", stat="median",
    ),
    Expect(
        "group-moves", "The better free code of A5 is no sum: at most 0.8 of its variance is additive",
        MOVED, "<= 0.8", of=A5, null=PRODUCT, plant=SCRAMBLED, stat="median",
        why="Null: a product of the same order, by its factors. Plant: the same product by a random grid.",
    ),
    Expect(
        "lookup-gap", "A random lookup read by an MLP needs a code that is no sum: the constraint costs at least a quarter",
        GAP, ">= 1.25", of=LOOKUP, null=PARTS, plant=MIXED,
        why="Null: random permutations of rows and of columns, so that a table of the same size has two coordinates. Plant: "
        "the same by a random grid.",
    ),
    Expect(
        "irreps", "Free codes of A5 prefer some of its irreducible representations (total variation from chance)",
        SHAPE, ">= 0.2", of=FREE, null=TURNED, plant=ORBIT,
        why="Null: the same codes with the same singular values, turned among all functions on the group. Plant: an orbit of "
        "one representation of dimension 3, with noise.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Train under the constraint and freely, release, compare."""
    seeds = list(lab.seeds(config.seeds))
    tables = [lab.unit(name, partial(made, config, seeds)) for name, made in (("groups", composed), ("lookups", looked_up))]
    table = arms(*tables)
    passed = gate(table, GATE)
    middle = table.groupby("arm").median(numeric_only=True)
    return Findings(
        passed,
        judge(table, EXPECTED, passed),
        figures(table),
        {"arms": table, "retractions": retractions(RETRACTED)},
        answer=answer(
            "A code of A5 that must be a sum of two parts has {gap} times the loss of the free one; of a lookup, {other}.",
            gap=middle.loc[A5, GAP],
            other=middle.loc[LOOKUP, GAP],
        ),
    )


def random_grids(seeds: list[int]) -> np.ndarray:
    """(seed, 12, 5) the elements in any order."""
    return np.array([np.random.default_rng([s, 190]).permutation(groups.ORDER).reshape(groups.ROWS, -1) for s in seeds])


def composed(config: Config, seeds: list[int]) -> pd.DataFrame:
    """The groups: one row a network."""
    sides, own = groups.grids("A5"), groups.grids("A4 x Z5")[0]
    tasks = {
        A5: ("A5", np.array([sides[seed % 2] for seed in seeds])),
        PRODUCT: ("A4 x Z5", np.array([own] * len(seeds))),
        SCRAMBLED: ("A4 x Z5", random_grids(seeds)),
    }
    answers = {name: np.array([groups.product(group)] * len(seeds)) for name, (group, _) in tasks.items()}
    table, free = released(config, seeds, answers, {name: grid for name, (_, grid) in tasks.items()})
    codes = free[slice(len(seeds))].codes.numpy()
    return arms(
        table,
        arm(FREE, seeds, **{SHAPE: groups.concentration(codes)}),
        arm(TURNED, seeds, **{SHAPE: groups.concentration(groups.turned(codes, seeds))}),
        arm(ORBIT, seeds, **{SHAPE: groups.concentration(groups.irreducible(seeds, config.code, config.noise))}),
    )


def looked_up(config: Config, seeds: list[int]) -> pd.DataFrame:
    """The lookups: one row a network."""
    own = groups.grids("A4 x Z5")[0]
    joint, parts = [], []
    for seed in seeds:
        rng = np.random.default_rng([seed, 191])
        joint.append(np.stack([rng.permutation(groups.ORDER) for _ in range(config.seconds)], 1))
        row, column = np.divmod(np.arange(groups.ORDER), groups.COLUMNS)
        both = [(rng.permutation(groups.ROWS), rng.permutation(groups.COLUMNS)) for _ in range(config.seconds)]
        parts.append(np.stack([first[row] * groups.COLUMNS + second[column] for first, second in both], 1))
    answers = {LOOKUP: np.array(joint), PARTS: np.array(parts), MIXED: np.array(parts)}
    grids = {LOOKUP: np.array([own] * len(seeds)), PARTS: np.array([own] * len(seeds)), MIXED: random_grids(seeds)}
    return released(config, seeds, answers, grids)[0]


def released(
    config: Config, seeds: list[int], answers: dict[str, np.ndarray], grids: dict[str, np.ndarray]
) -> tuple[pd.DataFrame, composers.Composers]:
    """Train with codes that are sums over grids and with free ones; then on, with the constraint and released. The second and
    third task are one, by two grids. Also the networks of the first two tasks that were free from the start."""
    count = len(seeds)
    recipe: dict[str, Any] = {"decay": config.decay, "points": config.points}
    start = [
        composers.fresh(seeds, answers[name], config.code, config.width, np.array([groups.coordinates(g) for g in grids[name]]))
        for name in answers
    ]
    start += [composers.fresh(seeds, answers[name], config.code, config.width) for name in list(answers)[:2]]
    first = composers.train(composers.joined(start), config.steps, config.lr, seed=seeds[0], **recipe)
    both = composers.joined([first, first[slice(3 * count)].free()])
    nets = composers.train(both, config.released, config.lr / 3, seed=seeds[0] + 1, **recipe)
    loss, right = (one.reshape(8, count) for one in composers.judged(nets, config.decay))
    codes, each, rows = nets.codes.numpy().reshape(8, count, groups.ORDER, -1), np.arange(count), []
    for i, name in enumerate(answers):
        free = np.array([5 + i, 3 + min(i, 1)])  # released, free from a random start
        best = free[loss[free].argmin(0)]
        share = [groups.additive_share(codes[net, s][None], grids[name][s])[0] for s, net in enumerate(best)]
        values = {"constrained loss": loss[i], "released loss": loss[free[0]], "random start loss": loss[free[1]]}
        rows.append(
            arm(name, seeds, **{GAP: loss[i] / loss[best, each], MOVED: share, "accuracy": right[best, each], **values})
        )
    return arms(*rows), nets[slice(3 * count, 5 * count)]


def figures(table: pd.DataFrame) -> list[Figure]:
    """Gap and what became of the released codes; concentration of free codes."""
    gaps = plots.figure(height=420, xaxis_title="additive share of the released code", yaxis_title="constrained / free loss")
    for name in (A5, PRODUCT, SCRAMBLED, LOOKUP, PARTS, MIXED):
        rows = table[table.arm == name]
        gaps.add_scatter(x=rows[MOVED].tolist(), y=rows[GAP].tolist(), mode="markers", name=name)
    shapes = plots.figure(height=380, yaxis_title="total variation from a random code")
    for name in (FREE, TURNED, ORBIT):
        shapes.add_box(y=table[table.arm == name][SHAPE].tolist(), name=name, boxpoints="all", showlegend=False)
    return [
        Figure(
            "gap",
            gaps,
            "What a free code gains over one that must be a sum, and how much of it is a sum: each dot is a network.",
        ),
        Figure("irreps", shapes, "How far the energies of codes of A5 in its irreducible representations are from chance."),
    ]
