"""How well a learned dictionary matches a known one: scores of directions, each beside what a random dictionary gets.

decoder (..., latent, d): rows are the directions of latents; leading axes (seeds, sparsities) are scored at once. truth
(feature, d): rows are the true directions. No SAE is needed: arrays, tensors and lists are taken alike, lengths are ignored.
Scores of activations stand in `firing`, measures of particular failures in `failures`; `panel` puts all of them together.

All of these say "alike" for dictionaries that are alike by chance: in few dimensions any dictionary is near every other. Five
random latents have a sign-blind MCC of .87 with five random features in two dimensions (.56 when signs count), forty have .87
with twenty features in five. Never read a score without `random_null`; `against_random` gives (score - null) / (1 - null).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from superscope.errors import SettingError
from superscope.recover.sae.failures import absorption, mixing
from superscope.recover.sae.firing import DEFAULT_DRAWS, NULL_STREAM, firing_against_null, reconstruction_scores
from superscope.recover.sae.matching import assigned_scores, cosines, plain, unit_rows

ADJUSTABLE = (
    "mcc", "mcc_sign_blind", "mcc_features", "mmcs", "mmcs_latents", "recovered_90", "recovered_99", "uniqueness",
)  # fmt: skip  # scores whose best value is 1


def mcc(decoder: Any, truth: Any, signed: bool = True) -> np.ndarray:
    """Mean correlation coefficient: mean cosine over the one-to-one matching that makes it largest. (...,), 1 is best.

    MCC = (1/min(L, F)) max_pi sum_j cos(w_pi(j), t_j), Hungarian matching (O'Neill et al. 2411.13117; Song et al. 2505.20254).
    signed=False takes |cos| before matching, as SAELens 6.54 does: a latent that points away from its feature then counts as
    found, though a ReLU latent cannot stand for it. Null: `random_null`, far from 0 when d is small or latents are many.
    Misleads with fewer latents than features, since features left over are not in the mean: six latents between groups of
    five near-duplicates have .97. The panel's mcc_features is the same sum over the number of features: .19 there.
    """
    found = cosines(decoder, truth)
    return assigned_scores(found if signed else np.abs(found)).mean(axis=-1)


def mmcs(decoder: Any, truth: Any) -> np.ndarray:
    """Mean max cosine similarity: mean over true features of the largest signed cosine with any latent. (...,), 1 is best.

    Sharkey et al. 2022 (Taking features out of superposition). Null: `random_null`; it grows with the number of latents.
    Misleads when one latent lies between several features and serves all of them: the matching of `mcc` does not allow it.
    """
    return cosines(decoder, truth).max(axis=-2).mean(axis=-1)


def latent_mmcs(decoder: Any, truth: Any) -> np.ndarray:
    """Mean over latents of the largest signed cosine with any true feature: the precision beside the recall of `mmcs`. (...,).

    Latents that are zero count 0. Null: `random_null`. Misleads when all latents copy one feature: it is then 1; `uniqueness`
    sees that.
    """
    return cosines(decoder, truth).max(axis=-1).mean(axis=-1)


def recovered(decoder: Any, truth: Any, at: float = 0.9) -> np.ndarray:
    """Share of true features with a latent of signed cosine above `at`. (...,), 1 is best.

    Usual levels are .9 (Sharkey et al. 2022, for whole dictionaries) and .99. Null: `random_null`, which is 1.00 for 5 features
    in 2 dimensions and 20 latents at .9. Misleads at .9 where true features are closer than that to each other, and where a
    child with a tenth of its parent mixed in (cos .995) counts as found at .99.
    """
    return (cosines(decoder, truth).max(axis=-2) > at).mean(axis=-1)


def uniqueness(decoder: Any, truth: Any) -> np.ndarray:
    """Number of true features that are the best match (|cos|) of some latent, over the number of latents. (...,).

    As in SAELens 6.54. It cannot be 1 with more latents than features, and dead latents are counted among the latents. Null:
    `random_null`, about 1 - 1/e for as many latents as features. Says nothing about how good the matches are.
    """
    best = np.sort(np.abs(cosines(decoder, truth)).argmax(axis=-1), axis=-1)
    return (1 + (np.diff(best, axis=-1) > 0).sum(axis=-1)) / best.shape[-1]


def splitting(decoder: Any, truth: Any, at: float = 0.9) -> np.ndarray:
    """Latents within cosine `at` of a recovered feature, mean over recovered features: 1 = no splitting, NaN = none. (...,).

    Feature splitting (Bricken et al. 2023): several latents of nearly one direction. Null: 1 for a permuted copy of the truth.
    Misleads where true features lie within `at` of each other (a latent then counts for both), and for latents that split a
    feature into directions further apart than `at`.
    """
    near = cosines(decoder, truth) > at
    found = near.any(axis=-2).sum(axis=-1)
    return np.where(found > 0, near.sum(axis=(-2, -1)) / np.maximum(found, 1), np.nan)


def crowding(decoder: Any) -> tuple[np.ndarray, np.ndarray]:
    """(mean, largest) |cos| between the directions of two different latents, dead (zero) ones left out; NaN below two. (...,).

    The mean is c_dec of Chanin and Garriga-Alonso (2508.16560): of SAEs trained at several L0 on correlated features it is
    least near the true L0, since too few latents a sample mix the features that fire together. The largest is the coherence.
    Null: that of the true dictionary, or of random directions, about sqrt(2 / (pi d)) in the mean. Misleads between SAEs of
    different widths, and with true features that are themselves near each other.
    """
    rows = unit_rows(decoder)
    gram = np.abs(rows @ np.swapaxes(rows, -1, -2))
    alive = np.linalg.norm(rows, axis=-1) > 0.5
    pairs = (alive[..., :, None] & alive[..., None, :]) & ~np.eye(rows.shape[-2], dtype=bool)
    count = pairs.sum(axis=(-2, -1))
    total = np.where(pairs, gram, 0)
    none = count == 0
    mean = np.where(none, np.nan, total.sum(axis=(-2, -1)) / np.maximum(count, 1))
    return mean, np.where(none, np.nan, total.max(axis=(-2, -1)))


def pw_mcc(decoders: Any, signed: bool = True) -> float:
    """Mean `mcc` over all pairs of dictionaries (seed, latent, d) trained on the same data with different seeds. 1 = the same.

    PW-MCC, Song et al. 2505.20254 (sign-blind there: signed=False); .80 for TopK on a language model. Needs no truth. Null:
    `random_null(decoders[0], latents)`. Misleads when the architecture or the data lead every seed to the same wrong dictionary
    (hedged or absorbed features agree very well across seeds): agreement is no evidence of truth.
    """
    stack = plain(decoders, "decoders", "seed latent d")
    if len(stack) < 2:
        raise SettingError(f"decoders has {len(stack)} seed: pairs need at least 2")
    return float(np.mean([mcc(stack[i], stack[j], signed) for i, j in combinations(range(len(stack)), 2)]))


def dictionary_scores(decoder: Any, truth: Any) -> dict[str, np.ndarray]:
    """All scores of directions, name -> (...,): those in ADJUSTABLE, then splitting, crowding and coherence.

    The cosines are computed once. See the function of each name for what it means and when it misleads.
    """
    signed = cosines(decoder, truth)
    blind = np.abs(signed)
    best_of_feature, best_of_latent = signed.max(axis=-2), signed.max(axis=-1)
    mean, largest = crowding(decoder)
    matched = assigned_scores(signed)
    return {
        "mcc": matched.mean(axis=-1),
        "mcc_sign_blind": assigned_scores(blind).mean(axis=-1),
        "mcc_features": matched.sum(axis=-1) / signed.shape[-1],
        "mmcs": best_of_feature.mean(axis=-1),
        "mmcs_latents": best_of_latent.mean(axis=-1),
        "recovered_90": (best_of_feature > 0.9).mean(axis=-1),
        "recovered_99": (best_of_feature > 0.99).mean(axis=-1),
        "uniqueness": uniqueness(decoder, truth),
        "splitting": splitting(decoder, truth),
        "crowding": mean,
        "coherence": largest,
    }


def random_null(truth: Any, latents: int, draws: int = DEFAULT_DRAWS, seed: int = 0, pool: Any = None) -> dict[str, float]:
    """Mean of every dictionary score over `draws` random dictionaries of `latents` directions, against this very truth.

    Destroys every relation with the truth, keeps d and the number of latents. Directions are Gaussian, so uniform on the
    sphere; with pool (sample, d) they are rows drawn from it: with activations about their mean as the pool, a dictionary
    that only remembers data. The harder null of the two where samples hold few features.
    """
    rows = plain(truth, "truth", "feature d")
    rng = np.random.default_rng([seed, NULL_STREAM])
    if draws < 1 or latents < 1:
        raise SettingError(f"latents={latents}, draws={draws}: both must be at least 1")
    if pool is None:
        drawn = (rng.standard_normal((latents, rows.shape[-1])) for _ in range(draws))
    else:
        data = plain(pool, "pool", "sample d")
        drawn = (data[rng.choice(len(data), latents, replace=latents > len(data))] for _ in range(draws))
    found = [dictionary_scores(one, rows) for one in drawn]
    return {name: float(np.mean([one[name] for one in found])) for name in ADJUSTABLE}


def adjusted(score: Any, null: float) -> np.ndarray:
    """(score - null) / (1 - null): 0 is chance, 1 is perfect, below 0 is worse than chance; NaN when chance is perfect."""
    value = np.asarray(score, dtype=float)
    return (value - null) / (1 - null) if null < 1 - 1e-9 else np.full(value.shape, np.nan)


def against_random(
    decoder: Any, truth: Any, draws: int = DEFAULT_DRAWS, seed: int = 0, null: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """`dictionary_scores` with `<name>_null` and `<name>_adjusted` for every name in ADJUSTABLE. name -> (...,).

    null: what `random_null` gave, so that many calls with one truth and one number of latents draw it once.
    """
    found = dictionary_scores(decoder, truth)
    if null is None:
        null = random_null(truth, plain(decoder, "decoder", "latent d").shape[-2], draws, seed)
    for name in ADJUSTABLE:
        value = found[name]
        found[f"{name}_null"] = np.full(value.shape, null[name])
        found[f"{name}_adjusted"] = adjusted(value, null[name])
    return found


def panel(
    decoder: Any,
    truth: Any,
    *,
    latents: Any = None,
    features: Any = None,
    x: Any = None,
    reconstruction: Any = None,
    pairs: Sequence[tuple[int, int]] = (),
    threshold: float | str = 0.0,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
    null: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Every score of one dictionary, flat: `<score>`, and where chance is not 0, `<score>_null` and `<score>_adjusted`.

    decoder (latent, d), truth (feature, d). latents (sample, latent) and features (sample, feature), activations of the same
    samples, add the F1 scores, L0 and the share of dead latents; x and reconstruction (sample, d) add explained variance and
    shrinkage. pairs of (parent, child) features add the means over pairs of `failures.mixing` and, with activations, of
    `failures.absorption`. threshold: when a latent counts as on, see `firing.f1_matrix`. null: of `random_null`, to draw it
    only once. Apart stands what needs several SAEs (`pw_mcc`, `hedging_degree`, `nth_decoder_projection`) or other codes
    (`failure_split`).
    """
    if (latents is None) != (features is None) or (x is None) != (reconstruction is None):
        raise SettingError("panel needs latents and features together, and x and reconstruction together")
    if plain(decoder, "decoder", "latent d").ndim != 2:
        raise SettingError("panel scores one decoder (latent, d); against_random takes stacks of them")
    out = {name: float(value) for name, value in against_random(decoder, truth, draws, seed, null).items()}
    if latents is not None:
        found = firing_against_null(latents, features, decoder, truth, threshold=threshold, draws=draws, seed=seed)
        for name in [name for name in found if f"{name}_null" in found]:
            found[f"{name}_adjusted"] = float(adjusted(found[name], found[f"{name}_null"]))
        out |= found
    if x is not None:
        out |= reconstruction_scores(x, reconstruction)
    if pairs:
        out |= _means(mixing(decoder, truth, pairs))
        if latents is not None:
            found = _means(absorption(latents, features, decoder, truth, pairs))
            out |= {"absorption_hole": found["hole"], "absorption_hole_null": found["null"], "absorbed": found["absorbed"]}
    return out


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    known = {name: [row[name] for row in rows if np.isfinite(row[name])] for name in rows[0]}
    return {name: float(np.mean(values)) if values else float("nan") for name, values in known.items()}
