"""What is trained, built and measured in 4.11: networks of one input, products, many sparse features, random layers of ANDs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

import superscope as ss
from superscope.evidence.tables import arm, arms
from superscope.lab import Lab
from superscope.measure.activations import ands
from superscope.measure.weights.hinges import spline_floor
from superscope.sweep.run import SweepRun
from superscope.toys import gates
from superscope.toys.gelu_pairs import FLAT, Nets, Started, by_hand, explained, inside

ACTIVATIONS = ("gelu", "relu")
ACTIVE = 2.0  # bits on, on average
QUIET, MIDDLE, LOUD = (f"GELU at scale {scale:g}" for scale in (0.1, 0.5, 2))
BURIED, TRIPLES = "GELU at scale 0.02", "z² + z³/5"
NOISES = {"ANDs per neuron": 0.0, "ANDs in 5 % noise": 0.05, "ANDs in 20 % noise": 0.2}
X = np.linspace(-1, 1, 4001)  # inputs on which small networks are examined


@dataclass(frozen=True)
class Config:
    restarts: int = 24
    steps: int = 20_000
    n: int = 8  # features in superposition
    hidden: tuple[int, ...] = (8, 12, 16)  # must hold 3n/2
    density: float = 0.1
    many_steps: int = 12_000
    seeds: int = 16
    inputs: tuple[int, ...] = (16, 32)  # of ANDs, the last one judged
    layers: int = 10  # random layers
    asked: int = 3  # ANDs asked of each
    widths: int = 8


def toy(n: int, hidden: int, activation: str, target: str, plan: str = "") -> ss.TwoLayer:
    """One hidden layer, linear output; plan: started at a solution."""
    plain = ss.TwoLayer(n, hidden, "identity", activation, tied=False, hidden_bias=True, target=target)
    return Started(**vars(plain), plan=plan) if plan else plain


def train_one(config: Config, lab: Lab, target: str, hidden: int, activation: str, plan: str = "") -> Nets:
    """One dense input; the best of the restarts per seed (of two where the start is planted)."""
    inputs, restarts = ss.SparseFeatures(1, 1.0, ss.SignedUniform()), 2 if plan else config.restarts
    sweep = ss.Sweep(toy(1, hidden, activation, target, plan), inputs, seeds=lab.seeds(config.seeds), restarts=restarts)
    key = "-".join((target, activation, str(hidden), *[plan] * bool(plan)))
    run = lab.train(sweep, ss.Recipe.fast(steps=config.steps, lr=2e-2), name=key)
    d = run.best("restart").data.transpose("seed", ...)
    return Nets(d.W.values[..., 0], d.b_hidden.values, d.W_out.values[:, 0], d.b_out.values[:, 0], d.loss.values.astype(float))


def train_products(config: Config, lab: Lab) -> dict[str, np.ndarray]:
    """{activation, or "started": (seed,)} loss of xy with four neurons, best of the restarts."""
    found: dict[str, np.ndarray] = {}
    for activation, plan in (("gelu", ""), ("relu", ""), ("gelu", "flat")):
        inputs, restarts = ss.SparseFeatures(2, 1.0, ss.SignedUniform()), 2 if plan else config.restarts
        sweep = ss.Sweep(toy(2, 4, activation, "product", plan), inputs, seeds=lab.seeds(config.seeds), restarts=restarts)
        run = lab.train(sweep, ss.Recipe.fast(steps=config.steps, lr=2e-2), name=f"product-{activation}-{plan}")
        found["started" if plan else activation] = run.loss.min("restart").values.astype(float)
    return found


def train_many(config: Config, lab: Lab, target: str, plan: str = "") -> SweepRun:
    """Sweep over activation and width of n sparse features; started ones with GELU at the width of the claim only."""
    over = {
        "hidden_activation": ["gelu"] if plan else list(ACTIVATIONS),
        "n_hidden": [3 * config.n // 2] if plan else list(config.hidden),
    }
    inputs = ss.SparseFeatures(config.n, config.density, ss.SignedUniform())
    sweep = ss.Sweep(toy(config.n, config.n, "gelu", target, plan), inputs, over=over, seeds=lab.seeds(config.seeds))
    recipe = ss.Recipe.fast(steps=config.many_steps, lr=1e-2, warmup=0.1)
    return lab.train(sweep, recipe, name="-".join(("many", target, *[plan] * bool(plan))))


def loss_rows(config: Config, lab: Lab, nets: dict[tuple[str, str], Nets]) -> pd.DataFrame:
    """Networks of one input: losses, where they work, which activation does better."""
    seeds = lab.seeds(config.seeds)
    ours, two = (nets["square", a] for a in ACTIVATIONS)
    started = train_one(config, lab, "square", 2, "gelu", plan="flat")
    kink = {a: train_one(config, lab, "abs", 2, a, plan="kink") for a in ACTIVATIONS}

    def where(found: Nets) -> dict[str, np.ndarray]:
        return {"loss": found.loss, "small": inside(found, X), "distance": np.abs(np.abs(found.b) - FLAT).max(1)}

    return arms(
        arm("two GELUs", seeds, **where(ours)),
        arm("two ReLUs", seeds, loss=two.loss, **{"over the bound": two.loss / spline_floor(3)}),
        arm("two GELUs for |x|", seeds, **where(nets["abs", "gelu"])),
        arm("two GELUs, started at the flat point", seeds, **where(started)),
        arm("by hand at 0", seeds, small=inside(by_hand(seeds, 0.0, X), X)),
        *(
            arm(name, seeds, **{"GELU is worse": gelu.loss > relu.loss})
            for name, gelu, relu in (
                ("x²", ours, two), ("|x|", nets["abs", "gelu"], nets["abs", "relu"]),
                ("|x|, started at the kink", kink["gelu"], kink["relu"]),
            )
        ),
    )  # fmt: skip


def ratio_rows(
    config: Config, lab: Lab, nets: dict[tuple[str, str], Nets], products: dict[str, np.ndarray], many: dict[str, SweepRun]
) -> pd.DataFrame:
    """Loss of GELU over that of ReLU, by task."""
    seeds, at = lab.seeds(config.seeds), {"n_hidden": 3 * config.n // 2}
    started = train_many(config, lab, "square", plan="minimum").loss.sel(hidden_activation="gelu", **at)
    gelu, relu = ({t: many[t].loss.sel(hidden_activation=a, **at) for t in many} for a in ACTIVATIONS)
    found = {
        "xy": products["gelu"] / products["relu"],
        "xy, started at the flat point": products["started"] / products["relu"],
        "|x|": nets["abs", "gelu"].loss / np.maximum(nets["abs", "relu"].loss, 1e-12),
        "x², many features": (gelu["square"] / relu["square"]).values,
        "|x|, many features": (gelu["abs"] / relu["abs"]).values,
        "x², many features, started at the minimum": (started / relu["square"]).values,
    }
    return arms(*(arm(name, seeds, **{"GELU over ReLU": ratio}) for name, ratio in found.items()))


def surgery_rows(config: Config, lab: Lab, nets: dict[tuple[str, str], Nets]) -> pd.DataFrame:
    """R² with the activation replaced: of trained pairs of GELUs for x² and |x|, and of pairs by hand."""
    seeds = lab.seeds(config.seeds)
    zero, flat = (by_hand(seeds, centre, X) for centre in (0.0, -FLAT))
    cuts = ("gelu", "relu", "Taylor polynomial", "line", "shifted Taylor")
    return arms(
        *(arm(cut, seeds, **{"R²": explained(nets["square", "gelu"], cut, X, X**2)}) for cut in cuts),
        arm("shifted Taylor, |x|", seeds, **{"R²": explained(nets["abs", "gelu"], "shifted Taylor", X, np.abs(X))}),
        *(arm(f"by hand at 0, {cut}", seeds, **{"R²": explained(zero, cut, X, X**2)}) for cut in cuts),
        *(arm(f"by hand at the flat point, {cut}", seeds, **{"R²": explained(flat, cut, X, X**2)}) for cut in cuts),
    )


def and_layers(config: Config, seeds: list[int]) -> pd.DataFrame:
    """One row per activation, number of inputs and random layer: ANDs per neuron without and with noise; "over theory"."""
    kinds, rows = [kind for kind in gates.ACTIVATIONS if kind != "linear"], []
    for n, seed in [(n, seed) for n in config.inputs for seed in seeds]:
        rng, p = np.random.default_rng([seed, n, 11]), ACTIVE / n
        found = ands.per_neuron(
            partial(gates.random_layer, n, kinds, seed), n, p, config.asked, config.widths,
            tuple(NOISES.values()), rng,
        )  # fmt: skip
        theory = n * (n - 1) / 2 / ands.neurons_in_theory(n, p)
        rows += [
            {"arm": kind, "seed": seed, "inputs": n, **dict(zip(NOISES, found[kind], strict=True)), "theory": theory,
             "over theory": found[kind][0] / theory}
            for kind in kinds
        ]  # fmt: skip
    return pd.DataFrame(rows)


def losses(nets: dict[tuple[str, str], Nets], products: dict[str, np.ndarray]) -> pd.DataFrame:
    """Losses by task, beside what theory allows ReLU."""
    found = [
        *(("x²", 2, a, nets["square", a].loss, spline_floor(3)) for a in ACTIVATIONS),
        ("x²", 4, "relu", nets["square", "four ReLUs"].loss, spline_floor(5)),
        *(("|x|", 2, a, nets["abs", a].loss, 0.0) for a in ACTIVATIONS),
        *(("xy", 4, a, products[a], np.nan) for a in ACTIVATIONS),
    ]
    return pd.DataFrame([
        {"task": t, "neurons": h, "activation": a, "median loss": np.median(v), "lowest": v.min(), "bound for ReLU": bound}
        for t, h, a, v, bound in found
    ])  # fmt: skip


def curves(config: Config, many: dict[str, SweepRun]) -> pd.DataFrame:
    """Loss of many sparse features by width, task and activation: mean and range over seeds."""
    return pd.DataFrame([
        {"hidden": int(h), "loss": v.mean(), "low": v.min(), "high": v.max(), "arm": f"{name}, {a.upper()}"}
        for t, name in (("square", "x²"), ("abs", "|x|")) for a in ACTIVATIONS for h in config.hidden
        for v in [many[t].loss.sel(hidden_activation=a, n_hidden=h).values]
    ])  # fmt: skip
