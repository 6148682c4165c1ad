"""The geometry of positional embeddings: is the matrix a helix (Yedidia 2023), and can a helix be told from smooth noise?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Helix:
    """A fitted helix. r2: share of the variance of the first three components explained. turns: over all rows.

    fitted: (n, 3) the curve, in the basis of the three principal components `scores` (n, 3).
    """

    r2: float
    turns: float
    scores: np.ndarray
    fitted: np.ndarray


def helix(rows: np.ndarray, most_turns: float = 4.0) -> Helix:
    """Fit a helix to `rows` (n, d) in the order given: an axis linear in t, and A(t) cos(w t), A(t) sin(w t) with A linear
    in t.

    The three principal components are a rotation of such a curve, so each is regressed on {1, t, cos, sin, t cos, t sin}; w is
    searched on a grid up to `most_turns` turns. The same 6 columns for every row order: rows in random order fit with R^2 of
    about 5 / (n - 1), so smoothness along t is all that is measured. At least 20 rows are needed.
    """
    n = len(rows)
    if n < 20:
        raise ValueError(f"{n} rows are too few for a helix: its six columns would fit anything; give at least 20")
    centred = rows - rows.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    scores = u[:, :3] * s[:3]
    t = np.linspace(-1, 1, n)
    best = (-np.inf, 0.0, scores)
    for turns in np.linspace(0.1, most_turns, 79):
        c, q = np.cos(np.pi * turns * t), np.sin(np.pi * turns * t)
        columns = np.stack([np.ones(n), t, c, q, t * c, t * q], axis=1)
        fitted = columns @ np.linalg.lstsq(columns, scores, rcond=None)[0]
        r2 = 1 - ((scores - fitted) ** 2).sum() / (scores**2).sum()
        if r2 > best[0]:
            best = (float(r2), float(turns), fitted)
    return Helix(best[0], best[1], scores, best[2])


def cubic(rows: np.ndarray) -> float:
    """R^2 of cubic polynomials in t on the first three components: what any slow drift gets without turning.

    Principal components of a random walk are cosines of 1/2, 1 and 3/2 turns, so a high R^2 of `helix` alone shows smoothness
    only.
    """
    centred = rows - rows.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    scores = u[:, :3] * s[:3]
    columns = np.vander(np.linspace(-1, 1, len(rows)), 4)
    fitted = columns @ np.linalg.lstsq(columns, scores, rcond=None)[0]
    return float(1 - ((scores - fitted) ** 2).sum() / (scores**2).sum())


def random_walk(n: int, d: int, seed: int) -> np.ndarray:
    """(n, d) sums of independent Gaussian steps: smooth along t and turning nowhere in particular."""
    return np.cumsum(np.random.default_rng([seed, n, d]).normal(size=(n, d)), axis=0)


def planted_helix(n: int, d: int, turns: float, noise: float, seed: int) -> np.ndarray:
    """(n, d) a helix of radius 1 and height 2 in 3 random dimensions of d, plus N(0, noise^2): the planted truth for
    `helix`.
    """
    rng = np.random.default_rng([seed, n, d])
    t = np.linspace(-1, 1, n)
    curve = np.stack([t, np.cos(np.pi * turns * t), np.sin(np.pi * turns * t)], axis=1)
    frame = np.linalg.qr(rng.normal(size=(d, 3)))[0].T
    return curve @ frame + noise * rng.normal(size=(n, d))


def circularity(rows: np.ndarray, components: int = 3, most_turns: float = 6.5) -> float:
    """How well a plane of the first principal components is a circle run through at constant speed: R^2 of the best
    a (cos wt, sin wt) over planes and over 1 to `most_turns` turns (least squares for an orthonormal plane: Procrustes).

    A helix has such a plane, at right angles to its axis, whatever its turns: planted helices of 1 to 6 turns with noise .05 in
    128 dimensions give .97 and more. Random walks, whose components are cosines of 1/2, 1, 3/2 turns with unequal amplitude,
    give about .8: smooth, and no circle. Rows in random order: near 0.
    """
    centred = rows - rows.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    scores = u[:, :components] * s[:components]
    t = np.linspace(-1, 1, len(rows))
    best = 0.0
    for turns in np.linspace(0.95, most_turns, 60):
        circle = np.stack([np.cos(np.pi * turns * t), np.sin(np.pi * turns * t)], axis=1)
        circle = circle - circle.mean(axis=0)
        left, values, right = np.linalg.svd(scores.T @ circle, full_matrices=False)
        plane = scores @ (left @ right)
        best = max(best, float(values.sum() ** 2 / ((circle**2).sum() * (plane**2).sum())))
    return best
