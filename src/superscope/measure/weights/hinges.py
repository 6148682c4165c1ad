"""How well k ReLU neurons can compute a function of one sparse feature: exact floors for monosemantic layers.

A one-hidden-layer ReLU network on one input is a continuous piecewise linear function with at most one kink per neuron.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

NODES = 400
FLOOR_TIED_KINK = 1.4126e-3  # ReLU(a |x| + b) against x^2 on [-1, 1], the best any width can do without hidden bias
FLOOR_NO_BIAS = 1 / 80  # a |x| against x^2 on [-1, 1]: E x^4 - (E |x|^3)^2 / E x^2


def spline_floor(pieces: int, length: float = 2.0) -> float:
    """Mean squared error of the best linear spline with `pieces` pieces for x^2 on an interval: length^4 / (180 pieces^4).

    The best pieces are equally long and the best spline is continuous, so no piecewise linear function does better, whatever
    its weights. For length 1 this is 1 / (180 k^4).
    """
    return length**4 / (180 * pieces**4)


@functools.lru_cache(maxsize=512)
def hinge_floor(neurons: int, density: float = 1.0, function: Callable[[np.ndarray], np.ndarray] = np.square) -> float:
    """Expected loss of the best network c + sum_k a_k ReLU(+-(x - t_k)) for function(x), x signed uniform when on.

    E over both x on (density) and x = 0, so a spline that is off at 0 pays for it in sparse inputs. Found by searching the
    kinks for every number of left-facing hinges, with the weights solved by least squares. It lies above `spline_floor`
    where hinges cannot supply a slope of their own: for x^2 with an odd number of neurons.
    """
    x, w = np.polynomial.legendre.leggauss(NODES)
    points, weight = np.append(x, 0.0), np.append(density * w / 2, 1 - density)
    root, y = np.sqrt(weight), function(points)

    def loss(kinks: np.ndarray, left: int) -> float:
        side = np.where(np.arange(neurons) < left, -1.0, 1.0)[:, None]
        design = np.vstack([np.ones_like(points), np.maximum(side * (points - kinks[:, None]), 0)]).T * root[:, None]
        weights = np.linalg.lstsq(design, y * root, rcond=None)[0]
        return float(((design @ weights - y * root) ** 2).sum())

    best = np.inf if neurons else loss(np.zeros(0), 0)
    options = {"maxiter": 400 * max(neurons, 1), "xatol": 1e-5, "fatol": 1e-13}
    for left in range(neurons // 2 + 1 if neurons else 0):
        right = neurons - left
        outward = np.concatenate([-(np.arange(left) + 0.5) / (left + 0.5), (np.arange(right) + 0.5) / (right + 0.5)])
        for start in (0.95 * outward, np.linspace(-1, 1, neurons + 2)[1:-1]):
            best = min(best, minimize(loss, start, args=(left,), method="Nelder-Mead", options=options).fun)
    return best


def shared_hinges(W_in, b_hidden, W_out, slope: float = 0.2) -> np.ndarray:
    """(..., hidden, feature) flags: neuron k bends the response to feature i inside (-1, 1).

    Its kink -b_k / W_ki lies there and it changes the slope of output i by at least `slope` (W_ki W_out_ik; x^2 bends by 4
    in all). W_in (..., m, n), b_hidden (..., m), W_out (..., n, m). A neuron with two flags is a shared hinge.
    """
    w, b, out = (np.asarray(a, dtype=float) for a in (W_in, b_hidden, W_out))
    inside = np.abs(b[..., :, None]) < np.abs(w)
    return inside & (np.abs(w * np.swapaxes(out, -1, -2)) >= slope)
