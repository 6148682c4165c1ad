"""4.37: the judge is validated inside the study, the cards are blind, agreement is kappa, and one tiny run."""

import json

import numpy as np
import pandas as pd
import pytest

from superscope import studies
from superscope.studies import p4_37_solu_interpretable as study

TINY = {"neurons": 4, "rows": 6, "planted": 3, "cards": 2, "others": ()}


def test_the_same_neurons_in_every_arm():
    config = study.Config(neurons=7)
    numbers = [
        study.examine(name, kind, study.Config(neurons=7, rows=3), 0)["units"]
        for name, kind in (("gelu-1l-mini", ""), ("gelu-1l-mini", "init"))
    ]
    assert [u["neuron"] for u in numbers[0]] == [u["neuron"] for u in numbers[1]]
    model = study.load("gelu-1l-mini")
    assert [u["neuron"] for u in numbers[0]] == study.chosen(model, config, 0).tolist()


def test_the_judge_is_validated_on_planted_units():
    found = study.validation("gelu-1l-mini", study.Config(planted=6), 3)
    assert found["auc"] >= 0.9
    assert min(found["scores"]["1"]) > np.mean(found["scores"]["5"])


def test_agreement_is_kappa(monkeypatch):
    sheet = pd.DataFrame(
        {"model": ["a"] * 8, "neuron": range(8), "interpretable": [True, True, True, True, False, False, False, False]}
    )
    monkeypatch.setattr(study.cards, "read_scores", lambda folder: sheet)
    scores = [0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.9]  # the rule judge agrees on six of eight
    arms = [{"model": "a", "kind": "", "units": [{"neuron": k, "score": x} for k, x in enumerate(scores)]}]
    found = study.agreement(study.Config(human="x"), arms, 0.5)
    assert found["agreement"] == 0.75
    assert found["kappa"] == pytest.approx(0.5)


def test_a_tiny_run(tmp_path):
    found = studies.get("4.37").run(out=tmp_path, **TINY)
    assert {claim.id for claim in found.claims} == {"more-interpretable", "higher-score", "loss-parity", "top-flatters"}
    parity = next(claim for claim in found.claims if claim.id == "loss-parity")
    assert parity.verdict in ("supported", "gate failed")
    (page,) = tmp_path.rglob("cards.html")
    text = page.read_text()
    assert not any(word in text.lower() for word in ("gelu", "solu", "relu", "mini"))
    (key,) = tmp_path.rglob("key.json")
    assert page.parent not in key.parents
    assert json.loads(key.read_text())
    rows = found.tables["arms"]
    assert set(rows["kind"]) == {"neurons", "rotated", "init", "shuffled"}
