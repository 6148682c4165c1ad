"""4.22: overlaps and interference of planted subspaces, and one tiny run on the bundled models."""

from dataclasses import replace

import numpy as np
import pytest

from superscope import lms, studies
from superscope.lms.model import attention
from superscope.measure.activations import composition, heads, subspaces
from superscope.measure.activations.paths import Head
from superscope.studies import p4_22_previous_token_code as study


@pytest.fixture(scope="module")
def path():
    model = lms.load("attn-only-2l-mini-s1")
    tokens = attention.repeated_tokens(model.hooked.cfg.d_vocab, 30, 6, 0, model.tokenizer.bos)
    layer, which = heads.induction_layer(heads.prefix_scores(model, tokens, 30), 0.3)
    sender = int(composition.previous_token_scores(model, tokens)[0].argmax())
    return composition.KeyPath(model, tokens, 30, Head(0, sender), layer, tuple(which))


@pytest.fixture(scope="module")
def space(path):
    text = lms.corpus.sample(path.model.tokenizer).rows(256, limit=3, seed=0).tokens
    return composition.write_space(path.model, text, path.layer)


def test_overlap_with_the_loudest_directions_of_another_head_is_seen(path, space):
    rng, config = np.random.default_rng(0), study.Config(draws=20)
    other = next(h for h in range(4) if h != path.sender.head)
    rows = path.written(other)[:, 1:].flatten(0, 1).double().numpy()
    rows = rows - rows.mean(axis=1, keepdims=True)
    frame = subspaces.principal_basis(rows, 6)
    assert study.overlaps(path, frame, space, rows, config, rng)["other heads"] > 3
    chance = [study.overlaps(path, study.inside(space, 6, rng), space, rows, config, rng)["other heads"] for _ in range(20)]
    assert np.mean(chance) == pytest.approx(1, abs=0.25)


def test_interference_is_one_where_nothing_is_special_and_large_where_keys_read(path, space):
    rng, config = np.random.default_rng(0), study.Config(draws=16)
    said, asked = (heads.token_inputs(path.model, layer, 1, 0)[0] for layer in (0, path.layer))
    frame = composition.circuit_between(path.model, path.sender, path.layer, list(path.receivers), said, asked).frame(12)
    eager = path.model
    weight = composition.norm_weight(path.model, path.layer)[:, None]
    for head in path.receivers:
        eager = composition.edited(eager, path.layer, head, W_K=lambda w: w + 2 * frame.T @ (frame @ (weight * w)) / weight)
    assert study.interference(replace(path, model=eager), frame, space, config, rng) > 2
    others = [study.interference(path, study.inside(space, 8, rng), space, config, rng) for _ in range(6)]
    assert 0.5 < np.mean(others) < 2


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return studies.get("4.22").run(out=tmp_path_factory.mktemp("runs"), contexts=1, rows=4, draws=4, pairs=64, text=2, steps=15)


def test_a_tiny_run(found):
    by = {claim.id: claim for claim in found.claims}
    assert found.gate.passed, found.gate.failed
    assert {claim.estimate.n for claim in found.claims} == {3}
    for name in ("spread", "specific", "embedding", "position", "other-heads", "interference"):
        claim = by[name]
        assert claim.plant.estimate.against(claim.rule) == "inside", name
        assert claim.null.estimate.against(claim.rule) != "inside", name
    assert by["specific"].verdict == "supported"
    assert by["embedding"].estimate.value < 1
    assert len(found.answer.split()) <= 30
    assert len(found.tables["overlaps"]) == 3


def test_a_model_whose_keys_hear_nobody_fails_the_gate(found):
    table = found.tables["arms"].copy()
    table.loc[table.arm == study.TRAINED, "worth"] = 0.1
    assert not study.gate(table, study.GATE).passed
