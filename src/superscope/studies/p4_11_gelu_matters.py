"""Problem 4.11: a task that GELU solves in a way that ReLU provably cannot.

GELU(z) + GELU(-z) = z erf(z / sqrt 2), close to sqrt(2 / pi) z^2 near 0: two GELUs make a square to any accuracy as their
inputs shrink and their outputs grow, four make a product (xy = ((x + y)^2 - (x - y)^2) / 4). A network of H ReLUs on one
input is a spline of at most H + 1 pieces, whose error on x^2 over [-1, 1] is at least 16 / (180 (H + 1)^4) whatever its
weights: 1.10e-3 for two, 1.42e-4 for four. So the ReLU side of the comparison is a theorem; GELU only has to be trained.

Then: is the quadratic region really what is used (sizes of pre-activations; GELU replaced by its Taylor polynomial
z/2 + z^2 / sqrt(2 pi), by a line, by a ReLU), does |x| reverse the order, does it carry over to superposition, and what does
it cost (noise, inputs beyond the training range)? Networks have one hidden layer and a linear output.
What training found instead is in the claims "shifted" and "flat-point", which were added after a first run of --seed 0: the
pair GELU(wx + b) + GELU(-wx + b) is even for every b, its linear parts cancel, and the quartic error vanishes at |b| = 0.792.
Thresholds from the reference sheet; "noise of 10 %" and the factors 0.1 and 0.5 for products and superposition are ours,
named before the numbers. Loss: sum over outputs, mean over samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import erf

import superscope as ss
from superscope import plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.evidence.stats import Claim
from superscope.lab import Lab
from superscope.measure.weights.hinges import spline_floor
from superscope.sweep.run import SweepRun

PROBLEM = "4.11"
TITLE = "A task where GELU is not ReLU"
QUESTION = "Is there a task that a GELU layer solves in a way that a ReLU layer of the same size provably cannot?"
ASSUMPTIONS = [
    "Inputs are uniform on [-1, 1], so the layer is free to place its pre-activations in a quadratic region.",
    "The bound for ReLU holds for one input feature; for products and in superposition trained ReLU networks stand in.",
    "Noise is Gaussian on hidden activations, in units of each neuron's own r.m.s. activation, and was absent in training.",
]
DISANALOGIES = [
    "Behind a LayerNorm pre-activations have a scale that the model does not choose freely, and weight decay punishes the "
    "large output weights that the quadratic mode needs.",
    "Nobody asked a language model for x squared. That it *could* multiply cheaply does not show that it does.",
    "Low-precision arithmetic is a noise of its own; the mode rests on cancelling two large linear parts.",
]
ACTIVATIONS = ("gelu", "relu")
FLAT = float(np.sqrt((7 - np.sqrt(33)) / 2))  # 0.792: GELU''''(z) = phi(z) (-z^4 + 7 z^2 - 4) vanishes at +-FLAT
FAR = 3.0  # an input beyond the training range


@dataclass(frozen=True)
class Config:
    restarts: int = 24
    steps: int = 20_000
    n: int = 8  # features in superposition
    hidden: tuple[int, ...] = (8, 12, 16)  # must hold 3n/2
    density: float = 0.1
    many_steps: int = 20_000
    seeds: int = 24


PRESETS = {
    "quick": Config(),
    "standard": Config(restarts=96, steps=40_000, n=20, hidden=(10, 20, 30, 40), many_steps=40_000),
    "full": Config(restarts=200, steps=80_000, n=20, hidden=(10, 20, 30, 40, 60), many_steps=40_000, seeds=64),
}


def gelu(z: np.ndarray) -> np.ndarray:
    """z Phi(z)."""
    return z * (1 + erf(z / np.sqrt(2))) / 2


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": gelu,
    "relu": lambda z: np.maximum(z, 0),
    "Taylor polynomial": lambda z: z / 2 + z**2 / np.sqrt(2 * np.pi),
    "line": lambda z: z / 2,
}


@dataclass(frozen=True)
class Nets:
    """Trained one-input networks of several seeds: w, b, out (seed, hidden), c (seed,), loss (seed,)."""

    w: np.ndarray
    b: np.ndarray
    out: np.ndarray
    c: np.ndarray
    loss: np.ndarray

    def hidden(self, x: np.ndarray, function: str) -> np.ndarray:
        """(seed, P, hidden) activations of inputs x (P,)."""
        return FUNCTIONS[function](x[:, None] * self.w[:, None] + self.b[:, None])

    def output(self, x: np.ndarray, function: str) -> np.ndarray:
        """(seed, P)."""
        return np.einsum("sph,sh->sp", self.hidden(x, function), self.out) + self.c[:, None]


def toy(n: int, hidden: int, activation: str, target: str) -> ss.TwoLayer:
    return ss.TwoLayer(n, hidden, "identity", activation, tied=False, hidden_bias=True, target=target)


def train_one(config: Config, lab: Lab, seeds: range, target: str, hidden: int, activation: str) -> Nets:
    """One dense input; the best of the restarts per seed."""
    sweep = ss.Sweep(
        toy(1, hidden, activation, target), ss.SparseFeatures(1, 1.0, ss.SignedUniform()), seeds=seeds, restarts=config.restarts
    )
    run = lab.train(sweep, ss.Recipe.fast(steps=config.steps, lr=2e-2), name=f"{target}-{activation}-{hidden}")
    d = run.best("restart").data.transpose("seed", ...)
    return Nets(d.W.values[..., 0], d.b_hidden.values, d.W_out.values[:, 0], d.b_out.values[:, 0], d.loss.values.astype(float))


def train_products(config: Config, lab: Lab, seeds: range) -> dict[str, np.ndarray]:
    """{activation: (seed,)} loss of xy with four neurons, best of the restarts."""
    sweep = ss.Sweep(
        toy(2, 4, "gelu", "product"), ss.SparseFeatures(2, 1.0, ss.SignedUniform()),
        over={"hidden_activation": list(ACTIVATIONS)}, seeds=seeds, restarts=config.restarts,
    )  # fmt: skip
    run = lab.train(sweep, ss.Recipe.fast(steps=config.steps, lr=2e-2), name="product")
    return {a: run.loss.sel(hidden_activation=a).min("restart").values.astype(float) for a in ACTIVATIONS}


def train_many(config: Config, lab: Lab, seeds: range, target: str) -> SweepRun:
    """Sweep over activation and width of n sparse features."""
    over = {"hidden_activation": list(ACTIVATIONS), "n_hidden": list(config.hidden)}
    inputs = ss.SparseFeatures(config.n, config.density, ss.SignedUniform())
    sweep = ss.Sweep(toy(config.n, config.n, "gelu", target), inputs, over=over, seeds=seeds)
    return lab.train(sweep, ss.Recipe.fast(steps=config.many_steps, lr=1e-2, warmup=0.1), name=f"many-{target}")


def shifted_taylor(nets: Nets, x: np.ndarray) -> np.ndarray:
    """(seed, P) output when every GELU is replaced by its second-order expansion about its own bias.

    GELU'(z) = Phi(z) + z phi(z), GELU''(z) = phi(z) (2 - z^2).
    """
    b = nets.b[:, None]
    density, step = np.exp(-(b**2) / 2) / np.sqrt(2 * np.pi), x[:, None] * nets.w[:, None]
    slope = (1 + erf(b / np.sqrt(2))) / 2 + b * density
    h = gelu(b) + slope * step + density * (2 - b**2) * step**2 / 2
    return np.einsum("sph,sh->sp", h, nets.out) + nets.c[:, None]


def explained(nets: Nets, function: str, x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(seed,) R^2 of the truth (P,) with the activation replaced by `function`; negative if worse than the mean.

    function: one of FUNCTIONS, or "shifted Taylor".
    """
    if function == "shifted Taylor":
        return 1 - ((shifted_taylor(nets, x) - truth) ** 2).mean(1) / truth.var()
    return 1 - ((nets.output(x, function) - truth) ** 2).mean(1) / truth.var()


def noise_threshold(better: tuple[Nets, str], other: tuple[Nets, str], x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(seed,) relative noise at which the advantage of the first network is gone; infinite if noise hurts the second one more.

    Noise of standard deviation tau times its r.m.s. activation on each neuron adds tau^2 sum_k out_k^2 E h_k^2 to the error.
    """
    losses, slopes = [], []
    for nets, function in (better, other):
        losses.append(((nets.output(x, function) - truth) ** 2).mean(1))
        slopes.append((nets.out**2 * (nets.hidden(x, function) ** 2).mean(1)).sum(1))
    gain, price = losses[1] - losses[0], slopes[0] - slopes[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gain <= 0, 0.0, np.where(price > 0, np.sqrt(np.maximum(gain, 0) / np.maximum(price, 1e-300)), np.inf))


def run(config: Config, lab: Lab) -> Findings:
    """One input, surgery on it, products, superposition, noise."""
    seeds = range(lab.seed * 1000, lab.seed * 1000 + config.seeds)
    nets = {
        (target, activation): train_one(config, lab, seeds, target, 2, activation)
        for target in ("square", "abs") for activation in ACTIVATIONS
    }  # fmt: skip
    four = train_one(config, lab, seeds, "square", 4, "relu")
    products = train_products(config, lab, seeds)
    many = {target: train_many(config, lab, seeds, target) for target in ("square", "abs")}

    x = np.linspace(-1, 1, 4001)
    square = nets["square", "gelu"]
    gate = Gate(
        "Two ReLUs reach their own bound on x² within 5 %, so training is not what holds them back",
        bool(np.median(nets["square", "relu"].loss) < 1.05 * spline_floor(3)),
        {"median loss of two ReLUs": float(np.median(nets["square", "relu"].loss)), "bound": spline_floor(3)},
    )
    surgery = {name: explained(square, name, x, x**2) for name in (*FUNCTIONS, "shifted Taylor")}
    surgery["shifted Taylor, |x|"] = explained(nets["abs", "gelu"], "shifted Taylor", x, np.abs(x))
    inside = {t: (np.abs(x[:, None] * nets[t, "gelu"].w[:, None] + nets[t, "gelu"].b[:, None]) < 1).mean((1, 2))
              for t in ("square", "abs")}  # fmt: skip
    noise = {
        "GELU": noise_threshold((square, "gelu"), (nets["square", "relu"], "relu"), x, x**2),
        "four ReLUs": noise_threshold((four, "relu"), (nets["square", "relu"], "relu"), x, x**2),
    }
    ratio = {t: many[t].loss.sel(hidden_activation="gelu") / many[t].loss.sel(hidden_activation="relu") for t in many}
    claims = judge(config, nets, products, surgery, inside, noise, ratio, gate.passed)

    far = np.array([-FAR, FAR])
    beyond = {a: np.abs(nets["square", a].output(far, a) - far**2).mean(1) for a in ACTIVATIONS}
    table = pd.DataFrame(
        [
            {"task": t, "neurons": h, "activation": a, "median loss": np.median(v), "lowest": v.min(), "bound for ReLU": bound}
            for t, h, a, v, bound in (
                *(("x²", 2, a, nets["square", a].loss, spline_floor(3)) for a in ACTIVATIONS),
                ("x²", 4, "relu", four.loss, spline_floor(5)),
                *(("|x|", 2, a, nets["abs", a].loss, 0.0) for a in ACTIVATIONS),
                *(("xy", 4, a, products[a], np.nan) for a in ACTIVATIONS),
            )
        ]
    )
    replaced = pd.DataFrame({"activation replaced by": list(surgery), "median R²": [np.median(v) for v in surgery.values()]})
    curve = pd.DataFrame(
        [
            {"hidden": int(h), "loss": v.mean(), "low": v.min(), "high": v.max(), "arm": f"{name}, {a.upper()}"}
            for t, name in (("square", "x²"), ("abs", "|x|")) for a in ACTIVATIONS for h in config.hidden
            for v in [many[t].loss.sel(hidden_activation=a, n_hidden=h).values]
        ]
    )  # fmt: skip
    level = {name: f"{np.median(v):.1%}" if np.isfinite(np.median(v)) else "no level" for name, v in noise.items()}
    summary = (
        f"Two trained GELUs compute x² with loss {np.median(square.loss):.2g}; no two ReLUs get below {spline_floor(3):.3g} "
        f"and no four below {spline_floor(5):.3g}. They do not work at 0: |b| is {np.median(np.abs(square.b)):.2f}, "
        f"where the quartic term vanishes ({FLAT:.3f}). Hidden noise that undoes the advantage: {level['GELU']} (four ReLUs: "
        f"{level['four ReLUs']}). At |x| = 3 GELU is off by {np.median(beyond['gelu']):.2g}, ReLU by "
        f"{np.median(beyond['relu']):.2g}."
    )
    tables = {"losses": table, "surgery": replaced, "superposed": curve}
    return Findings(gate, claims, draw(nets, curve, config), tables, summary)


def judge(config: Config, nets, products, surgery, inside, noise, ratio, passed: bool) -> list[Claim]:
    """All claims; see `run` for the shapes, (seed,) throughout."""
    width = 3 * config.n // 2
    reverse = nets["abs", "gelu"].loss / np.maximum(nets["abs", "relu"].loss, 1e-12)
    off = {t: np.abs(np.abs(nets[t, "gelu"].b) - FLAT).max(1) for t in ("abs", "square")}
    worse = {t: nets[t, "gelu"].loss > nets[t, "relu"].loss for t in ("abs", "square")}
    finite = {name: np.minimum(v, 10.0) for name, v in noise.items()}
    return [
        stats.claim(
            "square", "Two trained GELUs compute x² with loss below 1e-4, a tenth of the bound for two ReLUs",
            stats.estimate(nets["square", "gelu"].loss, stat="median"), "< 1e-4",
            stats.Arm("two ReLUs", stats.estimate(nets["square", "relu"].loss, stat="median"), "at least 1.10e-3"), passed,
            note="It is below the bound for four ReLUs (1.42e-4), too.",
        ),
        stats.claim(
            "product", "Four GELUs compute xy with at most a tenth of the loss of four ReLUs (ratio)",
            stats.estimate(products["gelu"] / products["relu"], stat="median"), "<= 0.1",
            stats.Arm("|x|", stats.estimate(reverse, stat="median")), passed,
            note="Both are the best of the restarts; for products the ReLU side is trained, not proved.",
        ),
        stats.claim(
            "abs-reverses", "On |x| the order is reversed: two GELUs do worse than two ReLUs (share of seeds)",
            stats.fraction(worse["abs"]), ">= 0.8", stats.Arm("x²", stats.fraction(worse["square"])), passed,
        ),
        stats.claim(
            "small", "At least 95 % of the pre-activations are below 1 in size, in the quadratic region",
            stats.estimate(inside["square"]), ">= 0.95",
            stats.Arm("trained on |x|", stats.estimate(inside["abs"])), passed,
        ),
        stats.claim(
            "taylor", "The Taylor polynomial z/2 + z²/√(2π) in place of GELU keeps R² above 0.99",
            stats.estimate(surgery["Taylor polynomial"], stat="median"), "> 0.99",
            stats.Arm("a line in place of GELU", stats.estimate(surgery["line"], stat="median")), passed,
        ),
        stats.claim(
            "shifted", "The second-order expansion of GELU about each neuron's own bias keeps R² above 0.99",
            stats.estimate(surgery["shifted Taylor"], stat="median"), "> 0.99",
            stats.Arm("networks trained on |x|", stats.estimate(surgery["shifted Taylor, |x|"], stat="median")), passed,
            note="Added after the claim above failed on --seed 0: the quadratic region that is used need not be at 0.",
        ),
        stats.claim(
            "flat-point", f"Both biases lie within 0.1 of |b| = {FLAT:.3f}, where GELU's fourth derivative vanishes (distance)",
            stats.estimate(off["square"], stat="median"), "<= 0.1",
            stats.Arm("networks trained on |x|", stats.estimate(off["abs"], stat="median")), passed,
            note="Derived, with its margin, after biases near 0.83 had been seen with --seed 0; other seeds are fresh.",
        ),
        stats.claim(
            "not-relu", "A ReLU in place of GELU leaves R² below 0.5",
            stats.estimate(surgery["relu"], stat="median"), "< 0.5",
            stats.Arm("expansion about the bias", stats.estimate(surgery["shifted Taylor"], stat="median")), passed,
            note="The control is what surgery that keeps the curvature leaves.",
        ),
        stats.claim(
            "fragile", "Hidden noise of 10 % undoes the advantage over two ReLUs (relative noise at which losses are equal)",
            stats.estimate(finite["GELU"], stat="median"), "<= 0.1",
            stats.Arm("four ReLUs", stats.estimate(finite["four ReLUs"], stat="median"), "a gain by width"), passed,
            note="Analytic, for networks trained without noise; values above 10 count as 10.",
        ),
        stats.claim(
            "superposed", f"With {width} neurons for {config.n} sparse features GELU has at most half of ReLU's loss on x²",
            stats.estimate(ratio["square"].sel(n_hidden=width).values, stat="median"), "<= 0.5",
            stats.Arm("|x|", stats.estimate(ratio["abs"].sel(n_hidden=width).values, stat="median")), passed,
            note=f"Density {config.density:g}.",
        ),
    ]  # fmt: skip


def draw(nets: dict[tuple[str, str], Nets], curve: pd.DataFrame, config: Config) -> list[Figure]:
    """Learned functions beyond the training range, and losses in superposition."""
    x = np.linspace(-2, 2, 81)
    rows = [{"x": v, "y": v * v, "function": "x²"} for v in x]
    for a in ACTIVATIONS:
        best = int(nets["square", a].loss.argmin())
        y = nets["square", a].output(x, a)[best]
        rows += [{"x": v, "y": t, "function": f"two {a.upper()}s"} for v, t in zip(x, y, strict=True)]
    return [
        Figure(
            "functions",
            plots.lines_with_band(
                pd.DataFrame(rows), "x", "y", "function",
                roles={"x²": "theory", "two GELUs": "treatment", "two RELUs": "control"},
            ),
            "What two neurons learn for x² on [-1, 1], drawn to twice that range: GELU follows the parabola beyond where it "
            "was trained, ReLU makes three pieces.",
        ),
        Figure(
            "superposed",
            plots.lines_with_band(curve, "hidden", "loss", "arm", "low", "high", log_y=True, x_title="neurons H"),
            f"{config.n} sparse features (density {config.density:g}), linear output: loss by width, mean and range.",
        ),
    ]  # fmt: skip
