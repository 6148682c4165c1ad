"""The site as text: complete, escaped, deterministic, and honest about what is missing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from superscope import atlas, catalogue
from superscope.atlas import view
from superscope.evidence import records


class Page(HTMLParser):
    """Tags, links and the visible text of a page."""

    VOID = {"meta", "link", "input", "br", "img"}  # noqa: RUF012

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
                assert (path.parent / link).exists(), link
    css = (site.index.parent / "assets/atlas.css").read_text()
    assert "url(" not in css
    assert "@import" not in css


def test_what_a_study_page_says(site):
    text = re.sub(r"\s+", " ", page(site, "4.7.html").text)
    for words in ("Does a fake effect beat its control?", "The fake phenomenon exists. Passed", ">= 0.5", "12 seeds",
                  "no effect <i>", "Refuted: ", "Note: fixed late", "The noise is Gaussian.", "300 rows", "student t",
                  "superscope run 4.7 --preset quick --seed 3 --effect 1.25 --law 'student t'", "checksum"):  # fmt: skip
        assert words in text
    assert text.index("supported") < text.index("Question") < text.index("Gate") < text.index("Claims")


def test_strings_from_data_stay_text(site):
    found = page(site, "4.7.html")
    assert "<script>window.broken = 1</script>" in found.text
    assert "</script><script>window.broken = 2</script>" in found.text
    assert "img" not in found.tags
    assert "b" not in Page((site.index.parent / "4.7.html").read_text().split("</h1>")[0].split("<h1>")[1]).tags
    figures = [json.loads(text) for text in found.scripts]
    assert len(figures) == 4 + 7
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
    places = [text.index(heading) for heading in catalogue.families().values()]
    assert places == sorted(places)
    assert "3 supported" in re.sub(r"\s+", " ", text)
