"""Alignment search finds a planted subspace, and none where code and factor have nothing to do with each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope.recover import alignment_search


def world(additive: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(codes (1, 12, 5), coordinates (12, 2)): three by four states; additive codes live in two rotated subspaces."""
    rng = np.random.default_rng(0)
    states = np.array([(x, y) for x in range(3) for y in range(4)])
    if additive:
        plain = np.column_stack([np.eye(3)[states[:, 0]][:, :2], np.eye(4)[states[:, 1]][:, :3]])
        codes = plain @ np.linalg.qr(rng.standard_normal((5, 5)))[0]
    else:
        codes = rng.standard_normal((12, 5))
    return torch.tensor(codes[None], dtype=torch.float32), torch.tensor(states)


def success(additive: bool, sizes: tuple[int, ...]) -> np.ndarray:
    codes, states = world(additive)
    rng = np.random.default_rng(1)
    base, source = (torch.tensor(rng.integers(12, size=(1, 800))) for _ in range(2))
    wanted = [states[source[0], 0][None], states[base[0], 1][None]]

    def nearest(h: torch.Tensor, rows: torch.Tensor) -> list[torch.Tensor]:
        scores = -30 * ((h[..., None, :] - codes[0]) ** 2).sum(-1)  # of the 12 states
        return [torch.stack([scores[..., states[:, i] == v].logsumexp(-1) for v in range(k)], -1) for i, k in ((0, 3), (1, 4))]

    return alignment_search(codes[0][base], codes[0][source], wanted, nearest, sizes)[0]


def test_planted_subspace_is_found_at_its_size_and_at_no_other():
    found = success(True, (1, 2, 5))
    assert found[1] > 0.95
    assert found[0] < 0.85
    assert found[2] < 0.6  # exchanging everything brings the other factor along


def test_joint_codes_have_none():
    assert success(False, (1, 2, 3, 4)).max() < 0.75


def test_impossible_sizes_are_named():
    with pytest.raises(ValueError, match="between 1 and 5"):
        success(True, (6,))
