"""Adversarial text and adversarial directions for one neuron of the last layer.

Prompts: words are put into the text before the current token, which stays, as does the length (the far end falls off).
The words are those that mark one of the neuron's senses (`words_of`); the text is one of its other sense. `attack` tries many
insertions and keeps the one that makes the neuron loudest: it never looks at the prediction. What may follow is then measured:
how much likelier the tokens of the inserted sense become, and how much of that is left when the neuron is held at its mean
(`Ends.odds`), which it is behind the insertion: in the last layer nobody else hears it.

Null: words as frequent (`alike`), searched as often by the same neuron, so that search is no advantage; another neuron held. A
ceiling: the search looks at the prediction. Planted: neurons that read such words. Misleads: words of a sense raise its tokens
by other ways, too (that is what context is for), so only what goes through the neuron is due to its being shared.

Directions: what the layer hears is moved by a fixed length (`ascent` is gradient ascent on it, after Madry et al. 2018);
nothing else hears the change. Stevinson et al. (arXiv 2510.11709) and Gorton and Lewis (2508.17456): in toys such attacks go
along interfering features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.corpus.splits import Split
from superscope.lms.model.language_model import LanguageModel
from superscope.lms.shelf import ModelError
from superscope.measure.activations import lookups

REACH = 8  # tokens before the current one, in which words of a sense stand and words are put


# ------------------------------------------------------------------------------------------------------------ running


@dataclass(frozen=True)
class Ends:
    """The last layer at the last token of n texts: middle (n, d) the stream before its MLP, values (n, d_mlp) its neurons."""

    model: LanguageModel
    middle: Tensor
    values: Tensor

    def only(self, chosen: np.ndarray) -> Ends:
        """The texts numbered in `chosen`, or of a mask (n,) bool."""
        rows = torch.from_numpy(chosen)
        return Ends(self.model, self.middle[rows], self.values[rows])

    @torch.inference_mode()
    def odds(self, tokens: np.ndarray, held: Mapping[int, float] | None = None) -> np.ndarray:
        """(n,) log odds that one of `tokens` is next (a probability has a ceiling); held: neuron -> value it is held at."""
        values = self.values
        if held:
            values = values.clone()
            values[:, list(held)] = torch.tensor(list(held.values()), dtype=values.dtype)
        return _odds(self.model, self.middle, values, tokens).numpy()


def _odds(model: LanguageModel, middle: Tensor, values: Tensor, tokens: np.ndarray) -> Tensor:
    w: Any = model.hooked
    mlp = w.blocks[model.n_layers - 1].mlp
    logits = w.ln_final((middle + values @ mlp.W_out + mlp.b_out)[:, None])[:, 0] @ w.W_U + w.b_U
    wanted = torch.zeros(logits.shape[1], dtype=torch.bool)
    wanted[torch.from_numpy(np.asarray(tokens, dtype=np.int64))] = True
    return logits[:, wanted].logsumexp(dim=-1) - logits[:, ~wanted].logsumexp(dim=-1)


@torch.inference_mode()
def ends(model: LanguageModel, texts: np.ndarray, batch: int = 256) -> Ends:
    """texts (n, position) token ids, BOS first. ModelError for MLPs that are not a matrix, a nonlinearity and a matrix."""
    last = model.n_layers - 1
    block: Any = model.hooked.blocks[last]
    if hasattr(block.mlp, "W_gate") or hasattr(block.mlp, "ln") or model.hooked.cfg.parallel_attn_mlp:
        raise ModelError(f"{model.name}: its last layer reads the stream through more than one matrix")
    kept: dict[str, list[Tensor]] = {"middle": [], "values": []}

    def keep(name: str) -> Callable[..., None]:
        return lambda value, hook: kept[name].append(value[:, -1].clone())

    hooks: list[Any] = [(f"blocks.{last}.hook_resid_mid", keep("middle")), (f"blocks.{last}.mlp.hook_post", keep("values"))]
    for start in range(0, len(texts), batch):
        some = torch.from_numpy(np.asarray(texts[start : start + batch], dtype=np.int64))
        model.check_tokens(some)
        model.hooked.run_with_hooks(some, return_type=None, fwd_hooks=hooks, stop_at_layer=model.n_layers)
    return Ends(model, torch.cat(kept["middle"]), torch.cat(kept["values"]))


# ------------------------------------------------------------------------------------------------------------ text


def before(split: Split, place: np.ndarray, length: int, bos: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1 + length) BOS and the `length` tokens that end at each place, of those whose document holds as many; and (m,) bool:
    which of the places those are."""
    start = np.asarray(place) - length + 1
    whole = start >= 0
    whole &= split.document[np.maximum(start, 0)] == split.document[place]
    texts = split.tokens[start[whole, None] + np.arange(length)].astype(np.int64)
    whole[np.flatnonzero(whole)[(texts == bos).any(axis=1)]] = False
    texts = texts[~(texts == bos).any(axis=1)]
    return np.concatenate([np.full((len(texts), 1), bos), texts], axis=1), whole


def words_of(
    split: Split, place: np.ndarray, least: float = 3.0, fewest: int = 5, most: int = 60
) -> tuple[np.ndarray, np.ndarray]:
    """(word,) tokens that stand within `REACH` before these places at least `fewest` times and `least` times as often as
    anywhere, those with the most occurrences first; and (vocabulary,) how often they do, over how often anywhere."""
    near = np.unique(np.asarray(place)[:, None] - np.arange(REACH + 1))
    near = near[near >= 0]
    size = int(split.tokens.max()) + 1
    here, every = (np.bincount(tokens, minlength=size) for tokens in (split.tokens[near], split.tokens))
    lift = (here / max(len(near), 1)) / np.maximum(every / len(split.tokens), 1e-12)
    lift[every == 0] = 0
    good = (here >= fewest) & (lift >= least)
    order = np.argsort(-np.where(good, here, -1), kind="stable")[:most]
    return order[good[order]], lift


def alike(split: Split, words: np.ndarray, lift: np.ndarray, banned: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each word another token about as frequent, not more common near the sense than anywhere (lift up to 1.5), not
    `banned`, none twice."""
    every = np.log(np.bincount(split.tokens, minlength=len(lift)) + 0.5)
    open_ = (lift <= 1.5) & (every > np.log(1))
    open_[words] = False
    open_[banned[banned < len(lift)]] = False
    out = []
    for word in words:
        far = np.where(open_, np.abs(every - every[word]), np.inf)
        pick = int(rng.choice(np.argsort(far, kind="stable")[:6]))
        out.append(pick)
        open_[pick] = False
    return np.array(out, dtype=np.int64)


def inserted(texts: np.ndarray, words: np.ndarray, at: np.ndarray) -> np.ndarray:
    """texts (n, 1 + length) with `words` (n, m) put in `at` (n,) >= 1 tokens before the end; as many fall off behind BOS."""
    n, m = words.shape
    out = np.empty_like(texts)
    for i in range(n):
        row = texts[i, 1:]
        cut = len(row) - at[i]
        out[i, 0] = texts[i, 0]
        out[i, 1:] = np.concatenate([row[m:cut], words[i], row[cut:]])
    return out


# ------------------------------------------------------------------------------------------------------------ attacks


Score = Callable[[Ends], np.ndarray]
"""What an attack makes large, (n,) of the ends of its texts: the activation of a neuron (`loudness`), or the prediction."""


@dataclass(frozen=True)
class Found:
    """texts (n, position) with the insertion that was chosen; words (n, m); what the model holds at their ends."""

    texts: np.ndarray
    words: np.ndarray
    at: Ends


def attack(
    model: LanguageModel, texts: np.ndarray, words: np.ndarray, count: int, tries: int, rng: np.random.Generator,
    score: Score,
) -> Found:  # fmt: skip
    """For each text the best of `tries` insertions of `count` of the words."""
    n = len(texts)
    many = np.repeat(texts, tries, axis=0)
    some = words[rng.integers(len(words), size=(n * tries, count))]
    made = inserted(many, some, rng.integers(1, REACH + 1, size=n * tries))
    at = ends(model, made)
    best = np.asarray(score(at)).reshape(n, tries).argmax(axis=1) + np.arange(n) * tries
    return Found(made[best], some[best], at.only(best))


def loudness(neuron: int) -> Score:
    """Score of an attack: how loud a neuron is."""
    return lambda at: at.values[:, neuron].numpy()


def gains(model: LanguageModel, texts: np.ndarray, changed: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """(n,) nats of log odds by which `tokens` are likelier behind the changed texts (n, position) than behind `texts`."""
    return ends(model, changed).odds(tokens) - ends(model, texts).odds(tokens)


# ------------------------------------------------------------------------------------------------------------ directions


@dataclass(frozen=True)
class Heard:
    """What the neurons of the last layer hear at n tokens, behind its LayerNorm: heard (n, d); middle (n, d) the stream."""

    model: LanguageModel
    middle: Tensor
    heard: Tensor

    @property
    def reads(self) -> Tensor:
        """(d, d_mlp)."""
        block: Any = self.model.hooked.blocks[self.model.n_layers - 1]
        return block.mlp.W_in.detach()  # type: ignore[no-any-return]

    def odds(self, tokens: np.ndarray, moved: Tensor) -> Tensor:
        """(n,) log odds that one of `tokens` is next when what is heard is moved by (n, d) or (d,)."""
        mlp: Any = self.model.hooked.blocks[self.model.n_layers - 1].mlp
        return _odds(self.model, self.middle, mlp.act_fn((self.heard + moved) @ mlp.W_in + mlp.b_in), tokens)

    def rise(self, tokens: np.ndarray, direction: Tensor, length: float) -> float:
        """Mean nats that moving along a direction (n, d) or (d,) by `length` adds to `tokens`."""
        unit = direction / direction.norm(dim=-1, keepdim=True)
        with torch.inference_mode():
            still = torch.zeros_like(self.heard)
            return float((self.odds(tokens, length * unit) - self.odds(tokens, still)).mean())


@torch.inference_mode()
def hear(at: Ends) -> Heard:
    """What the neurons hear at these ends."""
    return Heard(at.model, at.middle, lookups.heard(at.model, at.middle))


def ascent(heard: Heard, tokens: np.ndarray, length: float, steps: int = 10) -> Tensor:
    """(n, d) change of that length which gradient ascent finds for each token to make `tokens` likelier."""
    moved = torch.zeros_like(heard.heard)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        gradient = torch.autograd.grad(heard.odds(tokens, moved).sum(), moved)[0]
        moved = moved.detach() + length / 3 * gradient / gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
        size = moved.norm(dim=1, keepdim=True)
        moved = moved * (length / size).clamp(max=1.0)
    return moved.detach()
