"""TMS reproduction, hidden ReLUs: the absolute value model (T13), and the failed bottleneck with a ReLU on its hidden layer."""

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

EXPECTED = [
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
