"""sae-lms: planted latents are found, chance is not, and one tiny run on two of the bundled models."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from superscope import lms, studies
from superscope.lab import Lab
from superscope.recover import sae
from superscope.studies import sae_lms as study

TINY = {"width": 64, "steps": 80, "batch": 128, "text": 24, "rows": 5, "labelled": 40, "meta_steps": 120}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lms, "replicates", lambda name: ["gelu-1l-mini", "gelu-1l-mini-s1"])
        return studies.get("sae-lms").run(out=tmp_path_factory.mktemp("runs"), **TINY)


def test_every_plant_is_seen_and_every_null_fails(found):
    by = {claim.id: claim for claim in found.claims}
    coarse = {"l1-worse", "batch-better", "soft-is-enough"}  # a tenth of a short training: seeds are as far apart as the rule
    for name in set(by) - coarse:
        assert by[name].plant.estimate.against(by[name].rule) == "inside", name
        assert by[name].null.estimate.against(by[name].rule) != "inside", name
    assert len(found.answer.split()) <= 30


def test_rows_and_tables(found):
    table = found.tables["arms"].set_index("arm")
    assert table.loc[study.BUNDLED, "ce_score"].min() > table.loc[study.RANDOM, "ce_score"].max()
    assert (table.loc[study.BUNDLED, "alive"] > 0.5).all()
    assert table.loc[study.HALF, "ce_score"].mean() < table.loc[study.TWICE, "ce_score"].mean()
    assert (table.loc[study.PCA, "l0"] <= 16).all()
    assert set(found.tables["properties"].columns) >= {study.TOPK, study.INIT, study.PROBES}


def test_the_gate_fails_where_the_site_does_nothing(tmp_path):
    """In an untrained model ablating the MLP costs nothing, so nothing can be recovered."""
    model = lms.load("gelu-1l-mini").control("init")
    config = study.Config(**TINY)
    lab = Lab(0, "quick", tmp_path)
    at = study.bench(model, config, lab)
    chance = study.at_site(sae.random(model.d_model, 32, 4, at.known.mean, 5))
    row = study.row("x", chance, at, config)
    assert row["cost"] < 0.3
    assert "cost" in [check.column for check in study.GATE]


def test_the_blurred_identity_has_a_tenth_of_its_variance_in_noise(tmp_path):
    model = lms.load("gelu-1l-mini")
    config = study.Config(**TINY)
    lab = Lab(0, "quick", tmp_path)
    at = study.bench(model, config, lab)
    made = dict(study.untrained_objects(at, config, lab))
    x = torch.from_numpy(at.judged[0])
    noise = made[study.BLURRED](x) - x
    assert 0.03 < float((noise**2).sum() / ((x - x.mean(0)) ** 2).sum()) < 0.2
    assert np.nanmedian(at.readable) > 0.4


@pytest.mark.parametrize("blind", ["supported", "refuted"])
@pytest.mark.parametrize("labelled", ["supported", "undecided"])
def test_the_opening_sentence_is_short_whatever_the_verdicts(blind, labelled):
    claims = [
        SimpleNamespace(id="explained-is-blind", verdict=blind),
        SimpleNamespace(id="labelled-by-training", verdict=labelled),
    ]
    mean = pd.DataFrame({"labelled": [0.371, 0.123]}, index=[study.TOPK, study.INIT])
    said = study.in_short(claims, mean)
    assert ("does not tell" in said) == (blind == "supported")
    assert ("hardly do" in said) == (labelled != "supported")
