"""4.39: the parts on constructed data, and one tiny run on the bundled models."""

import numpy as np
import pytest

from superscope import lms, studies
from superscope.lms.model.language_model import rows_to_tensor
from superscope.studies import language as _language
from superscope.studies import p4_39_layernorm_smuggling as study


def test_direct_effects_add_up_to_the_layer():
    """The sum over neurons is the layer's direct effect on the true token's logit, with the final scale frozen."""
    for name in ("solu_ln-1l-mini", "gelu-1l-mini"):
        model = lms.load(name)
        rows = _language.sample_for(model).rows(32, limit=2)
        layer = study.observe(model, rows)
        tokens = rows_to_tensor(rows.tokens)
        seen = model.activations(tokens, ["blocks.0.hook_mlp_out", "ln_final.hook_scale"])
        out = seen["blocks.0.hook_mlp_out"] - model.hooked.b_out[0]
        out = (out - out.mean(dim=-1, keepdim=True)) / seen["ln_final.hook_scale"] * model.hooked.ln_final.w
        logits = (out @ model.hooked.W_U)[:, 1:-1].gather(-1, tokens[:, 2:, None])[..., 0]
        assert np.abs(layer.effects.sum(axis=1) - logits.flatten().numpy()).max() < 1e-4


def test_clamping_a_constant_scale_changes_nothing():
    model = lms.load("solu_ln-1l-mini")
    rows = _language.sample_for(model).rows(16, limit=1)
    scale = study.observe(model, rows).scale
    added = study.clamped(model, rows, scale)
    assert added.shape == (14,)
    assert np.abs(added).max() > 1e-3
    at_median = np.argsort(np.abs(np.log(scale / np.median(scale))))[:1]
    assert np.abs(added[at_median]).max() < np.abs(added).max()


def test_quarters_weigh_the_same_frequencies():
    rng = np.random.default_rng(0)
    token = rng.zipf(1.5, 6000) % 300
    scale = 1 / (1 + token) + rng.random(6000)  # frequent tokens have larger scales: frequencies must be matched
    low, high = study.quarters(scale, token)
    assert low.sum() == pytest.approx(1)
    assert high.sum() == pytest.approx(1)
    assert not (low * high).any()
    often = np.log(np.bincount(token)[token])
    raw = often[scale <= np.quantile(scale, 0.25)].mean() - often[scale >= np.quantile(scale, 0.75)].mean()
    assert abs(raw) > 0.8
    assert abs((low - high) @ often) < 0.2 * abs(raw)


def test_diffuse_features_finds_a_planted_relation():
    rng = np.random.default_rng(0)
    split = _language.sample_for(lms.load("solu_ln-1l-mini"))
    place = np.sort(rng.permutation(len(split))[:20000])
    values = 0.01 * rng.normal(size=(20000, 50))
    python = split.genre[place] == split.genres.index("python")
    values[python, 3] += 1  # one neuron
    found = {
        row["feature"]: row for row in study.diffuse_features(study.Layer(values, rng.random(20000) + 1, values), split, place)
    }
    assert found["genre python"]["support"] < 1.5
    assert found["genre python"]["auc low"] > 0.99
    assert found["genre c"]["auc low"] == pytest.approx(0.5, abs=0.15)


def test_a_tiny_run(tmp_path):
    found = studies.get("4.39").run(out=tmp_path, rows=3, controls=("gelu-1l-mini",))
    assert found.gate.measured["planted smuggler"] < -0.5
    assert abs(found.gate.measured["planted honest layer"]) < 0.1
    claims = {claim.id: claim for claim in found.claims}
    assert abs(claims["clamp"].null.estimate.value) < 0.1  # nats; that it fails the rule needs more text than this
    assert len(found.tables["models"]) >= 3
