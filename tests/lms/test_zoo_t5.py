"""Trained T5s: spans are taken out as T5 does it, a killed training ends with the same weights, files are checked."""

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
import transformers

from superscope import lms, store
from superscope.lms import corpus
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model import t5 as reader
from superscope.lms.zoo import t5
from superscope.lms.zoo.training import Recipe

FOLDER = lms.shelf.models_folder() / t5.FAMILY
SHAPE = t5.T5Shape(d_model=8, d_ff=32, n_layers=2, n_heads=2, d_kv=4, d_vocab=50, n_ctx=40)
RECIPE = Recipe(steps=12, rows=4, lr=1e-2, warmup=2, weight_decay=0.0, seed=3)
STREAM = np.random.default_rng(0).integers(1, 50, 4000).astype(np.uint16)


def test_what_is_taken_out_goes_back_in():
    """Sentinels count down from the end of the vocabulary; inputs with their targets put back are the tokens."""
    tokens = np.random.default_rng(1).integers(0, 50, (20, 128))
    inputs, targets = t5.corrupt(tokens, 50, np.random.default_rng(2))
    assert inputs.shape == (20, 128 - 19 + 6)
    assert targets.shape == (20, 19 + 6 + 1)
    last = 50 + t5.SENTINELS - 1
    for row in range(20):
        pieces, piece = {}, []
        for token in targets[row]:
            if token >= 50:
                piece = pieces.setdefault(int(token), [])
            else:
                piece.append(int(token))
        assert list(pieces) == [last - i for i in range(7)]
        assert pieces[last - 6] == []
        assert all(pieces[last - i] for i in range(6))
        back = [one for token in inputs[row] for one in (pieces[int(token)] if token >= 50 else [int(token)])]
        assert back == tokens[row].tolist()
        assert inputs[row, 0] == tokens[row, 0]  # BOS stays


def test_every_division_into_spans_is_as_likely():
    rng = np.random.default_rng(0)
    drawn = [tuple(t5._parts(5, 3, rng)) for _ in range(3000)]
    every, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(every) == 6
    assert (every.sum(axis=1) == 5).all()
    assert counts.min() > 400
    with pytest.raises(ValueError, match="rows of 900 tokens need 45 spans"):
        t5.corrupt(np.zeros((1, 900), int), 50, rng)


def test_a_killed_training_ends_with_the_same_weights(tmp_path):
    whole = t5.train(SHAPE, RECIPE, STREAM, tmp_path / "whole")
    t5.train(SHAPE, RECIPE, STREAM, tmp_path / "part", stop_after=5)
    said = []
    again = t5.train(SHAPE, RECIPE, STREAM, tmp_path / "part", say=said.append)
    for (name, one), (_, other) in zip(whole.named_parameters(), again.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0, msg=name)
    assert "MB of tensors" in said[0]  # before anything is trained
    assert "min left" in said[-1]
    with pytest.raises(lms.ModelError, match="holds the training of another T5"):
        t5.train(SHAPE, Recipe(steps=12, rows=4, seed=4), STREAM, tmp_path / "part")
    path = tmp_path / "part" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-5] + b"wrong")
    with pytest.raises(lms.ModelError, match="remove it to train from the start"):
        t5.train(SHAPE, RECIPE, STREAM, tmp_path / "part")


def test_initial_tensors_are_of_their_seed_alone():
    state = torch.get_rng_state()
    one, same, other = (t5.model(SHAPE, seed).shared.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_written_is_what_transformers_and_the_reader_read(tmp_path):
    tokenizer = Tokenizer.read(lms.shelf.models_folder() / "tokenizer.json")
    text = corpus.sample(tokenizer)
    shape = t5.T5Shape(d_model=8, d_ff=32, n_heads=2, d_kv=4)
    mini = t5.MiniT5(shape, RECIPE)
    net = t5.model(shape, 0).eval()
    config = t5.bundle("tiny", mini, net, "aa bb", text, np.ones(4096), tmp_path, rows=20)
    folder = tmp_path / "t5" / "tiny"
    loss = config["superscope"]["loss"]
    assert loss["frequencies"] == pytest.approx(np.log(4096), abs=1e-3)
    assert loss["text"] > 7
    theirs, report = transformers.T5ForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32
    )
    assert not any(report.values())
    tokens = torch.randint(4096, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = theirs.eval().encoder(input_ids=tokens, output_hidden_states=True).hidden_states
    torch.testing.assert_close(reader.open_t5(folder).residual(tokens, 1), states[1], atol=1e-5, rtol=0)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(lms.ModelError, match="install superscope again"):
        reader.open_t5(folder)


# --------------------------------------------------------------------------------------------------------- what is bundled


def test_the_table_is_the_record_of_what_is_bundled():
    assert {path.name for path in FOLDER.iterdir()} == set(t5.MINIS)
    for name, mini in t5.MINIS.items():
        config = json.loads((FOLDER / name / "config.json").read_text())
        facts = config["superscope"]
        assert facts["name"] == name
        assert facts["shape"] == asdict(mini.shape)
        assert facts["recipe"] == json.loads(json.dumps(asdict(mini.recipe)))
        assert config["sha256"] == store.checksum((FOLDER / name / "model.safetensors").read_bytes())
        assert {path.name for path in (FOLDER / name).iterdir()} == {"config.json", "model.safetensors", "README.md"}
        assert (FOLDER / name / "README.md").read_text() == t5.card(config)
        assert facts["fp16_cost"] < 1e-3
        assert facts["loss"]["text"] < facts["loss"]["frequencies"] + (0.1 if mini.shape.d_model == 8 else -0.05)
        assert facts["loss"]["other text"] - facts["loss"]["text"] > 0.1  # the encoder is read
        encoder = reader.open_t5(FOLDER / name)
        assert (encoder.sizes.d_model, encoder.sizes.d_ff) == (mini.shape.d_model, mini.shape.d_ff)
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 8 * 10**6
    assert not any("t5" in name for name in lms.bundled())


def test_an_unknown_name_is_answered_with_the_nearest():
    done = subprocess.run(
        [sys.executable, "-m", "superscope", "zoo", "--train", "t5/x65", "--corpus", "."], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no bundled model 't5/x65'; nearest is 't5/x64'" in done.stderr.replace("\n", " ")
