"""4.27: one tiny run on the bundled models; planted worlds and nulls get the answers they must; the opening sentence fits."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from superscope import lms, studies
from superscope.errors import UserError
from superscope.studies import p4_27_genre_subspaces as study


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = {
        "genres": ("python", "prose"),
        "rows": 200,
        "neurons": 60,
        "steps": 8,
        "draws": 3,
        "widths": (24,),
        "features": 9,
        "dimensions": 6,
    }
    return studies.get("4.27").run(out=tmp_path_factory.mktemp("runs"), **options)


def test_a_tiny_run(found):
    assert found.gate.passed, found.gate.failed
    assert {claim.estimate.n for claim in found.claims} == {3}
    for claim in found.claims:
        assert claim.plant.estimate.against(claim.rule) == "inside", claim.id
        assert claim.null.estimate.against(claim.rule) != "inside", claim.id
    assert len(found.answer.split()) <= 30
    by = {claim.id: claim for claim in found.claims}
    assert by["shared"].estimate.value < 0.3
    assert by["agreement"].estimate.value > 0.7
    assert by["multiplexed"].verdict == "refuted"


def test_the_tables(found):
    arms = found.tables["arms"]
    one, apart = (arms[arms.arm == arm] for arm in (study.ONE, study.APART))
    assert (one.shared > 0.6).all()
    assert (one.multiplexed < 0.1).all()
    assert (apart.shared < 0.2).all()
    assert set(found.tables["pairs"].pair) == {"python, prose"}
    words = found.tables["lexical"].set_index("what")["gelu-2l-mini"]
    assert words["same present word"] > words["same next word"]


@pytest.mark.parametrize("name", ["gelu-1l-mini", "gelu-4l-midi"])
def test_other_depths_are_read_at_their_middle_layer(name):
    model = lms.load(name)
    config = study.Config(genres=("python", "prose"), rows=8, neurons=4, steps=3)
    genres, neurons = study.read(model, config, seed=0)
    text = genres["python"].halves[1]
    assert text.values.shape[1] == model.d_model
    assert len(text.values) == len(text.word) == len(text.following) == len(text.document) == len(text.earlier)
    assert neurons["prose"][0].shape[1] == model.d_mlp
    assert not set(genres["prose"].halves[0].document) & set(genres["prose"].halves[1].document)
    each = model.activations(lms.rows_to_tensor(genres["python"].read.tokens), [study.multiplex.stream(model.n_layers // 2)])
    np.testing.assert_allclose(next(iter(each.values()))[:, -1].numpy(), genres["python"].base, atol=1e-5)
    per_row = config.context - 1 - study.SKIP
    row = genres["python"].read.tokens[0]
    np.testing.assert_array_equal(text.word[:per_row], row[study.SKIP : -1])
    np.testing.assert_array_equal(text.following[:per_row], row[study.SKIP + 1 :])
    np.testing.assert_array_equal(text.earlier[:per_row], row[study.SKIP - study.BACK : -1 - study.BACK])
    stream = next(iter(each.values()))[0, study.SKIP : -1].numpy()
    np.testing.assert_allclose(text.values[:per_row], stream, atol=1e-4)


def test_exchanged_genres_keep_their_number_and_their_documents():
    document = np.repeat(np.arange(20), 7)
    genre, fit = document < 8, document % 2 == 0
    other = study.exchanged(genre, document, fit, np.random.default_rng(0))
    for half in (fit, ~fit):
        assert len(np.unique(document[half & other])) == len(np.unique(document[half & genre]))
    assert all(len(set(other[document == one])) == 1 for one in range(20))
    assert (other != genre).any()


def test_genres_without_enough_features_are_refused(tmp_path):
    for genres in (("python", "prose"), ("python", "spanish")):
        with pytest.raises(UserError, match="genres must hold python and prose, and some pair enough next words"):
            studies.get("4.27").run(out=tmp_path, genres=genres, rows=20, neurons=4, steps=2)


def test_every_answer_fits():
    verdicts = ("supported", "refuted", "undecided", "gate failed")
    for verdict, shared, agreement in product(verdicts, (-0.0361, 0.0049, 0.512), (-0.213, 0.861)):
        trained = pd.DataFrame({"shared": [shared], "agreement": [agreement]})
        assert len(study.in_short({"multiplexed": verdict}, trained).split()) <= 30
