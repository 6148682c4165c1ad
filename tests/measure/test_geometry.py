from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matrices import block, digons, labelled, steady, turned
from scipy.linalg import block_diag

from superscope.measure import geometry, geometry_null, geometry_table, ideal, ideal_levels, ideals_of_size

CONNECTED = ["single", "digon", "triangle", "tetrahedron", "pentagon", "square antiprism", "cube", "6-gon", "7-gon",
             "8-gon", "simplex-5", "simplex-6"]  # fmt: skip


@pytest.mark.parametrize("name", CONNECTED)
def test_planted_polytopes_are_recognised(name):
    directions = ideal(name)
    rank, size = directions.shape
    hidden = np.concatenate([directions, np.zeros((2, size))])  # lives in a subspace of a larger layer
    (found,) = geometry(1.2 * turned(hidden, seed=3)[:, np.random.default_rng(0).permutation(size)])
    assert (found.kind, found.nearest, found.size, found.rank) == (name, name, size, rank)
    assert found.distance < 1e-6
    assert found.dimensionality == pytest.approx(rank / size)
    assert found.features == tuple(range(size))


def test_perfect_octahedron_is_three_digons_and_a_bent_one_is_an_octahedron():
    assert [c.kind for c in geometry(ideal("octahedron"))] == ["digon"] * 3
    bent = ideal("octahedron") + 0.04 * np.random.default_rng(0).normal(size=(3, 6))
    (found,) = geometry(bent, tolerance=0.02)
    assert (found.kind, found.rank) == ("octahedron", 3)
    assert 0 < found.distance < 0.1


def test_mixture_of_parts_and_dropped_features():
    W = turned(block(ideal("pentagon"), ideal("digon"), ideal("single"), ideal("tetrahedron")))
    W = np.insert(W, 3, 0.05, axis=1)  # an unrepresented feature
    found = geometry(W)
    assert [c.kind for c in found] == ["pentagon", "tetrahedron", "digon", "single"]
    assert found[0].features == (0, 1, 2, 4, 5)
    assert 3 not in {i for c in found for i in c.features}


@pytest.mark.parametrize("m", [1, 2, 3])
def test_digons(m):
    found = geometry(turned(digons(m)))
    assert [(c.kind, c.dimensionality) for c in found] == [("digon", pytest.approx(0.5))] * m


def test_near_misses_are_other():
    half = np.array([[1.0, 0.5], [0.0, np.sqrt(0.75)]])  # two features at 60 degrees
    (found,) = geometry(half)
    assert (found.kind, found.nearest, found.distance) == ("other", "digon", pytest.approx(1.5))
    fan = np.stack([np.cos([0, 0.5, 1, 1.5, 2]), np.sin([0, 0.5, 1, 1.5, 2])])
    assert geometry(fan)[0].kind == "other"


@pytest.mark.parametrize("name", ["triangle", "tetrahedron", "pentagon", "square antiprism", "6-gon"])
def test_small_noise_keeps_the_name_and_raises_the_distance(name):
    directions = ideal(name)
    noisy = directions + 0.02 * np.random.default_rng(0).normal(size=directions.shape)
    (found,) = geometry(noisy)
    assert found.kind == name
    assert 1e-4 < found.distance < 0.1


@pytest.mark.parametrize(("size", "rank"), [(3, 2), (4, 3), (5, 2), (6, 3), (8, 3)])
def test_random_directions_are_far_from_ideal(size, rank):
    """Null: under 2% of random arrangements come within the acceptance distance of any ideal."""
    null = geometry_null(size, rank, draws=300)
    assert null.shape == (300,)
    assert (null < 0.1).mean() < 0.02
    rng = np.random.default_rng(1)
    kinds = [geometry(rng.normal(size=(rank, size)), threshold=0, tolerance=0)[0].kind for _ in range(100)]
    assert np.mean([kind != "other" for kind in kinds]) < 0.02


@steady
@given(st.sampled_from(CONNECTED), st.integers(0, 1000), st.floats(0.6, 3), st.floats(0, 0.05))
def test_invariances(name, seed, scale, noise):
    rng = np.random.default_rng(seed)
    W = ideal(name)
    W = W + noise * rng.normal(size=W.shape)
    order = rng.permutation(W.shape[1])
    a, b = geometry(W), geometry(scale / np.linalg.norm(W, axis=0).min() * turned(W, seed)[:, order])
    assert [(c.kind, c.size, c.rank) for c in a] == [(c.kind, c.size, c.rank) for c in b]
    assert [c.distance for c in a] == pytest.approx([c.distance for c in b], abs=1e-6)
    assert a[0].features == tuple(sorted(order[list(b[0].features)].tolist()))


@pytest.mark.parametrize("size", range(1, 13))
def test_ideals_of_one_size_are_told_apart(size):
    for name, directions in ideals_of_size(size).items():
        assert directions.shape[1] == size
        np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1)
        cosines = directions.T @ directions
        near = np.linalg.eigvalsh(cosines)[-directions.shape[0] :]
        np.testing.assert_allclose(near, size / directions.shape[0], atol=1e-9)  # every ideal is a tight frame
        assert np.array_equal(ideal(name), directions)


def test_levels():
    levels = ideal_levels()
    assert sorted(levels.values()) == [
        Fraction(3, 8),
        Fraction(2, 5),
        Fraction(1, 2),
        Fraction(2, 3),
        Fraction(3, 4),
        1,
    ]
    for name in ("9-prism", "gon", "5-gon", "simplex-4"):
        with pytest.raises(ValueError, match="expected one of"):
            ideal(name)


def test_table_of_a_sweep():
    stack = np.full((2, 1, 3, 6), np.nan)
    stack[0, 0] = ideal("octahedron")
    stack[1, 0, :2, :5] = ideal("pentagon")
    table = geometry_table(labelled(stack, density=[0.1, 0.01], seed=[7]))
    assert table.columns[:2].tolist() == ["density", "seed"]
    assert table[table.density == 0.1].kind.tolist() == ["digon"] * 3
    assert table[table.density == 0.01].kind.tolist() == ["pentagon"]
    assert set(table.seed) == {7}
    assert geometry_table(stack).columns[:2].tolist() == ["axis 0", "axis 1"]
    assert len(geometry_table(np.zeros((2, 2)))) == 0


def test_geometry_takes_one_model():
    with pytest.raises(ValueError, match="geometry_table"):
        geometry(np.ones((2, 2, 3)))
    assert geometry(np.full((2, 3), np.nan)) == []


MIXED = ("pentagon", "digon", "triangle", "tetrahedron", "single", "square antiprism", "digon")


def mixed(noise, seed):
    """Seven polytopes in dimensions of their own, turned, with noise of this expected norm on every direction."""
    rng = np.random.default_rng(seed)
    W = block_diag(*(ideal(name) for name in MIXED)).astype(float)
    W += noise * rng.standard_normal(W.shape) / np.sqrt(len(W))
    return np.linalg.qr(rng.standard_normal((len(W), len(W))))[0] @ W


@pytest.mark.parametrize(
    ("noise", "tolerance", "low", "high"),
    [(0.05, 0.1, 1, 1), (0.08, 0.1, 0.85, 1), (0.10, 0.1, 0.4, 0.75), (0.15, 0.1, 0, 0.1),
     (0.10, 0.2, 1, 1), (0.15, 0.2, 0.9, 1), (0.30, 0.2, 0, 0.1)],
)  # fmt: skip
def test_the_noise_that_it_bears(noise, tolerance, low, high):
    """The numbers of the docstring: share of the seven parts that are named rightly."""
    hits = []
    for seed in range(10):
        wanted = list(MIXED)
        for part in geometry(mixed(noise, seed), tolerance=tolerance):
            if part.kind in wanted:
                wanted.remove(part.kind)
        hits.append(1 - len(wanted) / len(MIXED))
    assert low <= np.mean(hits) <= high


def test_a_feature_twice_is_one_direction():
    pentagon = ideal("pentagon")
    twice = np.concatenate([pentagon, 0.8 * pentagon[:, :1]], axis=1)
    (part,) = geometry(twice)
    assert (part.kind, part.size, part.features) == ("pentagon", 5, (0, 1, 2, 3, 4, 5))
    (strict,) = geometry(twice, duplicate=1.1)
    assert strict.kind == "other"


def test_leaning_digons_need_a_larger_tolerance():
    at = np.radians([0, 180, 80, 260])
    leaning = np.stack([np.cos(at), np.sin(at)])
    assert [part.kind for part in geometry(leaning)] == ["other"]
    assert [part.kind for part in geometry(leaning, tolerance=0.2)] == ["digon", "digon"]


def test_noisy_polygons_are_one_polygon_each_and_random_directions_are_not():
    from superscope.measure.weights.geometry import is_one, noisy_polygons

    rng = np.random.default_rng(0)
    assert all(is_one(W, "pentagon") for W in noisy_polygons(5, 30, rng))
    assert not any(is_one(W, "pentagon") for W in rng.standard_normal((30, 2, 5)))
