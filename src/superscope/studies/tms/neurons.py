"""TMS reproduction, hidden ReLUs: a privileged basis (T12), the absolute value model (T13), and the failed bottleneck with a
ReLU and a bias on its hidden layer."""

from __future__ import annotations

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure, plots
from superscope.evidence.expect import Expect
from superscope.evidence.findings import Figure, Part
from superscope.evidence.tables import arm, arms
from superscope.lab import Lab
from superscope.studies.tms.config import Config

DENSITIES = (1.0, 0.3, 0.1, 0.03)  # of the section on a privileged basis

EXPECTED = [
    Expect(
        "T12-polysemantic", "With a ReLU on the hidden layer, at least one neuron in five becomes polysemantic as features get "
        "sparser", "polysemantic", ">= 1", of="hidden ReLU, sparse - hidden ReLU, dense",
        null="linear hidden layer, sparse - linear hidden layer, dense", plant="neurons shared by hand - neurons apart by hand",
        why="Null: without the ReLU no basis is privileged, and neurons mix features at any density. Plant: two of five "
        "neurons hold a second feature of .4 to 1 of the first, noise.",
        note="Ten features, importance .75^i, five neurons, no hidden bias, densities .03 and 1, best of 8 restarts. "
        "Polysemantic: a second weight above .3 of the largest; the table has .2 and .5 as well.",
    ),
    Expect(
        "T13-exact", "The absolute value model with two neurons per feature computes |x| to a loss below 1e-6",
        "loss", "<= 1e-6", of="trained", null="linear hidden layer", plant="exact network by hand", stat="median",
        why="Null: |x| is no linear function. Plant: the construction itself, neurons in random order and of random scale.",
        note="Loss: sum over features, mean over samples. Median over seeds, best of 4 restarts.",
    ),
    Expect(
        "T13-halves", "All six neurons are halves of an absolute value in at least 90% of seeds",
        "halves", ">= 0.9", of="trained", null="linear hidden layer", plant="exact network by hand", stat="share",
        why="Null: nothing computes |x| there. Plant: the construction itself, neurons in random order and of random scale.",
    ),
    Expect(
        "hidden-relu",
        "A ReLU on the bottleneck is kept open by a learned hidden bias: its units are active on at least 95% of inputs",
        "open", ">= 0.95", of="hidden ReLU", null="absolute value model", plant="bias of three standard deviations",
        why="Null: where the ReLU computes, it also closes. Plant: biases that keep random directions open.",
        note="The negative control the problem list warns about: this toy looks like superposition with neurons and is not.",
    ),
]  # fmt: skip


def absolute_value(config: Config, lab: Lab) -> Part:
    """T13, n=3, m=6: a positive and a negative neuron per feature compute |x| exactly; a linear hidden layer cannot."""
    inputs = ss.SparseFeatures(3, density=0.1, values=ss.SignedUniform())
    loss, halves, best, seeds = {}, {}, {}, lab.seeds(config.seeds)
    for name in ("relu", "identity"):
        toy = ss.AbsoluteValue(3, 6, hidden_activation=name)
        sweep = ss.Sweep(toy, inputs, seeds=seeds, restarts=4)
        run = lab.train(sweep, config.recipe(4000), name=f"t13-{name}").best("restart")
        loss[name], best[name] = run.loss.values, run.best("seed")
        halves[name] = measure.half_absolute_neurons(run.W.values, run.W_out.values).sum(-1)
    by_hand = exact_network(seeds, lab.rng("exact network"))
    planted = ss.Sweep(ss.AbsoluteValue(3, 6), inputs, seeds=seeds, init=by_hand)
    loss["by hand"] = lab.train(planted, ss.Recipe.fast(steps=0), name="t13-planted").loss.values
    halves["by hand"] = measure.half_absolute_neurons(by_hand["W"], by_hand["W_out"]).sum(-1)
    names = {"relu": "trained", "identity": "linear hidden layer", "by hand": "exact network by hand"}
    rows = arms(*(arm(name, seeds, loss=loss[key], halves=halves[key] == 6) for key, name in names.items()))
    product = best["relu"].W_out.values @ np.maximum(best["relu"].W.values, 0) + best["relu"].W_out.values @ np.maximum(
        -best["relu"].W.values, 0
    )
    figure = Figure(
        "t13-response",
        plots.gram_heatmap(product),
        "What the best model writes to each output (rows) when one input (columns) is +1, plus when it is -1: "
        "twice the identity if it computes |x|.",
    )
    table = pd.DataFrame({"seed": seeds, "loss": loss["relu"], "half-absolute neurons": halves["relu"]})
    return Part([rows], [figure], {"t13_seeds": table})


def exact_network(seeds: range, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The plant of T13: |x| with two neurons a feature in random order, the scale between the layers drawn anew for each."""
    W, W_out = np.zeros((len(seeds), 6, 3)), np.zeros((len(seeds), 3, 6))
    for row in range(len(seeds)):
        scale = rng.uniform(0.3, 3, 6)
        for neuron, half in enumerate(rng.permutation(6)):
            W[row, neuron, half // 2] = scale[neuron] * (1 if half % 2 else -1)
            W_out[row, half // 2, neuron] = 1 / scale[neuron]
    return {"W": W, "W_out": W_out, "b_out": np.zeros((len(seeds), 3))}


def privileged(config: Config, lab: Lab) -> Part:
    """T12, n=10, m=5: with a ReLU on the hidden layer neurons are a basis of their own. How many hold several features?"""
    n, m, seeds = 10, 5, lab.seeds(16)
    inputs = ss.SparseFeatures(n, importance=tuple(0.75**i for i in range(n)))
    parts, table = [], []
    for name, hidden in (("hidden ReLU", "relu"), ("linear hidden layer", "identity")):
        toy = ss.Bottleneck(n, m, hidden_activation=hidden)
        sweep = ss.Sweep(toy, inputs, over={"density": list(DENSITIES)}, seeds=seeds, restarts=8)
        W = lab.train(sweep, config.recipe(1500), name=f"t12-{hidden}").best("restart").W
        for density in DENSITIES:
            here = W.sel(density=density).transpose("seed", "hidden", "feature").values
            counts = {f"polysemantic at {tau}": polysemantic(here, tau) for tau in (0.2, 0.3, 0.5)}
            table.append({"model": name, "density": density, **{key: value.mean() for key, value in counts.items()}})
            if density in (DENSITIES[0], DENSITIES[-1]):
                kind = "dense" if density == DENSITIES[0] else "sparse"
                parts.append(arm(f"{name}, {kind}", seeds, polysemantic=counts["polysemantic at 0.3"]))
    rng = lab.rng("neurons by hand")
    apart = np.broadcast_to(np.eye(m, n), (len(seeds), m, n)) * rng.uniform(0.7, 1.1, (len(seeds), 1, n))
    both = apart.copy()
    for k in range(2):
        both[:, k, m + k] = rng.choice([-1, 1], len(seeds)) * rng.uniform(0.4, 1, len(seeds)) * apart[:, k, k]
    for name, W_hand in (("neurons apart by hand", apart), ("neurons shared by hand", both)):
        parts.append(arm(name, seeds, polysemantic=polysemantic(W_hand + 0.03 * rng.standard_normal(both.shape))))
    return Part([arms(*parts)], [], {"t12_neurons": pd.DataFrame(table)})


def polysemantic(W: np.ndarray, tau: float = 0.3) -> np.ndarray:
    """(seed,) neurons with a second weight above tau of their largest, W (seed, hidden, feature)."""
    return (measure.features_per_neuron(W, tau, dead=0.1) >= 2).sum(-1).astype(float)


def hidden_relu(config: Config, lab: Lab) -> Part:
    """The failed toy: a ReLU on the bottleneck. It learns a hidden bias that keeps the ReLU open, that is, a linear layer."""
    n, m, p = 20, 5, 0.1
    inputs = ss.SparseFeatures(n, density=p, importance=tuple(0.7**i for i in range(n)))
    x = inputs.sample(4096, seed=lab.seed)
    runs, seeds = {}, lab.seeds(16)
    for name, toy in (
        ("hidden ReLU", ss.Bottleneck(n, m, hidden_activation="relu", hidden_bias=True)),
        ("plain", ss.Bottleneck(n, m)),
        ("absolute value model", ss.AbsoluteValue(n, 2 * n, hidden_bias=True)),
    ):
        signed = inputs.replace(values=ss.SignedUniform()) if name == "absolute value model" else inputs
        sweep = ss.Sweep(toy, signed, seeds=seeds)
        runs[name] = lab.train(sweep, config.recipe(6000), name=f"hidden-{name.split()[0].lower()}")
    open_share = {name: open_units(runs[name], x) for name in ("hidden ReLU", "absolute value model")}
    rows = [
        {
            "model": name,
            "loss": float(run.loss.mean()),
            "hidden bias": float(run.b_hidden.mean()) if run.b_hidden is not None else 0.0,
            "share of hidden units open": float(open_share[name].mean()) if name in open_share else np.nan,
        }
        for name, run in runs.items()
        if name != "absolute value model"
    ]
    table = arms(
        arm("hidden ReLU", seeds, open=open_share["hidden ReLU"]),
        arm("absolute value model", seeds, open=open_share["absolute value model"]),
        arm("bias of three standard deviations", seeds, open=wide_open(m, seeds, lab.rng("open"), x.numpy())),
    )
    return Part([table], [], {"hidden_relu": pd.DataFrame(rows)})


def wide_open(m: int, seeds: range, rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """(seed,) the plant of the hidden ReLU: random directions whose biases lie three standard deviations above zero."""
    W = rng.standard_normal((len(seeds), m, x.shape[1])) * rng.uniform(0.5, 1.5, (len(seeds), m, 1))
    h = np.einsum("smn,pn->spm", W, x)
    return (h + 3 * h.std(axis=1, keepdims=True) - h.mean(axis=1, keepdims=True) > 0).mean((-1, -2))


def open_units(run: ss.SweepRun, x) -> np.ndarray:
    """(seed,) share of (input, hidden unit) pairs with positive activation."""
    import torch

    toy, _ = run.sweep.at({})
    params = {k: torch.tensor(run.data[k].values) for k in toy.shapes()}
    return (toy.hidden(params, x) > 0).float().mean((-1, -2)).numpy()
