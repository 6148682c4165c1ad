"""The step that a GPU replays, run here uncaptured: the same networks as the portable engine, to rounding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import superscope as ss
from superscope.sweep.engines.captured import CapturedTrainer
from superscope.sweep.engines.torch_engine import TorchTrainer
from superscope.sweep.points import stream
from superscope.sweep.unit import blocks, evaluation_points, importance_per_output


def trained(kind, toy, recipe, seeds=40, restarts=3, n=6):
    sweep = ss.Sweep(
        toy, ss.SparseFeatures(n, density=0.1, importance=tuple(0.9 ** np.arange(n))), seeds=seeds, restarts=restarts
    )
    group = sweep.instances()
    params = [toy.initial(one.generator(0, "init")) for one in group]
    start = {name: np.stack([one[name] for one in params]) for name in params[0]}
    importance = np.stack([importance_per_output(one) for one in group])
    trainer = kind(toy, start, importance, recipe, [one.number for one in group], group[0].lanes, "cpu")
    for block in stream(group, recipe):
        trainer.run(block)
    x, weight = evaluation_points(group[0].inputs)
    return trainer, trainer.loss_per_output(x[0], x[0], weight)


@pytest.mark.parametrize(("tied", "activation", "decay"), itertools.product((True, False), ("relu", "gelu"), (0.0, 0.05)))
def test_the_same_networks_as_the_portable_engine(tied, activation, decay):
    toy = ss.TwoLayer(n_features=6, n_hidden=2, tied=tied, activation=activation)
    recipe = ss.Recipe(steps=130, weight_decay=decay)  # more steps than one block of points
    mine, my_loss = trained(CapturedTrainer, toy, recipe)
    theirs, their_loss = trained(TorchTrainer, toy, recipe)
    assert len(mine._p) == 1  # one batch
    assert len(theirs._p) > 1
    for name, value in theirs.params.items():
        np.testing.assert_allclose(mine.params[name], value, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(my_loss, their_loss, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("recipe", [ss.Recipe(steps=20, shared=False), ss.Recipe(steps=20, optimizer="sgd")])
def test_what_is_not_captured_goes_the_old_way(recipe):
    toy = ss.Bottleneck(6, 2)
    mine, _ = trained(CapturedTrainer, toy, recipe, seeds=5)
    theirs, _ = trained(TorchTrainer, toy, recipe, seeds=5)
    np.testing.assert_allclose(mine.params["W"], theirs.params["W"], rtol=1e-4, atol=1e-5)


def test_a_gpu_gets_all_networks_in_one_unit_and_a_cpu_does_not():
    sweep = ss.Sweep(ss.Bottleneck(20, 5), ss.SparseFeatures(20, density=0.01), seeds=256, restarts=64)
    assert len(blocks(sweep, ss.Recipe(), "cuda")) == 1
    assert len(blocks(sweep, ss.Recipe())) >= 16
