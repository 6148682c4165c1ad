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
Plants: trainings started at the flat point, at the kink of |x|, and with one GELU per feature at its minimum, where it has no
linear part; and networks by hand at 0 and at the flat point, with unequal weights, for the surgery.
Thresholds from the reference sheet; "noise of 10 %" and the factors 0.1 and 0.5 for products and superposition are ours,
named before the numbers. Loss: sum over outputs, mean over samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

import superscope as ss
from superscope import plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.measure.weights.hinges import spline_floor
from superscope.studies.p4_11_gelu_matters.networks import FLAT, Nets, explained, inside, noise_threshold
from superscope.studies.p4_11_gelu_matters.plants import Started, by_hand
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


X = np.linspace(-1, 1, 4001)  # inputs on which small networks are examined

GATE = [
    Check(
        "Two ReLUs reach their own bound on x² within 5 %, so training is not what holds them back",
        "over the bound", "< 1.05", of="two ReLUs",
    ),
]  # fmt: skip

EXPECTED = [
    Expect(
        "square", "Two trained GELUs compute x² with loss below 1e-4, a tenth of the bound for two ReLUs",
        "loss", "< 1e-4", of="two GELUs", null="two ReLUs", plant="two GELUs, started at the flat point", stat="median",
        why="Null: at least 1.10e-3, a theorem. Plant: a pair at |b| = 0.79, where the quartic error vanishes, then trained.",
        note="Compare the bound for four ReLUs, 1.42e-4.",
    ),
    Expect(
        "product", "Four GELUs compute xy with at most a tenth of the loss of four ReLUs (ratio)",
        "GELU over ReLU", "<= 0.1", of="xy", null="|x|", plant="xy, started at the flat point", stat="median",
        why="Null: a task with a kink. Plant: GELUs started at ((x + y)² - (x - y)²) / 4, perturbed, then trained.",
        note="Both are the best of the restarts; for products the ReLU side is trained, not proved.",
    ),
    Expect(
        "abs-reverses", "On |x| the order is reversed: two GELUs do worse than two ReLUs (share of seeds)",
        "GELU is worse", ">= 0.8", of="|x|", null="x²", plant="|x|, started at the kink", stat="share",
        why="Null: a smooth task. Plant: both started at |x|, which ReLU has exactly and GELU in a limit only, then trained.",
    ),
    Expect(
        "small", "At least 95 % of the pre-activations are below 1 in size, in the quadratic region",
        "small", ">= 0.95", of="two GELUs", null="two GELUs for |x|", plant="by hand at 0",
        why="Null: networks that need no quadratic region. Plant: unequal small weights, biases near 0, decoder by regression.",
    ),
    Expect(
        "taylor", "The Taylor polynomial z/2 + z²/√(2π) in place of GELU keeps R² above 0.99",
        "R²", "> 0.99", of="Taylor polynomial", null="line", plant="by hand at 0, Taylor polynomial", stat="median",
        why="Null: a line in place of GELU. Plant: unequal small weights, biases near 0, decoder by regression.",
    ),
    Expect(
        "shifted", "The second-order expansion of GELU about each neuron's own bias keeps R² above 0.99",
        "R²", "> 0.99", of="shifted Taylor", null="shifted Taylor, |x|", plant="by hand at the flat point, shifted Taylor",
        stat="median",
        why="Null: networks trained on |x|. Plant: pairs near |b| = 0.79, decoder by regression.",
        note="Added after the claim above failed on --seed 0: the quadratic region that is used need not be at 0.",
    ),
    Expect(
        "flat-point", f"Both biases lie within 0.1 of |b| = {FLAT:.3f}, where GELU's fourth derivative vanishes (distance)",
        "distance", "<= 0.1", of="two GELUs", null="two GELUs for |x|", plant="two GELUs, started at the flat point",
        stat="median",
        why="Null: networks trained on |x|. Plant: trained from there: training does not leave it.",
        note="Derived, with its margin, after biases near 0.83 had been seen with --seed 0; other seeds are fresh.",
    ),
    Expect(
        "not-relu", "A ReLU in place of GELU leaves R² below 0.5",
        "R²", "< 0.5", of="relu", null="shifted Taylor", plant="by hand at the flat point, relu", stat="median",
        why="Null: surgery that keeps the curvature. Plant: pairs near |b| = 0.79, where a ReLU hears nothing.",
    ),
    Expect(
        "fragile", "Hidden noise of 10 % undoes the advantage over two ReLUs (relative noise at which losses are equal)",
        "noise", "<= 0.1", of="two GELUs", null="four ReLUs", plant="by hand at 0", stat="median",
        why="Null: a gain by width. Plant: pairs at 0, whose large linear parts cancel, as noise in them does not.",
        constant="no noise undoes what width gave four ReLUs, and values above 10 count as 10",
        note="Analytic, for networks trained without noise; values above 10 count as 10. The unit is each neuron's own r.m.s. "
        "activation, which is small where GELU is nearly flat.",
    ),
    Expect(
        "superposed", "With one and a half neurons per sparse feature GELU has at most half of ReLU's loss on x²",
        "GELU over ReLU", "<= 0.5", of="x², many features", null="|x|, many features",
        plant="x², many features, started at the minimum", stat="median",
        why="Null: a task with a kink. Plant: one GELU per feature at its minimum, further ones hear two, then trained.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """One input, surgery on it, products, superposition, noise."""
    nets = {(t, a): train_one(config, lab, t, 2, a) for t in ("square", "abs") for a in ACTIVATIONS}
    nets["square", "four ReLUs"] = train_one(config, lab, "square", 4, "relu")
    products = train_products(config, lab)
    many = {target: train_many(config, lab, target) for target in ("square", "abs")}
    table = arms(
        loss_rows(config, lab, nets),
        ratio_rows(config, lab, nets, products, many),
        surgery_rows(config, lab, nets),
    )
    curve = curves(config, many)
    passed = gate(table, GATE)
    sizes = f"{3 * config.n // 2} neurons for {config.n} features, density {config.density:g}."
    claims = judge(table, EXPECTED, passed, {"superposed": sizes})
    middle = table.groupby("arm").median(numeric_only=True)
    replaced = middle["R²"].dropna().rename("median R²").rename_axis("activation replaced by").reset_index()
    return Findings(
        passed,
        claims,
        draw(nets, curve, config),
        {"arms": table, "losses": losses(nets, products), "surgery": replaced, "superposed": curve},
        summarise(nets, table),
        conclude(nets, {claim.id: claim.verdict for claim in claims}),
    )


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
    """Networks of one input: losses, where they work, which activation does better, how much noise they bear."""
    seeds, ours, two, four = lab.seeds(config.seeds), *(nets["square", a] for a in ("gelu", "relu", "four ReLUs"))
    started = train_one(config, lab, "square", 2, "gelu", plan="flat")
    kink = {a: train_one(config, lab, "abs", 2, a, plan="kink") for a in ACTIVATIONS}
    hand = by_hand(seeds, 0.0, X)

    def where(found: Nets) -> dict[str, np.ndarray]:
        return {"loss": found.loss, "small": inside(found, X), "distance": np.abs(np.abs(found.b) - FLAT).max(1)}

    def noise(found: Nets, function: str) -> np.ndarray:
        return np.minimum(noise_threshold((found, function), (two, "relu"), X, X**2), 10.0)

    return arms(
        arm("two GELUs", seeds, **where(ours), noise=noise(ours, "gelu")),
        arm("two ReLUs", seeds, loss=two.loss, **{"over the bound": two.loss / spline_floor(3)}),
        arm("four ReLUs", seeds, loss=four.loss, noise=noise(four, "relu")),
        arm("two GELUs for |x|", seeds, **where(nets["abs", "gelu"])),
        arm("two GELUs, started at the flat point", seeds, **where(started)),
        arm("by hand at 0", seeds, small=inside(hand, X), noise=noise(hand, "gelu")),
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


def summarise(nets: dict[tuple[str, str], Nets], table: pd.DataFrame) -> str:
    """Four sentences from the numbers."""
    square, far = nets["square", "gelu"], np.array([-FAR, FAR])
    beyond = {a: np.median(np.abs(nets["square", a].output(far, a) - far**2).mean(1)) for a in ACTIVATIONS}
    noise = table.groupby("arm").noise.median()
    level = {name: f"{value:.1%}" if value < 10 else "no level" for name, value in noise.items()}
    return (
        f"Two trained GELUs compute x² with loss {np.median(square.loss):.2g}; no two ReLUs get below {spline_floor(3):.3g} "
        f"and no four below {spline_floor(5):.3g}. Their |b| is {np.median(np.abs(square.b)):.2f}; the "
        f"quartic term vanishes at {FLAT:.3f}. Hidden noise that undoes the advantage: {level['two GELUs']} (four "
        f"ReLUs: {level['four ReLUs']}). At |x| = {FAR:g} GELU is off by {beyond['gelu']:.2g}, ReLU by {beyond['relu']:.2g}."
    )


def conclude(nets: dict[tuple[str, str], Nets], verdicts: dict[str, str]) -> str:
    """The sentence the page opens with."""
    if verdicts["square"] != "supported":
        return "It is not shown that two GELUs compute a square that two ReLUs cannot."
    ours = float(np.median(nets["square", "gelu"].loss))
    return answer(
        "Yes, squaring: on x² two GELUs have a loss {times} times below the bound that no two ReLUs can pass.",
        times=spline_floor(3) / ours,
    )


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
