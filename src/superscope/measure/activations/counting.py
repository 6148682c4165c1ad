"""How many atoms does a set of representations have? Three estimators that agree only if there is a number to find.

One atom per representation (vector quantisation). Ward's tree (Ward 1963, scipy) gives the dictionaries of every size at once
and without random starts. Assumes one feature is on at a time: two features on together would be counted as a third.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import linkage

EXACT = 1e-9  # mean squared error, relative to the mean square, below which atoms are taken to be exact


@dataclass(frozen=True)
class Dictionaries:
    """Dictionaries of 1..K atoms. distortion (K,): mean squared error over the mean square of the representations;
    entropy (K,): bits to name an atom; dimensions: of the representations."""

    distortion: np.ndarray
    entropy: np.ndarray
    dimensions: int

    @property
    def sizes(self) -> np.ndarray:
        return np.arange(1, len(self.distortion) + 1)


def dictionaries(h: np.ndarray, largest: int) -> Dictionaries:
    """Dictionaries of 1..largest atoms for representations h (P, m)."""
    h = h / np.sqrt((h**2).sum(1).mean())
    tree, count = linkage(h, "ward"), len(h)
    largest = min(largest, count)
    lost = np.concatenate([[0.0], np.cumsum(tree[:, 2] ** 2 / 2)]) / count  # after 0, 1, ... merges

    def share(c: float) -> float:
        return -c / count * np.log2(c / count)

    sizes, bits = [1.0] * count, [np.log2(count)]
    for a, b, _, together in tree:
        parts = sizes[int(a)], sizes[int(b)]
        bits.append(bits[-1] + share(together) - share(parts[0]) - share(parts[1]))
        sizes.append(together)
    return Dictionaries(np.maximum(lost[::-1][:largest], 0), np.maximum(bits[::-1][:largest], 0), h.shape[1])


def description_length(found: Dictionaries, resolution: float, coded: float = 1e5) -> np.ndarray:
    """(K,) bits per representation of a two-part code at a resolution (relative to the root mean square): name of the atom,
    residual at that resolution as a spherical Gaussian, and the dictionary shared by `coded` representations."""
    m = found.dimensions
    residual = m / 2 * np.log2(1 + found.distortion / (m * resolution**2))
    return found.entropy + residual + found.sizes * m * max(np.log2(1 / resolution), 0) / coded


def shortest(found: Dictionaries, resolutions: np.ndarray) -> np.ndarray:
    """(resolution,) number of atoms with the shortest description."""
    return np.array([1 + int(description_length(found, r).argmin()) for r in resolutions])


def elbow(found: Dictionaries) -> int:
    """Number of atoms reached by the steepest fall of log distortion in log size."""
    error = np.log(found.distortion + EXACT)
    return 2 + int((np.diff(error) / np.diff(np.log(found.sizes))).argmin())


def effective(found: Dictionaries) -> float:
    """exp(entropy) of the use of the atoms in the largest dictionary, atoms that coincide counted once (Bereska 2512.13568)."""
    same = np.flatnonzero(found.distortion < EXACT)
    place = int(same[0]) if len(same) else len(found.sizes) - 1
    return float(2 ** found.entropy[place])


def power_law(found: Dictionaries, low: int, high: int) -> tuple[float, float]:
    """Slope and R^2 of log distortion against log size, on sizes low..high spaced evenly in the logarithm."""
    k = np.unique(np.geomspace(low, min(high, len(found.sizes)), 40).round().astype(int))
    x, y = np.log(k), np.log(found.distortion[k - 1] + EXACT)
    slope, offset = np.polyfit(x, y, 1)
    return float(slope), float(1 - ((y - slope * x - offset) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def plateau(counts: np.ndarray, tolerance: float = 0.1) -> float:
    """Share of a range of resolutions that the longest run of counts (resolution,) equal within the tolerance covers."""
    counts = np.asarray(counts, dtype=float)
    runs = [
        j - i + 1
        for i in range(len(counts)) for j in range(i, len(counts))
        if counts[i : j + 1].max() <= (1 + tolerance) * counts[i : j + 1].min()
    ]  # fmt: skip
    return max(runs) / len(counts)
