"""4.45, question 1: is there a statistical test for superposition? Counting rays in activations, calibrated on known models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import kurtosis
from sklearn.metrics import roc_auc_score, roc_curve

import superscope as ss
from superscope import plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure
from superscope.measure.activations.rays import superposition_test
from superscope.studies.part import Part

if TYPE_CHECKING:
    from superscope.lab import Lab
    from superscope.studies.p4_45_open_questions.config import Config

WIDTH = 6  # hidden dimensions of every model
FEATURES = (4, 6, 12, 24)  # fewer than, as many as, more than dimensions
IMPORTANCE = 0.9  # of feature i: 0.9^i, so that a linear model keeps the first six and nothing else
SPARSE = 1.5  # features on at once, on average, up to which power is promised
NOISE = 0.02  # sd of what is added to activations, relative to their root mean square
VALUES = {"wide": ss.Uniform(0, 1), "narrow": ss.Uniform(0.8, 1)}  # laws for which the test is meant, and which mislead it


def activations(w: np.ndarray, inputs: ss.SparseFeatures, rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, m) hidden activations W x + noise of inputs on which something is on."""
    some = 1 - np.prod(1 - inputs.densities)
    x = inputs.draw(rng, int(1.5 * count / some) + 20)
    h = x[x.any(1)][:count] @ w.T
    return h + NOISE * np.sqrt((h**2).mean()) * rng.standard_normal(h.shape)


def gaussian_twin(h: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian activations with the mean and the covariance of h: all that a test of second moments can see."""
    return rng.multivariate_normal(h.mean(0), np.cov(h.T) + 1e-9 * np.eye(h.shape[1]), size=len(h), method="eigh")


def departure(h: np.ndarray) -> float:
    """Largest |excess kurtosis| over directions of the whitened activations (the axes of an SVD): the usual symptom."""
    u = np.linalg.svd(h - h.mean(0), full_matrices=False)[0]
    return float(np.abs(kurtosis(u, axis=0)).max())


def examine(w: np.ndarray, inputs: ss.SparseFeatures, seed: int, config: Config) -> list[float]:
    """The columns of `COLUMNS` for one model. Truth: more features have a
    direction (norm above half the largest) than there are dimensions."""
    rng = np.random.default_rng([seed, w.shape[1], round(1e6 * float(inputs.densities[0]))])
    h = activations(w, inputs, rng, config.samples)
    norms = np.linalg.norm(w, axis=0)
    found, twin = superposition_test(h), superposition_test(gaussian_twin(h, rng))
    truth = (norms > 0.5 * norms.max()).sum()
    return [float(truth > w.shape[0]), found.p, found.score, found.count, twin.p, twin.score, departure(h), float(truth)]


COLUMNS = ["truth", "p", "score", "rays", "twin p", "twin score", "tails", "represented"]


def population(config: Config, lab: Lab, values: ss.Uniform | ss.Levels, name: str) -> pd.DataFrame:
    """One row per trained model: linear and ReLU, fewer and more features than dimensions, sparse and dense."""
    rows = []
    for activation in ("relu", "identity"):
        for n in FEATURES:
            inputs = ss.SparseFeatures(n, values=values, importance=tuple(IMPORTANCE ** np.arange(n)))
            over = {"density": [float(p) for p in config.test_densities]}
            sweep = ss.Sweep(ss.Bottleneck(n, WIDTH, activation=activation), inputs, over=over, seeds=config.seed_range(lab))
            run = lab.train(sweep, ss.Recipe.fast(steps=config.steps), name=f"test-{name}-{activation}-{n}")
            w = run.W.transpose("density", "seed", "hidden", "feature").values

            def look(w: np.ndarray = w, inputs: ss.SparseFeatures = inputs) -> list[list[list[float]]]:
                at = [inputs.replace(density=float(p)) for p in config.test_densities]
                return [
                    [examine(w[i, s], x, seed, config) for s, seed in enumerate(config.seed_range(lab))]
                    for i, x in enumerate(at)
                ]

            for p, each in zip(config.test_densities, lab.unit(f"test-{name}-{activation}-{n}", look), strict=True):
                rows += [
                    {"activation": activation, "features": n, "density": p, "seed": s, **dict(zip(COLUMNS, row, strict=True))}
                    for s, row in enumerate(each)
                ]
    return pd.DataFrame(rows)


def per_seed(table: pd.DataFrame, measure) -> np.ndarray:
    """(seed,) a number measured on the models of each seed; NaN if there are none, so that a claim stays undecided."""
    if not len(table):
        return np.array([np.nan])
    return np.array([measure(part) for _, part in table.groupby("seed")])


def rejected(column: str = "p", level: float = 0.05):
    """Share of models in which the test rejects "no superposition" at the level."""
    return lambda part: float((part[column] <= level).mean())


def testing(config: Config, lab: Lab, passed: bool) -> Part:
    """False alarms, power and ROC of the ray test over models whose weights say what is true."""
    models = population(config, lab, VALUES["wide"], "wide")
    without, with_it = models[models.truth == 0], models[models.truth == 1]
    sparse = with_it[with_it.features * with_it.density <= SPARSE]
    narrow = population(config, lab, VALUES["narrow"], "narrow")
    rng = np.random.default_rng(lab.seed)
    gaussian = [departure(rng.standard_normal((config.samples, WIDTH))) for _ in range(200)]
    kurtosis_level = float(np.quantile(gaussian, 0.95))  # a 5 % test of "these activations are Gaussian"
    claims = [
        stats.claim(
            "separates", "Ranking all models by rays per dimension separates superposition from its absence: AUC at least 0.9",
            stats.estimate(per_seed(models, lambda t: roc_auc_score(t.truth, t.score))), ">= 0.9",
            stats.Arm(
                "Gaussian activations of the same covariance",
                stats.estimate(per_seed(models, lambda t: roc_auc_score(t.truth, t["twin score"]))),
                "everything but second moments is gone",
            ), passed,
            note="Includes dense models, in which nothing is ever alone; densities "
            + ", ".join(f"{p:g}" for p in config.test_densities),
        ),
        stats.claim(
            "false-alarms", "Without superposition (features independent, values U[0, 1]) a test at level 0.05 alarms "
            "in at most 5 % of the models",
            stats.estimate(per_seed(without, rejected())), "<= 0.05",
            stats.Arm(
                "non-Gaussianity", stats.estimate(per_seed(without, lambda t: float((t.tails > kurtosis_level).mean()))),
                "sparse features are far from Gaussian with or without superposition",
            ), passed,
        ),
        stats.claim(
            "power", f"With superposition and at most {SPARSE:g} features on at once on average, it alarms in at least 90 %",
            stats.estimate(per_seed(sparse, rejected())), ">= 0.9",
            stats.Arm(
                "Gaussian activations of the same covariance", stats.estimate(per_seed(sparse, rejected("twin p"))),
                "no rays are left to count",
            ), passed,
        ),
        stats.claim(
            "counts", "In these the number of rays is the number of represented features, within 10 %",
            stats.estimate(per_seed(sparse, lambda t: float(np.median(np.abs(t.rays / t.represented - 1))))), "<= 0.1",
            stats.Arm(
                "dense models",
                stats.estimate(per_seed(with_it[with_it.features * with_it.density > SPARSE],
                                        lambda t: float(np.median(np.abs(t.rays / t.represented - 1))))),
                "where several features are always on together nothing lies on a ray",
            ), passed,
            note="Median relative error over the models of a seed.",
        ),
    ]  # fmt: skip
    narrow_alarms = float((narrow[narrow.truth == 0].p <= 0.05).mean())
    claims.append(
        stats.claim(
            "values-must-vary",
            "With values that hardly vary, U[0.8, 1], the test is misled: over 20 % false alarms",
            stats.estimate(per_seed(narrow[narrow.truth == 0], rejected())), "> 0.2",
            stats.Arm("U[0, 1]", stats.estimate(per_seed(without, rejected())), "values differ from input to input"),
            passed,
            note="Two features that are on together then give nearly the same third direction every time: a known limit, first "
            "shown with binary values.",
        )
    )  # fmt: skip
    return Part(claims, figures(models), {"test_models": _condensed(models)}, (
        f"The ray test alarms in {rejected()(without):.0%} of models without superposition, {rejected()(sparse):.0%} of sparse "
        f"models with it and {rejected()(with_it):.0%} of all; with values in U[0.8, 1] in {narrow_alarms:.0%} of models "
        f"without it."
    ))  # fmt: skip


def _condensed(models: pd.DataFrame) -> pd.DataFrame:
    """One row per condition: shares over seeds."""
    by = models.groupby(["activation", "features", "density"], sort=False)
    return by.agg(
        superposition=("truth", "mean"), represented=("represented", "mean"), rays=("rays", "mean"),
        alarms=("p", lambda p: (p <= 0.05).mean()),
    ).reset_index()  # fmt: skip


def figures(models: pd.DataFrame) -> list[Figure]:
    """ROC curves of the statistics, and power over sparsity."""
    curves = []
    named = {"rays per dimension": models.score, "kurtosis": models.tails, "Gaussian twin": models["twin score"]}
    for name, score in named.items():
        false, true, _ = roc_curve(models.truth, score)
        curves.append(pd.DataFrame({"false alarms": false, "detected": true, "what": name}))
    roc = plots.lines_with_band(
        pd.concat(curves), "false alarms", "detected", "what", roles={"Gaussian twin": "control"},
        x_title="share of models without superposition", y_title="share of models with superposition",
    )  # fmt: skip
    table = models.assign(on=models.features * models.density, alarm=(models.p <= 0.05).astype(float))
    table["what"] = np.where(table.truth == 1, "superposition", "none")
    power = table.groupby(["what", "on"]).alarm.mean().reset_index()
    return [
        Figure(
            "roc", roc,
            "Statistics of activations as detectors of superposition, over all models: how much is found at what rate of false "
            "alarms.",
        ),
        Figure(
            "power",
            plots.lines_with_band(
                power, "on", "alarm", "what", log_x=True, roles={"none": "control"}, x_title="features on at once, on average",
                y_title="share of models with p ≤ 0.05",
            ),
            "The test sees superposition while features are sometimes alone; what is always crowded it cannot see.",
        ),
    ]  # fmt: skip
