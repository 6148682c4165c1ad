"""Language models: a labelled corpus, small transformers trained on it, published models, and their activations.

model = superscope.lms.load("gelu-1l-mini")
text = superscope.lms.corpus.sample(model.tokenizer)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superscope.lms import corpus, model, reading, shelf, zoo
    from superscope.lms.model.language_model import CONTROLS, LanguageModel, load, rows_to_tensor, untrained
    from superscope.lms.shelf import ModelError, bundled, replicates

# Public name -> where it lives. Loaded on first use: listing the models must not wait for torch.
_PUBLIC = {
    "CONTROLS": "model.language_model", "LanguageModel": "model.language_model", "load": "model.language_model",
    "rows_to_tensor": "model.language_model", "untrained": "model.language_model",
    "ModelError": "shelf", "bundled": "shelf", "replicates": "shelf",
}  # fmt: skip

__all__ = [
    "CONTROLS", "LanguageModel", "ModelError", "bundled", "corpus", "load", "model", "reading", "replicates", "rows_to_tensor",
    "shelf", "untrained", "zoo",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
