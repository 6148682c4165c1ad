"""Does a stored sweep survive kill -9? Kills at random moments, some of them aimed at the store's creation, half of them with
two processes on one store; every time the sweep is taken up again and compared bit by bit with one that was left in peace.

    python benchmarks/kills.py [--kills 200] [--creation 50] [--seed 0]

Every trainer is a fork of this process, which itself never trains, so a trial costs a training and not an import.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray  # noqa: F401 - so that no trial spends its time on imports
import zarr  # noqa: F401

import superscope as ss
from superscope.sweep.engines import fused

RECIPE = ss.Recipe(steps=150)
UNITS = 16


def sweep() -> ss.Sweep:
    return ss.Sweep(ss.Bottleneck(6, 2), ss.SparseFeatures(6), over={"density": ss.logspace(0.5, 0.01, 16)}, seeds=16)


def fork(work: Callable[[], bool], quiet: bool = True) -> int:
    """The process id of a child that does `work` and exits 0 when it returned True."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if quiet:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        code = 0 if work() else 1
    finally:
        os._exit(code)


def train(store: Path) -> bool:
    sweep().train(RECIPE, store=store)
    return True


def same(store: Path, reference: Path) -> bool:
    """Does the sweep resume to the very bits of the reference, with no unit of the old ones lost?"""
    before = {path.name: path.stat().st_mtime_ns for path in (store / "units").glob("*.json")}
    run = sweep().train(RECIPE, store=store)
    kept = all((store / "units" / name).stat().st_mtime_ns == time for name, time in before.items())
    arrays = np.load(reference)
    equal = all(np.array_equal(value.values, arrays[str(name)], equal_nan=True) for name, value in run.data.data_vars.items())
    left = [path.name for path in store.parent.iterdir() if ".new-" in path.name or path.name.endswith(".lock")]
    return kept and equal and not left and len(list((store / "units").glob("*.json"))) == UNITS


def whole(child: int) -> bool:
    return os.waitpid(child, 0)[1] == 0


def trial(folder: Path, reference: Path, rng: np.random.Generator, span: float, creating: float | None, two: bool) -> str:
    """One kill; returns what came of it."""
    store = folder / "sweep.zarr"
    children = [fork(lambda: train(store)) for _ in range(1 + two)]
    if creating is not None:  # wait for the first sign of the store, then kill within the time that its creation takes
        while not any(".new-" in name or name == "sweep.zarr" for name in os.listdir(folder)):
            time.sleep(0.0002)
        time.sleep(float(rng.uniform(0, creating)))
    else:
        time.sleep(float(rng.uniform(0, span)))
    made = (store / "superscope.json").exists()
    os.kill(children[0], signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(children[0], 0)[1])
    survived = whole(children[1]) if two else True
    resumed = whole(fork(lambda: same(store, reference)))
    if not (survived and resumed):
        return "LOST" if survived else "THE OTHER FAILED"
    return (
        "too late, it had finished"
        if not killed
        else "resumed, killed after creation"
        if made
        else "resumed, killed before or in creation"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--creation", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("engine:", "fused" if fused.available()[0] else "torch")
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as place:
        reference, spans = Path(place) / "reference.npz", Path(place) / "spans.json"

        def peace() -> bool:
            made: list[float] = []

            def timed(real: Callable[..., Any]) -> Callable[..., Any]:
                def call(*args: Any, **kwargs: Any) -> Any:
                    made.append(time.perf_counter())
                    return real(*args, **kwargs)

                return call

            tempfile.mkdtemp, os.rename = timed(tempfile.mkdtemp), timed(os.rename)  # type: ignore[assignment]
            start = time.perf_counter()
            run = sweep().train(RECIPE, store=Path(place) / "peace.zarr")
            np.savez(reference, **{str(name): value.values for name, value in run.data.data_vars.items()})
            spans.write_text(json.dumps([time.perf_counter() - start, made[-1] - made[0]]))
            return True

        assert whole(fork(peace, quiet=False))
        span, creating = json.loads(spans.read_text())
        print(f"a training takes {span:.2f} s, its store is made within {creating:.3f} s")
        counts: dict[str, Counter[str]] = {}
        done = 0
        while done < args.kills:
            aimed, two = done < args.creation, bool(done % 2)
            with tempfile.TemporaryDirectory(dir=place) as folder:
                came = trial(Path(folder), reference, rng, span * (1.5 if two else 1), creating if aimed else None, two)
            done += not came.startswith("too late")
            row = f"{'aimed at creation' if aimed else 'anywhere':18s} {'two processes' if two else 'one process'}"
            counts.setdefault(row, Counter())[came] += 1
        for row, outcomes in sorted(counts.items()):
            for came, count in sorted(outcomes.items()):
                print(f"{row:34s} {count:4d}  {came}")
        bad = sum(count for outcomes in counts.values() for came, count in outcomes.items() if came.isupper())
        print(f"{done} kills, {bad} lost")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
