"""Labels by context, by hand and on the sample; documents dealt so that every part gets of every genre."""

from types import SimpleNamespace

import numpy as np
import pytest

from superscope import lms
from superscope.measure.activations import labelled


@pytest.fixture(scope="module")
def split():
    return lms.corpus.sample(lms.load("gelu-1l-mini").tokenizer)


def by_hand(text: list[str], document: list[int]) -> SimpleNamespace:
    names = sorted(set(text))
    return SimpleNamespace(
        tokens=np.array([names.index(one) for one in text]), document=np.array(document),
        tokenizer=SimpleNamespace(pieces=names),
    )  # fmt: skip


def test_enclosed_by_hand():
    text = ["a", " (", "b", "(c", "d", ")", "e", ")", "f", "(", "\n", "g", "(", "h"]
    one = by_hand([*text, "i"], [0] * 14 + [1])
    inside = labelled.enclosed(one, "(", ")")
    assert [piece for piece, here in zip([*text, "i"], inside, strict=True) if here] == ["b", "d", "e", "h"]
    quoted = by_hand(["x", '"', "y", " z", '"', "w", '"', "\n", "v"], [0] * 9)
    assert labelled.enclosed(quoted, '"', '"').tolist() == [False, False, True, True, False, False, False, False, False]


def test_a_pair_is_one_token(split):
    known = labelled.by_context(split)
    assert set(known) == {"base64", "brackets", "quotes"}
    for name, (on, off, key) in known.items():
        assert not (on & off).any()
        assert np.isin(key[on], key[off]).mean() > 0.5, name
        same = key if name == "base64" else key // len(split.genres)
        assert (same == split.tokens).all()


def test_dealt_gives_every_part_of_every_genre(split):
    part = labelled.dealt(split, (0, 2, 1, 0, 2), np.random.default_rng(0))
    for genre, rows in split.documents.groupby("genre").groups.items():
        if len(rows) >= 5:
            assert set(part[rows]) == {0, 1, 2}, genre
    assert np.bincount(part) / len(part) == pytest.approx([0.4, 0.2, 0.4], abs=0.01)


def test_groups_are_as_large_and_keep_a_genre_together():
    genre = np.repeat([3, 5, 7, 9], [50, 30, 15, 10])
    side = labelled.groups(genre)
    assert abs(side.sum() - (1 - side).sum()) <= 10
    assert all(len(set(side[genre == one])) == 1 for one in (3, 5, 7, 9))


def test_rows_of_given_documents(split):
    first = np.arange(len(split.documents)) % 2 == 0
    known = labelled.by_context(split)
    rows, inside = labelled.rows_with(split, 256, known, 2, 1, np.random.default_rng(0), first)
    place = rows.place[:, 1:].ravel()
    assert (inside == first[split.document[place]]).all()
    assert all(on[place].any() for on, *_ in known.values())
    usable, following = labelled.followed(rows, split.tokenizer.bos)
    i = int(np.flatnonzero(usable)[7])
    assert following[i] == split.tokens[place[i] + 1]
