"""4.31: which neurons carry one labelled feature: a few, or most of them?

Five features whose every instance is labelled (base64, hexadecimal digits, weekdays, title case, the indentation of Python) are
each matched, token by token, with tokens that do not have them. What the model does with a feature is how much more it expects
what follows the feature, and less what follows the matched tokens, with it than without, in nats of logit
(`carriers.Site.detection`). A feature is asked about if replacing all neurons of the last layer takes half a nat of that or
more, on the documents on which everything is chosen; all numbers come from other documents.

Which neurons: four rankings (difference of means, a linear probe, attribution patching, and the best dictionary row at the
MLP's output), the best one chosen for each object alike. Carriers: ranked by size, from how many on the loss stays within a
tenth of all. Sparse if there are at most ten, dense if at least a tenth of all neurons; between them is neither. Gone: ranked
with the sign, how many must be replaced until nine tenths of the detection are lost for the first time. That is the post's
question to the letter, but where neurons work against one another it is small in any code. All this holds the scale of the
final norm: the detection is then linear in the neurons, needing and sufficing are one number, and zero and mean ablation are
the same. With the norm let go many more are needed of any object, of a feature planted on three neurons some hundred, so that
no verdict hangs on it; the tables have both. Then: what removing that set costs tokens without the feature, whether a probe
trained anew reads the feature from the other neurons (unused) or not (unreadable), and how many carriers carry another one of
the features, too.

Nulls: the same rankings of random axes of the same space; sets as large of the neurons that do most; the feature on three
neurons, the others as they differ by chance. Models with initial and with shuffled weights (Drori 2026: pruning finds small
circuits where there are none) carry next to nothing, so that how many neurons carry it is noise; they are shown.

Prior numbers, which contradict each other: of dictionary rows in gelu-1l 4 % are one neuron, 4 % two to ten, 92 % dense
(Nanda 2023); some 100 of all MLP neurons control subject-verb agreement, as sparse as dictionaries (Arora et al. 2026). The toy
answer: a network of few neurons spreads each AND over many of them (4.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import retractions, unfolded
from superscope.evidence.wording import answer, number, percent, span
from superscope.lab import Lab
from superscope.measure.activations import carriers, labelled, necessity
from superscope.measure.activations.carriers import Site
from superscope.measure.activations.labelled import Case, size
from superscope.measure.activations.probes import auc
from superscope.measure.activations.subspaces import random_basis
from superscope.recover import sae
from superscope.recover.sae import labels

PROBLEM = "4.31"
TITLE = "Every neuron that carries a feature"
QUESTION = (
    "Which neurons must be removed before a one-layer model can no longer detect a given feature: a few, or most of them?"
)
ASSUMPTIONS = [
    "The model detects a feature in so far as it expects what follows it, rather than what follows its matches.",
    "Neurons are those of the last layer (in a one-layer model all); what attention carries past them is held still.",
    "Replaced neurons are set to their mean over tokens without the feature; zero is tried, too.",
    "The norm's scale is held: what neurons do by making the whole stream louder is not theirs.",
    "The order of four rankings is an upper bound: some other order may need fewer neurons.",
]
DISANALOGIES = [
    "A toy's feature is on one input; these are classes of tokens, each a bundle of finer features.",
    "Five features that the corpus labels, most of them generated: not a sample of what the model knows.",
]
TIPS = [
    "Match tokens with and without: the current token alone tells most features",
    "Draw the curve of the shuffled model, too",
]

TRAINED, AXES, AGAIN = "trained", "random axes", "other random axes"
INIT, SHUFFLED, BUSY = "initial weights", "shuffled weights", "as many that write most"
THREE, THIRTY, ALL = "planted on three", "planted on thirty", "planted on all"
COPIED, IDLE = "planted on three, copied unused", "planted on thirty that do little else"
LOOSE = "planted on three, others by chance"
RANKINGS = ("difference of means", "probe", "attribution", "dictionary row")
CONTEXT, LARGE = 256, 3  # tokens of a row at most; rows of a published model a feature and half
LET_GO = "carriers, norm let go"
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
LEAST = 0.5  # nats that all neurons together must carry


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "gelu-1l-mini"  # bundled model; its twins of other seeds are the replicates
    dictionary: str = "mlp-out-topk"  # autoencoder whose best row gives the fourth ranking, where the model has one
    rows: int = 12  # rows of text a feature and half
    generic: int = 20  # rows of any text a half
    fit: int = 300  # pairs on which all is chosen
    test: int = 150  # pairs of other documents on which all is measured
    points: int = 8  # of a curve
    draws: int = 12  # random sets
    published: str = ""  # a published model for the third rung, such as "SmolLM2-135M"

    def __post_init__(self) -> None:
        if min(self.rows, self.generic, self.draws) < 1 or min(self.fit, self.test) < labelled.FEWEST or self.points < 2:
            raise ValueError(
                f"rows={self.rows}, generic={self.generic}, fit={self.fit}, test={self.test}, points={self.points}, "
                f"draws={self.draws}: expected {labelled.FEWEST} pairs of each, 2 points and 1 of all else at least"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=24, generic=100, fit=800, test=300, points=16, draws=20, published="SmolLM2-135M"),
    "full": Config(rows=60, generic=300, fit=2000, test=1000, points=24, draws=40, published="SmolLM2-135M"),
}

GATE = [
    Check("Of at least three features the neurons carry half a nat or more", "features", ">= 3", TRAINED, unit="models"),
    Check("and do so on other documents, on the average of them", "carried", ">= 0.5", TRAINED, unit="models"),
    Check("of features planted on three unequal neurons two to four are found", "carriers", "within [2, 4]", THREE,
          unit="models"),
    Check("of features planted on all, seven tenths or more", "share", ">= 0.7", ALL, unit="models"),
    Check("a probe of all neurons reads every feature", "read", ">= 0.9", TRAINED, unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "sparse", "With the norm held ten neurons or fewer carry the median feature",
        "carriers", "<= 10", of=TRAINED, null=AXES, plant=THREE, unit="models",
        why="Null: random axes of the same values, ranked alike. Plant: strengths 4, 2.8 and 2 on three neurons that do other "
        "work, too.",
        note="The limit of Nanda's second class.",
    ),
    Expect(
        "dense", "With the norm held a tenth of all neurons or more carry the median feature",
        "share", ">= 0.1", of=TRAINED, null=LOOSE, plant=ALL, unit="models",
        why="Null: the same detection on three neurons, others differing by chance as from token to token. Plant: on all "
        "neurons with log-normal strengths, one in five of them working against it.",
    ),
    Expect(
        "privileged", "Neurons carry features more sparsely than random axes: half as many carriers",
        "over axes", "<= 0.5", of=TRAINED, null=AGAIN, plant=THIRTY, unit="models",
        why="Null: other random axes. Plant: a feature on thirty neurons of log-normal strengths.",
        note="Geometric mean over features of the ratio of the numbers of carriers.",
    ),
    Expect(
        "specific", "Removing the set costs tokens without the feature a twentieth of a nat or less", "cost elsewhere",
        "<= 0.05",
        of=TRAINED, null=BUSY, plant=IDLE, unit="models",
        why="Null: as many neurons, those that write most. Plant: thirty neurons that do a fifth of what they did else.",
        note="Rise of the loss at matched tokens, mean over features; of random sets as large in the tables.",
    ),
    Expect(
        "unused", "Without the set every feature can still be read: held-out AUC of a probe trained anew at least .9",
        "read without", ">= 0.9", of=TRAINED, null=LOOSE, plant=COPIED, unit="models",
        why="Null: on three neurons alone, others by chance. Plant: the same, with copies of one "
        "spread on forty neurons that write nothing of it.",
        note="The lowest of the features, of which all neurons may read little, too (table). What is readable need not be "
        "used.",
    ),
]  # fmt: skip

RETRACTED = [
    ("learned", "supported: .11 of the carriers that the same model with shuffled weights has",
     "shuffled and initial weights carry next to nothing: how many neurons carry it is noise over noise"),
    ("specific", "a tenth or less of what random sets cost", "random sets cost so little that the ratio had no sign"),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models(config.model, examine, config, published=config.published)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    trained = table[table.arm == TRAINED]
    each = unfolded(table, "each")
    return Findings(
        passed,
        claims,
        figures(table),
        {"arms": table.drop(columns=["each", "curves"]), "features": each, "rankings": rankings_table(table),
         "split": split_table(each), "retractions": retractions(RETRACTED)},
        f"Detection that neurons carry: {span(trained['carried'].min(), trained['carried'].max())} nats; shuffled: "
        f"{number(table[table.arm == SHUFFLED]['carried'].mean())}. Carriers over random axes: "
        f"{span(trained['over axes'].min(), trained['over axes'].max())}; with the norm let go there are "
        f"{span(trained[LET_GO].min(), trained[LET_GO].max())}, of a feature on three "
        f"neurons {number(table[table.arm == THREE][LET_GO].mean())}. "
        f"{percent(each[each.arm == TRAINED]['carry another'].mean() if len(each) else 0)} of carriers carry another of the "
        "features, too.",
        in_short({claim.id: claim.verdict == "supported" for claim in claims}, each),
    )  # fmt: skip


def in_short(supported: dict[str, bool], each: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    kind = "sparse" if supported["sparse"] else "dense" if supported["dense"] else "neither sparse nor dense"
    own = each[each.arm == TRAINED] if len(each) else each
    if not len(own):
        return "No answer: the neurons carry too few of the features."
    by = own.groupby("feature")["carriers"].mean().sort_values()
    return answer(
        "The median feature is {kind}. {first} has fewest neurons, {few}, {last} most, {many}; other neurons {read} hold "
        "what is removed.",
        kind=kind, first=str(by.index[0]), few=number(float(by.iloc[0])), last=str(by.index[-1]),
        many=number(float(by.iloc[-1])),
        read="still" if supported["unused"] else "may not",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ measuring


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.31 {model.name}")
    if model.origin == "published":  # a hundred times as many parameters: as many rows as a few minutes allow
        config = replace(config, rows=min(config.rows, LARGE), generic=min(config.generic, LARGE))
    split = lms.corpus.sample(model.tokenizer)
    rows, first = labelled.text_of(split, min(model.n_ctx, CONTEXT), config.rows, config.generic, rng)
    found = list(labelled.cases(model, split, rows, first, config.fit, config.test, rng))
    kept = [one for one in found if size(one[0].parts[0], one[0].weights) >= LEAST]
    real = [case for case, *_ in kept]
    name = f"{model.name}/{config.dictionary}"
    dictionary = sae.load(name) if name in sae.bundled() else None
    d = model.d_mlp
    one, other = (random_basis(d, d, int(seed)).T.astype(np.float32) for seed in rng.integers(2**31, size=2))

    def arm(name: str, given: list[Case], basis: np.ndarray | None = None) -> dict[str, Any]:
        each = [measured(case, dictionary, config, rng, name, basis) for case in given]
        sets = [row.pop("set") for row in each]
        for i, row in enumerate(each):
            others = np.concatenate([one for j, one in enumerate(sets) if j != i] or [np.zeros(0, dtype=np.int64)])
            row["carry another"] = float(np.isin(sets[i], others).mean())
        drawn = [{"arm": name, **curve} for row in each for curve in row.pop("drawn")]
        return {"arm": name, **summed(each, d), "each": each, "curves": drawn}

    out = [arm(TRAINED, real), arm(AXES, real, one), arm(AGAIN, real, other)]
    for kind, control in ((INIT, model.control("init")), (SHUFFLED, model.control("shuffled"))):
        at = carriers.read(control, rows)
        out.append(arm(kind, [replace(case, site=at(ons, offs)) for case, ons, offs in kept]))
    few, thirty, whole = strengths(d, rng)
    three = [planted(case, few, rng) for case in real]
    out += [
        arm(THREE, three),
        arm(THIRTY, [planted(case, thirty, rng) for case in real]),
        arm(ALL, [planted(case, whole, rng) for case in real]),
        arm(COPIED, [copied(case, few, rng) for case in three]),
        arm(LOOSE, [planted(case, few, rng, loose=True) for case in real]),
        arm(IDLE, [planted(case, thirty, rng, idle=True) for case in real]),
    ]
    by = {row["arm"]: row for row in out}
    for row in out:
        row["over axes"] = ratio(row, by[AXES]) if row["arm"] != AXES else np.nan
    sizes = [row["gone"] for row in by[TRAINED]["each"]]
    costs = [removal(case.parts[1], busiest(case.parts[0])[:k])[1] for case, k in zip(real, sizes, strict=True)]
    out.append({"arm": BUSY, "cost elsewhere": float(np.mean(costs)) if costs else np.nan, "each": [], "curves": []})
    yield from ({**row, "features": len(real)} for row in out)


def scores_of(site: Site, weights: np.ndarray, other: np.ndarray, dictionary: sae.SAE | None) -> dict[str, necessity.Score]:
    """The four rankings, from the tokens at which all is chosen."""
    written = site.written(site.values)
    row = written[site.on].mean(axis=0) - written[~site.on].mean(axis=0)
    if dictionary is not None:
        latents = dictionary.encode(torch.from_numpy(written)).detach().numpy()
        best = auc(latents, np.repeat(site.on[:, None], latents.shape[1], axis=1)).argmax()
        row = dictionary.decoder[int(best)].detach().numpy()
    found = (
        carriers.gap(site.values, site.on),
        carriers.read_by(probe(site.values, site.on), site.values),
        carriers.signed_attribution(site.values, other, site.gradient(weights)),
        carriers.written_along(row, site),
    )
    return dict(zip(RANKINGS, found, strict=True))


def probe(values: np.ndarray, on: np.ndarray, penalty: float = 0.1) -> np.ndarray:
    """(d,) weights of a least-squares probe on units of equal spread."""
    spread = np.maximum(values.std(axis=0), 1e-6)
    return labels.probes(values.astype(float) / spread, on[:, None], penalty=penalty)[0][0] / spread


def measured(
    case: Case, dictionary: sae.SAE | None, config: Config, rng: np.random.Generator, arm: str, basis: np.ndarray | None = None
) -> dict[str, Any]:
    """One feature of one object: how many units, which, what they cost, and what can be read without them."""
    fit, test = case.parts
    d = fit.values.shape[1]
    axes = np.eye(d, dtype=np.float32) if basis is None else basis
    effect = test.detection(case.weights)
    there = fit.values[~fit.on].mean(axis=0, keepdims=True)
    scores = {name: score(axes) for name, score in scores_of(fit, case.weights, there, dictionary).items()}
    shares = carriers.signed_attribution(fit.values, there, fit.gradient(case.weights))(axes)
    first = {name: np.argsort(-score, kind="stable") for name, score in scores.items()}
    sized = {name: np.argsort(-np.abs(score), kind="stable") for name, score in scores.items()}
    quick = first[min(first, key=lambda name: passage(shares[first[name]]))]
    best = min(sized, key=lambda name: carriers.settled(shares[sized[name]]))
    drawn = []
    for name in RANKINGS if arm == TRAINED else (best,):
        found = necessity.curves(effect, test.values, sized[name], there, basis, config.points)
        drawn.append({
            "feature": case.feature, "ranking": name, "best": name == best, "k": found.k.tolist(),
            "necessity": found.necessity.tolist(), "sufficiency": found.sufficiency.tolist(), "k50": found.k50,
            "k90": found.k90, "enough50": found.enough50, "enough90": found.enough90, "gini": found.gini,
        })  # fmt: skip
    own = next(curve for curve in drawn if curve["best"])
    gone = carriers.gone(effect, test.values, quick, there, basis)
    out: dict[str, Any] = {
        "feature": case.feature, "ranking": best, "carried": size(test, case.weights), "gone": gone,
        "carriers": own["k90"], "gini": own["gini"], "drawn": drawn, "set": sized[best][: int(own["k90"])],
    }  # fmt: skip
    if arm in (TRAINED, THREE):
        live = test.detection(case.weights, live=True)
        freed = necessity.curves(live, test.values, sized[best], there, basis, config.points)
        out[LET_GO] = max(freed.k90, freed.enough90)
    if arm == TRAINED:
        for kind, other in (("mean", there), ("zero", 0 * there)):
            out[f"gone, norm let go, {kind}"] = carriers.gone(live, test.values, quick, other, basis)
    if arm in (TRAINED, INIT, SHUFFLED, LOOSE, COPIED):
        out |= {"read": readable(fit, test, quick), "read without": readable(fit, test, quick[gone:]) if gone < d else 0.5}
    if arm in (TRAINED, IDLE):
        with_it, without_it = removal(test, quick[:gone])
        out |= {"cost": with_it, "cost elsewhere": without_it, "random cost": bystanders(test, gone, config.draws, rng)}
    return out


def passage(shares: np.ndarray) -> int:
    """How many of the first shares add up to nine tenths of all."""
    return int(np.argmax(np.cumsum(shares) / shares.sum() >= carriers.LEVEL))


def removal(site: Site, taken: np.ndarray) -> tuple[float, float]:
    """Rise of the loss when neurons are put to their mean over tokens without the feature: with it, and at matched tokens."""
    values = site.values.copy()
    values[:, taken] = values[~site.on][:, taken].mean(axis=0)
    rise = site.loss(values) - site.loss(site.values)
    return float(rise[site.on].mean()), float(rise[~site.on].mean())


def busiest(site: Site) -> np.ndarray:
    """(d_mlp,) neurons in the order of how much they write: spread times the norm of what they write."""
    return np.argsort(-site.values.std(axis=0) * site.out.norm(dim=1).numpy(), kind="stable")


def bystanders(site: Site, k: int, draws: int, rng: np.random.Generator) -> float:
    """Rise of the loss at matched tokens when k random neurons are put to their mean there, mean over draws."""
    rows = torch.from_numpy(~site.on)
    others = replace(site, values=site.values[~site.on], stream=site.stream[rows], following=site.following[rows])
    clean, rises = others.loss(others.values), []
    for _ in range(draws):
        values, taken = others.values.copy(), rng.permutation(others.values.shape[1])[:k]
        values[:, taken] = values[:, taken].mean(axis=0)
        rises.append((others.loss(values) - clean).mean())
    return float(np.mean(rises))


def readable(fit: Site, test: Site, units: np.ndarray) -> float:
    """Held-out AUC of a probe trained on these units, its penalty chosen on a third of the pairs that it learns from."""
    pairs = np.arange(int(fit.on.sum()))
    inner, choose = fit.only(pairs[: 2 * len(pairs) // 3]), fit.only(pairs[2 * len(pairs) // 3 :])

    def held_out(learn: Site, judge: Site, penalty: float) -> float:
        weights = probe(learn.values[:, units], learn.on, penalty)
        return float(auc((judge.values[:, units] @ weights)[:, None], judge.on[:, None])[0])

    best = max(PENALTIES, key=lambda penalty: held_out(inner, choose, penalty))
    return held_out(fit, test, best)


def summed(each: list[dict[str, Any]], d: int) -> dict[str, Any]:
    """What the rules ask for, over the features of an arm; of none the gate fails."""
    if not each:
        return dict.fromkeys(("carried", "gone", "carriers", "share", "read", "read without", LET_GO), 0.0)

    def median(column: str) -> float:
        return float(np.median([row[column] for row in each]))

    out = {"carried": float(np.mean([row["carried"] for row in each])), "gone": median("gone"),
           "carriers": median("carriers"),
           "share": median("carriers") / d}  # fmt: skip
    if "read" in each[0]:
        out |= {column: min(row[column] for row in each) for column in ("read", "read without")}
    if "cost" in each[0]:
        out |= {column: float(np.mean([row[column] for row in each])) for column in ("cost elsewhere", "random cost")}
    if LET_GO in each[0]:
        out[LET_GO] = median(LET_GO)
    return out


def ratio(row: dict[str, Any], null: dict[str, Any]) -> float:
    """Geometric mean over features of the number of carriers, over that of a null."""
    logs = [np.log(one["carriers"] / other["carriers"]) for one, other in zip(row["each"], null["each"], strict=True)]
    return float(np.exp(np.mean(logs))) if logs else np.nan


# ------------------------------------------------------------------------------------------------------------ plants


def strengths(d: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """(d,) of features on three neurons, and on thirty and on all with one in five working against it."""
    order = rng.permutation(d)
    few, thirty = np.zeros(d), np.zeros(d)
    few[order[:3]] = 4.0, 2.8, 2.0
    thirty[order[:30]] = 2 * np.exp(0.25 * rng.standard_normal(30)) * np.where(np.arange(30) % 5, 1, -1)
    return few, thirty, np.exp(0.25 * rng.standard_normal(d)) / 2 * np.where(np.arange(d) % 5, 1, -1)


def planted(case: Case, on_neurons: np.ndarray, rng: np.random.Generator, **how: bool) -> Case:
    """The same feature, as strongly detected, on chosen neurons. how: options of `carriers.plant`."""
    strength = max(size(case.site, case.weights), 1.0)
    return replace(case, site=carriers.plant(case.site, case.weights, on_neurons, strength, rng, first=case.fit, **how))


def copied(case: Case, few: np.ndarray, rng: np.random.Generator) -> Case:
    """One spread on forty neurons more, which go on writing what they write."""
    values = case.site.values.copy()
    some = rng.permutation(np.flatnonzero(few == 0))[:40]
    values[np.ix_(case.site.on, some)] += (values[:, some].std(axis=0)).astype(values.dtype)
    return replace(case, site=replace(case.site, values=values))


# ------------------------------------------------------------------------------------------------------------ tables


def rankings_table(table: pd.DataFrame) -> pd.DataFrame:
    """k50, k90, enough90 and Gini of every curve."""
    rows = [
        {"model": row["model"], **{k: v for k, v in one.items() if k not in ("k", "necessity", "sufficiency")}}
        for row in table.to_dict("records") for one in row["curves"]
    ]  # fmt: skip
    return pd.DataFrame(rows)


def split_table(each: pd.DataFrame) -> pd.DataFrame:
    """Shares of features on one neuron, on two to ten, on more: trained, and as published of dictionary rows."""
    rows: list[dict[str, Any]] = [
        {"model": "dictionary rows of gelu-1l (Nanda 2023)", "one": 0.04, "two to ten": 0.04, "more": 0.92}
    ]
    for name, part in each[each.arm == TRAINED].groupby("model", sort=False) if len(each) else ():
        count = part["carriers"]
        rows.append({"model": name, "one": (count <= 1).mean(), "two to ten": ((count > 1) & (count <= 10)).mean(),
                     "more": (count > 10).mean()})  # fmt: skip
    return pd.DataFrame(rows)


def figures(table: pd.DataFrame) -> list[Figure]:
    """Both curves of one feature of the first model; how many neurons must be gone, beside the nulls."""
    model = table.model.iloc[0]
    best = [one for drawn in table[table.model == model].curves for one in drawn if one["best"]]
    rows = [
        {"units": max(k, 0.5), "share": share, "curve": f"{one['arm']}, {what}"}
        for one in best
        if one["feature"] == best[0]["feature"] and one["arm"] in (TRAINED, AXES, SHUFFLED, THREE)
        for what in ("necessity", "sufficiency")
        for k, share in zip(one["k"], one[what], strict=True)
    ]
    bars = plots.figure(height=380, yaxis_title="units", yaxis_type="log")
    each = unfolded(table, "each")
    for arm in (TRAINED, AXES, SHUFFLED, INIT, THREE, THIRTY, ALL) if len(each) else ():
        for what in ("gone", "carriers"):
            bars.add_box(y=each[each.arm == arm][what], name=f"{arm}, {what}", boxpoints="all")
    made = [
        Figure("carriers", bars, "Every feature of every model: units until nine tenths are gone, and units that carry it.")
    ]
    if rows:
        curves = plots.lines_with_band(
            pd.DataFrame(rows), "units", "share", "curve", log_x=True, x_title="units replaced, or kept",
            y_title="share of the detection lost, or there",
        )  # fmt: skip
        made.insert(0, Figure("curves", curves, f"Replacing the first units of a ranking, or keeping only them: "
                              f"{best[0]['feature']}, {model}."))  # fmt: skip
    return made
