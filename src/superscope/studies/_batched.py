"""Training of many small networks at once with a loss of one's own: batched matrix products, one Adam for all."""

from __future__ import annotations

from collections.abc import Callable

import torch


def descend(
    parameters: list[torch.Tensor], losses: Callable[[int], torch.Tensor], steps: int, lr: float, warmup: float = 0.05
) -> None:
    """Adam on the sum of `losses(step)` (net,), so that networks do not touch each other; linear warm-up, cosine decay."""
    optimiser = torch.optim.Adam(parameters, lr=lr)
    warm = max(1, round(warmup * steps))
    rise = torch.optim.lr_scheduler.LinearLR(optimiser, 0.05, 1.0, warm)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps - warm, 1))
    schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [rise, fall], [warm])
    for step in range(steps):
        optimiser.zero_grad()
        losses(step).sum().backward()
        optimiser.step()
        schedule.step()
