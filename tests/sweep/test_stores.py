"""Stored sweeps: made in one step, shared by processes, grown, and mended where they are damaged; nothing is deleted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import superscope as ss
from superscope import store as files
from superscope.store import StoreError

QUICK = ss.Recipe(steps=20)


def sweep(seeds=3, **changes) -> ss.Sweep:
    given = {"toy": ss.Bottleneck(5, 2), "inputs": ss.SparseFeatures(5), "over": {"density": [0.5, 0.1]}}
    return ss.Sweep(**given | changes, seeds=seeds)


def equal(one, other) -> bool:
    return all(np.array_equal(one.data[name].values, other.data[name].values, equal_nan=True) for name in one.data)


def markers(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (store / "units").glob("*.json")}


# ------------------------------------------------------------------------------------------------------------- growth


def test_more_seeds_keep_the_old_ones_to_the_bit(tmp_path):
    store = tmp_path / "s"
    few = sweep(3).train(QUICK, engine="fused", store=store)
    before = markers(store)
    more = sweep(7).train(QUICK, store=store)
    assert markers(store) == before
    assert more.seed.values.tolist() == list(range(7))
    assert np.array_equal(more.W.isel(seed=slice(3)), few.W)
    assert equal(more, sweep(7).train(QUICK, engine="fused"))
    assert equal(sweep(7).train(QUICK, store=store), more)


def test_growth_goes_on_and_back(tmp_path):
    store = tmp_path / "s"
    for seeds in (2, 4, 6, [0, 5, 9], 3):
        run = sweep(seeds).train(QUICK, engine="fused", store=store)
        assert equal(run, sweep(seeds).train(QUICK, engine="fused"))
    assert len(list(store.rglob("superscope.json"))) == 4  # 0-1, 2-3, 4-5 and 9: nothing was trained twice


def test_growth_with_starting_values(tmp_path):
    start = sweep(4).train(QUICK).W
    grown = sweep(4, init={"W": start})
    sweep(2, init={"W": start.isel(seed=slice(2))}).train(QUICK, store=tmp_path / "s")
    run = grown.train(QUICK, store=tmp_path / "s")
    assert np.allclose(run.W, grown.train(QUICK).W, atol=1e-6)
    assert (tmp_path / "s" / "more").is_dir()


def test_more_steps_are_kept_beside_the_old_ones(tmp_path):
    store = tmp_path / "s"
    short = sweep().train(QUICK, store=store)
    long = sweep().train(QUICK.replace(steps=40), store=store)
    assert equal(long, sweep().train(QUICK.replace(steps=40)))
    before = markers(store)
    assert equal(sweep().train(QUICK, store=store), short)
    assert markers(store) == before


def test_an_edited_function_is_trained_anew_beside_the_old_one(tmp_path):
    def cell(relu: bool) -> ss.Sweep:
        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.w = torch.nn.Parameter(torch.randn(2, 5) * 0.3)

            def forward(self, x):
                y = x @ self.w.T @ self.w
                return torch.relu(y) if relu else y

        return ss.Sweep(ss.ModuleToy(Net), ss.SparseFeatures(5), seeds=2)

    store = tmp_path / "s"
    old = cell(True).train(QUICK, store=store)
    before = markers(store)
    new = cell(False).train(QUICK, store=store)
    assert equal(new, cell(False).train(QUICK))
    assert not equal(new, old)
    assert any("is not what it was" in note for note in new.notes)
    assert equal(cell(True).train(QUICK, store=store), old)
    assert markers(store) == before


def test_another_sweep_is_refused_without_advice_to_delete(tmp_path):
    sweep().train(QUICK, store=tmp_path / "s")
    for other, recipe in (
        (sweep(inputs=ss.SparseFeatures(5, values=ss.Constant(1))), QUICK),
        (sweep(5), ss.Recipe(steps=20, lr=1)),
    ):
        with pytest.raises(StoreError, match="holds another sweep") as caught:
            other.train(recipe, store=tmp_path / "s")
        assert "delete" not in str(caught.value)


def test_a_store_may_be_reached_through_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "to nothing yet").symlink_to(tmp_path / "new")
    for name in ("link", "to nothing yet"):
        run = sweep().train(QUICK, store=tmp_path / name)
        assert equal(sweep().train(QUICK, store=tmp_path / name), run)
    assert (tmp_path / "real" / "superscope.json").exists()
    (tmp_path / "a").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match=r"leads nowhere|cannot be a folder"):
        sweep().train(QUICK, store=tmp_path / "a" / "s")


# ------------------------------------------------------------------------------------------------------------- damage


def test_a_half_made_store_of_old_is_made_anew(tmp_path):
    store = tmp_path / "s"
    whole = sweep().train(QUICK, store=store)
    (store / "superscope.json").unlink()
    shutil.rmtree(store / "units")
    assert equal(sweep().train(QUICK, store=store), whole)


@pytest.mark.parametrize(
    "spoil", [lambda p: p.unlink(), lambda p: p.write_text("[]"), lambda p: p.write_bytes(p.read_bytes()[:90])]
)
def test_a_lost_description_sets_the_store_aside(tmp_path, spoil):
    store = tmp_path / "s"
    whole = sweep().train(QUICK, store=store)
    spoil(store / "superscope.json")
    again = sweep().train(QUICK, store=store)
    assert equal(again, whole)
    assert any("s.damaged-1" in note for note in again.notes)
    assert list((tmp_path / "s.damaged-1" / "units").glob("*.json"))


@pytest.mark.parametrize("spoil", ["zarr.json", "W/zarr.json", "loss"])
def test_damaged_arrays_are_trained_again(tmp_path, spoil):
    store = tmp_path / "s"
    whole = sweep().train(QUICK, store=store)
    path = store / spoil
    shutil.rmtree(path) if path.is_dir() else path.write_text("{")
    assert equal(sweep().train(QUICK, store=store), whole)


@pytest.mark.parametrize("marker", ["{}", "[]", "null", '{"W": "0"}'])
def test_a_marker_that_vouches_for_nothing_is_no_marker(tmp_path, marker):
    store = tmp_path / "s"
    whole = sweep().train(QUICK, store=store)
    path = next((store / "units").glob("*.json"))
    path.write_text(marker)
    again = sweep().train(QUICK, store=store)
    assert equal(again, whole)
    assert any("trained again" in note for note in again.notes)
    assert len(json.loads(path.read_text())) > 3


# -------------------------------------------------------------------------------------------------------------- locks


def test_the_second_waits_and_says_for_whom(tmp_path, capfd):
    place, order = tmp_path / "s", []

    def second() -> None:
        with files.locked(place):
            order.append("second")

    with files.locked(place):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert f"process {os.getpid()} on " in capfd.readouterr().err
    assert not list(tmp_path.iterdir())  # no lock is left behind


def test_a_lock_whose_owner_was_killed_is_taken_over(tmp_path, capfd):
    code = """import os, signal, sys
from superscope import store
with store.locked(sys.argv[1]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=False)
    assert ".s.lock" in os.listdir(tmp_path)
    with files.locked(tmp_path / "s"):
        pass
    assert not capfd.readouterr().err
    assert not list(tmp_path.iterdir())
