"""The figures of problem 4.1; captions are computed from what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from superscope import measure, plots, stats
from superscope.findings import Figure
from superscope.plots.theme import line_label
from superscope.sweep.run import SweepRun


def draw(
    wide: SweepRun, nets: pd.DataFrame, turned: pd.DataFrame, shape: pd.DataFrame, plane: np.ndarray, rates: Sequence[float]
) -> list[Figure]:
    """All figures, from the tables of one row per network."""
    return [
        alignment(nets), turning(turned), terms(turned), vectors(plane, rates), levels(wide, nets), without_dropout(nets)
    ]  # fmt: skip


def alignment(nets: pd.DataFrame) -> Figure:
    """z against the dropout rate, for the densest and the sparsest features of both importance profiles."""
    part = nets[(nets["size"] == "wide") & nets.density.isin([nets.density.min(), nets.density.max()])]
    part = part.assign(group=part.importance + " importance, density " + part.density.map("{:g}".format))
    table = _bands(part, ["group", "dropout"], "z")
    made = plots.lines_with_band(
        table, "dropout", "z", "group", "low", "high", x_title="dropout rate q",
        y_title="z of the participation ratio (standard deviations)",
    )  # fmt: skip
    for level in (-5, 5):
        made.add_hline(y=level, line={"color": plots.ROLES["rule"], "width": 1, "dash": "dot"})
    for text, y in (("spread out", 1), ("axis-aligned", 0)):
        made.add_annotation(line_label(text, x=1, xref="x domain", xanchor="right", y=y, yref="y domain"))
    last = table[table.dropout == table.dropout.max()].set_index("group").z
    return Figure(
        "alignment",
        made,
        "How the features lie in the neuron basis (80 features, 20 neurons), against Haar rotations of the same W; bands: 95 % "
        f"over seeds, dotted: the criterion. At dropout {table.dropout.max():g} z is "
        + "; ".join(f"{value:.1f} ({name})" for name, value in last.items())
        + ". The value at 0 is Adam's own preference.",
    )


def turning(turned: pd.DataFrame) -> Figure:
    """The causal test: rise of the loss with dropout when W is turned, against the density."""
    most = turned[turned.dropout == turned.dropout.max()]
    drawn = most[most["size"] == "wide"]
    name = np.where(drawn["trained with"] > 0, "trained with dropout, ", "control: trained without, ") + drawn.importance
    table = _bands(drawn.assign(group=name, percent=100 * drawn.rise), ["group", "density"], "percent")
    theory = drawn[drawn["trained with"] > 0].groupby(["importance", "density"]).theory.mean().mul(100).reset_index()
    theory = theory.assign(group="Gaussian theory, " + theory.importance, percent=theory.theory, low=theory.theory, high=theory.theory)
    table = pd.concat([table, theory[table.columns]])
    made = plots.lines_with_band(
        table, "density", "percent", "group", "low", "high", log_x=True, x_title="density of the features",
        y_title="rise of the loss with dropout when W is turned (%)",
        roles={name: "theory" for name in theory.group} | {n: "control" for n in table.group if n.startswith("control")},
    )  # fmt: skip
    made.add_hline(y=5, line={"color": plots.ROLES["rule"], "width": 1, "dash": "dot"})
    narrow = most[(most["size"] == "narrow") & (most["trained with"] > 0)]
    return Figure(
        "turning",
        made,
        f"What a random basis costs at dropout {turned.dropout.max():g} (m=20; loss summed over features, importance-weighted). "
        "Theory: the same networks with Gaussian noise of the variance in the text. At m=5, where all masks are enumerated, "
        f"turning costs {100 * narrow.rise.mean():.0f} % on average and the trained basis beats 95 % of random ones in "
        f"{100 * (narrow.p <= 0.05).mean():.0f} % of networks.",
    )


def terms(turned: pd.DataFrame) -> Figure:
    """The rise split into the self term (errors on features that are on) and the cross terms (on the others)."""
    part = turned[(turned.dropout == turned.dropout.max()) & (turned["trained with"] > 0) & (turned["size"] == "wide")]
    long = part.melt(["seed", "density", "importance"], ["own", "other"], "term", "part")
    names = {"own": "self term (feature on)", "other": "cross terms (feature off)"}
    long = long.assign(group=long.term.map(names) + ", " + long.importance, percent=100 * long.part)
    table = _bands(long, ["group", "density"], "percent")
    made = plots.lines_with_band(
        table, "density", "percent", "group", "low", "high", log_x=True, x_title="density of the features",
        y_title="part of the rise when W is turned (% of the loss)",
    )  # fmt: skip
    flat = part[part.importance == "uniform"].groupby("density")[["own", "other"]].mean().mul(100)
    dense, sparse = flat.loc[flat.index.max()], flat.loc[flat.index.min()]
    return Figure(
        "terms",
        made,
        "Which term the trained basis serves: what grows when it is turned was kept small. Uniform importance: at density "
        f"{flat.index.max():g} the self term changes by {dense.own:+.1f} % and the cross terms by {dense.other:+.1f} % of the "
        f"loss; at {flat.index.min():g} by {sparse.own:+.1f} % and {sparse.other:+.1f} %.",
    )


def vectors(plane: np.ndarray, rates: Sequence[float]) -> Figure:
    """Five features in the plane, with a slider over the dropout rate."""
    made = plots.feature_polygon(plane, sweep=list(rates), sweep_name="dropout rate")
    kinds = [_kinds(W) for W in plane]
    return Figure(
        "plane",
        made,
        "Five features in two neurons, density 0.05, best of the restarts by its loss with dropout on; move the slider. "
        f"At rate {rates[0]:g}: {kinds[0]}; at {rates[-1]:g}: {kinds[-1]}. Axes are the neurons that dropout switches off.",
    )


def levels(wide: SweepRun, nets: pd.DataFrame) -> Figure:
    """D_i of the densest features, equal importance, by dropout rate, with the polytopes of TMS as lines."""
    W = wide.W.isel(density=0, importance=0).transpose("dropout", "seed", "hidden", "feature")
    D = measure.dimensionality(W).values
    made = plots.dimensionality_strip(D, W.dropout.values, x_title="dropout rate q", log_x=False)
    near = [float(np.mean(np.abs(d - 0.5) < 0.01)) for d in D]
    count = nets[nets["size"] == "wide"].groupby(["importance", "dropout"]).represented.mean()
    first, last = nets.dropout.min(), nets.dropout.max()
    return Figure(
        "levels",
        made,
        f"Feature dimensionalities at density {float(W.density):g}, equal importance, m=20: a share of {near[0]:.2f} lies within "
        f"0.01 of the digon's 1/2 without dropout and {near[-1]:.2f} at {last:g}. Represented features over all densities: "
        + "; ".join(f"{count[name, first]:.0f} -> {count[name, last]:.0f} of {W.sizes['feature']} ({name} importance)"
                    for name in ("uniform", "decaying"))
        + ".",
    )  # fmt: skip


def without_dropout(nets: pd.DataFrame) -> Figure:
    """z of the networks without dropout beside z of random rotations of them."""
    off = nets[(nets["size"] == "wide") & (nets.dropout == 0)]
    made = plots.histogram_with_null(
        off.z, off["z rotated"], x_title="z without dropout (standard deviations)", bins=24,
        names=("trained by Adam", "the same networks, Haar-rotated"),
    )  # fmt: skip
    return Figure(
        "without-dropout",
        made,
        f"Without dropout nothing in the loss prefers a basis, yet Adam leaves z = {off.z.mean():.2f} on average (standard "
        f"deviation {off.z.std():.2f}); rotated copies have {off['z rotated'].mean():.2f} ({off['z rotated'].std():.2f}).",
    )


def _kinds(W: np.ndarray) -> str:
    found = [part.kind for part in measure.geometry(W, threshold=0.5 * np.linalg.norm(W, axis=0).max())]
    names = [f"{found.count(kind)} {kind}" for kind in dict.fromkeys(found)]
    return " and ".join(names) or "nothing"


def _bands(table: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """Mean over seeds with its 95 % interval, one row per value of `by`."""
    rows = []
    for key, part in table.groupby(by, sort=False):
        found = stats.estimate(part.groupby("seed")[column].mean().to_numpy())
        rows.append({**dict(zip(by, key, strict=True)), column: found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows)
