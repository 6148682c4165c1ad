"""Is what a layer leaves small made large by the LayerNorm behind it? (Elhage et al. 2022, SoLU, section 6.)

A SoLU layer favours few large activations. A feature spread over many neurons leaves small ones, and the LayerNorm after the
SoLU can scale them up. The reference is the 99th percentile of the activations' size over tokens (their standard deviation
over neurons, without the LayerNorm's epsilon, under which most tokens of these models lie). *Loud* are tokens within a factor
of two of it, *quiet* those at least four times smaller. Three interventions, each a cost in nats at the true next token:

- *clamped*: the LayerNorm divides no token by less than a loud one. What this costs on quiet tokens went through because it was
  amplified: `smuggled`, in nats per token of text;
- *removed*: the layer writes nothing;
- *few*: of each token's neurons only the strongest few write. What is smeared is lost.

A layer without that LayerNorm is measured by the same code, with the scale it would have: there what is quiet also writes
little. The reference is loud on purpose: where most tokens are quiet, the median token is itself smuggled, and a measure
against it sees nothing. Quiet and loud are compared at equal token frequency. Misleads where loud tokens are loud for
another reason than few features, as at BOS (left out).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax
from scipy.stats import rankdata
from torch import Tensor

from superscope.lms.corpus.splits import Rows
from superscope.lms.model.language_model import LanguageModel, rows_to_tensor
from superscope.measure.activations.attribution import attribute

EPSILON = 1e-5  # of the LayerNorm of the bundled and of the published SoLU models


@dataclass(frozen=True)
class Layer:
    """What is kept of a layer, one entry per token.

    size: standard deviation of the activations over neurons. scale: what the layer's LayerNorm divides by, or would. token:
    the token's id. carriers: participation ratio of the neurons' direct effects on the true next token's logit. clean: nats;
    clamped, removed, few: nats added by each intervention.
    """

    size: np.ndarray
    scale: np.ndarray
    token: np.ndarray
    carriers: np.ndarray
    clean: np.ndarray
    clamped: np.ndarray
    removed: np.ndarray
    few: np.ndarray


def layernorm_scale(values: np.ndarray, eps: float = EPSILON) -> np.ndarray:
    """(token,) what a LayerNorm over the last axis of `values` (token, neuron) divides by."""
    return np.sqrt(values.var(axis=-1) + eps)


def loud_reference(size: np.ndarray) -> float:
    """The size, or the scale, of a loud token: the 99th percentile. Lower ones lie on the cliff between few loud tokens and
    many quiet ones, where a few rows of another genre move them threefold.
    """
    return float(np.quantile(size, 0.99))


def participation(effects: np.ndarray) -> np.ndarray:
    """(token,) how many neurons carry an effect: (sum |e|)^2 / sum e^2 of `effects` (token, neuron)."""
    size = np.abs(effects)
    return size.sum(axis=-1) ** 2 / np.maximum((size**2).sum(axis=-1), 1e-30)


def quiet_tokens(size: np.ndarray) -> np.ndarray:
    """(token,) bool: at least four times smaller than the reference."""
    return size * 4 <= loud_reference(size)


def quiet_and_loud(size: np.ndarray, token: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (token,) of the quiet and of the loud tokens, each summing to 1; zeros where less than 1 % of tokens are quiet.

    Within each decile of token frequency both groups have the same total weight, so that frequent tokens are not taken for
    quiet ones. Deciles in which one of the groups is empty are left out.
    """
    often = np.bincount(token)[token]
    decile = np.minimum((rankdata(often, method="average") - 1) * 10 // len(often), 9).astype(int)
    groups = quiet_tokens(size), size * 2 >= loud_reference(size)
    counts = [np.bincount(decile, group, minlength=10) for group in groups]
    shared = np.minimum(*counts)
    if groups[0].mean() < 0.01 or not shared.any():
        return np.zeros(len(size)), groups[1] / groups[1].sum()
    quiet, loud = (
        group * np.divide(shared, count, out=np.zeros(10), where=count > 0)[decile]
        for group, count in zip(groups, counts, strict=True)
    )
    return quiet / quiet.sum(), loud / loud.sum()


def traces(layer: Layer) -> dict[str, float]:
    """The numbers of a layer, or of its trained, untrained or planted stand-in.

    quiet: share of tokens. smuggled: nats per token of text that clamping costs on quiet ones. quiet worth: nats lost on quiet
    tokens when the layer is removed, over those lost on loud ones. few keep: share of its worth on quiet tokens that the
    strongest neurons alone keep; carriers: neurons that carry the effect. NaN where no tokens are quiet.
    """
    quiet, loud = quiet_and_loud(layer.size, layer.token)
    none = not quiet.any()

    def over(top: float, bottom: float) -> float:
        return top / bottom if bottom > 0 and not none else float("nan")

    return {
        "quiet": float(quiet_tokens(layer.size).mean()),
        "scale log10 range": float(np.log10(np.quantile(layer.scale, 0.99) / np.quantile(layer.scale, 0.01))),
        "smuggled": float((layer.clamped * quiet_tokens(layer.size)).mean()),
        "clamp loud": float(loud @ layer.clamped),
        "worth": float(layer.removed.mean()),
        "quiet worth": over(float(quiet @ layer.removed), float(loud @ layer.removed)),
        "few keep": 1 - over(float(quiet @ layer.few), float(quiet @ layer.removed)),
        "few keep, loud": 1 - float(loud @ layer.few) / float(loud @ layer.removed),
        "carriers": float(quiet @ layer.carriers) if not none else float("nan"),
        "carriers, loud": float(loud @ layer.carriers),
    }


def observe(model: LanguageModel, rows: Rows, layer: int = 0, few: int = 5) -> Layer:
    """Run one layer of a model as it is, and with each intervention; BOS and each row's last token are left out.

    In a model of several layers the interventions act at all positions at once, so that what later layers make of the others is
    in the costs too.
    """
    post, mid = f"blocks.{layer}.mlp.hook_post", model.neuron_hook(layer)
    block: Any = model.hooked.blocks[layer]
    smuggles = model.activation == "solu_ln"
    rest = block.mlp.ln.b if smuggles else torch.zeros(model.d_mlp)  # what the layer says when nothing is on
    loudness = block.mlp.W_out.norm(dim=1)
    parts = [rows_to_tensor(part) for part in np.array_split(rows.tokens, max(1, len(rows) // 8))]
    sizes = [model.activations(part, [mid])[mid].std(dim=-1, correction=0).numpy() for part in parts]
    scales = [np.sqrt(size**2 + (block.mlp.ln.eps if smuggles else EPSILON)) for size in sizes]
    reference = loud_reference(np.concatenate([scale[:, 1:-1].ravel() for scale in scales]))

    def strongest(value: Tensor) -> Tensor:
        kept = ((value - rest).abs() * loudness).topk(few, dim=-1).indices
        return torch.zeros_like(value).scatter(-1, kept, 1.0)

    found: dict[str, list[np.ndarray]] = {name: [] for name in ("clean", "clamped", "removed", "few", "carriers")}
    for tokens, scale in zip(parts, scales, strict=True):
        shrink = torch.from_numpy(np.minimum(scale / reference, 1).astype(np.float32))[..., None]
        changes: dict[str, Any] = {"clamped": lambda value, by=shrink: by, "removed": lambda value: 0.0, "few": strongest}
        clean = model.loss(tokens)[:, 1:].numpy()
        found["clean"].append(clean)
        for name, factor in changes.items():

            def hook(value: Tensor, hook: Any = None, factor: Any = factor) -> Tensor:
                return rest + factor(value) * (value - rest)

            found[name].append(model.loss(tokens, [(post, hook)])[:, 1:].numpy() - clean)
        said = attribute(model, tokens[:, :-1], tokens[:, 1:], neurons=True)
        first = said.labels.index(f"L{layer} neuron 0")
        effects = said.parts[first : first + model.d_mlp, :, 1:, 0].movedim(0, -1).numpy()
        found["carriers"].append(participation(effects))
    flat = {name: np.concatenate([one.ravel() for one in part]) for name, part in found.items()}
    token = np.concatenate([part[:, 1:-1].ravel().numpy() for part in parts])
    size, scale = (np.concatenate([one[:, 1:-1].ravel() for one in each]) for each in (sizes, scales))
    return Layer(size, scale, token, **flat)


KINDS = ("smuggler", "honest twin", "lone neurons", "quiet noise")


def planted(kind: str, seed: int, few: int = 5, tokens: int = 4000, neurons: int = 256, classes: int = 60) -> Layer:
    """A layer that predicts one of `classes` next tokens through a LayerNorm, built so that the answer is known.

    "smuggler": two fifths of the classes, of unequal sizes a tenth to a thirtieth of the others', are each smeared over
    eighty shared neurons; the rest have a neuron each. "honest twin": the same patterns, all of one size. "lone neurons": the
    quiet classes have one neuron each, so that nothing that is amplified is smeared. "quiet noise": what is quiet says
    nothing. As in trained models the quiet ones lie under the LayerNorm's epsilon. Relative noise is the same everywhere;
    classes are unequally frequent; the read-out is fitted to the class means.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    rng = np.random.default_rng([seed, tokens, neurons, classes])
    prior = 1 / np.arange(4, classes + 4)
    prior = rng.permutation(prior / prior.sum())
    label = rng.choice(classes, tokens, p=prior)
    quiet = np.arange(classes) < 2 * classes // 5
    pattern = np.eye(classes, neurons)
    if kind != "lone neurons":
        for one in np.flatnonzero(quiet):
            where = rng.choice(np.arange(classes, neurons), 80, replace=False)
            pattern[one] = 0
            pattern[one, where] = rng.uniform(0.4, 1.6, 80) * rng.choice([-1, 1], 80)
    pattern /= np.linalg.norm(pattern, axis=1, keepdims=True)
    size = np.full(classes, 0.5)
    if kind != "honest twin":
        size[quiet] *= rng.uniform(1 / 30, 1 / 10, quiet.sum())
    amount = size[label] * rng.uniform(0.6, 1.4, tokens)
    signal = pattern[label] * (~quiet[label] | (kind != "quiet noise"))[:, None]
    values = amount[:, None] * (signal + 0.05 * rng.standard_normal((tokens, neurons)))
    scale = layernorm_scale(values)
    post = (values - values.mean(axis=1, keepdims=True)) / scale[:, None]
    means = np.stack([post[label == one].mean(axis=0) for one in range(classes)])
    read = 14 * means.T / (means**2).sum(axis=1).mean()  # (neuron, class)
    shrink = np.minimum(scale / loud_reference(scale), 1)[:, None]
    kept = np.argpartition(-np.abs(post) * np.linalg.norm(read, axis=1), few, axis=1)[:, :few]
    mask = np.zeros_like(post)
    np.put_along_axis(mask, kept, 1.0, axis=1)

    def nats(written: np.ndarray) -> np.ndarray:
        return -log_softmax(written @ read + np.log(prior), axis=1)[np.arange(tokens), label]

    clean = nats(post)
    return Layer(
        values.std(axis=1), scale, rng.integers(0, 40, tokens), participation(post * read.T[label]), clean,
        nats(post * shrink) - clean, nats(0 * post) - clean, nats(post * mask) - clean,
    )  # fmt: skip
