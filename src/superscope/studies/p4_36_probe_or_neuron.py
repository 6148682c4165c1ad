"""4.36: a feature looks as if it had a neuron. Does a probe find the same thing, or does it take few neurons, or many?

Features: concepts of the corpus (words, pairs of words, character classes, segments, classes in a genre) that make up at least
four fifths of some neuron's 50 strongest tokens, in one half of the documents. That is what neuroscope shows, and it misleads;
so everything else is asked of the other half, over the whole range of activation. There, by documents for fitting, for choosing
and for judging (`probe_battery`): the neuron that looked like it, the best single neuron, ten neurons (k-sparse), a dense probe
(LDA or difference of means), the best of as many random directions, a dictionary's latent, and the current token alone.

Asked of the median feature: how far is the best neuron's AUC below the probe's (.01: it suffices); do ten neurons reach it; how
does the neuron's precision fall from a tenth of the feature's tokens found to a half of them; how much more of them does the
probe find at a precision of .8; does a probe read the feature without the neuron; and is the best neuron better than the best
of random directions. Precision is that at the rate of the feature in the text. One layer and two, the last layer's neurons.

Nulls and plants: real activations of other tokens, which know nothing of the feature, with the feature put on one neuron, on
five of unequal strengths, on all, or on one that also fires for something else, less loudly or as loudly.

Prior numbers: best single neurons reach F1 of .4 to .99 (Gurnee et al. 2023); of dictionary rows in gelu-1l 4 % are one neuron,
4 % two to ten, 92 % dense (Nanda 2023). The toy answer: with more features than neurons every neuron is shared (4.13).
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
from superscope.evidence.wording import answer, percent, span
from superscope.lab import Lab
from superscope.lms.model import activations
from superscope.lms.reading import planted
from superscope.measure.activations import probe_battery
from superscope.measure.activations.probes import auc
from superscope.recover import sae
from superscope.recover.sae import labels

PROBLEM = "4.36"
TITLE = "Probe or neuron"
QUESTION = "For a feature that a neuron seems to represent, how much better is a probe, and over which range of activations?"
ASSUMPTIONS = [
    "A neuron looks like a feature when four fifths of its 50 strongest tokens have it, in text that is not used again.",
    "AUC within .01 is as good; which is better is settled on documents that none of them saw.",
    "Neurons are those of the last layer.",
]
DISANALOGIES = [
    "Concepts are those that the corpus labels; a finer concept may fit the neuron better than any of them.",
    "A probe finds what is there to be read, which need not be what the model uses.",
]
TIPS = ["Judge the neuron over its whole range and not only at the top, where precision flatters it."]

TRAINED, DEEP = "one layer", "two layers"
ONE, FIVE, ALL, MIXED = "planted on one", "planted on five", "planted on all", "planted on one that fires for more"
EVEN = "planted on one with false alarms as loud"
TURNED, PERMUTED = "random directions", "permuted labels"
BLANK, LATENT = "random dictionary", "planted latent"
TOP, LOOKS = 50, 0.8
NEAR, TURNS, PERMUTATIONS = 0.01, 2, 2
PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0)
RECALLS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CLASSES = ("one neuron", "two to ten", "more")


@dataclass(frozen=True)
class Config:
    """Which models, how much text, and how many features."""

    model: str = "gelu-1l-mini"  # bundled model of one layer; its twins of other seeds are the replicates
    deeper: str = "gelu-2l-mini"  # and one of two layers
    dictionary: str = "mlp-out-topk"  # autoencoder, where the model has one
    rows: int = 160  # rows of text that features are looked for in, and as many twice that all is asked of
    features: int = 6  # at most, of each model
    planted: int = 3  # features that are planted, of each kind
    tokens: int = 400  # with the feature, at most
    others: int = 1500  # without it
    draws: int = 30  # of the bootstrap over documents
    published: str = ""  # a published model for the third rung, such as "SmolLM2-135M"


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=300, features=24, planted=8, tokens=1500, others=12_000, draws=1000, published="SmolLM2-135M"),
    "full": Config(rows=1000, features=100, planted=24, tokens=4000, others=40_000, draws=1000, published="SmolLM2-135M"),
}

GATE = [
    Check("At least four features look as if they had a neuron", "features", ">= 4", TRAINED, unit="models"),
    Check("and in two layers", "features", ">= 4", DEEP, unit="models"),
    Check("a probe reads the median of them", "probe", ">= 0.9", TRAINED, unit="models"),
    Check("a feature planted on one neuron is its neuron's", "short", "<= 0.01", ONE, unit="models"),
    Check("a probe of permuted labels reads nothing", "probe", "within [0.4, 0.6]", PERMUTED, unit="models"),
]


def both(id: str, statement: str, **row: Any) -> list[Expect]:
    """The same row for one layer and for two."""
    return [
        Expect(id + tail, f"{statement}, {of}", of=of, unit="models", **row) for tail, of in (("", TRAINED), ("-deep", DEEP))
    ]


EXPECTED = [
    *both(
        "short", "The best neuron's AUC is .01 or more below the probe's for the median feature", column="short",
        rule=">= 0.01", null=ONE, plant=ALL,
        why="Null: the feature on one neuron, with noise. Plant: about a quarter of a spread on every neuron.",
    ),
    *both(
        "ten", "Ten neurons come within .01 of the probe for the median feature", column="short of ten", rule="<= 0.01",
        null=ALL, plant=FIVE, why="Null: the feature on all neurons. Plant: on five, from 3.6 spreads down to 1.5.",
    ),
    *both(
        "flattered", "From a tenth of the tokens found to a half the neuron's precision falls by .2 or more", column="fall",
        rule=">= 0.2", null=EVEN, plant=MIXED,
        why="Null: a neuron that fires as loudly for as many other tokens. Plant: less loudly, for five times as many.",
        note="Of the neuron that looked like the feature.",
    ),
    *both(
        "recalls", "At a precision of .8 the probe finds .2 or more of the tokens beyond what the neuron finds", column="found",
        rule=">= 0.2", null=ONE, plant=FIVE, why="Null: the feature on one neuron. Plant: on five of unequal strengths.",
    ),
    *both(
        "elsewhere", "Without the best neuron a probe loses .01 of its AUC or less", column="lost", rule="<= 0.01", null=ONE,
        plant=ALL, why="Null: the feature is nowhere else. Plant: on all neurons.",
    ),
    *both(
        "privileged", "On average the best neuron's AUC is .05 or more above the best of as many random directions",
        column="over random", rule=">= 0.05", null=TURNED, plant=ONE,
        why="Null: as many other random directions. Plant: the feature on one neuron.",
    ),
    Expect(
        "latent", "A dictionary's latent has an F1 .1 or more above the best neuron's, one layer", "latent gain", ">= 0.1",
        of=TRAINED, null=BLANK, plant=LATENT, unit="models",
        why="Null: as many random latents, searched alike. Plant: a latent that is wrong at a tenth of the tokens, among the "
        "dictionary's own.",
        note="Both searched on the same documents, thresholds with them.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models([config.model, config.deeper], examine, config, published=config.published)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    each = pd.DataFrame([{"model": r["model"], "arm": r["arm"], **one} for r in table.to_dict("records") for one in r["each"]])
    real = each[each.arm.isin([TRAINED, DEEP])]
    return Findings(
        passed,
        claims,
        figures(table, real),
        {"arms": table.drop(columns=["each", "ranges"]), "features": each, "split": split_table(real)},
        f"Median AUC of the best neuron: {span(*ends(real, 'best neuron'))}, of ten: {span(*ends(real, 'ten'))}, of the probe: "
        f"{span(*ends(real, 'probe'))}, of the current token: {span(*ends(real, 'token'))}.",
        in_short({claim.id: claim.verdict == "supported" for claim in claims}, real),
    )


def ends(each: pd.DataFrame, column: str) -> tuple[float, float]:
    """Smallest and largest median over models."""
    found = each.groupby("model")[column].median() if len(each) else pd.Series([np.nan])
    return float(found.min()), float(found.max())


def in_short(supported: dict[str, bool], each: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    share = {name: float((each["class"] == name).mean()) if len(each) else 0.0 for name in CLASSES}
    return answer(
        "Of features that look like a neuron, {one} need one neuron, {more} more than ten; its top {flatters} it, and probes "
        "{rest} it.",
        one=percent(share["one neuron"]),
        more=percent(share["more"]),
        flatters="flatters" if supported["flattered"] else "may flatter",
        rest="do without" if supported["elsewhere"] else "may need",
    )


# ------------------------------------------------------------------------------------------------------------ features


@dataclass(frozen=True)
class Sample:
    """Tokens with a feature and without: h (n, d), truth (n,) bool, document (n,), token (n,), rate of the feature in the text,
    looks: the neuron that looks like it."""

    feature: str
    h: np.ndarray
    truth: np.ndarray
    document: np.ndarray
    token: np.ndarray
    rate: float
    looks: int
    whole: np.ndarray  # (N,) that neuron at all tokens of the text, of which those above are a sample
    marked: np.ndarray  # (N,) bool: which of them have the feature
    latents: np.ndarray | None = None


def looking_alike(values: np.ndarray, known: list[planted.Concept], place: np.ndarray) -> list[tuple[planted.Concept, int]]:
    """Concepts that are four fifths of some neuron's strongest tokens, each with the neuron of which they are most.

    values (token, neuron) at `place` of the split. Of concepts that fit a neuron the rarest one counts, since a wide one holds
    whatever it holds.
    """
    top = place[np.argpartition(-values, TOP, axis=0)[:TOP]]  # (TOP, neuron)
    share = np.stack([one.where[top].mean(axis=0) for one in known])  # (concept, neuron)
    rarity = np.array([one.where.mean() for one in known])
    best: dict[int, int] = {}
    for neuron in range(values.shape[1]):
        fitting = np.flatnonzero(share[:, neuron] >= LOOKS)
        if len(fitting):
            one = int(fitting[rarity[fitting].argmin()])
            if one not in best or share[one, neuron] > share[one, best[one]]:
                best[one] = neuron
    return [(known[one], neuron) for one, neuron in best.items()]


def samples(model: lms.LanguageModel, config: Config, rng: np.random.Generator) -> Iterator[Sample]:
    """Features that look like a neuron in one half of the documents, as tokens of the other half."""
    split = lms.corpus.sample(model.tokenizer)
    first = rng.random(len(split.documents)) < 0.5
    rows = split.rows(model.n_ctx)
    half = first[split.document[rows.place[:, model.n_ctx // 2]]]
    chosen = [rng.permutation(np.flatnonzero(part))[:count] for part, count in ((half, config.rows), (~half, 2 * config.rows))]
    name = f"{model.name}/{config.dictionary}"
    dictionary: sae.SAE | None = sae.load(name) if name in sae.bundled() else None
    units: dict[str, Any] = {"neurons": activations.neurons(model, model.n_layers - 1)}
    if dictionary is not None:
        units["site"] = dictionary.site
    read = []
    for some, wanted in zip(chosen, (True, False), strict=True):
        part = lms.corpus.Rows(rows.tokens[some], rows.place[some])
        place = part.place[:, 1:].ravel()
        kept = (split.tokens[place] != split.tokenizer.bos) & (first[split.document[place]] == wanted)
        here = activations.values(model, part, units)
        read.append((place[kept], {key: value.numpy()[kept] for key, value in here.items()}))
    known = planted.concepts(split)
    alike = looking_alike(read[0][1]["neurons"], known, read[0][0])
    place, got = read[1]
    for concept, neuron in (alike[i] for i in rng.permutation(len(alike))):
        truth = concept.where[place]
        if len(np.unique(split.document[place[truth]])) < 12 or truth.sum() < 60:
            continue
        on = rng.permutation(np.flatnonzero(truth))[: config.tokens]
        off = rng.permutation(np.flatnonzero(~truth))[: config.others]
        some = np.concatenate([on, off])
        latents = None
        if dictionary is not None:
            with torch.inference_mode():
                latents = dictionary.encode(torch.from_numpy(got["site"][some])).numpy()
        yield Sample(concept.name, got["neurons"][some].astype(float), truth[some], split.document[place[some]],
                     split.tokens[place[some]].astype(np.int64), float(truth.mean()), neuron,
                     got["neurons"][:, neuron].astype(float), truth, latents)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ measuring


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.36 {model.name}")
    found = []
    for sample in samples(model, config, rng):
        found.append(sample)
        if len(found) == config.features:
            break
    deep = model.n_layers > 1
    kept = [(sample, row) for sample in found if (row := measured(sample, config, rng, turned=True))]
    rows = [row for _, row in kept]
    yield {"arm": DEEP if deep else TRAINED, **medians(rows), "features": len(rows), "each": bare(rows),
           "ranges": [one for row in rows for one in row["range"]]}  # fmt: skip
    if deep:  # what is planted does not depend on the model that lends the noise
        return
    few = found[: config.planted]
    for arm in (ONE, FIVE, ALL, MIXED, EVEN):
        made = [row for row in (measured(plant(sample, arm, rng), config, rng, turned=arm == ONE) for sample in few) if row]
        yield {"arm": arm, **medians(made), "each": bare(made), "ranges": [one for row in made for one in row["range"]]}
    turned = [chance(sample, rng) - row["random direction"] for sample, row in kept]
    permuted = []
    for sample in [one for one in found for _ in range(PERMUTATIONS)]:
        truth = probe_battery.permuted(sample.truth, sample.document, rng)
        permuted.append(area(sample, dense(sample, truth), truth))
    blank, latent = [], []
    for sample in few:
        if sample.latents is not None:
            own = best_f1(sample, sample.h)
            blank.append(best_f1(sample, random_latents(sample, rng)) - own)
            flip = np.where(
                rng.random(len(sample.truth)) < 0.1, rng.random(len(sample.truth)) < sample.truth.mean(), sample.truth
            )
            near = np.column_stack([sample.latents, flip * rng.uniform(0.5, 1, len(flip))])
            latent.append(best_f1(replace(sample, latents=near), near) - own)
    for arm, column, values in ((TURNED, "over random", turned), (PERMUTED, "probe", permuted), (BLANK, "latent gain", blank),
                                (LATENT, "latent gain", latent)):  # fmt: skip
        known = [value for value in values if np.isfinite(value)]
        yield {"arm": arm, column: float(np.mean(known)) if known else np.nan, "each": [], "ranges": []}


def dense(sample: Sample, truth: np.ndarray | None = None) -> np.ndarray:
    """(n,) scores of a least-squares probe of all neurons, both labels weighing the same, its penalty chosen on the documents
    for choosing."""
    truth = sample.truth if truth is None else truth
    parts = probe_battery.split_documents(sample.document, truth)
    z = (sample.h - sample.h[parts.fit].mean(axis=0)) / np.maximum(sample.h[parts.fit].std(axis=0), 1e-6)
    on = truth[parts.fit]
    weight = np.where(on, 0.5 / on.sum(), 0.5 / (~on).sum())
    inside = z[parts.fit] - weight @ z[parts.fit]
    values, vectors = np.linalg.eigh((inside * weight[:, None]).T @ inside)
    target = vectors.T @ (inside.T @ (weight * np.where(on, 1.0, -1.0)))
    found = z @ np.stack([vectors @ (target / (np.maximum(values, 0) + p * values.mean())) for p in PENALTIES], axis=1)
    chosen = auc(found[parts.choose], np.repeat(truth[parts.choose, None], len(PENALTIES), axis=1)).argmax()
    return np.asarray(found[:, chosen])


def area(sample: Sample, scores: np.ndarray, truth: np.ndarray | None = None) -> float:
    """AUC on the documents for judging."""
    truth = sample.truth if truth is None else truth
    rows = probe_battery.split_documents(sample.document, truth).judge
    return float(auc(scores[rows, None], truth[rows, None])[0])


def best_of(sample: Sample, units: np.ndarray) -> tuple[int, np.ndarray]:
    """The unit of units (n, unit) with the largest AUC, at either end, on the documents for fitting and for choosing, and its
    scores (n,)."""
    parts = probe_battery.split_documents(sample.document, sample.truth)
    rows = parts.fit | parts.choose
    found = auc(units[rows], np.repeat(sample.truth[rows, None], units.shape[1], axis=1)) - 0.5
    best = int(np.abs(found).argmax())
    return best, np.sign(found[best]) * units[:, best]


def chance(sample: Sample, rng: np.random.Generator, turns: int = TURNS) -> float:
    """AUC of the best of as many random directions as there are neurons, all of equal spread, chosen and judged as the best
    neuron is; mean over `turns`."""
    z = (sample.h / np.maximum(sample.h.std(axis=0), 1e-6)).astype(np.float32)
    drawn = (rng.standard_normal((z.shape[1], z.shape[1]), dtype=np.float32) for _ in range(turns))
    return float(np.mean([area(sample, best_of(sample, z @ axes)[1]) for axes in drawn]))


def measured(sample: Sample, config: Config, rng: np.random.Generator, turned: bool = False) -> dict[str, Any]:
    """One feature; nothing where its documents cannot be dealt into three parts. turned: with random directions."""
    try:
        parts = probe_battery.split_documents(sample.document, sample.truth)
    except ValueError:
        return {}
    ten = probe_battery.battery(sample.h, sample.truth, sample.document, k=10, kinds=("k-sparse",))["k-sparse"].scores
    (number, best), probe = best_of(sample, sample.h), dense(sample)
    rest = replace(sample, h=np.delete(sample.h, number, axis=1))
    random = chance(sample, rng) if turned else np.nan
    without = area(rest, dense(rest))
    one = sample.h[:, sample.looks]
    side = 1.0 if one[parts.fit & sample.truth].mean() > one[parts.fit & ~sample.truth].mean() else -1.0
    whole = ranges(side * sample.whole, sample.marked, float(sample.marked.mean()))
    token = by_token(sample, parts.fit | parts.choose)
    scores = {"neuron": side * one, "best neuron": best, "ten": ten, "probe": probe, "token": token}
    judged, truth = {name: score[parts.judge] for name, score in scores.items()}, sample.truth[parts.judge]
    curves = {name: ranges(score, truth, sample.rate) for name, score in judged.items()}
    low = [bootstrap(judged["probe"], judged[name], truth, sample.document[parts.judge], config.draws, rng)
           for name in ("best neuron", "ten")]  # fmt: skip
    areas = {name: float(auc(score[:, None], truth[:, None])[0]) for name, score in judged.items()}
    short, of_ten = areas["probe"] - areas["best neuron"], areas["probe"] - areas["ten"]
    kind = CLASSES[0] if short < NEAR else CLASSES[1] if of_ten < NEAR else CLASSES[2]
    settled = (
        low[0][1] < NEAR if kind == CLASSES[0] else low[0][0] > NEAR and (low[1][1] < NEAR) == (kind == CLASSES[1])
        and (low[1][0] > NEAR or kind == CLASSES[1])
    )  # fmt: skip
    return {
        "feature": sample.feature, "rate": sample.rate, "looks like": sample.looks, "best": number, **areas,
        "random neuron": random_neuron(sample, parts, rng), "random direction": random,
        "without it": without, "short": short, "short of ten": of_ten, "class": kind, "settled": bool(settled),
        "low": low[0][0], "high": low[0][1], "over random": areas["best neuron"] - random,
        "lost": areas["probe"] - without,
        "fall": float(np.interp(0.1, *whole[:2]) - np.interp(0.5, *whole[:2])),
        "found": recall_at(curves["probe"], 0.8) - recall_at(curves["best neuron"], 0.8),
        **{f"F1 {name}": float(curve[2].max()) for name, curve in curves.items()},
        "latent gain": best_f1(sample, sample.latents) - best_f1(sample, sample.h) if sample.latents is not None else np.nan,
        "range": [
            {"feature": sample.feature, "reader": name, "recall": float(r), "precision": float(np.interp(r, *curve[:2]))}
            for name, curve in curves.items() for r in RECALLS
        ],
    }  # fmt: skip


def ranges(scores: np.ndarray, truth: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recall (n,) rising, precision and F1 at every threshold, from the largest score down, at the rate of the feature in the
    text. Equal scores are one threshold."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    recall = (np.cumsum(truth[order]) / truth.sum())[last]
    alarms = (np.cumsum(~truth[order]) / (~truth).sum())[last]
    precision = rate * recall / np.maximum(rate * recall + (1 - rate) * alarms, 1e-12)
    return recall, precision, 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def recall_at(curve: tuple[np.ndarray, ...], precision: float) -> float:
    """The largest recall at this precision or a higher one."""
    good = curve[1] >= precision
    return float(curve[0][good].max()) if good.any() else 0.0


def by_token(sample: Sample, fit: np.ndarray) -> np.ndarray:
    """(n,) how often the current token has the feature, in the documents `fit`; half a count of the mean is added."""
    size = int(sample.token.max()) + 1
    yes, all_of_it = (np.bincount(sample.token[rows], minlength=size) for rows in (fit & sample.truth, fit))
    return ((yes + 0.5 * sample.truth[fit].mean()) / (all_of_it + 0.5))[sample.token]


def random_neuron(sample: Sample, parts: probe_battery.Parts, rng: np.random.Generator) -> float:
    """AUC of ten random neurons, either end meaning true as on the documents for fitting: their mean."""
    some = rng.permutation(sample.h.shape[1])[:10]
    fitted, found = (
        auc(sample.h[rows][:, some], np.repeat(sample.truth[rows, None], 10, axis=1)) for rows in (parts.fit, parts.judge)
    )
    return float(np.where(fitted > 0.5, found, 1 - found).mean())


def bootstrap(
    one: np.ndarray, other: np.ndarray, truth: np.ndarray, document: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """90 % interval of the difference of two AUCs over documents drawn again."""
    place = [np.flatnonzero(document == name) for name in np.unique(document)]
    both_scores = np.column_stack([one, other])
    out = []
    for _ in range(draws):
        rows = np.concatenate([place[i] for i in rng.integers(len(place), size=len(place))])
        if 0 < truth[rows].sum() < len(rows):
            first, second = auc(both_scores[rows], np.repeat(truth[rows, None], 2, axis=1))
            out.append(first - second)
    low, high = np.quantile(out, (0.05, 0.95)) if out else (np.nan, np.nan)
    return float(low), float(high)


def best_f1(sample: Sample, units: np.ndarray) -> float:
    """F1 on the judging documents of the unit and threshold that are best on the others."""
    parts = probe_battery.split_documents(sample.document, sample.truth)
    fit = parts.fit | parts.choose
    found = labels.best_latents(
        np.maximum(units[fit], 0), sample.truth[fit, None], np.maximum(units[parts.judge], 0), sample.truth[parts.judge, None]
    )
    return float(found.f1[0])


def random_latents(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """(n, latent) random read-outs of the neurons, each on as often as a latent of the dictionary."""
    assert sample.latents is not None
    raw = sample.h @ rng.standard_normal((sample.h.shape[1], sample.latents.shape[1]))
    rate = (sample.latents > 0).mean(axis=0)
    cut = np.array([np.quantile(column, 1 - share) for column, share in zip(raw.T, rate, strict=True)])
    return np.maximum(raw - cut, 0)


def plant(sample: Sample, arm: str, rng: np.random.Generator) -> Sample:
    """The feature put on neurons that know nothing of it: they hold what they hold at other tokens, and noise of as large a
    spread, without which a neuron that mostly rests shows the faintest push by its rank."""
    n, d = sample.h.shape
    h = sample.h[rng.permutation(n)]
    spread = np.maximum(h.std(axis=0), 1e-6)
    h = h + spread * rng.standard_normal((n, d))
    order = rng.permutation(d)
    strength = np.zeros(d)

    def lifted(truth: np.ndarray) -> np.ndarray:
        share, low, high = {MIXED: (5.0, 0.4, 0.85), EVEN: (1.0, 0.6, 1.0), ONE: (0.1, 0.6, 1.0)}[arm]  # of false alarms
        other = ~truth & (rng.random(len(truth)) < share * sample.rate)
        return truth * rng.uniform(0.6, 1.0, len(truth)) + other * rng.uniform(low, high, len(truth))

    if arm in (ONE, MIXED, EVEN):
        h[:, order[0]] = 0.1 * spread[order[0]] * rng.standard_normal(n)
        strength[order[0]] = 1.0
        on, whole = lifted(sample.truth), lifted(sample.marked) + 0.1 * rng.standard_normal(len(sample.marked))
    else:
        strength = np.exp(0.25 * rng.standard_normal(d)) / 4
        if arm == FIVE:
            strength = np.zeros(d)
            strength[order[:5]] = 3.6, 3.0, 2.4, 2.0, 1.5
        on, whole = 1.0 * sample.truth, sample.marked * strength.max() + rng.standard_normal(len(sample.marked))
    return replace(sample, h=h + np.outer(on, strength * spread), looks=int(strength.argmax()), whole=whole, latents=None)


def medians(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What the rules ask for."""
    columns = ("short", "short of ten", "fall", "found", "lost", "probe")
    found = {name: float(np.median([row[name] for row in rows])) if rows else np.nan for name in columns}
    gain = [row["latent gain"] for row in rows if np.isfinite(row["latent gain"])]  # enough tokens to judge an F1
    return {
        **found,
        "latent gain": float(np.median(gain)) if gain else np.nan,
        "over random": float(np.mean([row["over random"] for row in rows])) if rows else np.nan,
    }


def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "range"} for row in rows]


def split_table(each: pd.DataFrame) -> pd.DataFrame:
    """Shares of features on one neuron, on two to ten, on more, beside the published ones of dictionary rows."""
    rows: list[dict[str, Any]] = [
        {"model": "dictionary rows of gelu-1l (Nanda 2023)", **dict(zip(CLASSES, (0.04, 0.04, 0.92), strict=True))}
    ]
    for name, part in each.groupby("model", sort=False) if len(each) else ():
        shares = {kind: float((part["class"] == kind).mean()) for kind in CLASSES}
        rows.append({"model": name, **shares, "features": len(part), "settled": float(part["settled"].mean())})
    return pd.DataFrame(rows)


def figures(table: pd.DataFrame, each: pd.DataFrame) -> list[Figure]:
    """Precision over recall of every reader, mean over features; AUC of each feature by neuron and by probe."""
    points = pd.DataFrame([one for row in table[table.arm == TRAINED].ranges for one in row])
    made = []
    if len(points):
        mean = points.groupby(["reader", "recall"], sort=False)["precision"].mean().reset_index()
        drawn = plots.lines_with_band(mean, "recall", "precision", "reader", x_title="share of the feature's tokens found")
        made.append(
            Figure("ranges", drawn, "Precision from the strongest activations down to the weakest, mean over features.")
        )
    scatter = plots.figure(height=420, xaxis_title="AUC of the best neuron", yaxis_title="AUC of the probe")
    for name, part in each.groupby("arm", sort=False) if len(each) else ():
        scatter.add_scatter(x=part["best neuron"], y=part["probe"], mode="markers", name=name, text=part["feature"])
    return [*made, Figure("areas", scatter, "Every feature of every model, on documents that neither saw.")]
