"""Asymmetric superposition with its inhibitor, in any matrix of what neurons read and what they write.

TMS (arXiv 2209.10652, section 8): one neuron serves two features, A and B, with equal products but unequal parts. It reads A
strongly and writes it weakly, reads B weakly and writes it strongly. So whenever A is on, B's output is raised by strong times
strong, and a second neuron that reads A writes against B. `search` scores every neuron and ordered pair of features:

    serve = min over A, B of (read * write of the neuron) / (all that serve the feature)
    cancel = what the best inhibitors (one or two) take off B while A is on, over what the neuron puts there, at most 1
    score = serve * cancel, where read(A) >= 2 read(B) and write(B) >= write(A), else 0

Writes are shares of all that serves a feature (`scaled`), so loud features and loud neurons count as others do. Features are
one-sided; a signed feature is two (`halves`). serve, hence score, is at most `attainable`: a neuron's second-largest share.

Nulls, of which the largest score of a draw counts (millions are searched): `motifs.regrouped` of scaled weights keeps each
neuron's shares and breaks which features they meet at; `answered` keeps who serves what, what neurons read and how features
overlap, and gives every inhibitor the W_out of another neuron. Plants: `plant` into the matrices, `Layer.planted` into the
activations and W_out of a layer, from which reads and writes are then estimated as in a real one.
It misleads where features overlap in what they write: read outputs through a dual basis (`written`), and leave out pairs that
the layer writes alike (`apart`), which may be one feature counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from superscope.measure.weights import motifs
from superscope.measure.weights._arrays import to_numpy

LOPSIDED = 2.0
ALIKE = 0.7  # cosine of what is written for two features from which on they may be one
LOUDEST = 10  # neurons that say nothing about whether two features are written alike
FLOOR = 0.1  # share of a feature at which the search starts; it goes down until it has enough


@dataclass(frozen=True)
class Hits:
    """The best motifs, best first, each (hit,): score, neuron, feature read strongly (a) and weakly (b), its best inhibitor;
    serve and cancel, the two factors."""

    score: np.ndarray
    neuron: np.ndarray
    a: np.ndarray
    b: np.ndarray
    inhibitor: np.ndarray
    serve: np.ndarray
    cancel: np.ndarray


def halves(W_in, W_out) -> tuple[np.ndarray, np.ndarray]:
    """(m, 2n), (2n, m): a signed feature as two one-sided ones with one output."""
    w1, w2 = to_numpy(W_in), to_numpy(W_out)
    return np.concatenate([w1, -w1], axis=1), np.concatenate([w2, w2], axis=0)


def scaled(W_in, W_out) -> np.ndarray:
    """W_out (n, m) over all that serves each feature: products with what is read are then shares of a feature."""
    reads, writes = np.maximum(to_numpy(W_in), 0), to_numpy(W_out)
    return writes / np.maximum(np.maximum(reads * writes.T, 0).sum(axis=0), 1e-12)[:, None]


def search(W_in, W_out, most: int = 100, allowed=None, answers=None, team: int = 1) -> Hits:
    """The `most` best motifs. W_in (m, n): what neurons read of one-sided features; W_out (n, m): what they write to them, in
    shares (`scaled`).

    allowed: (n, n) bool, the pairs searched (all). answers: (n, m), what neurons write as inhibitors (W_out). team: how many
    inhibitors count together, the best ones.
    """
    reads, writes = np.maximum(to_numpy(W_in), 0), to_numpy(W_out).T  # (m, n) both
    if reads.shape != writes.shape:
        raise ValueError(
            f"W_in has shape {reads.shape} and W_out {writes.shape[::-1]}: expected (neuron, feature) and its turn"
        )
    against = writes if answers is None else to_numpy(answers).T
    share, floor = np.maximum(reads * writes, 0), FLOOR
    while True:  # a motif with a score above the floor has both shares above it
        i, a, b = _lopsided(reads, writes, share, floor, allowed)
        found = _answered(reads, writes, share, against, i, a, b, team)
        if floor == 0 or (found.score >= floor).sum() >= most:
            return Hits(*(column[:most] for column in vars(found).values()))
        floor = floor / 4 if floor > 1e-3 else 0.0


def _lopsided(
    reads: np.ndarray, writes: np.ndarray, share: np.ndarray, floor: float, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(i, a, b) of neurons that serve a and b with more than `floor` each, and in unequal parts."""
    over = share > floor
    order = np.argsort(~over, axis=1, kind="stable")[:, : max(1, int(over.sum(axis=1).max(initial=0)))]
    i, k, other = np.nonzero(np.take_along_axis(over, order, 1)[:, :, None] & np.take_along_axis(over, order, 1)[:, None, :])
    a, b = order[i, k], order[i, other]
    good = (a != b) & (reads[i, a] >= LOPSIDED * reads[i, b]) & (writes[i, b] >= writes[i, a])
    if allowed is not None:
        good &= np.asarray(allowed)[a, b]
    return i[good], a[good], b[good]


def _answered(reads, writes, share, against, i: np.ndarray, a: np.ndarray, b: np.ndarray, team: int) -> Hits:
    """Motifs with the inhibitors that take most off, best first."""
    serve, by, cancel = np.minimum(share[i, a], share[i, b]), np.zeros(len(i), int), np.zeros(len(i))
    for some in np.array_split(np.arange(len(i)), max(1, len(i) // 1000)):
        put = reads[:, a[some]] * against[:, b[some]]  # (neuron, motif): what each puts on b while a is on
        put[i[some], np.arange(len(some))] = 0
        by[some] = put.argmin(axis=0) if len(some) else 0
        off = np.minimum(np.partition(put, min(team, len(put)) - 1, axis=0)[:team], 0).sum(axis=0)
        cancel[some] = np.clip(-off / np.maximum(reads[i[some], a[some]] * writes[i[some], b[some]], 1e-12), 0, 1)
    best = np.argsort(-serve * cancel, kind="stable")
    return Hits(*(column[best] for column in (serve * cancel, i, a, b, by, serve, cancel)))


def attainable(W_in, W_out) -> float:
    """The largest second-largest share of a neuron: no motif can score more."""
    share = np.maximum(np.maximum(to_numpy(W_in), 0) * to_numpy(W_out).T, 0)
    return float(np.sort(share, axis=1)[:, -2].max())


def limits(W_in, W_out, draws: int, rng: np.random.Generator, **options) -> np.ndarray:
    """(draws,) the best score of each relabelling (`motifs.regrouped`). options: of `search`."""
    return np.array(
        [search(*motifs.regrouped(W_in, W_out, rng), 1, **options).score.max(initial=0) for _ in range(draws)], dtype=float
    )


def swapped(W_in, W_out, draws: int, rng: np.random.Generator, **options) -> np.ndarray:
    """(draws,) the best score when every neuron inhibits with the W_out of another. options: of `search`."""
    writes = to_numpy(W_out)
    turned = (writes[:, rng.permutation(writes.shape[1])] for _ in range(draws))
    return np.array([search(W_in, writes, 1, answers=one, **options).score.max(initial=0) for one in turned], dtype=float)


def written(reads, W_out) -> tuple[np.ndarray, np.ndarray]:
    """(n, m) what neurons write for features, and (n, d) what the layer writes for each. reads (m, n), W_out (m, d).

    Measured against the `dual` of what the layer writes: what is written for two features alike does not count for both.
    """
    shares = to_numpy(reads).T @ to_numpy(W_out)
    return dual(shares) @ to_numpy(W_out).T, shares


def dual(shares: np.ndarray) -> np.ndarray:
    """(n, d) directions that pick each of `shares` (n, d) out of their sum, with a ridge of 1e-2 of their mean square."""
    overlap = shares @ shares.T
    return np.asarray(np.linalg.solve(overlap + 1e-2 * np.trace(overlap) / len(overlap) * np.eye(len(overlap)), shares))


def apart(reads, W_out) -> np.ndarray:
    """(n, n) bool: pairs of features for which the layer does not write alike. reads (m, n), W_out (m, d).

    What the ten loudest neurons add for a feature is left out: a motif itself makes its two features alike.
    """
    reads, out = to_numpy(reads), to_numpy(W_out)
    loud = np.abs(reads) * np.linalg.norm(out, axis=1)[:, None]
    rank = np.argsort(np.argsort(-loud, axis=0, kind="stable"), axis=0, kind="stable")
    shares = np.where(rank < LOUDEST, 0, reads).T @ out
    unit = shares / np.maximum(np.linalg.norm(shares, axis=1, keepdims=True), 1e-12)
    return np.abs(unit @ unit.T) <= ALIKE


def moments(on: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(feature + 2, neuron) sums that a `Layer` is made of, of a batch of tokens: on' values, values, their squares."""
    return np.concatenate([on.T @ values, values.sum(axis=0)[None], np.square(values).sum(axis=0)[None]]).astype(np.float64)


@dataclass(frozen=True)
class Layer:
    """An MLP layer seen through features.

    on: (token, feature) float32, 0 or 1. together: (feature, feature) tokens with both. reads: (neuron, feature) what a feature
    adds to an activation, in a regression on all of them. noise: (neuron,) standard deviation of activations. W_out:
    (neuron, d). block: (token,) int, what strengths are drawn for (documents).
    """

    on: np.ndarray
    together: np.ndarray
    reads: np.ndarray
    noise: np.ndarray
    W_out: np.ndarray
    block: np.ndarray

    @classmethod
    def of(cls, on: np.ndarray, block: np.ndarray, sums: np.ndarray, W_out) -> Layer:
        """From the sum over all batches of `moments`."""
        together, mean = (on.T @ on).astype(np.float64), sums[-2] / len(on)
        noise = np.sqrt(np.maximum(sums[-1] / len(on) - mean**2, 0))
        reads = _regressed(together, len(on), sums[:-2] - np.outer(np.diag(together), mean)).T
        return cls(on, together, reads, noise, to_numpy(W_out), block)

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """reads (m, n), writes (n, m) in shares, and (n, n) bool the pairs a motif is looked for: not written alike, and A is
        mostly on without B."""
        writes = written(self.reads, self.W_out)[0]
        mostly = self.together <= 0.5 * np.diag(self.together)[:, None]
        return self.reads, scaled(self.reads, writes), apart(self.reads, self.W_out) & mostly

    def planted(
        self, size: float, rng: np.random.Generator, team: int = 1, lopsided: float = 3.0, cancel: float = 0.7,
        misses: float = 0.2,
    ) -> tuple[Layer, tuple[int, int, int]]:  # fmt: skip
        """(layer, (neuron, a, b)): random neurons whose activations and W_out are replaced by a motif's, reads estimated anew.

        The neuron gets `size` (times 0.8 to 1.2 each) of what serves a and b, and `team` inhibitors share `cancel` of its
        interference. Features are missed on a share `misses` of their tokens and come with 0.5 to 1.5 times their strength by
        block, on noise as large as the neurons' own activations; whatever else these neurons write is kept.
        """
        shares = written(self.reads, self.W_out)[1]
        pairs = np.argwhere(self.weights()[2])
        a, b = (int(k) for k in pairs[rng.integers(len(pairs))])
        i, *others = (int(k) for k in rng.choice(len(self.reads), 1 + team, replace=False))
        loud = (1 - misses) * np.maximum(self.reads.max(axis=1), self.noise)
        truth = self.reads.copy()
        truth[[i, *others]] = 0
        truth[[i, *others], a], truth[i, b] = loud[[i, *others]], loud[i] / lopsided
        out = self._motif(truth, shares, (i, a, b), others, size * rng.uniform(0.8, 1.2, 2), cancel)
        columns = []
        for one in (i, *others):
            made = rng.normal(0, self.noise[one], len(self.on))
            for f in (a, b):
                strength = rng.uniform(0.5, 1.5, int(self.block.max()) + 1)[self.block] / (1 - misses)
                made += truth[one, f] * strength * (rng.random(len(made)) >= misses) * self.on[:, f]
            columns.append(self.on.T @ (made - made.mean()).astype(self.on.dtype))
        reads = self.reads.copy()
        reads[[i, *others]] = _regressed(self.together, len(self.on), np.stack(columns, axis=1).astype(np.float64)).T
        return replace(self, reads=reads, W_out=out), (i, a, b)

    def _motif(
        self, truth: np.ndarray, shares: np.ndarray, place: tuple[int, int, int], others: list[int], serve: np.ndarray,
        cancel: float,
    ) -> np.ndarray:  # fmt: skip
        """W_out with what the motif writes, so large that true reads give the shares `serve` (2,) and `cancel`."""
        (i, a, b), out = place, self.W_out.copy()
        basis = np.linalg.qr(dual(shares)[[a, b]].T)[0]
        rest = self.W_out[[place[0], *others]]
        rest = rest - rest @ basis @ basis.T
        parts, off = serve / truth[i, [a, b]], np.full(len(others), cancel / len(others)) * serve[1] * truth[i, a] / truth[i, b]
        off = off / truth[others, a]
        for _ in range(20):  # what the layer writes for a and b depends on what these neurons write
            for j, add, other in zip((i, *others), [parts @ shares[[a, b]], *(-off[:, None] * shares[b])], rest, strict=True):
                out[j] = add + other
            writes = written(truth, out)[0]
            every = np.maximum(np.maximum(truth, 0) * writes.T, 0).sum(axis=0)[[a, b]]
            have = np.maximum(truth[i, [a, b]] * writes[[a, b], i] / every, serve / 10)
            parts = parts * np.clip(serve / have, 0.5, 2) ** 0.7
            taken = -truth[others, a] * writes[b, others] / max(truth[i, a] * writes[b, i], 1e-12)
            off = off * np.clip(cancel / len(others) / np.maximum(taken, max(cancel, 1e-9) / 10 / len(others)), 0.5, 2) ** 0.7
        return out


def _regressed(together: np.ndarray, tokens: int, moments: np.ndarray) -> np.ndarray:
    """(feature, k) what each feature adds, from on' (values - their mean) (feature, k)."""
    gram = together - np.outer(np.diag(together), np.diag(together)) / tokens
    return np.asarray(np.linalg.solve(gram + 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram)), moments))


def plant(
    W_in, W_out, strength: float, rng: np.random.Generator, lopsided: float = 3.0, cancel: float = 0.7
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """(W_in, W_out, (neuron, a, b, inhibitor)) with one motif in place of what two random neurons do there; copies.

    strength: the neuron's share of what serves either feature. cancel: of what it puts on b while a is on.
    """
    w1, w2 = to_numpy(W_in).copy(), to_numpy(W_out).copy()
    i, j = (int(k) for k in rng.choice(len(w1), 2, replace=False))
    total = np.maximum(np.maximum(w1, 0) * w2.T, 0).sum(axis=0)
    a, b = (int(k) for k in rng.choice(np.flatnonzero(total > 0), 2, replace=False))
    loud = np.sqrt(lopsided * np.median(np.abs(w1[w1 != 0])))
    for f, read in ((a, loud * np.sqrt(lopsided)), (b, loud / np.sqrt(lopsided))):
        w1[i, f], w2[f, i] = read, strength / (1 - strength) * total[f] * rng.uniform(0.8, 1.2) / read
    w1[j, a], w2[a, j], w2[b, j] = w1[i, a], 0, -cancel * w2[b, i]
    return w1, w2, (i, a, b, j)
