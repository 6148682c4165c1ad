"""The commit that a run names."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from superscope import checkout


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "src" / "superscope"
    place.mkdir(parents=True)
    (place / "a.py").write_text("1\n")
    monkeypatch.setattr(checkout, "SOURCES", place)
    checkout.commit.cache_clear()
    yield place
    checkout.commit.cache_clear()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_a_checkout_says_when_the_sources_are_others(sources: Path) -> None:
    root = sources.parents[1]
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    clean = checkout.commit()
    assert len(clean) == 40
    (root / "notes.txt").write_text("not a source")
    checkout.commit.cache_clear()
    assert checkout.commit() == clean
    (sources / "a.py").write_text("2\n")
    checkout.commit.cache_clear()
    assert checkout.commit() == f"{clean}+"


def test_no_checkout_no_commit(sources: Path) -> None:
    assert checkout.commit() == ""
