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


def swap(base: Tensor, source: Tensor, read: Tensor, write: Tensor) -> Tensor:
    """States (..., P, m): base with the coordinates `read` (..., m, k) of source written along `write` (..., m, k)."""
    return base + (source - base) @ read @ write.transpose(-1, -2)


def right(logits: Tensor, want: Tensor) -> Tensor:
    """(..., P) True where every one of the K Boolean outputs (logits (..., P, K) > 0) is as wanted."""
    return ((logits > 0) == (want > 0.5)).all(-1)


def learn_swap(
    reader: Callable[[Tensor], Tensor], base: Tensor, source: Tensor, want: Tensor, dims: int,
    steps: int = 300, starts: int = 3, lr: float = 0.03, seed: int = 0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(read, write), each (net, m, dims): the swap that best makes `reader` say `want`; best of random starts by its loss.

    reader: states (net, P, m) to logits (net, P, K). base, source (net, P, m). want (net, P, K) in {0, 1}.
    Judge on other pairs.
    """
    draw = torch.Generator().manual_seed(seed)
    nets, _, m = base.shape
    if dims > m:
        raise ValueError(f"a swap of {dims} directions in a state of {m}: expected at most {m}")
    best, kept = torch.full((nets,), torch.inf), [torch.zeros(nets, m, dims), torch.zeros(nets, m, dims)]

    def losses(pair: list[Tensor]) -> Tensor:
        said = reader(swap(base, source, *pair))
        return torch.nn.functional.binary_cross_entropy_with_logits(said, want, reduction="none").mean((-1, -2))

    for _ in range(starts):
        first = torch.linalg.qr(torch.randn(nets, m, dims, generator=draw))[0]
        pair = [first.clone().requires_grad_(), first.clone().requires_grad_()]
        optimiser = torch.optim.Adam(pair, lr=lr)
        for _ in range(steps):
            optimiser.zero_grad()
            total = losses(pair).sum()
            for one, slope in zip(pair, torch.autograd.grad(total, pair), strict=True):
                one.grad = slope
            optimiser.step()
        with torch.no_grad():
            reached = losses(pair)
            better = reached < best
            best = torch.where(better, reached, best)
            kept = [torch.where(better[:, None, None], new, old) for new, old in zip(pair, kept, strict=True)]
    return kept[0].detach(), kept[1].detach()
