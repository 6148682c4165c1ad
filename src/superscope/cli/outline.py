"""Import a study without the libraries it computes with: its options and their defaults need none of them.

``superscope run 4.7 --help`` prints and exits, so what would take seconds to import is replaced by names that stand for
anything. Only for a process that computes nothing afterwards.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from typing import Any

HEAVY = ("torch", "scipy", "sklearn", "pandas", "xarray", "plotly", "zarr", "transformer_lens", "safetensors", "tokenizers")


class _Anything(type):
    """A class that has every attribute, can be called, subscripted and inherited from."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})

    def __call__(cls, *values: Any, **named: Any) -> Any:
        return _Anything("made", (), {})

    def __getitem__(cls, item: Any) -> Any:
        return cls

    def __or__(cls, other: Any) -> Any:
        return cls

    __ror__ = __or__


class _Name(types.ModuleType):
    __path__: list[str] = []  # noqa: RUF012 - empty, never changed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        heavy = name.partition(".")[0] in HEAVY
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if heavy else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Name(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


def without_libraries() -> None:
    """From here on in this process, importing a heavy library gives a stand-in."""
    if not any(name in sys.modules for name in HEAVY):
        sys.meta_path.insert(0, _Finder())
