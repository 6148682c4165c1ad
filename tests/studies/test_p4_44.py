"""4.44: one tiny run on the bundled retrained models; planted divisions and features are found, strangers' are not."""

import itertools

import numpy as np
import pytest
import torch

from superscope import lms, studies
from superscope.lms.model import activations
from superscope.lms.reading.concept_inputs import with_two_senses
from superscope.lms.reading.planted import Concept
from superscope.lms.zoo import retraining
from superscope.studies import p4_44_widen_and_finetune as study

MODELS = ("gelu-1l-mini", "gelu-1l-mini-s1", "gelu-1l-mini-s2")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = {"rows": 100, "loss_rows": 4, "neurons": 22, "judged": 2, "steps": 30, "width": 64, "k": 8}
    return studies.get("4.44").run(out=tmp_path_factory.mktemp("runs"), **options)


def test_a_tiny_run(found):
    assert found.gate.passed, found.gate.failed
    assert {claim.estimate.n for claim in found.claims} == {3}
    for claim in found.claims:
        if claim.column not in ("AMI", "bits"):  # too short a training, and too few rows, to be sure here
            continue
        assert claim.plant.estimate.against(claim.rule) == "inside", claim.id
        assert claim.null.estimate.against(claim.rule) != "inside", claim.id
    assert len(found.answer.split()) <= 30
    table = found.tables["arms"]
    assert set(table.model) == set(MODELS)
    assert set(found.tables["trainings"].arm) >= set(study.TRAINED)


def test_the_answer_fits_every_combination_of_verdicts():
    ids = ("division-10", "sharing-10", "gain-10", "monosemantic", "new")
    for verdicts in itertools.product(("supported", "refuted", "undecided", "gate failed"), repeat=len(ids)):
        assert study.in_short(dict(zip(ids, verdicts, strict=True)), -0.0123, -0.01234)


def test_clones_are_read_from_what_the_frozen_part_gives():
    """Activations of a widened model at its own hook, and those made of the base's inputs, are the same."""
    base = lms.load(MODELS[0])
    wide = retraining.load(f"{MODELS[0]}/{study.TRAINED[study.TWO]}")
    rows = lms.corpus.sample(base.tokenizer).rows(base.n_ctx, limit=2, seed=0)
    norm = base.hooked.blocks[0].ln2
    inputs = activations.Units("blocks.0.ln2.hook_normalized", lambda x: x * norm.w + norm.b, "inputs")
    read = activations.values(base, rows, inputs)["units"]
    mine = [study.clones(study.mlp_of(wide), read, j, base.d_mlp) for j in (3, 500)]
    theirs = activations.values(wide, rows, activations.neurons(wide))["units"].numpy()
    np.testing.assert_allclose(np.concatenate(mine, axis=1), theirs[:, [3, 515, 500, 1012]], atol=1e-4)
    out = torch.nn.functional.gelu(read @ study.mlp_of(wide)["W_in"] + study.mlp_of(wide)["b_in"])
    out = out @ study.mlp_of(wide)["W_out"] + study.mlp_of(wide)["b_out"]
    hook = "blocks.0.hook_mlp_out"
    torch.testing.assert_close(out, activations.values(wide, rows, hook)["units"], atol=1e-4, rtol=1e-4)


def test_a_neuron_with_one_sense_is_no_case():
    rng = np.random.default_rng(0)
    where = rng.random((3, 4000)) < 0.03
    where[1] &= ~where[0]
    known = [Concept(str(k), one) for k, one in enumerate(where)]
    both, single = where[0] * 1.0 + where[1] * 0.8, where[0] * 1.0
    values = np.stack([both, single, rng.random(4000) * 0.01], axis=1) + 0.01 * rng.random((4000, 3))
    cases = with_two_senses(values, known, np.arange(4000))
    assert [case.neuron for case in cases] == [0]
    assert where[0][cases[0].where[cases[0].concept == 0]].all() or where[1][cases[0].where[cases[0].concept == 0]].all()
