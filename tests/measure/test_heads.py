"""Heads: planted circuits are recovered, random ones are null."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms.model import attention
from superscope.measure.activations import heads as heads_module
from superscope.measure.activations.attribution import attribute
from superscope.measure.activations.heads import Heads, Repeats, induction_layer, token_inputs
from superscope.measure.weights import circuits


def test_repeated_tokens_repeat_and_avoid_bos():
    tokens = attention.repeated_tokens(50, 20, 8, seed=0, bos=7)
    assert tokens.shape == (8, 41)
    assert (tokens[:, 0] == 7).all()
    assert torch.equal(tokens[:, 1:21], tokens[:, 21:])
    assert not (tokens[:, 1:] == 7).any()
    assert torch.equal(tokens, attention.repeated_tokens(50, 20, 8, seed=0, bos=7))


def test_a_perfect_induction_head_scores_one_and_uniform_attention_its_share():
    period, length = 20, 41
    perfect = torch.zeros(2, 2, length, length)
    for query in range(1 + period, length):
        perfect[:, 0, query, query - period + 1] = 1
    uniform = torch.tril(torch.ones(length, length)) / torch.arange(1, length + 1)[:, None]
    perfect[:, 1] = uniform
    score = attention.prefix_matching(perfect, period)
    assert score[0] == 1
    assert score[1] == pytest.approx(float((1 / torch.arange(22, 42)).mean()))


def test_previous_token():
    pattern = torch.zeros(1, 2, 10, 10)
    for query in range(1, 10):
        pattern[0, 0, query, query - 1] = 1
        pattern[0, 1, query, 0] = 1
    assert attention.previous_token(pattern).tolist() == [1, 0]


def test_copying_score_of_planted_circuits():
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.normal(size=(128, 32)))[0]
    for sign in (1, -1):  # OV = +-c I on a 32-dimensional subspace; its non-zero eigenvalues are those of the small product
        assert heads_module.copying_score(torch.from_numpy(sign * 3 * frame.T @ frame)) == pytest.approx(sign)
    square = torch.from_numpy(frame @ frame.T)
    assert heads_module.copying_score(square) == pytest.approx(1, abs=1e-6)


def test_copying_score_is_null_for_random_circuits():
    null = heads_module.random_copying_scores(128, 32, 300, seed=0)
    assert abs(null.mean()) < 0.02
    assert null.std() == pytest.approx(0.046, abs=0.008)  # computed independently for rank 32 in 128 dimensions


@pytest.fixture(scope="module")
def model():
    return lms.load("gelu-2l-mini")


def some_heads(model, layer=1, heads=(2, 3), weight=(0.9, 0.7)):
    return Heads.of(model, layer, list(heads), np.array(weight))


def test_every_token_is_read_equally_often_and_as_the_model_reads_it(model):
    read, between = token_inputs(model, 1, 2, seed=3)
    assert read.shape == (4096, 128)
    assert 0.3 < between < 0.95
    w = model.hooked  # slow twin in layer 0, where no context enters: the embedding behind the LayerNorm
    first, alone = token_inputs(model, 0, 1, seed=3)
    assert alone == pytest.approx(1, abs=1e-6)
    assert np.allclose(first, w.blocks[0].ln1(w.W_E).detach().numpy(), atol=1e-5)
    more, _ = token_inputs(model, 1, 4, seed=4)  # other contexts, nearly the same means
    apart = ((more - read) ** 2).sum() / ((read - read.mean(axis=0)) ** 2).sum()
    assert apart < 2 * (1 - between)


def test_a_code_is_what_the_heads_write_and_the_unembedding_reads(model):
    heads, read = some_heads(model), token_inputs(model, 1, 1, seed=0)[0]
    code, w = heads_module.token_code(model, heads, read), model.hooked
    assert code.codes.shape == (4096, 64)
    for token in (5, 700):
        x = torch.from_numpy(read[token]).float()
        written = sum(g * ((x @ w.W_V[1, h] + w.b_V[1, h]) @ w.W_O[1, h]) for h, g in zip((2, 3), (0.9, 0.7), strict=True))
        logits = ((written - written.mean()) * w.ln_final.w) @ w.W_U
        slow = (logits - logits.mean()).detach().numpy()
        assert np.allclose(code.codes[token] @ code.readout + code.offset, slow, atol=1e-2)


def test_a_code_does_not_depend_on_the_coordinates_of_the_value_space(model):
    """Any invertible map may stand between W_V and W_O: a loud value direction means nothing."""
    heads, read = some_heads(model), token_inputs(model, 1, 1, seed=0)[0]
    stretch = np.diag(np.geomspace(1, 100, 32))
    other = replace(heads, value=heads.value @ stretch, bias=heads.bias @ stretch, output=np.linalg.inv(stretch) @ heads.output)
    one, two = (heads_module.token_code(model, some, read) for some in (heads, other))
    assert np.allclose(one.svd.values, two.svd.values)
    assert one.identified(0.1) == two.identified(0.1)
    assert one.identified(noise=0.5) == pytest.approx(two.identified(noise=0.5), abs=0.02)


def test_what_heads_say_on_repeats_is_their_direct_logit_attribution(model):
    tokens = attention.repeated_tokens(4096, 10, 2, seed=0, bos=model.tokenizer.bos)
    repeats = Repeats(model, tokens, 10, 1)
    said = repeats.spoken(some_heads(model), [2, 3])
    target = torch.cat([tokens[:, 1:], tokens[:, :1]], dim=1)
    every = torch.arange(4096).expand(*tokens.shape, -1)[:1, 12:13]
    one = attribute(model, tokens[:1, :13], torch.cat([every.expand(1, 13, -1)], dim=1))
    values = sum(one.part(f"L1 head {head}")[0, 12] for head in (2, 3))
    bias = sum(model.hooked.b_V[1, head] @ model.hooked.W_O[1, head] for head in (2, 3))
    assert bias.shape == (128,)  # the values' bias is in z, hence in both
    values = values - values.mean()
    at = 12 - 11  # the second place of the second copy
    assert said.own[at] == pytest.approx(float(values[target[0, 12]]), abs=1e-3)
    values[target[0, 12]] = -torch.inf
    assert said.runner_up[at] == pytest.approx(float(values.max()), abs=1e-3)
    assert len(said.own) == 2 * 9


def test_heads_that_copy_by_construction_do_and_shuffled_ones_do_not(model):
    read, rng = token_inputs(model, 1, 1, seed=0)[0], np.random.default_rng(0)
    copying = heads_module.least_squares_heads(model, some_heads(model), read, 10.0, rng)
    code = heads_module.token_code(model, copying, read)
    assert code.copying > 0.99
    assert code.identified() > 0.9
    wrong = copying.shuffled([0, 1], rng)
    assert np.allclose(np.sort(wrong.value[0].ravel()), np.sort(copying.value[0].ravel()))
    assert heads_module.token_code(model, wrong, read).identified() < 0.01
    half = heads_module.token_code(model, copying.shuffled([1], rng), read)
    assert half.identified() < code.identified()


def test_the_fitted_map_identifies_more_than_least_squares():
    """Tokens of unequal leverage: squared error serves the loud ones."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(800, 24)) * rng.lognormal(0, 0.4, (800, 1))
    readout = (codes + 0.3 * rng.normal(size=codes.shape)).T
    least, fitted = circuits.least_squares_map(codes, readout, 12), heads_module.fitted_map(codes, readout, 12, 60, 0)
    assert circuits.identified(*fitted.factors()) > circuits.identified(*least.factors()) + 0.1


def test_the_induction_layer_is_that_of_the_best_head():
    scores = np.array([[0.4, 0.0, 0.1], [0.2, 0.9, 0.5]])
    assert induction_layer(scores, 0.3) == (1, [1, 2])
    assert induction_layer(np.array([[0.1, 0.2]]), 0.3) == (0, [1])  # none: the best stands in, for a gate to refuse
