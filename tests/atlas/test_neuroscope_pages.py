"""Neuroscope pages: their data, their size, hostile text, and, where Chromium is installed, what a reader sees."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from chromium import Browser

from superscope import atlas, lms
from superscope.atlas import neuroscope as pages
from superscope.evidence import records
from superscope.lms import corpus
from superscope.lms.corpus.generated import Document
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model.transformer import Shape
from superscope.lms.reading import neuroscope
from superscope.lms.reading.metrics import Verdict

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = '<script>document.title = "evil"</script>'
N = 11  # neurons: the last file of units is not full


VERDICTS = [Verdict(1.0 + k / 3, 1.0, [(f"token {EVIL!r}", 1.0), ("in <b>code</b>", 0.4)], 0.25) for k in range(N)]


def text(rng):
    words = ["river", "stone", "<b>bold</b>", "&amp;", EVIL, "alpha\n", "\tbeta", "gamma", "'quoted'", "</script>", "\u2028"]
    return " ".join(rng.choice(words, 60))


@pytest.fixture(scope="module")
def reports():
    rng = np.random.default_rng(0)
    documents = [Document(text(rng), "<i>genre</i>" if k % 2 else "plain", "source", f"work <{k}>") for k in range(24)]
    # the whole hostile string becomes one token, so it is in the vocabulary and in the logit tables too
    tokenizer = Tokenizer.train([d.text for d in documents] + ["<script>" * 50], 400)
    model = lms.untrained(Shape(1, 16, 2, N, 32, len(tokenizer)), tokenizer, name="tiny <model>")
    return neuroscope.examine(model, corpus.tokenise(documents, tokenizer), top=5, corpus="a <u>corpus</u>")


@pytest.fixture(scope="module")
def site(reports, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    pages.write(reports, folder, VERDICTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "bundled_results", lambda: None)
        atlas.build(folder, folder / "no-runs")
    return folder


def call(path):
    """The arguments of the one call that a data file is."""
    script = path.read_text()
    assert script.endswith(");\n")
    return json.loads("[" + script[script.index("(") + 1 : -3] + "]")


NAME = "tiny-model-L0"


def test_table(site, reports):
    rows = call(site / "neuroscope" / NAME / "table.js")[0]["rows"]
    assert [row[0] for row in rows] == list(range(N))
    np.testing.assert_allclose([row[1] for row in rows], reports.table["density"], rtol=1e-2)
    labels = call(site / "neuroscope" / NAME / "labels.js")[0]
    assert "char class: lower" in labels
    assert len(labels["char class: lower"]) == N


def test_units_hold_the_activations(site, reports):
    """Text and values come back from the compact form."""
    split, seen = reports.split, 0
    for path in sorted((site / "neuroscope" / NAME).glob("units-*.js")):
        number, data = call(path)
        assert number == int(path.stem[-4:])
        for k, unit in enumerate(data["units"], number * pages.SHARD):
            seen += 1
            assert unit["number"] == k
            for where, (_origin, peak, tokens, thousandths) in zip(reports.top.place[k], unit["top"], strict=False):
                places = reports.top.at((k,)).places()[list(reports.top.place[k]).index(where)]
                places = places[places >= 0]
                assert [data["vocabulary"][t] for t in tokens] == [split.tokenizer.pieces[t] for t in split.tokens[places]]
                assert places[peak] == where
                value = thousandths[peak] / 1000 * unit["scale"]
                assert value == pytest.approx(
                    reports.top.values[k][list(reports.top.place[k]).index(where)][40], abs=unit["scale"] / 900
                )
            assert len(unit["strata"]) == 11
            assert sum(unit["histogram"]["counts"]) == reports.n_tokens
    assert seen == N


def test_nothing_can_be_taken_for_a_tag(site):
    for path in (site / "neuroscope" / NAME).glob("*.js"):
        data = path.read_bytes()
        assert b"<" not in data
        assert b"&" not in data
        assert data.isascii()
    for path in site.glob("neuroscope-*.html"):
        html = path.read_text()
        assert "<model>" not in html
        assert "<u>" not in html
        assert "http" not in html


def test_pages_are_light(site):
    """Opening a page loads the page, its assets, the table or one file of units."""
    for path in [*site.glob("neuroscope-*.html"), *(site / "assets").glob("neuroscope.*"), *(site / "assets").glob("atlas.*")]:
        assert path.stat().st_size < 40_000
    assert all(path.stat().st_size < 60_000 * pages.SHARD for path in (site / "neuroscope" / NAME).glob("units-*.js"))


def test_the_index_links_what_is_there(site, reports, tmp_path, monkeypatch):
    assert f'href="neuroscope-{NAME}.html"' in (site / "index.html").read_text()
    monkeypatch.setattr(records, "bundled_results", lambda: None)
    atlas.build(tmp_path, tmp_path / "no-runs")
    assert "neuroscope-" not in (tmp_path / "index.html").read_text()


def test_the_same_reports_give_the_same_bytes(site, reports, tmp_path):
    pages.write(reports, tmp_path, VERDICTS)
    for path in (tmp_path / "neuroscope" / NAME).iterdir():
        assert path.read_bytes() == (site / "neuroscope" / NAME / path.name).read_bytes()


@pytest.mark.parametrize(
    ("model", "place", "name"), [("a/b c", "L0", "a-b-c-L0"), ("../..", "<x>", "x"), ("gpt2", "L11", "gpt2-L11")]
)
def test_names_are_file_names(model, place, name):
    assert pages.slug(model, place) == name


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip("Chromium is not installed: the pages are not opened")
    made = Browser(PROGRAM, tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


def open_unit(browser, site, number, **options):
    """A page that differs only in its fragment would not be loaded anew."""
    browser.visit("about:blank")
    return browser.visit((site / f"neuroscope-{NAME}-unit.html").as_uri() + f"#{number}", **options)


def ready(browser, what):
    found = browser.ask(
        "new Promise((done) => { const wait = (n) => { const v = "
        + what
        + "; v || !n ? done(v) : setTimeout(wait, 20, n - 1) }; wait(200) })"
    )
    assert found, what


@pytest.mark.parametrize("width", [1280, 375])
def test_table_in_a_browser(browser, site, width):
    assert browser.visit((site / f"neuroscope-{NAME}.html").as_uri(), width=width) == []
    ready(browser, "document.querySelectorAll('tbody tr').length")
    assert browser.ask("document.querySelectorAll('tbody tr').length") == N
    assert browser.ask("document.documentElement.scrollWidth") <= width
    column = "[...document.querySelectorAll('tbody tr')].map((row) => parseFloat(row.cells[2].textContent.replace('−', '-')))"
    browser.ask("[...document.querySelectorAll('thead button')].find((b) => b.textContent === 'kurtosis').click()")
    values = browser.ask(column)
    assert values == sorted(values, reverse=True)
    browser.ask("(q => { q.value = 'zzzz'; q.dispatchEvent(new Event('input')) })(document.getElementById('query'))")
    assert browser.ask("document.querySelectorAll('tbody tr').length") == 0
    assert browser.ask("document.title") != "evil"


def test_sorting_by_one_label_loads_the_labels(browser, site):
    browser.visit((site / f"neuroscope-{NAME}.html").as_uri())
    ready(browser, "document.querySelectorAll('tbody tr').length")
    assert browser.ask("document.querySelectorAll('option').length") == 1
    browser.ask("document.getElementById('by').dispatchEvent(new Event('focus'))")
    ready(browser, "document.querySelectorAll('option').length > 5")
    browser.ask(
        "(s => { s.value = 'genre: <i>genre</i>'; s.dispatchEvent(new Event('change')) })(document.getElementById('by'))"
    )
    values = browser.ask("[...document.querySelectorAll('tbody tr')].map((row) => row.cells[7].textContent)")
    numbers = [float(v.replace("−", "-")) for v in values if v != "–"]
    assert len(numbers) > 3
    assert numbers == sorted(numbers, reverse=True)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_unit_in_a_browser(browser, site, reports, width, scheme):
    assert open_unit(browser, site, 6, width=width, scheme=scheme) == []
    ready(browser, "!document.getElementById('unit').hidden")
    assert browser.ask("document.querySelector('h1').textContent") == "Neuron 6"
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("document.querySelectorAll('#top li').length") == 5
    shown = browser.ask("document.querySelector('#top .text').textContent")
    places = reports.top.at((6,)).places()[0]
    wanted = "".join(reports.split.tokenizer.pieces[t] for t in reports.split.tokens[places[places >= 0]])
    assert shown.replace("↵", "").replace("⇥", "").replace("\t", "") == wanted.replace("\t", "")
    assert browser.ask("document.querySelectorAll('#unit script, #unit b, #unit i:not(.sign), #unit u').length") == 0
    assert browser.ask("document.title") != "evil"
    assert browser.ask("document.querySelectorAll('#histogram rect').length") > 5
    peak = browser.ask("document.querySelector('#top .peak').dataset.value")
    assert float(peak.split()[-1].replace("−", "-")) == pytest.approx(reports.table["high"][6], rel=0.01)


def test_from_unit_to_unit(browser, site):
    open_unit(browser, site, N - 1)
    ready(browser, "!document.getElementById('unit').hidden")
    browser.ask("document.getElementById('after').click()")
    ready(browser, "document.querySelector('h1').textContent === 'Neuron 0'")
    (site / "neuroscope" / NAME / "units-0001.js").rename(site / "kept.js")
    try:
        browser.ask("(j => { j.value = 5; j.dispatchEvent(new Event('change')) })(document.getElementById('jump'))")
        ready(browser, "document.getElementById('state').textContent.includes('run superscope neuroscope again')")
    finally:
        (site / "kept.js").rename(site / "neuroscope" / NAME / "units-0001.js")
