"""K-composition: messages planted by hand in a trained model are found; changes to the keys are path patching."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms.model import attention
from superscope.measure.activations import composition, heads, subspaces
from superscope.measure.activations.paths import Head, Paths
from superscope.measure.weights import circuits


@pytest.fixture(scope="module")
def path():
    model = lms.load("attn-only-2l-mini")
    tokens = attention.repeated_tokens(model.hooked.cfg.d_vocab, 30, 8, 0, model.tokenizer.bos)
    before = composition.previous_token_scores(model, tokens)
    sender = int(before[0].argmax())
    assert before[0, sender] > 0.9
    layer, which = heads.induction_layer(heads.prefix_scores(model, tokens, 30), 0.3)
    return composition.KeyPath(model, tokens, 30, Head(0, sender), layer, tuple(which))


@pytest.fixture(scope="module")
def inputs(path):
    return [heads.token_inputs(path.model, layer, 1, 0)[0] for layer in (0, path.layer)]


def test_attention_is_the_models_own_and_silence_is_path_patching(path):
    """Slow twin: `Paths` with the sender's mean, heard by the keys alone (its mean counts BOS; so both are given one)."""
    model, which = path.model, list(path.receivers)
    hook = f"blocks.{path.layer}.attn.hook_pattern"
    real = model.activations(path.tokens, [hook])[hook][:, which]
    torch.testing.assert_close(path.pattern(), real, atol=1e-6, rtol=0)
    twin = Paths(model, path.tokens)
    change = twin.change([path.sender])[path.sender]
    patched = twin.patched(path.sender, [Head(path.layer, h, "k") for h in which], [hook])[hook][:, which]
    torch.testing.assert_close(path.pattern(change), patched, atol=1e-5, rtol=0)


def test_all_of_it_keeps_all_and_nothing_nothing(path, inputs):
    circuit = composition.circuit_between(path.model, path.sender, path.layer, list(path.receivers), *inputs)
    r, d = circuit.output.shape
    assert path.worth > 0.9
    assert path.kept(circuit.keep(r)) == pytest.approx(1, abs=1e-3)
    assert path.kept(np.eye(d)) == pytest.approx(1)
    assert path.kept(np.zeros((d, d))) == pytest.approx(0, abs=1e-5)
    assert path.kept_gain(np.zeros((d, d))) == pytest.approx(0, abs=1e-4)
    assert path.kept_gain(circuit.keep(r)) == pytest.approx(1, abs=1e-3)
    frame = circuit.frame(5)
    np.testing.assert_allclose(frame @ frame.T, np.eye(5), atol=1e-10)
    written = circuit.codes @ circuit.output @ circuit.keep(5)
    np.testing.assert_allclose(written @ frame.T @ frame, written, atol=1e-8)  # what is kept lies in the frame


def test_keep_truncates_the_circuit_to_its_best_approximation(path, inputs):
    circuit = composition.circuit_between(path.model, path.sender, path.layer, list(path.receivers), *inputs)
    left = np.linalg.pinv(circuit.output)
    kept = circuit.codes @ circuit.output @ circuit.keep(6) @ left  # (token, r)
    centred = np.concatenate(list(circuit.heard - circuit.heard.mean(axis=2, keepdims=True)), axis=1)
    codes, readout = circuit.svd.factors(6)
    sample = np.random.default_rng(0).integers(0, centred.shape[1], 50)
    np.testing.assert_allclose((kept @ centred)[:, sample], (codes @ readout)[:, sample], atol=1e-6)


@pytest.mark.parametrize("rank", [4, 8, 16])
def test_the_rank_of_a_planted_message_is_found_by_patching(path, inputs, rank):
    model = composition.planted_message(path, *inputs, rank, np.random.default_rng(rank))
    hand = replace(path, model=model)
    circuit = composition.circuit_between(model, path.sender, path.layer, list(path.receivers), *inputs)
    assert abs(hand.directions_for(circuit, 0.9) - rank) <= max(1, rank // 8)  # gains 1 to .4: the weakest hardly count
    assert circuits.gap_rank(circuit.svd.values).rank == rank
    rng = np.random.default_rng(0)
    elsewhere = [subspaces.random_basis(rank, 128, int(s)) for s in rng.integers(2**31, size=6)]
    assert np.mean([hand.kept(b.T @ b) for b in elsewhere]) < 0.3
    assert path.model.hooked.W_K is not model.hooked.W_K


def test_gains_that_differ_a_hundredfold_count_by_what_the_queries_do_with_them(path, inputs):
    """The weakest of eight directions are read so much more strongly that all count alike: loudness is not use."""
    model = composition.planted_message(path, *inputs, 8, np.random.default_rng(1), noise=0.01)
    scale = np.ones(32)
    scale[:8] = np.geomspace(1, 0.01, 8)
    quiet = composition.edited(model, 0, path.sender.head, W_O=lambda w: scale[:, None] * w)
    for head in path.receivers:  # keys read along the planted directions, column by column
        quiet = composition.edited(quiet, path.layer, head, W_K=lambda w: w / scale)
    circuit = composition.circuit_between(quiet, path.sender, path.layer, list(path.receivers), *inputs)
    codes = circuit.codes @ circuit.output
    assert subspaces.components_for(codes, 0.9) <= 4  # what is loud is few
    assert circuits.rank_for(circuit.svd.values, 0.99) >= 7  # what is used is not


def test_write_space_is_what_attention_writes(path):
    text = lms.corpus.sample(path.model.tokenizer).rows(256, limit=3, seed=0).tokens
    space = composition.write_space(path.model, text, path.layer)
    np.testing.assert_allclose(space @ space.T, np.eye(len(space)), atol=1e-8)
    assert 30 < len(space) < 110
    there = replace(path, tokens=lms.rows_to_tensor(text))
    rows = there.written(path.sender.head)[:, 1:].flatten(0, 1).double().numpy()
    rows = rows - rows.mean(axis=1, keepdims=True)
    assert subspaces.energy_share(rows, space) > 0.95


def test_a_sender_nobody_hears_is_worth_nothing(path):
    deaf = path.model
    for head in path.receivers:
        deaf = composition.edited(deaf, path.layer, head, W_K=lambda w: 0 * w)
    silent = replace(path, model=deaf)
    assert silent.worth == pytest.approx(0, abs=1e-6)
    assert np.isnan(silent.kept(np.eye(128)))


def test_tokens_planted_to_be_mistaken_are_found_and_attended_to(path, inputs):
    """Nothing keeps embeddings out of the sixteen directions of a message written by hand."""
    model = composition.planted_message(path, *inputs, 16, np.random.default_rng(2))
    circuit = composition.circuit_between(model, path.sender, path.layer, list(path.receivers), *inputs)
    asks = np.arange(100, 400)
    keys = composition.mistaken_for(model, path.layer, list(path.receivers), circuit.frame(16), inputs[1], asks)
    assert (keys != asks).all()
    own, other = (
        composition.attention_between(model, path.layer, list(path.receivers), asks, one, 30, 0)
        for one in (keys, np.roll(keys, 1))
    )
    assert own > 2 * other
