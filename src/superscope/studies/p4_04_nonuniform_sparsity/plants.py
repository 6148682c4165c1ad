"""Curves, pentagons and two-class networks of problem 4.4 in which the claims are true by construction, with noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import superscope as ss
from superscope import measure
from superscope.studies.p4_04_nonuniform_sparsity.one_rarer import FEATURES, HIDDEN, Arm, digon_theory
from superscope.studies.p4_04_nonuniform_sparsity.two_classes import Cell

CROSSING = 0.4
NOISE = 0.05


def curves(relative: np.ndarray, density: float, seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and losses (label, seed, kind) of pentagons and digons that are equal at CROSSING.

    Digons by their closed form, pentagons half as steep, 2 % noise; three in ten networks are not found where the other kind is
    far better, as happens in training (`crossing` cannot bear that a kind is missing where it is best).
    """
    rng = np.random.default_rng([seeds.start, 44])
    digons, meet = digon_theory(relative, density), float(digon_theory(np.array([CROSSING]), density)[0])
    loss = np.stack([(digons + meet) / 2, digons], axis=-1)[:, None] * np.ones((1, len(seeds), 1))
    loss = loss * (1 + 0.02 * rng.standard_normal(loss.shape))
    far = np.stack([relative < CROSSING - 0.15, relative > CROSSING + 0.15], axis=-1)[:, None]  # pentagons, digons
    lost = far & (rng.random(loss.shape) < 0.3)
    return relative, np.where(lost, np.nan, loss)


def pentagons(seeds: range) -> Arm:
    """Pentagons with biases from -0.3 to -0.05 whose norms are 1 / (1 - |b|), directions and norms off by some percent."""
    rng = np.random.default_rng([seeds.start, 45])
    count = len(seeds)
    b = -rng.uniform(0.05, 0.3, (1, count, 1, FEATURES))
    W = measure.ideal("pentagon") / (1 + b)[..., None, :] * (1 + NOISE / 2 * rng.standard_normal((1, count, 1, 1, FEATURES)))
    W = W + NOISE / 5 * rng.standard_normal(W.shape)
    gone = np.full((1, count, 1), np.nan)
    return Arm(
        np.array([1.0]), np.concatenate([np.zeros((1, count, 1)), gone], -1), np.ones((1, count, 2)),
        np.concatenate([W, np.zeros((1, count, 1, HIDDEN, FEATURES))], 2), np.concatenate([b, np.zeros_like(b)], 2),
    )  # fmt: skip


def cells(
    densities: Sequence[float], ratios: Sequence[float], per_class: int, hidden: int, seeds: range, kind: str
) -> list[Cell]:
    """Networks of digons in every condition at equal importance: as many represented features of either class as dimensions.

    kind "shaded": common features are longer, and four in five digons join a rare one with a common one. "apart": four in
    five join two of a class. "alike": lengths and partners have nothing to do with the class. Biases are negative, the other
    features leave remnants.
    """
    made = []
    for place, (p, ratio) in enumerate((p, ratio) for p in densities for ratio in ratios):
        rng = np.random.default_rng([seeds.start, 46, place, *kind.encode()])
        inputs = ss.SparseFeatures(2 * per_class, (p,) * per_class + (p * ratio,) * per_class)
        W = np.stack([digons(per_class, hidden, kind, rng) for _ in seeds])
        b = -np.abs(0.05 + 0.02 * rng.standard_normal((len(seeds), 2 * per_class)))
        made.append(Cell(p, ratio, "equal importance", inputs, W, b, np.zeros(len(seeds)), np.array(seeds)))
    return made


def digons(per_class: int, hidden: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    """(hidden, 2 per_class) one network: a digon on every axis of a random basis, noise on every weight."""
    kept = min(hidden, per_class)
    common, rare = rng.permutation(per_class)[:kept], per_class + rng.permutation(per_class)[:kept]
    within = 2 * round((0.4 if kind == "apart" else 0.1) * kept)
    if kind != "alike":
        order = np.concatenate([
            np.stack([common[within:], rare[within:]], 1).ravel(), common[:within], rare[:within]
        ])  # fmt: skip
    else:
        order = rng.permutation(np.concatenate([common, rare]))
    length = rng.uniform(0.7, 1.1, 2 * per_class)
    if kind == "shaded":
        length = np.where(np.arange(2 * per_class) < per_class, rng.uniform(0.9, 1.1, 2 * per_class), 0.8 * length)
        length = np.maximum(length, 0.62)
    W = NOISE * rng.standard_normal((hidden, 2 * per_class))
    for k, (one, other) in enumerate(order.reshape(kept, 2)):
        W[k, one] += length[one]
        W[k, other] -= length[other]
    return measure.nulls.haar_rotations(hidden, 1, int(rng.integers(2**31)))[0] @ W
