"""The card a page opens with and the index repeats: what was asked, what was found, how sure, what the control did."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from superscope import store
from superscope.evidence import replication, seal
from superscope.evidence.claim import GATE_FAILED, joined
from superscope.evidence.rule import Rule
from superscope.evidence.wording import count, show_estimate

BADGES = {seal.BEFOREHAND: "fixed beforehand", seal.ADDED: "added after results", seal.UNSEALED: "not sealed"}


@dataclass(frozen=True)
class Card:
    """sure, control, closest (which verdict the least shift would change): sentences. short: the same for a row of the index,
    in a few words each."""

    question: str
    answer: str
    sure: str
    control: str
    replicated: str
    closest: str
    short: tuple[str, ...]


def short_badge(badge: str) -> str:
    """A claim's badge in three words; the long one says what was changed."""
    if badge.startswith(seal.BEFOREHAND) and ";" not in badge:
        return BADGES[seal.BEFOREHAND]
    if badge.startswith(seal.ADDED):
        return BADGES[seal.ADDED]
    if badge.startswith(seal.UNSEALED):
        return BADGES[seal.UNSEALED]
    return "changed after results" if "after results" in badge else "changed before its record"


def null_fails(claim: Mapping[str, Any]) -> bool:
    """Does a claim's null clearly fail its rule, as a null must? One that is not a number says nothing."""
    rule, null = Rule.parse(claim["rule"]["text"]), joined(claim["null"])
    position = null.against(rule)
    return not null.has_nan and (position == "outside" or (rule.excludes is not None and position == "across"))


def plant_passes(claim: Mapping[str, Any]) -> bool:
    """Was the planted effect seen?"""
    if not claim["plant"]:
        return False
    plant = joined(claim["plant"])
    return not plant.has_nan and plant.against(Rule.parse(claim["rule"]["text"])) == "inside"


def of(document: Mapping[str, Any], badges: Mapping[str, str], repeated: Mapping[str, Any] | None) -> Card:
    """The card of a findings document. repeated: the record of its replication."""
    claims = document["claims"]
    if document["gate"]["passed"]:
        answer = document["answer"] or document["summary"]
    else:
        failed = "; ".join(document["gate"]["failed"]) or document["gate"]["statement"]
        answer = f"Not answered: the gate failed. Not met: {failed.removesuffix('.')}."
    kept = sum(short_badge(badges[claim["id"]]) == BADGES[seal.BEFOREHAND] for claim in claims)
    units = _units(claims)
    model = _named(document["config"].get("model"))
    of_what = f"{units} ({model})" if model and "model" in units else units
    sure = f"{document['preset']} preset, {of_what}; {kept} of {count(len(claims), 'claim')} fixed beforehand."
    control, brief = _control(claims, document["gate"]["passed"])
    replicated, again = _repeated(repeated, document["gate"]["passed"])
    short = [document["preset"], units, f"{kept}/{len(claims)} fixed beforehand", brief, again]
    return Card(
        document["question"], answer, sure[0].upper() + sure[1:], control, replicated, _closest(document),
        tuple(part for part in short if part),
    )  # fmt: skip


def _closest(document: Mapping[str, Any]) -> str:
    """The claim whose verdict the least shift would change: how far its interval is from an edge of its rule, over the spread
    of what was measured. Undecided claims, which lie on the edge or whose arms failed, are only counted."""
    claims = document["claims"] if document["gate"]["passed"] else []
    decided = [claim for claim in claims if claim["verdict"] in ("supported", "refuted")]
    undecided = sum(claim["verdict"] == "undecided" for claim in claims)
    said = f"{count(undecided, 'claim')} undecided" if undecided else ""
    ranked = sorted((room, place) for place, claim in enumerate(decided) if (room := _room(claim)) < math.inf)
    if ranked:
        claim = decided[ranked[0][1]]
        verdict, shown = claim["verdict"], show_estimate(dict(claim))
        call = f"{claim['statement'].removesuffix('.')}: {shown} against {claim['rule']['text']}, {verdict}"
        said = f"{said}; the closest of the others: {call}" if said else call
    return f"{said}." if said else ""


def _room(claim: Mapping[str, Any]) -> float:
    rule = claim["rule"]
    edges = [edge for edge in (store.number(rule[end]) for end in ("lo", "hi", "excludes")) if math.isfinite(edge)]
    low, high = map(store.number, claim["interval"])
    values = [store.number(value) for value in claim["estimate"]["replicates"]]
    spread = max([high, *values]) - min([low, *values])
    apart = [max(low - edge, edge - high) for edge in edges]
    near = min((gap for gap in apart if gap >= 0), default=math.inf)
    return near / spread if spread > 0 and math.isfinite(near) else math.inf


def _named(model: Any) -> str:
    """The model of a configuration as text; several are listed, none is ""."""
    return ", ".join(map(str, model)) if isinstance(model, list) else str(model or "")


def _units(claims: list[dict[str, Any]]) -> str:
    counted = Counter((claim["estimate"]["n"], claim["estimate"]["unit"]) for claim in claims)
    if not counted:
        return "no claims"
    (n, unit), _ = counted.most_common(1)[0]
    return "exact" if unit == "exact" else count(n, unit.removesuffix("s"))


def _control(claims: list[dict[str, Any]], passed: bool) -> tuple[str, str]:
    if not passed:
        return "The gate is the control that failed: nothing is said for or against the claims.", "gate failed"
    if not claims:
        return "No claim was made, so there was nothing to control.", ""
    failing = sum(map(null_fails, claims))
    planted = [claim for claim in claims if claim["plant"]]
    seen = sum(map(plant_passes, planted))
    text = f"The effect was absent from the null, as it should be, in {failing} of {count(len(claims), 'claim')}"
    if planted:
        text += f" and seen where it was planted in {seen} of {len(planted)}"
    if len(planted) < len(claims):
        text += f"; {count(len(claims) - len(planted), 'claim')} without a plant"
    brief = f"absent from null {failing}/{len(claims)}" + (f", seen in plant {seen}/{len(planted)}" if planted else "")
    return f"{text}.", brief


def _repeated(record: Mapping[str, Any] | None, passed: bool) -> tuple[str, str]:
    """What fresh seeds said, as a sentence and in a few words. Where the gate had failed: whether it does so again."""
    if not record:
        return "Not yet repeated on fresh seeds.", ""
    if not passed:
        verdicts = zip(*(claim["verdicts"] for claim in record["claims"].values()), strict=True)
        got = sum(not {GATE_FAILED, "not made"}.issuperset(fresh) for fresh in verdicts)
        of = len(record["seeds"])
        return f"On {count(of, 'fresh seed')} the gate passed {count(got, 'time')}.", f"gate passed on {got}/{of} fresh seeds"
    firm = sum(claim["held"] >= replication.HOLDS * claim["of"] for claim in record["claims"].values())
    return replication.sentence(record), f"replicated {firm}/{len(record['claims'])}"
