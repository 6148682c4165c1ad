"""TMS reproduction, hidden ReLUs: the absolute value model (T13), and the failed bottleneck with a ReLU on its hidden layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import superscope as ss
from superscope import plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure
from superscope.studies.part import Part

if TYPE_CHECKING:
    from superscope.lab import Lab
    from superscope.studies.tms import Config


def half_absolute_neurons(w_in: np.ndarray, w_out: np.ndarray) -> np.ndarray:
    """(..., hidden) whether a neuron is half of |x|: it reads one feature only and writes only there with product 1.

    W (..., hidden, feature), W_out (..., feature, hidden). Positive homogeneity leaves the scale between the layers free,
    so the product is what is pinned down: w_in * w_out = sign.
    """
    top = (np.abs(w_in) * np.swapaxes(w_out, -1, -2)).max(-1)
    rest = np.abs(w_in).sum(-1) * np.abs(w_out).sum(-2) - top  # every other path from an input through it to an output
    return (np.abs(top - 1) < 0.05) & (rest < 0.05)


def absolute_value(config: Config, lab: Lab, passed: bool) -> Part:
    """T13, n=3, m=6: a positive and a negative neuron per feature compute |x| exactly; a linear hidden layer cannot."""
    inputs = ss.SparseFeatures(3, density=0.1, values=ss.SignedUniform())
    loss, halves, best = {}, {}, {}
    for name in ("relu", "identity"):
        toy = ss.AbsoluteValue(3, 6, hidden_activation=name)
        sweep = ss.Sweep(toy, inputs, seeds=config.seed_range(lab), restarts=4)
        run = lab.train(sweep, config.recipe(4000), name=f"t13-{name}").best("restart")
        loss[name], best[name] = run.loss.values, run.best("seed")
        halves[name] = half_absolute_neurons(run.W.values, run.W_out.values).sum(-1)
    claims = [
        stats.claim(
            "T13-exact",
            "The absolute value model with two neurons per feature computes |x| to a loss below 1e-6",
            stats.estimate(loss["relu"], stat="median"),
            "<= 1e-6",
            stats.Arm("linear hidden layer", stats.estimate(loss["identity"], stat="median"), "|x| is no linear function"),
            passed,
            note="Loss: sum over features, mean over samples. Median over seeds, best of 4 restarts.",
        ),
        stats.claim(
            "T13-halves",
            "All six neurons are halves of an absolute value in at least 90% of seeds",
            stats.fraction(halves["relu"] == 6),
            ">= 0.9",
            stats.Arm("linear hidden layer", stats.fraction(halves["identity"] == 6)),
            passed,
        ),
    ]
    product = best["relu"].W_out.values @ np.maximum(best["relu"].W.values, 0) + best["relu"].W_out.values @ np.maximum(
        -best["relu"].W.values, 0
    )
    figure = Figure(
        "t13-response",
        plots.gram_heatmap(product),
        "What the best model writes to each output (rows) when one input (columns) is +1, plus when it is -1: "
        "twice the identity if it computes |x|.",
    )
    table = pd.DataFrame({"seed": config.seed_range(lab), "loss": loss["relu"], "half-absolute neurons": halves["relu"]})
    return Part(claims, [figure], {"t13_seeds": table})


def hidden_relu(config: Config, lab: Lab, passed: bool) -> Part:
    """The failed toy: a ReLU on the bottleneck. It learns a hidden bias that keeps the ReLU open, that is, a linear layer."""
    n, m, p = 20, 5, 0.1
    inputs = ss.SparseFeatures(n, density=p, importance=tuple(0.7**i for i in range(n)))
    x = inputs.sample(4096, seed=lab.seed)
    runs = {}
    for name, toy in (
        ("hidden ReLU", ss.Bottleneck(n, m, hidden_activation="relu", hidden_bias=True)),
        ("plain", ss.Bottleneck(n, m)),
        ("absolute value model", ss.AbsoluteValue(n, 2 * n, hidden_bias=True)),
    ):
        signed = inputs.replace(values=ss.SignedUniform()) if name == "absolute value model" else inputs
        sweep = ss.Sweep(toy, signed, seeds=config.seed_range(lab, 16))
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
    claim = stats.claim(
        "hidden-relu",
        "A ReLU on the bottleneck is kept open by a learned hidden bias: its units are active on at least 95% of inputs",
        stats.estimate(open_share["hidden ReLU"]),
        ">= 0.95",
        stats.Arm(
            "absolute value model",
            stats.estimate(open_share["absolute value model"]),
            "where the ReLU computes, it also closes",
        ),
        passed,
        note="The negative control the problem list warns about: this toy looks like superposition with neurons and is not.",
    )
    return Part([claim], [], {"hidden_relu": pd.DataFrame(rows)})


def open_units(run: ss.SweepRun, x) -> np.ndarray:
    """(seed,) share of (input, hidden unit) pairs with positive activation."""
    import torch

    toy, _ = run.sweep.at({})
    params = {k: torch.tensor(run.data[k].values) for k in toy.shapes()}
    return (toy.hidden(params, x) > 0).float().mean((-1, -2)).numpy()
