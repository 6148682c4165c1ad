"""Problem 4.4, second part: a class of common and a class of rare features in one bottleneck.

Features 0 .. c-1 are common (density p), c .. 2c-1 rare (density p x ratio). Importance is either equal, or scaled so that
p_i I_i is equal ("equal impact"), which separates how often a feature occurs from how much it weighs in the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure
from superscope.lab import Lab
from superscope.measure.weights.dimensionality import ACTIVATIONS

PAIRS = ("common-common", "common-rare", "rare-rare")
CONDITION = ["importance", "density", "ratio"]
FACING = -0.3  # pairs with a cosine below this count as facing each other


@dataclass(frozen=True)
class Cell:
    """One condition and its networks: W (seed, hidden, 2c), b (seed, 2c), loss (seed,), seeds (seed,)."""

    density: float
    ratio: float
    importance: str
    inputs: ss.SparseFeatures
    W: np.ndarray
    b: np.ndarray
    loss: np.ndarray
    seeds: np.ndarray

    @property
    def rare(self) -> np.ndarray:
        """(2c,) flags."""
        return np.arange(self.inputs.n) >= self.inputs.n // 2

    @property
    def label(self) -> dict[str, float | str]:
        return {"importance": self.importance, "density": self.density, "ratio": self.ratio}


def train_cells(
    lab: Lab, densities: Sequence[float], ratios: Sequence[float], per_class: int, hidden: int, steps: int, seeds: range
) -> list[Cell]:
    """All conditions: density x ratio at equal importance, and those with ratio < 1 at equal impact."""
    toy, recipe = ss.Bottleneck(2 * per_class, hidden), ss.Recipe.fast(steps=steps)
    cells = []
    for ratio in ratios:
        profiles = {"equal importance": 1.0, "equal impact": (1.0,) * per_class + (1 / ratio,) * per_class}
        for profile, importance in profiles.items() if ratio < 1 else [("equal importance", 1.0)]:
            rows = [(p,) * per_class + (p * ratio,) * per_class for p in densities]
            inputs = ss.SparseFeatures(2 * per_class, importance=importance)
            sweep = ss.Sweep(toy, inputs, over={"density": rows}, seeds=seeds)
            run = lab.train(sweep, recipe, name=f"{profile.replace(' ', '-')}-{ratio:g}")
            for k, p in enumerate(densities):
                arrays = run.W.values[k], run.b_out.values[k], run.loss.values[k]
                cells.append(Cell(p, ratio, profile, inputs.replace(density=rows[k]), *arrays, np.array(seeds)))
    return cells


def sharing(W: np.ndarray, rare: np.ndarray, draws: int, seed: int = 0) -> tuple[float, float, np.ndarray]:
    """(share, expected, null (draw,)) of the squared interference of one network that stays within a class.

    Interference is (What_i . W_j)^2 over represented features i != j (norm > 1/2). expected: its exact mean when labels are
    permuted among the represented features, the share of pairs within a class; null: draws of that permutation. NaN if a
    class has fewer than 5 represented features, where there is nothing to share with.
    """
    kept = measure.represented(W)
    label = np.where(rare[kept], 1.0, -1.0)
    count = min((label > 0).sum(), (label < 0).sum())
    if count < 5:
        return np.nan, np.nan, np.full(draws, np.nan)
    squared = measure.interference_matrix(W[:, kept]) ** 2
    total, n = squared.sum(), len(label)
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.broadcast_to(label, (draws, n)), axis=1)
    within = (1 + np.einsum("di,ij,dj->d", shuffled, squared, shuffled, optimize=True) / total) / 2
    expected = (((label > 0).sum() - 1) * (label > 0).sum() + ((label < 0).sum() - 1) * (label < 0).sum()) / (n * (n - 1))
    return float((1 + label @ squared @ label / total) / 2), float(expected), within


def class_table(cells: Sequence[Cell], draws: int) -> pd.DataFrame:
    """One row per network: capacity and share represented of either class, and how interference is shared.

    effect: within share minus what is expected of permuted labels; z: that in standard deviations of permutations. budget
    effect: the same against pairs formed in proportion to how much each feature interferes in all (as in modularity), which
    a class that merely interferes more cannot fake. bill: see `bill`.
    """
    rows = []
    for cell in cells:
        D, norm = np.asarray(measure.dimensionality(cell.W)), np.linalg.norm(cell.W, axis=-2)
        plain = measure.theory.ignored_loss(cell.inputs.densities, cell.inputs.importances).sum()
        for s, W in enumerate(cell.W):
            share, expected, null = sharing(W, cell.rare, draws, int(cell.seeds[s]))
            row = {**cell.label, "seed": int(cell.seeds[s])}
            for name, mine in (("common", ~cell.rare), ("rare", cell.rare)):
                row |= {f"capacity {name}": D[s, mine].mean(), f"represented {name}": (norm[s, mine] > 0.5).mean()}
            row |= {"within share": share, "expected": expected, "effect": share - expected}
            row["budget effect"] = share - budget_expectation(W, cell.rare)
            row |= {"bill": bill(W, cell.inputs.densities), "z": (share - expected) / null.std(ddof=1)}
            row |= {"explained": 1 - cell.loss[s] / plain, "loss": cell.loss[s]}
            rows.append(row)
    return pd.DataFrame(rows)


def budget_expectation(W: np.ndarray, rare: np.ndarray) -> float:
    """Within-class share if features i and j shared in proportion to k_i k_j, k_i the whole interference of feature i."""
    kept = np.asarray(measure.represented(W))
    total = (measure.interference_matrix(W[:, kept]) ** 2).sum(1)
    products = np.outer(total, total) * (1 - np.eye(len(total)))
    same = rare[kept][:, None] == rare[kept]
    return float((products * same).sum() / products.sum()) if products.sum() > 0 else np.nan


def bill(W: np.ndarray, density: np.ndarray) -> float:
    """sum_{i != j} p_i p_j (What_i.W_j)^2 over represented features, over its exact mean when densities are permuted."""
    kept = np.asarray(measure.represented(W))
    p, n = density[kept], int(kept.sum())
    squared = measure.interference_matrix(W[:, kept]) ** 2
    usual = (p.sum() ** 2 - (p**2).sum()) / (n * (n - 1)) * squared.sum() if n > 1 else np.nan
    return float(p @ squared @ p / usual)


def pair_costs(
    W: np.ndarray, b: np.ndarray, inputs: ss.SparseFeatures, activation: str = "relu", nodes: int = 10
) -> np.ndarray:
    """(n, n): what feature j being on sometimes adds to the expected error of output i, all others off; zero diagonal.

    Alternating, (1-p_i) p_j I_i E[f(G_ij y + b_i)^2 - f(b_i)^2], plus simultaneous,
    p_i p_j I_i E[(x - f(G_ii x + G_ij y + b_i))^2 - (x - f(G_ii x + b_i))^2], with G = W^T W, x and y the values when on and
    f the activation ("relu", or "linear" to remove it). By Gauss-Legendre, so good to a percent across kinks.
    """
    f = ACTIVATIONS[activation]
    p, importance = inputs.densities, inputs.importances
    value, weight = inputs.values.nodes(nodes)
    gram = W.T @ W
    pushed = gram[..., None] * value + b[:, None, None]  # (i, j, y)
    alternating = (f(pushed) ** 2 - f(b)[:, None, None] ** 2) @ weight
    own = np.diag(gram)[:, None] * value  # (i, x)
    both = (value[:, None] - f(own[:, None, :, None] + pushed[:, :, None, :])) ** 2  # (i, j, x, y)
    alone = (value - f(own + b[:, None])) ** 2
    simultaneous = weight @ (both - alone[:, None, :, None]) @ weight
    cost = importance[:, None] * p * ((1 - p)[:, None] * alternating + p[:, None] * simultaneous)
    return cost * (1 - np.eye(len(p)))


def pair_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row per network, kind of pair and activation: mean cost of pairs that face each other, per squared overlap.

    overlap: mean (W_i.W_j)^2 of those pairs; chance: p_i p_j; cost: both directions added, divided by the overlap. Also the
    mean squared overlap over all represented pairs of the kind ("all pairs").
    """
    rows = []
    for cell in cells:
        p = cell.inputs.densities
        group = cell.rare.astype(int)[:, None] + cell.rare.astype(int)
        for s, (W, b) in enumerate(zip(cell.W, cell.b, strict=True)):
            kept = np.asarray(measure.represented(W))
            gram, unit = W.T @ W, W / np.maximum(np.linalg.norm(W, axis=0), 1e-12)
            pair = np.triu(kept[:, None] & kept, 1)
            facing = pair & (unit.T @ unit < FACING)
            for activation in ("relu", "linear"):
                cost = pair_costs(W, b, cell.inputs, activation)
                both = cost + cost.T
                for k, name in enumerate(PAIRS):
                    mine = facing & (group == k)
                    if mine.sum() < 3:
                        continue
                    overlap = (gram[mine] ** 2).mean()
                    row = {**cell.label, "seed": int(cell.seeds[s]), "pair": name, "activation": activation}
                    row |= {"chance": float(np.outer(p, p)[mine][0]), "overlap": overlap, "cost": both[mine].mean() / overlap}
                    rows.append({**row, "all pairs": (gram[pair & (group == k)] ** 2).mean()})
    return pd.DataFrame(rows)
