"""4.27: does a genre direction let a model use one subspace for other features in other kinds of text?

The speculation: detect the genre, then represent features of different genres in the same subspace, since no text is of two
genres. It predicts four things. (1) Something says the genre. (2) Features specific to two genres lie in one subspace. (3) The
same direction means something else there: read-outs do not transfer. (4) What follows reads it by the genre.

A feature is what the context says of the next word, beside the present word: the mean of the stream between attention and MLP
of the middle layer (n_layers // 2) before that word, less the mean at the same present word. A genre's own are next words four
times as frequent in it. Words four places back, which no logit has to say, are a second kind. Documents are halved, and
everything is measured across halves.

(1) The best single neuron at the same words, by documents. (2) `shared`: energy of one genre's features inside the span of the
other's, from 0, means over random tokens of the genre, to 1, the other half of its own documents. (3) `transfer` of read-outs
of common next words, and `agreement` of what the same steps do to the logits of both genres' own words. (4) `gated`: how much
a move to the other genre changes that, over moves as long in directions drawn from the stream's covariance: any move rescales
LayerNorms. Planted worlds (one subspace decoded by the genre; subspaces apart; one subspace with one meaning; antipodal pairs)
get other answers.

Prior numbers: neurons of Pythia tell languages (F1 1.00) and sources (.94 to .98) apart (Gurnee et al. 2023); a German neuron
gates n-gram neurons behind it (Quirke et al. 2023). The toy answer: anti-correlated features share a dimension, as antipodes
(tms: cosine below -.95 in 40 of 40 models), so features of different genres should overlap more than those of one genre.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from superscope import lms, plots
from superscope.errors import UserError
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.wording import answer, number, said, span
from superscope.lab import PUBLISHED, Lab
from superscope.lms.model import activations
from superscope.measure.activations import multiplex

PROBLEM = "4.27"
TITLE = "Genres that share a subspace"
QUESTION = "Does a genre direction let a model re-use one subspace for different features in different kinds of text?"
ASSUMPTIONS = [
    "Features are next words, one at a time, as far as the context and not the present word announces them.",
    "The genre is where a document comes from; its direction is the mean difference at the same present words.",
    "Steps and moves are taken at the last position of a row of text; what stands before it is left as it was.",
]
DISANALOGIES = [
    "Most genres here are one source: a layout that always recurs is genre, too.",
    "A next word needs a logit of its own, and the direct path to it is the same in all genres: other features may share more.",
    "The softmax tells genres apart by itself: adding logits of genre and feature is an AND of the two.",
]
TIPS = ["The null of an overlap is another mean over the same text, not k / d", "Plant shared features of one meaning as well"]

TRAINED, PERMUTED, UNIT = "trained", "genres permuted among documents", "planted neuron"
RANDOM, MOVE, HALVES, DEALT = "means over random tokens", "matched move", "other half of the genre", "features dealt at random"
MULTIPLEXED, APART, ONE, ANTIPODAL = "planted multiplexed", "planted apart", "planted one meaning", "planted antipodes"
WORLDS: dict[str, multiplex.World] = {
    MULTIPLEXED: "multiplexed", APART: "apart", ONE: "one meaning", ANTIPODAL: "antipodal",
}  # fmt: skip
SKIP = 16  # first positions of a row, where the context is short
BACK = 4  # how far back an earlier word stood
EARLIER = "shared, earlier words"


@dataclass(frozen=True)
class Config:
    """Which models and genres, and how much text."""

    model: str = "gelu-2l-mini"  # bundled model; its twins of other seeds are the replicates
    beside: str = ""  # a bundled model told beside it
    genres: tuple[str, ...] = ("python", "prose", "encyclopedia", "spanish")
    context: int = 64  # tokens in a row
    rows: int = 312  # of each half of a genre's documents
    neurons: int = 80  # rows on which neurons are read
    steps: int = 24  # tokens of a genre on which steps are taken
    features: int = 18  # next words of each genre's own, and common ones
    dimensions: int = 12  # of a planted subspace
    widths: tuple[int, ...] = (24, 96)  # of subspaces planted to see how wide a one is still found
    planted: int = 1  # pairs of genres after which worlds are planted
    draws: int = 5  # of every random arm
    published: str = ""  # a published model for the third rung, such as "SmolLM2-135M"


MORE = ("python", "prose", "encyclopedia", "spanish", "religious", "technical")
PRESETS = {
    "quick": Config(),
    "standard": Config(widths=(6, 24, 48, 96), beside="gelu-4l-midi", genres=MORE, rows=500, planted=3, draws=8),
    "full": Config(widths=(6, 24, 48, 96), beside="gelu-4l-midi", genres=(*MORE, "dictionary", "c"), rows=2000, steps=200,
                   planted=10, draws=50),
}  # fmt: skip

GATE = [
    Check("The best neuron tells Python from prose in nine of ten other documents", "python or prose", ">= 0.9", TRAINED,
          unit="models"),
    Check("features of a genre lie in the span found on other documents, a fifth of their energy beyond chance", "found",
          ">= 0.2", TRAINED, unit="models"),
    Check("planted subspaces apart are not taken for multiplexed ones", "multiplexed", "<= 0.2", APART, unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "neuron", "At the same words one neuron tells two genres apart in nine of ten documents",
        "neuron", ">= 0.9", of=TRAINED, null=PERMUTED, plant=UNIT, unit="models",
        why="Null: genres exchanged among documents, searched alike. Plant: there, a neuron one standard deviation higher in "
        "one genre.",
        note="Balanced accuracy over documents on which neither the neuron nor its threshold was chosen, mean of all pairs.",
    ),
    Expect(
        "shared", "Features specific to two genres share a subspace: they are nearer to one span than to chance",
        "shared", ">= 0.5", of=TRAINED, null=RANDOM, plant=MULTIPLEXED, unit="models",
        why="Null: rows drawn with the covariance of the genre. Plant: both genres' features in 12 dimensions of unequal "
        "strength, decoded by the genre.",
    ),
    Expect(
        "shared-white", "Features specific to two genres share a subspace where quiet directions count as much as loud ones",
        "shared, white", ">= 0.5", of=TRAINED, null=RANDOM, plant=MULTIPLEXED, unit="models",
        why="Null and plant as before, after whitening.",
    ),
    Expect(
        "shared-earlier", "Earlier words specific to two genres share a subspace: they are nearer to one span than to chance",
        EARLIER, ">= 0.5", of=TRAINED, null=RANDOM, plant=MULTIPLEXED, unit="models",
        why="Null and plant as before, of the word four places back.",
        note="A second kind of feature: next words need directions of their own for the direct path to the logits.",
    ),
    Expect(
        "transfer", "Read-outs of common next words are worth at most half as much in another genre",
        "transfer", "<= 0.5", of=TRAINED, null=HALVES, plant=MULTIPLEXED, unit="models",
        why="Null: read-outs of other documents of the same genre. Plant: another code for them in each genre.",
        note="Mean AUC less a half, over that of read-outs fitted on the genre itself. Low also where subspaces are apart.",
    ),
    Expect(
        "agreement", "The same steps do something else in another genre: the cosine of their effects is at most .5",
        "agreement", "<= 0.5", of=TRAINED, null=HALVES, plant=MULTIPLEXED, unit="models",
        why="Null: other tokens of the same genre. Plant: a reader that decodes by the genre, softly and with a leak.",
    ),
    Expect(
        "multiplexed", "One subspace with other meanings: shared, and the effects disagree, each by a half",
        "multiplexed", ">= 0.5", of=TRAINED, null=ONE, plant=MULTIPLEXED, unit="models",
        why="Null: one subspace with one meaning, read by all alike. Plant: one subspace decoded by the genre.",
        note="The smaller of shared and 1 - agreement.",
    ),
    Expect(
        "gated", "Moving tokens to the other genre changes what steps do at least twice as much as matched moves",
        "gated", ">= 2", of=TRAINED, null=MOVE, plant=MULTIPLEXED, unit="models",
        why="Null: a move as long, in a direction drawn with the covariance of the stream, against others. Plant: a reader "
        "that decodes by the genre.",
    ),
    Expect(
        "softmax", "In probabilities the genre direction makes at least half of the difference between genres",
        "turned p", ">= 0.5", of=TRAINED, null=MOVE, plant=ONE, unit="models",
        why="Null: a matched move. Plant: one reader for all genres; the genre raises the logits of its own words.",
        note="The gate that every softmax is: no sign of a shared subspace.",
    ),
    Expect(
        "crowded", "Features of different genres overlap at least one and a half times as much as those of one genre",
        "crowded", ">= 1.5", of=TRAINED, null=DEALT, plant=ANTIPODAL, unit="models",
        why="Null: features dealt to two groups at random. Plant: a dimension for each feature of a genre, its opposite for "
        "one of the other.",
        note="Mean squared cosines across halves of the documents: what the toy model does with anti-correlated features.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; the claims are about the first model, others are told beside it."""
    names = [name for name in (config.model, config.beside) if name]
    table = lab.models(names, examine, config, config.published)
    mine = table[table.name == config.model]
    others = table[table.arm.isin([TRAINED, f"{PUBLISHED} {TRAINED}"]) & (table.name != config.model)]
    notes = {row.id: " ".join(f"In {who}: {number(x)}." for who, x in zip(others.model, others[row.column], strict=True))
             for row in EXPECTED}  # fmt: skip
    passed, trained = gate(mine, GATE), mine[mine.arm == TRAINED]
    claims = judge(mine, EXPECTED, passed, notes)
    told = pd.concat([trained, others])
    pairs = pd.DataFrame([{"model": who, **pair} for who, each in zip(told.model, told.pairs, strict=True) for pair in each])
    return Findings(
        passed,
        claims,
        figures(mine, pairs[pairs.model.isin(trained.model)]),
        {"arms": table.drop(columns="pairs"), "pairs": pairs, "lexical": lexical(trained)},
        in_numbers(trained),
        in_short({claim.id: claim.verdict for claim in claims}, trained),
    )


def in_numbers(trained: pd.DataFrame) -> str:
    """What is no claim."""
    shown = ("shared, inside a genre", "alike", "same word", "turned", "turned p")
    inside, after, present, logits, odds = (span(trained[column].min(), trained[column].max()) for column in shown)
    return (
        f"By the same measure other next words of one genre share {inside} of a span. Common next words keep {after} of their "
        f"direction in another genre, the present word {present}. A move to the other genre makes {logits} of the difference "
        f"between genres in logits, {odds} in probabilities."
    )


def in_short(verdicts: dict[str, str], trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    return answer(
        "Multiplexed by genre: {found}. Features lie {shared} of the way from chance to one span in another genre's; the same "
        "steps' effects have cosine {agreement}.",
        found=said(verdicts["multiplexed"]),
        shared=number(round(float(trained.shared.mean()), 2)),
        agreement=number(float(trained.agreement.mean())),
    )


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.27 {model.name}")
    found, places = read(model, config, lab.seed)
    few = {(a, b): multiplex.fewest_features(found[a].halves, found[b].halves, config.features)
           for a, b in combinations(config.genres, 2)}  # fmt: skip
    pairs = [pair for pair, n in few.items() if 3 * n >= config.features]
    for (a, b), n in few.items():
        if (a, b) not in pairs:
            lab.note(f"{a} and {b} left out in {model.name}: {n} next words of one's own or in common")
    if not {"python", "prose"} <= set(config.genres) or not pairs:
        raise UserError(
            "genres must hold python and prose, and some pair enough next words: give more rows or ask fewer features"
        )
    compared = [multiplex.compare(found[a], found[b], config.features, config.draws, rng) for a, b in pairs]
    words = [multiplex.lexical(found[a], found[b], config.features, config.draws, rng) for a, b in pairs]
    neurons = genre_neurons(model, places, pairs, rng)
    behind = [earlier(found[a].looking_back, found[b].looking_back, config, rng) for a, b in pairs]
    for word, back in zip(words, behind, strict=True):
        word |= {EARLIER: back.shared, "found, earlier words": back.found}
    each = [{"pair": f"{a}, {b}", **one["pair"], **word} for (a, b), one, word in zip(pairs, compared, words, strict=True)]
    yield {
        "arm": TRAINED, **mean(one["pair"] for one in compared), **mean(words), **neurons[TRAINED], "pairs": each,
        "layer": model.n_layers // 2,
    }  # fmt: skip
    yield {"arm": PERMUTED, **neurons[PERMUTED]}
    yield {"arm": UNIT, **neurons[UNIT]}
    drawn = mean({key: one["draws"][key] for key in ("shared", "shared, white")} for one in compared)
    yield {"arm": RANDOM, **drawn, EARLIER: float(np.mean([one.drawn for one in behind]))}
    yield {"arm": MOVE, **mean({key: value for key, value in one["draws"].items() if "shared" not in key} for one in compared)}
    yield {"arm": HALVES, **mean(one["halves"] for one in compared)}
    yield {"arm": DEALT, **mean(one["reassigned"] for one in compared)}
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[: config.planted]]
    yield from planted([(found[a], found[b]) for a, b in chosen], config, rng)


def planted(
    pairs: list[tuple[multiplex.Genre, multiplex.Genre]], config: Config, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Every world, made after some pairs of genres; and shared subspaces of other widths."""
    for arm, world in WORLDS.items():
        rows = []
        for like in pairs:
            made = multiplex.Planted(world, like, config.dimensions, config.features).make(rng)
            rows.append(multiplex.compare(*made, config.features, config.draws, rng)["pair"])
            if world == "multiplexed":
                back = (like[0].looking_back, like[1].looking_back)
                behind = multiplex.Planted(world, back, config.dimensions, config.features).make(rng)
                rows[-1] |= {EARLIER: earlier(*behind, config, rng).shared}
        yield {"arm": arm, **mean(rows)}
    for wide in config.widths:
        a, b = multiplex.Planted("multiplexed", pairs[0], wide, config.features).make(rng)
        seen = {name: multiplex.own_sharing(a.halves, b.halves, config.features, config.draws, rng, white).shared
                for name, white in (("shared", False), ("shared, white", True))}  # fmt: skip
        yield {"arm": f"{MULTIPLEXED} in {wide} dimensions", **seen}


def earlier(a: multiplex.Genre, b: multiplex.Genre, config: Config, rng: np.random.Generator) -> multiplex.Sharing:
    """Where genres' own earlier words lie."""
    return multiplex.own_sharing(a.halves, b.halves, config.features, config.draws, rng)


def mean(rows: Any) -> dict[str, float]:
    """Column by column."""
    return {key: float(value) for key, value in pd.DataFrame(list(rows)).mean().items()}


Neurons = dict[str, tuple[np.ndarray, ...]]


def read(model: lms.LanguageModel, config: Config, seed: int) -> tuple[dict[str, multiplex.Genre], Neurons]:
    """The stream of every genre by halves of its documents; and the neurons: values (n, unit), document, word, fit (n,)."""
    split, layer = lms.corpus.sample(model.tokenizer), model.n_layers // 2
    length, cut = min(config.context, model.n_ctx), slice(SKIP, -1)
    units: dict[str, activations.Units | str] = {
        "stream": multiplex.stream(layer),
        "neurons": activations.neurons(model, layer),
    }
    genres, places = {}, {}
    for name in config.genres:
        documents = np.random.default_rng([seed, 27]).permutation(np.flatnonzero(split.documents.genre == name))
        halves: list[multiplex.Text] = []
        neurons: list[tuple[np.ndarray, ...]] = []
        for chosen in (documents[::2], documents[1::2]):
            part = split.only(np.isin(np.arange(len(split.documents)), chosen))
            rows = part.rows(length, limit=config.rows, seed=seed)
            found = activations.values(model, rows, units)
            stream, values = (found[one].numpy().reshape(len(rows), length - 1, -1)[:, SKIP - 1 : -1] for one in units)
            document = np.sort(chosen)[part.document[rows.place[:, cut]]]
            word, following, before = rows.tokens[:, cut], rows.tokens[:, SKIP + 1 :], rows.tokens[:, SKIP - BACK : -1 - BACK]
            flat = stream.reshape(-1, stream.shape[-1]).astype(float)
            halves.append(multiplex.Text(flat, word.ravel(), following.ravel(), document.ravel(), before.ravel()))
            few = slice(config.neurons)
            some = values[few].reshape(-1, values.shape[-1])
            neurons.append((some, document[few].ravel(), word[few].ravel(), np.full(len(some), not neurons)))
        onward = multiplex.Onward(model, rows.tokens[: config.steps], layer)  # of the second half, on which no step is fitted
        genres[name] = multiplex.Genre((halves[0], halves[1]), onward.base, onward)
        places[name] = tuple(np.concatenate(both) for both in zip(*neurons, strict=True))
    return genres, places


def genre_neurons(
    model: lms.LanguageModel, places: Neurons, pairs: list[tuple[str, str]], rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """The best neuron for every pair: as it is, with genres exchanged among documents, and planted there."""
    rows: dict[str, list[dict[str, float]]] = {TRAINED: [], PERMUTED: [], UNIT: []}
    for a, b in pairs:
        values, document, word, fit = (np.concatenate(both) for both in zip(places[a], places[b], strict=True))
        genre = np.arange(len(values)) < len(places[a][0])
        best = multiplex.best_unit(values, genre, document, word, fit)
        raw = multiplex.best_unit(values, genre, document, None, fit)
        known = {"python or prose": raw.documents} if {a, b} == {"python", "prose"} else {}
        rows[TRAINED].append(
            {"neuron": best.documents, "neuron, tokens": best.tokens, "neuron, all words": raw.documents, **known}
        )
        other = exchanged(genre, document, fit, rng)
        rows[PERMUTED].append({"neuron": multiplex.best_unit(values, other, document, word, fit).documents})
        unit = int(rng.integers(values.shape[1]))
        values[:, unit] += values[:, unit].std() * other
        rows[UNIT].append({"neuron": multiplex.best_unit(values, other, document, word, fit).documents})
    return {arm: mean(each) for arm, each in rows.items()}


def exchanged(genre: np.ndarray, document: np.ndarray, fit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool: labels dealt anew to whole documents, in each half."""
    out = np.zeros_like(genre)
    for half in (fit, ~fit):
        names, first = np.unique(document[half], return_index=True)
        chosen = names[rng.permutation(genre[half][first])]
        out |= half & np.isin(document, chosen)
    return out


def lexical(trained: pd.DataFrame) -> pd.DataFrame:
    """What the words themselves give: the same word in two genres, and other words in the same part."""
    rows = {
        "other next words of one genre, shared": "shared, inside a genre", "same present word": "same word",
        "same next word": "alike", "own present words, shared": "shared, present words",
        "common next words, shared": "shared, common", "own next words, shared": "shared",
        f"own words {BACK} before, shared": EARLIER,
    }  # fmt: skip
    return pd.DataFrame(
        [{"what": what, **dict(zip(trained.model, trained[column], strict=True))} for what, column in rows.items()]
    )


def figures(table: pd.DataFrame, pairs: pd.DataFrame) -> list[Figure]:
    """Where pairs lie between the planted worlds, and what moves do."""
    plane = plots.figure()
    plane.add_scatter(x=list(pairs.shared), y=list(pairs.agreement), mode="markers", name=TRAINED, text=list(pairs.pair),
                      marker={"color": plots.ROLES["treatment"]})  # fmt: skip
    for place, arm in enumerate(WORLDS):
        part = table[table.arm == arm]
        plane.add_scatter(x=list(part.shared), y=list(part.agreement), mode="markers", name=arm,
                          marker={"color": plots.ROLES["plant"], "symbol": 1 + place, "size": 9})  # fmt: skip
    plane.update_xaxes(title_text="share of the other genre's span, 0 chance, 1 own half")
    plane.update_yaxes(title_text="cosine of the same steps' effects")
    bars = plots.figure(barmode="group")
    for arm, colour in ((TRAINED, "treatment"), (MOVE, "control"), (MULTIPLEXED, "plant")):
        part = table[table.arm == arm]
        bars.add_bar(x=list(part.model), y=list(part.gated), name=arm, marker={"color": plots.ROLES[colour]})
    bars.add_hline(y=2, line={"color": plots.ROLES["rule"], "dash": "dot"})
    bars.update_yaxes(title_text="change of what steps do, over matched moves")
    return [
        Figure(
            "worlds", plane, "Every pair of genres of every model, and planted worlds: multiplexed ones lie at the lower right."
        ),
        Figure("gated", bars, "What moving tokens to the other genre changes, over moves as long. Dotted: the rule."),
    ]
