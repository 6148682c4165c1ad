"""4.30: a tiny run on the bundled models; planted gates are seen, controls are not, and the answer fits for every verdict."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from superscope import lms
from superscope.lab import Lab
from superscope.studies import p4_30_two_layer_disambiguation as study

VERDICTS = ("supported", "refuted", "undecided")
MODELS = ("one", "two", "three")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The arms of one model, on little text."""
    config = study.Config(rows=90, tried=70, contexts=10, neurons=3, draws=1, planted=4, control_rows=15)
    lab = Lab(0, "quick", tmp_path_factory.mktemp("lab"))
    return pd.DataFrame(study.examine(lms.load("gelu-2l-mini"), config, lab))


@pytest.fixture(scope="module")
def found(table):
    """The study, where three models come out like that one."""
    copies = pd.concat([table.assign(model=name, name="gelu-2l-mini") for name in MODELS], ignore_index=True)
    return study.run(study.Config(), SimpleNamespace(models=lambda *_: copies))


def test_planted_gates_and_controls_come_out_as_they_must(table):
    arms = table.set_index("arm")
    gated, alone, equal = (arms.loc[name] for name in (study.GATED, study.ALONE, study.EQUAL))
    assert gated.found > 0.7
    assert gated.explained > 0.85 > gated["explained dealt"]
    assert gated["mediated"] > 0.5 > alone["mediated"]
    assert gated["index"] > 0.5 > equal["index"]
    assert gated["index"] > alone["index"] + 0.4
    assert gated.few > 0.45 > alone.few
    assert gated.gate > 0.75
    assert gated.rise > 2 > gated["rise alike"]
    assert gated.kept > 0.9 > gated["kept alike"]
    assert gated["index by neurons"] > 0.7 * gated["index"]
    assert sum(gated[f"index by {part}"] for part in ("direct", "heads", "neurons")) == pytest.approx(gated["index"], abs=0.3)


def test_findings(found):
    assert len(found.claims) == len(study.EXPECTED)
    assert {figure.name for figure in found.figures} == {"paths", "cuts"}
    assert len(found.answer.split()) <= 30
    assert set(found.tables["counts"].arm) == {study.TRAINED, *study.CONTROLS.values()}
    assert set(found.tables["neurons"].model) == set(MODELS)
    assert len(found.tables["mediators"]) == 5 * len(found.tables["neurons"])


def test_too_few_neurons_or_a_planted_control_that_is_taken_for_gates_fail_the_gate(table):
    copies = pd.concat([table.assign(model=name) for name in MODELS], ignore_index=True)
    copies.loc[copies.arm == study.TRAINED, "neurons"] = 9
    assert not study.gate(copies, study.GATE).passed
    copies.loc[copies.arm == study.TRAINED, "neurons"] = 12
    copies.loc[copies.arm == study.LABELS, "index"] = 0.0
    copies.loc[copies.arm == study.EQUAL, "index"] = 0.45
    assert not study.gate(copies, study.GATE).passed


@pytest.mark.parametrize("verdicts", list(itertools.product(VERDICTS, repeat=3)))
def test_the_answer_is_short_whatever_comes_out(verdicts):
    trained = pd.DataFrame({"mediated": [0.5123, 0.61], "index": [-0.0921, 0.1]})
    said = study.in_short(dict(zip(("disambiguated", "few", "gates"), verdicts, strict=True)), trained)
    assert ("through few mediators" in said) == (verdicts[1] == "supported")


def test_the_answer_behind_a_failed_gate():
    verdicts = dict.fromkeys(("disambiguated", "few", "gates"), "gate failed")
    assert study.in_short(verdicts, pd.DataFrame({"mediated": [np.nan], "index": [np.nan]})).startswith("No answer")


def test_shares_and_ratios():
    assert study.share([(1.0, 3.0), (0.0, 1.0)]) == 0.8
    assert study.ratio([(0.0, 1.0), (0.5, 1.0)]) == 0.75
    assert np.isnan(study.ratio([]))
    assert np.isnan(study.share([]))


def test_permuted_senses_keep_every_context():
    one, other = np.arange(5), np.arange(5, 12)
    way = study.Way(None, 0, (one, other), (one, other), np.arange(3), 1.0)
    mixed = study.permuted(way, np.random.default_rng(0))
    assert sorted(np.concatenate(mixed.tried)) == list(range(12))
    assert len(mixed.chosen[0]) == 5
    assert set(mixed.chosen[0]) != set(one)
