"""4.5: what linear functions can do in closed form, planted gates and their null, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.toys import gates

TINY = {
    "n": 6, "hidden": (3, 6), "steps": 200, "trained_n": 8, "trained_gates": 10, "trained_hidden": 4,
    "trained_density": 0.3, "trained_steps": 60, "random_n": 20,
    "random_hidden": 60, "random_gates": 2, "pair_bits": 4, "seeds": 5,
}  # fmt: skip


def test_fourth_power_floor_by_brute_force():
    c, a = np.meshgrid(np.linspace(-0.4, 0, 201), np.linspace(0.3, 0.7, 201))
    loss = (c**4 + (c + a) ** 4 + (2 * a + c - 1) ** 4) / 3
    assert loss.min() == pytest.approx(gates.fourth_power_floor(), rel=1e-3)


def test_linear_floor_by_regression():
    p, rng = 0.3, np.random.default_rng(0)
    a = (rng.random((200_000, 2)) < p).astype(float)
    design, t = np.column_stack([a, np.ones(len(a))]), a.prod(1)
    fit = design @ np.linalg.lstsq(design, t, rcond=None)[0]
    assert ((fit - t) ** 2).mean() == pytest.approx(gates.linear_floor(p), rel=0.02)


def test_exact_gate_is_computed_and_the_best_linear_one_is_not():
    row = np.array([[0], [1], [2]])
    exact, linear = np.array([[[0.0], [0.0], [1.0]]]), np.array([[[-0.25], [0.25], [0.75]]])
    for y, count in ((exact, 1), (linear, 0)):
        _, within, side = gates.by_row(y, row)
        assert gates.computed(within) == count
        assert gates.balanced_accuracy(side, row) == pytest.approx(1)  # the threshold does not tell them apart


def test_numpy_twin_agrees_with_the_module_and_holds_out_what_training_skips():
    torch.manual_seed(0)
    layer = gates.Layer(6, 4, 15, skip=True)
    params = {k: v.detach().numpy()[None] for k, v in layer.named_parameters()}
    x = (np.random.default_rng(0).random((64, 6)) < 0.4).astype(np.float32)
    assert np.allclose(gates.evaluate(params, x)[1][0], layer(torch.tensor(x)).detach().numpy(), atol=1e-6)
    y, t = torch.ones(64, 15), torch.zeros(64, 15)
    lost = gates.balanced_loss(6, 15, 0.4, 4)(y, t, torch.tensor(x)).numpy()
    assert ((lost == 0) == gates.held_out(x)).all()
    assert gates.held_out(x).any()


def test_a_random_linear_layer_computes_nothing():
    share, _ = gates.random_layer_share(12, 200, 0.1, "linear", 3, np.random.default_rng(0))
    assert share == 0
    assert gates.random_layer_share(6, 200, 0.1, "dense", 3, np.random.default_rng(0))[0] == 1


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.5").run(out=tmp_path, quiet=True, **TINY)
    by_id = {c.id: c for c in found.claims}
    assert by_id["random-layer"].null.estimate.value == 0
    assert by_id["mse-no-gain"].estimate.value > 0.95
