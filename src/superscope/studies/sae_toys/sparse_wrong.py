"""Sparse but wrong (Chanin and Garriga-Alonso 2025, arXiv 2508.16560): too few latents a sample, and the truth is left.

Five orthogonal features in 20 dimensions, each on at .4 (true L0 = 2), feature 0 correlated +-.4 with the others (of the
Gaussians of a copula). BatchTopK with five latents, STARTED AT THE TRUTH. With 1.8 latents a sample it leaves: what feature 0
adds to samples that cannot afford its latent is put into the latents of its companions, with the sign of the correlation.
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
from superscope.studies.sae_toys.config import Config
from superscope.studies.sae_toys.family import at_truth, embedded, family, held_out, noisy, paired

FEW, TRUE = 1.8, 2.0  # latents a sample
PLUS, MINUS, NONE = "correlation +.4", "correlation −.4", "correlation 0"
HAND_PLUS, HAND_MINUS = "mixed in by hand", "taken out by hand"
MIXED = (0.15, 0.25, 0.35, 0.45)  # of feature 0 in the features of the plant
STEPS = 500

EXPECTED = [
    Expect(
        "sparse-plus", "With 1.8 latents for 2 features, latents started at the truth take up a feature of correlation +.4",
        "mixed", ">= 0.2", of=f"{PLUS}, k = 1.8", null=f"{NONE}, k = 1.8", plant=f"{HAND_PLUS}, k = 1.8",
        why="Null: no correlation, all else the same. Plant: data made of features that hold .15 to .45 of feature 0, trained "
        "from the same start.",
        note="Mean cosine of the latents of features 1 to 4 to feature 0. Paper and our calculation: +.27.",
    ),
    Expect(
        "sparse-minus", "and take out a feature of correlation −.4",
        "mixed", "<= -0.2", of=f"{MINUS}, k = 1.8", null=f"{NONE}, k = 1.8", plant=f"{HAND_MINUS}, k = 1.8",
        why="Null: no correlation. Plant: data made of features that hold −.15 to −.45 of feature 0.",
        note="Calculated before: −.25.",
    ),
    Expect(
        "sparse-true-l0", "With as many latents as features are on, the truth stays",
        "size of mixing", "<= 0.05", of="correlated, k = 2", null="correlated, k = 1.8", plant="truth with noise",
        why="Null: .2 latents fewer. Plant: the true dictionary with noise, unequal lengths and in another order.",
        note="The larger of the two signs.",
    ),
    Expect(
        "sparse-explains",
        "With 1.8 latents the true dictionary held fixed leaves at least 1.25 times the error of the wrong one",
        "error of the truth", ">= 1.25", of="correlated, k = 1.8", null=f"{NONE}, k = 1.8", plant="by hand, k = 1.8",
        why="Null: no correlation, so nothing to gain by being wrong. Plant: data made of mixed features.",
        note="Squared error with the decoder held at the truth (encoder trained as long) over that of the trained dictionary, "
        "both at exactly 1.8 latents a sample; the lesser of the two signs. The paper reports 2 on a larger toy.",
    ),
]  # fmt: skip


def chapter(config: Config, lab: Lab) -> Part:
    """Train at every k from the truth, and at k = 1.8 with the truth held fixed."""
    found = lab.unit("sparse-but-wrong", partial(measured, config, list(lab.seeds(config.seeds))))
    return Part([rows(found, lab)], [figure(found)], {"sparse_but_wrong": found})


def data(truth: Tensor) -> dict[str, worlds.World]:
    """The three worlds and the two planted ones, all with one set of true directions."""
    made = {
        name: dataclasses.replace(worlds.sparse_but_wrong(correlation), directions=truth)
        for name, correlation in ((PLUS, 0.4), (MINUS, -0.4), (NONE, 0.0))
    }
    for name, sign in ((HAND_PLUS, 1), (HAND_MINUS, -1)):
        mixed = truth.clone()
        mixed[1:] += sign * torch.tensor(MIXED)[:, None] * truth[0]
        made[name] = worlds.world(name, mixed, 0.4, std=0.15)
    return made


def measured(config: Config, seeds: list[int]) -> pd.DataFrame:
    """One row per data set, k and seed."""
    truth = worlds.orthogonal(5, 20, seeds[0])
    made = data(truth)
    draws = {name: embedded(world) for name, world in made.items()}
    start, recipe, model = at_truth(truth), config.recipe(STEPS), sae.BatchTopK(width=5, k=FEW)
    fixed = {
        (one.data, one.seed): one.sae
        for one in family(dataclasses.replace(model, freeze="decoder"), draws, seeds, recipe, start=start, repeat=160)
    }
    out = []
    for one in family(model, draws, seeds, recipe, over={"k": config.ks}, start=start, repeat=160):
        k = float(one.config.k)  # type: ignore[attr-defined]
        row = {"data": one.data, "k": k, "seed": one.seed, "mixed": mixed(one.decoder, truth)}
        if k == FEW:
            x = held_out(made[one.data], one.seed, 4 * config.samples)[1]
            row["error of the truth"] = error(fixed[one.data, one.seed], x, k) / error(one.sae, x, k)
        out.append(row)
    return pd.DataFrame(out)


def mixed(decoder: np.ndarray, truth: Tensor) -> float:
    """Mean cosine to feature 0 of the latents matched to the other features."""
    return float(paired(decoder, truth)[1:, 0].mean())


def error(one: sae.SAE, x: Tensor, k: float) -> float:
    """Squared error at exactly k latents a sample over the whole of x, as in training (a saved BatchTopK has a threshold)."""
    pre = ((x - one.tensors["b_dec"]) @ one.tensors["W_enc"] + one.tensors["b_enc"]).relu()
    least = pre.flatten().topk(int(k * len(x))).values[-1]
    return float((one.decode(pre * (pre >= least)) - x).square().sum(1).mean())


def rows(found: pd.DataFrame, lab: Lab) -> pd.DataFrame:
    """The arms."""
    out = [
        arm(f"{name}, k = {k:g}", part.seed, mixed=part["mixed"], **{"error of the truth": part["error of the truth"]})
        for (name, k), part in found.groupby(["data", "k"], sort=False)
        if k == FEW
    ]
    for k in (FEW, TRUE):
        here = found[(found.k == k) & found["data"].isin([PLUS, MINUS])]
        size = here["mixed"].abs().groupby(here.seed).max()
        out.append(arm(f"correlated, k = {k:g}", size.index, **{"size of mixing": size}))
    for name, pair in (("correlated", [PLUS, MINUS]), ("by hand", [HAND_PLUS, HAND_MINUS])):
        here = found[(found.k == FEW) & found["data"].isin(pair)]
        least = here["error of the truth"].groupby(here.seed).min()
        out.append(arm(f"{name}, k = {FEW:g}", least.index, **{"error of the truth": least}))
    rng, seeds = lab.rng("truth with noise"), sorted(found.seed.unique())
    truth = worlds.orthogonal(5, 20, lab.seed)
    size = [abs(mixed(noisy(truth.numpy(), rng), truth)) for _ in seeds]
    return arms(*out, arm("truth with noise", seeds, **{"size of mixing": size}))


def figure(found: pd.DataFrame) -> Figure:
    """Mixing against k."""
    drawn = bands(found[found["data"].isin([PLUS, MINUS, NONE])], ["data", "k"], "mixed")
    made = plots.lines_with_band(
        drawn,
        "k",
        "mixed",
        "data",
        "low",
        "high",
        x_title="latents a sample k",
        y_title="cos of the others' latents to feature 0",
        roles={NONE: "control"},
    )
    made.add_vline(x=TRUE, line={"color": plots.ROLES["theory"], "dash": "dot"})
    made.add_annotation(text="true L0", x=TRUE, y=1, yref="y domain", showarrow=False, xanchor="left", xshift=4)
    made.add_scatter(
        x=[FEW, FEW], y=[0.27, -0.25], mode="markers", name="calculated before", hovertemplate="%{y}",
        marker={"symbol": "star", "size": 11, "color": plots.ROLES["theory"]},
    )  # fmt: skip
    caption = "Latents started at the truth take in a feature they are correlated with, as soon as k is below the true L0."
    return Figure("sparse-but-wrong", made, caption)
