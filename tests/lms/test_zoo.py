"""The zoo: the table is the record of what is bundled, files are checked to the bit, listing costs nothing, and making one."""

import functools
import json
import shutil
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch

from superscope import lms, store
from superscope.lms import corpus, shelf
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model.transformer import Shape, Transformer, initialise
from superscope.lms.zoo import minis, training
from superscope.lms.zoo.training import Recipe

MODELS = shelf.models_folder()


def config(name):
    return json.loads((MODELS / name / "config.json").read_text())


def test_the_table_is_the_record_of_what_is_bundled():
    assert set(lms.bundled()) == set(minis.MINIS)
    for name in lms.bundled():
        mini, facts = minis.MINIS[name], config(name)
        assert facts["shape"] == asdict(mini.shape)
        assert facts["recipe"] == json.loads(json.dumps(asdict(mini.recipe)))
        assert facts["name"] == name


def test_every_model_names_its_weights_and_the_one_tokenizer():
    assert [path.parent for path in MODELS.rglob("tokenizer.json")] == [MODELS]
    vocabulary = store.checksum((MODELS / "tokenizer.json").read_bytes())
    for name in lms.bundled():
        facts = config(name)
        assert facts["tokenizer_sha256"] == vocabulary
        assert facts["sha256"] == store.checksum((MODELS / name / "model.safetensors").read_bytes())
        assert {path.name for path in (MODELS / name).iterdir()} == {"config.json", "model.safetensors", "README.md"}
        assert facts["fp16_cost"] < 1e-3
        assert (MODELS / name / "README.md").read_text() == minis.card(facts)
    # t5/ and retrained/ are among them
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < 116 * 2**20


def test_two_layer_models_have_induction_heads():
    for name in lms.bundled():
        mini, highest = minis.MINIS[name], max(max(row) for row in config(name)["prefix_matching"])
        assert highest > 0.5 if mini.shape.n_layers > 1 else highest < 0.1


@pytest.mark.parametrize("file", ["gelu-1l-wide4/model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_a_flipped_bit_is_named(tmp_path, file, place):
    shutil.copytree(MODELS / "gelu-1l-wide4", tmp_path / "gelu-1l-wide4")
    shutil.copy(MODELS / "tokenizer.json", tmp_path)
    lms.load(tmp_path / "gelu-1l-wide4")
    data = bytearray((tmp_path / file).read_bytes())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 1
    (tmp_path / file).write_bytes(data)
    with pytest.raises(lms.ModelError, match=f"{file} is damaged: its sha256 is not the one in config.json; fetch it again"):
        lms.load(tmp_path / "gelu-1l-wide4")


def test_a_folder_without_a_checksum_or_tokenizer_is_refused(tmp_path):
    shutil.copytree(MODELS / "gelu-1l-wide4", tmp_path / "alone")
    with pytest.raises(lms.ModelError, match=r"No such file or directory.*tokenizer\.json"):
        lms.load(tmp_path / "alone")
    facts = config("gelu-1l-wide4")
    del facts["sha256"]
    (tmp_path / "alone" / "config.json").write_text(json.dumps(facts))
    with pytest.raises(lms.ModelError, match="sha256"):
        lms.load(tmp_path / "alone")


def test_listing_imports_no_torch():
    code = (
        "import sys; from superscope import lms; from superscope.cli.models import Zoo, zoo; code = zoo(Zoo(json=True));"
        "print(len(lms.replicates('gelu-2l-mini')), code, [m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    rows, _, last = out.rstrip().rpartition("\n")
    assert [row["name"] for row in json.loads(rows)] == lms.bundled()
    assert last == "3 0 []"


def test_the_lazy_package_has_all_that_it_names():
    assert all(getattr(lms, name) is not None for name in lms.__all__)
    assert set(lms.__all__) <= set(dir(lms))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = lms.lode


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.read(MODELS / "tokenizer.json")


def test_a_model_is_written_with_its_card_and_reads_back(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(minis, "ROWS", {"validation": 3, "sample": 2})
    mini = minis.Mini(Shape(d_model=8, n_heads=2, d_mlp=16, n_ctx=128), Recipe(steps=1, rows=1))
    model = Transformer(mini.shape)
    initialise(model, 0)
    texts = dict.fromkeys(("validation", "sample"), corpus.sample(tokenizer, limit_documents=20))
    made = {"data": "aa bb", "device": "a machine", "curriculum_steps": 0}
    facts = minis.bundle("small", mini, model.state_dict(), made, tokenizer, texts, tmp_path)
    ours = lms.load(tmp_path / "small")
    assert ours.card["loss"]["validation"] == minis.genre_losses(ours, texts["validation"], 3)
    assert facts["loss"]["validation"]["all"] == pytest.approx(8.3, abs=0.5)  # it knows nothing of 4,096 tokens
    card = (tmp_path / "small" / "README.md").read_text()
    for said in ("Sha256 of the train split aa", "a machine", "initial tensors of seed 0", "held-out frames", "| all | 8."):
        assert said in card
    other = Tokenizer.train(["another text " * 50], 300)
    with pytest.raises(lms.ModelError, match="have another tokenizer than small"):
        minis.bundle("small", mini, model.state_dict(), made, other, texts, tmp_path)


def test_continuing_a_bundled_model_from_a_corpus(tmp_path, monkeypatch):
    """`superscope zoo --train` from end to end: start, drills, checkpoint, card; the second call finds it done."""
    notes = tmp_path / "notes"
    notes.mkdir()
    for k in range(80):
        (notes / f"{k:03d}.txt").write_text(f"Note {k}. " + " ".join(f"word{k * 7 + j}" for j in range(150)))
    corpus.build(tmp_path / "corpus", tmp_path / "cache", [f"{notes}:notes"])
    shape = minis.MINIS["gelu-1l-wide4"].shape
    mini = minis.Mini(shape, Recipe(steps=2, rows=2, lr=1e-4, warmup=1, drills=0.5, start="gelu-1l-wide4"))
    monkeypatch.setitem(minis.MINIS, "tiny", mini)
    monkeypatch.setattr(minis, "ROWS", {"validation": 2, "sample": 2})
    monkeypatch.setattr(training, "train", functools.partial(training.train, compile=False))
    said = []
    folder = minis.make("tiny", tmp_path / "corpus", tmp_path / "out", said.append)
    assert any(line.startswith("step 2/2") for line in said)
    model, start = lms.load(folder), lms.load("gelu-1l-wide4")
    assert 0 < (model.hooked.W_in - start.hooked.W_in).abs().max() < 1e-2
    assert model.card["loss_change"] < 0.5
    assert "the weights of gelu-1l-wide4" in (folder / "README.md").read_text()
    before = (folder / "config.json").read_bytes()
    said.clear()
    minis.make("tiny", tmp_path / "corpus", tmp_path / "out", said.append)
    assert said == []
    assert (folder / "config.json").read_bytes() == before
    assert torch.equal(model.control("init").hooked.W_in, start.control("init").hooked.W_in)
