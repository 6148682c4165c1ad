"""4.5: theorems that were once claims, planted layers and starts, and the contract on a small run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.studies import p4_05_and_or as study
from superscope.toys import gates, get_target

TASK = gates.Task(10, 20, 0.2)
TINY = {
    "n": 12,
    "asked": 2,
    "widths": 4,
    "trained_n": 8,
    "trained_gates": 8,
    "density": 0.3,
    "steps": 60,
    "points": 32,
    "seeds": 5,
}


def test_no_linear_function_is_within_a_quarter_and_the_floor_of_its_fourth_power():
    c, a = np.meshgrid(np.linspace(-0.4, 0, 201), np.linspace(0.3, 0.7, 201))
    assert np.maximum(np.maximum(abs(c), abs(c + a)), abs(2 * a + c - 1)).min() == pytest.approx(gates.QUARTER, abs=1e-3)
    assert ((c**4 + (c + a) ** 4 + (2 * a + c - 1) ** 4) / 3).min() == pytest.approx(gates.FOURTH_POWER_FLOOR, rel=1e-3)


def test_a_linear_function_is_right_on_every_row_at_a_threshold():
    on = np.array([0, 1, 2])
    assert ((on / 2 - 0.25 > 0.5) == (on == 2)).all()


def test_or_is_and_read_differently():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    both = get_target("or").compute(x) + get_target("and").compute(x)
    assert np.array_equal(both[:, 0], x.sum(1))


def test_squared_error_is_at_least_what_lies_outside_as_many_directions_as_neurons():
    """Eckart and Young: outputs are linear in the hidden units, whatever these are; so sharing cannot pay by squared error."""
    rng, h = np.random.default_rng(0), 6
    x = (rng.random((4000, 8)) < 0.3).astype(float)
    first, second = np.triu_indices(8, 1)
    t = x[:, first] * x[:, second]
    spectrum = np.linalg.svd(t - t.mean(0), compute_uv=False) ** 2 / len(t)
    layer = np.maximum(x @ rng.standard_normal((8, h)) + rng.standard_normal(h), 0)
    design = np.column_stack([layer, np.ones(len(x))])
    error = ((design @ np.linalg.lstsq(design, t, rcond=None)[0] - t) ** 2).sum(1).mean()
    assert error >= spectrum[h:].sum()


def test_a_planted_yardstick_computes_its_gates_and_has_its_loss():
    h, seeds = 10, [0, 1]
    exact = gates.examine(TASK, gates.planted(TASK, h, seeds, 0.0), 0)
    assert exact["computed"].tolist() == [h, h]
    assert exact["loss"] == pytest.approx(TASK.yardstick(h), rel=0.02)
    more = gates.examine(TASK, gates.planted(TASK, 15, seeds, 0.0), 0)["loss"] / TASK.yardstick(h)
    assert more == pytest.approx(0.5, abs=0.02)
    x = TASK.draw(np.random.default_rng(0), 4000, held_out=False)
    assert gates.losses_of(TASK, gates.planted(TASK, 20, seeds, 0.0), x).tolist() == [0, 0]


def test_rows_weigh_alike_in_the_loss():
    """Against a slow twin on plain samples of all sets."""
    nets, x = (
        gates.planted(TASK, 10, [3], 0.3),
        (torch.rand(60_000, 10, generator=torch.Generator().manual_seed(0)) < 0.2).float(),
    )
    error, row = nets.output(x)[0] - (TASK.rows(x) == 2).float(), TASK.rows(x)
    slow = sum(float((error[row[:, k] == r, k] ** 4).mean()) / 3 for k in range(20) for r in range(3))
    assert float(gates.losses_of(TASK, nets, x)[0]) == pytest.approx(slow, rel=0.1)


def test_held_out_sets_are_never_trained_on():
    rng = np.random.default_rng(0)
    seen, unseen = ({tuple(row) for row in TASK.draw(rng, 3000, flag).int().tolist()} for flag in (False, True))
    assert unseen
    assert not seen & unseen
    assert min(map(sum, unseen)) >= 2


def test_without_neurons_nothing_is_computed():
    flat = gates.train(TASK, gates.started(TASK, 1, [0, 1], linear=True), 60, 0.05, 16, 0)
    found = gates.examine(TASK, flat, 0)
    assert found["computed"].max() == 0
    assert (found["loss"] > 0.95 * TASK.yardstick(0)).all()


def test_a_small_run(tmp_path):
    found = studies.get("4.5").run(out=tmp_path, quiet=True, **TINY)
    by_id = {c.id: c for c in found.claims}
    assert by_id["more-than-neurons"].null.estimate.value == 0
    assert by_id["sharing-pays"].plant.estimate.value < 0.9 < by_id["sharing-pays"].null.estimate.value
    assert by_id["spreads"].plant.estimate.value < 0.7 < by_id["spreads"].null.estimate.value
    assert set(found.tables) == {"arms", "curve", "retractions"}
    assert len(found.answer.split()) <= 30


def test_a_yardstick_that_is_none_fails_the_gate(tmp_path):
    found = studies.get("4.5").run(out=tmp_path, quiet=True, **{**TINY, "noise": 1.5})
    assert found.verdict == "gate failed"
    assert study.GATE[0].statement in found.gate.failed
