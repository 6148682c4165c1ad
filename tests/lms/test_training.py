"""Training: the lean module equals HookedTransformer, matched seeds match, a killed training goes on as if nothing happened."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from superscope.lms.corpus.splits import CorpusError
from superscope.lms.model import backend
from superscope.lms.model.transformer import ACTIVATIONS, Shape, Transformer, initialise
from superscope.lms.shelf import ModelError
from superscope.lms.zoo import training
from superscope.lms.zoo.training import Recipe

SMALL = Shape(n_layers=1, d_model=16, n_heads=2, d_mlp=32, n_ctx=12, d_vocab=40)
LONG = Recipe(steps=400, rows=4, warmup=3)
RECIPE = Recipe(steps=12, rows=4, warmup=3)
TOKENS = np.random.default_rng(0).integers(1, 40, 2000).astype(np.uint16)


def run(folder, shape=SMALL, recipe=RECIPE, **options):
    return training.train(shape, recipe, TOKENS, folder, compile=False, autocast=False, **options)


@pytest.mark.parametrize("shape", [
    *(dataclasses.replace(SMALL, act_fn=act, n_layers=2) for act in ACTIVATIONS),
    dataclasses.replace(SMALL, d_mlp=0, n_layers=2, positions="shortformer"),
], ids=lambda s: f"{s.act_fn}-{s.d_mlp}")  # fmt: skip
def test_logits_equal_hooked_transformer(shape):
    model = Transformer(shape)
    initialise(model, 1)
    with torch.no_grad():
        for parameter in model.parameters():  # off the initial zeros and ones
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    hooked = backend.from_shape(shape, dict(model.state_dict()))
    tokens = torch.randint(40, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (model.logits(tokens) - hooked(tokens)).abs().max() < 1e-4
        hooked_loss = hooked(torch.cat([tokens, tokens[:, :1]], dim=1)[:, :12], return_type="loss")
        assert abs(float(model.loss(tokens)) - float(hooked_loss)) < 1e-4


def test_models_of_a_seed_start_from_the_same_tensors():
    models = {act: Transformer(dataclasses.replace(SMALL, act_fn=act)) for act in ACTIVATIONS}
    for model in models.values():
        initialise(model, 5)
    states = {act: model.state_dict() for act, model in models.items()}
    for name, value in states["gelu"].items():
        assert all(torch.equal(value, states[act][name]) for act in ACTIVATIONS)
    other = Transformer(SMALL)
    initialise(other, 6)
    assert not torch.equal(other.embed.W_E, models["gelu"].embed.W_E)


def test_batches_depend_on_seed_and_step_alone():
    gelu, relu = (training.Batches(TOKENS, dataclasses.replace(SMALL, act_fn=a), RECIPE, 0) for a in ("gelu", "relu"))
    assert torch.equal(gelu(7)[0], relu(7)[0])
    assert not torch.equal(gelu(7)[0], gelu(8)[0])
    rows = torch.cat([gelu(step)[0] for step in range(gelu.count // RECIPE.rows)])[:, 1:].tolist()
    assert len({tuple(r) for r in rows}) == len(rows)  # an epoch uses no row twice
    other = training.Batches(TOKENS, SMALL, dataclasses.replace(RECIPE, seed=1), 0)
    assert not torch.equal(other(7)[0], gelu(7)[0])


def test_a_killed_training_goes_on_with_the_same_losses(tmp_path):
    straight = run(tmp_path / "straight")
    for stop in (3, 5, None):
        resumed = run(tmp_path / "resumed", stop_after=stop)
    assert training.history(tmp_path / "resumed") == training.history(tmp_path / "straight")
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_kill_9_costs_nothing_that_was_checkpointed(tmp_path):
    """A real process, really killed at some step that nobody chose."""
    code = (
        "import numpy as np; from tests.lms.test_training import TOKENS, SMALL, LONG; from superscope.lms.zoo "
        "import training; import sys;"
        "training.train(SMALL, LONG, TOKENS, sys.argv[1], compile=False, autocast=False, every_seconds=0)"
    )
    folder = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=Path(__file__).parents[2])
    while not (folder / training.CHECKPOINT).exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(ModelError, match="of 400: finish it first"):
        training.finished(folder, LONG)
    resumed, straight = run(folder, recipe=LONG), run(tmp_path / "straight", recipe=LONG)
    assert training.history(folder) == training.history(tmp_path / "straight")
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), straight.parameters(), strict=True))


@pytest.mark.parametrize("place", [9, 0.3, 0.6, 0.9, -1], ids=str)
def test_a_training_never_goes_on_from_a_damaged_checkpoint(tmp_path, place):
    run(tmp_path, stop_after=2)
    path = tmp_path / training.CHECKPOINT
    data = bytearray(path.read_bytes())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 1  # in the header, in weights, in moments
    path.write_bytes(data)
    for read in (run, training.history):
        with pytest.raises(ModelError, match=rf"{training.CHECKPOINT} is damaged .*: remove it to train from the start"):
            read(tmp_path)
    path.unlink()
    run(tmp_path)
    assert training.finished(tmp_path, RECIPE)[1].step == RECIPE.steps


def drill(rng, length):
    return np.full(length, 1 + rng.integers(2)), np.arange(length) % 3 == 2


def test_a_training_goes_on_from_given_weights_with_drills(tmp_path):
    """Continuing is the same code: it starts at the weights it is given, mixes in the drills, and survives being stopped."""
    start = run(tmp_path / "first").state_dict()
    recipe = dataclasses.replace(RECIPE, lr=1e-3, drills=0.5, start="first", repeats=0.2)
    straight = run(tmp_path / "straight", recipe=recipe, start=start, drill=drill, data="x")
    losses = [dict(training.history(tmp_path / name))[1] for name in ("first", "straight")]
    assert losses[1] < losses[0]  # the drills' two tokens and a trained start against random tokens and none
    for stop in (4, None):
        resumed = run(tmp_path / "resumed", recipe=recipe, start=start, drill=drill, data="x", stop_after=stop)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))
    batches = training.Batches(TOKENS, SMALL, recipe, 0, drill)
    rows, weight = (torch.cat(parts) for parts in zip(*(batches(step) for step in range(100)), strict=True))
    drilled = (rows[:, 1:] == rows[:, 1:2]).all(dim=1)
    assert 0.4 < float(drilled.float().mean()) < 0.6
    assert (weight[~drilled] == 1).all()
    assert weight[drilled].unique().tolist() == [0, 3]  # a third counts, three times as much: every row weighs the same
    with pytest.raises(ModelError, match="another model, recipe or corpus"):
        run(tmp_path / "resumed", recipe=recipe, start=start, drill=drill, data="y")


def test_a_killed_curriculum_goes_on_too(tmp_path):
    shape = dataclasses.replace(SMALL, d_mlp=0, n_layers=2, n_ctx=64, positions="shortformer", d_vocab=300)
    recipe = Recipe(steps=2, rows=2, curriculum=True, repeats=0.5)
    tokens = np.random.default_rng(0).integers(1, 300, 4000).astype(np.uint16)
    options = {"compile": False, "autocast": False}
    training.train(shape, recipe, tokens, tmp_path / "a", stop_after=4, **options)
    for stop in (1, 3):
        training.train(shape, recipe, tokens, tmp_path / "b", stop_after=stop, **options)
    (_, first, one), (_, second, two) = (training._read(tmp_path / x) for x in "ab")
    assert first.lesson == second.lesson == 4
    assert first.step == 0
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_training_learns_a_pattern(tmp_path):
    tokens = np.tile(np.arange(1, 11), 300).astype(np.uint16)  # 1..10 over and over: the next token is determined
    recipe = Recipe(steps=150, rows=8, lr=1e-2, warmup=5)
    model = training.train(SMALL, recipe, tokens, tmp_path, compile=False, autocast=False)
    losses = [loss for _, loss in training.history(tmp_path)]
    assert losses[0] > 3
    assert losses[-1] < 0.5
    predicted = model.logits(torch.tensor([[0, 3, 4, 5]]))[0, -1].argmax()
    assert int(predicted) == 6


def test_repeated_strings_weigh_only_what_is_determined():
    tokens, weight = training.repeated_strings(np.random.default_rng(0), 5, 20, np.arange(3, 9), (4, 8))
    assert tokens.shape == (5, 21)
    assert set(tokens.unique().tolist()) <= set(range(3, 9))
    for row, use in zip(tokens, weight, strict=True):
        period = int((use == 0).sum())
        assert 4 <= period <= 8
        assert torch.equal(row[period:], row[:-period])


def test_mistakes_are_explained(tmp_path):
    run(tmp_path, stop_after=2)
    with pytest.raises(ModelError, match="another model, recipe or corpus"):
        run(tmp_path, recipe=dataclasses.replace(RECIPE, seed=3))
    with pytest.raises(CorpusError, match="fewer than one batch"):
        training.train(SMALL, RECIPE, TOKENS[:20], tmp_path / "x", compile=False)
    with pytest.raises(ValueError, match="nothing that generates them"):
        run(tmp_path / "x", recipe=dataclasses.replace(RECIPE, drills=0.5))
    with pytest.raises(ValueError, match="not divisible"):
        Shape(d_model=10, n_heads=4)
    with pytest.raises(ValueError, match="expected one of"):
        Shape(act_fn="swish")


def test_without_a_compiler_training_goes_on_eagerly(monkeypatch):
    def broken(function):
        def call(*args):
            raise RuntimeError("no C++ compiler")

        return call

    said = []
    monkeypatch.setattr(torch, "compile", broken)
    model = Transformer(SMALL)
    initialise(model, 0)
    losses = training._compiled(model, True, said.append)
    tokens = torch.randint(1, 40, (2, 13))
    assert torch.equal(losses(tokens), model.loss(tokens))
    assert torch.equal(losses(tokens), model.loss(tokens))
    assert len(said) == 1
    assert "without it" in said[0]
