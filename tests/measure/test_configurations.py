"""Antipodes, polytopes and rings: planted ones are found, rows of the same covariance and points in other orders are not."""

import numpy as np
import pytest

from superscope.measure.activations import rings
from superscope.measure.weights import configurations, geometry


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def rows(rng):
    """Unequal norms, a mean, and directions between three and a third loud."""
    loud = rng.standard_normal((600, 64)) @ np.diag(np.geomspace(3, 0.3, 64)) + 0.3
    return loud * rng.uniform(0.5, 2, (600, 1))


def test_matched_rows_keep_mean_covariance_and_norms(rows, rng):
    fresh = configurations.matched_rows(rows, rng)
    np.testing.assert_allclose(np.linalg.norm(fresh, axis=1), np.linalg.norm(rows, axis=1))
    loud, own = (np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1] for x in (fresh, rows))
    np.testing.assert_allclose(loud[:8], own[:8], rtol=0.35)
    assert np.corrcoef(fresh.ravel(), rows.ravel())[0, 1] < 0.3


def test_antipodes_are_those_of_the_whole_gram_matrix(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    gram = unit @ unit.T
    least, where = configurations.antipodes(rows)
    np.testing.assert_allclose(least, gram.min(axis=1), atol=1e-5)
    np.testing.assert_array_equal(where, gram.argmin(axis=1))


def test_pairs_planted_in_a_gaussian_are_counted_and_none_without(rows, rng):
    drawn = [configurations.antipodes(configurations.matched_rows(rows, rng))[0].min() for _ in range(8)]
    limit = min(drawn)
    strengths = np.linspace(min(0.98, 0.05 - limit), 0.98, 6)
    mixed, places = configurations.plant_pairs(configurations.matched_rows(rows, rng), strengths, rng)
    assert configurations.pairs_beyond(mixed, limit) >= 6
    assert (configurations.antipodes(mixed)[0][places[:, 1]] < limit).all()
    np.testing.assert_allclose(np.linalg.norm(mixed, axis=1), np.linalg.norm(rows, axis=1))
    assert configurations.pairs_beyond(configurations.matched_rows(rows, rng), limit) <= 1


def test_an_isotropic_null_would_call_two_loud_directions_antipodal(rng):
    """Why the null has the same covariance: in a plane everything has an antipode."""
    flat = rng.standard_normal((400, 64)) @ np.diag([6.0, 6.0] + [0.3] * 62)
    limit = min(configurations.antipodes(configurations.matched_rows(flat, rng))[0].min() for _ in range(8))
    isotropic = configurations.antipodes(rng.standard_normal((400, 64)))[0].min()
    own = configurations.antipodes(flat)[0].min()
    assert own < isotropic - 0.3
    assert 0.3 < (1 + own) / (1 + limit) < 6  # as opposite as a Gaussian's, to the luck of the last thousandth


def test_without_direction_takes_a_score_out(rows, rng):
    score = rng.standard_normal(600)
    tilted = rows + np.outer(score, rng.standard_normal(64))
    left = configurations.without_direction(tilted, score)
    np.testing.assert_allclose((score - score.mean()) @ left, 0, atol=1e-8)
    np.testing.assert_allclose(left.mean(axis=0), 0, atol=1e-10)


@pytest.mark.parametrize("kind", ["digon", "triangle", "tetrahedron", "pentagon"])
def test_planted_polytopes_are_found_by_kind_and_noise_has_none(kind, rng):
    noise = rng.standard_normal((400, 96)) @ np.diag(np.geomspace(2, 0.5, 96))
    assert not configurations.members(configurations.polytopes(noise))
    mixed, (places,) = configurations.plant_polytopes(noise, [geometry.ideal(kind)], 6, 0.1, rng)
    found = configurations.polytopes(mixed)
    assert {frozenset(one) for one in found[kind]} == {frozenset(int(i) for i in one) for one in places}
    assert sum(len(sets) for sets in found.values()) == 6


def test_a_pentagon_whose_norms_differ_tenfold_is_one_and_a_hexagon_is_none(rng):
    pentagon = geometry.ideal("pentagon").T * np.array([[1], [10], [3], [0.5], [2]])
    assert len(configurations.polytopes(pentagon)["pentagon"]) == 1
    found = configurations.polytopes(geometry.ideal("6-gon").T)
    assert not found["pentagon"]
    assert len(found["digon"]) == 3
    assert len(found["triangle"]) == 2


def slow_ring(points):
    """The same share by the singular values of the harmonic."""
    n = len(points)
    centred = points - points.mean(axis=0)
    turn = sum(np.exp(2j * np.pi * j / n) * centred[j] for j in range(n))
    weaker = np.linalg.svd(np.stack([turn.real, turn.imag]), compute_uv=False)[1]
    return 4 * weaker**2 / n / (centred**2).sum()


def test_a_ring_is_one_a_line_zero_and_the_fast_way_the_slow_one(rng):
    angle = 2 * np.pi * np.arange(7) / 7
    even = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert rings.ring(even) == pytest.approx(1)
    assert rings.ring(even[::-1]) == pytest.approx(1)  # the other way round
    assert rings.ring(np.outer(np.arange(8), rng.standard_normal(5))) == pytest.approx(0, abs=1e-9)
    points = rng.standard_normal((9, 20))
    assert rings.ring(points) == pytest.approx(slow_ring(points))
    drawn = rings.permuted(points, 50, np.random.default_rng(3))
    orders = np.random.default_rng(3).permuted(np.tile(np.arange(9), (50, 1)), axis=1)
    np.testing.assert_allclose(drawn, [slow_ring(points[order]) for order in orders], atol=1e-10)
    with pytest.raises(ValueError, match="four or more"):
        rings.ring(points[:3])


@pytest.mark.parametrize("n", [7, 12])
def test_planted_rings_pass_and_noise_does_not(n, rng):
    def above(points):
        return rings.ring(points) / np.quantile(rings.permuted(points, 500, rng), 0.99)

    assert np.mean([above(rings.planted_ring(n, 64, 0.5, rng)) >= 1.1 for _ in range(20)]) > 0.85
    assert np.mean([above(rng.standard_normal((n, 64))) >= 1.1 for _ in range(20)]) < 0.1
    assert rings.order_p(rings.planted_ring(n, 64, 0.2, rng), 2000, rng) < 0.02


def test_one_member_far_off_hides_a_ring_of_seven_from_the_rule_but_not_one_of_twelve(rng):
    """The limit that the study's note names."""

    def share(n):
        hits = 0
        for _ in range(20):
            points = rings.planted_ring(n, 64, 0.5, rng)
            points[n // 2] += 4 * rng.standard_normal(64) / 8
            hits += rings.ring(points) / np.quantile(rings.permuted(points, 500, rng), 0.99) >= 1.1
        return hits / 20

    assert share(12) > 0.9
    assert share(7) < 0.5


def test_cooccurrence_draws_a_ring_of_words_that_follow_one_another(rng):
    """A text in which word k is followed by its neighbours on a circle: the linear code is a ring without any model."""
    text = rng.integers(20, 60, (400, 40))
    start = rng.integers(0, 10, 400)
    place = rng.integers(0, 30, 400)
    for row in range(400):
        for step in range(6):
            text[row, place[row] + step] = (start[row] + step) % 10
    codes = rings.cooccurrence_codes(text, np.arange(10), 8, window=1)
    assert rings.ring(codes) > 3 * np.quantile(rings.permuted(codes, 200, rng), 0.5)
    flat = rings.cooccurrence_codes(rng.permuted(text, axis=1), np.arange(10), 8, window=1)
    assert rings.ring(flat) < rings.ring(codes)
