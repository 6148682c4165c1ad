"""A training is the same however it is cut up, and what cannot come to anything is said early."""

from __future__ import annotations

import pytest
import torch

from superscope.errors import UserError
from superscope.lms import load
from superscope.lms.corpus import sample
from superscope.recover import sae


def draw(step, samples=64, d=8):
    return torch.randn(samples, d, generator=torch.Generator().manual_seed(step)).abs() ** 3


SOURCE = sae.Samples(draw, "cubes")


def same(one, other):
    return all(torch.equal(one.sae.tensors[k], other.sae.tensors[k]) for k in one.sae.tensors) and one.history == other.history


CONFIGS = [
    sae.TopK(width=16, k=2, dead_after=640), sae.BatchTopK(width=16, k=2.5), sae.JumpReLU(width=16, l0=2),
    sae.Gated(width=16, l1=0.1), sae.TopK(width=16, k=2, freeze="soft decoder"),
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.name} {c.freeze}")
def test_a_cut_training_goes_on_to_the_bit(config, tmp_path):
    recipe = sae.Recipe(steps=60)
    whole = sae.train(SOURCE, config, seeds=2, recipe=recipe)
    for steps in (17, 20):
        sae.train(SOURCE, config, seeds=2, recipe=recipe, folder=tmp_path, stop_after=steps)
    pieces = sae.train(SOURCE, config, seeds=2, recipe=recipe, folder=tmp_path)
    assert all(same(a, b) for a, b in zip(whole, pieces, strict=True))
    assert all(
        same(a, b) for a, b in zip(pieces, sae.train(SOURCE, config, seeds=2, recipe=recipe, folder=tmp_path), strict=True)
    )


def test_a_family_is_its_members(tmp_path):
    recipe = sae.Recipe(steps=30)
    family = sae.train(SOURCE, sae.TopK(width=16, k=2), over={"width": [8, 16], "k": [1, 3]}, seeds=[4, 7], recipe=recipe)
    assert [(one.config.width, one.config.k, one.seed) for one in family[:3]] == [(8, 1, 4), (8, 1, 7), (8, 3, 4)]
    (alone,) = sae.train(SOURCE, sae.TopK(width=16, k=3), seeds=[7], recipe=recipe)
    torch.testing.assert_close(family[-1].sae.decoder, alone.sae.decoder, rtol=1e-4, atol=1e-5)


def test_settings_that_are_not_a_members_own_are_trained_apart():
    recipe = sae.Recipe(steps=30)
    config = sae.Matryoshka(width=16, k=2, prefixes=(0.25,))
    over = {"balance": [0.0, 1.0], "prefixes": [(0.25,), (0.5,)]}
    apart = sae.train(SOURCE, config, over=over, recipe=recipe)
    torch.testing.assert_close(apart[0].sae.decoder, apart[1].sae.decoder)  # without weight the prefix says nothing
    assert not torch.allclose(apart[1].sae.decoder, apart[2].sae.decoder)
    assert not torch.allclose(apart[2].sae.decoder, apart[3].sae.decoder)
    (alone,) = sae.train(SOURCE, sae.Matryoshka(width=16, k=2, prefixes=(0.5,)), recipe=recipe)
    assert torch.equal(apart[-1].sae.decoder, alone.sae.decoder)


def test_every_seed_may_have_data_of_its_own():
    both = sae.Samples(lambda step: torch.stack([draw(step), draw(step + 10**6)]), "two streams")
    one, two = sae.train(both, sae.TopK(width=16, k=2), seeds=2, recipe=sae.Recipe(steps=20))
    (first,) = sae.train(both, sae.TopK(width=16, k=2), seeds=[0], recipe=sae.Recipe(steps=20))
    assert not torch.allclose(one.sae.decoder, two.sae.decoder)
    torch.testing.assert_close(one.sae.decoder, first.sae.decoder, rtol=1e-3, atol=1e-4)


def test_scale_of_the_input_does_not_matter():
    far = sae.Samples(lambda step: 100 * draw(step) + 7, "far")
    (near,) = sae.train(SOURCE, sae.L1(width=16, l1=0.2), recipe=sae.Recipe(steps=100))
    (away,) = sae.train(far, sae.L1(width=16, l1=0.2), recipe=sae.Recipe(steps=100))
    x = draw(999)
    torch.testing.assert_close(away.sae(100 * x + 7), 100 * near.sae(x) + 7, rtol=1e-2, atol=0.5)


def test_start_at_given_parameters():
    rows = torch.eye(8).repeat(2, 1)
    (one,) = sae.train(
        SOURCE, sae.TopK(width=16, k=2), start={"W_dec": rows, "W_enc": rows.clone()}, recipe=sae.Recipe(steps=1, lr=1e-9)
    )
    torch.testing.assert_close(one.sae.decoder, rows)
    with pytest.raises(UserError, match="start 'W_dec'"):
        sae.train(SOURCE, sae.TopK(width=16, k=2), start={"W_dec": rows[:3]})


def test_what_cannot_be_trained_is_said(tmp_path):
    config, recipe = sae.TopK(width=16, k=2), sae.Recipe(steps=40)
    with pytest.raises(UserError, match="no setting 'kk': it has width"):
        sae.train(SOURCE, config, over={"kk": [1]})
    with pytest.raises(UserError, match="not finite"):
        sae.train(
            sae.Samples(lambda step: draw(step) / (step != 5) if step == 5 else draw(step), "breaks"), config, recipe=recipe
        )
    with pytest.raises(UserError, match="one point"):
        sae.train(sae.Samples(lambda step: torch.ones(4, 8), "flat"), config)
    with pytest.raises(UserError, match=r"no latent of l1 \(seed 0\) fires .* Lower the penalty"):
        sae.train(SOURCE, sae.L1(width=16, l1=1e4), recipe=sae.Recipe(steps=400, lr=1e-2))
    with pytest.raises(UserError, match="lower the learning rate"):
        sae.train(SOURCE, sae.L1(width=16, l1=0.0), recipe=sae.Recipe(steps=400, lr=1e30, warmup=0))
    with pytest.raises(UserError, match="steps=0"):
        sae.Recipe(steps=0)
    sae.train(SOURCE, config, recipe=recipe, folder=tmp_path, stop_after=3)
    with pytest.raises(UserError, match="other SAEs or of other data"):
        sae.train(SOURCE, sae.TopK(width=16, k=3), recipe=recipe, folder=tmp_path)
    (path,) = tmp_path.glob("width-16-*/training.safetensors")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"damaged .* remove it"):
        sae.train(SOURCE, config, recipe=recipe, folder=tmp_path)


@pytest.fixture(scope="module")
def model():
    return load("gelu-1l-mini")


@pytest.fixture(scope="module")
def rows(model):
    return sample(model.tokenizer, 30).rows(model.n_ctx, limit=24, seed=0)


def test_samples_in_memory_come_each_once_an_epoch():
    x = torch.arange(20.0)[:, None].repeat(1, 3)
    source = sae.Samples.of(x, 5, seed=1, name="numbers")
    first = torch.cat([source(step) for step in range(4)])
    assert sorted(first[:, 0].tolist()) == list(range(20))
    assert not torch.equal(first, torch.cat([source(step) for step in range(4, 8)]))
    assert torch.equal(source(1), sae.Samples.of(x, 5, seed=1, name="numbers")(1))
    with pytest.raises(UserError, match="lower the batch"):
        sae.Samples.of(x, 21, seed=1, name="numbers")


def test_activations_are_those_of_the_model_each_token_once(model, rows):
    source = sae.Activations(model, "blocks.0.hook_mlp_out", rows, batch=255, chunk_rows=8)
    assert source.per_chunk == 8 * (rows.tokens.shape[1] - 1) // 255
    seen = torch.cat([source(step) for step in range(3 * source.per_chunk)])
    cache = model.activations(torch.as_tensor(rows.tokens), ["blocks.0.hook_mlp_out"])["blocks.0.hook_mlp_out"][:, 1:]
    torch.testing.assert_close(seen.sum(0), cache.flatten(0, 1).sum(0), rtol=1e-3, atol=1e-2)
    again = sae.Activations(model, "blocks.0.hook_mlp_out", rows, batch=255, chunk_rows=8)
    assert torch.equal(again(5), source(5))
    assert not torch.equal(source(0), source(3 * source.per_chunk))  # the next epoch has another order


def test_pairs_for_a_transcoder_belong_together(model, rows):
    source = sae.Activations(model, "blocks.0.hook_resid_mid", rows, target="blocks.0.hook_mlp_out", batch=512, chunk_rows=8)
    x, y = source(0)
    alone = sae.Activations(model, "blocks.0.hook_mlp_out", rows, batch=512, chunk_rows=8)
    assert x.shape == y.shape == (512, model.d_model)
    assert torch.equal(y, alone(0))


def test_a_site_that_is_not_there_and_a_batch_that_is_too_large(model, rows):
    with pytest.raises(UserError, match=r"no hook 'blocks.7.mlp'"):
        sae.Activations(model, "blocks.7.mlp", rows, batch=64)(0)
    with pytest.raises(UserError, match="lower the batch"):
        sae.Activations(model, "blocks.0.hook_mlp_out", rows, batch=10**6)
