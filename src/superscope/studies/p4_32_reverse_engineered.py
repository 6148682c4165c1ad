"""4.32: a labelled feature, taken apart: what do the neurons that carry it read, and what becomes of interference?

The three features of 4.31 that the neurons of a one-layer model carry most of; their carriers are ranked by attribution, as
many as detection needs and is content with (4.31). All is chosen on some documents and measured on others.

How it is computed: a carrier's input is a sum over the current token, its position and what each head fetches, so it is rebuilt
from tables of single tokens and places that come from the weights alone (`lookups`): first the token, then the position, heads
that attend to everything alike, heads as of the mean query, heads by query. R^2 is asked of tokens with the feature and matched
ones. The best that the token alone can say is its mean on the other documents. Then the rebuilt carriers take the place of the
real ones: how much comes back of what carriers cost that know the current token alone?

Interference: distractors are the five labelled concepts that make the carriers write most of the feature where it is not,
among those after which the feature's next tokens do not follow. What the carriers write for one alone and on top of the
feature, what their nonlinearity and every other part take off, and what remains is the ledger (`distractors`), in nats. Both
at once are made by adding the distractor's mean change to the stream.

Prior numbers: heads whose attention hardly depends on the query can be summed up by one text, and context neurons follow from
weights (Gibson 2025, arXiv 2510.03315); pruned circuits may be unfaithful, so that untrained models are shown beside (Drori
2026). The toy answer: a threshold removes interference that comes alone and not what comes with the feature; two at once need
a decoder with hidden neurons (4.16, R^2 of .95 against .6 with a tied ReLU).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import unfolded
from superscope.evidence.wording import answer, joined, said, span
from superscope.lab import Lab
from superscope.lms.reading import planted as concepts_of
from superscope.measure.activations import carriers, disambiguation, distractors, labelled, lookups, necessity
from superscope.measure.activations.distractors import ALONE, SIGNAL, TOGETHER
from superscope.measure.activations.labelled import Case, size
from superscope.measure.activations.lookups import BLIND, RUNGS, TABLES, TOKEN

PROBLEM = "4.32"
TITLE = "One feature, fully reverse-engineered"
QUESTION = (
    "How do the neurons that carry a feature compute it, and how does the model deal with interference, alone or together?"
)
ASSUMPTIONS = [
    "The model detects a feature in so far as it expects what follows it, rather than what follows its matches (4.31).",
    "Carriers are the first of one ranking; another set might do.",
    "Feature and distractor at once: the distractor's mean change is added to the stream, as text has hardly any of them.",
    "Interference is that of labelled concepts: the five strongest of a feature are its distractors.",
]
DISANALOGIES = [
    "A toy's distractor is another input; here it is a class of text, which differs from the feature in more than one way.",
    "In a toy every output is wrong or right; here the next tokens of a distractor may be those of the feature by chance.",
    "Tables of one layer are exact but for a norm; deeper models have no such tables.",
]
TIPS = ["Splice what you rebuilt into the model: a high R^2 alone says that a neuron is simple",
        "Draw the token-only baseline: most of a neuron's variance is the current token's"]  # fmt: skip

TRAINED, DEALT, MADE, MADE_BLIND = "trained", "tables dealt", "made by tables, with noise", "made by the mean query, with noise"
HEADLESS, SHUT = "made by tokens alone, with noise", "planted below a threshold"
STRAIGHT, ANSWERED = "planted linear", "planted linear, answered"
CONTROLS = {"init": "initial weights", "shuffled": "shuffled weights"}
CONTEXT = ("base64", "hex", "Python indentation")  # features whose matches have the same current token
MEAN = "token's mean"  # of what is held, on other documents: all that the token alone can say
LEAST, FEATURES = 0.5, 3  # nats that neurons carry of a feature; features that are asked about
NOISE = 0.2  # of the spread of each dimension, in streams that are made
FEWEST, MOST = 30, 400  # tokens of a distractor in either half
EXCUSED = 0.1  # distractors that are followed by a tenth more of what tells the feature, of the way to it, are left out
COUNT = 5  # distractors of a feature
OPPOSERS = 5


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "gelu-1l-mini"  # bundled model of one layer; its twins of other seeds are the replicates
    rows: int = 8  # rows of text a feature and half
    generic: int = 20  # rows of any text a half
    fit: int = 300  # pairs on which all is chosen
    test: int = 150  # pairs of other documents on which all is measured
    points: int = 8  # of the curve that says how many carriers there are

    def __post_init__(self) -> None:
        if min(self.rows, self.generic) < 1 or min(self.fit, self.test) < labelled.FEWEST or self.points < 2:
            raise ValueError(
                f"rows={self.rows}, generic={self.generic}, fit={self.fit}, test={self.test}, points={self.points}: expected a "
                f"row of each, {labelled.FEWEST} pairs of each and 2 points at least"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=24, generic=100, fit=800, test=300, points=16),
    "full": Config(rows=60, generic=300, fit=2000, test=1000, points=24),
}
GATE = [
    Check("Of three features the neurons carry half a nat or more", "features", ">= 3", TRAINED, unit="models"),
    Check("the parts add up to the stream that the neurons read", "residue", "<= 1e-3", TRAINED, unit="models"),
    Check("without its carriers a feature's tokens cost a twentieth of a nat or more", "cost", ">= 0.05", TRAINED,
          unit="models"),
    Check("every feature has a distractor", "distractors", ">= 3", TRAINED, unit="models"),
    Check("planted linear carriers pass the distractor as the feature", "passes", "within [0.8, 1.25]", STRAIGHT,
          unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "rebuilt", "Tables of tokens and places rebuild what carriers read: R^2 of .8 or more, in the worst of three features",
        "r2", ">= 0.8", of=TRAINED, null=CONTROLS["shuffled"], plant=MADE, unit="models",
        why="Null: the same neurons of the model with shuffled weights, and its own tables: a neuron that does nothing may be "
        "simple, too. Plant: streams made by the tables, with noise.",
        note="Median carrier, at tokens with the feature and at their matches, in documents that gave nothing. Tables whose "
        "heads fetch what other tokens would have given explain less than nothing.",
    ),
    Expect(
        "blind", "So do tables in which a head attends as of the mean query, whatever the current token asks", "r2 blind",
        ">= 0.8", of=TRAINED, null=CONTROLS["shuffled"], plant=MADE_BLIND, unit="models",
        why="As above; plant: streams made by such heads, with noise.",
    ),
    Expect(
        "context", "Of features whose matches have the same token, the token alone explains .1 less", "gain", ">= 0.1",
        of=TRAINED, null=CONTROLS["shuffled"], plant=MADE, unit="models",
        why="Null: the model with shuffled weights. Plant: streams made by all tables, with noise.",
        note="R^2 of the tables less that of the token's mean on other documents. Of streams made by tokens alone it is nought "
        "(table).",
    ),
    Expect(
        "spliced", "Rebuilt carriers bring back eight tenths of what it costs when they know the current token alone",
        "recovered", ">= 0.8", of=TRAINED, null=DEALT, plant=MADE, unit="models",
        why="Null: rebuilt from dealt tables. Plant: streams made by the tables, with noise.",
        note="Loss of the next token where the feature is. Of what removal costs (table) dealt tables bring back nine tenths, "
        "too, as would anything that is not the mean without the feature; so the token's mean, not removal, is nought here.",
    ),
    Expect(
        "threshold", "The carriers' nonlinearity lets half as much of a distractor pass as of the feature", "passes", "<= 0.5",
        of=TRAINED, null=STRAIGHT, plant=SHUT, unit="models",
        why="Null: carriers in their linear range. Plant: carriers whose threshold a distractor of .6 does not reach.",
    ),
    Expect(
        "answered", "Other parts, the norm among them, take back half of what carriers say of a distractor alone, or more",
        "answered", ">= 0.5",
        of=TRAINED, null=STRAIGHT, plant=ANSWERED, unit="models",
        why="Null: nothing answers. Plant: other neurons take back .85 of it, unevenly.",
    ),
    Expect(
        "together", "A distractor alone makes carriers say half as much as one that comes with the feature, or less", "alone",
        "<= 0.5", of=TRAINED, null=STRAIGHT, plant=SHUT, unit="models",
        why="The toy's prediction: a feature that is on has used the threshold up. Null: linear carriers.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models(config.model, examine, config)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    trained = table[table.arm == TRAINED]
    each = {name: unfolded(table, name) for name in ("rungs", "reads", "ledger", "distracted", "ablations", "neurons")}
    return Findings(
        passed,
        claims,
        figures(each),
        {"arms": table.drop(columns=list(each)), **each},
        f"R^2 of tables {span(trained.r2.min(), trained.r2.max())}, of the token alone "
        f"{span(trained['r2 token'].min(), trained['r2 token'].max())}; with shuffled weights "
        f"{table[table.arm == CONTROLS['shuffled']].r2.mean():.2f}. A distractor makes carriers write "
        f"{span(trained.error.min(), trained.error.max())} of what they write for the feature; added to text with neither it "
        f"does {span(trained['added as real'].min(), trained['added as real'].max())} of what it does itself. "
        f"The nonlinearity lets half or less of it pass in {halved(each['distracted'])} distractors of all "
        "models.",
        in_short({claim.id: claim.verdict for claim in claims}, table, each["distracted"]),
    )


def halved(distracted: pd.DataFrame) -> str:
    """How many distractors are shut out, of how many."""
    return f"{int((distracted.passes <= 0.5).sum())} of {len(distracted)}" if len(distracted) else "none of no"


def in_short(verdicts: dict[str, str], table: pd.DataFrame, distracted: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    if "gate failed" in verdicts.values():
        return "No answer: too few features are carried by neurons, or planted interference is not seen."
    r2 = {arm: table.loc[table.arm == arm, "r2"] for arm in (TRAINED, CONTROLS["shuffled"])}
    worst = distracted.groupby(["feature", "model"])["passes"].median().groupby(level="feature").max()
    return answer(
        "Tables rebuild carriers{untrained}; spliced in, they bring back {recovered} of what the token cannot. A threshold "
        "protects {shut}; others answer: {answered}.",
        untrained=", and untrained neurons better" if r2[CONTROLS["shuffled"]].min() > r2[TRAINED].max() else "",
        recovered=float(table.loc[table.arm == TRAINED, "recovered"].mean()),
        shut=joined([str(feature) for feature in worst.index[worst <= 0.5]] or ["no feature"]),
        answered=said(verdicts["answered"]),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ measuring


@dataclass(frozen=True)
class Text:
    """Rows, the numbers of their tokens that all is chosen on, and what stands where."""

    split: lms.corpus.Split
    rows: lms.corpus.Rows
    first: np.ndarray

    @cached_property
    def concepts(self) -> list[concepts_of.Concept]:
        """What a distractor may be."""
        return concepts_of.concepts(self.split)

    @cached_property
    def marks(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of the features, at the rows' tokens."""
        return labelled.marks(self.split, self.place)

    @property
    def tokens(self) -> np.ndarray:
        """(token,)."""
        return np.asarray(self.rows.tokens[:, 1:].ravel())

    @property
    def place(self) -> np.ndarray:
        """(token,) in the split."""
        return np.asarray(self.rows.place[:, 1:].ravel())


@dataclass(frozen=True)
class Feature:
    """A case, the numbers of its tokens (pairs on which all is chosen come first) and its carriers."""

    case: Case
    ons: np.ndarray
    offs: np.ndarray
    carriers: np.ndarray

    @property
    def tried(self) -> np.ndarray:
        """Tokens on which all is measured, in the order of the second of `case.parts`."""
        return np.concatenate([self.ons[self.case.fit :], self.offs[self.case.fit :]])


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.32 {model.name}")
    split = lms.corpus.sample(model.tokenizer)
    text = Text(split, *labelled.text_of(split, model.n_ctx, config.rows, config.generic, rng))
    common = np.bincount(text.tokens[text.first], minlength=int(model.hooked.cfg.d_vocab))
    found = list(labelled.cases(model, split, text.rows, text.first, config.fit, config.test, rng))
    found = sorted(found, key=lambda one: -size(one[0].parts[0], one[0].weights))[:FEATURES]
    features = [
        Feature(case, ons, offs, carrying(case, config.points))
        for case, ons, offs in found if size(case.parts[0], case.weights) >= LEAST
    ]  # fmt: skip
    made, true = lookups.tables(model, common), lookups.read(model, text.rows)
    said = {rung: lookups.rebuild(model, made, text.rows, rung).stream() for rung in RUNGS}
    wrong = made.dealt(rng)
    dealt = said | {rung: lookups.rebuild(model, wrong, text.rows, rung).stream() for rung in (BLIND, TABLES)}
    stream = true.stream()
    objects = [
        (TRAINED, stream, said), (DEALT, stream, dealt), (MADE, noisy(said[TABLES], rng), said),
        (MADE_BLIND, noisy(said[BLIND], rng), said), (HEADLESS, noisy(said[TOKEN], rng), said | {TABLES: said[TOKEN]}),
    ]  # fmt: skip
    rows = {arm: {"arm": arm, **rebuilt(model, features, text, heard, told)} for arm, heard, told in objects}
    known = [interference(model, one, text, true, rng) for one in features]
    seen = [one for some in known for one in some]
    rows[TRAINED] |= {
        "features": len(features), "residue": residue(stream, features), "distractors": sum(len(some) > 0 for some in known),
        **distractors.summary([one["ledger"] for one in seen]),
        "added as real": float(np.mean([one["said"]["added as real"] for one in seen])) if seen else np.nan,
        "reads": [row for one in features for row in reading(model, one, true)],
        "neurons": [row for one in features for row in read_of(model, one, made, text.split)],
        "ledger": [row for one in seen for row in one["rows"]], "distracted": [one["said"] for one in seen],
        "ablations": [row for one in seen for row in one["removed"]],
    }  # fmt: skip
    yield from rows.values()
    for arm, threshold, answered in ((SHUT, 3.0, 0.0), (STRAIGHT, -2.0, 0.0), (ANSWERED, -2.0, 0.85)):
        planted = [distractors.plant(one["cells"], one["heard"], one["up"], threshold, answered, rng) for one in seen]
        ledgers = [distractors.ledger(cells, np.abs(one["up"])) for cells, one in zip(planted, seen, strict=True)]
        yield {"arm": arm, **distractors.summary(ledgers)}
    for kind, arm in CONTROLS.items():
        other = model.control(kind)  # type: ignore[arg-type]
        own = lookups.tables(other, common)
        told = {rung: lookups.rebuild(other, own, text.rows, rung).stream() for rung in (TOKEN, BLIND, TABLES)}
        row = rebuilt(other, features, text, lookups.read(other, text.rows).stream(), told)
        yield {"arm": arm, **{name: row[name] for name in row if name.startswith("r2") or name == "gain"}}


def carrying(case: Case, points: int) -> np.ndarray:
    """The neurons that carry a feature: ranked by the size of their attribution, as many as are needed and enough."""
    fit = case.parts[0]
    there = fit.values[~fit.on].mean(axis=0, keepdims=True)
    shares = carriers.signed_attribution(fit.values, there, fit.gradient(case.weights))(np.eye(fit.values.shape[1]))
    order = np.argsort(-np.abs(shares), kind="stable")
    found = necessity.curves(fit.detection(case.weights), fit.values, order, there, points=points)
    return order[: int(max(found.k90, found.enough90))]


def noisy(stream: Tensor, rng: np.random.Generator) -> Tensor:
    """With noise of a fixed share of every dimension's spread."""
    noise = torch.from_numpy(rng.standard_normal(stream.shape).astype(np.float32))
    return stream + NOISE * stream.std(dim=0) * noise


def residue(stream: Tensor, features: list[Feature]) -> float:
    """By how much the parts miss the stream that the neurons read, over its spread."""
    if not features:
        return float("nan")
    one = features[0]
    heard = one.case.parts[1].stream
    return float((stream[torch.from_numpy(one.tried)] - heard).abs().max() / heard.std())


def rebuilt(
    model: lms.LanguageModel, features: list[Feature], text: Text, stream: Tensor, said: dict[str, Tensor]
) -> dict[str, Any]:
    """What tables (`said`, rung -> stream) tell of the carriers that read `stream` (token, d), and what they bring back."""
    block: Any = model.hooked.blocks[model.n_layers - 1]
    rows, costs = [], []
    for one in features:
        tried, chosen = one.tried, np.flatnonzero(text.first)
        held = lookups.pre(model, stream, one.carriers).numpy()
        told = {rung: lookups.pre(model, at[torch.from_numpy(tried)], one.carriers).numpy() for rung, at in said.items()}
        told[MEAN] = lookups.by_token(text.tokens[chosen], held[chosen], text.tokens[tried], told[TOKEN])
        r2 = {rung: float(np.median(lookups.explained(held[tried], at))) for rung, at in told.items()}
        half = len(tried) // 2
        pairs = {rung: float(np.median(lookups.explained(held[tried][:half] - held[tried][half:], at[:half] - at[half:])))
                 for rung, at in told.items()}  # fmt: skip
        site = one.case.parts[1]
        with torch.inference_mode():
            values = block.mlp.act_fn(lookups.pre(model, stream[torch.from_numpy(tried)])).numpy()
            after = {rung: block.mlp.act_fn(torch.from_numpy(at).float()).numpy() for rung, at in told.items()}
        site = replace(site, model=model, stream=stream[torch.from_numpy(tried)], values=values, out=block.mlp.W_out.detach(),
                       bias=block.mlp.b_out.detach())  # fmt: skip
        fit = one.case.parts[0]
        mean = fit.values[~fit.on][:, one.carriers].mean(axis=0)
        losses = {name: np.mean(site.loss(put(values, one.carriers, what))[site.on])
                  for name, what in {"removed": mean, **after}.items()}  # fmt: skip
        clean = float(site.loss(values)[site.on].mean())
        costs.append({name: loss - clean for name, loss in losses.items()})
        rows += [
            {"feature": one.case.feature, "carriers": len(one.carriers), "rung": rung, "r2": r2[rung], "r2 pairs": pairs[rung],
             "cost removed": costs[-1]["removed"], "cost spliced": costs[-1][rung]}
            for rung in told
        ]  # fmt: skip
    if not rows:
        return {"features": 0}
    table, sums = pd.DataFrame(rows), pd.DataFrame(costs).sum()
    by = table.pivot_table(index="feature", columns="rung", values="r2")
    context = by[by.index.isin(CONTEXT)]
    return {
        "r2": by[TABLES].min(), "r2 blind": by[BLIND].min(), "r2 token": by[MEAN].mean(),
        "gain": float((context[TABLES] - context[MEAN]).mean()), "cost": sums["removed"] / len(costs),
        "recovered": 1 - sums[TABLES] / sums[MEAN], "recovered blind": 1 - sums[BLIND] / sums[MEAN],
        "recovered of removal": 1 - sums[TABLES] / sums["removed"],
        "rungs": rows,
    }  # fmt: skip


def put(values: np.ndarray, neurons: np.ndarray, what: np.ndarray) -> np.ndarray:
    """The values with some neurons' replaced."""
    out = values.copy()
    out[:, neurons] = what
    return out


def reading(model: lms.LanguageModel, one: Feature, true: lookups.Parts) -> Iterator[dict[str, Any]]:
    """What brings the carriers' part of the detection, in nats: the current token, the position, each head, the norm's scale.

    A carrier's share is split as the difference of its input between tokens with the feature and their matches is.
    """
    site, block = one.case.parts[1], model.hooked.blocks[model.n_layers - 1]
    w: Any = block
    parts = true.at(one.tried)
    final = site.stream + torch.from_numpy(site.written(site.values))
    up = distractors.readout(model, one.case.weights, one.carriers, final).up
    weights = w.mlp.W_in.detach()[:, torch.from_numpy(one.carriers)] * w.ln2.w.detach()[:, None]
    weights = weights - weights.mean(dim=0)
    stream = parts.stream()
    scale = float(disambiguation.scale_of(model, stream).mean())
    on = torch.from_numpy(site.on)

    def gap(part: Tensor) -> np.ndarray:
        return np.asarray(((part[on].mean(dim=0) - part[~on].mean(dim=0)) @ weights / scale).numpy())

    each = {"token": gap(parts.token), "position": gap(parts.position)}
    each |= {f"head {head}": gap(brought) for head, brought in enumerate(parts.heads)}
    held = lookups.pre(model, stream, one.carriers)
    whole = (held[on].mean(dim=0) - held[~on].mean(dim=0)).numpy()
    each["LayerNorm"] = whole - sum(each.values())
    post = site.values[:, one.carriers]
    moved = post[site.on].mean(axis=0) - post[~site.on].mean(axis=0)
    slope = moved / np.where(np.abs(whole) < 1e-3, np.inf, whole)
    for name, part in each.items():
        yield {"feature": one.case.feature, "read from": name, "nats": float((slope * part) @ up)}


def read_of(
    model: lms.LanguageModel, one: Feature, tables: lookups.Tables, split: lms.corpus.Split, most: int = 5, words: int = 4
) -> Iterator[dict[str, Any]]:
    """What the first carriers of a feature read most from, by the tables: as the current token, and fetched by each head."""
    mlp: Any = model.hooked.blocks[model.n_layers - 1].mlp
    some, pieces = torch.argsort(tables.common, descending=True)[:1000], model.tokenizer.pieces
    for neuron in one.carriers[:most].tolist():
        row: dict[str, Any] = {"feature": one.case.feature, "neuron": neuron}
        sources = {"token": tables.token, **{f"head {head}": brought for head, brought in enumerate(tables.fetched)}}
        for name, brought in sources.items():
            best = some[torch.argsort(brought[some] @ mlp.W_in.detach()[:, neuron], descending=True)[:words]]
            row[name] = " ".join(repr(pieces[token]) for token in best.tolist())
        yield row


# ------------------------------------------------------------------------------------------------------------ interference


def interference(
    model: lms.LanguageModel, one: Feature, text: Text, true: lookups.Parts, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """The strongest distractors of a feature, their ledgers, and what happens without what deals with them."""
    on = text.marks[one.case.feature][0]
    fit = one.case.parts[0]
    read = distractors.readout(model, one.case.weights, one.carriers, fit.stream + torch.from_numpy(fit.written(fit.values)))

    def some(where: np.ndarray) -> np.ndarray:
        return rng.permutation(np.flatnonzero(where))[:MOST]

    free = ~on & (text.tokens != model.tokenizer.bos)
    at = {half: some(free & side) for half, side in (("chosen", text.first), ("tried", ~text.first))}
    neither = distractors.cell(read, true.at(at["chosen"]))
    usable, follows = labelled.followed(text.rows, model.tokenizer.bos)

    def telling(where: np.ndarray) -> float:  # share of next tokens that tell the feature
        return float((one.case.weights[follows[where[usable[where]]]] > 0).mean())

    usual, own = telling(at["chosen"]), telling(some(on & text.first))
    found: list[tuple[float, str, np.ndarray]] = []
    for concept in text.concepts:
        here = concept.where[text.place] & free
        if min((here & text.first).sum(), (here & ~text.first).sum()) < FEWEST:
            continue
        tokens = some(here & text.first)
        if telling(tokens) - usual > EXCUSED * (own - usual):
            continue
        stream = true.at(tokens).stream()
        block: Any = model.hooked.blocks[model.n_layers - 1]
        with torch.inference_mode():
            post = block.mlp.act_fn(lookups.pre(model, stream, one.carriers)).numpy()
        written = float((post.mean(axis=0) - neither.post.mean(axis=0)) @ read.up)
        found.append((written, concept.name, here))
    found = sorted(found, key=lambda each: -each[0])[:COUNT]
    return [against(read, one, text, true, name, where, free, rng) for _, name, where in found]


def against(
    read: distractors.Readout, one: Feature, text: Text, true: lookups.Parts, name: str, where: np.ndarray, free: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """One distractor, `where` (token,) bool; free (token,) bool: has not the feature."""
    neither, tried = (rng.permutation(np.flatnonzero(which & ~text.first))[:MOST] for which in (free & ~where, where))
    parts = [true.at(neither), true.at(one.tried[: len(one.tried) // 2]), true.at(tried)]
    both, mimicked = distractors.added(parts[1], parts[2], parts[0]), distractors.added(parts[0], parts[2], parts[0])
    cells = [distractors.cell(read, part) for part in (*parts, both)]
    kept = distractors.ledger(cells, read.up)
    like = distractors.between(cells[0], distractors.cell(read, mimicked), read.up)
    labels = {"feature": one.case.feature, "distractor": name}
    said = {**labels, **distractors.summary([kept]), "added as real": like["carriers"] / kept[ALONE]["carriers"]}
    rows = [{**labels, "row": row, **{column: kept[column][row] for column in (SIGNAL, ALONE, TOGETHER)}}
            for row in (*distractors.ROWS, "total", "mass")]  # fmt: skip
    return {
        "cells": cells, "heard": [lookups.heard(read.model, part.stream()) for part in (*parts, both)], "up": read.up,
        "ledger": kept, "rows": rows, "said": said,
        "removed": [{**labels, **row} for row in removed(read, text, true, where, cells, parts)],
    }  # fmt: skip


def removed(
    read: distractors.Readout, text: Text, true: lookups.Parts, where: np.ndarray, cells: list[distractors.Cell],
    parts: list[lookups.Parts],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """What the distractor does when something that deals with it is taken away: the weighted logit and the probability of the
    feature's next tokens, with the distractor and with neither."""
    block: Any = read.model.hooked.blocks[read.model.n_layers - 1]

    def held(tokens: np.ndarray) -> Tensor:
        with torch.inference_mode():
            out: Tensor = block.mlp.act_fn(lookups.pre(read.model, true.at(tokens).stream()))
        return out

    chosen = np.flatnonzero(where & text.first)[:MOST]
    typical = held(np.flatnonzero(text.first)[:: max(1, int(text.first.sum()) // 2000)]).mean(dim=0)
    pushed = ((held(chosen).mean(dim=0) - typical) * (block.mlp.W_out.detach() @ read.reads)).numpy()
    pushed[read.carriers] = np.inf
    opposers = np.argsort(pushed, kind="stable")[:OPPOSERS]
    others = np.setdiff1d(np.arange(len(pushed)), read.carriers)
    changes = {
        "nothing": None, "the carriers' nonlinearity": distractors.straightened(read, cells[0]),
        "the five strongest opposers": distractors.silenced(opposers, typical),
        "all other neurons": distractors.silenced(others, typical),
    }  # fmt: skip
    for name, change in changes.items():
        low, high = (distractors.cell(read, part, change) for part in (parts[0], parts[2]))
        gap = distractors.between(low, high, read.up)
        yield {"removed": name, "carriers": gap["carriers"], "nats": gap["total"], "mass": gap["mass"],
               "mass with neither": float(low.mass.mean())}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ tables


def figures(each: dict[str, pd.DataFrame]) -> list[Figure]:
    """R^2 by rungs; who brings the feature; the ledger."""
    rungs, reads, ledger = each["rungs"], each["reads"], each["ledger"]
    if not len(reads) or not len(ledger):
        return []
    order = [MEAN, *RUNGS]
    ladder = plots.figure(height=340, yaxis_title="R^2 of carriers' inputs", yaxis_range=[0, 1])
    for arm, symbol in ((TRAINED, "circle"), (DEALT, "x")):
        mean = rungs[rungs.arm == arm].groupby(["feature", "rung"])["r2"].mean().unstack()
        for feature in mean.index:
            ladder.add_scatter(x=order, y=mean.loc[feature, order], name=f"{feature}, {arm}", mode="lines+markers",
                               marker_symbol=symbol, line_dash="solid" if arm == TRAINED else "dot")  # fmt: skip
    who = plots.figure(height=340, barmode="relative", yaxis_title="nats of the detection")
    joint = reads.assign(source=reads["read from"].replace({"token": "token and position", "position": "token and position"}))
    mean = joint.groupby(["model", "source", "feature"], sort=False)["nats"].sum()
    mean = mean.groupby(level=["source", "feature"], sort=False).mean().unstack()
    for name in mean.index:
        who.add_bar(x=mean.columns, y=mean.loc[name], name=name)
    book = plots.figure(height=360, barmode="group", yaxis_title="nats of the feature's next tokens")
    share = ledger[ledger.row != "mass"].groupby("row", sort=False)[[SIGNAL, ALONE, TOGETHER]].mean()
    for column in share.columns:
        book.add_bar(x=share.index, y=share[column], name=column)
    return [
        Figure("ladder", ladder, "What carriers read, rebuilt from tables by rungs, each with one thing more; mean of models."),
        Figure("reads", who, "Who brings the carriers' part of each feature; mean of models."),
        Figure("ledger", book, "What the feature, the distractor alone, and the distractor with the feature change; mean of "
               "features and models."),
    ]  # fmt: skip
