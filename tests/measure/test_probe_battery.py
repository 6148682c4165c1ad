"""The battery: planted directions are read, permuted labels are not, memorised types are not selective."""

from __future__ import annotations

import numpy as np
import pytest

from superscope.measure.activations import probe_battery as battery

D, DOCUMENTS, LENGTH = 24, 60, 20
DOCUMENT = np.repeat(np.arange(DOCUMENTS), LENGTH)


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(D)
    return vector / np.linalg.norm(vector)


def planted(seed: int = 0, strength: float = 2.5, loud: float = 0.0):
    """(h, truth, direction): one direction, labels in runs of 5, a mean of its own in every document, and with `loud` a noise
    direction that leans on the planted one."""
    rng = np.random.default_rng(seed)
    direction, other = unit(seed), unit(seed + 100) + 0.5 * unit(seed)
    truth = np.repeat(rng.random(len(DOCUMENT) // 5) < 0.3, 5)
    h = rng.standard_normal((len(DOCUMENT), D)) + 0.5 * rng.standard_normal((DOCUMENTS, D))[DOCUMENT]
    h += loud * rng.standard_normal(len(h))[:, None] * other
    return h + strength * truth[:, None] * direction, truth, direction


def test_the_planted_direction_is_found():
    h, truth, direction = planted()
    found = battery.battery(h, truth, DOCUMENT)
    for kind in ("mean difference", "LDA", "logistic"):
        assert found[kind].auc > 0.9, kind
        assert found[kind].pattern @ direction > 0.95, kind
    assert found["random"].auc < found["LDA"].auc - 0.1
    assert found["k-sparse"].direction.astype(bool).sum() == 8
    assert found["best unit"].direction.astype(bool).sum() == 1
    assert battery.agreement(found)[:3, :3].min() > 0.95


def test_correlated_noise_tells_the_reading_direction_from_the_written_one():
    h, truth, direction = planted(seed=1, loud=3.0)
    found = battery.battery(h, truth, DOCUMENT)
    assert found["LDA"].auc > found["mean difference"].auc + 0.02
    assert found["LDA"].direction @ direction < 0.9
    assert found["LDA"].auc > 0.85


def test_a_feature_on_one_unit():
    h, truth, _ = planted(strength=0)
    h[:, 7] += 3 * truth
    found = battery.battery(h, truth, DOCUMENT, k=1)
    assert found["best unit"].setting == 7
    assert found["best unit"].auc > 0.95
    assert found["k-sparse"].auc == pytest.approx(found["best unit"].auc)
    assert found["random"].auc < 0.9


def test_permuted_labels_are_at_chance_for_every_kind():
    h, truth, _ = planted()
    rng = np.random.default_rng(0)
    values = []
    for _ in range(5):
        wrong = battery.permuted(truth, DOCUMENT, rng)
        assert wrong.sum() == truth.sum()
        values.append([probe.auc for probe in battery.battery(h, wrong, DOCUMENT).values()])
    assert np.abs(np.mean(values, axis=0) - 0.5).max() < 0.08


def test_labels_of_whole_documents_stay_whole():
    truth = (np.arange(DOCUMENTS) % 3 == 0)[DOCUMENT]
    wrong = battery.permuted(truth, DOCUMENT, np.random.default_rng(1))
    assert all(len(np.unique(wrong[one == DOCUMENT])) == 1 for one in range(DOCUMENTS))
    assert (wrong != truth).any()


def test_no_document_lies_on_two_sides():
    _, truth, _ = planted()
    parts = battery.split_documents(DOCUMENT, truth)
    assert (parts.fit.astype(int) + parts.choose + parts.judge == 1).all()
    sides = [set(DOCUMENT[rows]) for rows in (parts.fit, parts.choose, parts.judge)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == DOCUMENTS
    with pytest.raises(ValueError, match="60 documents cannot be dealt"):
        battery.split_documents(DOCUMENT, DOCUMENT == 3)


def test_selectivity_tells_a_feature_from_types_known_by_heart():
    rng = np.random.default_rng(2)
    types = rng.integers(0, 40, len(DOCUMENT))
    codes = 3 * rng.standard_normal((40, 40)) / np.sqrt(40)
    h, truth, _ = planted()
    kinds = ("LDA", "logistic")
    honest = battery.selectivity(h, truth, types, DOCUMENT, kinds=kinds)
    assert min(honest.values()) > 0.3
    # the label is a property of types, and the values hold nothing but types
    by_type = battery.control_task(types, 0.3, rng)
    heart = battery.selectivity(
        codes[types] + 0.3 * rng.standard_normal((len(types), 40)), by_type, types, DOCUMENT, kinds=kinds
    )
    assert max(heart.values()) < 0.1


def test_control_tasks_have_one_label_a_type_and_the_share():
    types = np.random.default_rng(0).zipf(1.5, 5000)
    label = battery.control_task(types, 0.3, np.random.default_rng(1))
    assert all(len(np.unique(label[types == one])) == 1 for one in np.unique(types))
    means = [battery.control_task(types, 0.3, np.random.default_rng(i)).mean() for i in range(50)]
    assert np.mean(means) == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("loud", [0.0, 3.0])
def test_one_direction_until_chance(loud):
    h, truth, _ = planted(seed=3, loud=loud)
    found = battery.amnesic(h, truth, DOCUMENT)
    assert found.quality[0] > 0.85
    assert found.count == 1


def test_four_classes_take_three_directions_and_noise_none():
    rng = np.random.default_rng(4)
    place = np.repeat(rng.integers(0, 4, len(DOCUMENT) // 5), 5)
    axes = np.linalg.qr(rng.standard_normal((D, 4)))[0].T
    h = rng.standard_normal((len(place), D)) + np.array([4, 3.5, 3, 2.5])[place, None] * axes[place]
    assert battery.amnesic(h, place, DOCUMENT).count == 3
    assert battery.amnesic(rng.standard_normal((len(place), D)), place, DOCUMENT).count == 0


def test_unknown_kinds_are_named():
    h, truth, _ = planted()
    with pytest.raises(ValueError, match=r"\['forest'\]: there are mean difference, LDA"):
        battery.battery(h, truth, DOCUMENT, kinds=("forest",))


def test_a_label_of_documents_is_not_read_off_the_documents_means():
    """Loud document means and a label per document: tokens dealt at random would be read perfectly, documents are not."""
    rng = np.random.default_rng(0)
    truth = (rng.random(DOCUMENTS) < 0.4)[DOCUMENT]
    h = rng.standard_normal((len(DOCUMENT), D)) + 2 * rng.standard_normal((DOCUMENTS, D))[DOCUMENT]
    leaky = battery.battery(h, truth, np.arange(len(DOCUMENT)), kinds=("LDA",))["LDA"].auc
    honest = battery.battery(h, truth, DOCUMENT, kinds=("LDA",))["LDA"].auc
    assert leaky > 0.75
    assert abs(honest - 0.5) < 0.2
    assert battery.amnesic(h, truth, DOCUMENT).count == 0


def test_lda_is_scikit_learns():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(5)
    z = rng.standard_normal((300, 20)) @ rng.standard_normal((20, 20))
    truth = rng.random(300) < 0.3
    z[truth] += 0.5
    found = battery.lda(z, truth)
    for setting, one in zip(battery.SHRINKAGE, found, strict=True):
        slow = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=setting).fit(z, truth).coef_[0]
        np.testing.assert_allclose(one, slow, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(battery.lda(z, truth, (setting,))[0], slow, rtol=1e-6, atol=1e-9)


def test_refitting_on_the_same_rows_is_the_same_probe_and_given_parts_are_used():
    rng = np.random.default_rng(6)
    document = np.repeat(np.arange(60), 10)
    truth = rng.random(600) < 0.5
    h = rng.standard_normal((600, 12)) + np.outer(truth, np.arange(12) / 6)
    parts = battery.split_documents(document, truth, 3)
    found = battery.battery(h, truth, document, seed=3)
    given = battery.battery(h, truth, document, parts=parts)
    for kind in battery.DENSE:
        np.testing.assert_allclose(given[kind].direction, found[kind].direction)
        again = battery.refit(found[kind], h, truth, parts.fit)
        assert again @ found[kind].direction == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="k-sparse"):
        battery.refit(found["k-sparse"], h, truth, parts.fit)


def complementary(seed: int = 0, n: int = 3000, d: int = 60):
    """Twelve units that say the same, louder than five that do not; and a reader under the noise of another unit."""
    rng = np.random.default_rng(seed)
    truth, document = rng.random(n) < 0.3, np.repeat(np.arange(n // 20), 20)
    twins, under = rng.standard_normal((2, n, d))
    twins[:, :12] = rng.standard_normal((n, 1)) + 0.2 * twins[:, :12] + 2.1 * truth[:, None]
    twins[:, 12:17] += 1.6 * truth[:, None]
    under[:, 0] = 0.62 * truth + under[:, 1] + 0.14 * under[:, 0]
    return twins, under, truth, battery.split_documents(document, truth), document


def test_few_units_that_complement_each_other_are_found_among_twins_and_under_noise():
    twins, under, truth, parts, document = complementary()
    for h, by_means in ((twins, 0.97), (under, 0.8)):
        k = 10 if h is twins else 2
        plain = battery.battery(h, truth, document, k=k, kinds=("k-sparse",), parts=parts)["k-sparse"]
        found = battery.sparse(h, truth, parts, k)
        assert plain.auc < by_means < 0.99 < found.auc
        assert np.count_nonzero(found.direction) <= k
    assert set(battery.forward(under[parts.fit], truth[parts.fit], 2)) == {0, 1}


def test_few_units_of_permuted_labels_are_at_chance():
    twins, _, truth, _, document = complementary(1)
    shuffled = battery.permuted(truth, document, np.random.default_rng(0))
    found = battery.sparse(twins, shuffled, battery.split_documents(document, shuffled), 10)
    assert found.auc == pytest.approx(0.5, abs=0.08)


def test_forward_selection_is_that_of_least_squares_fitted_anew():
    rng = np.random.default_rng(3)
    z, truth = rng.standard_normal((300, 9)), rng.random(300) < 0.3
    z[:, :4] += truth[:, None] * np.array([0.9, 0.5, 0.7, 0.3])
    z[:, 4] = z[:, 0] + 0.3 * z[:, 4]
    z[:, 5] = z[:, 0]  # says nothing new
    root = np.sqrt(np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum()))
    slow: list[int] = []
    for _ in range(5):
        errors = []
        for unit in range(9):
            design = np.column_stack([np.ones(300), z[:, [*slow, unit]]]) * root[:, None]
            target = np.where(truth, 1.0, -1.0) * root
            errors.append(np.inf if unit in slow else ((target - design @ np.linalg.pinv(design) @ target) ** 2).sum())
        slow.append(int(np.argmin(errors)))
    assert battery.forward(z, truth, 5).tolist() == slow
    assert len(battery.forward(z[:, [0, 5]], truth, 2)) == 1
