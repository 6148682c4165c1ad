"""Problem 4.3: x -> x^2, a function that takes several neurons per feature.

One hidden layer of H ReLU neurons, h = ReLU(W x + b_h), trained to give x_i^2 of signed uniform features.
(a) One feature. Its response is piecewise linear, so theory gives the loss: the best spline with k pieces on [-1, 1] errs by
16 / (180 k^4), and H neurons make at most k = H + 1 pieces. Without hidden bias (the model as published) the layer is
homogeneous, y = ReLU(a |x| + b) whatever the width, and the loss stops at 1.4126e-3 (1/80 without output bias).
(b) Twenty features and 10 to 80 neurons. The yardstick is the best hand-out of whole neurons, by dynamic programming over
exact floors for a sparse feature (linear output), or over separately trained single-feature networks (output ReLU).

Thresholds written down beforehand: slope -4 +- 0.5, within a factor 2 of the floor for H <= 6, without bias at the floor
within 2 %, 10 % below the yardstick for many sparse features. One half for the share of shared hinges is ours, named before.
Plants: splines by hand, perturbed and trained on; for (b) an encoder of low rank, so that either sign of every feature has a
readable code, with its decoder by regression; shared hinges by hand.
Loss: sum over features, mean over samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.measure.weights.hinges import FLOOR_NO_BIAS, FLOOR_TIED_KINK, hinge_floor, shared_hinges, spline_floor
from superscope.studies.p4_03_squaring import plants
from superscope.sweep.run import SweepRun
from superscope.toys.aligned import Aligned

PROBLEM = "4.3"
TITLE = "Computing x² in superposition"
QUESTION = "When each feature needs several neurons, as x² does, how are the neurons shared between features?"
ASSUMPTIONS = [
    "Features are uniform on [-1, 1] when on, unmixed, equally important (one arm: importance 0.8^i).",
    "The best of many restarts stands for the best network with one feature; with many features seeds are single runs.",
    "With a linear output the yardstick is exact. With an output ReLU it is the best of many trained single-feature networks, "
    "which can only be too high where training failed for all of them.",
]
DISANALOGIES = [
    "Every feature wants the same function. Sharing may look different where features want different ones.",
    "Squared error over [-1, 1] rewards a good fit at large |x|; a model that only needs x^2 up to a threshold would need "
    "fewer hinges.",
    "A shared hinge is defined by weights of one feature at a time; with several on, kinks move, and that is where the cost of "
    "sharing lies.",
]
WIDTHS_SHEET = (1, 2, 3, 4, 5, 6)
OUTPUTS = {"linear output": "identity", "output ReLU": "relu"}
ONE = {  # toys of one feature
    "hidden bias": Aligned(1, 1, target="square", hidden_bias=True, activation="identity", init_hidden_bias=-0.2),
    "no hidden bias": Aligned(1, 1, target="square"),
    "no bias at all": Aligned(1, 1, target="square", output_bias=False),
}
STARTED = {  # the same, started at what is claimed of them
    "started at the best hinges": plants.Started(1, 1, target="square", hidden_bias=True, activation="identity"),
    "no hidden bias, started at its floor": plants.Started(1, 1, target="square", plan="absolute"),
    "no bias at all, started at its floor": plants.Started(1, 1, target="square", output_bias=False, plan="absolute"),
    "one neuron more, for the slope": plants.Started(
        1, 1, target="square", hidden_bias=True, activation="identity", plan="spline"
    ),
}
MOST = 6  # neurons on one feature that the yardstick considers; more would cost more than it saves here


@dataclass(frozen=True)
class Config:
    widths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8)  # of (a); must hold 1 to 6
    restarts: int = 48
    single_steps: int = 5000
    n: int = 20
    hidden: tuple[int, ...] = (10, 20, 40)  # of (b); must hold n and 2 n
    densities: tuple[float, ...] = (1.0, 0.1, 0.01)  # must hold 1 and 0.01
    steps: int = 8000
    seeds: int = 16


PRESETS = {
    "quick": Config(),
    "standard": Config(
        widths=(1, 2, 3, 4, 5, 6, 8, 12, 16), restarts=128, single_steps=10_000, hidden=(10, 20, 40, 80),
        densities=(1.0, 0.3, 0.1, 0.03, 0.01),
        steps=20_000, seeds=24
    ),
    "full": Config(
        widths=(*range(1, 17),), restarts=200, single_steps=20_000, hidden=(10, 20, 30, 40, 80, 160),
        densities=(1.0, 0.3, 0.1, 0.03, 0.01, 0.003), steps=50_000, seeds=64,
    ),
}  # fmt: skip


GATE = [
    Check(
        "Four neurons explain 99 % of the variance of x² for one feature: they leave less than 1 %",
        "unexplained", "< 0.01", of="hidden bias",
    ),
]  # fmt: skip

EXPECTED = [
    Expect(
        "slope", "The loss of one feature falls with the fourth power of the number of pieces (slope in H + 1, H >= 2)",
        "slope", "within [-4.5, -3.5]", of="hidden bias", null="no hidden bias", plant="started at the best hinges",
        why="Null: homogeneous, width cannot help. Plant: hinges placed by theory, perturbed, then trained.",
    ),
    Expect(
        "spline-floor", "Training comes within a factor 2 of the floor for H + 1 pieces, for every H up to 6 (worst ratio)",
        "over pieces", "<= 2", of="hidden bias", null="no hidden bias", plant="one neuron more, for the slope",
        why="Null: homogeneous, width cannot help. Plant: the best spline by hand, in which one more neuron gives the first "
        "piece its slope, perturbed, then trained.",
        note="The floor counts pieces. Hinges on a constant have no slope of their own, so one neuron cannot make a kink "
        "between two sloping pieces: odd widths cannot reach it, which is a theorem.",
    ),
    Expect(
        "hinge-floor", "Training comes within a factor 2 of what H hinges can reach, for every H up to 6 (worst ratio)",
        "over hinges", "<= 2", of="hidden bias", null="no hidden bias", plant="started at the best hinges",
        why="Null: homogeneous, width cannot help. Plant: hinges placed by theory, perturbed, then trained.",
        note="Added with the claim above, once theory showed that its floor is out of reach for odd H.",
    ),
    Expect(
        "stuck", "Without hidden bias the loss is 1.4126e-3 within 2 % at every width from 2 (worst deviation)",
        "off |x| floor", "<= 0.02", of="no hidden bias", null="hidden bias", plant="no hidden bias, started at its floor",
        why="Null: kinks can move. Plant: the best a |x| + b, split over unequal neurons, perturbed, then trained.",
        note="That it cannot be lower is a theorem; that training gets there is not.",
    ),
    Expect(
        "stuck-bare", "Without any bias the loss is 1/80 within 2 % at every width from 2 (worst deviation)",
        "off bare floor", "<= 0.02", of="no bias at all", null="hidden bias", plant="no bias at all, started at its floor",
        why="Null: kinks can move. Plant: the best a |x|, split over unequal neurons, perturbed, then trained.",
        note="That it cannot be lower is a theorem; that training gets there is not.",
    ),
    *(
        Expect(
            f"pays-{activation}",
            f"With one neuron per sparse feature ({name}) the loss is 10 % below the best allocation's (L / L_naive)",
            "ratio", "<= 0.9", of=name, null=f"{name}, linear hidden", plant=f"{name}, planted code",
            why="Null: no nonlinearity to share. Plant: an encoder of low rank by hand, its decoder by regression, with noise.",
            note="Density 0.01.",
        )
        for name, activation in OUTPUTS.items()
    ),
    *(
        Expect(
            f"pays-two-{activation}",
            f"With two neurons per sparse feature ({name}) the loss is 10 % below the best allocation's (L / L_naive)",
            "ratio two", "<= 0.9", of=f"{name}, two a feature", null=f"{name}, two a feature, untrained",
            plant=f"{name}, three a feature",
            why="The better of training from scratch and from the allocation itself. Null: the allocation, untrained. Plant: "
            "an allocation of one neuron more a feature, trained.",
            note="Density 0.01. The question says several neurons a feature; from scratch alone training fails (3.7 times the "
            "allocation), which says nothing of the model.",
        )
        for name, activation in OUTPUTS.items()
    ),
    Expect(
        "shared-hinges", "At least half of the neurons are shared hinges: each bends the response to two or more features",
        "shared", ">= 0.5", of="output ReLU", null="output ReLU, dense inputs", plant="planted hinges",
        why="Null: dense inputs (1.0), where sharing costs most. Plant: two thirds of the neurons bend two or three features, "
        "some hardly, with noise.",
        constant="no neuron is shared in any dense network: a finding about training, not a number fixed beforehand",
        note="Kink inside (-1, 1) and slope change of at least 0.2 for two features; output ReLU, H = n, density 0.01.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Single-feature floors, then many features against the best allocation."""
    single = {name: train_single(config, lab, name, toy) for name, toy in (ONE | STARTED).items()}
    hinges = np.array(lab.unit("hinge-floors", lambda: [hinge_floor(h) if h <= 8 else np.nan for h in config.widths]))
    cost = yardsticks(config, lab)
    runs = train_many(config, lab)
    table = arms(
        single_rows(config, lab, single, hinges), many_rows(config, lab, runs, cost), two_rows(config, lab, runs, cost)
    )
    floors, losses = floor_table(config, single, hinges), loss_table(config, runs, cost)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed, {f"pays-{a}": f"n = H = {config.n}." for a in OUTPUTS.values()})
    return Findings(
        passed,
        claims,
        draw(floors, losses, runs),
        {"arms": table, "floors": floors, "losses": losses, "hinges": hinges_per_feature(runs, config, cost)},
        summarise(config, table, losses, floors, runs),
        conclude(table, {claim.id: claim.verdict for claim in claims}),
    )


def train_single(config: Config, lab: Lab, name: str, toy: Aligned) -> np.ndarray:
    """(width, seed) loss of one always-on feature, best of the restarts (two where the start is planted)."""
    inputs, more = ss.SparseFeatures(1, 1.0, ss.SignedUniform()), int(name.startswith("one neuron more"))
    over, restarts = {"n_hidden": [h + more for h in config.widths]}, config.restarts if name in ONE else 2
    sweep = ss.Sweep(toy, inputs, over=over, seeds=lab.seeds(config.seeds), restarts=restarts)
    recipe = ss.Recipe.careful(config.single_steps, lr=1e-2)
    run = lab.train(sweep, recipe, name=f"single-{name.replace(' ', '-').replace(',', '')}")
    return run.loss.min("restart").transpose("n_hidden", "seed").values


def single_rows(config: Config, lab: Lab, single: dict[str, np.ndarray], hinges: np.ndarray) -> pd.DataFrame:
    """Per arm and seed: slope, worst ratios to the floors, worst deviations; single[arm] (width, seed)."""
    some = [i for i, h in enumerate(config.widths) if h >= 2]
    low, four = [config.widths.index(h) for h in WIDTHS_SHEET], config.widths.index(4)
    pieces = np.array([spline_floor(h + 1) for h in config.widths])
    logs = np.log(np.array(config.widths)[some] + 1)
    return arms(*(
        arm(
            name, lab.seeds(config.seeds),
            slope=np.polyfit(logs, np.log(loss[some]), 1)[0],
            unexplained=loss[four] / hinge_floor(0),
            **{
                "over pieces": (loss[low] / pieces[low, None]).max(0),
                "over hinges": (loss[low] / hinges[low, None]).max(0),
                "off |x| floor": np.abs(loss[some] / FLOOR_TIED_KINK - 1).max(0),
                "off bare floor": np.abs(loss[some] / FLOOR_NO_BIAS - 1).max(0),
            },
        )
        for name, loss in single.items()
    ))  # fmt: skip


def yardsticks(config: Config, lab: Lab) -> dict[str, np.ndarray]:
    """{output: (density, 0..MOST neurons)} lowest known loss of one sparse feature."""

    def search() -> dict[str, list[list[float]]]:
        floors = np.array([[hinge_floor(k, p) for k in range(MOST + 1)] for p in config.densities])
        toy = Aligned(1, 1, target="square", hidden_bias=True, init_hidden_bias=-0.1)
        over = {"n_hidden": list(range(1, MOST + 1)), "density": list(config.densities)}
        sweep = ss.Sweep(
            toy, ss.SparseFeatures(1, 1.0, ss.SignedUniform()), over=over, seeds=[lab.seed], restarts=config.restarts
        )
        run = lab.train(sweep, ss.Recipe.careful(config.single_steps, lr=1e-2), name="yardstick")
        trained = run.loss.min(("seed", "restart")).transpose("density", "n_hidden").values
        clipped = np.column_stack([floors[:, 0], np.minimum(trained, floors[:, 1:])])
        return {"linear output": floors.tolist(), "output ReLU": clipped.tolist()}

    return {name: np.array(rows) for name, rows in lab.unit("yardsticks", search).items()}


def naive(cost: np.ndarray, importance: np.ndarray, hidden: int) -> measure.Allocation:
    """Best allocation of whole neurons; cost (0..MOST neurons,) of one feature."""
    return measure.best_allocation(importance[:, None] * cost, hidden)


def train_many(config: Config, lab: Lab) -> dict[str, SweepRun]:
    """Sweeps over (hidden width, density) per output; a linear hidden layer; decaying importance; the planted code."""
    inputs = ss.SparseFeatures(config.n, values=ss.SignedUniform())
    decayed = inputs.replace(importance=tuple(0.8 ** np.arange(config.n)))
    seeds, recipe = lab.seeds(config.seeds), ss.Recipe.careful(config.steps, lr=2e-2)
    grid = {"n_hidden": list(config.hidden), "density": list(config.densities)}
    one = {"n_hidden": [config.n], "density": [0.01]}
    runs = {}
    for name, activation in OUTPUTS.items():
        toy = Aligned(config.n, 1, target="square", hidden_bias=True, activation=activation, init_scale=0.5)
        code = plants.Code(config.n, 1, target="square", hidden_bias=True, activation=activation)
        for variant, sweep, how in (
            ("", ss.Sweep(toy, inputs, over=grid, seeds=seeds), recipe),
            (", linear hidden", ss.Sweep(toy.replace(hidden_activation="identity"), inputs, over=one, seeds=seeds), recipe),
            (", decaying importance", ss.Sweep(toy, decayed, over=one, seeds=seeds), recipe),
            (", planted code", ss.Sweep(code, inputs, over=one, seeds=seeds), ss.Recipe.careful(0)),
        ):
            key = f"{name}{variant}"
            runs[key] = lab.train(sweep, how, name=key.replace(",", "").replace(" ", "-"))
    return runs


def relative(config: Config, run: SweepRun, h: int, p: float, cost: np.ndarray) -> np.ndarray:
    """(seed,) loss over that of the best allocation, equal importance; cost (density, neurons)."""
    best = naive(cost[config.densities.index(p)], np.ones(config.n), h).loss
    return run.loss.sel(n_hidden=h, density=p).values / best


def many_rows(config: Config, lab: Lab, runs: dict[str, SweepRun], cost: dict[str, np.ndarray]) -> pd.DataFrame:
    """Per arm and seed: loss over that of the best allocation at H = n and density 0.01; share of shared hinges."""
    seeds, main = lab.seeds(config.seeds), runs["output ReLU"]
    return arms(
        *(
            arm(name, seeds, ratio=relative(config, run, config.n, 0.01, cost[name.split(",")[0]]))
            for name, run in runs.items()
            if name != "output ReLU" and "decaying" not in name
        ),
        arm(
            "output ReLU", seeds, ratio=relative(config, main, config.n, 0.01, cost["output ReLU"]),
            shared=shared_share(*weights(main, config, 0.01)),
        ),
        arm("output ReLU, dense inputs", seeds, shared=shared_share(*weights(main, config, 1.0))),
        arm("planted hinges", seeds, shared=shared_share(*plants.hinges(config.n, seeds))),
    )  # fmt: skip


def two_rows(config: Config, lab: Lab, runs: dict[str, SweepRun], cost: dict[str, np.ndarray]) -> pd.DataFrame:
    """Two neurons a feature at density 0.01: trained from scratch and from the allocation, whichever is better; and its
    bounds."""
    seeds, inputs = lab.seeds(config.seeds), ss.SparseFeatures(config.n, 0.01, ss.SignedUniform())
    rows = []
    for name, activation in OUTPUTS.items():
        best = naive(cost[name][config.densities.index(0.01)], np.ones(config.n), 2 * config.n).loss

        def over(per: int, steps: int, best: float = best, activation: str = activation) -> np.ndarray:
            toy = plants.Monosemantic(
                config.n, per * config.n, target="square", hidden_bias=True, activation=activation, per=per
            )
            recipe = ss.Recipe.careful(steps, lr=2e-3)
            return (
                lab.train(ss.Sweep(toy, inputs, seeds=seeds), recipe, name=f"from-{per}-{activation}-{steps}").loss.values
                / best
            )

        cold = runs[name].loss.sel(n_hidden=2 * config.n, density=0.01).values / best
        rows += [
            arm(
                f"{name}, two a feature", seeds, **{"ratio two": np.minimum(cold, over(2, config.steps)), "from scratch": cold}
            ),
            arm(f"{name}, two a feature, untrained", seeds, **{"ratio two": over(2, 0)}),
            arm(f"{name}, three a feature", seeds, **{"ratio two": over(3, config.steps)}),
        ]
    return arms(*rows)


def weights(run: SweepRun, config: Config, p: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (seed, n, n), b_hidden (seed, n), W_out (seed, n, n) at H = n."""
    part = run.data.sel(n_hidden=config.n, density=p).isel(hidden=slice(config.n)).transpose("seed", ...)
    return part.W.values, part.b_hidden.values, part.W_out.values


def shared_share(w: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    """(seed,) share of neurons that are hinges of two or more features."""
    return (shared_hinges(w, b, out).sum(-1) >= 2).mean(-1)


def kink_distance(w: np.ndarray, b: np.ndarray, out: np.ndarray) -> float:
    """Median |x| at which shared hinges bend."""
    flags = shared_hinges(w, b, out)
    at = np.abs(np.broadcast_to(b[..., None], flags.shape)[flags] / w[flags])
    return float(np.median(at)) if len(at) else float("nan")


def hinges_per_feature(runs: dict[str, SweepRun], config: Config, cost: dict[str, np.ndarray]) -> pd.DataFrame:
    """Hinges a feature uses, trained and in the best allocation, with decaying importance at density 0.01 and H = n."""
    columns = {"feature": np.arange(config.n)}
    for name in OUTPUTS:
        found = shared_hinges(*weights(runs[f"{name}, decaying importance"], config, 0.01))
        columns[f"{name}: trained"] = found.sum(-2).mean(0)
        row = cost[name][config.densities.index(0.01)]
        columns[f"{name}: allocated"] = naive(row, 0.8 ** np.arange(config.n), config.n).neurons
    return pd.DataFrame(columns)


def floor_table(config: Config, single: dict[str, np.ndarray], hinges: np.ndarray) -> pd.DataFrame:
    """By width: best trained losses of one feature, and the floors of theory."""
    return pd.DataFrame({
        "neurons": config.widths, "trained (best)": single["hidden bias"].min(1),
        "spline floor": [spline_floor(h + 1) for h in config.widths], "hinge floor": hinges,
        "no hidden bias": single["no hidden bias"].min(1), "no bias at all": single["no bias at all"].min(1),
    })  # fmt: skip


def loss_table(config: Config, runs: dict[str, SweepRun], cost: dict[str, np.ndarray]) -> pd.DataFrame:
    """By output, width and density: loss over that of the best allocation, mean and range over seeds."""
    rows = []
    for name in OUTPUTS:
        for h in config.hidden:
            for p in config.densities:
                found = relative(config, runs[name], h, p, cost[name])
                row = {"arm": f"{name}, H={h}", "output": name, "hidden": h, "density": p, "L / L_naive": found.mean()}
                rows.append({**row, "low": found.min(), "high": found.max()})
    return pd.DataFrame(rows)


def summarise(
    config: Config, table: pd.DataFrame, losses: pd.DataFrame, floors: pd.DataFrame, runs: dict[str, SweepRun]
) -> str:
    """Four sentences from the numbers."""
    ratio = table.groupby("arm").ratio.mean()
    most = losses[(losses.hidden == config.hidden[-1]) & (losses.density == 0.01)].set_index("output")["L / L_naive"]
    near = {name: kink_distance(*weights(runs[name], config, 0.01)) for name in OUTPUTS}
    return (
        f"Without hidden bias the loss stays at {floors['no hidden bias'][1:].mean():.4g} at every width. With it, one "
        f"neuron reaches {floors['trained (best)'][0] / floors['spline floor'][0]:.2g} times the spline floor. "
        "With one neuron per sparse feature (density 0.01) sharing reaches "
        f"{ratio['linear output']:.2g} of the best allocation's loss with a linear output and {ratio['output ReLU']:.2g} with "
        f"an output ReLU; with {config.hidden[-1] / config.n:g} per feature {most['linear output']:.2g} and "
        f"{most['output ReLU']:.2g}. Shared hinges lie at a median |x| of {near['linear output']:.2g}, "
        f"{near['output ReLU']:.2g})."
    )


def conclude(table: pd.DataFrame, verdicts: dict[str, str]) -> str:
    """The sentence the page opens with."""
    if {verdicts["pays-identity"], verdicts["pays-relu"]} != {"supported"}:
        return "It is not shown that sharing neurons between sparse features beats giving each its own."
    ratio = table.groupby("arm").ratio.mean()
    return answer(
        "With a neuron for each sparse feature, sharing cuts the loss to {linear} of the best allocation's, to {relu} with an "
        "output ReLU.",
        linear=ratio["linear output"], relu=ratio["output ReLU"],
    )  # fmt: skip


def draw(floors: pd.DataFrame, table: pd.DataFrame, runs: dict[str, SweepRun]) -> list[Figure]:
    """Losses of one feature against floors; ratios of many; response of the best shared network."""
    long = floors.melt("neurons", var_name="what", value_name="loss").dropna()
    best = runs["output ReLU"].sel(n_hidden=int(runs["output ReLU"].n_hidden.values[1]), density=0.01).best("seed").data
    h = int(np.isfinite(best.b_hidden.values).sum())
    kink = np.where(
        shared_hinges(best.W.values[:h], best.b_hidden.values[:h], best.W_out.values[:, :h]),
        np.clip(-best.b_hidden.values[:h, None] / best.W.values[:h], -1, 1), np.nan,
    )  # fmt: skip
    roles = {"spline floor": "theory", "hinge floor": "theory", "no hidden bias": "control", "trained (best)": "treatment"}
    return [
        Figure(
            "floors",
            plots.lines_with_band(long, "neurons", "loss", "what", log_y=True, x_title="neurons H", roles=roles),
            "One feature: best trained loss by width, beside the floors of theory. Even widths meet the spline floor; without "
            "hidden bias no width helps.",
        ),
        Figure(
            "losses",
            plots.lines_with_band(
                table, "density", "L / L_naive", "arm", "low", "high", log_x=True, log_y=True, x_title="density p"
            ),
            "Loss over that of the best allocation of whole neurons (1): mean and range over seeds. Sharing pays for sparse "
            "features while neurons are scarce.",
        ),
        Figure(
            "kinks",
            plots.phase_diagram(
                kink, list(range(kink.shape[1])), list(range(h)), x_title="feature", y_title="neuron", z_title="kink at x"
            ),
            "Where each neuron bends the response to each feature (best network with output ReLU, H = n, density 0.01): rows "
            "with several cells are shared hinges, columns show a feature's hinges.",
        ),
    ]  # fmt: skip
