"""Probes: planted features, features that are not there, and the trap of linear separability."""

from __future__ import annotations

import itertools

import numpy as np

from superscope.measure.activations.probes import auc, balanced_dichotomies, nonlinear_share, probe_auc

X = np.array(list(itertools.product((0.0, 1.0), repeat=8)))
FIRST, SECOND = np.triu_indices(8, 1)
ANDS = X[:, FIRST] * X[:, SECOND]
FIT = np.random.default_rng(0).random(len(X)) < 0.5


def test_planted_and_absent():
    found = probe_auc(np.column_stack([X, ANDS[:, :5]]), ANDS > 0, FIT)
    assert found[:5].min() > 0.999
    noise = np.random.default_rng(1).standard_normal((len(X), 6))
    assert abs(probe_auc(noise, ANDS > 0, FIT).mean() - 0.5) < 0.1


def test_bits_alone_let_probes_find_every_and_but_hold_nothing_beyond_linear():
    mix = X @ np.random.default_rng(2).standard_normal((8, 12))
    assert (probe_auc(mix, ANDS > 0, FIT) > 0.9).mean() > 0.9
    assert np.abs(nonlinear_share(mix, X, ANDS, FIT)).max() < 0.01


def test_shares_count_planted_features():
    share = nonlinear_share(ANDS[:, :5], X, ANDS, FIT)
    assert share[:5].min() > 0.99
    assert share[5:].max() < 0.2


def test_auc_is_the_chance_to_rank_right():
    score = np.array([0.1, 0.4, 0.4, 0.9])[:, None]
    truth = np.array([False, True, False, True])[:, None]
    assert auc(score, truth)[0] == (1 + 0.5 + 1 + 1) / 4


def test_dichotomies_are_all_control_tasks():
    tasks = balanced_dichotomies(8)
    assert tasks.shape == (35, 8)
    assert (tasks.sum(1) == 4).all()
    assert len({tuple(t) for t in tasks}) == 35
    kind = np.arange(8000) % 8
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((8000, 1))
    assert np.abs(probe_auc(noise, tasks[:, kind].T, rng.random(8000) < 0.5) - 0.5).max() < 0.05  # null
    gray = np.array([0, 1, 3, 2, 7, 6, 4, 5])[kind][:, None] + 0.01 * noise
    low, high = np.isin(kind, [1, 2, 5, 6]), kind >= 4
    found = probe_auc(gray, np.column_stack([low, high]), rng.random(8000) < 0.5)
    assert found[1] > 0.99
    assert abs(found[0] - 0.5) < 0.1
