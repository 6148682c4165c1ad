"""The rest of a model at one position a row equals whole prompts run with hooks."""

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms.corpus import ioi
from superscope.lms.model.tail import Rerun, Tail, tail


@pytest.mark.parametrize(
    ("name", "layer"), [("ioi-2l-mini", 0), ("ioi-2l-mini", 1), ("gelu-4l-midi", 2), ("attn-only-2l-mini", 1)]
)
def test_the_tail_equals_whole_prompts(name, layer):
    model = lms.load(name)
    prompts = ioi.prompts(model.tokenizer, "trained frames, trained names", 12)
    rows, answers = torch.arange(12), torch.arange(0, model.hooked.cfg.d_vocab, 7)
    quick, slow = (
        Tail.of(model, prompts.tokens, prompts.last, layer),
        Rerun.of(model, prompts.tokens, prompts.last, layer, batch=5),
    )
    torch.testing.assert_close(quick.values, slow.values)
    run = model.logits(lms.rows_to_tensor(prompts.tokens))[rows, torch.as_tensor(prompts.last)][:, answers]
    torch.testing.assert_close(quick.logits(quick.values, rows, answers), run, atol=1e-4, rtol=1e-4)
    other = quick.values.flip(0) + 0.1
    with torch.no_grad():
        changed = slow.logits(other, rows, answers)
    torch.testing.assert_close(quick.logits(other, rows, answers), changed, atol=1e-4, rtol=1e-4)
    assert (changed - run).abs().max() > 0.1
    some = torch.tensor([7, 3, 3])
    torch.testing.assert_close(quick.logits(other[some], some, answers), changed[some], atol=1e-4, rtol=1e-4)


def test_what_the_queries_alone_hear():
    model = lms.load("ioi-2l-mini")
    prompts = ioi.prompts(model.tokenizer, "trained frames, trained names", 6)
    one = Tail.of(model, prompts.tokens, prompts.last, 1)
    rows, answers, new = torch.arange(6), torch.arange(50), one.values.roll(1, 0)
    same = one.logits(one.values, rows, answers, one.values)
    torch.testing.assert_close(same, one.logits(one.values, rows, answers))
    # slow twin: queries put in by hook
    block = model.hooked.blocks[1]
    query = (
        torch.einsum("pd,hde->phe", block.ln1(new[:, None])[:, 0] + model.hooked.W_pos[one.last], block.attn.W_Q)
        + block.attn.b_Q
    )

    def put(old, hook=None):
        old = old.clone()
        old[rows, one.last] = query
        return old

    run = model.hooked.run_with_hooks(lms.rows_to_tensor(prompts.tokens), fwd_hooks=[("blocks.1.attn.hook_q", put)])
    expected = run[rows, one.last][:, answers].detach()
    torch.testing.assert_close(one.logits(one.values, rows, answers, new), expected, atol=1e-4, rtol=1e-4)


def test_layers_that_do_not_exist_are_refused():
    model = lms.load("ioi-2l-mini")
    with pytest.raises(lms.ModelError, match="layer=2: ioi-2l-mini has blocks 0 to 1"):
        Tail.of(model, np.zeros((1, 4), dtype=np.int64), np.array([3]), 2)


def test_the_cheap_one_is_taken_where_it_knows_the_model():
    model = lms.load("ioi-2l-mini")
    assert isinstance(tail(model, np.zeros((1, 4), dtype=np.int64), np.array([3]), 1), Tail)
