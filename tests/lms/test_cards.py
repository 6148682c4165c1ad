"""Blinded cards: nothing on the page gives the arm away, and a filled sheet comes back joined with the key."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from superscope.lms import corpus
from superscope.lms.corpus.generated import Document
from superscope.lms.reading import cards, neuroscope, planted
from superscope.lms.reading.cards import CardsError
from superscope.lms.reading.judge import Contexts


@pytest.fixture(scope="module")
def arms(model, split):
    first = neuroscope.examine(model, split, top=12)
    return {"gelu-secret": first, "gelu-secret (init)": neuroscope.examine(model.control("init", 3), split, top=12)}


@pytest.fixture
def exported(arms, tmp_path):
    cards.export(arms, tmp_path / "cards", per_arm=5, seed=2)
    return tmp_path / "cards"


def fill(folder, rows):
    with open(folder / "scores.csv", "w", newline="") as file:
        csv.writer(file).writerows([cards.COLUMNS, *rows])


def ids(folder):
    return list(json.loads((cards.key_folder(folder) / "key.json").read_text())["cards"])


def test_what_is_written(exported, arms):
    key = json.loads((exported.parent / "cards-key" / "key.json").read_text())
    assert sorted(p.name for p in exported.iterdir()) == ["cards.html", "scores.csv"]
    assert [row["model"] for row in key["cards"].values()].count("gelu-secret") == 5
    with open(exported / "scores.csv") as file:
        sheet = list(csv.DictReader(file))
    html = (exported / "cards.html").read_text()
    shown = re.findall(r'<section class="card" id="c([0-9a-f]{10})">', html)
    assert [row["card"] for row in sheet] == shown == sorted(key["cards"])
    assert len(shown) == 10
    for name, row in key["cards"].items():
        assert row["neuron"] in arms[row["model"]].numbers, name


def test_the_page_is_blind(exported, arms):
    html = (exported / "cards.html").read_text()
    body = html[html.index("<section") : html.index('<div class="bar"')]
    for word in ("secret", "init", "gelu", "neuron", "layer", "blocks", "seed"):
        assert word not in re.sub(r'<span class="text">.*?</span>|initial-scale', "", html, flags=re.S).lower(), word
    assert set(re.findall(r'class="([^"]*)"', body)) <= {"card", "text", *(f"s{k}{p}" for k in range(5) for p in ("", " peak"))}
    outside = re.sub(r"<[^>]*>", " ", re.sub(r'<span class="text">.*?</span>', "", body, flags=re.S))
    assert set(re.findall(r"\d+", re.sub(r"\b[0-9a-f]{10}\b", "", outside))) == set()
    assert not re.search(r"(src|href)=\"(?!data:)", html)  # one file, nothing fetched


def test_shades_are_relative(split, arms):
    """A unit ten times as strong, or with another negative tail, gives the same card."""
    contexts = arms["gelu-secret"].contexts(3, 10, background=0)
    louder = np.where(contexts.activations > 0, contexts.activations * 10, contexts.activations * 3)
    assert cards._shaded(contexts) == cards._shaded(Contexts(split, contexts.place, louder))


def test_ids_say_nothing_about_the_order_of_arms(arms, tmp_path):
    cards.export(arms, tmp_path / "a", per_arm=12, seed=1)
    cards.export(dict(reversed(arms.items())), tmp_path / "b", per_arm=12, seed=1)
    assert (tmp_path / "a" / "cards.html").read_bytes() == (tmp_path / "b" / "cards.html").read_bytes()
    key = json.loads((tmp_path / "a-key" / "key.json").read_text())["cards"]
    is_init = np.array(["init" in key[name]["model"] for name in sorted(key)])
    assert 3 < is_init[:12].sum() < 9  # mixed
    neurons = np.array([key[name]["neuron"] for name in sorted(key)])
    assert abs(np.corrcoef(neurons, np.arange(len(neurons)))[0, 1]) < 0.5


def test_text_is_escaped(tokenizer, tmp_path):
    evil = corpus.tokenise(
        [Document('<script>alert("x")</script> & <b>' * 5, "web", "s", f"w{k}") for k in range(4)], tokenizer
    )
    values = np.random.default_rng(0).random(len(evil)).astype(np.float32)
    cards.export({}, tmp_path / "c", extra={"planted": [planted.contexts(evil, values)]})
    html = (tmp_path / "c" / "cards.html").read_text()
    assert html.count("<script") == 1  # its own
    assert "&lt;" in html


def test_scores_come_back(exported, arms):
    names = ids(exported)
    fill(exported, [[names[0], "yes", "9", 'digits, and "quotes"'], [names[1], "No", "", ""], [names[2], "", "", ""]])
    found = cards.read_scores(exported)
    assert found["card"].tolist() == names[:2]
    assert found["interpretable"].tolist() == [True, False]
    assert found["explained"][0] == 9
    assert np.isnan(found["explained"][1])
    assert found["note"][0] == 'digits, and "quotes"'
    assert set(found["model"]) <= set(arms)
    assert list(found.columns) == ["card", "model", "neuron", "interpretable", "explained", "note"]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (["0123456789", "yes", "", ""], "line 3 .*0123456789,yes.*no such card"),
        (["first", "yes", "", ""], "already rated in line 2"),
        (["second", "maybe", "", ""], "'maybe': expected yes, no or nothing"),
        (["second", "yes", "11", ""], "'11': expected a number from 0 to 10"),
        (["second", "yes", "many", ""], "'many': expected a number"),
    ],
)
def test_wrong_rows_are_quoted(exported, row, complaint):
    names = ids(exported)
    row[0] = {"first": names[0], "second": names[1]}.get(row[0], row[0])
    fill(exported, [[names[0], "yes", "", ""], row])
    with pytest.raises(CardsError, match=complaint):
        cards.read_scores(exported)


def test_unusable_sheets(exported, tmp_path):
    with pytest.raises(CardsError, match="no rating yet"):
        cards.read_scores(exported)
    (exported / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CardsError, match="no column card and interpretable"):
        cards.read_scores(exported)
    (exported / "scores.csv").write_bytes(b"card,interpretable\n\xff\xfe,yes\n")
    with pytest.raises(CardsError, match="not UTF-8"):
        cards.read_scores(exported)
    (exported / "scores.csv").unlink()
    with pytest.raises(CardsError, match="No such file"):
        cards.read_scores(exported)
    (cards.key_folder(exported) / "key.json").write_text("{}")
    with pytest.raises(CardsError, match="key of the cards"):
        cards.read_scores(exported)


def test_ratings_are_not_overwritten(exported, arms):
    fill(exported, [[ids(exported)[0], "yes", "", ""]])
    with pytest.raises(CardsError, match="holds ratings"):
        cards.export(arms, exported, per_arm=5, seed=2)


def test_units_that_never_fire_get_no_card(split, arms, tmp_path):
    silent = Contexts(split, np.arange(5)[None], np.full((1, 5), -0.1))
    with pytest.raises(CardsError, match="nothing to put on a card"):
        cards.export({}, tmp_path / "c", extra={"silent": [silent]})
    cards.export(arms, tmp_path / "c", per_arm=2, extra={"silent": [silent]})
    key = json.loads((tmp_path / "c-key" / "key.json").read_text())
    assert key["never fire"]["silent"] == 1
    assert "silent" not in {row["model"] for row in key["cards"].values()}
    with pytest.raises(CardsError, match="two arms are called"):
        cards.export(arms, tmp_path / "d", extra={"gelu-secret": []})
