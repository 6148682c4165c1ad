"""What 4.7, 4.8 and 4.9 share: planted truth for every helper."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import superscope as ss
from superscope import measure
from superscope.evidence.expect import gate
from superscope.measure import theory
from superscope.studies.value_laws import corners as corner
from superscope.studies.value_laws import laws as value
from superscope.studies.value_laws import polygons as polygon
from superscope.studies.value_laws import shifts as shift

SHAPES = [ss.Constant(1), ss.Levels(1, 2, 3), ss.Uniform(0, 1), ss.Uniform(0.5, 1)]
DENSITY = np.array([0.4, 0.2, 0.1, 0.05])


# --- laws and averages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", SHAPES)
def test_scaling_keeps_the_shape(law):
    made = value.scaled(law)
    assert made.moment(2) == pytest.approx(1 / 3)
    assert value.kurtosis(made) == pytest.approx(value.kurtosis(law))
    assert np.divide(*value.support(made)) == pytest.approx(np.divide(*value.support(law)))
    nodes = value.quadrature(made)
    assert nodes.weights.sum() == pytest.approx(1)
    for k in (1, 2, 4):
        assert nodes.weights @ nodes.values**k == pytest.approx(made.moment(k))


def test_the_family_ends_in_the_binary_law():
    assert value.uniform_from(1) == value.scaled(ss.Constant(1))
    assert value.kurtosis(value.uniform_from(0)) == pytest.approx(1.8)
    assert value.kurtosis(value.uniform_from(1)) == pytest.approx(1.0)


def test_log_mean():
    at = np.array([0.001, 1.0, 0.1, 0.02])
    assert value.log_mean(np.full((2, 4), 3.0), at) == pytest.approx([3.0, 3.0])
    assert value.log_mean(np.log(at), at) == pytest.approx(np.log(0.001) / 2)  # linear in the logarithm: its middle
    assert value.log_mean(np.array([7.0]), at[:1]) == 7.0


def planted(counts: dict[str, np.ndarray], loss: dict[str, np.ndarray] | None = None) -> xr.Dataset:
    """Two seeds, counts (density,) per law."""
    shape = ("values", "density", "seed")
    coords = {"values": list(counts), "density": DENSITY, "seed": [0, 1]}

    def array(of):
        return xr.DataArray(np.repeat(np.stack(list(of.values()))[..., None], 2, axis=-1), dims=shape, coords=coords)

    data = {"represented": array(counts)} | ({"loss": array(loss)} if loss else {})
    return xr.Dataset(data, attrs={"features": 100})


def test_counts_that_follow_kurtosis_match_at_equal_kurtosis_only():
    laws = {"{1}": value.uniform_from(1), "U[0, 1]": value.uniform_from(0)}
    data = planted({name: 20 * np.log(value.kurtosis(law) / DENSITY) for name, law in laws.items()})
    assert value.count_mismatch(data, laws, "{1}", "U[0, 1]") == pytest.approx([0, 0], abs=1e-12)
    shift = 0.2 * np.log(1.8)
    assert value.count_mismatch(data, laws, "{1}", "U[0, 1]", matched=False) == pytest.approx([shift, shift])


def curves(shape, noise: float, seeds: int = 8) -> tuple[xr.Dataset, dict]:
    """Counts (law, density, seed) of a curve with a knee, moved as `shape` says, every law with noise of its own."""
    laws = {"{1}": value.uniform_from(1), "U[0.5, 1]": value.uniform_from(0.5), "U[0, 1]": value.uniform_from(0)}
    density, rng = np.geomspace(0.7, 0.01, 19), np.random.default_rng(0)
    at = np.stack([np.log(density) + shift.predicted(law, shape) for law in laws.values()])
    counts = (10 + 60 / (1 + np.exp(1.3 * (at + 2.5))))[..., None] + noise * rng.standard_normal((3, len(density), seeds))
    coords = {"values": list(laws), "density": density, "seed": list(range(seeds))}
    return xr.Dataset({"represented": xr.DataArray(counts, dims=tuple(coords), coords=coords)}), laws


@pytest.mark.parametrize(("shape", "wanted"), [(value.kurtosis, 1), (shift.mean_square_ratio, -1)])
def test_the_best_shift_tells_the_two_predictors_apart(shape, wanted):
    data, laws = curves(shape, noise=1.0)
    found = {law: shift.best_shift(data, law) for law in ("{1}", "U[0.5, 1]")}
    for law, logs in found.items():
        assert logs.mean() == pytest.approx(shift.predicted(laws[law], shape), abs=0.04)
    assert shift.lead(found, laws).mean() == pytest.approx(wanted, abs=0.25)


def test_predictions_of_shifts():
    one = value.uniform_from(1)
    assert np.exp(shift.predicted(one, value.kurtosis)) == pytest.approx(1.8)
    assert np.exp(shift.predicted(one, shift.mean_square_ratio)) == pytest.approx(4 / 3)
    assert shift.predicted(ss.Uniform(0, 2), value.kurtosis) == pytest.approx(0)
    halfway = {"{1}": np.array([(np.log(1.8) + np.log(4 / 3)) / 2])}
    assert shift.lead(halfway, {"{1}": one}) == pytest.approx([0])


def test_null_and_plant_of_the_shifts_have_the_seeds_scatter():
    data, laws = curves(value.kurtosis, noise=2.0)
    made = shift.rows(data, data, laws, ["{1}", "U[0.5, 1]"], lab())
    spread = made.groupby("arm").lead.agg(["mean", "std"])
    for size in shift.SIZES:
        assert spread.loc[f"ruled by kurtosis, {size}", "mean"] > shift.MARGIN
        assert spread.loc[f"ruled by mean square ratio, {size}", "mean"] < -shift.MARGIN
    assert (spread["std"] > 0).all()
    table = shift.predictions(laws, ["{1}"], made)
    assert table["first size"][0] == pytest.approx(1.8, rel=0.1)


def test_crossing_is_the_lowest_one():
    above = {"a": np.array([0.9, 1.2, 1.2, 0.8]), "b": np.ones(4)}
    found = value.crossing(planted(above, above), "a", "b")
    between = np.log(0.8) / np.log(0.8 / 1.2)  # how far from 0.05 to 0.1, in logarithms
    assert found == pytest.approx(0.05 * 2**between)
    never = {"a": np.full(4, 2.0), "b": np.ones(4)}
    assert np.isnan(value.crossing(planted(never, never), "a", "b")).all()


# --- counts -------------------------------------------------------------------------------------------------------------


def run_of(matrices: list[np.ndarray], bias: float) -> SimpleNamespace:
    """A sweep run of one law, one density and as many seeds as matrices."""
    W = np.stack(matrices)[None, None]
    dims = ("values", "density", "seed", "hidden", "feature")
    coords = {"density": [0.1], "seed": list(range(len(matrices)))}
    W = xr.DataArray(W, dims=dims, coords=coords)
    b = xr.full_like(W.isel(hidden=0), bias)
    return SimpleNamespace(W=W, b_out=b, loss=xr.full_like(W.isel(hidden=0, feature=0), 0.05))


def test_counts_of_planted_geometry():
    digons = measure.ideal("digon")
    pair = np.block([[digons, np.zeros((1, 2))], [np.zeros((1, 2)), digons]])
    longer = 2.0 * pair
    law = {"U": value.uniform_from(0)}
    data = value.counts(run_of([pair, longer, np.eye(2, 4)], 0.0), law)
    first = {name: data[name].values.ravel().tolist() for name in data.data_vars if name != "levels"}
    assert first["norm count"] == pytest.approx([4, 16, 2])
    assert first["capped"] == pytest.approx([4, 4, 2])
    assert first["overcount"] == pytest.approx([1, 4, 1])
    assert first["represented"] == [4, 4, 2]
    assert first["recovered"] == [4, 0, 2]  # gain 4 is not an answer
    assert first["plateau"] == [1, 1, 0]
    assert data["levels"].sel(level="single").values.ravel().tolist() == [0, 0, 1]
    assert first["loss"] == pytest.approx([0.05 / (4 * 0.1 / 3)] * 3)


def test_recovered_agrees_with_the_measure_for_one_value():
    W, b = np.diag([1.0, 1.05, 1.2, 0.5]), np.array([0.0, 0.05, -0.2, 0.0])
    law = ss.Constant(1)
    mine = np.asarray(value.recovered(W, b, law))
    assert mine.sum() == measure.features_recovered(W, b) == 2
    spread = value.recovered(np.eye(1) * np.sqrt(1.5), np.array([-0.5]), ss.Uniform(0, 1))
    assert not spread.any()  # right at v = 1 only


def test_gate_wants_learning_and_superposition():
    def data(loss: float, number: float) -> xr.Dataset:
        coords = {"values": ["a"], "density": [0.1, 0.01], "seed": [0]}
        full = {k: xr.DataArray(np.full((1, 2, 1), v), dims=tuple(coords), coords=coords)
                for k, v in (("loss", loss), ("represented", number))}  # fmt: skip
        return xr.Dataset(full)

    sizes = value.Sizes(n_hidden=8)
    assert gate(value.learned(data(0.2, 30), sizes), value.GATE).passed
    assert not gate(value.learned(data(0.7, 30), sizes), value.GATE).passed
    assert not gate(value.learned(data(0.2, 8), sizes), value.GATE).passed


def lab() -> SimpleNamespace:
    return SimpleNamespace(rng=lambda name: np.random.default_rng(0), seeds=range)


def test_what_is_done_to_networks_shows_in_their_counts():
    """The plants: nudged as before, a fifth turned off its plateau, a fifth gone, norms grown by a fifth."""
    sizes = value.Sizes(n_features=20, n_hidden=10, sparse=0.05, rare=(0.05,))
    digons = np.concatenate([np.eye(10), -np.eye(10)], axis=1)
    laws = {"U[0, 1]": ss.Uniform(0, 1)}
    run = run_of([digons, digons], 0.0)
    rows = {name: value.rows(name, data, "U[0, 1]", sizes) for name, data in value.altered(run, "U[0, 1]", laws, lab()).items()}

    def mean(kind: str, column: str) -> float:
        return float(rows[f"U[0, 1], {kind}"][column].mean())

    assert mean("nudged", "plateau") == mean("nudged", "represented") == 1
    assert mean("a fifth turned", "plateau") < 0.9
    assert mean("a fifth removed", "represented") < 0.95
    assert mean("norms grown", "overcount") == pytest.approx(1.44)
    assert mean("nudged", "overcount") == pytest.approx(1, abs=0.02)


def test_counts_ruled_by_kurtosis_are_seen_as_such():
    binary, uniform = "{1}", "U[0, 1]"
    laws = {binary: value.uniform_from(1), uniform: value.uniform_from(0)}
    data = planted({binary: np.array([20.0, 30, 40, 50]), uniform: np.array([25.0, 40, 60, 80])})
    rows = value.kurtosis_rows(data, laws, binary, uniform, lab()).groupby("arm").mismatch.mean()
    assert rows["ruled by kurtosis"] < 0.02
    assert rows["at equal density"] > rows["ruled by kurtosis"]


@pytest.mark.parametrize("law", SHAPES)
def test_polygons_by_hand_have_the_loss_of_theory(law):
    scaled = value.scaled(law)
    off = polygon.by_hand(scaled, (3, 5, 8), range(4), lab())
    assert off.shape == (4,)
    assert off.max() < polygon.TOLERANCE


# --- polygons -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "law", "loss"), [
    (4, ss.Uniform(0, 1), 0.0), (5, ss.Uniform(0, 1), 3 * 0.01583), (6, ss.Uniform(0, 1), 3 * 0.04819),
    (8, ss.Uniform(0, 1), 0.3436), (8, ss.Constant(1), 0.0), (12, ss.Constant(1), 0.0), (12, ss.Levels(1, 2, 3), 5 / 14),
])  # fmt: skip
def test_best_polygon(n, law, loss):
    assert polygon.best_polygon(n, law) == pytest.approx(loss, rel=1e-3, abs=1e-6)
    assert polygon.best_polygon(n, value.scaled(law)) == pytest.approx(loss, rel=1e-3, abs=1e-6)


def regular(n: int, law) -> tuple[np.ndarray, np.ndarray]:
    best = theory.polygon_optimum(n, value.quadrature(law))
    angle = 2 * np.pi * np.arange(n) / n
    return best.length * np.stack([np.cos(angle), np.sin(angle)]), np.full(n, best.bias)


def test_planted_polygon_has_the_loss_of_theory_and_no_other():
    law = ss.Uniform(0.5, 1)
    W, b = regular(6, law)
    assert polygon.one_active_loss(W, b, law) == pytest.approx(polygon.best_polygon(6, law), rel=1e-3)
    assert polygon.one_active_loss(W, b, ss.Uniform(0, 1)) > 1.05 * polygon.best_polygon(6, ss.Uniform(0, 1))
    assert polygon.one_active_loss(0 * W, 0 * b + 0.1, law) == pytest.approx(1.0)  # answering the mean does not count


def test_deviation_is_relative_unless_theory_is_nothing():
    assert polygon.deviation(0.102, 0.1) == pytest.approx(0.02)
    assert polygon.deviation(0.02, 0.0) == pytest.approx(0.02)
    assert polygon.deviation(np.array([0.09, 0.5]), np.array([0.1, 0.0])) == pytest.approx([0.1, 0.5])


def test_a_cap_is_the_part_of_the_disc_beyond_its_line():
    x, y = corner._cap(np.array([0.6, 0.8]), 0.5, 2.0)
    assert np.hypot(x, y) == pytest.approx(np.full(len(x), 2.0))
    assert (0.6 * np.array(x) + 0.8 * np.array(y)).min() == pytest.approx(0.5)
    assert (x[0], y[0]) == (x[-1], y[-1])
    assert corner._cap(np.array([1.0, 0.0]), 3.0, 2.0) == ([], [])
