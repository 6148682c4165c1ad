"""By how much must the density be changed for another value law to represent as many features as U[0, 1] does?

Kurtosis E v^4 / (E v^2)^2 and the mean square ratio E v^2 / (E v)^2 order the laws of 4.7 to 4.9 alike, so that ranks cannot
tell them apart; the size of the shift can: 1.8 against 1.33 for {1}. A law is compared with U[0, 1] seed by seed: its counts
over density are laid over those of U[0, 1] at s times the density, and the best s has the smallest mean distance.

`lead`: how much farther the mean square ratio misses the best shifts than kurtosis does (in logarithms, mean over laws), as a
share of how far the two predictions are apart: 1 where kurtosis is right, -1 where the ratio is, 0 half-way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import superscope as ss
from superscope.evidence.expect import Expect
from superscope.evidence.tables import arm, arms
from superscope.inputs.features import ValueLaw
from superscope.studies.value_laws import laws as value

if TYPE_CHECKING:
    import xarray as xr

    from superscope.lab import Lab

REFERENCE = "U[0, 1]"
LOGS = np.linspace(-0.6, 1.0, 161)  # shifts that are tried
SIZES = ("first size", "second size")
DENSITIES = 10  # of the second size
MARGIN = 0.3  # of the way between the two predictions


def mean_square_ratio(law: ValueLaw) -> float:
    """E v^2 / (E v)^2 of a feature that is on."""
    return law.moment(2) / law.moment(1) ** 2


def predicted(law: ValueLaw, shape: Callable[[ValueLaw], float]) -> float:
    """Logarithm of the shift at which `shape` over density is that of U[0, 1]."""
    return float(np.log(shape(value.uniform_from(0)) / shape(law)))


def expectations() -> list[Expect]:
    """For both sizes of networks: kurtosis predicts the shifts better, and the mean square ratio does. At most one can hold."""
    rows = []
    for size in SIZES:
        ruled = {name: f"ruled by {name}, {size}" for name in ("kurtosis", "mean square ratio")}
        why = "Null and plant: counts of U[0, 1] moved by the one prediction or by the other, with the seeds' scatter."
        for name, other, rule in (
            ("kurtosis", "mean square ratio", f">= {MARGIN}"),
            ("mean square ratio", "kurtosis", f"<= -{MARGIN}"),
        ):
            rows.append(
                Expect(
                    f"{name.replace(' ', '-')}-{size.split()[0]}",
                    f"The best shifts of density are nearer to what {name} predicts than to the {other}'s, by {MARGIN} of "
                    f"their distance ({size})",
                    "lead", rule, of=size, null=ruled[other], plant=ruled[name], why=why,
                )
            )  # fmt: skip
    return rows


def second_size(laws: value.Laws, config: value.Sizes, lab: Lab) -> xr.Dataset:
    """Counts of networks of the other size, over fewer densities."""
    n, m = config.other_size
    grid = ss.logspace(0.5, config.sparse, DENSITIES)
    over = {"values": list(laws.values()), "density": list(grid)}
    sweep = ss.Sweep(ss.Bottleneck(n, m), ss.SparseFeatures(n), over=over, seeds=lab.seeds(config.other_seeds))
    run = lab.train(sweep, ss.Recipe.fast(steps=config.steps, points=config.points), name="other-size")
    return value.counts(run, laws)


def best_shift(data: xr.Dataset, law: str) -> np.ndarray:
    """(seed,) logarithm of the shift s for which represented(law, p) is nearest to represented(U[0, 1], s p)."""
    at = np.log(data.density.values)
    order = np.argsort(at)
    curve, own = (data["represented"].sel(values=v).transpose("seed", "density").values[:, order] for v in (REFERENCE, law))
    at = at[order]
    away = np.full((len(own), len(LOGS)), np.inf)
    for k, shift in enumerate(LOGS):
        inside = (at + shift >= at[0] - 1e-9) & (at + shift <= at[-1] + 1e-9)
        if inside.sum() >= 2:
            moved = np.stack([np.interp(at[inside] + shift, at, row) for row in curve])
            away[:, k] = value.log_mean(np.abs(own[:, inside] - moved), np.exp(at[inside]))
    return LOGS[away.argmin(1)]


def lead(shifts: dict[str, np.ndarray], laws: value.Laws) -> np.ndarray:
    """(seed,) see the head of the module; shifts {law: (seed,)}."""
    missed, apart = [], []
    for law, found in shifts.items():
        ours, theirs = (predicted(laws[law], shape) for shape in (value.kurtosis, mean_square_ratio))
        missed.append(np.abs(found - theirs) - np.abs(found - ours))
        apart.append(abs(ours - theirs))
    return np.sum(missed, axis=0) / np.sum(apart)


def ruled(
    data: xr.Dataset, laws: value.Laws, names: Sequence[str], shape: Callable[[ValueLaw], float], rng: np.random.Generator
) -> xr.Dataset:
    """Counts of U[0, 1], moved for every law as `shape` predicts, with the scatter between seeds."""
    made = data[["represented"]].copy(deep=True)
    base = data["represented"].sel(values=REFERENCE).transpose("seed", "density")
    at, curve = np.log(data.density.values), base.values.mean(0)
    order, scatter = np.argsort(at), base.values.std(0, ddof=1)
    for law in (*names, REFERENCE):
        shift = predicted(laws[law], shape)
        count = np.interp(at + shift, at[order], curve[order]) + scatter * rng.standard_normal(base.shape)
        made["represented"].loc[{"values": law}] = base.copy(data=count).transpose(*made["represented"].sel(values=law).dims)
    return made


def rows(first: xr.Dataset, second: xr.Dataset, laws: value.Laws, names: Sequence[str], lab: Lab) -> pd.DataFrame:
    """Leads at both sizes, measured and ruled by either prediction; and the shifts themselves, one column a law."""
    parts, rng = [], lab.rng("ruled shifts")
    for size, data in zip(SIZES, (first, second), strict=True):
        cases = {
            size: data,
            f"ruled by kurtosis, {size}": ruled(data, laws, names, value.kurtosis, rng),
            f"ruled by mean square ratio, {size}": ruled(data, laws, names, mean_square_ratio, rng),
        }
        for name, case in cases.items():
            found = {law: best_shift(case, law) for law in names}
            columns = {f"shift of {law}": np.exp(shift) for law, shift in found.items()}
            parts.append(arm(name, data.seed.values, lead=lead(found, laws), **columns))
    return arms(*parts)


def predictions(laws: value.Laws, names: Sequence[str], table: pd.DataFrame) -> pd.DataFrame:
    """One row a law: the shifts that are predicted, and the mean of those found at both sizes."""
    mean = table.groupby("arm").mean(numeric_only=True)
    return pd.DataFrame(
        [
            {"law": law, "by kurtosis": np.exp(predicted(laws[law], value.kurtosis)),
             "by mean square ratio": np.exp(predicted(laws[law], mean_square_ratio)),
             **{size: mean.loc[size, f"shift of {law}"] for size in SIZES}}
            for law in names
        ]
    )  # fmt: skip
