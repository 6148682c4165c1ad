"""Looking at units: `examine` reads a corpus once, then fetches the contexts that were worth keeping.

    reports = neuroscope.examine(model, corpus.sample(model.tokenizer))
    reports.table                            # one row per unit: density, kurtosis, top token, top label
    reports.contexts(7)                      # labelled contexts of unit 7, for the rule judge

After Neuroscope (Nanda 2022), with its known gaps closed: one example per document, ties decided, the whole range of
activations sampled and not only its top, nothing hidden in private code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from superscope import store as disk
from superscope.lms.corpus.splits import Rows, Split
from superscope.lms.model import activations as acts
from superscope.lms.model.activations import StrataSample, Top, Units
from superscope.lms.model.language_model import LanguageModel, ModelError
from superscope.lms.reading import describe
from superscope.lms.reading.reports import (
    AFTER,
    BEFORE,
    FEWEST,
    FORMAT,
    RANDOM,
    Examples,
    UnitReports,
    load,
    select,
    text_digest,
)

__all__ = ["AFTER", "BEFORE", "FEWEST", "RANDOM", "STRONG", "Examples", "UnitReports", "examine", "identity", "load", "select"]

STRONG = 0.01  # a strong firing is above the value that this share of tokens exceeds
FIRINGS = 400  # strong firings sampled per unit
_PILOT = 48  # rows that set the thresholds of strong firing

Progress = Callable[[str, int, int], None]


def examine(
    model: LanguageModel,
    split: Split,
    layer: int = 0,
    units: Units | None = None,
    *,
    writes: np.ndarray | None = None,
    rows: int | None = None,
    context: int | None = None,
    top: int = 20,
    intervals: int = 11,
    per_interval: int = 3,
    corpus: str = "corpus",
    seed: int = 0,
    store: Path | str | None = None,
    progress: Progress | None = None,
) -> UnitReports:
    """Scan `split` and report on every unit: the neurons of `layer`, or any `units` (directions, an SAE's latents).

    writes: (unit, d_model) what each unit adds to the residual stream, for direct logit effects; known for neurons. rows:
    only so many rows, drawn with `seed`. context: tokens per row (the model's context, at most 256). store: a folder that
    lets an interrupted call go on. progress: called with what is going on, rows done, rows in all.
    """
    if split.tokenizer.digest != model.tokenizer.digest:
        raise ModelError(
            f"the text was tokenised by another tokenizer than that of {model.name}: tokenise it with model.tokenizer"
        )
    units = units or acts.neurons(model, layer)
    numbers = units.numbers
    if units.layer is not None and writes is None:
        writes = describe.neuron_writes(model, units.layer).numpy()
        writes = writes if numbers is None else writes[numbers]
    text = split.rows(context or min(model.n_ctx, 256), rows, None if rows is None else seed)
    text = _sorted(text)

    def step(name: str) -> dict[str, Any]:
        return {
            "store": Path(store) / name.replace(" ", "-") if store is not None else None,
            "progress": (lambda done, total: progress(name, done, total)) if progress else None,
        }

    threshold = _strong(model, text, units)
    found = acts.scan(
        model,
        text,
        units,
        {
            "moments": acts.Moments(),
            "histogram": acts.Histogram(),
            "top": acts.TopDocuments(split.document, top),
            "strata": acts.Strata(intervals, per_interval, k=max(6, per_interval), seed=seed),
            "labels": acts.LabelSums(acts.split_labels(split), threshold),
            "firing": acts.FiringSample(threshold, FIRINGS, seed),
        },
        **step("scan"),
    )
    first: Top = found["top"]
    spread: StrataSample = found["strata"]
    drawn = np.sort(
        np.random.default_rng([seed, 5]).choice(text.place[:, 1:].ravel(), min(RANDOM, text.place[:, 1:].size), replace=False)
    )
    drawn = np.random.default_rng([seed, 6]).permutation(drawn)
    random = np.tile(drawn, (len(first.place), 1))
    examples = _fetch(
        model, text, units, split, {"top": first.place, "strata": spread.place, "random": random}, step("contexts")
    )
    base = describe.base_rates(split)
    return UnitReports(
        model=model.name,
        title=units.name if units.layer is None else f"layer {units.layer}",
        layer=units.layer,
        hook=units.hook,
        numbers=np.arange(len(first.place)) if numbers is None else numbers,
        split=split,
        corpus=corpus,
        n_tokens=found["moments"].n,
        moments=found["moments"],
        histogram=found["histogram"],
        threshold=threshold,
        labels=found["labels"],
        **examples,
        edges=spread.edges,
        firing=found["firing"].place,
        ngrams=[describe.ngrams(split, base, place) for place in found["firing"].place],
        logits=describe.logit_effects(model, writes) if writes is not None else None,
    )


def identity(model: LanguageModel, split: Split, **options: Any) -> str:
    """A digest of the weights, the text and the options of an examination."""
    return disk.digest([FORMAT, acts.weights_digest(model), text_digest(split), options])


def _sorted(rows: Rows) -> Rows:
    order = np.argsort(rows.place[:, 1], kind="stable")
    return Rows(rows.tokens[order], rows.place[order])


def _strong(model: LanguageModel, rows: Rows, units: Units) -> np.ndarray:
    """(unit,) float32: about `STRONG` of the tokens of some evenly spread rows are above it; never below 0."""
    some = np.unique(np.linspace(0, len(rows) - 1, _PILOT).astype(int))
    counts = acts.scan(model, Rows(rows.tokens[some], rows.place[some]), units, {"h": acts.Histogram()})["h"]
    above = counts[:, ::-1].cumsum(1)[:, ::-1]  # (unit, bin) tokens in this bin or a higher one
    bin_of = (above > STRONG * counts.sum(1, keepdims=True)).sum(1)  # the first bin that few enough tokens reach
    return np.asarray(np.maximum(acts.bin_edges()[bin_of], 0), dtype=np.float32)


def _fetch(
    model: LanguageModel, rows: Rows, units: Units, split: Split, wanted: Mapping[str, np.ndarray], options: dict[str, Any]
) -> dict[str, Examples]:
    """A second pass over only the rows that hold a wanted token: activations in the window around it, inside its row and
    document.

    rows: sorted by place. wanted: name -> (unit, ...) places, -1 where there is none.
    """
    place = np.concatenate([p.ravel() for p in wanted.values()])
    unit = np.concatenate(
        [np.broadcast_to(np.arange(len(p)).reshape(-1, *[1] * (p.ndim - 1)), p.shape).ravel() for p in wanted.values()]
    )
    there = np.flatnonzero(place >= 0)
    length = rows.place.shape[1] - 1
    row = np.searchsorted(rows.place[:, 1], place[there], side="right") - 1
    needed, index = np.unique(row, return_inverse=True)
    start = rows.place[row, 1]
    document = split.document[place[there]]
    begin = split.documents["start"].to_numpy()[document]
    end = begin + split.documents["length"].to_numpy()[document] - 1
    offset = index * length - start  # from a place in the split to an index among the tokens of the second pass
    first = np.maximum(np.maximum(start, begin), place[there] - BEFORE) + offset
    last = np.minimum(np.minimum(start + length - 1, end), place[there] + AFTER) + offset
    windows = acts.Windows(unit[there], place[there] + offset, first, last, BEFORE, AFTER)
    values = np.full((len(place), BEFORE + 1 + AFTER), np.nan, dtype=np.float32)
    values[there] = acts.scan(model, Rows(rows.tokens[needed], rows.place[needed]), units, {"w": windows}, **options)["w"]
    out, at = {}, 0
    for name, places in wanted.items():
        out[name] = Examples(places, values[at : at + places.size].reshape(*places.shape, -1))
        at += places.size
    return out
