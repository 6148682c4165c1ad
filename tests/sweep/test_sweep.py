"""The sweep as users meet it: labelled results, reproducibility, resuming, and what it says to bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import superscope as ss
from superscope.store import StoreError
from superscope.sweep import execute, unit

QUICK = ss.Recipe(steps=60, points=32)


def small(**changes) -> ss.Sweep:
    spec = {
        "toy": ss.Bottleneck(n_features=6, n_hidden=2),
        "inputs": ss.SparseFeatures(n=6, density=0.2),
        "over": {"density": [0.05, 0.2, 0.5]},
        "seeds": 4,
    }
    return ss.Sweep(**{**spec, **changes})


# -- the front door ------------------------------------------------------------------------------------------------------


def test_front_door_shapes_and_labels() -> None:
    run = small(over={"density": ss.logspace(1, 0.01, 3)}, seeds=4, restarts=2).train(QUICK)
    assert run.W.dims == ("density", "seed", "restart", "hidden", "feature")
    assert run.W.shape == (3, 4, 2, 2, 6)
    assert run.loss.dims == ("density", "seed", "restart")
    assert run.loss_per_feature.dims == ("density", "seed", "restart", "feature")
    np.testing.assert_allclose(run.loss.density, [1, 0.1, 0.01])
    assert run.W_out is None
    best = run.best("restart")
    assert best.loss.dims == ("density", "seed")
    np.testing.assert_array_equal(best.loss, run.loss.min("restart"))
    assert best.best("seed").W.dims == ("density", "hidden", "feature")


def test_loss_is_importance_weighted_sum_over_features() -> None:
    importance = tuple(0.8**i for i in range(6))
    run = small(inputs=ss.SparseFeatures(6, importance=importance), over={"density": [0.2]}).train(QUICK)
    np.testing.assert_allclose(run.loss, (run.loss_per_feature * np.array(importance)).sum("feature"), rtol=1e-5)


def test_forward_reproduces_the_loss() -> None:
    run = small(over={"density": [0.2]}).train(QUICK)
    x = ss.SparseFeatures(6, density=0.2).sample(200_000, seed=3)
    y = run.forward(x, density=0.2)
    assert y.shape == (4, 200_000, 6)
    np.testing.assert_allclose(((y - x) ** 2).sum(-1).mean(-1), run.loss.sel(density=0.2), rtol=0.03)


def test_axes_over_toy_fields_pad_with_nan() -> None:
    run = small(over={"n_hidden": [1, 3], "activation": ["relu", "gelu"]}).train(QUICK)
    assert run.W.dims == ("n_hidden", "activation", "seed", "hidden", "feature")
    assert np.isnan(run.W.sel(n_hidden=1)).sum() == 2 * 4 * 2 * 6
    assert np.isfinite(run.W.sel(n_hidden=3)).all()
    with pytest.raises(ValueError, match="choose one, for instance forward"):
        run.forward(ss.SparseFeatures(6).sample(3))
    assert run.forward(ss.SparseFeatures(6).sample(3), n_hidden=1, activation="gelu").shape == (4, 3, 6)


def test_seeds_are_paired_across_conditions_unless_told_otherwise() -> None:
    start = ss.Recipe(steps=0)
    paired = small().train(start).W
    assert np.array_equal(paired.isel(density=0), paired.isel(density=2))
    assert not np.array_equal(paired.isel(seed=0), paired.isel(seed=1))
    free = small(paired=False).train(start).W
    assert not np.array_equal(free.isel(density=0), free.isel(density=2))


def test_more_seeds_leave_the_first_ones_as_they_were() -> None:
    few, many = small(seeds=2).train(QUICK, engine="fused"), small(seeds=20).train(QUICK, engine="fused")
    assert np.array_equal(few.W, many.W.sel(seed=[0, 1]))


def test_history_keeps_weights_and_loss() -> None:
    run = small(over=None).train(ss.Recipe(steps=50, points=32, history=(0, 10, 50)))
    assert list(run.history.step) == [0, 10, 50]
    np.testing.assert_array_equal(run.history.W.sel(step=50), run.W)
    assert (run.history.loss.sel(step=50) < run.history.loss.sel(step=0)).all()
    plain = small(over=None).train(ss.Recipe(steps=50, points=32))
    np.testing.assert_array_equal(plain.W, run.W)  # looking does not change the training
    with pytest.raises(LookupError, match="history=20"):
        _ = plain.history


def test_any_module_is_trained_by_the_same_sweep() -> None:
    torch = pytest.importorskip("torch")

    def mlp(n: int, width: int) -> object:
        return torch.nn.Sequential(torch.nn.Linear(n, width), torch.nn.GELU(), torch.nn.Linear(width, n))

    toy = ss.ModuleToy(mlp, {"n": 4, "width": 3})
    run = ss.Sweep(toy, ss.SparseFeatures(4, density=0.3), over={"width": [2, 8]}, seeds=3).train(ss.Recipe(steps=300))
    assert run.engine == "torch"
    assert run.data["0.weight"].shape == (2, 3, 8, 4)
    assert (run.loss.sel(width=8) < run.loss.sel(width=2)).all()
    with pytest.raises(ValueError, match="two-layer family only"):
        ss.Sweep(toy, ss.SparseFeatures(4)).train(engine="fused")


def test_loss_agrees_with_ten_million_plain_samples() -> None:
    inputs = ss.SparseFeatures(8, density=(0.02, 0.02, 0.05, 0.1, 0.02, 0.2, 0.02, 0.01))
    run = ss.Sweep(ss.Bottleneck(8, 3), inputs, seeds=1).train(ss.Recipe(steps=300))
    losses = []
    for part in range(20):
        x = inputs.sample(500_000, seed=part)
        losses.append(float(((run.forward(x)[0] - x) ** 2).sum(-1).mean()))
    error = np.hypot(np.std(losses, ddof=1) / np.sqrt(len(losses)), float(run.loss_se[0]))
    assert abs(np.mean(losses) - float(run.loss[0])) < 4 * error
    assert float(run.loss_se[0]) < 0.01 * float(run.loss[0])


# -- units, workers, resuming --------------------------------------------------------------------------------------------


def many() -> ss.Sweep:
    return small(over={"density": ss.logspace(0.5, 0.01, 8)}, seeds=16)


def same(a: ss.SweepRun, b: ss.SweepRun) -> bool:
    return all(np.array_equal(a.data[k].values, b.data[k].values, equal_nan=True) for k in a.data)


def test_units_cover_the_grid_once() -> None:
    for sweep in (many(), small(), small(over=None, seeds=1), small(seeds=300, restarts=3)):
        seen = np.zeros(sweep.shape, dtype=int)
        for block in unit.blocks(sweep, QUICK):
            seen[block] += 1
        assert (seen == 1).all()
    assert len(unit.blocks(many(), QUICK)) > 4


@pytest.mark.parametrize("engine", ["fused", "torch"])
def test_workers_and_chunks_do_not_change_a_bit(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = many().train(QUICK, workers=1, engine=engine)
    assert same(one, many().train(QUICK, workers=2, engine=engine))
    monkeypatch.setattr(execute, "blocks", lambda *_: [(slice(0, 8), slice(0, 16))])
    assert same(one, many().train(QUICK, engine=engine))


def test_store_is_resumed_and_only_the_missing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = many().train(QUICK)
    store = tmp_path / "sweep.zarr"
    assert same(many().train(QUICK, store=store), whole)
    trained = []
    monkeypatch.setattr(
        execute, "train_unit", lambda s, r, block, *rest: trained.append(block) or unit.train_unit(s, r, block, *rest)
    )
    (store / "units" / "00003.json").unlink()
    assert same(many().train(QUICK, store=store), whole)
    assert len(trained) == 1


def test_kill_minus_nine_then_resume_is_bit_identical(tmp_path: Path) -> None:
    store = tmp_path / "sweep.zarr"
    script = f"""
import superscope as ss
sweep = ss.Sweep(ss.Bottleneck(6, 2), ss.SparseFeatures(6, density=0.2), over={{"density": ss.logspace(.5, .01, 8)}}, seeds=16)
sweep.train(ss.Recipe(steps=40000, points=32), engine="fused", workers=1, store={str(store)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        for _ in range(600):
            if len(list(store.glob("units/*.json"))) >= 1 or process.poll() is not None:
                break
            time.sleep(0.05)
        assert process.poll() is None, "the process must be killed in the middle of its work"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finished = {p.name: p.read_text() for p in store.glob("units/*.json")}
    assert 0 < len(finished) < 8
    recipe = ss.Recipe(steps=40000, points=32)
    resumed = many().train(recipe, engine="fused", store=store)
    assert all((store / "units" / name).read_text() == text for name, text in finished.items())
    assert same(resumed, many().train(recipe, engine="fused"))


def test_ray_gives_the_same_numbers(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="the cluster extra is not installed")
    try:
        distributed = many().train(QUICK, executor="ray", workers=2, store=tmp_path / "ray.zarr")
    finally:
        ray.shutdown()
    assert same(distributed, many().train(QUICK))


def test_without_ray_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"superscope\[cluster\]"):
        small().train(QUICK, executor="ray")


# -- bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ss.SparseFeatures(5, density=1.5), r"density=1\.5 is outside \[0, 1\]"),
        (lambda: small(over={"density": [0.1, -0.2]}), r"density=-0\.2 is outside"),
        (lambda: ss.SparseFeatures(5, importance=-1), r"importance=-1.*>= 0"),
        (lambda: ss.SparseFeatures(5, density=(0.1, 0.2)), "density has 2 entries but n=5"),
        (lambda: small(over={"densty": [0.1]}), "did you mean 'density'"),
        (lambda: ss.Bottleneck(5, 0), "n_hidden=0: must be a whole number >= 1"),
        (lambda: ss.Bottleneck(5, 2, activation="rleu"), "did you mean 'relu'"),
        (lambda: ss.Bottleneck(5, 2, target="absolute"), "target='absolute' is unknown"),
        (lambda: ss.Bottleneck(5, 2, dropout=1.0), r"dropout=1\.0: the rate must lie in \[0, 1\)"),
        (lambda: small(inputs=ss.SparseFeatures(7)), "n_features=6 but the inputs have n=7"),
        (lambda: ss.Recipe(lr=0), "lr=0: the learning rate must be > 0"),
        (lambda: ss.Recipe(schedule="cosin"), "schedule='cosin' is unknown"),
        (lambda: ss.Recipe(optimizer="adamw"), "optimizer='adamw' is unknown: did you mean 'adam'\\? known are adam, sgd"),
        (lambda: ss.Recipe(l1=-1), "l1=-1: the penalty must be >= 0"),
        (lambda: ss.Recipe(sampling="each", points=64), "leave points out"),
        (lambda: small().train(ss.Recipe(steps=1, l1=0.1), engine="fused"), "Adam without a penalty"),
        (lambda: small(seeds=[1, 1]), r"seeds=\[1, 1\]"),
        (lambda: small().train(engine="fuse"), "engine='fuse' is unknown"),
        (lambda: small().train(executor="slurm"), "executor='slurm' is unknown"),
        (lambda: small().train(ss.Recipe.faithful(steps=1), engine="fused"), "use engine='torch'"),
        (lambda: ss.Uniform(1, 0), r"Uniform\(1, 0\): needs finite low < high"),
        (lambda: ss.SparseFeatures(3, groups=(ss.Correlated((0, 5)),)), "feature numbers from 0 to 2"),
        (lambda: ss.SparseFeatures(3, 0.6, groups=(ss.AntiCorrelated((0, 1)),)), "at most one may be on"),
    ],
)
def test_bad_input_is_quoted(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_diverged_networks_are_named_and_the_rest_kept() -> None:
    sweep = small(toy=ss.Bottleneck(6, 2, activation="identity"), over={"init_scale": [1.0, 1e30]}, seeds=2)
    with pytest.warns(UserWarning, match=r"2 of 4 networks diverged.*init_scale=1e\+30, seed=0"):
        run = sweep.train(QUICK)
    assert run.failed == ["init_scale=1e+30, seed=0", "init_scale=1e+30, seed=1"]
    assert np.isfinite(run.loss.sel(init_scale=1.0)).all()


def test_store_of_another_sweep_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "sweep.zarr"
    small().train(QUICK, store=store)
    with pytest.raises(StoreError, match=r"holds another sweep \(recipe\.points is \w+ there, 70 here\)"):
        small().train(QUICK.replace(points=70), store=store)
    with pytest.raises(StoreError, match="holds another sweep"):
        small(seeds=[100, 101]).train(QUICK, store=store)


def test_folder_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="no sweep store"):
        small().train(QUICK, store=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_damaged_unit_is_trained_again_and_said(tmp_path: Path) -> None:
    store = tmp_path / "sweep.zarr"
    whole = many().train(QUICK, store=store)
    chunk = max((p for p in (store / "W" / "c").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    chunk.write_bytes(chunk.read_bytes()[:20])
    again = many().train(QUICK, store=store)
    assert same(again, whole)
    assert any("was damaged and is trained again" in note for note in again.notes)


def test_full_disk_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from superscope.sweep.archive import ZarrArchive

    store, write = tmp_path / "sweep.zarr", ZarrArchive.write
    written = []

    def full(self, number, arrays):
        if len(written) == 3:
            monkeypatch.setattr(
                type(self._group), "__getitem__", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left"))
            )
        written.append(number)
        write(self, number, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(ZarrArchive, "write", full)
        with pytest.raises(StoreError, match="free some space and run again, the finished units are kept"):
            many().train(QUICK, store=store, workers=1)
    monkeypatch.undo()
    assert len(list(store.glob("units/*.json"))) == 3
    assert same(many().train(QUICK, store=store), many().train(QUICK))


def test_memory_is_estimated_before_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    big = ss.Sweep(ss.Bottleneck(400, 30), ss.SparseFeatures(400), over={"density": ss.logspace(1, 0.001, 20)}, seeds=1)
    assert unit.estimate_bytes(big, ss.Recipe.fast(), "torch", 1, True) < 2 << 30
    one, four = (unit.estimate_bytes(many(), QUICK, "fused", k, True) for k in (1, 4))
    assert one < four < 4 * one
    monkeypatch.setattr(execute.machine, "memory_free", lambda: (one + four) // 2)
    with pytest.raises(MemoryError, match=r"workers=[123] fits"):
        many().train(QUICK, engine="fused", workers=4)
    monkeypatch.setattr(execute.machine, "memory_free", lambda: 1 << 10)
    with pytest.raises(MemoryError, match="use a smaller toy or grid"):
        small().train(QUICK)


def test_spec_is_stored_in_plain_json(tmp_path: Path) -> None:
    store = tmp_path / "sweep.zarr"
    small().train(QUICK, store=store)
    found = json.loads((store / "superscope.json").read_text())
    assert found["spec"]["toy"]["type"] == "Bottleneck"
    assert found["recipe"]["steps"] == 60


def test_functions_of_one_name_are_told_apart() -> None:
    def net(scale):
        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.w = torch.nn.Parameter(torch.ones(5))

            def forward(self, x):
                return scale(x * self.w)

        return Net()

    inputs, recipe = ss.SparseFeatures(5), ss.Recipe(steps=3)
    scales = [lambda x: x, lambda x: 2 * x]
    run = ss.Sweep(ss.ModuleToy(net, {"scale": scales[0]}), inputs, over={"scale": scales}).train(recipe)
    for place, scale in enumerate(scales):
        alone = ss.Sweep(ss.ModuleToy(net, {"scale": scale}), inputs).train(recipe)
        assert float(run.loss[place].squeeze()) == pytest.approx(float(alone.loss.squeeze()), rel=1e-5)
