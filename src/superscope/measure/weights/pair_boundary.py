"""Where two features begin to share one dimension when the output is a GELU: the exact optimum of n=2, m=1.

Loss: sum over features (importance 1 and r), mean over samples, values U[0, 1], independent with density p:
L = E [(x1 - y1)^2 + r (x2 - y2)^2], y_i = f_s(w_i (w1 x1 + w2 x2) + b_i), f_s(z) = GELU(s z) / s. Expectations over the four
patterns of activity are Gauss-Legendre sums, exact to rounding for a smooth f; the ReLU (s = inf) has kinks and is left to
`theory.two_feature_optimum`. The optimum is the best of BFGS from a fixed list of starts.
"""

from __future__ import annotations

import numpy as np

from superscope.measure.weights import theory

NODES = 32
STARTS = ((1.0, -1.0, 0.0, 0.0), (1.0, -0.5, 0.0, 0.1), (1.2, -0.3, -0.2, 0.1), (1.0, 0.0, 0.0, 0.1), (0.8, -1.0, -0.1, 0.0))


def gelu_pair(p: float, r: float, s: float) -> tuple[float, np.ndarray]:
    """(loss, (w1, w2, b1, b2)) of the best GELU_s output model of two features in one dimension at density p."""
    import torch
    from scipy.optimize import minimize

    node, weight = np.polynomial.legendre.leggauss(NODES)
    x = torch.tensor(np.r_[0.0, (node + 1) / 2])
    q = torch.tensor(np.r_[1 - p, p * weight / 2])  # off, or on with any value
    first, second = x[:, None], x[None, :]
    chance = q[:, None] * q[None, :]

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        t = torch.tensor(theta, requires_grad=True)
        h = t[0] * first + t[1] * second
        y = [torch.nn.functional.gelu(s * (t[i] * h + t[2 + i])) / s for i in (0, 1)]
        loss = (chance * ((first - y[0]) ** 2 + r * (second - y[1]) ** 2)).sum() / p
        (slope,) = torch.autograd.grad(loss, t)
        return float(loss.detach()), slope.numpy()

    runs = [minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-8}) for start in STARTS]
    best = min(runs, key=lambda run: run.fun)
    return float(best.fun * p), best.x


def pair_boundary(r: float, s: float = np.inf, low: float = 0.1, high: float = 0.6, steps: int = 10) -> float:
    """Density below which the optimum keeps both features as a pair of opposite signs, by bisection of the logarithm.

    Assumes one boundary between `low`, where both are kept, and `high`, where one is; raises ValueError if it is not there.
    """

    def kept(p: float) -> bool:
        w = np.array(theory.two_feature_optimum(p, r).w) if np.isinf(s) else gelu_pair(p, r, s)[1][:2]
        return int(theory.two_feature_phase(*w)) == theory.PHASES.index("antipodal")

    if not kept(low) or kept(high):
        raise ValueError(f"pair_boundary(r={r}, s={s}): no boundary between densities {low} and {high}")
    for _ in range(steps):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if kept(middle) else (low, middle)
    return float(np.sqrt(low * high))
