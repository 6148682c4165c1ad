"""Two tasks with several right answers, trained for many seeds at once, and the comparison of what was learned.

Dictionaries: sparse autoencoders on data that are sparse in one of two bases. Modular addition: a shared two-dimensional
embedding of Z_p, one hidden ReLU layer, softmax.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.linalg import hadamard, orthogonal_procrustes
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform

from superscope.toys.batched import descend

Net = dict[str, np.ndarray]  # parameters of one network, or with a leading axis of several


def take(nets: Net, i) -> Net:
    """One network, or with an array of indices several."""
    return {k: v[i] for k, v in nets.items()}


def gaussian(seeds: list[int], restarts: int, *shape: int) -> np.ndarray:
    """(seed * restart, *shape) standard normal, a generator per network and shape."""
    return np.array([np.random.default_rng([s, r, *shape]).standard_normal(shape) for s in seeds for r in range(restarts)])


def optimise(start: Net, losses, steps: int, lr: float) -> Net:
    """`start` after Adam on losses(step, *parameters) (net,)."""
    params = [torch.tensor(v, dtype=torch.float32, requires_grad=True) for v in start.values()]
    descend(params, lambda step: losses(step, *params), steps, lr)
    return {k: p.detach().numpy().astype(float) for k, p in zip(start, params, strict=True)}


# --- dictionaries ------------------------------------------------------------------------------------------------------


def two_bases(n: int, seed: int) -> np.ndarray:
    """(2, n, n) orthonormal bases in columns, every |cosine| between them 1/sqrt(n): Q and Q S H S / sqrt(n), S random signs.

    S H S is symmetric and orthogonal, so one map exchanges the bases: neither is the better one. Sources are positive, so data
    of either basis have a mean; of 64 draws of S the one whose means agree most is taken, or an atom that tells the bases apart
    would pay.
    """
    rng = np.random.default_rng([seed, n])
    q, draws = np.linalg.qr(rng.standard_normal((n, n)))[0], rng.choice([-1.0, 1.0], (64, n))
    signs = draws[np.einsum("di,ij,dj->d", draws, hadamard(n), draws).argmax()]
    return np.stack([q, q @ (signs[:, None] * hadamard(n) * signs) / np.sqrt(n)])


def sources(rng: np.random.Generator, points: int, n: int, active: int) -> np.ndarray:
    """(points, n) with `active` entries uniform on [0.5, 1.5]."""
    on = rng.random((points, n)).argsort(1) < active
    return on * rng.uniform(0.5, 1.5, (points, n))


def random_dictionaries(seeds: list[int], restarts: int, n: int) -> Net:
    """As many atoms as dimensions, unit columns D (net, n, n), encoder V = D^T, bias 0."""
    d = gaussian(seeds, restarts, n, n)
    return planted_dictionaries(d / np.linalg.norm(d, axis=1, keepdims=True))


def planted_dictionaries(d: np.ndarray) -> Net:
    return {"D": d, "V": np.swapaxes(d, 1, 2).copy(), "b": np.zeros((len(d), 1, d.shape[2]))}


def train_dictionaries(start: Net, bases: np.ndarray, share: float, active: int, price: float, steps: int, seed: int) -> Net:
    """h = ReLU(V x + b), y = D h with unit columns; loss ||y - x||^2 + price sum h; a `share` of the data in basis one.

    Every step takes the same 48 sources in both bases, so that the data too have the exchange symmetry.
    """
    rng, weight = np.random.default_rng([seed, 20]), torch.tensor([share, 1 - share]).repeat_interleave(48) / 48

    def losses(step: int, d: torch.Tensor, v: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        s = sources(rng, 48, bases.shape[1], active)
        x = torch.tensor(np.concatenate([s @ basis.T for basis in bases]), dtype=torch.float32)
        h = torch.relu(x @ v.transpose(1, 2) + b)
        y = h @ (d / d.norm(dim=1, keepdim=True)).transpose(1, 2)
        return (((y - x) ** 2).sum(-1) + price * h.sum(-1)) @ weight

    return optimise(start, losses, steps, 1e-2)


def dictionary_loss(nets: Net, bases: np.ndarray, s: np.ndarray, price: float) -> np.ndarray:
    """(basis, net) loss on the same sources s (P, n) in either basis, so that a difference is not luck of the draw."""
    d = nets["D"] / np.linalg.norm(nets["D"], axis=1, keepdims=True)
    out = []
    for basis in bases:
        x = s @ basis.T
        h = np.maximum(x @ np.swapaxes(nets["V"], 1, 2) + nets["b"], 0)
        out.append(((h @ np.swapaxes(d, 1, 2) - x) ** 2).sum(-1).mean(-1) + price * h.sum(-1).mean(-1))
    return np.array(out)


def match_atoms(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
    """Order of b's columns that fits a's best (Hungarian on cosines) and the mean cosine (MCC); a, b (n, atoms)."""
    cosine = (a / np.linalg.norm(a, axis=0)).T @ (b / np.linalg.norm(b, axis=0))
    rows, columns = linear_sum_assignment(-cosine)
    return columns, float(cosine[rows, columns].mean())


def align_dictionaries(a: Net, b: Net) -> Net:
    """b with its atoms in the order of a's."""
    order, _ = match_atoms(a["D"], b["D"])
    unit = b["D"] / np.linalg.norm(b["D"], axis=0)
    return {"D": unit[:, order], "V": b["V"][order], "b": b["b"][:, order]}


# --- modular addition --------------------------------------------------------------------------------------------------


def random_adders(seeds: list[int], restarts: int, p: int, hidden: int) -> Net:
    """Embedding E (net, p, 2) shared by both summands, W (net, 4, hidden), b, U (net, hidden, p)."""
    shapes = {"E": ((p, 2), 2), "W": ((4, hidden), 4), "U": ((hidden, p), hidden)}
    net = {k: gaussian(seeds, restarts, *shape) / np.sqrt(fan) for k, (shape, fan) in shapes.items()}
    return {**net, "b": np.zeros((len(net["E"]), 1, hidden))}


def labels(p: int, blur: float) -> np.ndarray:
    """(p^2, p) target distribution for all pairs: a + b mod p, or with blur > 0 partial credit for near answers."""
    a, b = np.divmod(np.arange(p * p), p)
    away = (np.arange(p) - ((a + b) % p)[:, None] + p / 2) % p - p / 2
    target = np.exp(-((away / blur) ** 2) / 2) if blur else (away == 0).astype(float)
    return target / target.sum(1, keepdims=True)


def train_adders(start: Net, blur: float, decay: float, steps: int) -> Net:
    """Full batch, cross-entropy + decay * (sum of squared weights)."""
    p = start["E"].shape[1]
    a, b = (torch.tensor(i) for i in np.divmod(np.arange(p * p), p))
    target = torch.tensor(labels(p, blur), dtype=torch.float32)

    def losses(step: int, e: torch.Tensor, w: torch.Tensor, u: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        logits = torch.relu(torch.cat([e[:, a], e[:, b]], -1) @ w + c) @ u
        weights = (e**2).sum((1, 2)) + (w**2).sum((1, 2)) + (u**2).sum((1, 2))
        return -(target * torch.log_softmax(logits, -1)).sum(-1).mean(-1) + decay * weights

    return optimise(start, losses, steps, 3e-2)


def logits(nets: Net) -> np.ndarray:
    """(net, p^2, p)."""
    p = nets["E"].shape[1]
    a, b = np.divmod(np.arange(p * p), p)
    return np.maximum(np.concatenate([nets["E"][:, a], nets["E"][:, b]], -1) @ nets["W"] + nets["b"], 0) @ nets["U"]


def adder_loss(nets: Net, blur: float, decay: float) -> np.ndarray:
    """(net,) exact objective: cross-entropy above the entropy of the target, plus the decay."""
    y, target = logits(nets), labels(nets["E"].shape[1], blur)
    entropy = -(target * np.log(np.maximum(target, 1e-300))).sum(1).mean()
    top = y.max(-1, keepdims=True)
    each = np.log(np.exp(y - top).sum(-1)) + top[..., 0] - (target * y).sum(-1)
    weights = sum((nets[k] ** 2).sum((1, 2)) for k in ("E", "W", "U"))
    return each.mean(-1) - entropy + decay * weights


def accuracy(nets: Net) -> np.ndarray:
    """(net,) share of the p^2 sums."""
    y = logits(nets)
    return (y.argmax(-1) == labels(y.shape[2], 0).argmax(-1)).mean(-1)


def spectrum(e: np.ndarray) -> np.ndarray:
    """(net, (p-1)/2) share of the variance of embeddings (net, p, 2) at each frequency of Z_p."""
    power = (np.abs(np.fft.fft(e, axis=1)[:, 1 : (e.shape[1] + 1) // 2]) ** 2).sum(2)
    return power / power.sum(1, keepdims=True)


def align_adders(a: Net, b: Net) -> Net:
    """b with its plane turned onto a's (orthogonal Procrustes) and its neurons in the order of a's (Hungarian)."""
    turn, _ = orthogonal_procrustes(b["E"], a["E"])
    w = np.concatenate([turn.T @ b["W"][:2], turn.T @ b["W"][2:]])
    mine, theirs = (np.concatenate([x, n["b"], n["U"].T]) for x, n in ((a["W"], a), (w, b)))
    order = linear_sum_assignment(-(mine.T @ theirs))[1]
    return {"E": b["E"] @ turn, "W": w[:, order], "U": b["U"][order], "b": b["b"][:, order]}


# --- comparison --------------------------------------------------------------------------------------------------------


def atoms_similarity(nets: Net) -> np.ndarray:
    """(seed, seed) Hungarian mean cosine of decoder atoms."""
    return np.array([[match_atoms(a, b)[1] for b in nets["D"]] for a in nets["D"]])


def frequency_similarity(nets: Net) -> np.ndarray:
    """(seed, seed) Jaccard index of the sets of frequencies with at least 10 % of the variance."""
    key = (spectrum(nets["E"]) >= 0.1).astype(float)
    both = key @ key.T
    return both / np.maximum(key.sum(1)[:, None] + key.sum(1) - both, 1)  # two networks without a key frequency share none


def frequency(nets: Net) -> np.ndarray:
    """(seed,) the strongest frequency, 1 ... (p-1)/2."""
    return 1 + spectrum(nets["E"]).argmax(1)


@dataclass(frozen=True)
class Groups:
    """similarity (seed, seed); label (seed,) cluster of each, by size."""

    similarity: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(np.unique(self.label))


def count_groups(similarity: np.ndarray, cut: float) -> int:
    """Clusters (average linkage, cut at a similarity) that hold at least a tenth of the seeds."""
    return len(main_clusters(_cluster(similarity, cut)))


def _cluster(similarity: np.ndarray, cut: float) -> np.ndarray:
    apart = np.clip(1 - (similarity + similarity.T) / 2, 0, None)
    np.fill_diagonal(apart, 0)
    return fcluster(linkage(squareform(apart, checks=False), "average"), 1 - cut, "distance")


def group(similarity: np.ndarray, cut: float) -> Groups:
    """Clusters, numbered by falling size."""
    names, found, sizes = np.unique(_cluster(similarity, cut), return_inverse=True, return_counts=True)
    rank = np.empty(len(names), int)
    rank[np.lexsort((names, -sizes))] = np.arange(len(names))
    return Groups(similarity, rank[found])


def main_clusters(label: np.ndarray) -> np.ndarray:
    """Clusters that hold at least a tenth of the seeds, and two."""
    return np.flatnonzero(np.bincount(label) >= max(2, 0.1 * len(label)))


def within(groups: Groups) -> np.ndarray:
    """(seed,) mean similarity to the others of its own cluster; alone in it: to the nearest other seed."""
    off = ~np.eye(len(groups.label), dtype=bool)
    same = (groups.label[:, None] == groups.label) & off
    nearest = np.where(off, groups.similarity, -np.inf).max(1)
    total = np.where(same, groups.similarity, 0).sum(1)
    return np.where(same.any(1), total / np.maximum(same.sum(1), 1), nearest)


def between(groups: Groups) -> np.ndarray:
    """(seed,) mean similarity to the seeds of other clusters; with one cluster only: to all others."""
    off = ~np.eye(len(groups.label), dtype=bool)
    other = groups.label[:, None] != groups.label
    other = other if other.any() else off
    return (np.where(other, groups.similarity, 0).sum(1)) / other.sum(1)


def apart(groups: Groups) -> np.ndarray:
    """(seed,) similarity within minus between; 0 up to rounding where there is one cluster only."""
    return within(groups) - between(groups)


def apart_permuted(groups: Groups, rng: np.random.Generator, draws: int = 20) -> np.ndarray:
    """(seed,) the same with the labels permuted over the seeds, mean over draws: clusters of those sizes that mean nothing."""
    return np.mean([apart(Groups(groups.similarity, rng.permutation(groups.label))) for _ in range(draws)], axis=0)


def barrier(a: Net, b: Net, loss, points: int = 9) -> float:
    """Largest rise of the loss above the straight line between its ends, on the segment from a to b, over the mean of the ends.

    loss: function of networks with a leading axis. Align b first.
    """
    t = np.linspace(0, 1, points)
    path = {k: a[k] + t.reshape(-1, *[1] * a[k].ndim) * (b[k] - a[k]) for k in a}
    y = loss(path)
    return float(max(0.0, (y - (y[0] + t * (y[-1] - y[0]))).max()) / ((y[0] + y[-1]) / 2))


def barriers(nets: Net, label: np.ndarray, align, loss) -> np.ndarray:
    """(seed, 2) barrier to the next seed of the own and of another cluster, NaN where there is none."""
    out, count = np.full((len(label), 2), np.nan), len(label)
    for i in range(count):
        for place, same in enumerate((True, False)):
            partners = [j % count for j in range(i + 1, i + count) if (label[j % count] == label[i]) == same]
            if partners:
                a, b = take(nets, i), take(nets, partners[0])
                out[i, place] = barrier(align(a, a), align(a, b), loss)
    return out
