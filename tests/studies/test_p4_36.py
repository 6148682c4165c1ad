"""4.36: readers and curves by hand, planted features of every kind, one tiny run, and every sentence fits."""

import itertools

import numpy as np
import pandas as pd
import pytest

from superscope import studies
from superscope.lms.reading.planted import Concept
from superscope.measure.activations import probe_battery
from superscope.measure.activations.probes import auc
from superscope.studies import p4_36_probe_or_neuron as study


def noise(n: int = 1500, d: int = 60, seed: int = 0, rate: float = 0.05) -> study.Sample:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.25
    document, token = np.repeat(np.arange(n // 30), 30), rng.integers(9, size=n)
    parts = probe_battery.split_documents(document, truth)
    return study.Sample(
        "made up", rng.standard_normal((n, d)).astype(np.float32), truth, document, token, parts, np.zeros(n, dtype=bool),
        study.by_token(token, truth, ~parts.judge), rate, 0, rng.standard_normal(30_000), rng.random(30_000) < rate,
    )  # fmt: skip


def test_ranges_by_hand():
    scores, truth = np.array([4.0, 3.0, 3.0, 1.0]), np.array([True, True, False, False])
    recall, precision, f1 = study.ranges(scores, truth, 0.5)
    assert recall == pytest.approx([0.5, 1, 1])
    assert precision == pytest.approx([1, 2 / 3, 0.5])  # equal scores are one threshold
    assert f1 == pytest.approx([2 / 3, 0.8, 2 / 3])
    assert study.ranges(scores, truth, 0.01)[1][1] == pytest.approx(0.01 / (0.01 + 0.99 / 2))  # rarer in the text
    assert study.recall_at((recall, precision, f1), 0.6) == 1
    assert study.recall_at((recall, precision, f1), 1.1) == 0
    assert study.f1_of(0.5, 0.1, 0.2) == pytest.approx(2 * 0.1 / (0.1 + 0.08 + 0.2))  # found, false, true


def test_a_token_reader_learns_from_the_fitting_documents_alone():
    token = np.random.default_rng(0).integers(9, size=1500)
    by = study.by_token(token, token < 3, np.arange(1500) < 900)
    assert by[token < 3].min() > 0.9
    assert by[token >= 3].max() < 0.1


@pytest.mark.parametrize(
    ("arm", "kind"),
    [
        (study.ONE, "one neuron"),
        (study.FIVE, "two to ten"),
        (study.ALL, "more"),
        (study.TWINS, "two to ten"),
        (study.UNDER, "two to ten"),
        (study.HALF, None),
    ],
)
def test_planted_features_get_their_class(arm, kind):
    rng = np.random.default_rng(1)
    made = study.plant(noise(3000, 200), arm, rng)
    found = study.measured(made, study.Config(draws=30), rng, ("ten", "without", "turned"))
    if kind:
        assert found["class"] == kind
    if arm == study.ONE:
        assert found["same"]
        assert abs(found["short of that"]) < 0.01
        assert found["lost"] > 0.2  # nowhere else
        assert found["over random"] > 0.2
    if arm == study.HALF:
        assert found["short of that"] > 0.1
        assert not found["same"]
    if arm in (study.TWINS, study.UNDER):
        assert found["ten"] > 0.98
    if arm == study.ALL:
        assert found["lost"] < 0.01
        assert found["random neuron"] == pytest.approx(0.55, abs=0.08)


@pytest.mark.parametrize("rate", [0.004, 0.02, 0.08])
def test_precision_falls_beyond_noise_where_the_middle_is_shared(rate):
    found: dict[str, list[tuple[float, float]]] = {study.NOISY: [], study.MIXED: [], study.ONE: []}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        truth = rng.random(60_000) < rate
        for arm, falls in found.items():
            falls.append(study.fall(study.fired(truth, rate, arm, rng), truth))
    fell, beyond = (dict(zip(found, np.mean(list(found.values()), axis=1)[:, i], strict=True)) for i in (0, 1))
    assert fell[study.NOISY] > 0.1  # noise alone makes it fall
    assert abs(beyond[study.NOISY]) < 0.08
    assert abs(beyond[study.ONE]) < 0.08
    assert beyond[study.MIXED] > 0.2


def test_rare_features_need_many_negatives():
    sample = noise(rate=0.05)
    count = (sample.parts.judge & ~sample.truth).sum()
    assert study.resolved(sample)
    assert study.resolved(study.replace(sample, rate=12.1 / count))  # three false alarms at a quarter of the rate
    rare = study.replace(sample, rate=11.9 / count)
    assert not study.resolved(rare)
    assert np.isnan(study.measured(rare, study.Config(), np.random.default_rng(0), ())["found"])


def test_a_probe_of_nothing_reads_nothing_and_one_of_something_does():
    sample = noise()
    assert study.area(sample, study.dense(sample)) == pytest.approx(0.5, abs=0.1)
    assert study.chance(sample, np.random.default_rng(0)) < 0.65
    assert study.nothing_read(sample, np.random.default_rng(0)) == pytest.approx(0.5, abs=0.12)
    lifted = study.replace(sample, h=sample.h + np.float32(0.3) * sample.truth[:, None])
    assert study.area(lifted, study.dense(lifted)) > 0.9


def test_the_bootstrap_is_that_of_documents_drawn_again():
    sample, rng = noise(), np.random.default_rng(0)
    one, other = np.round(sample.h[:, 0] + sample.truth), sample.h[:, 1]  # with ties
    found = study.bootstrap(one, other, sample.truth, sample.document, 50, rng)
    rng, slow = np.random.default_rng(0), []
    names = np.unique(sample.document)
    for _ in range(50):
        rows = np.concatenate([np.flatnonzero(sample.document == i) for i in rng.integers(len(names), size=len(names))])
        slow.append(np.subtract(*auc(np.column_stack([one, other])[rows], sample.truth[rows][:, None].repeat(2, axis=1))))
    assert found == pytest.approx(tuple(np.quantile(slow, (0.05, 0.95))))


def test_f1_is_that_at_the_rate_in_the_text():
    sample, rng = noise(6000), np.random.default_rng(5)
    alarms = ~sample.truth & (rng.random(6000) < 0.05)
    units = np.column_stack([sample.truth | alarms, rng.random((6000, 3)) < 0.1]).astype(float)
    assert study.best_f1(sample, units) == pytest.approx(2 * 0.05 / (0.05 + 0.95 * 0.05 + 0.05), abs=0.06)
    assert study.best_f1(study.replace(sample, rate=0.5), units) > 0.95


def test_labels_of_types_and_labels_that_are_no_tokens():
    sample, rng = noise(rate=0.05), np.random.default_rng(0)
    made = study.untyped(sample, rng)
    assert made.sum() == sample.marked.sum()
    assert (made & sample.marked).sum() == pytest.approx(0.8 * sample.marked.sum(), abs=1)


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


@pytest.mark.parametrize("settled", [0, 1, 3])
def test_every_sentence_fits_and_counts_the_settled_alone(settled):
    each = pd.DataFrame({"class": [*study.CLASSES, "more", "more"], "settled": [i < settled for i in range(5)]})
    for verdicts in itertools.product(("supported", "refuted", "undecided"), repeat=2):
        said = study.in_short(dict(zip(("that", "elsewhere"), verdicts, strict=True)), each)
        assert ("100 %" in said) == (settled == 1)
        assert ("33 %" in said) == (settled == 3)


def test_a_tiny_run(tmp_path):
    options = {"rows": 24, "features": 1, "planted": 1, "tokens": 120, "others": 400, "spare": 100, "judged": 800, "draws": 2}
    found = studies.get("4.36").run(out=tmp_path, **options)
    assert {claim.estimate.n for claim in found.claims} == {3}
    by = {claim.id: claim for claim in found.claims}
    for name in ("that", "short", "elsewhere", "privileged-deep"):
        assert by[name].plant.estimate.against(by[name].rule) == "inside", name
    each = found.tables["features"]
    real = each[each.arm.isin([study.TRAINED, study.DEEP])]
    assert len(real.model.unique()) == 6
    assert set(real["class"]) <= set(study.CLASSES)
    assert (real["probe"] > 0.8).mean() > 0.8
    assert len(found.answer.split()) <= 30
