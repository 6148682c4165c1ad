"""The portable engine: hand-written gradients for the two-layer family, in chunks of networks that fit the cache.

One GEMM encodes the shared points for all networks of a chunk, batched products do the rest; there is no autograd tape.
Runs on CPU and CUDA. The slow twin that proves it right is in tests/sweep/test_engines.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from superscope.sweep.points import PointBlock
from superscope.sweep.recipe import Recipe
from superscope.toys import TwoLayer
from superscope.toys.two_layer import activate

CHUNK_FLOATS = 1 << 17  # floats of one (networks, outputs, points) array: half a megabyte
CHUNK = 16  # networks in a chunk, at most; up to LARGE_CHUNK where a grid point has that many
LARGE_CHUNK = 64


def slope(kind: str, z: torch.Tensor, s: float) -> torch.Tensor:
    """f_s'(z) = f'(s z) for the smooth activations."""
    u = z * s
    if kind == "gelu":
        return 0.5 * (1 + torch.erf(u * 0.7071067811865476)) + u * torch.exp(-0.5 * u * u) * 0.3989422804014327
    if kind == "tanh":
        return 1 - torch.tanh(u) ** 2
    g = torch.sigmoid(u)
    return g if kind == "softplus" else g * (1 + u * (1 - g))


def take_step(
    p: torch.Tensor, m1: torch.Tensor, m2: torch.Tensor, g: torch.Tensor, recipe: Recipe, schedule: np.ndarray
) -> None:
    """One step of the recipe's optimiser in place; schedule is one row of Recipe.step_schedule()."""
    rate, root, shrink = schedule
    if shrink:
        p.mul_(1 - shrink)
    if recipe.optimizer == "sgd":
        p.add_(g, alpha=-rate)
        return
    m1.lerp_(g, 1 - recipe.beta1)
    m2.mul_(recipe.beta2).addcmul_(g, g, value=1 - recipe.beta2)
    p.addcdiv_(m1, m2.sqrt().mul_(root).add_(recipe.eps), value=-rate)


class TorchTrainer:
    """Trains B networks of one TwoLayer spec; the same interface as FusedTrainer.

    slots: (B,) the place of every network in its chunk, modulo the chunk size. Matrix products round differently at
    different places and in different shapes, so every chunk is full (empty places hold zeros) and a network always takes
    the place that its number in the sweep gives it: it comes out bit-identical whoever its neighbours are.
    lanes: networks at a grid point of the sweep; more of them, larger chunks.
    """

    name = "torch"
    chunk_floats, chunk, large_chunk = CHUNK_FLOATS, CHUNK, LARGE_CHUNK

    def __init__(
        self,
        toy: TwoLayer,
        params: Mapping[str, np.ndarray],
        importance: np.ndarray,
        recipe: Recipe,
        slots: Sequence[int] | None = None,
        lanes: int = CHUNK,
        device: str = "cpu",
    ):
        self.toy, self.recipe, self.count, self.device = toy, recipe, len(importance), device
        self._kinds = toy.effective_activations
        self._sharp = 1.0 if np.isinf(toy.sharpness) else float(toy.sharpness)
        most = min(max(self.chunk, 1 << (lanes - 1).bit_length()), self.large_chunk)
        self._size = max(1, min(most, self.chunk_floats // (recipe.points_for(toy.n_features) * toy.n_outputs)))
        self._place = places(range(self.count) if slots is None else slots, self._size)
        self._chunks = max(chunk for chunk, _ in self._place) + 1
        # Tied weights are stored once, as W (hidden, feature).
        spread = [self._spread(v) for v in params.values()]
        self._p = [dict(zip(params, chunk, strict=True)) for chunk in zip(*spread, strict=True)]
        self._m1 = [{k: torch.zeros_like(v) for k, v in p.items()} for p in self._p]
        self._m2 = [{k: torch.zeros_like(v) for k, v in p.items()} for p in self._p]
        self._importance = self._spread(np.asarray(importance, dtype=np.float32))
        self._same_importance = float(importance.flat[0]) if np.all(importance == importance.flat[0]) else None
        self._schedule = recipe.step_schedule().astype(np.float64)

    def _spread(self, rows: np.ndarray) -> list[torch.Tensor]:
        """(B, ...) -> one (size, ...) tensor per chunk, each in its own (aligned) memory; empty places hold zeros."""
        out = np.zeros((self._chunks, self._size, *rows.shape[1:]), dtype=rows.dtype)
        for row, place in zip(rows, self._place, strict=True):
            out[place] = row
        return [torch.tensor(chunk, device=self.device) for chunk in out]

    @property
    def params(self) -> dict[str, np.ndarray]:
        """{name: (B, ...)} copies of the current parameters."""
        return {k: np.stack([self._p[c][k][i].cpu().numpy() for c, i in self._place]) for k in self._p[0]}

    def run(self, block: PointBlock) -> None:
        """One step of the optimiser for every step of the block."""
        weight = torch.from_numpy(block.weight).to(self.device)
        own = block.x.ndim == 4
        if own:  # (T, B, P, n) -> per chunk (size, T, P, n)
            xs, targets = (self._spread(a.swapaxes(0, 1)) for a in (block.x, block.target))
        else:
            x, target = (torch.from_numpy(np.ascontiguousarray(a)).to(self.device) for a in (block.x, block.target))
        if block.keep is not None:  # (T, B, P, m) -> per chunk (size, T, m, P)
            masks = self._spread(block.keep.transpose(1, 0, 3, 2) * np.float32(1 / (1 - self.toy.dropout)))
        for c in range(self._chunks):
            for t in range(block.steps):
                xt, target_t = (xs[c][:, t], targets[c][:, t]) if own else (x[t], target[t])
                mask = None if block.keep is None else masks[c][:, t]
                for name, g in self._gradients(c, xt, target_t, weight, mask).items():
                    moments = self._m1[c][name], self._m2[c][name]
                    take_step(self._p[c][name], *moments, g, self.recipe, self._schedule[block.start + t])

    def _gradients(
        self, chunk: int, x: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, mask: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Gradients of L for one chunk: x (P, n) or (B, P, n), target the same with outputs, weight (P,), mask (B, m, P)."""
        toy, s, p = self.toy, self._sharp, self._p[chunk]
        kind_h, kind_y = self._kinds
        w_in = p["W"]
        count, m, n = w_in.shape
        w_out = w_in.transpose(1, 2) if toy.tied else p["W_out"]
        shared = x.ndim == 2
        if shared:
            pre = (w_in.reshape(count * m, n) @ x.T).view(count, m, -1)
        else:
            pre = w_in @ x.transpose(1, 2)
        if toy.hidden_bias:
            pre = pre + p["b_hidden"].unsqueeze(-1)
        h = pre if kind_h == "identity" else activate(kind_h, pre, s)
        if mask is not None:
            h = h * mask
        if toy.output_bias:
            z = torch.baddbmm(p["b_out"].unsqueeze(-1), w_out, h)
        else:
            z = torch.bmm(w_out, h)
        y = z if kind_y == "identity" else activate(kind_y, z, s)
        g = y - (target.T if shared else target.transpose(1, 2))
        if self._same_importance is not None:
            g *= weight * (2 * self._same_importance)
        else:
            g *= weight * 2
            g *= self._importance[chunk].unsqueeze(-1)
        if kind_y == "relu":
            g = torch.ops.aten.threshold_backward(g, y, 0)
        elif kind_y != "identity":
            g *= slope(kind_y, z, s)
        grads: dict[str, torch.Tensor] = {}
        if toy.output_bias:
            grads["b_out"] = g.sum(-1)
        back = torch.bmm(w_out.transpose(1, 2), g)
        if self.recipe.l1:
            back += torch.sign(h) * (weight * self.recipe.l1)
        if mask is not None:
            back *= mask
        if kind_h == "relu":
            back = torch.ops.aten.threshold_backward(back, pre, 0)
        elif kind_h != "identity":
            back *= slope(kind_h, pre, s)
        if toy.hidden_bias:
            grads["b_hidden"] = back.sum(-1)
        encoder = (back.reshape(count * m, -1) @ x).view(count, m, n) if shared else torch.bmm(back, x)
        if toy.tied:
            grads["W"] = torch.baddbmm(encoder, h, g.transpose(1, 2))
        else:
            grads["W"], grads["W_out"] = encoder, torch.bmm(g, h.transpose(1, 2))
        return grads

    def loss_per_output(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(B, outputs) float64 weighted squared error on x (P, n), without importance and dropout."""
        xt, tt = torch.from_numpy(x).to(self.device), torch.from_numpy(np.ascontiguousarray(target)).to(self.device)
        wt = torch.from_numpy(weight).to(self.device, torch.float32)
        out = []
        for c, i in self._place:  # one by one: the same shapes, so the same rounding, for every network
            error = self.toy.forward({k: v[i] for k, v in self._p[c].items()}, xt) - tt
            out.append((wt @ error.square_()).double().cpu().numpy())
        return np.stack(out)


def places(slots: Sequence[int], size: int) -> list[tuple[int, int]]:
    """(chunk, place) of every network: its place is its slot modulo the size, its chunk the first with that place free."""
    taken: dict[int, int] = {}
    out = []
    for slot in slots:
        place = slot % size
        out.append((taken.get(place, 0), place))
        taken[place] = taken.get(place, 0) + 1
    return out
