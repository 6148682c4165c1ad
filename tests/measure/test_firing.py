"""Firing: planted neurons of known density and known words; a slow twin; chance is the same firing elsewhere."""

import numpy as np
import pytest

from superscope.measure.activations import firing

RNG = np.random.default_rng(0)
N = 6000
TOKENS = np.repeat(np.arange(60), 100)[RNG.permutation(N)]
DOCUMENTS = np.arange(N) // 100


def read(values, seed=0):
    return firing.firing(lambda which: values[:, which], values.shape[1], TOKENS, DOCUMENTS, np.random.default_rng(seed))


def test_planted_neurons():
    values = np.zeros((N, 5), np.float32)
    values[:, 1] = TOKENS == 7  # one word
    values[:, 2] = (TOKENS < 6) * RNG.uniform(0.2, 2, N)  # six words, unequally strong
    values[:, 3] = (RNG.random(N) < 0.1) * RNG.exponential(1, N)  # as rare, whatever the word
    values[:, 4] = (DOCUMENTS == 3) * 5.0
    found = read(values)
    assert found.density.tolist() == [
        0,
        pytest.approx(1 / 60),
        pytest.approx(0.1),
        pytest.approx(0.1, abs=0.02),
        pytest.approx(1 / 60),
    ]
    assert found.documents[0] == 0
    assert found.documents[4] == pytest.approx(1 / 60)
    assert found.loc[0, ["sparseness", "words"]].isna().all()
    assert found.words[1] < 0.05
    assert 0.05 < found.words[2] < 0.2
    assert found.words[3] == pytest.approx(1, abs=0.15)
    assert found.sparseness[1] == pytest.approx(found.density[1])  # equal firings
    assert found.sparseness[3] == pytest.approx(found.density[3] / 2, rel=0.2)  # exponential ones: (E r)^2 / E r^2 = 1/2


def test_the_slow_twin():
    values = np.maximum(RNG.standard_normal((N, 4)), 0).astype(np.float32)
    found = read(values)
    for unit in range(4):
        heights = np.array([values[t == TOKENS, unit].mean() for t in range(60)], dtype=float)
        elsewhere = np.random.default_rng(0).permutation(values, axis=0)[:, unit]
        chance = np.array([elsewhere[t == TOKENS].mean() for t in range(60)], dtype=float)
        ratio = heights.sum() ** 2 / (heights**2).sum() / (chance.sum() ** 2 / (chance**2).sum())
        assert found.words[unit] == pytest.approx(ratio, rel=1e-4)
        assert found.density[unit] == (values[:, unit] > 0).mean()
        assert found.documents[unit] == np.mean([(values[k == DOCUMENTS, unit] > 0).any() for k in range(60)])
    assert found.words.to_numpy() == pytest.approx(1, abs=0.05)


def test_rare_firing_alone_is_not_few_words():
    """Without the null a neuron that fires on few tokens would seem to be about few words."""
    values = (RNG.random((N, 50)) < 0.004).astype(np.float32)
    found = read(values)
    mass = np.array([values[t == TOKENS].sum(axis=0) for t in range(60)])
    assert firing.effective(mass).mean() < 25
    assert found.words.mean() == pytest.approx(1, abs=0.1)


def test_many_neurons_are_read_in_pieces():
    values = np.maximum(RNG.standard_normal((N, 300)), 0).astype(np.float32)
    found = read(values)
    assert len(found) == 300
    np.testing.assert_allclose(found.density, (values > 0).mean(axis=0))


def test_raised_thresholds():
    x = RNG.standard_normal((N, 6)) + np.array([2, 0, 0, 0, 0, 0])
    v = firing.constant_reader(x)
    assert (x @ v).mean() == pytest.approx(0.8, abs=0.05)  # as near to 1 as a spread of 1 about 2 lets it be
    w = RNG.standard_normal(6)
    assert ((x @ (w - 3 * v)) > 0).mean() < 0.5 * ((x @ w) > 0).mean()


def test_values_of_another_shape_or_sign_are_refused():
    with pytest.raises(ValueError, match="one row a token"):
        read(np.zeros((N - 1, 2)))
    with pytest.raises(ValueError, match="never negative"):
        read(np.full((N, 2), -1.0))


def test_readers_of_words_fire_on_few_words():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 12))[TOKENS] + 0.3 * rng.standard_normal((N, 12)) + 1
    readers, height = firing.word_readers(x, TOKENS, 40, rng)
    values = x @ readers.T
    np.testing.assert_allclose(values.std(axis=0), 1, atol=0.3)
    fires = np.maximum(values - 0.6 * height, 0).astype(np.float32)
    any_direction = np.maximum(x @ rng.standard_normal((12, 40)), 0).astype(np.float32)
    assert read(fires).words.median() < 0.5 * read(any_direction).words.median()
    with pytest.raises(ValueError, match="no token type occurs 5 times among 3 tokens"):
        firing.word_readers(x[:3], TOKENS[:3], 4, rng)


@pytest.mark.parametrize("words", [(0, 1, 2), (40, 50, 60), (200, 210, 220, 230)], ids=["frequent", "middling", "rare"])
def test_words_count_alike_whether_they_are_frequent_or_rare(words):
    """Tokens by Zipf: by shares of activation, a reader of rare words seemed to be about more words than chance."""
    rng = np.random.default_rng(2)
    share = 1 / np.arange(1, 400)
    tokens = rng.choice(399, 30000, p=share / share.sum())
    values = np.stack([np.isin(tokens, words) * rng.uniform(0.2, 2, 30000), np.maximum(rng.standard_normal(30000), 0)], axis=1)
    found = firing.firing(lambda which: values[:, which], 2, tokens, np.arange(30000) // 100, rng)
    assert found.words[0] < 0.25
    assert found.words[1] == pytest.approx(1, abs=0.1)
