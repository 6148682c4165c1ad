"""Models that differ in one thing, read side by side: the same text, and neurons of the same numbers, with their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from superscope.lms import corpus
from superscope.lms.corpus.splits import Rows
from superscope.lms.model import activations
from superscope.lms.model.language_model import LanguageModel, rows_to_tensor
from superscope.lms.reading import metrics
from superscope.lms.reading.metrics import Text
from superscope.measure.activations.subspaces import random_basis

NEURONS, ROTATED, INIT, SHUFFLED = "neurons", "random directions", "initial weights", "shuffled weights"
KINDS = (NEURONS, ROTATED, INIT, SHUFFLED)
LOSS_ROWS = 32


@dataclass(frozen=True)
class Matched:
    """text: the tokens; values: (name of a model, kind) -> (token, unit); loss: alike, nats per token; whole: name -> (token,
    all neurons) of the trained models; which: the neurons' numbers."""

    text: Text
    rows: Rows
    values: dict[tuple[str, str], np.ndarray]
    loss: dict[tuple[str, str], float]
    whole: dict[str, np.ndarray]
    which: np.ndarray


def read(
    models: Mapping[str, LanguageModel], rows: int, neurons: int, rng: np.random.Generator, seed: int,
    kinds: Sequence[str] = KINDS,
) -> Matched:  # fmt: skip
    """`neurons` of the last layer of every model, the same numbers in all, at `rows` rows of the shipped text.

    seed: of the text alone, so that other starts can be read on the very same.

    Random directions are the same turn of every model's neurons, each scaled to the same spread: else the few loudest neurons
    are in every direction. All models have one tokenizer and equally many neurons.
    """
    first = next(iter(models.values()))
    split = corpus.sample(first.tokenizer)
    text = split.rows(first.n_ctx, limit=rows, seed=seed)
    which = np.sort(rng.permutation(first.d_mlp)[:neurons])
    turn = random_basis(first.d_mlp, first.d_mlp, int(rng.integers(2**31)))[:, which].astype(np.float32)
    values: dict[tuple[str, str], np.ndarray] = {}
    loss: dict[tuple[str, str], float] = {}
    whole = {}
    for name, model in models.items():
        layer = model.n_layers - 1
        every = activations.neurons(model, layer)
        sets = {NEURONS: every}
        controls = {NEURONS: model}
        for kind, start in ((INIT, "init"), (SHUFFLED, "shuffled")):
            if kind in kinds:
                controls[kind] = model.control(start)  # type: ignore[arg-type]
                sets[kind] = activations.neurons(controls[kind], layer, which)
        found = {kind: value.numpy() for kind, value in activations.values(model, text, sets).items()}
        whole[name] = found[NEURONS]
        found[NEURONS] = whole[name][:, which]
        if ROTATED in kinds:
            found[ROTATED] = (whole[name] / (whole[name].std(axis=0) + 1e-6)) @ turn
            controls[ROTATED] = model
        for kind, control in controls.items():
            values[name, kind] = found[kind]
            loss[name, kind] = float(control.loss(rows_to_tensor(text.tokens[:LOSS_ROWS])).mean())
    return Matched(metrics.labelled(split, text.place[:, 1:].ravel()), text, values, loss, whole, which)
