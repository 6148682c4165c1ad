"""The sizes of the study: how many seeds, how long the trainings, which ladders."""

from __future__ import annotations

from dataclasses import dataclass

from superscope.errors import SettingError
from superscope.recover import sae


@dataclass(frozen=True)
class Config:
    """Sizes."""

    seeds: int = 5  # of every training, with data of their own
    speed: float = 1.0  # multiplies the training steps of every chapter
    dictionary_steps: int = 600  # of trainings on 256 features, before `speed`
    pool: int = 40_000  # samples that these trainings go round in
    ks: tuple[float, ...] = (1.8, 2.0, 2.5)  # latents a sample where the true L0 is 2; 1.8 and 2 are judged
    balances: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 1.0)  # weights of Matryoshka's inner prefix; 0, .25 and 1 are judged
    ladder: tuple[float, ...] = (5, 7, 9, 11, 13, 16, 20)  # latents a sample where the true L0 is 10.95
    restarts: int = 3  # of autoencoders on a polygon, the best by squared error counts
    densities: tuple[float, ...] = (0.05,)  # of the features behind a polygon's activations; .05 is judged
    samples: int = 3000  # on which a dictionary is scored
    decoded: int = 200  # of these, how many FISTA decodes
    panel_seeds: int = 1  # of the table of all architectures in all worlds

    def __post_init__(self) -> None:
        for name, judged in (("ks", (1.8, 2.0)), ("balances", (0.0, 0.25, 1.0)), ("densities", (0.05,))):
            given = getattr(self, name)
            if missing := [one for one in judged if one not in given]:
                raise SettingError(f"{name}={given}: the claims are about {', '.join(f'{one:g}' for one in missing)}, too")
        if len(self.ladder) < 2 or not all(0 < one <= 50 for one in self.ladder):
            raise SettingError(f"ladder={self.ladder}: at least two numbers of latents between 0 and 50")
        for name in ("speed", "dictionary_steps", "restarts", "decoded", "panel_seeds"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name}={getattr(self, name)}: a number above 0")
        if self.samples < 200 or self.pool < 2000:
            raise SettingError(f"samples={self.samples}, pool={self.pool}: at least 200 and 2000, or scores mean nothing")

    def recipe(self, steps: int, lr: float = 1e-2) -> sae.Recipe:
        """The recipe of a chapter, its steps scaled by `speed`."""
        return sae.Recipe(steps=max(1, round(steps * self.speed)), lr=lr, warmup=50)


LADDER = (4, 5, 7, 9, 10, 11, 12, 13, 16, 20, 24)
KS = (1.2, 1.5, 1.7, 1.8, 1.9, 2.0, 2.25, 2.5, 3.0)
DENSITIES = (0.02, 0.05, 0.1, 0.2, 0.4)

PRESETS = {
    "quick": Config(),
    "standard": Config(
        seeds=10, speed=1.2, dictionary_steps=1200, ks=KS, ladder=LADDER, densities=(0.02, 0.05, 0.2),
        restarts=4, samples=5000, decoded=300, panel_seeds=2,
    ),
    "full": Config(
        seeds=20, speed=4, dictionary_steps=2000, ks=KS, ladder=LADDER, densities=DENSITIES, restarts=10, samples=10_000,
        decoded=1000, panel_seeds=5,
    ),
}  # fmt: skip
