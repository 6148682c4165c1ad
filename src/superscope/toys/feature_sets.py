"""Sparse autoencoders on data that are sparse in one of two bases, with room for one: trained for many seeds at once, compared
with either basis, and with single atoms taken out."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import hadamard
from scipy.optimize import linear_sum_assignment

from superscope.toys.batched import descend

Net = dict[str, np.ndarray]  # D (net, n, atoms), V (net, atoms, n), b (net, 1, atoms)
EACH = 48  # points of either basis a step
POOL = 10_000  # points of either basis that are drawn from


def two_bases(n: int, seed: int) -> np.ndarray:
    """(2, n, n) orthonormal bases in columns, every |cosine| between them 1/sqrt(n): Q and Q S H S / sqrt(n), S random signs.

    Sources are positive, so data of either basis have a mean; of 64 draws of S the one whose means agree most is taken, or an
    atom that tells the bases apart would pay.
    """
    rng = np.random.default_rng([seed, n])
    q, draws = np.linalg.qr(rng.standard_normal((n, n)))[0], rng.choice([-1.0, 1.0], (64, n))
    signs = draws[np.einsum("di,ij,dj->d", draws, hadamard(n), draws).argmax()]
    return np.stack([q, q @ (signs[:, None] * hadamard(n) * signs) / np.sqrt(n)])


def sources(rng: np.random.Generator, points: int, n: int, active: int) -> np.ndarray:
    """(points, n) with `active` entries uniform on [0.5, 1.5]."""
    on = rng.random((points, n)).argsort(1) < active
    return on * rng.uniform(0.5, 1.5, (points, n))


def dictionaries(d: np.ndarray) -> Net:
    """Autoencoders that start with atoms d (net, n, atoms) and their transpose as encoder."""
    d = d / np.linalg.norm(d, axis=1, keepdims=True)
    return {"D": d, "V": np.swapaxes(d, 1, 2).copy(), "b": np.zeros((len(d), 1, d.shape[2]))}


def at_rest(sources_of: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """(net, P, n) what features s (P, n) of one basis look like to every network, bases (net, n, n)."""
    return sources_of @ np.swapaxes(bases, 1, 2)


def train(
    start: Net, bases: np.ndarray, active: tuple[int, int], share: np.ndarray, price: float, steps: int, seed: int
) -> Net:
    """h = ReLU(V x + b), y = D h with unit columns; loss ||y - x||^2 + price sum h, a `share` (net,) of the data in basis one.

    bases (net, 2, n, n). active: features at a time in either basis; with two different numbers no symmetry exchanges them.
    Every network draws points of its own: a stream in common sends most networks the same way.
    """
    params = [torch.tensor(v, dtype=torch.float32, requires_grad=True) for v in start.values()]
    d, v, b = params
    rng, weight = np.random.default_rng([seed, 20]), torch.tensor(np.stack([share, 1 - share]) / EACH, dtype=torch.float32)
    pools = [torch.tensor(sources(rng, POOL, bases.shape[2], k), dtype=torch.float32) for k in active]
    turns = torch.tensor(np.swapaxes(bases, 2, 3), dtype=torch.float32)

    def losses(_: int) -> torch.Tensor:
        pick = torch.tensor(rng.integers(POOL, size=(2, len(d), EACH)))
        x = torch.cat([torch.bmm(pools[i][pick[i]], turns[:, i]) for i in (0, 1)], 1)
        h = torch.relu(torch.baddbmm(b, x, v.transpose(1, 2)))
        y = torch.bmm(h, (d / d.norm(dim=1, keepdim=True)).transpose(1, 2))
        each = (((y - x) ** 2).sum(-1) + price * h.sum(-1)).reshape(-1, 2, EACH).sum(-1)
        return (each * weight.T).sum(-1)

    descend(params, losses, steps, 1e-2)
    return {k: p.detach().numpy().astype(float) for k, p in zip(start, params, strict=True)}


def losses(nets: Net, x: np.ndarray, price: float, without: np.ndarray | None = None) -> np.ndarray:
    """(net, P) of inputs x (net, P, n); without (net,): an atom that each network has lost."""
    d = nets["D"] / np.linalg.norm(nets["D"], axis=1, keepdims=True)
    h = np.maximum(x @ np.swapaxes(nets["V"], 1, 2) + nets["b"], 0)
    if without is not None:
        h[np.arange(len(h)), :, without] = 0
    return ((h @ np.swapaxes(d, 1, 2) - x) ** 2).sum(-1) + price * h.sum(-1)


def by_basis(nets: Net, bases: np.ndarray, active: tuple[int, int], price: float, points: int, seed: int) -> np.ndarray:
    """(2, net) mean loss on fixed data of either basis."""
    n = bases.shape[2]
    fixed = [sources(np.random.default_rng([seed, i, 21]), points, n, k) for i, k in enumerate(active)]
    return np.array([losses(nets, at_rest(s, bases[:, i]), price).mean(1) for i, s in enumerate(fixed)])


def likeness(nets: Net, bases: np.ndarray) -> np.ndarray:
    """(2, net) mean cosine of the atoms with those of either basis, matched one to one (MCC, Hungarian)."""
    unit = nets["D"] / np.linalg.norm(nets["D"], axis=1, keepdims=True)
    cosine = np.einsum("kbnj,kna->bkja", bases, unit)
    return np.array([[one[linear_sum_assignment(-one)].mean() for one in part] for part in cosine])


def damage(nets: Net, bases: np.ndarray, active: tuple[int, int], price: float, points: int, seed: int) -> np.ndarray:
    """(2, net) by basis: take out the atom nearest to a feature; how much more does the loss rise where the feature is on than
    where it is off? Mean over features."""
    unit, n = nets["D"] / np.linalg.norm(nets["D"], axis=1, keepdims=True), bases.shape[2]
    nearest, out = np.einsum("kbnj,kna->bkja", bases, unit).argmax(3), []
    for i, k in enumerate(active):
        s = sources(np.random.default_rng([seed, i, 22]), points, n, k)
        x, rises = at_rest(s, bases[:, i]), []
        whole = losses(nets, x, price)
        for j in range(n):
            rise = losses(nets, x, price, nearest[i, :, j]) - whole
            rises.append(rise[:, s[:, j] > 0].mean(1) - rise[:, s[:, j] == 0].mean(1))
        out.append(np.mean(rises, axis=0))
    return np.array(out)


def tied_share(loss: np.ndarray) -> np.ndarray:
    """(...,) the share of basis one at which two kinds of networks have the same loss; loss (data, kind, ...)."""
    first, second = loss[0, 0] - loss[0, 1], loss[1, 0] - loss[1, 1]
    return np.clip(second / (second - first), 0, 1)


def disagreement(kind: np.ndarray, good: np.ndarray) -> np.ndarray:
    """(seed,) share of the pairs of good starts that are of two kinds, kind and good (seed, start); 0 without two good ones."""
    of_each = np.array([(good & (kind == k)).sum(1) for k in (0, 1)])
    count = of_each.sum(0)
    return 2 * of_each[0] * of_each[1] / np.maximum(count * (count - 1), 1)


def reading(nets: Net, bases: np.ndarray, active: tuple[int, int], price: float, seed: int) -> dict[str, np.ndarray]:
    """(net,) how far every network has chosen a basis ("purity", a difference of likeness), and own / (|own| + |other|) of the
    damage done to features of the basis it has chosen and of the other one, when their nearest atoms are taken out."""
    like, hurt = likeness(nets, bases), damage(nets, bases, active, price, 800, seed)
    own, other = (np.take_along_axis(hurt, which(like, 0)[None], 0)[0] for which in (np.argmax, np.argmin))
    return {"purity": np.abs(like[0] - like[1]), "own share of damage": own / (np.abs(own) + np.abs(other))}
