"""Families of autoencoders on many worlds at once: every (world, seed) has data and a start of its own.

What a family may differ in is data, seed, and what `over` names; everything else is one call a family. Data are drawn in
blocks from generators of their own, apart from those of the dictionaries and of the starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.inputs import worlds
from superscope.recover import sae
from superscope.recover.sae.matching import assigned, cosines

BLOCK = 32  # steps whose data are drawn at once
APART = 10_000  # between the seed numbers of two data sets
TRAINING, HELD_OUT = 0xDA7A, 0x7E57  # streams

Draw = Callable[[int, torch.Generator], Tensor]  # (count, generator) -> (count, d)


def embedded(world: worlds.World) -> Draw:
    """Samples of a world as an autoencoder is given them."""
    return lambda count, generator: world.embed(world.sample(count, generator))


def pool(world: worlds.World, seed: int, count: int) -> Draw:
    """Samples of a world taken at random from `count` that are drawn once."""
    x = world.embed(world.sample(count, generator(seed, TRAINING)))
    return lambda size, random: x[torch.randint(count, (size,), generator=random)]


def generator(*numbers: int) -> torch.Generator:
    """One stream of random numbers for one purpose."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0] >> 1))


def held_out(world: worlds.World, seed: int, count: int) -> tuple[Tensor, Tensor]:
    """(true activations (sample, feature), embeddings (sample, d)) that no training saw."""
    features = world.sample(count, generator(seed, HELD_OUT))
    return features, world.embed(features)


class Stream:
    """Batches (data set and seed, sample, d) by step. repeat: steps after which the data come again, 0 for never."""

    def __init__(self, draws: Sequence[Draw], numbers: Sequence[int], batch: int, repeat: int = 0) -> None:
        self.draws, self.numbers, self.batch, self.repeat = draws, numbers, batch, repeat
        self.name = f"{len(numbers)} streams of {batch}"
        self._held: dict[int, Tensor] = {}

    def __call__(self, step: int) -> Tensor:
        block, place = divmod(step % self.repeat if self.repeat else step, BLOCK)
        if block not in self._held:
            if not self.repeat:
                self._held.clear()
            drawn = [
                draw(BLOCK * self.batch, generator(number, block, TRAINING))
                for draw, number in zip(self.draws, self.numbers, strict=True)
            ]
            self._held[block] = torch.stack(drawn).unflatten(1, (BLOCK, self.batch))
        return self._held[block][:, place]


@dataclass(frozen=True)
class Member:
    """One trained autoencoder: which data, which seed, which settings."""

    data: str
    seed: int
    config: sae.Architecture
    sae: sae.SAE

    @property
    def decoder(self) -> np.ndarray:
        """(latent, d)."""
        return self.sae.decoder.numpy()

    @property
    def encoder(self) -> np.ndarray:
        """(latent, d): what each latent reads."""
        return self.sae.tensors["W_enc"].T.numpy()


def family(
    architecture: sae.Architecture,
    data: Mapping[str, Draw | Sequence[Draw]],
    seeds: Sequence[int],
    recipe: sae.Recipe,
    *,
    over: Mapping[str, Sequence[Any]] | None = None,
    start: Mapping[str, Tensor] | None = None,
    batch: int = 256,
    repeat: int = 0,
) -> list[Member]:
    """Train `architecture` on every data set (one draw for all seeds, or one a seed) and seed."""
    draws: list[Draw] = []
    for draw in data.values():
        draws += [draw] * len(seeds) if callable(draw) else list(draw)
    numbers = [seed + APART * place for place in range(len(data)) for seed in seeds]
    whose = {seed + APART * place: (name, seed) for place, name in enumerate(data) for seed in seeds}
    stream = Stream(draws, numbers, batch, repeat)
    trained = sae.train(stream, architecture, over=over, seeds=numbers, recipe=recipe, start=start)
    return [Member(*whose[one.seed], one.config, one.sae) for one in trained]


def at_truth(truth: Tensor) -> dict[str, Tensor]:
    """A start at the true dictionary: tied weights, no biases."""
    return {"W_dec": truth, "W_enc": truth, "b_dec": torch.zeros(truth.shape[1]), "b_enc": torch.zeros(len(truth))}


def paired(decoder: Any, truth: Any) -> np.ndarray:
    """(feature, feature): row i has the cosines of the latent that is matched to feature i (Hungarian on cosines)."""
    found = cosines(decoder, truth)
    latent, feature = assigned(found)
    out = np.zeros((found.shape[1], found.shape[1]))
    out[feature] = found[latent]
    return out


def noisy(rows: np.ndarray, rng: np.random.Generator, noise: float = 0.02) -> np.ndarray:
    """A planted dictionary: unit rows with noise of relative length `noise`, of unequal lengths and in another order."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    shaken = unit + noise * rng.standard_normal(rows.shape) / np.sqrt(rows.shape[1])
    return rng.permutation(shaken * rng.uniform(0.3, 3, (len(rows), 1)), axis=0)
