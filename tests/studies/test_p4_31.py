"""4.31: one tiny run on the bundled models; planted features are found in it, and every sentence fits."""

import itertools

import numpy as np
import pandas as pd
import pytest

from superscope import studies
from superscope.measure.activations import labelled
from superscope.studies import p4_31_carrying_neurons as study


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Of three features only."""
    every = labelled.marks
    options = {"rows": 3, "generic": 1, "fit": 60, "test": 50, "points": 3, "draws": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelled, "marks", lambda *given: {name: every(*given)[name] for name in labelled.FEATURES[:3]})
        return studies.get("4.31").run(out=tmp_path_factory.mktemp("runs"), **options)


def test_a_tiny_run(found):
    assert {claim.estimate.n for claim in found.claims} == {3}
    by = {claim.id: claim for claim in found.claims}
    for name in ("sparse", "dense", "privileged", "specific"):
        assert by[name].plant.estimate.against(by[name].rule) == "inside", name
        assert by[name].null.estimate.against(by[name].rule) != "inside", name
    each = found.tables["features"]
    planted = each[each.arm == study.THREE]
    assert (planted[["gone", "carriers"]] == 3).all().all()
    whole = each[each.arm == study.ALL]
    assert (whole["carriers"] > 0.7 * 512).all()
    chance = each[each.arm == study.SHUFFLED]
    assert np.abs(chance["carried"]).mean() < 0.2 * each[each.arm == study.TRAINED]["carried"].mean()
    assert len(found.tables["split"]) == 4
    assert len(found.answer.split()) <= 30


def test_every_sentence_fits():
    each = pd.DataFrame({"arm": study.TRAINED, "feature": labelled.FEATURES, "carriers": [6.3, 20.1, 41.5, 430.2, 76.8]})
    for verdicts in itertools.product((True, False), repeat=3):
        study.in_short(dict(zip(("sparse", "dense", "unused"), verdicts, strict=True)), each)


def test_no_feature_fails_the_gate(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "LEAST", 100.0)
    found = studies.get("4.31").run(out=tmp_path, rows=2, generic=1, fit=50, test=45, points=3, draws=1)
    assert found.verdict == "gate failed"
