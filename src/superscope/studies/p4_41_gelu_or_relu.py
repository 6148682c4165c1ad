"""4.41: do GELU and ReLU language models differ in polysemanticity?

Models with the same start and the same batches that differ in their activation function alone, start by start. "No difference"
is a result, so that every measure has a margin, named beforehand: a ratio within [.8, 1.25], a share within .05, a loss within
.05 nats. The measures: concepts of the median neuron (the judge of 4.38), share of monosemantic neurons, how much of a neuron's
activation above zero its strongest twentieth of tokens holds (a threshold matched in rate, for zero means another thing to the
two), tail weight of the activations, what one concept explains beyond the word, how many neurons carry the median labelled
feature (4.31), loss. Then the regime near zero, which only GELU has: what it costs to put everything below zero to the neuron's
mean there (a constant below zero is undone by a bias, and is no use of it).

Nulls: the same comparison of a ReLU model before its training with a trained GELU model, which differ in what training makes.
Plants: the same GELU model of another seed. Power: ReLU models a tenth of whose neurons were made to read one concept. Prior
numbers: in toys GELU and SiLU have slightly less superposition, "loss not marginally different" (Baron 2025); no comparison of
language models is known. The toy answer: GELU toys pack features in pairs that ReLU cannot (4.10, 4.11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import kurtosis

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import moved_on
from superscope.evidence.wording import answer, number, span
from superscope.lab import Lab
from superscope.lms.model.language_model import rows_to_tensor
from superscope.lms.reading import matched, metrics, planted
from superscope.lms.reading.matched import INIT, NEURONS
from superscope.measure.activations import labelled
from superscope.measure.activations.subspaces import random_basis
from superscope.studies import language as _language

PROBLEM = "4.41"
TITLE = "GELU against ReLU in a language model"
QUESTION = "Do matched GELU and ReLU language models differ in polysemanticity by more than a margin named beforehand?"
ASSUMPTIONS = [
    "Two models of one start, one order of batches and one loss differ by their activation function.",
    "What matters is smaller than the margins: a quarter of a count, a twentieth of a share or of a nat.",
    "The judge of 4.38 sees polysemanticity; what its list of concepts lacks is missed in both alike.",
]
DISANALOGIES = [
    "One layer, three starts, one learning rate for both; with more of either a difference could appear.",
    "Equality within a margin of three starts is not proof of equality: the power line says what would have been seen.",
    "GELU's lobe is at most .17 deep; models with other smooth functions may use theirs more.",
    "Earlier runs, on other texts, changed measures: kurtosis before the nonlinearity is the same before training; the lobe "
    "had been counted into what the strongest tokens hold; it had been clamped to zero, mean and all; losses of two starts had "
    "been of two texts; before training no neuron is monosemantic either, which was the null of that share.",
]
TIPS = ["Match the firing rate before comparing sparseness", "Name the margin before looking"]

GELU, RELU = "gelu-1l-mini", "relu-1l-mini"
AGAIN, BEFORE, TENTH, HALF = (
    "GELU of another seed",
    "ReLU before training",
    "ReLU, a tenth made to read one concept",
    "ReLU, half",
)
AXES, OTHER_AXES = "ReLU on random axes", "GELU on random axes"
ABOVE, UNTRAINED = "GELU, what is above zero", "GELU before training"
FEW, TOP = 2.0, 0.05  # concepts of a monosemantic neuron; share of the tokens that are a neuron's strongest
RATIO, SHARE = "within [0.8, 1.25]", "within [-0.05, 0.05]"


@dataclass(frozen=True)
class Config:
    """How many neurons, how much text."""

    neurons: int = 32  # neurons per model
    rows: int = 500  # rows of 256 tokens
    pairs: int = 300  # pairs of tokens with and without a labelled feature
    levelled: int = 48  # rows on which what is below zero is put to its mean

    def __post_init__(self) -> None:
        if self.neurons < 16 or self.rows < 50 or self.pairs < 2 * labelled.FEWEST or self.levelled < 4:
            raise ValueError(
                f"neurons={self.neurons}, rows={self.rows}, pairs={self.pairs}, levelled={self.levelled}: expected at least 16 "
                f"neurons, 50 rows, {2 * labelled.FEWEST} pairs and 4 levelled rows"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(neurons=128, rows=1600, pairs=900, levelled=200),
    "full": Config(neurons=512, rows=4500, pairs=2000, levelled=600),
}

_WHY = "Null: the ReLU model before its training. Plant: the same GELU model of another seed."


def _equal(id: str, statement: str, column: str, ratio: bool, power: tuple[str, ...] = ()) -> Expect:
    """One measure on which the two are expected to be equal."""
    sign = "/" if ratio else "-"
    return Expect(
        id, statement, column, RATIO if ratio else SHARE, of=f"ReLU {sign} GELU", null=f"{BEFORE} {sign} GELU",
        plant=f"{AGAIN} {sign} GELU", why=_WHY, power=power,
    )  # fmt: skip


GATE = [
    Check("The judge places trained neurons above initial ones, in GELU models: AUC .8", "trained", ">= 0.8", "GELU"),
    Check("and in ReLU models", "trained", ">= 0.8", "ReLU"),
    Check("two labelled features or more are carried by neurons in both", "features", ">= 2", "GELU"),
    Check("ReLU's too", "features", ">= 2", "ReLU"),
]
EXPECTED = [
    _equal("concepts", "The median neuron has as many concepts, within a quarter", "concepts", True, (f"{HALF} / GELU",)),
    Expect(
        "monosemantic", "As many neurons are monosemantic, within .05", "monosemantic", SHARE, of="ReLU - GELU",
        null=f"{HALF} - GELU", plant=f"{AGAIN} - GELU", power=(f"{TENTH} - GELU",),
        why="Null: ReLU models half of whose neurons read one concept. Plant: the same GELU model of another seed.",
    ),
    _equal("sparse", "A neuron's strongest twentieth of tokens holds as much of what is above zero, within .05", "held", False),
    _equal("tails", "Activations are as heavy-tailed: kurtosis of the median neuron within a quarter", "kurtosis", True),
    _equal("beyond", "One concept explains as much beyond the word, within a quarter", "beyond", True),
    Expect(
        "carriers", "As many neurons carry the median labelled feature, within a quarter", "carriers", RATIO, of="ReLU / GELU",
        null=f"{AXES} / GELU", plant=f"{OTHER_AXES} of another seed / {OTHER_AXES}",
        why="Null: random axes of the ReLU layer against GELU's neurons. Plant: random axes of GELU layers, of two seeds.",
    ),
    _equal("loss", "The loss is the same within .05 nats", "loss", False),
    Expect(
        "lobe", "GELU uses the regime near zero: what is below zero put to the neuron's mean there costs .05 nats or more",
        "lobe", ">= 0.05", of="GELU", null=UNTRAINED, plant=ABOVE,
        why="Null: the model before its training. Plant: what is above zero, put to its mean alike.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Start by start, then the margins."""
    twins = {name: _language.by_seed(name) for name in (GELU, RELU)}
    seeds = sorted(set(twins[GELU]) & set(twins[RELU]))
    parts = [
        lab.unit(f"start-{seed}", partial(examine, {name: twins[name][seed] for name in twins}, config, lab)).assign(seed=seed)
        for seed in lab.progress(seeds, "starts")
    ]
    table = pd.concat(parts, ignore_index=True)
    extra = [moved_on(table, "GELU", AGAIN), moved_on(table, OTHER_AXES, f"{OTHER_AXES} of another seed")]
    table = pd.concat([table, *extra], ignore_index=True)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    by = table.set_index(["arm", "seed"])
    return Findings(
        passed,
        claims,
        figures(table),
        {"arms": table.drop(columns=["each"]), "paired": paired(table)},
        f"ReLU over GELU: concepts {span(*_ends(by, 'concepts', True))}, kurtosis {span(*_ends(by, 'kurtosis', True))}, "
        f"carriers {span(*_ends(by, 'carriers', True))}. ReLU less GELU: monosemantic "
        f"{span(*_ends(by, 'monosemantic', False))}, held {span(*_ends(by, 'held', False))}, loss "
        f"{span(*_ends(by, 'loss', False))}. Putting what is below zero to its mean costs GELU "
        f"{span(float(by.loc['GELU', 'lobe'].min()), float(by.loc['GELU', 'lobe'].max()))} nats.",
        in_short({claim.id: claim.verdict for claim in claims}, by),
    )  # fmt: skip


def _ends(by: pd.DataFrame, column: str, ratio: bool) -> tuple[float, float]:
    a, b = by.loc["ReLU", column], by.loc["GELU", column]
    moved = a / b if ratio else a - b
    return float(moved.min()), float(moved.max())


def in_short(verdict: Mapping[str, str], by: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    if "gate failed" in verdict.values():
        return "No answer: the judge or the features did not pass their own tests here."
    equal = [one for one in verdict if one != "lobe" and verdict[one] == "supported"]
    return answer(
        "GELU and ReLU are shown equal on {equal} of {all} measures; ReLU's median neuron has {more} concepts, and GELU {lobe} "
        "what is below zero.",
        equal=str(len(equal)), all=str(len(verdict) - 1),
        more="fewer" if (by.loc["ReLU", "concepts"] / by.loc["GELU", "concepts"]).max() < 0.8
        else "more" if (by.loc["ReLU", "concepts"] / by.loc["GELU", "concepts"]).min() > 1.25 else "about as many",
        lobe={"supported": "needs", "refuted": "hardly needs"}.get(verdict["lobe"], "may need"),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ measuring


def examine(names: Mapping[str, str], config: Config, lab: Lab) -> pd.DataFrame:
    """One row per arm of the two models of one start."""
    rng = lab.rng(f"4.41 {names[GELU]}")
    models = {name: lms.load(twin) for name, twin in names.items()}
    found = matched.read(models, config.rows, config.neurons, rng, lab.seed, (NEURONS, INIT))
    pool = found.text.pool()
    rows = []
    for name, short in ((GELU, "GELU"), (RELU, "ReLU")):
        model, values = models[name], found.values[name, NEURONS]
        initial = measured(found.values[name, INIT], found.text)
        own = measured(values, found.text)
        rows.append({
            "arm": short, **own, "loss": found.loss[name, NEURONS],
            "trained": planted.auc([-x for x in own["each"]], [-x for x in initial["each"]]),
            **carried(model, config, rng, None),
        })  # fmt: skip
        rows.append({
            "arm": AXES if short == "ReLU" else OTHER_AXES, "each": [],
            **carried(model, config, rng, random_basis(model.d_mlp, model.d_mlp, int(rng.integers(2**31))).T),
        })  # fmt: skip
        if name == RELU:
            rows.append({"arm": BEFORE, **initial, "loss": found.loss[name, INIT]})
    for arm, share in ((TENTH, 0.1), (HALF, 0.6)):  # a little more than a half, so that the median neuron is one of them
        made, whole = found.values[RELU, NEURONS].copy(), found.whole[RELU]
        some = planted.sets_apart(pool, found.text.document, 1, max(2, int(share * config.neurons)), rng)
        made[:, : len(some)] = whole @ planted.directions(whole, some, found.text.first)
        rows.append({"arm": arm, **measured(made, found.text)})
    text = found.rows.tokens[: config.levelled]
    rows[0]["lobe"] = levelled(models[GELU], text)
    rows.append({"arm": UNTRAINED, "lobe": levelled(models[GELU].control("init"), text), "each": []})
    rows.append({"arm": ABOVE, "lobe": levelled(models[GELU], text, above=True), "each": []})
    return pd.DataFrame(rows)


def measured(values: np.ndarray, text: metrics.Text) -> dict[str, Any]:
    """What a set of neurons is like on labelled text."""
    scores = metrics.score(values, text, [metrics.JUDGE, "beyond tokens"])
    many = 1 / scores[metrics.JUDGE].to_numpy()
    return {
        "concepts": float(np.median(many)), "monosemantic": float((many < FEW).mean()), "held": held(values),
        "kurtosis": float(np.median(kurtosis(values, axis=0, fisher=False))),
        "beyond": float(scores["beyond tokens"].median()), "each": many.tolist(),
    }  # fmt: skip


def held(values: np.ndarray) -> float:
    """Share of what a neuron has above zero that its strongest `TOP` of tokens hold; median neuron."""
    size = np.maximum(values, 0)
    count = max(1, int(TOP * len(values)))
    strongest = np.argpartition(-values, count - 1, axis=0)[:count]
    return float(np.median(np.take_along_axis(size, strongest, axis=0).sum(axis=0) / np.maximum(size.sum(axis=0), 1e-12)))


def carried(model: lms.LanguageModel, config: Config, rng: np.random.Generator, basis: np.ndarray | None) -> dict[str, float]:
    """How many neurons (or axes of `basis`) carry the median labelled feature, by attribution (4.31), and of how many."""
    counts = list(labelled.carriers_of(model, 12, 20, config.pairs, rng, basis))
    return {"carriers": float(np.median(counts)) if counts else np.nan, "features": float(len(counts))}


def levelled(model: lms.LanguageModel, tokens: np.ndarray, above: bool = False) -> float:
    """Nats that it costs to put every activation below zero (or above) to the neuron's mean there; means of the same rows."""
    hook = model.neuron_hook(model.n_layers - 1)
    parts = np.array_split(tokens, max(1, len(tokens) // 16))
    total, count = torch.zeros(model.d_mlp), torch.zeros(model.d_mlp)
    for part in parts:
        value = model.activations(rows_to_tensor(part), [hook])[hook].flatten(0, 1)
        there = value > 0 if above else value < 0
        total, count = total + (value * there).sum(dim=0), count + there.sum(dim=0)
    mean = total / count.clamp(min=1)

    def put(value: torch.Tensor, hook: Any) -> torch.Tensor:
        return torch.where(value > 0 if above else value < 0, mean, value)

    rise = [model.loss(rows_to_tensor(part), [(hook, put)]) - model.loss(rows_to_tensor(part)) for part in parts]
    return float(np.mean([float(one.mean()) for one in rise]))


# -------------------------------------------------------------------------------------------------------------- drawing

MEASURES = {
    "concepts": "/", "kurtosis": "/", "carriers": "/", "monosemantic": "-", "held": "-", "beyond": "-", "loss": "-"
}  # fmt: skip


def paired(table: pd.DataFrame) -> pd.DataFrame:
    """One row per measure and start: ReLU against GELU, and GELU of another seed against GELU."""
    by = table.set_index(["arm", "seed"])
    rows = []
    for column, sign in MEASURES.items():
        for arm in ("ReLU", AGAIN):
            a, b = by.loc[arm, column], by.loc["GELU", column]
            for seed, value in (a / b if sign == "/" else a - b).items():
                rows.append({"measure": column, "compared as": "ratio" if sign == "/" else "difference", "arm": arm,
                             "seed": seed, "value": float(value)})  # fmt: skip
    return pd.DataFrame(rows)


def figures(table: pd.DataFrame) -> list[Figure]:
    """Every measure of every start against its margin; concepts of every neuron."""
    dots = plots.figure()
    pairs = paired(table)
    for arm, role in (("ReLU", "treatment"), (AGAIN, "control")):
        some = pairs[pairs.arm == arm]
        scaled = np.where(
            some["compared as"] == "ratio", np.log(np.maximum(some["value"], 1e-3)) / np.log(1.25), some["value"] / 0.05
        )
        dots.add_scatter(x=np.clip(scaled, -6, 6), y=some["measure"], mode="markers", name=f"{arm} against GELU",
                         text=[number(x) for x in some["value"]], marker={"color": plots.ROLES[role], "size": 8})  # fmt: skip
    for edge in (-1, 1):
        dots.add_vline(x=edge, line={"color": plots.ROLES["rule"], "dash": "dash"})
    dots.update_xaxes(title_text="difference, in margins")
    box = plots.figure()
    kept = table[(table["each"].map(len) > 0) & (table.arm != AGAIN)]
    for arm, some in kept.groupby("arm", sort=False):
        for row in some.itertuples():
            role = "treatment" if arm in ("GELU", "ReLU") else "control"
            box.add_box(y=row.each, x=[arm] * len(row.each), offsetgroup=row.seed, showlegend=False, boxpoints=False,
                        marker={"color": plots.ROLES[role]})  # fmt: skip
    box.update_layout(boxmode="group")
    box.update_yaxes(title_text="effective number of concepts", type="log")
    return [
        Figure("margins", dots, "Between the dashed lines two models are equal; hover for the numbers. Ends are cut at six."),
        Figure("concepts", box, "Each box is a model's neurons."),
    ]
