"""4.37: are more neurons of a SoLU model monosemantic than of a GELU model?

Measure (Elhage et al. 2022, SoLU): somebody sees the ten contexts where a neuron fires most, not knowing of which model it is,
and says whether one theory explains them. Here three judges can do that, on the same neurons of models with the same start and
the same batches: the effective number of concepts over the whole range of activation, the judge of 4.38 (a neuron counts as
monosemantic with fewer than two); one short rule about the ten strongest contexts, which is the paper's
protocol without people, and ranks untrained neurons above trained ones (4.38); and people, with blinded cards that this
study writes beside its findings.

Nulls: the same comparison between random directions of the two layers, which nobody trained to be read; the loss of untrained
models; initial weights. Plants: a quarter of the GELU neurons replaced by directions that read one known concept. ReLU and SoLU
without its LayerNorm are shown beside. Prior numbers: about 35 % of the neurons of the baseline and 60 % of SoLU's were judged
interpretable, at little cost in loss. The toy answer: a privileged basis aligns features with neurons (TMS).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import moved_on, retractions
from superscope.evidence.wording import answer, number, percent
from superscope.lab import Lab
from superscope.lms.model import activations
from superscope.lms.reading import cards, matched, metrics, neuroscope, planted
from superscope.lms.reading.matched import INIT, NEURONS, ROTATED
from superscope.studies import language as _language

PROBLEM = "4.37"
TITLE = "Are SoLU neurons easier to read?"
QUESTION = "Are more neurons of a SoLU model monosemantic than of a GELU model, by their strongest contexts and by all?"
ASSUMPTIONS = [
    "A neuron is monosemantic when it answers to fewer than two concepts in effect, over the whole range of its activation.",
    "What the list of concepts lacks (a topic, a syntactic role) makes a neuron look polysemantic, in every arm alike.",
    "SoLU neurons are read before the LayerNorm that follows them, as in the paper.",
]
DISANALOGIES = [
    "One layer of 512 neurons after 262 million tokens, on 16 sharply different genres: the paper's models are larger, and "
    "trained on far more text.",
    "The paper's judges were people; the blinded cards let people judge here too, but the verdicts are the metric's.",
    "Genre detectors are easy to state in this corpus, because its genres are labelled.",
    "A first run on other texts changed the null: random directions of a SoLU layer are ruled by its few loudest neurons, and "
    "looked simpler than its neurons; all neurons are scaled alike before they are turned.",
    "Three starts of each model; what `--seed` changes is the text and which neurons are looked at.",
]
TIPS = [
    "Let the whole range speak, not the top alone",
    "Rate the cards before reading the key: superscope run 4.37 --human FOLDER",
]

GELU, SOLU = "gelu-1l-mini", "solu_ln-1l-mini"
FEW = 2.0  # concepts in effect, below which a neuron is monosemantic
PARITY = 0.05  # nats per token: what may be called no cost in loss
QUARTER = "GELU, a quarter made to read one concept"
MOST = "GELU, three quarters made to read one concept"
LOUD, OTHER_SEED = "one loud concept over four", "GELU of another seed"
PAPER = 0.8  # F1 of a rule about the strongest contexts that counts as one theory explaining them


def arm(name: str, kind: str = NEURONS) -> str:
    """How an arm is called."""
    short = {GELU: "GELU", SOLU: "SoLU"}.get(name, name.removesuffix("-1l-mini"))
    return short if kind == NEURONS else f"{short}, {kind}"


@dataclass(frozen=True)
class Config:
    """Which models, how many neurons, how much text."""

    others: tuple[str, ...] = ()  # arms beside GELU and SoLU with LayerNorm, such as "relu-1l-mini" "solu-1l-mini"
    neurons: int = 32  # neurons per model
    rows: int = 500  # rows of 256 tokens
    planted: int = 6  # planted units of each number of concepts
    cards: int = 20  # neurons per model on the blinded cards
    human: str = ""  # folder of cards with a filled score sheet, for the agreement of people with the judge

    def __post_init__(self) -> None:
        if min(self.neurons, self.planted) < 4 or self.rows < 50 or self.cards < 1:
            raise ValueError(
                f"neurons={self.neurons}, planted={self.planted}, rows={self.rows}, cards={self.cards}: expected at least 4 "
                "neurons and planted units, 50 rows and 1 card"
            )


_OTHERS = ("relu-1l-mini", "solu-1l-mini")
PRESETS = {
    "quick": Config(),
    "standard": Config(_OTHERS, neurons=64, rows=1200, planted=12, cards=60),
    "full": Config(_OTHERS, neurons=512, rows=4500, planted=60, cards=60),
}

GATE = [
    Check("The judge places trained GELU neurons above initial ones: AUC .8", "trained", ">= 0.8", arm(GELU)),
    Check("and trained SoLU neurons above theirs", "trained", ">= 0.8", arm(SOLU)),
    Check("it counts unequal planted concepts: rank correlation .8", "counts", ">= 0.8", arm(GELU)),
    Check("most units of one planted concept count as monosemantic, with strengths unequal", "one", ">= 0.8", arm(GELU)),
    Check("and few of three", "three", "<= 0.2", arm(GELU)),
]
EXPECTED = [
    Expect(
        "more", "Over the whole range the share of monosemantic neurons is .1 larger in SoLU than in GELU", "monosemantic",
        ">= 0.1", of="SoLU - GELU", null=f"{arm(SOLU, ROTATED)} - {arm(GELU, ROTATED)}", plant=f"{QUARTER} - GELU",
        why="Null: random directions of the same layers. Plant: a quarter of the neurons replaced by directions of one "
        "concept.",
        note="The paper's gain is .25, of people's verdicts on the strongest contexts.",
    ),
    Expect(
        "fewer", "The median SoLU neuron has four fifths or fewer of the concepts of the median GELU neuron", "concepts",
        "<= 0.8", of="SoLU / GELU", null=f"{arm(SOLU, ROTATED)} / {arm(GELU, ROTATED)}", plant=f"{MOST} / GELU",
        why="Null: random directions of the same layers. Plant: three quarters of the neurons replaced.",
    ),
    Expect(
        "published", "By one rule about the ten strongest contexts the share is .1 larger in SoLU", "published", ">= 0.1",
        of="SoLU - GELU", null=f"{arm(SOLU, ROTATED)} - {arm(GELU, ROTATED)}", plant=f"{QUARTER} - GELU",
        why="Null and plant: as before.",
        note="The published protocol without people; it cannot tell trained from untrained neurons (4.38).",
    ),
    Expect(
        "parity", "It costs at most .05 nats per token either way", "loss", f"within [{-PARITY}, {PARITY}]", of="SoLU - GELU",
        null="GELU, initial weights - GELU", plant=f"{OTHER_SEED} - GELU",
        why="Null: the loss before training. Plant: the same model of another seed.",
    ),
    Expect(
        "flatters", "Strongest firings flatter: over the whole range a GELU neuron has twice as many concepts or more",
        "flattery", ">= 2", of="GELU", null=arm(GELU, INIT), plant=LOUD,
        why="Null: initial weights, whose strongest firings are no simpler. Plant: one concept, and four more at .5 of its "
        "strength.",
        note="Geometric mean over neurons of concepts in all activations over concepts in firings.",
    ),
]  # fmt: skip
RETRACTED = [
    ("more-interpretable", "undecided: the share by a rule about the strongest contexts",
     "that judge ranks neurons of untrained models above those of trained ones"),
    ("higher-score", "undecided", "the same judge"),
    ("loss-parity", "supported", "stands; every arm had been given the trained loss, and its control was one constant"),
    ("top-flatters", "undecided", "asked anew with the judge of 4.38, as a size of effect"),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Judge every arm of every start, and compare start by start."""
    names = [GELU, SOLU, *config.others]
    twins = {name: _language.by_seed(name) for name in names}
    seeds = sorted(set.intersection(*(set(one) for one in twins.values())))
    parts = []
    for seed in lab.progress(seeds, "starts"):
        models = {name: twins[name][seed] for name in names}
        part = lab.unit(f"start-{seed}", partial(examine, models, config, lab))
        parts.append(part.assign(seed=seed))
    table = pd.concat(parts, ignore_index=True)
    table = pd.concat([table, moved_on(table, "GELU", OTHER_SEED)], ignore_index=True)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    shown = [twins[name][seed] for name in names for seed in seeds]
    lab.unit(f"cards-{_language.key(*shown)}", partial(export_cards, shown, config, lab))
    lab.note("Blinded cards lie in cards/ beside the findings, their key apart from them; rate them in a browser.")
    tables = {
        "arms": table.drop(columns=["each"]), "neurons": each_of(table), "retractions": retractions(RETRACTED),
    }  # fmt: skip
    if config.human:
        tables["human"] = pd.DataFrame([agreement(config, lab)])
    by = table.groupby("arm")[["monosemantic", "concepts", "published", "loss"]].mean()
    return Findings(
        passed,
        claims,
        figures(table),
        tables,
        f"Monosemantic: SoLU {percent(by.loc['SoLU', 'monosemantic'])}, GELU {percent(by.loc['GELU', 'monosemantic'])}, random "
        f"directions {percent(by.loc[arm(SOLU, ROTATED), 'monosemantic'])} and "
        f"{percent(by.loc[arm(GELU, ROTATED), 'monosemantic'])}. Concepts of the median neuron: "
        f"{number(by.loc['SoLU', 'concepts'])} against {number(by.loc['GELU', 'concepts'])}. By the published protocol: "
        f"{percent(by.loc['SoLU', 'published'])} against {percent(by.loc['GELU', 'published'])}. Loss: SoLU "
        f"{number(by.loc['SoLU', 'loss'] - by.loc['GELU', 'loss'])} nats away.",
        in_short({claim.id: claim.verdict for claim in claims}, by),
    )  # fmt: skip


def in_short(verdict: Mapping[str, str], by: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    if "gate failed" in verdict.values():
        return "No answer: the judge did not pass its own tests on these neurons."
    few, many = (float(by.loc[name, "concepts"]) for name in ("SoLU", "GELU"))
    return answer(
        "The median SoLU neuron answers to {few} concepts, GELU's to {many}; that more of SoLU's are monosemantic is {more}.",
        few=number(few, 2), many=number(many, 2), more=verdict["more"],
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ measuring


def examine(names: Mapping[str, str], config: Config, lab: Lab) -> pd.DataFrame:
    """One row per arm of the models of one start."""
    rng = lab.rng(f"4.37 {names[GELU]}")
    models = {name: lms.load(twin) for name, twin in names.items()}
    found = matched.read(models, config.rows, config.neurons, rng, lab.seed)
    text = found.text
    rows = []
    for (name, kind), values in found.values.items():
        each = judged(values, text, found.which if kind == NEURONS else None)
        rows.append({"arm": arm(name, kind), "model": names[name], **summed(each), "loss": found.loss[name, kind],
                     "each": each.to_dict("records")})  # fmt: skip
    pool = text.pool()
    sets = {m: planted.sets_apart(pool, text.document, m, config.planted, rng) for m in (1, 2, 3)}
    units = {m: np.stack([planted.uneven(text.document, some, rng) for some in sets[m]], axis=1) for m in sets}
    known = {m: 1 / metrics.concepts(values, text) for m, values in units.items()}
    by = {row["arm"]: row for row in rows}
    for name in (GELU, SOLU):
        trained, initial = (np.array([one["concepts"] for one in by[arm(name, kind)]["each"]]) for kind in (NEURONS, INIT))
        by[arm(name)]["trained"] = planted.auc(-trained, -initial)
    number_of = np.repeat(list(known), config.planted)
    by["GELU"] |= {
        "counts": float(pd.Series(np.concatenate(list(known.values()))).corr(pd.Series(number_of), "spearman")),
        "one": float((known[1] < FEW).mean()), "three": float((known[3] < FEW).mean()),
    }  # fmt: skip
    whole, values = found.whole[GELU], found.values[GELU, NEURONS]
    fit = text.first
    for share, name in ((4, QUARTER), (4 / 3, MOST)):
        made = values.copy()
        count = int(len(found.which) // share)
        some = planted.sets_apart(pool, text.document, 1, count, rng)
        made[:, :count] = whole @ planted.directions(whole, some, fit)
        rows.append({"arm": name, **summed(judged(made, text)), "each": []})
    chosen = planted.sets_apart(pool, text.document, 5, config.planted, rng)
    strengths = (1.0, 0.5, 0.5, 0.5, 0.5)
    loud = np.stack([planted.uneven(text.document, some, rng, strengths) for some in chosen], axis=1)
    rows.append({"arm": LOUD, "flattery": flattery(*(judged(loud, text, full=False)[key] for key in SCORES[:2])), "each": []})
    return pd.DataFrame(rows)


SCORES = ("concepts", "concepts in firings", "rule")


def judged(values: np.ndarray, text: metrics.Text, which: np.ndarray | None = None, full: bool = True) -> pd.DataFrame:
    """What the judges say of every unit: concepts over the whole range and in its firings, F1 of a rule about its top."""
    names = [metrics.JUDGE, "top concepts", *(["top rule", "one token"] if full else [])]
    scores = metrics.score(values, text, names)
    out = pd.DataFrame({"concepts": 1 / scores[metrics.JUDGE], "concepts in firings": 1 / scores["top concepts"]})
    if full:
        out = out.assign(rule=scores["top rule"], **{"one token": scores["one token"]})
    return out if which is None else out.assign(neuron=which)


def flattery(over: pd.Series, firing: pd.Series) -> float:
    """Geometric mean of concepts over the whole range by concepts in firings."""
    return float(np.exp(np.log(over / firing).mean()))


def summed(each: pd.DataFrame) -> dict[str, float]:
    """A layer's numbers."""
    return {
        "monosemantic": float((each["concepts"] < FEW).mean()), "concepts": float(each["concepts"].median()),
        "published": float((each["rule"] >= PAPER).mean()), "flattery": flattery(each["concepts"], each["concepts in firings"]),
        "one word": float((each["one token"] >= 0.5).mean()),
    }  # fmt: skip


def each_of(table: pd.DataFrame) -> pd.DataFrame:
    """One row per neuron of the trained models."""
    kept = table[(table["each"].map(len) > 0) & (table.arm != OTHER_SEED)]
    rows = [{"model": row.model, **one} for row in kept.itertuples() for one in row.each]
    return pd.DataFrame(rows).dropna(subset=["neuron"])


# --------------------------------------------------------------------------------------------------------------- people


def export_cards(names: list[str], config: Config, lab: Lab) -> dict[str, Any]:
    """Blinded cards of every trained arm, with the key in a folder of its own; returns where they lie."""
    reports = {}
    for name in names:
        model = lms.load(name)
        which = np.sort(lab.rng("4.37 cards").permutation(model.d_mlp)[: config.cards])
        units = activations.neurons(model, model.n_layers - 1, which)
        text = lms.corpus.sample(model.tokenizer)
        reports[name] = neuroscope.examine(model, text, units=units, rows=min(config.rows, 600), seed=lab.seed)
    cards.export(reports, lab.folder / "cards", per_arm=config.cards, seed=lab.seed)
    return {"cards": "cards/cards.html", "models": len(names)}


def agreement(config: Config, lab: Lab) -> dict[str, float]:
    """Cohen's kappa of a person's verdicts on the cards in ``config.human`` with the judge's on the same neurons."""
    sheet = cards.read_scores(Path(config.human))
    theirs, mine, rule = [], [], []
    for name, rated in sheet.groupby("model"):
        if name not in lms.bundled():
            raise cards.CardsError(f"the cards of {config.human} are of {name!r}, which is no bundled model")
        model = lms.load(str(name))
        which = rated["neuron"].to_numpy()
        found = matched.read({str(name): model}, config.rows, model.d_mlp, lab.rng("4.37 people"), lab.seed, kinds=())
        each = judged(found.whole[str(name)][:, which], found.text)
        theirs += rated["interpretable"].astype(bool).tolist()
        mine += (each["concepts in firings"] < FEW).tolist()
        rule += (each["rule"] >= PAPER).tolist()
    return {
        "cards": float(len(theirs)), "people": float(np.mean(theirs)), "judge": float(np.mean(mine)),
        "agreement": float(np.mean(np.array(theirs) == np.array(mine))), "kappa": kappa(theirs, mine),
        "kappa with a rule": kappa(theirs, rule),
    }  # fmt: skip


def kappa(one: list[bool], other: list[bool]) -> float:
    """Cohen's kappa of two verdicts; NaN where both are always the same."""
    a, b = np.array(one, dtype=float), np.array(other, dtype=float)
    chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return (float((a == b).mean()) - chance) / (1 - chance) if chance < 1 else float("nan")


# -------------------------------------------------------------------------------------------------------------- drawing


def figures(table: pd.DataFrame) -> list[Figure]:
    """Concepts of every neuron by arm; what the strongest firings say beside what all activations say."""
    box, flat = plots.figure(), plots.figure()
    kept = table[(table["each"].map(len) > 0) & (table.arm != OTHER_SEED)]
    for name in dict.fromkeys(kept.arm):
        role = "treatment" if "," not in name else "control"
        for row in kept[kept.arm == name].itertuples():
            box.add_box(
                y=[one["concepts"] for one in row.each], x=[name] * len(row.each), offsetgroup=row.seed, showlegend=False,
                marker={"color": plots.ROLES[role], "size": 3}, boxpoints=False,
            )  # fmt: skip
    box.add_hline(y=FEW, line={"color": plots.ROLES["rule"], "dash": "dash"})
    box.update_layout(boxmode="group")
    box.update_yaxes(title_text="effective number of concepts", type="log")
    for place, name in enumerate(("GELU", "SoLU")):
        some = [one for row in kept[kept.arm == name].itertuples() for one in row.each]
        flat.add_scatter(
            x=[one["concepts in firings"] for one in some], y=[one["concepts"] for one in some], mode="markers", name=name,
            text=[f"neuron {one['neuron']:.0f}" for one in some], marker={"size": 5, "color": plots.PALETTE[place]},
        )  # fmt: skip
    flat.update_xaxes(title_text="concepts in its firings", type="log")
    flat.update_yaxes(title_text="concepts over the whole range", type="log")
    return [
        Figure("arms", box, "Each box is a model's neurons. Dashed: fewer than two counts as monosemantic."),
        Figure("flattery", flat, "Above the diagonal: a neuron is less simple than its strongest firings look."),
    ]
