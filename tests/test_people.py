"""Numbers as people have them, and machines as they are."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import superscope as ss
from superscope import machine
from superscope.sweep.engines import fused

R = ss.Recipe(steps=3)


def sweep(**over) -> ss.SweepRun:
    return ss.Sweep(ss.Bottleneck(2, 1), ss.SparseFeatures(2), over=over).train(R, engine="torch")


# ------------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 0.25], (0.5, 0.25), np.array([0.5, 0.25]), np.array([0.5, 0.25], np.float32), torch.tensor([0.5, 0.25]),
        torch.tensor([0.5, 0.25]).bfloat16(), xr.DataArray([0.5, 0.25]), iter([0.5, 0.25]),
        [torch.tensor(0.5), np.float64(0.25)],
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_an_axis_of_any_kind_of_numbers_has_plain_labels(values) -> None:
    run = sweep(density=values)
    assert run.density.values.tolist() == [0.5, 0.25]
    assert run.sel(density=0.25).sweep is run.sweep
    assert np.array_equal(run.loss, sweep(density=[0.5, 0.25]).loss)


def test_a_vector_of_an_axis_can_be_selected_by_itself() -> None:
    pairs = [(1.0, 0.5), (1.0, 2.0)]
    run = sweep(importance=pairs)
    for pair in (pairs[1], list(pairs[1]), np.array(pairs[1]), torch.tensor(pairs[1])):
        assert float(run.sel(importance=pair).loss.squeeze()) == float(run.loss[1].squeeze())
    assert np.array_equal(sweep(importance=np.array(pairs)).loss, run.loss)


def test_the_nearest_label_stands_for_a_number_within_the_axis() -> None:
    run = sweep(density=[0.1, 0.02, 0.001])
    assert float(run.sel(density=0.019).density) == 0.02
    assert float(run.sel(density=0.1000001).density) == 0.1
    assert run.sel(density=[0.1, 0.001]).density.values.tolist() == [0.1, 0.001]
    assert run.sel(density=slice(0.1, 0.02)).density.values.tolist() == [0.1, 0.02]
    assert run.sel(seed=0).loss.dims == ("density",)


def test_whole_numbers_of_any_kind() -> None:
    assert ss.Recipe(steps=1e2).steps == 100
    assert ss.Recipe(steps=np.int64(7), points=torch.tensor(64)).points == 64
    assert ss.Recipe(steps=9, history=range(0, 9, 3)).history_steps() == (0, 3, 6)
    assert ss.Recipe(steps=9, history=np.array([0, 9])).history_steps() == (0, 9)
    assert ss.Bottleneck(5.0, np.int32(2)).shapes()["W"] == (2, 5)
    assert ss.Sweep(ss.Bottleneck(2, 1), ss.SparseFeatures(2), seeds=np.array([3, 5])).axes["seed"] == [3, 5]
    assert ss.Sweep(ss.Bottleneck(2, 1), ss.SparseFeatures(2), seeds=range(2, 4)).axes["seed"] == [2, 3]
    assert ss.SparseFeatures(3, density=torch.tensor([0.1, 0.2, 0.5])).density == pytest.approx((0.1, 0.2, 0.5))


def test_measures_read_what_torch_has() -> None:
    W = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    assert np.allclose(ss.measure.dimensionality(W.bfloat16()), ss.measure.dimensionality(W.bfloat16().float()))
    run = ss.Sweep(ss.Bottleneck(2, 1, activation="identity"), ss.SparseFeatures(2)).train(R, engine="torch")
    assert ss.measure.features_recovered(run.W, run.b_out, activation=run.sweep.toy.activation).shape == (1,)


@pytest.mark.parametrize("again", [lambda run: pickle.loads(pickle.dumps(run)), copy.copy, copy.deepcopy])
def test_a_run_can_be_copied_and_sent(again, tmp_path) -> None:
    run = ss.Sweep(ss.Bottleneck(2, 1), ss.SparseFeatures(2)).train(R, engine="torch", store=tmp_path / "s")
    other = again(run)
    assert np.array_equal(other.W, run.W)
    assert other.engine == run.engine


def test_language_models_read_text_and_ids_of_any_kind() -> None:
    model = ss.lms.load("gelu-1l-mini")
    text = "The cat sat"
    ids = [model.tokenizer.bos, *model.tokenizer.encode(text)]
    wanted = model.loss(torch.tensor([ids]))
    for given in (text, [text], [ids], np.array([ids]), np.array(ids, np.int32), torch.tensor([ids]).int(), tuple(ids)):
        assert torch.equal(model.loss(given), wanted)
    assert torch.equal(model.logits(text), model.logits(torch.tensor([ids])))
    for bad in ("", [], [[0.5]], [["a", "b"]], None, [[-1]], torch.zeros(1, 2, 3).long(), [["a"], ["b"]], 5):
        if bad != "":
            with pytest.raises(ss.lms.ModelError):
                model.logits(bad)
    with pytest.raises(ss.lms.ModelError, match="hook_reid"):
        model.activations(text, ["blocks.0.hook_reid"])


# ----------------------------------------------------------------------------------------------------------- machines

SMALL = """
import superscope as ss
print(ss.Sweep(ss.Bottleneck(2, 1), ss.SparseFeatures(2)).train(ss.Recipe(steps=3)).loss.item())
"""


def python(*words: str, **settings: str | None) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "OMP_NUM_THREADS": "1", **settings}
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        encoding="latin-1",
        check=False,
        env={k: v for k, v in given.items() if v is not None},
    )


@pytest.mark.parametrize("command", [["problems"], ["show", "4.7"], ["problems", "--csv"]])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_terminal(command, encoding, tmp_path) -> None:
    done = python("-m", "superscope", *command, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 500


def test_a_user_without_a_home(monkeypatch) -> None:
    def nobody(cls) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(nobody))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert str(machine.home()).startswith("/tmp") or machine.home().parts
    fused.cache_folder.cache_clear()
    folder = fused.cache_folder()
    assert fused.private(folder)
    assert "superscope-kernels-" in folder.name
    fused.cache_folder.cache_clear()


def test_a_kernel_cache_that_cannot_be_made_falls_back(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    fused.cache_folder.cache_clear()
    assert fused.private(fused.cache_folder())
    fused.cache_folder.cache_clear()


def test_a_kernel_of_somebody_else_is_not_executed(tmp_path) -> None:
    planted = tmp_path / "kernel.so"
    planted.write_bytes(b"planted")
    planted.chmod(0o777)
    assert not fused.private(planted)
    planted.chmod(0o755)
    assert fused.private(planted)
    link = tmp_path / "link.so"
    link.symlink_to(planted)
    assert not fused.private(link)


def test_without_a_compiler_torch_trains(tmp_path) -> None:
    done = python("-c", SMALL, CC="/nonexistent", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0


def test_home_is_expanded_in_paths(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ss.Sweep(ss.Bottleneck(2, 1), ss.SparseFeatures(2)).train(R, engine="torch", store="~/stores/s")
    assert (tmp_path / "stores" / "s" / "superscope.json").exists()
    assert not (tmp_path / "~").exists()


def test_memory_is_that_of_the_tightest_group(tmp_path) -> None:
    def group(path: Path, limit: str, used: int, cache: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        (path / "memory.max").write_text(limit)
        (path / "memory.current").write_text(str(used))
        (path / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")

    free = machine.memory_free(tmp_path)
    assert free is None or free > 1 << 20
    group(tmp_path, "max", 5, 0)
    assert machine.memory_free(tmp_path) == pytest.approx(free, rel=0.2)
    group(tmp_path, "1000000", 900000, 50000)
    assert machine.memory_free(tmp_path) == 150000
    assert machine.memory_total(tmp_path) == 1000000
