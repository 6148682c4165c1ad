"""What goes into a toy model: sparse features, their value laws, their correlations.

A feature is on with probability `density` (sparsity = 1 - density) and, when on, takes a value drawn from a value law.
`SparseFeatures` is a frozen description; sampling needs a seed or a generator and never touches global state.

Source of the set-up: Elhage et al. 2022 (arXiv 2209.10652), "Toy Models of Superposition", section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from superscope.errors import SettingError, whole

if TYPE_CHECKING:
    import torch


# ---------------------------------------------------------------------------------------------------------------------
# Value laws. Each is given by its quantile function, so that stratified and quasi-random draws need nothing else.


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high]: the law of TMS with low=0, high=1."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not (_finite(self.low, self.high) and self.low < self.high):
            raise SettingError(f"Uniform({self.low}, {self.high}): needs finite low < high, for instance Uniform(0, 1)")

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """Inverse distribution function: u in [0, 1), any shape -> values of the same shape."""
        return self.low + (self.high - self.low) * u

    def moment(self, k: int) -> float:
        """E[v^k] given that the feature is on."""
        return (self.high ** (k + 1) - self.low ** (k + 1)) / ((k + 1) * (self.high - self.low))

    def nodes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Legendre nodes and weights (sum 1), both (count,), exact for polynomials up to degree 2 count - 1."""
        x, w = np.polynomial.legendre.leggauss(count)
        return self.quantile((x + 1) / 2), w / 2


@dataclass(frozen=True)
class SignedUniform:
    """A fair sign times Uniform(low, high): the inputs of the absolute value model are SignedUniform(0, 1)."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        Uniform(self.low, self.high)
        if self.low < 0:
            raise SettingError(f"SignedUniform({self.low}, {self.high}): magnitudes cannot be negative")

    def quantile(self, u: np.ndarray) -> np.ndarray:
        s = 2 * u - 1
        return np.where(s < 0, -1.0, 1.0) * (self.low + (self.high - self.low) * np.abs(s))

    def moment(self, k: int) -> float:
        return 0.0 if k % 2 else Uniform(self.low, self.high).moment(k)

    def nodes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        x, w = Uniform(self.low, self.high).nodes(count)
        return np.concatenate([-x[::-1], x]), np.concatenate([w[::-1], w]) / 2


@dataclass(frozen=True, init=False)
class Levels:
    """Equally likely discrete values: Levels(1, 2, 3)."""

    values: tuple[float, ...]

    def __init__(self, *values: float):
        if len(values) == 1 and np.ndim(values[0]) == 1:
            values = tuple(np.asarray(values[0]).tolist())
        if not values or not _finite(*values):
            raise SettingError(f"Levels{values}: needs at least one finite value, for instance Levels(1, 2, 3)")
        object.__setattr__(self, "values", tuple(float(v) for v in values))

    def quantile(self, u: np.ndarray) -> np.ndarray:
        table = np.asarray(self.values)
        return table[np.minimum((u * len(table)).astype(np.int64), len(table) - 1)]

    def moment(self, k: int) -> float:
        return float(np.mean(np.asarray(self.values) ** k))

    def nodes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(self.values), np.full(len(self.values), 1 / len(self.values))


def Constant(value: float = 1.0) -> Levels:  # noqa: N802 - reads as a value law at the front door
    """Always `value` when on: binary features with value=1."""
    return Levels(value)


def _finite(*values: Any) -> bool:
    """Are all of these finite numbers?"""
    try:
        return bool(np.isfinite(np.asarray(values, dtype=np.float64)).all()) and not any(isinstance(v, str) for v in values)
    except (TypeError, ValueError):
        return False


ValueLaw = Uniform | SignedUniform | Levels


# ---------------------------------------------------------------------------------------------------------------------
# Groups: which features are on together. Features in no group are independent.


@dataclass(frozen=True)
class Correlated:
    """The members are on or off together (one draw), with the density of the first member."""

    members: tuple[int, ...]

    def draw(self, rng: np.random.Generator, density: np.ndarray, count: int) -> np.ndarray:
        on = rng.random(count) < density[self.members[0]]
        return np.repeat(on[:, None], len(self.members), axis=1)

    def marginal(self, density: np.ndarray) -> np.ndarray:
        return np.full(len(self.members), density[self.members[0]])


@dataclass(frozen=True)
class AntiCorrelated:
    """At most one member is on; each keeps its own density, so the densities of the group must add up to at most 1."""

    members: tuple[int, ...]

    def draw(self, rng: np.random.Generator, density: np.ndarray, count: int) -> np.ndarray:
        edges = np.cumsum(density[list(self.members)])
        return np.searchsorted(edges, rng.random(count), side="right")[:, None] == np.arange(len(self.members))

    def marginal(self, density: np.ndarray) -> np.ndarray:
        return density[list(self.members)]


@dataclass(frozen=True)
class ExactlyK:
    """Exactly k members, drawn uniformly, are on in every sample; their densities are ignored."""

    members: tuple[int, ...]
    k: int

    def draw(self, rng: np.random.Generator, density: np.ndarray, count: int) -> np.ndarray:
        rank = rng.random((count, len(self.members))).argsort(axis=1).argsort(axis=1)
        return rank < self.k

    def marginal(self, density: np.ndarray) -> np.ndarray:
        return np.full(len(self.members), self.k / len(self.members))


@dataclass(frozen=True)
class ExclusiveSets:
    """At most one of several sets is open; inside the open set features are independent and keep their marginal density."""

    sets: tuple[tuple[int, ...], ...]

    @property
    def members(self) -> tuple[int, ...]:
        return tuple(i for s in self.sets for i in s)

    def draw(self, rng: np.random.Generator, density: np.ndarray, count: int) -> np.ndarray:
        owner = np.concatenate([np.full(len(s), j) for j, s in enumerate(self.sets)])
        opened = rng.integers(len(self.sets), size=count)[:, None] == owner
        inside = rng.random((count, len(owner))) < len(self.sets) * density[list(self.members)]
        return opened & inside

    def marginal(self, density: np.ndarray) -> np.ndarray:
        return density[list(self.members)]


@dataclass(frozen=True)
class Hierarchy:
    """A child is on only if its parent is; densities of children are conditional on the parent."""

    parent: int
    children: tuple[int, ...]

    @property
    def members(self) -> tuple[int, ...]:
        return (self.parent, *self.children)

    def draw(self, rng: np.random.Generator, density: np.ndarray, count: int) -> np.ndarray:
        on = rng.random((count, len(self.members))) < density[list(self.members)]
        on[:, 1:] &= on[:, :1]
        return on

    def marginal(self, density: np.ndarray) -> np.ndarray:
        p = density[list(self.members)].copy()
        p[1:] *= p[0]
        return p


Group = Correlated | AntiCorrelated | ExactlyK | ExclusiveSets | Hierarchy


# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SparseFeatures:
    """n sparse features.

    n: number of features.
    density: probability of being on, a scalar or one number per feature.
    values: law of the value when on.
    importance: weight I_i of feature i in the loss L = E_x sum_i I_i (x_i - y_i)^2, scalar or one per feature.
    groups: sets of dependent features; the others are independent.
    """

    n: int
    density: float | tuple[float, ...] = 0.1
    values: ValueLaw = field(default_factory=Uniform)
    importance: float | tuple[float, ...] = 1.0
    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", whole("SparseFeatures: n", self.n, 1))
        for name in ("density", "importance"):
            object.__setattr__(self, name, self._plain(name, getattr(self, name)))
        p, weight = self.densities, self.importances
        if not np.all((p >= 0) & (p <= 1)):
            bad = p[~((p >= 0) & (p <= 1))][0]
            raise SettingError(f"density={bad:g} is outside [0, 1]: a density is the probability that a feature is on")
        if not np.all(weight >= 0) or not np.all(np.isfinite(weight)):
            bad = weight[~((weight >= 0) & np.isfinite(weight))][0]
            raise SettingError(f"importance={bad:g}: importances must be finite and >= 0")
        if not all(hasattr(self.values, name) for name in ("quantile", "moment", "nodes")):
            raise SettingError(
                f"values={self.values!r}: give a value law, such as ss.Uniform(0, 1), ss.SignedUniform(0, 1), ss.Constant(1) "
                "or ss.Levels(1, 2, 3)"
            )
        groups = self.groups if isinstance(self.groups, (tuple, list)) else (self.groups,) if self.groups else ()
        for group in groups:
            if not all(hasattr(group, name) for name in ("members", "draw", "marginal")):
                raise SettingError(f"groups: {group!r} is no group; give ss.Correlated((0, 1)) or another kind of group")
        object.__setattr__(self, "groups", tuple(groups))
        self._check_groups(p)

    def _plain(self, name: str, value: Any) -> float | tuple[float, ...]:
        try:
            numbers = np.asarray(value.tolist() if hasattr(value, "tolist") else value)
            flat = tuple(float(v) for v in numbers.ravel())
            fits = numbers.ndim <= 1 and numbers.dtype.kind in "iuf"
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise SettingError(f"{name}={value!r}: give one number or one per feature")
        if numbers.ndim == 0:
            return flat[0]
        if len(flat) != self.n:
            raise SettingError(f"{name} has {len(flat)} entries but n={self.n}: give one number or one per feature")
        return flat[0] if len(set(flat)) == 1 else flat

    def _check_groups(self, p: np.ndarray) -> None:
        seen: set[int] = set()
        for group in self.groups:
            members = group.members if isinstance(group.members, (tuple, list)) else ()
            if not members:
                raise SettingError(f"{group}: a group needs members, such as (0, 1)")
            if any(isinstance(i, (bool, float, str)) or not 0 <= i < self.n for i in members):
                raise SettingError(f"{group}: members must be feature numbers from 0 to {self.n - 1}")
            if len(set(members)) < len(members) or seen & set(members):
                raise SettingError(f"{group}: a feature may stand in one group only, once")
            seen |= set(members)
            if isinstance(group, AntiCorrelated) and p[list(members)].sum() > 1 + 1e-9:
                raise SettingError(f"{group}: densities add up to {p[list(members)].sum():g} > 1, but at most one may be on")
            if isinstance(group, ExclusiveSets) and len(group.sets) * p[list(members)].max() > 1 + 1e-9:
                raise SettingError(f"{group}: with {len(group.sets)} sets no density may exceed {1 / len(group.sets):g}")
            if isinstance(group, ExactlyK) and not (isinstance(group.k, int) and 0 <= group.k <= len(members)):
                raise SettingError(f"{group}: k must lie between 0 and {len(members)}")

    # -- numbers about the inputs ---------------------------------------------------------------------------------

    @property
    def densities(self) -> np.ndarray:
        """(n,) densities as given."""
        return np.broadcast_to(np.asarray(self.density, dtype=np.float64), (self.n,))

    @property
    def importances(self) -> np.ndarray:
        """(n,) importances."""
        return np.broadcast_to(np.asarray(self.importance, dtype=np.float64), (self.n,))

    @property
    def marginals(self) -> np.ndarray:
        """(n,) probability that each feature is on, groups taken into account."""
        p = self.densities.copy()
        for group in self.groups:
            p[list(group.members)] = group.marginal(self.densities)
        return p

    def mean(self) -> np.ndarray:
        """(n,) E[x_i], exact."""
        return self.marginals * self.values.moment(1)

    def second_moment(self) -> np.ndarray:
        """(n,) E[x_i^2], exact."""
        return self.marginals * self.values.moment(2)

    def kurtosis(self) -> np.ndarray:
        """(n,) E[x_i^4] / E[x_i^2]^2, exact (uncentred, as in Scherlis et al. 2022, arXiv 2210.01892)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.marginals * self.values.moment(4) / self.second_moment() ** 2

    # -- samples --------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count, n) float32 plain samples from a NumPy generator."""
        on = rng.random((count, self.n), dtype=np.float32) < self.densities.astype(np.float32)
        for group in self.groups:
            on[:, list(group.members)] = group.draw(rng, self.densities, count)
        x = np.zeros((count, self.n), dtype=np.float32)
        x[on] = self.values.quantile(rng.random(int(on.sum()))).astype(np.float32)
        return x

    def sample(self, count: int, seed: int = 0) -> torch.Tensor:
        """(count, n) float32 plain samples as a torch tensor; the same seed gives the same samples."""
        import torch

        count, seed = whole("count", count, 0), whole("seed", seed, 0)
        return torch.from_numpy(self.draw(np.random.Generator(np.random.Philox(seed)), count))

    def replace(self, **changes: Any) -> SparseFeatures:
        """A copy with some fields changed."""
        return replace(self, **changes)


def logspace(start: float, stop: float, count: int) -> np.ndarray:
    """`count` numbers from start to stop, both included, evenly spaced in the logarithm: a density axis."""
    if not (_finite(start, stop) and start > 0 and stop > 0):
        raise SettingError(f"logspace({start}, {stop}, {count}): both ends must be > 0 and finite")
    whole(f"logspace({start}, {stop}, ...): count", count, 1)
    return np.geomspace(start, stop, count)


def describe(value: Any) -> Any:
    """Plain JSON-able description of a spec (frozen dataclass, law, array): the basis of digests and of stored attributes."""
    if hasattr(value, "__dataclass_fields__"):
        body = {f.name: describe(getattr(value, f.name)) for f in fields(value)}
        return {"type": type(value).__name__, **body}
    if isinstance(value, np.ndarray):
        return [describe(v) for v in value.tolist()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [describe(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
