"""Networks of problem 4.1 whose basis is privileged by construction: with unequal strengths and noise, measured as the rest."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.linalg import hadamard

import superscope as ss
from superscope import measure
from superscope.evidence import tables as evidence
from superscope.inputs.strata import StratifiedPlan
from superscope.studies.p4_01_dropout_basis import tables
from superscope.studies.p4_01_dropout_basis.dropout import make_masks, turn

NOISE = 0.1  # of every weight, relative to the root mean square weight of its feature
RATE = 0.5  # dropout of the planted causal test
NEURONS = 16  # a power of two, for Hadamard's matrix


def aligned(n: int, m: int, rng: np.random.Generator) -> np.ndarray:
    """W (m, n): every feature on one neuron and half as strongly on another, strengths .7 to 1.1, noise on all weights."""
    W = np.zeros((m, n))
    for feature in range(n):
        first, second = rng.choice(m, 2, replace=False)
        W[first, feature], W[second, feature] = rng.choice([-1, 1], 2) * (1, 0.5)
    return _noisy(W, rng)


def spread(n: int, m: int, rng: np.random.Generator) -> np.ndarray:
    """W (m, n): every feature equally on all neurons with signs of its own, strengths .7 to 1.1, noise on all weights."""
    return _noisy(rng.choice([-1.0, 1.0], (m, n)), rng)


def _noisy(W: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    W = W / np.linalg.norm(W, axis=0)
    W = W + NOISE * rng.standard_normal(W.shape) / np.sqrt(len(W))
    return W * rng.uniform(0.7, 1.1, W.shape[1])


def planted_bases(n: int, m: int, seeds: range, rotations: int) -> pd.DataFrame:
    """Rows of the arms "planted bases" (half aligned, half spread) and "planted flip" (z of spread minus z of aligned)."""
    z = np.empty((len(seeds), 2))
    for place, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, 41])
        z[place] = tables.alignment(np.stack([aligned(n, m, rng), spread(n, m, rng)]), rotations, seed).z
    return evidence.arms(
        evidence.arm("planted bases", seeds, privileged=(np.abs(z) > 5).mean(1)),
        evidence.arm("planted flip", seeds, contrast=z[:, 1] - z[:, 0]),
    )


def planted_turns(decay: float, density: float, seeds: range, rotations: int, points: int, draws: int) -> np.ndarray:
    """(seed,) rise of the loss with dropout when networks are turned whose features are spread evenly, for sparse inputs."""
    n = NEURONS
    inputs = ss.SparseFeatures(n, density, importance=tuple(decay ** np.arange(n)))
    plan = StratifiedPlan(inputs.replace(importance=1.0), points)
    rises = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 42])
        W = _noisy(hadamard(n) * rng.choice([-1.0, 1.0], (n, 1)), rng)
        x = plan.draw(rng, 1)[0]
        haar = measure.nulls.haar_rotations(n, rotations, int(rng.integers(2**31)))
        masks = make_masks(n, RATE, len(x), draws, rng)
        rises.append(turn(W, np.zeros(n), x, plan.weight, inputs.importances, masks, haar).rise)
    return np.array(rises)
