"""4.40: identity and independence come out as they must, and one tiny run on the bundled models."""

import numpy as np
import pytest

from superscope import lms, studies
from superscope.lab import Lab
from superscope.lms.model.transformer import Shape
from superscope.studies import p4_40_matched_init as study


def test_arms_pair_seeds_with_their_own():
    for arm, a, b in study.arms(study.Config()):
        if arm == study.SAME_START:
            assert a.removeprefix("gelu") == b.removeprefix("solu_ln")
        elif arm != study.ITSELF:
            assert a != b
    assert {arm for arm, _, _ in study.arms(study.Config())} >= {
        study.ITSELF,
        study.SAME_START,
        study.OTHER_SEED,
        study.NEITHER,
    }


def test_untrained_models_of_a_seed_have_the_same_neurons(monkeypatch, tmp_path):
    """At the start gelu and relu of a seed agree almost everywhere; two seeds agree nowhere."""
    tokenizer = lms.load("gelu-1l-mini").tokenizer
    made = {
        f"{act}-1l-mini{tail}": lms.untrained(Shape(act_fn=act), tokenizer, seed)
        for act in ("gelu", "relu")
        for seed, tail in enumerate(("", "-s1", "-s2"))
    }
    made["gelu-1l-mini-reordered"] = made["gelu-1l-mini"]
    monkeypatch.setattr(study, "load", made.__getitem__)
    config = study.Config(second="relu-1l-mini", rows=2, rotations=1)
    found = study.compare(study.arms(config), config, Lab(0, "quick", tmp_path))
    by_arm = {row["arm"]: row for row in found}
    assert by_arm[study.ITSELF]["index-matched"] > 0.9
    assert by_arm[study.SAME_START]["index-matched"] > 0.8
    assert by_arm[study.SAME_START]["cosine of W_in"] == pytest.approx(1)
    assert abs(by_arm[study.OTHER_SEED]["index-matched"]) < 0.1
    assert abs(by_arm[study.OTHER_SEED]["cosine of W_in"]) < 0.05
    assert by_arm[study.OTHER_SEED]["namesake is best"] < 0.05


def test_a_tiny_run(tmp_path):
    found = studies.get("4.40").run(out=tmp_path, rows=3, rotations=1)
    assert found.gate.passed
    table = found.tables["comparisons"].set_index("arm")
    assert table.loc[study.ITSELF, "same by index"] > 0.9
    assert np.all(np.abs(table.loc[[study.OTHER_SEED], "index-matched"]) < 0.1)
    for claim in found.claims:
        assert claim.verdict in ("supported", "refuted", "undecided")
