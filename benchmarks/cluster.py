"""What a unit costs the driver of a Ray cluster, what losing a worker and a machine costs, what follows for 1,000 workers.

    .venv/bin/python benchmarks/cluster.py

Two machines of one core each are started here. Empty units give the driver's cost; a sweep is trained while a worker process
and then a whole machine are killed, and compared bit by bit with the same sweep trained without Ray. The efficiency of 1,000
workers follows from the driver's cost: it hands out and takes back one unit after another, so W workers are kept busy by units
that take longer than W times that cost.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

import superscope as ss
from superscope import cluster

WORKERS = 1000
QUICK_HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 8}


def empty(number: int, size: int) -> tuple[int, np.ndarray]:
    """A unit that does nothing and sends back `size` floats."""
    return os.getpid(), np.zeros(size, np.float32)


def driver_cost(count: int, size: int) -> float:
    """CPU seconds of the driver a unit."""
    joined = cluster.join()
    list(cluster.tasks(joined, empty, ((k, size) for k in range(50))))
    start = time.process_time()
    for _ in cluster.tasks(joined, empty, ((k, size) for k in range(count))):
        pass
    return (time.process_time() - start) / count


def losses(machines: Any, second: Any) -> tuple[bool, float, float]:
    """(the same numbers, seconds without losses, seconds with): a worker is killed, then a machine."""
    sweep = ss.Sweep(ss.Bottleneck(20, 5), ss.SparseFeatures(20), over={"density": ss.logspace(0.3, 0.01, 8)}, seeds=64)
    recipe = ss.Recipe(steps=3000)
    start = time.perf_counter()
    whole = sweep.train(recipe, executor="ray")
    alone = time.perf_counter() - start

    def lose() -> None:
        time.sleep(alone / 5)
        pids = {pid for _, (pid, _) in cluster.tasks(cluster.join(), empty, ((k, 1) for k in range(4)))}
        os.kill(pids.pop(), signal.SIGKILL)
        time.sleep(alone / 5)
        machines.remove_node(second, allow_graceful=False)

    threading.Thread(target=lose).start()
    start = time.perf_counter()
    run = sweep.train(recipe, executor="ray")
    seconds = time.perf_counter() - start
    here = sweep.train(recipe, engine=run.engine)
    same = np.array_equal(run.W.values, here.W.values) and np.array_equal(whole.W.values, here.W.values)
    return same, alone, seconds


def main() -> None:
    machines = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": QUICK_HEALTH}
    )
    second = machines.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = machines.address
    print("| unit sends back | driver's CPU a unit | least unit for 1,000 workers at 90 % | at 1 s a unit |")
    print("|---|---|---|---|")
    for size in (16 * 125, 1024 * 125):
        cost = driver_cost(1000, size)
        busy = min(1.0, 1.0 / (WORKERS * cost))
        print(f"| {4 * size / 1e3:.0f} kB | {1e3 * cost:.2f} ms | {0.9 * WORKERS * cost:.2f} s | {busy:.0%} |", flush=True)
    same, alone, seconds = losses(machines, second)
    verdict = "the same numbers" if same else "OTHER NUMBERS"
    print(f"a worker and a machine killed: {verdict}, {alone:.1f} s without, {seconds:.1f} s with")
    ray.shutdown()
    machines.shutdown()


if __name__ == "__main__":
    main()
