"""Every kind of page through axe, the accessibility checker, in both colour schemes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("axe_core_python") is None, reason="axe-core-python is not installed"),
]
PAGES = ("index", "bridges", "playground", "glossary", "retractions", "reference", "4.7", "4.24")
RUN = """axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).then((found) => found.violations.map(
  (one) => [one.id, one.nodes.length, one.nodes[0].target.join(" "), (one.nodes[0].any[0] || {}).message || one.help]))"""


def axe() -> str:
    found = importlib.util.find_spec("axe_core_python")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(browser, recorded_site, name, scheme):
    browser.visit((recorded_site / f"{name}.html").as_uri(), scheme=scheme, draw=name == "4.24")
    browser.ask(f"(0, eval)({json.dumps(axe())})")
    assert browser.ask(RUN) == []
