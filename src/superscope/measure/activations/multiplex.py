"""Does a genre direction let two genres use one subspace for different features? Subspaces, read-outs, and who reads what.

A *sub-feature* of a genre is what the context says of the next word there: the mean of the stream before that word, less the
mean at the same present word (`Text.beside`), so that the identity of the present word has no part in it. Four numbers tell
three worlds apart (`compare`):

    world                              shared   transfer   agreement
    subspaces of their own             low      low        -
    shared, one meaning                high     high       high
    shared, the genre says which       high     low        low         (multiplexed)

shared: share of the energy of one genre's sub-features inside the span of the other's, from 0 (chance) to 1 (two halves of the
documents of ONE genre). Chance is not k / d, which loud directions beat: it is that of means over random tokens, drawn with the
covariance of the genre. transfer: what linear read-outs of one genre are worth in the other, over
its own. agreement: cosine between what the same steps do to logits in tokens of either genre; the direct path to the logits
reads every direction alike, so that only a later nonlinearity can lower it. gated: how far moving tokens to where the other
genre lies changes what steps do, over moves as long that are drawn with the covariance of the stream (a move changes the scale
of every later LayerNorm whatever it means). turned: the share of the difference in reading between genres that this makes up.

Misleads: sub-features are words, one at a time; a step is a mean, and may be smaller than what one token holds; word means that
are subtracted leave nothing of next words that the present word determines; and a shared subspace with more dimensions than
either genre has sub-features counts in part (18 of each in 40 of 128 dimensions: .27, whitened .40; in 80: .04, .24).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from superscope.lms.model.language_model import LanguageModel, rows_to_tensor
from superscope.lms.shelf import ModelError
from superscope.measure.activations.probes import auc
from superscope.measure.activations.subspaces import energy_share, whitener

FEWEST = 8  # tokens of a word from which its mean is taken
Read = Callable[[np.ndarray, np.ndarray], np.ndarray]
World = Literal["multiplexed", "apart", "one meaning", "antipodal"]


@dataclass(frozen=True)
class Text:
    """Tokens of one genre: values (n, d) of the stream, the word (n,) there and the one `following` (n,), its document (n,),
    and a word that stood somewhat `earlier` (n,)."""

    values: np.ndarray
    word: np.ndarray
    following: np.ndarray
    document: np.ndarray
    earlier: np.ndarray | None = None

    @cached_property
    def kept(self) -> np.ndarray:
        """(n,) bool: tokens whose word occurs at least `FEWEST` times."""
        _, place, count = np.unique(self.word, return_inverse=True, return_counts=True)
        return np.asarray(count[place] >= FEWEST)

    @cached_property
    def beside(self) -> np.ndarray:
        """(kept, d) values less the mean at the same word."""
        return self.values[self.kept] - _word_means(self.values[self.kept], self.word[self.kept])

    @cached_property
    def next(self) -> np.ndarray:
        """(kept,) the word that follows."""
        return self.following[self.kept]

    @property
    def looking_back(self) -> Text:
        """The same with the earlier word in the place of the next one."""
        if self.earlier is None:
            raise ValueError("this text has no earlier words")
        return replace(self, following=self.earlier)

    def parts(self) -> tuple[Text, Text]:
        """Every other one of its documents, and the rest."""
        even = np.isin(self.document, np.unique(self.document)[::2])
        return tuple(
            Text(*(x[rows] for x in (self.values, self.word, self.following, self.document))) for rows in (even, ~even)
        )  # type: ignore[return-value]

    def rows(self, labels: np.ndarray) -> np.ndarray:
        """(label, d) sub-features: the mean of `beside` before each of these words."""
        return np.stack([self.beside[self.next == one].mean(axis=0) for one in labels])

    def words(self, labels: np.ndarray) -> np.ndarray:
        """(label, d) the mean of the values at each of these words, less the mean of all: the identity of the present word."""
        return np.stack([self.values[self.word == one].mean(axis=0) for one in labels]) - self.values.mean(axis=0)


def _word_means(values: np.ndarray, word: np.ndarray) -> np.ndarray:
    """(n, d) the mean of `values` over tokens of the same word."""
    means, place = _group_means(values, word)
    return np.asarray(means[place])


def _group_means(values: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(groups, d) mean of each group, in the order of `np.unique`, and (n,) which group a row is in."""
    from scipy import sparse

    _, place, count = np.unique(group, return_inverse=True, return_counts=True)
    member = sparse.csr_matrix((1 / count[place], (place, np.arange(len(place)))), (len(count), len(place)))
    return np.asarray(member @ values), place


Halves = tuple[Text, Text]


def own_words(one: Halves, other: Halves, most: int, fewest: int = 25, ratio: float = 4.0, present: bool = False) -> np.ndarray:
    """Words that follow at least `fewest` times in both halves of `one`, `ratio` times as often as in `other`; commonest first.
    present: words that stand there rather than follow."""
    mine, theirs = _counts(one, present), _counts(other, present)
    total, rest = (sum(map(sum, counts.values())) for counts in (mine, theirs))
    words = [w for w, n in mine.items()
             if min(n) >= fewest and sum(n) / total >= ratio * sum(theirs.get(w, (0, 0))) / rest]  # fmt: skip
    return np.array(sorted(words, key=lambda w: (-min(mine[w]), w))[:most], dtype=np.int64)


def common_words(one: Halves, other: Halves, most: int, fewest: int = 25, present: bool = False) -> np.ndarray:
    """Words that follow at least `fewest` times in both halves of both, those first whose rarer side is the most frequent."""
    mine, theirs = _counts(one, present), _counts(other, present)
    least = {word: min(*n, *theirs[word]) for word, n in mine.items() if word in theirs}
    return np.array(sorted((w for w, n in least.items() if n >= fewest), key=lambda w: (-least[w], w))[:most], dtype=np.int64)


def fewest_features(one: Halves, other: Halves, most: int) -> int:
    """The fewest of both genres' own next words and of common ones, each at most `most`."""
    return min(len(own_words(one, other, most)), len(own_words(other, one, most)), len(common_words(one, other, most)))


def _counts(halves: Halves, present: bool) -> dict[int, tuple[int, int]]:
    """Word -> how often in each half, of words in either."""
    both = [np.unique(h.word if present else h.next, return_counts=True) for h in halves]
    first, second = (dict(zip(words.tolist(), counts.tolist(), strict=True)) for words, counts in both)
    return {word: (first.get(word, 0), second.get(word, 0)) for word in [*first, *(w for w in second if w not in first)]}


# ------------------------------------------------------------------------------------------------------------ subspaces


def span(rows: np.ndarray) -> np.ndarray:
    """(rank, d) orthonormal basis of the span of `rows` (n, d)."""
    values, basis = np.linalg.svd(rows, full_matrices=False)[1:]
    return np.asarray(basis[values > 1e-9 * values[0]])


def inside(rows: np.ndarray, frame: np.ndarray) -> float:
    """Share of the energy of `rows` (n, d), each as long as the others, in the span of `frame` (m, d)."""
    return energy_share(rows / np.linalg.norm(rows, axis=1, keepdims=True), span(frame))


def random_rows(covariance: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, d) Gaussian with this covariance: directions of means over random tokens, whose length does not matter here."""
    values, vectors = np.linalg.eigh(covariance)
    return (rng.standard_normal((n, len(values))) * np.sqrt(np.maximum(values, 0))) @ vectors.T


@dataclass(frozen=True)
class Sharing:
    """Share of the energy of one genre's sub-features inside the span of the other's (`across`); of those of one half of a
    genre's documents inside the span of the other half (`within`); of random rows (draw,) inside the other's span."""

    across: float
    within: float
    chance: np.ndarray

    @property
    def shared(self) -> float:
        """0: as chance; 1: as two halves of one genre."""
        return float((self.across - self.chance.mean()) / (self.within - self.chance.mean()))

    @property
    def found(self) -> float:
        """How far beyond chance the energy of a genre's sub-features lies inside the span of its other documents."""
        return float(self.within - self.chance.mean())

    @property
    def drawn(self) -> float:
        """The same of the first random draw, against the others (the null)."""
        rest = self.chance[1:].mean()
        return float((self.chance[0] - rest) / (self.within - rest))


def sharing(
    one: Sequence[np.ndarray], other: Sequence[np.ndarray], covariances: Sequence[np.ndarray], draws: int,
    rng: np.random.Generator, metric: np.ndarray | None = None,
) -> Sharing:  # fmt: skip
    """`Sharing` of rows (n, d) of sub-features, each genre's from two halves of its documents; covariances (d, d) of either.

    metric (d, d): rows are multiplied by it first (a whitening matrix: loud directions then count as much as quiet ones).
    The whole span is taken, not its leading directions: where two genres fill one wide subspace with features of unequal
    strength, the leading six of eighteen directions are others in each, and overlap hardly more than chance.
    """
    to = np.eye(one[0].shape[1]) if metric is None else metric
    a, b = ([rows @ to for rows in halves] for halves in (one, other))
    across = np.mean([inside(x, y) + inside(y, x) for x, y in ((a[0], b[1]), (a[1], b[0]))]) / 2
    within = np.mean([inside(x, y) + inside(y, x) for x, y in (a, b)]) / 2
    chance = []
    for _ in range(draws):
        drawn = [random_rows(c, len(rows), rng) @ to for c, rows in zip(covariances, (a[0], b[0]), strict=True)]
        chance.append(np.mean([inside(drawn[0], y) for y in b] + [inside(drawn[1], x) for x in a]))
    return Sharing(float(across), float(within), np.array(chance))


def own_sharing(a: Halves, b: Halves, features: int, draws: int, rng: np.random.Generator, white: bool = False) -> Sharing:
    """`sharing` of the words that follow in one of two genres more than in the other; `features` of each at most."""
    own, theirs = own_words(a, b, features), own_words(b, a, features)
    covariances = [_mean([np.cov(half.beside.T) for half in halves]) for halves in (a, b)]
    metric = whitener(_mean(covariances)) if white else None
    return sharing([h.rows(own) for h in a], [h.rows(theirs) for h in b], covariances, draws, rng, metric)


def sharing_inside(genre: Halves, features: int, draws: int, rng: np.random.Generator, fewest: int = 25) -> Sharing:
    """`sharing` of two lists of other next words of ONE genre, dealt from its commonest: what other words alone keep apart."""
    counts = {word: min(n) for word, n in _counts(genre, False).items() if min(n) >= fewest}
    words = np.array(sorted(counts, key=lambda w: (-counts[w], w))[: 2 * features])
    covariance = _mean([np.cov(half.beside.T) for half in genre])
    lists = [[half.rows(some) for half in genre] for some in (words[::2], words[1::2])]
    return sharing(lists[0], lists[1], [covariance, covariance], draws, rng)


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(np.mean(arrays, axis=0))


def crowding(one: Sequence[np.ndarray], other: Sequence[np.ndarray], groups: np.ndarray | None = None) -> float:
    """Mean squared cosine between sub-features of different genres, over that between those of one genre.

    Cosines are between halves of the documents, so that noise adds none. groups (n + m,) bool: another division (the null).
    Above 1: features that are never on together share directions and those of one genre do not (what a toy model does).
    """
    unit = [np.concatenate(pair) for pair in zip(one, other, strict=True)]
    first, second = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in unit)
    squared = (first @ second.T) ** 2
    where = np.arange(len(squared)) < len(one[0]) if groups is None else groups
    same = where[:, None] == where[None]
    return float(squared[~same].mean() / squared[same & ~np.eye(len(same), dtype=bool)].mean())


def alike(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Mean cosine between the same sub-features (row by row) of two genres, over that between halves of one genre."""
    unit = [[rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in halves] for halves in (one, other)]
    across = np.mean([(x * y).sum(axis=1).mean() for x in unit[0] for y in unit[1]])
    return float(across / np.mean([(x * y).sum(axis=1).mean() for x, y in unit]))


def most_opposite(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Median over sub-features of the cosine with the most opposite one of the other genre, mean of both halves' cosines."""
    unit = [[rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in halves] for halves in (one, other)]
    cosines = (unit[0][0] @ unit[1][1].T + unit[0][1] @ unit[1][0].T) / 2
    return float(np.median(np.concatenate([cosines.min(axis=0), cosines.min(axis=1)])))


# ------------------------------------------------------------------------------------------------------------ read-outs


def read_outs(text: Text, labels: np.ndarray, penalty: float = 0.3) -> np.ndarray:
    """(d, label) ridge read-outs of the next word from `beside`, one word against all others. penalty: of the mean variance."""
    x = text.beside
    gram = x.T @ x
    gram += penalty * np.trace(gram) / len(gram) * np.eye(len(gram))
    targets = (text.next[:, None] == labels).astype(float)
    return np.asarray(np.linalg.solve(gram, x.T @ (targets - targets.mean(axis=0))))


def power(text: Text, labels: np.ndarray, weights: np.ndarray) -> float:
    """Mean AUC of read-outs (d, label) on a text, less a half."""
    return float(auc(text.beside @ weights, text.next[:, None] == labels).mean() - 0.5)


def transfer(fitted: Sequence[Text], own: Sequence[Text], tried: Text, labels: np.ndarray) -> float:
    """Mean power on `tried` of read-outs of each text of `fitted`, over that of texts of its `own` genre (other documents)."""
    both = [np.mean([power(tried, labels, read_outs(one, labels)) for one in texts]) for texts in (fitted, own)]
    return float(both[0] / both[1])


# ------------------------------------------------------------------------------------------------------------ the gate


def genre_shift(one: Text, other: Text) -> np.ndarray:
    """(d,) from where `one` lies to where `other` does at the same word: mean over words that both have, weighted by the rarer
    side."""
    words = np.intersect1d(one.word[one.kept], other.word[other.kept])
    if not len(words):
        raise ValueError("the two texts have no word in common: no shift at the same word")
    weight = np.array([min((one.word == w).sum(), (other.word == w).sum()) for w in words], dtype=float)
    gaps = np.stack([other.values[other.word == w].mean(axis=0) - one.values[one.word == w].mean(axis=0) for w in words])
    return np.asarray(weight @ gaps / weight.sum())


def matched_shift(shift: np.ndarray, covariance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(d,) as long as `shift`, in a direction drawn with the covariance of the stream and orthogonal to it."""
    drawn = random_rows(covariance, 1, rng)[0]
    drawn -= drawn @ shift / (shift @ shift) * shift
    return np.asarray(drawn * np.linalg.norm(shift) / np.linalg.norm(drawn))


@dataclass(frozen=True)
class Unit:
    """The best unit: which, and balanced accuracy over the documents it was not chosen on, and over their single tokens."""

    unit: int
    documents: float
    tokens: float


def best_unit(values: np.ndarray, genre: np.ndarray, document: np.ndarray, word: np.ndarray | None, fit: np.ndarray) -> Unit:
    """Tell two genres (n,) bool apart by the mean over a document of one unit of values (n, unit).

    word (n,): from every value goes the middle between the genres' means at that word, on the documents to `fit` on; tokens of
    words that have not `FEWEST` tokens in each are left out. None: raw values. The unit has the largest gap between the genres'
    documents to fit on, in standard deviations; its threshold is the middle. fit (n,) bool, whole documents.
    """
    if word is not None:
        both = [w for w in np.unique(word[fit]) if min((genre[fit] & (word[fit] == w)).sum(),
                                                       (~genre[fit] & (word[fit] == w)).sum()) >= FEWEST]  # fmt: skip
        values, keep = values.copy(), np.isin(word, both)
        for w in both:
            here = word == w
            values[here] -= (values[here & fit & genre].mean(axis=0) + values[here & fit & ~genre].mean(axis=0)) / 2
        values, genre, document, fit = (x[keep] for x in (values, genre, document, fit))
    means, place = _group_means(values, document)
    first = np.unique(place, return_index=True)[1]
    label, chosen = genre[first], fit[first]
    high, low = means[chosen & label], means[chosen & ~label]
    spread = np.sqrt((high.var(axis=0) + low.var(axis=0)) / 2) + 1e-9
    gap = (high.mean(axis=0) - low.mean(axis=0)) / spread
    unit = int(np.abs(gap).argmax())
    middle = (high[:, unit].mean() + low[:, unit].mean()) / 2

    def accuracy(score: np.ndarray, truth: np.ndarray) -> float:
        right = ((score > middle) == (gap[unit] > 0)) == truth
        return float((right[truth].mean() + right[~truth].mean()) / 2)

    return Unit(unit, accuracy(means[~chosen, unit], label[~chosen]), accuracy(values[~fit, unit], genre[~fit]))


# ------------------------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class Onward:
    """What a model makes of the stream at the last position of `tokens` (row, position) behind the attention of `layer`.

    Everything behind it runs as it does: the MLP of the layer, and later layers with the keys and values of earlier positions,
    which an edit at the last position cannot change. ModelError for models without such a place in their stream.
    """

    model: LanguageModel
    tokens: np.ndarray
    layer: int

    def __post_init__(self) -> None:
        cfg: Any = self.model.hooked.cfg
        if self.model.is_encoder_decoder or not self.model.d_mlp or cfg.parallel_attn_mlp:
            raise ModelError(f"{self.model.name} has no stream between an attention layer and its MLP")
        if cfg.use_normalization_before_and_after or cfg.output_logits_soft_cap > 0:
            raise ModelError(f"{self.model.name} is no pre-norm model: what follows an edit is not run here")

    @cached_property
    def _values(self) -> dict[str, Tensor]:
        later = [f"blocks.{b}.attn.hook_{kind}" for b in range(self.layer + 1, self.model.n_layers) for kind in "kv"]
        later += ["hook_pos_embed"] if self._positions_in_attention else []
        return self.model.activations(rows_to_tensor(self.tokens), [stream(self.layer), *later])

    @property
    def _positions_in_attention(self) -> bool:
        """Shortformer: every attention layer adds the positional embedding to its queries and keys."""
        return bool(self.model.hooked.cfg.positional_embedding_type == "shortformer")

    @property
    def base(self) -> np.ndarray:
        """(row, d) the stream at the last position."""
        return np.asarray(self._values[stream(self.layer)][:, -1].double().numpy())

    @torch.inference_mode()
    def __call__(self, values: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(edit, row, target) logits when the stream there is `values` (edit, row, d)."""
        w: Any = self.model.hooked
        edits, rows, d = values.shape
        out = []
        for part in np.array_split(np.arange(edits), max(1, edits * rows * len(w.blocks[self.layer :]) // 4096)):
            x = torch.from_numpy(values[part]).float().reshape(-1, 1, d)
            x = x + w.blocks[self.layer].apply_mlp(w.blocks[self.layer].ln2(x))
            for b in range(self.layer + 1, self.model.n_layers):
                past = [self._values[f"blocks.{b}.attn.hook_{kind}"][:, :-1].repeat(len(part), 1, 1, 1) for kind in "kv"]
                where = self._values["hook_pos_embed"][:, -1:] if self._positions_in_attention else None
                where = None if where is None else where.expand(rows, -1, -1).repeat(len(part), 1, 1)
                x = w.blocks[b](x, past_kv_cache_entry=_Past(*past), shortformer_pos_embed=where)
            logits = w.ln_final(x)[:, 0] @ w.W_U[:, targets] + w.b_U[targets]
            out.append(logits.reshape(len(part), rows, -1).double().numpy())
        return np.concatenate(out)


@dataclass(frozen=True)
class _Past:
    """Keys and values of earlier positions, as an attention layer of TransformerLens asks for them."""

    past_keys: Tensor
    past_values: Tensor

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([self.past_keys, keys], dim=1), torch.cat([self.past_values, values], dim=1)


def stream(layer: int) -> str:
    """The hook between the attention and the MLP of a layer."""
    return f"blocks.{layer}.hook_resid_mid"


def effects(
    read: Read, base: np.ndarray, steps: np.ndarray, targets: np.ndarray, shift: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """What each step (step, d) adds, from base (row, d) moved by `shift`: (row, step, target) to the logits of `targets`, less
    the mean over targets; and to their probabilities among each other."""
    start = base + shift
    logits = read(np.concatenate([start[None], start + steps[:, None]]), targets)
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    out = []
    for values in (logits, odds / odds.sum(axis=-1, keepdims=True)):
        change = (values[1:] - values[0]).swapaxes(0, 1)
        out.append(change - change.mean(axis=-1, keepdims=True))
    return out[0], out[1]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of two arrays of one shape, flattened."""
    return float((one * other).sum() / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-300))


def turn(moved: np.ndarray, own: np.ndarray, other: np.ndarray) -> float:
    """Share of the way from `own` to `other` effects that a move makes: 1, all of it; 0, none or sideways."""
    way = other - own
    return float(((moved - own) * way).sum() / max((way**2).sum(), 1e-300))


# ------------------------------------------------------------------------------------------------------------ all of it


@dataclass(frozen=True)
class Genre:
    """Two halves of its documents, and held-out tokens on which steps are taken: their values `base` (row, d) and a reader."""

    halves: Halves
    base: np.ndarray
    read: Read

    @property
    def looking_back(self) -> Genre:
        """The same with earlier words in the place of next ones (its reader has nothing to say of them)."""
        return replace(self, halves=(self.halves[0].looking_back, self.halves[1].looking_back))


def compare(a: Genre, b: Genre, features: int, draws: int, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Every number of a pair of genres, and the same of what destroys it:
    "pair"; "draws" (shared: random tokens; gated, turned: a matched shift); "halves" (transfer, agreement: one genre with
    itself); "reassigned" (crowding: sub-features dealt to two groups at random).

    features: next words of each genre's own, and common ones, at most. ValueError when a pair has none of a kind.
    """
    own, theirs = own_words(a.halves, b.halves, features), own_words(b.halves, a.halves, features)
    common = common_words(a.halves, b.halves, features)
    n = min(len(own), len(theirs))
    if not n or not len(common):
        raise ValueError(f"two genres with {n} next words of their own and {len(common)} in common: nothing to compare")
    own, theirs = own[:n], theirs[:n]
    rows_a, rows_b = [h.rows(own) for h in a.halves], [h.rows(theirs) for h in b.halves]
    same_a, same_b = ([h.rows(common) for h in genre.halves] for genre in (a, b))
    covariances = [_mean([np.cov(half.beside.T) for half in genre.halves]) for genre in (a, b)]
    pooled = _mean(covariances)
    white = whitener(pooled)
    found = sharing(rows_a, rows_b, covariances, draws, rng)
    even = sharing(rows_a, rows_b, covariances, draws, rng, white)
    shift, parts = genre_shift(a.halves[0], b.halves[0]), [genre.halves[0].parts() for genre in (a, b)]
    steps, targets = np.concatenate([rows_a[0], rows_b[0]]), np.concatenate([own, theirs])
    read, matched, half = reading(a, b, steps, targets, shift, pooled, draws, rng)
    moved = [transfer(parts[1 - i], parts[i], g.halves[1], common) for i, g in enumerate((a, b))]
    stay = [transfer(parts[i][:1], parts[i][1:], g.halves[1], common) for i, g in enumerate((a, b))]
    powers = [power(g.halves[1], common, read_outs(g.halves[0], common)) for g in (a, b)]
    pair = {
        "shared": found.shared, "overlap": found.across, "ceiling": found.within, "chance": float(found.chance.mean()),
        "found": found.found, "shared, white": even.shared, "features": float(n),
        "transfer": float(np.mean(moved)), "power": float(np.mean(powers)), "alike": alike(same_a, same_b),
        "shared, common": sharing(same_a, same_b, covariances, draws, rng).shared, "crowded": crowding(rows_a, rows_b),
        "most opposite": most_opposite(rows_a, rows_b), **read, "multiplexed": min(found.shared, 1 - read["agreement"]),
    }  # fmt: skip
    return {
        "pair": pair, "draws": {"shared": found.drawn, "shared, white": even.drawn, **matched},
        "halves": {"transfer": float(np.mean(stay)), **half},
        "reassigned": {"crowded": crowding(rows_a, rows_b, rng.permutation(2 * n) < n)},
    }  # fmt: skip


def lexical(a: Genre, b: Genre, features: int, draws: int, rng: np.random.Generator) -> dict[str, float]:
    """What the present word alone gives: cosine of the same word in two genres ("same word", over halves of one genre), and
    `shared` of present words of each genre's own ("shared, present words"), and of other next words of one genre."""
    own, theirs = (own_words(x.halves, y.halves, features, present=True) for x, y in ((a, b), (b, a)))
    common = common_words(a.halves, b.halves, features, present=True)
    covariances = [_mean([np.cov(half.values.T) for half in genre.halves]) for genre in (a, b)]
    here, there = [h.words(own) for h in a.halves], [h.words(theirs) for h in b.halves]
    return {
        "same word": alike([h.words(common) for h in a.halves], [h.words(common) for h in b.halves]),
        "shared, present words": sharing(here, there, covariances, draws, rng).shared,
        "shared, inside a genre": float(np.mean([sharing_inside(g.halves, features, draws, rng).shared for g in (a, b)])),
    }


def reading(
    a: Genre, b: Genre, steps: np.ndarray, targets: np.ndarray, shift: np.ndarray, covariance: np.ndarray, draws: int,
    rng: np.random.Generator,
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:  # fmt: skip
    """Agreement, gated and turned of a pair, and how far the shift moves the effects of steps over their size ("moved"); the
    same of a matched shift; "gated, isotropic": over moves in directions of no kind; agreement between halves of one genre's
    tokens. " p": of probabilities in place of logits."""
    others = [matched_shift(shift, covariance, rng) for _ in range(max(2, draws))]
    isotropic = [matched_shift(shift, np.eye(len(shift)), rng) for _ in range(3)]
    own = [effects(genre.read, genre.base, steps, targets) for genre in (a, b)]
    sides = []
    for here, genre, sign in ((0, a, 1.0), (1, b, -1.0)):
        moves = [effects(genre.read, genre.base, steps, targets, by) for by in (sign * shift, *others, *isotropic)]
        sides += [
            _read_there(own[here][soft], own[1 - here][soft], [one[soft].mean(axis=0) for one in moves], len(others), tail)
            for soft, tail in enumerate(("", " p"))
        ]
    both = (
        {name: [side[i][name] for side in sides if name in side[i]] for side in sides for name in side[i]} for i in range(3)
    )
    pair, null, half = ({name: float(np.mean(values)) for name, values in one.items()} for one in both)
    return pair, null, half


def _read_there(
    rows: np.ndarray, others: np.ndarray, moves: Sequence[np.ndarray], matched: int, tail: str
) -> tuple[dict[str, float], ...]:
    """Of one genre, whose effects (row, step, target) are `rows`, and those of the other genre's tokens `others`: what moves
    do, the first of which goes to the other genre and the next `matched` are as long (the rest isotropic)."""
    mine, theirs = rows.mean(axis=0), others.mean(axis=0)
    far = np.array([np.linalg.norm(one - mine) for one in moves])
    chance, anywhere = far[1 : 1 + matched], far[1 + matched :]
    pair = {
        "agreement": cosine(mine, theirs), "gated": far[0] / chance.mean(), "turned": turn(moves[0], mine, theirs),
        "gated, isotropic": far[0] / anywhere.mean(), "moved": far[0] / np.linalg.norm(mine),
    }  # fmt: skip
    null = {"gated": chance[0] / chance[1:].mean(), "turned": turn(moves[1], mine, theirs)}
    half = {"agreement": cosine(rows[::2].mean(axis=0), rows[1::2].mean(axis=0))}
    return tuple({f"{name}{tail}": float(value) for name, value in one.items()} for one in (pair, null, half))


# ------------------------------------------------------------------------------------------------------------ planted


@dataclass(frozen=True)
class Planted:
    """Two genres with a known answer, as loud and as noisy as the pair `like`, whose words, documents and counts they keep.

    Noise: Gaussian of the pair's covariance beside the word. Every next word has a code in `k` dimensions drawn with that
    covariance, of unequal strength (half to one and a half times what the sub-features of `like` have beyond noise).
    "multiplexed": one subspace, another code in each genre (also for common words), and a reader that decodes by the genre, of
    which it learns from a direction, softly and with a `leak` of the other code. "apart": two subspaces and one reader of both.
    "one meaning": one subspace, one code for common words, one reader for all. "antipodal": the toy model's answer, a dimension
    for each feature of one genre, and the opposite direction for one of the other. All read behind a LayerNorm, and the genre
    raises the logits of its own words in all. The genres lie at least four standard deviations apart.
    """

    world: World
    like: tuple[Genre, Genre]
    k: int
    features: int
    leak: float = 0.05

    def make(self, rng: np.random.Generator) -> tuple[Genre, Genre]:
        """Draw it."""
        a, b = self.like
        covariance = _mean([np.cov(half.beside.T) for genre in self.like for half in genre.halves])
        d = len(covariance)
        lists = [own_words(x.halves, y.halves, self.features) for x, y in ((a, b), (b, a))]
        shift = genre_shift(a.halves[0], b.halves[0])
        weights = np.linalg.solve(covariance + 1e-3 * np.trace(covariance) / d * np.eye(d), shift)
        shift *= max(1.0, 4 / np.sqrt(weights @ shift))
        weights /= weights @ shift
        codes = self._codes(lists, common_words(a.halves, b.halves, self.features), covariance, weights, rng)
        centre = np.mean([half.values.mean(axis=0) for genre in self.like for half in genre.halves], axis=0)
        size = 1 + max(int(half.word.max()) for genre in self.like for half in genre.halves)
        spoken = random_rows(covariance, size, rng)  # a word's own part, the same in both genres
        out = []
        for genre, code, side in zip(self.like, codes, (-0.5, 0.5), strict=True):
            halves = []
            for text in genre.halves:
                values = centre + side * shift + spoken[text.word] + random_rows(covariance, len(text.word), rng)
                for word, one in code.items():
                    values[text.following == word] += one
                halves.append(Text(values, text.word, text.following, text.document))
            base = centre + side * shift + random_rows(covariance, len(genre.base), rng)
            out.append(Genre((halves[0], halves[1]), base, self._reader(codes, lists, centre, weights)))
        return out[0], out[1]

    def _codes(
        self, lists: list[np.ndarray], common: np.ndarray, covariance: np.ndarray, weights: np.ndarray, rng: np.random.Generator
    ) -> list[dict[int, np.ndarray]]:
        """Next word -> its code (d,), of each genre, orthogonal to the `weights` (d,) that read the genre."""
        signal = [(g.halves[0].rows(w) * g.halves[1].rows(w)).sum(axis=1).mean() for g, w in zip(self.like, lists, strict=True)]
        loud = float(np.sqrt(max(np.mean(signal), 1e-12)))
        k = max(map(len, lists)) if self.world == "antipodal" else self.k
        drawn = [random_rows(covariance, k, rng) for _ in lists]
        bases = [span(rows - np.outer(rows @ weights, weights) / (weights @ weights)) for rows in drawn]
        if self.world != "apart":
            bases[1] = bases[0]
        codes = []
        for sign, basis, words in zip((1.0, -1.0), bases, lists, strict=True):
            known = np.concatenate([words, common])
            coefficients = rng.standard_normal((len(known), k))
            if self.world == "antipodal":
                coefficients[: len(words)] = sign * np.eye(k)[: len(words)]
            coefficients *= loud * rng.uniform(0.5, 1.5, (len(known), 1)) / np.linalg.norm(coefficients, axis=1, keepdims=True)
            codes.append(dict(zip(known.tolist(), coefficients @ basis, strict=True)))
        if self.world == "one meaning":
            codes[1] |= {int(word): codes[0][int(word)] for word in common}
        return codes

    def _reader(
        self, codes: list[dict[int, np.ndarray]], lists: list[np.ndarray], centre: np.ndarray, weights: np.ndarray
    ) -> Read:
        own = [set(words.tolist()) for words in lists]
        scale = float(np.mean([one @ one for code in codes for one in code.values()]))

        def read(stream: np.ndarray, targets: np.ndarray) -> np.ndarray:
            genre = (stream - centre) @ weights  # -.5 and .5
            gate = self.leak + (1 - 2 * self.leak) / (1 + np.exp(-12 * genre))
            x = (stream - centre) * np.sqrt((centre**2).mean() / (stream**2).mean(axis=-1, keepdims=True))
            logits = []
            for word in targets.tolist():
                first, second = (x @ code[word] / scale if word in code else 0.0 * gate for code in codes)
                amount = first * (1 - gate) + second * gate if self.world == "multiplexed" else first + second
                logits.append(amount + 3 * genre * ((word in own[1]) - (word in own[0])))
            return np.stack(logits, axis=-1)

        return read
