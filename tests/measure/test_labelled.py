"""Labelled features and their matches."""

import numpy as np

from superscope import lms
from superscope.measure.activations import labelled
from superscope.measure.activations.subspaces import random_basis


def test_marks_are_what_they_say():
    model = lms.load("gelu-1l-mini")
    split = lms.corpus.sample(model.tokenizer)
    place = np.arange(len(split))
    known = labelled.marks(split, place)
    assert tuple(known) == labelled.FEATURES
    for on, off, key in known.values():
        assert on.sum() > 300
        assert not (on & off).any()
        assert np.isin(key[on], key[off]).mean() > 0.5
    pieces = np.array(model.tokenizer.pieces, dtype=object)
    day = known["weekday"][0]
    assert {piece.strip().casefold() for piece in pieces[split.tokens[day]]} == {
        day.casefold() for day in lms.corpus.generated.DAYS
    }
    indent = known["Python indentation"][0]
    assert set("".join(pieces[split.tokens[indent]])) <= set(" \t")


def test_halves_share_no_document():
    model = lms.load("gelu-1l-mini")
    split = lms.corpus.sample(model.tokenizer)
    rows, first = labelled.text_of(split, model.n_ctx, 3, 3, np.random.default_rng(0))
    document = split.document[rows.place[:, 1:].ravel()]
    assert not set(document[first]) & set(document[~first])


def test_few_neurons_carry_what_many_axes_do_and_controls_carry_nothing():
    model = lms.load("gelu-1l-mini")
    rng = np.random.default_rng(1)
    own = list(labelled.carriers_of(model, 6, 4, 80, rng))
    assert 2 <= len(own) <= 5
    assert all(1 <= k <= model.d_mlp for k in own)
    basis = random_basis(model.d_mlp, model.d_mlp, 0).T
    axes = list(labelled.carriers_of(model, 6, 4, 80, np.random.default_rng(1), basis))
    assert np.median(axes) > 1.5 * np.median(own)
    assert not list(labelled.carriers_of(model.control("init"), 6, 4, 80, np.random.default_rng(1)))
