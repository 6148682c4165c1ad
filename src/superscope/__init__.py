"""superscope: a laboratory for superposition and polysemanticity in neural networks.

>>> import superscope as ss
>>> inputs = ss.SparseFeatures(n=5, density=0.05)
>>> toy = ss.Bottleneck(n_features=5, n_hidden=2)
>>> run = ss.Sweep(toy, inputs, seeds=10).train()
>>> run.W.dims
('seed', 'hidden', 'feature')
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> where it lives. Loaded on first use, so that `import superscope` costs next to nothing.
_PUBLIC = {
    "SparseFeatures": "inputs", "Uniform": "inputs", "SignedUniform": "inputs",
    "Constant": "inputs", "Levels": "inputs",
    "Correlated": "inputs", "AntiCorrelated": "inputs", "ExactlyK": "inputs", "ExclusiveSets": "inputs",
    "Hierarchy": "inputs", "logspace": "inputs",
    "TwoLayer": "toys", "Bottleneck": "toys", "AbsoluteValue": "toys", "ModuleToy": "toys", "Target": "toys",
    "Sweep": "sweep", "Recipe": "sweep", "SweepRun": "sweep",
}  # fmt: skip
_MODULES = (
    "atlas", "catalogue", "evidence", "inputs", "lms", "measure", "plots", "recover", "store", "studies", "study", "sweep",
    "toys",
)  # fmt: skip

__all__ = [*_PUBLIC, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"superscope.{_PUBLIC[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"superscope.{name}")
    raise AttributeError(f"module 'superscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
