"""The study contract: configuration, running, resuming, storing."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from importlib import resources

import jsonschema
import pytest

from superscope import store, studies
from superscope.evidence import findings, records, stats
from superscope.study import Findings, Gate, Lab, Study

SCHEMA = json.loads(resources.files("superscope").joinpath("findings.schema.json").read_text())


def folder_of(study, tmp_path, **overrides):
    return study.folder(study.configure("quick", **overrides), "quick", 0, tmp_path)


def test_findings_follow_the_schema(fake, tmp_path):
    found = fake.run(out=tmp_path)
    stored = json.loads((folder_of(fake, tmp_path) / records.FINDINGS).read_text())
    jsonschema.validate(stored, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert stored == found.to_json()
    assert found.verdict == stored["verdict"] == "2 supported, 1 refuted, 1 undecided"
    assert stored["config"]["densities"] == [0.3, 0.1, 0.03, 0.01]
    assert stored["notes"] == ["a fake note with <angle> brackets"]
    assert {"python", "numpy", "machine"} <= set(stored["versions"])
    tables = {row["name"]: row for row in stored["tables"]}
    assert len(tables["losses"]["rows"]) == 4
    assert tables["many"]["n_rows"] == 300
    assert "rows" not in tables["many"]


def test_the_same_run_twice_is_the_same(fake, tmp_path):
    one, two = fake.run(out=tmp_path / "a").to_json(), fake.run(out=tmp_path / "b").to_json()
    for key in ("claims", "figures", "tables", "gate", "verdict", "summary"):
        assert one[key] == two[key]
    assert fake.run(out=tmp_path / "c", seed=1).to_json()["claims"] != one["claims"]


def test_load_gives_back_what_was_saved(fake, tmp_path):
    found = fake.run(out=tmp_path)
    loaded = Findings.load(folder_of(fake, tmp_path))
    assert loaded.claims == found.claims
    assert math.isnan(loaded.gate.measured["nothing"])
    assert loaded.tables["losses"].equals(found.tables["losses"])
    assert loaded.figures[0].figure.to_json() == found.figures[0].figure.to_json()
    assert loaded.to_json()["claims"] == found.to_json()["claims"]


@pytest.mark.parametrize("name", [records.FINDINGS, "figures/lines.json", "tables/many.parquet"])
def test_truncated_files_are_noticed(fake, tmp_path, name):
    fake.run(out=tmp_path)
    folder = folder_of(fake, tmp_path)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(store.StoreError, match="run the study again"):
        Findings.load(folder)


def test_a_verdict_cannot_be_edited(fake, tmp_path):
    fake.run(out=tmp_path)
    path = folder_of(fake, tmp_path) / records.FINDINGS
    path.write_text(path.read_text().replace('"verdict": "refuted"', '"verdict": "supported"'))
    with pytest.raises(store.StoreError, match="checksum"):
        findings.read(path.parent)
    document = json.loads(path.read_text())
    store.atomic_write_json(path, store.seal(document))
    with pytest.raises(store.StoreError, match="contradict"):
        Findings.load(path.parent)


def test_saving_again_removes_what_is_gone(fake, tmp_path):
    found = fake.run(out=tmp_path)
    folder = folder_of(fake, tmp_path)
    dataclasses.replace(found, figures=found.figures[:1], tables={}).save(folder)
    assert [path.name for path in (folder / "figures").iterdir()] == ["lines.json"]
    assert not list((folder / "tables").iterdir())


def test_overrides(fake):
    assert fake.configure("standard", effect=2).effect == 2.0
    assert fake.configure(densities=[1, 0.5]).densities == (1.0, 0.5)
    with pytest.raises(TypeError, match="no config field 'efect'; nearest is 'effect'"):
        fake.configure(efect=1)
    with pytest.raises(TypeError, match="'seeds' must be int, not 'many'"):
        fake.configure(seeds="many")
    with pytest.raises(TypeError, match="'seeds' must be int, not True"):
        fake.configure(seeds=True)
    with pytest.raises(TypeError, match="'densities' must be"):
        fake.configure(densities=0.1)
    with pytest.raises(ValueError, match="no preset 'quik'"):
        fake.configure("quik")


def test_a_gate_that_failed_is_not_a_negative_result(fake, tmp_path):
    found = fake.run(out=tmp_path, gate=False)
    assert found.verdict == "gate failed"
    assert {claim.verdict for claim in found.claims} == {"gate failed"}


def test_findings_refuse_what_contradicts_itself():
    one = stats.claim("a", "a", stats.exact(1.0), ">= 0", {"name": "c", "estimate": stats.exact(-1.0)})
    with pytest.raises(ValueError, match="claim id 'a' is used twice"):
        Findings(Gate("g", True, {}), [one, one])
    with pytest.raises(ValueError, match="was not made with gate_passed=False"):
        Findings(Gate("g", False, {}), [one])
    with pytest.raises(ValueError, match="at least one claim"):
        Findings(Gate("g", True, {}), [])


def test_units_are_not_computed_twice(tmp_path):
    calls = tmp_path / "calls"  # a list in the closure would be part of the function, and change it

    def compute():
        with calls.open("a") as file:
            file.write("x")
        return {"a": (1, float("nan"))}

    first = Lab(0, "quick", tmp_path).unit("x", compute)
    second_lab = Lab(0, "quick", tmp_path)
    second = second_lab.unit("x", compute)
    assert calls.read_text() == "x"
    assert first["a"][0] == second["a"][0] == 1
    assert math.isnan(first["a"][1])
    assert math.isnan(second["a"][1])
    assert second_lab.resumed == ["unit x"]


def test_a_damaged_unit_is_computed_again(tmp_path):
    Lab(0, "quick", tmp_path).unit("x", lambda: 1)
    (tmp_path / "units" / "x.json").write_text("{")
    lab = Lab(0, "quick", tmp_path)
    assert lab.unit("x", lambda: 2) == 2
    assert lab.resumed == []
    assert "damaged" in lab.notes[0]


def test_unit_keys_become_file_names(tmp_path):
    with pytest.raises(ValueError, match="'a/b'"):
        Lab(0, "quick", tmp_path).unit("a/b", lambda: 1)


def test_an_interrupted_run_goes_on_and_reports_its_whole_cost(fake, tmp_path):
    module = fake.body.__globals__
    original = module["pd"]
    module["pd"] = None  # fails after the unit, before the findings
    with pytest.raises(AttributeError):
        fake.run(out=tmp_path)
    folder = folder_of(fake, tmp_path)
    assert not (folder / records.FINDINGS).exists()
    ledger = json.loads((folder / "ledger.json").read_text())
    store.atomic_write_json(folder / "ledger.json", {key: [100.0, 50.0] for key in ledger})
    module["pd"] = original
    found = fake.run(out=tmp_path)
    assert found.resumed == ["unit measured"]
    assert found.seconds > 100
    assert found.cpu_seconds > 50


class FakeSweep:
    """Stands in for `superscope.Sweep`: only what a Lab asks of one."""

    def digest(self, recipe):
        return "0123456789abcdef"

    def train(self, store, executor, workers, progress, **options):
        assert store.name == "main-0123456789.zarr"
        assert options == {"recipe": "r", "engine": "torch"}
        return types.SimpleNamespace(engine="torch", notes=["n", "n"])


def test_train_keeps_engine_and_notes(tmp_path):
    lab = Lab(0, "quick", tmp_path)
    lab.train(FakeSweep(), "r", name="main", engine="torch")
    lab.train(FakeSweep(), "r", name="main", engine="torch")
    assert (lab.engines, lab.notes, lab.resumed) == (["torch"], ["n"], ["sweep main-0123456789"])


def test_a_lab_brings_its_own_seed_and_folder(fake, tmp_path):
    lab = Lab(5, "standard", tmp_path / "here")
    assert fake.run(lab=lab).seed == 5
    assert Findings.load(tmp_path / "here").config["seeds"] == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"QUESTION": None}, "lacks QUESTION"),
        ({"Config": dict}, "frozen dataclass"),
        ({"PRESETS": {"quick": 1}}, "PRESETS must be"),
        ({"PRESETS": {"quick": 1, "standard": 1, "full": 1}}, "preset 'quick' is not a Config"),
        ({"Config": dataclasses.make_dataclass("C", [("out", str, "")], frozen=True)}, "'out' is an argument"),
    ],
)
def test_modules_are_checked(fake, change, message):
    module = types.ModuleType("m")
    vars(module).update(fake.body.__globals__)
    for name, value in change.items():
        if value is None:
            delattr(module, name)
        else:
            setattr(module, name, value)
    with pytest.raises(TypeError, match=message):
        Study.from_module(module)


def test_discovery(fake_studies):
    assert studies.built() == ["4.7"]
    assert studies.get("p4_07_fake").problem == "4.7"
    with pytest.raises(KeyError, match=r"no study '4\.8'; did you mean '4.7'"):
        studies.get("4.8")
    (fake_studies / "p4_07_other.py").write_text("")
    with pytest.raises(ImportError, match=r"two study files claim problem 4\.7"):
        studies.built()


def test_order_of_studies(fake_studies):
    for name in ("p4_10_a.py", "p4_09_b.py", "tms.py", "helper.py"):
        (fake_studies / name).write_text("")
    assert studies.built() == ["tms", "4.7", "4.9", "4.10"]
