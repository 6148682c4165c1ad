"""Lookup tables: the parts are the model's stream, tables of a model without scale effects are exact, rungs in order, dealt
tables fail."""

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms.model.language_model import rows_to_tensor
from superscope.lms.model.transformer import Shape
from superscope.measure.activations import lookups
from superscope.measure.activations.lookups import RUNGS, TABLES, TOKEN


@pytest.fixture(scope="module")
def model():
    return lms.load("gelu-1l-mini")


@pytest.fixture(scope="module")
def rows(model):
    return lms.corpus.sample(model.tokenizer).rows(model.n_ctx, limit=12, seed=0)


@pytest.fixture(scope="module")
def tables(model, rows):
    return lookups.tables(model, np.bincount(rows.tokens.ravel(), minlength=model.hooked.cfg.d_vocab))


def test_true_parts_are_the_stream(model, rows):
    names = ["blocks.0.hook_resid_mid", "blocks.0.mlp.hook_pre"]
    got = model.activations(rows_to_tensor(rows.tokens), names)
    inner = torch.from_numpy(rows.place >= 0)
    stream = lookups.read(model, rows).stream()
    torch.testing.assert_close(stream, got[names[0]][inner], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(lookups.pre(model, stream), got[names[1]][inner], atol=1e-3, rtol=1e-3)
    some = np.array([3, 400])
    torch.testing.assert_close(lookups.read(model, rows).at(some).stream(), stream[some])


def test_every_rung_says_more_and_dealt_tables_say_nothing(model, rows, tables):
    truth = lookups.pre(model, lookups.read(model, rows).stream()).numpy()

    def r2(made, rung):
        said = lookups.pre(model, lookups.rebuild(model, made, rows, rung).stream()).numpy()
        return float(np.median(lookups.explained(truth, said)))

    ladder = [r2(tables, rung) for rung in RUNGS]
    assert ladder[-1] > 0.95
    assert ladder[-1] > ladder[3] > ladder[2] > max(ladder[:2]) + 0.2
    assert r2(tables.dealt(np.random.default_rng(0)), TABLES) < ladder[2]


def test_attention_by_tables_is_that_of_the_model_for_one_scale():
    """In a fresh model all tokens are equally loud, so that main effects are nearly all there is; a slow twin by hand."""
    shape = Shape(d_model=32, n_heads=2, d_mlp=64, n_ctx=12)
    model = lms.untrained(shape, lms.load("gelu-1l-mini").tokenizer, 1)
    with torch.no_grad():
        for name in ("W_Q", "W_K"):
            getattr(model.hooked.blocks[0].attn, name).mul_(9)
    tokens = np.random.default_rng(0).integers(10, 4000, (3, 12))
    tokens[:, 0] = 0
    tables = lookups.tables(model, np.bincount(tokens.ravel(), minlength=model.hooked.cfg.d_vocab), sampled=11)
    true = model.activations(torch.from_numpy(tokens), ["blocks.0.attn.hook_pattern"])["blocks.0.attn.hook_pattern"]
    said = lookups.attention(tables, torch.from_numpy(tokens))
    assert float((true - said).abs().max()) < 0.1
    assert float((true - lookups.attention(tables, torch.from_numpy(tokens), lookups.UNIFORM)).abs().max()) > 0.3
    attn, norm = model.hooked.blocks[0].attn, model.hooked.blocks[0].ln1
    with torch.no_grad():
        by_hand = torch.stack([norm(model.hooked.W_E[tokens[1, 4]] + model.hooked.W_pos[i]) for i in range(1, 12)]).mean(dim=0)
        wanted = (by_hand @ attn.W_V[1] + attn.b_V[1]) @ attn.W_O[1]
    torch.testing.assert_close(tables.fetched[1, tokens[1, 4]], wanted, atol=1e-5, rtol=1e-4)


def test_mean_by_token():
    said = lookups.by_token(np.array([5, 5, 7]), np.array([[1.0], [3.0], [4.0]]), np.array([7, 5, 9]), np.full((3, 1), -1.0))
    np.testing.assert_allclose(said[:, 0], [4, 2, -1])


def test_what_has_no_tables(rows, model, tables):
    with pytest.raises(lms.ModelError, match="one layer"):
        lookups.tables(lms.load("gelu-2l-mini"), np.ones(4096))
    with pytest.raises(lms.ModelError, match="2 layers"):
        lookups.read(lms.load("gelu-2l-mini"), rows)
    with pytest.raises(ValueError, match="everything"):
        lookups.rebuild(model, tables, rows, "everything")


def test_what_the_token_rung_knows(model, rows, tables):
    parts = lookups.rebuild(model, tables, rows, TOKEN)
    assert float(parts.heads.std(dim=1).max()) < 1e-5
    assert float(parts.position.std(dim=0).max()) < 1e-5
