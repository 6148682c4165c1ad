"""4.39: does a SoLU layer smuggle superposed features past its own sparsity, through the LayerNorm behind it?

Hypothesis (Elhage et al. 2022, SoLU). SoLU favours few large activations; a feature smeared over many neurons leaves small
ones, and the LayerNorm after the SoLU makes them large again. Four traces are looked for: the LayerNorm's scale varies a lot
over tokens; tokens whose activations are small still have a large effect on the logits; where the LayerNorm amplifies most,
the effect is spread over many neurons; and clamping the scale to its median hurts most where activations are small. A fifth:
features that are easier to tell on amplified tokens are supported by more neurons.

Layers without that LayerNorm (gelu, relu, plain solu) are measured by the same code with a virtual one. Their correlation says
how much of the third trace is arithmetic: large activations are concentrated in any layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata, spearmanr

from superscope import plots
from superscope.evidence import stats
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.lab import Lab
from superscope.lms import LanguageModel, load
from superscope.lms.corpus.splits import Rows, Split
from superscope.lms.corpus.tokenizer import CHAR_CLASSES
from superscope.lms.model.interventions import replace_with
from superscope.lms.model.language_model import rows_to_tensor
from superscope.measure.activations import smuggling
from superscope.studies import language as _language

PROBLEM = "4.39"
TITLE = "What the LayerNorm after a SoLU lets through"
QUESTION = "Does a SoLU layer smuggle features in superposition through the LayerNorm that follows it?"
ASSUMPTIONS = [
    "What a neuron does is its direct effect on the logit of the true next token, with the final LayerNorm's scale as it was.",
    "The median token's scale is what an honest layer would use for every token.",
    "Low-norm and high-norm are the lowest and the highest quarter of tokens by scale, weighted to the same token frequencies.",
]
DISANALOGIES = [
    "One layer: nothing downstream reads what is smuggled but the unembedding.",
    "512 neurons in 128 dimensions after 262 million tokens; the SoLU paper's layers are larger and trained far longer.",
    "SoLU outputs here are so small that the LayerNorm's epsilon (1e-5, as in published models) holds up the scale of "
    "many tokens: "
    "see the share at the floor in the table. What is under the floor cannot be amplified.",
    "Clamping also changes the high-norm tokens, in the other direction: it makes them larger than the model ever saw.",
]


@dataclass(frozen=True)
class Config:
    """Which models, and how much text."""

    model: str = "solu_ln-1l-mini"  # a bundled model with the LayerNorm; its twins of other seeds are the replicates
    controls: tuple[str, ...] = ("solu-1l-mini", "gelu-1l-mini", "relu-1l-mini")  # layers without one
    rows: int = 48  # rows of 256 tokens
    top: int = 5  # neurons of the concentration
    published: tuple[str, ...] = ()  # published models for the third rung, such as "solu-1l" "gelu-1l"


_PUBLISHED = ("solu-1l", "gelu-1l")
PRESETS = {
    "quick": Config(),
    "standard": Config(rows=300, published=_PUBLISHED),
    "full": Config(rows=600, published=_PUBLISHED),
}


@dataclass(frozen=True)
class Layer:
    """What is kept of one model on some text, per token: `values` (token, neuron) before any LayerNorm, `scale`, `effects`."""

    values: np.ndarray
    scale: np.ndarray
    effects: np.ndarray


def observe(model: LanguageModel, rows: Rows) -> Layer:
    """Activations, (virtual) LayerNorm scales and direct effects on the true next token; BOS and each row's last token "
    "left out."""
    before, after = model.neuron_hook(), "blocks.0.mlp.hook_post"
    real = "blocks.0.mlp.ln.hook_scale" if model.activation == "solu_ln" else None
    names = [name for name in (before, after, "ln_final.hook_scale", real) if name]
    values, scales, effects = [], [], []
    final: Any = model.hooked.ln_final
    written = model.hooked.W_out[0] - model.hooked.W_out[0].mean(dim=-1, keepdim=True)  # the final LayerNorm centres
    for part in np.array_split(rows.tokens, max(1, len(rows) // 8)):
        tokens = rows_to_tensor(part)
        seen = model.activations(tokens, names)
        reads = model.hooked.W_U.T[tokens[:, 2:]] * final.w / seen["ln_final.hook_scale"][:, 1:-1]  # (row, position, d_model)
        effects.append((seen[after][:, 1:-1] * (reads @ written.T)).flatten(0, 1).numpy())
        values.append(seen[before][:, 1:-1].flatten(0, 1).numpy())
        if real:
            scales.append(seen[real][:, 1:-1].flatten().numpy())
    every = np.concatenate(values)
    scale = np.concatenate(scales) if scales else smuggling.layernorm_scale(every)
    return Layer(every, scale, np.concatenate(effects))


def clamped(model: LanguageModel, rows: Rows, scale: np.ndarray) -> np.ndarray:
    """(token,) added loss of the true next token when the layer's LayerNorm divides by the median scale everywhere."""
    hook = replace_with("blocks.0.mlp.ln.hook_scale", torch.tensor(float(np.median(scale))))
    parts = [rows_to_tensor(part) for part in np.array_split(rows.tokens, max(1, len(rows) // 8))]
    return np.concatenate([(model.loss(p, [hook]) - model.loss(p))[:, 1:].flatten().numpy() for p in parts])


def quarters(scale: np.ndarray, token: np.ndarray, seed: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Weights (token,) of the low and the high quarter by scale, each summing to 1 with the same weight on every "
    "frequency decile.

    With a seed the scales are shuffled first: the control, in which low and high mean nothing.
    """
    if seed is not None:
        scale = np.random.default_rng([seed, 39]).permutation(scale)
    often = np.bincount(token)[token]
    decile = np.minimum((rankdata(often, method="average") - 1) * 10 // len(often), 9).astype(int)
    out = []
    for chosen in (scale <= np.quantile(scale, 0.25), scale >= np.quantile(scale, 0.75)):
        weight = chosen / np.maximum(np.bincount(decile, chosen, minlength=10)[decile], 1)
        out.append(weight)
    both = (np.bincount(decile, out[0], minlength=10) > 0) & (np.bincount(decile, out[1], minlength=10) > 0)
    low, high = (weight * both[decile] for weight in out)
    return low / low.sum(), high / high.sum()


def clamp_excess(added: np.ndarray, quarters_: tuple[np.ndarray, np.ndarray]) -> float:
    """Added loss of the low quarter less twice that of the high one; a gain of the high one counts as nothing."""
    low, high = (float(weight @ added) for weight in quarters_)
    return low - 2 * max(high, 0.0)


def diffuse_features(layer: Layer, split: Split, place: np.ndarray) -> list[dict[str, Any]]:
    """For every label with enough tokens: how many neurons support it, and how much easier it is told on amplified tokens.

    support: participation ratio of the mean-difference direction over neurons. advantage: AUC of that direction on the lowest
    quarter by scale less its AUC on the highest. Directions come from even documents, AUCs from odd ones.
    """
    normal = layer.values / layer.scale[:, None]
    low, high = layer.scale <= np.quantile(layer.scale, 0.25), layer.scale >= np.quantile(layer.scale, 0.75)
    fit = split.document[place] % 2 == 0
    labels = {f"genre {name}": split.genre[place] == k for k, name in enumerate(split.genres)}
    labels |= {f"characters {name}": split.char_class[place] == k for k, name in enumerate(CHAR_CLASSES)}
    out = []
    for name, label in labels.items():
        parts = [label & side & ~fit for side in (low, high)]
        rest = [~label & side & ~fit for side in (low, high)]
        if min(int(part.sum()) for part in (*parts, *rest)) < 50 or (label & fit).sum() < 100:
            continue
        direction = normal[label & fit].mean(axis=0) - normal[~label & fit].mean(axis=0)
        score = normal @ direction
        auc = [_auc(score[a], score[b]) for a, b in zip(parts, rest, strict=True)]
        weight = direction**2
        out.append(
            {"feature": name, "support": float(weight.sum() ** 2 / (weight**2).sum()), "auc low": auc[0], "auc high": auc[1],
             "advantage": auc[0] - auc[1]}
        )  # fmt: skip
    return out


def _auc(a: np.ndarray, b: np.ndarray) -> float:
    ranks = rankdata(np.concatenate([a, b]))
    return float((ranks[: len(a)].sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))


def examine(name: str, config: Config, seed: int, kind: str = "") -> dict[str, Any]:
    """All measurements of one model (or of its control `kind`)."""
    model = load(name)
    model = model.control(kind) if kind else model  # type: ignore[arg-type]
    split = _language.sample_for(model)
    rows = split.rows(min(model.n_ctx, 256), limit=config.rows, seed=seed)
    layer = observe(model, rows)
    place = rows.place[:, 1:-1].ravel()
    size, effect = np.linalg.norm(layer.values, axis=1), np.abs(layer.effects.sum(axis=1))
    small, large = size <= np.quantile(size, 0.25), effect >= np.quantile(effect, 0.75)
    features = diffuse_features(layer, split, place)
    trace = [row["support"] for row in features], [row["advantage"] for row in features]
    some = np.random.default_rng(seed).permutation(len(place))[:2000]
    low = layer.scale <= np.quantile(layer.scale, 0.25)
    found = {
        "low gain": float(np.median(smuggling.gain(layer.scale)[low])),
        "model": model.name, "activation": model.activation,
        "scale cv": float(layer.scale.std() / layer.scale.mean()),
        "scale at its floor": float((layer.scale < 1.5 * 1e-5**0.5).mean()),
        "scale log10 range": float(np.log10(np.quantile(layer.scale, 0.99) / np.quantile(layer.scale, 0.01))),
        "small and strong": float((small & large).mean() / (small.mean() * large.mean())),  # 1: independent
        "correlation": smuggling.smuggling_correlation(layer.scale, layer.effects, config.top),
        "feature correlation": float(spearmanr(*trace).statistic), "features": features,
        "by class": [
            {"characters": label, "tokens": int(here.sum()), "median scale": float(np.median(layer.scale[here]))}
            for k, label in enumerate(CHAR_CLASSES) if (here := split.char_class[place] == k).sum() >= 20
        ],
        "gain": smuggling.gain(layer.scale)[some], "concentration": smuggling.concentration(layer.effects, config.top)[some],
    }  # fmt: skip
    if model.activation == "solu_ln":
        added = clamped(model, rows, layer.scale)
        token = split.tokens[place]
        shuffled = [clamp_excess(added, quarters(layer.scale, token, seed * 1000 + draw)) for draw in range(200)]
        high_end = float(np.quantile(shuffled, 0.975))
        found["shuffled over null"] = shuffled[0] - high_end
        real = quarters(layer.scale, token)
        found |= {
            "clamp low": float(real[0] @ added), "clamp high": float(real[1] @ added),
            "clamp over null": clamp_excess(added, real) - high_end,
        }  # fmt: skip
        found["clamp all"] = float(added.mean())
    return found


def run(config: Config, lab: Lab) -> Findings:
    """The SoLU models with their LayerNorm, the layers without, and the untrained ones."""
    names = _language.replicates(config.model)
    others = _language.optional(config.controls, lab)
    jobs = [(n, "") for n in names] + [(n, "") for n in others] + [(n, "init") for n in names]
    partners = _language.by_seed(config.model)
    twins = _language.by_seed(config.controls[0]) if _language.optional(config.controls[:1], lab) else {}
    jobs += [(n, "init") for n in twins.values()]
    found = {
        (name, kind): lab.unit(
            f"model-{_language.key(name)}-{kind or 'trained'}", partial(examine, name, config, lab.seed, kind)
        )
        for name, kind in lab.progress(jobs, "models")
    }
    solu = [found[n, ""] for n in names]
    init = [found[n, "init"] for n in names]
    plain = [found[n, ""] for n in twins.values()]
    planted = [smuggling.planted_layer(2000, 64, smuggles, lab.seed) for smuggles in (True, False)]
    traces = [smuggling.smuggling_correlation(smuggling.layernorm_scale(v), e) for v, e in planted]
    gains, floor = min(one["low gain"] for one in solu), max(one["scale at its floor"] for one in solu)
    gate = Gate(
        "A constructed smuggler is recognised (correlation below -0.5) and an honest layer is not; and the LayerNorm "
        "does amplify: by 1.5 or "
        "more on the median low-norm token, with fewer than half of all tokens held up by its epsilon, in every one of "
        "two or more models",
        traces[0] < -0.5 and abs(traces[1]) < 0.5 and gains >= 1.5 and floor < 0.5 and len(solu) > 1,
        {
            "planted smuggler": traces[0],
            "planted honest layer": traces[1],
            "least gain": gains,
            "largest share at the floor": floor,
        },
    )

    def each(rows: list[dict[str, Any]], key: str) -> stats.Estimate:
        return stats.estimate([one[key] for one in rows], unit="models")

    def difference(kind: str) -> stats.Estimate:
        """Correlation with the LayerNorm less that of plain SoLU (with a virtual one), seed by seed."""
        both = sorted(set(partners) & set(twins))
        values = [found[partners[s], kind]["correlation"] - found[twins[s], kind]["correlation"] for s in both]
        return stats.estimate(values or [np.nan], unit="seeds")

    claims = [
        stats.claim(
            "diffuse-where-amplified",
            "Where the LayerNorm amplifies more, the effect is spread over more neurons than in plain SoLU of the same start",
            difference(""), "< 0", stats.Arm("initial models", difference("init"), "nothing was learned"), gate.passed,
            note="A difference since a review: quiet tokens are diffuse in any layer, so a correlation alone shows nothing.",
        ),
        stats.claim(
            "clamp", "Clamping the scale adds more than twice as much loss to low-norm as to high-norm tokens, beyond "
            "shuffled scales",
            each(solu, "clamp over null"), "> 0",
            stats.Arm("one shuffle of the scales", each(solu, "shuffled over null"), "low and high mean nothing"),
            gate.passed,
            note="Measured from the 97.5% quantile of 200 shuffles.",
        ),
        stats.claim(
            "diffuse-features", "Features told better on low-norm tokens are supported by more neurons (Spearman over "
            "features above 0)",
            each(solu, "feature correlation"), "> 0",
            stats.Arm("untrained model", each(init, "feature correlation"), "no feature was learned"), gate.passed,
        ),
    ]  # fmt: skip
    every = list(found.values())
    for name in _language.published_names(config.published, lab):
        every.append(lab.unit(f"published-{name}", partial(examine, name, config, lab.seed)))
    numbers = [key for key in solu[0] if not isinstance(solu[0][key], list) and key != "model"]
    tables = {
        "models": pd.DataFrame([{"model": one["model"], **{key: one.get(key) for key in numbers}} for one in every]),
        "features": pd.DataFrame([{"model": one["model"], **row} for one in solu for row in one["features"]]),
        "scale_by_class": pd.DataFrame([{"model": one["model"], **row} for one in solu for row in one["by class"]]),
    }
    low, high = (np.mean([one[f"clamp {side}"] for one in solu]) for side in ("low", "high"))
    correlation = [f"{one['correlation']:.2f}" for one in solu]
    virtual = [f"{one['correlation']:.2f}" for one in plain]
    summary = (
        f"On the median low-norm token the LayerNorm after the SoLU amplifies by {gains:.2f} or more, and its epsilon holds up "
        f"as many as {floor:.0%} of the tokens. Gain and concentration correlate at {', '.join(correlation)}, in plain "
        f"SoLU with a "
        f"virtual LayerNorm at {', '.join(virtual) or 'nothing (not bundled)'}. Clamping the scale adds {low:.3f} nats "
        f"on low-norm and "
        f"{high:.3f} on high-norm tokens. Each claim is one trace of the hypothesis; one alone does not decide it."
    )
    return Findings(gate, claims, _figures(solu[0], plain[0] if plain else init[0], every), tables, summary)


def _figures(solu: dict[str, Any], plain: dict[str, Any], every: list[dict[str, Any]]) -> list[Figure]:
    cloud = plots.figure()
    for one, role in ((solu, "treatment"), (plain, "control")):
        cloud.add_scatter(
            x=one["gain"], y=one["concentration"], mode="markers", name=one["model"],
            marker={"size": 4, "opacity": 0.35, "color": plots.ROLES[role]},
        )  # fmt: skip
    cloud.update_xaxes(title_text="gain: median scale / scale", type="log")
    cloud.update_yaxes(title_text="share of the effect in the top five neurons")
    bars = plots.figure()
    trained = [one for one in every if "(" not in one["model"]]
    for activation in dict.fromkeys(one["activation"] for one in trained):
        part = [one for one in trained if one["activation"] == activation]
        bars.add_bar(x=[one["model"] for one in part], y=[one["correlation"] for one in part], name=activation)
    bars.update_yaxes(title_text="Spearman of gain and concentration")
    features = plots.figure()
    rows = solu["features"]
    features.add_scatter(
        x=[row["support"] for row in rows], y=[row["advantage"] for row in rows], mode="markers+text",
        text=[row["feature"] for row in rows],
        textposition="top center", name=solu["model"],
    )  # fmt: skip
    features.update_xaxes(title_text="neurons that support the feature (participation ratio)", type="log")
    features.update_yaxes(title_text="AUC on low-norm less AUC on high-norm tokens")
    return [
        Figure(
            "amplified",
            cloud,
            "Each dot is a token: how much it is amplified, and how concentrated the layer's effect is there.",
        ),
        Figure("correlations", bars, "The same correlation in every model; those without the LayerNorm have a virtual one."),
        Figure(
            "features", features, "Each dot is a labelled feature: diffuse ones should be easier to tell on amplified tokens."
        ),
    ]
