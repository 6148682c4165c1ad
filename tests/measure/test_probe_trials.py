"""Planted features with known answers: one direction or several, read or not, on few units or on all; slow obvious twins."""

from dataclasses import replace

import numpy as np
import pytest

from superscope import lms
from superscope.measure.activations import carriers, probe_battery, probe_trials
from superscope.measure.activations.probe_battery import Parts


def noise(pairs: int = 900, d: int = 40, seed: int = 0):
    """(h, truth, parts, partner, cell, document): correlated noise, labels within pairs, four cells."""
    rng = np.random.default_rng(seed)
    n = 2 * pairs
    h = rng.standard_normal((n, d)) @ (np.eye(d) + 0.3 * rng.standard_normal((d, d)) / np.sqrt(d))
    truth = np.arange(n) < pairs
    lies = np.tile(rng.choice(3, pairs, p=[0.5, 0.2, 0.3]), 2)
    cell = np.tile(rng.integers(4, size=pairs), 2)
    document = 3 * np.tile(rng.integers(30, size=pairs), 2) + lies
    return h, truth, Parts(lies == 0, lies == 1, lies == 2), np.roll(np.arange(n), pairs), cell, document


def best(h, truth, parts, document):
    found = probe_battery.battery(h, truth, document, kinds=("mean difference", "LDA"), parts=parts)
    return found, max(found.values(), key=lambda one: one.chosen_at)


def axis(d: int, which: int) -> np.ndarray:
    return np.eye(d)[which]


def test_one_direction_transfers_and_is_erased_at_once():
    h, truth, parts, partner, cell, document = noise()
    rng = np.random.default_rng(1)
    made = probe_trials.put(h, axis(40, 3), truth, 3.0, rng)
    found, probe = best(made, truth, parts, document)
    assert probe.auc > 0.95
    held = [cell == one for one in range(4)]
    assert np.abs(probe_trials.losses(probe, made, truth, parts, held, rng)).max() < 0.03
    count, quality = probe_trials.directions(made, truth, cell, parts, partner, rng)
    assert count in (1, 2)
    assert quality[0] > 0.95
    assert quality[1] < 0.6
    patterns, directions = probe_trials.agreement(list(found.values()), made, truth, document, parts.fit | parts.choose, rng)
    assert patterns > 0.9
    assert directions > 0.7


def test_a_direction_for_each_cell_neither_transfers_nor_is_erased_at_once():
    h, truth, parts, partner, cell, document = noise()
    rng = np.random.default_rng(2)
    for one in range(4):
        h = probe_trials.put(h, axis(40, one), np.where(cell == one, truth, rng.random(len(truth)) < 0.5), 4.0, rng)
    _, probe = best(h, truth, parts, document)
    assert probe.auc > 0.7
    assert np.mean(probe_trials.losses(probe, h, truth, parts, [cell == one for one in range(4)], rng)) > 0.1
    assert probe_trials.directions(h, truth, cell, parts, partner, rng)[0] >= 3


def test_nothing_has_no_direction_and_nothing_to_lose():
    h, truth, parts, partner, cell, _ = noise()
    assert probe_trials.directions(h, truth, cell, parts, partner, np.random.default_rng(0))[0] <= 1
    few = probe_trials.losses(None, h, truth, parts, [np.arange(len(truth)) < 5], np.random.default_rng(0))
    assert np.isnan(few).all()  # too few rows to judge on
    assert np.isnan(probe_trials.directions(h[:20], truth[:20], cell[:20], Parts(*[np.ones(20, bool)] * 3),
                                            partner[:20] % 20, np.random.default_rng(0))[0])  # fmt: skip


def test_labels_are_swapped_inside_pairs():
    truth, partner = np.arange(10) < 5, np.roll(np.arange(10), 5)
    for seed in range(5):
        other = probe_trials.swapped(truth, partner, np.random.default_rng(seed))
        assert (other != other[partner]).all()
    assert (probe_trials.swapped(truth, partner, np.random.default_rng(0)) != truth).any()


@pytest.mark.parametrize(("units", "low", "high"), [(1, 1, 1), (5, 2, 6), (40, 15, 40)])
def test_units_are_counted(units, low, high):
    h, truth, parts, *_ = noise(d=40, seed=3)
    made = h.copy()
    made[:, :units] += np.outer(truth, np.full(units, 3.5 / np.sqrt(units)))
    sizes, found = probe_trials.sparse_path(made, truth, parts)
    assert low <= probe_trials.units_for(sizes, found, 0.5 + 0.95 * (found[-1] - 0.5)) <= high


def test_rotated_axes_need_more_where_units_are_few():
    h, truth, parts, *_ = noise(seed=4)
    h[:, :2] += np.outer(truth, [3.0, 2.0])
    turns = [np.linalg.qr(np.random.default_rng(i).standard_normal((40, 40)))[0] for i in range(4)]
    found = probe_trials.over_axes(h, truth, parts, turns, 0.93)
    assert found["over axes"] < 0.3
    assert 0.5 < found["axes over axes"] < 2
    assert {one["basis"] for one in found["paths"]} == {"neurons", "rotated axes"}


def test_units_for_by_hand():
    sizes, found = np.array([1, 2, 4]), np.array([0.6, 0.7, 0.9])
    assert probe_trials.units_for(sizes, found, 0.55) == 1
    assert probe_trials.units_for(sizes, found, 0.8) == pytest.approx(np.sqrt(8))
    assert probe_trials.units_for(sizes, found, 0.95) == 4  # never there
    assert probe_trials.hoyer(np.ones(16)) == pytest.approx(0)
    assert probe_trials.hoyer(axis(16, 0)) == pytest.approx(1)


def test_put_moves_the_means_and_frees_the_noise():
    h, truth, *_ = noise(pairs=4000)
    made = probe_trials.put(h, axis(40, 0), truth, 2.0, np.random.default_rng(0))
    gap = made[truth].mean(axis=0) - made[~truth].mean(axis=0)
    assert gap[0] == pytest.approx(2 * h[:, 0].std(), rel=0.1)
    rest = np.corrcoef((made - np.outer(truth, gap)).T)[0, 1:]
    assert np.abs(rest).max() < 0.06
    assert (made[:, 1:] == h[:, 1:]).all()


# ------------------------------------------------------------------------------------------------------------ steering


@pytest.fixture(scope="module")
def site():
    model = lms.load("gelu-1l-mini")
    split = lms.corpus.sample(model.tokenizer)
    rows = split.rows(model.n_ctx, limit=4, seed=0)
    some = np.random.default_rng(0).permutation(4 * (model.n_ctx - 1))[:400]
    return carriers.read(model, rows)(some[:200], some[200:])


def test_steering_is_what_the_model_does(site):
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(site.model.hooked.cfg.d_vocab) / 4096
    direction = rng.standard_normal(site.values.shape[1])
    direction /= np.linalg.norm(direction)
    moved = site.values.copy()
    for i, on in enumerate(site.on):  # slow and obvious
        moved[i] += (-2.0 if on else 2.0) * direction
    norm, slow = site.model.hooked.ln_final, []
    scale, shift = (getattr(norm, name).detach().numpy() if hasattr(norm, name) else 1.0 * (name == "w") for name in ("w", "b"))
    for values in (site.values, moved):
        stream = site.stream.numpy() + site.written(values)
        centred = stream - stream.mean(axis=1, keepdims=True)
        normed = scale * centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) + shift
        logits = normed @ (site.model.hooked.W_U.detach().numpy() @ weights)
        slow.append(logits[site.on].mean() - logits[~site.on].mean())
    assert probe_trials.steering(site, weights)(direction, 2.0) == pytest.approx((slow[0] - slow[1]) / 2, rel=2e-2, abs=1e-4)


def test_a_direction_that_nothing_reads_does_nothing_and_the_best_one_does_most(site):
    rng = np.random.default_rng(1)
    weights = rng.standard_normal(site.model.hooked.cfg.d_vocab) / 4096
    out = site.out.numpy().astype(float)
    column = np.linalg.svd(out, full_matrices=False)[0]
    idle = rng.standard_normal(len(out))
    idle -= column @ (column.T @ idle)
    reads = out @ site.along(weights).numpy()
    steered = probe_trials.steering(site, weights)
    chance = probe_trials.bystanders(site, weights, 1.0, 20, rng)
    assert abs(steered(idle / np.linalg.norm(idle), 1.0)) < 0.01 * chance
    assert steered(reads / np.linalg.norm(reads), 1.0) > 3 * chance
    part = probe_trials.rows_of(site, np.arange(400) % 2 == 0)
    assert len(part.values) == 200
    assert probe_trials.steering(part, weights)(idle / np.linalg.norm(idle), 1.0) == pytest.approx(0, abs=0.01 * chance)


def test_bystanders_do_not_hold_the_feature(site):
    rng = np.random.default_rng(2)
    weights = rng.standard_normal(site.model.hooked.cfg.d_vocab) / 4096
    reads = site.out.numpy() @ site.along(weights).numpy()
    push = 50 * np.outer(site.on, reads / np.linalg.norm(reads)).astype(site.values.dtype)
    loud = replace(site, values=site.values + push)
    one, other = (probe_trials.bystanders(replace(loud, values=v), weights, 1e-2, 40, np.random.default_rng(3))
                  for v in (site.values, loud.values))  # fmt: skip
    assert other < 3 * one
