"""Worlds: samples obey the law that was asked for, the ready-made ones are those of the papers, and saving is exact."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from superscope.errors import SettingError
from superscope.inputs import worlds
from superscope.store import StoreError

COUNT = 40_000


def close(found: torch.Tensor, wanted: torch.Tensor, count: int = COUNT, sds: float = 5) -> bool:
    """Shares of `count` samples within `sds` standard errors of `wanted`."""
    return bool(((found - wanted).abs() <= sds * (wanted * (1 - wanted) / count).sqrt() + 1e-6).all())


def both_on(p: float, q: float, correlation: float) -> float:
    """P(both above their quantiles) of two Gaussians."""
    return float(multivariate_normal([0, 0], [[1, correlation], [correlation, 1]]).cdf([norm.ppf(p), norm.ppf(q)]))


def coherence(rows: torch.Tensor) -> float:
    """Mean over rows of the largest |cos| with another row."""
    return float(((rows @ rows.T).abs() - torch.eye(len(rows))).amax(dim=1).mean())


# -------------------------------------------------------------------------------------------------------- law of firing


def test_independent_features_fire_at_their_densities_and_alone():
    density = worlds.zipf(30)
    made = worlds.world("plain", torch.randn(30, 8, generator=torch.Generator().manual_seed(0)), density)
    on = made.firing(COUNT, 1)
    assert torch.equal(made.rates, density)
    assert close(on.float().mean(0), density)
    phi = np.corrcoef(on[:, :10].numpy().T) - np.eye(10)
    assert np.abs(phi).max() < 5 / math.sqrt(COUNT)


def test_zipf_meets_both_ends_and_falls_as_a_power():
    p = worlds.zipf(1000, 0.5, 0.4, 5e-4)
    assert p[0] == pytest.approx(0.4)
    assert p[-1] == pytest.approx(5e-4)
    assert (p[10] - p[100]) / (p[100] - p[999]) == pytest.approx((11**-0.5 - 101**-0.5) / (101**-0.5 - 1000**-0.5), rel=1e-3)


@pytest.mark.parametrize("correlation", [0.4, -0.4])
def test_the_copula_gives_the_pairs_of_two_gaussians(correlation):
    made = worlds.sparse_but_wrong(correlation)
    on = made.firing(COUNT, 2)
    assert close(on.float().mean(0), torch.full((5,), 0.4))
    together = (on[:, :1] & on[:, 1:]).float().mean(0)
    assert close(together, torch.full((4,), both_on(0.4, 0.4, correlation)))
    others = (on[:, 1] & on[:, 2]).float().mean()
    assert close(others[None], torch.tensor([0.16]))  # not correlated with each other
    assert (on.float().sum(1)).mean() == pytest.approx(2, abs=0.03)


def test_a_low_rank_copula_has_the_correlations_of_its_factors():
    factors = torch.tensor([[0.8, 0.0], [0.8, 0.0], [0.0, 0.7], [-0.6, 0.0]])
    made = worlds.world("low rank", torch.eye(4), 0.2, factors=factors)
    on = made.firing(COUNT, 3)
    assert close(on.float().mean(0), torch.full((4,), 0.2))
    for i, j, c in ((0, 1, 0.64), (0, 2, 0.0), (0, 3, -0.48)):
        assert close((on[:, i] & on[:, j]).float().mean()[None], torch.tensor([both_on(0.2, 0.2, c)]))
    drawn = worlds.low_rank(500, 25, 0.1, seed=0)
    spread = (drawn @ drawn.T)[~torch.eye(500, dtype=torch.bool)].std()
    assert spread == pytest.approx(0.01 * 5, rel=0.1)
    assert worlds.low_rank(500, 25, 0.5, seed=0).norm(dim=1).max() < 1


def test_children_need_their_parent_and_have_the_conditional_rate():
    made = worlds.parent_child(0.25, (0.2, 0.5))
    on = made.firing(COUNT, 4)
    assert not (on[:, 1:] & ~on[:, :1]).any()
    given = on[on[:, 0], 1:].float().mean(0)
    assert close(given, torch.tensor([0.2, 0.5]), count=int(on[:, 0].sum()))
    assert torch.allclose(made.rates, torch.tensor([0.25, 0.05, 0.125]))
    assert made.pairs == [(0, 1), (0, 2)]
    both = on[on[:, 0]][:, 1:].all(1).float().mean()
    assert close(both[None], torch.tensor([0.1]), count=int(on[:, 0].sum()))  # children are independent


def test_exclusive_children_are_never_on_together_and_their_rates_are_exact():
    p = [0.9, 0.5, 0.7, 0.2]
    made = worlds.parent_child(0.5, p, exclusive=True)
    on = made.firing(COUNT, 5)
    assert on[:, 1:].sum(1).max() == 1
    slow = torch.zeros(4)  # every subset of children on, the one that stays picked at random
    for subset in range(1, 16):
        members = [i for i in range(4) if subset >> i & 1]
        chance = math.prod(p[i] if i in members else 1 - p[i] for i in range(4))
        slow[members] += 0.5 * chance / len(members)
    assert torch.allclose(made.rates[1:], slow, atol=1e-6)
    assert close(on.float().mean(0), made.rates)


def test_a_grandchild_falls_with_a_child_that_lost_to_its_sibling():
    made = worlds.world(
        "three deep",
        torch.eye(5),
        [0.5, 0.8, 0.8, 0.6, 0.6],
        parent=[-1, 0, 0, 1, 2],
        exclusive=[True, False, False, False, False],
    )
    on = made.firing(COUNT, 6)
    assert not (on[:, 1] & on[:, 2]).any()
    assert not (on[:, 3] & ~on[:, 1]).any()
    assert not (on[:, 4] & ~on[:, 2]).any()
    assert close(on.float().mean(0), made.rates)


def test_compensation_gives_the_rates_asked_for_where_they_can_be_had():
    wanted = torch.tensor([0.4, 0.1, 0.05, 0.02, 0.01, 0.03])
    parent = [-1, 0, 0, 1, 1, 2]
    made = worlds.world("c", torch.eye(6), wanted, parent=parent, exclusive=True, compensate=0.8)
    assert torch.allclose(made.rates, wanted, atol=1e-5)
    assert close(made.firing(COUNT, 7).float().mean(0), wanted)
    greedy = worlds.world("g", torch.eye(4), [0.2, 0.3, 0.1, 0.1], parent=[-1, 0, 0, 0], exclusive=True, compensate=0.8)
    assert greedy.rates[1:].sum() == pytest.approx(0.8 * 0.2, abs=1e-4)  # in the proportions wanted
    assert greedy.rates[1] == pytest.approx(3 * float(greedy.rates[2]), rel=1e-3)


# -------------------------------------------------------------------------------------------- magnitudes and directions


@pytest.mark.parametrize("magnitude", ["normal", "folded", "uniform"])
def test_values_have_the_mean_and_spread_asked_for(magnitude):
    made = worlds.world(
        "m", torch.eye(2), 0.5, mean=torch.tensor([2.0, 3.0]), std=torch.tensor([0.2, 0.0]), magnitude=magnitude
    )
    x = made.sample(COUNT, 8)
    first, second = x[x[:, 0] > 0, 0], x[x[:, 1] > 0, 1]
    assert first.mean() == pytest.approx(2, abs=0.01)
    assert first.std() == pytest.approx(0.2, rel=0.05)
    assert (second == 3).all()
    wide = worlds.world("w", torch.eye(1), 1.0, mean=0.5, std=2.0, magnitude=magnitude).sample(5000, 0)
    assert (wide >= 0).all()
    assert bool((wide == 0).any()) == (magnitude != "folded")  # the others are cut at 0


def test_children_scale_with_their_parents():
    made = worlds.world(
        "s", torch.eye(2), 1.0, mean=torch.tensor([4.0, 1.0]), std=torch.tensor([0.5, 0.0]), parent=[-1, 0], scaled=True
    )
    x = made.sample(200, 9)
    assert torch.allclose(x[:, 1], x[:, 0] / 4)


def test_embedding_is_linear_with_a_bias_and_directions_are_unit():
    made = worlds.world(
        "e", 7 * torch.randn(6, 3, generator=torch.Generator().manual_seed(1)), 0.3, bias=torch.tensor([1.0, 2, 3])
    )
    x = made.sample(50, 10)
    assert torch.allclose(made.directions.norm(dim=1), torch.ones(6))
    slow = torch.stack([made.bias + sum(v * w for v, w in zip(row, made.directions, strict=True)) for row in x])
    assert torch.allclose(made.embed(x), slow, atol=1e-5)


def test_pushing_apart_lowers_the_largest_cosines():
    random = coherence(worlds.spread(128, 32, steps=0))
    assert coherence(worlds.spread(128, 32, steps=100)) < 0.7 * random
    assert coherence(worlds.spread(128, 32, steps=100, power=2)) < random
    few = worlds.spread(16, 32, steps=300, power=2)
    assert coherence(few) < 0.02  # fewer than dimensions: orthogonal


# ------------------------------------------------------------------------------------------------------------ ready-made


def test_ready_made_worlds_are_those_of_the_papers():
    wrong = worlds.sparse_but_wrong()
    assert wrong.directions.shape == (5, 20)
    assert torch.allclose(wrong.directions @ wrong.directions.T, torch.eye(5), atol=1e-6)
    assert (wrong.std == 0.15).all()
    mixed = worlds.sparse_but_wrong([0.4, -0.4, 0.4, 0]).factors
    assert torch.allclose((mixed @ mixed.T)[0], torch.tensor([1, 0.4, -0.4, 0.4, 0]), atol=1e-6)
    assert worlds.parent_child().directions.shape == (2, 50)
    pentagon = worlds.polygon(5)
    cos = pentagon.directions @ pentagon.directions.T
    assert cos[0, 1] == pytest.approx(math.cos(2 * math.pi / 5), abs=1e-6)
    x = pentagon.sample(COUNT, 11)
    assert x.max() <= 1
    assert x[x > 0].mean() == pytest.approx(0.5, abs=0.01)


def test_the_benchmark_is_nested_zipfian_and_deterministic():
    made = worlds.benchmark("256")
    assert made.directions.shape == (256, 64)
    assert coherence(made.directions) < 0.2
    assert len(made.pairs) == 160
    again = worlds.benchmark("256")
    assert torch.equal(made.directions, again.directions)
    assert torch.equal(made.sample(100, 3), again.sample(100, 3))
    assert not torch.equal(made.sample(100, 3), made.sample(100, 4))
    assert not torch.equal(made.directions, worlds.benchmark("256", seed=43).directions)
    on = made.firing(20_000, 12)
    parent = torch.tensor([p for p, _ in made.pairs])
    child = torch.tensor([c for _, c in made.pairs])
    assert not (on[:, child] & ~on[:, parent]).any()
    for p in parent.unique():
        assert on[:, child[parent == p]].sum(1).max() <= 1
    assert on.float().sum(1).mean() == pytest.approx(float(made.rates.sum()), rel=0.03)  # rates hold with weak correlations
    alone = [(on[:, p] & ~on[:, child[parent == p]].any(1)).sum() / on[:, p].sum() for p in range(8)]
    assert min(alone) > 0.1


def test_the_published_size_has_its_l0():
    """34 by the documentation of SAELens; by the same law without directions, which play no part in it."""
    parent = worlds.trees(16384, 128, 4, 3)
    assert int((parent >= 0).sum()) == 128 * (4 + 16 + 64)
    made = worlds.world("16k", torch.ones(16384, 1), worlds.zipf(16384), parent=parent, exclusive=True, compensate=0.98)
    assert made.rates.sum() == pytest.approx(34, abs=1)


def test_trees_that_do_not_fit_end_where_features_do():
    assert worlds.trees(7, 2, 3, 2).tolist() == [-1, -1, 0, 0, 0, 1, 1]
    assert worlds.trees(3, 1, 1, 5).tolist() == [-1, 0, 1]
    assert worlds.trees(4, 1, 2, 0).tolist() == [-1, -1, -1, -1]


def test_generators_of_all_kinds_and_no_global_state():
    made = worlds.parent_child()
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    rng = np.random.default_rng(5)
    first, second = made.sample(50, rng), made.sample(50, rng)
    assert not torch.equal(first, second)
    assert torch.equal(first, made.sample(50, np.random.default_rng(5)))
    generator = torch.Generator().manual_seed(9)
    assert torch.equal(made.sample(50, generator), made.sample(50, 9))
    worlds.benchmark("256")
    assert torch.equal(before, torch.random.get_rng_state())


# --------------------------------------------------------------------------------------------------------------- storage


def test_a_saved_world_is_the_same_world(tmp_path):
    for k, made in enumerate([worlds.benchmark("256"), worlds.parent_child(), worlds.polygon()]):
        made.save(tmp_path / str(k))
        back = worlds.load(tmp_path / str(k))
        assert torch.equal(made.sample(300, 1), back.sample(300, 1))
        assert torch.equal(made.embed(made.sample(10, 1)), back.embed(back.sample(10, 1)))
        assert (made.name, made.settings, made.magnitude, made.scaled) == (
            back.name,
            back.settings,
            back.magnitude,
            back.scaled,
        )
        assert torch.equal(made.rates, back.rates)


@pytest.mark.parametrize("name", ["world.json", "world.safetensors"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_world_is_refused_in_one_line(tmp_path, name, harm):
    worlds.parent_child().save(tmp_path)
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-20] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()
    with pytest.raises(StoreError, match="missing" if harm == "remove" else "damaged") as raised:
        worlds.load(tmp_path)
    assert "\n" not in str(raised.value)
    assert name in str(raised.value)


def test_a_later_format_and_a_swapped_tensor_file_are_refused(tmp_path):
    from superscope import store

    worlds.parent_child().save(tmp_path / "a")
    worlds.parent_child(seed=1).save(tmp_path / "b")
    (tmp_path / "a" / "world.safetensors").write_bytes((tmp_path / "b" / "world.safetensors").read_bytes())
    with pytest.raises(StoreError, match="damaged"):
        worlds.load(tmp_path / "a")
    about = json.loads((tmp_path / "b" / "world.json").read_text())
    store.atomic_write_json(tmp_path / "b" / "world.json", store.seal({**about, "format": 2}))
    with pytest.raises(StoreError, match="format 2"):
        worlds.load(tmp_path / "b")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: worlds.sparse_but_wrong(0.6), "negative eigenvalue"),
        (lambda: worlds.world("x", torch.eye(3), [0.1, 0.2]), r"density has shape \(2,\)"),
        (lambda: worlds.world("x", torch.full((3, 3), torch.nan), 0.5), "finite"),
        (lambda: worlds.world("x", torch.eye(3), 1.5), r"\[0, 1\]"),
        (lambda: worlds.world("x", torch.eye(3), 0.5, parent=[1, -1, -1]), "before its children"),
        (lambda: worlds.world("x", torch.eye(3), 0.5, parent=[-1, 0]), "parent has shape"),
        (lambda: worlds.world("x", torch.eye(3), 0.5, magnitude="gaussian"), "normal, folded, uniform"),
        (lambda: worlds.world("x", torch.eye(3), 0.5, mean=0.0), "above 0"),
        (lambda: worlds.world("x", torch.eye(3), 0.5, compensate=1.0), "between 0 and 1"),
        (lambda: worlds.benchmark("2k"), "256, 1k, 16k"),
        (lambda: worlds.orthogonal(5, 4), "do not fit"),
        (lambda: worlds.zipf(10, p_max=0.1, p_min=0.2), "p_min < p_max"),
    ],
)
def test_worlds_that_cannot_be(make, words):
    with pytest.raises(SettingError, match=words) as raised:
        make()
    assert "\n" not in str(raised.value)
