"""Every figure of the recorded findings, at two widths, as a reader sees it: see ``figure_lint.js`` for what is looked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LINT = (Path(__file__).parent / "figure_lint.js").read_text()
# How many letters of the figures have less than 4.5 : 1 against the page.
CONTRAST = """(() => {
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const paper = light(getComputedStyle(document.documentElement).backgroundColor);
  const letters = [".xtick text", ".ytick text", ".g-xtitle text", ".legendtext"].map((one) => `.plot ${one}`).join();
  return [...document.querySelectorAll(letters)].filter((text) => {
    const ink = light(getComputedStyle(text).fill);
    return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05) < 4.5;
  }).length;
})()"""


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_nothing_is_clipped_unnamed_or_alike(browser, recorded_site, width, scheme):
    found, count = [], 0
    for page in sorted(recorded_site.glob("*.html")):
        drawn = page.read_text().count('<div class="plot"')
        if drawn:
            browser.visit(page.as_uri(), width=width, scheme=scheme)
            found += browser.ask(LINT)
            found += [[page.name, "letters too faint"]] * browser.ask(CONTRAST)
            count += drawn
    assert count >= 160
    assert found == []


def test_captions_have_no_raw_markup(recorded_site):
    for page in sorted(recorded_site.glob("*.html")):
        captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.read_text(), re.DOTALL)
        assert not [text for text in captions if re.search(r"&lt;/?su[bp]&gt;|\*\w+\*", text)], page.name
