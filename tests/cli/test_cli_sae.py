"""``superscope sae``: a training from the command line, and what wrong words get."""

from __future__ import annotations

import json

import pytest
import torch

from superscope.cli.main import main
from superscope.recover import sae
from superscope.recover.sae import shelf


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["sae", *words])
    out = capsys.readouterr()
    return stop.value.code, out.out, out.err


def test_train_show_and_the_same_again(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("superscope.cli.autoencoders.TRIED_ON", 4)
    words = [
        "train",
        "gelu-1l-mini",
        "--width",
        "64",
        "--k",
        "4",
        "--steps",
        "6",
        "--batch",
        "256",
        "--quiet",
        "--out",
        str(tmp_path),
    ]
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["l0"] == pytest.approx(4, abs=0.5)
    folder = tmp_path / "gelu-1l-mini-mlp-out-topk"
    assert sorted(path.name for path in folder.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    one = sae.load(folder)
    assert (one.n, one.k, one.site) == (64, 4, "blocks.0.hook_mlp_out")
    code, out, _ = run(capsys, "show", str(folder))
    assert code == 0
    assert "blocks.0.hook_mlp_out" in out
    code, _, _ = run(capsys, *words)
    assert torch.equal(sae.load(folder).decoder, one.decoder)


def test_on_a_world_with_a_truth_and_on_the_leaderboard(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("superscope.recover.sae.leaderboard.SAMPLES", 1500)
    words = [
        "--width",
        "256",
        "--k",
        "5",
        "--steps",
        "300",
        "--batch",
        "256",
        "--lr",
        "0.003",
        "--quiet",
        "--out",
        str(tmp_path),
    ]
    code, out, err = run(capsys, "train", "world:256", *words)
    assert code == 0, err
    folder = tmp_path / "world-256-topk"
    code, out, err = run(capsys, "bench", str(folder), "--json")
    assert code == 0, err
    rows = {row["name"]: row for row in json.loads(out)}
    ours, chance, truth = (rows[name] for name in (str(folder), "random dictionary, TopK", "the truth, FISTA"))
    assert chance["f1_adjusted"] < 0.25 < ours["f1_adjusted"] < truth["f1_adjusted"]
    assert truth["mcc"] == pytest.approx(1)
    assert ours["mcc_adjusted"] > 0.2 + chance["mcc_adjusted"]
    tensors = {"W_enc": torch.ones(3, 4), "b_enc": torch.zeros(4), "W_dec": torch.ones(4, 3), "b_dec": torch.zeros(3)}
    code, _, err = run(capsys, "bench", str(sae.save(sae.SAE("standard", tensors), tmp_path / "other")))
    assert code == 2
    assert "reads 3 dimensions, benchmark-256 has 64" in err


def test_bundled_ones_are_listed_and_load(capsys):
    code, out, _ = run(capsys, "list", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["name"] for row in rows] == sae.bundled()
    for row in rows:
        one = sae.load(row["name"])
        assert one.n == row["latents"]
        assert row["explained"] > 0.6
    if rows:
        assert sum(path.stat().st_size for path in shelf.folder().rglob("*")) < 12e6


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train"], "needs one model"),
        (["train", "world:7", "--k", "4"], "no world 'world:7': choose world:256"),
        (["train", "world:256", "--architecture", "skip-transcoder"], "has no output to transcode to"),
        (["train", "world:256", "--control", "init"], "has no control"),
        (["bench", "no-such-sae"], "no bundled SAE and no folder 'no-such-sae'"),
        (["show"], "needs a bundled SAE"),
        (["show", "nothing-here"], "no bundled SAE and no folder 'nothing-here'"),
        (["train", "gelu-1l-mimi"], "no model 'gelu-1l-mimi'"),
        (["train", "gelu-1l-mini", "--site", "mlp-in"], "--site 'mlp-in': choose resid-pre"),
        (["train", "gelu-1l-mini", "--layer", "3"], "--layer 3"),
        (["train", "gelu-1l-mini", "--k", "70", "--width", "64"], "k=70 with 64 latents"),
        (["train", "gelu-1l-mini", "--architecture", "l1", "--k", "4"], "--k is no setting of l1"),
        (["train", "gelu-1l-mini", "--architecture", "jumprelu", "--l0", "0"], "l0=0"),
        (["train", "gelu-1l-mini", "--steps", "0"], "steps=0"),
        (["train", "gelu-1l-mini", "--batch", "0"], "batch 0"),
        (["train", "gelu-1l-mini", "--lr", "nan"], "lr=nan"),
        (["train", "gelu-1l-mini", "--corpus", "no-such-folder"], "no corpus folder 'no-such-folder'"),
        (["train", "attn-only-2l-mini", "--site", "neurons"], "attention-only"),
        (["burn"], "burn"),
    ],
)
def test_wrong_words_get_one_line(capsys, tmp_path, words, says):
    code, _, err = run(capsys, *words, *(["--quiet", "--out", str(tmp_path)] if words[0] == "train" else []))
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
