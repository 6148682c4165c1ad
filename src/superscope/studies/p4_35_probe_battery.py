"""4.35: a linear probe reads a simple feature. Has it found how the model represents it?

Three features that the current token never gives away, as every token with one is paired with the same token without it: in
base64 (the match stands in any other text), between round brackets, between double quotes (the match stands elsewhere in the
same genre). Values: the neurons of the last layer (gated: gate times value), as the question has it, where sparse means
something; what they write goes straight to the logits, so that steering them needs no other layer. Documents are dealt into
three parts, to fit, to choose and to judge, and pairs lie within a part. The probe is the better of two dense kinds (difference
of means, LDA) on the documents for choosing; four other kinds are in the tables.

Five tests, each of the median feature. Selective: its AUC less that of random labels of token types (Hewitt & Liang 2019),
both at types that were not fitted: else a dense probe knows all types by heart, and a planted feature is not selective either.
Transfer: AUC lost on a group of sources, or on a combination of source and class of token, that it never saw, against a probe
fitted on as many pairs of all; the larger of the two. Cause: the nats by which moving every token along the probe's direction
changes the detection (`carriers`), by as much as the means differ: over random directions as long, and over the difference of
means itself. Agreement: cosine of patterns (Haufe et al. 2014) between kinds on disjoint halves of the documents. One
direction: how many must be erased until no reader, one for each combination, is above chance. A sixth number is how sparse:
neurons for 95 % of the probe's AUC, over rotated axes. The confidence stated is how many of the five a feature passes.

Nulls: labels permuted by document; a property of types; a clue that goes with the feature in one combination and with nothing
in others; a copy in directions that nothing reads ("a good probe that does nothing"); random directions; rotated axes. Plants
lie in real activations, with labels dealt anew inside pairs. The same with initial and with shuffled weights.

Prior numbers: over 113 data sets no probe beats simple baselines chosen by validation AUC (Kantamneni et al. 2025). The toy
answer: AND of two inputs can be read at once from a layer that never computed it (4.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import unfolded
from superscope.evidence.wording import answer, number, span
from superscope.lab import Lab
from superscope.measure.activations import carriers, labelled, probe_battery, probe_trials
from superscope.measure.activations.carriers import Site
from superscope.measure.activations.probe_battery import DENSE, KINDS, Parts, Probe
from superscope.measure.activations.subspaces import random_basis

PROBLEM = "4.35"
TITLE = "Has the probe found the representation?"
QUESTION = "A linear probe detects a simple feature in the MLP activations: how sparse is it, and is it what the model uses?"
ASSUMPTIONS = [
    "The model uses a feature in so far as it expects what follows it, rather than what follows its matches.",
    "Neurons are those of the last layer (in a one-layer model all); attention's own path past them is held still.",
    "The probe's direction is what it reads with; the pattern is its estimate of what is written.",
    "A source is a genre of the match; two groups of genres and two classes of tokens make four combinations.",
]
DISANALOGIES = [
    "A toy's feature is one input; brackets, quotes and base64 each bundle finer features, of which some may be used.",
    "Three features with exact labels: not a sample of what the model knows.",
]
TIPS = [
    "Accuracy is the weakest evidence: add selectivity, transfer, cause, agreement and erasure.",
    "Steer along what the probe reads with, and along its pattern: they differ.",
]

TRAINED, INIT, SHUFFLED = "trained", "initial weights", "shuffled weights"
PERMUTED, TYPES, RANDOM, AXES = "permuted labels", "property of types", "random directions", "other rotated axes"
PLANTED, FIVE, IDLE, CLUE = "planted", "planted on five", "planted, never read", "planted clue in each combination"
TESTS = ("is selective", "transfers", "acts", "agrees", "one direction")
FITTED = DENSE[:2]  # the kinds of which the probe is the best
FEWEST = 60  # pairs to judge on
CONTEXT = 256  # tokens of a row, at most
LEAST = 0.75  # AUC of a probe that reads at all


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "gelu-1l-mini"  # bundled model; its twins of other seeds are the replicates
    rows: int = 16  # rows of text a feature and half of the documents
    generic: int = 5  # rows of any text a half
    fit: int = 600  # pairs to fit on
    choose: int = 150  # to choose on
    judge: int = 300  # to judge on
    tasks: int = 1  # control tasks
    turns: int = 1  # rotations
    draws: int = 12  # random directions of each sort
    published: str = ""  # a published model for the third rung, such as "SmolLM2-135M"

    def __post_init__(self) -> None:
        counts, pairs = (self.rows, self.generic, self.tasks, self.turns, self.draws), (self.fit, self.choose, self.judge)
        if min(counts) < 1 or min(pairs) < FEWEST:
            raise ValueError(
                f"rows={self.rows}, generic={self.generic}, fit={self.fit}, choose={self.choose}, judge={self.judge}, "
                f"tasks={self.tasks}, turns={self.turns}, draws={self.draws}: expected {FEWEST} pairs of each part, and 1 of "
                "all else, at least"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(
        rows=30, generic=10, fit=1500, choose=400, judge=800, tasks=2, turns=2, draws=40, published="SmolLM2-135M"
    ),
    "full": Config(
        rows=100, generic=30, fit=5000, choose=1200, judge=2500, tasks=5, turns=10, draws=300, published="SmolLM2-135M"
    ),
}

GATE = [
    Check("All three features have enough pairs", "features", ">= 3", TRAINED, unit="models"),
    Check("the model expects what follows them half a nat or more, for the median", "detection", ">= 0.5", TRAINED,
          unit="models"),
    Check("the pattern of a probe of a planted feature is the planted direction", "cosine", ">= 0.95", PLANTED, unit="models"),
    Check("a probe of a copy that nothing reads is a good one", "read", ">= 0.95", IDLE, unit="models"),
    Check("a probe of permuted labels reads nothing", "read", "within [0.4, 0.6]", PERMUTED, unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "read", "A dense probe reads the median feature: AUC .95 or more on other documents", "read", ">= 0.95", of=TRAINED,
        null=PERMUTED, plant=PLANTED, unit="models",
        why="Null: labels of whole documents exchanged. Plant: three and a half spreads along one direction.",
    ),
    Expect(
        "selective", "At tokens not fitted its AUC is .3 or more above that of random labels of token types", "selectivity",
        ">= 0.3", of=TRAINED, null=TYPES, plant=PLANTED, unit="models",
        why="Null: the feature is such a labelling. Plant: labels dealt anew inside pairs of one token each.",
    ),
    Expect(
        "transfers", "It loses .05 or less on sources, and on combinations of source and token, that it never saw", "loses",
        "<= 0.05", of=TRAINED, null=CLUE, plant=PLANTED, unit="models",
        why="Null: a faint direction for all, and in each combination a loud one that goes with nothing in the others. Plant: "
        "one direction for all.",
        note="The larger of two means, over groups of sources and over combinations.",
    ),
    Expect(
        "moves", "Along the probe's direction the detection moves three times as far as along random ones as long", "moves",
        ">= 3", of=TRAINED, null=IDLE, plant=PLANTED, unit="models",
        why="Null: four spreads in directions that no later weight reads. Plant: a direction at 60 degrees from the best.",
    ),
    Expect(
        "half", "and half as far as along the difference of means, or farther", "over means", ">= 0.5", of=TRAINED,
        null=RANDOM, plant=PLANTED, unit="models", why="Null: random directions. Plant: as before.",
    ),
    Expect(
        "agree", "Two kinds of probes, on documents apart, agree on the pattern: mean cosine .7 or more", "agreement",
        ">= 0.7", of=TRAINED, null=PERMUTED, plant=PLANTED, unit="models",
        why="Null: permuted labels, in the same few loud directions. Plant: one direction.",
        note=".7: half of the variance is shared.",
    ),
    Expect(
        "one", "One direction or two: once they are erased no reader in any combination is above chance", "directions",
        "within [1, 2]", of=TRAINED, null=CLUE, plant=PLANTED, unit="models",
        why="Null: one more direction in each combination. Plant: one direction.",
    ),
    Expect(
        "sparse", "Half as many neurons as rotated axes, or fewer, give 95 % of the probe's AUC above a half", "over axes",
        "<= 0.5", of=TRAINED, null=AXES, plant=FIVE, unit="models",
        why="Null: other rotations. Plant: five neurons of unequal strengths.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models(config.model, examine, config, published=config.published)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    each = unfolded(table, "each")
    trained = table[table.arm == TRAINED]
    confidence = each[each["passed"].notna()][["model", "arm", "feature", *COLUMNS[:-1], *TESTS, "passed"]]
    reads = {arm: table[table.arm == arm]["read"] for arm in (TRAINED, SHUFFLED, INIT)}
    return Findings(
        passed,
        claims,
        figures(table),
        {"confidence": confidence, "arms": table.drop(columns=["each", "kinds", "paths"]), "features": each,
         "kinds": unfolded(table, "kinds")},
        f"AUC {span(reads[TRAINED].min(), reads[TRAINED].max())}; shuffled weights "
        f"{span(reads[SHUFFLED].min(), reads[SHUFFLED].max())}, initial {span(reads[INIT].min(), reads[INIT].max())}. Tests "
        f"passed of five: {span(trained['passed'].min(), trained['passed'].max())}; of a copy never read "
        f"{number(table[table.arm == IDLE]['passed'].mean())}.",
        in_short({claim.id: claim.verdict == "supported" for claim in claims}, trained),
    )  # fmt: skip


def in_short(supported: dict[str, bool], trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    cause = supported["moves"] and supported["half"]
    return answer(
        "Probes {read} at AUC {auc} and pass {passed} of five tests of being the representation; steering along them "
        "{cause}, and their code is {sparse}.",
        read="read" if supported["read"] else "fall short",
        auc=number(float(trained["read"].mean())),
        passed=number(float(trained["passed"].mean())),
        cause="works" if cause else "need not work",
        sparse="sparse" if supported["sparse"] else "not shown sparse",
    )


# ------------------------------------------------------------------------------------------------------------ cases


@dataclass(frozen=True)
class Case:
    """A feature at the neurons: rows with it, then their partners. document, token, cell (n,): 2 * group of sources + class."""

    feature: str
    site: Site
    weights: np.ndarray
    parts: Parts
    document: np.ndarray
    token: np.ndarray
    cell: np.ndarray

    @property
    def h(self) -> np.ndarray:
        return self.site.values

    @property
    def truth(self) -> np.ndarray:
        return self.site.on

    @property
    def partner(self) -> np.ndarray:
        return np.roll(np.arange(len(self.token)), len(self.token) // 2)

    def labelled(self, truth: np.ndarray) -> Case:
        return replace(self, site=replace(self.site, on=truth))


def cases(model: lms.LanguageModel, config: Config, rng: np.random.Generator) -> Iterator[tuple[Case, Case, Case]]:
    """Every feature with enough pairs: at the model, at its initial weights, at shuffled ones."""
    split = lms.corpus.sample(model.tokenizer)
    known = labelled.by_context(split)
    part = labelled.dealt(split, (0, 2, 1, 0, 2), rng)
    rows, _ = labelled.rows_with(split, min(model.n_ctx, CONTEXT), known, config.rows, config.generic, rng, part < 2)
    place = rows.place[:, 1:].ravel()
    usable, following = labelled.followed(rows, model.tokenizer.bos)
    document = split.document[place].astype(np.int64)
    deal = [part[document] == one for one in range(3)]
    sites = [carriers.read(one, rows) for one in (model, model.control("init"), model.control("shuffled"))]
    classes = lms.corpus.tokenizer.CHAR_CLASSES
    letters = np.isin(split.char_class[place], [classes.index(one) for one in ("lower", "title", "mixed")])
    for name, marks in known.items():
        on, off, key = (one[place] for one in marks)

        def pairs(part: np.ndarray, count: int, on=on, off=off, key=key) -> tuple[np.ndarray, np.ndarray]:
            some = np.flatnonzero(part & usable & (on | off))
            yes, no = carriers.pairs(on[some], off[some], key[some], count, rng)
            return some[yes], some[no]

        found = [pairs(part, count) for part, count in zip(deal, (config.fit, config.choose, config.judge), strict=True)]
        many = pairs(part[document] < 2, 3000)
        if min(len(one) for one, _ in found) < FEWEST:
            continue
        weights = carriers.telling(following[many[0]], following[many[1]], int(model.hooked.cfg.d_vocab))
        ons, offs = (np.concatenate([part[side] for part in found]) for side in (0, 1))
        lies = np.tile(np.repeat(np.arange(3), [len(one) for one, _ in found]), 2)
        both = np.concatenate([ons, offs])
        cell = np.tile(2 * labelled.groups(split.genre[place[offs]]) + letters[ons], 2)
        parts, token = Parts(lies == 0, lies == 1, lies == 2), split.tokens[place[both]].astype(np.int64)
        case = Case(name, sites[0](ons, offs), weights, parts, document[both], token, cell)
        yield case, *(replace(case, site=at(ons, offs)) for at in sites[1:])  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------------------ measuring


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.35 {model.name}")
    found = list(cases(model, config, rng))
    d = model.d_mlp
    turns = [random_basis(d, d, int(seed)) for seed in rng.integers(2**31, size=2 * config.turns)]
    real = [trained for trained, *_ in found]
    objects: dict[str, list[tuple[Case, np.ndarray | None]]] = {
        TRAINED: [(case, None) for case in real],
        INIT: [(case, None) for _, case, _ in found],
        SHUFFLED: [(case, None) for *_, case in found],
        PERMUTED: [(c.labelled(probe_battery.permuted(c.truth, c.document, rng)), None) for c in real],
        TYPES: [(c.labelled(probe_battery.control_task(c.token, 0.5, rng)), None) for c in real],
        **{arm: [planted(case, arm, rng) for case in real] for arm in (PLANTED, FIVE, IDLE, CLUE)},
    }
    for arm, given in objects.items():
        each = [measured(case, config, rng, arm, turns, direction) for case, direction in given]
        kinds = [{"feature": row["feature"], **one} for row in each for one in row.pop("kinds")]
        paths = [{"feature": row["feature"], **one} for row in each for one in row.pop("paths")]
        yield {"arm": arm, **medians(each), "features": len(each), "each": each, "kinds": kinds, "paths": paths}
        if arm == TRAINED:
            nulls = {RANDOM: ("over means", "random over means"), AXES: ("over axes", "axes over axes")}
            for name, (column, source) in nulls.items():
                yield {"arm": name, column: median(each, source), "each": [], "kinds": [], "paths": []}


COLUMNS = ("read", "selectivity", "loses", "moves", "over means", "agreement", "directions", "over axes")
ONLY = {PERMUTED: ("agreement",), TYPES: ("selectivity",), FIVE: ("over axes",)}  # beside `read`, all that is asked of these


def measured(
    case: Case, config: Config, rng: np.random.Generator, arm: str, turns: list[np.ndarray], direction: np.ndarray | None
) -> dict[str, Any]:
    """All tests of one feature of one object. direction (d,): that was planted, if any."""
    h, truth, parts = case.h, case.truth, case.parts
    drawn, only = arm in (TRAINED, IDLE), ONLY.get(arm, COLUMNS)  # drawn: with every kind of probe
    found = probe_battery.battery(h, truth, case.document, kinds=KINDS if drawn else FITTED, parts=parts)
    probe = max((found[kind] for kind in FITTED), key=lambda one: one.chosen_at)
    out: dict[str, Any] = {
        "feature": case.feature, "pairs": len(h) // 2, "kind": probe.kind, "read": probe.auc, "kinds": [], "paths": [],
        "cosine": float(abs(direction @ probe.pattern)) if direction is not None else np.nan,
    }  # fmt: skip
    if "selectivity" in only:
        known = probe_battery.control_task(case.token, 0.5, rng)  # half of the types, to fit on
        apart = Parts(parts.fit & known, parts.choose & known, parts.judge & ~known)
        for column, some in (("selectivity", apart), ("selectivity, types seen", parts))[: 2 if drawn else 1]:
            seed, kinds = int(rng.integers(2**31)), (probe.kind,)
            out[column] = probe_battery.selectivity(
                h, truth, case.token, case.document, config.tasks, seed, kinds=kinds, parts=some
            )[probe.kind]
    if "loses" in only:
        for column, values in (("loses sources", case.cell // 2), ("loses combinations", case.cell)):
            groups = [values == one for one in np.unique(values)]
            out[column] = float(np.nanmean(probe_trials.losses(probe, h, truth, parts, groups, rng)))
        out["loses"] = max(out["loses sources"], out["loses combinations"])
    if "moves" in only:
        out |= cause(case, found, probe.kind, config, rng)
    if "agreement" in only:
        both = [found[kind] for kind in FITTED]
        out["agreement"], out["agreement of directions"] = probe_trials.agreement(
            both, h, truth, case.document, parts.fit | parts.choose, rng
        )
    if "directions" in only:
        count, erased = probe_trials.directions(h, truth, case.cell, parts, case.partner, rng)
        out["directions"] = count if np.isfinite(count) else float(len(erased))
        out["after one"] = erased[1] if len(erased) > 1 else np.nan
    if arm in (TRAINED, INIT, SHUFFLED, FIVE):
        out |= probe_trials.over_axes(h, truth, parts, turns, 0.5 + 0.95 * (probe.auc - 0.5))
        out |= {"hoyer": probe_trials.hoyer(probe.direction * h.std(axis=0))}
    return out | verdicts(out)


def cause(case: Case, found: dict[str, Probe], kind: str, config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """What moving along every probe does, by as much as the means of the fitting documents differ, on those for judging."""
    h, truth, parts = case.h, case.truth, case.parts
    judged = probe_trials.rows_of(case.site, parts.judge)
    gap = h[parts.fit & truth].mean(axis=0) - h[parts.fit & ~truth].mean(axis=0)
    length = float(np.linalg.norm(gap))
    steered = probe_trials.steering(judged, case.weights)
    means = steered(gap / length, length)
    random = probe_trials.bystanders(judged, case.weights, length, config.draws, rng)
    along, pattern = (
        {name: steered(getattr(one, of), length) for name, one in found.items()} for of in ("direction", "pattern")
    )
    return {
        "detection": judged.detection(case.weights, live=True)(judged.values), "steered": along[kind], "along means": means,
        "along pattern": pattern[kind], "along random": random, "moves": along[kind] / random,
        "over means": along[kind] / means, "random over means": random / abs(means),
        "kinds": [{"kind": name, "AUC": one.auc, "moves": along[name], "over random": along[name] / random,
                   "pattern over random": pattern[name] / random} for name, one in found.items()],
    }  # fmt: skip


def verdicts(row: dict[str, Any]) -> dict[str, Any]:
    """Which of the five tests a feature passes, by the rules above, if it is read at all: what is not there loses nothing.
    Nothing of objects that are not asked all."""
    if not {"selectivity", "loses", "moves", "agreement", "directions"} <= set(row):
        return {}
    passed = dict(zip(TESTS, (
        row["selectivity"] >= 0.3, row["loses"] <= 0.05, row["moves"] >= 3 and row["over means"] >= 0.5,
        row["agreement"] >= 0.7, 1 <= row["directions"] <= 2,
    ), strict=True))  # fmt: skip
    passed = {name: bool(one and row["read"] >= LEAST) for name, one in passed.items()}
    return {**passed, "passed": sum(passed.values())}


def median(each: list[dict[str, Any]], column: str) -> float:
    return float(np.median([row.get(column, np.nan) for row in each])) if each else np.nan


def medians(each: list[dict[str, Any]]) -> dict[str, float]:
    """What the rules ask for; the median over features."""
    return {column: median(each, column) for column in (*COLUMNS, "detection", "cosine", "passed")}


# ------------------------------------------------------------------------------------------------------------ plants


def planted(case: Case, arm: str, rng: np.random.Generator) -> tuple[Case, np.ndarray]:
    """The feature's mean difference taken away, labels dealt anew inside pairs, and put along a direction (d,), whose own noise
    is that of other rows."""
    h, out = case.h.astype(float), case.site.out.numpy().astype(float)
    h[case.truth] -= h[case.truth].mean(axis=0) - h[~case.truth].mean(axis=0)
    truth = probe_trials.swapped(case.truth, case.partner, rng)
    spread = np.maximum(h.std(axis=0), 1e-6)

    def unit(vector: np.ndarray) -> np.ndarray:
        return vector / np.linalg.norm(vector)

    def any_direction() -> np.ndarray:
        return unit(spread * np.exp(0.5 * rng.standard_normal(len(spread))) * rng.choice([-1, 1], len(spread)))

    reads = unit(out @ case.site.along(case.weights).numpy().astype(float))
    other = any_direction()
    used = 0.5 * reads + np.sqrt(0.75) * unit(other - (other @ reads) * reads)
    direction = used
    if arm == FIVE:
        direction = np.zeros(len(spread))
        direction[rng.permutation(len(spread))[:5]] = 1.0, 0.85, 0.7, 0.55, 0.4
        direction = unit(direction * spread)
    if arm == IDLE:
        column = np.linalg.svd(out, full_matrices=False)[0]
        direction = unit(other - column @ (column.T @ other))
    h = probe_trials.put(h, direction, truth, {PLANTED: 3.5, FIVE: 4.0, IDLE: 4.0, CLUE: 1.2}[arm], rng)
    for one in np.unique(case.cell) if arm == CLUE else ():
        h = probe_trials.put(h, any_direction(), np.where(case.cell == one, truth, rng.random(len(truth)) < 0.5), 3.0, rng)
    values = h.astype(case.site.values.dtype)
    return replace(case, site=replace(case.site, values=values, on=truth)), direction


# ------------------------------------------------------------------------------------------------------------ tables


def figures(table: pd.DataFrame) -> list[Figure]:
    """Cause over AUC of every probe; AUC over units beside rotated axes; tests passed."""
    kinds, paths, each = (unfolded(table, column) for column in ("kinds", "paths", "each"))
    scatter = plots.figure(height=440, xaxis_title="AUC on other documents", yaxis_title="detection moved, over random")
    for (arm, kind), part in kinds[kinds.arm.isin([TRAINED, IDLE])].groupby(["arm", "kind"], sort=False) if len(kinds) else ():
        mark = {"symbol": "circle" if arm == TRAINED else "x", "color": plots.PALETTE[KINDS.index(kind)]}
        scatter.add_scatter(x=part["AUC"], y=part["over random"], mode="markers", name=f"{kind}, {arm}", text=part["feature"],
                            marker=mark)  # fmt: skip
    made = [Figure("cause", scatter, "A good probe that does nothing: right and low. Every kind, feature and model.")]
    if len(paths):
        some = paths[(paths.arm == TRAINED) & (paths.model == table.model.iloc[0])]
        lines = some.assign(curve=some["feature"] + ", " + some["basis"]).groupby(["curve", "units"], sort=False)["AUC"].mean()
        drawn = plots.lines_with_band(lines.reset_index(), "units", "AUC", "curve", log_x=True, x_title="units",
                                      y_title="AUC on other documents")  # fmt: skip
        made.append(Figure("path", drawn, f"The units that differ most, neurons and rotated axes: {table.model.iloc[0]}."))
    bars = plots.figure(height=380, yaxis_title="share of features that pass", barmode="group")
    for arm in (TRAINED, SHUFFLED, INIT, PLANTED, IDLE, CLUE) if len(each) else ():
        part = each[each.arm == arm]
        bars.add_bar(x=list(TESTS), y=[float(part[test].mean()) for test in TESTS], name=arm)
    made.append(Figure("tests", bars, "Five tests, of the features of all models."))
    return made
