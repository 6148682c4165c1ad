"""One file (or folder of chapters) per problem: ``p4_07_binary_features.py`` is problem 4.7. ``tms`` is the reproduction of
Elhage et al. 2022; ``sae_toys``, ``sae_lms`` and ``spd`` ask whether features can be taken out of superposition.

Studies are found by file name, so listing them imports none of them. A number outside the catalogue needs nothing else: its
title, question and tips are in the module.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superscope import catalogue
from superscope.errors import UnknownProblemError, UserError

if TYPE_CHECKING:
    from superscope.catalogue import Problem
    from superscope.study import Study

__all__ = ["UnknownProblemError", "built", "find", "get", "modules", "problems"]

NAMED = {"tms": "tms", "sae_toys": "sae-toys", "sae_lms": "sae-lms", "spd": "spd"}  # module -> name, in the catalogue's order
_FILE = re.compile(r"p(\d+)_(\d+)_(\w+)")


def _problem(module_name: str) -> str | None:
    if module_name in NAMED:
        return NAMED[module_name]
    match = _FILE.fullmatch(module_name)
    return f"{int(match[1])}.{int(match[2])}" if match else None


def _order(problem: str) -> tuple[int, ...]:
    names = list(NAMED.values())
    return (0, names.index(problem)) if problem in names else tuple(int(part) for part in problem.split("."))


def modules() -> dict[str, str]:
    """Problem id -> module name, in the order of the problems (the reproduction first)."""
    found: dict[str, str] = {}
    for info in pkgutil.iter_modules(__path__):
        problem = _problem(info.name)
        if problem is None:
            continue
        if problem in found:
            raise ImportError(f"two study files claim problem {problem}: {found[problem]}.py and {info.name}.py")
        found[problem] = info.name
    return {problem: found[problem] for problem in sorted(found, key=_order)}


def built() -> list[str]:
    """The problems that have a study, in order: ``["tms", "4.1", ...]``."""
    return list(modules())


def problems() -> dict[str, Problem]:
    """Number -> problem: the catalogue, then the studies whose number it does not have, described by their modules."""
    known = catalogue.problems()
    own = {number: _described(number) for number in built() if number not in known}
    return {**known, **own}


def _described(number: str) -> Problem:
    """From the constants of the module, which is read and not run: a listing must not fail by one file."""
    name = modules()[number]
    said = _constants(name)
    slug = name.split("_", 2)[-1].replace("_", "-")
    title, question = said.get("TITLE", f"{name}.py cannot be read"), said.get("QUESTION", "")
    return catalogue.Problem(number, slug, "", False, catalogue.OWN, title, question, tuple(said.get("TIPS", ())), ())


def _constants(name: str) -> dict[str, Any]:
    """Top-level constants of a study's file (or of its folder's ``__init__.py``)."""
    places = [Path(folder) / tail for folder in __path__ for tail in (f"{name}.py", f"{name}/__init__.py")]
    try:
        tree = ast.parse(next(place for place in places if place.exists()).read_text(encoding="utf-8"))
    except (StopIteration, OSError, SyntaxError, UnicodeDecodeError):
        return {}
    out = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            with contextlib.suppress(ValueError):
                out[node.targets[0].id] = ast.literal_eval(node.value)
    return out


def find(name: str) -> Problem:
    """A problem by number ("4.7") or slug ("binary-features"); otherwise `UnknownProblemError`, a KeyError."""
    wanted = str(name).strip().lower()
    known = problems() if wanted not in catalogue.problems() else catalogue.problems()
    by_name = {problem.slug: problem for problem in known.values()} | known
    if wanted not in by_name:
        near = difflib.get_close_matches(wanted, by_name, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownProblemError(f"no problem {name!r}{hint} (numbers run from 4.1 to 4.45, and tms; a study of your own is "
                                  "found by its file, studies/p4_99_my_question.py)")  # fmt: skip
    return by_name[wanted]


def get(problem: str) -> Study:
    """The study of a problem, by its number ("4.7") or file name ("p4_07_binary_features").

    Raises `UnknownProblemError` (a KeyError) that names the nearest built study.
    """
    from superscope.study import Study

    files = modules()
    wanted = str(problem).strip().lower()
    by_name = {name: number for number, name in files.items()}
    wanted = by_name.get(wanted, wanted)
    if wanted not in files:
        known = ", ".join(files) or "none yet"
        near = difflib.get_close_matches(wanted, files, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownProblemError(f"no study {str(problem)!r}{hint} (built: {known})")
    study = Study.from_module(importlib.import_module(f"{__name__}.{files[wanted]}"))
    if study.problem != wanted:
        raise UserError(
            f"studies/{files[wanted]}.py is found as {wanted}, but its PROBLEM says {study.problem!r}: make them equal"
        )
    return study
