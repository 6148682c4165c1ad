"""The loop between toys and language models: what a toy predicts, what a model shows, and whether they agree.

``bridges.toml`` says which claims belong together and why; numbers and verdicts are read from the findings each time.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from superscope import store
from superscope.evidence import findings, records
from superscope.evidence.wording import show_estimate

Verdict = Literal["agree", "disagree", "not comparable"]
_OPPOSITE = {"supported": "refuted", "refuted": "supported"}


@dataclass(frozen=True)
class Bridge:
    """Two claims about one thing. toy, lm: (study, claim id).

    expects: what the language model's verdict is if the toy is right, the "same" or the "opposite"; or within: the factor by
    which the estimates may differ. predicts, shows: halves of the sentence. why: what ties them.
    """

    toy: tuple[str, str]
    lm: tuple[str, str]
    predicts: str
    shows: str
    why: str
    expects: Literal["same", "opposite"] = "same"
    within: float | None = None


@dataclass(frozen=True)
class Crossing:
    """A bridge with what the findings say. toy, lm: the claim as stored, or None; shown: "value [interval]", "" without one."""

    bridge: Bridge
    toy: dict[str, Any] | None
    lm: dict[str, Any] | None

    @property
    def verdict(self) -> Verdict:
        """Computed: "not comparable" where either side is not recorded, failed its gate or is undecided."""
        if self.toy is None or self.lm is None:
            return "not comparable"
        if self.bridge.within is not None:
            one, other = (float(claim["estimate"]["value"]) for claim in (self.toy, self.lm))
            apart = max(abs(one), abs(other)) / max(min(abs(one), abs(other)), 1e-12) if one * other > 0 else float("inf")
            return "agree" if apart <= self.bridge.within else "disagree"
        predicted, shown = self.toy["verdict"], self.lm["verdict"]
        if predicted not in _OPPOSITE or shown not in _OPPOSITE:
            return "not comparable"
        wanted = predicted if self.bridge.expects == "same" else _OPPOSITE[predicted]
        return "agree" if shown == wanted else "disagree"

    @property
    def why_not(self) -> str:
        """What keeps the two from being compared."""
        for (study, name), claim in ((self.bridge.toy, self.toy), (self.bridge.lm, self.lm)):
            if claim is None:
                return f"{study} has no recorded claim {name!r}"
            if self.bridge.within is None and claim["verdict"] not in _OPPOSITE:
                return f"{study} is {claim['verdict']}"
        return ""


@cache
def bridges() -> tuple[Bridge, ...]:
    """All of them, in the order of the file."""
    rows = tomllib.loads(resources.files("superscope").joinpath("bridges.toml").read_text(encoding="utf-8"))["bridges"]
    return tuple(Bridge(**{**row, "toy": tuple(row["toy"]), "lm": tuple(row["lm"])}) for row in rows)


def crossings(out: Path | str | None = None) -> list[Crossing]:
    """Every bridge with the findings that speak for both ends: see `records.most_telling`."""
    read: dict[str, dict[str, Any]] = {}
    for study in {end[0] for bridge in bridges() for end in (bridge.toy, bridge.lm)}:
        folder = records.most_telling(study, out)
        try:
            document = findings.read(folder) if folder is not None else None
        except store.StoreError:  # the study's own page says what is wrong with it
            document = None
        read[study] = {claim["id"]: claim for claim in document["claims"]} if document else {}
    return [Crossing(one, read[one.toy[0]].get(one.toy[1]), read[one.lm[0]].get(one.lm[1])) for one in bridges()]


def shown(claim: dict[str, Any] | None) -> str:
    """The estimate of one end, as pages print it."""
    return show_estimate(claim) if claim is not None else ""
