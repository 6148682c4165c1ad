"""The exact numbers, against closed forms, independent brute force, and the figures of the reference notes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matrices import digons, matrices, steady, turned

from superscope.measure import ideal, theory

UNIT = theory.uniform_law()
BINARY = theory.levels_law(1)


# --- n=2 m=1 and n=3 m=2


def sampled_loss(W, b, p, importance, count=100_000):
    rng = np.random.default_rng(0)
    n = W.shape[1]
    x = rng.random((count, n)) * (rng.random((count, n)) < p)
    return (((x - np.maximum(x @ W.T @ W + b, 0)) ** 2) @ importance).mean()


@pytest.mark.parametrize("r", [0.3, 1, 4])
def test_fixed_configurations_against_sampling(r):
    p = 0.4
    two = theory.two_feature_losses(p, r)
    for name, W, b in [
        ("antipodal", [[1, -1]], 0),
        ("only first", [[1, 0]], [0, p / 2]),
        ("only second", [[0, 1]], [p / 2, 0]),
    ]:
        assert sampled_loss(np.array(W), b, p, [1, r]) == pytest.approx(float(two[name]), rel=0.03)
    three = theory.three_feature_losses(p, r)
    for name, W, b in [
        ("extra ignored", [[1, 0, 0], [0, 1, 0]], [0, 0, p / 2]),
        ("extra paired", [[1, 0, -1], [0, 1, 0]], 0),
        ("others paired", [[1, -1, 0], [0, 0, 1]], 0),
        ("another ignored", [[0, 1, 0], [0, 0, 1]], [p / 2, 0, 0]),
    ]:
        assert sampled_loss(np.array(W), b, p, [1, 1, r]) == pytest.approx(float(three[name]), rel=0.03)


def test_boundaries():
    assert theory.two_feature_boundary(1) == pytest.approx(4 / 7)
    np.testing.assert_allclose(theory.two_feature_boundary([0.1, 10]), 0.16)
    assert theory.two_feature_boundary(0.3) == pytest.approx(0.343, abs=5e-4)
    for r in (0.2, 1, 3):
        losses = theory.two_feature_losses(theory.two_feature_boundary(r), r)
        assert losses["antipodal"] == pytest.approx(min(losses["only first"], losses["only second"]))
    triple = theory.two_feature_losses(4 / 7, 1)
    assert len({round(float(v), 12) for v in triple.values()}) == 1
    for r, shares in [(0.9, True), (1.1, False)]:  # dedicated versus paired meets at r = 1 whatever the density
        losses = theory.three_feature_losses(np.array([0.01, 0.1, 0.3]), r)
        assert ((losses["extra paired"] < losses["others paired"]) == shares).all()


WEIGHT = st.floats(-1.5, 1.5).filter(lambda w: abs(w) > 0.05)  # at w = b = 0 the loss has a kink and no gradient


@steady
@given(WEIGHT, WEIGHT, st.floats(-1, 1), st.floats(-1, 1), st.floats(0.01, 1))
def test_pair_loss_integral_and_gradient(w1, w2, b1, b2, p):
    """Against a midpoint rule on a fine grid, and central differences."""
    u = (np.arange(200) + 0.5) / 200
    x, y = u[:, None], u[None, :]

    def output(a, c, b):
        relu = lambda z: np.maximum(z, 0)  # noqa: E731
        alone = ((u - relu(a * u + b)) ** 2).mean() + (relu(c * u + b) ** 2).mean()
        both = ((x - relu(a * x + c * y + b)) ** 2).mean()
        return (1 - p) ** 2 * relu(b) ** 2 + p * (1 - p) * alone + p * p * both

    expected = output(w1 * w1, w1 * w2, b1) + 0.7 * output(w2 * w2, w1 * w2, b2)
    loss, gradient = theory.two_feature_loss((w1, w2), (b1, b2), p, 0.7)
    assert loss == pytest.approx(expected, abs=1e-4)
    theta = np.array([w1, w2, b1, b2])
    for k, step in enumerate(1e-5 * np.eye(4)):
        up, down = (theory.two_feature_loss(t[:2], t[2:], p, 0.7)[0] for t in (theta + step, theta - step))
        assert gradient[k] == pytest.approx((up - down) / 2e-5, abs=1e-4)


@pytest.mark.parametrize(
    ("p", "loss"),
    [(0.2, 0.013184), (0.3, 0.029309), (0.4, 0.050991), (0.5, 0.076279), (0.6, 0.098881), (0.7, 0.108098)],
)
def test_free_optimum_reaches_the_reference(p, loss):
    """The reference figures are from a coarser integral: they agree to 1e-4, and exactness is tested above."""
    assert theory.two_feature_optimum(p).loss == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(("p", "norm"), [(0.05, 1.003), (0.5, 0.968), (0.6, 0.870), (0.7, 0.759)])
def test_antipodal_norm_shrinks(p, norm):
    found = theory.two_feature_optimum(p)
    assert found.phase == "antipodal"
    assert np.abs(found.w) == pytest.approx((norm, norm), abs=0.002)


def test_symmetric_pair_breaks_at_high_density():
    found = theory.two_feature_optimum(0.8)
    assert sorted(np.abs(found.w)) == pytest.approx([0.445, 0.930], abs=0.002)


def test_jump_at_importance_0_3():
    before, after = theory.two_feature_optimum(0.3, 0.3), theory.two_feature_optimum(0.4, 0.3)
    assert before.w == pytest.approx((1.037, -0.885), abs=0.002)
    assert (before.phase, after.phase, after.w) == ("antipodal", "only first", (1, 0))
    assert theory.two_feature_optimum(0.4, 1 / 0.3).phase == "only second"


def test_free_optimum_beats_random_restarts_and_fixed_configurations():
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    for p, r in [(0.05, 0.2), (0.3, 1), (0.75, 1), (0.9, 1.1), (0.5, 5), (1.0, 1)]:
        found = theory.two_feature_optimum(p, r).loss
        assert found <= min(float(v) for v in theory.two_feature_losses(p, r).values()) + 1e-12
        for start in rng.normal(size=(6, 4)):
            tried = minimize(lambda t: theory.two_feature_loss(t[:2], t[2:], p, r), start, jac=True, method="BFGS")  # noqa: B023
            assert tried.fun >= found - 1e-8


def test_swapping_the_features_rescales_the_problem():
    a, b = theory.two_feature_optimum(0.2, 0.5), theory.two_feature_optimum(0.2, 2)
    assert 2 * a.loss == pytest.approx(b.loss, rel=1e-8)
    with pytest.raises(ValueError, match="p=0"):
        theory.two_feature_optimum(0)


# --- 1-sparse inputs


@pytest.mark.parametrize(
    ("n", "loss", "length", "bias"),
    [(3, 0, 1, 0), (4, 0, 1, 0), (5, 0.01583, 1.170, -0.282), (6, 0.04819, 1.321, -0.619)],
)
def test_polygons_with_uniform_values(n, loss, length, bias):
    found = theory.polygon_optimum(n)
    assert found.loss == pytest.approx(loss, abs=5e-6)
    assert (found.length, found.bias) == pytest.approx((length, bias), abs=2e-3)


def test_octagon_with_uniform_values():
    assert theory.polygon_optimum(8).loss == pytest.approx(0.11554, abs=1e-5)


@pytest.mark.parametrize(("n", "length", "bias"), [(5, 1.203, -0.447), (6, 1.415, -1.0), (8, 1.849, -2.417), (12, 2.73, -6.46)])
def test_any_polygon_stores_binary_features(n, length, bias):
    found = theory.polygon_optimum(n, BINARY)
    assert found.loss < 1e-9
    assert found.length == pytest.approx((1 - np.cos(2 * np.pi / n)) ** -0.5, abs=1e-5)
    assert (found.length, found.bias) == pytest.approx((length, bias), abs=5e-3)
    assert theory.polygon_loss(n, 0.98 * found.length, 1 - (0.98 * found.length) ** 2, BINARY) > 1e-4


def test_chen_critical_losses():
    assert theory.critical_loss(4, 6) == pytest.approx(0.11111, abs=5e-6)
    assert theory.critical_loss(5, 6) == pytest.approx(0.06874, abs=5e-6)
    with pytest.raises(ValueError, match="k=7, n=6"):
        theory.critical_loss(7, 6)


@pytest.mark.parametrize("law", [theory.levels_law(1, 2, 3), theory.uniform_law(0.5, 1), UNIT])
@pytest.mark.parametrize("n", [5, 6, 8])
def test_polygon_optimum_beats_a_grid(n, law):
    found = theory.polygon_optimum(n, law)
    assert found.loss == pytest.approx(theory.polygon_loss(n, found.length, found.bias, law), rel=1e-9)
    grid = [
        theory.polygon_loss(n, np.sqrt(s), b, law) for s in np.geomspace(0.1, 20, 40) for b in np.linspace(-3 * s - 1, 3, 25)
    ]
    assert found.loss <= min(grid) + 1e-9


def test_value_laws_order_the_pentagon():
    """Binary is free, U[0.5, 1] nearly so, U[0,1] worst: the reference's 'values away from zero are easier'."""
    relative = [theory.polygon_optimum(5, law).loss / law.mean_square() for law in
                (BINARY, theory.uniform_law(0.5, 1), theory.levels_law(1, 2, 3), UNIT)]  # fmt: skip
    assert relative == sorted(relative)


@steady
@given(st.floats(0.1, 10))
def test_polygon_loss_scales_with_the_values(scale):
    small, large = theory.uniform_law(0.2, 1), theory.uniform_law(0.2 * scale, scale)
    a = theory.polygon_loss(6, 1.2, -0.3, small)
    assert theory.polygon_loss(6, 1.2, -0.3 * scale, large) == pytest.approx(scale**2 * a, rel=1e-9)


def test_one_sparse_loss_of_polygons_and_digons():
    found = theory.polygon_optimum(5)
    W = found.length * turned(ideal("pentagon"))
    assert theory.one_sparse_loss(W, found.bias) == pytest.approx(found.loss, rel=1e-9)
    assert theory.one_sparse_loss(digons(3), 0.0) == pytest.approx(0, abs=1e-12)
    with_extra = np.concatenate([found.length * ideal("pentagon"), np.zeros((2, 1))], axis=1)
    b = np.array([found.bias] * 5 + [0.0])
    assert theory.one_sparse_loss(with_extra, b) == pytest.approx(theory.critical_loss(5, 6), rel=1e-6)


@steady
@given(matrices(max_features=5), st.integers(0, 1000))
def test_one_sparse_loss_against_the_formula(W, seed):
    rng = np.random.default_rng(seed)
    n = W.shape[1]
    b, importance = rng.normal(size=n), rng.random(n)
    law = theory.levels_law(0.5, 1)
    total = 0.0
    for v in law.values:
        for i in range(n):
            for j in range(n):
                total += importance[j] * (v * (i == j) - max(v * W[:, j] @ W[:, i] + b[j], 0)) ** 2 / n / 2
    assert theory.one_sparse_loss(W, b, law, importance) == pytest.approx(total, rel=1e-9)
    rotated = theory.one_sparse_loss(turned(W, seed), b, law, importance)
    assert rotated == pytest.approx(total, rel=1e-9)


def test_laws():
    assert UNIT.mean_square() == pytest.approx(1 / 3)
    assert UNIT.weights.sum() == pytest.approx(1)
    assert theory.levels_law(1, 2, 3).mean_square() == pytest.approx(14 / 3)
    for call in (lambda: theory.uniform_law(1, 1), theory.levels_law, lambda: theory.polygon_optimum(1)):
        with pytest.raises(ValueError, match=r"needs|at least"):
            call()


def test_laws_of_the_front_door_are_understood():
    from superscope.inputs.features import Levels, Uniform

    assert theory.polygon_optimum(5, Uniform(0, 1)).loss == pytest.approx(theory.polygon_optimum(5).loss, rel=1e-3)
    expected = theory.polygon_optimum(5, theory.levels_law(1, 2, 3)).loss
    assert theory.polygon_optimum(5, Levels(1, 2, 3)).loss == pytest.approx(expected, rel=1e-6)


def test_one_neuron_and_four_exclusive_features():
    assert round(theory.exclusive_loss(4, 1), 3) == 0.824
    assert round(theory.exclusive_loss(4, 2), 3) == 0.693
    assert theory.exclusive_loss(4, 0) == theory.exclusive_loss(4, 4) == pytest.approx(np.log(4))
    # the slow twin: the best readout of a neuron that is on for `on` of `n` classes, by enumeration of what is known
    for n, on in ((4, 1), (4, 2), (7, 3)):
        known = np.array([1 / on if k < on else 1 / (n - on) for k in range(n)])
        assert theory.exclusive_loss(n, on) == pytest.approx(-np.log(known).mean())
    with pytest.raises(ValueError, match="on for 0 to n"):
        theory.exclusive_loss(4, 5)
