"""4.24: geometry of planted and random positional matrices, and one tiny run on the bundled model."""

import itertools

import numpy as np
import pandas as pd
import pytest

from superscope import lms, studies
from superscope.lms.model.interventions import mean_loss, project_out
from superscope.measure.activations import positions, subspaces
from superscope.studies import p4_24_positional_dimensions as study


def test_geometry_tells_a_dedicated_helix_from_noise():
    """Noise of .05: there "95 % of the variance" takes 58 dimensions and chance for dedication."""
    rng = np.random.default_rng(0)
    rows = positions.planted_helix(255, 128, 2.0, 0.05, seed=0)
    own = subspaces.principal_basis(rows, study.geometry(rows)["rank"])
    true = subspaces.principal_basis(positions.planted_helix(255, 128, 2.0, 0.0, seed=0), 3)
    tokens = rng.normal(size=(2000, 128))
    assert study.dedication(tokens - tokens @ true.T @ true, own) < 0.1
    assert study.dedication(tokens, own) == pytest.approx(1, abs=0.2)
    noise = study.geometry(0.02 * rng.normal(size=(255, 128)))
    assert noise["rank"] == 1
    assert noise["share"] < 0.1


def test_ablating_nothing_costs_nothing():
    model = lms.load("gelu-1l-mini")
    tokens = np.random.default_rng(0).integers(1, 4096, (2, 20))
    clean = mean_loss(model, tokens)
    empty = project_out("blocks.0.hook_resid_pre", np.zeros((0, 128)), np.zeros(128))
    assert mean_loss(model, tokens, [empty]) == pytest.approx(clean)
    all_of_it = project_out("blocks.0.hook_resid_pre", np.eye(128), np.zeros(128))
    assert mean_loss(model, tokens, [all_of_it]).mean() > clean.mean() - 1  # a model that sees nothing still says something


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return studies.get("4.24").run(out=tmp_path_factory.mktemp("runs"), rows=3, draws=3, planes=3)


def test_a_tiny_run(found):
    by = {claim.id: claim for claim in found.claims}
    assert found.gate.passed
    assert {claim.estimate.n for claim in found.claims} == {3}
    for claim in found.claims:  # every plant is seen and no null is, with three rows of text
        assert claim.plant.estimate.against(claim.rule) == "inside", claim.id
        assert claim.null.estimate.against(claim.rule) != "inside", claim.id
    assert by["compact"].verdict == "supported"
    assert by["helix"].verdict == "refuted"
    assert by["needed"].estimate.value < 1.5
    assert len(found.tables["retractions"]) == 4
    assert len(found.answer.split()) <= 30


def test_a_model_that_does_not_use_positions_fails_the_gate(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "positions_worth", lambda ablation: 0.001)
    found = studies.get("4.24").run(out=tmp_path, rows=2, draws=2, planes=2)
    assert found.verdict == "gate failed"


def test_shortformer_models_are_refused(tmp_path):
    with pytest.raises(lms.ModelError, match="shortformer positions"):
        studies.get("4.24").run(out=tmp_path, model="attn-only-2l-mini")


@pytest.mark.parametrize("verdicts", itertools.product(("supported", "refuted", "undecided"), repeat=3))
def test_every_answer_follows_from_the_verdicts_and_is_short(verdicts):
    said = dict(zip(("compact", "dedicated", "needed"), verdicts, strict=True))
    text = study.in_short(said, pd.DataFrame({"tokens": [0.5404]}))
    words = [{"supported": "yes", "refuted": "no"}.get(verdict, "undecided") for verdict in verdicts]
    assert f"dimensions: {words[0]}. " in text
    assert f"(0.54 of chance): {words[1]}. " in text
    assert text.endswith(f"as loud: {words[2]}.")
    assert "No answer" in study.in_short({"compact": "gate failed"}, pd.DataFrame())
