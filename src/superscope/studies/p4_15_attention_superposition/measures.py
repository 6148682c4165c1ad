"""What the heads of a skip-trigram network do: trigrams learned, spread over heads, the two-head trick, interference."""

from __future__ import annotations

import numpy as np
import torch

from superscope.toys.skip_trigrams import Heads, Task, foreign, sequences

BAR = 0.99


def look(model: Heads, task: Task, contexts: int, seed: int) -> dict[str, float]:
    """All measures of one network (a batch of one).

    learned: trigrams right in > 99 % of `contexts` sequences with and without their sources, no foreign source in them.
    spread: mean participation ratio over heads of what the source adds to a learned trigram's margin (its output minus "none").
    alone: share of learned trigrams that one head does by itself, the others held at their mean.
    trick: share of learned trigrams done by copy and anti-copy, see `copied`. plain: learned without it.
    shared: least number of learned trigrams that any head carries a fifth of. drop: accuracy lost to one foreign source.
    rivals: share of sequences with the sources of two trigrams of one destination whose answer is one of the two.
    """
    rng, count = np.random.default_rng([seed, 14]), task.count
    t = np.repeat(np.arange(count), contexts)
    yes, no = np.ones(len(t), dtype=bool), np.zeros(len(t), dtype=bool)
    want = torch.from_numpy(task.output[t])

    def parts(present: np.ndarray, extra: np.ndarray | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        self_attention, added = model.parts(torch.from_numpy(sequences(task, rng, t, present, extra))[None])
        return self_attention[0], added[0]

    def each(values: torch.Tensor) -> np.ndarray:
        """(T, ...) mean over the contexts of every trigram."""
        return values.float().reshape(count, contexts, *values.shape[1:]).mean(1).numpy()

    def says(added: torch.Tensor) -> torch.Tensor:
        return (added.sum(1) + model.bias[0]).argmax(-1)

    (self_with, with_it), (self_without, without) = parts(yes), parts(no)
    clean = each(says(with_it) == want)
    right = np.minimum(clean, each(says(without) == 0))
    learned = right > BAR
    margin = [each(a.gather(-1, want[:, None, None].expand(-1, a.shape[1], 1))[..., 0] - a[..., 0]) for a in (with_it, without)]
    effect = margin[0] - margin[1]  # (T, H)
    total = np.abs(effect).sum(1, keepdims=True)
    share = np.where(total > 0, np.abs(effect) / np.where(total > 0, total, 1), 1 / effect.shape[1])
    mean = 0.5 * (with_it.mean(0) + without.mean(0))
    lone = []
    for head in range(with_it.shape[1]):
        rest = mean.sum(0) - mean[head] + model.bias[0, 0]
        hit, miss = (with_it[:, head] + rest).argmax(-1) == want, (without[:, head] + rest).argmax(-1) == 0
        lone.append(np.minimum(each(hit), each(miss)))
    alone = np.max(lone, axis=0) > BAR
    trick = copied(margin[0], margin[1], each(self_with), each(self_without), float(model.bias[0, 0, 0].item()))
    extra = foreign(task, rng, t)
    _, disturbed = parts(yes, extra)
    possible: np.ndarray = np.asarray(extra >= 0)
    rival = task.rival[t]
    found = float("nan")
    if (rival >= 0).any():
        _, both = parts(yes, np.where(rival >= 0, task.source[rival, 0], -1))
        said = says(both).numpy()
        one_of_two = np.where(said == task.output[t], True, said == task.output[rival])
        found = float(one_of_two[rival >= 0].mean())
    some = learned if learned.any() else np.ones(count, dtype=bool)
    before, after = ((says(added) - want).numpy() == 0 for added in (with_it, disturbed))
    drop = (before[possible].mean() - after[possible].mean()) if possible.any() else float("nan")
    ratio = 1 / (share[some] ** 2).sum(1)
    return {
        "learned": int(learned.sum()), "accuracy": float(right.mean()), "spread": float(ratio.mean()),
        "alone": float(alone[some].mean()), "trick": float(trick[some].mean()), "plain": int((learned & ~trick).sum()),
        "shared": int((share[learned] >= 0.2).sum(0).min()) if learned.any() else 0,
        "drop": float(drop), "rivals": found,
    }  # fmt: skip


def copied(
    present: np.ndarray, absent: np.ndarray, self_present: np.ndarray, self_absent: np.ndarray, none: float
) -> np.ndarray:
    """(T,) is the trigram done by copy and anti-copy? present, absent: what every head (T, H) adds to its margin; self_...:
    attention to the destination itself; none: bias of the "none" output.

    Some head attends to itself with and without the source (> 1/2) and pushes the output, by about as much (within a quarter)
    both times and hard enough to win by itself; without the source the others take at least half of it back.
    """
    copies = (np.minimum(self_present, self_absent) > 0.5) & (np.minimum(present, absent) > max(none, 0.0))
    copies &= np.abs(present - absent) <= 0.25 * np.abs(present)
    others = absent.sum(1, keepdims=True) - absent
    return (copies & (others <= -0.5 * absent)).any(1)
