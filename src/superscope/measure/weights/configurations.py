"""Configurations of the toy models among many directions: most opposite pairs, and small polytopes, each with its null.

A toy's features fill their space with digons, triangles, tetrahedra and pentagons (Elhage et al. 2022); `geometry.geometry`
takes such a W apart. Among thousands of rows in a hundred dimensions everything leans on everything, so that does not work:
`antipodes` asks how opposite the most opposite pair is, and `polytopes` looks for sets of rows with the right cosines.

Null of both: `matched_rows`, a Gaussian with the same mean, covariance and norms. An isotropic one is too weak: rows with a
few loud directions have pairs near -1 by chance. With a search over millions of pairs only the most opposite pair of a whole
draw (the maximum statistic) says what chance can do. Misleads where rows fall into clusters: a Gaussian has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

_CHUNK = 1024
PENTAGON = (np.cos(2 * np.pi / 5), np.cos(4 * np.pi / 5))  # cosines of neighbours and of the others


def matched_rows(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, d) Gaussian rows with the mean and covariance of `rows` (n, d), each given the norm of the row in its place."""
    fresh = rows.mean(axis=0) + rng.standard_normal(rows.shape) @ _root(rows)
    return fresh * (np.linalg.norm(rows, axis=1) / np.linalg.norm(fresh, axis=1))[:, None]


def _root(rows: np.ndarray) -> np.ndarray:
    """(d, d) R with R^T R the covariance of rows."""
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def without_direction(rows: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Rows (n, d) about their mean, less what is linear in `score` (n,), such as a token's log frequency."""
    centred, score = rows - rows.mean(axis=0), score - score.mean()
    return np.asarray(centred - np.outer(score, score @ centred) / (score @ score))


def antipodes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) for every row of `rows` (n, d) the cosine with the row most opposite to it, and which one that is."""
    unit = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    least, where = np.empty(len(unit), dtype=np.float32), np.empty(len(unit), dtype=int)
    for start in range(0, len(unit), _CHUNK):
        cosines = unit[start : start + _CHUNK] @ unit.T
        at = cosines.argmin(axis=1)
        where[start : start + len(at)], least[start : start + len(at)] = at, cosines[np.arange(len(at)), at]
    return least.astype(float), where


def pairs_beyond(rows: np.ndarray, threshold: float) -> int:
    """How many disjoint pairs of rows are more opposite than `threshold`: each row's antipode, the most opposite first."""
    least, where = antipodes(rows)
    taken: set[int] = set()
    for i in np.argsort(least):
        if least[i] < threshold and not {int(i), int(where[i])} & taken:
            taken |= {int(i), int(where[i])}
    return len(taken) // 2


def plant_pairs(
    rows: np.ndarray, strengths: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """`rows` with pairs planted at random places, and the places (pair, 2): the second of each has cosine -strength with the
    first, its norm kept."""
    out, places = rows.copy(), rng.choice(len(rows), (len(strengths), 2), replace=False)
    first, norms = rows[places[:, 0]], np.linalg.norm(rows[places[:, 1]], axis=1)
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    aside = rows[places[:, 1]] - (rows[places[:, 1]] * first).sum(axis=1, keepdims=True) * first
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    s = np.asarray(strengths)[:, None]
    out[places[:, 1]] = norms[:, None] * (-s * first + np.sqrt(1 - s**2) * aside)
    return out, places


# ------------------------------------------------------------------------------------------------------- polytopes


def polytopes(rows: np.ndarray, tolerance: float = 0.1) -> dict[str, list[tuple[int, ...]]]:
    """Sets of rows (n, d) whose cosines are, each within `tolerance`, those of a polytope of the toy models.

    "digon": -1; "triangle": three times -1/2; "tetrahedron": six times -1/3; "pentagon": five rows with cosines .309 to their
    neighbours on the circle and -.809 to the others. Norms are ignored. Sets may share rows; see `members`.
    """
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    return {
        "digon": _cliques(cosines, -1.0, 2, tolerance), "triangle": _cliques(cosines, -1 / 2, 3, tolerance),
        "tetrahedron": _cliques(cosines, -1 / 3, 4, tolerance), "pentagon": list(_pentagons(cosines, tolerance)),
    }  # fmt: skip


def members(found: dict[str, list[tuple[int, ...]]]) -> set[int]:
    """The rows that are part of any polytope found."""
    return {row for sets in found.values() for one in sets for row in one}


def _cliques(cosines: np.ndarray, wanted: float, size: int, tolerance: float) -> list[tuple[int, ...]]:
    """Sets of `size` rows all of whose cosines are within `tolerance` of `wanted`."""
    near = np.triu(np.abs(cosines - wanted) <= tolerance, 1)
    sets = [tuple(int(i) for i in pair) for pair in np.argwhere(near)]
    for _ in range(size - 2):
        longer = []
        for one in sets:
            longer += [(*one, int(k)) for k in np.flatnonzero(near[list(one)].all(axis=0))]
        sets = longer
    return sets


def _pentagons(cosines: np.ndarray, tolerance: float) -> Iterator[tuple[int, ...]]:
    """Pentagons by their diagonals, which make a star: a cycle of five with cosines -.809, all other cosines .309."""
    star, side = (np.abs(cosines - wanted) <= tolerance for wanted in PENTAGON[::-1])
    for a in range(len(cosines)):
        around = [int(i) for i in np.flatnonzero(star[a]) if i > a]
        for b, e in combinations(around, 2):
            if not side[b, e]:
                continue
            after_b = np.flatnonzero(star[b] & side[a] & side[e])
            after_e = np.flatnonzero(star[e] & side[a] & side[b])
            for c in after_b[after_b > a]:
                for d in after_e[(after_e > a) & star[c, after_e]]:
                    yield a, b, int(c), int(d), e


def plant_polytopes(
    rows: np.ndarray, ideals: Sequence[np.ndarray], count: int, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """`rows` (n, d) with `count` copies of each ideal arrangement (rank, size), and the places (count, size) of each: all at
    different places, each in a random subspace, the norms kept and `noise` (expected norm, of unit directions) added."""
    out, d = rows.copy(), rows.shape[1]
    free, places = rng.permutation(len(rows)), []
    for ideal in ideals:
        rank, size = ideal.shape
        where, free = free[: count * size].reshape(count, size), free[count * size :]
        for one in where:
            frame = np.linalg.qr(rng.standard_normal((d, rank)))[0]
            directions = (frame @ ideal).T + noise / d**0.5 * rng.standard_normal((size, d))
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            out[one] = directions * np.linalg.norm(rows[one], axis=1)[:, None]
        places.append(where)
    return out, places
