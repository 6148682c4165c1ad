"""Every page of a site in a real browser: nothing complains, every plot is drawn, nothing overflows a phone."""

from __future__ import annotations

import shutil

import pytest

from superscope import atlas, catalogue, studies
from superscope.evidence import records


@pytest.fixture(scope="module")
def site(tmp_path_factory, request):
    """A site with one study that has every kind of figure."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "studies").mkdir()
    shutil.copy(request.config.rootpath / "tests" / "fake_study.py", folder / "studies" / "p4_07_fake.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "__path__", [str(folder / "studies")])
        patch.delitem(__import__("sys").modules, "superscope.studies.p4_07_fake", raising=False)
        patch.setattr(records, "bundled_results", lambda: None)
        studies.get("4.7").run(out=folder / "runs", gate=True)
        atlas.build(folder / "site", folder / "runs")
    return folder / "site"


def url(site, name):
    return (site / name).as_uri()


PAGES = [
    "index.html",
    "bridges.html",
    "glossary.html",
    "retractions.html",
    "reference.html",
    "source-4.7.html",
    *(f"{number}.html" for number in catalogue.problems()),
]


@pytest.mark.parametrize("name", PAGES)
def test_on_a_phone(browser, site, name):
    assert browser.visit(url(site, name), width=375) == []
    assert browser.ask("document.documentElement.scrollWidth") <= 375
    assert browser.ask("document.querySelectorAll('h1').length") == 1
    assert browser.ask("[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('svg.main-svg'))")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_take_the_colours_of_the_page(browser, site, scheme):
    assert browser.visit(url(site, "4.7.html"), scheme=scheme) == []
    assert browser.ask("document.querySelectorAll('.plot svg.main-svg').length") >= 7
    text = browser.ask("getComputedStyle(document.documentElement).color")
    label = browser.ask("getComputedStyle(document.querySelector('.plot .xtick text')).fill")
    assert label == text
    assert browser.ask("window.broken") is None


def test_changing_the_scheme_recolours_the_plots(browser, site):
    browser.visit(url(site, "4.7.html"), scheme="light")
    fill = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    before = browser.ask(fill)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    after = browser.ask(f"new Promise((next) => setTimeout(() => next({fill}), 500))")
    assert after != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_strip_of_a_claim_has_the_colours_of_its_arms_without_a_script(browser, site, scheme):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.visit(url(site, "4.7.html"), scheme=scheme, draw=False)
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    fill = "getComputedStyle(document.querySelector('#claim-effect .strip .{} .dot')).fill"
    colours = {arm: browser.ask(fill.format(arm)) for arm in ("measured", "null")}
    assert len(set(colours.values())) == 2
    assert "rgb(0, 0, 0)" not in colours.values()
    assert browser.ask("document.querySelectorAll('#claim-effect .strip .region').length") == 1


def test_nothing_is_drawn_before_it_is_near_the_screen(browser, site):
    browser.visit(url(site, "4.7.html"), draw=False)
    assert browser.ask("typeof Plotly") == "undefined"
    assert browser.ask("document.querySelectorAll('.plot .main-svg').length") == 0
    browser.ask("document.querySelector('.plot').scrollIntoView()")
    drawn = "document.querySelectorAll('.plot .main-svg').length > 0"
    wait = f"new Promise((next) => {{ const look = () => {drawn} ? next(true) : setTimeout(look, 50); look(); }})"
    assert browser.ask(wait)
    assert browser.ask("document.querySelector('.tools button').textContent") == "PNG"


def test_the_slider_moves(browser, site):
    browser.visit(url(site, "4.7.html"))
    plot = "document.querySelector('#figure-polygon .plot')"
    visible = f"{plot}._fullData.map((trace) => trace.visible)"
    before = browser.ask(visible)
    browser.ask(f"Plotly.restyle({plot}, ...{plot}.layout.sliders[0].steps[2].args).then(() => 1)")
    after = browser.ask(visible)
    assert sum(before) == sum(after) == 6
    assert before != after


def test_filter_and_search(browser, site):
    browser.visit(url(site, "index.html"))
    shown = "[...document.querySelectorAll('.problems > li')].filter((li) => !li.hidden).length"
    assert browser.ask(shown) == 49
    browser.ask("document.querySelector('button[data-state=refuted]').click()")
    assert browser.ask(shown) == 1
    browser.ask("document.querySelector('button[data-state=refuted]').click()")
    browser.ask("""(() => {
        const query = document.querySelector('#query');
        query.value = 'INDUCTION head';
        query.dispatchEvent(new Event('input'));
    })()""")
    assert browser.ask(shown) == 2
    assert browser.ask("document.querySelector('#matches').textContent") == "2 of 49 problems"
    browser.ask("""(() => {
        const query = document.querySelector('#query');
        query.value = 'sae';
        query.dispatchEvent(new Event('input'));
    })()""")
    assert browser.ask(shown) >= 3


def test_without_javascript_the_text_is_there(browser, site):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.call("Page.navigate", url=url(site, "4.7.html"))
        text = (site / "4.7.html").read_text()
        assert "This figure needs JavaScript" in text
        assert "1.004 [0.9254, 1.087]" in text
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
