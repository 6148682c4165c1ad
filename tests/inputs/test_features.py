"""Features: exact moments against samples, groups, and the stratified sampler against plain expectations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import superscope as ss
from superscope.inputs.strata import StratifiedPlan, active_count_pmf
from superscope.sweep.points import stream
from superscope.toys import TARGETS

LAWS = [
    ss.Uniform(0, 1),
    ss.Uniform(0.5, 1),
    ss.SignedUniform(0, 1),
    ss.SignedUniform(0.2, 0.6),
    ss.Constant(1),
    ss.Levels(1, 2, 3),
]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_moments_and_nodes_of_value_laws(law) -> None:
    u = (np.arange(400_000) + 0.5) / 400_000
    values = law.quantile(u)
    x, w = law.nodes(16)
    assert w.sum() == pytest.approx(1)
    for k in (1, 2, 3, 4):
        assert law.moment(k) == pytest.approx(np.mean(values**k), rel=1e-5, abs=1e-5)
        assert law.moment(k) == pytest.approx(np.sum(w * x**k), abs=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_moments_of_features(law) -> None:
    inputs = ss.SparseFeatures(3, density=(0.5, 0.1, 1.0), values=law)
    x = inputs.sample(400_000, seed=0).numpy().astype(float)
    np.testing.assert_allclose(x.mean(0), inputs.mean(), atol=0.006)
    np.testing.assert_allclose((x**2).mean(0), inputs.second_moment(), rtol=0.02)
    np.testing.assert_allclose((x**4).mean(0) / (x**2).mean(0) ** 2, inputs.kurtosis(), rtol=0.04)


def test_samples_depend_on_the_seed_alone() -> None:
    inputs = ss.SparseFeatures(5, density=0.3)
    assert inputs.sample(100, seed=1).equal(inputs.sample(100, seed=1))
    assert not inputs.sample(100, seed=1).equal(inputs.sample(100, seed=2))


def _on(groups: tuple, density=0.2, n: int = 6) -> tuple[np.ndarray, ss.SparseFeatures]:
    inputs = ss.SparseFeatures(n, density=density, values=ss.Constant(1), groups=groups)
    return inputs.sample(60_000, seed=0).numpy() > 0, inputs


GROUPS = {
    "correlated": (ss.Correlated((0, 1, 2)),),
    "anti-correlated": (ss.AntiCorrelated((0, 1, 2)),),
    "exactly k": (ss.ExactlyK((0, 1, 2, 3), 2),),
    "exclusive sets": (ss.ExclusiveSets(((0, 1), (2, 3))),),
    "hierarchy": (ss.Hierarchy(0, (1, 2)),),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_groups_keep_the_marginals_they_promise(kind: str) -> None:
    on, inputs = _on(GROUPS[kind])
    np.testing.assert_allclose(on.mean(0), inputs.marginals, atol=0.008)
    assert abs(np.corrcoef(on[:, 4], on[:, 5])[0, 1]) < 0.02  # features in no group stay independent


def test_groups_mean_what_they_say() -> None:
    on, _ = _on(GROUPS["correlated"])
    assert (on[:, :1] == on[:, :3]).all()
    on, _ = _on(GROUPS["anti-correlated"])
    assert (on[:, :3].sum(1) <= 1).all()
    on, _ = _on(GROUPS["exactly k"])
    assert (on[:, :4].sum(1) == 2).all()
    on, _ = _on(GROUPS["exclusive sets"])
    assert not (on[:, :2].any(1) & on[:, 2:4].any(1)).any()
    assert (on[:, 0] & on[:, 1]).any()
    on, _ = _on(GROUPS["hierarchy"])
    assert not (on[:, 1:3].any(1) & ~on[:, 0]).any()


# -- strata --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_active_count_is_poisson_binomial(density: list[float]) -> None:
    p = np.array(density)
    on = (np.arange(2 ** len(p))[:, None] >> np.arange(len(p))) & 1
    chance = np.where(on, p, 1 - p).prod(1)
    expected = np.bincount(on.sum(1), weights=chance, minlength=len(p) + 1)
    np.testing.assert_allclose(active_count_pmf(p), expected, atol=1e-12)


DENSITIES = {
    "sparse": (20, 0.01, 80),
    "very sparse": (20, 0.001, 64),
    "dense": (12, 0.5, 64),
    "full": (5, 1.0, 16),
    "uneven": (6, (0.5, 0.1, 0.01, 0.3, 0.2, 0.9), 64),
    "with certain and impossible features": (4, (1.0, 0.0, 0.1, 0.2), 64),
    "tiny": (2, 0.3, 16),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_strata_are_unbiased(name: str) -> None:
    """First and second moments, products of two features and a kinked function all have the right expectation."""
    n, density, points = DENSITIES[name]
    inputs = ss.SparseFeatures(n, density=density)
    plan = StratifiedPlan(inputs, points)
    assert plan.weight.sum() == pytest.approx(1)
    x = plan.draw(np.random.default_rng(0), 4000)
    plain = inputs.draw(np.random.default_rng(1), 400_000)

    def check(f, exact: float | None = None) -> None:
        each = (f(x) * plan.weight).sum(1)
        reference = f(plain) if exact is None else np.array([exact])
        error = np.hypot(each.std() / np.sqrt(len(each)), reference.std() / np.sqrt(len(reference)))
        assert abs(each.mean() - reference.mean()) < 4.5 * error + 1e-9

    check(lambda a: a[..., 0], inputs.mean()[0])
    check(lambda a: a[..., -1] ** 2, inputs.second_moment()[-1])
    check(lambda a: a[..., 0] * a[..., -1], inputs.mean()[0] * inputs.mean()[-1])
    check(lambda a: np.maximum(a.sum(-1) - 0.7, 0))
    check(lambda a: (a > 0).sum(-1) ** 2.0)


def test_strata_have_lower_variance_than_plain_samples() -> None:
    inputs = ss.SparseFeatures(20, density=0.01)
    plan = StratifiedPlan(inputs, 80)
    x = plan.draw(np.random.default_rng(0), 500)
    plain = inputs.draw(np.random.default_rng(1), 500 * 80).reshape(500, 80, 20)
    stratified = ((x**2).sum(-1) * plan.weight).sum(1).std()
    assert stratified < 0.2 * (plain**2).sum(-1).mean(1).std()


def test_groups_fall_back_to_plain_samples_and_say_so() -> None:
    inputs = ss.SparseFeatures(6, density=0.2, groups=(ss.AntiCorrelated((0, 1)),))
    assert StratifiedPlan(inputs, 64).kind == "plain"
    run = ss.Sweep(ss.Bottleneck(6, 2), inputs).train(ss.Recipe(steps=5))
    assert any("plain samples" in note for note in run.notes)


def test_stream_prefix_does_not_depend_on_the_length() -> None:
    instances = ss.Sweep(ss.Bottleneck(6, 2), ss.SparseFeatures(6)).instances()
    short = np.concatenate([b.x for b in stream(instances, ss.Recipe(steps=30))])
    long = np.concatenate([b.x for b in stream(instances, ss.Recipe(steps=100, history=(7, 64, 70)))])
    np.testing.assert_array_equal(short, long[:30])


@pytest.mark.parametrize("name", TARGETS)
def test_targets_have_the_outputs_they_promise(name: str) -> None:
    x = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    out = TARGETS[name].compute(x)
    assert out.shape == (5, TARGETS[name].outputs(6))
    assert out.dtype == np.float32


def test_logic_targets_on_bits() -> None:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    assert TARGETS["and"].compute(x).ravel().tolist() == [0, 0, 0, 1]
    assert TARGETS["or"].compute(x).ravel().tolist() == [0, 1, 1, 1]
    assert TARGETS["xor"].compute(x).ravel().tolist() == [0, 1, 1, 0]


def test_import_is_fast_and_light() -> None:
    import subprocess
    import sys

    code = "import superscope, sys; print(sorted({'torch', 'xarray', 'scipy', 'plotly', 'zarr'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
