"""Positional geometry: a planted helix is found, its shuffled rows are not; subspaces have their exact nulls."""

import numpy as np
import pytest

from superscope.measure.activations import positions, subspaces


@pytest.mark.parametrize("turns", [1.0, 2.5, 3.5])
def test_a_planted_helix_is_recovered(turns):
    rows = positions.planted_helix(255, 128, turns, 0.02, seed=0)
    fit = positions.helix(rows)
    assert fit.r2 > 0.97
    assert fit.turns == pytest.approx(turns, abs=0.15)
    assert subspaces.components_for(positions.planted_helix(255, 128, turns, 0.002, seed=0), 0.95) <= 3


def test_an_arc_is_told_from_a_turn():
    for turns in (0.25, 0.5):  # below one turn the axis and the circle trade places: only "less than one" is measured
        assert positions.helix(positions.planted_helix(255, 128, turns, 0.02, seed=0)).turns < 0.9


def test_random_walks_are_smooth_but_no_helix():
    for seed in range(4):
        walk = positions.random_walk(255, 128, seed)
        assert positions.helix(walk).r2 > 0.9
        assert positions.helix(walk).r2 - positions.cubic(walk) < 0.1
    planted = positions.planted_helix(255, 128, 2.5, 0.02, seed=0)
    assert positions.helix(planted).r2 - positions.cubic(planted) > 0.3


def test_rows_in_random_order_are_no_helix_but_keep_their_spectrum():
    rows = positions.planted_helix(255, 128, 2.5, 0.02, seed=1)
    shuffled = np.random.default_rng(0).permutation(rows)
    assert positions.helix(shuffled).r2 < 0.15
    assert subspaces.components_for(shuffled, 0.95) == subspaces.components_for(rows, 0.95)


def test_noise_is_no_helix():
    noise = np.random.default_rng(0).normal(size=(255, 128))
    assert positions.helix(noise).r2 < 0.15
    assert subspaces.components_for(noise, 0.95) == pytest.approx(100, abs=3)  # of a 255 x 128 Gaussian matrix
    with pytest.raises(ValueError, match="too few"):
        positions.helix(noise[:10])


def test_energy_share_has_its_exact_null():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4000, 64))
    for k in (1, 8, 32):
        assert subspaces.energy_share(vectors, subspaces.random_basis(k, 64, 0)) == pytest.approx(k / 64, rel=0.1)
    frame = subspaces.random_basis(5, 64, 1)
    assert subspaces.energy_share(rng.normal(size=(50, 5)) @ frame, frame) == pytest.approx(1)
    rest = np.eye(64) - frame.T @ frame
    assert subspaces.energy_share(vectors @ rest, frame) == pytest.approx(0, abs=1e-20)


def test_participation_and_principal_basis():
    rng = np.random.default_rng(0)
    frame = subspaces.random_basis(4, 30, 2)
    rows = rng.normal(size=(3000, 4)) @ frame + 5
    assert subspaces.participation_ratio(rows) == pytest.approx(4, rel=0.02)
    found = subspaces.principal_basis(rows, 4)
    assert np.linalg.svd(found @ frame.T, compute_uv=False).min() > 1 - 1e-9
    with pytest.raises(ValueError, match="expected 1 to 30"):
        subspaces.principal_basis(rows, 31)
