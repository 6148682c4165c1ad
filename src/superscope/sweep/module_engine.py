"""Arbitrary nn.Modules, many at once: torch.func.vmap over stacked parameters, autograd for the gradient, Adam by hand."""

from __future__ import annotations

import numpy as np
import torch
from torch.func import functional_call, grad, vmap

from superscope.sweep.points import PointBlock
from superscope.sweep.recipe import Recipe
from superscope.sweep.spec import Instance, generator
from superscope.sweep.torch_engine import adam_step
from superscope.toys import ModuleToy


class ModuleTrainer:
    """Trains B freshly initialised modules of one ModuleToy; the same interface as the other trainers."""

    name = "torch-vmap"

    def __init__(
        self, toy: ModuleToy, group: list[Instance], importance: np.ndarray, recipe: Recipe, device: str = "cpu"
    ):
        self.toy, self.recipe, self.count, self.device = toy, recipe, len(group), device
        modules = [toy.module(int(generator(0, "init", *i.own_key()).integers(2**31))) for i in group]
        self._p = {k: torch.stack([dict(m.named_parameters())[k].detach() for m in modules]).to(device) for k, _ in
                   modules[0].named_parameters()}  # fmt: skip
        self._buffers = {k: v.to(device) for k, v in modules[0].named_buffers()}
        self._skeleton = modules[0].to("meta")
        self._m1 = {k: torch.zeros_like(v) for k, v in self._p.items()}
        self._m2 = {k: torch.zeros_like(v) for k, v in self._p.items()}
        self._importance = torch.tensor(importance, dtype=torch.float32, device=device)
        self._schedule = recipe.adam_schedule().astype(np.float64)
        self._gradient = vmap(grad(self._loss), in_dims=(0, 0, None, None, None), randomness="different")
        self._gradient_own = vmap(grad(self._loss), in_dims=(0, 0, 0, 0, None), randomness="different")

    def _outputs(self, params: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return functional_call(self._skeleton, (params, self._buffers), (x,))

    def _loss(
        self,
        params: dict[str, torch.Tensor],
        importance: torch.Tensor,
        x: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor,
    ) -> torch.Tensor:
        y = self._outputs(params, x)
        each = self.toy.loss(y, target, x) if self.toy.loss else ((y - target) ** 2 * importance).sum(-1)
        return (each * weight).sum()

    @property
    def params(self) -> dict[str, np.ndarray]:
        return {k: v.cpu().numpy().copy() for k, v in self._p.items()}

    def run(self, block: PointBlock) -> None:
        x, target, weight = (
            torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for a in (block.x, block.target, block.weight)
        )
        gradient = self._gradient_own if x.ndim == 4 else self._gradient
        for t in range(block.steps):
            grads = gradient(self._p, self._importance, x[t], target[t], weight)
            for name, g in grads.items():
                adam_step(
                    self._p[name], self._m1[name], self._m2[name], g, self.recipe, self._schedule[block.start + t]
                )

    @torch.no_grad()
    def loss_per_output(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(B, outputs) weighted squared error, or (B, 1) weighted loss when the toy has its own."""
        xt, tt = torch.from_numpy(x).to(self.device), torch.from_numpy(np.ascontiguousarray(target)).to(self.device)
        wt = torch.from_numpy(weight).to(self.device, torch.float64)

        def one(params: dict[str, torch.Tensor]) -> torch.Tensor:
            y = self._outputs(params, xt)
            each = self.toy.loss(y, tt, xt).unsqueeze(-1) if self.toy.loss else (y - tt) ** 2
            return torch.einsum("po,p->o", each.double(), wt)

        return vmap(one, chunk_size=64)(self._p).cpu().numpy()
