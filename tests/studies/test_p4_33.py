"""4.33: one tiny run on the bundled models; planted neurons can be attacked, names dealt do not interfere, sentences fit."""

import numpy as np
import pandas as pd
import pytest

from superscope import studies
from superscope.studies import p4_33_adversarial as study


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = {"rows": 100, "tried": 70, "ways": 2, "contexts": 6, "tries": 8, "planted": 8, "prompts": 600}
    seeds = study.lms.replicates
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.lms, "replicates", lambda name: seeds(name)[:2])
        return studies.get("4.33").run(out=tmp_path_factory.mktemp("runs"), **options)


def test_a_tiny_run(found):
    by = {claim.id: claim for claim in found.claims}
    assert set(by) == {row.id for row in study.EXPECTED}
    for name in ("gone", "through", "aligned", "names"):
        assert by[name].null.estimate.against(by[name].rule) != "inside", name
    assert by["names"].plant.estimate.against(by["names"].rule) == "inside"
    assert len(found.answer.split()) <= 30


def test_what_goes_through_planted_neurons(found):
    table = found.tables["arms"].set_index("arm")
    assert table.loc[study.LOUD, "through"].mean() > 3 * abs(table.loc[study.MONO, "through"].mean())
    assert table.loc[study.FAINT, "cosine"].mean() > 0.3 > abs(table.loc[study.OTHER, "cosine"].mean())


def test_attacks_keep_the_current_token_and_show_their_words(found):
    some = found.tables["examples"]
    assert len(some)
    assert all(row["put in"] in row["text"] for row in some.to_dict("records"))
    assert {"gain", "gain held", "elsewhere", "success matched"} <= set(found.tables["attacks"])


def test_correlation_beyond_main_effects():
    """Likeness that follows from each name alone does not count; what is left does."""
    rng = np.random.default_rng(0)
    io, s = np.divmod(np.repeat(np.arange(100), 4), 10)
    effects = np.concatenate([np.eye(10)[io], np.eye(10)[s]], axis=1)
    main = rng.normal(size=10)
    pairs = rng.normal(size=(10, 10))
    like = main[io] + main[s] + pairs[io, s]
    said = 3 * main[io] - 2 * main[s] - pairs[io, s] + 0.3 * rng.normal(size=400)
    assert study.correlation(effects, said, like, 10 * io + s) < -0.9
    said = 3 * main[io] - 2 * main[s] + 0.3 * rng.normal(size=400)
    assert abs(study.correlation(effects, said, like, 10 * io + s)) < 0.3


@pytest.mark.parametrize("verdict", ["supported", "refuted", "undecided"])
def test_every_sentence_fits(verdict):
    trained = pd.DataFrame({"success": [0.123, 0.456], "success matched": [0.123, 0.456]})
    study.in_short({"gone": verdict}, trained)
    assert "No answer" in study.in_short({"gone": "gate failed"}, trained)


def test_pooling_nothing():
    assert study.pooled([]) == {}
