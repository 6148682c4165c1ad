"""Training of many small networks at once with a loss of one's own: batched matrix products, one Adam for all."""

from __future__ import annotations

from collections.abc import Callable

import torch


def descend(
    parameters: list[torch.Tensor], losses: Callable[[int], torch.Tensor], steps: int, lr: float, warmup: float = 0.05
) -> None:
    """Adam on the sum of `losses(step)` (net,), so that networks do not touch each other; linear warm-up over a share
    `warmup` of the steps, cosine decay."""
    optimiser = torch.optim.Adam(parameters, lr=lr)
    warm = max(1, round(warmup * steps)) if warmup else 0
    rise = torch.optim.lr_scheduler.LinearLR(optimiser, 0.05, 1.0, warm) if warm else None
    schedule: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps - warm, 1))
    if rise is not None:
        schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [rise, schedule], [warm])
    for step in range(steps):
        optimiser.zero_grad()
        losses(step).sum().backward()
        optimiser.step()
        schedule.step()
