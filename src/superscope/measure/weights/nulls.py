"""What a measure says about matrices with no structure: nulls of W, and the comparison with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from superscope.measure.weights._arrays import unwrap


def haar_rotations(m: int, draws: int, seed: int = 0) -> np.ndarray:
    """`draws` uniformly random orthogonal m x m matrices, (draws, m, m): QR of a Gaussian, signs fixed (Mezzadri)."""
    if m < 1 or draws < 1:
        raise ValueError(f"haar_rotations(m={m}, draws={draws}): both must be at least 1")
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((draws, m, m)))
    return q * np.sign(np.einsum("dii->di", r))[:, None, :]


def _each_model(W, transform: Callable[[np.ndarray, np.random.Generator], np.ndarray], seed: int):
    """Apply `transform` to every model's unpadded (m, n) matrix; padding goes back in as NaN."""
    w = unwrap(W)
    rng = np.random.default_rng(seed)
    result = np.full(w.values.shape, np.nan)
    for index, matrix, _ in w.models():
        result[index][np.ix_(w.hidden[index], w.features[index])] = transform(matrix, rng)
    return w.wrap(result, ("hidden", "feature"), "W")


def rotate(W, seed: int = 0):
    """Each model's W turned by its own Haar rotation: same geometry, same loss without hidden dropout, no basis."""
    return _each_model(W, lambda M, rng: haar_rotations(len(M), 1, int(rng.integers(2**63)))[0] @ M, seed)


def random_directions(W, seed: int = 0):
    """Same norms ||W_i||, directions independent and uniform on the sphere: no geometry at all."""

    def draw(M, rng):
        fresh = rng.standard_normal(M.shape)
        return fresh / np.linalg.norm(fresh, axis=0) * np.linalg.norm(M, axis=0)

    return _each_model(W, draw, seed)


def shuffle_entries(W, seed: int = 0):
    """The entries of each model's W in random places: same weight distribution, no features and no neurons."""
    return _each_model(W, lambda M, rng: rng.permutation(M.ravel()).reshape(M.shape), seed)


def shuffle_within_features(W, seed: int = 0):
    """Entries permuted inside each column: every feature keeps its weights but not which neurons carry them."""
    return _each_model(W, lambda M, rng: rng.permuted(M, axis=0), seed)


NULLS: dict[str, Callable] = {
    "rotation": rotate,
    "directions": random_directions,
    "entries": shuffle_entries,
    "within features": shuffle_within_features,
}


@dataclass(frozen=True)
class Comparison:
    """A measured value beside its null distribution. Fields have the shape of one measurement; draws (draw, ...).

    z = (value - mean) / sd, NaN where the null does not vary; high and low: one-sided p values (1 + hits) / (1 + draws)
    of a null value at least as high / as low.
    """

    value: np.ndarray
    draws: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return self.draws.mean(0)

    @property
    def sd(self) -> np.ndarray:
        return self.draws.std(0, ddof=1)

    @property
    def z(self) -> np.ndarray:
        flat = self.sd <= 1e-12 * np.maximum(np.abs(self.mean), 1e-300)
        return np.where(flat, np.nan, (self.value - self.mean) / np.where(flat, 1, self.sd))

    @property
    def high(self) -> np.ndarray:
        return (1 + (self.draws >= self.value).sum(0)) / (1 + len(self.draws))

    @property
    def low(self) -> np.ndarray:
        return (1 + (self.draws <= self.value).sum(0)) / (1 + len(self.draws))


def compare(measure: Callable, W, null: str = "directions", draws: int = 200, seed: int = 0) -> Comparison:
    """Measure W and `draws` null versions of it. null: a name in NULLS. `measure` takes W and returns numbers."""
    if null not in NULLS:
        raise ValueError(f"null {null!r}: expected one of {sorted(NULLS)}")
    if draws < 2:
        raise ValueError(f"draws={draws}: expected at least 2, since a null needs a spread")
    seeds = np.random.SeedSequence(seed).generate_state(draws, np.uint64)
    return Comparison(
        np.asarray(measure(W), dtype=float),
        np.stack([np.asarray(measure(NULLS[null](W, int(s))), dtype=float) for s in seeds]),
    )
