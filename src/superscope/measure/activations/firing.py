"""How sparsely ReLU neurons fire, and how few words they fire on: of a layer read in pieces, whatever model it comes from.

- ``density``: share of tokens on which a neuron is above 0. 0 is a dead neuron (of this text: a neuron that fires once in more
  tokens than were read looks dead).
- ``documents``: share of documents with at least one firing.
- ``sparseness``: (E r)^2 / E r^2, of Treves and Rolls (1991): the density when all firings are equal, less when they are not.
- ``words``: effective number of token types a neuron fires on, (sum h)^2 / sum h^2 of its mean activations h on every type that
  occurs often enough, over the same for its activations in random places. 1: it does not look at the token; 1 / types: one type
  alone. A rare type counts as much as a frequent one: by shares of summed activation a reader of rare words seemed to be about
  more words than chance, whose firings are on the few frequent ones. The null keeps how often and how strongly a neuron fires,
  since one that fires rarely sees few types by chance.

All read the whole range of activation. Misleads where one word is several tokens, or a neuron reads the words before.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import sparse

_BLOCK = 256  # neurons at once
OFTEN = 5  # tokens of a type, for its mean activation to count


def firing(
    values: Callable[[np.ndarray], np.ndarray], count: int, tokens: np.ndarray, documents: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """One row per neuron. values: (neurons,) indices below `count` -> (token, neuron) activations, which are not negative.

    tokens, documents: (token,) ids. Dead neurons have NaN in sparseness and words.
    """
    types, documents = (_members(np.unique(one, return_inverse=True)[1]) for one in (tokens, documents))
    often = np.asarray(types.sum(axis=1)).ravel()
    types = sparse.diags(1 / often[often >= OFTEN]) @ types[often >= OFTEN]  # (type, token): makes means
    parts = []
    for start in range(0, count, _BLOCK):
        which = np.arange(start, min(count, start + _BLOCK))
        r = values(which)
        if r.shape != (len(tokens), len(which)):
            raise ValueError(f"values of shape {r.shape}: expected ({len(tokens)}, {len(which)}), one row a token")
        if r.size and not r.min() >= 0:
            raise ValueError(f"values down to {r.min()}: firing is of activations that are never negative")
        total, square = r.sum(axis=0, dtype=np.float64), (r.astype(np.float64) ** 2).sum(axis=0)
        alive = total > 0
        safe = np.where(alive, total, np.nan)
        chance = effective(types @ rng.permutation(r, axis=0))
        parts.append(
            pd.DataFrame(
                {
                    "density": (r > 0).mean(axis=0), "documents": (documents @ (r > 0).astype(np.float32) > 0).mean(axis=0),
                    "sparseness": safe**2 / (len(r) * np.where(alive, square, np.nan)),
                    "words": np.where(alive, effective(types @ r), np.nan) / chance,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _members(of: np.ndarray) -> sparse.csr_matrix:
    """(group, token) 1 where a token is in a group."""
    n = len(of)
    return sparse.csr_matrix((np.ones(n, np.float32), (of, np.arange(n))), shape=(int(of.max()) + 1, n))


def effective(heights: np.ndarray) -> np.ndarray:
    """(unit,) (sum h)^2 / sum h^2 of each column of heights (type, unit); NaN where there is none."""
    heights = heights.astype(np.float64)
    square = (heights**2).sum(axis=0)
    return np.asarray(heights.sum(axis=0) ** 2 / np.where(square > 0, square, np.nan))


def constant_reader(inputs: np.ndarray) -> np.ndarray:
    """(d,) v with inputs (token, d) @ v as near to 1 as can be: adding -c v to what a neuron reads raises its threshold by c.

    Neurons of T5 have no biases; what all inputs share stands in for one.
    """
    return np.asarray(np.linalg.lstsq(inputs.astype(float), np.ones(len(inputs)), rcond=1e-6)[0])


def word_readers(
    inputs: np.ndarray, tokens: np.ndarray, count: int, rng: np.random.Generator, fewest: int = OFTEN
) -> tuple[np.ndarray, np.ndarray]:
    """(count, d) readers of one random word each, of spread 1 over inputs (token, d): Fisher's discriminant. And (count,) what
    they are at their words, above the mean of all tokens.

    Of token types that occur at least `fewest` times. With a threshold near that height they fire on few words by construction.
    """
    inputs = inputs.astype(float)
    _, place, often = np.unique(tokens, return_inverse=True, return_counts=True)
    known = np.flatnonzero(often >= fewest)
    if not len(known):
        raise ValueError(f"no token type occurs {fewest} times among {len(tokens)} tokens: read more text")
    means = (_members(place) @ inputs) / often[:, None] - inputs.mean(axis=0)
    covariance = np.cov(inputs.T) + 1e-6 * np.eye(inputs.shape[1])
    chosen = means[rng.choice(known, count)]
    readers = np.linalg.solve(covariance, chosen.T).T
    readers /= np.sqrt(np.einsum("nd,de,ne->n", readers, covariance, readers))[:, None]
    return readers + np.outer(-(readers @ inputs.mean(axis=0)), constant_reader(inputs)), np.einsum("nd,nd->n", readers, chosen)
