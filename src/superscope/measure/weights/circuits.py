"""Whole circuits: the singular values of a product of weights, and how well a code tells thousands of tokens apart.

An OV circuit W_E W_V W_O W_U and a QK circuit W_E W_Q W_K^T W_E^T are (vocabulary, vocabulary) but pass through a few dozen
dimensions (Elhage et al. 2021). Their SVD orders directions by what the circuit does with them; the SVD of the value code
alone orders them by how loud the input is, and counts directions that nobody reads.

How many directions a circuit has: `gap_rank` (the place of the largest drop; exact for planted ranks in small noise) and
`rank_for` (energy). Whether it tells tokens apart: `identified`, with a margin and under noise. Identification alone shows
nothing: thousands of random unit codes on a CIRCLE are all identified by a tied read-out (`random_codes` is that null).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_CHUNK = 512


@dataclass(frozen=True)
class CircuitSVD:
    """A circuit (n, m) as left @ diag(values) @ right.T.

    left: (n, r), right: (m, r), both with orthonormal columns: one direction over the tokens read and over those written a
    column; values: (r,), largest first. The signs of a pair of columns are arbitrary, together.
    """

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray

    def factors(self, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Codes (n, k) and read-out (k, m) of the circuit truncated to its k leading directions (the best rank-k circuit in
        squared error, Eckart and Young 1936); all of them without k."""
        k = len(self.values) if k is None else k
        if not 0 <= k <= len(self.values):
            raise ValueError(f"k={k}: the circuit has {len(self.values)} directions")
        return self.left[:, :k] * self.values[:k], self.right[:, :k].T


def circuit_svd(*factors: np.ndarray) -> CircuitSVD:
    """SVD of the product of `factors`, (n, a), (a, b), ..., (z, m), through its small core: A_1 = Q_1 R_1 and A_p^T = Q_p R_p
    (QR), so the product is Q_1 (R_1 A_2 ... R_p^T) Q_p^T and only the core is decomposed.

    Exact, in double precision; costs (n + m) a^2 where the product itself would cost n m min(n, m). Keeps as many directions
    as the thinnest factor allows. Two factors or more, the first no wider than tall, the last no taller than wide.
    """
    if len(factors) < 2:
        raise ValueError(f"{len(factors)} factor: a circuit is a product of two or more")
    parts = [np.asarray(one, dtype=float) for one in factors]
    for a, b in pairwise(parts):
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise ValueError(f"factors of shapes {', '.join(str(one.shape) for one in parts)} do not multiply")
    first, core_left = np.linalg.qr(parts[0])
    last, core_right = np.linalg.qr(parts[-1].T)
    core = core_left
    for part in parts[1:-1]:
        core = core @ part
    u, s, vt = np.linalg.svd(core @ core_right.T, full_matrices=False)
    r = min(min(one.shape) for one in parts)
    return CircuitSVD(first @ u[:, :r], s[:r], last @ vt[:r].T)


def rank_for(values: np.ndarray, share: float) -> int:
    """How many singular values (largest first) hold `share` of the energy, the sum of their squares."""
    energy = np.cumsum(np.asarray(values, dtype=float) ** 2)
    return int(np.searchsorted(energy / energy[-1], share - 1e-12) + 1)


@dataclass(frozen=True)
class Gap:
    """The largest drop of a spectrum: behind the first `rank` values, by the factor `ratio`."""

    rank: int
    ratio: float


def gap_rank(values: np.ndarray) -> Gap:
    """Where singular values (largest first) drop by the largest factor: the rank of a low-rank circuit in small noise.

    Values below 1e-12 of the first count as that. Exact when the weakest planted value exceeds the noise's largest by more
    than any other two neighbours differ; unlike an energy share it does not miss weak directions beside strong ones. Misleads
    where noise comes within a factor of two of the weakest direction (a steep start then drops more), and
    where nothing drops: read `ratio` beside that of random circuits (rank 32 in 128 dimensions: 1.05 to 1.2).
    """
    s = np.asarray(values, dtype=float)
    if len(s) < 2:
        return Gap(len(s), np.inf)
    s = np.maximum(s, 1e-12 * s[0])
    ratio = s[:-1] / np.maximum(s[1:], np.finfo(float).tiny)
    place = int(ratio.argmax())
    return Gap(place + 1, float(ratio[place]))


# --------------------------------------------------------------------------------------- telling tokens apart


@dataclass(frozen=True)
class Leads:
    """What a code says of its own token, each (token,): `own` logit, the largest other one (`runner_up`), whose it is
    (`rival`), and the `mean` logit over the vocabulary."""

    own: np.ndarray
    runner_up: np.ndarray
    rival: np.ndarray
    mean: np.ndarray

    @property
    def margin(self) -> np.ndarray:
        """(token,) own less runner-up: nats, where the read-out gives logits. Ties are no lead."""
        return self.own - self.runner_up

    @property
    def relative(self) -> np.ndarray:
        """(token,) the margin as a share of the own logit's lead over the mean: 1 less the rival's share of it. Scale-free; of
        random unit codes 1 less the largest cosine. Minus infinity where the own logit does not exceed the mean."""
        lead = self.own - self.mean
        return np.where(lead > 0, self.margin / np.where(lead > 0, lead, 1), -np.inf)


def leads(codes: np.ndarray, readout: np.ndarray, offset: np.ndarray | None = None) -> Leads:
    """`Leads` of codes (token, d) through a read-out (d, token); `offset` (token,) is added to every token's logits."""
    return Leads(*(np.concatenate(part) for part in zip(*_leads(codes, readout, offset), strict=True)))


def _leads(codes: np.ndarray, readout: np.ndarray, offset: np.ndarray | None) -> Iterator[tuple[np.ndarray, ...]]:
    mean = codes @ readout.mean(axis=1) + (0 if offset is None else offset.mean())
    for start in range(0, len(codes), _CHUNK):
        logits = codes[start : start + _CHUNK] @ readout
        if offset is not None:
            logits += offset
        row = np.arange(len(logits))
        own = logits[row, start + row].copy()
        logits[row, start + row] = -np.inf
        rival = logits.argmax(axis=1)
        yield own, logits[row, rival], rival, mean[start : start + _CHUNK]


def identified(
    codes: np.ndarray, readout: np.ndarray, margin: float = 0.0, noise: float = 0.0, seed: int = 0,
    offset: np.ndarray | None = None,
) -> float:  # fmt: skip
    """Share of tokens whose own logit is the largest, ahead by at least `margin` of its lead over the mean.

    noise: Gaussian noise added to every code, of this size relative to the codes' root mean square distance from their mean,
    and isotropic in the coordinates given: hand over codes in coordinates that mean something (the stream that is written
    to), not a value space that any invertible map may stretch. Null: `random_codes` of the same dimension, tied.
    """
    if noise:
        spread = np.sqrt(((codes - codes.mean(axis=0)) ** 2).sum(axis=1).mean() / codes.shape[1])
        codes = codes + noise * spread * np.random.default_rng([seed, *codes.shape, 2]).standard_normal(codes.shape)
    found = leads(codes, readout, offset)
    return float(((found.margin > 0) & (found.relative >= margin)).mean())


def random_codes(tokens: int, d: int, seed: int) -> np.ndarray:
    """(tokens, d) random unit codes, read by their own transpose: the null of `identified`. In 2 dimensions all are identified
    without noise (2,048 tokens a dimension), none with a margin of .01, and one in a hundred under noise of a tenth."""
    codes = np.random.default_rng([seed, tokens, d, 1]).standard_normal((tokens, d))
    return codes / np.linalg.norm(codes, axis=1, keepdims=True)


def directions_for(svd: CircuitSVD, share: float, margin: float = 0.0, offset: np.ndarray | None = None) -> int:
    """The fewest leading directions of a circuit that identify `share` of the tokens which all of them identify.

    By bisection, which takes the share to rise with the directions kept (it does but for a few tokens). 0 when the whole
    circuit identifies none.
    """
    whole = identified(*svd.factors(), margin=margin, offset=offset)
    if not whole:
        return 0
    low, high = 0, len(svd.values)
    while high - low > 1:
        middle = (low + high) // 2
        enough = identified(*svd.factors(middle), margin=margin, offset=offset) >= share * whole
        low, high = (low, middle) if enough else (middle, high)
    return high


def least_squares_map(codes: np.ndarray, readout: np.ndarray, rank: int) -> CircuitSVD:
    """The circuit codes @ M @ readout of rank `rank` nearest to the identity in squared error (reduced-rank regression,
    Izenman 1975): the orthogonal bases of both ends, joined by the leading directions of Q_1^T Q_2.

    codes: (token, d), readout: (d, token). What a trained circuit of the same rank has to beat. It spends itself on tokens with
    large leverage: squared error is not identification.
    """
    left, right = orthonormal(codes), orthonormal(readout.T)
    u, s, vt = np.linalg.svd(left.T @ right)
    return CircuitSVD(left @ u[:, :rank], s[:rank], right @ vt[:rank].T)


def orthonormal(columns: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span those given (a LayerNorm takes a dimension away, up to float32 rounding: QR would
    make one up)."""
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    return u[:, s > 1e-5 * s[0]]


def top_two(codes: np.ndarray, readout: np.ndarray, offset: np.ndarray | None = None) -> np.ndarray:
    """(token, 2) the tokens of the two largest logits, in no order."""
    parts = (
        codes[start : start + _CHUNK] @ readout + (0 if offset is None else offset) for start in range(0, len(codes), _CHUNK)
    )
    return np.concatenate([np.argpartition(part, -2, axis=1)[:, -2:] for part in parts])


def between_classes(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(direction,) share of the variance of `scores` (token, direction) that lies between classes (token,) of tokens, less
    what as many random classes would have: adjusted R^2 = 1 - (1 - R^2)(n - 1) / (n - c). 0 on average for random labels."""
    centred = scores - scores.mean(axis=0)
    names, number = np.unique(classes, return_inverse=True)
    size = np.bincount(number)
    sums = np.zeros((len(names), scores.shape[1]))
    np.add.at(sums, number, centred)
    explained = (sums**2 / size[:, None]).sum(axis=0) / (centred**2).sum(axis=0)
    n, c = len(scores), len(names)
    return 1 - (1 - explained) * (n - 1) / (n - c) if n > c else np.zeros(scores.shape[1])
