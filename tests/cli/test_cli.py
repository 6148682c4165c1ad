"""The command line: what it prints, where it writes, and how it says no."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from superscope.cli import main as cli
from superscope.evidence import records

pytestmark = pytest.mark.usefixtures("fake_studies")


@pytest.fixture
def run(capsys, monkeypatch):
    """`run("problems", ...)` -> (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "120")

    def call(*argv):
        with pytest.raises(SystemExit) as stop:
            cli.main(argv)
        out = capsys.readouterr()
        return stop.value.code, out.out, out.err

    return call


@pytest.mark.parametrize(
    ("argv", "quoted"),
    [
        (["runn"], "no command 'runn'; did you mean 'run'?"),
        (["run"], "name a problem, such as 'superscope run 4.7'"),
        (["run", "4.77"], "no problem '4.77'; did you mean '4.7'?"),
        (["show", "binary-feature"], "did you mean 'binary-features'?"),
        (["run", "4.9"], "not built yet. Its question: If active values are uniform on [0.5, 1]"),
        (["show", "4.9"], "not built yet. Its question:"),
        (["show", "4.7"], "no findings of 4.7 under 'runs' yet; run: superscope run 4.7"),
        (["run", "4.7", "--preset", "quik"], "'quik'"),
        (["run", "4.7", "--sede", "3"], "--seed"),
        (["run", "4.7", "--seeds", "many"], "'many'"),
        (["run", "4.7", "--all"], "'4.7' together with --all"),
        (["problems", "--jsn"], "--json"),
    ],
)
def test_mistakes_are_one_line_that_quotes_them(run, argv, quoted):
    code, out, err = run(*argv)
    assert code == 2
    assert out == ""
    assert quoted in err
    assert err.startswith("superscope: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("command", [None, *cli.COMMANDS])
def test_help_has_examples(run, command):
    code, out, _ = run(*([command] if command else []), "--help")
    assert code == 0
    assert f"superscope {command or 'run'}" in out
    assert "xample" in out


def test_run_help_lists_the_fields_of_the_study_at_the_preset(run):
    _, quick, _ = run("run", "4.7", "--help")
    for text in (
        "--effect",
        "how large the effect is",
        "--densities",
        "0.3 0.1 0.03 0.01",
        "(default: 12)",
        "--preset",
    ):
        assert text in quick
    _, standard, _ = run("run", "4.7", "--preset", "standard", "--help")
    assert "(default: 40)" in standard


def test_run_prints_verdicts_with_interval_control_and_place(run):
    code, out, err = run("run", "4.7", "--effect", "1.25", "--densities", "0.5", "0.05", "--quiet")
    assert (code, err) == (0, "")
    for text in ("✓ supported", "✗ refuted", "12 seeds", "no effect <i>", "Gate passed", ">= 0.5", "runs/4.7/quick-"):
        assert text in out
    config = json.loads(next(records.DEFAULT_OUT.rglob("findings.json")).read_text())["config"]
    assert (config["effect"], config["densities"]) == (1.25, [0.5, 0.05])


def test_options_before_the_problem(run):
    assert run("run", "--seed", "3", "4.7")[0] == 0
    assert json.loads(next(records.DEFAULT_OUT.rglob("findings.json")).read_text())["seed"] == 3


def test_show_after_run(run):
    run("run", "4.7")
    assert "2 supported, 1 refuted, 1 undecided" in run("show", "4.7")[1]
    assert json.loads(run("show", "4.7", "--json")[1])["problem"] == "4.7"
    assert run("show", "4.7", "--preset", "full")[0] == 2


def test_problems_as_table_json_and_csv(run):
    run("run", "4.7")
    assert "1 of 49 built" in run("problems")[1]
    rows = {row["number"]: row for row in json.loads(run("problems", "--json")[1])}
    assert len(rows) == 49
    assert rows["4.7"]["verdict"] == "2 supported, 1 refuted, 1 undecided"
    assert (rows["4.9"]["built"], rows["4.9"]["verdict"], rows["4.2"]["difficulty"]) == (False, "", "B-C*")
    table = list(csv.DictReader(io.StringIO(run("problems", "--csv")[1])))
    assert [row["number"] for row in table] == list(rows)


def test_run_all_skips_what_is_done_and_redoes_what_is_damaged(run):
    assert "4.7  A fake study" in run("run", "--all")[1]
    assert "(done before)" in run("run", "--all")[1]
    path = next(records.DEFAULT_OUT.rglob("findings.json"))
    path.write_text(path.read_text()[:100])
    assert "(done before)" not in run("run", "--all")[1]
    assert "(done before)" not in run("run", "--all", "--fresh")[1]


def test_run_all_goes_on_after_a_broken_study(run, fake_studies):
    text = (fake_studies / "p4_07_fake.py").read_text()
    broken = text.replace('"4.7"', '"4.1"').replace("def measure()", "raise ZeroDivisionError\n\n    def m()")
    (fake_studies / "p4_01_broken.py").write_text(broken)
    code, out, err = run("run", "--all")
    assert code == 1
    assert "4.1  A fake study & its <b>title</b>: failed with an error" in out
    assert "[2/2] 4.7" in out
    assert err.endswith("superscope: 1 of 2 studies failed: 4.1\n")


def test_damaged_findings_are_named(run):
    run("run", "4.7")
    path = next(records.DEFAULT_OUT.rglob("findings.json"))
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    code, _, err = run("show", "4.7")
    assert code == 1
    assert str(path) in err
    assert "checksum" in err
    assert "damaged on disk" in run("problems")[1]


def test_interrupt_says_how_to_go_on(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("superscope.study.Study.run", interrupted)
    code, _, err = run("run", "4.7")
    assert code == 130
    assert "the same command goes on from there" in err


def test_atlas(run, tmp_path):
    run("run", "4.7")
    code, out, _ = run("atlas", "--out", str(tmp_path / "site"))
    assert code == 0
    assert "49 pages, 1 with findings" in out
    assert (tmp_path / "site" / "4.7.html").exists()


def test_doctor(run):
    code, out, _ = run("doctor")
    assert code == 0
    for name in ("Python", "torch", "ray", "runs folder", "studies"):
        assert name in out
    open("file", "w").close()
    code, out, _ = run("doctor", "--out", "file/runs")
    assert code == 1
    assert "'file/runs'" in out


def test_python_m_superscope():
    done = subprocess.run([sys.executable, "-m", "superscope", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout == cli.HELP


def test_version(run):
    assert run("--version")[1].startswith("superscope 0.")


@pytest.mark.parametrize("argv", [("--seeds", "14", "4.7"), ("--densities", "0.5", "0.05", "4.7"), ("4.7", "--seeds", "14")])
def test_the_problem_is_found_among_values_of_options(run, argv):
    if argv[0] == "--densities":  # a list takes every value that follows: say so rather than guess
        assert run("run", *argv)[0] == 2
        return
    assert run("run", *argv)[0] == 0
    assert json.loads(next(records.DEFAULT_OUT.rglob("findings.json")).read_text())["config"]["seeds"] == 14


def test_replicate_counts_fresh_seeds_and_show_prints_it(run):
    code, out, _ = run("replicate", "4.7", "--seeds", "3", "--quiet")
    assert code == 0
    kept = json.loads((records.DEFAULT_OUT / "4.7" / "replication-quick.json").read_text())
    assert kept["seeds"] == [1, 2, 3]
    assert {claim["of"] for claim in kept["claims"].values()} == {3}
    assert kept["claims"]["effect"]["held"] == 3
    shown = run("show", "4.7")[1]
    assert "On 3 fresh seeds" in shown
    assert "seed 0" in shown  # the fresh runs do not take the record's place
    assert run("replicate", "4.7", "--seeds", "0")[0] == 2
    assert "On 3 fresh seeds" in out


def test_a_study_without_rows_cannot_be_sealed(run):
    code, _, err = run("seal", "4.7", "--reason", "r")
    assert code == 2
    assert "keeps no rows" in err


def test_help_of_every_study_needs_no_heavy_library():
    """In a process of its own, since what it leaves in the place of libraries must not meet other tests."""
    code = (
        "import sys; from superscope import studies; from superscope.cli.studies import run_options\n"
        "for number in studies.built(): run_options([number, '--help'])\n"
        "real = [n for n in ('torch', 'scipy', 'sklearn', 'pandas', 'xarray') if hasattr(sys.modules.get(n), '__version__')]\n"
        "assert not real, real"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
