"""Do verdicts hold on fresh seeds? The record that `superscope replicate` keeps beside the findings of a problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superscope import store
from superscope.evidence import findings, records, schema, wording

RECORD = {
    "type": "object",
    "required": ["problem", "preset", "seeds", "claims"],
    "properties": {
        "seeds": {"type": "array", "items": {"type": "integer"}},
        "claims": {"type": "object", "additionalProperties": {
            "type": "object",
            "required": ["verdict", "verdicts", "held", "of"],
            "properties": {"verdicts": {"type": "array", "items": {"type": "string"}}, "held": {"type": "integer"},
                           "of": {"type": "integer"}, "models": {"type": "boolean"}},
        }},
    },
}  # fmt: skip
HOLDS = 0.8  # a verdict that comes back on fewer fresh seeds than this is not to be relied on


def path(problem: str, preset: str, out: Path | str | None = None) -> Path:
    """Where the record of a problem's preset lies."""
    return Path(out or records.DEFAULT_OUT) / problem / f"replication-{preset}.json"


def compare(record: Mapping[str, Any], fresh: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The record of replication: for every claim of `record`, how often its verdict came back in the `fresh` documents.

    A claim that a fresh run does not make counts as not held. Where the replicates are models rather than seeds, fresh runs
    change texts and draws but never the models: `models` says so.
    """
    claims = {}
    for claim in record["claims"]:
        verdicts = [_verdict(document, claim["id"]) for document in fresh]
        held = sum(verdict == claim["verdict"] for verdict in verdicts)
        models = claim["estimate"]["unit"] == "models"
        claims[claim["id"]] = {
            "verdict": claim["verdict"],
            "verdicts": verdicts,
            "held": held,
            "of": len(fresh),
            "models": models,
        }
    return {
        "problem": record["problem"],
        "preset": record["preset"],
        "seal": record["seal"],
        "checksum_of_record": record["checksum"],
        "seeds": [document["seed"] for document in fresh],
        "claims": claims,
    }


def _verdict(document: Mapping[str, Any], name: str) -> str:
    return next((claim["verdict"] for claim in document["claims"] if claim["id"] == name), "not made")


def write(record: dict[str, Any], out: Path | str | None = None) -> Path:
    """Keep the record beside the findings; returns where."""
    place = path(record["problem"], record["preset"], out)
    store.atomic_write_json(place, store.seal(record))
    return place


def read(folder: Path | str, out: Path | str | None = None) -> dict[str, Any] | None:
    """The record that belongs to a folder of findings (beside it, or among the user's own runs), or None.

    One made of other findings does not count.
    """
    folder = Path(folder)
    document = findings.read(folder)
    places = [folder.parent / f"replication-{document['preset']}.json", path(document["problem"], document["preset"], out)]
    place = next((one for one in places if one.exists()), None)
    if place is None:
        return None
    record = store.read_sealed(place)
    if record.get("checksum_of_record") != document["checksum"]:
        return None
    if wrong := schema.fault(record, RECORD):
        raise store.StoreError(f"{str(place)!r} is no record of replication: {wrong}; run superscope replicate again")
    return record


def sentence(record: Mapping[str, Any]) -> str:
    """What the record says, in one line."""
    every = record["claims"].items()
    firm = [name for name, claim in every if claim["held"] >= HOLDS * claim["of"]]
    seeds = wording.count(len(record["seeds"]), "fresh seed")
    text = f"On {seeds} {len(firm)} of {len(every)} verdicts came back at least four times in five"
    weak = [f"{name} {claim['held']} of {claim['of']}" for name, claim in every if name not in firm]
    return f"{text}; not {', '.join(weak)}." if weak else f"{text}."
