"""Superposition from activations alone: more directions than dimensions.

A sparse non-negative feature that is on alone puts the activation on a ray, whatever its value. Without superposition m
dimensions hold at most m such rays; with it they hold more. Counting rays needs neither weights nor a dictionary, only inputs
sparse enough that features are sometimes alone. Non-Gaussianity is not the same thing: sparse features without superposition
are as far from Gaussian as any.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superscope.errors import SettingError, real

FEWEST = 4  # samples on a ray, whatever the level


@dataclass(frozen=True)
class Rays:
    """Rays that pass the level, heaviest first: direction (count, m) of unit length, share (count,) of the activations on each.

    p: sorted p-values of everything tried, the rays' included.
    """

    direction: np.ndarray
    share: np.ndarray
    p: np.ndarray

    def __len__(self) -> int:
        return len(self.share)

    @property
    def effective(self) -> float:
        """exp of the entropy of the shares: a count that light rays enter with less weight; 0 without rays."""
        if not len(self):
            return 0.0
        q = self.share / self.share.sum()
        return float(np.exp(-(q * np.log(q)).sum()))


def _samples(h) -> np.ndarray:
    """Activations (samples, m) float32; nothing, or what is not finite, has no rays to count and is refused."""
    try:
        h = np.asarray(h.detach().cpu().float() if hasattr(h, "detach") else h, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise SettingError(f"activations {h!r:.60}: not an array of numbers ({error})") from None
    if h.ndim != 2 or 0 in h.shape:
        raise SettingError(f"activations of shape {h.shape}: give (samples, m), at least one of each")
    if not np.isfinite(h).all():
        raise SettingError(f"activations hold {int((~np.isfinite(h)).sum())} values that are not finite: nothing to count")
    if not h.any():
        raise SettingError("activations are all 0: nothing is on, so there is nothing to count")
    return h


def rays(h: np.ndarray, cosine: float = 0.99, level: float = 0.05, quiet: float = 0.1) -> Rays:
    """Rays in activations h (samples, m), origin = "nothing is on".

    Two features that are on together fill the arc between their rays about evenly, so of the activations within an angle of a
    point of an arc a third lie within a third of the angle; of those on a ray nearly all do. A ray's p-value is the binomial
    probability of so many in the inner third, times the number of samples (each could have started a ray). cosine: the outer
    angle (0.99: 8 degrees). level: largest p of a ray. quiet: samples shorter than this share of the 95th percentile of norms
    have no direction worth having. Greedy: the sample with most close neighbours starts a ray and takes its window along.
    Misleads when the values of a feature hardly vary (sums of two are rays too: U[0.8, 1] is enough), when features come in
    fixed combinations, however rarely,
    when nothing is ever alone (dense inputs: it finds none), and in two dimensions, where chance neighbours are common.
    """
    from scipy.stats import binom

    h = _samples(h)
    real("cosine", cosine, "must lie between 0 and 1", 0, 1, "()")
    norm = np.linalg.norm(h, axis=1)
    loud = norm > quiet * np.quantile(norm, 0.95)
    unit = h[loud] / norm[loud, None]
    agreement = unit @ unit.T
    wide, narrow = agreement >= cosine, agreement >= np.cos(np.arccos(cosine) / 3)
    left, untried = np.ones(len(unit), dtype=bool), np.ones(len(unit), dtype=bool)
    found, share, tried = [], [], []
    count = narrow.sum(1)
    while untried.any():
        lead = int(np.argmax(np.where(untried, count, -1)))
        if count[lead] < FEWEST:
            break
        members = wide[lead] & left
        tried.append(min(1.0, len(unit) * float(binom.sf(count[lead] - 1, members.sum(), 1 / 3))))
        if tried[-1] > level:
            untried &= ~narrow[lead]
            continue
        mean = unit[members & narrow[lead]].mean(0)
        found.append(mean / np.linalg.norm(mean))
        share.append(members.sum() / len(unit))
        count -= narrow[:, members].sum(1)
        left &= ~members
        untried &= ~members
    order = np.argsort(share, kind="stable")[::-1]
    direction = np.array(found, dtype=float).reshape(-1, h.shape[1])
    return Rays(direction[order], np.array(share, dtype=float)[order], np.sort(tried))


@dataclass(frozen=True)
class RayTest:
    """count: rays found in m dimensions; score: effective rays per dimension; p: see `superposition_test`."""

    count: int
    score: float
    p: float


def superposition_test(h: np.ndarray, **options) -> RayTest:
    """Do activations h (samples, m) hold more rays than m dimensions can without superposition? options as for `rays`.

    p is that of the (m+1)-th best ray: without superposition at most m rays are real, so one of the first m+1 is chance. A
    large p is no evidence of absence: dense inputs hide rays. What misleads `rays` misleads the test.
    """
    h = _samples(h)
    found, m = rays(h, **options), h.shape[1]
    return RayTest(len(found), found.effective / m, float(found.p[m]) if len(found.p) > m else 1.0)
