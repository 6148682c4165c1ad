"""4.17: cells on a line by hand, directions in three dimensions, carried boxes, and the contract on a small run."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.measure.activations.probes import auc
from superscope.recover import learn_swap
from superscope.studies import p4_17_non_linear_representation as study
from superscope.studies.p4_17_non_linear_representation import bottleneck, recurrent, swaps
from superscope.toys import carriers
from superscope.toys.coders import Arm, all_orders, by_hand, patterns, train

TINY = {"width": 8, "steps": 20, "swap_steps": 5, "seeds": 5, "restarts": 1, "recurrent_steps": 3}
GRAY = np.linspace(-0.9, 0.9, 8)[np.argsort([0, 1, 3, 2, 6, 7, 5, 4])]


def test_cells_by_hand_pass_regions_and_fail_directions():
    nets = by_hand(GRAY[None], 0.02)
    x = torch.from_numpy(np.tile(patterns(4), (16, 1)))
    rng = np.random.default_rng(0)
    code = nets.code(x[:, :-1], rng)
    said = nets.after(nets.join(code, x[:, -1]), 0) > 0
    assert (said == (nets.target(x[:, :-1], x[:, -1]) > 0.5)).float().mean() > 0.99
    worst = bottleneck.worst_bit(code, x[:, :-1].numpy() > 0.5)
    assert worst[0] in (1, 2)  # the first bit of the Gray code is a threshold
    region, other = bottleneck.regions(nets, worst, np.tile(np.arange(16) // 2, 16), x[:, :-1], x[:, -1], rng)
    assert region[0] > 0.95
    assert other[0] < 0.3
    whole = bottleneck.linear_swap(nets, worst, 0, 0, 0)[0]
    assert 0.15 < whole < 0.35  # right when the other two bits agree
    assert whole - 0.03 < bottleneck.linear_swap(nets, worst, 0, 60, 0)[0] < 0.4  # other pairs choose, hence the slack


def test_three_dimensions_give_every_bit_a_direction():
    nets = train([Arm(1, False), Arm(3, False)], 3, 16, 0.05, [0, 1], 400, 1e-2)
    x = torch.from_numpy(np.tile(patterns(4), (16, 1)))
    code = nets.code(x[:, :-1], np.random.default_rng(1))
    assert (code[:2, :, 1:] == 0).all()
    linear = bottleneck.linear_swap(nets, np.zeros(4, dtype=int), 0, 150, 0)
    assert min(linear[2:]) > 0.9


def test_swaps_at_the_code_do_not_touch_what_an_arm_lacks(monkeypatch):
    nets, seen = train([Arm(1, True), Arm(2, True)], 3, 8, 0.05, [0], 5, 1e-2), {}

    def spy(*args, **kwargs):
        seen["pair"] = learn_swap(*args, **kwargs)
        return seen["pair"]

    monkeypatch.setattr(swaps, "learn_swap", spy)
    bottleneck.linear_swap(nets, np.array([0, 1]), 0, 5, 0)
    for one in seen["pair"]:
        assert ((one[..., 0] != 0) <= torch.tensor([[True, False, False], [True, True, False]])).all()


@pytest.mark.parametrize(("name", "value"), [("bits", 4), ("steps", 0), ("width", 0), ("seeds", 0)])
def test_settings_the_rules_do_not_hold_for_are_refused(name: str, value: int):
    with pytest.raises(ValueError, match=f"{name} is {value}: .* (leave|set) it"):
        study.Config(**{name: value})


def test_the_best_restart_is_kept():
    one, two = (train([Arm(3, False)], 3, 8, 0.05, [0, 1], 60, 1e-2, restarts) for restarts in (1, 3))
    assert [len(nets.open) for nets in (one, two)] == [2, 2]
    x = torch.from_numpy(np.tile(patterns(4), (16, 1)))
    right = [
        ((n.after(n.join(n.code(x[:, :-1], np.random.default_rng(0)), x[:, -1]), 0) > 0) == (x[:, :-1] > 0.5)).float().mean()
        for n in (one, two)
    ]
    assert right[1] >= right[0] - 0.02


def test_targets_flips_and_partners():
    nets = by_hand(GRAY[None], 0.02)
    bits, late = torch.tensor([[1.0, 0, 1]]), torch.tensor([1.0])
    assert nets.target(bits, late).tolist() == [[[0, 1, 0]]]
    assert bottleneck.flip(bits, np.array([1])).tolist() == [[[1, 1, 1]]]
    assert swaps.partner(torch.tensor([[5], [5]]), np.array([0, 2])).tolist() == [[1], [4]]


def test_most_orders_on_a_line_hide_a_bit_from_a_probe():
    """The reason that "no probe reads it" was taken back; and one order by the slow measure."""
    found = all_orders()
    assert len(found) == 20_160
    assert np.median(found) == 0.5625
    assert 0.66 < (found <= 0.6).mean() < 0.68
    order = next(itertools.islice((p for p in itertools.permutations(range(8)) if p[0] < p[-1]), 1234, None))
    slow = auc(np.repeat(np.array(order, float)[:, None], 3, axis=1), patterns(3))
    assert found[1234] == np.maximum(slow, 1 - slow).min()


def test_instructions_swap_all_patterns_in_pairs_and_flips_are_flips():
    rng = np.random.default_rng(0)
    for task in (carriers.Task(3), carriers.Task(3, flips=True)):
        moves = carriers.pairings(task, 3, rng)
        assert (np.take_along_axis(moves, moves, axis=1) == np.arange(8)).all()
        assert (moves != np.arange(8)).all()
    assert carriers.pairings(carriers.Task(3, flips=True), 3, rng)[1].tolist() == [2, 3, 0, 1, 6, 7, 4, 5]


def box_nets(cells: np.ndarray) -> carriers.Carriers:
    """Carriers that keep the state as it is and read the bits of the nearest of `cells` (8, 3), by hand."""
    bits, f32 = 2 * patterns(3) - 1, lambda a: torch.tensor(np.asarray(a), dtype=torch.float32)[None]
    encoder = [f32(bits), f32(np.full((1, 8), -2.0)), f32(np.arctanh(cells).T), f32(np.zeros((1, 3)))]
    cell = [f32(np.zeros((6, 6))), f32(np.r_[np.full(3, 50.0), np.zeros(3)][None])]
    sharp = 200.0  # steep scores of nearness; the winner's ReLU dominates
    decoder = [f32(sharp * 2 * cells), f32(-sharp * (cells**2).sum(1)[None]), f32(np.zeros((3, 8))), f32(np.zeros((1, 3)))]
    moves = torch.arange(8).expand(1, 3, 8)
    nets = carriers.Carriers(encoder, cell, decoder, torch.ones(1, 1, 3), moves, 0.03)
    object.__setattr__(nets, "read", lambda h: f32(bits)[0][(h @ decoder[0].transpose(1, 2) + decoder[1]).argmax(-1)])
    return nets


def test_half_way_a_box_is_read_and_a_mixed_box_is_not():
    found = {}
    for taught in ("bits", "dealt"):
        cells = carriers.box(carriers.Task(3, taught=taught), np.random.default_rng(3))
        state, kind = recurrent.half_way(box_nets(np.clip(cells, -0.95, 0.95)), np.random.default_rng(4))
        fit = np.arange(state.shape[1]) % 16 < 8
        found[taught] = bottleneck.probe_auc(state[0].numpy().astype(float), patterns(3)[kind[0]] > 0.5, fit).min()
    assert found["bits"] > 0.95
    assert found["dealt"] < 0.7


def test_swap_pairs_differ_in_f_and_want_its_partner_moved():
    nets = carriers.train([carriers.Task(3)], 8, 0.05, [0], 3, 1e-2)
    rng = np.random.default_rng(0)
    state, kind = recurrent.half_way(nets, rng)
    told = torch.from_numpy(rng.integers(0, 3, (2, state.shape[1])))
    tagged = kind[..., None].float().expand(-1, -1, 3)  # the pattern itself for a state, so that sources can be told
    _, source, want = recurrent.swap_pairs(nets, (tagged, kind), np.array([1]), told, rng)
    given = source[..., 0].long()
    assert (((given ^ kind) & 2) == 2).all()
    assert 0.1 < ((given ^ kind) == 2).float().mean() < 0.4  # the other two agree by luck
    moved = kind ^ 2
    for one in told:
        moved = nets.moves[0, one, moved[0]][None]
    assert (want == torch.from_numpy(patterns(3))[moved]).all()


def test_a_carrier_learns_to_swap_regions():
    nets = carriers.train([carriers.Task(3, taught="bits")], 24, 0.03, [1], 250, 1e-2)
    state, kind = recurrent.half_way(nets, np.random.default_rng(2))
    right = ((nets.read(state) > 0) == (torch.from_numpy(patterns(3))[kind] > 0.5)).all(-1).float().mean()
    assert right > 0.5  # chance is 1/8


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.17").run(out=tmp_path, quiet=True, **TINY)
    assert [c.id for c in found.claims] == [row.id for row in study.EXPECTED]
    assert not found.gate.passed
    assert all(c.verdict == "gate failed" for c in found.claims)
