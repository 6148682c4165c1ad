"""Do features that occur together point apart, or the same way? Pairs by co-occurrence, and the cosines of each kind.

Two rival predictions. *Locally almost orthogonal* (Elhage et al. 2022, correlated features): interference costs most where two
features are on at once, so those that co-occur keep to different directions and those that never meet may overlap: |cos| falls.
*Constructive* (Prieto et al., arXiv 2603.09972): what occurs together is stored together, as in principal components: cos rises
and is positive.

`pairs` sorts pairs into those that co-occur (joint count at least `lift` times what independence gives) and those that never do
(at most a tenth of it), both where enough is expected to tell. They differ in frequency and in what they are for, and features
that act alike have cosines for that reason: `adjusted` compares them at equal frequencies and equal similarity of next tokens.
Similarity of action is taken from the text (what follows when the feature is on), not from the directions: read off an
unembedding it would be the cosine again.

Null: directions dealt anew among units of like frequency (`dealt`), which keeps cosines, frequencies and co-occurrence and
breaks which goes with which. Plants: `apart`, `together`. It misleads where directions are learned from co-occurrence (an
autoencoder's decoder: two latents that share the work on one direction co-occur and point alike), so ask more than one kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXPECTED = 10.0  # joint firings that chance must give before their absence says anything
NEVER = 0.1  # of what is expected


@dataclass(frozen=True)
class Pairs:
    """together, never (pair, 2): numbers of units. phi (unit, unit): correlation of being on."""

    together: np.ndarray
    never: np.ndarray
    phi: np.ndarray


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """(n, d) rows of length 1; zeros stay."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def pairs(on: np.ndarray, lift: float = 3.0) -> Pairs:
    """on (token, unit) bool. Units that are never or always on are in no pair."""
    values = on.astype(np.float32)
    joint = (values.T @ values).astype(float)
    rate = values.mean(axis=0, dtype=float)
    expected = np.outer(rate, rate) * len(on)
    spread = np.sqrt(np.outer(rate * (1 - rate), rate * (1 - rate)))
    phi = np.divide(joint / len(on) - np.outer(rate, rate), spread, out=np.zeros_like(joint), where=spread > 0)
    upper = np.triu(np.ones_like(joint, dtype=bool), 1) & (spread > 0)
    enough = upper & (expected >= EXPECTED)
    return Pairs(np.argwhere(enough & (joint >= lift * expected)), np.argwhere(enough & (joint <= NEVER * expected)), phi)


def follows(on: np.ndarray, following: np.ndarray, document: np.ndarray, vocabulary: int) -> np.ndarray:
    """(unit, unit) cosine of what follows two units: next-token frequencies when on, over those of the text, less their mean.

    One unit's is counted on every other document, the other's on the rest: counted on one text, two units that are on at one
    token have its next token in common, and the similarity is co-occurrence again (correlation .86 over the neurons of
    gelu-1l-mini, .94 with next tokens shuffled). following (token,): the next token's id, -1 where there is none.
    """
    from scipy import sparse

    half = np.unique(document, return_inverse=True)[1] % 2
    surprise = []
    for part in (0, 1):
        rows = np.flatnonzero((following >= 0) & (half == part))
        said = sparse.csr_matrix(
            (np.ones(len(rows), dtype=np.float32), (np.arange(len(rows)), following[rows])), (len(rows), vocabulary)
        )
        counts = np.asarray((said.T @ on[rows].astype(np.float32)).T)
        base = np.asarray(said.sum(axis=0)).ravel() / len(rows)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        surprise.append(unit_rows((share - base) / np.sqrt(np.maximum(base, 1 / len(rows)))))
    across = surprise[0] @ surprise[1].T
    return (across + across.T) / 2


def covariates(on: np.ndarray, alike: np.ndarray, which: np.ndarray) -> np.ndarray:
    """(pair, 3): sum and difference of log frequencies, and similarity of action (unit, unit)."""
    log = np.log(np.maximum(on.mean(axis=0), 1e-9))
    one, other = which.T
    return np.stack([log[one] + log[other], np.abs(log[one] - log[other]), alike[one, other]], axis=1)


def adjusted(one: np.ndarray, other: np.ndarray, of_one: np.ndarray, of_other: np.ndarray) -> tuple[float, float, float]:
    """(mean of `one` (n,) less that of `other` (m,) at equal covariates (n, k), (m, k); the mean of `other` at those of `one`;
    share of `one` that has others around it).

    Least squares with the covariates' squares, on the pairs inside the range (1st to 99th percentile) that both groups have of
    every covariate: beyond it there is nothing to compare with. NaN where fewer than 20 of either are left.
    """
    if not len(one) or not len(other):
        return float("nan"), float("nan"), 0.0
    low, high = (
        pick(np.percentile(of_one, q, axis=0), np.percentile(of_other, q, axis=0))
        for pick, q in ((np.maximum, 1), (np.minimum, 99))
    )
    kept = [((of >= low) & (of <= high)).all(axis=1) for of in (of_one, of_other)]
    if min(int(part.sum()) for part in kept) < 20:
        return float("nan"), float("nan"), float(kept[0].mean())
    scaled = np.concatenate([of_one[kept[0]], of_other[kept[1]]])
    scaled = (scaled - scaled.mean(axis=0)) / np.maximum(scaled.std(axis=0), 1e-12)
    group = np.repeat([1.0, 0.0], [int(part.sum()) for part in kept])
    design = np.column_stack([group, np.ones(len(group)), scaled, scaled**2])
    values = np.concatenate([one[kept[0]], other[kept[1]]])
    fitted = np.linalg.lstsq(design, values, rcond=None)[0]
    return float(fitted[0]), float((design[group == 1] @ fitted).mean() - fitted[0]), float(kept[0].mean())


def cosines(rows: np.ndarray) -> np.ndarray:
    """(unit, unit) of rows (unit, d), about their mean: a part that all share says nothing of any pair."""
    unit = unit_rows(rows - rows.mean(axis=0))
    return np.asarray(unit @ unit.T)


def halves_cosines(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(unit, unit) cosines of directions estimated twice, on two texts (unit, d each), and (unit,) their agreement.

    Errors of one estimate go with errors of the other directions of the same text (of two regressors that occur together they
    are opposite), so each direction is held against the others of the OTHER text, over the lengths that both texts agree on.
    A unit whose two estimates do not agree at all has NaN.
    """
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    cross = one @ other.T
    own = np.diag(cross)
    length = np.sqrt(np.where(own > 0, own, np.nan))
    agreement = own / np.maximum(np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1), 1e-12)
    return (cross + cross.T) / 2 / np.outer(length, length), agreement


def coherence(cosine: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """(set,) mean |cosine| (unit, unit) among the members of each set (set, m)."""
    m = sets.shape[1]
    return np.array(
        [(np.abs(cosine[np.ix_(one, one)]).sum() - np.abs(np.diag(cosine)[one]).sum()) / (m * (m - 1)) for one in sets]
    )


def neighbours(on: np.ndarray, document: np.ndarray, m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(set, m) the units most typical of each document, and as many drawn of like frequency.

    Typical: largest share of the document's tokens over the share of all tokens, of units on at least five times there.
    document (token,). Documents with fewer than m such units are left out.
    """
    rate = np.maximum(on.mean(axis=0), 1e-9)
    ranks = np.argsort(np.argsort(rate))
    order = np.argsort(rate)
    own, drawn = [], []
    for name in np.unique(document):
        here = on[document == name]
        count = here.sum(axis=0)
        typical = np.where(count >= 5, count / len(here) / rate, 0)
        chosen = np.argsort(-typical, kind="stable")[:m]
        if (typical[chosen] <= 1).any():
            continue
        own.append(chosen)
        near = np.clip(ranks[chosen] + rng.integers(-25, 26, m), 0, len(rate) - 1)
        while len(set(near.tolist())) < m:
            near = np.clip(ranks[chosen] + rng.integers(-25, 26, m), 0, len(rate) - 1)
        drawn.append(order[near])
    return np.array(own).reshape(-1, m), np.array(drawn).reshape(-1, m)


def dealt(rate: np.ndarray, rng: np.random.Generator, strata: int = 8) -> np.ndarray:
    """(unit,) an order of the units that exchanges only those of like frequency: the null's deal of directions."""
    order = np.argsort(rate, kind="stable")
    out = np.empty(len(rate), dtype=int)
    for part in np.array_split(order, strata):
        out[part] = rng.permutation(part)
    return out


def apart(phi: np.ndarray, d: int, rng: np.random.Generator, noise: float = 0.05, steps: int = 60) -> np.ndarray:
    """(unit, d) a world of the first kind: rows that co-occur are turned apart, rows that do not may overlap; unequal lengths.

    Gradient descent on the sum of phi+ cos^2, then noise.
    """
    rows = unit_rows(rng.normal(size=(len(phi), d)))
    weight = np.maximum(phi, 0) * (1 - np.eye(len(phi)))
    weight = weight / max(float(np.linalg.eigvalsh((weight + weight.T) / 2)[-1]), 1e-12)
    for _ in range(steps):
        rows = unit_rows(rows - 0.5 * (weight * (rows @ rows.T)) @ rows)
    rows = unit_rows(rows + noise * rng.normal(size=rows.shape) / np.sqrt(d))
    return rows * rng.uniform(0.5, 1.5, (len(rows), 1))


def together(phi: np.ndarray, d: int, rng: np.random.Generator, noise: float = 0.05, pull: float = 1.0) -> np.ndarray:
    """(unit, d) a world of the second kind: every row leans towards those that it occurs with; unequal lengths."""
    rows = unit_rows(rng.normal(size=(len(phi), d)))
    weight = np.maximum(phi, 0) * (1 - np.eye(len(phi)))
    lean = weight @ rows
    rows = unit_rows(rows + pull * unit_rows(lean) * (weight.max(axis=1, keepdims=True) > 0.02))
    rows = unit_rows(rows + noise * rng.normal(size=rows.shape) / np.sqrt(d))
    return rows * rng.uniform(0.5, 1.5, (len(rows), 1))
