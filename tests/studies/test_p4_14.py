"""4.14: exact networks, masks, bounds against slow twins, interference of built codes, and a small run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.studies import p4_14_several_layers as study
from superscope.toys import pair_maxima as toy

TINY = {"pairs": 3, "widths": (4, 4), "residual": (2, 3), "seeds": 5, "steps": 60, "points": 32}


def inputs(pairs, count=500, density=0.5, together=False, seed=0):
    return toy.draw(np.random.default_rng(seed), count, pairs, density, together)


@pytest.mark.parametrize("skip", [False, True])
def test_three_neurons_a_pair_are_exact_and_two_with_a_skip(skip):
    x = inputs(4)
    net = toy.exact(4, skip)
    assert net.output(x)[0].numpy() == pytest.approx(toy.target(x).numpy(), abs=1e-6)
    widths = (net.weights["W1"].shape[2], net.weights["W3"].shape[1])
    assert widths == ((4, 4) if skip else (8, 4))


def test_output_against_a_slow_twin():
    net, x = toy.random([3, 4], 2, (3, 5)), inputs(2, 20)
    for i in range(2):
        w = {name: one[i].numpy() for name, one in net.weights.items()}
        first = np.maximum(x.numpy() @ w["W1"] + w["b1"], 0)
        second = np.maximum(first @ w["W2"] + x.numpy() @ w["V"] + w["b2"], 0)
        said = second @ w["W3"] + first @ w["U"] + x.numpy() @ w["T"] + w["b3"]
        assert net.output(x)[i].numpy() == pytest.approx(said, abs=1e-5)


def test_pairs_that_share_nothing_do_not_touch_after_training():
    config = study.Config(**TINY)
    mask = toy.allowed(3, (4, 4), "V U T", study.owners(config, False))
    made = toy.train(toy.random([0], 3, (4, 4)), mask, [True], 0.3, 40, 0.02, 32, 1)
    x = inputs(3, 50)
    moved = x.clone()
    moved[:, 2:4] = 0.7
    change = (made.output(moved) - made.output(x))[0].abs().max(0).values
    assert change[0] == change[2] == 0 < change[1]
    assert toy.loss(made, [True], 0.3, 0)[0] < toy.loss(toy.random([0], 3, (4, 4)), [True], 0.3, 0)[0]


def test_neurons_that_are_not_there_do_nothing():
    mask = toy.only(toy.allowed(3, (4, 4), ""), (2, 3))
    start = toy.random([1], 3, (4, 4))
    made = toy.train(start, mask, [False], 0.3, 10, 0.02, 16, 1)
    assert made.weights["W1"][..., 2:].abs().max() == made.weights["W3"][:, 3:].abs().max() == 0
    assert made.weights["U"][:, 2:].abs().max() == made.weights["W2"][:, 2:].abs().max() == 0
    assert made.weights["T"].abs().min() > 0


@pytest.mark.parametrize("together", [True, False])
def test_bounds_against_sampling(together):
    density = 0.3
    x = inputs(1, 400_000, density, together).numpy().astype(float)
    truth = np.maximum(x.max(1), 0)
    assert toy.pair_variance(density, together) == pytest.approx(truth.var(), rel=0.01)
    order = np.argsort(x @ [np.cos(0.7679), np.sin(0.7679)])
    order = order[(x[order] != 0).any(1)]
    hidden = np.diff(truth[order]) ** 2 / 2  # neighbours in the projection differ by what it does not show
    assert toy.one_projection(density, together) <= 1.03 * hidden.sum() / len(x)
    if together:
        assert toy.one_projection(density, together) == pytest.approx(hidden.sum() / len(x), rel=0.03)
    assert toy.one_projection(density, together) < 0.3 * toy.pair_variance(density, together)
    u, h = x[:, 0] - x[:, 1], np.ones(len(x))
    best = np.linalg.lstsq(np.stack([h, x[:, 0], x[:, 1], np.maximum(u, 0)], 1), truth, rcond=None)[1][0] / len(x)
    assert toy.one_hinge(density, together) <= 1.02 * best


def test_one_neuron_does_pairs_that_are_on_one_at_a_time():
    assert toy.one_projection(0.001, False) < 0.001 * toy.pair_variance(0.001, False)


def test_interference_is_seen_where_it_was_built_and_nowhere_else():
    assert toy.interference(toy.exact(6), 0.1, 0).max() < 1e-3
    one, two = toy.interference(toy.ring_code(6), 0.05, 0)[0]
    assert one > 0.1
    assert two < 0.5 * one
    bare = toy.interference(toy.ring_code(6, threshold=0.0), 0.05, 0)[0]
    assert bare[1] > 1.3 * two  # without the threshold nothing is cut
    straight = toy.interference(toy.ring_code(6), 0.05, 0, straight=True)[0]
    assert straight[1] > one


def test_cross_talk_in_the_output_alone_is_no_cleaning():
    """An adversarial null: exact neurons in layer one, mixed by layer two."""
    net = toy.exact(6)
    net.weights["W3"] = net.weights["W3"] + 0.3 * torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    one, two = toy.interference(net, 0.05, 0)[0]
    assert two > 10 * one


def test_configurations_that_make_nothing_scarce_are_refused():
    with pytest.raises(ValueError, match=r"widths=\(12, 12\)"):
        study.Config(widths=(12, 12))
    with pytest.raises(ValueError, match=r"widths=\(8, 4\).*outputs"):
        study.Config(widths=(8, 4))
    with pytest.raises(ValueError, match="residual="):
        study.Config(residual=(6, 6))


def test_a_small_run(tmp_path):
    found = studies.get("4.14").run(out=tmp_path, quiet=True, **TINY)
    claims = {claim.id: claim for claim in found.claims}
    assert found.tables["arms"].groupby("arm").size().max() >= 5
    assert claims["below-hand-out"].null.estimate.value > 1
    assert claims["cleans-up"].plant.estimate.value < 1
    assert set(found.tables) == {"arms", "yardsticks", "retractions"}
    assert len(found.answer.split()) <= 30
