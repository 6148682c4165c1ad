"""In which way a dictionary is wrong: too sparse, hedged, absorbed, or right with an encoder that does not use it.

decoder (latent, d), truth (feature, d), latents (sample, latent), features (sample, feature), x (sample, d). pairs: (parent,
child) numbers of true features, where a child is on only if its parent is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from superscope.errors import SettingError
from superscope.recover.decoders import ista
from superscope.recover.sae.firing import NULL_STREAM, explained_variance, f1_matrix, l0
from superscope.recover.sae.matching import assigned, assigned_scores, cosines, own_latents, plain, unit_rows

FEW = 20  # samples below which a conditional rate is not given


def nth_decoder_projection(x: Any, decoder: Any, n: float, bias: Any = None) -> float:
    """The value at rank n * samples of all projections (x - bias) . w_j on unit decoder rows, largest first: s_n^dec.

    Chanin and Garriga-Alonso 2508.16560: among SAEs of one width trained at several L0 it is least near the true L0. Latents
    that mix correlated features project on what they should not, which lifts the n-th projection. n lies above the true L0,
    at most at half the latents: use several and look for agreement. Null: the same n with the true dictionary, the least that
    is expected. Also without correlations the minimum lies near the true L0. Misleads between widths, with dead latents
    (their rows still project), with n below the true L0, where it rises with a better dictionary, and for ONE feature mixed
    in with a negative sign, which lowers projections instead: it is mixing of both signs that it sees.
    """
    data, rows = plain(x, "x", "sample d").astype(np.float64), unit_rows(decoder)
    if not 0 < n < len(rows):
        raise SettingError(f"n={n}: expected more than 0 and less than {len(rows)}, the number of latents")
    if bias is not None:
        data = data - plain(bias, "bias", "d")
    values = (data @ rows.T).ravel()
    place = int(n * len(data))
    return float(-np.partition(-values, place)[place])


def hedging_degree(before: Any, after: Any, draws: int = 50, seed: int = 0) -> float:
    """How far latents turn away from what newly added latents take over: 0 = they had not hedged, towards 1 = they had.

    h = max(0, (p - p0) / (1 - p0)), Chanin et al. 2505.11756. before (w, d) and after (w + N, d): decoder rows of an SAE and of
    the same SAE trained on with N more latents, which come last; lengths are ignored. p: mean length of the part of
    after[:w] - before in the span of the N new rows; p0, the null: the same with N random rows, mean over `draws`.
    Misleads when the old latents move for another reason (training was not over: train a control as long without adding), and
    with N near d, where every span holds everything.
    """
    old, new = unit_rows(before, "before"), unit_rows(after, "after")
    if old.shape[-1] != new.shape[-1] or len(new) <= len(old):
        raise SettingError(f"before {old.shape} and after {new.shape}: expected the same d and more latents after")
    delta, added = new[: len(old)] - old, new[len(old) :]
    rng = np.random.default_rng([seed, NULL_STREAM])

    def inside(span: np.ndarray) -> float:
        _, size, basis = np.linalg.svd(span, full_matrices=False)
        basis = basis[size > 1e-9 * max(float(size.max()), 1e-300)]
        return float(np.linalg.norm(delta @ basis.T, axis=1).mean())

    chance = float(np.mean([inside(rng.standard_normal(added.shape)) for _ in range(draws)]))
    return max(0.0, (inside(added) - chance) / (1 - chance)) if chance < 1 - 1e-9 else 0.0


def mixing(decoder: Any, truth: Any, pairs: Iterable[tuple[int, int]]) -> list[dict[str, float]]:
    """Of each (parent, child): how much of the one lies in the latent of the other, in cosines above that of the truth itself.

    child_in_parent = cos(w_p, t_c) - cos(t_p, t_c), parent_in_child = cos(w_c, t_p) - cos(t_p, t_c). w_p and w_c are the
    latents that stand for the parent and for the child (`own_latents`). Hedging (2505.11756) shows as the first: one latent for
    a parent and a child of conditional rate .2 has .23, the top eigenvector of E[x x^T | parent]. Absorption (2409.14507) shows
    as the second: .71, the direction of child + parent. own_latents: 1.0 when they are two latents, else 0.0 and
    parent_in_child is NaN. Null: 0 for a perfect dictionary, spread 1 / sqrt(d) for one that has neither. Misleads when
    neither feature has a latent near it: read parent_cos and child_cos beside it.
    """
    found, base = cosines(decoder, truth), cosines(truth, truth)
    own = own_latents(decoder, truth)
    rows = []
    for parent, child in pairs:
        p, c, between = own[parent], own[child], base[parent, child]
        rows.append(
            {
                "parent_cos": float(found[p, parent]),
                "child_cos": float(found[c, child]),
                "child_in_parent": float(found[p, child] - between),
                "parent_in_child": float(found[c, parent] - between) if p != c else float("nan"),
                "own_latents": float(p != c),
            }
        )
    return rows


def absorption(
    latents: Any, features: Any, decoder: Any, truth: Any, pairs: Sequence[tuple[int, int]]
) -> list[dict[str, float]]:
    """Of each (parent, child): does the parent's latent stay off where the child is on? (Chanin et al. 2409.14507.)

    hole = 1 - P(w_p on | parent, child) / P(w_p on | parent, not child): 0 without absorption, 1 when the child's latent has
    taken the parent over. null: the same hole with ANOTHER feature in the child's place, in samples without the child, mean
    over the features that are no child of this parent and have samples enough: what any companion costs the latent (top-k).
    absorbed: share of samples with both on in which w_p is off and a latent is on that points to the child and has a cosine
    above .1 with the parent beyond cos(parent, child): the projection rule of SAEBench in short. On = above 0.
    NaN with fewer than 20 samples of a kind, or when w_p never fires. Misleads when w_p is not a latent of the parent at
    all (see `mixing`), and for children that are on with their parent nearly always.
    """
    a, b = plain(latents, "latents", "sample latent") > 0, plain(features, "features", "sample feature") > 0
    found, base, own = cosines(decoder, truth), cosines(truth, truth), own_latents(decoder, truth)

    def hole(on: np.ndarray, mark: np.ndarray) -> float:
        if mark.sum() < FEW or (~mark).sum() < FEW or not on[~mark].any():
            return float("nan")
        return float(1 - on[mark].mean() / on[~mark].mean())

    rows = []
    for parent, child in pairs:
        here = b[:, parent]
        on, true = a[here, own[parent]], b[here]
        mark = true[:, child]
        free = np.flatnonzero(~mark)  # where the child is off, so that its own hole is not counted
        family = {parent, *(one for above, one in pairs if above == parent)}
        others = [hole(on[free], true[free, k]) for k in range(true.shape[1]) if k not in family]
        known = [value for value in others if np.isfinite(value)]
        beyond = found[:, parent] - base[parent, child] > 0.1
        carriers = beyond & (found[:, child] > 0.1) & (np.arange(len(found)) != own[parent])
        both = np.flatnonzero(mark)
        missing = ~on[both] & a[here][both][:, carriers].any(axis=1)
        rows.append(
            {
                "hole": hole(on, mark),
                "null": float(np.mean(known)) if known else float("nan"),
                "absorbed": float(missing.mean()) if len(both) >= FEW else float("nan"),
                "samples": float(len(both)),
            }
        )
    return rows


def fista_at_l0(dictionary: Any, x: Any, target: float, steps: int = 100, probe: int = 256) -> tuple[np.ndarray, float]:
    """(codes (sample, row), penalty): FISTA on unit rows of `dictionary`, its L1 penalty chosen to give `target` mean L0.

    The penalty is found by bisection in the logarithm on the first `probe` samples. Codes are of unit rows, and shrunk.
    """
    rows, data = unit_rows(dictionary, "dictionary"), plain(x, "x", "sample d").astype(np.float64)
    few = data[:probe]
    high = float(max((few @ rows.T).max(), 1e-12))  # nothing is on above it
    low = high * 1e-5
    for _ in range(10):
        middle = float(np.sqrt(low * high))
        if l0(ista(rows.T, few, middle, steps) > 1e-6) > target:
            low = middle
        else:
            high = middle
    penalty = float(np.sqrt(low * high))
    codes = ista(rows.T, data, penalty, steps)
    return np.where(codes > 1e-6, codes, 0.0), penalty


def failure_split(
    x: Any,
    truth: Any,
    features: Any,
    decoder: Any,
    latents: Any,
    *,
    bias: Any = None,
    truth_bias: Any = None,
    codes_on_truth: Any = None,
    target: float | None = None,
    steps: int = 100,
) -> dict[str, float]:
    """Which is at fault, dictionary or encoder? {truth, learned} dictionary x {encoder, fista}: F1 and explained variance.

    Barin-Pacela et al. 2603.28744 (there the dictionary). Keys "<dictionary>_<encoder>_f1" and "..._ev". f1: the one-to-one F1
    over true features of `firing`; ev: about the mean. learned_encoder: the SAE as it is. learned_fista, truth_fista: codes
    by FISTA at mean L0 `target`, by default that of the true activations, so that no dictionary wins by being denser.
    truth_encoder: `codes_on_truth` (sample, feature), of an encoder trained with its decoder held at the truth; without
    them the SAE's own activations, carried to their matched features (Hungarian on cosines) with the one gain that fits
    x best: an estimate from below. bias, truth_bias (d,): taken off x before coding and added to what is decoded.
    dictionary_gap = truth_fista_f1 - learned_fista_f1, encoder_gap = learned_fista_f1 - learned_encoder_f1.
    Null: a random dictionary; of 30 features in 20 dimensions it has learned_fista_f1 .37 where the truth has .96. Misleads
    when L1 cannot decode the truth either (truth_fista_f1 well below 1: look there first); ev of FISTA is lowered by
    shrinkage; an encoder gap may be a wrong threshold only, see `f1_matrix` with "best".
    """
    data, true = plain(x, "x", "sample d").astype(np.float64), plain(features, "features", "sample feature")
    a = plain(latents, "latents", "sample latent").astype(np.float64)
    seen = (true > 0).any(axis=0)
    level = l0(true) if target is None else target
    zero = np.zeros(data.shape[1])
    learned_bias = zero if bias is None else plain(bias, "bias", "d")
    true_bias = zero if truth_bias is None else plain(truth_bias, "truth_bias", "d")
    rows, raw = unit_rows(truth, "truth"), plain(decoder, "decoder", "latent d").astype(np.float64)

    def score(codes: np.ndarray, dictionary: np.ndarray, offset: np.ndarray) -> tuple[float, float]:
        f1 = f1_matrix(codes, true)[:, seen]
        return float(assigned_scores(f1).sum() / max(int(seen.sum()), 1)), explained_variance(data, codes @ dictionary + offset)

    cells = {"learned_encoder": score(a, raw, learned_bias)}
    codes, _ = fista_at_l0(raw, data - learned_bias, level, steps)
    cells["learned_fista"] = score(codes, unit_rows(raw), learned_bias)
    if codes_on_truth is None:
        latent, feature = assigned(cosines(raw, truth))
        carried = np.zeros(true.shape)
        carried[:, feature] = a[:, latent] * np.linalg.norm(raw[latent], axis=1)
        made = carried @ rows
        gain = float((made * (data - true_bias)).sum() / max(float((made**2).sum()), 1e-300))
        carried *= max(gain, 0.0)
    else:
        carried = plain(codes_on_truth, "codes_on_truth", "sample feature").astype(np.float64)
    cells["truth_encoder"] = score(carried, rows, true_bias)
    codes, _ = fista_at_l0(rows, data - true_bias, level, steps)
    cells["truth_fista"] = score(codes, rows, true_bias)
    out = {f"{cell}_{name}": value for cell, pair in cells.items() for name, value in zip(("f1", "ev"), pair, strict=True)}
    out["dictionary_gap"] = out["truth_fista_f1"] - out["learned_fista_f1"]
    out["encoder_gap"] = out["learned_fista_f1"] - out["learned_encoder_f1"]
    return out
