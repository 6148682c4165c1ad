"""How many things does a unit answer to? Measures of polysemanticity behind one interface, none of which asks a language model.

    text = metrics.labelled(split, rows.place, stream)       # tokens with what is known about them
    metrics.score(values, text, ["concentration"])           # one row per unit; high = one concept

All read the whole range of activation, never the top contexts alone: what a token counts for is the unit's *excess* there,
max(a - mean a, 0). Whatever is chosen (a concept, a rule) is chosen on one half of the documents and scored on the other, both
ways. Concepts are those of `planted.concepts` and the distributional classes of words: a unit whose concept is not on the list
scores low, so that scores compare units that are read with the same list.

- ``rule``: F1 of the best concept at telling firings from all other tokens (Foote et al. 2305.19911, N2G, without its graph).
- ``clusters``: how badly the firings divide in two to four when each is seen as the unit sees it, its input times the unit's
  weights (neuron embeddings, Foote 2411.08166): one minus the best silhouette.
- ``labels``: by how much knowing where the excess lies narrows genre, segment and character class down (entropy against base).
- ``detection``: balanced accuracy of the best concept on firings and hard negatives, tokens of words that the unit fires on
  where it is silent (delphi's protocol, Paulo et al. 2410.13928, with a rule for a language model).
- ``effects``: cosine of what the model predicts at the firings of one of two clusters and of the other.
- ``one token``: share of the excess on the unit's commonest word. Kept beside the others, for it games most of them.
- ``beyond tokens``: variance that one concept explains after each word's own mean is taken away (after the 2 x 2 of word and
  meaning, Ait Hou and Hwa 2604.00443; scores do not part trained from untrained models until single-token units are set apart:
  Bricken et al. 2023, Heap et al. 2501.17727).
- ``concepts``: one over the effective number of concepts. They are taken one after the other by the variance they explain, each
  from the tokens that none before it has; the height h of one is the unit's mean excess there over that elsewhere, and the
  number is (sum of h^2)^2 / sum of h^4, the participation ratio of the squares. A rare concept counts as much as a common one,
  a weak one less than a strong one, and a unit that is a little on everywhere has very many. New here.
- ``top concepts``: the same when only the strongest firings count: the illusion that looking at top contexts gives.
- ``top rule``: F1 of the rule judge on the ten strongest contexts, as problem 4.37 asks (`judge.judge`); a rule may join three
  conditions. By far the slowest.

Null: the labels of other tokens (`Text.shifted`), which keeps everything about the unit. Truth: `planted.uneven` and
`directions`, units of a known number of concepts. Misleads where two concepts of the list are one to the model (digits, and
digits in code), and where the list lacks what the unit reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import t as student

from superscope.lms.corpus.splits import Split
from superscope.lms.corpus.wordclasses import forms, word_classes
from superscope.lms.model import activations
from superscope.lms.model.language_model import LanguageModel
from superscope.lms.reading import judge, planted
from superscope.lms.reading.planted import Concept

OFTEN = 1 / 1500  # a word on a smaller share of the tokens is no concept of its own
STEPS = 64  # concepts taken of a unit at most
FEWEST, SURE = 8, 1e-4  # tokens that a height rests on; chance of one as sure without a concept, were documents alike
GROUPS, FEW_GROUPS = 24, 4  # of documents, by which errors are told; how many at least must have a concept
FIRES = 0.5  # a unit fires above this share of what one token in a thousand exceeds
SILENT = 0.1
DRAWN, DIVISIONS = 96, 4  # firings of a unit that are clustered, and in how many clusters at most
TOP, BACKGROUND = 10, 40  # contexts that the rule judge sees, and random ones
JUDGED_ROWS = 800  # of a text, from which a unit is judged
_BLOCK = 64  # units whose tokens are held at once


@dataclass(frozen=True)
class Text:
    """Tokens with what is known about them.

    place: (token,) in the split. holds: (concept, token) 1 where a concept holds: the first `own` are those of
    `planted.concepts`, then come classes of words, and words. form: (token,) number of its word, case and blanks aside. first:
    (token,) bool, the half that is chosen on first. stream: (token, d) what the units read, and predicts: (token, e) what the
    model makes of it, for the two metrics that ask for them.
    """

    split: Split
    place: np.ndarray
    names: list[str]
    holds: sparse.csr_matrix
    own: int
    form: np.ndarray
    first: np.ndarray
    stream: np.ndarray | None = None
    predicts: np.ndarray | None = None

    @cached_property
    def words(self) -> sparse.csr_matrix:
        """(word, token) 1 where a token is the word, of all words."""
        n = len(self.form)
        return sparse.csr_matrix((np.ones(n, np.float32), (self.form, np.arange(n))), shape=(int(self.form.max()) + 1, n))

    @property
    def document(self) -> np.ndarray:
        """(token,) of the split's documents."""
        return self.split.document[self.place]

    def pool(self, fewest: int = 150) -> list[Concept]:
        """Concepts that can be planted here, told of these tokens alone: none is a mere class, all are on `fewest` tokens."""
        often = [k for k in range(self.own) if self.holds.indptr[k + 1] - self.holds.indptr[k] >= fewest]
        return [Concept(self.names[k], self.holds[k].toarray().ravel() > 0) for k in often]

    @cached_property
    def labels(self) -> np.ndarray:
        """(token,) number of the combination of genre, segment and character class."""
        split, place = self.split, self.place
        codes = np.stack([split.genre[place], split.segment[place], split.char_class[place]])
        return np.asarray(np.unique(codes, axis=1, return_inverse=True)[1]).ravel()

    @cached_property
    def cells(self) -> tuple[np.ndarray, sparse.csr_matrix]:
        """(token,) number of the cell, all tokens of which hold the same concepts; (concept, cell) which those are."""
        turned = self.holds.T.tocsr()
        weight = np.random.default_rng(0).random((2, self.holds.shape[0]))
        keys = np.stack([turned @ one for one in weight])  # tokens of equal keys hold equal concepts
        _, at, cell = np.unique(keys.round(9), axis=1, return_index=True, return_inverse=True)
        return np.asarray(cell).ravel(), self.holds[:, at].tocsr()

    def only(self, keep: np.ndarray) -> Text:
        """Some of the tokens, (token,) bool."""
        cut = [None if one is None else one[keep] for one in (self.stream, self.predicts)]
        return Text(
            self.split,
            self.place[keep],
            self.names,
            self.holds[:, keep].tocsr(),
            self.own,
            self.form[keep],
            self.first[keep],
            *cut,
        )

    def shifted(self, rng: np.random.Generator) -> Text:
        """The same tokens with the labels of others, half the text away: whole runs stay together, nothing belongs."""
        n = len(self.place)
        by = int(rng.integers(n // 4, 3 * n // 4))
        order = np.roll(np.arange(n), by)
        given = self.only(order)
        return replace(given, first=self.first)


def labelled(split: Split, place: np.ndarray, stream: np.ndarray | None = None, predicts: np.ndarray | None = None) -> Text:
    """The tokens at `place` (token,) with the concepts, word classes and words of their text; ValueError if it has none."""
    known = planted.concepts(split)
    own = len(known)
    group = word_classes(split)[split.tokens]
    known += [Concept(f"word class {k}", group == k) for k in range(int(group.max()) + 1)]
    every = forms(split.tokenizer)
    _, form = np.unique(every.of[split.tokens[place]], return_inverse=True)
    often = np.flatnonzero(np.bincount(form) >= OFTEN * len(form))
    named = every.of[split.tokens[place]]
    number = {int(form[k]): int(named[k]) for k in np.unique(form, return_index=True)[1]}
    holds = sparse.csr_matrix(np.stack([one.where[place] for one in known] + [form == k for k in often]).astype(np.float32))
    names = [one.name for one in known] + [f"word {every.names[number[int(k)]]!r}" for k in often]
    return Text(split, place, names, holds, own, form, alternate(split)[split.document[place]], stream, predicts)


def alternate(split: Split) -> np.ndarray:
    """(document,) bool: every other document of each genre."""
    genre = split.genre[split.documents["start"].to_numpy()]
    out = np.zeros(len(genre), dtype=bool)
    for one in np.unique(genre):
        out[np.flatnonzero(genre == one)[::2]] = True
    return out


def excess(values: np.ndarray) -> np.ndarray:
    """(token, unit) how far above its mean each unit is; 0 below it."""
    return np.maximum(values - values.mean(axis=0, keepdims=True), 0)


def score(values: np.ndarray, text: Text, names: Sequence[str] = ()) -> pd.DataFrame:
    """One row per unit and one column per metric of `METRICS`, high = one concept.

    values: (token, unit) at the tokens of `text`. names: which metrics; () is all that `text` has what they need for. Raises
    ValueError for an unknown name, for one that needs a stream that the text lacks, and for values that are not finite.
    """
    if values.ndim != 2 or len(values) != len(text.place) or not np.isfinite(values).all():
        raise ValueError(f"values of shape {values.shape}: expected finite numbers for {len(text.place)} tokens and any units")
    if unknown := set(names) - set(METRICS):
        raise ValueError(f"no metric {sorted(unknown)[0]!r}: choose from {', '.join(METRICS)}")
    seen = text.stream is not None and text.predicts is not None
    if not seen and set(names) & set(NEED_MODEL):
        raise ValueError(f"{', '.join(NEED_MODEL)} need text with a stream and predictions")
    chosen = [one for one in METRICS if (one in names if names else seen or one not in NEED_MODEL)]
    parts = [values[:, k : k + _BLOCK] for k in range(0, values.shape[1], _BLOCK)]
    return pd.DataFrame({one: np.concatenate([METRICS[one](part, text) for part in parts]) for one in chosen})


def both_ways(values: np.ndarray, text: Text, of: Callable[[np.ndarray, Text, np.ndarray, Text], np.ndarray]) -> np.ndarray:
    """(unit,) mean of ``of(values here, text here, values there, text there)``: chosen on one half, scored on the other."""
    halves = [(values[keep], text.only(keep)) for keep in (text.first, ~text.first)]
    return (of(*halves[0], *halves[1]) + of(*halves[1], *halves[0])) / 2


# -------------------------------------------------------------------------------------------------- effective concepts


def concepts(values: np.ndarray, text: Text) -> np.ndarray:
    """(unit,) one over the effective number of concepts, from both ways."""
    return effective(taken(excess(values), text))


def effective(heights: np.ndarray) -> np.ndarray:
    """(unit,) one over the effective number of heights (way, unit, step), mean of both ways; 1 / `STEPS` if none is sure."""
    squares = heights**2
    with np.errstate(invalid="ignore", divide="ignore"):
        one = (squares**2).sum(axis=2) / squares.sum(axis=2) ** 2
    return np.asarray(np.where(np.isfinite(one), one, 1 / STEPS).mean(axis=0))


def top_concepts(values: np.ndarray, text: Text) -> np.ndarray:
    """`concepts` of the firings alone."""
    return concepts(np.where(firings(values), values, values.min(axis=0)), text)


def taken(height: np.ndarray, text: Text, which: list[list[np.ndarray]] | None = None) -> np.ndarray:
    """(way, unit, step) heights, on one half of the documents, of the concepts taken on the other; 0 where none is sure.

    height: (token, unit) excess. which: is given, way by way, the numbers of each unit's concepts.
    """
    cell, holds = text.cells
    cells, units = holds.shape[1], height.shape[1]
    parts = []
    for keep in (text.first, ~text.first):
        at = cell[keep] * GROUPS + text.document[keep] % GROUPS
        member = sparse.csr_matrix((np.ones(len(at), np.float32), (at, np.arange(len(at)))), shape=(cells * GROUPS, len(at)))
        count = np.bincount(at, minlength=cells * GROUPS).reshape(cells, GROUPS)
        parts.append((count.astype(float), (member @ height[keep]).reshape(cells, GROUPS, units).astype(float)))
    out = np.zeros((2, units, STEPS))
    for way, ((count, total), (count_b, total_b)) in enumerate((parts, parts[::-1])):
        chosen = _take(holds, count.sum(axis=1), total.sum(axis=1))
        for unit in range(units):
            out[way, unit] = _heights(chosen[unit], holds, count_b, total_b[:, :, unit])
        if which is not None:
            which.append(chosen)
    return out


def _take(holds: sparse.csr_matrix, count: np.ndarray, total: np.ndarray) -> list[np.ndarray]:
    """Per unit the numbers of `STEPS` concepts, each explaining most variance of what those before it leave.

    count: (cell,) tokens. total: (cell, unit) their excess, whose sums per cell are all that is needed.
    """
    units = np.arange(total.shape[1])
    free = np.ones(total.shape, dtype=np.float32)
    total = total.astype(np.float32)
    chosen = np.full((STEPS, len(units)), -1)
    for step in range(STEPS):
        left, mass = count[:, None].astype(np.float32) * free, total * free
        tokens, sums = holds @ left, holds @ mass
        every = left.sum(axis=0)
        mean = mass.sum(axis=0) / np.maximum(every, 1)
        spread = np.sqrt(np.maximum(tokens * (1 - tokens / np.maximum(every, 1)), 1e-9))
        gain = np.where(tokens >= FEWEST, (sums - tokens * mean) / spread, -np.inf)
        best = gain.argmax(axis=0)
        goes_on = gain[best, units] > 0
        if not goes_on.any():
            break
        chosen[step, goes_on] = best[goes_on]
        free[:, goes_on] *= 1 - holds[best[goes_on]].toarray().T
    return [one[one >= 0] for one in chosen.T]


def _heights(chosen: np.ndarray, holds: sparse.csr_matrix, count: np.ndarray, total: np.ndarray) -> np.ndarray:
    """(step,) mean excess on the tokens of each concept less that on what it leaves; 0 where it is not `SURE`.

    count, total: (cell, group of documents). Errors are those of means over groups of documents, for tokens of one document
    are no independent witnesses.
    """
    count, total = count.copy(), total.copy()
    tokens, sums = count.sum(), total.sum()
    out = np.zeros(STEPS)
    for step, one in enumerate(chosen):
        mine = holds.indices[holds.indptr[one] : holds.indptr[one + 1]]
        n, s = count[mine].sum(axis=0), total[mine].sum(axis=0)
        tokens, sums = tokens - n.sum(), sums - s.sum()
        count[mine], total[mine] = 0, 0
        groups = int((n > 0).sum())
        if n.sum() >= FEWEST and groups >= FEW_GROUPS and tokens > 0:
            mean = s.sum() / n.sum()
            rise = mean - sums / tokens
            error = np.sqrt(((s - n * mean) ** 2).sum() * groups / (groups - 1)) / n.sum()
            out[step] = rise if rise > _errors(groups) * error else 0
    return out


@cache
def _errors(groups: int) -> float:
    """How many standard errors from so many groups are `SURE` (Student)."""
    return float(student.isf(SURE, groups - 1))


def told(values: np.ndarray, text: Text, most: int = 8) -> list[list[tuple[str, float]]]:
    """Per unit its concepts and their heights as shares of the largest, highest first: what `concepts` counts, in words."""
    which: list[list[np.ndarray]] = []
    return _told(taken(excess(values), text, which), which, text, most)


def _told(high: np.ndarray, which: list[list[np.ndarray]], text: Text, most: int = 8) -> list[list[tuple[str, float]]]:
    out = []
    for unit in range(high.shape[1]):
        mean: dict[str, float] = {}
        for way in (0, 1):
            for one, height in zip(which[way][unit], high[way, unit], strict=False):
                mean[text.names[one]] = mean.get(text.names[one], 0.0) + float(height) / 2
        top = max(mean.values(), default=0.0)
        order = sorted((name for name in mean if mean[name] > 0), key=lambda name: (-mean[name], name))
        out.append([(name, mean[name] / top) for name in order[:most]])
    return out


@dataclass(frozen=True)
class Verdict:
    """What the judge says of a unit: effective number of concepts over its whole range and in its firings alone, the concepts
    with their heights over the largest, and the share of the excess on its commonest word."""

    concepts: float
    in_firings: float
    named: list[tuple[str, float]]
    one_word: float


def verdicts(
    model: LanguageModel, split: Split, units: activations.Units, rows: int = JUDGED_ROWS, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Verdict]:  # fmt: skip
    """The judge's verdict on every unit, from at most `rows` rows of the text; ValueError for a text without concepts."""
    chosen = split.rows(min(model.n_ctx, 256), limit=rows, seed=seed)
    values = activations.values(model, chosen, units)["units"].numpy()
    text = labelled(split, chosen.place[:, 1:].ravel())
    out: list[Verdict] = []
    for k in range(0, values.shape[1], _BLOCK):
        part = values[:, k : k + _BLOCK]
        which: list[list[np.ndarray]] = []
        high = taken(excess(part), text, which)
        found = (effective(high), top_concepts(part, text), _told(high, which, text), one_token(part, text))
        out += [Verdict(float(1 / a), float(1 / b), named, float(w)) for a, b, named, w in zip(*found, strict=True)]
        if progress:
            progress(len(out), values.shape[1])
    return out


# -------------------------------------------------------------------------------------------------------- the others


def firings(values: np.ndarray) -> np.ndarray:
    """(token, unit) bool: above half of what one token in a thousand exceeds."""
    over = excess(values)
    high = np.partition(over, -max(1, len(over) // 1000), axis=0)[-max(1, len(over) // 1000)]
    return np.asarray(over > np.maximum(FIRES * high, 1e-12))


def best_rule(fires: np.ndarray, text: Text) -> np.ndarray:
    """(concept, unit) F1 of every concept at telling firings."""
    calls, rings = np.asarray(text.holds.sum(axis=1)), fires.sum(axis=0, keepdims=True)
    return np.asarray(2 * (text.holds @ fires.astype(np.float32)) / np.maximum(calls + rings, 1))


def rule(values: np.ndarray, text: Text) -> np.ndarray:
    """(unit,) F1 on unseen documents of the concept with the best F1."""

    def one(here: np.ndarray, known: Text, there: np.ndarray, unseen: Text) -> np.ndarray:
        best = best_rule(here, known).argmax(axis=0)
        return np.asarray(best_rule(there, unseen)[best, np.arange(here.shape[1])])

    return both_ways(firings(values), text, one)


def detection(values: np.ndarray, text: Text) -> np.ndarray:
    """(unit,) balanced accuracy of the best concept on firings and on hard negatives of unseen documents."""
    fires, over = firings(values), excess(values)
    silent = over < SILENT * over.max(axis=0)

    def one(here: np.ndarray, known: Text, there: np.ndarray, unseen: Text) -> np.ndarray:
        u = np.arange(here.shape[1] // 2)
        fire, quiet = there[:, : len(u)], there[:, len(u) :]
        best = best_rule(here[:, : len(u)], known).argmax(axis=0)
        called = np.asarray(unseen.holds[best].toarray()).T > 0
        hard = quiet & (unseen.words @ fire.astype(np.float32) > 0)[unseen.form]
        yes = (called & fire).sum(axis=0) / np.maximum(fire.sum(axis=0), 1)
        no = (~called & hard).sum(axis=0) / np.maximum(hard.sum(axis=0), 1)
        return np.asarray((yes + no) / 2)

    return both_ways(np.concatenate([fires, silent], axis=1), text, one)


def labels(values: np.ndarray, text: Text) -> np.ndarray:
    """(unit,) 1 - entropy of the excess over labels / entropy of the tokens over labels."""
    n = len(text.place)
    member = sparse.csr_matrix((np.ones(n, np.float32), (text.labels, np.arange(n))))
    mass, base = member @ excess(values), np.asarray(member.sum(axis=1))
    return np.asarray(1 - _entropy(mass) / _entropy(base))


def _entropy(mass: np.ndarray) -> np.ndarray:
    p = mass / np.maximum(mass.sum(axis=0, keepdims=True), 1e-12)
    return np.asarray(-(p * np.log(np.maximum(p, 1e-12))).sum(axis=0))


def one_token(values: np.ndarray, text: Text) -> np.ndarray:
    """(unit,) largest share of the excess that one word holds."""
    over = excess(values)
    return np.asarray((text.words @ over / np.maximum(over.sum(axis=0), 1e-12)).max(axis=0))


def beyond_tokens(values: np.ndarray, text: Text) -> np.ndarray:
    """(unit,) share of the excess' variance that one concept explains beyond every word's own mean, on unseen documents."""

    def one(here: np.ndarray, known: Text, there: np.ndarray, unseen: Text) -> np.ndarray:
        size = max(known.words.shape[0], unseen.words.shape[0])
        seen = np.bincount(known.form, minlength=size)[:, None]
        total = np.zeros((size, here.shape[1]))
        total[: known.words.shape[0]] = known.words @ here
        mean = (total + 3 * here.mean(axis=0)) / (seen + 3)  # three tokens' worth of the overall mean
        first, other = (_explained(v - mean[t.form], v.var(axis=0), t) for v, t in ((here, known), (there, unseen)))
        return np.asarray(np.maximum(other[first.argmax(axis=0), np.arange(here.shape[1])], 0) ** 2)

    return both_ways(excess(values), text, one)


def _explained(rest: np.ndarray, variance: np.ndarray, text: Text) -> np.ndarray:
    """(concept, unit) correlation of each concept with `rest`, in units of the whole standard deviation."""
    rate = np.asarray(text.holds.mean(axis=1))
    covered = (text.holds @ (rest - rest.mean(axis=0))) / len(rest)
    return np.asarray(covered / np.sqrt(np.maximum(rate * (1 - rate), 1e-9) * np.maximum(variance, 1e-20)))


def clusters(values: np.ndarray, text: Text) -> np.ndarray:
    """(unit,) 1 - silhouette of the best division of the firings, seen with the unit's weights."""
    return np.array([1 - found for found, _, _ in _divided(values, text)])


def effects(values: np.ndarray, text: Text) -> np.ndarray:
    """(unit,) cosine between the mean predictions, less those of all tokens, of the two clusters of firings."""
    assert text.predicts is not None
    centre = text.predicts.mean(axis=0)
    out = []
    for _, drawn, side in _divided(values, text):
        one, other = (text.predicts[drawn[side == k]].mean(axis=0) - centre for k in (0, 1))
        out.append(float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-12)))
    return np.array(out)


def top_rule(values: np.ndarray, text: Text) -> np.ndarray:
    """(unit,) score of the rule judge on the contexts of the strongest tokens, one a document, and on random ones."""
    rng = np.random.default_rng(37)
    other = rng.integers(len(text.place), size=BACKGROUND)
    return np.array([judge.judge(contexts(one, text, TOP, other)).score for one in values.T])


def contexts(values: np.ndarray, text: Text, count: int, other: np.ndarray) -> judge.Contexts:
    """Windows around the strongest token of each of the `count` strongest documents, and around the tokens `other`.

    values: (token,). Windows end with the document and with the run of text that the model saw.
    """
    document = text.document
    order = np.argsort(-values, kind="stable")
    _, first = np.unique(document[order], return_index=True)
    peak = np.concatenate([order[np.sort(first)[:count]], other])
    at = peak[:, None] + np.arange(-planted.BEFORE, planted.AFTER + 1)
    inside = np.clip(at, 0, len(values) - 1)
    run = text.place[inside] - text.place[peak][:, None] == at - peak[:, None]
    run &= (at == inside) & (document[inside] == document[peak][:, None])
    return judge.Contexts(text.split, np.where(run, text.place[inside], -1), np.where(run, values[inside], np.nan))


def _divided(values: np.ndarray, text: Text) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Per unit: the best silhouette, the tokens drawn by their excess, and which of two clusters each is in."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    assert text.stream is not None
    over, stream = excess(values), text.stream - text.stream.mean(axis=0)
    gram = stream.T @ stream + 1e-3 * len(stream) * np.eye(stream.shape[1], dtype=stream.dtype)
    reads = np.linalg.solve(gram, stream.T @ (values - values.mean(axis=0)))  # least squares: alike for any kind of unit
    rng, out = np.random.default_rng(38), []
    for unit in range(values.shape[1]):
        mass = over[:, unit].astype(np.float64)
        drawn = rng.choice(len(mass), DRAWN, p=mass / mass.sum()) if mass.sum() > 0 else rng.integers(len(mass), size=DRAWN)
        seen = stream[drawn] * reads[:, unit]
        seen = seen / np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-12)
        most = min(DIVISIONS, len(np.unique(drawn)))
        sides = [KMeans(k, n_init=1, random_state=0).fit_predict(seen) for k in range(2, most + 1)] or [np.zeros(DRAWN)]
        apart = [silhouette_score(seen, side) if len(set(side)) > 1 else 0.0 for side in sides]
        out.append((float(max(apart)), drawn, sides[0]))
    return out


Metric = Callable[[np.ndarray, Text], np.ndarray]
METRICS: dict[str, Metric] = {
    "rule": rule,
    "clusters": clusters,
    "labels": labels,
    "detection": detection,
    "effects": effects,
    "one token": one_token,
    "beyond tokens": beyond_tokens,
    "concepts": concepts,
    "top concepts": top_concepts,
    "top rule": top_rule,
}
NEED_MODEL = ("clusters", "effects")
JUDGE = "concepts"  # the metric that problem 4.38 found valid: neuroscope and the other studies read it
