"""What dropout on the hidden layer costs a trained ReLU output model, and what turning its basis does to that cost.

Inverted dropout with rate q: h_k is kept with probability 1 - q and then divided by 1 - q. The expected loss is an average
over masks; rotating W to R W leaves W^T W, hence the loss without dropout, exactly as it was, and turns only the basis in
which the masks act. Losses: sum over features, mean over samples, importance-weighted.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

ENUMERATE = 8  # up to this many neurons every mask is visited


@dataclass(frozen=True)
class Masks:
    """keep (1 or P, K, m): masks, the same for every point or K of its own; chance (K,), sums to 1; rate: q."""

    keep: np.ndarray
    chance: np.ndarray
    rate: float


def make_masks(m: int, rate: float, points: int, draws: int, rng: np.random.Generator) -> Masks:
    """All 2^m masks with their probabilities if m <= 8, else `draws` fixed masks for each of the `points`.

    Sampled masks are to be shared by everything that is compared, or their noise would enter the comparison twice.
    """
    if m <= ENUMERATE:
        keep = np.array(list(itertools.product([0.0, 1.0], repeat=m)))
        kept = keep.sum(1)
        return Masks(keep[None], (1 - rate) ** kept * rate ** (m - kept), rate)
    return Masks((rng.random((points, draws, m)) >= rate).astype(float), np.full(draws, 1 / draws), rate)


def dropout_loss(W, b, x, weight, importance, masks: Masks, rotations) -> np.ndarray:
    """Expected loss with dropout on of W turned by each rotation -> (rotation, 2): on features that are on, and off.

    W (m, n), b (n,), x (P, n) points with weights (P,) that sum to 1, importance (n,), rotations (R, m, m). In single
    precision; noise on an active feature's own output is the self term of the theory, on the others the cross term.
    """
    import torch

    w, bias, data, share, value, keep, chance = (
        torch.tensor(np.asarray(a), dtype=torch.float32)
        for a in (W, b, x, weight, importance, masks.keep / (1 - masks.rate), masks.chance)
    )
    on = (data > 0).float()
    found = []
    for turn in np.asarray(rotations, dtype=np.float32):
        turned = torch.from_numpy(turn) @ w
        hidden = (data @ turned.T)[:, None] * keep
        y = torch.addmm(bias, hidden.reshape(-1, len(turned)), turned).relu_().view(len(data), -1, len(bias))
        error = torch.einsum("pkn,k->pn", y.sub_(data[:, None]).square_(), chance) * value * share[:, None]
        found.append(((error * on).sum().item(), (error * (1 - on)).sum().item()))
    return np.array(found)


def moment_loss(W, b, x, weight, importance, rate: float, rotations) -> np.ndarray:
    """The theory: as if the noise on every pre-activation were Gaussian. -> (rotation,) expected losses.

    Given x, output j has mean W_j.h + b_j and variance q/(1-q) sum_k h_k^2 W_kj^2, both exact; E (x_j - ReLU(.))^2 of a
    Gaussian is closed form. Wrong where one neuron carries an output, since its noise has two values.
    """
    import torch

    w, bias, data, share, value = (torch.tensor(np.asarray(a, dtype=np.float64)) for a in (W, b, x, weight, importance))
    found = []
    for turn in np.asarray(rotations, dtype=np.float64):
        turned = torch.from_numpy(turn) @ w
        hidden = data @ turned.T
        mean = hidden @ turned + bias
        spread = (rate / (1 - rate) * hidden**2 @ turned**2).sqrt()
        found.append(float(((_relu_error(mean, spread, data)) @ value) @ share))
    return np.array(found)


def _relu_error(mean: torch.Tensor, spread: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """E (truth - ReLU(z))^2 for z normal with this mean and spread (any shape); a spread of 0 is allowed."""
    import torch

    safe = spread.clamp_min(1e-12)
    t = mean / safe
    below = 0.5 * (1 + torch.erf(t / math.sqrt(2)))
    density = torch.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
    first = mean * below + safe * density
    second = (mean**2 + safe**2) * below + mean * safe * density
    return second - 2 * truth * first + truth**2


@dataclass(frozen=True)
class Turned:
    """What random rotations do to one network. Numbers are relative to its own loss with dropout on.

    loss: that loss. rise: mean rise over rotations, `own` the part of it on features that are on, `other` the rest
    (rise = own + other). theory: the rise that `moment_loss` predicts. p: (1 + rotations at least as good) / (1 + rotations).
    """

    loss: float
    rise: float
    own: float
    other: float
    theory: float
    p: float


def turn(W, b, x, weight, importance, masks: Masks, rotations) -> Turned:
    """Compare W with the `rotations` (R, m, m) of itself on the same points and the same masks."""
    every = np.concatenate([np.eye(len(W))[None], rotations])
    parts = dropout_loss(W, b, x, weight, importance, masks, every)
    theory = moment_loss(W, b, x, weight, importance, masks.rate, every)
    here, turned = parts[0].sum(), parts[1:].sum(1)
    own, other = (parts[1:].mean(0) - parts[0]) / here
    hits = int((turned <= here).sum())
    rise = float(theory[1:].mean() / theory[0] - 1)
    return Turned(float(here), float(own + other), float(own), float(other), rise, (1 + hits) / (1 + len(turned)))
