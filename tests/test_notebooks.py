"""The notebooks run from the first cell to the last, their outputs are kept, and each exercise has a solution that answers it.

Solutions stand folded in markdown and are run where they stand. Each of their asserts must fail for the reader's unanswered
skeleton, or it would test nothing.
"""

from __future__ import annotations

import ast
import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
SOLUTION = re.compile(r"<details>\n<summary>Solution</summary>\n\n```python\n(.*)```\n\n</details>", re.DOTALL)
TASK = re.compile(r"^### \d+\. ", re.MULTILINE)
EXERCISES = 6
LARGEST = 60_000  # bytes of a picture
SHOWS = re.compile(r"^\s*print\(", re.MULTILINE)


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def solution(cell: dict[str, Any]) -> str | None:
    found = SOLUTION.fullmatch(source(cell)) if cell["cell_type"] == "markdown" else None
    return found[1] if found else None


def ends_in_a_value(code: str) -> bool:
    """Does a cell end in an expression, which a notebook shows?"""
    last = ast.parse(code).body[-1]
    return isinstance(last, ast.Expr) and not (isinstance(last.value, ast.Call) and ast.unparse(last.value.func) == "print")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_every_cell_and_every_solution_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # the recorded findings, not those of whoever runs the tests
    names: dict[str, Any] = {}
    for place, cell in enumerate(cells(path)):
        where = f"{path.name}, cell {place}"
        if cell["cell_type"] == "code":
            exec(compile(source(cell), where, "exec"), names)
        elif code := solution(cell):
            checks = [node for node in ast.parse(code).body if isinstance(node, ast.Assert)]
            assert checks, f"{where}: a solution without asserts"
            assert isinstance(ast.parse(code).body[-1], ast.Assert), f"{where}: a solution ends in its asserts"
            for check in checks:
                unanswered(check, names, where)
            exec(compile(code, where, "exec"), names)


def unanswered(check: ast.Assert, names: dict[str, Any], where: str) -> None:
    """The assert fails while the skeleton's names are None, and for no want of a name that only the solution defines."""
    try:
        exec(compile(ast.Module([check], []), where, "exec"), dict(names))
    except NameError as error:
        raise AssertionError(f"{where}: `{ast.unparse(check)}` needs what the reader has not: {error}") from None
    except Exception:
        return
    raise AssertionError(f"{where}: `{ast.unparse(check)}` holds without an answer")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_six_exercises_each_with_a_skeleton_and_a_folded_solution(path: Path):
    document = cells(path)
    solutions = [place for place, cell in enumerate(document) if solution(cell)]
    assert len(solutions) == EXERCISES == sum(len(TASK.findall(source(cell))) for cell in document)
    for place in solutions:
        task, skeleton = document[place - 2], document[place - 1]
        assert task["cell_type"] == "markdown"
        assert TASK.search(source(task))
        assert "*Hint:*" in source(task)
        assert skeleton["cell_type"] == "code"
        code = source(skeleton)
        assert "# your code" in code
        answers = re.findall(r"^(\w+) = None$", code, re.MULTILINE)
        assert answers
        assert all(f"`{name}`" in source(task) for name in answers), f"cell {place - 2} does not ask for all of {answers}"
    assert sum("<details>" in source(cell) for cell in document) == EXERCISES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_outputs_are_kept(path: Path):
    text = path.read_text(encoding="utf-8")
    document = json.loads(text)
    assert document["nbformat"] == 4
    assert [cell["id"] for cell in document["cells"]] == [f"cell-{place:02d}" for place in range(len(document["cells"]))]
    for place, cell in enumerate(document["cells"]):
        if cell["cell_type"] != "code":
            continue
        where = f"{path.name}, cell {place}: run notebooks/execute.py"
        kinds = [output["output_type"] for output in cell["outputs"]]
        assert "error" not in kinds, where
        assert cell["execution_count"], where
        if SHOWS.search(source(cell)):
            assert any(output.get("name") == "stdout" for output in cell["outputs"]), where
        if ends_in_a_value(source(cell)):
            shown = [output["data"] for output in cell["outputs"] if "data" in output]
            assert shown, where
            assert "image/png" in shown[0], where
            picture = base64.b64decode(shown[0]["image/png"])
            assert picture.startswith(b"\x89PNG")
            assert len(picture) <= LARGEST, f"{where}: a picture of {len(picture)} bytes"
    for place in ("/work/", "/home/", "/tmp/", "Users"):
        assert place not in text
    assert not re.search(r"0x[0-9a-f]{8}", text), "an address in memory"


def test_there_are_three_tours():
    assert NAMES == ["language_models", "sparse_autoencoders", "toy_models"]
    assert sum(path.stat().st_size for path in NOTEBOOKS) < 1.5e6
