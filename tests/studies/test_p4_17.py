"""4.17: hand-built cells on a line, directions in three dimensions, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.recover import learn_swap
from superscope.studies import p4_17_non_linear_representation as study
from superscope.toys.coders import Arm, Coders, patterns, train

TINY = {"width": 8, "steps": 20, "swap_steps": 5, "seeds": 5}


def table_coder(places: np.ndarray, late: float = 0.0) -> Coders:
    """A coder that stores pattern k at `places[k]` (patterns, M) and decodes by a piecewise linear function of coordinates."""
    spots, bits = np.asarray(places, dtype=float), patterns(3)
    corner = 2 * bits - 1  # ReLU(corner . s - 2) is one for its own pattern of signs s and zero for the others
    f32 = lambda a: torch.tensor(np.asarray(a), dtype=torch.float32)[None]  # noqa: E731
    encoder = [f32(corner), f32(-2 * np.ones((1, 8))), f32(np.arctanh(spots).T), f32(np.zeros((1, spots.shape[1])))]
    order = np.argsort(spots[:, 0])
    middle = (spots[order, 0][1:] + spots[order, 0][:-1]) / 2
    # one steep step per boundary, made of two hinges
    weight = np.zeros((14, spots.shape[1] + 1))
    weight[:, 0] = 100
    bias = np.concatenate([-100 * middle + 0.5, -100 * middle - 0.5])[None]
    jumps = np.diff(2 * bits[order] - 1, axis=0)  # (7, 3)
    out = np.concatenate([jumps, -jumps]).T
    start = (2 * bits[order[0]] - 1)[None]
    decoder = [f32(weight), f32(bias), f32(out), f32(start)]
    return Coders(encoder, decoder, torch.ones(1, 1, spots.shape[1]), torch.full((1, 1, 1), late), 0.02)


GRAY = np.linspace(-0.9, 0.9, 8)[np.argsort([0, 1, 3, 2, 6, 7, 5, 4])][:, None]


def test_hand_built_cells_pass_regions_and_fail_directions():
    nets, every = table_coder(GRAY), patterns(4)
    x = torch.from_numpy(np.tile(every, (16, 1)))
    rng = np.random.default_rng(0)
    code = nets.code(x[:, :-1], rng)
    assert ((nets.after(nets.join(code, x[:, -1]), 0) > 0) == (x[:, :-1] > 0.5)).float().mean() > 0.99
    worst = study.worst_bit(code, x[:, :-1].numpy() > 0.5)
    assert worst[0] in (1, 2)  # the first bit of the Gray code is a threshold
    moved = study.regions(nets, worst, np.tile(np.arange(16) // 2, 16), x[:, :-1], x[:, -1], rng)
    assert moved["region"][0] > 0.95
    assert moved["mean difference"][0] < 0.5
    assert moved["reach"][0] < 0.1  # as many states must go up as down
    assert moved["other region"][0] < 0.3
    whole = study.linear_swap(nets, worst, 0, 0, 0)[0]
    assert 0.15 < whole < 0.35  # right when the other two bits agree
    assert whole - 0.03 < study.linear_swap(nets, worst, 0, 60, 0)[0] < 0.4  # other pairs choose, hence the slack


def test_three_dimensions_give_every_bit_a_direction():
    nets = train([Arm(1, False), Arm(3, False)], 3, 16, 0.05, [0, 1], 400, 1e-2)
    x = torch.from_numpy(np.tile(patterns(4), (16, 1)))
    code = nets.code(x[:, :-1], np.random.default_rng(1))
    assert (code[:2, :, 1:] == 0).all()
    linear = study.linear_swap(nets, np.zeros(4, dtype=int), 0, 150, 0)
    assert min(linear[2:]) > 0.9


def test_swaps_at_the_code_do_not_touch_what_an_arm_lacks(monkeypatch):
    nets, seen = train([Arm(1, True), Arm(2, True)], 3, 8, 0.05, [0], 5, 1e-2), {}

    def spy(*args, **kwargs):
        seen["pair"] = learn_swap(*args, **kwargs)
        return seen["pair"]

    monkeypatch.setattr(study, "learn_swap", spy)
    study.linear_swap(nets, np.array([0, 1]), 0, 5, 0)
    for one in seen["pair"]:
        assert ((one[..., 0] != 0) <= torch.tensor([[True, False, False], [True, True, False]])).all()


@pytest.mark.parametrize(("name", "value"), [("bits", 4), ("steps", 0), ("width", 0), ("seeds", 0)])
def test_settings_the_rules_do_not_hold_for_are_refused(name: str, value: int):
    with pytest.raises(ValueError, match=f"{name} is {value}: .* (leave|set) it"):
        study.Config(**{name: value})


def test_targets_and_flips():
    nets = table_coder(GRAY, late=1.0)
    bits, late = torch.tensor([[1.0, 0, 1]]), torch.tensor([1.0])
    assert nets.target(bits, late).tolist() == [[[0, 1, 0]]]
    assert study.flip(bits, np.array([1])).tolist() == [[[1, 1, 1]]]


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.17").run(out=tmp_path, quiet=True, **TINY)
    assert [c.id for c in found.claims][:2] == ["no-probe", "region-swap"]
    assert not found.gate.passed
    assert all(c.verdict == "gate failed" for c in found.claims)
