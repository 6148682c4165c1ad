"""What reading activations costs next to running the model: tokens per CPU second of scans, over those of the bare forward
pass.

    python benchmarks/scan.py [--model gelu-1l-mini] [--rows 256] [--repeats 3]

The bare pass is `model.hooked(tokens)` with the same batches. CPU time, one thread, sides alternating, medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from superscope import lms
from superscope.lms import corpus
from superscope.lms.model import activations as acts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gelu-1l-mini")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = lms.load(args.model)
    split = corpus.sample(model.tokenizer)
    rows = split.rows(model.n_ctx, args.rows)
    tokens = torch.from_numpy(rows.tokens)
    units = acts.neurons(model)

    @torch.inference_mode()
    def bare() -> None:
        for part in tokens.split(32):
            model.hooked(part)

    def scan(**consumers: acts.Consumer) -> Callable[[], None]:
        return lambda: acts.scan(model, rows, units, consumers, batch_rows=32) and None

    sides: dict[str, Callable[[], Callable[[], None]]] = {
        "bare forward pass": lambda: bare,
        "scan, no consumer": scan,
        "moments": lambda: scan(a=acts.Moments()),
        "histogram": lambda: scan(a=acts.Histogram()),
        "top documents": lambda: scan(a=acts.TopDocuments(split.document)),
        "strata": lambda: scan(a=acts.Strata()),
        "label sums": lambda: scan(a=acts.LabelSums(acts.split_labels(split))),
        "co-activation": lambda: scan(a=acts.CoActivation()),
        "correlation, float64": lambda: scan(a=acts.Correlation("units", "units")),
        "what neuroscope reads": lambda: scan(
            a=acts.Moments(), b=acts.Histogram(), c=acts.TopDocuments(split.document), d=acts.Strata(),
            e=acts.LabelSums(acts.split_labels(split), 0.5), f=acts.FiringSample(0.5),
        ),
        "all of them": lambda: scan(
            a=acts.Moments(), b=acts.Histogram(), c=acts.TopDocuments(split.document), d=acts.Strata(),
            e=acts.LabelSums(acts.split_labels(split), 0.5), f=acts.FiringSample(0.5), g=acts.CoActivation(),
            h=acts.Correlation("units", "units"),
        ),
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, make in sides.items():
            job = make()  # consumers start empty every time
            start = time.process_time()
            job()
            seconds[name].append(time.process_time() - start)
    base = statistics.median(seconds["bare forward pass"])
    print(f"{args.model}, {model.d_mlp} neurons, {len(rows)} rows of {rows.tokens.shape[1]} tokens")
    print(f"{'':24}{'CPU s':>8}{'speed over bare':>18}")
    for name, many in seconds.items():
        print(f"{name:24}{statistics.median(many):8.2f}{base / statistics.median(many):18.2f}")


if __name__ == "__main__":
    main()
