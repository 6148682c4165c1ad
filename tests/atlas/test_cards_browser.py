"""Blinded cards in a real browser: scripted answers are kept over a reload, saved as a sheet, and read back with the key."""

import json

import numpy as np
import pytest
from chromium import PROGRAM, Browser

from superscope import lms
from superscope.lms import corpus
from superscope.lms.corpus.generated import Document
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model.transformer import Shape
from superscope.lms.reading import cards, neuroscope

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed: the cards are not opened")

ANSWER = """[...document.querySelectorAll("[id^=c]")].filter((one) => one.querySelector("input[value=yes]")).map((card, k) => {
  card.querySelector(`input[value="${k % 3 ? "no" : "yes"}"]`).click();
  card.querySelector("[data-field=explained]").value = k % 3 ? 2 : 9;
  card.querySelector("[data-field=note]").value = k ? "" : 'a "quoted", note';
  card.dispatchEvent(new Event("input", { bubbles: true }));
  return card.id.slice(1);
})"""
SAVED = """(async () => {
  let made;
  const real = URL.createObjectURL;
  URL.createObjectURL = (blob) => { made = blob; return real(blob); };
  document.getElementById("save").click();
  return await made.text();
})()"""


@pytest.fixture
def exported(tmp_path):
    rng = np.random.default_rng(0)
    words = ["river", "stone", "alpha", "beta", "<b>gamma</b>", "delta"]
    documents = [Document(" ".join(rng.choice(words, 60)), "plain", "source", f"work {k}") for k in range(24)]
    tokenizer = Tokenizer.train([d.text for d in documents], 300)
    model = lms.untrained(Shape(1, 16, 2, 12, 32, len(tokenizer)), tokenizer, name="tiny")
    reports = neuroscope.examine(model, corpus.tokenise(documents, tokenizer), top=12)
    cards.export({"first": reports}, tmp_path / "cards", per_arm=6, seed=1)
    return tmp_path / "cards"


def test_scripted_answers_come_back_with_what_the_cards_were(exported, tmp_path):
    browser = Browser(PROGRAM, tmp_path / "profile")
    try:
        page = (exported / cards.PAGE).as_uri()
        assert browser.visit(page, width=390) == []
        assert browser.ask("document.documentElement.scrollWidth") <= 390
        answered = browser.ask(ANSWER)
        assert len(answered) == 6
        browser.visit(page)
        assert browser.ask("document.getElementById('count').textContent") == "6 of 6 rated"
        sheet = browser.ask(SAVED)
    finally:
        browser.close()
    (exported / cards.SHEET).write_text(sheet)
    scores = cards.read_scores(exported).set_index("card")
    key = json.loads((cards.key_folder(exported) / cards.KEY).read_text())["cards"]
    assert list(scores.index) == answered
    assert scores["interpretable"].tolist() == [k % 3 == 0 for k in range(6)]
    assert scores["neuron"].tolist() == [key[card]["neuron"] for card in answered]
    assert scores["note"].iloc[0] == 'a "quoted", note'
