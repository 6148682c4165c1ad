"""Where the true L0 shows (Chanin and Garriga-Alonso 2025, arXiv 2508.16560): two numbers that need no truth.

50 features in 100 dimensions, feature i on at .345 (49 - i) / 50 + .05 (true L0 10.95), with random correlations.
Autoencoders are trained at a ladder of L0. Too few latents mix what fires together, too many mix what is left over; so
decoder crowding (the mean |cos| of pairs of latents) and the n-th largest decoder projection should both be least near the
true L0.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch

from superscope import plots
from superscope.evidence.expect import Expect
from superscope.evidence.findings import Figure, Part
from superscope.evidence.tables import arms, bands
from superscope.inputs import worlds
from superscope.lab import Lab
from superscope.recover import sae
from superscope.recover.sae import scores
from superscope.recover.sae.failures import nth_decoder_projection
from superscope.recover.sae.firing import explained_variance
from superscope.studies.sae_toys.config import Config
from superscope.studies.sae_toys.family import embedded, family, held_out

FEATURES, DIMENSIONS, N = 50, 100, 20
DENSITY = [0.345 * (49 - i) / 50 + 0.05 for i in range(FEATURES)]
L0 = sum(DENSITY)
CORRELATED, INDEPENDENT, PLANTED, SHUFFLED = "correlated", "independent", "mixed by hand", "ladder in another order"
STEPS = 350


_WHY = (
    "Null: the same numbers, their places on the ladder in a random order. Plant: dictionaries that mix correlated features "
    "the more the further the ladder is from the true L0, with noise."
)
_CONSTANT = "The mean over all orders of a ladder is one number, that of a minimum anywhere."
_NOTE = "|k at the minimum / true L0 − 1|."
EXPECTED = [
    Expect(
        "detector-crowding", "Decoder crowding is least within 20 % of the true L0",
        "crowding off", "<= 0.2", of=CORRELATED, null=SHUFFLED, plant=PLANTED, why=_WHY, constant=_CONSTANT, note=_NOTE,
    ),
    Expect(
        "detector-projection", f"The decoder projection of rank {N} is least within 20 % of the true L0",
        "projection off", "<= 0.2", of=CORRELATED, null=SHUFFLED, plant=PLANTED, why=_WHY, constant=_CONSTANT, note=_NOTE,
    ),
    Expect(
        "detector-independent", "Crowding shows the true L0 without any correlation as well",
        "crowding off", "<= 0.2", of=INDEPENDENT, null=SHUFFLED, plant=PLANTED, why=_WHY, constant=_CONSTANT,
        note=f"{_NOTE} The paper explains the minimum by correlations.",
    ),
]  # fmt: skip


def chapter(config: Config, lab: Lab) -> Part:
    """Train the ladder on both worlds."""
    found = lab.unit("detector", partial(measured, config, list(lab.seeds(config.seeds))))
    return Part([rows(found)], [figure(found)], {"detector": found})


def correlations(seed: int) -> torch.Tensor:
    """(feature, feature) a correlation matrix with entries of both signs: random +-(.3 to .9), made positive semidefinite."""
    rng = np.random.default_rng([seed, 0xC0])
    drawn = rng.uniform(0.3, 0.9, (FEATURES, FEATURES)) * rng.choice([-1, 1], (FEATURES, FEATURES))
    matrix = np.triu(drawn, 1) + np.triu(drawn, 1).T + np.eye(FEATURES)
    for _ in range(20):
        values, vectors = np.linalg.eigh(matrix)
        matrix = (vectors * np.maximum(values, 1e-6)) @ vectors.T
        size = np.sqrt(np.diag(matrix))
        matrix = matrix / np.outer(size, size)
    return torch.from_numpy(matrix)


def measured(config: Config, seeds: list[int]) -> pd.DataFrame:
    """One row per data, rung and seed: what needs no truth, and beside it MCC and explained variance."""
    truth, matrix = worlds.orthogonal(FEATURES, DIMENSIONS, seeds[0]), correlations(seeds[0])
    made = {
        CORRELATED: worlds.world(CORRELATED, truth, DENSITY, std=0.15, correlation=matrix),
        INDEPENDENT: worlds.world(INDEPENDENT, truth, DENSITY, std=0.15),
    }
    ladder = [float(k) for k in config.ladder]
    draws = {name: embedded(world) for name, world in made.items()}
    trained = family(
        sae.BatchTopK(width=FEATURES, k=L0, dead_after=20_000), draws, seeds, config.recipe(STEPS), over={"k": ladder},
        batch=128, repeat=160,
    )  # fmt: skip
    out = []
    held = {(name, seed): held_out(world, seed, config.samples)[1] for name, world in made.items() for seed in seeds}
    for one in trained:
        x = held[one.data, one.seed]
        row = numbers(one.decoder, x, one.sae.tensors["b_dec"].numpy(), truth)
        row["explained variance"] = explained_variance(x, one.sae(x))
        out.append({"data": one.data, "k": float(one.config.k), "seed": one.seed, **row})  # type: ignore[attr-defined]
    rng = np.random.default_rng([seeds[0], 0xDE])
    for seed in seeds:
        for k in ladder:
            amount = 0.12 * abs(np.log(k / L0)) + 0.002
            mixed = truth.numpy() + amount * matrix.numpy() @ truth.numpy() + 0.01 * rng.standard_normal(truth.shape)
            row = numbers(mixed, held[CORRELATED, seed], np.zeros(DIMENSIONS), truth)
            out.append({"data": PLANTED, "k": k, "seed": seed, **row})
    return pd.DataFrame(out)


def numbers(decoder: np.ndarray, x: torch.Tensor, bias: np.ndarray, truth: torch.Tensor) -> dict[str, float]:
    """Crowding and the n-th projection, and MCC."""
    return {
        "crowding": float(scores.crowding(decoder)[0]),
        "projection": nth_decoder_projection(x, decoder, N, bias),
        "MCC": float(scores.mcc(decoder, truth)),
    }


def off(part: pd.DataFrame, name: str) -> float:
    """|k at the minimum / true L0 - 1| of one seed's ladder."""
    return abs(float(part.loc[part[name].idxmin(), "k"]) / L0 - 1)


def rows(found: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and seed."""
    out = []
    for (name, seed), part in found.groupby(["data", "seed"], sort=False):
        out.append({"arm": name, "seed": seed, **{f"{c} off": off(part, c) for c in ("crowding", "projection")}})
        if name == CORRELATED:
            chance = float(np.abs(part.k / L0 - 1).mean())
            out.append({"arm": SHUFFLED, "seed": seed, **{f"{c} off": chance for c in ("crowding", "projection")}})
    return arms(pd.DataFrame(out))


def figure(found: pd.DataFrame) -> Figure:
    """Crowding over the ladder."""
    here = found[found["data"] != PLANTED]
    made = plots.lines_with_band(
        bands(here, ["data", "k"], "crowding"), "k", "crowding", "data", "low", "high", x_title="latents a sample k",
        y_title="mean |cos| of two latents", roles={CORRELATED: "treatment", INDEPENDENT: "control"},
    )  # fmt: skip
    made.add_vline(x=L0, line={"color": plots.ROLES["theory"], "dash": "dot"})
    made.add_annotation(text="true L0", x=L0, y=1, yref="y domain", showarrow=False, xanchor="left", xshift=4)
    return Figure(
        "l0-detector", made, "A number that needs no truth, over a ladder of L0. Mean over seeds with 95 % intervals."
    )
