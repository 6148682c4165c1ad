"""Problem 4.4, first part: five features in two dimensions, one of them rarer (or denser, or less important) than the others.

TMS ("Perturbing a single feature") saw the pentagon bend and then snap to two digons when one feature is about 2.5 times
rarer. Both kinds of minimum are found by restarts; where their loss curves cross is where the best network changes kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure
from superscope.lab import Lab
from superscope.sweep.run import SweepRun

FEATURES, HIDDEN = 5, 2
VARIED = FEATURES - 1  # the feature that is varied
KINDS = ("pentagon", "two digons")
OTHER = -1


@dataclass(frozen=True)
class Arm:
    """Best networks of both kinds along one axis.

    relative (label,): density (or importance) of the varied feature over that of the others; loss, share
    (label, seed, kind): exact expected loss of the best network of a kind, NaN if no restart found one, and the share of
    restarts that ended there; W (label, seed, kind, hidden, feature), b (label, seed, kind, feature): those networks.
    """

    relative: np.ndarray
    loss: np.ndarray
    share: np.ndarray
    W: np.ndarray
    b: np.ndarray

    def best(self) -> np.ndarray:
        """(label, seed) index into KINDS of the better kind; the pentagon where neither was found."""
        return np.where(np.isnan(self.loss), np.inf, self.loss).argmin(-1)

    def crossings(self) -> np.ndarray:
        """(seed,) `crossing` of every seed."""
        return np.array([crossing(self.relative, self.loss[:, s]) for s in range(self.loss.shape[1])])


def crossing(relative: np.ndarray, loss: np.ndarray) -> float:
    """Relative density below which two digons are best; loss (label, kind), labels ascending.

    Linear interpolation of the loss difference; halfway where one kind is missing on one side. The lowest label if digons
    are never best and the highest if they always are: the crossing, if any, lies beyond it.
    """
    filled = np.where(np.isnan(loss), np.inf, loss)
    digons = filled[:, 1] < filled[:, 0]
    if not digons.any():
        return float(relative[0])
    k = int(np.flatnonzero(digons)[-1])
    if k == len(relative) - 1:
        return float(relative[-1])
    gap = loss[k : k + 2, 0] - loss[k : k + 2, 1]  # positive, then negative
    part = gap[0] / (gap[0] - gap[1]) if np.isfinite(gap).all() else 0.5
    return float(relative[k] + part * (relative[k + 1] - relative[k]))


def kind_of(W: np.ndarray) -> np.ndarray:
    """(...,) index into KINDS, or OTHER; W (..., 2, 5). Pentagon: all five kept (norm > 1/2), however bent. Two digons: the
    varied feature dropped, each other feature with an opposite partner (cosine below -0.95)."""
    norm = np.linalg.norm(W, axis=-2)
    kept = norm > 0.5
    unit = W / np.maximum(norm, 1e-12)[..., None, :]
    cosine = np.swapaxes(unit, -1, -2) @ unit
    paired = cosine[..., :VARIED, :VARIED].min(-1) < -0.95
    digons = ~kept[..., VARIED] & kept[..., :VARIED].all(-1) & paired.all(-1)
    return np.where(kept.all(-1), 0, np.where(digons, 1, OTHER))


def subset_points(points: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x (P, 5) and on (P, 5): for every subset of active features the same number of quasi-random values U[0, 1].

    With `subset_weights` an expectation over any densities becomes a sum over the same points, so that losses at different
    densities are compared without sampling noise. points: a power of two.
    """
    from scipy.stats import qmc

    x, on = [], []
    for subset in itertools.product([False, True], repeat=FEATURES):
        flags = np.array(subset)
        values = np.zeros((points, FEATURES))
        if flags.any():
            values[:, flags] = qmc.Sobol(int(flags.sum()), seed=seed).random(points)
        x.append(values)
        on.append(np.broadcast_to(flags, values.shape))
    return np.concatenate(x), np.concatenate(on)


def subset_weights(on: np.ndarray, density: np.ndarray) -> np.ndarray:
    """(P,) probability of each point of `subset_points`."""
    chance = np.where(on, density, 1 - density).prod(-1)
    return chance / (len(on) / 2**FEATURES)


def exact_loss(W: np.ndarray, b: np.ndarray, x: np.ndarray, weight: np.ndarray, importance: np.ndarray) -> float:
    """Expected loss sum_i I_i (x_i - y_i)^2 of one network on weighted points."""
    y = np.maximum(x @ W.T @ W + b, 0)
    return float(weight @ ((x - y) ** 2 @ importance))


def digon_theory(relative: np.ndarray, density: float, varied: str = "density") -> np.ndarray:
    """Loss of two unit digons with the varied feature answered by its mean: 2 p^2/3 + I_5 (p_5/3 - p_5^2/4)."""
    p5 = density * relative if varied == "density" else np.full(len(relative), density)
    weight = relative if varied == "importance" else 1.0
    return 2 * measure.theory.pair_loss(density) + measure.theory.ignored_loss(p5, weight)


def train_arm(
    lab: Lab,
    name: str,
    relative: Sequence[float],
    density: float,
    varied: str,
    seeds: range,
    restarts: int,
    points: int,
    steps: int,
) -> Arm:
    """Train all restarts along `relative` and keep the best of each kind. varied: "density", "importance" or "nothing".

    "nothing" is the control: as many networks, labelled in the same way, but the five features are all alike.
    """
    toy, inputs = ss.Bottleneck(FEATURES, HIDDEN), ss.SparseFeatures(FEATURES, density)
    labels = np.asarray(relative, dtype=float)
    usual = {"density": density, "importance": 1.0}
    recipe = ss.Recipe.fast(steps=steps)
    if varied == "nothing":
        every = range(seeds.start, seeds.start + len(labels) * len(seeds))
        run = lab.train(ss.Sweep(toy, inputs, seeds=every, restarts=restarts), recipe, name=name)
    else:
        rows = [(usual[varied],) * VARIED + (usual[varied] * r,) for r in labels]
        run = lab.train(ss.Sweep(toy, inputs, over={varied: rows}, seeds=seeds, restarts=restarts), recipe, name=name)
    return best_of_kinds(run, labels, density, varied, len(seeds), restarts, points)


def best_of_kinds(
    run: SweepRun, labels: np.ndarray, density: float, varied: str, seeds: int, restarts: int, points: int
) -> Arm:
    shape = (len(labels), seeds, restarts)
    W, b = run.W.values.reshape(*shape, HIDDEN, FEATURES), run.b_out.values.reshape(*shape, FEATURES)
    rough, kind = run.loss.values.reshape(shape), kind_of(W)
    x, on = subset_points(points)
    arm = Arm(
        labels, np.full((*shape[:2], 2), np.nan), np.stack([(kind == k).mean(-1) for k in range(2)], -1),
        np.full((*shape[:2], 2, HIDDEN, FEATURES), np.nan), np.full((*shape[:2], 2, FEATURES), np.nan),
    )  # fmt: skip
    for i, r in enumerate(labels):
        factor = np.ones(FEATURES)
        factor[VARIED] = r
        weight = subset_weights(on, density * factor if varied == "density" else np.full(FEATURES, density))
        importance = factor if varied == "importance" else np.ones(FEATURES)
        for s, k in np.ndindex(seeds, 2):
            mine = np.flatnonzero(kind[i, s] == k)
            if not len(mine):
                continue
            chosen = mine[rough[i, s, mine].argmin()]
            arm.W[i, s, k], arm.b[i, s, k] = W[i, s, chosen], b[i, s, chosen]
            arm.loss[i, s, k] = exact_loss(arm.W[i, s, k], arm.b[i, s, k], x, weight, importance)
    return arm


def norm_bias_errors(arm: Arm) -> pd.DataFrame:
    """Mean relative error per seed of forms that tie ||W_i|| to b_i, over all features of the best pentagons.

    TMS gives ||W_i|| = 1/(1 - b_i) for the "slight negative bias" of the pentagon; since a negative b_i would make that
    less than 1 while the text speaks of compensation, |b_i| is taken. The others: the same for the squared norm, a response
    of 1 to an input of 1, the least-squares response to the feature alone, and no relation at all (norm 1).
    """
    pentagon = np.isfinite(arm.loss[..., 0])
    rows = []
    for s in range(arm.loss.shape[1]):
        W, b = arm.W[pentagon[:, s], s, 0], arm.b[pentagon[:, s], s, 0]
        if not len(W):
            W, b = np.full((1, HIDDEN, FEATURES), np.nan), np.full((1, FEATURES), np.nan)  # no pentagon: no error to speak of
        norm, size = np.linalg.norm(W, axis=-2), np.abs(b)
        forms = {
            "1/(1-|b|)": 1 / (1 - size), "sqrt 1/(1-|b|)": np.sqrt(1 / (1 - size)), "sqrt(1+|b|)": np.sqrt(1 + size),
            "least squares": np.sqrt(alone_gain(size)), "norm 1": np.ones_like(size),
        }  # fmt: skip
        rows.append({"seed": s, **{name: float(np.mean(np.abs(norm / form - 1))) for name, form in forms.items()}})
    return pd.DataFrame(rows)


def alone_gain(size: np.ndarray) -> np.ndarray:
    """Gain g that minimises E (x - ReLU(g x - size))^2 for x uniform on [0, 1], by fixed-point iteration; size in [0, 1).

    Stationarity: integral of x (g x - size - x) from size/g to 1 is 0, so g = 1 + 1.5 size (1 - t^2)/(1 - t^3), t = size/g.
    """
    g = 1 + 1.5 * size
    for _ in range(60):
        t = size / g
        g = 1 + 1.5 * size * (1 - t**2) / (1 - t**3)
    return g


def canonical(W: np.ndarray) -> np.ndarray:
    """One network (2, 5) turned so that the varied feature (the first one if it is dropped) points up and the other four,
    which are alike, follow in the order of their angles: for pictures only."""
    lead = VARIED if np.linalg.norm(W[:, VARIED]) > 0.5 else 0
    angle = np.pi / 2 - np.arctan2(W[1, lead], W[0, lead])
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ W
    around = np.mod(np.arctan2(turned[1], turned[0]) - np.pi / 2 + 1e-6, 2 * np.pi)
    return turned[:, [*np.argsort(around[:VARIED]), VARIED]]
