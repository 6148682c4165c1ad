"""Tables with one row per network, reduced to the unit of replication: the seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from superscope.evidence import stats


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
