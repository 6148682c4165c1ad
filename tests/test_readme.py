"""What the README and CONTRIBUTING say is true: the table, the Python example, the study in one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from superscope.cli.studies import markdown_findings, markdown_table

ROOT = Path(__file__).parents[1]


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


def test_table_is_the_generated_one() -> None:
    shown = (ROOT / "README.md").read_text().split("<!-- problems: superscope problems --markdown -->\n")[1]
    assert shown.split("<!-- end -->")[0] == markdown_table(), "paste the output of: superscope problems --markdown"


def test_findings_are_the_recorded_answers() -> None:
    shown = (ROOT / "README.md").read_text().split("<!-- findings -->\n")[1]
    assert shown.split("<!-- end findings -->")[0] == markdown_findings(), (
        "paste what superscope.cli.studies.markdown_findings gives"
    )


def test_pictures_and_files_that_are_named_are_there() -> None:
    text = (ROOT / "README.md").read_text()
    names = [name for name in re.findall(r"\]\(([^)#]+)\)", text) if not name.startswith("https://")]
    assert names
    for name in names:
        assert (ROOT / name).exists(), name


def test_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    toys, models, autoencoders = blocks("README.md")
    exec(compile(toys, "README.md", "exec"), {})
    assert "density" in capsys.readouterr().out
    exec(compile(models, "README.md", "exec"), {})
    trained, shuffled = (float(x) for x in re.findall(r"tensor\(([\d.]+)\)", capsys.readouterr().out))
    assert trained + 2 < shuffled
    exec(compile(autoencoders, "README.md", "exec"), {})
    recovered, explained, l0 = (float(x) for x in capsys.readouterr().out.split())
    assert min(recovered, explained) > 0.7
    assert 15 < l0 <= 16
