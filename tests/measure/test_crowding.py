"""Crowding: closed forms, slow twins, planted pairs seen and directions without pairs not, whatever their lengths."""

import numpy as np
import pytest

from superscope.measure.weights import crowding


def rows(kind, n=1024, d=32, seed=0):
    """Rows without any pairs: isotropic, anisotropic, about a mean, of unequal lengths, of lengths that go with direction."""
    rng = np.random.default_rng(seed)
    even = rng.standard_normal((n, d))
    uneven = even * np.arange(1, d + 1) ** -0.5
    about = uneven + 0.5 * np.eye(d)[5]
    return {
        "isotropic": even, "uneven": uneven, "about a mean": about, "unequal": uneven * np.exp(1.5 * even[:, :1] ** 2),
        "loud one way": about * np.exp(2 * uneven[:, :1]),
    }[kind]  # fmt: skip


KINDS = ("isotropic", "uneven", "about a mean", "unequal", "loud one way")


def slow_crowding(w):
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    cosines = [unit[i] @ unit[j] for i in range(len(w)) for j in range(len(w)) if i != j]
    return w.shape[1] * np.mean(np.square(cosines))


@pytest.mark.parametrize("kind", KINDS)
def test_crowding_is_what_every_pair_says(kind):
    w = rows(kind, 40, 6)
    assert crowding.crowding(w) == pytest.approx(slow_crowding(w), rel=1e-4)


def test_crowding_in_closed_form():
    assert crowding.crowding(np.eye(5)) == pytest.approx(0, abs=1e-6)
    assert crowding.crowding(np.ones((7, 5))) == pytest.approx(5, rel=1e-5)
    frame = np.vstack([np.eye(4), np.eye(4)])  # two orthonormal bases meet Welch's bound
    assert crowding.crowding(frame) == pytest.approx(4 * crowding.floor(8, 4) / 4, rel=1e-5)
    assert crowding.floor(3, 4) == 0
    assert crowding.crowding(rows("isotropic", 4000)) == pytest.approx(1, abs=0.02)
    assert crowding.crowding(rows("isotropic", 200)) == pytest.approx(1, abs=0.05)  # whatever n


def test_lengths_and_rotations_do_not_matter():
    w, rng = rows("about a mean", 300), np.random.default_rng(1)
    turned = np.linalg.qr(rng.standard_normal((32, 32)))[0]
    longer = w * np.exp(rng.standard_normal((300, 1)))
    for other in (w @ turned, longer):
        assert crowding.crowding(other) == pytest.approx(crowding.crowding(w), rel=1e-4)
        for one, two in zip(crowding.nearest(w), crowding.nearest(other), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)


def test_neighbours_are_what_every_pair_says():
    w = rows("uneven", 600, 8)
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, np.nan)
    near, far = crowding.nearest(w)
    np.testing.assert_allclose(near, np.nanmax(cosines, axis=1), atol=1e-5)
    np.testing.assert_allclose(far, np.nanmin(cosines, axis=1), atol=1e-5)
    some = np.array([5, 599, 3])
    np.testing.assert_allclose(crowding.nearest(w, some)[0], near[some], atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_directions_without_pairs_have_no_excess_and_planted_pairs_have(kind, seed):
    w, rng = rows(kind, seed=seed), np.random.default_rng(seed + 10)
    found = crowding.excess(w, rng)
    assert abs(found["near"]) < 0.05
    assert abs(found["opposed"]) < 0.05
    strengths = rng.uniform(0.85, 0.98, 256)
    assert crowding.excess(crowding.planted_duplicates(w, strengths, rng), rng)["near"] > 0.2
    assert crowding.excess(crowding.planted_duplicates(w, -strengths, rng), rng)["opposed"] > 0.2


def test_two_kinds_of_rows_hide_pairs_but_make_none_up():
    """Where it misleads: a mixture, which no Gaussian is."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((1024, 32))
    w[:150, 3:] *= 0.03
    assert crowding.excess(w, rng)["near"] < -0.05


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_directions_have_the_mean_and_the_anisotropy(kind):
    w, rng = rows(kind, 4000), np.random.default_rng(3)
    unit, fresh = crowding.unit_rows(w), crowding.directions_like(w, rng)
    np.testing.assert_allclose(np.linalg.norm(fresh, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(fresh.mean(axis=0), unit.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(fresh.T @ fresh / 4000, unit.T @ unit / 4000, atol=0.015)


def test_inputs_along_outputs():
    rng = np.random.default_rng(0)
    w, other = rng.standard_normal((2, 3000, 16))
    squared, mean = crowding.alignment(w, other)
    assert squared == pytest.approx(1, abs=0.1)
    assert mean == pytest.approx(0, abs=0.02)
    assert crowding.alignment(w, -3 * w) == (pytest.approx(16), pytest.approx(-1))
    cosine = np.array([one @ two / np.linalg.norm(one) / np.linalg.norm(two) for one, two in zip(w, other, strict=True)])
    assert squared == pytest.approx(16 * np.mean(cosine**2), rel=1e-6)


def test_neurons_that_were_switched_off():
    rng = np.random.default_rng(0)
    w, other = rng.standard_normal((2, 100, 8))
    w[:10] *= 1e-4
    other[5:15] = 0
    assert crowding.silent(w, other) == pytest.approx(0.15)
    found = crowding.report(w, other, rng)
    assert np.isfinite(list(found.values())).all()
    assert found["unequal in"] == pytest.approx(np.std(np.linalg.norm(w, axis=1)) / np.mean(np.linalg.norm(w, axis=1)))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: crowding.crowding(np.ones(3)), "expected"),
        (lambda: crowding.crowding(np.zeros((4, 3))), "0 are not zero"),
        (lambda: crowding.crowding(np.full((4, 3), np.nan)), "4 not finite"),
        (lambda: crowding.alignment(np.ones((4, 3)), np.ones((3, 4))), "one row of each"),
        (lambda: crowding.projected_normal(np.eye(4)), "more rows than dimensions"),
        (lambda: crowding.nearest(np.vstack([np.eye(3), np.zeros(3)]), np.array([0])), "1 rows are zero"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_what_is_planted_is_there():
    rng = np.random.default_rng(0)
    w, other = rows("about a mean", 200), rows("uneven", 200, seed=1)
    wanted = np.where(rng.random(200) < 0.5, rng.uniform(-0.9, 0.9, 200), np.nan)
    made = crowding.turned_along(w, other, wanted)
    cosine = (made * other).sum(axis=1) / np.linalg.norm(made, axis=1) / np.linalg.norm(other, axis=1)
    there = ~np.isnan(wanted)
    np.testing.assert_allclose(cosine[there], wanted[there], atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), np.linalg.norm(w, axis=1))
    np.testing.assert_array_equal(made[~there], w[~there])
    copies = crowding.copied(w, 3, rng, (0.1, 0.1))
    away = np.linalg.norm(copies - np.repeat(w, 3, axis=0), axis=1) / np.repeat(np.linalg.norm(w, axis=1), 3)
    assert away.mean() == pytest.approx(0.1, abs=0.01)
    assert crowding.crowding(w) > 1.5
    assert crowding.crowding(crowding.evened(w)) < 1.1
