"""A planted message: a reader that hears the first three of twelve dimensions, values in them, and a loud copy elsewhere."""

from dataclasses import replace

import pytest
import torch

from superscope.recover import das
from superscope.recover.message import Message, means_of

VALUES, D, HEARD = 40, 12, 3


def planted(seed: int = 0, noise: float = 0.05, loud: float = 0.0) -> Message:
    """Two keys a row; the reader says the one whose code is NOT what the state holds in its first three dimensions."""
    draw = torch.Generator().manual_seed(seed)
    codes = torch.nn.functional.normalize(torch.randn(VALUES, HEARD, generator=draw), dim=1)
    copy = loud * torch.randn(VALUES, D - HEARD, generator=draw)
    strength = 0.6 + 0.8 * torch.rand(VALUES, 1, generator=draw)
    means = torch.cat([strength * codes, copy], dim=1)
    group = torch.arange(1200) % 2
    low, high = torch.where(group == 0, 0, 24), torch.where(group == 0, 24, VALUES)
    first = low + (torch.rand(1200, generator=draw) * (high - low)).long()
    second = low + (first - low + 1 + (torch.rand(1200, generator=draw) * (high - low - 1)).long()) % (high - low)
    of_source = torch.where(torch.arange(1200) // 2 % 2 == 0, first, second)
    want = torch.where(of_source == first, second, first)

    def states(of: torch.Tensor) -> torch.Tensor:
        return means[of] + noise * torch.randn(len(of), D, generator=draw)

    def respond(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        out = torch.full((len(rows), VALUES), -20.0)
        for key in (first[rows], second[rows]):
            own = (values[:, :HEARD] * codes[key]).sum(1)
            out = out.scatter(1, key[:, None], -8 * own[:, None])
        return out

    sight_of = torch.arange(VALUES).repeat(12)
    pairs = das.Pairs(states(second), states(of_source), want, group == 0)
    return Message(
        pairs, respond, second, of_source, states(sight_of), sight_of, torch.arange(VALUES) < 24, torch.eye(D)[:HEARD]
    )


def test_three_estimators_find_three_dimensions():
    one = planted()
    nothing, whole = one.ends
    assert whole > 0.95
    assert nothing < 0.6
    searched = {k: one.search(k, 150) for k in (1, 2, 3, 6)}
    assert one.fewest(searched, 0.9) == 3
    assert one.fewest({k: one.components(k) for k in (1, 2, 3, 6)}, 0.9) == 3
    probe = one.probe([1, 2, 3, D])
    assert probe[3] > 0.9
    assert probe[1] < 0.5
    assert one.by_means() > 0.95
    assert one.by_means(one.means.roll(5, 0)) < 0.5


def test_means_follow_a_loud_copy_and_the_search_does_not():
    one = planted(loud=1.0)
    assert one.gain(one.iia(one.components(3))) < 0.5
    assert one.gain(one.iia(one.search(3, 200, starts=2))) > 0.8


def test_planted_changes_are_what_they_say():
    one = planted()
    flat = one.with_means(-one.means)
    assert flat.gain(flat.iia(torch.eye(D))) == pytest.approx(1.0)  # of its own ends, which are near each other
    assert abs(flat.ends[1] - flat.ends[0]) < 0.2
    added = one.with_residuals(torch.arange(len(one.pairs.base)))
    torch.testing.assert_close(added.pairs.base, one.pairs.base, atol=1e-5, rtol=1e-5)
    blind = one.only_read(torch.eye(D)[:, HEARD:])
    assert blind.ends[1] == blind.ends[0]
    half = replace(one, sight=one.sight[::2], sight_of=one.sight_of[::2])
    torch.testing.assert_close(half.means, means_of(one.sight[::2], one.sight_of[::2], VALUES))


def test_means_are_means():
    states, of = torch.randn(30, 4), torch.arange(30) % 3
    slow = torch.stack([states[of == value].mean(0) for value in range(3)])
    torch.testing.assert_close(means_of(states, of, 3), slow)
