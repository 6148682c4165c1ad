"""Built layers are told apart; each statistic has its slow twin; the interventions on a model are what they say."""

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms.model.interventions import replace_with
from superscope.lms.model.language_model import rows_to_tensor
from superscope.measure.activations import smuggling


@pytest.mark.parametrize("seed", range(3))
def test_built_layers_are_told_apart(seed):
    found = {kind: smuggling.traces(smuggling.planted(kind, seed)) for kind in smuggling.KINDS}
    smuggler, honest, lone, noise = (found[kind] for kind in smuggling.KINDS)
    assert smuggler["smuggled"] > 0.5
    assert smuggler["quiet worth"] > 0.8
    assert smuggler["few keep"] < 0.4
    assert honest["smuggled"] == 0
    assert honest["quiet"] == 0
    assert lone["smuggled"] > 0.5  # amplified, but
    assert lone["few keep"] > 0.95  # not smeared
    assert noise["smuggled"] < 0.02
    assert noise["quiet worth"] < 0.1


def test_a_kind_that_does_not_exist():
    with pytest.raises(ValueError, match="'sneak'"):
        smuggling.planted("sneak", 0)


def test_scale_is_that_of_layernorm():
    values = torch.randn(5, 30, dtype=torch.float64)
    scale = smuggling.layernorm_scale(values.numpy())
    expected = torch.nn.functional.layer_norm(values, (30,), eps=1e-5).numpy()
    assert np.allclose((values.numpy() - values.numpy().mean(axis=1, keepdims=True)) / scale[:, None], expected)


def test_participation_counts_equal_neurons():
    effects = np.array([[2.0, -2, 2, 0], [7, 0, 0, 0], [0, 0, 0, 0]])
    assert smuggling.participation(effects).tolist() == pytest.approx([3, 1, 0])


def test_quiet_and_loud_weigh_the_same_frequencies():
    rng = np.random.default_rng(0)
    token = rng.zipf(1.5, 6000) % 300
    scale = np.exp(1.5 * rng.standard_normal(6000)) / (1 + token)  # frequent tokens are loud: frequencies must be matched
    quiet, loud = smuggling.quiet_and_loud(scale, token)
    assert quiet.sum() == pytest.approx(1)
    assert loud.sum() == pytest.approx(1)
    assert not (quiet * loud).any()
    often = np.log(np.bincount(token)[token])
    raw = often[smuggling.quiet_tokens(scale)].mean() - often[scale * 2 >= smuggling.loud_reference(scale)].mean()
    assert abs(raw) > 0.8
    assert abs((quiet - loud) @ often) < 0.25 * abs(raw)


@pytest.fixture(scope="module")
def observed():
    model = lms.load("solu_ln-1l-mini")
    rows = lms.corpus.sample(model.tokenizer).rows(64, limit=3, seed=5)
    return model, rows, smuggling.observe(model, rows)


def test_clamping_is_a_larger_divisor(observed):
    """The intervention on the output is the same function as replacing the LayerNorm's scale."""
    model, rows, layer = observed
    tokens, name = rows_to_tensor(rows.tokens), "blocks.0.mlp.ln.hook_scale"
    scale = model.activations(tokens, [name])[name]
    assert layer.scale == pytest.approx(scale[:, 1:-1].flatten().numpy(), rel=1e-4)
    larger = scale.clamp(min=smuggling.loud_reference(layer.scale))
    added = (model.loss(tokens, [replace_with(name, larger)]) - model.loss(tokens))[:, 1:].flatten().numpy()
    assert layer.clamped == pytest.approx(added, abs=1e-3)
    assert np.abs(added).max() > 0.1


def test_removing_leaves_the_biases_and_all_neurons_keep_everything(observed):
    model, rows, layer = observed
    tokens = rows_to_tensor(rows.tokens)
    block = model.hooked.blocks[0].mlp
    nothing = replace_with("blocks.0.hook_mlp_out", (block.ln.b @ block.W_out + block.b_out).detach())
    added = (model.loss(tokens, [nothing]) - model.loss(tokens))[:, 1:].flatten().numpy()
    assert layer.removed == pytest.approx(added, abs=1e-3)
    assert smuggling.observe(model, rows, few=model.d_mlp).few == pytest.approx(0 * added, abs=1e-4)


def test_a_layer_without_the_layernorm_has_the_scale_it_would_have():
    model = lms.load("gelu-2l-mini")
    rows = lms.corpus.sample(model.tokenizer).rows(32, limit=1, seed=5)
    layer = smuggling.observe(model, rows, layer=1)
    values = model.activations(rows_to_tensor(rows.tokens), [model.neuron_hook(1)])[model.neuron_hook(1)][0, 1:-1].numpy()
    assert layer.size == pytest.approx(values.std(axis=-1), rel=1e-3)
