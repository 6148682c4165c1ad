"""4.17: bits through a narrow bottleneck: probes, moves between regions, and interchange at every layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from superscope.evidence.tables import arm, arms
from superscope.measure.activations.probes import probe_auc
from superscope.recover import right
from superscope.studies.p4_17_non_linear_representation.setting import ARMS, HAND, OTHER, STATES, Config
from superscope.studies.p4_17_non_linear_representation.swaps import found_swap, partner
from superscope.toys import coders
from superscope.toys.coders import Coders, patterns


def measured(config: Config, seeds: list[int]) -> dict[str, pd.DataFrame]:
    """Train the coders of every arm, build those by hand; {"table": rows of learned networks, "learned": rows of all}."""
    trained = coders.train(
        list(ARMS.values()), config.bits, config.width, config.noise, seeds, config.steps, config.lr, config.restarts
    )
    rng = np.random.default_rng([seeds[0], 8])
    evenly = np.linspace(-0.9, 0.9, 8)
    spots = [(evenly + rng.uniform(-0.04, 0.04, 8))[rng.permutation(8)] for _ in seeds]
    hand = coders.by_hand(np.array(spots), config.noise / 2)
    rows, learned = [], []
    for nets, names in ((trained, list(ARMS)), (hand, [HAND])):
        found, moved = examined(nets, config, seeds[0])
        for i, name in enumerate(names):
            here = slice(i * len(seeds), (i + 1) * len(seeds))
            keep = found["accuracy"][here] >= 0.99
            learned.append(arm(name, seeds, learned=keep.astype(float)))
            own = np.array(seeds)[keep]
            rows.append(arm(name, own, **{key: value[here][keep] for key, value in found.items()}))
            rows.append(arm(name + OTHER, own, **{"flips f alone": moved[here][keep]}))
    return {"table": arms(*rows), "learned": arms(*learned)}


def examined(nets: Coders, config: Config, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(net,) of everything that is measured, and how often a move to a random other cell flips f alone."""
    rng, every = np.random.default_rng([seed, 6]), patterns(config.bits + 1)
    x = torch.from_numpy(np.tile(every, (64, 1)))
    kind = np.tile(np.arange(len(every)) // 2, 64)  # the number of a row's bit pattern
    bits, late = x[:, :-1], x[:, -1]
    states = nets.layers(nets.join(nets.code(bits, rng), late))
    accuracy = ((states[-1] > 0) == (nets.target(bits, late) > 0.5)).float().mean(1).min(-1).values
    worst = worst_bit(states[0], bits.numpy() > 0.5)
    fit = np.arange(len(x)) % (2 * len(every)) < len(every)
    picked = np.arange(len(worst)), worst
    auc = [np.array([probe_auc(h, bits.numpy() > 0.5, fit) for h in s.numpy().astype(float)])[picked] for s in states[:-1]]
    linear = [linear_swap(nets, worst, place, config.swap_steps, seed) for place in range(len(states) - 1)]
    region, other = regions(nets, worst, kind, bits, late, rng)
    return {
        "accuracy": accuracy.numpy(), "flips f alone": region, "swap at code": linear[0], "swap, best layer": np.max(linear, 0),
        "AUC, best layer": np.max(auc, 0), **{f"AUC at {k}": v for k, v in zip(STATES, auc, strict=True)},
        **{f"swap at {k}": v for k, v in zip(STATES, linear, strict=True)},
    }, other  # fmt: skip


def worst_bit(code: Tensor, bits: np.ndarray) -> np.ndarray:
    """(net,) the bit with the lowest AUC of a linear probe of the code, on one half of the data that fits and judges."""
    keep = np.arange(len(bits)) % 32 < 16
    half = np.arange(keep.sum()) % 32 < 16
    return np.array([probe_auc(h[keep], bits[keep], half).argmin() for h in code.numpy().astype(float)])


def flip(bits: Tensor, worst: np.ndarray) -> Tensor:
    """(net, P, B): bits (P, B) with each network's f negated."""
    own = torch.nn.functional.one_hot(torch.from_numpy(worst), bits.shape[-1]).float()[:, None, :]
    return (bits[None] - own).abs()


def regions(nets: Coders, worst: np.ndarray, kind: np.ndarray, bits, late, rng) -> tuple[np.ndarray, np.ndarray]:
    """(net,) share of states for which a shift flips f and nothing else: to the cell that differs in f, and to the cell of a
    random other pattern."""
    code = nets.code(bits, rng)
    centre = torch.stack([code[:, kind == k].mean(1) for k in range(8)], dim=1)  # (net, patterns, M)
    own = torch.from_numpy(kind).expand(len(code), -1)
    other = torch.from_numpy((kind[None] + rng.integers(1, 8, size=own.shape)) % 8)
    want = nets.target(flip(bits, worst), late)
    found = []
    for there in (partner(own, worst), other):
        cells = [torch.gather(centre, 1, k[..., None].expand(-1, -1, centre.shape[-1])) for k in (there, own)]
        said = nets.after(nets.join(code + cells[0] - cells[1], late), 0)
        found.append(right(said, want).float().mean(1).numpy())
    return found[0], found[1]


def linear_swap(nets: Coders, worst: np.ndarray, place: int, steps: int, seed: int) -> np.ndarray:
    """(net,) held-out share of pairs that differ in f for which the best rank-one swap found at state number `place` works."""
    rng, width = np.random.default_rng([seed, 7, place]), nets.decoder[-1].shape[-1]
    own = torch.nn.functional.one_hot(torch.from_numpy(worst), width).bool()[:, None, :]

    def pairs(count: int) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.from_numpy(rng.integers(0, 2, (2, count, width + 1)).astype(np.float32))
        mixed = flip(x[0, :, :-1], worst)  # what the swap should make of the base
        given = torch.where(own, mixed, x[1, None, :, :-1])  # differs from the base in f, by chance in the rest
        base = nets.layers(nets.join(nets.code(x[0, :, :-1], rng), x[0, :, -1]))[place]
        source = nets.layers(nets.join(nets.code(given, rng), x[1, :, -1]))[place]
        return base, source, nets.target(mixed, x[0, :, -1])

    # at the decoder's input, coordinates that the arm lacks and the late bit are no part of the code
    free = torch.cat([nets.open[:, 0], torch.zeros_like(nets.open[:, 0, :1])], dim=-1) if place == 0 else None
    return found_swap(lambda h: nets.after(h, place), [pairs(count) for count in (192, 1024, 1024)], steps, seed, free)
