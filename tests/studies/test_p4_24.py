"""4.24: geometry of planted and random positional matrices, and one tiny run on the bundled model."""

import numpy as np
import pytest

from superscope import lms, studies
from superscope.lms.model.interventions import mean_loss, project_out
from superscope.measure.activations import positions, subspace
from superscope.studies import p4_24_positional_dimensions as study


def test_geometry_tells_a_dedicated_helix_from_noise():
    config = study.Config(planes=3)
    rng = np.random.default_rng(0)
    rows = positions.planted_helix(255, 128, 2.0, 0.005, seed=0)
    frame = subspace.principal_basis(rows, 3)
    tokens = rng.normal(size=(2000, 128))
    apart = study.geometry(rows, tokens - 0.9 * (tokens @ frame.T) @ frame, config, 0)
    mixed = study.geometry(rows, tokens, config, 0)
    noise = study.geometry(0.02 * rng.normal(size=(255, 128)), tokens, config, 0)
    assert apart["k95"] <= 3
    assert apart["dedication"] < 0.1
    assert mixed["dedication"] == pytest.approx(1, abs=0.2)
    assert noise["k95"] > 90
    assert noise["helix"] < 0.2
    assert apart["helix_permuted"] < 0.2


def test_ablating_nothing_costs_nothing():
    model = lms.load("gelu-1l-mini")
    tokens = np.random.default_rng(0).integers(1, 4096, (2, 20))
    clean = mean_loss(model, tokens)
    empty = project_out("blocks.0.hook_resid_pre", np.zeros((0, 128)), np.zeros(128))
    assert mean_loss(model, tokens, [empty]) == pytest.approx(clean)
    all_of_it = project_out("blocks.0.hook_resid_pre", np.eye(128), np.zeros(128))
    assert mean_loss(model, tokens, [all_of_it]).mean() > clean.mean() - 1  # a model that sees nothing still says something


def test_a_tiny_run(tmp_path):
    found = studies.get("4.24").run(out=tmp_path, rows=4, planes=2)
    controls = {claim.id: claim.null.estimate.value for claim in found.claims}
    assert found.gate.passed
    assert controls["compact"] > 90
    assert controls["curve"] < 0.3
    assert controls["dedicated"] == pytest.approx(1, abs=0.4)
    assert controls["needed"] < 5
    assert controls["helix"] < 0.1
    assert found.tables["readers_and_writers"]["share"].between(0, 1).all()


def test_shortformer_models_are_refused(tmp_path):
    with pytest.raises(lms.ModelError, match="shortformer positions"):
        studies.get("4.24").run(out=tmp_path, model="attn-only-2l-mini")
