"""TMS reproduction, polysemanticity without need (T17, Lecomte et al. 2023, arXiv 2312.03096): more neurons than features.

x -> W x -> ReLU(W^T W x) on one-hot inputs, full batch, plain gradient descent, with an L1 penalty on the hidden layer. The
penalty leaves every feature one neuron. Two features may choose the same one: with equal signs they disturb each other and one
is driven out, with opposite signs the ReLU hides it and both stay. With random choices that leaves n (n - 1) / (4 m) pairs on
one neuron, although there is a neuron for each.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import superscope as ss
from superscope import plots
from superscope.evidence.expect import Expect
from superscope.evidence.findings import Figure, Part
from superscope.evidence.tables import arm, arms
from superscope.lab import Lab
from superscope.studies.tms.config import Config

WIDTHS = (1, 2, 4)  # neurons per feature; the claims are about two
HALF = 0.5  # a feature sits on a neuron with more than this weight

EXPECTED = [
    Expect(
        "T17-count", "With two neurons a feature, pairs of features share one as often as opposite signs allow: n(n-1)/4m "
        "times .75 to 1.35",
        "collisions", "within [0.75, 1.35]", of="with L1", null="random neurons, signs ignored",
        plant="random neurons, equal signs driven out",
        why="Null: features on random neurons, all clashes kept; twice the theory. Plant: clashes of equal signs moved on, "
        "weights .8 to 1.1, noise.",
        note="Pairs of weights above one half on one neuron, over the number expected.",
    ),
    Expect(
        "T17-winner", "At least 70 % of the features end on the neuron that had their largest weight before training",
        "winners", ">= 0.7", of="with L1", null="start of another seed", plant="largest at the start, one in ten elsewhere",
        why="Null: starts of other networks (chance 1 in m). Plant: winners by construction, one in ten moved, noise.",
        note="Rich get richer: growth is in proportion to a weight, and the penalty takes the same from all.",
    ),
]  # fmt: skip


def incidental(config: Config, lab: Lab) -> Part:
    """T17: train with and without the penalty at three widths, and count neurons that hold two features."""
    n, seeds, rows, table = config.incidental_n, lab.seeds(config.seeds), [], []
    inputs = ss.SparseFeatures(n, density=1 / n, values=ss.Constant(1))
    for m, penalty in [*((k * n, 0.03) for k in WIDTHS), (2 * n, 0.0)]:
        start = lab.rng(f"incidental {m}").standard_normal((len(seeds), m, n)) / np.sqrt(m)
        sweep = ss.Sweep(ss.Bottleneck(n, m, output_bias=False), inputs, seeds=seeds, init={"W": start})
        run = lab.train(sweep, recipe(config, penalty), name=f"t17-{m}-{penalty:g}")
        W = run.W.transpose("seed", "hidden", "feature").values
        number = shared(W)
        table.append({"m": m, "L1": penalty, "pairs on a neuron": number.mean(), "expected": expected(n, m),
                      "features with one neuron": (np.abs(W) > HALF).any(1).mean()})  # fmt: skip
        if m == 2 * n and penalty:
            rows = [
                arm("with L1", seeds, collisions=number / expected(n, m), winners=winners(W, start)),
                arm("start of another seed", seeds, winners=winners(W, np.roll(start, 1, axis=0))),
                *planted(start, seeds, lab.rng("incidental plants")),
            ]
    drawn = pd.DataFrame(table)
    long = drawn[drawn["L1"] > 0].melt("m", ["pairs on a neuron", "expected"], "what", "pairs")
    figure = Figure(
        "t17-collisions",
        plots.lines_with_band(long, "m", "pairs", "what", log_x=True, log_y=True, x_title="neurons m", y_title="pairs"),
        f"Pairs of {n} features on one neuron although there is one for each: trained with L1 (mean over seeds), and expected.",
    )
    return Part([arms(*rows)], [figure], {"t17_collisions": drawn})


def recipe(config: Config, penalty: float) -> ss.Recipe:
    """Full batch gradient descent; the step is .05 of the loss summed over inputs, which is n times their mean. After 2000
    steps the count no longer changes; after 1000 it is half as large again."""
    steps = max(1, round(2000 * config.speed))
    lr = 0.05 * config.incidental_n
    return ss.Recipe(steps=steps, lr=lr, schedule="constant", optimizer="sgd", l1=penalty, sampling="each")


def expected(n: int, m: int) -> float:
    """Pairs of features times the chance of one neuron, 1/m, and of opposite signs, 1/2."""
    return n * (n - 1) / (4 * m)


def shared(W: np.ndarray) -> np.ndarray:
    """(seed,) pairs of features that sit on the same neuron, W (seed, hidden, feature)."""
    number = (np.abs(W) > HALF).sum(-1)
    return (number * (number - 1) / 2).sum(-1)


def winners(W: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(seed,) share of the features that have a neuron whose largest weight is where the largest weight of `start` was."""
    has = (np.abs(W) > HALF).any(1)
    same = np.abs(W).argmax(1) == np.abs(start).argmax(1)
    return (same & has).sum(1) / np.maximum(has.sum(1), 1)


def planted(start: np.ndarray, seeds: range, rng: np.random.Generator) -> list[pd.DataFrame]:
    """Features on random neurons, clashes of equal signs kept or driven out; and on their largest neuron at the start."""
    count, m, n = start.shape
    kept, driven, rich = np.zeros((3, *start.shape))
    signs, sizes = rng.choice([-1.0, 1.0], (count, n)), rng.uniform(0.8, 1.1, (count, n))
    for net, (sign, size, first) in enumerate(zip(signs, sizes, rng.integers(0, m, (count, n)), strict=True)):
        elsewhere = np.where(rng.random(n) < 0.1, rng.integers(0, m, n), np.abs(start[net]).argmax(0))
        for i in range(n):
            kept[net, first[i], i] = sign[i] * size[i]
            rich[net, elsewhere[i], i] = size[i]
            place = int(first[i])
            while (driven[net, place] * sign[i] > HALF).any():
                place = int(rng.integers(0, m))
            driven[net, place, i] = sign[i] * size[i]
    noise = 0.02 * rng.standard_normal(start.shape)
    return [
        arm("random neurons, signs ignored", seeds, collisions=shared(kept + noise) / expected(n, m)),
        arm("random neurons, equal signs driven out", seeds, collisions=shared(driven + noise) / expected(n, m)),
        arm("largest at the start, one in ten elsewhere", seeds, winners=winners(rich + noise, start)),
    ]
