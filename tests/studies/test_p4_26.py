"""4.26: one tiny run on the bundled models; the sentence always fits."""

import itertools

import numpy as np
import pandas as pd
import pytest

from superscope import studies
from superscope.measure.activations import cooccurrence
from superscope.studies import p4_26_local_orthogonality as study


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = {"rows": 240, "fewest": 40, "world": 200, "steps": 250}
    return studies.get("4.26").run(out=tmp_path_factory.mktemp("runs"), **options)


def test_a_tiny_run(found):
    by = {claim.id: claim for claim in found.claims}
    assert set(by) == {row.id for row in study.EXPECTED}
    assert by["together-neurons"].plant.estimate.against(by["together-neurons"].rule) == "inside"
    assert by["apart-neurons"].plant.estimate.against(by["apart-neurons"].rule) == "inside"
    for name in ("together-neurons", "apart-neurons", "local-neurons"):
        assert by[name].null.estimate.against(by[name].rule) != "inside"
    assert len(found.answer.split()) <= 30
    assert set(found.tables["pairs"].kind) == set(study.KINDS.values())


def test_a_dictionary_of_orthogonal_features_leans_together(found):
    """The attack on decoder rows: learned from a world of orthogonal features, they lean as those of the model do."""
    table = found.tables["arms"]
    made = table.loc[table.arm == study.WORLD_APART, "together decoder"]
    assert (made > 0.1).all()


@pytest.mark.parametrize("verdicts", list(itertools.product(["supported", "refuted", "undecided"], repeat=4)))
def test_the_sentence_fits_whatever_the_verdicts(verdicts):
    names = ("apart-neurons", "apart-concepts", "together-neurons", "together-concepts")
    for made in (0.02, 0.3):
        arms = pd.DataFrame({"arm": [study.TRAINED, study.WORLD_APART], "together decoder": [0.2, made]})
        assert len(study.in_short(dict(zip(names, verdicts, strict=True)), arms).split()) <= 30


def test_shares_are_those_of_a_regression():
    rng = np.random.default_rng(0)
    labels = rng.random((4000, 5)) < 0.2
    labels[:, 1] |= labels[:, 0]  # occurs together
    truth = rng.normal(size=(5, 16))
    written = labels @ truth + 0.1 * rng.normal(size=(4000, 16)) + 3
    np.testing.assert_allclose(study.shares(labels, written), truth, atol=0.06)


def test_planted_concepts_are_seen_through_the_estimate():
    """Known directions in place of the estimated ones: their cosines come back."""
    rng = np.random.default_rng(0)
    labels = rng.random((6000, 12)) < 0.1
    half = np.arange(6000) % 2 == 0
    written = labels @ rng.normal(size=(12, 24)) + 0.3 * rng.normal(size=(6000, 24))
    family = study.concepts(labels, written, half)
    assert family.on.shape[1] == 12
    known = rng.normal(size=(12, 24))
    np.testing.assert_allclose(family.seen(known), cooccurrence.cosines(known), atol=0.1)
