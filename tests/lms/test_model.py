"""Loading: bundled models say what their card says; local folders of every kind; controls; mistakes are explained."""

import json

import pytest
import torch

from superscope import lms
from superscope.lms import corpus
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model import backend
from superscope.lms.model.language_model import _from_folder, rows_to_tensor
from superscope.lms.model.transformer import Shape
from superscope.lms.zoo import minis as zoo

TEXTS = ["one two three four five six seven " * 30, "def f(x):\n    return x + 123\n" * 30]
SMALL = Shape(d_model=16, n_heads=2, d_mlp=32, n_ctx=24, d_vocab=300)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, 300)


@pytest.fixture(scope="module")
def mini() -> lms.LanguageModel:
    return lms.load("gelu-1l-mini")


@pytest.fixture(scope="module")
def sample(mini):
    return corpus.sample(mini.tokenizer)


def test_every_mini_is_named_and_bundled_models_are_known():
    assert set(lms.bundled()) <= set(zoo.MINIS)
    assert {"gelu-1l-mini"} <= set(lms.bundled())


def test_a_bundled_model_has_the_loss_of_its_card(mini, sample):
    losses = zoo.genre_losses(mini, sample)
    assert losses["all"] == pytest.approx(mini.card["loss"]["sample"]["all"], abs=2e-3)
    assert losses["python"] == pytest.approx(mini.card["loss"]["sample"]["python"], abs=5e-3)


def test_fp16_costs_nothing():
    for name in lms.bundled():
        card = json.loads((lms.model.language_model.models_folder() / name / "config.json").read_text())
        for where, loss in card["loss_float32"].items():
            assert abs(card["loss"][where]["all"] - loss) < 1e-3


def test_controls_lose_what_training_put_there(mini, sample):
    rows = rows_to_tensor(sample.rows(mini.n_ctx, limit=4, seed=0).tokens)
    trained = float(mini.loss(rows).mean())
    for kind in lms.CONTROLS:
        assert float(mini.control(kind).loss(rows).mean()) > trained + 2
    start, relu = mini.control("init"), lms.untrained(Shape(act_fn="relu"), mini.tokenizer, seed=0)
    assert torch.equal(start.hooked.W_in, relu.hooked.W_in)  # within a seed all activations start from the same tensors
    shuffled = mini.control("shuffled", seed=1)
    assert torch.equal(shuffled.hooked.W_in.flatten().sort()[0], mini.hooked.W_in.flatten().sort()[0])
    assert torch.equal(shuffled.hooked.b_in, mini.hooked.b_in)


def test_snapshots_go_from_init_to_trained(mini, sample):
    steps = lms.snapshots("gelu-1l-mini")
    assert steps[0] == 0
    assert len(steps) >= 8
    start = lms.snapshot("gelu-1l-mini", 0)
    assert (start.hooked.W_E - mini.control("init").hooked.W_E).abs().max() < 1e-3  # fp16
    rows = rows_to_tensor(sample.rows(mini.n_ctx, limit=4, seed=0).tokens)
    losses = [float(lms.snapshot("gelu-1l-mini", step).loss(rows).mean()) for step in (steps[0], steps[4], steps[-1])]
    assert losses[0] > losses[1] > losses[2]
    with pytest.raises(lms.ModelError, match="no snapshot of step 7"):
        lms.snapshot("gelu-1l-mini", 7)


def test_a_hugging_face_gpt2_folder(tmp_path, tokenizer):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=300, n_positions=24)).eval()
    theirs.save_pretrained(tmp_path / "llama-by-name")  # a path must not decide the architecture
    tokenizer.save(tmp_path / "llama-by-name" / "tokenizer.json")
    ours = lms.load(tmp_path / "llama-by-name")
    tokens = torch.randint(300, (2, 20))
    with torch.no_grad():
        assert (ours.logits(tokens) - theirs(tokens).logits).abs().max() < 1e-4
    assert ours.neuron_hook(1) == "blocks.1.mlp.hook_post"


def test_a_t5_folder(tmp_path, tokenizer):
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(vocab_size=300, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0)
    theirs = T5ForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path)
    tokenizer.save(tmp_path / "tokenizer.json")
    ours = lms.load(tmp_path)
    tokens = torch.randint(300, (2, 20))
    start = torch.zeros(2, 1, dtype=torch.long)
    with torch.no_grad():
        mine = ours.hooked(tokens, start)
        assert (mine - theirs(input_ids=tokens, decoder_input_ids=start).logits).abs().max() < 1e-4
    hook = ours.neuron_hook(1)
    assert ours.activations(tokens, [hook])[hook].shape == (2, 20, 64)
    with pytest.raises(lms.ModelError, match="encoder-decoder"):
        ours.loss(tokens)


@pytest.mark.parametrize("attention_only", [False, True])
def test_a_folder_in_the_format_of_nandas_models(tmp_path, tokenizer, attention_only):
    shape = Shape(d_model=16, n_heads=2, d_mlp=0 if attention_only else 32, n_ctx=24, d_vocab=300, act_fn="solu_ln")
    theirs = lms.untrained(shape, tokenizer, seed=3)
    config = {
        "n_layers": 1, "d_model": 16, "d_head": 8, "n_heads": 2, "d_mlp": 32, "n_ctx": 24, "d_vocab": 300, "act_fn": "solu_ln",
        "attn_only": attention_only, "normalization": "LN", "seed": 7, "tokens_per_step": 262144,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(theirs.hooked.state_dict(), tmp_path / "model_final.pth")
    tokenizer.save(tmp_path / "tokenizer.json")
    ours = lms.load(tmp_path)
    tokens = torch.randint(300, (2, 20))
    assert torch.equal(ours.logits(tokens), theirs.logits(tokens))
    if not attention_only:
        assert ours.neuron_hook() == "blocks.0.mlp.hook_mid"  # SoLU's neurons are read before their LayerNorm


def test_solu_ln_is_loaded_unprocessed(tmp_path, tokenizer):
    model = lms.untrained(Shape(d_model=16, n_heads=2, d_mlp=32, n_ctx=24, d_vocab=300, act_fn="solu_ln"), tokenizer)
    names = dict(model.hooked.named_parameters())
    assert "blocks.0.mlp.ln.w" in names
    assert "blocks.0.ln2.w" in names


def test_a_pth_file_cannot_run_code(tmp_path, tokenizer):
    class Evil:
        def __reduce__(self):
            return (print, ("code ran",))

    (tmp_path / "config.json").write_text(json.dumps({"n_layers": 1, "d_model": 16, "n_heads": 2, "n_ctx": 24, "d_vocab": 300}))
    torch.save({"W": Evil()}, tmp_path / "x.pth")
    with pytest.raises(lms.ModelError, match="cannot be read as plain weights"):
        lms.load(tmp_path)


def test_absent_models_name_a_stand_in(monkeypatch):
    def unreachable(name):
        raise OSError("no hub")

    monkeypatch.setattr(backend, "published", unreachable)
    for name, stand_in in (("gelu-1l", "gelu-1l-mini"), ("attn-only-2l", "attn-only-2l-mini"), ("solu-1l", "solu_ln-1l-mini")):
        with pytest.raises(lms.ModelError, match=stand_in):
            lms.load(name)
    with pytest.raises(lms.ModelError, match="nearest: gelu-1l"):
        lms.load("gelu-1ll")
    with pytest.raises(lms.ModelError, match="no folder"):
        lms.load("./nowhere")


def test_mistakes_are_explained(tmp_path, mini, tokenizer):
    with pytest.raises(lms.ModelError, match="longer than the context"):
        mini.logits(torch.zeros(1, 300, dtype=torch.long))
    with pytest.raises(lms.ModelError, match="another tokenizer"):
        mini.logits(torch.full((1, 3), 5000))
    with pytest.raises(lms.ModelError, match="layer 4 does not exist"):
        mini.neuron_hook(4)
    with pytest.raises(lms.ModelError, match="no control"):
        mini.control("scrambled")
    with pytest.raises(lms.ModelError, match="holds no model"):
        lms.load(tmp_path)
    folder = lms.model.language_model.models_folder() / "gelu-1l-mini"
    for file in ("config.json", "tokenizer.json"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    damaged = bytearray((folder / "model.safetensors").read_bytes())
    damaged[-5] ^= 255
    (tmp_path / "model.safetensors").write_bytes(damaged)
    with pytest.raises(lms.ModelError, match="sha256"):
        _from_folder(tmp_path, "x", "folder")
    (tmp_path / "model.safetensors").write_bytes(damaged[:1000])
    with pytest.raises(lms.ModelError, match="damaged"):
        lms.load(tmp_path)
