"""Training started at given weights: every way of giving them, on every engine, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import superscope as ss

INPUTS = ss.SparseFeatures(2, density=0.1)
PAIR = np.array([[1.0, -1.0]], dtype=np.float32)  # two features in antipodal directions, where they pay


def sweep(**changes):
    return ss.Sweep(ss.Bottleneck(2, 1), INPUTS, **{"seeds": 3, **changes})


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_no_steps_give_back_the_start(engine):
    run = sweep(init={"W": PAIR}).train(ss.Recipe.fast(steps=0), engine=engine)
    assert (run.W.values == PAIR).all()
    assert (run.loss.values == run.loss.values[0]).all()


def test_a_start_per_seed_and_one_over_an_axis():
    own = np.stack([PAIR * scale for scale in (0.5, 1.0, 1.5)])
    per_seed = sweep(init={"W": own}).train(ss.Recipe.fast(steps=0))
    assert (per_seed.W.values == own).all()
    over = {"density": [0.1, 0.2]}
    start = xr.DataArray(own[:2], dims=("density", "hidden", "feature"))
    spread = sweep(over=over, init={"W": start}).train(ss.Recipe.fast(steps=0))
    assert (spread.W.isel(density=1).values == own[1]).all()


def test_a_run_goes_on_from_another_one():
    first = sweep(seeds=4).train(ss.Recipe.fast(steps=200))
    on = sweep(seeds=4, init={"W": first.W, "b_out": first.b_out}).train(ss.Recipe.fast(steps=0))
    np.testing.assert_array_equal(on.W.values, first.W.values)
    np.testing.assert_allclose(on.loss.values, first.loss.values, rtol=1e-6)


def test_training_from_the_optimum_stays_and_from_a_bad_start_leaves():
    """The point of it: a same-sign start never reaches the pair that a planted start keeps."""
    recipe = ss.Recipe.fast(steps=500)
    kept = sweep(init={"W": PAIR * 0.98}).train(recipe)
    lost = sweep(init={"W": np.array([[1.0, 0.2]])}).train(recipe)
    assert kept.loss.values.max() < 0.7 * lost.loss.values.min()


def test_a_module_starts_there_too():
    import torch

    toy = ss.ModuleToy(lambda: torch.nn.Linear(2, 2, bias=False), name="linear")
    run = ss.Sweep(toy, INPUTS, seeds=2, init={"weight": np.eye(2)}).train(ss.Recipe.fast(steps=0))
    assert (run.data["weight"].values == np.eye(2)).all()
    assert run.loss.values == pytest.approx(0, abs=1e-12)


def test_other_starts_are_other_sweeps():
    plain = sweep().digest()
    assert len({plain, sweep(init={"W": PAIR}).digest(), sweep(init={"W": 2 * PAIR}).digest()}) == 3


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ({"V": PAIR}, "init names 'V', but the toy's parameters are W"),
        ({"W": np.ones((2, 2))}, r"init\['W'\] has shape \(2, 2\) for one network, the toy's is \(1, 2\)"),
        ({"W": PAIR * np.nan}, "not finite"),
        ({"W": xr.DataArray(np.ones((2, 1, 2)), dims=("seed", "hidden", "feature"))}, "2 values along 'seed', the sweep has 3"),
    ],
)
def test_what_does_not_fit_is_refused(init, said):
    with pytest.raises(ValueError, match=said):
        sweep(init=init).train(ss.Recipe.fast(steps=0))


def test_labels_and_names_decide_and_not_places():
    """A run over densities in another order is taken by its labels; (feature, hidden) is turned."""
    over = {"density": [0.1, 1.0]}
    first = sweep(over=over).train(ss.Recipe.fast(steps=50))
    turned = sweep(over={"density": [1.0, 0.1]}, init={"W": first.W}).train(ss.Recipe.fast(steps=0))
    np.testing.assert_array_equal(turned.W.sel(density=1.0).values, first.W.sel(density=1.0).values)
    square = xr.DataArray([[1.0, 2.0], [3.0, 4.0]], dims=("feature", "hidden"))
    run = ss.Sweep(ss.Bottleneck(2, 2), INPUTS, init={"W": square}).train(ss.Recipe.fast(steps=0))
    np.testing.assert_array_equal(run.W.values[0], square.values.T)
    with pytest.raises(ValueError, match="other values along 'density'"):
        sweep(over={"density": [0.3, 1.0]}, init={"W": first.W})


def test_a_start_and_an_axis_of_the_recipe():
    run = sweep(over={"lr": [1e-2, 1e-3]}, init={"W": PAIR}).train(ss.Recipe.fast(steps=0))
    assert (run.W.values == PAIR).all()
    with pytest.raises(ValueError, match="names a value twice"):
        sweep(over={"lr": [1e-2, 1e-2]})
    with pytest.raises(ValueError, match="snapshots"):
        sweep(over={"steps": [1, 2]}).train(ss.Recipe.fast(history=2))
