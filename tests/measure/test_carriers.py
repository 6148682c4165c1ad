"""Carriers: pairs and weights by hand, a site equal to the whole model, planted features found, and where first passage
misleads."""

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms.model.interventions import replace_with
from superscope.lms.model.language_model import rows_to_tensor
from superscope.lms.model.transformer import Shape
from superscope.measure.activations import carriers, necessity


@pytest.fixture(scope="module")
def tokenizer():
    return lms.load("gelu-1l-mini").tokenizer


def text(rows: int, length: int) -> lms.corpus.Rows:
    tokens = np.random.default_rng(0).integers(10, 4000, (rows, length))
    tokens[:, 0] = 0
    place = np.arange(tokens.size).reshape(tokens.shape)
    place[:, 0] = -1
    return lms.corpus.Rows(tokens, place)


def some_site(tokenizer, act_fn: str = "gelu", layers: int = 2):
    model = lms.untrained(Shape(n_layers=layers, d_model=32, n_heads=2, d_mlp=64, n_ctx=24, act_fn=act_fn), tokenizer, 0)
    rows = text(12, 24)
    on = np.arange(60)
    weights = np.zeros(len(tokenizer))
    weights[[5, 6, 7]], weights[[8, 9]] = 1 / 3, -1 / 2
    return model, rows, carriers.read(model, rows)(on, on + 100), weights


def test_pairs_agree_in_their_key_and_take_no_token_twice():
    rng = np.random.default_rng(0)
    key = rng.integers(5, size=400)
    on = rng.random(400) < 0.3
    one, other = carriers.pairs(on, ~on & (key != 2), key, 60, rng)
    assert len(one) == 60
    assert (key[one] == key[other]).all()
    assert on[one].all()
    assert not on[other].any()
    assert 2 not in key[one]
    assert len(set(one)) == len(set(other)) == 60


def test_telling_weights_by_hand():
    found = carriers.telling(np.array([1, 1, 2, 3]), np.array([2, 2, 3, 4]), 6)
    assert found == pytest.approx(np.array([0, 0.5, -0.25, 0, -0.25, 0]) / 0.5)
    with pytest.raises(ValueError, match="alike"):
        carriers.telling(np.array([1, 2]), np.array([2, 1]), 4)


@pytest.mark.parametrize("act_fn", ["gelu", "solu_ln"])
def test_a_site_is_the_model(tokenizer, act_fn):
    """Loss and live detection with neurons set to zero equal those of whole runs of the model with a hook."""
    model, rows, site, weights = some_site(tokenizer, act_fn)
    inner = np.arange(12 * 23).reshape(12, 23)
    hook = replace_with(model.neuron_hook(1), torch.zeros(64))
    tokens = rows_to_tensor(rows.tokens)
    with torch.inference_mode():
        whole = {
            "clean": model.hooked(tokens), "zero": model.hooked.run_with_hooks(tokens, fwd_hooks=[hook]),
        }  # fmt: skip
    effect = site.detection(weights, live=True)
    for name, values in (("clean", site.values), ("zero", 0 * site.values)):
        said = torch.log_softmax(whole[name], dim=-1)[:, 1:].reshape(-1, len(tokenizer)).numpy()
        following = np.roll(rows.tokens[:, 1:], -1, axis=1).ravel()
        place = np.concatenate([np.arange(60), np.arange(60) + 100])
        np.testing.assert_allclose(site.loss(values), -said[place, following[place]], atol=1e-4)
        assert effect(values) == pytest.approx(float((said[place[:60]] - said[place[60:]]).mean(axis=0) @ weights), abs=1e-4)
    assert inner.size == 276


def test_held_scale_makes_zero_and_mean_ablation_the_same_and_the_effect_linear(tokenizer):
    _, _, site, weights = some_site(tokenizer)
    effect = site.detection(weights)
    zero, mean = (necessity.replacement(site.values, kind) for kind in ("zero", "mean"))
    kept = np.arange(64) % 3 > 0
    by = [effect(necessity.replaced(site.values, kept, other)) for other in (zero, mean)]
    assert by[0] == pytest.approx(by[1], abs=1e-5)
    shares = carriers.signed_attribution(site.values, mean, site.gradient(weights))(np.eye(64))
    assert shares[~kept].sum() == pytest.approx(effect(site.values) - by[1], abs=1e-5)
    live = site.detection(weights, live=True)
    assert live(necessity.replaced(site.values, kept, zero)) != pytest.approx(
        live(necessity.replaced(site.values, kept, mean)), abs=1e-5
    )


def found_in(site, weights):
    """(gone, carriers) by attribution."""
    other = site.values[~site.on].mean(axis=0, keepdims=True)
    shares = carriers.signed_attribution(site.values, other, site.gradient(weights))(np.eye(site.values.shape[1]))
    effect = site.detection(weights)
    curves = necessity.curves(effect, site.values, np.argsort(-np.abs(shares)), other)
    assert curves.k90 == carriers.settled(shares[np.argsort(-np.abs(shares))])
    return carriers.gone(effect, site.values, np.argsort(-shares), other), max(curves.k90, curves.enough90)


def test_planted_features_are_found(tokenizer):
    """Three unequal neurons; three that differ by chance from the rest; five for it and three against; all."""
    _, _, site, weights = some_site(tokenizer)
    rng = np.random.default_rng(1)
    three, opposed = np.zeros(64), np.zeros(64)
    three[[4, 30, 50]] = 4, 2.8, 2
    opposed[[1, 9, 20, 31, 40]], opposed[[5, 6, 60]] = 3, -2
    assert found_in(carriers.plant(site, weights, three, 3.0, rng), weights) == (3, 3)
    assert found_in(carriers.plant(site, weights, three, 3.0, rng, loose=True), weights)[1] <= 4
    gone, many = found_in(carriers.plant(site, weights, opposed, 3.0, rng), weights)
    assert gone < 5 < many <= 8  # a first passage stops before it has met those that work against it
    dense = np.exp(0.25 * rng.standard_normal(64)) / 2
    assert found_in(carriers.plant(site, weights, dense, 3.0, rng), weights)[1] > 0.7 * 64
    other = carriers.plant(site, weights, three, 0.2, rng)
    size = other.detection(weights)
    assert size(other.values) - size(0 * other.values) == pytest.approx(0.2, rel=0.1)


def test_first_passage_is_small_in_a_code_of_nothing():
    """Random contributions: a few cancel the rest, and nearly all are needed for the loss to stay."""
    shares = np.random.default_rng(3).standard_normal(500)
    shares -= shares.mean() - 0.05
    ordered = np.sort(shares)[::-1]
    assert int(np.argmax(np.cumsum(ordered) >= 0.9 * shares.sum())) < 15
    assert carriers.settled(shares[np.argsort(-np.abs(shares))]) > 200


def test_gone_and_settled_equal_their_slow_twins():
    rng = np.random.default_rng(0)
    values, other, weights = rng.normal(size=(30, 40)), np.zeros((1, 40)), rng.gamma(0.5, size=40)

    def effect(x):
        return float((np.abs(x) @ weights).mean())

    order = np.argsort(-weights)
    whole = effect(values)
    slow = next(k for k in range(41) if whole - effect(values * ~np.isin(np.arange(40), order[:k])) >= 0.9 * whole)
    assert carriers.gone(effect, values, order, other) == slow
    shares = rng.normal(0.3, 1, 40)
    inside = [abs(shares[:k].sum() / shares.sum() - 1) <= 0.1 for k in range(41)]
    assert carriers.settled(shares) == next(k for k in range(41) if all(inside[k:]))
    with pytest.raises(ValueError, match="nothing to lose"):
        carriers.gone(lambda x: 1.0, values, order, other)


def test_idle_neurons_cost_nothing_else(tokenizer):
    _, _, site, weights = some_site(tokenizer)
    few = np.zeros(64)
    few[:6] = 2
    rise = {}
    for idle in (True, False):
        made = carriers.plant(site, weights, few, 2.0, np.random.default_rng(0), idle=idle)
        values = made.values.copy()
        values[:, :6] = values[~made.on][:, :6].mean(axis=0)
        rise[idle] = np.abs(made.loss(values) - made.loss(made.values))[~made.on].mean()
    assert rise[True] < 0.05 * rise[False]
