"""kill -9 at the moments that matter, and two processes on one new store. Two hundred at random: benchmarks/kills.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# One process that imports once and forks for every trainer; `at` names the call that is killed: before its nth time.
DRIVER = """
import os, signal, sys
from pathlib import Path
import numpy as np, zarr, xarray
import superscope as ss
from superscope import store
from superscope.sweep import archive

folder = Path(sys.argv[1])
sweep = ss.Sweep(ss.Bottleneck(5, 2), ss.SparseFeatures(5), over={"density": ss.logspace(0.5, 0.01, 8)}, seeds=16)
recipe = ss.Recipe(steps=20)

def fork(work):
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
        os._exit(1)

def end(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def train(name, owner=None, attribute=None, nth=0):
    if owner is not None:
        real, calls = getattr(owner, attribute), []
        def counted(*args, **kwargs):
            calls.append(1)
            if len(calls) == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        setattr(owner, attribute, counted)
    run = sweep.train(recipe, store=folder / name, workers=1)
    np.savez(folder / f"{name}-{os.getpid()}.npz", **{str(k): v.values for k, v in run.data.data_vars.items()})

def results(name):
    return [{k: v.tobytes() for k, v in np.load(path).items()} for path in folder.glob(f"{name}-*.npz")]

assert end(fork(lambda: train("peace"))) == 0
peace = results("peace")[0]
moments = [(archive.ZarrArchive, "_create_array", 3), (archive.os, "rename", 1), (archive.ZarrArchive, "write", 1),
           (store, "atomic_write_json", 2), (store, "atomic_write_json", 5)]
for k, (owner, attribute, nth) in enumerate(moments):
    name = f"kill{k}"
    assert end(fork(lambda: train(name, owner, attribute, nth))) == -signal.SIGKILL, (attribute, nth)
    before = {p: p.stat().st_mtime_ns for p in (folder / name / "units").glob("*")}
    assert end(fork(lambda: train(name))) == 0, (attribute, nth)
    assert results(name) == [peace], (attribute, nth)
    assert all(p.stat().st_mtime_ns == then for p, then in before.items())
    assert not [p for p in folder.iterdir() if p.name.startswith(f".{name}")], list(folder.iterdir())
both = [fork(lambda: train("both")) for _ in range(2)]
assert [end(child) for child in both] == [0, 0]
assert results("both") == [peace, peace]
print("survived", len(moments))
"""


def test_kills_lose_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.stdout.strip().endswith("survived 5"), done.stdout[-2000:] + done.stderr[-4000:]
