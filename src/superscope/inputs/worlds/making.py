"""Making worlds from plain numbers: densities, trees, correlations, and directions that keep apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.errors import SettingError
from superscope.inputs.worlds.law import Levels, World, _rates, _survival


def world(
    name: str,
    directions: Tensor,
    density: float | Sequence[float] | Tensor,
    *,
    mean: float | Tensor = 1.0,
    std: float | Tensor = 0.0,
    bias: Tensor | None = None,
    parent: Sequence[int] | Tensor | None = None,
    exclusive: bool | Sequence[bool] | Tensor = False,
    correlation: Tensor | None = None,
    factors: Tensor | None = None,
    compensate: float | None = None,
    **rest: Any,
) -> World:
    """A `World` from plain numbers: scalars hold for every feature, directions are made unit rows.

    correlation (feature, feature): of the Gaussians of the copula, positive semidefinite with ones on the diagonal; or give
    `factors`. compensate: density is then the rate wanted AFTER parents and siblings, and p_i is solved for. Children that
    together want more than the share `compensate` of their parent's rate (exclusive ones in sum, others each) get that
    share, in the proportions wanted: with .8 a parent is on without a child in a fifth of its samples at least.
    """
    rows = torch.as_tensor(directions, dtype=torch.float32)
    if rows.ndim != 2 or not bool(rows.isfinite().all() and (rows.norm(dim=1) > 0).all()):
        raise SettingError(f"world {name!r}: directions must be (feature, d), finite, and none of them zero")
    rows, n = _unit(rows), len(rows)

    def each(value: Any, dtype: torch.dtype = torch.float32) -> Tensor:
        found = torch.as_tensor(value, dtype=dtype)
        return found.expand(n).clone() if found.ndim == 0 else found.clone()

    if correlation is not None:
        factors = _root(torch.as_tensor(correlation, dtype=torch.float64), name)
    above = torch.full((n,), -1) if parent is None else torch.as_tensor(parent, dtype=torch.int64)
    made = World(
        name,
        rows,
        each(density),
        each(mean),
        each(std),
        torch.zeros(rows.shape[1]) if bias is None else torch.as_tensor(bias, dtype=torch.float32),
        above,
        each(exclusive, torch.bool),
        factors,
        **rest,
    )
    if compensate is None:
        return made
    if not 0 < compensate < 1:
        raise SettingError(f"world {name!r}: compensate={compensate!r}, expected a share between 0 and 1")
    return replace(made, density=_compensated(made.density.double(), made._levels, compensate).float())


def zipf(features: int, exponent: float = 0.5, p_max: float = 0.4, p_min: float = 5e-4) -> Tensor:
    """(feature,) densities that fall as rank^-exponent from p_max to p_min, both met exactly, as in SAELens."""
    if features < 2 or not 0 < p_min < p_max <= 1 or exponent <= 0:
        raise SettingError(
            f"zipf({features}, {exponent}, {p_max}, {p_min}): needs 2 features, exponent > 0, 0 < p_min < p_max <= 1"
        )
    ranks = torch.arange(1, features + 1, dtype=torch.float64) ** -exponent
    return (p_min + (p_max - p_min) * (ranks - ranks[-1]) / (ranks[0] - ranks[-1])).float()


def low_rank(features: int, rank: int, scale: float, seed: int) -> Tensor:
    """(feature, rank) Gaussian factors of a copula, as in SAELens: correlations of spread scale^2 sqrt(rank)."""
    drawn = torch.randn(features, rank, generator=torch.Generator().manual_seed(seed)) * scale
    longest = float(drawn.norm(dim=1).max())
    return drawn * min(1.0, 0.99**0.5 / max(longest, 1e-12))


def trees(features: int, roots: int, branching: int, depth: int) -> Tensor:
    """(feature,) parents: `roots` trees, every node with `branching` children, `depth` levels below the roots, breadth first.

    Features beyond the trees, and beyond `features`, are roots without children.
    """
    parent = torch.full((features,), -1)
    level, free = list(range(min(roots, features))), roots
    for _ in range(depth):
        born = [(p, c) for k, p in enumerate(level) for c in range(free + k * branching, free + (k + 1) * branching)]
        born = [(p, c) for p, c in born if c < features]
        for p, c in born:
            parent[c] = p
        level, free = [c for _, c in born], free + len(born)
    return parent


def spread(features: int, d: int, steps: int = 100, lr: float = 0.01, power: int = 4, seed: int = 0) -> Tensor:
    """(feature, d) random unit rows pushed apart: Adam on sum_{i != j} cos_ij^power. steps=0: random directions.

    SAELens has power 2, which a random dictionary nearly minimises already (mean largest cosine .37 -> .33 for 256 in 64
    dimensions); 4 lowers it to .16. Power 2 costs d^2 and not feature^2 a step.
    """
    rows = _unit(torch.randn(features, d, generator=torch.Generator().manual_seed(seed))).requires_grad_(True)
    optimiser = torch.optim.Adam([rows], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        unit = _unit(rows)
        if power == 2:
            loss = (unit.T @ unit).pow(2).sum()  # the Gram matrix of rows has the same sum of squares
        else:
            loss = (unit @ unit.T).pow(power).sum()  # the diagonal is constant
        loss.backward()
        optimiser.step()
    return _unit(rows.detach())


def orthogonal(features: int, d: int, seed: int = 0) -> Tensor:
    """(feature, d) orthonormal rows in random directions; SettingError when features > d."""
    if features > d:
        raise SettingError(f"{features} orthogonal features do not fit into {d} dimensions")
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, features)))
    return torch.from_numpy(np.ascontiguousarray(q.T)).float()


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _root(correlation: Tensor, name: str) -> Tensor:
    """F with F F^T = correlation."""
    values, vectors = torch.linalg.eigh(correlation)
    if float(values.min()) < -1e-6 or float((correlation.diagonal() - 1).abs().max()) > 1e-6:
        raise SettingError(
            f"world {name!r}: the correlation matrix needs ones on its diagonal and no negative eigenvalue "
            f"(least: {float(values.min()):.3g}); make the correlations smaller"
        )
    return _unit(vectors * values.clamp(min=0).sqrt()).float()


def _compensated(wanted: Tensor, levels: list[Levels], share: float, rounds: int = 200) -> Tensor:
    """(feature,) p with `_rates(p)` = wanted, or as near as children that fill `share` of their parent come to it."""
    p = wanted.clone()
    for depth, (children, parents, groups) in enumerate(levels):
        above = _rates(p, levels[:depth])[parents]
        given = torch.zeros_like(p)
        given[children] = wanted[children] / above.clamp(min=1e-12)
        p[children] = given[children].clamp(max=share)
        if not groups.numel():
            continue
        there = groups >= 0
        target = torch.where(there, given[groups.clamp(min=0)], 0.0)
        target = target * (share / target.sum(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1)
        q = target.clone()
        for _ in range(rounds):  # a child is on and kept with probability q * survival(q)
            q = (target / _survival(q)).clamp(max=1)
        p[groups[there]] = q[there]
    return p
