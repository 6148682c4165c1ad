"""Neuroscope pages: their data, their size, hostile text, and, where Chromium is installed, what a reader sees."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from superscope import atlas, lms
from superscope.atlas import neuroscope as pages
from superscope.evidence import records
from superscope.lms import corpus
from superscope.lms.corpus.generated import Document
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model import activations
from superscope.lms.model.transformer import Shape
from superscope.lms.reading import neuroscope, similar
from superscope.lms.reading.metrics import Verdict

EVIL = '<script>document.title = "evil"</script>'
N = 11  # neurons: the last file of units is not full


VERDICTS = [
    Verdict(1.0 + k / 3 if k else 64.0, 1.0, [(f"token {EVIL!r}", 1.0), ("in <b>code</b>", 0.4)], 0.25) for k in range(N)
]


def text(rng):
    words = ["river", "stone", "<b>bold</b>", "&amp;", EVIL, "alpha\n", "\tbeta", "gamma", "'quoted'", "</script>", "\u2028"]
    return " ".join(rng.choice(words, 60))


@pytest.fixture(scope="module")
def made():
    """A small model, and reports on it."""
    rng = np.random.default_rng(0)
    documents = [Document(text(rng), "<i>genre</i>" if k % 2 else "plain", "source", f"work <{k}>") for k in range(24)]
    # the whole hostile string becomes one token, so it is in the vocabulary and in the logit tables too
    tokenizer = Tokenizer.train([d.text for d in documents] + ["<script>" * 50], 400)
    model = lms.untrained(Shape(1, 16, 2, N, 32, len(tokenizer)), tokenizer, name="tiny <model>")
    return model, neuroscope.examine(model, corpus.tokenise(documents, tokenizer), top=5, corpus="a <u>corpus</u>")


@pytest.fixture(scope="module")
def reports(made):
    return made[1]


def write(made, folder):
    model, reports = made
    alike = similar.similar(model, reports.split, activations.neurons(model), len(reports))
    return pages.write(reports, folder, VERDICTS, similar=alike, model=model)


@pytest.fixture(scope="module")
def site(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write(made, folder)
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


def test_the_same_reports_give_the_same_bytes(site, made, tmp_path):
    write(made, tmp_path)
    for path in (tmp_path / "neuroscope" / NAME).iterdir():
        assert path.read_bytes() == (site / "neuroscope" / NAME / path.name).read_bytes()


@pytest.mark.parametrize(
    ("model", "place", "name"), [("a/b c", "L0", "a-b-c-L0"), ("../..", "<x>", "x"), ("gpt2", "L11", "gpt2-L11")]
)
def test_names_are_file_names(model, place, name):
    assert pages.slug(model, place) == name


def test_the_table_can_be_taken_away(site, reports):
    folder = site / "neuroscope" / NAME
    records = json.loads((folder / "units.json").read_text())
    rows = list(csv.DictReader(io.StringIO((folder / "units.csv").read_text())))
    assert [int(row["unit"]) for row in rows] == [record["unit"] for record in records] == list(range(N))
    np.testing.assert_allclose([float(row["kurtosis"]) for row in rows], reports.table["kurtosis"])
    assert [row["concepts"] for row in rows][:4] == ["", "1.3", "1.7", "2.0"]  # of the first none is sure
    assert records[0]["concepts"] is None
    assert [record["top_misleads"] for record in records] == [k >= 6 for k in range(N)]
    assert all(len(set(record["similar"])) == similar.COUNT and k not in record["similar"] for k, record in enumerate(records))
    assert rows[2]["token"] in (records[2]["token"], "'" + records[2]["token"])


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2", "@A1", "\t=1", "  =cmd|'/c calc'!A0", "\r", "\n=2", "＝1", "-"])
def test_a_formula_stays_text(text):
    (row,) = csv.DictReader(io.StringIO(pages._csv([{"token": text, "value": -1.5}]).decode(), newline=""))
    assert row == {"token": "'" + text, "value": "-1.5"}


def test_a_plain_text_stays_as_it_is():
    (row,) = csv.DictReader(io.StringIO(pages._csv([{"token": ' a, "b"', "named": ["x", "y=1"]}]).decode(), newline=""))
    assert row == {"token": ' a, "b"', "named": "x; y=1"}


def test_where_the_page_cannot_compute_it_says_so(reports, tmp_path):
    pages.write(reports, tmp_path)
    html = (tmp_path / f"neuroscope-{NAME}.html").read_text()
    assert "There is no box for your own text here: the pages were written without the model." in html
    assert "<textarea" not in html
    assert not (tmp_path / "neuroscope" / NAME / "model.js").exists()


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


@pytest.mark.parametrize("width", [1280, 390])
def test_table_in_a_browser(browser, site, width):
    assert browser.visit((site / f"neuroscope-{NAME}.html").as_uri(), width=width) == []
    ready(browser, "document.querySelectorAll('tbody tr').length")
    assert browser.ask("document.querySelectorAll('tbody tr').length") == N
    assert browser.ask("document.documentElement.scrollWidth") <= width
    column = "[...document.querySelectorAll('tbody tr')].map((row) => parseFloat(row.cells[5].textContent.replace('−', '-')))"
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
    values = browser.ask("[...document.querySelectorAll('tbody tr')].map((row) => row.cells[10].textContent)")
    numbers = [float(v.replace("−", "-")) for v in values if v != "–"]
    assert len(numbers) > 3
    assert numbers == sorted(numbers, reverse=True)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
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


def type_text(browser, text):
    browser.ask(
        f"(o => {{ o.value = {json.dumps(text)}; o.dispatchEvent(new Event('input')) }})(document.getElementById('own'))"
    )


def in_torch(model, text):
    tokens = torch.tensor([[model.tokenizer.bos, *model.tokenizer.encode(text)][: model.n_ctx]])
    return model.activations(tokens, [model.neuron_hook()])[model.neuron_hook()][0, 1:].numpy()


TYPED = f"river {EVIL} stone\n<b>bold"


@pytest.mark.parametrize("width", [1280, 390])
def test_own_text_sorts_the_table(browser, site, made, width):
    browser.visit((site / f"neuroscope-{NAME}.html").as_uri(), width=width)
    browser.ask("sessionStorage.clear()")
    browser.visit((site / f"neuroscope-{NAME}.html").as_uri(), width=width)
    ready(browser, "document.querySelectorAll('tbody tr').length")
    assert browser.ask("document.querySelectorAll('script[src*=\"model.js\"]').length") == 0
    type_text(browser, TYPED)
    ready(browser, "document.querySelectorAll('#tokens button').length")
    expected = in_torch(made[0], TYPED)
    assert browser.ask("document.querySelectorAll('#tokens button').length") == len(expected)
    browser.ask("document.querySelectorAll('#tokens button')[2].click()")
    rows = browser.ask(
        "[...document.querySelectorAll('tbody tr')].map((row) => [row.cells[0].textContent, row.cells[1].textContent])"
    )
    assert [int(unit) for unit, _ in rows] == np.argsort(-expected[2], kind="stable").tolist()
    np.testing.assert_allclose([float(v.replace("−", "-")) for _, v in rows], np.sort(expected[2])[::-1], rtol=6e-3, atol=1e-9)
    assert "token 3 of" in browser.ask("document.getElementById('matches').textContent")
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("document.title") != "evil"
    browser.ask("document.querySelectorAll('#tokens button')[2].click()")
    assert browser.ask("document.querySelector('tbody').rows[0].cells[0].textContent") == "0"
    type_text(browser, "")
    ready(browser, "!document.querySelectorAll('#tokens button').length")


def test_own_text_on_a_unit(browser, site, made):
    """The text comes along from the table; every token shows this unit's activation; what does not fit is counted."""
    browser.visit((site / f"neuroscope-{NAME}.html").as_uri())
    type_text(browser, TYPED)
    ready(browser, "document.querySelectorAll('#tokens button').length")
    assert open_unit(browser, site, 6, width=390) == []
    ready(browser, "document.querySelectorAll('#tokens button').length")
    expected = in_torch(made[0], TYPED)[:, 6]
    told = browser.ask(
        "[...document.querySelectorAll('#tokens button')].map((b) => b.dataset.value.split('   ').pop().split(',')[0])"
    )
    np.testing.assert_allclose([float(v.replace("−", "-")) for v in told], expected, rtol=6e-3, atol=1e-9)
    tinted = browser.ask("[...document.querySelectorAll('#tokens button')].map((b) => b.style.background)")
    assert "var(--positive)" in tinted[int(expected.argmax())]
    assert browser.ask("document.documentElement.scrollWidth") <= 390
    browser.ask("location.hash = '#2'")
    ready(browser, "document.querySelector('h1').textContent === 'Neuron 2'")
    other = browser.ask("document.querySelector('#tokens button').dataset.value")
    assert float(other.split("   ")[1].split(",")[0].replace("−", "-")) == pytest.approx(
        in_torch(made[0], TYPED)[0, 2], rel=6e-3
    )
    type_text(browser, "stone " * 200)
    ready(browser, "document.getElementById('read').textContent.includes('left out')")
    left = len(made[0].tokenizer.encode("stone " * 200)) - 31
    assert browser.ask("document.getElementById('read').textContent").startswith(f"31 tokens; {left} more")


def test_tokens_are_walked_with_the_arrow_keys(browser, site):
    open_unit(browser, site, 3)
    type_text(browser, "river stone alpha")
    ready(browser, "document.querySelectorAll('#tokens button').length > 2")
    browser.ask("document.querySelector('#tokens button').focus()")
    for _ in range(2):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight")
    assert browser.ask("[...document.querySelectorAll('#tokens button')].indexOf(document.activeElement)") == 2
    assert browser.ask("[...document.querySelectorAll('#tokens button')].filter((b) => b.tabIndex === 0).length") == 1
    assert browser.ask("document.querySelector('h1').textContent") == "Neuron 3"  # the page's own arrow keys stay out of it
    assert not browser.ask("document.getElementById('value').hidden")


def test_similar_random_and_misleading(browser, site, made):
    model, reports = made
    open_unit(browser, site, 8)
    ready(browser, "!document.getElementById('unit').hidden")
    values = activations.values(model, reports.split.rows(32), activations.neurons(model))["units"].numpy()
    r = np.corrcoef(values.T)[8]
    r[8] = -2
    shown = browser.ask(
        "[...document.querySelectorAll('#similar tbody tr')].map((row) => [row.cells[0].textContent, row.cells[1].textContent])"
    )
    assert shown[0][0] == f"neuron {r.argmax()}"
    assert float(shown[0][1].replace("−", "-")) == pytest.approx(r.max(), abs=0.011)
    assert not browser.ask("document.getElementById('misleads').hidden")
    assert (
        browser.ask("document.querySelector('.score').textContent")
        == "3.7 concepts over the whole range, 1 concept in the strongest firings"
    )
    seen = set()
    for _ in range(6):
        before = browser.ask("document.querySelector('h1').textContent")
        browser.ask("document.getElementById('random').click()")
        ready(browser, f"document.querySelector('h1').textContent !== {json.dumps(before)}")
        seen.add(browser.ask("document.querySelector('h1').textContent"))
    assert len(seen) > 1
    browser.visit("about:blank")
    browser.visit((site / f"neuroscope-{NAME}-unit.html").as_uri() + "#random")
    ready(browser, "!document.getElementById('unit').hidden")
    assert browser.ask("document.querySelector('h1').textContent === 'Neuron ' + location.hash.slice(1)")
    open_unit(browser, site, 1)
    ready(browser, "!document.getElementById('unit').hidden")
    assert browser.ask("document.getElementById('misleads').hidden")


@pytest.mark.parametrize("page", [f"neuroscope-{NAME}.html", f"neuroscope-{NAME}-unit.html"])
def test_what_can_be_used_has_a_name(browser, site, page):
    browser.visit("about:blank")
    assert browser.visit((site / page).as_uri()) == []
    ready(browser, "document.querySelectorAll('tbody tr').length")
    inputs = "[...document.querySelectorAll('input, select, textarea')]"
    assert browser.ask(f"{inputs}.every((one) => one.labels.length === 1 || one.getAttribute('aria-label'))")
    assert browser.ask(
        "[...document.querySelectorAll('a, button')].every((one) => one.textContent.trim() || one.getAttribute('aria-label'))"
    )
    assert browser.ask(
        "[...document.querySelectorAll('.scroll-x')].every((one) => one.tabIndex === 0 && one.getAttribute('aria-label'))"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", [f"neuroscope-{NAME}.html", f"neuroscope-{NAME}-unit.html"])
def test_axe_finds_nothing(browser, site, page, width, scheme):
    axe = importlib.util.find_spec("axe_core_python")
    if axe is None or axe.origin is None:
        pytest.skip("axe-core-python is not installed")
    browser.visit("about:blank")
    browser.visit((site / page).as_uri(), width=width, scheme=scheme)
    type_text(browser, TYPED)
    ready(browser, "document.querySelectorAll('#tokens button').length")
    browser.ask("document.querySelectorAll('#tokens button')[1].click()")
    browser.ask(f"(0, eval)({json.dumps((Path(axe.origin).parent / 'axe.min.js').read_text(encoding='utf-8'))})")
    run = 'axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] })'
    assert browser.ask(f"{run}.then((found) => found.violations.map((one) => [one.id, one.nodes[0].target.join(' ')]))") == []
