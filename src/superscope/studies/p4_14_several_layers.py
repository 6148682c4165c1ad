"""Problem 4.14: computation in superposition over two hidden layers.

Target: y_i = max(0, x_i, x'_i) of pairs of signed inputs. Its kinks are three half-lines, while one hidden ReLU layer only
makes kinks along whole lines, so no width is exact (Mukherjee and Basu 2017; Hertrich et al. 2021). Two layers are:
with a = ReLU(x - x'), b = ReLU(x'), c = ReLU(-x') it is ReLU(a + b - c), three neurons and one. (max(|x|, |y|), by contrast,
needs one layer only.)

(a) One pair: does depth two reach 1e-6 where depth one with as many neurons keeps a floor?
(b) Several sparse pairs, both members on together, with fewer than four neurons each: is the loss below that of the best
hand-out of whole neurons (exact with four; with fewer the best trained one-layer network) and below one layer with as many
neurons?
(c) Each layer's ReLU replaced by its best affine fit: how much of the explained variance goes?
(d) Interference, the energy on the outputs of pairs that are off, read linearly after layer one and after layer two: does the
second layer clean up (ratio below 1) or amplify? Thresholds from the reference sheet.
Outputs are linear. Loss: sum over outputs, mean over samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure, plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.evidence.stats import Claim
from superscope.inputs.features import Correlated
from superscope.lab import Lab
from superscope.toys import Target
from superscope.toys.deep import train_deep

PROBLEM = "4.14"
TITLE = "Computation in superposition across layers"
QUESTION = (
    "Can features that need two ReLU layers be computed in superposition, and does the second layer clean up interference?"
)
ASSUMPTIONS = [
    "Inputs are uniform on [-1, 1] when on, unmixed. In (b) the two members of a pair are on together: "
    "a first run had them independent, but with only one on max(0, x, 0) takes a single layer and depth hardly matters.",
    "The yardstick needs four neurons for an exact pair, three in layer one and one in layer two; that fewer neurons cannot do "
    "better than a trained one-layer network of that size is plausible, not proved.",
    "Interference is what the best linear read-out of a layer shows on pairs that are off.",
]
DISANALOGIES = [
    "A plain two-layer network has no residual stream: what layer two needs must pass through layer one.",
    "Every output needs the same two-step circuit; circuits of different depth would compete for neurons differently.",
    "Error correction in the constructions (arXiv 2408.05451) is for Boolean features at widths of hundreds; real values at a "
    "dozen neurons leave little to correct with.",
]


def max_with_zero(x: np.ndarray) -> np.ndarray:
    """x (..., 2k) -> (..., k): max(0, x_i, x'_i) of neighbours."""
    return np.maximum(np.maximum(x[..., 0::2], x[..., 1::2]), 0)


TARGET = Target("max-with-zero", max_with_zero, lambda n: n // 2)
AVERAGE = Target("average-of-pair", lambda x: (x[..., 0::2] + x[..., 1::2]) / 2, lambda n: n // 2)
EXACT = 4  # neurons for one exact pair


@dataclass(frozen=True)
class Config:
    single: tuple[int, int] = (4, 2)
    single_steps: int = 3000
    restarts: int = 24  # of (a), for either depth
    pairs: int = 6
    widths: tuple[int, int] = (12, 8)
    density: float = 0.2
    many_restarts: int = 8  # of (b), for either depth
    steps: int = 7000
    seeds: int = 16


PRESETS = {
    "quick": Config(),
    "standard": Config(single_steps=6000, restarts=64, many_restarts=16, steps=40_000, seeds=24),
    "full": Config(
        single_steps=20_000, restarts=64, many_restarts=32, pairs=12, widths=(24, 16), density=0.1, steps=100_000, seeds=50
    ),
}


Net = dict[str, np.ndarray]


def layers(net: Net, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pre-activations and activations (z1, h1, z2, h2), each (P, width), of inputs x (P, n)."""
    z1 = x @ net["one.weight"].T + net["one.bias"]
    h1 = np.maximum(z1, 0)
    z2 = h1 @ net["two.weight"].T + net["two.bias"]
    return z1, h1, z2, np.maximum(z2, 0)


def output(net: Net, x: np.ndarray, linear: int | None = None) -> np.ndarray:
    """(P, outputs); with `linear` = 1 or 2 every ReLU of that layer is replaced by its own best affine fit on these inputs."""
    z1, h1, z2, h2 = layers(net, x)
    if linear == 1:
        h2 = np.maximum(affine(z1, h1) @ net["two.weight"].T + net["two.bias"], 0)
    elif linear == 2:
        h2 = affine(z2, h2)
    return h2 @ net["out.weight"].T + net["out.bias"]


def affine(z: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Per neuron, the best affine function of z (P, width) for h, evaluated."""
    centred = z - z.mean(0)
    slope = (centred * (h - h.mean(0))).sum(0) / np.maximum((centred**2).sum(0), 1e-12)
    return h.mean(0) + slope * centred


def explained(y: np.ndarray, truth: np.ndarray) -> float:
    """Share of the variance of all outputs (P, outputs) that is explained."""
    return float(1 - ((y - truth) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum())


def destroyed(net: Net, x: np.ndarray, truth: np.ndarray, layer: int) -> float:
    """Share of the explained variance that goes when a layer's ReLUs become affine (1 if nothing or less is left)."""
    whole, left = explained(output(net, x), truth), explained(output(net, x, layer), truth)
    return float(np.clip(1 - left / whole, 0, 1)) if whole > 0 else float("nan")


def interference(net: Net, x: np.ndarray, seed: int | None = None) -> float:
    """Energy on pairs that are off in the best linear read-out of layer two, over that of layer one.

    With `seed` the weights of layer two are shuffled first (control): a layer of the same size that was not trained.
    """
    if seed is not None:
        mixed = np.random.default_rng(seed).permutation(net["two.weight"].ravel()).reshape(net["two.weight"].shape)
        net = {**net, "two.weight": mixed}
    _, h1, _, h2 = layers(net, x)
    truth = max_with_zero(x)
    off = (x[:, 0::2] == 0) & (x[:, 1::2] == 0)
    energy = []
    for h in (h1, h2):
        design = np.column_stack([h, np.ones(len(h))])
        read = design @ np.linalg.lstsq(design, truth, rcond=None)[0]
        energy.append((read**2)[off].mean())
    return float(energy[1] / energy[0])


def train_two(
    config: Config,
    lab: Lab,
    seeds: range,
    inputs: ss.SparseFeatures,
    widths: tuple[int, int],
    steps: int,
    target: Target = TARGET,
) -> tuple[np.ndarray, list[Net]]:
    """(seed,) losses and networks with two hidden layers, best of the restarts."""
    restarts = config.restarts if inputs.n == 2 else config.many_restarts

    def work() -> list:
        losses, nets = train_deep(inputs, target, widths, list(seeds), restarts, steps)
        return [losses.tolist(), [{k: v.tolist() for k, v in net.items()} for net in nets]]

    losses, nets = lab.unit(f"deep-{inputs.n}-{target.name}", work)
    return np.array(losses), [{k: np.array(v) for k, v in net.items()} for net in nets]


def train_one(
    lab: Lab, seeds: list[int], inputs: ss.SparseFeatures, widths: list[int], steps: int, restarts: int
) -> np.ndarray:
    """(width, seed) losses with one hidden layer, best of the restarts."""
    toy = ss.TwoLayer(inputs.n, 1, "identity", "relu", tied=False, hidden_bias=True, target=TARGET)
    sweep = ss.Sweep(toy, inputs, over={"n_hidden": widths}, seeds=seeds, restarts=restarts)
    run = lab.train(sweep, ss.Recipe.fast(steps=steps, lr=1e-2, warmup=0.05), name=f"flat-{inputs.n}-{widths[0]}")
    return run.loss.min("restart").transpose("n_hidden", "seed").values.astype(float)


def paired(pairs: int, density: float) -> ss.SparseFeatures:
    """Signed inputs whose pairs (0, 1), (2, 3), ... are on together with chance `density`."""
    groups = tuple(Correlated((2 * i, 2 * i + 1)) for i in range(pairs))
    return ss.SparseFeatures(2 * pairs, density, ss.SignedUniform(), groups=groups)


def variance(p: float) -> float:
    """Var max(0, x, x') of a pair that is on with chance p: P(max < t) = ((1 + t)/2)^2, so E = 5/12 and E^2 = 7/24."""
    return p * 7 / 24 - (p * 5 / 12) ** 2


def run(config: Config, lab: Lab) -> Findings:
    """One pair, several pairs, and what each layer does."""
    seeds = range(lab.seed * 1000, lab.seed * 1000 + config.seeds)
    neurons = sum(config.single)
    one_pair = ss.SparseFeatures(2, 1.0, ss.SignedUniform())
    deep_one, _ = train_two(config, lab, seeds, one_pair, config.single, config.single_steps)
    flat_widths = [neurons, 2 * neurons, 4 * neurons]
    flat_one = train_one(lab, list(seeds), one_pair, flat_widths, 2 * config.single_steps, config.restarts)

    k, total = config.pairs, sum(config.widths)
    inputs = paired(k, config.density)
    deep, nets = train_two(config, lab, seeds, inputs, config.widths, config.steps)
    flat = train_one(lab, list(seeds), inputs, [total, 2 * total], config.steps, config.many_restarts)
    small = train_one(lab, [lab.seed], paired(1, config.density), [1, 2, 3], config.steps, 48)[:, 0]
    cost = np.array([variance(config.density), *np.minimum.accumulate(small), 0.0])
    naive = measure.best_allocation(np.tile(cost, (k, 1)), total).loss
    _, averaging = train_two(config, lab, seeds, inputs, config.widths, config.steps // 8, AVERAGE)

    x = inputs.draw(np.random.default_rng(lab.seed), 8000).astype(float)
    truth, mean = max_with_zero(x), AVERAGE.compute(x)
    lost = {layer: np.array([destroyed(net, x, truth, layer) for net in nets]) for layer in (1, 2)}
    harmless = {layer: np.array([destroyed(net, x, mean, layer) for net in averaging]) for layer in (1, 2)}
    ratio = np.array([interference(net, x) for net in nets])
    mixed = np.array([interference(net, x, s) for s, net in enumerate(nets)])

    fit = np.array([explained(output(net, x), truth) for net in nets])
    gate = Gate("Two-layer networks explain at least 90 % of the variance of all pairs", bool(np.median(fit) >= 0.9),
                {"median explained": float(np.median(fit))})  # fmt: skip
    ok = gate.passed
    claims = judge(config, deep_one, flat_one[0], deep, flat, naive, lost, harmless, ratio, mixed, ok)
    table = pd.DataFrame(
        [
            {"pairs": 1, "hidden layers": 2, "neurons": neurons, "median loss": np.median(deep_one), "lowest": deep_one.min()},
            *({"pairs": 1, "hidden layers": 1, "neurons": h, "median loss": np.median(v), "lowest": v.min()}
              for h, v in zip(flat_widths, flat_one, strict=True)),
            {"pairs": k, "hidden layers": 2, "neurons": total, "median loss": np.median(deep), "lowest": deep.min()},
            *({"pairs": k, "hidden layers": 1, "neurons": h, "median loss": np.median(v), "lowest": v.min()}
              for h, v in zip((total, 2 * total), flat, strict=True)),
            {"pairs": k, "hidden layers": 0, "neurons": total, "median loss": naive, "lowest": naive},
        ]
    )  # fmt: skip
    summary = (
        f"One pair: depth two with {neurons} neurons reaches {np.median(deep_one):.2g}, depth one {np.median(flat_one[0]):.2g} "
        f"(and {np.median(flat_one[-1]):.2g} with {flat_widths[-1]}). {k} pairs with {total} neurons: depth two is at "
        f"{np.median(deep) / naive:.2g} of the best allocation and {np.median(deep / flat[0]):.2g} of depth one. Interference "
        f"after layer two is {np.median(ratio):.2g} of that after layer one ({np.median(mixed):.2g} with layer two shuffled)."
    )
    return Findings(gate, claims, draw(table, lost, harmless, ratio, mixed, config), {"losses": table}, summary)


def judge(config, deep_one, flat_one, deep, flat, naive, lost, harmless, ratio, mixed, passed: bool) -> list[Claim]:
    """All claims; arrays (seed,), flat (width, seed), lost[layer] and harmless[layer] (seed,)."""
    neurons, total, half = sum(config.single), sum(config.widths), len(deep) // 2
    return [
        stats.claim(
            "deep-exact", f"One pair, two layers of {config.single} neurons: loss below 1e-6 (best of restarts)",
            stats.fraction(deep_one < 1e-6), ">= 0.8",
            stats.Arm(f"one layer of {neurons}", stats.fraction(flat_one < 1e-6)), passed,
        ),
        stats.claim(
            "flat-floor", f"One pair, one layer of {neurons} neurons keeps a floor: no seed gets below 1e-5",
            stats.fraction(flat_one > 1e-5), ">= 0.8",
            stats.Arm("two layers", stats.fraction(deep_one > 1e-5)), passed,
            note="Best of as many restarts as two layers got. Theory: no width is exact.",
        ),
        stats.claim(
            "beats-allocation", f"{config.pairs} pairs with {total} neurons: below the best allocation (L / L_naive)",
            stats.estimate(deep / naive), "< 1", stats.Arm("one layer", stats.estimate(flat[0] / naive)), passed,
            note=f"Density {config.density:g}; an exact pair costs {EXACT} neurons.",
        ),
        stats.claim(
            "beats-flat", "Two layers have a lower loss than one with as many neurons (ratio)",
            stats.estimate(deep / flat[0]), "< 1",
            stats.Arm(
                "one layer, other seeds", stats.estimate_ratio(flat[0][:half], flat[0][half : 2 * half], paired=False)
            ),
            passed,
            note="The control was every seed over the next one until it was noticed that such ratios have a mean above one "
            "whatever the losses.",
        ),
        *(
            stats.claim(
                f"layer-{layer}", f"Making the ReLUs of layer {layer} affine destroys at least half of the explained variance",
                stats.estimate(lost[layer]), ">= 0.5",
                stats.Arm("networks trained on a linear target", stats.estimate(harmless[layer])), passed,
            )
            for layer in (1, 2)
        ),
        stats.claim(
            "cleans-up", "The second layer reduces interference on pairs that are off (energy after two over after one)",
            stats.estimate(ratio), "< 1",
            stats.Arm("layer two shuffled", stats.estimate(mixed)), passed,
        ),
    ]  # fmt: skip


def draw(table: pd.DataFrame, lost, harmless, ratio, mixed, config: Config) -> list[Figure]:
    """Losses by neurons, and what layer two does to interference."""
    part = table[table["hidden layers"] > 0].copy()
    part["arm"] = part.pairs.astype(str) + " pair(s), " + part["hidden layers"].astype(str) + " hidden layer(s)"
    return [
        Figure(
            "losses",
            plots.lines_with_band(
                part, "neurons", "median loss", "arm", log_x=True, log_y=True, x_title="hidden neurons in all"
            ),
            "Median loss by the number of hidden neurons: one layer falls with width but keeps a floor, two "
            "layers do one pair exactly.",
        ),
        Figure(
            "interference",
            plots.histogram_with_null(
                list(ratio), list(mixed), x_title="interference after layer two / after layer one",
                names=("trained", "layer two shuffled"), bins=20,
            ),
            "Energy on pairs that are off, in the best linear read-out after layer two over that after layer one; below 1 the "
            "second layer cleans up.",
        ),
    ]  # fmt: skip
