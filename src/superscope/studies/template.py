"""4.99: are more features represented when they are sparser?

Copy this file to ``p4_99_my_question.py`` and `superscope run 4.99` finds it. This paragraph says what is asked and why, the
set-up, the criteria with their sources, and prior work with its numbers; it is the method section of the page.

Here: x -> W x -> ReLU(W^T W x + b) with 20 features and 5 dimensions, dense and sparse inputs. Elhage et al. 2022 (arXiv
2209.10652) found that sparse features share dimensions and that a linear model never does.
Loss: sum over features, mean over samples, importance-weighted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms
from superscope.evidence.wording import answer
from superscope.lab import Lab

PROBLEM = "4.99"
TITLE = "Sharing and sparsity"
QUESTION = "Are more features represented when they are sparser?"
ASSUMPTIONS = ["Independent features, uniform on [0, 1] when on.", "A feature is represented when its norm exceeds one half."]
DISANALOGIES = ["One bottleneck; nothing downstream reads the features, so interference costs nothing but reconstruction."]
TIPS = ["Count directions whose norm exceeds one half; compare with a model without a ReLU."]

FEATURES, DIMENSIONS = 20, 5
DENSE, SPARSE = 0.5, 0.01


@dataclass(frozen=True)
class Config:
    """What can be varied; every field is an option of `superscope run 4.99`."""

    seeds: int = 16  # independent trainings
    steps: int = 1500  # of each


PRESETS = {"quick": Config(), "standard": Config(seeds=64, steps=3000), "full": Config(seeds=256, steps=10_000)}

# Everything that decides is written down here, before any number exists: `superscope seal 4.99 --reason "first version"`.
GATE = [Check("Sparse models lose less than half of what the mean answer loses", "loss share", "< 0.5", "ReLU, sparse")]
EXPECTED = [
    Expect(
        "more", "Sparse features share: at least 3 more are represented than dense ones",
        "count", ">= 3", of="ReLU, sparse - ReLU, dense", null="linear, sparse - linear, dense", plant="packed by hand - "
        "ReLU, dense",
        why="Null: without a ReLU there is nothing to gain. Plant: two noisy antipodal pairs a dimension.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Train both models on dense and sparse inputs, count, judge."""
    over = {"activation": ["relu", "identity"], "density": [DENSE, SPARSE]}
    sweep = ss.Sweep(ss.Bottleneck(FEATURES, DIMENSIONS), ss.SparseFeatures(FEATURES), over=over, seeds=lab.seeds(config.seeds))
    trained = lab.train(sweep, ss.Recipe.fast(steps=config.steps))
    table = arms(counts(trained), packed_by_hand(config, lab))
    passed = gate(table, GATE)
    mean = table.groupby("arm")["count"].mean()
    gram = trained.best("seed").W.sel(activation="relu", density=SPARSE).values
    return Findings(
        passed,
        judge(table, EXPECTED, passed),
        [Figure("gram", plots.gram_heatmap(gram.T @ gram), "Interference of the best sparse model.")],
        {"arms": table},
        answer=answer(
            "Five dimensions hold {dense} features when they are dense and {sparse} when they are sparse.",
            dense=mean["ReLU, dense"],
            sparse=mean["ReLU, sparse"],
        ),
    )


def counts(trained: ss.SweepRun) -> pd.DataFrame:
    """One row per arm and seed: how many features are represented, and the loss over that of the mean answer."""
    represented, loss = measure.features_represented(trained.W), trained.loss
    rows = []
    for name, activation in (("ReLU", "relu"), ("linear", "identity")):
        for kind, density in (("dense", DENSE), ("sparse", SPARSE)):
            here = {"activation": activation, "density": density}
            share = loss.sel(here) / (FEATURES * measure.theory.ignored_loss(density))
            rows.append(arm(f"{name}, {kind}", loss.seed.values, count=represented.sel(here), **{"loss share": share}))
    return arms(*rows)


def packed_by_hand(config: Config, lab: Lab) -> pd.DataFrame:
    """The plant: true by construction and no easier to count. Two antipodal pairs a dimension, the second one leaning into the
    next dimension by 45 degrees; norms .7 to 1.1, 5 % noise."""
    rng, seeds = lab.rng("packed by hand"), lab.seeds(config.seeds)
    one, next_one = np.eye(DIMENSIONS), np.roll(np.eye(DIMENSIONS), 1, axis=1)
    leaning = (one + next_one) / np.sqrt(2)
    W = np.concatenate([one, -one, leaning, -leaning], axis=1)
    W = W * rng.uniform(0.7, 1.1, (len(seeds), 1, FEATURES)) + 0.05 * rng.standard_normal((len(seeds), *W.shape))
    return arm("packed by hand", seeds, count=measure.features_represented(W))
