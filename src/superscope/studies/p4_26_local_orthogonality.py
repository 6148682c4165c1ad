"""4.26: do features that occur together get nearly orthogonal directions, while features that never meet overlap?

Two predictions, stated beforehand. *Locally almost orthogonal* (Elhage et al. 2022): |cos| is lower between features that occur
together than between features that never meet. *Constructive* (Prieto et al., arXiv 2603.09972): what occurs together leans
together, with positive cosines. Three kinds of features of one layer's MLP: its neurons (rows of W_out), 200 labelled concepts
(each concept's share of the MLP's output in a regression on all of them), and the latents of an autoencoder (decoder rows).
Pairs that occur together are compared with pairs that never do, at equal frequencies and equal similarity of next tokens.

A dictionary is learned from what occurs together, so its cosines may be its own: the null of decoder rows is an autoencoder
trained on a world with the same firings in which co-occurring features ARE orthogonal. Estimates of concepts that occur
together err in opposite ways, so each is held against others estimated on other documents.
The toy answer: two correlated features get orthogonal directions and two anti-correlated ones opposite ones (tms, T8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.wording import answer, joined, number, span
from superscope.lab import Lab
from superscope.lms.reading import planted
from superscope.measure.activations import cooccurrence
from superscope.recover import sae

PROBLEM = "4.26"
TITLE = "Locally almost-orthogonal bases"
QUESTION = (
    "Do features that occur together get nearly orthogonal directions, while features that never meet are allowed to overlap?"
)
ASSUMPTIONS = [
    "A feature is a neuron, a labelled concept or a latent; each kind may miss what the model uses.",
    "What two features are for is what follows them in the text; pairs are compared at equal similarity and frequency.",
    "A unit is on above three tenths of its 99.9th percentile (neurons), where its label holds (concepts), above 0 (latents).",
]
DISANALOGIES = [
    "In the toy two features are on together or never; in text most pairs are in between, and frequencies differ much more.",
    "The toy's features have no meaning: what occurs together in text also tends to call for the same next token.",
    "One autoencoder a model; and a planted world has half as many latents a dimension, and is trained for fewer steps.",
    "A layer that answers several concepts at once with less than their sum makes concepts that co-occur look opposed.",
]
TIPS = ["Train the dictionary on a world whose geometry you know before you read geometry off it"]

TRAINED, DEALT, APART, LEANING = "trained", "directions dealt anew", "planted, apart", "planted, leaning together"
WORLD_APART, WORLD_LEANING = "autoencoder of orthogonal features", "autoencoder of leaning features"
KINDS = {"neurons": "neurons", "concepts": "concepts", "decoder": "decoder rows"}


@dataclass(frozen=True)
class Config:
    """Which models, and how much text."""

    model: str = "gelu-1l-mini"  # bundled model with autoencoders; its twins of other seeds are the replicates
    dictionary: str = "mlp-out-topk"  # which autoencoder of each
    rows: int = 700  # rows of text
    fewest: int = 50  # firings a unit has at least
    typical: int = 8  # units most typical of a text, whose coherence is measured
    world: int = 512  # latents whose firings make the planted worlds
    steps: int = 500  # of the autoencoders of planted worlds

    def __post_init__(self) -> None:
        if self.rows < 20 or self.fewest < 1 or self.typical < 2 or self.world < 16 or self.steps < 1:
            raise ValueError(
                f"rows={self.rows}, fewest={self.fewest}, typical={self.typical}, world={self.world}, steps={self.steps}: "
                "expected 20 rows, a firing, 2 typical units, 16 latents and a step at least"
            )


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=1500, world=1024, steps=3000),
    "full": Config(rows=4000, fewest=100, world=1024, steps=10_000),
}

GATE = [
    Check("A hundred pairs of neurons occur together, and as many never", "pairs neurons", ">= 100", TRAINED,
          unit="models"),
    Check("and a hundred of concepts", "pairs concepts", ">= 100", TRAINED, unit="models"),
    Check("Planted orthogonal neurons are seen", "apart neurons", ">= 0.2", APART, unit="models"),
    Check("and planted leaning ones", "together neurons", ">= 0.1", LEANING, unit="models"),
    Check("Dealt anew, neither is", "together neurons", "within [-0.05, 0.05]", DEALT, unit="models"),
]  # fmt: skip
EXPECTED = [
    *(
        Expect(
            f"apart-{kind}", f"Locally orthogonal: |cos| of {what} that occur together is a fifth below that of others",
            f"apart {kind}", ">= 0.2", of=TRAINED, null=DEALT, plant=APART, unit="models",
            why="Null: directions dealt anew among units as frequent. Plant: directions turned apart where units co-occur.",
        )
        for kind, what in list(KINDS.items())[:2]
    ),
    Expect(
        "apart-decoder", "Locally orthogonal: |cos| of decoder rows that occur together is a fifth below that of others",
        "apart decoder", ">= 0.2", of=TRAINED, null=WORLD_LEANING, plant=WORLD_APART, unit="models",
        why="Null, plant: autoencoders of worlds with the model's firings, whose features lean together or are orthogonal.",
    ),
    *(
        Expect(
            f"together-{kind}", f"Constructive: cos of {what} that occur together is .1 above that of pairs that never do",
            f"together {kind}", ">= 0.1", of=TRAINED, null=DEALT, plant=LEANING, unit="models",
            why="Null: directions dealt anew among units as frequent. Plant: directions that lean towards co-occurring ones.",
        )
        for kind, what in list(KINDS.items())[:2]
    ),
    Expect(
        "together-decoder", "Constructive: cos of decoder rows that occur together is .1 above that of pairs that never do",
        "together decoder", ">= 0.1", of=TRAINED, null=WORLD_APART, plant=WORLD_LEANING, unit="models",
        why="Null, plant: autoencoders of worlds with the model's firings, whose features are orthogonal or lean together.",
    ),
    *(
        Expect(
            f"local-{kind}", f"A local basis: the {what} most typical of one text overlap a tenth less than others",
            f"local {kind}", ">= 0.1", of=TRAINED, null=DEALT, plant=APART, unit="models",
            why="Null: directions dealt anew among units as frequent. Plant: directions turned apart where units co-occur.",
            note="Not adjusted for what the units are for.",
        )
        for kind, what in list(KINDS.items())[:2]
    ),
    Expect(
        "local-decoder", "A local basis: the decoder rows most typical of one text overlap a tenth less than others",
        "local decoder", ">= 0.1", of=TRAINED, null=WORLD_LEANING, plant=WORLD_APART, unit="models",
        why="Null, plant: autoencoders of worlds with the model's firings, whose features lean together or are orthogonal.",
        note="Not adjusted for what the units are for.",
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Family:
    """Units of one kind: on (token, unit), directions (unit, d), cosines (unit, unit); and how known directions would be seen:
    directions -> cosines, by whatever estimates them."""

    on: np.ndarray
    rows: np.ndarray
    cosine: np.ndarray
    seen: Callable[[np.ndarray], np.ndarray]


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own, then the rules asked of each."""
    table = lab.models(config.model, examine, config)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    trained = table[table.arm == TRAINED]
    shown = [column for column in table.columns if column not in ("shapes", "examples")]
    return Findings(
        passed,
        claims,
        figures(table),
        {"arms": table[shown], "pairs": pd.DataFrame([row for each in trained.examples for row in each])},
        "Mean cosine of pairs that occur together, and that never do: "
        + "; ".join(
            f"{KINDS[kind]} {span(trained[f'cos together {kind}'].min(), trained[f'cos together {kind}'].max())}, "
            f"{span(trained[f'cos never {kind}'].min(), trained[f'cos never {kind}'].max())}"
            for kind in KINDS
        )
        + ".",
        in_short({claim.id: claim.verdict for claim in claims}, table),
    )


def in_short(verdicts: dict[str, str], table: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    own = [KINDS[kind] for kind in ("neurons", "concepts") if verdicts[f"apart-{kind}"] == "supported"]
    lean = [KINDS[kind] for kind in ("neurons", "concepts") if verdicts[f"together-{kind}"] == "supported"]
    said = f"{joined(own)} keep apart" if own else f"{joined(lean)} lean together" if lean else "no rule in neurons or concepts"
    real, made = (float(table.loc[table.arm == arm, "together decoder"].mean()) for arm in (TRAINED, WORLD_APART))
    also = "but so do" if made >= 0.1 else "unlike"
    return answer(
        "Of features that occur together: {said}. Decoder rows lean together ({real}), {also} those learned from orthogonal "
        "features ({made}).",
        said=said, also=also, real=number(real), made=number(made),
    )  # fmt: skip


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.26 {model.name}")
    split = lms.corpus.sample(model.tokenizer)
    rows = split.rows(model.n_ctx, limit=config.rows, seed=lab.seed)
    dictionary = sae.load(f"{model.name}/{config.dictionary}")
    place, document, following = read_along(rows, split)
    families, latents = features(model, dictionary, rows, split, place, config)
    vocabulary = int(model.hooked.cfg.d_vocab)
    arms: dict[str, dict[str, Any]] = {arm: {} for arm in (TRAINED, DEALT, APART, LEANING, WORLD_APART, WORLD_LEANING)}
    examples: list[dict[str, Any]] = []
    shapes: dict[str, Any] = {}
    for kind, family in families.items():
        found = cooccurrence.pairs(family.on)
        alike = cooccurrence.follows(family.on, following, document, vocabulary)
        own, drawn = cooccurrence.neighbours(family.on, document, config.typical, rng)
        order = cooccurrence.dealt(family.on.mean(axis=0), rng)
        worlds = {
            TRAINED: family.cosine,
            DEALT: family.seen(family.rows[order]),
            APART: family.seen(cooccurrence.apart(found.phi, model.d_model, rng)),
            LEANING: family.seen(cooccurrence.together(found.phi, model.d_model, rng)),
        }
        for arm, cosine in worlds.items():
            arms[arm] |= {
                **compared(cosine, family.on, alike, found, kind),
                f"local {kind}": local(cosine, own, drawn),
            }
        shapes[kind] = [
            family.cosine[tuple(pairs.T)][:: len(pairs) // 1000 + 1].tolist() for pairs in (found.together, found.never)
        ]
        examples += extremes(model, kind, family, found)
    for arm, geometry in ((WORLD_APART, cooccurrence.apart), (WORLD_LEANING, cooccurrence.together)):
        on, cosine, recovered = learned(latents, geometry, model.d_model, config, rng)
        found = cooccurrence.pairs(on)
        alike = cooccurrence.follows(on, following, document, vocabulary)
        own, drawn = cooccurrence.neighbours(on, document, config.typical, rng)
        arms[arm] |= {
            **compared(cosine, on, alike, found, "decoder"),
            "local decoder": local(cosine, own, drawn),
            "recovered": recovered,
        }
    arms[TRAINED] |= {"examples": examples, "shapes": shapes}
    for arm, row in arms.items():
        yield {"arm": arm, **row}


def local(cosine: np.ndarray, own: np.ndarray, drawn: np.ndarray) -> float:
    """How much less the units typical of a text overlap than others as frequent; not adjusted for what they are for."""
    return 1 - float(cooccurrence.coherence(cosine, own).mean() / cooccurrence.coherence(cosine, drawn).mean())


def read_along(rows: lms.corpus.Rows, split: lms.corpus.Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(token,) place in the split, document, and next token (-1 at the end of a row) of every token behind BOS."""
    place = rows.place[:, 1:].ravel()
    tokens = rows.tokens[:, 1:]
    following = np.concatenate([tokens[:, 1:], np.full((len(tokens), 1), -1)], axis=1).ravel()
    return place, split.document[place], following


def features(
    model: lms.LanguageModel, dictionary: sae.SAE, rows: lms.corpus.Rows, split: lms.corpus.Split, place: np.ndarray,
    config: Config,
) -> tuple[dict[str, Family], np.ndarray]:  # fmt: skip
    """The three kinds of features of one layer's MLP; and the activations of the latents (token, latent)."""
    layer = int(dictionary.site.split(".")[1])
    neuron, out = model.neuron_hook(layer), dictionary.site
    parts = [
        model.activations(lms.rows_to_tensor(part), [neuron, out])
        for part in np.array_split(rows.tokens, max(1, len(rows) // 64))
    ]
    post, written = (torch.cat([part[hook][:, 1:].flatten(0, 1) for part in parts]) for hook in (neuron, out))
    with torch.inference_mode():
        latents = dictionary.encode(written).numpy()

    def enough(on: np.ndarray) -> np.ndarray:
        return np.asarray(on.sum(axis=0) >= config.fewest)

    firing = post.numpy() > 0.3 * np.quantile(post.numpy(), 0.999, axis=0)
    use = enough(firing)
    weights = model.hooked.W_out[layer].detach().double().numpy()
    families = {"neurons": Family(firing[:, use], weights[use], cooccurrence.cosines(weights[use]), cooccurrence.cosines)}
    labels = np.stack([one.where[place] for one in planted.concepts(split)], axis=1)
    half = split.document[place] % 2 == 0
    use = enough(labels[half]) & enough(labels[~half])
    families["concepts"] = concepts(labels[:, use], written.double().numpy(), half)
    use = enough(latents > 0)
    decoder = dictionary.decoder.detach().double().numpy()[use]
    families["decoder"] = Family(latents[:, use] > 0, decoder, cooccurrence.cosines(decoder), cooccurrence.cosines)
    return families, latents[:, use]


def concepts(labels: np.ndarray, written: np.ndarray, half: np.ndarray) -> Family:
    """The concepts whose shares agree between both halves of the documents (cosine .5 or more).

    Known directions are put in the place of the estimated ones, under the same labels and the same rest of what is written, and
    are estimated in the same way.
    """

    def estimated(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        one, other = (shares(labels[part], values[part]) for part in (half, ~half))
        return one, other

    one, other = estimated(written)
    cosine, agreement = cooccurrence.halves_cosines(one, other)
    sure = np.flatnonzero(agreement >= 0.5)
    rows = ((one + other) / 2)[sure]
    length = np.linalg.norm(rows, axis=1, keepdims=True)  # each keeps its own: a quiet direction would be lost in the estimate

    def seen(directions: np.ndarray) -> np.ndarray:
        made = written + labels[:, sure] @ (cooccurrence.unit_rows(directions) * length - rows)
        return cooccurrence.halves_cosines(*estimated(made))[0][np.ix_(sure, sure)]

    return Family(labels[:, sure], rows, cosine[np.ix_(sure, sure)], seen)


def shares(labels: np.ndarray, written: np.ndarray) -> np.ndarray:
    """(concept, d) what each concept adds to what is written (token, d), in a regression on all of them (token, concept)."""
    centred = labels - labels.mean(axis=0)
    gram = centred.T @ centred
    gram += 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.asarray(np.linalg.solve(gram, centred.T @ (written - written.mean(axis=0))))


def compared(cosine: np.ndarray, on: np.ndarray, alike: np.ndarray, found: cooccurrence.Pairs, kind: str) -> dict[str, float]:
    """Pairs that occur together against pairs that never do, at equal frequencies and next tokens; and as they are."""
    of = [cooccurrence.covariates(on, alike, which) for which in (found.together, found.never)]
    if not len(found.together) or not len(found.never):
        return {f"pairs {kind}": 0}
    together, never = cosine[tuple(found.together.T)], cosine[tuple(found.never.T)]
    less, base, around = cooccurrence.adjusted(np.abs(together), np.abs(never), *of)
    return {
        f"apart {kind}": -less / base, f"together {kind}": cooccurrence.adjusted(together, never, *of)[0],
        f"apart {kind}, as they are": 1 - float(np.abs(together).mean() / np.abs(never).mean()),
        f"compared {kind}": around, f"cos together {kind}": float(together.mean()), f"cos never {kind}": float(never.mean()),
        f"pairs {kind}": min(len(together), len(never)),
    }  # fmt: skip


def learned(
    latents: np.ndarray, geometry: Any, d: int, config: Config, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Firings (token, latent) and cosines of an autoencoder of a world with known directions and the model's own firings.

    As many dimensions as the model has: the artefact grows as they get fewer. Latents of all frequencies. And the share of the
    world's directions that the autoencoder finds at a cosine of .9.
    """
    order = np.argsort(-(latents > 0).sum(axis=0), kind="stable")
    strength = latents[:, order[:: max(1, len(order) // config.world)][: config.world]]
    strength = strength / np.maximum(strength.sum(axis=0) / np.maximum((strength > 0).sum(axis=0), 1), 1e-9)
    on = strength > 0
    rows = geometry(cooccurrence.pairs(on).phi, d, rng)
    made = strength @ rows
    made += 0.05 * made.std() * rng.normal(size=made.shape)
    x = torch.from_numpy(made.astype(np.float32))
    at_once = max(1, round(float(on.sum(axis=1).mean())))
    source = sae.Samples.of(x, 512, int(rng.integers(1 << 31)), "planted world")
    (one,) = sae.train(source, sae.TopK(width=config.world, k=at_once), recipe=sae.Recipe(steps=config.steps, lr=3e-3))
    with torch.inference_mode():
        fires = one.sae.encode(x).numpy() > 0
    use = fires.sum(axis=0) >= config.fewest
    decoder = one.sae.decoder.detach().double().numpy()
    best = np.abs(cooccurrence.unit_rows(rows) @ cooccurrence.unit_rows(decoder).T).max(axis=1)
    return fires[:, use], cooccurrence.cosines(decoder[use]), float((best >= 0.9).mean())


def extremes(model: lms.LanguageModel, kind: str, family: Family, found: cooccurrence.Pairs) -> list[dict[str, Any]]:
    """The five pairs that occur together and are most nearly orthogonal, and the five that lean most."""
    one = found.together
    cosine = family.cosine[tuple(one.T)]
    order = np.argsort(np.abs(cosine), kind="stable")
    return [
        {"model": model.name, "kind": KINDS[kind], "units": f"{one[i, 0]}, {one[i, 1]}", "cosine": float(cosine[i]),
         "phi": float(found.phi[tuple(one[i])])}
        for i in [*order[:5], *order[-5:]]
    ]  # fmt: skip


def figures(table: pd.DataFrame) -> list[Figure]:
    """Cosines of pairs, of every kind; what each arm leans."""
    trained = table[table.arm == TRAINED].iloc[0]
    drawn = plots.figure(height=420)
    for kind, what in KINDS.items():
        sides = (("occur together", "positive", "treatment"), ("never meet", "negative", "control"))
        for values, (name, side, role) in zip(trained.shapes[kind], sides, strict=True):
            drawn.add_violin(
                y=list(values), x=[what] * len(values), name=name, legendgroup=name, showlegend=kind == "neurons", points=False,
                side=side, line={"color": plots.ROLES[role]}, width=0.8,
            )  # fmt: skip
    drawn.update_layout(yaxis={"title": "cosine"}, violingap=0.1)
    bars = plots.figure(height=360)
    for arm in (TRAINED, WORLD_APART, WORLD_LEANING):
        some = table[table.arm == arm]
        leans = [float(some[f"cos {which} decoder"].mean()) for which in ("together", "never")]
        bars.add_bar(x=["occur together", "never meet"], y=leans, name=arm)
    bars.update_layout(yaxis={"title": "mean cosine of decoder rows"}, barmode="group")
    return [
        Figure("cosines", drawn, f"Pairs that occur together and pairs that never do, {trained.model}."),
        Figure(
            "dictionaries", bars, "Decoder rows of the models' autoencoders, and of autoencoders of worlds of known geometry."
        ),
    ]
