"""The sizes of the three parts of problem 4.45."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Sizes of the three parts."""

    ratios: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)  # importances of the lesser of two features
    sensing_features: int = 32  # n of the Donoho-Tanner overlay
    shares: tuple[float, ...] = (0.125, 0.25, 0.5)  # its dimensions per feature m/n
    active: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 28)  # its mean number of active features, n x density
    inputs: int = 30  # inputs per code given to the ideal decoder
    test_densities: tuple[float, ...] = (0.02, 0.04, 0.06, 0.1, 0.2, 0.4)  # of the models the test is tried on
    samples: int = 1000  # activations the test sees
    seeds: int = 16  # seeds of every part
    steps: int = 1500  # training steps

    def __post_init__(self) -> None:
        n = self.sensing_features
        if not all(0 < r < 1 for r in self.ratios):
            raise ValueError(f"ratios={self.ratios}: importances of the lesser feature lie between 0 and 1")
        if not all(1 <= round(x * n) < n for x in self.shares):
            raise ValueError(f"shares={self.shares}: each must leave 1 to {n - 1} dimensions for {n} features")
        if list(self.active) != sorted(set(self.active)) or not 1 <= self.active[0] <= self.active[-1] <= n:
            raise ValueError(f"active={self.active}: ascending numbers from 1 to {n}")
        if not all(0 < p < 1 for p in self.test_densities):
            raise ValueError(f"test_densities={self.test_densities}: densities lie between 0 and 1")


PRESETS = {
    "quick": Config(),
    "standard": Config(
        sensing_features=64, active=(1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 56), inputs=60, seeds=32, samples=2000,
        steps=2000,
    ),
    "full": Config(
        sensing_features=128, shares=(0.0625, 0.125, 0.25, 0.5, 0.75), inputs=100, seeds=32, samples=2000, steps=4000,
        active=(1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 112),
    ),
}  # fmt: skip
