"""4.17: what both kinds of networks are asked by interchange."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from superscope.recover import learn_swap, right, swap

Pairs = tuple[Tensor, Tensor, Tensor]  # base states, source states, and the bits wanted


def partner(kind: Tensor, worst: np.ndarray) -> Tensor:
    """(net, P): patterns kind (net, P) with each network's f negated; the first bit is the most significant."""
    return kind ^ torch.from_numpy(4 >> worst)[:, None]


def found_swap(
    reader: Callable[[Tensor], Tensor], pairs: list[Pairs], steps: int, seed: int, free: Tensor | None = None
) -> np.ndarray:
    """(net,) how often the best rank-one swap works: fitted on the first, chosen on the second, judged on the third pairs."""
    base, source, want = pairs[0]
    read, write = learn_swap(reader, base, source, want, 1, steps, seed=seed, free=free, check=pairs[1])
    base, source, want = pairs[2]
    return right(reader(swap(base, source, read, write)), want).float().mean(1).numpy()
