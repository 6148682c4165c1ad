"""4.24: do learned positional embeddings get dimensions of their own?

Set-up. The rows of W_pos, without row 0 (which always holds BOS and is unlike the others), span few dimensions. Four
questions: how few (spectrum); are they a smooth curve (helix fit, whose control is the same rows in random order: same
spectrum, no curve); do token embeddings keep out of them (dedication); and does the model need them more than as many random
dimensions (ablation at every site of the residual stream)? Beside that: which heads and neurons read and write the subspace,
and how well position can be decoded with and without it.

The subspace is that of k95: the fewest principal components of rows 1.. that hold 95% of their variance. Prior numbers: three
components hold 95% of rows 1..127 of GPT-2 small (Chughtai and Lau 2024); its W_pos is a helix (Yedidia 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from superscope import plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.lab import Lab
from superscope.lms import LanguageModel, ModelError, load
from superscope.lms.model import attention
from superscope.lms.model.interventions import AFTER_BOS, ONLY_BOS, mean_loss, project_out, replace_with
from superscope.lms.model.language_model import rows_to_tensor
from superscope.measure.activations import positions, subspace
from superscope.studies import language as _language

PROBLEM = "4.24"
TITLE = "Dedicated dimensions for position"
QUESTION = "Does a model with learned positional embeddings reserve dimensions for position, and who reads and writes them?"
ASSUMPTIONS = [
    "Position is a linear subspace of the residual stream, the same at every token; its size is read off W_pos alone.",
    "Ablation puts the mean over positions and tokens in place of what is in the subspace.",
    "Position 0 always holds BOS and is a place for heads to rest: it is left out of the geometry and left alone by "
    "every ablation; "
    "what ITS embedding is worth is in the table of models.",
    "How far token embeddings keep out is an average over entries of the vocabulary; weighted by frequency it is "
    "another number, also "
    "in the table.",
]
DISANALOGIES = [
    "One-layer models of 128 dimensions trained on rows of 256 tokens: GPT-2 has 768 dimensions, 1024 positions and 12 "
    "layers to move "
    "positions about in.",
    "Models with rotary positions have no such subspace at all.",
]

SITES = ("resid_pre", "resid_mid", "resid_post")


@dataclass(frozen=True)
class Config:
    """Which models, and how much text the causal part reads."""

    model: str = "gelu-1l-mini"  # bundled model; its twins of other seeds are the replicates
    rows: int = 16  # rows of 256 tokens for losses and decoding
    planes: int = 20  # random subspaces of the same rank
    turns: float = 4.0  # most turns of the helix that is fitted
    published: str = ""  # a published model for the third rung, such as "gpt2"


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=48, planes=100, published="gpt2"),
    "full": Config(rows=1000, planes=100, published="gpt2"),
}


def position_rows(model: LanguageModel) -> np.ndarray:
    """(n_ctx - 1, d_model) learned positional embeddings without row 0."""
    if model.hooked.cfg.positional_embedding_type != "standard":
        kind = model.hooked.cfg.positional_embedding_type
        raise ModelError(f"{model.name} has {kind} positions: this study needs learned positions added to the residual stream")
    return model.hooked.W_pos.detach().numpy()[1:].astype(float)


def dedication(tokens: np.ndarray, frame: np.ndarray, often: np.ndarray | None = None) -> float:
    """Share of the variance of token embeddings (vocabulary, d) in the subspace `frame` (k, d), over k / d, which chance gives.

    often: (vocabulary,) weights of the entries, all the same when not given.
    """
    weight = np.ones(len(tokens)) if often is None else often
    centred = (tokens - np.average(tokens, axis=0, weights=weight)) * np.sqrt(weight)[:, None]
    return subspace.energy_share(centred, frame) / (len(frame) / tokens.shape[1])


def geometry(
    rows: np.ndarray, tokens: np.ndarray, config: Config, seed: int, often: np.ndarray | None = None
) -> dict[str, Any]:
    """Everything that W_pos (n, d) and W_E (vocabulary, d) say without running the model. often: (vocabulary,) token counts."""
    k = subspace.components_for(rows, 0.95)
    d = rows.shape[1]
    fit = positions.helix(rows, config.turns)
    shuffled = np.random.default_rng([seed, 4]).permutation(rows)

    basis = subspace.principal_basis(rows, k)
    variance = subspace.variances(rows)
    planes = [dedication(tokens, subspace.random_basis(k, d, seed * 1000 + j)) for j in range(config.planes)]
    return {
        "k90": subspace.components_for(rows, 0.9), "k95": k, "k99": subspace.components_for(rows, 0.99),
        "participation": subspace.participation_ratio(rows), "top3": float(variance[:3].sum() / variance.sum()),
        "top3_first127": float((v := subspace.variances(rows[:127]))[:3].sum() / v.sum()),
        "spectrum": np.cumsum(variance / variance.sum())[:60],
        "helix": fit.r2, "turns": fit.turns, "scores": fit.scores, "curve": fit.fitted,
        "helix_permuted": positions.helix(shuffled, config.turns).r2, "k95_permuted": subspace.components_for(shuffled, 0.95),
        "dedication": dedication(tokens, basis), "beyond cubic": fit.r2 - positions.cubic(rows),
        "dedication_by_frequency": dedication(tokens, basis, often),
        "dedication_random": float(np.mean(planes)),
    }  # fmt: skip


def readers(model: LanguageModel, basis: np.ndarray) -> list[dict[str, Any]]:
    """Per head and per neuron: share of the squared norm of what it reads and writes that lies in the subspace (null k / d)."""
    out: list[dict[str, Any]] = []
    w: Any = model.hooked
    for layer in range(model.n_layers):
        before = w.blocks[layer].ln1.w.numpy()  # weights are unprocessed: what is read passes LayerNorm's weight first
        for head in range(w.cfg.n_heads):
            for name, matrix in (("query", w.W_Q), ("key", w.W_K), ("value", w.W_V)):
                share = subspace.energy_share(matrix[layer, head].numpy().T * before, basis)
                out.append({"layer": layer, "unit": f"head {head}", "side": f"reads ({name})", "share": share})
            share = subspace.energy_share(w.W_O[layer, head].numpy(), basis)
            out.append({"layer": layer, "unit": f"head {head}", "side": "writes", "share": share})
        if model.d_mlp:
            for side, rows in (
                ("reads", w.W_in[layer].numpy().T * w.blocks[layer].ln2.w.numpy()),
                ("writes", w.W_out[layer].numpy()),
            ):
                shares = ((rows @ basis.T) ** 2).sum(axis=1) / (rows**2).sum(axis=1)
                out.append({"layer": layer, "unit": "neurons (mean)", "side": side, "share": float(shares.mean())})
                out.append({"layer": layer, "unit": "neurons (largest)", "side": side, "share": float(shares.max())})
    return out


def causal(model: LanguageModel, basis: np.ndarray, foreign: list[np.ndarray], config: Config, seed: int) -> dict[str, Any]:
    """Loss and previous-token attention with the subspace ablated at each site, beside random subspaces of the same rank and
    the positional subspaces of other seeds (`foreign`).
    """
    rows = _language.sample_for(model).rows(model.n_ctx, limit=config.rows, seed=seed).tokens
    k, d = basis.shape
    names = {site: f"blocks.0.hook_{site}" for site in SITES}
    values = model.activations(rows_to_tensor(rows[:16]), list(names.values()))
    mean = {site: values[name][:, 1:].mean(dim=(0, 1)).numpy() for site, name in names.items()}
    clean = mean_loss(model, rows).mean()
    cost: dict[str, float] = {}
    random: dict[str, list[float]] = {}
    for site, name in names.items():
        cost[site] = float(mean_loss(model, rows, [project_out(name, basis, mean[site])]).mean() - clean)
        count = config.planes if site == SITES[0] else 3
        planes = [subspace.random_basis(k, d, seed * 1000 + j) for j in range(count)]
        random[site] = [float(mean_loss(model, rows, [project_out(name, p, mean[site])]).mean() - clean) for p in planes]
    first = names[SITES[0]]
    elsewhere = [mean_loss(model, rows, [project_out(first, frame, mean[SITES[0]])]).mean() - clean for frame in foreign]
    average = model.hooked.W_pos[1:].mean(dim=0)
    without, without_row_0 = (
        float(mean_loss(model, rows, [replace_with("hook_pos_embed", average, where)]).mean() - clean)
        for where in (AFTER_BOS, ONLY_BOS)
    )
    return {
        "loss": float(clean), "cost": cost, "random": random, "without_positions": without,
        "without_row_0": without_row_0, "ratio": cost[SITES[0]] / float(np.mean(random[SITES[0]])),
        "ratio_foreign": float(np.mean(elsewhere) / np.mean(random[SITES[0]])) if foreign else float("nan"),
        "planes_that_cost_more": float(np.mean(np.array(random[SITES[0]]) >= cost[SITES[0]])),
        "attention": _previous_token(model, rows[:16], None),
        "attention_ablated": _previous_token(model, rows[:16], project_out(names["resid_pre"], basis, mean["resid_pre"])),
        "decoding": decoding(model, rows, basis, names),
    }  # fmt: skip


def _previous_token(model: LanguageModel, rows: np.ndarray, hook: Any) -> float:
    """Largest previous-token attention of a head of layer 0."""
    seen = []
    keep = ("blocks.0.attn.hook_pattern", lambda value, hook: seen.append(attention.previous_token(value)))
    model.loss(rows_to_tensor(rows), [*([hook] if hook else []), keep])
    return float(seen[0].max())


def decoding(model: LanguageModel, rows: np.ndarray, basis: np.ndarray, names: dict[str, str]) -> list[dict[str, Any]]:
    """Held-out R^2 of a ridge regression of the position on the residual stream, with the subspace, without it, and on it
    alone.
    """
    rows = rows[:64]
    values = model.activations(rows_to_tensor(rows), list(names.values()))
    half = len(rows) // 2
    target = np.tile(np.arange(1, model.n_ctx), (len(rows), 1))
    out = []
    for site, name in names.items():
        x = values[name][:, 1:].numpy()
        inside = x @ basis.T
        for what, part in (("all", x), ("without the subspace", x - inside @ basis), ("the subspace alone", inside)):
            fit = Ridge(1.0).fit(part[:half].reshape(-1, part.shape[-1]), target[:half].ravel())
            score = r2_score(target[half:].ravel(), fit.predict(part[half:].reshape(-1, part.shape[-1])))
            out.append({"site": site, "from": what, "r2": float(score)})
    return out


def examine(name: str, config: Config, seed: int) -> dict[str, Any]:
    """All measurements of one model."""
    model = load(name)
    rows = position_rows(model)
    tokens = model.hooked.W_E.detach().numpy().astype(float)
    often = np.bincount(_language.sample_for(model).tokens, minlength=len(tokens)).astype(float)
    found = geometry(rows, tokens, config, seed, often)
    basis = subspace.principal_basis(rows, found["k95"])
    others = [position_rows(load(twin)) for twin in _language.replicates(config.model) if twin != name]
    foreign = [subspace.principal_basis(other, found["k95"]) for other in others]
    found["dedication_foreign"] = float(np.mean([dedication(tokens, frame) for frame in foreign])) if foreign else float("nan")
    init = position_rows(model.control("init"))
    found["k95_init"] = subspace.components_for(init, 0.95)
    found["spectrum_init"] = np.cumsum((v := subspace.variances(init)) / v.sum())[:60]
    return {**found, "readers": readers(model, basis), **causal(model, basis, foreign, config, seed)}


def run(config: Config, lab: Lab) -> Findings:
    """Every replicate on its own, then the rules asked of each."""
    names = _language.replicates(config.model)
    found = [
        lab.unit(f"model-{_language.key(name)}", partial(examine, name, config, lab.seed))
        for name in lab.progress(names, "models")
    ]
    planted = positions.helix(positions.planted_helix(255, 128, 2.5, 0.05, lab.seed), config.turns)
    walks = [positions.random_walk(255, 128, lab.seed * 100 + j) for j in range(8)]
    beyond = [positions.helix(walk, config.turns).r2 - positions.cubic(walk) for walk in walks]
    uses = min(one["without_positions"] for one in found)
    gate = Gate(
        "The fit recovers a helix planted in 3 of 128 dimensions (R^2 > 0.9), and every model loses at least 0.02 nats "
        "per token "
        "when all positions get the same embedding; and there are at least two models",
        planted.r2 > 0.9 and uses > 0.02 and len(found) > 1,
        {
            "models": float(len(found)),
            "planted R^2": planted.r2,
            "planted turns": planted.turns,
            "least loss without positions": uses,
        },
    )

    def each(key: str) -> stats.Estimate:
        return stats.estimate([one[key] for one in found], unit="models")

    claims = [
        stats.claim(
            "compact", "At most 20 dimensions hold 95% of the variance of the positional embeddings", each("k95"), "<= 20",
            stats.Arm("initial W_pos", each("k95_init"), "before training the rows are independent noise"), gate.passed,
        ),
        stats.claim(
            "curve", "A smooth curve (a helix of at most four turns) explains at least 80% of the first three components",
            each("helix"), ">= 0.8",
            stats.Arm("rows in random order", each("helix_permuted"), "same spectrum, no order along t"), gate.passed,
            note="Prior work gives no number for small models; 0.8 was fixed before the first model was measured.",
        ),
        stats.claim(
            "helix", "The curve turns: a helix explains at least 0.2 more of the first three components than cubics in t do",
            each("beyond cubic"), ">= 0.2",
            stats.Arm("random walks", stats.estimate(beyond, unit="walks"), "smooth, but turning nowhere in particular"),
            gate.passed,
            note="Added after the first model: its curve is a ramp, and in a review random walks passed a rule on turns alone.",
        ),
        stats.claim(
            "dedicated", "Token embeddings have less than half the variance in the subspace that chance would give",
            each("dedication"), "< 0.5",
            stats.Arm("positional subspace of another seed", each("dedication_foreign"), "reserved in another model"),
            gate.passed,
            note="Unweighted over the vocabulary. The control was random subspaces first, whose mean is 1 by construction.",
        ),
        stats.claim(
            "needed", "Ablating the subspace costs more than five times what ablating a random one of the same rank costs",
            each("ratio"), "> 5",
            stats.Arm("positional subspace of another seed", each("ratio_foreign"), "needed in another model"),
            gate.passed,
            note="Since a review position 0 is left alone (its row made half of the cost), and the control is no random plane.",
        ),
    ]  # fmt: skip
    tables = _tables(names, found)
    if model := _language.published(config.published, lab):
        other = geometry(position_rows(model), model.hooked.W_E.detach().numpy().astype(float), config, lab.seed)
        tables["published"] = pd.DataFrame(
            [{"model": model.name, **{k: v for k, v in other.items() if isinstance(v, int | float)}}]
        )
    k = [one["k95"] for one in found]
    summary = (
        f"95% of the variance of W_pos lies in {min(k)} to {max(k)} of {load(names[0]).d_model} dimensions (initially "
        f"{found[0]['k95_init']}); a smooth "
        f"curve of {min(one['turns'] for one in found):.2g} to {max(one['turns'] for one in found):.2g} turns explains "
        f"at least "
        f"{min(one['helix'] for one in found):.0%} of the first three components. "
        f"Token embeddings have {min(one['dedication'] for one in found):.2f} to "
        f"{max(one['dedication'] for one in found):.2f} times "
        "the variance there that chance gives, and ablating the subspace costs "
        f"{min(one['ratio'] for one in found):.1f} to {max(one['ratio'] for one in found):.1f} times as much as "
        f"ablating a random one."
    )
    return Findings(gate, claims, _figures(names, found), tables, summary)


def _tables(names: list[str], found: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    numbers = ("k90", "k95", "k99", "k95_init", "participation", "top3", "top3_first127", "helix", "turns", "beyond cubic",
               "helix_permuted",
               "dedication", "dedication_by_frequency", "dedication_foreign", "dedication_random", "loss", "without_positions",
               "without_row_0", "ratio", "ratio_foreign", "planes_that_cost_more", "attention",
               "attention_ablated")  # fmt: skip
    costs = [
        {
            "model": n,
            "site": s,
            "cost": one["cost"][s],
            "random mean": np.mean(one["random"][s]),
            "random max": max(one["random"][s]),
        }
        for n, one in zip(names, found, strict=True)
        for s in SITES
    ]
    rows = {
        key: [{"model": n, **row} for n, one in zip(names, found, strict=True) for row in one[key]]
        for key in ("readers", "decoding")
    }
    return {
        "models": pd.DataFrame(
            [{"model": n, **{key: one[key] for key in numbers}} for n, one in zip(names, found, strict=True)]
        ),
        "ablation": pd.DataFrame(costs),
        "readers_and_writers": pd.DataFrame(rows["readers"]),
        "decoding": pd.DataFrame(rows["decoding"]),
    }


def _figures(names: list[str], found: list[dict[str, Any]]) -> list[Figure]:
    spectra = pd.DataFrame(
        [
            {"components": j + 1, "share": share, "model": label}
            for n, one in zip(names, found, strict=True)
            for label, values in ((n, one["spectrum"]), (f"{n} (init)", one["spectrum_init"]))
            for j, share in enumerate(values)
        ]
    )
    spectrum = plots.lines_with_band(
        spectra, "components", "share", "model", roles={f"{n} (init)": "control" for n in names},
        x_title="principal components of W_pos (rows 1..)", y_title="share of variance",
    )  # fmt: skip
    helix = plots.figure(height=520, scene={"xaxis_title": "PC 1", "yaxis_title": "PC 2", "zaxis_title": "PC 3"})
    scores, curve = np.array(found[0]["scores"]), np.array(found[0]["curve"])
    helix.add_scatter3d(
        x=scores[:, 0], y=scores[:, 1], z=scores[:, 2], mode="markers", name=names[0],
        text=[f"position {t + 1}" for t in range(len(scores))],
        marker={"size": 3, "color": list(range(1, len(scores) + 1)), "colorscale": "Cividis", "colorbar": {"title": "t"}},
    )  # fmt: skip
    helix.add_scatter3d(
        x=curve[:, 0],
        y=curve[:, 1],
        z=curve[:, 2],
        mode="lines",
        name="fitted helix",
        line={"color": plots.ROLES["theory"], "width": 3},
    )
    ablation = plots.figure(barmode="group")
    for place, name in enumerate(names):
        one = found[place]
        for label, values, colour in (
            (name, [one["cost"][s] for s in SITES], plots.PALETTE[2 * place % len(plots.PALETTE)]),
            (f"{name}, random", [float(np.mean(one["random"][s])) for s in SITES], plots.ROLES["control"]),
        ):
            ablation.add_bar(x=list(SITES), y=values, name=label, marker={"color": colour})
    ablation.update_yaxes(title_text="added loss (nats per token)")
    return [
        Figure("spectrum", spectrum, "How many dimensions the positional embeddings take, trained and at initialisation."),
        Figure(
            "helix",
            helix,
            "Positional embeddings in their first three components, coloured by position, with the fitted helix.",
        ),
        Figure(
            "ablation",
            ablation,
            "What it costs to replace the subspace by its mean at each site, beside random subspaces of the same rank.",
        ),
    ]
