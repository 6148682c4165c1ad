"""Searches for a property's latent, on planted latents and on none."""

from __future__ import annotations

import numpy as np

from superscope.lms import load
from superscope.lms.corpus import sample
from superscope.recover.sae.labels import PROPERTIES, best_latents, probes, properties, sparse_probes


def planted(rng, tokens=4000, latents=60, rates=(0.1, 0.02, 0.4)):
    """Properties 0 and 1 have noisy latents (7 and 8); property 2 has none. Latent 9 is always on."""
    on = rng.random((tokens, 3)) < np.array(rates)
    a = (rng.random((tokens, latents)) < 0.05) * rng.random((tokens, latents))
    a[:, 7] = on[:, 0] * (1 + rng.random(tokens)) + (rng.random(tokens) < 0.3) * 0.5 * rng.random(tokens)  # needs a threshold
    a[:, 8] = on[:, 1] * (rng.random(tokens) < 0.95)
    a[:, 9] = 1.0
    return a, on


def test_planted_latents_are_found_and_luck_is_not():
    rng = np.random.default_rng(3)
    found = best_latents(*planted(rng), *planted(rng))
    assert found.latent[:2].tolist() == [7, 8]
    assert found.f1[:2].min() > 0.95
    assert found.latent[2] == 9
    assert abs(found.f1[2] - 0.8 / 1.4) < 0.03  # 2p / (1 + p) for p = .4: what a latent that is always on gets


def test_a_rare_property_in_the_upper_end_of_a_latent_that_is_often_on_is_found():
    rng = np.random.default_rng(8)
    on = rng.random((20000, 1)) < 0.005
    a = rng.random((20000, 4))
    a[:, 2] += on[:, 0]
    half = slice(0, 10000), slice(10000, 20000)
    found = best_latents(a[half[0]], on[half[0]], a[half[1]], on[half[1]])
    assert found.latent[0] == 2
    assert found.f1[0] > 0.8


def test_what_is_chosen_by_luck_falls_on_the_second_text():
    rng = np.random.default_rng(5)
    (a, _), (b, _) = planted(rng, 300, 2000), planted(rng, 300, 2000)
    on, later = (rng.random((300, 5)) < 0.1 for _ in range(2))
    found = best_latents(a, on, b, later)
    assert np.nanmean(found.fitted) > np.nanmean(found.f1) + 0.1


def test_rare_properties_are_not_judged():
    rng = np.random.default_rng(6)
    a, on = planted(rng, 300)
    on[:, 1] = False
    on[:5, 1] = True
    assert np.isnan(best_latents(a, on, a, on).f1[1])


def test_probes_are_the_ceiling_of_a_planted_direction():
    rng = np.random.default_rng(7)
    direction = rng.standard_normal(24)
    on = rng.random((3000, 1)) < 0.05
    x = rng.standard_normal((3000, 24)) + 6 * on * direction / np.linalg.norm(direction) + 3
    w, b = probes(x, on)
    assert abs(np.corrcoef(w[0], direction)[0, 1]) > 0.9
    scores = x @ w.T + b
    assert np.median(scores[on[:, 0]]) > 1
    found = best_latents(np.maximum(scores[:1500], 0), on[:1500], np.maximum(scores[1500:], 0), on[1500:])
    assert found.f1[0] > 0.9


def test_sparse_probes_add_up_latents_that_share_a_property():
    rng = np.random.default_rng(9)
    on = rng.random((6000, 1)) < 0.05
    a = (rng.random((6000, 40)) < 0.05) * rng.random((6000, 40))
    which = rng.integers(0, 3, 6000)  # three latents, each on in a third of the property's tokens
    for k in range(3):
        a[:, 10 + k] = on[:, 0] * (which == k) * (1 + rng.random(6000)) + 0.2 * (rng.random(6000) < 0.02)
    parts = a[:3000], on[:3000], a[3000:], on[3000:]
    one, three = (float(sparse_probes(*parts, k)[0]) for k in (1, 3))
    assert three > 0.9
    assert one < 0.6
    assert float(sparse_probes(a[:3000, :10], on[:3000], a[3000:, :10], on[3000:], 3)[0]) < 0.2


def test_properties_of_the_sample():
    split = sample(load("gelu-1l-mini").tokenizer, 200)
    found = properties(split, np.arange(len(split)))
    assert found.shape == (len(split), len(PROPERTIES))
    spanish = PROPERTIES.index("spanish")
    np.testing.assert_array_equal(found[:, spanish], split.genre == split.genres.index("spanish"))
    assert not (found[:, PROPERTIES.index("base64")] & found[:, PROPERTIES.index("hex")]).any()
