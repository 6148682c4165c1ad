"""Probes: planted features, features that are not there, and the trap of linear separability."""

from __future__ import annotations

import itertools

import numpy as np

from superscope.measure.probes import linear_probes, nonlinear_share

X = np.array(list(itertools.product((0.0, 1.0), repeat=8)))
FIRST, SECOND = np.triu_indices(8, 1)
ANDS = X[:, FIRST] * X[:, SECOND]
FIT = np.random.default_rng(0).random(len(X)) < 0.5


def test_planted_and_absent():
    probes = linear_probes(np.column_stack([X, ANDS[:, :5]]), ANDS > 0, FIT)
    assert probes.f1[:5].min() > 0.99
    noise = np.random.default_rng(1).standard_normal((len(X), 6))
    assert linear_probes(noise, ANDS > 0, FIT).f1.max() < 0.7


def test_bits_alone_let_probes_find_every_and_but_hold_nothing_beyond_linear():
    mix = X @ np.random.default_rng(2).standard_normal((8, 12))
    assert (linear_probes(mix, ANDS > 0, FIT).f1 > 0.9).mean() > 0.9
    assert np.abs(nonlinear_share(mix, X, ANDS, FIT)).max() < 0.01


def test_shares_count_planted_features():
    share = nonlinear_share(ANDS[:, :5], X, ANDS, FIT)
    assert share[:5].min() > 0.99
    assert share[5:].max() < 0.2
