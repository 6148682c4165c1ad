"""Do features that share a direction get in each other's way when both are on? Words spliced into real text, and what is read.

A feature is "this word stands a few tokens back". `Splices` puts the first, the second, both or neither word of a pair into the
same contexts, so that what a word does is a difference within a context: of the stream that the last layer reads at the last
position (`state`), and of the final stream there (`output`). In `alone` only that state is changed, and the last layer cannot
look back at the word itself. Output differences are measured by what they do to the prediction: `logit_metric` turns the final
stream into coordinates whose inner product is the covariance of two changes of the logits under the mean prediction, twice the
second order of the KL divergence.

Reading. w from one half of the contexts, tried on the other, then the halves change places; a reading of 1 is what the word
does alone. Tied reader: w is the mean effect itself (the read-out of the toy models). Probe: the linear reader of least error
on neither, the one and the other word, which never saw both. `cross_talk` is what the other word adds to a reading: for the
tied reader of an additive stream cos |d_B| / |d_A|, however the model reads. Output overlap can also be meaning: `slope` takes
out the overlap that other trained seeds have.

Null: pairs of words whose effects are as large and do not overlap. Planted: `answered`, the same states read by hand.
Misleads where a word's effect is smaller than what contexts make of it: keep words whose effect is `reliable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.corpus.splits import Split
from superscope.lms.model.language_model import LanguageModel, rows_to_tensor

BATCH = 512  # rows run at once


@dataclass(frozen=True)
class Ends:
    """(row, d) the stream before the last layer at the last position, about its mean over dimensions, and the final one there
    (behind the last LayerNorm)."""

    state: np.ndarray
    final: np.ndarray

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        return self.state, self.final


def run(model: LanguageModel, tokens: np.ndarray, add: np.ndarray | None = None) -> Ends:
    """tokens (row, position); add (row, d) is added to the state at the last position."""
    hook, end = (f"blocks.{model.n_layers - 1}.hook_resid_{which}" for which in ("pre", "post"))
    states: list[Tensor] = []
    finals: list[Tensor] = []
    rows = rows_to_tensor(tokens)
    extra = None if add is None else torch.from_numpy(np.asarray(add, dtype=np.float32))
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            part = slice(start, start + BATCH)

            def before(value: Tensor, hook: Any = None, part: slice = part) -> Tensor:
                if extra is not None:
                    value = value.clone()
                    value[:, -1] += extra[part]
                states.append(value[:, -1].clone())
                return value

            def after(value: Tensor, hook: Any = None) -> None:
                finals.append(model.hooked.ln_final(value[:, -1:])[:, 0])

            model.hooked.run_with_hooks(
                rows[part], return_type=None, stop_at_layer=model.n_layers, fwd_hooks=[(hook, before), (end, after)]
            )
    state, final = (torch.cat(parts).double().numpy() for parts in (states, finals))
    return Ends(state - state.mean(axis=1, keepdims=True), final)


def log_probs(model: LanguageModel, final: np.ndarray) -> np.ndarray:
    """(row, vocabulary) of final streams (row, d)."""
    with torch.inference_mode():
        logits = model.hooked.unembed(torch.from_numpy(final).float()[:, None])[:, 0]
        return np.asarray(logits.log_softmax(dim=-1).double().numpy())


def logit_metric(model: LanguageModel, final: np.ndarray) -> np.ndarray:
    """(d, d) R with (x R) . (y R) = covariance, under the mean prediction of `final` (row, d), of the changes of the logits
    that the changes x and y of the final stream make."""
    weight = np.exp(log_probs(model, final)).mean(axis=0)
    rows = model.hooked.W_U.detach().double().numpy()
    rows = rows - (rows @ weight)[:, None]
    values, vectors = np.linalg.eigh((rows * weight) @ rows.T)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


def frequent_words(text: Split, count: int) -> np.ndarray:
    """(word,) the most frequent tokens of a text that are a space and three letters or more."""
    often = np.bincount(text.tokens.astype(np.int64))
    names = [text.tokenizer.decode([one]) for one in range(len(often))]
    words = [one for one, name in enumerate(names) if len(name) > 3 and name[0] == " " and name[1:].isalpha()]
    return np.array(sorted(words, key=lambda one: -often[one])[:count])


@dataclass(frozen=True)
class Splices:
    """Contexts (context, length), BOS first, each of another document; `places` (context, 2) is where a pair's first and second
    word go. Other words stand there otherwise, the same in all kinds of a context."""

    model: LanguageModel
    tokens: np.ndarray
    places: np.ndarray

    def put(self, first: int | None = None, second: int | None = None) -> np.ndarray:
        """(context, length) with one, both or neither word in its place."""
        out, at = self.tokens.copy(), np.arange(len(self.tokens))
        for column, word in enumerate((first, second)):
            if word is not None:
                out[at, self.places[:, column]] = word
        return out


def splices(
    model: LanguageModel, text: Split, words: np.ndarray, count: int, length: int, back: tuple[int, int], seed: int
) -> Splices:
    """`count` contexts of real text, one a document. The pair's places are `back` tokens before the last one, in turn."""
    rng = np.random.default_rng([seed, count, length])
    rows = text.rows(length, seed=seed)
    first = np.unique(text.document[rows.place[:, 1]], return_index=True)[1]
    if len(first) < count:
        raise ValueError(f"{count} contexts of {length} tokens were asked for; the text has {len(first)} documents as long")
    tokens = rows.tokens[rng.permutation(first)[:count]].astype(np.int64)
    places = np.where(np.arange(count)[:, None] % 2, back, back[::-1])
    places = length - 1 - places
    np.put_along_axis(tokens, places, rng.choice(words, places.shape), axis=1)
    return Splices(model, tokens, places)


@dataclass(frozen=True)
class Effects:
    """What each of `words` does in either role of a pair, against neither: (role, word, context, d).

    state, alone: see the module. final: change of the final stream. left: output effect in the first role when the state is put
    back, (word, context, d). neither: the ends of the contexts with neither word; root: their `logit_metric`.
    """

    words: np.ndarray
    state: np.ndarray
    final: np.ndarray
    alone: np.ndarray
    left: np.ndarray
    neither: Ends
    root: np.ndarray

    @cached_property
    def output(self) -> np.ndarray:
        """(role, word, context, d), see the module."""
        return self.final @ self.root

    def reliable(self) -> np.ndarray:
        """(word,) cosine of the output effects in the two halves of the contexts."""
        a, b = (self.output[:, :, half].mean(axis=(0, 2)) for half in halves(self.output.shape[2]))
        return np.asarray((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1))

    def relevant(self) -> np.ndarray:
        """(word,) share of the output effect that goes when the state is as if the word were not there."""
        one, other = halves(self.left.shape[1])
        own = self.output[0][:, one].mean(axis=1)
        lost = (self.output[0] - self.left)[:, other].mean(axis=1)
        return np.asarray((lost * own).sum(-1) / (self.output[0][:, other].mean(axis=1) * own).sum(-1))


def halves(contexts: int) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of the contexts in which the two orders of the places are as frequent."""
    quarter = np.arange(contexts) // 2 % 2
    return np.flatnonzero(quarter == 0), np.flatnonzero(quarter == 1)


def resampled(contexts: int, rng: np.random.Generator) -> np.ndarray:
    """(context,) contexts drawn with replacement, each within its half."""
    out = np.empty(contexts, dtype=int)
    for half in halves(contexts):
        out[half] = rng.choice(half, len(half))
    return out


def scan(at: Splices, words: np.ndarray, whole: bool = True) -> Effects:
    """Every word alone, in either role. Not `whole`: in the first role only, and without `alone` and `left`, which are 0."""
    model, n = at.model, len(at.tokens)
    neither = run(model, at.tokens)
    root = logit_metric(model, neither.final)
    state, final, alone, left = [], [], [], []
    for role in (0, 1) if whole else (0,):
        tokens = np.concatenate([at.put(word) if role == 0 else at.put(None, word) for word in words])
        ends = run(model, tokens)
        change = (ends.state.reshape(len(words), n, -1) - neither.state).reshape(ends.state.shape)
        state.append(change)
        final.append(ends.final)
        if whole:
            alone.append(run(model, np.tile(at.tokens, (len(words), 1)), change).final)
            if role == 0:
                left.append(run(model, tokens, -change).final)

    def changes(finals: list[np.ndarray]) -> np.ndarray:
        shape = (len(finals), len(words), n, -1)
        return np.stack(finals).reshape(shape) - neither.final if finals else np.zeros((1, len(words), n, len(root)))

    shaped = np.stack(state).reshape(len(state), len(words), n, -1)
    return Effects(words, shaped, changes(final), changes(alone) @ root, (changes(left) @ root)[0], neither, root)


@dataclass(frozen=True)
class Pair:
    """Two words, by their place in `Effects.words`, and the effects (context, d) of the first alone, the second alone and both:
    on the state, on the output, and on the output by the state alone; finals: the final stream (context, d) with neither, the
    first, the second and both, for `log_probs`."""

    words: tuple[int, int]
    state: tuple[np.ndarray, np.ndarray, np.ndarray]
    output: tuple[np.ndarray, np.ndarray, np.ndarray]
    alone: tuple[np.ndarray, np.ndarray, np.ndarray]
    finals: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

    @property
    def swapped(self) -> Pair:
        """The same with the second word first."""
        (s1, s2, s), (o1, o2, o), (a1, a2, a), (n, l1, l2, both) = self.state, self.output, self.alone, self.finals
        return Pair(self.words[::-1], (s2, s1, s), (o2, o1, o), (a2, a1, a), (n, l2, l1, both))


def put_together(at: Splices, effects: Effects, pairs: Sequence[tuple[int, int]]) -> list[Pair]:
    """Put both words of each pair into the contexts, and gather what each does alone from the scan."""
    n, neither = len(at.tokens), effects.neither
    ends = run(at.model, np.concatenate([at.put(*(int(effects.words[one]) for one in each)) for each in pairs]))
    state, final = (x.reshape(len(pairs), n, -1) - y for x, y in zip((ends.state, ends.final), neither.ends, strict=True))
    alone = in_stream(at, effects, state)
    out = []
    for k, (first, second) in enumerate(pairs):
        changes = [effects.final[0, first], effects.final[1, second], final[k]]
        out.append(Pair(
            (first, second),
            (effects.state[0, first], effects.state[1, second], state[k]),
            (changes[0] @ effects.root, changes[1] @ effects.root, changes[2] @ effects.root),
            (effects.alone[0, first], effects.alone[1, second], alone[k]),
            (neither.final, *(neither.final + change for change in changes)),  # type: ignore[arg-type]
        ))  # fmt: skip
    return out


def in_stream(at: Splices, effects: Effects, changes: np.ndarray) -> np.ndarray:
    """(row, context, d) output effects of changes (row, context, d) of the state in contexts with neither word."""
    rows = run(at.model, np.tile(at.tokens, (len(changes), 1)), changes.reshape(-1, changes.shape[-1])).final
    return (rows.reshape(changes.shape) - effects.neither.final) @ effects.root


def in_turned(at: Splices, effects: Effects, pairs: Sequence[Pair]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """`Pair.alone` of the running model with every second word's write `turned` onto the direction of the first."""
    means = [[part.mean(axis=0) for part in one.state[:2]] for one in pairs]
    other, both = (
        in_stream(at, effects, np.stack([turned(one.state[k], b, a) for one, (a, b) in zip(pairs, means, strict=True)]))
        for k in (1, 2)
    )
    return [(one.alone[0], other[k], both[k]) for k, one in enumerate(pairs)]


def cosines(effects: np.ndarray) -> np.ndarray:
    """(word, word) cosine of the mean effects of words in the first role with those in the last, (role, word, context, d).

    Each is about the mean over words: what any word does is no word's own. Numerator and norms from different halves of the
    contexts, so that noise does not make them small; a word with hardly an effect may exceed 1.
    """
    one, other = (effects[:, :, half].mean(axis=2) for half in halves(effects.shape[2]))
    one, other = (part - part.mean(axis=1, keepdims=True) for part in (one, other))
    dots = (one[0] @ other[-1].T + other[0] @ one[-1].T) / 2
    size = [np.sqrt(np.maximum((one[r] * other[r]).sum(-1), 1e-12)) for r in (0, -1)]
    return np.asarray(dots / np.outer(*size))


def beyond(cosine: np.ndarray, limit: float) -> float:
    """Share of pairs of different words with a |cosine| above `limit`."""
    return float((np.abs(cosine[~np.eye(len(cosine), dtype=bool)]) > limit).mean())


def crowded(state: np.ndarray, dimensions: int, rng: np.random.Generator) -> np.ndarray:
    """Effects like `state` (role, word, context, d) of words with random codes in few dimensions, with strengths of .55 to 1 on
    average as loud as the words' own; what contexts make of them stays as it is."""
    mean = state.mean(axis=2, keepdims=True)
    frame = np.linalg.qr(rng.standard_normal((state.shape[-1], dimensions)))[0].T
    codes = rng.standard_normal((state.shape[1], dimensions)) @ frame
    codes *= rng.uniform(0.55, 1, (len(codes), 1)) * np.linalg.norm(mean, axis=-1).mean() / dimensions**0.5
    return np.asarray(state - mean + codes[None, :, None])


def chance(d: int, words: int, draws: int, rng: np.random.Generator) -> float:
    """95th percentile of the largest |cosine| between two sets of `words` random directions in `d` dimensions, in different
    words: what sharing must exceed."""
    found = []
    for _ in range(draws):
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.standard_normal((2, words, d)))
        found.append(np.abs(a @ b.T - np.diag((a * b).sum(1))).max())
    return float(np.quantile(found, 0.95))


@dataclass(frozen=True)
class Read:
    """Readings (context,) of a word: alone, the other word alone, and both on. 1 is the word's own mean, 0 neither.

    free, free_both: the word alone, and both on, by the reader of least error that need not tell it from the other one.
    """

    own: np.ndarray
    other: np.ndarray
    both: np.ndarray
    free: np.ndarray
    free_both: np.ndarray

    @property
    def single(self) -> float:
        """Mean square error with the word alone (an unbiased variance: its mean is 1 in each half)."""
        return error_alone(self.own)

    @property
    def leak(self) -> float:
        """What is read of the word when only the other one is there."""
        return float(self.other.mean())

    @property
    def cross_talk(self) -> float:
        """What the other word adds to the reading when both are there."""
        return float(self.both.mean() - 1)

    @property
    def ratio(self) -> float:
        """(error alone + cross-talk^2) over the error alone of the free reader: being told from the other word may cost, too.
        What the other word does otherwise in every context is left out, sharing or not; the square is a product of halves, so
        that noise adds nothing."""
        return (self.single + square(self.both - 1)) / error_alone(self.free)

    @property
    def unwarned(self) -> float:
        """The ratio of the free reader itself, which knows nothing of the other word."""
        return 1 + square(self.free_both - 1) / error_alone(self.free)

    @property
    def predicted(self) -> float:
        """The same for an additive stream, from the leak, which is measured with one word at a time."""
        return (self.single + square(self.other)) / error_alone(self.free)

    @property
    def r2(self) -> float:
        """R^2 of the mean reading as an answer to "is the word there?", the other one being there, as often yes as no."""
        return 1 - 2 * (self.leak**2 + self.cross_talk**2)


def square(values: np.ndarray) -> float:
    """The square of the mean of values (context,), as a product of halves, to which noise adds nothing on average."""
    one, other = (float(values[half].mean()) for half in halves(len(values)))
    return one * other


def error_alone(own: np.ndarray) -> float:
    """Unbiased variance of readings (context,) whose mean is 1 in each half of the contexts."""
    return float(((own - 1) ** 2).sum() / (len(own) - 2))


def read(own: np.ndarray, other: np.ndarray, both: np.ndarray, noise: Sequence[np.ndarray] | None = None) -> Read:
    """The readings of effects (context, d), each with a reader from the other half of the contexts.

    noise: `within` of the same kind of effects, for the probe: the linear reader of least error on the word alone, the other
    one alone and neither. It never sees both. Without noise, the tied reader.
    """
    found = np.full((5, len(own)), np.nan)
    for k, (fit, held) in enumerate((halves(len(own)), halves(len(own))[::-1])):
        free = told = own[fit].mean(axis=0)
        if noise is not None:
            wrong = other[fit].mean(axis=0)
            free, told = np.linalg.solve(noise[k], told), np.linalg.solve(noise[k] + np.outer(wrong, wrong) / 2, told)
        for row, part in zip(found[:3], (own, other, both), strict=True):
            row[held] = part[held] @ told / (own[held].mean(axis=0) @ told)
        for row, part in zip(found[3:], (own, both), strict=True):
            row[held] = part[held] @ free / (own[held].mean(axis=0) @ free)
    return Read(*found)


def within(effects: np.ndarray) -> list[np.ndarray]:
    """(d, d) how much effects (role, word, context, d) of one word differ between contexts, pooled over words, in either half
    of the contexts; a thousandth of the mean variance is added to each."""
    out = []
    for half in halves(effects.shape[2]):
        part = effects[:, :, half]
        flat = (part - part.mean(axis=2, keepdims=True)).reshape(-1, part.shape[-1])
        square = flat.T @ flat / len(flat)
        out.append(square + 1e-3 * np.trace(square) / len(square) * np.eye(len(square)))
    return out


def overlap(own: np.ndarray, other: np.ndarray, added: np.ndarray) -> tuple[float, float]:
    """(inner product, size): of what is `added` to a word's own effect with that effect; and both words' sizes multiplied, all
    (context, d). Their quotient is a cosine if added = other, and the same with both on if added = both - own.

    Products are taken between halves of the contexts, so that noise does not make sizes large; hardly an effect has size 0.
    """
    one, two = halves(len(own))
    a, b, c = ((x[one].mean(axis=0), x[two].mean(axis=0)) for x in (own, other, added))
    size = np.sqrt(max(a[0] @ a[1], 0) * max(b[0] @ b[1], 0))
    return float((a[0] @ c[1] + a[1] @ c[0]) / 2), float(size)


def turned(effect: np.ndarray, mean: np.ndarray, onto: np.ndarray, aside: np.ndarray | None = None) -> np.ndarray:
    """Effects (context, d) that hold the write `mean` (d,), with as large a write along `onto` (d,) in its place, on the side
    where they already overlap: a collision by construction. aside: a direction of its own that carries half of the energy
    instead: a redundant code."""
    way = np.sign(mean @ onto) * onto / np.linalg.norm(onto)
    if aside is not None:
        apart = aside - (aside @ way) * way
        way = (way + apart / np.linalg.norm(apart)) / np.sqrt(2)
    return np.asarray(effect - mean + np.linalg.norm(mean) * way)


def slope(products: np.ndarray, sizes: np.ndarray, x: np.ndarray, beside: np.ndarray) -> float:
    """Of `overlap` (product and size, (pair,)) on the overlap x in the stream, at constant overlap `beside` (other seeds'), by
    least squares through the origin: products = sizes (slope x + another beside), each pair weighted by its size, so that
    what hardly does anything hardly counts."""
    root = np.sqrt(sizes)
    design = np.column_stack([x, beside]) * root[:, None]
    return float(np.linalg.lstsq(design, np.divide(products, root, out=np.zeros_like(root), where=root > 0), rcond=None)[0][0])


def nearest_match(traits: np.ndarray, pairs: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """(k, 2) for each of `pairs` (n, 2), in their order, the pair of `pool` (m, 2) whose words have the nearest `traits`
    (word, trait), whichever goes with which; none is taken twice, hence k = min(n, m)."""
    left, out = [tuple(int(i) for i in one) for one in pool], []
    for one in pairs[: len(pool)]:
        far = [min(np.abs(traits[one] - traits[list(way)]).sum() for way in (two, two[::-1])) for two in left]
        out.append(left.pop(int(np.argmin(far))))
    return np.array(out, dtype=int).reshape(-1, 2)


def additivity(own: np.ndarray, other: np.ndarray, both: np.ndarray) -> float:
    """|mean of both - own - other| along the shared direction, over the mean size of the two there. Effects (context, d).

    The shared direction: the bisector of the two mean effects, one turned round where they are opposite.
    """
    a, b = own.mean(axis=0), other.mean(axis=0)
    a_unit, b_unit = a / np.linalg.norm(a), b / np.linalg.norm(b)
    u = a_unit + np.sign(a_unit @ b_unit) * b_unit
    return float(abs((both.mean(axis=0) - a - b) @ u) / (abs(a @ u) + abs(b @ u)) * 2)


def mixture_error(neither: np.ndarray, first: np.ndarray, second: np.ndarray, both: np.ndarray) -> tuple[float, float]:
    """Mean over contexts of KL(both || mixture) and of KL(both || neither), in nats, of log probabilities (context, token).

    The mixture is log-linear: log p = log p_first + log p_second - log p_neither, renormalised.
    """
    mixed = first + second - neither
    mixed = mixed - np.logaddexp.reduce(mixed, axis=1, keepdims=True)
    p = np.exp(both)
    return float((p * (both - mixed)).sum(axis=1).mean()), float((p * (both - neither)).sum(axis=1).mean())


def answered(
    states: Sequence[np.ndarray], outputs: Sequence[np.ndarray], tied: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output effects of a last layer written by hand: of the first word alone, the second alone, and both.

    states, outputs: the model's own effects (context, d) of the same three. The hand reads each word in the state, by its own
    direction (`tied`: the toy models' collision) or blind to the other one (a redundant code, well read), and answers each
    with the part of the model's own answer that is not the other's, as loud as the whole. What contexts make of it is the
    model's own.
    """
    d, g = (np.stack([part.mean(axis=0) for part in parts[:2]]) for parts in (states, outputs))
    size = np.linalg.norm(g, axis=1, keepdims=True)
    left, _, right = np.linalg.svd(g / size, full_matrices=False)
    answers = left @ right * size  # the orthogonal frame nearest to both (Loewdin)
    reader = d.T / (d**2).sum(axis=1) if tied else np.linalg.pinv(d)  # (d, 2)
    out = [
        state.mean(axis=0) @ reader @ answers + output - output.mean(axis=0)
        for state, output in zip(states, outputs, strict=True)
    ]
    return out[0], out[1], out[2]


@dataclass(frozen=True)
class Found:
    """Windows (row, length) of real text, BOS first, with a word in one of a pair's places; the next token (row,) and the
    document (row,)."""

    tokens: np.ndarray
    following: np.ndarray
    document: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[Found]) -> Found:
        """All windows of several."""
        return cls(*(np.concatenate([getattr(one, name) for one in parts]) for name in ("tokens", "following", "document")))


def occurrences(
    text: Split, word: int, back: tuple[int, int], length: int, limit: int, rng: np.random.Generator,
    other: int | None = None, together: bool = False,
) -> Found:  # fmt: skip
    """At most `limit` places where `word` stands `back` tokens before the last one; `other` nowhere in the window, or in the
    pair's other place if `together`."""
    tokens, hits = text.tokens.astype(np.int64), []
    at = np.flatnonzero(tokens == word)
    for here, there in (back, back[::-1]):
        last = at + here
        last = last[(last - length + 2 >= 0) & (last + 1 < len(tokens))]
        last = last[text.document[last - length + 2] == text.document[last + 1]]
        if other is not None and together:
            last = last[tokens[last - there] == other]
        hits.append(last)
    last = np.unique(np.concatenate(hits))
    windows = tokens[last[:, None] + np.arange(2 - length, 1)] if len(last) else np.zeros((0, length - 1), dtype=np.int64)
    if other is not None and not together:
        clean = ~(windows == other).any(axis=1)
        last, windows = last[clean], windows[clean]
    some = rng.permutation(len(last))[:limit]
    bos = np.full((len(some), 1), text.tokenizer.bos)
    return Found(np.concatenate([bos, windows[some]], axis=1), tokens[last[some] + 1], text.document[last[some]])


def losses(model: LanguageModel, found: Found, push: np.ndarray | None = None) -> np.ndarray:
    """(row,) nats at the next token, with `push` (row, d) added to the state at the last position."""
    final = torch.from_numpy(run(model, found.tokens, push).final).float()
    with torch.inference_mode():
        logits = torch.cat([model.hooked.unembed(part[:, None])[:, 0] for part in final.split(BATCH)])
        return np.asarray(
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(found.following), reduction="none").double()
        )


def removals(
    model: LanguageModel, found: Sequence[Found], pushes: Sequence[np.ndarray], draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What pushes cost: (push,) mean change of the loss in nats, and (draws, push) the same of documents drawn anew.

    found: windows of one kind each; pushes: (push, d) for the windows of that kind.
    """
    every = Found.of(found)
    rows = np.concatenate([np.tile(push, (len(one.tokens), 1, 1)) for one, push in zip(found, pushes, strict=True)])
    clean = losses(model, every)
    change = np.stack([losses(model, every, rows[:, k]) - clean for k in range(rows.shape[1])], axis=1)
    names, where = np.unique(every.document, return_inverse=True)
    weight = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)[:, where]
    return change.mean(axis=0), weight @ change / weight.sum(axis=1, keepdims=True)


def together(tokens: np.ndarray, words: np.ndarray, reach: int) -> np.ndarray:
    """(word, word) how often two words stand at most `reach` tokens apart in `tokens` (token,)."""
    place = np.full(int(tokens.max()) + 1, -1)
    place[words[words < len(place)]] = np.flatnonzero(words < len(place))
    found, out = place[tokens], np.zeros((len(words), len(words)), dtype=int)
    for step in range(1, reach + 1):
        a, b = found[:-step], found[step:]
        both = (a >= 0) & (b >= 0)
        np.add.at(out, (a[both], b[both]), 1)
        np.add.at(out, (b[both], a[both]), 1)
    return out
