"""What a piece of work opened: weights of models and text, by digest, so that it is done again when one of them changes.

Whoever loads something that results depend on says so with `note`; `watch` collects what was noted in its block.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OPEN: ContextVar[list[dict[tuple[str, str], str]]] = ContextVar("opened", default=[])  # noqa: B039 - replaced, never changed

# kind -> "module:function" that gives the present digest of a thing by its name, or "" when it is gone
_DIGESTS = {
    "model": "superscope.lms.model.language_model:digest",
    "text": "superscope.lms.corpus.splits:digest",
    "sae": "superscope.recover.sae.shelf:digest",
}


def note(kind: str, name: str, digest: str) -> None:
    """Something was opened: `kind` is "model", "text" or "sae"."""
    for collected in _OPEN.get():
        collected[(kind, name)] = digest


@contextmanager
def watch() -> Iterator[dict[tuple[str, str], str]]:
    """Collect {(kind, name): digest} of everything opened inside the block."""
    collected: dict[tuple[str, str], str] = {}
    token = _OPEN.set([*_OPEN.get(), collected])
    try:
        yield collected
    finally:
        _OPEN.reset(token)


def changed(kind: str, name: str, digest: str) -> bool:
    """Is the thing of this name no longer what it was?"""
    module, _, function = _DIGESTS[kind].partition(":")
    return getattr(importlib.import_module(module), function)(name) != digest
