"""4.23: one tiny run on the bundled models; what is planted is found, illusions are flagged, and the sentence always fits."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from superscope import lms, studies
from superscope.lms.corpus import ioi
from superscope.studies import p4_23_ioi_names as study
from superscope.studies.p4_23_ioi_names import exchanged


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = {"prompts": 40, "pairs": 400, "read": 3, "directions": (8, 16), "steps": 25, "symbolic": 400}
    return studies.get("4.23").run(out=tmp_path_factory.mktemp("runs"), **options)


def test_a_tiny_run(found):
    assert found.gate.passed, found.gate.failed
    by = {claim.id: claim for claim in found.claims}
    assert set(by) == {row.id for row in study.EXPECTED}
    for name in ("names", "queries", "one-code", "read"):
        assert by[name].verdict == "supported", name
        assert by[name].null.estimate.against(by[name].rule) != "inside"
    assert len(found.answer.split()) <= 30
    frames = found.tables["frames"]
    at = frames[frames.directions == 16].groupby("estimator").accuracy.mean()
    assert at[study.SEARCH] > 0.9
    assert at[study.MEANS] > 0.9
    assert at[study.RANDOM] < 0.6
    assert (frames.groupby("estimator").directions.nunique() == 2).all()


def test_the_path_that_is_heard(found):
    heard = found.tables["paths"].set_index(["model", "sender"])
    assert len(heard) == 12
    for name in ("ioi-2l-mini", "ioi-2l-mini-s1", "ioi-2l-mini-s2"):
        one = heard.loc[name]
        loud = one["heard by all"].idxmax()
        assert one.loc[loud, "heard by queries"] > 10 * abs(one.loc[loud, "heard by values"])


def test_an_exchange_of_nothing_moves_nothing_and_a_message_is_exact_where_only_the_token_counts():
    model = lms.load("ioi-2l-mini")
    sets = ioi.exchanges(model.tokenizer, ioi.NAMES, 8, 1)
    same = exchanged.message(model, sets["base"], sets["base"])
    read = model.activations(lms.rows_to_tensor(sets["base"].tokens), ["blocks.1.hook_resid_pre"])["blocks.1.hook_resid_pre"]
    torch.testing.assert_close(same, read[torch.arange(8), torch.as_tensor(sets["base"].last)], atol=1e-5, rtol=1e-5)
    other = exchanged.message(model, sets["base"], sets["both"])
    assert ((other - same).norm(dim=1) > 1).all()


@pytest.mark.parametrize("verdicts", list(itertools.product([True, False], repeat=2)))
def test_the_sentence_fits_whatever_the_verdicts(verdicts):
    supported = dict(zip(("names", "queries"), verdicts, strict=True))
    said = study.in_short(supported, pd.DataFrame({"words": [165.0], "k90": [12.0]}))
    assert len(said.split()) <= 30


def test_a_model_that_does_not_do_the_task_fails_the_gate(found):
    table = found.tables["arms"].copy()
    table.loc[table.arm == study.TRAINED, "io over s"] = 0.6
    passed = study.gate([table], study.GATE[:1])
    assert not passed.passed
    assert np.isfinite(table["moved"].dropna()).all()
