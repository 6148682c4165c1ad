"""4.45, question 10: is the phase change of superposition that of compressed sensing? The Donoho-Tanner overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure, plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure
from superscope.recover import donoho_tanner, half_point, recovery
from superscope.studies.part import Part

if TYPE_CHECKING:
    from superscope.lab import Lab
    from superscope.studies.p4_45_open_questions.config import Config

IMPORTANCE = 0.97  # of feature i: 0.97^i
NAMES = ("learned code, ideal decoder", "Gaussian code, ideal decoder")


def onset(active: np.ndarray, count: np.ndarray, m: int, n: int) -> float:
    """Mean number of active features at which half of the n - m features without a dimension of their own are represented.

    active ascending, count (len(active),) of features represented; linear between neighbours. NaN if they are represented at
    every density, since then the onset was not seen.
    """
    packed = (count - m) / (n - m)
    if packed.min() >= 0.5:
        return float("nan")
    return half_point(active, np.maximum.accumulate(packed[::-1])[::-1])


def half_points(w: np.ndarray, active: np.ndarray, rng: np.random.Generator, count: int) -> float:
    """Active features at which half of the inputs come back from the codes w (len(active), m, n), one code per number
    active.
    """
    m = w.shape[1]
    use = active <= m
    shares = [recovery(code, int(k), rng, count) for code, k in zip(w[use], active[use], strict=True)]
    return half_point(active[use], np.array(shares))


def sensing_limits(config: Config, lab: Lab, passed: bool) -> Part:
    """Where n features in m dimensions are packed, and where an ideal decoder can read them, on the plane (m/n, active/m)."""
    n, active = config.sensing_features, np.array(config.active)
    widths = [round(share * n) for share in config.shares]
    delta = np.array(widths) / n
    over = {"n_hidden": widths, "density": [float(k) / n for k in active]}
    inputs = ss.SparseFeatures(n, importance=tuple(IMPORTANCE ** np.arange(n)))
    sweep = ss.Sweep(ss.Bottleneck(n, widths[0]), inputs, over=over, seeds=config.seed_range(lab))
    run = lab.train(sweep, ss.Recipe.fast(steps=config.steps), name="sensing")
    counts = measure.features_represented(run.W).transpose("n_hidden", "seed", "density").values
    weights = run.W.transpose("n_hidden", "seed", "density", "hidden", "feature").values

    def decoded() -> list[list[list[float]]]:
        """[learned, Gaussian, another Gaussian][width][seed]: active features at the half point of recovery."""
        found: list[list[list[float]]] = [[], [], []]
        for i, m in enumerate(widths):
            rows: tuple[list[float], ...] = ([], [], [])
            for s, seed in enumerate(config.seed_range(lab)):
                rng = np.random.default_rng([seed, m])
                rows[0].append(half_points(weights[i, s, :, :m], active, rng, config.inputs))
                for drawn in rows[1:]:
                    drawn.append(half_points(rng.standard_normal((len(active), m, n)), active, rng, config.inputs))
            for everything, row in zip(found, rows, strict=True):
                everything.append(row)
        return found

    learned, gaussian, again = (np.array(x) for x in lab.unit(f"decoded-{sweep.digest()[:8]}-{config.inputs}", decoded))
    packed = np.array([[onset(active, c, m, n) for c in counts[i]] for i, m in enumerate(widths)])  # (width, seed)
    rho = {
        name: x / np.array(widths)[:, None] for name, x in zip((*NAMES, "packing"), (learned, gaussian, packed), strict=True)
    }
    curve = donoho_tanner(delta)

    def apart(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """(seed,) largest |log ratio| over the widths."""
        return np.abs(np.log(x / reference[:, None])).max(0)

    half = int(np.abs(delta - 0.5).argmin())
    claims = [
        stats.claim(
            "gaussian-limit",
            f"With Gaussian codes the half point of recovery at m = {widths[half]} of {n} is that of the Donoho-Tanner curve, "
            "within 15 % (the curve is for infinite n)",
            stats.estimate(np.abs(rho[NAMES[1]][half] / curve[half] - 1)), "<= 0.15",
            stats.Arm(
                "signed features", stats.estimate(np.abs(rho[NAMES[1]][half] / donoho_tanner(delta, signed=True)[half] - 1)),
                "the curve of features that may be negative lies lower",
            ), passed,
            note="Checks the decoder and the curve on codes that need no training.",
        ),
        stats.claim(
            "same-phase-change",
            "Packing sets in on the Donoho-Tanner curve: at every width the number of active features at which half of the "
            "surplus features are represented is within a quarter of the curve's (largest |log ratio| at most 0.223)",
            stats.estimate(apart(rho["packing"], curve)), "<= 0.223",
            stats.Arm(
                "widths exchanged", stats.estimate(apart(rho["packing"], curve[::-1])),
                "the curve read at the wrong widths has nothing to do with these networks",
            ), passed,
            note=f"Importances fall slightly ({IMPORTANCE:g}^i). With equal ones a dense network turns m dimensions anyhow in "
            "the space of all features, each with norm sqrt(m/n), and a count by norm takes that for packing; a first run did.",
        ),
        stats.claim(
            "learned-codes-read-worse",
            f"At m = {widths[half]} of {n} an ideal decoder reads at most 0.8 times as many active features from the "
            "learned code as from a Gaussian one",
            stats.estimate_ratio(learned[half], gaussian[half], paired=True), "<= 0.8",
            stats.Arm(
                "Gaussian against Gaussian",
                stats.estimate_ratio(again[half], gaussian[half], paired=True), "two codes of the same kind",
            ), passed,
            note="Expected because half as many dimensions as features are filled with antipodal pairs, of which x and y on "
            "together give x - y.",
        ),
    ]  # fmt: skip
    rows = [
        {"m / n": d, "active / m": values.mean(), "what": name, "low": values.min(), "high": values.max()}
        for name, each in rho.items() for d, values in zip(delta, each, strict=True)
    ]  # fmt: skip
    fine = np.linspace(delta.min() * 0.8, min(delta.max() * 1.15, 0.95), 40)
    limit = donoho_tanner(fine)
    rows += [
        {"m / n": d, "active / m": r, "what": "Donoho-Tanner", "low": r, "high": r} for d, r in zip(fine, limit, strict=True)
    ]
    table = pd.DataFrame(rows)
    figure = Figure(
        "donoho-tanner",
        plots.lines_with_band(
            table, "m / n", "active / m", "what", "low", "high", log_y=True, roles={"Donoho-Tanner": "theory"},
            x_title="dimensions per feature m/n", y_title="active features per dimension k/m",
        ),
        "Where superposition sets in as inputs get sparser (packing), and up to where an ideal decoder reads every feature "
        "back. Bands: range over seeds.",
    )  # fmt: skip
    ratio = rho["packing"].mean(1) / curve
    summary = (
        f"Packing sets in at {ratio.min():.2g} to {ratio.max():.2g} times the Donoho-Tanner number of active features; an "
        f"ideal decoder reads {learned[half].mean() / gaussian[half].mean():.2f} times as many from the learned code as "
        "from a Gaussian one."
    )
    return Part(claims, [figure], {"donoho_tanner": table[table.what != "Donoho-Tanner"]}, summary)
