"""4.29: when a polysemantic neuron of a one-layer model fires, what keeps the wrong one of its meanings out of the prediction?

Neurons are chosen on one half of the documents, by a rule stated beforehand: two senses or more over the whole range of
activation (`senses`, defaults) of which two are neither the same words nor the same meaning, that is, share less than half of
what two random halves of one sense share of the current token's forms, and of the next token. A sense's tokens follow it three
times as often as chance, and the other not; only those count that the neuron writes up. All effects are measured on the
other half of the documents, in contexts drawn evenly over the range in which the neuron fires.

Who does it: (1) the log probability of the wrong sense's tokens, less than where they are right, as an exact sum over the
neuron, the other neurons, attention, the direct path, biases, the LayerNorm's scale and the softmax; (2) the same with the
other neurons' values exchanged between the senses' contexts; (3) the five neurons that oppose the wrong tokens most, set to
their means, against as many of the same norm and activity; (4) the same against the five strongest opposers in another seed,
which does not have the neuron, and how much likelier than there the wrong tokens are: does anything answer the neuron's
push; (5) how large that push is; (6) whether the neuron speaks in ranges, so that loudness tells its senses apart (Haider et
al. 2025), and what ablating one range spares the other sense. Truth: neurons planted with opposers and without.

Prior numbers: conditional ranges overlap little in larger models (Haider et al.); in a one-layer model logits are linear in
neurons, so that other neurons and the softmax are all there is (Bricken et al. 2023). The toy answer: in the absolute value
model a neuron of several features writes too much and an inhibiting neuron takes it back (4.2: asymmetric superposition with
inhibition, no more frequent than 1.5 times chance), so opposers that answer the neuron are the prediction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.wording import answer, said, span
from superscope.lab import Lab
from superscope.lms.reading import senses
from superscope.lms.reading.polysemous import (
    SAME,
    Case,
    Half,
    choose,
    concept_pairs,
    counted,
    distinct,
    drawn_evenly,
    follow,
    half,
    texts,
)
from superscope.measure.activations import disambiguation as telling
from superscope.measure.activations.disambiguation import Site

PROBLEM = "4.29"
TITLE = "Disambiguating a polysemantic neuron, one layer"
QUESTION = (
    "When a polysemantic neuron of a one-layer model fires, what keeps the wrong one of its meanings out of the prediction?"
)
ASSUMPTIONS = [
    "A sense is a concept from a list: words, pairs of words, classes of characters, generated segments.",
    "What a sense means for the prediction is what follows it in text.",
    "Neurons are those of the last layer, where the logits are a sum; parts before it are held still.",
    "Logits are taken less their mean over the vocabulary; what moves all of them is nobody's.",
]
DISANALOGIES = [
    "A toy's neuron writes features; here it writes tokens, of which those of both senses may be wrong for other reasons.",
    "Opposers of a wrong token exist whether or not a neuron pushes it: a good model suppresses all that does not follow.",
    "Senses that are generated text (hexadecimal digits, base64) are commoner here than in other corpora, and several neurons "
    "have the same two.",
]
TIPS = ["Two senses that are forms of one word are no polysemy: compare words and what follows",
        "Choose opposers on some documents and ablate them on others"]  # fmt: skip

TRAINED, OPPOSED, ALONE, WEAK = "trained", "planted with opposers", "planted alone", "planted at a tenth"
LOUD, LOUD_ALONE = "planted loud with opposers", "planted loud alone"
RANDOM, HALVED, LABELS = "neurons alike", "one sense halved", "permuted labels"
EXCHANGED, WITHIN, RANGED = "other neurons exchanged", "exchanged within a sense", "planted in two ranges"
CONTROLS = {"init": "initial weights", "shuffled": "shuffled weights"}
STEPS = (1, 5, 20)  # opposers ablated, for the figure
PUSH, LOUDER = 1.0, 4.0  # nats by which a planted neuron raises the wrong tokens, and how many times as much where it is loud
MEASURED = ("rise", "rise again", "raised", "answered", "left", "overlap", "overlap permuted", "spared", "spared permuted",
            "others", "others exchanged", "lost", "lost within", "push", "residue")  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "gelu-1l-mini"  # bundled model; its twins of other seeds are the replicates
    rows: int = 360  # rows of text in the half of the documents on which all is chosen
    tried: int = 180  # and in the half on which all is measured
    contexts: int = 50  # tokens of a sense on which effects are measured
    count: int = 5  # opposers ablated
    draws: int = 2  # sets of neurons alike
    rivals: int = 1  # other trained seeds, which do not have the neuron
    control_rows: int = 60  # of untrained models, in each half
    planted: int = 6  # neurons with planted senses


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=600, tried=400, contexts=120, draws=10, rivals=2, control_rows=200, planted=10),
    "full": Config(rows=1200, tried=900, contexts=300, draws=50, rivals=2, control_rows=600, planted=12),
}
GATE = [
    Check("Ten neurons or more have two senses of different words and different meaning", "neurons", ">= 10", TRAINED,
          unit="models"),
    Check("of the planted neurons seven tenths have two senses by the same rule", "found", ">= 0.7", OPPOSED, unit="models"),
    Check("the parts add up to the log probability within 1e-4", "residue", "<= 1e-4", TRAINED, unit="models"),
    Check("and so they do where neurons were planted", "residue", "<= 1e-4", OPPOSED, unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "distinct", "Half of the neurons with two senses have two that differ in words and in meaning",
        "distinct", ">= 0.5", of=TRAINED, null=HALVED, plant=OPPOSED, unit="models",
        why="Null: one sense's tokens split at random into two. Plant: neurons that read two concepts, at 1 and .7.",
        constant="Halves of one sense share what they share but for chance.",
    ),
    Expect(
        "opposers", "Without its five strongest opposers the wrong sense's tokens rise twice as much as without five alike",
        "rise", ">= 2", of=TRAINED, null=ALONE, plant=OPPOSED, unit="models",
        why="Null: neurons planted in this model, which was not trained to oppose them: any wrong token has neurons that lower "
        "it. Plant: for each sense two opposers, at 1 and .6.",
        note="Rise of the mean log probability over the mean size of the change without neurons alike; opposers are chosen on "
        "other documents. Neurons alike in norm and activity rise by nothing (table).",
    ),
    Expect(
        "answered", "Opposers answer the neuron: five take back half of its push or more, beyond what five do in another seed",
        "answered", ">= 0.5", of=TRAINED, null=ALONE, plant=OPPOSED, unit="models",
        why="Null: neurons planted in this model, which was not trained to oppose them. Plant: each push taken back by two "
        "neurons.",
        note="Rise without the five strongest opposers, less the same in another trained seed, for the same tokens in the same "
        "contexts, over the push. Written after a first look, in place of a comparison with other token sets: the senses of a "
        "neuron are akin, and those sets are not.",
    ),
    Expect(
        "left", "Half of the push or less is left: the wrong tokens are hardly likelier than in a seed without the neuron",
        "left", "<= 0.5", of=TRAINED, null=ALONE, plant=OPPOSED, unit="models", why="As above.",
        note="Log probability less that in another trained seed, of the wrong sense's tokens less all other wrong ones, over "
        "the neuron's push on them: whoever takes it back. Added with the claim before.",
    ),
    Expect(
        "ranges", "The neuron speaks in ranges: activations in both senses overlap at most half as much as permuted ones",
        "overlap", "<= 0.5", of=TRAINED, null=LABELS, plant=RANGED, unit="models",
        why="Null: labels permuted. Plant: the same tokens, loud at 1 +- .15 in one sense and at .4 +- .12 in the other.",
        note="Tokens on which the neuron is above its mean, as many of either sense.",
    ),
    Expect(
        "spared", "Ablating a neuron in one sense's range does at most half the harm to the other that ablating it whole does",
        "spared", "<= 0.5", of=TRAINED, null=LABELS, plant=RANGED, unit="models",
        why="Null: ranges of permuted labels. Plant: as above.",
        note="Per effect on the target (KL divergence); ranges are 2.5 standard deviations wide either way, as in NeuronLens, "
        "and fitted on other documents.",
    ),
    Expect(
        "neurons", "Other neurons make half or more of the gap between the wrong and the right context",
        "others", ">= 0.5", of=TRAINED, null=EXCHANGED, plant=LOUD, unit="models",
        why="Null: other neurons' values exchanged between both senses' contexts. Plant: opposers that take off 4 nats.",
        note="Of the mean log probability of the wrong sense's tokens, summed over neurons.",
    ),
    Expect(
        "exchange", "and half or more of the gap is lost when their values are exchanged between the senses' contexts",
        "lost", ">= 0.5", of=TRAINED, null=WITHIN, plant=LOUD, unit="models",
        why="Null: values exchanged among contexts of one sense. The second instrument of the claim before.",
    ),
    Expect(
        "small", "The neuron's push on the wrong sense's tokens is at most a fifth of that gap",
        "push", "<= 0.2", of=TRAINED, null=LOUD_ALONE, plant=WEAK, unit="models",
        why="Null: planted neurons that push by 4 nats, without opposers. Plant: by a tenth of a nat.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models(config.model, examine, config)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    trained = table[table.arm == TRAINED]
    seen = pd.concat([pd.DataFrame(list(row.seen)).assign(model=row.model) for row in trained.itertuples()])
    counts = table[table.arm.isin([TRAINED, *CONTROLS.values()])][["model", "arm", "neurons", "several"]]
    return Findings(
        passed,
        claims,
        figures(table),
        {"arms": table.drop(columns="seen"), "neurons": seen, "fourfold": fourfold(seen), "counts": counts},
        f"Neurons with two distinct senses: {span(trained.neurons.min(), trained.neurons.max())}, of "
        f"{span(trained.kinds.min(), trained.kinds.max())} different pairs of senses. The five strongest opposers "
        f"raise the wrong tokens by {span(trained.raised.min(), trained.raised.max())} nats, other neurons make "
        f"{span(trained.others.min(), trained.others.max())} of the gap.",
        in_short({claim.id: claim.verdict for claim in claims}, trained),
    )


def in_short(verdicts: dict[str, str], trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    if verdicts["opposers"] == "gate failed":
        return "No answer: too few neurons have two distinct senses, or planted ones are not seen."
    both = {verdicts["neurons"], verdicts["exchange"]}
    who = "mostly other neurons" if both == {"supported"} else "not mostly other neurons" if "refuted" in both else "undecided"
    return answer(
        "What tells a neuron's senses apart: {who} ({share} of the gap). Its wrong push, {push} of it, is answered by "
        "opposers: {answered}; loudness tells: {ranges}.",
        who=who, share=float(trained.others.mean()), push=float(trained.push.mean()), answered=said(verdicts["answered"]),
        ranges=said(verdicts["ranges"]),
    )  # fmt: skip


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.29 {model.name}")
    splits, rows, known = texts(model.tokenizer, model.n_ctx, (config.rows, config.tried), lab.seed)

    def read(one: lms.LanguageModel, part: int, most: int | None = None) -> Half[Site]:
        some = replace(rows[part], tokens=rows[part].tokens[:most], place=rows[part].place[:most])
        return half(telling.read(one, some), splits[part], known[part])

    twins = model.twins()[: config.rivals]
    if not twins:
        raise lms.ModelError(f"{model.name}: this study compares with other trained seeds of the same model, and it has none")
    halves = [read(model, 0), read(model, 1)]
    rivals = [[telling.read(twin, some) for some in rows] for twin in twins]
    cases, seen = choose(halves, range(model.d_mlp), rng)
    measured: dict[str, Any] = dict.fromkeys(MEASURED, np.nan)
    if len(cases) > 1:
        measured |= opposition(halves, rivals, cases, config, rng) | division(halves, cases, config, rng)
        overlap, permuted, spared, blind = np.mean([ranges(halves, case, config, rng) for case in cases], axis=0)
        measured |= {"overlap": overlap, "overlap permuted": permuted, "spared": spared, "spared permuted": blind}
    yield {"arm": TRAINED, "neurons": len(cases), "several": len(seen), "kinds": len({frozenset(one.names) for one in cases}),
           "distinct": distinct(seen), **measured,
           "seen": seen.to_dict("records")}  # fmt: skip
    yield {"arm": RANDOM, "rise": measured["rise again"]}
    yield {"arm": LABELS, "overlap": measured["overlap permuted"], "spared": measured["spared permuted"]}
    yield {"arm": EXCHANGED, "others": measured["others exchanged"]}
    yield {"arm": WITHIN, "lost": measured["lost within"]}
    yield {"arm": HALVED, "distinct": float((seen.halved < SAME).mean())}
    yield from plants(halves, rivals, config, rng)
    for kind, arm in CONTROLS.items():
        here = read(model.control(kind), 0, config.control_rows)  # type: ignore[arg-type]
        there, many = choose([here, here], range(model.d_mlp), rng)
        row: dict[str, Any] = {}
        if there:  # as they are few, the other half is read only then
            pair = [here, read(here.site.model, 1, config.control_rows)]
            there, many = choose(pair, range(model.d_mlp), rng)
            row = division(pair, there, config, rng) if there else {}
        yield {"arm": arm, "neurons": len(there), "several": len(many), **row}


def opposition(
    halves: Sequence[Half[Site]],
    rivals: Sequence[Sequence[Site]],
    cases: Sequence[Case],
    config: Config,
    rng: np.random.Generator,
) -> dict[str, float]:
    """What the strongest opposers of the wrong tokens do, and how much of the neuron's push is left, beside other seeds that do
    not have the neuron (`rivals`, on the same text); for either sense as the context, summed over neurons."""
    here, there = halves
    means, every = here.site.values.mean(dim=0), counted(here, np.arange(len(here.following)))
    typical = [one.values.mean(dim=0) for one, _ in rivals]
    rows = []
    for case, right, tokens in ways(here, cases):
        places = [drawn_evenly(half, some[right], case.neuron, config.contexts, rng)
                  for half, some in ((here, case.chosen), (there, case.tried))]  # fmt: skip
        chosen, tried = here.site.at(places[0]), there.site.at(places[1])
        after, before = counted(here, case.chosen[right]), tried.log_p()
        wrong = np.setdiff1d(np.flatnonzero((every >= 5) & (after / after.sum() <= every / every.sum())), tokens)
        order = telling.opposers(chosen, case.neuron, tokens, means, max(STEPS))
        alike = [telling.alike(chosen, order[: config.count], means, case.neuron, rng) for _ in range(config.draws + 1)]
        blind = [telling.rise(tried, tokens, some, means, before) for some in alike]
        left, others = [], []
        for (one, two), at_rest in zip(rivals, typical, strict=True):
            fit, read = one.at(places[0]), two.at(places[1])
            said = read.log_p()
            strong = telling.opposers(fit, None, tokens, at_rest, config.count)
            others.append(telling.rise(read, tokens, strong, at_rest, said))
            more = (before - said).mean(dim=0).numpy()
            left.append(more[tokens].mean() - more[wrong].mean())
        push = [float(telling.contributions(tried, some, means)[case.neuron]) for some in (tokens, wrong)]
        rows.append({
            "opposed": telling.rise(tried, tokens, order[: config.count], means, before), "again": blind[0],
            "alike": float(np.abs(blind[1:]).mean()), "elsewhere": float(np.mean(others)), "left": float(np.mean(left)),
            "push": push[0] - push[1],
            **{f"without {k}": telling.rise(tried, tokens, order[:k], means, before) for k in STEPS},
        })  # fmt: skip
    if not rows:
        return {}
    sums = pd.DataFrame(rows).mean()
    return {
        "rise": sums.opposed / sums.alike, "rise again": sums.again / sums.alike, "raised": sums.opposed,
        "raised alike": sums.alike, "raised elsewhere": sums.elsewhere, "pushed": sums.push, "left": sums.left / sums.push,
        "answered": (sums.opposed - sums.elsewhere) / sums.push, **{f"without {k}": sums[f"without {k}"] for k in STEPS},
    }  # fmt: skip


def division(halves: Sequence[Half[Site]], cases: Sequence[Case], config: Config, rng: np.random.Generator) -> dict[str, float]:
    """Which part makes the gap between the wrong and the right context; summed over neurons and over both senses."""
    here, there = halves
    means, rows = here.site.values.mean(dim=0), []
    for case, right, tokens in ways(here, cases):
        tried, other = (there.site.at(drawn_evenly(there, case.tried[k], case.neuron, config.contexts, rng))
                        for k in (right, 1 - right))  # fmt: skip
        push = float(telling.contributions(tried, tokens, means)[case.neuron])
        rows.append({"push": push, **telling.gap(tried, other, case.neuron, tokens, rng)})
    if not rows:
        return {}
    table = pd.DataFrame(rows)
    sums = table.mean()
    return {
        **{f"by {part}": sums[part] / sums.gap for part in telling.PARTS}, "others": sums[telling.OTHERS] / sums.gap,
        "lost": 1 - sums["gap exchanged"] / sums.gap, "push": sums.push / sums.gap, "gap": sums.gap,
        "residue": table.residue.max(), "directions": len(table), "lost within": 1 - sums["gap within"] / sums.gap,
        "others exchanged": sums["others exchanged"] / sums.gap,
    }  # fmt: skip


def ways(here: Half[Site], cases: Sequence[Case]) -> Iterator[tuple[Case, int, np.ndarray]]:
    """Every neuron with either sense as the context, and the tokens of the other that it raises (three or more)."""
    for case in cases:
        up = telling.raises(here.site, case.neuron)
        for right, tokens in enumerate(reversed(case.tokens)):
            if (up[tokens] > 0).sum() >= 3:
                yield case, right, tokens[up[tokens] > 0]


def ranges(
    halves: Sequence[Half[Site]], case: Case, config: Config, rng: np.random.Generator, ranged: bool = False
) -> tuple[float, float, float, float]:
    """Overlap of both senses' activations over that of permuted labels, the same of another permutation; what ablating a range
    does to the other sense, and the same of ranges of permuted labels. ranged: activations are put into two ranges first."""
    here, there = halves
    loud, heard = ([part.site.values[where, case.neuron].numpy() for where in some] for part, some in
                   ((here, case.chosen), (there, case.tried)))  # fmt: skip
    if ranged:
        unit = max(float(one.std()) for one in loud) * 3
        loud, heard = ([unit * rng.normal(m, s, len(one)) for one, (m, s) in zip(some, ((1, 0.15), (0.4, 0.12)), strict=True)]
                       for some in (loud, heard))  # fmt: skip
    size = min(map(len, heard))
    even = [rng.permutation(one)[:size] for one in heard]

    def mixed(some: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        one, other = np.split(rng.permutation(np.concatenate(some)), [len(some[0])])
        return one, other

    chance = np.mean([senses.overlap(*mixed(even)) for _ in range(10)])
    means, effect, at = here.site.values.mean(dim=0), [], []
    for where, values in zip(case.tried, heard, strict=True):
        some = rng.permutation(len(where))[: config.contexts]
        site = there.site.at(where[some])
        held = site.values.clone()
        held[:, case.neuron] = torch.from_numpy(values[some]).float()
        site = replace(site, values=held)
        before, after = site.log_p(), site.ablated([case.neuron], means).log_p()
        effect.append((before.exp() * (before - after)).sum(dim=1).numpy())
        at.append(values[some])
    return (
        float(senses.overlap(even[0], even[1]) / chance), float(senses.overlap(*mixed(even)) / chance),
        telling.spared(loud, at, effect), telling.spared(mixed(loud), at, effect),
    )  # fmt: skip


def plants(
    halves: Sequence[Half[Site]], rivals: Sequence[Sequence[Site]], config: Config, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Neurons planted with opposers, without, and writing a tenth; and neurons put into two ranges."""
    here = halves[0]
    pairs = concept_pairs(halves, config.planted, rng)
    where = [(here.concepts[one], here.concepts[other]) for one, other in pairs]
    tokens = [follow(here, [np.flatnonzero(one) for one in both]) for both in where]
    made = telling.plant(here.site, where, tokens, PUSH)
    new = [replace(one, site=telling.rerun(one.site, made.model)) for one in halves]
    cases, seen = choose(new, made.neurons, rng)
    blank = dict.fromkeys(MEASURED, np.nan)
    yield {"arm": OPPOSED, "neurons": len(cases), "found": len(seen) / len(made.neurons), "distinct": distinct(seen), **blank,
           **opposition(new, rivals, cases, config, rng), **division(new, cases, config, rng)}  # fmt: skip
    opposing = [one for group in made.opposers for one in group]
    for arm, size, opposed in ((ALONE, 1, 0), (LOUD, LOUDER, LOUDER), (LOUD_ALONE, LOUDER, 0), (WEAK, 0.1, 0)):
        out = new[0].site.out.clone()
        out[made.neurons] *= size
        out[opposing] *= opposed
        changed = [replace(one, site=replace(one.site, out=out)) for one in new]
        yield {"arm": arm, **blank, **division(changed, cases, config, rng),
               **(opposition(changed, rivals, cases, config, rng) if arm == ALONE else {})}  # fmt: skip
    heard = [ranges(new, case, config, rng, ranged=True) for case in cases] or [(np.nan,) * 4]
    overlap, _, spared, _ = np.mean(heard, axis=0)
    yield {"arm": RANGED, "overlap": overlap, "spared": spared}


def fourfold(seen: pd.DataFrame) -> pd.DataFrame:
    """Neurons with two senses, by whether those are the same in words and in meaning."""
    words, meaning = (seen[column] >= SAME for column in ("same words", "same meaning"))
    cells = [(w, m, int(((words == w) & (meaning == m)).sum())) for w in (True, False) for m in (True, False)]
    return pd.DataFrame(cells, columns=["same words", "same meaning", "neurons"])


def figures(table: pd.DataFrame) -> list[Figure]:
    """Who makes the gap, as stacked bars; what ablating opposers does."""
    shown = table[table.arm.isin([TRAINED, OPPOSED, ALONE]) & table.gap.notna()]
    names = [f"{row.model}<br>{row.arm}" for row in shown.itertuples()]
    bars = plots.figure(height=460, barmode="relative", yaxis_title="share of the gap")
    for part in telling.PARTS:
        if shown[f"by {part}"].abs().max() > 0:
            bars.add_bar(x=names, y=list(shown[f"by {part}"]), name=part)
    rises = plots.figure(height=380, xaxis_title="strongest opposers set to their means", yaxis_title="rise, nats")
    for row, name in zip(shown.to_dict("records"), names, strict=True):
        rises.add_scatter(x=list(STEPS), y=[row[f"without {k}"] for k in STEPS], mode="lines+markers", name=name)
    return [
        Figure("gap", bars, "Which part makes the wrong sense's tokens less likely than where they are right."),
        Figure("rise", rises, "Rise of the wrong sense's tokens without the neurons that oppose them most on other documents."),
    ]
