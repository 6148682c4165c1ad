"""Generated documents whose labels are exact: base64, hex, dates, weekdays, months, key-value lists, repeats, IOI, arithmetic.

A document is text plus *gold spans*: character ranges that the text before them determines (the sum in an arithmetic line,
the indirect object in an IOI sentence, a value asked for again). Repeated random strings are made of tokens, not characters,
so they are written down as (seed, period, copies) and spelled out when a tokenizer is at hand.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

SEGMENTS = ("text", "base64", "hex", "date", "weekday", "month", "key_value", "repeat", "ioi", "arithmetic")
"""Segment types; "text" is everything that was not generated."""

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
NAMES = (
    "Mary", "John", "Tom", "James", "Dan", "Sarah", "Anna", "Peter", "Paul", "Henry", "George", "Martha", "William", "Charles",
    "David", "Simon", "Thomas", "Michael", "Mark", "Jane", "Helen", "Robert", "Richard", "Edward",
)  # fmt: skip
_PLACES = ("store", "garden", "school", "office", "station", "market", "house", "park")
_OBJECTS = ("a book", "a letter", "the ball", "a drink", "the key", "some bread", "a flower", "the ring")
_KEYS = ("name", "color", "city", "size", "type", "status", "owner", "year", "level", "mode", "user", "group", "host", "port")
_VALUES = ("red", "green", "blue", "north", "south", "small", "large", "open", "closed", "active", "first", "second", "gold",
           "iron", "London", "Paris", "Rome", "true", "false", "none")  # fmt: skip


@dataclass
class Document:
    """A document before tokenisation. `gold` are character ranges [start, end) determined by the text before them."""

    text: str
    genre: str
    source: str
    work: str
    segment: str = "text"
    gold: list[tuple[int, int]] = field(default_factory=list)
    repeat: tuple[int, int, int] | None = None  # (seed, period, copies) of a repeated random token string


class _Writer:
    """Text being put together with its gold spans."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0
        self.gold: list[tuple[int, int]] = []

    def add(self, text: str, gold: bool = False) -> None:
        if gold:
            self.gold.append((self.size, self.size + len(text)))
        self.parts.append(text)
        self.size += len(text)


def _base64(w: _Writer, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        w.add("Content-Transfer-Encoding: base64\n\n")
    data = base64.b64encode(rng.bytes(int(rng.integers(100, 500)))).decode()
    w.add("\n".join(data[k : k + 76] for k in range(0, len(data), 76)))


def _hex(w: _Writer, rng: np.random.Generator) -> None:
    data = rng.bytes(int(rng.integers(64, 256)))
    if rng.random() < 0.5:
        w.add("\n".join(f"{k:08x}  {data[k : k + 16].hex(' ')}" for k in range(0, len(data), 16)))
    else:
        w.add("\n".join("0x" + data[k : k + 8].hex() for k in range(0, len(data), 8)))


def _date(w: _Writer, rng: np.random.Generator) -> None:
    days = np.datetime64("1970-01-01") + rng.integers(0, 25_000, 12)
    clock = rng.random() < 0.5
    for day in np.sort(days):
        w.add(f"{day}T{rng.integers(24):02d}:{rng.integers(60):02d}:00Z\n" if clock else f"{day}\n")


def _cycle(names: tuple[str, ...], unit: str) -> Callable[[_Writer, np.random.Generator], None]:
    def write(w: _Writer, rng: np.random.Generator) -> None:
        for _ in range(10):
            k, step = int(rng.integers(len(names))), int(rng.integers(1, 4))
            there = names[(k + step) % len(names)]
            form = rng.integers(3)
            if form == 0:
                w.add(f"The {unit} after {names[k]} is")
                there = names[(k + 1) % len(names)]
            elif form == 1:
                w.add(f"{('One', 'Two', 'Three')[step - 1]} {unit}{'s' if step > 1 else ''} after {names[k]} comes")
            else:
                w.add(f"The {unit} before {names[k]} is")
                there = names[(k - 1) % len(names)]
            w.add(f" {there}", gold=True)
            w.add(".\n")

    return write


def _key_value(w: _Writer, rng: np.random.Generator) -> None:
    keys = rng.choice(_KEYS, 6, replace=False)
    values = dict(zip(keys, rng.choice(_VALUES, 6, replace=False), strict=True))
    sign = str(rng.choice([":", " ="]))
    for again in (False, True):
        for key in rng.permutation(keys):
            w.add(f"{key}{sign}")
            w.add(f" {values[key]}", gold=again)
            w.add("\n")
        w.add("\n")


def _ioi(w: _Writer, rng: np.random.Generator) -> None:
    for _ in range(4):
        a, b = (str(x) for x in rng.choice(NAMES, 2, replace=False))
        giver, taker = (a, b) if rng.random() < 0.5 else (b, a)
        place, thing = (str(rng.choice(x)) for x in (_PLACES, _OBJECTS))
        opening = rng.integers(3)
        if opening == 0:
            w.add(f"When {a} and {b} went to the {place}, {giver} gave {thing} to")
        elif opening == 1:
            w.add(f"Then, {a} and {b} were at the {place}. {giver} decided to give {thing} to")
        else:
            w.add(f"After {a} and {b} came to the {place}, {giver} gave {thing} to")
        w.add(f" {taker}", gold=True)
        w.add(".\n")


def _arithmetic(w: _Writer, rng: np.random.Generator) -> None:
    for _ in range(15):
        a, b = (int(x) for x in rng.integers(0, 100, 2))
        sign = str(rng.choice(["+", "-"]))
        a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
        w.add(f"{a} {sign} {b} =")
        w.add(f" {a + b if sign == '+' else a - b}", gold=True)
        w.add("\n")


_WRITERS: dict[str, Callable[[_Writer, np.random.Generator], None]] = {
    "base64": _base64, "hex": _hex, "date": _date, "weekday": _cycle(DAYS, "day"), "month": _cycle(MONTHS, "month"),
    "key_value": _key_value, "ioi": _ioi, "arithmetic": _arithmetic,
}  # fmt: skip


def document(kind: str, seed: int) -> Document:
    """One generated document of segment type `kind`; the same (kind, seed) gives the same document."""
    rng = np.random.default_rng([seed, SEGMENTS.index(kind)])
    name = f"{kind}/{seed:07d}"
    if kind == "repeat":
        period = int(rng.integers(8, 64))
        copies = int(rng.integers(2, 5))
        return Document("", "generated", "generated", name, kind, repeat=(seed, period, copies))
    writer = _Writer()
    _WRITERS[kind](writer, rng)
    return Document("".join(writer.parts), "generated", "generated", name, kind, writer.gold)


def documents(characters: int, seed: int = 0) -> Iterator[Document]:
    """Generated documents of all kinds in turn, about `characters` long together (a repeated token counts as 3)."""
    written, number = 0, 0
    while written < characters:
        made = document(SEGMENTS[1 + number % (len(SEGMENTS) - 1)], seed + number)
        written += 3 * made.repeat[1] * made.repeat[2] if made.repeat else len(made.text)
        number += 1
        yield made
