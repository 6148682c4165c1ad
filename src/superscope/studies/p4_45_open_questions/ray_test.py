"""4.45, question 1: is there a statistical test for superposition? Counting rays in activations, calibrated on known models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import kurtosis
from sklearn.metrics import roc_auc_score, roc_curve

import superscope as ss
from superscope import plots
from superscope.evidence.expect import Expect
from superscope.evidence.findings import Figure, Part
from superscope.evidence.tables import NONE as NOTHING
from superscope.evidence.tables import arm, arms
from superscope.lab import Lab
from superscope.measure.activations.rays import superposition_test
from superscope.studies.p4_45_open_questions.config import Config

WIDTH = 6  # hidden dimensions of every model
FEATURES = (4, 6, 12, 24)  # fewer than, as many as, more than dimensions
IMPORTANCE = 0.9  # of feature i: 0.9^i, so that a linear model keeps the first six and nothing else
SPARSE = 1.5  # features on at once, on average, up to which power is promised
NOISE = 0.02  # sd of what is added to activations, relative to their root mean square
NOISES = (0.01, 0.04, 0.05, 0.08)  # and what else the test is tried at, on antipodal pairs by hand
VALUES = {"wide": ss.Uniform(0, 1), "narrow": ss.Uniform(0.8, 1)}  # laws for which the test is meant, and which mislead it

ALL, NONE, SPARSELY = "all models", "models without superposition", "sparse models with it"
EXPECTED = [
    Expect(
        "separates", "Ranking all models by rays per dimension separates superposition from its absence: AUC at least 0.9",
        "AUC", ">= 0.9", of=ALL, null="Gaussian twins of all models", plant="sparse ones against those without",
        why="Null: activations of the same covariance, everything else gone. Plant: models in which features are often alone.",
        note="Includes dense models, in which nothing is ever alone.",
    ),
    Expect(
        "false-alarms", "Without superposition (features independent, values U[0, 1]) a test at level 0.05 alarms in at most "
        "5 % of "
        "the models", "alarms", "<= 0.05", of=NONE, null="non-Gaussianity of these", plant="Gaussian twins of these",
        why="Null: sparse features are far from Gaussian with or without superposition. Plant: activations without any ray.",
    ),
    Expect(
        "power", f"With superposition and at most {SPARSE:g} features on at once on average, it alarms in at least 90 %",
        "alarms", ">= 0.9", of=SPARSELY, null="Gaussian twins of sparse models", plant="antipodal pairs by hand",
        why="Null: no rays are left to count. Plant: 12 features in 6 dimensions, norms .7 to 1.1, as sparse as these.",
    ),
    Expect(
        "counts", "In these the number of rays is the number of represented features, within 10 %",
        "miscount", "<= 0.1", of=SPARSELY, null="dense models with it", plant="antipodal pairs by hand",
        why="Null: where several features are always on together nothing lies on a ray. Plant: 12 features in 6 dimensions.",
        note="Median relative error over the models of a seed.",
    ),
    Expect(
        "noise-ends-it", "The test needs clean activations: noise of a twentieth of their size leaves a tenth of its power",
        "alarms", "<= 0.1", of="antipodal pairs, noise 0.05", null="antipodal pairs by hand",
        plant="Gaussian twins of sparse models",
        why=f"Null: noise of {NOISE:g}, which all other numbers of the test are about. Plant: no rays at all.",
        constant="at the study's own noise the test always sees the pairs",
        note="Found by a review: the page promised power without naming a noise.",
    ),
    Expect(
        "values-must-vary", "With values that hardly vary, U[0.8, 1], the test is misled: over 20 % false alarms",
        "alarms", "> 0.2", of="narrow values, without superposition", null=NONE, plant="binary values, orthogonal features by "
        "hand",
        why="Null: values differ from input to input. Plant: values exactly 1, where two features on together give a third "
        "ray.",
        note="Two features that are on together then give nearly the same third direction every time: a known limit, first "
        "shown "
        "with binary values.",
    ),
]  # fmt: skip


def activations(
    w: np.ndarray, inputs: ss.SparseFeatures, rng: np.random.Generator, count: int, noise: float = NOISE
) -> np.ndarray:
    """(count, m) hidden activations W x + noise of inputs on which something is on."""
    some = 1 - np.prod(1 - inputs.densities)
    x = inputs.draw(rng, int(1.5 * count / some) + 20)
    h = x[x.any(1)][:count] @ w.T
    return h + noise * np.sqrt((h**2).mean()) * rng.standard_normal(h.shape)


def gaussian_twin(h: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian activations with the mean and the covariance of h: all that a test of second moments can see."""
    return rng.multivariate_normal(h.mean(0), np.cov(h.T) + 1e-9 * np.eye(h.shape[1]), size=len(h), method="eigh")


def departure(h: np.ndarray) -> float:
    """Largest |excess kurtosis| over directions of the whitened activations (the axes of an SVD): the usual symptom."""
    u = np.linalg.svd(h - h.mean(0), full_matrices=False)[0]
    return float(np.abs(kurtosis(u, axis=0)).max())


def examine(w: np.ndarray, inputs: ss.SparseFeatures, seed: int, config: Config, noise: float = NOISE) -> list[float]:
    """The columns of `COLUMNS` for one model. Truth: more features have a
    direction (norm above half the largest) than there are dimensions."""
    rng = np.random.default_rng([seed, w.shape[1], round(1e6 * float(inputs.densities[0]))])
    h = activations(w, inputs, rng, config.samples, noise)
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
            sweep = ss.Sweep(ss.Bottleneck(n, WIDTH, activation=activation), inputs, over=over, seeds=lab.seeds(config.seeds))
            run = lab.train(sweep, ss.Recipe.fast(steps=config.steps), name=f"test-{name}-{activation}-{n}")
            w = run.W.transpose("density", "seed", "hidden", "feature").values

            def look(w: np.ndarray = w, inputs: ss.SparseFeatures = inputs) -> list[list[list[float]]]:
                at = [inputs.replace(density=float(p)) for p in config.test_densities]
                return [
                    [examine(w[i, s], x, seed, config) for s, seed in enumerate(lab.seeds(config.seeds))]
                    for i, x in enumerate(at)
                ]

            for p, each in zip(config.test_densities, lab.unit(f"test-{name}-{activation}-{n}", look), strict=True):
                rows += [
                    {"activation": activation, "features": n, "density": p, "seed": s, **dict(zip(COLUMNS, row, strict=True))}
                    for s, row in zip(lab.seeds(config.seeds), each, strict=True)
                ]
    return pd.DataFrame(rows)


def rows_of(name: str, table: pd.DataFrame, **measures: Callable[[pd.DataFrame], float]) -> pd.DataFrame:
    """Rows of one arm: numbers measured on the models of each seed; nothing to measure where there are none."""
    if table.empty:
        return arm(name, [NOTHING], **{key: [np.nan] for key in measures})
    parts = list(table.groupby("seed"))
    return arm(name, [seed for seed, _ in parts], **{key: [of(part) for _, part in parts] for key, of in measures.items()})


def rejected(column: str = "p", level: float = 0.05) -> Callable[[pd.DataFrame], float]:
    """Share of models in which the test rejects "no superposition" at the level."""
    return lambda part: float((part[column] <= level).mean())


def miscount(part: pd.DataFrame) -> float:
    """Median relative error of the number of rays."""
    return float(np.median(np.abs(part.rays / part.represented - 1)))


def testing(config: Config, lab: Lab) -> Part:
    """False alarms, power and ROC of the ray test over models whose weights say what is true."""
    models = population(config, lab, VALUES["wide"], "wide")
    without, with_it = models[models.truth == 0], models[models.truth == 1]
    sparse = with_it[with_it.features * with_it.density <= SPARSE]
    dense = with_it[with_it.features * with_it.density > SPARSE]
    narrow = population(config, lab, VALUES["narrow"], "narrow")
    rng = np.random.default_rng(lab.seed)
    gaussian = [departure(rng.standard_normal((config.samples, WIDTH))) for _ in range(200)]
    kurtosis_level = float(np.quantile(gaussian, 0.95))  # a 5 % test of "these activations are Gaussian"

    def area(column: str = "score") -> Callable[[pd.DataFrame], float]:
        return lambda part: float(roc_auc_score(part.truth, part[column]))

    table = arms(
        rows_of(ALL, models, AUC=area()),
        rows_of("Gaussian twins of all models", models, AUC=area("twin score")),
        rows_of("sparse ones against those without", pd.concat([without, sparse]), AUC=area()),
        rows_of(NONE, without, alarms=rejected()),
        rows_of("non-Gaussianity of these", without, alarms=lambda part: float((part.tails > kurtosis_level).mean())),
        rows_of("Gaussian twins of these", without, alarms=rejected("twin p")),
        rows_of(SPARSELY, sparse, alarms=rejected(), miscount=miscount),
        rows_of("Gaussian twins of sparse models", sparse, alarms=rejected("twin p")),
        rows_of("dense models with it", dense, miscount=miscount),
        rows_of("narrow values, without superposition", narrow[narrow.truth == 0], alarms=rejected()),
        *by_hand(config, lab),
    )
    return Part([table], [*figures(models), by_noise(table)], {"test_models": _condensed(models)})


def by_hand(config: Config, lab: Lab) -> list[pd.DataFrame]:
    """The plants: antipodal pairs at the sparse densities, at several noises, and orthogonal features with binary values."""
    pairs = np.concatenate([np.eye(WIDTH), -np.eye(WIDTH)], axis=1)
    four = np.eye(WIDTH, 4)
    sparse = [p for p in config.test_densities if 12 * p <= SPARSE]
    kinds = (
        ("antipodal pairs by hand", pairs, VALUES["wide"], sparse, NOISE),
        *((f"antipodal pairs, noise {noise:g}", pairs, VALUES["wide"], sparse, noise) for noise in NOISES),
        ("binary values, orthogonal features by hand", four, ss.Constant(1), list(config.test_densities), NOISE),
    )
    out = []
    for name, code, values, densities, noise in kinds:
        found = []
        for seed in lab.seeds(config.seeds):
            rng = np.random.default_rng([seed, code.shape[1], 45])
            for p in densities:
                W = code * rng.uniform(0.7, 1.1, code.shape[1])
                row = examine(W, ss.SparseFeatures(code.shape[1], p, values=values), seed, config, noise)
                found.append({"seed": seed, **dict(zip(COLUMNS, row, strict=True))})
        out.append(rows_of(name, pd.DataFrame(found), alarms=rejected(), miscount=miscount))
    return out


def by_noise(table: pd.DataFrame) -> Figure:
    """Power on antipodal pairs by the noise on the activations."""
    names = {NOISE: "antipodal pairs by hand"} | {noise: f"antipodal pairs, noise {noise:g}" for noise in NOISES}
    power = pd.DataFrame(
        [{"noise": noise, "alarms": float(table[table.arm == names[noise]].alarms.mean())} for noise in sorted(names)]
    )
    chart = plots.lines_with_band(
        power,
        "noise",
        "alarms",
        x_title="noise, relative to the size of the activations",
        y_title="share of models with p ≤ 0.05",
    )
    return Figure(
        "noise", chart, "Twelve features in six dimensions as antipodal pairs by hand: what noise leaves of the test."
    )


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
