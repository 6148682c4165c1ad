"""Do the directions in which the members of a closed category differ keep clear of what stands beside them in text?

Monday and Friday are never on together, and differ along a few directions. What stands near a day (numbers, months, "on") is on
with it, and would be confused with the difference if it had a part along it; what never stands near one may overlap. That is
what the toy does with features that are on together and features that are not (TMS, correlated features).

`clear` compares the share of their length that both kinds have inside the category's differences. Null: random members as
frequent, with neighbours of their own. Plant: neighbours turned out of the span by most of their part (`turned`).
It misleads where neighbours are of the category's own kind (months beside days): similar tokens overlap for their meaning.
"""

from __future__ import annotations

import numpy as np

WINDOW = 4
EXPECTED = 5.0  # meetings by chance that make their absence tell


def companions(tokens: np.ndarray, members: np.ndarray, most: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """(token ids that stand near a member three times as often as chance has it, as many that never do and are as frequent).

    tokens (row, position) int; near: at most `WINDOW` places apart in a row. The likeliest neighbours first.
    """
    size = int(tokens.max()) + 1
    member = np.isin(tokens, members)
    near = np.zeros_like(member)
    for shift in range(1, WINDOW + 1):
        near[:, shift:] |= member[:, :-shift]
        near[:, :-shift] |= member[:, shift:]
    near &= ~member
    count, beside = np.bincount(tokens.ravel(), minlength=size), np.bincount(tokens[near], minlength=size)
    expected = count * near.mean()
    usable = np.ones(size, dtype=bool)
    usable[members] = False
    close = np.flatnonzero(usable & (beside >= 3 * expected) & (beside >= EXPECTED))
    close = close[np.argsort(-(beside[close] / expected[close]), kind="stable")][:most]
    rest = np.flatnonzero(usable & (expected >= EXPECTED) & (beside <= 0.1 * expected))
    far: list[int] = []
    for one in close:  # the nearest in frequency of those that are left
        if not len(rest):
            break
        best = int(np.argmin(np.abs(np.log(count[rest] / count[one]))))
        far.append(int(rest[best]))
        rest = np.delete(rest, best)
    return close[: len(far)], np.array(far, dtype=int)


def differences(rows: np.ndarray) -> np.ndarray:
    """(n - 1, d) orthonormal: the span of the differences among the rows (n, d) of a category."""
    return np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][: len(rows) - 1]


def inside(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(n,) share of the squared length of each row (n, d) inside the span of `basis` (k, d)."""
    return np.asarray(((rows @ basis.T) ** 2).sum(axis=1) / np.maximum((rows**2).sum(axis=1), 1e-12))


def clear(near: np.ndarray, far: np.ndarray, members: np.ndarray) -> float:
    """Mean share of neighbours' rows (n, d) inside the members' differences, over that of strangers: 1 for no preference."""
    basis = differences(members)
    return float(inside(near, basis).mean() / inside(far, basis).mean())


def turned(rows: np.ndarray, members: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Rows (n, d) without `share` of their part inside the members' differences; noise of a tenth of their length."""
    basis = differences(members)
    noise = rng.normal(size=rows.shape) * 0.1 * np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(rows.shape[1])
    return rows - share * (rows @ basis.T) @ basis + noise
