"""Problem 4.5: AND and OR of pairs of bits, with fewer neurons than gates.

Model: y = W_out ReLU(W x + b) + c with a *linear* output (an output ReLU is an AND gate by itself), bits on with chance p.
What can be claimed depends on the criterion, because a linear function of the bits goes a long way (`_gates`):
(a) all pairs, squared error. Outputs are linear in H hidden units, so the loss cannot fall below the variance of the targets
outside H directions, and ANDs of different pairs are nearly uncorrelated: sharing should not pay at all.
(b) fourth power of the error with every row of the truth table weighing alike, judged on active sets that training
never saw (a random subset of pairs, so that many bits stay affordable). A gate is *computed* if its error is below 1/4, which
no linear function achieves.
(c) a random layer with a fitted read-out, at a size where theory promises many gates per neuron (Vaintrob, Mendel and Hanni
2024, arXiv 2408.05451): is training needed?
(d) disjoint pairs with a linear skip: OR = a + b - AND, so both should cost the same.

Rules from the reference sheet: more correct ANDs than neurons on held-out combinations; the linear network fails; the OR
identity. Ours, named after an exploratory run at other sizes: the error of 1/4 (by theory) on 95 % of samples, 5 % for the
identity, 0.3 for density of the read-out. Losses: sum over gates, mean over samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

import superscope as ss
from superscope import plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.lab import Lab
from superscope.sweep.run import SweepRun
from superscope.toys import gates, get_target

PROBLEM = "4.5"
TITLE = "AND and OR of binary inputs"
QUESTION = "How many ANDs of pairs of bits can a hidden layer compute per neuron, by which criterion, and with which circuit?"
ASSUMPTIONS = [
    "Bits are independent, each on with the same chance, and enter unmixed, one per coordinate.",
    "A gate is computed if its error is below 1/4 on 95 % of the samples of each row of its truth table; other bits are noise.",
    "The yardstick gives every neuron one exact gate and all other gates the best linear function of their bits for "
    "nothing, so beating it means sharing neurons, not using linear directions.",
]
DISANALOGIES = [
    "All pairs are asked for with equal weight; a model would compute the few conjunctions that matter.",
    "Trained sizes are small (tens of bits), where approximate orthogonality, on which the constructions rest, hardly exists.",
    "Outputs are read linearly. A next layer with its own ReLUs would clean up and make much more of the same hidden layer.",
]
OR_MARGIN, DENSE = 0.05, 0.3


@dataclass(frozen=True)
class Config:
    n: int = 20  # (a)
    hidden: tuple[int, ...] = (20, 40)
    density: float = 0.1
    steps: int = 1500
    trained_n: int = 24  # (b)
    trained_gates: int = 96
    trained_hidden: int = 48
    trained_density: float = 0.1
    trained_steps: int = 1200
    random_n: int = 80  # (c)
    random_hidden: int = 640
    random_active: float = 2.0  # bits on, on average
    random_gates: int = 5
    pair_bits: int = 8  # (d)
    seeds: int = 16


PRESETS = {
    "quick": Config(),
    "standard": Config(
        hidden=(10, 20, 40, 80), steps=6000, trained_n=40, trained_gates=200, trained_hidden=100, trained_density=0.06,
        trained_steps=5000, random_n=100,
        random_hidden=800, random_gates=20,
    ),
    "full": Config(
        n=40, hidden=(20, 40, 80, 160), steps=20_000, trained_n=60, trained_gates=1770, trained_hidden=400,
        trained_density=0.04,
        trained_steps=20_000, random_n=200, random_hidden=2000, random_gates=50, pair_bits=20, seeds=32,
    ),
}  # fmt: skip


def squared_error(config: Config, lab: Lab, seeds: range) -> dict[str, np.ndarray]:
    """(hidden, seed) loss over the yardstick's, for linear output and, at H = n, with an output ReLU."""
    inputs = ss.SparseFeatures(config.n, config.density, ss.Constant(1))
    count = config.n * (config.n - 1) // 2
    out = {}
    for name, activation in (("linear output", "identity"), ("output ReLU", "relu")):
        widths = list(config.hidden) if activation == "identity" else [config.n]
        yardstick = np.array([(count - h) * gates.linear_floor(config.density) for h in widths])
        toy = ss.TwoLayer(config.n, 1, activation, "relu", tied=False, hidden_bias=True, target="and-all-pairs", init_scale=0.5)
        sweep = ss.Sweep(toy, inputs, over={"n_hidden": widths}, seeds=seeds)
        run = lab.train(sweep, ss.Recipe.fast(steps=config.steps, lr=5e-3, warmup=0.1), name=f"mse-{activation}")
        out[name] = run.loss.transpose("n_hidden", "seed").values / yardstick[:, None]
    return out


def parameters(run: SweepRun) -> dict[str, np.ndarray]:
    """{name: (seed, ...)} parameters of a sweep over seeds only."""
    skipped = ("loss", "loss_se", "loss_per_feature")
    return {str(k): v.transpose("seed", ...).values for k, v in run.data.data_vars.items() if k not in skipped}


def train_some_pairs(config: Config, lab: Lab, seeds: range, linear: bool) -> dict[str, np.ndarray]:
    """(b), on held-out sets: loss (seed,), gates computed and right at 1/2 (seed,), outputs by row (seed, 3), density (seed,).

    "right at start" is that of the untrained linear network (the control), for ReLU networks the trained one again.
    """
    n, p, count = config.trained_n, config.trained_density, config.trained_gates
    loss = gates.balanced_loss(n, count, p, 4)
    settings = {"n": n, "hidden": config.trained_hidden, "outputs": count, "linear": linear}
    toy = ss.ModuleToy(gates.Layer, settings, target=gates.some_ands(n, count), loss=loss, name="gate-layer")
    inputs = ss.SparseFeatures(n, p, ss.Constant(1))
    recipe = ss.Recipe.fast(steps=config.trained_steps // (3 if linear else 1), lr=1e-2, points=192, warmup=0.1)
    sweep, name = ss.Sweep(toy, inputs, seeds=seeds), f"pairs-{'linear' if linear else 'relu'}"
    run = lab.train(sweep, recipe, name=name)
    x = inputs.draw(np.random.default_rng(lab.seed), 50_000).astype(float)
    x = x[gates.held_out(x)]
    first, second = gates.some_pairs(n, count)
    row = x[:, first] + x[:, second]
    start = lab.train(sweep, recipe.replace(steps=0), name=f"{name}-start") if linear else run
    _, untrained = gates.evaluate(parameters(start), x, linear)
    _, y = gates.evaluate(parameters(run), x, linear)
    response, within, side = gates.by_row(y, row)
    fourth = np.abs(y - (row == 2)) ** 4
    balanced = sum((fourth * (row == r)).sum(1) / (row == r).sum(0) for r in range(3)) / 3  # (seed, K)
    return {
        "loss": balanced.sum(-1),
        "computed": gates.computed(within),
        "right": (gates.balanced_accuracy(side, row) > 0.99).mean(-1),
        "right at start": (gates.balanced_accuracy(gates.by_row(untrained, row)[2], row) > 0.99).mean(-1),
        "response": response.mean(-1),
        "within": within.mean(-1),
        "density": read_density(parameters(run)["write.weight"]),
    }


def read_density(weight: np.ndarray) -> np.ndarray:
    """(...,) mean over gates of the participation ratio of their read-out weights (..., K, H), as a share of the neurons."""
    return ((weight**2).sum(-1) ** 2 / (weight**4).sum(-1)).mean(-1) / weight.shape[-1]


def random_layers(config: Config, seed: int, seeds: int) -> dict[str, list[list[float]]]:
    """(c): {kind: (seed, 4)} share of gates computed, and share of samples within 1/4 by row."""
    p = config.random_active / config.random_n
    out = {}
    for kind in ("dense", "sparse", "linear"):
        count, rows = config.random_gates if kind == "dense" else 2, []
        for s in range(seeds):
            rng = np.random.default_rng([seed, s])
            share, within = gates.random_layer_share(config.random_n, config.random_hidden, p, kind, count, rng)
            rows.append([share, *within.tolist()])
        out[kind] = rows
    return out


def disjoint_pairs(config: Config, lab: Lab, seeds: range) -> dict[str, dict[str, np.ndarray]]:
    """(d): AND and OR of disjoint pairs, with and without skip; loss (seed,), and error of AND read from the OR network."""
    n, count = config.pair_bits, config.pair_bits // 2
    inputs = ss.SparseFeatures(n, 0.2, ss.Constant(1))
    x = inputs.draw(np.random.default_rng(lab.seed), 20_000).astype(float)
    out = {}
    for target in ("and", "or"):
        for skip in (True, False):
            settings = {"n": n, "hidden": count // 2, "outputs": count, "skip": skip}
            toy = ss.ModuleToy(gates.Layer, settings, target=target, name="gate-layer")
            recipe = ss.Recipe.fast(steps=config.steps if skip else config.steps // 2, lr=2e-2, points=64)
            sweep = ss.Sweep(toy, inputs, seeds=seeds, restarts=4 if skip else 1)
            run = lab.train(sweep, recipe, name=f"{target}-{'skip' if skip else 'plain'}")
            run = run.best("restart") if skip else run
            _, y = gates.evaluate(parameters(run), x)
            if target == "or":  # OR = a + b - AND
                y = x[:, 0::2] + x[:, 1::2] - y
            error = ((y - get_target("and").compute(x)) ** 2).mean(1).sum(-1)
            out[f"{target}, {'skip' if skip else 'no skip'}"] = {"loss": run.loss.values, "as AND": error}
    return out


def run(config: Config, lab: Lab) -> Findings:
    """Squared error, row-balanced fourth power, random layers, OR."""
    seeds = range(lab.seed * 1000, lab.seed * 1000 + config.seeds)
    mse = squared_error(config, lab, seeds)
    trained = {name: train_some_pairs(config, lab, seeds, linear) for name, linear in (("ReLU", False), ("linear", True))}
    drawn = {k: np.array(v) for k, v in lab.unit("random", lambda: random_layers(config, lab.seed, config.seeds)).items()}
    pairs = disjoint_pairs(config, lab, seeds)

    count = config.trained_gates
    yardstick = (count - config.trained_hidden) * gates.fourth_power_floor()
    relative = {name: found["loss"] / yardstick for name, found in trained.items()}
    per_neuron = {name: found["computed"] / config.trained_hidden for name, found in trained.items()}
    total = config.random_n * (config.random_n - 1) / 2
    random_count = {kind: table[:, 0] * total / config.random_hidden for kind, table in drawn.items()}
    gate = Gate(
        "Trained ReLU networks put at least 95 % of all gates on the right side of 1/2 for sets of bits that they never saw",
        bool(np.median(trained["ReLU"]["right"]) >= 0.95),
        {"median share of gates with balanced accuracy above 0.99": float(np.median(trained["ReLU"]["right"]))},
    )
    ok = gate.passed
    ratio = {skip: pairs[f"or, {skip}"]["loss"] / pairs[f"and, {skip}"]["loss"] for skip in ("skip", "no skip")}
    one_each = read_density(np.tile(np.eye(config.trained_hidden), (config.seeds, 1, 1)))
    claims = [
        stats.claim(
            "mse-no-gain", "Under squared error sharing does not pay at any width: the loss is never below the yardstick's",
            stats.estimate(mse["linear output"].min(0)), ">= 1",
            stats.Arm("output ReLU", stats.estimate(mse["output ReLU"].min(0)), "it computes AND by itself"), ok,
            note=f"Smallest L / L_naive over H = {config.hidden}; n={config.n}, p={config.density}.",
        ),
        stats.claim(
            "threshold-trap", "A linear network with no ReLU at all puts 90 % of the gates right at threshold 1/2",
            stats.estimate(trained["linear"]["right"]), ">= 0.9",
            stats.Arm("before training", stats.estimate(trained["linear"]["right at start"])), ok,
            note="Share of gates with balanced accuracy above 0.99 on held-out sets. So the usual criterion shows nothing.",
        ),
        stats.claim(
            "trained-count", "Trained networks compute more ANDs than they have neurons (error below 1/4 on every row)",
            stats.estimate(per_neuron["ReLU"]), "> 1",
            stats.Arm("linear network", stats.estimate(per_neuron["linear"])), ok,
            note=f"ANDs computed per neuron on held-out sets; {count} gates, {config.trained_hidden} neurons.",
        ),
        stats.claim(
            "fourth-power-pays", "Under the fourth power of the error sharing pays: the loss is below the yardstick's",
            stats.estimate(relative["ReLU"]), "< 1",
            stats.Arm("linear network", stats.estimate(relative["linear"])), ok,
            note="Row-balanced loss on held-out sets over that of one exact gate per neuron plus ideal linear outputs. Trained "
            f"for {config.trained_steps} steps; the loss still falls slowly then.",
        ),
        stats.claim(
            "random-layer", "An untrained random layer already holds more ANDs than it has neurons, for a linear read-out each",
            stats.estimate(random_count["dense"]), "> 1",
            stats.Arm("random linear layer", stats.estimate(random_count["linear"])), ok,
            note=f"Estimated from {config.random_gates} random gates per layer; n={config.random_n}, H={config.random_hidden}, "
            f"{config.random_active:g} bits on. Unit of replication: random layers.",
        ),
        stats.claim(
            "or-identity", "With a linear skip OR costs what AND costs, within 5 % (ratio of losses)",
            stats.estimate(ratio["skip"], stat="median"), f"within [{1 - OR_MARGIN:g}, {1 + OR_MARGIN:g}]",
            stats.Arm("no skip", stats.estimate(ratio["no skip"], stat="median"), "then a + b must pass the neurons"), ok,
            note="Disjoint pairs, half as many neurons as pairs.",
        ),
        stats.claim(
            "dense-circuit", f"The circuit is dense: gates read from at least {DENSE:.0%} of the neurons (participation ratio)",
            stats.estimate(trained["ReLU"]["density"]), f">= {DENSE:g}",
            stats.Arm("one neuron per gate", stats.estimate(one_each), "monosemantic read-out"), ok,
        ),
    ]  # fmt: skip
    rows = pd.DataFrame(
        [
            {"network": name, "row": row, "mean output": found["response"][:, r].mean(), "low": found["response"][:, r].min(),
             "high": found["response"][:, r].max(), "within 1/4": found["within"][:, r].mean()}
            for name, found in trained.items() for r, row in enumerate(("00", "01 or 10", "11"))
        ]
    )  # fmt: skip
    curve = pd.DataFrame(
        [
            {"hidden": h, "L / L_naive": row.mean(), "low": row.min(), "high": row.max(), "network": name}
            for name, values in mse.items()
            for h, row in zip(config.hidden if len(values) > 1 else [config.n], values, strict=True)
        ]
    )  # fmt: skip
    layers = pd.DataFrame(
        [
            {"layer": kind, "ANDs per neuron": random_count[kind].mean(), "share computed": t[:, 0].mean(),
             "00": t[:, 1].mean(), "01 or 10": t[:, 2].mean(), "11": t[:, 3].mean()}
            for kind, t in drawn.items()
        ]
    )  # fmt: skip
    summary = (
        f"The criterion decides. At threshold 1/2 a linear network gets {trained['linear']['right'].mean():.0%} of the gates "
        f"right. With error below 1/4 trained networks compute {per_neuron['ReLU'].mean():.2g} ANDs per neuron "
        f"(n={config.trained_n}); their loss is {relative['ReLU'].mean():.2g} of the yardstick's under the fourth power and at "
        f"best {mse['linear output'].min(0).mean():.3g} under squared error. A random dense layer of {config.random_hidden} "
        f"neurons holds {random_count['dense'].mean():.2g} ANDs per neuron, the sparse construction "
        f"{random_count['sparse'].mean():.2g}."
    )
    return Findings(
        gate, claims, draw(curve, rows, layers), {"squared-error": curve, "rows": rows, "random-layers": layers}, summary
    )


def draw(curve: pd.DataFrame, rows: pd.DataFrame, layers: pd.DataFrame) -> list[Figure]:
    """Losses by width, truth tables, random layers by row."""
    table = rows.assign(position=rows["row"].map({"00": 0, "01 or 10": 1, "11": 2}))
    truth = pd.DataFrame({"network": "AND", "position": [0, 1, 2], "mean output": [0.0, 0.0, 1.0], "low": [0.0, 0.0, 1.0],
                          "high": [0.0, 0.0, 1.0]})  # fmt: skip
    long = layers.melt(["layer"], ["00", "01 or 10", "11"], "row", "samples within 1/4")
    long["position"] = long["row"].map({"00": 0, "01 or 10": 1, "11": 2})
    return [
        Figure(
            "squared-error",
            plots.lines_with_band(
                curve, "hidden", "L / L_naive", "network", "low", "high", log_y=True, x_title="neurons H",
                roles={"output ReLU": "control"},
            ),
            "All pairs under squared error: with a linear output no width beats one gate per neuron plus linear outputs (1).",
        ),
        Figure(
            "truth-table",
            plots.lines_with_band(
                pd.concat([table, truth]), "position", "mean output", "network", "low", "high",
                x_title="bits of the pair that are on", roles={"AND": "theory", "linear": "control"},
            ),
            "Mean output on each row of the truth table after training on the fourth power of the error, held-out sets. A "
            "straight line is what linear networks can do.",
        ),
        Figure(
            "random-layers",
            plots.lines_with_band(
                long, "position", "samples within 1/4", "layer", x_title="bits of the pair that are on",
                roles={"linear": "control"},
            ),
            "Random layers with fitted read-outs: share of samples with error below 1/4 on each row. Gates count only if all "
            "three exceed 95 %.",
        ),
    ]  # fmt: skip
