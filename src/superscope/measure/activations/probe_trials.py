"""What a probe that reads a feature must stand before it counts as its representation.

- `losses`: a probe that never saw some rows (a source of text, a combination of source and kind of token) is judged on them,
  against one fitted on as many rows of all. A probe that reads what goes along with the feature in what it saw loses.
- `steering`: moves the values at every token along a direction, to the feature where it is absent and away where it is there,
  and takes the mean change of the detection (`carriers`: how much more what follows the feature is expected). `bystanders`: the
  same along random directions of the same length, of two sorts: isotropic, and shaped like the differences between tokens.
- `directions`: how many directions must be erased until not even a reader of its own in every cell (source and kind of token)
  is above chance. With one reader for all it would say nothing: in white noise a single erased direction makes the means agree,
  and then no linear reader is left (Belrose et al., arXiv 2306.03819), be there one direction or one for each context.
- `sparse_path`: AUC of the k units that differ most, in a basis, and `units_for` a share of what a dense probe reads; null:
  rotated axes (Gurnee et al., arXiv 2305.01610).

Null of all: labels swapped inside pairs, which keeps tokens, sources and counts. Planted: `tests/measure/test_probe_trials.py`.

Misleads: what is the same in the sources tried need not be in others. Steering to first order sees the readers of the last
layer only; lengths are equal in the coordinates of the values, so a direction through quiet units is pushed further, in their
spreads, than one through loud units. A direction that is read for some other reason moves the detection, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from superscope.measure.activations import probe_battery
from superscope.measure.activations.carriers import Site
from superscope.measure.activations.probe_battery import Parts, Probe
from superscope.measure.activations.probes import auc
from superscope.measure.activations.subspaces import whitener

FEWEST = 20  # rows with and without the feature, for an AUC
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072)


def read_auc(h: np.ndarray, direction: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> float:
    """AUC of a direction (d,) on rows (n,) bool."""
    return float(auc((h[rows] @ direction)[:, None], truth[rows, None])[0])


def losses(
    probe: Probe, h: np.ndarray, truth: np.ndarray, parts: Parts, held: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """(len(held),) AUC lost on held-out rows (each (n,) bool) by a probe that saw none of them, against one that saw as many
    rows drawn from all. NaN where a judged part has fewer than `FEWEST` rows of either label."""
    out = []
    for group in held:
        judged, seen = parts.judge & group, parts.fit & ~group
        if min(*(int((judged & (truth == label)).sum()) for label in (True, False)), int(seen.sum())) < FEWEST:
            out.append(np.nan)
            continue
        everywhere = np.zeros_like(seen)
        everywhere[rng.permutation(np.flatnonzero(parts.fit))[: seen.sum()]] = True
        apart, mixed = (read_auc(h, probe_battery.refit(probe, h, truth, rows), truth, judged) for rows in (seen, everywhere))
        out.append(mixed - apart)
    return np.array(out)


# ------------------------------------------------------------------------------------------------------------ steering


def rows_of(site: Site, rows: np.ndarray) -> Site:
    """Some tokens (n,) bool of a site, paired or not: only for what lets the final norm go."""
    some = torch.from_numpy(rows)
    return replace(site, values=site.values[rows], stream=site.stream[some], following=site.following[some], on=site.on[rows])


def steering(site: Site, weights: np.ndarray) -> Callable[[np.ndarray, float], float]:
    """(unit direction (d,), length) -> nats by which the detection falls, half of it, when every token is moved by that much:
    forward without the feature, back with it. The final norm finds its own scale."""
    effect = site.detection(weights, live=True)
    before, way = effect(site.values), np.where(site.on, -1.0, 1.0)[:, None]

    def steered(direction: np.ndarray, length: float) -> float:
        return (before - effect((site.values + length * way * direction).astype(site.values.dtype))) / 2

    return steered


def bystanders(site: Site, weights: np.ndarray, length: float, draws: int, rng: np.random.Generator) -> float:
    """Root mean square of what random directions of the same length do; of the two sorts the larger one. Those that are shaped
    like differences between tokens are of tokens alike in the label, or they would hold the feature itself."""
    h, on = site.values.astype(float), site.on
    centred = np.where(on[:, None], h - h[on].mean(axis=0), h - h[~on].mean(axis=0))
    steered = steering(site, weights)
    sizes = []
    for shaped in (False, True):
        drawn = rng.standard_normal((draws, len(h))) @ centred if shaped else rng.standard_normal((draws, h.shape[1]))
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        sizes.append(float(np.sqrt(np.mean([steered(one, length) ** 2 for one in drawn]))))
    return max(sizes)


# ------------------------------------------------------------------------------------------------------------ erasure


def directions(
    h: np.ndarray, truth: np.ndarray, cell: np.ndarray, parts: Parts, partner: np.ndarray, rng: np.random.Generator,
    most: int = 12, draws: int = 20,
) -> tuple[float, list[float]]:  # fmt: skip
    """(how many directions until chance, NaN where `most` is not enough; AUC before each and after the last).

    cell (n,): what a row's reader may know. partner (n,): the other row of its pair, for labels swapped at random: chance is
    the largest AUC of `draws` of them. Readers: difference of means in the cell, where noise inside cells is white;
    erased: the first singular direction of what they read.
    """
    fitted, names = parts.fit | parts.choose, np.unique(cell)

    def usable(name: int, rows: np.ndarray) -> bool:
        return min(int((rows & (cell == name) & (truth == label)).sum()) for label in (True, False)) >= FEWEST

    names = np.array([name for name in names if usable(name, fitted) and usable(name, parts.judge)])
    if not len(names):
        return np.nan, []
    group = 2 * cell + truth
    inside = h.astype(float)
    centred = inside[fitted].copy()
    for one in np.unique(group):
        rows = fitted & (group == one)
        if rows.any():
            centred[group[fitted] == one] -= inside[rows].mean(axis=0)
    z = inside @ whitener(np.cov(centred.T))

    def gaps(labels: np.ndarray) -> np.ndarray:
        mean = [[z[fitted & (cell == name) & (labels == label)].mean(axis=0) for label in (True, False)] for name in names]
        return np.array([on - off for on, off in mean])

    def quality(readers: np.ndarray, labels: np.ndarray) -> float:
        found = [read_auc(z, one, labels, parts.judge & (cell == name)) for one, name in zip(readers, names, strict=True)]
        return float(np.mean(found))

    chance = 0.5
    for _ in range(draws):
        other = swapped(truth, partner, rng)
        if all(usable(name, fitted) and len(np.unique(other[parts.judge & (cell == name)])) == 2 for name in names):
            chance = max(chance, quality(gaps(other), other))
    readers, found = gaps(truth), []
    share = np.sqrt([(fitted & (cell == name)).mean() for name in names])[:, None]
    for count in range(most + 1):
        found.append(quality(readers, truth))
        if found[-1] <= chance:
            return float(count), found
        erased = np.linalg.svd(share * readers, full_matrices=False)[2][0]
        readers = readers - np.outer(readers @ erased, erased)
        if np.linalg.norm(readers) < 1e-9:
            return float(count + 1), found
    return np.nan, found


def swapped(truth: np.ndarray, partner: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) labels with the two of a pair exchanged, or not, by chance."""
    coin = rng.random(len(truth)) < 0.5
    first = np.minimum(np.arange(len(truth)), partner)
    return np.where(coin[first], truth[partner], truth)


# ------------------------------------------------------------------------------------------------------------ sparsity


def sparse_path(
    h: np.ndarray, truth: np.ndarray, parts: Parts, basis: np.ndarray | None = None, until: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(m,) numbers of units and (m,) AUC on the judging rows of LDA on that many, first those whose means differ most over the
    spread inside classes. basis (d, d): columns are the units, of values on one scale. Stops where AUC reaches `until`."""
    z = (h - h[parts.fit].mean(axis=0)) / np.maximum(h[parts.fit].std(axis=0), 1e-6)
    z = z if basis is None else z @ basis
    fit, on = z[parts.fit], truth[parts.fit]
    gap = fit[on].mean(axis=0) - fit[~on].mean(axis=0)
    order = np.argsort(-np.abs(gap) / np.maximum(np.sqrt(fit[on].var(axis=0) + fit[~on].var(axis=0)), 1e-6))
    sizes, found = [], []
    for k in (*(size for size in SIZES if size < len(gap)), len(gap)):
        some = z[:, order[:k]]
        reads = probe_battery.lda(some[parts.fit], on).T
        chosen = auc(some[parts.choose] @ reads, np.repeat(truth[parts.choose, None], reads.shape[1], axis=1)).argmax()
        sizes.append(k)
        found.append(read_auc(some, reads[:, chosen], truth, parts.judge))
        if found[-1] >= until:
            break
    return np.array(sizes), np.array(found)


def units_for(sizes: np.ndarray, found: np.ndarray, wanted: float) -> float:
    """The first number of units with AUC `wanted`, between two sizes by the logarithm; the largest size where none has it."""
    there = np.flatnonzero(found >= wanted)
    if not len(there) or there[0] == 0:
        return float(sizes[0] if len(there) else sizes[-1])
    i = int(there[0])
    part = (wanted - found[i - 1]) / max(found[i] - found[i - 1], 1e-12)
    return float(np.exp(np.log(sizes[i - 1]) + part * np.log(sizes[i] / sizes[i - 1])))


def over_axes(
    h: np.ndarray, truth: np.ndarray, parts: Parts, turns: Sequence[np.ndarray], wanted: float
) -> dict[str, Any]:  # fmt: skip
    """Units for AUC `wanted`: coordinates ("units"), rotated axes ("axes", geometric mean over the first half of `turns`, each
    (d, d)), one over the other, and the null: the second half over the first. "paths": what was seen on the way."""
    paths = [sparse_path(h, truth, parts, basis, wanted) for basis in (None, *turns)]
    units = [units_for(*path, wanted) for path in paths]
    half = 1 + len(turns) // 2
    axes, other = (float(np.exp(np.mean(np.log(some)))) for some in (units[1:half], units[half:]))
    drawn = [
        {"units": int(k), "AUC": float(found), "basis": "rotated axes" if i else "neurons", "turn": i}
        for i, path in enumerate(paths)
        for k, found in zip(*path, strict=True)
    ]
    return {"units": units[0], "axes": axes, "over axes": units[0] / axes, "axes over axes": other / axes, "paths": drawn}


def hoyer(direction: np.ndarray) -> float:
    """(sqrt(d) - l1 / l2) / (sqrt(d) - 1): 0 for equal sizes, 1 for one unit (Hoyer 2004). Gaussian: about .2."""
    d = len(direction)
    return float((np.sqrt(d) - np.abs(direction).sum() / np.linalg.norm(direction)) / (np.sqrt(d) - 1))


# ------------------------------------------------------------------------------------------------------------ agreement


def agreement(
    probes: Sequence[Probe], h: np.ndarray, truth: np.ndarray, document: np.ndarray, rows: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Mean cosine between every kind fitted on one half of the documents of `rows` (n,) bool and every kind fitted on the
    other: of patterns (along which the feature is written), and of directions (which read it)."""
    names = rng.permutation(np.unique(document[rows]))
    halves = [rows & np.isin(document, part) for part in (names[: len(names) // 2], names[len(names) // 2 :])]
    if any(len(np.unique(truth[half])) < 2 for half in halves):
        return np.nan, np.nan
    one, other = (np.stack([probe_battery.refit(probe, h, truth, half) for probe in probes]) for half in halves)
    covariance = np.cov(h[rows].T)
    written = [reads @ covariance for reads in (one, other)]
    first, second = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in written)
    return float((first @ second.T).mean()), float((one @ other.T).mean())


# ------------------------------------------------------------------------------------------------------------ plants


def put(h: np.ndarray, direction: np.ndarray, on: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """h (n, d) with a feature, on (n,), along a unit direction (d,): `strength` spreads of what lies along it anyway, which is
    dealt to other rows first, so that noise along the direction goes with no other noise."""
    along = h @ direction
    return np.asarray(h + np.outer(rng.permutation(along) - along + strength * along.std() * on, direction))
