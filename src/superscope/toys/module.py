"""Any nn.Module as a toy, so that what lies outside the two-layer family is trained by the same sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from superscope.errors import SettingError
from superscope.toys.targets import Target, get_target

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
        if not callable(self.build):
            raise SettingError(f"ModuleToy(build={self.build!r}): give a function or class that makes an nn.Module")
        if not isinstance(self.settings, Mapping) or not all(isinstance(name, str) for name in self.settings):
            raise SettingError(f"settings={self.settings!r}: give a mapping from the names of build's arguments to values")
        if self.loss is not None and not callable(self.loss):
            raise SettingError(f"loss={self.loss!r}: give a function (y, t, x) -> loss of every sample, or leave it out")
        if not isinstance(self.name, str):
            raise SettingError(f"name={self.name!r}: must be text")
        get_target(self.target)
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
            try:
                made = self.build(**self.settings)
            except TypeError as error:
                raise SettingError(f"{self.name} cannot be built with settings {self.settings!r}: {error}") from error
        if not isinstance(made, torch.nn.Module):
            raise SettingError(f"{self.name} made a {type(made).__name__}, not an nn.Module")
        return made

    def replace(self, **changes: Any) -> ModuleToy:
        """A copy with settings changed (or a field of the toy itself)."""
        own = {k: v for k, v in changes.items() if k in {f.name for f in fields(self)}}
        return replace(self, **own, settings={**self.settings, **{k: v for k, v in changes.items() if k not in own}})
