"""4.43: one tiny run on the bundled T5s; what is planted is seen, what is destroyed is not; a checkpoint of others is read."""

import itertools
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from superscope import lms, studies
from superscope.evidence.wording import check_answer
from superscope.lab import Lab
from superscope.studies import p4_43_t5_shape as study

TINY = {"rows": 16, "neurons": 192, "sample": 300}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return studies.get("4.43").run(out=tmp_path_factory.mktemp("runs"), **TINY)


def test_a_tiny_run(found):
    assert found.gate.passed, found.gate.failed
    assert {claim.id: claim.estimate.n for claim in found.claims if claim.estimate.n != 3} == {"law": 2}
    for claim in found.claims:
        assert claim.plant.estimate.against(claim.rule) == "inside", claim.id
        assert claim.null.estimate.against(claim.rule) != "inside", claim.id
    assert len(found.answer.split()) <= 30
    assert any("--checkpoint FOLDER" in note for note in found.notes)
    assert "not read" in found.answer
    assert set(found.tables["arms"].arm) >= {"x4", "x16", "x64"}


def test_models_that_read_nothing_fail_the_gate(found):
    table = found.tables["arms"].copy()
    table.loc[table.arm == study.WIDE, "gain"] = 0.05
    assert not study.gate(table, study.GATE).passed


def test_every_answer_is_short():
    for density, words, read in itertools.product((0.041, 1.0, 23.7), (0.3, 1.1), (True, False)):
        rows = [{"arm": study.WIDE, "density": density, "words": words}, {"arm": study.NARROW, "density": 1.0, "words": 1.0}]
        text = check_answer(study.in_short(pd.DataFrame(rows), read))
        assert ("no fewer" in text) == (words > 0.8)


def test_twins_are_the_seeds_of_one_width():
    assert [path.name for path in study.twins("x4")] == ["x4", "x4-s1", "x4-s2"]
    assert [path.name for path in study.twins("x6")] == []


# ------------------------------------------------------------------------------------------------- a T5 that others trained


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hub") / "t5-tiny"
    sizes = {"d_model": 16, "d_ff": 256, "d_kv": 4, "num_heads": 4, "num_layers": 3, "vocab_size": 4128, "pad_token_id": 0}
    transformers.T5EncoderModel(transformers.T5Config(**sizes)).save_pretrained(folder, max_shard_size="100KB")
    return folder


def lab(folder):
    return Lab(0, "quick", folder)


def test_weights_alone_where_there_is_no_tokenizer(checkpoint, tmp_path):
    config, here = study.Config(checkpoint=str(checkpoint), **TINY), lab(tmp_path)
    table = study.published(config, here)
    assert table.layer.tolist() == [0, 1, 2]
    assert set(table.arm) == {"published t5-tiny"}
    assert table["crowding in"].between(0.9, 1.1).all()  # initial tensors
    assert table["near in"].abs().max() < 0.1
    assert "density" not in table
    assert any("one layer at a time, about" in note for note in here.notes)
    assert any("weights only" in note for note in here.notes)
    again = lab(tmp_path)
    pd.testing.assert_frame_equal(study.published(config, again), table)
    assert len(again.resumed) == 3


def test_firing_is_what_transformers_says(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "t5-text")
    shutil.copy(lms.shelf.models_folder() / "tokenizer.json", folder)
    config = study.Config(checkpoint=str(folder), layers=(2,), rows=4, neurons=256, sample=100)
    row = study.published(config, lab(tmp_path / "lab")).iloc[0]
    theirs, seen = transformers.T5EncoderModel.from_pretrained(folder).eval(), {}
    theirs.encoder.block[2].layer[1].DenseReluDense.act.register_forward_hook(lambda m, i, o: seen.__setitem__("h", o))
    split = lms.corpus.sample(lms.load("gelu-1l-mini").tokenizer)
    with torch.no_grad():
        theirs(input_ids=torch.from_numpy(split.rows(128, limit=4, seed=0).tokens[:, 1:]))
    density = (seen["h"].flatten(0, 1) > 0).float().mean(dim=0).numpy()
    assert row.density == pytest.approx(np.median(density[density > 0]), abs=2e-3)
    assert row.dead == pytest.approx((density == 0).mean(), abs=5e-3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"checkpoint": "/nowhere/t5-11b"}, "no folder '/nowhere/t5-11b': put a T5 saved by transformers there"),
        ({"layers": (0, 7)}, r"layers \(0, 7\) of .*: 7 is none of 0 to 2"),
        ({"rows": 10**9}, "and the machine has .* GB: use fewer rows than --rows 1000000000"),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_is(checkpoint, tmp_path, given, said):
    config = study.Config(**{"checkpoint": str(checkpoint), **given})
    with pytest.raises(lms.ModelError, match=said) as error:
        study.published(config, lab(tmp_path))
    assert "\n" not in str(error.value)
