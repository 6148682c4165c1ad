"""Linear subspaces of a residual stream: how large, how much of a matrix lies in them, and what ablating them costs.

A basis is an orthonormal (k, d) array. The null of every share is exact: an isotropic vector has k / d of its energy in any
k-dimensional subspace. The null of an ablation is not any subspace of the same rank: a residual stream has few loud
dimensions, and what is loud costs more. `Ablation.matched` therefore draws subspaces of the same rank AND the same energy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from superscope.lms.model.interventions import mean_loss, project_out
from superscope.lms.model.language_model import LanguageModel, rows_to_tensor


def variances(rows: np.ndarray) -> np.ndarray:
    """(min(n, d),) variance along each principal component of `rows` (n, d), largest first, about the mean row."""
    centred = rows - rows.mean(axis=0)
    return np.linalg.svd(centred, compute_uv=False) ** 2


def components_for(rows: np.ndarray, share: float) -> int:
    """How many principal components hold `share` of the variance of `rows` (n, d)."""
    cumulative = np.cumsum(variances(rows))
    return int(np.searchsorted(cumulative / cumulative[-1], share - 1e-12) + 1)


def participation_ratio(rows: np.ndarray) -> float:
    """(sum v)^2 / sum v^2 of the principal variances: d for isotropic rows, 1 for a line."""
    v = variances(rows)
    return float(v.sum() ** 2 / (v**2).sum())


def principal_basis(rows: np.ndarray, k: int) -> np.ndarray:
    """(k, d) orthonormal: the first k principal directions of `rows` (n, d)."""
    if not 1 <= k <= min(rows.shape):
        raise ValueError(f"k={k}: expected 1 to {min(rows.shape)} components of rows of shape {rows.shape}")
    return np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:k]


def random_basis(k: int, d: int, seed: int) -> np.ndarray:
    """(k, d) orthonormal, uniformly distributed."""
    return np.linalg.qr(np.random.default_rng([seed, k, d]).normal(size=(d, k)))[0].T


def whitener(covariance: np.ndarray, floor: float = 0.01) -> np.ndarray:
    """(d, d) symmetric: makes this covariance, mixed with `floor` of an isotropic one, the identity."""
    d = len(covariance)
    values, vectors = np.linalg.eigh((1 - floor) * covariance + floor * np.trace(covariance) / d * np.eye(d))
    return np.asarray(vectors / np.sqrt(values) @ vectors.T)


def energy_share(vectors: np.ndarray, basis: np.ndarray, centre: bool = False) -> float:
    """Share of the squared norm (about the mean row if `centre`) of `vectors` (n, d) inside the subspace. Null: k / d."""
    if centre:
        vectors = vectors - vectors.mean(axis=0)
    return float(((vectors @ basis.T) ** 2).sum() / (vectors**2).sum())


def smooth_rank(rows: np.ndarray, threshold: float = 0.5) -> int:
    """How many leading principal components of `rows` (n, d), in their order, are smooth along it: lag-1 autocorrelation of
    their scores above `threshold`, counted up to the first that is not. At least 1.

    For curves in noise (positional embeddings): a helix in 3 of 128 dimensions counts 3 at any noise it can be seen through,
    where `components_for` .95 counts the noise (58 at noise .05). Null: rows in random order count 1 (the least).
    """
    centred = rows - rows.mean(axis=0)
    scores = np.linalg.svd(centred, full_matrices=False)[0]
    scores = scores - scores.mean(axis=0)
    lag = (scores[:-1] * scores[1:]).sum(axis=0) / np.maximum((scores**2).sum(axis=0), 1e-30)
    rough = np.flatnonzero(lag <= threshold)
    return max(1, int(rough[0]) if len(rough) else len(lag))


def between(quiet: np.ndarray, loud: np.ndarray, energy: Callable[[np.ndarray], float], wanted: float) -> np.ndarray:
    """The (k, d) basis on the way from `quiet` to `loud` (both (k, d)) that holds the energy `wanted`, to a part in 1e-4.

    The way is (1 - t) quiet + t loud, made orthonormal; its energy rises continuously from one end to the other, and t is
    found by bisection. ValueError when `wanted` does not lie between the ends.
    """

    def at(t: float) -> np.ndarray:
        return np.linalg.qr(((1 - t) * quiet + t * loud).T)[0].T

    low, high = 0.0, 1.0
    if not energy(at(low)) <= wanted <= energy(at(high)):
        raise ValueError(
            f"energy {wanted:.4g} does not lie between that of the quiet end, {energy(at(low)):.4g}, and of the loud one, "
            f"{energy(at(high)):.4g}"
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if energy(at(middle)) < wanted else (low, middle)
    return at((low + high) / 2)


@dataclass(frozen=True)
class Ablation:
    """What it costs to replace a subspace of the values at one hook by its mean over data (mean ablation).

    tokens: (row, position) int64. Position 0 (BOS) is left alone: heads rest there, and ablating it is another experiment.
    Misleads where the subspace is bimodal: the mean is then a value that never occurs.
    """

    model: LanguageModel
    tokens: np.ndarray
    hook: str

    @cached_property
    def clean(self) -> np.ndarray:
        """(row,) nats per token without ablation."""
        return mean_loss(self.model, self.tokens)

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        values = self.model.activations(rows_to_tensor(self.tokens), [self.hook])[self.hook][:, 1:].double().numpy()
        flat = values.reshape(-1, values.shape[-1])
        return flat.mean(axis=0), np.cov(flat.T)

    @property
    def mean(self) -> np.ndarray:
        """(d,) mean of the values over rows and positions."""
        return self._moments[0]

    @property
    def covariance(self) -> np.ndarray:
        """(d, d) covariance of the values."""
        return self._moments[1]

    def energy(self, basis: np.ndarray) -> float:
        """Variance that ablating the subspace removes: tr(B C B^T)."""
        return float(np.einsum("kd,de,ke->", basis, self.covariance, basis))

    def cost(self, basis: np.ndarray) -> float:
        """Nats per token that ablating the subspace adds, mean over rows."""
        hooks = [project_out(self.hook, basis, self.mean)]
        return float((mean_loss(self.model, self.tokens, hooks) - self.clean).mean())

    def matched(self, basis: np.ndarray, draws: int, rng: np.random.Generator, loudness: float = 1.0) -> list[np.ndarray]:
        """`draws` random subspaces of the same rank that remove the same energy, orthogonal to `basis` itself.

        loudness: as if `basis` carried its values at this strength and the model read them so much more strongly. The model is
        the same function then, hence the cost the same, while the energy falls with the square: a plant for "needed more than
        others as loud", which is true by construction when `loudness` is small.
        Each lies between a random subspace and a random one inside the loudest directions that `basis` leaves. Where the rest
        of the stream does not hold as much energy in k dimensions, the loudest k are taken: see `Ablation.energy` of each.
        """
        k, d = basis.shape
        rest = np.linalg.svd(basis, full_matrices=True)[2][k:]  # (d - k, d)
        values, vectors = np.linalg.eigh(rest @ self.covariance @ rest.T)
        order = np.argsort(values)[::-1]
        loudest = vectors[:, order].T @ rest  # (d - k, d), loudest first
        wanted = min(loudness**2 * self.energy(basis), (1 - 1e-9) * self.energy(loudest[:k]))
        out = []
        for _ in range(draws):
            quiet = np.linalg.qr(rng.standard_normal((d - k, k)))[0].T @ rest
            if self.energy(quiet) > wanted:  # already louder than what is asked for: go towards the quietest
                out.append(between(loudest[::-1][:k], quiet, self.energy, max(wanted, self.energy(loudest[::-1][:k]))))
                continue
            width = min(d - k, 2 * k)
            mix = np.linalg.qr(rng.standard_normal((width, k)))[0].T @ loudest[:width]
            loud = mix if self.energy(mix) >= wanted else loudest[:k]
            out.append(between(quiet, loud, self.energy, wanted))
        return out

    def ratio(self, basis: np.ndarray, draws: int, rng: np.random.Generator) -> float:
        """Cost of the subspace over the mean cost of subspaces matched in rank and energy. Null: 1."""
        return self.cost(basis) / float(np.mean([self.cost(one) for one in self.matched(basis, draws, rng)]))
