"""Any nn.Module as a toy, so that what lies outside the two-layer family is trained by the same sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from superscope.toys.targets import Target

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ModuleToy:
    """Any nn.Module as a toy: `build(**settings)` makes one network that maps x (P, n) to y (P, outputs).

    build: a function or class; its keyword arguments are `settings`, each of which can be an axis of a Sweep.
    target: as in TwoLayer.
    loss: optional (y, t, x) -> (P,) loss per sample; default sum_i I_i (y_i - t_i)^2.
    name: what identifies the toy in stores; defaults to the name of `build`.
    Modules run under torch.func.vmap: no in-place changes of buffers, no data-dependent control flow.
    """

    build: Callable[..., torch.nn.Module]
    settings: Mapping[str, Any] = field(default_factory=dict)
    target: str | Target = "identity"
    loss: Callable[..., torch.Tensor] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", dict(self.settings))
        if not self.name:
            object.__setattr__(self, "name", getattr(self.build, "__qualname__", type(self.build).__qualname__))

    def __hash__(self) -> int:
        return hash((self.name, repr(sorted(self.settings.items()))))

    def module(self, seed: int) -> torch.nn.Module:
        """One freshly initialised network; torch's own initialisers run under this seed and leave no trace outside."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build(**self.settings)

    def replace(self, **changes: Any) -> ModuleToy:
        """A copy with settings changed (or a field of the toy itself)."""
        own = {k: v for k, v in changes.items() if k in {f.name for f in fields(self)}}
        return replace(self, **own, settings={**self.settings, **{k: v for k, v in changes.items() if k not in own}})
