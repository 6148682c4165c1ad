"""A parent and its children: hedging, absorption, and what Matryoshka trades between them.

The child is on only where its parent is (parent .25, child .2 of that), directions are orthogonal in 50 dimensions.

Hedging (Chanin et al. 2025, arXiv 2505.11756): one latent cannot hold both; the best single direction where the parent is on
is the top eigenvector of E[x x^T | parent] = [[1, q], [q, q]], for q = .2 (.973, .230). Absorption (Chanin et al. 2024, arXiv
2409.14507): with two latents and a penalty on activations, child and parent cost less as one latent of child + parent, at 45
degrees, while the parent's latent learns to stay off where the child is on. Matryoshka's inner prefix must reconstruct alone,
so it hedges instead of absorbing; its weight (`balance`) decides, .25 being balanced for three children of .15 each in the
paper.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from superscope import plots
from superscope.evidence.expect import Expect
from superscope.evidence.findings import Figure, Part
from superscope.evidence.tables import arm, arms, bands
from superscope.inputs import worlds
from superscope.lab import Lab
from superscope.recover import sae
from superscope.recover.sae.matching import cosines, own_latents
from superscope.studies.sae_toys.config import Config
from superscope.studies.sae_toys.family import Member, at_truth, embedded, family, noisy, paired

PARENT = 0.25
RATES = (0.1, 0.2, 0.4, 0.8)  # of the child where its parent is on; .2 is the published one
CHILD, ALONE, THEORY = "child of the parent", "independent child", "theory by hand"
BY_HAND = "absorbed by hand"
EQUAL, UNEQUAL = (0.15, 0.15, 0.15), (0.02, 0.15, 0.5)
HEDGED, CLEAN = "hedged by hand", "truth with noise"
ONE_PENALTY, TWO_PENALTY = 0.015, 0.3  # L1, in the units of `sae.train`: 1e-3 and 2e-2 of the paper's

EXPECTED = [
    Expect(
        "hedging-number", "One latent for a parent and a child of .2 has a cosine of .23 to the child, started at the parent",
        "child in it", "equals 0.23 +- 0.05", of=CHILD, null=ALONE, plant=THEORY,
        why="Null: a child as frequent, on with or without the parent. Plant: data made of the theoretical direction, values "
        "1 +- .15, and a rare second feature.",
        note="Theory .230, published toy .241.",
    ),
    Expect(
        "hedging-curve", "and follows the eigenvector for children of .1 to .8: at most .1 off in the worst of four",
        "largest miss", "<= 0.1", of=CHILD, null=ALONE, plant=THEORY,
        why="Null: children as frequent, independent of the parent. Plant: data made of the theoretical directions.",
    ),
    Expect(
        "absorbed-child", "Two latents under an L1 penalty leave the truth: the child's becomes child + parent, at 45 degrees",
        "child holds parent", "within [0.68, 0.72]", of=CHILD, null=ALONE, plant=BY_HAND,
        why="Null: an independent child as frequent. Plant: an absorbed pair with noise in directions and lengths.",
        note="Cosine of the child's decoder row to the parent; exactly .707 in theory.",
    ),
    Expect(
        "absorbed-parent", "and the parent's latent reads against the child, to stay off where it is on",
        "parent reads child", "<= -0.5", of=CHILD, null=ALONE, plant=BY_HAND,
        why="Null: an independent child. Plant: an encoder that reads parent minus child, with noise.",
        note="Cosine of the parent's encoder row to the child.",
    ),
    Expect(
        "matryoshka-cures", "Matryoshka with inner weight 1 leaves no parent in the latents of three children",
        "children hold parent", "<= 0.1", of="inner weight 1", null="inner weight 0", plant=CLEAN,
        why="Null: the same training without the inner loss. Plant: the truth with noise, unequal lengths, another order.",
        note="Mean signed cosine, started at the truth.",
    ),
    Expect(
        "matryoshka-hedges", "but puts the children into the parent's latent: at least half of what hedging theory allows",
        "parent holds children", ">= 0.08", of="inner weight 1", null="inner weight 0", plant=HEDGED,
        why="Null: no inner loss. Plant: the theoretical direction for one latent and three children (.164), with noise.",
    ),
    Expect(
        "matryoshka-balance", "At the published weight of .25 neither is left",
        "largest miss", "<= 0.1", of="inner weight 0.25", null="inner weight 0", plant=CLEAN,
        why="Null: no inner loss. Plant: the truth with noise.",
        note="Largest |cos| between parent and a child's latent or between a child and the parent's latent. The paper balances "
        "an L1 Matryoshka; this one is BatchTopK at the true L0.",
    ),
    Expect(
        "unbalanceable", "No weight on the grid is right for children of .02, .15 and .5: .2 is left at the best",
        "least miss", ">= 0.2", of="unequal children", null="equal children", plant="too much at every weight",
        why="Null: three children of .15. Plant: at every weight one child misses by .2 to .4, others by less.",
    ),
]  # fmt: skip


def chapter(config: Config, lab: Lab) -> Part:
    """Hedging, absorption, balance."""
    seeds = list(lab.seeds(config.seeds))
    hedged = lab.unit("hedging", partial(hedging, config, seeds))
    absorbed = lab.unit("absorption", partial(absorption, config, seeds))
    balanced = lab.unit("balance", partial(balance, config, seeds))
    rng = lab.rng("hierarchy")
    rows = [hedging_arms(hedged), absorption_arms(absorbed, seeds, rng), *balance_arms(balanced, config, seeds, rng)]
    tables = {"hedging": hedged, "absorption": absorbed, "balance": balanced}
    return Part(rows, [hedging_figure(hedged), balance_figure(balanced)], tables)


def theory(rates: tuple[float, ...]) -> np.ndarray:
    """(1 + child,) top eigenvector of E[x x^T | parent] for independent children of these rates, all entries above 0."""
    q = np.array([1.0, *rates])
    moment = np.outer(q, q)
    np.fill_diagonal(moment, q)
    vector = np.linalg.eigh(moment)[1][:, -1]
    return np.abs(vector)


# --------------------------------------------------------------------------------------------------------------- hedging


def hedging(config: Config, seeds: list[int]) -> pd.DataFrame:
    """One row per data set, rate of the child and seed: cosines of the only latent to parent and child."""
    truth = worlds.orthogonal(3, 50, seeds[0])
    made = {}
    for q in RATES:
        made[f"{CHILD} {q:g}"] = dataclasses.replace(worlds.parent_child(PARENT, [q], d=50), directions=truth[:2])
        made[f"{ALONE} {q:g}"] = worlds.world(ALONE, truth[:2], [PARENT, PARENT * q])
        hedge = torch.tensor(theory((q,)), dtype=torch.float32) @ truth[:2]
        made[f"{THEORY} {q:g}"] = worlds.world(THEORY, torch.stack([hedge, truth[2]]), [PARENT, 0.02], std=0.15)
    start = {"W_dec": truth[:1], "W_enc": truth[:1], "b_dec": torch.zeros(50), "b_enc": torch.zeros(1)}
    draws = {name: embedded(world) for name, world in made.items()}
    trained = family(sae.L1(width=1, l1=ONE_PENALTY), draws, seeds, config.recipe(500), start=start, repeat=160)
    out = []
    for one in trained:
        name, _, rate = one.data.rpartition(" ")
        parent, child = cosines(one.decoder, truth[:2])[0]
        expected = float(theory((float(rate),))[1])
        out.append({"data": name, "rate": float(rate), "seed": one.seed, "parent": parent, "child": child, "theory": expected})
    return pd.DataFrame(out)


def hedging_arms(found: pd.DataFrame) -> pd.DataFrame:
    """The cosine at the published rate, and the largest distance to theory over rates."""
    out = []
    for name, part in found.groupby("data", sort=False):
        miss = (part["child"] - part["theory"]).abs().groupby(part.seed).max()
        here = part[part.rate == 0.2].set_index("seed")["child"]
        out.append(arm(str(name), miss.index, **{"child in it": here.loc[miss.index], "largest miss": miss}))
    return arms(*out)


def hedging_figure(found: pd.DataFrame) -> Figure:
    """The child in the only latent, against its rate."""
    drawn = bands(found[found["data"].isin([CHILD, ALONE])], ["data", "rate"], "child")
    rates = np.linspace(0.02, 1, 40)
    line = pd.DataFrame({"data": "theory", "rate": rates, "child": [theory((q,))[1] for q in rates]})
    made = plots.lines_with_band(
        pd.concat([drawn, line.assign(low=line.child, high=line.child)]), "rate", "child", "data", "low", "high",
        x_title="rate of the child where its parent is on", y_title="cos of the only latent to the child",
        roles={CHILD: "treatment", ALONE: "control", "theory": "theory"},
    )  # fmt: skip
    return Figure(
        "hedging", made, "One latent for two features: it hedges, by as much as the top eigenvector of E[xx|parent] says."
    )


# ------------------------------------------------------------------------------------------------------------- absorption


def absorption(config: Config, seeds: list[int]) -> pd.DataFrame:
    """One row per data set and seed: what the child's latent holds of the parent, and the parent's reads of the child."""
    truth = worlds.orthogonal(2, 50, seeds[0])
    made = {
        CHILD: embedded(dataclasses.replace(worlds.parent_child(PARENT, [0.2], d=50), directions=truth)),
        ALONE: embedded(worlds.world(ALONE, truth, [PARENT, PARENT * 0.2])),
    }
    trained = family(sae.L1(width=2, l1=TWO_PENALTY), made, seeds, config.recipe(1000), start=at_truth(truth), repeat=160)
    return pd.DataFrame([{"data": one.data, "seed": one.seed, **absorbed(one.decoder, one.encoder, truth)} for one in trained])


def absorbed(decoder: np.ndarray, encoder: np.ndarray, truth: Tensor) -> dict[str, float]:
    """Cosines of two latents, found by their decoder rows: the child's to the parent, the parent's encoder to the child."""
    parent, child = own_latents(decoder, truth)
    out, into = cosines(decoder, truth), cosines(encoder, truth)
    return {
        "child holds parent": float(out[child, 0]), "child holds child": float(out[child, 1]),
        "parent holds child": float(out[parent, 1]), "parent reads parent": float(into[parent, 0]),
        "parent reads child": float(into[parent, 1]),
    }  # fmt: skip


def absorption_arms(found: pd.DataFrame, seeds: list[int], rng: np.random.Generator) -> pd.DataFrame:
    """Measured arms, and the plant: an absorbed pair with noise, lengths and order at random."""
    columns = ["child holds parent", "parent reads child"]
    out = [arm(str(name), part.seed, **{c: part[c] for c in columns}) for name, part in found.groupby("data", sort=False)]
    truth = worlds.orthogonal(2, 50, seeds[0])
    planted = []
    for _ in seeds:
        decoder = truth.numpy() + np.array([[0], [1]]) * truth.numpy()[0]
        encoder = truth.numpy() - np.array([[1], [0]]) * truth.numpy()[1]
        lengths, order = rng.uniform(0.3, 3, (2, 1)), rng.permutation(2)
        shaken = [rows + 0.02 * rng.standard_normal(rows.shape) / np.sqrt(50) for rows in (decoder, encoder)]
        planted.append(absorbed((shaken[0] * lengths)[order], (shaken[1] / lengths)[order], truth))
    return arms(*out, arm(BY_HAND, seeds, **{c: [one[c] for one in planted] for c in columns}))


# ---------------------------------------------------------------------------------------------------------------- balance


def balance(config: Config, seeds: list[int]) -> pd.DataFrame:
    """One row per children, inner weight and seed; BatchTopK Matryoshka at the true L0, the first latent alone inside."""
    truth = worlds.orthogonal(4, 50, seeds[0])
    out = []
    for name, rates in (("equal children", EQUAL), ("unequal children", UNEQUAL)):
        draw = embedded(dataclasses.replace(worlds.parent_child(PARENT, rates, d=50), directions=truth))
        for weight in config.balances:
            model = sae.Matryoshka(width=4, k=PARENT * (1 + sum(rates)), prefixes=(0.25,), balance=weight)
            trained = family(model, {name: draw}, seeds, config.recipe(500), start=at_truth(truth), repeat=160)
            out += [{"data": name, "weight": weight, "seed": one.seed, **misses(one, truth)} for one in trained]
    return pd.DataFrame(out)


def misses(one: Member, truth: Tensor) -> dict[str, float]:
    """What parent and children hold of each other, in decoder cosines."""
    return _misses(one.decoder, truth)


def _misses(decoder: np.ndarray, truth: Tensor) -> dict[str, float]:
    found = paired(decoder, truth)
    return {
        "children hold parent": float(found[1:, 0].mean()),
        "parent holds children": float(found[0, 1:].mean()),
        "largest miss": float(max(np.abs(found[1:, 0]).max(), np.abs(found[0, 1:]).max())),
    }


def balance_arms(found: pd.DataFrame, config: Config, seeds: list[int], rng: np.random.Generator) -> list[pd.DataFrame]:
    """The arms at weights 0, .25 and 1 of equal children, the least miss over weights, and the plants."""
    columns = ["children hold parent", "parent holds children", "largest miss"]
    equal = found[found["data"] == "equal children"]
    out = [
        arm(f"inner weight {weight:g}", part.seed, **{c: part[c] for c in columns}) for weight, part in equal.groupby("weight")
    ]
    truth = worlds.orthogonal(4, 50, seeds[0])
    clean = [_misses(noisy(truth.numpy(), rng), truth) for _ in seeds]
    out.append(arm(CLEAN, seeds, **{c: [one[c] for one in clean] for c in columns}))
    hedged = []
    for _ in seeds:
        rows = truth.numpy().copy()
        rows[0] = (theory(EQUAL) * np.array([1, *rng.uniform(0.7, 1.3, 3)])) @ rows
        hedged.append(_misses(noisy(rows, rng), truth))
    out.append(arm(HEDGED, seeds, **{c: [one[c] for one in hedged] for c in columns}))
    least = [
        arm(str(name), best.index, **{"least miss": best})
        for name, part in found.groupby("data", sort=False)
        for best in [part.groupby("seed")["largest miss"].min()]
    ]
    planted = []
    for _ in seeds:
        at = []
        for _ in config.balances:
            rows = truth.numpy().copy()
            rows[0] += rng.uniform(0, 0.2, 3) @ rows[1:]
            rows[1 + rng.integers(3)] += rng.uniform(0.25, 0.5) * truth.numpy()[0]
            at.append(_misses(noisy(rows, rng), truth)["largest miss"])
        planted.append(min(at))
    return [arms(*out), arms(*least, arm("too much at every weight", seeds, **{"least miss": planted}))]


def balance_figure(found: pd.DataFrame) -> Figure:
    """Absorption and hedging against the weight."""
    equal = found[found["data"] == "equal children"].melt(["weight", "seed"], ["children hold parent", "parent holds children"])
    drawn = bands(equal, ["variable", "weight"], "value")
    made = plots.lines_with_band(
        drawn, "weight", "value", "variable", "low", "high", x_title="weight of the inner prefix", y_title="cosine"
    )
    made.add_hline(y=float(theory(EQUAL)[1]), line={"color": plots.ROLES["theory"], "dash": "dot"})
    made.add_annotation(
        text="hedging, one latent alone (theory)", x=1, xref="x domain", xanchor="right", y=float(theory(EQUAL)[1]),
        showarrow=False, yanchor="bottom", font={"size": 11},
    )  # fmt: skip
    caption = (
        "Three children of .15 under one parent: without the inner loss they absorb it, with it the parent's latent hedges."
    )
    return Figure("balance", made, caption)
