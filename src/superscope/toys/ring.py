"""Features on a ring and on a self-similar tree: inputs, ReLU output models trained on them, and how even a trained ring is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from superscope.toys.batched import descend

AMPLITUDES, WEIGHTS = (a / 2 for a in np.polynomial.legendre.leggauss(5))
Points = Callable[[np.random.Generator], np.ndarray]


def bump(theta: np.ndarray, width: float, n: int) -> np.ndarray:
    """(P, n) detectors at angles 2 pi j / n for stimuli at theta (P,)."""
    away = np.abs((2 * np.pi * np.arange(n) / n - theta[:, None] + np.pi) % (2 * np.pi) - np.pi)
    return np.where(away <= width * np.pi / 2, np.cos(away / width), 0.0)


def ring_points(width: float, n: int) -> Points:
    """96 stimuli a step: angles and amplitudes stratified, paired at random."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        theta = 2 * np.pi * (np.arange(96) + rng.random(96)) / 96
        return rng.permutation((np.arange(96) + rng.random(96)) / 96)[:, None] * bump(theta, width, n)

    return draw


def tree_paths(depth: int, ratio: float) -> np.ndarray:
    """(2^depth, 2^(depth+1) - 2): what each leaf switches on, level by level, sizes 1, ratio, ratio^2, ..."""
    leaf = np.arange(2**depth)
    return np.concatenate([np.eye(2**k)[leaf >> (depth - k)] * ratio ** (k - 1) for k in range(1, depth + 1)], axis=1)


def initial(seeds: list[int], m: int, n: int, restarts: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """W (seed * restart, m, n) at a tenth of Xavier's scale, b (..., 1, n) slightly open: no detector starts dead."""
    rngs = [np.random.default_rng([s, r, m, n]) for s in seeds for r in range(restarts)]
    w = [rng.standard_normal((m, n)) * 0.1 * np.sqrt(2 / (m + n)) for rng in rngs]
    return np.array(w), np.full((len(w), 1, n), 0.02)


def ring_start(seeds: list[int], width: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The continuous ring, with a little noise: columns evenly on a circle of the radius that reproduces a bump's size."""
    angle, radius = 2 * np.pi * np.arange(n) / n, 1 / np.sqrt((bump(np.zeros(1), width, n) ** 2).sum())
    ring = radius * np.stack([np.cos(angle), np.sin(angle)])
    w = [ring + 0.003 * np.random.default_rng([s, 1, n]).standard_normal(ring.shape) for s in seeds]
    return np.array(w), np.full((len(seeds), 1, n), -0.05)


def polygon(n: int, corners: int) -> np.ndarray:
    """(1, 2, n) columns at the corners of a regular polygon, neighbours together; corners = n is a circle."""
    angle = 2 * np.pi * np.floor(np.arange(n) * corners / n) / corners
    return np.stack([np.cos(angle), np.sin(angle)])[None]


def train(points: Points, start: tuple[np.ndarray, np.ndarray], steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """W (net, m, n) and b (net, 1, n) after Adam on fresh points, shared by all nets."""
    w, b = (torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in start)
    rng = np.random.default_rng([seed, 18])

    def losses(step: int) -> torch.Tensor:
        x = torch.tensor(points(rng), dtype=torch.float32)
        return ((torch.relu(x @ w.transpose(1, 2) @ w + b) - x) ** 2).sum(-1).mean(-1)

    descend([w, b], losses, steps, 4e-3, warmup=0.1)
    return w.detach().numpy().astype(float), b.detach().numpy().astype(float)


def expected_loss(w: np.ndarray, b: np.ndarray, patterns: np.ndarray, amplitude: bool) -> np.ndarray:
    """(net,) exact over patterns (P, n) and, with `amplitude`, over amplitudes uniform on [0, 1]."""
    levels = zip(AMPLITUDES + 0.5, WEIGHTS, strict=True) if amplitude else [(1.0, 1.0)]
    y = patterns @ np.swapaxes(w, 1, 2) @ w
    return np.sum([v * ((np.maximum(a * y + b, 0) - a * patterns) ** 2).sum(-1).mean(-1) for a, v in levels], axis=0)


def linear_loss(patterns: np.ndarray, m: int, amplitude: bool) -> float:
    """Of the best affine network of rank m: what the leading m components of the inputs leave."""
    second, first = (patterns.T @ patterns / len(patterns) * (1 / 3 if amplitude else 1), patterns.mean(0))
    first = first / 2 if amplitude else first
    return float(np.linalg.eigvalsh(second - np.outer(first, first))[:-m].sum())


def unevenness(w: np.ndarray) -> np.ndarray:
    """(net,) coefficient of variation of |dW / dphi| along the ring, W (net, m, n)."""
    step = np.linalg.norm(w - np.roll(w, 1, -1), axis=1)
    return step.std(-1) / step.mean(-1)


def peak(angles: np.ndarray) -> np.ndarray:
    """(net,) largest Fourier coefficient of the density of angles (net, n), over harmonics 1 ... n/2."""
    k = np.arange(1, angles.shape[1] // 2 + 1)
    return np.abs(np.exp(1j * k[:, None] * angles[:, None]).mean(-1)).max(-1)


def shot_noise(n: int, seed: int) -> float:
    """99th percentile of that maximum for n angles drawn independently (maximum-statistic null)."""
    return float(np.quantile(peak(np.random.default_rng([seed, n]).uniform(0, 2 * np.pi, (1000, n))), 0.99))


def continuous(w: np.ndarray, bar: float) -> np.ndarray:
    """(net,) flags: |dW / dphi| varies by less than 5 % and the density of columns has no peak."""
    return (unevenness(w) < 0.05) & (peak(np.arctan2(w[:, 1], w[:, 0])) < bar)
