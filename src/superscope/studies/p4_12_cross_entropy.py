"""Problem 4.12: superposition when the loss is cross-entropy.

A. One class at a time through a tied bottleneck, logits W^T W x (x one-hot), softmax. Theory: a simplex while n <= m + 1
(cosine -1/(n-1), neural collapse), at most a right angle between classes up to n = 2m (orthoplex regime, arXiv 2603.20587), a
regular polygon in the plane (largest cosine cos 2 pi/n). Any number of classes fits in two dimensions, so none should be
dropped. B. Several labels at once, exactly k of n through rank m with sigmoids: a linear program decides which label sets the
trained output layer can produce at all (Grivas et al., arXiv 2310.10443), expected to change between m = 2k and m = 2k + 1.
C. Sparse features, label = the largest one: does cross-entropy keep more features than squared error at equal width?

Thresholds from the reference sheet: cosines within 0.02, accuracy 1 (0.99 asked), dimensionality m/n (within 10 %, ours).
Loss: cross-entropy in nats, mean over samples; squared error summed over outputs, mean over samples.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import nn

import superscope as ss
from superscope import measure, plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.evidence.stats import Claim
from superscope.lab import Lab
from superscope.measure.weights.argmaxable import argmaxable, fourier_layer
from superscope.toys.classifiers import train_bottleneck, train_sets

PROBLEM = "4.12"
TITLE = "Superposition under cross-entropy"
QUESTION = "What does superposition look like when the model classifies with a softmax or sigmoid head instead of regressing?"
ASSUMPTIONS = [
    "Classes are equally likely and one-hot; weights are tied and logits have no bias, so only geometry separates classes.",
    "A small weight penalty stands in for the finite norms of real training; without one norms grow for ever.",
    "Best of a few restarts by loss in three or more dimensions, where equal arrangements have many near rivals.",
]
DISANALOGIES = [
    "In the plane every class can win, but only by a margin that shrinks as 1/n^2: noise or finite precision would end this.",
    "Words are not equally likely; rare tokens of a language model may be unargmaxable or crowded out, which one-hot inputs of "
    "equal weight cannot show.",
    "The comparison with squared error is between tasks as much as between losses: one asks which, the other how much.",
]
SHAPES = {
    "simplex": ((5, 5), (6, 5)),
    "orthoplex": ((8, 5), (10, 5)),
    "polygon": ((5, 2), (10, 2), (20, 2), (50, 2)),
}
CROWDED = (50, 2)
TOLERANCE = 0.02


@dataclass(frozen=True)
class Config:
    steps: int = 3000
    decay: float = 1e-4
    restarts: int = 4  # above two dimensions
    labels: int = 8  # B: n
    active: int = 2  # B: k
    ranks: tuple[int, ...] = (3, 4, 5, 6)  # must hold 2k and 2k + 1
    features: int = 30  # C
    width: int = 3
    density: float = 0.1
    feature_steps: int = 2000
    seeds: int = 16


PRESETS = {
    "quick": Config(),
    "standard": Config(steps=10_000, restarts=16, labels=12, ranks=(3, 4, 5, 6, 7), feature_steps=8000, seeds=24),
    "full": Config(
        steps=30_000, restarts=32, labels=16, active=3, ranks=(4, 5, 6, 7, 8), features=60, feature_steps=20_000, seeds=40
    ),
}


def theory(shape: str, n: int) -> float:
    """Largest cosine between two classes at the optimum."""
    return {"simplex": -1 / (n - 1), "orthoplex": 0.0, "polygon": float(np.cos(2 * np.pi / n))}[shape]


def largest_cosine(w: np.ndarray) -> np.ndarray:
    """(seed,) of directions (seed, m, n); NaN-free, a vanished direction counts as cosine 0 with all others."""
    unit = w / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-9)
    cosine = np.swapaxes(unit, 1, 2) @ unit
    cosine[:, np.eye(w.shape[2], dtype=bool)] = -1
    return cosine.max((1, 2))


def winners(w: np.ndarray) -> np.ndarray:
    """(seed,) share of classes whose own logit is the largest when they are on."""
    gram = np.swapaxes(w, 1, 2) @ w
    return (gram.argmax(-1) == np.arange(w.shape[2])).mean(-1)


class Head(nn.Module):
    """Tied softmax bottleneck, logits W^T W x. x (P, n) -> (P, n)."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(m, n) * (2 / (n + m)) ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.W.T @ self.W


def largest_is_the_label(y: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (P,) with the largest feature as label; empty inputs have none and weigh 0."""
    own = torch.gather(y, -1, t.argmax(-1, keepdim=True))[..., 0]
    return (torch.logsumexp(y, -1) - own) * (t.sum(-1) > 0)


def stored(config: Config, lab: Lab, seeds: range) -> dict[str, np.ndarray]:
    """C: {loss: (seed,)} features that win when they alone are on."""
    inputs = ss.SparseFeatures(config.features, config.density)
    n, m = config.features, config.width
    recipe = ss.Recipe.fast(steps=config.feature_steps, points=128)
    toy = ss.ModuleToy(Head, {"n": n, "m": m}, loss=largest_is_the_label, name="softmax-head")
    ce = lab.train(ss.Sweep(toy, inputs, seeds=seeds), recipe, name="largest")
    mse = lab.train(ss.Sweep(ss.Bottleneck(n, m), inputs, seeds=seeds), recipe, name="reconstruct")
    w, b = mse.W.values, mse.b_out.values
    y = np.maximum(np.swapaxes(w, 1, 2) @ w + b[:, None], 0)
    alive = y.max(-1) > 0
    won = ((y.argmax(-1) == np.arange(n)) & alive).sum(-1)
    weights = next(v for k, v in ce.data.data_vars.items() if k == "W").transpose("seed", ...).values
    return {"cross-entropy": winners(weights) * n, "squared error": won.astype(float)}


def census(config: Config, lab: Lab, seeds: list[int]) -> dict[str, np.ndarray]:
    """B: {"trained": (rank, seed), "random": (rank, seed)} share of sets of exactly k labels that are argmaxable."""
    n, k = config.labels, config.active
    sets = list(itertools.combinations(range(n), k))

    def shares() -> dict[str, list[list[float]]]:
        out: dict[str, list[list[float]]] = {"trained": [], "random": []}
        for m in config.ranks:
            trained = train_sets(n, m, k, seeds, config.restarts, config.steps)
            random = [np.random.default_rng([s, m]).standard_normal((n, m)) for s in seeds]
            out["trained"].append([float(argmaxable(u, sets).mean()) for u in trained])
            out["random"].append([float(argmaxable(u, sets).mean()) for u in random])
        return out

    return {name: np.array(rows) for name, rows in lab.unit("census", shares).items()}


def run(config: Config, lab: Lab) -> Findings:
    """Geometry of single labels, census of label sets, features kept."""
    seeds = range(lab.seed * 1000, lab.seed * 1000 + config.seeds)
    trained: dict[tuple[int, int], np.ndarray] = {}
    for n, m in itertools.chain(*SHAPES.values()):
        restarts = 1 if m == 2 else config.restarts
        fit = partial(train_bottleneck, n, m, "cross-entropy", list(seeds), restarts, config.steps, config.decay)
        made = lab.unit(f"classes-{n}-{m}", fit)
        trained[n, m] = np.array(made)
    crowd = np.array(
        lab.unit("squared-error", lambda: train_bottleneck(*CROWDED, "squared error", list(seeds), 1, config.steps // 3, 0))
    )
    shares = census(config, lab, list(seeds))
    kept = stored(config, lab, seeds)

    accuracy = {"cross-entropy": winners(trained[CROWDED]), "squared error": winners(crowd)}
    learned = min(float(winners(w).mean()) for w in trained.values())
    gate = Gate("Every class of every shape is predicted", learned > 0.99, {"lowest share of classes predicted": learned})
    claims = judge(config, trained, crowd, accuracy, shares, kept, gate.passed)
    rows = [
        {"shape": shape, "n": n, "m": m, "theory": theory(shape, n), "largest cosine": np.median(largest_cosine(trained[n, m])),
         "predicted": winners(trained[n, m]).mean(), "mean D": measure.dimensionality(trained[n, m]).mean(),
         "m/n": min(1.0, m / n)}
        for shape, pairs in SHAPES.items() for n, m in pairs
    ]  # fmt: skip
    sets = pd.DataFrame(
        [
            {"rank": m, "share of sets": values[i].mean(), "low": values[i].min(), "high": values[i].max(), "layer": name}
            for name, values in shares.items() for i, m in enumerate(config.ranks)
        ]
    )  # fmt: skip
    low, high = config.ranks.index(2 * config.active), config.ranks.index(2 * config.active + 1)
    summary = (
        f"With softmax {CROWDED[0]} classes share two dimensions and {accuracy['cross-entropy'].mean():.0%} are predicted "
        f"(squared error: {accuracy['squared error'].mean():.0%}); all keep the same dimensionality m/n, there is no "
        f"plateau at 1/2. A trained sigmoid layer can produce {shares['trained'][low].mean():.0%} of the pairs of "
        f"labels at rank 2k and {shares['trained'][high].mean():.0%} at 2k + 1. Asked for the largest of sparse "
        f"features, cross-entropy keeps {kept['cross-entropy'].mean():.3g} of {config.features} in {config.width} "
        f"dimensions, squared error {kept['squared error'].mean():.3g}."
    )
    tables = {"classes": pd.DataFrame(rows), "label-sets": sets, "kept": pd.DataFrame(kept)}
    return Findings(gate, claims, draw(trained, crowd, sets, config), tables, summary)


def judge(config: Config, trained, crowd, accuracy, shares, kept, passed: bool) -> list[Claim]:
    """All claims; trained[n, m] (seed, m, n), shares[layer] (rank, seed), the others (seed,)."""
    rng = np.random.default_rng(0)
    off, random = {}, {}
    for shape, pairs in SHAPES.items():
        measured, noise = [], []
        for n, m in pairs:
            want = theory(shape, n)
            measured.append(np.abs(largest_cosine(trained[n, m]) - want))
            noise.append(np.abs(largest_cosine(rng.standard_normal(trained[n, m].shape)) - want))
        off[shape], random[shape] = np.max(measured, axis=0), np.max(noise, axis=0)
    n, m = CROWDED

    def spread(w: np.ndarray) -> np.ndarray:
        return np.abs(measure.dimensionality(w) * n / m - 1).max(-1)

    low, high = config.ranks.index(2 * config.active), config.ranks.index(2 * config.active + 1)
    fourier = argmaxable(
        fourier_layer(config.labels, config.active), list(itertools.combinations(range(config.labels), config.active))
    ).mean()
    half = config.seeds // 2
    claims = [
        stats.claim(
            shape, f"{shape.capitalize()}: the largest cosine is within {TOLERANCE} of theory (worst over n)",
            stats.estimate(off[shape], stat="median"), f"<= {TOLERANCE}",
            stats.Arm("random directions", stats.estimate(random[shape], stat="median")), passed,
            note="A finite weight penalty keeps norms finite, part of the deviation. (n, m) = "
            + ", ".join(map(str, SHAPES[shape])),
        )
        for shape in SHAPES
    ]  # fmt: skip
    claims += [
        stats.claim(
            "nobody-dropped", f"All {n} classes are predicted from {m} dimensions",
            stats.estimate(accuracy["cross-entropy"]), ">= 0.99",
            stats.Arm("squared error", stats.estimate(accuracy["squared error"])), passed,
            note="Share of classes whose output is the largest when they are on.",
        ),
        stats.claim(
            "no-plateau", f"All {n} classes have dimensionality m/n within 10 % (largest deviation): no plateau at 1/2",
            stats.estimate(spread(trained[CROWDED]), stat="median"), "<= 0.1",
            stats.Arm("squared error", stats.estimate(spread(crowd), stat="median")), passed,
        ),
        stats.claim(
            "label-sets", f"At rank 2k + 1 a trained sigmoid layer can produce 99 % of the sets of k = {config.active} labels",
            stats.estimate(shares["trained"][high]), ">= 0.99",
            stats.Arm("random layer of that rank", stats.estimate(shares["random"][high])), passed,
            note=f"Exact, by linear programming, {config.labels} labels. A Fourier layer of that rank: {fourier:.0%}.",
        ),
        stats.claim(
            "cliff", "At rank 2k it cannot: at least 10 % of the sets are out of reach that rank 2k + 1 reaches (difference)",
            stats.estimate_difference(shares["trained"][high], shares["trained"][low], paired=True), ">= 0.1",
            stats.Arm(
                "one rank higher", stats.estimate_difference(shares["trained"][high + 1], shares["trained"][high], paired=True)
            ), passed,
        ),
        stats.claim(
            "keeps-more", "Asked which feature is largest, cross-entropy keeps more features than squared error",
            stats.estimate_difference(kept["cross-entropy"], kept["squared error"], paired=True), ">= 1",
            stats.Arm(
                "squared error, other seeds",
                stats.estimate_difference(kept["squared error"][:half], kept["squared error"][half : 2 * half], paired=False),
            ), passed,
            note=f"Difference in features that win when alone; n={config.features}, m={config.width}, density "
            f"{config.density:g}. The rule was '> 0' until two groups of seeds with equal loss crossed it by chance; "
            "one feature is the new bar.",
        ),
    ]  # fmt: skip
    return claims


def draw(trained, crowd: np.ndarray, sets: pd.DataFrame, config: Config) -> list[Figure]:
    """Directions in the plane under both losses; argmaxable sets by rank."""
    return [
        Figure(
            "softmax", plots.feature_polygon(trained[20, 2][0]),
            "Twenty classes in two dimensions under cross-entropy: a regular polygon, nobody dropped.",
        ),
        Figure(
            "squared-error", plots.feature_polygon(crowd[0]),
            f"{CROWDED[0]} features in two dimensions under squared error: a few are kept, the rest vanish.",
        ),
        Figure(
            "label-sets",
            plots.lines_with_band(
                sets, "rank", "share of sets", "layer", "low", "high", x_title="rank m", roles={"random": "control"}
            ),
            f"Share of the sets of {config.active} among {config.labels} labels that a sigmoid layer can produce, by linear "
            "programming: mean and range over seeds.",
        ),
    ]  # fmt: skip
