"""Networks with two hidden ReLU layers that compute max(0, x, y) of pairs of inputs, many trained at once; what whole neurons
could do; and how much one pair disturbs the others.

z1 = x W1 + b1, z2 = ReLU(z1) W2 + x V + b2, output = ReLU(z2) W3 + ReLU(z1) U + x T + b3. Masks make the variants: a plain
network has no V, U, T; a network of one hidden layer has no W2 (its neurons are those of both layers); a network without
sharing has only the connections of one pair at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from superscope.toys.batched import descend

PARTS = ("W1", "b1", "W2", "V", "b2", "W3", "U", "T", "b3")
Owners = tuple[list[int], list[int]]
BLOCK = 32  # steps whose points are drawn together


@dataclass
class Nets:
    """weights: by name, each (net, from, to): W1 (2k, h1), W2 (h1, h2), V (2k, h2), W3 (h2, k), U (h1, k), T (2k, k), biases
    (1, .) of k pairs and widths h1, h2."""

    weights: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.weights["b3"])

    def __getitem__(self, which) -> Nets:
        return Nets({name: one[which] for name, one in self.weights.items()})

    def layers(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ReLU(z1) (net, P, h1), z2 (net, P, h2) and the output (net, P, k) of x (net, P, 2k) or (P, 2k)."""
        w, add = self.weights, torch.baddbmm  # many times faster than x @ w + b, at these sizes
        x = x if x.ndim == 3 else x.expand(len(self), *x.shape)
        first = torch.relu(add(w["b1"], x, w["W1"]))
        second = add(add(w["b2"], first, w["W2"]), x, w["V"])
        return first, second, add(add(add(w["b3"], torch.relu(second), w["W3"]), first, w["U"]), x, w["T"])

    def output(self, x: Tensor) -> Tensor:
        return self.layers(x)[2]


def joined(*parts: Nets) -> Nets:
    """All networks of several batches, which have the same widths."""
    return Nets({name: torch.cat([one.weights[name] for one in parts]) for name in PARTS})


def target(x: Tensor) -> Tensor:
    """max(0, x, y) of neighbours: x (..., 2k) -> (..., k)."""
    return torch.relu(x[..., 0::2].maximum(x[..., 1::2]))


def draw(rng: np.random.Generator, count: int, pairs: int, density: float, together: bool) -> Tensor:
    """(count, 2 pairs) inputs, uniform on [-1, 1] when on; the two of a pair are on together, or each on its own."""
    x = rng.uniform(-1, 1, (count, pairs, 2))
    on = rng.random((count, pairs, 1 if together else 2)) < density
    return torch.tensor((x * on).reshape(count, -1), dtype=torch.float32)


def shapes(pairs: int, widths: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """(from, to) of every part."""
    n, (h1, h2) = 2 * pairs, widths
    return {"W1": (n, h1), "b1": (1, h1), "W2": (h1, h2), "V": (n, h2), "b2": (1, h2), "W3": (h2, pairs), "U": (h1, pairs),
            "T": (n, pairs), "b3": (1, pairs)}  # fmt: skip


def random(seeds: list[int], pairs: int, widths: tuple[int, int]) -> Nets:
    """He-normal weights, hidden biases .1, a generator per network."""
    made: dict[str, list[np.ndarray]] = {name: [] for name in PARTS}
    for seed in seeds:
        rng = np.random.default_rng([seed, 14])
        for name, shape in shapes(pairs, widths).items():
            bias = np.full(shape, 0.0 if name == "b3" else 0.1)
            made[name].append(bias if name[0] == "b" else rng.standard_normal(shape) * np.sqrt(2 / shape[0]))
    return Nets({name: torch.tensor(np.array(one), dtype=torch.float32) for name, one in made.items()})


NONE = -1  # the pair of a neuron that is not there


def allowed(pairs: int, widths: tuple[int, int], without: str = "V U T", owners: Owners | None = None) -> Nets:
    """One network of ones and zeros: what may be used. without: parts that are not there. owners: the pair that each neuron
    of either layer serves, so that nothing else reads or feeds it."""
    mask = {name: torch.ones(1, *shape) for name, shape in shapes(pairs, widths).items()}
    for name in PARTS:
        if name in without.split():
            mask[name].zero_()
    if owners is not None:
        n, k = torch.arange(2 * pairs) // 2, torch.arange(pairs)
        one, two = (torch.tensor(part) for part in owners)
        ends = {"W1": (n, one), "W2": (one, two), "V": (n, two), "W3": (two, k), "U": (one, k), "T": (n, k)}
        for name, (of, to) in ends.items():
            mask[name] *= (of[:, None] == to).float()
    return Nets(mask)


def only(mask: Nets, widths: tuple[int, int]) -> Nets:
    """`mask` without the neurons beyond the given widths."""
    made, (h1, h2) = {name: one.clone() for name, one in mask.weights.items()}, widths
    for name in ("W1", "b1", "U", "W2"):
        (made[name] if name in ("W1", "b1") else made[name].transpose(1, 2))[..., h1:] = 0.0
    for name in ("W2", "V", "b2", "W3"):
        (made[name].transpose(1, 2) if name == "W3" else made[name])[..., h2:] = 0.0
    return Nets(made)


def train(
    start: Nets, masks: Nets, together: list[bool], density: float, steps: int, lr: float, points: int, seed: int
) -> Nets:
    """Adam on fresh inputs, those of a kind shared by all networks. Loss: sum over outputs, mean over samples, over density."""
    weights = {name: (one * masks.weights[name]).requires_grad_() for name, one in start.weights.items()}
    for name, one in weights.items():
        one.register_hook(lambda slope, mask=masks.weights[name]: slope * mask)
    nets, pairs = Nets(weights), weights["b3"].shape[-1]
    kinds = torch.tensor([0 if one else 1 for one in together])
    rng, held = np.random.default_rng([seed, 41]), {}

    def losses(step: int) -> Tensor:
        if step % BLOCK == 0:
            both = [draw(rng, BLOCK * points, pairs, density, kind).reshape(BLOCK, points, -1) for kind in (True, False)]
            held["x"] = torch.stack(both, 1)
        x = held["x"][step % BLOCK][kinds]
        return ((nets.output(x) - target(x)) ** 2).sum(-1).mean(-1) / density

    descend(list(weights.values()), losses, steps, lr)
    return Nets({name: one.detach() for name, one in weights.items()})


@torch.no_grad()
def loss(nets: Nets, together: list[bool], density: float, seed: int, samples: int = 20_000) -> np.ndarray:
    """(net,) sum over outputs, mean over fixed samples."""
    pairs = nets.weights["b3"].shape[-1]
    x = {kind: draw(np.random.default_rng([seed, 42]), samples, pairs, density, kind) for kind in (True, False)}
    return np.array(
        [float(((nets[[i]].output(x[kind]) - target(x[kind])) ** 2).sum(-1).mean()) for i, kind in enumerate(together)]
    )


def exact(pairs: int, skip: bool = False) -> Nets:
    """One network that computes every pair with neurons of its own, three a pair (two and one), or, if layer two reads the
    inputs, two: max(0, x, y) = ReLU(ReLU(x - y) + ReLU(y + 1) - 1) = ReLU(ReLU(x - y) + y) on [-1, 1]."""
    widths = ((1 if skip else 2) * pairs, pairs)
    made = {name: torch.zeros(1, *shape) for name, shape in shapes(pairs, widths).items()}
    for i in range(pairs):
        made["W1"][0, 2 * i : 2 * i + 2, i] = torch.tensor([1.0, -1.0])
        made["W2"][0, i, i] = made["W3"][0, i, i] = 1.0
        if skip:
            made["V"][0, 2 * i + 1, i] = 1.0
        else:
            made["W1"][0, 2 * i + 1, pairs + i] = made["b1"][0, 0, pairs + i] = made["W2"][0, pairs + i, i] = 1.0
            made["b2"][0, 0, i] = -1.0
    return Nets(made)


def ring_code(pairs: int, threshold: float = 0.3) -> Nets:
    """One network that shares layer one and cleans up in layer two: pairs in threes, whose y lie 120 degrees apart in two
    neurons (which are never off), so that each of the others adds -y/2; layer two cuts what is below the threshold."""
    widths = (pairs + 2 * (pairs // 3), pairs)
    made = {name: torch.zeros(1, *shape) for name, shape in shapes(pairs, widths).items()}
    for i in range(3 * (pairs // 3)):
        made["W1"][0, 2 * i : 2 * i + 2, i] = torch.tensor([1.0, -1.0])
        made["W2"][0, i, i] = 1.0
        angle = 2 * np.pi * (i % 3) / 3
        for axis, part in enumerate((np.cos(angle), np.sin(angle))):
            shared = pairs + 2 * (i // 3) + axis
            made["W1"][0, 2 * i + 1, shared] = made["W2"][0, shared, i] = part
            made["b1"][0, 0, shared] = 2.0
            made["b2"][0, 0, i] -= 2.0 * part
        made["b2"][0, 0, i] -= threshold
        made["W3"][0, i, i] = 1 / (1 - threshold)
    return Nets(made)


def noisy(net: Nets, noise: float, seeds: list[int]) -> Nets:
    """A copy a seed, every weight and bias changed by `noise` times the root mean square of what its part has."""
    made = {}
    for name, one in net.weights.items():
        size = noise * float(one[one != 0].square().mean().sqrt()) if (one != 0).any() else 0.0
        drawn = [np.random.default_rng([seed, 43, PARTS.index(name)]).standard_normal(one.shape[1:]) for seed in seeds]
        made[name] = one + size * torch.tensor(np.array(drawn), dtype=torch.float32)
    return Nets(made)


def levels(density: float, together: bool, points: int) -> tuple[np.ndarray, np.ndarray]:
    """A grid of one pair's inputs (P, 2) with their chances (P,): both on, one on, none."""
    one = (np.arange(points) + 0.5) / points * 2 - 1
    square = np.stack(np.meshgrid(one, one), -1).reshape(-1, 2)
    line = np.stack([one, 0 * one], 1)
    both, single = (density, 0.0) if together else (density**2, density * (1 - density))
    parts = [(square, both), (line, single), (line[:, ::-1], single), (np.zeros((1, 2)), 1 - both - 2 * single)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([np.full(len(x), p / len(x)) for x, p in parts])


def pair_variance(density: float, together: bool) -> float:
    """Loss of one pair that nothing computes: the variance of max(0, x, y)."""
    x, chance = levels(density, together, 400)
    truth = np.maximum(x.max(1), 0)
    return float(chance @ truth**2 - (chance @ truth) ** 2)


def one_projection(density: float, together: bool, bins: int = 150) -> float:
    """The least loss of one pair when layer one sees it by one neuron, whatever follows: min over directions u of
    E Var(max(0, x, y) | u . (x, y)). In bins, which make it too large by about 1 %; silence has a bin of its own."""
    x, chance = levels(density, together, 2 * bins)
    truth, found = np.maximum(x.max(1), 0), np.inf
    for angle in np.linspace(0, np.pi, 91):
        place = np.floor((x @ [np.cos(angle), np.sin(angle)] / np.sqrt(2) + 1) / 2.0001 * bins).astype(int)
        place[-1] = bins  # the last level is silence
        mass, first, second = (np.bincount(place, chance * truth**power) for power in range(3))
        found = min(found, float((second - first**2 / np.maximum(mass, 1e-300)).sum()))
    return found


def one_hinge(density: float, together: bool) -> float:
    """The least loss of one pair by one ReLU and a linear path, by search from 8 starts."""
    x, chance = levels(density, together, 30)
    weight = np.sqrt(chance)
    truth = np.maximum(x.max(1), 0) * weight

    def left(hinge: np.ndarray) -> float:
        columns = np.stack([np.ones(len(x)), *x.T, np.maximum(x @ hinge[:2] + hinge[2], 0)], 1) * weight[:, None]
        return float(((columns @ np.linalg.lstsq(columns, truth, rcond=None)[0] - truth) ** 2).sum())

    starts = [(np.cos(a), np.sin(a), c) for a in np.arange(4) * np.pi / 2 + 0.4 for c in (-0.2, 0.3)]
    return min(minimize(left, start, method="Nelder-Mead").fun for start in starts)


@torch.no_grad()
def interference(nets: Nets, density: float, seed: int, straight: bool = False, samples: int = 3000) -> np.ndarray:
    """(net, 2) what patching the inputs of one pair changes in the outputs of all others, over what it changes in its own
    (energies), in the best linear read-out of layer one and in the output.

    straight: every ReLU of layer two replaced by its best affine fit. Of pairs that are on together; patched pairs are on.
    """
    pairs, rng = nets.weights["b3"].shape[-1], np.random.default_rng([seed, 44])
    x = draw(rng, samples, pairs, density, True)
    seen = draw(rng, 20_000, pairs, density, True)
    out = []
    for i in range(len(nets)):
        net = nets[[i]]
        first, second, _ = (one[0] for one in net.layers(seen))
        design = torch.cat([first, torch.ones(len(first), 1)], 1).double()
        read = torch.linalg.lstsq(design, target(seen).double(), driver="gelsd").solution[:-1].float()
        slope, offset = affine(second)

        def both(points: Tensor, net=net, read=read, slope=slope, offset=offset) -> tuple[Tensor, Tensor]:
            one, two, said = (part[0] for part in net.layers(points))
            return one @ read, (slope * two + offset) @ net.weights["W3"][0] if straight else said

        before, energy = both(x), np.zeros((2, 2))  # (reading, own or others)
        for j in range(pairs):
            moved = x.clone()
            moved[:, 2 * j : 2 * j + 2] = torch.tensor(rng.uniform(-1, 1, (samples, 2)), dtype=torch.float32)
            for reading, (was, now) in enumerate(zip(before, both(moved), strict=True)):
                change = ((now - was) ** 2).mean(0)
                energy[reading] += float(change[j]), float(change.sum() - change[j])
        out.append(energy[:, 1] / energy[:, 0])
    return np.array(out)


def affine(z: Tensor) -> tuple[Tensor, Tensor]:
    """(slope, offset) of the best affine function of each z (P, width) for its ReLU."""
    h, centred = torch.relu(z), z - z.mean(0)
    slope = (centred * h).sum(0) / (centred**2).sum(0).clamp(min=1e-12)
    return slope, h.mean(0) - slope * z.mean(0)
