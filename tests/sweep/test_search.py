"""The search for the lowest minimum: it reaches minima known in closed form, and says what it cannot do."""

from __future__ import annotations

import numpy as np
import pytest

import superscope as ss
from superscope.errors import SettingError
from superscope.measure import theory
from superscope.sweep.search import STARTS, polygon, spread


def one_on(n, law, density):
    return ss.SparseFeatures(n, density=density, values=law, groups=(ss.AntiCorrelated(tuple(range(n))),))


@pytest.mark.parametrize(
    ("inputs", "law", "on"),
    [
        (one_on(7, ss.Uniform(0.5, 1), 1 / 7), theory.uniform_law(0.5, 1), 1.0),
        (ss.SparseFeatures(7, density=5e-4, values=ss.Uniform(0, 1)), theory.uniform_law(), 7 * 5e-4),
    ],
)
def test_every_call_finds_the_heptagon(inputs, law, on):
    best = on * theory.polygon_optimum(7, law).loss
    found = ss.Sweep(ss.Bottleneck(7, 2), inputs, seeds=4).train(search="global")
    assert found.loss.dims == ("seed",)
    np.testing.assert_allclose(found.loss.values, best, rtol=0.01)
    assert np.linalg.norm(found.W.values, axis=1).std(axis=1).max() < 0.03
    assert any("global" in note for note in found.notes)


def test_it_is_never_worse_than_its_own_first_round():
    sweep = ss.Sweep(ss.Bottleneck(6, 3), ss.SparseFeatures(6), over={"density": [0.3, 0.02]}, seeds=2)
    found = sweep.train(ss.Recipe(steps=300), search="global")
    plain = ss.Sweep(sweep.toy, sweep.inputs, over=sweep.over, seeds=2, restarts=STARTS).train(ss.Recipe(steps=300))
    assert found.loss.dims == ("density", "seed")
    assert (found.loss.values <= plain.loss.min("restart").values).all()
    again = sweep.train(ss.Recipe(steps=300), search="global")
    np.testing.assert_array_equal(found.W.values, again.W.values)
    assert not np.array_equal(found.W.values[:, 0], found.W.values[:, 1])
    other = ss.Sweep(sweep.toy, sweep.inputs, over=sweep.over, seeds=[1]).train(ss.Recipe(steps=300), search="global")
    np.testing.assert_array_equal(other.W.values[:, 0], found.W.values[:, 1])  # a seed's search is its own


def test_a_store_gives_the_same_network_back(tmp_path):
    sweep = ss.Sweep(ss.Bottleneck(5, 2), ss.SparseFeatures(5, density=0.05), seeds=1)
    first = sweep.train(ss.Recipe(steps=100), store=tmp_path / "s", search="global")
    second = sweep.train(ss.Recipe(steps=100), store=tmp_path / "s", search="global")
    np.testing.assert_array_equal(first.W.values, second.W.values)
    assert (tmp_path / "s" / "theory").is_dir()


def test_other_families_are_searched_without_theory():
    inputs = ss.SparseFeatures(4, density=0.3, values=ss.SignedUniform())
    sweep = ss.Sweep(ss.AbsoluteValue(n_features=4, n_hidden=3), inputs)
    found = sweep.train(ss.Recipe(steps=200), search="global")
    assert np.isfinite(found.loss.values).all()
    assert found.W_out is not None


def test_what_it_cannot_do_is_refused_before_training():
    inputs = ss.SparseFeatures(5, density=0.1)
    with pytest.raises(SettingError, match="one shape"):
        ss.Sweep(ss.Bottleneck(5, 2), inputs, over={"n_hidden": [2, 3]}).train(search="global")
    with pytest.raises(SettingError, match="leave init out"):
        ss.Sweep(ss.Bottleneck(5, 2), inputs, init={"W": np.eye(2, 5)}).train(search="global")
    with pytest.raises(SettingError, match="basin"):
        ss.Sweep(ss.Bottleneck(5, 2), inputs).train(search="basin")


@pytest.mark.parametrize(("k", "m", "largest"), [(4, 3, -1 / 3), (6, 3, 0.0), (12, 3, 0.4472), (8, 4, 0.0), (10, 9, -1 / 9)])
def test_repelling_points_reach_the_known_codes(k, m, largest):
    """Simplex, octahedron, icosahedron, cross-polytope, simplex: the largest cosine of the best code (Conway & Sloane 1999)."""
    reached = []
    for seed in range(6):
        code = spread(np.random.default_rng(seed), k, m)
        gram = code.T @ code
        reached.append(gram[~np.eye(k, dtype=bool)].max())
    assert min(reached) == pytest.approx(largest, abs=0.06)


def test_a_polygon_is_regular():
    gram = polygon(7).T @ polygon(7)
    np.testing.assert_allclose(np.sort(gram[0])[-3:], [np.cos(2 * np.pi / 7)] * 2 + [1.0])
