"""4.29: a tiny run on the bundled models; planted neurons are seen, and the answer fits for every verdict."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from superscope import lms
from superscope.lab import Lab
from superscope.lms.reading import polysemous
from superscope.studies import p4_29_disambiguation as study

VERDICTS = ("supported", "refuted", "undecided")


MODELS = ("one", "two", "three")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The arms of one model, on little text."""
    config = study.Config(rows=100, tried=100, contexts=24, draws=1, planted=6, control_rows=30)
    lab = Lab(0, "quick", tmp_path_factory.mktemp("lab"))
    return pd.DataFrame(study.examine(lms.load("gelu-1l-mini"), config, lab))


@pytest.fixture(scope="module")
def found(table):
    """The study, where three models come out like that one."""
    copies = pd.concat([table.assign(model=name) for name in MODELS], ignore_index=True)
    return study.run(study.Config(), SimpleNamespace(models=lambda *_: copies))


def test_planted_neurons_and_nulls_come_out_as_they_must(table):
    arms = table.set_index("arm")
    trained, opposed, alone = (arms.loc[name] for name in (study.TRAINED, study.OPPOSED, study.ALONE))
    assert max(trained.residue, opposed.residue) < 1e-4
    assert sum(trained[f"by {part}"] for part in study.telling.PARTS) == pytest.approx(1, abs=1e-3)
    assert opposed.found > 0.6
    assert opposed.answered > 0.5 > alone.answered
    assert opposed.left < 0.5 < alone.left
    assert arms.loc[study.LOUD_ALONE].push > 2 * alone.push
    assert arms.loc[study.RANGED].overlap < 0.3
    assert arms.loc[study.LABELS].overlap > 0.8
    assert arms.loc[study.HALVED].distinct == 0
    assert abs(arms.loc[study.WITHIN].lost) < 0.15
    assert arms.loc["initial weights"].neurons < trained.neurons / 3


def test_findings(found, table):
    assert len(found.claims) == len(study.EXPECTED)
    assert {figure.name for figure in found.figures} == {"gap", "rise"}
    assert len(found.answer.split()) <= 30
    assert found.tables["fourfold"].neurons.sum() == len(found.tables["neurons"]) == 3 * table.iloc[0].several
    assert set(found.tables["counts"].arm) == {study.TRAINED, *study.CONTROLS.values()}


def test_too_few_neurons_fail_the_gate(table):
    copies = pd.concat([table.assign(model=name) for name in MODELS], ignore_index=True)
    copies.loc[copies.arm == study.TRAINED, "neurons"] = 9
    assert not study.gate(copies, study.GATE).passed


@pytest.mark.parametrize("verdicts", list(itertools.product(VERDICTS, repeat=4)))
def test_the_answer_is_short_whatever_comes_out(verdicts):
    trained = pd.DataFrame({"others": [0.5123, 0.61], "push": [0.0921, 0.1]})
    names = ("neurons", "exchange", "answered", "ranges")
    said = study.in_short({"opposers": "supported", **dict(zip(names, verdicts, strict=True))}, trained)
    assert ("mostly other neurons (" in said) == (verdicts[:2] != ("supported", "supported")) or "not mostly" not in said


def test_the_answer_behind_a_failed_gate():
    verdicts = dict.fromkeys(("opposers", "neurons", "exchange", "answered", "ranges"), "gate failed")
    assert study.in_short(verdicts, pd.DataFrame({"others": [np.nan], "push": [np.nan]})).startswith("No answer")


def test_a_sense_in_the_other_half_leaves_out_the_tokens_of_senses_before_it():
    first, second = np.array([1, 1, 0, 0, 0], bool), np.array([0, 1, 1, 0, 0], bool)
    there = SimpleNamespace(site=SimpleNamespace(place=np.arange(5)), concepts={"a": first, "b": second})
    one, other = polysemous.retold(there, ["a", "b", "gone"], (0, 1))
    assert one.tolist() == [0, 1]
    assert other.tolist() == [2]
    assert polysemous.retold(there, ["a", "gone"], (0, 1))[1].tolist() == []


def test_forms_of_one_word_are_no_polysemy():
    rng = np.random.default_rng(0)
    form = np.repeat([3, 3, 8], 400)  # the first two are forms of one word
    following = np.concatenate([rng.integers(0, 40, 400), rng.integers(50, 90, 800)])
    here = SimpleNamespace(form=form, following=following)
    parts = np.split(np.arange(1200), 3)
    words, meaning = polysemous.alike(here, parts[0], parts[1], rng)
    assert words > 0.9
    assert meaning < 0.1
    assert max(polysemous.alike(here, parts[1], parts[2], rng)) > 0.9  # other words, same meaning
    assert max(polysemous.alike(here, parts[0], parts[2], rng)) < 0.1
    seen = pd.DataFrame({"same words": [words, 0.1], "same meaning": [meaning, 0.2]})
    assert polysemous.distinct(seen) == 0.5
    assert np.isnan(polysemous.distinct(seen[:0]))
