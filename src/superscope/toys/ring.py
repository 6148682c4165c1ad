"""Data with a number of features and without one, and ReLU output models y = ReLU(W^T W x + b) trained on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from superscope.toys.batched import descend

Points = Callable[[np.random.Generator, int], np.ndarray]


def sparse(density: np.ndarray) -> Points:
    """Independent features, uniform on [0, 1] when on, with these chances (n,): any number on at once."""

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        return (rng.random((count, len(density))) < density) * rng.random((count, len(density)))

    return draw


def bump(theta: np.ndarray, width: float, n: int) -> np.ndarray:
    """(P, n) detectors at angles 2 pi j / n for stimuli at theta (P,): cos(distance / width) within width * pi / 2."""
    away = np.abs((2 * np.pi * np.arange(n) / n - theta[:, None] + np.pi) % (2 * np.pi) - np.pi)
    return np.where(away <= width * np.pi / 2, np.cos(away / width), 0.0)


def ring(width: float, n: int) -> Points:
    """Stimuli on a ring: angles and amplitudes stratified, paired at random."""

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        theta = 2 * np.pi * (np.arange(count) + rng.random(count)) / count
        return rng.permutation((np.arange(count) + rng.random(count)) / count)[:, None] * bump(theta, width, n)

    return draw


def tree_paths(depth: int, ratio: float) -> np.ndarray:
    """(2^depth, 2^(depth+1) - 2): what each leaf switches on, level by level, sizes 1, ratio, ratio^2, ..."""
    leaf = np.arange(2**depth)
    return np.concatenate([np.eye(2**k)[leaf >> (depth - k)] * ratio ** (k - 1) for k in range(1, depth + 1)], axis=1)


def tree(depth: int, ratio: float) -> Points:
    """One leaf at a time with all its ancestors, uniform on [0, 1] together."""
    paths = tree_paths(depth, ratio)

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        return paths[rng.integers(len(paths), size=count)] * rng.random((count, 1))

    return draw


def train(points: Points, seeds: list[int], m: int, n: int, restarts: int, steps: int, count: int, lr: float) -> np.ndarray:
    """W (seed, m, n), the best of the restarts. Starts at a tenth of Xavier's scale with biases slightly open, so that no
    detector starts dead. Adam on `count` fresh points a step, shared. Loss: sum over features, mean over samples."""
    rngs = [np.random.default_rng([s, r, m, n]) for s in seeds for r in range(restarts)]
    scale = 0.1 * np.sqrt(2 / (m + n))
    start = np.array([rng.standard_normal((m, n)) * scale for rng in rngs])
    w = torch.tensor(start, dtype=torch.float32).requires_grad_()
    b = torch.full((len(rngs), 1, n), 0.02).requires_grad_()
    rng = np.random.default_rng([seeds[0], 18])

    def loss(x: torch.Tensor) -> torch.Tensor:
        x = x.expand(len(rngs), *x.shape)
        return ((torch.relu(torch.baddbmm(b, torch.bmm(x, w.transpose(1, 2)), w)) - x) ** 2).sum(-1).mean(-1)

    descend([w, b], lambda step: loss(torch.tensor(points(rng, count), dtype=torch.float32)), steps, lr, warmup=0.1)
    with torch.no_grad():
        fixed = torch.tensor(points(np.random.default_rng([seeds[0], 180]), 2048), dtype=torch.float32)
        losses = loss(fixed).reshape(len(seeds), restarts).numpy()
    best = losses.argmin(1) + restarts * np.arange(len(seeds))
    return w.detach().numpy()[best].astype(float)


def polygon(n: int, corners: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """(2, n) columns at the corners of a polygon, neighbours together; corners = n is a circle. rng: corners are up to a
    quarter of a side away from even."""
    away = np.zeros(corners) if rng is None else rng.uniform(-0.25, 0.25, corners)
    corner = np.arange(n) * corners // n
    angle = 2 * np.pi * (corner + away[corner]) / corners
    return np.stack([np.cos(angle), np.sin(angle)])


def fractional(w: np.ndarray) -> np.ndarray:
    """(net,) of the columns of W (net, m, n) longer than a tenth of the longest, the share shorter than nine tenths: 0 where a
    feature is there or is not."""
    norm = np.linalg.norm(w, axis=1)
    size = norm / norm.max(1, keepdims=True)
    return ((size > 0.1) & (size < 0.9)).sum(1) / (size > 0.1).sum(1)
