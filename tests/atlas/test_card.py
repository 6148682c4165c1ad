"""Cards, citations and drawings of findings that are not like the others."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from superscope.atlas import card, cite, drawings, source, view
from superscope.evidence import stats
from superscope.evidence.claim import Arm

BADGE = "fixed beforehand"


def claim(null=(0.0, 0.1, 0.05), rule=">= 0.5", values=(0.9, 1.0, 1.1), plant=(0.8, 0.9, 1.0)):
    arms = [Arm(name, stats.estimate(list(some))) for name, some in (("n", null), ("p", plant))]
    return stats.claim("c", "s", stats.estimate(list(values)), rule, arms[0], plant=arms[1]).to_dict()


def document(*claims, passed=True, **config):
    gate = {"statement": "It is there.", "passed": passed, "measured": {}, "failed": [] if passed else ["a probe reads it"]}
    return {"claims": list(claims), "gate": gate, "answer": "Yes.", "summary": "", "config": config, "preset": "quick",
            "question": "Is it?"}  # fmt: skip


def made(found):
    return card.of(found, {one["id"]: BADGE for one in found["claims"]}, None)


def test_a_control_that_was_not_measured_is_not_counted():
    assert card.null_fails(claim())
    assert card.plant_passes(claim())
    for rule in (">= 0.5", "excludes 0"):
        assert not card.null_fails(claim(null=(math.nan, math.nan, math.nan), rule=rule))
    assert not card.plant_passes(claim(plant=(math.nan, math.nan, math.nan), rule="excludes 0"))
    assert "in 0 of 1 claim and seen where it was planted in 1 of 1" in made(document(claim(null=(math.nan,) * 3))).control


def test_findings_without_claims_have_a_card_and_a_state_of_their_own():
    found = made(document())
    assert found.control == "No claim was made, so there was nothing to control."
    assert all(found.short)
    problem = SimpleNamespace(family="toy", slug="it", number="4.7", title="It")
    context = {"chips": [], "card": found, "document": {"title": "It"}}
    assert view.index_row(problem, context)["state"] == ["no claims"]
    assert view.counts([view.index_row(problem, context)]) == {"no claims": 1}


def test_the_condition_that_was_not_met_does_not_read_as_met():
    assert made(document(claim(), passed=False)).answer == "Not answered: the gate failed. Not met: a probe reads it."


def test_a_gate_that_fresh_seeds_pass_is_not_called_a_failure_to_replicate():
    verdicts = {"a": ["refuted", "gate failed", "supported"], "b": ["undecided", "gate failed", "not made"]}
    claims = {name: {"verdict": "gate failed", "verdicts": some, "held": 1, "of": 3} for name, some in verdicts.items()}
    found = card.of(document(claim(), passed=False), {"c": BADGE}, {"seeds": [1, 2, 3], "claims": claims})
    assert found.replicated == "On 3 fresh seeds the gate passed 2 times."
    assert found.short[-1] == "gate passed on 2/3 fresh seeds"


@pytest.mark.parametrize(("model", "shown"), [("m", " (m);"), (["m", "n"], " (m, n);"), ([], "3 models;"), (None, "3 models;")])
def test_models_are_named(model, shown):
    one = claim()
    one["estimate"]["unit"] = "models"
    assert shown in made(document(one, model=model)).sure


def test_tables_that_are_called_retractions_but_are_none_are_left_alone():
    rows = {"name": "retractions", "columns": list(cite.COLUMNS), "rows": [["a", "supported", "it was noise"]]}
    other = {"name": "retractions", "columns": ["x", "y"], "rows": [[1, 2]]}
    found = {"4.7": {"title": "T", "tables": [rows, other]}}
    assert [row["why"] for row in cite.retractions(found, [])] == ["it was noise"]


def test_titles_survive_tex():
    found = {"finished": "2026-01-01", "problem": "4.3", "versions": {}, "preset": "quick", "seed": 0, "checksum": "0" * 64,
             "title": r"x^2 & {~\\"}  # fmt: skip
    entry = cite.bibtex(found, "4.3.html")
    assert r"x\textasciicircum{}2 \& \{\textasciitilde{}\textbackslash{}" in entry


def test_lines_are_those_of_python():
    text = 'a = "\x0c"\n\x0cb = "\u2028"  # c\n'
    lines = source.File("p.py", text).lines()
    assert len(lines) == 2
    assert lines[1].endswith('<span class="com"># c</span>')


def test_drawings_say_no_more_than_is_known():
    assert "2 layers" in drawings.of("4.31", {"model": "gelu-2l-mini"})
    assert "1 layer;" in drawings.of("4.31", {})
    assert drawings.of("4.31", {"model": "gpt2"}) == ""
    assert "inf" not in drawings.of("4.7", {"n_features": math.inf, "n_hidden": 3})


@pytest.mark.parametrize(("problem", "name"), [("4.42", "gelu-1l-wide100"), ("4.43", "t5/x64")])
def test_drawings_have_the_sizes_of_the_models_that_are_studied(problem, name):
    from superscope import store

    config = store.read_json(store.shipped("models") / name / "config.json")
    config = config.get("shape", config)
    wide = config.get("d_mlp") or config["d_ff"]
    assert f"{config['d_model']} stream, then {wide} neurons" in drawings.of(problem, {})


def test_the_closest_call_is_the_decided_claim_nearest_to_an_edge():
    nearer = {**claim(values=(0.52, 0.55, 0.6)), "id": "d", "statement": "near"}
    across = {**claim(values=(0.4, 0.5, 0.6)), "id": "e"}
    found = document(claim(), nearer, across)
    assert made(found).closest.startswith("1 claim undecided; the closest of the others: near: 0.5")
    assert "against >= 0.5, supported" in made(found).closest
    assert made(document()).closest == ""
    assert made(document(claim(), passed=False)).closest == ""
