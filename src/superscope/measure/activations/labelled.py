"""Labelled features with matched tokens: text rich in them, pairs of tokens with a feature and without, and a `Site` for each.

`marks`: five features whose every instance the corpus labels (base64, hexadecimal digits, weekdays, title case, the indentation
of Python). A match has the same current token where that can be, else the same class and genre elsewhere, so that the token
alone does not tell the two apart. `by_context`: three that the current token never tells. Documents are split once: on some all
is chosen, on the others all is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from superscope.lms.corpus import tokenizer, wordclasses
from superscope.lms.corpus.generated import DAYS, SEGMENTS
from superscope.lms.corpus.splits import Rows, Split, sample
from superscope.lms.model.language_model import LanguageModel
from superscope.measure.activations import carriers
from superscope.measure.activations.carriers import Site

FEATURES = ("base64", "hex", "weekday", "title case", "Python indentation")
FEWEST = 40  # pairs in each half of the documents


def marks(split: Split, place: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Feature -> (with it, may be its match, what a pair has in common), each (token,), at tokens `place` of the split."""
    tokens, segment, genre = (array[place].astype(np.int64) for array in (split.tokens, split.segment, split.genre))
    kinds = tokenizer.CHAR_CLASSES
    character = split.char_class[place]
    title, lower, space = (character == kinds.index(one) for one in ("title", "lower", "space"))
    form = wordclasses.forms(split.tokenizer)
    days = [form.names.index(day.casefold()) for day in DAYS if day.casefold() in form.names]
    day = np.isin(form.of[tokens], days)
    python = split.genre[place] == (split.genres.index("python") if "python" in split.genres else -1)
    opens = np.isin(split.char_class[np.maximum(place - 1, 0)], [kinds.index("newline")])
    two = {name: segment == SEGMENTS.index(name) for name in ("base64", "hex")}
    return {
        **{name: (inside, ~inside, tokens) for name, inside in two.items()},
        "weekday": (day, title & ~day & ~two["base64"] & ~two["hex"], genre),  # titles in generated text are mostly base64
        "title case": (title & ~day & (segment == 0), lower & (segment == 0), genre),
        "Python indentation": (python & space & opens, ~python & space, tokens),
    }


def text_of(split: Split, n_ctx: int, each: int, generic: int, rng: np.random.Generator) -> tuple[Rows, np.ndarray]:
    """`rows_with` of the five features."""
    return rows_with(split, n_ctx, marks(split, np.arange(len(split))), each, generic, rng)


def rows_with(
    split: Split, n_ctx: int, marks: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], each: int, generic: int,
    rng: np.random.Generator, first: np.ndarray | None = None,
) -> tuple[Rows, np.ndarray]:  # fmt: skip
    """Rows with every feature (`each` a half of the documents), rows rich in its matches and `generic` rows of any text,
    and (token,) bool: belongs to the documents on which all is chosen. Tokens: row after row without BOS.

    marks: as of `marks`, of all tokens of the split. first: (document,) bool, if not a random half.
    """
    rows = split.rows(n_ctx)
    inner = rows.place[:, 1:]
    first = rng.random(len(split.documents)) < 0.5 if first is None else first
    half = first[split.document[rows.place[:, n_ctx // 2]]]
    pools = []
    for on, off, key in marks.values():
        alike = (off * np.bincount(key[on], minlength=int(key.max()) + 1)[key])[inner].sum(axis=1)  # of the commonest kinds
        pools += [on[inner].any(axis=1), alike >= np.sort(alike)[-5 * each]]
    chosen: set[int] = set()
    for part in (half, ~half):
        for pool, count in [*((pool, each) for pool in pools), (np.ones(len(rows), dtype=bool), generic)]:
            chosen |= set(rng.permutation(np.flatnonzero(pool & part))[:count].tolist())
    some = np.array(sorted(chosen))
    made = Rows(rows.tokens[some], rows.place[some])
    return made, first[split.document[made.place[:, 1:].ravel()]]


def followed(rows: Rows, bos: int) -> tuple[np.ndarray, np.ndarray]:
    """(token,) bool: has a next token in its own row and document; (token,) that token. Tokens: row after row without BOS."""
    inner = rows.tokens[:, 1:]
    following = np.roll(inner, -1, axis=1)
    usable = (inner != bos) & (following != bos)
    usable[:, -1] = False  # what follows is in another row
    return usable.ravel(), following.ravel()


def enclosed(split: Split, opening: str, closing: str) -> np.ndarray:
    """(token,) bool: the token starts and ends between `opening` and `closing`, both on its line so far. One character each;
    where they are the same character (quotes) every second one closes. Of brackets inside brackets all tokens count."""
    pieces = split.tokenizer.pieces
    opens, closes = (np.array([piece.count(one) for piece in pieces])[split.tokens] for one in (opening, closing))
    breaks = np.array(["\n" in piece for piece in pieces])[split.tokens]
    start = np.concatenate([[True], (breaks[:-1]) | (split.document[1:] != split.document[:-1])])
    line = np.cumsum(start) - 1
    if opening == closing:
        so_far = np.cumsum(opens)
        before = so_far - opens
        depth = so_far - before[start][line]
        return np.asarray((opens == 0) & (depth % 2 == 1) & ~breaks)
    step = np.cumsum(opens - closes)
    depth = step - (step - opens + closes)[start][line]
    return np.asarray((opens == 0) & (closes == 0) & (depth > 0) & ~breaks)


def by_context(split: Split) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Three simple features that the current token never gives away, as the two of a pair are the same token: in base64 (its
    matches are in any other text), between round brackets and between double quotes (matches: elsewhere in the same genre).
    As of `marks`, of all tokens of the split."""
    token, genre = split.tokens.astype(np.int64), split.genre.astype(np.int64)
    same = token * len(split.genres) + genre
    secret, text = split.segment == SEGMENTS.index("base64"), split.segment == 0
    brackets, quotes = enclosed(split, "(", ")"), enclosed(split, '"', '"')
    return {
        "base64": (secret, ~secret, token),
        "brackets": (brackets & text, ~brackets & text, same),
        "quotes": (quotes & text, ~quotes & text, same),
    }


def dealt(split: Split, pattern: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """(document,) part of each document: those of a genre in random order, dealt by `pattern` again and again, so that every
    part gets of every genre."""
    part = np.zeros(len(split.documents), dtype=np.int64)
    order = rng.permutation(len(split.documents))
    order = order[np.argsort(split.documents["genre"].to_numpy()[order], kind="stable")]
    part[order] = np.resize(pattern, len(order))
    return part


def groups(genre: np.ndarray) -> np.ndarray:
    """(n,) 0 or 1: genres dealt into two groups of about as many rows, the largest first, each to the smaller group."""
    names, place, count = np.unique(genre, return_inverse=True, return_counts=True)
    side, held = np.zeros(len(names), dtype=np.int64), [0, 0]
    for i in np.argsort(-count, kind="stable"):
        side[i] = int(held[1] < held[0])
        held[side[i]] += count[i]
    return side[place]


@dataclass(frozen=True)
class Case:
    """A feature at a site: its first `fit` pairs choose, the others judge. weights: of the next tokens that tell it."""

    feature: str
    site: Site
    weights: np.ndarray
    fit: int

    @property
    def parts(self) -> tuple[Site, Site]:
        numbers = np.arange(int(self.site.on.sum()))
        return self.site.only(numbers[: self.fit]), self.site.only(numbers[self.fit :])


def cases(
    model: LanguageModel, split: Split, rows: Rows, first: np.ndarray, fit: int, test: int, rng: np.random.Generator
) -> Iterator[tuple[Case, np.ndarray, np.ndarray]]:  # fmt: skip
    """Every feature with enough pairs at the model, at most `fit` to choose on and `test` to measure on; its tokens with and
    without it."""
    place = rows.place[:, 1:].ravel()
    usable, following = followed(rows, model.tokenizer.bos)
    at = carriers.read(model, rows)
    for name, (on, off, key) in marks(split, place).items():
        on, off = on & usable, off & usable
        parts = [carriers.pairs(on & half, off & half, key, count, rng) for half, count in ((first, fit), (~first, test))]
        many = carriers.pairs(on & first, off & first, key, 2000, rng)
        if min(len(part[0]) for part in parts) < FEWEST:
            continue
        weights = carriers.telling(following[many[0]], following[many[1]], int(model.hooked.cfg.d_vocab))
        ons, offs = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
        yield Case(name, at(ons, offs), weights, len(parts[0][0])), ons, offs


def carriers_of(
    model: LanguageModel, each: int, generic: int, pairs: int, rng: np.random.Generator, basis: np.ndarray | None = None
) -> Iterator[int]:
    """How many neurons of the last layer (or of axes `basis` (axis, neuron)) carry each of the five features that the neurons
    carry at all, half a nat or more: ranked by attribution, with the norm's scale held (4.31)."""
    split = sample(model.tokenizer)
    rows, first = text_of(split, model.n_ctx, each, generic, rng)
    axes = np.eye(model.d_mlp, dtype=np.float32) if basis is None else basis.astype(np.float32)
    for case, *_ in cases(model, split, rows, first, pairs, pairs // 2, rng):
        fit, _ = case.parts
        if size(fit, case.weights) < 0.5:
            continue
        there = fit.values[~fit.on].mean(axis=0, keepdims=True)
        shares = carriers.signed_attribution(fit.values, there, fit.gradient(case.weights))(axes)
        yield carriers.settled(shares[np.argsort(-np.abs(shares), kind="stable")])


def size(site: Site, weights: np.ndarray) -> float:
    """Nats of the detection that all neurons carry, those replaced by their mean."""
    effect = site.detection(weights)
    return effect(site.values) - effect(np.repeat(site.values.mean(axis=0, keepdims=True), len(site.values), axis=0))
