"""4.21: planted codes are told from nulls by the study's own measures, and one tiny run on the bundled models."""

import numpy as np
import pytest
import torch

from superscope import lms, studies
from superscope.evidence.expect import gate
from superscope.evidence.rule import Rule
from superscope.lms.model.transformer import Shape
from superscope.measure.activations import heads
from superscope.measure.weights import circuits
from superscope.studies import p4_21_induction_token_code as study
from superscope.studies.p4_21_induction_token_code import measured
from superscope.studies.p4_21_induction_token_code.words import Words

RULES = {row.id: Rule.parse(row.rule) for row in study.EXPECTED}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:  # two replicates are enough to see every arm
        patch.setattr(lms, "replicates", lambda name: ["attn-only-2l-mini", "attn-only-2l-mini-s1"])
        return studies.get("4.21").run(out=tmp_path_factory.mktemp("runs"), contexts=1, draws=40, rows=2, points=2, steps=60)


def test_a_tiny_run(found):
    by = {claim.id: claim for claim in found.claims}
    assert found.gate.passed
    assert {claim.estimate.n for claim in found.claims} == {2}
    for claim in found.claims:  # with little text every plant is seen and no null is
        if claim.id != "init-is-null":  # forty random circuits say little of the tails
            assert claim.plant.estimate.against(claim.rule) == "inside", claim.id
        assert claim.null.estimate.against(claim.rule) == "outside", claim.id
    assert {id: by[id].verdict for id in ("identifies", "superposed", "variants", "beats-least-squares")} == {
        "identifies": "supported", "superposed": "supported", "variants": "refuted", "beats-least-squares": "refuted",
    }  # fmt: skip
    assert by["spread"].verdict == "refuted"
    assert len(found.answer.split()) <= 30
    assert {"meaning", "neighbours", "deciles", "written", "retractions"} <= set(found.tables)
    written = found.tables["written"].groupby("component").nats.mean()
    assert written.idxmax().startswith("L1 head")


def test_planted_ranks_are_found_where_the_code_itself_says_nothing(found):
    model = lms.load("attn-only-2l-mini")
    for seed in range(3):
        assert study.plants.low_rank(model, np.zeros((600, 128)), np.random.default_rng(seed)) == 8


def test_many_tokens_a_dimension_alone_is_no_code():
    circle, wide = (circuits.random_codes(4096, d, 0) for d in (2, 32))
    flat, full = (measured.static(heads.code_of(codes, codes.T)) for codes in (circle, wide))
    assert flat["top1"] == 1  # 2,048 tokens a dimension
    assert not RULES["superposed"].holds(flat["per dimension"])
    assert flat["identified"] == 0
    assert RULES["superposed"].holds(full["per dimension"])


def test_a_crowded_code_is_told_from_a_roomy_one_and_from_a_weak_one():
    """Rightly named in all three: only one is crowded before the softmax and clear behind it."""
    places = np.arange(0, 4096, 20)

    def cleaned(d, gain):
        codes = circuits.random_codes(4096, d, 0)
        return measured.heard(heads.spoken_of(gain * codes[places] @ codes.T, places))

    crowded, roomy, weak = cleaned(24, 30), cleaned(512, 30), cleaned(24, 6)
    assert min(one["named"] for one in (crowded, roomy, weak)) == 1
    assert [RULES["cleaned"].holds(one["cleaned"]) for one in (crowded, roomy, weak)] == [True, False, False]


def test_kinds_are_found_through_noise_and_frequency_is_no_kind():
    words = Words(lms.load("attn-only-2l-mini"), np.random.default_rng(0), 20)
    rng = np.random.default_rng(1)
    assert RULES["kinds"].holds(words.kinds(words.planted_kinds(rng)))
    frequent = np.log(words.count + 1.0)[:, None] + 0.5 * rng.standard_normal((4096, 8))
    assert abs(words.kinds(rng.standard_normal((4096, 8)))) < 0.02
    assert words.kinds(frequent, permuted=True) > 0.0
    order = words.permuted()
    assert (words.decile[words.known][order] == words.decile[words.known]).all()


def test_variants_side_by_side_are_found():
    words = Words(lms.load("attn-only-2l-mini"), np.random.default_rng(0), 20)
    twins, unit = words.planted_variants(64, np.random.default_rng(0)), circuits.random_codes(4096, 64, 0)
    assert RULES["variants"].holds(words.variants(heads.code_of(twins, twins.T)))
    assert words.variants(heads.code_of(unit, unit.T)) < 0.01


def test_a_planted_copying_head_is_recognised_and_its_neighbour_is_not():
    """Head 0 of an untrained model is made to copy: its values are a random projection of the embedding, read back."""
    model = lms.untrained(Shape(n_layers=1, d_model=64, n_heads=2, d_mlp=0, n_ctx=16), lms.load("attn-only-2l-mini").tokenizer)
    generator = torch.Generator().manual_seed(0)
    w = model.hooked
    w.W_E.copy_(torch.randn(w.W_E.shape, generator=generator))
    w.unembed.W_U.copy_(w.W_E.T)
    frame = torch.linalg.qr(torch.randn(64, 32, generator=generator))[0]
    w.blocks[0].attn.W_V[0].copy_(frame)
    w.blocks[0].attn.W_O[0].copy_(frame.T)
    read = heads.token_inputs(model, 0, 1, 0)[0]
    copying, other = (
        measured.static(heads.token_code(model, heads.Heads.of(model, 0, [head], np.ones(1)), read)) for head in (0, 1)
    )
    assert copying["copying"] > 0.95
    assert RULES["identifies"].holds(copying["identified"])
    assert abs(other["copying"]) < 0.3
    assert other["top1"] < 0.02


def test_a_model_without_induction_heads_fails_the_gate(found):
    table = found.tables["arms"]
    assert gate(table, study.GATE).passed
    assert not gate(table.assign(**{"prefix matching": table["prefix matching"] * 0.3}), study.GATE).passed
    assert not gate(table.assign(gap=table["gap"] + 1), study.GATE).passed
