"""The ledger: append-only, badges computed from it, recorded studies sealed."""

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


def claims(*rows: Expect) -> list[dict]:
    return [
        {
            "id": r.id,
            "rule": {"text": r.rule},
            "column": r.column,
            "of": r.of,
            "null": {"name": r.null},
            "plant": {"name": r.plant},
        }
        for r in rows
    ]


def line(event: str, *rows: Expect, problem: str = "4.99", **more) -> Line:
    return Line(problem, event, "a reason", seal.digest(rows), seal.rows(rows), **more)


def badge(lines: list[Line], row: Expect = ROW) -> str:
    return seal.badges("4.99", claims(row), lines)[row.id]


def test_fixed_beforehand_and_after():
    other = replace(ROW, id="d")
    assert badge([]) == "not sealed"
    assert badge([line("sealed", ROW)]) == "fixed beforehand"
    assert badge([line("sealed", ROW), line("recorded", ROW)]) == "fixed beforehand"
    late = [line("sealed", ROW), line("recorded", ROW), line("sealed", ROW, other)]
    assert badge(late, other) == "added after results"
    assert badge(late) == "fixed beforehand"
    assert badge([line("sealed", ROW, problem="4.98")]) == "not sealed"


def test_a_rule_that_moves_says_so_for_ever():
    softer = replace(ROW, rule=">= 0.5")
    before = [line("sealed", ROW), line("sealed", softer)]
    assert badge(before, softer) == "fixed beforehand"  # nothing had been recorded: explored, then fixed
    after = [line("recorded", ROW), line("sealed", softer)]
    assert badge(after, softer) == "rule changed after results (was size >= 1)"
    assert badge([*after, line("recorded", softer)], softer) == "rule changed after results (was size >= 1)"
    assert badge([line("recorded", ROW)], softer) == "rule changed after results (was size >= 1)"  # and no line at all


def test_a_plant_added_later_is_no_change_of_the_rule():
    older = {"c": {"rule": ">= 1", "column": "", "of": "", "null": "untrained", "plant": ""}}
    lines = [Line("4.99", "recorded", "r", rows=older), line("sealed", ROW)]
    assert badge(lines) == "fixed beforehand"


def test_what_was_declared_when_the_ledger_began_stands():
    assert badge([line("recorded", ROW, declared={"c": "added after results"}), line("sealed", ROW)]) == "added after results"


def test_every_word_of_a_row_and_of_the_gate_is_in_the_seal():
    plain = seal.digest([ROW], [CHECK])
    changed = [
        seal.digest([replace(ROW, **{name: value})], [CHECK])
        for name, value in {
            "rule": ">= 2",
            "plant": "other",
            "why": "x",
            "stat": "median",
            "note": "n",
            "constant": "c",
        }.items()
    ]
    assert len({plain, *changed, seal.digest([ROW], [replace(CHECK, rule="> 1")]), seal.digest([ROW])}) == len(changed) + 3


def test_lines_are_only_ever_added(tmp_path):
    seal.append(line("sealed", ROW), tmp_path)
    first = seal.path(tmp_path).read_bytes()
    seal.append(line("recorded", ROW), tmp_path)
    assert seal.path(tmp_path).read_bytes().startswith(first)
    assert [one.event for one in seal.read(tmp_path)] == ["sealed", "recorded"]
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
    document = findings.read(records.finished_runs(number, store.shipped("results"))[0])
    found = seal.badges(number, document["claims"], seal.read())
    assert "not sealed" not in found.values(), found
