"""How much features get in each other's way, and when: cosines of W, the loss split by number of active features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superscope.measure.weights._arrays import Directions, to_numpy, unwrap
from superscope.measure.weights.dimensionality import _norms, overlaps


def _unit(w: Directions) -> np.ndarray:
    """What: columns of W at norm 1, zero columns left at zero."""
    norm = _norms(w)[..., None, :]
    return np.divide(w.values, norm, out=np.zeros_like(w.values), where=norm != 0)


def _kept(w: Directions, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit directions (..., hidden, feature) with unrepresented features at 0, and the mask of represented ones."""
    keep = _norms(w) > threshold
    return np.where(keep[..., None, :], _unit(w), 0.0), keep


def interference_matrix(W):
    """What_i . W_j for i != j, zero diagonal: what feature j writes onto the direction of feature i (TMS).

    (..., hidden, feature) -> (..., feature, other). Signed: a ReLU output with a small negative bias forgives the
    negative entries. Null: `nulls.compare(lambda W: (interference_matrix(W)**2).sum(), W, "directions")`.
    """
    w = unwrap(W)
    matrix = np.swapaxes(_unit(w), -1, -2) @ w.values
    matrix = matrix * (1 - np.eye(matrix.shape[-1]))
    there = w.features[..., :, None] & w.features[..., None, :]
    return w.wrap(np.where(there, matrix, np.nan), ("feature", "other"), "interference")


def superposition_of(W):
    """sum_{j != i} (What_i . W_j)^2: how much feature i shares its direction, 0 = alone (TMS). -> (..., feature).

    Grows with the norms of the others; D_i is the version that does not. Null: as for `dimensionality`.
    """
    w = unwrap(W)
    own, shared = overlaps(w.values)
    others = np.divide(shared, own, out=np.zeros_like(own), where=own != 0) - own
    return w.wrap(w.blank(np.maximum(others, 0)), ("feature",), "superposition")


def frame_potential(W, threshold: float = 0.5):
    """sum_ij cos^2(W_i, W_j) over represented features (norm > threshold). (..., hidden, feature) -> (...).

    Benedetto & Fickus 2003: at least `frame_potential_bound(n, m)`, attained exactly by tight frames (and by
    orthonormal sets when n <= m). Ignores norms and importance, so an unequal optimum looks worse than it is. Null:
    `nulls.compare(frame_potential, W, "directions")`.
    """
    w = unwrap(W)
    unit, _ = _kept(w, threshold)
    frame = unit @ np.swapaxes(unit, -1, -2)  # ||U U^T||_F = ||U^T U||_F, and m < n
    return w.wrap(w.blank_model((frame**2).sum(axis=(-2, -1))), (), "frame_potential")


def frame_potential_bound(n_features, n_hidden):
    """Smallest frame potential of n unit vectors in m dimensions: n^2/m if n >= m, else n."""
    n, m = np.asarray(n_features, dtype=float), np.asarray(n_hidden, dtype=float)
    return np.maximum(n, n**2 / m)


def coherence(W, threshold: float = 0.5):
    """max_{i != j} |cos(W_i, W_j)| over represented features; NaN with fewer than two. (..., hidden, feature) -> (...).

    At least `welch_bound(n, m)`. A worst case: one digon makes it 1 however good the rest is. Null:
    "directions".
    """
    w = unwrap(W)
    unit, keep = _kept(w, threshold)
    cosines = np.swapaxes(unit, -1, -2) @ unit
    worst = np.abs(cosines * (1 - np.eye(cosines.shape[-1]))).max(axis=(-2, -1))
    return w.wrap(w.blank_model(np.where(keep.sum(-1) >= 2, worst, np.nan)), (), "coherence")


def welch_bound(n_features, n_hidden):
    """sqrt((n-m) / (m (n-1))), 0 for n <= m: the least coherence of n unit vectors in m dimensions (Welch 1974).

    Attained only by equiangular tight frames, which need n <= m(m+1)/2.
    """
    n, m = np.asarray(n_features, dtype=float), np.asarray(n_hidden, dtype=float)
    return np.sqrt(np.maximum(n - m, 0) / (m * np.maximum(n - 1, 1)))


@dataclass(frozen=True)
class ActiveLoss:
    """Expected loss by number k of active features; `...` are the leading dims of y_hat.

    active (K,): the values of k that occur; share (K,): their probability; absent (..., K) and present (..., K): mean
    loss, given k, on features that are off and on.
    """

    active: np.ndarray
    share: np.ndarray
    absent: np.ndarray
    present: np.ndarray

    @property
    def loss(self) -> np.ndarray:
        """Mean loss given k, (..., K)."""
        return self.absent + self.present

    @property
    def total(self) -> np.ndarray:
        """Expected loss over all k, (...)."""
        return (self.share * self.loss).sum(-1)

    def parts(self) -> dict[str, np.ndarray]:
        """Shares of `total`, summing to it: "none on", "own" (the one feature on is wrong), "alternating" (one on,
        the others answer), "simultaneous" (two or more on; their own error and the others')."""
        none, one, more = (self.active == 0), (self.active == 1), (self.active >= 2)
        return {
            "none on": (self.share * self.loss * none).sum(-1),
            "own": (self.share * self.present * one).sum(-1),
            "alternating": (self.share * self.absent * one).sum(-1),
            "simultaneous": (self.share * self.loss * more).sum(-1),
        }


def loss_by_active(x, y_hat, importance=1.0, weights=None, target=None) -> ActiveLoss:
    """Split the loss sum_i I_i (t_i - y_i)^2 by how many features of x are on (x != 0).

    x (sample, feature); y_hat (..., sample, feature), plain arrays or tensors; target like x, default x;
    importance a number or (feature,); weights (sample,), the probability of each sample when sampling was stratified
    (any scale), default equal. Conditional means given k, so rare many-active samples are not drowned; with few
    samples of some k its mean is noisy. Null: an orthonormal W has no alternating and no simultaneous part.
    """
    x, y = to_numpy(x), to_numpy(y_hat)
    if x.ndim != 2 or y.shape[-2:] != x.shape:
        raise ValueError(f"x has shape {x.shape} and y_hat {y.shape}: expected (sample, feature), (..., sample, feature)")
    truth = x if target is None else to_numpy(target)
    if truth.shape != x.shape:
        raise ValueError(f"target has shape {truth.shape}: expected that of x, {x.shape}")
    weight = np.ones(len(x)) if weights is None else to_numpy(weights)
    if weight.shape != (len(x),) or (weight < 0).any() or not weight.sum() > 0:
        raise ValueError(f"weights has shape {weight.shape}: expected ({len(x)},), non-negative, not all 0")
    error = np.broadcast_to(to_numpy(importance), x.shape[1:]) * (truth - y) ** 2
    on = x != 0
    count = on.sum(1)
    active = np.unique(count[weight > 0])
    member = (count[:, None] == active) * weight[:, None]  # (sample, K)
    mass = member.sum(0)
    absent = (error * ~on).sum(-1) @ member / mass
    present = (error * on).sum(-1) @ member / mass
    return ActiveLoss(active, mass / weight.sum(), absent, present)
