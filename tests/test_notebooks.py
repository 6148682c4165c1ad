"""The notebooks run from the first cell to the last; they are kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_every_cell_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # the recorded findings, not those of whoever runs the tests
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["nbformat"] == 4
    names: dict[str, object] = {}
    for place, cell in enumerate(document["cells"]):
        if cell["cell_type"] == "code":
            assert not cell["outputs"], f"cell {place} of {path.name} was saved with outputs: clear them"
            exec(compile("".join(cell["source"]), f"{path.name}, cell {place}", "exec"), names)
    assert names


def test_there_is_a_tour():
    assert [path.stem for path in NOTEBOOKS] == ["toy_models"]
