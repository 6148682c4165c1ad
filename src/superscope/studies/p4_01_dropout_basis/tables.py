"""What problem 4.1 measures on its sweeps, one row a network: alignment, the cost of turning the basis, shapes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd

from superscope import measure
from superscope.inputs.features import SparseFeatures
from superscope.inputs.strata import StratifiedPlan
from superscope.lab import Lab
from superscope.studies.p4_01_dropout_basis.dropout import make_masks, moment_loss, turn
from superscope.sweep.run import SweepRun

KINDS = ("not represented", "alone", "digon", "larger polytope", "irregular")
AXES = ("density", "dropout", "importance", "seed")  # the order of the sweeps, hence of the arrays below
NUDGE = 0.02  # relative size of the noise that a network "as before" may bear
NAMES = ("uniform", "decaying")  # the importance profiles, in the order of the sweeps


def represented(W: np.ndarray) -> np.ndarray:
    """(..., feature) flags: ||W_i|| above half of the network's largest. Dropout shrinks all norms, so 1/2 is no threshold."""
    norm = np.linalg.norm(W, axis=-2)
    return norm > 0.5 * norm.max(-1, keepdims=True)


def alignment(W, rotations: int, seed: int) -> measure.BasisAlignment:
    """`measure.basis_alignment` over the represented features, in the sense of `represented`; W keeps its kind."""
    return measure.basis_alignment(W / np.linalg.norm(W, axis=-2).max(-1)[..., None, None], rotations, seed)


def networks(run: SweepRun, size: str, rotations: int, samples: int, seed: int) -> pd.DataFrame:
    """One row per network: z, participation ratio and its null, z of a rotated copy, kurtosis of h, features, losses."""
    W = run.W.transpose(*AXES, "hidden", "feature").values
    turned = np.asarray(measure.nulls.rotate(W, seed))
    aligned, rotated = alignment(W, rotations, seed), alignment(turned, rotations, seed + 1).z
    kurtosis = np.empty(W.shape[:-2])
    answer = np.empty(W.shape[:-2])
    for d, c in np.ndindex(W.shape[0], W.shape[2]):
        inputs = inputs_at(run, d, c)
        x = inputs.sample(samples, seed).numpy()
        kurtosis[d, :, c] = measure.activation_kurtosis(np.einsum("pi,...hi->...ph", x, W[d, :, c]))
        answer[d, :, c] = measure.theory.ignored_loss(inputs.densities, inputs.importances).sum()
    columns = {
        "z": aligned.z, "privileged": np.abs(aligned.z) > 5, "within 2": np.abs(aligned.z) < 2,
        "PR": aligned.value, "PR of rotations": aligned.null_mean,
        "z rotated": rotated, "rotated within 2": np.abs(rotated) < 2, "kurtosis of h": kurtosis,
        "represented": represented(W).sum(-1), "norm above 1/2": measure.features_represented(W),
        "loss": run.loss.transpose(*AXES).values, "loss of the mean answer": answer,
        "neurons": np.full(kurtosis.shape, W.shape[-2]),
    }  # fmt: skip
    return _frame(run, size, columns)


def turned_networks(
    run: SweepRun, size: str, rates: Sequence[float], rotations: int, points: int, draws: int, lab: Lab
) -> pd.DataFrame:
    """`turn` for every network trained with a rate of `rates`, and for those trained without dropout at the same rate."""
    places = list(np.ndindex(run.W.sizes["density"], run.W.sizes["importance"]))
    rows = []
    for d, c in lab.progress(places, f"turning the {size} networks"):
        compute = partial(_turn_condition, run, d, c, rates, rotations, points, draws, lab.seed)
        rows += lab.unit(f"turned-{size}-{d}-{c}", compute)
    table = pd.DataFrame(rows)
    table.insert(0, "size", size)
    return table


def _turn_condition(
    run: SweepRun, density: int, importance: int, rates: Sequence[float], rotations: int, points: int, draws: int, seed: int
) -> list[dict]:
    W, b = (run.data[name].isel(density=density, importance=importance).values for name in ("W", "b_out"))  # (dropout, seed)
    inputs = inputs_at(run, density, importance)
    plan = StratifiedPlan(inputs.replace(importance=1.0), points)

    def one(s: int) -> list[dict]:
        # Points, masks and rotations are shared by all that is compared within a seed and new for every seed: their noise
        # is then part of what the interval over seeds shows.
        number = int(run.W.seed.values[s])
        rng = np.random.default_rng([seed, density, number])
        x = plan.draw(rng, 1)[0]
        haar = measure.nulls.haar_rotations(W.shape[-2], rotations, int(rng.integers(2**31)))
        rows = []
        for rate in rates:
            masks = make_masks(W.shape[-2], rate, len(x), draws, rng)
            label = {
                "neurons": W.shape[-2],
                "importance": NAMES[importance],
                "density": float(inputs.densities[0]),
                "dropout": float(rate),
            }
            for trained in (float(rate), 0.0):
                k = list(run.W.dropout.values).index(trained)
                found = turn(W[k, s], b[k, s], x, plan.weight, inputs.importances, masks, haar)
                rows.append({**label, "trained with": trained, "seed": number, **vars(found)})
        return rows

    return [row for rows in _in_threads(one, range(W.shape[1])) for row in rows]


def _in_threads(one: Callable[[int], list[dict]], places: Sequence[int]) -> list[list[dict]]:
    """One place a thread with torch's own threads off: they only wait for one another when the products are small."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(one, places))
    finally:
        torch.set_num_threads(before)


def rotation_changes_nothing(run: SweepRun, points: int, seed: int) -> float:
    """Largest relative change of the loss without dropout when a network is turned, over the seeds of the first condition."""
    inputs = inputs_at(run, 0, 0)
    plan = StratifiedPlan(inputs, points)
    x = plan.draw(np.random.default_rng(seed), 1)[0]
    W, b = run.W.transpose(*AXES, "hidden", "feature").values, run.b_out.transpose(*AXES, "feature").values
    turns = [np.eye(W.shape[-2]), measure.nulls.haar_rotations(W.shape[-2], 1, seed)[0]]
    pairs = [
        moment_loss(W[0, -1, 0, s], b[0, -1, 0, s], x, plan.weight, inputs.importances, 0.0, turns) for s in range(W.shape[3])
    ]
    return max(abs(after / before - 1) for before, after in pairs)


def shapes(W: np.ndarray) -> np.ndarray:
    """(len(KINDS),) shares of the features of one network W (hidden, feature); angles only, norms are ignored."""
    kept = represented(W)
    count = dict.fromkeys(KINDS, 0)
    count["not represented"] = int((~kept).sum())
    for part in measure.geometry(W[:, kept], threshold=0.0) if kept.any() else []:
        name = {"single": "alone", "digon": "digon", "other": "irregular"}.get(part.kind, "larger polytope")
        count[name] += len(part.features)
    return np.array(list(count.values())) / W.shape[1]


def digons(shares: np.ndarray) -> float:
    """Share of digons among represented features, from `shapes`."""
    return float(shares[KINDS.index("digon")] / max(1 - shares[0], 1e-9))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Total variation between two sets of shares: the share of features that would have to change kind."""
    return float(0.5 * np.abs(a - b).sum())


def shape_table(run: SweepRun, size: str, seed: int) -> pd.DataFrame:
    """One row per (density, importance, seed): shares of kinds without (column "0 <kind>") and with the most dropout.

    "changed": distance between the two, minus that between this network and another seed's, both without dropout.
    "scrambled": the same for random directions of the same norms in place of the network with dropout.
    "nudged": the same for the network without dropout after a nudge of `NUDGE` of its size: as before, by construction.
    "digons lost": share of digons among represented features without dropout, less that with the most dropout; ", other seed"
    and ", scrambled": less that of another seed without dropout, and of random directions.
    """
    W = run.W.transpose(*AXES, "hidden", "feature").values
    rates = run.W.dropout.values
    random = np.asarray(measure.nulls.random_directions(W[:, 0], seed))
    noise = np.random.default_rng([seed, 1]).standard_normal(W[:, 0].shape)
    nudged = W[:, 0] + NUDGE * np.linalg.norm(W[:, 0], axis=-2, keepdims=True) * noise / np.sqrt(W.shape[-2])
    rows = []
    for d, c in np.ndindex(W.shape[0], W.shape[2]):
        without = [shapes(w) for w in W[d, 0, c]]
        label = {"size": size, "importance": NAMES[c], "density": inputs_at(run, d, c).densities[0]}
        for s, number in enumerate(run.W.seed.values):
            usual = distance(without[s], without[s - 1])
            most = shapes(W[d, -1, c, s])
            kinds = {f"{rates[0]:g} {k}": v for k, v in zip(KINDS, without[s], strict=True)}
            kinds |= {f"{rates[-1]:g} {k}": v for k, v in zip(KINDS, most, strict=True)}
            mixed = shapes(random[d, c, s])
            scrambled = distance(without[s], mixed) - usual
            same = distance(without[s], shapes(nudged[d, c, s])) - usual
            change = {"changed": distance(without[s], most) - usual, "scrambled": scrambled, "nudged": same}
            lost = {
                f"digons lost{tail}": digons(without[s]) - digons(other)
                for tail, other in (("", most), (", other seed", without[s - 1]), (", scrambled", mixed))
            }
            rows.append({**label, "seed": int(number), **change, **lost, **kinds})
    return pd.DataFrame(rows)


def inputs_at(run: SweepRun, density: int, importance: int) -> SparseFeatures:
    """The inputs at these positions of the axes."""
    return run.sweep.at({"density": density, "dropout": 0, "importance": importance})[1]


def _frame(run: SweepRun, size: str, columns: dict) -> pd.DataFrame:
    axes = [run.W.density.values, run.W.dropout.values, list(NAMES), run.W.seed.values]
    index = pd.MultiIndex.from_product(axes, names=AXES)
    table = pd.DataFrame({name: np.asarray(value).ravel() for name, value in columns.items()}, index=index).reset_index()
    table.insert(0, "size", size)
    return table
