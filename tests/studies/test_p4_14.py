"""4.14: the exact network planted, affine surgery, closed forms, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import superscope as ss
from superscope import studies
from superscope.studies import p4_14_several_layers as study
from superscope.toys.deep import train_deep

TINY = {"single": (3, 1), "single_steps": 60, "restarts": 2, "pairs": 2, "widths": (4, 2),
        "many_restarts": 2, "steps": 80, "seeds": 5}  # fmt: skip
EXACT = {
    "one.weight": np.array([[1.0, -1], [0, 1], [0, -1]]), "one.bias": np.zeros(3), "two.weight": np.array([[1.0, 1, -1]]),
    "two.bias": np.zeros(1), "out.weight": np.array([[1.0]]), "out.bias": np.zeros(1),
}  # fmt: skip
X = np.random.default_rng(0).uniform(-1, 1, (4000, 2))


def test_three_neurons_and_one_are_exact():
    assert np.allclose(study.output(EXACT, X), study.max_with_zero(X))


def test_surgery_on_the_exact_network():
    truth = study.max_with_zero(X)
    assert study.destroyed(EXACT, X, truth, 1) > 0.1
    assert study.destroyed(EXACT, X, truth, 2) > 0.05
    shifted = {**EXACT, "two.bias": np.full(1, 10.0), "out.bias": np.full(1, -10.0)}  # layer two never switches
    assert study.destroyed(shifted, X, study.output(shifted, X), 2) == pytest.approx(0, abs=1e-9)


def test_batched_training_and_the_numpy_twin_agree():
    inputs = ss.SparseFeatures(4, 0.5, ss.SignedUniform())
    losses, nets = train_deep(inputs, study.TARGET, (5, 3), [3, 4], 2, 50)
    fixed = inputs.draw(np.random.default_rng([3, 8]), 8192).astype(float)
    error = ((study.output(nets[1], fixed) - study.max_with_zero(fixed)) ** 2).sum(-1).mean()
    assert error == pytest.approx(losses[1], rel=1e-4)


def test_variance_by_sampling():
    x = study.paired(1, 0.4).draw(np.random.default_rng(0), 400_000).astype(float)
    assert study.variance(0.4) == pytest.approx(study.max_with_zero(x).var(), rel=0.01)


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.14").run(out=tmp_path, quiet=True, **TINY)
    assert [c.id for c in found.claims][:4] == ["deep-exact", "flat-floor", "beats-allocation", "beats-flat"]
    assert not found.gate.passed  # 80 steps teach nothing
