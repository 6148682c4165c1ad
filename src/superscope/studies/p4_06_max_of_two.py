"""Problem 4.6: max(x, y) of inputs in [0, 1] when neurons are scarce.

max(x, y) = x + ReLU(y - x). Inputs are never negative, so a neuron can pass x through, and a pair takes two neurons: one that
passes and one for the difference. One neuron per pair, ReLU(x + y), is right unless both inputs are on (chance p^2); no
nonlinearity is used then. So for disjoint pairs the yardstick hands 0, 1 or 2 neurons to each pair, and n neurons are exact;
for all pairs, n pass-through neurons serve every pair up to both-on inputs and each further neuron makes one pair exact, so
n + n(n-1)/2 are. What a pair costs with fewer neurons is the best of many trained networks with that one pair. Training must
be long: the gain of a difference neuron is of order p^2, and short runs stop at pass-through neurons.

Asked: are these counts exact, does training share neurons to beat the yardstick by 10 % for sparse inputs, and is the error
where theory puts it, on inputs with both on? A linear output limits sharing by rank (H outputs at most), so an output ReLU is
compared. Widths for the claims were fixed beforehand: n/4 (less than one neuron per pair) and 3n/4 (less than two).
Loss: sum over outputs, mean over samples. Criteria: 1e-6, 10 %; one half for the both-on share is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

import superscope as ss
from superscope import measure, plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.evidence.stats import Claim
from superscope.lab import Lab
from superscope.sweep.run import SweepRun
from superscope.toys import get_target
from superscope.toys.aligned import AlignedPairs

PROBLEM = "4.6"
TITLE = "The maximum of two inputs"
QUESTION = "How does a hidden layer compute max(x, y) for many pairs when neurons are scarce, and where does it err?"
ASSUMPTIONS = [
    "Inputs are uniform on [0, 1] when on, independent, and enter unmixed, one per coordinate.",
    "The cost of a pair with too few neurons is the best of many trained single-pair networks; it could only be lower still.",
    "Decoders start aligned with the pairs; seeds are single training runs, not global optima.",
]
DISANALOGIES = [
    "Most of max(x, y) is linear for sparse non-negative inputs, so a small error says little about nonlinear computation; in "
    "a language model inputs have both signs and no such free part.",
    "The network is told which pairs matter. Finding useful pairs among many is the harder problem.",
    "Failing to find difference neurons is a statement about gradient descent at these sizes, not about what weights could do.",
]
OUTPUTS = {"linear output": "identity", "output ReLU": "relu"}


@dataclass(frozen=True)
class Config:
    n: int = 20  # disjoint pairs; widths of the claims are n/4 and 3n/4
    n_all: int = 12  # all pairs
    hidden: tuple[int, ...] = (5, 10, 15, 20)
    hidden_all: tuple[int, ...] = (12, 24, 48)
    densities: tuple[float, ...] = (0.1, 0.03)  # must hold 0.1 and 0.03
    steps: int = 8000
    restarts: int = 96  # of the exact arms (half as many for all pairs)
    seeds: int = 16


PRESETS = {
    "quick": Config(),
    "standard": Config(
        hidden=(2, 5, 8, 10, 12, 15, 18, 20), hidden_all=(12, 24, 48, 72), densities=(1.0, 0.3, 0.1, 0.03, 0.01), steps=30_000,
        restarts=128,
    ),
    "full": Config(
        hidden=(2, 5, 8, 10, 12, 15, 18, 20, 30), n_all=20, hidden_all=(20, 40, 80, 160, 210), steps=50_000,
        densities=(1.0, 0.3, 0.1, 0.03, 0.01), restarts=128, seeds=32,
    ),
}  # fmt: skip


def variance(p: float) -> float:
    """Var max(x, y) for two inputs that are on with chance p: one on gives E = 1/2, E^2 = 1/3; both give 2/3 and 1/2."""
    one, both = 2 * p * (1 - p), p**2
    return one / 3 + both / 2 - (one / 2 + 2 * both / 3) ** 2


def pair_costs(config: Config, lab: Lab) -> dict[str, np.ndarray]:
    """{output: (density, 3)} loss of one pair with 0, 1 or 2 neurons of its own (best of 48 trainings)."""
    out = {}
    for name, activation in OUTPUTS.items():
        over = {"density": list(config.densities), "n_hidden": [1, 2]}
        sweep = ss.Sweep(
            AlignedPairs(2, 1, activation=activation), ss.SparseFeatures(2), over=over, seeds=[lab.seed], restarts=48
        )
        run = lab.train(sweep, ss.Recipe.careful(3000, lr=1e-2), name=f"pair-{activation}")
        trained = run.loss.min(("seed", "restart")).transpose("density", "n_hidden").values
        out[name] = np.column_stack([[variance(p) for p in config.densities], trained])
    return out


def naive(config: Config, kind: str, hidden: int, cost: np.ndarray) -> float:
    """Loss of the best allocation; cost (3,) of a pair with 0, 1, 2 neurons.

    For all pairs (hidden >= n): n neurons pass the inputs, each other one makes one pair exact.
    """
    if kind == "disjoint":
        row = np.array([cost[0], cost[1], 0.0])
        return measure.best_allocation(np.tile(row, (config.n // 2, 1)), hidden).loss
    pairs = config.n_all * (config.n_all - 1) // 2
    return max(pairs - (hidden - config.n_all), 0) * cost[1]


def train_all(config: Config, lab: Lab, seeds: range) -> dict[tuple[str, str, str], SweepRun]:
    """{(pairs, output, hidden activation): sweep over (width, density)}; the linear one at the widths of the claims only."""
    runs = {}
    for kind, n, target, widths in (
        ("disjoint", config.n, "max", config.hidden),
        ("all", config.n_all, "max-all-pairs", config.hidden_all),
    ):
        for name, activation in OUTPUTS.items():
            for hidden_activation in ("relu", "identity") if kind == "disjoint" else ("relu",):
                linear = hidden_activation == "identity"
                toy = AlignedPairs(n, 1, activation, hidden_activation, target=target, init_scale=0.5)
                over = {
                    "n_hidden": [n // 4, 3 * n // 4] if linear else list(widths),
                    "density": [0.03] if linear else list(config.densities if kind == "disjoint" else (0.1, 0.03)),
                }
                sweep = ss.Sweep(toy, ss.SparseFeatures(n), over=over, seeds=seeds)
                key = (kind, name, "linear" if linear else "ReLU")
                runs[key] = lab.train(
                    sweep, ss.Recipe.careful(config.steps, lr=2e-2), name=f"{kind}-{activation}-{hidden_activation}"
                )
    return runs


def exact(config: Config, lab: Lab, seeds: range, target: str, hidden: int) -> np.ndarray:
    """(seed,) loss of a few dense inputs (p = 1/2) with a linear output, best of the restarts."""
    n = 4 if target.endswith("pairs") else 6
    toy = AlignedPairs(n, hidden, activation="identity", target=target)
    sweep = ss.Sweep(toy, ss.SparseFeatures(n, 0.5), seeds=seeds, restarts=config.restarts if n == 6 else config.restarts // 2)
    return lab.train(sweep, ss.Recipe.careful(5000, lr=1e-2), name=f"exact-{target}-{hidden}").loss.min("restart").values


def both_on_share(config: Config, run: SweepRun, hidden: int, seed: int) -> pd.DataFrame:
    """Loss of disjoint pairs at density 0.1 by how many of the pair's own inputs are on: one row per (seed, on)."""
    x = ss.SparseFeatures(config.n, 0.1).draw(np.random.default_rng(seed), 30_000)
    y = run.forward(torch.tensor(x), n_hidden=hidden, density=0.1).numpy()
    error = (y - get_target("max").compute(x)) ** 2  # (seed, P, pairs)
    on = (x[:, 0::2] > 0).astype(int) + (x[:, 1::2] > 0)
    rows = []
    for s, one in enumerate(error):
        for k in range(3):
            mean = float(one[on == k].mean())
            rows.append(
                {"seed": s, "on": k, "hidden": hidden, "conditional": mean, "share": float(one[on == k].sum() / one.sum())}
            )
    return pd.DataFrame(rows)


def neuron_roles(run: SweepRun, hidden: int) -> pd.DataFrame:
    """Mean number of (neuron, pair) roles per network and density: passing (both inputs alike) or difference (opposed).

    A role needs both input weights within a factor 3 of each other and an output of at least 0.2 per unit of input.
    """
    rows = []
    for p in run.density.values:
        d = run.data.sel(n_hidden=hidden, density=p).isel(hidden=slice(hidden)).transpose("seed", ...)
        a, b = d.W.values[..., 0::2], d.W.values[..., 1::2]  # (seed, hidden, pair)
        small, large = np.minimum(np.abs(a), np.abs(b)), np.maximum(np.abs(a), np.abs(b))
        out = np.swapaxes(d.W_out.values, -1, -2)[..., :hidden, :]
        counts = (3 * small > large) & (np.abs(out) * large >= 0.2)
        difference = counts & (a * b < 0)
        rows.append(
            {"hidden": hidden, "density": float(p), "passing": (counts & (a > 0) & (b > 0)).sum((1, 2)).mean(),
             "difference": difference.sum((1, 2)).mean(),
             "neurons with two differences": (difference.sum(-1) >= 2).sum(-1).mean()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def run(config: Config, lab: Lab) -> Findings:
    """Exact counts, losses against the yardstick, and where the error is."""
    seeds = range(lab.seed * 1000, lab.seed * 1000 + config.seeds)
    cost = pair_costs(config, lab)
    counts = (("max", 6), ("max", 5), ("max-all-pairs", 10), ("max-all-pairs", 4))
    small = {(target, h): exact(config, lab, seeds, target, h) for target, h in counts}
    runs = train_all(config, lab, seeds)
    rows = []
    for (kind, output, hidden_layer), r in runs.items():
        for h in map(int, r.n_hidden.values):
            for p in map(float, r.density.values):
                base = naive(config, kind, h, cost[output][config.densities.index(p)])
                losses = r.loss.sel(n_hidden=h, density=p).values
                rows += [
                    {"pairs": kind, "output": output, "hidden layer": hidden_layer, "hidden": h, "density": p, "seed": s,
                     "loss": v, "naive": base, "ratio": v / base if base > 1e-9 else np.nan}
                    for s, v in enumerate(losses)
                ]  # fmt: skip
    table = pd.DataFrame(rows)
    split = pd.concat([both_on_share(config, runs["disjoint", "output ReLU", "ReLU"], h, lab.seed) for h in config.hidden])
    roles = pd.concat(
        [neuron_roles(runs["disjoint", name, "ReLU"], h).assign(output=name) for name in OUTPUTS for h in config.hidden]
    )

    solved = max(float(c[:, 2].max()) for c in cost.values())
    gate = Gate("Two neurons compute max(x, y) of one pair exactly (loss below 1e-6)", solved < 1e-6, {"largest loss": solved})
    claims = judge(config, table, small, split, gate.passed)
    mean = table.groupby(["pairs", "output", "hidden layer", "hidden", "density"], sort=False)
    losses = mean.ratio.agg(["mean", "min", "max"]).reset_index()
    sparse = losses[(losses.pairs == "disjoint") & (losses.density == 0.03) & (losses["hidden layer"] == "ReLU")]
    few, some = (sparse[sparse.hidden == h].set_index("output")["mean"] for h in (config.n // 4, 3 * config.n // 4))
    found = roles[(roles.hidden == 3 * config.n // 4) & (roles.density == 0.1)].set_index("output").difference
    same = (losses.pairs == "disjoint") & (losses.density == 0.1) & (losses.hidden == 3 * config.n // 4)
    denser = losses[same].set_index("output")["mean"]
    summary = (
        f"Against the best allocation at density 0.03: with half a neuron per pair {few['linear output']:.2g} (linear output) "
        f"and {few['output ReLU']:.2g} (output ReLU) of its loss; with one and a half {some['linear output']:.2g}, "
        f"{some['output ReLU']:.2g} (at density 0.1 {denser['linear output']:.2g} and {denser['output ReLU']:.2g}). There "
        f"{config.n // 2} pairs use {found['linear output']:.2g} neurons that hold a clean difference: the maximum is "
        "computed by many neurons together."
    )
    by_on = split.groupby(["hidden", "on"]).mean().drop(columns="seed").reset_index()
    tables = {"losses": losses, "by-inputs-on": by_on, "roles": roles}
    return Findings(gate, claims, draw(losses, split), tables, summary)


def judge(config: Config, table: pd.DataFrame, small, split: pd.DataFrame, passed: bool) -> list[Claim]:
    """All claims; small[target, width] (seed,) losses."""

    def ratio(output: str, layer: str, hidden: int) -> np.ndarray:
        same = (table.pairs == "disjoint") & (table.output == output) & (table["hidden layer"] == layer)
        return table[same & (table.hidden == hidden) & (table.density == 0.03)].ratio.to_numpy()

    few, some = config.n // 4, 3 * config.n // 4
    claims = [
        stats.claim(
            f"exact-{name}", f"{what} of {inputs} inputs: {most} neurons are exact (loss below 1e-6, best of restarts)",
            stats.fraction(small[target, most] < 1e-6), ">= 0.8",
            stats.Arm(f"{less} neurons", stats.fraction(small[target, less] < 1e-6)), passed,
        )
        for name, what, target, inputs, most, less in (
            ("disjoint", "Disjoint pairs", "max", 6, 6, 5), ("all", "All pairs", "max-all-pairs", 4, 10, 4),
        )
    ]  # fmt: skip
    claims += [
        stats.claim(
            f"pays-{activation}-{hidden}",
            f"{hidden} shared neurons beat the best allocation for {config.n // 2} pairs by 10 %, {name} (L / L_naive)",
            stats.estimate(ratio(name, "ReLU", hidden)), "<= 0.9",
            stats.Arm("linear hidden layer", stats.estimate(ratio(name, "linear", hidden))), passed,
            note="Density 0.03." + (
                " A ReLU(x + y) of non-negative inputs is linear, so the hidden layer's nonlinearity is not what pays; the "
                "control shows how much the output ReLU does alone." if hidden == few else ""
            ),
        )
        for hidden in (few, some) for name, activation in OUTPUTS.items()
    ]  # fmt: skip
    shares = {h: split[(split.on == 2) & (split.hidden == h)].share.to_numpy() for h in (few, some)}
    claims.append(
        stats.claim(
            "both-on", f"With {some} neurons the error is on inputs with both on: at least half of the loss at density 0.1",
            stats.estimate(shares[some]), ">= 0.5",
            stats.Arm(f"{few} neurons", stats.estimate(shares[few]), "single inputs fail already"), passed,
            note="Share of a pair's squared error on samples where both of its inputs are on (1 % of them); output ReLU.",
        )
    )  # fmt: skip
    return claims


def draw(losses: pd.DataFrame, split: pd.DataFrame) -> list[Figure]:
    """Ratios by width, and shares of the loss."""
    part = losses[(losses["hidden layer"] == "ReLU") & (losses.density == 0.03)].dropna()
    part = part.assign(arm=part.pairs + " pairs, " + part.output)
    shares = split.groupby(["hidden", "on"]).share.agg(["mean", "min", "max"]).reset_index()
    shares["inputs on"] = shares.on.map({0: "none on", 1: "one on", 2: "both on"})
    return [
        Figure(
            "losses",
            plots.lines_with_band(
                part, "hidden", "mean", "arm", "min", "max", log_y=True, x_title="neurons H", y_title="L / L_naive"
            ),
            "Loss over that of the best allocation (1) at density 0.03: mean and range over seeds. Where the allocation is "
            "exact no ratio is shown.",
        ),
        Figure(
            "by-inputs-on",
            plots.lines_with_band(
                shares, "hidden", "mean", "inputs on", "min", "max", x_title="neurons H", y_title="share of the loss"
            ),
            "Where a pair's error is, by how many of its own inputs are on (disjoint, output ReLU, density 0.1). 'None on' "
            "is interference from other pairs.",
        ),
    ]  # fmt: skip
