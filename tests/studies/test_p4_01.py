"""Problem 4.1: the loss with dropout against brute force, planted bases, and the study end to end."""

from __future__ import annotations

import itertools
import json
from importlib import resources

import jsonschema
import numpy as np
import pandas as pd
import pytest

import superscope as ss
from superscope import measure, studies
from superscope.inputs.strata import StratifiedPlan
from superscope.studies import p4_01_dropout_basis as study
from superscope.studies.p4_01_dropout_basis import dropout, measured, plants, tables

TINY = {
    "densities": (0.3, 0.03), "rates": (0.0, 0.5), "wide_features": 20, "wide_hidden": 5, "wide_decay": 0.7, "wide_steps": 400,
    "narrow_steps": 400, "descent_steps": 200, "descent_seeds": 5, "seeds": 4, "rotations": 40, "turns": 3, "narrow_turns": 5,
    "points": 64, "narrow_points": 64, "draws": 4, "samples": 200, "plane_restarts": 2, "plane_seeds": 6,
}  # fmt: skip


def brute_force(W, b, x, weight, importance, rate):
    """The definition: every mask, one at a time."""
    total = 0.0
    for keep in itertools.product([0, 1], repeat=len(W)):
        chance = (1 - rate) ** sum(keep) * rate ** (len(W) - sum(keep))
        y = np.maximum((x @ W.T * np.array(keep) / (1 - rate)) @ W + b, 0)
        total += chance * float(weight @ ((x - y) ** 2 @ importance))
    return total


@pytest.fixture(scope="module")
def network():
    """A random network, its inputs and rotations: (W, b, x, weight, importance, rotations) for m=9, above the enumeration."""
    rng = np.random.default_rng(0)
    W, b = 0.5 * rng.standard_normal((9, 6)), 0.1 * rng.standard_normal(6)
    plan = StratifiedPlan(ss.SparseFeatures(6, 0.3), 150)
    return W, b, plan.draw(rng, 1)[0], plan.weight, rng.random(6), measure.nulls.haar_rotations(9, 3, 0)


def test_enumerated_masks_are_brute_force(network):
    W, b, x, weight, importance, _ = network
    W = W[:4]
    masks = dropout.make_masks(4, 0.3, len(x), 1, np.random.default_rng(0))
    assert masks.keep.shape == (1, 16, 4)
    assert masks.chance.sum() == pytest.approx(1)
    found = dropout.dropout_loss(W, b, x, weight, importance, masks, [np.eye(4)]).sum()
    assert found == pytest.approx(brute_force(W, b, x, weight, importance, 0.3), rel=1e-5)


def test_sampled_masks_come_close_to_brute_force(network):
    W, b, x, weight, importance, rotations = network
    masks = dropout.make_masks(9, 0.3, len(x), 400, np.random.default_rng(1))
    found = dropout.dropout_loss(W, b, x, weight, importance, masks, rotations).sum(1)
    truth = np.array([brute_force(R @ W, b, x, weight, importance, 0.3) for R in rotations])
    assert found == pytest.approx(truth, rel=0.01)
    ratio, true_ratio = found[1] / found[0], truth[1] / truth[0]
    assert ratio == pytest.approx(true_ratio, rel=0.005)  # shared masks: comparisons are better than the losses


def test_gaussian_theory_is_close_and_exact_without_noise(network):
    W, b, x, weight, importance, rotations = network
    truth = brute_force(W, b, x, weight, importance, 0.3)
    assert dropout.moment_loss(W, b, x, weight, importance, 0.3, [np.eye(9)])[0] == pytest.approx(truth, rel=0.02)
    quiet = dropout.moment_loss(W, b, x, weight, importance, 0.0, rotations)
    y = np.maximum(x @ W.T @ W + b, 0)
    assert quiet == pytest.approx(float(weight @ ((x - y) ** 2 @ importance)), rel=1e-9)


def test_one_neuron_against_many():
    """Reference sheet: with q = 1/2 the noise on a feature's own output is x^2 / k when it is spread over k neurons."""
    x, weight = np.array([[1.0]]), np.ones(1)
    for k in (1, 2, 4):
        W = np.full((8, 1), 0.0)
        W[:k] = 1 / np.sqrt(k)
        masks = dropout.make_masks(8, 0.5, 1, 1, np.random.default_rng(0))
        own, other = dropout.dropout_loss(W, [0.0], x, weight, [1.0], masks, [np.eye(8)])[0]
        assert own == pytest.approx(1 / k, rel=1e-5)  # the output is never negative: the ReLU does not matter
        assert other == 0


def test_turning_a_spread_and_an_aligned_network():
    """One feature spread over all neurons loses by any turn; two features kept on disjoint neurons lose on the cross terms."""
    rng = np.random.default_rng(0)
    plan = StratifiedPlan(ss.SparseFeatures(1, 0.5), 32)
    x = plan.draw(rng, 1)[0]
    rotations = measure.nulls.haar_rotations(8, 30, 0)
    masks = dropout.make_masks(8, 0.5, len(x), 1, rng)
    spread = dropout.turn(np.full((8, 1), 8**-0.5), [0.0], x, plan.weight, [1.0], masks, rotations)
    assert spread.rise == pytest.approx(spread.own)
    assert spread.rise > 0.3
    assert spread.p == pytest.approx(1 / 31)
    axis = dropout.turn(np.eye(8)[:, :1], [0.0], x, plan.weight, [1.0], masks, rotations)
    assert axis.rise < 0
    assert axis.p == 1

    plan = StratifiedPlan(ss.SparseFeatures(2, 0.3), 64)
    x = plan.draw(rng, 1)[0]
    disjoint = dropout.turn(np.eye(8)[:, :2], [0.0, 0.0], x, plan.weight, [1.0, 1.0], masks, rotations)
    assert disjoint.other > 0 > disjoint.own


def test_shapes_of_planted_networks():
    digons = np.concatenate([np.eye(3), -np.eye(3)], axis=1)
    W = np.concatenate([digons, 0.1 * np.ones((3, 2))], axis=1)
    kinds = dict(zip(tables.KINDS, tables.shapes(W), strict=True))
    assert kinds == {"not represented": 0.25, "alone": 0, "digon": 0.75, "larger polytope": 0, "irregular": 0}
    assert tables.shapes(0.4 * W) == pytest.approx(tables.shapes(W))  # shrunk as dropout shrinks: nothing changes
    pentagon = dict(zip(tables.KINDS, tables.shapes(measure.ideal("pentagon")), strict=True))
    assert pentagon["larger polytope"] == 1
    assert tables.distance(tables.shapes(W), tables.shapes(np.eye(3, 8))) == pytest.approx(0.75)


def test_alignment_does_not_see_the_size_of_the_weights():
    W = np.random.default_rng(0).standard_normal((3, 5, 12))
    assert tables.alignment(W, 50, 0).z == pytest.approx(tables.alignment(0.01 * W, 50, 0).z)


def test_conditions_without_a_geometry_are_left_out():
    shape = pd.DataFrame({
        "size": "wide", "importance": "uniform", "density": [0.3, 0.3, 0.01, 0.01], "seed": [0, 1, 0, 1],
        "0 irregular": [0.1, 0.2, 0.9, 0.8], "0 not represented": [0.5, 0.5, 0.0, 0.0],
    })  # fmt: skip
    assert measured.has_geometry(shape).tolist() == [True, True, False, False]


def test_the_swamped_adam_is_gradient_descent():
    """One step of the recipe that stands for gradient descent moves along the gradient, and Adam's does not."""
    study = studies.get("4.1").body.__globals__
    toy, inputs = ss.Bottleneck(6, 2), ss.SparseFeatures(6, 0.3)

    def step(**changes):
        recipe = ss.Recipe.fast(steps=1, history=(0, 1), schedule="constant", **changes)
        W = ss.Sweep(toy, inputs, seeds=1).train(recipe, engine="torch").history.W
        return (W.isel(step=1) - W.isel(step=0)).values.ravel()

    descent, adam = step(lr=study["SWAMP"] * 1e-3, eps=study["SWAMP"]), step(lr=1e-3)
    assert np.abs(adam).min() == pytest.approx(np.abs(adam).max(), rel=1e-3)  # every coordinate moves by the same amount
    assert np.abs(descent).max() > 3 * np.abs(descent).min()


def test_planted_bases_are_privileged_both_ways():
    """The instrument sees both signs through noise and unequal strengths, and nothing in a turned copy."""
    rng = np.random.default_rng(0)
    W = np.stack([plants.aligned(40, 20, rng), plants.spread(40, 20, rng)])
    z = tables.alignment(W, 400, 0).z
    assert z[0] < -5 < 5 < z[1]
    assert np.abs(tables.alignment(np.asarray(measure.nulls.rotate(W, 1)), 400, 0).z).max() < 4
    rises = plants.planted_turns(0.7, 0.01, range(2), 6, 128, 16)
    assert rises.min() > 0.05


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return studies.get("4.1").run("quick", seed=3, out=folder, **TINY)


def test_findings_follow_the_contract(found):
    schema = json.loads(resources.files("superscope").joinpath("findings.schema.json").read_text())
    jsonschema.validate(found.to_json(), schema, format_checker=jsonschema.FormatChecker())
    assert {c.id for c in found.claims} == {
        "privileged", "no-dropout-null", "descent-null", "sign-flips", "turning-costs-decaying", "turning-costs-uniform",
        "geometry-as-before", "pentagon", "digons-dissolve",
    }  # fmt: skip
    assert all(c.null.why for c in found.claims)
    assert len(found.figures) == 7
    assert all("nan" not in figure.caption for figure in found.figures)
    assert found.gate.measured["turning of no dropout"] < 1e-9
    assert any("dropout rates" in note for note in found.notes)


def test_the_control_of_the_causal_test_fails(found):
    by = {c.id: c for c in found.claims}
    causal = by["turning-costs-decaying"]
    assert causal.estimate.value > 5 * abs(causal.null.estimate.value)
    turned = found.tables["turned"]
    assert (turned.own + turned.other).to_numpy() == pytest.approx(turned.rise.to_numpy())


def test_untrained_networks_do_not_pass_the_gate(tmp_path):
    lost = studies.get("4.1").run("quick", out=tmp_path, **{**TINY, "wide_steps": 1, "narrow_steps": 1, "descent_steps": 1})
    assert lost.verdict == "gate failed"


def test_descent_needs_densities_that_were_swept(tmp_path):
    with pytest.raises(ValueError, match=r"descent_densities has \{0.2\}"):
        studies.get("4.1").run("quick", out=tmp_path, **{**TINY, "descent_densities": (0.2,), "wide_steps": 1})


def test_digons_and_pentagons_are_told(tmp_path):
    pentagon = measure.ideal("pentagon")
    assert study.is_pentagon(0.3 * pentagon)  # shrunk as dropout shrinks
    assert not study.is_pentagon(np.eye(2, 5))
    pairs = np.concatenate([np.eye(3), -np.eye(3), np.zeros((3, 2))], axis=1)
    assert tables.digons(tables.shapes(pairs)) == pytest.approx(1)
    assert tables.digons(tables.shapes(np.eye(3, 8))) == 0
    twice = np.concatenate([pairs, pairs[:, :1]], axis=1)
    assert tables.shapes(twice).sum() == pytest.approx(1)  # a feature twice is still two features
