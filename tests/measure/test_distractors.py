"""Distractors: the ledger adds up to what the model says, planted thresholds, linear carriers and answers are told apart."""

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.measure.activations import distractors, lookups
from superscope.measure.activations.distractors import ALONE, ROWS, SIGNAL, TOGETHER


@pytest.fixture(scope="module")
def world():
    """A model, a readout of four neurons for some weights, and the parts of four sets of tokens."""
    model = lms.load("gelu-1l-mini")
    rows = lms.corpus.sample(model.tokenizer).rows(model.n_ctx, limit=6, seed=0)
    parts = lookups.read(model, rows)
    weights = np.zeros(model.hooked.cfg.d_vocab)
    weights[[40, 41]], weights[[50, 51, 52]] = 0.5, -1 / 3
    read = distractors.readout(model, weights, np.array([3, 14, 15, 92]), parts.stream())
    numbers = np.array_split(np.random.default_rng(0).permutation(len(parts.token)), 4)
    return model, read, weights, [parts.at(some) for some in numbers]


def test_the_ledger_adds_up_to_the_model(world):
    model, read, weights, parts = world
    cells = [distractors.cell(read, one) for one in parts]
    kept = distractors.ledger(cells, read.up)
    block = model.hooked.blocks[0]

    def said(one):  # all behind the stream, without the tool
        with torch.inference_mode():
            final = one.stream() + block.mlp(block.ln2(one.stream()[:, None]))[:, 0]
            logits = model.hooked.ln_final(final[:, None])[:, 0] @ model.hooked.W_U + model.hooked.b_U
        return float((logits @ torch.from_numpy(weights).float()).mean()), logits.softmax(dim=-1)

    for column, low, high in ((SIGNAL, 0, 1), (ALONE, 0, 2), (TOGETHER, 1, 3)):
        wanted = said(parts[high])[0] - said(parts[low])[0]
        assert kept[column]["total"] == pytest.approx(wanted, abs=1e-3)
        assert sum(kept[column][row] for row in ROWS) == pytest.approx(kept[column]["total"])
    assert cells[0].mass.mean() == pytest.approx(float(said(parts[0])[1][:, [40, 41]].sum(dim=1).mean()), rel=1e-4)


def test_the_distractors_change_is_added(world):
    *_, (one, two, three, _) = world
    both = distractors.added(one, two, three)
    moved = both.stream().mean(dim=0) - one.stream().mean(dim=0)
    torch.testing.assert_close(moved, two.stream().mean(dim=0) - three.stream().mean(dim=0), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_planted_interference_is_told_apart(world, seed):
    model, read, _, parts = world
    rng = np.random.default_rng([seed, 1])
    shift = [torch.from_numpy(rng.normal(size=128).astype(np.float32)) for _ in range(2)]
    heard = [lookups.heard(model, one.stream()) for one in parts]
    heard[1], heard[2], heard[3] = heard[1] + shift[0], heard[2] + shift[1], heard[3] + shift[0] + shift[1]
    cells, up = [distractors.cell(read, one) for one in parts], np.random.default_rng(seed).normal(size=4)

    def summary(threshold, answered):
        made = distractors.plant(cells, heard, up, threshold, answered, np.random.default_rng(seed))
        return distractors.summary([distractors.ledger(made, np.abs(up))])

    shut, straight, taken_back = summary(3.0, 0.0), summary(-2.0, 0.0), summary(-2.0, 0.85)
    assert shut["passes"] < 0.5
    assert shut["alone"] < 0.4
    assert straight["passes"] == pytest.approx(1, abs=0.15)
    assert straight["alone"] == pytest.approx(1, abs=0.2)
    assert straight["error"] == pytest.approx(0.6, abs=0.1)
    assert taken_back["changed"] < 0.2 < straight["changed"]


def test_ablations(world):
    _, read, _, parts = world
    plain = distractors.cell(read, parts[0])
    linear = distractors.cell(read, parts[1], distractors.straightened(read, plain))
    gap = distractors.between(plain, linear, read.up)
    assert gap["carriers"] == pytest.approx(gap[distractors.LINEAR], abs=1e-4)
    means = torch.zeros(512)
    gone = distractors.cell(read, parts[0], distractors.silenced(read.carriers, means))
    assert np.abs(gone.post).max() == 0
    assert distractors.summary([]) == {}
