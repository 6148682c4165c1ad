"""Neurons that answer to two concepts: their tokens, and what the MLP reads there on average.

The mean inputs are for the partition of input weights that follows labels (Expand Neurons, Not Parameters, arXiv 2510.04500).
Concepts are those of `senses`, with thresholds low enough that most neurons have two; it misleads where a concept is not on the
list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from superscope.lms import corpus
from superscope.lms.model import activations
from superscope.lms.model.language_model import LanguageModel
from superscope.lms.reading import planted
from superscope.lms.reading.planted import Concept
from superscope.lms.reading.senses import senses

SHARE, LIFT = 0.04, 2.0
FEWEST = 20  # tokens of either sense on which a neuron of `with_two_senses` fires


@dataclass(frozen=True)
class Case:
    """A neuron with two senses: the numbers of the tokens on which it fires, and which sense each is of, 0 or 1."""

    neuron: int
    where: np.ndarray
    concept: np.ndarray

    def label(self, tokens: int) -> np.ndarray:
        """(token,) which sense each of all tokens is of; -1 for neither."""
        out = np.full(tokens, -1)
        out[self.where] = self.concept
        return out


def with_two_senses(values: np.ndarray, known: Sequence[Concept], place: np.ndarray) -> list[Case]:
    """The neurons of values (token, neuron) with two senses (the first two), each on `FEWEST` tokens on which it fires."""
    out = []
    for j, found in enumerate(senses(values, known, place)):
        fired = [one.where[values[one.where, j] > max(0.0, values[:, j].mean())] for one in found[:2]]
        if len(fired) == 2 and min(map(len, fired)) >= FEWEST:
            out.append(Case(j, np.concatenate(fired), np.repeat([0, 1], [len(fired[0]), len(fired[1])])))
    return out


def concept_inputs(model: LanguageModel, layer: int = 0, limit: int = 500, seed: int = 0) -> np.ndarray:
    """(neuron, 2, d_model) mean input on each neuron's two loudest concepts; nan for a neuron with fewer than two.

    Read on `limit` rows of the shipped text. The input is that of W_in, after the LayerNorm and its weights.
    """
    split = corpus.sample(model.tokenizer)
    rows = split.rows(model.n_ctx, limit=limit, seed=seed)
    norm: Any = model.hooked.blocks[layer].ln2
    inputs = activations.Units(f"blocks.{layer}.ln2.hook_normalized", lambda value: value * norm.w + norm.b, "MLP input", model)
    read = activations.values(model, rows, {"neurons": activations.neurons(model, layer), "inputs": inputs})
    place = rows.place[rows.place >= 0]
    out = np.full((model.d_mlp, 2, model.d_model), np.nan)
    found = senses(read["neurons"].numpy(), planted.concepts(split), place, SHARE, LIFT, most=2)
    values = read["inputs"].double().numpy()
    for j, each in enumerate(found):
        if len(each) == 2:
            out[j] = [values[one.where].mean(axis=0) for one in each]
    return out
