"""What superscope costs next to the usual loop: ratios of CPU seconds within one run. `make bench`, about 20 minutes.

    python benchmarks/run.py                 all rows
    python benchmarks/run.py small phase     some rows: small, phase, wide, workers, occhio

Seeds are drawn anew for every run (or given with --seed). Losses of both sides are expected losses on the same fixed
stratified set. Where the usual loop would take hours it is timed on a slice and extrapolated, which the row says.
"""

from __future__ import annotations

import argparse
import secrets
import time
import warnings
from collections.abc import Callable

import numpy as np
import reference
import torch
from rich.console import Console
from rich.table import Table

import superscope as ss
from superscope.sweep.points import evaluation_points

ROWS: dict[str, Callable[[int], list[list[str]]]] = {}


def row(function: Callable[[int], list[list[str]]]) -> Callable[[int], list[list[str]]]:
    ROWS[function.__name__] = function
    return function


def cpu(work: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds of this process, threads included, and the result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def expected_losses(model: reference.Model, density: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """(instances,) expected loss of the usual loop's models on superscope's evaluation set; arguments (instances, ...)."""
    losses = []
    for w, b, p, i in zip(model.W.detach(), model.b.detach(), density, importance, strict=True):
        n = w.shape[0]
        x, weight = evaluation_points(ss.SparseFeatures(n, density=float(p)))
        flat = torch.from_numpy(x).reshape(-1, n)
        error = ((torch.relu(flat @ w @ w.T + b) - flat) ** 2 * torch.tensor(i, dtype=torch.float32)).sum(-1)
        losses.append(float((error.reshape(len(x), -1).double() @ torch.from_numpy(weight)).mean()))
    return np.array(losses)


def extrapolated(steps: int, instances: int, n: int, m: int, density: torch.Tensor, importance: torch.Tensor) -> float:
    """CPU seconds per model of the usual 10k-step loop, from `steps` of them."""
    reference.train(instances, n, m, density, importance, steps=3)
    seconds, _ = cpu(lambda: reference.train(instances, n, m, density, importance, steps=steps))
    return seconds / steps * 10_000 / instances


@row
def small(seed: int) -> list[list[str]]:
    """n=20, m=5, density 0.01."""
    n, m, p, slow_count, count = 20, 5, 0.01, 16, 256
    torch.manual_seed(seed % 2**31)
    slow, model = cpu(lambda: reference.train(slow_count, n, m, torch.tensor(p), torch.tensor(1.0)))
    slow_loss = expected_losses(model, np.full(slow_count, p), np.ones((slow_count, n)))  # type: ignore[arg-type]
    out = []
    for engine, wanted in (("fused", 1000), ("torch", 300)):
        sweep = ss.Sweep(ss.Bottleneck(n, m), ss.SparseFeatures(n, density=p), seeds=range(seed, seed + count))
        ss.Sweep(ss.Bottleneck(n, m), ss.SparseFeatures(n, density=p)).train(ss.Recipe.fast(steps=2), engine=engine, workers=1)
        fast, run = cpu(lambda s=sweep, e=engine: s.train(engine=e, workers=1))
        loss = run.loss.values  # type: ignore[attr-defined]
        ratio = slow / slow_count / (fast / count)
        quality = (
            f"mean {loss.mean() / slow_loss.mean():.4f}, median {np.median(loss) / np.median(slow_loss):.4f} of the loop's"
        )
        name = f"n=20 m=5 p=0.01, {engine}"
        out.append(
            [name, f"{slow / slow_count:.3g} s", f"{fast / count * 1e3:.3g} ms", f"{ratio:.0f}x", f">= {wanted}x", quality]
        )
    return out


@row
def phase(seed: int) -> list[list[str]]:
    """64 x 64 phase diagram, n=2, m=1, best of 6."""
    grid, ratios = ss.logspace(1, 0.01, 64), ss.logspace(0.1, 10, 64)
    over = {"density": grid, "importance": [(1.0, float(r)) for r in ratios]}

    def train(restarts: int, first: int) -> ss.SweepRun:
        sweep = ss.Sweep(ss.Bottleneck(2, 1), ss.SparseFeatures(2), over=over, seeds=[first], restarts=restarts, paired=False)
        return sweep.train(ss.Recipe.fast(steps=1000), workers=1)

    ss.Sweep(ss.Bottleneck(2, 1), ss.SparseFeatures(2)).train(ss.Recipe.fast(steps=2), workers=1)
    fast, run = cpu(lambda: train(6, seed))
    found = run.loss.min("restart").values[..., 0]  # type: ignore[attr-defined]
    best = np.minimum(found, train(30, seed + 1).loss.min("restart").values[..., 0])
    near = float((found < 1.01 * best).mean())
    slice_ = slice(None, None, 8)
    density = torch.tensor(np.repeat(grid[slice_], 8)[:, None], dtype=torch.float32)
    importance = torch.tensor(np.stack([np.ones(64), np.tile(ratios[slice_], 8)], 1), dtype=torch.float32)
    slow = extrapolated(100, 64, 2, 1, density, importance) * 64 * 64
    text = f"{near:.1%} of cells within 1% of the best known (wanted 95%)"
    return [
        ["64x64 diagram, best of 6", f"{slow:.0f} s for one (slice)", f"{fast:.2f} s", f"{slow / fast:.0f}x", "< 5 CPU-s", text]
    ]


@row
def wide(seed: int) -> list[list[str]]:
    """n=200, m=20, 20 densities."""
    n, m = 200, 20
    grid = ss.logspace(1, 0.01, 20)
    some = grid[[4, 10, 16]]
    torch.manual_seed(seed % 2**31)
    slow, model = cpu(lambda: reference.train(3, n, m, torch.tensor(some, dtype=torch.float32)[:, None], torch.tensor(1.0)))
    slow_loss = expected_losses(model, some, np.ones((3, n)))  # type: ignore[arg-type]
    out = []
    for seeds in (1, 16):
        sweep = ss.Sweep(ss.Bottleneck(n, m), ss.SparseFeatures(n), over={"density": grid}, seeds=range(seed, seed + seeds))
        fast, run = cpu(lambda s=sweep: s.train(workers=1))
        loss = run.loss.mean("seed").sel(density=some).values  # type: ignore[attr-defined]
        per_model = fast / 20 / seeds
        quality = f"loss / loop's at p={', '.join(f'{p:.2g}' for p in some)}: {', '.join(f'{x:.4f}' for x in loss / slow_loss)}"
        name = f"n=200 m=20, 20 densities, {seeds} seed{'s' * (seeds > 1)} ({run.engine})"  # type: ignore[attr-defined]
        out.append(
            [name, f"{slow / 3:.3g} s (3 densities)", f"{per_model:.3g} s", f"{slow / 3 / per_model:.0f}x", ">= 20x", quality]
        )
    return out


@row
def workers(seed: int) -> list[list[str]]:
    """Two workers against one, wall clock, alternating."""
    out = []
    for engine, executor, steps in (("fused", "local", 6000), ("torch", "ray", 1000)):
        sweep = ss.Sweep(
            ss.Bottleneck(20, 5),
            ss.SparseFeatures(20),
            over={"density": ss.logspace(0.1, 0.01, 16)},
            seeds=range(seed, seed + 32),
        )
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(3):
            for count in (1, 2):
                if executor == "ray":
                    import ray

                    ray.shutdown()
                sweep.train(ss.Recipe.fast(steps=20), engine=engine, executor=executor, workers=count)  # start the workers
                start = time.perf_counter()
                sweep.train(ss.Recipe.fast(steps=steps), engine=engine, executor=executor, workers=count)
                seconds[count].append(time.perf_counter() - start)
        one, two = (min(v) for v in seconds.values())
        name = f"two workers, {engine}, {executor}"
        out.append([name, f"{one:.2f} s", f"{two:.2f} s", f"{one / two:.2f}x", ">= 1.8x", "wall clock, best of 3"])
    return out


@row
def occhio(seed: int) -> list[list[str]]:
    """occhio's ModelGrid on the same 64 x 64 diagram."""
    try:
        from occhio.autoencoder import TiedLinearRelu
        from occhio.distributions.sparse import SparseUniform
        from occhio.model_grid import Axis, ModelGrid
        from occhio.toy_model import ToyModel
    except ImportError as error:
        return [
            [
                "occhio ModelGrid",
                "-",
                "-",
                "-",
                ">= 100x",
                f"not installed ({error}): pip install --no-deps occhio==0.2.3 tqdm einops",
            ]
        ]

    grid, ratios = ss.logspace(1, 0.01, 64), ss.logspace(0.1, 10, 64)

    def build(p: np.ndarray, r: np.ndarray) -> ModelGrid:
        def create(params: dict) -> ToyModel:
            weights = torch.tensor([1.0, float(params["r"])])
            return ToyModel(
                SparseUniform(2, float(params["p"]), generator=torch.Generator().manual_seed(seed % 2**31)),
                TiedLinearRelu(2, 1),
                importances=weights,
            )

        return ModelGrid(create, [Axis("p", torch.tensor(p)), Axis("r", torch.tensor(r))])

    torch.manual_seed(seed % 2**31)
    whole = build(grid, ratios)
    whole.fit(2, verbose=False)
    slow = cpu(lambda: whole.fit(10, verbose=False))[0] / 10 * 10_000
    part = slice(4, None, 12)
    small_grid = build(grid[part], ratios[part])
    small_grid.fit(10_000, verbose=False)
    losses = []
    for model, (p, r) in zip(small_grid.models.ravel(), [(p, r) for p in grid[part] for r in ratios[part]], strict=True):
        plain = reference.Model(1, 2, 1)
        plain.W.data, plain.b.data = model.ae.W.data.T[None], model.ae.b.data[None]
        losses.append(expected_losses(plain, np.array([p]), np.array([[1.0, r]]))[0])
    over = {"density": grid, "importance": [(1.0, float(r)) for r in ratios]}
    sweep = ss.Sweep(ss.Bottleneck(2, 1), ss.SparseFeatures(2), over=over, seeds=[seed], restarts=2, paired=False)
    fast, run = cpu(lambda: sweep.train(ss.Recipe.fast(steps=1000), workers=1))
    mine = run.loss.min("restart").values[part, part, 0].ravel()  # type: ignore[attr-defined]
    ratio = mine.mean() / np.mean(losses)
    text = f"best of 2; mean loss {ratio:.4f} of occhio's after 10k steps (25 cells)"
    return [
        ["64x64 against occhio ModelGrid", f"{slow:.0f} s (10 steps)", f"{fast:.2f} s", f"{slow / fast:.0f}x", ">= 100x", text]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], help=f"rows to run: {', '.join(ROWS)} (default all)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 30), help="first seed; drawn anew by default")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    console = Console(width=200)
    console.print(f"seed {options.seed}; CPU seconds per model on one thread unless said otherwise")
    for name in options.rows or ROWS:
        table = Table("work", "usual loop", "superscope", "ratio", "wanted", "quality", title=ROWS[name].__doc__)
        for cells in ROWS[name](options.seed):
            table.add_row(*cells)
        console.print(table)


if __name__ == "__main__":
    main()
