"""Who passes on what a neuron writes: the closed form is path patching, parts are exact, planted gates are found."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.measure.activations import disambiguation as telling
from superscope.measure.activations import mediators
from superscope.measure.activations.paths import MLP, Logits, Paths

TOKENS = np.array([5, 70, 800, 1200])
MODELS = ("gelu-2l-mini", "solu_ln-2l-mini", "gelu-4l-midi")


def rows_of(model, count=1):
    return lms.corpus.sample(model.tokenizer, limit_documents=200).rows(model.n_ctx, limit=count, seed=0)


def said(logits, tokens=TOKENS):
    """(row, position) mean logit of the tokens, less that of all."""
    return logits[..., tokens].mean(dim=-1) - logits.mean(dim=-1)


@pytest.fixture(scope="module", params=MODELS)
def at(request):
    """A model, its rows, a site, and a neuron set to its mean over them."""
    model = lms.load(request.param)
    rows = rows_of(model)
    site = mediators.read(model, rows)
    neuron = int(site.values.std(dim=0).argmax())
    return model, rows, site, neuron, site.values.mean(dim=0)


def flat(values):
    """Of every token but BOS."""
    return values[:, 1:].flatten()


def test_the_clean_stream_is_the_models(at):
    model, rows, site, neuron, means = at
    found = mediators.exchange(site, neuron, means)
    logits = model.logits(lms.rows_to_tensor(rows.tokens))
    assert float((found.logits(found.final(), TOKENS).mean(dim=1) - flat(said(logits))).abs().max()) < 1e-3
    assert float((found.log_p(found.final(), TOKENS) - flat(logits.log_softmax(-1)[..., TOKENS].mean(-1))).abs().max()) < 1e-3


def test_the_closed_form_is_path_patching(at):
    """Exchanged everywhere, a receiver that looks at its own token hears there what it hears here."""
    model, rows, site, neuron, _ = at
    tokens = lms.rows_to_tensor(rows.tokens)
    paths = Paths(model, tokens)
    hook = f"blocks.{model.n_layers - 2}.mlp.hook_post"
    means = model.activations(tokens, [hook])[hook].mean(dim=(0, 1))  # of BOS, too, as paths have it
    effects = mediators.exchange(site, neuron, means).effects(TOKENS)
    clean, sender = said(model.logits(tokens)), MLP(model.n_layers - 2, (neuron,))
    slow = flat(clean - said(paths.patched(sender, Logits())["logits"]))
    assert float((effects.direct - slow).abs().max()) < 1e-3
    assert float(slow.abs().max()) > 0.05
    if model.activation != "gelu":  # paths let a neuron's exchange through to those that compete with it
        return
    for one in effects.through[:, : effects.count].abs().mean(dim=0).topk(3).indices.tolist():
        slow = flat(clean - said(paths.patched(sender, MLP(model.n_layers - 1, (one,)))["logits"]))
        assert float((effects.through[:, one] - slow).abs().max()) < 1e-3


@pytest.mark.parametrize("place", [3, 40])
def test_the_total_and_each_head_at_one_token_are_what_hooks_give(at, place):
    model, rows, site, neuron, means = at
    effects = mediators.exchange(site, neuron, means).effects(TOKENS)
    number = int(np.flatnonzero((site.row == 0) & (site.position == place))[0])
    tokens, last = lms.rows_to_tensor(rows.tokens[:1]), model.n_layers - 1
    w = model.hooked

    def ablate(value, hook):
        value = value.clone()
        value[:, place, neuron] = means[neuron]
        return value

    ablating = (f"blocks.{last - 1}.mlp.hook_post", ablate)
    with torch.inference_mode():
        clean = said(w(tokens))[0, place]
        total = clean - said(w.run_with_hooks(tokens, fwd_hooks=[ablating]))[0, place]
        assert float(effects.total[number]) == pytest.approx(float(total), abs=1e-3)
        heard = {}

        def keep(value, hook):
            heard["z"] = value.clone()

        w.run_with_hooks(tokens, fwd_hooks=[ablating, (f"blocks.{last}.attn.hook_z", keep)])
        for head in (0, 2):

            def put(value, hook, head=head):
                value = value.clone()
                value[:, place, head] = heard["z"][:, place, head]
                return value

            slow = clean - said(w.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{last}.attn.hook_z", put)]))[0, place]
            assert float(effects.through[number, effects.count + head]) == pytest.approx(float(slow), abs=1e-3)


def test_mediators_cut_together_and_all_together(at):
    _, _, site, neuron, means = at
    one = mediators.exchange(site.at(np.arange(40)), neuron, means)
    assert one.cut([], TOKENS) == pytest.approx(0, abs=1e-6)
    effects = one.effects(TOKENS)
    moved = one.logits(one.final(one.everyone, direct=True), TOKENS).mean(dim=1)
    assert float((one.logits(one.final(), TOKENS).mean(dim=1) - moved - effects.total).abs().max()) < 1e-4
    alone = [one.logits(one.final([k]), TOKENS).mean(dim=1) for k in (3, effects.count + 1)]
    for k, stream in zip((3, effects.count + 1), alone, strict=True):
        assert float((one.logits(one.final(), TOKENS).mean(dim=1) - stream - effects.through[:, k]).abs().max()) < 1e-3
    assert one.raised(TOKENS).mean() == pytest.approx(float(effects.total.mean()), abs=1e-4)


def test_the_strongest_are_the_strongest_of_all(at):
    model, _, site, neuron, means = at
    one = mediators.exchange(site.at(np.arange(12)), neuron, means)
    if model.name != "gelu-2l-mini":
        return
    slow = np.array([one.cut([k], TOKENS) for k in one.everyone])
    found = one.strongest(TOKENS, 3)
    assert found.tolist()[0] == int(np.argmax(slow))
    assert slow[found].sum() > 0.8 * np.sort(slow)[-3:].sum()
    worst = one.worst(TOKENS, 3)
    assert worst[0] == found[0]
    assert len(set(worst.tolist())) == 3
    assert one.cut(worst, TOKENS) > 0.95 * one.cut(found, TOKENS)


def test_a_level_is_a_step_of_the_same_size_everywhere(at):
    _, _, site, neuron, means = at
    one = mediators.exchange(site, neuron, means, float(means[neuron]) + 0.5)
    np.testing.assert_allclose(one.delta.norm(dim=1).numpy(), 0.5 * float(site.out[neuron].norm()), rtol=1e-3)
    same = mediators.exchange(site, neuron, means, float(means[neuron]))
    assert float(same.effects(TOKENS).total.abs().max()) < 1e-4


def test_gating_and_residues():
    assert np.divide(*mediators.gating(np.array([[1.0, 0.0], [0.0, -2.0]]))) == 1
    assert np.divide(*mediators.gating(np.array([[1.0, 2.0], [1.0, 2.0]]))) == 0
    assert np.divide(*mediators.gating(np.array([[3.0], [1.0]]))) == 0.5
    assert np.divide(*mediators.gating(np.array([[1.0], [-1.0]]))) == 1
    draw = torch.Generator().manual_seed(0)
    direct, through = torch.randn(200, generator=draw), torch.randn(200, 3, generator=draw)
    exact = mediators.Effects(direct + through.sum(dim=1), direct, through, 3)
    total, left, dealt = (mediators.residues([exact], np.random.default_rng(0)) ** 2).sum(axis=1)
    assert left < 1e-6 * total
    assert dealt > 0.9 * total


@pytest.fixture(scope="module")
def planted():
    """A neuron that reads two kinds of tokens, and its gates."""
    model = lms.load("gelu-2l-mini")
    text = lms.corpus.sample(model.tokenizer, limit_documents=200)
    rows = text.rows(model.n_ctx, limit=40, seed=0)
    here = text.tokens[rows.place[rows.place >= 0]]
    common = [int(one) for one in np.argsort(-np.bincount(here), kind="stable")[:40]]
    pairs = [(np.isin(here, common[a:b]), np.isin(here, common[b:c])) for a, b, c in ((2, 6, 11), (11, 16, 24))]
    tokens = [(np.array(common[a : a + 4]), np.array(common[a + 4 : a + 8])) for a in (24, 32)]
    made = mediators.plant(model, rows, pairs, tokens)
    return made, pairs, tokens, mediators.read(made.model, rows)


def pushes(planted, model, k, sense):
    """What the planted neuron does to the other sense's tokens, where that is wrong and right."""
    made, pairs, tokens, site = planted
    neuron, means = made.neurons[k], site.values.mean(dim=0)
    level = float(np.mean([site.values[torch.from_numpy(on), neuron].mean() for on in pairs[k]]))
    where = [np.flatnonzero(pairs[k][one])[:60] for one in (sense, 1 - sense)]
    one = replace(site, model=model)
    return [mediators.exchange(one.at(some), neuron, means, level).effects(tokens[k][1 - sense]) for some in where]


@pytest.mark.parametrize(("k", "sense"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_planted_gates_disambiguate_and_nothing_else_does(planted, k, sense):
    made = planted[0]
    gates = made.gates[k]
    wrong, right = pushes(planted, made.model, k, sense)
    assert float(right.total.mean()) > 0.1
    assert float(wrong.total.mean()) < 0.5 * float(right.total.mean())
    helps = right.through.mean(dim=0) - wrong.through.mean(dim=0)
    own = [*gates[4 * sense : 4 * sense + 2], *gates[4 * (1 - sense) + 2 : 4 * (1 - sense) + 4]]  # take off here, add there
    assert len(set(own) & set(helps.argsort(descending=True)[:5].tolist())) >= 2
    assert float(helps[own].sum()) > 0.3
    for other in (made.alone, made.heedless):
        wrong, right = pushes(planted, other, k, sense)
        again = right.through.mean(dim=0) - wrong.through.mean(dim=0)
        assert abs(float(again[own].sum())) < 0.4 * float(helps[own].sum())


def test_planted_strengths_are_unequal_and_the_neuron_pushes_both(planted):
    made, pairs, _, site = planted
    for k, neuron in enumerate(made.neurons):
        first, second = (float(site.values[torch.from_numpy(on), neuron].mean()) for on in pairs[k])
        rest = float(site.values[torch.from_numpy(~pairs[k][0] & ~pairs[k][1]), neuron].mean())
        assert first > second > rest + 0.3
        for sense in (0, 1):
            wrong, right = pushes(planted, made.alone, k, sense)
            assert 0.015 < float(wrong.direct.mean()) < 0.8
            assert 0.015 < float(right.direct.mean()) < 0.8
    norms = made.model.hooked.blocks[-1].mlp.W_out.detach().norm(dim=1)
    assert float(norms[made.gates[0][1]] / norms[made.gates[0][0]]) == pytest.approx(0.6, rel=1e-3)


def test_mediators_alike_hear_and_vary_alike(at):
    _, _, site, neuron, means = at
    one = mediators.exchange(site, neuron, means)
    traits = mediators.traits(one)
    assert traits.shape == (len(one.everyone), 2)
    chosen = one.strongest(TOKENS, 5)
    other = telling.nearby(traits, chosen, chosen.tolist(), np.random.default_rng(0))
    assert not set(other.tolist()) & set(chosen.tolist())
    assert float((traits[other] - traits[chosen]).abs().median()) < float(traits.std())


@pytest.mark.parametrize("name", ["gelu-1l-mini", "attn-only-2l-mini"])
def test_models_without_a_layer_after_the_neuron_are_refused(name):
    model = lms.load(name)
    with pytest.raises(lms.ModelError, match="two layers"):
        mediators.read(model, rows_of(model, 1))


def test_competing_neurons_take_no_plant():
    model = lms.load("solu_ln-2l-mini")
    with pytest.raises(lms.ModelError, match="one matrix"):
        mediators.plant(model, rows_of(model, 1), [], [])
