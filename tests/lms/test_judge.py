"""The rule judge on units whose concepts are known, on noise, and on cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from texts import code, prose

from superscope.lms import corpus
from superscope.lms.corpus import generated
from superscope.lms.corpus.generated import Document
from superscope.lms.corpus.wordclasses import forms, word_classes
from superscope.lms.reading import planted
from superscope.lms.reading.judge import Contexts, document_f1, judge


@pytest.fixture(scope="module")
def text(tokenizer):
    """Some 300 documents, so that a concept has firings in many."""
    rng = np.random.default_rng(1)
    made = [Document(prose(rng), "novel", "tales", f"tale {k}") for k in range(110)]
    made += [Document(code(rng), "python", "scripts", f"script {k}") for k in range(80)]
    return corpus.tokenise([*made, *generated.documents(50_000)], tokenizer)


@pytest.fixture(scope="module")
def known(text):
    return planted.concepts(text, fewest_documents=25)


@pytest.fixture(scope="module")
def verdicts(text, known):
    drawn = {m: planted.draw(text, m, 14, 3, known) for m in (1, 2, 3, 4, 5)}
    return {m: [judge(planted.contexts(text, u.activations)) for u in units] for m, units in drawn.items()}


def test_one_concept_ranks_above_several(verdicts):
    scores = {m: [j.score for j in many] for m, many in verdicts.items()}
    several = [s for m in (2, 3, 4, 5) for s in scores[m]]
    assert planted.auc(scores[1], several) >= 0.9
    assert planted.auc(scores[1], scores[2]) >= 0.85
    assert np.median(scores[1]) > 0.85
    assert np.median(scores[5]) < np.median(scores[2])


def test_still_above_chance_under_harsh_noise(text, known):
    noise = {"misses": 0.3, "false": 0.6}
    scores = {
        m: [judge(planted.contexts(text, u.activations)).score for u in planted.draw(text, m, 14, 4, known, **noise)]
        for m in (1, 3)
    }
    assert planted.auc(scores[1], scores[3]) >= 0.75


def test_noise_has_no_rule(text, known):
    found = [judge(planted.contexts(text, u.activations)) for u in planted.draw(text, 0, 12, 5, known)]
    assert np.mean([j.score for j in found]) < 0.1
    assert max(j.score for j in found) < 0.35


def activations(text, where, seed=0):
    rng = np.random.default_rng(seed)
    strength = rng.uniform(0.8, 1, len(text.documents))[text.document]
    return (where * strength + rng.uniform(0, 0.02, len(text))).astype(np.float32)


def test_says_the_rule_and_the_single_token_share(text):
    form = forms(text.tokenizer)
    token = next(k for k in np.argsort(-np.bincount(form.of[text.tokens])) if len(form.names[k]) > 2)
    found = judge(planted.contexts(text, activations(text, form.of[text.tokens] == token)))
    assert found.rule == f"token is {form.names[token]!r}"
    assert found.score > 0.95
    assert found.single_token_share == 1
    wide = judge(planted.contexts(text, activations(text, text.segment == generated.SEGMENTS.index("base64"))))
    assert wide.rule == "in base64"
    assert wide.single_token_share < 0.5


def test_conjunctions(text):
    digit = np.char.isdigit(np.array([p.strip() for p in text.tokenizer.pieces]))[text.tokens]
    python = text.genre == text.genres.index("python")
    found = judge(planted.contexts(text, activations(text, digit & python)))
    assert found.rule.endswith(" and in python text")
    assert found.rule.startswith(("characters: digit", "word class like '0', '1'"))
    assert found.score > 0.9


def test_repeats_are_a_condition(text):
    where = (text.previous > 0) & (text.genre == text.genres.index("novel"))
    assert "occurred before" in judge(planted.contexts(text, activations(text, where))).rule


def test_two_concepts_joined_by_or_are_not_one_rule(text):
    a = text.segment == generated.SEGMENTS.index("hex")
    b = forms(text.tokenizer).of[text.tokens] == forms(text.tokenizer).names.index("the")
    rng = np.random.default_rng(0)
    some = rng.permutation(np.unique(text.document[b]))[: len(np.unique(text.document[a]))]
    both = judge(planted.contexts(text, activations(text, a | (b & np.isin(text.document, some)))))
    alone = judge(planted.contexts(text, activations(text, a)))
    assert both.score < alone.score - 0.15


def test_nothing_fires(text):
    silent = judge(planted.contexts(text, np.zeros(len(text), dtype=np.float32)))
    assert (silent.score, silent.firings) == (0.0, 0)
    negative = judge(planted.contexts(text, np.full(len(text), -1, dtype=np.float32)))
    assert negative.score == 0
    once = np.zeros(len(text), dtype=np.float32)
    once[100] = 1
    assert judge(planted.contexts(text, once)).rule == "too few documents with firings"
    nothing = Contexts(text, np.full((2, 5), -1), np.full((2, 5), np.nan))
    assert judge(nothing).score == 0


def test_document_f1_by_hand():
    document = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    fires = np.array([1, 1, 0, 0, 1, 0, 0, 0], dtype=bool)
    called = np.array([1, 0, 0, 0, 1, 1, 1, 0], dtype=bool)
    precision, recall = (1 + 1 / 2 + 0) / 3, (1 / 2 + 1) / 2
    assert document_f1(called[None], fires, document)[0] == pytest.approx(2 * precision * recall / (precision + recall))
    assert document_f1(np.zeros((1, 8), bool), fires, document)[0] == 0


def test_the_same_every_time(text, known):
    unit = planted.draw(text, 2, 1, 9, known)[0]
    assert judge(planted.contexts(text, unit.activations)) == judge(planted.contexts(text, unit.activations))


def test_forms_and_classes(text):
    form = forms(text.tokenizer)
    pieces = text.tokenizer.pieces
    assert form.of[pieces.index("the")] == form.of[pieces.index(" the")]
    classes = word_classes(text)
    assert classes.shape == (len(text.tokenizer),)
    assert word_classes(text) is classes
    digits = classes[[pieces.index(str(k)) for k in range(10)]]
    assert np.bincount(digits[digits >= 0]).max() >= 5


def test_too_little_text_for_so_many_concepts(split):
    with pytest.raises(ValueError, match="use more text"):
        planted.draw(split, 3, 1, 0, [])
