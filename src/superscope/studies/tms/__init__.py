"""Toy Models of Superposition (Elhage et al. 2022, arXiv 2209.10652), reproduced.

Question: does this laboratory find what the paper found? Each section trains the paper's toy models and holds them against a
number: exact optima where they are known, the geometry of polytopes where they are not, and always a control (usually the
linear model) measured by the same code that must fail.

Sections: who is represented (T1), polygons (T2), phase diagrams against exact optima (T3, T4), sticky geometry at scale (T5,
T6), correlated and anti-correlated features (T8), their collapse (T9), learning dynamics (T10), adversarial attacks (T11),
neurons in a privileged basis (T12), the absolute value model with two neurons per feature (T13), the bottleneck with a hidden
ReLU and bias, which must be kept as a failure, and polysemanticity that nothing asks for (T17). The response of a pentagon to
one feature becoming rarer (T7) is part of study 4.4.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from superscope import measure
from superscope.evidence.expect import Check, gate, judge
from superscope.evidence.findings import Findings
from superscope.evidence.tables import arm, retractions
from superscope.evidence.wording import answer, count
from superscope.lab import Lab
from superscope.studies.tms import bottleneck, incidental, neurons, phases, structure
from superscope.studies.tms.config import PRESETS, Config
from superscope.sweep import SweepRun

__all__ = ["PRESETS", "Config", "run"]

PROBLEM = "tms"
TITLE = "Toy Models of Superposition, reproduced"
QUESTION = "Do the phases, geometries and motifs of Toy Models of Superposition come out here, number by number?"
ASSUMPTIONS = [
    "Features are known in advance, independent (except in the section on correlation) and uniform on [0, 1] when on.",
    "The best of a few restarts stands for the optimum; where an exact optimum is known the page says how far it is.",
    "A feature counts as represented when the norm of its direction exceeds one half.",
]
DISANALOGIES = [
    "A language model's features are not given, not independent, and not all equally dense; nothing here says how many it has.",
    "The decoder must reproduce every feature. A real layer reads a few features and may tolerate interference in the rest.",
    "One bottleneck, one ReLU: no attention, no LayerNorm, no later layer that could clean up or amplify interference.",
    "Trained to near convergence on a stream of fresh data; real models see finite data and stop early.",
]

GATE = [
    Check(
        "At density 0.05 models with two dimensions represent more than two features", "represented", "> 2", "sparse", by="mean"
    ),
    Check("at less than half the loss of the best model without superposition", "share", "< 0.5", "sparse", by="mean"),
]

RETRACTED = [
    ("T6-levels", "refuted (.21)", "refuted by the grid: at most 53 of 139 features could sit on a level; asked where all fit"),
    ("T3-loss", "supported (.0037)", "a distance without its sign, of an evaluation below the optimum: now the exact excess"),
    ("T8's caption", "three pairs side by side", "two of the three had collapsed: now T9, a claim of its own"),
]
EXPECTED = [*bottleneck.EXPECTED, *phases.EXPECTED, *structure.EXPECTED, *neurons.EXPECTED, *incidental.EXPECTED]


def run(config: Config, lab: Lab) -> Findings:
    """Train and measure every section; the gate is that superposition happens at all."""
    small, geometry = bottleneck.small_polygons(config, lab)
    scale, large = bottleneck.at_scale(config, lab)
    parts = [
        bottleneck.polygons(small, geometry, config, lab),
        phases.one_dimension(config, lab),
        phases.two_dimensions(config, lab),
        scale,
        structure.correlations(config, lab),
        structure.collapse(config, lab),
        structure.dynamics(config, lab),
        structure.attacks(config, lab, large),
        neurons.privileged(config, lab),
        neurons.absolute_value(config, lab),
        bottleneck.who_is_represented(config, lab),
        neurons.hidden_relu(config, lab),
        incidental.incidental(config, lab),
    ]
    passed = gate(superposes(small), GATE)
    claims = judge([rows for part in parts for rows in part.rows], EXPECTED, passed)
    held = sum(claim.verdict == "supported" for claim in claims)
    rest = [f"{claim.id} is {claim.verdict}" for claim in claims if claim.verdict != "supported"]
    return Findings(
        gate=passed,
        claims=claims,
        figures=[figure for part in parts for figure in part.figures],
        tables={name: table for part in parts for name, table in part.tables.items()} | {"retractions": retractions(RETRACTED)},
        summary=f"{held} of {len(claims)} claims about the paper's findings hold. " + "; ".join(rest),
        answer=answer(
            "Of {all} about the paper's findings {held} hold, each with a null that fails and a plant that passes.",
            all=count(len(claims), "claim"),
            held=held,
        ),
    )


def superposes(small: SweepRun) -> pd.DataFrame:
    """The gate's rows: features represented at the sparsest density, and the loss over the best one without superposition."""
    sparsest = small.sel(density=float(small.W.density.min()))
    plain = float(measure.theory.monosemantic_loss(5, 2, 0.05))
    loss = np.asarray(sparsest.loss_per_feature.sum("feature")) / plain
    return arm("sparse", small.W.seed.values, represented=measure.features_represented(sparsest.W).values, share=loss)
