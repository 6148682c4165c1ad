"""Asymmetric superposition with its inhibitor, in any matrix of what neurons read and what they write.

TMS (arXiv 2209.10652, section 8): one neuron serves two features, A and B, with equal products but unequal parts. It reads A
strongly and writes it weakly, reads B weakly and writes it strongly. So whenever A is on, B's output is raised by strong times
strong, and a second neuron that reads A writes against B. `search` scores every neuron and ordered pair of features:

    serve = min over A, B of (read * write of the neuron) / (all that serve the feature)
    cancel = what the best inhibitor takes off B while A is on, over what the neuron puts there, at most 1
    score = serve * cancel, where read(A) >= 2 read(B) and write(B) >= 2 write(A), else 0

Writes are shares of all that serves a feature (`scaled`), so loud features and loud neurons count as others do. Features are
one-sided; a signed feature is two (`halves`). Null: `motifs.regrouped` of scaled weights, which keeps each neuron's shares and
breaks which features they meet at; the largest score of a draw (millions are searched). Plant: `plant`. Where most neurons
read most features some neuron inhibits anything by chance, and the null shows how well. It misleads where features overlap in
what they write: read outputs through a dual basis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superscope.measure.weights._arrays import to_numpy

LOPSIDED = 2.0


@dataclass(frozen=True)
class Hits:
    """The best motifs, best first, each (hit,): score, neuron, feature read strongly (a) and weakly (b), inhibitor; serve and
    cancel, the two factors."""

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


def search(W_in, W_out, most: int = 100) -> Hits:
    """The `most` best motifs. W_in (m, n): what neurons read of one-sided features; W_out (n, m): what they write to them, in
    shares (`scaled`)."""
    reads, writes = np.maximum(to_numpy(W_in), 0), to_numpy(W_out).T  # (m, n) both
    if reads.shape != writes.shape:
        raise ValueError(
            f"W_in has shape {reads.shape} and W_out {writes.shape[::-1]}: expected (neuron, feature) and its turn"
        )
    m, n = reads.shape
    share = np.maximum(reads * writes, 0)
    found: list[tuple[np.ndarray, ...]] = []
    for a in range(n):
        put = reads[:, a, None] * writes  # (neuron, b): what each puts on b while a is on
        order = np.argpartition(put, min(1, m - 1), axis=0)[:2]  # the two that take most off
        first = np.where(put[order[0], np.arange(n)] <= put[order[-1], np.arange(n)], order[0], order[-1])
        second = np.where(first == order[0], order[-1], order[0])
        lopsided = (reads[:, a, None] >= LOPSIDED * reads) & (reads > 0) & (writes >= LOPSIDED * writes[:, a, None])
        lopsided &= writes[:, a, None] > 0
        lopsided[:, a] = False
        i, b = np.nonzero(lopsided)
        if not len(i):
            continue
        by = np.where(first[b] == i, second[b], first[b])
        serve = np.minimum(share[i, a], share[i, b])
        cancel = np.clip(-put[by, b] / np.maximum(put[i, b], 1e-12), 0, 1)
        found.append((serve * cancel, i, np.full(len(i), a), b, by, serve, cancel))
    if not found:
        return Hits(*(np.empty(0) for _ in range(7)))
    columns = [np.concatenate(column) for column in zip(*found, strict=True)]
    best = np.argsort(-columns[0], kind="stable")[:most]
    return Hits(*(column[best] for column in columns))


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
