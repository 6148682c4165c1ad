"""4.33: can a neuron's other sense be used against the model?

Neurons of a one-layer model with two distinct senses (4.29), over their whole range of activation. Prompts: text of one sense,
in which the neuron fires; words that mark the other sense are put in before the current token, of which the insertion that
makes the neuron loudest is kept (`insertions.attack`). It never looks at the prediction. Success: the odds of the other sense's
tokens, those that the neuron writes up, become three times what they were. A search of the same length over words as frequent
is the match. What goes through the neuron is what vanishes when it is held at its mean; neurons with one sense are attacked
alike. Each text is then given to the other seeds, whose neurons are others. Of all senses those are attacked whose neuron such
words make loudest, on the documents on which words and neurons are chosen; all is measured on the others.

Activations: what the layer hears is moved by a tenth of its length, along what the neuron reads and along what gradient ascent
finds.

Names: in a model that identifies indirect objects, are pairs of names with alike values in the head that moves names told
apart less well, beyond what each name of a pair does in all of its pairs, and beyond what alike embeddings do?

Prior numbers: superposition suffices for attacks in toys, which go along interfering features and carry over between models
with the same interference (Gorton and Lewis 2025; Stevinson et al. 2025); pairs of unrelated latents that interfere carry over
from Pythia-70m to models a thousand times as large (Gong et al. 2025, arXiv 2505.11611). The toy answer: superposition makes
toys more than three times as vulnerable (tms, T11).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import unfolded
from superscope.evidence.wording import answer, said, span
from superscope.lab import Lab
from superscope.lms.corpus import ioi
from superscope.lms.reading import polysemous, senses
from superscope.lms.reading.planted import Concept
from superscope.lms.reading.polysemous import Case, Half
from superscope.measure.activations import disambiguation as telling
from superscope.measure.activations import insertions
from superscope.measure.activations.insertions import REACH, Ends, Found, Score

PROBLEM = "4.33"
TITLE = "Adversarial text from superposition"
QUESTION = "Can a neuron's other sense be used to make a model expect what does not follow, and is it the neuron that does it?"
ASSUMPTIONS = [
    "The current token stays as it is; only words before it are exchanged, and the length is kept.",
    "The attack knows the neuron and never looks at the prediction.",
    "What goes through a neuron is what is lost when it is held at its mean, with the insertion and without.",
    "Neurons are those of the last layer, which nothing but the prediction hears.",
]
DISANALOGIES = [
    "Words of a sense make its tokens likelier for good reasons: in text, too, they follow such words more often. What the "
    "attack gains is mostly that.",
    "Three times the odds of what is rare is rare still: the most likely token seldom changes.",
    "A toy is attacked by any direction of its input; text has words alone.",
    "Names are told apart by two layers, and a head's values are one of several places where they meet.",
]
TIPS = ["Search as long over other words as over those of the sense: the best of many random insertions does something, too",
        "Hold the neuron: what is left of an attack is not due to it"]  # fmt: skip

TRAINED, LOUD, AGAIN = "trained", "planted loud", "other words as frequent"
STRANGER = "another neuron's search"
OTHER, MONO, FAINT = "another neuron", "neurons of one sense", "planted loud, others a thirtieth"
NAMES, DEALT, INTERFERING = "names", "names dealt", "planted interference of names"
FREE = "search by the prediction"
WORDS, LENGTH, FEWEST = 4, 24, 8  # words put in; tokens of text; words that a sense must have
SUCCESS = float(np.log(3))  # as a sense's tokens follow it three times as often as chance
LOUD_AT = 2.5  # what planted neurons hold on the sense that they read louder
QUIETER = 0.55  # of the sense that is put in, how loud planted neurons read that of the texts
PUSH = 6.0  # nats by which planted neurons raise the tokens of that sense
SHARE = 0.1  # of the length of what is heard, as in the toys


@dataclass(frozen=True)
class Config:
    """Which models, and how long a search."""

    model: str = "gelu-1l-mini"  # bundled model; its twins of other seeds are the replicates, and what prompts are given to
    names: str = "ioi-2l-mini"  # bundled model that identifies indirect objects
    rows: int = 240  # rows of text in the half of the documents on which all is chosen
    tried: int = 160  # and in the half on which all is measured
    ways: int = 8  # senses that are attacked, of each model
    contexts: int = 12  # texts of each
    tries: int = 24  # insertions that are tried for a text
    planted: int = 20  # planted neurons
    prompts: int = 1500  # sentences with two names

    def __post_init__(self) -> None:
        if min(self.ways, self.planted) < 1 or min(self.contexts, self.tries) < 2 or self.prompts < 200:
            raise ValueError(
                f"ways={self.ways}, planted={self.planted}, contexts={self.contexts}, tries={self.tries}, "
                f"prompts={self.prompts}: expected 1, 1, 2, 2 and 200 at least"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=500, tried=300, ways=12, contexts=24, tries=32, planted=24, prompts=4000),
    "full": Config(rows=1200, tried=900, ways=60, contexts=100, tries=200, planted=24, prompts=10_000),
}
GATE = [
    Check("Half of the asked number of senses or more can be attacked", "attacked", ">= 0.5", TRAINED, unit="models"),
    Check("insertions make the neuron louder by a standard deviation or more", "louder", ">= 1", TRAINED, unit="models"),
    Check("and planted ones", "louder", ">= 1", LOUD, unit="models"),
    Check("the model of names is right in .8 or more of the sentences", "right", ">= 0.8", NAMES, unit="models"),
]
EXPECTED = [
    Expect(
        "beats", "Words of the other sense succeed in a tenth of the texts more than words as frequent, searched as long",
        "beyond", ">= 0.1", of=TRAINED, null=AGAIN, plant=LOUD, unit="models",
        why="Null: another draw of words as frequent. Plant: neurons that read words nearby and the current token, and write "
        "six nats of tokens that have nothing to do with them.",
        note="Success: the odds of the other sense's tokens are three times those without the insertion.",
    ),
    Expect(
        "neuron", "The shared neuron finds such words: in a tenth of the texts more than another neuron's search among them",
        "by neuron", ">= 0.1", of=TRAINED, null=STRANGER, plant=LOUD, unit="models",
        why="Null: yet another neuron's search. Plant: as above.",
        note="The same words of the other sense, searched as long by the loudness of a neuron drawn at random. Added after "
        "a look at two models, in which it made no difference.",
    ),
    Expect(
        "gone", "Half of what the attack gains or more is gone when the neuron is held at its mean", "share", ">= 0.5",
        of=TRAINED, null=OTHER, plant=LOUD, unit="models",
        why="Null: another neuron as loud, with output of the same norm, is held. Plant: as above.",
    ),
    Expect(
        "through", "A fifth of a nat or more goes through the neuron", "through", ">= 0.2", of=TRAINED, null=MONO, plant=LOUD,
        unit="models",
        why="Null: neurons with one sense, attacked with the same words for the same tokens. Plant: as above.",
        note="Gain of the other sense's tokens, less that with the neuron held.",
    ),
    Expect(
        "transfers", "In other seeds the texts gain a fifth of a nat or more beyond texts with words as frequent", "transfer",
        ">= 0.2", of=TRAINED, null=AGAIN, plant=LOUD, unit="models",
        why="Null: another draw of words as frequent. Plant: neurons that do the same in another seed.",
        note="Those seeds do not have the neuron: what carries over is context and not one neuron's superposition.",
    ),
    Expect(
        "aligned", "Gradient ascent on what the layer hears goes along what the shared neuron reads: cosine .5 or more",
        "cosine", ">= 0.5", of=TRAINED, null=OTHER, plant=FAINT, unit="models",
        why="Null: what another neuron reads. Plant: the neuron writes six nats, all others a thirtieth of what they write.",
    ),
    Expect(
        "names", "Names that are alike, in values or else, are told apart less well: partial correlation of -.3 or less",
        "correlation", "<= -0.3",
        of=NAMES, null=DEALT, plant=INTERFERING, unit="models",
        why="Null: names dealt among the values. Plant: likeness lowers the logit difference by half a standard deviation.",
        note="Over pairs of names, main effects of both names taken out of likeness and logit difference.",
    ),
    Expect(
        "values", "and it is their values: beyond what alike embeddings explain, -.3 or less", "beyond embedding", "<= -0.3",
        of=NAMES, null=DEALT, plant=INTERFERING, unit="models",
        why="As above, with the likeness of the names' embeddings taken out, too.",
        note="Added after these had been seen: -.15, -.38 and -.17.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    one, two = lab.models(config.model, examine, config), lab.models(config.names, names, config)
    table = pd.concat([one, two], ignore_index=True)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    trained = table[table.arm == TRAINED]
    each, seen = unfolded(one, "each"), unfolded(one, "examples")
    return Findings(
        passed,
        claims,
        figures(each),
        {"arms": table.drop(columns=["each", "examples"]), "attacks": each, "examples": seen},
        f"Success of words of the other sense {span(trained.success.min(), trained.success.max())}, of words as frequent "
        f"{span(trained['success matched'].min(), trained['success matched'].max())}, of a search by the prediction over both "
        f"{span(trained['success free'].min(), trained['success free'].max())}. Gain "
        f"{span(trained.gain.min(), trained.gain.max())} nats, through the neuron "
        f"{span(trained.through.min(), trained.through.max())}; the twenty neurons that carry most of it make "
        f"{span(trained['share of twenty'].min(), trained['share of twenty'].max())} of it. The same words searched by other "
        f"neurons succeed in "
        f"{span(trained['success by other'].min(), trained['success by other'].max())}.",
        in_short({claim.id: claim.verdict for claim in claims}, trained),
    )


def in_short(verdicts: dict[str, str], trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    if "gate failed" in verdicts.values():
        return "No answer: too few senses can be attacked, or the model of names does not work."
    return answer(
        "Words of a neuron's other sense triple its tokens' odds in {success} of texts, words as frequent in {matched}. Half "
        "of the gain is the neuron's: {gone}.",
        success=float(trained.success.mean()), matched=float(trained["success matched"].mean()),
        gone=said(verdicts["gone"]),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ examining


@dataclass(frozen=True)
class Way:
    """An attack: the neuron, the sense that the texts have and the one put in, its words, words as frequent, the tokens that
    are to become likelier, and texts (n, 1 + `LENGTH`) to measure on."""

    neuron: int
    names: tuple[str, str]
    words: np.ndarray
    matched: tuple[np.ndarray, np.ndarray]
    tokens: np.ndarray
    texts: np.ndarray


@dataclass(frozen=True)
class Setting:
    """A model's two halves of text, and what its neurons hold on the average and how much they vary."""

    model: lms.LanguageModel
    splits: Sequence[lms.corpus.Split]
    halves: Sequence[Half[telling.Site]]

    @cached_property
    def means(self) -> torch.Tensor:
        """(d_mlp,)."""
        return self.halves[0].site.values.mean(dim=0)

    @cached_property
    def spreads(self) -> torch.Tensor:
        """(d_mlp,)."""
        return self.halves[0].site.values.std(dim=0)


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.33 {model.name}")
    splits, rows, known = polysemous.texts(model.tokenizer, model.n_ctx, (config.rows, config.tried), lab.seed)
    halves = [
        polysemous.half(telling.read(model, some), split, of) for some, split, of in zip(rows, splits, known, strict=True)
    ]
    real = Setting(model, splits, halves)
    cases, _ = polysemous.choose(halves, range(model.d_mlp), rng)
    ways = select(real, cases, config, rng)
    others = model.twins()
    if not others:
        raise lms.ModelError(f"{model.name}: this study gives its prompts to other trained seeds, and it has none")
    yield from arms(TRAINED, real, ways, others, config, rng)
    yield {"arm": MONO, **pooled([one_attack(real, way, [], config, rng) for way in alone(real, known[0], ways, config, rng)])}
    twin = others[0]
    elsewhere = [replace(half, site=telling.read(twin, some)) for half, some in zip(halves, rows, strict=True)]
    made, new, other = planted(real, elsewhere, known, config, rng)
    found = [way for way in select(made, new, config, rng, most=2 * len(new)) if way.names[1].startswith("near ")]
    found = [way for way in found[: len(new) // 2] if heard_there(made.model, way, *other, rng) >= 1]
    found = found[: max(1, len(new) // 4)]  # those that words make loudest, as of the real ones
    yield from arms(LOUD, made, found, [other[0]], config, rng)
    turned = [directions(faint(made, way.neuron), way, way.neuron, rng)["cosine"] for way in found]
    yield {"arm": FAINT, "cosine": float(np.mean(turned)) if turned else np.nan}


def arms(
    arm: str, setting: Setting, ways: list[Way], others: Sequence[lms.LanguageModel], config: Config, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """The rows that a set of attacks fills: its own, and for the real ones those of the nulls."""
    found = [one_attack(setting, way, others, config, rng) for way in ways]
    row = pooled(found)
    some = [row for each in found for row in each["examples"]]
    each = [{k: v for k, v in one.items() if k != "examples"} for one in found]
    yield {"arm": arm, "attacked": len(ways) / config.ways, **row, "each": each, "examples": some}
    if arm == TRAINED:
        yield {"arm": AGAIN, "beyond": row.get("beyond again", np.nan), "transfer": row.get("transfer again", np.nan)}
        yield {"arm": STRANGER, "by neuron": row.get("by neuron again", np.nan)}
        yield {"arm": OTHER, "share": row.get("share other", np.nan), "cosine": row.get("cosine other", np.nan)}


def select(setting: Setting, cases: Sequence[Case], config: Config, rng: np.random.Generator, most: int = 0) -> list[Way]:
    """Of both senses of every neuron as text those in which words of the other make the neuron loudest, on the documents on
    which all is chosen."""
    here, there = setting.halves
    first, second = setting.splits
    out: list[tuple[float, Way]] = []
    for case in cases:
        up = telling.raises(here.site, case.neuron)
        for right in (0, 1):
            tokens = case.tokens[1 - right]
            tokens = tokens[up[tokens] > 0]
            words, lift = insertions.words_of(first, here.site.place[case.chosen[1 - right]])
            words = np.setdiff1d(words, [*tokens, setting.model.tokenizer.bos])
            if len(tokens) < 3 or len(words) < FEWEST:
                continue
            banned = np.array([*case.tokens[0], *case.tokens[1], setting.model.tokenizer.bos])
            one, other = (insertions.alike(first, words, lift, banned, rng) for _ in range(2))
            way = Way(case.neuron, (case.names[right], case.names[1 - right]), words, (one, other), tokens,
                      texts_at(second, there, case.tried[right], setting, case.neuron, config.contexts, rng))  # fmt: skip
            try_on = texts_at(first, here, case.chosen[right], setting, case.neuron, config.contexts, rng)
            if min(len(way.texts), len(try_on)) < config.contexts / 2:
                continue
            hit = insertions.attack(setting.model, try_on, words, WORDS, 4, rng, insertions.loudness(case.neuron))
            out.append((louder(setting, insertions.ends(setting.model, try_on), hit.at, case.neuron), way))
    return [way for _, way in sorted(out, key=lambda one: -one[0])[: most or config.ways]]


def texts_at(
    split: lms.corpus.Split, half: Half[telling.Site], where: np.ndarray, setting: Setting, neuron: int, count: int,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """(n, 1 + LENGTH) texts that end in a token of a sense, drawn alike over the range in which the neuron fires."""
    some = polysemous.drawn_evenly(half, where, neuron, 4 * count, rng)
    return insertions.before(split, half.site.place[some], LENGTH, setting.model.tokenizer.bos)[0][:count]


def louder(setting: Setting, before: Ends, after: Ends, neuron: int) -> float:
    """Standard deviations by which insertions make a neuron louder, mean over texts."""
    return float((after.values[:, neuron] - before.values[:, neuron]).mean() / setting.spreads[neuron])


def one_attack(
    setting: Setting, way: Way, others: Sequence[lms.LanguageModel], config: Config, rng: np.random.Generator
) -> dict[str, Any]:
    """One attack: gains and successes, guided, matched, free; what is left with neurons held; other seeds; ascent."""
    model, before = setting.model, insertions.ends(setting.model, way.texts)

    def search(words: np.ndarray, score: Score) -> Found:
        return insertions.attack(model, way.texts, words, WORDS, config.tries, rng, score)

    loud = insertions.loudness(way.neuron)
    strangers = rng.choice(np.delete(np.arange(model.d_mlp), way.neuron), 2, replace=False)
    found = {
        "": search(way.words, loud), " matched": search(way.matched[0], loud), " again": search(way.matched[1], loud),
        " by other": search(way.words, insertions.loudness(int(strangers[0]))),
        " by another": search(way.words, insertions.loudness(int(strangers[1]))),
        " free": search(np.concatenate([way.words, way.matched[0]]), lambda at: at.odds(way.tokens)),
    }  # fmt: skip
    gain = {name: one.at.odds(way.tokens) - before.odds(way.tokens) for name, one in found.items()}
    guided = found[""]
    other = int(telling.alike(setting.halves[1].site, np.array([way.neuron]), setting.means, way.neuron, rng)[0])

    def left(neurons: Sequence[int] | np.ndarray) -> np.ndarray:  # what the guided attack gains with these held
        held = {int(one): float(setting.means[one]) for one in neurons}
        return guided.at.odds(way.tokens, held) - before.odds(way.tokens, held)

    half = np.arange(len(way.texts)) % 2 == 0  # twenty neurons are chosen on some texts and held on the others
    twenty = left(most_moved(setting, way, guided.at.only(half), before.only(half)))
    there = {
        f"elsewhere{name}": float(np.mean([insertions.gains(one, way.texts, found[name].texts, way.tokens) for one in others]))
        for name in ("", " matched", " again") if others
    }  # fmt: skip
    return {
        "neuron": way.neuron, "text of": way.names[0], "words of": way.names[1], "texts": len(way.texts),
        "louder": louder(setting, before, guided.at, way.neuron), **{f"gain{name}": one.mean() for name, one in gain.items()},
        **{f"success{name}": (one >= SUCCESS).mean() for name, one in gain.items()},
        "gain held": left([way.neuron]).mean(), "gain other held": left([other]).mean(),
        "gain, other half": gain[""][~half].mean(), "gain twenty held": twenty[~half].mean(), **there,
        **directions(setting, way, other, rng), "examples": examples(model, way, guided, gain[""]),
    }  # fmt: skip


def most_moved(setting: Setting, way: Way, after: Ends, before: Ends, count: int = 20) -> np.ndarray:
    """(count,) the neurons through which most of an insertion's effect goes: change times what it raises the tokens by."""
    reads, _ = telling.direction(setting.model, way.tokens)
    moved = after.values.mean(dim=0) - before.values.mean(dim=0)
    return torch.argsort(moved * (setting.halves[0].site.out @ reads), descending=True)[:count].numpy()


def directions(setting: Setting, way: Way, other: int, rng: np.random.Generator) -> dict[str, float]:
    """Moving what the layer hears: where gradient ascent goes, and what moving along what the neuron reads does."""
    heard = insertions.hear(insertions.ends(setting.model, way.texts))
    length = SHARE * float(heard.heard.norm(dim=1).mean())
    climbed = insertions.ascent(heard, way.tokens, length)
    unit = climbed / climbed.norm(dim=1, keepdim=True)

    def cosine(neuron: int) -> float:
        read = heard.reads[:, neuron]
        return float((unit @ (read / read.norm())).mean())

    blind = [heard.rise(way.tokens, torch.from_numpy(rng.standard_normal(len(unit[0])).astype(np.float32)), length)
             for _ in range(8)]  # fmt: skip
    return {
        "cosine": cosine(way.neuron), "cosine other": cosine(other), "climbed": heard.rise(way.tokens, climbed, length),
        "along neuron": heard.rise(way.tokens, heard.reads[:, way.neuron], length),
        "along random": float(np.mean(np.abs(blind))),
    }  # fmt: skip


def examples(model: lms.LanguageModel, way: Way, found: Found, gain: np.ndarray, most: int = 2) -> list[dict[str, Any]]:
    """The texts that gained most, as text."""
    pieces = model.tokenizer.pieces
    return [
        {"neuron": way.neuron, "text of": way.names[0], "words of": way.names[1], "put in": "".join(
            pieces[token] for token in found.words[i]), "text": "".join(pieces[token] for token in found.texts[i, 1:]),
         "nats": float(gain[i])}
        for i in np.argsort(-gain, kind="stable")[:most]
    ]  # fmt: skip


def pooled(each: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over attacks, and ratios of means."""
    if not each:
        return {}
    mean = pd.DataFrame(each).select_dtypes("number").mean()
    gain = max(float(mean["gain"]), 1e-3)
    return {
        **{str(name): float(value) for name, value in mean.items() if name not in ("neuron", "texts")},
        "beyond": mean["success"] - mean["success matched"], "beyond again": mean["success again"] - mean["success matched"],
        "through": mean["gain"] - mean["gain held"], "share": (mean["gain"] - mean["gain held"]) / gain,
        "by neuron": mean["success"] - mean["success by other"],
        "by neuron again": mean["success by another"] - mean["success by other"],
        "share of twenty": 1 - mean["gain twenty held"] / mean["gain, other half"],
        "share other": (mean["gain"] - mean["gain other held"]) / gain,
        "transfer": mean.get("elsewhere", np.nan) - mean.get("elsewhere matched", np.nan),
        "transfer again": mean.get("elsewhere again", np.nan) - mean.get("elsewhere matched", np.nan),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ nulls and plants


def alone(setting: Setting, known: Sequence[Concept], ways: list[Way], config: Config, rng: np.random.Generator) -> list[Way]:
    """For every attack one on a neuron with a single sense, in text of that sense, with the same words for the same tokens."""
    here, there = setting.halves
    some = [Concept(one.name, one.where[here.site.place]) for one in known]
    found = senses.senses(here.site.values.numpy(), some, np.arange(len(here.site.place)))
    single = [neuron for neuron, each in enumerate(found) if len(each) == 1]
    out: list[Way] = []
    for neuron in rng.permutation(single):
        if len(out) == len(ways):
            break
        name, way = found[neuron][0].concept, ways[len(out)]
        where = np.flatnonzero(there.concepts.get(name, np.zeros(len(there.site.place), dtype=bool)))
        fires = there.fires(where, int(neuron))
        if len(fires) >= config.contexts:
            texts = texts_at(setting.splits[1], there, fires, setting, int(neuron), config.contexts, rng)
            if len(texts) >= config.contexts / 2:
                out.append(replace(way, neuron=int(neuron), names=(name, way.names[1]), texts=texts))
    return out


def planted(
    real: Setting, elsewhere: Sequence[Half[telling.Site]], known: Sequence[Sequence[Concept]], config: Config,
    rng: np.random.Generator,
) -> tuple[Setting, list[Case], tuple[lms.LanguageModel, dict[int, int]]]:  # fmt: skip
    """A model with neurons that read words nearby, louder, and the current token, and write what follows other words; the
    cases; and another trained seed (`elsewhere`, its halves) with neurons that do the same, and which of them is which.

    Written is what the rest of the model does not expect of the words, and of one sense alone: a neuron that writes the tokens
    of both senses alike makes neither likelier against the other."""
    pairs = polysemous.concept_pairs(real.halves, config.planted, rng)
    named = [(f"near {one}", other) for one, other in pairs]
    first = {one for one, _ in pairs}
    made = []
    for halves in (real.halves, elsewhere):
        new = [near(half, split, some, first) for half, split, some in zip(halves, real.splits, known, strict=True)]
        here = new[0]
        where = [(here.concepts[one], here.concepts[other] & ~here.concepts[one]) for one, other in named]
        tokens = [polysemous.follow(here, [np.flatnonzero(one) for one in both]) for both in where]
        kept = [i for i, both in enumerate(tokens) if min(map(len, both)) >= 3]
        written = {i: tokens[j][0] for i, j in zip(kept, np.roll(kept, 1).tolist(), strict=True)}
        put = telling.plant(here.site, [where[i] for i in kept], [tokens[i] for i in kept], PUSH, quieter=QUIETER)
        mlp: Any = put.model.hooked.blocks[put.model.n_layers - 1].mlp
        with torch.no_grad():
            mlp.W_out[[one for group in put.opposers for one in group]] = 0
            every, sigma = np.concatenate([np.concatenate(tokens[i]) for i in kept]), float(telling.scale(here.site).mean())
            for i, neuron in zip(kept, put.neurons, strict=True):
                mlp.W_out[neuron] = PUSH / LOUD_AT * telling.writer(put.model, written[i], every, sigma)
        made.append((put, [replace(half, site=telling.rerun(half.site, put.model)) for half in new], kept, tokens, written))
    (put, new, kept, tokens, written), (other, *_) = made
    cases = []
    for i, neuron in zip(kept, put.neurons, strict=True):
        fires = [[half.fires(np.flatnonzero(half.concepts[name]), neuron) for name in named[i]] for half in new]
        cases.append(Case(neuron, named[i], (fires[0][0], fires[0][1]), (fires[1][0], fires[1][1]), (written[i], tokens[i][1])))
    return Setting(put.model, real.splits, new), cases, (other.model, dict(zip(put.neurons, other.neurons, strict=True)))


def heard_there(
    model: lms.LanguageModel, way: Way, twin: lms.LanguageModel, neurons: dict[int, int], rng: np.random.Generator
) -> float:
    """By how much an insertion that is made for a planted neuron makes that of the other model louder."""
    hit = insertions.attack(model, way.texts, way.words, WORDS, 4, rng, insertions.loudness(way.neuron))
    after, before = (insertions.ends(twin, some).values[:, neurons[way.neuron]] for some in (hit.texts, way.texts))
    return float((after - before).mean())


def faint(setting: Setting, neuron: int) -> Setting:
    """All neurons but one write a thirtieth of what they write."""
    hooked = copy.deepcopy(setting.model.hooked)
    mlp: Any = hooked.blocks[setting.model.n_layers - 1].mlp
    share = torch.full((setting.model.d_mlp, 1), 1 / 30)
    share[neuron] = 1.0
    with torch.no_grad():
        mlp.W_out *= share
    return replace(setting, model=replace(setting.model, hooked=hooked))


def near(half: Half[telling.Site], split: lms.corpus.Split, known: Sequence[Concept], names: set[str]) -> Half[telling.Site]:
    """The half with concepts "near ..." more: one of the named ones within the tokens before this one, in its document."""
    extra = {}
    for one in known:
        if one.name in names:
            close = np.zeros(len(split), dtype=bool)
            for back in range(1, REACH + 1):
                close[back:] |= one.where[:-back] & (split.document[back:] == split.document[:-back])
            extra[f"near {one.name}"] = close[half.site.place]
    return replace(half, concepts=half.concepts | extra)


# ------------------------------------------------------------------------------------------------------------ names


def names(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """Does likeness of two names' values lower the logit difference of their sentences?"""
    rng = lab.rng(f"4.33 names {model.name}")
    words = [*ioi.NAMES, *ioi.HELD_OUT_NAMES]
    base = ioi.exchanges(model.tokenizer, words, config.prompts, lab.seed)["base"]
    w: Any = model.hooked
    layer = model.n_layers - 1
    hooks = [f"blocks.{layer}.attn.hook_{end}" for end in ("v", "z")]
    values, z, logits = [], [], []
    for start in range(0, len(base), 128):
        part = slice(start, start + 128)
        tokens, last = torch.from_numpy(base.tokens[part]), torch.from_numpy(base.last[part])
        got, every = model.activations(tokens, hooks), torch.arange(len(last))
        said = model.logits(tokens)[every, last]
        logits.append(said[every, base.io[part]] - said[every, base.s[part]])
        z.append(got[hooks[1]][every, last])
        at = torch.from_numpy((base.tokens[part] == base.io[part, None]).argmax(axis=1))
        values.append(got[hooks[0]][every, at])
    difference, held = torch.cat(logits).numpy(), torch.cat(values)
    aims = (w.W_U[:, base.io] - w.W_U[:, base.s]).T
    direct = torch.stack([((torch.cat(z)[:, h] @ w.blocks[layer].attn.W_O[h]) * aims).sum(dim=1).mean()
                          for h in range(w.cfg.n_heads)])  # fmt: skip
    mover = int(direct.argmax())
    ids = np.unique(np.concatenate([base.io, base.s]))
    place = {int(one): k for k, one in enumerate(ids)}
    io, s = (np.array([place[int(one)] for one in side]) for side in (base.io, base.s))
    mean = np.stack([held[torch.from_numpy(io == k), mover].mean(dim=0).numpy() for k in range(len(ids))])
    alike, embedded = cosines(mean), cosines(w.W_E[torch.from_numpy(ids)].detach().numpy())
    order = rng.permutation(len(ids))
    effects = np.concatenate([np.eye(len(ids))[io], np.eye(len(ids))[s]], axis=1)
    known = np.concatenate([effects, embedded[io, s][:, None]], axis=1)
    left = residual(effects, difference)
    lowered = difference - 0.5 * left.std() * standard(residual(effects, alike[io, s])) - left + rng.permutation(left)
    for arm, heard, like in ((NAMES, difference, alike), (DEALT, difference, alike[np.ix_(order, order)]),
                            (INTERFERING, lowered, alike)):  # fmt: skip
        pair = io * len(ids) + s
        yield {"arm": arm, "correlation": correlation(effects, heard, like[io, s], pair),
               "beyond embedding": correlation(known, heard, like[io, s], pair),
               "of embeddings": correlation(effects, heard, embedded[io, s], pair),
               "right": float((difference > 0).mean()), "head": mover, "names": len(ids)}  # fmt: skip


def cosines(rows: np.ndarray) -> np.ndarray:
    """(n, n) of rows (n, d) about their mean."""
    rows = rows - rows.mean(axis=0)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def residual(effects: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) values less what the columns (n, k) explain."""
    return np.asarray(values - effects @ np.linalg.lstsq(effects, values, rcond=None)[0])


def standard(values: np.ndarray) -> np.ndarray:
    """Mean 0, standard deviation 1."""
    return np.asarray((values - values.mean()) / values.std())


def correlation(effects: np.ndarray, said: np.ndarray, like: np.ndarray, pair: np.ndarray) -> float:
    """Pearson correlation over pairs (mean of their sentences) of what main effects leave of both."""
    place = np.unique(pair, return_inverse=True)[1]
    one, other = (np.bincount(place, weights=residual(effects, values)) / np.bincount(place) for values in (said, like))
    return float(np.corrcoef(one, other)[0, 1])


# ------------------------------------------------------------------------------------------------------------ tables


def figures(each: pd.DataFrame) -> list[Figure]:
    """Gains with the neuron and with it held; success by kind of search."""
    if not len(each):
        return []
    points = plots.figure(height=400, xaxis_title="nats gained", yaxis_title="nats gained with the neuron held")
    for arm, part in each.groupby("arm", sort=False):
        points.add_scatter(x=part["gain"], y=part["gain held"], mode="markers", name=arm,
                           text=part["text of"] + " + " + part["words of"])  # fmt: skip
    low, high = float(each["gain"].min()), float(each["gain"].max())
    points.add_scatter(x=[low, high], y=[low, high], mode="lines", name="nothing goes through the neuron", line_dash="dot")
    kinds = {"success": "words of the other sense", "success matched": "words as frequent", "success free": FREE}
    bars = plots.figure(height=340, barmode="group", yaxis_title="share of texts", yaxis_range=[0, 1])
    mean = each.groupby("arm", sort=False)[list(kinds)].mean()
    for column, name in kinds.items():
        bars.add_bar(x=mean.index, y=mean[column], name=name)
    return [
        Figure("gains", points, "Every attack: what it gains, and what is left with the neuron at its mean."),
        Figure("success", bars, "Texts in which the other sense's tokens become three times as likely."),
    ]
