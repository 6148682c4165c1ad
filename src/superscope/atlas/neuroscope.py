"""Neuroscope pages: a table of all units of a layer, and one page that shows any of them.

    neuroscope-gelu-1l-mini-L0.html         the table; its rows come from neuroscope/gelu-1l-mini-L0/table.js
    neuroscope-gelu-1l-mini-L0-unit.html#7  unit 7; loads the one file of a few units that holds it
    neuroscope/gelu-1l-mini-L0/model.js     the model, loaded by either when the reader types a text of their own
    neuroscope/gelu-1l-mini-L0/units.csv    the table to take away; units.json the same

Data are scripts that call one function, because a page opened from the disk may load scripts but not fetch files. Nothing in
them is ever parsed as HTML: the pages put text in as text.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superscope import store
from superscope.atlas import forward, view
from superscope.atlas.view import environment

if TYPE_CHECKING:
    from superscope.lms.model.language_model import LanguageModel
    from superscope.lms.reading.metrics import Verdict
    from superscope.lms.reading.neuroscope import Examples, UnitReports
    from superscope.recover.sae.dictionary import SAE

    Similar = Sequence[Sequence[tuple[int, float]]]

SHARD = 4  # units per file: some 100 kB
FOLDER = "neuroscope"
MANIFEST = "neuroscope.json"
_LABELS = 8  # most enriched labels shown for a unit
_FEWEST_FIRINGS = 5  # strong firings under a label before it is listed
FEW, MANY = 1.5, 3  # the top misleads where firings look like at most FEW concepts and the whole range has at least MANY


@dataclass(frozen=True)
class Pages:
    """What `write` made: the table's page, and how many units it lists."""

    index: Path
    units: int


def slug(model: str, place: str) -> str:
    """A file name for a model and a layer or another place in it."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", f"{model}-{place}").strip("-.")


def write(
    reports: UnitReports,
    out: Path | str,
    verdicts: Sequence[Verdict] | None = None,
    *,
    similar: Similar | None = None,
    model: LanguageModel | None = None,
    sae: SAE | None = None,
) -> Pages:
    """Write the pages of one layer's units under `out` (the atlas's folder).

    verdicts: of the judge, per unit. similar: per unit the rows of others and their correlation (`reading.similar`). model, and
    sae for latents: for the box in which a reader types a text; where a page cannot compute it, the page says why.
    """
    out = Path(out)
    name = slug(reports.model, f"L{reports.layer}" if reports.layer is not None else reports.title)
    data = f"{FOLDER}/{name}"
    obstacle = "the pages were written without the model" if model is None else forward.obstacle(model, reports.hook)
    head = {
        "name": name, "model": reports.model, "title": reports.title, "units": len(reports), "tokens": reports.n_tokens,
        "corpus": reports.corpus, "page": f"neuroscope-{name}.html", "shard": SHARD, "kind": _kind(reports),
    }  # fmt: skip
    source = _Source(reports, verdicts, similar)
    for start in range(0, len(reports), SHARD):
        store.atomic_write_many(out, {f"{data}/units-{start // SHARD:04d}.js": _shard(source, start)})
    files = {
        f"{data}/table.js": _call("neuroscopeTable", _table(reports, verdicts)),
        f"{data}/labels.js": _call("neuroscopeLabels", _labels(reports)),
    }
    taken_away = _records(reports, verdicts, similar)
    files |= {f"{data}/units.csv": _csv(taken_away), f"{data}/units.json": (json.dumps(taken_away, indent=1) + "\n").encode()}
    shown: dict[str, Any] = {
        "head": head, "data": data, "strong": f"{100 * _strong(reports):.1f}", "obstacle": obstacle, "few": FEW, "many": MANY,
        "judged": verdicts is not None,
    }  # fmt: skip
    if model is not None and not obstacle:
        files[f"{data}/model.js"] = _call("neuroscopeModel", forward.data(model, reports.hook, sae))
        shown |= {"context": model.n_ctx - 1, "megabytes": f"{len(files[f'{data}/model.js']) / 1e6:.1f}"}
    pages = environment()
    for template, page in (("neuroscope.html", head["page"]), ("neuroscope_unit.html", f"neuroscope-{name}-unit.html")):
        files[str(page)] = pages.get_template(template).render(shown).encode()
    static = resources.files("superscope.atlas").joinpath("static")
    for asset in ("neuroscope.js", "neuroscope.css", "forward.js", "atlas.js", "atlas.css"):
        files[f"assets/{asset}"] = static.joinpath(asset).read_bytes()
    files[f"{data}/{MANIFEST}"] = store.dumps(head).encode()
    store.atomic_write_many(out, files)
    return Pages(out / str(head["page"]), len(reports))


def _kind(reports: UnitReports) -> str:
    return "neuron" if reports.layer is not None else "unit"


def _strong(reports: UnitReports) -> float:
    from superscope.lms.reading.neuroscope import STRONG

    return STRONG


def _call(function: str, *values: Any) -> bytes:
    """A script that hands `values` to `function`; ASCII, and with nothing in it that HTML could take for a tag."""
    text = ",".join(json.dumps(v, separators=(",", ":"), allow_nan=False) for v in values)
    return f"{function}({view.embed(text)});\n".encode()


def _short(value: float, digits: int = 3) -> float | None:
    """`value` to so many significant digits."""
    value = float(value)
    if not math.isfinite(value) or value == 0:
        return 0.0 if value == 0 else None
    return float(f"{value:.{digits}g}")


def _table(reports: UnitReports, verdicts: Sequence[Verdict] | None) -> dict[str, Any]:
    """Columns of the index page, one short row per unit."""
    frame = reports.table
    rows = []
    for k, row in enumerate(frame.itertuples(index=False)):
        verdict = verdicts[k] if verdicts is not None else None
        rows.append(
            [
                int(row.unit), _short(row.density), _short(row.kurtosis), _short(row.high), _visible(row.token),
                _short(row.token_share, 2), row.label, _short(row.enrichment), _short(row.label_share, 2),
                _concepts(verdict.concepts) if verdict else None,
                _concepts(verdict.in_firings) if verdict else None,
                int(_misleads(verdict)) if verdict else 0,
                ", ".join(name for name, _ in verdict.named[:3]) if verdict else "",
            ]
        )  # fmt: skip
    return {"rows": rows, "judged": verdicts is not None}


def _concepts(number: float) -> float | None:
    """An effective number of concepts as it is shown; None where none is sure."""
    from superscope.lms.reading.metrics import STEPS

    return _short(number, 2) if number < STEPS else None


def _misleads(verdict: Verdict) -> bool:
    """Whether the strongest firings look like one concept and the whole range is several."""
    return verdict.in_firings <= FEW and verdict.concepts >= MANY and _concepts(verdict.concepts) is not None


def _records(reports: UnitReports, verdicts: Sequence[Verdict] | None, similar: Similar | None) -> list[dict[str, Any]]:
    """One plain row per unit, of all that the table knows; None for a number that is not finite."""
    out = []
    for k, row in enumerate(reports.table.to_dict("records")):
        record: dict[str, Any] = {}
        for name, value in row.items():
            value = value.item() if isinstance(value, np.generic) else value
            record[str(name)] = None if isinstance(value, float) and not math.isfinite(value) else value
        if verdicts is not None:
            one = verdicts[k]
            record |= {
                "concepts": _concepts(one.concepts), "concepts_in_firings": _concepts(one.in_firings),
                "top_misleads": _misleads(one), "one_word": _short(one.one_word), "named": [name for name, _ in one.named],
            }  # fmt: skip
        if similar is not None:
            record["similar"] = [int(reports.numbers[other]) for other, _ in similar[k]]
        out.append(record)
    return out


def _csv(records: list[dict[str, Any]]) -> bytes:
    """The rows as CSV; text that a spreadsheet would take for a formula starts with an apostrophe."""
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, list(records[0]) if records else [], lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    for record in records:
        plain = {name: "; ".join(map(str, value)) if isinstance(value, list) else value for name, value in record.items()}
        writer.writerow({name: _tame(value) if isinstance(value, str) else value for name, value in plain.items()})
    return sheet.getvalue().encode()


def _tame(text: str) -> str:
    """Spreadsheets also skip white space before a sign, and know the wide forms of the signs."""
    return f"'{text}" if text[:1] in ("\t", "\r", "\n") or text.lstrip()[:1] in tuple("=+-@＝＋－＠") else text


def _labels(reports: UnitReports) -> dict[str, Any]:
    """Enrichment of every label in every unit, for sorting by one label."""
    from superscope.lms.reading.neuroscope import FEWEST

    out = {}
    for kind, counts in reports.labels.items():
        for name, row in zip(counts.names, counts.enrichment(FEWEST), strict=True):
            if np.isfinite(row).any():
                out[f"{kind}: {name}"] = [None if math.isnan(v) else round(float(v), 2) for v in row]
    return out


def _visible(text: str) -> str:
    """A token as one can see it: line ends and tabs as signs, blanks as open boxes where they are all there is."""
    shown = text.replace("\n", "↵").replace("\t", "⇥").replace("\r", "␍")
    return shown if shown.strip() else shown.replace(" ", "␣")


class _Vocabulary:
    """The tokens of one shard, numbered by first use."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces, self.number = pieces, dict[int, int]()

    def __call__(self, token: int) -> int:
        return self.number.setdefault(int(token), len(self.number))

    def plain(self) -> list[str]:
        return [self.pieces[token] for token in self.number]


class _Source:
    """Reports with what all units' pages need, worked out once."""

    def __init__(self, reports: UnitReports, verdicts: Sequence[Verdict] | None, similar: Similar | None) -> None:
        self.reports, self.verdicts, self.similar = reports, verdicts, similar
        self.share = reports.share
        rich = reports.enrichment()
        rich = rich[(rich["enrichment"] > 0) & (rich["firings"] >= _FEWEST_FIRINGS)]
        self.rich = {int(unit): rows.head(_LABELS) for unit, rows in rich.groupby("unit")}
        documents = reports.split.documents
        self.origin = [
            f"{genre if segment == 'text' else f'{genre}: {segment}'} · {work}"
            for genre, segment, work in zip(documents["genre"], documents["segment"], documents["work"], strict=True)
        ]

    def labels(self, k: int) -> list[list[Any]]:
        if k not in self.rich:
            return []
        return [[r.kind, r.label, _short(r.enrichment), _short(r.share, 2), int(r.firings)] for r in self.rich[k].itertuples()]


def _shard(source: _Source, start: int) -> bytes:
    """Up to `SHARD` units: everything their pages show, tokens as numbers into a list of this file's own."""
    words = _Vocabulary(source.reports.split.tokenizer.pieces)
    units = [_unit(source, k, words) for k in range(start, min(start + SHARD, len(source.reports)))]
    return _call("neuroscopeShard", start // SHARD, {"vocabulary": words.plain(), "units": units})


def _unit(source: _Source, k: int, words: _Vocabulary) -> dict[str, Any]:
    reports, share = source.reports, source.share[k]
    verdict = source.verdicts[k] if source.verdicts is not None else None
    moments = reports.moments
    grams = reports.ngrams[k]
    scale = max(abs(float(moments.high[k])), abs(float(moments.low[k])), 1e-30)
    filled = np.flatnonzero(reports.histogram[k])
    out: dict[str, Any] = {
        "number": int(reports.numbers[k]),
        "scale": _short(scale, 6),
        "facts": {
            "density": _short(moments.density[k]), "kurtosis": _short(moments.kurtosis[k]), "skew": _short(moments.skew[k]),
            "mean": _short(moments.mean[k]), "sd": _short(math.sqrt(moments.variance[k])), "low": _short(moments.low[k]),
            "high": _short(moments.high[k]), "strong": _short(reports.threshold[k]),
        },
        "histogram": {"first": int(filled[0]), "counts": reports.histogram[k, filled[0] : filled[-1] + 1].tolist()},
        "labels": source.labels(k),
        "grams": {
            name: [[[words(t) for t in ids], _short(s, 2), _short(lift, 2)] for ids, s, lift in getattr(grams, name)]
            for name in ("current", "previous", "bigrams")
        },
        "firings": grams.firings, "covered": _short(grams.covered, 2), "single": _short(grams.single, 2),
        "top": _examples(source, reports.top, (k,), words, scale),
        "strata": [
            [_short(reports.edges[k, j], 3), _short(reports.edges[k, j + 1], 3), _short(share[j], 2),
             _examples(source, reports.strata, (k, j), words, scale)]
            for j in reversed(range(len(share)))
        ],
    }  # fmt: skip
    if reports.logits is not None:
        for side in ("up", "down"):
            ids, values = getattr(reports.logits, side)[k], getattr(reports.logits, f"{side}_value")[k]
            out[side] = [[words(i), _short(v)] for i, v in zip(ids, values, strict=True)]
    if verdict is not None:
        named = [[name, _short(height, 2)] for name, height in verdict.named]
        numbers = [_concepts(verdict.concepts), _concepts(verdict.in_firings), _short(verdict.one_word, 2)]
        out["judged"] = [*numbers, named, int(_misleads(verdict))]
    if source.similar is not None:
        out["similar"] = [[other, _short(r, 2)] for other, r in source.similar[k]]
    return out


def _examples(source: _Source, examples: Examples, where: tuple[int, ...], words: _Vocabulary, scale: float) -> list[list[Any]]:
    """[where the text is from, index of the peak, tokens, activations in thousandths of the scale] per window."""
    split, out = source.reports.split, []
    chosen = examples.at(where)
    for peak, places, values in zip(chosen.place, chosen.places(), chosen.values, strict=True):
        if peak < 0:
            continue
        inside = places >= 0
        tokens = [words(t) for t in split.tokens[places[inside]].tolist()]
        thousandths = np.rint(values[inside].astype(np.float64) / scale * 1000).astype(int).tolist()
        out.append([source.origin[split.document[peak]], int((places[inside] < peak).sum()), tokens, thousandths])
    return out
