"""`superscope neuroscope` from the command line: pages, no repetition, and one line for every mistake."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

from superscope import lms, store
from superscope.cli import main as cli
from superscope.evidence import records
from superscope.lms import corpus
from superscope.lms.corpus.generated import Document
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model.transformer import Shape
from superscope.recover import sae

TEXT = "The river runs to the sea, and the sea gives rain to the hills. In 1 9 7 4 it rained for 4 0 days.\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model and a corpus on disk, and an attention-only model."""
    root = tmp_path_factory.mktemp("neuroscope")
    tokenizer = Tokenizer.train([TEXT], 290)
    for name, d_mlp in (("tiny", 9), ("attention", 0)):
        shape = Shape(1, 16, 2, d_mlp, 32, len(tokenizer))
        model = lms.untrained(shape, tokenizer)
        path = root / name
        path.mkdir()
        weights = {n: p.detach().contiguous() for n, p in model.hooked.named_parameters()}
        safetensors.torch.save_file(weights, path / "model.safetensors")
        tokenizer.save(path / "tokenizer.json")
        sums = {"sha256": "model.safetensors", "tokenizer_sha256": "tokenizer.json"}
        facts = {"shape": shape.__dict__, "init_seed": 0} | {
            k: store.checksum((path / v).read_bytes()) for k, v in sums.items()
        }
        (path / "config.json").write_text(json.dumps(facts))
    (root / "texts").mkdir()
    documents = [Document(TEXT * 4, "novel", "s", f"w{k}") for k in range(9)]
    files = {
        split: {"sha256": corpus.write_documents(root / "texts" / f"{split}.jsonl.gz", documents)}
        for split in ("train", "validation", "test")
    }
    store.atomic_write_json(root / "texts" / "corpus.json", {"files": files})
    return root


def run(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        cli.main(["neuroscope", *map(str, argv)])
    said = capsys.readouterr()
    return stop.value.code, said.out, said.err


@pytest.fixture
def options(folder, tmp_path):
    return ["--corpus", folder / "texts", "--out", tmp_path / "site", "--runs", tmp_path / "runs", "--quiet"]


def test_latents_in_the_place_of_neurons(folder, options, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(records, "bundled_results", lambda: None)
    g = torch.Generator().manual_seed(0)
    weights = {"W_enc": torch.randn(16, 5, generator=g), "b_enc": torch.zeros(5), "W_dec": torch.randn(5, 16, generator=g),
               "b_dec": torch.zeros(16)}  # fmt: skip
    one = sae.SAE("standard", weights, metadata={"hook_name": "blocks.0.hook_mlp_out"})
    place = sae.save(one, tmp_path / "my-sae")
    code, out, err = run(capsys, folder / "tiny", "--sae", place, *options)
    assert code == 0, err
    assert "5 latents of" in out
    page = next((tmp_path / "site").glob("neuroscope-*my-sae*.html"))
    assert "my-sae" in page.read_text()
    code, _, err = run(capsys, folder / "attention", "--sae", place, *options)
    assert code == 2
    assert "never holds anything" in err
    code, _, err = run(capsys, folder / "tiny", "--sae", tmp_path, *options)
    assert code == 2
    assert "is no SAE in SAELens 6 format" in err


def test_writes_pages_and_does_not_work_twice(folder, options, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(records, "bundled_results", lambda: None)
    code, out, err = run(capsys, folder / "tiny", *options)
    assert (code, err) == (0, "")
    assert "9 neurons of tiny, layer 0" in out
    page = tmp_path / "site" / "neuroscope-tiny-L0.html"
    assert page.exists()
    assert page.name in (tmp_path / "site" / "index.html").read_text()
    assert not list(tmp_path.glob("runs/neuroscope/*/scan"))
    before = (tmp_path / "site" / "neuroscope" / "tiny-L0" / "table.js").read_bytes()

    def never(*args, **options):
        raise AssertionError("scanned again")

    monkeypatch.setattr("superscope.lms.model.activations.scan", never)
    assert run(capsys, folder / "tiny", *options)[0] == 0
    assert (tmp_path / "site" / "neuroscope" / "tiny-L0" / "table.js").read_bytes() == before


def test_damaged_reports_are_made_again(folder, options, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(records, "bundled_results", lambda: None)
    run(capsys, folder / "tiny", *options)
    (path,) = tmp_path.glob("runs/neuroscope/*/reports.npz")
    path.write_bytes(b"half a file")
    assert run(capsys, folder / "tiny", *options)[0] == 0
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["no-such-model"], "no model 'no-such-model'; nearest:"),
        (["attention"], "attention is attention-only: it has no neurons"),
        (["tiny", "--layer", "3"], "layer 3 does not exist: tiny has layers 0 to 0"),
        (["tiny", "--rows", "0"], "--rows 0: give at least 1"),
        (["tiny", "--corpus", "nowhere"], "no corpus folder 'nowhere'"),
        (["tiny", "--corpus", "tiny"], "holds no corpus"),
        (["tiny", "--out", "tiny/config.json"], "is a file: give the path of a folder"),
    ],
)
def test_mistakes_are_one_line(folder, options, capsys, monkeypatch, change, complaint):
    monkeypatch.chdir(folder)
    model = folder / change[0] if (folder / change[0]).exists() else change[0]
    code, out, err = run(capsys, model, *options, *change[1:])
    assert (code, out) == (2, "")
    assert complaint in err
    assert len(err.splitlines()) == 1


def test_corrupt_weights_and_text_are_said(folder, options, tmp_path, capsys):
    import shutil

    shutil.copytree(folder / "tiny", tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"nonsense")
    code, _, err = run(capsys, tmp_path / "broken", *options)
    assert code == 2
    assert "model.safetensors is damaged" in err
    shutil.copytree(folder / "texts", tmp_path / "bad")
    (tmp_path / "bad" / "validation.jsonl.gz").write_bytes(b"nonsense")
    code, _, err = run(capsys, folder / "tiny", *options, "--corpus", tmp_path / "bad")
    assert code == 2
    assert "does not match its checksum" in err


def test_help_has_examples(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "superscope neuroscope gelu-1l-mini --open" in out.replace("\n", " ").replace("│", "")
