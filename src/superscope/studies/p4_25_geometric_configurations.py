"""4.25: are there antipodal pairs, rings or polytopes of the toy models among the directions of a language model?

Three searches, each with the null that could fake it. (1) Token embeddings and unembeddings, less their mean and what is linear
in log frequency: is the most opposite pair more opposite than the most opposite one of Gaussian rows of the same covariance and
norms (maximum statistic)? (2) Days of the week, months and digits, as the mean of the last layer's stream at them: are they
on a circle run through in their order, more than in 99 of 100 other orders; and more than in a linear code of
co-occurrence of the same size, where what follows one another is near one another, too (Prieto et al. 2026)? (3) Decoder rows
of sparse autoencoders: are more of them part of a digon, triangle, tetrahedron or pentagon than Gaussian rows like them?
(4) The post's idea: the directions in which members of a closed category differ, which never meet, should be kept clear by
what stands beside them, and not by what never does.

Prior numbers: days, months and years are rings in GPT-2 small (Engels et al. 2024); dictionaries clump, with cosines of .5 and
more among features of one kind; unembeddings overlap like random directions. The toy answer: sparse features of equal
importance form digons and pentagons (tms), in a model in which nothing but interference places them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.wording import answer, joined, number, span
from superscope.lab import PUBLISHED, Lab
from superscope.measure.activations import rings
from superscope.measure.weights import categories, configurations, geometry
from superscope.recover import sae

PROBLEM = "4.25"
TITLE = "Toy-model geometry in a language model"
QUESTION = (
    "Are there antipodal pairs, polygons or other configurations of the toy models among the directions of a language model?"
)
ASSUMPTIONS = [
    "A member of a category is its mean over contexts; a ring that turns with the context is not seen.",
    "A polytope's cosines are within .1 of the ideal ones; its rows may have any norm.",
    "Antipodes are sought among tokens; features that are no token are sought among decoder rows only.",
    "A digon of decoder rows often on and never together is the two signs of one direction, not two sparse features.",
]
DISANALOGIES = [
    "A toy's features are placed by interference alone; tokens are placed by what they mean, which clusters them.",
    "The training text holds generated sentences about the order of days and months: here a ring was asked for.",
]
TIPS = ["The null of a search over millions of pairs is the extreme of a whole draw", "Ask what co-occurrence alone would draw"]

TRAINED, EMBEDDING, GAUSSIAN, PAIRS = "trained", "trained, embedding", "Gaussian, same covariance", "planted pairs"
ORDER, RING, CLEAR, COUNTS = "random order", "planted ring", "planted clear ring", "co-occurrence of other text"
MATCHED, POLYTOPES = "rows of the same covariance", "planted polytopes"
OTHERS, TURNED = "other members as frequent", "neighbours turned away"
PRONOUNS = (" he", " she", " it", " they", " we", " I", " you", " him", " her", " them", " us", " me")
CATEGORIES = {
    "weekdays": [f" {day}" for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")],
    "months": [
        f" {month}" for month in ("January", "February", "March", "April", "May", "June", "July", "August", "September",
                                  "October", "November", "December")
    ],
    "digits": list("0123456789"),
}  # fmt: skip
CYCLES = ("weekdays", "months")
KINDS = ("digon", "triangle", "tetrahedron", "pentagon")


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "gelu-1l-mini"  # bundled model with autoencoders; its twins of other seeds are the replicates
    dictionary: str = "mlp-out-topk"  # which autoencoder of each
    draws: int = 6  # Gaussian matrices of the maximum statistic
    matched: int = 4  # matched sets of decoder rows
    orders: int = 4000  # random orders of a category
    rows: int = 60  # rows of text in which each category is read
    text: int = 1500  # rows of text that co-occurrence is counted on, in each half
    common: int = 2000  # most frequent tokens among which it is counted
    planted: int = 10  # pairs, and polytopes of each kind
    published: str = ""  # a published model, asked for its rings


PRESETS = {
    "quick": Config(),
    "standard": Config(draws=50, matched=20, orders=50_000, rows=200, text=2200, published="SmolLM2-135M"),
    "full": Config(draws=200, matched=100, orders=500_000, rows=2000, text=2200, published="gpt2"),
}

GATE = [
    Check("Every member of every category is one token", "tokens a member", "within [1, 1]", TRAINED, unit="models"),
    Check("nine tenths of pairs planted at cosines of -.8 to -.68 lie beyond chance, in embeddings", "found E", ">= 0.9", PAIRS,
          unit="models"),
    Check("and in unembeddings", "found U", ">= 0.9", PAIRS, unit="models"),
    Check("nine tenths of planted digons, triangles, tetrahedra and pentagons are found", "found", ">= 0.9", POLYTOPES,
          unit="models"),
]  # fmt: skip
EXPECTED = [
    *(
        Expect(
            f"antipodes-{letter}", f"The two most opposite {what} are a quarter nearer to -1 than chance brings any",
            f"opposite {letter}", "<= 0.75", of=TRAINED, null=GAUSSIAN, plant=PAIRS, unit="models",
            why="Null: a fresh Gaussian matrix of the same mean, covariance and norms. Plant: ten pairs at -.8 to -.68 in one.",
            note="(1 + cosine) of the most opposite pair, over that of the most opposite pair of several Gaussian matrices."
            + (" Asked of decoder rows, by the same rule, after their polytopes had been counted." if letter == "D" else ""),
        )
        for letter, what in (("E", "token embeddings"), ("U", "unembeddings"), ("D", "decoder rows of an autoencoder"))
    ),
    *(
        Expect(
            f"ring-{name}", f"The {name} make a ring in their order: a tenth above the 99th percentile of other orders",
            name, ">= 1.1", of=TRAINED, null=ORDER, plant=RING, unit="models",
            why="Null: the same points in one random order. Plant: as many points on a ring, radii .8 to 1.2, noise with half "
            "of its energy.",
            note="Share of the variance in the weaker half of the first harmonic, over the 99th percentile; a line has none, "
            "and a horseshoe passes. Of seven members there are 360 orders: a planted ring with one member far off is above "
            "the percentile in 85 of 100 draws and a tenth above it in 3 (of twelve members: in all).",
        )
        for name in CATEGORIES
    ),
    *(
        Expect(
            f"beyond-{name}", f"The ring of {name} is clearer than the one co-occurrence draws, by a tenth of the variance",
            f"{name} beyond", ">= 0.1", of=TRAINED, null=COUNTS, plant=CLEAR, unit="models",
            why="Null: the code of co-occurrence in other text. Plant: as many points on a ring with a twentieth of noise.",
            note="Co-occurrence: principal components of positive mutual information, as many as the model has dimensions.",
        )
        for name in CYCLES
    ),
    *(
        Expect(
            f"differences-{where}", f"{what.capitalize()} neighbours of a category's members keep clear of their differences",
            f"clear {where}", "<= 0.8", of=TRAINED, null=OTHERS, plant=TURNED, unit="models",
            why="Null: other members as frequent, with neighbours of their own. Plant: strangers turned away by two fifths.",
            note="Share of its length that a neighbour has inside the members' differences, over that of a stranger; mean over "
            "weekdays, months, digits and pronouns. The post's own idea. Added after the first results.",
        )
        for where, what in (("E", "in the embedding"), ("context", "in context"))
    ),
    Expect(
        "polytopes", "One in a hundred decoder rows more than chance is part of a digon, triangle, tetrahedron or pentagon",
        "in polytopes", ">= 0.01", of=TRAINED, null=MATCHED, plant=POLYTOPES, unit="models",
        why="Null: Gaussian rows of the same mean, covariance and norms. Plant: ten of each kind, noise .1, among such rows.",
        constant="Random rows in so many dimensions hardly ever form one.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models(config.model, examine, config, published=config.published)
    bundled = table[~table.arm.str.startswith(f"{PUBLISHED} ")]
    passed = gate(bundled, GATE)
    trained, elsewhere = bundled[bundled.arm == TRAINED], table[table.arm == f"{PUBLISHED} {TRAINED}"]
    notes = {f"ring-{name}": " ".join(f"In {row['model']}: {number(row[name])}." for row in elsewhere.to_dict("records"))
             for name in CATEGORIES}  # fmt: skip
    claims = judge(bundled, EXPECTED, passed, notes)
    pairs = pd.DataFrame([pair for one in trained.digons for pair in one])
    return Findings(
        passed,
        claims,
        figures(bundled),
        {"arms": table.drop(columns=["least", "chance", "shape", "digons"]), "rings": ring_table(table), "digons": pairs},
        f"Pairs of embeddings beyond chance: {span(trained['pairs E'].min(), trained['pairs E'].max())}, of unembeddings: "
        f"{span(trained['pairs U'].min(), trained['pairs U'].max())}. Decoder rows in "
        + ", ".join(f"{kind}s: {span(trained[kind].min(), trained[kind].max())}" for kind in KINDS)
        + (f". Both of a digon are on at {number(pairs['both on'].max())} of tokens at most." if len(pairs) else "."),
        in_short({claim.id: claim.verdict == "supported" for claim in claims}, trained),
    )


def in_short(supported: dict[str, bool], trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    kept = [name for name in CATEGORIES if supported[f"ring-{name}"]]
    pairs = supported["antipodes-E"] or supported["antipodes-U"]
    return answer(
        "Antipodal tokens: {pairs}; rings in context: {rings}; dictionary rows in digons: {digons}, in larger sets: {larger}.",
        pairs="yes" if pairs else "none beyond chance",
        rings=joined(kept) if kept else "none beyond chance",
        digons=number(float(trained.digon.mean())),
        larger=number(float(trained[list(KINDS[1:])].sum(axis=1).mean())),
    )


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model; a published one is asked for its rings alone."""
    rng = lab.rng(f"4.25 {model.name}")
    text = lms.corpus.sample(model.tokenizer).rows(min(model.n_ctx, 256), seed=lab.seed).tokens
    ids = {name: [model.tokenizer.encode(one) for one in names] for name, names in CATEGORIES.items()}
    first = {name: np.array([one[0] for one in each]) for name, each in ids.items()}
    arms = ring_arms(model, text, first, config, rng)
    arms[TRAINED]["tokens a member"] = max(len(one) for each in ids.values() for one in each)
    if model.name in lms.bundled():
        dictionary = sae.load(f"{model.name}/{config.dictionary}")
        decoder = dictionary.decoder.detach().double().numpy()
        for arm, row in zip((TRAINED, MATCHED, POLYTOPES), shapes_among(decoder, config, rng), strict=True):
            arms[arm] |= row
        rows = token_rows(model, text)
        for letter, one in {"D": decoder, **rows}.items():
            for arm, part in zip((TRAINED, GAUSSIAN, PAIRS), census(one, letter, config, rng), strict=True):
                arms[arm] |= part
        for arm, row in kept_clear(model, text, rows["E"], first, config, rng).items():
            arms[arm] |= row
        arms[TRAINED]["digons"] = digons(model, dictionary, text[: config.rows])
    for arm, row in arms.items():
        yield {"arm": arm, **row}


def ring_arms(
    model: lms.LanguageModel, text: np.ndarray, first: dict[str, np.ndarray], config: Config, rng: np.random.Generator
) -> defaultdict[str, dict[str, Any]]:
    """Rings of the categories' members: in context, in the embedding, in other orders, planted, and in co-occurrence."""
    arms: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    wanted = np.concatenate([first[name] for name in CYCLES])
    shuffled = rng.permutation(text)
    halves = (shuffled[: config.text], shuffled[config.text : 2 * config.text])
    counted = [rings.cooccurrence_codes(half, wanted, model.d_model, common=config.common) for half in halves]
    places = {"weekdays": slice(0, 7), "months": slice(7, 19)}
    weights = model.hooked.W_E.detach().double().numpy()
    arms[TRAINED]["shape"] = {}
    for name, members in first.items():
        points = in_context(model, text, members, config.rows)
        arms[TRAINED]["shape"][name] = plane(points)
        for arm, some in ((TRAINED, points), (EMBEDDING, weights[members])):
            arms[arm] |= {name: ratio(some, config, rng), f"{name} ring": rings.ring(some),
                          f"{name} order p": rings.order_p(some, config.orders, rng)}  # fmt: skip
        arms[ORDER][name] = ratio(rng.permutation(points), config, rng)
        arms[RING][name] = ratio(rings.planted_ring(len(points), model.d_model, 0.5, rng), config, rng)
        if name in CYCLES:
            reference, other = (rings.ring(codes[places[name]]) for codes in counted)
            own = arms[TRAINED][f"{name} ring"] - reference
            arms[TRAINED] |= {f"{name} beyond": own, f"{name} co-occurrence": reference}
            arms[COUNTS][f"{name} beyond"] = other - reference
            even = rings.planted_ring(len(points), model.d_model, 0.05, rng)
            arms[CLEAR][f"{name} beyond"] = rings.ring(even) - reference
    return arms


def kept_clear(
    model: lms.LanguageModel, text: np.ndarray, embedding: np.ndarray, first: dict[str, np.ndarray], config: Config,
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Do neighbours of a category's members keep clear of their differences, more than strangers? Mean over the categories.

    Each category beside random members as frequent, and with its neighbours turned out of the way; embeddings without BOS.
    """
    embedding = np.insert(embedding, model.tokenizer.bos, 0, axis=0)
    count = np.bincount(text.ravel(), minlength=len(embedding))
    pronouns = [model.tokenizer.encode(one)[0] for one in PRONOUNS]
    found: dict[str, list[dict[str, float]]] = {TRAINED: [], OTHERS: [], TURNED: []}
    for members in (*first.values(), np.array(pronouns)):
        alike = np.setdiff1d(np.argsort(np.abs(np.log((count + 1) / (np.median(count[members]) + 1))))[:200], members)
        for arm, some in ((TRAINED, members), (OTHERS, rng.choice(alike, len(members), replace=False))):
            near, far = categories.companions(text, some)
            if len(near) < 5:
                continue
            states = in_context(model, text, np.concatenate([some, near, far]), config.rows)
            states = states - states.mean(axis=0)
            inner = [
                states[part] for part in (slice(0, len(some)), slice(len(some), len(some) + len(near)), slice(-len(far), None))
            ]
            found[arm].append({
                "clear E": categories.clear(embedding[near], embedding[far], embedding[some]),
                "clear context": categories.clear(inner[1], inner[2], inner[0]),
            })  # fmt: skip
            if arm == TRAINED:
                bent, turned = (
                    categories.turned(rows, own, 0.4, rng)
                    for rows, own in ((embedding[far], embedding[some]), (inner[2], inner[0]))
                )
                found[TURNED].append({
                    "clear E": categories.clear(bent, embedding[far], embedding[some]),
                    "clear context": categories.clear(turned, inner[2], inner[0]),
                })  # fmt: skip
    return {arm: {key: float(value) for key, value in pd.DataFrame(rows).mean().items()} for arm, rows in found.items()}


def census(rows: np.ndarray, letter: str, config: Config, rng: np.random.Generator) -> tuple[dict[str, Any], ...]:
    """The most opposite pairs among rows (n, d): as they are, in a Gaussian like them, and with pairs planted there."""
    drawn = [configurations.antipodes(configurations.matched_rows(rows, rng))[0] for _ in range(config.draws)]
    limit = min(float(one.min()) for one in drawn)
    least = configurations.antipodes(rows)[0]
    fresh = configurations.antipodes(configurations.matched_rows(rows, rng))[0]
    strengths = np.linspace(0.68, 0.8, config.planted)
    mixed, places = configurations.plant_pairs(configurations.matched_rows(rows, rng), strengths, rng)
    seen = configurations.antipodes(mixed)[0]
    column = f"opposite {letter}"
    return (
        {column: (1 + least.min()) / (1 + limit), f"most {column}": least.min(), f"chance {letter}": limit,
         f"pairs {letter}": configurations.pairs_beyond(rows, limit), "least": least[::4].tolist(),
         "chance": drawn[0][::4].tolist()},
        {column: (1 + fresh.min()) / (1 + limit)},
        {column: (1 + seen.min()) / (1 + limit), f"found {letter}": (seen[places[:, 1]] < limit).mean()},
    )  # fmt: skip


def token_rows(model: lms.LanguageModel, text: np.ndarray) -> dict[str, np.ndarray]:
    """Embeddings and unembeddings (token, d) without BOS, about their mean, less what is linear in log frequency."""
    frequency = np.log(1 + np.bincount(text.ravel(), minlength=int(model.hooked.cfg.d_vocab)))
    return {
        letter: np.delete(
            configurations.without_direction(weights.detach().double().numpy(), frequency), model.tokenizer.bos, axis=0
        )
        for letter, weights in (("U", model.hooked.W_U.T), ("E", model.hooked.W_E))
    }


def shapes_among(rows: np.ndarray, config: Config, rng: np.random.Generator) -> tuple[dict[str, Any], ...]:
    """Polytopes among rows (n, d), among rows like them, and planted among such rows."""

    def share(found: dict[str, list[tuple[int, ...]]]) -> float:
        return len(configurations.members(found)) / len(rows)

    def like() -> dict[str, list[tuple[int, ...]]]:
        return configurations.polytopes(configurations.matched_rows(rows, rng))

    found, chance = configurations.polytopes(rows), float(np.mean([share(like()) for _ in range(config.matched)]))
    ideals = [geometry.ideal(kind) for kind in KINDS]
    mixed, places = configurations.plant_polytopes(configurations.matched_rows(rows, rng), ideals, config.planted, 0.1, rng)
    seen = configurations.polytopes(mixed)
    each = [
        np.isin(where, list(configurations.members({kind: seen[kind]}))).mean()
        for kind, where in zip(KINDS, places, strict=True)
    ]
    return (
        {"in polytopes": share(found) - chance, **{kind: len(configurations.members({kind: found[kind]})) for kind in KINDS}},
        {"in polytopes": share(like()) - chance},
        {"in polytopes": share(seen) - chance, "found": min(each)},
    )


def digons(model: lms.LanguageModel, dictionary: sae.SAE, text: np.ndarray) -> list[dict[str, Any]]:
    """Every digon of decoder rows: its cosine, how often each latent is on, and both at once beside what chance would give."""
    rows = dictionary.decoder.detach().double().numpy()
    read = model.activations(lms.rows_to_tensor(text), [dictionary.site])[dictionary.site][:, 1:].flatten(0, 1)
    with torch.inference_mode():
        on = (dictionary.encode(read) > 0).numpy()
    out = []
    for one, other in configurations.polytopes(rows)["digon"]:
        a, b = rows[one], rows[other]
        rates = float(on[:, one].mean()), float(on[:, other].mean())
        out.append({
            "model": model.name, "latents": f"{one}, {other}", "cosine": float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)),
            "one on": rates[0], "other on": rates[1], "both on": float((on[:, one] & on[:, other]).mean()),
            "both by chance": rates[0] * rates[1],
        })  # fmt: skip
    return out


def ratio(points: np.ndarray, config: Config, rng: np.random.Generator) -> float:
    """A ring's share of the variance over the 99th percentile of the same points in other orders."""
    return rings.ring(points) / float(np.quantile(rings.permuted(points, config.orders, rng), 0.99))


def in_context(model: lms.LanguageModel, text: np.ndarray, members: np.ndarray, limit: int) -> np.ndarray:
    """(member, d) mean of the last layer's stream at each member, in the rows of text in which members are most often read."""
    often = np.isin(text, members).sum(axis=1)
    rows = text[np.argsort(-often, kind="stable")[:limit]]
    lost = [one for one in members if not (rows == one).any()]
    for one in lost:  # a rare member: rows of its own
        rows = np.concatenate([rows, text[(text == one).any(axis=1)][:2]])
    hook = f"blocks.{model.n_layers - 1}.hook_resid_post"
    parts = np.array_split(rows, max(1, len(rows) // 64))
    read = np.concatenate([model.activations(lms.rows_to_tensor(part), [hook])[hook].numpy() for part in parts])
    return np.stack([read[rows == one].mean(axis=0) for one in members]).astype(float)


def plane(points: np.ndarray) -> list[list[float]]:
    """(member, 2) points in the plane of their first harmonic."""
    centred = points - points.mean(axis=0)
    turn = np.exp(2j * np.pi * np.arange(len(points)) / len(points)) @ centred
    frame = np.linalg.qr(np.stack([turn.real, turn.imag]).T)[0]
    return np.asarray(centred @ frame).tolist()


def ring_table(table: pd.DataFrame) -> pd.DataFrame:
    """Ring shares of every model: in context, in the embedding, in co-occurrence."""
    rows = []
    for name in CATEGORIES:
        for row in table[table.arm.isin([TRAINED, f"{PUBLISHED} {TRAINED}"])].to_dict("records"):
            embedded = table[table.arm.str.endswith(EMBEDDING) & (table.model == row["model"])].iloc[0]
            rows.append({
                "category": name, "model": row["model"], "in context": row[f"{name} ring"], "over chance": row[name],
                "order p": row[f"{name} order p"], "embedding": embedded[f"{name} ring"],
                "embedding over chance": embedded[name], "embedding order p": embedded[f"{name} order p"],
                "co-occurrence": row.get(f"{name} co-occurrence"),
            })  # fmt: skip
    return pd.DataFrame(rows)


def figures(table: pd.DataFrame) -> list[Figure]:
    """Antipodes beside chance; the rings of the first model."""
    row = table[table.arm == TRAINED].iloc[0]
    census = plots.histogram_with_null(list(row.least), list(row.chance), x_title="cosine with the most opposite token")
    drawn = plots.figure(height=440)
    for name in CATEGORIES:
        points = np.array(list(row["shape"][name]), dtype=float)
        points = points / np.abs(points).max()
        around = [*range(len(points)), 0]
        drawn.add_scatter(x=points[around, 0], y=points[around, 1], mode="lines+markers+text", name=name,
                          text=[CATEGORIES[name][i].strip() for i in around])  # fmt: skip
    return [
        Figure("antipodes", census, f"Every token embedding's most opposite one in {row.model}, and in one Gaussian matrix."),
        Figure(
            "rings", drawn, f"Categories in the plane of their first harmonic, {row.model}, last layer, mean over contexts."
        ),
    ]
