"""Labelled text: the shipped sample, corpora that users build, and their tokens."""

from superscope.lms.corpus.build import build, own_source
from superscope.lms.corpus.splits import (
    SPLITS,
    CorpusError,
    Rows,
    Split,
    cached_tokens,
    halves,
    load,
    read_documents,
    read_manifest,
    sample,
    sample_folder,
    stream_rows,
    tokenise,
    write_documents,
)

__all__ = [
    "SPLITS", "CorpusError", "Rows", "Split", "build", "cached_tokens", "halves", "load", "own_source", "read_documents",
    "read_manifest", "sample", "sample_folder", "stream_rows", "tokenise", "write_documents",
]  # fmt: skip
