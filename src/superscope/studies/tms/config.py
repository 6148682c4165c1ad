"""The sizes of the TMS reproduction, and what "near convergence" means in it."""

from __future__ import annotations

from dataclasses import dataclass

import superscope as ss


@dataclass(frozen=True)
class Config:
    """Sizes of the reproduction."""

    seeds: int = 40  # seeds of the small models; shares near 1 need about 40 to exclude 0.9
    speed: float = 1.0  # multiplies the training steps of every section
    phase_cells: int = 16  # cells per side of the phase diagrams
    large_n: int = 80  # features of the large uniform model (the paper: 400)
    large_m: int = 10  # its hidden dimensions (the paper: 30)
    large_points: int = 12  # densities of its sweep, from 1 to 0.05
    large_seeds: int = 16  # its seeds
    large_steps: int = 2000  # its training steps
    group_density: float = 0.15  # density in the sections on correlation and dynamics
    dynamics_steps: int = 4000  # steps of plain training at constant learning rate
    snapshots: int = 40  # snapshots during it
    incidental_n: int = 32  # features of the section with more neurons than features

    def recipe(self, steps: int, **changes) -> ss.Recipe:
        """The recipe of a section, its steps scaled by `speed`."""
        return ss.Recipe.fast(steps=max(1, round(steps * self.speed)), **changes)


PRESETS = {
    "quick": Config(),
    "standard": Config(
        phase_cells=32, large_n=200, large_m=20, large_points=16, large_steps=4000, dynamics_steps=10_000, incidental_n=64
    ),
    "full": Config(
        seeds=100,
        phase_cells=64,
        large_n=400,
        large_m=30,
        large_points=20,
        large_steps=20_000,
        dynamics_steps=50_000,
        incidental_n=128,
    ),
}
