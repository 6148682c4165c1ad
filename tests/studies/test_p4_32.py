"""4.32: one tiny run on the bundled models; what is planted is found in it, and every sentence fits."""

import itertools

import pandas as pd
import pytest

from superscope import studies
from superscope.studies import p4_32_reverse_engineered as study


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = {"rows": 2, "generic": 6, "fit": 60, "test": 50, "points": 3}
    seeds = study.lms.replicates
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.lms, "replicates", lambda name: seeds(name)[:2])
        return studies.get("4.32").run(out=tmp_path_factory.mktemp("runs"), **options)


def test_a_tiny_run(found):
    assert found.gate.passed, found.gate.failed
    by = {claim.id: claim for claim in found.claims}
    assert set(by) == {row.id for row in study.EXPECTED}
    for row in study.EXPECTED:
        if row.id not in ("rebuilt", "blind", "context"):  # tables give even more of neurons that were never trained
            assert by[row.id].null.estimate.against(by[row.id].rule) != "inside", row.id
    assert by["rebuilt"].null.estimate.against(by["rebuilt"].rule) == "inside"
    assert by["rebuilt"].verdict == "undecided"
    for name in ("rebuilt", "context", "spliced", "answered"):
        assert by[name].plant.estimate.against(by[name].rule) == "inside", name
    assert len(found.answer.split()) <= 30


def test_every_row_of_the_ledger_has_a_number(found):
    ledger = found.tables["ledger"]
    assert set(ledger.row) == {*study.distractors.ROWS, "total", "mass"}
    assert ledger[["signal", "alternating", "simultaneous"]].notna().all().all()
    assert len(ledger.groupby(["model", "feature"])) == 6
    assert ledger.groupby(["model", "feature"]).distractor.nunique().max() > 1


def test_who_brings_it_adds_up_to_what_the_carriers_write(found):
    reads, rungs = found.tables["reads"], found.tables["rungs"]
    assert set(reads["read from"]) == {"token", "position", *(f"head {k}" for k in range(4)), "LayerNorm"}
    same = reads[reads.feature.isin(study.CONTEXT) & (reads["read from"] == "token")]
    assert same.nats.abs().max() < 1e-3  # matched in their token
    assert (rungs[rungs.arm == study.HEADLESS].groupby("rung")["r2"].mean()[study.TABLES]) > 0.8


def test_untrained_models_are_rebuilt_as_well(found):
    """A good R^2 says that neurons are simple, not that they do anything."""
    table = found.tables["arms"]
    assert table[table.arm.isin(study.CONTROLS.values())].r2.min() > 0.95


@pytest.mark.parametrize("verdicts", list(itertools.product(["supported", "refuted", "undecided"], repeat=2)))
def test_every_sentence_fits(verdicts):
    arms = [study.TRAINED, study.CONTROLS["shuffled"]]
    table = pd.DataFrame({"arm": arms, "recovered": [0.987, 0.991], "r2": [0.9, 0.99]})
    seen = pd.DataFrame({"feature": ["Python indentation", "title case", "base64"], "model": "m", "passes": [0.1, 0.2, 0.3]})
    study.in_short(dict(zip(("threshold", "answered"), verdicts, strict=True)), table, seen)


def test_a_model_without_tables_is_refused(tmp_path):
    with pytest.raises(study.lms.ModelError, match="one layer"):
        studies.get("4.32").run(out=tmp_path, model="gelu-2l-mini", rows=2, generic=2, fit=50, test=45)
