"""The antipodal pair in closed form: n=2 features of equal importance in m=1 dimension, free length and bias.

W = (w, -w) with one bias b for both outputs, values U[0,1], density p. With a = w^2 and t = b/a in [0, 1] every piece of the
expected loss of the ReLU output model (Elhage et al. 2022, arXiv 2209.10652) is a polynomial, so the optimum needs no training
and no quadrature, only a search in two variables. It answers "are there models in which superposition has a closed form?" for
the smallest model that has any, and gives the continuous shrinking that McGrath's comment on the paper describes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from superscope.measure.weights import theory


class Pair(NamedTuple):
    """Best symmetric antipodal pair: loss (sum over both features), norm of each feature, shared bias."""

    loss: float
    norm: float
    bias: float


def antipodal_loss(a, b, p):
    """Expected loss of W = (sqrt a, -sqrt a), biases (b, b), density p; needs a > 0 and 0 <= b <= a.

    Per output: b^2 when nothing is on; (1-a)^2/3 - (1-a)b + b^2 when it is on alone; b^3/(3a) when the other is on alone; when
    both are on, the mean over the unit square of (x - a(x - y + t)_+)^2 with t = b/a, integrated piecewise by hand.
    """
    a, b, p = (np.asarray(v, dtype=float) for v in (a, b, p))
    if np.any(a <= 0) or np.any(b < 0) or np.any(b > a):
        raise ValueError(f"antipodal_loss(a={a}, b={b}): needs a > 0 and 0 <= b <= a (elsewhere the pieces change)")
    t = b / a
    alone = (1 - a) ** 2 / 3 - (1 - a) * b + b**2
    other = b**3 / (3 * a)
    product = a / 2 * (1 / 4 + 2 * t / 3 + t**2 / 2 - t**4 / 4 - (1 - t) * t**3 / 3)  # E[x z]
    square = a**2 * (1 / 12 + t / 3 + t**2 / 2 + t**3 / 3 - t**4 / 12)  # E[z^2]
    both = 1 / 3 - 2 * product + square
    return 2 * ((1 - p) ** 2 * b**2 + p * (1 - p) * (alone + other) + p**2 * both)


def antipodal_optimum(p: float) -> Pair:
    """The best symmetric pair at density p. It is the global optimum up to `symmetry_breaking` (see there)."""
    from scipy.optimize import minimize

    if not 0 < p < 1:
        raise ValueError(f"antipodal_optimum(p={p}): needs 0 < p < 1")
    found = minimize(
        lambda v: float(antipodal_loss(v[0], v[0] * v[1], p)) / p, (1.0, 0.1), method="L-BFGS-B",
        bounds=((1e-3, 4), (0, 1)), options={"ftol": 1e-15, "gtol": 1e-10},
    )  # fmt: skip
    a, t = found.x
    return Pair(float(found.fun * p), float(np.sqrt(a)), float(a * t))


def _lowest(excess, low: float, high: float, tolerance: float) -> float:
    """Where `excess` (negative at low, positive at high) changes sign, by bisection."""
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) <= 0 else (low, middle)
    return (low + high) / 2


def symmetry_breaking(tolerance: float = 1e-4) -> float:
    """Density above which two equally important features are no longer best served by an equal pair."""
    return _lowest(lambda p: antipodal_optimum(p).loss - theory.two_feature_optimum(p).loss - 1e-7, 0.4, 0.95, tolerance)


def dropping_density(r: float, tolerance: float = 1e-4) -> float:
    """Density above which the global optimum gives a feature of relative importance r < 1 no direction of its own.

    The exact counterpart of `theory.two_feature_boundary`, which compares fixed unit configurations: here norms and biases are
    free on both sides.
    """
    if not 0 < r < 1:
        raise ValueError(f"dropping_density(r={r}): needs 0 < r < 1")
    return _lowest(lambda p: 1.0 if theory.two_feature_optimum(p, r).phase == "only first" else -1.0, 0.01, 0.7, tolerance)
