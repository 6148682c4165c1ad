"""Insertions: ends are those of the model, texts keep their length and last token, search finds what is loud, ascent climbs."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.measure.activations import insertions


@pytest.fixture(scope="module")
def model():
    return lms.load("gelu-1l-mini")


@pytest.fixture(scope="module")
def split(model):
    return lms.corpus.sample(model.tokenizer)


@pytest.fixture(scope="module")
def texts(model, split):
    place = np.random.default_rng(0).integers(1000, len(split), 60)
    return insertions.before(split, place, 20, model.tokenizer.bos)[0][:12]


def test_texts_end_where_they_should(model, split):
    place = np.arange(500, 900, 7)
    texts, whole = insertions.before(split, place, 20, model.tokenizer.bos)
    assert texts.shape == (whole.sum(), 21)
    assert (texts[:, 0] == model.tokenizer.bos).all()
    np.testing.assert_array_equal(texts[:, -1], split.tokens[place[whole]])
    assert not (texts[:, 1:] == model.tokenizer.bos).any()


def test_odds_are_those_of_the_model(model, texts):
    at = insertions.ends(model, texts, batch=5)
    tokens = np.array([40, 41, 300])
    p = model.logits(torch.from_numpy(texts))[:, -1].softmax(dim=-1)[:, tokens].sum(dim=1).numpy()
    np.testing.assert_allclose(at.odds(tokens), np.log(p / (1 - p)), atol=1e-3)

    def hold(value, hook):
        value[:, -1, 7] = 0.3
        return value

    said = model.hooked.run_with_hooks(torch.from_numpy(texts), fwd_hooks=[("blocks.0.mlp.hook_post", hold)])
    p = said[:, -1].softmax(dim=-1)[:, tokens].sum(dim=1).detach().numpy()
    np.testing.assert_allclose(at.odds(tokens, {7: 0.3}), np.log(p / (1 - p)), atol=1e-3)


def test_words_are_put_in_and_the_far_end_falls_off():
    text = np.array([[0, 1, 2, 3, 4, 5, 6]])
    made = insertions.inserted(text, np.array([[8, 9]]), np.array([1]))
    np.testing.assert_array_equal(made, [[0, 3, 4, 5, 8, 9, 6]])
    made = insertions.inserted(text, np.array([[8, 9]]), np.array([3]))
    np.testing.assert_array_equal(made, [[0, 3, 8, 9, 4, 5, 6]])


def test_words_near_places_and_words_as_frequent(split):
    token = int(np.bincount(split.tokens).argsort()[-40])
    place = np.flatnonzero(split.tokens == token)[:200] + 3
    words, lift = insertions.words_of(split, place)
    assert token in words
    assert lift[token] > 3
    rng = np.random.default_rng(0)
    other = insertions.alike(split, words, lift, np.array([5]), rng)
    assert len(set(other)) == len(words)
    assert not set(other) & {*words.tolist(), 5}
    counts = np.bincount(split.tokens)
    ratio = np.log((counts[other] + 0.5) / (counts[words] + 0.5))
    assert np.abs(np.median(ratio)) < 0.3
    assert (lift[other] <= 1.5).all()


def test_an_attack_finds_the_word_that_the_neuron_hears(model, texts, split):
    """Words that make a neuron loud in this model, found by trying them one by one, are those that the search keeps."""
    neuron, words = 160, np.unique(split.tokens[:400])[5:45]
    rng = np.random.default_rng(1)

    def loud(tries):
        found = insertions.attack(model, texts, words, 2, tries, rng, insertions.loudness(neuron))
        assert (found.texts[:, -1] == texts[:, -1]).all()
        assert found.texts.shape == texts.shape
        assert all(set(found.words[i]) <= set(found.texts[i]) for i in range(len(texts)))
        return float(insertions.ends(model, found.texts).values[:, neuron].mean())

    assert loud(60) > loud(1)
    found = insertions.attack(model, texts, words, 2, 40, rng, lambda at: at.odds(np.array([300])))
    plain = insertions.attack(model, texts, words, 2, 1, rng, lambda at: at.odds(np.array([300])))
    gains = [insertions.gains(model, texts, one.texts, np.array([300])).mean() for one in (found, plain)]
    np.testing.assert_allclose(found.at.values, insertions.ends(model, found.texts).values, atol=1e-4)
    assert gains[0] > gains[1]


def test_ascent_climbs_more_than_random_directions_and_finds_the_only_neuron(model, texts):
    heard = insertions.hear(insertions.ends(model, texts))
    tokens = np.array([300, 301])
    climbed = insertions.ascent(heard, tokens, 1.0)
    np.testing.assert_allclose(climbed.norm(dim=1), 1.0, atol=1e-4)
    rng = np.random.default_rng(0)
    blind = [heard.rise(tokens, torch.from_numpy(rng.normal(size=128).astype(np.float32)), 1.0) for _ in range(5)]
    assert heard.rise(tokens, climbed, 1.0) > 3 * max(blind)
    alone = replace(model, hooked=copy.deepcopy(model.hooked))
    mlp = alone.hooked.blocks[0].mlp
    with torch.no_grad():
        mlp.W_out[:] = 0
        mlp.W_out[7] = (alone.hooked.W_U[:, 300] - alone.hooked.W_U.mean(dim=1)) * 3
        mlp.b_in[7] += 2
    heard = insertions.hear(insertions.ends(alone, texts))
    climbed = insertions.ascent(heard, np.array([300]), 1.0)
    read = mlp.W_in[:, 7].detach()
    assert float((climbed @ (read / read.norm())).mean()) > 0.95  # the toy of two neurons: prediction and attack agree


def test_layers_that_are_no_plain_sum_are_refused():
    with pytest.raises(lms.ModelError, match="more than one matrix"):
        insertions.ends(lms.load("solu_ln-1l-mini"), np.zeros((1, 4), dtype=np.int64))
