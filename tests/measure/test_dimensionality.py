from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matrices import block, digons, labelled, matrices, steady, turned

from superscope import measure
from superscope.measure import dimensionality, ideal, nulls


def slow_dimensionality(W):
    out = []
    for i in range(W.shape[1]):
        norm = np.linalg.norm(W[:, i])
        unit = W[:, i] / norm if norm else W[:, i]
        shared = sum((unit @ W[:, j]) ** 2 for j in range(W.shape[1]))
        out.append(norm**2 / shared if shared else 0.0)
    return np.array(out)


@pytest.mark.parametrize(
    ("name", "level"),
    [("single", 1), ("tetrahedron", 3 / 4), ("triangle", 2 / 3), ("digon", 1 / 2), ("pentagon", 2 / 5),
     ("square antiprism", 3 / 8), ("6-gon", 1 / 3), ("simplex-6", 5 / 6)],
)  # fmt: skip
def test_planted_polytopes_have_their_level(name, level):
    np.testing.assert_allclose(dimensionality(turned(ideal(name))), level, atol=1e-9)


def test_tegum_products_mix_levels():
    bipyramid = dimensionality(turned(block(ideal("triangle"), ideal("digon"))))
    np.testing.assert_allclose(bipyramid, [2 / 3] * 3 + [1 / 2] * 2, atol=1e-9)


def test_published_antiprisms():
    """TMS's 3/8 line: the Thomson solution lies at 0.3744 and the uniform-edge antiprism at 0.3664."""

    def antiprism(height):
        turn = np.pi / 4 * np.array([0, 2, 4, 6, 1, 3, 5, 7])
        radius = np.sqrt(1 - height**2)
        return np.stack([radius * np.cos(turn), radius * np.sin(turn), np.repeat([height, -height], 4)])

    thomson = dimensionality(antiprism(0.5604369))
    np.testing.assert_allclose(thomson, 0.3744, atol=5e-5)
    assert thomson.sum() == pytest.approx(2.995, abs=5e-4)
    np.testing.assert_allclose(dimensionality(antiprism(0.5110811)), 0.3664, atol=5e-5)


@steady
@given(matrices())
def test_matches_slow_definition_and_capacity(W):
    np.testing.assert_allclose(dimensionality(W), slow_dimensionality(W), atol=1e-12)
    gram = W.T @ W
    scherlis = np.diag(gram) ** 2 / np.where((gram**2).sum(1) > 0, (gram**2).sum(1), 1)
    np.testing.assert_allclose(measure.capacity(W), scherlis, atol=1e-12)


@steady
@given(matrices(), st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_invariances(W, seed, scale):
    D = dimensionality(W)
    np.testing.assert_allclose(dimensionality(turned(W, seed)), D, atol=1e-9)
    np.testing.assert_allclose(dimensionality(scale * W), D, atol=1e-9)
    order = np.random.default_rng(seed).permutation(W.shape[1])
    signs = np.random.default_rng(seed).choice([-1, 1], W.shape[1])
    np.testing.assert_allclose(dimensionality((W * signs)[:, order]), D[order], atol=1e-9)
    assert (D >= 0).all()
    assert (D <= 1 + 1e-12).all()
    assert D.sum() <= np.linalg.matrix_rank(W) + 1e-9


def test_tight_frames_attain_the_rank():
    assert dimensionality(turned(block(ideal("pentagon"), ideal("tetrahedron")))).sum() == pytest.approx(5)


def test_random_directions_have_no_plateau():
    """Null: 2/5 is where pentagons put every feature and random directions of the same norms almost none."""
    W = block(*[ideal("pentagon")] * 4)
    near = nulls.compare(lambda M: np.mean(np.abs(dimensionality(M) - 0.4) < 0.01), W, "directions", draws=100)
    assert near.value == 1
    assert near.mean < 0.2
    assert near.high == pytest.approx(1 / 101)


def test_tiny_and_dropped_features():
    assert dimensionality(np.zeros((2, 3))).tolist() == [0, 0, 0]
    np.testing.assert_allclose(dimensionality(1e-120 * np.eye(2)), 1)


def test_dims_per_feature_and_its_trap():
    assert measure.dims_per_feature(digons(3)) == pytest.approx(1 / 2)
    assert measure.dims_per_feature(ideal("pentagon")) == pytest.approx(2 / 5)
    large = 1.203 * ideal("pentagon")  # the binary optimum: still five features
    assert measure.dims_per_feature(large) == pytest.approx(2 / 5 / 1.203**2)
    assert measure.norm_capped_count(large) == pytest.approx(5)
    assert measure.features_represented(large) == 5
    assert measure.dims_per_feature(np.zeros((2, 3))) == np.inf


def test_dims_per_feature_counts_real_hidden_units():
    stack = np.full((2, 3, 3), np.nan)
    stack[0] = np.eye(3)
    stack[1, :2] = np.eye(3)[:2]
    np.testing.assert_allclose(measure.dims_per_feature(labelled(stack, n_hidden=[3, 2])), [1, 1])


@steady
@given(matrices(), st.floats(0.1, 5))
def test_counts_bound_each_other(W, threshold):
    assert measure.features_represented(W, threshold) == measure.represented(W, threshold).sum()
    assert measure.norm_capped_count(W) <= (measure.norms(W) > 0).sum() + 1e-9
    assert measure.dims_per_feature(2 * W) == pytest.approx(measure.dims_per_feature(W) / 4)


def test_responses_and_recovered():
    W, b = np.array([[1.0, -1.0, 0.1]]), np.array([0.0, -0.1, 0.02])
    np.testing.assert_allclose(measure.responses(W, b), [1, 0.9, 0.03])
    np.testing.assert_allclose(measure.responses(W, b, value=0.1), [0.1, 0, 0.021])
    assert measure.features_recovered(W, b) == 2
    assert measure.features_recovered(W, b, tolerance=0.05) == 1
    untied = np.array([[2.0], [-1.0], [10.0]])  # (feature, hidden)
    np.testing.assert_allclose(measure.responses(W, 0.0, untied), [2, 1, 1])
    np.testing.assert_allclose(measure.responses(W, -2.0, activation=np.tanh), np.tanh([-1, -1, -1.99]))
    np.testing.assert_allclose(measure.responses(W, -2.0, activation="abs"), [1, 1, 1.99])
    with pytest.raises(ValueError, match="activation='gelu' is unknown"):
        measure.responses(W, b, activation="gelu")


def test_recovered_sees_what_norms_cannot():
    """Norm 1 with a shutting bias: represented by norm, not recovered by behaviour."""
    W = digons(2)
    assert (measure.features_represented(W), measure.features_recovered(W, -0.5)) == (4, 0)
