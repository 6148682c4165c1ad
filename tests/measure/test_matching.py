"""Matching: planted copies are counted, strangers are not, and weights read and promote what was wired."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms.corpus.splits import Rows
from superscope.lms.model import activations
from superscope.lms.model.consumers import Correlation
from superscope.lms.model.transformer import Shape
from superscope.measure.activations import matching

SMALL = {"d_model": 32, "n_heads": 2, "d_mlp": 128, "n_ctx": 32}


@pytest.fixture(scope="module")
def pair():
    tokenizer = lms.load("gelu-1l-mini").tokenizer
    return [lms.untrained(Shape(n_layers=2, **SMALL), tokenizer, seed) for seed in (0, 1)]


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.corrcoef(a, b)[: len(a), len(a) :]


def correlate(a, b, of=activations.neurons, layer=1) -> np.ndarray:
    tokens = np.random.default_rng(0).integers(10, 4000, (30, 32))
    rows = Rows(tokens, np.arange(tokens.size).reshape(tokens.shape))
    return activations.scan(a, rows, {"a": of(a, layer), "b": of(b, layer)}, {"c": Correlation("a", "b")})["c"]


def test_planted_copies_are_the_same_and_nothing_else_is(pair):
    model, foreign = pair
    which = np.random.default_rng(1).choice(128, 25, replace=False)
    planted = matching.with_copies(model, foreign, which, np.linspace(0, 0.5, 25), 0, layer=1)
    for of in (activations.neurons, matching.before):
        same = matching.namesakes(correlate(model, planted, of)) > matching.SAME
        assert set(np.flatnonzero(same)) == set(which)
    out = matching.out_of_order(planted, 0, layer=1)
    assert (matching.namesakes(correlate(model, out)) > matching.SAME).mean() < 0.03


def test_noise_wears_copies_out(pair):
    model, foreign = pair
    found = [
        matching.namesakes(
            correlate(model, matching.with_copies(model, foreign, np.arange(128), np.full(128, s), 0, 1), layer=1)
        )
        for s in (0.0, 0.5, 1.0, 4.0)
    ]
    means = [one.mean() for one in found]
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.95
    assert means[-1] < 0.4


def test_out_of_order_is_the_same_function(pair):
    tokens = torch.arange(20)[None] + 50
    out = matching.out_of_order(pair[0], 3)
    assert torch.allclose(out.logits(tokens), pair[0].logits(tokens), atol=1e-5)


def test_a_common_mode_makes_no_namesakes():
    """All neurons share a loud signal: raw correlations are .8 everywhere."""
    rng = np.random.default_rng(0)
    loud = 2 * rng.standard_normal(5000)
    a, b = (loud + rng.standard_normal((40, 5000)) for _ in range(2))
    matrix = pearson(a, b)
    assert matrix.mean() > 0.75
    assert np.abs(matching.namesakes(matrix)).max() < 0.1
    assert matching.row_namesakes(a, b) == pytest.approx(matching.namesakes(matrix))


def test_best_matches_take_the_search_off():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 30, 300))
    turns = [np.linalg.qr(np.random.default_rng(i).standard_normal((30, 30)))[0] for i in range(5)]
    null = matching.best_matches(pearson(a, b), [pearson(a, turn @ b) for turn in turns])
    assert abs(null.mean()) < 0.03
    moved = pearson(a, np.roll(a, 1, axis=0))
    assert matching.best_matches(moved, [pearson(a, turn @ a) for turn in turns]).mean() > 0.3
    assert matching.namesake_is_best(moved) == 0
    assert matching.namesake_is_best(pearson(a, a)) == 1


def test_constant_neurons_are_like_nothing():
    matrix = np.full((3, 3), np.nan)
    matrix[0, 0] = 1.0
    assert matching.namesakes(matrix) == pytest.approx([1, 0, 0])


@pytest.mark.parametrize("act_fn", ["gelu", "solu_ln"])
def test_reads_and_promotes_are_what_is_wired(act_fn, pair):
    """Against the model itself: a neuron switched on by hand moves the logits along what it promotes."""
    model = lms.untrained(Shape(n_layers=1, act_fn=act_fn, **SMALL), pair[0].tokenizer, 2)
    hooked = model.hooked
    hooked.ln_final.w.data.uniform_(0.5, 1.5)
    hooked.blocks[0].ln2.w.data.uniform_(0.5, 1.5)
    read = matching.reads(model)
    hooked.blocks[0].mlp.b_in.data.zero_()
    tokens = torch.arange(100, 130)[None]
    embedded = hooked.W_E[tokens[0]]
    normalised = (embedded - embedded.mean(1, keepdim=True)) * hooked.blocks[0].ln2.w
    expected = normalised @ hooked.W_in[0]
    assert np.allclose(read[:, 100:130].T, expected.detach().numpy(), atol=1e-4)
    where, name = 5, "blocks.0.mlp.ln.hook_normalized" if act_fn == "solu_ln" else "blocks.0.mlp.hook_post"

    def bump(value, hook):
        value = value.clone()
        value[..., 7] += 1e-2 * (hooked.blocks[0].mlp.ln.w[7] if act_fn == "solu_ln" else 1)
        return value

    with torch.no_grad():  # the last LayerNorm's scale is held: it answers to every neuron
        scale = hooked.run_with_cache(tokens)[1]["ln_final.hook_scale"]
        held = ("ln_final.hook_scale", lambda value, hook: scale)
        moved = hooked.run_with_hooks(tokens, fwd_hooks=[(name, bump), held])[0, where] - hooked(tokens)[0, where]
    assert np.corrcoef(moved.numpy(), matching.promotes(model)[7])[0, 1] > 0.999


def test_raised_thresholds_are_sparser_though_kurtosis_says_otherwise():
    """In the trained model, where the negative lobe of GELU makes the trap."""
    model = lms.load("gelu-1l-mini")
    tokens = np.random.default_rng(0).integers(10, 4000, (4, 128))
    rows = Rows(tokens, np.arange(tokens.size).reshape(tokens.shape))
    peaks, kurtoses = [], []
    for one in (model, matching.sharpened(model, np.full(512, 1.0))):
        units = {"after": activations.neurons(one), "firing": matching.firing(one)}
        found = activations.scan(one, rows, units, {name: activations.Moments(of=name) for name in units})
        peaks.append(np.nanmedian(matching.peakedness(found["firing"])))
        kurtoses.append(np.nanmedian(found["after"].kurtosis))
    assert peaks[1] > 1.5 * peaks[0]
    assert kurtoses[1] < kurtoses[0]
    units = np.random.default_rng(1).random((200_000, 3)) < (0.5, 0.1, 0.01)
    moments = activations.MomentsResult(1, units.mean(0), units.var(0), *[np.zeros(3)] * 5)
    assert matching.peakedness(moments) == pytest.approx([2, 10, 100], rel=0.1)
