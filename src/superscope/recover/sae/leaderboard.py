"""A benchmark with a truth: SAEs trained on a world of known features, each scored with the null of its own width.

In the manner of SynthSAEBench (arXiv 2602.14687), in sizes for two cores and at the published one (see `worlds.benchmark`).
Any SAE in SAELens format can enter. Rows to compare with are made on the spot: the truth read by FISTA at the true L0 (what
is possible), the truth read by as large products (the dictionary right, the encoder simple), and a random dictionary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from superscope.errors import UserError
from superscope.inputs import worlds
from superscope.inputs.worlds import World
from superscope.recover.sae import failures, scores
from superscope.recover.sae.dictionary import SAE, random
from superscope.recover.sae.streams import Samples

SAMPLES = 10_000
COLUMNS = ("f1", "f1_adjusted", "mcc", "mcc_adjusted", "recovered_90", "explained_variance", "l0", "dead")
_HELD_OUT = 2**40  # number of the samples that everyone is scored on: no training step reaches it


def source(world: World, batch: int, seed: int) -> Samples:
    """Training samples of a world; a step's samples depend on the seed and the step alone."""

    def draw(step: int) -> torch.Tensor:
        return world.embed(world.sample(batch, np.random.default_rng([seed, step, 31])))

    return Samples(draw, f"world {world.name}, {batch}, {seed}")


def entry(name: str, sae: SAE, world: World, features: torch.Tensor, null: Mapping[str, float] | None = None) -> dict[str, Any]:
    """One row: every score of `sae` on the held-out samples `features`, with nulls. Sorted by F1 it is a leaderboard."""
    if sae.d_in != world.directions.shape[1]:
        raise UserError(
            f"{name}: it reads {sae.d_in} dimensions, {world.name} has {world.directions.shape[1]}: trained on another world?"
        )
    x = world.embed(features)
    latents = sae.encode(x)
    return {"name": name, "latents": sae.n, **scores.panel(
        sae.decoder, world.directions, latents=latents, features=features, x=x, reconstruction=sae(x), draws=3, null=null
    )}  # fmt: skip


def rows(entries: Mapping[str, SAE], size: str = "256", seed: int = 0) -> Iterator[dict[str, Any]]:
    """A row for every entry and for what stands beside them, in that order. seed: of the samples; the world is always the
    same."""
    world = worlds.benchmark(size)
    features = world.sample(SAMPLES, np.random.default_rng([seed, _HELD_OUT, 31]))
    nulls: dict[int, dict[str, float]] = {}
    for name, one in entries.items():
        if one.n not in nulls and one.d_in == world.directions.shape[1]:
            nulls[one.n] = scores.random_null(world.directions, one.n, draws=3)
        yield entry(name, one, world, features, nulls.get(one.n))
    truth, x = world.directions, world.embed(features)
    n, l0 = len(truth), float((features > 0).sum(1).float().mean())
    bias = world.bias
    plain = {"W_enc": truth.T.contiguous(), "b_enc": torch.zeros(n), "W_dec": truth, "b_dec": bias}
    yield entry("the truth, TopK", SAE("topk", plain, k=max(1, round(l0))), world, features)
    codes, _ = failures.fista_at_l0(truth.numpy(), (x - bias).numpy(), l0)
    yield {"name": "the truth, FISTA", "latents": n, **scores.panel(
        truth, truth, latents=codes, features=features, x=x, reconstruction=codes @ truth.numpy() + bias.numpy(), draws=3
    )}  # fmt: skip
    yield entry("random dictionary, TopK", random(truth.shape[1], n, max(1, round(l0)), x.mean(0), seed + 77), world, features)
