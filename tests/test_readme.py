"""What the README and CONTRIBUTING say is true: the table, the Python example, the study in one file."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from superscope import catalogue
from superscope.study import Study

ROOT = Path(__file__).parents[1]


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


def test_table_is_the_generated_one() -> None:
    shown = (ROOT / "README.md").read_text().split("<!-- problems: superscope problems --markdown -->\n")[1]
    assert shown.split("<!-- end -->")[0] == catalogue.markdown_table(), "paste the output of: superscope problems --markdown"


def test_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    toys, models = blocks("README.md")
    exec(compile(toys, "README.md", "exec"), {})
    assert "density" in capsys.readouterr().out
    exec(compile(models, "README.md", "exec"), {})
    trained, shuffled = (float(x) for x in re.findall(r"tensor\(([\d.]+)\)", capsys.readouterr().out))
    assert trained + 2 < shuffled


def test_study_in_one_file_fulfils_the_contract(tmp_path: Path) -> None:
    (code,) = blocks("CONTRIBUTING.md")
    module = types.ModuleType("p4_99_my_question")
    sys.modules[module.__name__] = module
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    found = Study.from_module(module).run(out=tmp_path, quiet=True)
    assert found.claims[0].verdict == "supported"
    assert found.claims[0].null.estimate.value < 3
