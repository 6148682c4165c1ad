"""Superposition as compressed sensing: how many active features an ideal decoder can read from a code, and the asymptotic
limit.

A code W (hidden, feature) is a measurement matrix, h = W x with x >= 0 and k entries on. With delta = m/n and rho = k/m,
minimising sum(x) over x >= 0 with W x = h finds x almost surely for rho below the Donoho-Tanner curve and almost never above
it, when W is Gaussian and n is large (Donoho & Tanner 2005, "Neighborliness of randomly projected simplices"). "Ideal" means
without noise and without a limit on computing: one layer of ReLUs does less.
"""

from __future__ import annotations

import numpy as np

from superscope.recover.decoders import nnls


def donoho_tanner(delta, signed: bool = False):
    """rho(delta), the weak threshold for non-negative (or signed) features; delta in (0, 1), any shape.

    rho = max_z [1 - (kappa/delta) g(z)] / [1 + z^2 - kappa g(z)], g(z) = (1 + z^2) Phi(-z) - z phi(z), kappa = 1 for
    non-negative values and 2 for signed ones (Donoho, Maleki & Montanari 2009, PNAS 106:18914, equation 5).
    """
    from scipy.special import ndtr

    delta = np.asarray(delta, dtype=float)
    if np.any((delta <= 0) | (delta >= 1)):
        raise ValueError(f"donoho_tanner(delta={delta}): delta = m/n must lie between 0 and 1")
    z = np.linspace(0, 8, 8001)[1:]  # at z = 0 both sides of the fraction can vanish
    kappa = 2 if signed else 1
    g = (1 + z**2) * ndtr(-z) - z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    below = 1 + z**2 - kappa * g
    return ((1 - kappa / delta[..., None] * g) / below).max(-1)


def recovery(W, active: int, rng: np.random.Generator, count: int = 50, tolerance: float = 0.02) -> float:
    """Share of inputs with exactly `active` features on, values U[0,1], that `nnls` gets back within `tolerance` of their
    norm.

    W (hidden, feature). Features with no direction (norm 0) can never be got back, so an unrepresented feature counts against
    W.
    """
    n = np.shape(W)[1]
    if not 1 <= active <= n:
        raise ValueError(f"recovery(active={active}): with {n} features between 1 and {n} can be on")
    x = np.zeros((count, n))
    for row in x:
        row[rng.choice(n, active, replace=False)] = rng.random(active)
    error = np.linalg.norm(nnls(np.asarray(W, dtype=float), x @ np.asarray(W, dtype=float).T) - x, axis=1)
    return float((error < tolerance * np.linalg.norm(x, axis=1)).mean())


def half_point(active: np.ndarray, share: np.ndarray) -> float:
    """Number of active features at which `share` (falling, same length) first crosses one half, linear between neighbours.

    Below the first entry the share counts as 1 at 0 active features; if it never falls below one half, the last entry.
    """
    x, y = np.concatenate([[0.0], active]), np.concatenate([[1.0], share])
    below = np.flatnonzero(y < 0.5)
    if not len(below):
        return float(x[-1])
    i = below[0]
    return float(x[i - 1] + (y[i - 1] - 0.5) / (y[i - 1] - y[i]) * (x[i] - x[i - 1]))
