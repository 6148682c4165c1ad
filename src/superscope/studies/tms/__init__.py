"""Toy Models of Superposition (Elhage et al. 2022, arXiv 2209.10652), reproduced.

Question: does this laboratory find what the paper found? Each section trains the paper's toy models and holds them against a
number: exact optima where they are known, the geometry of polytopes where they are not, and always a control (usually the
linear model) measured by the same code that must fail.

Sections: who is represented (T1), polygons (T2), phase diagrams against exact optima (T3, T4), sticky geometry at scale (T5,
T6), correlated and anti-correlated features (T8), learning dynamics (T10), adversarial attacks (T11), the absolute value
model with two neurons per feature (T13), and the bottleneck with a hidden ReLU, which must be kept as a failure. The response
of a pentagon to one feature becoming rarer (T7) is part of study 4.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import superscope as ss
from superscope import measure
from superscope.evidence.findings import Findings, Gate
from superscope.lab import Lab
from superscope.studies.part import Part
from superscope.studies.tms.bottleneck import at_scale, polygons, small_polygons, who_is_represented
from superscope.studies.tms.neurons import absolute_value, hidden_relu
from superscope.studies.tms.phases import one_dimension, two_dimensions
from superscope.studies.tms.structure import attacks, correlations, dynamics

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


@dataclass(frozen=True)
class Config:
    """Sizes of the reproduction."""

    seeds: int = 40  # seeds of the small models; shares near 1 need about 40 to exclude 0.9
    speed: float = 1.0  # multiplies the training steps of every section
    phase_cells: int = 16  # cells per side of the phase diagrams
    large_n: int = 80  # features of the large uniform model (the paper: 400)
    large_m: int = 10  # its hidden dimensions (the paper: 30)
    large_points: int = 12  # densities of its sweep, from 1 to 0.05
    large_seeds: int = 16  # its seeds
    large_steps: int = 2000  # its training steps
    group_density: float = 0.15  # density in the sections on correlation and dynamics
    dynamics_steps: int = 4000  # steps of plain training at constant learning rate
    snapshots: int = 40  # snapshots during it

    def seed_range(self, lab: Lab, count: int | None = None) -> range:
        """Seed numbers: disjoint between runs with different --seed."""
        return range(lab.seed * 1000, lab.seed * 1000 + (count or self.seeds))

    def recipe(self, steps: int, **changes) -> ss.Recipe:
        return ss.Recipe.fast(steps=max(1, round(steps * self.speed)), **changes)


PRESETS = {
    "quick": Config(),
    "standard": Config(phase_cells=32, large_n=200, large_m=20, large_points=16, large_steps=4000, dynamics_steps=10_000),
    "full": Config(
        seeds=100, phase_cells=64, large_n=400, large_m=30, large_points=20, large_steps=20_000, dynamics_steps=50_000
    ),
}


def run(config: Config, lab: Lab) -> Findings:
    """Train and measure every section; the gate is that superposition happens at all."""
    small, geometry = small_polygons(config, lab)
    sparsest = small.sel(density=float(small.W.density.min()))
    packed = np.asarray(measure.features_represented(sparsest.W))
    plain = float(measure.theory.monosemantic_loss(5, 2, 0.05))
    share = float(np.asarray(sparsest.loss_per_feature.sum("feature")).mean()) / plain
    gate = Gate(
        "At density 0.05 models with two dimensions represent more than two features, at less than half the loss of the best "
        "model without superposition",
        bool(packed.mean() > 2 and share < 0.5),
        {"features represented in 2 dimensions": float(packed.mean()), "loss / best loss without superposition": share},
    )
    linear = lab.train(
        ss.Sweep(
            ss.Bottleneck(5, 2, activation="identity"),
            ss.SparseFeatures(5, density=0.05),
            seeds=config.seed_range(lab),
            restarts=4,
        ),
        config.recipe(2000),
        name="t2-linear",
    ).best("restart")
    flat = np.array([[c.kind for c in measure.geometry(w)] == ["pentagon"] for w in linear.W.values])
    scale, large = at_scale(config, lab, gate.passed)
    parts: list[Part] = [
        polygons(small, geometry, gate.passed, flat),
        one_dimension(config, lab, gate.passed),
        two_dimensions(config, lab, gate.passed),
        scale,
        correlations(config, lab, gate.passed),
        dynamics(config, lab, gate.passed),
        attacks(config, lab, large, gate.passed),
        absolute_value(config, lab, gate.passed),
        who_is_represented(config, lab, gate.passed),
        hidden_relu(config, lab, gate.passed),
    ]
    claims = [claim for part in parts for claim in part.claims]
    held = sum(claim.verdict == "supported" for claim in claims)
    rest = [f"{claim.id} is {claim.verdict}" for claim in claims if claim.verdict != "supported"]
    return Findings(
        gate=gate,
        claims=claims,
        figures=[figure for part in parts for figure in part.figures],
        tables={name: table for part in parts for name, table in part.tables.items()},
        summary=f"{held} of {len(claims)} claims about the paper's findings hold with a control that fails. " + "; ".join(rest),
    )
