"""How well latents fire with the true features, and how well the data are rebuilt.

latents (sample, latent) and features (sample, feature): activations of the same samples, at least 0; on = above 0.

Firing alike is also had by chance: a latent that is always on has F1 = 2p / (1 + p) with a feature of density p, .57 at p =
.4, and a search over many latents finds the luckiest. So `firing_null` measures the same scores with the samples of the
latents in a random order: how often, how strongly and with whom they fire stays, only when does not. Against a truth that is
itself correlated this null is too kind: a latent on a feature's companion beats it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from superscope.errors import SettingError
from superscope.recover.sae.matching import assigned, assigned_scores, cosines, plain

DEFAULT_DRAWS = 10
NULL_STREAM = 0x5AE  # beside the seed, so that a null never repeats the numbers that a truth of the same seed was made of
LEVELS = 16  # thresholds tried for each latent by "best"


def _activations(latents: Any, features: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = plain(latents, "latents", "sample latent"), plain(features, "features", "sample feature")
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise SettingError(f"latents {a.shape} and features {b.shape} must be (sample, ...) of the same samples")
    return a, b


def _f1(on: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(latent, feature) F1 of two sets of firing patterns, both (sample, ...) float32 of 0 and 1."""
    both = on.T @ true  # exact in float32 below 2^24 samples
    total = on.sum(axis=0)[:, None] + true.sum(axis=0)
    return 2 * both / np.maximum(total, 1)


def f1_matrix(latents: Any, features: Any, threshold: float | str = 0.0) -> np.ndarray:
    """(latent, feature) F1 of "the latent is on" as a test of "the feature is on": 2 TP / (2 TP + FP + FN). Dead: 0.

    A feature is on above 0. A latent is on above `threshold`: 0 as in SAELens, or "best", for every pair the best of 0 and 15
    quantiles of the latent's positive activations. "best" forgives a latent its interference at small activations but is chosen
    on the same samples, hence its null is higher: compare it with `firing_null` of the same threshold.
    Features that are never on have 0 with everything; the scores below leave them out.
    """
    a, b = _activations(latents, features)
    true = (b > 0).astype(np.float32)
    if threshold != "best":
        if isinstance(threshold, str):
            raise SettingError(f"threshold={threshold!r}: expected a number or 'best'")
        return _f1((a > threshold).astype(np.float32), true)
    found = _f1((a > 0).astype(np.float32), true)
    positive = np.sort(np.where(a > 0, a, np.inf), axis=0)  # of each latent, its positive activations come first
    count = (a > 0).sum(axis=0)
    for level in range(1, LEVELS):
        place = np.maximum((level * count) // LEVELS - 1, 0)
        cut = np.where(count > 0, positive[place, np.arange(a.shape[1])], np.inf)
        found = np.maximum(found, _f1((a > cut).astype(np.float32), true))
    return found


def firing_scores(latents: Any, features: Any, decoder: Any, truth: Any, threshold: float | str = 0.0) -> dict[str, float]:
    """Summaries of `f1_matrix`, each 1 at best.

    f1: the one-to-one matching (Hungarian) of largest F1, summed and divided by the number of TRUE FEATURES, so that a
    feature without a latent costs its share; directions play no part. f1_matched: the same for the latent and feature that
    are matched by direction (Hungarian on signed cosines): a latent must point and fire alike. f1_recall: mean over true
    features of the best F1 with any latent (many-to-one, forgives a latent that serves two). f1_saelens: each latent with its
    feature of largest |cos|, mean over latents, dead ones 0, as SAELens 6.54 does: features that no latent looks at cost
    nothing, so a narrow dictionary of the easy ones scores 1.
    features_seen: share of features that are on in some sample; all but f1_saelens leave the others out.
    Null: `firing_null`. All of them ask for the same samples, none for the same sizes of activation.
    """
    f1 = f1_matrix(latents, features, threshold)
    seen = (plain(features, "features", "sample feature") > 0).any(axis=0)
    signed = cosines(decoder, truth)
    angle = np.abs(signed)
    if angle.shape != f1.shape:
        raise SettingError(
            f"decoder and truth are {angle.shape[0]} latents and {angle.shape[1]} features, "
            f"the activations {f1.shape[0]} and {f1.shape[1]}"
        )
    count = max(int(seen.sum()), 1)
    pair = assigned(signed)
    return {
        "f1": float(assigned_scores(f1[:, seen]).sum() / count) if seen.any() else 0.0,
        "f1_matched": float((f1 * seen)[pair].sum() / count),
        "f1_recall": float(f1[:, seen].max(axis=0).sum() / count) if seen.any() else 0.0,
        "f1_saelens": float(f1[np.arange(len(f1)), angle.argmax(axis=1)].mean()),
        "features_seen": float(seen.mean()),
    }


def firing_null(
    latents: Any,
    features: Any,
    decoder: Any,
    truth: Any,
    threshold: float | str = 0.0,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """The F1 scores with the samples of the latents, all alike, in a random order: mean over `draws`."""
    a, b = _activations(latents, features)
    rng = np.random.default_rng([seed, NULL_STREAM])
    found = [firing_scores(a[rng.permutation(len(a))], b, decoder, truth, threshold) for _ in range(draws)]
    return {name: float(np.mean([one[name] for one in found])) for name in ("f1", "f1_matched", "f1_recall", "f1_saelens")}


def firing_against_null(
    latents: Any,
    features: Any,
    decoder: Any,
    truth: Any,
    *,
    threshold: float | str = 0.0,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """`firing_scores`, `<name>_null` of each, l0, true_l0 and dead."""
    out = firing_scores(latents, features, decoder, truth, threshold)
    null = firing_null(latents, features, decoder, truth, threshold, draws, seed)
    out |= {f"{name}_null": value for name, value in null.items()}
    return out | {"l0": l0(latents), "true_l0": l0(features), "dead": dead_share(latents)}


def l0(activations: Any) -> float:
    """Mean number of activations above 0 in a sample. Misleads where tiny activations never reach exactly 0."""
    return float((plain(activations, "activations", "sample latent") > 0).sum(axis=-1).mean())


def dead_share(latents: Any) -> float:
    """Share of latents that are never above 0 in these samples.

    Depends on how many they are: a latent of rate r is seen in n samples with probability 1 - (1 - r)^n, so ask for several
    times 1 / r samples and compare only at equal n.
    """
    return float((~(plain(latents, "latents", "sample latent") > 0).any(axis=0)).mean())


def explained_variance(x: Any, reconstruction: Any) -> float:
    """1 - sum |x - xhat|^2 / sum |x - mean x|^2, over samples and dimensions: 0 for predicting the mean, below 0 is worse.

    ABOUT THE MEAN: taken about zero (SAELens before 6.19, SAEBench's `explained_variance_legacy`) a constant prediction scores
    1 on data with a large mean. In float64. Dominated by loud dimensions and loud features: a dictionary may explain 71 % and
    hold 9 % of the true features (2602.14111). A wrong dictionary of correlated features explains more than the true one
    when latents are too few (2508.16560).
    """
    a, b = _pair(x, reconstruction)
    centred = a - a.mean(axis=0)
    total = float((centred**2).sum())
    return 1 - float(((a - b) ** 2).sum()) / total if total > 0 else float("nan")


def shrinkage(x: Any, reconstruction: Any) -> float:
    """Mean |xhat| / |x| over samples with x not 0, as in SAELens: 1 = no shrinkage. L1 penalties give less than 1.

    Misleads with a large mean (the bias is never shrunk), and noise in xhat makes up for shrinkage.
    """
    a, b = _pair(x, reconstruction)
    size = np.linalg.norm(a, axis=1)
    used = size > 0
    return float((np.linalg.norm(b[used], axis=1) / size[used]).mean()) if used.any() else float("nan")


def _pair(x: Any, reconstruction: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = (plain(v, name, "sample d").astype(np.float64) for v, name in ((x, "x"), (reconstruction, "reconstruction")))
    if a.shape != b.shape or a.ndim != 2:
        raise SettingError(f"x has shape {a.shape} and reconstruction {b.shape}: expected the same (sample, d)")
    return a, b


def reconstruction_scores(x: Any, reconstruction: Any) -> dict[str, float]:
    """explained_variance and shrinkage by name."""
    return {"explained_variance": explained_variance(x, reconstruction), "shrinkage": shrinkage(x, reconstruction)}
