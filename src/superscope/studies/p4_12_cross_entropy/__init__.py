"""Problem 4.12: superposition when the loss is cross-entropy.

A. One class at a time through a tied bottleneck, logits W^T W x (x one-hot), softmax. Theory: a simplex while n <= m + 1
(cosine -1/(n-1), neural collapse), at most a right angle between classes up to n = 2m (orthoplex regime, arXiv 2603.20587), a
regular polygon in the plane (largest cosine cos 2 pi/n). Any number of classes fits in two dimensions, so none should be
dropped. B. Several labels at once, exactly k of n through rank m with sigmoids: a linear program decides which label sets the
trained output layer can produce at all (Grivas et al., arXiv 2310.10443), expected to change between m = 2k and m = 2k + 1.
C. Sparse features, label = the largest one, the same tied logits under three losses: cross-entropy, the Brier score of the
softmax, squared error of the logits. How many features does each keep, how much of the difference is the softmax's, and does
keeping more make it right more often?

Thresholds written down beforehand: cosines within 0.02, accuracy 1 (0.99 asked), dimensionality m/n (within 10 %, ours).
Plants: trainings started at the arrangements of theory, unequal and noisy; a Fourier layer and a projection of it; a crowd and
a few directions by hand.
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
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms, retractions
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.measure.weights.argmaxable import argmaxable
from superscope.studies.p4_12_cross_entropy import plants
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
    "Which feature is largest is one question; a language model is asked others of the same features at every token.",
]
SHAPES = {
    "simplex": ((5, 5), (6, 5)),
    "orthoplex": ((8, 5), (10, 5)),
    "polygon": ((5, 2), (10, 2), (20, 2), (50, 2)),
}
CROWDED = (50, 2)
CROWD, SQUARED = "softmax, 50 classes in 2 dimensions", "squared error, 50 features in 2 dimensions"
STARTED = "started at theory"


@dataclass(frozen=True)
class Config:
    steps: int = 3000
    decay: float = 1e-4
    restarts: int = 4  # above two dimensions
    labels: int = 8  # B: n
    active: int = 2  # B: k
    ranks: tuple[int, ...] = (3, 4, 5, 6)  # must hold 2k, 2k + 1, 2k + 2
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


RETRACTED = [
    ("nobody-dropped", "supported", "a theorem: any number of classes fits in a plane"),
    ("no-plateau", "supported", "follows from the polygon"),
    ("label-sets", "supported", "asks what some state could do; random layers of that rank nearly do it"),
    ("keeps-more", "supported", "compared two tasks; now the same labels and logits under three losses"),
]
GATE = [Check("Every class of every shape is predicted", "predicted", "> 0.99", of="softmax, all shapes", by="mean")]

EXPECTED = [
    *(
        Expect(
            shape, f"{shape.capitalize()}: the largest cosine is within 0.02 of theory (worst over n)",
            "off", "<= 0.02", of=shape, null=f"{shape}, random directions", plant=f"{shape}, {STARTED}", stat="median",
            why="Null: no arrangement. Plant: the arrangement of theory, norms unequal, every weight noisy, then trained.",
            note="A finite weight penalty keeps norms finite, part of the deviation. (n, m) = "
            + ", ".join(map(str, SHAPES[shape])),
        )
        for shape in SHAPES
    ),
    Expect(
        "cliff", "At rank 2k it cannot: at least 10 % of the sets are out of reach that rank 2k + 1 reaches (difference)",
        "share", ">= 0.1", of="rank 2k+1 - rank 2k", null="rank 2k+2 - rank 2k+1", plant="Fourier layer - Fourier layer, "
        "projected",
        why="Null: one rank higher, where hardly anything is left to gain. Plant: a Fourier layer and a projection of it.",
    ),
    Expect(
        "keeps-more", "With the same labels and logits cross-entropy keeps more features than squared error",
        "kept", ">= 1", of="cross-entropy - squared error", null="squared error, half - squared error, other half",
        plant="planted crowd - planted few",
        why="Null: two halves of the seeds of one loss. Plant: features spread over the sphere against digons on the axes.",
        note="Difference in features that win when alone. Until a review the squared error was that of another task, to "
        "reconstruct all features.",
    ),
    Expect(
        "softmax-part", "At least a quarter of that difference is the softmax's: the Brier score of the softmax keeps as much",
        "part", ">= 0.25", of="Brier score", null="squared error, shifted seeds", plant="cross-entropy, shifted seeds",
        why="Features kept beyond squared error over those that cross-entropy keeps beyond it. Null: squared error of "
        "other seeds. Plant: cross-entropy of other seeds.",
    ),
    Expect(
        "not-more-accurate", "Keeping more makes it no more accurate: cross-entropy and Brier score agree within 0.05",
        "accuracy", "within [-0.05, 0.05]", of="cross-entropy - Brier score", null="cross-entropy - squared error",
        plant="cross-entropy, half - cross-entropy, other half",
        why="Share of inputs whose largest feature is named. Null: squared error, which names fewer. Plant: other seeds.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Geometry of single labels, census of label sets, features kept."""
    trained, started = (
        {pair: train_classes(config, lab, shape, pair, start) for shape, pairs in SHAPES.items() for pair in pairs}
        for start in (False, True)
    )
    crowded = partial(train_bottleneck, *CROWDED, "squared error", list(lab.seeds(config.seeds)), 1, config.steps // 3, 0)
    squared = lab.unit("squared-error", crowded)
    shares = census(config, lab)
    table = arms(
        shape_rows(config, lab, trained, started),
        crowd_rows(config, lab, {CROWD: trained[CROWDED], f"{CROWD}, {STARTED}": started[CROWDED], SQUARED: squared}),
        census_rows(config, lab, shares),
        kept_rows(config, lab, stored(config, lab)),
    )
    sets = pd.DataFrame([
        {"rank": m, "share of sets": v.mean(), "low": v.min(), "high": v.max(), "layer": name}
        for name, values in shares.items() for m, v in zip(config.ranks, values, strict=True)
    ])  # fmt: skip
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed, notes(config))
    return Findings(
        passed,
        claims,
        draw(trained, squared, sets, config),
        {"arms": table, "classes": classes(trained), "label-sets": sets, "retractions": retractions(RETRACTED)},
        summarise(config, table),
        conclude(table, {claim.id: claim.verdict for claim in claims}),
    )


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


def spread(w: np.ndarray) -> np.ndarray:
    """(seed,) largest relative deviation of a feature's dimensionality from m/n."""
    return np.abs(measure.dimensionality(w) * w.shape[2] / w.shape[1] - 1).max(-1)


def train_classes(config: Config, lab: Lab, shape: str, pair: tuple[int, int], start: bool) -> np.ndarray:
    """A: (seed, m, n) directions of n classes in m dimensions, best of the restarts; or trained from the theory's."""
    (n, m), seeds = pair, lab.seeds(config.seeds)
    if start:
        begin = plants.arrangement(shape, n, m, seeds)
        return lab.unit(f"classes-{n}-{m}-started", partial(plants.train_from, begin, config.steps, config.decay))
    restarts = 1 if m == 2 else config.restarts
    fit = partial(train_bottleneck, n, m, "cross-entropy", list(seeds), restarts, config.steps, config.decay)
    return lab.unit(f"classes-{n}-{m}", fit)


def shape_rows(
    config: Config, lab: Lab, trained: dict[tuple[int, int], np.ndarray], started: dict[tuple[int, int], np.ndarray]
) -> pd.DataFrame:
    """Per shape and seed: how far the largest cosine is from theory, worst over n; and the worst share of classes predicted."""
    seeds, rng, rows = lab.seeds(config.seeds), lab.rng("random directions"), []
    random = {pair: rng.standard_normal(w.shape) for pair, w in trained.items()}
    for shape, pairs in SHAPES.items():
        for suffix, found in (("", trained), (", random directions", random), (f", {STARTED}", started)):
            off = [np.abs(largest_cosine(found[pair]) - theory(shape, pair[0])) for pair in pairs]
            rows.append(arm(shape + suffix, seeds, off=np.max(off, axis=0)))
    worst = np.min([winners(w) for w in trained.values()], axis=0)
    return arms(*rows, arm("softmax, all shapes", seeds, predicted=worst))


def crowd_rows(config: Config, lab: Lab, found: dict[str, np.ndarray]) -> pd.DataFrame:
    """Per arm and seed: share of crowded classes predicted, and how unequal their dimensionalities are."""
    seeds = lab.seeds(config.seeds)
    return arms(*(arm(name, seeds, predicted=winners(w), spread=spread(w)) for name, w in found.items()))


def census(config: Config, lab: Lab) -> dict[str, np.ndarray]:
    """B: {layer: (rank, seed)} share of sets of exactly k labels that are argmaxable."""
    n, k, seeds = config.labels, config.active, list(lab.seeds(config.seeds))

    def shares() -> dict[str, np.ndarray]:
        trained = [producible(train_sets(n, m, k, seeds, config.restarts, config.steps), k) for m in config.ranks]
        random = [[np.random.default_rng([s, m]).standard_normal((n, m)) for s in seeds] for m in config.ranks]
        return {"trained": np.array(trained), "random": np.array([producible(np.array(u), k) for u in random])}

    return lab.unit("census", shares)


def producible(layers: np.ndarray, k: int) -> np.ndarray:
    """(seed,) share of the sets of exactly k labels that a layer (seed, n, m) can produce."""
    sets = list(itertools.combinations(range(layers.shape[1]), k))
    return np.array([argmaxable(u, sets).mean() for u in layers])


def census_rows(config: Config, lab: Lab, shares: dict[str, np.ndarray]) -> pd.DataFrame:
    seeds, k = lab.seeds(config.seeds), config.active
    at = {name: config.ranks.index(2 * k + more) for name, more in (("2k", 0), ("2k+1", 1), ("2k+2", 2))}
    projected, full = plants.label_layers(config.labels, k, seeds)
    return arms(
        *(arm(f"rank {name}", seeds, share=shares["trained"][i]) for name, i in at.items()),
        arm("random layer of rank 2k+1", seeds, share=shares["random"][at["2k+1"]]),
        arm("Fourier layer", seeds, share=producible(full, k)),
        arm("Fourier layer, projected", seeds, share=producible(projected, k)),
    )


class Head(nn.Module):
    """Tied bottleneck with a bias, logits W^T W x + b. x (P, n) -> (P, n)."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(m, n) * (2 / (n + m)) ** 0.5)
        self.b = nn.Parameter(torch.zeros(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.W.T @ self.W + self.b


def one_hot(t: torch.Tensor) -> torch.Tensor:
    """(P, n) the label of each input, its largest feature; zeros for empty inputs."""
    return torch.nn.functional.one_hot(t.argmax(-1), t.shape[-1]) * (t.sum(-1, keepdim=True) > 0)


def cross_entropy(y: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(P,) of logits y (P, n); empty inputs have no label and weigh 0."""
    return -(one_hot(t) * y.log_softmax(-1)).sum(-1)


def brier_score(y: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(P,) squared error of the softmax of y (P, n)."""
    return ((y.softmax(-1) - one_hot(t)) ** 2).sum(-1) * (t.sum(-1) > 0)


def squared_error(y: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(P,) squared error of ReLU(y), y (P, n): the head that this loss is used with. Without the ReLU it keeps fewer features
    than an untrained head."""
    return ((torch.relu(y) - one_hot(t)) ** 2).sum(-1) * (t.sum(-1) > 0)


LOSSES = {"cross-entropy": cross_entropy, "Brier score": brier_score, "squared error": squared_error}


def stored(config: Config, lab: Lab) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """C: {loss: (W (seed, m, n), b (seed, n))} of the same head on the same labels, and "untrained"."""
    inputs, seeds = ss.SparseFeatures(config.features, config.density), lab.seeds(config.seeds)
    recipe = ss.Recipe.fast(steps=config.feature_steps, points=128)
    size = {"n": config.features, "m": config.width}
    out = {}
    for name, loss in (LOSSES | {"untrained": cross_entropy}).items():
        key = name.replace(" ", "-")
        sweep = ss.Sweep(ss.ModuleToy(Head, size, loss=loss, name=key), inputs, seeds=seeds)
        run = lab.train(sweep, recipe.replace(steps=0) if name == "untrained" else recipe, name=f"largest-{key}")
        W, b = (run.data[part].transpose("seed", ...).values for part in ("W", "b"))
        out[name] = W, b
    return out


def logits(w: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(seed, P, n) of inputs x (P, n)."""
    return np.einsum("smi,smj,pj->spi", w, w, x, optimize=True) + b[:, None]


def kept(w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(seed,) features whose own logit is the largest when they alone are on, at 1."""
    n = w.shape[2]
    return (logits(w, b, np.eye(n)).argmax(-1) == np.arange(n)).sum(-1).astype(float)


def accuracy(w: np.ndarray, b: np.ndarray, config: Config, seed: int) -> np.ndarray:
    """(seed,) share of inputs with something on whose largest feature has the largest logit."""
    x = ss.SparseFeatures(config.features, config.density).draw(np.random.default_rng([seed, 412]), 4000)
    x = x[x.any(1)]
    return (logits(w, b, x).argmax(-1) == x.argmax(-1)).mean(-1)


def kept_rows(config: Config, lab: Lab, heads: dict[str, tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """Per loss and seed: features that win when they alone are on, and accuracy; the same untrained, and by hand."""
    seeds, half, size = lab.seeds(config.seeds), config.seeds // 2, (config.features, config.width)
    wins = {name: kept(*head) for name, head in heads.items()}
    right = {name: accuracy(*head, config, lab.seed) for name, head in heads.items()}
    low, gap = wins["squared error"], wins["cross-entropy"].mean() - wins["squared error"].mean() or np.nan
    part = {name: (np.roll(found, 0 if name == "Brier score" else 1) - low) / gap for name, found in wins.items()}
    halves = [
        arm(f"{name}, {which}", seeds[:half], kept=wins[name][some], accuracy=right[name][some])
        for name in ("cross-entropy", "squared error")
        for which, some in (("half", slice(half)), ("other half", slice(half, 2 * half)))
    ]
    none = np.zeros((len(seeds), config.features))
    return arms(
        *(arm(name, seeds, kept=wins[name], accuracy=right[name]) for name in wins if name != "Brier score"),
        arm("Brier score", seeds, kept=wins["Brier score"], accuracy=right["Brier score"], part=part["Brier score"]),
        *(arm(f"{name}, shifted seeds", seeds, part=part[name]) for name in ("cross-entropy", "squared error")),
        *halves,
        arm("planted crowd", seeds, kept=kept(plants.crowd(*size, seeds), none)),
        arm("planted few", seeds, kept=kept(plants.few(*size, seeds), none)),
    )


def classes(trained: dict[tuple[int, int], np.ndarray]) -> pd.DataFrame:
    """By shape and size: cosines, classes predicted and dimensionality, beside theory."""
    return pd.DataFrame([
        {"shape": shape, "n": n, "m": m, "theory": theory(shape, n), "largest cosine": np.median(largest_cosine(trained[n, m])),
         "predicted": winners(trained[n, m]).mean(), "mean D": measure.dimensionality(trained[n, m]).mean(),
         "m/n": min(1.0, m / n)}
        for shape, pairs in SHAPES.items() for n, m in pairs
    ])  # fmt: skip


def notes(config: Config) -> dict[str, str]:
    """What the sizes of this run add to the claims."""
    return {"keeps-more": f"n={config.features}, m={config.width}, density {config.density:g}."}


def summarise(config: Config, table: pd.DataFrame) -> str:
    """Three sentences from the numbers."""
    mean = table.groupby("arm").mean(numeric_only=True)
    return (
        f"With softmax {CROWDED[0]} classes share two dimensions and {mean.predicted[CROWD]:.0%} are predicted (squared error: "
        f"{mean.predicted[SQUARED]:.0%}). A trained sigmoid "
        f"layer can produce {mean.share['rank 2k']:.0%} of the sets of {config.active} labels at rank 2k and "
        f"{mean.share['rank 2k+1']:.0%} at 2k + 1. Features kept of {config.features} in {config.width} dimensions, "
        "and share of inputs named rightly: "
        + "; ".join(f"{name} {mean.kept[name]:.3g}, {mean.accuracy[name]:.2f}" for name in [*LOSSES, "untrained"])
        + "."
    )


def conclude(table: pd.DataFrame, verdicts: dict[str, str]) -> str:
    """The sentence the page opens with."""
    mean = table.groupby("arm").kept.mean()
    if verdicts["keeps-more"] != "supported":
        return "It is not shown that cross-entropy keeps more features than squared error."
    return answer(
        "More features than dimensions: on the same labels cross-entropy keeps {ce}, squared error {mse}; part of it is the "
        "softmax, and it is no more accurate for it.",
        ce=mean["cross-entropy"], mse=mean["squared error"],
    ) if verdicts["not-more-accurate"] == "supported" else answer(
        "More features than dimensions: on the same labels cross-entropy keeps {ce}, squared error {mse}.",
        ce=mean["cross-entropy"], mse=mean["squared error"],
    )  # fmt: skip


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
