"""Senses of planted units over the whole range: concepts of unequal strength are found, noise and one direction have none."""

import numpy as np
import pytest

from superscope import lms
from superscope.lms.reading import planted, senses


@pytest.fixture(scope="module")
def text():
    split = lms.corpus.sample(lms.load("gelu-1l-mini").tokenizer, limit_documents=400)
    return split, planted.concepts(split, fewest_documents=10)


def unit(split, chosen, strengths, seed=0, noise=0.03):
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(0, noise, len(split)))
    for concept, strength in zip(chosen, strengths, strict=True):
        on = concept.where & (rng.random(len(split)) > 0.1)
        values[on] = strength * rng.uniform(0.3, 1.0, int(on.sum()))
    return values


def apart(concepts, names):
    return [next(one for one in concepts if one.name == name) for name in names]


def test_senses_of_unequal_strength_are_found(text):
    split, concepts = text
    names = ("in base64", "characters: newline", "token 'the'")
    values = unit(split, apart(concepts, names), (0.6, 0.5, 1.0))
    (found,) = senses.senses(values[:, None], concepts, np.arange(len(split)))
    assert {one.concept for one in found} == set(names)
    assert sum(one.share for one in found) > 0.6
    taken = np.concatenate([one.where for one in found])
    assert len(taken) == len(set(taken.tolist()))  # no token has two


def test_one_concept_is_one_sense_and_noise_has_none(text):
    split, concepts = text
    rng = np.random.default_rng(1)
    one = unit(split, apart(concepts, ["in base64"]), (1.0,))
    noise = np.abs(rng.normal(0, 1, len(split)))
    shuffled = rng.permutation(one)
    found = senses.senses(np.stack([one, noise, shuffled], axis=1), concepts, np.arange(len(split)))
    assert [len(each) for each in found] == [1, 0, 0]


def test_a_silent_unit_has_no_sense(text):
    split, concepts = text
    assert senses.senses(np.zeros((len(split), 1)), concepts, np.arange(len(split))) == [[]]


def test_the_first_round_agrees_with_counting(text):
    split, concepts = text
    values = unit(split, apart(concepts, ["characters: newline"]), (1.0,))
    (found,) = senses.senses(values[:, None], concepts, np.arange(len(split)), most=1)
    excess = np.maximum(values - values.mean(), 0)
    where = apart(concepts, ["characters: newline"])[0].where
    assert found[0].share == pytest.approx(excess[where].sum() / excess.sum(), rel=1e-4)
    assert found[0].lift == pytest.approx(found[0].share / where.mean(), rel=1e-4)


def test_contexts_come_from_the_whole_range():
    activation = np.concatenate([np.full(5, 0.95), np.linspace(0.01, 0.2, 500)])
    sense = senses.Sense("planted", 1.0, 10.0, np.arange(505))
    drawn = senses.contexts(sense, activation, 10, np.random.default_rng(0))
    assert (activation[drawn] > 0.9).sum() == 5
    assert len(set(drawn.tolist())) == 10
    assert len(senses.contexts(sense, activation, 1000, np.random.default_rng(0))) == 505
    assert (activation[senses.contexts(sense, activation, 1000, np.random.default_rng(0), least=0.5)] > 0.45).all()


def test_overlap_of_ranges():
    rng = np.random.default_rng(0)
    low, high = rng.uniform(0, 1, 4000), rng.uniform(2, 3, 4000)
    assert senses.overlap(low, high) == 0
    assert senses.overlap(low, rng.uniform(0, 1, 4000)) > 0.9
    assert senses.overlap(low, rng.uniform(0.5, 1.5, 4000)) == pytest.approx(0.5, abs=0.08)
    assert np.isnan(senses.overlap(low, np.empty(0)))
