"""How many neurons of the last layer carry a labelled feature, by what the model does with it?

Set-up: tokens with the feature and, for each, a matched token without it (`pairs`: same current token, or same class and
genre, elsewhere). Detection (`Site.detection`), in nats: how much more the model expects what follows the feature, and less
what follows the matched tokens, with the feature than without. With p and q the frequencies of next tokens after either on
other documents, `telling` is w = (p - q) / TV(p, q), and the detection the mean of sum_t w_t log P(t) over tokens with the
feature less the mean over those without. As w adds up to 0, this is a difference of logits. In the last layer the neurons of a
position act on that position alone, so `Site` keeps the rest of the stream still and reruns only what follows. The scale of the
final norm is held at the mean of a pair before anything is replaced: else whatever is loud makes all else that tells the
feature fainter, and a feature planted on three neurons is needed on five hundred. Held, zero and mean ablation are the same,
as what both tokens of a pair lose cancels. `live` lets the scale go, and `loss` always does.

`gone` is the smallest number of units, first of a ranking, whose replacement takes 90 % of what replacing all takes: the
question of the post, "such that the model cannot detect the feature". It is a first passage: with a signed ranking (units that
work for the feature first) it is low, and an upper bound on the smallest such set; `necessity.curves` gives the number from
which on the loss *stays* there, and the sufficiency. Where units work against one another a first passage is small in any
code, trained or not (the first few cancel the sum of all others), so it says nothing about sparsity: rank by size and ask where
the loss stays. Rankings are functions of a basis: rotated axes, the null of the neurons,
are ranked alike.

Planted: `plant` adds the feature to chosen neurons with any strengths; all neurons hold what they hold at the matched token,
so that nothing else in the layer tells the two apart, and what they do otherwise goes on.

Misleads: a feature that attention carries past the MLP has no neurons to find (the detection hardly falls when all are
replaced); matched tokens are as good as the labels; what follows a feature may follow something that goes along with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.corpus.splits import Rows
from superscope.lms.model import activations
from superscope.lms.model.language_model import LanguageModel
from superscope.measure.activations.necessity import Effect, Score, reach, replaced

LEVEL = 0.9
SCALE = "ln_final.hook_scale"


# ------------------------------------------------------------------------------------------------------------ text


def pairs(
    on: np.ndarray, off: np.ndarray, key: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(pair,) tokens with the feature and (pair,) tokens without it of the same key, at most `count`, no token twice.

    on, off (token,) bool; key (token,) integers, what a pair has in common.
    """
    left = {int(k): list(rng.permutation(np.flatnonzero(off & (key == k)))) for k in np.unique(key[on])}
    one: list[int] = []
    other: list[int] = []
    for token in rng.permutation(np.flatnonzero(on)):
        if len(one) == count:
            break
        if left[int(key[token])]:
            one.append(int(token))
            other.append(int(left[int(key[token])].pop()))
    return np.array(one, dtype=np.int64), np.array(other, dtype=np.int64)


def telling(after_on: np.ndarray, after_off: np.ndarray, vocabulary: int) -> np.ndarray:
    """(vocabulary,) weights of next tokens: frequency after the feature less that after its matches, over their total variation
    distance; positive and negative parts add up to 1 and -1. ValueError when the two are alike."""
    yes, no = (np.bincount(after, minlength=vocabulary) / len(after) for after in (after_on, after_off))
    distance = np.abs(yes - no).sum() / 2
    if distance == 0:
        raise ValueError("what follows with the feature and without is alike: next tokens do not tell it")
    return (yes - no) / distance


# ------------------------------------------------------------------------------------------------------------ site


@dataclass(frozen=True)
class Site:
    """Neurons of a model's last layer at n tokens, and what follows them there.

    values (n, d_mlp); stream (n, d_model) the final residual without this MLP's output; out (d_mlp, d_model), bias (d_model,);
    following (n,) the next token. on (n,) bool: has the feature; tokens without it follow in the order of their partners.
    """

    model: LanguageModel
    values: np.ndarray
    stream: Tensor
    out: Tensor
    bias: Tensor
    following: Tensor
    on: np.ndarray

    def only(self, chosen: np.ndarray) -> Site:
        """The pairs numbered in `chosen`."""
        place = np.concatenate([chosen, int(self.on.sum()) + chosen])
        rows = torch.from_numpy(place)
        return replace(
            self, values=self.values[place], stream=self.stream[rows], following=self.following[rows], on=self.on[place]
        )

    def written(self, values: np.ndarray) -> np.ndarray:
        """(n, d_model) what the MLP writes."""
        with torch.inference_mode():
            return self._write(torch.from_numpy(values).float()).numpy()

    def _write(self, values: Tensor) -> Tensor:
        if self.model.activation == "solu_ln":
            hooked: Any = self.model.hooked
            values = hooked.blocks[self.model.n_layers - 1].mlp.ln(values[:, None])[:, 0]
        return values @ self.out + self.bias

    def _final(self, values: Tensor, scale: Tensor | None = None) -> Tensor:
        """(n, d_model) what the unembedding reads; scale: what the final norm divides by, if not what it finds."""
        hooked: Any = self.model.hooked
        hooks: list[Any] = [] if scale is None else [(SCALE, lambda found, hook: scale)]
        with hooked.hooks(fwd_hooks=hooks):
            out: Tensor = hooked.ln_final((self.stream + self._write(values))[:, None])[:, 0]
        return out

    @property
    def scale(self) -> Tensor:
        """(n, 1, 1) what the final norm divides by when nothing is replaced, mean of the two tokens of a pair."""
        kept: list[Tensor] = []
        hooks: list[Any] = [(SCALE, lambda found, hook: kept.append(found))]
        with torch.inference_mode(), self.model.hooked.hooks(fwd_hooks=hooks):
            self._final(torch.from_numpy(self.values).float())
        on, off = kept[0].clone().chunk(2)
        return ((on + off) / 2).repeat(2, 1, 1)

    def along(self, weights: np.ndarray) -> Tensor:
        """(d_model,) unit direction of the stream that raises the weighted logit most, through the final norm of held scale."""
        stream = torch.zeros_like(self.stream).requires_grad_()
        moved = replace(self, stream=stream)._final(torch.from_numpy(self.values).float(), self.scale)
        raises = torch.autograd.grad((moved @ self._weighed(weights)[0]).sum(), stream)[0].sum(dim=0)
        return raises / raises.norm()

    def loss(self, values: np.ndarray) -> np.ndarray:
        """(n,) nats of the next token with `values` in place of the neurons' own."""
        hooked: Any = self.model.hooked
        with torch.inference_mode():
            logits = self._final(torch.from_numpy(values).float()) @ hooked.W_U + hooked.b_U
            return torch.nn.functional.cross_entropy(logits, self.following, reduction="none").numpy()

    def _weighed(self, weights: np.ndarray) -> tuple[Tensor, Tensor]:
        """(d_model,) what reads the weighted logit from the final stream, and (n,) what each token weighs in the detection."""
        sign = np.where(self.on, 1 / self.on.sum(), -1 / (~self.on).sum())
        return self.model.hooked.W_U.detach() @ torch.from_numpy(weights).float(), torch.from_numpy(sign).float()

    def detection(self, weights: np.ndarray, live: bool = False) -> Effect:
        """Values -> the mean weighted logit with the feature less that without, nats. weights: (vocabulary,) of `telling`.

        live: the final norm divides by what it finds; else by `scale`.
        """
        reads, sign = self._weighed(weights)
        scale = None if live else self.scale

        def effect(values: np.ndarray) -> float:
            with torch.inference_mode():
                return float(sign @ (self._final(torch.from_numpy(values).float(), scale) @ reads))

        return effect

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """(n, d_mlp) of the detection with respect to the values."""
        reads, sign = self._weighed(weights)
        at = torch.from_numpy(self.values).float().requires_grad_()
        return np.asarray(torch.autograd.grad(sign @ (self._final(at, self.scale) @ reads), at)[0].numpy())


def read(model: LanguageModel, rows: Rows, batch_rows: int = 16) -> Callable[[np.ndarray, np.ndarray], Site]:
    """Run the rows once; what comes back makes the `Site` of chosen tokens.

    The function takes on, off (pair,): numbers of tokens among all of the rows, row after row without BOS.
    """
    layer = model.n_layers - 1
    posts = {"post": f"blocks.{layer}.hook_resid_post", "mlp": f"blocks.{layer}.hook_mlp_out"}
    got = activations.values(model, rows, {"neurons": activations.neurons(model, layer), **posts}, batch_rows)
    mlp: Any = model.hooked.blocks[layer].mlp
    following = np.roll(rows.tokens[:, 1:], -1, axis=1).ravel()

    def at(on: np.ndarray, off: np.ndarray) -> Site:
        place = torch.from_numpy(np.concatenate([on, off]))
        return Site(
            model, got["neurons"][place].numpy(), got["post"][place] - got["mlp"][place], mlp.W_out.detach(),
            mlp.b_out.detach(), torch.from_numpy(following)[place], np.arange(len(place)) < len(on),
        )  # fmt: skip

    return at


# ------------------------------------------------------------------------------------------------------------ rankings


def gap(values: np.ndarray, on: np.ndarray) -> Score:
    """Rank by |difference of means| over the spread inside a class."""
    inside = np.where(on[:, None], values - values[on].mean(axis=0), values - values[~on].mean(axis=0))
    difference = values[on].mean(axis=0) - values[~on].mean(axis=0)
    return lambda basis: np.abs(difference @ basis) / np.maximum((inside @ basis).std(axis=0), 1e-9)


def signed_attribution(values: np.ndarray, other: np.ndarray, gradient: np.ndarray) -> Score:
    """Rank by what keeping a unit does for the effect to first order, with its sign: units that work for it come first, those
    that work against it last. `necessity.attribution` is its size."""
    return lambda basis: ((gradient @ basis) * ((values - other) @ basis)).sum(axis=0)


def read_by(direction: np.ndarray, values: np.ndarray) -> Score:
    """Rank by |weight of a linear probe (d,)| times the unit's spread."""
    return lambda basis: np.abs(direction @ basis) * (values @ basis).std(axis=0)


def written_along(direction: np.ndarray, site: Site) -> Score:
    """Rank by how much more of `direction` (d_model,), such as a dictionary's row, a unit writes with the feature."""
    difference = site.values[site.on].mean(axis=0) - site.values[~site.on].mean(axis=0)
    writes = site.out.numpy() @ direction
    return lambda basis: (difference @ basis) * (writes @ basis)


def settled(shares: np.ndarray, level: float = LEVEL) -> int:
    """The smallest k from which on the first k of `shares` (d,), in the order of a ranking, add up to their total within
    1 - `level` of it: what `necessity.curves` finds for an effect that is linear in the units, here for choosing a ranking."""
    off = np.abs(np.cumsum(shares) / shares.sum() - 1) > 1 - level + 1e-9
    return int(np.flatnonzero(off)[-1]) + 2 if off.any() else 1


def gone(
    effect: Effect,
    values: np.ndarray,
    order: np.ndarray,
    other: np.ndarray,
    basis: np.ndarray | None = None,
    level: float = LEVEL,
) -> int:
    """The smallest k (by doubling, then bisection) for which replacing the first k units of `order` takes `level` of what
    replacing all of them takes. Arguments as of `necessity.curves`."""
    d = values.shape[1]
    everything = effect(values)
    size = everything - effect(replaced(values, np.zeros(d, dtype=bool), other, basis))
    if not np.isfinite(size) or size == 0:
        raise ValueError(f"replacing every unit changes the effect by {size:g}: there is nothing to lose")

    def lost(k: int) -> float:
        kept = np.ones(d, dtype=bool)
        kept[order[:k]] = False
        return min((everything - effect(replaced(values, kept, other, basis))) / size, 1.0)

    ks, shown = [0, 1], [0.0, lost(1)]
    while shown[-1] < level and ks[-1] < d:
        ks.append(min(2 * ks[-1], d))
        shown.append(1.0 if ks[-1] == d else lost(ks[-1]))
    return int(reach(lost, np.array(ks), np.array(shown), level))


# ------------------------------------------------------------------------------------------------------------ plants


def plant(
    site: Site, weights: np.ndarray, strengths: np.ndarray, size: float, rng: np.random.Generator, idle: bool = False,
    loose: bool = False, first: int = 0,
) -> Site:  # fmt: skip
    """The feature on neurons of the given strengths (d,), below 0 for those that work against it, and on nothing else:
    detection falls by `size` nats, within a tenth (or what 30 steps reach), when all neurons are replaced by their mean.

    With the feature a neuron is raised by the size of its strength times its spread, give or take a fifth of that, and it
    writes, in proportion to its strength, the direction that raises the weighted logit, in place of what it wrote along it.
    Else all neurons hold what they hold at the matched token, and go on writing what they write. idle: the chosen ones do
    little other work: they hold a fifth of their spread about their mean, and write a fifth of what else they wrote. loose:
    others hold what they hold at tokens without the feature drawn with replacement, so that they differ by chance; those of the
    `first` pairs, on which all is chosen, are drawn among these, and the others among the others.
    """
    without = site.values[~site.on]
    n, drawn = len(without), np.arange(len(without))
    if loose:
        drawn = (
            np.concatenate([rng.integers(first, size=first), rng.integers(first, n, size=n - first)])
            if first
            else rng.integers(n, size=n)
        )
    matched = np.concatenate([without[drawn], without])
    spread = np.maximum(matched.std(axis=0), 1e-6)
    chosen = strengths != 0
    if idle:
        matched[:, chosen] = (matched.mean(axis=0) + (matched - matched.mean(axis=0)) / 5)[:, chosen]
    values = matched.copy()
    raised = np.abs(strengths) * spread * (1 + 0.2 * rng.standard_normal((int(site.on.sum()), len(strengths))))
    values[site.on] += raised.astype(values.dtype)
    direction = site.along(weights)
    rows = torch.from_numpy(chosen)
    out = site.out.clone()
    out[rows] = (out[rows] - (out[rows] @ direction)[:, None] * direction) / (5 if idle else 1)
    written = torch.from_numpy(strengths / spread).float()[:, None] * direction
    scale = float(size / (strengths * np.abs(strengths)).sum())
    made = site
    for _ in range(30):
        made = replace(site, values=values, out=out + scale * written)
        effect = made.detection(weights)
        reached = effect(values) - effect(np.repeat(values.mean(axis=0, keepdims=True), len(values), axis=0))
        if abs(reached / size - 1) < 0.1:
            break
        scale *= float(np.clip(size / max(reached, 1e-3), 0.5, 2.0))
    return made
