"""Necessity: planted effects on three unequal units and on all of them, backups, and neurons of a model."""

from __future__ import annotations

import numpy as np
import pytest

from superscope import lms
from superscope.lms.model.transformer import Shape
from superscope.measure.activations import necessity

D = 100
VALUES = np.random.default_rng(0).gamma(0.5, size=(300, D)) * np.random.default_rng(1).uniform(0.5, 2, D)
ON = VALUES[:, [4, 50, 77]].sum(axis=1) > 3


def linear(weights: np.ndarray, other: np.ndarray):
    """An effect that is linear in how far the values are from `other`, and its score by attribution."""
    gradient = np.broadcast_to(weights, VALUES.shape) / len(VALUES)
    return (lambda values: float((values @ weights).mean())), necessity.attribution(VALUES, other, gradient)


def three() -> np.ndarray:
    """Strengths 1, .6 and .35 of means that differ: the third carries over 10 %."""
    weights = np.zeros(D)
    weights[[4, 50, 77]] = np.array([1, 0.6, 0.35]) / VALUES[:, [4, 50, 77]].mean(axis=0)
    return weights


def test_three_unequal_units():
    zero = necessity.replacement(VALUES, "zero")
    effect, score = linear(three(), zero)
    order = necessity.ranked(score, np.eye(D))
    assert set(order[:3]) == {4, 50, 77}
    found = necessity.curves(effect, VALUES, order, "zero")
    assert (found.k50, found.k90, found.enough50, found.enough90) == (1, 3, 1, 3)
    assert found.gini > 0.95
    assert found.everything == pytest.approx(1.95)
    null = necessity.random_orders(effect, VALUES, 5, 0, other="zero")
    assert min(one.k90 for one in null) > 20
    turned = necessity.rotated(effect, VALUES, score, 3, 0, other="zero")
    assert min(one.k90 for one in turned) > 15


def test_a_dense_effect_needs_nearly_all():
    effect, score = linear(1 / VALUES.mean(axis=0), necessity.replacement(VALUES, "zero"))
    found = necessity.curves(effect, VALUES, necessity.ranked(score, np.eye(D)), "zero")
    assert found.k90 == pytest.approx(0.9 * D, abs=2)
    assert found.k50 == pytest.approx(0.5 * D, abs=2)
    assert abs(found.gini) < 0.05


def test_every_point_equals_the_slow_twin():
    """All k one by one, with plain loops."""
    rng = np.random.default_rng(3)
    values, other, weights = rng.normal(size=(20, 9)), rng.normal(size=(20, 9)), rng.uniform(0.1, 1, 9)
    basis = np.linalg.qr(rng.normal(size=(9, 9)))[0]

    def effect(x):
        return float(np.maximum(x @ weights, 0).mean())

    order = rng.permutation(9)
    found = necessity.curves(effect, values, order, other, basis, points=9)
    slow = []
    for k in range(10):
        coordinates = values @ basis
        for unit in order[:k]:
            coordinates[:, unit] = (other @ basis)[:, unit]
        slow.append((effect(values) - effect(coordinates @ basis.T)) / (effect(values) - effect(other)))
    assert found.necessity == pytest.approx(np.array(slow)[found.k])


def test_backups_show_as_a_gap_between_the_curves():
    """The larger of two copies: either is enough, both are needed."""
    values = VALUES.copy()
    values[:, 1] = values[:, 0]

    def effect(x):
        return float(x[:, :2].max(axis=1).mean())

    found = necessity.curves(effect, values, np.arange(D), "zero")
    assert (found.enough90, found.k90) == (1, 2)


def test_mean_ablation_leaves_what_does_not_vary():
    """A constant unit with the largest weight: zero ablation blames it, mean ablation and the mean difference do not."""
    values = VALUES.copy()
    values[:, 10] = 5.0
    weights = three()
    weights[10] = 2.0

    def effect(x):
        return float((x @ weights)[ON].mean() - (x @ weights)[~ON].mean())

    by_zero = necessity.singly(lambda x: float((x @ weights).mean()), values, necessity.replacement(values, "zero"))
    assert necessity.ranked(by_zero, np.eye(D))[0] == 10
    order = necessity.ranked(necessity.mean_difference(values, ON), np.eye(D))
    assert 10 not in order[:3]
    assert necessity.curves(effect, values, order, "mean").k90 <= 4


def test_nothing_to_lose_and_bad_input_are_named():
    with pytest.raises(ValueError, match="nothing to lose"):
        necessity.curves(lambda values: 1.0, VALUES, np.arange(D))
    with pytest.raises(ValueError, match="each of the 100 units once"):
        necessity.curves(lambda values: 1.0, VALUES, np.zeros(D, dtype=int))
    with pytest.raises(ValueError, match="replacement 'median'"):
        necessity.replacement(VALUES, "median")


@pytest.mark.parametrize("act_fn", ["gelu", "solu_ln"])
def test_neurons_of_a_model(act_fn):
    """Values put back change nothing; three neurons wired to one token's logit are found in the second layer."""
    tokenizer = lms.load("gelu-1l-mini").tokenizer
    model = lms.untrained(Shape(n_layers=2, d_model=32, n_heads=2, d_mlp=64, n_ctx=16, act_fn=act_fn), tokenizer, 0)
    tokens = np.random.default_rng(0).integers(10, 4000, (4, 12))
    chosen = [3, 20, 41]
    block = model.hooked.blocks[1].mlp
    block.b_in.data[chosen] += 2.0
    block.W_out.data[:] *= 0.01
    for neuron, strength in zip(chosen, (3.0, 2.0, 1.5), strict=True):
        block.W_out.data[neuron] = strength * model.hooked.W_U.data[:, 7]
    site = necessity.Neurons(model, tokens, lambda logits: logits[:, 1:, 7].mean() - logits[:, 1:].mean(), layer=1)
    values = site.values
    assert values.shape == (44, 64)
    clean = site.measure(model.logits(lms.model.language_model.rows_to_tensor(tokens)))
    assert site.effect(values) == pytest.approx(float(clean), abs=1e-5)
    zero = necessity.replacement(values, "zero")
    score = necessity.attribution(values, zero, site.gradient(values))
    order = necessity.ranked(score, np.eye(64))
    if act_fn == "gelu":  # behind a LayerNorm attributions cancel
        assert set(order[:3]) == set(chosen)
        assert necessity.curves(site.effect, values, order, "zero", points=8).k90 <= 3
