"""Co-occurrence: pairs agree with counting, planted worlds of both kinds are told apart, and dealt directions are neither."""

import numpy as np
import pytest

from superscope.measure.activations import cooccurrence as co


def firings(rng, tokens=6000, groups=12, size=8):
    """Units in groups that are on together: each token has one group, of which most units are on."""
    group = rng.integers(groups, size=tokens)
    on = np.zeros((tokens, groups * size), dtype=bool)
    for g in range(groups):
        rows = group == g
        on[rows, g * size : (g + 1) * size] = rng.random((int(rows.sum()), size)) < 0.6
    return on | (rng.random(on.shape) < 0.002), group


def test_pairs_agree_with_counting():
    rng = np.random.default_rng(0)
    on, _ = firings(rng, tokens=2000, groups=3, size=3)
    found = co.pairs(on)
    together = {tuple(pair) for pair in found.together.tolist()}
    never = {tuple(pair) for pair in found.never.tolist()}
    n = len(on)
    for i in range(9):
        for j in range(i + 1, 9):
            joint, expected = int((on[:, i] & on[:, j]).sum()), on[:, i].mean() * on[:, j].mean() * n
            assert ((i, j) in together) == (expected >= co.EXPECTED and joint >= 3.0 * expected)
            assert ((i, j) in never) == (expected >= co.EXPECTED and joint <= co.NEVER * expected)
            assert found.phi[i, j] == pytest.approx(np.corrcoef(on[:, i], on[:, j])[0, 1], abs=1e-6)


def test_units_that_are_never_on_are_in_no_pair():
    on = np.zeros((500, 4), dtype=bool)
    on[:250, :2] = True
    found = co.pairs(on, lift=1.5)
    assert found.together.tolist() == [[0, 1]]
    assert np.isfinite(found.phi).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_worlds_of_both_kinds_are_told_apart(seed):
    rng = np.random.default_rng(seed)
    on, _ = firings(rng)
    found = co.pairs(on)
    rate = on.mean(axis=0)

    def differences(cosine):
        one, other = cosine[tuple(found.together.T)], cosine[tuple(found.never.T)]
        return np.abs(one).mean() / np.abs(other).mean(), one.mean() - other.mean()

    ratio, lean = differences(co.cosines(co.apart(found.phi, 24, rng)))
    assert ratio < 0.7
    assert abs(lean) < 0.05
    leaning = co.cosines(co.together(found.phi, 24, rng))
    ratio, lean = differences(leaning)
    assert ratio > 1.3
    assert lean > 0.2
    order = co.dealt(rate, rng)
    _, left = differences(leaning[np.ix_(order, order)])
    assert abs(left) < lean / 4


def test_adjusted_takes_off_what_covariates_do_and_leaves_the_rest():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.7, 1, (1500, 2)), rng.normal(0, 1, (1500, 2))
    one = 2.3 + 0.5 * a[:, 0] - 0.2 * a[:, 1] ** 2 + 0.1 * rng.normal(size=1500)
    other = 2.0 + 0.5 * b[:, 0] - 0.2 * b[:, 1] ** 2 + 0.1 * rng.normal(size=1500)
    less, base, around = co.adjusted(one, other, a, b)
    assert one.mean() - other.mean() > 0.4
    assert less == pytest.approx(0.3, abs=0.03)
    assert base == pytest.approx((one - 0.3).mean(), abs=0.2)
    assert 0.8 < around < 1


def test_groups_that_do_not_overlap_are_not_compared():
    """A curve of the covariate alone: beyond the common range a fit would find a difference that is not there."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(5, 6, (200, 1)), rng.uniform(0, 1, (200, 1))
    less, _, around = co.adjusted(np.tanh(a[:, 0]), np.tanh(b[:, 0]), a, b)
    assert np.isnan(less)
    assert around == 0


def test_errors_of_one_text_do_not_pass_for_geometry():
    """Two regressors that occur together: their estimates err in opposite ways; held against the other text they do not."""
    rng = np.random.default_rng(0)
    n, d = 40, 64
    truth = rng.normal(size=(n, d))
    error = np.linalg.cholesky(np.kron(np.eye(n // 2), [[1.0, -0.9], [-0.9, 1.0]]))
    one, other = (truth + 0.8 * error @ rng.normal(size=(n, d)) for _ in range(2))
    pairs = (np.arange(0, n, 2), np.arange(1, n, 2))
    naive = co.cosines(one)[pairs].mean()
    careful, agreement = co.halves_cosines(one, other)
    assert naive < -0.25
    assert abs(careful[pairs].mean() - co.cosines(truth)[pairs].mean()) < 0.06
    assert (agreement > 0.3).all()


def test_what_follows_alike_and_being_on_together_is_not_that():
    rng = np.random.default_rng(0)
    tokens, document = 6000, np.arange(6000) // 50
    kind = rng.integers(0, 3, tokens)
    on = np.stack([kind == 0, (kind == 0) & (rng.random(tokens) < 0.8), kind == 1], axis=1)
    following = np.where(kind == 0, rng.integers(0, 5, tokens), rng.integers(5, 10, tokens))
    following[::500] = -1
    alike = co.follows(on, following, document, 10)
    assert alike[0, 1] > 0.9
    assert alike[0, 2] < 0
    meaningless = co.follows(on, rng.integers(0, 200, tokens), document, 200)
    assert abs(meaningless[0, 1]) < 0.3  # on at the same tokens, with nothing in common that follows


def test_neighbours_are_typical_of_their_text_and_drawn_ones_as_frequent():
    rng = np.random.default_rng(0)
    on, group = firings(rng)
    own, drawn = co.neighbours(on, group, 4, rng)
    assert len(own) == 12
    for document, units in zip(np.unique(group), own, strict=True):
        assert set(units // 8) == {document}
    assert all(len(set(one)) == 4 for one in drawn.tolist())
    cosine = co.cosines(co.apart(co.pairs(on).phi, 24, rng))
    assert co.coherence(cosine, own).mean() < 0.8 * co.coherence(cosine, drawn).mean()
    slow = np.mean([abs(cosine[i, j]) for i in own[0] for j in own[0] if i != j])
    assert co.coherence(cosine, own)[0] == pytest.approx(slow)
