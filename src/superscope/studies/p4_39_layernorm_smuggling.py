"""4.39: does a SoLU layer smuggle superposed features past its own sparsity, through the LayerNorm behind it?

Hypothesis (Elhage et al. 2022, SoLU). SoLU favours few large activations; a feature smeared over many neurons leaves small
ones, and the LayerNorm after the SoLU makes them large again. Three things must then hold at once, on tokens that are at least
four times quieter than loud ones: the model needs the amplification (dividing no token by less than a loud one costs loss);
what is quiet is worth about as much as what is loud; and it is smeared (a token's strongest few neurons do not keep it).

The null of the first two is plain SoLU from the same initial tensors and the same batches, with the scale its LayerNorm would
have; that of the third are the loud tokens of the same model. Constructed layers, measured by the same code, say what the
instrument can see: a smuggler, its honest twin (the same patterns, all loud), lone quiet neurons (amplified, not smeared) and
quiet noise (amplified, says nothing). An arm with a tiny epsilon shows how much of it the epsilon decides.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import retractions
from superscope.evidence.wording import answer, number, span
from superscope.lab import Lab
from superscope.lms.corpus.splits import Rows
from superscope.lms.corpus.tokenizer import CHAR_CLASSES
from superscope.measure.activations import smuggling
from superscope.studies import language

PROBLEM = "4.39"
TITLE = "What the LayerNorm after a SoLU lets through"
QUESTION = "Does a SoLU layer smuggle features in superposition through the LayerNorm that follows it?"
ASSUMPTIONS = [
    "Loud is within a factor of two of the 99th percentile of the activations' size, quiet at least four times below it.",
    "A layer without that LayerNorm is clamped by the scale that it would have: its output is made smaller in proportion.",
    "A token's strongest neurons are those that write most: activation after the LayerNorm times the norm of its weights.",
]
DISANALOGIES = [
    "One layer: nothing downstream reads what is smuggled but the unembedding.",
    "512 neurons in 128 dimensions after 262 million tokens; the SoLU paper's layers are larger and trained far longer.",
    "That smeared features share their neurons is counted, not tested: far more next tokens than neurons pass this way.",
    "Clamping takes the model where training never was; what it would learn without the amplification is plain SoLU's arm.",
]
TIPS = ["Compare with loud tokens, not with the median one", "Which tokens are quiet?"]

TRAINED, INITIAL, PLAIN, LOUD, EPSILON = "trained", "initial model", "plain SoLU, same start", "loud tokens", "epsilon 1e-9"
SMUGGLER, HONEST, LONE, NOISE = smuggling.KINDS
BINS = np.geomspace(1 / 64, 1, 13)
RETRACTED = [
    ("diffuse-where-amplified", "gate failed", "by a correlation with the median as reference a planted smuggler is refuted"),
    ("clamp", "gate failed", "clamped to the median token, which in these models is itself amplified"),
    ("diffuse-features", "gate failed", "a rank correlation over five features; layers without a LayerNorm score the same"),
]


@dataclass(frozen=True)
class Config:
    """Which models, which layer, and how much text."""

    model: str = "solu_ln-1l-mini"  # a bundled model with the LayerNorm; its twins of other seeds are the replicates
    plain: str = "solu-1l-mini"  # the same without it, paired by their initial tensors
    others: tuple[str, ...] = ("gelu-1l-mini",)  # further layers without one, for the table
    layer: int = 0
    rows: int = 48  # rows of 256 tokens
    few: int = 5  # neurons that are kept
    published: str = ""  # a published model for the third rung, such as "solu-1l"


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=150, others=("gelu-1l-mini", "relu-1l-mini"), published="solu-1l"),
    "full": Config(rows=600, others=("gelu-1l-mini", "relu-1l-mini"), published="solu-1l"),
}

GATE = [
    Check("At least a tenth of the tokens is quiet in every model", "quiet", ">= 0.1", TRAINED, unit="models"),
    Check("the layer is worth at least 0.1 nats per token", "worth", ">= 0.1", TRAINED, unit="models"),
    Check("nothing passes through an honest twin", "smuggled", "<= 0.02", HONEST, unit="models"),
    Check("quiet noise is not taken for something smuggled", "smuggled", "<= 0.02", NOISE, unit="models"),
    Check("quiet features of one neuron each are not called smeared", "few keep", ">= 0.5", LONE, unit="models"),
]
EXPECTED = [
    Expect(
        "smuggled", "At least 0.1 nats per token of text are lost when no token is amplified more than a loud one",
        "smuggled", ">= 0.1", of=TRAINED, null=PLAIN, plant=SMUGGLER, unit="models",
        why="Null: the same start without the LayerNorm, its output made smaller by as much. Plant: quiet features of unequal "
        "sizes, a tenth to a thirtieth as loud.",
        note="Counts the cost on quiet tokens alone, so that a layer without quiet tokens has none.",
    ),
    Expect(
        "quiet-and-needed", "Removing the layer costs on quiet tokens at least half of what it costs on loud ones",
        "quiet worth", ">= 0.5", of=TRAINED, null=PLAIN, plant=SMUGGLER, unit="models",
        why="Null: without the LayerNorm what is quiet writes little.",
    ),
    Expect(
        "smeared", "On quiet tokens the five strongest neurons keep less than half of what the layer is worth",
        "few keep", "< 0.5", of=TRAINED, null=LOUD, plant=SMUGGLER, unit="models",
        why="Null: the loud tokens of the same model, where few neurons should do. Plant: each quiet feature smeared over "
        "eighty unequal neurons that others use too.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed with its plain partner; then the rules asked of each."""
    table = lab.models(config.model, examine, config, config.published)
    passed = gate(table, GATE)
    others = lab.models(list(config.others), without, config) if config.others else table[:0]
    trained, plain = (table[table.arm == arm] for arm in (TRAINED, PLAIN))
    curves = ["loudness", "cost"]
    classes = [column for column in table if column.startswith("quiet, ")]
    numbers = pd.concat([table, others]).drop(columns=[*curves, *classes])
    return Findings(
        passed,
        judge(table, EXPECTED, passed),
        figures(table),
        {"arms": numbers, "quiet-by-class": quiet_by_class(trained, classes), "retractions": retractions(RETRACTED)},
        summary(trained, plain),
        in_short(trained, plain),
    )


def summary(trained: pd.DataFrame, plain: pd.DataFrame) -> str:
    """What is told beside the verdicts: numbers."""
    ranges = {
        "Share of quiet tokens": trained.quiet,
        "neurons that carry the effect on quiet tokens": trained.carriers,
        "on loud ones": trained["carriers, loud"],
        "nats that plain SoLU loses by the same clamp": plain.smuggled,
    }
    return "; ".join(f"{what} {span(values.min(), values.max())}" for what, values in ranges.items()) + "."


def in_short(trained: pd.DataFrame, plain: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    return answer(
        "Amplifying quiet tokens is worth {nats} nats a token ({plain} in plain SoLU clamped alike); "
        "{how} neurons keep most of it.",
        nats=number(trained.smuggled.mean()),
        plain=number(plain.smuggled.mean()),
        how="a few" if trained["few keep"].min() >= 0.5 else "only many",
    )


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    split = lms.corpus.sample(model.tokenizer)
    rows = split.rows(min(model.n_ctx, 256), limit=config.rows, seed=lab.seed)
    layer = observed(model, rows, config)
    found = smuggling.traces(layer)
    kinds = split.char_class[rows.place[:, 1:-1].ravel()]
    yield {"arm": TRAINED, **found, **curve(layer), **by_class(layer, kinds)}
    yield {"arm": LOUD, "few keep": found["few keep, loud"]}
    yield {"arm": EPSILON, **smuggling.traces(observed(with_epsilon(model, config.layer, 1e-9), rows, config))}
    if "shape" not in model.card:  # published: its partner is unknown
        return
    yield {"arm": INITIAL, **smuggling.traces(observed(model.control("init"), rows, config))}
    partner = language.by_seed(config.plain).get(int(model.card["init_seed"]))
    if partner is None:
        raise lms.ModelError(f"no {config.plain} starts from the initial tensors of {model.name}: choose another with --plain")
    plain = observed(lms.load(partner), rows, config)
    yield {"arm": PLAIN, **smuggling.traces(plain), **curve(plain)}
    rng = lab.rng(f"4.39 {model.name}")
    for kind in smuggling.KINDS:
        built = smuggling.planted(kind, int(rng.integers(2**31)), config.few)
        yield {"arm": kind, **smuggling.traces(built), **curve(built)}


def without(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """Another layer without the LayerNorm, on the same text."""
    rows = lms.corpus.sample(model.tokenizer).rows(min(model.n_ctx, 256), limit=config.rows, seed=lab.seed)
    yield {"arm": model.activation, **smuggling.traces(observed(model, rows, config))}


def observed(model: lms.LanguageModel, rows: Rows, config: Config) -> smuggling.Layer:
    """One layer of a model on the text."""
    return smuggling.observe(model, rows, config.layer, config.few)


def with_epsilon(model: lms.LanguageModel, layer: int, eps: float) -> lms.LanguageModel:
    """The model with another epsilon in the LayerNorm after its neurons."""
    changed: Any = copy.deepcopy(model.hooked)
    changed.blocks[layer].mlp.ln.eps = eps
    return replace(model, name=f"{model.name} (epsilon {eps:g})", hooked=changed, origin="control")


def curve(layer: smuggling.Layer) -> dict[str, list[float]]:
    """By loudness (size over that of a loud token, in bins of equal ratio): share of tokens, and nats that clamping costs."""
    place = np.digitize(np.clip(layer.size / smuggling.loud_reference(layer.size), BINS[0], 0.999), BINS) - 1
    count = np.bincount(place, minlength=len(BINS) - 1)
    cost = np.bincount(place, layer.clamped, minlength=len(BINS) - 1) / np.maximum(count, 1)
    return {"loudness": (count / count.sum()).tolist(), "cost": np.where(count >= 20, cost, np.nan).tolist()}


def by_class(layer: smuggling.Layer, kinds: np.ndarray) -> dict[str, float]:
    """Share of quiet tokens among those of each class of characters."""
    quiet = smuggling.quiet_tokens(layer.size)
    return {
        f"quiet, {name}": float(quiet[kinds == code].mean())
        for code, name in enumerate(CHAR_CLASSES)
        if (kinds == code).sum() >= 20
    }


def quiet_by_class(trained: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """One row per class of characters, one column per model."""
    table = trained.set_index("model")[columns].T.rename(index=lambda name: name.removeprefix("quiet, "))
    return table.rename_axis("characters").reset_index()


def figures(table: pd.DataFrame) -> list[Figure]:
    """What the amplification is worth by loudness, with how many tokens are that quiet."""
    shown = table[table.arm.isin([TRAINED, PLAIN, SMUGGLER]) & table.loudness.notna()]
    middle = np.sqrt(BINS[1:] * BINS[:-1])
    long = pd.DataFrame(
        [
            {"loudness": x, "nats": cost, "share": share, "who": row.model if row.arm == TRAINED else row.arm}
            for row in shown.itertuples()
            for x, cost, share in zip(middle, row.cost, row.loudness, strict=True)
        ]
    )
    long = long.groupby(["who", "loudness"], sort=False, as_index=False)[["nats", "share"]].mean()
    drawn = []
    for column, title in (("nats", "nats lost when clamped"), ("share", "share of tokens")):
        chart = plots.lines_with_band(
            long.dropna(subset=[column]), "loudness", column, "who", roles={PLAIN: "control", SMUGGLER: "plant"},
            x_title="loudness: size before the LayerNorm, over that of a loud token", y_title=title,
        )  # fmt: skip
        chart.update_xaxes(type="log")
        drawn.append(chart)
    return [
        Figure("clamp", drawn[0], "What it costs to divide no token by less than a loud one, by how quiet the token is."),
        Figure("loudness", drawn[1], "How many tokens are that quiet."),
    ]
