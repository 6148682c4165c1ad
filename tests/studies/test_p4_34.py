"""4.34: one tiny run on the bundled models; toys' motifs are found, planted ones too, and the sentence always fits."""

import numpy as np
import pandas as pd
import pytest

from superscope import lms, studies
from superscope.studies import p4_34_asymmetric_motif as study


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = {"rows": 60, "concepts": 40, "draws": 4, "hits": 1, "contexts": 3, "others": 4, "toys": 16, "steps": 3000}
    return studies.get("4.34").run(out=tmp_path_factory.mktemp("runs"), **options)


def test_a_tiny_run(found):
    by = {claim.id: claim for claim in found.claims}
    assert set(by) == {"exists", "half", "causal"}
    assert by["exists"].plant.estimate.against(by["exists"].rule) == "inside"
    assert by["exists"].null.estimate.against(by["exists"].rule) != "inside"
    assert found.gate.passed, found.gate.failed
    assert found.gate.measured["recall of absolute value models"] >= 0.9
    assert len(found.answer.split()) <= 30
    hits = found.tables["hits"]
    assert len(hits) == 3
    np.testing.assert_allclose(hits.score, hits.share * hits["taken off"])


def test_circuits_are_those_of_the_layer():
    """What neurons write for a concept, weighed by what they read of it, is what the layer writes for it."""
    model = lms.load("gelu-1l-mini")
    text = study.Text.of(model, study.Config(rows=40, concepts=20), 0)
    reads, writes, shares = study.circuits(model, text, 0)
    assert reads.shape == (model.d_mlp, 20)
    assert writes.shape == (20, model.d_mlp)
    whole = reads.T @ model.hooked.W_out[0].double().numpy()
    np.testing.assert_allclose(whole, shares, atol=1e-3 * np.abs(shares).max())


@pytest.mark.parametrize("verdict", ["supported", "refuted", "undecided"])
def test_the_sentence_fits_whatever_the_verdict(verdict):
    trained = pd.DataFrame({"over chance": [1.04], "raised": [0.25]})
    said = study.in_short({"exists": verdict}, trained)
    assert len(said.split()) <= 30
