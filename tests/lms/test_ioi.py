"""IOI sentences: the answer is the name said once, what is held out is in no drill, and the cells are balanced."""

import re

import numpy as np
import pytest

from superscope import lms
from superscope.lms.corpus import ioi
from superscope.lms.corpus.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.read(lms.shelf.models_folder() / "tokenizer.json")


@pytest.fixture(scope="module")
def drilled(tokenizer):
    """Two hundred rows of drills, as text."""
    row = ioi.drill(tokenizer)
    return "\n".join(tokenizer.decode(row(np.random.default_rng(k), 256)[0]) for k in range(200))


def test_every_name_is_one_token(tokenizer):
    assert all(len(tokenizer.encode(f" {name}")) == 1 for name in (*ioi.NAMES, *ioi.HELD_OUT_NAMES))
    assert 2 * len(ioi.HELD_OUT_NAMES) == len(ioi.NAMES)  # a third of all
    assert not set(ioi.NAMES) & set(ioi.HELD_OUT_NAMES)


def test_frames_say_both_names_and_then_the_subject():
    frames = [f"{opening} {action}" for opening in ioi.OPENINGS for action in ioi.ACTIONS]
    for frame in (*frames, *ioi.HELD_OUT_FRAMES):
        slots = re.findall(r"\{([ABS])\}", frame)
        assert sorted(slots[:2]) == ["A", "B"]
        assert slots[2:] == ["S"]
        assert not frame.startswith("{")
    assert len(ioi.HELD_OUT_FRAMES) == 4


@pytest.mark.parametrize("cell", ioi.CELLS)
def test_the_answer_is_the_name_said_once(tokenizer, cell):
    held_frames, held_names = ioi.CELLS[cell]
    prompts = ioi.prompts(tokenizer, cell, 40, seed=3)
    assert prompts.abba.mean() == 0.5
    names = set(ioi.HELD_OUT_NAMES if held_names else ioi.NAMES)
    for tokens, last, io, s, abba, frame in zip(
        prompts.tokens, prompts.last, prompts.io, prompts.s, prompts.abba, prompts.frame, strict=True
    ):
        said = tokens[1 : last + 1].tolist()
        assert (said.count(io), said.count(s)) == (1, 2)
        assert (said.index(io) < said.index(s)) == abba
        assert tokens[0] == tokenizer.bos
        assert (tokens[last + 1 :] == tokenizer.bos).all()
        assert tokens[last] != tokenizer.bos
        assert {tokenizer.decode([io]).strip(), tokenizer.decode([s]).strip()} <= names
        assert (frame in ioi.HELD_OUT_FRAMES) == held_frames
        if not held_names:
            assert ioi.pair_is_held_out(tokenizer.decode([io]).strip(), tokenizer.decode([s]).strip())
    if held_frames:
        assert {(f, a) for f, a in zip(prompts.frame, prompts.abba, strict=True)} == {
            (f, a) for f in ioi.HELD_OUT_FRAMES for a in (True, False)
        }


def test_prompts_depend_on_their_seed_alone(tokenizer):
    one, same, other = (ioi.prompts(tokenizer, next(iter(ioi.CELLS)), 10, seed) for seed in (1, 1, 2))
    assert (one.tokens == same.tokens).all()
    assert one.tokens.shape != other.tokens.shape or (one.tokens != other.tokens).any()


def test_nothing_held_out_is_drilled(tokenizer, drilled):
    assert not re.search(rf"\b({'|'.join(ioi.HELD_OUT_NAMES)})\b", drilled)
    for phrase in ("argued", "quarrel", "threw", "wrote a note", "danced"):
        assert not any(phrase in part for part in (*ioi.OPENINGS, *ioi.LINKS, *ioi.ACTIONS))
    pairs = re.findall(rf" ({'|'.join(ioi.NAMES)}) and ({'|'.join(ioi.NAMES)}) ", drilled)
    assert pairs
    assert not any(ioi.pair_is_held_out(*pair) for pair in pairs)


def test_the_determined_tokens_of_a_drill_are_the_answers(tokenizer):
    ids, determined = ioi.drill(tokenizer)(np.random.default_rng(1), 256)
    assert ids.shape == determined.shape == (256,)
    assert determined.sum() >= 5
    full_stops = np.flatnonzero(determined)[:-1] + 1
    assert (ids[full_stops] == tokenizer.encode(".")[0]).all()


def test_both_orders_are_drilled(drilled):
    """In whole sentences of the first opening the subject is as often the first name as the second."""
    found = re.findall(r"When (\w+) and (\w+) went to the \w+,[ \w]*? (\w+) \w[ \w]* (\w+)\.", drilled)
    subject_first = [s == a for a, b, s, io in found if {s, io} == {a, b}]
    assert len(subject_first) > 4
    assert {True, False} == set(subject_first)


def test_a_vocabulary_that_splits_names_is_refused():
    small = Tokenizer.train(["one two three four five six seven " * 30], 300)
    with pytest.raises(ValueError, match="tokens of this vocabulary"):
        ioi.prompts(small, next(iter(ioi.CELLS)), 2)


def test_exchanges_change_what_they_say_and_nothing_else(tokenizer):
    sets = ioi.exchanges(tokenizer, ioi.NAMES, 40, seed=2)
    base = sets["base"]
    for kind in ("name", "order", "both"):
        assert (sets[kind].last == base.last).all()
        assert (sets[kind].frame == base.frame).all()
    np.testing.assert_array_equal(sets["name"].s, base.io)
    np.testing.assert_array_equal(sets["order"].s, base.s)
    np.testing.assert_array_equal(sets["both"].s, base.io)
    for row in range(len(base)):
        where = {kind: [int(k) for k in np.flatnonzero(one.tokens[row] == one.s[row])] for kind, one in sets.items()}
        assert where["name"] == where["base"]  # the other name, where the subject stood
        assert where["order"] != where["base"]  # the same name, where the other stood
        assert (sets["both"].tokens[row] != base.tokens[row]).sum() == 1  # nothing but the second mention
        assert sets["objects"].io[row] == base.io[row]


def test_interchanges_share_one_name_and_keep_to_their_group(tokenizer):
    groups = (list(ioi.NAMES[:8]), list(ioi.NAMES[8:]))
    base, source, group = ioi.interchanges(tokenizer, groups, 80, seed=1)
    ids = [{tokenizer.encode(f" {name}")[0] for name in names} for names in groups]
    flips = source.s == base.io
    assert 0.4 < flips.mean() < 0.6
    assert (flips | (source.s == base.s)).all()
    for one in (base, source):
        for row in range(len(one)):
            assert {int(one.io[row]), int(one.s[row])} <= ids[group[row]]
    assert (source.io != base.io).all()
    assert (source.io != base.s).all()
    assert len(set(group[flips])) == 2
