"""What a study may use of the world: where to put things, how to train sweeps, how to make slow work resumable."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from superscope import store

_UNIT_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,+-]*")


@dataclass
class Lab:
    """Work done through a lab is kept in its `folder` and not done twice.

    `train` and `unit` survive Ctrl-C and kill: what was finished is there when the study runs again. A ledger in the
    folder remembers what every finished unit cost, so that a resumed run still reports the whole cost.
    """

    seed: int
    preset: str
    folder: Path
    executor: str = "local"
    workers: int | None = None
    quiet: bool = True

    engines: list[str] = field(default_factory=list, init=False)
    notes: list[str] = field(default_factory=list, init=False)
    resumed: list[str] = field(default_factory=list, init=False)
    earlier: tuple[float, float] = field(default=(0.0, 0.0), init=False)  # wall and CPU seconds of what was resumed

    def train(self, sweep: Any, recipe: Any = None, name: str = "sweep", **options: Any) -> Any:
        """``sweep.train(...)`` with its store in this run's folder, so that it resumes. Returns the `SweepRun`."""
        key = f"{name}-{sweep.digest(recipe)[:10]}"
        if recipe is not None:
            options["recipe"] = recipe
        start = clocks()
        run = sweep.train(
            store=self.folder / "sweeps" / f"{key}.zarr",
            executor=self.executor,
            workers=self.workers,
            progress=not self.quiet,
            **options,
        )
        self._book(f"sweep {key}", start, resumed=f"sweep {key}" in self._ledger())
        if run.engine not in self.engines:
            self.engines.append(run.engine)
        for text in run.notes:
            self.note(text)
        return run

    def unit(self, key: str, compute: Callable[[], Any]) -> Any:
        """`compute()`, kept as JSON under `key` and re-used when the study runs again.

        The value is what JSON gives back (tuples and arrays become lists, keys strings), computed now or earlier.
        """
        if not _UNIT_KEY.fullmatch(key):
            raise ValueError(f"unit key {key!r} must be letters, digits or any of '._=,+-' (it becomes a file name)")
        path = self.folder / "units" / f"{key}.json"
        start = clocks()
        if path.exists():
            try:
                value = store.read_sealed(path)["value"]
            except store.StoreError:
                self.note(f"unit {key} was damaged on disk and was computed again")
            else:
                self._book(f"unit {key}", start, resumed=True)
                return value
        value = json.loads(json.dumps(compute(), default=_to_list))  # NaN survives: Python writes and reads it
        store.atomic_write_text(path, json.dumps(store.seal({"value": value})))
        self._book(f"unit {key}", start, resumed=False)
        return value

    def note(self, text: str) -> None:
        """A sentence for the provenance (kept once, however often it is noted)."""
        if text not in self.notes:
            self.notes.append(text)

    def progress(self, iterable: Iterable[Any], label: str) -> Iterator[Any]:
        """Go through `iterable` behind a progress bar with an ETA (silent when `quiet`)."""
        if self.quiet:
            yield from iterable
            return
        from rich.console import Console
        from rich.progress import track

        yield from track(iterable, description=label, console=Console(stderr=True))

    @contextlib.contextmanager
    def bar(self, total: int, label: str) -> Iterator[Callable[[int, int], None]]:
        """A progress bar with an ETA for work that reports how much of it is done: ``advance(done, total)``."""
        if self.quiet:
            yield lambda done, total: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(label, total=total)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    def _ledger(self) -> dict[str, list[float]]:
        path = self.folder / "ledger.json"
        try:
            return store.read_json(path) if path.exists() else {}
        except store.StoreError:  # only the account of the cost is lost, not the work
            self.note("the ledger was damaged on disk: the cost of resumed units is not in the totals")
            return {}

    def _book(self, entry: str, start: tuple[float, float], resumed: bool) -> None:
        ledger = self._ledger()
        if resumed:
            self.resumed.append(entry)
            wall, cpu = ledger.get(entry, (0.0, 0.0))
            self.earlier = (self.earlier[0] + wall, self.earlier[1] + cpu)
        else:
            wall, cpu = clocks()
            store.atomic_write_json(self.folder / "ledger.json", {**ledger, entry: [wall - start[0], cpu - start[1]]})


def _to_list(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy and torch
        return value.tolist()
    raise TypeError(f"{value!r} ({type(value).__name__}) cannot be kept as a unit: use numbers, strings, lists, dicts")


def clocks() -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this process and of its finished children."""
    times = os.times()
    return time.perf_counter(), times.user + times.system + times.children_user + times.children_system
