"""Networks a second on one GPU, and whether they are as good as those of the CPU.

    .venv/bin/python benchmarks/gpu.py                 16,384 networks of n=20, m=5 at density .01; wanted: 5,000 a second
    .venv/bin/python benchmarks/gpu.py --device cpu --restarts 1

Prints one line of a table with the card's name. Without a GPU it says so and ends.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

import superscope as ss


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seeds", type=int, default=256)
    parser.add_argument("--restarts", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("no GPU: nothing measured (--device cpu runs the portable engine)")
        return 0
    inputs, toy = ss.SparseFeatures(20, density=0.01, values=ss.Uniform(0, 1)), ss.Bottleneck(20, 5)
    recipe = ss.Recipe(steps=args.steps)
    sweep = ss.Sweep(toy, inputs, seeds=args.seeds, restarts=args.restarts)
    ss.Sweep(toy, inputs, seeds=4).train(ss.Recipe(steps=10), engine="torch", device=args.device)  # start-up is not counted
    start = time.perf_counter()
    run = sweep.train(recipe, engine="torch", device=args.device)
    seconds = time.perf_counter() - start
    card = torch.cuda.get_device_name() if args.device.startswith("cuda") else "CPU"
    some = ss.Sweep(toy, inputs, seeds=min(64, args.seeds), restarts=1).train(recipe)
    mine = run.loss.isel(restart=0) if args.restarts > 1 else run.loss
    ratio = float(mine.isel(seed=slice(0, some.loss.sizes["seed"])).mean() / some.loss.mean())
    count = run.loss.size
    print("| card | networks | seconds | networks a second | wanted | mean loss over the CPU's, same starts |")
    print("|---|---|---|---|---|---|")
    print(f"| {card} | {count:,} | {seconds:.2f} | {count / seconds:,.0f} | >= 5,000 | {ratio:.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
