"""4.20: the exchange symmetries, planted clusters, alignment of disguised copies, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superscope import studies
from superscope.studies import p4_20_alternative_feature_sets as study
from superscope.toys import feature_sets as sets

TINY = {"n": 4, "active": 1, "dictionary_steps": 30, "p": 5, "hidden": 6, "adder_steps": 30, "restarts": 2, "planted": 5,
        "seeds": 6}  # fmt: skip
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def draws(monkeypatch: pytest.MonkeyPatch):
    """The same draws in every test, whichever tests its worker ran before."""
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(0))


def test_bases_are_unbiased_and_one_map_exchanges_them():
    one, two = sets.two_bases(16, 3)
    assert np.allclose(one.T @ one, np.eye(16))
    assert np.allclose(two.T @ two, np.eye(16))
    assert np.allclose(np.abs(one.T @ two), 0.25)
    swap = two @ one.T
    assert np.allclose(swap @ one, two)
    assert np.allclose(swap @ two, one)


def test_exchanged_dictionaries_have_exchanged_losses():
    bases = sets.two_bases(8, 0)
    nets = sets.train_dictionaries(sets.random_dictionaries([1, 2], 1, 8), bases, 0.5, 2, 0.3, 20, 0)
    swap = bases[1] @ bases[0].T
    turned = {"D": swap @ nets["D"], "V": nets["V"] @ swap.T, "b": nets["b"]}
    s = sets.sources(RNG, 200, 8, 2)
    assert np.allclose(sets.dictionary_loss(turned, bases, s, 0.3), sets.dictionary_loss(nets, bases, s, 0.3)[::-1])


def test_multiplication_mod_p_changes_the_frequency_and_not_the_loss():
    p = 7
    nets = sets.train_adders(sets.random_adders([0, 1], 1, p, 8), 0, 1e-3, 60)
    times = 3 * np.arange(p) % p
    turned = {**nets, "E": nets["E"][:, times], "U": nets["U"][:, :, times]}
    assert np.allclose(sets.adder_loss(turned, 0, 1e-3), sets.adder_loss(nets, 0, 1e-3))
    assert not np.allclose(sets.adder_loss(turned, 1.0, 1e-3), sets.adder_loss(nets, 1.0, 1e-3))
    circle = np.stack([np.cos(2 * np.pi * 2 * np.arange(p) / p), np.sin(2 * np.pi * 2 * np.arange(p) / p)], 1)[None]
    assert sets.spectrum(circle)[0] == pytest.approx([0, 1, 0], abs=1e-12)
    assert sets.spectrum(circle[:, times])[0] == pytest.approx([1, 0, 0], abs=1e-12)  # 2 * 3 = -1 mod 7


def test_planted_clusters_are_counted_and_none_in_one_block():
    label = np.repeat([0, 1, 2], 5)
    similarity = np.where(label[:, None] == label, 0.97, 0.2) + 0.0
    np.fill_diagonal(similarity, 1)
    assert sets.count_groups(similarity, study.CUT) == 3
    groups = sets.group(similarity, study.CUT)
    assert sets.within(groups) == pytest.approx(np.full(15, 0.97))
    assert sets.between(groups) == pytest.approx(np.full(15, 0.2))
    found = study.cluster_count(similarity)
    assert found.value == found.high == 3
    assert found.low >= 2  # a bootstrap sample may miss a cluster
    assert sets.count_groups(np.full((15, 15), 0.96), study.CUT) == 1
    assert sets.count_groups(np.where(np.eye(15) > 0, 1, 0.1), study.CUT) == 0  # everyone for himself is no cluster


def test_permuted_labels_do_not_separate():
    label = np.repeat([0, 1, 2], 10)
    similarity = np.where(label[:, None] == label, 1.0, 0.2)
    groups = sets.group(similarity, study.CUT)
    assert sets.apart(groups) == pytest.approx(np.full(30, 0.8))
    assert abs(sets.apart_permuted(groups, np.random.default_rng(0)).mean()) < 0.1
    assert sets.apart(sets.group(np.ones((6, 6)), study.CUT)) == pytest.approx(np.zeros(6))


def test_nothing_to_compare_is_not_a_number():
    alone, loss = np.arange(6), np.ones(6)
    assert study.spread(alone, loss).has_nan
    assert study.spread(np.zeros(6, int), loss).has_nan
    assert study.spread(np.repeat([0, 1], 3), loss).value == 1
    assert study.contrast(np.full((6, 2), np.nan)).has_nan
    assert np.isnan(study.middle(np.full((6, 2), np.nan))).all()


@pytest.mark.parametrize(("name", "value"), [("p", 9), ("p", 2), ("n", 12), ("n", 2), ("seeds", 1)])
def test_bad_configurations_are_refused(name: str, value: int):
    with pytest.raises(ValueError, match=f"{name}={value}: expected"):
        study.Config(**{name: value})


def test_disguised_copies_align_and_have_no_barrier():
    adder = sets.take(sets.train_adders(sets.random_adders([5], 1, 5, 6), 0, 1e-3, 40), 0)
    turn = np.linalg.qr(RNG.standard_normal((2, 2)))[0]
    order = RNG.permutation(6)
    w = np.concatenate([turn.T @ adder["W"][:2], turn.T @ adder["W"][2:]])
    copy = {"E": adder["E"] @ turn, "W": w[:, order], "U": adder["U"][order], "b": adder["b"][:, order]}

    def loss(nets):
        return sets.adder_loss(nets, 0, 1e-3)

    assert sets.barrier(adder, sets.align_adders(adder, copy), loss) == pytest.approx(0, abs=1e-9)
    assert sets.barrier(adder, copy, loss) > 0.01
    d = sets.take(sets.random_dictionaries([3], 1, 8), 0)
    mixed = {"D": d["D"][:, ::-1], "V": d["V"][::-1], "b": d["b"][:, ::-1]}
    back = sets.align_dictionaries(d, mixed)
    assert all(np.allclose(back[k], d[k]) for k in d)


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.20").run(out=tmp_path, quiet=True, **TINY)
    assert len(found.claims) == 12
    assert {c.id.split("-")[0] for c in found.claims} == {"bases", "mod", "mixtures", "one"}
    assert not found.gate.passed  # 30 steps teach nothing
    units = {c.id: (c.estimate.unit, c.null.estimate.unit) for c in found.claims}
    assert units["mixtures-worse"] == ("perturbations", "perturbations")


def test_seeds_that_share_nothing_leave_claims_open(tmp_path: Path):
    steps = {"dictionary_steps": 2, "adder_steps": 2, "n": 16, "p": 11, "hidden": 24}
    found = studies.get("4.20").run(out=tmp_path, quiet=True, **{**TINY, **steps})
    assert {c.verdict for c in found.claims} == {"gate failed"}
