"""4.41: what each measure reads on objects whose answer is known, the sentence, and one tiny run."""

import itertools

import numpy as np
import pandas as pd
import pytest

from superscope import lms, studies
from superscope.evidence.wording import check_answer
from superscope.studies import p4_41_gelu_or_relu as study


def test_what_the_strongest_twentieth_holds():
    values = np.zeros((1000, 2))
    values[:50, 0] = 3.0  # all of it
    values[:, 1] = 1.0  # a twentieth of it
    assert study.held(values[:, :1]) == pytest.approx(1)
    assert study.held(values[:, 1:]) == pytest.approx(0.05)


def test_levelling_below_zero_costs_a_relu_model_nothing_and_above_it_much():
    model = lms.load(study.RELU)
    tokens = lms.corpus.sample(model.tokenizer).rows(256, limit=4, seed=0).tokens
    assert study.levelled(model, tokens) == pytest.approx(0, abs=1e-6)
    assert study.levelled(model, tokens, above=True) > 0.05


def test_the_sentence_is_short_whatever_the_verdicts():
    ids = [row.id for row in study.EXPECTED]
    for more in (0.5, 1.0, 2.0):
        index = pd.MultiIndex.from_product([("ReLU", "GELU"), (0, 1)])
        by = pd.DataFrame({"concepts": [more, more, 1.0, 1.0]}, index=index)
        for verdicts in itertools.product(("supported", "undecided"), repeat=3):
            check_answer(study.in_short(dict.fromkeys(ids, verdicts[0]) | {"lobe": verdicts[1], "loss": verdicts[2]}, by))
    check_answer(study.in_short(dict.fromkeys(ids, "gate failed"), by))


def test_a_tiny_run(tmp_path, monkeypatch):
    whole = lms.corpus.sample
    monkeypatch.setattr("superscope.lms.corpus.sample", lambda tokenizer: whole(tokenizer, 500))
    monkeypatch.setattr("superscope.measure.activations.labelled.sample", lambda tokenizer: whole(tokenizer, 500))
    seeds = study._language.by_seed
    monkeypatch.setattr("superscope.studies.language.by_seed", lambda name: {k: v for k, v in seeds(name).items() if k < 2})
    found = studies.get("4.41").run(out=tmp_path, rows=60, neurons=16, pairs=80, levelled=4)
    assert {claim.id for claim in found.claims} == {row.id for row in study.EXPECTED}
    pairs = found.tables["paired"]
    assert set(pairs["measure"]) == set(study.MEASURES)
    again = pairs[(pairs.arm == study.AGAIN) & (pairs.measure == "loss")]["value"]
    assert again.sum() == pytest.approx(0, abs=1e-6)  # two starts exchanged
