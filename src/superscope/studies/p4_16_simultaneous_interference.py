"""Problem 4.16: two features that share dimensions, on at once.

Exactly two of n features are on, values uniform on [0, 1]; the encoder is linear, h = W x with m = 4 rows. That is enough for
any n: with the columns of W on the moment curve every pair is a face of conv(0, W), so that positivity and the least sum tell
it from all others (m = 2k rows for k features, Donoho and Tanner 2005), and almost any W will do for a decoder that knows that
two are on. What breaks is the decoder with one ReLU layer, ReLU(W^T h + b).

Decoders: tied ReLU; an MLP with a linear output, trained together with W, on the fixed moment curve, or on a fixed Gaussian W.
Ceilings on the learned W: NNLS (positivity, least sum) and search over all pairs (exact). Geometry: the share of pairs that
are faces, exact by convex hull. Control for density: with equal marginals (each feature on with chance 1/n) two features on
half of the time against one feature on always.

How does the MLP do it? The ladder: one ReLU layer, tied or not, one hidden layer, three. And what it says off its training: on
single features, and on three at once, where a search for two, NNLS and the truth say different things; a network trained on one
to three features is the control. Thresholds written down beforehand: R^2 > 0.95 for the MLP where the tied ReLU
has < 0.6, within 2 % of the NNLS ceiling; ours: 0.9 of the pairs for "two-neighbourly", 0.1 in R^2 for "costs" and "copes",
0.02 in R^2 for one code against another. R^2 is over all outputs, on inputs with exactly two features on, every pair equally
often. Loss: sum over outputs, mean over samples.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

import superscope as ss
from superscope import measure, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms
from superscope.evidence.wording import answer
from superscope.inputs.features import ExactlyK
from superscope.lab import Lab
from superscope.recover import ista, nnls, subset_search
from superscope.toys import pair_codes

PROBLEM = "4.16"
TITLE = "Two features on at once"
QUESTION = "If features that share dimensions are often on together, can a model tell them apart, and by what mechanism?"
ASSUMPTIONS = [
    "Exactly two features are on, all pairs equally often, all equally important; there is no noise on the code.",
    "The encoder is linear and bottlenecked at m = 4 = 2k rows, the fewest for which the non-negative answer of least sum "
    "can be right for all pairs.",
    "The MLP has a linear output: with an output ReLU many of its outputs die in training.",
]
DISANALOGIES = [
    "A language model does not know how many features are on; the search over pairs, and probably the MLP, use that it is two.",
    "Without noise even an ill-conditioned code is read exactly by an exact decoder; with noise the ceilings fall.",
    "Features that are often on together in a model are correlated in a structured way, so that it could place just those "
    "apart; here all pairs are alike and some must share.",
]
CODES = ("learned", "moment curve", "Gaussian")


@dataclass(frozen=True)
class TogetherOrNone:
    """Half of the samples have two members on, the others none: the marginals of one member on always."""

    members: tuple[int, ...]

    def draw(self, rng: np.random.Generator, density: np.ndarray, count: int) -> np.ndarray:
        two = ExactlyK(self.members, 2).draw(rng, density, count)
        return two & (rng.random(count) < 0.5)[:, None]

    def marginal(self, density: np.ndarray) -> np.ndarray:
        return np.full(len(self.members), 1 / len(self.members))


@dataclass(frozen=True)
class Config:
    n: int = 16
    m: int = 4  # must be even
    width: int = 64  # of the MLP
    layers: int = 3
    points: int = 64
    steps: int = 4500
    lr: float = 1e-2
    tied_steps: int = 3000
    restarts: int = 6  # of tied models
    seeds: int = 16

    def __post_init__(self) -> None:
        if self.m % 2 or not 2 <= self.m < self.n:
            raise ValueError(f"m={self.m}, n={self.n}: the moment curve needs an even m with 2 <= m < n")
        if self.seeds < 2 or self.restarts < 2:
            raise ValueError(f"seeds={self.seeds}, restarts={self.restarts}: needs at least 2 of each")


PRESETS = {
    "quick": Config(),
    "standard": Config(width=128, points=128, steps=12_000, lr=5e-3, tied_steps=8000, restarts=16),
    "full": Config(width=256, layers=3, points=512, steps=40_000, lr=3e-3, tied_steps=30_000, restarts=64, seeds=24),
}


GATE = [Check("Some trained decoder tells pairs apart: on the moment curve the MLP explains at least 80 % of the variance",
              "R2", ">= 0.8", "moment curve", by="mean")]  # fmt: skip
EXPECTED = [
    Expect(
        "mlp", "An MLP trained together with the code tells pairs apart (R² on pairs)",
        "R2", "> 0.95", of="learned", null="tied ReLU", plant="learned, read by search",
        why="Null: one ReLU layer, tied to the code. Plant: the exact decoder, search over all pairs, on the same codes.",
    ),
    Expect(
        "tied-breaks", "One tied ReLU layer does not (R² on pairs)",
        "R2", "< 0.6", of="tied ReLU", null="learned", plant="one at a time",
        why="Null: the MLP. Plant: the same layer trained on single features, which never saw a pair.",
    ),
    Expect(
        "depth", "One hidden layer as wide as all three together reads less: three layers gain at least 0.05 of R²",
        "R2", ">= 0.05", of="learned - one hidden layer", null="learned, half - learned, other half",
        plant="learned, read by search - one hidden layer",
        why="Null: networks of the same depth. Plant: the exact decoder.",
    ),
    Expect(
        "pair-search", "To three features at once, which it never saw, the MLP answers like a search for two, not like NNLS",
        "search rather than NNLS", ">= 0.3", of="learned", null="trained on one to three", plant="search with errors of 20 %",
        why="R² of its answers by those of search less R² by those of NNLS. Null: the same network trained on one to three "
        "features. Plant: the answers of search, each off by a fifth.",
    ),
    Expect(
        "ceiling", "The MLP comes within 0.02 of the ceiling of its own code, search over all pairs (R² minus R²)",
        "below search", ">= -0.02", of="learned", null="tied ReLU", plant="search with errors of 2 %",
        why="Null: the tied ReLU on its own code. Plant: the exact answers of search, each off by 2 % or so.",
        note="The sheet names NNLS, which is no upper bound here: it does not know that only two are on. Until a second look "
        "the "
        "claim compared with NNLS, which one trained ReLU layer matches too.",
    ),
    Expect(
        "neighbourly", "Trained with an MLP the code becomes two-neighbourly (share of pairs that are faces)",
        "faces", ">= 0.9", of="learned", null="Gaussian", plant="noisy moment curve",
        why="Null: a random code. Plant: the moment curve, on which all pairs are faces, each weight off by 1 %.",
    ),
    Expect(
        "more-faces", "Training on pairs makes 0.05 more of the pairs faces than in the Gaussian code it started from",
        "faces", ">= 0.05", of="learned - Gaussian", null="Gaussian, half - Gaussian, other half",
        plant="noisy moment curve - Gaussian",
        why="Null: Gaussian codes of other seeds. Plant: the moment curve, each weight off by 1 %.",
        note="The rule was '> 0', which a control without any effect cannot clearly fail.",
    ),
    Expect(
        "code-matters", "With equal training the MLP reads the moment curve better than a Gaussian code (difference in R²)",
        "R2", ">= 0.02", of="moment curve - Gaussian", null="Gaussian, half - Gaussian, other half",
        plant="moment curve, read by NNLS - Gaussian, read by NNLS",
        why="Null: Gaussian codes of other seeds. Plant: a decoder for which theory says that the code decides.",
    ),
    Expect(
        "costs", "At equal marginals being on together costs the tied ReLU at least 0.1 of R²",
        "R2", ">= 0.1", of="apart - together", null="room, apart - room, together", plant="apart - apart, two on",
        why="Null: as many dimensions as features. Plant: trained on one feature at a time, tested on pairs.",
        note="R² on inputs with one feature on after training with one on always, minus R² on inputs with two on after "
        "training "
        "with two on half of the time.",
    ),
    Expect(
        "copes", "Trained on pairs the tied ReLU does better on them than trained on one feature at a time (R² difference)",
        "R2", ">= 0.1", of="tied ReLU - one at a time", null="one at a time, half - one at a time, other half",
        plant="learned, read by search - one at a time",
        why="Null: other seeds of the layer that never saw a pair. Plant: the exact decoder of the learned codes.",
    ),
]  # fmt: skip


def explained(y: np.ndarray, x: np.ndarray) -> float:
    """R^2 of outputs y over inputs x, both (..., n), all outputs together."""
    flat = x.reshape(-1, x.shape[-1])
    return float(1 - ((y - x) ** 2).sum() / ((flat - flat.mean(0)) ** 2).sum())


def gaussian_codes(config: Config, seeds: range) -> np.ndarray:
    """(seed, m, n) random codes, from which learned ones start."""
    shape = (config.m, config.n)
    return np.stack([np.random.default_rng([q, 1]).standard_normal(shape) / np.sqrt(config.m) for q in seeds])


def train_mlps(config: Config, seeds: range) -> dict[str, np.ndarray]:
    """Codes of all networks, and squared errors on every pair: {"W": (code, seed, m, n), "error": (code, seed, pairs)} for
    every code in CODES; what the networks with learned codes say to single features and to three at once; and the rungs below
    and beside them: "shallow" (one hidden layer) and "to-3" (trained on one to three features).
    """
    n, s, gauss = config.n, len(seeds), gaussian_codes(config, seeds)
    curve = np.broadcast_to(measure.moment_curve(n, config.m), gauss.shape)
    deep, schedule = [config.width] * config.layers, (config.steps, config.lr, config.points)
    made = pair_codes.train(np.concatenate([gauss, curve, gauss]), s, deep, [*seeds] * len(CODES), (2,), *schedule)
    shallow = pair_codes.train(gauss, s, [config.width * config.layers], seeds, (2,), *schedule)
    mixed = pair_codes.train(gauss, s, deep, seeds, (1, 2, 3), *schedule)
    x = pair_codes.all_sets_on(n, 2, 32, seeds[0])
    three = triples(config, seeds[0])
    one = pair_codes.all_sets_on(n, 1, 64, seeds[0])

    def error(readers: pair_codes.Readers) -> np.ndarray:
        return ((readers(x) - x) ** 2).sum(-1).mean(-1)  # (net, pairs)

    return {
        "W": made.W.numpy().reshape(len(CODES), s, config.m, n), "error": error(made).reshape(len(CODES), s, -1),
        "shallow": error(shallow), "to-3": error(mixed), "W-to-3": mixed.W.numpy(),
        "singles": made(one)[:s], "singles-to-3": mixed(one),
        "triples": made(three)[:s], "triples-to-3": mixed(three),
    }  # fmt: skip


def triples(config: Config, seed: int) -> np.ndarray:
    """(400, n) inputs with three features on."""
    return pair_codes.random_sets_on(config.n, (3,), 400, np.random.default_rng([seed, 16])).astype(float)


def mechanism(made: dict[str, np.ndarray], config: Config, seeds: range, lab: Lab) -> pd.DataFrame:
    """What the networks do off their training: whose answers they give to three features at once, and how they read singles."""
    x, rng = triples(config, seeds[0]), lab.rng("errors of search on three")
    one = pair_codes.all_sets_on(config.n, 1, 64, seeds[0])
    rows = {}
    for name, tail in (("learned", ""), ("trained on one to three", "-to-3")):
        codes = made["W"][0] if not tail else made["W-to-3"]
        search = [subset_search(W, x @ W.T, 2) for W in codes]
        least = [nnls(W, x @ W.T) for W in codes]
        said = made["triples" + tail]
        rows[name] = whose(said, search, least, x) | {"R2 on singles": [explained(y, one) for y in made["singles" + tail]]}
        if not tail:
            noisy = [y * (1 + 0.2 * rng.standard_normal(y.shape)) for y in search]
            rows["search with errors of 20 %"] = whose(noisy, search, least, x)
    return arms(*(arm(name, seeds, **found) for name, found in rows.items()))


def whose(said, search, least, x: np.ndarray) -> dict[str, list[float]]:
    """R² of answers (seed, P, n) by those of a search for two, of NNLS, and by the truth, on three features at once."""
    as_search = [explained(y, t) for y, t in zip(said, search, strict=True)]
    as_least = [explained(y, t) for y, t in zip(said, least, strict=True)]
    return {
        "as search": as_search, "as NNLS": as_least, "as truth": [explained(y, x) for y in said],
        "search rather than NNLS": [a - b for a, b in zip(as_search, as_least, strict=True)],
    }  # fmt: skip


def train_tied(config: Config, lab: Lab, seeds: range, law: str) -> tuple[np.ndarray, np.ndarray]:
    """W (seed, m, n) and b (seed, n) of ReLU(W^T W x + b), best of the restarts.

    law "pairs": exactly two on. "together": two on half of the time. "apart": one on always. "room-...": the same with m = n.
    """
    members = tuple(range(config.n))
    groups = {"pairs": ExactlyK(members, 2), "together": TogetherOrNone(members), "apart": ExactlyK(members, 1)}
    group = groups[law.removeprefix("room-")]
    toy = ss.Bottleneck(config.n, config.n if law.startswith("room-") else config.m)
    inputs = ss.SparseFeatures(config.n, groups=(group,))  # type: ignore[arg-type]
    sweep = ss.Sweep(toy, inputs, seeds=seeds, restarts=config.restarts)
    best = lab.train(sweep, ss.Recipe.fast(steps=config.tied_steps, points=128), name=f"tied-{law}").best("restart")
    return best.W.transpose("seed", "hidden", "feature").values.astype(float), best.b_out.values.astype(float)


def untied_ladder(config: Config, lab: Lab, seeds: range, x: np.ndarray) -> np.ndarray:
    """(seed,) R² on pairs of one ReLU layer with weights of its own, best of the restarts."""
    toy = ss.Bottleneck(config.n, config.m, tied=False)
    inputs = ss.SparseFeatures(config.n, groups=(ExactlyK(tuple(range(config.n)), 2),))
    sweep = ss.Sweep(toy, inputs, seeds=seeds, restarts=config.restarts)
    best = lab.train(sweep, ss.Recipe.fast(steps=config.tied_steps, points=128), name="untied").best("restart")
    weights = [best.data[name].values.astype(float) for name in ("W", "W_out", "b_out")]
    return np.array([explained(np.maximum(x @ W.T @ out.T + b, 0), x) for W, out, b in zip(*weights, strict=True)])


def tied(W: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Outputs (..., n) of one tied model."""
    return np.maximum(x @ W.T @ W + b, 0)


def run(config: Config, lab: Lab) -> Findings:
    """Train all decoders, compare each with the ceilings of its own code, look at the codes."""
    seeds = lab.seeds(config.seeds)
    made = lab.unit("mlp", functools.partial(train_mlps, config, seeds))
    codes = dict(zip(CODES, made["W"], strict=True))
    errors = dict(zip(CODES, made["error"], strict=True)) | {"one hidden layer": made["shallow"]}
    models = {law: train_tied(config, lab, seeds, law) for law in ("pairs", "together", "apart", "room-together", "room-apart")}
    codes["tied ReLU"], codes["one at a time"] = models["pairs"][0], models["apart"][0]
    x = pair_codes.all_sets_on(config.n, 2, 32, seeds[0])
    few = x[:, :4].reshape(-1, config.n)
    read = {
        "decoder": trained_decoders(errors, models, x) | {"untied ReLU": untied_ladder(config, lab, seeds, x)},
        "NNLS": {name: np.array([explained(nnls(W, few @ W.T), few) for W in stack]) for name, stack in codes.items()},
        "search": {
            name: np.array([explained(subset_search(W, few @ W.T, 2), few) for W in stack]) for name, stack in codes.items()
        },
        "faces": {name: np.array([measure.neighbourliness(W) for W in stack]) for name, stack in codes.items()},
    }
    mixed = mechanism(made, config, seeds, lab)
    table = arms(
        decoders(read, codes["learned"], few, seeds, lab),
        faces(read["faces"], config, seeds, lab),
        mixed,
        marginals(models, x, pair_codes.all_sets_on(config.n, 1, 256, seeds[0]), seeds),
    )
    passed = gate(table, GATE)
    sacrificed = by_cosine(config, errors["learned"], models["pairs"], codes, x)
    iterated = sparse_coding(codes, few)
    means = pd.DataFrame({"code": name, **{what: values[name].mean() for what, values in read.items()}} for name in codes)
    claims = judge(table, EXPECTED, passed)
    searches = next(claim.verdict for claim in claims if claim.id == "pair-search") == "supported"
    return Findings(
        passed,
        claims,
        draw(sacrificed, iterated),
        {"arms": table, "codes": means, "sacrificed": sacrificed, "iterations": iterated},
        summarise(config, read, mixed),
        answer(
            "A small network reads two shared features at once (R² {mlp}) where one ReLU layer does not ({tied}); {how}.",
            mlp=read["decoder"]["learned"].mean(),
            tied=read["decoder"]["tied ReLU"].mean(),
            how="three it answers like a search for two" if searches else "how, is undecided",
        ),
    )


def trained_decoders(errors: dict[str, np.ndarray], models, x: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> (seed,) R² on pairs: MLPs from their errors (seed, pairs), tied layers from their weights."""
    n = x.shape[-1]
    spread = ((x - x.reshape(-1, n).mean(0)) ** 2).sum(-1).mean()
    out = {name: 1 - each.mean(-1) / spread for name, each in errors.items()}
    for name, law in (("tied ReLU", "pairs"), ("one at a time", "apart")):
        out[name] = np.array([explained(tied(W, b, x), x) for W, b in zip(*models[law], strict=True)])
    return out


def decoders(
    read: dict[str, dict[str, np.ndarray]], learned: np.ndarray, few: np.ndarray, seeds: range, lab: Lab
) -> pd.DataFrame:
    """R² on pairs of what was trained, of exact decoders, and the distance from search over all pairs."""
    r2, search, half, rng = read["decoder"], read["search"], len(seeds) // 2, lab.rng("errors of search")
    answers = [subset_search(W, few @ W.T, 2) for W in learned]
    off = np.array([explained(y * (1 + 0.02 * rng.standard_normal(y.shape)), few) for y in answers])
    rows = [arm(name, seeds, R2=r2[name], **{"below search": r2[name] - search[name]}) for name in r2 if name in search]
    rows += [arm(name, seeds, R2=r2[name]) for name in r2 if name not in search]
    rows.append(arm("learned, read by search", seeds, R2=search["learned"]))
    rows.append(arm("search with errors of 2 %", seeds, **{"below search": off - search["learned"]}))
    for name in ("moment curve", "Gaussian"):
        rows.append(arm(f"{name}, read by NNLS", seeds, R2=read["NNLS"][name]))
    for name in ("Gaussian", "one at a time", "learned"):
        for half_name, part in (("half", slice(half)), ("other half", slice(half, 2 * half))):
            rows.append(arm(f"{name}, {half_name}", seeds[:half], R2=r2[name][part], faces=read["faces"][name][part]))
    return arms(*rows)


def faces(share: dict[str, np.ndarray], config: Config, seeds: range, lab: Lab) -> pd.DataFrame:
    """Share of pairs that are faces of each code."""
    curve, rng = measure.moment_curve(config.n, config.m), lab.rng("noisy moment curve")
    noisy = [measure.neighbourliness(curve * (1 + 0.01 * rng.standard_normal(curve.shape))) for _ in seeds]
    return arms(
        arm("learned", seeds, faces=share["learned"]),
        arm("Gaussian", seeds, faces=share["Gaussian"]),
        arm("noisy moment curve", seeds, faces=noisy),
    )


def marginals(models, x: np.ndarray, one: np.ndarray, seeds: range) -> pd.DataFrame:
    """R² at equal marginals, each model on the inputs it was trained on; and single-feature models on pairs."""

    def r2(law: str, inputs: np.ndarray) -> list[float]:
        return [explained(tied(W, b, inputs), inputs) for W, b in zip(*models[law], strict=True)]

    rows = [arm(law.replace("room-", "room, "), seeds, R2=r2(law, one if law.endswith("apart") else x))
            for law in ("together", "apart", "room-together", "room-apart")]  # fmt: skip
    return arms(*rows, arm("apart, two on", seeds, R2=r2("apart", x)))


def sparse_coding(codes: dict[str, np.ndarray], few: np.ndarray) -> pd.DataFrame:
    """R² when a code is read by more and more steps of sparse coding."""
    steps = [1, 4, 16, 64, 256, 1024, 4096]
    return pd.DataFrame(
        [
            {"steps": t, "R²": np.mean(found), "low": min(found), "high": max(found), "code": name}
            for name in ("moment curve", "learned", "tied ReLU")
            for t in steps
            for found in [
                [explained(ista(W, few @ W.T, 1e-3, t), few) for W in codes[name][: 1 if name == "moment curve" else 4]]
            ]
        ]
    )


def summarise(config: Config, read: dict[str, dict[str, np.ndarray]], mixed: pd.DataFrame) -> str:
    """All means in a few sentences: numbers."""
    r2, face = read["decoder"], read["faces"]
    ladder = ", ".join(
        f"{name} {r2[key].mean():.2f}"
        for name, key in (
            ("tied ReLU", "tied ReLU"), ("untied", "untied ReLU"), ("one hidden layer", "one hidden layer"),
            ("three", "learned"), ("three on the moment curve", "moment curve"), ("three on a Gaussian code", "Gaussian"),
        )
    )  # fmt: skip
    own = mixed[mixed.arm == "learned"].mean(numeric_only=True)
    return (
        f"Two of {config.n} features on, {config.m} dimensions. R² on pairs: {ladder}. Ceilings of the learned code: NNLS "
        f"{read['NNLS']['learned'].mean():.2f}, search over pairs {read['search']['learned'].mean():.2f}. Faces among pairs: "
        f"learned {face['learned'].mean():.0%}, Gaussian {face['Gaussian'].mean():.0%}, moment curve "
        f"{face['moment curve'].mean():.0%}. To three features at once the network's answers have R² {own['as search']:.2f} by "
        f"those of a search for two, {own['as NNLS']:.2f} by NNLS, {own['as truth']:.2f} by the truth; on singles it has "
        f"{own['R2 on singles']:.2f}."
    )


def by_cosine(config: Config, mlp_error: np.ndarray, model, codes, x: np.ndarray, bins: int = 6) -> pd.DataFrame:
    """Mean squared error of a pair by the cosine of its two directions, for the tied ReLU and the MLP with its own code."""
    first, second = np.triu_indices(config.n, 1)

    def cosine(W: np.ndarray) -> np.ndarray:
        unit = W / np.maximum(np.linalg.norm(W, axis=0), 1e-9)
        return (unit.T @ unit)[first, second]

    tied_error = [((tied(W, b, x) - x) ** 2).sum(-1).mean(-1) for W, b in zip(*model, strict=True)]
    edges = np.linspace(-1, 1, bins + 1)
    rows = []
    for name, stack, found in (("tied ReLU", codes["tied ReLU"], tied_error), ("MLP", codes["learned"], mlp_error)):
        cos, error = np.concatenate([cosine(W) for W in stack]), np.concatenate(list(found))
        for low, high in itertools.pairwise(edges):
            inside = (cos >= low) & (cos < high + 1e-9)
            if inside.sum() >= 5:
                values = error[inside]
                rows.append({"cosine": (low + high) / 2, "error": values.mean(), "low": np.quantile(values, 0.25),
                             "high": np.quantile(values, 0.75), "pairs": int(inside.sum()), "decoder": name})  # fmt: skip
    return pd.DataFrame(rows)


def draw(sacrificed: pd.DataFrame, iterated: pd.DataFrame) -> list[Figure]:
    """Which pairs are sacrificed; how many sparse-coding steps each code takes."""
    return [
        Figure(
            "sacrificed",
            plots.lines_with_band(
                sacrificed, "cosine", "error", "decoder", "low", "high", roles={"tied ReLU": "control", "MLP": "treatment"},
                x_title="cosine of the two directions", y_title="squared error of the pair",
            ),
            "Squared error of a pair by the cosine of its two directions: mean and quartiles over pairs of all "
            "seeds. The pairs with the largest error are the ones a decoder sacrifices.",
        ),
        Figure(
            "iterations",
            plots.lines_with_band(
                iterated, "steps", "R²", "code", "low", "high", log_x=True, x_title="sparse-coding steps (FISTA)",
            ),
            "R² on pairs when each code is read by sparse coding with positivity and a small price on the sum (mean and "
            "range of four seeds; the moment curve is one code). One step "
            "is one tied ReLU layer; where pairs are faces of the code, more steps can finish the job.",
        ),
    ]  # fmt: skip
