"""A judge without a language model: does one short rule about the text predict where a unit fires?

`judge` learns the best rule on the contexts of half of the documents and scores it on those of the other half, both ways. A
rule is a conjunction of up to three conditions on a token: what it is (case and spaces aside), what stands before it, the
distributional or character class of either, segment type, genre, and whether the token occurred before in its document. There
is no "or": a unit that answers to several unrelated things is explained by no rule, which is the point.

What it cannot see: concepts that no condition describes (a topic inside one genre, a syntactic role) get a low score although a
person may name them. Scores therefore compare units judged by the same vocabulary of rules, and bound interpretability from
below. A detector of one token gets a high score as well; `single_token_share` is reported beside it so that this is never
hidden (trained and untrained models differ little until such units are set apart: Bricken et al. 2023, Heap et al.
2501.17727).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from superscope.lms.corpus.generated import SEGMENTS
from superscope.lms.corpus.splits import Split
from superscope.lms.corpus.tokenizer import CHAR_CLASSES
from superscope.lms.corpus.wordclasses import forms, word_classes

FIRES = 0.5  # a token fires when its activation is above this share of the largest in the contexts
_ATOMS = 12  # conditions of each kind that are tried, the commonest at firing tokens first
_BEAM = 8
_WORTH = 0.02  # F1 that a further condition must add on the training half
KINDS = (
    "token",
    "previous token",
    "word class",
    "previous class",
    "characters",
    "previous characters",
    "segment",
    "genre",
    "repeat",
)


@dataclass(frozen=True)
class Contexts:
    """Windows of text with one unit's activations: `place` (context, window) into the split, -1 outside; `activations` alike,
    float.

    Contexts with firing tokens come with windows around random tokens, or else a rule about a whole text could not fail.
    """

    split: Split
    place: np.ndarray
    activations: np.ndarray
    row: int = 255  # tokens of a row that the model saw together, beside BOS

    @cached_property
    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """(token,) places and activations; a token in two windows counts once, BOS never."""
        there = (self.place >= 0) & ~np.isnan(self.activations)
        there &= self.split.tokens[self.place] != self.split.tokenizer.bos
        place, first = np.unique(self.place[there], return_index=True)
        return place, self.activations[there][first].astype(np.float64)


@dataclass(frozen=True)
class Judgement:
    """score: F1 of a rule on held-out documents, mean of both ways (0 without firings on both sides). chance: F1 of calling
    every token a firing. single_token_share: share of the firings on the most frequent token, case and spaces aside. rule:
    the rule learned on all contexts, in words."""

    score: float
    rule: str
    single_token_share: float
    chance: float
    firings: int
    documents: int


@dataclass(frozen=True)
class _Atom:
    kind: int
    value: int


def judge(contexts: Contexts) -> Judgement:
    """The best short rule for a unit and how well it predicts held-out firings. Deterministic."""
    place, activation = contexts.flat
    split = contexts.split
    high = activation.max(initial=0.0)
    fires = activation > FIRES * high if high > 0 else np.zeros(len(place), dtype=bool)
    document = split.document[place]
    firing_documents = np.unique(document[fires])
    if len(firing_documents) < 2:
        return Judgement(0.0, "too few documents with firings", 0.0, 0.0, int(fires.sum()), len(firing_documents))
    features = _features(split, place, contexts.row)
    half = _halves(document, firing_documents)
    scores = []
    for train in (0, 1):
        learn, test = half == train, half != train
        rule = _learn(features[:, learn], fires[learn], document[learn])
        scores.append(float(document_f1(_holds(rule, features[:, test])[None], fires[test], document[test])[0]))
    share = np.bincount(features[0, fires]).max() / fires.sum()
    return Judgement(
        float(np.mean(scores)),
        describe_rule(_learn(features, fires, document), split),
        float(share),
        float(document_f1(np.ones((1, len(fires)), dtype=bool), fires, document)[0]),
        int(fires.sum()),
        len(firing_documents),
    )


def document_f1(called: np.ndarray, fires: np.ndarray, document: np.ndarray) -> np.ndarray:
    """(rule,) harmonic mean of precision and recall, each a mean over documents; called: (rule, token).

    Recall: mean over documents with firings of the share of their firings called. Precision: mean over documents with calls
    of the share of their calls that fire. Documents count alike, so a concept that fills whole texts does not drown one that
    is a word here and there.
    """
    order = np.argsort(document, kind="stable")
    ordered = document[order]
    start = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    called, fires = called[:, order].astype(np.float32), fires[order].astype(np.float32)
    # Sums by document with reduceat: matrix products this small lose more to threads than they gain.
    calls = np.add.reduceat(called, start, axis=1)
    hits = np.add.reduceat(called * fires, start, axis=1)
    firings = np.add.reduceat(fires, start)
    recall = (hits / np.maximum(firings, 1)).sum(1) / max(int((firings > 0).sum()), 1)
    precision = (hits / np.maximum(calls, 1)).sum(1) / np.maximum((calls > 0).sum(1), 1)
    return np.asarray(2 * precision * recall / np.maximum(precision + recall, 1e-12))


# -------------------------------------------------------------------------------------------------------------- learning


def _features(split: Split, place: np.ndarray, row: int) -> np.ndarray:
    """(kind, token) int32 codes of `KINDS`; -1 where there is no token before."""
    tokens = split.tokens[place].astype(np.int64)
    before = np.maximum(place - 1, 0)
    inside = (place > 0) & (split.document[before] == split.document[place]) & (place % row > 0)
    previous = np.where(inside, split.tokens[before].astype(np.int64), -1)
    form, group, characters = forms(split.tokenizer).of, word_classes(split), split.tokenizer.char_class.astype(np.int64)

    # The label `previous` looks through the whole document; the model saw no further back than its row.
    seen = (split.previous[place] > 0) & (split.previous[place] <= place % row)

    def behind(table: np.ndarray) -> np.ndarray:
        return np.where(previous >= 0, table[previous], -1)

    return np.stack(
        [
            form[tokens], behind(form), group[tokens], behind(group), characters[tokens], behind(characters),
            split.segment[place], split.genre[place], seen,
        ]
    ).astype(np.int32)  # fmt: skip


def _halves(document: np.ndarray, firing: np.ndarray) -> np.ndarray:
    """(token,) 0 or 1 by document: documents with firings alternate, and so do the others."""
    others = np.setdiff1d(np.unique(document), firing)
    side = np.zeros(int(document.max()) + 1, dtype=np.int8)
    side[firing] = np.arange(len(firing)) % 2
    side[others] = np.arange(len(others)) % 2
    return side[document]


def _atoms(features: np.ndarray, fires: np.ndarray) -> list[_Atom]:
    """Conditions that hold at firing tokens, the commonest of each kind."""
    out = []
    for kind in range(len(features)):
        values, count = np.unique(features[kind, fires], return_counts=True)
        order = np.lexsort((values, -count))[:_ATOMS]
        # "text" is the absence of a segment, and a token that is new the absence of a repeat: no conditions of their own
        skip = {"segment": 0, "repeat": 0}.get(KINDS[kind], -1)
        # below two firings a value is an accident
        out += [
            _Atom(kind, int(values[k])) for k in order if values[k] not in (-1, skip) and (count[k] > 1 or len(values) == 1)
        ]
    return out


def _learn(features: np.ndarray, fires: np.ndarray, document: np.ndarray) -> tuple[_Atom, ...]:
    """The conjunction of at most three conditions with the best `document_f1`; a further one must add `_WORTH`. () if nothing
    fires.

    Conjunctions are first ranked by an F1 in which every document's firings weigh 1 together, which is one matrix product;
    only the best of that ranking are scored by document.
    """
    atoms = _atoms(features, fires)
    if not atoms:
        return ()
    holds = np.stack([features[a.kind] == a.value for a in atoms]).astype(np.float32)
    names, index = np.unique(document, return_inverse=True)
    firings = np.bincount(index, fires, len(names))
    weight = (1 / np.maximum(firings, max(float(np.median(firings[firings > 0])), 1.0)))[index].astype(np.float32)
    target = fires * weight
    tried = [(k,) for k in range(len(atoms))]
    score = document_f1(holds, fires, document)
    best, best_score = tried[int(np.argmax(score))], float(score.max())
    for _ in range(2):
        beam = [tried[k] for k in np.argsort(-score, kind="stable")[:_BEAM]]
        start = np.stack([holds[list(one)].prod(0) for one in beam])
        hit, called = np.einsum("bp,ap->ba", start * target, holds), np.einsum("bp,ap->ba", start * weight, holds)
        rough = 2 * hit / (called + target.sum())
        order = np.argsort(-rough, axis=None, kind="stable")[: 3 * _BEAM]
        tried = [tuple(sorted({*beam[k // len(atoms)], int(k % len(atoms))})) for k in order]
        tried = list(dict.fromkeys(tried))
        score = document_f1(np.stack([holds[list(one)].prod(0) for one in tried]), fires, document)
        if score.max() >= best_score + _WORTH:
            best, best_score = tried[int(np.argmax(score))], float(score.max())
    return tuple(atoms[k] for k in best)


def _holds(rule: tuple[_Atom, ...], features: np.ndarray) -> np.ndarray:
    out = np.full(features.shape[1], bool(rule))
    for atom in rule:
        out &= features[atom.kind] == atom.value
    return out


def describe_rule(rule: tuple[_Atom, ...], split: Split) -> str:
    """The rule in words."""
    if not rule:
        return "no rule"
    words = []
    for atom in sorted(rule, key=lambda a: (a.kind, a.value)):
        kind = KINDS[atom.kind]
        if kind in ("token", "previous token"):
            words.append(f"{kind} is {forms(split.tokenizer).names[atom.value]!r}")
        elif kind in ("word class", "previous class"):
            own = np.flatnonzero(word_classes(split) == atom.value)
            count = np.bincount(split.tokens, minlength=len(split.tokenizer))[own]
            pieces = [split.tokenizer.pieces[own[k]] for k in np.argsort(-count, kind="stable")[:5]]
            some = [piece.strip() or piece for piece in pieces]
            words.append(f"{kind} like {', '.join(repr(s) for s in some)}")
        elif kind in ("characters", "previous characters"):
            words.append(f"{kind}: {CHAR_CLASSES[atom.value]}")
        elif kind == "segment":
            words.append(f"in {SEGMENTS[atom.value]}")
        elif kind == "genre":
            words.append(f"in {split.genres[atom.value]} text")
        else:
            words.append("the token occurred before")
    return " and ".join(words)
