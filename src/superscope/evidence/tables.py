"""Tables of measurements: one row per arm and replicate, as `expect.judge` reads them; and reductions to the replicate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from superscope.evidence import stats

NONE = -1  # the replicate of an arm that has nothing to measure


def arm(name: str, seed: Iterable[Any], **columns: Any) -> pd.DataFrame:
    """Rows of one arm: `seed` (replicate,) and columns (replicate,) of what was measured.

    >>> arm("trained", [0, 1], loss=[0.1, 0.2]).to_dict("list")
    {'arm': ['trained', 'trained'], 'seed': [0, 1], 'loss': [0.1, 0.2]}
    """
    seeds = list(seed)
    for column, values in columns.items():
        if np.shape(values) not in ((len(seeds),), ()):
            raise ValueError(f"arm {name!r}: column {column!r} has shape {np.shape(values)}, there are {len(seeds)} replicates")
    return pd.DataFrame({"arm": name, "seed": seeds, **{key: np.asarray(value) for key, value in columns.items()}})


def arms(*parts: pd.DataFrame) -> pd.DataFrame:
    """The rows of several arms as one table; a column that an arm does not have stays empty there."""
    return pd.concat(parts, ignore_index=True)


def moved_on(table: pd.DataFrame, arm: str, name: str, unit: str = "seed") -> pd.DataFrame:
    """Rows of an arm called `name`: what `arm` measured, each under the next replicate: another draw of the same thing.

    >>> moved_on(pd.DataFrame({"arm": ["a", "a"], "seed": [0, 1], "loss": [2.0, 3.0]}), "a", "b").to_dict("list")
    {'arm': ['b', 'b'], 'seed': [0, 1], 'loss': [3.0, 2.0]}
    """
    rows = table[table.arm == arm]
    if len(rows) < 2:
        raise ValueError(f"arm {arm!r} has {len(rows)} replicates: another draw needs two at least")
    return rows.assign(arm=name, **{unit: np.roll(rows[unit].to_numpy(), 1)}).sort_values(unit, ignore_index=True)


def mean_arm(name: str, table: pd.DataFrame, **columns: str) -> pd.DataFrame:
    """Rows of one arm from a table with one row per network: the mean of each column over everything that shares a seed.

    columns: name in the result = name in `table`. An empty table gives one row of NaN for the replicate -1: what should
    have been measured did not occur, and a claim about it is undecided.
    """
    if table.empty:
        return arm(name, [NONE], **{key: [np.nan] for key in columns})
    by = table.groupby("seed")[list(columns.values())].mean()
    return arm(name, by.index, **{key: by[value].to_numpy() for key, value in columns.items()})


def per_seed(table: pd.DataFrame, column: str) -> np.ndarray:
    """(seed,) mean of a column over everything that shares a seed; one NaN, hence "undecided", if the table is empty."""
    if table.empty:
        return np.array([np.nan])
    return table.groupby("seed")[column].mean().to_numpy()


def bands(table: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """One row per value of `by`: the mean over seeds of `column` with its 95 % interval ("low", "high")."""
    rows = []
    for key, part in table.groupby(by, sort=False):
        found = stats.estimate(per_seed(part, column))
        rows.append({**dict(zip(by, key, strict=True)), column: found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)


def retractions(rows: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    """The table of claims of earlier versions that no longer stand: (claim, what it was, why it was taken back)."""
    return pd.DataFrame(rows, columns=["claim", "was", "why it was taken back"])


def unfolded(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows that a column of lists holds, with the model and the arm of each; arms without a list have none."""
    if column not in table:
        return pd.DataFrame()
    held = table[table[column].notna()].to_dict("records")
    return pd.DataFrame([{"model": row["model"], "arm": row["arm"], **inner} for row in held for inner in row[column]])
