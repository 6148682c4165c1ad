"""What an SAE is worth in its language model: losses with its output in place, variance explained, what fires and on what.

Positions after BOS are read and replaced; BOS itself is left as it is, for no SAE here is trained on it. Loss recovered is
given against mean AND zero ablation of the site, (CE_ablated - CE_spliced) / (CE_ablated - CE_clean): zero ablation of a site
with a large mean makes any SAE look good. No score says that latents are the model's features: SAEs of untrained models reach
high values too (Heap et al. 2025, arXiv 2501.17727), so read each beside that of `model.control("init")`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.errors import UserError
from superscope.lms.corpus.splits import Rows
from superscope.lms.model import activations
from superscope.lms.model.interventions import AFTER_BOS, Hook, mean_loss, replace_with
from superscope.lms.model.language_model import LanguageModel
from superscope.recover.sae.batch_topk import BatchTopK
from superscope.recover.sae.dictionary import SAE
from superscope.recover.sae.streams import Samples
from superscope.recover.sae.training import Recipe, train

LEAST_COST = 0.01  # nats that an ablation must cost before it can be asked how much of them comes back
ALIVE = 1e-5  # a latent that fires on fewer tokens than one in a hundred thousand counts as dead


@dataclass(frozen=True)
class Panel:
    """losses: name -> (row,) nats per token, for clean, spliced, mean and zero. density (latent,): share of tokens it fires on.

    common (latent,): share of a latent's firings on its commonest token, NaN where it never fires; 1 is a single-token latent.
    explained: variance about the mean. l0: latents on per token. size: mean norm of the reconstruction over that of the value,
    both about the mean.
    """

    losses: dict[str, np.ndarray]
    explained: float
    l0: float
    size: float
    density: np.ndarray
    common: np.ndarray
    tokens: int

    def recovered(self, ablation: str = "mean") -> float:
        """Share of the loss that ablating the site costs which the SAE gives back; NaN where ablation costs nothing."""
        clean, spliced, ablated = (float(self.losses[key].mean()) for key in ("clean", "spliced", ablation))
        return (ablated - spliced) / (ablated - clean) if ablated - clean > LEAST_COST else float("nan")

    @property
    def alive(self) -> float:
        """Share of latents that fire on more than one token in a hundred thousand (on any, in a smaller text)."""
        return float((self.density > ALIVE).mean())

    @property
    def single_token(self) -> float:
        """Share of living latents with nine firings in ten on one token."""
        living = self.density > ALIVE
        return float((self.common[living] >= 0.9).mean()) if living.any() else float("nan")

    def row(self) -> dict[str, float]:
        """The numbers in one line of a table."""
        return {
            "l0": self.l0, "explained": self.explained, "ce_score": self.recovered("mean"),
            "ce_score_zero": self.recovered("zero"), "alive": self.alive, "size": self.size, "single_token": self.single_token,
            **{f"loss_{key}": float(value.mean()) for key, value in self.losses.items()},
        }  # fmt: skip


def meta_explained(sae: SAE, k: int = 4, seed: int = 0, steps: int = 400) -> float:
    """Share of the variance of the decoder's rows that a smaller SAE of the rows explains: the meta-SAE.

    Width a quarter of the latents, k of them on per row (Leask et al. 2025, arXiv 2502.04878: 55 % for a GPT-2 SAE, as a sign
    that latents are composed). Null: the rows of a random dictionary, which is not 0: k directions out of many explain some
    of anything.
    """
    rows = sae.decoder / sae.decoder.norm(dim=1, keepdim=True).clamp_min(1e-12)
    source = Samples.of(rows, min(len(rows), 256), seed, "decoder rows")
    (one,) = train(source, BatchTopK(width=max(k, sae.n // 4), k=k), seeds=[seed], recipe=Recipe(steps=steps, lr=3e-3))
    out = one.sae(rows)
    return 1 - float(((out - rows) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum())


def sites(sae: SAE) -> tuple[str, str]:
    """The hooks an SAE reads and writes."""
    if not sae.site:
        raise UserError("this SAE does not say which hook it reads (metadata.hook_name)")
    return sae.site, str(sae.metadata.get("hook_name_out") or sae.site)


def latents(sae: SAE, model: LanguageModel | None = None, name: str = "") -> activations.Units:
    """The SAE's latents as units of a scan."""
    said = name or str(sae.metadata.get("sha256") or id(sae))
    return activations.encoder(sites(sae)[0], sae.encode, f"sae {said}", model)


def splice(model: LanguageModel, sae: SAE) -> list[Hook]:
    """Hooks that put what the SAE makes of its input in place of the value it stands for, BOS left alone."""
    source, target = sites(sae)
    for hook in (source, target):
        if hook not in model.hooked.hook_dict:
            raise UserError(f"{model.name} has no hook {hook!r}, which this SAE is about: it belongs to another model")
    held: dict[str, Tensor] = {}

    def read(value: Tensor, hook: Any = None) -> None:
        held["x"] = value

    def write(value: Tensor, hook: Any = None) -> Tensor:
        out = value.clone()
        out[:, AFTER_BOS] = sae(held["x"][:, AFTER_BOS]).to(value.dtype)
        return out

    return [(source, read), (target, write)]


@dataclass(frozen=True)
class Reference:
    """What does not depend on the SAE: mean (d,) of a site after BOS, and the losses clean, mean and zero (empty: not
    wanted)."""

    mean: Tensor
    losses: dict[str, np.ndarray]


def reference(model: LanguageModel, hook: str, rows: Rows, losses: bool = True) -> Reference:
    """The mean of `hook` on `rows`, and what it costs to put it, or nothing, in the place of the values."""
    found = activations.scan(model, rows, hook, {"moments": activations.Moments()})["moments"]
    mean = torch.as_tensor(np.asarray(found.mean), dtype=torch.float32)
    ways: dict[str, list[Hook]] = {
        "clean": [],
        "mean": [replace_with(hook, mean, AFTER_BOS)],
        "zero": [replace_with(hook, torch.zeros_like(mean), AFTER_BOS)],
    }
    return Reference(mean, {name: mean_loss(model, rows.tokens, way) for name, way in ways.items()} if losses else {})


def examine(
    model: LanguageModel, sae: SAE, rows: Rows, *, known: Reference | None = None, batch_rows: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Panel:  # fmt: skip
    """The panel of `sae` in `model` on `rows`. known: the `reference` of its site, for several SAEs of one site."""
    source, target = sites(sae)
    hooks = splice(model, sae)
    vocabulary = int(model.hooked.cfg.d_vocab)
    counts = torch.zeros(sae.n, dtype=torch.int64)
    by_token: dict[int, Tensor] = {}
    total = total_norm = out_norm = fired = 0.0
    error = 0.0
    known = known or reference(model, target, rows)
    mean = known.mean
    square = 0.0
    for start in range(0, len(rows), batch_rows):
        part = Rows(rows.tokens[start : start + batch_rows], rows.place[start : start + batch_rows])
        found = activations.values(model, part, {"x": source} | ({"y": target} if target != source else {}))
        x, y = found["x"], found.get("y", found["x"])
        with torch.inference_mode():
            acts = sae.encode(x)
            out = sae.decode(acts) + (x @ sae.tensors["W_skip"].T if "W_skip" in sae.tensors else 0.0)
            on = acts > 0
            counts += on.sum(0)
            tokens = torch.from_numpy(part.tokens[part.place >= 0].astype(np.int64))
            where, latent = torch.nonzero(on, as_tuple=True)
            pairs, many = torch.unique(latent * vocabulary + tokens[where], return_counts=True)
            _add(by_token, pairs, many)
            error += float(((out - y).double() ** 2).sum())
            square += float(((y - mean).double() ** 2).sum())
            total_norm += float((y - mean).norm(dim=1).sum())
            out_norm += float((out - mean).norm(dim=1).sum())
            fired += float(on.sum())
            total += len(x)
        progress(min(start + batch_rows, len(rows)), len(rows))
    kept = known.losses | {"spliced": mean_loss(model, rows.tokens, hooks)} if known.losses else {}
    return Panel(
        kept, 1 - error / square if square else float("nan"), fired / total,
        out_norm / total_norm if total_norm else float("nan"),
        counts.numpy() / total, _commonest(by_token, counts, vocabulary), int(total),
    )  # fmt: skip


def _add(held: dict[int, Tensor], pairs: Tensor, many: Tensor) -> None:
    """Adds counts of (latent, token) pairs to a sparse table kept as sorted keys and their counts."""
    if 0 in held:
        pairs, many = torch.cat([held[0], pairs]), torch.cat([held[1], many])
        pairs, places = torch.unique(pairs, return_inverse=True)
        many = torch.zeros(len(pairs), dtype=torch.int64).index_add_(0, places, many)
    held[0], held[1] = pairs, many


def _commonest(held: dict[int, Tensor], counts: Tensor, vocabulary: int) -> np.ndarray:
    best = torch.zeros(len(counts), dtype=torch.int64)
    if 0 in held:
        best.scatter_reduce_(0, held[0] // vocabulary, held[1], "amax")
    return np.where(counts > 0, best.numpy() / np.maximum(counts.numpy(), 1), np.nan)
