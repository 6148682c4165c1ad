"""The forward pass in the page: tokens and activations equal those of tokenizers and PyTorch, in headless Chromium."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.atlas import forward
from superscope.lms.model import activations
from superscope.recover import sae as saes
from superscope.recover.sae import panel
from superscope.recover.sae.dictionary import SAE

LETTERS = [
    "abcdefghij ", "ABC xyz ", "0123456789", "  \t\n\r", "äöüß éñ", "привет мир", "日本語のテキスト", "🙂🚀👩‍👩‍👧🇩🇪",
    "e\u0301a\u0308\u200d", "\u00a0\u0085\u2028\ufeff\u3000", "()[]{}.,;:!?'\"", "\\/<>&|", "\x00\x07\x7f\x1b",
    "العربية", "हिन्दी", "٣४Ⅷ½", "<|endoftext|>",
]  # fmt: skip


def texts():
    rng = random.Random(0)
    drawn = ["".join(rng.choice(rng.choice(LETTERS)) for _ in range(rng.randint(1, 150))) for _ in range(16)]
    return [
        "", " ", "   ", "\n\n\n", "\t \n  x", "The cat sat on the mat.", "def f(x):\n    return x ** 2\n",
        "<|endoftext|>", "a<|endoftext|>b <|endoftext|>", "<|endoftext", "word " * 400, "x" * 1500,
        "aaaaaaaaaaaaaaaaaaaaaaab" * 9,
        "👩‍👩‍👧" * 40, "nu\x00ll", "\u0085a\u0085 \ufeffb", "price: 1,234.50 € — “quoted” …", "don't WON'T i'll",
        " leading and trailing  ",
        *drawn,
    ]  # fmt: skip


TEXTS = texts()


@pytest.fixture
def in_the_page(browser, tmp_path):
    """Runs texts through `Forward.Model`; yields what it says of each, activations as numbers."""

    def run(data, wanted):
        source = resources.files("superscope.atlas").joinpath("static", "forward.js").read_text()
        (tmp_path / "forward.js").write_text(source)
        (tmp_path / "data.js").write_text(f"window.model = new Forward.Model({json.dumps(data)});")
        (tmp_path / "page.html").write_text(
            '<meta charset=utf-8><script src="forward.js"></script><script src="data.js"></script>'
        )
        assert browser.visit((tmp_path / "page.html").as_uri()) == []
        bytes_of = "Array.from(new Uint8Array(r.values.slice().buffer), (b) => String.fromCharCode(b)).join('')"
        pack = f"(r) => ({{ ...r, values: btoa({bytes_of}) }})"
        for found in browser.ask(f"{json.dumps(list(wanted))}.map((text) => ({pack})(model.read(text)))"):
            values = np.frombuffer(base64.b64decode(found["values"]), "<f4").reshape(-1, found["units"])
            yield found, values

    return run


def in_torch(model, units, text):
    """Tokens of the text, cut to the context, and the units there."""
    ids = model.tokenizer.encode(text)
    kept = ids[: model.n_ctx - 1]
    tokens = torch.tensor([[model.tokenizer.bos, *kept]])
    value = model.activations(tokens, [units.hook])[units.hook]
    with torch.inference_mode():
        return ids, kept, units.read(value)[0, 1:].numpy()


def check(model, units, data, in_the_page, wanted=TEXTS, tied=None):
    """Tokens are equal, activations within 1e-4 of the unit's largest; but for the tokens that `tied` is true of."""
    expected = [in_torch(model, units, text) for text in wanted]
    scale = np.abs(np.concatenate([values for _, _, values in expected])).max(axis=0) + 1e-2
    skipped = 0
    for text, (ids, kept, right), (found, values) in zip(wanted, expected, in_the_page(data, wanted), strict=True):
        assert found["tokens"] == kept, repr(text)
        assert found["pieces"] == [model.tokenizer.pieces[k] for k in kept], repr(text)
        assert found["left"] == len(ids) - len(kept)
        assert values.shape == right.shape
        sure = ~tied(text) if tied else slice(None)
        skipped += 0 if tied is None else int((~sure).sum())
        np.testing.assert_array_less((np.abs(values - right) / scale)[sure], 1e-4, err_msg=repr(text))
    assert skipped <= 3


@pytest.mark.parametrize("name", ["gelu-1l-mini", "relu-1l-mini", "solu_ln-1l-mini"])
def test_neurons(name, in_the_page):
    model = lms.load(name)
    units = activations.neurons(model)
    assert forward.obstacle(model, units.hook) == ""
    data = forward.data(model, units.hook)
    assert data["weights"]["float16"]
    check(model, units, data, in_the_page)


def test_solu_without_layer_norm(in_the_page):
    model = lms.load("solu-1l-mini")
    check(model, activations.neurons(model), forward.data(model, model.neuron_hook()), in_the_page, TEXTS[2:26])


def test_latents(in_the_page):
    """TopK is a step: where the last latent that is on and the first that is off are equal to rounding, either may be on."""
    model, sae = lms.load("gelu-1l-mini"), saes.load("gelu-1l-mini/resid-post-topk")
    every = panel.latents(replace(sae, kind="standard"))

    def tied(text):
        pre = np.sort(in_torch(model, every, text)[2], axis=1)[:, ::-1]
        return pre[:, sae.k - 1] - pre[:, sae.k] < 2e-5

    check(model, panel.latents(sae), forward.data(model, sae.site, sae), in_the_page, tied=tied)


def test_a_second_layer(in_the_page):
    model = lms.load("gelu-2l-mini")
    units = activations.neurons(model, 1)
    check(model, units, forward.data(model, units.hook), in_the_page, TEXTS[1:8])


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "gated", "topk", "rescaled"])
def test_every_encoder(kind, in_the_page):
    """Encoders of random weights, of which some latents are on and some are not."""
    model = lms.load("gelu-1l-mini")
    centred = kind != "standard"
    g = torch.Generator().manual_seed(3)
    d, n = model.d_model, 40
    names = ("b_gate", "b_mag", "r_mag") if kind == "gated" else ("b_enc", "threshold")
    tensors = {name: torch.randn(n, generator=g) * 0.2 for name in names}
    tensors |= {
        "W_enc": torch.randn(d, n, generator=g),
        "W_dec": torch.randn(n, d, generator=g),
        "b_dec": torch.randn(d, generator=g),
    }
    told = {"hook_name": "blocks.0.hook_resid_mid"}
    sae = SAE("topk" if kind == "rescaled" else kind, tensors, k=5, centred=centred, rescaled=kind == "rescaled", metadata=told)
    data = forward.data(model, sae.site, sae)
    assert not data["weights"]["float16"]
    check(model, panel.latents(sae), data, in_the_page, TEXTS[5:7])


def test_what_cannot_be_computed_is_named():
    model = lms.load("gelu-1l-mini")
    assert "hook_z" in forward.obstacle(model, "blocks.0.attn.hook_z")
    assert "no decoder with an MLP" in forward.obstacle(lms.load("attn-only-2l-mini"), "blocks.0.hook_attn_out")
    other = replace(model, tokenizer=_with_prefix_space(model.tokenizer))
    assert "tokenizer" in forward.obstacle(other, model.neuron_hook())


def _with_prefix_space(tokenizer):
    import tokenizers

    told = json.loads(tokenizer.inner.to_str())
    told["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = True
    return replace(tokenizer, inner=tokenizers.Tokenizer.from_str(json.dumps(told)))
