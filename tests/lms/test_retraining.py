"""Retraining one MLP: copies stay copies, partitions partition, sparse stays sparse, experts share; resumable to the bit."""

import dataclasses
import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from superscope import lms
from superscope.lms import shelf
from superscope.lms.corpus.splits import CorpusError
from superscope.lms.model.language_model import untrained
from superscope.lms.model.transformer import Shape
from superscope.lms.shelf import ModelError
from superscope.lms.zoo import retraining
from superscope.lms.zoo import retraining_starts as starts
from superscope.lms.zoo.retraining import Retraining
from superscope.lms.zoo.retraining_starts import Constraint, TrainedMLP

SMALL = Shape(d_model=16, n_heads=2, d_mlp=64, n_ctx=12, d_vocab=4096)
TOKENS = np.random.default_rng(0).integers(1, 4096, 3000).astype(np.uint16)
RECIPE = Retraining("small", "unwidened", tokens=480, rows=4, lr=1e-2)


@pytest.fixture(scope="module")
def bundled():
    return lms.load("gelu-1l-mini")


@pytest.fixture(scope="module")
def small(bundled):
    model = untrained(SMALL, bundled.tokenizer, seed=1)
    with torch.no_grad():
        for name, value in model.hooked.named_parameters():  # off the zeros, and large enough to matter
            value += 0.3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name)))
    return model


def run(recipe, base, folder, **options):
    return retraining.train(recipe, base, TOKENS, folder, autocast=False, **options)


def weights(model):
    mlp = model.hooked.blocks[0].mlp
    return {name: getattr(mlp, name).detach() for name in ("W_in", "b_in", "W_out", "b_out")}


# ------------------------------------------------------------------------------------------------------------ the starts


@pytest.mark.parametrize("r", [2, 10])
def test_copies_without_noise_compute_the_same(bundled, r):
    recipe = Retraining(bundled.name, "copies", r=r)
    wide = retraining.with_mlp(bundled, retraining.start(recipe, bundled)[0], "wide")
    assert (wide.d_mlp, wide.d_model) == (512 * r, 128)
    tokens = torch.randint(4096, (2, 40), generator=torch.Generator().manual_seed(0))
    mine, theirs = wide.hooked.double()(tokens), lms.load(bundled.name).hooked.double()(tokens)
    assert (mine - theirs).abs().max() < 1e-5


def test_noise_is_a_share_of_the_neurons_own_weights(small):
    own = weights(small)
    own["W_in"][:, 3] *= 50
    out = starts.copies(own, 200, 0.1, torch.Generator().manual_seed(0))
    off = (out["W_in"] - own["W_in"].repeat(1, 200)).view(16, 200, 64)
    share = off.square().mean(dim=(0, 1)).sqrt() / own["W_in"].square().mean(dim=0).sqrt()
    torch.testing.assert_close(share, torch.full_like(share, 0.1), rtol=0.06, atol=0)
    own["W_in"][:, 3] /= 50


def test_copies_without_noise_stay_exactly_equal_and_train_like_the_neuron_alone(small, tmp_path):
    """Bitwise: every clone gets the same sums in the same order. And Adam without epsilon sees no difference in scale."""
    alone, _ = run(RECIPE, small, tmp_path / "alone")
    for r in (2, 10):
        wide, _ = run(dataclasses.replace(RECIPE, variant="copies", r=r), small, tmp_path / str(r))
        family = wide.W_in.view(16, r, 64)
        assert all(torch.equal(family[:, 0], family[:, k]) for k in range(r))
        assert all(torch.equal(wide.W_out[:64], part) for part in wide.W_out.split(64))
        assert all(torch.equal(wide.b_in[:64], part) for part in wide.b_in.split(64))
        assert not torch.equal(wide.W_in[:, :64], weights(small)["W_in"])
        torch.testing.assert_close(wide.W_in[:, :64], alone.W_in, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(wide.W_out[:64] * r, alone.W_out, rtol=1e-3, atol=1e-3)
    noisy, _ = run(dataclasses.replace(RECIPE, variant="copies", r=2, sigma=0.1), small, tmp_path / "noisy")
    assert not torch.equal(noisy.W_in[:, :64], noisy.W_in[:, 64:])


@pytest.mark.parametrize(("variant", "r"), [("random", 2), ("random", 3), ("aligned", 2)])
def test_a_partition_gives_every_weight_to_one_child_and_keeps_it_there(small, tmp_path, variant, r):
    means = np.random.default_rng(0).normal(size=(64, 2, 16))
    recipe = dataclasses.replace(RECIPE, variant=variant, r=r)
    first, constraint = retraining.start(recipe, small, means)
    own, held = weights(small), constraint.held.view(16, r, 64)
    assert (held.sum(dim=1) == 1).all()
    sizes = held.sum(dim=0)
    assert int(sizes.max() - sizes.min()) <= 1
    torch.testing.assert_close(first["W_in"].view(16, r, 64).sum(dim=1), own["W_in"])
    torch.testing.assert_close(first["b_in"].view(r, 64).sum(dim=0), own["b_in"])
    mlp, _ = run(recipe, small, tmp_path, means=means)
    assert (mlp.W_in[~constraint.held] == 0).all()
    assert (mlp.W_in[constraint.held] != first["W_in"][constraint.held]).float().mean() > 0.9


def test_an_aligned_partition_follows_the_concepts():
    """One concept drives the neuron through even coordinates, the other through odd ones, of either sign."""
    means = np.zeros((3, 2, 8))
    sign = np.array([1.0, 1, -1, -1, 1, 1, -1, -1])
    means[0, 0, ::2], means[0, 1, 1::2] = sign[::2], sign[1::2]
    means[1, 0, 1::2], means[1, 1, ::2] = sign[1::2], sign[::2]
    means[2] = np.nan
    own = {"W_in": torch.tensor(np.repeat(sign[:, None], 3, axis=1)), "b_in": torch.zeros(3)}
    child = starts.aligned_children(own, means, torch.Generator().manual_seed(0))
    assert child[:, 0].tolist() == [0, 1] * 4
    assert child[:, 1].tolist() == [1, 0] * 4
    assert child[:, 2].sum() == 4  # at random, half each
    with pytest.raises(ValueError, match=r"expected \(neuron, 2, d\)"):
        starts.aligned_children(own, means[:2], torch.Generator())


# ----------------------------------------------------------------------------------------------------------- the training


def test_the_loss_and_its_gradient_are_those_of_cross_entropy():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(30, 8, generator=draw).requires_grad_()
    other = x.detach().clone().requires_grad_()
    unembed, bias = torch.randn(8, 50, generator=draw), torch.randn(50, generator=draw)
    targets = torch.randint(50, (30,), generator=draw)
    mine = retraining._Nats.apply(x, unembed, bias, targets)
    slow = F.cross_entropy(other @ unembed + bias, targets, reduction="sum")
    (2 * mine).backward()
    (2 * slow).backward()
    torch.testing.assert_close(mine, slow)
    torch.testing.assert_close(x.grad, other.grad)


def test_around_the_mlp_nothing_changes(small):
    """The loss in parts is that of the whole model, before any training."""
    frozen = retraining.Frozen(small)
    mlp = TrainedMLP(weights(small), "gelu", Constraint())
    rows = np.random.default_rng(1).integers(1, 4096, (9, 12))
    whole = small.loss(torch.from_numpy(rows)).mean()
    assert frozen.loss(mlp, rows) == pytest.approx(float(whole), abs=1e-5)


def test_training_lowers_the_loss_and_sparse_keeps_one_in_a_hundred(small, tmp_path):
    recipe = dataclasses.replace(RECIPE, variant="sparse", tokens=4800, kept=0.01)
    text = np.tile(np.arange(1, 8, dtype=np.uint16), 400)
    _, state = retraining.train(dataclasses.replace(recipe, variant="dense"), small, text, tmp_path / "d", autocast=False)
    assert state.losses[-1][1] < 0.7 * state.losses[0][1]
    mlp, _ = retraining.train(recipe, small, text, tmp_path, autocast=False)
    for name in ("W_in", "W_out"):
        matrix = getattr(mlp, name)
        assert int((matrix != 0).sum()) == math.ceil(0.01 * matrix.numel())
    early, _ = retraining.train(recipe, small, text, tmp_path / "early", autocast=False, stop_after=recipe.steps(12) // 4)
    assert (early.W_in != 0).float().mean() == pytest.approx(0.1, abs=0.03)  # half-way, on a logarithmic scale


def test_frozen_input_weights_stay_as_they_were(small, tmp_path):
    recipe = dataclasses.replace(RECIPE, variant="frozen")
    mlp, _ = run(recipe, small, tmp_path)
    first, _ = retraining.start(recipe, small)
    assert torch.equal(mlp.W_in, first["W_in"])
    assert not torch.equal(mlp.W_out, first["W_out"])
    dense, _ = retraining.start(dataclasses.replace(recipe, variant="dense"), small)
    assert torch.equal(dense["W_in"], first["W_in"])  # all fresh variants of a seed start alike


def test_experts_are_the_dense_mlp_behind_gates(small, tmp_path):
    recipe = dataclasses.replace(RECIPE, variant="experts", experts=4, chosen=2)
    mlp, _ = run(recipe, small, tmp_path)
    inputs = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))
    gate = starts.gate_of_neurons(inputs, mlp.router, 2, 64)
    assert ((gate > 0).sum(dim=1) == 32).all()
    torch.testing.assert_close(gate[:, ::16].sum(dim=1), torch.ones(60))
    slow = (F.gelu(inputs @ mlp.W_in + mlp.b_in) * gate) @ mlp.W_out + mlp.b_out
    torch.testing.assert_close(mlp(inputs)[0], slow)
    model = retraining.with_mlp(small, mlp.weights(), "experts", chosen=2)
    rows = np.random.default_rng(1).integers(1, 4096, (5, 12))
    tokens = torch.from_numpy(rows)
    post = model.activations(tokens, [model.neuron_hook(0)])[model.neuron_hook(0)]
    assert (post != 0).float().mean() == pytest.approx(0.5, abs=0.01)
    assert float(model.loss(tokens).mean()) == pytest.approx(retraining.Frozen(small).loss(mlp, rows), abs=1e-5)
    again = model.activations(tokens[:1], [model.neuron_hook(0)])[model.neuron_hook(0)]  # gates of these tokens, not the last
    torch.testing.assert_close(again, post[:1])


def test_the_loss_of_balance_knows_an_even_load(small):
    first, constraint = retraining.start(dataclasses.replace(RECIPE, variant="experts", experts=4, chosen=1), small)
    inputs = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    even = TrainedMLP(first, "gelu", constraint)(inputs)[1].item()
    assert even == pytest.approx(1, abs=0.1)
    inputs[:, 0] = 5.0
    first["router"][0] = torch.tensor([9.0, 0, 0, 0])
    assert TrainedMLP(first, "gelu", constraint)(inputs)[1].item() == pytest.approx(4, abs=0.1)


# -------------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("variant", ["copies", "sparse", "experts"])
def test_a_killed_retraining_goes_on_to_the_bit(small, tmp_path, variant):
    recipe = dataclasses.replace(RECIPE, variant=variant, experts=4, **({"r": 2, "sigma": 0.1} if variant == "copies" else {}))
    whole, state = run(recipe, small, tmp_path / "whole")
    for stop in (3, 4, None):
        part, other = run(recipe, small, tmp_path / "cut", stop_after=stop)
    assert state.step == other.step == recipe.steps(12)
    assert state.losses == other.losses
    for name, value in whole.weights().items():
        assert torch.equal(value, part.weights()[name]), name


def test_kill_9_costs_nothing_that_was_checkpointed(small, tmp_path):
    """A real process, really killed at some step that nobody chose."""
    recipe = dataclasses.replace(RECIPE, tokens=48 * 200, variant="copies", r=2, sigma=0.1)
    state = tmp_path / "base.pt"
    torch.save(dict(small.hooked.named_parameters()), state)
    folder = tmp_path / "killed"
    code = (
        "import dataclasses, numpy as np, torch\n"
        "from superscope import lms\n"
        "from superscope.lms.model.language_model import untrained\n"
        "from superscope.lms.model.transformer import Shape\n"
        "from superscope.lms.zoo import retraining\n"
        "torch.set_num_threads(1)\n"
        f"base = untrained(Shape(**{dataclasses.asdict(SMALL)!r}), lms.load('gelu-1l-mini').tokenizer, seed=1)\n"
        f"base.hooked.load_state_dict(torch.load({str(state)!r}, weights_only=True), strict=False)\n"
        "tokens = np.random.default_rng(0).integers(1, 4096, 3000).astype(np.uint16)\n"
        f"recipe = retraining.Retraining(**{dataclasses.asdict(recipe)!r})\n"
        f"retraining.train(recipe, base, tokens, {str(folder)!r}, autocast=False, every_seconds=0.0)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not (folder / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    process.kill()
    assert process.wait() in (-signal.SIGKILL, 0)
    torch.set_num_threads(1)
    part, _ = run(recipe, small, folder)
    whole, _ = run(recipe, small, tmp_path / "whole")
    for name, value in whole.weights().items():
        assert torch.equal(value, part.weights()[name]), name


def test_a_folder_never_goes_on_with_something_else(small, tmp_path):
    run(RECIPE, small, tmp_path, stop_after=2)
    with pytest.raises(ModelError, match="another retraining"):
        run(dataclasses.replace(RECIPE, lr=1e-4), small, tmp_path)
    with pytest.raises(ModelError, match="another retraining"):
        run(RECIPE, small, tmp_path, data="other text")
    file = tmp_path / "checkpoint.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        run(RECIPE, small, tmp_path)


@pytest.mark.parametrize("wrong", [
    {"variant": "wider"}, {"variant": "copies"}, {"r": 2}, {"variant": "aligned", "r": 3}, {"sigma": 0.1},
    {"variant": "copies", "r": 2, "sigma": -1.0}, {"kept": 0.0}, {"chosen": 26}, {"tokens": 0}, {"lr": 2.0},
], ids=str)  # fmt: skip
def test_recipes_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ModelError) as said:
        dataclasses.replace(RECIPE, **wrong)
    assert "\n" not in str(said.value)


def test_bases_that_cannot_be_retrained_are_refused(small, tmp_path):
    for name in ("gelu-2l-mini", "attn-only-2l-mini", "solu-1l-mini"):
        with pytest.raises(ModelError, match="one-layer model"):
            retraining.start(RECIPE, lms.load(name))
    with pytest.raises(ModelError, match="evenly"):
        retraining.start(dataclasses.replace(RECIPE, variant="experts", experts=7), small)
    with pytest.raises(ModelError, match="mean inputs"):
        retraining.start(dataclasses.replace(RECIPE, variant="aligned", r=2), small)
    with pytest.raises(CorpusError, match="fewer than one batch"):
        retraining.train(RECIPE, small, TOKENS[:20], tmp_path)


# ------------------------------------------------------------------------------------------------------------- the bundle


@pytest.mark.parametrize("variant", ["copies", "random", "sparse", "frozen"])
def test_a_bundle_is_read_as_it_was_written(bundled, tmp_path, variant):
    settings = {"copies": {"r": 2, "sigma": 0.1}, "random": {"r": 2}, "sparse": {}, "frozen": {}}[variant]
    recipe = Retraining(bundled.name, variant, tokens=256, rows=1, **settings)
    tokens = np.random.default_rng(0).integers(1, 4096, 3000).astype(np.uint16)
    mlp, state = retraining.train(recipe, bundled, tokens, tmp_path / "t", autocast=False)
    text = lms.corpus.sample(bundled.tokenizer, limit_documents=2)
    facts = retraining.bundle("x/y", recipe, bundled, mlp, state, text, "", None, tmp_path)
    read = retraining.load("x/y", tmp_path)
    assert read.card["loss"] == facts["loss"]
    for name, value in weights(read).items():
        torch.testing.assert_close(value, mlp.weights()[name], rtol=2e-3, atol=1e-6)
    rows = text.rows(256, limit=retraining.ROWS, seed=3).tokens[:2]
    trained = retraining.Frozen(bundled).loss(mlp, rows)
    assert float(read.loss(lms.rows_to_tensor(rows)).mean()) == pytest.approx(trained, abs=2e-3)
    file = tmp_path / "x" / "y" / "model.safetensors"
    assert file.stat().st_size < {"copies": 540e3, "random": 420e3, "sparse": 40e3, "frozen": 140e3}[variant]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        retraining.load("x/y", tmp_path)


def test_packed_matrices_come_back():
    draw = torch.Generator().manual_seed(0)
    matrix = torch.randn(7, 13, generator=draw).half().float()
    sparse = matrix * (torch.rand(7, 13, generator=draw) < 0.1)
    back = retraining._unpacked(retraining._packed({"W_in": sparse, "W_out": matrix, "b_in": torch.zeros(13)}))
    assert torch.equal(back["W_in"], sparse)
    assert torch.equal(back["W_out"], matrix)
    assert torch.equal(back["b_in"], torch.zeros(13))


def test_many_copies_are_kept_as_differences(small):
    first, _ = retraining.start(dataclasses.replace(RECIPE, variant="copies", r=10, sigma=0.1), small)
    packed = retraining._packed(first, 10)
    back = retraining._unpacked(packed)
    assert set(back) == set(first)
    for name in ("W_in", "W_out"):
        size = first[name].square().mean(dim=0 if name == "W_in" else 1, keepdim=True).sqrt()
        assert ((back[name] - first[name]).abs() < 5e-3 * size).all(), name
    stored, plain = (sum(v.numel() * v.element_size() for v in some.values()) for some in (packed, first))
    assert stored < 0.4 * plain  # float32


def test_what_is_bundled_is_small_known_and_no_model_of_its_own():
    names = retraining.bundled()
    assert set(names) <= set(retraining.RETRAINED)
    assert not [name for name in shelf.bundled() if "retrained" in name]
    files = list((shelf.models_folder() / retraining.FOLDER).rglob("*"))
    assert sum(file.stat().st_size for file in files if file.is_file()) < 25e6
    for name in names:
        facts = retraining.card(name)
        recipe = dataclasses.asdict(retraining.RETRAINED[name])
        assert facts["recipe"] == recipe | {"betas": list(recipe["betas"])}
        assert facts["base_sha256"] == lms.load(recipe["base"]).card["sha256"]


def test_a_name_that_is_not_there_says_how_it_is_made():
    with pytest.raises(ModelError, match=r"superscope zoo --train retrained/gelu-1l-mini/unwidened --corpus FOLDER"):
        retraining.load("gelu-1l-mini/unwidened", lms.shelf.models_folder() / "nowhere")
    with pytest.raises(ModelError, match="RETRAINED"):
        retraining.load("nobody/nothing")


def test_one_command_makes_one(bundled, tmp_path, monkeypatch, capsys):
    """`superscope zoo --train retrained/...` from end to end; the second call finds it done."""
    from superscope.cli.models import zoo
    from superscope.cli.options import Zoo
    from superscope.errors import UserError
    from superscope.lms import corpus

    with pytest.raises(UserError, match="no retrained model 'nobody'"):
        zoo(Zoo(train="retrained/nobody"))
    name = "gelu-1l-mini/unwidened"
    with pytest.raises(UserError, match="--corpus FOLDER"):
        zoo(Zoo(train=f"retrained/{name}"))
    notes = tmp_path / "notes"
    notes.mkdir()
    for k in range(80):
        (notes / f"{k:03d}.txt").write_text(f"Note {k}. " + " ".join(f"word{k * 7 + j}" for j in range(150)))
    corpus.build(tmp_path / "corpus", tmp_path / "cache", [f"{notes}:notes"])
    monkeypatch.setitem(retraining.RETRAINED, name, dataclasses.replace(retraining.RETRAINED[name], tokens=512, rows=1))
    monkeypatch.setattr(retraining, "ROWS", 2)
    for _ in range(2):
        assert zoo(Zoo(train=f"retrained/{name}", corpus=tmp_path / "corpus", out=tmp_path / "out")) == 0
        assert "retraining.load('gelu-1l-mini/unwidened'" in capsys.readouterr().out
    model = retraining.load(name, tmp_path / "out" / "retrained")
    assert model.card["tokens"] == 512
    assert not torch.equal(weights(model)["W_in"], weights(bundled)["W_in"])
