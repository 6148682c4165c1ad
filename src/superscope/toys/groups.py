"""Finite groups of order 60 as tables, grids of their elements by two coordinates, and the parts of a code of A5."""

from __future__ import annotations

from functools import cache
from itertools import permutations

import numpy as np

ORDER, ROWS, COLUMNS = 60, 12, 5


def even_permutations(n: int) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """(elements, table): table[x, y] is the number of x after y."""
    elements = [p for p in permutations(range(n)) if sum(p[j] > p[i] for i in range(n) for j in range(i)) % 2 == 0]
    place = {e: i for i, e in enumerate(elements)}
    return elements, np.array([[place[tuple(x[i] for i in y)] for y in elements] for x in elements])


@cache
def product(name: str) -> np.ndarray:
    """(60, 60) number of a b in "A5" (simple: no coordinate of a product depends on a coordinate of the factors alone) or in
    "A4 x Z5" (does not commute either; a direct product, element 5 h + k)."""
    if name == "A5":
        return even_permutations(5)[1]
    if name == "A4 x Z5":
        h, k = np.divmod(np.arange(ORDER), COLUMNS)
        return even_permutations(4)[1][h[:, None], h] * COLUMNS + (k[:, None] + k) % COLUMNS
    raise ValueError(f"group {name!r}: known are 'A5', 'A4 x Z5'")


def grids(name: str) -> tuple[np.ndarray, ...]:
    """Grids (12, 5) that hold every element once: products h k, and k h, of a subgroup of 12 with one of 5. In A5 these (A4
    and C5) are its factorisations into subgroups, up to conjugation; in A4 x Z5 both are its two factors."""
    table = product(name)
    if name == "A4 x Z5":
        return (np.arange(ORDER).reshape(ROWS, COLUMNS),)
    elements, _ = even_permutations(5)
    twelve = [i for i, e in enumerate(elements) if e[4] == 4]
    turn = elements.index((1, 2, 3, 4, 0))
    five = [elements.index((0, 1, 2, 3, 4))]
    while len(five) < COLUMNS:
        five.append(int(table[five[-1], turn]))
    return table[np.ix_(twelve, five)], table[np.ix_(five, twelve)].T


def coordinates(grid: np.ndarray) -> np.ndarray:
    """(60, 17) ones where an element is in a row or a column of a grid (12, 5)."""
    made = np.zeros((ORDER, ROWS + COLUMNS))
    for (row, column), element in np.ndenumerate(grid):
        made[element, [row, ROWS + column]] = 1
    return made


def additive_share(codes: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """(net,) share of the variance of codes (net, 60, m) that is a sum over the rows and columns of a grid (balanced ANOVA)."""
    laid = codes[:, grid] - codes.mean(1)[:, None, None]
    first, second = laid.mean(2, keepdims=True), laid.mean(1, keepdims=True)
    return (COLUMNS * (first**2).sum((1, 2, 3)) + ROWS * (second**2).sum((1, 2, 3))) / (laid**2).sum((1, 2, 3))


@cache
def projections() -> np.ndarray:
    """(4, 60, 60) onto the functions on A5 that belong to its irreducible representations of dimension 3, 3, 4 and 5:
    P = d / 60 chi(a b^-1). The constants, of dimension 1, are left out."""
    table = product("A5")
    one = int(np.flatnonzero((table == np.arange(ORDER)).all(1))[0])
    inverse = np.argmax(table == one, axis=1)
    power = np.array([_order(table, x, one) for x in range(ORDER)])
    fives = np.flatnonzero(power == 5)
    conjugates = {int(table[table[x, fives[0]], inverse[x]]) for x in range(ORDER)}
    golden = (1 + np.sqrt(5)) / 2
    first = np.array([golden if x in conjugates else 1 - golden for x in range(ORDER)])
    chi = {1: (3, 3, 4, 5), 2: (-1, -1, 0, 1), 3: (0, 0, 1, -1)}
    characters = np.zeros((4, ORDER))
    for order, values in chi.items():
        characters[:, power == order] = np.array(values)[:, None]
    characters[:, fives] = np.stack([first, 1 - first, np.full(ORDER, -1), np.zeros(ORDER)])[:, fives]
    between = table[:, inverse]
    return np.array([3, 3, 4, 5])[:, None, None] / ORDER * characters[:, between]


def _order(table: np.ndarray, x: int, one: int) -> int:
    """Smallest n > 0 with x^n = 1."""
    n, y = 1, x
    while y != one:
        n, y = n + 1, int(table[y, x])
    return n


def energies(codes: np.ndarray) -> np.ndarray:
    """(net, 4) shares of the variance of codes (net, 60, m) of A5 in its irreducible representations (3, 3, 4, 5); for codes
    turned at random they are 9, 9, 16 and 25 of 59 on average."""
    centred = codes - codes.mean(1, keepdims=True)
    parts = np.einsum("nam,iab,nbm->ni", centred, projections(), centred)
    return parts / (centred**2).sum((1, 2))[:, None]


def concentration(codes: np.ndarray) -> np.ndarray:
    """(net,) total variation between these shares and those of a random code: 0 for one, near 1 for a single small part."""
    return np.abs(energies(codes) - np.array([9, 9, 16, 25]) / 59).sum(1) / 2


def turned(codes: np.ndarray, seeds: list[int]) -> np.ndarray:
    """The null: the same codes (net, 60, m) after a random rotation of the functions on the group that keeps constants (same
    singular values, hence same distances overall; no representation is preferred)."""
    made = []
    for code, seed in zip(codes, seeds, strict=True):
        rng = np.random.default_rng([seed, 60])
        left, values, right = np.linalg.svd(code - code.mean(0), full_matrices=False)
        noise = rng.standard_normal(left.shape)
        made.append(np.linalg.qr(noise - noise.mean(0))[0] * values @ right)
    return np.array(made)


def irreducible(seeds: list[int], dimensions: int, noise: float) -> np.ndarray:
    """The plant: codes (seed, 60, m) by one vector's orbit under the rotations of an icosahedron, mixed into m dimensions,
    with Gaussian noise of a share `noise` of the energy."""
    made = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 61])
        orbit = projections()[seed % 2] @ rng.standard_normal((ORDER, dimensions))
        made.append(orbit / orbit.std() * np.sqrt(1 - noise) + np.sqrt(noise) * rng.standard_normal(orbit.shape))
    return np.array(made)
