"""Train the units of a sweep: in threads here, or as Ray tasks elsewhere; keep what is finished, show progress."""

from __future__ import annotations

import functools
import math
import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from superscope import cluster, machine
from superscope.errors import SettingError, TooLargeError, choice, whole
from superscope.store import locked
from superscope.sweep.archive import MemoryArchive, ZarrArchive
from superscope.sweep.engines import fused
from superscope.sweep.grid import Grid
from superscope.sweep.recipe import Recipe
from superscope.sweep.run import SweepRun, assemble
from superscope.sweep.unit import (
    ENGINES,
    PIECES,
    Arrays,
    Progress,
    blocks,
    choose_engine,
    estimate_bytes,
    train_unit,
)

EXECUTORS = ("local", "ray")
AHEAD_UNITS = 4  # units a core of a cluster: the last ones to end keep few waiting


def train(
    sweep: Grid,
    recipe: Recipe,
    engine: str,
    executor: str,
    workers: int | None,
    store: Path | None,
    progress: bool,
    device: str,
) -> SweepRun:
    """See Sweep.train."""
    if executor == "ray":
        chosen, why = cluster_engine(sweep, recipe, engine, device, workers)
    else:
        chosen, why = choose_engine(sweep, recipe, engine, device)
    notes = [] if chosen == "fused" else [f"engine torch: {why}"]
    if sweep.inputs.groups and recipe.sampling == "stratified":
        notes.append("the inputs have groups: plain samples instead of strata")
    check_memory(sweep, recipe, chosen, workers or default_workers(chosen), store is not None)
    pieces = AHEAD_UNITS * cluster.cores(cluster.join(workers), workers) if executor == "ray" else PIECES
    units = blocks(sweep, recipe, device, pieces)
    archive: MemoryArchive | ZarrArchive
    with held(store):
        archive = ZarrArchive(store, sweep, recipe, units, chosen) if store else MemoryArchive(sweep, recipe, units, chosen)
        pending = [i for i in range(len(archive.blocks)) if not archive.finished(i)]
        sizes = [
            int(np.prod([s.stop - s.start for s in archive.blocks[i]])) * max(1, recipe.steps)
            for i in range(len(archive.blocks))
        ]
        run_units: Callable[..., Iterator[tuple[int, Arrays | None]]] = _threads
        if executor == "ray":
            run_units = functools.partial(_ray, store=store)
        with progress_bar(progress, sum(sizes), sum(sizes) - sum(sizes[i] for i in pending)) as advance:
            for number, arrays in run_units(
                sweep, recipe, [(i, archive.blocks[i]) for i in pending], chosen, device, workers, advance
            ):
                if arrays is not None:
                    archive.write(number, arrays)
    run = assemble(sweep, recipe, archive.load(), chosen, notes + archive.notes)
    if run.failed:
        share = f"{len(run.failed)} of {run.loss.size}"
        text = f"{share} networks diverged (loss not finite), the others are kept; first: {run.failed[0]}"
        run.notes.append(text)
        warnings.warn(text + "; try a smaller lr", stacklevel=3)
    return run


def check_options(recipe: Any, engine: Any, executor: Any, workers: Any, progress: Any, device: Any) -> None:
    """Refuse options of `Sweep.train` that cannot be meant, before anything is written."""
    if not isinstance(recipe, Recipe):
        raise SettingError(f"recipe={recipe!r}: give an ss.Recipe, such as ss.Recipe(steps=500)")
    choice("engine", engine, ENGINES)
    choice("executor", executor, EXECUTORS)
    if workers is not None:
        whole("workers", workers, 1, 10_000)
    check_device(device)


def check_device(device: Any) -> None:
    """Refuse a device that torch cannot compute on here."""
    if isinstance(device, str) and device == "cpu":
        return
    if device is None or isinstance(device, (int, float)):
        raise SettingError(f"device={device!r}: give 'cpu' or 'cuda'")
    import torch

    try:
        torch.empty(1, device=device)
    except Exception as error:  # unknown names, and those without a driver, raise different kinds
        raise SettingError(f"device={device!r} cannot be used here ({str(error).splitlines()[0]}): use device='cpu'") from None


def held(store: Path | None) -> AbstractContextManager[None]:
    """The lock of a store; nothing where results stay in memory."""
    return locked(store) if store else nullcontext()


def check_memory(sweep: Grid, recipe: Recipe, engine: str, workers: int, stored: bool) -> None:
    """Refuse what cannot fit, before anything is allocated."""
    need, have = estimate_bytes(sweep, recipe, engine, workers, stored), machine.memory_free()
    if have is None or need <= have:
        return
    alone = estimate_bytes(sweep, recipe, engine, 1, True)
    fewer = next((k for k in range(workers - 1, 0, -1) if estimate_bytes(sweep, recipe, engine, k, stored) <= have), 0)
    advice = (
        f"workers={fewer} fits" if fewer else "give a store" if alone <= have and not stored else "use a smaller toy or grid"
    )
    raise TooLargeError(
        f"this sweep needs about {need / 2**30:.1f} GB with {workers} worker{'s' * (workers > 1)} and {have / 2**30:.1f} GB "
        f"are free: {advice}, or fewer points per step"
    )


def default_workers(engine: str) -> int:
    """One thread per core for the kernel. The torch engine works in many short calls whose threads would wait for each other
    (two were slower than one): it gets one thread here, and more processes with executor="ray"."""
    if engine == "torch":
        return 1
    return machine.cores()


class _StoppedError(Exception):
    """Raised inside a worker when the caller has given up."""


def _threads(
    sweep: Grid,
    recipe: Recipe,
    units: list[tuple[int, Any]],
    engine: str,
    device: str,
    workers: int | None,
    advance: Callable[[int], None],
) -> Iterator[tuple[int, Arrays]]:
    """Units in threads of this process: the kernel releases the interpreter lock while it works."""
    count = max(1, min(workers or default_workers(engine), len(units) or 1))
    stop = threading.Event()
    ticks: queue.SimpleQueue[int] = queue.SimpleQueue()

    def tick(amount: int) -> None:
        if stop.is_set():
            raise _StoppedError
        ticks.put(amount)

    def one(number: int, block: Any) -> tuple[int, Arrays]:
        return number, train_unit(sweep, recipe, block, engine, device, Progress(tick))

    with single_torch_thread(engine), ThreadPoolExecutor(count) as pool:
        waiting = iter(units)
        running = {pool.submit(one, *unit) for _, unit in zip(range(count), waiting, strict=False)}
        try:
            while running:
                done, running = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
                while not ticks.empty():
                    advance(ticks.get())
                for future in done:
                    yield future.result()
                    for unit in waiting:
                        running.add(pool.submit(one, *unit))
                        break
        finally:
            stop.set()
            for future in running:
                future.cancel()


@contextmanager
def single_torch_thread(engine: str) -> Iterator[None]:
    """Tiny networks are slower with torch's own threads; the setting is put back afterwards."""
    if engine != "torch":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ray(
    sweep: Grid,
    recipe: Recipe,
    units: list[tuple[int, Any]],
    engine: str,
    device: str,
    workers: int | None,
    advance: Callable[[int], None],
    store: Path | None = None,
) -> Iterator[tuple[int, Arrays | None]]:
    """The same units as Ray tasks. Where all machines see the store they write to it themselves (None comes back), else the
    driver writes what they send."""
    ray = cluster.join(workers)
    shared = store if store is not None and cluster.shares(ray, store) else None
    common = ray.put((sweep, recipe))
    jobs = ((common, number, block, engine, device, shared) for number, block in units)
    for (_, number, block, *_), arrays in cluster.tasks(ray, remote_unit, jobs, workers):
        advance(math.prod(s.stop - s.start for s in block) * max(1, recipe.steps))
        yield number, arrays


def remote_unit(
    common: tuple[Grid, Recipe], number: int, block: Any, engine: str, device: str, store: Path | None
) -> Arrays | None:
    """One unit, on whatever machine this runs; kept in `store` where that is given."""
    sweep, recipe = common
    with single_torch_thread(engine):
        arrays = train_unit(sweep, recipe, block, engine, device)
    if store is None:
        return arrays
    ZarrArchive(store, sweep, recipe, [block], engine).write(number, arrays)
    return None


def cluster_engine(sweep: Grid, recipe: Recipe, engine: str, device: str, workers: int | None) -> tuple[str, str]:
    """(engine, why) for a sweep on a cluster: the kernel only where every machine can build it, since the two engines round
    differently."""
    chosen, why = choose_engine(sweep, recipe, engine, device)
    if chosen != "fused" or not cluster.address():
        return chosen, why
    obstacles = [said for ready, said in cluster.on_every_machine(cluster.join(workers), fused.available) if not ready]
    if not obstacles:
        return chosen, why
    if engine == "fused":
        raise SettingError(f"engine='fused' cannot be built on {len(obstacles)} machines of the cluster: {obstacles[0]}")
    return "torch", f"{len(obstacles)} machines of the cluster have no native kernel: {obstacles[0]}"


@contextmanager
def progress_bar(shown: bool, total: int, already: int) -> Iterator[Callable[[int], None]]:
    """A bar in network-steps with an ETA, on stderr; a do-nothing callback when not shown."""
    if not shown:
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("training"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=total, completed=already)
        yield lambda amount: bar.advance(task, amount)
