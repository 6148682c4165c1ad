"""4.36: a feature looks as if it had a neuron. Does a probe find the same thing, or does it take few neurons, or many?

Features: concepts of the corpus (words, pairs of words, character classes, segments, classes in a genre) that make up at least
four fifths of some neuron's 50 strongest tokens, in one half of the documents. That is what neuroscope shows, and it misleads;
so all else is asked of the other half, over the whole range of activation. There, by documents for fitting, for choosing and
for judging: the neuron that looked like it, the one neuron that reads it best, ten neurons (`probe_battery.sparse`), a dense
probe, the best of as many random directions, a dictionary's latent, and how often the current token has it.

Asked of the median feature: how far are the neuron that looked like it and the best one below the probe's AUC (.01: as good);
do ten come up to the best reader; how much does the neuron's precision fall, from a tenth of the feature's tokens found to a
half, beyond what Gaussian noise of its AUC gives; how much more of them does the probe find at a precision of .8; does a probe
do without the best neuron; does that one beat the best random direction; does the probe beat the current token. Precision and
F1 are those at the rate of the feature in the text. One layer and two, the last layer's neurons.

Nulls and plants: activations of the same model at other tokens, which know nothing of the feature, with the feature put on one
neuron, on five, on all, on one at half of its tokens, on twelve that say the same and five that do not, or under the noise of a
neuron; a property of token types; a feature of which a fifth is no token's.

Prior numbers: best single neurons reach F1 of .4 to .99 (Gurnee et al. 2023); of dictionary rows in gelu-1l 4 % are one neuron,
4 % two to ten, 92 % dense (Nanda 2023). The toy answer: with more features than neurons every neuron is shared (4.13).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import retractions
from superscope.evidence.wording import answer, percent, span
from superscope.lab import Lab
from superscope.lms.model import activations
from superscope.lms.reading import planted
from superscope.measure.activations import probe_battery
from superscope.measure.activations.probes import auc
from superscope.recover import sae

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
ONE, FIVE, ALL, HALF = "planted on one", "planted on five", "planted on all", "planted on one at half of its tokens"
TWINS, UNDER = "planted on twelve twins and five others", "planted under the noise of a neuron"
NOISY, MIXED = "one neuron and Gaussian noise", "planted on one that fires for more"
TYPES, CONTEXT = "a property of token types", "planted, a fifth of it no token's"
TURNED, PERMUTED = "random directions", "permuted labels"
BLANK, LATENT = "random directions of the output", "planted latent"
FEWEST = 30  # tokens with the feature in each part of the documents: with fewer two planted neurons were not found
TOP, LOOKS = 50, 0.8
NEAR = 0.01
PRECISION, ALARMS = 0.8, 3  # judged at this precision where as many false alarms are expected among the tokens for judging
PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0)
RECALLS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CLASSES = ("one neuron", "two to ten", "more")
EVERYTHING = ("ten", "without", "turned", "control", "latent")


@dataclass(frozen=True)
class Config:
    """Which models, how much text, and how many features."""

    model: str = "gelu-1l-mini"  # bundled model of one layer; its twins of other seeds are the replicates
    deeper: str = "gelu-2l-mini"  # and one of two layers
    dictionary: str = "mlp-out-topk"  # autoencoder, where the model has one
    rows: int = 160  # rows of text that features are looked for in, and as many twice that all is asked of
    features: int = 6  # at most, of each model
    planted: int = 2  # features that are planted, of each kind
    tokens: int = 300  # with the feature to learn from, at most, and as many to judge by
    others: int = 900  # without it, to learn from
    spare: int = 2000  # more of these, for probes and for thresholds of F1
    judged: int = 10_000  # without it, to judge by
    draws: int = 30  # of the bootstrap over documents
    published: str = ""  # a published model for the third rung, such as "SmolLM2-135M"

    def __post_init__(self) -> None:
        counts = (self.rows, self.features, self.planted, self.tokens, self.others, self.spare, self.judged, self.draws)
        if min(counts) < 1:
            raise ValueError(
                f"rows={self.rows}, features={self.features}, planted={self.planted}, tokens={self.tokens}, "
                f"others={self.others}, spare={self.spare}, judged={self.judged}, draws={self.draws}: expected 1 of each "
                "at least"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(
        rows=300, features=24, planted=8, tokens=1000, others=8000, spare=12_000, judged=40_000, draws=1000,
        published="SmolLM2-135M",
    ),
    "full": Config(
        rows=1000, features=100, planted=24, tokens=3000, others=30_000, spare=40_000, judged=120_000, draws=1000,
        published="SmolLM2-135M",
    ),
}  # fmt: skip


def there(arm: str, deep: bool) -> str:
    """The name of an arm of the models of one layer, or of two."""
    return f"{arm}, {DEEP}" if deep else arm


def checked(statement: str, column: str, rule: str, arm: str) -> list[Check]:
    """The same check for one layer and for two."""
    return [Check(f"{statement}, {of}", column, rule, there(arm, of == DEEP), unit="models") for of in (TRAINED, DEEP)]


GATE = [
    Check("At least four features look as if they had a neuron", "features", ">= 4", TRAINED, unit="models"),
    Check("and in two layers", "features", ">= 4", DEEP, unit="models"),
    Check("a probe reads the median of them", "probe", ">= 0.9", TRAINED, unit="models"),
    *checked("a feature planted on one neuron is its neuron's", "short", "<= 0.01", ONE),
    *checked("ten neurons read what is on five", "short of ten", "<= 0.01", FIVE),
    *checked("and what a second neuron frees of noise", "ten", ">= 0.98", UNDER),
    *checked("a probe of permuted labels reads nothing", "probe", "within [0.4, 0.6]", PERMUTED),
]


def both(id: str, statement: str, null: str, plant: str, **row: Any) -> list[Expect]:
    """The same row for one layer and for two, each with nulls and plants in its own activations."""
    return [
        Expect(id + tail, f"{statement}, {of}", of=of, null=there(null, of == DEEP), plant=there(plant, of == DEEP),
               unit="models", **row)
        for tail, of in (("", TRAINED), ("-deep", DEEP))
    ]  # fmt: skip


EXPECTED = [
    *both(
        "that", "The AUC of the neuron that looked like it is .01 or more below the probe's for the median feature", ONE, HALF,
        column="short of that", rule=">= 0.01",
        why="Null: the feature on one neuron, which looked like it. Plant: that one fires for half of its tokens.",
    ),
    *both(
        "short", "The AUC of even the best neuron is .01 or more below the probe's for the median feature", ONE, ALL,
        column="short", rule=">= 0.01",
        why="Null: the feature on one neuron, with noise. Plant: about a quarter of a spread on every neuron.",
    ),
    *both(
        "ten", "Ten neurons come within .01 of the best reader for the median feature", ALL, TWINS, column="short of ten",
        rule="<= 0.01",
        why="Null: the feature on all neurons. Plant: on twelve that say nearly the same and five weaker ones that do not.",
        note="The best reader is that of the probe, ten neurons and one on the documents for choosing.",
    ),
    *both(
        "flattered", "Found to a half, the neuron's precision is .2 or more lower than found to a tenth, beyond Gaussian noise",
        NOISY, MIXED, column="fall beyond noise", rule=">= 0.2",
        why="Null: a neuron of it alone, Gaussian noise, d' 2 to 2.5. Plant: pure at the top, then shared with thrice as many.",
        note="Of the neuron that looked like the feature; less the fall of two Gaussians with its AUC at the feature's rate.",
    ),
    *both(
        "recalls", "At a precision of .8 the probe finds .2 or more of the tokens beyond what the best neuron finds", ONE, FIVE,
        column="found", rule=">= 0.2",
        why="Null: the feature on one neuron. Plant: on five, from 3.6 spreads down to 1.5.",
        note="Features too rare for the tokens judged are left out and counted (column resolved).",
    ),
    *both(
        "elsewhere", "Without the best neuron a probe loses .01 of its AUC or less", ONE, ALL, column="lost", rule="<= 0.01",
        why="Null: the feature is nowhere else. Plant: on all neurons.",
    ),
    *both(
        "privileged", "The best neuron's mean AUC is .05 or more above the best of as many random directions", TURNED, ONE,
        column="over random", rule=">= 0.05",
        why="Null: as many other random directions. Plant: the feature on one neuron.",
    ),
    *both(
        "beyond", "The probe's AUC is .01 or more above the current token's for the median feature", TYPES, CONTEXT,
        column="beyond token", rule=">= 0.01",
        why="Null: labels that types have, planted on all neurons. Plant: on all, a fifth at tokens that tell nothing.",
        note="The token's: how often it has the feature in all text for fitting and choosing.",
    ),
    Expect(
        "latent", "A dictionary's latent has an F1 .1 or more above the best neuron's, one layer", "latent gain", ">= 0.1",
        of=TRAINED, null=BLANK, plant=LATENT, unit="models",
        why="Null: as many random directions of the MLP's output, on as often. Plant: among the dictionary's, a latent that "
        "misses a tenth and fires for a tenth as many others.",
        note="Both searched on the same documents, thresholds with them; F1 at the rate in the text.",
    ),
]  # fmt: skip
RETRACTED = [
    ("flattered", "a fall of .2 alone", "a neuron of one feature under Gaussian noise falls by as much; now beyond that noise"),
    ("latent", "F1 at the rate in the sample", "that rate is far above the text's, where false alarms count for more"),
    ("ten", "ten of the largest mean differences", "twins crowd out neurons that complement them; now also forward selection"),
    ("recalls", "about 450 tokens without the feature judged", "a precision of .8 is beyond their resolution; now 10,000"),
    ("shares of classes", "of all features", "most were not settled; now of settled features, against the best reader"),
]


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models([config.model, config.deeper], examine, config, published=config.published)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    each = pd.DataFrame([{"model": r["model"], "arm": r["arm"], **one} for r in table.to_dict("records") for one in r["each"]])
    real = each[each.arm.isin([TRAINED, DEEP])]
    settled, resolved = int(real["settled"].sum()), int(real["found"].notna().sum())
    return Findings(
        passed,
        claims,
        figures(table, real),
        {
            "arms": table.drop(columns=["each", "ranges"]),
            "features": each,
            "split": split_table(real),
            "retractions": retractions(RETRACTED),
        },
        f"Median AUC of the neuron that looked like it: {span(*ends(real, 'neuron'))}, of the best: "
        f"{span(*ends(real, 'best neuron'))}, of ten: {span(*ends(real, 'ten'))}, of the probe: {span(*ends(real, 'probe'))}, "
        f"of the current token: {span(*ends(real, 'token'))}. Settled: {settled} of {len(real)} features; common enough for a "
        f"precision of .8: {resolved}. The best neuron is the one that looked like it for {int(real['same'].sum())}.",
        in_short({claim.id: claim.verdict for claim in claims}, real),
    )


def ends(each: pd.DataFrame, column: str) -> tuple[float, float]:
    """Smallest and largest median over models."""
    found = each.groupby("model")[column].median() if len(each) else pd.Series([np.nan])
    return float(found.min()), float(found.max())


def in_short(verdicts: dict[str, str], each: pd.DataFrame) -> str:
    """The sentence the page opens with; shares are of the features whose class is settled."""
    settled = each[each["settled"].astype(bool)]
    probes = {"supported": "beat", "refuted": "do not beat"}.get(verdicts["that"], "may beat")
    rest = {"supported": "do without", "refuted": "need"}.get(verdicts["elsewhere"], "may need")
    if not len(settled):
        return answer("Probes {probes} a feature's apparent neuron and {rest} the best one; how many it takes is "
                      "settled for none.", probes=probes, rest=rest)  # fmt: skip
    share = {name: float((settled["class"] == name).mean()) for name in CLASSES}
    return answer(
        "Probes {probes} a feature's apparent neuron and {rest} the best; where settled, {one} of features need some "
        "one neuron, {more} more than ten.",
        probes=probes, rest=rest, one=percent(share["one neuron"]), more=percent(share["more"]),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ features


@dataclass(frozen=True)
class Text:
    """All tokens of the text that is asked: h (N, d) of neurons, site (N, d_in) of the dictionary, document and token (N,)."""

    h: np.ndarray
    site: np.ndarray | None
    document: np.ndarray
    token: np.ndarray
    dictionary: sae.SAE | None


@dataclass(frozen=True)
class Sample:
    """Tokens with a feature and without: h (n, d), truth (n,) bool, document (n,), token (n,), parts of the rows; more: further
    rows of the fitting documents, without the feature, from which probes learn (ranking all units does without them); rate of
    the feature in the text; looks: the neuron that looks like it. Rows in none of these only set thresholds of F1."""

    feature: str
    h: np.ndarray
    truth: np.ndarray
    document: np.ndarray
    token: np.ndarray
    parts: probe_battery.Parts
    more: np.ndarray
    by_token: np.ndarray  # (n,) how often the token has the feature in the documents for fitting and choosing
    rate: float
    looks: int
    whole: np.ndarray  # (N,) that neuron at all tokens of the text, of which those above are a sample
    marked: np.ndarray  # (N,) bool: which of them have the feature
    site: np.ndarray | None = None
    latents: np.ndarray | None = None

    def rows(self, some: np.ndarray) -> Sample:
        """The sample of some rows alone."""
        cut = probe_battery.Parts(self.parts.fit[some], self.parts.choose[some], self.parts.judge[some])
        names = ("h", "truth", "document", "token", "more", "by_token", "site", "latents")
        return replace(self, parts=cut, **{n: v[some] for n in names if (v := getattr(self, n)) is not None})


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


def drawn(text: Text, name: str, where: np.ndarray, looks: int, config: Config, rng: np.random.Generator) -> Sample | None:
    """A sample for a feature, `where` (N,) bool; nothing where the text has too little of it."""
    if len(np.unique(text.document[where])) < 12 or where.sum() < 5 * FEWEST:
        return None
    try:
        dealt = probe_battery.split_documents(text.document, where)
    except ValueError:
        return None
    if min((where & part).sum() for part in (dealt.fit, dealt.choose, dealt.judge)) < FEWEST:
        return None
    learn = dealt.fit | dealt.choose
    off = rng.permutation(np.flatnonzero(~where & learn))
    rows = [rng.permutation(np.flatnonzero(where & learn))[: config.tokens], off[: config.others],
            rng.permutation(np.flatnonzero(where & dealt.judge))[: config.tokens],
            rng.permutation(np.flatnonzero(~where & dealt.judge))[: config.judged],
            off[config.others : config.others + config.spare]]  # fmt: skip
    some = np.concatenate(rows)
    used = np.arange(len(some)) < len(some) - len(rows[-1])
    parts = probe_battery.Parts(dealt.fit[some] & used, dealt.choose[some] & used, dealt.judge[some])
    site = latents = None
    if text.dictionary is not None and text.site is not None:
        site = text.site[some]
        with torch.inference_mode():
            latents = text.dictionary.encode(torch.from_numpy(site)).numpy()
    return Sample(name, text.h[some], where[some], text.document[some], text.token[some], parts, dealt.fit[some] & ~used,
                  by_token(text.token, where, learn)[some], float(where.mean()), looks, text.h[:, looks].astype(float), where,
                  site, latents)  # fmt: skip


def read(
    model: lms.LanguageModel, config: Config, rng: np.random.Generator
) -> tuple[Text, list[tuple[planted.Concept, int]]]:  # fmt: skip
    """The half of the text that is asked, and the concepts that look like a neuron in the other half, each with that neuron, in
    random order; concepts hold the tokens of the first."""
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
    found = []
    for some, wanted in zip(chosen, (True, False), strict=True):
        part = lms.corpus.Rows(rows.tokens[some], rows.place[some])
        place = part.place[:, 1:].ravel()
        kept = (split.tokens[place] != split.tokenizer.bos) & (first[split.document[place]] == wanted)
        here = activations.values(model, part, units)
        found.append((place[kept], {key: value.numpy()[kept] for key, value in here.items()}))
    alike = looking_alike(found[0][1]["neurons"], planted.concepts(split), found[0][0])
    place, got = found[1]
    text = Text(got["neurons"], got.get("site"), split.document[place], split.tokens[place].astype(np.int64), dictionary)
    order = rng.permutation(len(alike))
    return text, [(planted.Concept(alike[i][0].name, alike[i][0].where[place]), alike[i][1]) for i in order]


# ------------------------------------------------------------------------------------------------------------ measuring


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.36 {model.name}")
    text, alike = read(model, config, rng)
    found: list[Sample] = []
    for concept, neuron in alike:
        if len(found) < config.features and (sample := drawn(text, concept.name, concept.where, neuron, config, rng)):
            found.append(sample)
    deep = model.n_layers > 1
    rows = [measured(sample, config, rng, EVERYTHING) for sample in found]
    yield {"arm": DEEP if deep else TRAINED, **medians(rows), "features": len(rows), "each": bare(rows),
           "ranges": [one for row in rows for one in row["range"]]}  # fmt: skip
    few = sorted(found, key=lambda one: not resolved(one))[: config.planted]
    arms = {ONE: ("without", "turned"), FIVE: ("ten",), ALL: ("ten", "without"), HALF: (), TWINS: ("ten",), UNDER: ("ten",)}
    for arm, asked in arms.items():
        made = [measured(plant(lean(one, arm in (ONE, FIVE)), arm, rng), config, rng, asked) for one in few]
        yield {"arm": there(arm, deep), **medians(made), "each": bare(made), "ranges": []}
    text = replace(text, dictionary=None)
    for arm in (TYPES, CONTEXT):
        labels = [typed(text, one, rng) if arm == TYPES else untyped(one, rng) for one in few]
        drawn_again = [drawn(text, one.feature, where, one.looks, config, rng) for one, where in zip(few, labels, strict=True)]
        made = [measured(plant(lean(one, False), ALL, rng), config, rng, ()) for one in drawn_again if one]
        yield {"arm": there(arm, deep), **medians(made), "each": bare(made), "ranges": []}
    for arm in (NOISY, MIXED):
        falls = [fall(fired(one.marked, one.rate, arm, rng), one.marked)[1] for one in few]
        yield {"arm": there(arm, deep), "fall beyond noise": middle(falls), "each": [], "ranges": []}
    turned = [chance(one, rng) - row["random direction"] for one, row in zip(found, rows, strict=True)]
    permuted = [nothing_read(one, rng) for one in found]
    for arm, column, values in ((TURNED, "over random", turned), (PERMUTED, "probe", permuted)):
        yield {"arm": there(arm, deep), column: float(np.mean(values)) if values else np.nan, "each": [], "ranges": []}
    if not deep:
        yield from dictionaries([one for one in found if one.latents is not None][: config.planted], rng)


def dictionaries(found: list[Sample], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """The null and the plant of the dictionary's claim."""
    blank, latent = [], []
    for one in found:
        assert one.latents is not None
        own = best_f1(one, one.h)
        blank.append(best_f1(one, random_latents(one, rng)) - own)
        right = one.truth & (rng.random(len(one.truth)) > 0.1)
        on = right | (~one.truth & (rng.random(len(one.truth)) < 0.1 * one.rate))
        latent.append(best_f1(one, np.column_stack([one.latents, on * rng.uniform(0.5, 1, len(on))])) - own)
    for arm, values in ((BLANK, blank), (LATENT, latent)):
        yield {"arm": arm, "latent gain": middle(values), "each": [], "ranges": []}


def lean(sample: Sample, judged: bool) -> Sample:
    """Without rows for thresholds alone, and unless `judged` without most of those for judging, where no precision is asked."""
    kept = sample.parts.fit | sample.parts.choose | sample.parts.judge | sample.more
    if not judged:
        kept &= ~sample.parts.judge | sample.truth | (np.cumsum(sample.parts.judge & ~sample.truth) <= 1500)
    return sample.rows(kept)


def resolved(sample: Sample) -> bool:
    """Whether the negatives for judging can show the false-alarm rate of a reader of all tokens at a precision of PRECISION."""
    count = (sample.parts.judge & ~sample.truth).sum()
    return bool(sample.rate * (1 - PRECISION) / PRECISION * count >= ALARMS)


def typed(text: Text, sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """(N,) labels that types of tokens have, for about as many tokens as have the feature."""
    return probe_battery.control_task(text.token, sample.rate, rng)


def untyped(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """(N,) the feature's labels, a fifth of them at random other tokens."""
    where = sample.marked.copy()
    where[rng.permutation(np.flatnonzero(sample.marked))[: sample.marked.sum() // 5]] = False
    where[rng.permutation(np.flatnonzero(~sample.marked))[: sample.marked.sum() // 5]] = True
    return where


def nothing_read(sample: Sample, rng: np.random.Generator) -> float:
    """AUC of a probe of labels permuted by documents, inside each part."""
    truth = sample.truth.copy()
    for part in (sample.parts.fit, sample.parts.choose, sample.parts.judge):
        truth[part] = probe_battery.permuted(truth[part], sample.document[part], rng)
    again = replace(sample, truth=truth)
    return area(again, dense(again))


def dense(sample: Sample) -> np.ndarray:
    """(n,) scores of a least-squares probe of all neurons, both labels weighing the same, its penalty chosen on the documents
    for choosing."""
    parts, rows = sample.parts, sample.parts.fit | sample.more
    on, h = sample.truth[rows], sample.h[rows].astype(np.float32)
    spread = np.maximum(h.std(axis=0), 1e-6)
    weight = np.where(on, 0.5 / on.sum(), 0.5 / (~on).sum()).astype(np.float32)
    inside = (h - weight @ h) / spread
    values, vectors = np.linalg.eigh((inside * weight[:, None]).T @ inside)
    target = vectors.T @ (inside.T @ (weight * np.where(on, 1, -1)))
    reads = np.stack([vectors @ (target / (np.maximum(values, 0) + p * values.mean())) for p in PENALTIES], axis=1)
    reads /= spread[:, None]
    found = auc(sample.h[parts.choose] @ reads, np.repeat(sample.truth[parts.choose, None], len(PENALTIES), axis=1))
    return np.asarray(sample.h @ reads[:, found.argmax()])


def area(sample: Sample, scores: np.ndarray, rows: np.ndarray | None = None) -> float:
    """AUC on the documents for judging, or on other rows."""
    rows = sample.parts.judge if rows is None else rows
    return float(auc(scores[rows, None], sample.truth[rows, None])[0])


def best_of(sample: Sample, units: np.ndarray, rows: np.ndarray) -> tuple[int, float]:
    """The unit of units (rows, unit) with the largest AUC, at either end, on those rows of the sample; and which end."""
    found = auc(units, np.repeat(sample.truth[rows, None], units.shape[1], axis=1)) - 0.5
    best = int(np.abs(found).argmax())
    return best, float(np.sign(found[best]))


def chance(sample: Sample, rng: np.random.Generator) -> float:
    """AUC of the best of as many random directions as there are neurons, all of equal spread, chosen and judged as the best
    neuron is."""
    learn = sample.parts.fit | sample.parts.choose
    d = sample.h.shape[1]
    axes = rng.standard_normal((d, d), dtype=np.float32) / np.maximum(sample.h[learn].std(axis=0), 1e-6)[:, None]
    best, side = best_of(sample, sample.h[learn] @ axes, learn)
    return area(sample, side * (sample.h @ axes[:, best]))


def measured(sample: Sample, config: Config, rng: np.random.Generator, asked: Sequence[str]) -> dict[str, Any]:
    """One feature. asked: which of EVERYTHING besides neurons, probe and token; what is not asked is NaN."""
    parts, truth = sample.parts, sample.truth
    learn = parts.fit | parts.choose
    number, side = best_of(sample, sample.h[learn], learn)
    looks = sample.h[:, sample.looks]
    up = 1.0 if looks[parts.fit & truth].mean() > looks[parts.fit & ~truth].mean() else -1.0
    scores = {"neuron": up * looks, "best neuron": side * sample.h[:, number], "probe": dense(sample), "token": sample.by_token}
    chosen = {"probe": area(sample, scores["probe"], parts.choose)}
    if "ten" in asked:
        few = probe_battery.sparse(sample.h, truth, replace(parts, fit=parts.fit | sample.more), 10)
        scores["ten"], chosen["ten"] = few.scores, few.chosen_at
        alone, sign = best_of(sample, sample.h[parts.fit], parts.fit)  # knows nothing of the documents for choosing
        chosen["best neuron"] = area(sample, sign * sample.h[:, alone], parts.choose)
    reader = max(chosen, key=lambda name: chosen[name])
    areas = {name: area(sample, score) for name, score in scores.items()}
    out: dict[str, Any] = {
        "feature": sample.feature, "rate": sample.rate, "looks like": sample.looks, "best": number,
        "same": number == sample.looks, "best reader": reader, **areas, "short of that": areas["probe"] - areas["neuron"],
        "short": areas["probe"] - areas["best neuron"], "beyond token": areas["probe"] - areas["token"], "settled": False,
        "random neuron": random_neuron(sample, rng), "range": [],
    }  # fmt: skip
    judged = {name: score[parts.judge] for name, score in scores.items()}
    if "ten" in asked:
        out["short of ten"] = areas[reader] - areas["ten"]
        out |= kind(sample, {name: judged[name] for name in ("best neuron", "ten", reader)}, reader, config.draws, rng)
    curves = {name: ranges(score, truth[parts.judge], sample.rate) for name, score in judged.items()}
    out["found"] = np.nan
    if resolved(sample):
        out["found"] = recall_at(curves["probe"], PRECISION) - recall_at(curves["best neuron"], PRECISION)
    if "without" in asked:
        rest = replace(sample, h=np.delete(sample.h, number, axis=1))
        out["without it"] = area(rest, dense(rest))
        out["lost"] = areas["probe"] - out["without it"]
    if "turned" in asked:
        out["random direction"] = chance(sample, rng)
        out["over random"] = areas["best neuron"] - out["random direction"]
    if "control" in asked:
        control = replace(sample, truth=probe_battery.control_task(sample.token, float(truth[learn].mean()), rng))
        out["selectivity"] = areas["probe"] - area(control, dense(control))
    if "latent" in asked:
        out |= {f"F1 {name}": float(curve[2].max()) for name, curve in curves.items()}
        out["fall"], out["fall beyond noise"] = fall(up * sample.whole, sample.marked)
        out["latent gain"] = np.nan
        if sample.latents is not None:
            out["latent gain"] = best_f1(sample, sample.latents) - best_f1(sample, sample.h)
        out["range"] = [
            {"feature": sample.feature, "reader": name, "recall": float(r), "precision": float(np.interp(r, *curve[:2]))}
            for name, curve in curves.items() for r in RECALLS
        ]  # fmt: skip
    return out


def kind(
    sample: Sample, judged: dict[str, np.ndarray], reader: str, draws: int, rng: np.random.Generator
) -> dict[str, Any]:  # fmt: skip
    """The class of a feature, by the best reader, and whether the bootstrap over documents settles it."""
    truth, document = sample.truth[sample.parts.judge], sample.document[sample.parts.judge]
    areas = {name: float(auc(score[:, None], truth[:, None])[0]) for name, score in judged.items()}
    short, of_ten = areas[reader] - areas["best neuron"], areas[reader] - areas["ten"]
    low = [bootstrap(judged[reader], judged[name], truth, document, draws, rng) for name in ("best neuron", "ten")]
    found = CLASSES[0] if short < NEAR else CLASSES[1] if of_ten < NEAR else CLASSES[2]
    settled = low[0][1] < NEAR
    if found != CLASSES[0]:
        settled = low[0][0] > NEAR and (low[1][1] < NEAR if found == CLASSES[1] else low[1][0] > NEAR)
    return {"class": found, "settled": bool(settled), "low": low[0][0], "high": low[0][1]}


def fall(values: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """How much precision falls from a tenth of the tokens found to a half; and that, less the fall of two Gaussians of equal
    spread with the same AUC at the same rate, which a neuron of nothing else has for its noise alone."""
    rate = float(truth.mean())
    recall, precision, _ = ranges(values, truth, rate)
    apart = np.sqrt(2) * norm.ppf(np.clip(auc(values[:, None], truth[:, None])[0], 0.5, 1 - 1e-9))
    ends = np.array([0.1, 0.5])
    expected = rate * ends / (rate * ends + (1 - rate) * norm.cdf(norm.ppf(ends) - apart))
    fell = float(np.interp(0.1, recall, precision) - np.interp(0.5, recall, precision))
    return fell, fell - float(expected[0] - expected[1])


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


def by_token(token: np.ndarray, truth: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """(n,) how often the current token has the feature, in the rows `fit`; half a count of the mean is added."""
    size = int(token.max()) + 1
    yes, all_of_it = (np.bincount(token[rows], minlength=size) for rows in (fit & truth, fit))
    return ((yes + 0.5 * truth[fit].mean()) / (all_of_it + 0.5))[token]


def random_neuron(sample: Sample, rng: np.random.Generator) -> float:
    """AUC of ten random neurons, either end meaning true as on the documents for fitting: their mean."""
    some = rng.permutation(sample.h.shape[1])[:10]
    fitted, found = (
        auc(sample.h[rows][:, some], np.repeat(sample.truth[rows, None], 10, axis=1))
        for rows in (sample.parts.fit, sample.parts.judge)
    )
    return float(np.where(fitted > 0.5, found, 1 - found).mean())


def bootstrap(
    one: np.ndarray, other: np.ndarray, truth: np.ndarray, document: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """90 % interval of the difference of two AUCs over documents drawn again. Scores are ranked once, rows weighted by how
    often their document is drawn."""
    place, size = np.unique(document, return_inverse=True)[1], len(np.unique(document))
    order = [np.unique(score, return_inverse=True)[1] for score in (one, other)]
    out = []
    for _ in range(draws):
        weight = np.bincount(rng.integers(size, size=size), minlength=size)[place].astype(float)
        yes, no = weight * truth, weight * ~truth
        if not yes.sum() or not no.sum():
            continue
        areas = []
        for level in order:
            below = np.bincount(level, no)
            areas.append(yes @ (np.cumsum(below) - below / 2)[level] / (yes.sum() * no.sum()))
        out.append(areas[0] - areas[1])
    low, high = np.quantile(out, (0.05, 0.95)) if out else (np.nan, np.nan)
    return float(low), float(high)


def best_f1(sample: Sample, units: np.ndarray) -> float:
    """F1, at the rate of the feature in the text, on the judging documents of the unit of units (n, unit) and the threshold
    that are best on all others. Thresholds: the unit's values at levels of its recall. NaN with fewer than 20 true rows."""
    judge = sample.parts.judge
    yes, no = units[~judge & sample.truth], units[~judge & ~sample.truth]
    if min(len(yes), (judge & sample.truth).sum()) < 20:
        return np.nan
    high = np.sort(yes, axis=0)[::-1]
    best = (-1.0, 0, 0.0)
    for level in RECALLS:
        cut = high[max(round(level * len(yes)), 1) - 1]
        cut = np.where(cut > 0, cut, np.inf)
        f1 = f1_of((yes >= cut).mean(axis=0), (no >= cut).mean(axis=0), sample.rate)
        unit = int(f1.argmax())
        best = max(best, (float(f1[unit]), unit, float(cut[unit])))
    later = units[judge, best[1]] >= best[2]
    true = sample.truth[judge]
    return float(f1_of(later[true].mean(), later[~true].mean(), sample.rate))


def f1_of(recall: Any, alarms: Any, rate: float) -> Any:
    """F1 from recall and the rate of false alarms, at the rate of the feature in the text."""
    return 2 * rate * recall / np.maximum(rate * recall + (1 - rate) * alarms + rate, 1e-12)


def random_latents(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """(n, latent) random directions of the dictionary's input, each on as often as a latent of the dictionary."""
    assert sample.latents is not None
    assert sample.site is not None
    raw = sample.site @ rng.standard_normal((sample.site.shape[1], sample.latents.shape[1]), dtype=np.float32)
    some = np.sort(raw[rng.permutation(len(raw))[:4000]], axis=0)
    place = np.round((1 - (sample.latents > 0).mean(axis=0)) * (len(some) - 1)).astype(int)
    cut = some[place, np.arange(raw.shape[1])]
    return np.where(raw > cut, raw - cut, 0)


def fired(truth: np.ndarray, rate: float, arm: str, rng: np.random.Generator) -> np.ndarray:
    """(n,) a neuron with the feature: alone but for a few false alarms, under Gaussian noise, or loud for three tenths of its
    tokens and otherwise as loud as for three times as many others."""
    n = len(truth)
    if arm == NOISY:
        return truth * rng.uniform(2.0, 2.5) + rng.standard_normal(n)
    if arm == MIXED:
        loud = rng.random(n) < 0.3
        other = ~truth & (rng.random(n) < 3 * rate)
        level = np.where(truth & loud, rng.uniform(0.9, 1.0, n), (truth | other) * rng.uniform(0.3, 0.8, n))
        return level + 0.05 * rng.standard_normal(n)
    other = ~truth & (rng.random(n) < 0.1 * rate)
    return truth * rng.uniform(0.6, 1.0, n) + other * rng.uniform(0.6, 1.0, n) + 0.1 * rng.standard_normal(n)


def plant(sample: Sample, arm: str, rng: np.random.Generator) -> Sample:
    """The feature put on neurons that know nothing of it: they hold what they hold at other tokens, and noise of as large a
    spread, without which a neuron that mostly rests shows the faintest push by its rank."""
    n, d = sample.h.shape
    h = sample.h[rng.permutation(n)]
    spread = np.maximum(h.std(axis=0), 1e-6)
    h = h + spread * rng.standard_normal((n, d), dtype=np.float32)
    order = rng.permutation(d)
    strength = np.zeros(d)
    if arm in (ONE, HALF):
        seen = sample.truth & (rng.random(n) < 0.5) if arm == HALF else sample.truth
        h[:, order[0]] = fired(seen, sample.rate, ONE, rng)
        if arm == HALF:
            strength[order[1]] = 3.6
    elif arm == ALL:
        strength = np.exp(0.25 * rng.standard_normal(d)) / 4
    elif arm == FIVE:
        strength[order[:5]] = 3.6, 3.0, 2.4, 2.0, 1.5
    elif arm == TWINS:
        shared = np.sqrt(2) * rng.standard_normal((n, 1))
        h[:, order[:12]] = spread[order[:12]] * (shared + 0.3 * rng.standard_normal((n, 12)))
        strength[order[:12]], strength[order[12:17]] = 3.0, 2.3
    else:  # under the noise of a second neuron, which says nothing else
        noise = rng.standard_normal(n)
        h[:, order[0]] = spread[order[0]] * (noise + 0.14 * rng.standard_normal(n))
        h[:, order[1]] = spread[order[1]] * noise
        strength[order[0]] = 0.62
    h = h + np.outer(sample.truth, strength * spread).astype(np.float32)
    looks = int(order[0]) if arm != ALL else int(strength.argmax())
    return replace(sample, h=h, looks=looks, latents=None, site=None)


def middle(values: Iterable[float]) -> float:
    """The median of those that are known; NaN of none."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else np.nan


def medians(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What the rules ask for."""
    columns = ("ten", "short of that", "short", "short of ten", "fall", "fall beyond noise", "found", "lost", "probe",
               "beyond token", "selectivity", "latent gain")  # fmt: skip
    random = [row["over random"] for row in rows if "over random" in row]
    return {
        **{name: middle(row.get(name, np.nan) for row in rows) for name in columns},
        "over random": float(np.mean(random)) if random else np.nan,
        "resolved": float(sum(np.isfinite(row["found"]) for row in rows)),
    }


def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "range"} for row in rows]


def split_table(each: pd.DataFrame) -> pd.DataFrame:
    """Shares, of the features that are settled, on one neuron, on two to ten, on more, beside published ones of dictionary
    rows."""
    rows: list[dict[str, Any]] = [
        {"model": "dictionary rows of gelu-1l (Nanda 2023)", **dict(zip(CLASSES, (0.04, 0.04, 0.92), strict=True))}
    ]
    for name, part in each.groupby("model", sort=False) if len(each) else ():
        settled = part[part["settled"].astype(bool)]
        shares = {kind: float((settled["class"] == kind).mean()) for kind in CLASSES}
        rows.append({"model": name, **shares, "settled": len(settled), "features": len(part)})
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
