"""What theory says of 4.12, by hand: arrangements of classes and training from them, label layers, a crowd and a few."""

from __future__ import annotations

import numpy as np
import torch

from superscope.measure.weights.argmaxable import fourier_layer
from superscope.toys.batched import descend


def arrangement(shape: str, n: int, m: int, seeds: range) -> np.ndarray:
    """(seed, m, n) directions of n classes as theory has them, norms .8 to 1.2, noise of .05 on every weight."""
    if shape == "polygon":
        angle = 2 * np.pi * np.arange(n) / n
        ideal = np.stack([np.cos(angle), np.sin(angle)])
    elif shape == "simplex":
        ideal = np.zeros((m, n))
        ideal[: n - 1] = np.linalg.svd(np.eye(n) - 1 / n)[2][: n - 1]
        ideal /= np.linalg.norm(ideal, axis=0)
    else:
        ideal = np.hstack([np.eye(m), -np.eye(m)])[:, :n]
    rng = np.random.default_rng([seeds.start, n, m])
    shape_of = (len(seeds), *ideal.shape)
    return ideal * rng.uniform(0.8, 1.2, (len(seeds), 1, n)) + 0.05 * rng.standard_normal(shape_of)


def train_from(start: np.ndarray, steps: int, decay: float) -> np.ndarray:
    """(seed, m, n) as `toys.classifiers.train_bottleneck` trains with cross-entropy, but from `start` and without restarts."""
    w = torch.tensor(start, dtype=torch.float32).requires_grad_()

    def losses(_: int) -> torch.Tensor:
        logits = w.transpose(1, 2) @ w
        own = torch.diagonal(logits, dim1=1, dim2=2)
        return (torch.logsumexp(logits, -1) - own).mean(-1) + decay * (w**2).sum((1, 2))

    descend([w], losses, steps, 0.05, warmup=0)
    return w.detach().numpy().astype(float)


def label_layers(n: int, k: int, seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """(seed, n, 2k) and (seed, n, 2k + 1): Fourier layers with rows of unequal size and noise, and random projections of them.

    A Fourier layer of rank 2k + 1 makes all sets of k labels argmaxable (Grivas et al.); one dimension less cannot. The margin
    by which it does falls as n^-2k, and the noise with it: 0.03 for two of eight labels.
    """
    rng = np.random.default_rng([seeds.start, n, k])
    ideal = fourier_layer(n, k)
    noise = 0.03 * min(1.0, (8 / n) ** (2 * k)) * rng.standard_normal((len(seeds), *ideal.shape))
    full = ideal * rng.uniform(0.5, 1.5, (len(seeds), n, 1)) + noise
    return full @ rng.standard_normal((len(seeds), 2 * k + 1, 2 * k)), full


def crowd(n: int, m: int, seeds: range) -> np.ndarray:
    """(seed, m, n) directions pushed apart until each is the nearest to itself, norms .85 to 1.15."""
    rng = np.random.default_rng([seeds.start, 412])
    w = rng.standard_normal((len(seeds), m, n))
    for _ in range(300):
        w /= np.linalg.norm(w, axis=1, keepdims=True)
        away = np.exp(8 * (np.swapaxes(w, 1, 2) @ w - 1)) * (1 - np.eye(n))
        w = w - 0.2 * w @ away
    return w / np.linalg.norm(w, axis=1, keepdims=True) * rng.uniform(0.85, 1.15, (len(seeds), 1, n))


def few(n: int, m: int, seeds: range) -> np.ndarray:
    """(seed, m, n) digons on the axes for the first 2m features, remnants of size .1 of the others."""
    rng = np.random.default_rng([seeds.start, 413])
    w = 0.1 * rng.standard_normal((len(seeds), m, n))
    w[..., : 2 * m] += np.hstack([np.eye(m), -np.eye(m)])[:, :n]
    return w
