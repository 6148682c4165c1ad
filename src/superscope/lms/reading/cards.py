"""Blinded cards: a person judges whether the top contexts of a unit share one concept, without knowing whose unit it is.

    cards.export({"gelu": reports_a, "solu": reports_b}, "cards")     # cards/cards.html, cards/scores.csv, cards-key/key.json
    # rate in a browser, save scores.csv into the folder
    cards.read_scores("cards")                                        # one row per rated card, with model and neuron

After the blinded comparison of SoLU and baseline neurons (Elhage et al. 2022). The page shows only text and four shades of
how strongly a token fires *relative to the card's own largest activation*: absolute values, negative values and the number of
firings per scale would give an activation function away. Cards are ordered by their random ids. The key is written to a
folder of its own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from superscope import store
from superscope.errors import UserError
from superscope.lms.reading.judge import Contexts

if TYPE_CHECKING:
    from superscope.lms.reading.neuroscope import UnitReports

CONTEXTS = 10
SHADES = 4
PAGE, SHEET, KEY = "cards.html", "scores.csv", "key.json"
COLUMNS = ("card", "interpretable", "explained", "note")
YES_NO = {"yes": True, "no": False}


class CardsError(UserError):
    """Cards that cannot be made or scores that cannot be used, with what to do."""


@dataclass(frozen=True)
class _Card:
    model: str
    number: int
    contexts: Contexts


def export(
    reports_by_model: Mapping[str, UnitReports],
    folder: Path | str,
    per_arm: int = 60,
    seed: int = 0,
    extra: Mapping[str, Sequence[Contexts]] | None = None,
) -> Path:
    """Write the cards of up to `per_arm` units of every arm, drawn at random; returns the page.

    reports_by_model: arm -> reports; controls (untrained or shuffled models, random directions) are arms like any other.
    extra: arm -> contexts of units that no model has, such as planted ones. Units that never fire get no card; the key says
    how many.
    """
    folder = Path(folder)
    rng = np.random.default_rng([seed, 1])
    arms: dict[str, list[_Card]] = {}
    for name in sorted(reports_by_model):
        reports = reports_by_model[name]
        arms[name] = [_Card(name, int(n), reports.contexts(k, CONTEXTS, background=0)) for k, n in enumerate(reports.numbers)]
    for name in sorted(extra or {}):
        if name in arms:
            raise CardsError(f"two arms are called {name!r}: give them different names")
        arms[name] = [_Card(name, k, _first(one)) for k, one in enumerate((extra or {})[name])]
    chosen: list[_Card] = []
    silent = {}
    for name, cards in arms.items():
        firing = [c for c in cards if np.nanmax(c.contexts.activations, initial=-np.inf) > 0]
        silent[name] = len(cards) - len(firing)
        chosen += [firing[k] for k in rng.permutation(len(firing))[:per_arm]]
    if not chosen:
        raise CardsError("no unit of any arm fires: there is nothing to put on a card")
    ids = sorted({f"{v:010x}" for v in rng.integers(0, 2**40, 2 * len(chosen))})
    ids = [ids[k] for k in rng.permutation(len(ids))[: len(chosen)]]
    order = np.argsort(ids)
    shown = [{"id": ids[k], "contexts": _shaded(chosen[k].contexts)} for k in order]
    key = {
        "cards": {ids[k]: {"model": chosen[k].model, "neuron": chosen[k].number} for k in order},
        "arms": {name: min(per_arm, len(cards) - silent[name]) for name, cards in arms.items()},
        "never fire": silent, "seed": seed, "contexts": CONTEXTS,
    }  # fmt: skip
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([ids[k], "", "", ""] for k in order)
    if (folder / SHEET).exists() and _rated((folder / SHEET).read_text(encoding="utf-8", errors="replace")):
        raise CardsError(f"{folder / SHEET} holds ratings: move it away or export to another folder")
    store.atomic_write_many(key_folder(folder), {KEY: store.dumps(store.seal(key)).encode()})
    store.atomic_write_many(folder, {SHEET: sheet.getvalue().encode(), PAGE: _page(shown).encode()})
    return folder / PAGE


def key_folder(folder: Path | str) -> Path:
    """Where the key of the cards in `folder` lies: beside it, not in it."""
    folder = Path(folder)
    return folder.with_name(f"{folder.name}-key")


def _first(contexts: Contexts) -> Contexts:
    """The first `CONTEXTS` windows, which are the strongest."""
    return Contexts(contexts.split, contexts.place[:CONTEXTS], contexts.activations[:CONTEXTS])


def _shaded(contexts: Contexts) -> list[list[tuple[str, int, bool]]]:
    """Per context its tokens: text, shade 0 to `SHADES`, and whether it is the strongest one."""
    pieces, tokens = contexts.split.tokenizer.pieces, contexts.split.tokens
    high = max(float(np.nanmax(contexts.activations)), 1e-30)
    out = []
    for place, values in zip(contexts.place, contexts.activations, strict=True):
        inside = place >= 0
        strength = np.nan_to_num(values[inside], nan=0.0) / high
        # a shade begins at 1/8, 3/8, 5/8 and 7/8 of the largest
        shade = np.clip(np.floor(strength * SHADES + 0.5), 0, SHADES).astype(int)
        peak = int(np.argmax(strength)) if inside.any() else -1
        row = [(pieces[t], int(s), k == peak) for k, (t, s) in enumerate(zip(tokens[place[inside]], shade, strict=True))]
        out.append(row)
    return out


def _page(cards: list[dict[str, Any]]) -> str:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = resources.files("superscope.lms.reading").joinpath("cards.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(cards=cards, columns=list(COLUMNS), most=CONTEXTS)


# --------------------------------------------------------------------------------------------------------------- scores


def read_scores(folder: Path | str, scores: Path | str | None = None) -> pd.DataFrame:
    """The rated cards with what they were: columns card, model, neuron, interpretable (bool), explained (float, of ten), note.

    scores: a filled sheet elsewhere than ``folder/scores.csv``. Cards without a rating are left out. CardsError quotes the rows
    that cannot be used.
    """
    folder = Path(folder)
    path = Path(scores) if scores is not None else folder / SHEET
    try:
        key = store.read_sealed(key_folder(folder) / KEY)["cards"]
    except store.StoreError as error:
        raise CardsError(f"the key of the cards in {folder} cannot be read: {error}") from None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8; save the sheet as UTF-8 CSV"
        raise CardsError(f"cannot read the score sheet {str(path)!r}: {reason}") from None
    reader = csv.DictReader(io.StringIO(text))
    if missing := set(COLUMNS[:2]) - set(reader.fieldnames or ()):
        raise CardsError(f"{path} has no column {' and '.join(sorted(missing))}; its first line must be {','.join(COLUMNS)}")
    rows, wrong = [], []
    seen: dict[str, int] = {}
    for line, row in enumerate(reader, 2):
        card, verdict = (str(row[c] or "").strip() for c in COLUMNS[:2])
        explained, note = (str(row.get(c) or "").strip() for c in COLUMNS[2:])
        if not card and not verdict:
            continue
        problem = _problem(card, verdict.lower(), explained, key, seen)
        seen.setdefault(card, line)
        if problem:
            wrong.append(f"line {line} ({','.join(str(row.get(c) or '') for c in COLUMNS)!r}): {problem}")
        elif verdict:
            count = float(explained) if explained else float("nan")
            rows.append({"card": card, **key[card], "interpretable": YES_NO[verdict.lower()], "explained": count, "note": note})
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CardsError(f"{path}: {'; '.join(wrong[:5])}{more}")
    if not rows:
        raise CardsError(f"{path} holds no rating yet: open {folder / PAGE}, rate the cards and save the sheet there")
    return pd.DataFrame(rows)


def _problem(card: str, verdict: str, explained: str, key: Mapping[str, Any], seen: Mapping[str, int]) -> str:
    if card not in key:
        return "no such card; the sheet belongs to other cards"
    if card in seen:
        return f"the card was already rated in line {seen[card]}"
    if verdict and verdict not in YES_NO:
        return f"interpretable is {verdict!r}: expected yes, no or nothing"
    try:
        fine = not explained or 0 <= float(explained) <= CONTEXTS
    except ValueError:
        fine = False
    return "" if fine else f"explained is {explained!r}: expected a number from 0 to {CONTEXTS}, or nothing"


def _rated(text: str) -> bool:
    """Does a sheet hold a rating?"""
    return any((row.get("interpretable") or "").strip() for row in csv.DictReader(io.StringIO(text)))
