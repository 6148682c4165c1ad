"""Classes of tokens: the same word in any case, and tokens that occur in the same company. Known from the text alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np

from superscope.lms.corpus.splits import Split
from superscope.lms.corpus.tokenizer import Tokenizer

CLASSES = 128
_CONTEXT = 600  # neighbours counted: the commonest tokens
_RANK = 40
_FEWEST = 20  # a token seen less often has no class of its own
_TOKENS = 1_500_000  # of the text that are counted


@dataclass(frozen=True)
class Forms:
    """`of` (vocabulary,) the number of each token's form; `names` the forms: the token without case and outer blanks."""

    of: np.ndarray
    names: list[str]


_FORMS: dict[str, Forms] = {}
_CLASSES: dict[int, tuple[ref[np.ndarray], np.ndarray]] = {}


def forms(tokenizer: Tokenizer) -> Forms:
    """The forms of a tokenizer's entries, in order of first occurrence."""
    if tokenizer.digest not in _FORMS:
        number: dict[str, int] = {}
        of = [number.setdefault(piece.strip().casefold() or piece, len(number)) for piece in tokenizer.pieces]
        _FORMS[tokenizer.digest] = Forms(np.array(of), list(number))
    return _FORMS[tokenizer.digest]


def word_classes(split: Split) -> np.ndarray:
    """(vocabulary,) class of every token, from what stands left and right of it; -1 for rare tokens.

    Spectral clustering of a bigram table (after Brown et al. 1992 and Schütze 1995): square roots of the conditional
    distributions of the left and right neighbour, their leading singular vectors, k-means from farthest points.
    Deterministic. The judge uses the classes as conditions ("a token like is, was, are").
    """
    key = id(split.tokens)
    kept = _CLASSES.get(key)
    if kept is None or kept[0]() is not split.tokens:  # another array may get the number of one that is gone
        kept = _CLASSES[key] = (ref(split.tokens), _cluster(split))
    return kept[1]


def _cluster(split: Split) -> np.ndarray:
    from scipy import sparse
    from scipy.linalg import eigh

    size = len(split.tokenizer)
    tokens = split.tokens[:_TOKENS].astype(np.int64)
    document = split.document[:_TOKENS]
    same = document[1:] == document[:-1]
    left, right = tokens[:-1][same], tokens[1:][same]
    count = np.bincount(tokens, minlength=size)
    common = np.argsort(-count, kind="stable")[:_CONTEXT]
    column = np.full(size, -1)
    column[common] = np.arange(len(common))

    def company(tokens: np.ndarray, others: np.ndarray) -> Any:
        there = column[others] >= 0
        return sparse.coo_matrix((np.ones(there.sum()), (tokens[there], column[others[there]])), (size, len(common)))

    table = sparse.hstack([company(left, right), company(right, left)]).tocsr()
    known = np.flatnonzero((count >= _FEWEST) & (np.asarray(table.sum(1)).ravel() > 0))
    out = np.full(size, -1, dtype=np.int64)
    if len(known) < 8:
        return out
    table = table[known]
    table = sparse.diags(1 / np.asarray(table.sum(1)).ravel()) @ table
    table.data = np.sqrt(table.data)
    # The leading right singular vectors from the dense Gram matrix: an iterative solver starts from random vectors.
    gram = (table.T @ table).toarray()
    rank = min(_RANK, len(gram))
    _, vectors = eigh(gram, subset_by_index=(len(gram) - rank, len(gram) - 1))
    points = table @ vectors
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    out[known] = _k_means(points, min(CLASSES, len(known) // 4))
    return out


def _k_means(points: np.ndarray, k: int, rounds: int = 25) -> np.ndarray:
    """(point,) cluster of unit vectors, centres first the points farthest from those already chosen."""
    centres = [0]
    nearest = points @ points[0]
    for _ in range(k - 1):
        centres.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, points @ points[centres[-1]])
    middle = points[centres]
    label = np.zeros(len(points), dtype=np.int64)
    for _ in range(rounds):
        label = np.argmax(points @ middle.T, axis=1)
        middle = np.stack([points[label == j].mean(0) if (label == j).any() else middle[j] for j in range(k)])
        middle /= np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-12)
    return label
