"""Who passes on what a neuron of the layer before the last writes: the direct path, each head and neuron of the last block.

A path is exchanged as in path patching (`paths.Paths`; Wang et al. 2022): one receiver hears the neuron at another level, all
others hear it as it is. Here that is done for ONE token, the one at which the neuron fires, and for what the model predicts
behind it: queries, keys and values of that token, the last MLP there, the final stream there. What later tokens hear of it
through attention is left out, and so is the same neuron at earlier tokens (`Paths.total` has both). All is read from one
forward pass, in closed form, for every neuron of the last layer at once: the step d that the neuron makes in the stream
changes what a last-layer neuron j holds by c_j = f(LN(mid + d) w_j + b_j) - f(LN(mid) w_j + b_j), and a logit direction r at
the final stream s by (r.s + c_j r.o_j) / sigma', with sigma'^2 = sigma^2 + 2 c_j s.o_j / d + c_j^2 |o_j|^2 / d (s, o centred).
A head hears the step in query, key and value, and what the last MLP makes of the head's change is the head's.

The paths are all there is, and each neuron's is exact; they miss the total only by what several do TOGETHER: neurons that hear
the step and a changed head, and the final LayerNorm. Nulls: parts dealt to other tokens, mediators that hear as well and write
as much (`traits`), another neuron. Truth: gates planted in a real model (`plant`). Misleads: a path's effect is on the mean
logit of chosen tokens; the LayerNorm's scale makes the direct path depend on the context, too; and where neurons of one layer
compete (SoLU), a neuron's change includes what the others' changes do to it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.corpus.splits import Rows
from superscope.lms.model import activations
from superscope.lms.model.language_model import LanguageModel, rows_to_tensor
from superscope.lms.model.tail import Tail, mixed
from superscope.lms.shelf import ModelError
from superscope.measure.activations.disambiguation import direction, readers, scale_of, writer


@dataclass(frozen=True)
class Site:
    """The neurons of the layer before the last at n tokens, and what the last block needs to go on from there.

    values (n, d_mlp); stream (n, d) that enters the last block; keys, kept (row, position, head, d_head) of the last block;
    row, position, place (n,): where each token stands in the rows, and in the split.
    """

    model: LanguageModel
    values: Tensor
    stream: Tensor
    keys: Tensor
    kept: Tensor
    row: np.ndarray
    position: np.ndarray
    place: np.ndarray

    @property
    def out(self) -> Tensor:
        """(d_mlp, d) what the neurons write."""
        blocks: Any = self.model.hooked.blocks
        return blocks[self.model.n_layers - 2].mlp.W_out.detach()

    def at(self, chosen: np.ndarray) -> Site:
        """The tokens numbered in `chosen`."""
        some = torch.from_numpy(np.asarray(chosen, dtype=np.int64))
        where = {name: getattr(self, name)[chosen] for name in ("row", "position", "place")}
        return replace(self, values=self.values[some], stream=self.stream[some], **where)


def read(model: LanguageModel, rows: Rows) -> Site:
    """Every token of some rows but BOS. ModelError for models of one layer, without MLPs, with gated MLPs, or with positions
    that are not learned."""
    if model.n_layers < 2 or not model.d_mlp:
        raise ModelError(f"{model.name}: a mediated effect needs two layers with neurons")
    blocks: Any = model.hooked.blocks
    if hasattr(blocks[-1].mlp, "W_gate"):
        raise ModelError(f"{model.name}: neurons behind a gate are not read here")
    last = model.n_layers - 1
    Tail.of(model, rows.tokens[:1], np.zeros(1, dtype=np.int64), last)  # refuses positions that are not learned
    hooks = [
        f"blocks.{last - 1}.mlp.hook_post",
        f"blocks.{last}.hook_resid_pre",
        *(f"blocks.{last}.attn.hook_{x}" for x in "kv"),
    ]
    parts = np.array_split(rows.tokens, max(1, -(-len(rows) // 32)))
    got = [model.activations(rows_to_tensor(part), hooks) for part in parts]
    values, stream, keys, kept = (torch.cat([one[name] for one in got]) for name in hooks)
    row, position = np.nonzero(rows.place >= 0)
    return Site(model, values[row, position], stream[row, position], keys, kept, row, position, rows.place[row, position])


@dataclass(frozen=True)
class Exchange:
    """The neuron at one level (clean) and at another: `delta` (n, d) is added to the stream for those who hear the other."""

    site: Site
    delta: Tensor

    @property
    def block(self) -> Any:
        """The last block."""
        blocks: Any = self.site.model.hooked.blocks
        return blocks[self.site.model.n_layers - 1]

    def _heads(self, stream: Tensor) -> Tensor:
        """(n, head, d) what each head writes where the token's own stream is `stream`."""
        site = self.site
        row, at = torch.from_numpy(site.row), torch.from_numpy(site.position)
        z = mixed(site.model, self.block, stream, stream, site.keys[row], site.kept[row], at)
        return torch.einsum("phe,hed->phd", z, self.block.attn.W_O)

    def _pre(self, middle: Tensor) -> Tensor:
        """(n, d_mlp) what drives the last layer's neurons when they hear the stream `middle`."""
        mlp = self.block.mlp
        out: Tensor = self.block.ln2(middle[:, None])[:, 0] @ mlp.W_in + mlp.b_in
        return out

    def _post(self, middle: Tensor) -> Tensor:
        """(n, d_mlp) what they hold then."""
        mlp = self.block.mlp
        held: Tensor = mlp.act_fn(self._pre(middle)[:, None])
        ln = getattr(mlp, "ln", None)
        return (held if ln is None else ln(held))[:, 0]

    @torch.inference_mode()
    def drives(self) -> tuple[Tensor, Tensor]:
        """(n, d_mlp) the last layer's pre-activations with the neuron clean, and exchanged for them alone."""
        middle = self.site.stream + self._clean[0].sum(dim=1) + self.block.attn.b_O
        return self._pre(middle), self._pre(middle + self.delta)

    @cached_property
    @torch.inference_mode()
    def _clean(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the heads write, what the neurons hold, and the final stream."""
        heads = self._heads(self.site.stream)
        middle = self.site.stream + heads.sum(dim=1) + self.block.attn.b_O
        post = self._post(middle)
        return heads, post, middle + post @ self.block.mlp.W_out + self.block.mlp.b_out

    @cached_property
    @torch.inference_mode()
    def _moved(self) -> Tensor:
        """(n, head, d) by how much each head's writes change when it hears the exchange."""
        return self._heads(self.site.stream + self.delta) - self._clean[0]

    @cached_property
    @torch.inference_mode()
    def responses(self) -> Tensor:
        """(n, d_mlp) by how much the last layer's neurons change when they hear the exchange, and no head does."""
        middle = self.site.stream + self._clean[0].sum(dim=1) + self.block.attn.b_O
        return self._post(middle + self.delta) - self._clean[1]

    @torch.inference_mode()
    def final(self, mediators: Sequence[int] | np.ndarray = (), direct: bool = False) -> Tensor:
        """(n, d) the final stream when these mediators hear the exchange: 0 to d_mlp - 1 are neurons of the last layer,
        d_mlp and up its heads. direct: the final LayerNorm hears it, too."""
        count = self.site.model.d_mlp
        chosen = np.asarray(mediators, dtype=np.int64)
        neurons, heads = torch.from_numpy(chosen[chosen < count]), torch.from_numpy(chosen[chosen >= count] - count)
        middle = self.site.stream + self._clean[0].sum(dim=1) + self._moved[:, heads].sum(dim=1) + self.block.attn.b_O
        post = self._post(middle)
        if len(neurons):
            post[:, neurons] = self._post(middle + self.delta)[:, neurons]
        out: Tensor = middle + post @ self.block.mlp.W_out + self.block.mlp.b_out
        return out + self.delta if direct else out

    @property
    def everyone(self) -> np.ndarray:
        """All mediators."""
        return np.arange(self.site.model.d_mlp + self._clean[0].shape[1])

    @cached_property
    @torch.inference_mode()
    def steps(self) -> Tensor:
        """(n, head, d) by how much the final stream changes when one head hears the exchange."""
        return torch.stack([self.final([one]) - self._clean[2] for one in self.everyone[self.site.model.d_mlp :]], dim=1)

    @torch.inference_mode()
    def log_p(self, stream: Tensor, tokens: np.ndarray) -> Tensor:
        """(..., n) mean log probability of `tokens` at a final stream (..., n, d)."""
        w: Any = self.site.model.hooked
        said = (w.ln_final(stream if stream.ndim == 3 else stream[None]) @ w.W_U + w.b_U).log_softmax(dim=-1)
        out = said[..., torch.from_numpy(np.asarray(tokens))].mean(dim=-1)
        return out if stream.ndim == 3 else out[0]

    @torch.inference_mode()
    def logits(self, stream: Tensor, tokens: np.ndarray) -> Tensor:
        """(n, token) logits of `tokens`, less the mean over the vocabulary."""
        w: Any = self.site.model.hooked
        normed = w.ln_final(stream[:, None])[:, 0]
        chosen = torch.from_numpy(np.asarray(tokens))
        return normed @ (w.W_U[:, chosen] - w.W_U.mean(dim=1, keepdim=True)) + w.b_U[chosen] - w.b_U.mean()

    @torch.inference_mode()
    def raised(self, tokens: np.ndarray) -> np.ndarray:
        """(token,) mean effect of the neuron on each logit, over all paths."""
        moved = self.final(self.everyone, direct=True)
        return (self.logits(self._clean[2], tokens) - self.logits(moved, tokens)).mean(dim=0).numpy()

    @torch.inference_mode()
    def effects(self, tokens: np.ndarray) -> Effects:
        """What the neuron does to the mean logit of `tokens` (less that of all): its clean level less the exchanged one."""
        model = self.site.model
        reads, _ = direction(model, tokens)
        clean = self._clean[2]

        def said(stream: Tensor) -> Tensor:
            return stream @ reads / scale_of(model, stream)

        before = said(clean)
        total = before - said(self.final(self.everyone, direct=True))
        heads = torch.stack([before - said(clean + one) for one in self.steps.unbind(dim=1)], dim=1)
        change, out = self.responses, self.block.mlp.W_out.detach()
        if model.hooked.cfg.normalization_type is None:
            neurons = -change * (out @ reads)
        else:
            centred = clean, out
            if model.hooked.cfg.normalization_type.startswith("LN"):
                centred = clean - clean.mean(dim=1, keepdim=True), out - out.mean(dim=1, keepdim=True)
            width = clean.shape[1]
            square = scale_of(model, clean).square()[:, None]
            square = (
                square + (2 * change * (centred[0] @ centred[1].T) + change.square() * centred[1].square().sum(dim=1)) / width
            )
            neurons = before[:, None] - ((clean @ reads)[:, None] + change * (out @ reads)) / square.clamp_min(1e-12).sqrt()
        return Effects(total, before - said(clean + self.delta), torch.cat([neurons, heads], dim=1), model.d_mlp)

    @torch.inference_mode()
    def gradient(self, stream: Tensor, tokens: np.ndarray) -> Tensor:
        """(n, d) of the mean log probability of `tokens` in the final stream."""
        with torch.inference_mode(False), torch.enable_grad():
            w: Any = self.site.model.hooked
            at = stream.clone().requires_grad_()
            said = (w.ln_final(at[:, None])[:, 0] @ w.W_U.detach() + w.b_U.detach()).log_softmax(dim=-1)
            out = torch.autograd.grad(said[:, torch.from_numpy(np.asarray(tokens))].mean(dim=1).sum(), at)[0]
        return out

    @torch.inference_mode()
    def cut(self, mediators: Sequence[int] | np.ndarray, tokens: np.ndarray) -> float:
        """Nats by which `tokens` become likelier when these mediators, and nobody else, hear the exchange."""
        return float((self.log_p(self.final(mediators), tokens) - self.log_p(self._clean[2], tokens)).mean())

    @torch.inference_mode()
    def strongest(self, tokens: np.ndarray, count: int, given: Sequence[int] = (), tried: int = 10) -> np.ndarray:
        """(count,) mediators of which each alone, cut together with those `given`, raises `tokens` most; the strongest first.
        The `tried` most promising by gradient are tried."""
        out = self.block.mlp.W_out.detach()
        stream = self.final(given) if len(given) else self._clean[2]
        slope = self.gradient(stream, tokens)
        heads = torch.einsum("nhd,nd->h", self.steps, slope) / len(slope)
        promise = torch.cat([(self.responses * (slope @ out.T)).mean(dim=0), heads])
        promise[list(given)] = -torch.inf
        best = torch.argsort(promise, descending=True, stable=True)[: max(tried, count)]
        step = [self.responses[:, k, None] * out[k] if k < len(out) else self.steps[:, k - len(out)] for k in best.tolist()]
        gain = self.log_p(stream + torch.stack(step), tokens).mean(dim=1)
        return best[torch.argsort(gain, descending=True, stable=True)][:count].numpy()

    def worst(self, tokens: np.ndarray, count: int) -> np.ndarray:
        """(count,) mediators whose cut together raises `tokens` most: one after the other, each given those before it."""
        chosen: list[int] = []
        while len(chosen) < count:
            chosen.append(int(self.strongest(tokens, 1, chosen)[0]))
        return np.array(chosen)


@dataclass(frozen=True)
class Effects:
    """Of one neuron on one mean logit: total (n,), direct (n,), and through each mediator (n, d_mlp + heads), the `count`
    neurons of the last layer first."""

    total: Tensor
    direct: Tensor
    through: Tensor
    count: int

    @property
    def mediated(self) -> Tensor:
        """(n,) through all mediators."""
        return self.through.sum(dim=1)


def exchange(site: Site, neuron: int, means: Tensor, level: float | None = None) -> Exchange:
    """The neuron at its mean over text, means (d_mlp,), in place of where it is; or of `level`, to which it is set first."""
    held, out = site.values[:, neuron], site.out[neuron]
    if level is not None:
        site = replace(site, stream=site.stream + (level - held)[:, None] * out)
        held = torch.full_like(held, level)
    return Exchange(site, (means[neuron] - held)[:, None] * out)


def traits(one: Exchange) -> Tensor:
    """(mediator, 2) what mediators are matched in, as logarithms: how well each is placed to hear the step, |W.d| / |W||d| with
    its input weights W (of a neuron the cosine, of a head its values'), and how much its writes vary at the site."""
    block, step = one.block, one.delta[one.delta.norm(dim=1).argmax()]
    step = step / step.norm()
    heads, post, _ = one._clean
    w_in, w_v = block.mlp.W_in.detach(), block.attn.W_V.detach()
    hears = torch.cat(
        [(step @ w_in).abs() / w_in.norm(dim=0), torch.einsum("d,hde->he", step, w_v).norm(dim=1) / w_v.norm(dim=(1, 2))]
    )
    spread = (heads - heads.mean(dim=0)).norm(dim=2).square().mean(dim=0).sqrt()
    varies = torch.cat([post.std(dim=0) * block.mlp.W_out.detach().norm(dim=1), spread])
    return torch.stack([hears, varies], dim=1).clamp_min(1e-6).log()


def residues(held: Sequence[Effects], rng: np.random.Generator) -> np.ndarray:
    """(3, contexts) over several groups of contexts: the total effect less its mean; less what direct path and mediators make
    of it; the same with the mediated parts dealt to other contexts."""
    total, direct, mediated = (
        torch.cat(parts).numpy() for parts in ([e.total for e in held], [e.direct for e in held], [e.mediated for e in held])
    )
    rest = total - direct
    return np.stack([total - total.mean(), rest - mediated, rest - rng.permutation(mediated)])


def gating(responses: np.ndarray) -> tuple[float, float]:
    """Sums over mediators of the difference of both senses' responses (sense, mediator), and of their sizes: their ratio is 0
    where a step passes alike in both, 1 where each passes it in one sense alone or with opposite signs."""
    return float(np.abs(responses[0] - responses[1]).sum()), float(np.abs(responses).sum())


# --------------------------------------------------------------------------------------------------------------- plants


@dataclass(frozen=True)
class Planted:
    """A model with `neurons` in the layer before the last that read two concepts and write both token sets and a mark, and of
    each `gates` in the last layer that read the mark AND a concept: four of the first sense, then four of the second; two take
    off the other sense's tokens, two add the own sense's. alone: the gates write nothing. heedless: they hear the mark alone,
    as if the concept were always there, so that they answer the neuron in both senses."""

    model: LanguageModel
    alone: LanguageModel
    heedless: LanguageModel
    neurons: list[int]
    gates: list[list[int]]


def _quiet(varies: Tensor, attention: Any, gain: Tensor) -> Tensor:
    """(d, d - 1) directions of a layer's normalised input, those first in which it hardly varies and which its heads hardly
    hear; what centring takes away is left out."""
    heads = torch.cat([getattr(attention, f"W_{x}").detach().movedim(0, 1).flatten(1) for x in "QKV"], dim=1) * gain[:, None]
    heard = heads @ heads.T
    basis = torch.linalg.eigh(varies)[1][:, 1:]
    both = basis.T @ (varies / varies.trace() + heard / heard.trace()) @ basis
    out: Tensor = basis @ torch.linalg.eigh(both)[1]
    return out


def plant(
    model: LanguageModel,
    rows: Rows,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    tokens: Sequence[tuple[np.ndarray, np.ndarray]],
    direct: float = 0.3,
    added: float = 0.8,
    strengths: Sequence[float] = (1.0, 0.6),
    weight: float = 3.0,
    loud: float = 1.0,
) -> Planted:
    """In place of the idlest neurons: for each of `pairs`, two (n,) bool over the rows' tokens but BOS, a neuron that fires on
    both (on the second at .7 of the drive) and by itself raises the token sets of both by `direct` nats; where one concept is
    there and the neuron fires, gates of unequal `strengths` take that off again for the other's tokens, and add `added` nats to
    the own.

    Concepts are read by linear discriminants of what a layer hears, with the noise that they have; the mark is a direction in
    which the last layer's input hardly varies. weight: of a gate's concept, where the mark at its mean has 1. ModelError
    for layers that are more than one matrix in, a nonlinearity, and one matrix out.
    """
    last = model.n_layers - 1
    blocks: Any = model.hooked.blocks
    if any(hasattr(block.mlp, "W_gate") or hasattr(block.mlp, "ln") for block in blocks[-2:]):
        raise ModelError(f"{model.name}: neurons are planted where layers read a stream through one matrix only")

    def middles(one: LanguageModel, layers: Sequence[int], more: Sequence[str] = ()) -> tuple[list[Tensor], dict[str, Tensor]]:
        names = [*(f"blocks.{k}.hook_resid_mid" for k in layers), *more]
        got = activations.values(one, rows, {name: name for name in names})
        return [got[name] for name in names[: len(layers)]], got

    def normed(layer: int, middle: Tensor) -> Tensor:
        with torch.inference_mode():
            out: Tensor = blocks[layer].ln2(middle[:, None])[:, 0]
        return out.clone()

    posts = [f"blocks.{k}.mlp.hook_post" for k in (last - 1, last)]
    (low, high), got = middles(model, [last - 1, last], [*posts, f"blocks.{last}.hook_resid_post"])
    first, second = normed(last - 1, low), normed(last, high)
    sigma = float(scale_of(model, got[f"blocks.{last}.hook_resid_post"]).mean())
    spread = float(scale_of(model, high).mean())
    places, idle = (
        torch.argsort((got[name] - got[name].mean(dim=0)).abs().mean(dim=0) * blocks[k].mlp.W_out.norm(dim=1)).tolist()
        for k, name in zip((last - 1, last), posts, strict=True)
    )
    every = np.concatenate([np.concatenate(both) for both in tokens])
    gain, before = (getattr(norm, "w", torch.ones(second.shape[1])).detach() for norm in (blocks[last].ln2, blocks[last].ln1))
    quiet = _quiet(torch.cov(second.T), blocks[last].attn, before / gain)
    made: Any = copy.deepcopy(model.hooked)
    lower, upper = (made.blocks[k].mlp for k in (last - 1, last))
    reader, middle = readers(first), first.mean(dim=0)
    full = float(lower.act_fn(torch.tensor([2.5])))
    with torch.no_grad():
        for k, ((one, other), (of_one, of_other)) in enumerate(zip(pairs, tokens, strict=True)):
            reads = reader(one) + 0.7 * reader(other)
            writes = writer(model, of_one, every, sigma) + writer(model, of_other, every, sigma)
            lower.W_in[:, places[k]], lower.b_in[places[k]] = 4 * reads, -1.5 - 4 * float(reads @ middle)
            lower.W_out[places[k]] = (direct * writes + loud * spread * quiet[:, k] / gain) / full
    changed = replace(model, name=f"{model.name} (planted)", hooked=made, origin="control")
    second = normed(last, middles(changed, [last])[0][0])
    reader, middle = readers(second), second.mean(dim=0)
    share = np.asarray(strengths) / np.sum(strengths)
    sharp = 2.0
    gates: list[list[int]] = []
    deaf, lone = copy.deepcopy(made), copy.deepcopy(made)
    with torch.no_grad():
        for k, (both, sets) in enumerate(zip(pairs, tokens, strict=True)):
            gates.append([])
            off = float(second[torch.from_numpy(~both[0] & ~both[1])].mean(dim=0) @ quiet[:, k])
            marks = [float(second[torch.from_numpy(on)].mean(dim=0) @ quiet[:, k]) - off for on in both]
            for sense, on in enumerate(both):
                mark = quiet[:, k] / marks[sense]
                heavy = weight * max(1.0, marks[1 - sense] / marks[sense])  # a loud mark alone opens no gate
                reads, threshold = heavy * reader(on), heavy + 0.2
                gated = [-direct * part * writer(model, sets[1 - sense], every, sigma) for part in share]
                gated += [added * part * writer(model, sets[sense], every, sigma) for part in share]
                base = float(mark @ quiet[:, k]) * off + threshold
                heard = second[torch.from_numpy(on)]
                silent = sharp * (heard @ reads - float(reads @ middle) - threshold)
                swing = (upper.act_fn(silent + sharp * (heard @ mark - base + threshold)) - upper.act_fn(silent)).mean()
                for write in gated:
                    gate = idle.pop(0)
                    gates[-1].append(gate)
                    upper.W_in[:, gate], upper.W_out[gate] = sharp * (mark + reads), write / swing
                    upper.b_in[gate] = -sharp * (base + float(reads @ middle))
                    alone = deaf.blocks[last].mlp
                    alone.W_in[:, gate], alone.W_out[gate] = sharp * mark, write / swing
                    alone.b_in[gate] = -sharp * (base - heavy)
    with torch.no_grad():
        lone.blocks[last].mlp.W_out[[one for group in gates for one in group]] = 0
    return Planted(changed, replace(changed, hooked=lone), replace(changed, hooked=deaf), places[: len(pairs)], gates)
