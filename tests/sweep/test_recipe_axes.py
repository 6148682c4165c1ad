"""Fields of the recipe as axes of a sweep: the same numbers as sweeps of their own."""

from __future__ import annotations

import numpy as np
import pytest

import superscope as ss

TOY, INPUTS = ss.Bottleneck(4, 2), ss.SparseFeatures(4, density=0.1)


def test_every_combination_is_the_sweep_of_its_own(tmp_path):
    over = {"lr": [1e-2, 1e-3], "density": [0.5, 0.1], "steps": [20, 5]}
    run = ss.Sweep(TOY, INPUTS, over=over, seeds=3).train(store=tmp_path / "s.zarr")
    assert run.W.dims == ("lr", "density", "steps", "seed", "hidden", "feature")
    assert list(run.W.lr.values) == [1e-2, 1e-3]
    assert list(run.W.steps.values) == [20, 5]
    for lr in over["lr"]:
        for steps in over["steps"]:
            alone = ss.Sweep(TOY, INPUTS, over={"density": [0.5, 0.1]}, seeds=3).train(ss.Recipe.fast(lr=lr, steps=steps))
            np.testing.assert_array_equal(run.W.sel(lr=lr, steps=steps).values, alone.W.values)
    again = ss.Sweep(TOY, INPUTS, over=over, seeds=3).train(store=tmp_path / "s.zarr")
    np.testing.assert_array_equal(again.W.values, run.W.values)
    assert run.best("seed").W.dims == ("lr", "density", "steps", "hidden", "feature")


def test_text_and_bad_values():
    run = ss.Sweep(TOY, INPUTS, over={"schedule": ["cosine", "constant"]}, seeds=2).train(ss.Recipe.fast(steps=5))
    assert list(run.W.schedule.values) == ["cosine", "constant"]
    with pytest.raises(ValueError, match="schedule='sine' is unknown"):
        ss.Sweep(TOY, INPUTS, over={"schedule": ["sine"]})
    with pytest.raises(ValueError, match="did you mean 'warmup'"):
        ss.Sweep(TOY, INPUTS, over={"warmups": [0.1]})
    with pytest.raises(ValueError, match="no field"):
        ss.Sweep(TOY, INPUTS, over={"history": [3]})
