"""4.37: arms are matched, planted layers are told from trained ones, cards are blind, agreement is kappa, and one tiny run."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest

from superscope import lms, studies
from superscope.evidence.wording import check_answer
from superscope.lab import Lab
from superscope.lms.reading import matched, planted
from superscope.studies import p4_37_solu_interpretable as study

TINY = {"neurons": 8, "rows": 60, "planted": 4, "cards": 2, "others": ()}


@pytest.fixture
def short(monkeypatch):
    """Less text, two starts, and no slow judge."""
    whole = lms.corpus.sample
    monkeypatch.setattr("superscope.lms.corpus.sample", lambda tokenizer: whole(tokenizer, 400))
    monkeypatch.setattr("superscope.lms.corpus.splits.sample", lambda tokenizer: whole(tokenizer, 400))
    seeds = study._language.by_seed
    monkeypatch.setattr("superscope.studies.language.by_seed", lambda name: {k: v for k, v in seeds(name).items() if k < 2})


def test_the_same_neurons_and_the_same_turn_in_every_arm_and_losses_are_those_of_the_arm(short):
    models = {name: lms.load(name) for name in (study.GELU, study.SOLU)}
    found = matched.read(models, 12, 6, np.random.default_rng(0), 0)
    assert {kind for _, kind in found.values} == set(matched.KINDS)
    for name in models:
        whole = found.whole[name]
        assert np.array_equal(found.values[name, matched.NEURONS], whole[:, found.which])
        turned = found.values[name, matched.ROTATED]
        basis = np.linalg.lstsq(whole / (whole.std(axis=0) + 1e-6), turned, rcond=None)[0]
        assert np.allclose(basis.T @ basis, np.eye(6), atol=1e-2)
        assert found.loss[name, matched.INIT] > 8 > found.loss[name, matched.NEURONS]
        assert found.loss[name, matched.SHUFFLED] > found.loss[name, matched.NEURONS] + 1


def test_directions_of_one_concept_have_fewer_concepts_than_neurons(short):
    rng = np.random.default_rng(1)
    found = matched.read({study.GELU: lms.load(study.GELU)}, 400, 10, rng, 0, kinds=())
    whole, text = found.whole[study.GELU], found.text
    some = planted.sets_apart(text.pool(), text.document, 1, 10, rng)
    made = whole @ planted.directions(whole, some, text.first)
    read, own = (study.judged(values, text, full=False)["concepts"] for values in (made, found.values[study.GELU, "neurons"]))
    assert read.median() < 0.6 * own.median()
    assert (read < study.FEW).mean() > (own < study.FEW).mean() + 0.3


def test_kappa():
    people = [True, True, True, True, False, False, False, False]
    judge = [True, True, True, False, False, False, False, True]  # they agree on six of eight
    assert study.kappa(people, judge) == pytest.approx(0.5)
    assert study.kappa(people, people) == 1
    assert np.isnan(study.kappa([True] * 3, [True] * 3))


def test_a_sheet_of_scripted_answers_is_compared_with_the_judge(short, tmp_path, monkeypatch):
    sheet = pd.DataFrame({"model": [study.GELU] * 4, "neuron": [1, 2, 3, 4], "interpretable": [True, False, True, False]})
    monkeypatch.setattr(study.cards, "read_scores", lambda folder: sheet)
    said = pd.DataFrame({"concepts in firings": [1.0, 5.0, 3.0, 1.5], "rule": [0.9, 0.1, 0.9, 0.1]})
    monkeypatch.setattr(study, "judged", lambda values, text: said)
    found = study.agreement(study.Config(human="x", rows=50), Lab(0, "quick", tmp_path))
    assert found["cards"] == 4
    assert found["agreement"] == 0.5
    assert found["kappa with a rule"] == 1


def test_the_sentence_is_short_whatever_the_verdicts():
    by = pd.DataFrame({"concepts": [11.234, 0.5678]}, index=["SoLU", "GELU"])
    for verdicts in itertools.product(("supported", "refuted", "undecided"), repeat=5):
        check_answer(study.in_short(dict(zip([row.id for row in study.EXPECTED], verdicts, strict=True)), by))
    check_answer(study.in_short({"more": "gate failed"}, by))


def test_a_tiny_run(short, tmp_path):
    found = studies.get("4.37").run(out=tmp_path, **TINY)
    assert {claim.id for claim in found.claims} == {row.id for row in study.EXPECTED}
    table = found.tables["arms"].set_index("arm")
    assert (table.loc["GELU", "loss"] < table.loc["GELU, initial weights", "loss"].min() - 3).all()
    assert table["concepts"].dropna().between(1, 64).all()  # too little text for more
    (page,) = tmp_path.rglob("cards.html")
    assert not re.search(r"\b(gelu|solu|relu)\b|1l-mini", page.read_text().lower())  # text may well hold "solution"
    (key,) = tmp_path.rglob("key.json")
    assert page.parent not in key.parents
    assert json.loads(key.read_text())
