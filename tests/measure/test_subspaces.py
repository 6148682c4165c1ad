"""Subspaces: their size through noise, nulls matched in rank and energy, what a model needs by construction."""

from __future__ import annotations

import numpy as np
import pytest

from superscope import lms
from superscope.lms.corpus.splits import sample
from superscope.measure.activations import positions, subspaces


@pytest.mark.parametrize("turns", [1, 2.5, 6])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
def test_a_helix_is_three_dimensions_at_any_noise_and_has_a_circle(turns, noise):
    rows = positions.planted_helix(255, 128, turns, noise, seed=3)
    assert subspaces.smooth_rank(rows) == 3
    assert positions.circularity(rows) > 0.96
    shuffled = np.random.default_rng(0).permutation(rows)
    assert subspaces.smooth_rank(shuffled) == 1
    assert positions.circularity(shuffled) < 0.3


def test_random_walks_and_ramps_are_no_circles():
    walks = [positions.circularity(positions.random_walk(255, 128, seed)) for seed in range(20)]
    assert 0.5 < min(walks) < max(walks) < 0.94
    ramp = np.outer(np.linspace(0, 1, 255), np.random.default_rng(0).standard_normal(128))
    assert positions.circularity(ramp + 0.01 * np.random.default_rng(1).standard_normal((255, 128))) < 0.9


@pytest.fixture(scope="module")
def ablation():
    model = lms.load("gelu-1l-mini")
    rows = sample(model.tokenizer, 40).rows(128, limit=6, seed=0).tokens
    return subspaces.Ablation(model, rows, "blocks.0.hook_resid_pre")


def test_matched_subspaces_have_the_same_rank_and_energy_and_avoid_the_subspace(ablation):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((128, 4)))[0].T
    for wanted in (basis, subspaces.principal_basis(np.linalg.cholesky(ablation.covariance).T, 4)):
        for one in ablation.matched(wanted, 3, rng):
            assert one.shape == wanted.shape
            np.testing.assert_allclose(one @ one.T, np.eye(4), atol=1e-8)
            np.testing.assert_allclose(one @ wanted.T, 0, atol=1e-6)
            assert ablation.energy(one) <= ablation.energy(wanted) * 1.001
    middling = ablation.matched(basis, 3, rng)
    assert [ablation.energy(one) for one in middling] == pytest.approx([ablation.energy(basis)] * 3, rel=1e-3)


def test_energy_is_what_is_removed(ablation):
    """The slow twin: variance of the values inside the subspace, counted token by token."""
    from superscope.lms import rows_to_tensor

    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((128, 3)))[0].T
    values = ablation.model.activations(rows_to_tensor(ablation.tokens), [ablation.hook])[ablation.hook][:, 1:].numpy()
    inside = values.reshape(-1, 128) @ basis.T
    assert ablation.energy(basis) == pytest.approx(inside.var(axis=0, ddof=1).sum(), rel=1e-4)


def test_a_quiet_subspace_that_is_needed_costs_more_than_its_match(ablation):
    """The plant: one function, carried at a quarter of the strength and read four times as strongly."""
    rng = np.random.default_rng(2)
    loud = subspaces.principal_basis(np.linalg.cholesky(ablation.covariance).T, 3)

    def ratio(loudness: float) -> float:
        return ablation.cost(loud) / np.mean([ablation.cost(one) for one in ablation.matched(loud, 4, rng, loudness)])

    assert ratio(0.25) > 1.5 * ratio(1.0)
    random = np.linalg.qr(rng.standard_normal((128, 3)))[0].T
    assert ablation.ratio(random, 4, rng) == pytest.approx(1, abs=0.7)


def test_an_energy_out_of_reach_is_named():
    quiet, loud = np.eye(1, 4), np.eye(1, 4, 1)
    with pytest.raises(ValueError, match="energy 9 does not lie between"):
        subspaces.between(quiet, loud, lambda b: float((b[0] ** 2) @ [1, 2, 3, 4]), 9)


def test_a_whitener_makes_the_mixed_covariance_the_identity():
    from superscope.measure.activations.subspaces import whitener

    rows = np.random.default_rng(0).normal(size=(400, 6)) @ np.diag([5, 3, 1, 1, 0.2, 0.1])
    covariance = np.cov(rows.T)
    mixed = 0.9 * covariance + 0.1 * np.trace(covariance) / 6 * np.eye(6)
    turn = whitener(covariance, floor=0.1)
    np.testing.assert_allclose(turn @ mixed @ turn, np.eye(6), atol=1e-9)
    np.testing.assert_allclose(turn, turn.T)
