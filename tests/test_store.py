"""Files on disk: whole or absent, checked, and clear about what is wrong."""

from __future__ import annotations

import errno
import json
import math
import os

import pytest

from superscope import store
from superscope.evidence import records


def test_write_many_replaces_and_leaves_nothing_else(tmp_path):
    store.atomic_write_many(tmp_path, {"a/x": b"1", "y": b"2"})
    store.atomic_write_many(tmp_path, {"a/x": b"3"})
    assert (tmp_path / "a/x").read_bytes() == b"3"
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["a", "a/x", "y"]


def test_full_disk_keeps_the_old_files_and_says_so(tmp_path, monkeypatch):
    store.atomic_write_many(tmp_path, {"x": b"old", "y": b"old"})
    calls = []

    def fsync(_):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(store.StoreError, match="disk is full"):
        store.atomic_write_many(tmp_path, {"x": b"new", "y": b"new"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"x": b"old", "y": b"old"}


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(store.StoreError, match="a file, not a folder"):
        store.atomic_write_text(tmp_path / "runs" / "4.7" / "x", "")


def test_truncated_json_names_the_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": [1, 2')
    with pytest.raises(store.StoreError, match=r"x\.json.*not whole JSON.*run the study again"):
        store.read_json(path)


def test_checksum_guards_bytes_and_sealed_documents(tmp_path):
    store.atomic_write_bytes(tmp_path / "b", b"data")
    assert store.read_bytes(tmp_path / "b", store.checksum(b"data")) == b"data"
    with pytest.raises(store.StoreError, match="checksum"):
        store.read_bytes(tmp_path / "b", store.checksum(b"date"))
    store.atomic_write_json(tmp_path / "d.json", store.seal({"value": 1}))
    assert store.read_sealed(tmp_path / "d.json")["value"] == 1
    (tmp_path / "d.json").write_text((tmp_path / "d.json").read_text().replace('"value": 1', '"value": 2'))
    with pytest.raises(store.StoreError, match="checksum"):
        store.read_sealed(tmp_path / "d.json")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (math.nan, None),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        ((1, 2.5), [1, 2.5]),
        ({1: {"b", "a"}}, {"1": ["a", "b"]}),
        (True, True),
        (None, None),
    ],
)
def test_plain_is_strict_json(value, stored):
    assert store.plain(value) == stored
    assert json.loads(store.dumps(value)) == stored


def test_plain_takes_numpy_and_refuses_the_rest():
    import numpy as np

    assert store.plain({"a": np.float32(0.5), "b": np.arange(3)}) == {"a": 0.5, "b": [0, 1, 2]}
    with pytest.raises(TypeError, match="cannot be stored"):
        store.plain(object())


def test_numbers_come_back():
    assert math.isnan(store.number(store.plain(math.nan)))
    assert store.number(store.plain(-math.inf)) == -math.inf


def test_digest_ignores_the_order_of_keys_only():
    assert store.digest({"a": 1, "b": 2}) == store.digest({"b": 2, "a": 1})
    assert store.digest({"a": [1, 2]}) != store.digest({"a": [2, 1]})


def test_run_folder_depends_on_config_and_seed(tmp_path):
    folder = records.run_folder(tmp_path, "4.7", "quick", {"n": 1}, 0)
    assert folder.parent == tmp_path / "4.7"
    assert folder.name.startswith("quick-")
    assert folder != records.run_folder(tmp_path, "4.7", "quick", {"n": 2}, 0)
    assert folder != records.run_folder(tmp_path, "4.7", "quick", {"n": 1}, 1)


def test_latest_is_the_users_newest_and_falls_back_on_the_bundled(tmp_path, monkeypatch):
    bundled = tmp_path / "bundled"
    monkeypatch.setattr(records, "bundled_results", lambda: bundled)
    mine = tmp_path / "runs"
    for root, name, finished in (
        (bundled, "standard-1", "2030-01-01T00:00:00Z"),
        (mine, "quick-1", "2026-01-01T00:00:00Z"),
        (mine, "quick-2", "2026-01-02T00:00:00Z"),
    ):
        store.atomic_write_json(root / "4.7" / name / records.FINDINGS, {"finished": finished})
    assert records.latest("4.7", mine).name == "quick-2"
    assert records.latest("4.7", mine, preset="standard").name == "standard-1"
    assert records.latest("4.7", tmp_path / "elsewhere").name == "standard-1"
    assert records.latest("4.8", mine) is None


def test_unwritable_folder(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(store.tempfile, "mkstemp", refuse)
    with pytest.raises(store.StoreError, match="no permission; choose another folder with --out"):
        store.atomic_write_text(tmp_path / "x", "")
