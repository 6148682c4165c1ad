"""4.44: if every neuron of a trained MLP is copied with noise and that layer alone is trained on, do the copies specialise?

The one MLP of three small models is copied two and ten times (noise of a tenth of a weight, W_out divided), or its input
weights are split between two children, at random or along the two concepts a neuron answers to most (Expand Neurons, Not
Parameters, arXiv 2510.04500). Only it is trained on (`lms.zoo.retraining`: one million tokens, the same batches for all; copies
without noise follow the un-widened training exactly, which is a test). Asked is (1) whether the clones of a neuron with
two senses divide them, by two measures; (2) whether the loss falls below that of the un-widened MLP trained on as long; (3)
whether a split does better than copies, and an aligned one than a random one; (4) whether clones are less polysemantic by the
metric that 4.38 found valid; (5) whether a dictionary finds features in the wide layer that one of the narrow layer has not.

Nulls: clones as far apart, but as the clones of other neurons are, for any difference of weights goes with some difference of
inputs; a second un-widened training on other batches. Prior: widening keeps the function (Net2Net, Chen et al. 2015); in
2510.04500 disjoint splits raise accuracy, and random ones nearly as much as aligned ones. The rules were written before
any widened model was measured; pilots at lower rates had shown losses, and that clones come no further apart, and the rate was
raised for it. The toy answer: tms predicts that a model with a neuron per feature leaves superposition when it is trained from
the start: an AMI of 1 between clone and concept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812 (the usual name)

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.wording import answer, number, said, span
from superscope.lab import Lab
from superscope.lms.model import activations
from superscope.lms.reading import metrics, planted
from superscope.lms.reading.concept_inputs import Case, with_two_senses
from superscope.lms.zoo import retraining
from superscope.lms.zoo.retraining_starts import Constraint, TrainedMLP
from superscope.measure.activations import specialisation
from superscope.recover import sae

PROBLEM = "4.44"
TITLE = "Widen one trained MLP and fine-tune"
QUESTION = "If each neuron of a trained MLP is copied with noise and only that layer is trained on, do the copies specialise?"
ASSUMPTIONS = [
    "A neuron's concepts are the two that hold most of its excess activation, among words, pairs, character classes, segments.",
    "One million tokens on the CPU: what needs far more training to begin is not seen.",
    "A feature is new if no latent of the narrow layer's dictionary correlates with it at .3.",
]
DISANALOGIES = [
    "The toy learns its features and its neurons together; here all that reads the layer's output is frozen as it was.",
    "Copies start at a symmetric point, where nothing but noise tells them apart; random new neurons would not.",
]
TIPS = ["Compare clones with clones as far apart by chance", "Copies without noise must stay equal to the bit: test it"]

BASE, UNWIDENED, AGAIN, LOST = "as it was", "un-widened", "un-widened, other batches", "un-widened, neurons lost"
TWO, TEN, RANDOM, ALIGNED = "two copies", "ten copies", "random split", "aligned split"
STRANGERS, BUILT, START = "apart as strangers", "built to divide", "at the start"
OTHER, ADDED = "un-widened, other dictionary", "un-widened, features added"
TRAINED = {UNWIDENED: "unwidened", AGAIN: "unwidened-again", TWO: "copies-2-loud", TEN: "copies-10-loud", RANDOM: "random-2",
           ALIGNED: "aligned-2"}  # fmt: skip
MORE = {"two copies, noise .01": "copies-2", "ten copies, noise .01": "copies-10", "two copies, noise .001": "copies-2-faint",
        "two copies, ten times the tokens": "copies-2-long", "un-widened, ten times the tokens": "unwidened-long"}  # fmt: skip

JUDGED = 1 / 32  # of the metric of 4.38: at 1 / 64 no concept was sure


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "gelu-1l-mini"  # base whose retrained versions are bundled; its twins of other seeds are the replicates
    rows: int = 300  # of text on which neurons are read
    loss_rows: int = 32  # of text on which losses are taken
    neurons: int = 30  # with two senses, at most
    judged: int = 6  # of them, the most polysemantic, whose clones the metric of 4.38 scores
    lost: int = 16  # neurons taken from the plant of the losses
    width: int = 256  # latents of a dictionary
    k: int = 16
    steps: int = 150
    batch: int = 512

    def __post_init__(self) -> None:
        counts = (self.rows, self.loss_rows, self.neurons, self.judged, self.lost, self.steps, self.batch)
        if min(counts) < 1 or not 1 <= self.k <= self.width:
            raise ValueError(
                f"rows={self.rows}, loss_rows={self.loss_rows}, neurons={self.neurons}, judged={self.judged}, "
                f"lost={self.lost}, steps={self.steps}, batch={self.batch}, k={self.k}, width={self.width}: expected 1 or more "
                "of each, and k of width latents"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=800, loss_rows=300, neurons=150, judged=25, width=512, steps=600, batch=1024),
    "full": Config(rows=2000, loss_rows=2000, neurons=512, judged=100, width=2048, steps=20_000, batch=4096),
}

GATE = [
    Check("20 neurons or more have two senses", "neurons", ">= 20", UNWIDENED, unit="models"),
    Check("training moves the ten clones' mean input weights by a twentieth or more", "moved", ">= 0.05", TEN, unit="models"),
    Check("and costs the un-widened model less than a tenth of a nat", "cost", "<= 0.1", UNWIDENED, unit="models"),
]  # fmt: skip
EXPECTED = [
    *(
        Expect(
            f"{name}-{short}", statement.format(many=many.split()[0]), column, rule, of=many,
            null=f"{many}, {STRANGERS}", plant=f"{many}, {BUILT}", unit="models",
            why="Null: clones as far from their family's mean, in the directions of a stranger's clones. Plant: clones that "
            "keep a tenth to four tenths of all else, of unequal strength, with noise.",
            note=note,
        )
        for many, short in ((TWO, "2"), (TEN, "10"))
        for name, statement, column, rule, note in (  # the two measures must agree
            ("division", "Which of {many} clones is loudest tells which concept a token has (AMI above permuted)", "AMI",
             ">= 0.1", "A clone owns a token if it leads its family's mean by half: noise alone makes one the loudest."),
            ("sharing", "The shares of {many} clones in the two concepts differ by .05 bits (for two: 63 to 37)", "bits",
             ">= 0.05", ""),
        )
    ),
    *(
        Expect(
            name, statement, "loss", ">= 0.01", of=of, null=f"{UNWIDENED} - {AGAIN}", plant=f"{LOST} - {UNWIDENED}",
            unit="models",
            why="Null: the un-widened MLP trained twice, on other batches. Plant: it with and without 16 of its 512 neurons.",
            note=note,
        )
        for name, statement, of, note in (
            ("gain-2", "Two copies end a hundredth of a nat below the un-widened MLP", f"{UNWIDENED} - {TWO}", ""),
            ("gain-10", "Ten copies end a hundredth of a nat below the un-widened MLP", f"{UNWIDENED} - {TEN}",
             "Four times the neurons, trained from the start, are worth .10 to .14 nats in models half as wide (their cards)."),
            ("split", "A random split ends a hundredth of a nat below two copies", f"{TWO} - {RANDOM}", ""),
            ("alignment", "A split along concepts ends a hundredth of a nat below a random one", f"{RANDOM} - {ALIGNED}", ""),
        )
    ),
    Expect(
        "monosemantic", "Ten clones answer to fewer concepts than un-widened neurons: the metric of 4.38 is a quarter higher",
        "score", ">= 1.25", of=f"{TEN} / {UNWIDENED}", null=f"{TEN}, {STRANGERS} / {UNWIDENED}",
        plant=f"{TEN}, {BUILT} / {UNWIDENED}", unit="models",
        why="Null and plant as for the division of concepts.",
        note="One over the effective number of concepts, mean over units; of the most polysemantic neurons.",
    ),
    Expect(
        "new", "One latent in twenty of the ten copies' dictionary has no match in the un-widened layer, beyond chance",
        "unmatched", ">= 0.05", of=f"{TEN} - {OTHER}", null=f"{AGAIN} - {OTHER}", plant=f"{ADDED} - {OTHER}", unit="models",
        why="Chance: the un-widened layer's dictionary, trained on. Null: the one trained on other batches. Plant: directions "
        "added to its output, a tenth as many as latents, on at .3 to 2 % of tokens.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models(config.model, examine, config)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    ten, narrow = table[table.arm == TEN], table[table.arm == UNWIDENED]
    families = table.drop(columns=["each"]).dropna(axis=1, how="all")
    cards = pd.DataFrame([row for one in narrow.cards for row in one])
    return Findings(
        passed,
        claims,
        figures(table),
        {"arms": families.drop(columns=["cards"]), "trainings": cards},
        f"Mean cosine of the input weights of ten clones: {span(ten.cosine.min(), ten.cosine.max(), 3)} (at the start "
        f"{number(table[table.arm == f'{TEN}, {START}'].cosine.mean(), 3)}). Neurons with two senses: "
        f"{span(narrow.neurons.min(), narrow.neurons.max(), 3)}.",
        in_short(
            {claim.id: claim.verdict for claim in claims},
            ten.AMI.mean(),
            narrow.loss.mean() - ten.loss.mean(),
        ),
    )


def in_short(verdict: Mapping[str, str], ami: float, nats: float) -> str:
    """The sentence the page opens with; ami, nats: of ten copies, mean over the models."""
    parts = [verdict["division-10"], verdict["sharing-10"]]
    same = parts[0] if parts[0] == parts[1] else "undecided"
    return answer(
        "Ten noisy copies specialise: {divide} (AMI {ami}); gain over un-widened training: {gain} ({nats} nats); "
        "fewer concepts each: {mono}; new features: {new}.",
        divide=said(same),
        ami=float(ami),
        gain=said(verdict["gain-10"]),
        nats=float(nats),
        mono=said(verdict["monosemantic"]),
        new=said(verdict["new"]),
    )


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model: its retrained versions, and what was planted in them."""
    rng = lab.rng(f"4.44 {model.name}")
    wide = {arm: retraining.load(f"{model.name}/{name}") for arm, name in TRAINED.items()}
    extra = {arm: f"{model.name}/{name}" for arm, name in MORE.items()}
    wide |= {arm: retraining.load(name) for arm, name in extra.items() if name in retraining.bundled()}
    split = lms.corpus.sample(model.tokenizer)
    rows = split.rows(model.n_ctx, limit=config.rows, seed=lab.seed)
    place = rows.place[rows.place >= 0]
    norm: Any = model.hooked.blocks[-1].ln2
    inputs = activations.Units(f"blocks.{model.n_layers - 1}.ln2.hook_normalized", lambda x: x * norm.w + norm.b, "inputs")
    sites = {"inputs": inputs, "neurons": activations.neurons(model, model.n_layers - 1)}
    read = activations.values(model, rows, sites)
    cases = with_two_senses(read["neurons"].numpy(), planted.concepts(split), place)
    cases = [cases[i] for i in rng.permutation(len(cases))[: config.neurons]]
    text = metrics.labelled(split, place)
    score = metrics.score(read["neurons"].numpy()[:, [case.neuron for case in cases]], text, [metrics.JUDGE])[metrics.JUDGE]
    order = np.argsort(np.where(score > JUDGED, score, np.inf), kind="stable")
    cases = [cases[i] for i in order]  # the most polysemantic first; those that the metric cannot judge last
    arms: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for arm, row in divided(model, wide, read["inputs"], cases, text, config, rng):
        arms[arm] |= row
    others = split.rows(model.n_ctx, limit=config.loss_rows, seed=lab.seed + 1)
    w = mlp_of(wide[UNWIDENED])
    mean = F.gelu(read["inputs"][:20_000] @ w["W_in"] + w["b_in"]).mean(dim=0)
    for arm, loss in losses(model, wide, others.tokens, mean, config, rng).items():
        arms[arm]["loss"] = loss
    arms[UNWIDENED] |= {"neurons": len(cases), "cost": arms[UNWIDENED]["loss"] - arms[BASE]["loss"]}
    for arm, share in new_features({arm: wide[arm] for arm in (UNWIDENED, AGAIN, TEN)}, read["inputs"], config, rng).items():
        arms[arm]["unmatched"] = share
    arms[UNWIDENED]["cards"] = [
        {"model": model.name, "arm": arm, **{key: one.card[key] for key in ("tokens", "loss", "loss_start", "loss_base")}}
        for arm, one in wide.items()
    ]
    for arm, row in arms.items():
        yield {"arm": arm, **row}


def divided(
    base: lms.LanguageModel, wide: Mapping[str, lms.LanguageModel], inputs: torch.Tensor, cases: list[Case],
    text: metrics.Text, config: Config, rng: np.random.Generator,
) -> Iterator[tuple[str, dict[str, Any]]]:  # fmt: skip
    """How the clones of every arm divide the senses, beside clones that are strangers' and clones built to divide.

    inputs: (token, d) of the MLP, which are the same for all arms: what comes before it is frozen.
    """
    m, before = base.d_mlp, mlp_of(base)["W_in"].numpy()
    narrow, judged = mlp_of(wide[UNWIDENED]), cases[: config.judged]

    def families(weights: Mapping[str, torch.Tensor]) -> Families:
        return lambda case, where: clones(weights, inputs[where], case.neuron, m)

    def built(case: Case, where: np.ndarray) -> np.ndarray:
        own = clones(narrow, inputs[where], case.neuron, m)[:, 0]
        return specialisation.planted(own, case.label(len(inputs))[where], r, rng)

    yield UNWIDENED, {"score": scored(families(narrow), judged, text)}
    for arm, model in wide.items():
        r, weights = model.d_mlp // m, mlp_of(model)
        if r == 1:
            continue
        w, b = weights["W_in"].numpy(), weights["b_in"].numpy()
        moved = np.linalg.norm(w.reshape(len(w), r, m).mean(axis=1) - before) / np.linalg.norm(before)
        yield arm, division(families(weights), cases) | {"cosine": specialisation.cosines(w, r).mean(), "moved": moved}
        if arm not in (TWO, TEN):
            continue
        first, _ = retraining.start(retraining.RETRAINED[f"{base.name}/{TRAINED[arm]}"], base)
        begun = specialisation.cosines(first["W_in"].numpy(), r).mean()
        yield f"{arm}, {START}", division(families(first), cases) | {"cosine": begun}
        pair = zip(("W_in", "b_in"), specialisation.strangers(w, b, r, rng), strict=True)
        strange = families({name: torch.from_numpy(one).float() for name, one in pair})
        for name, some in ((arm, families(weights)), (f"{arm}, {STRANGERS}", strange), (f"{arm}, {BUILT}", built)):
            yield name, division(some, cases) | ({"score": scored(some, judged, text)} if arm == TEN else {})


def mlp_of(model: lms.LanguageModel) -> dict[str, torch.Tensor]:
    """W_in, b_in, W_out and b_out of the last layer."""
    mlp = model.hooked.blocks[-1].mlp
    return {name: getattr(mlp, name).detach() for name in ("W_in", "b_in", "W_out", "b_out")}


def clones(weights: Mapping[str, torch.Tensor], inputs: torch.Tensor, neuron: int, m: int) -> np.ndarray:
    """(token, clone) activations of a neuron's clones, from the inputs of the MLP (token, d); m: neurons before widening."""
    return F.gelu(inputs @ weights["W_in"][:, neuron::m] + weights["b_in"][neuron::m]).numpy()


Families = Callable[[Case, np.ndarray], np.ndarray]
"""(case, numbers of tokens) -> (token, clone) activations of its neuron's clones there."""


def division(families: Families, cases: list[Case]) -> dict[str, Any]:
    """Both measures, mean over the cases."""
    found = [(families(case, case.where), case.concept) for case in cases]
    each = [specialisation.division(*one) for one in found]
    bits = [specialisation.sharing(*one) for one in found]
    return {"AMI": float(np.mean(each)), "bits": float(np.nanmean(bits)), "each": [round(one, 4) for one in each]}


def scored(families: Families, cases: list[Case], text: metrics.Text) -> float:
    """Mean of the metric of 4.38 over the clones of the cases' neurons."""
    values = np.concatenate([families(case, np.arange(len(text.place))) for case in cases], axis=1)
    return float(metrics.score(values, text, [metrics.JUDGE])[metrics.JUDGE].mean())


def losses(
    base: lms.LanguageModel, wide: Mapping[str, lms.LanguageModel], rows: np.ndarray, mean: torch.Tensor, config: Config,
    rng: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """Nats per token of every arm, and of the un-widened one without some neurons, which are held at their mean (neuron,)."""
    frozen = retraining.Frozen(base)
    weights = {arm: mlp_of(model) for arm, model in {**wide, BASE: base}.items()}
    gone = torch.from_numpy(rng.permutation(base.d_mlp)[: config.lost])
    w = weights[UNWIDENED]
    without = {"W_out": w["W_out"].index_fill(0, gone, 0.0), "b_out": w["b_out"] + mean[gone] @ w["W_out"][gone]}
    weights[LOST] = w | without
    return {arm: frozen.loss(TrainedMLP(one, base.activation, Constraint()), rows) for arm, one in weights.items()}


def new_features(
    wide: Mapping[str, lms.LanguageModel], inputs: torch.Tensor, config: Config, rng: np.random.Generator
) -> dict[str, float]:  # fmt: skip
    """Share of latents without a match in the dictionary of the un-widened layer's output, by arm.

    That dictionary is learnt on half of the tokens; then it learns on from there, as long, from the output of each arm.
    Latents are compared on the other half.
    """
    read = {}
    for arm, model in wide.items():
        w = mlp_of(model)
        each = [F.gelu(part @ w["W_in"] + w["b_in"]) @ w["W_out"] + w["b_out"] for part in inputs.split(8192)]
        read[arm] = torch.cat(each).chunk(2)
    x = read[OTHER] = read[UNWIDENED]
    count, size = config.width // 10, float((x[0] - x[0].mean(dim=0)).norm(dim=1).mean())
    directions = rng.normal(size=(count, x[0].shape[1]))
    directions *= size * rng.uniform(0.5, 1.5, (count, 1)) / np.linalg.norm(directions, axis=1, keepdims=True)
    rates = np.geomspace(0.003, 0.02, count)
    read[ADDED] = tuple(one + torch.from_numpy((rng.random((len(one), count)) < rates) @ directions).float() for one in x)

    def learnt(arm: str, start: Mapping[str, torch.Tensor] | None, seed: int) -> sae.SAE:
        source = sae.Samples.of(read[arm][0], config.batch, seed, arm)
        recipe = sae.Recipe(steps=config.steps)
        return sae.train(source, sae.TopK(width=config.width, k=config.k), seeds=[seed], recipe=recipe, start=start)[0].sae

    def latents(dictionary: sae.SAE, arm: str) -> np.ndarray:
        with torch.inference_mode():
            return dictionary.encode(read[arm][1]).numpy()

    first = learnt(UNWIDENED, None, 0)
    start = {**first.tensors, "W_enc": first.tensors["W_enc"].T}
    known = latents(first, UNWIDENED)
    arms = [arm for arm in read if arm != UNWIDENED]
    return {arm: specialisation.unmatched(latents(learnt(arm, start, 1), arm), known) for arm in arms}


def figures(table: pd.DataFrame) -> list[Figure]:
    """How each family divides beside chance; what every arm's training came to."""
    ten, strange = (table[table.arm == arm].iloc[0] for arm in (TEN, f"{TEN}, {STRANGERS}"))
    built = plots.histogram_with_null(list(ten.each), list(strange.each), x_title="AMI of owner and concept",
                                      names=("ten copies", STRANGERS))  # fmt: skip
    drawn = plots.figure(height=380)
    for model, rows in table.dropna(subset=["loss"]).groupby("model"):
        drawn.add_scatter(x=rows.arm, y=rows.loss - rows[rows.arm == UNWIDENED].loss.iloc[0], mode="markers", name=str(model))
    drawn.update_yaxes(title_text="nats above un-widened")
    return [
        Figure("division", built, f"Neurons with two senses, {ten.model}: does the loudest clone tell which one a token has?"),
        Figure("losses", drawn, "Loss of every arm, less that of the un-widened MLP trained on as many tokens."),
    ]
