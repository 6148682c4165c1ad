"""Is the memory that a sweep (or a scan) is said to need what it takes? Predicted and real peaks, each in a process of its own.

    python benchmarks/memory.py

real: the highest resident memory of the process; before: what it held when the work began (Python and the libraries).
"""

from __future__ import annotations

import json
import subprocess
import sys

SWEEPS = {
    "64 x 64 grid, fused": ("ss.Bottleneck(2, 1)", "ss.SparseFeatures(2)",
                            "over={'density': ss.logspace(1, .01, 64), 'init_scale': np.linspace(.5, 2, 64)}", "steps=50", 2),
    "n=20, 4000 seeds, fused": ("ss.Bottleneck(20, 5)", "ss.SparseFeatures(20, .05)", "seeds=4000", "steps=50", 2),
    "n=200 wide, torch": ("ss.Bottleneck(200, 20)", "ss.SparseFeatures(200, .01)", "seeds=16", "steps=30", 1),
    "dropout, fused": ("ss.Bottleneck(20, 10, dropout=.2)", "ss.SparseFeatures(20, .1)", "seeds=256", "steps=50", 2),
    "own points, torch": ("ss.Bottleneck(20, 5)", "ss.SparseFeatures(20, .1)", "seeds=16",
                          "steps=30, shared=False, sampling='plain', points=1024", 1),
    "history of 50, 4 workers": ("ss.Bottleneck(30, 8)", "ss.SparseFeatures(30, .1)",
                                 "over={'density': ss.logspace(1, .01, 8)}, seeds=128", "steps=60, history=50", 4),
}  # fmt: skip
SWEEP = """
import json, resource, sys
import numpy as np, torch, superscope as ss
from superscope import machine
from superscope.sweep import unit
ss.Sweep(ss.Bottleneck(3, 2), ss.SparseFeatures(3)).train(ss.Recipe(steps=2), engine="{engine}")
sweep, recipe = ss.Sweep({toy}, {inputs}, {grid}), ss.Recipe({recipe})
before = machine.memory_used()
predicted = unit.estimate_bytes(sweep, recipe, "{engine}", {workers}, False)
sweep.train(recipe, engine="{engine}", workers={workers})
print(json.dumps([before, predicted, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""

SCAN = """
import json, resource
import torch
from superscope import lms, machine
from superscope.lms import corpus
from superscope.lms.model import activations as acts, consumers
model = lms.load("gelu-1l-mini")
split = corpus.sample(model.tokenizer)
rows = split.rows(model.n_ctx, 192)
units = acts.neurons(model)
made = {"moments": consumers.Moments()}
acts.scan(model, split.rows(model.n_ctx, 2), units, {"moments": consumers.Moments()}, batch_rows=1)
before = machine.memory_used()
predicted = acts.estimate_bytes(model, model.n_ctx, 64, model.d_mlp)
acts.scan(model, rows, units, made, batch_rows=64)
print(json.dumps([before, predicted, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


def main() -> None:
    print(f"{'work':28s} {'before':>8s} {'predicted':>10s} {'real':>8s} {'whole':>6s} {'added':>6s}")
    codes = {"scan of 192 rows, gelu-1l": SCAN}
    for name, (toy, inputs, grid, recipe, workers) in SWEEPS.items():
        engine = "torch" if "torch" in name else "fused"
        codes[name] = SWEEP.format(toy=toy, inputs=inputs, grid=grid, recipe=recipe, workers=workers, engine=engine)
    for name, code in codes.items():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name:28s} {done.stderr.strip().splitlines()[-1]}")
            continue
        before, predicted, real = (value / 2**20 for value in json.loads(done.stdout.splitlines()[-1]))
        print(f"{name:28s} {before:6.0f}MB {before + predicted:8.0f}MB {real:6.0f}MB {(before + predicted) / real:6.2f} "
              f"{predicted / max(1, real - before):6.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
