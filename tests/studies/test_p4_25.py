"""4.25: one tiny run on the bundled models; planted configurations are found in it and chance draws none."""

import numpy as np
import pytest

from superscope import lms, studies
from superscope.studies import p4_25_geometric_configurations as study


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = {"draws": 2, "matched": 1, "orders": 400, "rows": 8, "text": 200, "common": 300}
    return studies.get("4.25").run(out=tmp_path_factory.mktemp("runs"), **options)


def test_a_tiny_run(found):
    assert found.gate.passed, found.gate.failed
    assert {claim.estimate.n for claim in found.claims} == {3}
    for claim in found.claims:
        assert claim.plant.estimate.against(claim.rule) == "inside", claim.id
        assert claim.null.estimate.against(claim.rule) != "inside", claim.id
    assert len(found.answer.split()) <= 30
    assert len(found.tables["rings"]) == 9
    by = {claim.id: claim for claim in found.claims}
    assert by["antipodes-D"].verdict == "supported"
    pairs = found.tables["digons"]
    assert set(pairs.model) == {"gelu-1l-mini", "gelu-1l-mini-s1", "gelu-1l-mini-s2"}
    assert (pairs.cosine < -0.9).all()
    assert (pairs["both on"] < 0.1 * pairs["both by chance"]).all()  # the two signs of one direction


def test_every_member_is_one_token_and_is_read_where_it_stands():
    model = lms.load("gelu-1l-mini")
    text = lms.corpus.sample(model.tokenizer).rows(model.n_ctx, limit=300, seed=0).tokens
    members = np.array([model.tokenizer.encode(one)[0] for one in study.CATEGORIES["months"]])
    assert len(set(members)) == 12
    points = study.in_context(model, text, members, 2)
    assert points.shape == (12, model.d_model)
    assert np.isfinite(points).all()
    where = next(int(i) for i in np.flatnonzero((text == members[0]).any(axis=1)))
    hook = f"blocks.{model.n_layers - 1}.hook_resid_post"
    alone = study.in_context(model, text[where : where + 1], members[:1], 1)
    read = model.activations(lms.rows_to_tensor(text[where : where + 1]), [hook])[hook].numpy()
    np.testing.assert_allclose(alone[0], read[text[where : where + 1] == members[0]].mean(axis=0), rtol=1e-5)


def test_the_plane_of_a_ring_shows_it_as_a_ring():
    from superscope.measure.activations import rings

    points = rings.planted_ring(12, 40, 0.0, np.random.default_rng(0))
    flat = np.array(study.plane(points))
    assert (np.linalg.norm(flat, axis=1) > 0.6).all()
    assert np.linalg.norm(flat) == pytest.approx(np.linalg.norm(points - points.mean(axis=0)), rel=0.02)


def test_a_category_of_several_tokens_fails_the_gate(found):
    table = found.tables["arms"].copy()
    table.loc[table.arm == study.TRAINED, "tokens a member"] = 2
    assert not study.gate(table, study.GATE).passed
