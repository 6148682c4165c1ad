"""Decoders and encoders that never learn, and whether dictionary or encoder is at fault.

Korznikov et al. 2026 (arXiv 2602.14111) found that autoencoders with a frozen decoder, with rows held within cos .8 of their
start, or with a frozen encoder match trained ones on the usual proxies. Here the truth is known: 256 features in trees, Zipf
densities, in 64 dimensions (`worlds.benchmark`), BatchTopK with as many latents at the true L0. A score on truth must tell
them apart; a proxy may not. On a simpler world of this size trained ones had explained variance .82, MCC .93, F1 .73, with a
frozen decoder .33, .36, .09.

Which half is at fault (Barin-Pacela et al. 2026, arXiv 2603.28744: the dictionary)? FISTA decodes both the learned and the
true dictionary at the true L0: dictionary gap = F1 lost by the learned dictionary under FISTA, encoder gap = F1 lost by the
learned encoder against FISTA on the same dictionary.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import torch

from superscope import plots
from superscope.evidence.expect import Expect
from superscope.evidence.findings import Figure, Part
from superscope.evidence.tables import arm, arms
from superscope.inputs import worlds
from superscope.lab import Lab
from superscope.recover import sae
from superscope.recover.sae import scores
from superscope.recover.sae.architecture import Freeze
from superscope.recover.sae.failures import fista_at_l0
from superscope.recover.sae.firing import firing_scores, l0
from superscope.studies.sae_toys.config import Config
from superscope.studies.sae_toys.family import Member, family, generator, held_out, pool

TRAINED, DECODER, SOFT, ENCODER = "trained", "frozen decoder", "soft-frozen decoder", "frozen encoder"
PLANTED, RANDOM, PCA = "truth as decoder", "random dictionary", "PCA"
SHOWN = {  # column of the table -> score of the panel, (score - null) / (1 - null) where chance is not 0
    "MCC": "mcc_adjusted", "recovered at .9": "recovered_90_adjusted", "F1": "f1_adjusted",
    "F1 as matched": "f1_matched_adjusted", "explained variance": "explained_variance", "shrinkage": "shrinkage",
    "dead": "dead", "L0": "l0", "crowding": "crowding",
}  # fmt: skip
TRUTHS, PROXIES = (
    ("MCC", "recovered at .9", "F1", "F1 as matched"),
    ("explained variance", "shrinkage", "dead", "L0", "crowding"),
)

_NULL = "Null: a frozen encoder, the other half of the training left out. Plant: a decoder fixed at the truth with 3 % noise."
EXPECTED = [
    Expect(
        "frozen-f1", "A trained dictionary fires like the features, one with a frozen decoder does not: F1 at least .3 apart",
        "F1", ">= 0.3", of=f"{TRAINED} - {DECODER}", null=f"{ENCODER} - {DECODER}", plant=f"{PLANTED} - {DECODER}", why=_NULL,
        note="One-to-one F1 over true features, (score − null) / (1 − null) against permuted samples.",
    ),
    Expect(
        "frozen-mcc", "and its directions match: MCC at least .3 apart",
        "MCC", ">= 0.3", of=f"{TRAINED} - {DECODER}", null=f"{ENCODER} - {DECODER}", plant=f"{PLANTED} - {DECODER}", why=_NULL,
        note="Signed, (score − null) / (1 − null) against random dictionaries.",
    ),
    Expect(
        "frozen-ev", "Explained variance tells these two apart as well: at least .25",
        "explained variance", ">= 0.25", of=f"{TRAINED} - {DECODER}", null=f"{ENCODER} - {DECODER}",
        plant=f"{PLANTED} - {DECODER}", why=_NULL,
    ),
    Expect(
        "soft-f1", "A soft-frozen decoder is told from a trained one by how it fires: F1 at least .1 apart",
        "F1", ">= 0.1", of=f"{TRAINED} - {SOFT}", null=f"{ENCODER} - {DECODER}", plant=f"{PLANTED} - {SOFT}",
        why="Null: two controls against each other. Plant: a decoder fixed at the truth with 3 % noise.",
    ),
    Expect(
        "soft-mcc", "and by where it points: MCC at least .2 apart",
        "MCC", ">= 0.2", of=f"{TRAINED} - {SOFT}", null=f"{ENCODER} - {DECODER}", plant=f"{PLANTED} - {SOFT}",
        why="Null: two controls against each other. Plant: a decoder fixed at the truth with 3 % noise.",
        note="Not asked of features recovered at .9: rows within cos .8 of a random start cannot come that near.",
    ),
    Expect(
        "fault", "What a trained one misses is the dictionary's fault more than the encoder's: F1 gaps at least .1 apart",
        "gap of gaps", ">= 0.1", of=TRAINED, null=PLANTED, plant=DECODER,
        why="Null: the true dictionary with a trained encoder. Plant: a random dictionary with a trained encoder.",
        note="Dictionary gap less encoder gap.",
    ),
]  # fmt: skip


def chapter(config: Config, lab: Lab) -> Part:
    """Train all five, score all seven, split the failure of three."""
    found = lab.unit("frozen", partial(measured, config, list(lab.seeds(config.seeds))))
    rows = [
        arm(str(name), part.seed, **{column: part[score] for column, score in SHOWN.items()})
        for name, part in found.groupby("data", sort=False)
    ]
    split = found.dropna(subset=["dictionary gap"])
    gaps = [
        arm(str(name), part.seed, **{"gap of gaps": part["dictionary gap"] - part["encoder gap"]})
        for name, part in split.groupby("data", sort=False)
    ]
    told = apart(found)
    return Part([arms(*rows), arms(*gaps)], [dumbbells(found), cells(split)], {"frozen": found, "told_apart": told})


def trainings(config: Config, seeds: list[int]) -> tuple[worlds.World, list[Member]]:
    """The world, and one trained member per kind and seed (as `data`)."""
    world = worlds.benchmark("256")
    model = sae.BatchTopK(width=world.n_features, k=round(float(world.rates.sum()), 2), dead_after=20_000)
    recipe, out = config.recipe(config.dictionary_steps), []
    pools = [pool(world, seed, config.pool) for seed in seeds]
    truth = world.directions + 0.03 * torch.randn(world.directions.shape, generator=generator(seeds[0], 3)) / world.d**0.5
    kinds: dict[str, Freeze] = {
        TRAINED: "nothing",
        DECODER: "decoder",
        SOFT: "soft decoder",
        ENCODER: "encoder",
        PLANTED: "decoder",
    }
    for name, freeze in kinds.items():
        start = {"W_dec": truth, "W_enc": truth} if name == PLANTED else None
        one = dataclasses.replace(model, freeze=freeze)
        out += family(one, {name: pools}, seeds, recipe, start=start, batch=128)
    return world, out


def measured(config: Config, seeds: list[int]) -> pd.DataFrame:
    """One row per kind and seed: the whole panel of scores, and the failure split of three kinds."""
    world, members = trainings(config, seeds)
    truth, k = world.directions, round(float(world.rates.sum()))
    for seed in seeds:
        features, x = held_out(world, seed, config.samples)
        members.append(
            Member(RANDOM, seed, members[0].config, sae.random(world.d, world.n_features, k, x.mean(0), seed % 2**31))
        )
        members.append(Member(PCA, seed, members[0].config, sae.pca(x)))
    nulls = {n: scores.random_null(truth, n) for n in {one.sae.n for one in members}}
    best = {seed: coded(truth, world.bias, world, seed, config) for seed in seeds}
    out = []
    for one in members:
        features, x = held_out(world, one.seed, config.samples)
        latents = one.sae.encode(x)
        row = scores.panel(
            one.decoder, truth, latents=latents, features=features, x=x, reconstruction=one.sae.decode(latents),
            null=nulls[one.sae.n], draws=3,
        )  # fmt: skip
        if one.data in (TRAINED, DECODER, PLANTED):
            few = slice(config.decoded)
            fista = coded(one.sae.decoder, one.sae.tensors["b_dec"], world, one.seed, config)
            own = firing_scores(latents[few], features[few], one.decoder, truth)["f1"]
            row |= {"truth, FISTA": best[one.seed], "learned, FISTA": fista, "learned, encoder": own}
            row |= {"dictionary gap": best[one.seed] - fista, "encoder gap": fista - own}
        out.append({"data": one.data, "seed": one.seed, **row})
    return pd.DataFrame(out)


def coded(rows: torch.Tensor, bias: torch.Tensor, world: worlds.World, seed: int, config: Config) -> float:
    """One-to-one F1 with the true features of FISTA's codes on a dictionary, at the true L0: the cells of `failure_split`."""
    features, x = (one[: config.decoded] for one in held_out(world, seed, config.samples))
    codes, _ = fista_at_l0(rows, x - bias, l0(features), steps=50, probe=64)
    return firing_scores(codes, features, rows, world.directions)["f1"]


def apart(found: pd.DataFrame) -> pd.DataFrame:
    """Every score and proxy of trained and control: means, and whether the ranges over seeds overlap."""
    out = []
    for control in (DECODER, SOFT, ENCODER, RANDOM, PCA):
        for name, score in SHOWN.items():
            one, other = (found[found["data"] == kind][score] for kind in (TRAINED, control))
            clear = one.min() > other.max() or one.max() < other.min()
            out.append({"control": control, "score": name, "about": "truth" if name in TRUTHS else "proxy",
                        "trained": one.mean(), "of the control": other.mean(), "ranges apart": bool(clear)})  # fmt: skip
    return pd.DataFrame(out)


def dumbbells(found: pd.DataFrame) -> Figure:
    """Trained against the controls, score by score."""
    made = plots.figure(height=400)
    names = [*TRUTHS, "explained variance", "dead"]
    mean = found.groupby("data")[[SHOWN[name] for name in names]].mean()
    kinds = {TRAINED: "treatment", SOFT: None, DECODER: "control", ENCODER: None, RANDOM: "theory", PLANTED: "plant"}
    for name in names:
        ends = [mean.loc[kind, SHOWN[name]] for kind in (TRAINED, DECODER)]
        made.add_scatter(
            x=ends, y=[name] * 2, mode="lines", line={"color": plots.ROLES["theory"], "width": 3}, showlegend=False,
            hoverinfo="skip",
        )  # fmt: skip
    for place, (kind, role) in enumerate(kinds.items()):
        made.add_scatter(
            x=[mean.loc[kind, SHOWN[name]] for name in names], y=names, mode="markers", name=kind,
            marker={"size": 12, "symbol": ("circle", "diamond", "square", "triangle-up", "x", "circle-open")[place],
                    "color": plots.ROLES[role] if role else plots.PALETTE[place + 1]},
        )  # fmt: skip
    made.update_xaxes(title_text="score, 0 = chance, 1 = perfect (explained variance and dead share as they are)")
    made.update_yaxes(autorange="reversed")
    return Figure(
        "frozen", made, "Who tells a trained autoencoder from one that never learned half of itself? Means over seeds."
    )


def cells(split: pd.DataFrame) -> Figure:
    """F1 of {true, learned} dictionary x {encoder, FISTA}."""
    made = plots.figure(height=360, barmode="group", yaxis_title="one-to-one F1 with the true features")
    parts = ["learned, encoder", "learned, FISTA", "truth, FISTA"]
    for kind in (TRAINED, DECODER, PLANTED):
        here = split[split["data"] == kind]
        values = np.array([[here[c].mean(), here[c].max() - here[c].mean(), here[c].mean() - here[c].min()] for c in parts])
        made.add_bar(
            x=parts, y=values[:, 0], name=kind, error_y={"array": values[:, 1], "arrayminus": values[:, 2]},
        )  # fmt: skip
    return Figure("fault", made, "Dictionary or encoder? F1 of the codes, mean and range over seeds.")
