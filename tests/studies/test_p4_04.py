"""Problem 4.4: exact losses against closed forms, planted crossings and sharing, and the study end to end."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import numpy as np
import pytest

import superscope as ss
from superscope import measure, studies
from superscope.evidence.rule import Rule
from superscope.lab import Lab
from superscope.studies import p4_04_nonuniform_sparsity as study
from superscope.studies.p4_04_nonuniform_sparsity import one_rarer as rarer
from superscope.studies.p4_04_nonuniform_sparsity import plants
from superscope.studies.p4_04_nonuniform_sparsity import two_classes as two

TINY = {
    "relative": (0.1, 0.25, 0.5, 1.0), "other_bases": (0.1,), "restarts": 8, "small_seeds": 5, "quadrature": 16,
    "densities": (0.05,), "ratios": (1.0, 0.2), "per_class": 10, "hidden": 5, "steps": 500, "seeds": 5, "permutations": 50,
}  # fmt: skip

DIGONS = np.array([[1.0, -1, 0, 0, 0], [0, 0, 1, -1, 0]])


# --- one rarer feature ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "r"), [(0.05, 1.0), (0.05, 0.3), (0.2, 0.5)])
def test_exact_loss_of_two_digons_is_the_closed_form(p, r):
    x, on = rarer.subset_points(256)
    for varied in ("density", "importance"):
        factor = np.array([1, 1, 1, 1, r])
        density = p * factor if varied == "density" else np.full(5, p)
        weight = rarer.subset_weights(on, density)
        assert weight.sum() == pytest.approx(1)
        bias = np.array([0, 0, 0, 0, density[4] / 2])  # the dropped feature is answered by its mean
        importance = factor if varied == "importance" else np.ones(5)
        theory = rarer.digon_theory(np.array([r]), p, varied)[0]
        assert rarer.exact_loss(DIGONS, bias, x, weight, importance) == pytest.approx(theory, rel=2e-3)


def test_exact_loss_agrees_with_the_engine():
    run = ss.Sweep(ss.Bottleneck(5, 2), ss.SparseFeatures(5, (0.1,) * 4 + (0.03,)), seeds=2).train(ss.Recipe.fast(steps=300))
    x, on = rarer.subset_points(512)
    weight = rarer.subset_weights(on, np.array([0.1] * 4 + [0.03]))
    for s in range(2):
        loss = rarer.exact_loss(run.W.values[s], run.b_out.values[s], x, weight, np.ones(5))
        assert loss == pytest.approx(float(run.loss[s]), abs=6 * float(run.loss_se[s]))


def test_kinds_of_planted_minima():
    bent = 1.1 * measure.ideal("pentagon") @ np.diag([1, 1, 1, 1, 0.8])
    other = DIGONS[:, [4, 1, 2, 3, 0]]  # a frequent feature is dropped instead
    square = np.stack([DIGONS[:, 0], DIGONS[:, 2], DIGONS[:, 0], DIGONS[:, 2], DIGONS[:, 4]], axis=1)  # nothing opposite
    found = rarer.kind_of(np.stack([bent, DIGONS, other, square]))
    assert found.tolist() == [0, 1, rarer.OTHER, rarer.OTHER]


def test_crossing_of_planted_curves():
    labels = np.array([0.1, 0.2, 0.3, 0.4])
    digons = 0.05 + labels
    pentagon = np.full(4, 0.27)
    assert rarer.crossing(labels, np.stack([pentagon, digons], 1)) == pytest.approx(0.22)
    assert rarer.crossing(labels, np.stack([pentagon, np.full(4, np.nan)], 1)) == 0.1  # digons never found
    assert rarer.crossing(labels, np.stack([np.full(4, 9.0), digons], 1)) == 0.4  # digons always best
    gone = pentagon.copy()
    gone[:2] = np.nan  # no pentagon below: halfway
    assert rarer.crossing(labels, np.stack([gone, digons], 1)) == pytest.approx(0.25)


def test_forms_of_the_norm_and_bias():
    size = np.array([0.0, 0.1, 0.25, 0.5])
    gain = rarer.alone_gain(size)
    x = (np.arange(20000) + 0.5) / 20000
    for g, b in zip(gain, size, strict=True):
        losses = [np.mean((x - np.maximum(h * x - b, 0)) ** 2) for h in (g - 0.02, g, g + 0.02)]
        assert losses[1] == min(losses)
    arm = rarer.Arm(
        np.array([1.0]), np.array([[[0.01, np.nan]]]), np.zeros((1, 1, 2)), np.zeros((1, 1, 2, 2, 5)), np.zeros((1, 1, 2, 5))
    )
    arm.W[0, 0, 0] = measure.ideal("pentagon") / (1 - 0.2)
    arm.b[0, 0, 0] = -0.2
    errors = rarer.norm_bias_errors(arm).iloc[0]
    assert errors["1/(1-|b|)"] == pytest.approx(0, abs=1e-12)
    assert errors["norm 1"] == pytest.approx(0.25)


def test_canonical_pictures_keep_the_geometry():
    turn = measure.nulls.haar_rotations(2, 1, 3)[0]
    W = turn @ measure.ideal("pentagon")[:, [2, 0, 3, 1, 4]]
    made = rarer.canonical(W)
    assert made[:, rarer.VARIED] == pytest.approx([0, 1], abs=1e-9)
    assert np.sort(made.T @ made, axis=None) == pytest.approx(np.sort(W.T @ W, axis=None))
    assert rarer.canonical(DIGONS)[:, 0] == pytest.approx([0, 1], abs=1e-9)


# --- two classes ----------------------------------------------------------------------------------------------------

RARE = np.arange(20) >= 10


def paired(order: np.ndarray) -> np.ndarray:
    """(10, 20) ten digons of the features of `order`, taken two by two."""
    W = np.zeros((10, 20))
    for k, (i, j) in enumerate(order.reshape(10, 2)):
        W[k, i], W[k, j] = 1, -1
    return W


def test_sharing_of_planted_digons():
    apart = paired(np.arange(20))  # every digon within a class
    across = paired(np.stack([np.arange(10), np.arange(10, 20)], 1).ravel())
    for W, share in ((apart, 1.0), (across, 0.0)):
        found, expected, null = two.sharing(W, RARE, 400)
        assert found == pytest.approx(share)
        assert expected == pytest.approx(9 / 19)
        assert null.mean() == pytest.approx(9 / 19, abs=0.03)
        assert two.budget_expectation(W, RARE) == pytest.approx(9 / 19)


def test_sharing_needs_both_classes():
    W = paired(np.arange(20))
    W[:, RARE] = 0
    share, expected, null = two.sharing(W, RARE, 3)
    assert np.isnan([share, expected, *null]).all()


def test_bill_is_less_across_classes():
    density = np.where(RARE, 0.01, 0.1)
    apart, across = (
        two.bill(W, density) for W in (paired(np.arange(20)), paired(np.stack([np.arange(10), np.arange(10, 20)], 1).ravel()))
    )
    assert across < 1 < apart
    mean = (density.sum() ** 2 - (density**2).sum()) / (20 * 19)
    assert across == pytest.approx(0.001 / mean)
    assert two.bill(paired(np.arange(20)), np.full(20, 0.1)) == pytest.approx(1)


def test_pair_cost_of_a_digon_is_the_closed_form():
    """Both directions of a unit digon with zero biases cost (1 + 1) p^2 / 6 (TMS), and nothing while one is off."""
    p = (0.1, 0.02)
    inputs = ss.SparseFeatures(2, p)
    W, b = np.array([[1.0, -1.0]]), np.zeros(2)
    cost = two.pair_costs(W, b, inputs, nodes=40)
    assert (cost + cost.T)[0, 1] == pytest.approx(2 * p[0] * p[1] / 6, rel=0.01)
    assert np.diag(cost).tolist() == [0, 0]
    linear = two.pair_costs(W, b, inputs, activation="linear")
    # without the ReLU: (1-p_i) p_j E y^2 + p_i p_j E y^2 = p_j / 3
    assert linear == pytest.approx(np.array([[0, p[1] / 3], [p[0] / 3, 0]]))
    weighed = two.pair_costs(W, b, inputs.replace(importance=(1.0, 5.0)))
    assert weighed[1, 0] == pytest.approx(5 * two.pair_costs(W, b, inputs)[1, 0])


def test_costs_of_facing_pairs_go_as_the_product_of_densities_whatever_the_directions():
    """A theorem, hence no claim: random directions have the exponent too, and without the output ReLU it is lost."""
    rng = np.random.default_rng(0)
    exponents = {}
    for activation in ("relu", "linear"):
        chance, cost = [], []
        for p, ratio in ((0.1, 1.0), (0.1, 0.1), (0.03, 1.0), (0.03, 0.1)):
            inputs = ss.SparseFeatures(20, (p,) * 10 + (p * ratio,) * 10)
            W = rng.standard_normal((10, 20))
            W /= np.linalg.norm(W, axis=0)
            both = two.pair_costs(W, np.zeros(20), inputs, activation)
            facing = np.triu((W.T @ W < two.FACING), 1)
            gram = (W.T @ W)[facing] ** 2
            chance += list(np.outer(inputs.densities, inputs.densities)[facing])
            cost += list((both + both.T)[facing] / gram)
        exponents[activation] = np.polyfit(np.log(chance), np.log(cost), 1)[0]
    assert exponents["relu"] == pytest.approx(1, abs=0.1)
    assert exponents["linear"] < 0.8


# --- plants ---------------------------------------------------------------------------------------------------------


def test_plants_pass(tmp_path):
    rule = {row.id: Rule.parse(row.rule) for row in study.EXPECTED}
    config = study.Config(seeds=6, permutations=100)
    mean = study.planted(config, Lab(0, "quick", tmp_path)).groupby("arm").mean()
    assert rule["pentagon-snaps"].holds(mean.crossing["planted curves"])
    assert rule["norm-bias"].holds(mean["norm error"]["planted pentagons"])
    assert mean.capacity["planted common"] - mean.capacity["planted rare"] > 0.05
    assert rule["impact-decides"].holds(mean.capacity["planted alike, common"] - mean.capacity["planted alike, rare"])
    assert rule["rare-share-with-common"].holds(mean.z["planted digons"])
    assert rule["rare-share-with-rare"].holds(mean.z["planted digons within classes"])


def test_nulls_of_the_plants_fail():
    """Classes that do not differ share as permuted labels do."""
    rule = {row.id: Rule.parse(row.rule) for row in study.EXPECTED}
    alike = plants.cells((0.1, 0.03), (1.0, 0.1), 40, 20, range(5), kind="alike")
    table = two.class_table(alike, 100)
    assert not rule["rare-share-with-common"].holds(table.z.mean())
    assert not rule["rare-share-with-rare"].holds(table.z.mean())
    shaded = two.class_table(plants.cells((0.1,), (0.1,), 40, 20, range(5), kind="shaded"), 2)
    gap = (shaded["capacity common"] - shaded["capacity rare"]).mean()
    assert not rule["impact-decides"].holds(gap)


# --- end to end -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return studies.get("4.4").run("quick", out=tmp_path_factory.mktemp("runs"), **TINY)


def test_findings_follow_the_contract(found):
    schema = json.loads(resources.files("superscope").joinpath("findings.schema.json").read_text())
    jsonschema.validate(found.to_json(), schema, format_checker=jsonschema.FormatChecker())
    assert found.gate.passed
    assert {c.id for c in found.claims} == {
        "pentagon-snaps", "norm-bias", "capacity-ordering", "impact-decides", "rare-share-with-common", "rare-share-with-rare",
    }  # fmt: skip
    assert all(c.null.why for c in found.claims)
    assert len(found.figures) == 6


def test_controls_say_that_nothing_happens(found):
    by = {c.id: c for c in found.claims}
    assert by["pentagon-snaps"].null.estimate.value == pytest.approx(0.1)  # the lowest label: digons never win
    assert by["capacity-ordering"].null.estimate.low < 0 < by["capacity-ordering"].null.estimate.high
    assert by["rare-share-with-rare"].plant.estimate.value > 1


@pytest.mark.parametrize("broken", [{"steps": 1}, {"small_steps": 1}])
def test_untrained_networks_do_not_pass_the_gate(tmp_path, broken):
    lost = studies.get("4.4").run("quick", out=tmp_path, **{**TINY, **broken})
    assert lost.verdict == "gate failed"
