"""4.42: the neuron with four exclusive features, what each measure reads where it is known, the sentence, a tiny run."""

import itertools

import numpy as np
import pandas as pd
import pytest

from superscope import lms, studies
from superscope.evidence.wording import check_answer
from superscope.lms.reading import metrics, planted
from superscope.studies import p4_42_very_wide as study


def test_rare_concepts_are_read_as_rare_and_as_one():
    split = lms.corpus.sample(lms.load("gelu-1l-wide4").tokenizer, 400)
    text = metrics.labelled(split, split.rows(256, limit=150, seed=0).place[:, 1:].ravel())
    pool = sorted(text.pool(100), key=lambda one: int(one.where.sum()))
    rng = np.random.default_rng(0)
    rare, common = (
        study.measured(np.stack([planted.uneven(text.document, [one], rng) for one in some], axis=1), text)
        for some in (pool[:8], pool[-8:])
    )
    assert rare["rate"] < 0.3 * common["rate"]
    assert rare["concepts"] < 1.5


def test_a_dead_neuron_is_one_that_hardly_rises():
    values = np.abs(np.random.default_rng(0).standard_normal((100, 10)))
    values[:, :3] *= 1e-4
    assert study.dead(values) == pytest.approx(0.3)


def test_the_sentence_is_short_whatever_the_verdicts():
    for narrow, wide in ((10, 10), (10, 2), (2, 10)):
        by = pd.DataFrame({"concepts": [narrow, wide]}, index=[study.NARROW, study.WIDE])
        for verdicts in itertools.product(("supported", "refuted", "undecided"), repeat=4):
            check_answer(study.in_short(dict(zip(("goes", "fewer", "closes", "rarer"), verdicts, strict=True)), by))
    check_answer(study.in_short({"goes": "gate failed"}, by))


def test_a_tiny_run(tmp_path, monkeypatch):
    whole = lms.corpus.sample
    monkeypatch.setattr("superscope.lms.corpus.sample", lambda tokenizer: whole(tokenizer, 500))
    seeds = study._language.by_seed
    monkeypatch.setattr("superscope.studies.language.by_seed", lambda name: {k: v for k, v in seeds(name).items() if k < 2})
    monkeypatch.setattr(study, "READ", 40)
    monkeypatch.setattr(study, "carried", lambda *some: {"carriers": 5.0, "features": 3.0})  # tested with labelled features
    found = studies.get("4.42").run(out=tmp_path, rows=60, neurons=12, steps=20, pairs=80)
    assert {claim.id for claim in found.claims} == {row.id for row in study.EXPECTED}
    table = found.tables["arms"].groupby("arm").mean(numeric_only=True)
    assert table.loc[study.WIDE, "loss"] < table.loc[study.initial(study.WIDE), "loss"] - 3
    assert {study.anew(way) for way in study.ANEW} <= set(table.index)
