"""The table that problem 4.4 is judged by: one row per arm and seed, conditions averaged within a seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from superscope.evidence.tables import arm, arms, mean_arm
from superscope.studies.p4_04_nonuniform_sparsity.one_rarer import Arm, crossing, norm_bias_errors
from superscope.studies.p4_04_nonuniform_sparsity.two_classes import CONDITION


def small_rows(found: Mapping[str, Arm], norms: pd.DataFrame, seeds: range) -> pd.DataFrame:
    """Five features: where the curves cross, how norms follow biases, and whether pentagons exist where all is equal."""
    density = found["density"]
    alike = int(np.argmin(np.abs(density.relative - 1)))
    return arms(
        arm("density varied", seeds, crossing=density.crossings()),
        arm("nothing varied", seeds, crossing=found["nothing"].crossings()),
        arm("1/(1-|b|)", seeds, **{"norm error": norms["1/(1-|b|)"]}),
        arm("norm 1, whatever the bias", seeds, **{"norm error": norms["norm 1"]}),
        arm("all alike", seeds, pentagon=np.isfinite(density.loss[alike, :, 0]) & (density.best()[alike] == 0)),
    )


def class_rows(classes: pd.DataFrame, hidden: int, per_class: int) -> pd.DataFrame:
    """Common and rare features: capacity and sharing; and the worst condition for the gate."""
    equal = classes[classes.importance == "equal importance"]
    uneven, flat = equal[equal.ratio < 1], equal[equal.ratio == 1]
    impact = classes[classes.importance == "equal impact"]
    kept = classes.assign(kept=classes["represented common"] + classes["represented rare"]).groupby(CONDITION)
    return arms(
        arm("two classes", [classes.seed.min()], explained=[kept.explained.mean().min()],
            extra=[kept.kept.mean().min() * per_class - hidden]),
        *(
            mean_arm(f"{side}{where}", part, capacity=f"capacity {side}")
            for where, part in (("", uneven), (", equal density", flat), (", equal impact", impact))
            for side in ("common", "rare")
        ),
        mean_arm("unequal density", shared_conditions(classes), z="z"),
        mean_arm("equal density", flat, z="z"),
        mean_arm("much rarer, equal impact", much_rarer(classes), z="z"),
    )  # fmt: skip


def shared_conditions(classes: pd.DataFrame) -> pd.DataFrame:
    """Rows at equal importance in whose condition at least half of the rare features are represented."""
    uneven = classes[(classes.importance == "equal importance") & (classes.ratio < 1)]
    return uneven[uneven.groupby(CONDITION)["represented rare"].transform("mean") >= 0.5]


def much_rarer(classes: pd.DataFrame) -> pd.DataFrame:
    """Rows at equal impact with a tenth of the density or less, at the densest common class."""
    impact = classes[(classes.importance == "equal impact") & (classes.ratio <= 0.1)]
    return impact[impact.density == impact.density.max()]


def planted_small(curves: tuple[np.ndarray, np.ndarray], pentagons: Arm, seeds: range) -> pd.DataFrame:
    """Planted curves (label,), (label, seed, kind) and pentagons, measured as the trained ones."""
    labels, loss = curves
    errors = norm_bias_errors(pentagons)
    return arms(
        arm("planted curves", seeds, crossing=[crossing(labels, loss[:, s]) for s in range(len(seeds))]),
        arm("planted pentagons", seeds, **{"norm error": errors["1/(1-|b|)"]}),
    )


def planted_classes(shaded: pd.DataFrame, alike: pd.DataFrame, apart: pd.DataFrame) -> pd.DataFrame:
    """Planted networks: rare features in the shade of common ones, classes that do not differ, and classes that keep apart."""
    uneven, even = shaded[shaded.ratio < 1], alike[alike.ratio < 1]
    return arms(
        *(mean_arm(f"planted {side}", uneven, capacity=f"capacity {side}") for side in ("common", "rare")),
        *(mean_arm(f"planted alike, {side}", even, capacity=f"capacity {side}") for side in ("common", "rare")),
        mean_arm("planted digons", uneven, z="z"),
        mean_arm("planted digons within classes", apart[apart.ratio < 1], z="z"),
    )
