"""4.19: groups and grids, planted additive and irreducible codes, networks against slow twins, a small run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.studies import p4_19_non_decomposable as study
from superscope.toys import composers, groups

TINY = {"width": 12, "seconds": 3, "seeds": 5, "steps": 40, "released": 20, "points": 40}


@pytest.mark.parametrize("name", ["A5", "A4 x Z5"])
def test_groups_are_groups_and_grids_hold_everything_once(name):
    table = groups.product(name)
    assert all(sorted(row) == list(range(60)) for row in (*table, *table.T))
    assert (table[table] == table[:, table]).all()  # (a b) c = a (b c)
    assert (table != table.T).any()
    for grid in groups.grids(name):
        assert sorted(grid.ravel()) == list(range(60))
        assert (groups.coordinates(grid).sum(1) == 2).all()


def test_a_coordinate_multiplies_by_itself_in_the_product_only():
    for name, splits in (("A4 x Z5", True), ("A5", False)):
        for grid in groups.grids(name):
            column = groups.coordinates(grid)[:, groups.ROWS :].argmax(1)
            table = groups.product(name)
            outcomes = {(column[a], column[b], column[table[a, b]]) for a in range(60) for b in range(60)}
            assert (len(outcomes) == 25) is splits


def test_projections_are_those_of_irreducible_representations():
    p = groups.projections()
    assert [np.trace(one) for one in p] == pytest.approx([9, 9, 16, 25])
    assert np.abs(p @ p - p).max() < 1e-12
    assert p.sum(0) + 1 / 60 == pytest.approx(np.eye(60), abs=1e-12)
    shift = np.eye(60)[groups.product("A5")[17]]  # functions moved by an element
    assert all(np.abs(one @ shift - shift @ one).max() < 1e-12 for one in p)


def test_planted_codes():
    rng = np.random.default_rng(0)
    grid = groups.grids("A5")[0]
    code = (groups.coordinates(grid) @ rng.standard_normal((17, 6)))[None]
    assert groups.additive_share(code, grid) == pytest.approx([1])
    assert groups.additive_share(code, groups.grids("A5")[1])[0] < 0.9
    noise = rng.standard_normal((200, 60, 6))
    assert groups.additive_share(noise, grid).mean() == pytest.approx(15 / 59, abs=0.01)
    assert groups.energies(noise).mean(0) == pytest.approx(np.array([9, 9, 16, 25]) / 59, abs=0.01)
    assert groups.concentration(groups.irreducible([0, 1], 6, 0.0)) == pytest.approx([50 / 59] * 2)
    orbit = groups.irreducible([0, 1, 2], 6, 0.4)
    assert groups.concentration(orbit).min() > 0.4
    back = groups.turned(orbit, [0, 1, 2])
    assert groups.concentration(back).max() < 0.2
    for one, two in zip(orbit, back, strict=True):
        assert np.linalg.svd(one - one.mean(0))[1] == pytest.approx(np.linalg.svd(two - two.mean(0))[1])


def test_an_additive_code_of_a_subgroup_of_another_conjugate_is_still_seen_as_one_representation():
    """An attack: unequal strengths of two representations; the total variation must lie between theirs."""
    p, rng = groups.projections(), np.random.default_rng(3)
    code = (3 * p[0] + p[3]) @ rng.standard_normal((60, 6))
    assert 0.5 < groups.concentration(code[None])[0] < 50 / 59


def test_losses_against_a_slow_twin():
    answers = np.array([groups.product("A5")] * 2)
    atoms = np.array([groups.coordinates(groups.grids("A5")[0])] * 2)
    net = composers.fresh([1, 2], answers, 4, 7, atoms)
    pairs = [(3, 9), (40, 11), (0, 59)]
    table, right, left, out, hidden, bias = (one[1].numpy() for one in net.weights)
    code, total = atoms[1] @ table, 0.0
    for a, b in pairs:
        logits = np.maximum(code[a] @ left + right[b] + hidden[0], 0) @ out + bias[0]
        total += np.log(np.exp(logits).sum()) - logits[answers[1, a, b]]
    squares = sum((one**2).sum() for one in (code, right, left, out))
    a, b = (torch.tensor(one) for one in zip(*pairs, strict=True))
    assert float(net.losses(a, b, 0.01)[1]) == pytest.approx(total / 3 + 0.01 * squares, rel=1e-4)


def test_released_networks_answer_the_same_until_they_move():
    answers = np.array([groups.product("A4 x Z5")])
    net = composers.fresh([1], answers, 4, 7, groups.coordinates(groups.grids("A4 x Z5")[0])[None])
    free = net.free()
    a, b = torch.arange(60), torch.arange(60)
    assert free.logits(a, b)[0].numpy() == pytest.approx(net.logits(a, b)[0].numpy(), abs=1e-5)
    both = composers.joined([net, free])
    moved = composers.train(both, 30, 0.05, 1e-4, 200, 0)
    share = groups.additive_share(moved.codes.numpy(), groups.grids("A4 x Z5")[0])
    assert share[0] == pytest.approx(1)
    assert share[1] < 0.999
    assert (composers.judged(moved, 1e-4)[0] < composers.judged(both, 1e-4)[0]).all()


def test_a_small_run(tmp_path):
    found = studies.get("4.19").run(out=tmp_path, quiet=True, **TINY)
    assert {claim.id for claim in found.claims} == {"group-gap", "group-moves", "lookup-gap", "irreps"}
    assert found.verdict == "gate failed"  # 60 steps teach nothing
    irreps = next(claim for claim in found.claims if claim.id == "irreps")
    assert irreps.plant.estimate.value > 0.4 > irreps.null.estimate.value
    assert set(found.tables) == {"arms", "retractions"}
    table = found.tables["arms"]
    assert set(table[table.arm == study.A5].columns) >= {"constrained loss", "released loss", "random start loss"}
