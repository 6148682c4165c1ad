"""The task in symbols: what two layers of one head tell each other, and whether one layer of two heads can do without."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope import lms
from superscope.lms.model import backend
from superscope.lms.model.tail import Tail
from superscope.measure.activations import paths
from superscope.studies.p4_23_ioi_names.setting import Config
from superscope.toys import symbolic_ioi


def symbolic(model: lms.LanguageModel, config: Config, seed: int) -> dict[str, Any]:
    """The task in symbols: what two layers of one head tell each other, and whether one layer of two heads can do without."""
    own = seed * 1000 + int.from_bytes(model.name.encode(), "big") % 997
    toy = symbolic_ioi.train(2, 1, own, steps=config.symbolic)
    one_layer = symbolic_ioi.train(1, 2, own, steps=2 * config.symbolic)
    asked = symbolic_ioi.sentences(1000, toy.shape.d_vocab - 2, torch.Generator().manual_seed(own + 1))
    wrapped = lms.LanguageModel(
        "symbolic", backend.from_shape(toy.shape, toy.state_dict()), model.tokenizer, {}, "trained here"
    )
    other = symbolic_ioi.other_subject(asked)
    rows, names = torch.arange(len(other)), torch.arange(toy.shape.d_vocab - 2)
    last = np.full(len(other), symbolic_ioi.LAST)
    here, there = (Tail.of(wrapped, one.numpy(), last, 1) for one in (asked.tokens, other))

    def difference(logits: Tensor) -> float:
        return float((logits[rows, asked.io] - logits[rows, asked.s]).mean())

    with torch.no_grad():
        clean, whole = (difference(one.logits(one.values, rows, names)) for one in (here, there))
        by_queries = difference(here.logits(here.values, rows, names, there.values))
        carried = difference(here.logits(there.values, rows, names))
    heard = paths.Paths(wrapped, asked.tokens, other)
    senders: list[paths.Sender] = [paths.Embedding(), paths.Head(0, 0)]
    through = {}
    for one in (paths.Head(1, 0, "q"), paths.Head(1, 0, "k"), paths.Head(1, 0, "v")):
        said = heard.patched(senders, one)["logits"][:, symbolic_ioi.LAST]
        through[one.reads] = (clean - difference(said)) / (clean - whole)
    return {
        "io over s": symbolic_ioi.accuracy(toy, asked), "one layer": symbolic_ioi.accuracy(one_layer, asked),
        "by queries": (clean - by_queries) / (clean - whole), "carried": (clean - carried) / (clean - whole),
        "through queries": through["q"], "through keys": through["k"], "through values": through["v"],
    }  # fmt: skip
