"""A sweep and a language-model study on a Ray cluster of two machines (of this one), one of which goes away."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import superscope as ss
from superscope import cluster
from superscope.errors import UserError
from superscope.lab import Lab
from superscope.sweep.unit import PIECES, blocks

ray = pytest.importorskip("ray")

# In a process of its own: Ray's machinery stays out of the other tests, and ends with it.
PROGRAM = """
    import os, sys, threading, time
    from pathlib import Path
    import numpy as np
    import ray
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 6}
    machines = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": quick}
    )
    second = machines.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = machines.address
    import superscope as ss
    from superscope import cluster
    from superscope.lab import Lab

    sweep = ss.Sweep(ss.Bottleneck(8, 3), ss.SparseFeatures(8), over={"density": [0.3, 0.1, 0.03, 0.01]}, seeds=32)
    recipe = ss.Recipe(steps=4000)
    joined = cluster.join()
    assert cluster.cores(joined) == 2
    assert cluster.shares(joined, Path(os.environ["HERE"]))
    table = Lab(7, "quick", Path(os.environ["HERE"]) / "run", "ray").models("gelu-1l-mini", examine, None)
    assert list(table.model) == ["gelu-1l-mini", "gelu-1l-mini-s1", "gelu-1l-mini-s2"]
    table.to_parquet(Path(os.environ["HERE"]) / "table.parquet")

    def lose():
        time.sleep(1.0)
        machines.remove_node(second, allow_graceful=False)
        lost.append(time.monotonic())
    lost = []
    threading.Thread(target=lose).start()
    run = sweep.train(recipe, executor="ray", store=Path(os.environ["HERE"]) / "store")
    assert lost and lost[0] < time.monotonic(), "the second machine was lost too late"
    np.save(Path(os.environ["HERE"]) / "W.npy", run.W.values)
    (Path(os.environ["HERE"]) / "engine").write_text(run.engine)
    ray.shutdown()
    machines.shutdown()
"""

EXAMINE = """
    def examine(model, config, lab):
        yield {"arm": "trained", "norm": float(model.hooked.W_E.norm()), "drawn": float(lab.rng("a").random())}
"""


def test_two_machines_one_of_which_is_lost_give_the_same_numbers(tmp_path: Path) -> None:
    environment = {**os.environ, "HERE": str(tmp_path), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_ADDRESS", None)
    (tmp_path / "program.py").write_text(textwrap.dedent(EXAMINE + PROGRAM))
    command = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    sweep = ss.Sweep(ss.Bottleneck(8, 3), ss.SparseFeatures(8), over={"density": [0.3, 0.1, 0.03, 0.01]}, seeds=32)
    here = sweep.train(ss.Recipe(steps=4000), engine=(tmp_path / "engine").read_text())
    np.testing.assert_array_equal(np.load(tmp_path / "W.npy"), here.W.values)
    import pandas as pd

    names: dict[str, Any] = {}
    exec(textwrap.dedent(EXAMINE), names)
    alone = Lab(7, "quick", tmp_path / "alone").models("gelu-1l-mini", names["examine"], None)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), alone)


def test_a_thousand_cores_have_work() -> None:
    sweep = ss.Sweep(ss.Bottleneck(20, 5), ss.SparseFeatures(20), over={"density": ss.logspace(1, 0.001, 64)}, seeds=1024)
    assert len(blocks(sweep, ss.Recipe())) >= PIECES
    many = blocks(sweep, ss.Recipe(), "cpu", 4000)
    assert len(many) >= 4000
    covered = np.zeros((64, 1024), int)
    for block in many:
        covered[block] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("named", "address"), [("", ""), ("local", ""), ("10.0.0.1:6379", "10.0.0.1:6379"), (" auto ", "auto")]
)
def test_the_address_of_a_cluster(monkeypatch: pytest.MonkeyPatch, named: str, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    assert cluster.address() == address


def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nmore")

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(
        UserError, match=r"RAY_ADDRESS='127\.0\.0\.1:1': no Ray cluster answers there .*ray start --head"
    ) as error:
        cluster.join()
    assert "\n" not in str(error.value)
