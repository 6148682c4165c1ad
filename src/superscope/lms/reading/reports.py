"""What is known about the units of a model: `UnitReports`, in memory and on disk. `neuroscope.examine` makes them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from superscope import store as disk
from superscope.lms.corpus.splits import CorpusError, Split
from superscope.lms.model import activations as acts
from superscope.lms.model.activations import LabelCounts
from superscope.lms.reading.describe import LogitEffects, NGrams
from superscope.lms.reading.judge import Contexts

BEFORE, AFTER = 40, 10  # tokens shown around the peak
FEWEST = 200  # a label with fewer tokens is not called enriched
RANDOM = 40  # windows around random tokens, the same for all units: the judge's background
FORMAT = 1


@dataclass(frozen=True)
class Examples:
    """Windows of text around tokens: `place` (..., ) of the peak in the split, -1 where there is none; `values` (..., window)
    the unit's activations, NaN outside the document or the row the model saw. The peak is at index `before`."""

    place: np.ndarray
    values: np.ndarray

    def at(self, where: tuple[int, ...]) -> Examples:
        """The examples of one unit, or of one interval of one unit."""
        return Examples(self.place[where], self.values[where])

    def places(self, before: int = BEFORE) -> np.ndarray:
        """(..., window) places in the split, -1 outside."""
        out = self.place[..., None] + np.arange(self.values.shape[-1]) - before
        return np.where(np.isnan(self.values), -1, out)


@dataclass(frozen=True)
class UnitReports:
    """Everything the pages, the cards and the judge read about the units of one model at one place.

    numbers: the unit's own number (neuron index) per row. threshold: (unit,) where strong firing begins. top: values (unit,
    20, window). strata: values (unit, interval, example, window), edges (unit, interval + 1), share (unit, interval) of
    tokens there, from a histogram. random: values (unit, window count, window). firing: sampled strong firings. labels: kind
    -> counts at strong firings.
    """

    model: str
    title: str
    layer: int | None
    hook: str
    numbers: np.ndarray
    split: Split
    corpus: str
    n_tokens: int
    moments: acts.MomentsResult
    histogram: np.ndarray
    threshold: np.ndarray
    labels: Mapping[str, LabelCounts]
    top: Examples
    strata: Examples
    edges: np.ndarray
    random: Examples
    firing: np.ndarray
    ngrams: list[NGrams]
    logits: LogitEffects | None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def share(self) -> np.ndarray:
        """(unit, interval) share of tokens in each interval of the range, to the precision of the histogram's bins."""
        bins = acts.bin_edges()
        middle = (bins[1:] + bins[:-1]) / 2
        out = np.zeros((len(self), self.edges.shape[1] - 1))
        for unit in range(len(self)):
            where = np.clip(np.searchsorted(self.edges[unit], middle, side="right") - 1, 0, out.shape[1] - 1)
            np.add.at(out[unit], where, self.histogram[unit])
        return out / self.n_tokens

    def enrichment(self) -> pd.DataFrame:
        """Rows unit, kind, label, enrichment (log2 of P(label | strong firing) / P(label)), share of strong firings,
        firings."""
        parts = []
        for kind, counts in self.labels.items():
            value = counts.enrichment(FEWEST)
            label, unit = np.nonzero(np.isfinite(value) & (counts.tokens < 0.95 * counts.tokens.sum())[:, None])
            share = counts.firing / np.maximum(counts.firing.sum(0), 1)
            parts.append(
                pd.DataFrame(
                    {
                        "unit": unit, "kind": kind, "label": [counts.names[k] for k in label], "enrichment": value[label, unit],
                        "share": share[label, unit], "firings": counts.firing[label, unit].astype(np.int64),
                    }
                )
            )  # fmt: skip
        table = pd.concat(parts, ignore_index=True)
        return table.sort_values(["unit", "enrichment", "label"], ascending=[True, False, True], ignore_index=True)

    @property
    def table(self) -> pd.DataFrame:
        """One row per unit. `label` is the label with the largest share x enrichment of the strong firings."""
        rich = self.enrichment()
        rich = rich.assign(weight=rich["share"] * rich["enrichment"])
        best = (
            rich.sort_values(["unit", "weight", "label"], ascending=[True, False, True])
            .drop_duplicates("unit")
            .set_index("unit")
        )
        pieces = self.split.tokenizer.pieces
        order = pd.RangeIndex(len(self))
        return pd.DataFrame(
            {
                "unit": self.numbers,
                "density": self.moments.density,
                "kurtosis": self.moments.kurtosis,
                "skew": self.moments.skew,
                "mean": self.moments.mean,
                "sd": np.sqrt(self.moments.variance),
                "low": self.moments.low,
                "high": self.moments.high,
                "strong": self.threshold,
                "token": [pieces[n.current[0][0][0]] if n.current else "" for n in self.ngrams],
                "token_share": [n.current[0][1] if n.current else 0.0 for n in self.ngrams],
                "covered": [n.covered for n in self.ngrams],
                "label": best["label"].reindex(order).fillna("").to_numpy(),
                "enrichment": best["enrichment"].reindex(order).to_numpy(),
                "label_share": best["share"].reindex(order).to_numpy(),
            }
        )

    def contexts(self, row: int, examples: int = 20, kind: str = "top", background: int = RANDOM) -> Contexts:
        """Labelled contexts of the unit in a row: its top documents, or examples of all strata, and random windows as
        background."""
        if kind not in ("top", "strata"):
            raise ValueError(f"kind={kind!r}: expected 'top' or 'strata'")
        chosen = self.top if kind == "top" else self.strata
        width = chosen.values.shape[-1]
        place, values = chosen.at((row,)).places().reshape(-1, width), chosen.values[row].reshape(-1, width)
        if kind == "strata":  # one example of every interval, then the next of every interval
            turn = np.arange(len(place)).reshape(self.edges.shape[1] - 1, -1).T.ravel()
            place, values = place[turn], values[turn]
        there = (place >= 0).any(1)
        place, values = place[there][:examples], values[there][:examples]
        other, quiet = self.random.at((row,)).places()[:background], self.random.values[row][:background]
        return Contexts(self.split, np.concatenate([place, other]), np.concatenate([values, quiet]))

    # ------------------------------------------------------------------------------------------------------------ on disk

    def save(self, folder: Path | str) -> None:
        """``reports.npz`` and ``reports.json``; the text is not stored, only where in the split it is."""
        arrays = {
            "numbers": self.numbers, "histogram": self.histogram, "threshold": self.threshold, "edges": self.edges,
            "firing": self.firing,
            **{f"examples/{n}/{part}": getattr(getattr(self, n), part) for n in _EXAMPLES for part in ("place", "values")},
            **{f"moments/{name}": getattr(self.moments, name) for name in _MOMENTS},
            **{f"labels/{k}/{part}": getattr(c, part) for k, c in self.labels.items() for part in ("tokens", "firing", "mass")},
        }  # fmt: skip
        if self.logits is not None:
            arrays |= {f"logits/{name}": getattr(self.logits, name) for name in _LOGITS}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        head = {
            "format": FORMAT, "model": self.model, "title": self.title, "layer": self.layer, "hook": self.hook,
            "corpus": self.corpus,
            "n_tokens": self.n_tokens, "text": text_digest(self.split),
            "labels": {k: c.names for k, c in self.labels.items()},
            "ngrams": [n.plain() for n in self.ngrams], "sha256": disk.checksum(buffer.getvalue()),
        }  # fmt: skip
        disk.atomic_write_many(
            Path(folder), {"reports.npz": buffer.getvalue(), "reports.json": disk.dumps(disk.seal(head)).encode()}
        )


_EXAMPLES = ("top", "strata", "random")
_MOMENTS = ("mean", "variance", "skew", "kurtosis", "density", "low", "high")
_LOGITS = ("up", "up_value", "down", "down_value")


def load(folder: Path | str, split: Split) -> UnitReports:
    """Reports saved by `UnitReports.save`; StoreError when damaged, CorpusError when `split` is not the text they were made
    from."""
    folder = Path(folder)
    head = disk.read_sealed(folder / "reports.json")
    if head["format"] != FORMAT:
        raise disk.StoreError(f"{folder} was written by another version of superscope: run superscope neuroscope again")
    if head["text"] != text_digest(split):
        raise CorpusError(
            f"the reports in {folder} were made from other text ({head['corpus']}): load that corpus or examine again"
        )
    with np.load(io.BytesIO(disk.read_bytes(folder / "reports.npz", head["sha256"])), allow_pickle=False) as a:
        logits = LogitEffects(*(a[f"logits/{name}"] for name in _LOGITS)) if "logits/up" in a else None
        return UnitReports(
            model=head["model"], title=head["title"], layer=head["layer"], hook=head["hook"], numbers=a["numbers"], split=split,
            corpus=head["corpus"], n_tokens=head["n_tokens"],
            moments=acts.MomentsResult(head["n_tokens"], *(a[f"moments/{name}"] for name in _MOMENTS)),
            histogram=a["histogram"], threshold=a["threshold"],
            labels={
                kind: LabelCounts(names, *(a[f"labels/{kind}/{part}"] for part in ("tokens", "firing", "mass")))
                for kind, names in head["labels"].items()
            },
            **{name: Examples(a[f"examples/{name}/place"], a[f"examples/{name}/values"]) for name in _EXAMPLES},
            edges=a["edges"], firing=a["firing"], ngrams=[NGrams.read(n) for n in head["ngrams"]], logits=logits,
        )  # fmt: skip


def text_digest(split: Split) -> str:
    """Tells texts apart: tokens and documents."""
    return disk.checksum(np.ascontiguousarray(split.tokens).tobytes() + np.ascontiguousarray(split.document).tobytes())


def select(reports: UnitReports, rows: np.ndarray) -> UnitReports:
    """The reports of some units only."""
    rows = np.asarray(rows)
    pick: Any = {name: Examples(getattr(reports, name).place[rows], getattr(reports, name).values[rows]) for name in _EXAMPLES}
    moments = acts.MomentsResult(reports.moments.n, *(getattr(reports.moments, name)[rows] for name in _MOMENTS))
    labels = {k: LabelCounts(c.names, c.tokens, c.firing[:, rows], c.mass[:, rows]) for k, c in reports.labels.items()}
    logits = LogitEffects(*(getattr(reports.logits, name)[rows] for name in _LOGITS)) if reports.logits is not None else None
    return replace(
        reports, numbers=reports.numbers[rows], histogram=reports.histogram[rows], threshold=reports.threshold[rows],
        edges=reports.edges[rows], firing=reports.firing[rows], ngrams=[reports.ngrams[k] for k in rows], moments=moments,
        labels=labels, logits=logits, **pick,
    )  # fmt: skip
