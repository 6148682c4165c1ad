"""4.34: one tiny run on the bundled models; toys' motifs are found, planted ones too, and the sentence always fits."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from superscope import lms, studies
from superscope.evidence.expect import judge
from superscope.evidence.findings import Gate
from superscope.measure.weights import asymmetric
from superscope.studies import p4_34_asymmetric_motif as study


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = {
        "rows": 40, "concepts": 40, "draws": 3, "plants": 2, "hits": 1, "contexts": 3, "others": 4, "toys": 4, "steps": 3000,
        "beside": "",
    }  # fmt: skip
    return studies.get("4.34").run(out=tmp_path_factory.mktemp("runs"), **options)


def test_a_tiny_run(found):
    by = {claim.id: claim for claim in found.claims}
    assert set(by) == {"exists", "causal"}
    assert by["exists"].null.estimate.against(by["exists"].rule) != "inside"
    assert found.gate.passed, found.gate.failed
    assert found.gate.measured["recall of absolute value models"] >= 0.9
    assert len(found.answer.split()) <= 30
    hits = found.tables["hits"]
    assert len(hits) == 3
    np.testing.assert_allclose(hits.score, hits.share * hits["taken off"])
    table = found.tables["arms"]
    trained = table[table.arm == study.TRAINED]
    assert (trained.score <= trained.attainable).all()
    power = found.tables["power"]
    assert power["size"].tolist() == sorted(study.PLANTS.values())
    assert power.score.iloc[-1] > power.score.iloc[0]


def test_concepts_do_not_depend_on_the_rows_and_are_in_many_documents():
    model, config = lms.load("gelu-1l-mini"), study.Config(rows=30)
    first, second = (study.Text.of(model, config, seed) for seed in (0, 1))
    assert first.names == second.names
    assert (first.rows != second.rows).any()
    split = lms.corpus.sample(model.tokenizer)
    spread = {one.name: np.count_nonzero(np.bincount(split.document[one.where])) for one in study.planted.concepts(split)}
    assert min(spread[name] for name in first.names) >= config.documents


def test_layers_are_those_of_the_model():
    """What neurons write for a concept, weighed by what they read of it, is what the layer writes for it."""
    model = lms.load("gelu-1l-mini")
    text = study.Text.of(model, study.Config(rows=40, concepts=20), 0)
    (layer,) = study.layers(model, text)
    assert layer.reads.shape == (model.d_mlp, 20)
    out = model.activations(lms.rows_to_tensor(text.rows), ["blocks.0.hook_mlp_out"])["blocks.0.hook_mlp_out"]
    values = out[:, 1:].flatten(0, 1).double().numpy()
    design = np.column_stack([text.on, np.ones(len(text.on))]).astype(float)
    expected = np.linalg.lstsq(design, values, rcond=None)[0][:-1]
    shares = asymmetric.written(layer.reads, layer.W_out)[1]
    seen = text.on.sum(axis=0) > 20
    np.testing.assert_allclose(shares[seen], expected[seen], atol=0.1 * np.abs(expected[seen]).max())


def test_every_layer_is_examined():
    model = lms.load("gelu-2l-mini")
    text = study.Text.of(model, study.Config(rows=20, concepts=10), 0)
    assert len(study.layers(model, text)) == 2


PASSED = Gate("", True, {}, [])


def rows(raised, over=(1.5, 1.6, 1.7)):
    values = {
        study.TRAINED: (over, raised), study.RELABELLED: ((0.7, 0.8, 0.9), [np.nan] * 3),
        study.AS_LOUD: ([np.nan] * 3, (0.0, 0.25, 0.0)), study.REMOVED: ([np.nan] * 3, (0.9, 1.0, 0.8)),
        **{name: ((1.4, 1.5, 1.6), [np.nan] * 3) for name in study.PLANTS},
    }  # fmt: skip
    return pd.DataFrame(
        [
            {"arm": name, "model": f"m{k}", "over chance": over[k], "raised": raised[k]}
            for name, (over, raised) in values.items()
            for k in range(3)
        ]
    )


@pytest.mark.parametrize(
    ("raised", "verdict"),
    [
        ([np.nan] * 3, "undecided"),
        ([1.0, np.nan, 1.0], "undecided"),
        ([1.0, 0.75, 0.75], "supported"),
        ([0.0, 0.25, 0.0], "refuted"),
    ],
)
def test_where_there_is_nothing_to_test_the_claim_is_undecided(raised, verdict):
    claims = {one.id: one for one in judge(study.judged(rows(raised)), study.EXPECTED, PASSED)}
    assert claims["causal"].verdict == verdict
    assert claims["exists"].verdict == "supported"


def test_the_layer_where_it_is_largest_counts():
    two = pd.concat([rows([np.nan] * 3), rows([np.nan] * 3, over=(2.0, 1.0, 1.0))])
    best = study.judged(two)[0]
    assert best.loc[best.arm == study.TRAINED, "over chance"].tolist() == [2.0, 1.6, 1.7]


@pytest.mark.parametrize("verdict", ["supported", "refuted", "undecided", "gate failed"])
def test_the_sentence_fits_whatever_the_verdict(verdict):
    said = study.in_short({"exists": verdict, "causal": "undecided"}, pd.DataFrame({"over chance": [1.04], "raised": [0.25]}))
    assert len(said.split()) <= 30
    assert ("none is a quarter stronger than chance" in said) == (verdict == "refuted")


@pytest.mark.parametrize("option", [{"rows": 5}, {"concepts": 2}, {"plants": 0}])
def test_options_are_checked(option):
    with pytest.raises(ValueError, match="expected 20 rows"):
        dataclasses.replace(study.Config(), **option)
