"""Genre subspaces: planted worlds are told apart, sharing against a slow twin, and a model is read as it reads itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms.corpus.splits import sample
from superscope.measure.activations import multiplex
from superscope.measure.activations.multiplex import Genre, Planted, Text

D, WORDS, N = 48, 20, 6000


def silent(values, targets):
    return np.zeros((*values.shape[:-1], len(targets)))


def genre(side: int, seed: int) -> Genre:
    """Loud and quiet directions, words of its own (100 and more, or 200 and more), common words below 20; 30 documents."""
    rng = np.random.default_rng([seed, side])
    spectrum = np.linspace(2, 0.3, D)
    shift = np.random.default_rng(seed).standard_normal(D) * 1.5

    def half(number: int) -> Text:
        own = 100 * (1 + side) + rng.integers(0, 12, N)
        following = np.where(rng.random(N) < 0.5, own, rng.integers(0, 12, N))
        values = rng.standard_normal((N, D)) * spectrum + side * shift
        for word in np.unique(following):  # features, of one half and the other alike
            values[following == word] += np.random.default_rng([seed, side, word]).standard_normal(D) * 0.4 * spectrum
        return Text(values, rng.integers(0, WORDS, N), following, 30 * number + rng.integers(0, 15, N), following[::-1].copy())

    return Genre((half(0), half(1)), rng.standard_normal((24, D)) * spectrum + side * shift, silent)


@pytest.fixture(scope="module")
def pair():
    return genre(0, 5), genre(1, 5)


@pytest.fixture(scope="module")
def worlds(pair):
    rng = np.random.default_rng(0)
    return {
        world: multiplex.compare(*Planted(world, pair, 6, 12).make(rng), 12, 6, rng)
        for world in ("multiplexed", "apart", "one meaning", "antipodal")
    }


def test_three_worlds_are_told_apart(worlds):
    got = {world: found["pair"] for world, found in worlds.items()}
    assert got["multiplexed"]["shared"] > 0.7
    assert got["multiplexed"]["transfer"] < 0.4
    assert got["multiplexed"]["agreement"] < 0.5
    assert got["multiplexed"]["multiplexed"] > 0.5
    assert got["multiplexed"]["gated"] > 3
    assert got["one meaning"]["shared"] > 0.7
    assert got["one meaning"]["transfer"] > 0.8
    assert got["one meaning"]["agreement"] > 0.9
    assert got["one meaning"]["alike"] > 0.9
    assert abs(got["apart"]["shared"]) < 0.3
    assert got["apart"]["transfer"] < 0.4
    for world in ("one meaning", "apart", "antipodal"):
        assert got[world]["multiplexed"] < 0.25, world


def test_antipodes_are_crowded_though_no_leading_directions_agree(worlds):
    assert worlds["antipodal"]["pair"]["shared"] > 0.7
    assert worlds["antipodal"]["pair"]["crowded"] > 2
    assert worlds["antipodal"]["pair"]["most opposite"] < -0.6
    assert worlds["antipodal"]["reassigned"]["crowded"] < 1.5
    assert worlds["apart"]["pair"]["crowded"] < 1


def test_the_softmax_is_a_gate_where_the_reader_is_none(worlds):
    found = worlds["one meaning"]
    assert found["pair"]["turned p"] > 0.7
    assert abs(found["draws"]["turned p"]) < 0.4
    assert found["pair"]["moved"] < 0.4


def test_nulls_are_null(worlds):
    for world, found in worlds.items():
        assert abs(found["draws"]["shared"]) < 0.25, world
        assert 0.3 < found["draws"]["gated"] < 3, world
        assert found["halves"]["transfer"] == pytest.approx(1, abs=0.3), world
        assert found["halves"]["agreement"] > 0.9, world


def test_one_genre_under_two_names_shares_everything_and_rotated_nothing(pair):
    a = pair[0].halves
    rng = np.random.default_rng(1)
    again = genre(0, 5).halves
    renamed = tuple(replace(h, following=h.following + 1000, document=h.document + 500) for h in again)
    assert multiplex.own_sharing(a, renamed, 12, 6, rng).shared > 0.8
    turn = np.linalg.qr(rng.standard_normal((D, D)))[0]
    rotated = tuple(replace(h, values=h.values @ turn) for h in renamed)
    assert multiplex.own_sharing(a, rotated, 12, 6, rng).shared < 0.3
    assert multiplex.own_sharing(a, rotated, 12, 6, rng, white=True).shared < 0.3


def test_sharing_is_what_its_slow_twin_says(pair):
    """Energy inside a span, one least-squares fit a row."""
    rows, frame = pair[0].halves[0].rows(np.arange(100, 105)), pair[1].halves[0].rows(np.arange(200, 204))
    shares = []
    for row in rows:
        fitted = frame.T @ np.linalg.lstsq(frame.T, row, rcond=None)[0]
        shares.append(fitted @ fitted / (row @ row))
    assert multiplex.inside(rows, frame) == pytest.approx(np.mean(shares))
    assert multiplex.inside(rows, np.concatenate([rows, frame])) == pytest.approx(1)


def test_beside_a_word_is_less_its_mean(pair):
    text = pair[0].halves[0]
    odd = replace(text, word=np.where(np.arange(N) < 3, 99, text.word))
    assert not odd.kept[:3].any()
    slow = np.stack([text.values[i] - text.values[text.word == text.word[i]].mean(axis=0) for i in range(0, N, 501)])
    np.testing.assert_allclose(text.beside[::501], slow, atol=1e-10)
    one, other = text.parts()
    assert len(one.values) + len(other.values) == N
    assert not set(one.document) & set(other.document)


def test_own_and_common_words(pair):
    a, b = (g.halves for g in pair)
    assert set(multiplex.own_words(a, b, 50)) == set(range(100, 112))
    assert set(multiplex.common_words(a, b, 50)) == set(range(12))
    assert len(multiplex.own_words(a, b, 5)) == 5
    assert multiplex.fewest_features(a, b, 50) == 12
    assert set(multiplex.common_words(a, b, 50, present=True)) == set(range(WORDS))
    with pytest.raises(ValueError, match="0 next words of their own"):
        multiplex.compare(pair[0], pair[0], 5, 3, np.random.default_rng(0))


def test_the_shift_is_the_one_between_genres_and_a_match_is_as_long(pair):
    shift = multiplex.genre_shift(pair[0].halves[0], pair[1].halves[0])
    true = np.random.default_rng(5).standard_normal(D) * 1.5
    assert multiplex.cosine(shift, true) > 0.97
    match = multiplex.matched_shift(shift, np.diag(np.linspace(2, 0.3, D)), np.random.default_rng(0))
    assert np.linalg.norm(match) == pytest.approx(np.linalg.norm(shift))
    assert match @ shift == pytest.approx(0, abs=1e-9)
    lonely = replace(pair[1].halves[0], word=np.full(N, 77))
    with pytest.raises(ValueError, match="no word in common"):
        multiplex.genre_shift(pair[0].halves[0], lonely)


@pytest.mark.parametrize("lexical", [False, True])
def test_the_planted_unit_is_found_and_a_word_is_not_taken_for_a_genre(lexical):
    rng = np.random.default_rng(3)
    document = np.repeat(np.arange(40), 150)
    side, fit = document % 2 == 0, document < 20
    word = rng.integers(0, 8, len(document))
    word[side & (rng.random(len(document)) < 0.5)] = 3  # one genre is full of a word, on which unit 2 fires
    values = rng.standard_normal((len(document), 6))
    values[:, 2] += 3 * (word == 3)
    values[:, 4] += 0.6 * side
    best = multiplex.best_unit(values, side, document, word if lexical else None, fit)
    assert best.unit == (4 if lexical else 2)
    assert best.documents == 1
    assert 0.55 < best.tokens < 0.9


@pytest.mark.parametrize("name", ["gelu-2l-mini", "gelu-1l-mini", "gelu-4l-midi"])
def test_reading_on_is_what_the_model_does(name):
    model = lms.load(name)
    tokens = sample(model.tokenizer, 40).rows(24, limit=3, seed=0).tokens
    layer, targets = model.n_layers // 2, np.array([5, 70, 400])
    onward = multiplex.Onward(model, tokens, layer)
    move = np.random.default_rng(0).standard_normal(model.d_model) * 0.3

    def edit(value, hook):
        value[:, -1] += torch.from_numpy(move).float()
        return value

    logits = model.hooked.run_with_hooks(lms.rows_to_tensor(tokens), fwd_hooks=[(multiplex.stream(layer), edit)])
    found = onward(np.stack([onward.base, onward.base + move]), targets)
    np.testing.assert_allclose(found[1], logits[:, -1, targets].numpy(), atol=2e-4)
    np.testing.assert_allclose(found[0], model.logits(lms.rows_to_tensor(tokens))[:, -1, targets].numpy(), atol=2e-4)


def test_models_without_the_place_are_refused():
    model = lms.load("attn-only-2l-mini")
    with pytest.raises(lms.ModelError, match="no stream between"):
        multiplex.Onward(model, np.zeros((1, 4), dtype=int), 1)


def test_effects_of_a_linear_reader_agree_and_turn_nothing():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((D, 5))

    def linear(values, targets):
        return values @ weights[:, targets]

    steps, targets = rng.standard_normal((3, D)), np.arange(5)
    one, soft = multiplex.effects(linear, rng.standard_normal((4, D)), steps, targets)
    other, _ = multiplex.effects(linear, rng.standard_normal((4, D)), steps, targets, shift=rng.standard_normal(D))
    np.testing.assert_allclose(one, other, atol=1e-9)
    assert one.shape == soft.shape == (4, 3, 5)
    np.testing.assert_allclose(soft.sum(axis=-1), 0, atol=1e-9)
    assert multiplex.turn(other[0], one[0], one[0] + 1) == pytest.approx(0, abs=1e-9)
    assert multiplex.turn(one[0] + 1, one[0], one[0] + 1) == pytest.approx(1)
