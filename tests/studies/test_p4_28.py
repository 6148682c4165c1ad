"""4.28: one tiny run on the bundled models; planted collisions are seen and planted repairs are read."""

import itertools

import numpy as np
import pytest

from superscope import lms, studies
from superscope.evidence.claim import GATE_FAILED
from superscope.evidence.wording import check_answer
from superscope.studies import p4_28_simultaneous_interference as study

TINY = {"words": 36, "contexts": 16, "length": 8, "pairs": 8, "texts": 6, "draws": 4}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return studies.get("4.28").run(out=tmp_path_factory.mktemp("runs"), seed=0, **TINY)


def test_a_tiny_run(found):
    assert {claim.estimate.n for claim in found.claims} == {3}
    by = {claim.id: claim for claim in found.claims}
    for one in ("sum", "before", "after"):  # with so few contexts the arms are apart, if not always on their sides of the rule
        assert by[one].plant.estimate.value < 0.6 * by[one].null.estimate.value, one
        assert by[one].null.estimate.against(by[one].rule) == "outside", one
    assert by["shared"].estimate.value > 2 * by["shared"].null.estimate.value
    assert by["shared"].plant.estimate.value > 0.1
    assert by["sum"].estimate.value < 0.2
    table = found.tables["arms"].set_index(["arm", "model"])
    assert (table.loc[study.WINNER, "mixture"] > 1.5 * table.loc[study.TRAINED, "mixture"]).all()
    pairs = found.tables["pairs"]
    assert (pairs.word != pairs.beside).all()
    assert (np.abs(pairs.cosine) > 0.2).all()
    assert set(study.PAIRS) < set(pairs.columns)


def test_the_answer_fits_whatever_the_verdicts():
    verdicts = ("supported", "refuted", "undecided", GATE_FAILED)
    for after, mixture in itertools.product(verdicts, verdicts):
        check_answer(study.in_short({"after": after, "mixture": mixture}, 2.61, 1.034))
    assert study.in_short({"after": "supported", "mixture": "supported"}, 2.61, 1.034).startswith("Yes")
    assert study.in_short({"after": "supported", "mixture": "refuted"}, 2.61, 1.034).startswith("No:")


def test_too_few_pairs_fail_the_gate(tmp_path):
    """Of six words hardly two share, matter and differ."""
    found = studies.get("4.28").run(out=tmp_path, seed=0, **{**TINY, "words": 6})
    assert not found.gate.passed
    assert {claim.verdict for claim in found.claims} == {GATE_FAILED}
    check_answer(found.answer)


def test_a_model_without_a_layer_before_the_last_is_refused(tmp_path):
    with pytest.raises(lms.ModelError, match="two layers"):
        studies.get("4.28").run(out=tmp_path, **{**TINY, "model": "gelu-1l-mini"})


def test_contexts_come_in_fours():
    with pytest.raises(ValueError, match="multiple of 4"):
        study.Config(contexts=30)
