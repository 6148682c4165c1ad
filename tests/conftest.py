"""A small study that needs no model, for testing the platform around studies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas  # noqa: F401 - a process that has libraries is never given stand-ins for them (cli.outline)
import pytest

from superscope import studies

# Tiny networks on many torch threads are slower than on one, most of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

FAKE = Path(__file__).parent / "fake_study.py"


@pytest.fixture
def fake_studies(tmp_path, monkeypatch):
    """`superscope.studies` holds exactly one study, the fake one as problem 4.7, and nothing is bundled."""
    folder = tmp_path / "studies"
    folder.mkdir()
    shutil.copy(FAKE, folder / "p4_07_fake.py")
    monkeypatch.setattr(studies, "__path__", [str(folder)])
    monkeypatch.delitem(__import__("sys").modules, "superscope.studies.p4_07_fake", raising=False)
    monkeypatch.setattr("superscope.evidence.records.bundled_results", lambda: None)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def fake(fake_studies):
    """The fake study."""
    return studies.get("4.7")
