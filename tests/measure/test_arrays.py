"""Every per-model measure: same kind out as in, leading dims kept, NaN padding invisible, torch and lists accepted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from matrices import labelled

from superscope import measure

PER_FEATURE = {
    "dimensionality": measure.dimensionality,
    "norms": measure.norms,
    "represented": measure.represented,
    "superposition_of": measure.superposition_of,
    "participation_ratio": measure.participation_ratio,
    "responses": lambda W: measure.responses(W, 0.1),
    "attack_increase": lambda W: measure.attack_increase(W, 0.0, SAMPLE),
}
PER_MODEL = {
    "dims_per_feature": measure.dims_per_feature,
    "norm_capped_count": measure.norm_capped_count,
    "features_represented": measure.features_represented,
    "features_recovered": lambda W: measure.features_recovered(W, 0.0),
    "frame_potential": measure.frame_potential,
    "coherence": measure.coherence,
    "weight_kurtosis": measure.weight_kurtosis,
    "basis_alignment": lambda W: measure.basis_alignment(W, rotations=20).z,
    "vulnerability": lambda W: measure.vulnerability(W, 0.0, SAMPLE),
    "one_sparse_loss": lambda W: measure.theory.one_sparse_loss(W, 0.0, measure.theory.levels_law(0.5, 1)),
}
PER_NEURON = {
    "features_per_neuron": measure.features_per_neuron,
    "lecomte_count": measure.lecomte_count,
    "max_over_sum": measure.max_over_sum,
}
PAIRS = {"interference_matrix": measure.interference_matrix, "analytic_direction": measure.analytic_direction}
ALL = {**PER_FEATURE, **PER_MODEL, **PER_NEURON, **PAIRS}

rng = np.random.default_rng(0)
SAMPLE = rng.random((30, 5)) * (rng.random((30, 5)) < 0.4)
STACK = rng.normal(size=(2, 3, 4, 5))
CORE = {**dict.fromkeys(PER_FEATURE, ("feature",)), **dict.fromkeys(PER_MODEL, ()),
        **dict.fromkeys(PER_NEURON, ("hidden",)), **dict.fromkeys(PAIRS, ("feature", "other"))}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_kind_and_dims(name):
    plain = ALL[name](STACK)
    W = labelled(STACK, density=[0.1, 1.0], seed=[0, 1, 2])
    named = ALL[name](W)
    assert isinstance(plain, np.ndarray)
    assert isinstance(named, xr.DataArray)
    assert named.dims == ("density", "seed", *CORE[name])
    assert named.density.values.tolist() == [0.1, 1.0]
    np.testing.assert_array_equal(named.values, plain)
    if "feature" in named.dims:
        assert named.feature.values.tolist() == ["f0", "f1", "f2", "f3", "f4"]
    scrambled = ALL[name](W.transpose("feature", "seed", "hidden", "density"))
    np.testing.assert_allclose(scrambled.transpose(*named.dims), named, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ALL)
def test_one_model_at_a_time_is_the_same(name):
    whole = ALL[name](STACK)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(ALL[name](STACK[index]), whole[index], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_torch_and_lists(name):
    expected = ALL[name](STACK[0, 0])
    np.testing.assert_allclose(ALL[name](torch.tensor(STACK[0, 0], requires_grad=True)), expected)
    np.testing.assert_allclose(ALL[name](STACK[0, 0].tolist()), expected)


@pytest.mark.parametrize("name", ALL)
def test_padding_is_absent(name):
    small = STACK[0, 0][:2, :5]
    padded = np.full((4, 5), np.nan)
    padded[:2] = small
    expected, found = ALL[name](small), ALL[name](padded)
    if name in PER_NEURON:
        assert np.isnan(found[2:]).all()
        found = found[:2]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("name", [n for n in (*PER_FEATURE, "interference_matrix") if n != "represented"])
def test_padded_features_get_nan(name):
    padded = STACK[0, 0].copy()
    padded[:, 3:] = np.nan
    found = ALL[name](padded)
    assert np.isnan(found[..., 3:]).all()
    assert not np.isnan(found[:3, :3] if name in PAIRS else found[:3]).any()


def test_padded_features_are_not_represented_and_not_attacked():
    padded = STACK[0, 0].copy()
    padded[:, 3:] = np.nan
    assert not measure.represented(padded, 0.0)[3:].any()
    assert (measure.analytic_direction(padded)[:, 3:] == 0).all()


@pytest.mark.parametrize("name", PER_MODEL)
def test_a_diverged_or_missing_model_is_nan_not_zero(name):
    stack = STACK[0].copy()
    stack[1] = np.nan
    found = ALL[name](stack)
    assert np.isnan(found[1])
    assert not np.isnan(found[[0, 2]]).any()


@pytest.mark.parametrize("name", ALL)
def test_shape_errors(name):
    with pytest.raises(ValueError, match=r"W has shape \(5,\): expected \(\.\.\., hidden, feature\)"):
        ALL[name](np.ones(5))
    with pytest.raises(ValueError, match=r"missing .'hidden'.*rename"):
        ALL[name](xr.DataArray(np.ones((2, 5)), dims=("neuron", "feature")))
    with pytest.raises(ValueError, match=r"shape \(0, 5\)"):
        ALL[name](np.ones((0, 5)))


def test_companions_are_matched_by_name():
    W = labelled(STACK, density=[0.1, 1.0], seed=[0, 1, 2])
    b = xr.DataArray(np.arange(6.0).reshape(3, 2), dims=("seed", "density"))
    found = measure.responses(W, b, activation="linear")
    expected = measure.norms(W) ** 2 + b
    np.testing.assert_allclose(found, expected.transpose(*found.dims))
    with pytest.raises(ValueError, match=r"b has shape \(4,\): expected \(2, 3, 5\)"):
        measure.responses(STACK, np.ones(4))
    with pytest.raises(ValueError, match=r"b has dims \('head',\)"):
        measure.responses(W, xr.DataArray(np.ones(2), dims="head"))


def test_public_names_exist():
    assert all(hasattr(measure, name) for name in measure.__all__)
