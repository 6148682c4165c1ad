"""Where the results of a sweep are kept: arrays by unit, in a Zarr store or in memory.

Every unit writes whole chunks of its own (Zarr writes a chunk beside its final name and renames it) and then a marker with
checksums. A unit without a marker was not finished; a unit whose chunks do not match its marker is damaged.
"""

from __future__ import annotations

import glob
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from superscope import store
from superscope.errors import SettingError, folder
from superscope.store import StoreError
from superscope.sweep.grid import Grid
from superscope.sweep.recipe import Recipe
from superscope.sweep.unit import Arrays, Block, output_count, result_shapes
from superscope.toys import ModuleToy

SPEC = "superscope.json"
SPEC_PARTS = {"spec": dict, "recipe": dict, "engine": str, "blocks": list}


def dimensions(sweep: Grid, name: str, rank: int) -> tuple[str, ...]:
    """Names of the dimensions behind the grid axes of a result array with `rank` of them."""
    if name.startswith("history_"):
        return ("step", *dimensions(sweep, name.removeprefix("history_"), rank - 1))
    outputs = "feature" if output_count(sweep.toy, sweep.inputs.n) == sweep.inputs.n else "output"
    known = {
        "loss": (), "loss_se": (), "loss_per_feature": (outputs,), "W": ("hidden", "feature"), "W_out": (outputs, "hidden"),
        "b_hidden": ("hidden",), "b_out": (outputs,),
    }  # fmt: skip
    if name in known and not (isinstance(sweep.toy, ModuleToy) and name in ("W", "W_out", "b_hidden", "b_out")):
        return known[name]
    return tuple(f"{name}_{i}" for i in range(rank))


class MemoryArchive:
    """Results of a sweep that is not stored."""

    def __init__(self, sweep: Grid, recipe: Recipe, blocks: list[Block], engine: str):
        self.blocks, self.engine, self.notes = blocks, engine, list[str]()
        shapes = result_shapes(sweep, recipe)
        self.arrays: Arrays = {name: np.full((*sweep.shape, *tail), np.nan, np.float32) for name, tail in shapes.items()}

    def finished(self, number: int) -> bool:
        return False

    def write(self, number: int, arrays: Arrays) -> None:
        for name, value in arrays.items():
            self.arrays[name][self.blocks[number]] = value

    def load(self) -> dict[str, Any]:
        return dict(self.arrays)


class ZarrArchive:
    """Results of a sweep in a folder; `blocks` of an existing store win over the ones asked for.

    A store is made under another name and renamed when it is whole: it is there with its spec, or it is not there. The
    caller holds the folder's lock (`store.locked`). What is damaged is set aside or trained again, never deleted.
    """

    def __init__(self, path: Path, sweep: Grid, recipe: Recipe, blocks: list[Block], engine: str):
        self.path, self.notes = Path(path), list[str]()
        self._sweep, self._recipe = sweep, recipe
        self._shapes = result_shapes(sweep, recipe)
        self.blocks = blocks
        wanted = wanted_spec(sweep, recipe, engine)
        found = self._found()
        if found is None:
            self._create({**wanted, "blocks": [[[s.start, s.stop] for s in block] for block in blocks]})
            found = read_spec(self.path)
        for part in ("spec", "recipe", "engine"):
            if found[part] != wanted[part]:
                raise StoreError(
                    f"{self.path} holds another sweep ({first_difference(found[part], wanted[part], part)}): "
                    "choose another store"
                )
        self.blocks = [tuple(slice(*ab) for ab in block) for block in found["blocks"]]
        self._group = self._open()

    def _found(self) -> dict[str, Any] | None:
        """The spec of the store that is there; None when there is none, or when what was there has been set aside."""
        try:
            content = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        except OSError as error:
            raise store.explain("read", self.path, error) from error
        if SPEC in content:
            try:
                return read_spec(self.path)
            except StoreError as error:
                if not isinstance(error, DamagedSpecError):
                    raise
                aside = store.set_aside(self.path)
                self.notes.append(f"the description of {self.path.name} was damaged: it is kept as {aside.name}, trained anew")
                return None
        if not content:
            return None
        if "zarr.json" not in content or not content <= {"zarr.json", "units", *self._shapes}:
            raise StoreError(f"{self.path} exists but is no sweep store (no {SPEC} in it): choose another folder")
        if "units" in content:  # whose units these are, nobody can say
            aside = store.set_aside(self.path)
            self.notes.append(f"{self.path.name} had lost its description: it is kept as {aside.name}, and trained anew")
        else:  # made halfway by an older superscope: nothing was ever written to it
            store.remove(self.path)
        return None

    def _create(self, document: dict[str, Any]) -> None:
        import zarr

        for left in self.path.parent.glob(glob.escape(f".{self.path.name}.new-") + "*"):  # by one that was killed
            store.remove(left)
        beside = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.new-", dir=self.path.parent))
            group = zarr.open_group(beside, mode="a")
            for name in self._shapes:
                self._create_array(group, name)
            store.atomic_write_json(beside / SPEC, store.seal(document))
            beside.chmod(0o755)
            os.rename(beside, self.path)
        except OSError as error:
            if beside is not None:
                store.remove(beside)
            if not (self.path / SPEC).exists():  # else another process was faster, where there are no locks
                raise store.explain("create", self.path, error) from error

    def _create_array(self, group: Any, name: str) -> None:
        chunk = tuple(max(b[i].stop - b[i].start for b in self.blocks) for i in range(len(self._sweep.shape)))
        tail = self._shapes[name]
        group.create_array(
            name, shape=(*self._sweep.shape, *tail), chunks=(*chunk, *(max(1, k) for k in tail)), dtype="float32",
            fill_value=float("nan"), dimension_names=(*self._sweep.axes, *dimensions(self._sweep, name, len(tail))),
        )  # fmt: skip

    def _open(self) -> Any:
        """The group; arrays that are gone or unreadable are made again, empty, so that their units are trained again."""
        import zarr

        try:
            group = zarr.open_group(self.path, mode="r+")
        except Exception:
            store.atomic_write_json(self.path / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": {}})
            group = zarr.open_group(self.path, mode="r+")
        for name, tail in self._shapes.items():
            try:
                there: Any = group[name]
                whole = there.shape == (*self._sweep.shape, *tail) and there.dtype == np.float32
            except Exception:  # whatever damaged metadata raises
                whole = False
            if not whole:
                self.notes.append(f"array {name!r} of {self.path.name} was damaged and is trained again")
                store.remove(self.path / name)
                self._create_array(group, name)
        return group

    def _marker(self, number: int) -> Path:
        return self.path / "units" / f"{number:05d}.json"

    def finished(self, number: int) -> bool:
        """Whether the unit is there, whole. A damaged one counts as missing, and is noted."""
        if not self._marker(number).exists():
            return False
        try:
            marks = store.read_json(self._marker(number))
            whole = set(marks) == set(self._shapes) and all(
                store.checksum(self._read(name, number).tobytes()) == mark for name, mark in marks.items()
            )
        except Exception:  # whatever a damaged chunk or marker raises, the unit is not usable
            whole = False
        if not whole:
            self.notes.append(f"unit {number} of {self.path.name} was damaged and is trained again")
        return whole

    def _read(self, name: str, number: int) -> np.ndarray:
        return np.ascontiguousarray(self._group[name][self.blocks[number]])

    def write(self, number: int, arrays: Arrays) -> None:
        try:
            for name, value in arrays.items():
                self._group[name][self.blocks[number]] = value
        except OSError as error:
            raise StoreError(
                f"unit {number} cannot be written to {self.path} ({error.strerror or error}): free some space and run again, "
                "the finished units are kept"
            ) from error
        marks = {name: store.checksum(np.ascontiguousarray(value).tobytes()) for name, value in arrays.items()}
        store.atomic_write_json(self._marker(number), marks)

    def load(self) -> dict[str, Any]:
        """Lazily indexed arrays: nothing is read before it is used."""
        return {name: self._group[name] for name in self._shapes}


class DamagedSpecError(StoreError):
    """The description of a store is not what was written."""


def read_spec(path: Path) -> dict[str, Any]:
    """The sealed description of a store; StoreError when it is damaged (`DamagedSpecError`) or of another format."""
    try:
        found = store.read_sealed(Path(path) / SPEC)
    except StoreError as error:
        raise DamagedSpecError(str(error)) from error
    from superscope.sweep.grid import FORMAT

    if not all(isinstance(found.get(part), kind) for part, kind in SPEC_PARTS.items()):
        raise DamagedSpecError(f"{str(Path(path) / SPEC)!r} does not describe a sweep")
    if found["spec"].get("format") != FORMAT:
        raise StoreError(
            f"{path} was written in format {found['spec'].get('format')}, this is format {FORMAT}: choose another store"
        )
    return found


def store_folder(given: Any) -> Path:
    """The folder of a store as the user names it: "~" expanded, links followed, for what they lead to is renamed."""
    path = folder("store", given)
    try:
        path = path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise SettingError(f"store={str(given)!r} leads nowhere: {error}") from None
    if not path.name:
        raise SettingError(f"store={str(given)!r}: give a folder of its own to the store")
    return path


def stored(path: Path) -> dict[str, Any] | None:
    """The description of the store at `path`, or None where there is none that can be read."""
    try:
        return read_spec(path) if (Path(path) / SPEC).exists() else None
    except StoreError:
        return None


def wanted_spec(sweep: Grid, recipe: Recipe, engine: str) -> dict[str, Any]:
    """What a store says about the sweep in it."""
    return store.plain({"spec": sweep.describe(), "recipe": _recipe_dict(recipe), "engine": engine})


def _recipe_dict(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}


def first_difference(old: Any, new: Any, where: str) -> str:
    """Words for the first place where two descriptions differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                return first_difference(old.get(key), new.get(key), f"{where}.{key}")
    short = [text if len(text) < 60 else text[:57] + "..." for text in (json.dumps(old), json.dumps(new))]
    return f"{where} is {short[0]} there, {short[1]} here"
