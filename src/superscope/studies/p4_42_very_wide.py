"""4.42: with a hundred neurons per dimension, does superposition go away, or do rarer features fill the neurons?

One-layer models with a stream of 64 and 256, 1,024 and 6,400 neurons (4, 16 and 100 per dimension), each of three starts, the
same text. Asked of each width: concepts of the median neuron and the share of monosemantic ones (the judge of 4.38), how
rarely its neurons fire, how much simpler the latents of a dictionary of the layer's output are than its neurons (the gap
closes if neurons are the features), how many neurons carry the median labelled feature (4.31), loss, dead neurons. Then four
ways to train the 6,400 neurons anew inside the trained model, at equal tokens: dense, with random and frozen input weights,
with one weight in a hundred kept after every step, and as a mixture of experts.

Nulls: the same comparison before training, which has the widths and nothing learned; random axes. Plants: directions that read
one concept, rare concepts, a second dictionary. Prior numbers: cross-entropy can prefer a polysemantic neuron with neurons to
spare, .693 against .824 nats for one neuron and four exclusive features (Bricken et al. 2023; `theory.exclusive_loss`);
polysemanticity arises by chance of the start (Lecomte et al. 2023). The toy answer: with more dimensions than features there is
no superposition (TMS phases), but n(n-1)/4m pairs of features share a neuron by chance (T17).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import moved_on
from superscope.evidence.wording import answer, number, percent
from superscope.lab import Lab
from superscope.lms.model import activations
from superscope.lms.model.language_model import rows_to_tensor
from superscope.lms.reading import metrics, planted
from superscope.lms.zoo import retraining
from superscope.measure.activations import labelled
from superscope.measure.activations.subspaces import random_basis
from superscope.measure.weights import theory
from superscope.recover import sae
from superscope.studies import language as _language

PROBLEM = "4.42"
TITLE = "An MLP a hundred times wider than the model"
QUESTION = (
    "If a small language model has ample neurons, does superposition go away, or does the model fill them with rarer features?"
)
ASSUMPTIONS = [
    "Superposition is gone when the median neuron has half as many concepts and a dictionary finds nothing simpler.",
    "All widths had the same text and learning rate; a wider layer may be further from its best.",
    "Concepts are those of the list of 4.38; a rare feature that is not on it makes a neuron look polysemantic.",
]
DISANALOGIES = [
    "A stream of 64 dimensions stays: the neurons must write into it together, whatever their number.",
    "The layers made anew learned from half a million tokens inside a model that was trained around another layer: they are "
    "compared with one another, not with the original, and are far from trained.",
    "The dictionary is small and trained for minutes; a better one finds simpler latents, at every width.",
]
TIPS = ["Ask whether a dictionary still finds simpler units", "Compare with the same widths before training"]

WIDTHS = ("4x", "16x", "100x")
NARROW, WIDE = WIDTHS[0], WIDTHS[-1]
ANEW = ("dense", "frozen", "sparse", "experts")
THIRD, MOST, RARE = "100x, a third made to read one concept", "100x, three quarters made to read one", "planted rare concepts"
ROUTED = "anew experts, neurons shuffled"
ANEW_THIRD = "anew dense, a third made to read one concept"
AGAIN, BIGGER, AXES, LATENTS = (
    "4x of another start",
    "stream twice as wide",
    "4x on random axes",
    "latents of another dictionary",
)
FEW = 2.0  # concepts in effect, below which a neuron is monosemantic
READ = 600  # neurons in which directions are made
DICTIONARY = (512, 16)  # latents, and how many of them are on


def initial(width: str) -> str:
    """The arm of a width before training."""
    return f"{width}, initial weights"


def anew(way: str) -> str:
    """The arm of a layer trained anew."""
    return f"anew {way}"


@dataclass(frozen=True)
class Config:
    """How many neurons, how much text, how long a dictionary learns."""

    neurons: int = 40  # neurons of each model that are judged
    rows: int = 400  # rows of 256 tokens
    steps: int = 150  # of training a dictionary
    pairs: int = 300  # pairs of tokens with and without a labelled feature

    def __post_init__(self) -> None:
        if self.neurons < 12 or self.rows < 60 or self.steps < 10 or self.pairs < 2 * labelled.FEWEST:
            raise ValueError(
                f"neurons={self.neurons}, rows={self.rows}, steps={self.steps}, pairs={self.pairs}: expected at least 12 "
                f"neurons, 60 rows, 10 steps and {2 * labelled.FEWEST} pairs"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(neurons=128, rows=1600, steps=1500, pairs=900),
    "full": Config(neurons=512, rows=4500, steps=6000, pairs=2000),
}

GATE = [
    Check("The judge places neurons of the narrow model above initial ones: AUC .8", "trained", ">= 0.8", NARROW),
    Check("and those of the wide model", "trained", ">= 0.8", WIDE),
    Check("two labelled features or more are carried by neurons of the wide model", "features", ">= 2", WIDE),
    Check("planted rare concepts are read as one concept", "concepts", "<= 2", RARE),
]
_BEFORE = f"{initial(WIDE)} - {initial(NARROW)}"
EXPECTED = [
    Expect(
        "goes", "With 100 neurons a dimension the share of monosemantic neurons is .2 larger than with 4", "monosemantic",
        ">= 0.2", of=f"{WIDE} - {NARROW}", null=_BEFORE, plant=f"{THIRD} - {NARROW}",
        why="Null: the same widths before training. Plant: a third of the neurons replaced by directions of one concept.",
    ),
    Expect(
        "fewer", "The median neuron has half as many concepts or fewer", "concepts", "<= 0.5", of=f"{WIDE} / {NARROW}",
        null=f"{initial(WIDE)} / {initial(NARROW)}", plant=f"{MOST} / {NARROW}",
        why="Null: the same widths before training. Plant: three quarters of the neurons replaced.",
    ),
    Expect(
        "rarer", "Its neurons are niche: they fire on half as many tokens or fewer", "rate", "<= 0.5", of=f"{WIDE} / {NARROW}",
        null=f"{initial(WIDE)} / {initial(NARROW)}", plant=f"{RARE} / {NARROW}",
        why="Null: the same widths before training. Plant: units that fire on the rarest concepts of the list.",
        note="Share of the tokens above half of what one token in a thousand exceeds, geometric mean over neurons.",
    ),
    Expect(
        "closes", "Latents of a dictionary are no simpler than neurons: at most a quarter fewer concepts", "gap", "<= 1.33",
        of=WIDE, null=NARROW, plant=LATENTS,
        why="Null: the narrow layer, which must share its neurons. Plant: the latents of one dictionary against those of "
        "another.",
        note="Concepts of the median neuron over those of the median latent.",
    ),
    Expect(
        "few", "Ten neurons or fewer carry the median labelled feature", "carriers", "<= 10", of=WIDE, null=AXES,
        no_plant="4.31 plants features on three neurons with the same tools and finds two to four",
        why="Null: random axes of the narrow layer.",
    ),
    Expect(
        "buys", "Width buys .05 nats or more", "loss", "<= -0.05", of=f"{WIDE} - {NARROW}", null=f"{AGAIN} - {NARROW}",
        plant=f"{BIGGER} - {NARROW}",
        why="Null: the narrow model of another start. Plant: a model with a stream twice as wide, trained alike.",
    ),
    Expect(
        "sparse", "Trained anew with one weight in a hundred, .1 more neurons are monosemantic than trained anew densely",
        "monosemantic", ">= 0.1", of=f"{anew('sparse')} - {anew('dense')}", null=f"{anew('frozen')} - {anew('dense')}",
        plant=f"{ANEW_THIRD} - {anew('dense')}",
        why="Null: input weights stay random: nothing is learned about what to read. Plant: a third of the neurons replaced.",
    ),
    Expect(
        "equal", "and at a loss at most .05 nats higher", "loss", "<= 0.05", of=f"{anew('sparse')} - {anew('dense')}",
        null=f"{initial(WIDE)} - {anew('dense')}", plant=f"{WIDE} - {anew('dense')}",
        why="Null: before training. Plant: the original layer, which had a hundred times as many tokens.",
    ),
    Expect(
        "experts", "As a mixture of experts .1 more neurons are monosemantic than densely", "monosemantic", ">= 0.1",
        of=f"{anew('experts')} - {anew('dense')}", null=f"{ROUTED} - {anew('dense')}",
        plant=f"{ANEW_THIRD} - {anew('dense')}",
        why="Null: the same experts with their input weights shuffled and the router as it is. Plant: as before.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Start by start, width by width."""
    twins = {width: _language.by_seed(f"gelu-1l-wide{width.removesuffix('x')}") for width in WIDTHS}
    twins[BIGGER] = _language.by_seed("gelu-1l-mini")
    seeds = sorted(set.intersection(*(set(one) for one in twins.values())))
    parts = [
        lab.unit(f"start-{seed}", partial(examine, {arm: twins[arm][seed] for arm in twins}, config, lab)).assign(seed=seed)
        for seed in lab.progress(seeds, "starts")
    ]
    table = pd.concat(parts, ignore_index=True)
    table = pd.concat([table, moved_on(table, NARROW, AGAIN)], ignore_index=True)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    by = table.groupby("arm")[["loss", "dead", "concepts", "monosemantic", "rate", "gap", "carriers"]].mean()
    ways = table[table.arm.isin([anew(way) for way in ANEW])]
    toy = pd.DataFrame([{"neuron is on for": k, "nats": theory.exclusive_loss(4, k)} for k in range(5)])
    return Findings(
        passed,
        claims,
        figures(table),
        {"arms": table.drop(columns=["each"]), "anew": ways.drop(columns=["each"]), "toy": toy},
        f"Concepts of the median neuron: {_along(by, 'concepts')}; monosemantic: {_along(by, 'monosemantic')}; share of tokens "
        f"on which it fires: {_along(by, 'rate')}; neurons over latents: {_along(by, 'gap')}; carriers: "
        f"{_along(by, 'carriers')}; loss: {_along(by, 'loss')}; dead of the widest: {percent(by.loc[WIDE, 'dead'])}. Loss "
        f"anew: {', '.join(f'{way} {number(by.loc[anew(way)].loss)}' for way in ANEW)}.",
        in_short({claim.id: claim.verdict for claim in claims}, by),
    )  # fmt: skip


def _along(by: pd.DataFrame, column: str) -> str:
    """ "8, 7 and 6" for the three widths."""
    return " ".join(number(by.loc[width, column]) for width in WIDTHS)


def in_short(verdict: Mapping[str, str], by: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    if "gate failed" in verdict.values():
        return "No answer: the judge or the features did not pass their own tests here."
    gone = [verdict[one] == "supported" for one in ("goes", "fewer", "closes")]
    return answer(
        "Superposition {goes}: from 4 to 100 neurons a dimension the median neuron has {change} concepts; it fires {rarer}.",
        goes="goes away" if all(gone) else "shrinks" if any(gone) else "stays",
        change="fewer" if by.loc[WIDE, "concepts"] < 0.8 * by.loc[NARROW, "concepts"]
        else "more" if by.loc[WIDE, "concepts"] > 1.25 * by.loc[NARROW, "concepts"] else "about as many",
        rarer={"supported": "half as often", "refuted": "about as often"}.get(verdict["rarer"], "perhaps less often"),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ measuring


def examine(names: Mapping[str, str], config: Config, lab: Lab) -> pd.DataFrame:
    """One row per arm of the models of one start."""
    rng = lab.rng(f"4.42 {names[WIDE]}")
    models = {arm: lms.load(name) for arm, name in names.items()}
    split = lms.corpus.sample(models[WIDE].tokenizer)
    rows = split.rows(models[WIDE].n_ctx, limit=config.rows, seed=int(rng.integers(2**31)))
    text = metrics.labelled(split, rows.place[:, 1:].ravel())
    pool = text.pool()
    out: list[dict[str, Any]] = []

    def look(arm: str, model: lms.LanguageModel, read: int) -> np.ndarray:
        which = np.sort(rng.permutation(model.d_mlp)[:read])
        values = activations.values(model, rows, activations.neurons(model, model.n_layers - 1, which))["units"].numpy()
        some = values[:, rng.permutation(values.shape[1])[: config.neurons]]
        out.append({"arm": arm, **measured(some, text), "loss": loss(model, rows.tokens), "dead": dead(values)})
        return values

    def made(arm: str, values: np.ndarray, share: float) -> None:
        count = int(share * config.neurons)
        chosen = planted.sets_apart(pool, text.document, 1, count, rng)
        read = values @ planted.directions(values, chosen, text.first)
        out.append({"arm": arm, **measured(np.concatenate([read, values[:, count : config.neurons]], axis=1), text)})

    for width in WIDTHS:
        values = look(width, models[width], READ)
        own = out[-1]
        if width == WIDE:
            made(THIRD, values, 1 / 3)
            made(MOST, values, 3 / 4)
        look(initial(width), models[width].control("init"), config.neurons)
        own["trained"] = planted.auc([-x for x in own["each"]], [-x for x in out[-1]["each"]])
        own |= carried(models[width], config, rng)
        latents, other = dictionaries(models[width], rows, config, rng, 2 if width == WIDE else 1)
        own["gap"] = own["concepts"] / measured(latents, text)["concepts"]
        if other is not None:
            again = measured(other, text)["concepts"]
            out.append({"arm": LATENTS, "gap": own["concepts"] / own["gap"] / again, "each": []})
    look(f"{WIDE}, shuffled weights", models[WIDE].control("shuffled"), config.neurons)
    narrow = models[NARROW]
    axes = random_basis(narrow.d_mlp, narrow.d_mlp, int(rng.integers(2**31))).T
    out.append({"arm": AXES, **carried(narrow, config, rng, axes), "each": []})
    out.append({"arm": BIGGER, "loss": loss(models[BIGGER], rows.tokens), "each": []})
    rare = sorted(pool, key=lambda one: int(one.where.sum()))[: max(12, len(pool) // 4)]
    units = [planted.uneven(text.document, [rare[k % len(rare)]], rng) for k in range(config.neurons)]
    out.append({"arm": RARE, **measured(np.stack(units, axis=1), text)})
    for way in ANEW:
        values = look(anew(way), retraining.load(f"{names[WIDE]}/{way}"), READ if way == "dense" else config.neurons)
        if way == "dense":
            made(ANEW_THIRD, values, 1 / 3)
    look(ROUTED, shuffled_inputs(retraining.load(f"{names[WIDE]}/experts"), rng), config.neurons)
    return pd.DataFrame(out)


def measured(values: np.ndarray, text: metrics.Text) -> dict[str, Any]:
    """What a set of units is like: concepts, and how rarely they fire."""
    many = 1 / metrics.concepts(values, text)
    rate = np.maximum(metrics.firings(values).mean(axis=0), 1 / len(values))
    return {
        "concepts": float(np.median(many)), "monosemantic": float((many < FEW).mean()),
        "rate": float(np.exp(np.log(rate).mean())), "each": many.tolist(),
    }  # fmt: skip


def loss(model: lms.LanguageModel, tokens: np.ndarray) -> float:
    """Nats per token on the first of the rows."""
    parts = np.array_split(tokens[: min(len(tokens), 160)], 10)
    return float(np.mean([float(model.loss(rows_to_tensor(part)).mean()) for part in parts]))


def shuffled_inputs(model: lms.LanguageModel, rng: np.random.Generator) -> lms.LanguageModel:
    """The model with the entries of its input weights permuted, in place: whatever gates the neurons is left."""
    weights = model.hooked.blocks[-1].mlp.W_in
    with torch.no_grad():
        weights.copy_(weights.flatten()[torch.from_numpy(rng.permutation(weights.numel()))].view_as(weights))
    return model


def dead(values: np.ndarray) -> float:
    """Share of neurons whose strongest activation is below a hundredth of the layer's median strongest."""
    high = values.max(axis=0)
    return float((high < 0.01 * np.median(high[high > 0])).mean())


def carried(
    model: lms.LanguageModel, config: Config, rng: np.random.Generator, basis: np.ndarray | None = None
) -> dict[str, float]:
    """How many neurons (or axes) carry the median labelled feature, by attribution (4.31), and of how many features."""
    found = list(labelled.carriers_of(model, 12, 20, config.pairs, rng, basis))
    return {"carriers": float(np.median(found)) if found else np.nan, "features": float(len(found))}


def dictionaries(
    model: lms.LanguageModel, rows: lms.corpus.Rows, config: Config, rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """(token, latent) live latents of one or two dictionaries of what the layer writes, trained apart, on the same tokens."""
    hook = f"blocks.{model.n_layers - 1}.hook_mlp_out"
    x = activations.values(model, rows, hook)["units"]
    width, k = DICTIONARY
    out = []
    for _ in range(count):
        source = sae.Samples.of(x, 1024, int(rng.integers(2**31)), "written")
        one = sae.train(source, sae.TopK(width=width, k=k), seeds=[int(rng.integers(2**31))],
                        recipe=sae.Recipe(steps=config.steps, lr=3e-3))[0].sae  # fmt: skip
        with torch.inference_mode():
            read = torch.cat([one.encode(part) for part in x.split(8192)]).numpy()
        live = np.flatnonzero((read > 0).mean(axis=0) > 0.001)
        out.append(read[:, rng.permutation(live)[: config.neurons]])
    return out[0], out[1] if count > 1 else None


# -------------------------------------------------------------------------------------------------------------- drawing


def figures(table: pd.DataFrame) -> list[Figure]:
    """Every measure over the width, every start; concepts of every neuron by arm."""
    curve = plots.figure()
    for place, column in enumerate(("concepts", "gap", "carriers", "rate")):
        for seed, rows in table[table.arm.isin(WIDTHS)].groupby("seed"):
            own = rows.set_index("arm").loc[list(WIDTHS), column]
            curve.add_scatter(
                x=[int(width.removesuffix("x")) for width in WIDTHS], y=own / own.iloc[0], name=column, legendgroup=column,
                showlegend=bool(seed == table["seed"].min()), mode="lines+markers", line={"color": plots.PALETTE[place]},
            )  # fmt: skip
    curve.add_hline(y=1, line={"color": plots.ROLES["rule"], "dash": "dash"})
    curve.update_xaxes(title_text="neurons per dimension", type="log", tickvals=[4, 16, 100])
    curve.update_yaxes(title_text="against 4 per dimension", type="log")
    box = plots.figure()
    kept = table[(table["each"].map(len) > 0) & (table.arm != AGAIN)]
    for arm, some in kept.groupby("arm", sort=False):
        role = "treatment" if arm in WIDTHS else "null" if "initial" in arm or "shuffled" in arm else "control"
        for row in some.itertuples():
            box.add_box(y=row.each, x=[arm] * len(row.each), offsetgroup=row.seed, showlegend=False, boxpoints=False,
                        marker={"color": plots.ROLES.get(role, plots.ROLES["control"])})  # fmt: skip
    box.add_hline(y=FEW, line={"color": plots.ROLES["rule"], "dash": "dash"})
    box.update_layout(boxmode="group")
    box.update_yaxes(title_text="effective number of concepts", type="log")
    return [
        Figure("widths", curve, "Each line is a start. Concepts of the median neuron, neurons over latents, carriers, and how "
               "often neurons fire."),
        Figure("arms", box, "Each box is a model's neurons. Dashed: fewer than two counts as monosemantic."),
    ]  # fmt: skip
