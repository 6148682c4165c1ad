"""Units whose concepts are known: synthetic activations on real text, to test and to calibrate judges and metrics of
polysemanticity.

A planted unit fires on `m` concepts that have (almost) no token in common, each in equally many documents, with misses, false
firings and noise. m = 1 is monosemantic; 0 fires on random tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from superscope.lms.corpus.generated import SEGMENTS
from superscope.lms.corpus.splits import Split
from superscope.lms.corpus.tokenizer import CHAR_CLASSES
from superscope.lms.corpus.wordclasses import forms
from superscope.lms.reading.judge import Contexts

BEFORE, AFTER = 40, 10
_COMMONEST = 0.08  # a concept on more of the tokens is no concept
_OVERLAP = 0.05
MISSES = 0.1  # share of a concept's tokens on which the unit is silent, unless said otherwise
FALSE = 0.2  # false firings per document with a true one, on random tokens
RANDOM_RATE = 0.005  # firings per token of a unit without any concept


@dataclass(frozen=True)
class Concept:
    """A property of tokens: `where` (token,) bool."""

    name: str
    where: np.ndarray


@dataclass(frozen=True)
class PlantedUnit:
    """`activations` (token,) float32 of a unit with the concepts named."""

    concepts: tuple[str, ...]
    activations: np.ndarray

    @property
    def m(self) -> int:
        return len(self.concepts)


def concepts(split: Split, fewest_documents: int = 20, most: int = 400) -> list[Concept]:
    """Concepts of many kinds that occur in enough documents and on few enough tokens: words, pairs, character classes,
    segments, genre with character class."""
    form = forms(split.tokenizer)
    here = form.of[split.tokens]
    out: list[Concept] = []

    def add(name: str, where: np.ndarray) -> None:
        if 0 < where.mean() <= _COMMONEST and len(np.unique(split.document[where])) >= fewest_documents:
            out.append(Concept(name, where))

    classes = split.char_class
    for k, name in enumerate(CHAR_CLASSES):
        if name == "special":  # BOS opens every document
            continue
        add(f"characters: {name}", classes == k)
        for g, genre in enumerate(split.genres):
            add(f"{name} in {genre}", (classes == k) & (split.genre == g))
    for k, name in enumerate(SEGMENTS[1:], 1):
        add(f"in {name}", split.segment == k)
    count = np.bincount(here)
    for k in np.argsort(-count, kind="stable")[: most // 2]:
        if any(c.isalpha() for c in form.names[k]):
            add(f"token {form.names[k]!r}", here == k)
    same = np.concatenate([[False], split.document[1:] == split.document[:-1]])
    pair = np.concatenate([[-1], here[:-1].astype(np.int64) * len(form.names) + here[1:]])
    pair[~same] = -1
    found, count = np.unique(pair, return_counts=True)
    for k in np.argsort(-count, kind="stable")[: most // 2]:
        if found[k] >= 0:
            a, b = divmod(int(found[k]), len(form.names))
            if any(c.isalpha() for c in form.names[a] + form.names[b]):
                add(f"{form.names[b]!r} after {form.names[a]!r}", pair == found[k])
    return out


def unit(
    split: Split, chosen: Sequence[Concept], seed: int, noise: float = 0.03, misses: float = MISSES, false: float = FALSE
) -> PlantedUnit:
    """Activations of a unit with these concepts: 0.71 to 1 on them, thinned so that each fires in equally many documents.

    noise: standard deviation of the background. misses: share of a concept's tokens that are silent. false: false
    firings (0.3 to 1) per document with a true one.
    """
    rng = np.random.default_rng([seed, 31])
    values = np.abs(rng.normal(0, noise, len(split)))
    having = [np.unique(split.document[c.where]) for c in chosen]
    fewest = min((len(h) for h in having), default=0)
    count = int(false * fewest * len(chosen)) if chosen else int(RANDOM_RATE * len(split))
    values[rng.choice(len(split), count, replace=False)] = rng.uniform(0.3, 1.0, count)
    for concept, documents in zip(chosen, having, strict=True):
        keep = np.zeros(len(split.documents), dtype=bool)
        keep[rng.choice(documents, fewest, replace=False)] = True
        # A concept that is thinned out would be a wrong rule where it is silenced, so the commonest ones are left out by
        # `draw`.
        on = concept.where & keep[split.document] & (rng.random(len(split)) > misses)
        # Strength belongs to the document: were it drawn per token, the densest concept would own all the top documents.
        strength = rng.uniform(0.75, 1.0, len(split.documents))[split.document[on]]
        values[on] = strength * rng.uniform(0.95, 1.0, int(on.sum()))
    return PlantedUnit(tuple(c.name for c in chosen), values.astype(np.float32))


def draw(
    split: Split, m: int, count: int, seed: int, known: Sequence[Concept] | None = None, **noise: float
) -> list[PlantedUnit]:
    """`count` planted units of `m` concepts each, concepts of a unit pairwise (almost) disjoint and of like spread.

    noise: options of `unit`.
    """
    rng = np.random.default_rng([seed, m, 17])
    pool = list(known if known is not None else concepts(split))
    if len(pool) < max(m, 1):
        raise ValueError(
            f"the text has {len(pool)} concepts that are neither rare nor everywhere; {m} were asked for: use more text"
        )
    spread = np.array([len(np.unique(split.document[c.where])) for c in pool])
    out = []
    for number in range(count):
        chosen: list[int] = []
        for widen in (1.5, 3.0, 10.0, np.inf):
            for k in rng.permutation(len(pool)):
                if len(chosen) == m:
                    break
                alike = not chosen or max(spread[k], spread[chosen[0]]) <= widen * min(spread[k], spread[chosen[0]])
                if alike and k not in chosen and all(_apart(pool[k], pool[j]) for j in chosen):
                    chosen.append(int(k))
        out.append(unit(split, [pool[k] for k in chosen], seed * 1000 + number, **noise))
    return out


STRENGTHS = (1.0, 0.7, 0.55, 0.45, 0.4)
RARER = 10.0  # a concept of an uneven unit occurs in up to so many times fewer, or more, documents than the first


def sets_apart(
    pool: Sequence[Concept], document: np.ndarray, m: int, count: int, rng: np.random.Generator
) -> list[list[Concept]]:
    """`count` sets of `m` concepts of which no two meet, in numbers of documents up to `RARER` apart.

    document: (token,) of the tokens that the concepts are told of. Raises ValueError when the pool has no such set.
    """
    spread = [len(np.unique(document[one.where])) for one in pool]
    out: list[list[Concept]] = []
    for _ in range(20 * count):
        chosen: list[int] = []
        for k in rng.permutation(len(pool)):
            near = not chosen or 1 / RARER <= spread[k] / spread[chosen[0]] <= RARER
            if len(chosen) < m and near and all(_apart(pool[k], pool[j]) for j in chosen):
                chosen.append(int(k))
        if len(chosen) == m:
            out.append([pool[k] for k in chosen])
        if len(out) == count:
            return out
    raise ValueError(f"{len(pool)} concepts hold no {m} that (almost) never meet: use more text")


def uneven(
    document: np.ndarray, chosen: Sequence[Concept], rng: np.random.Generator, strengths: Sequence[float] = STRENGTHS,
    noise: float = 0.03, misses: float = MISSES, false: float = 0.001,
) -> np.ndarray:  # fmt: skip
    """(token,) float32 of a unit that fires on every concept as strongly as `strengths` say and as often as it occurs.

    The strength varies by document (.5 to 1) and token; there are misses, false firings and noise. Unlike `unit`, no concept is
    thinned out to make all alike. document: (token,).
    """
    values = noise * np.abs(rng.standard_normal(len(document)))
    for strength, concept in zip(strengths, chosen, strict=False):
        on = concept.where & (rng.random(len(document)) > misses)
        loud = rng.uniform(0.5, 1.0, int(document.max()) + 1)[document[on]] * rng.uniform(0.9, 1.0, int(on.sum()))
        values[on] = np.maximum(values[on], strength * loud)
    wrong = rng.random(len(document)) < false
    values[wrong] = np.maximum(values[wrong], rng.uniform(0.3, 1.0, int(wrong.sum())))
    return values.astype(np.float32)


def directions(
    values: np.ndarray, sets: Sequence[Sequence[Concept]], fit: np.ndarray, penalty: float = 0.003,
) -> np.ndarray:  # fmt: skip
    """(d, set) directions in real activations that read known concepts, with `STRENGTHS`.

    values: (token, d). fit: (token,) bool, the tokens they are learned on. Each concept has a ridge direction of its
    own, scaled so that its tokens lie one unit above the mean, and a set is their weighted sum: real noise, known concepts.
    """
    named = {one.name: one for chosen in sets for one in chosen}
    spread = values[fit].std(axis=0) + 1e-6
    x = (values[fit] - values[fit].mean(axis=0)) / spread
    there = np.stack([one.where[fit] for one in named.values()], axis=1).astype(np.float32)
    gram = x.T @ x + penalty * len(x) * np.eye(x.shape[1], dtype=x.dtype)
    reads = np.linalg.solve(gram, x.T @ (there - there.mean(axis=0)))
    height = ((x @ reads) * there).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    reads = reads / np.maximum(height, 1e-6) / spread[:, None]
    number = {name: k for k, name in enumerate(named)}
    return np.stack(
        [
            sum(s * reads[:, number[one.name]] for s, one in zip(STRENGTHS, chosen, strict=False))  # type: ignore[misc]
            for chosen in sets
        ],
        axis=1,
    )


def _apart(a: Concept, b: Concept) -> bool:
    return bool((a.where & b.where).sum() <= _OVERLAP * min(a.where.sum(), b.where.sum()))


def contexts(split: Split, activations: np.ndarray, top: int = 20, background: int = 40, seed: int = 0) -> Contexts:
    """What `neuroscope` would keep of activations (token,): the top documents, and windows around random tokens."""
    starts = split.documents["start"].to_numpy()
    ends = starts + split.documents["length"].to_numpy() - 1
    high = np.maximum.reduceat(activations, starts)
    best = np.argsort(-high, kind="stable")[:top]
    peaks = [starts[d] + int(np.argmax(activations[starts[d] : ends[d] + 1])) for d in best]
    peak = np.concatenate([peaks, np.random.default_rng([seed, 5]).integers(0, len(split), background)]).astype(np.int64)
    place = peak[:, None] + np.arange(-BEFORE, AFTER + 1)
    document = split.document[peak]
    place[(place < starts[document][:, None]) | (place > ends[document][:, None])] = -1
    values = np.where(place >= 0, activations[place], np.nan)
    return Contexts(split, place, values)


def auc(higher: Sequence[float] | np.ndarray, lower: Sequence[float] | np.ndarray) -> float:
    """Probability that one of the first is larger than one of the second, ties half."""
    a, b = np.asarray(higher)[:, None], np.asarray(lower)[None]
    return float(((a > b) + 0.5 * (a == b)).mean())
