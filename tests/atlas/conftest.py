"""What the tests of pages share: one browser a module, and the site of the recorded findings, built once."""

from __future__ import annotations

import pytest
from chromium import PROGRAM, Browser

from superscope import atlas


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip("Chromium is not installed: the pages are not opened")
    made = Browser(PROGRAM, tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def recorded_site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    atlas.build(folder / "site", folder / "none")
    return folder / "site"
