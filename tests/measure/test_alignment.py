from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matrices import digons, labelled, matrices, steady, turned

from superscope import measure
from superscope.measure import basis_alignment, nulls, participation_ratio


def hadamard(k):
    return np.array([[1.0]]) if k == 0 else np.kron([[1, 1], [1, -1]], hadamard(k - 1)) / np.sqrt(2)


def test_participation_ratio_of_planted_features():
    np.testing.assert_allclose(participation_ratio(np.eye(4)), 1)
    np.testing.assert_allclose(participation_ratio(hadamard(3)), 8)
    assert np.isnan(participation_ratio(np.zeros((3, 1)))).all()
    np.testing.assert_allclose(participation_ratio(1e-120 * np.eye(2)), 1)


@steady
@given(matrices(), st.integers(0, 1000), st.floats(0.01, 100))
def test_participation_ratio_properties(W, seed, scale):
    kept = W[:, np.linalg.norm(W, axis=0) > 0]
    if kept.size == 0:
        return
    pr = participation_ratio(kept)
    assert (pr >= 1 - 1e-9).all()
    assert (pr <= len(W) + 1e-9).all()
    np.testing.assert_allclose(participation_ratio(scale * kept), pr, rtol=1e-9)
    neurons = np.random.default_rng(seed).permutation(len(W))
    np.testing.assert_allclose(participation_ratio(kept[neurons]), pr, rtol=1e-9)
    np.testing.assert_allclose(participation_ratio(nulls.shuffle_within_features(kept, seed)), pr, rtol=1e-9)


@pytest.mark.parametrize(("m", "excess"), [(2, 0.061), (10, 0.090), (20, 0.066), (50, 0.036)])
def test_analytic_null_mean(m, excess):
    drawn = np.random.default_rng(0).normal(size=(m, 20000))
    mean = participation_ratio(drawn).mean()
    bound = measure.participation_ratio_null(m)
    assert mean / bound - 1 == pytest.approx(excess, abs=0.01)
    assert measure.participation_ratio_null(20) == pytest.approx(7.33, abs=0.01)


def test_sign_of_alignment():
    """Axis-aligned digons: negative. The same turned so that each feature uses all neurons: positive."""
    m = 16
    assert basis_alignment(digons(m), 300).z < -5
    assert basis_alignment(hadamard(4) @ digons(m), 300).z > 5


def test_rotated_models_have_no_alignment():
    """Null: models that are themselves Haar-rotated have z of mean 0 and spread 1."""
    W = np.stack([turned(digons(8), seed) for seed in range(100)])
    found = basis_alignment(W, 300, seed=1)
    assert abs(found.z.mean()) < 0.3
    assert found.z.std() == pytest.approx(1, abs=0.25)
    np.testing.assert_allclose(found.null_mean, 1.095 * measure.participation_ratio_null(8), rtol=0.03)


def test_alignment_is_seeded_and_padded():
    stack = np.full((2, 6, 12), np.nan)
    stack[0], stack[1, :3, :6] = digons(6), digons(3)
    found = basis_alignment(labelled(stack, n_hidden=[6, 3]), 100)
    assert found.z.dims == ("n_hidden",)
    assert found.z[1] == basis_alignment(digons(3), 100).z
    assert basis_alignment(digons(6), 100).z == found.z[0]
    assert basis_alignment(digons(6), 100, seed=1).z != found.z[0]


def test_alignment_without_a_null_is_nan():
    assert np.isnan(basis_alignment(np.ones((1, 3)), 20).z)  # one neuron: PR is always 1
    assert np.isnan(basis_alignment(0.1 * np.eye(3), 20).z)  # nothing represented
    with pytest.raises(ValueError, match="rotations=1"):
        basis_alignment(np.eye(3), 1)


def test_activation_kurtosis():
    rng = np.random.default_rng(0)
    assert measure.activation_kurtosis(np.eye(8)) == pytest.approx(8)
    assert measure.activation_kurtosis(rng.choice([-1, 1], (50, 8))) == pytest.approx(1)
    assert measure.activation_kurtosis(rng.normal(size=(20000, 8))) == pytest.approx(3 * 8 / 10, rel=0.02)
    with_silence = np.concatenate([np.eye(4), np.zeros((10, 4))])
    assert measure.activation_kurtosis(np.stack([with_silence, with_silence])).tolist() == pytest.approx([4, 4])
    assert np.isnan(measure.activation_kurtosis(np.zeros((3, 4))))
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        measure.activation_kurtosis(np.ones(4))


def test_weight_kurtosis():
    rng = np.random.default_rng(0)
    assert measure.weight_kurtosis(rng.normal(size=(300, 300))) == pytest.approx(3, abs=0.1)
    aligned = nulls.compare(measure.weight_kurtosis, digons(8), "rotation", draws=100)
    assert aligned.z > 5
    assert np.isnan(measure.weight_kurtosis(np.ones((2, 2))))


def test_shares_see_a_mixture_that_the_mean_hides():
    """A quarter of the features aligned, the rest spread: the mean says spread."""
    m = 16
    W = np.concatenate([np.eye(m)[:, :4], hadamard(4)[:, 4:]], axis=1)
    W = W + 0.02 * np.random.default_rng(0).standard_normal(W.shape)
    assert basis_alignment(W, 300).z > 5
    found = measure.basis_shares(W)
    assert float(found.aligned) == pytest.approx(0.25)
    assert float(found.spread) == pytest.approx(0.75)
    tiny = measure.basis_shares(0.01 * W)  # the threshold is relative
    assert float(tiny.aligned) == pytest.approx(0.25)


def test_shares_of_random_directions_are_the_level():
    W = np.random.default_rng(1).standard_normal((12, 4000))
    found = measure.basis_shares(W, level=0.05, threshold=0.0)
    assert float(found.aligned) == pytest.approx(0.05, abs=0.015)
    assert float(found.spread) == pytest.approx(0.05, abs=0.015)
    with pytest.raises(ValueError, match=r"level=0\.7"):
        measure.basis_shares(W, level=0.7)
    assert np.isnan(float(measure.basis_shares(np.zeros((3, 4))).aligned))
