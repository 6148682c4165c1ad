"""Path patching: planted paths are found and cut ones are not, the parts make the whole where the model is linear, and the
slow way (run everything, freeze everything) gives the same."""

import pytest
import torch

from superscope import lms
from superscope.lms.model.backend import from_config
from superscope.lms.model.language_model import LanguageModel
from superscope.lms.model.transformer import Shape
from superscope.measure.activations.paths import MLP, Embedding, Head, Logits, Paths


def pair(rows=2, length=10, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(1, 4096, (rows, length), generator=draw), torch.randint(1, 4096, (rows, length), generator=draw)


def linear_model(layers: int = 3, seed: int = 0) -> LanguageModel:
    """No LayerNorm, attention that does not depend on its input, and ReLUs that are always on."""
    tokenizer = lms.load("gelu-1l-mini").tokenizer
    config: dict = {"n_layers": layers, "d_model": 16, "d_head": 4, "n_heads": 4, "d_mlp": 12, "n_ctx": 16, "d_vocab": 4096,
              "act_fn": "relu", "normalization_type": None, "positional_embedding_type": "standard"}  # fmt: skip
    draw = torch.Generator().manual_seed(seed)
    names = lms.untrained(
        Shape(n_layers=layers, d_model=16, n_heads=4, d_mlp=12, n_ctx=16), tokenizer
    ).hooked.named_parameters()
    state = {
        name: 0.2 * torch.randn(value.shape, generator=draw)
        for name, value in names
        if ".ln" not in name and "ln_f" not in name
    }
    for name in state:
        if name.endswith(("W_Q", "W_K")):
            state[name] = torch.zeros_like(state[name])
        if name.endswith("W_out"):
            state[name] *= 0.1
        if name.endswith("mlp.b_in"):
            state[name] = torch.full_like(state[name], 50.0)
    return LanguageModel("linear", from_config(config, state), tokenizer, {}, "control")


@pytest.mark.parametrize("sender", [Head(0, 1), MLP(0), MLP(0, (3, 7)), Head(1, 2), Embedding()])
def test_the_paths_add_up_to_the_total_in_a_linear_model(sender):
    model, (clean, corrupted) = linear_model(), pair()
    paths = Paths(model, clean, corrupted)
    before = model.logits(clean)
    total = paths.total(sender)["logits"] - before
    each = {one: paths.patched(sender, one)["logits"] - before for one in paths.receivers(sender)}
    assert total.abs().max() > 0.02
    assert (sum(each.values()) - total).abs().max() < 1e-3 * total.abs().max() + 1e-5
    assert len([one for one, effect in each.items() if effect.abs().max() > 0.01 * total.abs().max()]) > 1
    assert all(effect.abs().max() < 1e-5 for one, effect in each.items() if isinstance(one, Head) and one.reads != "v")


def slow_twin(model, clean, corrupted, sender, receiver, name):
    """Run the corrupted sender with every other head and MLP held clean; take what the receiver gets; run again."""
    w = model.hooked
    _, kept = w.run_with_cache(clean)
    _, other = w.run_with_cache(corrupted)

    def freeze(value, hook):
        new = kept[hook.name].clone()
        if isinstance(sender, Head) and hook.name == f"blocks.{sender.layer}.attn.hook_z":
            new[:, :, sender.head] = other[hook.name][:, :, sender.head]
        if isinstance(sender, MLP) and hook.name == f"blocks.{sender.layer}.mlp.hook_post":
            which = slice(None) if sender.neurons is None else list(sender.neurons)
            new[:, :, which] = other[hook.name][:, :, which]
        return new

    frozen = [(n, freeze) for n in w.hook_dict if n.endswith(("attn.hook_z", "mlp.hook_post"))]
    heard = {}

    def listen(value, hook):
        heard["value"] = value.detach().clone()

    w.run_with_hooks(clean, fwd_hooks=[*frozen, (name, listen)])

    def put(value, hook):
        value = value.clone()
        if isinstance(receiver, Head):
            value[:, :, receiver.head] = heard["value"][:, :, receiver.head]
        elif isinstance(receiver, MLP):
            which = slice(None) if receiver.neurons is None else list(receiver.neurons)
            value[:, :, which] = heard["value"][:, :, which]
        else:
            value = heard["value"]
        return value

    return w.run_with_hooks(clean, fwd_hooks=[(name, put)])


CASES = [
    ("attn-only-2l-mini", Head(0, 1), Head(1, 2, "k"), "blocks.1.attn.hook_k"),
    ("attn-only-2l-mini", Head(0, 3), Head(1, 0, "v"), "blocks.1.attn.hook_v"),
    ("attn-only-2l-mini", Head(0, 3), Logits(), "blocks.1.hook_resid_post"),
    ("gelu-2l-mini", MLP(0), Head(1, 2, "q"), "blocks.1.attn.hook_q"),
    ("gelu-2l-mini", Head(0, 0), MLP(0), "blocks.0.mlp.hook_pre"),
    ("gelu-2l-mini", Head(0, 0), MLP(1, (5, 90)), "blocks.1.mlp.hook_pre"),
    ("solu_ln-2l-mini", MLP(0, (1, 2, 3)), MLP(1), "blocks.1.mlp.hook_pre"),
    ("gelu-4l-midi", Head(1, 3), MLP(3), "blocks.3.mlp.hook_pre"),
]


@pytest.mark.parametrize(("name", "sender", "receiver", "hook"), CASES)
def test_one_path_equals_its_slow_twin(name, sender, receiver, hook):
    model, (clean, corrupted) = lms.load(name), pair()
    fast = Paths(model, clean, corrupted).patched(sender, receiver)["logits"]
    slow = slow_twin(model, clean, corrupted, sender, receiver, hook)
    assert (fast - slow).abs().max() < 1e-4
    assert (fast - model.logits(clean)).abs().max() > 1e-3


def test_a_path_that_was_cut_carries_nothing():
    """The receiver's keys no longer read what the sender can write, its queries still do."""
    model, (clean, corrupted) = lms.load("attn-only-2l-mini"), pair()
    w = model.control("init").hooked
    w.load_state_dict(model.hooked.state_dict(), strict=False)
    cut = LanguageModel("cut", w, model.tokenizer, {}, "control")
    block = w.blocks[1]
    seen = w.W_O[0, 1] - w.W_O[0, 1].mean(dim=-1, keepdim=True)  # (d_head, d) what the LayerNorm lets through
    frame = torch.linalg.qr((seen * block.ln1.w).T)[0]
    block.attn.W_K[2] -= frame @ (frame.T @ block.attn.W_K[2])
    before = cut.logits(clean)
    paths = Paths(cut, clean, corrupted, freeze_norm=True)
    assert (paths.patched(Head(0, 1), Head(1, 2, "k"))["logits"] - before).abs().max() < 1e-4
    assert (paths.patched(Head(0, 1), Head(1, 2, "q"))["logits"] - before).abs().max() > 1e-2
    whole = Paths(model, clean, corrupted, freeze_norm=True).patched(Head(0, 1), Head(1, 2, "k"))["logits"]
    assert (whole - model.logits(clean)).abs().max() > 1e-2


def test_a_whole_receiver_is_all_of_its_neurons_and_the_mean_can_stand_in_for_other_tokens():
    model, (clean, corrupted) = lms.load("gelu-2l-mini"), pair()
    paths = Paths(model, clean, corrupted)
    whole, all_of_them = (paths.patched(Head(0, 0), MLP(1, n))["logits"] for n in (None, tuple(range(model.d_mlp))))
    assert torch.equal(whole, all_of_them)
    same = Paths(model, clean, clean)
    assert (same.patched(Head(0, 0), MLP(1))["logits"] - model.logits(clean)).abs().max() < 1e-4
    mean = Paths(model, clean)
    change = mean.change([Head(0, 0)])[Head(0, 0)]
    assert change.mean(dim=(0, 1)).abs().max() < 1e-5
    seen = mean.patched(Head(0, 0), [Head(1, 2, "k"), Head(1, 2, "q")], ["blocks.1.attn.hook_pattern"])
    assert set(seen) == {"logits", "blocks.1.attn.hook_pattern"}
    assert mean.total([Head(0, 0), MLP(0)])["logits"].shape == (2, 10, 4096)
    assert model.loss(clean, mean.hooks(Head(0, 0), Logits())).shape == (2, 9)


def test_what_cannot_be_is_named():
    model, (clean, corrupted) = lms.load("gelu-2l-mini"), pair()
    with pytest.raises(lms.ModelError, match="a receiver comes after its senders"):
        Paths(model, clean, corrupted).hooks(MLP(1), Head(1, 0, "v"))
    with pytest.raises(lms.ModelError, match="do not pair up"):
        Paths(model, clean, corrupted[:, :4])
