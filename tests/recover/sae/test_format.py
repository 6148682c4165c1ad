"""SAELens 6 format both ways, what is refused, and what the library itself computes where it is installed."""

from __future__ import annotations

import json

import pytest
import torch

from superscope.errors import UserError
from superscope.recover import sae
from superscope.recover.sae.dictionary import scaled

CONFIGS = [
    sae.L1(width=24, l1=0.2), sae.TopK(width=24, k=3), sae.BatchTopK(width=24, k=3), sae.JumpReLU(width=24, l0=3),
    sae.Gated(width=24, l1=0.3), sae.Matryoshka(width=24, k=3, prefixes=(0.25, 0.5)), sae.SkipTranscoder(width=24, k=3),
]  # fmt: skip


def draw(step):
    return torch.randn(256, 10, generator=torch.Generator().manual_seed(step)).abs() ** 2 * 4 + 3


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda c: c.name)
def trained(request):
    return sae.train(sae.Samples(draw, "squares"), request.param, recipe=sae.Recipe(steps=60, lr=5e-3))[0].sae


def test_saved_and_read_it_computes_the_same(trained, tmp_path):
    x = draw(777)
    back = sae.read(sae.save(trained, tmp_path / "one"))
    torch.testing.assert_close(back(x), trained(x))
    torch.testing.assert_close(back.encode(x), trained.encode(x))
    assert back.metadata["training_architecture"] == trained.metadata["training_architecture"]
    assert torch.allclose(trained.decoder.norm(dim=1), torch.ones(24), atol=1e-5)
    half = sae.read(sae.save(trained, tmp_path / "half", torch.float16))
    torch.testing.assert_close(half.decoder, trained.decoder, atol=1e-3, rtol=1e-3)


def test_saelens_computes_what_we_compute(trained, tmp_path):
    saelens = pytest.importorskip("sae_lens", reason="SAELens is not installed: pip install 'superscope[saelens]'")
    x = draw(778)
    theirs = saelens.SAE.load_from_disk(sae.save(trained, tmp_path / "ours"))
    with torch.no_grad():
        torch.testing.assert_close(theirs.encode(x), trained.encode(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(theirs(x), trained(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["standard", "topk", "topk rescaled", "jumprelu", "gated", "jumprelu_skip_transcoder"])
def test_we_compute_what_saelens_computes(kind, tmp_path):
    saelens = pytest.importorskip("sae_lens", reason="SAELens is not installed: pip install 'superscope[saelens]'")
    name = kind.split()[0]
    make, config = saelens.registry.get_sae_class(name)
    settings = {"k": 3, "rescale_acts_by_decoder_norm": "rescaled" in kind} if name == "topk" else {}
    settings |= {"d_out": 7, "apply_b_dec_to_input": False} if "transcoder" in kind else {}
    theirs = make(config(d_in=10, d_sae=24, **settings))
    with torch.no_grad():
        for number, (_, value) in enumerate(sorted(theirs.named_parameters())):
            value.copy_(0.5 * torch.randn(value.shape, generator=torch.Generator().manual_seed(number)))
        if "threshold" in dict(theirs.named_parameters()):
            theirs.threshold.abs_()
    theirs.save_model(tmp_path)
    ours, x = sae.read(tmp_path), draw(5)
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(x), theirs.encode(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_rescaled_topk_reads_latents_in_units_of_their_rows():
    g = torch.Generator().manual_seed(0)
    rows, enc = torch.randn(6, 4, generator=g), torch.randn(4, 6, generator=g)
    plain = {"W_enc": enc, "b_enc": torch.zeros(6), "W_dec": rows, "b_dec": torch.zeros(4)}
    folded = plain | {"W_enc": enc * rows.norm(dim=1), "W_dec": rows / rows.norm(dim=1, keepdim=True)}
    x = torch.randn(20, 4, generator=g)
    torch.testing.assert_close(sae.SAE("topk", plain, k=2, rescaled=True)(x), sae.SAE("topk", folded, k=2)(x))


def damaged(change):
    def apply(folder):
        path = folder / "cfg.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return apply


def cut(folder):
    path = folder / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def flip(folder):
    path = folder / "sae_weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 64
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda folder: (folder / "cfg.json").unlink(), "has no cfg.json"),
        (lambda folder: (folder / "sae_weights.safetensors").unlink(), "has no sae_weights"),
        (lambda folder: (folder / "cfg.json").write_text("{"), "cannot be read"),
        (cut, "cannot be read"),
        (flip, "damaged"),
        (damaged(lambda c: [c]), "names no architecture"),
        (damaged(lambda c: c | {"architecture": "temporal"}), "'temporal'"),
        (damaged(lambda c: c | {"metadata": {}}), "sae_lens_version"),
        (damaged(lambda c: c | {"normalize_activations": "layer_norm"}), "normalize_activations='layer_norm'"),
        (damaged(lambda c: c | {"reshape_activations": "hook_z"}), "reshape_activations='hook_z'"),
        (damaged(lambda c: c | {"d_sae": 7}), "says d_sae=7"),
        (damaged(lambda c: c | {"architecture": "jumprelu"}), "needs threshold"),
        (damaged(lambda c: c | {"k": 99}), "k=99 with 24 latents"),
    ],
)
def test_what_is_no_sae_is_refused_in_a_line(break_it, says, tmp_path):
    tensors = {"W_enc": torch.ones(10, 24), "b_enc": torch.zeros(24), "W_dec": torch.ones(24, 10), "b_dec": torch.zeros(10)}
    sae.save(sae.SAE("topk", tensors, k=2), tmp_path)
    break_it(tmp_path)
    with pytest.raises(UserError, match=says) as caught:
        sae.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_input_of_another_width_and_weights_that_are_not_finite(tmp_path):
    tensors = {"W_enc": torch.ones(10, 24), "b_enc": torch.zeros(24), "W_dec": torch.ones(24, 10), "b_dec": torch.zeros(10)}
    one = sae.SAE("standard", tensors, metadata={"hook_name": "blocks.0.hook_mlp_out"})
    with pytest.raises(UserError, match=r"12 dimensions, this SAE reads 10: is 'blocks.0.hook_mlp_out'"):
        one.encode(torch.zeros(3, 12))
    with pytest.raises(UserError, match="b_dec holds values that are not finite"):
        sae.SAE("standard", tensors | {"b_dec": torch.full((10,), torch.nan)})
    with pytest.raises(UserError, match="no bundled SAE and no folder"):
        sae.load(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="scale 0"):
        scaled(one, 0.0)


def test_members_nobody_trained():
    x = draw(0)
    mean = x.mean(0)
    total = float(((x - mean) ** 2).sum())
    full = sae.pca(x)
    torch.testing.assert_close(full(x), x, atol=1e-3, rtol=1e-3)
    part = sae.pca(x, 6)
    singular = torch.linalg.svdvals(x - mean)
    assert float(((part(x) - x) ** 2).sum()) == pytest.approx(float((singular[3:] ** 2).sum()), rel=1e-3)
    torch.testing.assert_close(sae.neurons(10)(x), x.relu())
    chance = sae.random(10, 24, 3, mean, seed=1)
    assert float(((chance(x) - x) ** 2).sum()) < total * 2
    assert (chance.encode(x) > 0).sum(1).max() <= 3
    with pytest.raises(UserError, match="pca width 21"):
        sae.pca(x, 21)
