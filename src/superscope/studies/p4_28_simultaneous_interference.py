"""4.28: does a language model deal sensibly with two features that share a direction, when both are on?

A feature is "this word stands two or three tokens back". The last layer finds it in the stream at the last position, where
earlier attention left a code of few dimensions for thousands of words. Pairs of words that share a direction (|cosine| above
the largest of as many random directions), that occur together in text, that matter (putting the stream back as it was takes
part of each word's effect on the prediction) and that mean different things (in the other trained seeds their effects on the
prediction hardly overlap) are put into the same contexts: one, the other, both, neither. Beside them pairs as frequent and as
strong that do not share.

Asked: is the state the sum of the two; does a probe that never saw both read one as well when the other is there, before the
last layer and behind it; does the prediction follow the log-linear mixture p_A p_B / p_0; how much of the overlap in the
stream becomes overlap in the prediction, in the whole model, and when the stream alone holds the words, so that the last layer
cannot look back at them; and is the part of one word's write that lies on the other's direction interference, that is, does
the loss on real text fall when it is removed (Olah, Turner and Conerly 2025)? Nulls: hand-made last layers that read a word
by its own direction, writes turned onto the other's direction, pairs apart, the start.

Prior: ReLU output models break when both are on (Elhage et al. 2022); that is how the post asks it. Criterion of repair: error
with both at most 1.2 of that with one, where the sum read along a word's own direction gives at least 2. The toy answer: 4.16,
one tied layer reads pairs with R^2 .6, a network trained on pairs with .99.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from superscope import lms, plots
from superscope.evidence.claim import GATE_FAILED
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.wording import answer, number, span
from superscope.lab import Lab
from superscope.measure.activations import collisions
from superscope.measure.activations.collisions import turned

PROBLEM = "4.28"
TITLE = "Simultaneous interference in a language model"
QUESTION = "When two features that share a direction are both on in a language model, does it still act sensibly, and how?"
ASSUMPTIONS = [
    "A word a few tokens back is one feature wherever in the two places it stands; what it does is its mean over contexts.",
    "Words mean different things for the prediction when their effects overlap little in the other trained seeds.",
    "What counts of the prediction are changes of logits under the mean prediction; of the loss, the next token alone.",
]
DISANALOGIES = [
    "A toy's features are in the bottleneck or nowhere; a transformer's later layers can look back at the word itself.",
    "A toy reads off values; here a word is there or not, and no target says how strongly it should be read.",
    "The probe tells two words apart and knows which two; the model's own readers must tell thousands from each other.",
    "Spliced words make unlikely text. Real text has both words too rarely for more than the ledger.",
]
TIPS = ["A linear layer answers both with the sum of its answers: ask also whether it answers one of them with the other's",
        "Match pairs that do not share in frequency and in strength"]  # fmt: skip

TRAINED, ALONE, START, CODES = "trained", "stream alone", "start", "codes in eight dimensions"
STRANGER, SUMMED = "both of another pair", "sum and noise"
OWN, TIED, BLIND = "read by its own direction", "hand: tied readers", "hand: readers blind to the other"
TURNED, ASIDE, WINNER, AS_APART = "turned onto the other", "turned half aside", "stronger one alone", "departs as pairs apart"
STRAY, ADDED, PARTLY = "a stranger's direction", "stray write added", "stronger one alone in a quarter"
ARMS = (TRAINED, ALONE, STRANGER, SUMMED, OWN, TIED, BLIND, TURNED, ASIDE, WINNER, PARTLY, AS_APART, STRAY, ADDED)
NOTHING = {
    **dict.fromkeys(("off the sum", "after", "mixture", "ledger", "repaired", "each"), np.nan),
    "before": 0.0,
    "leak": 1.0,
}
RATIO = "at most 1.2 times as large with the other word there"


@dataclass(frozen=True)
class Config:
    """Which models, how many words, contexts and pairs."""

    model: str = "gelu-2l-mini"  # bundled model of two layers or more; its twins of other seeds are the replicates
    words: int = 100  # most frequent words, as candidates
    contexts: int = 32  # documents that they are spliced into
    length: int = 10  # tokens of a context
    pairs: int = 30  # sharing pairs, and as many that do not share
    texts: int = 70  # windows of real text a pair and kind
    draws: int = 20  # of random directions, and of contexts for intervals

    def __post_init__(self) -> None:
        if self.contexts % 4 or self.contexts < 8 or self.length < 6:
            raise ValueError(f"contexts={self.contexts}, length={self.length}: needs a multiple of 4 from 8 on, and 6 tokens")


PRESETS = {
    "quick": Config(),
    "standard": Config(length=16, words=160, contexts=64, pairs=80, draws=100),
    "full": Config(length=16, words=400, contexts=192, pairs=300, texts=300, draws=500),
}
PAIRS = ("word", "beside", "cosine", "predicted", "own direction", "before", "after")
BACK, CLOSE, DISTINCT, MATTERS, RELIABLE, OFTEN = (2, 3), 0.1, 0.3, 0.1, 0.4, 3

GATE = [
    Check("Eight pairs of words or more share a direction, matter, differ in meaning and occur together", "pairs", ">= 8",
          TRAINED, unit="models"),
    Check("Read by its own direction a word of theirs is misread at least twice as much with the other there", "before", ">= 2",
          OWN, unit="models"),
    Check("Readers made blind to the other word by hand are seen to be", "leak", "<= 0.25", BLIND, unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "shared", "One pair of words in twenty or more shares a direction: |cosine| above the largest of random directions",
        "shared", ">= 0.05", of=TRAINED, null=START, plant=CODES, unit="models",
        why="Null: the same words before training. Plant: random codes in 8 dimensions, strengths .55 to 1, noise of contexts.",
        note="Rows of the covariance of the codes would come as near by chance: sharing is by few dimensions, not by pairs.",
    ),
    Expect(
        "sum", "The stream holds the sum: along the shared direction both together are off the sum by at most a fifth of one",
        "off the sum", "<= 0.2", of=TRAINED, null=STRANGER, plant=SUMMED, unit="models",
        why="Null: the state of another pair. Plant: the sum, and what contexts make of both, drawn anew. Median over pairs.",
    ),
    Expect(
        "before", f"A probe of the stream that never saw both has an error {RATIO}",
        "before", "<= 1.2", of=TRAINED, null=TURNED, plant=ASIDE, unit="models",
        why="Null: the other word's write turned onto the word's own direction. Plant: turned half aside, at cosine .7.",
        note="Passing means a redundant code: the direction is shared, the words are still apart. Median over the readings for "
        "which the word's own direction would give 2 or more.",
    ),
    Expect(
        "after", f"A probe behind the last layer that never saw both has an error {RATIO}",
        "after", "<= 1.2", of=TRAINED, null=TIED, plant=BLIND, unit="models",
        why="Null and plant: the same states read by hand, tied or blind to the other, with the model's own noise.",
        note="The same readings as above.",
    ),
    Expect(
        "mixture", "The prediction with both departs from the log-linear mixture at most 1.2 times as far as for pairs apart",
        "mixture", "<= 1.2", of=TRAINED, null=WINNER, plant=AS_APART, unit="models", power=(WINNER, PARTLY),
        why="Null: both are answered like the stronger one alone. Plant: the departure of matched pairs apart, in the same "
        "contexts.",
        note="KL divergence from the mixture over that from the prediction with neither, each summed over pairs; over the same "
        "for pairs apart.",
    ),
    Expect(
        "leak", "Less than half of the overlap in the stream becomes overlap in the prediction with both on",
        "leak", "<= 0.5", of=TRAINED, null=TURNED, plant=BLIND, unit="models",
        why="Null: the running model with the other word's write turned onto the word's. Plant: hand-made blind readers.",
        note="Slope over pairs, sharing or not, at constant overlap of the predictions of other seeds.",
    ),
    Expect(
        "alone", "When the stream alone holds the words, half of the overlap or more becomes overlap in the prediction",
        "leak", ">= 0.5", of=ALONE, null=BLIND, plant=TURNED, unit="models",
        why="As above, with null and plant exchanged.",
        note="The last layer then has no word to look back at.",
    ),
    Expect(
        "ledger", "Cross-terms are interference: removing them gains a tenth or more of what the words' writes are worth",
        "ledger", "<= -0.1", of=TRAINED, null=STRAY, plant=ADDED, unit="models",
        why="Null: as large a part removed along a stranger's direction. Plant: a stray write along the other's direction, as "
        "strong as the word's own, added by hand in pairs apart, then removed.",
        note="Change of the loss on real text in which the other word does not stand nearby, over what it costs to remove the "
        "whole write.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models(config.model, examine, config)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    trained, own = table[table.arm == TRAINED], table[table.arm == OWN]
    rows = [pd.DataFrame(list(row.each)).assign(model=row.model) for row in trained.itertuples() if np.iterable(row.each)]
    pairs = pd.concat(rows) if rows else pd.DataFrame(columns=[*PAIRS, "model"])
    verdicts = {one.id: one.verdict for one in claims}
    return Findings(
        passed,
        claims,
        figures(table, pairs),
        {"arms": table.drop(columns="each"), "pairs": pairs},
        f"Readings for which a word's own direction gives 2 or more, and a probe behind the last layer 1.2 or less: "
        f"{span(trained.repaired.min(), trained.repaired.max())} of all such.",
        in_short(verdicts, float(own.before.mean()), float(trained.after.mean())),
    )


def in_short(verdicts: dict[str, str], own: float, after: float) -> str:
    """The sentence the page opens with."""
    two = {verdicts["after"], verdicts["mixture"]}
    if GATE_FAILED in two:
        return "No answer: too few pairs of words share a direction, or planted collisions are not seen."
    follow = {"supported": "follow", "refuted": "depart from"}.get(verdicts["mixture"], "may follow")
    return answer(
        "{lead}: by its own direction a word is misread {own} times as much beside one that shares it, behind the last layer "
        "{after} times; predictions {follow} their mixture.",
        lead="Yes" if two == {"supported"} else "No" if "refuted" in two else "Undecided", own=own, after=number(after, 3),
        follow=follow,
    )  # fmt: skip


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    twins = model.twins()
    if model.n_layers < 2 or not twins:
        raise lms.ModelError(f"{model.name}: this study needs two layers or more, and other trained seeds of the same model")
    rng = lab.rng(f"4.28 {model.name}")
    text = lms.corpus.sample(model.tokenizer)
    words = collisions.frequent_words(text, config.words)
    at = collisions.splices(model, text, words, config.contexts, config.length, BACK, lab.seed)
    effects = collisions.scan(at, words)
    cosine, limit = collisions.cosines(effects.state), collisions.chance(model.d_model, len(words), config.draws, rng)
    others = [collisions.scan(replace(at, model=twin), words, whole=False).output for twin in twins]
    meaning = np.mean([collisions.cosines(one) for one in others], axis=0)
    sharing, apart = chosen(text, effects, cosine, meaning, limit, config, rng)
    start = collisions.scan(replace(at, model=model.control("init")), words, whole=False)
    yield {"arm": START, "shared": collisions.beyond(collisions.cosines(start.state), limit)}
    yield {"arm": CODES, "shared": collisions.beyond(collisions.cosines(collisions.crowded(effects.state, 8, rng)), limit)}
    arms: dict[str, dict[str, Any]] = {arm: {} for arm in ARMS}
    arms[TRAINED] = {"shared": collisions.beyond(cosine, limit), "pairs": len(sharing), "limit": limit,
                     "relevant": float(np.median(effects.relevant()))}  # fmt: skip
    if len(sharing) < 2:  # nothing to measure: numbers that fail the gate
        yield from ({"arm": arm, **NOTHING, **columns} for arm, columns in arms.items())
        return
    both = [collisions.put_together(at, effects, group) for group in (sharing, apart)]
    parts = (
        probed(at, effects, both[0], cosine, rng), sums(both[0], rng), mixtures(model, *both),
        leaks(at, effects, both[0] + both[1], cosine, meaning, config, rng),
        ledger(model, text, effects, sharing, apart, config, rng),
    )  # fmt: skip
    for part in parts:
        for arm, columns in part.items():
            arms[arm].update(columns)
    for arm, columns in arms.items():
        yield {"arm": arm, **columns}


def chosen(
    text: lms.corpus.Split, effects: collisions.Effects, cosine: np.ndarray, meaning: np.ndarray, limit: float,
    config: Config, rng: np.random.Generator,
) -> list[list[tuple[int, int]]]:  # fmt: skip
    """Sharing pairs drawn at random, and for each the pair apart that is nearest in frequency and strength."""
    words, tokens = effects.words, text.tokens.astype(np.int64)
    good = (effects.reliable() >= RELIABLE) & (effects.relevant() >= MATTERS)
    fit = np.triu(good[:, None] & good, 1) & (collisions.together(tokens, words, max(BACK)) >= OFTEN)
    shared, free = (np.argwhere(fit & (np.abs(meaning) <= DISTINCT) & where) for where in (np.abs(cosine) > limit,
                                                                                        np.abs(cosine) <= CLOSE))  # fmt: skip
    size = [np.log(np.linalg.norm(one.mean(axis=(0, 2)), axis=-1)) for one in (effects.state, effects.output)]
    traits = np.stack([np.log(np.bincount(tokens)[words]), *size], axis=1)
    drawn = rng.permutation(shared)[: config.pairs]
    beside = collisions.nearest_match(traits / traits.std(axis=0), drawn, free)
    return [[(int(a), int(b)) for a, b in group] for group in (drawn[: len(beside)], beside)]


def probed(
    at: collisions.Splices, effects: collisions.Effects, pairs: list[collisions.Pair], cosine: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Errors of readings with both on over those with one, before the last layer and behind it."""
    inner, outer = collisions.within(effects.state), collisions.within(effects.output)
    quiet = np.linalg.eigh(inner[0] + inner[1])[1][:, : len(inner[0]) // 4]  # where contexts write least
    rows: list[dict[Any, Any]] = []
    for one in (way for each in pairs for way in (each, each.swapped)):
        (own, other, both), out = one.state, one.output
        a, b, aside = own.mean(axis=0), other.mean(axis=0), quiet @ rng.standard_normal(quiet.shape[1])
        tied, blind = (collisions.answered(one.state, out, tied) for tied in (True, False))
        reads = {
            ("before", OWN): collisions.read(own, other, both),
            ("before", TRAINED): collisions.read(own, other, both, inner),
            ("before", TURNED): collisions.read(own, turned(other, b, a), turned(both, b, a), inner),
            ("before", ASIDE): collisions.read(own, turned(other, b, a, aside), turned(both, b, a, aside), inner),
            ("after", OWN): collisions.read(*out),
            ("after", TRAINED): collisions.read(*out, outer),
            ("after", TIED): collisions.read(*tied, outer),
            ("after", BLIND): collisions.read(*blind, outer),
        }
        rows.append({"pair": one.words, "predicted": reads["before", OWN].predicted})
        rows[-1] |= {key: (one.ratio, one.r2, one.unwarned) for key, one in reads.items()}
    hard = [row for row in rows if row["predicted"] >= 2]
    found: dict[str, dict[str, Any]] = {}
    for where, arm in reads:
        middle = np.median([row[where, arm] for row in hard], axis=0) if hard else (0.0, np.nan, np.nan)
        names = (where, f"R2 {where}", f"{where}, unwarned")
        found.setdefault(arm, {}).update(zip(names, map(float, middle), strict=True))
    name = [at.model.tokenizer.decode([int(one)]) for one in effects.words]
    found[TRAINED] |= {
        "readings": len(hard),
        "repaired": float(np.mean([row["after", TRAINED][0] <= 1.2 for row in hard])) if hard else np.nan,
        "each": [
            dict(zip(PAIRS, (name[i], name[j], float(cosine[i, j]), row["predicted"], row["before", OWN][0],
                             row["before", TRAINED][0], row["after", TRAINED][0]), strict=True))
            for row in rows for i, j in [row["pair"]]
        ],
    }  # fmt: skip
    return found


def sums(pairs: list[collisions.Pair], rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """How far the state with both on is off the sum."""
    found: dict[str, list[float]] = {TRAINED: [], STRANGER: [], SUMMED: []}
    for one, next_one in zip(pairs, pairs[1:] + pairs[:1], strict=True):
        own, other, both = one.state
        found[TRAINED].append(collisions.additivity(own, other, both))
        found[STRANGER].append(collisions.additivity(own, other, next_one.state[2]))
        rest = both - own - other
        noise = (rest - rest.mean(axis=0))[rng.integers(len(rest), size=len(rest))]
        found[SUMMED].append(collisions.additivity(own, other, own + other + noise))
    return {arm: {"off the sum": float(np.median(values))} for arm, values in found.items()}


def mixtures(
    model: lms.LanguageModel, sharing: list[collisions.Pair], apart: list[collisions.Pair]
) -> dict[str, dict[str, float]]:
    """Departure of the prediction from the log-linear mixture, over what both words do to it; over that of pairs apart."""
    found: dict[str, list[tuple[float, float]]] = {TRAINED: [], WINNER: [], PARTLY: [], AS_APART: []}
    beside = []
    for k, (one, other) in enumerate(zip(sharing, apart, strict=True)):
        (n, a, b, both), (n2, a2, b2, both2) = (
            [collisions.log_probs(model, end) for end in way.finals] for way in (one, other)
        )
        stronger = max((a, b), key=lambda x: float((np.exp(x) * (x - n)).sum()))
        moved = a + b - n + (both2 - (a2 + b2 - n2))
        answers = {TRAINED: both, WINNER: stronger, PARTLY: both if k % 4 else stronger,
                   AS_APART: moved - np.logaddexp.reduce(moved, axis=1, keepdims=True)}  # fmt: skip
        for arm, said in answers.items():
            found[arm].append(collisions.mixture_error(n, a, b, said))
        beside.append(collisions.mixture_error(n2, a2, b2, both2))
    share = {arm: float(np.divide(*np.sum(rows, axis=0))) for arm, rows in {**found, "": beside}.items()}
    return {arm: {"mixture": share[arm] / share[""], "departure": share[arm], "departure, apart": share[""]} for arm in found}


def leaks(
    at: collisions.Splices, effects: collisions.Effects, pairs: list[collisions.Pair], cosine: np.ndarray,
    meaning: np.ndarray, config: Config, rng: np.random.Generator,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Slope of the overlap in the prediction on that in the stream, with an interval from the contexts."""
    ways = [way for each in pairs for way in (each, each.swapped)]
    x = np.array([cosine[each.words] for each in pairs for _ in (0, 1)])
    beside = np.array([meaning[each.words] for each in pairs for _ in (0, 1)])
    sources = {
        TRAINED: [one.output for one in ways], ALONE: [one.alone for one in ways],
        TURNED: collisions.in_turned(at, effects, ways),
        BLIND: [collisions.answered(one.state, one.output, False) for one in ways],
    }  # fmt: skip
    out = {}
    for arm, source in sources.items():
        over = np.sign(x) if arm == TURNED else x

        def fitted(some: np.ndarray, source: Any = source, over: np.ndarray = over) -> float:
            y = np.array([collisions.overlap(a[some], b[some], both[some] - a[some]) for a, b, both in source])
            return collisions.slope(y[:, 0], y[:, 1], over, beside)

        n = len(at.tokens)
        drawn = [fitted(collisions.resampled(n, rng)) for _ in range(config.draws)]
        low, high = np.quantile(drawn, [0.025, 0.975])
        out[arm] = {"leak": fitted(np.arange(n)), "leak low": low, "leak high": high}
    return out


def ledger(
    model: lms.LanguageModel, text: lms.corpus.Split, effects: collisions.Effects, sharing: list[tuple[int, int]],
    apart: list[tuple[int, int]], config: Config, rng: np.random.Generator,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Loss on real text that removing the part of a word's write along another's direction costs, over the word's worth."""
    d = effects.state.mean(axis=(0, 2))
    d = d - d.mean(axis=0)
    size = np.linalg.norm(d, axis=1)
    unit = d / size[:, None]

    def cost(pairs: list[tuple[int, int]], both: bool = False) -> tuple[np.ndarray, np.ndarray]:
        found, pushes = [], []
        for a, b in [way for one in pairs for way in (one, one[::-1])]:
            c = int(rng.choice(np.delete(np.arange(len(d)), [a, b])))
            word, other = (int(effects.words[one]) for one in (b, a))
            found.append(collisions.occurrences(text, word, BACK, config.length, config.texts, rng, other, both))
            cross = (d[b] @ unit[a]) * unit[a]
            stray = np.sign(d[b] @ unit[c]) * np.linalg.norm(cross) * unit[c]
            pushes.append(np.stack([-d[b], -cross, -stray] if pairs is sharing else [-d[b], size[b] * unit[a]]))
        return collisions.removals(model, found, pushes, config.draws, rng)

    (mean, drawn), (near, _), (planted, _) = cost(sharing), cost(sharing, both=True), cost(apart)
    low, high = np.quantile(drawn[:, 1] / drawn[:, 0], [0.025, 0.975])
    return {
        TRAINED: {"ledger": mean[1] / mean[0], "ledger low": low, "ledger high": high, "worth in nats": mean[0],
                  "ledger, both": near[1] / near[0]},
        STRAY: {"ledger": mean[2] / mean[0]},
        ADDED: {"ledger": -planted[1] / planted[0]},
    }  # fmt: skip


def figures(table: pd.DataFrame, pairs: pd.DataFrame) -> list[Figure]:
    """Errors against what is predicted, and the overlap in the prediction."""
    errors = plots.figure()
    for column, role, name in (("own direction", "control", "own direction"), ("before", "plant", "probe of the stream"),
                               ("after", "treatment", "probe behind the last layer")):  # fmt: skip
        errors.add_scatter(x=pairs.predicted, y=pairs[column].clip(lower=0.1), mode="markers", name=name, text=pairs.word,
                           marker={"color": plots.ROLES[role], "size": 5})  # fmt: skip
    errors.add_hline(y=1.2, line={"color": plots.ROLES["rule"], "dash": "dot"})
    errors.update_xaxes(title_text="error with both over error with one, sum read by the own direction", type="log")
    errors.update_yaxes(title_text="the same, measured", type="log")
    slopes = plots.figure()
    for arm, role in ((TRAINED, "treatment"), (ALONE, "theory"), (TURNED, "control"), (BLIND, "plant")):
        part = table[table.arm == arm]
        if "leak low" in part:
            bars = {"array": part["leak high"] - part.leak, "arrayminus": part.leak - part["leak low"]}
            slopes.add_scatter(x=part.model, y=part.leak, error_y=bars, mode="markers", name=arm,
                               marker={"color": plots.ROLES[role], "size": 9})  # fmt: skip
    slopes.add_hline(y=0.5, line={"color": plots.ROLES["rule"], "dash": "dot"})
    slopes.update_yaxes(title_text="share that reaches the prediction")
    return [
        Figure("errors", errors, "Every reading of a word beside one that shares its direction; dotted: repaired."),
        Figure("leak", slopes, "How much of an overlap in the stream reaches the prediction; intervals from contexts."),
    ]
