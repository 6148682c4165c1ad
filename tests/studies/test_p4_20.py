"""4.20: planted bases and mixtures, closed forms of clocks and pizzas, slow twins, the tie, small runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.studies import p4_20_alternative_feature_sets as study
from superscope.toys import adders
from superscope.toys import feature_sets as sets

TINY = {"n": 8, "active": (1, 2), "dictionary_steps": 60, "starts": 2, "p": 7, "d": 4, "hidden": 8, "steps": 40, "more": 20,
        "seeds": 6}  # fmt: skip
ACTIVE, PRICE = (2, 3), 0.4


def built(p, frequency, kind):
    """An adder of one frequency with exact logits from many neurons: pizza sees e_a + e_b, clock both products."""
    angle = 2 * np.pi * frequency * np.arange(p) / p
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    hidden, phase = [], 2 * np.pi * np.arange(16) / 16
    out = 4 * np.pi * frequency * 0.5 * np.arange(p) / p
    for t in phase:
        direction = np.array([np.cos(t), np.sin(t)])
        if kind == "pizza":
            hidden.append((direction, direction, np.cos(2 * t - out)))
        else:  # neurons at all pairs of phases: e_a e_b enters by a product of two angles
            for u in phase:
                hidden.append((direction, np.array([np.cos(u), np.sin(u)]), np.cos(t + u - out)))
    w, v, u = (torch.tensor(np.array(one), dtype=torch.float32)[None] for one in zip(*hidden, strict=True))
    bias = torch.zeros(1, 1, w.shape[1])
    return adders.Adders(torch.tensor(circle, dtype=torch.float32)[None], w.transpose(1, 2), v.transpose(1, 2), bias, u)


def test_built_clocks_and_pizzas_are_told_apart():
    pizza, clock = built(31, 3, "pizza"), built(31, 3, "clock")
    assert adders.accuracy(clock)[0] == 1
    assert adders.accuracy(pizza)[0] == 1
    assert adders.gradient_symmetricity(pizza)[0] == pytest.approx(1, abs=1e-4)
    assert adders.gradient_symmetricity(clock)[0] < 0.5
    assert adders.distance_irrelevance(pizza)[0] < 0.1
    assert adders.distance_irrelevance(clock)[0] > 0.9
    assert adders.frequencies(pizza)[0].argmax() == 2


def test_the_noise_of_the_release_does_not_hide_a_pizza():
    pizza = built(31, 2, "pizza")
    noisy = adders.split(pizza, 0.3, [1])
    assert adders.gradient_symmetricity(noisy)[0] > 0.8
    assert adders.distance_irrelevance(noisy)[0] < 0.7
    tied = noisy.tied()
    assert tied.W[0].numpy() == pytest.approx(pizza.W[0].numpy(), abs=1e-6)
    assert adders.split(pizza, 0.0, [1]).W[0].numpy() == pytest.approx(pizza.W[0].numpy())


def test_logits_and_objective_against_a_slow_twin():
    net = adders.random([3, 4], 5, 3, 6)
    a, b, answer = adders.pairs(5)
    e, w, v, bias, u = (one[1].numpy() for one in net.parts)
    total = 0.0
    for i, j, c in zip(a.tolist(), b.tolist(), answer.tolist(), strict=True):
        logits = np.maximum(e[i] @ w + e[j] @ v + bias[0], 0) @ u
        assert c == (i + j) % 5
        total += np.log(np.exp(logits).sum()) - logits[c]
    squares = sum((one**2).sum() for one in (e, w, v, u))
    assert float(adders.objective(net, 0.01)[1]) == pytest.approx(total / 25 + 0.01 * squares, rel=1e-4)


def test_one_map_stays_one_map():
    made = adders.train(adders.random([0, 1], 7, 4, 8), torch.tensor([True, False]), 30, 0.02, 1e-3)
    assert made.W[0].numpy() == pytest.approx(made.V[0].numpy())
    assert (made.W[1] - made.V[1]).abs().max() > 0.1
    assert adders.gradient_symmetricity(made)[0] == pytest.approx(1, abs=1e-4)


def test_bases_are_unbiased():
    one, two = sets.two_bases(16, 3)
    assert one.T @ one == pytest.approx(np.eye(16), abs=1e-9)
    assert two.T @ two == pytest.approx(np.eye(16), abs=1e-9)
    assert np.abs(one.T @ two) == pytest.approx(np.full((16, 16), 0.25))


def test_planted_bases_and_mixtures():
    bases, rng = sets.two_bases(16, 0), np.random.default_rng(1)
    order = rng.permutation(16)
    half = np.concatenate([bases[0][:, :8], bases[1][:, 8:]], 1)
    nets = sets.dictionaries(np.stack([bases[0][:, order], bases[1], half]) + 0.02 * rng.standard_normal((3, 16, 16)))
    there = np.repeat(bases[None], 3, 0)
    like = sets.likeness(nets, there)
    assert like[0, 0] > 0.95
    assert like[1, 1] > 0.95
    assert abs(like[0, 2] - like[1, 2]) < 0.1
    hurt = sets.damage(nets, there, ACTIVE, PRICE, 500, 0)
    assert hurt[0, 0] > 3 * hurt[1, 0]
    assert hurt[1, 1] > 3 * hurt[0, 1]
    found = sets.reading(nets, there, ACTIVE, PRICE, 0)
    assert found["own share of damage"][:2].min() > 0.75 > found["own share of damage"][2]
    assert found["purity"][:2].min() > 0.5 > found["purity"][2]


def test_a_lost_atom_changes_only_what_it_says():
    bases = sets.two_bases(8, 0)
    nets = sets.dictionaries(bases[:1])
    x = (np.eye(8) @ bases[0].T)[None]
    change = sets.losses(nets, x, PRICE, np.array([3])) - sets.losses(nets, x, PRICE)
    assert change[0][3] == pytest.approx(1 - PRICE)
    assert np.delete(change[0], 3) == pytest.approx(np.zeros(7), abs=1e-12)


def test_the_tie():
    loss = np.array([[0.8, 1.6], [2.0, 1.1]])
    share = sets.tied_share(loss)
    mixed = np.array([share, 1 - share]) @ loss
    assert mixed[0] == pytest.approx(mixed[1])
    kind = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1]])
    good = np.array([[True] * 4, [True, True, True, False], [True, False, False, False]])
    assert sets.disagreement(kind, good) == pytest.approx([4 / 6, 0, 0])
    assert sets.disagreement(kind[:1], np.ones((1, 4), bool)) == pytest.approx([2 / 3])


@pytest.mark.parametrize(("given", "said"), [({"n": 12}, "n=12"), ({"active": (2, 2)}, "active="), ({"p": 8}, "p=8")])
def test_bad_configurations_are_refused(given, said):
    with pytest.raises(ValueError, match=f"{said}.*expected"):
        study.Config(**given)


def test_a_small_run(tmp_path):
    found = studies.get("4.20").run(out=tmp_path, quiet=True, **TINY)
    assert len(found.claims) == 8
    assert found.verdict == "gate failed"  # 60 steps add nothing
    table = found.tables["arms"]
    plant = table[table.arm == study.TRUE]
    assert plant["purity"].min() > 0.5
    assert set(found.tables) == {"arms", "retractions"}
