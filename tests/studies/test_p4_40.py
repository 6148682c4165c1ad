"""4.40: planted copies are counted, untrained models of a seed are the same, and one tiny run on the bundled models."""

import json

import numpy as np
import pandas as pd
import pytest

from superscope import lms, studies
from superscope.lab import Lab
from superscope.lms.corpus.splits import Rows
from superscope.lms.model.transformer import Shape
from superscope.studies import p4_40_matched_init as study


def test_partners_are_of_the_same_seed_and_of_the_next_ones():
    model = lms.load("gelu-1l-mini-s1")
    names = study.partners(model, study.Config())
    assert [names[f"second {turn}"] for turn in range(3)] == [f"solu_ln-1l-mini{tail}" for tail in ("-s1", "-s2", "")]
    assert names["own 0"] == model.name
    assert names["mild 1"] == "relu-1l-mini-s2"


def test_untrained_models_of_a_seed_have_the_same_neurons(tmp_path):
    """At the start gelu and relu of a seed agree almost everywhere; two seeds agree nowhere."""
    tokenizer = lms.load("gelu-1l-mini").tokenizer
    small = {"d_model": 32, "n_heads": 2, "d_mlp": 128, "n_ctx": 64, "n_layers": 2}
    gelu, relu, other = (
        lms.untrained(Shape(act_fn=act, **small), tokenizer, seed) for act, seed in (("gelu", 0), ("relu", 0), ("relu", 1))
    )
    tokens = np.random.default_rng(0).integers(10, 4000, (20, 64))
    rows = Rows(tokens, np.arange(tokens.size).reshape(tokens.shape))
    pairs = [
        (study.MATCHED, gelu, relu, 1),
        (study.NEITHER, gelu, other, 1),
        *study.planted(gelu, other, Lab(0, "quick", tmp_path)),
    ]
    pairs = [(arm, a, b, 0 if arm not in (study.MATCHED, study.NEITHER) else layer) for arm, a, b, layer in pairs]
    found = pd.DataFrame(study.compare(pairs, rows, study.Config(rotations=1), Lab(0, "quick", tmp_path))).set_index("arm")
    assert found.loc[study.MATCHED, ["same", "same before", "namesake is best"]].min() > 0.95
    assert found.loc[study.MATCHED, ["reads", "promotes"]].min() > 0.999
    assert found.loc[study.NEITHER, ["same", "same before"]].max() < 0.03
    assert abs(found.loc[study.NEITHER, "reads"]) < 0.05
    counts = {arm: other.card.get("copies") for arm, _, other, _ in pairs}
    assert found.loc[study.PLANTED, "same"] == pytest.approx(counts[study.PLANTED] / 128, abs=0.03)
    assert found.loc[study.ORDER, "same"] < 0.03
    assert found.loc["all kept, noise 4", "namesake"] < found.loc["all kept, noise 1", "namesake"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def found(folder):
    return studies.get("4.40").run(out=folder, rows=6, rotations=1)


def test_a_tiny_run(found):
    assert found.gate.passed
    by = {claim.id: claim for claim in found.claims}
    assert {claim.estimate.n for claim in found.claims} == {3}
    for claim in found.claims:  # every plant is seen
        assert claim.plant.estimate.against(claim.rule) == "inside", claim.id
    for name in set(by) - {"start-matters"}:  # whose null is as wide as its rule
        assert by[name].null.estimate.against(by[name].rule) != "inside", name
    assert by["keeps-index"].verdict == by["namesake-is-best"].verdict == "supported"
    assert by["reads"].verdict == by["promotes"].verdict == "refuted"
    assert len(found.tables["retractions"]) == 3
    assert len(found.answer.split()) <= 30
    table = found.tables["arms"].set_index("arm")
    assert table.loc[study.BEGINNING, "same"].min() > 0.95
    assert table.loc[study.REORDERED, "same before"] > table.loc[study.MATCHED, "same before"].max()
    assert "layer 1 of 2, same start" in table.index


def test_a_unit_knows_the_weights_of_every_model_it_read(found, folder):
    unit = json.loads(next(folder.rglob("examine-gelu-1l-mini.json")).read_text())
    opened = {name for kind, name, _ in unit["opened"] if kind == "model"}
    assert opened >= {
        "gelu-1l-mini", "gelu-1l-mini-s1", "solu_ln-1l-mini", "solu_ln-1l-mini-s1", "solu_ln-1l-mini-s2", "relu-1l-mini",
        "relu-1l-mini-s1", "gelu-1l-mini-reordered", "gelu-2l-mini", "solu_ln-2l-mini",
    }  # fmt: skip


def test_a_model_without_other_seeds_is_refused(tmp_path):
    with pytest.raises(lms.ModelError, match="has 1 trained seeds"):
        studies.get("4.40").run(out=tmp_path, model="gelu-1l-mini-reordered")
