"""Every consumer against a slow twin that holds the whole activation matrix; resuming; edge cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms import ModelError, corpus
from superscope.lms.corpus.splits import CorpusError, Rows
from superscope.lms.model import activations
from superscope.lms.model.activations import (
    CoActivation,
    Correlation,
    FiringSample,
    Histogram,
    LabelSums,
    Moments,
    Strata,
    TopDocuments,
    bin_edges,
    directions,
    encoder,
    neurons,
    scan,
    split_labels,
)
from superscope.lms.model.examples import token_hash
from superscope.lms.model.transformer import Shape


@pytest.fixture(scope="module")
def rows(split, model):
    return split.rows(model.n_ctx)


@pytest.fixture(scope="module")
def matrix(model, rows):
    """(token, unit) every activation, and (token,) place."""
    values = model.activations(torch.from_numpy(rows.tokens), [model.neuron_hook()])[model.neuron_hook()]
    return values[:, 1:].flatten(0, 1).numpy(), rows.place[:, 1:].ravel()


def one(model, rows, consumer, **options):
    return scan(model, rows, neurons(model), {"it": consumer}, **options)["it"]


@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_moments(model, rows, matrix, batch_rows):
    x = matrix[0].astype(np.float64)
    found = one(model, rows, Moments(), batch_rows=batch_rows)
    z = (x - x.mean(0)) / x.std(0)
    assert found.n == len(x)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.variance, x.var(0), rtol=1e-5)
    np.testing.assert_allclose(found.skew, (z**3).mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.kurtosis, (z**4).mean(0) - 3, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.density, (matrix[0] > 0).mean(0))
    np.testing.assert_array_equal(found.low, matrix[0].min(0))
    np.testing.assert_array_equal(found.high, matrix[0].max(0))


def test_a_dead_unit_has_no_kurtosis(model, rows):
    found = scan(model, rows, encoder(model.neuron_hook(), torch.zeros_like, "nothing"), {"it": Moments()})["it"]
    assert np.isnan(found.kurtosis).all()
    assert not found.density.any()


def test_histogram(model, rows, matrix):
    edges = bin_edges()
    counts = one(model, rows, Histogram(), batch_rows=5)
    assert (counts.sum(1) == len(matrix[0])).all()
    x = matrix[0][:, 3].astype(np.float64)
    twin, _ = np.histogram(x, edges)
    np.testing.assert_array_equal(counts[3], twin)  # no activation lies on an edge or beyond them


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-9, 2.0**-10, -(2.0**-10), 1.0, 1.12, 1.13, -3.3, 5e3, -5e3])
def test_bins_hold_their_values(value):
    from superscope.lms.model.consumers import bin_index

    k = int(bin_index(torch.tensor([value]))[0])
    low, high = bin_edges()[k : k + 2]
    assert low <= np.clip(value, -(2.0**10), 2.0**10) <= high


def twin_top(x, place, document, k):
    """(value, document, place) of the best `k` documents of one unit."""
    best = {}
    for value, where in zip(x, place, strict=True):
        entry = (-value, document[where], where)
        best[document[where]] = min(best.get(document[where], entry), entry)
    chosen = sorted(best.values())[:k]
    return [(-a, b, c) for a, b, c in chosen]


@pytest.mark.parametrize(("shuffle", "batch_rows"), [(None, 3), (0, 3), (1, 50)])
@pytest.mark.parametrize("coarse", [False, True])
def test_top_documents(model, split, matrix, shuffle, batch_rows, coarse):
    """Whatever the order of the rows; `coarse` makes ties everywhere."""
    rows = split.rows(model.n_ctx, seed=shuffle)
    units = encoder(model.neuron_hook(), lambda v: torch.round(v * 4) / 4 if coarse else v, str(coarse))
    found = scan(model, rows, units, {"it": TopDocuments(split.document, 5)}, batch_rows=batch_rows)["it"]
    x = np.round(matrix[0] * 4) / 4 if coarse else matrix[0]
    for unit in range(0, x.shape[1], 5):
        twin = twin_top(x[:, unit], matrix[1], split.document, 5)
        assert [d for _, d, _ in twin] == found.document[unit].tolist()
        assert [p for _, _, p in twin] == found.place[unit].tolist()
        np.testing.assert_allclose([v for v, _, _ in twin], found.value[unit], rtol=1e-5)


def test_fewer_documents_than_k(model, split, rows):
    found = one(model, rows, TopDocuments(split.document, 500))
    there = (found.document >= 0).sum(1)
    assert (there == len(np.unique(split.document[rows.place[rows.place >= 0]]))).all()
    assert np.isnan(found.value[found.document < 0]).all()


def test_strata(model, rows, matrix):
    """Examples lie in their interval, and are those with the smallest hash wherever the bins kept enough."""
    x, place = matrix
    found = one(model, rows, Strata(intervals=5, examples=3, k=400, seed=2), batch_rows=4)  # k so large that nothing is dropped
    number = token_hash(place, 2)
    for unit in range(0, x.shape[1], 6):
        edges = np.linspace(x[:, unit].min(), x[:, unit].max(), 6)
        np.testing.assert_allclose(found.edges[unit], edges, rtol=1e-6)
        interval = np.clip(np.searchsorted(found.edges[unit], x[:, unit], side="right") - 1, 0, 4)
        for k in range(5):
            inside = np.flatnonzero(interval == k)
            twin = place[inside[np.argsort(number[inside])][:3]]
            assert found.place[unit, k, : len(twin)].tolist() == twin.tolist()
            assert (found.place[unit, k, len(twin) :] == -1).all()


def test_strata_keep_the_whole_range_in_bounded_memory(model, rows, matrix):
    found = one(model, rows, Strata(intervals=11, examples=2, k=2), batch_rows=1)
    x = matrix[0]
    for unit in range(x.shape[1]):
        filled = np.histogram(x[:, unit], found.edges[unit])[0] > 0
        assert (found.place[unit, filled, 0] >= 0).all()


def test_firing_sample(model, rows, matrix):
    x, place = matrix
    threshold = np.quantile(x, 0.9, axis=0)
    found = one(model, rows, FiringSample(threshold, k=20, seed=4), batch_rows=2)
    number = token_hash(place, 4)
    for unit in range(0, x.shape[1], 7):
        firing = np.flatnonzero(x[:, unit] > np.float32(threshold[unit]))
        assert found.place[unit].tolist() == place[firing[np.argsort(number[firing])][:20]].tolist()


def test_hashes_are_uniform():
    number = token_hash(np.arange(100_000), 3)
    assert np.abs(np.histogram(number, 20, (0, 1))[0] - 5000).max() < 350
    assert abs(np.corrcoef(number[:-1], number[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(number, token_hash(np.arange(100_000), 4))[0, 1]) < 0.02


def test_label_sums(model, split, rows, matrix):
    x, place = matrix
    found = one(model, rows, LabelSums(split_labels(split), 0.01), batch_rows=6)
    for kind, codes in (("genre", split.genre), ("segment", split.segment), ("char class", split.char_class)):
        counts = found[kind]
        for label in range(len(counts.names)):
            inside = codes[place] == label
            assert counts.tokens[label] == inside.sum()
            np.testing.assert_array_equal(counts.firing[label], (x[inside] > np.float32(0.01)).sum(0))
            np.testing.assert_allclose(counts.mass[label], np.maximum(x[inside], 0).sum(0), rtol=1e-4, atol=1e-6)


def test_enrichment_finds_a_planted_label_and_ignores_rare_ones(model, split, rows):
    is_code = torch.from_numpy((split.genre == split.genres.index("python")).astype(np.float32))
    batches = iter(range(0, len(rows), 4))

    def read(value):
        place = (
            torch.from_numpy(rows.place[(start := next(batches)) : start + 4])
            if value.shape[1] > 2
            else torch.zeros(1, 2).long()
        )
        return is_code[place.clamp(min=0)][..., None]

    found = scan(model, rows, encoder(model.neuron_hook(), read, "code"), {"it": LabelSums(split_labels(split))}, batch_rows=4)[
        "it"
    ]
    genre = found["genre"]
    share = genre.tokens[genre.names.index("python")] / genre.tokens.sum()
    enrichment = genre.enrichment(fewest=20)[:, 0]
    assert enrichment[genre.names.index("python")] == pytest.approx(-np.log2(share), abs=0.05)
    assert enrichment[genre.names.index("novel")] < -5
    assert np.isnan(genre.enrichment(fewest=10**6)).all()


def test_co_activation(model, rows, matrix):
    fired = (matrix[0] > 0).astype(int)
    np.testing.assert_array_equal(one(model, rows, CoActivation(), batch_rows=9), fired.T @ fired)


def test_correlation_of_two_models(model, tokenizer, rows, matrix):
    other = lms.untrained(Shape(2, 16, 2, 12, 32, len(tokenizer)), tokenizer, seed=5)
    sets = {"a": neurons(model), "b": neurons(other, 1)}
    found = scan(model, rows, sets, {"it": Correlation("a", "b"), "self": Correlation("a", "a")}, batch_rows=8)
    y = (
        other.activations(torch.from_numpy(rows.tokens), [other.neuron_hook(1)])[other.neuron_hook(1)][:, 1:]
        .flatten(0, 1)
        .numpy()
    )
    twin = np.corrcoef(matrix[0].T.astype(float), y.T.astype(float))[:24, 24:]
    np.testing.assert_allclose(found["it"], twin, atol=1e-6)
    np.testing.assert_allclose(np.diag(found["self"]), 1, atol=1e-12)


def test_a_constant_has_no_correlation(model, rows):
    units = encoder(model.neuron_hook(), lambda v: torch.full_like(v, 0.1), "constant")
    found = scan(model, rows, {"a": units, "b": neurons(model)}, {"it": Correlation()})["it"]
    assert np.isnan(found).all()


def test_directions_and_rotation(model, rows, matrix):
    hook, w = model.neuron_hook(), np.random.default_rng(0).normal(size=(24, 3))
    found = scan(model, rows, directions(hook, w), {"it": Moments()})["it"]
    np.testing.assert_allclose(found.mean, (matrix[0] @ w).mean(0), rtol=1e-3, atol=1e-6)
    rotated = scan(model, rows, neurons(model).rotated(3), {"it": Moments()})["it"]
    second = (matrix[0].astype(float) ** 2).sum(1).mean()
    assert (rotated.variance + rotated.mean**2).sum() == pytest.approx(second, rel=1e-4)  # a rotation keeps the norm


class StopError(Exception):
    pass


def everything(split):
    return {
        "moments": Moments(), "histogram": Histogram(), "top": TopDocuments(split.document, 4), "strata": Strata(seed=1),
        "firing": FiringSample(0.02, 15), "labels": LabelSums(split_labels(split)), "both": CoActivation(),
        "correlation": Correlation("units", "units"),
    }  # fmt: skip


def same(a, b):
    if isinstance(a, dict):
        return all(same(a[k], b[k]) for k in a)
    if hasattr(a, "__dataclass_fields__"):
        return all(same(getattr(a, k), getattr(b, k)) for k in a.__dataclass_fields__)
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=not isinstance(a, list))


def test_resumes_where_it_was_killed(model, split, rows, tmp_path):
    """Equal to the bit, and the rows before the last stored state are not run again."""

    def dies(done, total):
        if done > total / 2:
            raise StopError

    options = {"batch_rows": 4, "store": tmp_path, "every": 0}
    whole = scan(model, rows, neurons(model), everything(split), batch_rows=4)
    with pytest.raises(StopError):
        scan(model, rows, neurons(model), everything(split), progress=dies, **options)
    run = []
    again = scan(model, rows, neurons(model), everything(split), progress=lambda done, total: run.append(done), **options)
    assert run[0] > len(rows) / 3
    assert all(same(whole[name], again[name]) for name in whole)
    assert len(list(tmp_path.glob("state-*.npz"))) == 1
    run.clear()
    done = scan(model, rows, neurons(model), everything(split), progress=lambda done, total: run.append(done), **options)
    assert not run
    assert all(same(whole[name], done[name]) for name in whole)


@pytest.mark.parametrize("damage", ["state", "head", "other weights", "other settings", "other rows"])
def test_a_state_that_does_not_fit_is_not_used(model, tokenizer, split, rows, tmp_path, damage):
    scan(model, rows, neurons(model), {"it": Moments()}, batch_rows=8, store=tmp_path)
    used, consumer, text = model, Moments(), rows
    if damage == "state":
        path = next(tmp_path.glob("state-*"))
        path.write_bytes(path.read_bytes()[:-7])
    elif damage == "head":
        (tmp_path / "scan.json").write_text("{")
    elif damage == "other weights":
        used = lms.untrained(Shape(1, 16, 2, 24, 32, len(tokenizer)), tokenizer, seed=2)
    elif damage == "other settings":
        consumer = Moments(0.5)
    else:
        text = split.rows(model.n_ctx, seed=8)
    fresh = scan(used, text, neurons(used), {"it": consumer}, batch_rows=8)["it"]
    again = scan(used, text, neurons(used), {"it": type(consumer)(consumer.threshold)}, batch_rows=8, store=tmp_path)["it"]
    assert same(fresh, again)


def test_nan_is_an_error_that_says_so(model, rows):
    units = encoder(model.neuron_hook(), lambda v: torch.where(v > v.max() - 1e-6, torch.nan, v), "broken")
    with pytest.raises(ModelError, match=r"unit \d+ is nan in the rows from 0 on"):
        scan(model, rows, units, {"it": Moments()})


def test_empty_and_wrong_input(model, split, rows):
    nothing = Rows(rows.tokens[:0], rows.place[:0])
    with pytest.raises(CorpusError, match="empty"):
        scan(model, nothing, neurons(model), {"it": Moments()})
    with pytest.raises(ModelError, match="longer than the context"):
        scan(model, split.rows(33), neurons(model), {"it": Moments()})
    with pytest.raises(ModelError, match=r"no hook 'blocks\.7\.mlp'"):
        scan(model, rows, "blocks.7.mlp", {"it": Moments()})
    with pytest.raises(ValueError, match="'it' reads"):
        scan(model, rows, neurons(model), {"it": Correlation()})
    with pytest.raises(ModelError, match="neurons 0 to 23"):
        neurons(model, 0, np.array([24]))
    far = Rows(np.where(rows.tokens == rows.tokens.max(), 5000, rows.tokens), rows.place)
    with pytest.raises(ModelError, match="another tokenizer"):
        scan(model, far, neurons(model), {"it": Moments()})


def test_stops_at_the_layer_needed(tokenizer, rows):
    deep = lms.untrained(Shape(3, 16, 2, 8, 32, len(tokenizer)), tokenizer)
    reached = []
    deep.hooked.blocks[1].hook_resid_post.add_perma_hook(lambda value, hook: reached.append(1))
    deep.hooked.blocks[2].hook_resid_pre.add_perma_hook(lambda value, hook: reached.append(2))
    scan(deep, rows, {"a": neurons(deep, 1), "b": "blocks.0.hook_resid_pre"}, {"it": Moments(of="a")}, batch_rows=50)
    assert set(reached) == {1}


def test_unit_order_of_a_selection(model, rows, matrix):
    found = scan(model, rows, activations.neurons(model, 0, np.array([5, 2])), {"it": Moments()})["it"]
    np.testing.assert_array_equal(found.high, matrix[0][:, [5, 2]].max(0))


def test_a_corpus_shorter_than_a_row_is_an_error(tokenizer):
    from superscope.lms.corpus.generated import Document

    with pytest.raises(CorpusError, match="fewer than one row"):
        corpus.tokenise([Document("a b", "g", "s", "w")], tokenizer).rows(32)
