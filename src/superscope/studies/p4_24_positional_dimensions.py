"""4.24: do learned positional embeddings get dimensions of their own?

Set-up. The rows of W_pos, without row 0 (which always holds BOS and is unlike the others), span few dimensions. Which: the
leading principal components whose scores are smooth along the position (lag-1 autocorrelation above 1/2). Unlike "95 % of the
variance" that counts a helix in 3 of 128 dimensions as 3 through any noise it can be seen through.

Five questions: how little of the stream do they take; is the curve in them a helix (a plane run through in a circle; planted
helices of 1 to 6 turns pass, random walks do not); do token embeddings keep out of it; does the model need it more than other
subspaces of the same rank AND the same energy; and who reads it (queries, keys and values against random subspaces).

Prior numbers: three components hold 95 % of rows 1..127 of GPT-2 small (Chughtai and Lau 2024); its W_pos is a helix (Yedidia
2023). The toy answer: a frequent feature gets dimensions of its own (4.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import retractions
from superscope.evidence.wording import answer, said, span
from superscope.lab import Lab
from superscope.lms.model.interventions import AFTER_BOS, mean_loss, replace_with
from superscope.measure.activations import positions, subspaces

PROBLEM = "4.24"
TITLE = "Dedicated dimensions for position"
QUESTION = "Does a model with learned positional embeddings reserve dimensions for position, and who reads and writes them?"
ASSUMPTIONS = [
    "Position is a linear subspace of the residual stream, the same at every token; its size is read off W_pos alone.",
    "Ablation puts the mean over positions and tokens in place of what is in the subspace.",
    "Position 0 always holds BOS and is a place for heads to rest: it is left out of the geometry and of every ablation.",
    "How far token embeddings keep out is an average over entries of the vocabulary, rare ones counted as common ones.",
]
DISANALOGIES = [
    "One-layer models of 128 dimensions trained on rows of 256 tokens: GPT-2 has 768 dimensions, 1024 positions and 12 layers "
    "to move positions about in.",
    "Models with rotary positions have no such subspace at all.",
]
TIPS = ["PCA of W_pos without row 0", "Ablate with a null of equal energy: loud directions cost more whatever they mean"]

TRAINED, START, WALK, HELIX = "trained", "initial W_pos", "random walk", "planted helix"
FOREIGN, QUIET = "subspace of another seed", "carried a quarter as loud"
APART, READ = "tokens kept apart", "head made to read"
RETRACTED = [
    ("dedicated", "refuted (.71 of chance)", "true of models of 20.5M tokens; after 262M tokens token embeddings keep out"),
    (
        "needed",
        "supported (5.2 times a random subspace)",
        "matched in rank alone: loud directions cost more whatever they mean",
    ),
    ("curve", "supported (R^2 above .8)", "a straight line has R^2 .95 by that measure, random walks .99"),
    ("helix", "refuted", "its rule also missed planted helices of 1 and of 6 turns: replaced by a circle in a plane"),
]


@dataclass(frozen=True)
class Config:
    """Which models, and how much text the causal part reads."""

    model: str = "gelu-1l-mini"  # bundled model; its twins of other seeds are the replicates
    rows: int = 12  # rows of 256 tokens for losses
    draws: int = 12  # subspaces matched in rank and energy
    planes: int = 200  # random subspaces for what heads read
    noise: float = 0.05  # noise of the planted helices, of which each weight of the curve has about .09
    published: str = ""  # a published model for the third rung, such as "gpt2"


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=48, draws=50, published="gpt2"),
    "full": Config(rows=600, draws=100, published="gpt2"),
}

GATE = [
    Check("Every model loses at least 0.02 nats per token when all positions get the same embedding", "positions worth", ">= "
    "0.02",
          TRAINED, unit="models"),
    Check("the rank of a helix planted in noise is found", "rank", "within [3, 3]", HELIX, unit="models"),
    Check("positions that were never trained have no smooth dimensions", "rank", "<= 1", START, unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "compact", "The smooth dimensions hold at least 95 % of the variance of the positional embeddings",
        "share", ">= 0.95", of=TRAINED, null=START, plant="planted helix, little noise", unit="models",
        why="Null: independent rows before training. Plant: a helix in 3 of 128 dimensions, noise a tenth of the curve.",
    ),
    Expect(
        "helix", "The curve is a helix: some plane of its first three components is a circle (R^2 at least .95)",
        "circle", ">= 0.95", of=TRAINED, null=WALK, plant=HELIX, unit="models",
        why="Null: smooth, turning nowhere in particular. Plant: helices of 1, 2.5 and 6 turns with noise.",
        note="Replaces a rule that random walks passed and planted helices of 1 and 6 turns failed.",
    ),
    Expect(
        "dedicated", "Token embeddings have less than half the variance in the subspace that chance would give",
        "tokens", "< 0.5", of=TRAINED, null=FOREIGN, plant=APART, unit="models",
        why="Null: dimensions reserved in another model. Plant: embeddings with the helix' dimensions projected out, helix in "
        "noise.",
    ),
    Expect(
        "needed", "Ablating the subspace costs at least twice what subspaces of the same rank and energy cost",
        "cost ratio", ">= 2", of=TRAINED, null=FOREIGN, plant=QUIET, unit="models",
        why="Null: the subspace of another seed against its own matches. Plant: the same function with the subspace carried "
        "at a quarter of its strength and read four times as strongly.",
        note="Matched in rank alone the ratio is larger; that says only that position is loud.",
    ),
    Expect(
        "read", "Some head reads position: its largest share of a query, key or value matrix is at least three times chance",
        "read", ">= 3", of=TRAINED, null=FOREIGN, plant=READ, unit="models",
        why="Null: another seed's dimensions, read by no one here. Plant: a head whose query reads the subspace three times as "
        "strongly as the initial weights do.",
        note="The largest of all heads and matrices; the largest of random subspaces, searched alike, is in the table.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models(config.model, examine, config, config.published)
    passed = gate(table, GATE)
    claims = judge(table, EXPECTED, passed)
    trained = table[table.arm == TRAINED]
    return Findings(
        passed,
        claims,
        figures(table, config),
        {"arms": table.drop(columns=["spectrum", "scores"]), "retractions": retractions(RETRACTED)},
        f"Cost over that of subspaces matched in rank alone: {span(trained['rank ratio'].min(), trained['rank ratio'].max())}.",
        in_short({claim.id: claim.verdict for claim in claims}, trained),
    )


def in_short(verdict: Mapping[str, str], trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    if "gate failed" in verdict.values():
        return "No answer: nothing here depends on position, or the instrument does not see a planted helix."
    return answer(
        "Position fits few smooth dimensions: {compact}. Token embeddings keep out of them ({apart} of chance): {apart_said}. "
        "The model needs them more than others as loud: {needed}.",
        compact=said(verdict["compact"]),
        apart=float(trained["tokens"].mean()),
        apart_said=said(verdict["dedicated"]),
        needed=said(verdict["needed"]),
    )


def position_rows(model: lms.LanguageModel) -> np.ndarray:
    """(n_ctx - 1, d_model) learned positional embeddings without row 0."""
    kind = model.hooked.cfg.positional_embedding_type
    if kind != "standard":
        raise lms.ModelError(f"{model.name} has {kind} positions: this study needs learned ones added to the residual stream")
    return model.hooked.W_pos.detach().numpy()[1:].astype(float)


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.24 {model.name}")
    rows, tokens = position_rows(model), model.hooked.W_E.detach().numpy().astype(float)
    own = subspaces.principal_basis(rows, subspaces.smooth_rank(rows))
    text = lms.corpus.sample(model.tokenizer).rows(model.n_ctx, limit=config.rows, seed=lab.seed).tokens
    ablation = subspaces.Ablation(model, text, "blocks.0.hook_resid_pre")
    yield {
        "arm": TRAINED,
        **geometry(rows),
        **causal(ablation, own, config, rng),
        "tokens": dedication(tokens, own),
        "read": read_share(model, own),
        "read by the loudest of random subspaces": random_reads(model, len(own), config.planes, rng),
        "positions worth": positions_worth(ablation),
    }
    yield {"arm": QUIET, **causal(ablation, own, config, rng, loudness=0.25)}
    start = model.control("init")
    yield {"arm": START, **geometry(position_rows(start))}
    for twin in model.twins()[:1]:
        other = subspaces.principal_basis(position_rows(twin), len(own))
        yield {"arm": FOREIGN, **causal(ablation, other, config, rng), "tokens": dedication(tokens, other),
               "read": read_share(model, other)}  # fmt: skip
    yield from planted(model, start, tokens, config, rng)


def planted(
    model: lms.LanguageModel, start: lms.LanguageModel, tokens: np.ndarray, config: Config, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """The nulls and plants that need no trained positions."""
    n, d, seed = model.n_ctx - 1, model.d_model, int(rng.integers(2**31))
    yield {"arm": WALK, "circle": positions.circularity(positions.random_walk(n, d, seed))}
    turns = (1.0, 2.5, 6.0)[int(rng.integers(3))]
    rows = positions.planted_helix(n, d, turns, config.noise, seed)
    basis = subspaces.principal_basis(rows, subspaces.smooth_rank(rows))
    yield {"arm": HELIX, **geometry(rows)}
    clean = positions.planted_helix(n, d, turns, 0.1 * float(np.std(rows)), seed)
    yield {"arm": "planted helix, little noise", "share": geometry(clean)["share"]}
    true = subspaces.principal_basis(positions.planted_helix(n, d, turns, 0.0, seed), 3)
    yield {"arm": APART, "tokens": dedication(tokens - tokens @ true.T @ true, basis)}
    reader = start.hooked.W_Q.detach().numpy()[0, 0].T.copy()  # (d_head, d)
    reader += 2 * reader @ basis.T @ basis
    yield {"arm": READ, "read": subspaces.energy_share(reader, basis) / (len(basis) / d)}


def geometry(rows: np.ndarray) -> dict[str, Any]:
    """What W_pos (n, d) says of itself."""
    variance = subspaces.variances(rows)
    rank = subspaces.smooth_rank(rows)
    centred = rows - rows.mean(axis=0)
    scores = centred @ subspaces.principal_basis(rows, 3).T
    return {
        "rank": rank, "share": float(variance[:rank].sum() / variance.sum()), "circle": positions.circularity(rows),
        "k95": subspaces.components_for(rows, 0.95), "participation": subspaces.participation_ratio(rows),
        "spectrum": (np.cumsum(variance) / variance.sum())[:30].tolist(), "scores": scores.ravel().tolist(),
    }  # fmt: skip


def dedication(tokens: np.ndarray, basis: np.ndarray) -> float:
    """Share of the variance of token embeddings (vocabulary, d) in the subspace, over k / d, which chance gives."""
    return subspaces.energy_share(tokens, basis, centre=True) / (len(basis) / tokens.shape[1])


def causal(
    ablation: subspaces.Ablation, basis: np.ndarray, config: Config, rng: np.random.Generator, loudness: float = 1.0
) -> dict[str, float]:
    """Cost of ablating the subspace, over that of matches in rank and energy, and of matches in rank alone."""
    cost = ablation.cost(basis)
    others = ablation.matched(basis, config.draws, rng, loudness)
    matched = np.mean([ablation.cost(one) for one in others])
    reached = np.mean([ablation.energy(one) for one in others]) / (loudness**2 * ablation.energy(basis))
    k, d = basis.shape
    plain = np.mean([ablation.cost(subspaces.random_basis(k, d, int(s))) for s in rng.integers(2**31, size=config.draws)])
    return {"cost": cost, "cost ratio": float(cost / matched), "rank ratio": float(cost / plain),
            "energy reached": float(reached)}  # fmt: skip


def read_share(model: lms.LanguageModel, basis: np.ndarray) -> float:
    """Largest share, over heads and over query, key and value, of what a head reads that lies in the subspace, over k / d."""
    hooked: Any = model.hooked
    shares = [
        subspaces.energy_share(matrix[layer, head].detach().numpy().T * hooked.blocks[layer].ln1.w.numpy(), basis)
        for layer in range(model.n_layers)
        for head in range(hooked.cfg.n_heads)
        for matrix in (hooked.W_Q, hooked.W_K, hooked.W_V)
    ]
    return float(max(shares) / (len(basis) / model.d_model))


def random_reads(model: lms.LanguageModel, k: int, planes: int, rng: np.random.Generator) -> float:
    """The same search over random subspaces: the largest of `planes`."""
    return max(read_share(model, subspaces.random_basis(k, model.d_model, int(s))) for s in rng.integers(2**31, size=planes))


def positions_worth(ablation: subspaces.Ablation) -> float:
    """Nats per token lost when every position but BOS's gets the mean positional embedding."""
    average = ablation.model.hooked.W_pos[1:].mean(dim=0)
    hooks = [replace_with("hook_pos_embed", average, AFTER_BOS)]
    return float((mean_loss(ablation.model, ablation.tokens, hooks) - ablation.clean).mean())


def figures(table: pd.DataFrame, config: Config) -> list[Figure]:
    """Spectrum before and after training, the curve, and what ablation costs."""
    shown = table[table.spectrum.notna() & table.arm.isin([TRAINED, START])]
    spectra = pd.DataFrame(
        [
            {"components": j + 1, "share": share, "model": f"{row.model}, {row.arm}"}
            for row in shown.itertuples()
            for j, share in enumerate(row.spectrum)
        ]
    )
    roles = {name: "control" for name in spectra.model.unique() if name.endswith(START)}
    spectrum = plots.lines_with_band(
        spectra, "components", "share", "model", roles=roles, x_title="principal components of W_pos (rows 1..)",
        y_title="share of variance",
    )  # fmt: skip
    first = table[table.arm == TRAINED].iloc[0]
    curve = np.array(first.scores).reshape(-1, 3)
    helix = plots.figure(height=480, scene={"xaxis_title": "PC 1", "yaxis_title": "PC 2", "zaxis_title": "PC 3"})
    helix.add_scatter3d(
        x=curve[:, 0], y=curve[:, 1], z=curve[:, 2], mode="markers", name=first.model,
        text=[f"position {t + 1}" for t in range(len(curve))],
        marker={"size": 3, "color": list(range(1, len(curve) + 1)), "colorscale": "Cividis", "colorbar": {"title": "position"}},
    )  # fmt: skip
    costs = table[table.cost.notna()]
    bars = plots.figure(barmode="group")
    for arm, colour in ((TRAINED, "treatment"), (FOREIGN, "control"), (QUIET, "plant")):
        part = costs[costs.arm == arm]
        bars.add_bar(x=list(part.model), y=list(part["cost ratio"]), name=arm, marker={"color": plots.ROLES[colour]})
    bars.add_hline(y=2, line={"color": plots.ROLES["rule"], "dash": "dot"})
    bars.update_yaxes(title_text="cost over matches in rank and energy")
    return [
        Figure("spectrum", spectrum, "How many dimensions the positional embeddings take, trained and at initialisation."),
        Figure("curve", helix, f"Positional embeddings of {first.model} in their first three components, by position."),
        Figure("ablation", bars, "Cost of replacing a subspace by its mean, over that of subspaces as loud. Dotted: the rule."),
    ]
