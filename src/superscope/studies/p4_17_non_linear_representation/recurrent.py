"""4.17: eight regions that are kept and swapped for several steps: what is read half-way, and what interchange does."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from superscope.evidence.tables import arm, arms
from superscope.measure.activations.probes import probe_auc
from superscope.studies.p4_17_non_linear_representation.setting import DEALT, STEPS, SWAPS, TASKS, Config
from superscope.studies.p4_17_non_linear_representation.swaps import Pairs, found_swap, partner
from superscope.toys import carriers
from superscope.toys.coders import patterns


def carried(config: Config, seeds: list[int]) -> dict[str, object]:
    """Train the carriers of every task and look half-way; {"table", "learned", and states and patterns to draw}."""
    nets = carriers.train(list(TASKS.values()), config.width, config.noise, seeds, config.recurrent_steps, config.recurrent_lr)
    rng, deal = np.random.default_rng([seeds[0], 9]), np.random.default_rng([seeds[0], 10])
    samples, truth = [half_way(nets, rng) for _ in range(4)], patterns(config.bits) > 0.5
    fit, count = np.arange(samples[0][0].shape[1]) % 16 < 8, len(truth)
    worst, own, dealt, anew = [], [], [], []
    for first, kind, h in zip(samples[0][0], samples[0][1].numpy(), samples[1][0], strict=True):
        worst.append(probe_auc(first.numpy().astype(float), truth[kind], fit).argmin())
        other = samples[1][1][len(worst) - 1].numpy()
        deals = [np.arange(count), *(deal.permutation(count) for _ in range(105))]
        auc = probe_auc(h.numpy().astype(float), np.concatenate([truth[d][other] for d in deals], axis=1), fit).reshape(-1, 3)
        own.append(auc[0, worst[-1]])
        dealt.append(auc[1:101].min(1).mean())
        anew.append(auc[101:].min(1).mean())
    f = np.array(worst)
    told = torch.from_numpy(rng.integers(0, carriers.BITS, (STEPS - STEPS // 2, samples[0][0].shape[1])))
    mixed = [swap_pairs(nets, one, f, told, rng) for one in samples[1:]]
    base, source, want = mixed[0]
    mixed[0] = base[:, :128], source[:, :128], want[:, :128]  # as many to fit as are needed
    swapped = found_swap(lambda h: nets.rest(h, told[:, : h.shape[1]]), mixed, config.swap_steps, seeds[0], nets.open[:, 0])
    state, kind = samples[0]
    right_ones = (nets.read(state) > 0) == (torch.from_numpy(truth)[kind])
    accuracy = right_ones.all(-1).float().mean(-1).numpy()
    rows, learned, seed = [], [], np.array(seeds)
    for i, name in enumerate(TASKS):
        here = slice(i * len(seeds), (i + 1) * len(seeds))
        keep = accuracy[here] >= 0.95
        over = np.array([own, anew])[:, here][:, keep] - np.array(dealt)[here][keep]
        learned.append(arm(name, seeds, learned=keep.astype(float)))
        rows.append(
            arm(name, seed[keep], accuracy=accuracy[here][keep], **{"AUC half-way": np.array(own)[here][keep],
                "over dealt": over[0], "swap half-way": swapped[here][keep],
                "all directions": np.array(own)[here][keep] >= 0.95})
        )  # fmt: skip
        if name == SWAPS:
            rows.append(arm(DEALT, seed[keep], **{"over dealt": over[1]}))
    show = slice(0, len(state), len(seeds))
    return {
        "table": arms(*rows),
        "learned": arms(*learned),
        "states": state[show, :256].numpy(),
        "values": kind[show, :256].numpy(),
    }


def half_way(nets: carriers.Carriers, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Noisy states (net, P, M) and true patterns (net, P) after half of the steps."""
    kind = torch.arange(2**carriers.BITS).repeat(64)
    state, true = nets.run(kind, torch.from_numpy(rng.integers(0, carriers.BITS, (STEPS // 2, len(kind)))), rng)
    return state[-1], true[-1]


def swap_pairs(
    nets: carriers.Carriers, sample: tuple[Tensor, Tensor], f: np.ndarray, told: Tensor, rng: np.random.Generator
) -> Pairs:
    """Base states, source states that differ in f and by chance in the rest, and the bits wanted after the remaining steps."""
    h, kind = sample
    source = torch.empty_like(h)
    for net, bit in enumerate(f):
        value = (kind[net] >> (2 - int(bit))) & 1
        for is_on in (0, 1):
            rows, pool = torch.where(value == is_on)[0], torch.where(value != is_on)[0]
            if len(pool):
                source[net, rows] = h[net, pool[torch.from_numpy(rng.integers(0, len(pool), len(rows)))]]
    want = partner(kind, f)
    for one in told:
        want = nets.moved(want, one)
    return h, source, torch.from_numpy(patterns(carriers.BITS))[want]
