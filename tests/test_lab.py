"""What the lab keeps: seeds that never overlap, units that know their code, their inputs and their tables."""

from __future__ import annotations

import functools
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from superscope import fingerprint, opened
from superscope.lab import Lab

SCALE = 2.0


def lab(tmp_path, seed=0) -> Lab:
    return Lab(seed, "quick", tmp_path)


def test_seeds_of_two_runs_never_overlap(tmp_path):
    assert list(lab(tmp_path).seeds(3)) == [0, 1, 2]
    many = lab(tmp_path).seeds(5000)
    assert not set(many) & set(lab(tmp_path, 1).seeds(5000))
    with pytest.raises(ValueError, match="0"):
        lab(tmp_path).seeds(0)


def test_random_numbers_depend_on_seed_and_name_alone(tmp_path):
    one = lab(tmp_path).rng("planes").random(3)
    assert (one == lab(tmp_path / "other").rng("planes").random(3)).all()
    assert (one != lab(tmp_path).rng("noise").random(3)).all()
    assert (one != lab(tmp_path, 1).rng("planes").random(3)).all()


def test_equal_arrays_leave_equal_bytes(tmp_path, monkeypatch):
    def left(folder: str, year: int) -> bytes:
        monkeypatch.setattr(time, "localtime", lambda *_: time.struct_time((year, 5, 4, 3, 2, 1, 0, 1, 0)))
        lab(tmp_path / folder).unit("u", lambda: np.arange(6.0).reshape(2, 3))
        (file,) = (tmp_path / folder).rglob("*.zarr.zip")
        with zipfile.ZipFile(file) as archive:
            assert len(archive.namelist()) == len(set(archive.namelist()))
        return file.read_bytes()

    assert left("now", 2020) == left("later", 2030)


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"arm": ["a", "b"], "x": [1.5, float("nan")]}),
        xr.DataArray([[1.0, 2.0]], dims=("seed", "feature"), coords={"seed": [7]}, name="W"),
        xr.Dataset({"W": (("seed",), np.arange(3.0))}),
        np.arange(6.0).reshape(2, 3),
        {"table": pd.DataFrame({"x": [1]}), "array": np.eye(2), "number": 3.5, "text": ["a", "b"]},
        [1, 2.5, "three"],
    ],
    ids=["table", "dataarray", "dataset", "array", "mixed", "plain"],
)
def test_tables_and_arrays_come_back_as_they_went(tmp_path, value):
    first = lab(tmp_path).unit("u", lambda: value)
    resumed = lab(tmp_path)
    again = resumed.unit("u", lambda: value)
    assert resumed.resumed == ["unit u"]
    for got in (first, again):
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(got, value)
        elif isinstance(value, xr.DataArray | xr.Dataset):
            xr.testing.assert_identical(got, value)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(got, value)
        elif isinstance(value, dict):
            pd.testing.assert_frame_equal(got["table"], value["table"])
            np.testing.assert_array_equal(got["array"], value["array"])
            assert (got["number"], got["text"]) == (3.5, ["a", "b"])
        else:
            assert got == value


def test_a_flipped_bit_in_a_table_is_computed_again(tmp_path):
    lab(tmp_path).unit("u", lambda: pd.DataFrame({"x": [1.0]}))
    path = next((tmp_path / "units").glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(bytes(data))
    again = lab(tmp_path)
    assert again.unit("u", lambda: pd.DataFrame({"x": [1.0]})).x.tolist() == [1.0]
    assert any("damaged" in note for note in again.notes)


def helper(x):
    return SCALE * x


def measure(x):
    return helper(x) + 1


def edited(text: str, **names):
    """A function of this module as an editor would leave it."""
    scope = {**globals(), **names}
    exec(compile(text, __file__, "exec"), scope)
    return scope["measure"]


def test_a_unit_is_computed_again_when_its_code_is_another(tmp_path):
    """The function itself, a helper it calls, a constant, a closure, a default: each must be noticed; a comment need not be."""
    assert lab(tmp_path).unit("u", functools.partial(measure, 3)) == 7
    same = edited("def measure(x):\n    # said differently\n    return helper(x) + 1\n")
    run = lab(tmp_path)
    assert run.unit("u", functools.partial(same, 3)) == 7
    assert run.resumed == ["unit u"]
    body = edited("def measure(x):\n    return helper(x) + 2\n")
    assert lab(tmp_path).unit("u", functools.partial(body, 3)) == 8
    for value in (1.0, 2.0):
        assert lab(tmp_path).unit("v", lambda value=value: value) == value
    for value in (1.0, 2.0):

        def closure():
            return value  # noqa: B023 - the point

        assert lab(tmp_path).unit("w", closure) == value


def test_helpers_and_constants_are_part_of_a_function(monkeypatch):
    before = fingerprint.of(measure)
    monkeypatch.setattr(f"{__name__}.SCALE", 3.0)
    assert fingerprint.of(measure) != before
    monkeypatch.undo()
    assert fingerprint.of(measure) == before
    monkeypatch.setattr(f"{__name__}.helper", lambda x: x)
    assert fingerprint.of(measure) != before


def test_weights_and_text_that_were_opened_are_remembered(tmp_path, monkeypatch):
    """A unit that opened a model is done again when that model's weights are others, whatever its key says."""
    digests = {"tiny": "one"}
    monkeypatch.setattr(opened, "changed", lambda kind, name, digest: digests[name] != digest)

    def compute():
        opened.note("model", "tiny", digests["tiny"])
        return digests["tiny"]

    held = functools.partial(_call, _Held(compute))
    assert lab(tmp_path).unit("u", held) == "one"
    resumed = lab(tmp_path)
    assert resumed.unit("u", held) == "one"
    assert resumed.resumed
    digests["tiny"] = "two"
    assert lab(tmp_path).unit("u", held) == "two"


class _Held:
    """Keeps a function out of the fingerprint, as a method of a model would be."""

    def __init__(self, function):
        self._function = function

    def __fingerprint__(self):
        return "held"

    def __call__(self):
        return self._function()


def _call(function):
    return function()


def test_an_edited_toy_target_or_loss_is_another_sweep():
    """Names alone would let an edited body pass for the old one, silently."""
    import superscope as ss

    def sweep(**scope):
        names: dict = {"__name__": "mine"}
        exec(
            "import superscope as ss\nclass Own(ss.TwoLayer):\n    def initial(self, rng):\n        return {body}\n".format(
                **scope
            ),
            names,
        )
        return ss.Sweep(names["Own"](4, 2), ss.SparseFeatures(4)).digest()

    assert sweep(body="super().initial(rng)") == sweep(body="super().initial(rng)")
    assert sweep(body="super().initial(rng)") != sweep(body="dict(super().initial(rng))")
    targets = [ss.Target("t", compute, lambda n: n) for compute in (lambda x: x, lambda x: 2 * x)]
    one, two = (ss.Sweep(ss.Bottleneck(4, 2, target=target), ss.SparseFeatures(4)).digest() for target in targets)
    assert one != two


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (max, min),
        (np.float32(1), np.float32(2)),
        (np.arange(3), np.arange(3.0)),
        (slice(1), slice(2)),
        ({"a": [1]}, {"a": [2]}),
    ],
)
def test_what_a_function_holds_is_part_of_it(one, other):
    def holding(value):
        return lambda: value

    assert fingerprint.of(holding(one)) != fingerprint.of(holding(other))


def test_a_dictionary_that_holds_itself_can_be_digested():
    loop: dict = {}
    loop["self"] = loop
    assert fingerprint.of(lambda: loop)


def test_notes_of_a_unit_come_back_with_it(tmp_path):
    def compute(run):
        run.note("a caveat")
        return {3: 1.0}

    first = lab(tmp_path)
    assert first.unit("u", functools.partial(compute, first)) == {"3": 1.0}
    again = lab(tmp_path)
    assert again.unit("u", functools.partial(compute, again)) == {"3": 1.0}
    assert again.notes == first.notes == ["a caveat"]
