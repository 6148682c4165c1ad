"""4.21: how does an induction head pass one of thousands of tokens through a value vector of a few dozen dimensions?

Set-up. In attention-only two-layer models the head with the highest prefix-matching score on repeated random tokens is the
induction head. Its value code of token i is LN(W_E[i]) W_V, its readout W_O W_U behind the final LayerNorm; token i is
*identified* when its own logit is the largest (top-1) or among the five largest. Measured: the eigenvalue copying score of
the circuit (Elhage et al. 2021), how many tokens are identified as singular directions of the code are removed (capacity
curve), by what margin, and with which tokens a token is confused. Other heads, a head with shuffled W_V, random circuits and
the initial model are measured by the same code.

Only the direct path from the embedding is in the code: what layer 0 adds to it is not. The behavioural check beside it (what
the head writes in real repeats) contains everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from superscope import plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.lab import Lab
from superscope.lms import LanguageModel, load
from superscope.lms.model import attention
from superscope.lms.model.language_model import rows_to_tensor
from superscope.measure.activations import heads, subspaces
from superscope.studies import language as _language

PROBLEM = "4.21"
TITLE = "How an induction head stores token identity"
QUESTION = "An induction head passes one of thousands of tokens through a few dozen dimensions: how is it encoded there?"
ASSUMPTIONS = [
    "The direct path from the embedding stands for the head's input; layer 0 adds to it in the real model.",
    "LayerNorm acts as centring and its learned weight; its scale is one positive number per position and moves no argmax.",
    "The unembedding's bias, which favours frequent tokens whatever the head says, is left out.",
]
DISANALOGIES = [
    "A vocabulary of 4096 in 32 dimensions; published models put 50,000 tokens through 64.",
    "Attention-only layers with shortformer positions: no MLP cleans up what the head writes, and positions never enter "
    "the values.",
    "Random strings in the training make copying of ANY token worth learning; on text alone rare tokens need copying less.",
]


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "attn-only-2l-mini"  # bundled model; its twins of other seeds are the replicates
    directions: tuple[int, ...] = (1, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32)  # singular directions kept
    draws: int = 200  # random circuits for the null of the copying score
    period: int = 40  # period of the repeated random tokens
    rows: int = 32  # rows of them
    published: str = ""  # a published model for the third rung, such as "attn-only-2l"


PRESETS = {
    "quick": Config(),
    "standard": Config(directions=tuple(range(1, 33)), draws=1000, rows=128, published="attn-only-2l"),
    "full": Config(directions=tuple(range(1, 33)), draws=10_000, rows=512, published="attn-only-2l"),
}


def circuit(model: LanguageModel, layer: int, head: int, values: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Value codes (vocabulary, d_head) and readout (d_head, vocabulary) of a head on the direct path; `values` replaces its
    W_V.
    """
    w: Any = model.hooked  # its attributes are typed as modules or tensors
    embedded = w.W_E - w.W_E.mean(dim=-1, keepdim=True)
    embedded = embedded / (embedded.pow(2).mean(dim=-1, keepdim=True) + w.cfg.eps).sqrt()
    ln = w.blocks[layer].ln1
    codes = (embedded * ln.w + ln.b) @ (w.W_V[layer, head] if values is None else values)
    written = w.W_O[layer, head]
    written = (written - written.mean(dim=-1, keepdim=True)) * w.ln_final.w
    return codes.double().numpy(), (written @ w.W_U).double().numpy()


def copying(codes: np.ndarray, readout: np.ndarray) -> float:
    """Eigenvalue copying score of the (vocabulary, vocabulary) circuit codes @ readout, from its small twin readout @ codes."""
    return heads.copying_score(torch.from_numpy(readout @ codes))


def every_head(model: LanguageModel) -> list[dict[str, Any]]:
    """Copying score and identification of every head, by layer and head."""
    out = []
    for layer in range(model.n_layers):
        for head in range(model.hooked.cfg.n_heads):
            codes, readout = circuit(model, layer, head)
            rank = heads.identification_rank(codes, readout)
            row = {"layer": layer, "head": head, "copying": copying(codes, readout)}
            out.append({**row, "top1": float((rank == 0).mean()), "top5": float((rank < 5).mean())})
    return out


def examine(name: str, config: Config, seed: int) -> dict[str, Any]:
    """All measurements of one model and its controls."""
    model = load(name)
    tokens = attention.repeated_tokens(model.hooked.cfg.d_vocab, config.period, config.rows, seed, model.tokenizer.bos)
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.n_layers)]
    patterns = model.activations(tokens, names)
    score = np.array([attention.prefix_matching(patterns[n], config.period).numpy() for n in names])
    layer, head = (int(x) for x in np.unravel_index(score.argmax(), score.shape))
    table = every_head(model)
    for row in table:
        row["prefix matching"] = float(score[row["layer"], row["head"]])
    best = next(row for row in table if (row["layer"], row["head"]) == (layer, head))
    others = [row for row in table if row["prefix matching"] < 0.3]  # further induction heads are no comparison
    rest = float(np.median([row["top5"] for row in others]))
    initial_heads = every_head(model.control("init"))
    initial_best = next(row for row in initial_heads if (row["layer"], row["head"]) == (layer, head))
    codes, readout = circuit(model, layer, head)
    trained = model.hooked.W_V[layer, head]
    order = torch.randperm(trained.numel(), generator=torch.Generator().manual_seed(seed + 6))
    wrong, _ = circuit(model, layer, head, trained.flatten()[order].view(trained.shape))
    initial = model.control("init")
    initial_codes, initial_readout = circuit(initial, layer, head)
    chance = 5 / len(codes)
    arms = {
        "induction head": (codes, readout),
        "head with shuffled W_V": (wrong, readout),
        "initial model": (initial_codes, initial_readout),
        "least copying head": circuit(model, *_place(min(table, key=lambda row: row["copying"]))),
    }
    curve = [
        {"arm": arm, "directions": k, **_identified(*pair, k)}
        for arm, pair in arms.items()
        for k in config.directions
        if k <= codes.shape[1]
    ]
    wrong_rank = heads.identification_rank(wrong, readout)
    initial_rank = heads.identification_rank(initial_codes, initial_readout)
    return {
        "heads": table, "layer": layer, "head": head, "prefix matching": best["prefix matching"], "copying": best["copying"],
        "copying_init": copying(initial_codes, initial_readout), "copying_shuffled": copying(wrong, readout),
        "top1": best["top1"], "top5": best["top5"], "copies more": best["copying"] - max(row["copying"] for row in others),
        "copies more, initial": initial_best["copying"] - max(r["copying"] for r in initial_heads if r is not initial_best),
        "ratio": best["top5"] / max(rest, chance),
        "ratio_shuffled": float((wrong_rank < 5).mean()) / max(rest, chance),
        "tokens per dimension": best["top1"] * len(codes) / codes.shape[1],
        "tokens per dimension, initial": float((initial_rank == 0).sum()) / codes.shape[1],
        "participation": subspaces.participation_ratio(codes), "k90": subspaces.components_for(codes, 0.9),
        "curve": curve, "frequency": by_frequency(model, codes, readout, seed), "confused": confusions(model, codes, readout),
        "behaviour": behaviour(model, layer, head, tokens, config.period),
    }  # fmt: skip


def _place(row: dict[str, Any]) -> tuple[int, int]:
    return int(row["layer"]), int(row["head"])


def _identified(codes: np.ndarray, readout: np.ndarray, k: int) -> dict[str, float]:
    rank = heads.identification_rank(heads.leading_directions(codes, k), readout)
    return {"top1": float((rank == 0).mean()), "top5": float((rank < 5).mean())}


def by_frequency(model: LanguageModel, codes: np.ndarray, readout: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Per decile of token frequency in the sample: identification with a 95% bootstrap interval over tokens, crowding, margin.

    crowding: mean squared cosine with other tokens' codes times d_head (1 when isotropic). margin: own logit less the
    runner-up's, in standard deviations of the token's logits.
    """
    text = _language.sample_for(model)
    count = np.bincount(text.tokens, minlength=len(codes))[: len(codes)]
    order = np.argsort(count, kind="stable")
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    second = unit.T @ unit / len(unit)
    rank = heads.identification_rank(codes, readout)
    rng = np.random.default_rng([seed, 3])
    out = []
    for decile, part in enumerate(np.array_split(order, 10)):
        logits = codes[part] @ readout
        own = logits[np.arange(len(part)), part]
        logits_std = logits.std(axis=1)
        logits[np.arange(len(part)), part] = -np.inf
        hit = rank[part] == 0
        boot = hit[rng.integers(0, len(hit), (1000, len(hit)))].mean(axis=1)
        overlap = np.einsum("td,de,te->t", unit[part], second, unit[part]) * codes.shape[1]
        margin = (own - logits.max(axis=1)) / logits_std
        low, high = np.quantile(boot, (0.025, 0.975))
        out.append(
            {
                "decile": decile, "occurrences": float(np.median(count[part])), "top1": float(hit.mean()), "low": float(low),
                "high": float(high), "crowding": float(overlap.mean()), "median margin": float(np.median(margin)),
            }
        )  # fmt: skip
    return out


def confusions(model: LanguageModel, codes: np.ndarray, readout: np.ndarray) -> dict[str, Any]:
    """Which token beats one that is not identified: share of case or blank variants, against the same share for random
    pairs.
    """
    logits = codes @ readout
    winner = logits.argmax(axis=1)
    wrong = np.flatnonzero(winner != np.arange(len(codes)))
    plain = [piece.strip().lower() for piece in model.tokenizer.pieces]
    same = [plain[i] == plain[winner[i]] and plain[i] != "" for i in wrong]
    other = np.random.default_rng(0).permutation(winner[wrong])
    chance = [plain[i] == plain[j] and plain[i] != "" for i, j in zip(wrong, other, strict=True)]
    examples = [f"{model.tokenizer.pieces[i]!r} read as {model.tokenizer.pieces[winner[i]]!r}" for i in wrong[:12]]
    return {
        "not identified": len(wrong), "variants": float(np.mean(same)) if same else 0.0,
        "variants by chance": float(np.mean(chance)) if chance else 0.0, "examples": examples,
    }  # fmt: skip


def behaviour(model: LanguageModel, layer: int, head: int, tokens: torch.Tensor, period: int) -> dict[str, float]:
    """On repeated random tokens: does what the head writes name the next token, and what does the loss lose without the
    head?
    """
    z = f"blocks.{layer}.attn.hook_z"
    final: Any = model.hooked.ln_final
    values = model.activations(tokens, [z, "ln_final.hook_scale"])
    second = slice(1 + period, 2 * period)
    written = values[z][:, second, head] @ model.hooked.W_O[layer, head]
    written = (written - written.mean(dim=-1, keepdim=True)) / values["ln_final.hook_scale"][:, second] * final.w
    logits = written @ model.hooked.W_U
    target = tokens[:, 2 + period : 1 + 2 * period]
    own = logits.gather(-1, target[..., None])
    rank = (logits >= own).sum(dim=-1) - 1
    rest = logits.scatter(-1, target[..., None], -torch.inf)
    share = torch.softmax(logits, dim=-1).gather(-1, target[..., None])

    def ablate(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[:, :, head] = value[:, :, head].mean(dim=(0, 1))
        return value

    def second_loss(hooks: list[Any]) -> float:
        return float(model.loss(rows_to_tensor(tokens.numpy()), hooks)[:, second].mean())

    return {
        "written top1": float((rank == 0).float().mean()), "written top5": float((rank < 5).float().mean()),
        "median logit margin (nats)": float((own[..., 0] - rest.amax(dim=-1)).median()),
        "median probability by this head alone": float(share.median()),
        "loss on the repeat": second_loss([]), "loss without the head": second_loss([(z, ablate)]),
    }  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every replicate on its own, then the rules asked of each."""
    names = _language.replicates(config.model)
    found = [
        lab.unit(f"model-{_language.key(name)}", partial(examine, name, config, lab.seed))
        for name in lab.progress(names, "models")
    ]
    first = load(names[0])
    null = heads.random_copying_scores(first.d_model, int(first.hooked.cfg.d_head), config.draws, lab.seed)
    matching = [one["prefix matching"] for one in found]
    gate = Gate(
        "There are at least two models, and each has a head with prefix matching above 0.3",
        min(matching) > 0.3 and len(found) > 1,
        {"models": float(len(found)), "lowest best head": min(matching)},
    )

    def each(values: list[float]) -> stats.Estimate:
        return stats.estimate(values, unit="models")

    def z(key: str) -> stats.Estimate:
        return each([(one[key] - null.mean()) / null.std() for one in found])

    claims = [
        stats.claim(
            "copies", "The induction head's circuit copies: eigenvalue score above 0.5", each([one["copying"] for one in
            found]), "> 0.5", stats.Arm("initial model", each([one["copying_init"] for one in found]),
            "the same head before training"), gate.passed,
        ),
        stats.claim(
            "copies-more", "It copies more than any head that attends to no prefixes", each([one["copies "
            "more"] for one in found]), "> 0",
            stats.Arm("initial model", each([one["copies more, initial"] for one in found]), "the same, untrained"),
            gate.passed, note="Added in a review: most heads of these models copy more than they suppress.",
        ),
        stats.claim(
            "identifies", "It puts at least three times as many tokens in its own top five as the median head",
            each([one["ratio"] for one in found]), ">= 3",
            stats.Arm("shuffled W_V", each([one["ratio_shuffled"] for one in found]), "same readout, W_V permuted"),
            gate.passed, note="A median below chance (5 tokens of the vocabulary) counts as chance.",
        ),
        stats.claim(
            "init-is-null", "Before training the head cannot be told from a random circuit: |z| of its copying score below 3",
            z("copying_init"), "within [-3, 3]", stats.Arm("trained head", z("copying"), "a head that does copy"),
            gate.passed,
        ),
        stats.claim(
            "superposed", "It identifies (top-1) more than ten tokens per dimension of the value vector",
            each([one["tokens per dimension"] for one in found]), "> 10",
            stats.Arm("initial model", each([one["tokens per dimension, initial"] for one in found]), "nothing learned"),
            gate.passed,
            note="Orthogonal codes would give one token per dimension; ten was fixed before the first model was measured.",
        ),
    ]  # fmt: skip
    tables = _tables(names, found)
    if model := _language.published(config.published, lab):
        tables["published"] = pd.DataFrame(every_head(model))
    one = found[0]
    summary = (
        f"The induction heads (prefix matching {min(matching):.2f} to {max(matching):.2f}) have copying scores of "
        f"{min(x['copying'] for x in found):.2f} to {max(x['copying'] for x in found):.2f} and identify "
        f"{min(x['top1'] for x in found):.0%} to {max(x['top1'] for x in found):.0%} of the vocabulary top-1 through "
        f"{first.hooked.cfg.d_head} dimensions. In {names[0]} the next token is the first choice of what the head writes in "
        f"{one['behaviour']['written top1']:.0%} of repeats, with a median margin of "
        f"{one['behaviour']['median logit margin (nats)']:.2f} nats."
    )
    return Findings(gate, claims, _figures(names, found), tables, summary)


def _tables(names: list[str], found: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    pairs = list(zip(names, found, strict=True))
    numbers = ("layer", "head", "prefix matching", "copying", "copying_init", "copying_shuffled", "top1", "top5", "ratio",
               "ratio_shuffled", "tokens per dimension", "participation", "k90")  # fmt: skip
    confused = [{"model": n, **{k: v for k, v in one["confused"].items() if k != "examples"}} for n, one in pairs]
    return {
        "models": pd.DataFrame([{"model": n, **{key: one[key] for key in numbers}} for n, one in pairs]),
        "heads": pd.DataFrame([{"model": n, **row} for n, one in pairs for row in one["heads"]]),
        "behaviour": pd.DataFrame([{"model": n, **one["behaviour"]} for n, one in pairs]),
        "frequency": pd.DataFrame([{"model": n, **row} for n, one in pairs for row in one["frequency"]]),
        "confusions": pd.DataFrame(confused),
        "examples": pd.DataFrame([{"model": n, "confusion": text} for n, one in pairs for text in one["confused"]["examples"]]),
    }


def _figures(names: list[str], found: list[dict[str, Any]]) -> list[Figure]:
    curve = pd.DataFrame(found[0]["curve"])
    roles = {"induction head": "treatment", "head with shuffled W_V": "control"}
    capacity = plots.lines_with_band(
        curve, "directions", "top1", "arm", roles=roles, x_title="singular directions of the value code kept",
        y_title="share of the vocabulary identified (top-1)",
    )  # fmt: skip
    frequency = pd.DataFrame([{"model": n, **row} for n, one in zip(names, found, strict=True) for row in one["frequency"]])
    deciles = plots.lines_with_band(
        frequency, "decile", "top1", "model", "low", "high", x_title="decile of token frequency (9: most frequent)",
        y_title="identified (top-1)",
    )  # fmt: skip
    every = pd.DataFrame([{"model": n, **row} for n, one in zip(names, found, strict=True) for row in one["heads"]])
    scatter = plots.figure()
    for name, part in every.groupby("model", sort=False):
        scatter.add_scatter(
            x=part["prefix matching"], y=part["copying"], mode="markers", name=str(name), marker={"size": 9},
            text=[f"layer {r.layer} head {r.head}: top-5 {r.top5:.2f}" for r in part.itertuples()],
        )  # fmt: skip
    scatter.update_xaxes(title_text="prefix-matching score")
    scatter.update_yaxes(title_text="eigenvalue copying score")
    return [
        Figure(
            "capacity",
            capacity,
            f"Tokens that {names[0]}'s value code still identifies as its singular directions are removed.",
        ),
        Figure(
            "heads", scatter, "Every head of every model: how well it attends to prefixes, and how well its circuit copies."
        ),
        Figure(
            "frequency",
            deciles,
            "Identification by token frequency, with 95% bootstrap intervals over tokens within each model.",
        ),
    ]
