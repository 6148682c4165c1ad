"""The panel of an SAE in its language model, on objects whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope.errors import UserError
from superscope.lms import load
from superscope.lms.corpus import halves, sample, stream_rows
from superscope.recover import sae
from superscope.recover.sae import panel

SITE = "blocks.0.hook_mlp_out"


@pytest.fixture(scope="module")
def model():
    return load("gelu-1l-mini")


@pytest.fixture(scope="module")
def rows(model):
    return sample(model.tokenizer, 40).rows(model.n_ctx, limit=12, seed=1)


@pytest.fixture(scope="module")
def values(model, rows):
    return model.activations(torch.as_tensor(rows.tokens), [SITE])[SITE][:, 1:].flatten(0, 1)


def at_site(one, **more):
    return sae.SAE(one.kind, one.tensors, one.k, one.centred, one.rescaled, {"hook_name": SITE, **more})


def test_a_perfect_reconstruction_loses_nothing(model, rows, values):
    found = panel.examine(model, at_site(sae.pca(values)), rows, batch_rows=5)
    assert found.recovered("mean") == pytest.approx(1, abs=1e-3)
    assert found.explained == pytest.approx(1, abs=1e-5)
    assert found.size == pytest.approx(1, abs=1e-4)
    assert found.tokens == len(values)


def test_an_sae_that_gives_the_mean_recovers_nothing(model, rows, values):
    mean = values.mean(0)
    d = len(mean)
    tensors = {"W_enc": torch.zeros(d, 4), "b_enc": torch.full((4,), -1.0), "W_dec": torch.ones(4, d), "b_dec": mean}
    found = panel.examine(model, at_site(sae.SAE("standard", tensors)), rows)
    assert found.recovered("mean") == pytest.approx(0, abs=1e-3)
    assert found.recovered("zero") > 0.05  # the mean itself is worth something, which zero ablation credits to the SAE
    assert (found.explained, found.l0, found.alive) == (pytest.approx(0, abs=1e-5), 0, 0)
    assert np.isnan(found.single_token)


def test_what_fires_is_counted_by_token(model, rows, values):
    """Latent 0 reads one planted token, latent 1 is always on."""
    tokens = rows.tokens[:, 1:].ravel()
    token = int(np.bincount(tokens).argmax())
    d = values.shape[1]
    embed = model.hooked.W_E.detach()
    direction = embed[token] / embed[token].norm()
    tensors = {
        "W_enc": torch.stack([direction, torch.zeros(d)], 1), "b_enc": torch.tensor([-0.999 * float(embed[token].norm()), 1.0]),
        "W_dec": torch.zeros(2, d), "b_dec": torch.zeros(d),
    }  # fmt: skip
    one = sae.SAE("standard", tensors, metadata={"hook_name": "hook_embed"})
    found = panel.examine(model, one, rows, known=panel.reference(model, "hook_embed", rows, losses=False))
    assert found.density[0] == pytest.approx((tokens == token).mean())
    assert found.density[1] == 1
    assert found.common.tolist() == pytest.approx([1, (tokens == token).mean()])
    assert found.l0 == pytest.approx(1 + (tokens == token).mean())
    assert found.single_token == 0.5


def test_batches_do_not_matter(model, rows, values):
    one = at_site(sae.random(values.shape[1], 64, 4, values.mean(0), seed=5))
    known = panel.reference(model, SITE, rows)
    small, large = (panel.examine(model, one, rows, known=known, batch_rows=size) for size in (3, 12))
    np.testing.assert_allclose(panel.examine(model, one, rows).losses["mean"], large.losses["mean"], rtol=1e-5)
    np.testing.assert_allclose(small.density, large.density)
    np.testing.assert_allclose(small.common, large.common)
    assert small.explained == pytest.approx(large.explained)


def test_random_dictionaries_are_far_below_trained_ones(model, rows, values):
    text, held_out = halves(sample(model.tokenizer, 300), model.n_ctx, 0, 8)
    stream = sae.Activations(model, SITE, text, batch=512, chunk_rows=64)
    (one,) = sae.train(stream, sae.TopK(width=256, k=8), recipe=sae.Recipe(steps=150, lr=3e-3), metadata={"hook_name": SITE})
    trained = panel.examine(model, one.sae, held_out).row()
    chance = panel.examine(model, at_site(sae.random(values.shape[1], 256, 8, values.mean(0), seed=5)), held_out).row()
    assert trained["ce_score"] > chance["ce_score"] + 0.3
    assert trained["explained"] > chance["explained"] + 0.3
    assert trained["l0"] == pytest.approx(8, abs=0.1)


def test_a_transcoder_writes_where_it_should(model, rows):
    source = "blocks.0.ln2.hook_normalized"
    stream = sae.Activations(model, source, rows, target=SITE, batch=512, chunk_rows=12)
    told = {"hook_name": source, "hook_name_out": SITE}
    (one,) = sae.train(stream, sae.SkipTranscoder(width=128, k=8), recipe=sae.Recipe(steps=200, lr=5e-3), metadata=told)
    found = panel.examine(model, one.sae, rows)
    assert found.recovered() > 0.3
    assert panel.sites(one.sae) == (source, SITE)


def test_a_meta_sae_tells_composed_rows_from_random_ones():
    g = torch.Generator().manual_seed(12)
    parts = torch.nn.functional.normalize(torch.randn(32, 64, generator=g), dim=1)
    composed = parts[torch.randint(0, 32, (128, 2), generator=g)].sum(1)
    tensors = {"W_enc": torch.zeros(64, 128), "b_enc": torch.zeros(128), "b_dec": torch.zeros(64)}
    made, chance = (
        panel.meta_explained(sae.SAE("standard", tensors | {"W_dec": rows}), k=2)
        for rows in (composed, torch.randn(128, 64, generator=g))
    )
    assert made > 0.8
    assert chance < made - 0.3


def test_an_sae_of_another_model(model, rows):
    tensors = {"W_enc": torch.ones(4, 2), "b_enc": torch.zeros(2), "W_dec": torch.ones(2, 4), "b_dec": torch.zeros(4)}
    with pytest.raises(UserError, match=r"no hook 'blocks.9.hook_mlp_out', which this SAE is about"):
        panel.splice(model, sae.SAE("standard", tensors, metadata={"hook_name": "blocks.9.hook_mlp_out"}))
    with pytest.raises(UserError, match="does not say which hook"):
        panel.splice(model, sae.SAE("standard", tensors))
    with pytest.raises(UserError, match="128 dimensions, this SAE reads 4"):
        panel.examine(model, at_site(sae.SAE("standard", tensors)), rows)


def test_halves_share_no_document_and_streams_open_with_bos(model):
    split = sample(model.tokenizer, 60)
    fit, tried = halves(split, model.n_ctx, 3, 10)
    rows = {tuple(row[1:20]) for row in fit.tokens}
    assert not rows & {tuple(row[1:20]) for row in tried.tokens}
    assert len(tried) <= 10
    stream = stream_rows(split.tokens, model.n_ctx, model.tokenizer.bos)
    assert (stream.tokens[:, 0] == model.tokenizer.bos).all()
    np.testing.assert_array_equal(stream.tokens[1, 1:], split.tokens[model.n_ctx - 1 : 2 * (model.n_ctx - 1)])
    assert (stream.place[:, 0] == -1).all()
    assert (stream.place[:, 1:] == 0).all()
