"""4.30: in a two-layer model, which later heads and neurons resolve the ambiguity of a polysemantic neuron of the first layer?

Neurons of the layer before the last are chosen as in 4.29, on one half of the documents: two senses of different words and
different meaning. (A sense holds a twentieth of the neuron's excess activation, where 4.29 asks for a tenth. That was changed
after a first run, in which the first layers of these models had 11, 3 and 5 such neurons; what neurons chosen by the rule of
4.29 do is shown beside it.) All effects are of ONE token on the prediction behind it, in
contexts of the other half drawn evenly over the range in which the neuron fires: what the neuron there, set to its mean, does
to the mean logit, less that of all tokens, of what follows a sense and not the other, and is raised by the neuron where that
sense is right. By path patching it goes directly to the final stream, through each head of the last layer (its query, key and
value at that token, and what the last MLP makes of it), and through each neuron of the last layer (`mediators`).

(1) Do the paths add up to the total, context by context? (2) How much of it is mediated? (3) Is the neuron disambiguated: with
the SAME step of the neuron in both senses' contexts (two by two: sense, and neuron off or on), is half of what it does to a
sense's tokens where that sense is right gone where the other is right? (4) Do five mediators, chosen on other documents, make
half of what all that help do? (5) Are they gates: pre-activation = a neuron + b context, so that the nonlinearity lets the step
pass in one sense only? (6) Do the wrong tokens rise when the five mediators that hold them down most no longer hear the neuron,
more than without mediators alike, (7) and more than other neurons' wrong tokens do? (8) Does ranking by single effects miss
mediators that matter together: five chosen one after the other, each given those before, against the five strongest alone?

Nulls: mediated parts dealt to other contexts; the last layer shuffled; another neuron alike in norm and activity, its tokens
chosen alike; mediators that are placed as well to hear the neuron (cosine of input weights) and vary as much. Truth: neurons
planted with gates that hear the neuron AND a concept; without gates; and with mediators that answer the neuron alike in both
senses.

Prior numbers: a context neuron of layer 3 gates later n-gram neurons (Quirke et al. 2023, arXiv 2311.00863); no share was
published. The toy answer: in the absolute value model an inhibiting neuron takes back what one neuron of several features
writes too much (4.2), half or more of it; in one layer (4.29) the neurons beside it did not answer the neuron's push.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.wording import answer, said, span
from superscope.lab import Lab
from superscope.lms.reading.polysemous import Case, Half, choose, concept_pairs, drawn_evenly, follow, half, texts
from superscope.measure.activations import mediators
from superscope.measure.activations.disambiguation import nearby
from superscope.measure.activations.mediators import Effects, Exchange, Site

PROBLEM = "4.30"
TITLE = "Disambiguating a polysemantic neuron, two layers"
QUESTION = (
    "In a two-layer model, which later heads and neurons resolve the ambiguity of a polysemantic neuron of the first layer?"
)
ASSUMPTIONS = [
    "A sense is a concept from a list, and what it means for the prediction is what follows it in text.",
    "Effects are on the prediction behind the token at which the neuron fires; what later tokens hear is left out.",
    "A path is exchanged alone; what several do together is the residue.",
    "Logits are taken less their mean over the vocabulary.",
]
DISANALOGIES = [
    "A toy's gate has two inputs; a neuron of the last layer hears hundreds, so that any step passes it differently in "
    "different contexts.",
    "Tokens are chosen where the neuron raises them; another neuron's tokens, chosen alike, are the measure of that.",
    "In a model of more layers the paths would fork again; here is one layer after the neuron.",
    "The initial weights have nearly as many neurons with two such senses: that a neuron has them need not be learned.",
]
TIPS = ["Make the same step in both senses' contexts, else loudness is taken for gating",
        "Choose mediators on some documents and measure them on others"]  # fmt: skip

TRAINED, GATED, ALONE, EQUAL = "trained", "planted with gates", "planted without gates", "planted, answered in both senses"
STRICT, OTHER, LABELS = "trained, by the rule of 4.29", "another neuron", "permuted senses"
DEALT, RANDOM = "mediated parts dealt", "mediators alike"
SHUFFLED = "last layer shuffled"
CONTROLS = {"init": "initial weights", "shuffled": "shuffled weights"}
FEWEST = 3  # tokens of a sense that the neuron raises
MEASURED = ("explained", "explained dealt", "mediated", "index", "few", "few alike", "gate", "gate alike", "rise", "rise alike",
            "answered", "answered other", "kept", "kept alike")  # fmt: skip
SIZES = (1, 2, 5)  # mediators cut, for the figure


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "gelu-2l-mini"  # bundled model; its twins of other seeds are the replicates
    more: str = ""  # another bundled model, shown beside it and not judged
    rows: int = 160  # rows of text in the half of the documents on which all is chosen
    tried: int = 100  # and in the half on which all is measured
    share: float = 0.05  # of a neuron's excess activation that a sense holds: half of what it takes in 4.29
    neurons: int = 8  # drawn from those with two distinct senses
    contexts: int = 16  # tokens of a sense, in each half
    count: int = 5  # mediators
    draws: int = 2  # sets of mediators alike
    control_rows: int = 40  # of untrained models
    planted: int = 6  # neurons with planted senses

    def __post_init__(self) -> None:
        counts = (self.rows, self.tried, self.neurons, self.contexts, self.count, self.draws, self.control_rows, self.planted)
        if min(counts) < 1 or not 0 < self.share < 1:
            raise ValueError(
                f"rows={self.rows}, tried={self.tried}, share={self.share}, neurons={self.neurons}, contexts={self.contexts}, "
                f"count={self.count}, draws={self.draws}, control_rows={self.control_rows}, planted={self.planted}: expected a "
                "share between 0 and 1, and 1 of all else at least"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(
        more="solu_ln-2l-mini", rows=500, tried=300, neurons=30, contexts=60, draws=10, control_rows=200, planted=10
    ),
    "full": Config(
        more="solu_ln-2l-mini", rows=1000, tried=800, neurons=80, contexts=150, draws=30, control_rows=600, planted=12
    ),
}
GATE = [
    Check("Ten neurons or more have two senses of different words and different meaning", "neurons", ">= 10", TRAINED,
          unit="models"),
    Check("of the planted neurons seven tenths have two senses by the same rule", "found", ">= 0.7", GATED, unit="models"),
    Check("where mediators answer planted neurons alike in both senses, little is disambiguated", "index", "<= 0.4", EQUAL,
          unit="models"),
    Check("and with permuted senses, little is", "index", "within [-0.25, 0.25]", LABELS, unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "adds-up", "The direct path and all mediators, each alone, explain nine tenths of the total effect over contexts",
        "explained", ">= 0.9", of=TRAINED, null=DEALT, plant=GATED, unit="models",
        why="Null: the mediated parts dealt to other contexts of the same neuron. Plant: gates at 1 and .6.",
        note="R squared about each neuron's own mean over the contexts of both senses.",
    ),
    Expect(
        "mediated", "Half or more of what the neuron does to a sense's tokens goes through the last layer",
        "mediated", ">= 0.5", of=TRAINED, null=SHUFFLED, plant=GATED, unit="models",
        why="Null: the same neurons and tokens before a last layer whose weights are shuffled within each matrix. Plant: gates "
        "that add .8 nats and take off .3, where the neuron itself pushes by .3.",
        note="Size of the mean mediated effect over that of the mediated and the direct one. Half: more than direct logit "
        "attribution sees.",
    ),
    Expect(
        "disambiguated", "Where the other sense is right, half or more of the neuron's push on a sense's tokens is gone",
        "index", ">= 0.5", of=TRAINED, null=OTHER, plant=GATED, unit="models",
        why="Null: another neuron alike in norm and activity, in the same contexts, its tokens chosen alike. Plant: gates that "
        "hear the neuron and a concept.",
        note="For the same step of the neuron. Any neuron's effect depends on the context: hence the null.",
    ),
    Expect(
        "few", "Five mediators make half or more of what all that help disambiguate do",
        "few", ">= 0.5", of=TRAINED, null=RANDOM, plant=GATED, unit="models",
        why="Null: mediators that hear and vary as much. Plant: four gates a sense, at 1 and .6, in a layer of others.",
        note="Chosen on other documents. A fifth or less is diffuse.",
    ),
    Expect(
        "gates", "The five that disambiguate most are gates: the neuron's step passes seven times as well in one sense",
        "gate", ">= 0.75", of=TRAINED, null=ALONE, plant=GATED, unit="models",
        why="Null: neurons planted before a layer not trained with them, mediators chosen alike: what the nonlinearity does to "
        "any step. Plant: neurons that add the neuron's step and a concept.",
        note="Difference of the responses to the same step over the sum of their sizes: 0 where it passes alike, 1 where it "
        "passes in one sense alone. Neurons placed as well to hear it are in the table.",
    ),
    Expect(
        "cut", "Deaf to the neuron, the five that hold the wrong tokens down let them rise twice as much as five alike do",
        "rise", ">= 2", of=TRAINED, null=ALONE, plant=GATED, unit="models",
        why="Null: neurons planted before a layer that was not trained to answer them: of 516 mediators some oppose any push. "
        "Plant: gates that take back the neuron's push on the wrong tokens.",
        note="Rise of the mean log probability over the mean size of the change for mediators alike; chosen on other "
        "documents. Mediators alike rise by nothing (table).",
    ),
    Expect(
        "answered", "and twice as much as the wrong tokens of other neurons do without the five that hold those down most",
        "answered", ">= 2", of=TRAINED, null=ALONE, plant=GATED, unit="models",
        why="Null: neurons planted before a layer that was not trained to answer them. Plant: as above.",
        note="Other neurons are alike in norm and activity and make as large a step in the same contexts. It says that the "
        "layer answers the neuron, in one sense or in both.",
    ),
    Expect(
        "single", "Single effects miss little: the five strongest make four fifths or more of the rise of the worst five",
        "kept", ">= 0.8", of=TRAINED, null=RANDOM, plant=GATED, unit="models",
        why="Null: mediators alike in place of the strongest. Plant: gates of one layer, which do not hear each other.",
        note="Worst: chosen one after the other on other documents, each given those before. Neurons of one layer meet only "
        "in the final LayerNorm and the softmax; a head and a neuron meet before.",
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Way:
    """A neuron with one sense as the context (`right`): tokens of both senses in either half, the own sense's first; what may
    follow the other sense; and the level to which the neuron is set."""

    case: Case
    right: int
    chosen: tuple[np.ndarray, np.ndarray]
    tried: tuple[np.ndarray, np.ndarray]
    tokens: np.ndarray
    level: float


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models([config.model, config.more] if config.more else config.model, examine, config)
    judged = table[table.name == config.model]
    passed = gate(judged, GATE)
    claims = judge(judged, EXPECTED, passed)
    trained = judged[judged.arm == TRAINED]
    shown = table[table.arm.isin([TRAINED, GATED])]
    details = {
        name: pd.concat([pd.DataFrame(list(row[name])).assign(model=row["model"], arm=row["arm"])
                         for row in shown.to_dict("records")], ignore_index=True)
        for name in ("ways", "found mediators")
    }  # fmt: skip
    counts = table[table.arm.isin([TRAINED, *CONTROLS.values()])][["model", "arm", "neurons", "several"]]
    return Findings(
        passed,
        claims,
        figures(table),
        {"arms": table.drop(columns=["ways", "found mediators"]), "neurons": details["ways"],
         "mediators": details["found mediators"], "counts": counts},
        f"Neurons with two distinct senses: {span(trained.neurons.min(), trained.neurons.max())}. Mediated: "
        f"{span(trained.mediated.min(), trained.mediated.max())} of the effect; of the push "
        f"{span(trained['index'].min(), trained['index'].max())} is gone in the other sense; five mediators make "
        f"{span(trained.few.min(), trained.few.max())} of that.",
        in_short({claim.id: claim.verdict for claim in claims}, trained),
    )  # fmt: skip


def in_short(verdicts: dict[str, str], trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    if "gate failed" in verdicts.values():
        return "No answer: too few neurons have two distinct senses, or planted ones are not told apart from controls."
    few = {"supported": "few", "refuted": "many"}.get(verdicts["few"], "some")
    return answer(
        "The last layer disambiguates: {more}. It carries {share} of a polysemantic neuron's effect through {few} mediators; "
        "{index} of the push is gone in the other sense; gates: {gates}.",
        share=float(trained.mediated.mean()), index=float(trained["index"].mean()), more=said(verdicts["disambiguated"]),
        few=few, gates=said(verdicts["gates"]),
    )  # fmt: skip


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.30 {model.name}")
    splits, rows, known = texts(model.tokenizer, model.n_ctx, (config.rows, config.tried), lab.seed)

    def read(one: lms.LanguageModel, part: int, most: int | None = None) -> Half[Site]:
        some = replace(rows[part], tokens=rows[part].tokens[:most], place=rows[part].place[:most])
        return half(mediators.read(one, some), splits[part], known[part])

    halves = [read(model, 0), read(model, 1)]
    cases, seen = choose(halves, range(model.d_mlp), rng, config.share)
    some = [cases[k] for k in rng.permutation(len(cases))[: config.neurons]]
    drawn = [way for case in some for way in ways(halves, case, config, rng)]
    means = halves[0].site.values.mean(dim=0)
    main = Parts([half.site for half in halves], means, config)
    found = main.all(drawn, rng)
    yield {"arm": TRAINED, "neurons": len(cases), "several": len(seen), **found}
    yield {"arm": DEALT, "explained": found["explained dealt"]}
    yield {"arm": RANDOM, **{name: found[f"{name} alike"] for name in ("few", "gate", "rise", "kept")}}
    yield {"arm": OTHER, "answered": found["answered other"],
           "index": ratio([main.push(way, other) for way in drawn for other in main.alike(way, rng)])}  # fmt: skip
    strict, _ = choose(halves, [case.neuron for case in cases], rng)
    pushed = [main.push(way) for case in strict for way in ways(halves, case, config, rng)]
    yield {"arm": STRICT, "neurons": len(strict), "index": ratio(pushed)}
    yield {"arm": LABELS, "index": ratio([main.push(permuted(way, rng)) for way in drawn])}
    blind = Parts([halves[0].site, read(with_last_of(model, model.control("shuffled")), 1).site], means, config)
    yield {"arm": SHUFFLED, "mediated": share([sizes(blind.natural(way, main.raised(way))) for way in drawn])}
    for kind, arm in CONTROLS.items():
        here = read(model.control(kind), 0, config.control_rows)  # type: ignore[arg-type]
        there, many = choose([here, here], range(model.d_mlp), rng, config.share)
        yield {"arm": arm, "neurons": len(there), "several": len(many)}
    if model.activation in ("gelu", "relu"):
        yield from plants(halves, rows[0], read, config, rng)


def plants(
    halves: Sequence[Half[Site]], rows: Any, read: Any, config: Config, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Neurons planted with gates, without, and with mediators that answer them in both senses."""
    here = halves[0]
    pairs = concept_pairs(halves, config.planted, rng)
    where = [(here.concepts[one], here.concepts[other]) for one, other in pairs]
    tokens = [follow(here, [np.flatnonzero(one) for one in both]) for both in where]
    made = mediators.plant(here.site.model, rows, where, tokens)
    new = [read(made.model, 0), read(made.model, 1)]
    cases, seen = choose(new, made.neurons, rng, config.share)
    drawn = [way for case in cases for way in ways(new, case, config, rng)]
    means = new[0].site.values.mean(dim=0)
    gated, alone, equal = (
        Parts([replace(half.site, model=model) for half in new], means, config)
        for model in (made.model, made.alone, made.heedless)
    )
    yield {"arm": GATED, "neurons": len(cases), "found": len(seen) / len(made.neurons), **gated.all(drawn, rng)}
    yield {"arm": ALONE, **alone.all(drawn, rng)}
    yield {"arm": EQUAL, "index": ratio([equal.push(way) for way in drawn])}


def with_last_of(model: lms.LanguageModel, other: lms.LanguageModel) -> lms.LanguageModel:
    """The model with the last block of another one."""
    hooked, last = copy.deepcopy(model.hooked), f"blocks.{model.n_layers - 1}."
    state = {name: value for name, value in other.hooked.state_dict().items() if name.startswith(last)}
    hooked.load_state_dict(state, strict=False)
    return replace(model, hooked=hooked, origin="control")


def ways(halves: Sequence[Half[Site]], case: Case, config: Config, rng: np.random.Generator) -> list[Way]:
    """Either sense as the context. The level: the mean of both senses' tokens on which the neuron fires."""
    chosen, tried = ([drawn_evenly(half, where, case.neuron, config.contexts, rng) for where in some]
                     for half, some in zip(halves, (case.chosen, case.tried), strict=True))  # fmt: skip
    held = [float(halves[0].site.values[where, case.neuron].mean()) for where in case.chosen]
    return [
        Way(case, right, (chosen[right], chosen[1 - right]), (tried[right], tried[1 - right]), case.tokens[1 - right],
            float(np.mean(held)))
        for right in (0, 1)
    ]  # fmt: skip


def permuted(way: Way, rng: np.random.Generator) -> Way:
    """The contexts of both senses dealt at random."""

    def dealt(both: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        one, other = np.split(rng.permutation(np.concatenate(both)), [len(both[0])])
        return one, other

    return replace(way, chosen=dealt(way.chosen), tried=dealt(way.tried))


@dataclass(frozen=True)
class Parts:
    """What is measured of a neuron: sites of both halves, and the neurons' means over the first."""

    sites: Sequence[Site]
    means: torch.Tensor
    config: Config

    def step(self, half: int, where: np.ndarray, way: Way, other: int | None = None) -> Exchange:
        """The way's neuron (or another, by as large a step) from its mean to the way's level."""
        site, own = self.sites[half].at(where), way.case.neuron
        neuron = own if other is None else other
        norms = site.out.norm(dim=1)
        size = (way.level - float(self.means[own])) * float(norms[own] / norms[neuron])
        return mediators.exchange(site, neuron, self.means, float(self.means[neuron]) + size)

    def alike(self, way: Way, rng: np.random.Generator) -> np.ndarray:
        """Two other neurons of like norm and activity."""
        own = way.case.neuron
        return nearby(self.traits, np.array([own, own]), [own], rng)

    @cached_property
    def traits(self) -> torch.Tensor:
        """(neuron, 2) what neurons are matched in: norm and activity."""
        site = self.sites[0]
        return torch.stack([site.out.norm(dim=1), (site.values - self.means).abs().mean(dim=0)], dim=1).clamp_min(1e-9).log()

    def raised(self, way: Way, other: int | None = None) -> np.ndarray:
        """The other sense's tokens that the neuron raises where they are right; chosen on the first half."""
        return way.tokens[self.step(0, way.chosen[1], way, other).raised(way.tokens) > 0]

    def push(self, way: Way, other: int | None = None) -> tuple[float, float]:
        """What the neuron does to those tokens, where they are wrong and where they are right."""
        tokens = self.raised(way, other)
        if len(tokens) < FEWEST:
            return 0.0, 0.0
        wrong, right = (float(self.step(1, where, way, other).effects(tokens).total.mean()) for where in way.tried)
        return wrong, right

    def natural(self, way: Way, tokens: np.ndarray) -> list[Effects]:
        """What the neuron does as it fires, in the contexts of either sense."""
        each = [mediators.exchange(self.sites[1].at(where), way.case.neuron, self.means) for where in way.tried]
        return [one.effects(tokens) for one in each] if len(tokens) >= FEWEST else []

    def all(self, drawn: Sequence[Way], rng: np.random.Generator) -> dict[str, Any]:
        """Everything, over all ways."""
        each = [one for way in drawn if (one := self.one(way, rng))]
        if len(each) < 2:
            return {**dict.fromkeys(MEASURED, np.nan), "ways": [], "found mediators": []}
        sums = pd.DataFrame([one["numbers"] for one in each]).mean()
        total, left, dealt = (np.concatenate([one["residues"] for one in each], axis=1) ** 2).sum(axis=1)
        return {
            "explained": 1 - left / total, "explained dealt": 1 - dealt / total,
            "mediated": share([one["sizes"] for one in each]),
            "index": ratio([(one["numbers"]["wrong"], one["numbers"]["right"]) for one in each]),
            **{f"index by {part}": sums[f"by {part}"] / sums.right for part in ("direct", "heads", "neurons")},
            "few": sums.five / sums.helpers, "few alike": sums["five alike"] / sums.helpers, "net": sums.net,
            "gate": sums.differ / sums["size"], "gate alike": sums["differ alike"] / sums["size alike"],
            "rise": sums["cut 5"] / sums["cut alike"], "rise alike": sums["cut alike 5"] / sums["cut alike"],
            "answered": sums["cut 5"] / sums["cut other"], "answered other": sums["cut another"] / sums["cut other"],
            "kept": sums["cut 5"] / sums["worst 5"], "kept alike": sums["cut alike 5"] / sums["worst 5"],
            **{name: sums[name] for name in sums.index if name.startswith(("cut", "worst", "right ", "wrong "))},
            "ways": [one["shown"] for one in each], "found mediators": [row for one in each for row in one["mediators"]],
        }  # fmt: skip

    def one(self, way: Way, rng: np.random.Generator) -> dict[str, Any]:
        """One neuron in one sense; nothing where it raises too few of the other sense's tokens where they are right."""
        tokens, count = self.raised(way), self.config.count
        if len(tokens) < FEWEST:
            return {}
        fit = [self.step(0, where, way) for where in way.chosen]
        test = [self.step(1, where, way) for where in way.tried]
        chosen, tried = ([one.effects(tokens) for one in some] for some in (fit, test))
        helped, helps = ((some[1].through.mean(dim=0) - some[0].through.mean(dim=0)).numpy() for some in (chosen, tried))
        neurons = chosen[0].count
        traits = mediators.traits(fit[0])
        order = np.argsort(-helped, kind="stable")
        five, gating = order[:count], order[order < neurons][:count]
        alike = nearby(traits, five, five.tolist(), rng)
        gating_alike = nearby(traits[:neurons], gating, gating.tolist(), rng)
        responses = np.stack([one.responses.mean(dim=0).numpy() for one in test])
        wrong, right = tried
        differ, size = mediators.gating(responses[:, gating])
        differ_alike, size_alike = mediators.gating(responses[:, gating_alike])
        numbers = {
            "differ": differ, "size": size, "differ alike": differ_alike, "size alike": size_alike,
            "wrong": float(wrong.total.mean()), "right": float(right.total.mean()),
            "by direct": float(right.direct.mean() - wrong.direct.mean()), "by heads": helps[neurons:].sum(),
            "by neurons": helps[:neurons].sum(), "net": helps.sum(), "helpers": helps[helped > 0].sum(),
            "five": helps[five].sum(), "five alike": helps[alike].sum(),
            **{f"{name} {part}": float(value.mean()) for name, one in (("wrong", wrong), ("right", right)) for part, value in
               (("direct", one.direct), ("heads", one.through[:, neurons:].sum(dim=1)),
                ("neurons", one.through[:, :neurons].sum(dim=1)))},
            **self.cuts(way, tokens, traits, rng),
        }  # fmt: skip
        shown = {"neuron": way.case.neuron, "context": way.case.names[way.right], "other sense": way.case.names[1 - way.right],
                 "tokens": len(tokens), **{name: float(value) for name, value in numbers.items()}}  # fmt: skip
        (on, off), (_, off_right) = ([half.mean(dim=0).numpy() for half in one.drives()] for one in test)
        columns = {
            "disambiguates": helps, "response where wrong": -responses[0], "response where right": -responses[1],
            "drive by the neuron": on - off, "drive without it where wrong": off, "drive without it where right": off_right,
        }  # fmt: skip
        named = [{"neuron": way.case.neuron, "context": way.case.names[way.right], "mediator": int(k),
                  **{name: float(value[k]) for name, value in columns.items()}} for k in gating]  # fmt: skip
        held = self.natural(way, tokens)
        return {"numbers": numbers, "shown": shown, "mediators": named, "residues": mediators.residues(held, rng),
                "sizes": sizes(held)}  # fmt: skip

    def cuts(self, way: Way, tokens: np.ndarray, traits: torch.Tensor, rng: np.random.Generator) -> dict[str, float]:
        """Rise of the wrong tokens when mediators hear the neuron at its mean: the strongest, the worst together, others alike;
        and of other neurons' wrong tokens without the mediators that are strongest for them."""
        count = self.config.count
        fit, test = (self.step(k, some[0], way) for k, some in enumerate((way.chosen, way.tried)))
        strongest, worst = fit.strongest(tokens, count), fit.worst(tokens, count)
        alike = [nearby(traits, strongest, strongest.tolist(), rng) for _ in range(self.config.draws + 1)]
        others = [self.strongest(way, other) for other in self.alike(way, rng)]
        lists = {"cut": strongest, "worst": worst, "cut alike": alike[0]}
        return {
            "cut alike": float(np.mean([abs(test.cut(some, tokens)) for some in alike[1:]])),
            **{f"{name} {k}": test.cut(some[:k], tokens) for name, some in lists.items() for k in SIZES},
            "cut other": float(np.mean(np.abs(others))),
            "cut another": others[1],
        }

    def strongest(self, way: Way, other: int) -> float:
        """Rise of the wrong tokens of another neuron without the mediators that are strongest for it."""
        tokens = self.raised(way, other)
        if len(tokens) < FEWEST:
            return 0.0
        strongest = self.step(0, way.chosen[0], way, other).strongest(tokens, self.config.count)
        return self.step(1, way.tried[0], way, other).cut(strongest, tokens)


def sizes(held: Sequence[Effects]) -> tuple[float, float]:
    """Of the mean direct and the mean mediated effect, summed over groups of contexts."""
    return sum(abs(float(one.direct.mean())) for one in held), sum(abs(float(one.mediated.mean())) for one in held)


def share(sizes: Sequence[tuple[float, float]]) -> float:
    """The second of two sizes over both, summed over neurons."""
    direct, mediated = np.sum(sizes, axis=0) if len(sizes) else (np.nan, np.nan)
    return float(mediated / (direct + mediated))


def ratio(pushes: Sequence[tuple[float, float]]) -> float:
    """How much of the push where a sense is right is gone where it is wrong; summed over neurons."""
    wrong, right = np.sum(pushes, axis=0) if len(pushes) else (np.nan, np.nan)
    return float(1 - wrong / right) if right else float("nan")


def figures(table: pd.DataFrame) -> list[Figure]:
    """Direct and mediated effect in either sense; what cutting mediators does."""
    shown = table[table.arm.isin([TRAINED, GATED, ALONE]) & table["index"].notna()]
    bars = plots.figure(height=420, barmode="relative", yaxis_title="effect, nats of logit")
    mean = shown.groupby(["name", "arm"], sort=False).mean(numeric_only=True)
    names = [f"{arm}: {sense}<br>{name}" for name, arm in mean.index for sense in ("right", "wrong")]
    for part in ("direct", "heads", "neurons"):
        bars.add_bar(x=names, y=mean[[f"right {part}", f"wrong {part}"]].to_numpy().ravel(), name=part)
    rises = plots.figure(height=400, xaxis_title="mediators deaf to the neuron", yaxis_title="rise of the wrong tokens, nats")
    for row in shown[shown.arm == TRAINED].to_dict("records"):
        for name, label in (("cut", "strongest alone"), ("worst", "worst together"), ("cut alike", "alike")):
            rises.add_scatter(x=list(SIZES), y=[row[f"{name} {k}"] for k in SIZES], mode="lines+markers",
                              name=f"{row['model']}: {label}")  # fmt: skip
    return [
        Figure("paths", bars, "What the neuron's step does to a sense's tokens, directly and through the last layer, where the "
               "sense is right and where it is wrong; mean of models."),
        Figure("cuts", rises, "Rise of the wrong sense's tokens when mediators no longer hear the neuron."),
    ]  # fmt: skip
