"""The site as text: complete, escaped, deterministic, and honest about what is missing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib import resources

import pytest

from superscope import atlas, catalogue
from superscope.atlas import view
from superscope.evidence import findings, records


class Page(HTMLParser):
    """Tags, links and the visible text of a page."""

    VOID = {"meta", "link", "input", "br", "img", "circle", "line", "rect", "path"}  # noqa: RUF012

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.links, self.text, self.scripts = [], [], [], "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.text += data


@pytest.fixture
def site(fake, tmp_path):
    fake.run(out=tmp_path / "runs", seed=3, effect=1.25, law="student t")
    made = atlas.build(tmp_path / "site", tmp_path / "runs")
    return made


def page(site, name):
    return Page((site.index.parent / name).read_text())


def test_a_page_for_every_problem(site):
    assert (site.pages, site.with_findings, site.warnings) == (49, 1, [])
    for number in catalogue.problems():
        text = page(site, f"{number}.html").text
        assert number == "4.7" or "not built yet" in text
        assert number == "4.7" or catalogue.problems()[number].question in text


def test_everything_the_page_needs_is_there_and_local(site):
    for path in site.index.parent.glob("*.html"):
        for link in Page(path.read_text()).links:
            if not link.startswith(("https://", "data:", "#")):
                name, _, anchor = link.partition("#")
                assert (path.parent / name).exists(), link
                assert not anchor or f'id="{anchor}"' in (path.parent / name).read_text(), link
    css = (site.index.parent / "assets/atlas.css").read_text()
    assert "url(" not in css
    assert "@import" not in css


def test_what_a_study_page_says(site):
    text = re.sub(r"\s+", " ", page(site, "4.7.html").text)
    for words in ("Does a fake effect beat its control?", "The fake phenomenon exists. Passed", ">= 0.5", "12 seeds",
                  "How sure", "Control", "The effect was absent from the null, as it should be, in", "@misc{superscope-4-7,",
                  "no effect <i>", "Refuted: ", "Note: fixed late", "The noise is Gaussian.", "300 rows", "student t",
                  "superscope run 4.7 --preset quick --seed 3 --effect 1.25 --law 'student t'", "checksum"):  # fmt: skip
        assert words in text
    order = [text.index(word) for word in ("Asked", "Found", "How sure", "Control", "supported", "Gate", "Claims", "Figures")]
    assert order == sorted(order)


def test_strings_from_data_stay_text(site):
    found = page(site, "4.7.html")
    assert "<script>window.broken = 1</script>" in found.text
    assert "</script><script>window.broken = 2</script>" in found.text
    assert "img" not in found.tags
    assert "b" not in Page((site.index.parent / "4.7.html").read_text().split("</h1>")[0].split("<h1>")[1]).tags
    template, *figures = [json.loads(text) for text in found.scripts if text]
    assert set(template) == {"layout"}
    assert len(figures) == 7
    assert all(set(figure) == {"data", "layout"} for figure in figures)


@pytest.mark.parametrize("text", ["</script>", "<!--", "a & b", "\u2028"])
def test_embedded_json_cannot_close_its_element(text):
    embedded = str(view.embed(json.dumps(text, ensure_ascii=False)))
    assert not set("<>&\u2028") & set(embedded)
    assert json.loads(embedded) == text


def test_downloads(site, tmp_path):
    data = site.index.parent / "data" / "4.7"
    stored = next((tmp_path / "runs").rglob("findings.json"))
    assert (data / "findings.json").read_bytes() == stored.read_bytes()
    assert (data / "losses.csv").read_text().splitlines()[0] == "density,loss,lo,hi,arm"
    assert len((data / "many.csv").read_text().splitlines()) == 301


def test_the_same_findings_give_the_same_bytes(site, tmp_path):
    again = atlas.build(tmp_path / "again", tmp_path / "runs").index.parent
    for path in site.index.parent.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(site.index.parent)).read_bytes()


@pytest.mark.parametrize("name", [records.FINDINGS, "figures/gram.json", "tables/many.parquet"])
def test_damaged_findings_are_a_warning_and_no_page_of_lies(fake, tmp_path, name):
    fake.run(out=tmp_path / "runs")
    path = next((tmp_path / "runs").rglob(name))
    path.write_bytes(path.read_bytes()[:-40])
    made = atlas.build(tmp_path / "site", tmp_path / "runs")
    assert made.with_findings == 0
    assert len(made.warnings) == 1
    assert made.warnings[0].startswith("4.7: ")
    assert "not run yet" in page(made, "4.7.html").text


def test_a_failed_gate(fake, tmp_path):
    fake.run(out=tmp_path / "runs", gate=False)
    made = atlas.build(tmp_path / "site", tmp_path / "runs")
    text = page(made, "4.7.html").text
    assert "gate failed" in text
    assert "nothing below speaks for or against" in text
    assert "--no-gate" in text


def test_index_lists_everything_under_its_family(site):
    text = page(site, "index.html").text
    listed = {problem.family for problem in catalogue.problems().values()}
    places = [text.index(heading) for family, heading in catalogue.families().items() if family in listed]
    assert places == sorted(places)
    assert "✓ 3 supported" in re.sub(r"\s+", " ", text)


def test_a_quick_look_never_hides_a_larger_run_and_has_a_page_of_its_own(fake, tmp_path):
    fake.run(preset="standard", out=tmp_path / "runs", seed=1)
    fake.run(preset="quick", out=tmp_path / "runs", seed=2)
    fake.run(preset="standard", out=tmp_path / "runs", seed=1, effect=0.2)  # not the study as it is written
    made = atlas.build(tmp_path / "site", tmp_path / "runs")
    text = re.sub(r"\s+", " ", page(made, "4.7.html").text)
    assert "superscope run 4.7 --preset standard --seed 1 " in text.replace("Copy", " ")
    assert "--effect" not in text
    assert "Other runs of yours" in text
    others = sorted(path.name for path in (tmp_path / "site").glob("4.7-*.html"))
    assert len(others) == 2
    changed = [name for name in others if "--effect 0.2" in page(made, name).text]
    assert len(changed) == 1
    assert "One of your own runs" in page(made, changed[0]).text


def test_every_claim_leads_to_the_line_that_states_it(tmp_path):
    made = atlas.build(tmp_path / "site", tmp_path / "none")
    html = (tmp_path / "site" / "4.24.html").read_text()
    links = re.findall(r'href="(source-4\.24\.html)#([^"]+)">source', html)
    document = findings.read(records.most_telling("4.24"))
    assert len(links) == len(document["claims"])
    lines = (tmp_path / "site" / "source-4.24.html").read_text()
    for claim, (_, anchor) in zip(document["claims"], links, strict=True):
        place = lines.index(f'id="{anchor}"')
        assert f"&quot;{claim['id']}&quot;" in lines[place : place + 400]
    assert made.warnings == []


def test_the_real_site_says_in_every_card_what_was_asked_found_and_done(tmp_path):
    made = atlas.build(tmp_path / "site", tmp_path / "none")
    assert made.with_findings == 49
    for number in catalogue.problems():
        text = re.sub(r"\s+", " ", page(made, f"{number}.html").text)
        card = text[text.index("Asked") : text.index("Assumptions")]
        answer = card[card.index("Found") + 5 : card.index("How sure")]
        assert len(answer.split()) <= 30 or "the gate failed" in answer
        assert "preset" in card
        assert any(said in card for said in ("The effect was absent from the null", "The gate is the control that failed"))
        assert "see the method" not in text or "Method" in text
        assert "Method" in text
        assert "Related problems" in text
    index = page(made, "index.html").text
    assert index.count("fixed beforehand") == 49
    taken = page(made, "retractions.html").text
    assert "a straight line has R^2 .95 by that measure" in taken
    size = sum((tmp_path / "site" / name).stat().st_size for name in ("4.7.html", "assets/atlas.css", "assets/atlas.js"))
    assert size + (tmp_path / "site/assets/figures.js").stat().st_size < 1_000_000


def test_plotly_is_the_version_that_made_the_figures(tmp_path):
    from plotly.offline import get_plotlyjs_version

    bundle = resources.files("superscope.atlas").joinpath("static/plotly-cartesian.min.js").read_text()[:200]
    assert f"v{get_plotlyjs_version()}" in bundle
