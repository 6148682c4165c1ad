"""What a unit's firings have in common, in numbers: n-grams with the share they cover, and direct effects on the logits."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.corpus.splits import Split
from superscope.lms.model.language_model import LanguageModel

_UNITS = 64  # units whose effects on the whole vocabulary are held at once


@dataclass(frozen=True)
class NGrams:
    """Tokens at a unit's strong firings, from a uniform sample of them.

    Each list holds (token ids, share of the firings, lift over the token's share of the corpus); single tokens are ordered by
    share x log lift, their contribution to the divergence from the corpus. `covered` is the share of the firings at which one
    of the listed current tokens stands, `single` the share of the most frequent one.
    """

    firings: int
    current: list[tuple[list[int], float, float]] = field(default_factory=list)
    previous: list[tuple[list[int], float, float]] = field(default_factory=list)
    bigrams: list[tuple[list[int], float, float]] = field(default_factory=list)
    covered: float = 0.0
    single: float = 0.0

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, plain: dict[str, Any]) -> NGrams:
        """Inverse of `plain` after a round trip through JSON."""
        lists = {name: [(ids, share, lift) for ids, share, lift in plain[name]] for name in ("current", "previous", "bigrams")}
        return cls(**{**plain, **lists})


def base_rates(split: Split) -> np.ndarray:
    """(vocabulary,) share of every token in the split."""
    counts = np.bincount(split.tokens, minlength=len(split.tokenizer)).astype(np.float64)
    return np.asarray(counts / counts.sum())


def ngrams(split: Split, base: np.ndarray, place: np.ndarray, most: int = 8, fewest: int = 3) -> NGrams:
    """The n-grams at `place` (indices into the split, -1 ignored). What occurs fewer than `fewest` times is left out."""
    place = place[place >= 0]
    if not len(place):
        return NGrams(0)
    current = split.tokens[place].astype(np.int64)
    before = np.maximum(place - 1, 0)
    inside = (place > 0) & (split.document[before] == split.document[place])
    previous = split.tokens[before].astype(np.int64)[inside]
    pairs = Counter(zip(previous.tolist(), current[inside].tolist(), strict=True))
    n = len(place)
    bigrams = [
        ([a, b], count / n, count / n / (base[a] * base[b]))
        for (a, b), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
        if count >= fewest
    ][:most]
    listed = _enriched(current, base, n, most, fewest)
    return NGrams(
        n,
        listed,
        _enriched(previous, base, n, most, fewest),
        bigrams,
        float(np.isin(current, [ids[0] for ids, _, _ in listed]).mean()),
        float(np.bincount(current).max() / n),
    )


def _enriched(tokens: np.ndarray, base: np.ndarray, n: int, most: int, fewest: int) -> list[tuple[list[int], float, float]]:
    found, count = np.unique(tokens, return_counts=True)
    found, count = found[count >= fewest], count[count >= fewest]
    share = count / n
    lift = share / base[found]
    order = np.lexsort((found, -share * np.log(np.maximum(lift, 1e-12))))[:most]
    return [([int(found[k])], float(share[k]), float(lift[k])) for k in order if lift[k] > 1]


@dataclass(frozen=True)
class LogitEffects:
    """(unit, k) ids and effects of the tokens a unit raises and lowers most, largest effect first; see `logit_effects`."""

    up: np.ndarray
    up_value: np.ndarray
    down: np.ndarray
    down_value: np.ndarray


@torch.inference_mode()
def logit_effects(model: LanguageModel, writes: np.ndarray | Tensor, k: int = 10) -> LogitEffects:
    """Direct effect on the logits of one unit of activation, per unit of the final LayerNorm's scale.

    writes: (unit, d_model) what a unit adds to the residual stream. effect = ((writes - mean) * ln_final.w) @ W_U, less its
    mean over the vocabulary (which no probability feels). Later layers and the change of the LayerNorm's scale are left out:
    for a unit in an early layer of a deep model this can mislead.
    """
    hooked: Any = model.hooked
    out = torch.as_tensor(np.asarray(writes), dtype=torch.float32)
    if str(hooked.cfg.normalization_type).startswith("LN"):
        out = out - out.mean(-1, keepdim=True)
    weight = getattr(getattr(hooked, "ln_final", None), "w", None)
    if weight is not None:
        out = out * weight
    # ids beyond the tokenizer are padding of the matrix
    unembedding = hooked.W_U[:, : len(model.tokenizer)]
    k = min(k, unembedding.shape[1] // 2)
    parts: list[tuple[Tensor, ...]] = []
    for some in out.split(_UNITS):
        effect = some @ unembedding
        effect = effect - effect.mean(-1, keepdim=True)
        # a stable sort, so that equal effects come in the order of their ids
        value, index = torch.sort(effect, dim=-1, descending=True, stable=True)
        parts.append((index[:, :k], value[:, :k], index[:, -k:].flip(1), value[:, -k:].flip(1)))
    return LogitEffects(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


def neuron_writes(model: LanguageModel, layer: int) -> Tensor:
    """(neuron, d_model) what one unit of each neuron's activation adds to the residual stream.

    For solu_ln the activation is read before the MLP's own LayerNorm, so its weight, which may be negative, counts as well.
    """
    mlp: Any = model.hooked.blocks[layer].mlp
    out: Tensor = mlp.W_out
    if model.activation == "solu_ln":
        out = out * mlp.ln.w[:, None]
    return out
