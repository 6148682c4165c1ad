"""In how many directions the subject's name is, found in three ways; planted messages and nulls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope import lms
from superscope.errors import UserError
from superscope.lab import Lab
from superscope.lms.corpus import ioi
from superscope.lms.model.tail import Tail
from superscope.recover import das
from superscope.recover.message import Message, means_of
from superscope.studies.p4_23_ioi_names.setting import (
    ADDITIVE,
    HALVES,
    ILLUSION,
    KEPT,
    LOUD,
    MEANS,
    PERMUTED,
    PROBE,
    RANDOM,
    SEARCH,
    SQUEEZED,
    TRAINED,
    Config,
)  # fmt: skip


def message_at(model: lms.LanguageModel, site: Tail, config: Config, lab: Lab) -> Message:
    """Capitalised words as names at the site. Three of five may be fitted; what the model gets wrong is left out."""
    if max(*config.directions, config.compared) > model.d_model:
        raise UserError(f"directions={config.directions}, compared={config.compared}: {model.name} has {model.d_model}")
    words = ioi.words(model.tokenizer)[0]
    ids = torch.tensor([model.tokenizer.encode(f" {word}")[0] for word in words])
    order = lab.rng(f"4.23 words {model.name}").permutation(len(words))
    cut = round(0.6 * len(words))
    place = torch.full((int(ids.max()) + 1,), -1)
    place[ids] = torch.arange(len(ids))

    def row(tokens: np.ndarray) -> Tensor:
        return place[torch.as_tensor(tokens)]

    groups = [[words[i] for i in part] for part in (order[:cut], order[cut:])]
    base, source, group = ioi.interchanges(model.tokenizer, groups, config.pairs, lab.seed)
    here, there = (Tail.of(model, one.tokens, one.last, site.layer) for one in (base, source))
    io, of_base, of_source = row(base.io), row(base.s), row(source.s)
    with torch.no_grad():
        right = here.logits(here.values, torch.arange(len(base)), ids).argmax(1) == io
    kept = torch.nonzero(right)[:, 0]
    want, fit = torch.where(of_source == io, of_base, io), torch.as_tensor(group == 0)
    seen = ioi.exchanges(model.tokenizer, words, config.read * len(words), lab.seed + 1)["base"]
    fitted = torch.zeros(len(words), dtype=torch.bool)
    fitted[order[:cut]] = True
    return Message(
        das.Pairs(here.values[kept], there.values[kept], want[kept], fit[kept]),
        lambda values, rows: here.logits(values, kept[rows], ids), of_base[kept], of_source[kept],
        Tail.of(model, seen.tokens, seen.last, site.layer).values, row(seen.s), fitted,
        name_readers(model, here, base, io, len(words)),
    )  # fmt: skip


def directions(one: Message, config: Config, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """arm -> what was measured of the real message, of planted ones, and of nulls."""
    k, (words, d) = config.compared, one.means.shape
    sizes = sorted({*config.directions, k})
    searched = {n: one.search(n, config.steps, config.starts) for n in sizes}
    components = {n: one.components(n) for n in sizes}
    probe = one.probe([*sizes, d])
    centred = one.means - one.means.mean(0)
    rows = das.row_space(one.read)
    unread = das.row_space(torch.eye(d) - rows @ rows.T, 0.5)
    code = centred @ rows[:, : unread.shape[1]] @ unread[:, : rows.shape[1]].T  # the name again, where no query reads it
    squeezed = one.with_means(centred @ (searched[k] @ searched[k].T - torch.eye(d)))
    loud = one.with_means(3 * code).only_read(rows)
    moved = one.with_means(code - centred @ rows @ rows.T).only_read(rows)
    few = {n: squeezed.search(n, config.steps, config.starts) for n in sizes if n <= k}
    halves = [replace(one, sight=one.sight[i::2], sight_of=one.sight_of[i::2]).components(k) for i in (0, 1)]
    added = one.with_residuals(torch.as_tensor(rng.permutation(len(one.pairs.base))))
    return {
        TRAINED: {
            "words": words, "k90": one.fewest(searched, KEPT), "k90 means": one.fewest(components, KEPT), "whole": one.ends[1],
            "k90 probe": next(n for n in probe if probe[n] >= KEPT * probe[d]), "by means": one.by_means(),
            "beyond means": one.iia(searched[k]) - one.iia(components[k]), "read part": read_part(one, searched[k]),
            "frames": curves(one, searched, components, probe),
        },
        PERMUTED: {"by means": one.by_means(one.means.roll(int(rng.integers(1, words)), 0))},
        ADDITIVE: {"by means": added.by_means(), "whole": added.ends[1]},
        SQUEEZED: {"k90": squeezed.fewest(few, KEPT), "read part": read_part(squeezed, few[k])},
        HALVES: {"beyond means": one.iia(halves[0]) - one.iia(halves[1])},
        LOUD: {"beyond means": loud.iia(loud.search(k, config.steps, config.starts)) - loud.iia(loud.components(k))},
        ILLUSION: {"read part": read_part(moved, moved.search(k, config.steps, config.starts))},
    }  # fmt: skip


def read_part(one: Message, frame: Tensor) -> float:
    """Share of a frame's gain that is left of what is read of it."""
    return das.split(one.respond, one.pairs, frame, one.read).kept


def curves(
    one: Message, searched: dict[int, Tensor], components: dict[int, Tensor], probe: dict[int, float]
) -> list[dict[str, Any]]:
    """Rows of the table of frames: accuracy of a whole frame and of what is read of it, by estimator and directions."""
    nothing, whole = one.ends
    out: list[dict[str, Any]] = []
    for k in searched:
        frames = {SEARCH: searched[k], MEANS: components[k], RANDOM: das.random_frame(len(searched[k]), k, k)}
        for name, frame in frames.items():
            out.append({
                "estimator": name, "directions": k, "accuracy": one.iia(frame),
                "read part": one.iia(das.row_part(frame, one.read)), "unread": float(das.null_shares(frame, one.read).mean()),
            })  # fmt: skip
        out.append({"estimator": PROBE, "directions": k, "accuracy": probe[k]})
    return [{**row, "nothing": nothing, "whole": whole} for row in out]


def name_readers(
    model: lms.LanguageModel, site: Tail, prompts: ioi.Prompts, of: Tensor, words: int, share: float = 0.99
) -> Tensor:
    """(n, d) orthonormal directions with `share` of the energy in what tells names apart at the first block's queries.

    A query is matched with a name's key: per head, W_Q times every name's mean key, about the mean of all names. of (row,): the
    name at IO.
    """
    block: Any = model.hooked.blocks[site.layer]
    at = torch.as_tensor([np.flatnonzero(row == name)[0] for row, name in zip(prompts.tokens, prompts.io, strict=True)])
    keys = means_of(site.keys[0][torch.arange(len(at)), at].flatten(1), of, words)
    seen = torch.bincount(of, minlength=words) > 0
    centred = (keys[seen] - keys[seen].mean(0)).unflatten(1, (-1, block.attn.W_Q.shape[-1]))
    weight = getattr(block.ln1, "w", torch.ones(model.d_model))
    rows = torch.einsum("nhe,hde->hnd", centred, block.attn.W_Q).flatten(0, 1) * weight
    size, directions = torch.linalg.svd(rows, full_matrices=False)[1:]
    energy = (size**2).cumsum(0) / (size**2).sum()
    return directions[: int((energy < share).sum()) + 1]
