"""4.11: does GELU ever act differently from ReLU? Squares, products, and how many ANDs a layer holds.

GELU(z) + GELU(-z) = z erf(z / sqrt 2), close to sqrt(2 / pi) z^2 near 0: two GELUs make a square to any accuracy as inputs
shrink and outputs grow, four make a product. H ReLUs on one input are a spline of at most H + 1 pieces, whose error on x^2 over
[-1, 1] is at least 16 / (180 (H + 1)^4): 1.10e-3 for two, 1.42e-4 for four. So the ReLU side is a theorem; GELU only has to be
trained. Is the quadratic region what is used (sizes of pre-activations, surgery on the activation), does |x| reverse the order,
does it carry over to superposition? Training found the pair GELU(wx + b) + GELU(-wx + b), whose quartic error vanishes at
|b| = 0.792: "shifted" and "flat-point" were added after a first run of --seed 0.

Superposition of ANDs. A random layer of bits is a sum of products of bits. GELU in its quadratic region makes pairs and hardly
any triples; ReLU makes both, and read-outs of ANDs must cancel what they do not want. So how many neurons does each need for
the same ANDs (as in 4.5: `measure.activations.ands`)? Control: squares to which a cube gives triples. A count at one width
exaggerates: 80 inputs and 320 neurons give 1.0 ANDs a neuron for ReLU and 8.4 for GELU, because the threshold of 95 % falls
between .93 and .96 of the samples. In neurons needed they differ by a third.
Thresholds fixed beforehand; 0.1 and 0.5 for products and superposition, 1.2 and 0.8 for ANDs ours. Loss: sum over outputs,
mean over samples.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from superscope import plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arms, retractions
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.measure.weights.hinges import spline_floor
from superscope.studies.p4_11_gelu_matters import measured
from superscope.studies.p4_11_gelu_matters.measured import ACTIVATIONS, BURIED, LOUD, MIDDLE, QUIET, TRIPLES, Config
from superscope.toys.gelu_pairs import FLAT, Nets

PROBLEM = "4.11"
TITLE = "A task where GELU is not ReLU"
QUESTION = (
    "Is there a task that GELUs solve and as many ReLUs provably cannot, and do they hold more features in superposition?"
)
ASSUMPTIONS = [
    "Inputs are uniform on [-1, 1], so the layer is free to place its pre-activations in a quadratic region.",
    "The bound for ReLU holds for one input feature; for products and in superposition trained ReLU networks stand in.",
    "Layers of ANDs are random and read-outs fitted; noise is Gaussian, in units of each neuron's own standard deviation.",
]
DISANALOGIES = [
    "Random Gaussian layers, two bits on: with one on GELU gains an eighth, with weights of one sign it dies of 5 % noise.",
    "Behind a LayerNorm pre-activations have a scale that the model does not choose freely, and weight decay punishes the "
    "large output weights that the quadratic mode needs.",
    "Nobody asked a language model for x squared. That it *could* multiply cheaply does not show that it does.",
    "Low-precision arithmetic is a noise of its own; the mode rests on cancelling two large linear parts.",
]
RETRACTED = [
    ("fragile", "refuted (10, that is never)", "hung on the unit of noise: b to -b, which changes no square, made it 1.2 %"),
]

PRESETS = {
    "quick": Config(),
    "standard": Config(
        seeds=24,
        restarts=96,
        steps=40_000,
        n=20,
        hidden=(10, 20, 30, 40),
        many_steps=40_000,
        inputs=(12, 24, 48, 64),
        layers=16,
        asked=8,
        widths=14,
    ),
    "full": Config(
        restarts=200,
        steps=80_000,
        n=20,
        hidden=(10, 20, 30, 40, 60),
        many_steps=40_000,
        seeds=64,
        inputs=(12, 24, 48, 64, 96),
        layers=32,
        asked=20,
        widths=20,
    ),
}

GATE = [
    Check(
        "Two ReLUs reach their own bound on x² within 5 %, so training is not what holds them back",
        "over the bound", "< 1.05", of="two ReLUs",
    ),
    Check("random squares hold what theory says, within a quarter", "over theory", "within [0.75, 1.25]", "z²", by="mean"),
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
        "superposed", "With one and a half neurons per sparse feature GELU has at most half of ReLU's loss on x²",
        "GELU over ReLU", "<= 0.5", of="x², many features", null="|x|, many features",
        plant="x², many features, started at the minimum", stat="median",
        why="Null: a task with a kink. Plant: one GELU per feature at its minimum, further ones hear two, then trained.",
    ),
    Expect(
        "packs", "A random layer of GELUs in their quadratic region holds 1.2 times as many ANDs a neuron as one of ReLUs",
        "ANDs per neuron", ">= 1.2", of=f"{QUIET} / ReLU", null=f"{TRIPLES} / ReLU", plant="z² / ReLU",
        why="Pairs over neurons needed. Null: squares with a cube, which makes triples. Plant: squares.",
    ),
    Expect(
        "packs-in-noise", "It still does with noise of 5 % on every neuron",
        "ANDs in 5 % noise", ">= 1.2", of=f"{QUIET} / ReLU", null=f"{LOUD} / ReLU", plant="z² / ReLU",
        why="Null: the same function beyond its quadratic region. Plant: squares, which have no linear part to cancel.",
    ),
    Expect(
        "loud-noise", "Noise of 20 % turns it round: at most 0.8 times as many as ReLUs",
        "ANDs in 20 % noise", "<= 0.8", of=f"{QUIET} / ReLU", null=f"{MIDDLE} / ReLU", plant=f"{BURIED} / ReLU",
        why="Null: GELUs at five times the scale. Plant: at a fifth of the scale the curvature is buried in that noise.",
        constant="a layer that computes no AND at any width counts as 0",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """One input, surgery on it, products, superposition, noise."""
    nets = {(t, a): measured.train_one(config, lab, t, 2, a) for t in ("square", "abs") for a in ACTIVATIONS}
    nets["square", "four ReLUs"] = measured.train_one(config, lab, "square", 4, "relu")
    products = measured.train_products(config, lab)
    many = {target: measured.train_many(config, lab, target) for target in ("square", "abs")}
    table = arms(
        measured.loss_rows(config, lab, nets),
        measured.ratio_rows(config, lab, nets, products, many),
        measured.surgery_rows(config, lab, nets),
    )
    held = lab.unit("ands", lambda: measured.and_layers(config, list(lab.seeds(config.layers))))
    table, curve = arms(table, held[held.inputs == config.inputs[-1]]), measured.curves(config, many)
    passed = gate(table, GATE)
    sizes = f"{3 * config.n // 2} neurons for {config.n} features, density {config.density:g}."
    claims = judge(table, EXPECTED, passed, {"superposed": sizes})
    middle = table.groupby("arm").median(numeric_only=True)
    replaced = middle["R²"].dropna().rename("median R²").rename_axis("activation replaced by").reset_index()
    return Findings(
        passed,
        claims,
        draw(nets, curve, held, config),
        {
            "arms": table,
            "losses": measured.losses(nets, products),
            "surgery": replaced,
            "superposed": curve,
            "ands": held,
            "retractions": retractions(RETRACTED),
        },
        summarise(nets),
        conclude(nets, table, {claim.id: claim.verdict for claim in claims}),
    )


def summarise(nets: dict[tuple[str, str], Nets]) -> str:
    """Numbers beside the verdicts."""
    square = nets["square", "gelu"]
    return (
        f"Two trained GELUs compute x² with loss {np.median(square.loss):.2g}; no two ReLUs get below {spline_floor(3):.3g}, "
        f"no four below {spline_floor(5):.3g}. |b|: {np.median(np.abs(square.b)):.2f}; the quartic term is 0 at {FLAT:.3f}."
    )


def conclude(nets: dict[tuple[str, str], Nets], table: pd.DataFrame, verdicts: dict[str, str]) -> str:
    """The sentence the page opens with."""
    if verdicts["square"] != "supported":
        return "It is not shown that two GELUs compute a square that two ReLUs cannot."
    held = table.groupby("arm")["ANDs per neuron"].mean()
    return answer(
        "Yes: two GELUs square {times} times better than two ReLUs could; ANDs in a random layer: {more} times as many.",
        times=spline_floor(3) / float(np.median(nets["square", "gelu"].loss)),
        more=held[QUIET] / held["ReLU"],
    )


def draw(nets: dict[tuple[str, str], Nets], curve: pd.DataFrame, held: pd.DataFrame, config: Config) -> list[Figure]:
    """Learned functions beyond the training range, losses in superposition, ANDs per neuron."""
    x = np.linspace(-2, 2, 81)
    rows = [{"x": v, "y": v * v, "function": "x²"} for v in x]
    for a in ACTIVATIONS:
        best = int(nets["square", a].loss.argmin())
        y = nets["square", a].output(x, a)[best]
        rows += [{"x": v, "y": t, "function": f"two {a.upper()}s"} for v, t in zip(x, y, strict=True)]
    sizes = held.groupby(["arm", "inputs"], as_index=False)["ANDs per neuron"].agg(["mean", "min", "max"])
    theory = held.groupby("inputs", as_index=False)["theory"].first().rename(columns={"theory": "mean"})
    theory = theory.assign(arm="squares, in theory", min=theory["mean"], max=theory["mean"])
    sizes = pd.concat([sizes[sizes.arm != BURIED], theory, theory.assign(arm="one gate a neuron", mean=1.0, min=1.0, max=1.0)])
    return [
        Figure(
            "ands",
            plots.lines_with_band(
                sizes, "inputs", "mean", "arm", "min", "max", x_title="inputs, two of them on", y_title="ANDs per neuron",
                roles={"squares, in theory": "theory", "one gate a neuron": "control", "ReLU": "control", QUIET: "treatment"},
            ),
            "Pairs of inputs over the neurons that a random layer needs until their ANDs can be read from it, by activation: "
            "mean and range over layers. Theory has no free number.",
        ),
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
