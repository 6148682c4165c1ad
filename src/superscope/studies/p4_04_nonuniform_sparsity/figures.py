"""The figures of problem 4.4; captions are computed from what is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from superscope import measure, plots
from superscope.evidence.findings import Figure
from superscope.evidence.tables import bands
from superscope.studies.p4_04_nonuniform_sparsity.one_rarer import KINDS, VARIED, Arm, canonical, digon_theory
from superscope.studies.p4_04_nonuniform_sparsity.two_classes import CONDITION, Cell, sharing


def draw(
    arms: Mapping[str, Arm], cells: Sequence[Cell], classes: pd.DataFrame, pairs: pd.DataFrame, base: float
) -> list[Figure]:
    """All figures."""
    return [
        crossing_curves(arms, base), pentagons(arms["density"]), capacities(classes), shared(cells, classes),
        dimensionalities(cells, classes), costs(pairs),
    ]  # fmt: skip


def crossing_curves(arms: Mapping[str, Arm], base: float) -> Figure:
    """Loss of the best pentagon and the best two digons over the relative density, and of digons in theory."""
    arm = arms["density"]
    rows = []
    for i, r in enumerate(arm.relative):
        for k, kind in enumerate(KINDS):
            loss = arm.loss[i, :, k]
            if np.isfinite(loss).any():
                row = {"relative": r, "kind": kind, "loss": np.nanmean(loss), "low": np.nanmin(loss), "high": np.nanmax(loss)}
                rows.append(row)
        theory = float(digon_theory(arm.relative[i : i + 1], base)[0])
        rows.append({"relative": r, "kind": "two digons, theory", "loss": theory, "low": theory, "high": theory})
    made = plots.lines_with_band(
        pd.DataFrame(rows), "relative", "loss", "kind", "low", "high", log_x=True, log_y=True,
        x_title="density of one feature / density of the other four", y_title="expected loss of the best network of a kind",
        roles={"two digons, theory": "theory"},
    )  # fmt: skip
    found = arm.crossings()
    made.add_vline(x=found.mean(), line={"color": plots.ROLES["treatment"], "width": 1})
    made.add_vrect(x0=0.32, x1=0.48, fillcolor=plots.ROLES["rule"], opacity=0.12, line_width=0)
    place = int(np.argmin(np.abs(arm.relative - found.mean())))
    ends = 100 * arm.share[place].mean(0)
    others = [f"{a.crossings().mean():.3f} (density {name.split()[1]})" for name, a in arms.items() if name.startswith("base")]
    return Figure(
        "crossing",
        made,
        f"Five features in two dimensions, density {base:g}; loss: sum over features, exact. Bands: range over seeds. The "
        f"curves cross at {found.mean():.3f} ({found.min():.3f} to {found.max():.3f}); shaded: the region of the rule. Both "
        f"kinds are minima: at {arm.relative[place]:g} training ends in a pentagon in {ends[0]:.0f} % and in two digons in "
        f"{ends[1]:.0f} % of restarts. Elsewhere: {', '.join(others) or 'not run'}; with the importance lowered instead, "
        f"{arms['importance'].crossings().mean():.3f}.",
    )


def pentagons(arm: Arm) -> Figure:
    """The best network at every relative density, with a slider."""
    best = arm.best()[:, 0]
    frames = np.stack([canonical(arm.W[i, 0, k]) if np.isfinite(arm.loss[i, 0, k]) else np.zeros((2, 5))
                       for i, k in enumerate(best)])  # fmt: skip
    made = plots.feature_polygon(frames, sweep=arm.relative.tolist(), sweep_name="relative density of the fifth feature")
    length = np.linalg.norm(frames[:, :, VARIED], axis=1)
    low, high = int(np.argmax(length > 0.5)), len(length) - 1
    return Figure(
        "pentagons",
        made,
        "The best network of one seed, turned so that the varied feature points up (the first, once it is dropped). Its norm "
        f"is {length[high]:.2f} at relative density {arm.relative[high]:g}, {length[low]:.2f} at "
        f"{arm.relative[low]:g}, and {length[0]:.2f} at {arm.relative[0]:g}.",
    )


def capacities(classes: pd.DataFrame) -> Figure:
    """Mean dimensionality of either class over the ratio of densities, for both ways to set the importance."""
    top = classes[classes.density == classes.density.max()]
    shared_control = top[top.ratio == 1].assign(importance="equal impact")  # at ratio 1 the two settings are one
    long = pd.concat([top, shared_control]).melt(
        ["importance", "ratio", "seed"], ["capacity common", "capacity rare"], "side", "D"
    )
    long = long.assign(group=long.side.str.replace("capacity ", "") + ", " + long.importance)
    made = plots.lines_with_band(
        bands(long, ["group", "ratio"], "D"), "ratio", "D", "group", "low", "high", log_x=True,
        x_title="rare density / common density (1: control)", y_title="capacity: mean feature dimensionality",
    )  # fmt: skip
    low = top[top.ratio == top.ratio.min()].groupby("importance")[["represented common", "represented rare"]].mean()
    text = "; ".join(f"{name}: {100 * r.iloc[0]:.0f} % and {100 * r.iloc[1]:.0f} %" for name, r in low.iterrows())
    return Figure(
        "capacity",
        made,
        f"Two classes of features, common density {top.density.iloc[0]:g}; bands: 95 % over seeds. Common and rare features "
        f"represented at ratio {top.ratio.min():g}: {text}.",
    )


def shared(cells: Sequence[Cell], classes: pd.DataFrame) -> Figure:
    """Within-class share of interference beside its null of permuted labels, in the condition with the lowest z."""
    uneven = classes[(classes.importance == "equal importance") & (classes.ratio < 1) & classes.z.notna()]
    mean = uneven[uneven.groupby(CONDITION)["represented rare"].transform("mean") >= 0.5].groupby(CONDITION)
    if not mean.ngroups:
        return Figure("sharing", plots.figure(), "In no condition are half of the rare features represented.")
    where = mean.z.mean().idxmin()
    cell = next(c for c in cells if (c.importance, c.density, c.ratio) == where)
    found = [sharing(W, cell.rare, 40, int(s)) for W, s in zip(cell.W, cell.seeds, strict=True)]
    made = plots.histogram_with_null(
        [f[0] for f in found], np.concatenate([f[2] for f in found]).tolist(), names=("trained networks", "permuted labels"),
        x_title="share of squared interference within a class",
    )  # fmt: skip
    rows = mean.get_group(where)
    all_z = classes.dropna(subset="z").groupby(CONDITION).z.mean()
    listed = "; ".join(f"{importance}, {density:g}, {ratio:g}: {z:+.1f}" for (importance, density, ratio), z in all_z.items())
    return Figure(
        "sharing",
        made,
        f"Common density {where[1]:g}, ratio {where[2]:g}, equal importance: {rows['within share'].mean():.3f} of the squared "
        f"interference stays within a class, {rows.expected.mean():.3f} expected. The sum of p_i p_j times squared overlap is "
        f"{rows.bill.mean():.2f} of what shuffled labels would pay. Mean z by condition (importance, common density, ratio): "
        f"{listed}.",
    )


def dimensionalities(cells: Sequence[Cell], classes: pd.DataFrame) -> Figure:
    """Histogram of D_i of rare beside common features, at the lowest ratio that still represents half of the rare ones."""
    equal = classes[(classes.importance == "equal importance") & (classes.ratio < 1)]
    kept = equal.groupby(CONDITION)["represented rare"].mean().reset_index()
    kept = kept[kept["represented rare"] >= 0.5] if (kept["represented rare"] >= 0.5).any() else kept
    where = tuple(kept.sort_values("ratio").iloc[0][CONDITION])
    cell = next(c for c in cells if (c.importance, c.density, c.ratio) == where)
    D = np.asarray(measure.dimensionality(cell.W))
    made = plots.histogram_with_null(
        D[:, cell.rare].ravel().tolist(),
        D[:, ~cell.rare].ravel().tolist(),
        names=("rare", "common"),
        x_title="feature dimensionality D",
    )
    digon = [float(np.mean(np.abs(D[:, side] - 0.5) < 0.02)) for side in (~cell.rare, cell.rare)]
    return Figure(
        "dimensionalities",
        made,
        f"Common density {cell.density:g}, ratio {cell.ratio:g}, equal importance, all seeds. Mean D: common "
        f"{D[:, ~cell.rare].mean():.3f}, rare {D[:, cell.rare].mean():.3f}; within 0.02 of the digon's 1/2: "
        f"{100 * digon[0]:.0f} % and {100 * digon[1]:.0f} %.",
    )


def costs(pairs: pd.DataFrame) -> Figure:
    """Cost per squared overlap of facing pairs over p_i p_j, with and without the output ReLU."""
    names = {"relu": "as trained", "linear": "control: output ReLU removed"}
    part = pairs[(pairs.importance == "equal importance") & (pairs.cost > 0)]
    table = bands(part.assign(group=part.activation.map(names)), ["group", "chance"], "cost")
    mine = table[table.group == names["relu"]]
    scale = float(np.exp(np.mean(np.log(mine.cost / mine.chance)))) if len(mine) else 1.0
    line = pd.DataFrame({"chance": sorted(mine.chance)})
    line = line.assign(cost=scale * line.chance, low=np.nan, high=np.nan, group="proportional to p_i p_j")
    made = plots.lines_with_band(
        pd.concat([table, line]), "chance", "cost", "group", "low", "high", log_x=True, log_y=True,
        x_title="p_i p_j, probability that both are on", y_title="cost of a facing pair / squared overlap",
        roles={names["linear"]: "control", names["relu"]: "treatment", "proportional to p_i p_j": "theory"},
    )  # fmt: skip
    low, high = mine.loc[mine.chance.idxmin()], mine.loc[mine.chance.idxmax()]
    return Figure(
        "costs",
        made,
        f"Excess loss of two features whose directions face each other (cosine below -0.3). From p_i p_j = {low.chance:.2g} to "
        f"{high.chance:.2g}, a factor of {high.chance / low.chance:.0f}, the cost grows by {high.cost / low.cost:.0f}.",
    )
