"""Collisions: planted ones are seen, redundant codes are read, and slow twins agree."""

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms.model.language_model import rows_to_tensor
from superscope.measure.activations import collisions

CONTEXTS, D = 64, 24


@pytest.fixture(scope="module")
def model():
    return lms.load("gelu-2l-mini")


@pytest.fixture(scope="module")
def text(model):
    return lms.corpus.sample(model.tokenizer)


@pytest.fixture(scope="module")
def at(model, text):
    return collisions.splices(model, text, collisions.frequent_words(text, 12), 8, 10, (2, 3), 0)


@pytest.fixture(scope="module")
def effects(at, text):
    return collisions.scan(at, collisions.frequent_words(text, 12))


def planted(a, b, seed=0, noise=0.1):
    """Effects of the first word, the second and both: the sum, in noise; the second is the quieter one of the pair (1, .55)."""
    rng = np.random.default_rng(seed)
    own, other = (mean + noise * rng.standard_normal((CONTEXTS, D)) for mean in (a, b))
    return own, other, own + other + 0.3 * noise * rng.standard_normal((CONTEXTS, D))


def flat(noise=0.1):
    return [noise**2 * np.eye(D)] * 2


def test_words_are_put_in_their_places_and_nowhere_else(at, text):
    first, second = collisions.frequent_words(text, 2)
    both, neither = at.put(int(first), int(second)), at.put()
    rows = np.arange(len(both))
    assert (both[rows, at.places[:, 0]] == first).all()
    assert (both[rows, at.places[:, 1]] == second).all()
    changed = both != neither
    assert set(zip(*np.nonzero(changed), strict=True)) <= {(r, int(c)) for r in rows for c in at.places[r]}
    assert set(map(tuple, 9 - at.places)) == {(2, 3), (3, 2)}
    assert (neither[:, 0] == text.tokenizer.bos).all()


def test_too_few_documents_are_refused(model, text):
    with pytest.raises(ValueError, match="documents"):
        collisions.splices(model, text, collisions.frequent_words(text, 5), 10**6, 10, (2, 3), 0)


def test_effects_are_those_of_the_model(model, at, effects):
    """Slow twin: whole activations and logits, one word at a time."""
    word = int(effects.words[3])
    hook = f"blocks.{model.n_layers - 1}.hook_resid_pre"
    with_word, without = (rows_to_tensor(tokens) for tokens in (at.put(None, word), at.put()))
    state = [model.activations(tokens, [hook])[hook][:, -1].double().numpy() for tokens in (with_word, without)]
    change = state[0] - state[1]
    np.testing.assert_allclose(effects.state[1, 3], change - change.mean(axis=1, keepdims=True), atol=1e-5)
    logits = [model.logits(tokens)[:, -1].double().numpy() for tokens in (with_word, without)]
    weight = np.exp(logits[1] - np.logaddexp.reduce(logits[1], axis=1, keepdims=True)).mean(axis=0)
    change = logits[0] - logits[1]
    centred = change - (change @ weight)[:, None]
    slow = (centred * weight) @ centred.T
    fast = effects.output[1, 3] @ effects.output[1, 3].T
    np.testing.assert_allclose(fast, slow, atol=2e-5 * slow.max())


def test_a_state_put_back_or_put_in_acts_through_the_last_position_alone(model, at, effects):
    word = int(effects.words[0])
    hook = f"blocks.{model.n_layers - 1}.hook_resid_pre"
    with_word, without = (rows_to_tensor(tokens) for tokens in (at.put(word), at.put()))
    values = [model.activations(tokens, [hook])[hook] for tokens in (with_word, without)]

    def put(value, hook):
        value = value.clone()
        value[:, -1] = values[0][:, -1]
        return value

    final = model.hooked.run_with_hooks(without, return_type="logits", fwd_hooks=[(hook, put)])[:, -1]
    slow = final.double().log_softmax(-1).detach().numpy()
    change = np.linalg.lstsq(effects.root.T, effects.alone[0, 0].T, rcond=1e-9)[0].T  # back to the final stream
    fast = collisions.log_probs(model, effects.neither.final + change)
    assert np.abs(fast - slow)[:, slow.mean(axis=0) > np.log(1e-3)].max() < 0.02
    assert effects.relevant().shape == (12,)


def test_reading_by_the_own_direction_is_fooled_by_a_collision_and_a_probe_only_when_nothing_else_is_there():
    a = np.eye(D)[0]
    redundant = 0.55 * (0.8 * np.eye(D)[0] + 0.6 * np.eye(D)[1])
    for sign in (1, -1):
        shared, collided = planted(a, sign * redundant), planted(a, sign * 0.55 * np.eye(D)[0])
        tied, probe = collisions.read(*shared), collisions.read(*shared, flat())
        assert tied.leak == pytest.approx(sign * 0.44, abs=0.06)
        assert tied.cross_talk == pytest.approx(sign * 0.44, abs=0.06)
        assert tied.ratio > 4
        assert tied.ratio == pytest.approx(tied.predicted, rel=0.5)
        assert probe.r2 > 0.95
        assert probe.unwarned > 4  # in equal noise the free reader is the tied one
        assert collisions.read(*collided, flat()).ratio > 4
    alone = planted(a, 0.55 * np.eye(D)[2])
    assert collisions.read(*alone).ratio == pytest.approx(1, abs=0.3)
    assert collisions.read(*alone, flat()).ratio == pytest.approx(1, abs=0.3)


def test_a_probe_pays_for_telling_apart_what_noise_does_not():
    """At cosine .8 in equal noise a blind reader has 1 / (1 - .64) times the variance; one that is not quite blind less."""
    a, b = np.eye(D)[0], 0.8 * np.eye(D)[0] + 0.6 * np.eye(D)[1]
    found = collisions.read(*planted(a, b, noise=0.05), flat(0.05))
    assert 1.5 < found.ratio < 4.5
    quiet = np.eye(D) * 0.05**2
    quiet[1, 1] = 1e-7
    rng = np.random.default_rng(1)
    noise = 0.05 * rng.standard_normal((3, CONTEXTS, D))
    noise[:, :, 1] = 3e-4 * rng.standard_normal((3, CONTEXTS))
    easy = (a + noise[0], b + noise[1], a + b + noise[0] + noise[1])
    assert collisions.read(*easy, [quiet] * 2).ratio == pytest.approx(1, abs=0.25)


def test_a_layer_that_cannot_answer_both_is_seen_though_the_state_is_the_sum():
    """A ReLU of opposite features (the toy): alone each is answered, together neither."""
    own, other, both = planted(np.eye(D)[0], -0.9 * np.eye(D)[0], noise=0.05)

    def layer(x):
        return np.stack([np.maximum(x[:, 0], 0), np.maximum(-x[:, 0], 0)], axis=1)

    found = collisions.read(layer(own), layer(other), layer(both))
    assert abs(found.leak) < 0.05
    assert found.cross_talk == pytest.approx(-0.9, abs=0.05)
    assert (found.both - found.other).mean() < 0.15
    assert found.ratio > 20
    assert found.predicted < 1.5  # with one at a time there is nothing to see


def test_hand_made_readers_do_what_they_are_named_for():
    own, other, both = planted(np.eye(D)[0], 0.55 * (0.7 * np.eye(D)[0] + 0.7 * np.eye(D)[1]))
    said = planted(np.eye(D)[3], 0.55 * (0.3 * np.eye(D)[3] + np.eye(D)[4]), seed=1)
    blind, tied = (collisions.answered((own, other, both), said, tied) for tied in (False, True))
    assert collisions.read(*blind, flat()).ratio == pytest.approx(1, abs=0.4)
    assert collisions.read(*tied, flat()).ratio > 1.6
    assert abs(np.divide(*collisions.overlap(blind[0], blind[1], blind[2] - blind[0]))) < 0.1
    assert np.divide(*collisions.overlap(tied[0], tied[1], tied[2] - tied[0])) > 0.4


def test_turned_effects_collide_or_are_half_aside():
    a, b = np.eye(D)[0], -0.3 * np.eye(D)[0] + np.eye(D)[5]
    _, other, _ = planted(a, b)
    new = collisions.turned(other, b, a).mean(axis=0)
    np.testing.assert_allclose(new, -np.linalg.norm(b) * a, atol=0.1)
    half = collisions.turned(other, b, a, np.eye(D)[7]).mean(axis=0)
    assert half[0] / np.linalg.norm(half) == pytest.approx(-(0.5**0.5), abs=0.1)
    np.testing.assert_allclose(np.linalg.norm(half), np.linalg.norm(b), rtol=0.1)


def test_overlap_is_the_cosine_and_the_slope_is_recovered_in_noise():
    rng = np.random.default_rng(2)
    rows, x, beside = [], [], []
    for _ in range(60):
        c, m = rng.uniform(-0.8, 0.8), rng.uniform(-0.3, 0.3)
        a, b = (
            np.eye(D)[0],
            rng.uniform(0.55, 1) * ((0.4 * c + m) * np.eye(D)[0] + np.sqrt(1 - (0.4 * c + m) ** 2) * np.eye(D)[1]),
        )
        own, other, both = planted(a, b, seed=int(rng.integers(1000)))
        rows.append(collisions.overlap(own, other, both - own))
        x.append(c)
        beside.append(m)
    y = np.array(rows)
    assert collisions.slope(y[:, 0], y[:, 1], np.array(x), np.array(beside)) == pytest.approx(0.4, abs=0.05)
    assert collisions.slope(y[:, 0], 0 * y[:, 1], np.array(x), np.array(beside)) == 0


def test_additivity_sees_a_stronger_one_that_wins():
    own, other, both = planted(np.eye(D)[0], -0.55 * np.eye(D)[0])
    assert collisions.additivity(own, other, both) < 0.05
    assert collisions.additivity(own, other, own) == pytest.approx(2 * 0.55 / 1.55, abs=0.05)


def test_the_mixture_is_exact_for_a_log_linear_model():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((3, 5, 40))
    n, a, b = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    both = a + b - n
    both = both - np.logaddexp.reduce(both, axis=1, keepdims=True)
    error, size = collisions.mixture_error(n, a, b, both)
    assert error == pytest.approx(0, abs=1e-12)
    slow = np.mean(
        [sum(np.exp(p) * (p - q) for p, q in zip(row, other, strict=True)) for row, other in zip(both, n, strict=True)]
    )
    assert size == pytest.approx(slow)
    assert collisions.mixture_error(n, a, b, a)[0] > 0.1


def test_cosines_of_noisy_effects_are_those_without_noise():
    rng = np.random.default_rng(0)
    means = rng.standard_normal((30, 8)) @ np.linalg.qr(rng.standard_normal((D, 8)))[0].T
    noisy = means[None, :, None] + 1.5 * rng.standard_normal((2, 30, CONTEXTS, D))
    centred = means - means.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    assert np.abs(collisions.cosines(noisy) - unit @ unit.T).mean() < 0.1
    crowd = collisions.cosines(collisions.crowded(noisy, 4, rng))
    limit = collisions.chance(D, 30, 5, rng)
    assert 0.6 < limit < 0.85
    assert collisions.beyond(crowd, limit) > 0.1 > collisions.beyond(np.eye(30), limit)


def test_halves_have_both_orders_and_resampling_stays_in_them():
    one, two = collisions.halves(16)
    assert sorted([*one, *two]) == list(range(16))
    assert {int(i) % 2 for i in one} == {0, 1}
    drawn = collisions.resampled(16, np.random.default_rng(0))
    assert set(drawn[one]) <= set(one)
    assert set(drawn[two]) <= set(two)


def test_nearest_match_takes_nothing_twice():
    traits = np.array([[0.0], [1.0], [0.1], [1.1], [5.0], [6.0]])
    found = collisions.nearest_match(traits, np.array([[0, 1], [0, 1]]), np.array([[4, 5], [3, 2]]))
    np.testing.assert_array_equal(found, [[3, 2], [4, 5]])


def test_occurrences_are_where_they_are_said_to_be(text):
    word, other = (int(one) for one in collisions.frequent_words(text, 2))
    rng = np.random.default_rng(0)
    found = collisions.occurrences(text, word, (2, 3), 10, 50, rng, other)
    assert found.tokens.shape == (50, 10)
    assert ((found.tokens[:, -3] == word) | (found.tokens[:, -4] == word)).all()
    assert not (found.tokens == other).any()
    near = collisions.occurrences(text, word, (2, 3), 10, 50, rng, other, together=True)
    places = near.tokens[:, [-3, -4]]
    assert ((places == [word, other]).all(axis=1) | (places == [other, word]).all(axis=1)).all()
    row = found.tokens[0, 1:]
    joined = np.append(row, found.following[0])
    windows = np.lib.stride_tricks.sliding_window_view(text.tokens.astype(int), 10)
    assert (windows == joined).all(axis=1).any()


def test_removals_are_changes_of_the_loss(model, text):
    rng = np.random.default_rng(0)
    words = collisions.frequent_words(text, 3)
    found = [collisions.occurrences(text, int(word), (2, 3), 10, 6, rng) for word in words]
    pushes = [rng.standard_normal((2, model.d_model)) for _ in words]
    mean, drawn = collisions.removals(model, found, pushes, 7, rng)
    assert drawn.shape == (7, 2)
    hook, slow = f"blocks.{model.n_layers - 1}.hook_resid_pre", []
    for one, push in zip(found, pushes, strict=True):
        tokens = torch.from_numpy(np.column_stack([one.tokens, one.following]))

        def add(value, hook, push=push):
            value = value.clone()
            value[:, -2] += torch.from_numpy(push[1]).float()
            return value

        slow.append(model.loss(tokens, [(hook, add)])[:, -1] - model.loss(tokens)[:, -1])
    assert mean[1] == pytest.approx(float(torch.cat(slow).mean()), abs=1e-4)


def test_counting_words_that_stand_together():
    tokens, words = np.array([5, 7, 9, 5, 1, 1, 1, 7]), np.array([5, 7, 9])
    np.testing.assert_array_equal(collisions.together(tokens, words, 2), [[0, 2, 2], [2, 0, 1], [2, 1, 0]])
