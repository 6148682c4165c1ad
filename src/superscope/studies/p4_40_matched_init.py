"""4.40: do a SoLU and a GELU model that start from the same tensors and see the same batches grow the same neurons?

Set-up. Pearson correlation over tokens between neurons of two models, in float64. *Namesakes*: neuron i with neuron i, which
only a shared start can explain; the mean correlation with the other neurons is taken off. *Best match*: with the most similar
neuron anywhere, less the same search in random bases (Gurnee et al. 2024, arXiv 2401.12181). Above .5 they are the same neuron.
All is measured after and before the nonlinearity: activations of two functions differ even where their inputs agree.

References: the initial weights (what the functions alone do), a milder change of function (ReLU), another order of batches (the
ceiling), each model against its own start, and the pair with two layers. Then how namesakes differ: how sparsely they fire,
which tokens they read and which they promote. Planted: 100 of 512 namesakes kept with noise, the rest of another seed.

Prior numbers: 1-5 % of neurons have excess best-match correlation above .5 across seeds of GPT-2 and Pythia.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import retractions
from superscope.evidence.wording import answer, percent, span
from superscope.lab import Lab
from superscope.lms.corpus.splits import Rows
from superscope.lms.model import activations
from superscope.lms.model.consumers import Correlation, Moments
from superscope.lms.model.language_model import LanguageModel
from superscope.measure.activations import matching
from superscope.studies import language

PROBLEM = "4.40"
TITLE = "The same start, another activation: the same neurons?"
QUESTION = "Do a SoLU and a GELU model with the same initial tensors and the same batches end up with the same neurons?"
ASSUMPTIONS = [
    "Two neurons are the same when their activations correlate over text.",
    "SoLU neurons are read before the LayerNorm that follows them.",
    "An excess correlation above 0.5 makes a pair the same neuron, as in Universal Neurons.",
    "What a neuron reads and promotes is its direct path: token embedding in, logits out.",
]
DISANALOGIES = [
    "512 neurons, 262 million tokens: a short training keeps more of its start than a long one would.",
    "One layer: in deeper models early differences compound. The pair with two layers has one seed, and its models did not see "
    "the same batches throughout (curricula of 834 and of 650 steps).",
    "The model with another order of batches, the ceiling, has one seed: it is shown and decides nothing.",
]
TIPS = ["Compare with the start and with another order of batches: neither is 100 %", "Measure before the nonlinearity, too"]

MATCHED, NEITHER, AGAIN = "same start, other function", "other start, other function", "a second other start"
MILD, MILD_NEITHER = "same start, ReLU", "other start, ReLU"
SEEDS, REORDERED, BEGINNING = "other start, same function", "same start and function, other batches", "initial weights"
KEPT_ONE, KEPT_OTHER = "first model and its start", "second model and its start"
PLANTED, FEW, NONE, DRIFTED = "a fifth kept", "a fortieth kept", "none kept", "all kept with noise"
ORDER = "a fifth kept, out of order"
ONE, OTHER, SHARP = "first model", "second model", "first model, thresholds raised"
ONE_START, OTHER_START = "first model at the start", "second model at the start"
SEARCHED = (MATCHED, NEITHER, AGAIN, SEEDS, REORDERED, PLANTED, NONE)  # where the best match is asked for
NOISE = (0.1, 0.3, 0.5, 0.7)  # of planted copies, over the length of the weights
RETRACTED = [
    ("totally-different", "undecided (.037 to .051 against .05)",
     "a random number, the correlation with a random direction, was taken off each pair, which blurs the share above .5; its "
     "control was a model with itself, which is always 1"),
    ("start-matters", "undecided (-.001 to .021 against .01)", "its control was centred on its own mean and could not pass"),
    ("keeps-index", "supported", "stands; its control had another function on both sides, and nothing was planted"),
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Which two activations, and how much text."""

    model: str = "gelu-1l-mini"  # a bundled model; its twins of other seeds are the replicates
    second: str = "solu_ln-1l-mini"  # its partner with another activation, seed by seed
    mild: str = "relu-1l-mini"  # a partner with a milder change
    deeper: tuple[str, str] = ("gelu-2l-mini", "solu_ln-2l-mini")  # a pair with more layers, for the seeds that have one
    rows: int = 24  # rows of 256 tokens
    rotations: int = 2  # random bases for the baseline of the search
    published: tuple[str, ...] = ()  # two published models for the third rung, such as "gelu-1l" "solu-1l"


_PUBLISHED = ("gelu-1l", "solu-1l")  # gelu-1l's config names a fixed initialisation, so the pair may share its start
PRESETS = {
    "quick": Config(),
    "standard": Config(rows=300, rotations=3, published=_PUBLISHED),
    "full": Config(rows=4000, rotations=10, published=_PUBLISHED),
}

GATE = [
    Check("the two models are about as good: losses within .1 nats", "loss gap", "<= 0.1", MATCHED, unit="models"),
    Check("over 90 % of the neurons vary in both", "alive", "> 0.9", MATCHED, unit="models"),
    Check(
        "about 100 planted of 512 are found: share found over share planted",
        "found",
        "within [0.9, 1.1]",
        PLANTED,
        unit="models",
    ),
    Check("planted and out of order, none is", "same", "<= 0.01", ORDER, unit="models"),
]
_FOREIGN = "Null: a partner from another start, for which an index means nothing. "
_COPIES = "Plant: 90 to 110 of 512 neurons kept with noise of 10 to 70 % of their weights, the others from another seed."
_NOT = "Null: 90 to 110 of 512 are the same by construction, with noise of 10 to 70 %. Plant: 8 to 16 are."
EXPECTED = [
    Expect("keeps-index", "Neurons of the same index correlate across activations: mean excess above 0.05",
           "namesake", "> 0.05", of=MATCHED, null=NEITHER, plant=PLANTED, unit="models", why=_FOREIGN + _COPIES),
    Expect("totally-different", "Yet under 5 % of the neurons are the same one (excess with their namesake above 0.5)",
           "same", "< 0.05", of=MATCHED, null=PLANTED, plant=FEW, unit="models", why=_NOT,
           note="The guess of the question (totally different), made exact with the criterion of Universal Neurons."),
    Expect("different-before", "Before the nonlinearity, too, under 5 % of the neurons are the same one",
           "same before", "< 0.05", of=MATCHED, null=PLANTED, plant=FEW, unit="models", why=_NOT,
           note="The second instrument: functions that differ make activations differ where their inputs agree."),
    Expect("namesake-is-best", "For at least 5 % of the neurons the best match anywhere is the one of the same index",
           "namesake is best", ">= 0.05", of=MATCHED, null=NEITHER, plant=PLANTED, unit="models", why=_FOREIGN + _COPIES,
           note="Chance: 0.2 %."),
    Expect("start-matters", "With a shared start the best match anywhere is closer too: mean excess higher by more than 0.01",
           "best", "> 0.01", of=f"{MATCHED} - {NEITHER}", null=f"{AGAIN} - {NEITHER}", plant=f"{PLANTED} - {NONE}",
           unit="models", why=f"Null: two partners from other starts. {_COPIES} It is compared with none kept.",
           note="How much partners from other starts differ among themselves is the null."),
    Expect("function-matters", "ReLU in place of GELU keeps more than SoLU: mean excess of namesakes higher by 0.1 or more",
           "namesake", ">= 0.1", of=f"{MILD} - {MATCHED}", null=f"{MILD_NEITHER} - {NEITHER}", plant=f"{DRIFTED} - {PLANTED}",
           unit="models", why="Null: the same two functions from another start. Plant: all neurons kept, less a fifth kept."),
    Expect("sparser", "SoLU neurons fire more sparsely: median peakedness at least 1.5 times that of GELU neurons",
           "peakedness", ">= 1.5", of=f"{OTHER} / {ONE}", null=f"{OTHER_START} / {ONE_START}", plant=f"{SHARP} / {ONE}",
           unit="models", why="Null: initial weights, where only the functions differ. Plant: GELU neurons with thresholds "
           "raised by .1 to .7 standard deviations.",
           note="Peakedness: E r^2 / (E r)^2 of the positive part r. Kurtosis, the first choice, fell in the plant."),
    Expect("heavier-tails", "SoLU neurons fire with heavier tails: median kurtosis of the positive part at least 1.5 times",
           "tails", ">= 1.5", of=f"{OTHER} / {ONE}", null=f"{OTHER_START} / {ONE_START}", plant=f"{SHARP} / {ONE}",
           unit="models", why="Null: initial weights, where only the functions differ. Plant: thresholds raised, as above.",
           note="A second instrument for sparseness, added after the first one's number was known."),
    Expect("reads", "Namesakes read the same tokens: mean excess correlation of what embeddings do to them at least 0.5",
           "reads", ">= 0.5", of=MATCHED, null=NEITHER, plant=DRIFTED, unit="models",
           why=_FOREIGN + "Plant: all kept with noise of 10 to 70 %."),
    Expect("promotes", "Namesakes promote the same tokens: mean excess correlation of what they add to logits at least 0.5",
           "promotes", ">= 0.5", of=MATCHED, null=NEITHER, plant=DRIFTED, unit="models",
           why=_FOREIGN + "Plant: all kept with noise of 10 to 70 %."),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    published = config.published[0] if language.published_names(config.published, lab) else ""
    table = lab.models(config.model, examine, config, published)
    passed = gate(table, GATE)

    def share(arm: str, column: str = "same") -> pd.Series:
        return table.loc[table.arm == arm, column].dropna()

    def shown(arm: str) -> str:
        values = [100 * share(arm, column) for column in ("same", "same before")]
        return " and ".join(span(one.min(), one.max()) for one in values) if len(values[0]) else "not measured"

    deeper = sorted(arm for arm in table.arm.unique() if str(arm).startswith("layer "))
    references = [BEGINNING, KEPT_ONE, KEPT_OTHER, MILD, REORDERED, SEEDS, *deeper]
    summary = "Same neurons by index in %, after and before the nonlinearity. " + "; ".join(
        f"{arm}: {shown(arm)}" for arm in (MATCHED, *references)
    )
    return Findings(
        passed,
        judge(table, EXPECTED, passed),
        figures(table),
        {"arms": table.drop(columns=["excess", "excess before"]), "retractions": retractions(RETRACTED)},
        f"{summary}.",
        in_short(share(MATCHED), share(REORDERED)),
    )


def in_short(same: pd.Series, ceiling: pd.Series) -> str:
    """The sentence the page opens with."""
    here = "Another activation function leaves {same} of the neurons the same ones"
    if ceiling.empty:
        return answer(f"{here}.", same=percent(same.mean()))
    more = "; another order of batches leaves {ceiling}."
    return answer(here + more, same=percent(same.mean()), ceiling=percent(ceiling.mean()))


def partners(model: LanguageModel, config: Config) -> dict[str, str]:
    """Names of the models of the same seed and of the next two seeds: "second", "mild", "second 1", "own 1", ..."""
    first = lms.replicates(config.model)[0]
    tails = [name.removeprefix(first) for name in lms.replicates(first)]
    if len(tails) < 3:
        raise lms.ModelError(f"{config.model} has {len(tails)} trained seeds: this study compares starts and needs 3")
    here = tails.index(model.name.removeprefix(first))
    out = {}
    for kind, base in (("own", first), ("second", lms.replicates(config.second)[0]), ("mild", lms.replicates(config.mild)[0])):
        for turn in range(3):
            out[f"{kind} {turn}"] = base + tails[(here + turn) % len(tails)]
    return out


def examine(model: LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model. Everything is loaded here, so that the unit knows the weights of all."""
    rows = lms.corpus.sample(model.tokenizer).rows(model.n_ctx, limit=config.rows, seed=lab.seed)
    if model.origin == "published":
        yield from compare([(MATCHED, model, lms.load(config.published[1]), 0)], rows, config, lab)
        return
    names = partners(model, config)
    second, mild, own = lms.load(names["second 0"]), lms.load(names["mild 0"]), lms.load(names["own 1"])
    start, second_start = model.control("init"), second.control("init")
    pairs = [
        (MATCHED, model, second, 0), (NEITHER, model, lms.load(names["second 1"]), 0),
        (AGAIN, model, lms.load(names["second 2"]), 0), (MILD, model, mild, 0),
        (MILD_NEITHER, model, lms.load(names["mild 1"]), 0), (SEEDS, model, own, 0), (BEGINNING, start, second_start, 0),
        (KEPT_ONE, model, start, 0), (KEPT_OTHER, second, second_start, 0), *planted(model, own, lab),
    ]  # fmt: skip
    copies = next(int(other.card["copies"]) for arm, _, other, _ in pairs if arm == PLANTED)
    if (reordered := f"{names['own 0']}-reordered") in lms.bundled():
        pairs.append((REORDERED, model, lms.load(reordered), 0))
    gap = abs(model.card["loss"]["sample"]["all"] - second.card["loss"]["sample"]["all"])
    for row in compare(pairs, rows, config, lab):
        if row["arm"] == PLANTED:
            row["found"] = row["same"] * model.d_mlp / copies
        yield {**row, "loss gap": gap} if row["arm"] == MATCHED else row
    tail = model.name.removeprefix(lms.replicates(config.model)[0])
    if all(name + tail in lms.bundled() for name in config.deeper):
        a, b = (lms.load(name + tail) for name in config.deeper)
        deeper = [(f"layer {layer} of {a.n_layers}, same start", a, b, layer) for layer in range(a.n_layers)]
        yield from compare(deeper, rows, config, lab)
    yield from firing(model, second, start, second_start, rows)


def planted(model: LanguageModel, foreign: LanguageModel, lab: Lab) -> Iterator[tuple[str, LanguageModel, LanguageModel, int]]:
    """Pairs of the model with one that has kept some of its neurons, at several strengths of noise."""
    rng, d = lab.rng(f"4.40 {model.name}"), model.d_mlp
    fifth, fortieth = int(rng.integers(90 * d // 512, 111 * d // 512)), int(rng.integers(8 * d // 512, 17 * d // 512))
    kept: list[tuple[str, int, tuple[float, ...]]]
    kept = [(PLANTED, fifth, NOISE), (FEW, fortieth, NOISE), (NONE, 0, NOISE), (DRIFTED, d, NOISE)]
    for arm, count, noise in [*kept, *((f"all kept, noise {one:g}", d, (one,)) for one in (1.0, 2.0, 4.0))]:
        which = rng.choice(d, count, replace=False)
        made = matching.with_copies(model, foreign, which, np.resize(noise, count), lab.seed)
        yield arm, model, made, 0
        if arm == PLANTED:
            yield ORDER, model, matching.out_of_order(made, lab.seed), 0


def compare(
    pairs: list[tuple[str, LanguageModel, LanguageModel, int]], rows: Rows, config: Config, lab: Lab
) -> Iterator[dict[str, Any]]:
    """One row per (arm, model, model, layer); one pass over the text feeds them all."""
    units: dict[str, activations.Units] = {}
    consumers: dict[str, Correlation] = {}
    for place, (arm, a, b, layer) in enumerate(pairs):
        for kind, of in (("", activations.neurons), (" before", matching.before)):
            names = [f"{id(model)} {layer}{kind}" for model in (a, b)]
            units |= {name: of(model, layer) for name, model in zip(names, (a, b), strict=True)}
            consumers[f"{place}{kind}"] = Correlation(*names)
        for turn in range(config.rotations) if arm in SEARCHED else ():
            units[f"{id(b)} {layer} {turn}"] = activations.neurons(b, layer).rotated(lab.seed * 100 + turn)
            consumers[f"{place} {turn}"] = Correlation(f"{id(a)} {layer}", f"{id(b)} {layer} {turn}")
    with lab.bar(len(rows), "correlations") as advance:
        found = activations.scan(pairs[0][1], rows, units, consumers, progress=advance)
    weights: dict[str, np.ndarray] = {}
    for place, (arm, a, b, layer) in enumerate(pairs):
        row: dict[str, Any] = {"arm": arm, "pair": f"{a.name}, {b.name}", "layer": layer}
        row["alive"] = float(np.isfinite(np.diagonal(found[f"{place}"])).mean())
        for kind in ("", " before"):
            matrix = found[f"{place}{kind}"]
            excess = matching.namesakes(matrix)
            row |= {f"namesake{kind}": float(excess.mean()), f"same{kind}": float((excess > matching.SAME).mean()),
                    f"namesake is best{kind}": matching.namesake_is_best(matrix), f"excess{kind}": excess.tolist()}  # fmt: skip
        if arm in SEARCHED:
            best = matching.best_matches(found[f"{place}"], [found[f"{place} {turn}"] for turn in range(config.rotations)])
            row |= {"best": float(best.mean()), "same by best match": float((best > matching.SAME).mean())}
        for name, look in (("reads", matching.reads), ("promotes", matching.promotes)):
            if (key := f"{id(a)} {layer} {name}") not in weights:
                weights[key] = look(a, layer)
            row[name] = float(matching.row_namesakes(weights[key], look(b, layer)).mean())
        yield row


def firing(
    one: LanguageModel, other: LanguageModel, one_start: LanguageModel, other_start: LanguageModel, rows: Rows
) -> Iterator[dict[str, Any]]:
    """How sparsely the neurons of each model fire, and about how few tokens they are."""
    spread = np.sqrt(activations.scan(one, rows, matching.before(one), {"m": Moments()})["m"].variance)
    raised = matching.sharpened(one, spread * np.resize((0.1, 0.3, 0.5, 0.7), len(spread)))
    for arm, model in ((ONE, one), (OTHER, other), (ONE_START, one_start), (OTHER_START, other_start), (SHARP, raised)):
        units = {"": activations.neurons(model), " before": matching.before(model), "firing": matching.firing(model)}
        found = activations.scan(model, rows, units, {name: Moments(of=name) for name in units})
        yield {
            "arm": arm, "pair": model.name, "peakedness": float(np.nanmedian(matching.peakedness(found["firing"]))),
            "tails": float(np.nanmedian(found["firing"].kurtosis)) + 3,
            "fires on": float(found["firing"].density.mean()), "reads few": matching.concentration(matching.reads(model)),
            "promotes few": matching.concentration(matching.promotes(model)),
            **{f"kurtosis{kind}": float(np.nanmedian(found[kind].kurtosis)) for kind in ("", " before")},
        }  # fmt: skip


def figures(table: pd.DataFrame) -> list[Figure]:
    """How alike namesakes are, and how they differ."""
    out = []
    for column, title in (("excess", "after"), ("excess before", "before")):
        curve = plots.figure()
        roles = {MATCHED: "treatment", NEITHER: "control", PLANTED: "plant", BEGINNING: "theory"}
        for place, arm in enumerate((MATCHED, NEITHER, BEGINNING, PLANTED, MILD, REORDERED)):
            parts = table.loc[table.arm == arm, column]
            if not len(parts):
                continue
            values = np.sort(np.concatenate([np.asarray(part) for part in parts]))
            colour = plots.ROLES[roles[arm]] if arm in roles else plots.PALETTE[place]
            curve.add_scatter(x=values, y=np.linspace(0, 1, len(values)), mode="lines", name=arm, line={"color": colour})
        curve.add_vline(x=matching.SAME, line={"color": plots.ROLES["rule"], "dash": "dot"})
        curve.update_xaxes(title_text=f"excess correlation of namesakes {title} the nonlinearity")
        curve.update_yaxes(title_text="share of neurons below")
        out.append(Figure(f"namesakes-{title}", curve, "All models of an arm together. Dotted: the same neuron from there on."))
    bars = plots.figure(barmode="group")
    for arm, role in ((MATCHED, "treatment"), (NEITHER, "control"), (DRIFTED, "plant"), (BEGINNING, "theory")):
        part = table[table.arm == arm]
        measured = ["namesake", "namesake before", "reads", "promotes"]
        bars.add_bar(x=measured, y=[float(part[one].mean()) for one in measured], name=arm, marker={"color": plots.ROLES[role]})
    bars.update_yaxes(title_text="mean excess correlation of namesakes")
    out.append(
        Figure("how", bars, "What namesakes still share: firing, its input, the tokens they read and those they promote.")
    )
    return out
