"""sae-lms: what sparse autoencoders find in a language model, and what in one that was never trained.

Set-up. Every architecture is trained on the output of the MLP, on one half of the shipped text's documents, with the same
number of latents, steps and latents on per token, and tried on the other half. Beside them stand a random dictionary,
principal components (both read by the same TopK), decoders and encoders that stay as they started, and TopK on the untrained
and on the shuffled model. The bundled SAE of each model, trained for 10 million tokens of the whole corpus, says what a
longer training reaches.

Loss recovered is against mean ablation, with zero ablation beside it; variance explained is about the mean. A labelled
property (a language, a kind of code or of generated text) has a latent of its own when one latent, chosen with its threshold
on the first half, reaches at least .8 of the F1 of a linear probe on the second (properties whose probe stays below .5 are
not read linearly here and not judged); F1 >= .8 outright is counted beside it. Agreement across seeds: the best correlation
of a latent with any latent of the next trained model, for latents that fire on one token in ten thousand or more, against the
same for neurons.

Prior numbers: 94.5 % of the loss recovered at the largest size, median best match across seeds .72 for latents and .46 for
neurons (Bricken et al. 2023); frozen decoders match trained ones on proxies (Korznikov et al. 2026); usual scores do not tell
trained from untrained transformers (Heap et al. 2025).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from superscope import lms, plots
from superscope.evidence.claim import Claim
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.wording import answer, percent
from superscope.lab import Lab
from superscope.lms.corpus.splits import Rows, Split
from superscope.lms.model import activations
from superscope.lms.model.consumers import Correlation, Moments
from superscope.lms.model.language_model import ControlKind, LanguageModel
from superscope.recover import sae
from superscope.recover.sae import labels, panel

PROBLEM = "sae-lms"
TITLE = "What do sparse autoencoders find in a language model, and what in an untrained one?"
QUESTION = (
    "At equal sparsity, which architecture reconstructs and explains best, which labelled features have a latent of their own, "
    "and do autoencoders of untrained models do as well?"
)
ASSUMPTIONS = [
    "Autoencoders are compared at the same number of latents, of training tokens and of latents on per token.",
    "A property that was labelled when the text was made is a feature worth a latent of its own.",
    "Two latents of two models are the same when their activations correlate over the same text.",
]
DISANALOGIES = [
    "One layer, 128 dimensions: published autoencoders read models with thousands, and are trained a thousand times longer.",
    "Labels are coarse (a language, base64); most features of a model have no label and are not judged.",
    "Trained here on half a million tokens seen several times; the bundled ones saw ten million once.",
]
TIPS = ["Say which ablation a loss is recovered from", "Score the untrained model's autoencoder too"]

SITE = "blocks.0.hook_mlp_out"
BUNDLED, TOPK, AGAIN = "bundled TopK", "topk", "topk, other seed"
HALF, TWICE = "topk, half as many on", "topk, twice as many on"
OTHERS = ("l1", "gated", "batch-topk", "jumprelu", "matryoshka")
FROZEN, SOFT, ENCODER = "topk, decoder frozen", "topk, decoder soft-frozen", "topk, encoder frozen"
RANDOM, PCA, BLURRED = "random dictionary", "principal components", "everything, blurred"
INIT, INIT_RANDOM, SHUFFLED = "topk, untrained model", "random dictionary, untrained model", "topk, shuffled model"
PROBES = "probes, noisy, among random latents"
LATENTS, NEURONS, CHANCE, COPY = "latents", "neurons", "random dictionary's latents", "latents, noisy copy"
READABLE, OWN = 0.5, 0.8  # F1 of a probe from which a property counts; share of it that a latent of its own reaches
BUNDLED_ROWS, CHANCE_ROWS, COMPOSED_ROWS = "decoder rows", "random rows", "rows composed of two of a quarter as many"
DENSITIES = (BUNDLED, TOPK, INIT, RANDOM)  # whose latents' firing densities are drawn
FIRES = 1e-4  # latents that fire more rarely are left out of the comparison across models


@dataclass(frozen=True)
class Config:
    """Which models, and how large and how long."""

    model: str = "gelu-1l-mini"  # a bundled model; its twins of other seeds are the replicates
    width: int = 256  # latents
    k: int = 16  # latents on per token
    steps: int = 800
    batch: int = 256  # tokens a step
    lr: float = 4e-3
    text: int = 400  # rows of 256 tokens that are trained on
    rows: int = 24  # rows that losses are measured on
    meta_steps: int = 300  # of the meta-SAE
    labelled: int = 120  # rows of each half in which latents of properties are chosen and tried


PRESETS = {
    "quick": Config(),
    "standard": Config(width=512, steps=1500, batch=512, text=1600, rows=64, labelled=300),
    "full": Config(width=4096, steps=6000, batch=4096, lr=2e-3, text=2200, rows=400, labelled=400),
}

GATE = [
    Check("Mean ablation of the site costs at least .3 nats", "cost", ">= 0.3", TOPK, unit="models"),
    *(Check(f"{one} has the L0 that was asked for, within a quarter", "l0 / k", "within [0.75, 1.25]", one, unit="models")
      for one in (TOPK, *OTHERS)),
    Check("a linear probe reads at least half of the properties (F1 >= .5)", "readable", ">= 0.5", PROBES, unit="models"),
]  # fmt: skip
_SEED = "Null: another seed of the same training. "
EXPECTED = [
    Expect("recovers", "The bundled TopK gives back at least .85 of the loss that mean ablation costs", "ce_score", ">= 0.85",
           of=BUNDLED, null=RANDOM, plant=BLURRED, unit="models",
           why="Null: random directions read by the same TopK. Plant: everything kept, a tenth of the variance in noise."),
    Expect("explains", "and explains at least .7 of the variance about the mean", "explained", ">= 0.7",
           of=BUNDLED, null=RANDOM, plant=BLURRED, unit="models", why="Null and plant as above."),
    Expect("l1-worse", "At equal L0 the L1 penalty recovers at least .02 less of the loss than TopK", "ce_score", "<= -0.02",
           of=f"l1 - {TOPK}", null=f"{AGAIN} - {TOPK}", plant=f"{HALF} - {TOPK}", unit="models",
           why=_SEED + "Plant: TopK with half as many latents on.",
           note="Shrinkage is what Gated, TopK and JumpReLU were made against."),
    Expect("batch-better", "A budget shared over the batch recovers at least .01 more: BatchTopK against TopK", "ce_score",
           ">= 0.01", of=f"batch-topk - {TOPK}", null=f"{AGAIN} - {TOPK}", plant=f"{TWICE} - {TOPK}", unit="models",
           why=_SEED + "Plant: TopK with twice as many latents on."),
    Expect("training-decoders", "A decoder that stays random recovers at least .1 less than a trained one", "ce_score",
           "<= -0.1", of=f"{FROZEN} - {TOPK}", null=f"{AGAIN} - {TOPK}", plant=f"{RANDOM} - {TOPK}", unit="models",
           why=_SEED + "Plant: the encoder is random, too."),
    Expect("soft-is-enough", "A decoder kept within cosine .8 of its random start recovers as much, within .05", "ce_score",
           "within [-0.05, 0.05]", of=f"{SOFT} - {TOPK}", null=f"{RANDOM} - {TOPK}", plant=f"{AGAIN} - {TOPK}", unit="models",
           why="Null: a random dictionary. Plant: another seed of the same training.", power=(f"{HALF} - {TOPK}",),
           note="Korznikov et al. find soft-frozen decoders as good on proxies."),
    Expect("labelled",
           "At least half of the readable properties have a latent of their own (.8 of the probe's F1 on other documents)",
           "labelled", ">= 0.5", of=BUNDLED, null=RANDOM, plant=PROBES, unit="models",
           why="Null: the same search over random directions. Plant: the probes' directions, with noise of 30 %, hidden "
           "among random ones.",
           note="F1 >= .8 outright, the first form of the rule, is out of reach of linear probes for most properties: see the "
           "table"),
    Expect("labelled-by-training", "and at least a fifth more of them than in the untrained model", "labelled", ">= 0.2",
           of=f"{TOPK} - {INIT}", null=f"{AGAIN} - {TOPK}", plant=f"{PROBES} - {INIT}", unit="models",
           why=_SEED + "Plant: the trained model's planted latents against those of the untrained model."),
    Expect("explained-is-blind",
           "Variance explained does not tell: TopK explains no less of the untrained model (by more than .05)",
           "explained", ">= -0.05", of=f"{INIT} - {TOPK}", null=f"{INIT_RANDOM} - {TOPK}", plant=f"{AGAIN} - {TOPK}",
           unit="models", why="Null: a random dictionary of the untrained model. Plant: another seed on the trained model."),
    Expect("composed",
           "Latents are composed: a meta-SAE with four of a quarter as many latents on explains half of the decoder",
           "meta", ">= 0.5", of=BUNDLED_ROWS, null=CHANCE_ROWS, plant=COMPOSED_ROWS, unit="models",
           why="Null: random rows. Plant: sums of two of a quarter as many directions, unequal weights, noise.",
           note="Leask et al. 2025: 55 % for an SAE of GPT-2."),
    Expect("agree-across-seeds",
           "Latents agree across trained models better than neurons: median best match higher by .1 or more",
           "match", ">= 0.1", of=f"{LATENTS} - {NEURONS}", null=f"{CHANCE} - {NEURONS}", plant=f"{COPY} - {NEURONS}",
           unit="models", why="Null: latents of random dictionaries of both models. Plant: the model's own latents with noise "
           "of 30 % of their weights."),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained model on its own; then the rules asked of each."""
    table = lab.models(config.model, examine, config)
    passed = gate(table, GATE)
    mean = table.groupby("arm", sort=False).mean(numeric_only=True)
    summary = (
        f"Loss recovered (mean ablation) / explained / labelled properties with a latent, at {config.k} latents on: "
        + "; ".join(f"{arm} {row.ce_score:.2f} / {row.explained:.2f} / {row.labelled:.2f}" for arm, row in mean.iterrows()
                    if np.isfinite(row.ce_score))
        + ". Median best match with the next model: "
        + ", ".join(f"{arm} {row.match:.2f}" for arm, row in mean.iterrows() if np.isfinite(row.match))
        + ". Variance of the decoder that a meta-SAE explains: "
        + ", ".join(f"{arm} {row.meta:.2f}" for arm, row in mean.iterrows() if np.isfinite(row.meta))
        + "."
    )  # fmt: skip
    wide = table.drop(columns=["by property", "density"]).reset_index(drop=True)
    claims = judge(table, EXPECTED, passed)
    tables = {"arms": wide, "properties": by_property(table)}
    return Findings(passed, claims, figures(table), tables, summary, in_short(claims, mean))


def in_short(claims: list[Claim], mean: pd.DataFrame) -> str:
    """The sentence the page opens with: where an untrained model scores as high, that comes first."""
    held = {claim.id: claim.verdict == "supported" for claim in claims}
    return answer(
        "Variance explained {tells} autoencoders of trained models from those of untrained ones; labelled properties {do}: "
        "{trained} have their own latent, against {untrained}.",
        tells="does not tell" if held["explained-is-blind"] else "tells",
        do="do" if held["labelled-by-training"] else "hardly do",
        trained=percent(mean.labelled[TOPK]), untrained=percent(mean.labelled[INIT]),
    )  # fmt: skip


def by_property(table: pd.DataFrame) -> pd.DataFrame:
    """F1 of the best latent of every property, mean over models."""
    rows = []
    for arm in (BUNDLED, TOPK, INIT, SHUFFLED, RANDOM, PROBES):
        for found in table.loc[table.arm == arm, "by property"].dropna():
            rows += [{"arm": arm, "property": name, "F1": value} for name, value in zip(labels.PROPERTIES, found, strict=True)]
    return pd.DataFrame(rows).pivot_table(index="property", columns="arm", values="F1", sort=False).reset_index()


# --------------------------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Bench:
    """A model with the texts that its autoencoders are trained and tried on."""

    model: LanguageModel
    train: torch.Tensor  # (token, d) activations to train on
    tried: Rows
    chosen: tuple[np.ndarray, np.ndarray]  # activations at the site and labels of the tokens where latents are chosen
    judged: tuple[np.ndarray, np.ndarray]  # the same of other documents
    probes: tuple[np.ndarray, np.ndarray]  # directions and biases of linear probes of the properties
    readable: np.ndarray  # (property,) F1 of probes of the trained model on the other documents
    known: panel.Reference


def bench(model: LanguageModel, config: Config, lab: Lab) -> Bench:
    """Half of the documents to train and choose on, the other half to try."""
    split = lms.corpus.sample(model.tokenizer)
    first = lab.rng("halves").random(len(split.documents)) < 0.5
    one, two = split.only(first), split.only(~first)
    tried = two.rows(model.n_ctx, limit=config.rows, seed=lab.seed)
    text = one.rows(model.n_ctx, limit=config.text, seed=lab.seed + 2)
    (x, on), (y, true) = labelled(model, one, config, lab), labelled(model, two, config, lab)
    directions, biases = labels.probes(x.astype(np.float64), on)
    scores = [np.maximum(part @ directions.T + biases, 0) for part in (x, y)]
    by_probe = labels.own_f1(scores[0], on, scores[1], true)
    return Bench(
        model, activations.values(model, text, {"x": SITE})["x"], tried, (x, on), (y, true), (directions, biases), by_probe,
        panel.reference(model, SITE, tried),
    )  # fmt: skip


def labelled(model: LanguageModel, split: Split, config: Config, lab: Lab) -> tuple[np.ndarray, np.ndarray]:
    """(token, d) at the site and (token, property) labels of random rows."""
    rows = split.rows(model.n_ctx, limit=config.labelled, seed=lab.seed + 1)
    return activations.values(model, rows, {"x": SITE})["x"].numpy(), labels.properties(split, rows.place[rows.place >= 0])


def row(arm: str, one: sae.SAE, at: Bench, config: Config) -> dict[str, Any]:
    """Everything that is measured of one autoencoder."""
    found = panel.examine(at.model, one, at.tried, known=at.known)
    losses = {name: float(values.mean()) for name, values in found.losses.items()}
    (fit, fit_on), (test, test_on) = at.chosen, at.judged
    latents = [one.encode(torch.from_numpy(x)).numpy() for x in (fit, test)]
    f1 = labels.best_latents(latents[0], fit_on, latents[1], test_on).f1
    asked = at.readable >= READABLE
    own = float((f1[asked] >= OWN * at.readable[asked]).mean()) if asked.any() else np.nan
    return {
        "arm": arm, **found.row(), "cost": losses["mean"] - losses["clean"], "l0 / k": found.l0 / config.k,
        "readable": float(asked.mean()), "labelled": own,
        "F1 over .8": float((f1 >= 0.8).mean()), **{
            f"{few}-sparse F1": float(np.nanmean(labels.sparse_probes(latents[0], fit_on, latents[1], test_on, few)))
            for few in (2, 5)
        }, "mean F1": float(np.nanmean(f1)), "by property": f1.tolist(),
        "density": found.density.tolist() if arm in DENSITIES else None,
    }  # fmt: skip


def trained(
    config: Config, at: Bench, seed: int, kinds: dict[str, sae.Architecture], seeds: dict[str, int]
) -> Iterator[tuple[str, sae.SAE]]:
    """Autoencoders by arm; `seeds` are added to the run's seed."""
    stream = sae.Samples.of(at.train, config.batch, seed, SITE)
    recipe = sae.Recipe(steps=config.steps, lr=config.lr)
    for arm, kind in kinds.items():
        (one,) = sae.train(stream, kind, seeds=[seed + seeds.get(arm, 0)], recipe=recipe, metadata={"hook_name": SITE})
        yield arm, one.sae


def examine(model: LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    at = bench(model, config, lab)
    top = sae.TopK(width=config.width, k=config.k)
    n, k = config.width, config.k
    kinds: dict[str, sae.Architecture] = {
        TOPK: top, AGAIN: top, HALF: replace(top, k=k // 2), TWICE: replace(top, k=2 * k),
        "l1": sae.L1(width=n, l0=k, norm=1.0), "gated": sae.Gated(width=n, l0=k),
        "jumprelu": sae.JumpReLU(width=n, l0=k, bandwidth=1.0),
        "batch-topk": sae.BatchTopK(width=n, k=k), "matryoshka": sae.Matryoshka(width=n, k=k),
        FROZEN: replace(top, freeze="decoder"), SOFT: replace(top, freeze="soft decoder"),
        ENCODER: replace(top, freeze="encoder"),
    }  # fmt: skip
    with lab.bar(len(kinds) + 7, f"autoencoders of {model.name}") as advance:
        for done, (arm, one) in enumerate(trained(config, at, lab.seed, kinds, {AGAIN: 1000}), 1):
            yield row(arm, one, at, config)
            advance(done, len(kinds) + 7)
        bundled = sae.load(f"{model.name}/mlp-out-topk")
        yield row(BUNDLED, bundled, at, config)
        yield from metas(bundled, config, lab)
        for arm, one in untrained_objects(at, config, lab):
            yield row(arm, one, at, config)
        stages: list[tuple[str, ControlKind]] = [(INIT, "init"), (SHUFFLED, "shuffled")]
        for arm, control in stages:
            other = replace(bench(model.control(control, lab.seed), config, lab), readable=at.readable)  # the same questions
            ((_, one),) = trained(config, other, lab.seed, {arm: top}, {})
            yield row(arm, one, other, config)
            if arm == INIT:
                chance = at_site(sae.random(one.d_in, n, k, other.known.mean, lab.seed + 9))
                yield row(INIT_RANDOM, chance, other, config)
        yield from across(model, at, config, lab)
        advance(len(kinds) + 7, len(kinds) + 7)


def untrained_objects(at: Bench, config: Config, lab: Lab) -> Iterator[tuple[str, sae.SAE]]:
    """The random dictionary, principal components, the blurred identity, and probes in the place of latents."""
    x, _ = at.chosen
    full = sae.pca(torch.from_numpy(x))
    yield RANDOM, at_site(sae.random(x.shape[1], config.width, config.k, at.known.mean, lab.seed + 9))
    yield PCA, at_site(sae.SAE("topk", full.tensors, k=config.k))
    blur = torch.from_numpy(lab.rng("blur").standard_normal(full.decoder.shape).astype(np.float32))
    blur = blur / blur.norm(dim=1, keepdim=True) * 0.33  # a ninth of a row's energy, a tenth of what comes out
    yield BLURRED, at_site(replace(full, tensors=full.tensors | {"W_dec": full.decoder + blur}))
    rng, (directions, biases) = lab.rng("planted latents"), at.probes
    noise = rng.standard_normal(directions.shape)
    sizes = [np.linalg.norm(one, axis=1, keepdims=True) for one in (directions, noise)]
    noisy = directions + 0.3 * noise * sizes[0] / sizes[1]
    mean = x.mean(0)
    others = rng.standard_normal((config.width - len(noisy), len(mean)))
    rows = np.concatenate([noisy, others])
    bias = np.concatenate([biases + (directions - noisy) @ mean, -others @ mean])
    tensors = {"W_enc": rows.T, "b_enc": bias, "W_dec": np.zeros_like(rows), "b_dec": np.zeros(len(mean))}
    held = {name: torch.tensor(value, dtype=torch.float32) for name, value in tensors.items()}
    yield PROBES, at_site(sae.SAE("standard", held, centred=False))


def metas(one: sae.SAE, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """How much of the decoder a smaller dictionary of its rows explains: trained, random, and sums of two of a quarter as
    many."""
    rng = lab.rng("meta")
    parts = rng.standard_normal((one.n // 4, one.d_out)).astype(np.float32)
    parts /= np.linalg.norm(parts, axis=1, keepdims=True)
    pair = rng.integers(0, len(parts), (one.n, 2))
    weight = rng.uniform(0.5, 1.0, (one.n, 2, 1)).astype(np.float32)
    composed = (parts[pair] * weight).sum(1) + 0.03 * rng.standard_normal((one.n, one.d_out)).astype(np.float32)
    chance = sae.random(one.d_out, one.n, 1, torch.zeros(one.d_out), lab.seed + 40).decoder
    for arm, rows in ((BUNDLED_ROWS, one.decoder), (CHANCE_ROWS, chance), (COMPOSED_ROWS, torch.from_numpy(composed))):
        rowed = replace(one, tensors=one.tensors | {"W_dec": rows})
        yield {"arm": arm, "meta": panel.meta_explained(rowed, seed=lab.seed, steps=config.meta_steps)}


def at_site(one: sae.SAE) -> sae.SAE:
    return replace(one, metadata={"hook_name": SITE})


def across(model: LanguageModel, at: Bench, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """Median best correlation of latents, and of neurons, with those of the next trained model."""
    names = lms.replicates(model.name)
    other = lms.load(names[(names.index(model.name) + 1) % len(names)])
    mine, theirs = (sae.load(f"{one.name}/mlp-out-topk") for one in (model, other))
    noise = torch.from_numpy(lab.rng("noisy copy").standard_normal(mine.tensors["W_enc"].shape).astype(np.float32))
    enc = mine.tensors["W_enc"]
    noisy = replace(mine, tensors=mine.tensors | {"W_enc": enc + 0.3 * enc.norm(dim=0) * noise / noise.norm(dim=0)})
    chance = [sae.random(mine.d_in, mine.n, config.k, at.known.mean, lab.seed + 20 + turn) for turn in range(2)]
    pairs = {
        LATENTS: (panel.latents(mine, model), panel.latents(theirs, other)),
        NEURONS: (activations.neurons(model), activations.neurons(other)),
        CHANCE: (panel.latents(at_site(chance[0]), model, "chance 0"), panel.latents(at_site(chance[1]), other, "chance 1")),
        COPY: (panel.latents(mine, model), panel.latents(noisy, model, "noisy")),
    }
    units = {f"{arm} {turn}": one for arm, pair in pairs.items() for turn, one in enumerate(pair)}
    consumers: dict[str, Any] = {arm: Correlation(f"{arm} 0", f"{arm} 1") for arm in pairs}
    consumers |= {f"{name} fires": Moments(of=name) for name in units if name.endswith(" 0")}
    found = activations.scan(model, at.tried, units, consumers)
    for arm in pairs:
        best = np.nanmax(np.where(np.isfinite(found[arm]), found[arm], -1), axis=1)
        alive = found[f"{arm} 0 fires"].density >= FIRES
        yield {"arm": arm, "match": float(np.median(best[alive])), "matched": int(alive.sum())}


def figures(table: pd.DataFrame) -> list[Figure]:
    """Loss recovered against labelled properties by arm; F1 of every property."""
    scatter = plots.figure()
    kinds = {"circle": (BUNDLED, TOPK, *OTHERS), "diamond-open": (FROZEN, SOFT, ENCODER), "x": (PCA, RANDOM)}
    for symbol, arms in kinds.items():
        for place, arm in enumerate(arms):
            part = table[table.arm == arm]
            mark = {"color": plots.PALETTE[place % len(plots.PALETTE)], "size": 9, "symbol": symbol}
            scatter.add_scatter(x=part.ce_score, y=part["mean F1"], mode="markers", name=arm, marker=mark)
    scatter.update_xaxes(title_text="loss recovered, against mean ablation")
    scatter.update_yaxes(title_text="mean F1 of the best latent of a property")
    bars = plots.figure(barmode="group")
    wide = by_property(table)
    for arm, role in ((BUNDLED, "theory"), (TOPK, "treatment"), (INIT, "control"), (PROBES, "plant")):
        bars.add_bar(x=wide["property"], y=wide[arm], name=arm, marker={"color": plots.ROLES[role]})
    bars.add_hline(y=0.8, line={"color": plots.ROLES["rule"], "dash": "dot"})
    bars.update_yaxes(title_text="F1 on other documents")
    density = plots.figure()
    for arm, role in zip(DENSITIES, ("theory", "treatment", "control", "plant"), strict=True):
        held = np.concatenate([np.asarray(one) for one in table.loc[table.arm == arm, "density"].dropna()])
        share, edges = np.histogram(np.log10(np.maximum(held, 1e-6)), bins=np.arange(-6, 0.25, 0.25))
        density.add_scatter(
            x=edges[:-1] + 0.125, y=share / len(held), mode="lines", name=arm, line={"color": plots.ROLES[role]}
        )
    density.update_xaxes(title_text="log10 of the share of tokens a latent fires on")
    density.update_yaxes(title_text="share of latents")
    return [
        Figure(
            "worth",
            scatter,
            "One point a trained model; diamonds: part of it stays random; crosses: nobody trained it.",
        ),
        Figure("properties", bars, "The best latent of each labelled property, chosen on other documents. Dotted: F1 of .8."),
        Figure("density", density, "How often latents fire. What never fired is drawn at one in a million."),
    ]
