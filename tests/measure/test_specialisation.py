"""Specialisation of clones: planted families that divide are seen, clones apart by chance are not, slow twins agree."""

import itertools

import numpy as np
import pytest

from superscope.measure.activations import specialisation as s


def tokens(rng, n=600, d=40, gap=0.0):
    """Inputs (n, d) of two concepts whose means are `gap` apart in every dimension's standard deviation, and the concepts."""
    concept = (np.arange(n) % 3 == 0).astype(int)  # one is twice as frequent
    means = rng.normal(size=(2, d)) * gap / np.sqrt(2)
    return rng.normal(size=(n, d)) + means[concept], concept


def family(rng, r, noise, gap=2.0):
    """Activations of noisy clones of one neuron that reads both concepts."""
    x, concept = tokens(rng, gap=gap)
    w = x[concept == 0].mean(axis=0) + x[concept == 1].mean(axis=0)
    clones = w[:, None] + noise * np.sqrt((w**2).mean()) * rng.normal(size=(len(w), r))
    return np.maximum(x @ clones, 0), concept


def test_an_owner_leads_its_family_where_the_family_is_on():
    values = np.array([[1.0, 3.0], [1.0, 1.2], [0.0, 0.0], [-1.0, -2.0], [2.0, 0.0], [1.0, 1.7], [0.0, 0.1]])
    assert s.owners(values, 0.25).tolist() == [2, 0, 0, 0, 1, 2, 0]
    assert s.owners(values).tolist() == [2, 0, 0, 0, 1, 0, 0]


def test_permuted_concepts_are_not_divided():
    rng = np.random.default_rng(0)
    values, concept = family(rng, 1, 0.0)
    built = s.planted(values[:, 0], concept, 10, rng)
    assert abs(np.mean([s.division(built, rng.permutation(concept)) for _ in range(20)])) < 0.01


@pytest.mark.parametrize("r", [2, 10])
def test_families_built_to_divide_are_seen(r):
    rng = np.random.default_rng(0)
    for _ in range(10):
        values, concept = family(rng, 1, 0.0)
        built = s.planted(values[:, 0], concept, r, rng)
        assert s.division(built, concept) >= 0.1
        assert s.sharing(built, concept) >= 0.05


def test_a_perfect_division_counts_one():
    rng = np.random.default_rng(0)
    concept = np.repeat([0, 1], [100, 300])
    values = np.stack([concept == 0, concept == 1], axis=1) * rng.uniform(1, 2, (400, 1))
    assert s.division(values, concept) == pytest.approx(1, abs=0.02)
    assert s.sharing(values, concept) == pytest.approx(1)
    assert s.sharing(np.array([[63.0, 37], [37, 63]]), np.array([0, 1])) == pytest.approx(0.05, abs=0.002)


@pytest.mark.parametrize("r", [2, 10])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
def test_noise_alone_divides_nothing_although_the_loudest_clone_goes_with_the_concept(r, noise):
    rng = np.random.default_rng(1)
    measured, loudest = [], []
    from sklearn.metrics import adjusted_mutual_info_score as ami

    for _ in range(10):
        values, concept = family(rng, r, noise)
        measured.append((s.division(values, concept), s.sharing(values, concept)))
        loudest.append(ami(concept, values.argmax(axis=1)))
    assert np.mean([one[0] for one in measured]) < 0.05
    assert np.mean([one[1] for one in measured]) < 0.01
    if noise:
        assert np.mean(loudest) > 0.1  # what the naive measure would have said


def test_families_that_divide_by_level_alone_do_not_pass():
    """One clone is four times as strong as the other on either concept: owned, but no division."""
    rng = np.random.default_rng(2)
    values, concept = family(rng, 1, 0.0)
    values = np.concatenate([4 * values, values], axis=1)
    assert (s.owners(values)[values[:, 0] > values[:, 0].mean()] == 1).all()
    assert abs(s.division(values, concept)) < 0.05
    assert s.sharing(values, concept) == pytest.approx(0, abs=1e-9)


def test_a_family_of_which_one_clone_took_all_does_not_pass():
    rng = np.random.default_rng(4)
    values, concept = family(rng, 1, 0.0)
    values = np.concatenate([values, 0 * values], axis=1)
    assert s.division(values, concept) == pytest.approx(0, abs=0.05)
    assert s.sharing(values, concept) == pytest.approx(0, abs=1e-9)


def test_a_division_of_a_rare_concept_from_a_common_one_is_seen():
    """One token in forty is of the second concept, which clone 1 keeps to itself; both answer the first alike."""
    rng = np.random.default_rng(5)
    concept = (rng.random(4000) < 0.025).astype(int)
    level = rng.uniform(0.5, 1.5, 4000)
    values = np.stack([np.where(concept == 1, 0.3, 1.0) * level, level], axis=1) * np.exp(0.1 * rng.normal(size=(4000, 2)))
    assert s.division(values, concept) > 0.5
    assert s.sharing(values, concept) >= 0.05


def test_a_silent_family_has_no_shares():
    assert np.isnan(s.sharing(np.array([[1.0, 1], [0, 0]]), np.array([0, 1])))


def test_cosines_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(6, 3 * 4))  # clone k of neuron j at k * 4 + j
    for j in range(4):
        own = [w[:, k * 4 + j] / np.linalg.norm(w[:, k * 4 + j]) for k in range(3)]
        pairs = [a @ b for a, b in itertools.combinations(own, 2)]
        assert s.cosines(w, 3)[j] == pytest.approx(np.mean(pairs))
    assert s.cosines(np.tile(rng.normal(size=(6, 4)), 10), 10) == pytest.approx(np.ones(4))


def test_strangers_keep_means_and_distances_and_nothing_else():
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(6, 3 * 20)) * np.geomspace(1, 30, 20)[None].repeat(3, 0).ravel(), rng.normal(size=3 * 20)
    other, bias = s.strangers(w, b, 3, rng)

    def parts(w, b):
        both = np.concatenate([w, b[None]]).reshape(7, 3, 20)
        return both.mean(axis=1), both - both.mean(axis=1, keepdims=True)

    (mean, off), (mean2, off2) = parts(w, b), parts(other, bias)
    np.testing.assert_allclose(mean2, mean, atol=1e-9)
    np.testing.assert_allclose((off2**2).sum(axis=(0, 1)), (off**2).sum(axis=(0, 1)))
    cosine = (off * off2).sum(axis=0) / np.linalg.norm(off, axis=0) / np.linalg.norm(off2, axis=0)
    assert np.abs(cosine).mean() < 0.5


def test_a_division_in_weights_is_lost_on_strangers():
    """Clones turned to one concept each divide; with a stranger's turns, as large, they do not."""
    rng = np.random.default_rng(3)
    d, m, r = 60, 24, 2
    w = np.empty((d, r * m))
    cases = []
    for j in range(m):
        x, concept = tokens(rng, d=d, gap=1.5)
        means = [x[concept == k].mean(axis=0) for k in (0, 1)]
        for k in range(r):
            w[:, k * m + j] = means[0] + means[1] + 0.7 * (means[k] - means[1 - k])
        cases.append((x, concept))

    def mean(weights):
        return np.mean([s.division(np.maximum(x @ weights[:, j::m], 0), concept) for j, (x, concept) in enumerate(cases)])

    assert mean(w) > 0.3
    assert mean(s.strangers(w, np.zeros(r * m), r, rng)[0]) < mean(w) / 3


def test_features_without_a_match():
    rng = np.random.default_rng(0)
    those = np.maximum(rng.normal(size=(4000, 30)) - 1.5, 0)
    near = those[:, :20] * rng.uniform(0.5, 1.5, (4000, 20))
    new = np.maximum(rng.normal(size=(4000, 5)) - 1.5, 0)
    rare = np.zeros((4000, 3))
    rare[0] = 1
    assert s.unmatched(np.concatenate([near, new, rare], axis=1), those) == pytest.approx(5 / 25)
    assert s.unmatched(near, those) == 0
    slow = [max(np.corrcoef(a, b)[0, 1] for b in those.T) for a in np.concatenate([near, new], axis=1).T]
    assert np.mean(np.array(slow) < s.UNLIKE) == pytest.approx(5 / 25)
    assert np.isnan(s.unmatched(rare, those))
