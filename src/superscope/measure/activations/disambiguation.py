"""What keeps the tokens of a neuron's other sense out of a prediction: neurons that oppose them, other parts, or loudness.

A `Site` is the last layer's MLP at n tokens. What comes after it is a sum, a LayerNorm and a softmax, so the mean log
probability of a set of tokens is, exactly, a sum over parts (Elhage et al. 2021): of the neuron, the other neurons, attention,
the direct path from the embedding, earlier layers, the biases, and two that are no component: the softmax's normaliser and,
between two contexts, the scale of the LayerNorm. Logits are taken less their mean over the vocabulary, because what
moves all of them together does nothing.

Nulls: other neurons of the same norm and activity (`alike`), values exchanged between contexts (`gap`), another seed at the
same tokens, permuted labels. Truth: neurons planted with and without opposers (`plant`). Misleads: a part's share is what it
writes directly; in a model that predicts well all parts together suppress whatever does not follow, so that opposers
of ANY wrong token exist, whether or not a neuron pushes it; and shares of a gap near zero have no meaning.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.corpus.splits import Rows
from superscope.lms.model import activations
from superscope.lms.model.language_model import LanguageModel
from superscope.lms.shelf import ModelError

NEURON, OTHERS, ATTENTION, DIRECT, EARLIER, BIASES, SCALE, SOFTMAX = PARTS = (
    "the neuron", "other neurons", "attention", "direct path", "earlier MLPs", "biases", "LayerNorm", "softmax",
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """values (n, d_mlp) what the last layer's neurons hold; out (d_mlp, d) what they write; streams: part -> (n, d) what else
    is in the final stream, biases included; place (n,) where in the split each token stands."""

    model: LanguageModel
    values: Tensor
    out: Tensor
    streams: dict[str, Tensor]
    place: np.ndarray

    def at(self, chosen: np.ndarray) -> Site:
        """The tokens numbered in `chosen`."""
        rows = torch.from_numpy(np.asarray(chosen, dtype=np.int64))
        streams = {name: one[rows] for name, one in self.streams.items()}
        return replace(self, values=self.values[rows], streams=streams, place=self.place[np.asarray(chosen)])

    def stream(self) -> Tensor:
        """(n, d) the final residual stream."""
        out: Tensor = sum(self.streams.values(), self.values @ self.out)
        return out

    @torch.inference_mode()
    def log_p(self) -> Tensor:
        """(n, vocabulary) log probabilities of the next token."""
        w: Any = self.model.hooked
        logits = w.ln_final(self.stream()[:, None])[:, 0] @ w.W_U + w.b_U
        return logits.log_softmax(dim=-1)

    def ablated(self, neurons: np.ndarray | Sequence[int], means: Tensor) -> Site:
        """With these neurons at their mean over text, means (d_mlp,)."""
        values = self.values.clone()
        values[:, list(neurons)] = means[list(neurons)]
        return replace(self, values=values)


def read(model: LanguageModel, rows: Rows) -> Site:
    """Every token of some rows but BOS. ModelError for a model without MLPs, and where the last layer's writes are no sum of
    its neurons (SoLU with a LayerNorm behind it is: its neurons are read behind that)."""
    if not model.d_mlp:
        raise ModelError(f"{model.name} is attention-only: it has no neurons")
    last = model.n_layers - 1
    hooks = {"values": f"blocks.{last}.mlp.hook_post", "embed": "hook_embed"}
    if model.hooked.cfg.positional_embedding_type == "standard":
        hooks["positions"] = "hook_pos_embed"
    hooks |= {f"attention {one}": f"blocks.{one}.hook_attn_out" for one in range(model.n_layers)}
    hooks |= {f"MLP {one}": f"blocks.{one}.hook_mlp_out" for one in range(last)}
    positions = hooks.pop("positions", None)
    got = activations.values(model, rows, hooks)
    w: Any = model.hooked
    biases = sum((block.attn.b_O.detach() for block in w.blocks), w.blocks[last].mlp.b_out.detach())
    attention = sum(got[f"attention {one}"] for one in range(model.n_layers))
    attention = attention - sum(block.attn.b_O.detach() for block in w.blocks)
    direct = got["embed"]
    if positions:
        where = np.broadcast_to(np.arange(rows.tokens.shape[1]), rows.tokens.shape)[rows.place >= 0]
        direct = direct + w.W_pos.detach()[torch.from_numpy(where.copy())]
    streams = {ATTENTION: attention, DIRECT: direct, BIASES: biases.expand_as(direct)}
    if last:
        streams[EARLIER] = sum((got[f"MLP {one}"] for one in range(1, last)), got["MLP 0"])
    return Site(model, got["values"], w.blocks[last].mlp.W_out.detach(), streams, rows.place[rows.place >= 0])


def direction(model: LanguageModel, tokens: np.ndarray) -> tuple[Tensor, float]:
    """(d,) what reads the mean logit of a set of tokens, less that of all, from the stream over the LayerNorm's scale; and what
    the biases add to it."""
    w: Any = model.hooked
    kind = w.cfg.normalization_type
    chosen = torch.from_numpy(np.asarray(tokens, dtype=np.int64))
    column = (w.W_U[:, chosen].mean(dim=1) - w.W_U.mean(dim=1)).detach()
    constant = float(w.b_U[chosen].mean() - w.b_U.mean())
    if kind == "LN":
        constant += float(column @ w.ln_final.b.detach())
    if kind in ("LN", "RMS"):
        column = column * w.ln_final.w.detach()
    return (column - column.mean() if kind in ("LN", "LNPre") else column), constant


def scale(site: Site) -> Tensor:
    """(n,) what the final LayerNorm divides by."""
    return scale_of(site.model, site.stream())


def scale_of(model: LanguageModel, stream: Tensor) -> Tensor:
    """(...) what a LayerNorm of this model divides a stream (..., d) by."""
    cfg: Any = model.hooked.cfg
    if cfg.normalization_type is None:
        return torch.ones(stream.shape[:-1])
    if cfg.normalization_type.startswith("LN"):
        stream = stream - stream.mean(dim=-1, keepdim=True)
    return (stream.square().mean(dim=-1) + cfg.eps).sqrt()


@torch.inference_mode()
def parts(site: Site, neuron: int, tokens: np.ndarray, common: float | None = None) -> dict[str, Tensor]:
    """Part -> (n,) of the mean log probability of `tokens`; they add up to it.

    common: one scale of the LayerNorm for all; what the true one makes of it is then a part of its own (0 without).
    """
    reads, constant = direction(site.model, tokens)
    sigma = scale(site)
    over = sigma if common is None else torch.full_like(sigma, common)
    chosen = torch.from_numpy(np.asarray(tokens, dtype=np.int64))
    own = site.values[:, neuron] * float(site.out[neuron] @ reads)
    raw = {NEURON: own, OTHERS: site.values @ (site.out @ reads) - own}
    raw |= {name: one @ reads for name, one in site.streams.items()}
    out = {name: one / over for name, one in raw.items()}
    out[BIASES] = out[BIASES] + constant
    total: Tensor = sum(raw.values(), torch.zeros_like(sigma))
    out[SCALE] = total / sigma - total / over
    mean_logit = (total / sigma) + constant
    out[SOFTMAX] = site.log_p()[:, chosen].mean(dim=1) - mean_logit
    return out


@torch.inference_mode()
def contributions(site: Site, tokens: np.ndarray, means: Tensor) -> Tensor:
    """(d_mlp,) mean over the site of what each neuron adds to the tokens' mean logit, about what it adds at its mean."""
    reads, _ = direction(site.model, tokens)
    return ((site.values - means) / scale(site)[:, None]).mean(dim=0) * (site.out @ reads)


def opposers(site: Site, neuron: int | None, tokens: np.ndarray, means: Tensor, count: int) -> np.ndarray:
    """(count,) the neurons that lower the tokens most at this site, the strongest first; not `neuron` itself."""
    written = contributions(site, tokens, means).clone()
    if neuron is not None:
        written[neuron] = torch.inf
    return torch.argsort(written, stable=True)[:count].numpy()


@torch.inference_mode()
def raises(site: Site, neuron: int) -> np.ndarray:
    """(vocabulary,) by how much a neuron raises each logit, less the mean of all, per unit of activation over the scale."""
    w: Any = site.model.hooked
    kind, written = w.cfg.normalization_type, site.out[neuron]
    if kind in ("LNPre", "LN"):
        written = written - written.mean()
    up = (written * w.ln_final.w if kind in ("LN", "RMS") else written) @ w.W_U
    return (up - up.mean()).numpy()


def alike(site: Site, chosen: np.ndarray, means: Tensor, neuron: int, rng: np.random.Generator, nearest: int = 8) -> np.ndarray:
    """For each chosen neuron another one drawn from the `nearest` in output norm and activity at this site, all different."""
    traits = torch.stack([site.out.norm(dim=1), (site.values - means).abs().mean(dim=0)], dim=1).clamp_min(1e-9).log()
    return nearby(traits, chosen, [*chosen, neuron], rng, nearest)


def nearby(traits: Tensor, chosen: np.ndarray, banned: Sequence[int], rng: np.random.Generator, nearest: int = 8) -> np.ndarray:
    """For each chosen unit another one, not `banned`, drawn from the `nearest` in standardised traits (unit, trait); all
    different."""
    scaled = ((traits - traits.mean(dim=0)) / traits.std(dim=0).clamp_min(1e-9)).numpy()
    taken = np.zeros(len(scaled), dtype=bool)
    taken[list(banned)] = True
    out = []
    for one in chosen:
        far = np.where(taken, np.inf, np.linalg.norm(scaled - scaled[one], axis=1))
        pick = int(rng.choice(np.argsort(far, kind="stable")[:nearest]))
        out.append(pick)
        taken[pick] = True
    return np.array(out)


def rise(site: Site, tokens: np.ndarray, neurons: np.ndarray, means: Tensor, before: Tensor | None = None) -> float:
    """Nats by which the tokens' mean log probability rises when these neurons are set to their means. before: the site's own
    log probabilities, where they are known."""
    chosen = torch.from_numpy(np.asarray(tokens, dtype=np.int64))
    before = site.log_p() if before is None else before
    return float((site.ablated(neurons, means).log_p()[:, chosen] - before[:, chosen]).mean())


def gap(tried: Site, other: Site, neuron: int, tokens: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """By how many nats the tokens are less likely at `tried` than at `other` ("gap"), part by part (they add up to it but for
    "residue"); and what is left of it, and of the part of the other neurons ("others ..."), when each token gets the other
    neurons' values of a token drawn from both sites ("exchanged"), or from its own ("within")."""
    common = float(torch.cat([scale(tried), scale(other)]).mean())
    chosen, n = torch.from_numpy(np.asarray(tokens, dtype=np.int64)), len(tried.place)

    def between(low: Site, high: Site) -> dict[str, float]:
        one, two = (parts(site, neuron, tokens, common) for site in (low, high))
        return {part: float(two[part].mean() - one[part].mean()) for part in one}

    each = between(tried, other)
    whole = float(other.log_p()[:, chosen].mean() - tried.log_p()[:, chosen].mean())
    out = {**dict.fromkeys(PARTS, 0.0), **each, "gap": whole, "residue": abs(whole - sum(each.values()))}
    pool = torch.cat([tried.values, other.values])
    orders = {
        "exchanged": rng.permutation(len(pool)),
        "within": np.concatenate([rng.permutation(n), n + rng.permutation(len(pool) - n)]),
    }
    for name, order in orders.items():
        mixed = pool[torch.from_numpy(order)].clone()
        mixed[:, neuron] = pool[:, neuron]
        left = between(replace(tried, values=mixed[:n]), replace(other, values=mixed[n:]))
        out |= {f"gap {name}": sum(left.values()), f"others {name}": left[OTHERS]}
    return out


# --------------------------------------------------------------------------------------------------------------- senses


def likeness(one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> float:
    """How much of two samples of labels (n,) is shared, over what two random halves of one sample share: 0 to about 1.

    The overlap coefficient of both histograms, at equal sample sizes; the ceiling is the geometric mean over both samples.
    """
    size = min(len(one), len(other)) // 2
    if size < 1:
        return float("nan")
    top = int(max(one.max(), other.max())) + 1
    halves = [np.split(rng.permutation(labels)[: 2 * size], 2) for labels in (one, other)]
    counted = [[np.bincount(half, minlength=top) / size for half in pair] for pair in halves]

    def shared(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.minimum(a, b).sum())

    between = np.mean([shared(a, b) for a in counted[0] for b in counted[1]])
    ceiling = np.sqrt(shared(*counted[0]) * shared(*counted[1]))
    return float(between / ceiling) if ceiling else float("nan")


def heralded(
    after: np.ndarray, beside: np.ndarray, overall: np.ndarray, most: int = 20, fewest: int = 5, lift: float = 3.0
) -> np.ndarray:
    """Tokens (at most `most`, the commonest first) that follow a sense at least `fewest` times, `lift` times as often as they
    follow anything, and the other sense no more often than anything. Counts (vocabulary,) after the sense, after the
    other, and overall."""
    rates = [one / max(one.sum(), 1) for one in (after, beside, overall)]
    good = (after >= fewest) & (rates[0] >= lift * rates[2]) & (rates[1] <= rates[2])
    order = np.argsort(-np.where(good, after, -1), kind="stable")[:most]
    return order[good[order]]


def spared(loud: Sequence[np.ndarray], heard: Sequence[np.ndarray], effect: Sequence[np.ndarray], width: float = 2.5) -> float:
    """Collateral of ablating a neuron in the range of one sense alone, over that of ablating it everywhere, for an equal effect
    on the target; mean over which sense is the target.

    After NeuronLens (Haider et al., arXiv 2502.06809): the range is the mean and `width` standard deviations either way.
    loud: of both senses, activations the ranges are fitted on; heard, effect: activations and effects of full ablation on
    other tokens. 1: the range tells nothing; 0: the other sense is untouched.
    """
    out = []
    for target, other in ((0, 1), (1, 0)):
        middle, spread = loud[target].mean(), width * loud[target].std()
        hit = [float(effect[k][np.abs(heard[k] - middle) <= spread].sum() / effect[k].sum()) for k in (target, other)]
        out.append(hit[1] / hit[0] if hit[0] else 1.0)
    return float(np.mean(out))


# --------------------------------------------------------------------------------------------------------------- plants


@dataclass(frozen=True)
class Planted:
    """A model with neurons that read two concepts and write both token sets; `opposers` of each, of the second set first."""

    model: LanguageModel
    neurons: list[int]
    opposers: list[list[int]]


def rerun(site: Site, model: LanguageModel) -> Site:
    """The site of a model that differs in its last layer's neurons alone, without running what comes before. ModelError for
    layers that are more than one matrix in, a nonlinearity, and one matrix out."""
    block = _plain(model)
    with torch.inference_mode():
        middle = sum(site.streams.values()) - block.mlp.b_out
        values = block.mlp.act_fn(block.ln2(middle[:, None])[:, 0] @ block.mlp.W_in + block.mlp.b_in)
    return replace(site, model=model, values=values, out=block.mlp.W_out.detach())


def _plain(model: LanguageModel) -> Any:
    block: Any = model.hooked.blocks[model.n_layers - 1]
    if hasattr(block.mlp, "W_gate") or hasattr(block.mlp, "ln") or model.hooked.cfg.parallel_attn_mlp:
        raise ModelError(f"{model.name}: neurons are planted where a layer reads a stream through one matrix only")
    return block


def readers(heard: Tensor) -> Callable[[np.ndarray], Tensor]:
    """From what a layer hears (n, d), a function of (n,) bool that gives the direction (d,) of the linear discriminant: 1 on
    those tokens and 0 on all, on the average."""
    middle = heard.mean(dim=0)
    inverse = torch.linalg.inv(torch.cov(heard.T) + 1e-4 * torch.eye(heard.shape[1]))

    def reader(on: np.ndarray) -> Tensor:
        away = heard[torch.from_numpy(on)].mean(dim=0) - middle
        weights = inverse @ away
        return weights / float(weights @ away)

    return reader


def writer(model: LanguageModel, which: np.ndarray, every: np.ndarray, sigma: float) -> Tensor:
    """(d,) that raises the mean logit of the tokens by one against that of the others in `every`, at a scale `sigma`."""
    reads = direction(model, which)[0] - direction(model, np.setdiff1d(every, which))[0]
    return reads * sigma / float(reads @ reads)


def plant(
    site: Site,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    tokens: Sequence[tuple[np.ndarray, np.ndarray]],
    push: float,
    strengths: Sequence[float] = (1.0, 0.6),
    quieter: float = 0.7,
) -> Planted:
    """In place of the idlest neurons of the last layer: for each of `pairs`, two (n,) bool over the site's tokens, a neuron
    that reads both (the second at `quieter` of the first) and raises the token sets of both by about `push` nats where it fires
    on the first; and for either set opposers of unequal `strengths` that read the other concept alone and take off `push`.

    Read is the direction of a linear discriminant of the layer's normalised input; written is what tells the token set from
    tokens as frequent, so that no other common token is moved.
    """
    model, block = site.model, _plain(site.model)
    with torch.inference_mode():
        heard = block.ln2((sum(site.streams.values()) - block.mlp.b_out)[:, None])[:, 0]
    sigma = float(scale(site).mean())
    idle = torch.argsort((site.values - site.values.mean(dim=0)).abs().mean(dim=0) * site.out.norm(dim=1)).tolist()
    hooked = copy.deepcopy(model.hooked)
    mlp: Any = hooked.blocks[model.n_layers - 1].mlp
    middle, reader = heard.mean(dim=0), readers(heard)
    every = np.concatenate([np.concatenate(both) for both in tokens])

    def writes(which: np.ndarray) -> Tensor:
        return writer(model, which, every, sigma)

    gain, threshold = 4.0, 1.5  # on the concept 2.5, elsewhere silent
    full = float(mlp.act_fn(torch.tensor([gain - threshold])))
    share = np.asarray(strengths) / np.sum(strengths)
    neurons, opposing = [], []
    with torch.no_grad():
        for (first, second), (of_first, of_second) in zip(pairs, tokens, strict=True):
            one, other = reader(first), reader(second)
            plan = [(one + quieter * other, writes(of_first) + writes(of_second))]
            plan += [(one, -part * writes(of_second)) for part in share]
            plan += [(other, -part * writes(of_first)) for part in share]
            places = [idle.pop(0) for _ in plan]
            for place, (reads, write) in zip(places, plan, strict=True):
                mlp.W_in[:, place], mlp.W_out[place] = gain * reads, push / full * write
                mlp.b_in[place] = -threshold - gain * float(reads @ middle)
            neurons.append(places[0])
            opposing.append(places[1:])
    made = replace(model, name=f"{model.name} (planted)", hooked=hooked, origin="control")
    return Planted(made, neurons, opposing)
