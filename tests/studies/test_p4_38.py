"""4.38: the five tests on metrics that must pass and fail them, agreement against its formula, the sentence, a tiny run."""

import itertools

import numpy as np
import pandas as pd
import pytest

from superscope import studies
from superscope.evidence.wording import check_answer
from superscope.studies import p4_38_polysemanticity_metrics as study

M = np.repeat([1, 2, 3, 4, 5], 6)


def found(score, rng, spread=0.05, arms=(2.0, 0.5, 0.5)):
    """Scores of every kind of unit for a metric that is `score` of the number of concepts, with noise."""
    unequal, real = (score(M) + spread * rng.standard_normal(len(M)) for _ in range(2))
    neurons = rng.uniform(0, 1, 30)
    trained, initial, shuffled = (level + rng.uniform(0, 1, 30) for level in arms)
    one, other = (neurons + spread * rng.standard_normal(30) for _ in range(2))
    return {"unequal": unequal, "real": real, "trained": trained, "initial": initial, "shuffled": shuffled,
            "half": one, "other half": other}  # fmt: skip


FEW = {name: np.ones(30, dtype=bool) for name in ("trained", "initial", "shuffled")}


def test_a_metric_that_counts_passes_all_and_one_that_does_not_fails_the_right_test():
    rng = np.random.default_rng(0)
    good = study.tested(found(lambda m: 1 / m, rng), M, FEW)
    assert good["margin"] >= study.PASSES
    blind = study.tested(found(lambda m: 0 * m, rng), M, FEW)
    assert blind["counts"] < 0.5
    assert blind["margin"] == min(blind[name] for name in study.TESTS)
    untrained = study.tested(found(lambda m: 1 / m, rng, arms=(0.5, 0.5, 0.5)), M, FEW)
    assert untrained["initial"] < 0.8 <= untrained["counts"]
    noisy = study.tested(found(lambda m: 1 / m, rng, spread=1.0), M, FEW)
    assert noisy["stable"] < 0.8


def test_agreement_is_the_intraclass_correlation():
    rng = np.random.default_rng(1)
    truth = rng.standard_normal(4000)
    one, other = (truth + 0.5 * rng.standard_normal(4000) for _ in range(2))
    assert study.agreement(one, other) == pytest.approx(1 / 1.25, abs=0.02)
    assert study.agreement(one, other + 3) == pytest.approx(study.agreement(one, other))  # consistency: a shift is forgiven
    assert abs(study.agreement(one, rng.permutation(one))) < 0.05
    assert study.agreement(np.ones(5), np.ones(5)) == 0


def test_units_of_one_word_are_set_apart():
    rng = np.random.default_rng(2)
    scores = found(lambda m: 1 / m, rng, arms=(0.0, 0.5, 0.5))
    scores["trained"][:10] += 5
    wordy = {**FEW, "trained": np.arange(30) >= 10}
    assert study.tested(scores, M, FEW)["initial"] > study.tested(scores, M, wordy)["initial"]


def test_the_sentence_is_short_whatever_the_verdicts():
    of = pd.DataFrame({"margin": [0.812, 0.0523]}, index=[study.JUDGE, study.PUBLISHED])
    for verdicts in itertools.product((True, False), repeat=len(study.TESTS)):
        check_answer(study.in_short(dict(zip(study.TESTS, verdicts, strict=True)), of))


def test_a_tiny_run(tmp_path, monkeypatch):
    monkeypatch.setattr("superscope.lms.replicates", lambda name: [name, f"{name}-s1"])
    whole = study.lms.corpus.sample
    monkeypatch.setattr("superscope.lms.corpus.sample", lambda tokenizer: whole(tokenizer, 400))
    kept = {name: study.metrics.METRICS[name] for name in ("concepts", "beyond tokens", "top concepts", "top rule")}
    monkeypatch.setattr("superscope.lms.reading.metrics.METRICS", kept)
    found = studies.get("4.38").run(out=tmp_path, rows=100, neurons=8, planted=2)
    assert {claim.id for claim in found.claims} == {row.id for row in study.EXPECTED}
    table = found.tables["arms"]
    assert set(study.metrics.METRICS) | {study.LABELS, study.OTHER_BEYOND, study.KNOWN} == set(table["arm"])
    assert (table.groupby("arm")["margin"].min() <= 1).all()
    assert len(found.figures) == 3
