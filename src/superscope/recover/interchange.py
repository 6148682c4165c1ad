"""Causal interchange: put part of one input's state into another's run and see which output changes.

A feature *is represented as k directions* if replacing k linear coordinates of a state by those of another input changes what
depends on the feature and nothing else (interchange interventions, Geiger et al. 2021; the learned version is distributed
alignment search, arXiv 2303.02536). The family here is oblique, h + write read^T (h' - h), so that it holds every orthogonal
one: a failure says more than that of orthogonal subspaces. It is a search, so a failure is evidence and not proof, and
with many directions it can succeed by steering the network off its own states (Makelov et al., arXiv 2311.17030).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LENGTHS = tuple(round(0.2 + 0.1 * i, 1) for i in range(21))  # of the write-in, relative to what was learned; 1 among them


def swap(base: Tensor, source: Tensor, read: Tensor, write: Tensor) -> Tensor:
    """States (..., P, m): base with the coordinates `read` (..., m, k) of source written along `write` (..., m, k)."""
    return base + (source - base) @ read @ write.transpose(-1, -2)


def right(logits: Tensor, want: Tensor) -> Tensor:
    """(..., P) True where every one of the K Boolean outputs (logits (..., P, K) > 0) is as wanted."""
    return ((logits > 0) == (want > 0.5)).all(-1)


def learn_swap(
    reader: Callable[[Tensor], Tensor], base: Tensor, source: Tensor, want: Tensor, dims: int,
    steps: int = 300, starts: int = 3, lr: float = 0.03, seed: int = 0, free: Tensor | None = None,
    check: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(read, write), each (net, m, dims): the swap that most often makes `reader` say `want`, every output at once.

    reader: states (net, P, m) to logits (net, P, K). base, source (net, P, m). want (net, P, K) in {0, 1}. free (net, m), 1
    where the swap may read and write; every start, trained and not, is tried at several lengths. check: base, source and want
    of the pairs that choose between starts, trained and untrained; default the fitting ones. Fit on pairs where the feature
    differs if those are what is judged, and judge on other pairs.
    """
    draw = torch.Generator().manual_seed(seed)
    nets, _, m = base.shape
    if dims > m:
        raise ValueError(f"a swap of {dims} directions in a state of {m}: expected at most {m}")
    mask = torch.ones(nets, m, 1) if free is None else free[..., None]
    tried, wanted = ((base, source), want) if check is None else (check[:2], check[2])
    best, kept = torch.full((nets,), -1.0), [torch.zeros(nets, m, dims), torch.zeros(nets, m, dims)]

    def losses(pair: list[Tensor]) -> Tensor:
        said = reader(swap(base, source, *(mask * one for one in pair)))
        return torch.nn.functional.binary_cross_entropy_with_logits(said, want, reduction="none").mean((-1, -2))

    def choose(pair: list[Tensor]) -> None:
        # cross-entropy only stands in for the rate: a start with a lower loss can work less often
        nonlocal best, kept
        pair = [mask * one.detach() for one in pair]
        reached = right(reader(swap(*tried, *pair)), wanted).float().mean(-1)
        better = reached > best
        best = torch.where(better, reached, best)
        kept = [torch.where(better[:, None, None], new, old) for new, old in zip(pair, kept, strict=True)]

    for _ in range(starts):
        first = torch.linalg.qr(mask * torch.randn(nets, m, dims, generator=draw))[0]
        for length in LENGTHS:  # with one free coordinate these are all the swaps there are
            choose([first, length * first])
        pair = [first.clone().requires_grad_(), first.clone().requires_grad_()]
        optimiser = torch.optim.Adam(pair, lr=lr)
        for _ in range(steps):
            optimiser.zero_grad()
            total = losses(pair).sum()
            for one, slope in zip(pair, torch.autograd.grad(total, pair), strict=True):
                one.grad = slope
            optimiser.step()
        for length in LENGTHS:
            choose([pair[0], length * pair[1]])
    return kept[0], kept[1]
