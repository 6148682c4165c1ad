"""Features that a toy model of superposition packed: can any autoencoder unpack them?

x -> W x -> ReLU(W^T W x + b) trained on sparse features (Elhage et al. 2022, arXiv 2209.10652) holds 5 features in 2
dimensions as a pentagon, and 20 in 5. Autoencoders of as many latents are trained on its hidden activations W x. In so few
dimensions a random dictionary comes near everything (signed MCC .56 for 5 in 2), so a feature counts as recovered only above
cos .99, and the share of recovered ones is given as (share - chance) / (1 - chance).

When features are sparse most activations are one feature alone, so the data are rays, and the rays can be found; when several
are on at once, nothing in the plane tells 2 + 3 from 4 + 5. Random starts end in local minima (two latents on one ray), so
the best of a few restarts by squared error counts, for the null as well; truth plays no part in the choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

import superscope as ss
from superscope import plots
from superscope.evidence.expect import Expect
from superscope.evidence.findings import Figure, Part
from superscope.evidence.tables import arm, arms, bands
from superscope.inputs import worlds
from superscope.lab import Lab
from superscope.recover import sae
from superscope.recover.sae import scores
from superscope.studies.sae_toys.config import Config
from superscope.studies.sae_toys.family import HELD_OUT, Draw, Member, embedded, family, generator

AT = 0.05  # density of the features, in the toy and in its activations
SIZES = {"pentagon": (5, 2), "20 in 5": (20, 5)}  # features, dimensions
TRAINED, GAUSSIAN, PLANTED = "toy", "no rays", "rays by hand"
STEPS, BATCH, TOY_STEPS = 500, 128, 3000
SYMBOLS = ("circle", "square", "diamond", "x", "cross")
HELD = 0.5  # a feature is in the toy when its direction is longer than this

EXPECTED = [
    Expect(
        "pentagon-any", "Some architecture finds the pentagon: at least .9 of what chance leaves is recovered at cos .99",
        "best", ">= 0.9", of=f"pentagon, {TRAINED}", null=f"pentagon, {GAUSSIAN}", plant=f"pentagon, {PLANTED}",
        why="Null: Gaussian activations of the same covariance, the best of as many architectures and restarts. Plant: rays of "
        "unequal lengths, started near them.",
        note="Six architectures, each the best of a few restarts by squared error.",
    ),
    Expect(
        "twenty-any", "Of 20 features packed in 5 dimensions some architecture recovers at least .8 of what chance leaves",
        "best", ">= 0.8", of=f"20 in 5, {TRAINED}", null=f"20 in 5, {GAUSSIAN}", plant=f"20 in 5, {PLANTED}",
        why="Null: Gaussian activations of the same covariance. Plant: rays pushed apart, unequal lengths, started near "
        "them.",
    ),
]  # fmt: skip


def chapter(config: Config, lab: Lab) -> Part:
    """Train the toys, then every architecture on their activations, on rays and on noise."""
    seeds = list(lab.seeds(config.seeds))
    toys = {name: toy(config, lab, name, *size) for name, size in SIZES.items()}
    found = lab.unit("polygons", partial(measured, config, seeds, toys))
    table, drawn = found["scores"], found["pentagons"]
    here = table[table.density == AT]
    by = here.groupby(["size", "data", "seed"], sort=False)["recovered"]
    best = by.max().reset_index()
    rows = [
        arm(f"{size}, {data}", part.seed, best=part["recovered"])
        for (size, data), part in best.groupby(["size", "data"], sort=False)
    ]
    return Part([arms(*rows)], [picture(drawn), curves(table)], {"polygons": table})


def toy(config: Config, lab: Lab, name: str, n: int, m: int) -> np.ndarray:
    """(seed, feature, dimension) directions of trained toys, the best of four restarts for each seed."""
    sweep = ss.Sweep(ss.Bottleneck(n, m), ss.SparseFeatures(n, density=AT), seeds=lab.seeds(config.seeds), restarts=4)
    run = lab.train(sweep, ss.Recipe.fast(steps=TOY_STEPS), name=name.replace(" ", "-")).best("restart")
    return run.W.transpose("seed", "feature", "hidden").values


def architectures(width: int, density: float) -> list[sae.Architecture]:
    """Six of as many latents; those that fix an L0 get the true one (TopK at least one)."""
    l0 = width * density
    return [
        sae.L1(width=width, l1=0.1), sae.TopK(width=width, k=max(1, round(l0)), dead_after=5000),
        sae.BatchTopK(width=width, k=l0, dead_after=5000), sae.JumpReLU(width=width, l0=l0), sae.Gated(width=width, l1=0.1),
        sae.Matryoshka(width=width, k=l0, prefixes=(0.4,), dead_after=5000),
    ]  # fmt: skip


def rays(directions: np.ndarray, density: float) -> worlds.World:
    """Features uniform on (0, |direction|) when on, embedded along their directions: the hidden activations of a toy."""
    length = np.maximum(np.linalg.norm(directions, axis=1), 1e-3)
    unit, size = torch.tensor(directions / length[:, None]), torch.tensor(length, dtype=torch.float32)
    return worlds.world("rays", unit, density, mean=size / 2, std=size / 12**0.5, magnitude="uniform")


def gaussian(directions: np.ndarray, density: float) -> Draw:
    """The null: as `rays`, with only mean and covariance kept."""
    held = torch.tensor(directions, dtype=torch.float32)
    mean, variance = density / 2, density / 3 - density**2 / 4
    root = torch.linalg.cholesky(variance * held.T @ held + 1e-9 * torch.eye(held.shape[1]))
    return lambda count, random: mean * held.sum(0) + torch.randn(count, held.shape[1], generator=random) @ root.T


def planted(n: int, m: int, seed: int) -> np.ndarray:
    """(feature, dimension) a regular polygon in two dimensions, directions pushed apart in more; lengths from .7 to 1.1."""
    rng = np.random.default_rng([seed, n, m])
    unit = worlds.polygon(n, m).directions if m == 2 else worlds.spread(n, m, seed=int(rng.integers(2**31)))
    return unit.numpy() * rng.uniform(0.7, 1.1, (n, 1))


def measured(config: Config, seeds: list[int], toys: dict[str, np.ndarray]) -> dict[str, pd.DataFrame]:
    """scores: one row per size, data, density, architecture and seed. pentagons: directions of the first seed."""
    out: list[dict[str, Any]] = []
    drawn: list[dict[str, object]] = []
    for size, (n, m) in SIZES.items():
        by_hand = planted(n, m, seeds[0])
        truth = {(data, seed): held(one) for data in (TRAINED, GAUSSIAN) for seed, one in zip(seeds, toys[size], strict=True)}
        truth |= {(PLANTED, seed): by_hand for seed in seeds}
        by_seed = {seed: scores.random_null(truth[TRAINED, seed], n, draws=50)["recovered_99"] for seed in seeds}
        by_plant = scores.random_null(by_hand, n, draws=50)["recovered_99"]
        chance = {(data, seed): by_plant if data == PLANTED else by_seed[seed] for data, seed in truth}
        for density in config.densities if m == 2 else (AT,):
            for model in architectures(n, density):
                found = unpacked(model, toys[size], density, config, seeds)
                found += from_truth(model, by_hand, density, config, seeds)
                for one in found:
                    key = one.data, one.seed
                    share = float(scores.recovered(one.decoder, truth[key], 0.99))
                    out.append({"size": size, "data": one.data, "density": density, "architecture": model.name,
                                "seed": one.seed, "share": share, "chance": chance[key],
                                "recovered": float(scores.adjusted(share, chance[key])), "held": len(truth[key]),
                                "MCC": float(scores.mcc(one.decoder, truth[key]))})  # fmt: skip
                    if m == 2 and density == AT and one.data == TRAINED and one.seed == seeds[0]:
                        drawn += ([] if drawn else arrows("toy", truth[key])) + arrows(model.name, one.decoder)
    return {"scores": pd.DataFrame(out), "pentagons": pd.DataFrame(drawn)}


def unpacked(model: sae.Architecture, toys: np.ndarray, density: float, config: Config, seeds: list[int]) -> list[Member]:
    """For toys and for Gaussian activations, of every seed the restart of least squared error."""
    makers: dict[str, Callable[[np.ndarray, float], Draw]] = {TRAINED: lambda w, p: embedded(rays(w, p)), GAUSSIAN: gaussian}
    draws = {data: [make(one, density) for one in toys] for data, make in makers.items()}
    tried = {f"{data} #{again}": many for data, many in draws.items() for again in range(config.restarts)}
    best: dict[tuple[str, int], tuple[float, Member]] = {}
    for one in family(model, tried, seeds, config.recipe(STEPS), repeat=96, batch=BATCH):
        data = one.data.partition(" #")[0]
        x = draws[data][seeds.index(one.seed)](config.samples, generator(one.seed, HELD_OUT))
        error = float((one.sae(x) - x).square().mean())
        if (data, one.seed) not in best or error < best[data, one.seed][0]:
            best[data, one.seed] = error, dataclasses.replace(one, data=data)
    return [one for _, one in best.values()]


def from_truth(
    model: sae.Architecture, directions: np.ndarray, density: float, config: Config, seeds: list[int]
) -> list[Member]:
    """The plant: rays by hand, started within about 5 degrees of them."""
    unit = torch.tensor(directions / np.linalg.norm(directions, axis=1, keepdims=True), dtype=torch.float32)
    near = unit + 0.1 * torch.randn(unit.shape, generator=generator(seeds[0], 5)) / unit.shape[1] ** 0.5
    near /= near.norm(dim=1, keepdim=True)
    start = {"W_dec": near, "W_enc": near}
    draw = embedded(rays(directions, density))
    return family(model, {PLANTED: draw}, seeds, config.recipe(STEPS), start=start, repeat=96, batch=BATCH)


def held(directions: np.ndarray) -> np.ndarray:
    """The directions that a toy holds."""
    return directions[np.linalg.norm(directions, axis=1) > HELD]


def arrows(name: str, rows: np.ndarray) -> list[dict[str, object]]:
    """Unit rows as a table for drawing."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return [{"of": name, "x": float(x), "y": float(y)} for x, y in unit]


def picture(drawn: pd.DataFrame) -> Figure:
    """The toy's features as rays, every architecture's latents around them on circles of their own."""
    made = plots.figure(height=520)
    for place, (name, part) in enumerate(drawn.groupby("of", sort=False)):
        if name == "toy":
            for x, y in zip(part.x, part.y, strict=True):
                made.add_scatter(
                    x=[0, 1.75 * x], y=[0, 1.75 * y], mode="lines", line={"color": plots.ROLES["theory"], "width": 2},
                    showlegend=False, hoverinfo="skip",
                )  # fmt: skip
            continue
        out = 1 + 0.12 * place
        made.add_scatter(
            x=out * part.x, y=out * part.y, mode="markers", name=str(name),
            marker={"size": 11, "color": plots.PALETTE[place % 6], "symbol": SYMBOLS[place % 5]},
        )  # fmt: skip
    made.update_xaxes(title_text="hidden dimension 1", constrain="domain")
    made.update_yaxes(title_text="hidden dimension 2", scaleanchor="x")
    return Figure("pentagon", made, "Five features in two dimensions (rays, of a trained toy) and the latents that were found.")


def curves(table: pd.DataFrame) -> Figure:
    """Recovered pentagons against the density of the features."""
    here = table[(table["size"] == "pentagon") & (table["data"] == TRAINED)]
    made = plots.lines_with_band(
        bands(here, ["architecture", "density"], "recovered"), "density", "recovered", "architecture", "low", "high",
        log_x=True, x_title="density of the features", y_title="recovered at cos .99, 0 = chance",
    )  # fmt: skip
    return Figure(
        "pentagon-density", made, "The denser the features, the fewer activations lie on a ray, and the fewer are found."
    )
