"""Problem 4.16: two features that share dimensions, on at once.

Exactly two of n features are on, values uniform on [0, 1]; the encoder is linear, h = W x with m = 4 rows. That is enough for
any n: with the columns of W on the moment curve every pair is a face of conv(0, W), so that positivity and the least sum tell
it from all others (m = 2k rows for k features, Donoho and Tanner 2005), and almost any W will do for a decoder that knows that
two are on. What breaks is the decoder with one ReLU layer, ReLU(W^T h + b).

Decoders: tied ReLU; an MLP with a linear output, trained together with W, on the fixed moment curve, or on a fixed Gaussian W.
Ceilings on the learned W: NNLS (positivity, least sum) and search over all pairs (exact). Geometry: the share of pairs that
are faces, exact by convex hull. Control for density: with equal marginals (each feature on with chance 1/n) two features on
half of the time against one feature on always. Thresholds from the reference sheet: R^2 > 0.95 for the MLP where the tied ReLU
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
import torch

import superscope as ss
from superscope import measure, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms
from superscope.evidence.wording import answer
from superscope.inputs.features import ExactlyK
from superscope.lab import Lab
from superscope.recover import ista, nnls, subset_search
from superscope.toys.batched import descend
from superscope.toys.deep import forward, initial

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


def pairs_on(n: int, each: int, seed: int) -> np.ndarray:
    """(pairs, each, n): every pair of features on `each` times, values uniform on [0, 1]."""
    members = np.array(list(itertools.combinations(range(n), 2)))
    x = np.zeros((len(members), each, n))
    where = np.arange(len(members))[:, None, None]
    x[where, np.arange(each)[None, :, None], members[:, None, :]] = np.random.default_rng(seed).random((len(members), each, 2))
    return x


def singles_on(n: int, each: int, seed: int) -> np.ndarray:
    """(n, each, n): every feature alone."""
    x = np.zeros((n, each, n))
    x[np.arange(n), :, np.arange(n)] = np.random.default_rng(seed).random((n, each))
    return x


def explained(y: np.ndarray, x: np.ndarray) -> float:
    """R^2 of outputs y over inputs x, both (..., n), all outputs together."""
    flat = x.reshape(-1, x.shape[-1])
    return float(1 - ((y - x) ** 2).sum() / ((flat - flat.mean(0)) ** 2).sum())


def train_mlps(config: Config, seeds: list[int]) -> dict[str, list]:
    """For every code in CODES: {"W": (code, seed, m, n), "error": (code, seed, pairs) squared error of every pair}."""
    n, m, s = config.n, config.m, len(seeds)
    gauss = np.stack([np.random.default_rng([q, 1]).standard_normal((m, n)) / np.sqrt(m) for q in seeds])
    start = np.concatenate([gauss, np.broadcast_to(measure.moment_curve(n, m), (s, m, n)), gauss])
    fixed = torch.tensor(start, dtype=torch.float32)
    free = fixed[:s].clone().requires_grad_()
    params = initial(seeds * len(CODES), 1, (m, *[config.width] * config.layers, n))
    members = np.array(list(itertools.combinations(range(n), 2)))
    rng = np.random.default_rng([seeds[0], 3])

    def error(x: torch.Tensor) -> torch.Tensor:
        """(net, P) squared error summed over outputs."""
        W = torch.cat([free, fixed[s:]])
        return ((forward(params, x @ W.transpose(1, 2)) - x) ** 2).sum(-1)

    def losses(step: int) -> torch.Tensor:
        x = torch.zeros(config.points, n)
        x[torch.arange(config.points)[:, None], torch.from_numpy(members[rng.integers(len(members), size=config.points)])] = (
            torch.from_numpy(rng.random((config.points, 2), dtype=np.float32))
        )
        return error(x).mean(-1)

    descend([free, *params], losses, config.steps, config.lr)
    test = torch.tensor(pairs_on(n, 32, seeds[0]), dtype=torch.float32)
    with torch.no_grad():
        each = torch.stack([error(part).mean(-1) for part in test], dim=-1)
        W = torch.cat([free, fixed[s:]])
    return {"W": W.reshape(len(CODES), s, m, n).tolist(), "error": each.reshape(len(CODES), s, -1).tolist()}


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


def tied(W: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Outputs (..., n) of one tied model."""
    return np.maximum(x @ W.T @ W + b, 0)


def run(config: Config, lab: Lab) -> Findings:
    """Train all decoders, compare each with the ceilings of its own code, look at the codes."""
    seeds = lab.seeds(config.seeds)
    made = lab.unit("mlp", functools.partial(train_mlps, config, list(seeds)))
    codes = dict(zip(CODES, np.array(made["W"]), strict=True))
    errors = dict(zip(CODES, np.array(made["error"]), strict=True))
    models = {law: train_tied(config, lab, seeds, law) for law in ("pairs", "together", "apart", "room-together", "room-apart")}
    codes["tied ReLU"], codes["one at a time"] = models["pairs"][0], models["apart"][0]
    x = pairs_on(config.n, 32, lab.seed)
    few = x[:, :4].reshape(-1, config.n)
    read = {
        "decoder": trained_decoders(errors, models, x),
        "NNLS": {name: np.array([explained(nnls(W, few @ W.T), few) for W in stack]) for name, stack in codes.items()},
        "search": {
            name: np.array([explained(subset_search(W, few @ W.T, 2), few) for W in stack]) for name, stack in codes.items()
        },
        "faces": {name: np.array([measure.neighbourliness(W) for W in stack]) for name, stack in codes.items()},
    }
    table = arms(
        decoders(read, codes["learned"], few, seeds, lab),
        faces(read["faces"], config, seeds, lab),
        marginals(models, x, singles_on(config.n, 256, lab.seed), seeds),
    )
    passed = gate(table, GATE)
    sacrificed = by_cosine(config, errors["learned"], models["pairs"], codes, x)
    iterated = sparse_coding(codes, few)
    means = pd.DataFrame({"code": name, **{what: values[name].mean() for what, values in read.items()}} for name in codes)
    return Findings(
        passed,
        judge(table, EXPECTED, passed),
        draw(sacrificed, iterated),
        {"arms": table, "codes": means, "sacrificed": sacrificed, "iterations": iterated},
        summarise(config, read),
        answer(
            "A small network reads two shared features at once (R² {mlp}) where one ReLU layer cannot ({tied}); {how}.",
            mlp=read["decoder"]["learned"].mean(),
            tied=read["decoder"]["tied ReLU"].mean(),
            how="it uses that few are on" if _beyond(read) else "positivity and the least sum would do as well",
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
    rows = [arm(name, seeds, R2=r2[name], **{"below search": r2[name] - search[name]}) for name in r2]
    rows.append(arm("learned, read by search", seeds, R2=search["learned"]))
    rows.append(arm("search with errors of 2 %", seeds, **{"below search": off - search["learned"]}))
    for name in ("moment curve", "Gaussian"):
        rows.append(arm(f"{name}, read by NNLS", seeds, R2=read["NNLS"][name]))
    for name in ("Gaussian", "one at a time"):
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


def _beyond(read: dict[str, dict[str, np.ndarray]]) -> bool:
    return bool(read["decoder"]["learned"].mean() > read["NNLS"]["learned"].mean())


def summarise(config: Config, read: dict[str, dict[str, np.ndarray]]) -> str:
    """All means in a few sentences."""
    r2, face = read["decoder"], read["faces"]
    meaning = (
        "the network uses more than positivity and the least sum, for instance that few features are on"
        if _beyond(read)
        else "the network reads no more than these give"
    )
    return (
        f"Two of {config.n} features on, {config.m} dimensions. R² on pairs: tied ReLU {r2['tied ReLU'].mean():.2f}, MLP "
        f"with its own code {r2['learned'].mean():.2f}, on the moment curve {r2['moment curve'].mean():.2f}, on a Gaussian "
        f"code {r2['Gaussian'].mean():.2f}. {face['learned'].mean():.0%} of the pairs are faces of the learned code "
        f"(Gaussian {face['Gaussian'].mean():.0%}, moment curve {face['moment curve'].mean():.0%}); positivity and the "
        f"least sum would reach {read['NNLS']['learned'].mean():.2f} on it, search over pairs "
        f"{read['search']['learned'].mean():.2f}: {meaning}."
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
