"""K-composition: what one head writes into the keys of later heads (Elhage et al. 2021), as weights and on a running model.

`KeyCircuit` is the path of a pair of tokens (i asks, j was written): read_j W_V W_O N W_K (read_i W_Q + b_Q)^T, N being the
centring and the weights of the receiver's LayerNorm, whose scale (one positive number a position) is left out. Its SVD over
all receivers at once orders what the sender writes by what they do with it (Eckart and Young 1936). `KeyPath` changes what the
keys of the receivers, and nobody else, hear of the sender, on repeated random strings (path patching, Wang et al. 2022).

Null: the same number of random directions inside what attention writes (`write_space`), not of the whole stream, most of
which no head writes to. Misleads where receivers learn of the previous token by another path: read `KeyPath.worth` first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.model import attention
from superscope.lms.model.language_model import LanguageModel, rows_to_tensor
from superscope.measure.activations import heads
from superscope.measure.activations.paths import Head
from superscope.measure.weights import circuits


@dataclass(frozen=True)
class KeyCircuit:
    """What a sender writes of every token and how receivers' queries read it: the logit of head h for query token i and
    written token j is codes[j] @ heard[h, :, i], up to the LayerNorm's scale and what is the same for every j.

    codes: (token, r) in the sender's value space, about their mean; output: (r, d) its W_O, centred as a LayerNorm does;
    heard: (head, r, token).
    """

    codes: np.ndarray
    output: np.ndarray
    heard: np.ndarray

    @cached_property
    def svd(self) -> circuits.CircuitSVD:
        """Over all receivers at once; what every query token asks alike is left out."""
        centred = self.heard - self.heard.mean(axis=2, keepdims=True)
        return circuits.circuit_svd(self.codes, np.concatenate(list(centred), axis=1))

    @cached_property
    def _mixing(self) -> np.ndarray:
        """(r, r): codes = left @ mixing."""
        return np.asarray(self.svd.left.T @ self.codes)

    def keep(self, k: int) -> np.ndarray:
        """(d, d) map of what the sender writes to its part in the `k` leading directions: the one that truncates the circuit
        to its best rank-k approximation. Oblique: orthogonal where tokens' codes are white."""
        inside = np.linalg.pinv(self._mixing)[:, :k] @ self._mixing[:k]
        return np.asarray(np.linalg.pinv(self.output) @ inside @ self.output)

    def frame(self, k: int) -> np.ndarray:
        """(k, d) orthonormal: the subspace of the stream in which the `k` leading directions are written."""
        return np.asarray(np.linalg.qr((self._mixing[:k] @ self.output).T)[0].T)

    def random_inside(self, k: int, rng: np.random.Generator) -> np.ndarray:
        """(d, d) like `keep`, with `k` random directions of the sender's own: a null that knows where the sender writes."""
        turned = np.linalg.qr(rng.standard_normal(self._mixing.shape))[0] @ self._mixing
        inside = np.linalg.pinv(turned)[:, :k] @ turned[:k]
        return np.asarray(np.linalg.pinv(self.output) @ inside @ self.output)

    def identified(self, margin: float = 0.0) -> np.ndarray:
        """(head,) share of query tokens whose largest logit is for the same token written, ahead by `margin` of its lead over
        the mean: diagonal dominance."""
        return np.array([circuits.identified(one.T, self.codes.T, margin) for one in self.heard])


def key_circuit(model: LanguageModel, sender: Head, layer: int, receivers: list[int], contexts: int, seed: int) -> KeyCircuit:
    """The circuit from a head to the keys of heads `receivers` of a later `layer`; what each end reads of a token is its mean
    over random contexts (`heads.token_inputs`)."""
    said = heads.token_inputs(model, sender.layer, contexts, seed)[0]
    asked = heads.token_inputs(model, layer, contexts, seed)[0]
    return circuit_between(model, sender, layer, receivers, said, asked)


def circuit_between(
    model: LanguageModel, sender: Head, layer: int, receivers: list[int], said: np.ndarray, asked: np.ndarray
) -> KeyCircuit:
    """The same for given inputs (token, d) of the sender's values and of the receivers' queries."""
    w: Any = model.hooked
    first, then = w.blocks[sender.layer].attn, w.blocks[layer].attn
    codes = said @ _numpy(first.W_V)[sender.head]
    output = _numpy(first.W_O)[sender.head]
    output = output - output.mean(axis=1, keepdims=True)
    weight = norm_weight(model, layer)
    heard = np.stack([
        output * weight @ _numpy(then.W_K)[h] @ (asked @ _numpy(then.W_Q)[h] + _numpy(then.b_Q)[h]).T for h in receivers
    ])  # fmt: skip
    return KeyCircuit(codes - codes.mean(axis=0), output, heard)


def norm_weight(model: LanguageModel, layer: int) -> np.ndarray:
    """(d,) weights of the LayerNorm before a layer's attention (ones where it has none)."""
    norm: Any = model.hooked.blocks[layer].ln1  # type: ignore[index]
    return _numpy(norm.w) if hasattr(norm, "w") else np.ones(model.d_model)


@dataclass(frozen=True)
class KeyPath:
    """A model on repeated random strings; `receivers` of `layer` hear in their keys what `sender` writes, changed.

    tokens: (row, 1 + 2 period), see `attention.repeated_tokens`. A change is (row, position, d), added to the stream that the
    keys of the receivers read; their LayerNorm sees it. BOS, where heads rest, is left as it is.
    """

    model: LanguageModel
    tokens: Tensor
    period: int
    sender: Head
    layer: int
    receivers: tuple[int, ...]

    def on(self, rows: slice) -> KeyPath:
        """The same on some of the rows."""
        return replace(self, tokens=self.tokens[rows])

    @cached_property
    def _values(self) -> dict[str, Tensor]:
        ends = [f"blocks.{self.layer}.hook_resid_pre", f"blocks.{self.layer}.attn.hook_q", "hook_pos_embed"]
        return self.model.activations(self.tokens, [*ends, f"blocks.{self.sender.layer}.attn.hook_z"])

    def written(self, head: int) -> Tensor:
        """(row, position, d) what a head of the sender's layer writes, about its mean behind BOS; 0 at BOS."""
        layer: Any = self.model.hooked.blocks[self.sender.layer]  # type: ignore[index]
        out = self._values[f"blocks.{self.sender.layer}.attn.hook_z"][:, :, head] @ layer.attn.W_O[head].detach()
        out = out - out[:, 1:].mean(dim=(0, 1))
        out[:, 0] = 0
        return out

    def keys(self, change: Tensor | float = 0.0) -> Tensor:
        """(row, position, receiver, d_head)."""
        w: Any = self.model.hooked
        block, which = w.blocks[self.layer], list(self.receivers)
        with torch.inference_mode():
            read = block.ln1(self._values[f"blocks.{self.layer}.hook_resid_pre"] + change)
            if w.cfg.positional_embedding_type == "shortformer":
                read = read + self._values["hook_pos_embed"]
            return torch.einsum("rpd,hde->rphe", read, block.attn.W_K[which]) + block.attn.b_K[which]

    def pattern(self, change: Tensor | float = 0.0) -> Tensor:
        """(row, receiver, query, key) attention."""
        query = self._values[f"blocks.{self.layer}.attn.hook_q"][:, :, list(self.receivers)]
        scores = torch.einsum("rqhe,rkhe->rhqk", query, self.keys(change)) / float(self.model.hooked.cfg.attn_scale)
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)

    def prefix(self, change: Tensor | float = 0.0) -> Tensor:
        """(row, receiver, query of the second copy) attention to the token behind the first occurrence."""
        queries = torch.arange(1 + self.period, self.tokens.shape[1])
        return self.pattern(change)[:, :, queries, queries - self.period + 1]

    def change(self, kept: np.ndarray) -> Tensor:
        """The change that leaves of the sender's write x its mean and `kept` (d, d): (x - mean) @ (kept - 1)."""
        left = torch.from_numpy(kept - np.eye(len(kept))).float()
        return self.written(self.sender.head) @ left

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """Prefix matching without the sender and with it, mean over receivers."""
        return float(self.prefix(-self.written(self.sender.head)).mean()), float(self.prefix().mean())

    @property
    def worth(self) -> float:
        """Share of the receivers' prefix matching that goes when they hear the sender's mean alone."""
        return 1 - self._ends[0] / self._ends[1]

    def kept(self, kept: np.ndarray) -> float:
        """Share of what the sender is worth to the attention that is left when they hear `kept` (d, d) of it; NaN when it is
        worth nothing."""
        without, whole = self._ends
        if without == whole:
            return float("nan")
        return (float(self.prefix(self.change(kept)).mean()) - without) / (whole - without)

    def loss(self, change: Tensor | float = 0.0) -> float:
        """Nats per token of the second copy (from its second token on, which can be known)."""
        new, which = self.keys(change), list(self.receivers)

        def put(value: Tensor, hook: Any = None) -> Tensor:
            value = value.clone()
            value[:, :, which] = new
            return value

        return float(self.model.loss(self.tokens, [(f"blocks.{self.layer}.attn.hook_k", put)])[:, 1 + self.period :].mean())

    @cached_property
    def _losses(self) -> tuple[float, float]:
        return self.loss(-self.written(self.sender.head)), self.loss()

    def kept_gain(self, kept: np.ndarray) -> float:
        """The same for the loss on repeats: 1 with all of it, 0 with its mean."""
        without, whole = self._losses
        return (without - self.loss(self.change(kept))) / (without - whole)

    def directions_for(self, circuit: KeyCircuit, share: float) -> int:
        """The fewest leading directions that keep `share` of the attention, by bisection."""
        low, high = 0, len(circuit.output)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.kept(circuit.keep(middle)) >= share else (middle, high)
        return high

    def moved(self, write: Tensor, loudness: float) -> float:
        """How far the attention to the prefix moves, mean of |difference|, when `write` (row, position, d) is added to what
        the keys read, made `loudness` loud (root mean square over positions behind BOS)."""
        size = write[:, 1:].square().sum(dim=-1).mean().sqrt()
        return float((self.prefix(write * (loudness / size)) - self.prefix()).abs().mean())


def write_space(model: LanguageModel, text: np.ndarray, before: int, share: float = 0.99) -> np.ndarray:
    """(m, d) orthonormal: principal directions that hold `share` of the variance of everything that attention writes in the
    layers before layer `before` on `text` (row, position), centred as a LayerNorm does."""
    names = [f"blocks.{layer}.hook_attn_out" for layer in range(before)]
    values = model.activations(rows_to_tensor(text), names)
    rows = np.concatenate([values[name][:, 1:].double().flatten(0, 1).numpy() for name in names])
    rows = rows - rows.mean(axis=1, keepdims=True)
    spread, frame = np.linalg.eigh(np.cov(rows.T))
    total = np.cumsum(spread[::-1])
    return np.asarray(frame[:, ::-1][:, : int(np.searchsorted(total / total[-1], share) + 1)].T)


def _numpy(value: Tensor) -> np.ndarray:
    return np.asarray(value.detach().double().numpy())


def previous_token_scores(model: LanguageModel, tokens: Tensor) -> np.ndarray:
    """(layer, head) mean attention to the token just before."""
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.n_layers)]
    patterns = model.activations(tokens, names)
    return np.array([attention.previous_token(patterns[name]).numpy() for name in names])


def mistaken_for(
    model: LanguageModel, layer: int, receivers: list[int], frame: np.ndarray, asked: np.ndarray, asks: np.ndarray
) -> np.ndarray:
    """(pair,) for every query token of `asks` (pair,) another token, whose OWN embedding, through its part in the subspace
    `frame` (k, d) alone, looks most like a key that follows the query token to the receivers together.

    asked: (token, d), what the queries read of a token.
    """
    w: Any = model.hooked
    attn = w.blocks[layer].attn
    own = _numpy(w.W_E)
    own = own - own.mean(axis=1, keepdims=True)
    own = (own - own.mean(axis=0)) @ frame.T @ frame * norm_weight(model, layer)
    each = (
        (asked[asks] @ _numpy(attn.W_Q)[h] + _numpy(attn.b_Q)[h]) @ (own @ _numpy(attn.W_K)[h]).T for h in receivers
    )  # fmt: skip
    logits = np.asarray(sum(each))
    logits[np.arange(len(asks)), asks] = -np.inf
    logits[:, model.tokenizer.bos] = -np.inf
    return np.asarray(logits.argmax(axis=1))


def attention_between(
    model: LanguageModel, layer: int, receivers: list[int], asks: np.ndarray, keys: np.ndarray, length: int, seed: int
) -> float:
    """Mean attention of the receivers from tokens `asks` (pair,), last in strings of `length` random tokens, to tokens `keys`
    (pair,) in their middle. Neither occurs anywhere else, so an induction head has nothing to look for."""
    rng = np.random.default_rng([seed, length, len(asks)])
    tokens = rng.integers(0, int(model.hooked.cfg.d_vocab), (len(asks), length + 1))
    taken = (tokens == asks[:, None]) | (tokens == keys[:, None]) | (tokens == model.tokenizer.bos)
    tokens[taken] = int(np.setdiff1d(np.arange(int(model.hooked.cfg.d_vocab)), [*asks, *keys, model.tokenizer.bos])[0])
    middle = (length + 1) // 2
    tokens[:, 0], tokens[:, middle], tokens[:, -1] = model.tokenizer.bos, keys, asks
    hook = f"blocks.{layer}.attn.hook_pattern"
    return float(model.activations(rows_to_tensor(tokens), [hook])[hook][:, receivers, -1, middle].mean())


def edited(
    model: LanguageModel, layer: int, head: int, **change: np.ndarray | Callable[[np.ndarray], np.ndarray]
) -> LanguageModel:
    """A copy of a model with some weights of one head replaced, or changed: W_K=lambda w: 2 * w."""
    hooked = copy.deepcopy(model.hooked)
    attn: Any = hooked.blocks[layer].attn  # type: ignore[index]
    with torch.no_grad():
        for name, make in change.items():
            old = getattr(attn, name)
            new = make(_numpy(old[head])) if callable(make) else make
            old[head] = torch.from_numpy(np.array(new)).to(old.dtype)
    return replace(model, name=f"{model.name} (edited)", hooked=hooked, origin="control")


def planted_message(
    path: KeyPath, said: np.ndarray, asked: np.ndarray, rank: int, rng: np.random.Generator, noise: float = 0.2
) -> LanguageModel:
    """The model with K-composition of rank `rank` written by hand into the sender and the receivers; all else is as it was,
    where the sender attends to included.

    Tokens get white random codes (linear in what the sender reads), written as loud as the trained message, with gains 1 to .4,
    along random directions on which positional embeddings are not read; queries are the least-squares fit to the same codes,
    loud enough for the prefix matching that the trained heads have on average. All four matrices have noise in every entry,
    `noise` of their largest direction. What others write along these directions is read, too: nothing keeps it out.
    """
    model, d = path.model, path.model.d_model
    w: Any = model.hooked
    width = int(w.cfg.d_head)
    _, s, vt = np.linalg.svd(said - said.mean(axis=0), full_matrices=False)
    m = max(rank, int((s > 0.1 * s[0]).sum()))
    value = vt[:m].T / s[:m] * len(said) ** 0.5 @ np.linalg.qr(rng.standard_normal((m, rank)))[0]  # (d, rank)
    codes = (said - said.mean(axis=0)) @ value
    weight = norm_weight(model, path.layer)
    quiet = [np.ones((1, d))]
    if w.cfg.positional_embedding_type == "shortformer":
        where = _numpy(w.W_pos)
        quiet.append(np.linalg.svd(where - where.mean(axis=0), full_matrices=False)[2][:8] / weight)
    away = np.linalg.qr(np.concatenate(quiet).T)[0]
    raw = rng.standard_normal((d, rank))
    frame = np.linalg.qr(raw - away @ (away.T @ raw))[0].T  # (rank, d)
    gain = np.geomspace(1, 0.4, rank)
    loud = float(path.written(path.sender.head)[:, 1:].square().sum(dim=-1).mean().sqrt())
    gain = gain * loud / np.linalg.norm(gain)

    def wide(columns: np.ndarray) -> np.ndarray:
        """(d, d_head): the planted columns, and noise in all entries."""
        out = np.zeros((len(columns), width))
        out[:, : columns.shape[1]] = columns
        size = noise * np.linalg.norm(columns, axis=0).max() / len(columns) ** 0.5
        return out + size * rng.standard_normal(out.shape)

    query = np.linalg.lstsq(asked - asked.mean(axis=0), codes, rcond=1e-5)[0]
    sent = edited(model, path.sender.layer, path.sender.head, W_V=wide(value), W_O=wide(frame.T * gain).T)
    new_keys = {h: wide(frame.T / weight[:, None]) for h in path.receivers}
    new_queries = {h: wide(query) for h in path.receivers}
    wanted, best = float(path.prefix().mean()), (np.inf, model)
    for loudness in np.geomspace(0.25, 64, 9):
        made = sent
        for h in path.receivers:
            asking = loudness * new_queries[h]
            bias = -asked.mean(axis=0) @ asking
            made = edited(made, path.layer, h, W_K=new_keys[h], W_Q=asking, b_Q=bias, b_K=np.zeros(width))
        gap = abs(float(replace(path, model=made).prefix().mean()) - wanted)
        best = min(best, (gap, made), key=lambda one: one[0])
    return best[1]
