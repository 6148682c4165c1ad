"""Arbitrary nn.Modules, many at once: torch.func.vmap over stacked parameters, autograd for the gradient, the step by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.func import functional_call, grad, vmap

from superscope.errors import SettingError
from superscope.sweep.engines.torch_engine import CHUNK, places, take_step
from superscope.sweep.grid import Instance
from superscope.sweep.points import PointBlock
from superscope.sweep.recipe import Recipe
from superscope.toys import ModuleToy

Params = dict[str, torch.Tensor]


class ModuleTrainer:
    """Trains B freshly initialised modules of one ModuleToy; the same interface, and the same fixed chunks, as TorchTrainer.

    Empty places of a chunk hold copies of its first network, so that nothing in it can divide by zero.
    """

    name = "torch-vmap"

    def __init__(self, toy: ModuleToy, group: list[Instance], importance: np.ndarray, recipe: Recipe, device: str = "cpu"):
        if recipe.l1:
            raise SettingError(f"l1={recipe.l1!r} is for the two-layer family: put a penalty into the loss of the ModuleToy")
        self.toy, self.recipe, self.count, self.device = toy, recipe, len(group), device
        modules = [toy.module(int(i.generator(0, "init").integers(2**31))) for i in group]
        self._place = places([i.number for i in group], CHUNK)
        self._buffers = {k: v.to(device) for k, v in modules[0].named_buffers()}
        params: list[Params] = [{k: v.detach() for k, v in m.named_parameters()} for m in modules]
        weights = [torch.tensor(row, dtype=torch.float32) for row in importance]
        self._p: list[Params] = [{k: self._fill(c, [p[k] for p in params]) for k in params[0]} for c in self._chunks()]
        self._importance = [self._fill(c, weights) for c in self._chunks()]
        self._m1 = [{k: torch.zeros_like(v) for k, v in p.items()} for p in self._p]
        self._m2 = [{k: torch.zeros_like(v) for k, v in p.items()} for p in self._p]
        self._skeleton = modules[0].to("meta")
        self._schedule = recipe.step_schedule().astype(np.float64)

    def _chunks(self) -> range:
        return range(max(chunk for chunk, _ in self._place) + 1)

    def _fill(self, chunk: int, rows: list[torch.Tensor]) -> torch.Tensor:
        """The rows of one chunk, each at its place, stacked."""
        mine = {place: row for row, (c, place) in zip(rows, self._place, strict=True) if c == chunk}
        spare = next(iter(mine.values()))
        return torch.stack([mine.get(place, spare) for place in range(CHUNK)]).to(self.device)

    def load(self, params: dict[str, np.ndarray]) -> None:
        """Replace the parameters by {name: (B, ...)}; moments start anew."""
        for c in self._chunks():
            self._p[c] = {k: self._fill(c, [torch.tensor(row) for row in v]) for k, v in params.items()}

    def _outputs(self, params: Params, x: torch.Tensor) -> torch.Tensor:
        return functional_call(self._skeleton, (params, self._buffers), (x,))

    def _loss(
        self, params: Params, importance: torch.Tensor, x: torch.Tensor, target: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        y = self._outputs(params, x)
        each = self.toy.loss(y, target, x) if self.toy.loss else ((y - target) ** 2 * importance).sum(-1)
        return (each * weight).sum()

    @property
    def params(self) -> dict[str, np.ndarray]:
        """{name: (B, ...)} copies of the current parameters."""
        return {k: np.stack([self._p[c][k][i].cpu().numpy() for c, i in self._place]) for k in self._p[0]}

    def run(self, block: PointBlock) -> None:
        """One step of the optimiser for every step of the block."""
        own = block.x.ndim == 4
        per_network = 0 if own else None
        gradient: Callable[..., Params] = vmap(
            grad(self._loss), in_dims=(0, 0, per_network, per_network, None), randomness="different"
        )
        weight = torch.from_numpy(block.weight).to(self.device)
        x, target = (torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for a in (block.x, block.target))
        for c in self._chunks():
            if own:
                xs, targets = (self._fill(c, list(a.transpose(0, 1))).transpose(0, 1) for a in (x, target))
            else:
                xs, targets = x, target
            for t in range(block.steps):
                grads = gradient(self._p[c], self._importance[c], xs[t], targets[t], weight)
                for name, g in grads.items():
                    moments = self._m1[c][name], self._m2[c][name]
                    take_step(self._p[c][name], *moments, g, self.recipe, self._schedule[block.start + t])

    @torch.no_grad()
    def loss_per_output(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(B, outputs) weighted squared error, or (B, 1) weighted loss when the toy has its own."""
        xt, tt = (torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for a in (x, target))
        wt = torch.from_numpy(weight).to(self.device, torch.float64)
        out = []
        for c, i in self._place:
            y = self._outputs({k: v[i] for k, v in self._p[c].items()}, xt)
            each = self.toy.loss(y, tt, xt).unsqueeze(-1) if self.toy.loss else (y - tt) ** 2
            out.append((each.double().T @ wt).cpu().numpy())
        return np.stack(out)
