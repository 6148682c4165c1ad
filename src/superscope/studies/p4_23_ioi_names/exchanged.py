"""Names or positions: what exchanging the last word's stream moves, and by which way it is heard."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope import lms
from superscope.errors import UserError
from superscope.lms.corpus import ioi
from superscope.lms.model.tail import Rerun, Tail, tail
from superscope.measure.activations import paths
from superscope.studies.p4_23_ioi_names.setting import BUILT, FRAME, KEPT, ORDER, REST, TRAINED, Config


def roles(model: lms.LanguageModel, config: Config, seed: int) -> tuple[dict[str, dict[str, Any]], Tail | Rerun]:
    """What each exchange of the last word's stream moves, at the first layer that carries nine tenths; that layer's tail."""
    if model.n_layers < 2:
        raise UserError(f"{model.name} has one layer: no head of it tells another anything; give a model of two layers or more")
    # whole prompts are run again for a model that others trained: a few are enough for what is asked of it
    count = config.prompts if model.name in lms.bundled() else min(config.prompts, 40)
    sets = ioi.exchanges(model.tokenizer, ioi.NAMES, count, seed)
    base = sets["base"]
    rows, names = torch.arange(len(base)), torch.as_tensor(np.unique(np.concatenate([base.io, base.s])))
    io, s = (torch.searchsorted(names, torch.as_tensor(one)) for one in (base.io, base.s))

    def difference(logits: Tensor) -> float:
        return float((logits[rows, io] - logits[rows, s]).mean())

    def share(one: Tail | Rerun, values: Tensor, **heard: Tensor) -> float:
        return (clean - difference(one.logits(values, rows, names, **heard))) / (clean - whole)

    first = tail(model, base.tokens, base.last, 1)
    said = first.logits(first.values, rows, names)
    other = tail(model, sets["both"].tokens, sets["both"].last, 1)
    clean, whole = difference(said), difference(other.logits(other.values, rows, names))
    right = float((said[rows, io] > said[rows, s]).float().mean())

    def carried(layer: int) -> tuple[float, Tail | Rerun]:
        site = tail(model, base.tokens, base.last, layer)
        return share(site, tail(model, sets["both"].tokens, sets["both"].last, layer).values), site

    low, high = 1, model.n_layers - 1  # what the last word has been told it keeps: halve the layers that may be the first
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if carried(middle)[0] >= KEPT else (middle + 1, high)
    whole_share, site = carried(low)
    ends = {kind: tail(model, one.tokens, one.last, low).values for kind, one in sets.items()}
    moved = {kind: share(site, values) for kind, values in ends.items()}
    out: dict[str, dict[str, Any]] = {
        TRAINED: {
            "answered": difference(answers_there(model, site.values, names)) / clean,
            "io over s": right,
            "layer": low,
            "carried": whole_share,
            "moved": moved["name"],
            "prompts": len(base),
        },
        ORDER: {"moved": moved["order"]},
        FRAME: {"moved": moved["objects"]},
    }
    if isinstance(site, Tail):
        out[TRAINED]["by queries"] = share(site, site.values, queries=ends["both"])
        out[REST] = {"by queries": share(site, ends["both"], queries=site.values)}
        built = message(model, base, sets["both"])
        out[BUILT] = {"moved": share(first, built), "by queries": share(first, first.values, queries=built)}
    return {arm: {"arm": arm, **row} for arm, row in out.items()}, site


@torch.no_grad()
def answers_there(model: lms.LanguageModel, values: Tensor, names: Tensor) -> Tensor:
    """(row, name) logits if the stream at the site (row, d) were the last: has the answer been found before the site?"""
    w: Any = model.hooked
    return torch.as_tensor(w.ln_final(values[:, None])[:, 0] @ w.W_U[:, names] + w.b_U[names])


def message(model: lms.LanguageModel, base: ioi.Prompts, both: ioi.Prompts) -> Tensor:
    """(row, d) the last word's stream behind block 0 if its heads read the other name at S, where they look as they did.

    In block 0 values are of tokens alone: this adds what a name says and nothing of where it stood or how it was found.
    """
    rows = torch.arange(len(base))
    last = torch.as_tensor(base.last)
    second = torch.as_tensor([np.flatnonzero(row == s)[-1] for row, s in zip(base.tokens, base.s, strict=True)])
    value, pattern = "blocks.0.attn.hook_v", "blocks.0.attn.hook_pattern"
    read = model.activations(lms.rows_to_tensor(base.tokens), [value, pattern])
    other = model.activations(lms.rows_to_tensor(both.tokens), [value])[value]
    change = read[pattern][rows, :, last, second][..., None] * (other[rows, second] - read[value][rows, second])

    def put(old: Tensor, hook: Any = None) -> Tensor:
        new = old.clone()
        new[rows, last] += change
        return new

    with torch.no_grad():
        ran = model.hooked.run_with_hooks(
            lms.rows_to_tensor(base.tokens), stop_at_layer=1, fwd_hooks=[("blocks.0.attn.hook_z", put)]
        )
    return torch.as_tensor(ran[rows, last])


def paths_heard(model: lms.LanguageModel, layer: int, count: int, seed: int) -> list[dict[str, Any]]:
    """How far each component before `layer` moves IO - S when one input of its heads alone hears the names exchanged."""
    sets = ioi.exchanges(model.tokenizer, ioi.NAMES, count, seed)
    base, rows = sets["base"], np.arange(count)
    heard = paths.Paths(model, lms.rows_to_tensor(base.tokens), lms.rows_to_tensor(sets["name"].tokens))

    def difference(logits: Tensor) -> float:
        last = logits[rows, base.last]
        return float((last[rows, base.io] - last[rows, base.s]).mean())

    clean = difference(model.logits(lms.rows_to_tensor(base.tokens)))
    heads = range(int(model.hooked.cfg.n_heads))
    senders = [paths.Head(below, head) for below in range(layer) for head in heads]
    out = []
    for sender in senders:
        row: dict[str, Any] = {"model": model.name, "sender": f"{sender.layer}.{sender.head}"}
        for reads, name in (("q", "queries"), ("k", "keys"), ("v", "values")):
            receivers = [paths.Head(layer, head, reads) for head in heads]  # type: ignore[arg-type]
            row[f"heard by {name}"] = clean - difference(heard.patched(sender, receivers)["logits"])
        out.append(row | {"heard by all": clean - difference(heard.total(sender)["logits"]), "clean": clean})
    return out
