"""4.45, question 10: is the phase change of superposition that of compressed sensing? The Donoho-Tanner overlay."""

from __future__ import annotations

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure, plots
from superscope.evidence.expect import Expect
from superscope.evidence.findings import Figure, Part
from superscope.evidence.tables import arm, arms
from superscope.lab import Lab
from superscope.recover import donoho_tanner, half_point, recovery
from superscope.studies.p4_45_open_questions.config import Config

IMPORTANCE = 0.97  # of feature i: 0.97^i
NAMES = ("learned code, ideal decoder", "Gaussian code, ideal decoder")
EXPECTED = [
    Expect(
        "gaussian-limit", "With Gaussian codes at half as many dimensions as features the half point of recovery is that of "
        "the "
        "Donoho-Tanner curve, within 15 % (the curve is for infinite n)",
        "off limit", "<= 0.15", of="Gaussian codes", null="curve of signed features", plant="planted on the curve",
        why="Null: the curve of features that may be negative lies lower. Plant: shares that fall to one half on the curve, "
        "counted "
        "on as many inputs.",
        note="Checks the decoder and the curve on codes that need no training.",
    ),
    Expect(
        "same-phase-change", "Packing sets in on the Donoho-Tanner curve: at every width the number of active features at "
        "which half of "
        "the surplus features are represented is within a quarter of the curve's (largest |log ratio| at most 0.223)",
        "off curve", "<= 0.223", of="trained", null="widths exchanged", plant="planted on the curve",
        why="Null: the curve read at the wrong widths. Plant: counts of features that pass the half on the curve, in whole "
        "features.",
        note="Importances fall slightly (0.97^i). With equal ones a dense network turns m dimensions anyhow in the space of "
        "all "
        "features, each with norm sqrt(m/n), and a count by norm takes that for packing; a first run did.",
    ),
    Expect(
        "learned-codes-read-worse", "With half as many dimensions as features an ideal decoder reads at most 0.8 times as "
        "many active "
        "features from the learned code as from a Gaussian one",
        "half point", "<= 0.8", of="learned / Gaussian", null="another Gaussian / Gaussian", plant="antipodal pairs / Gaussian",
        why="Null: two codes of the same kind. Plant: antipodal pairs, in which x and y on together give x - y, with 5 % "
        "noise.",
        note="Expected because half as many dimensions as features are filled with antipodal pairs.",
    ),
]  # fmt: skip


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


def sensing_limits(config: Config, lab: Lab) -> Part:
    """Where n features in m dimensions are packed, and where an ideal decoder can read them, on the plane (m/n, active/m)."""
    n, active, seeds = config.sensing_features, np.array(config.active), lab.seeds(config.seeds)
    widths = [round(share * n) for share in config.shares]
    delta = np.array(widths) / n
    over = {"n_hidden": widths, "density": [float(k) / n for k in active]}
    inputs = ss.SparseFeatures(n, importance=tuple(IMPORTANCE ** np.arange(n)))
    sweep = ss.Sweep(ss.Bottleneck(n, widths[0]), inputs, over=over, seeds=seeds)
    run = lab.train(sweep, ss.Recipe.fast(steps=config.steps), name="sensing")
    counts = measure.features_represented(run.W).transpose("n_hidden", "seed", "density").values
    weights = run.W.transpose("n_hidden", "seed", "density", "hidden", "feature").values

    def decoded() -> list[list[list[float]]]:
        """[learned, Gaussian, another Gaussian][width][seed]: active features at the half point of recovery."""
        found: list[list[list[float]]] = [[], [], []]
        for i, m in enumerate(widths):
            rows: tuple[list[float], ...] = ([], [], [])
            for s, seed in enumerate(seeds):
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
    pairs = antipodal_half_points(widths[half], n, active, seeds, config)
    on_curve = planted_on_curve(curve, widths, active, seeds, config, lab)
    table = arms(
        arm("Gaussian codes", seeds, **{"off limit": np.abs(rho[NAMES[1]][half] / curve[half] - 1)}),
        arm("curve of signed features", seeds,
            **{"off limit": np.abs(rho[NAMES[1]][half] / donoho_tanner(delta, signed=True)[half] - 1)}),
        arm("planted on the curve", seeds, **{"off limit": np.abs(on_curve["recovery"][half] / curve[half] - 1),
                                              "off curve": apart(on_curve["packing"], curve)}),
        arm("trained", seeds, **{"off curve": apart(rho["packing"], curve)}),
        arm("widths exchanged", seeds, **{"off curve": apart(rho["packing"], curve[::-1])}),
        arm("learned", seeds, **{"half point": learned[half]}),
        arm("Gaussian", seeds, **{"half point": gaussian[half]}),
        arm("another Gaussian", seeds, **{"half point": again[half]}),
        arm("antipodal pairs", seeds, **{"half point": pairs}),
    )  # fmt: skip
    rows = [
        {"m / n": d, "active / m": values.mean(), "what": name, "low": values.min(), "high": values.max()}
        for name, each in rho.items() for d, values in zip(delta, each, strict=True)
    ]  # fmt: skip
    fine = np.linspace(delta.min() * 0.8, min(delta.max() * 1.15, 0.95), 40)
    limit = donoho_tanner(fine)
    rows += [
        {"m / n": d, "active / m": r, "what": "Donoho-Tanner", "low": r, "high": r} for d, r in zip(fine, limit, strict=True)
    ]
    shown = pd.DataFrame(rows)
    figure = Figure(
        "donoho-tanner",
        plots.lines_with_band(
            shown, "m / n", "active / m", "what", "low", "high", log_y=True, roles={"Donoho-Tanner": "theory"},
            x_title="dimensions per feature m/n", y_title="active features per dimension k/m",
        ),
        "Where superposition sets in as inputs get sparser (packing), and up to where an ideal decoder reads every feature "
        "back. Bands: range over seeds.",
    )  # fmt: skip
    return Part([table], [figure], {"donoho_tanner": shown[shown.what != "Donoho-Tanner"]})


def planted_on_curve(
    curve: np.ndarray, widths: list[int], active: np.ndarray, seeds: range, config: Config, lab: Lab
) -> dict[str, np.ndarray]:
    """(width, seed) "recovery" and "packing" over m where both fall through one half on the curve, as noisily as measured.

    Recovery is counted on `config.inputs` inputs, packing in whole features; both fall over a factor of two or so.
    """
    rng, n = lab.rng("planted on the curve"), config.sensing_features
    out = {"recovery": np.zeros((len(widths), len(seeds))), "packing": np.zeros((len(widths), len(seeds)))}
    for i, m in enumerate(widths):
        share = 1 / (1 + (active / (curve[i] * m)) ** 4)
        for s in range(len(seeds)):
            found = rng.binomial(config.inputs, share) / config.inputs
            out["recovery"][i, s] = half_point(active, np.minimum.accumulate(found)) / m
            out["packing"][i, s] = onset(active, m + np.round((n - m) * share), m, n) / m
    return out


def antipodal_half_points(m: int, n: int, active: np.ndarray, seeds: range, config: Config) -> np.ndarray:
    """(seed,) half points of codes that are antipodal pairs, with 5 % noise; n - 2m features beyond them are Gaussian."""
    found = []
    for seed in seeds:
        rng = np.random.default_rng([seed, m, 2])
        code = np.concatenate([np.eye(m), -np.eye(m), rng.standard_normal((m, n)) / np.sqrt(m)], axis=1)[:, :n]
        noisy = code + 0.05 * rng.standard_normal((len(active), m, n)) / np.sqrt(m)
        found.append(half_points(noisy, active, rng, config.inputs))
    return np.array(found)
