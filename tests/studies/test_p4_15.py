"""4.15: built heads do what they are built for, attention and its rounding against slow twins, a small run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.studies import p4_15_attention_superposition as study
from superscope.toys import latin_square

SMALL = study.Config(q=8, contexts=40)


def bags(q, count, seed, second=False):
    rng = np.random.default_rng(seed)
    source, destination, other = (rng.integers(0, q, (1, count)) for _ in range(3))
    return latin_square.bags(source, destination, q, rng, other if second else None)


@pytest.mark.parametrize("second", [False, True])
def test_attention_is_a_softmax_over_the_tokens_of_the_sequence(second):
    """Against a twin that writes the sequence out token by token."""
    q, x = 5, bags(5, 30, 0, second)
    model = latin_square.train(q, 3, [4], 0, 0.1, 8)
    got = model.logits(x)[0]
    for p in range(30):
        a, b, other = (int(one[0, p]) for one in (x.source, x.destination, x.second))
        fillers = np.repeat(np.arange(latin_square.FILLERS), x.fillers[0, p].int().numpy())
        tokens = [*fillers, latin_square.FILLERS + a, *([latin_square.FILLERS + other] if second else [])]
        assert len(tokens) + 1 == latin_square.LENGTH
        said = model.bias[0].clone()
        for h in range(3):
            weight = torch.softmax(torch.stack([*(model.scores[0, h, b, t] for t in tokens), model.scores[0, h, b, -1]]), 0)
            values = [*(model.values[0, h, t] for t in tokens), model.values[0, h, latin_square.FILLERS + q + b]]
            said = said + sum(w * v for w, v in zip(weight, values, strict=True))
        assert got[p] == pytest.approx(said.numpy(), abs=1e-5)
        assert int(x.output[0, p]) == (a + b) % q


def test_built_heads_do_what_they_are_built_for():
    for heads in (1, 2, 3):
        found = study.examine(latin_square.permutations(8, heads), SMALL, 0)
        assert found["per head"] == [1]
        assert found["not alone"] == [0]
        assert found["lost by rounding"] == [0]
        assert found["neither"] == [0]
    found = study.examine(latin_square.circle_code(8, 0.05, 1), SMALL, 0)
    assert found["share"][0] > 0.95
    assert found["not alone"][0] > 0.4  # outputs on an axis of the circle need one head alone
    assert found["lost by rounding"][0] > 0.4
    assert found["neither"][0] > 0.3


def test_a_shared_switch_is_no_number():
    """An adversarial null: noise in values and in the odds of switches, which rounding must not lose."""
    model = latin_square.permutations(8, 2)
    generator = torch.Generator().manual_seed(0)
    model.scores = model.scores + torch.randn(model.scores.shape, generator=generator)
    model.values = model.values + 0.2 * torch.randn(model.values.shape, generator=generator)
    found = study.examine(model, SMALL, 0)
    assert found["per head"][0] > 0.8
    assert found["lost by rounding"][0] < 0.1
    assert found["not alone"][0] < 0.2


def test_rounding_finds_the_two_levels():
    rng = np.random.default_rng(0)
    level = rng.random((2, 200, 3)) < 0.3
    attention = torch.tensor(np.where(level, 0.8, 0.1) + 0.02 * rng.standard_normal(level.shape), dtype=torch.float32)
    rounded = study.two_levels(attention)
    assert (rounded - torch.tensor(np.where(level, 0.8, 0.1))).abs().max() < 0.01
    for h in range(3):  # the slow twin: try every split
        values = np.sort(attention[0, :, h].numpy())
        costs = [values[:k].var() * k + values[k:].var() * (200 - k) for k in range(1, 200)]
        best = 1 + int(np.argmin(costs))
        assert set(np.round(rounded[0, :, h].unique().numpy(), 4)) == set(
            np.round(np.float32([values[:best].mean(), values[best:].mean()]), 4)
        )


def test_uniform_attention_cannot_do_a_latin_square():
    model = latin_square.train(5, 2, [0, 1], 150, 0.05, 64, uniform=True)
    assert max(study.examine(model, SMALL, 0)["share"]) <= 0.25
    x = bags(5, 10, 0)
    assert model.only(slice(1)).attention(x)[0].isfinite().all()


def test_a_small_run(tmp_path):
    tiny = {"q": 5, "seeds": 5, "steps": 250, "points": 64, "contexts": 20, "curve": ((4, 2),)}
    found = studies.get("4.15").run(out=tmp_path, **tiny)
    by = {claim.id: claim for claim in found.claims}
    assert by["more-than-heads"].estimate.value > 1.5
    for claim in found.claims:
        assert claim.null.estimate.against(claim.rule) != "inside", claim.id
    assert by["more-than-heads"].plant.estimate.against(by["more-than-heads"].rule) == "inside"
    assert len(found.answer.split()) <= 30
    assert set(found.tables) == {"arms", "controls", "curve"}


def test_untrained_heads_fail_the_gate(tmp_path):
    found = studies.get("4.15").run(out=tmp_path, q=5, seeds=5, steps=0, contexts=10, curve=((4, 1),))
    assert found.verdict == "gate failed"
