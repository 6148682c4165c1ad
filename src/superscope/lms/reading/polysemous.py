"""Neurons with two senses that are neither the same words nor the same meaning.

Found on one half of the documents and met again on the other. Two senses (`senses.senses`) are distinct if they share less
than half of what two random halves of one sense share of the current token's forms, and of the next token
(`disambiguation.likeness`). What a sense means for the prediction is what follows it in text and does not follow the other
(`disambiguation.heralded`).

Null: a sense halved at random, which is not distinct. Truth: neurons that read two concepts (`concept_pairs`). Misleads as
senses do: a neuron whose concepts are not on the list has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pandas as pd
from torch import Tensor

from superscope.lms import corpus
from superscope.lms.corpus import wordclasses
from superscope.lms.corpus.splits import Rows, Split
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model.language_model import LanguageModel
from superscope.lms.reading import planted, senses
from superscope.lms.reading.planted import Concept
from superscope.measure.activations.disambiguation import heralded, likeness

SAME = 0.5  # of what two halves of one sense share
FEWEST = 20  # tokens of a sense on which the neuron fires, in either half


class Layer(Protocol):
    """Neurons at n tokens: values (n, neuron), place (n,) where in the split each token stands."""

    @property
    def model(self) -> LanguageModel: ...
    @property
    def values(self) -> Tensor: ...
    @property
    def place(self) -> np.ndarray: ...


S = TypeVar("S", bound=Layer)


@dataclass(frozen=True)
class Case:
    """A neuron with two senses: their names, the numbers of their tokens on which it fires, in the half to choose on and in
    the half to measure on, and the tokens that follow each."""

    neuron: int
    names: tuple[str, str]
    chosen: tuple[np.ndarray, np.ndarray]
    tried: tuple[np.ndarray, np.ndarray]
    tokens: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Half(Generic[S]):
    """One half of the documents: what the model holds there, the concepts, and the next token of every token (-1 for none)."""

    site: S
    concepts: dict[str, np.ndarray]
    form: np.ndarray
    following: np.ndarray

    def fires(self, where: np.ndarray, neuron: int) -> np.ndarray:
        """Those of the tokens numbered in `where` on which the neuron is above its mean."""
        values = self.site.values[:, neuron].numpy()
        return where[values[where] > values.mean()]


def texts(
    tokenizer: Tokenizer, n_ctx: int, limits: tuple[int, int], seed: int
) -> tuple[list[Split], list[Rows], list[list[Concept]]]:
    """The shipped text in two halves by document: splits, at most so many rows of each, and the concepts of each."""
    text = corpus.sample(tokenizer)
    first = np.random.default_rng([seed, 11]).random(len(text.documents)) < 0.5
    splits = [text.only(first), text.only(~first)]
    rows = [split.rows(n_ctx, limit=limit, seed=seed) for split, limit in zip(splits, limits, strict=True)]
    return splits, rows, [planted.concepts(split) for split in splits]


def half(site: S, split: Split, known: Sequence[Concept]) -> Half[S]:
    """What a model holds at rows of one half of the documents."""
    following = np.append(split.tokens[1:].astype(np.int64), -1)
    following[np.append(split.document[1:] != split.document[:-1], True)] = -1
    concepts = {one.name: one.where[site.place] for one in known}
    form = wordclasses.forms(site.model.tokenizer).of[split.tokens[site.place]]
    return Half(site, concepts, form, following[site.place])


def choose(
    halves: Sequence[Half[Any]], neurons: Sequence[int], rng: np.random.Generator, share: float = senses.LEAST_SHARE
) -> tuple[list[Case], pd.DataFrame]:
    """The neurons with two distinct senses; and of every neuron with two senses the pair that differs most: how alike it is in
    words and in meaning, and how alike the halves of one sense are."""
    here, there = halves
    known = [Concept(name, where) for name, where in here.concepts.items()]
    found = senses.senses(here.site.values[:, list(neurons)].numpy(), known, np.arange(len(here.site.place)), share)
    cases, rows = [], []
    for neuron, each in zip(neurons, found, strict=True):
        if len(each) < 2:
            continue
        tried = [(alike(here, each[i].where, each[j].where, rng), (i, j)) for j in range(len(each)) for i in range(j)]
        (words, meaning), pair = min(tried, key=lambda one: max(one[0]))
        parts = np.array_split(rng.permutation(each[0].where), 2)
        names = (each[pair[0]].concept, each[pair[1]].concept)
        rows.append({"neuron": neuron, "sense": names[0], "other sense": names[1], "same words": words,
                     "same meaning": meaning, "halved": max(alike(here, parts[0], parts[1], rng))})  # fmt: skip
        if max(words, meaning) >= SAME:
            continue
        again = [there.fires(where, neuron) for where in retold(there, [one.concept for one in each], pair)]
        chosen = [here.fires(each[k].where, neuron) for k in pair]
        if min(map(len, [*chosen, *again])) >= FEWEST:
            tokens = follow(here, [each[k].where for k in pair])
            cases.append(Case(neuron, names, (chosen[0], chosen[1]), (again[0], again[1]), tokens))
    columns = ["neuron", "sense", "other sense", "same words", "same meaning", "halved"]
    return cases, pd.DataFrame(rows, columns=columns)


def distinct(seen: pd.DataFrame) -> float:
    """The share of neurons with two senses of which two differ in words and in meaning."""
    return float((seen[["same words", "same meaning"]].max(axis=1) < SAME).mean()) if len(seen) else float("nan")


def alike(here: Half[Any], one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """How much two senses share of the words they stand on, and of what follows them (2 where nothing does)."""
    words = likeness(here.form[one], here.form[other], rng)
    after = [here.following[where][here.following[where] >= 0] for where in (one, other)]
    meaning = likeness(after[0], after[1], rng) if min(map(len, after)) > 1 else 2.0
    return words, meaning


def retold(there: Half[Any], names: Sequence[str], pair: tuple[int, int]) -> list[np.ndarray]:
    """The tokens of two senses in the other half: the concept's, without those of senses before it."""
    free, out = np.ones(len(there.site.place), dtype=bool), {}
    for k, name in enumerate(names[: max(pair) + 1]):
        where = there.concepts.get(name, np.zeros_like(free))
        out[k] = np.flatnonzero(where & free)
        free &= ~where
    return [out[k] for k in pair]


def follow(here: Half[Any], where: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that follow either sense and not the other."""
    one, other, every = (counted(here, some) for some in (where[0], where[1], np.arange(len(here.following))))
    return heralded(one, other, every), heralded(other, one, every)


def counted(here: Half[Any], where: np.ndarray) -> np.ndarray:
    """(vocabulary,) how often each token follows the tokens numbered in `where`."""
    after = here.following[where]
    return np.bincount(after[after >= 0], minlength=int(here.site.model.hooked.cfg.d_vocab))


def drawn_evenly(here: Half[Any], where: np.ndarray, neuron: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Tokens of a sense, drawn alike from four parts of the range in which the neuron fires."""
    values = here.site.values[:, neuron].numpy()
    return senses.contexts(senses.Sense("", 1.0, 1.0, where), values - values.mean(), count, rng)


def concept_pairs(halves: Sequence[Half[Any]], count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Pairs of concepts to plant: none twice, often enough in either half, (almost) never together, different in words and in
    meaning, five tokens or more follow one and not the other; the first, which is read louder, is up to three times rarer."""
    here = halves[0]
    often = [name for name in here.concepts if name in halves[1].concepts and here.concepts[name].sum() >= 10 * FEWEST]
    out: list[tuple[str, str]] = []
    order = rng.permutation(len(often))
    for i in order:
        for j in order:
            pair = often[i], often[j]
            if len(out) == count or any(name in used for used in out for name in pair) or i == j:
                continue
            one, other = (np.flatnonzero(here.concepts[name]) for name in pair)
            apart = len(np.intersect1d(one, other)) <= 0.05 * min(len(one), len(other))
            even = 0.3 * len(other) <= len(one) <= len(other)
            if apart and even and max(alike(here, one, other, rng)) < SAME and min(map(len, follow(here, [one, other]))) >= 5:
                out.append(pair)
    return out
