"""The template of CONTRIBUTING: copied under a number outside the catalogue it is found, runs and is judged."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from superscope import measure, studies
from superscope.evidence import seal
from superscope.studies import template
from superscope.study import Study

QUICK = {"seeds": 6, "steps": 500}


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The template as a study of its own: what CONTRIBUTING says to do, in a folder that the package looks into too."""
    shutil.copy(Path(template.__file__), tmp_path / "p4_99_my_question.py")
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(tmp_path)])
    yield studies.get("4.99")
    sys.modules.pop("superscope.studies.p4_99_my_question", None)


def test_the_file_name_is_all_it_takes(copied):
    problem = studies.find("my-question")
    assert (problem.number, problem.title, problem.question) == ("4.99", template.TITLE, template.QUESTION)
    assert problem.tips
    assert "4.99" in studies.built()


def test_contract_on_a_small_run(copied, tmp_path):
    found = copied.run(out=tmp_path / "runs", quiet=True, **QUICK)
    (claim,) = found.claims
    assert (claim.verdict, claim.plant.name) == ("supported", "packed by hand - ReLU, dense")
    assert found.seal == copied.seal == seal.digest(template.EXPECTED, template.GATE)
    assert found.answer.startswith("Five dimensions hold")


def test_the_gate_fails_when_nothing_is_learned(tmp_path):
    study = Study.from_module(template)
    found = study.run(out=tmp_path, quiet=True, seeds=6, steps=0)
    assert found.verdict == "gate failed"
    assert found.gate.failed


def test_the_plant_is_seen_and_the_null_is_not(tmp_path):
    class Lab:
        def rng(self, name):
            import numpy as np

            return np.random.default_rng(0)

        def seeds(self, count):
            return range(count)

    planted = template.packed_by_hand(template.Config(seeds=4), Lab())
    assert (planted["count"] == template.FEATURES).all()
    linear = measure.features_represented([[1.0, 0.0, 0.1], [0.0, 1.0, 0.1]])
    assert linear == 2


def test_too_few_seeds_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match=r"seeds=1: 4\.99 needs at least 2"):
        Study.from_module(template).run(out=tmp_path, quiet=True, seeds=1)
    assert not list(tmp_path.iterdir())
