"""Every architecture in every world: all scores in one table, each beside its null. No claims."""

from __future__ import annotations

from functools import partial

import pandas as pd

from superscope.evidence.findings import Part
from superscope.inputs import worlds
from superscope.lab import Lab
from superscope.recover import sae
from superscope.recover.sae import scores
from superscope.studies.sae_toys.config import Config
from superscope.studies.sae_toys.family import family, held_out, pool

SMALL_STEPS = 400

EXPECTED: list = []


def chapter(config: Config, lab: Lab) -> Part:
    """The table."""
    found = lab.unit("panel", partial(measured, config, list(lab.seeds(config.panel_seeds))))
    return Part([], [], {"panel": found})


def places() -> dict[str, worlds.World]:
    """The worlds of the chapters."""
    return {
        "correlated": worlds.sparse_but_wrong(0.4),
        "parent and children": worlds.parent_child(0.25, (0.15, 0.15, 0.15), d=50),
        "pentagon": worlds.polygon(5, 2, 0.05),
        "256 features": worlds.benchmark("256"),
    }


def architectures(width: int, l0: float) -> list[sae.Architecture]:
    """Six of as many latents as features; those that fix an L0 get the true one, TopK the nearest whole number."""
    return [
        sae.L1(width=width, l1=0.3), sae.TopK(width=width, k=max(1, round(l0)), dead_after=20_000),
        sae.BatchTopK(width=width, k=l0, dead_after=20_000), sae.JumpReLU(width=width, l0=l0), sae.Gated(width=width, l1=0.3),
        sae.Matryoshka(width=width, k=l0, prefixes=(0.25,), dead_after=20_000),
    ]  # fmt: skip


def measured(config: Config, seeds: list[int]) -> pd.DataFrame:
    """One row per world, architecture and seed, then of a random dictionary and PCA: the whole of `scores.panel`."""
    out = []
    for name, world in places().items():
        n, l0 = world.n_features, float(held_out(world, 0, 20_000)[0].gt(0).sum(1).float().mean())
        pools = [pool(world, seed, config.pool // 2) for seed in seeds]
        recipe = config.recipe(config.dictionary_steps // 2 if n > 50 else SMALL_STEPS)
        held = {seed: held_out(world, seed, config.samples) for seed in seeds}
        members = [
            (model.name, one.seed, one.sae)
            for model in architectures(n, round(l0, 3))
            for one in family(model, {name: pools}, seeds, recipe, batch=128)
        ]
        for seed, (_, x) in held.items():
            members.append(("random dictionary", seed, sae.random(world.d, n, max(1, round(l0)), x.mean(0), seed % 2**31)))
            members.append(("PCA", seed, sae.pca(x)))
        nulls = {width: scores.random_null(world.directions, width) for width in {one.n for _, _, one in members}}
        for kind, seed, one in members:
            features, x = held[seed]
            latents = one.encode(x)
            row = scores.panel(
                one.decoder, world.directions, latents=latents, features=features, x=x, reconstruction=one.decode(latents),
                pairs=world.pairs, null=nulls[one.n], draws=3,
            )  # fmt: skip
            out.append({"world": name, "architecture": kind, "seed": seed, "latents": one.n, **row})
    return pd.DataFrame(out)
