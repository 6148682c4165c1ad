"""Who keeps a neuron's wrong tokens down: exact sums, planted neurons, opposers of unequal strength, labels of senses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.measure.activations import disambiguation as telling

TOKENS = np.array([5, 70, 800, 1200])


def rows_of(model, count=6):
    return lms.corpus.sample(model.tokenizer, limit_documents=200).rows(model.n_ctx, limit=count, seed=0)


@pytest.fixture(scope="module")
def site():
    model = lms.load("gelu-1l-mini")
    return telling.read(model, rows_of(model, 40))


@pytest.fixture(scope="module")
def planted(site):
    """Two neurons that read tokens of one kind each, and write token sets far from each other."""
    text = lms.corpus.sample(site.model.tokenizer, limit_documents=200)
    here = text.tokens[site.place]
    common = [int(one) for one in np.argsort(-np.bincount(here), kind="stable")[:40]]
    pairs = [
        (np.isin(here, common[:4]), np.isin(here, common[4:9])),
        (np.isin(here, common[9:14]), np.isin(here, common[14:22])),
    ]
    tokens = [(np.arange(300, 312), np.arange(900, 908)), (np.arange(1500, 1510), np.arange(2000, 2006))]
    made = telling.plant(site, pairs, tokens, 1.5)
    return made, pairs, tokens, telling.rerun(site, made.model)


@pytest.mark.parametrize("name", ["gelu-1l-mini", "gelu-2l-mini", "solu_ln-1l-mini"])
def test_the_parts_of_a_site_are_the_model(name):
    model = lms.load(name)
    rows = rows_of(model, 2)
    site = telling.read(model, rows)
    said = model.logits(lms.rows_to_tensor(rows.tokens)).log_softmax(dim=-1)[:, 1:].flatten(0, 1)
    assert float((site.log_p() - said).abs().max()) < 1e-4
    for common in (None, 3.0):
        each = telling.parts(site, 7, TOKENS, common)
        assert float((sum(each.values()) - said[:, TOKENS].mean(dim=1)).abs().max()) < 1e-4
        assert bool((each[telling.SCALE] == 0).all()) == (common is None)
    assert (telling.EARLIER in each) == (model.n_layers > 1)


def test_what_a_neuron_raises_is_what_its_direction_reads(site):
    up = telling.raises(site, 11)
    slow = [float(site.out[11] @ telling.direction(site.model, np.array([one]))[0]) for one in TOKENS]
    np.testing.assert_allclose(up[TOKENS], slow, rtol=1e-4, atol=1e-6)
    assert abs(up.mean()) < 1e-6


def test_ablating_is_what_a_hook_does(site):
    model, means = site.model, site.values.mean(dim=0)
    few = rows_of(model, 1)
    one = telling.read(model, few)

    def hook(value, hook=None):
        value = value.clone()
        value[..., [3, 9]] = means[[3, 9]]
        return value

    tokens = lms.rows_to_tensor(few.tokens)
    with torch.inference_mode():
        said = model.hooked.run_with_hooks(tokens, fwd_hooks=[("blocks.0.mlp.hook_post", hook)])
    slow = (said.log_softmax(-1) - model.logits(tokens).log_softmax(-1))[0, 1:, TOKENS].mean()
    assert telling.rise(one, TOKENS, np.array([3, 9]), means) == pytest.approx(float(slow), abs=1e-5)


def test_rerunning_a_planted_model_is_running_it(site, planted):
    made, *_, again = planted
    slow = telling.read(made.model, rows_of(site.model, 40))
    assert float((again.values - slow.values).abs().max()) < 1e-3
    assert float((again.at(np.arange(50)).log_p() - slow.at(np.arange(50)).log_p()).abs().max()) < 1e-3


def test_planted_neurons_fire_on_both_and_push_and_are_opposed(planted):
    made, pairs, tokens, site = planted
    means = site.values.mean(dim=0)
    for neuron, opposing, both, sets in zip(made.neurons, made.opposers, pairs, tokens, strict=True):
        fires = [float(site.values[torch.from_numpy(on), neuron].mean()) for on in both]
        rest = float(site.values[torch.from_numpy(~both[0] & ~both[1]), neuron].mean())
        assert fires[0] > fires[1] > rest + 0.5  # unequal strengths
        first = site.at(np.flatnonzero(both[0]))
        written = telling.contributions(first, sets[1], means)
        assert 0.5 < float(written[neuron]) < 3
        assert float(written[opposing[:2]].sum()) == pytest.approx(-float(written[neuron]), rel=0.5)
        assert set(opposing[:2]) <= set(telling.opposers(first, neuron, sets[1], means, 6).tolist())
        assert telling.rise(first, sets[1], np.array(opposing[:2]), means) > 0.5
        assert abs(telling.rise(first, sets[1], np.array(opposing[2:]), means)) < 0.3  # silent here


def test_neurons_alike_are_others_as_large(site):
    means, rng = site.values.mean(dim=0), np.random.default_rng(0)
    chosen = telling.opposers(site, 4, TOKENS, means, 5)
    other = telling.alike(site, chosen, means, 4, rng)
    assert len(set(other.tolist())) == 5
    assert not set(other.tolist()) & {4, *chosen.tolist()}
    norms = site.out.norm(dim=1)
    assert float((norms[other] - norms[chosen]).abs().median()) < float(norms.std()) / 2  # one of them has no equal


def test_opposers_never_name_the_neuron_itself(site):
    means = site.values.mean(dim=0)
    strongest = int(telling.opposers(site, None, TOKENS, means, 1)[0])
    assert strongest not in telling.opposers(site, strongest, TOKENS, means, 10)


def test_a_gap_is_the_sum_of_its_parts_and_other_neurons_can_lose_theirs(planted):
    made, pairs, tokens, site = planted
    low, high = (site.at(np.flatnonzero(one)[:80]) for one in pairs[0])
    found = telling.gap(low, high, made.neurons[0], tokens[0][1], np.random.default_rng(0))
    assert sum(found[part] for part in telling.PARTS) == pytest.approx(found["gap"], abs=1e-4)
    assert found["residue"] < 1e-4
    assert found[telling.OTHERS] > 0.5  # the planted opposers are on at the one site and not at the other
    assert abs(found["others exchanged"]) < 0.5 * found[telling.OTHERS]
    assert found["others within"] == pytest.approx(found[telling.OTHERS], rel=0.02)
    whole = high.log_p()[:, tokens[0][1]].mean() - low.log_p()[:, tokens[0][1]].mean()
    assert found["gap"] == pytest.approx(float(whole), abs=1e-4)


def test_a_site_against_itself_has_no_gap(site):
    one = site.at(np.arange(60))
    found = telling.gap(one, one, 3, TOKENS, np.random.default_rng(0))
    assert abs(found["gap"]) < 1e-6
    assert all(abs(found[part]) < 1e-5 for part in telling.PARTS)


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (5, 0.5), (10, 0.0)])
def test_likeness_of_labels(shift, expected):
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 10, 4000), rng.integers(0, 10, 900) + shift
    assert telling.likeness(one, other, rng) == pytest.approx(expected, abs=0.05)
    assert telling.likeness(one, other, rng) == pytest.approx(telling.likeness(other, one, rng), abs=0.05)


def test_likeness_of_few_labels_of_many_is_relative_to_what_halves_share():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 2000, 1000), rng.integers(0, 2000, 1000)
    assert telling.likeness(one, other, rng) == pytest.approx(1, abs=0.15)
    assert np.isnan(telling.likeness(one[:1], other, rng))


def test_what_heralds_a_sense():
    after = np.array([50, 9, 40, 4, 30])
    beside = np.array([0, 0, 60, 0, 40])
    overall = np.array([60, 20, 400, 8, 2000])
    assert telling.heralded(after, beside, overall).tolist() == [0, 1]  # 2: follows both; 3: too rare; 4: follows anything
    assert telling.heralded(after, beside, overall, most=1).tolist() == [0]
    assert telling.heralded(np.zeros(5, int), beside, overall).tolist() == []


@pytest.mark.parametrize(("quiet", "low", "high"), [(0.2, 0.0, 0.1), (1.0, 0.9, 1.1), (0.7, 0.25, 0.4)])
def test_a_range_spares_the_other_sense_if_it_is_elsewhere(quiet, low, high):
    rng = np.random.default_rng(0)
    loud = [rng.normal(1, 0.1, 400), rng.normal(quiet, 0.1, 400)]
    heard = [rng.normal(1, 0.1, 300), rng.normal(quiet, 0.1, 200)]
    effect = [rng.uniform(0, 2, 300), rng.uniform(0, 1, 200)]  # .7: half a deviation from the edge, .31 of a Gaussian
    assert low <= telling.spared(loud, heard, effect) <= high


def test_gated_layers_take_no_plant(site):
    with pytest.raises(lms.ModelError, match="attention-only"):
        telling.read(lms.load("attn-only-2l-mini"), rows_of(site.model, 1))
    with pytest.raises(lms.ModelError, match="one matrix"):
        telling.rerun(site, replace(lms.load("solu_ln-1l-mini")))
