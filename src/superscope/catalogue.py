"""The 45 open problems and the reproduction, from ``catalogue.toml``; `studies.problems` adds studies of one's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

OWN = "own"  # family of studies whose number is not in the catalogue


@dataclass(frozen=True)
class Work:
    """A piece of prior work, and what it says about the problem it is listed under."""

    title: str
    authors: str
    year: int
    url: str
    finding: str


@dataclass(frozen=True)
class Problem:
    """One problem. `difficulty` is the post's rating without its star, "A" (easiest) to "D"; "" for one of the reader's own."""

    number: str
    slug: str
    difficulty: str
    starred: bool
    family: str
    title: str
    question: str
    tips: tuple[str, ...]
    prior: tuple[Work, ...]

    @property
    def rating(self) -> str:
        """Difficulty as the post writes it: "B-C*"."""
        return self.difficulty + ("*" if self.starred else "")


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(resources.files("superscope").joinpath("catalogue.toml").read_text(encoding="utf-8"))


def families() -> dict[str, str]:
    """Family id -> heading, in reading order."""
    return {**_document()["families"], OWN: "Studies beyond the catalogue"}


@cache
def related(number: str) -> tuple[tuple[str, str], ...]:
    """(number, reason) of the problems that bear on a problem, in the order of the catalogue."""
    pairs = [(pair, reason) for *pair, reason in _document()["related"] if number in pair]
    return tuple((next(other for other in pair if other != number), reason) for pair, reason in pairs)


@cache
def problems() -> dict[str, Problem]:
    """Number -> problem, in reading order (the reproduction first)."""
    document = _document()
    found = {}
    for row in document["problems"]:
        prior = tuple(Work(**document["works"][key], finding=finding) for key, finding in row["prior"])
        found[row["number"]] = Problem(**{**row, "tips": tuple(row["tips"]), "prior": prior})
    return found
