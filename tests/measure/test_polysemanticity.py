from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matrices import matrices, steady

from superscope.measure import features_per_neuron, lecomte_count, max_over_sum, nulls


def planted():
    """Neuron 0: one feature; 1: three; 2: one and noise; 3: dead."""
    W = np.zeros((4, 6))
    W[0, 0] = 1
    W[1, 1:4] = [1, -1.1, 0.9]
    W[2] = [0.05, 0.02, 0.01, 0, 1.1, -0.05]
    W[3] = 1e-4
    return W


def test_planted_counts():
    assert features_per_neuron(planted()).tolist() == [1, 3, 1, 0]
    assert lecomte_count(planted()).tolist() == [1, 3, 1, 0]
    np.testing.assert_allclose(max_over_sum(planted())[:2], [1, 1.1 / 3])
    assert np.isnan(max_over_sum(np.zeros((1, 2)))).all()
    assert features_per_neuron(np.zeros((2, 3))).tolist() == [0, 0]
    assert features_per_neuron(planted(), tau=0.95).tolist() == [1, 1, 1, 0]
    with pytest.raises(ValueError, match=r"tau=2"):
        features_per_neuron(planted(), tau=2)


@steady
@given(matrices(), st.integers(0, 1000), st.floats(0.1, 10))
def test_properties(W, seed, scale):
    counts, shares = features_per_neuron(W), max_over_sum(W)
    assert np.array_equal(features_per_neuron(scale * W), counts)
    rng = np.random.default_rng(seed)
    neurons, features = rng.permutation(W.shape[0]), rng.permutation(W.shape[1])
    signs = rng.choice([-1, 1], W.shape)
    changed = (signs * W)[neurons][:, features]
    assert np.array_equal(features_per_neuron(changed), counts[neurons])
    np.testing.assert_allclose(max_over_sum(changed), shares[neurons])
    assert np.array_equal(lecomte_count(changed), lecomte_count(W)[neurons])
    alive = ~np.isnan(shares)
    assert (shares[alive] >= 1 / W.shape[1] - 1e-9).all()
    assert (shares[alive] <= 1).all()


def test_monosemantic_layer_beats_shuffled_entries():
    """Null: the same entries in random places put several features on a neuron."""
    W = np.kron(np.eye(10), [[1.0, 0.0]])
    mono = nulls.compare(lambda M: np.mean(features_per_neuron(M) == 1), W, "entries", draws=99)
    assert mono.value == 1
    assert mono.high == pytest.approx(1 / 100)
    assert mono.mean < 0.6
