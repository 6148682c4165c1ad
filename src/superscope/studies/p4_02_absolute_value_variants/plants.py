"""Absolute value networks of which the claims of 4.2 are true by construction: unequal strengths, noise on every weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag
from scipy.optimize import linprog

from superscope.toys.aligned import Aligned

NOISE = 0.05
CODED = 16  # neurons that share

Weights = tuple[np.ndarray, np.ndarray]  # W (m, n), W_out (n, m); or with seeds first


@dataclass(frozen=True)
class Planted(Aligned):
    """An absolute value model that starts as `plan` builds it: "exact" and "allocation" (whole neurons), or "code": whole
    neurons for the most important features, if there are many, and the last 16 neurons shared by the next 12."""

    plan: str = "exact"
    density: float = 0.01

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Initial parameters, float32."""
        n, m = self.n_features, self.n_hidden
        coded = min(m, CODED) if self.plan == "code" else 0
        own = (m - coded) // 2  # features with neurons of their own
        w, out = whole_neurons(n, m - coded, rng)
        if coded:
            more = code(n - own, coded, 3 * coded // 4, rng)
            w, out = (block_diag(a[: m - coded, :own], b) for a, b in ((w, more[0]), (out.T, more[1].T)))
            out = out.T
        served = np.abs(w).max(0) > 0
        noise = {"exact": 0.1}.get(self.plan, 0.02)
        w, out = (x * (1 + noise * rng.standard_normal(x.shape)) for x in (w, out))
        mean = np.where(served, 0.0, self.density / 2)  # the best answer about a feature that is not served
        return {name: x.astype(np.float32) for name, x in (("W", w), ("W_out", out), ("b_out", mean))}


def whole_neurons(n: int, m: int, rng: np.random.Generator) -> Weights:
    """W (m, n), W_out (n, m): two neurons for each of the first m/2 features, of unequal strengths."""
    w = np.zeros((m, n))
    w[np.arange(m), np.arange(m) // 2] = rng.uniform(0.5, 2, m) * np.resize([1, -1], m)
    return w, np.divide(1, np.abs(w), out=np.zeros_like(w), where=w != 0).T


def code(n: int, m: int, served: int, rng: np.random.Generator, tries: int = 6) -> Weights:
    """W (m, n), W_out (n, m) that serve more features than whole neurons could, exactly while one feature is on.

    Either sign of a feature drives a random set of neurons; its decoder answers 1 to both and at most 0 to all other codes,
    which the output ReLU then silences. The best of several random codes, by the size of its decoders.
    """
    best, size, width = (np.zeros((m, n)), np.zeros((n, m))), np.inf, max(1, round(0.19 * m))
    for _ in range(tries):
        w, out = np.zeros((m, n)), np.zeros((n, m))
        for i in range(served):
            places = rng.permutation(m)[: 2 * width]
            w[places, i] = rng.uniform(0.5, 1, 2 * width) * np.repeat([1, -1], width)
        codes = np.concatenate([np.maximum(w[:, :served], 0), np.maximum(-w[:, :served], 0)], axis=1)
        for i in range(served):
            own = np.isin(np.arange(2 * served), (i, i + served))
            mine, others = (np.hstack([c, -c]) for c in (codes[:, own].T, codes[:, ~own].T))
            found = linprog(np.ones(2 * m), others, np.zeros(len(others)), mine, np.ones(2))
            if found.x is None:
                break
            out[i] = found.x[:m] - found.x[m:]
        else:
            if np.abs(out).sum() < size:
                best, size = (w, out), np.abs(out).sum()
    return best


def encoders(n: int, seeds: range, common: float) -> np.ndarray:
    """(seed, n, n) encoders of sparse features; a feature takes a share `common` of its partner's neurons besides its own."""
    made = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 43])
        w = rng.uniform(0.3, 1, (n, n)) * rng.choice([-1, 1], (n, n)) * (rng.random((n, n)) < 0.2)
        taken = np.where(rng.random((n, n // 2)) < common, w[:, 0::2], 0)
        w[:, 1::2] = np.where(taken != 0, taken, w[:, 1::2])
        made.append(w + 0.05 * rng.standard_normal((n, n)))
    return np.stack(made)


def mixture(n: int, m: int, rng: np.random.Generator) -> Weights:
    """Half of the neurons serve one half, the others two or three."""
    w, out = np.zeros((m, n)), np.zeros((n, m))
    for k in range(m):
        for i in rng.permutation(n)[: 1 if k < m // 2 else rng.integers(2, 4)]:
            wire(w, out, rng, k, i, rng.choice([-1, 1]) * rng.uniform(0.5, 2), 1.0)
    return w, out


def inhibition(n: int, m: int, rng: np.random.Generator) -> Weights:
    """m/4 neurons hear one half loudly and another softly, m/4 keep the first from the second's output, the rest serve one."""
    w, out = np.zeros((m, n)), np.zeros((n, m))
    features = rng.permutation(n)
    for k in range(m // 4):
        loud, soft = features[2 * k : 2 * k + 2]
        wire(w, out, rng, k, loud, rng.uniform(1.5, 2.5), 1.0)
        wire(w, out, rng, k, soft, rng.uniform(0.3, 0.6), 1.0)
        w[m // 4 + k, loud], out[soft, m // 4 + k] = rng.uniform(0.7, 1.3), -rng.uniform(2, 5)
    for k in range(m // 2, m):
        wire(w, out, rng, k, features[-1 - k % (n // 2)], rng.choice([-1, 1]) * rng.uniform(0.5, 2), 1.0)
    return w, out


def distribution(n: int, m: int, rng: np.random.Generator) -> Weights:
    """Three quarters of up to m halves have a neuron each, a quarter is computed by three unequal neurons of all."""
    w, out = np.zeros((m, n)), np.zeros((n, m))
    features = rng.permutation(n)[:m]
    own = 3 * len(features) // 4
    for k, i in enumerate(features):
        sign = rng.choice([-1, 1])
        served = [(k, 1.0)] if k < own else zip(rng.permutation(m)[:3], (0.45, 0.33, 0.22), strict=True)
        for neuron, product in served:
            wire(w, out, rng, neuron, i, sign * rng.uniform(0.5, 2), product)
    return w, out


def wire(w: np.ndarray, out: np.ndarray, rng: np.random.Generator, neuron: int, feature: int, hears: float, product: float):
    """The neuron hears a feature with weight `hears` and adds `product` to its output, give or take a fifth."""
    w[neuron, feature] = hears
    out[feature, neuron] = product / abs(hears) * rng.uniform(0.8, 1.2)


def networks(build: Callable[[int, int, np.random.Generator], Weights], n: int, m: int, seeds: range) -> Weights:
    """W (seed, m, n), W_out (seed, n, m), with noise on every entry."""
    w, out = (np.stack(part) for part in zip(*(build(n, m, np.random.default_rng([s, 42])) for s in seeds), strict=True))
    rng = np.random.default_rng([seeds.start, 42])
    return w + NOISE * rng.standard_normal(w.shape), out + NOISE * rng.standard_normal(out.shape)
