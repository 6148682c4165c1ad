"""How often one call of the search reaches the best known minimum, and what it costs, beside the best of 64 random starts.

    .venv/bin/python benchmarks/search.py --calls 100

The landscapes and their least known losses are in best_known.toml; a call that finds less says so.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from pathlib import Path

import numpy as np

import superscope as ss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    args = parser.parse_args()
    print("| landscape | best known | calls within 1 % | worst | CPU s a call | best of 64 starts within 1 % | least found |")
    print("|---|---|---|---|---|---|---|")
    for row in tomllib.loads((Path(__file__).parent / "best_known.toml").read_text())["landscapes"]:
        n = row["n"]
        groups = (ss.AntiCorrelated(tuple(range(n))),) if row["exclusive"] else ()
        inputs = ss.SparseFeatures(n, density=row["density"], values=ss.Uniform(*row["values"]), groups=groups)
        toy = ss.Bottleneck(n, row["m"])
        plain = ss.Sweep(toy, inputs, seeds=args.calls, restarts=64).train().loss.min("restart").values
        start = time.process_time()
        found = ss.Sweep(toy, inputs, seeds=args.calls).train(search="global").loss.values
        seconds = (time.process_time() - start) / args.calls
        least = min(found.min(), plain.min())
        best = min(row["loss"], least)
        within = [np.mean(losses <= 1.01 * best) for losses in (found, plain)]
        print(
            f"| {row['name']} | {row['loss']:.5g} | {within[0]:.0%} | {found.max() / best:.4f} | {seconds:.2f} "
            f"| {within[1]:.0%} | {least:.5g} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
