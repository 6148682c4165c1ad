"""4.36: readers and curves by hand, planted features of every kind, one tiny run, and every sentence fits."""

import itertools

import numpy as np
import pandas as pd
import pytest

from superscope import studies
from superscope.lms.reading.planted import Concept
from superscope.studies import p4_36_probe_or_neuron as study


def noise(n: int = 1500, d: int = 60, seed: int = 0, rate: float = 0.05) -> study.Sample:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.25
    return study.Sample("made up", rng.standard_normal((n, d)), truth, np.repeat(np.arange(n // 30), 30),
                        rng.integers(9, size=n), rate, 0, rng.standard_normal(30_000), rng.random(30_000) < rate)  # fmt: skip


def test_ranges_by_hand():
    scores, truth = np.array([4.0, 3.0, 3.0, 1.0]), np.array([True, True, False, False])
    recall, precision, f1 = study.ranges(scores, truth, 0.5)
    assert recall == pytest.approx([0.5, 1, 1])
    assert precision == pytest.approx([1, 2 / 3, 0.5])  # equal scores are one threshold
    assert f1 == pytest.approx([2 / 3, 0.8, 2 / 3])
    assert study.ranges(scores, truth, 0.01)[1][1] == pytest.approx(0.01 / (0.01 + 0.99 / 2))  # rarer in the text
    assert study.recall_at((recall, precision, f1), 0.6) == 1
    assert study.recall_at((recall, precision, f1), 1.1) == 0


def test_a_token_reader_learns_from_the_fitting_documents_alone():
    sample = noise()
    fit = np.arange(1500) < 900
    by = study.by_token(study.replace(sample, truth=sample.token < 3), fit)
    assert by[sample.token < 3].min() > 0.9
    assert by[sample.token >= 3].max() < 0.1


@pytest.mark.parametrize(
    ("arm", "kind"),
    [
        (study.ONE, "one neuron"),
        (study.FIVE, "two to ten"),
        (study.ALL, "more"),
        (study.MIXED, "one neuron"),
        (study.EVEN, "one neuron"),
    ],
)
def test_planted_features_get_their_class(arm, kind):
    rng = np.random.default_rng(1)
    made = study.plant(noise(3000, 200), arm, rng)
    found = study.measured(made, study.Config(draws=30), rng, turned=True)
    assert found["class"] == kind
    if arm in (study.ONE, study.MIXED, study.EVEN):
        assert found["best"] == found["looks like"]
        assert found["lost"] > 0.2  # nowhere else
        assert found["over random"] > 0.2
    if arm == study.MIXED:
        assert found["fall"] > 0.2
    if arm in (study.ONE, study.EVEN):
        assert abs(found["fall"]) < 0.1
    if arm == study.ALL:
        assert found["lost"] < 0.01
        assert abs(found["random neuron"] - 0.55) < 0.08


def test_a_probe_of_nothing_reads_nothing_and_one_of_something_does():
    sample = noise()
    assert study.area(sample, study.dense(sample)) == pytest.approx(0.5, abs=0.1)
    assert study.chance(sample, np.random.default_rng(0)) < 0.65
    lifted = study.replace(sample, h=sample.h + 0.3 * sample.truth[:, None])
    assert study.area(lifted, study.dense(lifted)) > 0.9
    low, high = study.bootstrap(
        lifted.h[:, 0], lifted.h[:, 1], sample.truth, sample.document, 50, np.random.default_rng(0)
    )  # fmt: skip
    assert low < 0 < high


def test_a_neuron_looks_like_the_rarest_concept_that_holds_its_top():
    rng = np.random.default_rng(0)
    n = 4000
    rare, wide, other = np.zeros((3, n), dtype=bool)
    rare[:80] = wide[:800] = True
    other[1000:1200] = True
    values = rng.random((n, 3))
    values[:60, 0] += 2
    values[300:500, 1] += 2
    known = [Concept("wide", wide), Concept("rare", rare), Concept("other", other)]
    alike = study.looking_alike(values, known, np.arange(n))
    assert {(one.name, neuron) for one, neuron in alike} == {("rare", 0), ("wide", 1)}


def test_every_sentence_fits():
    each = pd.DataFrame({"class": [*study.CLASSES, "more", "more", "more", "more"]})
    for verdicts in itertools.product((True, False), repeat=2):
        study.in_short(dict(zip(("flattered", "elsewhere"), verdicts, strict=True)), each)


def test_a_tiny_run(tmp_path):
    options = {"rows": 24, "features": 2, "planted": 2, "tokens": 120, "others": 500, "draws": 5}
    found = studies.get("4.36").run(out=tmp_path, **options)
    assert {claim.estimate.n for claim in found.claims} == {3}
    by = {claim.id: claim for claim in found.claims}
    for name in ("short", "elsewhere", "privileged-deep"):
        assert by[name].plant.estimate.against(by[name].rule) == "inside", name
    each = found.tables["features"]
    real = each[each.arm.isin([study.TRAINED, study.DEEP])]
    assert len(real.model.unique()) == 6
    assert set(real["class"]) <= set(study.CLASSES)
    assert (real["probe"] > 0.8).mean() > 0.8
    assert len(found.answer.split()) <= 30
