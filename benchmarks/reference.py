"""The loop that people copy today, written plainly: einsum, autograd, AdamW 1e-3, 10k steps, batch 1024.

After the public notebook of Elhage et al. 2022; `instances` models are trained in one batch, as it does.
"""

from __future__ import annotations

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, instances: int, n: int, m: int):
        super().__init__()
        self.W = nn.Parameter(torch.empty(instances, n, m))
        nn.init.xavier_normal_(self.W)
        self.b = nn.Parameter(torch.zeros(instances, n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.einsum("bif,ifm->bim", x, self.W)
        return torch.relu(torch.einsum("bim,ifm->bif", hidden, self.W) + self.b)


def batch(instances: int, n: int, density: torch.Tensor, size: int) -> torch.Tensor:
    x = torch.rand(size, instances, n)
    return torch.where(torch.rand(size, instances, n) <= density, x, torch.zeros(()))


def train(
    instances: int,
    n: int,
    m: int,
    density: torch.Tensor,
    importance: torch.Tensor,
    steps: int = 10_000,
    size: int = 1024,
) -> Model:
    """density and importance broadcast to (instances, n)."""
    model = Model(instances, n, m)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        x = batch(instances, n, density, size)
        error = importance * (x - model(x)) ** 2
        loss = error.mean(0).sum()
        loss.backward()
        optimizer.step()
    return model
