"""How easily a small input change fools the ReLU output model: analytic attack of TMS, and gradient ascent as a check.

y = ReLU(W_out W x + b), W_out = W^T when tied. The answer that is wanted under attack stays the clean x, and the loss
is sum_j I_j (x_j - y_j(x + delta))^2, mean over samples, with ||delta||_2 = eps = fraction * mean ||x||.
"""

from __future__ import annotations

import numpy as np

from superscope.measure.weights._arrays import align, to_numpy, unwrap


def _maps(w, W_out) -> np.ndarray:
    """Input-to-output matrix A (..., feature, feature), y = ReLU(A x + b)."""
    read = np.swapaxes(w.values, -1, -2) if W_out is None else align(W_out, w, ("feature", "hidden"), "W_out")
    return read @ w.values


def _sample(x, n: int) -> np.ndarray:
    x = to_numpy(x)
    if x.ndim != 2 or x.shape[1] != n:
        raise ValueError(f"x has shape {x.shape}: expected (sample, feature) = (any, {n})")
    return x


def analytic_direction(W, W_out=None):
    """Unit attack on output i, the gradient of its pre-activation: (W^T W)_i / ||(W^T W)_i||. -> (..., feature, other).

    TMS, adversarial section: optimal for output i where its ReLU is open. Zero where (W^T W)_i = 0.
    """
    w = unwrap(W)
    rows = _maps(w, W_out)
    size = np.linalg.norm(rows, axis=-1, keepdims=True)
    return w.wrap(rows / np.where(size > 0, size, 1), ("feature", "other"), "attack")


def attack_increase(W, b, x, fraction: float = 0.1, importance=1.0, W_out=None):
    """Loss increase when every sample is moved by eps along the analytic direction of feature i. -> (..., feature).

    b (..., feature) or a number; x (sample, feature), shared by all models; importance a number or (feature,).
    """
    w = unwrap(W)
    n = w.values.shape[-1]
    x = _sample(x, n)
    maps, bias = _maps(w, W_out), align(b, w, ("feature",), "b")
    directions = to_numpy(analytic_direction(W, W_out))
    weight = np.broadcast_to(to_numpy(importance), (n,))
    result = np.zeros(bias.shape)
    for index in np.ndindex(bias.shape[:-1]):
        there = w.features[index]
        inputs = np.where(there, x, 0)
        eps = fraction * np.linalg.norm(inputs, axis=1).mean()
        scale = weight * there
        before = inputs @ maps[index].T + bias[index]
        clean = (((inputs - np.maximum(before, 0)) ** 2) @ scale).mean()
        for i in np.flatnonzero(there):
            after = np.maximum(before + eps * (maps[index] @ directions[index][i]), 0)
            result[index][i] = (((inputs - after) ** 2) @ scale).mean() - clean
    return w.wrap(w.blank(result), ("feature",), "attack_increase")


def vulnerability(W, b, x, fraction: float = 0.1, importance=1.0, W_out=None):
    """max_i of `attack_increase`: the worst single analytic attack, eps = fraction of the mean input norm. -> (...).

    TMS finds it rising with superposition, about as ||W||_F^2 / m. One direction for all samples, so it is a lower
    bound on what a per-sample attacker gets (`pgd_increase`), and an absolute loss: divide by that of a model without
    superposition before comparing densities, since eps itself moves with the inputs. Null: "directions".
    """
    w = unwrap(W)
    increase = to_numpy(attack_increase(W, b, x, fraction, importance, W_out))
    worst = np.where(w.features, increase, -np.inf).max(-1)
    return w.wrap(w.blank_model(worst), (), "vulnerability")


def pgd_increase(W, b, x, fraction: float = 0.1, importance=1.0, W_out=None, steps: int = 40) -> float:
    """Loss increase under projected gradient ascent on each sample inside the L2 ball of radius eps. One model (m, n).

    Starts from each sample's worst analytic attack (of both signs) and keeps the best point seen, so it is at least as
    strong: plain gradient attacks stall because the ReLUs of sparse models are shut and pass no gradient (TMS).
    """
    import torch

    w = unwrap(W)
    if w.values.ndim != 2:
        raise ValueError(f"W has shape {w.values.shape}: pgd_increase takes one model, (hidden, feature)")
    inputs = torch.as_tensor(_sample(x, w.values.shape[1]))
    A, bias = torch.as_tensor(_maps(w, W_out)), torch.as_tensor(align(b, w, ("feature",), "b").copy())
    scale = torch.as_tensor(np.broadcast_to(to_numpy(importance), (len(bias),)).copy())
    eps = fraction * inputs.norm(dim=1).mean()

    def loss(delta):
        return ((inputs - torch.relu((inputs + delta) @ A.T + bias)) ** 2) @ scale

    clean = loss(torch.zeros_like(inputs)).mean()
    best = torch.zeros_like(inputs)
    score = loss(best)
    directions = torch.as_tensor(to_numpy(analytic_direction(W, W_out)))
    for row in torch.cat([directions, -directions]):
        best, score = _keep(best, score, (eps * row).expand_as(inputs), loss)
    delta = best.clone()
    for _ in range(steps):
        delta.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(delta).sum(), delta)
        delta = delta.detach() + eps / 5 * gradient / gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
        delta = delta * (eps / delta.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
        best, score = _keep(best, score, delta, loss)
    return float(score.mean() - clean)


def _keep(best, score, candidate, loss):
    """Per sample, the better of two perturbations, and its loss."""
    fresh = loss(candidate)
    better = fresh > score
    return candidate.where(better[:, None], best), fresh.where(better, score)
