"""The torch engine on a GPU: the networks of a unit in one batch, one step captured as a CUDA graph and replayed.

A step of thousands of tiny networks is a dozen small kernels; launching them from Python costs more than running them. The
step is therefore written without a number that Python knows (its points, learning rate and bias corrections are read from
device memory at a counter that the step itself moves on), captured once and replayed. Networks that share their points (256
seeds, their restarts and the grid points of equal inputs) are one batch. Without a GPU the same step runs uncaptured: the
tests hold it against the portable engine there.
"""

from __future__ import annotations

import numpy as np
import torch

from superscope.sweep.engines.torch_engine import TorchTrainer
from superscope.sweep.points import PointBlock

EVALUATED = 2048  # evaluation points at a time, so that activations of thousands of networks fit
_WARM_UP = 3  # steps before a capture, as torch.cuda.graphs asks for


class CapturedTrainer(TorchTrainer):
    """Trains B networks of one TwoLayer spec; the same interface as TorchTrainer, whose gradients it uses.

    Networks lie in one chunk, so a result depends on its neighbours only through the rounding of batched products.
    """

    chunk_floats, chunk, large_chunk = 1 << 28, 16, 1 << 14
    _x: torch.Tensor = torch.empty(0)
    _graph: torch.cuda.CUDAGraph | None = None

    def run(self, block: PointBlock) -> None:
        """One step of the optimiser for every step of the block. Points or masks of each network's own: uncaptured."""
        if block.x.ndim == 4 or block.keep is not None or self.recipe.optimizer != "adam":
            super().run(block)
            return
        self._load(block)
        if not str(self.device).startswith("cuda"):
            for _ in range(block.steps):
                self._step()
            return
        graph = self._captured()
        for _ in range(block.steps):
            graph.replay()

    def _load(self, block: PointBlock) -> None:
        """Put a block where the step reads it; memory is kept from block to block, as a captured graph has fixed addresses."""
        if self._x.shape[1:] != block.x.shape[1:] or len(self._x) < block.steps:
            self._x, self._target = (
                torch.empty(array.shape, dtype=torch.float32, device=self.device) for array in (block.x, block.target)
            )
            self._at = torch.zeros(1, dtype=torch.int64, device=self.device)
            self._start = torch.zeros(1, dtype=torch.int64, device=self.device)
            self._weight = torch.empty(block.weight.shape, dtype=torch.float32, device=self.device)
            self._rates = torch.tensor(self._schedule, dtype=torch.float32, device=self.device)
            self._graph = None
        for mine, array in ((self._x, block.x), (self._target, block.target)):
            mine[: block.steps].copy_(torch.tensor(array))
        self._weight.copy_(torch.from_numpy(block.weight))
        self._at.zero_()
        self._start.fill_(block.start)

    def _captured(self) -> torch.cuda.CUDAGraph:
        if self._graph is None:
            state = [value for part in (self._p, self._m1, self._m2) for chunk in part for value in chunk.values()]
            kept = [value.clone() for value in (*state, self._at)]
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    self._at.zero_()
                    self._step()
            torch.cuda.current_stream().wait_stream(side)
            for value, old in zip((*state, self._at), kept, strict=True):
                value.copy_(old)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._step()
        return self._graph

    def _step(self) -> None:
        """One step of AdamW (Kingma & Ba 2015; Loshchilov & Hutter 2019) on the points at the counter, which it moves on."""
        x, target = (array.index_select(0, self._at).squeeze(0) for array in (self._x, self._target))
        rate, root, shrink = self._rates.index_select(0, self._start + self._at).squeeze(0).unbind()
        for chunk, parameters in enumerate(self._p):
            for name, g in self._gradients(chunk, x, target, self._weight, None).items():
                p, m1, m2 = parameters[name], self._m1[chunk][name], self._m2[chunk][name]
                if self.recipe.weight_decay:
                    p.mul_(1 - shrink)
                m1.lerp_(g, 1 - self.recipe.beta1)
                m2.mul_(self.recipe.beta2).addcmul_(g, g, value=1 - self.recipe.beta2)
                p.sub_(m1 / (m2.sqrt() * root + self.recipe.eps) * rate)
        self._at.add_(1)

    def loss_per_output(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(B, outputs) float64 weighted squared error on x (P, n), all networks at once, some points at a time."""
        outputs = []
        for chunk in self._p:
            total: torch.Tensor | None = None
            for low in range(0, len(x), EVALUATED):
                some = slice(low, low + EVALUATED)
                xt, tt, wt = (
                    torch.tensor(np.ascontiguousarray(part[some]), dtype=torch.float32, device=self.device)
                    for part in (x, target, weight)
                )
                error = torch.func.vmap(lambda one, xt=xt: self.toy.forward(one, xt))(chunk) - tt
                part = torch.einsum("p,bpo->bo", wt, error.square_()).double()
                total = part if total is None else total + part
            assert total is not None
            outputs.append(total.cpu().numpy())
        return np.stack([outputs[c][i] for c, i in self._place])
