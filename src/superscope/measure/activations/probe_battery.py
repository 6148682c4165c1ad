"""A battery of probes for one feature: six kinds chosen alike, a control task, and how many directions until chance.

Kinds: mean difference, LDA (shrunk), logistic, k-sparse (logistic on the k units with the largest mean difference, Gurnee et
al. 2023, arXiv 2305.01610), the best single unit, and the best of as many random directions as there are units. Each has a
setting or a candidate to choose, and all choose it by AUC on the same validation documents; what is reported comes from test
documents. Tokens of one document never lie on two sides.

Null: the same battery on `permuted` labels (documents exchanged, runs of labels kept). Control task (Hewitt and Liang, arXiv
1909.03368): types get random labels, and `selectivity` is the real AUC less that on the control; a probe that learns types by
heart has none. `amnesic` (INLP, Ravfogel et al. 2020, arXiv 2004.07667; amnesic probing, Elazar et al., arXiv 2006.00995)
takes directions away until a probe is at chance.

Misleads: a probe that succeeds says what a linear reader could take, not what the model takes: intervene. The direction that
reads best is not the one along which the feature is written when noise is correlated; `Probe.pattern` is the latter (Haufe et
al. 2014), and patterns of any two probes agree somewhat where a few directions are loud: compare with those of the random kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from superscope.measure.activations.probes import auc
from superscope.measure.activations.subspaces import whitener

KINDS = ("mean difference", "LDA", "logistic", "k-sparse", "best unit", "random")
DENSE = KINDS[:3]
SHRINKAGE = (1e-3, 1e-2, 0.1, 0.3, 0.6)
INVERSE_PENALTY = (1e-4, 1e-3, 1e-2, 0.1, 1.0)


@dataclass(frozen=True)
class Parts:
    """Rows (n,) bool for fitting, choosing and judging; no document lies in two of them."""

    fit: np.ndarray
    choose: np.ndarray
    judge: np.ndarray


@dataclass(frozen=True)
class Probe:
    """One kind: unit direction (d,) that reads, pattern (d,) unit covariance of the values with its score (sign: more is true),
    the setting chosen, AUC on validation and on test documents, scores (n,) of all rows."""

    kind: str
    direction: np.ndarray
    pattern: np.ndarray
    setting: float
    chosen_at: float
    auc: float
    scores: np.ndarray


def split_documents(document: np.ndarray, truth: np.ndarray, seed: int = 0, shares: Sequence[float] = (0.5, 0.2)) -> Parts:
    """Documents dealt into three parts: `shares` to fit and to choose, the rest to judge, in a random order that gives every
    part all labels. ValueError when fifty orders do not."""
    rng, names = np.random.default_rng(seed), np.unique(document)
    first, second = (max(1, round(len(names) * part)) for part in shares)
    for _ in range(50):
        order = rng.permutation(names)
        dealt = (order[:first], order[first : first + second], order[first + second :])
        parts = [np.isin(document, some) for some in dealt]
        if all(len(np.unique(truth[rows])) == len(np.unique(truth)) > 1 for rows in parts):
            return Parts(*parts)
    raise ValueError(f"{len(names)} documents cannot be dealt into three parts that all hold every label: give more documents")


def permuted(truth: np.ndarray, document: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The null: labels (n,) of whole documents in another order, laid over the rows anew. Keeps their number and their runs,
    and, where documents are equally long, which labels share a document."""
    names = rng.permutation(np.unique(document))
    out = np.empty_like(truth)
    out[np.argsort(document, kind="stable")] = np.concatenate([truth[document == one] for one in names])
    return out


def battery(
    h: np.ndarray, truth: np.ndarray, document: np.ndarray, k: int = 8, seed: int = 0, kinds: Sequence[str] = KINDS,
    parts: Parts | None = None,
) -> dict[str, Probe]:  # fmt: skip
    """Probes of every kind for a Boolean feature, truth (n,), in values h (n, d) of rows from `document` (n,).

    Units are put on one scale by their spread on the fitting documents; directions and patterns are those of `h` as it came.
    parts: the three parts, if not those of `split_documents`; rows in none of them only get scores.
    """
    if wrong := set(kinds) - set(KINDS):
        raise ValueError(f"no kind of probe {sorted(wrong)}: there are {', '.join(KINDS)}")
    truth = np.asarray(truth, dtype=bool)
    parts = split_documents(document, truth, seed) if parts is None else parts
    spread = np.where((sd := h[parts.fit].std(axis=0)) > 0, sd, 1.0)
    z = (h - h[parts.fit].mean(axis=0)) / spread
    covariance = np.cov(h[parts.fit].T)
    out = {}
    for kind in kinds:
        candidates = _candidates(kind, z[parts.fit], truth[parts.fit], k, seed)
        reads = np.stack([direction for _, direction in candidates], axis=1)  # (d, candidates)
        quality = auc(z[parts.choose] @ reads, np.repeat(truth[parts.choose, None], reads.shape[1], axis=1))
        best = int(quality.argmax())
        direction = reads[:, best] / spread
        scores = h @ direction
        pattern = covariance @ direction
        out[kind] = Probe(
            kind, _unit(direction), _unit(pattern), candidates[best][0], float(quality[best]),
            float(auc(scores[parts.judge, None], truth[parts.judge, None])[0]), scores,
        )  # fmt: skip
    return out


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-300)


def _candidates(kind: str, z: np.ndarray, truth: np.ndarray, k: int, seed: int) -> list[tuple[float, np.ndarray]]:
    """(setting, direction (d,)) of a kind, fitted on z (n, d); those to choose from."""
    d = z.shape[1]
    gap = z[truth].mean(axis=0) - z[~truth].mean(axis=0)
    if kind == "mean difference":
        return [(np.nan, gap)]
    if kind == "LDA":
        return list(zip(SHRINKAGE, lda(z, truth), strict=True))
    if kind == "logistic":
        return [(c, _logistic(z, truth, c)) for c in INVERSE_PENALTY]
    if kind == "k-sparse":
        chosen = np.argsort(-np.abs(gap))[:k]
        out = []
        for c in INVERSE_PENALTY:
            direction = np.zeros(d)
            direction[chosen] = _logistic(z[:, chosen], truth, c)
            out.append((c, direction))
        return out
    axes = np.eye(d) if kind == "best unit" else np.random.default_rng([seed, d]).standard_normal((d, d))
    signs = np.sign(gap @ axes)  # which end means true is fitted; which axis is chosen
    return [(float(i), axes[:, i] * (signs[i] or 1.0)) for i in range(d)]


def lda(z: np.ndarray, truth: np.ndarray, shrinkage: Sequence[float] = SHRINKAGE) -> np.ndarray:
    """(setting, d) directions of linear discriminant analysis of z (n, d): the difference of means, divided by the covariance
    inside classes mixed with `shrinkage` of an isotropic one as large. One eigendecomposition for all settings."""
    gap = z[truth].mean(axis=0) - z[~truth].mean(axis=0)
    inside = np.where(truth[:, None], z - z[truth].mean(axis=0), z - z[~truth].mean(axis=0))
    covariance = inside.T @ inside / len(z)
    size = np.trace(covariance) / len(covariance)
    if len(shrinkage) == 1:
        mixed = (1 - shrinkage[0]) * covariance + shrinkage[0] * size * np.eye(len(covariance))
        return np.linalg.solve(mixed, gap)[None]
    values, vectors = np.linalg.eigh(covariance)
    along = vectors.T @ gap
    return np.stack([vectors @ (along / ((1 - s) * np.maximum(values, 0) + s * size)) for s in shrinkage])


def _logistic(z: np.ndarray, truth: np.ndarray, c: float) -> np.ndarray:
    """(d,) logistic coefficients, both labels weighing the same."""
    from sklearn.linear_model import LogisticRegression

    return np.asarray(LogisticRegression(C=c, class_weight="balanced", max_iter=300).fit(z, truth).coef_[0])


def forward(z: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """(k,) units of z (n, d) in the order of greedy forward selection for truth (n,) bool: each is the one that, joined to
    those before it and all weights fitted anew, leaves the least squared error, both labels weighing the same.

    It finds what the largest mean differences miss: units that complement each other among many that say the same, and a unit
    that knows nothing but the noise of another. It misleads with few rows: of d units one fits the residue by chance, so the
    choice is to be judged elsewhere. Fewer than k units where no more are independent.
    """
    weight = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())
    x = (z - weight @ z) * np.sqrt(weight)[:, None]
    rest = np.where(truth, 1.0, -1.0) * np.sqrt(weight)
    least = 1e-6 * np.maximum((x**2).sum(axis=0), 1e-12)
    chosen: list[int] = []
    for _ in range(min(k, z.shape[1])):
        size = (x**2).sum(axis=0)
        gain = np.where(size > least, (x.T @ rest) ** 2 / np.maximum(size, least), -1.0)
        gain[chosen] = -1.0
        best = int(gain.argmax())
        if gain[best] < 0:
            break
        axis = x[:, best] / np.sqrt(size[best])
        rest = rest - axis * (axis @ rest)
        x = x - np.outer(axis, axis @ x)
        chosen.append(best)
    return np.array(chosen, dtype=int)


def sparse(h: np.ndarray, truth: np.ndarray, parts: Parts, k: int) -> Probe:
    """The better logistic probe of k units of h (n, d): those with the largest mean difference (Gurnee et al. 2023) or those of
    `forward`, its penalty and the selection chosen on `parts.choose`. Null: truth `permuted`. See `forward` for what the first
    alone misses."""
    spread = np.where((sd := h[parts.fit].std(axis=0)) > 0, sd, 1.0)
    middle = h[parts.fit].mean(axis=0)
    fitting = ((h[parts.fit] - middle) / spread).astype(float)
    on = truth[parts.fit]
    gap = fitting[on].mean(axis=0) - fitting[~on].mean(axis=0)
    found: list[tuple[float, float, np.ndarray]] = []
    for units in (np.argsort(-np.abs(gap))[:k], forward(fitting, on, k)):
        for c in INVERSE_PENALTY:
            direction = np.zeros(h.shape[1])
            direction[units] = _logistic(fitting[:, units], on, c) / spread[units]
            quality = auc((h[parts.choose][:, units] @ direction[units])[:, None], truth[parts.choose, None])[0]
            found.append((float(quality), c, direction))
    quality, c, direction = max(found, key=lambda one: one[0])
    units = np.flatnonzero(direction)
    scores = h[:, units] @ direction[units]
    pattern = (h[parts.fit] - middle).T @ (scores[parts.fit] - scores[parts.fit].mean()) / parts.fit.sum()
    judged = auc(scores[parts.judge, None], truth[parts.judge, None])[0]
    return Probe("k-sparse", _unit(direction), _unit(pattern), c, quality, float(judged), scores)


def refit(probe: Probe, h: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(d,) unit direction of the same kind with the same setting, fitted on other `rows` (n,) bool. Dense kinds only."""
    if probe.kind not in DENSE:
        raise ValueError(f"a probe of kind {probe.kind!r} cannot be fitted anew: only {', '.join(DENSE)}")
    inside, on = h[rows], truth[rows]
    spread = np.where((sd := inside.std(axis=0)) > 0, sd, 1.0)
    z = (inside - inside.mean(axis=0)) / spread
    if probe.kind == "LDA":
        direction = lda(z, on, (probe.setting,))[0]
    elif probe.kind == "logistic":
        direction = _logistic(z, on, probe.setting)
    else:
        direction = z[on].mean(axis=0) - z[~on].mean(axis=0)
    return _unit(direction / spread)


def agreement(probes: dict[str, Probe], of: str = "pattern") -> np.ndarray:
    """(probe, probe) cosines between their patterns, or their directions with of="direction". Random directions of d: about
    1 / sqrt(d); patterns of random directions agree more where the values have few loud directions."""
    rows = np.stack([getattr(probe, of) for probe in probes.values()])
    return rows @ rows.T


# -------------------------------------------------------------------------------------------------------- control tasks


def control_task(types: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) a random label for each type (token, ...), the same wherever it occurs: true for about `share` of the rows."""
    names, place, count = np.unique(types, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    before = np.cumsum(count[order]) - count[order] / 2  # a type is true when most of it lies below the share
    label = np.zeros(len(names), dtype=bool)
    label[order] = before < share * len(types)
    return label[place]


def selectivity(
    h: np.ndarray, truth: np.ndarray, types: np.ndarray, document: np.ndarray, tasks: int = 3, seed: int = 0, k: int = 8,
    kinds: Sequence[str] = KINDS, parts: Parts | None = None,
) -> dict[str, float]:  # fmt: skip
    """Kind -> AUC on the feature less the mean AUC on `tasks` control tasks with as many true rows.

    0: nothing but types known by heart; .5: the most there can be. It misleads for a feature that is itself a property of types
    (that one is learned by heart with good reason), and a probe too weak to learn types is always selective.
    """
    real = battery(h, truth, document, k, seed, kinds, parts)
    rng = np.random.default_rng([seed, 1])
    share = float(np.mean(truth))
    controls = [battery(h, control_task(types, share, rng), document, k, seed, kinds, parts) for _ in range(tasks)]
    return {kind: real[kind].auc - float(np.mean([one[kind].auc for one in controls])) for kind in kinds}


# ------------------------------------------------------------------------------------------------------- null-space iteration


@dataclass(frozen=True)
class Amnesia:
    """directions (j, d) orthonormal, in the order taken away; quality (j + 1,): held-out AUC before each and after the last;
    chance: the largest AUC on permuted labels. count: how many until chance, NaN where `most` was not enough."""

    directions: np.ndarray
    quality: np.ndarray
    chance: float

    @property
    def count(self) -> float:
        low = np.flatnonzero(self.quality <= self.chance)
        return float(low[0]) if len(low) else float("nan")


def amnesic(
    h: np.ndarray, truth: np.ndarray, document: np.ndarray, most: int = 20, draws: int = 20, seed: int = 0, whiten: bool = True
) -> Amnesia:
    """Take away the direction that reads a label best, again and again, until held-out AUC is at chance.

    truth (n,): Boolean, or any number of classes, judged by the mean AUC of each against the others; C classes at the corners
    of a simplex take C - 1 directions. whiten: in coordinates in which the noise inside classes is white. There a Boolean
    feature takes one direction, whatever the noise, as no linear reader is left when the means agree (Belrose et al., arXiv
    2306.03819); without, the count grows with correlations of the noise. directions: in the coordinates that were used.
    """
    place = np.unique(truth, return_inverse=True)[1]
    parts = split_documents(document, place, seed)
    rng = np.random.default_rng([seed, 2])
    z = h - h[parts.fit].mean(axis=0)
    if whiten:
        z = z @ _whitener(z[parts.fit], place[parts.fit])
    kept = np.eye(z.shape[1])  # orthonormal basis of what is left, columns
    shuffled = [permuted(place, document, rng) for _ in range(draws)]
    chance = max(_macro_auc(z, one, parts)[0] for one in shuffled if _all_there(one, parts))
    taken: list[np.ndarray] = []
    quality: list[float] = []
    for _ in range(most + 1):
        value, direction = _macro_auc(z @ kept, place, parts)
        quality.append(value)
        if value <= chance or len(taken) == most or kept.shape[1] == 1:
            break
        taken.append(kept @ direction)
        kept = np.linalg.svd(np.stack(taken), full_matrices=True)[2][len(taken) :].T
    return Amnesia(np.array(taken).reshape(len(taken), z.shape[1]), np.array(quality), chance)


def _all_there(place: np.ndarray, parts: Parts) -> bool:
    classes = len(np.unique(place))
    return all(len(np.unique(place[rows])) == classes for rows in (parts.fit, parts.judge))


def _whitener(z: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(d, d) that makes the covariance inside classes of z (n, d) the identity, shrunk by 1 % towards its mean."""
    means = np.stack([z[place == c].mean(axis=0) for c in range(place.max() + 1)])
    return whitener(np.cov((z - means[place]).T))


def _macro_auc(z: np.ndarray, place: np.ndarray, parts: Parts) -> tuple[float, np.ndarray]:
    """(held-out AUC, mean over classes; unit direction) of ridge probes, one class against the others; the direction is the
    first singular one of their coefficients."""
    classes = np.eye(place.max() + 1)[place]  # (n, C)
    inside = z[parts.fit]
    target = classes[parts.fit] - classes[parts.fit].mean(axis=0)
    gram = inside.T @ inside
    weights = np.linalg.solve(gram + 1e-2 * np.trace(gram) / len(gram) * np.eye(len(gram)), inside.T @ target)
    scores = z[parts.judge] @ weights
    both = classes[parts.judge] > 0
    direction = np.linalg.svd(weights / np.maximum(np.linalg.norm(weights, axis=0), 1e-300), full_matrices=False)[0][:, 0]
    return float(auc(scores, both).mean()), direction
