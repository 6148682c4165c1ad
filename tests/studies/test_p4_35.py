"""4.35: planted objects get the verdicts they were made for, one tiny run, and every sentence fits."""

import itertools
from functools import cache

import numpy as np
import pandas as pd
import pytest

from superscope import lms, studies
from superscope.studies import p4_35_probe_battery as study

TINY = {"rows": 8, "generic": 1, "fit": 250, "choose": 80, "judge": 160, "draws": 4}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Two of the twins, one feature."""
    every = study.cases

    def fewer(*given):
        return itertools.islice(every(*given), 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "cases", fewer)
        patch.setattr(lms, "replicates", lambda name: ["gelu-1l-mini", "gelu-1l-mini-s1"])
        return studies.get("4.35").run(out=tmp_path_factory.mktemp("runs"), **TINY)


@cache
def case():
    model = lms.load("gelu-1l-mini")
    return next(study.cases(model, study.Config(), np.random.default_rng(0)))[0]


def asked(arm: str) -> dict:
    rng = np.random.default_rng(1)
    made, direction = study.planted(case(), arm, rng)
    return study.measured(made, study.Config(draws=6), rng, arm, [], direction)


def test_a_planted_representation_passes_all_five():
    row = asked(study.PLANTED)
    assert row["cosine"] > 0.9
    assert row["read"] > 0.95
    assert all(row[name] for name in ("is selective", "transfers", "agrees", "one direction"))
    assert row["over means"] >= 0.4


def test_a_good_probe_of_what_nothing_reads_fails_one_test_alone():
    row = asked(study.IDLE)
    assert row["read"] > 0.95
    assert row["passed"] == 4
    assert not row["acts"]
    assert abs(row["moves"]) < 2


def test_a_clue_in_each_combination_does_not_transfer():
    row = asked(study.CLUE)
    assert row["read"] > 0.7
    assert not row["transfers"]
    assert not row["one direction"]


def test_pairs_are_of_one_token_and_parts_share_no_document():
    one = case()
    assert (one.token == one.token[one.partner]).all()
    assert (one.truth != one.truth[one.partner]).all()
    seen = [set(one.document[rows]) for rows in (one.parts.fit, one.parts.choose, one.parts.judge)]
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_a_tiny_run(found):
    assert {claim.estimate.n for claim in found.claims} == {2}
    by = {claim.id: claim for claim in found.claims}
    for name in ("read", "transfers", "moves", "one"):
        assert by[name].null.estimate.against(by[name].rule) != "inside", name
    confidence = found.tables["confidence"]
    assert {study.TRAINED, study.SHUFFLED, study.IDLE} <= set(confidence.arm)
    assert confidence["passed"].between(0, 5).all()
    assert set(found.tables["kinds"].kind) == set(study.KINDS)
    assert [figure.name for figure in found.figures] == ["cause", "path", "tests"]
    assert found.verdict == "gate failed"  # one feature of three


def test_every_sentence_fits():
    trained = pd.DataFrame({"read": [0.912, 0.843], "passed": [2.0, 3.0]})
    for verdicts in itertools.product((True, False), repeat=4):
        study.in_short(dict(zip(("read", "moves", "half", "sparse"), verdicts, strict=True)), trained)
