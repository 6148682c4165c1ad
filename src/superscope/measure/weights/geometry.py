"""Which polytopes do the features form? Connected components of the Gram graph, compared with ideal arrangements.

Two represented features are joined if |cos(W_i, W_j)| > tolerance; a component is compared, up to rotation, reflection
and relabelling, with every ideal of its size. Orthogonal parts fall apart into components, as in the tegum products of
TMS: a perfect octahedron is three digons, a triangular bipyramid a triangle and a digon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from superscope.measure.weights._arrays import CORE, unwrap
from superscope.measure.weights.dimensionality import dimensionality

# Dimensionalities that TMS saw features stick to: dedicated, tetrahedron, triangle, digon, pentagon, square antiprism.
TMS_LEVELS = (1.0, 3 / 4, 2 / 3, 1 / 2, 2 / 5, 3 / 8)


def _polygon(k: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(k) / k
    return np.stack([np.cos(angle), np.sin(angle)])


def _simplex(k: int) -> np.ndarray:
    """k unit vectors in k-1 dimensions, all cosines -1/(k-1)."""
    centred = np.eye(k) - 1 / k
    basis = np.linalg.svd(centred)[0][:, : k - 1]
    return basis.T @ centred / np.sqrt(1 - 1 / k)


def _antiprism() -> np.ndarray:
    """Square antiprism that is a tight frame, so D = 3/8 each: squares at heights +-1/sqrt 3, 45 deg apart.

    Both common alternatives are flatter: Thomson's 8 charges (height 0.560, D = 0.374), uniform edges (0.511, 0.366).
    """
    angle = np.pi / 4 * np.array([0, 2, 4, 6, 1, 3, 5, 7])
    height = np.repeat([1, -1], 4) / np.sqrt(3)
    radius = np.sqrt(2 / 3)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height])


def _cube() -> np.ndarray:
    return np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8) / np.sqrt(3)


def _octahedron() -> np.ndarray:
    return np.concatenate([np.eye(3), -np.eye(3)], axis=1)


# The one table of ideals: name -> directions (rank, size). Two families, k-gons and simplices, are added by size below.
IDEALS = {
    "single": np.ones((1, 1)),
    "digon": _simplex(2),
    "triangle": _polygon(3),
    "tetrahedron": _simplex(4),
    "pentagon": _polygon(5),
    "octahedron": _octahedron(),
    "square antiprism": _antiprism(),
    "cube": _cube(),
}


def ideals_of_size(size: int) -> dict[str, np.ndarray]:
    """All ideal arrangements of `size` directions, name -> (rank, size): the table plus "<k>-gon" and "simplex-<k>"."""
    found = {name: directions for name, directions in IDEALS.items() if directions.shape[1] == size}
    if size == 4 or size >= 6:
        found[f"{size}-gon"] = _polygon(size)
    if size >= 5:
        found[f"simplex-{size}"] = _simplex(size)
    return found


def ideal(name: str) -> np.ndarray:
    """Directions (rank, size) of an ideal arrangement by name, for example "pentagon", "6-gon", "simplex-5"."""
    if name in IDEALS:
        return IDEALS[name].copy()
    size = "".join(filter(str.isdigit, name))
    directions = ideals_of_size(int(size)).get(name) if size else None
    if directions is None:
        raise ValueError(f"ideal {name!r}: expected one of {list(IDEALS)}, '<k>-gon' (k=4 or >=6) or 'simplex-<k>' (k>=5)")
    return directions


def ideal_levels() -> dict[str, Fraction]:
    """Dimensionality of a feature in each arrangement that TMS finds, rank/size: 1, 3/4, 2/3, 1/2, 2/5, 3/8."""
    names = ("single", "tetrahedron", "triangle", "digon", "pentagon", "square antiprism")
    return {name: Fraction(*IDEALS[name].shape) for name in names}


@dataclass(frozen=True)
class Component:
    """One connected component of the Gram graph.

    kind: name of the ideal, or "other"; nearest: the closest ideal of that size, whatever the distance; size: directions, of
    which near-duplicates are one; rank (eigenvalues of the cosine matrix above 5% of the largest); dimensionality: mean D_i
    of its features in the whole W; distance: RMS difference between sorted off-diagonal cosines and the nearest ideal's (0
    for a single); features: all of them, duplicates too.
    """

    kind: str
    nearest: str
    size: int
    rank: int
    dimensionality: float
    distance: float
    features: tuple[int, ...]


def _signature(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted off-diagonal entries and sorted eigenvalues: unchanged by rotation and relabelling."""
    upper = np.triu_indices(len(cosines), 1)
    return np.sort(cosines[upper]), np.sort(np.linalg.eigvalsh(cosines))


def _rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2))) if a.size else 0.0


def classify(cosines: np.ndarray, accept: float = 0.1) -> tuple[str, str, float]:
    """(kind, nearest ideal, distance) of one component from its cosine matrix (size, size).

    Accepted if cosines and eigenvalues (per unit of size: their RMS difference over the largest ideal eigenvalue) both
    lie within `accept` of the ideal. Both are needed: random directions can have the right cosines in the wrong
    places. Equal signatures do not strictly prove equal shapes; for the ideals of the table no confusion is known.
    """
    entries, spectrum = _signature(cosines)
    scored = []
    for name, directions in ideals_of_size(len(cosines)).items():
        ideal_entries, ideal_spectrum = _signature(directions.T @ directions)
        gap = _rms(spectrum, ideal_spectrum) / ideal_spectrum[-1]
        scored.append((_rms(entries, ideal_entries), name, gap))
    distance, nearest, gap = min(scored, key=lambda s: max(s[0], s[2]))
    return (nearest if max(distance, gap) <= accept else "other"), nearest, distance


def geometry(
    W, threshold: float = 0.5, tolerance: float = 0.1, accept: float = 0.1, duplicate: float = 0.9999
) -> list[Component]:
    """Components of one model, W (hidden, feature), largest first.

    threshold: features with ||W_i|| at most this are left out. tolerance: |cos| above which two features are joined; too
    small and training noise merges orthogonal parts, too large and it cuts real polytopes (the weakest edges that exist,
    0.138 in the square antiprism, it survives without). accept: see `classify`. duplicate: features with cosines above it are
    one direction (1 leaves exact duplicates apart); without that one feature twice turns a pentagon into "other". Norms are
    ignored: a deformed polygon with perfect angles counts as perfect.
    Noise it bears (share of the parts of seven mixed polytopes that are named rightly; noise: expected norm of what is added to
    unit directions): all to .05, .93 at .08, .58 at .10, none at .15; with tolerance=0.2 all to .10, .96 at .15, .59 at .20.
    Digons that lean on each other at less than 84 degrees are one part, and "other", until tolerance reaches their cosine.
    Null: `geometry_null`, or the same call on `nulls.random_directions(W)`.
    """
    from scipy.sparse.csgraph import connected_components

    w = unwrap(W)
    if w.values.ndim != 2:
        raise ValueError(f"W has shape {w.values.shape}: geometry takes one model, (hidden, feature); use geometry_table")
    share = np.asarray(dimensionality(w.values))
    with np.errstate(invalid="ignore"):
        norm = np.linalg.norm(w.values, axis=0)
        kept = np.flatnonzero(norm > threshold)
    unit = w.values[:, kept] / norm[kept]
    cosines = np.clip(unit.T @ unit, -1, 1)
    n, label = connected_components(np.abs(cosines) > tolerance, directed=False) if len(kept) else (0, kept)
    found = []
    for c in range(n):
        inside = np.flatnonzero(label == c)
        block = cosines[np.ix_(inside, inside)]
        _, copy = connected_components(block > duplicate - 1e-9, directed=False)
        first = np.unique(copy, return_index=True)[1]
        alone = block[np.ix_(first, first)]
        kind, nearest, distance = classify(alone, accept)
        values = np.linalg.eigvalsh(alone)
        rank = int((values > 0.05 * values[-1]).sum())
        members = kept[inside]
        mean = float(share[members].mean())
        found.append(Component(kind, nearest, len(first), rank, mean, distance, tuple(int(i) for i in members)))
    return sorted(found, key=lambda c: (-c.size, c.features))


def is_one(W, name: str, threshold: float = 0.5) -> bool:
    """Do the represented features of W (hidden, feature) form one polytope of this name, and nothing beside it?"""
    return [part.kind for part in geometry(W, threshold)] == [name]


def noisy_polygons(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 2, size) the plant of claims about polygons: turned at random, norms .85 to 1.05, every angle off by two
    degrees."""
    turn = rng.uniform(0, 2 * np.pi, (count, 1))
    angle = np.arange(size) * 2 * np.pi / size + turn + np.radians(2) * rng.standard_normal((count, size))
    return rng.uniform(0.85, 1.05, (count, 1, size)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _models(W) -> Iterator[tuple[dict, np.ndarray]]:
    """(leading coordinates, W (hidden, feature)) of each model; positions stand in where there are no coordinates."""
    w = unwrap(W)
    if w.source is None:
        names = [f"axis {k}" for k in range(w.values.ndim - 2)]
    else:
        names = [d for d in w.source.dims if d not in CORE]
    for index in np.ndindex(w.values.shape[:-2]):
        where = {}
        for name, k in zip(names, index, strict=True):
            labelled = w.source is not None and name in w.source.coords
            where[name] = w.source.coords[name].values[k] if labelled else k
        padded = np.where(w.hidden[index][:, None] & w.features[index], w.values[index], np.nan)
        yield where, padded


def geometry_table(W, threshold: float = 0.5, tolerance: float = 0.1, accept: float = 0.1):
    """`geometry` of every model of (..., hidden, feature) as a pandas DataFrame, one row a component.

    Columns: the leading dims (or "axis 0", ...), then the fields of `Component`.
    """
    import pandas as pd

    columns = list(Component.__dataclass_fields__)
    rows, names = [], None
    for where, matrix in _models(W):
        names = list(where)
        for part in geometry(matrix, threshold, tolerance, accept):
            rows.append({**where, **{field: getattr(part, field) for field in columns}})
    return pd.DataFrame(rows, columns=(names or []) + columns)


def geometry_null(size: int, rank: int, draws: int = 500, seed: int = 0) -> np.ndarray:
    """Distances to the nearest ideal of `size` random directions in `rank` dimensions, sorted, (draws,).

    How close to an ideal is closer than luck: the share of these below a measured distance is its p value.
    """
    fresh = np.random.default_rng(seed).standard_normal((draws, rank, size))
    unit = fresh / np.linalg.norm(fresh, axis=1, keepdims=True)
    return np.sort([classify(u.T @ u)[2] for u in unit])
