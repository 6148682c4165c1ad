"""The table that problem 4.1 is judged by: one row per arm and seed, conditions averaged within a seed."""

from __future__ import annotations

import pandas as pd

from superscope.evidence.tables import arm, arms, mean_arm

STRONG = 0.2  # "q >= 0.2" of the criteria
WHERE = ["size", "importance", "density"]  # what makes a condition


def rows(nets: pd.DataFrame, turned: pd.DataFrame, shape: pd.DataFrame, descent: pd.DataFrame) -> pd.DataFrame:
    """Everything that was trained, from the tables of one row per network."""
    wide = nets[nets["size"] == "wide"]
    on, off = wide[wide.dropout >= STRONG], wide[wide.dropout == 0]
    full = wide[wide.dropout == wide.dropout.max()]
    flat = full[full.importance == "uniform"]
    plain = descent[descent.dropout == 0]
    by_descent = plain[plain.optimiser != "Adam"]
    lively = shape[has_geometry(shape)]
    decaying = shape[shape.importance == "decaying"]
    paired = decaying[mostly_digons(decaying)]
    parts = [
        mean_arm("dropout of 0.2 or more", on, privileged="privileged"),
        mean_arm("no dropout", off, privileged="privileged", near="within 2"),
        mean_arm("no dropout, turned", off, near="rotated within 2"),
        mean_arm("most dropout", full, near="within 2"),
        mean_arm("gradient descent", by_descent, z="z"),
        mean_arm("gradient descent, turned", by_descent, z="z rotated"),
        mean_arm("Adam", plain[plain.optimiser == "Adam"], z="z"),
        contrast("most dropout", flat, "z"),
        contrast("most dropout, turned", flat, "z rotated"),
        mean_arm("most dropout", lively, changed="changed"),
        mean_arm("random directions", lively, changed="scrambled"),
        mean_arm("no dropout, nudged", lively, changed="nudged"),
        mean_arm("most dropout, decaying", paired, lost="digons lost"),
        mean_arm("another seed, decaying", paired, lost="digons lost, other seed"),
        mean_arm("random directions, decaying", paired, lost="digons lost, scrambled"),
    ]
    for profile in ("decaying", "uniform"):
        here = turned[turned.importance == profile]
        parts.append(mean_arm(f"dropout, {profile}", here[here["trained with"] > 0], rise="rise"))
        parts.append(mean_arm(f"no dropout, {profile}", here[here["trained with"] == 0], rise="rise"))
    return arms(*parts)


def contrast(name: str, table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Per seed: the value at the lowest density minus that at the highest."""
    by = table.pivot(index="seed", columns="density", values=column)
    return arm(name, by.index, contrast=(by[by.columns.min()] - by[by.columns.max()]).to_numpy())


def gate_rows(nets: pd.DataFrame, change: float, seed: int) -> pd.DataFrame:
    """Per seed: how well the worst condition without dropout learned and how much it packs; and what turning changes."""
    off = nets[nets.dropout == 0]
    off = off.assign(explained=1 - off["loss"] / off["loss of the mean answer"], extra=off.represented - off.neurons)
    worst = off.groupby(WHERE)[["explained", "extra"]].mean().min()
    return arm("no dropout", [seed], explained=[worst.explained], extra=[worst.extra], turning=[change])


def mostly_digons(shape: pd.DataFrame) -> pd.Series:
    """Rows of the conditions in which without dropout half or more of what is represented are digons (or of that with most)."""
    share = shape["0 digon"] / (1 - shape["0 not represented"])
    mean = share.groupby([shape[c] for c in WHERE]).transform("mean")
    return mean >= min(0.5, mean.max())


def has_geometry(shape: pd.DataFrame) -> pd.Series:
    """Rows of the conditions that have a geometry to lose: without dropout under half of what is represented is irregular."""
    share = shape["0 irregular"] / (1 - shape["0 not represented"])
    return share.groupby([shape[c] for c in WHERE]).transform("mean") < 0.5
