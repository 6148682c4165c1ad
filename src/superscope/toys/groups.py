"""Finite groups of order 24 as tables, with coordinates (six values, four values) for their elements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np


@dataclass(frozen=True)
class Group:
    """product (24, 24): number of a b. coordinates (24, 2): a bijection with {0..5} x {0..3}."""

    name: str
    product: np.ndarray
    coordinates: np.ndarray

    @property
    def inverse(self) -> np.ndarray:
        """(6, 4): the element with these coordinates."""
        table = np.zeros((6, 4), dtype=int)
        table[tuple(self.coordinates.T)] = np.arange(24)
        return table

    @property
    def homomorphic(self) -> bool:
        """Does each coordinate of a product depend on that coordinate of the factors alone? Then the group is a direct
        product.
        """
        for part in (0, 1):
            c = self.coordinates[:, part]
            outcomes = {(int(c[a]), int(c[b]), int(c[self.product[a, b]])) for a in range(24) for b in range(24)}
            if len(outcomes) > len({pair[:2] for pair in outcomes}):
                return False
        return True


def _permutations(n: int) -> tuple[list[tuple[int, ...]], np.ndarray]:
    elements = list(permutations(range(n)))
    place = {e: i for i, e in enumerate(elements)}
    return elements, np.array([[place[tuple(x[y[i]] for i in range(n))] for y in elements] for x in elements])


def _direct(six: np.ndarray, name: str) -> Group:
    """The direct product of a group of order six, given as a table, with the integers modulo four."""
    states = np.array([(x, y) for x in range(6) for y in range(4)])
    product = six[states[:, None, 0], states[None, :, 0]] * 4 + (states[:, None, 1] + states[None, :, 1]) % 4
    return Group(name, product, states)


@cache
def group(name: str) -> Group:
    """ "S4" (coordinates: coset of the Klein group V, position in the coset), "S3 x Z4" or "Z6 x Z4"."""
    if name == "Z6 x Z4":
        return _direct(np.add.outer(np.arange(6), np.arange(6)) % 6, name)
    if name == "S3 x Z4":
        return _direct(_permutations(3)[1], name)
    if name != "S4":
        raise ValueError(f"group {name!r}: known are S4, S3 x Z4, Z6 x Z4")
    elements, product = _permutations(4)
    klein = [elements.index(e) for e in ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))]
    section = [i for i, e in enumerate(elements) if e[3] == 3]  # S3: one element of every coset of V
    coordinates = np.zeros((24, 2), dtype=int)
    for y, v in enumerate(klein):
        for x, s in enumerate(section):
            coordinates[product[v, s]] = (x, y)
    return Group(name, product, coordinates)


@cache
def factorisations(name: str) -> tuple[np.ndarray, ...]:
    """All grids (A, B) of the elements h k with h in H and k in K, for subgroups H, K that make every element exactly once.

    The ways to give an element two coordinates that the group itself offers; with two generators per subgroup (true of S4 and
    of groups like it) the list is complete.
    """
    product = group(name).product
    unit = int(np.flatnonzero((product == np.arange(24)).all(1))[0])
    subgroups = {closure(product, {unit, x, y}) for x in range(24) for y in range(24)}
    return tuple(
        product[np.ix_(sorted(first), sorted(second))]
        for first in sorted(subgroups, key=sorted) for second in sorted(subgroups, key=sorted)
        if len(first) * len(second) == 24 and len(first & second) == 1 and min(len(first), len(second)) > 1
    )  # fmt: skip


def closure(product: np.ndarray, members: set[int]) -> frozenset[int]:
    """The smallest set that holds `members` and all products of its own."""
    while True:
        larger = members | {int(product[x, y]) for x in members for y in members}
        if larger == members:
            return frozenset(members)
        members = larger


def minimal_normal_subgroups(product: np.ndarray) -> int:
    """Number of normal subgroups, other than the trivial one, that contain no smaller such.

    A finite group with exactly one is subdirectly irreducible (Birkhoff 1944): whatever two features of its elements are
    computed independently, one of them already determines the element, so composition has no split into independent parts.
    """
    n = len(product)
    unit = int(np.flatnonzero((product == np.arange(n)).all(1))[0])
    inverse = np.argmax(product == unit, axis=1)
    closures = set()
    for g in range(n):
        if g == unit:
            continue
        closures.add(closure(product, {unit} | {int(product[product[h, g], inverse[h]]) for h in range(n)}))
    return sum(not any(other < one for other in closures) for one in closures)
