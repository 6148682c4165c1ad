"""4.2: the monosemantic baseline in closed form, aligned starts, and the contract on a small run."""

from __future__ import annotations

import itertools
import json
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import superscope as ss
from superscope import studies
from superscope.evidence.rule import Rule
from superscope.measure.weights.motifs import motifs, regrouped
from superscope.studies import p4_02_absolute_value_variants as study
from superscope.studies.p4_02_absolute_value_variants import measured, plants
from superscope.toys.aligned import Aligned

TINY = {
    "n": 8, "m": 6, "densities": (1.0, 0.1, 0.01), "seeds": 5, "steps": 400, "null_draws": 10, "pair_features": 4,
    "pair_steps": 100,
}  # fmt: skip


def test_costs_of_whole_neurons_by_monte_carlo():
    p = 0.3
    x = ss.SparseFeatures(1, p, ss.SignedUniform()).draw(np.random.default_rng(0), 400_000)[:, 0].astype(float)
    hinge = np.maximum(x, 0)
    line = np.polyval(np.polyfit(hinge, np.abs(x), 1), hinge)
    found = study.costs(1, np.ones(1), p)[0]
    assert found == pytest.approx([np.abs(x).var(), ((np.abs(x) - line) ** 2).mean(), 0], rel=0.02)


def test_outputs_start_alive_only_when_aligned():
    rng = np.random.default_rng(0)
    for toy, dead in ((Aligned(50, 20), False), (ss.AbsoluteValue(50, 20), True)):
        start = toy.initial(rng)
        w, out = start["W"], start["W_out"]
        response = np.stack([(np.maximum(s * w, 0) * out.T).sum(0) for s in (1, -1)])
        assert bool((response <= 0).all(0).any()) == dead


def test_plants_pass_and_nulls_fail():
    rule = {row.id: Rule.parse(row.rule) for row in study.EXPECTED}
    seeds, size = range(6), (20, 8)
    spread = plants.networks(plants.distribution, *size, seeds)
    rng = np.random.default_rng(0)
    relabelled = [measured.distributed(*regrouped(*spread, rng)) for _ in range(2)]
    assert rule["new-motif"].holds((measured.distributed(*spread) - relabelled[0]).mean())
    assert not rule["new-motif"].holds((relabelled[0] - relabelled[1]).mean())
    assert measured.coexist(*plants.networks(plants.mixture, *size, seeds)).all()
    inhibited = plants.networks(plants.inhibition, *size, seeds)
    counts = measured.null_motifs(*inhibited, 0.0, 30, 0)
    chance = 1.5 * counts.mean(0)
    assert rule["motif"].holds((motifs(*inhibited).inhibited - chance).mean())
    assert not rule["motif"].holds((counts.mean(0) - chance).mean())
    sharing, apart, other = (
        measured.sharing_of(plants.encoders(12, s, c)) for s, c in ((seeds, 0.33), (seeds, 0), (range(6, 12), 0))
    )
    assert rule["anti-correlated"].holds((sharing - apart).mean())
    assert abs((other - apart).mean()) < (sharing - apart).mean() / 2


def test_planted_losses():
    """By hand: a code beats whole neurons where there is an output ReLU, whole neurons do not beat themselves."""
    for preset, (plan, output, pays) in itertools.product(
        ("quick", "standard"), (("code", "relu", True), ("allocation", "identity", False))
    ):
        config = study.PRESETS[preset]
        toy = plants.Planted(config.n, config.m, output, plan=plan)
        run = ss.Sweep(toy, study.sparse_inputs(config), over={"density": [0.01]}, seeds=3).train(ss.Recipe.careful(0))
        assert ((study.relative(config, run, 0.01) < 1) == pays).all()
    start = plants.Planted(3, 6, plan="exact")
    run = ss.Sweep(start, ss.SparseFeatures(3, 0.3, ss.SignedUniform()), seeds=3).train(ss.Recipe.careful(1000, lr=1e-2))
    assert (run.loss.values < 1e-6).all()


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.2").run(out=tmp_path, quiet=True, **TINY)
    assert [c.id for c in found.claims][:2] == ["exact", "pays"]
    by_id = {c.id: c for c in found.claims}
    assert by_id["exact"].null.estimate.value == 0  # five neurons cannot do it
    document = json.loads(next(tmp_path.glob("4.2/*/findings.json")).read_text())
    jsonschema.validate(document, json.loads(resources.files("superscope").joinpath("findings.schema.json").read_text()))
