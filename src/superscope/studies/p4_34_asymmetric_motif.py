"""4.34: is there asymmetric superposition, a neuron and its inhibitor, in the MLP of a language model?

In the absolute value model (TMS, section 8) one neuron serves two features with unequal parts, reading A strongly and B weakly,
writing B strongly and A weakly; whatever it puts on B while A is on is taken off by a second neuron. Here features are the
most frequent labelled concepts of the whole text (words, pairs, character classes, generated segments, classes within a genre)
that are in 20 documents or more. What a neuron reads of a concept is what the concept adds to its activation, in a regression
on all of them; what it writes is its W_out against what the layer writes for each concept, through a dual basis.

All neurons and ordered pairs of concepts are scored (`measure.weights.asymmetric`), except pairs that the layer writes alike
(cosine above .7: one feature counted twice) and pairs of which the first comes mostly with the second. Null: every neuron keeps
its reads and writes and gets other concepts; the largest score of a draw. Beside it: neurons that inhibit with the W_out of
another. Plants go into activations and W_out, and everything is estimated anew, null included. A score is at most a neuron's
second-largest share (`attainable`), and what size of motif the search sees is measured on plants.
Motifs beyond every relabelling are tested in the running model: with the inhibitor's write taken off where A is on, does the
prediction move the way that B moves it, farther than when another neuron as loud is taken off?
The toy answer: in sparse absolute value models every lopsided neuron has an inhibitor (4.2: motif).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

import superscope as ss
from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import NONE, arm, arms, retractions
from superscope.evidence.wording import answer, number, span
from superscope.lab import Lab
from superscope.lms.reading import planted
from superscope.measure.weights import asymmetric, motifs
from superscope.toys.aligned import Aligned

PROBLEM = "4.34"
TITLE = "Asymmetric superposition in a language model"
QUESTION = "Can the asymmetric superposition motif be found in the MLP layer of a one or two layer language model?"
ASSUMPTIONS = [
    "Features are concepts with a label; a motif between features that have none is not seen.",
    "What a concept adds to a neuron is linear: a part of what others add.",
    "A motif has one inhibitor or two; interference that more neurons take off together is counted in part.",
    "A motif's two concepts are not written alike and the first is mostly on without the second.",
]
DISANALOGIES = [
    "The toy's inputs come one feature a coordinate; a layer reads a stream in which concepts overlap.",
    "The toy must compute |x| of every feature with few neurons; a layer has more neurons than these concepts need.",
    "Among hundreds of neurons two take most of any interference off by chance, so a motif is told from chance by how much it "
    "serves rather than by its inhibitor; of small motifs the search says nothing.",
]
TIPS = ["With hundreds of neurons some neuron inhibits anything: ask how well the best one does by chance"]

TRAINED, RELABELLED, SWAPPED, INIT, SHUFFLED = (
    "trained", "neurons given other concepts", "inhibitors given other writes", "untrained", "shuffled",
)  # fmt: skip
AS_LOUD, REMOVED, TOY = "another neuron as loud", "planted inhibitor", "absolute value models"
SIZE = 0.3  # the smallest that is seen in eight of ten plants of every model (tried: a twentieth to three tenths)
PLANTS = {f"planted, serves {size:g} of two concepts": size for size in (0.05, 0.1, 0.15, 0.2, SIZE)}
PLANTED = f"planted, serves {SIZE:g} of two concepts"
TEAM = 2  # inhibitors that count together
COSINE = 0.6  # of a planted inhibitor's W_out with what it takes off


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "gelu-1l-mini"  # bundled model; its twins of other seeds are the replicates
    beside: str = "gelu-2l-mini"  # a bundled model told beside it, every layer
    rows: int = 400  # rows of text
    concepts: int = 96  # most frequent ones
    documents: int = 20  # in which a concept must be
    draws: int = 20  # relabellings whose largest score is the limit
    plants: int = 10  # of every size
    controls: bool = False  # also layers before training and with weights shuffled
    hits: int = 4  # best motifs that are tested in the model
    contexts: int = 8  # rows with the strong concept, a test
    others: int = 19  # neurons as loud as the inhibitor
    toys: int = 16  # absolute value models
    steps: int = 6000  # of their training

    def __post_init__(self) -> None:
        if (
            self.rows < 20
            or self.concepts < 3
            or min(
                self.documents, self.draws, self.plants, self.hits, self.contexts, self.others, self.toys, self.steps,
            ) < 1
        ):  # fmt: skip
            raise ValueError(
                f"rows={self.rows}, concepts={self.concepts}, documents={self.documents}, draws={self.draws}, "
                f"plants={self.plants}, hits={self.hits}, contexts={self.contexts}, others={self.others}, toys={self.toys}, "
                f"steps={self.steps}: expected 20 rows, 3 concepts and 1 of the others"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=1500, draws=100, controls=True, hits=20, contexts=100, others=39, toys=64),
    "full": Config(rows=4000, draws=1000, plants=40, controls=True, hits=50, contexts=200, others=99, toys=256, steps=10_000),
}

GATE = [
    Check("Nine of ten motifs of trained absolute value models are found", "recall", ">= 0.9", TOY),
]  # fmt: skip
EXPECTED = [
    Expect(
        "exists", "The best motif is a quarter stronger than the best of any relabelling", "over chance", ">= 1.25", of=TRAINED,
        null=RELABELLED, plant=PLANTED, unit="models",
        why="Null: a fresh relabelling: each neuron keeps its reads and writes and gets other concepts. Plant: a neuron that "
        f"serves {SIZE:g} of two concepts and one or two that take seven tenths of its interference off, put into activations "
        "(a fifth missed, unequal strengths) and W_out, everything estimated anew; what eight of ten plants reach.",
        note="Score: share of the weaker service times share of the interference that is taken off. Refuted means that none is "
        "a quarter stronger than chance; smaller motifs than the planted are not excluded.",
    ),
    Expect(
        "causal", "Without the inhibitor the prediction moves the way of B where A is on: in half of the motifs beyond chance",
        "raised", ">= 0.5", of=TRAINED, null=AS_LOUD, plant=REMOVED, unit="models",
        why="Null: another neuron as loud, against the same others. Plant: a neuron as loud whose W_out has a cosine of .6 "
        "with what it takes off, the rest that of another neuron.",
        note="Share of the hits beyond every relabelling that move it farther than 19 of 20 other neurons, along the change "
        "that what the layer writes for B makes there; a model that has none has nothing to test.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; the toys once; then the rules asked of each."""
    names = [name for name in (config.model, config.beside) if name]
    table = lab.models(names, examine, config)
    passed = gate(toys(config, lab), GATE)
    mine = table[table.name == config.model]
    claims = judge(judged(mine), EXPECTED, passed)
    trained = table[table.arm == TRAINED]
    hits = pd.DataFrame([row for each in trained.hits for row in each])
    own, deep = (trained[trained.name == name] for name in (config.model, config.beside))
    also = (
        f" In {config.beside}: {span(deep.score.min(), deep.score.max())}, of relabellings "
        f"{span(deep.limit.min(), deep.limit.max())}, attainable {span(deep.attainable.min(), deep.attainable.max())}."
        if len(deep)
        else ""
    )
    return Findings(
        passed,
        claims,
        figures(mine),
        {
            "arms": table.drop(columns=["hits", "scores", "limits"]), "hits": hits, "power": powers(mine),
            "retractions": retractions(RETRACTED),
        },
        f"Best score {span(own.score.min(), own.score.max())}, of relabellings {span(own.limit.min(), own.limit.max())}, "
        f"attainable {span(own.attainable.min(), own.attainable.max())}." + also + " Plants that are found, by size: "
        + ", ".join(f"{number(size)}: {number(share)}" for size, share in powers(mine)[["size", "found"]].to_numpy()) + ".",
        in_short({claim.id: claim.verdict for claim in claims}, own),
    )  # fmt: skip


RETRACTED = [
    ("The best motif is a quarter stronger than the best of any relabelling", "undecided", "Concepts were chosen on the rows "
     "drawn, pairs that may be one feature were scored, and the plant left out the estimation."),
    ("The best motif has the strength of one planted with a tenth of what serves two concepts", "supported", "Its level was "
     "near what a layer before training reaches: the claim is dropped."),
    ("Without the inhibitor the prediction moves the way of B where A is on", "refuted", "It ran on hits that were within "
     "chance, and its plant added exactly what was tested."),
]  # fmt: skip


def judged(table: pd.DataFrame) -> list[pd.DataFrame]:
    """A row per arm and model, of the layer where the column is largest; that nothing was tested anywhere is a row, too."""
    best = table.groupby(["arm", "model"], sort=False)[["over chance", "raised"]].max().reset_index()
    raised = best[["arm", "model", "raised"]]
    if raised.loc[raised.arm == TRAINED, "raised"].isna().all():
        raised = arms(raised, pd.DataFrame({"arm": [TRAINED], "model": [NONE], "raised": [np.nan]}))
    return [best[["arm", "model", "over chance"]], raised]


def powers(table: pd.DataFrame) -> pd.DataFrame:
    """By size of the plants: share found, and what they come out as."""
    rows = table[table.arm.isin(PLANTS)].assign(size=lambda some: some.arm.map(PLANTS))
    return rows.groupby("size", as_index=False)[["found", "score", "serve", "cancel", "over swapped"]].mean()


def in_short(verdicts: dict[str, str], trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    said = {
        "supported": "Yes, among labelled concepts a motif is a quarter stronger than chance",
        "refuted": "Among labelled concepts none is a quarter stronger than chance",
    }.get(verdicts["exists"], "Undecided")
    return answer(
        "{said}: the best has {over} times the best score of relabelled neurons; only motifs serving {size} are surely seen.",
        said=said, over=number(float(trained["over chance"].mean())), size=number(SIZE),
    )  # fmt: skip


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of every layer of one model."""
    text, beside = Text.of(model, config, lab.seed), model.name.startswith(config.beside or "-")
    for at, layer in enumerate(layers(model, text)):
        rng = lab.rng(f"4.34 {model.name} {at}")
        reads, writes, allowed = layer.weights()
        trained = compared(layer, config, rng)
        best = asymmetric.search(reads, writes, config.hits, allowed=allowed, team=TEAM)
        tested = [
            {} if beside and best.score[k] <= trained["limit"] else causes(model, text, at, best, k, layer, config, rng)
            for k in range(len(best.score))
        ]
        hits = [
            {"model": model.name, "layer": at, **named(best, k, text), "beyond": bool(best.score[k] > trained["limit"]), **one}
            for k, one in enumerate(tested)
        ]
        beyond = [one["inhibitor"] for one in hits if one["beyond"]]
        yield {
            "arm": TRAINED, "layer": at, **trained, "hits": hits, "raised": float(np.mean(beyond)) if beyond else np.nan,
        }  # fmt: skip
        for name in () if beside else (AS_LOUD, REMOVED):
            yield {"arm": name, "layer": at, "raised": float(np.mean([one[name] for one in tested]))}
        for name, draw in ((RELABELLED, asymmetric.limits), (SWAPPED, asymmetric.swapped)):
            other = float(draw(reads, writes, 1, rng, allowed=allowed, team=TEAM)[0])
            yield {"arm": name, "layer": at, "score": other, "over chance": other / trained["limit"]}
        for name, size in PLANTS.items() if not beside else ():
            yield {"arm": name, "layer": at, **planting(layer, size, config, rng)}
    for name, kind in ((INIT, "init"), (SHUFFLED, "shuffled")) if config.controls else ():
        for at, layer in enumerate(layers(model.control(kind), text)):  # type: ignore[arg-type]
            yield {"arm": name, "layer": at, **compared(layer, config, lab.rng(f"4.34 {model.name} {at} {kind}"))}


@dataclass(frozen=True)
class Text:
    """rows (row, position) of tokens; concepts on (token, concept), tokens behind BOS row by row; their documents; and the
    concepts' names."""

    rows: np.ndarray
    on: np.ndarray
    document: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, model: lms.LanguageModel, config: Config, seed: int) -> Text:
        """A sample of rows, with the concepts that are most frequent in the whole text."""
        split = lms.corpus.sample(model.tokenizer)
        rows = split.rows(model.n_ctx, limit=config.rows, seed=seed)
        place = rows.place[:, 1:].ravel()
        spread = [
            one
            for one in planted.concepts(split)
            if np.count_nonzero(np.bincount(split.document[one.where])) >= config.documents
        ]
        kept = sorted(spread, key=lambda one: -int(one.where.sum()))[: config.concepts]
        on = np.stack([one.where[place] for one in kept], axis=1)
        return cls(rows.tokens, on, split.document[place], [one.name for one in kept])


def layers(model: lms.LanguageModel, text: Text) -> list[asymmetric.Layer]:
    """Every MLP layer of a model, seen through the concepts."""
    hooks, on = [model.neuron_hook(at) for at in range(model.n_layers)], text.on.astype(np.float32)
    sums, wide = [np.zeros(()) for _ in hooks], text.rows.shape[1] - 1
    for some in np.array_split(np.arange(len(text.rows)), max(1, len(text.rows) // 64)):
        part = model.activations(lms.rows_to_tensor(text.rows[some]), hooks)
        here = on[some[0] * wide : (some[-1] + 1) * wide]
        sums = [
            old + asymmetric.moments(here, part[hook][:, 1:].flatten(0, 1).numpy())
            for old, hook in zip(sums, hooks, strict=True)
        ]
    return [
        asymmetric.Layer.of(on, text.document, total, model.hooked.W_out[at].detach().double()) for at, total in enumerate(sums)
    ]


def compared(layer: asymmetric.Layer, config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """The best score, over the best of all relabellings and of inhibitors given other writes; and the most there could be."""
    reads, writes, allowed = layer.weights()
    found = asymmetric.search(reads, writes, allowed=allowed, team=TEAM)
    drawn = asymmetric.limits(reads, writes, config.draws, rng, allowed=allowed, team=TEAM)
    other = asymmetric.swapped(reads, writes, config.draws, rng, allowed=allowed, team=TEAM)
    best, limit = float(found.score.max(initial=0)), float(drawn.max())
    return {
        "score": best, "limit": limit, "over chance": best / limit, "over swapped": best / float(other.max()),
        "attainable": asymmetric.attainable(reads, writes), "beyond": int((found.score > limit).sum()),
        "scores": found.score.tolist(), "limits": drawn.tolist(),
    }  # fmt: skip


def planting(layer: asymmetric.Layer, size: float, config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Motifs planted one at a time, with one inhibitor or two in turn: the share that is a quarter over chance, what four of
    five reach over the relabellings of their own layer, and means."""
    rows = []
    for k in range(config.plants):
        made, (neuron, a, b) = layer.planted(size, rng, team=1 + k % TEAM)
        reads, writes, allowed = made.weights()
        only = np.zeros_like(allowed)
        only[a, b] = allowed[a, b]
        found = asymmetric.search(reads, writes, len(reads), allowed=only, team=TEAM)
        own = found.neuron == neuron
        score = float(found.score[own].max(initial=0))
        limit, swap = (
            draw(reads, writes, config.draws, rng, allowed=allowed, team=TEAM).max()
            for draw in (asymmetric.limits, asymmetric.swapped)
        )
        serve, cancel = (float(one[own].max(initial=0)) for one in (found.serve, found.cancel))
        rows.append({"score": score, "over": score / limit, "over swapped": score / swap, "serve": serve, "cancel": cancel})
    table = pd.DataFrame(rows)
    over = np.sort(table.pop("over").to_numpy())
    return {
        **{str(key): float(value) for key, value in table.mean().items()}, "found": float((over >= 1.25).mean()),
        "over chance": float(over[len(over) // 5]),
    }  # fmt: skip


def causes(
    model: lms.LanguageModel, text: Text, at: int, best: asymmetric.Hits, k: int, layer: asymmetric.Layer, config: Config,
    rng: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """Where A is on and B is not, with a neuron's write taken off: does the prediction move the way B moves it, more than with
    other neurons? Movement along the change of log probabilities that B's own share of the layer's output makes there."""
    a, b, neuron, inhibitor = int(best.a[k]), int(best.b[k]), int(best.neuron[k]), int(best.inhibitor[k])
    here = (text.on[:, a] & ~text.on[:, b]).reshape(-1, text.rows.shape[1] - 1)
    chosen = rng.permutation(np.flatnonzero(here.any(axis=1)))[: config.contexts]
    where, tokens = torch.from_numpy(here[chosen]), lms.rows_to_tensor(text.rows[chosen])
    post = model.activations(tokens, [model.neuron_hook(at)])[model.neuron_hook(at)][:, 1:]
    out, mean = model.hooked.W_out[at].detach(), post.flatten(0, 1).mean(0)
    off = post[where] - mean  # (token, neuron)
    loud = (off.norm(dim=0) * out.norm(dim=1)).numpy()
    near = np.argsort(np.abs(np.log(loud + 1e-9) - np.log(loud[inhibitor] + 1e-9)), kind="stable")
    others = [int(one) for one in near if one not in (inhibitor, neuron)][: config.others + 1]

    def said(delta: torch.Tensor) -> torch.Tensor:
        """(token, vocabulary) log probabilities at `where` with `delta` (token, d) added to what the layer writes."""

        def put(value: torch.Tensor, hook: Any = None) -> torch.Tensor:
            new = value.clone()
            new[:, 1:][where] += delta
            return new

        last: list[torch.Tensor] = []  # the stream at `where` alone is unembedded: the vocabulary is most of the work
        ends = (f"blocks.{model.n_layers - 1}.hook_resid_post", lambda value, hook: last.append(value[:, 1:][where]))
        with torch.no_grad():
            model.hooked.run_with_hooks(tokens, return_type=None, fwd_hooks=[(f"blocks.{at}.hook_mlp_out", put), ends])
            logits = model.hooked.unembed(model.hooked.ln_final(last[0][:, None]))[:, 0]
        return torch.log_softmax(logits, -1)

    clean = said(torch.zeros(len(off), out.shape[1]))
    own = torch.from_numpy(asymmetric.written(layer.reads, layer.W_out)[1][b]).float()
    way = said(own.expand(len(off), -1)) - clean
    way = way / way.square().sum(-1, keepdim=True)

    def moves(delta: torch.Tensor) -> float:
        return float(((said(delta) - clean) * way).sum(-1).mean())

    def without(one: int) -> float:
        return moves(-off[:, one, None] * out[one])

    limit = float(np.quantile([without(one) / loud[one] for one in others[1:]], 0.95))
    aim, kin = own / own.norm(), out[int(rng.integers(len(out)))]  # the planted inhibitor's write, and what else it writes
    kin = kin - (kin @ aim) * aim
    write = out[inhibitor].norm() * ((1 - COSINE**2) ** 0.5 * kin / kin.norm() - COSINE * aim)
    taken = {"inhibitor": without(inhibitor) / loud[inhibitor], AS_LOUD: without(others[0]) / loud[others[0]],
             REMOVED: moves(-off[:, inhibitor, None] * write) / loud[inhibitor]}  # fmt: skip
    return {"moves": taken["inhibitor"], "limit": limit, **{name: value > limit for name, value in taken.items()}}


def named(best: asymmetric.Hits, k: int, text: Text) -> dict[str, Any]:
    """A hit in words."""
    return {
        "score": float(best.score[k]), "neuron": int(best.neuron[k]), "reads strongly": text.names[int(best.a[k])],
        "serves weakly": text.names[int(best.b[k])], "by": int(best.inhibitor[k]), "share": float(best.serve[k]),
        "taken off": float(best.cancel[k]),
    }  # fmt: skip


def toys(config: Config, lab: Lab) -> pd.DataFrame:
    """Absolute value models (TMS, section 8): share of their motifs that the search scores .1 or more."""
    n, m, seeds = 40, 16, lab.seeds(config.toys)
    inputs = ss.SparseFeatures(n, density=0.01, values=ss.SignedUniform(), importance=tuple(0.8 ** np.arange(n)))
    sweep = ss.Sweep(Aligned(n, m, init_scale=0.2), inputs, seeds=seeds)
    trained = lab.train(sweep, ss.Recipe.careful(config.steps), name="toys")
    found: list[bool] = []
    for w, out in zip(trained.W.values, trained.W_out.values, strict=True):
        reads, writes = asymmetric.halves(w, out)
        hits = asymmetric.search(reads, asymmetric.scaled(reads, writes), 10_000, team=TEAM)
        good = hits.score >= 0.1
        seen = set(zip(hits.neuron[good].tolist(), (hits.a[good] % n).tolist(), (hits.b[good] % n).tolist(), strict=True))
        found += [tuple(one) in seen for one in np.argwhere(np.logical_and(*motifs.asymmetric_triples(w, out))).tolist()]
    return arm(TOY, [0], recall=float(np.mean(found)))


def figures(table: pd.DataFrame) -> list[Figure]:
    """Scores beside those of relabellings; how strong a motif would have been seen."""
    row = table[table.arm == TRAINED].iloc[0]
    drawn = plots.histogram_with_null(list(row.scores), list(row.limits), x_title="score")
    seen = plots.figure(height=320)
    for name in (TRAINED, RELABELLED, SWAPPED, INIT, SHUFFLED, *PLANTS):
        some = table[table.arm == name]
        short = name.removesuffix(" of two concepts")
        seen.add_scatter(x=[short] * len(some), y=some["over chance"].tolist(), mode="markers", name=short, showlegend=False)
    seen.update_layout(yaxis={"title": "best score over chance"})
    return [
        Figure("scores", drawn, f"The hundred best motifs of {row.model}, and the best of each relabelling."),
        Figure(
            "power", seen, "The best score over that of relabellings: of models, nulls, and what four of five plants reach."
        ),
    ]
