"""Direct logit attribution: the parts are the logits, on every kind of bundled model, and planted writers get their due."""

from dataclasses import replace

import pytest
import torch

from superscope import lms
from superscope.lms.model.transformer import Shape
from superscope.measure.activations.attribution import attribute

KINDS = ["gelu-1l-mini", "solu_ln-1l-mini", "attn-only-2l-mini", "gelu-2l-mini", "solu_ln-2l-mini", "gelu-4l-midi"]


def some_tokens(rows=2, length=12, seed=0):
    return torch.randint(1, 4096, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", KINDS)
def test_the_parts_add_up_to_the_logits(name):
    model, tokens = lms.load(name), some_tokens()
    targets = torch.randint(0, 4096, (2, 12, 3), generator=torch.Generator().manual_seed(1))
    found = attribute(model, tokens, targets)
    assert found.parts.shape[1:] == found.logits.shape == targets.shape
    assert torch.equal(found.logits, model.logits(tokens).gather(-1, targets))
    assert found.residue < 1e-4
    assert ("positions" in found.labels) == (name in ("gelu-1l-mini", "solu_ln-1l-mini"))
    difference = attribute(model, tokens, targets, against=targets[..., :1])
    assert (difference.parts - (found.parts - found.parts[..., :1])).abs().max() < 1e-4
    assert difference.residue < 1e-4


@pytest.mark.parametrize("name", ["gelu-1l-mini", "solu_ln-2l-mini"])
def test_neurons_add_up_to_their_mlp(name):
    model, tokens = lms.load(name), some_tokens(1, 8)
    whole = attribute(model, tokens, tokens)
    each = attribute(model, tokens, tokens, neurons=True)
    assert each.residue < 1e-4
    for layer in range(model.n_layers):
        of_layer = [i for i, label in enumerate(each.labels) if label.startswith(f"L{layer} neuron ")]
        assert len(of_layer) == model.d_mlp
        assert (each.parts[of_layer].sum(dim=0) - whole.part(f"L{layer} MLP")).abs().max() < 1e-4


def test_a_part_equals_its_slow_twin():
    model, tokens = lms.load("gelu-2l-mini"), some_tokens(1, 6)
    found = attribute(model, tokens, tokens)
    w = model.hooked
    _, cache = w.run_with_cache(tokens)
    for layer, head, at in ((0, 1, 3), (1, 2, 5)):
        written = cache[f"blocks.{layer}.attn.hook_z"][0, at, head] @ w.W_O[layer, head]
        normed = (written - written.mean()) / cache["ln_final.hook_scale"][0, at] * w.ln_final.w
        assert found.part(f"L{layer} head {head}")[0, at, 0].item() == pytest.approx(
            float(normed @ w.W_U[:, tokens[0, at]]), abs=1e-5
        )


def test_a_planted_writer_gets_what_it_writes_and_nobody_else_does():
    tokenizer = lms.load("gelu-1l-mini").tokenizer
    model = lms.untrained(Shape(n_layers=2, d_model=64, n_heads=4, d_mlp=32, n_ctx=16), tokenizer)
    w, tokens = model.hooked, some_tokens(1, 8)
    w.blocks[1].mlp.W_out[5] = 60 * (w.W_U[:, 7] - w.W_U[:, 7].mean())
    w.blocks[1].mlp.b_in[5] = 4.0
    found = attribute(model, tokens, torch.full_like(tokens, 7), neurons=True)
    best = found.parts[..., 0].mean(dim=(1, 2)).argmax()
    assert found.labels[best] == "L1 neuron 5"
    rest = found.parts.index_select(0, torch.tensor([i for i in range(len(found.labels)) if i != best]))
    assert found.part("L1 neuron 5").min() > 10 * rest.abs().max()


def test_what_is_no_sum_is_refused():
    model = lms.load("gelu-1l-mini")
    tokens = some_tokens(1, 4)
    with pytest.raises(KeyError, match="L9 head 0"):
        attribute(model, tokens, tokens).part("L9 head 0")
    twisted = replace(model, hooked=model.control("init").hooked)
    twisted.hooked.unembed.register_forward_hook(lambda module, inputs, out: out + 1)
    with pytest.raises(lms.ModelError, match="miss its logits by 1"):
        attribute(twisted, tokens, tokens)
    capped = model.control("init")
    capped.hooked.cfg.output_logits_soft_cap = 30.0
    with pytest.raises(lms.ModelError, match="capped logits"):
        attribute(capped, tokens, tokens)
