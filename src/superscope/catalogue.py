"""The 45 open problems and the reproduction, from ``catalogue.toml``; the CLI and the site are made from it."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from superscope import studies
from superscope.evidence import records


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
    """One entry of the catalogue. `difficulty` is the post's rating without its star, "A" (easiest) to "D"."""

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
    def built(self) -> bool:
        """Whether a study for it is there."""
        return self.number in studies.built()

    @property
    def rating(self) -> str:
        """Difficulty as the post writes it: "B-C*"."""
        return self.difficulty + ("*" if self.starred else "")


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(resources.files("superscope").joinpath("catalogue.toml").read_text(encoding="utf-8"))


def families() -> dict[str, str]:
    """Family id -> heading, in reading order."""
    return dict(_document()["families"])


@cache
def problems() -> dict[str, Problem]:
    """Number -> problem, in reading order (the reproduction first)."""
    document = _document()
    found = {}
    for row in document["problems"]:
        prior = tuple(Work(**document["works"][key], finding=finding) for key, finding in row["prior"])
        found[row["number"]] = Problem(**{**row, "tips": tuple(row["tips"]), "prior": prior})
    return found


def get(name: str) -> Problem:
    """A problem by number ("4.7") or slug ("binary-features"); otherwise `studies.UnknownProblemError`, a KeyError."""
    wanted = name.strip().lower()
    by_name = {problem.slug: problem for problem in problems().values()} | problems()
    if wanted not in by_name:
        near = difflib.get_close_matches(wanted, by_name, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise studies.UnknownProblemError(f"no problem {name!r}{hint} (numbers run from 4.1 to 4.45, and tms)")
    return by_name[wanted]


def markdown_table() -> str:
    """The problems as a Markdown table; status is what the recorded results say. The README shows exactly this."""
    from superscope.evidence import findings

    lines = ["| | level | problem | status |", "|---|---|---|---|"]
    for problem in problems().values():
        recorded = records.bundled_results()
        runs = records.finished_runs(problem.number, recorded) if recorded else []
        if runs:
            document = findings.read(runs[0])
            status = f"{document['verdict']} ({document['preset']})"
        else:
            status = "built" if problem.built else "not yet"
        lines.append(f"| {problem.number} | {problem.rating} | {problem.title} | {status} |")
    return "\n".join(lines) + "\n"
