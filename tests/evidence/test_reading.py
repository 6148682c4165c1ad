"""Findings that were tampered with and sealed again: every read path refuses them, none follows them out of their folder."""

from __future__ import annotations

import json
import os

import jsonschema
import pytest

from superscope import store
from superscope.evidence import findings, records, schema
from superscope.study import Findings


@pytest.fixture
def run(fake, tmp_path):
    return fake.run(out=tmp_path).folder


def reseal(folder, change) -> None:
    path = folder / records.FINDINGS
    document = json.loads(path.read_text())
    changed = change(document)
    document = document if changed is None else changed
    path.write_text(json.dumps(store.seal(document) if isinstance(document, dict) else document))


def named(kind: str, name: str, file: str):
    def change(document) -> None:
        document[kind][0] |= {"name": name, "file": file}

    return change


def put(*where, value):
    def change(document) -> None:
        for step in where[:-1]:
            document = document[step]
        document[where[-1]] = value

    return change


TAMPERED = [
    ("a verdict typed in", put("claims", 1, "verdict", value="supported"), "contradict"),
    ("a verdict weakened", put("claims", 0, "verdict", value="gate failed"), "contradict"),
    ("the verdict of all", put("verdict", value="9 supported"), "contradict"),
    ("a gate that did not pass", put("gate", "passed", value=False), "contradict"),
    ("a rule bent", put("claims", 0, "rule", "text", value=">= banana"), "contradict"),
    ("a verdict of no kind", put("claims", 0, "verdict", value="proven"), "verdict"),
    ("a table up the tree", named("tables", "../../../x", "tables/../../../x.parquet"), "name"),
    ("a figure up the tree", named("figures", "x", "../../../../etc/hostname"), "file"),
    ("a file of another name", named("figures", "x", "figures/y.json"), "figures/y.json"),
    ("a name with a line break", named("figures", "x\n", "figures/x\n.json"), "name"),
    ("a name twice", lambda d: d["tables"].append(d["tables"][0]), "twice"),
    ("a field too many", put("html", value="<script>"), "html"),
    ("a field too few", lambda d: {k: v for k, v in d.items() if k != "claims"}, "claims"),
    ("claims of another kind", put("claims", value={"a": 1}), "claims"),
    ("a claim of another kind", put("claims", value=[None]), r"claims\[0\]"),
    ("a seed that is none", put("seed", value="0"), "seed"),
    ("true for a number", put("seconds", value=True), "seconds"),
    ("seconds below 0", put("seconds", value=-1), "seconds"),
    ("schema 1 without claims", put("schema", value=1), "schema 1|contradict|no findings"),
    ("another schema", put("schema", value=99), "schema"),
    ("a list", lambda d: [d], "damaged"),
    ("nothing", lambda d: [], "damaged"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), [row[1:] for row in TAMPERED], ids=[row[0] for row in TAMPERED])
def test_what_was_tampered_with_is_refused_on_every_path(run, change, said) -> None:
    reseal(run, change)
    for path in (findings.read, Findings.load):
        with pytest.raises(store.StoreError, match=said) as caught:
            path(run)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["null", "[]", "{}", "7", '"x"', "[" * 3000 + "]" * 3000, "{", ""])
def test_one_odd_file_does_not_stop_the_others(fake, tmp_path, text) -> None:
    whole = fake.run(out=tmp_path).folder
    odd = tmp_path / "4.7" / "quick-0000000000"
    odd.mkdir()
    (odd / records.FINDINGS).write_text(text)
    assert records.latest("4.7", tmp_path) == whole
    with pytest.raises(store.StoreError):
        findings.read(odd)


def test_a_link_out_of_the_folder_is_not_followed(run, tmp_path) -> None:
    document = findings.read(run)
    row = document["figures"][0]
    outside = tmp_path / "outside.json"
    os.rename(run / row["file"], outside)
    (run / row["file"]).symlink_to(outside)
    with pytest.raises(store.StoreError, match="leads out of"):
        findings.figure_json(run, row)


def test_our_validator_agrees_with_jsonschema(run) -> None:
    document = json.loads((run / records.FINDINGS).read_text())
    rules = schema.findings_schema()
    assert schema.fault(document) == ""
    changed = [row[1] for row in TAMPERED]
    for change in changed:
        other = json.loads(json.dumps(document))
        made = change(other)
        other = other if made is None else made
        theirs = next(iter(jsonschema.Draft202012Validator(rules).iter_errors(other)), None)
        assert bool(schema.fault(other)) == (theirs is not None) or "\n" in other["figures"][0]["name"]
