"""Scores of dictionaries: planted copies of the truth and nulls first, then slow twins and metrics known to mislead."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from superscope.errors import SettingError
from superscope.recover.sae import failures, firing, scores


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def truth_of(features: int, d: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((features, d)))


def sparse(count: int, features: int, density: float = 0.1, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((count, features)) < density) * rng.uniform(0.5, 1.5, (count, features))


# ------------------------------------------------------------------------------------------------ planted dictionaries


def test_a_permuted_scaled_copy_scores_one_and_a_random_one_scores_chance():
    rng, truth = np.random.default_rng(3), truth_of(24, 64)
    order = rng.permutation(24)
    copy = truth[order] * rng.uniform(1e-3, 50, (24, 1))
    x = sparse(3000, 24)
    found = scores.panel(copy, truth, latents=x[:, order], features=x, x=x @ truth, reconstruction=x @ truth)
    for name in (*scores.ADJUSTABLE, "f1", "f1_recall", "f1_saelens", "explained_variance", "shrinkage", "splitting"):
        assert found[name] == pytest.approx(1, abs=1e-6), name
        if f"{name}_adjusted" in found:
            assert found[f"{name}_adjusted"] == pytest.approx(1, abs=1e-6)
    null = scores.against_random(rng.standard_normal((24, 64)), truth, draws=20)
    for name in ("mcc", "mcc_sign_blind", "mmcs", "mmcs_latents", "uniqueness"):
        assert abs(float(null[f"{name}_adjusted"])) < 0.3, name
    assert null["recovered_90"] == 0


def test_noise_lowers_the_scores_by_the_cosine_it_leaves():
    truth = truth_of(30, 200)
    noisy = truth + 0.5 * truth_of(30, 200, seed=9)  # cos 1 / sqrt(1.25) = .894
    found = scores.dictionary_scores(noisy, truth)
    assert found["mcc"] == pytest.approx(1 / np.sqrt(1.25), abs=0.02)
    assert found["recovered_90"] < 0.6
    assert found["recovered_99"] == 0


def test_a_latent_that_points_away_is_no_find_unless_signs_are_ignored():
    truth = truth_of(10, 100)
    flipped = truth * np.where(np.arange(10) < 4, -1, 1)[:, None]
    assert scores.mcc(flipped, truth, signed=False) == pytest.approx(1)
    assert scores.mcc(flipped, truth) < 0.75
    assert scores.recovered(flipped, truth) == pytest.approx(0.6)
    assert scores.uniqueness(flipped, truth) == 1  # SAELens' own, sign-blind


def test_near_duplicates_are_seen_as_splitting_and_not_as_finds():
    rng, truth = np.random.default_rng(0), truth_of(6, 80)
    twice = np.concatenate([truth[:3] + 0.01 * rng.standard_normal((3, 80)) for _ in range(2)])  # 3 features, each twice
    assert scores.latent_mmcs(twice, truth) > 0.99
    assert scores.recovered(twice, truth) == pytest.approx(0.5)
    assert scores.uniqueness(twice, truth) == pytest.approx(0.5)
    assert scores.splitting(twice, truth) == pytest.approx(2)
    assert scores.crowding(twice)[1] > 0.98
    assert scores.mcc(twice, truth) < 0.7


def test_composed_dictionary_is_recognised_as_absorbed():
    truth, pairs = np.eye(12)[:4], [(0, 1)]
    composed = truth.copy()
    composed[1] = truth[0] + truth[1]  # the child's latent carries the parent
    (row,) = failures.mixing(composed, truth, pairs)
    assert row["parent_in_child"] == pytest.approx(np.sqrt(0.5))
    assert row["child_in_parent"] == pytest.approx(0)
    rng = np.random.default_rng(0)
    on = rng.random((8000, 4)) < [0.25, 0.2, 0.2, 0.2]
    on[:, 1] &= on[:, 0]
    latents = on.astype(float)
    latents[:, 0] = on[:, 0] & ~on[:, 1]
    (hurt,) = failures.absorption(latents, on, composed, truth, pairs)
    assert hurt["hole"] == pytest.approx(1)
    assert hurt["absorbed"] == pytest.approx(1)
    assert abs(hurt["null"]) < 1e-9
    (well,) = failures.absorption(on, on, truth, truth, pairs)
    assert well["hole"] == well["absorbed"] == 0


def test_three_generations_of_absorption_are_told_apart():
    truth, pairs = np.eye(20)[:9], [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5)]
    composed = truth.copy()
    for parent, child in pairs:
        composed[child] += truth[parent]  # latent 3 = grandchild + child is as near to the child as latent 1 = child + parent
    order = np.random.default_rng(0).permutation(9)
    for row in failures.mixing(composed[order], truth, pairs):
        assert row["parent_in_child"] == pytest.approx(np.sqrt(0.5))
        assert row["child_in_parent"] == pytest.approx(0)
        assert row["own_latents"] == 1
    shared = np.stack([truth[0] + 0.25 * truth[1], truth[8] + 0.02 * truth[1]])
    (row,) = failures.mixing(shared, truth[:2], [(0, 1)])  # a latent of something else is no latent of the child
    assert row["own_latents"] == 0


def test_being_crowded_out_by_any_companion_is_in_the_null_of_absorption():
    rng = np.random.default_rng(2)
    on = rng.random((20_000, 6)) < [0.3, 0.3, 0.3, 0.3, 0.3, 0.3]
    on[:, 1] &= on[:, 0]
    latents = on.astype(float)
    crowded = on.sum(axis=1) > 2  # top-k with k = 2 that drops the parent first, whoever is there
    latents[crowded, 0] = 0
    (row,) = failures.absorption(latents, on, np.eye(6), np.eye(6), [(0, 1)])
    assert row["hole"] > 0.3
    assert row["hole"] - row["null"] < 0.15
    assert row["absorbed"] == 0  # nobody carries the parent


# --------------------------------------------------------------------------------------------------- the nulls by name


@pytest.mark.parametrize(
    ("features", "d", "latents", "blind", "mmcs", "over_90"),
    [  # reference/field_2026: five draws each, so a spread of about .03 in the small ones
        (5, 2, 5, 0.888, 0.817, 0.40),
        (5, 2, 20, 0.994, 0.990, 1.00),
        (20, 5, 40, 0.863, 0.827, 0.18),
        (40, 10, 80, 0.737, 0.709, 0.005),
        (50, 100, 50, 0.228, 0.225, 0),
        (256, 64, 256, 0.353, 0.346, 0),
        (512, 256, 512, 0.194, 0.190, 0),
    ],
)
def test_random_dictionaries_score_what_was_computed_before(features, d, latents, blind, mmcs, over_90):
    repeats = 40 if features < 50 else 1
    found = [scores.random_null(truth_of(features, d, s), latents, draws=2, seed=s) for s in range(repeats)]
    mean = {name: np.mean([one[name] for one in found]) for name in found[0]}
    small = features < 50
    assert mean["mcc_sign_blind"] == pytest.approx(blind, abs=0.03 if small else 0.01)
    assert mean["mmcs"] == pytest.approx(mmcs, abs=0.06 if small else 0.01)
    assert mean["recovered_90"] == pytest.approx(over_90, abs=0.15)


def test_the_null_that_counts_signs_is_much_lower_in_two_dimensions():
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((1500, 2, 5, 2))
    assert np.mean([scores.mcc(a, b) for a, b in drawn]) == pytest.approx(0.562, abs=0.02)
    assert np.mean([scores.mcc(a, b, signed=False) for a, b in drawn]) == pytest.approx(0.872, abs=0.01)
    found = [scores.random_null(truth_of(5, 2, s), 5, draws=2, seed=s) for s in range(200)]
    assert np.mean([one["mcc"] for one in found]) == pytest.approx(0.562, abs=0.05)
    assert scores.adjusted(1.0, 1.0) != scores.adjusted(1.0, 1.0)  # NaN: chance is perfect


def test_a_dictionary_of_data_points_is_a_harder_null_when_samples_are_sparse():
    truth = truth_of(40, 60)
    x = sparse(2000, 40, density=0.03) @ truth
    x = x[np.linalg.norm(x, axis=1) > 0]
    assert scores.random_null(truth, 80, 3, pool=x)["mmcs"] > scores.random_null(truth, 80, 3)["mmcs"] + 0.3


def test_a_latent_that_is_always_on_has_the_f1_of_its_density():
    on = np.random.default_rng(0).random((20_000, 4)) < 0.4
    always = np.ones((20_000, 4))
    found = firing.firing_against_null(always, on, np.eye(4), np.eye(4))
    assert found["f1"] == pytest.approx(2 * 0.4 / 1.4, abs=0.01)
    assert found["f1_null"] == pytest.approx(found["f1"])  # so the adjusted score is 0


# ------------------------------------------------------------------------------------------ slow twins and wrong metrics


def test_matching_agrees_with_trying_every_permutation():
    rng = np.random.default_rng(5)
    decoder, truth = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    cos = unit(decoder) @ unit(truth).T
    for signed in (True, False):
        table = cos if signed else np.abs(cos)
        slow = max(np.mean([table[i, p[i]] for i in range(5)]) for p in itertools.permutations(range(5)))
        assert scores.mcc(decoder, truth, signed) == pytest.approx(slow)


@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_f1_agrees_with_counting(threshold):
    rng = np.random.default_rng(6)
    latents, features = np.maximum(rng.standard_normal((200, 4)), 0), np.maximum(rng.standard_normal((200, 3)) - 0.5, 0)
    fast = firing.f1_matrix(latents, features, threshold)
    for i, j in itertools.product(range(4), range(3)):
        on, true = latents[:, i] > threshold, features[:, j] > 0
        precision, recall = (on & true).sum() / on.sum(), (on & true).sum() / true.sum()
        assert fast[i, j] == pytest.approx(2 * precision * recall / (precision + recall))


def test_best_threshold_forgives_small_interference_and_dead_latents_stay_dead():
    x = sparse(2000, 3)
    leaky = x + 0.1 * np.random.default_rng(0).random(x.shape)  # on everywhere, but only faintly
    leaky[:, 2] = 0
    plain, best = firing.f1_matrix(leaky, x), firing.f1_matrix(leaky, x, "best")
    assert (best >= plain).all()
    assert plain[0, 0] < 0.25
    assert best[0, 0] > 0.8
    assert (best[2] == 0).all()
    assert firing.dead_share(leaky) == pytest.approx(1 / 3)


def test_a_narrow_dictionary_of_easy_features_is_perfect_to_saelens_only():
    truth, x = truth_of(10, 50), sparse(3000, 10)
    found = scores.panel(truth[:2], truth, latents=x[:, :2], features=x)
    assert found["f1_saelens"] == found["mcc"] == pytest.approx(1)
    assert found["f1"] == pytest.approx(0.2)
    assert found["f1_recall"] < 0.5
    assert found["recovered_90"] == pytest.approx(0.2)


def test_latents_between_near_duplicates_are_no_find_once_features_are_counted():
    groups = truth_of(6, 40)
    truth = unit(np.repeat(groups, 5, axis=0) + 0.25 * truth_of(30, 40, seed=5))
    found = scores.dictionary_scores(groups, truth)
    assert found["mcc"] > 0.95
    assert found["recovered_90"] > 0.95
    assert found["mcc_features"] == pytest.approx(found["mcc"] / 5)
    assert found["recovered_99"] == 0


def test_a_latent_must_point_and_fire_alike_to_be_matched():
    truth, x = truth_of(6, 40), sparse(2000, 6)
    found = firing.firing_scores(x[:, ::-1], x, truth, truth)  # each fires for another feature than it points to
    assert found["f1"] == pytest.approx(1)
    assert found["f1_matched"] < 0.2
    assert firing.firing_scores(x, x, truth, truth)["f1_matched"] == pytest.approx(1)


def test_features_never_on_are_left_out_and_counted():
    truth, x = truth_of(4, 30), sparse(500, 4)
    x[:, 3] = 0
    found = firing.firing_scores(x, x, truth, truth)
    assert found["f1"] == found["f1_recall"] == pytest.approx(1)
    assert found["features_seen"] == 0.75


def test_explained_variance_is_about_the_mean_even_when_it_is_large():
    rng = np.random.default_rng(7)
    x = rng.standard_normal((500, 6)) + 1e4
    xhat = x + 0.3 * rng.standard_normal(x.shape)
    mean = np.broadcast_to(x.mean(axis=0), x.shape)
    sse, sst = ((x - xhat) ** 2).sum(), ((x - mean) ** 2).sum()
    assert firing.explained_variance(x, xhat) == pytest.approx(1 - sse / sst, abs=1e-12)
    assert firing.explained_variance(x, mean) == pytest.approx(0, abs=1e-12)  # about zero it would be 1 - 1e-8
    assert firing.explained_variance(x, x.mean() * np.ones_like(x)) < 0
    assert firing.shrinkage(x, 0.8 * x) == pytest.approx(0.8)


def test_stacks_tensors_and_single_dictionaries_agree():
    truth = truth_of(7, 12)
    stack = torch.from_numpy(np.random.default_rng(8).standard_normal((2, 3, 9, 12))).float()
    stack[1, 2, 4] = 0  # a dead latent
    many = scores.dictionary_scores(stack, torch.from_numpy(truth))
    for i, j in itertools.product(range(2), range(3)):
        one = scores.dictionary_scores(stack[i, j].numpy(), truth)
        for name, value in one.items():
            assert many[name][i, j] == pytest.approx(float(value), nan_ok=True), name
    assert many["mcc"][0, 0] == pytest.approx(float(scores.mcc(stack[0, 0], truth)))
    assert many["mmcs"][0, 0] == pytest.approx(float(scores.mmcs(stack[0, 0], truth)))
    assert np.isfinite(many["mcc"]).all()


# --------------------------------------------------------------------------------------------------- across dictionaries


def test_pw_mcc_of_seeds():
    truth, rng = truth_of(20, 100), np.random.default_rng(1)
    seeds = np.stack([rng.permutation(truth) for _ in range(3)])
    assert scores.pw_mcc(seeds) == pytest.approx(1)
    null = scores.random_null(truth, 20)["mcc"]
    assert scores.pw_mcc(rng.standard_normal((3, 20, 100))) == pytest.approx(null, abs=0.03)
    assert scores.pw_mcc(np.stack([truth, -truth]), signed=False) == pytest.approx(1)


def test_mixing_with_both_signs_raises_the_nth_projection_and_the_crowding():
    rng, truth = np.random.default_rng(3), np.eye(100)[:50]
    density = 0.345 * (49 - np.arange(50)) / 50 + 0.05  # the main toy of 2508.16560, true L0 = 11
    x = (rng.random((4000, 50)) < density) * (1 + 0.15 * rng.standard_normal((4000, 50))) @ truth
    wrong = unit(truth + 0.1 * rng.choice([-1, 1], (50, 50)) @ truth)
    assert (x @ truth.T > 0).sum(axis=1).mean() == pytest.approx(11, abs=0.5)
    for n in (14, 18, 24):
        low = failures.nth_decoder_projection(x, truth, n)
        assert failures.nth_decoder_projection(x, wrong, n) > low + 0.1
        assert failures.nth_decoder_projection(x, 7 * truth[::-1], n) == pytest.approx(low)
    assert scores.crowding(wrong)[0] > scores.crowding(truth)[0] + 0.05
    values = np.sort((x @ wrong.T).ravel())[::-1]
    assert failures.nth_decoder_projection(x, wrong, 9) == pytest.approx(values[9 * len(x)])


def test_the_nth_projection_does_not_see_one_feature_mixed_in_with_a_negative_sign():
    x = sparse(4000, 5, density=0.4) @ np.eye(20)[:5]
    for mix, seen in ((0.28, True), (-0.28, False)):
        wrong = np.eye(20)[:5]
        wrong[1:] += mix * wrong[0]
        lifted = failures.nth_decoder_projection(x, wrong, 2.5) - failures.nth_decoder_projection(x, np.eye(20)[:5], 2.5)
        assert (lifted > 0.1) == seen


def test_hedging_degree_sees_what_new_latents_take_over():
    truth = np.eye(50)[:6]
    hedged = truth[:3].copy()
    hedged[:] += 0.9 * truth[3:]  # each latent carries one feature that has no latent yet
    assert failures.hedging_degree(hedged, truth) > 0.5
    assert failures.hedging_degree(truth[:3], truth) == 0
    rng = np.random.default_rng(0)
    drifted = truth[:3] + 0.3 * rng.standard_normal((3, 50))  # moved, but not for the new ones
    assert failures.hedging_degree(drifted, np.concatenate([truth[:3], truth[3:]])) < 0.1


def test_hedged_latent_is_measured_against_the_theory():
    truth = np.eye(50)[:2]
    top = np.linalg.eigh([[1, 0.2], [0.2, 0.2]])[1][:, -1]  # E[x x^T | parent on]
    (row,) = failures.mixing((np.abs(top) @ truth)[None], truth, [(0, 1)])
    assert row["parent_cos"] == pytest.approx(0.973, abs=1e-3)
    assert row["child_in_parent"] == pytest.approx(0.230, abs=1e-3)
    assert row["own_latents"] == 0
    assert np.isnan(row["parent_in_child"])


def test_failure_split_blames_the_right_half():
    truth, x = truth_of(30, 20), sparse(600, 30, density=0.05)
    data = x @ truth
    good_encoder = x
    poor_encoder = np.maximum(data @ truth.T - 0.3, 0)  # a ReLU layer on a superposed code: interference
    wrong = truth_of(30, 20, seed=77)
    right = failures.failure_split(data, truth, x, truth, good_encoder)
    assert right["truth_fista_f1"] > 0.9
    assert abs(right["dictionary_gap"]) < 1e-9
    encoder = failures.failure_split(data, truth, x, truth, poor_encoder)
    assert encoder["encoder_gap"] > 0.05
    assert abs(encoder["dictionary_gap"]) < 1e-9
    dictionary = failures.failure_split(data, truth, x, wrong, np.maximum(data @ wrong.T - 0.5, 0))
    assert dictionary["dictionary_gap"] > 0.5
    assert abs(dictionary["encoder_gap"]) < 0.2


# ------------------------------------------------------------------------------------------------------------ bad input


def test_bad_input_is_one_clear_line():
    truth = truth_of(4, 6)
    broken = truth.copy()
    broken[1, 2] = np.nan
    cases = [
        (lambda: scores.mcc(broken, truth), "1 values that are not finite"),
        (lambda: scores.mcc(truth[:, :5], truth), "5 dimensions and truth 6"),
        (lambda: scores.mmcs(np.ones(3), truth), r"shape \(3,\)"),
        (lambda: scores.panel(truth, truth, latents=np.ones((3, 4))), "together"),
        (lambda: scores.panel(truth, truth, latents=np.ones((3, 4)), features=np.ones((2, 4))), "same samples"),
        (lambda: firing.f1_matrix(np.ones((3, 4)), np.ones((3, 4)), "median"), "'best'"),
        (lambda: scores.pw_mcc(truth[None]), "at least 2"),
        (lambda: failures.nth_decoder_projection(truth, truth, 4), "n=4"),
    ]
    for call, words in cases:
        with pytest.raises(SettingError, match=words) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_all_latents_dead_gives_numbers_and_no_warning():
    truth, x = truth_of(4, 6), sparse(100, 4)
    found = scores.panel(np.zeros((4, 6)), truth, latents=np.zeros((100, 4)), features=x, pairs=[(0, 1)])
    assert found["f1"] == found["mcc"] == 0
    assert found["dead"] == 1
    assert np.isnan(found["crowding"])
