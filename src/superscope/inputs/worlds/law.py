"""A world as data: who the features are, by which law they fire, and how they are embedded."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope import store
from superscope.errors import SettingError

FORMAT = 1
ABOUT, TENSORS = "world.json", "world.safetensors"
MAGNITUDES = ("normal", "folded", "uniform")
Levels = tuple[Tensor, Tensor, Tensor]  # children, their parents, (group, size) exclusive siblings filled up with -1


@dataclass(frozen=True, eq=False)
class World:
    """Known features in d dimensions. Tensors are float32 on one device, but `parent` (int64) and `exclusive` (bool).

    directions (feature, d), unit rows. density (feature,): p_i of the law above, so before parents and siblings; `rates` is
    what comes out. mean, std (feature,): of the value when on. bias (d,): added to every embedding. parent (feature,): number
    of the parent, -1 for none; parents come first. exclusive (feature,): at most one child of this feature is on.
    factors (feature, rank) or None: of the copula. magnitude: mean + std e with e "normal" or "uniform" (of variance 1), cut at
    0; or "folded", the absolute value of a normal. scaled: a child's value is multiplied by (its parent's value / its mean).
    """

    name: str
    directions: Tensor
    density: Tensor
    mean: Tensor
    std: Tensor
    bias: Tensor
    parent: Tensor
    exclusive: Tensor
    factors: Tensor | None = None
    magnitude: str = "normal"
    scaled: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, d = self.directions.shape
        for name, shape in {**dict.fromkeys(("density", "mean", "std", "parent", "exclusive"), (n,)), "bias": (d,)}.items():
            if getattr(self, name).shape != shape:
                raise SettingError(
                    f"world {self.name!r}: {name} has shape {tuple(getattr(self, name).shape)}, expected {shape}"
                )
        if not bool(((self.density >= 0) & (self.density <= 1)).all()):
            raise SettingError(f"world {self.name!r}: densities must lie in [0, 1]")
        if not bool((self.std >= 0).all() and (self.mean > 0).all()):
            raise SettingError(f"world {self.name!r}: means must be above 0 and stds at least 0")
        if not bool((self.parent < torch.arange(n, device=self.parent.device)).all() and (self.parent >= -1).all()):
            raise SettingError(f"world {self.name!r}: a parent must be -1 or come before its children")
        if self.factors is not None and (self.factors.shape[0] != n or bool((self.factors**2).sum(1).max() > 1 + 1e-5)):
            raise SettingError(f"world {self.name!r}: factors must be (feature, rank) with rows no longer than 1")
        if self.magnitude not in MAGNITUDES:
            raise SettingError(f"world {self.name!r}: magnitude {self.magnitude!r}, expected one of {', '.join(MAGNITUDES)}")

    @property
    def n_features(self) -> int:
        return self.directions.shape[0]

    @property
    def d(self) -> int:
        return self.directions.shape[1]

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """(parent, child) of every child."""
        return [(p, i) for i, p in enumerate(self.parent.tolist()) if p >= 0]

    @cached_property
    def _levels(self) -> list[Levels]:
        """The children of every depth, from the roots down."""
        parent, depth = self.parent.tolist(), [0] * self.n_features
        for i, p in enumerate(parent):
            depth[i] = depth[p] + 1 if p >= 0 else 0
        levels = []
        for level in range(1, max(depth) + 1):
            members = [i for i in range(self.n_features) if depth[i] == level]
            groups: dict[int, list[int]] = {}
            for i in members:
                if bool(self.exclusive[parent[i]]):
                    groups.setdefault(parent[i], []).append(i)
            size = max(map(len, groups.values()), default=0)
            table = [group + [-1] * (size - len(group)) for group in groups.values()]
            device = self.directions.device
            levels.append(
                (
                    torch.tensor(members, device=device),
                    torch.tensor([parent[i] for i in members], device=device),
                    torch.tensor(table, dtype=torch.int64, device=device).reshape(len(table), size),
                )
            )
        return levels

    @cached_property
    def rates(self) -> Tensor:
        """(feature,) probability of being on after parents and siblings; exact without `factors`, near it with weak ones."""
        return _rates(self.density.double(), self._levels).float()

    def to(self, device: str | torch.device) -> World:
        """The same world with its tensors on another device."""
        moved: dict[str, Any] = {f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **moved)

    def firing(self, count: int, rng: int | np.random.Generator | torch.Generator) -> Tensor:
        """(count, feature) bool: which features are on."""
        generator = _generator(rng, self.directions.device)
        shape = (count, self.n_features)
        device = self.directions.device
        if self.factors is None:
            on = torch.rand(shape, generator=generator, device=device) < self.density
        else:
            own = (1 - (self.factors**2).sum(1)).clamp(min=0).sqrt()
            shared = torch.randn(count, self.factors.shape[1], generator=generator, device=device) @ self.factors.T
            level = torch.special.ndtri(self.density.double()).float()
            on = shared + own * torch.randn(shape, generator=generator, device=device) < level
        for children, parents, groups in self._levels:
            on[:, children] &= on[:, parents]
            if groups.numel():
                candidates = on[:, groups.clamp(min=0)] & (groups >= 0)  # (count, group, size)
                ticket = torch.rand(candidates.shape, generator=generator, device=device).masked_fill(~candidates, -1)
                kept = candidates & (ticket == ticket.amax(dim=-1, keepdim=True))
                on[:, groups[groups >= 0]] = kept[:, groups >= 0]
        return on

    def sample(self, count: int, rng: int | np.random.Generator | torch.Generator) -> Tensor:
        """(count, feature) float32 true activations. rng: a seed, or a generator that is moved on."""
        generator = _generator(rng, self.directions.device)
        on = self.firing(count, generator)
        feature = on.nonzero()[:, 1]
        mean, std = self.mean[feature], self.std[feature]
        if self.magnitude == "uniform":
            noise = torch.rand(len(feature), generator=generator, device=on.device) * 12**0.5 - 3**0.5
        else:
            noise = torch.randn(len(feature), generator=generator, device=on.device)
        value = mean + std * noise
        x = torch.zeros(on.shape, device=on.device)
        x[on] = value.abs() if self.magnitude == "folded" else value.relu()
        if self.scaled:
            for children, parents, _ in self._levels:
                x[:, children] *= x[:, parents] / self.mean[parents]
        return x

    def embed(self, features: Tensor) -> Tensor:
        """(..., feature) true activations -> (..., d): features @ directions + bias."""
        return features @ self.directions + self.bias

    def save(self, folder: str | Path) -> None:
        """world.safetensors, and world.json that vouches for it, in `folder`; a crash leaves no half of a world."""
        import safetensors.torch

        tensors = {f.name: v.cpu().contiguous() for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        data = safetensors.torch.save(tensors)
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*tensors, "factors")}
        about = store.seal({"format": FORMAT, **rest, "sha256": store.checksum(data)})
        store.atomic_write_many(Path(folder), {TENSORS: data, ABOUT: store.dumps(about).encode()})


def load(folder: str | Path) -> World:
    """A world from its folder; StoreError in one line when a file is missing, damaged, or of a later format."""
    import safetensors.torch

    folder = Path(folder)
    for name in (ABOUT, TENSORS):
        if not (folder / name).is_file():
            raise store.StoreError(f"{str(folder)!r} holds no world: {name} is missing; World.save(folder) writes one")
    again = "copy it again, or make the world anew and save it"
    try:
        about = json.loads(store.read_bytes(folder / ABOUT))
    except ValueError:
        about = None
    if not isinstance(about, dict) or about.get("checksum") != store.seal(about)["checksum"]:
        raise store.StoreError(f"{str(folder / ABOUT)!r} is damaged (its checksum does not match); {again}")
    if about.get("format") != FORMAT:
        raise store.StoreError(f"{str(folder)!r} is a world of format {about.get('format')}; this version reads {FORMAT}")
    data = store.read_bytes(folder / TENSORS)
    if store.checksum(data) != about["sha256"]:
        raise store.StoreError(f"{str(folder / TENSORS)!r} is damaged (its checksum does not match); {again}")
    tensors: dict[str, Any] = safetensors.torch.load(data)
    return World(**{name: about[name] for name in ("name", "magnitude", "scaled", "settings")}, **tensors)


def _generator(rng: int | np.random.Generator | torch.Generator, device: torch.device) -> torch.Generator:
    if isinstance(rng, torch.Generator):
        return rng
    seed = int(rng.integers(2**63)) if isinstance(rng, np.random.Generator) else int(rng)
    return torch.Generator(device).manual_seed(seed)


NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


def _survival(p: Tensor) -> Tensor:
    """(group, size) -> (group, size): E[1 / (1 + number of other siblings on)] = int_0^1 prod_{j != i} (1 - p_j + p_j t) dt."""
    t = torch.from_numpy((NODES + 1) / 2).to(p)
    terms = 1 - p[..., None] * (1 - t)  # (group, size, node), above 0 inside the interval
    others = terms.prod(dim=1, keepdim=True) / terms
    return (others * torch.from_numpy(WEIGHTS / 2).to(p)).sum(-1)


def _rates(p: Tensor, levels: list[Levels]) -> Tensor:
    rates = p.clone()
    for children, parents, groups in levels:
        rates[children] = p[children] * rates[parents]
        if groups.numel():
            there = groups >= 0
            rates[groups[there]] *= _survival(torch.where(there, p[groups.clamp(min=0)], 0.0))[there]
    return rates
