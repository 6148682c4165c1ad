"""ANDs in a hidden layer: exact squares, a linear layer, read-outs against a slow twin, theory's limits."""

from __future__ import annotations

import numpy as np
import pytest

from superscope.measure.activations import ands


def layer(n, hidden, seed, function):
    rng = np.random.default_rng(seed)
    weight, bias = rng.standard_normal((hidden, n)), 0.5 * rng.standard_normal(hidden)
    return lambda x: {"layer": function(x @ weight.T + bias)}


def test_enough_squares_hold_every_and_exactly():
    """n(n + 1)/2 squares span all quadratic forms of bits: a theorem."""
    n = 6
    found = ands.rows_within(layer(n, 21, 0, np.square), n, 0.5, (1, 4), [14, 21], [0.0], np.random.default_rng(0))["layer"]
    assert (found[0, 1] == 1).all()
    assert found[0, 0].min() < 0.95


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_linear_layer_holds_none(noise):
    n = 8
    found = ands.rows_within(layer(n, 60, 1, lambda z: z), n, 0.2, (0, 1), [20, 60], [noise], np.random.default_rng(0))["layer"]
    assert found.min(-1).max() < 0.5
    assert ands.neurons_needed(found[0][None], [20, 60]) == np.inf


def test_read_outs_against_a_slow_twin():
    """Plain least squares on the same samples, with noise drawn instead of reckoned."""
    n, p, h, noise = 10, 0.2, 30, 0.3
    features = layer(n, h, 2, np.square)
    fast = ands.rows_within(features, n, p, (2, 3), [h], [noise], np.random.default_rng(5), held_out=20_000)["layer"][0, 0]
    rng = np.random.default_rng(6)
    x, judge = (ands.row_samples(n, p, (2, 3), count, rng) for count in (20_000, 20_000))
    a, b = features(x)["layer"], features(judge)["layer"]
    size = a.std(0)
    a, b = (one + noise * size * rng.standard_normal(one.shape) for one in (a, b))
    design, again = (np.column_stack([one, np.ones(len(one))]) for one in (a, b))
    weight = np.linalg.lstsq(design, x[:, 2] * x[:, 3], rcond=None)[0]
    slow = (abs(again @ weight - judge[:, 2] * judge[:, 3]) < 0.25).reshape(3, -1).mean(1)
    assert fast == pytest.approx(slow, abs=0.05)  # few samples a weight cost a little


def test_rows_are_what_they_say():
    x = ands.row_samples(7, 0.3, (1, 5), 400, np.random.default_rng(0))
    assert (x[:, [1, 5]].sum(1).reshape(3, -1) == np.array([[0], [1], [2]])).all()
    assert x[:, [0, 2, 3, 4, 6]].mean() == pytest.approx(0.3, abs=0.03)


def test_the_crossing_is_interpolated():
    within = np.full((2, 3, 3), 1.0)
    within[:, :, 1] = [0.85, 0.93, 0.97]
    assert ands.neurons_needed(within, [10, 20, 30]) == pytest.approx(25)
    assert ands.neurons_needed(within[:, :2], [10, 20]) == np.inf
    assert ands.neurons_needed(within[:, 2:], [30]) == 30


def test_theory_knows_its_limits():
    assert ands.neurons_in_theory(4, 0.9) <= 10  # never more than all quadratic forms
    rare, often = (ands.neurons_in_theory(40, active / 40) for active in (1, 4))
    assert 1.5 * rare < often < 820
    assert ands.neurons_in_theory(80, 2 / 80) < 2 * ands.neurons_in_theory(40, 2 / 40)  # so ANDs per neuron grow


def test_theory_predicts_random_squares():
    n = 20
    found = ands.per_neuron(lambda h: layer(n, h, 3, np.square), n, 0.1, 6, 8, [0.0], np.random.default_rng(0))["layer"][0]
    assert found == pytest.approx(n * (n - 1) / 2 / ands.neurons_in_theory(n, 0.1), rel=0.2)
