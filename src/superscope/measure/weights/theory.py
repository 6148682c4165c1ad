"""Exact theory of small superposition problems: closed forms, and optima of exactly integrated losses.

Everything here is recomputed, never looked up, so that a study can compare a trained network with the number it should
reach. The loss is the sum over features and the mean over samples, importance-weighted (the convention of the whole
library). "r" is the importance of the last feature when the others have importance 1; "p" is the density.

Sources: Elhage et al. 2022, Toy Models of Superposition (TMS, arXiv 2209.10652) for the models; Chen et al. 2023
(arXiv 2310.06301) for the critical losses of k-gons with 1-sparse inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from superscope.measure.weights._arrays import align, unwrap

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)  # exact to degree 5; the pieces below have degree 3 at most


class Law(NamedTuple):
    """Law of a feature's value while it is on, as quadrature nodes: values (k,) and weights (k,) that sum to 1."""

    values: np.ndarray
    weights: np.ndarray

    def mean_square(self) -> float:
        """E[v^2], the loss of a feature that is on and answered by zero."""
        return float(self.weights @ self.values**2)


def as_law(law) -> Law:
    """A Law, a value law of `features` (anything with nodes(count) -> values, weights), or None for U[0,1]."""
    if law is None:
        return uniform_law()
    return law if isinstance(law, Law) else Law(*law.nodes(400))


def uniform_law(low: float = 0.0, high: float = 1.0, panels: int = 512) -> Law:
    """Uniform values on [low, high]: composite 3-point Gauss-Legendre (losses have kinks, so many panels of low order).

    512 panels give k-gon losses to 6 digits and lengths to 3 (the optimum is flat in the length).
    """
    if not high > low:
        raise ValueError(f"uniform_law({low}, {high}): needs low < high; for one value use levels_law({low})")
    left = np.linspace(low, high, panels + 1)[:-1, None]
    width = (high - low) / panels
    return Law((left + width * (_NODES + 1) / 2).ravel(), np.tile(_WEIGHTS / 2 / panels, panels))


def levels_law(*levels: float) -> Law:
    """Equally likely discrete values; `levels_law(1)` is the binary feature."""
    if not levels:
        raise ValueError("levels_law(): give at least one level, for example levels_law(1, 2, 3)")
    return Law(np.array(levels, dtype=float), np.full(len(levels), 1 / len(levels)))


# --- one feature too many: n=2 in m=1 and n=3 in m=2 (TMS phase diagrams) -----------------------------------------


def ignored_loss(p, r=1.0):
    """Loss of a feature with no direction, answered by its mean: r Var(x) = r (p/3 - p^2/4), values U[0,1]."""
    p = np.asarray(p, dtype=float)
    return r * (p / 3 - p**2 / 4)


def pair_loss(p, r=1.0):
    """Loss of an antipodal unit pair with zero biases, (1+r) p^2/6: it errs only when both are on, E[min^2] = 1/6."""
    p = np.asarray(p, dtype=float)
    return (1 + r) * p**2 / 6


def monosemantic_loss(n: int, m: int, p) -> np.ndarray:
    """Best loss without superposition for n equally important features in m dimensions: m exact, the others at their mean."""
    return (n - m) * ignored_loss(p)


def two_feature_losses(p, r) -> dict[str, np.ndarray]:
    """Losses of the three fixed unit configurations of n=2, m=1; importance (1, r), values U[0,1].

    These are upper bounds on the optimum: free norms and biases do better (see `two_feature_optimum`), so a trained
    network below these numbers is not a mistake.
    """
    return {"antipodal": pair_loss(p, r), "only first": ignored_loss(p, r), "only second": ignored_loss(p)}


def two_feature_boundary(r):
    """Density below which the antipodal pair beats dropping the lesser feature: 4r/(2+5r) for r<=1, 4/(5+2r) else.

    Fixed unit configurations, n=2 m=1. At r=1 it is 4/7, where the three phases meet.
    """
    r = np.asarray(r, dtype=float)
    return np.where(r <= 1, 4 * r / (2 + 5 * r), 4 / (5 + 2 * r))


def three_feature_losses(p, r) -> dict[str, np.ndarray]:
    """Losses of the fixed unit configurations of n=3, m=2; importance (1, 1, r); the third is the "extra" feature.

    Among the paired ones the extra feature shares iff r < 1 ("dedicated versus paired" meets at exactly r = 1).
    """
    return {
        "extra ignored": ignored_loss(p, r),
        "extra paired": pair_loss(p, r),
        "others paired": pair_loss(p),
        "another ignored": ignored_loss(p),
    }


# --- free optimum of n=2, m=1 ----------------------------------------------------------------------------------------


def _segment(breaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0,1] split at `breaks` (..., k); exact for pieces of degree 5."""
    edges = np.sort(np.clip(breaks, 0, 1), axis=-1)
    ends = np.ones((*edges.shape[:-1], 1))
    edges = np.concatenate([0 * ends, edges, ends], axis=-1)
    width = np.diff(edges, axis=-1)[..., None]
    points = edges[..., :-1, None] + width * (_NODES + 1) / 2
    shape = (*points.shape[:-2], -1)
    return points.reshape(shape), (width * _WEIGHTS / 2).reshape(shape)


def _output_loss(a: float, c: float, b: float, p: float) -> tuple[float, np.ndarray]:
    """E (x - ReLU(a x + c y + b))^2 and its gradient in (a, c, b); x, y independent, on with probability p, U[0,1].

    Exact: each of none / one / both on is split at the kink of the ReLU, where the integrand is a polynomial.
    """
    with np.errstate(
        divide="ignore", invalid="ignore", over="ignore"
    ):  # no kink when a slope is zero: the break is sent outside
        x_breaks = np.nan_to_num(np.array([-b / np.float64(a), -(b + c) / np.float64(a)]), nan=-1, posinf=2, neginf=-1)
        x_both, wx = _segment(x_breaks)
        y_breaks = np.nan_to_num(-(a * x_both + b) / np.float64(c), nan=-1, posinf=2, neginf=-1)
        y_alone, wy_alone = _segment(np.nan_to_num(np.array([-b / np.float64(c)]), nan=-1, posinf=2, neginf=-1))
    y_both, wy = _segment(y_breaks[:, None])
    x_both, weight_both = np.broadcast_arrays(x_both[:, None], wy)[0].ravel(), (wx[:, None] * wy).ravel()
    x = np.concatenate([[0.0], x_both[:: wy.shape[1]], np.zeros_like(y_alone), x_both])
    y = np.concatenate([[0.0], np.zeros_like(wx), y_alone, y_both.ravel()])
    weight = np.concatenate([[(1 - p) ** 2], p * (1 - p) * wx, p * (1 - p) * wy_alone, p**2 * weight_both])
    z = np.maximum(a * x + c * y + b, 0)
    slope = -2 * weight * (x - z) * (z > 0)
    return float(weight @ (x - z) ** 2), np.array([slope @ x, slope @ y, slope.sum()])


def two_feature_loss(w, b, p: float, r: float = 1.0) -> tuple[float, np.ndarray]:
    """Exact expected loss of the ReLU output model with n=2, m=1, U[0,1], and its gradient in (w1, w2, b1, b2)."""
    (w1, w2), (b1, b2) = w, b
    first, g1 = _output_loss(w1 * w1, w1 * w2, b1, p)
    second, g2 = _output_loss(w2 * w2, w1 * w2, b2, p)
    gradient = np.array(
        [2 * w1 * g1[0] + w2 * (g1[1] + r * g2[1]), 2 * r * w2 * g2[0] + w1 * (g1[1] + r * g2[1]), g1[2], r * g2[2]]
    )
    return first + r * second, gradient


@dataclass(frozen=True)
class TwoFeatureOptimum:
    """Global optimum of n=2, m=1. w = (w1, w2) with w1 >= 0, b = (b1, b2).

    phase: "antipodal" (w1 w2 < 0), "only first" / "only second" (one weight below 0.05 of the other), or "same sign".
    Antipodal does not mean equal norms: they differ as soon as r != 1, and at r = 1 above p of about 0.706
    (`antipodal.symmetry_breaking`), where one feature takes most of the unit (norms near 0.93 and 0.46) and the symmetric pair
    is no longer best.
    """

    loss: float
    w: tuple[float, float]
    b: tuple[float, float]
    phase: str


PHASES = ("only first", "only second", "antipodal", "same sign")


def two_feature_phase(w1, w2, negligible: float = 0.05) -> np.ndarray:
    """Index into PHASES of n=2, m=1 weights (any shape): a weight below `negligible` of the other counts as absent."""
    w1, w2 = np.asarray(w1, dtype=float), np.asarray(w2, dtype=float)
    both = np.where(w1 * w2 < 0, 2, 3)
    return np.where(abs(w2) < negligible * abs(w1), 0, np.where(abs(w1) < negligible * abs(w2), 1, both))


def two_feature_optimum(p: float, r: float = 1.0) -> TwoFeatureOptimum:
    """Best (w1, w2, b1, b2) of the ReLU output model, n=2, m=1, importance (1, r), density p, values U[0,1].

    The better of the dropped-feature solution (closed form) and BFGS with the exact gradient from a fixed list of
    starts, so the result is deterministic. Misleads if a phase exists that no start leads to; none is known (tests
    compare with random restarts).
    """
    from scipy.optimize import minimize

    if not (0 < p <= 1 and r > 0):
        raise ValueError(f"two_feature_optimum(p={p}, r={r}): needs 0 < p <= 1 and r > 0")
    half = p / 2
    scale = p * max(r, 1.0)  # losses are of order p, and BFGS stops on the absolute size of the gradient

    def objective(theta):
        loss, gradient = two_feature_loss(theta[:2], theta[2:], p, r)
        return loss / scale, gradient / scale

    starts = [(1, -1, 0, 0), (1, -0.5, 0, half), (0.5, -1, half, 0), (0.7, 0.7, half / 2, half / 2)]
    runs = [minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-7}) for start in starts]
    found = [(run.fun * scale, tuple(run.x)) for run in runs]
    found += [(float(ignored_loss(p, r)), (1.0, 0.0, 0.0, half)), (float(ignored_loss(p)), (0.0, 1.0, half, 0.0))]
    loss, (w1, w2, b1, b2) = min(found)
    if w1 < 0:
        w1, w2 = -w1, -w2
    phase = PHASES[int(two_feature_phase(w1, w2))]
    return TwoFeatureOptimum(float(loss), (float(w1), float(w2)), (float(b1), float(b2)), phase)


# --- 1-sparse inputs ------------------------------------------------------------------------------------------------


def one_sparse_loss(W, b, law=None, importance=1.0):
    """Loss of the tied ReLU output model when exactly one feature, each equally often, is on with value v ~ law.

    (1/n) sum_i E_v sum_j I_j (v [i=j] - ReLU(v W_j.W_i + b_j))^2 (TMS; Chen et al. 2023). W (..., hidden, feature),
    b (..., feature) or a number -> (...). Says nothing about simultaneous interference: two features are never on.
    """
    law = as_law(law)
    w = unwrap(W)
    bias = align(b, w, ("feature",), "b")
    gram = np.swapaxes(w.values, -1, -2) @ w.values
    weight = np.broadcast_to(np.asarray(importance, dtype=float), (w.values.shape[-1],))
    on = w.features.sum(-1)
    total = np.zeros(gram.shape[:-2])
    target = np.eye(gram.shape[-1])
    for v, q in zip(law.values, law.weights, strict=True):
        error = v * target - np.maximum(v * gram + bias[..., None, :], 0)
        total += q * np.einsum("...ij,...i,...j->...", error**2, w.features, w.features * weight)
    return w.wrap(w.blank_model(total / np.maximum(on, 1)), (), "one_sparse_loss")


def polygon_loss(n: int, length: float, bias: float, law: Law) -> float:
    """1-sparse loss per sample of a regular n-gon in m=2 with side vectors of norm `length` and one shared bias."""
    cosines = np.cos(2 * np.pi * np.arange(1, n) / n)[:, None]
    own = law.values - np.maximum(length**2 * law.values + bias, 0)
    others = np.maximum(length**2 * cosines * law.values + bias, 0)
    return float(law.weights @ (own**2 + (others**2).sum(0)))


class Polygon(NamedTuple):
    """Best regular n-gon: loss per sample, vector length and bias."""

    loss: float
    length: float
    bias: float


def _best_bias(n: int, square: float, law: Law) -> tuple[float, float]:
    """(loss, bias) of the best bias for a squared length: coarse scan, then a bounded search around the winner."""
    from scipy.optimize import minimize_scalar

    top = float(np.max(np.abs(law.values)))
    length = float(np.sqrt(square))
    grid = np.linspace(-max(square, 1.0) * top, top, 65)
    losses = [polygon_loss(n, length, b, law) for b in grid]
    k = int(np.argmin(losses))
    found = minimize_scalar(
        lambda b: polygon_loss(n, length, b, law),
        bounds=(grid[max(k - 1, 0)], grid[min(k + 1, 64)]), method="bounded", options={"xatol": 1e-12},
    )  # fmt: skip
    return min((float(found.fun), float(found.x)), (losses[k], float(grid[k])))


def polygon_optimum(n: int, law=None) -> Polygon:
    """Length and bias of the best regular n-gon in m=2 for 1-sparse inputs with values ~ law (default U[0,1]).

    Among several optima (binary values: any length^2 >= 1/(1 - cos(2 pi/n)) is exact) the shortest is returned.
    A bound on the true optimum, which need not be a regular polygon: for n=8, U[0,1] dropping features competes.
    """
    from scipy.optimize import minimize

    law = as_law(law)
    if n < 2:
        raise ValueError(f"polygon_optimum(n={n}): a polygon needs n >= 2 features")
    ceiling = max(4.0, 2 / (1 - np.cos(2 * np.pi / n)))
    squares = np.geomspace(0.1, ceiling, 24)
    starts = sorted(((*_best_bias(n, s, law), s)) for s in squares)[:3]
    tight = {"xatol": 1e-10, "fatol": 1e-15, "maxiter": 2000}
    runs = [
        minimize(lambda t: polygon_loss(n, np.sqrt(abs(t[0])), t[1], law), (s, b), method="Nelder-Mead", options=tight)
        for _, b, s in starts
    ]
    best = min(runs, key=lambda o: o.fun)
    loss, square, bias = float(best.fun), abs(float(best.x[0])), float(best.x[1])
    if loss < 1e-10:  # a whole family is exact: take its shortest member
        low, high = 0.0, square
        while high - low > 1e-9:
            middle = (low + high) / 2
            low, high = (low, middle) if _best_bias(n, middle, law)[0] < 1e-12 else (middle, high)
        square = high
        loss, bias = _best_bias(n, square, law)
    return Polygon(loss, float(np.sqrt(square)), bias)


def critical_loss(k: int, n: int, law=None) -> float:
    """1-sparse loss of n features of which k form the best k-gon in m=2 and the rest answer 0 (Chen et al. 2023)."""
    law = as_law(law)
    if not 2 <= k <= n:
        raise ValueError(f"critical_loss(k={k}, n={n}): needs 2 <= k <= n")
    return k / n * polygon_optimum(k, law).loss + (n - k) / n * law.mean_square()


def exclusive_loss(n: int, on: int) -> float:
    """Cross-entropy, in nats, of naming one of `n` equally likely features of which exactly one is there, from a single neuron
    that is on for `on` of them and off for the others: (on/n) ln on + (1 - on/n) ln(n - on).

    Bricken et al. 2023, section "Why not architectural approaches": with four features a monosemantic neuron loses (3/4) ln 3 =
    .824, one for two of them ln 2 = .693, so that cross-entropy prefers the polysemantic one although no feature interferes.
    Raises ValueError unless 0 <= on <= n and n >= 1.
    """
    if not (n >= 1 and 0 <= on <= n):
        raise ValueError(f"n={n}, on={on}: expected a neuron that is on for 0 to n of n features")
    return sum(k / n * math.log(k) for k in (on, n - on) if k)
