"""Which latent stands for which feature: cosines of two dictionaries, one-to-one matching, and plain arrays from tensors.

Rows are directions: decoder (..., latent, d), truth (feature, d). Arrays, tensors and nested lists are taken alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from superscope.errors import SettingError


def plain(array: Any, name: str, axes: str) -> np.ndarray:
    """`array` as float NumPy (float32 stays, all else becomes float64); SettingError when axes are missing or not finite.

    axes: the names of the last axes, for instance "latent d"; more leading axes are allowed.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    out = np.asarray(array)
    out = out if out.dtype == np.float32 else out.astype(np.float64)
    wanted = axes.split()
    if out.ndim < len(wanted) or 0 in out.shape[-len(wanted) :]:
        raise SettingError(f"{name} has shape {out.shape}: expected ({', '.join(['...', *wanted])}), none of them empty")
    if not np.isfinite(out).all():
        raise SettingError(
            f"{name} holds {int((~np.isfinite(out)).sum())} values that are not finite; look at the training first"
        )
    return out


def unit_rows(array: Any, name: str = "decoder") -> np.ndarray:
    """(..., row, d) float64 with rows of length 1; a row that is zero (a dead latent) stays zero."""
    rows = plain(array, name, "row d").astype(np.float64)
    largest = np.abs(rows).max(axis=-1, keepdims=True)
    rows = rows / np.where(largest > 0, largest, 1)  # so that tiny rows do not underflow in their norm
    norm = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norm > 0, norm, 1)


def cosines(decoder: Any, truth: Any) -> np.ndarray:
    """(..., latent, feature) cosine of every latent's direction with every true one; 0 for rows that are zero."""
    a, b = unit_rows(decoder, "decoder"), unit_rows(truth, "truth")
    if a.shape[-1] != b.shape[-1]:
        raise SettingError(f"decoder has {a.shape[-1]} dimensions and truth {b.shape[-1]}: they describe different spaces")
    return a @ np.swapaxes(b, -1, -2)


def assigned(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(latents, features), both (min(latent, feature),): the one-to-one matching of (latent, feature) scores of largest sum."""
    return linear_sum_assignment(scores, maximize=True)


def assigned_scores(scores: np.ndarray) -> np.ndarray:
    """(..., min(latent, feature)) scores of the matched pairs, for every matrix of a stack."""
    flat = scores.reshape(-1, *scores.shape[-2:])
    found = np.stack([one[assigned(one)] for one in flat])
    return found.reshape(*scores.shape[:-2], -1)


def own_latents(decoder: Any, truth: Any) -> np.ndarray:
    """(feature,) the latent that stands for each feature: the matched one, unless another is more than twice as close.

    Matched one-to-one by signed cosines, since the nearest latent may be a child's: a latent of child + parent is as near to
    the parent as the parent's own, when that is bent to a grandparent. Features left over, and those whose match is a
    makeshift, have the nearest latent; two features may then share one.
    """
    found = cosines(decoder, truth)
    out = found.argmax(axis=-2)
    latent, feature = assigned(found)
    good = found[latent, feature] > found[out[feature], feature] / 2
    out[feature[good]] = latent[good]
    return out
