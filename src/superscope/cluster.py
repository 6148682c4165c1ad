"""Ray: a cluster that is joined, or the cores of this machine.

RAY_ADDRESS (or a ``ray.init`` of one's own) names a cluster: it is joined as it is, with this superscope sent along, and
its machines need the libraries but no compiler. Without it Ray starts here. Tasks may be killed with their machine: Ray
gives them to another, and results are the same.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from superscope import machine, store
from superscope.errors import UserError

LEFT_OUT = ("models", "saes", "results", "corpus")  # data of an installed superscope: too much to send with every job
AHEAD = 2  # tasks in flight per core: the next is there when one ends
RETRIES = 8  # a task that its machine took with it is given to another so often
_BATCH = 64  # results fetched at once


def ray_module() -> Any:
    """Ray itself; an ImportError that says how to get it where it is missing."""
    try:
        import ray
    except ImportError:
        raise ImportError("executor='ray' needs Ray: pip install 'superscope[cluster]'") from None
    return ray


def address() -> str:
    """The cluster that RAY_ADDRESS names, or ""."""
    named = os.environ.get("RAY_ADDRESS", "").strip()
    return "" if named in ("", "local") else named


def join(workers: int | None = None) -> Any:
    """Ray, connected: to the cluster of RAY_ADDRESS, else started on `workers` cores of this machine (all of them)."""
    ray = ray_module()
    if ray.is_initialized():
        return ray
    if not address():
        ray.init(address="local", num_cpus=workers or machine.cores(), log_to_driver=False, include_dashboard=False)
        return ray
    here = Path(__file__).parent
    environment = {
        "py_modules": [str(here)],
        "excludes": [str(here / name) for name in LEFT_OUT],
        "env_vars": {"SUPERSCOPE_DATA": str(store.shipped("models").parent)},  # found where machines share the folder
    }
    try:
        ray.init(address=address(), runtime_env=environment, log_to_driver=False)
    except ConnectionError as error:
        raise UserError(
            f"RAY_ADDRESS={address()!r}: no Ray cluster answers there ({str(error).splitlines()[0][:120]}); "
            "start one with 'ray start --head', or unset RAY_ADDRESS"
        ) from None
    return ray


def cores(ray: Any, workers: int | None = None) -> int:
    """Cores that may work at once."""
    return max(1, min(workers or 10**6, int(ray.cluster_resources().get("CPU", 1))))


def on_every_machine(ray: Any, function: Callable[..., Any], *args: Any) -> list[Any]:
    """``function(*args)`` once on each machine of the cluster."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0)(function)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    calls = [task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one, soft=True)).remote(*args) for one in nodes]
    return list(ray.get(calls))


def shares(ray: Any, folder: Path) -> bool:
    """Do all machines see `folder` as this one does? Then they write their results there themselves."""
    mark = folder / f".seen-{secrets.token_hex(8)}"
    mark.write_text("")
    try:
        return len(ray.nodes()) > 1 and all(on_every_machine(ray, os.path.exists, str(mark)))
    finally:
        mark.unlink(missing_ok=True)


def tasks(
    ray: Any, function: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], workers: int | None = None
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(job, ``function(*job)``) as they end. As many are in flight as cores can use, so a million jobs need no more memory
    than a thousand; results come back in batches."""
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(function)
    most = AHEAD * cores(ray, workers)
    waiting, running = iter(jobs), dict[Any, tuple[Any, ...]]()
    while True:
        for job in waiting:
            running[task.remote(*job)] = job
            if len(running) >= most:
                break
        if not running:
            return
        done, _ = ray.wait(list(running), num_returns=1)
        more, _ = ray.wait(list(running), num_returns=min(len(running), _BATCH), timeout=0)
        ended = list(dict.fromkeys([*done, *more]))
        for one, result in zip(ended, ray.get(ended), strict=True):
            yield running.pop(one), result
