"""Problem 4.13: many more features to compute inside than there are neurons or outputs.

A. The post's second idea: features take values 1..5 when on and five outputs per feature are to be their one-hot code. A hinge
basis takes five neurons per feature; with an output ReLU fewer are enough, as trained single-feature networks show. The
yardstick hands out whole neurons by dynamic programming over the losses of such networks. (The first idea, all pairwise maxima,
is an arm of 4.6.)
B. The title: one output, y = sum_{i<j} c_ij AND(x_i, x_j) with fixed random c, so n(n-1)/2 ANDs stand between n bits and one
number. Which of them exist in the hidden layer? Tests: linear probes on held-out inputs (F1 > 0.9) against an untrained and a
linear network; the share of each AND beyond linear functions of the bits; a causal test, moving the hidden layer along a
probe's direction until the probe reads 1 more, after which y should have changed by c_ij. The rival account is that the
network computes a quadratic form, whose difficulty is the rank of c and not the number of ANDs; c of rank 2 has just as many
ANDs.
Thresholds: F1 > 0.9, more ANDs than neurons, 10 % in the causal test, 10 % below the yardstick from the reference sheet; half
of the ANDs for the causal test and 0.1 in R^2 for the rival account are ours. Loss: sum over outputs, mean over samples.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

import superscope as ss
from superscope import measure, plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.evidence.stats import Claim
from superscope.evidence.tables import per_seed
from superscope.lab import Lab
from superscope.measure.activations.probes import linear_probes, nonlinear_share
from superscope.toys import Target

PROBLEM = "4.13"
TITLE = "More hidden features than outputs"
QUESTION = "If a task needs far more intermediate features than there are neurons or outputs, are they computed inside?"
ASSUMPTIONS = [
    "Bits are independent and unmixed; all 2^n inputs are enumerated, and half of them are held out from the probes.",
    "An AND is found by a probe if F1 exceeds 0.9 at the threshold that was best on the other half.",
    "Costs of the yardstick are the best of many trained single-feature networks.",
]
DISANALOGIES = [
    "A sum of ANDs is a quadratic form, which has cheap factored computations; other functions of many hidden features "
    "may not.",
    "The coefficients are dense and random. A task that reads each intermediate feature separately, as a later layer "
    "might, would give the network a reason to keep them apart.",
    "AND of two bits is linearly separable, so probes find it in any layer that keeps the bits.",
]
LEVELS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Config:
    n: int = 10  # A: features
    hidden: tuple[int, ...] = (10, 20, 30)  # must hold 2n
    densities: tuple[float, ...] = (0.1, 0.03)  # must hold 0.03
    level_steps: int = 6000
    restarts: int = 128
    bits: int = 12  # B
    neurons: int = 24
    density: float = 0.25
    steps: int = 10_000
    seeds: int = 16


PRESETS = {
    "quick": Config(),
    "standard": Config(n=20, hidden=(20, 40, 60), densities=(0.3, 0.1, 0.03), level_steps=20_000, restarts=400, steps=40_000),
    "full": Config(
        n=20, hidden=(20, 40, 60, 80), densities=(0.3, 0.1, 0.03, 0.01), level_steps=50_000, restarts=1000, steps=100_000,
seeds=40 ),
}  # fmt: skip


def one_hot(x: np.ndarray) -> np.ndarray:
    """x (..., n) with values 0..5 -> (..., 5n), five outputs per feature."""
    code = (x[..., None] == np.array(LEVELS, dtype=np.float32)).astype(np.float32)
    return code.reshape(*x.shape[:-1], -1)


CODES = Target("levels", one_hot, lambda n: len(LEVELS) * n)


@dataclass(frozen=True)
class LevelReader(ss.TwoLayer):
    """h = ReLU(W x + b_h), y = ReLU(W_out h + b); every output starts with the positive weights of its own feature."""

    tied: bool = False
    hidden_activation: str = "relu"
    hidden_bias: bool = True
    target: str | Target = CODES

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Initial parameters, float32: Xavier-normal W, W_out from W, biases as in TwoLayer."""
        out = super().initial(rng)
        out["W_out"] = np.repeat(0.3 * np.maximum(out["W"], 0).T, len(LEVELS), axis=0).astype(np.float32)
        return out


def train_levels(config: Config, lab: Lab, seeds: range) -> pd.DataFrame:
    """A: one row per (hidden layer, width, density, seed) with the loss over that of the best allocation."""
    recipe = ss.Recipe.fast(steps=config.level_steps, lr=1e-2, warmup=0.2)
    inputs = ss.SparseFeatures(1, values=ss.Levels(*LEVELS))
    over = {"density": list(config.densities), "n_hidden": list(LEVELS)}
    alone = ss.Sweep(LevelReader(1, 1), inputs, over=over, seeds=[lab.seed], restarts=config.restarts)
    single = lab.train(alone, recipe, name="level")
    trained = single.loss.min(("seed", "restart")).transpose("density", "n_hidden").values
    nothing = np.array([p * (1 - p / len(LEVELS)) for p in config.densities])  # five indicators answered by their means
    exact = (trained / nothing[:, None] < 1e-4).any(0)  # weights that are exact at one density are exact at all
    cost = np.column_stack([nothing, np.where(exact, 0.0, trained)])
    rows = []
    for layer, activation in (("ReLU", "relu"), ("linear", "identity")):
        toy = LevelReader(config.n, 1, hidden_activation=activation, init_scale=0.5)
        over = {"n_hidden": list(config.hidden), "density": list(config.densities)}
        run = lab.train(ss.Sweep(toy, inputs.replace(n=config.n), over=over, seeds=seeds), recipe, name=f"levels-{layer}")
        for h, (i, p) in itertools.product(config.hidden, enumerate(config.densities)):
            base = measure.best_allocation(np.tile(cost[i], (config.n, 1)), h).loss
            losses = run.loss.sel(n_hidden=h, density=p).values
            row = {"layer": layer, "hidden": h, "density": p, "exact with": int(np.argmax(exact)) + 1 if exact.any() else 0}
            rows += [{**row, "seed": s, "loss": v, "ratio": v / base if base > 1e-9 else np.nan} for s, v in enumerate(losses)]
    return pd.DataFrame(rows)


def coefficients(n: int, rank: int, seed: int) -> np.ndarray:
    """(pairs,) c_ij of unit mean square: independent Gaussians for rank 0, else sum_r u_ri u_rj with alternating signs."""
    rng = np.random.default_rng([seed, rank])
    first, second = np.triu_indices(n, 1)
    if rank == 0:
        c = rng.standard_normal(len(first))
    else:
        u = rng.standard_normal((rank, n))
        c = ((-1.0) ** np.arange(rank) @ (u[:, first] * u[:, second])).ravel()
    return c / np.sqrt((c**2).mean())


def ands(x: np.ndarray) -> np.ndarray:
    """x (..., n) bits -> (..., pairs)."""
    first, second = np.triu_indices(x.shape[-1], 1)
    return x[..., first] * x[..., second]


def train_sum(
    config: Config, lab: Lab, seeds: range, rank: int, activation: str, neurons: int, steps: int
) -> list[dict[str, np.ndarray]]:
    """B: per seed hidden activations h (2^n, H), y (2^n,), read-out (H,), and R^2 of y under the inputs' law."""
    c = coefficients(config.bits, rank, lab.seed).astype(np.float32)
    target = Target(f"sum-of-ands-{config.bits}-{rank}-{lab.seed}", lambda x: (ands(x) @ c)[..., None], lambda _: 1)
    toy = ss.TwoLayer(config.bits, neurons, "identity", activation, tied=False, hidden_bias=True, target=target)
    sweep = ss.Sweep(toy, ss.SparseFeatures(config.bits, config.density, ss.Constant(1)), seeds=seeds)
    name = f"sum-{rank}-{activation}-{neurons}-{steps}"
    run = lab.train(sweep, ss.Recipe.fast(steps=steps, lr=1e-2, points=128), name=name)
    x, weight = every_input(config)
    truth = ands(x) @ c
    out = []
    for s in range(len(seeds)):
        params = {k: torch.tensor(run.data[k].values[s]) for k in toy.shapes()}
        xs = torch.tensor(x, dtype=torch.float32)
        h, y = toy.hidden(params, xs).numpy().astype(float), toy.forward(params, xs).numpy()[:, 0].astype(float)
        r2 = 1 - (weight * (y - truth) ** 2).sum() / (weight * (truth - (weight * truth).sum()) ** 2).sum()
        out.append({"h": h, "y": y, "out": params["W_out"][0].numpy().astype(float), "r2": r2})
    return out


def every_input(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """All inputs (2^n, n) and their probabilities (2^n,)."""
    x = np.array(list(itertools.product((0.0, 1.0), repeat=config.bits)))
    on = x.sum(1)
    return x, config.density**on * (1 - config.density) ** (config.bits - on)


def examine(config: Config, nets: list[dict[str, np.ndarray]], c: np.ndarray, seed: int) -> pd.DataFrame:
    """One row per seed: ANDs found by probes, mean nonlinear share, share of ANDs that pass the causal test, R^2."""
    x, weight = every_input(config)
    truth = ands(x) > 0
    rows = []
    for s, net in enumerate(nets):
        fit = np.random.default_rng([seed, s]).random(len(x)) < 0.5
        probes = linear_probes(net["h"], truth, fit, weight)
        d = probes.direction
        effect = net["out"] @ d / np.maximum((d**2).sum(0), 1e-12)  # change of y when the probe's reading is raised by 1
        rows.append(
            {"seed": s, "found": int((probes.f1 > 0.9).sum()), "causal": float((np.abs(effect / c - 1) <= 0.1).mean()),
             "nonlinear": float(nonlinear_share(net["h"], x, truth, fit, weight).mean()), "r2": net["r2"]}
        )  # fmt: skip
    return pd.DataFrame(rows)


def run(config: Config, lab: Lab) -> Findings:
    """One-hot codes of levels; then what is inside a network that sums ANDs."""
    seeds = range(lab.seed * 1000, lab.seed * 1000 + config.seeds)
    levels = train_levels(config, lab, seeds)
    c = coefficients(config.bits, 0, lab.seed)
    arms = {
        "trained": (0, "relu", config.neurons, config.steps),
        "untrained": (0, "relu", config.neurons, 0),
        "linear network": (0, "identity", config.neurons, config.steps),
    }
    inside = pd.concat(
        [examine(config, train_sum(config, lab, seeds, *arm), c, lab.seed).assign(network=name) for name, arm in arms.items()]
    )
    few = config.bits // 2
    ranks = {
        rank: np.array([net["r2"] for net in train_sum(config, lab, seeds, rank, "relu", few, config.steps)]) for rank in (0, 2)
    }

    trained = inside[inside.network == "trained"]
    gate = Gate(
        "The network explains at least 90 % of the variance of the sum of ANDs",
        bool(trained.r2.median() >= 0.9), {"median R²": float(trained.r2.median())},
    )  # fmt: skip
    claims = judge(config, levels, inside, ranks, gate.passed)
    count = config.bits * (config.bits - 1) // 2
    means = inside.groupby("network", sort=False).mean().drop(columns="seed")
    ratios = levels.groupby(["layer", "hidden", "density"], sort=False).ratio.agg(["mean", "min", "max"]).reset_index()
    one = ratios[(ratios.layer == "ReLU") & (ratios.hidden == 2 * config.n) & (ratios.density == 0.03)]["mean"].iloc[0]
    summary = (
        f"One-hot codes: one feature alone takes {levels['exact with'].iloc[0] or 'more than five'} neurons to be exact; two "
        f"per feature, shared, reach {one:.2g} of the best allocation's loss. "
        f"Sum of {count} ANDs with {config.neurons} neurons: probes find "
        f"{means.found['trained']:.3g} ANDs, and {means.found['linear network']:.3g} in a linear network, so probing "
        f"shows nothing; beyond linear functions of the bits {means.nonlinear['trained']:.0%} of an AND is in the "
        f"hidden layer ({means.nonlinear['untrained']:.0%} untrained, at most {config.neurons / count:.0%} on average "
        f"by dimension), and {means.causal['trained']:.0%} of the ANDs pass the causal test. With "
        f"{few} neurons R² is {np.median(ranks[2]):.3f} for rank 2 and {np.median(ranks[0]):.3f} for full rank."
    )
    by_rank = pd.DataFrame({f"rank {k or 'full'}": v for k, v in ranks.items()})
    tables = {"levels": ratios, "inside": means.reset_index(), "ranks": by_rank}
    return Findings(gate, claims, draw(ratios, inside), tables, summary)


def judge(
    config: Config, levels: pd.DataFrame, inside: pd.DataFrame, ranks: dict[int, np.ndarray], passed: bool
) -> list[Claim]:
    """All claims."""

    def of(network: str, column: str) -> np.ndarray:
        return per_seed(inside[inside.network == network], column)

    at = levels[(levels.hidden == 2 * config.n) & (levels.density == 0.03)]
    before, half = of("untrained", "nonlinear"), config.seeds // 2
    bound = config.neurons / (config.bits * (config.bits - 1) / 2)
    return [
        stats.claim(
            "levels", "One-hot codes of five levels with two neurons per feature: 10 % below the best allocation (L / L_naive)",
            stats.estimate(per_seed(at[at.layer == "ReLU"], "ratio")), "<= 0.9",
            stats.Arm("linear hidden layer", stats.estimate(per_seed(at[at.layer == "linear"], "ratio"))), passed,
            note=f"n={config.n}, density 0.03, output ReLU.",
        ),
        stats.claim(
            "probes", "More ANDs can be read from the hidden layer by linear probes (F1 > 0.9) than there are neurons",
            stats.estimate(of("trained", "found") / config.neurons), "> 1",
            stats.Arm("linear network", stats.estimate(of("linear network", "found") / config.neurons)), passed,
            note="ANDs per neuron. AND is linearly separable in the bits, so any layer that keeps them passes.",
        ),
        stats.claim(
            "computed", "Training brings ANDs into the hidden layer: their share beyond linear functions exceeds an "
            "untrained one's",
            stats.estimate_difference(of("trained", "nonlinear"), before, paired=True), "> 0.02",
            stats.Arm("linear network", stats.estimate_difference(of("linear network", "nonlinear"), before, paired=True)),
            passed, note=f"Mean over ANDs, held out; {config.neurons} neurons cannot exceed {bound:.0%} by dimension.",
        ),
        stats.claim(
            "causal", "Half of the ANDs pass the causal test: raising a probe's reading by 1 changes y by c_ij within 10 %",
            stats.estimate(of("trained", "causal")), ">= 0.5",
            stats.Arm("untrained network", stats.estimate(of("untrained", "causal"))), passed,
        ),
        stats.claim(
            "rank", f"Rank decides, not the number of ANDs: with {config.bits // 2} neurons R² is 0.1 higher for c of rank 2",
            stats.estimate_difference(ranks[2], ranks[0], paired=True), ">= 0.1",
            stats.Arm(
                "full rank, other seeds", stats.estimate_difference(ranks[0][:half], ranks[0][half : 2 * half], paired=False)
            ), passed, note="Both have the same number of ANDs with coefficients of the same mean square.",
        ),
    ]  # fmt: skip


def draw(ratios: pd.DataFrame, inside: pd.DataFrame) -> list[Figure]:
    """Losses of level codes by width; ANDs found and causal shares by network."""
    part = ratios.dropna().assign(arm=ratios.layer + " hidden layer, density " + ratios.density.map("{:g}".format))
    figure = plots.figure()
    for place, name in enumerate(inside.network.unique()):
        rows = inside[inside.network == name]
        figure.add_scatter(
            x=rows.nonlinear, y=rows.found, mode="markers", name=name,
            marker={"color": plots.PALETTE[place], "size": 8, "opacity": 0.7},
        )  # fmt: skip
    figure.update_xaxes(title_text="share of ANDs beyond linear functions of the bits")
    figure.update_yaxes(title_text="ANDs found by probes")
    return [
        Figure(
            "levels",
            plots.lines_with_band(
                part, "hidden", "mean", "arm", "min", "max", log_y=True, x_title="neurons H", y_title="L / L_naive"
            ),
            "One-hot codes of five levels: loss over that of the best allocation (1), mean and range over seeds.",
        ),
        Figure(
            "inside", figure,
            "What is inside a network that sums ANDs, one dot per seed. Probes find ANDs everywhere; only the horizontal axis "
            "tells networks apart that computed something.",
        ),
    ]  # fmt: skip
