"""Metrics of polysemanticity: planted truths, nulls, and the slow obvious twin of the one that judges."""

import numpy as np
import pytest
from scipy import stats

from superscope import lms
from superscope.lms.reading import metrics, planted


@pytest.fixture(scope="module")
def split():
    whole = lms.corpus.sample(lms.load("gelu-1l-mini").tokenizer)
    return whole.only(np.random.default_rng(0).random(len(whole.documents)) < 0.2)


@pytest.fixture(scope="module")
def text(split):
    place = split.rows(256, limit=250, seed=0).place[:, 1:].ravel()
    return metrics.labelled(split, place)


@pytest.fixture(scope="module")
def pool(text):
    return text.pool(100)


def units(text, pool, m, count, rng):
    sets = planted.sets_apart(pool, text.document, m, count, rng)
    return np.stack([planted.uneven(text.document, chosen, rng) for chosen in sets], axis=1), sets


def test_the_number_of_concepts_of_uneven_units_is_ranked_and_labels_of_others_rank_nothing(text, pool):
    rng = np.random.default_rng(1)
    made = {m: units(text, pool, m, 6, rng)[0] for m in (1, 3, 5)}
    found = {m: metrics.concepts(values, text) for m, values in made.items()}
    assert planted.auc(found[1], found[3]) > 0.95
    assert planted.auc(found[3], found[5]) > 0.85
    other = text.shifted(rng)
    moved = {m: metrics.concepts(values, other) for m, values in made.items()}
    assert planted.auc(moved[1], moved[5]) < 0.85


def test_a_unit_without_noise_of_one_concept_has_one_and_a_constant_unit_has_none_that_is_sure(text, pool):
    whole = pool[0].where.astype(float)
    one, flat = metrics.concepts(np.stack([whole, np.ones(len(whole))], axis=1), text)
    assert one == pytest.approx(1, abs=0.02)
    assert flat == pytest.approx(1 / metrics.STEPS)


def test_noise_and_topics_have_hardly_a_sure_concept_and_a_little_of_another_unit_adds_none(text, pool):
    rng = np.random.default_rng(8)
    heavy = np.exp(2 * rng.standard_normal((len(text.place), 20)))
    few = np.isin(text.document, rng.choice(np.unique(text.document), 8, replace=False))
    topic = few[:, None] * rng.uniform(0.5, 1, (len(heavy), 3))
    assert np.allclose(metrics.concepts(topic, text), 1 / metrics.STEPS)
    assert (
        1 / metrics.concepts(heavy, text) < 2
    ).mean() <= 0.25  # chance finds one concept now and then, in one of the two ways
    one, other = (units(text, pool, 1, 6, rng)[0] for _ in range(2))
    assert np.median(1 / metrics.concepts(one + 0.2 * other, text)) < 1.2


def test_heights_are_those_of_the_slow_twin(text, pool):
    rng = np.random.default_rng(2)
    values = units(text, pool, 3, 2, rng)[0]
    keep = np.arange(len(text.place)) < 20_000
    part, values = text.only(keep), values[keep]
    fast = metrics.taken(metrics.excess(values), part)
    slow = twin(metrics.excess(values), part)
    assert np.allclose(fast[:, :, :6], slow, rtol=1e-3, atol=1e-4)


def twin(height, text, steps=6):
    """Token by token: the best concept by variance explained on one half, its height on the other, then its tokens are gone."""
    holds = text.holds.toarray() > 0
    out = np.zeros((2, height.shape[1], steps))
    for way, (here, there) in enumerate(((text.first, ~text.first), (~text.first, text.first))):
        for unit in range(height.shape[1]):
            free = np.ones(len(text.place), dtype=bool)
            for step in range(steps):
                a, b = here & free, there & free
                n = holds[:, a].sum(axis=1)
                rise = holds[:, a] @ height[a, unit] - n * height[a, unit].mean()
                gain = np.where(n >= metrics.FEWEST, rise / np.sqrt(np.maximum(n * (1 - n / a.sum()), 1e-9)), -np.inf)
                best = int(np.argmax(gain))
                on = b & holds[best]
                free &= ~holds[best]
                group = text.split.document[text.place[on]] % metrics.GROUPS
                if on.sum() < metrics.FEWEST or len(set(group)) < metrics.FEW_GROUPS:
                    continue
                mean = height[on, unit].mean()
                rest = [((height[on, unit] - mean)[group == g]).sum() for g in set(group)]
                error = np.sqrt(np.sum(np.square(rest)) * len(rest) / (len(rest) - 1)) / on.sum()
                rise_there = mean - height[there & free, unit].mean()
                out[way, unit, step] = rise_there if rise_there > stats.t.isf(metrics.SURE, len(rest) - 1) * error else 0
    return out


def test_the_concepts_are_told_by_name(text, pool):
    values, sets = units(text, pool, 2, 3, np.random.default_rng(3))
    for found, chosen in zip(metrics.told(values, text), sets, strict=True):
        names = [name for name, _ in found]
        where = dict(zip(text.names, text.holds, strict=True))
        for one in chosen:  # by its own name, or by that of a concept that holds at the same tokens
            there = one.where
            same = [(where[name].toarray().ravel() > 0) for name in names[:4]]
            assert max((s & there).sum() / (s | there).sum() for s in same) > 0.5


def test_rules_detect_one_concept_better_than_five(text, pool):
    rng = np.random.default_rng(4)
    one, five = (units(text, pool, m, 6, rng)[0] for m in (1, 5))
    for name in ("rule", "detection"):
        a, b = (metrics.score(values, text, [name])[name] for values in (one, five))
        assert a.mean() > b.mean() + 0.05
    words = np.stack([(text.form == k).astype(float) for k in np.argsort(-np.bincount(text.form))[:2]], axis=1)
    assert metrics.one_token(words, text) == pytest.approx(1)
    assert metrics.beyond_tokens(words, text) == pytest.approx(0, abs=1e-3)


def test_metrics_that_ask_for_a_model_see_two_clusters_and_what_they_predict():
    rng = np.random.default_rng(5)
    split = lms.corpus.sample(lms.load("gelu-1l-mini").tokenizer)
    place = split.rows(256, limit=16, seed=0).place[:, 1:].ravel()
    n = len(place)
    kind = rng.integers(20, size=n)  # 0 and 1 are what the unit reads
    stream = 0.1 * rng.standard_normal((n, 12)).astype(np.float32)
    stream[kind == 0, 0] += 3
    stream[kind == 1, 1] += 3
    values = (kind < 2).astype(np.float32)[:, None] + 0.01 * rng.standard_normal((n, 1)).astype(np.float32)
    predicts = 0.1 * rng.standard_normal((n, 5)).astype(np.float32)
    predicts[kind == 0, 2] += 1
    apart, alike = predicts.copy(), predicts.copy()
    apart[kind == 1, 3] += 1
    alike[kind == 1, 2] += 1
    found = {name: metrics.score(values, metrics.labelled(split, place, stream, p)) for name, p in
             (("apart", apart), ("alike", alike))}  # fmt: skip
    assert found["alike"]["clusters"][0] < 0.4  # two tight clusters
    assert found["alike"]["effects"][0] > 0.9
    assert found["apart"]["effects"][0] < 0.5


def test_contexts_stay_in_their_document_and_in_the_text_that_was_read(split, text):
    values = np.random.default_rng(6).random(len(text.place))
    found = metrics.contexts(values, text, 5, np.arange(10))
    for place, shown in zip(found.place, found.activations, strict=True):
        inside = place[place >= 0]
        assert len(set(split.document[inside])) == 1
        assert (np.diff(inside) == 1).all()
        assert np.isfinite(shown[place >= 0]).all()
        assert np.isin(inside, text.place).all()
    assert len({int(split.document[p[p >= 0]][0]) for p in found.place[:5]}) == 5


@pytest.mark.parametrize(
    ("values", "names", "said"),
    [
        (lambda n: np.zeros((n - 1, 2)), (), "expected finite numbers"),
        (lambda n: np.full((n, 1), np.nan), (), "expected finite numbers"),
        (lambda n: np.zeros((n, 1)), ("clarity",), "no metric 'clarity'"),
        (lambda n: np.zeros((n, 1)), ("effects",), "need text with a stream"),
    ],
)
def test_what_cannot_be_scored_is_refused(text, values, names, said):
    with pytest.raises(ValueError, match=said):
        metrics.score(values(len(text.place)), text, names)


def test_directions_read_their_concepts_and_sets_never_meet(text, pool):
    rng = np.random.default_rng(7)
    sets = planted.sets_apart(pool, text.document, 3, 4, rng)
    for chosen in sets:
        assert (
            max((a.where & b.where).sum() / min(a.where.sum(), b.where.sum()) for a in chosen for b in chosen if a is not b)
            < 0.06
        )
    codes = rng.standard_normal((12, 80))
    named = list({one.name: one for chosen in sets for one in chosen}.values())
    there = np.stack([one.where for one in named], axis=1).astype(float)
    values = (there @ codes[: len(named)] + 0.3 * rng.standard_normal((len(there), 80))).astype(np.float32)
    fit = rng.random(len(there)) < 0.5
    read = values @ planted.directions(values, sets, fit)
    for k, chosen in enumerate(sets):
        heights = [read[~fit & one.where, k].mean() - read[~fit, k].mean() for one in chosen]
        assert np.allclose(heights, planted.STRENGTHS[:3], atol=0.25)
    with pytest.raises(ValueError, match="never meet"):
        planted.sets_apart(pool[:2], text.document, 5, 2, rng)
