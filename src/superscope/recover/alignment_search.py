"""Distributed alignment search: is there a linear subspace of a code that carries one factor and nothing else?

Interchange: a base and a source input; the part of the code inside the subspace is taken from the source, the rest stays. If
the subspace carries the factor, the network must answer as if the base input had the factor of the source (Geiger et al. 2023,
arXiv 2303.02536). The subspace is searched for by gradient descent, so failure is evidence only beside a control in which the
same search succeeds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from superscope.recover.interchange import swap

Decode = Callable[[torch.Tensor, torch.Tensor], "list[torch.Tensor]"]


def alignment_search(
    base: torch.Tensor,
    source: torch.Tensor,
    targets: list[torch.Tensor],
    decode: Decode,
    sizes: tuple[int, ...],
    steps: int = 120,
    lr: float = 3e-2,
    seed: int = 0,
) -> np.ndarray:
    """(net, size) share of interchanges that give the wanted answer in every head, on the half not searched on.

    base, source (net, input, m): codes. targets: per head (net, input), the wanted class. decode(codes (net, size, input, m),
    rows) -> per head (net, size, input, class) logits; rows are the numbers of the inputs, for what decoding needs besides the
    code. sizes: dimensions of the subspaces tried, all at once; each is an orthogonal projection. m itself exchanges the whole
    code.
    """
    nets, count, m = base.shape
    if not all(1 <= size <= m for size in sizes):
        raise ValueError(f"alignment_search(sizes={sizes}): subspaces of {m} dimensions have between 1 and {m}")
    start = torch.stack([torch.randn(len(sizes), m, m, generator=torch.Generator().manual_seed(seed + i)) for i in range(nets)])
    free = start.requires_grad_()
    inside = torch.stack([(torch.arange(m) < size).float() for size in sizes])[:, None, :]
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    fit, judge = rows[: count // 2], rows[count // 2 :]

    def interchanged(rows: torch.Tensor) -> list[torch.Tensor]:
        basis = torch.linalg.qr(free)[0] * inside
        return decode(swap(base[:, None, rows], source[:, None, rows], basis, basis), rows)

    optimiser = torch.optim.Adam([free], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = torch.zeros(())
        for logits, target in zip(interchanged(fit), targets, strict=True):
            wanted = target[:, None, fit].expand(logits.shape[:-1])
            each = torch.nn.functional.cross_entropy(logits.flatten(0, 2), wanted.flatten(), reduction="sum")
            loss = loss + each / len(fit)
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        right = torch.ones(nets, len(sizes), len(judge), dtype=torch.bool)
        for logits, target in zip(interchanged(judge), targets, strict=True):
            right &= logits.argmax(-1) == target[:, None, judge]
    return right.float().mean(-1).numpy().astype(float)
