"""A constructed smuggler is told from an honest layer; each statistic has its slow twin."""

import numpy as np
import pytest
import torch

from superscope.measure.activations import smuggling


def test_a_constructed_smuggler_is_recognised_and_an_honest_layer_is_not():
    for seed in range(4):
        values, effects = smuggling.planted_layer(1500, 64, True, seed)
        assert smuggling.smuggling_correlation(smuggling.layernorm_scale(values), effects) < -0.5
        values, effects = smuggling.planted_layer(1500, 64, False, seed)
        assert abs(smuggling.smuggling_correlation(smuggling.layernorm_scale(values), effects)) < 0.1


def test_unrelated_scale_and_effects_do_not_correlate():
    rng = np.random.default_rng(0)
    assert abs(smuggling.smuggling_correlation(rng.random(4000) + 0.1, rng.normal(size=(4000, 40)))) < 0.06


def test_scale_is_that_of_layernorm():
    values = torch.randn(5, 30, dtype=torch.float64)
    scale = smuggling.layernorm_scale(values.numpy())
    expected = torch.nn.functional.layer_norm(values, (30,), eps=1e-5).numpy()
    assert np.allclose((values.numpy() - values.numpy().mean(axis=1, keepdims=True)) / scale[:, None], expected)


def test_gain_and_concentration():
    assert smuggling.gain(np.array([1.0, 2.0, 4.0])).tolist() == [2, 1, 0.5]
    effects = np.array([[5.0, -3, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    assert smuggling.concentration(effects, 2).tolist() == pytest.approx([0.8, 1 / 3, 0])
