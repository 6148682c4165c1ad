"""Interchange: a planted direction is found, an oblique one too, and a region code defeats every direction."""

from __future__ import annotations

import torch

from superscope.recover import learn_swap, right, swap


def pairs(encode, count: int, seed: int = 0):
    """Two bits of base and source, their states, and the bits wanted when the first comes from the source."""
    draw = torch.Generator().manual_seed(seed)
    base, source = torch.randint(0, 2, (2, 1, count, 2), generator=draw).float()
    return encode(base), encode(source), torch.cat([source[..., :1], base[..., 1:]], dim=-1)


def share(encode, reader) -> float:
    read, write = learn_swap(reader, *pairs(encode, 128), dims=1, steps=200)
    base, source, want = pairs(encode, 512, seed=1)
    return right(reader(swap(base, source, read, write)), want).float().mean().item()


def test_planted_oblique_directions_are_found():
    mix = torch.tensor([[1.0, 0.8], [0.0, 0.6]])  # columns are the directions, not orthogonal
    inverse = torch.linalg.inv(mix)
    assert share(lambda b: (2 * b - 1) @ mix.T, lambda h: 8 * h @ inverse.T) > 0.99


def test_null_regions_on_a_line_have_no_direction():
    # cells 00 01 11 10 at -3 -1 1 3: the second bit is an inner region, the first a threshold
    def encode(b):
        return (2 * b[..., :1] - 1) * (3 - 2 * b[..., 1:])

    def reader(h):
        return torch.cat([h, 2 - h.abs()], dim=-1)

    base, _, want = pairs(encode, 400)
    assert right(reader(base), (want > 0.5) * 1.0).float().mean() < 0.7
    assert share(encode, reader) < 0.8  # 3/4: pairs that agree in the second bit, or in the first and nothing is done


def test_swap_is_exact():
    base, source = torch.randn(2, 1, 5, 3, generator=torch.Generator().manual_seed(2))
    whole = torch.eye(3)[None]
    assert torch.allclose(swap(base, source, whole, whole), source, atol=1e-6)
    assert torch.equal(swap(base, source, whole * 0, whole), base)
