"""What a unit answers to, over the whole range of its activation: its senses, and text in which each occurs.

A *sense* is a concept (`planted.concepts`: words, pairs of words, character classes, generated segments, classes within a
genre) that holds a good share of a unit's excess activation, max(a - mean a, 0) summed over all tokens, and much more of it
than of the tokens. Senses are taken one after the other, each from the tokens that none before it has; a unit with two or
more is polysemantic. Nothing is decided by top contexts, which show the loudest sense alone.

Null: activations permuted over the tokens, and a direction that reads one concept. It misleads where a concept is not on the
list (a topic, a role in the sentence): such a unit has no sense, which is not to say that it has no meaning; and two concepts
may be one in the model's eyes (digits, and digits after a point), which is why the widest comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from superscope.lms.reading.planted import Concept

LEAST_SHARE, LEAST_LIFT, MOST = 0.1, 4.0, 4
STRATA = 4  # equal parts of a sense's range of activation from which contexts are drawn alike


@dataclass(frozen=True)
class Sense:
    """share: of the unit's excess activation; lift: that share over the concept's share of the tokens; where: numbers of the
    tokens of this sense and of none before it."""

    concept: str
    share: float
    lift: float
    where: np.ndarray


def senses(
    activations: np.ndarray, concepts: Sequence[Concept], place: np.ndarray, share: float = LEAST_SHARE,
    lift: float = LEAST_LIFT, most: int = MOST,
) -> list[list[Sense]]:  # fmt: skip
    """The senses of every unit, the one with the largest excess over chance first.

    activations: (token, unit). place: (token,) where in the split they were read. share, lift: what a sense has at least.
    """
    holds = sparse.csr_matrix(np.stack([one.where[place] for one in concepts]).astype(np.float32))
    excess = np.maximum(activations - activations.mean(axis=0, keepdims=True), 0).astype(np.float32)
    total = np.maximum(excess.sum(axis=0), 1e-12)
    rate = np.asarray(holds.mean(axis=1)).ravel()
    first = holds @ excess / total  # one product for the first sense of all units
    out: list[list[Sense]] = []
    for unit in range(excess.shape[1]):
        left, found, shares, rates = excess[:, unit].copy(), [], first[:, unit], rate
        free = np.ones(len(place), dtype=bool)
        for _ in range(most):
            good = (shares >= share) & (shares >= lift * rates) & (rates > 0)
            if not good.any():
                break
            best = int(np.argmax(np.where(good, shares - rates, -1)))
            tokens = holds.indices[holds.indptr[best] : holds.indptr[best + 1]]
            tokens = np.sort(tokens[free[tokens]])
            found.append(Sense(concepts[best].name, float(shares[best]), float(shares[best] / rates[best]), tokens))
            free[tokens], left[tokens] = False, 0
            shares = holds @ left / total[unit]
            rates = np.asarray(holds @ free.astype(np.float32)).ravel() / len(place)
        out.append(found)
    return out


def contexts(sense: Sense, activation: np.ndarray, count: int, rng: np.random.Generator, least: float = 0.0) -> np.ndarray:
    """Numbers of `count` tokens of a sense (fewer if there are fewer), drawn alike from `STRATA` equal parts of its range.

    activation: (token,) of the unit; tokens at or below `least` of the sense's largest are left out.
    """
    values = activation[sense.where]
    high = float(values.max(initial=0.0))
    if high <= 0:
        return np.empty(0, dtype=np.int64)
    kept = sense.where[values > least * high]
    strata = np.minimum((STRATA * activation[kept] / high).astype(int), STRATA - 1)
    parts = [rng.permutation(kept[strata == one]) for one in range(STRATA)]
    order = np.argsort(np.concatenate([np.arange(len(part)) for part in parts]), kind="stable")  # in turn, one of each
    return np.asarray(np.concatenate(parts)[order][:count])


def overlap(one: np.ndarray, other: np.ndarray, bins: int = 20) -> float:
    """Overlap coefficient of two samples of activations: the area that their histograms share, 0 to 1.

    After "Neurons speak in ranges" (Haider et al., arXiv 2502.06809): senses of low overlap could be told apart by how loud
    the unit is. Null: the labels of both samples permuted, which gives nearly 1.
    """
    if not len(one) or not len(other):
        return float("nan")
    edges = np.histogram_bin_edges(np.concatenate([one, other]), bins)
    first, second = (np.histogram(part, edges)[0] / len(part) for part in (one, other))
    return float(np.minimum(first, second).sum())
