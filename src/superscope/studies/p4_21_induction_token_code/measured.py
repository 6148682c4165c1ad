"""4.21: what is measured of a code, of what heads say, and of a head against the best linear map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from superscope import lms
from superscope.measure.activations import heads
from superscope.measure.activations.attribution import attribute
from superscope.measure.weights import circuits
from superscope.studies.p4_21_induction_token_code.setting import FITTED, GAINS, MARGIN, NOISE, ONE, Config


def static(code: heads.TokenCode, config: Config | None = None) -> dict[str, Any]:
    """What the weights say of a code (token, r); with a config also how it bears losing directions."""
    svd, (n, r) = code.svd, code.codes.shape
    unit = code.codes / np.maximum(np.linalg.norm(code.codes, axis=1, keepdims=True), 1e-30)
    noisy = code.identified(noise=NOISE)
    out = {
        "rank": r, "copying": code.copying, "top1": code.identified(), "identified": code.identified(MARGIN),
        "under noise": noisy, "per dimension": noisy * n / r, "energy90": circuits.rank_for(svd.values, 0.9),
        "largest gap": circuits.gap_rank(svd.values).ratio, "crowding": float(((unit.T @ unit / n) ** 2).sum() * r),
    }  # fmt: skip
    if config is None:
        return out
    k90 = circuits.directions_for(svd, 0.9, MARGIN, code.offset)
    kept = np.unique(np.linspace(1, len(svd.values), config.points).round().astype(int))
    shares = [circuits.identified(*svd.factors(int(k)), margin=MARGIN, offset=code.offset) for k in kept]
    curve = [{"directions": int(k), "identified": share} for k, share in zip(kept, shares, strict=True)]
    return {**out, "k90": k90, "spread": k90 / r, "curve": curve}


def heard(said: heads.Spoken) -> dict[str, Any]:
    """What the heads alone say of the token to come in real repeats, before and behind the softmax."""
    beside = said.runner_up / np.where(said.own > 0, said.own, np.nan)
    shown = np.arange(0, len(beside), max(1, len(beside) // 200))
    return {
        "named": float((said.margin > 0).mean()), "margin": float(np.median(said.margin)),
        "runner-up": float(np.nanmedian(beside)), "probability": float(np.median(said.probability)),
        "cleaned": float(min(np.nanmedian(beside), np.median(said.probability))),
        "seen": [{"before": float(beside[i]), "behind": float(said.probability[i])} for i in shown],
    }  # fmt: skip


def against_least_squares(
    model: lms.LanguageModel, one: heads.TokenCode, read: np.ndarray, steps: int
) -> Iterator[dict[str, Any]]:
    """How much more of the vocabulary half of a head's directions identify than the least-squares map of as many.

    Half of them: at the head's whole rank the least-squares map identifies nearly all, and nothing could beat it.
    """
    codes, readout = read - read.mean(axis=0), heads.normalised(model, np.eye(model.d_model)) @ heads.unembedding(model)
    rank = one.codes.shape[1]
    k = rank // 2
    best = circuits.least_squares_map(codes, readout, rank)
    half = circuits.CircuitSVD(best.left[:, :k], best.values[:k], best.right[:, :k])
    least = circuits.identified(*half.factors())
    maps = {ONE: one.svd, GAINS: circuits.CircuitSVD(best.left, one.svd.values, best.right),
            FITTED: heads.fitted_map(codes, readout, k, steps, 0)}  # fmt: skip
    for arm, svd in maps.items():
        yield {
            "arm": arm, "above least squares": circuits.identified(*svd.factors(k)) - least, "least squares, half": least,
            "least squares, whole": circuits.identified(*best.factors()),
        }  # fmt: skip


def worth(repeats: heads.Repeats, which: list[int]) -> float:
    """Nats per token that the second copy loses when the heads write their mean instead."""
    hook = f"blocks.{repeats.layer}.attn.hook_z"

    def ablate(value: torch.Tensor, hook: Any = None) -> torch.Tensor:
        value = value.clone()
        value[:, :, which] = value[:, :, which].mean(dim=(0, 1))
        return value

    lost = repeats.model.loss(repeats.tokens, [(hook, ablate)]) - repeats.model.loss(repeats.tokens)
    return float(lost[:, repeats.second].mean())


def written(repeats: heads.Repeats, rng: np.random.Generator) -> list[dict[str, Any]]:
    """What each component adds to the logit of the token to come over that of another token drawn at random, nats."""
    tokens = repeats.tokens[:12]
    target = torch.cat([tokens[:, 1:], tokens[:, :1]], dim=1)
    foil = target.flatten()[torch.from_numpy(rng.permutation(target.numel()))].view(target.shape)
    found = attribute(repeats.model, tokens, target, foil)
    each = found.parts[:, :, repeats.second].mean(dim=(1, 2, 3))
    return [{"component": label, "nats": float(part)} for label, part in zip(found.labels, each, strict=True)]
