"""spd: labels of compressed computation against slow twins, planted networks, and the contract on a small run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.errors import SettingError
from superscope.recover import spd as tool
from superscope.studies import spd as study
from superscope.toys import compressed

TASK = compressed.Task(8, 4, 0.1, 80)
TINY = {
    "seeds": 2, "restarts": 1, "components": 6, "steps": 20, "batch": 16, "wide_features": 6, "wide_dimensions": 3,
    "wide_components": 8, "wide_steps": 10, "wide_restarts": 1, "toy_steps": 200, "sae_steps": 60, "features": 8, "neurons": 4,
    "p": 0.1, "cc_seeds": 2, "cc_steps": 300, "cc_batch": 64,
}  # fmt: skip


def test_mixing_is_symmetric_without_diagonal_and_one_sided_is_as_large_and_antisymmetric():
    M, one = TASK.mixing(3), TASK.matrices("one-sided", 0.5, 3)[1]
    assert np.allclose(M, M.T)
    assert np.allclose(np.diag(M), 0)
    assert np.allclose(one, -one.T)
    assert np.allclose(np.abs(one), 0.5 * np.abs(M))
    assert np.std(M[np.triu_indices(8, 1)]) == pytest.approx(80**-0.5, rel=0.4)


def test_labels_against_a_slow_twin():
    nets = compressed.started(TASK, [("mixed", 0.5), ("computable", 0.5), ("clean", 0.0)], [3, 3, 3])
    x = TASK.draw(torch.Generator().manual_seed(0), 6)
    M = 0.5 * TASK.mixing(3)
    for k, one in enumerate(x.double().numpy()):
        for i in range(8):
            mixed = max(one[i], 0) + sum(M[i, j] * one[j] for j in range(8))
            assert nets.labels(x)[0, k, i].item() == pytest.approx(mixed, abs=1e-5)
            pair = max(one[i // 2 * 2] + one[i // 2 * 2 + 1], 0) if i < 4 else max(one[i], 0)
            assert nets.labels(x)[1, k, i].item() == pytest.approx(pair, abs=1e-5)
    assert torch.equal(nets.labels(x)[2], x.relu())


def test_the_naive_solution_gains_nothing_and_an_exact_one_everything():
    labels = [("clean", 0.0), ("mixed", 1.0), ("computable", 1.0)]
    nets = compressed.started(TASK, labels, [3] * 3, naive=True)
    eye = torch.eye(4, 8).expand(3, 4, 8)
    gain = compressed.gain(TASK, compressed.Nets(eye, eye.mT, nets.A, nets.M), 3)
    assert gain[0] == pytest.approx(0, abs=0.03)
    assert gain[1] < gain[0]  # what the matrix mixes in is charged to the network
    pairs = torch.kron(torch.eye(4), torch.ones(1, 2)).expand(3, 4, 8)
    exact = compressed.gain(TASK, compressed.Nets(pairs, pairs.mT, nets.A, nets.M), 3)
    assert exact[2] == pytest.approx(1)


def test_naive_loss_is_the_papers():
    task = compressed.Task(40, 20, 0.025)
    nets = compressed.started(task, [("clean", 0.0)], [0])
    x = task.draw(torch.Generator().manual_seed(0), 100_000)
    some_on = 1 - (1 - task.p) ** 40  # empty samples are not drawn
    assert compressed.naive_loss(task, nets, x)[0] * some_on == pytest.approx(task.p / 12, rel=0.03)


def test_training_gains_from_the_matrix_and_not_without_it():
    task = compressed.Task(20, 10, 0.05, 200)
    labels = [("clean", 0.0), ("mixed", 1.0), ("one-sided", 1.0), ("computable", 1.0)]
    nets = compressed.train(task, compressed.started(task, labels, [3] * 4), 800, 128, 1e-2, 3)
    clean, mixed, one_sided, computable = compressed.gain(task, nets, 3, 10_000)
    assert mixed > clean + 0.1
    assert one_sided < clean
    assert computable > 0.9


def test_one_line_for_what_cannot_be():
    with pytest.raises(SettingError, match="neurons=8"):
        compressed.Task(8, 8)
    with pytest.raises(SettingError, match="p=0"):
        compressed.Task(8, 4, 0)
    with pytest.raises(SettingError, match="known are clean"):
        TASK.matrices("dirty", 1.0, 0)


def test_hand_made_columns_are_unequal_and_two_are_near():
    W = study.hand_made(np.random.default_rng(0))
    length = np.linalg.norm(W, axis=0)
    assert np.sort(length) == pytest.approx(np.linspace(0.8, 1.2, 5))
    cosine = (W.T @ W) / np.outer(length, length) - 2 * np.eye(5)
    assert cosine.max() == pytest.approx(np.cos(np.deg2rad(45)), abs=0.02)


def test_true_columns_pass_every_rule_of_parts():
    W = torch.tensor(np.array([study.hand_made(np.random.default_rng(0))]), dtype=torch.float32)
    parts = torch.einsum("soj,ij->sjoi", W, torch.eye(5))
    got = study.row("planted", range(1), W, parts, torch.ones(1, 5, dtype=torch.bool)).iloc[0]
    assert (got["whole"], got["ML2R"], got["live per feature"]) == pytest.approx((1, 1, 1))
    wrong = study.row("random", range(1), W, tool.random_parts(W, 5)).iloc[0]
    assert wrong["whole"] < 0.98


def test_batches_have_something_on_and_depend_on_the_step_alone():
    x = study.batch(5, 40, 3)
    assert x.shape == (40, 5)
    assert (x > 0).any(1).all()
    assert torch.equal(x, study.batch(5, 40, 3))
    assert not torch.equal(x, study.batch(5, 40, 4))


def test_a_small_run_and_what_is_not_trained_fails_the_gate(tmp_path):
    found = studies.get("spd").run(out=tmp_path, quiet=True, **TINY)
    assert {claim.id for claim in found.claims} == {row.id for row in study.EXPECTED}
    assert found.verdict == "gate failed"  # twenty steps take nothing apart
    assert set(found.tables) == {"methods", "arms", "doses"}
    assert [figure.name for figure in found.figures] == ["directions", "doses"]
    assert len(found.tables["arms"].dropna(subset=["gain"])) == 5 * TINY["cc_seeds"]
    assert len(found.answer.split()) <= 30
