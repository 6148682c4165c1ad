"""Language models: a labelled corpus, small transformers trained on it, published models, and their activations.

model = superscope.lms.load("gelu-1l-mini")
text = superscope.lms.corpus.sample(model.tokenizer)
"""

from superscope.lms import corpus
from superscope.lms.model.language_model import (
    CONTROLS,
    LanguageModel,
    ModelError,
    bundled,
    load,
    replicates,
    rows_to_tensor,
    snapshot,
    snapshots,
    untrained,
)

__all__ = [
    "CONTROLS", "LanguageModel", "ModelError", "bundled", "corpus", "load", "replicates", "rows_to_tensor",
    "snapshot", "snapshots", "untrained",
]  # fmt: skip
