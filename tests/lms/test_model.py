"""Bundled models say what their card says; controls and twins; mistakes are explained."""

import pytest
import torch

from superscope import lms
from superscope.lms import corpus
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model import backend
from superscope.lms.model.language_model import rows_to_tensor
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


def test_a_bundled_model_has_the_loss_of_its_card(mini, sample):
    losses = zoo.genre_losses(mini, sample, zoo.ROWS["sample"])
    assert losses["all"] == pytest.approx(mini.card["loss"]["sample"]["all"], abs=2e-3)
    assert losses["python"] == pytest.approx(mini.card["loss"]["sample"]["python"], abs=5e-3)


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


def test_every_bundled_model_has_the_shape_of_its_start():
    """Two layers, four, wide or without neurons: `control` knows each one's own initial tensors."""
    tied = {}
    for name in lms.bundled():
        trained = lms.load(name)
        start = trained.control("init")
        shapes = [{n: p.shape for n, p in one.hooked.named_parameters()} for one in (trained, start)]
        assert shapes[0] == shapes[1]
        assert start.origin == "control"
        tied.setdefault((trained.card["init_seed"], trained.d_model), []).append(start.hooked.W_E)
    for embeddings in tied.values():  # seed and width alone decide it
        assert all(torch.equal(embeddings[0], other) for other in embeddings)


def test_controls_of_two_wide_layers():
    model = lms.load("gelu-2l-mini")
    tokens = torch.randint(1, 4096, (2, 60), generator=torch.Generator().manual_seed(0))
    tokens[:, 30:] = tokens[:, :30]
    trained = model.loss(tokens)[:, 30:].mean()
    for kind in ("shuffled", "gaussian"):
        control = model.control(kind)
        assert control.loss(tokens)[:, 30:].mean() > trained + 5  # the copying is gone
        assert torch.equal(control.hooked.b_in, model.hooked.b_in)
        assert not torch.equal(control.hooked.W_in, model.hooked.W_in)
    assert torch.equal(model.loss(tokens)[:, 30:].mean(), trained)  # and the model itself is as it was


def test_twins_are_the_other_seeds():
    assert lms.replicates("gelu-2l-mini-s1") == ["gelu-2l-mini", "gelu-2l-mini-s1", "gelu-2l-mini-s2"]
    assert lms.replicates("gelu-1l-wide4") == ["gelu-1l-wide4", "gelu-1l-wide4-s1", "gelu-1l-wide4-s2"]
    assert lms.replicates("gelu-1l-mini-reordered") == ["gelu-1l-mini-reordered"]
    twins = lms.load("gelu-1l-wide4-s1").twins()
    assert [twin.name for twin in twins] == ["gelu-1l-wide4", "gelu-1l-wide4-s2"]
    assert not torch.equal(twins[0].hooked.W_in, twins[1].hooked.W_in)
    assert twins[0].control("init").twins() == []
    with pytest.raises(lms.ModelError, match="no bundled model 'gelu-9l'"):
        lms.replicates("gelu-9l")


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
    for outside in (5000, 4096, -1):
        with pytest.raises(lms.ModelError, match=f"token id {outside} is outside .* tokenise it with model.tokenizer"):
            mini.logits(torch.full((1, 3), outside))
    with pytest.raises(lms.ModelError, match="layer 4 does not exist"):
        mini.neuron_hook(4)
    with pytest.raises(lms.ModelError, match="no control"):
        mini.control("scrambled")
    with pytest.raises(lms.ModelError, match="holds no model"):
        lms.load(tmp_path)
