"""4.15: no accidental trigrams, naive counts with closed forms, hand-built heads, the two-head trick, a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.studies.p4_15_attention_superposition.measures import look
from superscope.toys import skip_trigrams as trigrams

TINY = {
    "trigrams": 12,
    "common": 6,
    "curve": ((2, 1),),
    "steps": 15,
    "points": 8,
    "contexts": 8,
    "curve_seeds": 5,
    "wide_seeds": 5,
    "seeds": 5,
}
FAMILIES = ("copy", "incoherent", "common", "pair")


@pytest.mark.parametrize("family", FAMILIES)
def test_no_accidental_trigrams(family: str):
    task, rng = trigrams.make_task(family, 20, 0), np.random.default_rng(0)
    t = rng.integers(0, 20, 3000)
    extra = trigrams.foreign(task, rng, t)
    for present in (True, False):
        x = trigrams.sequences(task, rng, t, np.full(3000, present), extra)
        done = np.array([
            (x[:, -1] == task.destination[u]) & (x == task.source[u, 0]).any(1)
            & ((task.source[u, 1] < 0) | (x == task.source[u, 1]).any(1)) for u in range(20)
        ])  # fmt: skip
        assert (done.sum(0) == present).all()
        assert done[t, np.arange(3000)].all() == present


def test_naive_counts():
    incoherent, copy = trigrams.make_task("incoherent", 40, 1), trigrams.make_task("copy", 40, 1)
    degree = np.bincount(incoherent.source[:, 0])
    assert trigrams.naive_count(incoherent, 2, None)[0] == np.minimum(degree, 2).sum()  # two outputs per source, any rank
    assert trigrams.naive_count(incoherent, 2, 4)[0] == 8
    assert trigrams.naive_count(copy, 2, 4)[0] == np.sort(np.bincount(copy.source[:, 0]))[-8:].sum()
    assert trigrams.naive_count(copy, 1, None)[0] == 40
    assert trigrams.naive_count(trigrams.make_task("common", 9, 1), 2, 4)[0] == 2
    assert trigrams.naive_count(trigrams.make_task("pair", 9, 1), 2, 4)[0] == 8


def test_hand_built_heads_do_what_the_count_says_and_are_monosemantic():
    for family in ("copy", "incoherent"):
        task = trigrams.make_task(family, 24, 2)
        found = look(trigrams.hand_built(task, 2, 4), task, 64, 0)
        assert found["learned"] == trigrams.naive_count(task, 2, 4)[0]
        assert found["spread"] < 1.1
        assert found["alone"] == 1
        assert found["trick"] == 0
    pair = trigrams.make_task("pair", 24, 2)
    found = look(trigrams.hand_built(pair, 4, 1), pair, 64, 0)
    assert found["learned"] == 4
    assert found["spread"] < 1.1


def test_the_two_head_trick_is_detected_and_is_no_naive_solution():
    task = trigrams.make_task("common", 4, 3)
    found = look(trigrams.two_head_trick(task, 4), task, 64, 0)
    assert found["learned"] == 4 > trigrams.naive_count(task, 2, 4)[0]
    assert found["trick"] == 1
    assert found["plain"] == 0


def test_null_random_heads_learn_nothing():
    task = trigrams.make_task("incoherent", 24, 4)
    model = trigrams.train([task], [0], 2, 4, [False], 0, 1e-2, 4)
    assert look(model, task, 32, 0)["learned"] == 0


def test_fast_attention_equals_its_slow_twin():
    task = trigrams.make_task("copy", 12, 6)
    model = trigrams.train([task, task], [0, 1], 2, 3, [False, False], 0, 1e-2, 4)
    x, _ = trigrams.batch(task, np.random.default_rng(1), 5)
    fast = model.logits(torch.from_numpy(np.stack([x, x])))
    for net in range(2):
        for row, tokens in enumerate(x):
            slow = model.bias[net, 0].clone()
            for h in range(2):
                own = slice(3 * h, 3 * h + 3)
                scores = model.key[net, tokens, own] @ model.query[net, tokens[-1], own]
                slow += torch.softmax(scores, 0) @ model.value[net, tokens, own] @ model.out[net, h]
            assert torch.allclose(fast[net, row], slow, atol=1e-5)


def test_uniform_attention_ignores_queries():
    task = trigrams.make_task("incoherent", 8, 5)
    model = trigrams.train([task], [0], 2, 4, [True], 0, 1e-2, 4)
    attention, _ = model.read(torch.zeros(1, 3, trigrams.LENGTH, dtype=torch.long))
    assert torch.allclose(attention, torch.full_like(attention, 1 / trigrams.LENGTH))


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.15").run(out=tmp_path, quiet=True, **TINY)
    assert not found.gate.passed
    assert {c.verdict for c in found.claims} == {"gate failed"}
