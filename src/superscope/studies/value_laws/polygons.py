"""Polygons of problems 4.7, 4.8 and 4.9: n features in two dimensions, at most one on, trained and in theory."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import superscope as ss
from superscope.measure import theory
from superscope.studies.value_laws.laws import Laws, Sizes, quadrature

if TYPE_CHECKING:
    import pandas as pd

    from superscope.inputs.features import ValueLaw
    from superscope.lab import Lab

TOLERANCE = 0.02  # of the loss, trained against theory (written down for 4.7)
HALF_EMPTY = 0.5  # share of empty inputs in training
START_SCALES = (0.1, 3.0)  # initial weights, in units of Xavier's
MORE_RESTARTS = 10  # times as many starts above n = 6, where basins are small


@functools.cache
def _regular(k: int, law: ValueLaw) -> float:
    """1-sparse loss of the best regular k-gon, a share of E[v^2]; a cross is exact for every law."""
    nodes = quadrature(law)
    return theory.polygon_optimum(k, nodes).loss / nodes.mean_square() if k > 4 else 0.0


def best_polygon(n: int, law: ValueLaw) -> float:
    """Least 1-sparse loss of a regular k-gon with the other n-k features answered by 0, over k; share of E[v^2].

    That is the n-gon itself up to n=7. At n=8 dropping one feature already pays (U[0,1]: 0.3436 instead of 0.3466). Chen et
    al. 2023 (arXiv 2310.06301) call these the critical losses. For discrete laws and n > 6 mixtures of shapes can be better.
    """
    return min(k / n * _regular(k, law) + 1 - k / n for k in range(min(n, 4), n + 1))


def deviation(loss, expected):
    """|loss - expected| as a share of `expected`; where theory says 0, as a share of the loss of answering 0, which is 1."""
    expected = np.asarray(expected, dtype=float)
    return np.abs(loss - expected) / np.where(expected > 1e-6, expected, 1.0)


@dataclass(frozen=True)
class Polygons:
    """Best restart per law, n and seed. table: one row each, with loss, theory and deviation (shares of the loss of
    answering 0) and the mean norm. weights[law, n]: W (seed, 2, n) and b (seed, n)."""

    laws: Laws
    table: pd.DataFrame
    weights: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]

    def off(self, law: str, against: str | None = None, sizes: tuple[int, ...] | None = None) -> np.ndarray:
        """Per seed, the largest deviation over n of the networks trained on `law` from the theory of `against`."""
        rows = self.table[(self.table.law == law) & self.table.n.isin(sizes or tuple(self.table.n.unique()))]
        expected = {n: best_polygon(int(n), self.laws[against or law]) for n in rows.n.unique()}
        off = deviation(rows.loss, rows.n.map(expected))
        return off.groupby(rows.seed).max().to_numpy()

    def tested_on(self, law: str, values: ValueLaw, n: int) -> np.ndarray:
        """Per seed, the 1-sparse loss of the networks trained on `law` when the values follow another law (a share)."""
        W, b = self.weights[law, n]
        return np.asarray(one_active_loss(W, b, values))

    def picture(self, law: str, n: int) -> tuple[np.ndarray, np.ndarray]:
        """W (2, n) and b (n,) of the best seed."""
        W, b = self.weights[law, n]
        best = int(np.argmin(one_active_loss(W, b, self.laws[law])))
        return W[best], b[best]


def one_active_loss(W, b, law: ValueLaw):
    """1-sparse loss in the limit of density -> 0, exact, as a share of the loss of answering 0. W (..., 2, n), b (..., n).

    Almost all inputs are empty in that limit, so a positive bias would cost infinitely much: it is set to 0.
    """
    nodes = quadrature(law)
    return theory.one_sparse_loss(W, np.minimum(b, 0), nodes) / nodes.mean_square()


def train(laws: Laws, sizes: Sizes, lab: Lab) -> Polygons:
    """Train n features in two dimensions with at most one on, half of the inputs empty.

    Inputs with exactly one feature on would miss the limit of density -> 0: a network may then answer the mean of a feature it
    drops. Starts come in two sizes because basins differ: of the starts at a tenth of Xavier's weights most reach an exact
    octagon for {1} but none the heptagon for U[0,1], which 2 % of the starts at three times Xavier's weights find.
    """
    import pandas as pd

    recipe = ss.Recipe.fast(steps=sizes.polygon_steps, points=64, lr=0.03, beta2=0.99)
    seeds = lab.seeds(sizes.polygon_seeds)
    rows, weights = [], {}
    for n in sizes.polygon_sizes:
        inputs = ss.SparseFeatures(n, density=(1 - HALF_EMPTY) / n, groups=(ss.AntiCorrelated(tuple(range(n))),))
        over = {"values": list(laws.values()), "init_scale": START_SCALES}
        restarts = sizes.polygon_restarts * (MORE_RESTARTS if n > 6 else 1)
        sweep = ss.Sweep(ss.Bottleneck(n, 2), inputs, over=over, seeds=seeds, restarts=restarts)
        run = lab.train(sweep, recipe, name=f"polygon-{n}")
        W, b = (array.stack(start=("init_scale", "restart")) if restarts > 1 else array.rename(init_scale="start")
                for array in (run.W, run.b_out))  # fmt: skip
        for place, (name, law) in enumerate(laws.items()):
            own = W.isel(values=place).transpose("seed", "start", "hidden", "feature").values
            bias = b.isel(values=place).transpose("seed", "start", "feature").values
            loss, expected = np.asarray(one_active_loss(own, bias, law)), best_polygon(n, law)
            best = (np.arange(len(seeds)), loss.argmin(1))
            weights[name, n] = own[best], bias[best]
            rows.append(pd.DataFrame({
                "law": name, "n": n, "seed": list(seeds), "loss": loss[best], "theory": expected,
                "deviation": deviation(loss[best], expected), "mean norm": np.linalg.norm(own[best], axis=1).mean(-1),
                "starts within 1%": (deviation(loss, expected) < 0.01).mean(1),
            }))  # fmt: skip
    return Polygons(laws, pd.concat(rows, ignore_index=True), weights)


def by_hand(law: ValueLaw, sizes: tuple[int, ...], seeds: range, lab: Lab) -> np.ndarray:
    """(seed,) the plant: largest deviation over n of the best polygon built by hand, turned, each weight off by 0.1 %."""
    rng = lab.rng("polygons by hand")
    off = np.zeros((len(sizes), len(seeds)))
    for row, n in enumerate(sizes):
        W, b = built(n, law)
        angle = rng.uniform(0, 2 * np.pi, len(seeds))
        turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], -2)
        noisy = (turn @ W) * (1 + 0.001 * rng.standard_normal((len(seeds), 2, n)))
        off[row] = deviation(one_active_loss(noisy, np.broadcast_to(b, (len(seeds), n)), law), best_polygon(n, law))
    return off.max(axis=0)


def built(n: int, law: ValueLaw) -> tuple[np.ndarray, np.ndarray]:
    """W (2, n) and b (n,) of the least 1-sparse loss: a regular k-gon, the other features dropped."""
    k = min(range(min(n, 4), n + 1), key=lambda k: k / n * _regular(k, law) + 1 - k / n)
    made = theory.polygon_optimum(k, quadrature(law)) if k > 4 else None
    angle = 2 * np.pi * np.arange(k) / k
    length, bias = (made.length, made.bias) if made else (1.0, 0.0)
    W = np.zeros((2, n))
    W[:, :k] = length * np.stack([np.cos(angle), np.sin(angle)])
    return W, np.r_[np.full(k, bias), np.zeros(n - k)]
