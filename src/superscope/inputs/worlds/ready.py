"""Ready-made worlds: those of the literature on how sparse autoencoders fail, and a benchmark in three sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from superscope.errors import SettingError
from superscope.inputs.worlds.law import World
from superscope.inputs.worlds.making import low_rank, orthogonal, spread, trees, world, zipf


def sparse_but_wrong(correlation: float | Sequence[float] = 0.4, d: int = 20, seed: int = 0) -> World:
    """Five orthogonal features, each on at .4 (true L0 = 2), feature 0 correlated with all others; values 1 +- .15.

    Chanin and Garriga-Alonso 2508.16560: a BatchTopK SAE with k below 2 mixes feature 0 into every latent, with the sign of the
    correlation, and explains more variance than the right one. correlation: of the Gaussians, one for all or one for each of
    the other four.
    """
    matrix = torch.eye(5, dtype=torch.float64)
    matrix[0, 1:] = matrix[1:, 0] = torch.as_tensor(correlation, dtype=torch.float64)
    return world("sparse-but-wrong", orthogonal(5, d, seed), 0.4, std=0.15, correlation=matrix)


def parent_child(
    parent: float = 0.25, children: Sequence[float] = (0.2,), d: int = 50, exclusive: bool = False, seed: int = 0
) -> World:
    """A parent, on at .25, and children that are on at .2 of its samples; orthogonal, values 1 (Chanin et al. 2505.11756)."""
    count = len(children)
    return world(
        "parent-child",
        orthogonal(1 + count, d, seed),
        [parent, *children],
        parent=[-1] + [0] * count,
        exclusive=exclusive,
    )


def polygon(n: int = 5, d: int = 2, density: float = 0.05) -> World:
    """n features on a regular n-gon in the first two of d dimensions, values Uniform(0, 1): superposition as in TMS."""
    angle = 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n
    rows = torch.zeros(n, d)
    rows[:, 0], rows[:, 1] = angle.cos(), angle.sin()
    return world(f"{n}-gon", rows, density, mean=0.5, std=12**-0.5, magnitude="uniform")


# Two thirds of the features stand in trees at every size. share: see `compensate` of `world`.
SIZES: dict[str, dict[str, Any]] = {
    "256": {"features": 256, "d": 64, "roots": 8, "depth": 2, "p_max": 0.4, "p_min": 5e-3, "share": 0.8},
    "1k": {"features": 1024, "d": 128, "roots": 8, "depth": 3, "p_max": 0.4, "p_min": 2e-3, "share": 0.8},
    "16k": {"features": 16384, "d": 768, "roots": 128, "depth": 3, "p_max": 0.4, "p_min": 5e-4, "share": 0.98},
}


def benchmark(size: str = "256", seed: int = 42) -> World:
    """A world in the manner of SynthSAEBench (2602.14687): Zipf densities, trees of exclusive children, weak correlations.

    Sizes 256 (in 64 dimensions) and 1k (in 128) are for two cores; their parents are alone in a fifth of their samples.
    16k (in 768) has the published settings: Zipf exponent .5, 128 roots x 4 children x 3 deep, exclusive, compensated,
    children scaled by parents, means 5 to 4, stds |N(.5, .5)|, copula of rank 25 and scale .1, bias of length .5. There the
    children want more than their parents have, so a parent is nearly never on alone, and the true L0 is 34, not the 59 of
    its Zipf law. Drawn by other generators than theirs: the law is the same, not the numbers.
    """
    if size not in SIZES:
        raise SettingError(f"size {size!r}: expected one of {', '.join(SIZES)}")
    at = SIZES[size]
    n, d = at["features"], at["d"]
    random = torch.Generator().manual_seed(seed)
    bias = torch.randn(d, generator=random)
    return world(
        f"benchmark-{size}",
        spread(n, d, 100, 3e-4, 2, seed) if size == "16k" else spread(n, d, seed=seed),
        zipf(n, 0.5, at["p_max"], at["p_min"]),
        mean=torch.linspace(5, 4, n),
        std=(0.5 + 0.5 * torch.randn(n, generator=random)).abs(),
        bias=0.5 * bias / bias.norm(),
        parent=trees(n, at["roots"], 4, at["depth"]),
        exclusive=True,
        factors=low_rank(n, 25, 0.1, seed + 1),
        compensate=at["share"],
        scaled=True,
        settings={"size": size, "seed": seed, **at},
    )
