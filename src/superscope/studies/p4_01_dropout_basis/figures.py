"""The figures of problem 4.1; captions are computed from what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from superscope import measure, plots
from superscope.evidence.findings import Figure
from superscope.evidence.tables import bands
from superscope.plots.theme import line_label
from superscope.studies.p4_01_dropout_basis.tables import represented
from superscope.sweep.run import SweepRun


def draw(
    wide: SweepRun, nets: pd.DataFrame, turned: pd.DataFrame, descent: pd.DataFrame, plane: np.ndarray, rates: Sequence[float]
) -> list[Figure]:
    """All figures, from the tables of one row per network."""
    return [
        alignment(nets), neurons(wide, nets), turning(turned), terms(turned), vectors(plane, rates), levels(wide, nets),
        without_dropout(nets, descent),
    ]  # fmt: skip


def alignment(nets: pd.DataFrame) -> Figure:
    """z against the dropout rate, for the densest and the sparsest features of both importance profiles."""
    part = nets[(nets["size"] == "wide") & nets.density.isin([nets.density.min(), nets.density.max()])]
    part = part.assign(group=part.importance + " importance, density " + part.density.map("{:g}".format))
    table = bands(part, ["group", "dropout"], "z")
    made = plots.lines_with_band(
        table, "dropout", "z", "group", "low", "high", x_title="dropout rate q",
        y_title="z of the participation ratio (standard deviations)",
    )  # fmt: skip
    for level in (-5, 5):
        made.add_hline(y=level, line={"color": plots.ROLES["rule"], "width": 1, "dash": "dot"})
    for text, y in (("spread out", 1), ("axis-aligned", 0)):
        made.add_annotation(line_label(text, x=1, xref="x domain", xanchor="right", y=y, yref="y domain"))
    last = part[part.dropout == part.dropout.max()].groupby("group", sort=False)[["z", "kurtosis of h"]].mean()
    m = int(part.neurons.iloc[0])
    return Figure(
        "alignment",
        made,
        f"How the features lie in the neuron basis (m={m}), against Haar rotations of the same W; bands: "
        f"95 % over seeds, dotted: the criterion. At dropout {part.dropout.max():g} z, and the kurtosis of h "
        f"(isotropic: {3 * m / (m + 2):.2f}), are "
        + "; ".join(f"{row.z:.1f} and {row['kurtosis of h']:.2f} ({name})" for name, row in last.iterrows())
        + ". At 0 there is no mask: what is left there comes from the optimiser (last figure).",
    )


def turning(turned: pd.DataFrame) -> Figure:
    """The causal test: rise of the loss with dropout when W is turned, against the density."""
    most = turned[turned.dropout == turned.dropout.max()]
    drawn = most[most["size"] == "wide"]
    name = np.where(drawn["trained with"] > 0, "trained with dropout, ", "control: trained without, ") + drawn.importance
    table = bands(drawn.assign(group=name, percent=100 * drawn.rise), ["group", "density"], "percent")
    theory = drawn[drawn["trained with"] > 0].groupby(["importance", "density"]).theory.mean().mul(100).reset_index()
    theory = theory.assign(
        group="Gaussian theory, " + theory.importance, percent=theory.theory, low=theory.theory, high=theory.theory
    )
    table = pd.concat([table, theory[table.columns]])
    made = plots.lines_with_band(
        table, "density", "percent", "group", "low", "high", log_x=True, x_title="density of the features",
        y_title="rise of the loss with dropout when W is turned (%)",
        roles=dict.fromkeys(theory.group, "theory") | {n: "control" for n in table.group if n.startswith("control")},
    )  # fmt: skip
    made.add_hline(y=5, line={"color": plots.ROLES["rule"], "width": 1, "dash": "dot"})
    narrow = most[(most["size"] == "narrow") & (most["trained with"] > 0)]
    rise, beaten = 100 * narrow.rise.mean(), 100 * (narrow.p <= 0.05).mean()
    return Figure(
        "turning",
        made,
        f"What a random basis costs at dropout {turned.dropout.max():g}, m={drawn.neurons.iloc[0]} (loss: sum over features, "
        "importance-weighted). Theory: the same networks with Gaussian noise of the variance in the text. In the narrow "
        f"networks (m={narrow.neurons.iloc[0]}) turning costs {rise:.0f} % on average, and the trained basis beats 95 % of "
        f"random ones in {beaten:.0f} % of networks.",
    )


def terms(turned: pd.DataFrame) -> Figure:
    """The rise split into the self term (errors on features that are on) and the cross terms (on the others)."""
    part = turned[(turned.dropout == turned.dropout.max()) & (turned["trained with"] > 0) & (turned["size"] == "wide")]
    long = part.melt(["seed", "density", "importance"], ["own", "other"], "term", "part")
    names = {"own": "self term (feature on)", "other": "cross terms (feature off)"}
    long = long.assign(group=long.term.map(names) + ", " + long.importance, percent=100 * long.part)
    table = bands(long, ["group", "density"], "percent")
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
    kinds, norms = [_kinds(W) for W in plane], np.linalg.norm(plane, axis=1).mean(-1)
    return Figure(
        "plane",
        made,
        "Five features in two neurons, density 0.05, best of the restarts by its loss with dropout on; move the slider. "
        f"At rate {rates[0]:g}: {kinds[0]}, mean norm {norms[0]:.2f}; at {rates[-1]:g}: {kinds[-1]}, mean norm "
        f"{norms[-1]:.2f}. The axes are the neurons that dropout switches off.",
    )


def levels(wide: SweepRun, nets: pd.DataFrame) -> Figure:
    """D_i of the densest features, equal importance, by dropout rate, with the polytopes of TMS as lines."""
    W = wide.W.isel(density=0, importance=0).transpose("dropout", "seed", "hidden", "feature")
    D = measure.dimensionality(W).values
    made = plots.dimensionality_strip(D, W.dropout.values, x_title="dropout rate q", log_x=False)
    near = [float(np.mean(np.abs(d[kept] - 0.5) < 0.01)) for d, kept in zip(D, represented(W.values), strict=True)]
    count = nets[nets["size"] == "wide"].groupby(["importance", "dropout"]).represented.mean()
    first, last = nets.dropout.min(), nets.dropout.max()
    change = [f"{count[name, first]:.0f} -> {count[name, last]:.0f} ({name})" for name in ("uniform", "decaying")]
    return Figure(
        "levels",
        made,
        f"Feature dimensionalities at density {float(W.density):g}, equal importance, m={W.sizes['hidden']}: within 0.01 of "
        f"the digon's 1/2 lie {near[0]:.2f} of the represented features without dropout and {near[-1]:.2f} at {last:g}. "
        f"Represented of {W.sizes['feature']}, mean over all densities, from dropout {first:g} to {last:g}: "
        f"{', '.join(change)} importance.",
    )


def neurons(wide: SweepRun, nets: pd.DataFrame) -> Figure:
    """|W_ki| / ||W_i|| of two networks with the most dropout: dense and sparse features, equal importance."""
    blocks, names = [], []
    for place in (0, -1):
        W = wide.W.isel(density=place, importance=0, dropout=-1, seed=0).transpose("hidden", "feature")
        kept = W.values[:, represented(W.values)]
        share = np.abs(kept) / np.linalg.norm(kept, axis=0)
        order = np.lexsort((-share.max(0), share.argmax(0)))
        ratio = float(np.mean(measure.participation_ratio(kept)))
        blocks += [share[:, order], np.full((len(share), 3), np.nan)]
        names.append(f"density {float(W.density):g}: {kept.shape[1]} features over {ratio:.1f} neurons each")
    z = np.concatenate(blocks[:-1], axis=1)
    null = nets[nets["size"] == "wide"]["PR of rotations"].mean()
    made = plots.phase_diagram(
        z, range(z.shape[1]), range(1, len(z) + 1), x_title="represented features, sorted by their strongest neuron",
        y_title="neuron", z_title="|W_ki| / ||W_i||",
    )  # fmt: skip
    return Figure(
        "neurons",
        made,
        f"One network each, dropout {float(wide.W.dropout[-1]):g}, equal importance. Left, {names[0]} (participation ratio); "
        f"right, {names[1]}; random rotations of such networks give {null:.1f}.",
    )


def without_dropout(nets: pd.DataFrame, descent: pd.DataFrame) -> Figure:
    """z of the networks without dropout beside z of random rotations of them."""
    plain = descent[(descent.dropout == 0) & (descent.optimiser != "Adam")].z
    off = nets[(nets["size"] == "wide") & (nets.dropout == 0)]
    made = plots.histogram_with_null(
        off.z, off["z rotated"], x_title="z without dropout (standard deviations)", bins=24,
        names=("trained by Adam", "the same networks, Haar-rotated"),
    )  # fmt: skip
    return Figure(
        "without-dropout",
        made,
        "Without dropout nothing in the loss prefers a basis. Mean z (and standard deviation over networks): trained by Adam "
        f"{off.z.mean():.2f} ({off.z.std():.2f}), rotated copies {off['z rotated'].mean():.2f} ({off['z rotated'].std():.2f}), "
        f"trained by gradient descent {plain.mean():.2f} ({plain.std():.2f}, not drawn).",
    )


def _kinds(W: np.ndarray) -> str:
    found = [part.kind for part in measure.geometry(W, threshold=0.5 * np.linalg.norm(W, axis=0).max())]
    names = [f"{found.count(kind)} {kind}" for kind in dict.fromkeys(found)]
    return " and ".join(names) or "nothing"
