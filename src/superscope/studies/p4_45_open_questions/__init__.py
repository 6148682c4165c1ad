"""4.45: the open questions at the end of Toy Models of Superposition, and three of them answered.

Question 3, are there models with a closed form: the loss of the antipodal pair n=2, m=1 is integrated by hand
(`measure.antipodal`) and minimised in its two variables; trained networks must have its norms, its continuous shrinking and the
exact boundary at which the lesser feature is dropped.
Question 10, is the phase change that of compressed sensing: the Donoho-Tanner curve is laid over the plane of dimensions per
feature and active features per dimension, together with where networks pack and where an ideal decoder can read what they
packed. Question 1, is there a statistical test: rays in activations are counted (`measure.rays`) in models whose weights say
what is true.

Thresholds were fixed before the study ran; the closed form, the decoder and the ray test were first tried on planted objects.
All other questions stand in a table, with the studies of this catalogue that speak to them and what was recorded there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure, studies
from superscope.evidence import findings, records
from superscope.evidence.expect import Check, gate, judge
from superscope.evidence.findings import Findings
from superscope.evidence.tables import arm, arms
from superscope.evidence.wording import answer, percent
from superscope.lab import Lab
from superscope.studies.p4_45_open_questions import ray_test, sensing, solver
from superscope.studies.p4_45_open_questions.config import PRESETS, Config

__all__ = ["PRESETS", "Config", "run"]

PROBLEM = "4.45"
TITLE = "The open questions at the end of Toy Models"
QUESTION = (
    "Three of the open questions that close Toy Models of Superposition: is there a closed form, is the phase change that of "
    "compressed sensing, and is there a statistical test for superposition?"
)
ASSUMPTIONS = [
    "Closed form: two equally important, independent, uniform features in one dimension; a symmetric pair, which is the "
    "optimum up to a density of about 0.706. Nothing is claimed about more features.",
    "Donoho-Tanner: the curve is a limit of large n for codes in general position; networks here have a few dozen "
    "features, so a Gaussian code of the same size stands beside every learned one. 'Packing' is a count of directions "
    "with norm above one half.",
    "Test: the origin (nothing on) is known, features are independent and never negative, and values differ widely from input "
    "to input: U[0, 1] here. Truth is counted in the weights (norm above half of the largest).",
]
DISANALOGIES = [
    "In a language model the origin is not known, features need not be one-sided, and features with a common cause, "
    "however rare, make rays of their own: a count above the number of dimensions would need these excluded first.",
    "With thousands of dimensions and features that are hardly ever alone, as in a residual stream, the ray test has no "
    "power; it is meant for bottlenecks of a few dimensions and sparse inputs.",
    "A mean squared error weighs large features most; the phase boundaries are those of that loss, not of next-token "
    "prediction.",
]

# The questions in the order of the paper (arXiv 2209.10652, "Open Questions"), and where this catalogue speaks to each.
QUESTIONS = [
    ("Is there a statistical test for catching superposition?", ("4.45",)),
    ("How can it be controlled whether superposition and polysemanticity occur?", ("4.1", "4.10", "4.37", "4.39")),
    ("Are there models of superposition with a closed-form solution?", ("4.45", "tms")),
    ("How realistic are these toy models?", ("4.24", "4.25", "4.28")),
    ("Can the importance and sparsity curve of real models' features be estimated?", ("4.4",)),
    ("Should superposition go away if models are scaled enough?", ("4.42", "4.43", "4.44")),
    ("Are we measuring the maximally principled things?", ("tms", "4.38")),
    ("How important are polysemantic neurons?", ("4.37", "4.38")),
    ("How many features should be expected to be stored in superposition?", ("4.7", "4.16", "4.45")),
    ("Does the phase change correspond to those of compressed sensing?", ("4.45",)),
    ("How does superposition relate to non-robust features?", ("tms", "4.33")),
    ("To what extent can useful computation be done in superposition?", ("4.2", "4.3", "4.5", "4.6", "4.13", "4.14")),
    ("How does the structure change when features are not independent?", ("tms", "4.2", "4.20")),
    ("Can models effectively use non-linear representations?", ("4.17",)),
]


def questions() -> pd.DataFrame:
    """The paper's open questions with the problems that speak to them and the verdicts recorded with this version."""
    recorded = records.bundled_results()

    def said(number: str) -> str:
        runs = records.finished_runs(number, recorded) if recorded else []
        if number == PROBLEM:
            return "this page"
        built = "not recorded" if number in studies.built() else "not built"
        return findings.read(runs[0])["verdict"] if runs else built

    rows = [
        {"": place, "question": text, "problems": ", ".join(where), "recorded": "; ".join(f"{p}: {said(p)}" for p in where)}
        for place, (text, where) in enumerate(QUESTIONS, start=1)
    ]
    return pd.DataFrame(rows).rename(columns={"": "number"})


GATE = [
    Check("With one feature on, networks represent more than 1.2 features per dimension in at least 90 % of seeds", "packed",
          ">= 0.9", "one on", by="mean"),
    Check("with all on, no more than that", "packed", "<= 0.1", "all on", by="mean"),
]  # fmt: skip
EXPECTED = [*solver.EXPECTED, *sensing.EXPECTED, *ray_test.EXPECTED]


def run(config: Config, lab: Lab) -> Findings:
    """Answer three questions; the gate is that these networks superpose at all when inputs are sparse."""
    parts = [solver.exact_solver(config, lab), sensing.sensing_limits(config, lab), ray_test.testing(config, lab)]
    passed = gate(superposes(config, lab), GATE)
    rows = pd.concat([table for part in parts for table in part.rows], ignore_index=True)
    mean = rows.groupby("arm")[["alarms", "AUC"]].mean()
    return Findings(
        gate=passed,
        claims=judge([table for part in parts for table in part.rows], EXPECTED, passed),
        figures=[figure for part in parts for figure in part.figures],
        tables={"questions": questions(), "arms": rows} | {k: table for part in parts for k, table in part.tables.items()},
        answer=answer(
            "The pair has a closed form that training meets; counting rays finds sparse superposition in {found} of models and "
            "alarms falsely in {false}.",
            found=percent(float(mean.alarms[ray_test.SPARSELY])),
            false=percent(float(mean.alarms[ray_test.NONE])),
        ),
    )


def superposes(config: Config, lab: Lab) -> pd.DataFrame:
    """The gate's rows: which seeds represent more than 1.2 features per dimension, at the largest width."""
    n, seeds = config.sensing_features, lab.seeds(config.seeds)
    m = round(config.shares[-1] * n)
    falling = ss.SparseFeatures(n, importance=tuple(sensing.IMPORTANCE ** np.arange(n)))
    sweep = ss.Sweep(ss.Bottleneck(n, m), falling, over={"density": [1 / n, 1.0]}, seeds=seeds)
    trained = lab.train(sweep, ss.Recipe.fast(steps=config.steps), name="gate")
    packed = measure.features_represented(trained.W).transpose("density", "seed").values / m > 1.2
    return arms(*(arm(name, seeds, packed=row) for name, row in zip(("one on", "all on"), packed, strict=True)))
