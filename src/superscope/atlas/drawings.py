"""Which drawing belongs to which study: sizes come from the configuration of the run that is shown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from superscope.plots.schematic import Column, layers, transformer

Config = Mapping[str, Any]


def of(problem: str, config: Config) -> str:
    """SVG of what a study looks at, or "" where there is nothing to draw (a study of the reader's own)."""
    made = _DRAWN.get(problem)
    return made(config) if made else ""


def _size(config: Config, key: str | int) -> int | None:
    value = config.get(key) if isinstance(key, str) else key
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _toy(*columns: tuple[str, str | int | None], maps: tuple[str, ...] = (), hot: int = 1) -> Callable[[Config], str]:
    """A drawing of layers. columns: label, and the config field that holds its size (or a number, or None)."""

    def draw(config: Config) -> str:
        made = [
            Column(label, None if key is None else _size(config, key), place == hot)
            for place, (label, key) in enumerate(columns)
        ]
        return layers(made, maps)

    return draw


def _bottleneck(n: str | int, m: str | int, out: str = "outputs", act: str = "ReLU(Wᵀh + b)") -> Callable[[Config], str]:
    return _toy(("features", n), ("dimensions", m), (out, n), maps=("W", act))


def _hidden(n: str | int, h: str | int | None, out: str, k: str | int | None, act: str = "ReLU") -> Callable[[Config], str]:
    return _toy(("inputs", n), ("neurons", h), (out, k), maps=(act, "linear + ReLU"))


def _model(*hot: str, note: str, deep: int = 0) -> Callable[[Config], str]:
    """A drawing of the transformer named in the config; places may say {last} for its last layer.

    Nothing is drawn of a model whose name does not tell its layers.
    """

    def draw(config: Config) -> str:
        name = str(config.get("model", ""))
        found = re.search(r"(\d+)l", name)
        n = deep or (int(found[1]) if found else 0 if name else 1)
        if not n:
            return ""
        places = {place.format(last=n - 1) for place in hot}
        return transformer(min(n, 3), places, mlp="attn-only" not in name, note=note, more=max(n - 3, 0))

    return draw


_MLP = ("mlp {last}",)
_DRAWN: dict[str, Callable[[Config], str]] = {
    "tms": _bottleneck("large_n", "large_m"),
    "sae-toys": _toy(("true features", None), ("dimensions", 5), ("latents", None), ("dimensions", 5),
                     maps=("world", "encoder", "decoder"), hot=2),
    "sae-lms": _model("mlp 0", "stream 0", note="what the MLP writes, rebuilt from few latents"),
    "spd": _toy(("features", 5), ("dimensions", 2), ("outputs", 5), maps=("W = Σ components", "Wᵀ = Σ components")),
    "4.1": _bottleneck("wide_features", "wide_hidden"),
    "4.2": _hidden("n", "m", "|x|", "n"),
    "4.3": _hidden("n", "hidden", "x²", "n"),
    "4.4": _bottleneck(80, "hidden"),
    "4.5": _hidden("n", None, "ANDs or ORs", None),
    "4.6": _toy(("inputs", 24), ("neurons", "hidden_all"), ("maxima", "n_all"), maps=("ReLU", "linear + ReLU")),
    "4.7": _bottleneck("n_features", "n_hidden"),
    "4.8": _bottleneck("n_features", "n_hidden"),
    "4.9": _bottleneck("n_features", "n_hidden"),
    "4.10": _bottleneck("n", "m", act="GELU(Wᵀh + b)"),
    "4.11": _hidden("n", "hidden", "pairs", None, "GELU"),
    "4.12": _toy(("features", "features"), ("dimensions", "width"), ("classes", "features"), maps=("W", "softmax")),
    "4.13": _toy(("bits", "bits"), ("neurons", "neurons"), ("features inside", "hidden"), ("outputs", None),
                 maps=("ReLU", "read", "sums"), hot=2),
    "4.14": _toy(("bits", 12), ("first layer", "widths"), ("second layer", "widths"), ("outputs", "pairs"),
                 maps=("ReLU", "ReLU", "linear"), hot=2),
    "4.15": lambda config: transformer(
        1, {"attention 0"}, mlp=False, note=f"{config.get('q', '')} skip trigrams over {config.get('heads', '')} heads".strip()
    ),
    "4.16": _toy(("features", "n"), ("dimensions", "m"), ("neurons", "width"), ("outputs", "n"),
                 maps=("W", "MLP", "read"), hot=2),
    "4.17": _toy(("bits", "bits"), ("activations", "width"), ("outputs", None), maps=("any code", "any code")),
    "4.18": _toy(("features?", "features"), ("dimensions", "dimensions"), ("readings", None), maps=("", "counted")),
    "4.19": _toy(("group elements", None), ("code", "code"), ("outputs", None), maps=("encoder", "decoder")),
    "4.20": _toy(("sources", "n"), ("learned features", None), ("outputs", "n"), maps=("", "")),
    "4.45": _toy(("features", "sensing_features"), ("dimensions", None), ("outputs", "sensing_features"),
                 maps=("W", "decoded")),
    "4.21": _model("attention 1", note="OV circuit of the induction head"),
    "4.22": _model("attention 0", "stream 0", "attention 1", note="what the first head tells the second"),
    "4.23": _model("stream 0", "stream 1", "attention 1", note="names on their way between heads"),
    "4.24": _model("position", "embed", note="positional embeddings"),
    "4.25": _model("embed", "mlp 0", note="embeddings, neurons and dictionary directions"),
    "4.26": _model("mlp 0", "stream 0", note="neurons and dictionary directions"),
    "4.27": _model("stream 0", "stream 1", note="the stream, in texts of different kinds"),
    "4.28": _model("stream 0", "mlp 1", note="two features on at once in the stream"),
    "4.29": _model("mlp 0", "unembed", note="one neuron and those that oppose it"),
    "4.30": _model("mlp 0", "attention 1", "mlp 1", note="one neuron and what reads it"),
    "4.31": _model(*_MLP, note="all neurons that carry one feature"),
    "4.32": _model("embed", "attention 0", "mlp 0", note="one feature, from tokens to logits"),
    "4.33": _model("mlp 0", note="neurons that two meanings share"),
    "4.34": _model("mlp 0", note="weights into and out of the MLP"),
    "4.35": _model(*_MLP, note="probes of the MLP's neurons"),
    "4.36": _model(*_MLP, note="neurons, probes and latents"),
    "4.37": _model("mlp 0", note="neurons of three activations", deep=1),
    "4.38": _model("mlp 0", note="neurons with a known number of concepts"),
    "4.39": _model("mlp 0", note="the LayerNorm inside a SoLU layer"),
    "4.40": _model("mlp 0", note="neurons of two models from one start"),
    "4.41": _model("mlp 0", note="neurons of GELU and ReLU twins", deep=1),
    "4.42": _toy(("stream", 64), ("neurons", 6400), ("stream", 64), maps=("in, GELU", "out")),
    "4.43": _toy(("stream", 32), ("neurons", 2048), ("stream", 32), maps=("in, ReLU", "out")),
    "4.44": _toy(("stream", 128), ("neurons × 10", 5120), ("stream", 128), maps=("copied + noise", "shared out")),
}  # fmt: skip
