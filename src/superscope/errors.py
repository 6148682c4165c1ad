"""Errors that the command line prints as one line, without a traceback, and the checks that everybody needs."""

from __future__ import annotations

import difflib
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class UserError(Exception):
    """A mistake that the message explains, quoting the input and saying what would have worked; exit code 2."""


class SettingError(UserError, ValueError):
    """A value that a toy, its inputs, a recipe or a sweep cannot have."""


class KindError(UserError, TypeError):
    """A value of the wrong kind, or an argument that does not exist."""


class TooLargeError(UserError, MemoryError):
    """Work that cannot fit into this machine's memory; nothing of it was begun."""


class UnknownProblemError(UserError, KeyError):
    """No problem, or no study, of that name; the message names the nearest one."""

    def __str__(self) -> str:  # KeyError would print the repr, with quotes around the whole message
        return str(self.args[0])


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """`value` as an int if it is a whole number in the range (1e2 and NumPy's numbers are), else a SettingError."""
    shown = f"between {least} and {most}" if most is not None else f">= {least}"
    try:
        number = int(value) if isinstance(value, float) and value.is_integer() else operator.index(_one(value))
        fits = not isinstance(value, bool) and least <= number and (most is None or number <= most)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise SettingError(f"{name}={value!r}: must be a whole number {shown}")
    return number


def real(name: str, value: Any, wanted: str, low: float, high: float, ends: str = "[]") -> float:
    """`value` as a float if it is one number between `low` and `high` ("(" and ")" leave an end out), else a SettingError.

    wanted: what it must be, in words.
    """
    try:
        number = float(_one(value))
        above = number > low if ends[0] == "(" else number >= low
        below = number < high if ends[1] == ")" else number <= high
        fits = not isinstance(value, (bool, str)) and above and below
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise SettingError(f"{name}={value!r}: {wanted}")
    return number


def flag(name: str, value: Any) -> bool:
    """`value` as a bool if it is one (NumPy's are), else a SettingError."""
    one = _one(value)
    if not isinstance(one, bool):
        raise SettingError(f"{name}={value!r}: must be True or False")
    return one


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """`value` if it is one of `known`, else a SettingError that lists them."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SettingError(f"{name}={value!r} is unknown: {hint}known are {', '.join(known)}")
    return value


def folder(name: str, value: Any) -> Path:
    """`value` as the path of a folder, there or not, with "~" expanded; a SettingError for what can be none."""
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip() or "\0" in str(value):
        raise SettingError(f"{name}={value!r}: give the path of a folder")
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:  # ~ without a home
        raise SettingError(f"{name}={str(value)!r}: {error}".rstrip(".") + "; give the whole path") from None
    try:
        wrong = "is a file: give the path of a folder" if path.exists() and not path.is_dir() else ""
    except OSError as error:  # a name too long, links in a circle
        wrong = f"cannot be a folder: {(error.strerror or str(error)).lower()}"
    if wrong:
        raise SettingError(f"{name}={str(value)[:100]!r} {wrong}")
    return path


def _one(value: Any) -> Any:
    """A zero-dimensional array or tensor as its number."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
