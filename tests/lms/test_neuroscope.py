"""What `examine` reports, against the plain truth; saving, resuming, wrong input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope import lms, store
from superscope.lms import ModelError, corpus
from superscope.lms.corpus.splits import CorpusError
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model import activations
from superscope.lms.model.transformer import Shape
from superscope.lms.reading import describe, neuroscope
from superscope.lms.reading.judge import judge
from superscope.lms.reading.neuroscope import AFTER, BEFORE


@pytest.fixture(scope="module")
def reports(model, split):
    return neuroscope.examine(model, split, corpus="tiny", top=6)


@pytest.fixture(scope="module")
def truth(model, split):
    """(token, unit) activation by place, NaN where the scan does not go."""
    rows = split.rows(model.n_ctx)
    values = model.activations(torch.from_numpy(rows.tokens), [model.neuron_hook()])[model.neuron_hook()].numpy()
    out = np.full((len(split), values.shape[-1]), np.nan, dtype=np.float32)
    out[rows.place[:, 1:].ravel()] = values[:, 1:].reshape(-1, values.shape[-1])
    return out


@pytest.mark.parametrize("name", ["top", "strata", "random"])
def test_windows_hold_the_activations_of_their_tokens(reports, truth, split, model, name):
    examples = getattr(reports, name)
    places = examples.places()
    length = model.n_ctx - 1
    for unit in range(0, 24, 5):
        place, values = places[unit].reshape(-1, places.shape[-1]), examples.values[unit].reshape(-1, places.shape[-1])
        for peak, where, value in zip(examples.place[unit].ravel(), place, values, strict=True):
            if peak < 0:
                assert (where == -1).all()
                continue
            inside = where >= 0
            np.testing.assert_allclose(value[inside], truth[where[inside], unit], rtol=1e-4, atol=1e-6)
            assert where[BEFORE] == peak
            # exactly the tokens of the window that share its document and its row
            window = np.arange(max(peak - BEFORE, 0), min(peak + AFTER, len(split) - 1) + 1)
            same = (split.document[window] == split.document[peak]) & (window // length == peak // length)
            assert where[inside].tolist() == window[same].tolist()


def test_top_and_table(reports, truth):
    there = ~np.isnan(truth[:, 0])
    table = reports.table
    assert len(table) == len(reports) == 24
    np.testing.assert_allclose(table["density"], (truth[there] > 0).mean(0))
    np.testing.assert_allclose(table["high"], truth[there].max(0), rtol=1e-6)
    peak = reports.top.values[:, 0, BEFORE]
    np.testing.assert_allclose(peak, truth[there].max(0), rtol=1e-4)
    assert ((truth[there] > reports.threshold).mean(0) < 0.03).all()


def test_strata_cover_the_range(reports, truth):
    there = ~np.isnan(truth[:, 0])
    np.testing.assert_allclose(reports.edges[:, 0], truth[there].min(0), rtol=1e-4)
    np.testing.assert_allclose(reports.edges[:, -1], truth[there].max(0), rtol=1e-4)
    np.testing.assert_allclose(reports.share.sum(1), 1)
    value = reports.strata.values[..., BEFORE]
    low, high = reports.edges[:, :-1, None], reports.edges[:, 1:, None]
    there = ~np.isnan(value)
    assert there.any((1, 2)).all()
    assert ((value >= low - 1e-4) & (value <= high + 1e-4))[there].all()


def test_direct_effects_are_those_of_a_nudge(model, reports):
    """With the LayerNorm's scale frozen, the logits move by what is reported."""
    hooked, unit = model.hooked, 3
    residual = torch.randn(model.d_model)
    scale = ((residual - residual.mean()) ** 2).mean().add(1e-5).sqrt()

    def logits(x):
        return ((x - x.mean()) / scale * hooked.ln_final.w + hooked.ln_final.b) @ hooked.W_U + hooked.b_U

    change = (logits(residual + hooked.W_out[0][unit]) - logits(residual)) * scale
    change = change - change.mean()
    order = torch.sort(change, descending=True, stable=True).indices
    assert reports.logits.up[unit][:3].tolist() == order[:3].tolist()
    np.testing.assert_allclose(reports.logits.up_value[unit], change[torch.from_numpy(reports.logits.up[unit])], atol=1e-4)
    assert reports.logits.down[unit][0] == order[-1]


def test_solu_ln_counts_the_weight_of_its_layernorm(tokenizer):
    model = lms.untrained(Shape(1, 16, 2, 8, 32, len(tokenizer), "solu_ln"), tokenizer)
    plain = describe.neuron_writes(model, 0).clone()
    model.hooked.blocks[0].mlp.ln.w[2] = -2.0
    changed = describe.neuron_writes(model, 0)
    torch.testing.assert_close(changed[2], -2 * plain[2])
    torch.testing.assert_close(changed[3], plain[3])


def test_ngrams(split):
    base = describe.base_rates(split)
    token = int(np.argsort(-np.bincount(split.tokens))[3])
    place = np.flatnonzero(split.tokens == token)
    found = describe.ngrams(split, base, np.concatenate([place, [-1, -1]]))
    assert found.firings == len(place)
    assert found.current[0][0] == [token]
    assert found.current[0][1] == found.single == found.covered == 1.0
    assert found.current[0][2] == pytest.approx(1 / base[token])
    before = split.tokens[place - 1][(place > 0) & (split.document[place - 1] == split.document[place])]
    commonest = np.bincount(before).argmax()
    assert found.bigrams[0][0][1] == token
    assert found.bigrams[0][1] == pytest.approx((before == commonest).sum() / len(place))
    assert describe.ngrams(split, base, np.array([-1])).firings == 0


def test_contexts_feed_the_judge(reports):
    for kind in ("top", "strata"):
        context = reports.contexts(2, 10, kind, 15)
        assert len(context.place) == (6 if kind == "top" else 10) + 15
        assert 0 <= judge(context).score <= 1
    with pytest.raises(ValueError, match="expected 'top' or 'strata'"):
        reports.contexts(0, kind="best")


def test_some_neurons_keep_their_numbers(model, split, reports):
    found = neuroscope.examine(model, split, units=activations.neurons(model, 0, np.array([9, 4])), top=6)
    assert found.table["unit"].tolist() == [9, 4]
    assert found.table["high"].tolist() == reports.table["high"][[9, 4]].tolist()
    np.testing.assert_array_equal(found.logits.up, reports.logits.up[[9, 4]])
    assert found.title == reports.title


def test_directions_instead_of_neurons(model, split):
    w = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    units = activations.directions("blocks.0.hook_resid_post", w)
    found = neuroscope.examine(model, split, units=units, writes=w.T, rows=40, top=3)
    assert len(found) == 3
    assert found.layer is None
    assert found.logits.up.shape == (3, 10)
    assert neuroscope.examine(model, split, units=units, rows=40, top=3).logits is None


def equal(a, b):
    pairs = [
        (getattr(getattr(x, part), name), getattr(getattr(y, part), name))
        for x, y in [(a, b)]
        for part, names in (("top", ("place", "values")), ("strata", ("place", "values")), ("moments", ("mean", "kurtosis")))
        for name in names
    ]
    pairs += [(getattr(a, n), getattr(b, n)) for n in ("numbers", "histogram", "threshold", "edges", "firing", "share")]
    return all(np.array_equal(x, y, equal_nan=True) for x, y in pairs) and a.table.equals(b.table) and a.ngrams == b.ngrams


def test_save_and_load(reports, split, tmp_path):
    reports.save(tmp_path)
    again = neuroscope.load(tmp_path, split)
    assert equal(reports, again)
    assert reports.enrichment().equals(again.enrichment())
    with pytest.raises(CorpusError, match="other text"):
        neuroscope.load(tmp_path, split.only(np.arange(len(split.documents)) > 2))
    (tmp_path / "reports.npz").write_bytes(b"damaged")
    with pytest.raises(store.StoreError, match="damaged"):
        neuroscope.load(tmp_path, split)


class StopError(Exception):
    pass


@pytest.mark.parametrize("phase", ["scan", "contexts"])
def test_goes_on_after_an_interruption(model, split, reports, tmp_path, phase):
    def dies(name, done, total):
        if name == phase:
            raise StopError

    with pytest.raises(StopError):
        neuroscope.examine(model, split, corpus="tiny", top=6, store=tmp_path, progress=dies)
    assert equal(reports, neuroscope.examine(model, split, corpus="tiny", top=6, store=tmp_path))


def test_selection(reports):
    few = neuroscope.select(reports, np.array([7, 2]))
    assert few.table["unit"].tolist() == [7, 2]
    assert few.table["kurtosis"].tolist() == reports.table["kurtosis"][[7, 2]].tolist()
    np.testing.assert_array_equal(few.contexts(1).activations, reports.contexts(2).activations)


def test_wrong_input(model, split, documents):
    other = corpus.tokenise(documents, Tokenizer.train(["something else altogether"], 280))
    with pytest.raises(ModelError, match="another tokenizer"):
        neuroscope.examine(model, other)
    with pytest.raises(ModelError, match="layer 4 does not exist"):
        neuroscope.examine(model, split, layer=4)
    with pytest.raises(ModelError, match="longer than the context"):
        neuroscope.examine(model, split, context=64)
