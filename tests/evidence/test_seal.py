"""The ledger: append-only, badges computed from it, recorded studies sealed. Every softening must show."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from superscope import store, studies
from superscope.evidence import findings, records, seal
from superscope.evidence.expect import Check, Expect
from superscope.evidence.seal import Line

ROW = Expect("c", "It is large", "size", ">= 1", "trained", "shuffled", "planted", "why")
CHECK = Check("it is there", "size", "> 0", "trained")


def line(event: str, *rows: Expect, gate: tuple[Check, ...] = (CHECK,), problem: str = "4.99", **more) -> Line:
    return Line(problem, event, "a reason", seal.digest(rows, gate), seal.rows(rows), seal.checks(gate), **more)


def document(*rows: Expect, gate: tuple[Check, ...] = (CHECK,), sealed: bool = True) -> dict:
    claims = [
        {"id": r.id, "rule": {"text": r.rule}, "column": r.column, "of": r.of, "null": {"name": r.null},
         "plant": {"name": r.plant} if r.plant else None}
        for r in rows
    ]  # fmt: skip
    return {"problem": "4.99", "seal": seal.digest(rows, gate) if sealed else "", "claims": claims}


def badge(lines: list[Line], *rows: Expect, **more) -> str:
    rows = rows or (ROW,)
    return seal.badges(document(*rows, **more), lines)[rows[-1].id]


def test_fixed_beforehand_and_after():
    other = replace(ROW, id="d")
    assert badge([]) == "not sealed"
    assert badge([line("sealed", ROW)]) == "fixed beforehand"
    assert badge([line("sealed", ROW), line("recorded", ROW)]) == "fixed beforehand"
    late = [line("sealed", ROW), line("recorded", ROW), line("sealed", ROW, other)]
    assert badge(late, ROW, other) == "added after results"
    assert badge(late) == "fixed beforehand"  # the findings of before are what they were
    assert badge([line("sealed", ROW, problem="4.98")]) == "not sealed"


def test_being_recorded_fixes_nothing():
    assert badge([line("recorded", ROW)]) == "not sealed"
    other = replace(ROW, id="d")
    assert badge([line("sealed", ROW), line("recorded", ROW, other)], ROW, other) == "not sealed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rule": ">= 0.5"}, "rule was >= 1"), ({"null": "gaussian"}, "null was shuffled"),
        ({"plant": "weak"}, "plant was planted"),
        ({"stat": "median"}, "stat was mean"), ({"unit": "models"}, "unit was seeds"), ({"column": "girth"}, "column was size"),
        ({"of": "best"}, "of was trained"),
    ],
)  # fmt: skip
def test_every_field_that_decides_shows_when_it_changes(change, said):
    softer = replace(ROW, **change)
    assert (
        badge([line("sealed", ROW), line("recorded", ROW), line("sealed", softer)], softer) == f"changed after results ({said})"
    )
    assert badge([line("sealed", ROW), line("sealed", softer)], softer) == f"changed before it was recorded ({said})"
    assert badge([line("sealed", ROW)], softer) == "not sealed"  # changed and never written down


def test_words_are_no_change():
    said = replace(ROW, statement="It is very large", why="because", note="n", rule=" >=  1.0")
    assert badge([line("sealed", ROW), line("recorded", ROW), line("sealed", said)], said) == "fixed beforehand"


def test_a_gate_that_is_softened_shows():
    softer = replace(CHECK, rule="> -1")
    lines = [line("sealed", ROW), line("recorded", ROW), line("sealed", ROW, gate=(softer,))]
    assert "rule was > 0" in seal.badges(document(ROW, gate=(softer,)), lines)[""]
    assert seal.badges(document(ROW), lines)[""] == "fixed beforehand"
    dropped = [line("sealed", ROW, gate=(CHECK, replace(CHECK, column="girth"))), line("recorded", ROW), line("sealed", ROW)]
    assert "a condition was dropped" in seal.badges(document(ROW), dropped)[""]


def test_what_was_recorded_before_there_was_a_ledger():
    began = Line(
        "4.99", "began", "r", rows={"c": {"rule": ">= 1"}, "d": {"rule": "> 0"}}, declared={"d": "added after results"}
    )
    old = document(ROW, replace(ROW, id="d", rule="> 0"), sealed=False)
    found = seal.badges(old, [began, line("sealed", ROW)])
    assert found["c"] == "fixed beforehand, by the page's own account"
    assert found["d"] == "added after results"
    moved = replace(ROW, rule=">= 0.5")
    assert badge([began, line("sealed", moved)], moved) == "changed after results (rule was >= 1)"
    late = replace(ROW, id="d", rule="> -1")
    assert badge([began, line("sealed", late)], late).startswith("added after results; changed after results")


def test_a_row_that_is_dropped_is_listed():
    gone = Line("4.99", "withdrawn", "it was refuted", rows=seal.rows([ROW]))
    assert seal.withdrawn("4.99", [line("sealed", ROW), gone]) == [("c", "it was refuted")]


def test_every_word_of_a_row_and_of_the_gate_is_in_the_seal():
    plain = seal.digest([ROW], [CHECK])
    changes = {"rule": ">= 2", "plant": "other", "why": "x", "stat": "median", "note": "n", "constant": "c"}
    changed = [seal.digest([replace(ROW, **{name: value})], [CHECK]) for name, value in changes.items()]
    assert len({plain, *changed, seal.digest([ROW], [replace(CHECK, rule="> 1")]), seal.digest([ROW])}) == len(changed) + 3


def test_lines_are_only_ever_added(tmp_path):
    seal.append(line("sealed", ROW), tmp_path)
    first = seal.path(tmp_path).read_bytes()
    seal.append(line("recorded", ROW), tmp_path)
    assert seal.path(tmp_path).read_bytes().startswith(first)
    assert [one.event for one in seal.read(tmp_path)] == ["sealed", "recorded"]
    assert badge(seal.read(tmp_path)) == "fixed beforehand"  # what JSON does to a row changes nothing
    with pytest.raises(ValueError, match="needs a reason"):
        seal.append(replace(line("sealed", ROW), reason=" "), tmp_path)


def test_a_damaged_ledger_is_named(tmp_path):
    seal.append(line("sealed", ROW), tmp_path)
    with seal.path(tmp_path).open("a") as file:
        file.write(json.dumps({"problem": "4.7"}) + "\n")
    with pytest.raises(store.StoreError, match="line 2 of"):
        seal.read(tmp_path)


RECORDED = [number for number in studies.built() if records.finished_runs(number, store.shipped("results"))]


@pytest.mark.parametrize("number", RECORDED)
def test_recorded_studies_have_a_line_for_the_rows_they_have_now(number):
    study = studies.get(number)
    if study.expected:
        assert not seal.unsealed(number, study.expected, study.gate, seal.read())
    recorded = findings.read(records.finished_runs(number, store.shipped("results"))[0])
    found = seal.badges(recorded, seal.read())
    assert "not sealed" not in {name: said for name, said in found.items() if name}.values(), found
