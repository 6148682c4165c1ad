"""4.40: do a SoLU and a GELU model that start from the same tensors and see the same batches grow the same neurons?

Set-up. Pearson correlation over tokens between every neuron of one model and every neuron of the other,
in float64. Two questions are
kept apart. *Index-matched*: neuron i with neuron i, which only a shared start can explain. *Best match*: neuron i with its most
similar neuron anywhere (Gurnee et al. 2024, arXiv 2401.12181), where a shared start is not needed. From both the same quantity
in a random rotation of the second model's neurons is taken off (excess correlation),
because correlations of a few directions are
cheap. Arms: same start, other activation; same activation,
other seed; other activation and other seed; same start and activation
but other batch order, where such a model is bundled.

Prior numbers: 1-5% of neurons have excess best-match correlation above 0.5 across seeds of GPT-2 and Pythia.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from superscope import lms, plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.lab import Lab
from superscope.lms import load
from superscope.lms.model import activations
from superscope.lms.model.consumers import Correlation
from superscope.lms.model.language_model import LanguageModel
from superscope.studies import language as _language

PROBLEM = "4.40"
TITLE = "The same start, another activation: the same neurons?"
QUESTION = "Do a SoLU and a GELU model with the same initial tensors and the same batches end up with the same neurons?"
ASSUMPTIONS = [
    "Two neurons are the same when their activations correlate over text; what they write is compared by cosine only.",
    "SoLU neurons are read before the LayerNorm that follows them.",
    "An excess correlation above 0.5 makes a pair the same neuron, as in Universal Neurons.",
]
DISANALOGIES = [
    "512 neurons, 262 million tokens: a short training keeps more of its start than a long one would.",
    "One layer: in deeper models early differences compound.",
    "Within a seed the batch order is shared too, so the start alone is separated only by the arm with another batch order.",
]

SAME_START = "same start, other activation"
OTHER_SEED = "same activation, other seed"
NEITHER = "other activation, other seed"
REORDERED = "same start and activation, other batch order"
ITSELF = "the model itself"
SAME = 0.5  # excess correlation of "the same neuron" (Universal Neurons)


@dataclass(frozen=True)
class Config:
    """Which two activations, and how much text."""

    first: str = "gelu-1l-mini"  # a bundled model; its twins of other seeds are the replicates
    second: str = "solu_ln-1l-mini"  # its partner with another activation; or relu-1l-mini, solu-1l-mini
    rows: int = 64  # rows of 256 tokens
    rotations: int = 2  # random bases for the baseline
    published: tuple[str, ...] = ()  # two published models for the third rung, such as "gelu-1l" "solu-1l"


_PUBLISHED = ("gelu-1l", "solu-1l")  # gelu-1l's config names a fixed initialisation, so the pair may share its start
PRESETS = {
    "quick": Config(),
    "standard": Config(rows=300, rotations=3, published=_PUBLISHED),
    "full": Config(rows=4000, rotations=10, published=_PUBLISHED),
}


def arms(config: Config) -> list[tuple[str, str, str]]:
    """(arm, a, b) for every comparison that the bundled models allow."""
    a, b = _language.by_seed(config.first), _language.by_seed(config.second)
    both = sorted(set(a) & set(b))
    out = [(ITSELF, a[min(a)], a[min(a)])]
    out += [(SAME_START, a[seed], b[seed]) for seed in both]
    out += [(OTHER_SEED, a[i], a[j]) for i, j in combinations(sorted(a), 2)]
    out += [(NEITHER, a[i], b[j]) for i in both for j in both if i != j]
    reordered = f"{config.first}-reordered"
    return out + ([(REORDERED, a[min(a)], reordered)] if reordered in lms.bundled() else [])


def compare(wanted: list[tuple[str, str, str]], config: Config, lab: Lab) -> list[dict[str, Any]]:
    """One pass over the text feeds all comparisons (arm, a, b)."""
    models = {name: load(name) for name in {m for _, a, b in wanted for m in (a, b)}}
    some = models[wanted[0][1]]
    rows = _language.sample_for(some).rows(some.n_ctx, limit=config.rows, seed=lab.seed)
    units: dict[str, activations.Units] = {name: activations.neurons(model) for name, model in models.items()}
    consumers: dict[str, Correlation] = {}
    for _, a, b in wanted:
        consumers[f"{a} {b}"] = Correlation(a, b)
        for turn in range(config.rotations):
            units[f"{b} rotated {turn}"] = activations.neurons(models[b]).rotated(lab.seed * 100 + turn)
            consumers[f"{a} {b} {turn}"] = Correlation(a, f"{b} rotated {turn}")
    with lab.bar(len(rows), "correlations") as advance:
        found = activations.scan(some, rows, units, consumers, progress=advance)
    out = []
    for arm, a, b in wanted:
        matrix = np.nan_to_num(found[f"{a} {b}"])  # a neuron that never varies correlates with nothing
        rotated = np.stack([np.nan_to_num(found[f"{a} {b} {turn}"]) for turn in range(config.rotations)])
        index = np.diagonal(matrix) - np.diagonal(rotated, axis1=1, axis2=2).mean(axis=0)
        best = matrix.max(axis=1) - rotated.max(axis=2).mean(axis=0)
        row = {
            "arm": arm, "a": a, "b": b, "index-matched": float(index.mean()), "best match": float(best.mean()),
            "same by index": float((index > SAME).mean()), "same by best match": float((best > SAME).mean()),
            "namesake is best": float((matrix.argmax(axis=1) == np.arange(len(matrix))).mean()),
        }  # fmt: skip
        row |= {"raw index": np.diagonal(matrix), "index": index, "best": best}
        out.append({**row, **weights(models[a], models[b])})
    return out


def weights(a: LanguageModel, b: LanguageModel) -> dict[str, float]:
    """Mean cosine, by index, of what neurons read and write; 1 at a shared start."""

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float(((x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).mean())

    return {
        "cosine of W_in": cosine(a.hooked.W_in[0].numpy().T, b.hooked.W_in[0].numpy().T),
        "cosine of W_out": cosine(a.hooked.W_out[0].numpy(), b.hooked.W_out[0].numpy()),
    }


def run(config: Config, lab: Lab) -> Findings:
    """All arms in one pass; the rules are asked of every pair of models."""
    found = lab.unit(
        f"comparisons-{_language.key(config.first)}-{len(arms(config))}", lambda: compare(arms(config), config, lab)
    )

    def arm(name: str, key: str) -> list[float]:
        return [row[key] for row in found if row["arm"] == name]

    def each(name: str, key: str) -> stats.Estimate:
        values = arm(name, key)
        return stats.estimate(values if values else [np.nan], unit="pairs of models")

    itself = next(row for row in found if row["arm"] == ITSELF)
    living = [x for x in itself["raw index"] if x > 0]
    raw, alive = float(np.min(living)), len(living) / len(itself["raw index"])
    seeds = len(arm(SAME_START, "index-matched"))
    gate = Gate(
        "A model compared with itself correlates 1 with its living namesakes (over 90% of all), and two seeds have both "
        "activations",
        alive > 0.9 and raw > 1 - 1e-9 and seeds > 1,
        {"lowest correlation of a living neuron with itself": raw, "share of neurons that vary": alive, "seeds": float(seeds)},
    )
    # The same two activations on both sides: a SoLU target has lower rotated baselines than a GELU one.
    other = float(np.mean(arm(NEITHER, "best match"))) if seeds > 1 else float("nan")
    extra = [value - other for value in arm(SAME_START, "best match")]
    extra_control = [value - other for value in arm(NEITHER, "best match")]
    claims = [
        stats.claim(
            "keeps-index", "Neurons of the same index correlate across activations: mean excess above 0.05",
            each(SAME_START, "index-matched"), "> 0.05",
            stats.Arm(OTHER_SEED, each(OTHER_SEED, "index-matched"), "no shared start, so an index means nothing"),
            gate.passed,
        ),
        stats.claim(
            "totally-different", "Yet under 5% of the neurons are the same one (excess correlation with their namesake "
            "above 0.5)",
            each(SAME_START, "same by index"), "< 0.05",
            stats.Arm(ITSELF, each(ITSELF, "same by index"), "a model keeps all its neurons"), gate.passed,
            note="The guess of the question (totally different), made exact with the criterion of Universal Neurons.",
        ),
        stats.claim(
            "namesake-is-best", "For at least 5% of the neurons the best match anywhere is the one of the same index "
            "(chance: 0.2%)",
            each(SAME_START, "namesake is best"), ">= 0.05",
            stats.Arm(OTHER_SEED, each(OTHER_SEED, "namesake is best"), "no shared start"), gate.passed,
        ),
        stats.claim(
            "start-matters", "With a shared start the best match anywhere is closer too: mean excess higher by more than 0.01",
            stats.estimate(extra or [np.nan], unit="pairs of models"), "> 0.01",
            stats.Arm(NEITHER, stats.estimate(extra_control or [np.nan], unit="pairs of models"), "another start"),
            gate.passed, note="Before a review this compared with another seed of the first activation: targets, not starts.",
        ),
    ]  # fmt: skip
    if pair := _language.published_names(config.published, lab):
        found += lab.unit("published", lambda: compare([("published", pair[0], pair[1])], config, lab))
    table = pd.DataFrame([{k: v for k, v in row.items() if k not in ("index", "best", "raw index")} for row in found])
    same, unlike = (float(np.mean(arm(name, "index-matched"))) for name in (SAME_START, OTHER_SEED))
    summary = (
        f"{config.first} and {config.second}: neurons of the same index have a mean excess correlation of {same:.3f} "
        f"with a shared start "
        f"and {unlike:.3f} without; {np.mean(arm(SAME_START, 'same by index')):.1%} of them are the same neuron by index, "
        f"{np.mean(arm(SAME_START, 'same by best match')):.1%} by best match, against "
        f"{np.mean(arm(OTHER_SEED, 'same by best match')):.1%} between seeds of one activation."
    )
    return Findings(gate, claims, _figures(found), {"comparisons": table}, summary)


def _figures(found: list[dict[str, Any]]) -> list[Figure]:
    order = [SAME_START, REORDERED, OTHER_SEED, NEITHER]
    out = []
    for key, title in (("index", "index-matched"), ("best", "best-match")):
        table = pd.DataFrame(
            [
                {"arm": arm, "excess correlation": x, "share": (place + 1) / len(values)}
                for arm in order
                if (values := sorted(v for row in found if row["arm"] == arm for v in row[key]))
                for place, x in enumerate(values)
            ]
        )
        curve = plots.lines_with_band(
            table, "excess correlation", "share", "arm", roles={OTHER_SEED: "control"}, x_title=f"{title} excess correlation",
            y_title="share of neurons below",
        )  # fmt: skip
        curve.update_traces(mode="lines")
        out.append(
            Figure(f"{key}-cdf", curve, f"Distribution of {title} excess correlation, all pairs of models of an arm together.")
        )
    scatter = plots.figure()
    for place, arm in enumerate((SAME_START, OTHER_SEED)):
        for row in [r for r in found if r["arm"] == arm][:1]:
            scatter.add_scatter(
                x=row["index"], y=row["best"], mode="markers", name=f"{arm}: {row['a']}, {row['b']}",
                marker={"size": 5, "color": plots.PALETTE[place], "opacity": 0.6},
                text=[f"neuron {i}" for i in range(len(row["index"]))],
            )  # fmt: skip
    scatter.update_xaxes(title_text="index-matched excess correlation")
    scatter.update_yaxes(title_text="best-match excess correlation")
    out.append(Figure("scatter", scatter, "Each dot is a neuron: on the diagonal its best match is its namesake."))
    return out
