"""Attention heads: what their circuits do. OV and QK circuits are products of the weights (Elhage et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.model import attention
from superscope.lms.model.language_model import LanguageModel
from superscope.measure.weights import circuits


def copying_score(weights_ov: Tensor) -> float:
    """sum(eigenvalues) / sum(|eigenvalues|) of a square (token, token) or (d, d) circuit (Elhage et al. 2021).

    +1 when the circuit only copies, 0 +- a few hundredths for a random one, -1 when it only suppresses. Give it a low-rank
    factor's small product: the non-zero eigenvalues of A B are those of B A.
    """
    values = torch.linalg.eigvals(weights_ov.double())
    total = float(values.abs().sum())
    return float(values.real.sum()) / total if total else 0.0


def random_copying_scores(d_model: int, rank: int, draws: int, seed: int) -> np.ndarray:
    """(draws,) copying scores of random rank-`rank` circuits in `d_model` dimensions: the null of `copying_score`.

    For rank 32 in 128 dimensions the mean is 0.006 and the standard deviation 0.046.
    """
    rng = np.random.default_rng([seed, d_model, rank])
    pairs = rng.normal(size=(draws, 2, d_model, rank))
    return np.array([copying_score(torch.from_numpy(b.T @ a)) for a, b in pairs])


@dataclass(frozen=True)
class Heads:
    """Some heads of one layer, taken together: what they write is one vector, and no one reads them apart.

    value: (head, d, d_head) W_V, bias: (head, d_head) b_V, output: (head, d_head, d) W_O; weight: (head,) how much of its
    attention each gives to the token that is to be copied.
    """

    layer: int
    value: np.ndarray
    bias: np.ndarray
    output: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, model: LanguageModel, layer: int, heads: list[int], weight: np.ndarray) -> Heads:
        """The heads `heads` of a layer, with the weights (head,) given."""
        attn: Any = model.hooked.blocks[layer].attn  # type: ignore[index]
        value, bias, output = (getattr(attn, n).detach().double().numpy()[heads] for n in ("W_V", "b_V", "W_O"))
        return cls(layer, value, bias, output, np.asarray(weight, dtype=float))

    def only(self, which: list[int]) -> Heads:
        """Some of them."""
        return replace(self, **{n: getattr(self, n)[which] for n in ("value", "bias", "output", "weight")})

    def shuffled(self, which: list[int], rng: np.random.Generator) -> Heads:
        """With the entries of W_V permuted in those named: as loud as before, and saying nothing."""
        value = self.value.copy()
        for head in which:
            value[head] = rng.permutation(value[head].ravel()).reshape(value[head].shape)
        return replace(self, value=value)

    def redrawn(self, rng: np.random.Generator) -> Heads:
        """With Gaussian matrices of the same size: a random circuit."""
        value, output = (rng.standard_normal(w.shape) * w.std() for w in (self.value, self.output))
        return replace(self, value=value, output=output)

    @property
    def rank(self) -> int:
        """Dimensions that the heads have together."""
        return min(self.value.shape[0] * self.value.shape[2], self.value.shape[1])

    def written(self, read: np.ndarray) -> np.ndarray:
        """(token, d) what they add to the stream at a position that attends to a token whose input is `read` (token, d)."""
        each = zip(self.value, self.bias, self.output, self.weight, strict=True)
        return np.asarray(sum(weight * ((read @ value + bias) @ output) for value, bias, output, weight in each))


def prefix_scores(model: LanguageModel, tokens: Tensor, period: int) -> np.ndarray:
    """(layer, head) prefix matching on `attention.repeated_tokens` of that period."""
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.n_layers)]
    patterns = model.activations(tokens, names)
    return np.array([attention.prefix_matching(patterns[name], period).numpy() for name in names])


def induction_layer(scores: np.ndarray, threshold: float) -> tuple[int, list[int]]:
    """The layer of the head with the highest prefix matching, and its heads above `threshold`, best first."""
    layer = int(scores.max(axis=1).argmax())
    order = np.argsort(-scores[layer], kind="stable")
    return layer, [int(head) for head in order if scores[layer, head] > threshold] or [int(order[0])]


def token_inputs(model: LanguageModel, layer: int, contexts: int, seed: int) -> tuple[np.ndarray, float]:
    """What heads of a layer read of every token: (vocabulary, d) the mean of LN(stream) over contexts, and the share of the
    variance that is between tokens (the rest is what earlier layers add about the context).

    The contexts are random strings in which every token but BOS occurs `contexts` times. In layer 0 with shortformer positions
    the share is 1: the embedding alone. BOS is read where it stands, at the beginning.
    """
    w: Any = model.hooked
    rng = np.random.default_rng([seed, layer, contexts])
    bos, vocabulary = model.tokenizer.bos, int(w.cfg.d_vocab)
    others = np.delete(np.arange(vocabulary), bos)
    string = np.concatenate([rng.permutation(others) for _ in range(contexts)])
    length = model.n_ctx - 1
    rows = np.resize(string, (-(-len(string) // length), length))  # the last row is filled up from the first
    tokens = torch.from_numpy(np.insert(rows, 0, bos, axis=1))
    sums, squares, count = np.zeros((vocabulary, model.d_model)), 0.0, np.zeros(vocabulary)
    hook = f"blocks.{layer}.hook_resid_pre"
    for part in tokens.split(32):
        with torch.inference_mode():
            read = w.blocks[layer].ln1(model.activations(part, [hook])[hook]).double().numpy()
        flat, ids = read.reshape(-1, model.d_model), part.numpy().ravel()
        np.add.at(sums, ids, flat)
        squares += float((flat[ids != bos] ** 2).sum())
        count += np.bincount(ids, minlength=vocabulary)
    mean = sums / count[:, None]
    known, weight = mean[others], count[others, None]
    middle = (known * weight).sum(axis=0) / weight.sum()
    between = float((weight * (known - middle) ** 2).sum())
    total = squares - float(weight.sum() * (middle**2).sum())
    return mean, between / total


@dataclass(frozen=True)
class TokenCode:
    """What heads write of every token, and how it is read: logits = codes @ readout + offset, up to the final norm's scale.

    codes: (token, r), the token-dependent part, in orthonormal coordinates of the space it spans in the stream (weighted as the
    final LayerNorm weights it); readout: (r, token); offset: (token,) what is said of every token alike.
    """

    codes: np.ndarray
    readout: np.ndarray
    offset: np.ndarray

    @cached_property
    def svd(self) -> circuits.CircuitSVD:
        """Of the token-dependent circuit."""
        return circuits.circuit_svd(self.codes, self.readout)

    @property
    def copying(self) -> float:
        """Eigenvalue copying score, from the small product."""
        return copying_score(torch.from_numpy(self.readout @ self.codes))

    def identified(self, margin: float = 0.0, noise: float = 0.0, seed: int = 0) -> float:
        """See `circuits.identified`."""
        return circuits.identified(self.codes, self.readout, margin, noise, seed, self.offset)


def unembedding(model: LanguageModel) -> np.ndarray:
    """(d, vocabulary) from the centred, weighted stream to logits less their mean, which no softmax sees."""
    read = model.hooked.W_U.detach().double().numpy()
    return np.asarray(read - read.mean(axis=1, keepdims=True))


def normalised(model: LanguageModel, written: np.ndarray) -> np.ndarray:
    """(..., d) `written` as the final LayerNorm passes it on, but for its scale and bias."""
    kind, final = model.hooked.cfg.normalization_type, model.hooked.ln_final
    if kind in ("LN", "LNPre"):
        written = written - written.mean(axis=-1, keepdims=True)
    return np.asarray(written * final.w.detach().double().numpy() if kind in ("LN", "RMS") else written)  # type: ignore[operator]


def token_code(model: LanguageModel, heads: Heads, read: np.ndarray) -> TokenCode:
    """The code of `heads` for inputs `read` (token, d), through the model's own unembedding."""
    return code_of(normalised(model, heads.written(read)), unembedding(model))


def code_of(written: np.ndarray, readout: np.ndarray) -> TokenCode:
    """`TokenCode` of vectors (token, d) and a read-out (d, token)."""
    middle = written.mean(axis=0)
    u, s, vt = np.linalg.svd(written - middle, full_matrices=False)
    r = int((s > 1e-9 * max(s[0], 1e-300)).sum())
    return TokenCode(u[:, :r] * s[:r], vt[:r] @ readout, middle @ readout)


def least_squares_heads(model: LanguageModel, heads: Heads, read: np.ndarray, lead: float, rng: np.random.Generator) -> Heads:
    """Heads in place of `heads` that copy by construction: the least-squares map of their joint rank, its directions dealt out
    among them and 20 % too strong or weak, so loud that a token's own logit leads by about `lead` nats (at scale 1)."""
    readout = unembedding(model)
    weight = normalised(model, np.eye(model.d_model))
    best = circuits.least_squares_map(read - read.mean(axis=0), weight @ readout, heads.rank)
    n, _, d_head = heads.value.shape
    k = len(best.values)
    gains = best.values * rng.uniform(0.8, 1.2, k)
    into = np.linalg.lstsq(read - read.mean(axis=0), best.left * gains, rcond=1e-5)[0]  # (d, rank)
    out = np.linalg.lstsq((weight @ readout).T, best.right, rcond=1e-5)[0].T  # (rank, d)
    own = np.einsum("tr,tr->t", best.left * gains, best.right)
    order = rng.permutation(k)
    value, output = np.zeros_like(heads.value), np.zeros_like(heads.output)
    for head, part in enumerate(np.array_split(order, n)):
        part = part[:d_head]
        value[head, :, : len(part)] = into[:, part]
        output[head, : len(part)] = out[part] * lead / float(np.median(own)) / max(heads.weight[head], 1e-9)
    return replace(heads, value=value, output=output, bias=np.zeros_like(heads.bias))


@dataclass(frozen=True)
class Spoken:
    """What heads alone say of the token to come, at every place (n,) where it can be known: `own` logit and that of the
    `runner_up`, both less the mean over the vocabulary, and the `probability` behind a softmax over their logits alone."""

    own: np.ndarray
    runner_up: np.ndarray
    probability: np.ndarray

    @property
    def margin(self) -> np.ndarray:
        """(n,) nats."""
        return self.own - self.runner_up


def spoken_of(logits: np.ndarray, target: np.ndarray) -> Spoken:
    """`Spoken` of logits (n, vocabulary) and the tokens to come (n,)."""
    logits = logits - logits.mean(axis=1, keepdims=True)
    row, top = np.arange(len(target)), logits.max(axis=1)
    own = logits[row, target].copy()
    share = np.exp(own - top) / np.exp(logits - top[:, None]).sum(axis=1)
    logits[row, target] = -np.inf
    return Spoken(own, logits.max(axis=1), share)


@dataclass(frozen=True)
class Repeats:
    """A model on repeated random strings: attention and inputs of one layer, and the final LayerNorm's scale, as they are in
    the whole model; `spoken` puts other weights into the heads and keeps all that."""

    model: LanguageModel
    tokens: Tensor
    period: int
    layer: int

    @cached_property
    def _values(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the layer's values read, its attention patterns, and the final LayerNorm's scale (1 without one)."""
        w: Any = self.model.hooked
        stream, pattern = (f"blocks.{self.layer}.{end}" for end in ("hook_resid_pre", "attn.hook_pattern"))
        names = [name for name in (stream, pattern, "ln_final.hook_scale") if name in w.hook_dict]
        values = self.model.activations(self.tokens, names)
        with torch.inference_mode():
            read = w.blocks[self.layer].ln1(values[stream])
        scale = values.get("ln_final.hook_scale", torch.ones(*self.tokens.shape, 1))
        return read.double().numpy(), values[pattern].double().numpy(), scale.double().numpy()

    @property
    def second(self) -> slice:
        """The positions at which the first copy tells what comes next."""
        return slice(1 + self.period, 2 * self.period)

    @property
    def scale(self) -> float:
        """The final LayerNorm's scale there, median."""
        return float(np.median(self._values[2][:, self.second]))

    def spoken(self, heads: Heads, which: list[int]) -> Spoken:
        """`heads` at the attention of the heads numbered `which`, in the second copy. (Their `weight` is not used.)"""
        read, pattern, scale = self._values
        seen = pattern[:, which, self.second].swapaxes(0, 1)  # (head, row, query, key)
        each = zip(heads.value, heads.bias, heads.output, seen, strict=True)
        written = np.asarray(sum((there @ (read @ value + bias)) @ output for value, bias, output, there in each))
        written = normalised(self.model, written) / scale[:, self.second]
        target = self.tokens[:, 2 + self.period : 1 + 2 * self.period].numpy().ravel()
        return spoken_of(written.reshape(-1, written.shape[-1]) @ unembedding(self.model), target)


def fitted_map(codes: np.ndarray, readout: np.ndarray, rank: int, steps: int, seed: int) -> circuits.CircuitSVD:
    """A circuit of rank `rank` between codes (token, d) and a read-out (d, token), fitted to identify: cross-entropy by Adam
    from the least-squares map, the rate falling to 0. What can be had at this rank, or nearly."""
    start = circuits.least_squares_map(codes, readout, rank)
    n = len(codes)
    left, right = (circuits.orthonormal(x) * n**0.5 for x in (codes, readout.T))
    ends = (left.T @ start.left / n**0.5, right.T @ start.right / n**0.5)
    gain = (20 * start.values / (start.values**2).sum()) ** 0.5  # own logits of 20 nats on average
    a, b = (torch.tensor(end * gain, dtype=torch.float32, requires_grad=True) for end in ends)
    x, y = (torch.tensor(end, dtype=torch.float32) for end in (left, right))
    optimiser = torch.optim.Adam([a, b], lr=0.01)
    draw = torch.Generator().manual_seed(seed)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.01 * (1 - step / steps)
        batch = torch.randint(n, (512,), generator=draw)
        loss = torch.nn.functional.cross_entropy((x[batch] @ a) @ (y @ b).T, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return circuits.circuit_svd(left @ a.detach().double().numpy(), b.detach().double().numpy().T @ right.T)
