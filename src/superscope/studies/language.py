"""What studies of language models share: which models stand for the replicates, the text, and the published rung."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from superscope import lms, store
from superscope.lab import Lab
from superscope.lms import replicates
from superscope.lms.model.language_model import LanguageModel


def by_seed(name: str) -> dict[int, str]:
    """Seed of the initial tensors -> bundled model, of a model and its twins: what is paired is paired by its start."""
    return {int(_card(one)["init_seed"]): one for one in replicates(name)}


def _card(name: str) -> dict[str, Any]:
    return dict(store.read_json(store.shipped("models") / name / "config.json"))


def optional(names: Sequence[str], lab: Lab) -> list[str]:
    """All twins of the named arms; an arm that is not bundled is left out with a word in the provenance."""
    out: list[str] = []
    for name in names:
        try:
            out += replicates(name)
        except lms.ModelError as error:
            lab.note(f"arm left out: {error}")
    return out


def key(*names: str) -> str:
    """A unit's key that changes with the models' weights and with the shipped text, so that no stale result is used again."""
    text = store.read_json(store.shipped("corpus") / "sample.json")
    return f"{names[0]}-{store.digest([_card(name)['sha256'] for name in names] + [text['sha256']])[:12]}"


def published_names(names: Sequence[str], lab: Lab) -> list[str]:
    """`names` if all of them can be loaded, else none of them, with the reason in the provenance."""
    return list(names) if names and all(published(name, lab) for name in names) else []


def published(name: str, lab: Lab) -> LanguageModel | None:
    """The published model, or None with the reason in the provenance: the third rung is skipped, never silently."""
    if not name:
        return None
    try:
        return lms.load(name)
    except lms.ModelError as error:
        lab.note(f"published rung skipped: {error}")
        return None
