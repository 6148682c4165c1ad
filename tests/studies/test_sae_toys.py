"""Autoencoders on toys: instruments on planted dictionaries, theory, streams, the contract on a small run."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch

from superscope import studies
from superscope.errors import SettingError
from superscope.inputs import worlds
from superscope.recover import sae
from superscope.studies.sae_toys import detector, hierarchy, polygons, sparse_wrong
from superscope.studies.sae_toys.config import Config
from superscope.studies.sae_toys.family import Stream, at_truth, embedded, family, held_out, noisy, paired, pool

TINY = {"seeds": 5, "speed": 0.02, "dictionary_steps": 500, "ks": (1.8, 2.0), "balances": (0.0, 0.25, 1.0), "ladder": (5, 11),
        "restarts": 1, "samples": 300, "decoded": 20, "pool": 2000}  # fmt: skip


def test_contract_on_a_small_run(tmp_path):
    study = studies.get("sae-toys")
    found = study.run(out=tmp_path, quiet=True, **TINY)
    document = json.loads(next(tmp_path.glob("sae-toys/*/findings.json")).read_text())
    jsonschema.validate(document, json.loads(resources.files("superscope").joinpath("findings.schema.json").read_text()))
    assert {claim.id for claim in found.claims} == {row.id for row in study.expected}
    assert not found.gate.passed  # ten steps learn nothing, and the page says so
    assert {claim.verdict for claim in found.claims} == {"gate failed"}
    panel = found.tables["panel"]
    assert set(panel["world"]) == {"correlated", "parent and children", "pentagon", "256 features"}
    assert len(panel) == 4 * 8
    assert {"mcc_adjusted", "f1_null", "explained_variance", "l0", "dead"} <= set(panel)
    assert len(found.figures) >= 7


# ------------------------------------------------------------------------------------------------------------ instruments


def test_mixing_is_read_off_planted_dictionaries_in_any_order_and_length():
    truth, rng = worlds.orthogonal(5, 20), np.random.default_rng(0)
    for amount in (0.3, -0.3, 0.0):
        rows = truth.numpy().copy()
        rows[1:] += amount * rows[0]
        assert sparse_wrong.mixed(noisy(rows, rng), truth) == pytest.approx(amount / np.hypot(1, amount), abs=0.01)


def test_paired_leaves_features_without_a_latent_at_zero():
    found = paired(np.eye(4)[[2, 0]], np.eye(4))
    assert found.diagonal().tolist() == [1, 0, 1, 0]
    assert not found[[1, 3]].any()


def test_error_at_k_keeps_exactly_the_largest():
    eye = torch.eye(4)
    one = sae.SAE("jumprelu", {"W_enc": eye, "b_enc": torch.zeros(4), "W_dec": eye, "b_dec": torch.zeros(4),
                               "threshold": torch.full((4,), 99.0)})  # fmt: skip
    x = torch.tensor([[4.0, 3, 0, 0], [2, 1, 0, 0]])
    assert sparse_wrong.error(one, x, 2) == pytest.approx(0)
    assert sparse_wrong.error(one, x, 1.5) == pytest.approx(0.5)  # the 1 is left out, in one of two samples
    assert sparse_wrong.error(one, x, 0.5) == pytest.approx((9 + 5) / 2)


def test_hedging_theory_is_the_best_single_direction():
    """The published number, and a search over directions for the least error where the parent is on."""
    assert hierarchy.theory((0.2,)) == pytest.approx([0.973, 0.230], abs=1e-3)
    x = worlds.parent_child(0.999, [0.4], d=2).sample(20_000, 0).numpy()
    angles = np.linspace(0, np.pi / 2, 400)
    kept = [((x @ np.array([np.cos(a), np.sin(a)])) ** 2).mean() for a in angles]
    assert np.cos(angles[int(np.argmax(kept))]) == pytest.approx(hierarchy.theory((0.4,))[0], abs=0.02)


def test_absorption_is_read_off_in_any_order():
    truth = worlds.orthogonal(2, 10)
    decoder = torch.stack([truth[0] + truth[1], truth[0]]).numpy()
    encoder = torch.stack([truth[1], truth[0] - truth[1]]).numpy()
    for order in ([0, 1], [1, 0]):
        found = hierarchy.absorbed(decoder[order], encoder[order], truth)
        assert found["child holds parent"] == pytest.approx(0.5**0.5, abs=1e-6)
        assert found["parent reads child"] == pytest.approx(-(0.5**0.5), abs=1e-6)
    clean = hierarchy.absorbed(truth.numpy(), truth.numpy(), truth)
    assert abs(clean["child holds parent"]) < 1e-6


def test_gaussian_null_keeps_mean_and_covariance_of_the_rays_and_nothing_else():
    directions = worlds.polygon(5, 2).directions.numpy() * np.array([[1], [0.8], [0.9], [1.1], [0.7]])
    real = embedded(polygons.rays(directions, 0.1))(60_000, torch.Generator().manual_seed(0))
    null = polygons.gaussian(directions, 0.1)(60_000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(real.mean(0), null.mean(0), atol=0.005, rtol=0)
    torch.testing.assert_close(real.T.cov(), null.T.cov(), atol=0.002, rtol=0)

    def on_a_ray(x):
        x = x[x.norm(dim=1) > 0.1]
        unit = torch.tensor(directions / np.linalg.norm(directions, axis=1, keepdims=True), dtype=torch.float32)
        return float(((x / x.norm(dim=1, keepdim=True)) @ unit.T > 0.999).any(1).float().mean())

    assert on_a_ray(real) > 0.7
    assert on_a_ray(null) < 0.25


def test_detector_finds_the_bottom_of_a_planted_ladder():
    k = np.array([5.0, 8, 11, 14, 18])
    part = pd.DataFrame({"k": k, "crowding": np.abs(k - 11) + 1, "flat": [3, 1, 2, 2, 2]})
    assert detector.off(part, "crowding") == pytest.approx(11 / detector.L0 - 1, abs=1e-9)
    assert detector.off(part, "flat") > 0.2
    matrix = detector.correlations(0).numpy()
    assert np.linalg.eigvalsh(matrix).min() > -1e-8
    assert np.abs(matrix - np.eye(50)).max() > 0.3
    assert pytest.approx(10.95, abs=0.01) == detector.L0


# --------------------------------------------------------------------------------------------------------------- families


def test_streams_are_pure_functions_of_the_step_and_repeat_when_asked():
    draw = embedded(worlds.polygon())
    one, other = (Stream([draw, draw], [3, 4], 16, repeat=64) for _ in range(2))
    late = one(70)
    assert late.shape == (2, 16, 2)
    assert torch.equal(late, other(6))
    assert not torch.equal(late[0], late[1])
    fresh = Stream([draw], [3], 16)
    assert not torch.equal(fresh(70), fresh(6))
    assert torch.equal(fresh(6)[0], other(6)[0])


def test_members_carry_their_data_and_seed():
    near, far = worlds.sparse_but_wrong(0.4), worlds.sparse_but_wrong(-0.4)
    data = {"near": embedded(near), "far": [pool(far, 7, 500), pool(far, 9, 500)]}
    recipe = sae.Recipe(steps=2)
    members = family(sae.BatchTopK(width=5, k=2), data, [7, 9], recipe, over={"k": [1.8, 2]}, start=at_truth(near.directions))
    assert {(one.data, one.seed, one.config.k) for one in members} == {
        (name, seed, k) for name in data for seed in (7, 9) for k in (1.8, 2)
    }


def test_held_out_samples_are_no_training_samples_and_agree_with_the_world():
    world = worlds.sparse_but_wrong(0.0)
    features, x = held_out(world, 3, 4000)
    torch.testing.assert_close(world.embed(features), x)
    assert float((features > 0).float().mean()) == pytest.approx(0.4, abs=0.02)
    trained_on = Stream([embedded(world)], [3], 125)(0)
    assert float(torch.cdist(trained_on[0], x).min()) > 0 or not torch.equal(trained_on[0, :5], x[:5])


def test_started_at_the_truth_it_stays_with_the_true_l0_and_leaves_with_fewer():
    truth = worlds.sparse_but_wrong(0.4).directions
    data = {"x": embedded(worlds.sparse_but_wrong(0.4))}
    recipe = sae.Recipe(steps=250, lr=1e-2, warmup=20)
    members = family(
        sae.BatchTopK(width=5, k=2), data, [0, 1], recipe, over={"k": [1.8, 2]}, start=at_truth(truth), repeat=64, batch=128
    )
    for one in members:
        assert (sparse_wrong.mixed(one.decoder, truth) > 0.15) == (one.config.k == 1.8)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"ks": (2.0,)}, "1.8"),
     ({"balances": (0.5,)}, "0, 0.25, 1"), ({"densities": (0.1,)}, "0.05"), ({"ladder": (5,)}, "two"),
     ({"speed": 0.0}, "speed"), ({"samples": 3}, "samples=3")],
)  # fmt: skip
def test_sizes_that_leave_a_claim_without_numbers_are_refused(wrong, says):
    with pytest.raises(SettingError, match=says):
        Config(**wrong)
