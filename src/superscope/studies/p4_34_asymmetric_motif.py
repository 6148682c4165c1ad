"""4.34: is there asymmetric superposition, a neuron and its inhibitor, in the MLP of a language model?

In the absolute value model (TMS, section 8) one neuron serves two features with unequal parts, reading A strongly and B weakly,
writing B strongly and A weakly; whatever it puts on B while A is on is taken off by a second neuron. Here features are the
most frequent labelled concepts (words, pairs, character classes, generated segments, classes within a genre). What a neuron
reads of a concept is what the concept adds to its activation, in a regression on all of them; what it writes is its W_out
against what the layer writes for each concept, through a dual basis, so that overlapping concepts do not count twice.

All neurons and ordered pairs of concepts are scored (`measure.weights.asymmetric`). Null: every neuron keeps its reads and
writes and gets other concepts, the largest score of a draw; and the layer before training. The best hits are tested in the
running model: with the inhibitor's write taken off where A is on, does the prediction move the way that B moves it, farther
than when another neuron as loud is taken off?
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
from superscope.evidence.tables import arm, arms
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
    "A motif has one inhibitor; interference that many neurons take off together is not counted.",
]
DISANALOGIES = [
    "The toy's inputs come one feature a coordinate; a layer reads a stream in which concepts overlap.",
    "The toy must compute |x| of every feature with few neurons; a layer has more neurons than these concepts need.",
]
TIPS = ["With hundreds of neurons some neuron inhibits anything: ask how well the best one does by chance"]

TRAINED, RELABELLED, PLANTED, INIT, SHUFFLED = (
    "trained",
    "neurons given other concepts",
    "planted motif",
    "untrained",
    "shuffled",
)
WEAK, WEAKER = "planted motif of half the strength", "planted motif of a quarter"
AS_LOUD, REMOVED, TOY = "another neuron as loud", "planted inhibitor", "absolute value models"
STRENGTH = 0.2  # of what serves a concept, that a planted neuron does


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "gelu-1l-mini"  # bundled model; its twins of other seeds are the replicates
    beside: str = ""  # a bundled model told beside it, every layer
    rows: int = 240  # rows of text
    concepts: int = 96  # most frequent ones
    draws: int = 20  # relabellings whose largest score is the limit
    hits: int = 4  # best motifs that are tested in the model
    contexts: int = 8  # rows with the strong concept, a test
    others: int = 19  # neurons as loud as the inhibitor
    toys: int = 16  # absolute value models
    steps: int = 3000  # of their training

    def __post_init__(self) -> None:
        if (
            self.rows < 20
            or self.concepts < 3
            or min(self.draws, self.hits, self.contexts, self.others, self.toys, self.steps) < 1
        ):
            raise ValueError(
                f"rows={self.rows}, concepts={self.concepts}, draws={self.draws}, hits={self.hits}, contexts={self.contexts}, "
                f"others={self.others}, toys={self.toys}, steps={self.steps}: expected 20 rows, 3 concepts and 1 of the others"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(beside="gelu-2l-mini", rows=1500, draws=100, hits=20, contexts=100, others=39, toys=64, steps=5000),
    "full": Config(beside="gelu-2l-mini", rows=4000, draws=1000, hits=50, contexts=200, others=99, toys=256, steps=10_000),
}

GATE = [
    Check("Nine of ten motifs of trained absolute value models are found", "recall", ">= 0.9", TOY),
    Check("A motif planted with a fifth of what serves two concepts is a quarter above every relabelling", "over chance",
          ">= 1.25", PLANTED, unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "exists", "The best motif is a quarter stronger than the best of any relabelling", "over chance", ">= 1.25", of=TRAINED,
        null=RELABELLED, plant=PLANTED, unit="models",
        why="Null: a fresh relabelling: each neuron keeps its reads and writes and gets other concepts. Plant: a motif with a "
        "fifth of what serves two concepts, seven tenths of its interference taken off.",
        note="Score: share of the weaker service times share of the interference that is taken off.",
    ),
    Expect(
        "half", "The best motif has the strength of one planted with a tenth of what serves two concepts", "score", ">= 0.05",
        of=TRAINED, null=INIT, plant=WEAK, unit="models",
        why="Null: the layer before training, in which nobody inhibits anybody for a reason. Plant: half the strength.",
    ),
    Expect(
        "causal", "Without the inhibitor the prediction moves the way of B where A is on: in half of the best motifs",
        "raised", ">= 0.5", of=TRAINED, null=AS_LOUD, plant=REMOVED, unit="models",
        why="Null: another neuron as loud, against the same others. Plant: an inhibitor as strong as its interference.",
        note="Share of the best hits that move it farther than 19 of 20 other neurons, along the change that what the "
        "layer writes for B makes there.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; the toys once; then the rules asked of each."""
    names = [name for name in (config.model, config.beside) if name]
    table = lab.models(names, examine, config)
    mine = table[table.name == config.model]
    told = arms(mine, toys(config, lab))
    passed = gate(told, GATE)
    claims = judge(mine, EXPECTED, passed)
    trained = table[table.arm == TRAINED]
    hits = pd.DataFrame([row for each in trained.hits for row in each])
    own = trained[trained.name == config.model]
    return Findings(
        passed,
        claims,
        figures(mine),
        {"arms": table.drop(columns=["hits", "scores", "limits"]), "hits": hits},
        f"Best score {span(own.score.min(), own.score.max())}, of relabellings {span(own.limit.min(), own.limit.max())}. "
        "Planted motifs of a fifth, a tenth and a twentieth score "
        + ", ".join(number(float(mine.loc[mine.arm == one, "score"].mean())) for one in (PLANTED, WEAK, WEAKER))
        + ".",
        in_short({claim.id: claim.verdict for claim in claims}, own),
    )


def in_short(verdicts: dict[str, str], trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    said = {"supported": "Yes", "refuted": "None beyond chance"}.get(verdicts["exists"], "Undecided")
    return answer(
        "{said}: the best motif among labelled concepts has {over} times the best score of neurons given other concepts; "
        "{raised} of the best have an inhibitor that acts.",
        said=said, over=number(float(trained["over chance"].mean())), raised=number(float(trained.raised.mean())),
    )  # fmt: skip


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model, layer by layer."""
    for layer in range(model.n_layers if model.name.startswith(config.beside or "-") else 1):
        rng = lab.rng(f"4.34 {model.name} {layer}")
        text = Text.of(model, config, lab.seed)
        reads, writes, shares = circuits(model, text, layer)
        trained = compared(reads, writes, config, rng)
        best = asymmetric.search(reads, asymmetric.scaled(reads, writes), config.hits)
        tested = [causes(model, text, layer, best, k, shares, config, rng) for k in range(len(best.score))]
        raised = {name: float(np.mean([one[name] for one in tested])) for name in ("inhibitor", AS_LOUD, REMOVED)}
        yield {
            "arm": TRAINED, "layer": layer, **trained, "raised": raised["inhibitor"],
            "hits": [{"model": model.name, "layer": layer, **named(best, k, text), **tested[k]} for k in range(len(tested))],
        }  # fmt: skip
        yield {"arm": AS_LOUD, "layer": layer, "raised": raised[AS_LOUD]}
        yield {"arm": REMOVED, "layer": layer, "raised": raised[REMOVED]}
        other = by_chance(reads, asymmetric.scaled(reads, writes), rng)
        yield {"arm": RELABELLED, "layer": layer, "over chance": other / trained["limit"]}
        for name, strength in ((PLANTED, STRENGTH), (WEAK, STRENGTH / 2), (WEAKER, STRENGTH / 4)):
            yield {"arm": name, "layer": layer, **planting(reads, writes, strength, config, rng)}
        for name, kind in ((INIT, "init"), (SHUFFLED, "shuffled")):
            twin = model.control(kind)  # type: ignore[arg-type]
            yield {"arm": name, "layer": layer, **compared(*circuits(twin, text, layer)[:2], config, rng)}


@dataclass(frozen=True)
class Text:
    """rows (row, position) of tokens; concepts on (token, concept), tokens behind BOS row by row; and their names."""

    rows: np.ndarray
    on: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, model: lms.LanguageModel, config: Config, seed: int) -> Text:
        """The most frequent concepts on a sample of rows."""
        split = lms.corpus.sample(model.tokenizer)
        rows = split.rows(model.n_ctx, limit=config.rows, seed=seed)
        every = planted.concepts(split)
        on = np.stack([one.where[rows.place[:, 1:].ravel()] for one in every], axis=1)
        kept = np.argsort(-on.sum(axis=0), kind="stable")[: config.concepts]
        return cls(rows.tokens, on[:, kept], [every[k].name for k in kept])


def circuits(model: lms.LanguageModel, text: Text, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(neuron, concept) what each reads, (concept, neuron) what each writes, (concept, d) what the layer writes for each."""
    post, out = model.neuron_hook(layer), f"blocks.{layer}.hook_mlp_out"
    parts = [
        model.activations(lms.rows_to_tensor(part), [post, out])
        for part in np.array_split(text.rows, max(1, len(text.rows) // 64))
    ]
    on = text.on - text.on.mean(axis=0)
    gram = on.T @ on
    gram += 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))

    def added(hook: str) -> np.ndarray:
        values = torch.cat([part[hook][:, 1:].flatten(0, 1) for part in parts]).double().numpy()
        return np.asarray(np.linalg.solve(gram, on.T @ (values - values.mean(axis=0))))

    reads, shares = added(post).T, added(out)
    overlap = shares @ shares.T
    dual = np.linalg.solve(overlap + 1e-2 * np.trace(overlap) / len(overlap) * np.eye(len(overlap)), shares)
    return reads, dual @ model.hooked.W_out[layer].detach().double().numpy().T, shares


def compared(reads: np.ndarray, writes: np.ndarray, config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """The best score, over the best of all relabellings."""
    shares = asymmetric.scaled(reads, writes)
    found = asymmetric.search(reads, shares)
    limits = [
        float(asymmetric.search(*motifs.regrouped(reads, shares, rng), 1).score.max(initial=0)) for _ in range(config.draws)
    ]
    best = float(found.score.max(initial=0))
    return {
        "score": best, "limit": max(limits), "over chance": best / max(limits),
        "beyond": int((found.score > max(limits)).sum()),
        "scores": found.score.tolist(), "limits": limits,
    }  # fmt: skip


def by_chance(reads: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> float:
    """The best score of one relabelling."""
    return float(asymmetric.search(*motifs.regrouped(reads, shares, rng), 1).score.max(initial=0))


def planting(
    reads: np.ndarray, writes: np.ndarray, strength: float, config: Config, rng: np.random.Generator
) -> dict[str, Any]:
    """Motifs planted one at a time: the mean score, over chance, and how often the best hit is the planted one."""
    rows, limit = [], max(by_chance(reads, asymmetric.scaled(reads, writes), rng) for _ in range(config.draws))
    for _ in range(5):
        mixed, out, place = asymmetric.plant(reads, writes, strength, rng)
        found = asymmetric.search(mixed, asymmetric.scaled(mixed, out), 1000)
        own = (found.neuron == place[0]) & (found.a == place[1]) & (found.b == place[2])
        score = float(found.score[own].max(initial=0))
        rows.append({"score": score, "over chance": score / limit, "first": bool(own[0])})
    return {key: float(value) for key, value in pd.DataFrame(rows).mean().items()}


def causes(
    model: lms.LanguageModel, text: Text, layer: int, best: asymmetric.Hits, k: int, shares: np.ndarray, config: Config,
    rng: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """Where A is on and B is not, with a neuron's write taken off: does the prediction move the way B moves it, more than with
    other neurons? Movement along the change of log probabilities that B's own share of the layer's output makes there."""
    a, b, neuron, inhibitor = int(best.a[k]), int(best.b[k]), int(best.neuron[k]), int(best.inhibitor[k])
    here = (text.on[:, a] & ~text.on[:, b]).reshape(-1, text.rows.shape[1] - 1)
    chosen = rng.permutation(np.flatnonzero(here.any(axis=1)))[: config.contexts]
    where, tokens = torch.from_numpy(here[chosen]), lms.rows_to_tensor(text.rows[chosen])
    post = model.activations(tokens, [model.neuron_hook(layer)])[model.neuron_hook(layer)][:, 1:]
    out, mean = model.hooked.W_out[layer].detach(), post.flatten(0, 1).mean(0)
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

        with torch.no_grad():
            ran = model.hooked.run_with_hooks(tokens, return_type="logits", fwd_hooks=[(f"blocks.{layer}.hook_mlp_out", put)])
        return torch.log_softmax(ran[:, 1:][where], -1)

    clean = said(torch.zeros(len(off), out.shape[1]))
    own = torch.from_numpy(shares[b]).float()
    way = said(own.expand(len(off), -1)) - clean
    way = way / way.square().sum(-1, keepdim=True)

    def moves(delta: torch.Tensor) -> float:
        return float(((said(delta) - clean) * way).sum(-1).mean())

    def without(one: int) -> float:
        return moves(-off[:, one, None] * out[one])

    limit = float(np.quantile([without(one) / loud[one] for one in others[1:]], 0.95))
    put_there = float((off[:, neuron].mean() * out[neuron]).norm())  # as strong as the neuron whose interference it takes off
    planted_move = moves((own / own.norm() * put_there).expand(len(off), -1)) / (put_there * len(off) ** 0.5)
    raised = without(inhibitor) / loud[inhibitor]
    return {
        "moves": raised, "limit": limit, "inhibitor": raised > limit, AS_LOUD: without(others[0]) / loud[others[0]] > limit,
        REMOVED: planted_move > limit,
    }  # fmt: skip


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
        hits = asymmetric.search(reads, asymmetric.scaled(reads, writes), 10_000)
        good = hits.score >= 0.1
        seen = set(zip(hits.neuron[good].tolist(), (hits.a[good] % n).tolist(), (hits.b[good] % n).tolist(), strict=True))
        found += [tuple(one) in seen for one in np.argwhere(np.logical_and(*motifs.asymmetric_triples(w, out))).tolist()]
    return arm(TOY, [0], recall=float(np.mean(found)))


def figures(table: pd.DataFrame) -> list[Figure]:
    """Scores beside those of relabellings; how strong a motif would have been seen."""
    row = table[table.arm == TRAINED].iloc[0]
    drawn = plots.histogram_with_null(list(row.scores), list(row.limits), x_title="score")
    seen = plots.figure(height=320)
    for name in (TRAINED, INIT, SHUFFLED, WEAKER, WEAK, PLANTED):
        some = table[table.arm == name]
        seen.add_scatter(x=[name] * len(some), y=some.score.tolist(), mode="markers", name=name, showlegend=False)
    seen.update_layout(yaxis={"title": "best score"})
    return [
        Figure("scores", drawn, f"The hundred best motifs of {row.model}, and the best of each relabelling."),
        Figure(
            "power", seen, "The best score of every model, before training, with weights shuffled, and with motifs planted."
        ),
    ]
