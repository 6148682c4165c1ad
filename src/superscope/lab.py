"""What a study may use of the world: where to put things, how to train sweeps, how to make slow work resumable."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superscope import fingerprint, opened, store

if TYPE_CHECKING:
    import pandas as pd

    from superscope.lms.model.language_model import LanguageModel

_UNIT_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,+-]*")
_APART = 1_000_000  # seed numbers between one --seed and the next: no run's seeds are another's
PUBLISHED = "published"  # the arm of a model that others trained


@dataclass
class Lab:
    """Work done through a lab is kept in its `folder` and not done twice.

    `train`, `unit` and `models` survive Ctrl-C and kill: what was finished is there when the study runs again. A ledger in
    the folder remembers what every finished unit cost, so that a resumed run still reports the whole cost.
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
    _made_now: set[str] = field(default_factory=set, init=False)  # by tasks elsewhere, in this run

    def __fingerprint__(self) -> tuple[int, str]:
        return self.seed, self.preset

    def seeds(self, count: int) -> range:
        """`count` seed numbers for trainings: the same for the same --seed, and never those of another one."""
        if not 0 < count <= _APART:
            raise ValueError(f"seeds({count!r}): between 1 and {_APART:,} seeds can be drawn for one --seed")
        return range(self.seed * _APART, self.seed * _APART + count)

    def rng(self, name: str) -> np.random.Generator:
        """Random numbers for one purpose: they depend on --seed and on `name` alone."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

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
        """`compute()`, kept under `key` and used again when the study runs again.

        A DataFrame, an xarray object or an array comes back as it went (in a dict too: Parquet and Zarr beside the JSON);
        anything else is what JSON gives back (tuples become lists, keys strings). It is computed again when `compute`, a
        function it reaches, weights or text it opened, or superscope's computing code is no longer what it was.
        """
        if not _UNIT_KEY.fullmatch(key):
            raise ValueError(f"unit key {key!r} must be letters, digits or any of '._=,+-' (it becomes a file name)")
        path = self.folder / "units" / f"{key}.json"
        code, start = fingerprint.of(compute), clocks()
        if path.exists():
            try:
                kept = store.read_sealed(path)
                stale = kept.get("code") != code or any(opened.changed(*item) for item in kept["opened"])
                value = None if stale else _restored(path, kept)
            except (store.StoreError, KeyError, TypeError, AttributeError, ValueError, OSError):  # sealed, but no unit
                self.note(f"unit {key} was damaged on disk and was computed again")
            else:
                if not stale:
                    self._book(f"unit {key}", start, resumed=True)
                    for text in kept.get("notes", ()):
                        self.note(text)
                    return value
        before = len(self.notes)
        made = _compute(key, compute)
        self._keep(key, made, self.notes[before:], code)
        self._book(f"unit {key}", start, resumed=False)
        return _restored(path, json.loads(json.dumps(made.document)))

    def _keep(self, key: str, made: _Made, notes: Sequence[str], code: str) -> None:
        made.document |= {"notes": list(notes), "code": code, "opened": made.opened}
        document = json.dumps(store.seal(made.document)).encode()
        store.atomic_write_many(self.folder / "units", {**made.files, f"{key}.json": document})

    def models(
        self,
        names: str | Sequence[str],
        examine: Callable[[LanguageModel, Any, Lab], Iterable[Mapping[str, Any]]],
        config: Any,
        published: str = "",
    ) -> pd.DataFrame:
        """``examine(model, config, lab)`` on every trained seed of the named bundled models: one table of all its rows.

        examine yields mappings with "arm" and what was measured; the columns "model" (the replicate) and "name" (which of
        `names` it is a seed of) are added. Each model is a unit of its own. `published`: a model of the third rung, whose
        rows get the arm "published" before theirs; when it cannot be had, a note says why and it is left out.
        """
        import pandas as pd

        from superscope import lms

        names = [names] if isinstance(names, str) else list(names)
        work = [(name, twin) for name in names for twin in lms.replicates(name)]
        if published:
            try:
                lms.load(published)
                work.append((PUBLISHED, published))
            except lms.ModelError as error:
                self.note(f"published model left out: {error}")
        tables = []
        label = getattr(examine, "__name__", "").strip("<>") or f"examine-{fingerprint.of(examine)[:8]}"
        jobs = {
            twin: (f"{label}-{Path(twin).name}", functools.partial(_examined, examine, twin, config, self)) for _, twin in work
        }
        if self.executor == "ray":
            self._elsewhere(examine, config, {twin: key for twin, (key, _) in jobs.items()})
        for name, twin in self.progress(work, "models"):
            table = self.unit(*jobs[twin])
            if name == PUBLISHED:
                table["arm"] = [f"{PUBLISHED} {arm}" for arm in table.arm]
            tables.append(table.assign(model=twin, name=name))
        return pd.concat(tables, ignore_index=True)

    def _elsewhere(self, examine: Callable[..., Any], config: Any, keys: Mapping[str, str]) -> None:
        """Examine models (twin -> key of its unit) as Ray tasks and keep what they found; `unit` finds it there afterwards."""
        from superscope import cluster

        missing = [(twin, key) for twin, key in keys.items() if not (self.folder / "units" / f"{key}.json").exists()]
        if not missing:
            return
        alone = replace(self, executor="local", quiet=True)
        jobs = ((examine, twin, config, alone, key) for twin, key in missing)
        for (_, twin, _, _, key), (made, notes, cost) in cluster.tasks(
            cluster.join(self.workers), _examined_elsewhere, jobs, self.workers
        ):
            self._keep(key, made, notes, fingerprint.of(functools.partial(_examined, examine, twin, config, self)))
            store.atomic_write_json(self.folder / "ledger.json", {**self._ledger(), f"unit {key}": list(cost)})
            self._made_now.add(f"unit {key}")

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
            found = store.read_json(path) if path.exists() else {}
            if isinstance(found, dict) and all(np.shape(cost) == (2,) for cost in found.values()):
                return found
            raise store.StoreError("no ledger")
        except (store.StoreError, ValueError):  # only the account of the cost is lost, not the work
            self.note("the ledger was damaged on disk: the cost of resumed units is not in the totals")
            return {}

    def _book(self, entry: str, start: tuple[float, float], resumed: bool) -> None:
        ledger = self._ledger()
        if resumed:
            if entry not in self._made_now:
                self.resumed.append(entry)
            wall, cpu = ledger.get(entry, (0.0, 0.0))
            self.earlier = (self.earlier[0] + wall, self.earlier[1] + cpu)
        else:
            wall, cpu = clocks()
            store.atomic_write_json(self.folder / "ledger.json", {**ledger, entry: [wall - start[0], cpu - start[1]]})


def _examined(examine: Callable[..., Iterable[Mapping[str, Any]]], name: str, config: Any, lab: Lab) -> pd.DataFrame:
    import pandas as pd

    from superscope import lms

    return pd.DataFrame([dict(row) for row in examine(lms.load(name), config, lab)])


def _examined_elsewhere(
    examine: Callable[..., Any], name: str, config: Any, lab: Lab, key: str
) -> tuple[_Made, list[str], tuple[float, float]]:
    """A model examined on another machine: what its unit keeps, the notes made, wall and CPU seconds."""
    start = clocks()
    made = _compute(key, functools.partial(_examined, examine, name, config, lab))
    wall, cpu = clocks()
    return made, lab.notes, (wall - start[0], cpu - start[1])


# --------------------------------------------------------------------------------------------------- what a unit keeps


@dataclass
class _Made:
    """A unit as it goes to disk. opened: [kind, name, digest] of the weights and text it read."""

    document: dict[str, Any]
    files: dict[str, bytes]
    opened: list[list[Any]]


def _compute(key: str, compute: Callable[[], Any]) -> _Made:
    with opened.watch() as used:
        value = compute()
    document, files = _packed(key, value)
    return _Made(document, files, [[*item, digest] for item, digest in sorted(used.items())])


def _packed(key: str, value: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A unit's JSON document, and the files beside it that hold its tables and arrays."""
    parts = value if isinstance(value, dict) else {"": value}
    files: dict[str, bytes] = {}
    plain: dict[str, Any] = {}
    big: dict[str, dict[str, str]] = {}
    for name, part in parts.items():
        kind = _kind(part)
        if kind is None:
            plain[name] = json.loads(json.dumps(part, default=_to_list))  # NaN survives: Python writes and reads it
            continue
        file = f"{key}{'.' if name else ''}{name}.{'parquet' if kind == 'table' else 'zarr.zip'}"
        if not _UNIT_KEY.fullmatch(file):
            raise ValueError(f"unit {key!r}: the name {name!r} of a part becomes a file name: use letters, digits, '._=,+-'")
        files[file] = _table_bytes(part) if kind == "table" else _array_bytes(part, kind)
        big[name] = {"kind": kind, "file": file, "sha256": store.checksum(files[file])}
    document = {"value": plain if isinstance(value, dict) else plain.get("")}
    return {**document, "parts": big, "whole": not isinstance(value, dict)}, files


def _restored(path: Path, document: Mapping[str, Any]) -> Any:
    """The value of a unit, from its document and the files beside it."""
    found = {name: _read_part(path.parent, part) for name, part in document["parts"].items()}
    if document["whole"]:
        return found[""] if found else document["value"]
    return {**document["value"], **found}


def _kind(value: Any) -> str | None:
    if isinstance(value, np.ndarray):
        return "array"
    module = type(value).__module__.split(".")[0]
    if module == "pandas" and hasattr(value, "to_parquet"):
        return "table"
    if module == "xarray" and hasattr(value, "to_dataset"):
        return "dataarray"
    return "dataset" if module == "xarray" else None


def _table_bytes(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def _array_bytes(value: Any, kind: str) -> bytes:
    """An array or xarray object as a zipped Zarr store (fixed times inside, so equal values give equal bytes)."""
    import tempfile
    import zipfile

    import xarray as xr

    data = value
    if kind == "array":
        data = xr.Dataset({"value": ([f"d{i}" for i in range(value.ndim)], value)})
    elif kind == "dataarray":
        data = value.to_dataset(name="value").assign_attrs(array_name=value.name or "")
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        data.to_zarr(folder, mode="w", consolidated=False)
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
                archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes())
    return packed.getvalue()


def _read_part(folder: Path, part: Mapping[str, str]) -> Any:
    import pandas as pd

    data = store.read_inside(folder, part["file"], part["sha256"])
    if part["kind"] == "table":
        return pd.read_parquet(io.BytesIO(data))
    import xarray as xr
    import zarr

    with zarr.storage.ZipStore(folder / part["file"], mode="r") as place:
        data_set = xr.open_zarr(place, consolidated=False).load()
    if part["kind"] == "array":
        return data_set["value"].values
    if part["kind"] == "dataarray":
        return data_set["value"].rename(data_set.attrs.get("array_name") or None)
    return data_set


def _to_list(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy and torch
        return value.tolist()
    raise TypeError(f"{value!r} ({type(value).__name__}) cannot be kept as a unit: use numbers, strings, lists, dicts")


def clocks() -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this process and of its finished children."""
    times = os.times()
    return time.perf_counter(), times.user + times.system + times.children_user + times.children_system
