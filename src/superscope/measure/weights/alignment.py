"""Is the basis of the hidden layer special? Participation ratio and kurtosis, against rotations of the same W."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from superscope.measure.weights._arrays import to_numpy, unwrap
from superscope.measure.weights.nulls import haar_rotations


def _ratio(values: np.ndarray) -> np.ndarray:
    """(sum_k w^2)^2 / sum_k w^4 over axis -2, NaN for zero vectors; scaled first, or fourth powers underflow."""
    size = np.abs(values).max(axis=-2, keepdims=True)
    scaled = values / np.where(size > 0, size, np.nan)
    return (scaled**2).sum(-2) ** 2 / (scaled**4).sum(-2)


def _rotated_ratios(unit: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Mean PR of unit directions (m, n) under each rotation (draw, m, m) -> (draw,): norms stay 1, so PR = 1 / sum w^4."""
    m, n = unit.shape
    chunk = max(1, 250_000 // unit.size)  # the rotated directions stay in the cache
    found = []
    for k in range(0, len(rotations), chunk):
        square = (rotations[k : k + chunk].reshape(-1, m) @ unit) ** 2
        found.append((1 / np.einsum("rki,rki->ri", *2 * [square.reshape(-1, m, n)])).mean(-1))
    return np.concatenate(found)


def participation_ratio(W):
    """PR_i = (sum_k W_ki^2)^2 / sum_k W_ki^4: over how many neurons feature i is spread, in [1, m]. -> (..., feature).

    The inverse of the normalised fourth power that Lecomte et al. penalise. A feature with W_i = 0 gives NaN. Under a
    random rotation its mean is about `participation_ratio_null(m)`. Sees one feature at a time: features on disjoint
    supports of several neurons each are privileged and still have PR > 1, hence `basis_alignment`.
    """
    w = unwrap(W)
    return w.wrap(w.blank(_ratio(w.values)), ("feature",), "participation_ratio")


def participation_ratio_null(m):
    """(m+2)/3: 1 / E[sum_k u_k^4] for u uniform on the sphere in m dimensions.

    By Jensen a lower bound on the mean PR: the true one is 6% higher at m=2 (sqrt 2) and m=20, 10% at m=5 to 10, 2% at
    m=100. So an axis to draw, not a null to test against: `basis_alignment` samples the real one.
    """
    return (np.asarray(m, dtype=float) + 2) / 3


def weight_kurtosis(W):
    """Kurtosis about the mean of all entries of W, E[(w-mean)^4]/Var^2; 3 = Gaussian. (..., hidden, feature) -> (...).

    High when few entries are large: an aligned basis, but also features dropped to zero or of unequal norm, so compare
    with `nulls.compare(weight_kurtosis, W, "rotation")` and not with 3.
    """
    w = unwrap(W)
    result = np.full(w.values.shape[:-2], np.nan)
    for index, matrix, _ in w.models():
        centred = matrix - matrix.mean() if matrix.size else np.zeros(1)
        variance = (centred**2).mean()
        result[index] = (centred**4).mean() / variance**2 if variance > 0 else np.nan
    return w.wrap(result, (), "weight_kurtosis")


def activation_kurtosis(hidden):
    """Kurtosis of a hidden vector over its neurons, m sum_k h_k^4 / (sum_k h_k^2)^2, mean over non-zero samples.

    hidden (..., sample, hidden), array or tensor -> (...). Elhage et al. 2023 (Privileged Bases in the Transformer
    Residual Stream): 3 if isotropic and m large; exactly 3m/(m+2) for a uniformly random direction in m dimensions,
    the null to use when m is small. Taken per sample over neurons and about zero, because kurtosis of one neuron over
    samples is high for any sparse input, whatever the basis. m for one-hot vectors, 1 for equal magnitudes.
    """
    h = to_numpy(hidden)
    if h.ndim < 2:
        raise ValueError(f"hidden has shape {h.shape}: expected (..., sample, hidden)")
    with np.errstate(invalid="ignore"):
        ratio = h.shape[-1] / _ratio(np.swapaxes(h, -1, -2))
    used = ~np.isnan(ratio)
    count = used.sum(-1)
    return np.where(count > 0, np.where(used, ratio, 0).sum(-1) / np.maximum(count, 1), np.nan)[()]


@dataclass(frozen=True)
class BasisAlignment:
    """Mean participation ratio against Haar rotations of the same W; each field has the leading dims of W.

    z < 0: fewer neurons per feature than a random basis, axis-aligned. z > 0: spread out, the opposite privilege. A mean hides
    mixtures: a quarter aligned and three quarters spread have z = +18 in 16 dimensions; see `basis_shares`.
    """

    z: Any
    value: Any
    null_mean: Any
    null_sd: Any


def basis_alignment(W, rotations: int = 1000, seed: int = 0, threshold: float = 0.5) -> BasisAlignment:
    """z of each model's mean PR over represented features (||W_i|| > threshold) against `rotations` rotations of its W.

    Rotating W changes neither the Gram matrix nor, without a hidden nonlinearity or dropout, the loss: so the null is
    exactly "the same solution in a basis that means nothing". Models with the same number of hidden units share the
    rotations. NaN where nothing is represented or m = 1 (PR is then always 1). The z of few features in few
    dimensions is skewed and bounded: perfectly aligned digons have z = -1.2 in m=2, -2.2 in m=3, -4.0 in m=5. Do not
    read it as a normal deviate there, nor ask for |z| > 5.
    """
    if rotations < 2:
        raise ValueError(f"rotations={rotations}: expected at least 2, since a null needs a spread")
    w = unwrap(W)
    value, mean, sd = (np.full(w.values.shape[:-2], np.nan) for _ in range(3))
    drawn: dict[int, np.ndarray] = {}
    for index, matrix, _ in w.models():
        kept = matrix[:, np.linalg.norm(matrix, axis=0) > threshold]
        m = len(kept)
        if kept.size == 0:
            continue
        if m not in drawn:
            drawn[m] = haar_rotations(m, rotations, seed)
        value[index] = _ratio(kept).mean()
        null = _rotated_ratios(kept / np.linalg.norm(kept, axis=0), drawn[m])
        mean[index], sd[index] = null.mean(), null.std(ddof=1)
    varies = sd > 1e-9
    z = np.where(varies, (value - mean) / np.where(varies, sd, 1), np.nan)
    fields = {"z": z, "value": value, "null_mean": mean, "null_sd": sd}
    return BasisAlignment(**{name: w.wrap(field, (), name) for name, field in fields.items()})


@dataclass(frozen=True)
class BasisShares:
    """Shares of represented features; each field has the leading dims of W.

    aligned, spread: on fewer, or on more, neurons than `level` of random directions are. Null: `level` each.
    """

    aligned: Any
    spread: Any


def basis_shares(W, level: float = 0.01, draws: int = 20_000, seed: int = 0, threshold: float = 0.5) -> BasisShares:
    """Which features are aligned with the neurons, and which are spread over them, feature by feature.

    A feature's participation ratio is held against that of `draws` uniformly random directions in as many dimensions. Sees
    mixtures, which `basis_alignment` cannot. Represented: ||W_i|| above `threshold` times the largest norm of the model, so
    that small weights do not give NaN. Misleads in two or three dimensions, where a random direction is often nearly aligned.
    """
    if not 0 < level < 0.5:
        raise ValueError(f"level={level!r}: expected between 0 and 0.5, the share of random directions that count")
    w = unwrap(W)
    aligned, spread = (np.full(w.values.shape[:-2], np.nan) for _ in range(2))
    ends: dict[int, np.ndarray] = {}
    for index, matrix, _ in w.models():
        norm = np.linalg.norm(matrix, axis=0)
        kept = matrix[:, norm > threshold * norm.max(initial=0)] if norm.size else matrix
        m = len(kept)
        if kept.size == 0:
            continue
        if m not in ends:
            random = np.random.default_rng([seed, m]).standard_normal((m, draws))
            ends[m] = np.quantile(_ratio(random), [level, 1 - level])
        ratio = _ratio(kept)
        aligned[index], spread[index] = (ratio < ends[m][0]).mean(), (ratio > ends[m][1]).mean()
    return BasisShares(w.wrap(aligned, (), "aligned"), w.wrap(spread, (), "spread"))
