"""How many dimensions features get, and how many features are there at all.

W has shape (..., hidden, feature); W[:, i] = W_i is the direction of feature i. Padding (NaN) is ignored.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from superscope.errors import SettingError, choice
from superscope.measure.weights._arrays import Directions, align, unwrap

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda z: np.maximum(z, 0),
    "linear": lambda z: z,
    "identity": lambda z: z,  # as the toys call it
    "abs": np.abs,
}


def _norms(w: Directions) -> np.ndarray:
    return np.sqrt(np.einsum("...hi,...hi->...i", w.values, w.values))


def overlaps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """||W_i||^2 and sum_j (W_i.W_j)^2 = W_i^T (W W^T) W_i, (..., feature): needs no feature-by-feature matrix."""
    frame = values @ np.swapaxes(values, -1, -2)
    return np.einsum("...hi,...hi->...i", values, values), np.einsum("...hi,...hi->...i", values, frame @ values)


def norms(W):
    """||W_i||: (..., hidden, feature) -> (..., feature)."""
    w = unwrap(W)
    return w.wrap(w.blank(_norms(w)), ("feature",), "norm")


def dimensionality(W):
    """Fraction of a dimension that each feature has: D_i = ||W_i||^2 / sum_j (What_i . W_j)^2, in [0, 1].

    (..., hidden, feature) -> (..., feature). Source: TMS, "feature dimensionality". It is the same number as the
    capacity C_i = (W_i.W_i)^2 / sum_j (W_i.W_j)^2 of Scherlis et al. 2022 (arXiv 2210.01892), so `capacity` is this
    function. Sum_i D_i <= rank W, with equality iff W splits into mutually orthogonal tight frames.

    Assumes that interference matters equally in all directions and at both signs: a ReLU output forgives negative
    interference, and D_i does not know that. A feature with W_i = 0 gets 0. Misleads for features of tiny norm (their
    D_i is noise: mask with `represented`), and a plateau such as 1/2 does not prove a digon: check `geometry`.
    Null: `nulls.compare(dimensionality, W, "directions")`.
    """
    w = unwrap(W)
    size = np.abs(w.values).max(axis=(-2, -1), keepdims=True)  # D is scale free; avoids underflow of fourth powers
    values = w.values / np.where(size > 0, size, 1)
    own, shared = overlaps(values)
    result = np.where(shared > 0, own**2 / np.where(shared > 0, shared, 1), np.where(np.isnan(shared), np.nan, 0.0))
    return w.wrap(w.blank(result), ("feature",), "dimensionality")


capacity = dimensionality  # Scherlis et al. define the same number; one function, two names


def dims_per_feature(W):
    """D* = m / ||W||_F^2: hidden dimensions per represented feature (TMS). (..., hidden, feature) -> (...).

    The trap: ||W||_F^2 counts features only while every represented feature has norm near 1. Binary and U[0.5, 1]
    values want ||W_i|| > 1 (best pentagon 1.20, hexagon sqrt 2, 12-gon 2.73) and even U[0,1] wants 1.17, so D* then
    reports more features than exist; weight decay does the opposite. Print `norm_capped_count`, `features_represented`
    or `features_recovered` beside it. W = 0 gives inf. Depends on norms alone, so nulls of the directions say nothing
    about it; the comparison to make is a dense or linear network.
    """
    w = unwrap(W)
    total = np.einsum("...hi,...hi->...", w.values, w.values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return w.wrap(w.n_hidden / total, (), "dims_per_feature")


def norm_capped_count(W):
    """sum_i min(||W_i||, 1)^2: the count behind D*, with no feature counted more than once. -> (...).

    Still an undercount of features whose norm is below 1 for reasons other than being dropped (weight decay).
    """
    w = unwrap(W)
    return w.wrap(w.blank_model((np.minimum(_norms(w), 1) ** 2).sum(-1)), (), "norm_capped_count")


def represented(W, threshold: float = 0.5):
    """Which features have ||W_i|| > threshold (bool, (..., feature)); padding is False.

    Norm-based, so it assumes tied weights near unit scale. Trained norms are bimodal in the sparse regime (0 or about
    1) and the threshold does not matter; near a phase boundary they are not and it does.
    """
    w = unwrap(W)
    return w.wrap(w.features & (_norms(w) > threshold), ("feature",), "represented")


def features_represented(W, threshold: float = 0.5):
    """Number of features with ||W_i|| > threshold, assumptions as for `represented`. (..., hidden, feature) -> (...)"""
    w = unwrap(W)
    return w.wrap(w.blank_model((w.features & (_norms(w) > threshold)).sum(-1)), (), "features_represented")


def responses(W, b, W_out=None, activation: str | Callable = "relu", value: float = 1.0):
    """Output i when feature i alone is on: y_i(value e_i) = act(value W_out_i . W_i + b_i). -> (..., feature).

    b: (..., feature), a number or None. W_out: (..., feature, hidden), None if tied to W. activation: "relu", "linear"
    (or "identity"), "abs" or a function on arrays. The hidden layer is taken as linear.
    """
    w = unwrap(W)
    if isinstance(activation, str):
        activation = ACTIVATIONS[choice("activation", activation, ACTIVATIONS)]
    if not callable(activation):
        raise SettingError(f"activation={activation!r}: give a name ({', '.join(ACTIVATIONS)}) or a function")
    read = w.values if W_out is None else np.swapaxes(align(W_out, w, ("feature", "hidden"), "W_out"), -1, -2)
    own = np.einsum("...hi,...hi->...i", read, w.values)
    result = activation(value * own + align(b, w, ("feature",), "b"))
    return w.wrap(w.blank(result), ("feature",), "response")


def features_recovered(W, b, W_out=None, activation: str | Callable = "relu", value=1.0, tolerance: float = 0.2):
    """Number of features whose response to being on alone is within `tolerance` of the truth: |y_i - v| <= tol v.

    Behavioural, so it holds for untied weights and for any norm. It sees no interference at all: a network may recover
    each feature alone and confuse every pair. (..., hidden, feature) -> (...).
    """
    y = responses(W, b, W_out, activation, value)
    hit = np.abs(np.asarray(y) - value) <= tolerance * abs(value)  # NaN (padding) compares False
    w = unwrap(W)
    return w.wrap(w.blank_model(hit.sum(-1)), (), "features_recovered")
