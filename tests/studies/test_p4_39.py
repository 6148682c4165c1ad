"""4.39: a tiny run, a gate that fails, and what a wrong argument is told."""

import pytest

from superscope import lms, studies
from superscope.measure.activations import smuggling
from superscope.studies import p4_39_layernorm_smuggling as study


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return studies.get("4.39").run(out=tmp_path_factory.mktemp("runs"), rows=4, others=())


def test_a_tiny_run(found):
    by = {claim.id: claim for claim in found.claims}
    assert found.gate.passed
    for claim in found.claims:
        assert claim.estimate.n == 3
        assert claim.plant.estimate.against(claim.rule) == "inside", claim.id
    assert by["smeared"].null.estimate.against(by["smeared"].rule) != "inside"
    assert by["quiet-and-needed"].null.estimate.value < by["quiet-and-needed"].estimate.value
    assert by["smuggled"].estimate.value > by["smuggled"].null.estimate.value + 0.2
    arms = found.tables["arms"].set_index(["arm", "model"])
    assert (arms.loc[study.INITIAL].smuggled.abs() < 0.01).all()  # nothing learned, nothing passes
    assert len(found.tables["retractions"]) == 3
    assert len(found.answer.split()) <= 30


def test_untrained_models_fail_the_gate(tmp_path, monkeypatch):
    def initial(model, rows, config):
        return smuggling.observe(model.control("init"), rows, config.layer, config.few)

    monkeypatch.setattr(study, "observed", initial)
    assert studies.get("4.39").run(out=tmp_path, rows=2, others=()).verdict == "gate failed"


def test_an_epsilon_changes_only_the_copy():
    model = lms.load("solu_ln-1l-mini")
    changed = study.with_epsilon(model, 0, 1e-9)
    assert changed.hooked.blocks[0].mlp.ln.eps == 1e-9
    assert model.hooked.blocks[0].mlp.ln.eps == 1e-5


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layer": 9}, "layer 9 does not exist"),
        ({"model": "solu_ln-1l-mini-s1", "plain": "gelu-4l-midi"}, "no gelu-4l-midi starts from"),
        ({"model": "attn-only-2l-mini"}, "attention-only"),
    ],
)
def test_what_a_wrong_argument_is_told(tmp_path, wrong, said):
    with pytest.raises(lms.ModelError, match=said):
        studies.get("4.39").run(out=tmp_path, rows=1, others=(), **wrong)
