"""How many features do activations have, at a resolution? A count of directions that is the same at every angle if there is a
number to find, and grows as 1 / angle on a ring."""

from __future__ import annotations

import numpy as np

ANGLES = (0.2, 0.13, 0.09, 0.06, 0.04)  # radians


def directions(h: np.ndarray, angle: float, share: float = 0.2) -> int:
    """Directions in h (samples, m), origin = "nothing is on", at a resolution.

    Greedy: the sample with most others within `angle` makes a direction and takes all within twice the angle along, until
    what is left holds less than `share` of the heaviest. So amplitudes do not matter, and two features that are on together
    do not either as long as each is sometimes alone: their sums spread over an arc, samples of one lie on a ray.
    Null: activations on a ring, whose count grows as 1 / angle. Misleads when the noise is wider than the angle (everything
    spreads), when features are rarer than `share` of the most frequent one (they are left out), when two features have an
    angle below twice `angle` or hardly varying values (their sums are a ray, too). Source: the rays of problem 4.45.
    """
    norm = np.linalg.norm(h, axis=1)
    unit = (h[norm > 0] / norm[norm > 0, None]).astype(np.float32)
    agreement = unit @ unit.T
    near, wide, left = agreement >= np.cos(angle), agreement >= np.cos(2 * angle), np.ones(len(unit), dtype=bool)
    count, first, found = near.sum(1), 0, 0
    while left.any():
        lead = int(np.where(left, count, -1).argmax())
        if count[lead] < share * first:
            break
        first, found = first or count[lead], found + 1
        gone = wide[lead] & left
        left &= ~gone
        count = count - near[:, gone].sum(1)
    return found


def growth(counts: np.ndarray, angles: tuple[float, ...] = ANGLES) -> np.ndarray:
    """(...,) power with which counts (..., angle) grow with 1 / angle: 0 for a number, 1 for a ring."""
    x = np.log(1 / np.array(angles))
    x = x - x.mean()
    return (np.log(counts) * x).sum(-1) / (x**2).sum()
