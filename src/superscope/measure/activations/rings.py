"""Rings of ordered things (days of the week): how much of what they differ in is one circle run through in their order.

The first harmonic of points x_1..x_n (about their mean) along their order is a + i b = sum_j x_j exp(2 pi i j / n). On a circle
run through evenly a and b are equally long and orthogonal and hold all of the variance. `ring` is the share of the variance
that their weaker half can account for: 1 for an even circle in any plane, 0 for a line in order (whose a and b are parallel),
about 1 / n for points in random order. No plane has to be chosen first, as with principal components (Engels et al. 2024);
`order_agreement` chooses one and asks for angles alone. Both mislead on a horseshoe, a bent line that does not close: it
passes.

Nulls: the same points in random order (`permuted`); and the ring that a linear code of co-occurrence already has
(`cooccurrence_codes`), since things that follow one another in text are near one another in any compressed code (Prieto et
al. 2026): a ring no clearer than that is no evidence of a polygon that a model made.
"""

from __future__ import annotations

import numpy as np


def ring(points: np.ndarray) -> float:
    """The share of `points` (n, d), given in their cyclic order; n >= 4."""
    if len(points) < 4:
        raise ValueError(f"{len(points)} points: three are always on a circle; give four or more")
    return float(_shares(points, np.arange(len(points))[None])[0])


def permuted(points: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws,) the share of the same points in random orders. Of n points there are but (n - 1)! / 2 rings: 360 of seven."""
    return _shares(points, rng.permuted(np.tile(np.arange(len(points)), (draws, 1)), axis=1))


def _shares(points: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """(order,) with the weaker singular value of [a, b] from their products: sigma^2 is the smaller root of a 2 x 2 matrix."""
    n = len(points)
    centred = points - points.mean(axis=0)
    gram = centred @ centred.T
    angle = 2 * np.pi * np.argsort(orders, axis=1) / n  # (order, point): where each point stands
    c, s = np.cos(angle), np.sin(angle)
    aa, bb, ab = (np.einsum("oi,ij,oj->o", x, gram, y) for x, y in ((c, c), (s, s), (c, s)))
    weaker = (aa + bb) / 2 - np.sqrt(((aa - bb) / 2) ** 2 + ab**2)
    return np.asarray(4 * weaker / n / max(float(np.trace(gram)), 1e-30))


def planted_ring(n: int, d: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """(n, d) a ring in a random plane: radii .8 to 1.2, angles off by 8 degrees, and noise with `noise` times its energy."""
    angle = 2 * np.pi * np.arange(n) / n + np.radians(8) * rng.standard_normal(n)
    flat = rng.uniform(0.8, 1.2, (n, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    frame = np.linalg.qr(rng.standard_normal((d, 2)))[0]
    return np.asarray(flat @ frame.T + np.sqrt(noise / d) * rng.standard_normal((n, d)))


def cooccurrence_codes(tokens: np.ndarray, wanted: np.ndarray, dims: int, window: int = 4, common: int = 2000) -> np.ndarray:
    """(wanted, dims) the best linear code of co-occurrence, of the tokens `wanted`: principal components of positive pointwise
    mutual information (Levy and Goldberg 2014) between tokens at most `window` places apart.

    tokens: (row, position). Over the `common` most frequent tokens and those wanted. The statistic gives rare words their best
    chance: the covariance of raw counts is all articles and commas.
    """
    ids, count = np.unique(tokens, return_counts=True)
    kept = np.union1d(ids[np.argsort(-count)[:common]], wanted)
    place = np.full(int(max(tokens.max(), kept.max())) + 1, -1)
    place[kept] = np.arange(len(kept))
    coded, v = place[tokens], len(kept)
    met = np.zeros(v * v)
    for apart in range(1, window + 1):
        left, right = coded[:, :-apart].ravel(), coded[:, apart:].ravel()
        both = (left >= 0) & (right >= 0)
        met += np.bincount(left[both] * v + right[both], minlength=v * v)
    table = met.reshape(v, v)
    table = table + table.T
    each = table.sum(axis=1)
    expected = np.outer(each, each) / each.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.where(table > 0, np.log(table / expected), 0)
    information = np.maximum(information, 0)
    from scipy.sparse.linalg import eigsh

    values, vectors = eigsh(information, k=dims, which="LA", v0=np.ones(v))
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0)))[place[wanted]])


def order_agreement(points: np.ndarray, orders: np.ndarray, components: int = 5) -> np.ndarray:
    """(order,) how well the angles of `points` (n, d) follow each order (order, point): |mean exp(i (angle - 2 pi j / n))|, the
    largest over directions of turning and over the planes of two of the first `components` principal components.

    1 for points in order at even angles, whatever their radii: unlike `ring` it does not ask for the variance, so a ring is
    found beside louder things that the points differ in. The search is part of it: compare with `orders` drawn at random.
    """
    n = len(points)
    centred = points - points.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    scores = (left * size)[:, : min(components, n - 1)]
    a, b = np.triu_indices(scores.shape[1], 1)
    angles = np.arctan2(scores[:, b], scores[:, a])  # (point, plane)
    turned = np.exp(2j * np.pi * np.argsort(orders, axis=1) / n)
    both = [np.abs(turned @ np.exp(sign * 1j * angles)) / n for sign in (1, -1)]
    return np.asarray(np.maximum(*both).max(axis=1))


def order_p(points: np.ndarray, draws: int, rng: np.random.Generator) -> float:
    """p of `order_agreement` among random orders of the same points, (1 + as good) / (1 + draws)."""
    n = len(points)
    drawn = order_agreement(points, rng.permuted(np.tile(np.arange(n), (draws, 1)), axis=1))
    own = float(order_agreement(points, np.arange(n)[None])[0])
    return float((1 + (drawn >= own - 1e-9).sum()) / (1 + draws))
